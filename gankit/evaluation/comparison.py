"""Scores of several runs, folders or files beside each other, as far as they are alike."""

from __future__ import annotations

from typing import NamedTuple

from gankit.evaluation import records


class Line(NamedTuple):
    """One metric, taken alike.

    Args:
        name: the metric.
        values: the latest record for each subject, None where it has none that was taken in this way.
        unlike: what sets this line apart from others of the same metric, in words.
    """

    name: str
    values: list[dict | None]
    unlike: str


def compare(subjects: list[str], outdir: str = "runs", metrics: str = "") -> list[Line]:
    """Lines of a table whose columns are the subjects: numbers that were taken differently never share a line.

    Args:
        subjects: runs, folders or files that were evaluated.
        outdir: the folder that runs are looked for in.
        metrics: names of metrics or of scores with commas between; all without it.

    Raises:
        ValueError: a subject was never evaluated.
    """
    latest: dict[str, dict[tuple, list[dict | None]]] = {}
    asked = {name.strip() for name in metrics.split(",") if name.strip()}
    for column, subject in enumerate(subjects):
        found = records.read(records.records_of(subject, outdir))
        if not found:
            raise ValueError(f"{subject} was never evaluated: gankit evaluate {subject}")
        for line in found:
            if not asked or {line["name"], line["metric"]} & asked:
                ways = latest.setdefault(line["name"], {})
                ways.setdefault(tuple(way(line).items()), [None] * len(subjects))[column] = line
    if not latest:
        raise ValueError(f"none of them was evaluated by {metrics}; `gankit metrics` lists the names")
    table = []
    for name, ways in latest.items():
        dicts = [dict(key) for key in ways]
        differ = [what for what in dicts[0] if len({str(d.get(what)) for d in dicts}) > 1]
        for key, values in ways.items():
            table.append(Line(name, values, ", ".join(f"{what} {dict(key)[what]}" for what in differ)))
    return table


def way(line: dict) -> dict[str, object]:
    """All that must be equal for two numbers to be compared."""
    real, features = line.get("real") or {}, line.get("features") or {}
    inputs = (line.get("fake") or {}).get("inputs") or {}
    return {
        "n_fake": line["n_fake"],
        "n_real": line["n_real"],
        "reals": f"{real.get('data', real.get('file', ''))} {str(real.get('fingerprint', ''))[:8]}",
        "inputs": f"{inputs.get('data', '')} {str(inputs.get('fingerprint', ''))[:8]}",
        "unseen": str((line.get("held_out") or {}).get("fingerprint", ""))[:8],
        "features": f"{features.get('name', '')} {str(features.get('fingerprint', ''))[:8]}",
        "segmenter": line.get("segmenter") or "",
        "trunc": (line.get("fake") or {}).get("trunc", 1.0),
        "precision": line.get("precision"),
    }
