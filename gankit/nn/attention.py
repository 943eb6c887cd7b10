"""Self-attention over the places of a map, as SAGAN has it and BigGAN takes it over."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """x + gamma * out(softmax(query key^T) value): every place of a map looks at every other one.

    As in the authors' code: 1x1 convolutions without biases, keys and values at half the resolution (largest of 2x2),
    values of half the channels, no factor before the softmax. gamma is a learned number that begins at 0. Runs in plain
    matrix products, so any order of derivative exists.

    Args:
        channels: C, of the map; queries and keys have C / 8.
    """

    def __init__(self, channels: int):
        super().__init__()
        narrow, half = max(1, channels // 8), max(1, channels // 2)
        self.query = nn.Conv2d(channels, narrow, 1, bias=False)
        self.key = nn.Conv2d(channels, narrow, 1, bias=False)
        self.value = nn.Conv2d(channels, half, 1, bias=False)
        self.out = nn.Conv2d(half, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, *condition: Tensor) -> Tensor:
        """(N, C, H, W) to the same; `condition`, which blocks beside it may take, is not looked at."""
        query = self.query(x).flatten(2).transpose(1, 2)
        key = F.max_pool2d(self.key(x), 2).flatten(2)
        value = F.max_pool2d(self.value(x), 2).flatten(2).transpose(1, 2)
        seen = (query @ key).softmax(2) @ value  # (N, HW, C/2): a channels_last map as it stands
        return x + self.gamma * self.out(seen.transpose(1, 2).unflatten(2, x.shape[2:]))
