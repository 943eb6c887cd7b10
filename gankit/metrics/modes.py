"""Coverage of the modes of a known mixture, as VEEGAN (Srivastava et al., NeurIPS 2017,
https://arxiv.org/abs/1705.07761) and PacGAN (Lin et al., NeurIPS 2018, https://arxiv.org/abs/1712.04086) count them.

The published protocol: 2,500 points on ring (8 modes, std 0.01) and grid (25 modes, std 0.05); 26,000 images on
stacked digits (1,000 modes, by a classifier on each channel).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gankit.metrics.digits_classifier import probabilities


class Coverage(NamedTuple):
    """What `coverage` counts.

    Args:
        modes: modes with at least one sample of high quality, as VEEGAN counts them: one sample is enough.
        strict: modes with at least 20 % of their fair share of samples of high quality.
        high_quality: share of samples of high quality, 0 to 1.
        reverse_kl: KL(q || uniform) in nats, where q is the share of all samples in each mode.
    """

    modes: int
    strict: int
    high_quality: float
    reverse_kl: float


def coverage(mode: Tensor, num_modes: int, good: Tensor | None = None, fair: float = 0.2) -> Coverage:
    """Coverage of `num_modes` equally likely modes by samples with the (N,) int64 index `mode`.

    Args:
        mode: the mode of each sample.
        good: (N,) bool, which samples are of high quality; None for all.
        fair: the fraction of a mode's fair share, N / num_modes, that `strict` requires.
    """
    good = torch.ones_like(mode, dtype=torch.bool) if good is None else good
    counts = mode[good].bincount(minlength=num_modes)
    strict = int((counts >= fair * len(mode) / num_modes).sum())
    return Coverage(int((counts > 0).sum()), strict, float(good.double().mean()), reverse_kl(mode, num_modes))


def reverse_kl(mode: Tensor, num_modes: int) -> float:
    """KL(q || uniform) in nats of the histogram q of (N,) int64 indices: 0 if uniform, log(num_modes) for one mode.

    N samples of the uniform distribution give about (num_modes - 1) / (2 N).
    """
    share = mode.bincount(minlength=num_modes).double() / len(mode)
    return float(torch.xlogy(share, share).sum()) + math.log(num_modes)


def nearest(points: Tensor, centres: Tensor, std: float) -> tuple[Tensor, Tensor]:
    """The nearest of (K, D) centres to each of (N, D) points, (N,), and whether it is within 3 std, (N,) bool.

    1 - exp(-9 / 2) = 98.9 % of a two-dimensional Gaussian lies within 3 std: a larger share means too little variance.
    """
    distance = torch.cdist(points.double(), centres.double(), compute_mode="donot_use_mm_for_euclid_dist")
    smallest, mode = distance.min(1)
    return mode, smallest < 3 * std


def mixture_coverage(points: Tensor, centres: Tensor, std: float) -> Coverage:
    """Coverage of a mixture of Gaussians with (K, D) centres and one std by (N, D) points."""
    mode, good = nearest(points, centres, std)
    return coverage(mode, len(centres), good)


def stacked_coverage(images: Tensor, sure: float = 0.9) -> Coverage:
    """Coverage of the 1,000 modes of stacked digits by (N, 3, H, W) images in [-1, 1].

    `modes` and `reverse_kl` count all samples, as published, although by that count a Gaussian fitted to the pixels
    finds all modes. For gankit's `strict` and `high_quality`, the classifier must give each of the three digits a
    probability of at least `sure`.
    """
    n, channels = images.shape[:2]
    certainty, digit = probabilities(images.flatten(0, 1).unsqueeze(1)).view(n, channels, -1).max(2)
    mode = digit @ torch.tensor([100, 10, 1])
    good = coverage(mode, 1000, (certainty >= sure).all(1))
    return coverage(mode, 1000)._replace(strict=good.strict, high_quality=good.high_quality)
