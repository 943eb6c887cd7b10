"""ADA's operations (Karras et al. 2020, appendix B), each applied to an image with probability p.

Deviations from the authors' code:
- Images are mirrored repeatedly beyond their edges; theirs are mirrored once, with zeros further out.
- Images for which no geometric operation was drawn are not filtered; theirs are if any image of the batch is.
- If H and W differ, quarter turns become half turns, because the content would no longer fit.
- p stays within [0, 1]; theirs has no upper bound.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gankit.augment.geometry import blit, blit_matrix, geometric_matrix, pixel_axes, product, warp
from gankit.augment.numbers import draw_rows, per_image, widen
from gankit.augment.policy import check_channels, parse
from gankit.recipe import Draw

Numbers = dict[str, Tensor]

CHANCES = (
    "flip", "quarter", "shift", "scale", "before", "aniso", "after", "move", "brightness", "contrast", "luma", "hue",
    "saturation", "cutout",
)  # fmt: skip
UNIFORM = ("flip", "quarter", "shift_x", "shift_y", "before", "after", "luma", "hue", "cut_x", "cut_y")
NORMAL = ("scale", "aniso", "move_x", "move_y", "brightness", "contrast", "saturation")
"""Random numbers of an image, in this order: whether each operation applies, then the parameters of operations."""


def adaptive(images: Tensor, p: Tensor | float, draw: Draw, policy: str = "blit,geometric,color") -> Tensor:
    """(N, C, H, W) images to the same shape: applies each operation of the policy to an image with probability p.

    The groups are applied in this order, whatever their order in the policy:
    blit: left-right flip with probability 1/2, 0 to 3 quarter turns, shift by whole pixels up to an eighth of a side.
    geometric: scale by 2^N(0, .2^2); rotate by any angle; scale x by 2^N(0, .2^2) and y by its inverse; rotate again;
    shift by N(0, .125^2) of a side. Blits are included, in one resampling at twice the side with a sym6 filter.
    color: add N(0, .2^2) to brightness, scale contrast by 2^N(0, .5^2), flip luma with probability 1/2, rotate hue by
    any angle, scale saturation by 2^N(0, 1). With one channel the last two have no effect, and the flip is a negative.
    cutout: zeros in a rectangle of half of each side, centred anywhere.

    At p = 0 the images are returned unchanged, bit for bit.

    Args:
        images: (N, C, H, W) in [-1, 1].
        p: probability of each operation, in [0, 1]; each of the two rotations has 1 - sqrt(1 - p).
        draw: `batch.draw`.
        policy: groups, each with a factor for its p if not 1: "geometric:1,color:0.5,cutout:1".

    Raises:
        ValueError: the policy is not one of ADA's, has color for images of neither 1 nor 3 channels, or `draw` belongs
            to another batch.
    """
    strengths = parse(policy, "ada")
    check_channels(strengths, images.shape[1])
    with torch.autocast(images.device.type, enabled=False):
        x = widen(images)
        numbers = draw_rows(x, draw, _numbers).unbind(1)
        chances = dict(zip(CHANCES, numbers))
        uniform = dict(zip(UNIFORM, numbers[len(CHANCES) :]))
        normal = dict(zip(NORMAL, numbers[len(CHANCES) + len(UNIFORM) :]))
        rates = {name: p * strength for name, strength in strengths.items()}
        if "blit" in rates or "geometric" in rates:
            x = _move(x, rates, chances, uniform, normal)
        if "color" in rates:
            x = _color(x, rates["color"], chances, uniform, normal)
        if "cutout" in rates:
            x = _cut_out(x, chances["cutout"] < rates["cutout"], uniform["cut_x"], uniform["cut_y"])
        return x.to(images.dtype)


def _numbers(n: int) -> Tensor:
    return torch.cat([torch.rand(n, len(CHANCES) + len(UNIFORM)), torch.randn(n, len(NORMAL))], 1)


def _two_to(power: Tensor) -> Tensor:
    """2^power; unlike torch.exp2, whose last rows of a batch differ, its bits do not depend on the row."""
    return (math.log(2) * power).exp()


def _move(
    images: Tensor, rates: dict[str, Tensor | float], chances: Numbers, uniform: Numbers, normal: Numbers
) -> Tensor:
    """Apply blits and geometric operations, as one resampling."""
    height, width = images.shape[2:]
    zero = torch.zeros_like(chances["flip"])
    blit_rate, geometric_rate = rates.get("blit", 0.0), rates.get("geometric", 0.0)
    turns = (4 * uniform["quarter"]).floor() if height == width else 2 * (2 * uniform["quarter"]).floor()
    right, down = ((0.25 * uniform[f"shift_{a}"] - 0.125) * s for a, s in (("x", width), ("y", height)))
    matrix = blit_matrix(
        torch.where(chances["flip"] < blit_rate, (2 * uniform["flip"]).floor(), zero),
        torch.where(chances["quarter"] < blit_rate, turns, zero),
        torch.where(chances["shift"] < blit_rate, right.round(), zero),
        torch.where(chances["shift"] < blit_rate, down.round(), zero),
    )
    exact = blit(images, matrix) if "blit" in rates else images
    if "geometric" not in rates:
        return exact
    is_scaled, is_stretched, is_moved = (chances[name] < geometric_rate for name in ("scale", "aniso", "move"))
    before, after = (  # c (2 - c) < p is c < 1 - sqrt(1 - p)
        chances[name] * (2 - chances[name]) < geometric_rate for name in ("before", "after")
    )
    geometric = geometric_matrix(
        torch.where(is_scaled, _two_to(0.2 * normal["scale"]), 1.0),
        torch.where(before, math.pi * (2 * uniform["before"] - 1), zero),
        torch.where(is_stretched, _two_to(0.2 * normal["aniso"]), 1.0),
        torch.where(after, math.pi * (2 * uniform["after"] - 1), zero),
        torch.where(is_moved, 0.125 * width * normal["move_x"], zero),
        torch.where(is_moved, 0.125 * height * normal["move_y"], zero),
    )
    is_resampled = is_scaled | before | is_stretched | after | is_moved
    return torch.where(per_image(is_resampled), warp(images, product(matrix, geometric)), exact)


def _color(images: Tensor, rate: Tensor | float, chances: Numbers, uniform: Numbers, normal: Numbers) -> Tensor:
    """Apply the five colour operations, as one affine map of each pixel."""
    zero = torch.zeros_like(chances["luma"])
    matrix = color_matrix(
        torch.where(chances["brightness"] < rate, 0.2 * normal["brightness"], zero),
        torch.where(chances["contrast"] < rate, _two_to(0.5 * normal["contrast"]), 1.0),
        torch.where(chances["luma"] < rate, (2 * uniform["luma"]).floor(), zero),
        torch.where(chances["hue"] < rate, math.pi * (2 * uniform["hue"] - 1), zero),
        torch.where(chances["saturation"] < rate, _two_to(normal["saturation"]), 1.0),
    )
    if images.shape[1] == 1:  # as three equal channels, which stay equal
        return images * per_image(matrix[:, 0, :3].sum(1)) + per_image(matrix[:, 0, 3])
    weights = matrix[..., None, None]  # not by @, which a GPU may round to 10 bits
    return sum(weights[:, :3, i] * images[:, i : i + 1] for i in range(3)) + weights[:, :3, 3]


def _cut_out(images: Tensor, is_cut: Tensor, across: Tensor, down: Tensor) -> Tensor:
    x, y = (axis / side + 0.5 for axis, side in zip(pixel_axes(images), images.shape[:1:-1]))
    inside = ((x - across[:, None, None]).abs() < 0.25) & ((y - down[:, None, None]).abs() < 0.25)
    return torch.where((inside & is_cut[:, None, None])[:, None], 0.0, images)


def color_matrix(brightness: Tensor, contrast: Tensor, luma: Tensor, hue: Tensor, saturation: Tensor) -> Tensor:
    """(N, 4, 4) matrices from (r, g, b, 1) to the same, from (N,) arguments.

    In this order: brightness is added; all channels are multiplied by contrast; luma (0 or 1) reflects colours across
    the plane perpendicular to the grey axis; hue rotates them about that axis; saturation scales their distance from
    it. Greys stay grey. The last three form one map: 1 - 2 luma along the axis, and Rodrigues' rotation times
    saturation perpendicular to it.
    """
    eye = torch.eye(3, device=hue.device, dtype=hue.dtype)
    grey, cross = torch.full_like(eye, 1 / 3), (eye.roll(1, 0) - eye.roll(-1, 0)) / math.sqrt(3)
    along, cos, sin = 1 - 2 * luma, saturation * hue.cos(), saturation * hue.sin()
    cos, sin, both = cos[:, None, None], sin[:, None, None], (along - cos)[:, None, None]
    linear = contrast[:, None, None] * (cos * eye + both * grey + sin * cross)
    offset = (brightness * contrast * along)[:, None, None].expand(-1, 3, 1)
    last = torch.eye(4, device=hue.device, dtype=hue.dtype)[3:].expand(len(hue), 1, 4)
    return torch.cat([torch.cat([linear, offset], 2), last], 1)
