"""How long a preparation will take, from a sample of its files, said before it starts."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from gankit.disk import amount
from gankit.text import about, aside

FEWEST = 64  # files, below which nothing is measured
SAMPLE = 16  # files
PATIENCE = 0.5  # seconds after which no further file of the sample is begun
LEAST = 5.0  # seconds that are worth a message
T = TypeVar("T")


def announce(
    items: Sequence[T],
    read: Callable[[T], bytes],
    work: Callable[[T, bytes], object],
    space: int = 0,
    anywhere: bool = True,
    what: str = "preparing",
) -> None:
    """Say how long work on these items takes with all cores, and the space of its results, if it is more than seconds.

    Args:
        items: of which some, evenly spread, are read and worked on now.
        read, work: as of `workers.each`.
        space: bytes of the results in the cache.
        anywhere: whether items can be read in any order, or only from the first on.
        what: is done with them.
    """
    if len(items) < FEWEST:
        return
    step = max(1, len(items) // SAMPLE) if anywhere else 1
    taken = seconds(items[: SAMPLE * step : step], read, work)
    if (whole := taken * len(items)) >= LEAST:
        cores = os.cpu_count() or 1
        room = f", and {amount(space)} of the cache" * (space > 0)
        with_cores = f"{cores} core{'s' * (cores > 1)}"
        aside(f"gankit: {what} {len(items):,} images takes about {duration(whole)} with {with_cores}{room}")


def seconds(sample: Sequence[T], read: Callable[[T], bytes], work: Callable[[T, bytes], object]) -> float:
    """The seconds that an item takes on average with all cores; 0 if none was worked on."""
    begin = time.perf_counter()

    def attempt(item: T) -> bool:
        if time.perf_counter() - begin > PATIENCE:
            return False
        with contextlib.suppress(ValueError):  # reported when it is prepared
            work(item, read(item))
        return True

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        count = sum(pool.map(attempt, sample))
    return (time.perf_counter() - begin) / count if count else 0.0


def duration(taken: float) -> str:
    """Seconds in words: 40 s, 12 min, 3.5 h."""
    return about(taken, hours="h")
