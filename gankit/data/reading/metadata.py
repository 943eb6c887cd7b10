"""Labels, captions and attributes of images from the rows of tables, such as those of a metadata.csv."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from gankit.data.reading import classorder
from gankit.data.reading.files import listed
from gankit.text import shown

FILES = ("metadata.csv", "metadata.jsonl", "dataset.json")
Row = dict[str, object]
MOST_COLUMNS = 10_000
PART_COLUMNS = ("split", "partition", "subset", "set", "fold")  # say the part of an image, as `splits` reads them
LABELS = ("label", "class", "category", "target", "class_name", "y", "labels")  # titles of columns, best first
TEXTS = ("text", "caption", "sentence", "prompt", "description", "comment", "captions")
BOXES = (  # of objects in an image
    "x", "y", "w", "h", "width", "height", "xmin", "ymin", "xmax", "ymax", "x_min", "y_min", "x_max", "y_max", "x1",
    "y1", "x2", "y2", "left", "top", "right", "bottom", "xc", "yc", "cx", "cy", "x_center", "y_center", "bbox", "box",
    "boxes", "bboxes", "segmentation", "area", "iscrowd",
)  # fmt: skip
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
        faults: why there are no "labels" or "attributes", where a table has them.
    """

    labels: list[int] = field(default_factory=list)
    class_names: list[str] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    attributes: list[list[float]] = field(default_factory=list)
    attribute_names: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)


def canonical(name: str) -> str:
    """A file name in Unicode's form NFC, for comparison: some systems store accents as separate characters."""
    return unicodedata.normalize("NFC", name.replace("\\", "/").removeprefix("./"))


def simple(title: object) -> str:
    """The title of a column in lower case, with one _ for each run of other characters than letters and digits."""
    return re.sub(r"\W+", "_", str(title).strip().lower())


def read(name: str, data: bytes) -> list[Row] | None:
    """The rows of a metadata file, each with a file_name; None for a dataset.json without labels.

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
    for number, row in enumerate(rows or [], 1):
        if not isinstance(row.get("file_name"), str) or not row["file_name"]:
            raise ValueError(f"row {number}: file_name is missing")
    return None if rows is None else known(rows)


def known(rows: list[Row]) -> list[Row]:
    """The rows with the columns `label` and `text`, if there are columns that people call so; without parts.

    A column of numbers is a label by another name only if they are all whole, else an attribute.
    """
    titles = dict.fromkeys(title for row in rows for title in row)
    by_name = {simple(title): title for title in reversed(titles)}
    places = {}
    for role, names in (("label", LABELS), ("text", TEXTS)):
        present = [by_name[name] for name in names if name in by_name and not (name == "y" and "x" in by_name)]
        title = next((t for t in present if role == "text" or simple(t) == "label" or _is_label(rows, t)), None)
        if role not in titles and title is not None:
            places[title] = role
    parts = {title for title in titles if simple(title) in PART_COLUMNS}
    if not places and not parts:
        return rows
    return [{places.get(title, title): row[title] for title in row if title not in parts} for row in rows]


def _is_label(rows: list[Row], title: str) -> bool:
    """Whether the values are words or whole numbers."""
    numbers = [_number(row.get(title)) for row in rows if row.get(title) not in (None, "")]
    return all(number is None or number == number // 1 for number in numbers)


def merged(groups: dict[str, list[Row]], name: str) -> tuple[dict[str, Row], list[str], dict[str, str]]:
    """One row for each image: several texts are several captions, and other columns must agree.

    Args:
        groups: all rows of each image.
        name: of the table, in messages.

    Returns:
        The rows; notes on what was left out; and, by "labels", why those are not used.
    """
    several = [rows for rows in groups.values() if len(rows) > 1]
    if not several:
        return {image: rows[0] for image, rows in groups.items()}, [], {}
    titles = dict.fromkeys(title for rows in groups.values() for row in rows for title in row)
    boxes = {title for title in titles if simple(title) in BOXES}
    unequal = {
        title
        for title in titles.keys() - boxes - {"text"}
        if any(len({repr(row.get(title)) for row in rows}) > 1 for rows in several)
    }
    result = {}
    for image, rows in groups.items():
        result[image] = {title: rows[0].get(title) for title in titles if title not in boxes | unequal | {"text"}}
        if "text" in titles:
            result[image]["text"] = "\n".join(text for row in rows if (text := lines(row.get("text"))))
    note = f"{name}: {len(several):,} of {len(groups):,} images have several rows"
    if "text" in titles:
        note += ", which are several captions"
    if boxes:
        note += f"; boxes are not read: {quoted(boxes)}"
    if unequal:
        note += f"; not used, as they differ between the rows of an image: {quoted(unequal)}"
    faults = {}
    if "label" in unequal:
        image, (a, b) = next(
            (image, values[:2])
            for image, rows in groups.items()
            if len(values := list(dict.fromkeys(str(row.get("label")) for row in rows))) > 1
        )
        faults["labels"] = f"{name}: {shown(image)} has rows with the labels {shown(a)!r} and {shown(b)!r}"
    return result, [note + "."], faults


def quoted(titles: Iterable[str]) -> str:
    """Titles of columns in quotes, in order; the first 20."""
    names = sorted(repr(shown(title)) for title in titles)
    return ", ".join(listed(names, len(names)))


def binary(rows: list[Row]) -> None:
    """Replace -1 by 0 in columns that hold only 1 and -1, in place: these are binary attributes."""
    for column in {column for row in rows for column in row} - {"file_name", "label", "text"}:
        values = [row.get(column) for row in rows]
        if not all(isinstance(v, (str, int, float)) and v in SIGNS for v in values):
            continue
        if any(SIGNS[v] == 0 for v in values):
            for row in rows:
                row[column] = SIGNS[row[column]]


def columns(rows: list[Row], name: str, class_names: tuple[str, ...] = ()) -> Metadata:
    """The columns of the rows, one row per image: `label`, `text`, and all columns of numbers.

    A column that has a value for some images only, or a number that is not finite, is left out, with a fault.

    Args:
        rows: one for each image.
        name: of their table, in messages.
        class_names: of the labels, if these are numbers of classes; default: labels are names or numbers of any kind.
    """
    result = Metadata()
    ignored, attributes = [], []
    for column in dict.fromkeys(column for row in rows for column in row):
        values = [row.get(column) for row in rows]
        if all(value in (None, "") for value in values) or simple(column) in PART_COLUMNS:
            continue
        if column == "text":
            result.captions = list(map(lines, values))
            continue
        numbers = [_number(value) for value in values]
        if column != "label" and any(n is None and v not in (None, "") for n, v in zip(numbers, values)):
            ignored.append(column)
        elif flaw := _flaw(column, values, numbers):
            result.faults.setdefault("labels" if column == "label" else "attributes", f"{name}: {flaw}")
            result.warnings.append(f"{name}: not used: {flaw}.")
        elif column == "label":
            result.labels, result.class_names = _classes(values, numbers, class_names)
        else:
            result.attribute_names.append(column)
            attributes.append(numbers)
    result.attributes = [list(row) for row in zip(*attributes)]
    if ignored:
        names = ", ".join(listed((repr(shown(column)) for column in ignored), len(ignored)))
        file = name.partition(" and ")[0]
        result.warnings.append(
            f"{name}: not used, as they hold more than numbers: {names}. "
            f"Take one by --labels {file}:COLUMN or --captions {file}:COLUMN."
        )
    if len(result.class_names) == 1:
        result.faults["labels"] = f"{name}: every label is {shown(result.class_names[0])!r}, so there are no classes"
        result.warnings.append(result.faults["labels"] + ".")
        result.labels, result.class_names = [], []
    return result


def _flaw(column: str, values: list[object], numbers: list[float | None]) -> str:
    """Why a column of labels or numbers cannot be used; "" if it can."""
    if empty := sum(value in (None, "") for value in values):
        return f"{shown(column)!r} is empty for {empty:,} of {len(values):,} images; fill it in, or leave it out"
    odd = [value for value, n in zip(values, numbers) if n is not None and not math.isfinite(n)]
    if odd and column == "label":
        return (
            f"'label' is {odd[0]} for {len(odd):,} of {len(values):,} images; "
            "fill it in, leave it out, or call the class something else"
        )
    return f"{shown(column)!r} holds a number that is not finite" if odd else ""


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
            rows.append(json.loads(line, object_pairs_hook=once))
        except ValueError as error:
            raise ValueError(f"line {number}: {getattr(error, 'msg', error)}") from error
        if not isinstance(rows[-1], dict):
            raise ValueError(f'line {number}: it must be an object such as {{"file_name": "a.png", "text": "a cat"}}')
        columns |= rows[-1].keys()
        refuse_many(len(columns))
    return rows


def _stylegan(text: str) -> list[Row] | None:
    pairs = json.loads(text, object_pairs_hook=once)
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


def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
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


def lines(text: object) -> str:
    """The captions in a cell, one per line; a list holds several."""
    if isinstance(text, list):
        return "\n".join(map(str, text))
    return "" if text is None else str(text)


def _number(value: object) -> float | None:
    if value.__class__ is float:
        return value
    try:
        return float(value) if isinstance(value, (str, int, float)) else None
    except (ValueError, OverflowError):
        return None


def _classes(
    values: list[object], numbers: list[float | None], class_names: tuple[str, ...]
) -> tuple[list[int], list[str]]:
    """Class numbers 0..K-1 and class names: in the order of `classorder.ordered`, or as they are numbered already."""
    if class_names and all(n is not None and n in range(len(class_names)) for n in numbers):
        return [int(n or 0) for n in numbers], list(class_names)
    whole = all(n is not None and n == n // 1 for n in numbers)
    keys = [f"{n:.0f}" for n in numbers] if whole else [str(value) for value in values]
    texts = [value.strip() if isinstance(value, str) else str(value) for value in values]
    if whole and all(map(classorder.WHOLE.fullmatch, texts)):
        keys = [re.sub(r"^(-?)0+(?=\d)", r"\1", text) for text in texts]
        keys = texts if len(set(texts)) == len(set(keys)) else keys  # 01 alone is written so, beside 1 it is 1
    names = classorder.ordered(keys)
    places = {name: i for i, name in enumerate(names)}
    return [places[key] for key in keys], names
