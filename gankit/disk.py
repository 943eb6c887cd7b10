"""Space on the disk: bytes in words, and the check that they fit before something is written."""

from __future__ import annotations

import shutil
from errno import ENOSPC
from pathlib import Path


def amount(size: int) -> str:
    """A number of bytes for people: 980 bytes, 1.2 kB, 3.4 MB, 5.6 GB."""
    for unit, power in (("GB", 9), ("MB", 6), ("kB", 3)):
        if size >= 10**power:
            return f"{size / 10**power:,.1f} {unit}"
    return f"{size} bytes"


def require_space(folder: Path, need: int, what: str = "it takes") -> None:
    """Raises OSError if `need` bytes do not fit on the disk of a folder; `what` begins the message."""
    if (free := shutil.disk_usage(folder).free) < need:
        error = OSError(f"{what} {amount(need)}, and {amount(free)} of the disk are free")
        error.errno = ENOSPC
        raise error
