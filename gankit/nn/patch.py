"""PatchGAN (Isola et al. 2017): a discriminator with one logit for each patch of an image."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from gankit.nn.norm import OwnBatchNorm2d

PATCHES = {1: 0, 16: 1, 34: 2, 70: 3, 142: 4, 286: 5}
"""Number of halvings by the side of the patches in pixels, which is the receptive field of a logit."""


def patch_layers(patch: int, height: int, width: int) -> int:
    """The number of halvings that gives patches of side `patch`, in pixels.

    Raises:
        ValueError: no number of halvings gives such patches, or the images are too small for them.
    """
    if patch not in PATCHES:
        raise ValueError(f"patch is {patch}; there are patches of {', '.join(map(str, PATCHES))} pixels")
    small = min(height, width)
    fit = [p for p, layers in PATCHES.items() if not layers or small >> layers >= 3]
    if patch not in fit:
        least = 3 << PATCHES[patch]
        raise ValueError(
            f"patches of {patch} need sides of {least} and more; found {height}x{width}. Add --patch {max(fit)}"
        )
    return PATCHES[patch]


class PatchDiscriminator(nn.Module):
    """Convolutions of stride 2 with leaky ReLU, then two of stride 1; one logit for each patch.

    70x70 patches take three convolutions of stride 2, as in the authors' code; with stride 2 in all five, as in the
    paper's appendix, a patch would have 94 px. Patches of one pixel take 1x1 convolutions, the last one without a bias,
    as in the authors' PyTorch code.

    Args:
        channels: channels of the images, or of two concatenated images.
        width: channels of the first map; inner maps have 2, 4 and at most 8 times as many.
        layers: number of halvings: 3 for 70x70; 0 for patches of one pixel.
        norm: makes a norm for a number of channels, for all maps but the first and the last; None for no norms.
        bias: biases in the convolutions before norms; the other convolutions always have biases.
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
        """(N, channels, H, W) to (N, 1, h, w) logits: 30x30 for 70x70 patches at 256 px."""
        return self.net(x)
