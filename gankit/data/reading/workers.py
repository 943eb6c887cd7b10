"""Work on many files: by several threads, with the results in order, and twice without reading twice."""

from __future__ import annotations

import os
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from gankit.data.reading.files import File, FileSet
from gankit.text import aside, counted

TASK, FEW = 2**19, 32  # bytes and images that a thread takes at once, in small images
KEPT = 2**27  # bytes of files that stay in memory until they are read again
LARGEST = 2**25 - 2**16  # bytes of a block whose memory glibc may keep
R = TypeVar("R")
T = TypeVar("T")


def kept(source: FileSet) -> FileSet:
    """The same files, for a caller that reads each twice: up to `KEPT` bytes stay in memory for the second read."""
    contents: dict[File, bytes] = {}
    free = KEPT

    def read_once(file: File) -> bytes:
        nonlocal free
        if file in contents:
            free += len(contents[file])
            return contents.pop(file)
        content = source.read(file)
        if len(content) <= free:
            free -= len(content)
            contents[file] = content
        return content

    return source._replace(read=read_once, threaded=False)


def _tasks(
    read: Callable[[T], bytes], wanted: list[T], sizes: list[int] | None, row: Callable[[], int]
) -> Iterator[tuple[list[T], list[bytes | str] | None]]:
    """A few small items each, as a task of one takes longer to hand over than to do.

    With their bytes, or the reason why there are none, if threads may not call `read`; arguments as of `each`.
    """
    items: list[T] = []
    contents: list[bytes | str] = []
    weight = 0
    for i, item in enumerate(wanted):
        items.append(item)
        if sizes is None:
            try:
                contents.append(read(item))
            except ValueError as error:
                contents.append(str(error))
        weight += (sizes[i] if sizes else len(contents[-1])) + row()
        if weight >= TASK or len(items) == FEW:
            yield items, contents or None
            items, contents, weight = [], [], 0
    if items:
        yield items, contents or None


def each(
    read: Callable[[T], bytes],
    wanted: list[T],
    work: Callable[[T, bytes], R],
    label: str,
    sizes: list[int] | None = None,
    row: Callable[[], int] = lambda: 0,
) -> Iterator[tuple[T, R | str]]:
    """Call `work` on every item and its bytes; yield the items in order, with the result or a ValueError's message.

    Threads do the work, as Pillow releases the GIL while decoding; a few files at a time are in memory.
    Terminals show a progress bar with this label.

    Args:
        read: the bytes of an item.
        sizes: of the items in bytes, if threads may call `read`; else the calling thread does.
        row: the bytes of a result, as far as they are known.
    """

    def attempt(items: list[T], contents: list[bytes | str] | None) -> list[tuple[T, R | str]]:
        results: list[tuple[T, R | str]] = []
        for i, item in enumerate(items):
            try:
                data = contents[i] if contents else read(item)
                results.append((item, data if isinstance(data, str) else work(item, data)))
            except ValueError as error:
                results.append((item, str(error)))
        return results

    bytearray(LARGEST)  # once freed, glibc keeps the memory of images for the next ones: see mallopt(3) on thresholds
    threads = os.cpu_count() or 1
    pending: deque[Future[list[tuple[T, R | str]]]] = deque()
    if not sys.stderr.isatty() and len(wanted) >= 1000:
        aside(f"gankit: {label} {len(wanted):,} images")
    with (
        warnings.catch_warnings(),
        counted(len(wanted), f"images, {label}") as advance,
        ThreadPoolExecutor(threads) as pool,
    ):
        warnings.simplefilter("ignore")  # Pillow's, on odd images
        try:
            for task in _tasks(read, wanted, sizes, row):
                advance(len(task[0]))
                pending.append(pool.submit(attempt, *task))
                if len(pending) > 3 * threads:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
