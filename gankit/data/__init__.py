"""Data sets, built in or from files: `open` one, then `stream` it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gankit.delayed import delayed

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

# `gankit data` answers from what is known without torch.
__getattr__ = delayed(
    __name__,
    {
        "gankit.data.published": "",
        "gankit.data.builtin": "BUILTIN",
        "gankit.data.builtin.points": "MODES",
        "gankit.data.domains": "Domains",
        "gankit.data.lookup": "HOW KINDS held_out_of open open_as split two_sided",
        "gankit.data.naming": "find plus",
        "gankit.data.pixels": "normalise paint palette quantise",
        "gankit.data.reading.choices": "Reading parse_resolution range_text reading_of",
        "gankit.data.reading.files": "BadFiles",
        "gankit.data.reading.huggingface": "allow_downloads",
        "gankit.data.reading.vectors": "read_conditions",
        "gankit.data.shards.sharded": "refuse_unasked",
        "gankit.data.stream": "Dataset Modes Stream ahead",
        "gankit.data.summary": "Report describe describe_as facts",
        "gankit.data.thumbnails": "contact_sheet",
        "gankit.data.union": "Union",
    },
)
