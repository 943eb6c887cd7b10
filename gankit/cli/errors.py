"""Errors as the user sees them: one line on stderr and an exit code."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from gankit.text import aside

# How a GPU, PyTorch, the system and numpy report that memory ran out.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "unable to allocate")


def explain(error: Exception) -> NoReturn:
    """Leave with one line and exit code 2 for errors that the user can fix, or 1 for a run that broke.

    Raises:
        Exception: the error itself, with its traceback, if it is a bug in gankit.
    """
    state, processes = sys.modules.get("gankit.runs.state"), sys.modules.get("gankit.processes")
    message = str(error)
    if state and isinstance(error, state.Diverged):
        fail(message, 1)
    if processes and isinstance(error, processes.Lost):
        fail(
            f"{message}. Start it again with the same command: under torchrun --max-restarts it continues from the "
            "last save.",
            1,
        )
    if isinstance(error, MemoryError) or any(phrase in message.lower() for phrase in OUT_OF_MEMORY):
        detail = f" ({message.splitlines()[0]})" if message else ""
        fail(
            f"out of memory{detail}. Try a smaller --batch, more --pieces, a smaller --resolution or --width, "
            "or fewer samples.",
            1,
        )
    if isinstance(error, (ValueError, OSError)):
        fail(message, 2)
    raise error


def fail(message: str, code: int) -> NoReturn:
    """Print a message on stderr, once for all processes that share an error that the user can fix, and leave."""
    processes = sys.modules.get("gankit.processes")
    if processes is None or processes.rank() == 0 or code == 1:
        aside(f"gankit: {message}")
    if processes is not None and processes.world() > 1:
        os._exit(code)  # closing the process group now could wait for processes that are gone
    sys.exit(code)
