"""Signals that ask a run to save and stop after its current step."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

ASK = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGXCPU")
"""On systems that have them: kill, Ctrl-C, a closed terminal, Slurm's warning before a time limit, and the limit."""


Handler = Callable[[int, FrameType | None], object] | int | None  # as `signal.signal` takes and returns it


class Signals(contextlib.AbstractContextManager["Signals", None]):
    """Inside, a signal of ASK only sets `asked` to its number; a second Ctrl-C or SIGTERM leaves at once.

    Args:
        say: called with a line for the user at the first signal.
    """

    def __init__(self, say: Callable[[str], None]):
        self.say, self.asked = say, 0
        self.previous: dict[int, Handler] = {}
        self.seen: set[int] = set()

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for name in ASK:
                number = getattr(signal, name, None)
                if number is None:
                    continue
                is_ignored = name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN  # as under nohup
                if not is_ignored:
                    self.previous[number] = signal.signal(number, self.handle)
        return self

    def handle(self, number: int, frame: object) -> None:
        if number in self.seen and number in (signal.SIGINT, signal.SIGTERM):
            os._exit(128 + number)
        self.seen.add(number)
        if not self.asked:
            self.asked = number
            self.say("stopping after this step, with a save; once more to leave at once")

    def __exit__(self, *exception: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)


def exit_by(number: int) -> None:
    """End the process as the signal would have done."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)
