"""One image file to bytes of one shape, whatever wrote it: checked before it is decoded, upright, 8 bits, fitted."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from gankit.text import shown

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "TIFF", "GIF")  # nothing that runs a program or asks a network
MAX_PIXELS = 2**26  # decoded, 200 MB; a few kilobytes can claim any size, so the header is asked first
DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # more than 8 bits, all grey


class Header(NamedTuple):
    """What an image says of itself before it is decoded; height and width as it is seen."""

    height: int
    width: int
    mode: str
    grey: bool
    alpha: bool


class Unusable(ValueError):
    """Why an image cannot be used."""


def probe(data: bytes) -> Header:
    """The header of an image. Raises Unusable."""
    with open_image(data) as image:
        return header(image)


def check(data: bytes) -> tuple[Header, str]:
    """The header of an image, and why its pixels cannot be used: "" if they can. Raises Unusable."""
    with open_image(data) as image:
        found = header(image)
        try:
            with unusable():
                pixels(image)
        except Unusable as error:
            return found, str(error)
        return found, ""


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
    """An image as uint8 of this (C, H, W). Raises Unusable.

    Args:
        fit: "crop" the centre, "pad" with the background, or "squash".
        alpha: "white" or "black" behind transparent pixels, or "keep" for a fourth channel.
    """
    return shaped(load(data), shape, fit, alpha)


def halves(data: bytes, shape: tuple[int, int, int], fit: str, alpha: str) -> np.ndarray:
    """Both halves of an image A|B as `decode` of each: uint8 (2, C, H, W). Raises Unusable."""
    image = load(data)
    middle = image.width // 2
    sides = image.crop((0, 0, middle, image.height)), image.crop((middle, 0, 2 * middle, image.height))
    return np.stack([shaped(side, shape, fit, alpha) for side in sides])


def shaped(image: Image.Image, shape: tuple[int, int, int], fit: str, alpha: str) -> np.ndarray:
    """An image as `load` gives it as uint8 of this (C, H, W)."""
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
    """An image in another height and width; `by` is how it is resampled."""
    if fit == "pad":
        scale = min(width / image.width, height / image.height)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        canvas = Image.new(image.mode, (width, height), background)
        canvas.paste(image.resize(size, by), ((width - size[0]) // 2, (height - size[1]) // 2))
        return canvas
    if fit == "crop":
        scale = max(width / image.width, height / image.height)
        wide, high = (
            max(1, min(have, round(want / scale))) for have, want in ((image.width, width), (image.height, height))
        )
        x, y = (image.width - wide) // 2, (image.height - high) // 2
        image = image.crop((x, y, x + wide, y + high))
    return image.resize((width, height), by)


def upright(image: Image.Image) -> Image.Image:
    """Its first frame, decoded, turned as the camera was held."""
    image.load()
    return ImageOps.exif_transpose(image) if image.format != "TIFF" and _orientation(image) > 1 else image


@contextmanager
def open_image(data: bytes) -> Iterator[Image.Image]:
    """The image, before it is decoded; any error inside becomes Unusable."""
    if not data:
        raise Unusable("empty file")
    with unusable(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise Unusable(f"oversized: {image.height}x{image.width} pixels, above the limit of {MAX_PIXELS:,}")
        yield image


@contextmanager
def unusable() -> Iterator[None]:
    """Any error inside becomes Unusable, with its reason."""
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
    except Exception as error:  # untrusted bytes: each format's decoder raises what it likes
        text = shown(str(error) or type(error).__name__)
        raise Unusable("truncated" if "truncated" in text.lower() else f"damaged: {text}") from error


def _orientation(image: Image.Image) -> int:
    if image.format == "PNG" and not {"exif", "Raw profile type exif"} & image.info.keys():
        return 1  # Pillow would decode the whole image to look for a note after it
    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:  # a damaged note about the image does not damage the image
        return 1
    return orientation if orientation in range(1, 9) else 1


def _shallow(pixels: np.ndarray) -> np.ndarray:
    """Grey of 16 bits, or floats in 0..1 or 0..255, to uint8. Raises Unusable: the numbers are neither."""
    least, most, real = pixels.min(), pixels.max(), pixels.dtype.kind == "f"
    if not (least >= 0 and most <= (255 if real else 65535)):  # false for NaN, too
        raise Unusable("its numbers are neither 16 bits nor floats in 0..1 or 0..255")
    top = 65535 if not real else 255 if most > 1 else 1
    return (pixels * (255 / top)).round().astype(np.uint8)
