"""Images that are decoded each time they are read, as they are too many to be prepared."""

from __future__ import annotations

import math
import os
import re
import shutil
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path

import numpy as np

from gankit.data.reading import cache, decoding
from gankit.data.reading.choices import Reading
from gankit.data.reading.files import SHOWN, File, listed, open_files
from gankit.disk import amount
from gankit.text import aside, shown

PACKED = re.compile(r"\.(tgz|tbz2|txz|tar\.\w+)$")
NEXT = 1000  # damaged images in a row that are replaced
Fetched = tuple[int, "bytes | ValueError"]


class Decoder:
    """Reads samples by number, as `Dataset.read` does.

    A damaged image stops reading; with `skip_bad` the next image that can be decoded takes its place, always the same.

    Args:
        shape: (C, H, W) of a decoded image.
        how: fit, alpha and skip_bad; without a resolution, images of another size are damaged ones.
        size: samples.
        fetch: numbers (n,) to (place among them, bytes of the file) for each, in any order; a ValueError in place of
            the bytes of an unreadable file.
        name: of the file of a sample.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        how: Reading,
        size: int,
        fetch: Callable[[np.ndarray], Iterator[Fetched]],
        name: Callable[[int], str],
    ):
        self.shape, self.how, self.size, self.fetch, self.name = shape, how, size, fetch, name
        self.instead: dict[int, int] = {}
        self.bad: list[tuple[str, str]] = []
        self.lock = threading.Lock()
        weakref.finalize(self, summarise, self.bad)

    def only(self, kept: np.ndarray) -> Decoder:
        """A decoder of some of the samples, numbered anew."""

        def fetch(numbers: np.ndarray) -> Iterator[Fetched]:
            return self.fetch(kept[numbers])

        return Decoder(self.shape, self.how, len(kept), fetch, lambda number: self.name(int(kept[number])))

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """The images of these numbers (n,), as new (n, C, H, W) uint8.

        Raises:
            IndexError: there is no such image.
            ValueError: one is damaged, and `skip_bad` is not given.
            OSError: the files cannot be read.
        """
        numbers = np.asarray(numbers, np.int64)
        if len(numbers) and not (numbers.min() >= 0 and numbers.max() < self.size):
            raise IndexError(f"images {numbers.min()} to {numbers.max()} are asked for, and there are {self.size}")
        pixels = np.empty((len(numbers), *self.shape), np.uint8)
        for place, content in self.fetch(self.replaced(numbers)):
            try:
                pixels[place] = self.decode(content)
            except ValueError as reason:
                pixels[place] = self.other(int(numbers[place]), str(reason))
        return pixels

    def decode(self, content: bytes | ValueError) -> np.ndarray:
        """Decode an image. Raises ValueError with the reason if it cannot be used."""
        if isinstance(content, ValueError):
            raise content
        if not self.how.resolution:
            header = decoding.probe(content)
            if (header.height, header.width) != self.shape[1:]:
                height, width = self.shape[1:]
                raise ValueError(f"{header.height}x{header.width}, and the first images are {height}x{width}")
        return decoding.decode(content, self.shape, self.how.fit, self.how.alpha, jpeg=self.how.jpeg)

    def other(self, number: int, reason: str) -> np.ndarray:
        """The image in place of a damaged one."""
        name = shown(self.name(number))
        if not self.how.skip_bad:
            advice = "" if self.how.resolution else ", or add --resolution" * ("first images" in reason)
            raise ValueError(
                f"{name}: {reason}. Add --skip-bad to replace such images by the next one{advice}; a run goes on from "
                "its last save by `gankit resume RUN --skip-bad`"
            )
        for step in range(1, min(NEXT, self.size)):
            candidate = (number + step) % self.size
            for _, content in self.fetch(np.array([candidate])):
                try:
                    pixels = self.decode(content)
                except ValueError:
                    continue
                with self.lock:
                    if number not in self.instead:
                        self.instead[number] = candidate
                        self.bad.append((name, reason))
                        if len(self.bad) <= SHOWN:
                            aside(f"gankit: {name}: {reason}; replaced by {shown(self.name(candidate))}")
                return pixels
        raise ValueError(f"{name}: {reason}, and so are the {NEXT:,} images after it: the data is not what it was")

    def replaced(self, numbers: np.ndarray) -> np.ndarray:
        """The numbers of the images that were read for these numbers: others where they were damaged."""
        if not self.instead:
            return numbers
        return np.array([self.instead.get(number, number) for number in numbers.tolist()], np.int64)


class Files:
    """The bytes of files by number, from a folder or an archive that stays open.

    Args:
        path: of the folder or archive.
        wanted: its files, by number.
    """

    def __init__(self, path: Path, wanted: list[File]):
        self.wanted, self.stack = wanted, ExitStack()
        weakref.finalize(self, self.stack.close)
        if PACKED.search(path.name.lower()) and path.is_file():
            raise ValueError(
                "it does not fit into the cache once prepared, and a compressed tar is not read from any place: unpack "
                "the compression (gunzip, bunzip2, unxz), give a lower --resolution or a higher --cache-limit"
            )
        self.source = self.stack.enter_context(open_files(path))
        # archives have one position for all threads
        self.lock: AbstractContextManager[object] = threading.Lock() if path.is_file() else nullcontext()

    def fetch(self, numbers: np.ndarray) -> Iterator[Fetched]:
        """The place and the bytes of each of these files; ValueError for unreadable ones."""
        for place, number in enumerate(numbers.tolist()):
            try:
                with self.lock:
                    content = self.source.read(self.wanted[number])
                if len(content) != self.wanted[number].size:
                    raise ValueError(f"it holds {len(content):,} bytes now, and held {self.wanted[number].size:,}")
            except ValueError as error:
                yield place, error
                continue
            yield place, content


def too_large(count: int, shape: tuple[int, ...], limit: int) -> str:
    """Why prepared images would not fit, in a sentence for the user; "" if they fit."""
    need, folder = count * math.prod(shape), cache.location()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if need <= min(limit, free):
        return ""
    space = f"{amount(free)} of its disk are free" if free < limit else f"--cache-limit is {amount(limit)}"
    return f"Prepared, the images would take {amount(need)} of the cache, and {space}: {advice()}."


def summarise(bad: list[tuple[str, str]]) -> None:
    """Say at the end how many images were replaced."""
    if bad:
        lines = "".join(f"\n  {line}" for line in listed((f"{name}: {reason}" for name, reason in bad), len(bad)))
        aside(f"gankit: {len(bad):,} damaged images were replaced by the next one (--skip-bad):{lines}")


def advice() -> str:
    """How to decode faster, for notes."""
    cores = os.cpu_count() or 1
    return f"they are decoded each time they are shown: --workers {cores} uses all {cores} cores"
