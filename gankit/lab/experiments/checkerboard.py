"""Transposed convolutions draw checkerboards, most with a kernel that is no multiple of the stride; resizing does not.

A transposed convolution of stride 2 stamps its kernel on every second pixel. So many stamps cover a pixel, by row:

    kernel 3, stride 2:  1 2 1 2 ...  (1, 2 or 4 in a plane)      kernel 4, stride 2:  2 2 2 2 ...  (4 in a plane)

With independent weights its variance is proportional to them: even and odd rows and columns, the four phases of a
map, differ by 4 : 1 with kernel 3 and not with 4. But there, too, they use different weights: a constant map gets a
pattern. After doubling all phases use all weights. D's gradients, which are transposed convolutions, do the same.

Control: doubling first, then a 3x3 convolution, with as many layers and weights from the same distribution.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from gankit.lab.evidence import Check, Evidence, near
from gankit.lab.panels import CRITIC, FAKE, REAL, THEORY, panels, picture, show
from gankit.nn import DoublingConv2d, HalvingConv2d

SOURCE = "Odena, Dumoulin and Olah, Deconvolution and Checkerboard Artifacts, Distill 2016"
SECONDS = 5
Layer = Callable[[int], nn.Module]
UP: dict[str, Layer] = {
    "transposed, kernel 3": lambda c: nn.ConvTranspose2d(c, c, 3, 2, 1, output_padding=1, bias=False),
    "transposed, kernel 4": lambda c: nn.ConvTranspose2d(c, c, 4, 2, 1, bias=False),
    "resize, kernel 3": lambda c: DoublingConv2d(c, c, bias=False),
}
DOWN: list[Layer] = [lambda c, k=k: nn.Conv2d(c, c, k, 2, 1, bias=False) for k in (3, 4)]  # type: ignore[misc]
DOWN += [lambda c: HalvingConv2d(c, c, bias=False)]  # the gradient of each is the layer above


def experiment(*, channels: int = 32, doublings: int = 3, draws: int = 8, seed: int = 0) -> Evidence:
    """Power by phase of a layer and of its gradient, a constant map doubled, and spectra of untrained generators.

    Args:
        channels, seed: of the maps and of the weights.
        doublings: of the generators, which begin at 8x8.
        draws: of weights, for means.
    """
    torch.manual_seed(seed)
    checks, maps = [], {}
    for (name, up), down, ratio in zip(UP.items(), DOWN, (4.0, 1.0, 1.0)):
        flat_bounds, peak_bounds = ((0, 1e-5), (0, 2)) if name.startswith("resize") else ((0.3, 1), (4, np.inf))
        power = spread([layer(up, channels)(torch.randn(4, channels, 32, 32)) for _ in range(draws)])
        reached = spread([gradient(layer(down, channels), channels) for _ in range(draws)])
        flat = layer(up, channels)(torch.ones(1, channels, 16, 16))[..., 4:-4, 4:-4].flatten(2)
        pattern = (flat.var(2).mean() / flat.square().mean()).sqrt().item()
        maps[name] = torch.cat([generated(up, channels, doublings) for _ in range(draws)])
        *_, a, b, c, top = spectrum(maps[name]).tolist()
        checks += [
            near(f"{name}: power of the phases, largest / least", power, ratio, ratio / 4),
            near(f"{name}: the same of the gradient of a halving convolution", reached, ratio, ratio / 4),
            Check(f"{name}: pattern in a constant map, doubled", pattern, *flat_bounds),
            Check(f"{name}: power at 1/2 cycle a pixel, over that beside it", 3 * top / (a + b + c), *peak_bounds),
        ]
    return Evidence(
        checks,
        drawn(maps),
        "Above: stamps on each pixel (dark: few). Below: what untrained generators draw, whose power has peaks at 1/2, "
        "1/4 and 1/8 cycle a pixel (dotted): checkerboards.",
    )


@torch.no_grad()
def layer(make: Layer, channels: int, ones: bool = False) -> nn.Module:
    """A layer with weights from N(0, 1 / channels), or with ones."""
    made = make(channels)
    for weight in made.parameters():
        weight.fill_(1) if ones else weight.normal_(0, channels**-0.5)
    return made.requires_grad_(False)


def gradient(made: nn.Module, channels: int) -> Tensor:
    """The gradient that reaches the input (4, C, 64, 64) of a layer when its output has one of white noise."""
    image = torch.zeros(4, channels, 64, 64, requires_grad=True)
    output = made(image)
    return torch.autograd.grad(output, image, torch.randn_like(output))[0]


def spread(maps: list[Tensor]) -> float:
    """The largest mean square of maps (N, C, H, W) at the four phases of rows and columns, divided by the least."""
    inner = torch.cat(maps)[..., 4:-4, 4:-4].square().mean((0, 1))
    powers = [inner[i::2, j::2].mean().item() for i in (0, 1) for j in (0, 1)]
    return max(powers) / min(powers)


def generated(up: Layer, channels: int, doublings: int) -> Tensor:
    """(1, 1, H, W) what an untrained generator of doubling layers and ReLUs draws from noise; deviation 1/2."""
    maps = torch.randn(1, channels, 8, 8).relu()
    for _ in range(doublings):
        maps = layer(up, channels)(maps).relu()
    image = (maps * torch.randn(channels, 1, 1)).sum(1, keepdim=True)
    return (image - image.mean()) / (2 * image.std())


def spectrum(images: Tensor) -> np.ndarray:
    """Mean power of the rows of (N, 1, H, W) at 0, 1/W, 2/W ... 1/2 cycles a pixel."""
    return torch.fft.rfft(images[:, 0], norm="ortho").abs().square().mean((0, 1)).numpy()


def drawn(maps: dict[str, Tensor]) -> Image.Image:
    """Stamps, spectra, and generated maps."""
    figure, axes = panels([*(f"Stamps: {name}" for name in UP), "Power by frequency", *UP], 4, 2.6, 2.4)
    for i, (name, colour) in enumerate(zip(UP, (FAKE, CRITIC, REAL))):
        stamps = layer(UP[name], 1, ones=True)(torch.ones(1, 1, 12, 12))[0, :, 4:-4, 4:-4]
        show(axes[i], 1.6 * stamps / stamps.max() - 1)
        show(axes[4 + i], maps[name][0])
        rows = spectrum(maps[name])
        axes[3].semilogy(np.linspace(0, 0.5, len(rows))[1:], rows[1:], color=colour, label=name, lw=1.2)
    axes[3].vlines([1 / 2, 1 / 4, 1 / 8], *axes[3].get_ylim(), ls=":", color=THEORY, lw=1)
    axes[3].legend(fontsize=7, title="cycles a pixel")
    return picture(figure)
