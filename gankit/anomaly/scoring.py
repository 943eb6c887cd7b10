"""From a trained model and images to scores, a threshold, and how well both tell anomalies from normal images."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gankit import data, metrics
from gankit.data.reading.files import listed
from gankit.recipe import Anomaly, Recipe
from gankit.runs.trained import Trained

NORMAL = ("good", "normal", "ok")  # what folders of normal images are called
PIXELS = 2**26  # of maps that are kept for curves over pixels: 256 MB


@dataclass
class Scores:
    """What was found in N images.

    Args:
        names: of the images: their files, or their numbers.
        score: (N,) float64, larger for anomalies.
        steps: (N,) steps that were taken for each.
        maps: (N, H, W), or (0, H, W) where they were not kept.
        anomalous: (N,) bool, what is true; None where that is not known.
        masks: (N, H, W) bool, where the anomalies are; None where that is not known.
        extremes: image, normal counterpart and map of the lowest and the highest scores, in the order of scores.
        seconds: of the processor, for each image.
        notes: what a user should know.
    """

    names: list[str]
    score: Tensor
    steps: Tensor
    maps: Tensor
    anomalous: Tensor | None
    masks: Tensor | None
    extremes: list[tuple[Tensor, Tensor, Tensor]]
    seconds: float
    notes: list[str]

    def __len__(self) -> int:
        return len(self.score)


def score_run(
    trained: Trained,
    name: str,
    normal_classes: tuple[str, ...] = (),
    batch: int = 64,
    limit: int = 0,
) -> Scores:
    """Scores of a data set by a trained model.

    Args:
        trained: a model that scores.
        name: the images: a folder, archive or built-in set; with label maps, class 0 is normal and all others are defects.
        normal_classes: names of the classes that are normal, where images have classes; good, normal or ok without it.
        batch: images at once; it changes no score.
        limit: how many of them at most; 0 for all.

    Raises:
        ValueError: the model does not score, the data does not fit it, or a class that is named is not there.
    """
    dataset, recipe = opened(trained, name), trained.recipe
    anomalous, notes = truth(dataset, normal_classes)
    n = min(len(dataset), limit or len(dataset))
    names = [str(x) for x in dataset.names or range(len(dataset))][:n]
    keep_maps = n * dataset.shape[1] * dataset.shape[2] <= PIXELS
    found, maps, masks, defects, extremes, seconds = [], [], [], [], [], 0.0
    for start in range(0, n, batch):
        rows = dataset.rows(np.arange(start, min(n, start + batch)))
        images = data.normalise(rows["real"])
        before = time.process_time()
        part = score_images(recipe, images, batch)
        seconds += time.process_time() - before
        found.append(part)
        if keep_maps:
            maps.append(part.map)
        if "mask" in rows:
            defect = (rows["mask"] > 0) & (rows["mask"] != 255)
            defects.append(defect.flatten(1).any(1))
            masks += [defect] * keep_maps
        extremes = kept(extremes, images, part)
    score = torch.cat([part.score for part in found]).double()
    where = torch.cat(masks) if masks else None
    anomalous = torch.cat(defects) if defects else anomalous
    shown = [(image, rebuilt, heat) for _, image, rebuilt, heat in extremes]
    maps = torch.cat(maps) if maps else torch.zeros(0, *dataset.shape[1:])
    steps = torch.cat([part.steps for part in found])
    return Scores(
        names, score, steps, maps, None if anomalous is None else anomalous[:n], where, shown, seconds / n, notes
    )


def score_images(recipe: Recipe, images: Tensor, batch: int = 64) -> Anomaly:
    """(N, C, H, W) images in [-1, 1] to what the model says of them, on the CPU in float32."""
    if not hasattr(recipe, "score"):
        raise ValueError(f"{type(recipe).__name__} does not score images; anogan and f_anogan do")
    like, parts = next(recipe.parameters()), []
    for some in images.split(batch):
        with torch.no_grad():
            parts.append(recipe.score(some.to(like)))
    return Anomaly(*(torch.cat([getattr(part, k).cpu() for part in parts]) for k in Anomaly._fields))


def kept(extremes: list[tuple], images: Tensor, part: Anomaly, most: int = 8) -> list[tuple]:
    """The `most` lowest and highest of those that were kept and of these, by score."""
    rows = [
        (float(s), image, rebuilt, heat) for s, image, rebuilt, heat in zip(part.score, images, part.rebuilt, part.map)
    ]
    ordered = sorted([*extremes, *rows], key=lambda row: row[0])
    return ordered if len(ordered) <= 2 * most else ordered[:most] + ordered[-most:]


def opened(trained: Trained, name: str) -> data.Dataset:
    """The images, fitted as those that the model learned from.

    Raises:
        ValueError: they have another shape that cannot be fitted, or are none.
    """
    spec, settings = trained.recipe.spec, trained.config["settings"]
    size = "x".join(map(str, spec.shape[1:]))
    known = {k: settings[k] for k in ("fit", "alpha") if k in settings}
    dataset = data.open(name, size, **known)
    if dataset.kind not in ("images", "masks"):
        raise ValueError(f"{name} holds {data.KINDS.get(dataset.kind, dataset.kind)}; images are scored")
    if tuple(dataset.shape) != tuple(spec.shape):
        kinds = {1: "grey", 3: "in colour", 4: "in colour with transparency"}
        theirs, ours = (kinds.get(shape[0], f"of {shape[0]} channels") for shape in (dataset.shape, spec.shape))
        raise ValueError(
            f"{name} holds images that are {theirs}; {trained.folder.name} learned from ones that are {ours}: convert them first"
        )
    return dataset


def truth(dataset: data.Dataset, normal_classes: tuple[str, ...]) -> tuple[Tensor | None, list[str]]:
    """(N,) which images are anomalous, as far as their classes tell, and notes.

    Raises:
        ValueError: a class that is named is not there, or images have no classes.
    """
    names = [] if dataset.kind == "masks" else list(dataset.class_names)
    if unknown := [name for name in normal_classes if name not in names]:
        raise ValueError(
            f"there is no class {unknown[0]!r} in {dataset.name}; it has {', '.join(listed(names, len(names))) or 'no classes'}"
        )
    normal = normal_classes or tuple(name for name in names if name.lower() in NORMAL)
    if not names:
        return None, []
    if not normal:
        return None, [
            f"which of the classes {', '.join(names[:6])} is normal? Name it by --normal-class to see how well scores tell them apart"
        ]
    return torch.from_numpy(~np.isin(dataset.labels, [names.index(name) for name in normal])), []


def threshold(normal: Tensor, rate: float) -> float:
    """The score above which an image counts as anomalous, with at most that rate of false alarms on new normal images.

    `normal` are (N,) scores of normal images that the model was not trained on. Raises ValueError: too few for the rate.
    """
    return metrics.threshold_at(normal.double(), rate)


def numbers(found: Scores, limit: float | None = None) -> dict[str, float]:
    """What can be said of scores where the truth is known; without a truth, of the scores alone."""
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
