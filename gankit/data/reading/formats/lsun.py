"""LSUN's LMDB files, and others with an encoded image for each key: a reader of the file's pages.

The package lmdb maps the file into memory and trusts what is in it: a damaged or truncated file ends the process. Here
each page is read and checked, nothing is mapped, and the package is not needed. The format is that of LMDB 0.9: pages
of one size, of which two at the beginning say where the root of a tree is; branches have the numbers of further pages,
and leaves have keys with values, the long ones on pages of their own.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gankit.data.reading.files import MAX_BYTES, File, FileSet, listed
from gankit.data.reading.formats.packing import Blob, base_of, blob, folder_of, require_count
from gankit.text import shown

NAME = "data.mdb"
MAGIC, VERSION = 0xBEEFC0DE, 1
BRANCH, LEAF, OVERFLOW = 1, 2, 4  # kinds of pages
HEAD = 16  # bytes of a page before its contents
BIG, TABLE = 1, 6  # flags of a value: on pages of its own; a tree or a list of values
DEEP = 32  # pages from the root to a leaf; 2^32 keys need fewer
PLAIN = re.compile(rb"[\w.-]{1,200}", re.ASCII)
PART = re.compile(r"(?P<before>.*?)[-_.]?(?P<part>train|val|test)(?P<after>(?:[-_.].*)?)", re.IGNORECASE)
RESOLUTION = re.compile(r"(\d{1,4})-\d+")  # keys of data that was resized for ProGAN or StyleGAN
SIGNATURES = (
    (b"\xff\xd8\xff", ".jpg"), (b"\x89PNG", ".png"), (b"RIFF", ".webp"), (b"BM", ".bmp"), (b"GIF8", ".gif"),
    (b"II*\0", ".tif"), (b"MM\0*", ".tif"),
)  # fmt: skip


class Value(NamedTuple):
    """A value: its key, and where its bytes are in the file."""

    key: bytes
    start: int
    size: int


def holds(files: list[File]) -> list[File]:
    """The files with the data of an LMDB."""
    return [file for file in files if base_of(file.name) == NAME]


def beside(name: str) -> list[str]:
    """None: all is in the file itself."""
    return []


def present(path: Path, source: FileSet, wanted: list[File]) -> FileSet:
    """The images of LMDBs: one, or those for training and validation.

    Raises:
        ValueError: the data of several sets is there, a file is damaged, or its values are no encoded images.
    """
    root = path.resolve() if path.is_dir() else path.resolve().parent
    folders = [folder_of(file.name).rstrip("/") or root.name for file in wanted]
    parts = [_part(folder) for folder in folders]
    if len({name for name, _ in parts}) > 1 or len(set(parts)) < len(parts):
        sets = ", ".join(listed(map(shown, folders), len(folders)))
        raise ValueError(f"{len(wanted)} LMDBs are here that are no parts of one set: {sets}; give one of them")
    parts = parts if len(parts) > 1 else [("", "")]  # the user named the part itself
    files: list[File] = []
    places: dict[str, tuple[Blob, Value]] = {}
    notes: list[str] = []
    for file, (_, part) in zip(wanted, parts):
        stored = blob(source, file, ahead=0)
        try:
            values, note = _largest([value for value in _values(stored) if value.key != b"length"])
        except (struct.error, RecursionError) as error:
            raise ValueError(f"{shown(file.name)} is damaged: {error}") from error
        notes += note
        ending = _ending(stored, values)
        for value in values:
            name = f"{part}/" * bool(part) + _name(value.key) + ending
            files.append(File(name, value.size, ""))
            places[name] = stored, value

    def read(file: File) -> bytes:
        stored, value = places[file.name]
        return stored.read(value.start, value.size)

    return FileSet(files, read, tuple(notes), title="LMDB, as LSUN's")


def _part(folder: str) -> tuple[str, str]:
    """The set and the part in the name of a folder: church_outdoor_lmdb and train of church_outdoor_train_lmdb."""
    match = PART.fullmatch(folder)
    return (match["before"] + match["after"], match["part"].lower()) if match else (folder, "")


def _name(key: bytes) -> str:
    """A key as a file name; other bytes than letters and digits as hexadecimal digits after a tilde."""
    return key.decode("ascii") if PLAIN.fullmatch(key) else f"~{key.hex()[:200]}"


def _largest(values: list[Value]) -> tuple[list[Value], list[str]]:
    """The values of the largest resolution, where keys begin with one (256-00000), and a note if there are others."""
    sides = [RESOLUTION.fullmatch(value.key.decode("latin1")) for value in values]
    if not values or not all(sides):
        return values, []
    numbers = [int(match[1]) for match in sides if match]
    most = max(numbers)
    others = ", ".join(map(str, sorted({*numbers} - {most})))
    note = [f"Each image is there at several sizes: {most} px are read, {others} px are not."] * bool(others)
    return [value for value, number in zip(values, numbers) if number == most], note


def _ending(stored: Blob, values: list[Value]) -> str:
    """The ending for the names of the images, by the first one. Raises ValueError if it is none."""
    if not values:
        raise ValueError(f"{shown(stored.name)} holds nothing")
    head = stored.read(values[0].start, min(12, values[0].size))
    for signature, ending in SIGNATURES:
        if head.startswith(signature):
            return ending
    raise ValueError(
        f"{shown(stored.name)} holds values that are no encoded images (the first begins with {head[:4].hex(' ')}); "
        "JPEG, PNG or WebP are expected, as in LSUN: write the images to a folder with the code that made this file"
    )


# The pages -----------------------------------------------------------------------------------------------------------


def _values(stored: Blob) -> Iterator[Value]:
    """All keys and values of a file, in the order of the keys.

    Raises:
        ValueError: it is no LMDB, or is damaged.
    """
    page_size, last, root, depth, entries = _meta(stored)
    require_count(stored.name, entries)
    if root == 2**64 - 1:
        return
    count, seen = 0, set[int]()
    waiting = [(root, 1)]
    while waiting:
        number, level = waiting.pop()
        if level > min(DEEP, max(1, depth)) or number in seen or not 2 <= number <= last:
            raise ValueError(f"{shown(stored.name)} is damaged: its tree leads to page {number} of {last}")
        seen.add(number)
        page = stored.read(number * page_size, page_size)
        kind, lower = struct.unpack_from("<2xHH", page, 8)
        nodes = struct.unpack_from(f"<{(lower - HEAD) // 2}H", page, HEAD) if HEAD <= lower <= page_size else ()
        if kind & BRANCH:
            children = [_child(page, node) for node in nodes]
            waiting += [(child, level + 1) for child in reversed(children)]
        elif kind & LEAF:
            for node in nodes:
                yield _value(stored, page, node, number * page_size, page_size)
                count += 1
                if count > entries:
                    raise ValueError(f"{shown(stored.name)} is damaged: it has more keys than it says")
        else:
            raise ValueError(f"{shown(stored.name)} is damaged: page {number} is neither a branch nor a leaf")
    if count != entries:
        raise ValueError(f"{shown(stored.name)} is damaged: it has {count:,} keys, and says {entries:,}")


def _meta(stored: Blob) -> tuple[int, int, int, int, int]:
    """Bytes of a page, number of the last page, and of the main tree the root page, depth and number of keys."""
    found = []
    page_size = 0
    for place in (0, 1):
        if stored.size < place * page_size + HEAD + 152:
            break
        head = stored.read(place * page_size + HEAD, 152)
        magic, version = struct.unpack_from("<II", head)
        if (magic, version) != (MAGIC, VERSION):
            break
        page_size = page_size or struct.unpack_from("<I", head, 24)[0]
        flags, depth = struct.unpack_from("<HH", head, 24 + 48 + 4)
        entries, root = struct.unpack_from("<QQ", head, 24 + 48 + 32)
        last, transaction = struct.unpack_from("<QQ", head, 24 + 96)
        if page_size not in [2**i for i in range(9, 17)] or flags & ~0x08:  # keys may be numbers; no lists of values
            break
        found.append((transaction, (page_size, last, root, depth, entries)))
    if not found:
        raise ValueError(f"{shown(stored.name)} is no LMDB of version 0.9 with one value for each key: fetch it again")
    meta = max(found)[1]
    if (meta[1] + 1) * meta[0] > stored.size:
        raise ValueError(
            f"{shown(stored.name)} is truncated: it has {stored.size:,} bytes, and {(meta[1] + 1) * meta[0]:,} are "
            "expected; fetch it again"
        )
    return meta


def _child(page: bytes, node: int) -> int:
    low, high, top = struct.unpack_from("<HHH", page, node)
    return low | high << 16 | top << 32


def _value(stored: Blob, page: bytes, node: int, at: int, page_size: int) -> Value:
    """The value of a node of a leaf that begins at this byte of the file."""
    low, high, flags, length = struct.unpack_from("<HHHH", page, node)
    size, start = low | high << 16, node + 8 + length
    key = page[node + 8 : start]
    if flags & TABLE:
        raise ValueError(f"{shown(stored.name)} holds several tables, or several values for a key, which is not read")
    if flags & BIG:
        begin = struct.unpack_from("<Q", page, start)[0] * page_size + HEAD
    elif start + size <= page_size:
        begin = at + start
    else:
        begin = stored.size
    if begin + size > stored.size or size > MAX_BYTES:
        raise ValueError(f"{shown(stored.name)} is damaged: a value lies outside of the file")
    return Value(key, begin, size)
