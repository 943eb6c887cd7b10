"""Metrics on the pixels of samples: patches, structure, bins, nearest neighbours, likelihood, and a model's critic."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from gankit import metrics
from gankit.evaluation.needs import Metric, Need
from gankit.evaluation.sources import required
from gankit.evaluation.subject import Score, Subject
from gankit.recipe import can


def swd(s: Subject) -> Iterator[Score]:
    """Sliced Wasserstein distance of 7x7 patches, for each level of a Laplacian pyramid, times 1,000."""
    real, fake, n = s.equal_counts(s.real_pixels[0], s.pixels[0])
    values = metrics.sliced_wasserstein(real, fake, seed=s.seed)
    for level in ("average", *(level for level in values if level != "average")):
        name = "swd" if level == "average" else f"swd_{level}"
        yield Score(name, values[level], better="lower", n_real=n, n_fake=n, note="published with 16,384 images")


def ms_ssim(s: Subject) -> Iterator[Score]:
    """Mean structural similarity of pairs of samples, lower for more variety; and of pairs of real images."""
    within = s.pixels[1] is not None and s.real_pixels[1] is not None
    note = "within classes" if within else ""
    for name, (images, label) in {"ms_ssim": s.pixels, "ms_ssim_reals": s.real_pixels}.items():
        n = len(images)
        pairs = 100 if within else min(1000, n // 2)
        value = metrics.ms_ssim_diversity(images, pairs=pairs, seed=s.seed, label=label if within else None)
        if name == "ms_ssim":
            yield Score(name, value, better="lower", n_fake=n, note=note)
        else:
            yield Score(name, value, n_real=n, note=note)


def critic(s: Subject) -> Iterator[Score]:
    """The critic's own estimate of the Wasserstein distance: its mean output on real images minus that on samples."""
    recipe = required(s.fake.recipe)
    like = next(recipe.parameters())
    with torch.no_grad():
        real, fake = (
            torch.cat([recipe.critic(part.to(like)) for part in images.split(s.batch)])
            for images in (s.real_pixels[0], s.pixels[0])
        )
    error, error_of = None, ""
    if min(len(real), len(fake)) > 1:
        error, error_of = float((real.var() / len(real) + fake.var() / len(fake)).sqrt()), "standard error"
    value, note = metrics.critic_distance(real, fake), "only for one critic with itself: units differ"
    yield Score("critic", value, error, error_of, "lower", len(real), len(fake), note)


def parzen(s: Subject) -> Iterator[Score]:
    """Log-likelihood of held-out real images under Gaussian windows on the samples, in nats, pixels in [0, 1]."""
    fake, test = s.pixels[0], s.held_out_pixels[0]
    result = metrics.parzen_log_likelihood(fake, test[1::2], validation=test[::2])
    note = f"sigma {result.sigma:.3g}; unreliable (Theis et al., 2016), for comparison with the first papers"
    error_of = "standard error over the unseen reals, for these samples"
    n_real = len(test[1::2])
    yield Score("parzen", result.mean, result.standard_error, error_of, "higher", n_real, len(fake), note)


def ndb(s: Subject) -> Iterator[Score]:
    """Share of k-means bins of the real data whose share of samples differs significantly, and JS of the shares."""
    real, fake = s.real_pixels[0].flatten(1), s.pixels[0].flatten(1)
    k = min(100, len(real) // 20, len(fake) // 10)
    if k < 2:
        raise ValueError(f"{len(real)} reals and {len(fake)} samples are too few for two bins; give at least 40 and 20")
    share, js = metrics.ndb(real, fake, k=k, seed=s.seed)
    note = f"{k} bins; 0.05 for the data itself"
    yield Score("ndb", share, better="lower", n_real=len(real), n_fake=len(fake), note=note)
    yield Score("ndb_js", js, better="lower", n_real=len(real), n_fake=len(fake))


def memorisation(s: Subject) -> Iterator[Score]:
    """Whether samples are nearer to the training data than held-out images are, by pixels."""
    fake, real, unseen = s.pixels[0], s.training_pixels, s.held_out_pixels[0]
    result = metrics.memorisation(fake, real, unseen, seed=s.seed)
    note, count = result.verdict, required(s.real).count
    if len(real) < count:
        note += f"; compared with only {len(real):,} of {count:,} training images"
    yield Score("memorised", result.share, better="lower", n_real=len(real), n_fake=len(fake), note=note)
    note = "0.5: as near to training data as to unseen data"
    yield Score("memorisation_auroc", result.auroc, better="lower", n_real=len(real), n_fake=len(fake), note=note)


def birthday(s: Subject) -> Iterator[Score]:
    """Number of different samples, estimated from how soon two similar ones are drawn: a lower bound."""
    fake, real = s.pixels[0].flatten(1), s.real_pixels[0].flatten(1)
    threshold = float(metrics.nearest_neighbours(real, real, k=2).distance[:, 1].quantile(0.05))
    of_fakes, of_reals = (metrics.birthday(x, threshold, seed=s.seed) for x in (fake, real))
    is_finite = math.isfinite(of_fakes.support)
    note = (
        f"{'' if is_finite else 'at least, as none were alike; '}alike is nearer than 95 % of reals are to their "
        f"nearest; the reals have {of_reals.support:,.0f} by the same rule"
    )
    value = of_fakes.support if is_finite else of_fakes.low
    yield Score("support", value, better="higher", n_real=len(real), n_fake=len(fake), note=note)


NEEDS = {
    "a critic": Need(
        lambda s: s.fake.recipe is not None and can(s.fake.recipe, "critic"), "the model has no Wasserstein critic"
    )
}
METRICS = {
    "swd": Metric(swd, ("images", "reals"), ("spectrum",)),
    "ms_ssim": Metric(ms_ssim, ("images", "reals")),
    "critic": Metric(critic, ("images", "reals", "a critic")),
    "parzen": Metric(parzen, ("images", "unseen")),
    "ndb": Metric(ndb, ("reals",)),
    "memorisation": Metric(memorisation, ("images", "reals", "unseen"), ("neighbours",)),
    "birthday": Metric(birthday, ("images", "reals"), ("pairs",)),
}
