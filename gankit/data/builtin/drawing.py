"""Helpers for drawn data sets: pixel coordinates, random traits of pictures, and tileable noise."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from gankit.data import draws


def axes(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.float32]:
    """Pixel coordinates y (1, H, 1) and x (1, 1, W) in units of half the shorter side, and that unit in pixels."""
    half = np.float32(min(height, width) / 2)
    y, x = ((np.arange(side, dtype=np.float32) + 0.5 - side / 2) / half for side in (height, width))
    return y[None, :, None], x[None, None, :], half


def traits(seed: int, numbers: np.ndarray, purpose: int, count: int) -> np.ndarray:
    """(count, n, 1, 1) float32 uniform in [0, 1): `count` values per picture, independent for each `purpose`."""
    return draws.uniform(seed, purpose, np.arange(count)[:, None], numbers).astype(np.float32)[:, :, None, None]


def in_blocks(numbers: np.ndarray, shape: tuple[int, ...], draw: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """(n, *shape) uint8, drawn eight pictures at a time, so that layers stay in the CPU cache."""
    pictures = np.empty((len(numbers), *shape), np.uint8)
    for i in range(0, len(numbers), 8):
        pictures[i : i + 8] = draw(numbers[i : i + 8])
    return pictures


@lru_cache(maxsize=64)
def noise(seed: int, side: int, down: float = 0.0, across: float = 0.0) -> np.ndarray:
    """Tileable Gaussian noise (side, side) float32 of mean 0 and variance 1.

    Args:
        seed: of the noise.
        side: in pixels.
        down, across: standard deviation in pixels of the Gaussian that smooths it; 0 for none.
    """
    white = draws.normal(seed, np.arange(side)[:, None], np.arange(side))
    rows, columns = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)
    passed = np.exp(-2 * np.pi**2 * ((down * rows) ** 2 + (across * columns) ** 2))
    smooth = np.fft.irfft2(np.fft.rfft2(white) * passed, white.shape)
    smooth -= smooth.mean()
    smooth = (smooth / smooth.std()).astype(np.float32)
    smooth.flags.writeable = False  # all callers share one copy
    return smooth


def cut(square: np.ndarray, top: np.ndarray, left: np.ndarray, height: int, width: int) -> np.ndarray:
    """Crops (n, height, width) of a tile (side, side); `top` and `left` (n,) are fractions of its side in [0, 1)."""
    side = len(square)
    rows = ((top * side).astype(np.int64)[:, None] + np.arange(height)) % side
    columns = ((left * side).astype(np.int64)[:, None] + np.arange(width)) % side
    return square[rows[:, :, None], columns[:, None, :]]
