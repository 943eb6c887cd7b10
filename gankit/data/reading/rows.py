"""Rows of prepared data, read by number: checked at their first read, and prepared again if they were altered."""

from __future__ import annotations

import os
import threading
import weakref
import zlib
from collections.abc import Callable

import numpy as np

from gankit.data.reading import cache
from gankit.text import aside, shown

KEPT = 2**30  # bytes; smaller sets stay in memory, larger ones are read from the file each time


class Altered(Exception):
    """The reason why rows differ from those that were prepared."""


class Rows:
    """The rows of prepared data. No memory map: truncating a mapped file kills the process by SIGBUS.

    Args:
        prepared: the data, from `cache.prepare`.
        again: prepares the data again from its source.
        source: name of the source, for messages.
        keep: small sets stay in memory once read; False for rows that are read once.
    """

    def __init__(self, prepared: cache.Prepared, again: Callable[[], cache.Prepared], source: str, keep: bool = True):
        self.prepared, self.again, self.source, self.keep = prepared, again, shown(source), keep
        self.count, self.parts = prepared.info["count"], prepared.info["parts"]
        self.lock = threading.Lock()
        self.file = RowFile(prepared, keep)

    def of(
        self, shape: tuple[int, ...], part: int = 0, dtype: type[np.generic] | np.dtype = np.uint8
    ) -> Callable[[np.ndarray], np.ndarray]:
        """A function that reads a part of the rows as an array: numbers (n,) to a new (n, *shape)."""
        return lambda numbers: self.read(numbers, part).view(dtype).reshape(len(numbers), *shape)

    def read(self, numbers: np.ndarray, part: int = 0) -> np.ndarray:
        """One part of the rows of these numbers (n,), as new bytes (n, size).

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
                with self.lock:  # if several threads find it altered, one prepares it again
                    if self.file is file:
                        self.renew(why)
        raise OSError(
            f"the prepared data {self.prepared.pixels.parent} is altered again and again while it is read; "
            "set GANKIT_CACHE to another folder"
        )

    def renew(self, why: Exception) -> None:
        """Prepare the data again, and read from the new file."""
        folder = self.prepared.pixels.parent
        aside(f"gankit: the prepared data {folder} was altered ({why}); preparing it again from {self.source}")
        try:
            cache.drop(self.prepared, self.file.inode)
            prepared = self.again()
        except (OSError, ValueError) as error:
            raise OSError(
                f"the prepared data {folder} was altered ({why}), "
                f"and cannot be prepared again from {self.source}: {error}"
            ) from error
        if prepared.name != self.prepared.name:
            raise OSError(
                f"the prepared data {folder} was altered ({why}), "
                f"and {self.source} has changed since: restore it, or start a new run"
            )
        self.prepared, self.file = prepared, RowFile(prepared, self.keep)


class RowFile:
    """The open file of prepared rows, with a record of the rows that were checked; `keep` as of `Rows`."""

    def __init__(self, prepared: cache.Prepared, keep: bool):
        self.handle = os.open(prepared.pixels, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self.handle)
        self.inode = os.fstat(self.handle).st_ino
        self.parts, self.checks = prepared.info["parts"], prepared.checks
        self.checked = np.zeros(self.checks.shape, bool)
        small = keep and len(self.checks) * sum(self.parts) <= KEPT
        # empty arrays take memory only as they are filled
        self.kept = [np.empty((len(self.checks), size), np.uint8) for size in self.parts] if small else []

    def read(self, numbers: np.ndarray, part: int) -> np.ndarray:
        """One part of the rows of these numbers, (n, size).

        Raises:
            Altered: the file is shorter than it was, or a row that is read for the first time has changed.
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
        """Read one part of a row into `row`, and check it at its first read."""
        view, place = row.data, number * sum(self.parts) + sum(self.parts[:part])
        if not filled(self.handle, view, place):
            raise Altered(f"its file ends before byte {place + len(view):,}")
        if not self.checked[number, part] and zlib.crc32(view) != self.checks[number, part]:
            raise Altered(f"row {number} does not match its checksum")


def filled(handle: int, view: memoryview, place: int) -> bool:
    """Fill a view with the bytes at an offset of a file. Returns whether the file has that many."""
    while view:
        if hasattr(os, "preadv"):
            count = os.preadv(handle, [view], place)
        else:
            with SEEKING:  # Windows: all threads share the position in the file
                os.lseek(handle, place, os.SEEK_SET)
                content = os.read(handle, len(view))
            count = len(content)
            view[:count] = content
        if not count:
            return False
        view, place = view[count:], place + count
    return True


SEEKING = threading.Lock()
