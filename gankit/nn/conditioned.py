"""Networks of StarGAN and GANimation: a translator conditioned on a vector, and a critic that predicts the vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gankit.nn.residual_translator import translator_layers

DEEPEST = 6  # halvings of the authors' critic, both at 128 px and at 256 px


class ConditionedTrunk(nn.Module):
    """A residual translator without its last convolution, from images and a constant plane per entry of the condition.

    All padding is zeros. A constant plane adds the same number to every position of a convolution's output, and the
    instance norm after it removes that number; the plane has an effect only at the zeros around the image. With
    reflection padding, which has no border, the condition would have no effect at all.

    Args:
        channels: channels of the images.
        condition_dim: length of the condition.
        width: channels of the first and of the last map.
        blocks: number of residual blocks, which have 4 * width channels.
    """

    def __init__(self, channels: int, condition_dim: int, width: int = 64, blocks: int = 6):
        super().__init__()
        planes = channels + condition_dim
        layers = translator_layers(planes, width, blocks, kernel=4, reflect=False, affine=True, name="body")
        self.net = nn.Sequential(*layers)

    def forward(self, images: Tensor, condition: Tensor) -> Tensor:
        """(N, channels, H, W) and (N, condition_dim) to (N, width, H, W) features; H and W are multiples of 4."""
        planes = condition[:, :, None, None].expand(-1, -1, *images.shape[2:])
        return self.net(torch.cat([images, planes.to(images.dtype)], 1))


class PatchCritic(nn.Module):
    """Convolutions that halve the image, without norms, and two heads: a logit for each patch, and the condition.

    The shorter side is halved down to 2 or 3 px, but at most six times: 128 px give 2x2, 256 px give 4x4.

    Args:
        shape: (C, H, W) of the images.
        outputs: length of the condition.
        width: channels of the first map; each further map has twice as many.
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
        """(N, C, H, W) in [-1, 1] to (N, 1, h, w) outputs, one for each patch."""
        return self.patches(self.trunk(x))

    def judge(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) in [-1, 1] to (N, 1, h, w) outputs of patches and the (N, outputs) predicted condition."""
        features = self.trunk(x)
        return self.patches(features), self.condition(features).flatten(1)
