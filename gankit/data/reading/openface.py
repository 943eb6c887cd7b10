"""The action units of faces in csvs of OpenFace."""

from __future__ import annotations

import math
import os
import re

from gankit.data.reading import rowfiles
from gankit.data.reading.files import File
from gankit.data.reading.matching import Table, entries
from gankit.data.reading.metadata import Row
from gankit.data.reading.rowfiles import Sheet
from gankit.text import shown

UNIT = re.compile(r"(AU\d\d)_r")  # OpenFace's intensities, 0 to 5; AU.._c is binary
SURE = 0.7  # OpenFace's confidence, 0 to 1; a face with less counts as not found


def has_units(sheet: Sheet) -> bool:
    """Whether this is a csv of OpenFace."""
    return any(map(UNIT.fullmatch, sheet.title))


def face(text: str, name: str) -> dict[str, float]:
    """The action units, 0 to 1, of the face with the highest confidence in a csv of OpenFace.

    Args:
        text: content of the csv.
        name: of the csv, for errors.

    Raises:
        ValueError: it is not a table of OpenFace, or has no face.
    """
    sheet = rowfiles.csv_sheet(text)
    if not has_units(sheet):
        raise ValueError("this is no table of OpenFace: it has no columns such as AU12_r")
    table = Table(name, [])
    add_face(table, name, entries(sheet))
    if table.bad:
        raise ValueError(table.bad[0][1])
    return {unit: value for unit, value in table.rows[name].items() if isinstance(value, float)}


def of_images(faces: list[tuple[File, Sheet]], images: list[str]) -> Table:
    """A csv for each image, with the image's name; or one for each folder of images, with a row for each frame."""
    by_stem = {_stem(file.name): (file, sheet) for file, sheet in faces}
    by_image = {image: by_stem.pop(_stem(image)) for image in images if _stem(image) in by_stem}
    folders = {image: os.path.basename(os.path.dirname(image)) for image in images}
    table = Table("OpenFace's csv", [], complete=True)
    if not by_image and len(by_stem) == 1 and not by_stem.keys() & set(folders.values()):
        sequences = [(next(iter(by_stem.values())), images)]
    else:
        sequences = [(face, [i for i in images if folders[i] == name]) for name, face in by_stem.items()]
    for (file, sheet), sequence in [*((face, [image]) for image, face in by_image.items()), *sequences]:
        if not sequence:
            continue
        table.files.append(file)
        try:
            rows = entries(sheet)
            groups = {sequence[0]: rows} if sequence[0] in by_image else _frames(rows, sequence)
            for image, group in groups.items():
                add_face(table, image, group)
        except ValueError as error:
            raise ValueError(f"{shown(file.name)}: {error}") from error
    if by_image:
        named = {*table.rows, *(name for name, _ in table.bad)}
        table.bad += [
            (image, f"has no {_stem(image)}.csv: OpenFace found no face in it, or did not see it")
            for image in images
            if image not in named
        ]
    return table


def _frames(rows: list[Row], sequence: list[str]) -> dict[str, list[Row]]:
    """The rows of each image of a sequence. Frames are numbered in the order of the images' names."""
    frames: dict[int, list[Row]] = {}
    for row in rows:
        if not str(row.get("frame", "")).isdigit():
            raise ValueError(
                "its rows are of no image here: it has neither a column file_name with the images' names "
                "nor a column frame with their numbers"
            )
        frames.setdefault(int(str(row["frame"])), []).append(row)
    if len(frames) != len(sequence):
        raise ValueError(
            f"has {len(frames)} frames, and there are {len(sequence)} images: frames are matched with images "
            "in the order of their names, so there must be as many; or add a column file_name with the images' names"
        )
    return {image: frames[number] for image, number in zip(sorted(sequence), sorted(frames))}


def add_face(table: Table, image: str, rows: list[Row]) -> None:
    """Add the intensities of the face with the highest confidence, divided by 5; or why there is no face.

    Raises:
        ValueError: an intensity is not a number from 0 to 5.
    """
    row = max(rows, key=lambda row: _number(row, "confidence", 1.0))
    confidence = _number(row, "confidence", 1.0)
    if not _number(row, "success", 1.0):
        table.bad.append((image, "OpenFace found no face in it (success 0)"))
    elif confidence < SURE:
        table.bad.append((image, f"OpenFace is not sure of a face in it (confidence {confidence:g}, below {SURE})"))
    else:
        units = {match[1]: _number(row, name, -1.0) for name in row if (match := UNIT.fullmatch(name))}
        for name, value in units.items():
            if not 0 <= value <= 5:
                raise ValueError(
                    f"{name}_r of {shown(image)} is {row[f'{name}_r']!r}, and OpenFace's intensities are 0 to 5"
                )
        table.rows[image] = {name: value / 5 for name, value in units.items()} | {
            k: v for k, v in row.items() if k in ("label", "text")
        }


def _number(row: Row, name: str, default: float) -> float:
    try:
        return float(str(row.get(name, default)))
    except ValueError:
        return math.nan


def _stem(name: str) -> str:
    return os.path.splitext(os.path.basename(name))[0]
