"""Scores of several runs, folders or files side by side, where they are comparable."""

from __future__ import annotations

from typing import NamedTuple

from gankit.evaluation import records
from gankit.runs import schema


class Line(NamedTuple):
    """One score, computed under the same conditions for each subject.

    Args:
        name: the score.
        values: the latest record of each subject, None if it has none under these conditions.
        unlike: the conditions in which this line differs from others of the same score, in words.
    """

    name: str
    values: list[schema.Record | None]
    unlike: str


def compare(subjects: list[str], outdir: str = "runs", metrics: str = "") -> list[Line]:
    """Lines of a table with a column for each subject: scores computed under different conditions never share a line.

    Args:
        subjects: runs, folders or files that were evaluated.
        outdir: the folder that holds the runs.
        metrics: names of metrics or of scores with commas between; default: all.

    Raises:
        ValueError: a subject was never evaluated.
    """
    latest: dict[str, dict[tuple[tuple[str, object], ...], list[schema.Record | None]]] = {}
    chosen = {name.strip() for name in metrics.split(",") if name.strip()}
    for column, subject in enumerate(subjects):
        lines = records.read(records.records_of(subject, outdir))
        if not lines:
            raise ValueError(f"{subject} was never evaluated: gankit evaluate {subject}")
        for line in lines:
            if not chosen or {line["name"], line["metric"]} & chosen:
                rows = latest.setdefault(line["name"], {})
                rows.setdefault(tuple(conditions(line).items()), [None] * len(subjects))[column] = line
    if not latest:
        raise ValueError(f"none of them was evaluated by {metrics}; `gankit metrics` lists the names")
    table = []
    for name, rows in latest.items():
        dicts = [dict(key) for key in rows]
        differ = [what for what in dicts[0] if len({str(d.get(what)) for d in dicts}) > 1]
        for key, values in rows.items():
            table.append(Line(name, values, ", ".join(f"{what} {dict(key)[what]}" for what in differ)))
    return table


def conditions(line: schema.Record) -> dict[str, object]:
    """The conditions of a score that must be equal for a comparison."""
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
