"""Files of rows with named columns: csv, JSON, JSON lines, COCO's captions and Flickr's token files; all untrusted."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from gankit.data.reading.metadata import HALF, MOST_COLUMNS, SIGNS, once, refuse_many, simple
from gankit.text import shown

TITLES = (  # of columns that name images
    "file_name", "filename", "file", "image", "image_id", "image_name", "img", "name", "path", "id",
    "image_path", "img_path", "file_path", "filepath",
)  # fmt: skip
TOKEN = re.compile(r"(\S.*\.\w+)#\d+\t(.*)")  # Flickr: 1000092795.jpg#0, a tab, and a caption
T = TypeVar("T")
MOST_NODES, MOST_VALUES = 4_000_000, 16_000_000  # objects and values of a JSON file; COCO's captions have 0.7 million


class Sheet(NamedTuple):
    """The titles and the rows of a file; a row may have another number of values than there are titles."""

    title: list[str]
    lines: list[list[object]]


def sheet(name: str, data: bytes) -> Sheet:
    """The titles and rows of a file; the ending of its name says its format.

    Raises:
        ValueError: it is not text in UTF-8, or not in this format.
    """
    text = decoded(data)
    if name.lower().endswith(".json"):
        return _json(text)
    if name.lower().endswith(".jsonl"):
        return _of_objects([_parsed(line, f"line {i}: ") for i, line in enumerate(text.split("\n"), 1) if line.strip()])
    if TOKEN.match(text.lstrip()):
        return _token(text)
    return csv_sheet(text)


def decoded(data: bytes) -> str:
    """The text in these bytes. Raises ValueError if it is not UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is no text in UTF-8 (byte {error.start}): save it as UTF-8") from None


def celeba(text: str) -> Sheet:
    """CelebA's list: a count, then a line of attribute names, then files with 1 or -1 for each."""
    lines = text.splitlines()
    if len(lines) < 3 or not lines[0].strip().isdigit():
        raise ValueError("the first line must be the number of images, the second the names of the attributes")
    rows: list[list[object]] = []
    for file, *values in map(str.split, filter(str.strip, lines[2:])):
        if odd := set(values) - SIGNS.keys():
            raise ValueError(f"{min(odd)!r}, in the line of {shown(file)}, is neither 1 nor -1")
        rows.append([file, *map(SIGNS.__getitem__, values)])
    return Sheet(["file_name", *lines[1].split()], rows)


def csv_sheet(text: str) -> Sheet:
    """A csv with commas, semicolons, tabs or bars; OpenFace writes a space after each comma. Empty if it is none."""
    first = text.partition("\n")[0]
    mark = max(",;\t|", key=first.count)
    file = io.StringIO(text, newline="")
    if mark == "|":  # Flickr's captions begin with quotes that nothing closes
        lines = csv.reader(file, delimiter=mark, quoting=csv.QUOTE_NONE, skipinitialspace=True)
    else:
        lines = csv.reader(file, delimiter=mark, skipinitialspace=True)
    try:
        title = [cell.strip() for cell in next(filter(None, lines), [])]
        if len(title) > MOST_COLUMNS and not any(map(names_images, title)):  # a table of something else
            return Sheet([], [])
        refuse_many(len(title))
        rows: list[list[object]] = [[cell.strip() for cell in line] for line in lines if line]
    except csv.Error:
        return Sheet([], [])
    return Sheet(title, rows) if rows else Sheet([], [])


def names_images(title: str) -> bool:
    """Whether this is the title of a column that names images."""
    return simple(title) in TITLES


def _token(text: str) -> Sheet:
    """Flickr's token file: captions by image, several for each. Other lines are rows of one value."""
    found = [(line, TOKEN.fullmatch(line.strip())) for line in text.splitlines() if line.strip()]
    return Sheet(["file_name", "text"], [[match[1], match[2]] if match else [line] for line, match in found])


def _parsed(text: str, place: str = "") -> object:
    """The value of a JSON text, of bounded size. Raises ValueError."""
    if text.count("{") + text.count("[") > MOST_NODES or text.count(",") > MOST_VALUES:
        raise ValueError(f"it has more than {MOST_NODES:,} objects and lists or {MOST_VALUES:,} values, the most")
    try:
        return json.loads(text, object_pairs_hook=once)
    except RecursionError:
        raise ValueError(f"{place}it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{place}{getattr(error, 'msg', error)}") from error


def _json(text: str) -> Sheet:
    """A JSON file: COCO's captions, Karpathy's splits, a list of objects, or values by the names of files.

    Raises:
        ValueError: it is none of these.
    """
    tree = _parsed(text)
    if isinstance(tree, list):
        return _of_objects(tree)
    if isinstance(tree, dict) and isinstance(tree.get("images"), list):
        return _coco(tree["images"], tree["annotations"]) if "annotations" in tree else _karpathy(tree["images"])
    if isinstance(tree, dict) and isinstance(tree.get("labels"), list):
        pairs = _each(tree["labels"], list, lambda pair: len(pair) == 2, '"labels"', "[file, number]")
        return _whole(Sheet(["file_name", "label"], pairs))
    if isinstance(tree, dict) and tree and not any(isinstance(value, dict) for value in tree.values()):
        return _whole(Sheet(["file_name", "value"], [[name, value] for name, value in tree.items()]))
    raise ValueError(
        "it is no table: a list of objects, values by file names, or COCO's images and annotations are expected"
    )


def _of_objects(rows: list[object]) -> Sheet:
    """Objects with one key for each column."""
    titles: dict[str, None] = {}
    objects = _each(rows, dict, bool, "its rows", '{"file_name": "a.png", "text": "a cat"}')
    for row in objects:
        titles.update(dict.fromkeys(row))
        refuse_many(len(titles))
    return _whole(Sheet(list(titles), [[row.get(title, "") for title in titles] for row in objects]))


def _coco(images: list[object], annotations: object) -> Sheet:
    """COCO's captions: names of images by their ids, and captions by the ids of images."""
    form = '{"id": 1, "file_name": "a.jpg"}'
    known = {
        image["id"]: image["file_name"]
        for image in _each(images, dict, lambda i: _is_id(i.get("id")) and _is_name(i.get("file_name")), "images", form)
    }
    form = '{"image_id": 1, "caption": "a cat"}'
    if isinstance(annotations, list) and any(isinstance(a, dict) and "caption" not in a for a in annotations[:1]):
        raise ValueError("it holds boxes or outlines of objects, and no captions")

    def fits(entry: dict) -> bool:
        return _is_id(entry.get("image_id")) and isinstance(entry.get("caption"), str)

    rows = _each(annotations, dict, fits, "annotations", form)
    lines = [[known.get(row["image_id"], f"image {row['image_id']}"), row["caption"]] for row in rows]
    return _whole(Sheet(["file_name", "text"], lines))


def _karpathy(images: list[object]) -> Sheet:
    """Captions of Karpathy and Fei-Fei's splits of COCO and Flickr: several sentences for each image."""
    form = '{"filename": "a.jpg", "sentences": [{"raw": "a cat"}]}'

    def fits(image: dict) -> bool:
        texts = image.get("sentences")
        return (
            _is_name(image.get("filename"))
            and isinstance(texts, list)
            and all(isinstance(text, dict) and isinstance(text.get("raw"), str) for text in texts)
        )

    rows = _each(images, dict, fits, "images", form)
    return _whole(Sheet(["file_name", "text"], [[r["filename"], text["raw"]] for r in rows for text in r["sentences"]]))


def _each(values: object, kind: type[T], fits: Callable[[T], object], name: str, form: str) -> list[T]:
    """The values, if each is of this kind and fits. Raises ValueError."""
    if not isinstance(values, list):
        raise ValueError(f"{name} must be a list of entries such as {form}")
    for number, value in enumerate(values, 1):
        if not isinstance(value, kind) or not fits(value):
            raise ValueError(f"{name}: entry {number} is not of the form {form}")
    return values


def _is_id(value: object) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _whole(rows: Sheet) -> Sheet:
    """The rows, if they hold no unpaired surrogates such as \\ud800, which no encoding can write. Raises ValueError."""
    lines: list[list[object]] = [[*rows.title], *rows.lines]
    for number, line in enumerate(lines):
        for value in line:
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str) and HALF.search(text):
                    raise ValueError(f"row {number}: '{shown(text)[:80]}' holds half a letter; write the file in UTF-8")
    return rows
