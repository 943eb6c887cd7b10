"""Anomaly scores as files: a table, a heat map for each image, curves, and one HTML page with all of them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import torch

from gankit import data, pictures
from gankit.anomaly.heat import overlay, strips
from gankit.anomaly.scoring import Scores, summary_html
from gankit.html import captioned, page
from gankit.pictures.curves import Mark
from gankit.runs.files import write_text
from gankit.text import escaped


def write(found: Scores, numbers: dict[str, float], path: Path, title: str) -> list[Path]:
    """Write a .csv with a line for each image, a .json with the summary, a .png with the extremes, and an .html page.

    Args:
        found: the scores.
        numbers: their summary.
        path: of the .csv; the other files are beside it.
        title: of the page.

    Returns:
        The paths of the files.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    limit = numbers.get("threshold")
    truth = found.anomalous
    heads = ["image", "score", "steps"] + ["anomalous"] * (limit is not None) + ["truth"] * (truth is not None)
    table.writerow(heads)
    for i, (name, score, steps) in enumerate(zip(found.names, found.score.tolist(), found.steps.tolist())):
        flags = [int(score > limit)] if limit is not None else []
        flags += [int(truth[i])] if truth is not None else []
        table.writerow([name, f"{score:.6g}", steps, *flags])
    write_text(path, text.getvalue())
    write_text(path.with_suffix(".json"), json.dumps(numbers, indent=2))
    pictures.save_picture(path.with_suffix(".png"), strips(found.extremes))
    write_text(path.with_suffix(".html"), html_page(found, numbers, path, title))
    return [path, *(path.with_suffix(s) for s in (".json", ".png", ".html"))]


def save_maps(found: Scores, folder: Path) -> Path:
    """Write a heat map of each image as a PNG with the image's name and subfolder; all share one scale.

    Raises:
        ValueError: there were too many images to keep their maps.
    """
    if not len(found.maps):
        raise ValueError(f"maps of {len(found):,} images do not fit into memory: give --n, or score part of the images")
    top = max(float(found.maps.max()), 1e-12)
    for name, pixels, heat in zip(found.names, found.images, found.maps):
        path = folder / f"{name.rpartition('.')[0] or name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pictures.save_one(path, overlay(data.normalise(pixels), heat, top))
    return folder


def html_page(found: Scores, numbers: dict[str, float], path: Path, title: str) -> str:
    """An HTML page: summary, extremes, histogram and curves."""
    table, extremes = summary_html(numbers, path.with_suffix(".png"))
    parts = [f"<h1>{escaped(title)}</h1><p class=lead>Larger scores are more anomalous.</p>"]
    parts += [table, "<h2>Least and most anomalous</h2>", extremes, "<h2>Curves</h2><div class=row>"]
    parts += [*score_curves(found, numbers.get("threshold")), "</div>"]
    return page(title, [*parts, *(f"<p>{escaped(note)}</p>" for note in found.notes)])


def score_curves(found: Scores, limit: float | None) -> list[str]:
    """Histogram of scores with the threshold, and ROC and precision-recall curves if the truth is known."""
    truth = found.anomalous
    sets = (
        {"images": found.score} if truth is None else {"normal": found.score[~truth], "anomalous": found.score[truth]}
    )
    edges = torch.linspace(float(found.score.min()), float(found.score.max()) + 1e-12, 31, dtype=torch.float64)
    lines = {}
    for name, values in sets.items():
        if len(values):
            counts, _ = np.histogram(values.numpy(), edges.numpy())
            lines[name] = [(float(e), float(c) / len(values)) for e, c in zip(edges, counts)]
    marks = [] if limit is None else [Mark(limit, f"threshold {limit:.4g}", is_upright=True)]
    drawn = pictures.chart("scores", lines, unit="score", unit_y="share of images", marks=marks)
    text = "How the scores are distributed" + (
        "." if limit is None else "; images beyond the dashed line are reported."
    )
    out = [captioned(drawn, text)]
    if truth is not None and 0 < int(truth.sum()) < len(truth):
        from sklearn.metrics import precision_recall_curve, roc_curve

        x, y, _ = roc_curve(truth.numpy(), found.score.numpy())
        series = {"ROC": list(zip((100 * x).tolist(), (100 * y).tolist()))}
        drawn = pictures.chart("ROC", series, unit="false alarms, %", unit_y="anomalies found, %", limits=(0, 100))
        text = "For each threshold, the share of anomalies above it, over the share of normal images above it."
        out.append(captioned(drawn, text))
        precision, recall, _ = precision_recall_curve(truth.numpy(), found.score.numpy())
        series = {"precision": list(zip((100 * recall).tolist(), (100 * precision).tolist()))}
        drawn = pictures.chart("precision", series, unit="anomalies found, %", unit_y="precision, %", limits=(0, 100))
        text = (
            "For each threshold, the share of anomalies among the images above it, over the share of anomalies found."
        )
        out.append(captioned(drawn, text))
    return out
