"""Tensors to picture files: grids, points, strips and animations."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gankit import data
from gankit.checkpoint import replacing


def cells(shape: Sequence[int]) -> int:
    """How many samples of this shape a preview shows: a picture of about a thousand pixels a side, 10 to 32 a row."""
    if len(shape) == 1:
        return 2500
    return 10 * 10 if shape[1] <= 64 else (8 * 6 if shape[1] <= 256 else 4 * 3)


def grid(samples: Tensor, columns: int = 0) -> Image.Image:
    """One picture of images (N, C, H, W) in [-1, 1] side by side, or of points (N, 2) as dots.

    Small images are enlarged by a whole factor; four channels keep their alpha, two or more than four show the first.
    """
    if samples.ndim == 2:
        return dots(samples)
    n, channels, height, width = samples.shape
    columns = columns or min(n, 10 if height <= 64 else (8 if height <= 256 else 4))
    rows = -(-n // columns)
    factor = max(1, round(64 / max(height, width)))
    pixels = data.quantise(samples if channels in (1, 3, 4) else samples[:, :1])
    pixels = pixels.repeat_interleave(factor, 2).repeat_interleave(factor, 3).permute(0, 2, 3, 1).numpy()
    gap = max(1, factor // 2)
    high, wide = height * factor + gap, width * factor + gap
    sheet = np.full((rows * high + gap, columns * wide + gap, pixels.shape[3]), 255, np.uint8)
    for i, picture in enumerate(pixels):
        y, x = gap + i // columns * high, gap + i % columns * wide
        sheet[y : y + high - gap, x : x + wide - gap] = picture
    return Image.fromarray(sheet[:, :, 0] if sheet.shape[2] == 1 else sheet)


def sheet(images: Tensor, columns: int, heads: Sequence[str] = (), sides: Sequence[str] = ()) -> Image.Image:
    """A grid of (N, C, H, W) images in [-1, 1] with captions above its columns and beside its rows; NaN is white."""
    body = grid(white(images), columns)
    if not heads and not sides:
        return body
    rows, font = -(-len(images) // columns), ImageFont.load_default(size=12)
    wide, high = body.width / columns, body.height / rows
    left = max((int(font.getlength(side)) for side in sides), default=-8) + 8
    lines = [_wrapped(head, font, wide - 4) for head in heads]
    top = 15 * max((len(parts) for parts in lines), default=0) + (3 if heads else 0)
    page = Image.new("RGB", (left + body.width, top + body.height), "white")
    page.paste(body.convert("RGB"), (left, top))
    pen = ImageDraw.Draw(page)
    for i, parts in enumerate(lines):
        for line, text in enumerate(parts):
            place = left + (i + 0.5) * wide, top - 15 * (len(parts) - line) + 6
            pen.text(place, text, fill="black", font=font, anchor="mm")
    for i, text in enumerate(sides):
        pen.text((left - 5, top + (i + 0.5) * high), text, fill="black", font=font, anchor="rm")
    return page


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """Words in lines that are no wider, as far as single words allow."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def white(images: Tensor) -> Tensor:
    """The same, white where there is no number: cells that stay empty."""
    return images.nan_to_num(1.0)


def dots(points: Tensor, side: int = 512) -> Image.Image:
    """Points (N, 2), or the first two numbers of each, as dots on white; the axes reach as far as the points."""
    xy = points[:, :2].double()
    reach = max(1.0, float(xy.abs().nan_to_num(0).max()) * 1.05)
    picture = Image.new("RGB", (side, side), "white")
    pen = ImageDraw.Draw(picture)
    for x, y in ((xy / reach + 1) / 2 * (side - 1)).tolist():
        pen.ellipse((x - 1.5, side - 1 - y - 1.5, x + 1.5, side - 1 - y + 1.5), fill=(30, 90, 160))
    return picture


def save(path: Path, samples: Tensor, columns: int = 0) -> None:
    """Write a grid as a PNG, whole or not at all."""
    with replacing(path) as temporary:
        grid(samples, columns).save(temporary, "PNG")


def save_sheet(path: Path, samples: Tensor, columns: int, heads: Sequence[str] = (), sides: Sequence[str] = ()) -> None:
    """Write a sheet, a grid with captions, as a PNG, whole or not at all."""
    with replacing(path) as temporary:
        sheet(samples, columns, heads, sides).save(temporary, "PNG")


def save_one(path: Path, sample: Tensor) -> None:
    """Write one sample (C, H, W) at its own size as a PNG."""
    pixels = data.quantise(sample if len(sample) in (1, 3, 4) else sample[:1]).permute(1, 2, 0).numpy()
    with replacing(path) as temporary:
        Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(temporary, "PNG")


def png(samples: Tensor, columns: int = 0) -> bytes:
    """A grid as the bytes of a PNG."""
    buffer = io.BytesIO()
    grid(samples, columns).save(buffer, "PNG")
    return buffer.getvalue()


def animate(path: Path, frames: Sequence[Image.Image], fps: int = 24) -> Path:
    """Write frames as an animation: .webp or .gif by Pillow, .mp4 by ffmpeg where it is there; returns what was written.

    Raises:
        ValueError: the ending is another, or .mp4 is asked for and there is no ffmpeg.
    """
    frames = [frame.convert("RGB") for frame in frames]
    kind = path.suffix.lower()
    if kind in (".webp", ".gif"):
        with replacing(path) as temporary:
            frames[0].save(
                temporary,
                kind[1:].upper(),
                save_all=True,
                append_images=frames[1:],
                duration=round(1000 / fps),
                loop=0,
                quality=90,
            )
        return path
    if kind != ".mp4":
        raise ValueError(f"cannot write an animation as {path.name}; use .webp, .gif or .mp4")
    ffmpeg = shutil.which("ffmpeg")
    if not ffmpeg:
        raise ValueError("ffmpeg is not on the PATH, so there is no .mp4; use .webp, or install ffmpeg")
    width, height = frames[0].width // 2 * 2, frames[0].height // 2 * 2  # H.264 in yuv420p needs even sides
    raw = b"".join(frame.crop((0, 0, width, height)).tobytes() for frame in frames)
    with replacing(path) as temporary:
        command = [ffmpeg, "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
        command += ["-r", str(fps), "-i", "-", "-pix_fmt", "yuv420p", "-f", "mp4", str(temporary)]
        done = subprocess.run(command, input=raw, capture_output=True)
        if done.returncode:
            raise ValueError(f"ffmpeg failed: {done.stderr.decode(errors='replace').strip()}")
    return path
