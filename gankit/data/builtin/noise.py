"""Noise to draw with: squares that fit at their own edges, and pieces cut out of them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from gankit.data import draws


@lru_cache(maxsize=64)
def noise(seed: int, side: int, down: float = 0.0, across: float = 0.0) -> np.ndarray:
    """(side, side) float32 Gaussian noise of mean 0 and variance 1, which goes on at the opposite edge.

    Args:
        seed: another whole number is other noise.
        side: in pixels.
        down, across: standard deviation in pixels of the Gaussian by which it is smoothed; 0 for none.
    """
    white = draws.normal(seed, np.arange(side)[:, None], np.arange(side))
    rows, columns = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)
    passed = np.exp(-2 * np.pi**2 * ((down * rows) ** 2 + (across * columns) ** 2))
    smooth = np.fft.irfft2(np.fft.rfft2(white) * passed, white.shape)
    smooth -= smooth.mean()
    smooth = (smooth / smooth.std()).astype(np.float32)
    smooth.flags.writeable = False  # one copy is everybody's
    return smooth


def cut(square: np.ndarray, top: np.ndarray, left: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pieces (n, height, width) of a square (side, side), from these shares (n,) of its sides in [0, 1) on, around its edges."""
    side = len(square)
    rows = ((top * side).astype(np.int64)[:, None] + np.arange(height)) % side
    columns = ((left * side).astype(np.int64)[:, None] + np.arange(width)) % side
    return square[rows[:, :, None], columns[:, None, :]]
