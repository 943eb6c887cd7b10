"""Drawn cells as a microscope shows them, many of which touch, and which pixels are theirs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from gankit.data import draws
from gankit.data.builtin.noise import cut, noise
from gankit.data.reading import cache
from gankit.data.stream import Dataset, Size

VERSION = 1  # of what is drawn: another number is other data
SEED, SIZE, TEST = 12, 1_000, 200
SPACING, REACH = (
    0.46,
    0.42,
)  # between places for cells, and from a place to its cell's far end; half a picture's shorter side is 1
GAP = 2.0  # how much nearer a cell's pixel is to it than to any other, in pixels: then no two cells touch, not even diagonally


def cells(part: str, size: Size) -> Dataset:
    """1,000 grey pictures of touching cells, 64x64 or another size, and 200 others to test on; with label maps.

    Classes are background and cell. Where cells touch, a line of background of two pixels is between them, so each
    connected part of a label map is one cell. Cells have a bright rim, grains and a dark nucleus and are on the average
    hardly brighter than the ground, on which specks lie; the light is uneven, and there is noise.

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

    def read(chosen: np.ndarray) -> np.ndarray:
        drawn = np.empty((len(chosen), 1, height, width), np.uint8)
        for i in range(0, len(chosen), 8):  # a few at a time, so that the layers stay in the processor's cache
            drawn[i : i + 8, 0] = _picture(chosen[i : i + 8] + first, height, width).clip(0, 1) * 255 + 0.5
        return drawn

    def masks(chosen: np.ndarray) -> np.ndarray:
        maps = np.empty((len(chosen), height, width), np.uint8)
        for i in range(0, len(chosen), 8):
            maps[i : i + 8] = _edges(chosen[i : i + 8] + first, height, width)[0] < 0
        return maps

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


def _axes(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.float32]:
    """y (1, H, 1) and x (1, 1, W) of the pixels, and half the shorter side in pixels."""
    half = np.float32(min(height, width) / 2)
    y, x = ((np.arange(side, dtype=np.float32) + 0.5 - side / 2) / half for side in (height, width))
    return y[None, :, None], x[None, None, :], half


def _traits(numbers: np.ndarray, what: int, count: int) -> np.ndarray:
    """(count, n, 1, 1) float32 even in [0, 1): of these pictures, for one purpose."""
    return draws.uniform(SEED, what, np.arange(count)[:, None], numbers).astype(np.float32)[:, :, None, None]


def _edges(numbers: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each pixel (n, H, W), in pixels: how far it is from the edge of the cells, negative within, and how far from the
    nearest cell as if it were alone; and the number of that cell's place."""
    y, x, half = _axes(height, width)
    bend = 2 * np.pi * _traits(numbers, 0, 4)
    u = x + 0.020 * np.sin(8 * y + bend[0]) + 0.012 * np.sin(11 * (x - y) + bend[1])  # no outline is an ellipse
    v = y + 0.020 * np.sin(8 * x + bend[2]) + 0.012 * np.sin(11 * (x + y) + bend[3])
    nearest = np.full(u.shape, 99 * half)
    second, place = nearest.copy(), np.zeros(u.shape, np.int64)
    crowd = 0.55 + 0.4 * _traits(numbers, 1, 1)[0]  # the share of places that hold a cell
    down, across = SPACING * 0.87, SPACING
    rows, columns = (int(np.ceil((side / 2 / half + REACH) / step)) for side, step in ((height, down), (width, across)))
    for i in range(-rows, rows + 1):
        for j in range(-columns, columns + 1):
            number = (i + rows) * (2 * columns + 1) + j + columns
            there, *drawn = _traits(numbers, 2 + number, 6)
            cy, cx = down * (i + 0.30 * (2 * drawn[0] - 1)), across * (j + 0.5 * (i % 2) + 0.26 * (2 * drawn[1] - 1))
            long = 0.22 + 0.07 * drawn[2]
            short, turn = long * (0.68 + 0.3 * drawn[3]), np.pi * drawn[4]
            top, bottom = np.searchsorted(y[0, :, 0], (down * i - REACH, down * i + REACH))
            left, right = np.searchsorted(
                x[0, 0], (across * (j + 0.5 * (i % 2)) - REACH, across * (j + 0.5 * (i % 2)) + REACH)
            )
            box = slice(None), slice(top, bottom), slice(left, right)
            a, b, cos, sin = u[box] - cx, v[box] - cy, np.cos(turn), np.sin(turn)
            a, b = (a * cos + b * sin) / long, (b * cos - a * sin) / short
            away = (np.sqrt(a * a + b * b) - 1) * (short * half) + 99 * half * (there > crowd)
            closer = away < nearest[box]
            second[box] = np.where(closer, nearest[box], np.minimum(second[box], away))
            place[box][closer] = number
            nearest[box] = np.minimum(nearest[box], away)
    return np.maximum(nearest, (nearest - second + GAP) / 2), nearest, place


def _picture(numbers: np.ndarray, height: int, width: int) -> np.ndarray:
    """The pictures (n, H, W), about in 0..1."""
    y, x, half = _axes(height, width)
    edge, nearest, place = _edges(numbers, height, width)
    unit = half / 32  # pixels are that much smaller than those of a picture of 64x64
    side = 4 * max(height, width)
    at = draws.uniform(SEED, 3, np.arange(6)[:, None], numbers)
    fine, grains, smooth = (
        cut(noise(SEED + i, side, sigma, sigma), at[2 * i], at[2 * i + 1], height, width)
        for i, sigma in enumerate((0.0, 0.9 * float(unit), 5.0 * float(unit)))
    )
    light = _traits(numbers, 4, 6)
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
