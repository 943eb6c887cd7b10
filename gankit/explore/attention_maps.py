"""Where the places of a generated image look: the attention maps of SAGAN and BigGAN."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit.explore.inputs import Seeds, generator_of, latents_of
from gankit.explore.result import Result
from gankit.nn import SelfAttention
from gankit.runs.trained import Trained

MARK = 0.03  # radius of a mark, of the image's smaller side


def attention(
    trained: Trained,
    *,
    seeds: Seeds = Seeds(range(4)),
    at: tuple[float, ...] = (0.5, 0.5, 0.25, 0.25, 0.75, 0.75),
    layer: int = 0,
    label: int | None = None,
    trunc: float = 1.0,
) -> Result:
    """Attention maps: a sample, and for each marked place where it looks, in white.

    Zhang et al., SAGAN, ICML 2019, fig. 1 and 5. The generator's own attention, from query places to all places.

    Args:
        seeds: samples, a row each.
        at: places as pairs of row and column, from 0, the top or left, to 1; a column each.
        layer: which attention layer of the generator, from its input on.
        label: the class; default: the classes in turn, by seed.
        trunc: truncation.
    """
    recipe = generator_of(trained)
    networks = [getattr(recipe, name) for name in recipe.ema]
    layers = [module for network in networks for module in network.modules() if isinstance(module, SelfAttention)]
    if not layers:
        raise ValueError(f"the generator of {trained.config['model']} has no attention layer; sagan's and biggan's do")
    if not 0 <= layer < len(layers):
        raise ValueError(f"--layer is {layer}; the generator has {len(layers)} attention layers, from 0")
    if len(at) % 2 or not at or not all(0 <= share <= 1 for share in at):
        raise ValueError(
            f"--at takes pairs of row and column from 0 to 1, such as 0.5 0.25; not {' '.join(map(str, at))}"
        )
    latents = latents_of(trained, seeds, label, trunc)
    seen: list[Tensor] = []
    hook = layers[layer].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        images = latents.render(recipe)
    finally:
        hook.remove()
    side = seen[0].shape[2], seen[0].shape[3]
    weights = torch.cat([layers[layer].weights(x).float().cpu() for x in seen])  # (N, places, places looked at)
    places = [(row, column) for row, column in zip(at[::2], at[1::2])]
    columns = [images]
    for row, column in places:
        query = index(row, side[0]) * side[1] + index(column, side[1])
        columns.append(marked(overlaid(images, weights[:, query], side), row, column))
    entropy = -(weights * weights.clamp(min=1e-12).log()).sum(2).mean() / math.log(weights.shape[2])
    numbers: dict[str, object] = {
        "layer's map": f"{side[0]}x{side[1]}",
        "gamma, the layer's share": float(layers[layer].gamma),
        "entropy of the attention, of its largest": float(entropy),
        "places": places,
    }
    say = []
    if abs(float(layers[layer].gamma)) < 1e-3:
        say.append("gamma is 0, where training begins: this layer does not change the images yet")
    heads = ["sample", *(f"from {row:g}, {column:g}" for row, column in places)]
    names = [f"seed {seed}" for seed in seeds]
    return Result(torch.stack(columns, 1).flatten(0, 1), len(columns), heads, names, numbers, say=say)


def overlaid(images: Tensor, weights: Tensor, side: tuple[int, int]) -> Tensor:
    """Images (N, C, H, W), dark, with white where the attention (N, places) of a map of this side is highest."""
    heat = (weights / weights.amax(1, keepdim=True)).view(-1, 1, side[0] // 2, side[1] // 2)
    heat = F.interpolate(heat, images.shape[2:], mode="bilinear")
    return 2 * (0.3 * (images + 1) / 2 + 0.7 * heat) - 1


def marked(images: Tensor, row: float, column: float) -> Tensor:
    """Images with a white square in a black frame at a place."""
    height, width = images.shape[2:]
    radius = round(MARK * min(height, width))
    y, x = index(row, height), index(column, width)
    for reach, value in ((radius + 1, -1.0), (radius, 1.0)):
        top, left = max(0, y - reach), max(0, x - reach)
        images[:, :, top : y + reach + 1, left : x + reach + 1] = value
    return images


def index(share: float, count: int) -> int:
    """The place, of `count` along a side, that holds a share of it."""
    return min(int(share * count), count - 1)
