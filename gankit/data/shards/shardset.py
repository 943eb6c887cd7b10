"""The shards of a set: where each is, what it holds, and its images as an open file."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from gankit.data.reading import cache, files
from gankit.data.reading.ondemand import Fetched
from gankit.data.reading.rows import filled
from gankit.data.shards import remote, rowgroups, shelf
from gankit.data.shards.members import Members, from_json, of_tar
from gankit.data.shards.spelling import Location
from gankit.text import shown

VERSION = 1  # part of the names of indexes: increase it when shards are read in another way
THREADS = 8  # that ask a server for sizes


class Shard(NamedTuple):
    """A shard as it was found: its place and file name, size in bytes, and a stamp that changes when it does."""

    place: str
    file: str
    size: int
    stamp: str
    is_remote: bool

    @property
    def key(self) -> str:
        """Of its index and its file in the cache."""
        return cache.key(VERSION, "shard", *self)


def found(locations: Sequence[Location]) -> list[Shard]:
    """The shards at these locations, in their order.

    Raises:
        ValueError: files are missing.
        OSError: a server does not answer.
    """

    def look(location: Location) -> Shard | str:
        if location.is_remote:
            file = remote.look(location.place)
            return Shard(location.place, location.file, file.size, file.stamp, True)
        try:
            status = os.stat(files.plain(Path(location.place)))
        except OSError as error:
            return f"{shown(location.place)}: {error.strerror}"
        return Shard(location.place, location.file, status.st_size, str(status.st_mtime_ns), False)

    with ThreadPoolExecutor(THREADS) as pool:
        shards = list(pool.map(look, locations))
    if missing := [shard for shard in shards if isinstance(shard, str)]:
        lines = "".join(f"\n  {line}" for line in files.listed(missing, len(missing)))
        raise ValueError(f"{len(missing):,} of {len(shards):,} shards are not there:{lines}")
    return [shard for shard in shards if isinstance(shard, Shard)]


class ShardSet:
    """Shards, read through the cache where they are on a server or parquet.

    Args:
        shards: in the order in which their samples are numbered.
        limit: bytes that the cache may take.
        counts: (S,) samples of each; default: not known yet.
        kept: shards whose lists of members stay in memory.
    """

    def __init__(self, shards: Sequence[Shard], limit: int, counts: np.ndarray | None = None, kept: int = 1):
        self.shards, self.limit = shards, limit
        self.counts = np.zeros(len(shards), np.int64) if counts is None else counts
        self.ends = np.cumsum(self.counts)
        self.members = lru_cache(kept)(self._members)
        self.coming: deque[int] = deque()
        self.arrived = threading.Condition()
        self.fetcher: threading.Thread | None = None

    def cached(self, number: int) -> int:
        """Bytes that a shard takes in the cache; 0 for a tar on this machine."""
        shard = self.shards[number]
        is_parquet = shard.file.lower().endswith(".parquet")
        return shard.size * (shard.is_remote + is_parquet)  # images in parquet are hardly compressed further

    @contextmanager
    def raw(self, number: int) -> Iterator[int]:
        """A shard as an open file. Raises OSError and ValueError."""
        shard = self.shards[number]
        if shard.is_remote:
            file = remote.Remote(shard.place, shard.size, shard.stamp)
            with shelf.opened(shard.key, shard.size, self.limit, lambda out: remote.download(file, out)) as handle:
                yield handle
            return
        with files.open_plain(Path(shard.place)) as opened:
            status = os.fstat(opened.fileno())
            if (status.st_size, str(status.st_mtime_ns)) != (shard.size, shard.stamp):
                raise OSError(f"{shown(shard.place)} was changed since it was indexed: restore it, or start a new run")
            yield opened.fileno()

    @contextmanager
    def images(self, number: int) -> Iterator[int]:
        """An open file in which `members` gives the places of the images."""
        shard = self.shards[number]
        if not shard.file.lower().endswith(".parquet"):
            with self.raw(number) as handle:
                yield handle
            return

        def unpack(out: Path) -> None:
            with self.raw(number) as handle, _reopened(handle) as file, open(out, "wb") as target:
                rowgroups.unpack(file, target)

        members = self.members(number)
        size = members.starts[-1] + members.sizes[-1] if len(members) else 0
        with shelf.opened(f"{shard.key}-images", size, self.limit, unpack) as handle:
            yield handle

    def _members(self, number: int) -> Members:
        """What a shard holds, from the index of an earlier time or from its file.

        Raises:
            ValueError: it is damaged.
            OSError: it cannot be read, or the index cannot be written.
        """
        shard = self.shards[number]
        path = cache.location() / "indexes" / f"{shard.key}.json"
        is_parquet = shard.file.lower().endswith(".parquet")
        with contextlib.suppress(OSError, ValueError):
            return from_json(path.read_bytes(), 2**62 if is_parquet else shard.size)
        with self.raw(number) as handle, _reopened(handle) as file:
            members = rowgroups.of_parquet(file) if is_parquet else of_tar(file, shard.size)
        write(path, members.to_json())
        return members

    def place(self, number: int) -> tuple[int, int]:
        """The shard of a sample, and its number in it."""
        shard = int(np.searchsorted(self.ends, number, "right"))
        return shard, int(number - (self.ends[shard - 1] if shard else 0))

    def checked(self, number: int) -> Members:
        """What a shard holds, if it is as many samples as were counted. Raises OSError."""
        try:
            members = self.members(number)
        except ValueError as error:
            raise OSError(f"{shown(self.shards[number].place)}: {error}") from error
        if len(members) != self.counts[number]:
            raise OSError(
                f"{shown(self.shards[number].place)} holds {len(members):,} samples, and its list states "
                f"{self.counts[number]:,}: correct the list"
            )
        return members

    def fetch(self, numbers: np.ndarray) -> Iterator[Fetched]:
        """For each of these numbers (n,), its place among them and the bytes of its image, shard by shard."""
        shards = np.searchsorted(self.ends, numbers, "right")
        within = numbers - (self.ends - self.counts)[shards]
        for shard in np.unique(shards).tolist():
            members = self.checked(shard)
            with self.images(shard) as handle:
                for place in np.flatnonzero(shards == shard).tolist():
                    start, size = (column[within[place]] for column in (members.starts, members.sizes))
                    content = bytearray(size)
                    whole = filled(handle, memoryview(content), start)
                    yield place, bytes(content) if whole else ValueError("the shard ends before it")

    def name(self, number: int) -> str:
        """The shard and the key of a sample."""
        shard, place = self.place(number)
        return f"{self.shards[shard].place}, {self.members(shard).keys[place]}"

    def soon(self, shards: list[int]) -> None:
        """Fill the cache with these shards, in this order, while others are read; a failure is seen when it matters."""
        wanted = [shard for shard in shards if self.cached(shard)]
        if not wanted or sum(map(self.cached, wanted)) > self.limit:
            return
        with self.arrived:
            self.coming.clear()
            self.coming.extend(wanted)
            self.arrived.notify()
            if not self.fetcher:  # a daemon: the end of the process does not wait for a server
                self.fetcher = threading.Thread(target=self._bring, name="gankit-shards", daemon=True)
                self.fetcher.start()

    def _bring(self) -> None:
        while True:
            with self.arrived:
                self.arrived.wait_for(lambda: self.coming)
                shard = self.coming.popleft()
            with contextlib.suppress(OSError, ValueError), self.images(shard):
                pass


@contextmanager
def _reopened(handle: int) -> Iterator[BinaryIO]:
    """A file object of an open file's own, from its first byte."""
    with os.fdopen(os.dup(handle), "rb") as file:
        file.seek(0)
        yield file


def write(path: Path, content: bytes) -> None:
    """Write a small file of the cache under its name once it is whole. Raises OSError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            file.write(content)
        os.replace(file.name, path)
    except OSError as error:
        raise OSError(f"cannot write to the cache {cache.location()}: {error.strerror}. {cache.CHANGE}") from error
