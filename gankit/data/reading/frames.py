"""Files of several images as files of one: the pages of a TIFF, the frames of an animation, the slices of a volume."""

from __future__ import annotations

import io
import os
import re
import struct
from collections.abc import Callable, Iterator
from threading import Lock
from typing import NamedTuple

import numpy as np
from PIL import Image

from gankit.data.reading import decoding, volumes
from gankit.data.reading.files import File, FileSet
from gankit.text import shown

PAGE = re.compile(r"#\d{4,}$")  # after the name of the file: vol.tif#0003 is its third page
ENDINGS = (".tif", ".tiff", ".gif", ".webp", ".png", ".avif")
MOST = 10_000  # pages of a file
MOST_PIXELS = 2**31  # of all pages of a file
SUBFILE = 254  # a TIFF's tag that marks smaller copies of another page
Pages = volumes.Pages
Opener = Callable[[bytes], Pages]


class Place(NamedTuple):
    """Where a page is: its file, how to open it, and the number of the page."""

    file: File
    open: Opener
    number: int


def whole(name: str) -> str:
    """The name of the file that holds a page; of any other file, its own name."""
    return PAGE.sub("", name)


def expanded(source: FileSet, frames: str) -> FileSet:
    """The files with every page or slice as a file of its own; the slices of a DICOM series in their order.

    Args:
        source: the files.
        frames: "all" for the pages of TIFFs, GIFs, WebPs and PNGs, too; "first" for volumes alone.
    """
    everything = [*source.files, *(file for file, _ in source.unseen)]
    openers = volumes.openers(everything, source.read)
    if frames == "all":
        openers |= {file: _frames for file in everything if file.name.lower().endswith(ENDINGS)}
    if not openers:
        return source
    places: dict[File, Place] = {}
    flaws: dict[File, str] = {}
    orders: dict[File, tuple[object, ...]] = {}

    def pages_of(file: File) -> list[File]:
        if file not in openers:
            return [file]
        try:
            pages = openers[file](source.read(file))
        except ValueError as error:
            flaws[file] = str(error)
            return [file]
        if openers[file] is _frames and pages.count == 1:
            return [file]
        listed = [File(f"{file.name}#{i + 1:04d}", file.size // pages.count, file.stamp) for i in range(pages.count)]
        for i, page in enumerate(listed):
            places[page], orders[page] = Place(file, openers[file], i), (*pages.order, i)
        return listed

    def bare(name: str) -> str:
        page = PAGE.search(name)
        return source.bare(whole(name)) + (page[0] if page else "")

    listed = [page for file in source.files for page in pages_of(file)]
    unseen = [page for file, _ in source.unseen for page in pages_of(file)]
    read, names = _reader(source, places, flaws), frozenset(file.name for file in (*places, *flaws))
    return source._replace(
        files=_in_order(listed, orders),
        read=read,
        pages=names,
        unseen=tuple((page, read) for page in unseen),
        bare=bare,
        threaded=False,  # pages are read in their order
    )


def _reader(source: FileSet, places: dict[File, Place], flaws: dict[File, str]) -> Callable[[File], bytes]:
    """The function that reads files and pages; pages in order are read from a file that stays open."""
    lock = Lock()
    last: tuple[File, Pages] | None = None

    def read(file: File) -> bytes:
        nonlocal last
        if file in flaws:
            raise ValueError(flaws[file])
        if file not in places:
            return source.read(file)
        place = places[file]
        with lock:
            if last is None or last[0] is not place.file:
                last = place.file, place.open(source.read(place.file))
            with decoding.unusable():
                return tiff(last[1].read(place.number))

    return read


def _in_order(listed: list[File], orders: dict[File, tuple[object, ...]]) -> list[File]:
    """The files with the slices of each folder's series sorted among their places."""
    groups: dict[str, list[int]] = {}
    for i, file in enumerate(listed):
        if len(orders.get(file, ())) > 1:  # one number alone is that of a page in its file
            groups.setdefault(os.path.dirname(file.name), []).append(i)
    result = list(listed)
    for places in groups.values():
        for place, i in zip(places, sorted(places, key=lambda i: orders[listed[i]])):
            result[place] = listed[i]
    return result


def _frames(data: bytes) -> Pages:
    """The pages of an image file; smaller copies of a page are left out. Raises Unusable: there are too many."""
    with decoding.open_image(data):
        pass  # the limit of pixels, and what is no image
    image = Image.open(io.BytesIO(data), formats=decoding.formats(data))
    numbers: list[int] = []
    pixels = 0
    with decoding.unusable():
        for i in _seek(image):
            pixels += image.width * image.height
            if i == MOST or pixels > MOST_PIXELS or image.width * image.height > decoding.MAX_PIXELS:
                raise decoding.Unusable(
                    f"its pages are more than {MOST:,}, or hold more than {MOST_PIXELS:,} pixels: split it, or leave "
                    "--frames all out"
                )
            if not getattr(image, "tag_v2", {}).get(SUBFILE, 0) & 1:
                numbers.append(i)

    def read(number: int) -> np.ndarray:
        image.seek(numbers[number])
        if decoding.is_deep_rgb(image):
            return decoding.colours(image, data)
        page = decoding.upright(image)
        if page.mode in decoding.DEEP:
            return np.asarray(page)
        return np.asarray(
            page.convert("RGBA" if page.has_transparency_data else "L" if page.mode in ("1", "L") else "RGB")
        )

    return Pages(max(1, len(numbers)), read)


def _seek(image: Image.Image) -> Iterator[int]:
    """Go to each page of an image in turn."""
    if not getattr(image, "is_animated", False):
        return
    for i in range(MOST + 1):
        try:
            image.seek(i)
        except EOFError:
            return
        yield i


def tiff(pixels: np.ndarray) -> bytes:
    """An uncompressed TIFF of (H, W) or (H, W, C) numbers: the same bytes with every version of Pillow.

    Raises:
        ValueError: there is no TIFF of such numbers that Pillow reads.
    """
    kind = pixels.dtype.kind
    if kind == "b":
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    elif kind == "f":
        pixels = pixels.astype("<f4")
    elif kind not in "iu":
        raise ValueError(f"its pixels are {shown(str(pixels.dtype))}, and numbers are expected")
    elif pixels.dtype not in (np.uint8, np.uint16):
        if pixels.size and not -(2**31) <= int(pixels.min()) <= int(pixels.max()) < 2**31:
            raise ValueError("its whole numbers have more than 32 bits")
        pixels = pixels.astype("<i4")
    pixels = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder("<")))
    height, width, channels = (*pixels.shape, 1)[:3]
    bits, form = 8 * pixels.dtype.itemsize, {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    fields = [
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, [bits] * channels),
        (259, 3, [1]),  # not compressed
        (262, 3, [2 if channels > 2 else 1]),
        (273, 4, [8]),  # the pixels follow the header
        (277, 3, [channels]),
        (278, 4, [height]),
        (279, 4, [pixels.nbytes]),
        *[(338, 3, [2])] * (channels == 4),  # alpha that colours are not multiplied by
        (339, 3, [form] * channels),
    ]
    start = 8 + pixels.nbytes + pixels.nbytes % 2
    further = start + 2 + 12 * len(fields) + 4
    directory, beyond = struct.pack("<H", len(fields)), b""
    for tag, code, numbers in fields:
        packed = struct.pack(f"<{len(numbers)}{'H' if code == 3 else 'I'}", *numbers)
        if len(packed) > 4:
            packed, beyond = struct.pack("<I", further + len(beyond)), beyond + packed
        directory += struct.pack("<HHI", tag, code, len(numbers)) + packed.ljust(4, b"\0")
    head = struct.pack("<2sHI", b"II", 42, start)
    return head + pixels.tobytes() + b"\0" * (pixels.nbytes % 2) + directory + b"\0" * 4 + beyond
