"""From bytes to floats in [-1, 1] and back, and from label maps to colours."""

from __future__ import annotations

import colorsys

import numpy as np
import torch
from torch import Tensor


def normalise(pixels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 in 0..255 to floats in [-1, 1], of any shape."""
    return pixels.to(dtype).div_(127.5).sub_(1)


def quantise(images: Tensor) -> Tensor:
    """Floats in [-1, 1] to uint8 in 0..255 on the CPU, of any shape; values outside are clamped."""
    return ((images.detach().float() + 1) * 127.5).round().clamp(0, 255).to("cpu", torch.uint8)


def palette(count: int, own: np.ndarray | list[list[int]] | None = None) -> np.ndarray:
    """Colours of classes, (count, 3) uint8: `own`, or black and then spread hues in two brightnesses, never white."""
    if own is not None:
        return np.asarray(own, np.uint8)
    bright = [colorsys.hsv_to_rgb(i * 0.618034 % 1, 0.75, 0.95 if i % 2 else 0.65) for i in range(count - 1)]
    return (np.array([(0, 0, 0), *bright][:count]).reshape(-1, 3) * 255).round().astype(np.uint8)


def paint(masks: Tensor, colours: np.ndarray) -> Tensor:
    """Label maps (N, H, W) to images (N, 3, H, W) uint8 in the colours (K, 3) of the K classes; void is white."""
    table = np.full((256, 3), 255, np.uint8)
    table[: len(colours)] = colours
    return torch.from_numpy(table)[masks.long().cpu()].permute(0, 3, 1, 2).contiguous()
