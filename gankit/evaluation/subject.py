"""The subject of an evaluation: samples with what they are compared with and how; and scores, its results."""

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
from gankit.evaluation.extraction import Features, extract
from gankit.evaluation.sources import NEGATIVE, Samples, required
from gankit.html import grid
from gankit.metrics.extractors import Extractor
from gankit.metrics.manifold import neighbour_distances

MAX_PIXEL_SAMPLES = 2000  # samples that metrics on pixels use
NEIGHBOURS = 5  # the most that a metric looks at
MAX_PIXEL_VALUES = 2**28  # and values that these samples may hold: 1 GB


class Score(NamedTuple):
    """One value of an evaluation.

    Args:
        name: the metric, followed by its feature extractor where it has one: fd_digits.
        value: a finite number; a metric without one is skipped with a reason.
        error: its uncertainty, or None.
        error_of: the kind of uncertainty: a bootstrap, splits, a standard error.
        better: "lower", "higher" or "" where neither is.
        n_real, n_fake: numbers of real images and of samples.
        note: a remark that readers of the value need.
    """

    name: str
    value: float
    error: float | None = None
    error_of: str = ""
    better: str = ""
    n_real: int = 0
    n_fake: int = 0
    note: str = ""


class Scores(list[Score]):
    """The scores of an evaluation, in order, which a notebook shows as a table."""

    def __repr__(self) -> str:
        return f"<Scores: {', '.join(f'{score.name} {score.value:.4g}' for score in self)}>"

    def _repr_html_(self) -> str:
        rows = []
        for s in self:
            note = "; ".join(filter(None, (s.error_of and f"±: {s.error_of}", s.note)))
            error, counts = (
                "" if s.error is None else f"{s.error:.3g}",
                [f"{n:,}" if n else "" for n in (s.n_fake, s.n_real)],
            )
            rows.append((s.name, f"{s.value:.4g}", error, *counts, s.better, note))
        return grid(("metric", "value", "±", "samples", "reals", "better", "note"), rows, (1, 2, 3, 4))


def share_error(share: float, n: int) -> float:
    """Standard error of a share of n samples, from counts with two more of each kind (Agresti & Coull, 1998): never 0.

    The usual sqrt(p (1 - p) / n) is 0 if all or none of the samples are right, however few there are.
    """
    p = (share * n + 2) / (n + 4)
    return math.sqrt(p * (1 - p) / (n + 4))


def share_score(is_right: Tensor, name: str, note: str = "") -> Score:
    """The share of (N,) bool values that are true and its standard error."""
    value, n = float(is_right.double().mean()), len(is_right)
    return Score(name, value, share_error(value, n), "standard error", "higher", 0, n, note)


class ExtractorInfo(NamedTuple):
    """What is known of a feature extractor before its network is loaded.

    Args:
        name: as `gankit.metrics.extractor` takes it.
        classifies: whether it gives class probabilities.
    """

    name: str
    classifies: bool


@dataclass
class Subject:
    """Samples, the data that they are compared with, and the settings of the comparison.

    Args:
        fake: the samples.
        real: the data that the model imitates.
        held_out: real data that no model was trained on.
        extractor: the feature extractor, or its ExtractorInfo until the network is loaded; None for points.
        n: number of samples.
        batch: samples that go through the networks at once.
        seed: of every random choice that a metric makes.
        report_progress: called with the number of samples that were processed.
        keep: also cache the features of the samples, so that an interrupted evaluation continues.
        may_download: whether weights may be downloaded for a metric.
        segmenter: (n, C, H, W) photographs to (n, H, W) classes, for `fcn_score`; None fits a small one.
        segmented_by: the segmenter's name and fingerprint.
    """

    fake: Samples
    real: Samples | None
    held_out: Samples | None
    extractor: Extractor | ExtractorInfo | None
    n: int
    batch: int = 64
    seed: int = 0
    report_progress: Callable[[int], None] = lambda rows: None
    keep: bool = True
    may_download: bool = True
    segmenter: Callable[[Tensor], Tensor] | None = None
    segmented_by: str = "a small segmenter fitted to the training data"

    @property
    def network(self) -> Extractor:
        """The feature extractor with its network.

        Raises:
            TypeError: there is none, or its network is not loaded yet.
        """
        if not isinstance(self.extractor, Extractor):
            raise TypeError(f"the feature extractor is not loaded: {self.extractor}")
        return self.extractor

    @cached_property
    def fakes(self) -> Features:
        """Features of the samples."""
        return self._features(self.fake)

    @cached_property
    def reals(self) -> Features:
        """Features of the real data."""
        return self._features(required(self.real))

    @cached_property
    def _real_distances(self) -> Tensor:
        """(n, NEIGHBOURS) distances among as many real features as there are samples, for several metrics."""
        return neighbour_distances(self.equal_counts(self.reals.values, self.fakes.values)[0], NEIGHBOURS)

    def real_radii(self, k: int) -> Tensor | None:
        """`radii` of the first result of `equal_counts`; None for sets too small for `NEIGHBOURS`."""
        n = min(len(self.reals.values), len(self.fakes.values))
        return self._real_distances[:, k - 1] if n > NEIGHBOURS else None

    def _features(self, samples: Samples) -> Features:
        if self.extractor is None:
            values, label = samples.select(self.n, self.seed, self.batch)
            self.report_progress(len(values))
            features = Features(values.flatten(1), None, label)
        else:
            keep = self.keep or samples.recipe is None
            features = extract(
                self._extractor_view(samples), self.network, self.n, self.batch, self.seed, keep, self.report_progress
            )
        if broken := int((~features.values.isfinite()).any(1).sum()):
            raise ValueError(
                f"{broken} of {len(features)} samples of {samples.name} have features that are not finite numbers: "
                "they hold NaN"
            )
        return features

    def _extractor_view(self, samples: Samples) -> Samples:
        """The samples as the extractor gets them: negatives of digits are inverted for the digits classifier."""
        if self.fake.view != NEGATIVE or self.extractor is None or self.extractor.name != "digits":
            return samples
        key = cache.key(samples.fingerprint, "negative")
        return replace(
            samples, read=lambda numbers: (-samples.read(numbers)[0], samples.read(numbers)[1]), fingerprint=key
        )

    @property
    def max_count(self) -> int:
        """The number of samples whose pixels fit into the memory that metrics may use."""
        return max(64, MAX_PIXEL_VALUES // math.prod(self.fake.shape))

    @property
    def pixel_count(self) -> int:
        """The number of samples that metrics on pixels use."""
        return min(self.n, MAX_PIXEL_SAMPLES, self.max_count)

    @cached_property
    def pixels(self) -> tuple[Tensor, Tensor | None]:
        """Samples for metrics on pixels, and their labels."""
        return self.fake.select(self.pixel_count, self.seed, self.batch)

    @cached_property
    def numbers(self) -> np.ndarray:
        """The numbers of the samples in `pixels`."""
        return self.fake.numbers(self.pixel_count, self.seed)

    @cached_property
    def inputs(self) -> Tensor:
        """The inputs of the translations in `pixels`."""
        return self.matching(required(self.fake.inputs))

    @cached_property
    def targets(self) -> Tensor:
        """The targets of the translations in `pixels`."""
        return self.matching(required(self.fake.targets))

    def matching(self, samples: Samples) -> Tensor:
        """Of other samples, those with the same numbers as the ones in `pixels`."""
        return samples.read_all(self.numbers, self.batch)[0]

    @cached_property
    def real_pixels(self) -> tuple[Tensor, Tensor | None]:
        """Real images for metrics on pixels, and their labels."""
        return required(self.real).select(min(MAX_PIXEL_SAMPLES, self.max_count), self.seed)

    @cached_property
    def held_out_pixels(self) -> tuple[Tensor, Tensor | None]:
        """Held-out real images for metrics on pixels, and their labels."""
        return required(self.held_out).select(min(MAX_PIXEL_SAMPLES, self.max_count), self.seed)

    @cached_property
    def training_pixels(self) -> Tensor:
        """As many real images as fit into memory, to search for images that samples copy."""
        return required(self.real).select(self.max_count, self.seed)[0]

    def equal_counts(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor, int]:
        """Random subsets of equal size, for metrics that depend on the counts, and that size."""
        n = min(len(real), len(fake))
        real, fake = (
            x if len(x) == n else x[torch.randperm(len(x), generator=torch.Generator().manual_seed(self.seed))[:n]]
            for x in (real, fake)
        )
        return real, fake, n

    def score_name(self, metric: str, official: str = "") -> str:
        """The metric with its extractor, as in fd_digits; the published name, as FID, with the published network."""
        if self.extractor is None:
            return metric
        return official if self.network.official and official else f"{metric}_{self.network.name}"
