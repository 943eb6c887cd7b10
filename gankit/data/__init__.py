"""Data sets, built in or from files: `open` one, then `stream` it."""

from gankit.data import published
from gankit.data.builtin import BUILTIN
from gankit.data.builtin.points import MODES
from gankit.data.contact_sheet import contact_sheet
from gankit.data.domains import Domains
from gankit.data.lookup import HOW, KINDS, held_out_of, open, open_as, split, two_sided
from gankit.data.naming import find, plus
from gankit.data.pixels import normalise, paint, palette, quantise
from gankit.data.reading.choices import Reading, parse_resolution, reading_of
from gankit.data.reading.files import BadFiles
from gankit.data.reading.vectors import read_conditions
from gankit.data.stream import Dataset, Modes, Stream, ahead
from gankit.data.summary import Report, describe, describe_as, facts
from gankit.data.union import Union

__all__ = [
    "BUILTIN", "HOW", "KINDS", "MODES", "BadFiles", "Dataset", "Domains", "Modes", "Reading", "Report", "Stream",
    "Union", "ahead", "contact_sheet", "describe", "describe_as", "facts", "find", "held_out_of", "normalise", "open",
    "open_as", "paint", "palette", "parse_resolution", "plus", "published", "quantise", "read_conditions",
    "reading_of", "split", "two_sided",
]  # fmt: skip
