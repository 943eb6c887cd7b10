"""DiffAugment (Zhao et al. 2020): random colour changes, translation and cutout on every image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gankit.augment.geometry import blit, blit_matrix, pixel_axes, transform
from gankit.augment.numbers import draw_rows, per_image, widen
from gankit.augment.policy import parse
from gankit.recipe import Draw


def diffaugment(images: Tensor, draw: Draw, policy: str = "color,translation,cutout") -> Tensor:
    """(N, C, H, W) images to the same shape: applies the policy's operations in their order, each to every image.

    color: adds U(-.5, .5) to brightness, scales saturation by U(0, 2) around the mean of the channels and contrast by
    U(.5, 1.5) around the mean of the image. translation: shifts by whole pixels, up to an eighth of each side, and pads
    with zeros. cutout: zeros a rectangle of half of each side, centred anywhere.

    Raises:
        ValueError: the policy is not one of DiffAugment's, or `draw` belongs to another batch.
    """
    operations: dict[str, Callable[..., Tensor]] = {"color": _color, "translation": _translate, "cutout": _cut_out}
    with torch.autocast(images.device.type, enabled=False):
        x = widen(images)
        u = draw_rows(x, draw, lambda n: torch.rand(n, 7)).unbind(1)
        numbers = {"color": u[:3], "translation": u[3:5], "cutout": u[5:]}
        for name in parse(policy, "diffaugment"):
            x = operations[name](x, *numbers[name])
        return x.to(images.dtype)


def _color(x: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    x = x + per_image(brightness - 0.5)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * per_image(2 * saturation)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * per_image(contrast + 0.5)


def _translate(images: Tensor, right: Tensor, down: Tensor) -> Tensor:
    height, width = images.shape[2:]
    reach = (width + 4) // 8, (height + 4) // 8  # an eighth, halves rounded up
    right, down = (((2 * r + 1) * u).floor() - r for r, u in zip(reach, (right, down)))
    matrix = blit_matrix(torch.zeros_like(right), torch.zeros_like(right), right, down)
    x, y = transform(matrix, *pixel_axes(images))
    inside = (x.abs() <= (width - 1) / 2) & (y.abs() <= (height - 1) / 2)
    return torch.where(inside[:, None], blit(images, matrix), 0.0)


def _cut_out(images: Tensor, across: Tensor, down: Tensor) -> Tensor:
    inside = []
    for side, u in zip(images.shape[2:], (down, across)):
        size = (side + 1) // 2
        centre = (u * (side + 1 - size % 2)).floor()  # the middle pixel, or the right one of the two in the middle
        offset = torch.arange(side, device=images.device, dtype=images.dtype) - centre[:, None] + size // 2
        inside.append((offset >= 0) & (offset < size))
    return torch.where((inside[0][:, :, None] & inside[1][:, None])[:, None], 0.0, images)
