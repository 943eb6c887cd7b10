"""Prepared data on disk, made once: whole or not there, with two processes at once and after a kill at any moment."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: two processes may then prepare the same twice, and the first to finish wins
    fcntl = None


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
        raise OSError(
            f"cannot write to the cache {location()}: {error.strerror}. Set GANKIT_CACHE to another folder"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("gankit: waiting for another process that prepares this data", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        except (OSError, AttributeError):
            yield False
            return
        yield True


def find(name: str) -> tuple[dict, Path] | None:
    """What was prepared under this name, as (information, file of pixels); None if it is missing or damaged."""
    folder = location() / name
    try:
        info = json.loads((folder / "info.json").read_bytes())
        return (info, folder / "pixels") if (folder / "pixels").stat().st_size == info["bytes"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def prepare(name: str, build: Callable[[Path], dict]) -> tuple[dict, Path]:
    """What is prepared under this name; if need be, `build(file)` writes the pixels and returns the information."""
    with locked(name) as held:
        if found := find(name):
            return found
        if held:  # nobody else is at work on it: these are what kills and damage left
            for left in [location() / name, *location().glob(f"{name}.*.tmp")]:
                shutil.rmtree(left, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(".tmp", f"{name}.", location()))
        try:
            info = build(temporary / "pixels")
            info["bytes"] = (temporary / "pixels").stat().st_size
            (temporary / "info.json").write_text(json.dumps(info))
            for file in temporary.iterdir():
                with open(file, "rb") as written:
                    os.fsync(written.fileno())
            os.rename(temporary, location() / name)
        except OSError as error:
            if found := find(name):  # another process was first
                return found
            why = error.strerror or str(error)
            raise OSError(
                f"cannot prepare the data in the cache {location()}: {why}. Set GANKIT_CACHE to another folder"
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return find(name)


def remembered(listing: str) -> str:
    """The name under which what looks like this was prepared, or an empty text."""
    try:
        return (location() / "seen" / listing).read_text()
    except (OSError, ValueError):
        return ""


def remember(listing: str, name: str) -> None:
    """Keep that what looks like this was prepared under this name."""
    folder = location() / "seen"
    folder.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".tmp", delete=False) as file:
        file.write(name)
    os.replace(file.name, folder / listing)
