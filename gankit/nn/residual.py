"""Pre-activation residual blocks of WGAN-GP, SNGAN and later models, and the networks that these papers share.

A 1x1 convolution and a resampling commute, so shortcuts do both at the smaller size. A 3x3 convolution and a resampling
are one convolution of stride 2. No ReLU works in place: at the start of a block it would change the input of the
shortcut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from math import prod

import torch.nn.functional as F
from torch import Tensor, nn

from gankit.nn.growing import double
from gankit.nn.norm import BatchNorm2d
from gankit.nn.resample import DoublingConv2d, HalvingConv2d

conv3x3 = partial(nn.Conv2d, kernel_size=3, padding=1)


class GBlock(nn.Module):
    """The generator's block: norm, ReLU, up, 3x3, norm, ReLU, 3x3; shortcut 1x1, up.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        norm: makes a norm for a number of channels; it is called with (x, *condition).
        up: double the map (nearest neighbour).
        bias: bias in the first convolution.
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
        conv = DoublingConv2d if up else conv3x3
        self.norm1, self.conv1 = norm(in_channels), conv(in_channels, out_channels, bias=bias)
        self.norm2, self.conv2 = norm(out_channels), nn.Conv2d(out_channels, out_channels, 3, padding=1)
        learned = up or in_channels != out_channels
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if learned else nn.Identity()

    def forward(self, x: Tensor, *condition: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, 2H, 2W), or (N, out_channels, H, W) without `up`."""
        h = self.conv1(F.relu(self.norm1(x, *condition)))
        h = self.conv2(F.relu(self.norm2(h, *condition)))
        x = self.shortcut(x)
        return h + (double(x) if self.up else x)


class DBlock(nn.Module):
    """The discriminator's block: norm, ReLU, 3x3, norm, ReLU, 3x3, down; shortcut down, 1x1 if size or channels change.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        down: halve the map (mean of 2x2).
        hidden: channels between the convolutions; None: in_channels, as in SNGAN. BigGAN has out_channels.
        norm: makes a norm for a number of channels; by default there are no norms.
        bias: bias in the first convolution.
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
        self.norm2, self.conv2 = norm(hidden), (HalvingConv2d if down else conv3x3)(hidden, out_channels)
        learned = down or in_channels != out_channels
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if learned else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H/2, W/2), or (N, out_channels, H, W) without `down`."""
        h = self.conv1(F.relu(self.norm1(x)))
        h = self.conv2(F.relu(self.norm2(h)))
        return h + self.shortcut(F.avg_pool2d(x, 2) if self.down else x)


class OptimizedDBlock(nn.Module):
    """The discriminator's first block, on the image: 3x3, ReLU, 3x3, down; shortcut down, 1x1.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the output.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv2 = HalvingConv2d(out_channels, out_channels)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H/2, W/2)."""
        h = self.conv2(F.relu(self.conv1(x)))
        return h + self.shortcut(F.avg_pool2d(x, 2))


class SNGANGenerator(nn.Module):
    """SNGAN's residual generator, also WGAN-GP's and SAGAN's: linear to a small map, `GBlock`s, norm, ReLU, 3x3, tanh.

    Args:
        z_dim: length of the latent.
        shape: (C, H, W) of the images.
        widths: channels of the small map and after each block; each block doubles the map.
        norm: makes the blocks' norms; the norm before the output is always an unconditional batch norm.
        eps: added to the variance in that last norm.
        bias: bias in the blocks' first convolutions.
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
        """(N, z_dim) latents, and the condition of the blocks' norms, to (N, C, H, W) in [-1, 1]."""
        h = self.dense(z).unflatten(1, self.start)
        for block in self.blocks:
            h = block(h, *condition)
        return self.out(F.relu(self.norm(h))).tanh()


def residual_trunk(
    shape: tuple[int, ...], width: int, count: int, norm: Callable[[int], nn.Module]
) -> tuple[nn.Sequential, int]:
    """WGAN-GP's critic for 64 px without its output layer, (N, C, H, W) to (N, F) features; and F.

    Args:
        shape: (C, H, W) of the images.
        width: the first map has width / 2 channels; they double with each halving, up to 4 * width.
        count: number of halvings.
        norm: makes the blocks' norms.
    """
    widths = [width // 2 * min(2**i, 8) for i in range(count + 1)]
    downs = [DBlock(a, b, norm=norm, bias=False) for a, b in pairwise(widths)]
    trunk = nn.Sequential(nn.Conv2d(shape[0], widths[0], 3, padding=1), *downs, nn.Flatten())
    return trunk, widths[-1] * (shape[1] >> count) * (shape[2] >> count)
