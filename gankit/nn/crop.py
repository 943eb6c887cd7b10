"""Random crops, drawn by position."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Draw = Callable[[Callable[[int], Tensor]], Tensor]


def larger_size(shape: Sequence[int], scale: float) -> tuple[int, int] | None:
    """The (height, width) of images (C, H, W) `scale` times as large, a recipe's `load_size`; None where that is their own.

    Raises:
        ValueError: scale is below 1, or above 4.
    """
    if not 1 <= scale <= 4:
        raise ValueError(f"load_scale is {scale}; it is how many times larger images are read to be cut from, 1 to 4")
    height, width = (round(side * scale) for side in shape[1:])
    return None if (height, width) == tuple(shape[1:]) else (height, width)


def random_crop(images: Sequence[Tensor], draw: Draw, height: int, width: int) -> list[Tensor]:
    """Tensors of (N, C, H, W) images cut to (N, C, height, width) at a random place of each row; as they are where they have that size.

    All tensors of row i are cut at one place, as both sides of a pair must be; `draw` is `batch.draw`.
    """
    tall, wide = images[0].shape[2:]
    if (tall, wide) == (height, width):
        return list(images)

    def places(n: int) -> Tensor:
        return torch.stack([torch.randint(tall - height + 1, (n,)), torch.randint(wide - width + 1, (n,))], 1)

    at = draw(places)
    rows = (at[:, :1] + torch.arange(height, device=at.device))[:, None, :, None]
    columns = (at[:, 1:] + torch.arange(width, device=at.device))[:, None, None, :]
    row = torch.arange(len(at), device=at.device)[:, None, None, None]
    return [x[row, torch.arange(x.shape[1], device=at.device)[:, None, None], rows, columns] for x in images]
