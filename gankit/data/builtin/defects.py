"""Defects drawn on patches of a texture, with maps of their pixels, for anomaly detection."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gankit.data import draws
from gankit.data.reading import cache
from gankit.data.stream import Dataset

VERSION = 1  # part of the fingerprint: increase it when the pictures change
SEED, SIZE = 41, 400
KINDS = ("scratch", "stain", "hole", "turned")


def damaged(name: str, normal: Dataset) -> Dataset:
    """Patches of a texture; every second one has a defect, whose pixels are 1 in its label map.

    A scratch is a bright line, a stain a soft dark spot, and a hole a black disc. "turned" rotates a square of the
    patch by 90 degrees, so that the greys are normal but the pattern is not.

    Args:
        name: name of the new data set.
        normal: grey patches without defects.
    """
    height, width = normal.shape[1:]
    where = draws.choice(len(normal), SEED, 0, np.arange(SIZE))

    def both(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images, masks = normal.read(where[numbers]), np.zeros((len(numbers), height, width), np.uint8)
        for row, number in enumerate(numbers.tolist()):
            if number % 2:
                kind = KINDS[number // 2 % len(KINDS)]
                images[row, 0], masks[row] = DRAW[kind](images[row, 0], draws.uniform(SEED, 1, number, np.arange(8)))
        return images, masks

    return Dataset(
        name=name,
        kind="masks",
        shape=normal.shape,
        size=SIZE,
        read=lambda numbers: both(numbers)[0],
        fingerprint=cache.key(normal.fingerprint, SIZE, VERSION),
        class_names=["normal", "defect"],
        masks=lambda numbers: both(numbers)[1],
    )


def _grid(image: np.ndarray) -> np.ndarray:
    return np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)


def _mixed(image: np.ndarray, cover: np.ndarray, grey: float) -> tuple[np.ndarray, np.ndarray]:
    return (image * (1 - cover) + grey * cover).round().astype(np.uint8), (cover > 0.25).astype(np.uint8)


def _scratch(image: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    (y, x), side = _grid(image), min(image.shape)
    cy, cx, angle = (0.25 + 0.5 * u[0]) * image.shape[0], (0.25 + 0.5 * u[1]) * image.shape[1], np.pi * u[2]
    along = (y - cy) * np.sin(angle) + (x - cx) * np.cos(angle)
    across = np.abs((x - cx) * np.sin(angle) - (y - cy) * np.cos(angle))
    inside = np.clip(side * (0.02 + 0.015 * u[3]) + 0.5 - across, 0, 1) * (np.abs(along) < side * (0.15 + 0.15 * u[4]))
    return _mixed(image, inside, 245)


def _stain(image: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    (y, x), side = _grid(image), min(image.shape)
    cy, cx = (0.2 + 0.6 * u[0]) * image.shape[0], (0.2 + 0.6 * u[1]) * image.shape[1]
    near = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * (side * (0.07 + 0.06 * u[2])) ** 2))
    return _mixed(image, 0.75 * near, 25)


def _hole(image: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    (y, x), side = _grid(image), min(image.shape)
    cy, cx = (0.2 + 0.6 * u[0]) * image.shape[0], (0.2 + 0.6 * u[1]) * image.shape[1]
    return _mixed(image, np.clip(side * (0.05 + 0.06 * u[2]) + 0.5 - np.hypot(y - cy, x - cx), 0, 1), 5)


def _turned(image: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    side = round(min(image.shape) * (0.25 + 0.15 * u[2]))
    y, x = (int(u[i] * (image.shape[i] - side)) for i in (0, 1))
    out, mask = image.copy(), np.zeros(image.shape, np.uint8)
    out[y : y + side, x : x + side] = np.rot90(image[y : y + side, x : x + side])
    mask[y : y + side, x : x + side] = 1
    return out, mask


DRAW: dict[str, Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "scratch": _scratch,
    "stain": _stain,
    "hole": _hole,
    "turned": _turned,
}
