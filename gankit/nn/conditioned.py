"""StarGAN's networks, which GANimation took over: images changed as a vector says, and a critic that reads the vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gankit.nn.norm import instance_norm

DEEPEST = 6  # halvings of the authors' critic, at 128 px and at 256 px alike


def nearest_fours(height: int, width: int) -> tuple[int, int]:
    """The (height, width) nearest to the given one that `ConditionedTrunk` keeps: multiples of 4, 8 at least."""
    return max(8, (height + 2) // 4 * 4), max(8, (width + 2) // 4 * 4)


class Residual(nn.Module):
    """3x3, norm, ReLU, 3x3, norm, and the input added to it."""

    def __init__(self, channels: int):
        super().__init__()
        layers = [
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            instance_norm(channels, affine=True),
            nn.ReLU(inplace=True),
        ]
        self.body = nn.Sequential(
            *layers, nn.Conv2d(channels, channels, 3, 1, 1, bias=False), instance_norm(channels, affine=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to the same."""
        return x + self.body(x)


class ConditionedTrunk(nn.Module):
    """Images beside one constant plane for each number of a condition: down to a quarter, residual blocks, up again.

    All is padded with zeros. A constant plane adds the same to each place of a convolution's output, and the instance norm
    behind it takes that away; only at the zeros around the image does the plane's number show. With reflection, which has
    no border, the condition would have no effect at all.

    Args:
        channels: channels of the images.
        condition_dim: numbers of the condition.
        width: channels of the first and of the last map.
        blocks: residual blocks, which have 4 * width channels.
    """

    def __init__(self, channels: int, condition_dim: int, width: int = 64, blocks: int = 6):
        super().__init__()

        def normed(conv: nn.Module, c: int) -> list[nn.Module]:
            return [conv, instance_norm(c, affine=True), nn.ReLU(inplace=True)]

        layers = normed(nn.Conv2d(channels + condition_dim, width, 7, 1, 3, bias=False), width)
        for c in (width, 2 * width):
            layers += normed(nn.Conv2d(c, 2 * c, 4, 2, 1, bias=False), 2 * c)
        layers += [Residual(4 * width) for _ in range(blocks)]
        for c in (2 * width, width):
            layers += normed(nn.ConvTranspose2d(2 * c, c, 4, 2, 1, bias=False), c)
        self.net = nn.Sequential(*layers)

    def forward(self, images: Tensor, condition: Tensor) -> Tensor:
        """(N, channels, H, W) images and (N, condition_dim) numbers to (N, width, H, W); H and W are multiples of 4."""
        planes = condition[:, :, None, None].expand(-1, -1, *images.shape[2:])
        return self.net(torch.cat([images, planes.to(images.dtype)], 1))


class PatchCritic(nn.Module):
    """Convolutions that halve the image, without norm; one head's map judges patches, the other's numbers read the condition.

    The map is halved to 2 or 3 px, but six times at most: 128 px gives 2x2, 256 px gives 4x4.

    Args:
        shape: (C, H, W) of the images.
        outputs: numbers that the second head reads.
        width: channels of the first map; each further one has twice as many.
    """

    def __init__(self, shape: tuple[int, ...], outputs: int, width: int = 64):
        super().__init__()
        depth = max(1, min(DEEPEST, min(shape[1:]).bit_length() - 2))
        widths = [shape[0], *(width << i for i in range(depth))]
        layers = [(nn.Conv2d(a, b, 4, 2, 1), nn.LeakyReLU(0.01, inplace=True)) for a, b in zip(widths, widths[1:])]
        self.trunk = nn.Sequential(*(layer for pair in layers for layer in pair))
        self.patches = nn.Conv2d(widths[-1], 1, 3, 1, 1, bias=False)
        self.condition = nn.Conv2d(widths[-1], outputs, (shape[1] >> depth, shape[2] >> depth), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] to a map of outputs (N, 1, h, w)."""
        return self.patches(self.trunk(x))

    def judge(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) in [-1, 1] to a map of outputs (N, 1, h, w) and the (N, outputs) numbers of the condition."""
        features = self.trunk(x)
        return self.patches(features), self.condition(features).flatten(1)
