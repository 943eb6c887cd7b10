"""IDX, the format of MNIST and the sets made like it: Fashion-MNIST, KMNIST, EMNIST, QMNIST."""

from __future__ import annotations

import gzip
import io
import math
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gankit.data.reading.files import MAX_BYTES, File, FileSet
from gankit.data.reading.formats.packing import (
    Blob,
    Part,
    base_of,
    blob,
    check_labels,
    folder_of,
    one_set,
    packed_set,
    require_memory,
    require_sides,
)
from gankit.disk import amount
from gankit.text import shown

IMAGES = re.compile(r"(?P<stem>.*?)images?(?P<kind>[-_.]idx3[-_.]ubyte)(?P<packed>\.gz)?", re.IGNORECASE)
PART = re.compile(r"(?P<set>.*?)[-_.]?(?P<part>train|t10k|test|val)[-_.]?", re.IGNORECASE)
TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}  # the third byte of a file
DIGITS = tuple("0123456789")
CAPITALS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
BALANCED = (*DIGITS, *CAPITALS, *"abdefghnqrt")  # letters whose two cases look alike are one class
FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
KUZUSHIJI = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
EMNIST = {  # class names by the end of the set's name
    "letters": CAPITALS,
    "balanced": BALANCED,
    "bymerge": BALANCED,
    "byclass": (*DIGITS, *CAPITALS, *(letter.lower() for letter in CAPITALS)),
}


def holds(files: list[File]) -> list[File]:
    """The files with images, each once: unpacked where it is there packed as well."""
    found: dict[str, File] = {}
    for file in files:
        if match := IMAGES.fullmatch(base_of(file.name)):
            name = file.name.removesuffix(match["packed"] or "")
            if name not in found or not match["packed"]:
                found[name] = file
    return list(found.values())


def beside(name: str) -> list[str]:
    """The names that the labels of a file of images may have."""
    match = IMAGES.fullmatch(name)
    if not match:
        return []
    stem, kind = match["stem"], match["kind"]
    ends = kind.replace("3", "1"), kind.replace("3", "2").lower().replace("ubyte", "int")  # QMNIST's are eight columns
    return [f"{stem}labels{end}{packed}" for end in ends for packed in ("", ".gz")]


def present(path: Path, source: FileSet, wanted: list[File]) -> FileSet:
    """The images of a set in IDX files.

    Raises:
        ValueError: the files of several sets are there, or a file is damaged.
    """
    by_name = {file.name: file for file in source.files}
    stems = [_stem(file.name) for file in wanted]
    sets = [f"{folder_of(file.name)}{name}" for file, (name, _) in zip(wanted, stems)]
    one_set(sets, "IDX files", "give the folder of one, or one file of images, such as train-images-idx3-ubyte.gz")
    set_name = stems[0][0]
    parts, notes, title = [], [], "IDX files, as MNIST's"
    names = _class_names(path, folder_of(wanted[0].name), set_name)
    for file, (_, part) in zip(wanted, stems):
        kind, shape, values = _array(blob(source, file))
        if kind != ">u1" or len(shape) != 3:
            raise ValueError(f"{shown(file.name)} holds numbers of shape {shape}; bytes (N, H, W) are expected")
        require_sides(file.name, shape[0], *shape[1:])
        candidates = [folder_of(file.name) + name for name in beside(base_of(file.name))]
        of_labels = next((by_name[name] for name in candidates if name in by_name), None)
        labels = None if of_labels is None else _labels(source, of_labels, shape[0], set_name)
        if labels is None:
            notes.append(f"{shown(file.name)} has no labels: there is no {shown(base_of(candidates[0]))} beside it.")
        parts.append(Part(part, shape[0], (*shape[1:], 1), _reader(values, shape, set_name), labels))
    if len({part.name for part in parts}) < len(parts):
        raise ValueError(f"{shown(wanted[0].name)} and others hold the same part of a set: give one of them")
    largest = max((int(part.labels.max()) for part in parts if part.labels is not None and part.size), default=-1)
    if largest >= len(names):
        names = tuple(str(i) for i in range(largest + 1))
    return packed_set(path, parts, title, names if largest >= 0 else (), notes)


def _stem(name: str) -> tuple[str, str]:
    """The set and the part in the name of a file of images: emnist-letters and train; the part may be missing."""
    match = IMAGES.fullmatch(base_of(name))
    assert match is not None  # `holds` has matched it
    stem = match["stem"]
    if not (parts := PART.fullmatch(stem)):
        return stem.strip("-_.").lower(), ""
    return parts["set"].lower(), {"t10k": "test"}.get(parts["part"].lower(), parts["part"].lower())


def _class_names(path: Path, folder: str, set_name: str) -> tuple[str, ...]:
    """The names of the classes, by the name of the set or of the nearest folder that is called like one."""
    if set_name.startswith("emnist"):
        return EMNIST.get(set_name.rpartition("-")[2], DIGITS)
    for name in (set_name, *reversed((*path.resolve().parts, *folder.strip("/").split("/")))):
        plain = re.sub(r"[^a-z]", "", name.lower())
        for word, names in (("fashion", FASHION), ("kmnist", KUZUSHIJI), ("kuzushiji", KUZUSHIJI), ("mnist", DIGITS)):
            if word in plain:
                return names
    return DIGITS


def _reader(values: Blob, shape: tuple[int, ...], set_name: str) -> Callable[[int], np.ndarray]:
    """The function that reads the image of a number."""
    height, width = shape[1:]

    def pixels(number: int) -> np.ndarray:
        content = values.read(number * height * width, height * width)
        image = np.frombuffer(content, np.uint8).reshape(height, width)
        return image.T if is_transposed else image

    is_transposed = set_name.startswith("emnist") and height == width
    return pixels


def _labels(source: FileSet, file: File, images: int, set_name: str) -> np.ndarray:
    """The labels (N,) of so many images."""
    kind, shape, values = _array(blob(source, file))
    if kind not in (">u1", ">i4") or len(shape) not in (1, 2) or 0 in shape[1:]:
        raise ValueError(f"{shown(file.name)} holds numbers of shape {shape}; labels (N,) are expected")
    numbers = np.frombuffer(values.read(0, values.size), kind).reshape(shape)
    numbers = numbers[:, 0] if len(shape) == 2 else numbers
    first = 1 if set_name == "emnist-letters" else 0
    labels = check_labels(file.name, numbers.astype(np.int64) - first, images)
    if set_name.startswith("emnist") and images and labels.max() >= (most := len(_class_names(Path(), "", set_name))):
        raise ValueError(f"{shown(file.name)} has the label {labels.max() + first}, and {set_name} has {most} classes")
    return labels


def _array(stored: Blob) -> tuple[str, tuple[int, ...], Blob]:
    """The type, shape and values of the array in a file.

    Raises:
        ValueError: it is no IDX file, is damaged, or has another size than its header says.
    """
    if stored.name.lower().endswith(".gz"):
        return _unpacked(stored)
    kind, shape, start = _header(stored.name, stored.read(0, min(stored.size, 16)))
    size = math.prod(shape) * np.dtype(kind).itemsize
    _require_size(stored.name, stored.size - start, size, shape)
    return kind, shape, Blob(stored.name, size, lambda offset, count: stored.read(start + offset, count))


def _unpacked(stored: Blob) -> tuple[str, tuple[int, ...], Blob]:
    """`_array` of a file that is compressed by gzip, in memory."""
    if stored.size > MAX_BYTES:
        raise ValueError(f"{shown(stored.name)} has {amount(stored.size)}: unpack it with gunzip")
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(stored.read(0, stored.size))) as file:
            head = file.read(16)
            kind, shape, start = _header(stored.name, head)
            size = math.prod(shape) * np.dtype(kind).itemsize
            require_memory(stored.name, size, stored.size)
            content = head[start:] + file.read(max(0, start + size - len(head)))
            rest = file.read(1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"{shown(stored.name)} is damaged or truncated ({shown(str(error))}): fetch it again"
        ) from error
    _require_size(stored.name, len(content) + len(rest), size, shape)
    return kind, shape, Blob(stored.name, size, lambda offset, count: content[offset : offset + count])


def _header(name: str, head: bytes) -> tuple[str, tuple[int, ...], int]:
    """The type and shape of an array, and the bytes of its header."""
    sides = head[3] if len(head) >= 4 else 0
    start = 4 + 4 * sides
    if head[:2] != b"\0\0" or len(head) < 4 or head[2] not in TYPES or not 1 <= sides <= 3 or len(head) < start:
        raise ValueError(
            f"{shown(name)} does not begin as an IDX file does: {head[:4].hex(' ') or 'it is empty'}, "
            "where 00 00 08 03 is expected of images, 00 00 08 01 of labels; fetch it again"
        )
    return TYPES[head[2]], tuple(np.frombuffer(head[4:start], ">u4").tolist()), start


def _require_size(name: str, have: int, need: int, shape: tuple[int, ...]) -> None:
    if have != need:
        what = "is truncated" if have < need else "holds more than its header says"
        raise ValueError(f"{shown(name)} {what}: numbers of shape {shape} take {need:,} bytes: fetch it again")
