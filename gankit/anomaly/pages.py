"""Anomaly scores as files: a table, a heat map for each image, curves, and one HTML page with all of them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gankit import data, latent, pictures, report
from gankit.anomaly.scoring import Scores
from gankit.runs.files import write_text
from gankit.text import escaped

HEAT = np.array(
    [[0, 0, 0, 0], [90, 0, 60, 110], [220, 40, 20, 170], [255, 170, 0, 210], [255, 255, 200, 240]], np.float64
)  # RGBA


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
    pictures.save_picture(path.with_suffix(".png"), strips(found))
    write_text(path.with_suffix(".html"), html_page(found, numbers, path, title))
    return [path, *(path.with_suffix(s) for s in (".json", ".png", ".html"))]


def strips(found: Scores) -> Image.Image:
    """Images, reconstructions and heat maps of the lowest scores above those of the highest, on one scale."""
    top = max(float(torch.stack([heat for *_, heat in found.extremes]).max()), 1e-12)
    rows = [(image, rebuilt, overlay(image, heat, top)) for image, rebuilt, heat in found.extremes]
    columns = [torch.stack(part) for part in zip(*rows)]
    return pictures.grid(latent.beside(columns), 3 * max(1, len(rows) // 4))


def overlay(image: Tensor, heat: Tensor, top: float) -> Tensor:
    """(C, H, W) image in [-1, 1] and (H, W) map to (3, H, W): the map from dark red to white over the grey image."""
    grey = ((image[:3].mean(0) + 1) / 2).clamp(0, 1).double().numpy()[..., None] * 255
    place = (heat.double() / top).clamp(0, 1).numpy() * (len(HEAT) - 1)
    low = np.minimum(place.astype(int), len(HEAT) - 2)
    colour = HEAT[low] + (place - low)[..., None] * (HEAT[low + 1] - HEAT[low])
    cover = colour[..., 3:] / 255
    mixed = grey * (1 - cover) + colour[..., :3] * cover
    return torch.from_numpy(mixed / 127.5 - 1).float().permute(2, 0, 1)


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
    rows: dict[str, object] = {name: f"{value:.4g}" for name, value in numbers.items()}
    parts = [f"<h1>{escaped(title)}</h1>", report.table("", rows), "<h2>Least and most anomalous</h2>"]
    caption = "image, normal counterpart, difference between them: lowest scores first, highest last"
    parts += [report.figure(path.with_suffix(".png"), caption), "<h2>Curves</h2><div class=row>"]
    parts += [pictures.chart(name, series, unit=unit) for name, series, unit in score_curves(found)]
    parts += ["</div>", *(f"<p>{escaped(note)}</p>" for note in found.notes)]
    return report.page(title, parts)


def score_curves(found: Scores) -> list[tuple[str, dict[str, list[tuple[float, float]]], str]]:
    """Histogram of scores, and ROC and precision-recall curves if the truth is known: names, series, units of x."""
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
    out = [("share of scores", lines, "score")]
    if truth is not None and 0 < int(truth.sum()) < len(truth):
        from sklearn.metrics import precision_recall_curve, roc_curve

        x, y, _ = roc_curve(truth.numpy(), found.score.numpy())
        out.append(("ROC", {"share of anomalies found": list(zip((100 * x).tolist(), y.tolist()))}, "% false alarms"))
        precision, recall, _ = precision_recall_curve(truth.numpy(), found.score.numpy())
        out.append(
            ("precision and recall", {"precision": list(zip((100 * recall).tolist(), precision.tolist()))}, "% recall")
        )
    return out
