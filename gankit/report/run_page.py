"""report.html: the pictures, the curves, the scores and the settings of a run on one page."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import cast

from gankit import evaluation
from gankit.evaluation.figures import CAPTIONS
from gankit.pictures.curves import chart
from gankit.report.html import figure, page, table
from gankit.runs import schema
from gankit.runs.config import read_config
from gankit.runs.files import write_text
from gankit.runs.schema import Config
from gankit.text import escaped


def write(folder: Path) -> Path:
    """Write report.html into a run folder and return its path.

    Raises:
        BadCheckpoint: the folder holds no run.
    """
    config = read_config(folder)
    records = read_stats(folder / "stats.jsonl")
    title = f"{config['model']} on {config['data']['name']}"
    parts = [f"<h1>{escaped(title)}</h1><small>{escaped(folder.name)}</small>", summary(config, records)]
    parts += previews(folder, config.get("preview") == "strips")
    if records:
        parts += row("Curves", [chart(name, series) for name, series in curves(records).items()])
    parts += evaluations(folder)
    settings = [table("model", config["arguments"]), table("run", config["settings"])]
    settings += [table("data", config["data"]), table("versions", config["history"][-1]["versions"])]
    parts += row("Settings", settings)
    if len(config["history"]) > 1:
        parts.append("<h2>Resumed</h2>")
    for entry in config["history"][1:]:
        changed = escaped(json.dumps(entry["changed"]))
        parts.append(f"<p>at {entry['images']:,} images, {escaped(entry['time'])}: {changed}</p>")
    write_text(folder / "report.html", page(title, parts))
    return folder / "report.html"


def row(title: str, parts: list[str], style: str = "row") -> list[str]:
    """Parts side by side under a heading."""
    return [f"<h2>{title}</h2><div class='{style}'>", *parts, "</div>"]


def read_stats(path: Path) -> list[dict[str, float]]:
    """The complete lines of stats.jsonl; a last line cut short by a kill is left out."""
    return cast(list[dict[str, float]], schema.lines(path, schema.STATS))


def summary(config: Config, records: list[dict[str, float]]) -> str:
    spec = config["spec"]
    classes = f", {spec['num_classes']} classes" if spec["num_classes"] else ""
    facts = {
        "images seen": f"{config['images']:,} of {config['settings']['images']:,}",
        "images a second": records[-1].get("images_per_s", "") if records else "",
        "data": f"{config['data']['count']:,} of {'x'.join(map(str, spec['shape']))}{classes}",
        "preset": config.get("preset") or "none: the paper's defaults",
    }
    return table("", facts)


def previews(folder: Path, are_strips: bool) -> list[str]:
    """The last preview beside real data, and the previews over time."""
    fakes = sorted(path for path in folder.glob("fakes*.png") if path.is_file())
    figures = []
    if fakes:
        what = "columns such as input, output and target of fixed images," if are_strips else "samples of fixed latents"
        caption = f"{what} from the averaged weights after {images_of(fakes[-1]):,} images"
        figures.append(figure(fakes[-1], caption))
    if (folder / "reals.png").is_file():
        figures.append(figure(folder / "reals.png", "real data"))
    parts = row("Inputs and outputs and data" if are_strips else "Samples and reals", figures)
    if len(fakes) > 1:
        film = [figure(path, f"{images_of(path):,} images") for path in spread(fakes, 8)]
        parts += row(f"The same {'images' if are_strips else 'latents'} over time", film, "row film")
    return parts


def evaluations(folder: Path) -> list[str]:
    """The latest value of each metric, with its uncertainty and meaning, and the figures of the evaluation."""
    latest = {line["name"]: line for line in evaluation.read(folder / "evaluations.jsonl")}
    if not latest:
        return []
    figures = []
    for name, caption in CAPTIONS.items():
        path = folder / "evaluation" / name
        if path.is_file():
            figures.append(spectrum(path, caption) if path.suffix == ".json" else figure(path, caption))
    metrics = f"<h2>Metrics</h2><table>{''.join(map(metric, latest.values()))}</table>"
    return [metrics, "<div class=row>", *figures, "</div>"]


def metric(line: schema.Record) -> str:
    """A metric as a row of a table."""
    error = ""
    if line["error"] is not None:
        error = f" &plusmn; {line['error']:.3g} <small>{escaped(line['error_of'])}</small>"
    counted = ((line["n_fake"], "samples"), (line["n_real"], "reals"))
    counts = " beside ".join(f"{count:,} {what}" for count, what in counted if count)
    better = f", {escaped(line['better'])} is better" if line["better"] else ""
    about = escaped(evaluation.about(line["metric"]))
    note = f"{counts} after {line['fake'].get('images', 0):,} images{better}. {escaped(line['note'])}"
    name = escaped(line["name"])
    return f"<tr><td><b>{name}</b><td>{line['value']:.4g}{error}<td>{about} <small>{note}</small>"


def spectrum(path: Path, caption: str) -> str:
    """The curves in a file of power spectra, points that are not finite left out."""
    spectra = cast(dict[str, list[list[float]]], schema.read(path, schema.SPECTRUM))
    curves = {
        name: [(p[0], p[1]) for p in points if len(p) == 2 and all(map(math.isfinite, p))]
        for name, points in spectra.items()
    }
    curves = {name: points for name, points in curves.items() if points}
    if not curves:
        return ""
    drawn = chart("log10 power", curves, unit="of the highest frequency, in 1/100")
    return f"<figure>{drawn}<figcaption>{escaped(caption)}</figcaption></figure>"


def images_of(path: Path) -> int:
    """The count of images in a preview's name."""
    return int("".join(c for c in path.stem if c.isdigit()) or 0)


def spread(items: list[Path], n: int) -> list[Path]:
    """At most n items, evenly, with the first and the last."""
    if len(items) <= n:
        return items
    return [items[round(i * (len(items) - 1) / (n - 1))] for i in range(n)]


TOGETHER = {"fake": "real", "fake_right": "real_right"}  # D on fakes is plotted in the chart of D on reals


def curves(records: list[dict[str, float]]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Series by chart: those with the same last word, such as d/loss and g/loss, share one."""
    charts: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for record in records:
        for key, value in record.items():
            if key in ("images", "seconds") or not isinstance(value, (int, float)) or not math.isfinite(value):
                continue
            last = key.split("/")[-1]
            charts.setdefault(TOGETHER.get(last, last), {}).setdefault(key, []).append((record["images"], value))
    return charts
