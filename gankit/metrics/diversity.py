"""Diversity of samples, in pixels."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import pdist


def pixel_std(images: Tensor) -> float:
    """Mean over pixels of the standard deviation over (N, ...) samples, N >= 2: 0 if all are equal."""
    return float(images.double().std(0).mean())


def pairwise_distance(images: Tensor) -> float:
    """Mean over pairs of (N, ...) samples of their root mean square difference; memory grows with N^2 / 2."""
    flat = images.double().flatten(1)
    return float(pdist(flat).mean()) / flat.shape[1] ** 0.5
