"""Text for terminals and pages: nothing from a file can control them, and a closed terminal stops no work."""

from __future__ import annotations

import contextlib
import difflib
import html
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from rich.progress import Progress

    Bar = Progress  # under this name other rooms annotate it without an import of rich


def shown(text: object) -> str:
    """Any text on one line as it can be printed anywhere: no control characters, no bytes that are not text."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def clean(text: object) -> str:
    """As `shown`, with line breaks and tabs kept."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in str(text))


def escaped(text: object) -> str:
    """Any text as HTML shows it, between tags or in a quoted attribute: nothing in it can be a tag or a script."""
    return html.escape(shown(text), quote=True)


def did_you_mean(name: str, known: Iterable[str], most: int = 3) -> str:
    """A question with the known names that are similar, "did you mean a or b?"; empty if none is."""
    lower = {other.lower(): other for other in known}
    near = [lower[key] for key in difflib.get_close_matches(name.lower(), lower, most, 0.6)]
    return f"did you mean {' or '.join(near)}?" if near else ""


def suggest(what: str, name: str, known: Iterable[str]) -> str:
    """A sentence on an unknown name: the similar known ones, or all of them."""
    known = list(known)
    return f"no {what} {name!r}; {did_you_mean(name, known) or 'there are ' + (', '.join(sorted(known)) or 'none')}"


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03; ? where they are not known."""
    if seconds == float("inf"):
        return "?"
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def about(seconds: float, hours: str = "hours") -> str:
    """Seconds as a person says them: 40 s, 12 min, 5.2 hours, 6.3 days. `hours` is the name of that unit."""
    for most, unit, name in ((90, 1, "s"), (90 * 60, 60, "min"), (36 * 3600, 3600, hours)):
        if seconds < most:
            return f"{seconds / unit:.{int(unit == 3600)}f} {name}"
    return f"{seconds / 86400:,.1f} days"


def put(text: object) -> None:
    """Print a command's result on stdout.

    Raises:
        OSError: stdout is closed or full: the caller has not got the result.
    """
    try:
        print(clean(text), flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(f"cannot write to stdout: {error.strerror}") from error


def aside(text: object) -> None:
    """Print a line about the work on stderr; if stderr is closed, the work goes on."""
    print(clean(text), file=Lasting(sys.stderr), flush=True)


def let_go() -> None:
    """Drop a closed or full stdout and stderr, so that Python's last flush of them does not change the exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):  # no file of the system's
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def bar(unit: str, live: bool = True, transient: bool = False, has_time: bool = True) -> Progress:
    """A progress bar on stderr: the count of `unit`, the task's `text`, the time left; nothing outside terminals.

    In a notebook it is a part of the page.

    Args:
        unit: what is counted.
        live: whether to show it.
        transient: remove it at the end.
        has_time: show the time left; otherwise `text` has it.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    if live and in_notebook():
        return _notebook_bar(unit, transient, has_time)
    count, note = TextColumn("{task.completed:,.0f}/{task.total:,.0f} " + unit), TextColumn("{task.fields[text]}")
    columns = (count, BarColumn(None), note, *[TimeRemainingColumn()] * has_time)
    console = Console(file=cast(TextIO, Lasting(sys.stderr)))
    return Progress(*columns, console=console, disable=not (live and console.is_terminal), transient=transient)


def in_notebook() -> bool:
    """Whether this code runs in the kernel of a notebook, whose page can show HTML."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def is_live() -> bool:
    """Whether a progress bar can be seen: on a terminal, or in a notebook."""
    return sys.stderr.isatty() or in_notebook()


def _notebook_bar(unit: str, transient: bool, has_time: bool) -> Progress:
    """A progress bar as HTML in a notebook's page, with what the notebook has anyway (rich needs ipywidgets)."""
    from IPython.display import HTML, display
    from rich.console import Console
    from rich.progress import Progress, TaskID

    class InPage(Progress):
        """A bar that is drawn by the page, twice a second at most."""

        page, drawn = None, 0.0

        def start(self) -> None:
            self.page = display(HTML(self.html()), display_id=True)

        def stop(self) -> None:
            if self.page is not None:
                self.page.update(HTML("" if transient else self.html()))

        def update(self, task_id: TaskID, **changes: Any) -> None:
            super().update(task_id, **changes)
            if self.page is not None and time.monotonic() - self.drawn >= 0.5:
                self.drawn = time.monotonic()
                self.page.update(HTML(self.html()))

        def html(self) -> str:
            lines = []
            for task in self.tasks:
                total, left = task.total or 1, task.time_remaining
                text = f"{task.completed:,.0f}/{total:,.0f} {unit} {task.fields.get('text', '')}"
                if has_time and left is not None and not task.finished:
                    text += f" {clock(left)} left"
                bar = f"<progress max={total:.0f} value={task.completed:.0f} style='width: 16rem'></progress>"
                lines.append(f"<div>{bar} {escaped(text)}</div>")
            return "".join(lines)

    return InPage(console=Console(file=cast(TextIO, Lasting(sys.stderr)), force_jupyter=False), disable=True)


@contextlib.contextmanager
def counted(total: int, unit: str, live: bool = True) -> Iterator[Callable[[int], None]]:
    """A progress bar inside the block; call what it gives with the count of `unit` done since the last call."""
    with bar(unit, live, transient=True) as progress:
        task = progress.add_task("", total=total, text="")
        yield lambda count: progress.update(task, advance=count)


class Lasting:
    """A stream of text whose reader may leave: what cannot be written is dropped."""

    def __init__(self, stream: TextIO):
        self.stream = stream

    def write(self, text: str) -> int:
        try:
            return self.stream.write(text)
        except (OSError, ValueError):  # a closed pipe or terminal, a full disk; a closed file
            return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.stream.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self.stream, name)
