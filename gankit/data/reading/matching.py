"""Rows of tables by the images that they name, with and without folders and endings."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from gankit.data.reading.files import File
from gankit.data.reading.metadata import Row, canonical
from gankit.data.reading.rowfiles import Sheet
from gankit.text import shown


@dataclass
class Table:
    """The rows of a table that belong to images.

    Args:
        name: name of the table in messages.
        files: that were read.
        rows: by image name.
        bad: images that cannot be used, with the reason.
        warnings: what a user should know, in plain sentences.
        faults: why "labels", "attributes" or "captions" that a table has are not used.
        title: the columns; tables of several folders with the same columns are one table.
        complete: whether every image must have a row: CelebA's list and OpenFace's are made for the images.
        several: whether images have several rows.
    """

    name: str
    files: list[File]
    rows: dict[str, Row] = field(default_factory=dict)
    bad: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    title: list[str] = field(default_factory=list)
    complete: bool = False
    several: bool = False

    def refuse(self, reason: str) -> None:
        """Note why the table is not used."""
        self.warnings.append(f"{reason}.")
        self.faults = {kind: self.faults.get(kind, reason) for kind in ("labels", "attributes", "captions")}


class Named:
    """Images by name, with and without folders and endings."""

    def __init__(self, images: list[str], folder: str = ""):
        self.places: dict[str, list[str]] = {}
        for image in images:
            for name in variants(image.removeprefix(folder)):
                self.places.setdefault(name, []).append(image)

    def find(self, text: str) -> str | None:
        """The image with this name. Raises ValueError if there are several."""
        for name in [text] if text in self.places else variants(text):
            if images := self.places.get(name):
                if len(images) > 1:
                    first, second = map(shown, images[:2])
                    raise ValueError(f"{text!r} names several images, {first} and {second}: write their folders, too")
                return images[0]
        return None


class Scopes:
    """The images that a file may name: those below its own folder first, then all, with those of other parts.

    Args:
        images: that are read.
        others: images of other parts of the set, which tables also name.
    """

    def __init__(self, images: list[str], others: Sequence[str] = ()):
        self.images = images
        self.others = set(others)
        self.below: dict[str, Named] = {"": Named([*images, *others])}

    def of(self, name: str) -> list[Named]:
        """The images for the names in this file, in the order to search."""
        folder = os.path.dirname(name) + "/"
        inside = [] if folder == "/" or folder.startswith("..") else [i for i in self.images if i.startswith(folder)]
        if not inside:
            return [self.below[""]]
        if folder not in self.below:
            self.below[folder] = Named(inside, folder)
        return [self.below[folder], self.below[""]]


def variants(name: str) -> list[str]:
    """A name, then the same without its folders, one by one; each with and without its ending."""
    parts = canonical(name.strip()).split("/")
    tails = ["/".join(parts[i:]) for i in range(len(parts))]
    return list(dict.fromkeys(name for tail in tails if tail for name in (tail, os.path.splitext(tail)[0])))


def entries(sheet: Sheet) -> list[Row]:
    """The rows by the titles of their columns. Raises ValueError: a title is there twice, or a row is too short."""
    if twice := [name for name, n in Counter(sheet.title).items() if n > 1]:
        raise ValueError(f"the column {shown(twice[0])!r} is there twice")
    for line in sheet.lines:
        if len(line) != len(sheet.title):
            raise ValueError(odd(line, sheet.title))
    return [dict(zip(sheet.title, line)) for line in sheet.lines]


def odd(line: list[object], title: list[str]) -> str:
    """What is wrong with a row of another length."""
    row = " ".join(map(str, line))[:40]
    return f"the row {shown(row)!r} has {len(line)} values, and {len(title)} columns have names"
