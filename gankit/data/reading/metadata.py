"""Labels, captions and attributes from metadata.csv, metadata.jsonl or dataset.json, and captions from .txt files."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field

from gankit.data import captions
from gankit.data.reading.endings import TEXTS
from gankit.data.reading.files import File, FileSet, listed
from gankit.text import shown

FILES = ("metadata.csv", "metadata.jsonl", "dataset.json")
Row = dict[str, object]
MOST_COLUMNS = 10_000
PART_COLUMNS = ("split", "partition", "subset", "set", "fold")  # say the part of an image, as `splits` reads them
HALF = re.compile("[\ud800-\udfff]")
SIGNS = {"1": 1.0, "-1": 0.0, "1.0": 1.0, "-1.0": 0.0, 1: 1.0, -1: 0.0}  # values of binary attributes


@dataclass
class Metadata:
    """Labels, captions and attributes of N images, in their order; each may be empty.

    Args:
        labels: N class numbers.
        class_names: name of each class.
        captions: N texts, one caption per line.
        attributes: N lists of A numbers.
        attribute_names: the A names.
        warnings: what was not used, in plain sentences.
    """

    labels: list[int] = field(default_factory=list)
    class_names: list[str] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    attributes: list[list[float]] = field(default_factory=list)
    attribute_names: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def canonical(name: str) -> str:
    """A file name in Unicode's form NFC, for comparison: some systems store accents as separate characters."""
    return unicodedata.normalize("NFC", name.replace("\\", "/").removeprefix("./"))


def read(name: str, data: bytes) -> dict[str, Row] | None:
    """The rows of a metadata file by canonical file name; None for a dataset.json without labels.

    Raises:
        ValueError: the content does not fit the name of the file.
    """
    try:
        text = data.decode("utf-8-sig")
        rows = {"metadata.csv": _csv, "metadata.jsonl": _jsonl, "dataset.json": _stylegan}[name](text)
        if name != "metadata.csv":
            _refuse_surrogates(rows)
    except (ValueError, csv.Error, RecursionError) as error:
        raise ValueError(f"cannot be used: {error}") from error
    if rows is None:
        return None
    table: dict[str, Row] = {}
    binary(rows)
    for number, row in enumerate(rows, 1):
        file = row.pop("file_name", None)
        if not isinstance(file, str) or not file:
            raise ValueError(f"row {number}: file_name is missing")
        if canonical(file) in table:
            raise ValueError(f"row {number}: {shown(file)!r} has a row already")
        table[canonical(file)] = row
    return table


def binary(rows: list[Row]) -> None:
    """Replace -1 by 0 in columns that hold only 1 and -1, in place: these are binary attributes."""
    for column in {column for row in rows for column in row} - {"file_name", "label", "text"}:
        values = [row.get(column) for row in rows]
        if not all(isinstance(v, (str, int, float)) and v in SIGNS for v in values):
            continue
        if any(SIGNS[v] == 0 for v in values):
            for row in rows:
                row[column] = SIGNS[row[column]]


def captions_beside(
    source: FileSet, wanted: list[File]
) -> tuple[dict[str, File], dict[str, str], list[tuple[str, str]]]:
    """The .txt files beside images: files and texts by the image's name, and unusable ones with the reason."""
    text_files = {file.name: file for file in source.files if file.name.lower().endswith(TEXTS)}
    by_image, texts, bad = {}, {}, []
    for image in wanted:
        stem = os.path.splitext(image.name)[0]
        names = f"{stem}.txt", f"{stem}.TXT", f"{image.name}.txt"
        file = next((text_files[name] for name in names if name in text_files), None)
        if file is None:
            continue
        by_image[image.name] = file
        try:
            content = source.read(file) if file.size <= captions.MOST_BYTES else None
            texts[image.name] = captions.text_of(content)
        except ValueError as error:
            bad.append((shown(file.name), str(error)))
    return by_image, texts, bad


def columns(rows: list[Row], name: str) -> Metadata:
    """The columns of the rows, one row per image: `label`, `text`, and all columns of numbers.

    Raises:
        ValueError: a column has a value for some images only, or a number that is not finite.
    """
    result = Metadata()
    ignored, attributes = [], []
    for column in dict.fromkeys(column for row in rows for column in row):
        values = [row.get(column) for row in rows]
        if all(value in (None, "") for value in values) or column.lower() in PART_COLUMNS:
            continue
        if column == "text":
            several = ["\n".join(map(str, value)) if isinstance(value, list) else value for value in values]
            result.captions = ["" if value is None else str(value) for value in several]
            continue
        numbers = [_number(value) for value in values]
        if column != "label" and any(n is None and v not in (None, "") for n, v in zip(numbers, values)):
            ignored.append(column)
            continue
        if None in values or "" in values:
            empty = sum(value in (None, "") for value in values)
            raise ValueError(
                f"{name}: {shown(column)!r} is empty for {empty:,} of {len(values):,} images; "
                "fill it in, or leave it out"
            )
        if column == "label":
            if odd := [value for value, n in zip(values, numbers) if n is not None and not math.isfinite(n)]:
                raise ValueError(
                    f"{name}: 'label' is {odd[0]} for {len(odd):,} of {len(values):,} images; "
                    "fill it in, leave it out, or call the class something else"
                )
            result.labels, result.class_names = _classes(values, numbers)
        elif all(n is not None and math.isfinite(n) for n in numbers):
            result.attribute_names.append(column)
            attributes.append(numbers)
        else:
            raise ValueError(f"{name}: {shown(column)!r} holds a number that is not finite")
    result.attributes = [list(row) for row in zip(*attributes)]
    if ignored:
        names = ", ".join(listed((repr(shown(column)) for column in ignored), len(ignored)))
        result.warnings.append(f"{name}: not used, as they hold more than numbers: {names}.")
    if len(result.class_names) == 1:
        result.warnings.append(f"{name}: every label is {shown(result.class_names[0])!r}, so there are no classes.")
        result.labels, result.class_names = [], []
    return result


def refuse_many(count: int) -> None:
    """Check that a table has at most MOST_COLUMNS columns. Raises ValueError."""
    if count > MOST_COLUMNS:
        raise ValueError(
            f"it has {count:,} columns, and {MOST_COLUMNS:,} are the most: leave out those that are not for training"
        )


def _csv(text: str) -> list[Row]:
    table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    titles = table.fieldnames or []
    if "file_name" not in titles:
        raise ValueError(f"there is no column file_name; its first line is {text.partition(chr(10))[0][:80]!r}")
    refuse_many(len(titles))
    if twice := [title for title, count in Counter(titles).items() if count > 1]:
        raise ValueError(f"the column {shown(twice[0])!r} is there twice")
    rows = []
    for row in table:
        if None in row or None in row.values():
            raise ValueError(f"line {table.line_num}: not as many values as the first line has names")
        rows.append(dict(row))
    return rows


def _jsonl(text: str) -> list[Row]:
    rows, columns = [], set[str]()
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line, object_pairs_hook=_once))
        except ValueError as error:
            raise ValueError(f"line {number}: {getattr(error, 'msg', error)}") from error
        if not isinstance(rows[-1], dict):
            raise ValueError(f'line {number}: it must be an object such as {{"file_name": "a.png", "text": "a cat"}}')
        columns |= rows[-1].keys()
        refuse_many(len(columns))
    return rows


def _stylegan(text: str) -> list[Row] | None:
    pairs = json.loads(text, object_pairs_hook=_once)
    pairs = pairs.get("labels", 0) if isinstance(pairs, dict) else 0
    if pairs is None:
        return None
    if not isinstance(pairs, list) or not all(
        isinstance(p, list) and len(p) == 2 and isinstance(p[1], int) for p in pairs
    ):
        raise ValueError(
            '"labels" must be null, or pairs of a file and a whole number: {"labels": [["a.png", 0], ...]}'
        )
    return [{"file_name": file, "label": label} for file, label in pairs]


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object without repeated names. Raises ValueError."""
    unique = dict(pairs)
    if len(unique) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"{shown(twice)!r} is there twice")
    return unique


def _refuse_surrogates(rows: list[Row] | None) -> None:
    """Refuse unpaired surrogates such as \\ud800, which JSON can hold and no encoding can write."""
    for number, row in enumerate(rows or [], 1):
        for value in [*row, *row.values()]:
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str) and HALF.search(text):
                    raise ValueError(f"row {number}: '{shown(text)[:80]}' holds half a letter; write the file in UTF-8")


def _number(value: object) -> float | None:
    if value.__class__ is float:
        return value
    try:
        return float(value) if isinstance(value, (str, int, float)) else None
    except (ValueError, OverflowError):
        return None


def _classes(values: list[object], numbers: list[float | None]) -> tuple[list[int], list[str]]:
    """Class numbers 0..K-1 and class names, sorted as numbers if all labels are integers, else as text."""
    whole = all(n is not None and n == n // 1 for n in numbers)
    keys = [f"{n:.0f}" for n in numbers] if whole else [str(value) for value in values]
    names = sorted(set(keys), key=int if whole else None)
    places = {name: i for i, name in enumerate(names)}
    return [places[key] for key in keys], names
