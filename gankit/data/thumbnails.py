"""The contact sheet of a data set: its first images, with their classes or captions, on one PNG."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from gankit.data.domains import Domains
from gankit.data.lookup import KINDS
from gankit.data.pixels import paint, palette
from gankit.data.stream import Dataset
from gankit.data.union import Union
from gankit.text import shown

LINE = 12  # pixels of a line of text


def contact_sheet(dataset: Dataset | Domains | Union, path: Path, count: int = 100) -> None:
    """Write the first `count` images of the stream as a PNG, ten in a row, each above its class or caption, if any.

    Domains and pairs are rows of A, each above a row of B; label maps are below their images, in colours; joined sets
    are a row of each in turn.

    Raises:
        ValueError: the data set holds no images.
    """
    if dataset.kind not in KINDS:
        raise ValueError(f"{dataset.name} holds {dataset.kind}: there is nothing to lay out on a contact sheet")
    texts: list[str] = []
    if isinstance(dataset, Dataset) and dataset.kind in ("images", "captions"):
        count = min(count, len(dataset))
        pixels, texts = next(dataset.stream(0, count))["real"], _texts(dataset, dataset.numbers(np.arange(count)))
    else:
        pixels = _rows(dataset, count)
    pictures = pixels.permute(0, 2, 3, 1).numpy()
    height, width = pictures.shape[1:3]
    scale = max(1, 64 // max(height, width)) if max(height, width) < 128 else 128 / max(height, width)
    cell = max(1, round(width * scale)), max(1, round(height * scale))
    mode, step = {1: "L", 3: "RGB", 4: "RGBA"}[pictures.shape[3]], cell[1] + 2 + LINE * bool(texts)
    sheet = Image.new(mode, (10 * (cell[0] + 2), -(-len(pictures) // 10) * step), "white")
    for i, picture in enumerate(pictures):
        image = Image.fromarray(picture[:, :, 0] if mode == "L" else picture)
        small = image.resize(cell, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS)
        corner = i % 10 * (cell[0] + 2) + 1, i // 10 * step + 1
        sheet.paste(small, corner)
        if texts:
            sheet.paste(_line(texts[i], cell[0], mode), (corner[0], corner[1] + cell[1]))
    temporary = Path(path).with_name(f".{Path(path).name}.{os.getpid()}.tmp")
    try:
        sheet.save(temporary, "PNG")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _texts(dataset: Dataset, numbers: np.ndarray) -> list[str]:
    """The class of each image, else its first caption; none where there are neither."""
    if dataset.labels is not None and dataset.class_names:
        return [dataset.class_names[label] for label in dataset.labels[numbers].tolist()]
    if dataset.captions:
        return [dataset.captions[number].partition("\n")[0] for number in numbers.tolist()]
    return []


def _line(text: str, width: int, mode: str) -> Image.Image:
    """A text in black on white, cut to a width in pixels."""
    image = Image.new("L", (width, LINE), 255)
    font = ImageFont.load_default(10)
    text = shown(text)
    while text and font.getlength(text) > width:
        text = text[:-1]
    ImageDraw.Draw(image).text((0, 0), text, 0, font)
    return image.convert(mode)


def _rows(dataset: Dataset | Domains | Union, count: int) -> torch.Tensor:
    """Images (N, C, H, W) uint8 of all sides or sets, ten of each in turn."""
    sides = len(dataset.sets) if isinstance(dataset, Union) else 2
    stream = dataset.stream(0, max(10, count // (10 * sides) * 10))
    if isinstance(dataset, Union):
        images = [stream.at(i)["real"] for i in range(sides)]
    elif isinstance(dataset, Domains):
        rows = next(stream)
        images = [rows["a"], rows["b"]]
    else:
        rows = next(stream)
        images = [rows["real"], paint(rows["mask"], palette(dataset.num_classes, dataset.colours))]
    channels = max(side.shape[1] for side in images)
    return torch.stack([_channels(side, channels).unflatten(0, (-1, 10)) for side in images], 1).flatten(0, 2)


def _channels(pixels: torch.Tensor, count: int) -> torch.Tensor:
    """(N, C, H, W) uint8 with `count` channels: grey becomes RGB, a missing fourth channel is opaque."""
    pixels = pixels.expand(-1, min(count, 3), -1, -1) if pixels.shape[1] == 1 else pixels
    opaque = torch.full_like(pixels[:, :1], 255).expand(-1, count - pixels.shape[1], -1, -1)
    return torch.cat([pixels, opaque], 1)
