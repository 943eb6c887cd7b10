"""Nearest neighbours and closest pairs, and tests for memorisation and for the size of the support that use them.

The file is long because the two exact searches with bounded memory belong with the two tests that use them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

ROWS = 2048  # of distances at once: 32 MB of float64
SPARE = 8  # extra candidates whose distances are computed exactly: matrix products only misorder near ties


class Neighbours(NamedTuple):
    """Distances to nearest neighbours, and the rows of these neighbours.

    Args:
        distance: (N, k) float64 Euclidean distances, smallest first.
        index: (N, k) int64 rows of the references.
    """

    distance: Tensor
    index: Tensor  # type: ignore[assignment]  # the field hides the method `tuple.index`


class Memorisation(NamedTuple):
    """What `memorisation` measures.

    Args:
        share: share of fakes within `tau` of a training sample; lower is better, down to `expected`.
        expected: the same share for held-out samples.
        tau: distance under which a training sample counts as copied.
        ratio: median over fakes of the distance to training over that to held-out samples; 1 without memorisation.
        auroc: probability that a distance to held-out samples exceeds one to training samples; 0.5 without
            memorisation.
        p_share: probability of this share or a larger one if the fakes were new samples of the data's distribution.
        p_auroc: probability of this AUROC or a larger one if training and held-out samples were exchanged at random.
        verdict: a summary in words.
    """

    share: float
    expected: float
    tau: float
    ratio: float
    auroc: float
    p_share: float
    p_auroc: float
    verdict: str


class Birthday(NamedTuple):
    """What `birthday` estimates.

    Args:
        support: estimated number of different samples; infinite if no batch has a duplicate. Higher is better.
        low: lower end of the 95 % interval of `support`, from that of the binomial probability.
        high: its upper end.
        probability: share of batches with a duplicate; the estimate is best near 1/2.
        size: samples in a batch.
        batches: number of batches.
        pairs: (P, 2) int64 rows of the closest pairs of all samples, closest first: inspect them.
        distance: (P,) float64 their distances.
    """

    support: float
    low: float
    high: float
    probability: float
    size: int
    batches: int
    pairs: Tensor
    distance: Tensor


def check_points(**sets: Tensor) -> list[Tensor]:
    """The sets, (N, ...) each, as (N, d) on one device.

    Raises:
        ValueError: a set is empty, has another shape than the first, or holds NaN or infinity.
    """
    first, like = next(iter(sets.items()))
    out = []
    for name, x in sets.items():
        if x.ndim < 1 or not x.numel():
            raise ValueError(f"{name} is {tuple(x.shape)}; give (N, d) points or (N, C, H, W) images, at least one")
        if x.shape[1:] != like.shape[1:]:
            raise ValueError(f"{name} is {tuple(x.shape)} and {first} {tuple(like.shape)}; rows must be of one shape")
        if not torch.isfinite(x).all():
            raise ValueError(f"{name} holds NaN or infinity, {int((~torch.isfinite(x)).sum())} times; remove such rows")
        x = x.detach().to("cpu" if like.device.type == "mps" else like.device)  # there is no float64 on mps
        out.append(x.reshape(len(x), -1))
    return out


def squared_distances(a: Tensor, b: Tensor, shift: Tensor) -> Tensor:
    """(N, M) float64 squared distances of (N, d) and (M, d) rows, by matrix products of the rows minus `shift`.

    The error is about 1e-15 of the largest |row - shift|^2, so that copies need not be at 0.
    """
    a, b = a.double() - shift, b.double() - shift
    return (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T).clamp(min=0)


def nearest_neighbours(queries: Tensor, references: Tensor, k: int = 1) -> Neighbours:
    """The k nearest of (M, ...) references to each of (N, ...) queries, by Euclidean distance in float64.

    Matrix products give candidates, whose distances are then computed directly, so that a copy is at exactly 0 (up to
    0.07 by float32 products). Ties go to the lower row. Rows are features or flattened images. Memory is bounded: at
    most 2048 x 2048 distances at once.

    Raises:
        ValueError: empty sets, rows of other shapes, NaN, or k outside 1 to M.
    """
    queries, references = check_points(queries=queries, references=references)
    if not 1 <= k <= len(references):
        raise ValueError(f"k is {k}; there are {len(references)} references, so give 1 to {len(references)}")
    shift, wanted = references.double().mean(0), min(k + SPARE, len(references))
    distances, indices = [], []
    for query in queries.split(ROWS):
        near = torch.empty(len(query), 0, dtype=torch.float64, device=query.device)
        where = torch.empty(len(query), 0, dtype=torch.int64, device=query.device)
        for i, part in enumerate(references.split(ROWS)):
            near = torch.cat([near, squared_distances(query, part, shift)], 1)
            rows = i * ROWS + torch.arange(len(part), device=query.device)
            where = torch.cat([where, rows.expand(len(query), -1)], 1)
            near, kept = near.topk(min(wanted, near.shape[1]), largest=False)
            where = where.gather(1, kept)
        where = where.sort(1).values  # so that a stable sort gives ties to the lower row
        exact = torch.stack([(query.double() - references[column].double()).norm(dim=1) for column in where.T], 1)
        exact, order = exact.sort(dim=1, stable=True)
        distances.append(exact[:, :k])
        indices.append(where.gather(1, order)[:, :k])
    return Neighbours(torch.cat(distances), torch.cat(indices))


def closest_pairs(points: Tensor, pairs: int = 20) -> Neighbours:
    """The closest pairs among (N, ...) points: (P,) distances, smallest first, and (P, 2) rows, the lower one first.

    P is `pairs`, or all N (N - 1) / 2 if there are fewer. Exact and bounded in memory as `nearest_neighbours`.

    Raises:
        ValueError: fewer than two points, NaN, or pairs below 1.
    """
    (points,) = check_points(points=points)
    if len(points) < 2 or pairs < 1:
        raise ValueError(f"there are {len(points)} points and {pairs} pairs requested; give at least 2 and 1")
    wanted = min(pairs + SPARE, len(points) * (len(points) - 1) // 2)
    near = torch.full((wanted,), math.inf, dtype=torch.float64, device=points.device)
    where = torch.zeros(wanted, dtype=torch.int64, device=points.device)
    for first, second, squared in _blocks(points):
        nearer = (squared < near[-1]).nonzero()
        near = torch.cat([near, squared[nearer[:, 0], nearer[:, 1]]])
        where = torch.cat([where, (first + nearer[:, 0]) * len(points) + second + nearer[:, 1]])
        near, kept = near.topk(wanted, largest=False)
        where = where[kept]
    where = where.sort().values
    index = torch.stack([where // len(points), where % len(points)], 1)
    exact = (points[index[:, 0]].double() - points[index[:, 1]].double()).norm(dim=1)
    exact, order = exact.sort(stable=True)
    return Neighbours(exact[:pairs], index[order][:pairs])


def _blocks(points: Tensor) -> Iterator[tuple[int, int, Tensor]]:
    """Squared distances of all pairs, block by block, with the first rows of each block; infinite unless i < j."""
    shift = points.double().mean(0)
    for i in range(0, len(points), ROWS):
        for j in range(i, len(points), ROWS):
            squared = squared_distances(points[i : i + ROWS], points[j : j + ROWS], shift)
            if i == j:
                squared.masked_fill_(torch.ones_like(squared, dtype=torch.bool).tril(), math.inf)
            yield i, j, squared


def memorisation(
    fake: Tensor, train: Tensor, held_out: Tensor, quantile: float = 0.001, permutations: int = 999, seed: int = 0
) -> Memorisation:
    """Whether fakes copy training samples, compared with held-out samples of the same distribution.

    With d(x, S) the distance of x to the nearest row of S:  tau = the `quantile` q of d(held-out, train), the
    ceil(q H)-th smallest of H;  share = share of fakes with d(fake, train) <= tau ("<=", so that copies count where the
    data's own duplicates make tau 0);  ratio = median of d(fake, T) / d(fake, O), 0 / 0 being 1;  AUROC =
    P(d(fake, T) < d(fake, O)) over all pairs of fakes, ties one half. T and O are training and held-out rows in equal
    numbers (a random subset of the larger set), since the nearest of more rows is nearer.

    `p_share` is Fisher's exact test of `share` against `expected`, one-sided; `p_auroc` is a permutation test that
    exchanges T and O. The verdict requires p <= 0.001 for the first or 0.005 for the second. Lower is better for the
    share. Best are a ratio of 1 and an AUROC of 0.5: if held-out samples are nearer, the two sets have different
    distributions or were exchanged.

    The comparison with held-out samples by a rank test is after Meehan, Chaudhuri & Dasgupta, "A Non-Parametric Test to
    Detect Data-Copying in Generative Models", AISTATS 2020, https://arxiv.org/abs/2004.05675, who rank the distances of
    fakes among those of held-out samples, cell by cell. If the training set is n times the held-out one, T contains
    only 1 / n of the training set. Distances of pixels miss shifted copies: try features as well.

    The function is long because the two tests share their distances.

    Args:
        fake: (N, ...) features or images.
        train: (M, ...) training samples.
        held_out: (H, ...) other samples of the same distribution; 1000 or more for the default quantile.
        quantile: share of held-out samples that count as copies at tau.
        permutations: random exchanges for `p_auroc`.
        seed: of the random subset and the exchanges.

    Raises:
        ValueError: fewer than 10 rows in a set, rows of other shapes, NaN, or a quantile outside (0, 1).
    """
    from scipy.stats import hypergeom

    fake, train, held_out = check_points(fake=fake, train=train, held_out=held_out)
    if min(len(fake), len(train), len(held_out)) < 10:
        raise ValueError(
            f"there are {len(fake)} fakes, {len(train)} training and {len(held_out)} held-out rows; "
            "give 10 of each or more"
        )
    if not 0 < quantile < 1 or permutations < 1:
        raise ValueError(f"quantile is {quantile} and permutations {permutations}; give (0, 1) and 1 or more")
    usual = nearest_neighbours(held_out, train).distance.flatten()
    rank = math.ceil(quantile * len(usual))
    tau = float(usual.sort().values[rank - 1])
    copied = int((nearest_neighbours(fake, train).distance <= tau).sum())
    passed = int((usual <= tau).sum())  # above `rank` if the data has duplicates
    share, expected = copied / len(fake), passed / len(usual)
    p_share = float(hypergeom.cdf(passed, len(fake) + len(usual), len(usual), copied + passed))

    generator = torch.Generator().manual_seed(seed)
    n = min(len(train), len(held_out))
    pool = torch.cat([x[torch.randperm(len(x), generator=generator)[:n].to(x.device)] for x in (train, held_out)])
    near = nearest_neighbours(
        fake, pool, min(32, 2 * n)
    )  # none of the 32 is in a random half of the pool with probability 2^-32
    of_train = (torch.arange(2 * n) < n).to(fake.device)
    to_train, to_held = nearest_neighbours(fake, pool[:n]).distance, nearest_neighbours(fake, pool[n:]).distance
    ratio = float(torch.where((to_train == 0) & (to_held == 0), 1.0, to_train / to_held).median())
    area = _area(to_train.flatten(), to_held.flatten())
    exchanged = []
    for _ in range(permutations):
        side = of_train[torch.randperm(2 * n, generator=generator).to(fake.device)][near.index]
        exchanged.append(_area(_first(near.distance, side), _first(near.distance, ~side)))
    p_area = (1 + sum(value >= area for value in exchanged)) / (1 + permutations)

    within = f"{share:.2%} of the fakes lie within {tau:.4g} of a training sample, {expected:.2%} of held-out ones do"
    if p_share <= 0.001:
        verdict = f"copies: {within}"
    elif p_area <= 0.005:
        verdict = f"memorises in part: fakes lie nearer to training than to held-out samples (AUROC {area:.3f})"
    else:
        verdict = f"no sign of memorising: {within}; AUROC {area:.3f}, where new samples have 0.5"
    return Memorisation(share, expected, tau, ratio, area, p_share, p_area, verdict)


def _first(distance: Tensor, side: Tensor) -> Tensor:
    """(N,) the smallest of (N, k) sorted distances for which `side` is true; the largest of all if there is none."""
    return distance.gather(1, torch.where(side.any(1), side.int().argmax(1), side.shape[1] - 1)[:, None]).flatten()


def _area(smaller: Tensor, larger: Tensor) -> float:
    """P(smaller < larger) + P(equal) / 2 over all pairs: Mann-Whitney's U over n m."""
    smaller = smaller.sort().values
    below, not_above = torch.searchsorted(smaller, larger), torch.searchsorted(smaller, larger, right=True)
    return float((below + not_above).double().mean() / (2 * len(smaller)))


def birthday(samples: Tensor, threshold: float, size: int | None = None, pairs: int = 20, seed: int = 0) -> Birthday:
    """Number of different samples of a generator, estimated from duplicates in small batches (birthday paradox).

    The samples are split at random into batches of s; with p the share of batches whose closest pair is within
    `threshold`:  support = s (s - 1) / (2 ln(1 / (1 - p))), which is s^2 / 1.39 at p = 1/2. Arora & Zhang,
    "Do GANs Actually Learn the Distribution? An Empirical Study", ICLR 2018, https://arxiv.org/abs/1706.08224. Higher
    is better. For samples that are not equally likely it is an effective support, below the true one: a few frequent
    samples hide many rare ones.

    Calibrate the threshold, on which the result depends: real held-out samples should give a plausible support, and
    each pair of fakes within it should look like duplicates. In the paper a person judged them. 0 counts exact copies.

    Args:
        samples: (N, ...) features or images, drawn independently.
        threshold: distance up to which two samples count as one.
        size: samples in a batch, s; None takes the size for which the share of duplicates among all pairs gives p =
            1/2.
        pairs: number of closest pairs to return.
        seed: of the split.

    Raises:
        ValueError: fewer than 10 batches, all of which may hold duplicates; NaN; a negative threshold.
    """
    from scipy.stats import beta

    (samples,) = check_points(samples=samples)
    if not threshold >= 0 or not math.isfinite(threshold):
        raise ValueError(f"threshold is {threshold}; give a distance, 0 or more")
    n = len(samples)
    if n < 20:
        raise ValueError(f"there are {n} samples; give 20 at least, and some hundred for a narrow interval")
    closest = closest_pairs(samples, pairs)
    if size is None:
        scale = float(samples.double().var(0, correction=0).sum())
        limit = threshold**2 + 1e-12 * scale  # distances of copies are near 0 here, not 0
        duplicates = sum(int((squared <= limit).sum()) for _, _, squared in _blocks(samples))
        size = n // 20 if not duplicates else round(0.5 + math.sqrt(0.25 + math.log(2) * n * (n - 1) / duplicates))
        size = max(2, min(size, n // 10))
    batches = n // size if size >= 2 else 0
    if batches < 10:
        raise ValueError(
            f"{n} samples make {batches} batches of {size}; give {10 * max(size, 2)} or more, or a smaller size, from 2"
        )
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).to(samples.device)
    hits = sum(
        float(closest_pairs(samples[rows], 1).distance) <= threshold for rows in order[: batches * size].split(size)
    )
    low_p = float(beta.ppf(0.025, hits, batches - hits + 1)) if hits else 0.0
    high_p = float(beta.ppf(0.975, hits + 1, batches - hits)) if hits < batches else 1.0
    if hits == batches:
        raise ValueError(
            f"all {batches} batches of {size} hold a duplicate, so the support is below {_support(size, low_p):.0f}; "
            "give a smaller size, or a smaller threshold"
        )
    p = hits / batches
    support, low, high = (_support(size, q) for q in (p, high_p, low_p))
    return Birthday(support, low, high, p, size, batches, closest.index, closest.distance)


def _support(size: int, p: float) -> float:
    return -size * (size - 1) / (2 * math.log1p(-p)) if p else math.inf
