"""Arrays in .npz and .npy files: headers are checked before anything is unpacked, and nothing in a file is executed."""

from __future__ import annotations

import hashlib
import io
import math
import os
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as npy

from gankit.data.reading.files import listed, open_plain
from gankit.disk import amount
from gankit.text import shown

MOST = 2**33  # bytes of arrays that are read into memory
RATIO, FREE = 100, 2**26  # refused: arrays above RATIO times their packed size and above FREE bytes
HEADER = 1000  # bytes of a header; plain arrays have 128
LONGEST = 2**48  # along an axis
MEMBERS = 10_000
BLOCK = 2**20


class Array(NamedTuple):
    """The header of an array.

    Args:
        dtype: of the numbers or texts.
        shape: of the array.
        size: bytes of the values.
        columns: whether the values are stored column by column (Fortran order).
        member: name of the archive member that holds the array; "" for a .npy.
        start: bytes of the header before the values.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    size: int
    columns: bool
    member: str
    start: int

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


class Arrays:
    """The arrays of a .npz by their names, before they are unpacked.

    Args:
        file: a regular file, open for reading.

    Raises:
        ValueError: it is not a .npz of plain arrays, or unpacks to more than its headers say, or to far more than its
            size.
    """

    def __init__(self, file: BinaryIO):
        self.file = file
        with _untrusted():
            self.archive = zipfile.ZipFile(file)
            self.arrays = dict(_headers(self.archive, file.seek(0, os.SEEK_END)))

    def __str__(self) -> str:
        arrays = (f"{shown(name)} {array}" for name, array in self.arrays.items())
        return ", ".join(listed(arrays, len(self.arrays))) or "nothing"

    def sha256(self) -> str:
        """The hash of the whole file."""
        digest = hashlib.sha256()
        self.file.seek(0)
        while block := self.file.read(BLOCK):
            digest.update(block)
        return digest.hexdigest()

    def read(self, names: Collection[str] | None = None, most: int | None = None) -> dict[str, np.ndarray]:
        """The named arrays that exist, or all, in memory and in this machine's byte order.

        Raises:
            ValueError: they are damaged, or hold more than `most` bytes; default: MOST or half the memory.
        """
        wanted = {name: array for name, array in self.arrays.items() if names is None or name in names}
        size, limit = sum(array.size for array in wanted.values()), most or min(MOST, memory() // 2)
        if size > limit:
            raise ValueError(f"it unpacks to {amount(size)}, and more than {amount(limit)} are refused: split it")
        return {name: self._read(array) for name, array in wanted.items()}

    def stream(self, name: str) -> Iterator[bytes]:
        """The values of an array, block by block; raises as `read`."""
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
            is_text = array.dtype.kind == "U" and array.size > 0
            if is_text and int(values.view(array.dtype.byteorder + "u4").max()) > 0x10FFFF:
                raise ValueError("it holds texts with numbers that are no characters")
            shaped = values.view(array.dtype).reshape(array.shape, order="F" if array.columns else "C")
            return shaped.astype(array.dtype.newbyteorder("="), copy=False)


@contextmanager
def open_npz(path: Path) -> Iterator[Arrays]:
    """The arrays of a .npz; raises as `Arrays`, and OSError if there is no such file."""
    with open_plain(path) as file:
        yield Arrays(file)


def read(path: Path, names: Collection[str] | None = None, most: int | None = None) -> dict[str, np.ndarray]:
    """The named arrays in a .npz, or all; raises as `open_npz` and `Arrays.read`."""
    with open_npz(path) as arrays:
        return arrays.read(names, most)


def _headers(archive: zipfile.ZipFile, whole: int) -> Iterator[tuple[str, Array]]:
    """The names and headers of the arrays in a zip of `whole` bytes."""
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
                f"{shown(name)} unpacks from {amount(member.compress_size)} to {amount(member.file_size)}, "
                f"more than {RATIO} times as much, which is refused: write it with np.savez, which does not compress"
            )
        try:
            with archive.open(member) as file:
                yield name, _header(file, member.file_size, member.filename)
        except ValueError as error:
            raise ValueError(f"{shown(name)} {error}") from error


def npy_header(file: IO[bytes], size: int) -> Array:
    """The header of a .npy of `size` bytes, which is open at its beginning.

    Raises:
        ValueError: it is no array of plain numbers or texts, or of another size than its header says.
    """
    with _untrusted():
        return _header(file, size, "")


def _header(file: IO[bytes], whole: int, member: str) -> Array:
    """The header of an array with `whole` bytes, which must agree with its size."""
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
    if start + size != whole:
        raise ValueError(f"has {whole - start:,} bytes of values; {dtype}{list(shape)} has {size:,}")
    return Array(dtype, shape, size, columns, member, start)


def _ended(file: IO[bytes], left: int) -> None:
    """Check that the file ends here, with `left` bytes missing. Raises ValueError."""
    if left or file.read(1):  # the checksum is compared at the end
        raise ValueError("it is truncated")


def memory() -> int:
    """Bytes of this machine's memory; if unknown, an amount that sets no limit."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2 * MOST


@contextmanager
def _untrusted() -> Iterator[None]:
    """Turn any error of zip, zlib and NumPy about the content of a file into a ValueError."""
    try:
        yield
    except ValueError:
        raise
    except MemoryError as error:
        raise ValueError("it does not fit into memory: split it") from error
    except Exception as error:
        raise ValueError(f"not a whole .npz of plain arrays: {shown(str(error)) or type(error).__name__}") from error
