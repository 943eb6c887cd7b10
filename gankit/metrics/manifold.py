"""Precision, recall, density and coverage: fidelity and diversity from balls around samples up to their k-th neighbour.

Comparisons of distances are exact: a float64 matrix product gives distances up to a known bound, and those that are
within this bound of a radius are computed again from differences. So a copy is at distance 0. (torch.cdist in float32
puts a point 0.07 from itself at 2,048 dimensions.) Pairs are processed `PAIRS` at a time: memory is linear in N and M.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gankit.metrics.kernel import comparable

PAIRS = 2**22


def precision_recall(real: Tensor, fake: Tensor, k: int = 3) -> tuple[float, float]:
    """Precision and recall of (M, d) fake features against (N, d) real ones, each 0 to 1; higher is better.

    Precision is the share of fakes within the ball of at least one real sample, recall the share of reals within the
    ball of at least one fake; the radius of a ball is the distance to the k-th nearest neighbour in its set, d <= r.
    Kynkaanniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models", NeurIPS 2019,
    https://arxiv.org/abs/1904.06991: k = 3, VGG-16 features, 50,000 of each. Both depend on N and M (balls shrink as
    sets grow): compare only equal numbers. The ball of one real outlier may contain every fake.

    Raises:
        ValueError: the sets differ in d, hold NaN or infinity, have k rows or fewer, or k < 1.
    """
    real, fake = _checked(real, fake, k)
    real_radius, fake_radius = radii(real, k), radii(fake, k)
    precise, recalled = 0, torch.zeros(len(real), dtype=torch.bool, device=real.device)
    rows = _rows(real)
    for part, radius in zip(fake.split(rows), fake_radius.split(rows)):
        squared = _squared(part, real)
        precise += int(_within(part, real, squared, real_radius).any(1).sum())
        recalled |= _within(part, real, squared, radius[:, None]).any(0)
    return precise / len(fake), float(recalled.double().mean())


def density_coverage(real: Tensor, fake: Tensor, k: int = 5, strict: bool = False) -> tuple[float, float]:
    """Density (0 to N / k, about 1 for equal distributions) and coverage (0 to 1) of (M, d) fake features.

    density = sum_j sum_i 1[d(fake_j, real_i) <= r_i] / (k M), coverage = mean_i 1[min_j d(fake_j, real_i) <= r_i], r_i
    being the distance of real_i to its k-th nearest real neighbour. Naeem et al., "Reliable Fidelity and Diversity
    Metrics for Generative Models", ICML 2020, https://arxiv.org/abs/2002.09797: k = 5. Higher is better. For
    two sets from one distribution the mean density is 1 and the mean coverage 1 - prod_{i = 1..k} (N - i) / (M + N -
    i): compare only equal numbers.

    Args:
        real: (N, d) features.
        fake: (M, d) features.
        k: number of the neighbour that gives the radius.
        strict: d < r, as in the authors' code. It differs only for ties: copies of real samples count less.

    Raises:
        ValueError: the sets differ in d, hold NaN or infinity, a set has k rows or fewer, or k < 1.
    """
    real, fake = _checked(real, fake, k)
    radius = radii(real, k)
    count, covered = 0, torch.zeros(len(real), dtype=torch.bool, device=real.device)
    for part in fake.split(_rows(real)):
        squared = _squared(part, real)
        inside = _within(part, real, squared, radius, strict)
        count += int(inside.sum())
        covered |= inside.any(0)
    return count / (k * len(fake)), float(covered.double().mean())


def realism(real: Tensor, fake: Tensor, k: int = 3) -> Tensor:
    """(M,) float64 realism scores of (M, d) fake features: at least 1 inside the manifold of the reals.

    max_i r_i / d(fake_j, real_i) over those real samples whose r_i, the distance to their k-th nearest real neighbour,
    is not above the median: the realism score of Kynkaanniemi et al. 2019 (see `precision_recall`). Higher is better. A
    copy of such a sample scores infinity, as in their equation (their code adds 1e-5 to d): use medians, not means.

    Raises:
        ValueError: as `precision_recall`.
    """
    real, fake = _checked(real, fake, k)
    radius = radii(real, k)
    dense = radius <= radius.median()
    real, radius = real[dense], radius[dense]
    scores = []
    for part in fake.split(_rows(real)):
        squared = _squared(part, real)
        guess = radius.square() / squared.clamp(min=torch.finfo(torch.float64).tiny)
        best = torch.cat([guess.topk(min(4, len(real))).indices, squared.argmin(1, keepdim=True)], 1)
        distance = _direct(part[:, None], real[best])[:, 0]
        scores.append(torch.where(distance == 0, torch.inf, radius[best] / distance).amax(1))
    return torch.cat(scores)


def radii(features: Tensor, k: int) -> Tensor:
    """(N,) float64 distances of (N, d) features to their k-th nearest neighbour other than themselves.

    A copy in the set is a neighbour at distance 0.

    Raises:
        ValueError: features are not (N, d) with N > k, hold NaN or infinity, or k < 1.
    """
    features, _ = _checked(features, features, k)
    found = []
    for part in features.split(_rows(features)):
        nearest = _squared(part, features).topk(k + 1, largest=False).indices  # the point itself and k others
        found.append(_direct(part[:, None], features[nearest])[:, 0].amax(1))
    return torch.cat(found)


def _checked(real: Tensor, fake: Tensor, k: int) -> tuple[Tensor, Tensor]:
    if k < 1:
        raise ValueError(f"k = {k}; give the number of neighbours, 1 or more")
    comparable(real, fake, least=k + 1)
    return real.detach().double(), fake.detach().double()


def _rows(columns: Tensor) -> int:
    return max(1, PAIRS // len(columns))


def _squared(x: Tensor, y: Tensor) -> Tensor:
    """(n, m) squared distances of (n, d) and (m, d) rows, up to the round-off that `_within` corrects."""
    return (x @ y.T).mul_(-2).add_(x.square().sum(1)[:, None]).add_(y.square().sum(1))


def _within(x: Tensor, y: Tensor, squared: Tensor, radius: Tensor, strict: bool = False) -> Tensor:
    """(n, m) bool: whether rows are within their radius, (m,) or (n, 1); near ties are computed from differences."""
    excess = squared - radius.square()
    # |x|^2, |y|^2 and 2 x . y each have an error of up to d / 2 epsilons: this is at least twice their sum
    largest = x.square().sum(1).amax() + y.square().sum(1).amax()
    bound = 2 * (x.shape[1] + 8) * torch.finfo(torch.float64).eps * largest
    inside, radius = excess < 0, radius.expand_as(squared)
    for pairs in (excess.abs() <= bound).nonzero().split(max(1, PAIRS // x.shape[1])):
        rows, columns = pairs.unbind(1)
        distance, reach = _direct(x[rows, None], y[columns, None])[:, 0, 0], radius[rows, columns]
        inside[rows, columns] = distance < reach if strict else distance <= reach
    return inside


def _direct(x: Tensor, y: Tensor) -> Tensor:
    """Distances from differences: bit for bit equal for the same two rows."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
