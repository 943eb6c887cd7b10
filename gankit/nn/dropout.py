"""Dropout with masks drawn by position in the stream of images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gankit.nn import across


class Dropout(nn.Dropout):
    """`torch.nn.Dropout` whose training masks do not depend on how the batch is divided into processes and pieces."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) to the same; each number becomes 0 with probability p, otherwise it is divided by 1 - p."""
        kept = _kept(self, x, x.shape[1:]) if self.training and self.p else None
        return super().forward(x) if kept is None else x * kept


class Dropout2d(nn.Dropout2d):
    """`torch.nn.Dropout2d` whose training masks do not depend on how the batch is divided into processes and pieces."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same; each map becomes 0 with probability p, otherwise it is divided by 1 - p."""
        kept = _kept(self, x, (x.shape[1], 1, 1)) if self.training and self.p else None
        return super().forward(x) if kept is None else x * kept


def _kept(layer: nn.Dropout | nn.Dropout2d, x: Tensor, shape: Sequence[int]) -> Tensor | None:
    """(N, *shape) factors, 0 or 1 / (1 - p); None outside an update. A compiled graph does not hold the drawing."""
    # as a decorator, disable would import the compiler, which takes seconds, in every command
    draw = torch.compiler.disable(_draw) if torch.compiler.is_compiling() else _draw
    return draw(layer, x, shape)


def _draw(layer: nn.Dropout | nn.Dropout2d, x: Tensor, shape: Sequence[int]) -> Tensor | None:
    def sampler(n: int, k: int) -> Tensor:  # on the batch's device: drawing on the CPU takes longer than the layer
        generator = torch.Generator(x.device).manual_seed(int(torch.randint(2**62, ())))
        return torch.rand(n, k, *shape, device=x.device, generator=generator) >= layer.p

    kept = across.drawn(len(x), sampler)
    return None if kept is None else kept.to(x.dtype) * (1 / (1 - layer.p) if layer.p < 1 else 0)
