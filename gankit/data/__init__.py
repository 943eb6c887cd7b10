"""Data sets, built in or from files: `open` one, then `stream` it."""

from gankit.data.builtin import BUILTIN
from gankit.data.domains import Domains, split
from gankit.data.folder import BadFiles
from gankit.data.lookup import HOW, KINDS, find, held_out_of, open, parse_resolution, plus, two_sided
from gankit.data.pixels import normalise, paint, palette, quantise
from gankit.data.report import Report, contact_sheet, describe
from gankit.data.stream import Dataset, Modes, Stream, ahead
from gankit.data.toy import MODES
from gankit.data.union import Union
from gankit.data.vectors import read_conditions

__all__ = [
    "BUILTIN", "HOW", "MODES", "KINDS", "BadFiles", "Dataset", "Domains", "Modes", "Report", "Stream", "Union", "ahead", "contact_sheet", "describe",
    "find", "held_out_of", "normalise", "open", "paint", "palette", "parse_resolution", "quantise", "read_conditions", "plus",
    "split", "two_sided",
]  # fmt: skip
