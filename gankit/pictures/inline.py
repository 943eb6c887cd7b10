"""Pictures as they are put into pages: small files as they are, large ones compressed."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

LARGE = 150_000  # bytes from which a PNG is compressed with small losses
WIDEST = 1600  # pixels of a compressed picture, at most


def inline(path: Path, most: int = LARGE) -> tuple[bytes, str]:
    """The content of a PNG and its kind, or of a WebP in its place if the PNG has more than `most` bytes.

    Raises:
        OSError: the file cannot be read.
    """
    content = path.read_bytes()
    if len(content) <= most:
        return content, "png"
    out = io.BytesIO()
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            if max(picture.size) > WIDEST:
                picture.thumbnail((WIDEST, WIDEST), Image.Resampling.LANCZOS)
            picture.save(out, "WEBP", quality=85)
    except (OSError, ValueError, SyntaxError, KeyError):  # a damaged file, or a Pillow that cannot write WebP
        return content, "png"
    return (out.getvalue(), "webp") if out.tell() < len(content) else (content, "png")


def as_png(picture: Image.Image) -> bytes:
    """The PNG of a picture."""
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()
