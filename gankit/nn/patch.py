"""PatchGAN (Isola et al. 2017): a discriminator that judges each patch of an image, not the image."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from gankit.nn.norm import OwnBatchNorm2d

PATCHES = {1: 0, 16: 1, 34: 2, 70: 3, 142: 4, 286: 5}
"""Side of the patches in pixels (the receptive field of a logit) to how often the map halves."""


def patch_layers(patch: int, height: int, width: int) -> int:
    """How often the map halves for patches of a side, in images of a height and width.

    Raises:
        ValueError: there are no such patches, or the images are too small for them.
    """
    if patch not in PATCHES:
        raise ValueError(f"patch is {patch}; there are patches of {', '.join(map(str, PATCHES))} pixels")
    small = min(height, width)
    fit = [p for p, layers in PATCHES.items() if not layers or small >> layers >= 3]
    if patch not in fit:
        raise ValueError(
            f"patches of {patch} need sides of {3 << PATCHES[patch]} and more; found {height}x{width}. Add --patch {max(fit)}"
        )
    return PATCHES[patch]


class PatchDiscriminator(nn.Module):
    """Convolutions that halve the map, leaky ReLU after each, two more that do not; one logit for each patch.

    70x70 patches have three that halve, as in the authors' code, whose last two have stride 1; the paper's appendix says
    that all have stride 2, which gives 94. Patches of one pixel are judged by convolutions of 1x1, whose last one has no
    bias in the authors' PyTorch code.

    Args:
        channels: of the images, or of two laid on one another.
        width: channels of the first map; inner ones have 2, 4 and at most 8 times as many.
        layers: how often the map halves: 3 for 70x70; 0 for patches of one pixel.
        norm: from channels to a norm, on all maps but the first and the last; None for none.
        bias: biases in the convolutions before norms; others have some anyway.
    """

    def __init__(
        self,
        channels: int,
        width: int = 64,
        layers: int = 3,
        norm: Callable[[int], nn.Module] | None = OwnBatchNorm2d,
        bias: bool = False,
    ):
        super().__init__()
        kernel, padding = (4, 1) if layers else (1, 0)
        widths = [width * min(2**i, 8) for i in range(max(1, layers) + 1)]
        blocks: list[nn.Module] = [nn.Conv2d(channels, width, kernel, 2 if layers else 1, padding), nn.LeakyReLU(0.2)]
        for i, (c, wide) in enumerate(zip(widths, widths[1:]), 1):
            conv = nn.Conv2d(c, wide, kernel, 2 if i < layers else 1, padding, bias=bias or norm is None)
            blocks += [conv, *([norm(wide)] if norm else []), nn.LeakyReLU(0.2)]
        self.net = nn.Sequential(*blocks, nn.Conv2d(widths[-1], 1, kernel, 1, padding, bias=bool(layers) or bias))

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to (N, 1, h, w) logits: 30x30 of them for 70x70 patches of 256 px."""
        return self.net(x)
