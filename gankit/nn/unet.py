"""The U-Net that translates images (Isola et al. 2017): convolutions that halve, as many that double, skips between."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gankit.nn.norm import OwnBatchNorm2d

Resize = Callable[[int, int, bool, bool], nn.Module]  # channels in and out, bias, whether it is next to an image
DEEPEST = 8  # levels at 256 px, where the innermost map is one pixel
DROPPED = 3  # maps that dropout acts on, from the innermost out


def unet_levels(height: int, width: int, most: int = DEEPEST) -> int:
    """How often both sides halve evenly, at most so many times."""
    sides = height | width
    return min(most, (sides & -sides).bit_length() - 1)


def unet_size(height: int, width: int) -> tuple[int, int]:
    """The (height, width) nearest to the given one that halve until the smaller is 3 or less, or eight times."""
    while True:
        step = 2 ** min(DEEPEST, max(2, min(height, width).bit_length() - 2))
        near = tuple(max(2, (side + step // 2) // step) * step for side in (height, width))
        if near == (height, width):
            return near
        height, width = near


def _halve(in_channels: int, out_channels: int, bias: bool, outer: bool) -> nn.Module:
    """pix2pix's convolution to half the side."""
    return nn.Conv2d(in_channels, out_channels, 4, 2, 1, bias=bias)


def _double(in_channels: int, out_channels: int, bias: bool, outer: bool) -> nn.Module:
    """pix2pix's transposed convolution to twice the side."""
    return nn.ConvTranspose2d(in_channels, out_channels, 4, 2, 1, bias=bias)


class UNet(nn.Module):
    """Images to images of the same size, whose sides are multiples of 2^levels. Its noise is dropout, given as masks.

    Each level is leaky ReLU, convolution, norm on the way down, and ReLU, transposed convolution, norm, dropout on the way
    up, where what came down at that size is laid beside it. The first and the last convolution have no norm, and the
    innermost none either: on a map of one pixel it would leave nothing of the image.

    Args:
        channels: of the images that come in.
        out_channels: of those that go out.
        levels: how often the side halves.
        width: channels of the first map; inner ones have 2, 4 and at most 8 times as many.
        norm: from channels to a norm.
        bias: biases in the convolutions; the last one always has some.
        dropout: share of the numbers that is dropped in the three innermost maps on the way up.
        skips: lay what came down beside what goes up; without, it is an encoder and a decoder.
        down: makes a convolution to half the side.
        up: makes one to twice the side.
        norm_inner: a norm on the innermost map after all.
        dropout_inner: drop from the innermost map on the way up, too; without, as in the authors' PyTorch code, dropout
            begins at the next one, and ends where maps have fewer channels than 8 * width.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        levels: int,
        width: int = 64,
        norm: Callable[[int], nn.Module] = OwnBatchNorm2d,
        bias: bool = False,
        dropout: float = 0.5,
        skips: bool = True,
        down: Resize = _halve,
        up: Resize = _double,
        norm_inner: bool = False,
        dropout_inner: bool = True,
    ):
        super().__init__()
        if levels < 2:
            raise ValueError(f"a U-Net has 2 levels or more, each halving the sides; here they halve {levels} times")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout}; it is the share that is dropped, 0 or more and below 1")
        self.levels, self.dropout, self.skips = levels, dropout, skips
        widths = [width * min(2**i, 8) for i in range(levels)]
        dropped = range(min(DROPPED, levels - 1)) if dropout_inner else range(1, max(1, levels - 4))
        self.dropped = dropped if dropout else range(0)  # numbers of the maps on the way up that dropout acts on
        self.masked = [widths[-2 - i] for i in self.dropped]  # and their channels
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for i, (c, wide) in enumerate(zip([channels, *widths], widths)):
            normed = [norm(wide)] if 0 < i < levels - 1 or (norm_inner and i == levels - 1) else []
            before = [nn.LeakyReLU(0.2)] if i else []
            self.down.append(nn.Sequential(*before, down(c, wide, bias, i == 0), *normed))
        for i in reversed(range(levels)):
            c = widths[i] * (2 if skips and i < levels - 1 else 1)
            last = [norm(widths[i - 1])] if i else [nn.Tanh()]
            self.up.append(
                nn.Sequential(nn.ReLU(), up(c, widths[i - 1] if i else out_channels, bias or not i, not i), *last)
            )

    def noise(self, n: int, height: int, width: int) -> Tensor:
        """(n, K) zeros and ones for images of a height and width: what dropout leaves, map after map, the innermost first."""
        count = sum(c * height * width >> 2 * (self.levels - 1 - i) for i, c in zip(self.dropped, self.masked))
        return (torch.rand(n, count) >= self.dropout).float()

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """(N, channels, H, W) in [-1, 1] and (N, K) of `noise` to (N, out_channels, H, W) in [-1, 1]."""
        kept = []
        for block in self.down:
            x = block(x)
            kept.append(x)
        kept.pop()
        used = 0
        for i, block in enumerate(self.up):
            x = block(x)
            if i in self.dropped:
                mask = z[:, used : used + x[0].numel()].view(x.shape)
                used += x[0].numel()
                x = x * (mask / (1 - self.dropout)).to(x.dtype)
            if kept:
                beside = kept.pop()
                x = torch.cat([beside, x], 1) if self.skips else x
        return x
