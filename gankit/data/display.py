"""Data sets as notebooks show them: the first images of the stream and a table of facts."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor

from gankit.data.pixels import paint, palette
from gankit.html import figure, table

COLUMNS, ROWS = 10, 4  # of images that are shown


class Shown(Protocol):
    """What a data set has to be shown by; all kinds of data sets have it."""

    name: str
    kind: str

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def class_names(self) -> list[str]: ...

    def __len__(self) -> int: ...

    def stream(self, start: int, batch: int) -> Iterator[dict[str, Tensor]]: ...


def one_line(dataset: Shown) -> str:
    """A data set in one plain line."""
    classes = f", {len(dataset.class_names)} classes" if dataset.class_names else ""
    shape = "x".join(map(str, dataset.shape))
    return f"<{type(dataset).__name__} {dataset.name}: {len(dataset):,} {dataset.kind} of {shape}{classes}>"


def as_html(dataset: Shown) -> str:
    """A data set as HTML: facts, and its first images as rows of each side."""
    facts: dict[str, object] = {"data": dataset.name, "kind": dataset.kind, "count": f"{len(dataset):,}"}
    facts["shape"] = "x".join(map(str, dataset.shape))
    if dataset.class_names:
        names = dataset.class_names
        facts["classes"] = ", ".join(names[:10]) + f" and {len(names) - 10} more" * (len(names) > 10)
    return table("", facts) + pictures_of(dataset)


def pictures_of(dataset: Shown) -> str:
    """The first images of the stream; of two domains, pairs and label maps, rows of each side in turn."""
    if len(dataset.shape) != 3:
        return ""
    count = min(COLUMNS * ROWS, len(dataset))
    rows = next(dataset.stream(0, count))
    sides = [rows[name] for name in ("real", "a", "b") if name in rows]
    if "mask" in rows:
        colours = palette(len(dataset.class_names), getattr(dataset, "colours", None))
        sides.append(paint(rows["mask"], colours))
    sides = [side[:, :3] if side.shape[1] > 2 else side[:, :1].expand(-1, 3, -1, -1) for side in sides]
    groups = [side.split(COLUMNS) for side in sides]
    strips = [strip(part) for parts in zip(*groups) for part in parts]
    width = max(part.shape[1] for part in strips)
    padded = [torch.nn.functional.pad(part, (0, 0, 0, width - part.shape[1]), value=255) for part in strips]
    picture = Image.fromarray(torch.cat(padded).numpy())
    out = io.BytesIO()
    picture.save(out, "PNG")
    return figure(out.getvalue(), "the first samples of the stream")


def strip(images: Tensor) -> Tensor:
    """(N, 3, H, W) uint8 images in a row, (H + 2, N (W + 2), 3), small ones enlarged by a whole factor."""
    factor = max(1, 64 // max(images.shape[2:]))
    images = images.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    return torch.cat([*torch.nn.functional.pad(images, (0, 2, 0, 2), value=255)], 2).permute(1, 2, 0)
