"""The first images of a data set on one picture, with their classes or captions: the contact sheet."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gankit.text import shown

COLUMNS = 10
LINE = 12  # pixels of a line of text


class Pictured(Protocol):
    """What a data set is drawn by; all kinds of data sets have it."""

    name: str
    kind: str

    @property
    def shape(self) -> tuple[int, ...]: ...

    def first_images(self, count: int) -> tuple[list[Tensor], list[str]]: ...


def contact_sheet(dataset: Pictured, path: Path, count: int = 100) -> None:
    """Write the `sheet` of a data set as a PNG.

    Raises:
        ValueError: the data set holds no images.
    """
    if not holds_images(dataset):
        raise ValueError(f"{dataset.name} holds {dataset.kind}: there is nothing to lay out on a contact sheet")
    picture = sheet(dataset, count)
    temporary = Path(path).with_name(f".{Path(path).name}.{os.getpid()}.tmp")
    try:
        picture.save(temporary, "PNG")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def holds_images(dataset: Pictured) -> bool:
    """Whether the samples are images, not points or vectors."""
    return len(dataset.shape) == 3


def sheet(dataset: Pictured, count: int) -> Image.Image:
    """The first `count` images of the stream, ten in a row, each above its class or caption, if any.

    Domains and pairs are rows of A, each above a row of B; label maps are below their images, in colours; joined sets
    are a row of each in turn.
    """
    sides, texts = dataset.first_images(count)
    pictures = in_turn(sides).permute(0, 2, 3, 1).numpy()
    height, width = pictures.shape[1:3]
    scale = max(1, 64 // max(height, width)) if max(height, width) < 128 else 128 / max(height, width)
    cell = max(1, round(width * scale)), max(1, round(height * scale))
    mode, step = {1: "L", 3: "RGB", 4: "RGBA"}[pictures.shape[3]], cell[1] + 2 + LINE * bool(texts)
    canvas = Image.new(mode, (COLUMNS * (cell[0] + 2), -(-len(pictures) // COLUMNS) * step), "white")
    for i, picture in enumerate(pictures):
        image = Image.fromarray(picture[:, :, 0] if mode == "L" else picture)
        small = image.resize(cell, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS)
        corner = i % COLUMNS * (cell[0] + 2) + 1, i // COLUMNS * step + 1
        canvas.paste(small, corner)
        if texts:
            canvas.paste(_line(texts[i], cell[0], mode), (corner[0], corner[1] + cell[1]))
    return canvas


def share(count: int, sides: int) -> int:
    """How many images of each side are on a sheet of `count`: whole rows, one at least."""
    return max(COLUMNS, count // (COLUMNS * sides) * COLUMNS)


def in_turn(sides: list[Tensor]) -> Tensor:
    """Images (N, C, H, W) uint8 of all sides, a row of each in turn; of one side all."""
    if len(sides) == 1:
        return sides[0]
    channels = max(side.shape[1] for side in sides)
    return torch.stack([_channels(side, channels).unflatten(0, (-1, COLUMNS)) for side in sides], 1).flatten(0, 2)


def _line(text: str, width: int, mode: str) -> Image.Image:
    """A text in black on white, cut to a width in pixels."""
    image = Image.new("L", (width, LINE), 255)
    font = ImageFont.load_default(10)
    text = shown(text)
    while text and font.getlength(text) > width:
        text = text[:-1]
    ImageDraw.Draw(image).text((0, 0), text, 0, font)
    return image.convert(mode)


def _channels(pixels: Tensor, count: int) -> Tensor:
    """(N, C, H, W) uint8 with `count` channels: grey becomes RGB, a missing fourth channel is opaque."""
    pixels = pixels.expand(-1, min(count, 3), -1, -1) if pixels.shape[1] == 1 else pixels
    opaque = torch.full_like(pixels[:, :1], 255).expand(-1, count - pixels.shape[1], -1, -1)
    return torch.cat([pixels, opaque], 1)
