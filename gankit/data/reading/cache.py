"""Prepared data on disk, written once and atomically: safe with concurrent processes and after a kill."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gankit.text import aside

if TYPE_CHECKING:
    import numpy as np

try:
    import fcntl
except ImportError:  # Windows: two processes may prepare the same data, and the first to finish wins
    fcntl = None  # type: ignore[assignment]  # `locked` expects the AttributeError

CHANGE = "Set GANKIT_CACHE to another folder"


def location() -> Path:
    """The folder of the cache: $GANKIT_CACHE or ~/.cache/gankit. It may be deleted at any time."""
    return Path(os.environ.get("GANKIT_CACHE") or "~/.cache/gankit").expanduser()


def key(*parts: object) -> str:
    """A hash of these parts, 40 hexadecimal digits."""
    text = "\0".join(str(part) for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:40]


@contextmanager
def locked(name: str) -> Iterator[bool]:
    """Lock a name against other processes; a killed process releases it. Yields whether locks work on this system."""
    path = location() / "locks" / name
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(open(path, "ab"))
        except OSError as error:
            raise OSError(f"cannot write to the cache {location()}: {error.strerror}. {CHANGE}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            aside("gankit: waiting for another process that prepares this data")
            fcntl.flock(file, fcntl.LOCK_EX)
        except (OSError, AttributeError):
            yield False
            return
        yield True


class Prepared(NamedTuple):
    """Prepared data.

    Args:
        name: of its folder in the cache.
        info: a JSON object, with `count`, the number of rows, and `parts`, the size in bytes of each part of a row.
        pixels: path of the file with the rows, one after the other.
        checks: (count, parts) uint32, the CRC-32 of each part of each row.
    """

    name: str
    info: dict
    pixels: Path
    checks: np.ndarray


def find(name: str) -> Prepared | None:
    """The prepared data of this name; None if it is missing, its size is wrong, or its info was altered."""
    import numpy as np  # not at the top: what was answered before is found without it

    folder = location() / name
    try:
        content, checks = (folder / "info.json").read_bytes(), (folder / "checks").read_bytes()
        info = json.loads(content)
        count, parts = info["count"], info["parts"]
        table = np.frombuffer(checks, np.uint32, offset=32).reshape(count, len(parts))
        size = (folder / "pixels").stat().st_size
        is_complete = hashlib.sha256(content).digest() == checks[:32] and size == count * sum(parts)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Prepared(name, info, folder / "pixels", table) if is_complete else None


def prepare(name: str, build: Callable[[Path], dict]) -> Prepared:
    """The prepared data of this name; if there is none, `build(path)` writes the rows and returns `Prepared.info`."""
    with locked(name) as held:
        if prepared := find(name):
            return prepared
        if held:  # no other process is preparing it: these are damaged, or left by a killed process
            for left in [location() / name, *location().glob(f"{name}.*.tmp")]:
                shutil.rmtree(left, ignore_errors=True)
        try:
            with tempfile.TemporaryDirectory(".tmp", f"{name}.", location(), ignore_cleanup_errors=True) as folder:
                _write(Path(folder), build)
                os.rename(folder, location() / name)
        except OSError as error:
            if not find(name):  # else another process was first
                raise unwritable(error) from error
    prepared = find(name)
    assert prepared is not None  # written above, or by another process
    return prepared


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """A folder in the cache for work that only this process does; what a killed process left of it is removed."""
    with locked(name) as held:
        for left in location().glob(f"{name}.*.tmp") if held else ():
            shutil.rmtree(left, ignore_errors=True)
        try:
            folder = tempfile.TemporaryDirectory(".tmp", f"{name}.", location(), ignore_cleanup_errors=True)
        except OSError as error:
            raise unwritable(error) from error
        with folder as path:
            yield Path(path)


def unwritable(error: OSError) -> OSError:
    """The error that data cannot be prepared, with what to do."""
    return OSError(f"cannot prepare in the cache {location()}: {error.strerror or error}. {CHANGE}")


def write_checks(out: Path, sums: Sequence[int]) -> None:
    """Save the CRC-32 of each part of each row of a file.

    Where these are missing, or fewer, as for files that hold several parts, `prepare` computes them from the file.
    """
    out.with_name("sums").write_bytes(array("I", sums).tobytes())


def _write(folder: Path, build: Callable[[Path], dict]) -> None:
    """Write the three files of prepared data: pixels, info.json and checks."""
    content = json.dumps(info := build(folder / "pixels")).encode()
    (folder / "info.json").write_bytes(content)
    sums = folder / "sums"
    checks = sums.read_bytes() if sums.exists() else b""
    if len(checks) != 4 * info["count"] * len(info["parts"]):
        checks = array("I", _checks(folder / "pixels", info["parts"])).tobytes()
    (folder / "checks").write_bytes(hashlib.sha256(content).digest() + checks)
    sums.unlink(missing_ok=True)
    for path in folder.iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def drop(prepared: Prepared, inode: int) -> None:
    """Remove prepared data, unless another process has prepared it again: its file of rows then has another inode."""
    with locked(prepared.name):
        try:
            same = prepared.pixels.stat().st_ino == inode
        except OSError:
            same = True  # without its rows, nothing in the folder is worth keeping
        if same:
            shutil.rmtree(prepared.pixels.parent, ignore_errors=True)


def recall(listing: str) -> Prepared | None:
    """The data that was prepared for a listing of files with this key, if any."""
    try:
        return find((location() / "seen" / listing).read_text())
    except (OSError, ValueError):
        return None


def remember(listing: str, name: str) -> None:
    """Record that the files with this listing were prepared under this name."""
    folder = location() / "seen"
    folder.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".tmp", delete=False) as file:
        file.write(name)
    os.replace(file.name, folder / listing)


def _checks(path: Path, parts: list[int]) -> Iterator[int]:
    """The CRC-32 of each part of each row in a file."""
    with open(path, "rb") as file:
        for size in cycle(parts):
            if not (content := file.read(size)):
                return
            yield zlib.crc32(content)
