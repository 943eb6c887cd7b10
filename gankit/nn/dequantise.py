"""Random draws of a step that several papers share. `draw` is `batch.draw`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gankit.nn.across import Draw


def dequantise(images: Tensor, draw: Draw) -> Tensor:
    """(N, C, H, W) images in [-1, 1], plus uniform noise of one of 256 grey levels."""
    return (127.5 * (images + 1) + draw(lambda n: torch.rand(n, *images.shape[1:]))) / 128 - 1


def draw_times(draw: Draw, sampler: Callable[[int], Tensor], times: int) -> Tensor:
    """(N * times, ...): `times` rows of the sampler for each image of the batch, grouped by image."""
    return draw(lambda n: sampler(n * times).unflatten(0, (n, times))).flatten(0, 1)
