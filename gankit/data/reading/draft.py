"""Rows that are written while their images are read for the first time, before the shape of all images is known."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from gankit.data.reading import cache, decoding, ondemand
from gankit.data.reading.choices import Reading
from gankit.data.reading.decoding import Header
from gankit.data.reading.files import File
from gankit.disk import require_space

UNKNOWN = 2**30  # bytes of a row


class Row(NamedTuple):
    """A decoded image (C, H, W) uint8, and the CRC-32 of its bytes."""

    pixels: np.ndarray
    checksum: int


class Place(NamedTuple):
    """Where a row lies in the draft: its first byte, its shape and the CRC-32 of its bytes."""

    start: int
    shape: tuple[int, int, int]
    checksum: int


class Draft:
    """A file of decoded images, each with as few channels as it needs itself.

    A grey image that is fitted as one channel and then repeated is, bit for bit, one that is fitted as three. So a
    set with a single image in colour costs a copy of the draft, not another look at its files. Where the rows do not
    suffice, as with images deeper than 8 bits, whose scale depends on all of them, `holds` is false.

    Args:
        file: an empty file, opened to write and read.
        how: resolution, fit and alpha; without a resolution, the first image's size is taken.
        count: of the images.
    """

    def __init__(self, file: BinaryIO, how: Reading, count: int):
        self.file, self.how, self.count = file, how, count
        self.size, self.is_sized, self.fit = how.size, bool(how.resolution), (how.fit, how.alpha)
        self.with_alpha: bool | None = None  # whether the first image has alpha, if that is kept
        self.given_up = False
        self.row = UNKNOWN  # bytes of a row, once known
        self.places: dict[File, Place] = {}
        self.end = 0

    def examine(self, data: bytes) -> tuple[Header, str, Row | None]:
        """The header of an image, why its pixels cannot be used, and its row; several threads call it.

        Raises:
            Unusable: the image has no header.
        """
        if decoding.plain_pixels(data) is not None:  # nothing is gained by opening it once
            header = decoding.probe(data)
            return header, *self.row_of(header, lambda shape: decoding.decode(data, shape, *self.fit))
        with decoding.open_image(data) as image:
            header = decoding.header(image, data)

            def decode(shape: tuple[int, int, int]) -> np.ndarray:
                with decoding.unusable():
                    return decoding.decoded(image, data, header, shape, *self.fit, jpeg=self.how.jpeg)

            return header, *self.row_of(header, decode)

    def row_of(self, header: Header, decode: Callable[[tuple[int, int, int]], np.ndarray]) -> tuple[str, Row | None]:
        """Why the pixels of an image cannot be used, and its row from `decode`, given a shape."""
        if not self.takes(header):
            return "", None
        assert self.size is not None  # `takes` has set it
        try:
            pixels = decode((4 if self.with_alpha else 1 if header.grey else 3, *self.size))
        except ValueError as error:
            return str(error), None
        return "", Row(pixels, zlib.crc32(pixels.data))

    def takes(self, header: Header) -> bool:
        """Whether an image is worth decoding now."""
        if self.size is None:
            self.size = header[:2]
        if self.with_alpha is None:
            self.with_alpha = self.how.alpha == "keep" and header.alpha
        if self.row == UNKNOWN:
            self.row = 3 * self.size[0] * self.size[1]
            # Twice the space, as images of different channels are copied. Sets without it are decoded once more, or
            # each time they are shown.
            self.given_up |= bool(ondemand.too_large(2 * self.count, (3, *self.size), self.how.cache_bytes))
        self.given_up |= (
            header.mode in (*decoding.DEEP, decoding.DEEP_RGB)
            or (not self.is_sized and header[:2] != self.size)
            or (self.how.alpha == "keep" and header.alpha and not self.with_alpha)
        )
        return not self.given_up

    def add(self, file: File, row: Row | None) -> None:
        """Write the row of a file, if there is one; raises OSError if the disk is too small."""
        if row is None or self.given_up:
            return
        try:
            if not self.end:
                require_space(Path(self.file.name).parent, self.count * row.pixels.nbytes)
            self.file.write(row.pixels.data)
        except OSError as error:
            raise cache.unwritable(error) from error
        self.places[file] = Place(self.end, row.pixels.shape, row.checksum)
        self.end += row.pixels.nbytes

    def holds(self, images: Sequence[File], shape: tuple[int, int, int]) -> bool:
        """Whether the rows of all these images can be brought to this shape (C, H, W) by repeating channels."""
        known = {1: (1,), 3: (1, 3), 4: (4,)}[shape[0]]
        places = [self.places.get(image) for image in images]
        return (
            bool(images)
            and not self.given_up
            and all(place and place.shape[0] in known and place.shape[1:] == shape[1:] for place in places)
        )

    def discard(self) -> None:
        """Free the space of rows that do not suffice."""
        self.file.seek(0)
        self.file.truncate()

    def settle(self, out: Path, images: Sequence[File], shape: tuple[int, int, int]) -> None:
        """Move the rows of these images to another file, all of one shape, with their checksums beside."""
        places = [self.places[image] for image in images]
        if len(places) == len(self.places) and all(place.shape == shape for place in places):
            self.file.close()
            os.replace(self.file.name, out)
            cache.write_checks(out, [place.checksum for place in places])
            return
        require_space(out.parent, len(places) * int(np.prod(shape)))
        checks = []
        with open(out, "wb") as file:
            for start, (channels, height, width), checksum in places:
                self.file.seek(start)
                content = self.file.read(channels * height * width)
                if channels < shape[0]:
                    content *= shape[0]
                    checksum = zlib.crc32(content)
                file.write(content)
                checks.append(checksum)
        cache.write_checks(out, checks)
