"""What `gankit data` answered, for the same words again while no file has changed; found without torch or numpy."""

from __future__ import annotations

import contextlib
import datetime
import gc
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import gankit
from gankit.data.reading import cache, files
from gankit.data.reading.files import File


class Answer(NamedTuple):
    """An answer.

    Args:
        text: that was printed.
        day: on which all files were checked, as 2030-12-31.
        stamps: of the files that were read, by their paths.
        sheet: absolute path of the contact sheet; "" without one.
        drawn: stamp of the contact sheet: another data set may be drawn to the same path.
    """

    text: str
    day: str
    stamps: dict[str, str]
    sheet: str
    drawn: str

    @property
    def is_drawn(self) -> bool:
        """Whether the contact sheet is there as it was drawn."""
        return not self.sheet or _stamp(Path(self.sheet)) == self.drawn


def of(text: str, listings: Mapping[Path, list[File]], sheet: Path | None) -> Answer:
    """An answer of today on files with these listings from `noting.noted`, with a contact sheet or without."""
    stamps = {str(path): _hash(listed) for path, listed in listings.items()}
    drawn = _stamp(sheet) if sheet else ""
    return Answer(text, datetime.date.today().isoformat(), stamps, str(sheet.absolute()) if sheet else "", drawn)


def recall(words: list[str]) -> Answer | None:
    """The answer to the words of a command in this folder; None if a file has changed, or nothing is known."""
    was_enabled = gc.isenabled()
    gc.disable()  # it would traverse the listing, which has no cycles, again and again while it grows
    try:
        answer = Answer(**json.loads(_place(words).read_bytes()))
        return answer if all(_stamp(Path(path)) == stamp for path, stamp in answer.stamps.items()) else None
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    finally:
        if was_enabled:
            gc.enable()


def remember(words: list[str], answer: Answer) -> None:
    """Save the answer to the words of a command in this folder, if it is about files."""
    if not answer.stamps:
        return
    place = _place(words)
    with contextlib.suppress(OSError, ValueError):  # a full disk, a folder that is gone: the next command looks again
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=place.parent, suffix=".tmp", delete=False) as file:
            json.dump(answer._asdict(), file)
        os.replace(file.name, place)


def redrawn(answer: Answer) -> Answer:
    """The answer with its contact sheet as it is now."""
    return answer._replace(drawn=_stamp(Path(answer.sheet)))


def _place(words: list[str]) -> Path:
    key = cache.key("answer", gankit.__version__, os.getcwd(), *words)
    return cache.location() / "seen" / f"{key}.json"


def _stamp(path: Path) -> str:
    """The stamp of a folder or file; "" if it cannot be read."""
    try:
        return _hash(files.state(path))
    except (OSError, ValueError):
        return ""


def _hash(listed: list[File]) -> str:
    """A hash of the names, sizes and times of files."""
    text = "\n".join([f"{name}\0{size}\0{stamp}" for name, size, stamp in listed])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
