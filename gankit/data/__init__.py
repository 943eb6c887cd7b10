"""Data sets, built in or from files: `open` one, then `stream` it."""

from gankit.data.builtin import BUILTIN
from gankit.data.domains import HOW, Domains, split
from gankit.data.folder import BadFiles
from gankit.data.lookup import find, open, parse_resolution
from gankit.data.pixels import normalise, quantise
from gankit.data.report import Report, contact_sheet, describe
from gankit.data.stream import Dataset, Stream, ahead
from gankit.data.toy import MODES
from gankit.data.vectors import read_conditions

__all__ = [
    "BUILTIN", "HOW", "MODES", "BadFiles", "Dataset", "Domains", "Report", "Stream", "ahead", "contact_sheet", "describe",
    "find", "normalise", "open", "parse_resolution", "quantise", "read_conditions",
    "split",
]  # fmt: skip
