"""Search for the latent whose sample is nearest to an image: the loss, the starting points, the optimization.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020, appendix D.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit import latent
from gankit.metrics import vgg
from gankit.metrics.lpips import load as load_lpips
from gankit.recipe import Recipe, seeded

RAMP_UP, RAMP_DOWN, NOISE_END, NOISE = 0.05, 0.25, 0.75, 0.05  # shares of the steps; initial noise
NOISE_WEIGHT = 1e5  # alpha, of the noise maps' regulariser


# The loss ------------------------------------------------------------------------------------------------------------


class Distance:
    """Distances from a target: mean squared errors at all sizes down to 4, plus LPIPS if a network is given."""

    def __init__(self, network: Callable[[Tensor, Tensor], Tensor] | None):
        self.network = network

    def __call__(self, images: Tensor, target: Tensor) -> Tensor:
        """(N, C, H, W) and (1, C, H, W) to (N,)."""
        total, a, b = images.new_zeros(len(images)), images, target.expand_as(images)
        if self.network is not None:
            total = total + self.network(a.clamp(-1, 1), b)
        for level in range(16):
            total = total + (a - b).square().mean((1, 2, 3)) * 0.5**level
            if min(a.shape[2:]) < 8:
                break
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        return total


def distance_of(recipe: Recipe, lpips: str) -> Distance:
    """The loss, with LPIPS if it is requested and available.

    Raises:
        ValueError: LPIPS is requested, and the model's images are too small or have other than 1 or 3 channels.
    """
    channels, *sides = recipe.spec.shape
    fits = min(sides) >= 32 and channels in (1, 3)
    if lpips == "yes" and (min(sides) < 16 or channels not in (1, 3)):
        raise ValueError(
            f"LPIPS needs sides of 16 or more, 1 or 3 channels; these images are {list(recipe.spec.shape)}: --lpips no"
        )
    if lpips == "no" or (lpips == "auto" and not (fits and vgg.here())):
        return Distance(None)
    try:
        network = load_lpips()
    except (OSError, ValueError):
        if lpips == "yes":
            raise
        return Distance(None)
    like = next(recipe.parameters())
    network = network.to(like.device, like.dtype)
    return Distance(lambda a, b: network(*(x.expand(-1, 3, -1, -1) for x in (a, b))))


def noise_correlation(noise: Tensor) -> Tensor:
    """Correlation of neighbours in a noise map, at all sizes down to 8: squared means of products with shifts."""
    total, x = noise.new_zeros(()), noise.reshape(1, 1, *noise.shape[-2:])
    while True:
        total = total + (x * x.roll(1, 2)).mean().square() + (x * x.roll(1, 3)).mean().square()
        if min(x.shape[2:]) <= 8:
            return total
        x = F.avg_pool2d(x, 2) * 2  # twice the mean of four keeps the variance


# The search ----------------------------------------------------------------------------------------------------------


@dataclass
class Projected:
    """The result of a search.

    Args:
        point: (1, ...) z or w.
        label: (1,) or None.
        image: (1, C, H, W).
        loss: its distance from the target.
        losses: the distances that all restarts reached.
        path: images during the search, (1, C, H, W) each.
        noise: the optimized noise maps, by the names of their buffers.
        length: root mean square of the latent over that of the prior's latents.
        seconds: duration of the search.
    """

    point: Tensor
    label: Tensor | None
    image: Tensor
    loss: float
    losses: list[float]
    path: list[Tensor]
    noise: dict[str, Tensor]
    length: float
    seconds: float

    def arrays(self, space: str) -> dict[str, np.ndarray]:
        """The latent, its space, label and noise maps as the arrays that other tools read."""
        arrays = {"latent": self.point.double().cpu().numpy(), "space": np.array(space)}
        arrays |= {} if self.label is None else {"label": self.label.cpu().numpy()}
        return arrays | {f"noise.{key}": value.cpu().numpy() for key, value in self.noise.items()}


@dataclass
class Start:
    """Where a search starts, and how far it may go.

    Args:
        points: (N, ...) the starting points.
        labels: (N,) or None.
        deviation: standard deviation of the prior's latents.
        prior: (M, D) latents of the prior.
    """

    points: Tensor
    labels: Tensor | None
    deviation: float
    prior: Tensor


@dataclass
class Search:
    """A search for the latent whose sample is nearest to a target.

    Args:
        recipe: the model.
        target: (1, C, H, W).
        space: z, w or w+.
        distance: the loss.
        steps: of Adam.
        lr: Adam's largest learning rate.
        seed: of starting points and noise.
    """

    recipe: Recipe
    target: Tensor
    space: str
    distance: Distance
    steps: int
    lr: float
    seed: int

    def run(self, restarts: int, label: int | None, noise_maps: bool) -> Projected:
        """All restarts in one batch; the noise maps are optimized after that, for the best one."""
        began = time.perf_counter()
        with torch.no_grad():
            start = self.start(restarts, label)
        bounds = (start.prior.amin(0), start.prior.amax(0)) if self.space == "z" else None
        free, images, losses = self.descend(start.points, start.labels, self.lr, NOISE * start.deviation, {}, bounds)
        best = int(losses.argmin())
        chosen = slice(best, best + 1)
        labels = None if start.labels is None else start.labels[chosen]
        path, free, loss = [step[chosen] for step in images], free[chosen], float(losses[best])
        maps: dict[str, Tensor] = {}
        if noise_maps and (buffers := noise_maps_of(self.recipe)):
            maps = {name: value.clone() for name, value in buffers.items()}
            free, more, last = self.descend(free, labels, self.lr / 2, 0.0, maps, bounds)
            path, loss = path + more, float(last[0])
        point = self.expand(free).contiguous()
        length = float(point.square().mean().sqrt() / start.prior.square().mean().sqrt())
        with replaced(self.recipe, maps):
            image = latent.render(self.recipe, point, labels)
        seconds = time.perf_counter() - began
        return Projected(point, labels, image, loss, losses.tolist(), [*path, image], maps, length, seconds)

    def expand(self, free: Tensor) -> Tensor:
        """Optimized values to points: in w, one style is shared by all layers."""
        return free if self.space == "z" else free.expand(-1, self.recipe.num_ws, -1)

    def start(self, restarts: int, label: int | None) -> Start:
        """Samples of the prior; in w they are moved halfway to the mean, and the first one is the mean."""
        recipe, labels = self.recipe, labels_of_starts(self.recipe, restarts, label)
        first_seed = self.seed * 100_000
        seeds = range(first_seed, first_seed + (restarts if labels is None else len(labels)))
        z = latent.latents(recipe, seeds)
        prior = latent.latents(recipe, range(10**6, 10**6 + 1000))
        if self.space == "z":
            return Start(z, labels, float((prior - prior.mean(0)).square().mean().sqrt()), prior)
        rows = None if labels is None else labels[torch.arange(len(prior), device=labels.device) % len(labels)]
        w = latent.to_w(recipe, prior, rows)[:, 0]
        mean = w.mean(0) if labels is None else torch.stack([w[rows == row].mean(0) for row in labels])
        deviation = float((w - w.mean(0)).square().sum(1).mean().sqrt())
        points = torch.lerp(mean.expand(len(z), -1), latent.to_w(recipe, z, labels)[:, 0], 0.5)
        points[0] = mean if labels is None else mean[0]
        points = points[:, None] if self.space == "w" else points[:, None].repeat(1, recipe.num_ws, 1)
        return Start(points, labels, deviation, w)

    def descend(
        self,
        first: Tensor,
        labels: Tensor | None,
        lr: float,
        noise: float,
        maps: dict[str, Tensor],
        bounds: tuple[Tensor, Tensor] | None,
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        """Run Adam from the first points. Returns the last points, images during the search, and final losses (N,).

        Args:
            first: (N, ...) starting points.
            labels: (N,) or None.
            lr: the largest learning rate.
            noise: standard deviation of the noise that is added to the points initially.
            maps: noise maps to optimize, in place.
            bounds: smallest and largest values of the points, or none.
        """
        free = first.clone().requires_grad_()
        adam = torch.optim.Adam([free, *(x.requires_grad_() for x in maps.values())], lr, betas=(0.9, 0.999))
        path: list[Tensor] = []
        with torch.enable_grad(), replaced(self.recipe, maps):
            for step in range(self.steps):
                done = step / self.steps
                ramp_up = min(1.0, (step + 1) / self.steps / RAMP_UP)
                adam.param_groups[0]["lr"] = lr * half_cosine(min(1.0, (1 - done) / RAMP_DOWN)) * ramp_up
                with seeded(self.seed, step):
                    shake = torch.randn(first.shape).to(first) * noise * max(0.0, 1 - done / NOISE_END) ** 2
                images = latent.generate(self.recipe, self.expand(free + shake), labels)
                loss = self.distance(images, self.target).sum()
                loss = loss + NOISE_WEIGHT * sum((noise_correlation(x) for x in maps.values()), free.new_zeros(()))
                adam.zero_grad()
                loss.backward()
                adam.step()
                with torch.no_grad():
                    if bounds:
                        free.copy_(free.clamp(*bounds))
                    for x in maps.values():
                        x.sub_(x.mean()).div_(x.square().mean().sqrt())
                if step % max(1, self.steps // 40) == 0:
                    path.append(images.detach().float().cpu())
            with torch.no_grad():
                losses = self.distance(latent.generate(self.recipe, self.expand(free), labels), self.target)
        for x in maps.values():
            x.requires_grad_(False)
        return free.detach(), path, losses


def half_cosine(share: float) -> float:
    """Half a cosine from 0 to 1."""
    return 0.5 - 0.5 * math.cos(share * math.pi)


def noise_maps_of(recipe: Recipe) -> dict[str, Tensor]:
    """The noise maps of a style model's layers: buffers called `noise` or `fixed`, by their names."""
    return {name: b for name, b in recipe.named_buffers() if name.rsplit(".")[-1] in ("noise", "fixed") and b.ndim >= 2}


@contextmanager
def replaced(recipe: Recipe, maps: dict[str, Tensor]) -> Iterator[None]:
    """A context in which other tensors replace some buffers."""
    originals: list[tuple[nn.Module, str, Tensor | None]] = []
    for name, tensor in maps.items():
        owner, _, leaf = name.rpartition(".")
        module: nn.Module = recipe.get_submodule(owner)
        originals.append((module, leaf, module._buffers[leaf]))
        module._buffers[leaf] = tensor
    try:
        yield
    finally:
        for module, leaf, original in originals:
            module._buffers[leaf] = original


def labels_of_starts(recipe: Recipe, restarts: int, label: int | None) -> Tensor | None:
    """(N,) labels of the starts: the requested one, or the classes in turn, each at least once; None without labels."""
    if not latent.takes_label(recipe):
        return None
    count = restarts if label is not None else max(restarts, min(recipe.spec.num_classes, 32))
    return latent.labels(recipe, range(count), label)
