"""STL-10's binary files: images column by column, in planes of red, green and blue."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gankit.data.reading.files import File, FileSet
from gankit.data.reading.formats.packing import (
    Blob,
    Part,
    base_of,
    blob,
    check_labels,
    folder_of,
    one_set,
    packed_set,
)
from gankit.text import shown

SIDE, PIXELS = 96, 3 * 96 * 96
IMAGES = re.compile(r"(?P<part>train|test|unlabeled)_X\.bin")
NAMES = "class_names.txt"
TEN = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


def holds(files: list[File]) -> list[File]:
    """The files with images."""
    return [file for file in files if IMAGES.fullmatch(base_of(file.name))]


def beside(name: str) -> list[str]:
    """The files of labels and of the names of the classes."""
    return [name.replace("_X", "_y"), NAMES] if IMAGES.fullmatch(name) else []


def present(path: Path, source: FileSet, wanted: list[File]) -> FileSet:
    """The images of STL-10.

    Raises:
        ValueError: a file is truncated, or has labels of another count.
    """
    one_set([folder_of(file.name) for file in wanted], "STL-10's files", "give the folder of one")
    folder = folder_of(wanted[0].name)
    by_name = {file.name: file for file in source.files}
    names = list(TEN)
    if of_names := by_name.get(folder + NAMES):
        names = [shown(name) for name in source.read(of_names).decode("utf-8", "replace").split()]
        if len(set(names)) != len(TEN) or len(names) != len(TEN):
            raise ValueError(f"{shown(of_names.name)} has {len(names)} names of classes, and STL-10 has {len(TEN)}")
    parts, notes = [], []
    for file in wanted:
        part = base_of(file.name).partition("_")[0]
        if file.size % PIXELS:
            raise ValueError(
                f"{shown(file.name)} has {file.size:,} bytes, and images of {PIXELS:,} are expected: "
                "it is truncated; fetch it again"
            )
        count, labels = file.size // PIXELS, None
        of_labels = by_name.get(folder + beside(base_of(file.name))[0])
        if of_labels is not None:
            numbers = np.frombuffer(source.read(of_labels), np.uint8).astype(np.int64) - 1  # stored from 1
            labels = check_labels(of_labels.name, numbers, count, len(names))
        elif part != "unlabeled":
            notes.append(f"{shown(file.name)} has no labels: there is no {part}_y.bin beside it.")
        parts.append(Part(part, count, (SIDE, SIDE, 3), _reader(blob(source, file)), labels))
    return packed_set(path, parts, "STL-10's binary files", names, notes)


def _reader(stored: Blob) -> Callable[[int], np.ndarray]:
    """The function that reads the image of a number."""

    def pixels(number: int) -> np.ndarray:
        columns = np.frombuffer(stored.read(number * PIXELS, PIXELS), np.uint8).reshape(3, SIDE, SIDE)
        return columns.transpose(2, 1, 0)

    return pixels
