"""Shards from servers, and unpacked ones, on this disk: beyond a limit the least recently used are removed.

Several processes and threads share the folder. Who reads a file holds a shared lock of it, who writes or removes it an
exclusive one; the system releases the locks of a killed process.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gankit.data.reading import cache
from gankit.disk import amount, require_space
from gankit.text import shown

try:
    import fcntl
except ImportError:  # Windows: files in use cannot be removed there
    fcntl = None  # type: ignore[assignment]

RAISE = "Give a higher --cache-limit, or set GANKIT_CACHE to a folder on a larger disk"


def location() -> Path:
    """The folder of these files in the cache."""
    return cache.location() / "shards"


@contextmanager
def opened(name: str, size: int, limit: int, fill: Callable[[Path], None]) -> Iterator[int]:
    """An open file, kept in the cache under this name, which `fill(path)` writes if it is not there.

    Args:
        name: of the file; the same name always has the same content.
        size: in bytes.
        limit: bytes that all files in the folder may take.
        fill: writes the file, after the bytes that are there from an earlier try.

    Raises:
        OSError: `fill` fails, or there is no space for the file.
    """
    path = location() / name
    while True:
        try:
            handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except FileNotFoundError:
            _fill(path, size, limit, fill)
            continue
        try:
            _lock(handle, exclusive=False)
            status = os.fstat(handle)
            if status.st_nlink == 0:  # it was removed between these lines
                continue
            if status.st_size != size:
                path.unlink(missing_ok=True)
                continue
            with contextlib.suppress(OSError):
                os.utime(path)  # the time of its last use
            yield handle
            return
        finally:
            os.close(handle)


def _fill(path: Path, size: int, limit: int, fill: Callable[[Path], None]) -> None:
    """Write a file under another name, which states its final size, and rename it once it is whole."""
    part = path.with_name(f"{path.name}.{size}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "ab") as file:
            _lock(file.fileno(), exclusive=True)
            if path.exists() or os.fstat(file.fileno()).st_nlink == 0:  # others wrote it, or removed this
                if path.exists():
                    part.unlink(missing_ok=True)
                return
            with open(f"{location()}.lock", "ab") as room:
                _lock(room.fileno(), exclusive=True)
                _make_room(size - os.fstat(file.fileno()).st_size, part, limit)
            fill(part)
            if (written := part.stat().st_size) != size:
                part.unlink()
                raise OSError(f"{shown(path.name)} has {written:,} bytes, and {size:,} were expected")
            os.replace(part, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
            raise OSError(f"the disk of the cache {location()} is full. {RAISE}") from error
        raise


def _make_room(need: int, part: Path, limit: int) -> None:
    """Remove the least recently used files that nobody reads, until `need` more bytes fit. Raises OSError."""
    entries = []
    for entry in os.scandir(location()):
        with contextlib.suppress(FileNotFoundError):
            if entry.is_file() and entry.name != part.name:
                status = entry.stat()
                final = entry.name.split(".")[-2] if entry.name.endswith(".part") else ""  # what it grows to
                entries.append((status.st_mtime_ns, int(final or status.st_size), Path(entry.path)))
    whole = sum(size for _, size, _ in entries) + part.stat().st_size
    for _, size, path in sorted(entries):
        if whole + need <= limit and need <= shutil.disk_usage(location()).free:
            break
        if _remove(path):
            whole -= size
    if whole + need > limit:
        raise OSError(
            f"the cache {location()} has {amount(limit)} (--cache-limit), of which {amount(whole)} are in use, and "
            f"{amount(need)} more are needed. {RAISE}"
        )
    require_space(part.parent, need)


def _remove(path: Path) -> bool:
    """Remove a file unless it is in use. Returns whether it is gone."""
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        if fcntl:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
        return True
    except OSError:
        return False
    finally:
        os.close(handle)


def _lock(handle: int, exclusive: bool) -> None:
    """Lock an open file, where the system has locks."""
    if fcntl:
        with contextlib.suppress(OSError):  # some network file systems have none
            fcntl.flock(handle, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
