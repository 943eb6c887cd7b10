"""report.html: one file with the pictures, the curves and the settings of a run; opens offline with a double click."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path

from gankit import checkpoint, schema
from gankit.text import escaped

COLOURS = ("#2563a8", "#c2410c", "#15803d", "#7e22ce", "#b91c1c", "#0e7490")
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 66rem; padding: 0 1rem; color: #1c1c1c; background: #fff }
h1 { font-size: 1.5rem; margin-bottom: 0 } h2 { font-size: 1.1rem; margin-top: 2.2rem } small, figcaption { color: #666 }
.row { display: flex; flex-wrap: wrap; gap: 1.2rem } figure { margin: 0 } figure img { max-width: 30rem; width: 100%; image-rendering: pixelated }
.film img { max-width: 15rem } table { border-collapse: collapse; font-size: .9rem } td { padding: .1rem 1rem .1rem 0; vertical-align: top }
svg text { font: 11px system-ui, sans-serif; fill: #555 }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818 } svg text { fill: #aaa } }
"""


def write(folder: Path) -> Path:
    """Write report.html into a run folder and return its path.

    Raises:
        BadCheckpoint: the folder holds no run.
    """
    config = checkpoint.read_config(folder)
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
    page = f"<!doctype html><html lang=en><meta charset=utf-8><title>{escaped(title)}</title><style>{STYLE}</style>{''.join(parts)}</html>"
    checkpoint.write_text(folder / "report.html", page)
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
    from gankit import evaluation
    from gankit.evaluation.figures import CAPTIONS

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


def figure(path: Path, caption: str) -> str:
    """A picture inside the page."""
    data = base64.b64encode(path.read_bytes()).decode()
    return f"<figure><img alt='{escaped(caption)}' src='data:image/png;base64,{data}'><figcaption>{escaped(caption)}</figcaption></figure>"


def table(title: str, rows: dict[str, object]) -> str:
    body = "".join(
        f"<tr><td>{escaped(str(k))}<td>{escaped(', '.join(map(str, v)) if isinstance(v, list) else str(v))}"
        for k, v in rows.items()
    )
    return f"<table>{f'<caption>{escaped(title)}</caption>' if title else ''}{body}</table>"


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


def chart(
    name: str, series: dict[str, list[tuple[float, float]]], width: int = 480, height: int = 220, unit: str = "images"
) -> str:
    """Lines over images seen, or over another unit, as SVG."""
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    x0, x1, y0, y1 = min(xs), max(xs), min(ys), max(ys)
    left, right, top, bottom = 52, 8, 22, 20

    def place(x: float, y: float) -> str:
        px = left + (x - x0) / ((x1 - x0) or 1) * (width - left - right)
        py = height - bottom - (y - y0) / ((y1 - y0) or 1) * (height - top - bottom)
        return f"{px:.1f},{py:.1f}"

    lines, keys = [], []
    for i, (key, points) in enumerate(series.items()):
        colour = COLOURS[i % len(COLOURS)]
        lines.append(
            f"<polyline fill=none stroke='{colour}' stroke-width=1.4 points='{' '.join(place(x, y) for x, y in points)}'/>"
        )
        lines += [
            f"<circle r=2.5 fill='{colour}' cx={x} cy={y} />"
            for x, y in [place(*points[0]).split(",")]
            if len(points) == 1
        ]
        keys.append(f"<tspan fill='{colour}'>{escaped(key)} </tspan>")
    axes = (
        f"<text x=4 y={top + 8}>{y1:.3g}</text><text x=4 y={height - bottom}>{y0:.3g}</text>"
        f"<text x={left} y={height - 5}>{x0:,.0f}</text><text x={width - right} y={height - 5} text-anchor=end>{x1:,.0f} {escaped(unit)}</text>"
    )
    return f"<svg role=img aria-label='{escaped(name)}' width={width} height={height}><text x={left} y=13>{''.join(keys)}</text>{axes}{''.join(lines)}</svg>"
