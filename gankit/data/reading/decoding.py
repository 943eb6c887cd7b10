"""Decoding of untrusted image files: checked first, then turned upright, reduced to 8 bits and fitted to one shape."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from gankit.text import shown

# None of these runs a program or uses a network. PPM (.pgm, .ppm, .pbm) is the format of old sets of faces and traffic
# signs, and of images that are stored as plain arrays: the fastest that Pillow reads.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM")
PLAIN = re.compile(rb"P([56]) ([1-9]\d{0,4}) ([1-9]\d{0,4}) 255\n")
MAX_PIXELS = 2**26  # 200 MB once decoded; a file of a few kilobytes can have any size in its header
DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # more than 8 bits, all grey


class Header(NamedTuple):
    """The properties of an image before it is decoded; height and width after it is turned upright."""

    height: int
    width: int
    mode: str
    grey: bool
    alpha: bool


class Unusable(ValueError):
    """The reason why an image cannot be used."""


def plain_pixels(data: bytes) -> np.ndarray | None:
    """The pixels (H, W) or (H, W, 3) of an image without compression, as formats with many images in a file give them.

    None for other files: Pillow reads them, and those of another size than their header says.
    """
    if not (match := PLAIN.match(data)):
        return None
    width, height = int(match[2]), int(match[3])
    shape = (height, width) if match[1] == b"5" else (height, width, 3)
    pixels = np.frombuffer(data, np.uint8, offset=match.end())
    return pixels.reshape(shape) if pixels.size == math.prod(shape) <= 3 * MAX_PIXELS else None


def probe(data: bytes) -> Header:
    """The header of an image. Raises Unusable."""
    if (pixels := plain_pixels(data)) is not None:
        height, width = pixels.shape[:2]
        return Header(height, width, "L" if pixels.ndim == 2 else "RGB", pixels.ndim == 2, False)
    with open_image(data) as image:
        return header(image)


def check(data: bytes) -> tuple[Header, str]:
    """The header of an image, and why its pixels cannot be used; "" if they can. Raises Unusable."""
    with open_image(data) as image:
        of_image = header(image)
        try:
            with unusable():
                pixels(image)
        except Unusable as error:
            return of_image, str(error)
        return of_image, ""


def header(image: Image.Image) -> Header:
    """The header of an open image."""
    height, width = image.height, image.width
    if image.format != "TIFF" and _orientation(image) > 4:  # Pillow has turned a TIFF's size already
        height, width = width, height
    return Header(height, width, image.mode, image.mode in ("1", "L", "LA", *DEEP), image.has_transparency_data)


def load(data: bytes) -> Image.Image:
    """The first frame, upright, as L, RGB or RGBA. Raises Unusable."""
    with open_image(data) as image:
        return pixels(image)


def pixels(image: Image.Image) -> Image.Image:
    """`load` of an open image."""
    image = upright(image)
    if image.mode in DEEP:
        return Image.fromarray(_shallow(np.asarray(image)))
    return image.convert("RGBA" if image.has_transparency_data else "L" if image.mode in ("1", "L") else "RGB")


def decode(data: bytes, shape: tuple[int, int, int], fit: str, alpha: str) -> np.ndarray:
    """Decode an image to uint8 of this shape (C, H, W). Raises Unusable.

    Args:
        fit: "crop" the centre, "pad" with the background, or "squash".
        alpha: background of transparent pixels, "white" or "black"; "keep" for a fourth channel.
    """
    pixels = plain_pixels(data)
    if pixels is not None and shape == (1 if pixels.ndim == 2 else 3, *pixels.shape[:2]):
        return np.ascontiguousarray(pixels.reshape(*shape[1:], shape[0]).transpose(2, 0, 1))
    return shaped(load(data), shape, fit, alpha)


def halves(data: bytes, shape: tuple[int, int, int], fit: str, alpha: str) -> np.ndarray:
    """Decode both halves of an image A|B to uint8 (2, C, H, W), as `decode`. Raises Unusable."""
    image = load(data)
    middle = image.width // 2
    sides = image.crop((0, 0, middle, image.height)), image.crop((middle, 0, 2 * middle, image.height))
    return np.stack([shaped(side, shape, fit, alpha) for side in sides])


def shaped(image: Image.Image, shape: tuple[int, int, int], fit: str, alpha: str) -> np.ndarray:
    """An image from `load` as uint8 of this shape (C, H, W)."""
    channels, height, width = shape
    if image.mode == "RGBA" and alpha != "keep":
        image = Image.alpha_composite(Image.new("RGBA", image.size, alpha), image)
    image = image.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])
    if image.size != (width, height):
        image = fitted(image, height, width, fit, "#0000" if channels == 4 else "white" if alpha == "keep" else alpha)
    return np.ascontiguousarray(np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1))


def fitted(
    image: Image.Image,
    height: int,
    width: int,
    fit: str,
    background: str | int,
    by: Image.Resampling = Image.Resampling.LANCZOS,
) -> Image.Image:
    """The image at another height and width; `by` is the resampling filter."""
    if fit == "pad":
        scale = min(width / image.width, height / image.height)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        canvas = Image.new(image.mode, (width, height), background)
        canvas.paste(image.resize(size, by), ((width - size[0]) // 2, (height - size[1]) // 2))
        return canvas
    if fit == "crop":
        scale = max(width / image.width, height / image.height)
        wide = max(1, min(image.width, round(width / scale)))
        high = max(1, min(image.height, round(height / scale)))
        x, y = (image.width - wide) // 2, (image.height - high) // 2
        image = image.crop((x, y, x + wide, y + high))
    return image.resize((width, height), by)


def upright(image: Image.Image) -> Image.Image:
    """The first frame, decoded, turned upright by its EXIF orientation."""
    image.load()
    return ImageOps.exif_transpose(image) if image.format != "TIFF" and _orientation(image) > 1 else image


@contextmanager
def open_image(data: bytes) -> Iterator[Image.Image]:
    """Open an image without decoding it. Any error inside becomes Unusable."""
    if not data:
        raise Unusable("empty file")
    with unusable(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise Unusable(f"oversized: {image.height}x{image.width} pixels, above the limit of {MAX_PIXELS:,}")
        yield image


@contextmanager
def unusable() -> Iterator[None]:
    """Turn any error inside into Unusable with its reason."""
    try:
        yield
    except Unusable:
        raise
    except UnidentifiedImageError as error:
        raise Unusable(
            "not an image that is read (PNG, JPEG, WebP, BMP, TIFF, GIF), or its beginning is damaged"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Unusable(f"oversized: above the limit of {MAX_PIXELS:,} pixels") from error
    except Exception as error:  # untrusted bytes: each format's decoder has its own errors
        text = shown(str(error) or type(error).__name__)
        raise Unusable("truncated" if "truncated" in text.lower() else f"damaged: {text}") from error


def _orientation(image: Image.Image) -> int:
    if image.format == "PNG" and not {"exif", "Raw profile type exif"} & image.info.keys():
        return 1  # Pillow would decode the whole image to look for EXIF data after the pixels
    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:  # an image with damaged EXIF data is usable
        return 1
    return orientation if orientation in range(1, 9) else 1


def _shallow(pixels: np.ndarray) -> np.ndarray:
    """Grey of 16 bits, or floats in 0..1 or 0..255, to uint8. Raises Unusable for other numbers."""
    least, most, real = pixels.min(), pixels.max(), pixels.dtype.kind == "f"
    if not (least >= 0 and most <= (255 if real else 65535)):  # false for NaN, too
        raise Unusable("its numbers are neither 16 bits nor floats in 0..1 or 0..255")
    top = 65535 if not real else 255 if most > 1 else 1
    return (pixels * (255 / top)).round().astype(np.uint8)
