"""Data sets as notebooks show them: the first images of the stream and a table of facts."""

from __future__ import annotations

import io
from typing import Protocol

from gankit.data.thumbnails import Pictured, holds_images, sheet
from gankit.html import figure, table

COUNT = 40  # images that are shown


class Shown(Pictured, Protocol):
    """What a data set has to be shown by; all kinds of data sets have it."""

    @property
    def class_names(self) -> list[str]: ...

    def __len__(self) -> int: ...


def one_line(dataset: Shown) -> str:
    """A data set in one plain line."""
    classes = f", {len(dataset.class_names)} classes" if dataset.class_names else ""
    shape = "x".join(map(str, dataset.shape))
    return f"<{type(dataset).__name__} {dataset.name}: {len(dataset):,} {dataset.kind} of {shape}{classes}>"


def as_html(dataset: Shown) -> str:
    """A data set as HTML: facts, and its first images."""
    facts: dict[str, object] = {"data": dataset.name, "kind": dataset.kind, "count": f"{len(dataset):,}"}
    facts["shape"] = "x".join(map(str, dataset.shape))
    if dataset.class_names:
        names = dataset.class_names
        facts["classes"] = ", ".join(names[:10]) + f" and {len(names) - 10} more" * (len(names) > 10)
    return table("", facts) + pictures_of(dataset)


def pictures_of(dataset: Shown) -> str:
    """The first images of the stream, as on the contact sheet; nothing for points and vectors."""
    if not holds_images(dataset):
        return ""
    out = io.BytesIO()
    sheet(dataset, min(COUNT, len(dataset))).save(out, "PNG")
    return figure(out.getvalue(), "the first samples of the stream")
