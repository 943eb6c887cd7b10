"""report.html: the pictures, what they and the scores mean, the curves and the settings of a run on one page."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import cast

from gankit import evaluation
from gankit.evaluation.figures import CAPTIONS
from gankit.html import captioned, figure, frames, page, table
from gankit.pictures.curves import Series, chart
from gankit.pictures.inline import inline
from gankit.report.meanings import chance, chart_of, meaning_of
from gankit.report.verdict import as_html, verdict
from gankit.runs import schema
from gankit.runs.config import read_config
from gankit.runs.files import write_text
from gankit.runs.schema import Config
from gankit.text import escaped

MOST_FRAMES = 40  # previews in the slider
MOST_BYTES = 12 << 20  # of all previews in it: each is compressed to its share
FIRST = ("loss", "real_right", "real")  # charts that come first, after those of evaluations


def write(folder: Path) -> Path:
    """Write report.html into a run folder and return its path.

    Raises:
        BadCheckpoint: the folder holds no run.
    """
    config = read_config(folder)
    records = read_stats(folder / "stats.jsonl")
    lines = evaluation.read(folder / "evaluations.jsonl")
    parts = [*heading(config, folder, records), *previews(folder, config, lines)]
    deviations = [record["samples/std"] for record in records if record.get("samples/std") is not None]
    if records or lines:
        parts.append(as_html(verdict(config, folder.name, lines, list(filter(math.isfinite, deviations)))))
    parts += evaluations(folder, lines)
    if records:
        parts += row("Curves", [curve(config, name, series, lines) for name, series in curves(records).items()])
    parts += settings(config)
    write_text(folder / "report.html", page(title_of(config), parts))
    return folder / "report.html"


def summary_html(folder: Path) -> str:
    """A run in a notebook: its heading, the latest samples beside reals, and the curves of its losses."""
    config = read_config(folder)
    records = read_stats(folder / "stats.jsonl")
    fakes = previews_of(folder)
    pictures = [figure(*inlined(path, caption_of(path, config))) for path in fakes[-1:]]
    pictures += [figure(*inlined(path, "real data")) for path in [folder / "reals.png"] if path.is_file()]
    charts = [curve(config, name, series, []) for name, series in curves(records).items() if name == "loss"]
    columns = "".join(f"<div style='max-width:30rem;flex:1 1 18rem'>{part}</div>" for part in [*pictures, *charts])
    return (
        f"{''.join(heading(config, folder, records))}<div style='display:flex;flex-wrap:wrap;gap:1rem'>{columns}</div>"
    )


def title_of(config: Config) -> str:
    return f"{config['model']} on {config['data']['name']}"


def row(title: str, parts: list[str], style: str = "row") -> list[str]:
    """Parts side by side under a heading."""
    return [f"<h2>{title}</h2><div class='{style}'>", *parts, "</div>"]


def read_stats(path: Path) -> list[dict[str, float]]:
    """The complete lines of stats.jsonl; a last line cut short by a kill is left out."""
    return cast(list[dict[str, float]], schema.lines(path, schema.STATS))


def heading(config: Config, folder: Path, records: list[dict[str, float]]) -> list[str]:
    """Title, progress and the main facts of a run."""
    parts = [f"<h1>{escaped(title_of(config))}</h1><small>{escaped(folder.name)}</small>", summary(config, records)]
    if stopped := config.get("stopped"):
        parts.append(f"<p><b>Stopped early</b> after {stopped['images']:,} images: {escaped(stopped['reason'])}.</p>")
    return parts


def summary(config: Config, records: list[dict[str, float]]) -> str:
    spec = config["spec"]
    classes = f", {spec['num_classes']} classes" if spec["num_classes"] else ""
    seconds = time_of(records)
    facts = {
        "images seen": f"{config['images']:,} of {config['settings']['images']:,}",
        "images a second": (records[-1].get("images_per_s") or "") if records else "",
        "time": f"{seconds / 60:,.1f} minutes" if 0 < seconds < 1e9 else "",
        "data": f"{config['data']['count']:,} of {'x'.join(map(str, spec['shape']))}{classes}",
        "preset": config.get("preset") or "none: the paper's defaults",
    }
    return table("", {name: value for name, value in facts.items() if value != ""})


def time_of(records: list[dict[str, float]]) -> float:
    """Seconds of training; each resume counts from 0."""
    total = last = 0.0
    for record in records:
        seconds = record.get("seconds") or 0.0
        total += last * (seconds < last)
        last = seconds
    return total + last


# Pictures ------------------------------------------------------------------------------------------------------------


def previews_of(folder: Path) -> list[Path]:
    """The previews in a run folder, in order."""
    return sorted((path for path in folder.glob("fakes*.png") if path.is_file()), key=images_of)


def inlined(path: Path, caption: str, most: int = 500_000) -> tuple[bytes, str, str]:
    """A picture's content, caption and kind, compressed if it has more bytes."""
    content, kind = inline(path, most)
    return content, caption, kind


def caption_of(path: Path, config: Config) -> str:
    are_strips = config.get("preview") == "strips"
    what = "columns such as input, output and target of fixed images" if are_strips else "samples of fixed latents"
    return f"{what}, averaged weights, after {images_of(path):,} images"


def previews(folder: Path, config: Config, lines: list[schema.Record]) -> list[str]:
    """Previews over time beside real data, and those of the best and the last weights beside each other."""
    fakes, figures = previews_of(folder), []
    if fakes:
        chosen = spread(fakes, MOST_FRAMES)
        content = [inlined(path, caption_of(path, config), MOST_BYTES // len(chosen)) for path in chosen]
        figures.append(frames(content, "previews over time, by images seen"))
    if (folder / "reals.png").is_file():
        figures.append(figure(*inlined(folder / "reals.png", "real data")))
    are_strips = config.get("preview") == "strips"
    title = "Inputs, outputs and data" if are_strips else "Samples over time, and reals"
    parts = row(title, figures, "row pictures") if figures else []
    standing = evaluation.standing_of(lines)
    best = standing.best["fake"].get("images", 0) if standing else 0
    picture = folder / f"fakes{best:09d}.png"
    if standing and standing.since and fakes and picture.is_file():
        (name, value), last = (standing.best["name"], standing.best["value"]), standing.latest["value"]
        pair = [
            figure(*inlined(picture, f"best: {name} {value:.4g} after {best:,} images (weights-best.safetensors)")),
            figure(*inlined(fakes[-1], f"last: {name} {last:.4g}, after {images_of(fakes[-1]):,} images")),
        ]
        parts += row("Best and last", pair, "row pictures")
    elif standing:
        name, where = standing.best["name"], "the last weights" if not standing.since else f"{best:,} images"
        parts.append(f"<p>The best {escaped(name)}, {standing.best['value']:.4g}, is that of {where}.</p>")
    return parts


def images_of(path: Path) -> int:
    """The count of images in a preview's name."""
    return int("".join(c for c in path.stem if c in "0123456789")[:18] or 0)


def spread(items: list[Path], n: int) -> list[Path]:
    """At most n items, evenly, with the first and the last."""
    if len(items) <= n:
        return items
    return [items[round(i * (len(items) - 1) / (n - 1))] for i in range(n)]


# Scores --------------------------------------------------------------------------------------------------------------


def evaluations(folder: Path, lines: list[schema.Record]) -> list[str]:
    """The latest value of each metric, with its uncertainty and meaning, and the figures of the evaluation."""
    latest = {line["name"]: line for line in lines}
    if not latest:
        return []
    figures = []
    for name, caption in CAPTIONS.items():
        path = folder / "evaluation" / name
        if path.is_file():
            is_curve = path.suffix == ".json"
            figures.append(spectrum(path, caption) if is_curve else figure(*inlined(path, caption)))
    metrics = f"<h2>Metrics</h2><div class=wide><table>{''.join(map(metric, latest.values()))}</table></div>"
    return [metrics, *(row("Figures", figures) if figures else [])]


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
    series = {
        name: [(p[0], p[1]) for p in points if len(p) == 2 and all(map(math.isfinite, p))]
        for name, points in spectra.items()
    }
    series = {name: points for name, points in series.items() if points}
    if not series:
        return ""
    drawn = chart("power", series, unit="frequency, 1/100 of the highest", unit_y="log10 of the power")
    return captioned(drawn, caption)


# Curves --------------------------------------------------------------------------------------------------------------


def curves(records: list[dict[str, float]]) -> dict[str, Series]:
    """Series by chart, the main ones first: those with the same last word, such as d/loss and g/loss, share one."""
    charts: dict[str, Series] = {}
    for record in records:
        for key, value in record.items():
            if key in ("images", "seconds") or not isinstance(value, (int, float)) or not math.isfinite(value):
                continue
            charts.setdefault(chart_of(key), {}).setdefault(key, []).append((record["images"], value))

    def rank(name: str) -> int:
        return -1 if name.startswith("evaluation/") else FIRST.index(name) if name in FIRST else len(FIRST)

    return dict(sorted(charts.items(), key=lambda item: rank(item[0])))


def curve(config: Config, name: str, series: Series, lines: list[schema.Record]) -> str:
    """A chart with a sentence on what it shows."""
    title = name.removeprefix("evaluation/")
    known = meaning_of(next(iter(series)), next((line["metric"] for line in lines if line["name"] == title), ""))
    text = known.text if known else "A value that the model logs under this name; its file says what it is."
    drawn = chart(
        name, series, unit_y=known.unit if known else "", limits=known.limits if known else None,
        marks=chance(config["model"], config["arguments"], name), has_last=True, may_be_log=True,
    )  # fmt: skip
    title = next(iter(series)) if len(series) == 1 and title == name else title
    return captioned(drawn, text, title)


# Settings ------------------------------------------------------------------------------------------------------------


def settings(config: Config) -> list[str]:
    """What the run was asked for, and when it went on after a stop."""
    tables = [table("model", config["arguments"]), table("run", config["settings"])]
    tables += [table("data", config["data"]), table("versions", config["history"][-1]["versions"])]
    parts = ["<details><summary>Settings</summary><div class=row>", *tables, "</div></details>"]
    if len(config["history"]) > 1:
        parts.append("<h2>Resumed</h2>")
    for entry in config["history"][1:]:
        changed = escaped(json.dumps(entry["changed"]))
        parts.append(f"<p>at {entry['images']:,} images, {escaped(entry['time'])}: {changed}</p>")
    return parts
