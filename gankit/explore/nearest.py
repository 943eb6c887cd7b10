"""The images of the data that samples are nearest to: whether a model draws or remembers."""

from __future__ import annotations

import torch

from gankit import latent, metrics
from gankit.explore.judge import data_of
from gankit.explore.result import Result, blank
from gankit.explore.start import Seeds, noised, start
from gankit.metrics.extractors import extractor
from gankit.runs.trained import Trained


def neighbours(
    trained: Trained,
    *,
    seeds: Seeds = Seeds(range(8)),
    k: int = 6,
    features: str = "pixels",
    data: str = "",
    n: int = 20_000,
    label: int | None = None,
    trunc: float = 1.0,
    latent_file: str = "",
) -> Result:
    """Nearest neighbours: a sample, and the images of the data that are nearest to it, with their distances.

    Args:
        seeds: a row for each.
        k: neighbours of each.
        features: pixels, or a network whose features are compared: digits, inception, vgg16, timm:NAME ...
        data: the data to look in; the run's own without it.
        n: images of the data to look at, all if there are no more.
        label: the class; the classes in turn, by seed, without it.
        trunc: truncation.
        latent_file: a .npz of `project` in place of seeds.
    """
    trained = noised(trained, latent_file)
    begin = start(trained, seeds, label, trunc, file=latent_file)
    samples = latent.render(trained.recipe, begin.points, begin.given)
    found = data_of(trained, data)
    if not 1 <= k <= min(n, found.count):
        raise ValueError(f"--k is {k}; there are {min(n, found.count)} images to be near")
    images, _ = found.some(n)
    if features == "pixels":
        near = metrics.nearest_neighbours(samples.flatten(1), images.flatten(1), k)
    else:
        net = extractor(features)
        near = metrics.nearest_neighbours(net(samples), net(images), k)
    rows = torch.cat(
        [samples[:, None], blank(samples).expand(len(samples), -1, -1, -1)[:, None], images[near.index.cpu()]], 1
    )
    numbers: dict[str, object] = {"features": features, "images": len(images), "distances": near.distance.tolist()}
    if features == "pixels":
        inner = metrics.nearest_neighbours(images[:500].flatten(1), images.flatten(1), min(2, len(images))).distance[
            :, -1
        ]
        numbers["median distance of an image of the data to its nearest other one"] = float(inner.median())
    return Result(rows.flatten(0, 1), k + 2, ["sample", "", *[f"{i + 1}." for i in range(k)]], begin.names, numbers)
