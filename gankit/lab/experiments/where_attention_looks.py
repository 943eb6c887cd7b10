"""With self-attention a place looks at places like itself, however far away, where a convolution sees its neighbours.

Self-attention compares the query of each place with the keys of all places, and takes a mean of values with weights

    a(i, j) = exp(qᵢ · kⱼ) / Σₗ exp(qᵢ · kₗ)        q = W_q x, k = W_k x

Row i of a is a map of where place i looks. SAGAN learns W_q and W_k. Here they are set by hand, so that the answer is
known: x holds which of three colours a place has, and q · k is s for equal colours and 0 otherwise. A place then looks
at its own colour with the share

    n e^s / (n e^s + m)        n, m: keys of this colour and of others; a key is the maximum of 2x2 places

Two discs of one colour lie in opposite corners, and each looks at the other as much as at itself.

Control: s = 0. All places look everywhere alike, at a colour with the share of its area, n / (n + m).
"""

from __future__ import annotations

import math

import torch
from PIL import Image
from torch import Tensor

from gankit.lab.evidence import Evidence, near
from gankit.lab.panels import panels, picture, show
from gankit.nn import SelfAttention

SOURCE = (
    "Zhang, Goodfellow, Metaxas and Odena, Self-Attention Generative Adversarial Networks, ICML 2019, figures 1 and 5"
)
SECONDS = 1
COLOURS = torch.tensor([[-0.7, -0.7, -0.6], [0.8, 0.2, -0.6], [-0.4, 0.1, 0.6]])
CHANNELS = 24  # of which queries and keys have an eighth, one for each colour


def experiment(*, sharpness: float = 6.0, side: int = 32) -> Evidence:
    """Where two places of a drawn image look, through gankit's attention layer with weights set by hand.

    Args:
        sharpness: s, the product of query and key of equal colours. Raises ValueError if it is 0 or less.
        side: of the image: a multiple of 8, so that no 2x2 block has two colours.
    """
    if sharpness <= 0 or side % 8 or side < 16:
        raise ValueError(
            f"sharpness is {sharpness} and side {side}: expected more than 0, and a multiple of 8 from 16 on"
        )
    kinds = scene(side)
    x = torch.nn.functional.one_hot(kinds, CHANNELS).permute(2, 0, 1)[None].double()
    keys = kinds[::2, ::2].flatten()
    places = {
        "a disc": (side // 4, side // 4),
        "the square": (side // 4, 3 * side // 4),
        "the background": (side // 2, side // 2),
    }
    checks, maps = [], {}
    for s in (sharpness, 0.0):
        attention = layer(s).weights(x)[0]
        checks.append(
            near(f"largest error of a row's sum, s = {s:g}", (attention.sum(1) - 1).abs().max().item(), 0, 1e-12)
        )
        for name, (i, j) in places.items():
            row = attention[i * side + j]
            own = keys == kinds[i, j]
            n, m = own.sum().item(), (~own).sum().item()
            share = n * math.exp(s) / (n * math.exp(s) + m)
            checks.append(
                near(f"share of its own colour, seen from {name}, s = {s:g}", row[own].sum().item(), share, 1e-9)
            )
            maps[name, s] = row.view(side // 2, side // 2)
    far = torch.zeros(side // 2, side // 2)
    far[side // 4 :, side // 4 :] = 1
    seen = maps["a disc", sharpness]
    ratio = (seen * far * (keys.view_as(far) == 1)).sum() / (seen * (1 - far) * (keys.view_as(far) == 1)).sum()
    checks.append(near("weight of the far disc / of its own disc", ratio.item(), 1, 1e-9))
    return Evidence(
        checks,
        drawn(kinds, places, maps, sharpness),
        f"The image with a place marked, where this place looks with s = {sharpness:g}, and where with s = 0.",
    )


def scene(side: int) -> Tensor:
    """(side, side) colours: 0 the background, 1 two discs in opposite corners, 2 a square; made of 2x2 blocks."""
    half, radius = side // 2, side / 10
    y, x = torch.meshgrid(torch.arange(half) + 0.5, torch.arange(half) + 0.5, indexing="ij")
    kinds = torch.zeros(half, half, dtype=torch.long)
    for centre in (half / 4, 3 * half / 4):
        kinds[(y - centre) ** 2 + (x - centre) ** 2 < radius**2] = 1
    kinds[((y - half / 4).abs() < radius) & ((x - 3 * half / 4).abs() < radius)] = 2
    return kinds.repeat_interleave(2, 0).repeat_interleave(2, 1)


@torch.no_grad()
def layer(s: float) -> SelfAttention:
    """The layer whose query and key have the product s for equal colours."""
    attention = SelfAttention(CHANNELS).double().requires_grad_(False)
    colours = torch.eye(CHANNELS // 8, CHANNELS, dtype=torch.float64)[..., None, None]
    attention.query.weight.copy_(s * colours)
    attention.key.weight.copy_(colours)
    return attention


def drawn(
    kinds: Tensor, places: dict[str, tuple[int, int]], maps: dict[tuple[str, float], Tensor], sharpness: float
) -> Image.Image:
    """For each place the image and where it looks."""
    figure, axes = panels([title for name in places for title in (f"From {name}", "s > 0", "s = 0")], 3, 2.0, 1.9)
    for row, (name, (i, j)) in enumerate(places.items()):
        show(axes[3 * row], COLOURS[kinds].permute(2, 0, 1))
        axes[3 * row].plot(j, i, "x", color="white", ms=8, mew=2)
        for panel, s in zip(axes[3 * row + 1 :], (sharpness, 0.0)):
            panel.imshow(maps[name, s].numpy(), vmin=0, vmax=maps[name, sharpness].max().item())
            panel.set_axis_off()
    return picture(figure)
