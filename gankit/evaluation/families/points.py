"""Metrics of data with a known distribution: the modes of a mixture, and the distance between sets of points."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from gankit import metrics
from gankit.evaluation.needs import Metric, Need
from gankit.evaluation.sources import required
from gankit.evaluation.subject import Score, Subject, share_error

MODE_POINTS, MODE_IMAGES = 2500, 26_000  # samples of the published protocols


def modes(s: Subject) -> Iterator[Score]:
    """Modes that were found, the share of high-quality samples, and KL(q || uniform) over the modes, in nats."""
    truth = required(required(s.real).modes)
    if truth.centres is None:
        images = s.fake.select(min(s.n, MODE_IMAGES), s.seed, s.batch)[0]
        coverage, n = metrics.stacked_coverage(images), len(images)
    else:
        points = s.fake.select(min(s.n, MODE_POINTS), s.seed)[0]
        coverage, n = metrics.mixture_coverage(points, torch.from_numpy(truth.centres), truth.std), len(points)
    note = f"of {truth.count}; one sample of high quality is enough"
    yield Score("modes", coverage.modes, better="higher", n_fake=n, note=note)
    note = f"of {truth.count}; a fifth of the fair share"
    yield Score("modes_strict", coverage.strict, better="higher", n_fake=n, note=note)
    share = coverage.high_quality
    yield Score("high_quality", share, share_error(share, n), "standard error", "higher", 0, n)
    note = f"the data itself has about {(truth.count - 1) / 2 / n:.3g}"
    yield Score("reverse_kl", coverage.reverse_kl, better="lower", n_fake=n, note=note)


def emd(s: Subject) -> Iterator[Score]:
    """Exact earth mover's distance between equally many samples and real points, in the units of the data."""
    reals = required(s.real)
    n = min(1000, s.n, reals.count // 2)
    if n < 2:
        raise ValueError("there must be four reals at least")
    real = reals.select(2 * n, s.seed)[0].flatten(1)
    fake = s.fake.select(n, s.seed)[0].flatten(1)
    floor = metrics.earth_mover(real[::2][:n], real[1::2][:n])
    note = f"between two halves of the reals: {floor:.4g}"
    yield Score("emd", metrics.earth_mover(real[::2][:n], fake[:n]), better="lower", n_real=n, n_fake=n, note=note)


NEEDS = {
    "modes": Need(
        lambda s: s.real is not None and s.real.modes is not None,
        "it needs data with known modes, such as the built-in ring",
    )
}
METRICS = {"modes": Metric(modes, ("modes",)), "emd": Metric(emd, ("points", "reals"))}
