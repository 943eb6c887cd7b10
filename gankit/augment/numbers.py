"""Random numbers for each image, and the dtype and shape in which augmentations compute with them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gankit.recipe import Draw


def draw_rows(images: Tensor, draw: Draw, sampler: Callable[[int], Tensor]) -> Tensor:
    """One row of the sampler's random numbers for each image."""
    rows = draw(sampler)
    if len(rows) != len(images):
        raise ValueError(
            f"{len(images)} images, but draw gives numbers for {len(rows)}: pass the draw of the images' own batch"
        )
    return rows.to(images.device, images.dtype)


def widen(images: Tensor) -> Tensor:
    """Half precision to float32."""
    return images.float() if images.dtype in (torch.bfloat16, torch.float16) else images


def per_image(values: Tensor) -> Tensor:
    """(N,) to (N, 1, 1, 1)."""
    return values[:, None, None, None]
