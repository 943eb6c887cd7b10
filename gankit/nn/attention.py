"""Self-attention over the positions of a feature map, as in SAGAN and BigGAN."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """x + gamma * out(softmax(query key^T) value): every position attends to every other one (Zhang et al. 2019).

    As in the authors' code: 1x1 convolutions without biases, keys and values at half the resolution (2x2 max pool),
    values of half the channels, no factor before the softmax. gamma is learned and starts at 0. The layer consists of
    plain matrix products, so derivatives of any order exist.

    Args:
        channels: C, the map's channels; queries and keys have C / 8.
    """

    def __init__(self, channels: int):
        super().__init__()
        narrow, half = max(1, channels // 8), max(1, channels // 2)
        self.query = nn.Conv2d(channels, narrow, 1, bias=False)
        self.key = nn.Conv2d(channels, narrow, 1, bias=False)
        self.value = nn.Conv2d(channels, half, 1, bias=False)
        self.out = nn.Conv2d(half, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def weights(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the attention (N, H W, H/2 W/2) of each position to every 2x2 block; a row's sum is 1."""
        query = self.query(x).flatten(2).transpose(1, 2)
        key = F.max_pool2d(self.key(x), 2).flatten(2)
        return (query @ key).softmax(2)

    def forward(self, x: Tensor, *condition: Tensor) -> Tensor:
        """(N, C, H, W) to the same. `condition` is ignored; it allows the same call as for conditional blocks."""
        value = F.max_pool2d(self.value(x), 2).flatten(2).transpose(1, 2)
        attended = self.weights(x) @ value  # (N, HW, C/2): already laid out as a channels_last map
        return x + self.gamma * self.out(attended.transpose(1, 2).unflatten(2, x.shape[2:]))
