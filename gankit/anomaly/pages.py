"""What was scored as files: a table, a heat map for each image, curves, and one page with all of it."""

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
from gankit.anomaly.scoring import Scores, opened
from gankit.runs.files import write_text
from gankit.runs.trained import Trained
from gankit.text import escaped

HEAT = np.array(
    [[0, 0, 0, 0], [90, 0, 60, 110], [220, 40, 20, 170], [255, 170, 0, 210], [255, 255, 200, 240]], np.float64
)  # RGBA


def write(found: Scores, numbers: dict[str, float], path: Path, title: str) -> list[Path]:
    """Write PATH.csv with a line for each image, .json with the numbers, .png with the extremes, and .html with all of it.

    Args:
        found: the scores.
        numbers: what was reckoned of them.
        path: the table's path, which ends in .csv.
        title: of the page.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    limit = numbers.get("threshold")
    truth = found.anomalous
    heads = ["image", "score", "steps"] + ["anomalous"] * (limit is not None) + ["truth"] * (truth is not None)
    table.writerow(heads)
    for i, (name, score, steps) in enumerate(zip(found.names, found.score.tolist(), found.steps.tolist())):
        said = [int(score > limit)] if limit is not None else []
        table.writerow([name, f"{score:.6g}", steps, *said, *([int(truth[i])] if truth is not None else [])])
    write_text(path, text.getvalue())
    write_text(path.with_suffix(".json"), json.dumps(numbers, indent=2))
    strips(found).save(path.with_suffix(".png"))
    write_text(path.with_suffix(".html"), page(found, numbers, path, title))
    return [path, *(path.with_suffix(s) for s in (".json", ".png", ".html"))]


def strips(found: Scores) -> Image.Image:
    """The lowest scores' images, their normal counterparts and their maps, above the highest scores' ones; one scale of heat."""
    top = max(float(torch.stack([heat for *_, heat in found.extremes]).max()), 1e-12)
    rows = [(image, rebuilt, overlay(image, heat, top)) for image, rebuilt, heat in found.extremes]
    columns = [torch.stack(part) for part in zip(*rows)]
    return pictures.grid(latent.beside(columns), 3 * max(1, len(rows) // 4))


def overlay(image: Tensor, heat: Tensor, top: float) -> Tensor:
    """(C, H, W) image in [-1, 1] and (H, W) map to (3, H, W): the image in greys with what stands out from dark red to white."""
    grey = ((image[:3].mean(0) + 1) / 2).clamp(0, 1).double().numpy()[..., None] * 255
    place = (heat.double() / top).clamp(0, 1).numpy() * (len(HEAT) - 1)
    low = np.minimum(place.astype(int), len(HEAT) - 2)
    colour = HEAT[low] + (place - low)[..., None] * (HEAT[low + 1] - HEAT[low])
    cover = colour[..., 3:] / 255
    mixed = grey * (1 - cover) + colour[..., :3] * cover
    return torch.from_numpy(mixed / 127.5 - 1).float().permute(2, 0, 1)


def save_maps(trained: Trained, name: str, found: Scores, folder: Path) -> Path:
    """Write a heat map of each image as a PNG, called and placed as the image; all in one scale, up to the highest value of all.

    Raises:
        ValueError: there are too many images for maps that were kept.
    """
    if not len(found.maps):
        raise ValueError(f"maps of {len(found):,} images do not fit into memory: give --n, or a part of the images")
    top, dataset = max(float(found.maps.max()), 1e-12), opened(trained, name)
    for i, (called, heat) in enumerate(zip(found.names, found.maps)):
        path = folder / f"{called.rpartition('.')[0] or called}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = data.normalise(dataset.rows(np.array([i]))["real"])[0]
        pictures.save_one(path, overlay(image, heat, top))
    return folder


def page(found: Scores, numbers: dict[str, float], path: Path, title: str) -> str:
    """One HTML page: numbers, the picture of extremes, histogram and curves."""
    rows = {name: f"{value:.4g}" for name, value in numbers.items()}
    parts = [f"<h1>{escaped(title)}</h1>", report.table("", rows), "<h2>Least and most anomalous</h2>"]
    caption = "image, normal counterpart, what is left between them: lowest scores first, highest last"
    parts += [report.figure(path.with_suffix(".png"), caption), "<h2>Curves</h2><div class=row>"]
    parts += [pictures.chart(name, series, unit=unit) for name, series, unit in curves(found)]
    parts += ["</div>", *(f"<p>{escaped(note)}</p>" for note in found.notes)]
    return report.page(title, parts)


def curves(found: Scores) -> list[tuple[str, dict[str, list[tuple[float, float]]], str]]:
    """Histogram of scores, and ROC and precision-recall curves where the truth is known: name, lines, unit of the axis."""
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
