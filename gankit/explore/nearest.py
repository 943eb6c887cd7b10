"""Nearest neighbours of samples in the data: whether a model generalizes or memorizes."""

from __future__ import annotations

import torch

from gankit import metrics
from gankit.explore.inputs import Seeds, data_of, latents_of, with_noise_maps
from gankit.explore.result import Result, blank
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
    """Nearest neighbours: samples and the images of the data that are nearest to them, with the distances.

    Args:
        seeds: samples, a row each.
        k: neighbours of each sample.
        features: pixels, or a feature extractor: digits, inception, vgg16, timm:NAME ...
        data: the data to search; default: the run's own.
        n: maximum number of images to search.
        label: the class; default: the classes in turn, by seed.
        trunc: truncation.
        latent_file: a .npz of `project` instead of seeds.
    """
    trained = with_noise_maps(trained, latent_file)
    latents = latents_of(trained, seeds, label, trunc, file=latent_file)
    samples = latents.render(trained.recipe)
    source = data_of(trained, data)
    if not 1 <= k <= min(n, source.count):
        raise ValueError(f"--k is {k}; there are {min(n, source.count)} images to search")
    images, _ = source.select(n)
    if features == "pixels":
        nearest = metrics.nearest_neighbours(samples.flatten(1), images.flatten(1), k)
    else:
        network = extractor(features)
        nearest = metrics.nearest_neighbours(network(samples), network(images), k)
    gap = blank(samples).expand(len(samples), -1, -1, -1)
    rows = torch.cat([samples[:, None], gap[:, None], images[nearest.index.cpu()]], 1)
    numbers: dict[str, object] = {
        "features": features,
        "images": len(images),
        "distances": nearest.distance.tolist(),
    }
    if features == "pixels":
        within = metrics.nearest_neighbours(images[:500].flatten(1), images.flatten(1), min(2, len(images)))
        median = float(within.distance[:, -1].median())
        numbers["median distance of an image of the data to its nearest other one"] = median
    heads = ["sample", "", *[f"{i + 1}." for i in range(k)]]
    return Result(rows.flatten(0, 1), k + 2, heads, latents.names, numbers)
