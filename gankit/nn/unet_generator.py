"""The U-Net generator for image translation (Isola et al. 2017): an encoder and a decoder with skip connections."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gankit.nn.norm import OwnBatchNorm2d

Resize = Callable[[int, int, bool, bool], nn.Module]  # channels in and out, bias, whether the layer is next to an image
DEEPEST = 8  # levels at 256 px, where the innermost map is one pixel
DROPPED = 3  # maps with dropout, from the innermost outwards


def unet_levels(height: int, width: int, most: int = DEEPEST) -> int:
    """The number of times, at most `most`, that both sides can be halved without a remainder."""
    sides = height | width
    return min(most, (sides & -sides).bit_length() - 1)


def unet_size(height: int, width: int) -> tuple[int, int]:
    """The size nearest to (height, width) that can be halved eight times, or until the shorter side is at most 3."""
    while True:
        step = 2 ** min(DEEPEST, max(2, min(height, width).bit_length() - 2))
        near = tuple(max(2, (side + step // 2) // step) * step for side in (height, width))
        if near == (height, width):
            return near
        height, width = near


def _halve(in_channels: int, out_channels: int, bias: bool, outer: bool) -> nn.Module:
    """pix2pix's convolution, which halves the sides."""
    return nn.Conv2d(in_channels, out_channels, 4, 2, 1, bias=bias)


def _double(in_channels: int, out_channels: int, bias: bool, outer: bool) -> nn.Module:
    """pix2pix's transposed convolution, which doubles the sides."""
    return nn.ConvTranspose2d(in_channels, out_channels, 4, 2, 1, bias=bias)


class UNetGenerator(nn.Module):
    """pix2pix's generator, for images with sides that are multiples of 2^levels. Dropout is its noise, passed as masks.

    A level of the encoder is leaky ReLU, convolution, norm; a level of the decoder is ReLU, transposed convolution,
    norm, dropout, and its output is concatenated with the encoder's map of the same size. The first and the last
    convolution have no norm, nor has the innermost one: on a map of one pixel a norm would remove the image.

    Args:
        channels: channels of the input images.
        out_channels: channels of the output images.
        levels: number of halvings.
        width: channels of the first map; inner maps have 2, 4 and at most 8 times as many.
        norm: makes a norm for a number of channels.
        bias: biases in the convolutions; the last convolution always has a bias.
        dropout: dropout rate in the three innermost maps of the decoder.
        skips: skip connections; otherwise a plain encoder and decoder.
        down: makes a layer that halves the sides.
        up: makes a layer that doubles the sides.
        norm_inner: add a norm on the innermost map.
        dropout_inner: dropout from the innermost map of the decoder on. Otherwise, as in the authors' PyTorch code,
            dropout starts at the next map and ends where maps have fewer channels than 8 * width.
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
            raise ValueError(
                f"a U-Net has 2 levels or more, each of which halves the sides; found {levels}. Use sides that are "
                f"multiples of 4, and no --levels below 2"
            )
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout}; it is a rate, at least 0 and below 1")
        self.levels, self.dropout, self.skips = levels, dropout, skips
        widths = [width * min(2**i, 8) for i in range(levels)]
        dropped = range(min(DROPPED, levels - 1)) if dropout_inner else range(1, max(1, levels - 4))
        self.dropped = dropped if dropout else range(0)  # the decoder's maps with dropout, counted from the innermost
        self.masked = [widths[-2 - i] for i in self.dropped]  # their channels
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
        """(n, K) dropout masks, 0 or 1, for (height, width) images: all maps flattened, the innermost first."""
        count = sum(c * height * width >> 2 * (self.levels - 1 - i) for i, c in zip(self.dropped, self.masked))
        return (torch.rand(n, count) >= self.dropout).float()

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """(N, channels, H, W) in [-1, 1] and (N, K) masks of `noise` to (N, out_channels, H, W) in [-1, 1]."""
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        skips.pop()
        used = 0
        for i, block in enumerate(self.up):
            x = block(x)
            if i in self.dropped:
                mask = z[:, used : used + x[0].numel()].view(x.shape)
                used += x[0].numel()
                x = x * (mask / (1 - self.dropout)).to(x.dtype)
            if skips:
                skip = skips.pop()
                x = torch.cat([skip, x], 1) if self.skips else x
        return x
