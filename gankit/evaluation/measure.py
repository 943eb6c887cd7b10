"""Computing the metrics of a plan: scores, the time that they take, and the failures, which stop no other metric."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from gankit import processes
from gankit.evaluation.catalogue import METRICS, uses
from gankit.evaluation.needs import FEATURES
from gankit.evaluation.plan import Plan
from gankit.evaluation.subject import Score, Subject
from gankit.text import counted


class Measured(NamedTuple):
    """A score, the metric that it belongs to, and the seconds since that metric began."""

    metric: str
    score: Score
    seconds: float


def measure(subject: Subject, names: list[str], skip: Callable[[str], None]) -> Iterator[Measured]:
    """Scores as they are computed. All processes extract features; the first one computes the metrics.

    A metric that fails is skipped with a reason, and so is a score that is not finite.
    """
    with_features = [name for name in names if FEATURES in uses(name)]
    try:
        if with_features:
            _ = subject.fakes
        if any("reals" in METRICS[name].needs for name in with_features):
            _ = subject.reals
    except Exception as error:
        if processes.world() > 1:  # the other processes would wait for this one
            raise
        skip(f"{', '.join(with_features)} cannot be computed: {describe(error)}")
        names = [name for name in names if name not in with_features]
    for name in names if processes.rank() == 0 else ():
        start = time.perf_counter()
        try:
            for score in METRICS[name].compute(subject):
                if math.isfinite(score.value):
                    yield Measured(name, _complete(score, subject), time.perf_counter() - start)
                else:
                    n = f"{score.n_fake:,} samples"
                    skip(f"{score.name} cannot be computed: it is {score.value} for these {n}")
        except Exception as error:
            skip(f"{name} cannot be computed: {describe(error)}")


def describe(error: Exception) -> str:
    """An exception in one line, with its type unless it is an error about the data."""
    text = " ".join(str(error).split())
    if "out of memory" in text.lower() or isinstance(error, MemoryError):
        return f"out of memory: {text} Try a smaller --batch, or a smaller --n"
    return text if isinstance(error, (ValueError, OSError)) else f"{type(error).__name__}: {text}"


def _complete(score: Score, subject: Subject) -> Score:
    """A score with the direction and remark of its samples; an error that is not finite is dropped."""
    fake = subject.fake
    name = f"{score.name}_{fake.direction}" if fake.direction else score.name
    score = score._replace(name=name, note="; ".join(filter(None, (score.note, fake.note))))
    return score if math.isfinite(score.error or 0) else score._replace(error=None, error_of="")


@contextmanager
def progress_bar(plans: list[Plan]) -> Iterator[None]:
    """A bar on stderr over the samples whose features are extracted."""
    subjects = [plan.subject for plan in plans]
    sets = [samples for s in subjects for samples in (s.fake, s.real) if samples is not None]
    total = sum(min(subjects[0].n, samples.count) for samples in sets)
    with counted(total, "samples") as advance:
        for subject in subjects:
            subject.report_progress = advance
        yield
