"""Precision, recall, density and coverage: fidelity and diversity from balls around samples up to their k-th neighbour.

Comparisons of distances are exact: a float32 matrix product of the centred features gives squared distances up to a
known bound, and those that are within this bound of a radius are computed again in float64 from differences; where that
is a large share, a float64 product is computed first. So a copy is at distance 0. (torch.cdist in float32 puts a point
0.07 from itself at 2,048 dimensions.) Pairs are processed `PAIRS` at a time: memory is linear in N and M.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from gankit.metrics.kernel import comparable

PAIRS = 2**22
SPARE = 2  # rows beyond the k-th whose distances are computed, in case that they are nearer than the product says
MANY = 1 / 64  # share of near ties from which a float64 product costs less than differences


class _Set(NamedTuple):
    """Features, (N, d) float64, and the rows and their squared norms, (N, d) and (N,), from which products are made."""

    features: Tensor
    rows: Tensor
    squares: Tensor

    def parts(self, size: int) -> Iterator[_Set]:
        """As `Tensor.split`."""
        return (_Set(*parts) for parts in zip(*(tensor.split(size) for tensor in self)))

    def exact(self) -> _Set:
        """With rows for float64 products."""
        return _Set(self.features, self.features, self.features.square().sum(1))


def precision_recall(real: Tensor, fake: Tensor, k: int = 3, real_radii: Tensor | None = None) -> tuple[float, float]:
    """Precision and recall of (M, d) fake features against (N, d) real ones, each 0 to 1; higher is better.

    Precision is the share of fakes within the ball of at least one real sample, recall the share of reals within the
    ball of at least one fake; the radius of a ball is the distance to the k-th nearest neighbour in its set, d <= r.
    Kynkaanniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models", NeurIPS 2019,
    https://arxiv.org/abs/1904.06991: k = 3, VGG-16 features, 50,000 of each. Both depend on N and M (balls shrink as
    sets grow): compare only equal numbers. The ball of one real outlier may contain every fake.

    Args:
        real: (N, d) features.
        fake: (M, d) features.
        k: number of the neighbour that gives the radius.
        real_radii: (N,) as returned by `radii(real, k)`, if they are known.

    Raises:
        ValueError: the sets differ in d, hold NaN or infinity, have k rows or fewer, or k < 1.
    """
    real, fake = _checked(real, fake, k)
    reals, fakes = _sets(real, fake)
    real_radius = _distances(reals, k)[:, -1] if real_radii is None else real_radii
    fake_radius = _distances(fakes, k)[:, -1]
    precise, recalled = 0, torch.zeros(len(real), dtype=torch.bool, device=real.device)
    size = _rows(real)
    for part, radius in zip(fakes.parts(size), fake_radius.split(size)):
        squared = _estimates(part, reals)
        precise += int(_within(part, reals, squared, real_radius).any(1).sum())
        recalled |= _within(part, reals, squared, radius[:, None]).any(0)
    return precise / len(fake), float(recalled.double().mean())


def density_coverage(
    real: Tensor, fake: Tensor, k: int = 5, strict: bool = False, real_radii: Tensor | None = None
) -> tuple[float, float]:
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
        real_radii: (N,) as returned by `radii(real, k)`, if they are known.

    Raises:
        ValueError: the sets differ in d, hold NaN or infinity, a set has k rows or fewer, or k < 1.
    """
    real, fake = _checked(real, fake, k)
    reals, fakes = _sets(real, fake)
    radius = _distances(reals, k)[:, -1] if real_radii is None else real_radii
    count, covered = 0, torch.zeros(len(real), dtype=torch.bool, device=real.device)
    for part in fakes.parts(_rows(real)):
        inside = _within(part, reals, _estimates(part, reals), radius, strict)
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
        squared = (part @ real.T).mul_(-2).add_(part.square().sum(1)[:, None]).add_(real.square().sum(1))
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
    return neighbour_distances(features, k)[:, -1]


def neighbour_distances(features: Tensor, k: int) -> Tensor:
    """(N, k) float64 distances of (N, d) features to their k nearest neighbours, ascending; as `radii`."""
    return _distances(_sets(_checked(features, features, k)[0])[0], k)


def _distances(whole: _Set, k: int) -> Tensor:
    found = []
    for part in whole.parts(_rows(whole.rows)):
        distances, is_exact = _nearest(part, whole, k)
        if not is_exact.all():
            inexact = _Set(*(tensor[~is_exact] for tensor in part))
            distances[~is_exact] = _nearest(inexact.exact(), whole.exact(), k)[0]
        found.append(distances[:, 1:])  # without the point itself
    return torch.cat(found)


def _nearest(part: _Set, whole: _Set, k: int) -> tuple[Tensor, Tensor]:
    """(n, k + 1) distances to the nearest rows of `whole`, and (n,) bool, whether the bounds prove them."""
    least = _estimates(part, whole)[0].topk(min(k + 1 + SPARE, len(whole.rows)), largest=False)
    distances = _direct(part.features[:, None], whole.features[least.indices])[:, 0].sort(1).values[:, : k + 1]
    is_last = least.indices.shape[1] == len(whole.rows)
    return distances, (distances[:, -1].square() <= least.values[:, -1]) | is_last


def _checked(real: Tensor, fake: Tensor, k: int) -> tuple[Tensor, Tensor]:
    if k < 1:
        raise ValueError(f"k = {k}; give the number of neighbours, 1 or more")
    comparable(real, fake, least=k + 1)
    return real.detach().double(), fake.detach().double()


def _rows(columns: Tensor) -> int:
    return max(1, PAIRS // len(columns))


def _sets(first: Tensor, *others: Tensor) -> list[_Set]:
    """Sets of features with their rows relative to the mean of the first: float32 if their squares fit into it."""
    centre = first.mean(0)
    sets = []
    for features in (first, *others):
        rows = features - centre
        sets.append(_Set(features, rows, rows.square().sum(1)))
    squares = torch.cat([s.squares for s in sets])
    fits = squares.max() < 1e30 and squares[squares > 0].amin() > 1e-30 if squares.any() else False
    if not (fits and first.is_cpu):  # a GPU may be set to multiply float32 in fewer bits
        return [s.exact() for s in sets]
    rounded = [s.rows.float() for s in sets]
    return [_Set(s.features, rows, rows.double().square().sum(1).float()) for s, rows in zip(sets, rounded)]


def _estimates(x: _Set, y: _Set) -> tuple[Tensor, Tensor]:
    """(n, m) lower and upper bounds of the squared distances of (n, d) and (m, d) rows.

    With u the unit round-off, a product in any order is off by at most d u |x| |y|, and the rounding of the rows, of
    their norms, of the sum and of the radius with which it is compared adds less than 32 u (|x|^2 + |y|^2).
    """
    unit = torch.finfo(x.rows.dtype).eps / 2
    share = (x.rows.shape[1] + 32) * unit
    low = torch.addmm(y.squares * (1 - share), x.rows, y.rows.T, alpha=-2).add_((x.squares * (1 - share))[:, None])
    high = torch.add(y.squares, x.squares[:, None]).mul_(2 * share).add_(low)
    return low, high


def _within(x: _Set, y: _Set, squared: tuple[Tensor, Tensor], radius: Tensor, strict: bool = False) -> Tensor:
    """(n, m) bool: whether rows are within their radius, (m,) or (n, 1); near ties are computed from differences."""
    reach = radius.square().to(x.rows.dtype)
    inside, possible = squared[1] < reach, squared[0] <= reach
    near = (inside ^ possible).nonzero()
    if len(near) > MANY * inside.numel() and x.rows.dtype != torch.float64:
        x, y = x.exact(), y.exact()
        return _within(x, y, _estimates(x, y), radius, strict)
    radius = radius.expand_as(inside)
    for pairs in near.split(max(1, PAIRS // x.rows.shape[1])):
        rows, columns = pairs.unbind(1)
        distance, reach = _direct(x.features[rows, None], y.features[columns, None])[:, 0, 0], radius[rows, columns]
        inside[rows, columns] = distance < reach if strict else distance <= reach
    return inside


def _direct(x: Tensor, y: Tensor) -> Tensor:
    """Distances from differences: bit for bit equal for the same two rows."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
