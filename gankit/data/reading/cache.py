"""Prepared data on disk, made once: whole or not there, with two processes at once and after a kill at any moment."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import ENOSPC
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gankit.data.reading.files import amount
from gankit.text import aside

try:
    import fcntl
except ImportError:  # Windows: two processes may then prepare the same twice, and the first to finish wins
    fcntl = None

CHANGE = "Set GANKIT_CACHE to another folder"


def location() -> Path:
    """The cache's folder: $GANKIT_CACHE or ~/.cache/gankit. It may be deleted at any time."""
    return Path(os.environ.get("GANKIT_CACHE") or "~/.cache/gankit").expanduser()


def key(*parts: object) -> str:
    """A name of 40 hexadecimal digits for these parts."""
    text = "\0".join(str(part) for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:40]


@contextmanager
def locked(name: str) -> Iterator[bool]:
    """One process at a time is inside, for each name; a killed one lets go. Yields whether locks work here."""
    path = location() / "locks" / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "ab")
    except OSError as error:
        raise OSError(f"cannot write to the cache {location()}: {error.strerror}. {CHANGE}") from error
    with file:
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
        info: what is known of it, with `count`, how many rows there are, and `parts`, the bytes of each part of a row.
        pixels: the file of the rows, one after the other.
        checks: (count, parts) uint32, the CRC-32 of each part of each row.
    """

    name: str
    info: dict
    pixels: Path
    checks: np.ndarray


def find(name: str) -> Prepared | None:
    """What was prepared under this name; None if it is missing, its size is wrong, or what is known of it was altered."""
    folder = location() / name
    try:
        known, checks = (folder / "info.json").read_bytes(), (folder / "checks").read_bytes()
        info = json.loads(known)
        count, parts = info["count"], info["parts"]
        table = np.frombuffer(checks, np.uint32, offset=32).reshape(count, len(parts))
        whole = hashlib.sha256(known).digest() == checks[:32] and (folder / "pixels").stat().st_size == count * sum(
            parts
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Prepared(name, info, folder / "pixels", table) if whole else None


def prepare(name: str, build: Callable[[Path], dict]) -> Prepared:
    """What is prepared under this name; if need be, `build(file)` writes the rows and returns what is known, as `Prepared` says."""
    with locked(name) as held:
        if found := find(name):
            return found
        if held:  # nobody else is at work on it: these are what kills and damage left
            for left in [location() / name, *location().glob(f"{name}.*.tmp")]:
                shutil.rmtree(left, ignore_errors=True)
        try:
            with tempfile.TemporaryDirectory(".tmp", f"{name}.", location(), ignore_cleanup_errors=True) as folder:
                known = json.dumps(info := build(Path(folder) / "pixels")).encode()
                (Path(folder) / "info.json").write_bytes(known)
                checks = np.fromiter(
                    _checks(Path(folder) / "pixels", info["parts"]), np.uint32, info["count"] * len(info["parts"])
                )
                (Path(folder) / "checks").write_bytes(hashlib.sha256(known).digest() + checks.tobytes())
                for file in Path(folder).iterdir():
                    with open(file, "rb") as written:
                        os.fsync(written.fileno())
                os.rename(folder, location() / name)
        except OSError as error:
            if not find(name):  # else another process was first
                raise OSError(
                    f"cannot prepare in the cache {location()}: {error.strerror or error}. {CHANGE}"
                ) from error
    return find(name)


def room(out: Path, need: int) -> None:
    """Refuse to write so many bytes to a file where the disk is too small. Raises OSError."""
    free = shutil.disk_usage(out.parent).free
    if need > free:
        raise OSError(ENOSPC, f"{amount(need)} are needed and {amount(free)} are free")


def drop(prepared: Prepared, inode: int) -> None:
    """Remove prepared data whose file of rows is this one; not another that took its place."""
    with locked(prepared.name):
        try:
            same = prepared.pixels.stat().st_ino == inode
        except OSError:
            same = True  # of a folder without its rows nothing is left to keep
        if same:
            shutil.rmtree(prepared.pixels.parent, ignore_errors=True)


def recall(listing: str) -> Prepared | None:
    """What was prepared for what looks like this, if anything."""
    try:
        return find((location() / "seen" / listing).read_text())
    except (OSError, ValueError):
        return None


def remember(listing: str, name: str) -> None:
    """Keep that what looks like this was prepared under this name."""
    folder = location() / "seen"
    folder.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".tmp", delete=False) as file:
        file.write(name)
    os.replace(file.name, folder / listing)


def _checks(path: Path, parts: list[int]) -> Iterator[int]:
    """The CRC-32 of each part of each row of a file."""
    with open(path, "rb") as file:
        for size in cycle(parts):
            if not (content := file.read(size)):
                return
            yield zlib.crc32(content)
