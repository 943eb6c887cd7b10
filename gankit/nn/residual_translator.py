"""The residual network for image translation (Johnson et al. 2016): CycleGAN's generator and the trunk of StarGAN's."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from gankit.nn.norm import instance_norm


def nearest_fours(height: int, width: int) -> tuple[int, int]:
    """The size nearest to (height, width) that the network preserves: multiples of 4, at least 8."""
    return max(8, (height + 2) // 4 * 4), max(8, (width + 2) // 4 * 4)


class Residual(nn.Sequential):
    """x + f(x), with nothing after the sum.

    Args:
        name: the name of f in state dicts, which differs between the models.
        layers: the layers of f.
    """

    def __init__(self, name: str, *layers: nn.Module):
        super().__init__(OrderedDict({name: nn.Sequential(*layers)}))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        return x + super().forward(x)


def translator_layers(
    channels: int, width: int, blocks: int, kernel: int, reflect: bool, affine: bool, name: str
) -> list[nn.Module]:
    """Layers from (N, channels, H, W) to (N, width, H, W): to a quarter of each side, residual blocks, and back up.

    Args:
        channels: channels of the input.
        width: channels of the first and of the last map; the residual blocks have 4 * width.
        blocks: number of residual blocks.
        kernel: side of the kernels that halve and double the map: 3 (CycleGAN) or 4 (StarGAN).
        reflect: pad the 7x7 and the residual convolutions by reflection instead of zeros.
        affine: give the instance norms a gain and a bias, and the convolutions no bias; otherwise the reverse.
        name: the name of each residual block's layers in state dicts.
    """

    def conv(in_channels: int, out_channels: int, side: int) -> list[nn.Module]:
        padding = 0 if reflect else side // 2
        layer = nn.Conv2d(in_channels, out_channels, side, padding=padding, bias=not affine)
        return [nn.ReflectionPad2d(side // 2), layer] if reflect else [layer]

    def norm(c: int) -> nn.Module:
        return instance_norm(c, affine=affine)

    layers = [*conv(channels, width, 7), norm(width), nn.ReLU(inplace=True)]
    for c in (width, 2 * width):
        layers += [nn.Conv2d(c, 2 * c, kernel, 2, 1, bias=not affine), norm(2 * c), nn.ReLU(inplace=True)]
    deep = 4 * width
    for _ in range(blocks):
        body = [*conv(deep, deep, 3), norm(deep), nn.ReLU(inplace=True), *conv(deep, deep, 3), norm(deep)]
        layers.append(Residual(name, *body))
    for c in (2 * width, width):
        up = nn.ConvTranspose2d(2 * c, c, kernel, 2, 1, output_padding=kernel % 2, bias=not affine)
        layers += [up, norm(c), nn.ReLU(inplace=True)]
    return layers


class ResidualTranslator(nn.Module):
    """CycleGAN's generator: c7s1-64, d128, d256, R256 `blocks` times, u128, u64, c7s1-3 at 64 channels (appendix 7.2).

    Args:
        channels: channels of the input images.
        out_channels: channels of the output images.
        width: channels of the first map.
        blocks: number of residual blocks.
    """

    def __init__(self, channels: int, out_channels: int, width: int = 64, blocks: int = 9):
        super().__init__()
        layers = translator_layers(channels, width, blocks, kernel=3, reflect=True, affine=False, name="net")
        self.net = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, out_channels, 7), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) in [-1, 1] to (N, out_channels, H, W) in [-1, 1]; H and W are multiples of 4."""
        return self.net(x)
