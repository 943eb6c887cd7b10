"""MATLAB's .mat files, by scipy: SVHN's images, and the labels and parts of Oxford flowers."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gankit.data.reading.endings import IMAGES
from gankit.data.reading.files import File, FileSet, listed
from gankit.data.reading.formats.packing import (
    Part,
    base_of,
    check_labels,
    folder_of,
    one_set,
    opened,
    packed_set,
    require_memory,
    require_sides,
)
from gankit.text import shown

BYTES = {
    "uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "uint32": 4, "int32": 4, "uint64": 8, "int64": 8, "single": 4,
    "double": 8,
}  # fmt: skip
PART = re.compile(r"(?:^|[^a-z])(train|test|extra|val)(?:[^a-z]|$)")
LABELS, SPLITS = "imagelabels.mat", "setid.mat"  # of Oxford flowers
IDS = {"train": "trnid", "val": "valid", "test": "tstid"}
NUMBERED = re.compile(r"image_(\d+)\.\w+")
DIGITS = tuple("0123456789")


def holds(files: list[File]) -> list[File]:
    """The .mat files, but for those of Oxford flowers, which hold no images."""
    return [f for f in files if f.name.lower().endswith(".mat") and base_of(f.name) not in (LABELS, SPLITS)]


def beside(name: str) -> list[str]:
    """None: labels are in the file itself."""
    return []


def present(path: Path, source: FileSet, wanted: list[File]) -> FileSet:
    """The images of .mat files with `X` (H, W, C, N) and `y`, as SVHN's.

    Raises:
        ValueError: a file holds something else, objects or version 7.3, or is damaged.
    """
    one_set([folder_of(file.name) for file in wanted], ".mat files", "give the folder of one")
    parts: dict[str, Part] = {}
    for file in wanted:
        part = _part_of(base_of(file.name))
        if part in parts:
            raise ValueError(f"{shown(file.name)} and another .mat file hold the part {part!r}: give one of them")
        parts[part] = _images(source, file, part)
    found = [part.labels for part in parts.values() if part.labels is not None]
    largest = max((int(labels.max()) for labels in found if len(labels)), default=-1)
    names = DIGITS if largest < 10 else tuple(str(i) for i in range(largest + 1))
    return packed_set(path, list(parts.values()), ".mat files, as SVHN's", names if found else ())


def _part_of(name: str) -> str:
    match = PART.search(name.lower())
    return match[1] if match else ""


def _images(source: FileSet, file: File, part: str) -> Part:
    """The images of a file with their labels."""
    arrays = read(source, file, {"X": ("uint8",), "y": tuple(BYTES)}, needed=("X",))
    images, labels = arrays["X"], arrays.get("y")
    if images.ndim != 4 or images.shape[2] not in (1, 3):
        raise ValueError(f"{shown(file.name)}: X has the shape {images.shape}; (H, W, 3, N) is expected")
    height, width, channels, count = images.shape
    require_sides(file.name, count, height, width)
    if labels is not None:
        labels = check_labels(file.name, labels, count)
        if count and labels.max() == 10 and labels.min() >= 1:  # SVHN's 10 is the digit 0
            labels = labels % 10
    squeezed = images[:, :, 0] if channels == 1 else images
    return Part(part, count, (height, width, channels), _reader(squeezed), labels)


def _reader(images: np.ndarray) -> Callable[[int], np.ndarray]:
    return lambda number: images[..., number]


def read(
    source: FileSet, file: File, kinds: dict[str, tuple[str, ...]], needed: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """The named variables of a .mat, those that are there.

    Args:
        kinds: by name, the types that a variable may have.
        needed: names of variables that must be there.

    Raises:
        ValueError: it is damaged or of version 7.3, lacks a variable, or has objects under these names.
    """
    from scipy import io as scipy_io  # slow to import

    with opened(source, file) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of variables that are not read
        try:
            present_ones = {name: (shape, kind) for name, shape, kind in scipy_io.whosmat(stream)}
        except NotImplementedError as error:
            raise ValueError(
                f"{shown(file.name)} is a .mat of version 7.3, which is not read: save it in MATLAB with '-v7'"
            ) from error
        except Exception as error:  # untrusted bytes
            raise ValueError(f"{shown(file.name)} is no .mat, or a damaged one: {shown(str(error))[:200]}") from error
        if missing := [name for name in needed if name not in present_ones]:
            lines = (f"{shown(name)} {kind}{list(shape)}" for name, (shape, kind) in present_ones.items())
            have = ", ".join(listed(lines, len(present_ones))) or "nothing"
            raise ValueError(f"{shown(file.name)} has no variable {missing[0]}; it holds {have}")
        wanted = {name: present_ones[name] for name in kinds if name in present_ones}
        for name, (_, kind) in wanted.items():
            if kind not in kinds[name]:
                raise ValueError(f"{shown(file.name)}: {name} is {shown(kind)}; {kinds[name][0]} is expected")
        size = sum(math.prod(shape) * BYTES[kind] for shape, kind in wanted.values())
        require_memory(file.name, size, file.size)
        try:
            stream.seek(0)
            arrays = scipy_io.loadmat(stream, variable_names=list(wanted))
        except Exception as error:
            raise ValueError(f"{shown(file.name)} is damaged or truncated: {shown(str(error))[:200]}") from error
    for name, (shape, _) in wanted.items():
        array = arrays.get(name)
        if not isinstance(array, np.ndarray) or array.shape != tuple(shape) or array.dtype.kind not in "iufb":
            raise ValueError(f"{shown(file.name)}: {name} is no array of numbers {list(shape)}, as its header says")
    return {name: arrays[name] for name in wanted}


# Oxford flowers ------------------------------------------------------------------------------------------------------


def flowers(source: FileSet) -> FileSet:
    """The same files, with the labels of imagelabels.mat for image_00001.jpg and so on, where this file is there.

    Raises:
        ValueError: it is damaged, or has fewer labels than there are images.
    """
    file = next((file for file in source.files if base_of(file.name) == LABELS), None)
    if file is None or source.rows is not None:
        return source
    numbered = _numbered(source)
    labels = _column(source, file, ("labels",))["labels"]
    if numbered and max(numbered) > len(labels):
        raise ValueError(f"{shown(file.name)} has {len(labels):,} labels, and there is an image {max(numbered):,}")
    names = tuple(str(i + 1) for i in range(int(labels.max(initial=0))))
    rows: dict[str, dict[str, object]] = {
        name: {"label": int(labels[number - 1]) - 1} for number, name in numbered.items()
    }
    images = (file.name for file in source.files if file.name.lower().endswith(IMAGES))
    return source._replace(
        rows={name: rows.get(name, {}) for name in images},
        class_names=names,
        title="Oxford flowers, with imagelabels.mat",
    )


def setid(source: FileSet) -> dict[str, list[str]]:
    """The names of the images of each part, train, val and test, by setid.mat; empty without that file.

    Raises:
        ValueError: it is damaged, or names images that are not there.
    """
    file = next((file for file in source.files if base_of(file.name) == SPLITS), None)
    if file is None:
        return {}
    numbered, columns = _numbered(source), _column(source, file, tuple(IDS.values()))
    if absent := [i for column in columns.values() for i in column.tolist() if i not in numbered]:
        first = ", ".join(listed((f"image_{i:05}" for i in absent), len(absent)))
        raise ValueError(f"{shown(file.name)} names images that are not there: {first}")
    return {part: [numbered[i] for i in columns[name].tolist()] for part, name in IDS.items()}


def _numbered(source: FileSet) -> dict[int, str]:
    """The names of images by the numbers in them."""
    matches = ((NUMBERED.fullmatch(base_of(file.name)), file.name) for file in source.files)
    return {int(match[1]): name for match, name in matches if match and name.lower().endswith(IMAGES)}


def _column(source: FileSet, file: File, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Variables (N,) of whole numbers from 1."""
    arrays = read(source, file, {name: tuple(BYTES) for name in names}, needed=names)
    columns = {name: check_labels(file.name, array, array.size) for name, array in arrays.items()}
    if any((column < 1).any() for column in columns.values()):
        raise ValueError(f"{shown(file.name)} has numbers below 1, and {', '.join(names)} count from 1")
    return columns
