"""Metrics that compare the distributions of features of samples and of real data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from gankit import metrics
from gankit.evaluation.needs import Metric
from gankit.evaluation.subject import Score, Subject, share_error

SUBSETS, SUBSET_ROWS = 10, 1000  # subsets for an error, and rows in each at most


def fd(s: Subject) -> Iterator[Score]:
    """Frechet distance between Gaussians fitted to the features of samples and real data."""
    real, fake = s.reals.values, s.fakes.values
    if len(fake) < 2 or len(real) < 2:
        raise ValueError(f"a covariance needs two samples at least; there are {len(real)} reals and {len(fake)} fakes")
    generator = torch.Generator().manual_seed(s.seed)
    draws = 20 if real.shape[1] <= 256 else 3
    values = [
        metrics.frechet_distance(*(x[torch.randint(len(x), (len(x),), generator=generator)] for x in (real, fake)))
        for _ in range(draws)
    ]
    note = "grows as samples get fewer: compare equal counts"
    if len(fake) < real.shape[1]:
        note = f"fewer samples than the {real.shape[1]} features: strongly biased; {note}"
    value, error = metrics.frechet_distance(real, fake), float(np.std(values, ddof=1))
    name, error_of = s.score_name("fd", "fid"), f"bootstrap, {draws} draws"
    yield Score(name, value, error, error_of, "lower", len(real), len(fake), note)


def kd(s: Subject) -> Iterator[Score]:
    """Kernel distance: squared MMD with a cubic kernel, unbiased, over all pairs."""
    real, fake = s.reals.values, s.fakes.values
    size = min(1000, len(real) // 2, len(fake) // 2)  # larger subsets share rows and are too similar
    error, error_of = None, ""
    if size > 1:
        _, error = metrics.kernel_distance_subsets(real, fake, subsets=50, size=size, seed=s.seed)
        error_of = f"std over 50 subsets of {size}"
    value = metrics.kernel_distance(real, fake)
    yield Score(s.score_name("kd", "kid"), value, error, error_of, "lower", len(real), len(fake))


def cmmd(s: Subject) -> Iterator[Score]:
    """1000 times the squared MMD with a Gaussian kernel on CLIP features."""
    real, fake, n = s.equal_counts(s.reals.values, s.fakes.values)
    yield Score("cmmd", metrics.cmmd(real, fake), better="lower", n_real=n, n_fake=n)


def precision(s: Subject) -> Iterator[Score]:
    """Share of samples within the manifold of the real data, and the reverse (recall), k = 3."""
    real, fake, n = s.equal_counts(s.reals.values, s.fakes.values)
    values = metrics.precision_recall(real, fake, real_radii=s.real_radii(3))
    subsets = over_subsets(metrics.precision_recall, real, fake, 3, s.seed)
    for i, name in enumerate(("precision", "recall")):
        yield with_error(Score(s.score_name(name), values[i], better="higher", n_real=n, n_fake=n), subsets, i)


def density(s: Subject) -> Iterator[Score]:
    """How densely samples lie among the real data, and the share of real data with a sample nearby, k = 5."""
    real, fake, n = s.equal_counts(s.reals.values, s.fakes.values)
    values = metrics.density_coverage(real, fake, real_radii=s.real_radii(5))
    subsets = over_subsets(metrics.density_coverage, real, fake, 5, s.seed)
    note = "1 for the data itself; may exceed 1"
    yield Score(s.score_name("density"), values[0], better="higher", n_real=n, n_fake=n, note=note)
    yield with_error(Score(s.score_name("coverage"), values[1], better="higher", n_real=n, n_fake=n), subsets, 1)


def over_subsets(
    measure: Callable[[Tensor, Tensor], tuple[float, ...]], real: Tensor, fake: Tensor, k: int, seed: int
) -> Tensor | None:
    """(SUBSETS, values) of a measure with k neighbours, on random subsets of equally many rows of both sets.

    A subset has half of the rows, at most SUBSET_ROWS. None if subsets have k rows or fewer.
    """
    n = len(real)
    size, generator = min(SUBSET_ROWS, n // 2), torch.Generator().manual_seed(seed)
    if size <= k:
        return None
    draws = [[x[torch.randperm(n, generator=generator)[:size]] for x in (real, fake)] for _ in range(SUBSETS)]
    return torch.tensor([measure(*draw) for draw in draws], dtype=torch.float64)


def with_error(score: Score, subsets: Tensor | None, i: int) -> Score:
    """A share with its standard error: the deviation of value i over subsets of m of n rows, times sqrt(m / (n - m)).

    That factor extrapolates from subsets to all rows (Politis & Romano, 1994). The error is at least `share_error`,
    which ignores that the manifold itself depends on the rows: the share of samples within it may be 0 for some real
    rows and 1 for others.
    """
    if subsets is None:
        return score
    n, size = score.n_fake, min(SUBSET_ROWS, score.n_fake // 2)
    error = max(float(subsets[:, i].std()) * math.sqrt(size / (n - size)), share_error(score.value, n))
    return score._replace(error=error, error_of=f"standard error, by {SUBSETS} subsets of {size}")


METRICS = {
    "fd": Metric(fd, ("reals", "features"), ("manifold",)),
    "kd": Metric(kd, ("reals", "features"), ("manifold",)),
    "cmmd": Metric(cmmd, ("reals", "clip"), ("manifold",)),
    "precision": Metric(precision, ("reals", "features"), ("manifold",)),
    "density": Metric(density, ("reals", "features"), ("manifold",)),
}
