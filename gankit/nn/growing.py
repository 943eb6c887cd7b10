"""What networks that grow share: maps of twice the side, and settings that change with the side."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def double(x: Tensor) -> Tensor:
    """(N, C, H, W) to (N, C, 2H, 2W): each pixel four times."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def faded(images: Tensor, alpha: float) -> Tensor:
    """(N, C, H, W) reals as a new level meets them while it is faded in: themselves by alpha, halved and doubled by the rest."""
    return images if alpha == 1 else torch.lerp(double(F.avg_pool2d(images, 2)), images, alpha)


def grown(images: int, hold: int, fade: int, first: int, last: int) -> tuple[int, float]:
    """The level after so many images, and how far it is faded in: 1 once it is. Each level but the first begins with its fade."""
    more, into = divmod(images + fade, fade + hold)
    level = first + more
    return (level, min(1.0, into / fade) if fade else 1.0) if level <= last else (last, 1.0)


def by_side(table: str) -> dict[int, float]:
    """{256: 14, 512: 6} of "256:14 512:6"."""
    try:
        found = {int(side): float(value) for side, value in (item.split(":") for item in table.split())}
        if not all(0 < value < float("inf") for value in found.values()):
            raise ValueError
        return found
    except ValueError:
        raise ValueError(f'found {table!r} where "SIDE:VALUE SIDE:VALUE" was expected, as in "256:14 512:6"') from None


def at_side(table: dict[int, float], side: int) -> float | None:
    """The value from the largest side in the table that is not above `side`; None where there is none."""
    known = [s for s in table if s <= side]
    return table[max(known)] if known else None
