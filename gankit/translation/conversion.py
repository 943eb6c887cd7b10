"""Conversion between image files, images as a network takes them, and pixels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gankit import data
from gankit.data.reading import decoding
from gankit.data.reading.choices import Scale
from gankit.pictures import save_picture


class Picture(NamedTuple):
    """An image as a network takes it.

    Args:
        image: (1, C, H, W) in [-1, 1].
        alpha: (H, W) uint8, kept to be restored in the output; None for images without alpha.
        was: how its channels were changed: "grey to colour", "colour to grey" or "".
    """

    image: Tensor
    alpha: np.ndarray | None
    was: str


def as_picture(
    content: bytes,
    channels: int,
    size: str = "",
    background: str = "white",
    scale: Scale | None = None,
    jpeg: str = "full",
) -> Picture:
    """The bytes of an image file, as a network with this many channels takes them.

    Args:
        content: of the file.
        channels: 1, 3 or 4. With fewer than four, alpha is kept aside, and transparent pixels get the background.
        size: the shorter side, "256", or height and width, "256x384"; "" for the image's own.
        background: "white" or "black".
        scale: the values of an image deeper than 8 bits that are black and white; default: by its type.
        jpeg: "scaled" decodes a JPEG much larger than `size` at a smaller size, as `gankit train --jpeg`; or "full".

    Raises:
        ValueError: the image cannot be used.
    """
    if size and jpeg == "scaled":
        header = decoding.probe(content)
        shape = 1 if header.grey else 3, *_target(size, header.height, header.width)
        if header.reduced(shape, "squash", jpeg) > 1:  # a JPEG, and so without alpha
            pixels = decoding.decode(content, shape, "squash", background, jpeg=jpeg)
            return from_image(Image.fromarray(pixels[0] if header.grey else pixels.transpose(1, 2, 0)), channels)
    return from_image(decoding.load(content, scale), channels, size, background)


def from_image(image: Image.Image, channels: int, size: str = "", background: str = "white") -> Picture:
    """Like `as_picture`, for an image in memory: L, RGB or RGBA."""
    image, alpha = resized(image, size), None
    if image.mode == "RGBA" and channels != 4:
        pixels = np.array(image)
        alpha = pixels[:, :, 3]
        pixels[alpha == 0, :3] = 255 if background == "white" else 0
        image = Image.fromarray(pixels[:, :, :3])
        if np.ptp(pixels[:, :, :3], axis=2).max() == 0:
            image = image.convert("L")
    was = {("L", False): "grey to colour", ("RGB", True): "colour to grey"}.get((image.mode, channels == 1), "")
    pixels = np.asarray(image.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels]))
    return Picture(as_tensor(pixels), alpha, was)


def as_tensor(pixels: np.ndarray) -> Tensor:
    """(H, W) or (H, W, C) uint8 to (1, C, H, W) in [-1, 1]."""
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    return data.normalise(torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None])


def encoded(pixels: np.ndarray) -> bytes:
    """(C, H, W) uint8 as the bytes of a .png."""
    buffer = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def as_pixels(image: Tensor) -> np.ndarray:
    """(C, H, W) in [-1, 1] to (H, W) or (H, W, C) uint8; the first channel if there are two or more than four."""
    pixels = data.quantise(image if len(image) in (1, 3, 4) else image[:1]).permute(1, 2, 0).numpy()
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels


def resized(image: Image.Image, size: str) -> Image.Image:
    """An image resized to a shorter side, "256", or to height and width, "256x384"."""
    height, width = _target(size, image.height, image.width)
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.LANCZOS)


def _target(size: str, height: int, width: int) -> tuple[int, int]:
    """The height and width that an image is resized to; its own without a size."""
    if not (sides := data.parse_resolution(size)):
        return height, width
    if "x" in size:
        return sides
    scale = sides[0] / min(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def save_image(
    path: Path, pixels: np.ndarray, alpha: np.ndarray | None = None, colours: np.ndarray | None = None
) -> None:
    """Write an image file atomically.

    Args:
        path: its ending decides the format. JPEG and BMP have no alpha: transparent pixels become white.
        pixels: (H, W) or (H, W, C) uint8; class numbers if `colours` is given.
        alpha: (H, W) uint8, or none.
        colours: (K, 3) uint8, the palette of a label map, for a .png.
    """
    if alpha is not None and pixels.shape[-1] != 4:
        pixels = np.dstack([pixels, alpha])
    image = Image.fromarray(pixels)
    if colours is not None:
        image.putpalette(colours.astype(np.uint8).tobytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    save_picture(path, image)
