"""Data at another size than that at which it was read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from gankit.data.domains import Domains
from gankit.data.stream import Dataset
from gankit.data.union import Union


def resized(data: Dataset | Domains | Union, size: tuple[int, int]) -> Dataset | Domains | Union:
    """Data whose images are the nearest pixels of those that are read, without an opening of its files.

    To measure what a model costs at a size; training reads the images at their size.

    Args:
        data: images, with label maps or without.
        size: (height, width).
    """
    if isinstance(data, Domains):
        return replace(data, a=resized_images(data.a, size), b=resized_images(data.b, size))
    if isinstance(data, Union):
        return replace(data, sets=[resized_images(part, size) for part in data.sets])
    return resized_images(data, size)


def resized_images(data: Dataset, size: tuple[int, int]) -> Dataset:
    """`resized` for a single set."""
    y, x = (np.arange(new) * old // new for new, old in zip(size, data.shape[1:]))

    def at_size(read: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
        return lambda numbers: np.ascontiguousarray(read(numbers)[..., y[:, None], x])

    masks = at_size(data.masks) if data.masks else None
    return replace(data, shape=(data.shape[0], *size), read=at_size(data.read), masks=masks)
