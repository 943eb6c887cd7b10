"""Lists that divide the images of a data set into parts: split files of published sets, and columns of tables."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

from gankit.data.reading import layout
from gankit.data.reading.files import File, FileSet
from gankit.data.reading.formats import matlab
from gankit.data.reading.matching import variants
from gankit.data.reading.rowfiles import csv_sheet
from gankit.text import shown

CELEBA = ("list_eval_partition.txt", "list_eval_partition.csv")
NUMBERED = {"0": "train", "1": "val", "2": "test"}  # CelebA's parts
LIST = re.compile(r"([a-z]+)(?:[_\-]?(?:list|files?|images?|imgs?|set|split|names|ids))?\.(?:txt|lst)", re.I)
COLUMNS = ("split", "partition", "subset", "set")
TABLES = (".csv", ".tsv", ".jsonl")
MOST_TABLES = 50  # more are no tables of a whole set: OpenFace writes one for each image
MOST_BYTES = 2**26  # of a list
PREFERRED = ("segmentation", "main")  # folders of VOC's lists, which also has others


class Split(NamedTuple):
    """A division into parts.

    Args:
        files: names of the lists.
        parts: the part of each image that a list names.
        missing: names of the part train that are no images, with the reason.
    """

    files: list[str]
    parts: dict[str, str]
    missing: list[tuple[str, str]]


class Index:
    """Images by their names, with and without folders and endings, where these are unique."""

    def __init__(self, images: Iterable[str]):
        self.images = images

    @cached_property
    def by_name(self) -> dict[str, str]:
        """The images by all these names; most sets have no lists that ask for one."""
        by_name: dict[str, str] = {}
        ambiguous = set()
        for image in self.images:
            for name in variants(image):
                if by_name.setdefault(name, image) != image:
                    ambiguous.add(name)
        for name in ambiguous:
            del by_name[name]
        return by_name

    def find(self, text: str) -> str | None:
        """The image with this name, or with the end of this name."""
        names = variants(text.strip().strip('"'))
        return next((self.by_name[name] for name in names if name in self.by_name), None)


def find(source: FileSet, images: Sequence[str]) -> Split | None:
    """The division of the images by the first kind of list that is there; None if there is none.

    Lists name images, and label maps of the same name belong to the part of their image.
    """
    maps = [name for name in images if any(map(layout.is_map_folder, name.split("/")[:-1]))]
    index = Index(sorted({*images} - {*maps}) or images)
    for reader in (_rows, _celeba, _cub, _flowers, _lists, _column):
        if split := reader(source, index):
            stems = {os.path.splitext(os.path.basename(name))[0]: part for name, part in split.parts.items()}
            of_maps = {name: stems.get(os.path.splitext(os.path.basename(name))[0]) for name in maps}
            return split._replace(parts=split.parts | {name: part for name, part in of_maps.items() if part})
    return None


def _rows(source: FileSet, index: Index) -> Split | None:
    """The parts in the rows of a format that holds many images."""
    named = {name: layout.part_of(str(row.get("split", ""))) for name, row in (source.rows or {}).items()}
    return Split(["the file's column split"], named, []) if "train" in named.values() else None


def _celeba(source: FileSet, index: Index) -> Split | None:
    """CelebA's list: a file name and 0, 1 or 2 in each line."""
    file = next((f for f in source.files if os.path.basename(f.name) in CELEBA), None)
    if file is None:
        return None
    lines = [re.split(r"[\s,]+", line) for line in _text(source, file).splitlines()]
    return _split(
        [(file.name, [(line[0], NUMBERED[line[1]]) for line in lines if line[1:2] and line[1] in NUMBERED])], index
    )


def _cub(source: FileSet, index: Index) -> Split | None:
    """CUB's lists: images.txt with a number and a name in each line, train_test_split.txt with a number and 1 or 0."""
    by_name = {file.name: file for file in source.files}
    for name, file in by_name.items():
        beside = name.removesuffix("train_test_split.txt") + "images.txt"
        if os.path.basename(name) != "train_test_split.txt" or beside not in by_name:
            continue
        numbered = [line.split(None, 1) for line in _text(source, by_name[beside]).splitlines()]
        names = {pair[0]: pair[1] for pair in numbered if len(pair) == 2}
        flags = [line.split() for line in _text(source, file).splitlines()]
        entries = [(names.get(f[0], f[0]), "train" if f[1] == "1" else "test") for f in flags if len(f) == 2]
        return _split([(name, entries)], index)
    return None


def _flowers(source: FileSet, index: Index) -> Split | None:
    """The parts in Oxford flowers' setid.mat."""
    parts = matlab.setid(source)
    return (
        Split([matlab.SPLITS], {name: part for part, names in parts.items() for name in names}, []) if parts else None
    )


def _lists(source: FileSet, index: Index) -> Split | None:
    """Lists that are called train.txt, val.txt or similar, in one folder: a name in each line."""
    folders: dict[str, dict[str, File]] = {}
    for file in source.files:
        match = LIST.fullmatch(os.path.basename(file.name))
        if match and (part := layout.WORDS.get(match[1].lower())) and file.size <= MOST_BYTES:
            here = folders.setdefault(os.path.dirname(file.name), {})
            if part not in here or match[1].lower() != "trainval":  # train alone, where both are there
                here[part] = file
    folders = {folder: lists for folder, lists in folders.items() if "train" in lists and len(lists) > 1}
    for folder in sorted(folders, key=lambda f: (_preference(f), f)):
        lists = [(file.name, part, _text(source, file).splitlines()) for part, file in folders[folder].items()]
        first = [line.split()[0] for _, part, lines in lists if part == "train" for line in lines[:100] if line.split()]
        if sum(index.find(name) is not None for name in first) * 2 > len(first):
            return _split(
                [(name, [(_first(line), part) for line in lines if line.split()]) for name, part, lines in lists], index
            )
    return None


def _preference(folder: str) -> int:
    last = os.path.basename(folder).lower()
    return PREFERRED.index(last) if last in PREFERRED else len(PREFERRED)


def _first(line: str) -> str:
    """The name in a line of a list: the line itself, or its first word before numbers and classes."""
    return line.split("\t")[0].split(",")[0].split(None, 1)[0]


def _column(source: FileSet, index: Index) -> Split | None:
    """The column `split`, or similar, of a table with a row for each image."""
    tables = [file for file in source.files if file.name.lower().endswith(TABLES) and file.size <= MOST_BYTES]
    for file in tables if len(tables) <= MOST_TABLES else ():
        rows = _table(_text(source, file), file.name)
        titles = {str(title).strip().lower(): title for row in rows[:1] for title in row}
        column = next((titles[name] for name in COLUMNS if name in titles), None)
        if column is None:
            continue
        words = {layout.part_of(str(row.get(column, "")).strip()) for row in rows}
        if "train" not in words or "" in words or len(words) < 2:
            continue
        naming = next((t for t in titles.values() if rows and index.find(str(rows[0].get(t, "")))), None)
        if naming is not None:
            entries = [(str(row.get(naming, "")), layout.part_of(str(row.get(column, "")).strip())) for row in rows]
            return _split([(f"{file.name} (column {column})", entries)], index)._replace(missing=[])  # tables list them
    return None


def _table(text: str, name: str) -> list[dict[str, object]]:
    """The rows of a csv, tsv or jsonl by their columns; none if it is no table."""
    try:
        if name.lower().endswith(".jsonl"):
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
            return [row for row in rows if isinstance(row, dict)]
        sheet = csv_sheet(text)
        return [dict(zip(sheet.title, line)) for line in sheet.lines]
    except (ValueError, RecursionError):
        return []


def _split(lists: list[tuple[str, list[tuple[str, str]]]], index: Index) -> Split:
    """The parts of images in lists of (name, part); an image in two parts belongs to the held-out one."""
    parts: dict[str, str] = {}
    missing: list[tuple[str, str]] = []
    for file, entries in lists:
        for name, part in entries:
            image = index.find(name)
            if image is None:
                missing += [(shown(name), f"in {shown(file)}, but not there")] * (part == "train")
            elif parts.get(image, "train") == "train":
                parts[image] = part
    return Split([shown(file) for file, _ in lists], parts, missing)


def _text(source: FileSet, file: File) -> str:
    """The text of a list; empty if it cannot be read, as it then divides nothing."""
    try:
        return source.read(file).decode("utf-8-sig", "replace")
    except ValueError:
        return ""
