"""CIFAR-10 and CIFAR-100: the version for Python, whose pickles are taken apart as data, and the binary one."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np

from gankit.data.reading.files import File, FileSet
from gankit.data.reading.formats import pickles
from gankit.data.reading.formats.packing import Part, base_of, check_labels, folder_of, one_set, packed_set
from gankit.text import shown

SIDE, PIXELS = 32, 3 * 32 * 32
TEN = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCH = re.compile(r"(?P<part>data|test)_batch(?:_(?P<number>\d+))?(?P<binary>\.bin)?")
HUNDRED = re.compile(r"(?P<part>train|test)(?P<binary>\.bin)?")
NAMES = "batches.meta", "meta", "batches.meta.txt", "fine_label_names.txt"
ABOUT = {False: "meta", True: "fine_label_names.txt"}  # beside CIFAR-100's files, by whether these are binary


def holds(files: list[File]) -> list[File]:
    """The files with images; train and test are CIFAR-100's if the names of its classes are beside them."""
    names = {file.name for file in files}
    found = []
    for file in files:
        base, folder = base_of(file.name), folder_of(file.name)
        match = HUNDRED.fullmatch(base)
        if BATCH.fullmatch(base) or (match and folder + ABOUT[bool(match["binary"])] in names):
            found.append(file)
    return found


def beside(name: str) -> list[str]:
    """The names of the files with the names of the classes."""
    return list(NAMES) if BATCH.fullmatch(name) or HUNDRED.fullmatch(name) else []


def present(path: Path, source: FileSet, wanted: list[File]) -> FileSet:
    """The images of CIFAR-10 or CIFAR-100.

    Raises:
        ValueError: the files of both are there, or one is damaged or holds something else.
    """
    one_set([folder_of(file.name) for file in wanted], "CIFAR's files", "give the folder of one")
    is_binary = base_of(wanted[0].name).endswith(".bin")
    if any(base_of(file.name).endswith(".bin") != is_binary for file in wanted):
        raise ValueError("both versions of CIFAR, for Python and binary, are here: leave one of them")
    about = {base_of(f.name): f for f in source.files if folder_of(f.name) == folder_of(wanted[0].name)}
    is_ten = BATCH.fullmatch(base_of(wanted[0].name)) is not None
    names = _names(source, [about[name] for name in NAMES if name in about], is_ten)
    images: dict[str, list[np.ndarray]] = {}
    labels: dict[str, list[np.ndarray]] = {}
    for file in sorted(wanted, key=lambda file: (len(file.name), file.name)):
        part = "test" if base_of(file.name).startswith("test") else "train"
        read = _binary if is_binary else _pickled
        try:
            pixels, classes = read(source.read(file), is_ten)
        except ValueError as error:
            raise ValueError(f"{shown(file.name)}: {error}. Fetch it again") from error
        images.setdefault(part, []).append(pixels)
        labels.setdefault(part, []).append(check_labels(file.name, classes, len(pixels), len(names) or 100))
    parts = [_part(part, np.concatenate(images[part]), np.concatenate(labels[part])) for part in images]
    version = ", binary" if is_binary else ""
    names = names or [str(i) for i in range(100)]
    return packed_set(path, parts, f"CIFAR-{10 if is_ten else 100}'s files{version}", names, _missing(path, wanted))


def _part(name: str, images: np.ndarray, labels: np.ndarray) -> Part:
    planes = images.reshape(len(images), 3, SIDE, SIDE)
    return Part(name, len(images), (SIDE, SIDE, 3), lambda number: planes[number].transpose(1, 2, 0), labels)


def _missing(path: Path, wanted: list[File]) -> list[str]:
    """A note, if some of the five batches of a folder are missing."""
    batches = [match for file in wanted if (match := BATCH.fullmatch(base_of(file.name)))]
    numbers = {match["number"] for match in batches if match["part"] == "data"}
    absent = [str(i) for i in range(1, 6) if str(i) not in numbers]
    if not batches or not numbers or not absent or path.is_file() and len(wanted) == 1:
        return []
    return [f"data_batch_{', '.join(absent)} of 5 are not here: the set is not whole."]


def _names(source: FileSet, files: list[File], is_ten: bool) -> list[str]:
    """The names of the classes, from the first of these files; empty if they are not known."""
    if not files:
        return list(TEN) if is_ten else []
    file = files[0]
    content = source.read(file)
    try:
        if file.name.endswith(".txt"):
            names = [line.strip() for line in content.decode("utf-8", "replace").splitlines() if line.strip()]
        else:
            table = _table(content)
            found = table.get("label_names" if is_ten else "fine_label_names")
            if not isinstance(found, list) or not all(isinstance(name, (str, bytes)) for name in found):
                raise ValueError(f"it holds {pickles.show(table)}; names of classes are expected")
            names = [_text(name) for name in found]
    except ValueError as error:
        raise ValueError(f"{shown(file.name)}: {error}. Fetch it again") from error
    if len(set(names)) < len(names) or not 2 <= len(names) <= 1000:
        raise ValueError(f"{shown(file.name)} has {len(names)} names of classes, {len(set(names))} of them different")
    return [shown(name) for name in names]


def _table(content: bytes) -> dict[str, object]:
    """The dictionary in a pickle, of which nothing is built or called."""
    tree = pickles.Machine(len(content), pickles.PLAIN | pickles.ARRAYS).run(io.BytesIO(content))
    if not isinstance(tree, dict):
        raise ValueError(f"it holds {pickles.show(tree)}; a dictionary is expected")
    return {_text(key): value for key, value in tree.items() if isinstance(key, (str, bytes))}


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin1")


def _pickled(content: bytes, is_ten: bool) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 3072) uint8 and labels (N,) of a pickle."""
    table = _table(content)
    data, labels = table.get("data"), table.get("labels" if is_ten else "fine_labels")
    if not isinstance(data, pickles.Numbers) or data.kind is None or data.kind.code != "B" or data.columns:
        raise ValueError(f"it holds {pickles.show(table)}; `data`, an array of bytes, is expected")
    if len(data.shape) != 2 or data.shape[1] != PIXELS:
        raise ValueError(f"its images have the shape {data.shape}; (N, {PIXELS}) is expected")
    images = np.frombuffer(data.data, np.uint8).reshape(data.shape)
    if isinstance(labels, pickles.Numbers) and labels.kind is not None and len(labels.shape) == 1:
        return images, np.frombuffer(labels.data, labels.kind.order + labels.kind.code)
    if not isinstance(labels, list) or not all(type(label) is int and 0 <= label < 1000 for label in labels):
        raise ValueError(f"it holds {pickles.show(table)}; `labels`, whole numbers, are expected")
    return images, np.array(labels, np.int64)


def _binary(content: bytes, is_ten: bool) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 3072) uint8 and labels (N,) of the binary version: one label, or the coarse and the fine one."""
    record = PIXELS + (1 if is_ten else 2)
    if len(content) % record:
        raise ValueError(f"it has {len(content):,} bytes, and records of {record:,} are expected: it is truncated")
    rows = np.frombuffer(content, np.uint8).reshape(-1, record)
    return rows[:, record - PIXELS :], rows[:, record - PIXELS - 1]
