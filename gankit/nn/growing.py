"""Progressive growing: levels and their fade-in, doubled maps, and settings that depend on the resolution."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def double(x: Tensor) -> Tensor:
    """(N, C, H, W) to (N, C, 2H, 2W) by nearest neighbour."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def faded(images: Tensor, alpha: float) -> Tensor:
    """(N, C, H, W) reals while a level fades in: alpha * images + (1 - alpha) * images at half the resolution."""
    return images if alpha == 1 else torch.lerp(double(F.avg_pool2d(images, 2)), images, alpha)


def grown(images: int, hold: int, fade: int, first: int, last: int) -> tuple[int, float]:
    """The level after `images` images, and its alpha, 0 to 1. Each level after the first starts with its fade-in.

    Args:
        images: images seen.
        hold: images for which a level stays at alpha 1.
        fade: images of a fade-in.
        first: the first level.
        last: the last level.
    """
    passed, since = divmod(images + fade, fade + hold)
    level = first + passed
    return (level, min(1.0, since / fade) if fade else 1.0) if level <= last else (last, 1.0)


def by_side(table: str) -> dict[int, float]:
    """Parse a table by resolution: "256:14 512:6" to {256: 14, 512: 6}.

    Raises:
        ValueError: the text has another form, or a value is not positive and finite.
    """
    try:
        values = {int(side): float(value) for side, value in (item.split(":") for item in table.split())}
        if not all(0 < value < float("inf") for value in values.values()):
            raise ValueError
        return values
    except ValueError:
        raise ValueError(f'found {table!r} where "SIDE:VALUE SIDE:VALUE" was expected, as in "256:14 512:6"') from None


def at_side(table: dict[int, float], side: int) -> float | None:
    """The value of the largest side in the table that is at most `side`; None if there is none."""
    sides = [s for s in table if s <= side]
    return table[max(sides)] if sides else None
