"""Metrics of the latent space of a generator: path length and linear separability."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Literal, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from gankit import latent, metrics
from gankit.evaluation.needs import Metric
from gankit.evaluation.sources import required
from gankit.evaluation.subject import Score, Subject

Distance = Callable[[Tensor, Tensor], Tensor]


def ppl(s: Subject) -> Iterator[Score]:
    """Path length by the features: how fast they change along arcs in z, and along lines in w if there is one."""
    yield from _path_lengths(s, s.network.distance, s.network.name, "the middle 98 %; features in place of LPIPS")


def ppl_lpips(s: Subject) -> Iterator[Score]:
    """Perceptual path length as published, by LPIPS on VGG16; images are average-pooled to 256 pixels."""

    def distance(a: Tensor, b: Tensor) -> Tensor:
        factor = max(1, min(a.shape[2:]) // 256)
        return metrics.lpips(F.avg_pool2d(a, factor), F.avg_pool2d(b, factor))

    yield from _path_lengths(s, distance, "lpips", "the middle 98 %")


def _path_lengths(s: Subject, distance: Distance, distance_name: str, note: str) -> Iterator[Score]:
    """Path lengths in z and w, over full paths and at their ends."""
    recipe, count, trunc = required(s.fake.recipe), min(1000, s.n), cast(float, s.fake.about["trunc"])
    if count < 2:
        raise ValueError("one pair has no standard error; give two samples at least")
    seeds = list(range(s.seed, s.seed + 2 * count))
    z, label = latent.latents(recipe, seeds), latent.labels(recipe, seeds[:count])
    both = None if label is None else label.repeat(2)

    def from_z(part: Tensor, label: Tensor | None = None) -> Tensor:
        part = part.to(z)
        return latent.render(recipe, latent.shorten(recipe, part, trunc, label), label)

    def from_w(part: Tensor, label: Tensor | None = None) -> Tensor:
        layers = part.to(z)[:, None].expand(-1, recipe.num_ws, -1)
        return latent.render(recipe, latent.truncate_w(recipe, layers, trunc))

    spaces: dict[Literal["z", "w"], tuple[Tensor, Callable[..., Tensor]]] = {"z": (z, from_z)}
    if latent.has_style(recipe):
        spaces["w"] = latent.to_w(recipe, z, both)[:, 0], from_w
    for space, (ends, generate) in spaces.items():
        ends = ends.float().cpu()
        for where in ("full", "end"):
            values = metrics.path_distances(
                generate, ends[:count], ends[count:], distance, t=where, space=space,
                generator=torch.Generator().manual_seed(s.seed), batch=s.batch, label=label,
            )  # fmt: skip
            value, error = metrics.trimmed_mean(values), float(values.std()) / math.sqrt(count)
            name = f"ppl_{space}_{where}_{distance_name}"
            yield Score(name, value, error, "standard error, untrimmed", "lower", 0, count, note)


def separability(s: Subject) -> Iterator[Score]:
    """2 to the entropy of the extractor's classes given linear rules on z, and on w where there is one: 1 is best."""
    n, recipe, trunc = len(s.fakes), required(s.fake.recipe), cast(float, s.fake.about["trunc"])
    seeds = range(s.seed, s.seed + n)
    for space in ("z", "w") if latent.has_style(recipe) else ("z",):
        if space == "w":
            latents = latent.points(recipe, seeds, None, trunc, "w")[0][:, 0]
        else:
            latents = latent.latents(recipe, seeds)
            latents = latents if latent.has_style(recipe) else latent.truncate(recipe, latents, trunc)
        result = metrics.linear_separability(
            latents.float().cpu(), required(s.fakes.probabilities), threshold=0.5, keep=1.0, seed=s.seed
        )
        note = f"{len(result.entropies)} classes as attributes, all samples kept; published with 40 attributes of faces"
        yield Score(s.score_name(f"separability_{space}"), result.score, better="lower", n_fake=n, note=note)


METRICS = {
    "ppl": Metric(ppl, ("a generator", "images", "network")),
    "ppl_lpips": Metric(ppl_lpips, ("a generator", "images", "VGG16")),
    "separability": Metric(separability, ("a generator", "classifier")),
}
