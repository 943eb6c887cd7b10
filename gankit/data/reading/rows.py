"""Rows of prepared data, read by number: checked when they are first read, and prepared again where they were altered."""

from __future__ import annotations

import os
import threading
import weakref
import zlib
from collections.abc import Callable

import numpy as np

from gankit.data.reading import cache
from gankit.text import aside, shown

KEPT = 2**30  # bytes of prepared data that a process keeps in memory; larger sets are read from the file each time


class Altered(Exception):
    """Why rows are not those that were prepared."""


class Rows:
    """The rows of prepared data, which a memory map would not read safely: a file that is cut under one ends the process by SIGBUS.

    Args:
        prepared: the data, as `cache.prepare` gives it.
        again: prepares it anew, from its source.
        source: the name of that source, for messages.
        keep: let small sets stay in memory once they were read; not worth it for rows that are read once.
    """

    def __init__(self, prepared: cache.Prepared, again: Callable[[], cache.Prepared], source: str, keep: bool = True):
        self.prepared, self.again, self.source, self.keep = prepared, again, shown(source), keep
        self.count, self.parts = prepared.info["count"], prepared.info["parts"]
        self.lock = threading.Lock()
        self.file = File(prepared, keep)

    def of(
        self, shape: tuple[int, ...], part: int = 0, dtype: type[np.generic] | np.dtype = np.uint8
    ) -> Callable[[np.ndarray], np.ndarray]:
        """What reads a part of the rows as an array: numbers (n,) to a new (n, *shape)."""
        return lambda numbers: self.read(numbers, part).view(dtype).reshape(len(numbers), *shape)

    def read(self, numbers: np.ndarray, part: int = 0) -> np.ndarray:
        """A part of the rows of these numbers (n,), as new bytes (n, size).

        Raises:
            IndexError: there is no such row.
            OSError: the prepared data was altered, and cannot be prepared again as it was.
        """
        numbers = np.asarray(numbers, np.int64)
        if len(numbers) and not (numbers.min() >= 0 and numbers.max() < self.count):
            raise IndexError(f"rows {numbers.min()} to {numbers.max()} are asked for, and there are {self.count}")
        for _ in range(3):
            file = self.file
            try:
                return file.read(numbers, part)
            except (Altered, OSError) as why:
                with self.lock:  # of several threads that find it altered, one prepares it again
                    if self.file is file:
                        self.renew(why)
        raise OSError(
            f"the prepared data {self.prepared.pixels.parent} is altered again and again while it is read; set GANKIT_CACHE to another folder"
        )

    def renew(self, why: Exception) -> None:
        """Prepare the data again, and go on with that."""
        folder = self.prepared.pixels.parent
        aside(f"gankit: the prepared data {folder} was altered ({why}); preparing it again from {self.source}")
        try:
            cache.drop(self.prepared, self.file.inode)
            made = self.again()
        except (OSError, ValueError) as error:
            raise OSError(
                f"the prepared data {folder} was altered ({why}), and cannot be prepared again from {self.source}: {error}"
            ) from error
        if made.name != self.prepared.name:
            raise OSError(
                f"the prepared data {folder} was altered ({why}), and {self.source} has changed since: put it back as it was, or begin anew"
            )
        self.prepared, self.file = made, File(made, self.keep)


class File:
    """The open file of prepared rows, and which of them were checked; with `keep`, small ones stay in memory once they were read."""

    def __init__(self, prepared: cache.Prepared, keep: bool):
        self.handle = os.open(prepared.pixels, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self.handle)
        self.inode = os.fstat(self.handle).st_ino
        self.parts, self.checks = prepared.info["parts"], prepared.checks
        self.checked = np.zeros(self.checks.shape, bool)
        small = keep and len(self.checks) * sum(self.parts) <= KEPT
        self.kept = (
            [np.empty((len(self.checks), size), np.uint8) for size in self.parts] if small else []
        )  # takes memory as it is filled

    def read(self, numbers: np.ndarray, part: int) -> np.ndarray:
        """A part of the rows of these numbers, (n, size).

        Raises:
            Altered: the file is shorter than it was, or bytes that are read for the first time are not those that were written.
            OSError: it cannot be read.
        """
        if self.kept:
            row = np.empty(self.parts[part], np.uint8)
            for number in np.unique(numbers[~self.checked[numbers, part]]).tolist():
                self.fill(row, number, part)
                self.kept[part][number] = row
                self.checked[number, part] = True
            return self.kept[part][numbers]
        rows = np.empty((len(numbers), self.parts[part]), np.uint8)
        for row, number in zip(rows, numbers.tolist()):
            self.fill(row, number, part)
        self.checked[numbers, part] = True
        return rows

    def fill(self, row: np.ndarray, number: int, part: int) -> None:
        """Read a part of one row, and check it if it was not read before."""
        view, place = memoryview(row), number * sum(self.parts) + sum(self.parts[:part])
        if not _fill(self.handle, view, place):
            raise Altered(f"its file ends before byte {place + len(view):,}")
        if not self.checked[number, part] and zlib.crc32(view) != self.checks[number, part]:
            raise Altered(f"row {number} does not match its checksum")


def _fill(handle: int, view: memoryview, place: int) -> bool:
    """Read bytes at a place of a file into a view; whether there are as many."""
    while view:
        if hasattr(os, "preadv"):
            count = os.preadv(handle, [view], place)
        else:
            with SEEKING:  # Windows: a place in the file that all threads share
                os.lseek(handle, place, os.SEEK_SET)
                content = os.read(handle, len(view))
            count = len(content)
            view[:count] = content
        if not count:
            return False
        view, place = view[count:], place + count
    return True


SEEKING = threading.Lock()
