"""Arrays in .npz files: what they say they hold is checked before anything is unpacked, and nothing in them is executed."""

from __future__ import annotations

import hashlib
import io
import math
import os
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as npy

from gankit.data.reading.files import amount, listed, open_plain
from gankit.text import shown

MOST = 2**33  # bytes of arrays that are read to memory
RATIO, FREE = 100, 2**26  # an array that unpacks to more than both, times its packed size and in bytes, is refused
HEADER = 1000  # bytes of a header; those of plain arrays have 128
LONGEST = 2**48  # along an axis
MEMBERS = 10_000
BLOCK = 2**20


class Array(NamedTuple):
    """What a member says of its array.

    Args:
        dtype: of its numbers or texts.
        shape: of it.
        size: bytes of its values.
        columns: whether they stand column by column (Fortran's order).
        member: where it is.
        start: bytes of the header before them.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    size: int
    columns: bool
    member: zipfile.ZipInfo
    start: int

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


class Arrays:
    """The arrays of a .npz by their names, before they are unpacked.

    Args:
        file: a regular file, open for reading.

    Raises:
        ValueError: it is no .npz of plain arrays, or it unpacks to more than it says or than files of numbers do.
    """

    def __init__(self, file: BinaryIO):
        self.file = file
        with _untrusted():
            self.archive = zipfile.ZipFile(file)
            self.arrays = dict(_looked(self.archive, file.seek(0, os.SEEK_END)))

    def __str__(self) -> str:
        return (
            ", ".join(listed((f"{shown(name)} {array}" for name, array in self.arrays.items()), len(self.arrays)))
            or "nothing"
        )

    def sha256(self) -> str:
        """Of the whole file."""
        digest = hashlib.sha256()
        self.file.seek(0)
        while block := self.file.read(BLOCK):
            digest.update(block)
        return digest.hexdigest()

    def read(self, names: Collection[str] | None = None, most: int | None = None) -> dict[str, np.ndarray]:
        """The arrays of these names that are there, or all, in memory and in this machine's byte order.

        Raises:
            ValueError: they hold more than `most` bytes, by default MOST and half of this machine's memory; or they are damaged.
        """
        wanted = {name: array for name, array in self.arrays.items() if names is None or name in names}
        size, limit = sum(array.size for array in wanted.values()), most or min(MOST, _memory() // 2)
        if size > limit:
            raise ValueError(f"it unpacks to {amount(size)}, and more than {amount(limit)} are refused: split it")
        return {name: self._read(array) for name, array in wanted.items()}

    def stream(self, name: str) -> Iterator[bytes]:
        """The values of an array, block by block; errors as of `read`."""
        array = self.arrays[name]
        left = array.size
        with _untrusted(), self.archive.open(array.member) as file:
            file.read(array.start)
            while block := file.read(min(BLOCK, left)):
                left -= len(block)
                yield block
            _ended(file, left)

    def _read(self, array: Array) -> np.ndarray:
        with _untrusted(), self.archive.open(array.member) as file:
            file.read(array.start)
            values = np.empty(array.size, np.uint8)
            place = 0
            while block := file.read(min(BLOCK, array.size - place)):
                values[place : place + len(block)] = np.frombuffer(block, np.uint8)
                place += len(block)
            _ended(file, array.size - place)
            if (
                array.dtype.kind == "U"
                and array.size
                and int(values.view(array.dtype.byteorder + "u4").max()) > 0x10FFFF
            ):
                raise ValueError("it holds texts of numbers that are no letters")
            found = values.view(array.dtype).reshape(array.shape, order="F" if array.columns else "C")
            return found.astype(array.dtype.newbyteorder("="), copy=False)


@contextmanager
def open_npz(path: Path) -> Iterator[Arrays]:
    """The arrays of a .npz; errors as of `Arrays`, and an OSError where there is no such file."""
    with open_plain(path) as file:
        yield Arrays(file)


def read(path: Path, names: Collection[str] | None = None, most: int | None = None) -> dict[str, np.ndarray]:
    """The arrays of these names in a .npz, or all; errors as of `open_npz` and `Arrays.read`."""
    with open_npz(path) as arrays:
        return arrays.read(names, most)


def _looked(archive: zipfile.ZipFile, whole: int) -> Iterator[tuple[str, Array]]:
    """The arrays of a zip by their names."""
    members, seen = archive.infolist(), set()
    if sum(member.compress_size for member in members) > whole:
        raise ValueError("its members overlap")
    if len(members) > MEMBERS:
        raise ValueError(f"it holds {len(members):,} arrays, and {MEMBERS:,} are the most")
    for member in members:
        name = member.filename.removesuffix(".npy")
        if name in seen or name == member.filename:
            raise ValueError(
                f"it holds {shown(member.filename)!r}" + (" twice" if name in seen else ", which is no .npy")
            )
        seen.add(name)
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{shown(name)} is encrypted, or packed in a way that NumPy does not write")
        if member.file_size > FREE and member.file_size > RATIO * member.compress_size:
            raise ValueError(
                f"{shown(name)} unpacks from {amount(member.compress_size)} to {amount(member.file_size)}, more than {RATIO} times as much, "
                "which is refused: write it by np.savez, which does not pack"
            )
        try:
            yield name, _header(archive, member)
        except ValueError as error:
            raise ValueError(f"{shown(name)} {error}") from error


def _header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    """What a member's first bytes say, and that its size agrees."""
    with archive.open(member) as file:
        first = file.read(12)
        if first[:6] != npy.MAGIC_PREFIX or first[6:8] not in (b"\1\0", b"\2\0"):
            raise ValueError("is no array")
        width = 2 if first[6] == 1 else 4
        length = int.from_bytes(first[8 : 8 + width], "little")
        if length > HEADER:
            raise ValueError(f"has a header of {length:,} bytes; that of a plain array has 128")
        start = 8 + width + length
        content = io.BytesIO(first + file.read(start - len(first)))
    content.seek(8)
    shape, columns, dtype = (npy.read_array_header_1_0 if width == 2 else npy.read_array_header_2_0)(content)
    if dtype.kind not in "biufU" or not dtype.itemsize:
        raise ValueError(
            "holds objects, which are refused"
            if dtype.hasobject
            else f"holds {shown(str(dtype))[:80]}; numbers or texts are expected"
        )
    if len(shape) > 32 or not all(0 <= side <= LONGEST for side in shape):
        raise ValueError(f"has the shape {str(shape)[:80]}")
    size = math.prod(shape) * dtype.itemsize
    if start + size != member.file_size:
        raise ValueError(f"has {member.file_size - start:,} bytes of values; {dtype}{list(shape)} has {size:,}")
    return Array(dtype, shape, size, columns, member, start)


def _ended(file: BinaryIO, left: int) -> None:
    if left or file.read(1):  # the checksum is compared at the end
        raise ValueError("it is truncated")


def _memory() -> int:
    """Bytes of this machine's memory; what is never too little where that cannot be known."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2 * MOST


@contextmanager
def _untrusted() -> Iterator[None]:
    """Whatever zip, zlib and NumPy raise at what a file says is a ValueError."""
    try:
        yield
    except ValueError:
        raise
    except MemoryError as error:
        raise ValueError("it does not fit into memory: split it") from error
    except Exception as error:
        raise ValueError(f"not a whole .npz of plain arrays: {shown(str(error)) or type(error).__name__}") from error
