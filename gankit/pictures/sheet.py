"""A grid with captions above its columns and beside its rows."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gankit.pictures.grid import grid, white


def sheet(images: Tensor, columns: int, heads: Sequence[str] = (), sides: Sequence[str] = ()) -> Image.Image:
    """A grid of (N, C, H, W) images in [-1, 1] with captions above its columns and beside its rows; NaN is white.

    A column is as wide as its widest image, without the NaN at the right of it.
    """
    widths = _widths(images, columns)
    body = grid(white(images), columns, widths)
    if not heads and not sides:
        return body
    rows, font = -(-len(images) // columns), ImageFont.load_default(size=12)
    edges = [body.width * sum(widths[:i]) / sum(widths) for i in range(columns + 1)]
    high = body.height / rows
    left = max((int(font.getlength(side)) for side in sides), default=-8) + 8
    lines = [_wrapped(head, font, b - a - 4) for head, a, b in zip(heads, edges, edges[1:])]
    top = 15 * max((len(parts) for parts in lines), default=0) + (3 if heads else 0)
    page = Image.new("RGB", (left + body.width, top + body.height), "white")
    page.paste(body.convert("RGB"), (left, top))
    pen = ImageDraw.Draw(page)
    for i, parts in enumerate(lines):
        for line, text in enumerate(parts):
            place = left + (edges[i] + edges[i + 1]) / 2, top - 15 * (len(parts) - line) + 6
            pen.text(place, text, fill="black", font=font, anchor="mm")
    for i, text in enumerate(sides):
        pen.text((left - 5, top + (i + 0.5) * high), text, fill="black", font=font, anchor="rm")
    return page


def _widths(images: Tensor, columns: int) -> list[int]:
    """The width that is not NaN in some image of each column; the whole width where a column is empty."""
    filled = ~images.isnan().all(1).all(1)
    ends = [filled[i::columns].any(0).nonzero().flatten() for i in range(columns)]
    return [int(end[-1]) + 1 if len(end) else images.shape[3] for end in ends]


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> list[str]:
    """The text wrapped into lines of at most this width; a longer word gets its own line."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
