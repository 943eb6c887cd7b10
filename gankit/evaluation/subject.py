"""What is judged, and what a judgement is: a subject with its samples, and scores."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gankit.data.reading import cache
from gankit.evaluation.features import Features, features
from gankit.evaluation.sources import NEGATIVE, Source
from gankit.metrics.extractors import Extractor

PIXELS, NUMBERS = 2000, 2**28  # samples that metrics on pixels take, and how many numbers they may be: 1 GB


class Score(NamedTuple):
    """One number of an evaluation.

    Args:
        name: the metric, with its features where it has some: fd_digits.
        value: the number; NaN never stands for one, such a metric is refused with its reason.
        error: its uncertainty, or None.
        error_of: what that is: a bootstrap, splits, a standard error.
        better: "lower", "higher" or "" where neither is.
        n_real, n_fake: samples that went in.
        note: a sentence that the number needs beside it.
    """

    name: str
    value: float
    error: float | None = None
    error_of: str = ""
    better: str = ""
    n_real: int = 0
    n_fake: int = 0
    note: str = ""


def share_error(share: float, n: int) -> float:
    """Standard error of a share of n samples, from counts with two more of each kind (Agresti & Coull, 1998): never 0.

    The usual sqrt(p (1 - p) / n) is 0 where all samples are right, or none, however few they are.
    """
    p = (share * n + 2) / (n + 4)
    return math.sqrt(p * (1 - p) / (n + 4))


class Lens(NamedTuple):
    """What is known of an extractor before its network is loaded.

    Args:
        name: as `gankit.metrics.extractor` takes it.
        classifies: whether it names classes.
    """

    name: str
    classifies: bool


@dataclass
class Subject:
    """What is judged: samples, what they are held against, and how they are looked at.

    Args:
        fake: the samples.
        real: the data they should be like.
        held_out: real data that no model has seen.
        extractor: the network whose features are compared, or a Lens as long as only what applies is asked; None for points.
        n: samples.
        batch: samples that go through the networks at once.
        seed: of every choice that a metric makes.
        tell: called with the rows that are done.
        keep: keep features of the samples in the cache, too, so that a stopped evaluation goes on.
        willing: whether weights may be downloaded for a metric.
        segmenter: takes (n, C, H, W) photographs to (n, H, W) classes, for `fcn_score`; None fits a small one.
        segmented_by: its name and fingerprint.
    """

    fake: Source
    real: Source | None
    held_out: Source | None
    extractor: Extractor | Lens | None
    n: int
    batch: int = 64
    seed: int = 0
    tell: Callable[[int], None] = lambda rows: None
    keep: bool = True
    willing: bool = True
    segmenter: Callable[[Tensor], Tensor] | None = None
    segmented_by: str = "a small segmenter fitted to the training data"

    def look(self, source: Source, n: int) -> Features:
        if self.extractor is not None:
            source = self.seen(source)
            keep = self.keep or source.recipe is None
            return features(source, self.extractor, n, self.batch, self.seed, keep, self.tell)
        values, label = source.some(n, self.seed, self.batch)
        self.tell(len(values))
        return Features(values.flatten(1), None, label)

    @cached_property
    def fakes(self) -> Features:
        return refuse_nan(self.look(self.fake, self.n), self.fake)

    @cached_property
    def reals(self) -> Features:
        return refuse_nan(self.look(self.real, self.n), self.real)

    def seen(self, source: Source) -> Source:
        """The samples as the extractor is to see them: of the negatives of digits, whose classifier knows no such, the negative."""
        if self.fake.view != NEGATIVE or self.extractor is None or self.extractor.name != "digits":
            return source
        key = cache.key(source.fingerprint, "negative")
        return replace(
            source, read=lambda numbers: (-source.read(numbers)[0], source.read(numbers)[1]), fingerprint=key
        )

    @property
    def many(self) -> int:
        """How many samples' pixels fit into the memory that metrics may take."""
        return max(64, NUMBERS // math.prod(self.fake.shape))

    @cached_property
    def pixels(self) -> tuple[Tensor, Tensor | None]:
        return self.fake.some(min(self.n, PIXELS, self.many), self.seed, self.batch)

    @cached_property
    def taken(self) -> np.ndarray:
        """The numbers of the samples in `pixels`."""
        return self.fake.numbers(min(self.n, PIXELS, self.many), self.seed)

    @cached_property
    def inputs(self) -> Tensor:
        """What the translations in `pixels` were made of."""
        return self.beside(self.fake.inputs)

    @cached_property
    def targets(self) -> Tensor:
        """What the translations in `pixels` should be."""
        return self.beside(self.fake.targets)

    def beside(self, source: Source) -> Tensor:
        parts = [source.read(self.taken[i : i + self.batch])[0] for i in range(0, len(self.taken), self.batch)]
        return torch.cat(parts)

    @cached_property
    def real_pixels(self) -> tuple[Tensor, Tensor | None]:
        return self.real.some(min(PIXELS, self.many), self.seed)

    @cached_property
    def held_out_pixels(self) -> tuple[Tensor, Tensor | None]:
        return self.held_out.some(min(PIXELS, self.many), self.seed)

    @cached_property
    def training_pixels(self) -> Tensor:
        """Of as many reals as fit: what samples could have been copied from."""
        return self.real.some(self.many, self.seed)[0]

    def even(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor, int]:
        """Equally many of both, for metrics that hang on the counts: random ones, as sets may be sorted by class."""
        n = min(len(real), len(fake))
        real, fake = (
            x if len(x) == n else x[torch.randperm(len(x), generator=torch.Generator().manual_seed(self.seed))[:n]]
            for x in (real, fake)
        )
        return real, fake, n

    def name(self, metric: str, official: str = "") -> str:
        """fd_digits; with the network of the publication the name that is published, FID."""
        if self.extractor is None:
            return metric
        return official if self.extractor.official and official else f"{metric}_{self.extractor.name}"


def refuse_nan(found: Features, source: Source) -> Features:
    bad = int((~found.values.isfinite()).any(1).sum())
    if bad:
        raise ValueError(
            f"{bad} of {len(found)} samples of {source.name} have features that are not finite numbers: they hold NaN"
        )
    return found
