"""Distance between the sets of patches of two images, for models of one image."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import interpolate, unfold

from gankit.metrics.pyramid import SIDE, SMALLEST, draw_directions

DIRECTIONS = 128


def patch_distances(real: Tensor, fakes: Iterable[Tensor], seed: int = 0) -> Tensor:
    """(N,) float64 `patch_distance` of one (C, H, W) image to each of N others; its patches are projected once."""
    projections: list[Tensor] = []
    directions, distances = None, []
    for fake in fakes:
        check(real, fake)
        if directions is None:
            generator = torch.Generator().manual_seed(seed)
            directions = draw_directions(len(real) * SIDE**2, DIRECTIONS, generator).float().to(real.device)
        scales = max(1, (min(*real.shape[1:], *fake.shape[1:]) // SMALLEST).bit_length())
        projections += [_projected(real, directions, k) for k in range(len(projections), scales)]
        by_scale = [_distance(projections[k], _projected(fake, directions, k)) for k in range(scales)]
        distances.append(sum(by_scale) / scales)
    return torch.tensor(distances, dtype=torch.float64)


def patch_distance(real: Tensor, fake: Tensor, seed: int = 0) -> float:
    """Sliced Wasserstein distance between all 7 x 7 patches of two (C, H, W) images in [-1, 1], whose sizes may differ.

    Mean over 128 random unit directions of the W1 distance between the projected patches, and over scales: full size,
    half, a quarter and so on, down to a shorter side of 16 to 31, by antialiased bicubic resizing. Lower is better, 0
    for the same patches in any arrangement. The sliced distance: Rabin et al., "Wasserstein Barycenter and Its
    Application to Texture Mixing", SSVM 2011, https://doi.org/10.1007/978-3-642-24785-9_37. Patches are not normalised,
    unlike in `sliced_wasserstein`.

    Raises:
        ValueError: images are not (C, H, W) with one C, have a side below 7 pixels, or hold NaN.
    """
    return float(patch_distances(real, [fake], seed)[0])


def check(real: Tensor, fake: Tensor) -> None:
    if real.ndim != 3 or fake.ndim != 3 or len(real) != len(fake) or min(*real.shape[1:], *fake.shape[1:]) < SIDE:
        raise ValueError(
            f"images are {tuple(real.shape)} and {tuple(fake.shape)}; give (C, H, W) with one C and sides of {SIDE} at "
            "least"
        )
    if not (real.isfinite().all() and fake.isfinite().all()):
        raise ValueError("images hold values that are not finite")


def _distance(a: Tensor, b: Tensor) -> float:
    """Mean W1 distance of sorted (directions, N) and (directions, M) projections; the larger is subsampled evenly."""
    n = min(a.shape[1], b.shape[1])
    at = (torch.arange(n, device=a.device) + 0.5) / n
    a, b = (line[:, (at * line.shape[1]).long()] for line in (a, b))
    return float((a - b).abs().double().mean())


def _projected(image: Tensor, directions: Tensor, halvings: int) -> Tensor:
    """(directions, N) sorted projections of the patches of an image whose sides are halved several times."""
    x = image.float()[None]
    if halvings:
        x = interpolate(x, [side >> halvings for side in image.shape[1:]], mode="bicubic", antialias=True)
    return (directions.T @ unfold(x, SIDE)[0]).sort(1).values
