"""Number of statistically different bins (NDB): do samples fall into the clusters of the data as often as the data?"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gankit.metrics.divergence import js
from gankit.metrics.neighbours import check_points


class Bins(NamedTuple):
    """What `ndb` measures.

    Args:
        share: share of the bins in which train and fake proportions differ (NDB / K); alpha or less if the
            distributions are equal.
        js: Jensen-Shannon divergence of the two histograms in nats.
    """

    share: float
    js: float


def ndb(train: Tensor, fake: Tensor, k: int = 100, alpha: float = 0.05, seed: int = 0) -> Bins:
    """NDB / K and the JS divergence over k bins, the cells of k-means on the train rows. Lower is better for both.

    Richardson & Weiss, "On GANs and GMMs", NeurIPS 2018, https://arxiv.org/abs/1805.12462. Fresh samples of the data's
    own distribution score about alpha, not 0. More fakes reveal smaller differences: use as many as train rows. Copies
    of the train rows score 0, so measure memorisation, too.

    Args:
        train: (N, ...) features or images; above 1,000 dimensions a random sixth of them is used, as published.
        fake: (M, ...) of the same shape.
        k: number of bins.
        alpha: significance level of each bin's test.
        seed: of k-means and of the dimensions.

    Raises:
        ValueError: fewer than 10 rows a bin on either side, fewer than k different train rows, rows of other shapes,
            NaN.
    """
    return compare_bins(*bin_counts(train, fake, k, seed), alpha)


def bin_counts(train: Tensor, fake: Tensor, k: int = 100, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(k,) int64 numbers of train and of fake rows in each bin; arguments and errors as for `ndb`.

    Bins are the cells of Lloyd's k-means, the best of ten k-means++ starts; a row belongs to the nearest centre.
    """
    import warnings

    from sklearn.cluster import KMeans

    train, fake = check_points(train=train, fake=fake)
    if k < 2 or min(len(train), len(fake)) < 10 * k:
        raise ValueError(
            f"there are {len(train)} train and {len(fake)} fake rows for {k} bins; give 10 a bin at least, or "
            f"k={max(min(len(train), len(fake)) // 10, 2)}"
        )
    d = train.shape[1]
    if d > 1000:
        used = torch.randperm(d, generator=torch.Generator().manual_seed(seed))[: d // 6].to(train.device)
        train, fake = train[:, used], fake[:, used]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fewer different rows than bins, which is refused below
        means = KMeans(k, n_init=10, max_iter=100, random_state=seed).fit(train.double().cpu().numpy())
    counts = [
        torch.from_numpy(means.predict(x.double().cpu().numpy())).long().bincount(minlength=k) for x in (train, fake)
    ]
    if not counts[0].all():
        raise ValueError(f"only {int((counts[0] > 0).sum())} of {k} bins hold train rows, which are copies; lower k")
    return counts[0], counts[1]


def compare_bins(train: Tensor, fake: Tensor, alpha: float = 0.05) -> Bins:
    """NDB / K and JS from (k,) numbers of train and of fake rows in each bin.

    Two-proportion z-test: p and q being a bin's shares of N and M rows and r the pooled one, a bin differs when
    |p - q| / (r (1 - r) (1/N + 1/M))^(1/2) is beyond the two-sided alpha of the normal; it does not if that root is 0.

    Raises:
        ValueError: not (k,) counts twice, an empty side, or alpha outside (0, 1).
    """
    if train.ndim != 1 or train.shape != fake.shape or not train.sum() > 0 or not fake.sum() > 0:
        raise ValueError(f"counts are {tuple(train.shape)} and {tuple(fake.shape)}; give (k,) twice, not all of them 0")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; give a level such as 0.05")
    n, m = train.sum().double(), fake.sum().double()
    pooled = (train + fake) / (n + m)
    error = (pooled * (1 - pooled) * (1 / n + 1 / m)).sqrt()
    z = torch.where(error > 0, (train / n - fake / m).abs() / error, 0.0)
    different = torch.special.erfc(z / 2**0.5) < alpha
    return Bins(float(different.double().mean()), js(train / n, fake / m))
