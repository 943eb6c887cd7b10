"""Tables of other programs: CelebA's list of attributes, any csv, and the action units of OpenFace."""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from gankit.data.reading.endings import IMAGES, TABLES
from gankit.data.reading.files import CELEBA, File, FileSet
from gankit.data.reading.metadata import MOST_COLUMNS, SIGNS, Row, binary, canonical, refuse_many
from gankit.text import shown

TITLES = (  # of columns that name images
    "file_name", "filename", "file", "image", "image_id", "image_name", "img", "name", "path", "id",
)  # fmt: skip
UNIT = re.compile(r"(AU\d\d)_r")  # OpenFace's intensities, 0 to 5; AU.._c is binary
SURE = 0.7  # OpenFace's confidence, 0 to 1; a face with less counts as not found
Lines = Sequence[Sequence[str | float]]  # the rows of a table, without its titles


@dataclass
class Table:
    """The rows of a table that belong to images.

    Args:
        name: name of the table in messages.
        files: that were read.
        rows: by image name.
        bad: images that cannot be used, with the reason.
        warnings: what a user should know, in plain sentences.
    """

    name: str
    files: list[File]
    rows: dict[str, Row] = field(default_factory=dict)
    bad: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def find(source: FileSet, images: list[str]) -> Table | None:
    """The first table that names some of these images: CelebA's list, a csv, or csvs of OpenFace; or None.

    Raises:
        ValueError: a table names images, but cannot be used.
    """
    named = Named(images)
    lists = [file for file in source.files if os.path.basename(file.name) == CELEBA[0]]
    csvs = [file for file in source.files if file.name.lower().endswith(TABLES)]
    csvs.sort(key=lambda file: (file.name.startswith("../"), file.name.count("/"), file.name))
    faces: list[tuple[File, list[str], Lines]] = []
    for file in lists + csvs:
        text = _text(source, file)
        try:
            title, rows = _celeba(text) if file in lists else _csv(text)
            if not title:
                continue
            units = any(UNIT.fullmatch(name) for name in title)
            place = 0 if file in lists else _naming(title, rows, named)
            if place is not None and any(len(row) > place and named.find(str(row[place])) for row in rows):
                return _by_name(file, title, rows, place, named, units)
        except ValueError as error:
            raise ValueError(f"{shown(file.name)}: {error}") from error
        if units:
            faces.append((file, title, rows))
    return _openface(faces, images) if faces else None


class Named:
    """Images by name, with and without folders and endings."""

    def __init__(self, images: list[str]):
        self.places: dict[str, list[str]] = {}
        for image in images:
            for name in _variants(image):
                self.places.setdefault(name, []).append(image)

    def find(self, text: str) -> str | None:
        """The image with this name. Raises ValueError if there are several."""
        for name in [text] if text in self.places else _variants(text):
            if images := self.places.get(name):
                if len(images) > 1:
                    first, second = map(shown, images[:2])
                    raise ValueError(f"{text!r} names several images, {first} and {second}: write their folders, too")
                return images[0]
        return None


def _variants(name: str) -> list[str]:
    """A name, then the same without its folders, one by one; each with and without its ending."""
    parts = canonical(name.strip()).split("/")
    tails = ["/".join(parts[i:]) for i in range(len(parts))]
    return list(dict.fromkeys(name for tail in tails if tail for name in (tail, os.path.splitext(tail)[0])))


def _text(source: FileSet, file: File) -> str:
    try:
        return source.read(file).decode("utf-8-sig")
    except ValueError:  # it may be no table of images; if it is one, errors about missing rows follow
        return ""


def _celeba(text: str) -> tuple[list[str], Lines]:
    """Titles and rows of CelebA's list: a count, then a line of attribute names, then files with 1 or -1 for each."""
    lines = text.splitlines()
    if len(lines) < 3 or not lines[0].strip().isdigit():
        raise ValueError("the first line must be the number of images, the second the names of the attributes")
    rows: list[list[str | float]] = []
    for file, *values in map(str.split, filter(str.strip, lines[2:])):
        if odd := set(values) - SIGNS.keys():
            raise ValueError(f"{min(odd)!r}, in the line of {shown(file)}, is neither 1 nor -1")
        rows.append([file, *map(SIGNS.__getitem__, values)])
    return ["file_name", *lines[1].split()], rows


def face(text: str, name: str) -> dict[str, float]:
    """The action units, 0 to 1, of the face with the highest confidence in a csv of OpenFace.

    Args:
        text: content of the csv.
        name: of the csv, for errors.

    Raises:
        ValueError: it is not a table of OpenFace, or has no face.
    """
    title, lines = _csv(text)
    if not any(map(UNIT.fullmatch, title)):
        raise ValueError("this is no table of OpenFace: it has no columns such as AU12_r")
    table = Table(name, [])
    _face(table, name, _rows(title, lines))
    if table.bad:
        raise ValueError(table.bad[0][1])
    return {unit: value for unit, value in table.rows[name].items() if isinstance(value, float)}


def _csv(text: str) -> tuple[list[str], Lines]:
    """Titles and rows of a csv with commas, semicolons or tabs; OpenFace writes a space after each comma."""
    first = text.partition("\n")[0]
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), skipinitialspace=True)
    try:
        title = [cell.strip() for cell in next(filter(None, lines), [])]
        if len(title) > MOST_COLUMNS and not any(map(_is_image_title, title)):  # a table of something else
            return [], []
        refuse_many(len(title))
        rows = [[cell.strip() for cell in line] for line in lines if line]
    except csv.Error:
        return [], []
    return (title, rows) if rows else ([], [])


def _naming(title: list[str], rows: Lines, named: Named) -> int | None:
    """The column that names images, by its title or by the endings of its values."""
    for place, name in enumerate(title):
        values = [str(row[place]) for row in rows[:100] if len(row) > place]
        if not (_is_image_title(name) or any(value.lower().endswith(IMAGES) for value in values)):
            continue
        if any(len(row) > place and set(_variants(str(row[place]))) & named.places.keys() for row in rows):
            return place
    return None


def _is_image_title(name: str) -> bool:
    """Whether this is the title of a column that names images."""
    return re.sub(r"\W+", "_", name.lower()) in TITLES


def _by_name(file: File, title: list[str], lines: Lines, place: int, named: Named, units: bool) -> Table:
    """A table with a row for each image."""
    table = Table(shown(os.path.basename(file.name)), [file])
    here = [line for line in lines if len(line) <= place or named.find(str(line[place]))]
    groups: dict[str, list[Row]] = {}
    for row in _rows(title, here):
        if image := named.find(str(row.pop(title[place]))):
            groups.setdefault(image, []).append(row)
    if strangers := len(lines) - len(here):
        table.warnings.append(
            f"{table.name}: {strangers:,} of its {len(lines):,} rows are of images that are not here."
        )
    for image, group in groups.items():
        if units:
            _face(table, image, group)
        elif len(group) > 1:
            raise ValueError(f"{shown(image)} has {len(group)} rows")
        else:
            table.rows[image] = group[0]
    binary(list(table.rows.values()))
    return table


def _openface(faces: list[tuple[File, list[str], Lines]], images: list[str]) -> Table | None:
    """A csv for each image, with the image's name; or one for each folder of images, with a row for each frame."""
    by_stem = {_stem(file.name): (file, title, lines) for file, title, lines in faces}
    by_image = {image: by_stem.pop(_stem(image)) for image in images if _stem(image) in by_stem}
    folders = {image: os.path.basename(os.path.dirname(image)) for image in images}
    table = Table("OpenFace's csv", [])
    if not by_image and len(by_stem) == 1 and not by_stem.keys() & set(folders.values()):
        sequences = [(next(iter(by_stem.values())), images)]
    else:
        sequences = [(face, [i for i in images if folders[i] == name]) for name, face in by_stem.items()]
    for (file, title, lines), sequence in [*((face, [image]) for image, face in by_image.items()), *sequences]:
        if not sequence:
            continue
        table.files.append(file)
        try:
            rows = _rows(title, lines)
            groups = {sequence[0]: rows} if sequence[0] in by_image else _frames(rows, sequence)
            for image, group in groups.items():
                _face(table, image, group)
        except ValueError as error:
            raise ValueError(f"{shown(file.name)}: {error}") from error
    if by_image:
        named = {*table.rows, *(name for name, _ in table.bad)}
        table.bad += [
            (image, f"has no {_stem(image)}.csv: OpenFace found no face in it, or did not see it")
            for image in images
            if image not in named
        ]
    return table if table.files else None


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


def _face(table: Table, image: str, rows: list[Row]) -> None:
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


def _rows(title: list[str], lines: Lines) -> list[Row]:
    if twice := [name for name, n in Counter(title).items() if n > 1]:
        raise ValueError(f"the column {twice[0]!r} is there twice")
    for line in lines:
        if len(line) != len(title):
            raise ValueError(
                f"the row {' '.join(map(str, line))[:40]!r} has {len(line)} values, and {len(title)} columns have names"
            )
    return [dict(zip(title, line)) for line in lines]


def _stem(name: str) -> str:
    return os.path.splitext(os.path.basename(name))[0]
