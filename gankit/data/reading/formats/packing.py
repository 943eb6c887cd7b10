"""What formats with many images in one file have in common: access to their bytes, and images as small files."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from gankit.data.reading import arrays
from gankit.data.reading.decoding import MAX_PIXELS
from gankit.data.reading.endings import ARCHIVES
from gankit.data.reading.files import File, FileSet, listed, open_plain
from gankit.disk import amount
from gankit.text import shown

CONTENT = {1: b"P5", 3: b"P6", 4: b"PyRGBA"}  # by channels, the first bytes of a file that Pillow's reader of PNM takes
MOST_CLASSES, MOST_IMAGES = 100_000, 20_000_000
AHEAD = 2**20


class Blob(NamedTuple):
    """The bytes of a stored file.

    Args:
        name: in the folder or archive.
        size: bytes.
        read: the bytes from an offset on, as many as are asked for; raises ValueError if there are fewer.
    """

    name: str
    size: int
    read: Callable[[int, int], bytes]


class Part(NamedTuple):
    """Images of one size, numbered from 0: those for training, or another part of a set.

    Args:
        name: such as train or test; "" where the set has no parts.
        size: number of images.
        shape: (height, width, channels).
        pixels: the image of a number, uint8 of this shape, or (height, width) for one channel.
        labels: the class number of each image; None where they are not known.
    """

    name: str
    size: int
    shape: tuple[int, int, int]
    pixels: Callable[[int], np.ndarray]
    labels: np.ndarray | None = None


@contextmanager
def opened(source: FileSet, file: File) -> Iterator[BinaryIO]:
    """A stored file, open for reading: the file itself, or its content in memory if it is in an archive.

    Raises:
        ValueError: it cannot be read.
    """
    if source.path is None:
        yield io.BytesIO(source.read(file))
        return
    try:
        with open_plain(source.path(file)) as stream:
            yield stream
    except OSError as error:
        raise ValueError(f"{shown(file.name)} cannot be read: {error.strerror or error}") from error


def blob(source: FileSet, file: File, ahead: int = AHEAD) -> Blob:
    """The bytes of a stored file, from the disk; those in archives stay in memory.

    Args:
        source: the files.
        file: one of them.
        ahead: bytes to read at once, for callers that read the file from its beginning to its end.
    """
    last = 0, b""  # the place and the bytes of the last read

    @lru_cache(1)
    def content() -> bytes:
        return source.read(file)

    def read(start: int, count: int) -> bytes:
        nonlocal last
        if source.path is None:
            place, stored = 0, content()
        elif not (last[0] <= start and start + count <= last[0] + len(last[1])):
            with opened(source, file) as stream:
                stream.seek(start)
                place, stored = last = start, stream.read(max(count, ahead))
        else:
            place, stored = last
        part = stored[start - place : start - place + count]
        if len(part) < count:
            raise ValueError(f"{shown(file.name)} is truncated: it ends before byte {start + count:,}")
        return part

    return Blob(file.name, file.size, read)


def require_memory(name: str, unpacked: int, packed: int) -> None:
    """Check that what a file unpacks to fits into memory and is no decompression bomb. Raises ValueError."""
    limit = min(arrays.MOST, arrays.memory() // 2)
    if unpacked > limit:
        raise ValueError(f"{shown(name)} unpacks to {amount(unpacked)}, and more than {amount(limit)} are refused")
    if unpacked > arrays.FREE and unpacked > arrays.RATIO * packed:
        raise ValueError(
            f"{shown(name)} unpacks from {amount(packed)} to {amount(unpacked)}, more than {arrays.RATIO} times as "
            "much, which is refused: images do not"
        )


def require_sides(name: str, count: int, height: int, width: int) -> None:
    """Check the number and the size of the images. Raises ValueError."""
    if not count:
        raise ValueError(f"{shown(name)} holds not a single image: fetch it again")
    if not (height > 0 and width > 0 and height * width <= MAX_PIXELS):
        raise ValueError(
            f"{shown(name)} holds images of {height:,}x{width:,}; from 1 to {MAX_PIXELS:,} pixels are expected"
        )


def require_count(name: str, count: int) -> None:
    """Check the number of images, each of which takes memory before it is read. Raises ValueError."""
    if count > MOST_IMAGES:
        raise ValueError(f"{shown(name)} with {count:,} images: {MOST_IMAGES:,} are the most")


def folder_of(name: str) -> str:
    """The folder of a file: "a/b/" of a/b/c, "" of c."""
    return name[: name.rfind("/") + 1]


def base_of(name: str) -> str:
    """The file name without its folder."""
    return name[name.rfind("/") + 1 :]


def one_set(names: Sequence[str], what: str, how: str) -> None:
    """Check that there is one data set. Raises ValueError with the names of all, and `how` to choose."""
    unique = sorted(set(names))
    if len(unique) > 1:
        sets = ", ".join(listed((shown(name) or "." for name in unique), len(unique)))
        raise ValueError(f"{len(unique)} data sets as {what} are here: {sets}; {how}")


def check_labels(name: str, labels: Sequence[int] | np.ndarray, images: int, classes: int = MOST_CLASSES) -> np.ndarray:
    """The labels as (N,) int64: as many as there are images, and numbers below `classes`. Raises ValueError."""
    numbers = np.asarray(labels).reshape(-1)
    if len(numbers) != images:
        raise ValueError(f"{shown(name)} has {len(numbers):,} labels for {images:,} images: one each is expected")
    if numbers.dtype.kind == "f" and np.isfinite(numbers).all() and (numbers == numbers.round()).all():
        numbers = numbers.astype(np.int64)
    if images and (numbers.dtype.kind not in "iub" or numbers.min() < 0 or numbers.max() >= classes):
        odd = "others" if numbers.dtype.kind not in "iub" else f"{numbers.min()} to {numbers.max()}"
        raise ValueError(f"{shown(name)} has labels that are not whole numbers from 0 to {classes - 1:,}: {odd}")
    return numbers.astype(np.int64)


def packed_set(
    path: Path, parts: Sequence[Part], title: str, class_names: Sequence[str] = (), notes: Sequence[str] = ()
) -> FileSet:
    """The parts as a set of small image files, PART/00000.ppm, with their labels in rows.

    A path of one file with one part is that part itself: 00000.ppm.

    Raises:
        ValueError: there are no images.
    """
    if not any(part.size for part in parts):
        raise ValueError(f"{title} without a single image: fetch the files again")
    require_count(title, sum(part.size for part in parts))
    names: list[File] = []
    if len(parts) == 1 and not path.is_dir() and not path.name.lower().endswith(ARCHIVES):
        parts = [parts[0]._replace(name="")]
    by_folder = {f"{part.name}/" * bool(part.name): part for part in parts}
    has_labels = any(part.labels is not None for part in parts)
    rows: dict[str, dict[str, object]] = {}
    for folder, part in by_folder.items():
        height, width, channels = part.shape
        ending, num_bytes = ".pgm" if channels == 1 else ".ppm", len(_head(part.shape)) + height * width * channels
        width_of_number = max(5, len(str(part.size - 1)))
        files = [File(f"{folder}{i:0{width_of_number}}{ending}", num_bytes, "") for i in range(part.size)]
        names += files
        if has_labels:
            labels = [None] * part.size if part.labels is None else part.labels.tolist()
            rows |= {file.name: {} if label is None else {"label": label} for file, label in zip(files, labels)}

    def read(file: File) -> bytes:
        part = by_folder[folder_of(file.name)]
        pixels = part.pixels(int(base_of(file.name)[:-4]))
        return _head(part.shape) + np.ascontiguousarray(pixels).tobytes()

    return FileSet(names, read, tuple(notes), rows if has_labels else None, tuple(class_names), title)


def _head(shape: tuple[int, int, int]) -> bytes:
    """The header of a file of this (height, width, channels), before the pixels: PNM, the fastest that Pillow reads."""
    return CONTENT[shape[2]] + b" %d %d 255\n" % (shape[1], shape[0])
