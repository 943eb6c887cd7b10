"""The lock of a run folder: one process at a time writes it. The system releases the lock when that process ends."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: only the content of the lock file says who writes
    fcntl = None  # type: ignore[assignment]

NAME = ".writer.lock"
_open: dict[Path, int] = {}  # descriptors of the folders that this process holds


class Held(ValueError):
    """Another process writes this run."""


@contextmanager
def holding(folder: Path, patience: float = 0.0) -> Iterator[None]:
    """Hold the lock of a run folder.

    It is a lock of `flock`: the system releases it when the process ends, for any reason, and network file systems with
    lock support enforce it on every machine. On a file system without locks, the host and process in the file decide.

    Args:
        folder: the run folder.
        patience: seconds to wait for a process that is ending.

    Raises:
        Held: another process holds it, with its number and machine.
    """
    path, until = folder / NAME, time.monotonic() + patience
    while (file := _take(path)) is None:
        if time.monotonic() > until:
            host, pid = _holder(path)
            who = f"process {pid} on {host}" if host else "another process"
            raise Held(f"{folder} is being written by {who}. Stop it or wait for its end; if it is gone, delete {path}")
        time.sleep(0.1)
    key = folder.absolute()
    with contextlib.suppress(OSError):  # Windows opens no folders
        _open[key] = os.open(folder, os.O_RDONLY)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            (place(folder) / NAME).unlink()
        if key in _open:
            os.close(_open.pop(key))
        os.close(file)


def place(folder: Path) -> Path:
    """Where a folder that this process writes is now: it may have been renamed since."""
    descriptor = _open.get(folder.absolute())
    if descriptor is not None and not _same(descriptor, folder):
        with contextlib.suppress(OSError):  # only Linux tells
            now = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            return now if _same(descriptor, now) else folder
    return folder


def _take(path: Path) -> int | None:
    """The descriptor of the locked file, with this process's name in it; None if another process holds it."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise OSError(f"cannot write to {path.parent}: {error.strerror}") from error
    if not _free(file, path) or not _same(file, path):
        os.close(file)
        return None
    os.ftruncate(file, 0)
    os.write(file, json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode())
    return file


def _free(file: int, path: Path) -> bool:
    """Whether nobody holds the file; where the file system has locks, this process does from now on."""
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            pass
    host, pid = _holder(path)
    if host != socket.gethostname():
        return not host  # whether that one is alive cannot be seen from here
    if pid == os.getpid():
        return True
    if os.name == "nt":  # where kill(pid, 0) is no question
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False


def _same(file: int, path: Path) -> bool:
    """Whether the open file is the one at the path, and not one that its last holder has just taken away."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except OSError:
        return False


def _holder(path: Path) -> tuple[str, int]:
    """Host and process that the file names; "" and 0 if it names none."""
    try:
        found = json.loads(path.read_bytes()[:1000])
        return str(found["host"]), int(found["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", 0
