"""report.html: the pictures, the curves, the scores and the settings of a run on one page."""

from __future__ import annotations

import json
import math
from pathlib import Path

from gankit import evaluation
from gankit.evaluation.pictures import CAPTIONS
from gankit.pictures.curves import chart
from gankit.report.html import figure, page, table
from gankit.runs import schema
from gankit.runs.config import read_config
from gankit.runs.files import write_text
from gankit.text import escaped


def write(folder: Path) -> Path:
    """Write report.html into a run folder and return its path.

    Raises:
        BadCheckpoint: the folder holds no run.
    """
    config = read_config(folder)
    records = read_stats(folder / "stats.jsonl")
    fakes = sorted(path for path in folder.glob("fakes*.png") if path.is_file())
    title = f"{config['model']} on {config['data']['name']}"
    parts = [f"<h1>{escaped(title)}</h1><small>{escaped(folder.name)}</small>"]
    parts.append(summary(config, records))
    strips = config.get("preview") == "strips"
    parts.append(
        f"<h2>{'Inputs and outputs' if strips else 'Samples'} and {'data' if strips else 'reals'}</h2><div class=row>"
    )
    if fakes:
        shown = (
            "input, output and target or what else the model shows of fixed images,"
            if strips
            else "samples of fixed latents"
        )
        parts.append(figure(fakes[-1], f"{shown} from the averaged weights after {images_of(fakes[-1]):,} images"))
    if (folder / "reals.png").is_file():
        parts.append(figure(folder / "reals.png", "real data"))
    parts.append("</div>")
    if len(fakes) > 1:
        parts.append(f"<h2>The same {'images' if strips else 'latents'} over time</h2><div class='row film'>")
        parts += [figure(path, f"{images_of(path):,} images") for path in spread(fakes, 8)]
        parts.append("</div>")
    if records:
        parts.append("<h2>Curves</h2><div class=row>")
        parts += [chart(name, series) for name, series in curves(records).items()]
        parts.append("</div>")
    parts += evaluations(folder)
    parts.append("<h2>Settings</h2><div class=row>")
    parts += [table("model", config["arguments"]), table("run", config["settings"])]
    parts += [table("data", config["data"]), table("versions", config["history"][-1]["versions"])]
    parts.append("</div>")
    if len(config["history"]) > 1:
        parts.append("<h2>Resumed</h2>")
        parts += [
            f"<p>at {h['images']:,} images, {escaped(h['time'])}: {escaped(json.dumps(h['changed']))}</p>"
            for h in config["history"][1:]
        ]
    write_text(folder / "report.html", page(title, parts))
    return folder / "report.html"


def read_stats(path: Path) -> list[dict[str, float]]:
    """The whole lines of stats.jsonl; a last line cut by a kill is left out."""
    return schema.lines(path, schema.STATS)


def summary(config: dict, records: list[dict[str, float]]) -> str:
    last = records[-1] if records else {}
    facts = {
        "images seen": f"{config['images']:,} of {config['settings']['images']:,}",
        "images a second": last.get("images_per_s", ""),
        "data": f"{config['data']['count']:,} of {'x'.join(map(str, config['spec']['shape']))}"
        + (f", {config['spec']['num_classes']} classes" if config["spec"]["num_classes"] else ""),
        "preset": config.get("preset") or "none: the paper's defaults",
    }
    return table("", facts)


def evaluations(folder: Path) -> list[str]:
    """The latest number of each metric, with its uncertainty and what it means, and the pictures that go with them."""
    latest = {line["name"]: line for line in evaluation.read(folder / "evaluations.jsonl")}
    if not latest:
        return []
    rows = []
    for line in latest.values():
        error = (
            f" &plusmn; {line['error']:.3g} <small>{escaped(line['error_of'])}</small>"
            if line["error"] is not None
            else ""
        )
        counts = " beside ".join(
            f"{line[key]:,} {what}" for key, what in (("n_fake", "samples"), ("n_real", "reals")) if line[key]
        )
        better = f", {escaped(line['better'])} is better" if line["better"] else ""
        said = f"{escaped(evaluation.about(line['metric']))} <small>{counts} after {line['fake'].get('images', 0):,} images{better}. {escaped(line['note'])}</small>"
        rows.append(f"<tr><td><b>{escaped(line['name'])}</b><td>{line['value']:.4g}{error}<td>{said}")
    parts = [f"<h2>Metrics</h2><table>{''.join(rows)}</table><div class=row>"]
    for name, caption in CAPTIONS.items():
        path = folder / "evaluation" / name
        if path.is_file() and path.suffix == ".json":
            points = schema.read(path, schema.SPECTRUM)
            lines = {
                key: [(p[0], p[1]) for p in some if len(p) == 2 and all(map(math.isfinite, p))]
                for key, some in points.items()
            }
            if lines := {key: some for key, some in lines.items() if some}:
                drawn = chart("log10 power", lines, unit="of the highest frequency, in 1/100")
                parts.append(f"<figure>{drawn}<figcaption>{escaped(caption)}</figcaption></figure>")
        elif path.is_file():
            parts.append(figure(path, caption))
    return [*parts, "</div>"]


def images_of(path: Path) -> int:
    """The count of images in a preview's name."""
    return int("".join(c for c in path.stem if c.isdigit()) or 0)


def spread(items: list[Path], n: int) -> list[Path]:
    """At most n items, evenly, with the first and the last."""
    if len(items) <= n:
        return items
    return [items[round(i * (len(items) - 1) / (n - 1))] for i in range(n)]


TOGETHER = {"fake": "real", "fake_right": "real_right"}  # D on fakes is drawn beside D on reals


def curves(records: list[dict[str, float]]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Series that belong in one chart: those with the same last word, d/loss and g/loss say."""
    charts: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for record in records:
        for key, value in record.items():
            if key in ("images", "seconds") or not isinstance(value, (int, float)) or not math.isfinite(value):
                continue
            last = key.split("/")[-1]
            charts.setdefault(TOGETHER.get(last, last), {}).setdefault(key, []).append((record["images"], value))
    return charts
