"""A record of the paths that a command reads, with what was there: its answer holds as long as that is unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gankit.data.reading.files import File

NOTED: list[dict[Path, list[File]]] = []  # by each `noted` that is active


@contextmanager
def noted() -> Iterator[dict[Path, list[File]]]:
    """The absolute paths that are listed, or opened by name, inside, each with its listing at the first time."""
    listings: dict[Path, list[File]] = {}
    NOTED.append(listings)
    try:
        yield listings
    finally:
        NOTED.pop()


def note(path: Path, listed: list[File]) -> list[File]:
    """Record and return the listing of a folder, or of a file and those that belong to it."""
    for listings in NOTED:
        if path.is_dir():
            listings.setdefault(path.absolute(), listed)
        else:
            for file in listed:
                listings.setdefault(path.absolute().parent / file.name, [file])
    return listed
