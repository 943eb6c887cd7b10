"""Random crops, drawn by position in the stream of images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gankit.nn.across import Draw


def larger_size(shape: Sequence[int], scale: float) -> tuple[int, int] | None:
    """(C, H, W) to the (height, width) `scale` times as large, a recipe's `load_size`; None if the size stays the same.

    Raises:
        ValueError: scale is below 1, or above 4.
    """
    if not 1 <= scale <= 4:
        raise ValueError(f"load_scale is {scale}; it is how many times larger images are read before the crop, 1 to 4")
    height, width = (round(side * scale) for side in shape[1:])
    return None if (height, width) == tuple(shape[1:]) else (height, width)


def random_crop(images: Sequence[Tensor], draw: Draw, height: int, width: int) -> list[Tensor]:
    """(N, C, H, W) images, one or more tensors, cropped to (N, C, height, width) at a random position of each row.

    Row i of all tensors is cropped at the same position, as both images of a pair must be. Images that already have
    the size are returned unchanged. `draw` is `batch.draw`.
    """
    tall, wide = images[0].shape[2:]
    if (tall, wide) == (height, width):
        return list(images)

    def corners(n: int) -> Tensor:
        return torch.stack([torch.randint(tall - height + 1, (n,)), torch.randint(wide - width + 1, (n,))], 1)

    corner = draw(corners)
    device = corner.device
    y = (corner[:, :1] + torch.arange(height, device=device))[:, None, :, None]
    x = (corner[:, 1:] + torch.arange(width, device=device))[:, None, None, :]
    row = torch.arange(len(corner), device=device)[:, None, None, None]
    return [batch[row, torch.arange(batch.shape[1], device=device)[:, None, None], y, x] for batch in images]
