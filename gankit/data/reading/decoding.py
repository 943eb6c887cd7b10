"""Decoding of untrusted image files: checked first, then turned upright, reduced to 8 bits and fitted to one shape."""

from __future__ import annotations

import io
import math
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError, features

from gankit.data.reading import reduction
from gankit.data.reading.choices import Scale
from gankit.data.reading.endings import IMAGES, NEWER
from gankit.text import shown

# None of these runs a program or uses a network. PPM (.pgm, .ppm, .pbm) is the format of old sets of faces and traffic
# signs, and of images that are stored as plain arrays: the fastest that Pillow reads.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM")
PLAIN = re.compile(rb"P([56]) ([1-9]\d{0,4}) ([1-9]\d{0,4}) 255\n")
MORE = {"AVIF": "pip install 'pillow>=11.3'", "HEIF": "pip install pillow-heif"}  # read where Pillow has a reader
NAMES = "PNG, JPEG, WebP, BMP, TIFF, GIF"
PAGED = ("TIFF", "GIF", "WEBP", "PNG", "AVIF")  # formats with several pages or frames
MAX_PIXELS = 2**26  # 200 MB once decoded; a file of a few kilobytes can have any size in its header
DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # more than 8 bits, all grey
DEEP_RGB = "RGB;16"  # colours of 16 bits, of which Pillow reads the upper 8; no mode of Pillow's
PLANAR = 284  # a TIFF's tag that says whether its colours are stored apart
OTHER_BYTE = {"RGB;16B": "RGB;16L", "RGB;16L": "RGB;16B", "RGB;16N": f"RGB;16{'BL'[sys.byteorder == 'big']}"}


class Header(NamedTuple):
    """The properties of an image before it is decoded.

    Args:
        height, width: after it is turned upright.
        mode: Pillow's mode, or `DEEP_RGB`.
        grey: whether it has one channel, besides alpha.
        alpha: whether pixels can be transparent.
        paged: whether the file has more pages or frames than this one.
        divisor: by how much smaller it can be decoded, as of `reduction.most`.
    """

    height: int
    width: int
    mode: str
    grey: bool
    alpha: bool
    paged: bool = False
    divisor: int = 1

    def reduced(self, shape: tuple[int, int, int], fit: str, jpeg: str) -> int:
        """By how much smaller the image is decoded that is fitted to a shape (C, H, W), with options of `Reading`."""
        return reduction.divisor(self[:2], self.divisor, shape[1:], fit) if jpeg == "scaled" else 1


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
        return header(image, data)


def check(data: bytes) -> tuple[Header, str]:
    """The header of an image, and why its pixels cannot be used; "" if they can. Raises Unusable."""
    with open_image(data) as image:
        of_image = header(image, data)
        try:
            with unusable():
                reduction.apply(image, of_image.divisor)  # damage is found without the fine detail
                pixels(image, data, (0.0, 1.0) if of_image.mode in DEEP else None)
        except Unusable as error:
            return of_image, str(error)
        return of_image, ""


def header(image: Image.Image, data: bytes) -> Header:
    """The header of an image that was opened from these bytes."""
    height, width = image.height, image.width
    orientation = 1 if image.format == "TIFF" else _orientation(image)  # Pillow has turned a TIFF's size already
    if orientation > 4:
        height, width = width, height
    paged = image.format in PAGED and bool(getattr(image, "is_animated", False))
    mode = DEEP_RGB if is_deep_rgb(image) else image.mode
    is_grey, divisor = mode in ("1", "L", "LA", *DEEP), reduction.most(image, data, orientation)
    return Header(height, width, mode, is_grey, image.has_transparency_data, paged, divisor)


def load(data: bytes, scale: Scale | None = None) -> Image.Image:
    """The first frame, upright, as L, RGB or RGBA. Raises Unusable.

    Args:
        data: content of the file.
        scale: the values that become black and white in images deeper than 8 bits; default: by the type of the image.
    """
    with open_image(data) as image:
        return pixels(image, data, scale)


def pixels(image: Image.Image, data: bytes, scale: Scale | None = None) -> Image.Image:
    """`load` of an image that was opened from these bytes."""
    if is_deep_rgb(image) and scale not in (None, (0.0, 65535.0)):
        return Image.fromarray(_scaled(colours(image, data), scale))
    image = upright(image)
    if image.mode in DEEP:
        values = np.asarray(image)
        return Image.fromarray(_scaled(values, scale) if scale else _shallow(values))
    mode = "RGBA" if image.has_transparency_data else "L" if image.mode in ("1", "L") else "RGB"
    return image if image.mode == mode else image.convert(mode)


def values(data: bytes) -> np.ndarray | None:
    """The numbers (H, W) or (H, W, 3) of an image deeper than 8 bits; None for any other. Raises Unusable."""
    with open_image(data) as image:
        if is_deep_rgb(image):
            return colours(image, data)
        return np.asarray(upright(image)) if image.mode in DEEP else None


def decode(
    data: bytes, shape: tuple[int, int, int], fit: str, alpha: str, scale: Scale | None = None, jpeg: str = "full"
) -> np.ndarray:
    """Decode an image to uint8 of this shape (C, H, W). Raises Unusable.

    Args:
        fit: "crop" the centre, "pad" with the background, or "squash".
        alpha: background of transparent pixels, "white" or "black"; "keep" for a fourth channel.
        scale: as of `load`.
        jpeg: "scaled" decodes a large JPEG at a smaller size (`reduction`), "full" in full.
    """
    raw = plain_pixels(data)
    if raw is not None and shape == (1 if raw.ndim == 2 else 3, *raw.shape[:2]):
        return np.ascontiguousarray(raw.reshape(*shape[1:], shape[0]).transpose(2, 0, 1))
    with open_image(data) as image:
        return decoded(image, data, header(image, data), shape, fit, alpha, scale, jpeg)


def decoded(
    image: Image.Image,
    data: bytes,
    of_image: Header,
    shape: tuple[int, int, int],
    fit: str,
    alpha: str,
    scale: Scale | None = None,
    jpeg: str = "full",
) -> np.ndarray:
    """`decode` of an image that was opened from these bytes, and has this header."""
    number = of_image.reduced(shape, fit, jpeg)
    reduction.apply(image, number)
    whole = reduction.Whole(of_image.width, of_image.height, number)
    return shaped(pixels(image, data, scale), shape, fit, alpha, whole)


def halves(
    data: bytes, shape: tuple[int, int, int], fit: str, alpha: str, scales: Sequence[Scale | None], jpeg: str = "full"
) -> np.ndarray:
    """Decode both halves of an image A|B to uint8 (2, C, H, W), as `decode`, each by its scale. Raises Unusable."""
    with open_image(data) as image:
        half = halved(header(image, data))
        number = half.reduced(shape, fit, jpeg)
        reduction.apply(image, number)
        left = pixels(image, data, scales[0])
    right = left if scales[0] == scales[1] else load(data, scales[1])  # deep, and so not reduced
    middle, whole = half.width // number, reduction.Whole(half.width, half.height, number)
    sides = left.crop((0, 0, middle, left.height)), right.crop((middle, 0, 2 * middle, left.height))
    return np.stack([shaped(side, shape, fit, alpha, whole) for side in sides])


def halved(of_image: Header) -> Header:
    """The header of a half of an image A|B, whose border must not lie within a pixel that is decoded."""
    width = of_image.width // 2
    return of_image._replace(width=width, divisor=math.gcd(of_image.divisor, width))


def shaped(
    image: Image.Image, shape: tuple[int, int, int], fit: str, alpha: str, whole: reduction.Whole | None = None
) -> np.ndarray:
    """An image from `load` as uint8 of this shape (C, H, W); `whole` as of `fitted`."""
    channels, height, width = shape
    if image.mode == "RGBA" and alpha != "keep":
        image = Image.alpha_composite(Image.new("RGBA", image.size, alpha), image)
    if image.mode != (mode := {1: "L", 3: "RGB", 4: "RGBA"}[channels]):
        image = image.convert(mode)
    if image.size != (width, height):
        background = "#0000" if channels == 4 else "white" if alpha == "keep" else alpha
        image = fitted(image, height, width, fit, background, whole=whole)
    return np.ascontiguousarray(np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1))


def fitted(
    image: Image.Image,
    height: int,
    width: int,
    fit: str,
    background: str | int,
    by: Image.Resampling = Image.Resampling.LANCZOS,
    whole: reduction.Whole | None = None,
) -> Image.Image:
    """The image at another height and width.

    Args:
        by: the resampling filter.
        whole: the size of the image before it was decoded at a smaller one.
    """
    full_width, full_height, n = whole or reduction.Whole(*image.size)
    if fit == "pad":
        scale = min(width / full_width, height / full_height)
        size = max(1, round(full_width * scale)), max(1, round(full_height * scale))
        canvas = Image.new(image.mode, (width, height), background)
        resized = image.resize(size, by, (0, 0, full_width / n, full_height / n))
        canvas.paste(resized, ((width - size[0]) // 2, (height - size[1]) // 2))
        return canvas
    x, y, wide, high = 0, 0, full_width, full_height
    if fit == "crop":
        scale = max(width / full_width, height / full_height)
        wide = max(1, min(full_width, round(width / scale)))
        high = max(1, min(full_height, round(height / scale)))
        x, y = (full_width - wide) // 2, (full_height - high) // 2
    left, top, right, bottom = (edge / n for edge in (x, y, x + wide, y + high))
    outer = math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)  # whole pixels
    if outer != (0, 0, *image.size):
        image = image.crop(outer)
    return image.resize((width, height), by, (left - outer[0], top - outer[1], right - outer[0], bottom - outer[1]))


def upright(image: Image.Image) -> Image.Image:
    """The first frame, decoded, turned upright by its EXIF orientation."""
    image.load()
    return ImageOps.exif_transpose(image) if image.format != "TIFF" and _orientation(image) > 1 else image


@contextmanager
def open_image(data: bytes) -> Iterator[Image.Image]:
    """Open an image without decoding it. Any error inside becomes Unusable."""
    if not data:
        raise Unusable("empty file")
    with unusable(), Image.open(io.BytesIO(data), formats=formats(data)) as image:
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
        raise Unusable(f"not an image that is read ({NAMES}), or its beginning is damaged") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Unusable(f"oversized: above the limit of {MAX_PIXELS:,} pixels") from error
    except Exception as error:  # untrusted bytes: each format's decoder has its own errors
        text = shown(str(error) or type(error).__name__)
        raise Unusable("truncated" if "truncated" in text.lower() else f"damaged: {text}") from error


def is_image(name: str) -> bool:
    """Whether a file is read as an image here, by its ending."""
    lower = name.lower()
    return lower.endswith(IMAGES) and all(not lower.endswith(ends) or has_reader(form) for form, ends in NEWER.items())


def has_reader(form: str) -> bool:
    """Whether Pillow reads a format of `MORE` here."""
    if form == "HEIF" and form not in Image.OPEN:
        with suppress(ImportError):
            import pillow_heif

            pillow_heif.register_heif_opener()
    Image.init()
    return form in Image.OPEN and (form != "AVIF" or features.check("avif") is True)


def formats(data: bytes) -> tuple[str, ...]:
    """The formats that Pillow may open a file in. Raises Unusable if nothing reads its format here."""
    if data[4:8] != b"ftyp":
        return FORMATS
    form = "AVIF" if data[8:12] in (b"avif", b"avis") else "HEIF"
    if not has_reader(form):
        name = "HEIC" if form == "HEIF" else form
        raise Unusable(f"{name} is not read here: {MORE[form]}")
    return (form,)


def is_deep_rgb(image: Image.Image) -> bool:
    """Whether an image that is not decoded yet has colours of 16 bits, all of which can be read."""
    return bool(
        image.mode == "RGB"
        and getattr(image, "tile", None)
        and not image.has_transparency_data
        and getattr(image, "tag_v2", {}).get(PLANAR, 1) == 1
        and all(_raw_mode(tile[3]) in OTHER_BYTE for tile in image.tile)  # type: ignore[attr-defined]
    )


def _raw_mode(arguments: object) -> str:
    """The layout of the bytes in a file, from the arguments of Pillow's decoder."""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def colours(image: Image.Image, data: bytes) -> np.ndarray:
    """(H, W, 3) uint16 of an image that was opened from these bytes.

    Pillow reads the upper byte of each colour; told that the file has the other byte order, it reads the lower one.
    """
    with open_image(data) as again:
        again.seek(image.tell())
        tiles = again.tile  # type: ignore[attr-defined]  # both are images from files
        for i, tile in enumerate(tiles):
            other = OTHER_BYTE[_raw_mode(tile[3])]
            arguments = (other, *tile[3][1:]) if isinstance(tile[3], tuple) else other
            tiles[i] = tile._replace(args=arguments) if hasattr(tile, "_replace") else (*tile[:3], arguments)
        low = np.asarray(upright(again)).astype(np.uint16)
    return np.asarray(upright(image)).astype(np.uint16) << 8 | low


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
    if not np.isfinite([least, most]).all():
        raise Unusable("holds NaN or infinite values")
    if not (least >= 0 and most <= (255 if real else 65535)):
        raise Unusable("its numbers are neither 16 bits nor floats in 0..1 or 0..255")
    top = 65535 if not real else 255 if most > 1 else 1
    return (pixels * (255 / top)).round().astype(np.uint8)


def _scaled(numbers: np.ndarray, scale: Scale) -> np.ndarray:
    """Numbers to uint8, with these as black and white; those outside are clipped. Raises Unusable for NaN."""
    if not np.isfinite(numbers).all():
        raise Unusable("holds NaN or infinite values")
    low, high = scale
    return ((numbers.clip(low, high) - low) * (255 / (high - low))).round().astype(np.uint8)
