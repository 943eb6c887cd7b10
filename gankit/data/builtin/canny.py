"""Canny edge detection: J. Canny, "A Computational Approach to Edge Detection", PAMI 1986."""

from __future__ import annotations

import numpy as np


def canny(grey: np.ndarray, sigma: float = 1.0, low: float = 8.0, high: float = 16.0) -> np.ndarray:
    """Edges of a grey picture: 255 on lines that are one pixel wide, 0 elsewhere.

    Args:
        grey: (H, W) in 0..255.
        sigma: standard deviation in pixels of the Gaussian that smooths the picture.
        low, high: hysteresis thresholds on the gradient, in grey levels per pixel: all pixels of a line are above
            `low`, and at least one is above `high`.

    Returns:
        (H, W) uint8.
    """
    smooth = _smooth(_smooth(grey.astype(np.float64), sigma).T, sigma).T
    down, across = np.gradient(smooth)
    slope = np.hypot(down, across)
    crest = _crest(slope, down, across)
    edge, weak = crest & (slope > high), crest & (slope > low)
    while True:  # hysteresis: edges grow into weak neighbours until none is left
        grown = weak & _shifted(edge).any(0)
        if np.array_equal(grown, edge):
            return np.where(edge, np.uint8(255), np.uint8(0))
        edge = grown


def _crest(slope: np.ndarray, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Non-maximum suppression: where the slope (H, W) is a maximum along the gradient, by interpolated values."""
    steep = np.abs(down) > np.abs(across)
    share = np.where(steep, np.abs(across), np.abs(down)) / np.maximum(np.maximum(np.abs(down), np.abs(across)), 1e-12)
    falling = down * across >= 0  # the gradient points down and right, or up and left
    around = _shifted(slope)  # in row order
    first = np.where(steep, around[1], around[3])  # straight up or left
    first_corner = np.where(falling, around[0], np.where(steep, around[2], around[6]))
    second = np.where(steep, around[7], around[5])
    second_corner = np.where(falling, around[8], np.where(steep, around[6], around[2]))
    before = share * first_corner + (1 - share) * first
    after = share * second_corner + (1 - share) * second
    return (slope > before) & (slope >= after)


def _smooth(rows: np.ndarray, sigma: float) -> np.ndarray:
    """(N, L) with each row smoothed by a Gaussian; rows are extended by reflection."""
    reach = int(np.ceil(3 * sigma))
    weight = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    wide = np.pad(rows, ((0, 0), (reach, reach)), mode="symmetric")
    return sum(w * wide[:, i : i + rows.shape[1]] for i, w in enumerate(weight / weight.sum()))


def _shifted(plane: np.ndarray) -> np.ndarray:
    """(H, W) to (9, H, W): each pixel's 3x3 neighbours, row by row; zeros outside."""
    height, width = plane.shape
    wide = np.pad(plane, 1)
    return np.stack([wide[y : y + height, x : x + width] for y in range(3) for x in range(3)])
