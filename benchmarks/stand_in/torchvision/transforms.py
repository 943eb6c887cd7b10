"""Resize, CenterCrop, ToTensor, Normalize and Compose."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image


class Compose:
    """Transforms, one after the other."""

    def __init__(self, transforms: Sequence[Callable[[object], object]]):
        self.transforms = transforms

    def __call__(self, image: object) -> object:
        for step in self.transforms:
            image = step(image)
        return image


class Resize:
    """The shorter side to `size`, bilinear with antialiasing, as Pillow does."""

    of_images = True

    def __init__(self, size: int):
        self.size = size

    def __call__(self, image: Image.Image) -> Image.Image:
        scale = self.size / min(image.size)
        sides = [round(side * scale) for side in image.size]
        return image if tuple(sides) == image.size else image.resize(tuple(sides), Image.Resampling.BILINEAR)


class CenterCrop:
    """The middle `size` x `size` pixels."""

    of_images = True

    def __init__(self, size: int):
        self.size = size

    def __call__(self, image: Image.Image) -> Image.Image:
        left, top = ((side - self.size) // 2 for side in image.size)
        return image.crop((left, top, left + self.size, top + self.size))


class ToTensor:
    """(H, W, C) uint8 to (C, H, W) floats in [0, 1]."""

    def __call__(self, image: Image.Image | np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.atleast_3d(np.asarray(image))).permute(2, 0, 1).contiguous().float().div_(255)


class Normalize:
    """(x - mean) / std for each channel."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        self.mean, self.std = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        return image.sub_(self.mean).div_(self.std)
