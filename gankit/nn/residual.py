"""Pre-activation residual blocks of WGAN-GP and SNGAN, and of what grew from them.

A 1x1 convolution and a resampling commute, so shortcuts do both at the smaller size. No ReLU works in place: one at
the start of a block would change what the shortcut sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod

import torch.nn.functional as F
from torch import Tensor, nn

from gankit.nn.norm import BatchNorm2d


class GBlock(nn.Module):
    """norm, ReLU, up, 3x3, norm, ReLU, 3x3; shortcut 1x1, up.

    Args:
        in_channels: channels in.
        out_channels: channels out.
        norm: a number of channels to a normalisation, called as norm(x, *condition).
        up: whether the map is doubled (nearest neighbour).
        bias: bias of the first convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm: Callable[[int], nn.Module] = BatchNorm2d,
        up: bool = True,
        bias: bool = True,
    ):
        super().__init__()
        self.up = up
        self.norm1, self.conv1 = norm(in_channels), nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias)
        self.norm2, self.conv2 = norm(out_channels), nn.Conv2d(out_channels, out_channels, 3, padding=1)
        learned = up or in_channels != out_channels
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if learned else nn.Identity()

    def forward(self, x: Tensor, *condition: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, 2H, 2W), or (N, out_channels, H, W) where not `up`."""
        h = F.relu(self.norm1(x, *condition))
        h = self.conv1(_double(h) if self.up else h)
        h = self.conv2(F.relu(self.norm2(h, *condition)))
        x = self.shortcut(x)
        return h + (_double(x) if self.up else x)


class DBlock(nn.Module):
    """norm, ReLU, 3x3, norm, ReLU, 3x3, down; shortcut down, 1x1 where the size or the channels change.

    Args:
        in_channels: channels in.
        out_channels: channels out.
        down: whether the map is halved (mean of 2x2).
        hidden: channels between the convolutions; in_channels when None, as in SNGAN. BigGAN has out_channels.
        norm: a number of channels to a normalisation; none as it stands.
        bias: bias of the first convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        down: bool = True,
        hidden: int | None = None,
        norm: Callable[[int], nn.Module] = nn.Identity,
        bias: bool = True,
    ):
        super().__init__()
        self.down = down
        hidden = hidden or in_channels
        self.norm1, self.conv1 = norm(in_channels), nn.Conv2d(in_channels, hidden, 3, padding=1, bias=bias)
        self.norm2, self.conv2 = norm(hidden), nn.Conv2d(hidden, out_channels, 3, padding=1)
        learned = down or in_channels != out_channels
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if learned else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H/2, W/2), or (N, out_channels, H, W) where not `down`."""
        h = self.conv1(F.relu(self.norm1(x)))
        h = self.conv2(F.relu(self.norm2(h)))
        if self.down:
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        return h + self.shortcut(x)


class OptimizedDBlock(nn.Module):
    """The first block, on the image itself: 3x3, ReLU, 3x3, down; shortcut down, 1x1.

    Args:
        in_channels: channels of the image.
        out_channels: channels out.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H/2, W/2)."""
        h = self.conv2(F.relu(self.conv1(x)))
        return F.avg_pool2d(h, 2) + self.shortcut(F.avg_pool2d(x, 2))


class ResNetGenerator(nn.Module):
    """Linear layer to a small map, up-blocks, norm, ReLU, 3x3, tanh.

    Args:
        z_dim: length of the latent.
        shape: (C, H, W) of the images.
        widths: channels of the small map and after each block; each block doubles the map.
        norm: the blocks' normalisation; the last one, before the output, is always an unconditional batch norm.
        eps: added to the variance in that one.
        bias: bias of the blocks' first convolutions.
    """

    def __init__(
        self,
        z_dim: int,
        shape: tuple[int, ...],
        widths: Sequence[int],
        norm: Callable[[int], nn.Module] = BatchNorm2d,
        eps: float = 1e-5,
        bias: bool = True,
    ):
        super().__init__()
        self.start = (widths[0], *(side >> len(widths) - 1 for side in shape[1:]))
        self.dense = nn.Linear(z_dim, prod(self.start))
        self.blocks = nn.ModuleList(GBlock(a, b, norm, bias=bias) for a, b in pairwise(widths))
        self.norm = BatchNorm2d(widths[-1], eps=eps)
        self.out = nn.Conv2d(widths[-1], shape[0], 3, padding=1)

    def forward(self, z: Tensor, *condition: Tensor) -> Tensor:
        """(N, z_dim), and what the blocks' norms take, to (N, C, H, W) in [-1, 1]."""
        h = self.dense(z).unflatten(1, self.start)
        for block in self.blocks:
            h = block(h, *condition)
        return self.out(F.relu(self.norm(h))).tanh()


def residual_trunk(
    shape: tuple[int, ...], width: int, count: int, norm: Callable[[int], nn.Module]
) -> tuple[nn.Sequential, int]:
    """WGAN-GP's down-blocks for 64 px, (N, C, H, W) to (N, F) features; and F.

    Args:
        shape: (C, H, W) of the images.
        width: half of it are the channels at the image; they double with each halving, up to four times `width`.
        count: how often the map is halved.
        norm: the blocks' normalisation.
    """
    widths = [width // 2 * min(2**i, 8) for i in range(count + 1)]
    downs = [DBlock(a, b, norm=norm, bias=False) for a, b in pairwise(widths)]
    trunk = nn.Sequential(nn.Conv2d(shape[0], widths[0], 3, padding=1), *downs, nn.Flatten())
    return trunk, widths[-1] * (shape[1] >> count) * (shape[2] >> count)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0)
