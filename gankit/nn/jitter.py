"""Random crops of slightly enlarged images, drawn by position."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Draw = Callable[[Callable[[int], Tensor]], Tensor]


def jitter(images: Sequence[Tensor], draw: Draw, scale: float = 286 / 256) -> list[Tensor]:
    """Tensors of (N, C, H, W) images in [-1, 1], enlarged (bicubic) and cut back to H x W at a random place of each row.

    All tensors of row i are cut at one place, as both sides of a pair must be; `draw` is `batch.draw`. By 286 / 256, as in
    Isola et al. 2017, section 6.2.
    """
    height, width = images[0].shape[2:]
    tall, wide = round(height * scale), round(width * scale)

    def places(n: int) -> Tensor:
        return torch.stack([torch.randint(tall - height + 1, (n,)), torch.randint(wide - width + 1, (n,))], 1)

    at = draw(places)
    rows = (at[:, :1] + torch.arange(height, device=at.device))[:, None, :, None]
    columns = (at[:, 1:] + torch.arange(width, device=at.device))[:, None, None, :]
    row = torch.arange(len(at), device=at.device)[:, None, None, None]
    cut = []
    for x in images:
        large = F.interpolate(x, (tall, wide), mode="bicubic", antialias=True).clamp(-1, 1)  # antialias: PIL's kernel
        cut.append(large[row, torch.arange(x.shape[1], device=at.device)[:, None, None], rows, columns])
    return cut
