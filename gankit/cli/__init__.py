"""The command `gankit`: finds the command that the first word names, and runs it."""

# `gankit --help` must be fast: no file of this package imports torch, numpy, tyro or rich at its top.
from __future__ import annotations

import importlib
import keyword
import os
import sys
from collections.abc import Callable

import gankit
from gankit.cli.errors import explain, fail
from gankit.text import let_go, put, suggest

COMMANDS = (
    "train", "resume", "sample", "interpolate", "translate", "explore", "evaluate", "score", "compare", "metrics",
    "models", "show", "data", "report", "lab", "import", "export",
)  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    """Run a command line. Exit codes: 1 for a run that broke, 2 for errors that the user can fix."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait starve a shared machine
    try:
        run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `gankit models | head`: the exit code of a program that SIGPIPE ended
        sys.exit(128 + 13)
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        explain(error)
    finally:
        let_go()


def run(words: list[str]) -> None:
    """Run the command that the first word names."""
    if not words or words[0] in ("-h", "--help", "help"):
        put(overview())
    elif words[0] in ("--version", "version"):
        put(f"gankit {gankit.__version__}")
    elif words[0] in COMMANDS:
        command(words[0])(words[1:])
    else:
        fail(suggest("command", words[0], COMMANDS), 2)


def command(name: str) -> Callable[[list[str]], None]:
    """A command's function, from the module of the same name."""
    name = f"{name}_" if keyword.iskeyword(name) else name
    function: Callable[[list[str]], None] = getattr(importlib.import_module(f"gankit.cli.{name}"), name)
    return function


def overview() -> str:
    """The commands, with the first line of each docstring."""
    summaries = [f"  {name:<12} {(command(name).__doc__ or '').splitlines()[0]}" for name in COMMANDS]
    return "\n".join(
        [
            "Every classic GAN, with the same few commands.",
            "",
            "usage: gankit COMMAND ...   (gankit COMMAND --help lists its flags)",
            "",
            *summaries,
            "",
            "start:   gankit train dcgan --data digits --preset small",
            "         gankit sample latest -o grid.png",
        ]
    )
