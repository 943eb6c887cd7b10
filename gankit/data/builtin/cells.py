"""Synthetic microscope images of touching cells, with label maps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from gankit.data import draws
from gankit.data.builtin.drawing import axes, cut, in_blocks, noise, traits
from gankit.data.reading import cache
from gankit.data.stream import Dataset, Size

VERSION = 1  # part of the fingerprint: increase it when the pictures change
SEED, SIZE, TEST = 12, 1_000, 200
# Spacing of the grid of cells, and largest distance from a grid point to its cell's edge, in half the shorter side.
SPACING, REACH = 0.46, 0.42
GAP = 2.0  # each pixel is this much nearer to its cell than to any other, so no two cells touch, even diagonally


def cells(part: str, size: Size) -> Dataset:
    """1,000 grey pictures of touching cells, 64x64 or another size, and 200 others to test on; with label maps.

    The classes are background and cell. Two pixels of background separate cells that touch, so each connected part of
    a label map is one cell. Cells have a bright rim, grains and a dark nucleus, and their mean is hardly brighter than
    the background, which has specks; the light is uneven, and there is noise.

    Args:
        part: "train" or "test".
        size: height and width, 32 or more each.
    """
    height, width = size or (64, 64)
    if min(height, width) < 32:
        raise ValueError(
            f"cells of {height}x{width} would be no larger than the lines between them: say --resolution 32 or more"
        )
    first = {"train": 0, "test": SIZE}[part]

    def draw(numbers: np.ndarray) -> np.ndarray:
        return _picture(numbers, height, width)[:, None].clip(0, 1) * 255 + 0.5

    def read(chosen: np.ndarray) -> np.ndarray:
        return in_blocks(chosen + first, (1, height, width), draw)

    def masks(chosen: np.ndarray) -> np.ndarray:
        return in_blocks(chosen + first, (height, width), lambda numbers: _edges(numbers, height, width)[0] < 0)

    return Dataset(
        name="cells",
        kind="masks",
        shape=(1, height, width),
        size={"train": SIZE, "test": TEST}[part],
        read=read,
        fingerprint=cache.key("cells", part, height, width, VERSION),
        class_names=["background", "cell"],
        masks=masks,
        colours=np.array([(0, 0, 0), (90, 200, 120)], np.uint8),
    )


def _edges(numbers: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two distances (n, H, W) in pixels, negative within cells, and the number of the nearest cell.

    The first distance leaves gaps between touching cells; the second is to the edge of the nearest cell and ignores
    the others.
    """
    y, x, half = axes(height, width)
    bend = 2 * np.pi * traits(SEED, numbers, 0, 4)
    u = x + 0.020 * np.sin(8 * y + bend[0]) + 0.012 * np.sin(11 * (x - y) + bend[1])  # so that no outline is an ellipse
    v = y + 0.020 * np.sin(8 * x + bend[2]) + 0.012 * np.sin(11 * (x + y) + bend[3])
    nearest = np.full(u.shape, 99 * half)
    second, place = nearest.copy(), np.zeros(u.shape, np.int64)
    crowd = 0.55 + 0.4 * traits(SEED, numbers, 1, 1)[0]  # the share of grid points that have a cell
    down, across = SPACING * 0.87, SPACING
    rows, columns = (int(np.ceil((side / 2 / half + REACH) / step)) for side, step in ((height, down), (width, across)))
    for i in range(-rows, rows + 1):
        for j in range(-columns, columns + 1):
            number = (i + rows) * (2 * columns + 1) + j + columns
            present, *drawn = traits(SEED, numbers, 2 + number, 6)
            cy, cx = down * (i + 0.30 * (2 * drawn[0] - 1)), across * (j + 0.5 * (i % 2) + 0.26 * (2 * drawn[1] - 1))
            long = 0.22 + 0.07 * drawn[2]
            short, turn = long * (0.68 + 0.3 * drawn[3]), np.pi * drawn[4]
            top, bottom = np.searchsorted(y[0, :, 0], (down * i - REACH, down * i + REACH))
            middle = across * (j + 0.5 * (i % 2))
            left, right = np.searchsorted(x[0, 0], (middle - REACH, middle + REACH))
            box = slice(None), slice(top, bottom), slice(left, right)
            a, b, cos, sin = u[box] - cx, v[box] - cy, np.cos(turn), np.sin(turn)
            a, b = (a * cos + b * sin) / long, (b * cos - a * sin) / short
            away = (np.sqrt(a * a + b * b) - 1) * (short * half) + 99 * half * (present > crowd)
            closer = away < nearest[box]
            second[box] = np.where(closer, nearest[box], np.minimum(second[box], away))
            place[box][closer] = number
            nearest[box] = np.minimum(nearest[box], away)
    return np.maximum(nearest, (nearest - second + GAP) / 2), nearest, place


def _picture(numbers: np.ndarray, height: int, width: int) -> np.ndarray:
    """The pictures (n, H, W), approximately in 0..1."""
    y, x, half = axes(height, width)
    edge, nearest, place = _edges(numbers, height, width)
    unit = half / 32  # 1 for a picture of 64x64
    side = 4 * max(height, width)
    at = draws.uniform(SEED, 3, np.arange(6)[:, None], numbers)
    fine, grains, smooth = (
        cut(noise(SEED + i, side, sigma, sigma), at[2 * i], at[2 * i + 1], height, width)
        for i, sigma in enumerate((0.0, 0.9 * float(unit), 5.0 * float(unit)))
    )
    light = traits(SEED, numbers, 4, 6)
    inside = np.clip(0.5 - edge, 0, 1)
    depth = -nearest / (0.22 * half)
    tone = 0.10 * (draws.uniform(SEED, 5, numbers[:, None, None], place).astype(np.float32) - 0.35)
    body = tone + 0.045 * grains - 0.16 * np.clip((depth - 0.42) / 0.14, 0, 1)
    grey = 0.40 + 0.03 * smooth + 0.15 * (grains > 2.3) * (nearest > 2) + inside * body
    grey += (0.20 + 0.10 * light[0]) * np.exp(-((edge + 0.6 * unit) ** 2) / (1.4 * unit * unit))
    slope = 0.5 * ((2 * light[1] - 1) * x + (2 * light[2] - 1) * y)
    grey *= (0.85 + 0.4 * light[3]) * (1 + slope) - 0.12 * (x * x + y * y)
    return grey + (0.025 + 0.02 * light[4]) * fine


SETS: dict[str, Callable[[Size], Dataset]] = {
    "cells": partial(cells, "train"),
    "cells:test": partial(cells, "test"),
}
