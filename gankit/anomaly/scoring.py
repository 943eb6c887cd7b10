"""Anomaly scores of images by a trained model, a threshold, and how well both separate anomalies from normal images."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gankit import data, metrics
from gankit.anomaly import truth
from gankit.anomaly.heat import strips
from gankit.anomaly.truth import NORMAL
from gankit.data.reading.files import listed
from gankit.html import figure, grid
from gankit.pictures import as_png
from gankit.recipe import Anomaly, Recipe, can
from gankit.runs.trained import Trained

Extreme = tuple[float, Tensor, Tensor, Tensor]  # a score with its image, reconstruction and map
ABOUT = {
    "images": "number of images that were scored",
    "cpu_ms_per_image": "processor time to score an image, in milliseconds",
    "steps": "optimization steps for each image: anogan searches the latent space, f_anogan encodes once",
    "threshold": "the score above which an image counts as anomalous",
    "above": "share of all images above the threshold",
    "auroc": "chance that an anomalous image scores higher than a normal one; 0.5 is a guess, 1 is perfect",
    "auprc": "mean precision over all thresholds; a guess has the share of anomalous images, 1 is perfect",
    "anomalous": "share of images that are anomalous in truth",
    "false_alarms": "share of the normal images above the threshold",
    "found": "share of the anomalous images above the threshold (recall)",
    "pixel_auroc": "as auroc, over pixels: how well the heat maps locate the anomalies",
    "pro": "per-region overlap: mean share of each anomalous region that the heat maps cover, at few false pixels",
}
"""What each number of `numbers` is."""
PIXELS = 2**26  # of maps that are kept for curves over pixels: 256 MB


@dataclass
class Scores:
    """Anomaly scores of N images.

    Args:
        names: of the images: their files, or their numbers.
        score: (N,) float64, larger for anomalies.
        steps: (N,) optimization steps for each image.
        images: (N, C, H, W) uint8, or (0, C, H, W) if there are too many to keep.
        maps: (N, H, W), or (0, H, W) if there are too many to keep.
        anomalous: (N,) bool, the truth; None if it is not known.
        masks: (N, H, W) bool, where the anomalies are; None if that is not known.
        extremes: image, reconstruction and map of the lowest and the highest scores, ordered by score.
        seconds: processor time per image.
        notes: messages for the user.
    """

    names: list[str]
    score: Tensor
    steps: Tensor
    images: Tensor
    maps: Tensor
    anomalous: Tensor | None
    masks: Tensor | None
    extremes: list[tuple[Tensor, Tensor, Tensor]]
    seconds: float
    notes: list[str]

    def __len__(self) -> int:
        return len(self.score)

    def __repr__(self) -> str:
        least, most = float(self.score.min()), float(self.score.max())
        return f"<Scores of {len(self):,} images, {least:.4g} to {most:.4g}>"

    def _repr_html_(self) -> str:
        return "".join(summary_html(numbers(self), as_png(strips(self.extremes))))


def summary_html(summary: dict[str, float], extremes: Path | bytes) -> tuple[str, str]:
    """The table of `numbers` with what each is, and the figure of the extremes, a PNG, as HTML."""
    rows = [(name, f"{value:.4g}", ABOUT.get(name, "")) for name, value in summary.items()]
    caption = "image, normal counterpart, difference between them: lowest scores first, highest last"
    return grid(("", "value", "what it is"), rows, (1,)), figure(extremes, caption)


def score_run(
    trained: Trained,
    name: str,
    normal_classes: tuple[str, ...] = (),
    batch: int = 64,
    limit: int = 0,
) -> Scores:
    """Anomaly scores of a data set by a trained model.

    Args:
        trained: a model that scores images.
        name: a folder, archive or built-in data set; in label maps, class 0 is normal and all others are anomalies.
            The maps of defects in ground_truth/ beside test/ are found, as in MVTec AD.
        normal_classes: names of the classes that are normal, for images with classes; default: good, normal and ok.
        batch: images per forward pass; it does not change the scores.
        limit: number of images at most; 0 for all.

    Raises:
        ValueError: the model does not score images, the data does not fit it, or a named class does not exist.
    """
    recipe = trained.recipe
    dataset, anomalous, notes = _open_with_truth(trained, name, normal_classes)
    n = min(len(dataset), limit or len(dataset))
    names = [str(x) for x in dataset.names or range(len(dataset))][:n]
    keep_maps = n * dataset.shape[1] * dataset.shape[2] <= PIXELS
    parts, pixels, masks, defects, seconds = [], [], [], [], 0.0
    extremes: list[Extreme] = []
    for start in range(0, n, batch):
        rows = dataset.rows(np.arange(start, min(n, start + batch)))
        images = data.normalise(rows["real"])
        before = time.process_time()
        part = score_images(recipe, images, batch)
        seconds += time.process_time() - before
        if "mask" in rows:
            defect = (rows["mask"] > 0) & (rows["mask"] != 255)
            defects.append(defect.flatten(1).any(1))
            masks += [defect] * keep_maps
        extremes = extremes_of(extremes, images, part)
        pixels += [rows["real"]] * keep_maps
        parts.append(part if keep_maps else part._replace(map=part.map[:0]))
    if defects and anomalous is None:
        anomalous = torch.cat(defects)
    return Scores(
        names,
        torch.cat([part.score for part in parts]).double(),
        torch.cat([part.steps for part in parts]),
        torch.cat(pixels) if pixels else torch.zeros(0, *dataset.shape, dtype=torch.uint8),
        torch.cat([part.map for part in parts]),
        None if anomalous is None else anomalous[:n],
        torch.cat(masks) if masks else None,
        [(image, rebuilt, heat) for _, image, rebuilt, heat in extremes],
        seconds / n,
        notes,
    )


def _open_with_truth(
    trained: Trained, name: str, normal_classes: tuple[str, ...]
) -> tuple[data.Dataset, Tensor | None, list[str]]:
    """The images, with the maps of their defects if there are any; which are anomalous; and messages for the user."""
    maps = truth.find(name)
    dataset = open_images(trained, str(maps.images) if maps else name)
    anomalous, notes = known_anomalies(dataset, normal_classes)
    if maps and len(dataset) * dataset.shape[1] * dataset.shape[2] <= PIXELS:
        fit = str(trained.config["settings"].get("fit", "crop"))
        dataset.masks, flaws = truth.masks(maps, dataset, anomalous, fit)
        notes = flaws + notes * (dataset.masks is None)
    elif anomalous is not None and dataset.masks is None and anomalous.any() and dataset.names:
        notes.append(f"no maps of the defects were found: for pixel_auroc and pro put them in {truth.EXPECTED}")
    return dataset, anomalous, notes


def score_images(recipe: Recipe, images: Tensor, batch: int = 64) -> Anomaly:
    """Anomaly scores of (N, C, H, W) images in [-1, 1], on the CPU in float32.

    Raises:
        ValueError: the model does not score images.
    """
    if not can(recipe, "score"):
        raise ValueError(f"{type(recipe).__name__} does not score images; anogan and f_anogan do")
    like, parts = next(recipe.parameters()), []
    for part in images.split(batch):
        with torch.no_grad():
            parts.append(recipe.score(part.to(like)))
    return Anomaly(*(torch.cat([getattr(part, k).cpu() for part in parts]) for k in Anomaly._fields))


def extremes_of(extremes: list[Extreme], images: Tensor, part: Anomaly) -> list[Extreme]:
    """Rows of score, image, reconstruction and map: the 8 lowest and the 8 highest of these and the new ones."""
    rows = [
        (float(s), image, rebuilt, heat) for s, image, rebuilt, heat in zip(part.score, images, part.rebuilt, part.map)
    ]
    ordered = sorted([*extremes, *rows], key=lambda row: row[0])
    return ordered if len(ordered) <= 16 else ordered[:8] + ordered[-8:]


def open_images(trained: Trained, name: str) -> data.Dataset:
    """A data set of images, fitted like the model's training data.

    Raises:
        ValueError: it holds no images, or images of another shape.
    """
    spec, settings = trained.recipe.spec, trained.config["settings"]
    reset = {"skip_bad": False, "split": "", "held_out": "", "pair": "", "labels": "", "captions": ""}
    how = data.reading_of({**settings, **reset, "resolution": "x".join(map(str, spec.shape[1:]))})
    dataset = data.open_as(name, how)
    if not isinstance(dataset, data.Dataset) or dataset.kind not in ("images", "masks"):
        raise ValueError(f"{name} holds {data.KINDS.get(dataset.kind, dataset.kind)}; images are scored")
    if tuple(dataset.shape) != tuple(spec.shape):
        kinds = {1: "grey", 3: "in colour", 4: "in colour with transparency"}
        theirs, ours = (kinds.get(shape[0], f"of {shape[0]} channels") for shape in (dataset.shape, spec.shape))
        raise ValueError(
            f"{name} holds images that are {theirs}; {trained.folder.name} was trained on images that are {ours}: "
            "convert them first"
        )
    return dataset


def known_anomalies(dataset: data.Dataset, normal_classes: tuple[str, ...]) -> tuple[Tensor | None, list[str]]:
    """(N,) which images are anomalous by their classes, None if that is not known, and messages for the user.

    Raises:
        ValueError: a named class does not exist, or the images have no classes.
    """
    names = [] if dataset.kind == "masks" else list(dataset.class_names)
    if unknown := [name for name in normal_classes if name not in names]:
        existing = ", ".join(listed(names, len(names))) or "no classes"
        raise ValueError(f"there is no class {unknown[0]!r} in {dataset.name}; it has {existing}")
    normal = normal_classes or tuple(name for name in names if name.lower() in NORMAL)
    if not names:
        return None, []
    if not normal:
        return None, [
            f"which of the classes {', '.join(names[:6])} is normal? "
            "Name it by --normal-class to see how well scores separate them"
        ]
    assert dataset.labels is not None  # there are classes
    return torch.from_numpy(~np.isin(dataset.labels, [names.index(name) for name in normal])), []


def threshold(normal: Tensor, rate: float) -> float:
    """The score above which an image counts as anomalous, with at most this rate of false alarms on new normal images.

    Args:
        normal: (N,) scores of normal images that the model was not trained on.
        rate: of false alarms.

    Raises:
        ValueError: there are too few scores for the rate.
    """
    return metrics.threshold_at(normal.double(), rate)


def numbers(found: Scores, limit: float | None = None) -> dict[str, float]:
    """Summary of scores: time and steps, and AUROC, AUPRC, false alarms and region overlap where the truth is known.

    Args:
        found: the scores.
        limit: the threshold, or none.
    """
    out: dict[str, float] = {
        "images": len(found),
        "cpu_ms_per_image": 1000 * found.seconds,
        "steps": float(found.steps.double().mean()),
    }
    if limit is not None:
        out |= {"threshold": limit, "above": float((found.score > limit).double().mean())}
    if found.anomalous is not None and 0 < int(found.anomalous.sum()) < len(found):
        out |= {
            "auroc": metrics.auroc(found.score, found.anomalous),
            "auprc": metrics.auprc(found.score, found.anomalous),
        }
        out["anomalous"] = float(found.anomalous.double().mean())
        if limit is not None:
            flagged = found.score > limit
            out["false_alarms"] = float(flagged[~found.anomalous].double().mean())
            out["found"] = float(flagged[found.anomalous].double().mean())
    if found.masks is not None and found.masks.any() and not found.masks.all():
        out["pixel_auroc"] = metrics.auroc(found.maps.flatten().double(), found.masks.flatten())
        out["pro"] = metrics.region_overlap(found.maps, found.masks)
    return out
