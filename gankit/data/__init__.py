"""Data sets, built in or from files: `open` one, then `stream` it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__all__ = [
    "BUILTIN", "HOW", "KINDS", "MODES", "BadFiles", "Dataset", "Domains", "Modes", "Reading", "Report", "Stream",
    "Union", "ahead", "allow_downloads", "contact_sheet", "describe", "describe_as", "facts", "find",
    "held_out_of", "normalise", "open", "open_as", "paint", "palette", "parse_resolution", "plus", "published",
    "quantise", "range_text", "read_conditions", "reading_of", "refuse_unasked", "split", "two_sided",
]  # fmt: skip

if TYPE_CHECKING:
    from gankit.data import published
    from gankit.data.builtin import BUILTIN
    from gankit.data.builtin.points import MODES
    from gankit.data.domains import Domains
    from gankit.data.lookup import HOW, KINDS, held_out_of, open, open_as, split, two_sided
    from gankit.data.naming import find, plus
    from gankit.data.pixels import normalise, paint, palette, quantise
    from gankit.data.reading.choices import Reading, parse_resolution, range_text, reading_of
    from gankit.data.reading.files import BadFiles
    from gankit.data.reading.huggingface import allow_downloads
    from gankit.data.reading.vectors import read_conditions
    from gankit.data.shards.sharded import refuse_unasked
    from gankit.data.stream import Dataset, Modes, Stream, ahead
    from gankit.data.summary import Report, describe, describe_as, facts
    from gankit.data.thumbnails import contact_sheet
    from gankit.data.union import Union

# `gankit data` answers from what is known without torch: each name is fetched when it is first used.
_HOME = {
    "BUILTIN": "gankit.data.builtin",
    "MODES": "gankit.data.builtin.points",
    "contact_sheet": "gankit.data.thumbnails",
    "Domains": "gankit.data.domains",
    **dict.fromkeys(("HOW", "KINDS", "held_out_of", "open", "open_as", "split", "two_sided"), "gankit.data.lookup"),
    **dict.fromkeys(("find", "plus"), "gankit.data.naming"),
    **dict.fromkeys(("normalise", "paint", "palette", "quantise"), "gankit.data.pixels"),
    **dict.fromkeys(("Reading", "parse_resolution", "range_text", "reading_of"), "gankit.data.reading.choices"),
    "BadFiles": "gankit.data.reading.files",
    "allow_downloads": "gankit.data.reading.huggingface",
    "read_conditions": "gankit.data.reading.vectors",
    "refuse_unasked": "gankit.data.shards.sharded",
    **dict.fromkeys(("Dataset", "Modes", "Stream", "ahead"), "gankit.data.stream"),
    **dict.fromkeys(("Report", "describe", "describe_as", "facts"), "gankit.data.summary"),
    "Union": "gankit.data.union",
}


def __getattr__(name: str) -> object:
    if name == "published":
        return importlib.import_module("gankit.data.published")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'gankit.data' has no attribute {name!r}")
