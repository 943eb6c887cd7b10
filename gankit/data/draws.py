"""Random numbers as pure functions of integers, vectorised: no state to save, the same on every machine."""

from __future__ import annotations

import numpy as np


def bits(*numbers: int | np.ndarray) -> np.ndarray:
    """64 random bits, uint64, for integers and arrays of them, broadcast (splitmix64 over each in turn)."""
    state = np.zeros(1, np.uint64)  # an array from the start: NumPy warns of overflow in scalars
    for number in numbers:
        word = np.uint64(number & (2**64 - 1)) if isinstance(number, int) else number.astype(np.uint64)
        state = (state ^ word) + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ state >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ state >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        state = state ^ state >> np.uint64(31)
    return state


def uniform(*numbers: int | np.ndarray) -> np.ndarray:
    """Uniform float64 in [0, 1)."""
    return (bits(*numbers) >> np.uint64(11)) * 2.0**-53


def normal(*numbers: int | np.ndarray) -> np.ndarray:
    """Standard normal float64, by Box and Muller."""
    radius = np.sqrt(-2 * np.log(1 - uniform(*numbers, 0)))
    return radius * np.cos(2 * np.pi * uniform(*numbers, 1))


def choice(below: int, *numbers: int | np.ndarray) -> np.ndarray:
    """Uniform integers int64 in 0..below-1."""
    return (uniform(*numbers) * below).astype(np.int64)
