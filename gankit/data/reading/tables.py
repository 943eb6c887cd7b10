"""Tables of images: CelebA's list of attributes, any csv, and the action units of OpenFace."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from dataclasses import dataclass, field

from gankit.data.reading import records
from gankit.data.reading.endings import IMAGES, TABLES
from gankit.data.reading.files import CELEBA, File, FileSet
from gankit.data.reading.metadata import Row, binary, canonical, columns, known, merged
from gankit.data.reading.records import Sheet
from gankit.text import shown

UNIT = re.compile(r"(AU\d\d)_r")  # OpenFace's intensities, 0 to 5; AU.._c is binary
SURE = 0.7  # OpenFace's confidence, 0 to 1; a face with less counts as not found


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


def find(source: FileSet, images: list[str], skip_bad: bool) -> Table | None:
    """The labels, captions and attributes of these images in CelebA's list, in csvs, or in csvs of OpenFace.

    A csv speaks for the images below its own folder, or for all where it names none of those. Of tables that name all
    images, those with one row for each come first; the first is taken, with labels and captions from the first that has
    some. Tables that cannot be used give a warning. CelebA's list and OpenFace's csvs may lack images if `skip_bad` is
    given.

    Returns:
        The table; None if no table names images. It has no rows if none can be used.
    """
    scopes = Scopes(images)
    lists = [file for file in source.files if os.path.basename(file.name) == CELEBA[0]]
    csvs = [file for file in source.files if file.name.lower().endswith(TABLES)]
    csvs.sort(key=lambda file: (file.name.startswith("../"), file.name.count("/"), file.name))
    faces: list[tuple[File, Sheet]] = []
    refused = Table("", [])
    candidates: list[Table] = []
    for file in lists + csvs:
        try:
            sheet = _sheet(source, file)
            table = attach(file, sheet, scopes) if sheet.title else None
        except ValueError as error:
            refused.files.append(file)
            refused.refuse(f"{shown(file.name)} is not used: {error}")
            continue
        if table:
            candidates.append(table)
        elif any(map(UNIT.fullmatch, sheet.title)):
            faces.append((file, sheet))
    try:
        candidates += [_openface(faces, images)] if faces and not candidates else []
    except ValueError as error:
        refused.files += [file for file, _ in faces]
        refused.refuse(str(error))
    usable = [table for table in _combined(candidates) if _usable(table, images, skip_bad, refused)]
    if not usable:
        return refused if refused.warnings else None
    table = _together(sorted(usable, key=lambda table: table.several))
    table.warnings = refused.warnings + table.warnings
    table.faults = refused.faults | table.faults
    table.files += refused.files
    return table


def _usable(table: Table, images: list[str], skip_bad: bool, refused: Table) -> bool:
    """Whether a table knows something of all images; if not, `refused` gets the reason."""
    binary(list(table.rows.values()))
    if not table.complete and not any(table.rows.values()):  # only says which part an image is in
        return False
    unusable = {name for name, _ in table.bad}
    missing = [image for image in images if image not in table.rows and image not in unusable]
    if table.complete and (skip_bad or not (missing or table.bad)):
        return True
    if not table.bad and not missing and (table.faults or known_columns(table)):
        return True
    refused.files += table.files
    refused.warnings += table.warnings
    if not (table.bad or missing):
        refused.warnings += columns(list(table.rows.values()), table.name).warnings
    else:
        reasons = [*table.bad, *((image, f"has no row in {table.name}") for image in missing)]
        first = "; ".join(f"{shown(image)}: {reason}" for image, reason in reasons[:3])
        flags = "--skip-bad" if table.complete else f"--labels {table.name} --skip-bad"
        refused.refuse(
            f"{table.name} is not used, as it lacks {len(reasons):,} of the {len(images):,} images ({first}); "
            f"to learn from the others alone, add {flags}"
        )
    return False


def known_columns(table: Table) -> bool:
    """Whether the first row of a table has a label, a text or a number."""
    first = columns([*table.rows.values()][:1], "")
    return bool(first.labels or first.captions or first.attribute_names or first.faults)


def _combined(tables: list[Table]) -> list[Table]:
    """Tables of separate folders that have the same columns as one."""
    groups: list[list[Table]] = []
    for table in tables:
        group = next((g for g in groups if all(_apart(table, other) for other in g)), None)
        if group is None:
            groups.append([table])
        else:
            group.append(table)
    combined = []
    for group in groups:
        names = list(dict.fromkeys(table.name for table in group))
        whole = Table(names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} others", [])
        whole.title, whole.complete = group[0].title, all(table.complete for table in group)
        for table in group:
            whole.files += table.files
            whole.several |= table.several
            whole.rows |= table.rows
            whole.bad += table.bad
            whole.warnings += table.warnings
            whole.faults |= table.faults
        combined.append(whole)
    return combined


def _apart(a: Table, b: Table) -> bool:
    """Whether two tables have the same columns, are of separate folders, and name other images."""
    places = [os.path.dirname(table.files[0].name) for table in (a, b)]
    return places[0] != places[1] and a.title == b.title and not a.rows.keys() & b.rows.keys()


def _together(tables: list[Table]) -> Table:
    """The first table, with labels and captions of the first that has some."""
    first = tables[0]
    for role in ("label", "text"):
        has_role = [table for table in tables if any(row.get(role) not in (None, "") for row in table.rows.values())]
        if not has_role or has_role[0] is first:
            continue
        other = has_role[0]
        first.rows = {image: row | {role: other.rows.get(image, {}).get(role)} for image, row in first.rows.items()}
        first.name += f" and {other.name}"
        first.files += [file for file in other.files if file not in first.files]
        first.warnings += [note for note in other.warnings if note not in first.warnings]
        first.faults |= other.faults
    return first


class Named:
    """Images by name, with and without folders and endings."""

    def __init__(self, images: list[str], folder: str = ""):
        self.places: dict[str, list[str]] = {}
        for image in images:
            for name in _variants(image.removeprefix(folder)):
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


class Scopes:
    """The images that a file may name: those below its own folder first, then all."""

    def __init__(self, images: list[str]):
        self.images = images
        self.below: dict[str, Named] = {"": Named(images)}

    def of(self, name: str) -> list[Named]:
        """The images for the names in this file, in the order to search."""
        folder = os.path.dirname(name) + "/"
        inside = [] if folder == "/" or folder.startswith("..") else [i for i in self.images if i.startswith(folder)]
        if not inside:
            return [self.below[""]]
        if folder not in self.below:
            self.below[folder] = Named(inside, folder)
        return [self.below[folder], self.below[""]]


def _variants(name: str) -> list[str]:
    """A name, then the same without its folders, one by one; each with and without its ending."""
    parts = canonical(name.strip()).split("/")
    tails = ["/".join(parts[i:]) for i in range(len(parts))]
    return list(dict.fromkeys(name for tail in tails if tail for name in (tail, os.path.splitext(tail)[0])))


def _sheet(source: FileSet, file: File) -> Sheet:
    """The titles and rows of a table. Raises ValueError: it is no text, or CelebA's list in another form."""
    text = records.decoded(source.read(file))
    return records.celeba(text) if os.path.basename(file.name) == CELEBA[0] else records.csv_sheet(text)


def face(text: str, name: str) -> dict[str, float]:
    """The action units, 0 to 1, of the face with the highest confidence in a csv of OpenFace.

    Args:
        text: content of the csv.
        name: of the csv, for errors.

    Raises:
        ValueError: it is not a table of OpenFace, or has no face.
    """
    sheet = records.csv_sheet(text)
    if not any(map(UNIT.fullmatch, sheet.title)):
        raise ValueError("this is no table of OpenFace: it has no columns such as AU12_r")
    table = Table(name, [])
    _face(table, name, _rows(sheet))
    if table.bad:
        raise ValueError(table.bad[0][1])
    return {unit: value for unit, value in table.rows[name].items() if isinstance(value, float)}


def naming(sheet: Sheet, named: Named) -> int | None:
    """The column that names images, by its title or by the endings of its values."""
    for place, name in enumerate(sheet.title):
        values = [str(row[place]) for row in sheet.lines[:100] if len(row) > place]
        if not (records.names_images(name) or any(value.lower().endswith(IMAGES) for value in values)):
            continue
        if any(len(row) > place and set(_variants(str(row[place]))) & named.places.keys() for row in sheet.lines):
            return place
    return None


def attach(file: File, sheet: Sheet, scopes: Scopes) -> Table | None:
    """The rows of a table by the images that they name; None if they name none.

    Raises:
        ValueError: a name stands for several images, or a column is there twice.
    """
    named, place = next(
        ((named, place) for named in scopes.of(file.name) if (place := naming(sheet, named)) is not None), (None, None)
    )
    if named is None or place is None:
        return None
    table = Table(shown(os.path.basename(file.name)), [file], title=sheet.title)
    units = any(map(UNIT.fullmatch, sheet.title))
    table.complete = units or os.path.basename(file.name) == CELEBA[0]
    images = [named.find(str(line[place])) if len(line) > place else None for line in sheet.lines]
    known_lines = [(image, line) for image, line in zip(images, sheet.lines) if image]
    if strangers := len(images) - len(known_lines):
        table.warnings.append(
            f"{table.name}: {strangers:,} of its {len(images):,} rows are of images that are not here."
        )
    whole = [(image, line) for image, line in known_lines if len(line) == len(sheet.title)]
    if short := len(known_lines) - len(whole):
        line = next(line for _, line in known_lines if len(line) != len(sheet.title))
        table.warnings.append(f"{table.name}: {short:,} of its rows are not read: {_odd(line, sheet.title)}.")
    rows = _rows(Sheet(sheet.title, [line for _, line in whole]))
    for row in rows:
        del row[sheet.title[place]]
    groups: dict[str, list[Row]] = {}
    for (image, _), row in zip(whole, known(rows)):
        groups.setdefault(image, []).append(row)
    if units:
        for image, group in groups.items():
            _face(table, image, group)
    else:
        table.rows, notes, table.faults = merged(groups, table.name)
        table.several = any(len(group) > 1 for group in groups.values())
        table.warnings += notes
    return table


def _openface(faces: list[tuple[File, Sheet]], images: list[str]) -> Table:
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
            rows = _rows(sheet)
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


def _rows(sheet: Sheet) -> list[Row]:
    if twice := [name for name, n in Counter(sheet.title).items() if n > 1]:
        raise ValueError(f"the column {shown(twice[0])!r} is there twice")
    for line in sheet.lines:
        if len(line) != len(sheet.title):
            raise ValueError(_odd(line, sheet.title))
    return [dict(zip(sheet.title, line)) for line in sheet.lines]


def _odd(line: list[object], title: list[str]) -> str:
    """What is wrong with a row of another length."""
    row = " ".join(map(str, line))[:40]
    return f"the row {shown(row)!r} has {len(line)} values, and {len(title)} columns have names"


def _stem(name: str) -> str:
    return os.path.splitext(os.path.basename(name))[0]
