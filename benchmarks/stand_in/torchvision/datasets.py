"""MNIST from IDX files and a folder of class folders, read into memory when they are made."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from torchvision.transforms import Compose

Transform = Callable[[object], object]


class _Memory(torch.utils.data.Dataset):
    """Images of one size as uint8, (N, H, W, C), to which the transforms of tensors are applied when one is asked for.

    Args:
        images: as Pillow reads them.
        labels: of each.
        transform: transforms of images, then of tensors.
    """

    def __init__(self, images: list[Image.Image], labels: list[int], transform: Transform | None):
        steps = transform.transforms if isinstance(transform, Compose) else [transform] if transform else []
        early = [step for step in steps if getattr(step, "of_images", False)]
        self.late = [step for step in steps if step not in early]
        for step in early:
            images = [step(image) for image in images]
        self.images, self.labels = np.stack([np.atleast_3d(np.asarray(image)) for image in images]), labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[object, int]:
        image: object = self.images[index]
        for step in self.late:
            image = step(image)
        return image, self.labels[index]


class MNIST(_Memory):
    """The train or test images of the IDX files in a folder."""

    def __init__(
        self, root: str, train: bool = True, download: bool = False, transform: Transform | None = None
    ):  # nothing is downloaded
        part = "train" if train else "t10k"
        packed = (Path(root) / f"{part}-images-idx3-ubyte").read_bytes()
        count, height, width = struct.unpack(">3I", packed[4:16])
        pixels = np.frombuffer(packed, np.uint8, offset=16).reshape(count, height, width)
        labels = (Path(root) / f"{part}-labels-idx1-ubyte").read_bytes()[8:]
        super().__init__([Image.fromarray(image) for image in pixels], list(labels), transform)


class ImageFolder(_Memory):
    """Images of a folder for each class, as RGB."""

    def __init__(self, root: str, transform: Transform | None = None):
        classes = sorted(path for path in Path(root).iterdir() if path.is_dir())
        files = [(path, i) for i, folder in enumerate(classes) for path in sorted(folder.iterdir())]
        images = [Image.open(path).convert("RGB") for path, _ in files]
        super().__init__(images, [label for _, label in files], transform)
