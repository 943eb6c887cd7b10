"""The two borders between bytes and numbers: everywhere else images are floats in [-1, 1]."""

from __future__ import annotations

import torch
from torch import Tensor


def normalise(pixels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 in 0..255 to floats in [-1, 1], of any shape."""
    return pixels.to(dtype).div_(127.5).sub_(1)


def quantise(images: Tensor) -> Tensor:
    """Floats in [-1, 1] to uint8 in 0..255 on the CPU, of any shape; what lies outside is clamped."""
    return ((images.detach().float() + 1) * 127.5).round().clamp(0, 255).to("cpu", torch.uint8)
