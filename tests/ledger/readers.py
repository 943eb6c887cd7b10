"""The readers of gankit's values by name, and a ledger as they read it off the built model.

A row's `read` names a reader and its words, for example "loss d" or "argument hold fade". A reader gets the built model
and the words, and returns the value as the ledger writes it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from gankit import ledger
from tests.ledger import course, networks, steps
from tests.ledger.built import BuiltPreset

READERS: dict[str, Callable[..., str]] = {
    reader.__name__: reader for reader in (*steps.READERS, *networks.READERS, *course.READERS)
}


def read(preset: BuiltPreset, words: str | list[str]) -> str:
    """The value that one or several readers find.

    Raises:
        ValueError: there is no such reader, or it finds nothing to read.
    """
    if isinstance(words, list):
        return "; ".join(read(preset, reader_words) for reader_words in words)
    name, *rest = words.split()
    if name not in READERS:
        raise ValueError(f"there is no reader {name!r}; there are {', '.join(READERS)}")
    return READERS[name](preset, *rest)


def read_rows(model: str) -> list[ledger.Row]:
    """A model's ledger with gankit's values as they are read off the built model now."""
    data, rows, builds = ledger.data(model), ledger.rows(model), {}
    for i, (row, entry) in enumerate(zip(rows, data["rows"], strict=True)):
        if "read" in entry:
            if row.preset not in builds:
                sizes = data["small"].get(row.preset, data["small"]["paper"])
                builds[row.preset] = BuiltPreset(model, row.preset, sizes)
            rows[i] = dataclasses.replace(row, gankit=read(builds[row.preset], entry["read"]))
    return rows
