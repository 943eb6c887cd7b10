"""Images and labels in NumPy's .npz and .npy: Keras' mnist.npz, MedMNIST, X_train.npy with y_train.npy, samples."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gankit.data.reading import arrays
from gankit.data.reading.files import File, FileSet, listed
from gankit.data.reading.formats.packing import (
    MOST_CLASSES,
    Part,
    base_of,
    blob,
    folder_of,
    one_set,
    opened,
    packed_set,
    require_sides,
)
from gankit.text import shown

ENDINGS = (".npz", ".npy")
PARTS = dict.fromkeys(("train", "training"), "train") | dict.fromkeys(("val", "valid", "validation", "dev"), "val")
PARTS |= {"test": "test", "testing": "test", "extra": "extra", "unlabeled": "unlabeled", "unlabelled": "unlabeled"}
IMAGES = {"images", "image", "imgs", "img", "x", "data", "samples"}
LABELS = {"labels", "label", "y", "targets", "target"}
BLOCK = 2**24  # values that are looked at together
WANTED = "images (N, H, W), (N, H, W, C) or (N, C, H, W) of bytes or floats are expected"


class Stack(NamedTuple):
    """An array of a file.

    Args:
        words: of the names of the file and of the array, in lower case.
        title: for messages.
        file: its name.
        array: its header.
        rows: the entries from one number to another along the first axis.
    """

    words: list[str]
    title: str
    file: str
    array: arrays.Array
    rows: Callable[[int, int], np.ndarray]

    @property
    def part(self) -> str:
        """The part of the set that the name says, or ""."""
        return next((PARTS[word] for word in self.words if word in PARTS), "")

    @property
    def rest(self) -> tuple[str, ...]:
        """The words of the name that say neither the part nor the kind: equal for images and their labels."""
        return tuple(word for word in self.words if word not in {*PARTS, *IMAGES, *LABELS})

    @property
    def kind(self) -> str:
        """Images or labels, by the name, and else by the shape; "" for others."""
        if self.array.dtype.kind == "U" or any(word in LABELS for word in self.words):
            return "labels"
        if len(self.array.shape) in (3, 4) and self.array.dtype.kind in "uf":
            return "images"
        return ""


def holds(files: list[File]) -> list[File]:
    """The arrays' files."""
    return [file for file in files if file.name.lower().endswith(ENDINGS)]


def beside(name: str) -> list[str]:
    """The names that the labels of a file of images may have: y_train.npy of X_train.npy."""
    stem, dot, ending = name.rpartition(".")
    words = re.split(r"([^A-Za-z0-9]+)", stem)
    if f".{ending.lower()}" not in ENDINGS or not any(word.lower() in IMAGES for word in words):
        return []
    names = ("".join(label if word.lower() in IMAGES else word for word in words) for label in sorted(LABELS))
    return [f"{name}{dot}{ending}" for name in names]


def present(path: Path, source: FileSet, wanted: list[File]) -> FileSet:
    """The images in arrays, with their labels.

    Raises:
        ValueError: there are no images, or several sets; labels are of another count; values are in an unknown range.
    """
    stacks = [stack for file in holds(source.files) for stack in _stacks(source, file)]
    names_of_wanted = {file.name for file in wanted}
    images = [stack for stack in stacks if stack.kind == "images" and stack.file in names_of_wanted]
    images = [stack for stack in images if any(word in IMAGES for word in stack.words)] or images
    if not images:
        summary = ", ".join(listed((f"{stack.title} {stack.array}" for stack in stacks), len(stacks))) or "nothing"
        raise ValueError(f"no array holds images; found {summary}; {WANTED}")
    sets = [folder_of(stack.file) + " ".join(stack.rest) for stack in images]
    one_set(sets, "arrays", "give one of the files, or keep one in a folder of its own")
    if len({stack.part for stack in images}) < len(images):
        names = ", ".join(listed((stack.title for stack in images), len(images)))
        raise ValueError(f"several arrays hold images of one part: {names}; leave one of them")
    made = {stack.part: _part(stack) for stack in images}
    labels = {stack.part: stack for stack in stacks if stack.kind == "labels" and stack.rest == images[0].rest}
    values = {s.part: _labels(labels[s.part], s.array.shape[0]) for s in images if s.part in labels}
    class_names, numbers = _classes(values)
    parts = [part._replace(labels=numbers.get(name)) for name, (part, _) in made.items()]
    notes = [note for _, notes in made.values() for note in notes]
    return packed_set(path, parts, "arrays of images", class_names, notes)


def _stacks(source: FileSet, file: File) -> Iterator[Stack]:
    """The arrays of a file."""
    stem = base_of(file.name)[:-4]
    try:
        if file.name.lower().endswith(".npy"):
            with opened(source, file) as stream:
                array = arrays.npy_header(stream, file.size)
            yield Stack(_words(stem), shown(file.name), file.name, array, _npy_rows(source, file, array))
            return
        with opened(source, file) as stream:
            headers = arrays.Arrays(stream).arrays
    except ValueError as error:
        raise ValueError(f"{shown(file.name)}: {error}") from error
    for name, array in headers.items():
        words = _words(stem) * (len(headers) == 1 or _says(stem)) + _words(name)
        yield Stack(words, f"{shown(file.name)}[{shown(name)}]", file.name, array, _npz_rows(source, file, name))


def _says(stem: str) -> bool:
    """Whether the name of a file says which part is in it: train.npz."""
    return any(word in PARTS for word in _words(stem))


def _words(name: str) -> list[str]:
    """The words of a name; NumPy's arr_0 says nothing."""
    split = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name) if not name.isupper() else name
    return [] if name == "arr_0" else [word for word in re.split(r"[^a-z0-9]+", split.lower()) if word]


def _npz_rows(source: FileSet, file: File, name: str) -> Callable[[int, int], np.ndarray]:
    """A function that reads rows of an array of a .npz, which is unpacked into memory when it is first asked for."""

    @lru_cache(1)
    def whole() -> np.ndarray:
        try:
            with opened(source, file) as stream:
                return arrays.Arrays(stream).read((name,))[name]
        except (ValueError, KeyError) as error:
            raise ValueError(f"{shown(file.name)}: {shown(str(error))}") from error

    return lambda start, stop: whole()[start:stop]


def _npy_rows(source: FileSet, file: File, array: arrays.Array) -> Callable[[int, int], np.ndarray]:
    """A function that reads rows of a .npy from the disk."""
    stored, count = blob(source, file), max(1, array.shape[0] if array.shape else 1)
    row = array.size // count

    def rows(start: int, stop: int) -> np.ndarray:
        stop = min(stop, count)
        content = stored.read(array.start + start * row, (stop - start) * row)
        values = np.frombuffer(content, array.dtype).reshape(stop - start, *array.shape[1:])
        return values.astype(array.dtype.newbyteorder("="), copy=False)

    if array.columns and len(array.shape) > 1:
        raise ValueError(f"{shown(file.name)} is stored column by column: save np.ascontiguousarray of it")
    return rows


def _labels(stack: Stack, images: int) -> np.ndarray:
    """Labels (N,): whole numbers or names, from numbers (N,), (N, 1) or one-hot rows (N, K)."""
    shape = stack.array.shape
    if not shape or shape[0] != images:
        raise ValueError(f"{stack.title} {stack.array} has not one label for each of {images:,} images")
    values = stack.rows(0, images)
    if len(shape) == 2 and shape[1] > 1 and values.dtype.kind in "iufb":
        if not ((values == 0) | (values == 1)).all() or not (values.sum(1) == 1).all():
            raise ValueError(f"{stack.title} {stack.array} holds neither one label an image nor one-hot rows")
        return values.argmax(1)
    values = values.reshape(images, -1)
    if values.shape[1] != 1 or (values.dtype.kind == "f" and not (values == np.round(values)).all()):
        raise ValueError(f"{stack.title} {stack.array} holds no labels: whole numbers or names (N,) are expected")
    return values[:, 0].astype(np.int64) if values.dtype.kind in "iufb" else values[:, 0]


def _classes(labels: dict[str, np.ndarray]) -> tuple[list[str], dict[str, np.ndarray]]:
    """The names of all classes, in order, and the class numbers of each part."""
    if not labels:
        return [], {}
    if len({values.dtype.kind for values in labels.values()}) > 1:
        raise ValueError("the labels of one part are numbers, those of another one names: make them alike")
    unique = np.unique(np.concatenate(list(labels.values())))
    if len(unique) > MOST_CLASSES:
        raise ValueError(f"there are {len(unique):,} different labels, and {MOST_CLASSES:,} are the most")
    return [shown(str(name)) for name in unique], {part: np.searchsorted(unique, v) for part, v in labels.items()}


def _part(stack: Stack) -> tuple[Part, list[str]]:
    """The images of an array, with a note about the range of floats."""
    shape = stack.array.shape
    is_first = len(shape) == 4 and _channels_first(shape)
    height, width = shape[2:] if is_first else shape[1:3]
    channels = 1 if len(shape) == 3 else shape[1] if is_first else shape[3]
    if channels not in (1, 3) or (len(shape) == 3 and width <= 4):
        raise ValueError(f"{stack.title} {stack.array} holds no images; {WANTED}, of 1 or 3 channels")
    require_sides(stack.title, shape[0], height, width)
    low, high, note = _range(stack)

    def pixels(number: int) -> np.ndarray:
        image = stack.rows(number, number + 1)[0]
        image = image.transpose(1, 2, 0) if is_first else image
        if image.dtype != np.uint8:
            scaled = (image.astype(np.float64) - low) * (255 / (high - low))
            image = scaled.round().clip(0, 255).astype(np.uint8)
        return image[:, :, 0] if image.ndim == 3 and channels == 1 else image

    return Part(stack.part, shape[0], (height, width, channels), pixels), note


def _channels_first(shape: tuple[int, ...]) -> bool:
    """Whether images are (N, C, H, W): the second side is one of channels, and the last is not, or is less like one."""
    first, last = shape[1] in (1, 3), shape[3] in (1, 3)
    return first and (not last or abs(shape[2] - shape[3]) < abs(shape[1] - shape[2]))


def _range(stack: Stack) -> tuple[float, float, list[str]]:
    """The values that become black and white, and a note: of bytes 0 and 255, of floats the nearest usual range."""
    kind, shape = stack.array.dtype, stack.array.shape
    if kind == np.uint8:
        return 0, 255, []
    if kind.kind != "f":
        raise ValueError(
            f"{stack.title} holds {kind}: bytes (uint8) or floats are expected; divide by its largest value, "
            "or save the images as 16-bit PNG"
        )
    step = max(1, BLOCK // max(1, math.prod(shape[1:])))
    least, most = math.inf, -math.inf
    for start in range(0, shape[0], step):
        block = stack.rows(start, start + step)
        if not np.isfinite(block).all():
            raise ValueError(f"{stack.title} holds numbers that are not finite")
        least, most = min(least, float(block.min())), max(most, float(block.max()))
    for low, high in ((0, 1), (-1, 1), (0, 255)):
        if low <= least and most <= high:
            return low, high, [f"{stack.title} holds floats from {low} to {high}: {low} is black, {high} is white."]
    raise ValueError(
        f"{stack.title} holds floats from {least:.4g} to {most:.4g}: 0 to 1, -1 to 1 or 0 to 255 are expected"
    )
