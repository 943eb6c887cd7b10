"""Samples as notebooks show them."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from gankit.pictures.grid import grid
from gankit.pictures.inline import as_png


class Samples(Tensor):
    """A tensor of samples that a notebook shows as a picture; whatever is computed from it is a plain tensor."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]  # torch's own stub

    def _repr_png_(self) -> bytes | None:
        return as_png(grid(self.as_subclass(Tensor))) if self.ndim == 4 or self.ndim == 2 else None


def as_samples(tensor: Tensor) -> Tensor:
    """The same tensor of samples, (N, C, H, W) in [-1, 1] or (N, D), that a notebook shows as a picture."""
    return cast(Tensor, tensor.as_subclass(Samples))
