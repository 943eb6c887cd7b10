"""Points in the plane with a known distribution: mixtures of Gaussians and a spiral."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from gankit.data import draws
from gankit.data.reading import cache
from gankit.data.stream import Dataset, Modes, Size

VERSION = 1  # part of the fingerprint: increase it when the content changes
SIZE = 100_000  # size of the training set in PacGAN's protocol
RING, GRID, ROLL = range(3)  # seeds

# Centres (K, 2) and standard deviation as VEEGAN (Srivastava et al., 2017) and PacGAN (Lin et al., 2018) publish them.
_angles = 2 * np.pi * np.arange(8) / 8
MODES: dict[str, tuple[np.ndarray, float]] = {
    "ring": (np.stack([np.cos(_angles), np.sin(_angles)], 1), 0.01),
    "grid": (np.stack(np.meshgrid([-4.0, -2, 0, 2, 4], [-4.0, -2, 0, 2, 4]), -1).reshape(-1, 2), 0.05),
}


def ring(_: object = None) -> Dataset:
    """100,000 points of 8 Gaussians on a circle of radius 1, standard deviation 0.01, labelled."""
    return _mixture("ring", RING)


def grid(_: object = None) -> Dataset:
    """100,000 points of 25 Gaussians on the grid {-4, -2, 0, 2, 4}^2, standard deviation 0.05, labelled."""
    return _mixture("grid", GRID)


def swissroll(_: object = None) -> Dataset:
    """100,000 points of a spiral of one and a half turns with noise of 0.25, all divided by 7.5, as in WGAN-GP."""
    numbers = np.arange(SIZE)
    turn = 1.5 * np.pi * (1 + 2 * draws.uniform(ROLL, 0, numbers))
    roll = np.stack([turn * np.cos(turn), turn * np.sin(turn)], 1)
    return _points("swissroll", (roll + 0.25 * draws.normal(ROLL, 1, numbers[:, None], np.arange(2))) / 7.5)


def _mixture(name: str, seed: int) -> Dataset:
    """Points of a mixture of Gaussians, labelled by their mode."""
    centres, std = MODES[name]
    labels = draws.choice(len(centres), seed, 0, np.arange(SIZE))
    points = centres[labels] + std * draws.normal(seed, 1, np.arange(SIZE)[:, None], np.arange(2))
    class_names, modes = [str(i) for i in range(len(centres))], Modes(len(centres), centres, std)
    return replace(_points(name, points), labels=labels, class_names=class_names, modes=modes)


def _points(name: str, points: np.ndarray) -> Dataset:
    """Points (N, 2) as a data set."""
    points = points.astype(np.float32)
    return Dataset(name, "points", points.shape[1:], len(points), points.__getitem__, cache.key(name, VERSION))


SETS: dict[str, Callable[[Size], Dataset]] = {"ring": ring, "grid": grid, "swissroll": swissroll}
