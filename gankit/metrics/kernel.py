"""Kernel distances between two sets of features: the squared maximum mean discrepancy, from every pair of rows.

MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y): Gretton et al., "A Kernel Two-Sample Test", JMLR 2012,
https://jmlr.org/papers/v13/gretton12a.html. float64, in blocks of `BLOCK` x `BLOCK` pairs whatever N and M are.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

BLOCK = 2048


def kernel_distance(real: Tensor, fake: Tensor) -> float:
    """Unbiased MMD^2 of (N, d) and (M, d) features under k(x, y) = (x . y / d + 1)^3; lower is better.

    sum_{i != j} k(x_i, x_j) / (N (N - 1)) + the same for y - 2 sum_{i, j} k(x_i, y_j) / (N M): all rows at once, so
    the value is deterministic. Binkowski et al., "Demystifying MMD GANs", ICLR 2018,
    https://arxiv.org/abs/1801.01401. Only with Inception's features is it KID, often printed x 1,000. Its mean is 0,
    of either sign, for two sets from one distribution, for any N and M: unlike the Frechet distance it compares across
    numbers of samples.

    Raises:
        ValueError: the sets differ in d, have fewer than two rows, or hold NaN or infinity.
    """
    comparable(real, fake)

    def kernel(products: Tensor) -> Tensor:
        return (products / real.shape[1] + 1) ** 3

    return float(
        _within(real, kernel, diagonal=False) + _within(fake, kernel, diagonal=False) - 2 * _between(real, fake, kernel)
    )


def kernel_distance_subsets(
    real: Tensor, fake: Tensor, subsets: int = 100, size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Mean and population standard deviation of `kernel_distance` over random subsets: KID as published.

    Each subset has `size` rows of (N, d) and of (M, d) features, without replacement. The authors' code uses 50
    subsets, others 100. The deviation is that of one subset, not the error of the mean. It is NaN for one subset, and
    for subsets of more than half of a set, which share most of their rows and are too similar. Lower is better;
    `kernel_distance` estimates the same value with less noise.

    Raises:
        ValueError: as `kernel_distance`; or a set has fewer than `size` rows, `size` < 2, or `subsets` < 1.
    """
    comparable(real, fake)
    if subsets < 1 or size < 2:
        raise ValueError(f"subsets = {subsets} and size = {size}; give at least 1 subset of at least 2 rows")
    if min(len(real), len(fake)) < size:
        raise ValueError(
            f"subsets of {size} need as many rows in both sets, which have {len(real)} and {len(fake)}; "
            "give more samples, a smaller size, or take kernel_distance, which uses every row"
        )
    generator = torch.Generator().manual_seed(seed)

    def draw(features: Tensor) -> Tensor:
        return features[torch.randperm(len(features), generator=generator)[:size].to(features.device)]

    values = torch.tensor([kernel_distance(draw(real), draw(fake)) for _ in range(subsets)], dtype=torch.float64)
    honest = subsets > 1 and 2 * size <= min(len(real), len(fake))
    return float(values.mean()), float(values.std(correction=0)) if honest else math.nan


def cmmd(real: Tensor, fake: Tensor) -> float:
    """1,000 x biased MMD^2 of (N, d) and (M, d) embeddings normalised to unit length; lower is better, 0 is best.

    The kernel is exp(-|x - y|^2 / (2 sigma^2)), sigma = 10. Jayasumana et al., "Rethinking FID: Towards a
    Better Evaluation Metric for Image Generation", CVPR 2024, https://arxiv.org/abs/2401.09603, where the embeddings
    are CLIP ViT-L/14@336's: only these give values comparable to published ones. Pairs of a row with itself count,
    which biases the value by about 1/N + 1/M: compare only equal numbers of samples.

    Raises:
        ValueError: the sets differ in d, have fewer than two rows, hold NaN or infinity, or have a row of zeros.
    """
    comparable(real, fake)
    for name, features in (("real", real), ("fake", fake)):
        if zeros := int((features == 0).all(1).sum()):
            raise ValueError(f"{zeros} of the {name} embeddings are all zeros and have no direction; leave them out")
    x, y = (f.detach().double() for f in (real, fake))
    x, y = (f / torch.linalg.vector_norm(f, dim=1, keepdim=True) for f in (x, y))

    def kernel(products: Tensor) -> Tensor:  # the kernel minus 1, for precision: the 1 cancels in the three means
        return torch.expm1((products - 1) / 10**2)

    value = _within(x, kernel, diagonal=True) + _within(y, kernel, diagonal=True) - 2 * _between(x, y, kernel)
    return 1000 * max(float(value), 0.0)  # negative only by round-off


def comparable(real: Tensor, fake: Tensor, least: int = 2) -> None:
    """Check that features are (N, d) and (M, d), finite, with at least `least` rows each."""
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1] or not real.shape[1]:
        raise ValueError(f"features are {tuple(real.shape)} and {tuple(fake.shape)}; give (N, d) and (M, d)")
    if min(len(real), len(fake)) < least:
        raise ValueError(f"{len(real)} real and {len(fake)} fake rows; give at least {least} of each")
    for name, features in (("real", real), ("fake", fake)):
        if broken := len(features) - int(features.isfinite().all(1).sum()):
            raise ValueError(f"{broken} of {len(features)} {name} rows hold NaN or infinity; find their cause")


def _within(x: Tensor, kernel: Callable[[Tensor], Tensor], diagonal: bool) -> Tensor:
    """Mean of the kernel over pairs of rows of one set, with or without pairs of a row with itself."""
    parts, total = x.detach().split(BLOCK), torch.zeros((), dtype=torch.float64, device=x.device)
    for i, part in enumerate(parts):
        a = part.double()
        block = kernel(a @ a.T)
        if not diagonal:
            block.diagonal().zero_()  # not subtracted: it may dominate the rest
        total = total + block.sum()
        for b in parts[i + 1 :]:
            total = total + 2 * kernel(a @ b.double().T).sum()  # k(a, b) = k(b, a)
    return total / (len(x) * (len(x) if diagonal else len(x) - 1))


def _between(x: Tensor, y: Tensor, kernel: Callable[[Tensor], Tensor]) -> Tensor:
    """Mean of the kernel over pairs of a row of each set."""
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    for part in x.detach().split(BLOCK):
        a = part.double()
        for b in y.detach().split(BLOCK):
            total = total + kernel(a @ b.double().T).sum()
    return total / (len(x) * len(y))
