"""Data sets of built-in images in memory: whole images, or every patch of a few pictures."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from gankit.data.reading import cache
from gankit.data.stream import Dataset, Size

VERSION = 1  # part of the fingerprint: increase it when the content changes


def in_memory(
    name: str, part: str, pixels: np.ndarray, labels: np.ndarray | None = None, class_names: list[str] | None = None
) -> Dataset:
    """All images (N, C, H, W) uint8, as a data set."""
    pixels = np.ascontiguousarray(pixels)
    key = cache.key(name, part, pixels.shape, VERSION)
    return Dataset(name, "images", pixels.shape[1:], len(pixels), pixels.__getitem__, key, labels, class_names or [])


def patches(name: str, part: str, pictures: list[np.ndarray], size: Size, classes: list[str] | None = None) -> Dataset:
    """Every window of the pictures (C, H, W), 64x64 by default, as a data set."""
    height, width = size or (64, 64)
    limit = min(p.shape[1] for p in pictures), min(p.shape[2] for p in pictures)
    if height > limit[0] or width > limit[1]:
        raise ValueError(f"patches of {height}x{width} are larger than the picture, {limit[0]}x{limit[1]}")
    windows = [sliding_window_view(p, (height, width), (1, 2)) for p in pictures]
    ends = np.cumsum([w.shape[1] * w.shape[2] for w in windows])

    def read(numbers: np.ndarray) -> np.ndarray:
        patches = np.empty((len(numbers), *shape), np.uint8)
        which = np.searchsorted(ends, numbers, "right")
        for i in np.unique(which):
            y, x = np.divmod(numbers[which == i] - (ends[i - 1] if i else 0), windows[i].shape[2])
            patches[which == i] = windows[i][:, y, x].swapaxes(0, 1)
        return patches

    shape = (len(pictures[0]), height, width)
    labels = np.searchsorted(ends, np.arange(ends[-1]), "right") if classes else None
    key = cache.key(name, part, shape, VERSION)
    return Dataset(name, "images", shape, int(ends[-1]), read, key, labels, classes or [])


def square_side(size: Size, default: int, name: str) -> int:
    """The side of square images. Raises ValueError: height and width differ, or are out of range."""
    height, width = size or (default, default)
    if height != width or not 8 <= height <= 256:
        raise ValueError(
            f"{name} are square, with a side of 8 to 256, not {height}x{width}: say --resolution 16, 32 or 64"
        )
    return height
