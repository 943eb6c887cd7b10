"""The order of samples in shards: near each other in the stream what is near on disk, and still a permutation."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from gankit.data import draws

SHARDS, WITHIN = 5, 6  # purposes of random numbers
MIXED = 8192  # samples that are mixed with each other, at least, where there are as many
LEAST = 4  # shards that are mixed with each other


class ShardOrder:
    """Each epoch takes the shards in a new order, a few at a time, and mixes all samples of these few.

    Args:
        counts: (S,) samples of each shard; samples are numbered shard by shard.
        soon: called with the shards whose samples come next, before they are read.
    """

    def __init__(self, counts: np.ndarray, soon: Callable[[list[int]], None] | None = None):
        self.counts, self.soon = np.asarray(counts, np.int64), soon
        self.size = int(self.counts.sum())
        self.width = min(len(counts), max(LEAST, -(-MIXED * len(counts) // max(1, self.size))))
        self.starts = np.cumsum(self.counts) - self.counts
        self.epoch = lru_cache(4)(self._epoch)
        self.window = lru_cache(4)(self._window)

    def only(self, kept: np.ndarray) -> ShardOrder:
        """The order of some of the samples, numbered anew."""
        shards = np.searchsorted(np.cumsum(self.counts), kept, "right")
        return ShardOrder(np.bincount(shards, minlength=len(self.counts)), self.soon)

    def numbers(self, positions: np.ndarray, seed: int) -> np.ndarray:
        """The number of the sample at each position (n,): each epoch is a permutation of all samples."""
        epochs, places = np.divmod(positions, self.size)
        numbers = np.empty_like(places)
        for epoch in np.unique(epochs).tolist():
            _, ends = self.epoch(seed, epoch)
            windows = np.where(epochs == epoch, np.searchsorted(ends, places, "right"), -1)
            for window in np.unique(windows[windows >= 0]).tolist():
                here = windows == window
                numbers[here] = self.window(seed, epoch, window)[places[here] - (ends[window - 1] if window else 0)]
        return numbers

    def _epoch(self, seed: int, epoch: int) -> tuple[list[list[int]], np.ndarray]:
        """The shards of each window of an epoch, and the place where each window ends."""
        order = np.argsort(draws.bits(seed, SHARDS, epoch, np.arange(len(self.counts))), kind="stable")
        windows = [order[i : i + self.width] for i in range(0, len(order), self.width)]
        return [window.tolist() for window in windows], np.cumsum([self.counts[window].sum() for window in windows])

    def _window(self, seed: int, epoch: int, window: int) -> np.ndarray:
        """The numbers of the samples of a window, mixed."""
        windows, _ = self.epoch(seed, epoch)
        if self.soon:
            after = windows[window + 1] if window + 1 < len(windows) else self.epoch(seed, epoch + 1)[0][0]
            self.soon([*windows[window], *after])
        numbers = np.concatenate([np.arange(self.counts[s]) + self.starts[s] for s in windows[window]])
        return numbers[np.argsort(draws.bits(seed, WITHIN, epoch, numbers), kind="stable")]
