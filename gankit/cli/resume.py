"""The command `gankit resume`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from gankit.cli.flags import Loading, asks_help, first, is_typed, only, parse, take
from gankit.text import shown


@dataclasses.dataclass
class Command:
    """How the command behaves.

    Args:
        outdir: folder in which RUN is looked for.
        quiet: print nothing.
    """

    outdir: str = "runs"
    quiet: bool = False


def resume(words: list[str]) -> None:
    """Continue a run from its last save: gankit resume RUN [--images 2M]"""
    run, flags = first(words, "resume", "RUN")

    from gankit import training
    from gankit.runs.folders import locate
    from gankit.training.settings import settings_of, with_options

    folder, before = Path("RUN"), training.Settings()
    if not asks_help(words):
        folder = locate(run, take(flags, "--outdir")[1] or "runs")

        from gankit.runs.config import read_config

        before = settings_of(read_config(folder))
        printable = {name: shown(value) for name, value in vars(before).items() if isinstance(value, str)}
        before = with_options(before, printable)  # the help prints them
    command, settings, loading = parse(
        resume, str(folder), flags, Command, training.Settings, only(Loading, "model"), defaults=before
    )
    options = {
        name: value
        for name, value in dataclasses.asdict(settings).items()
        if value != getattr(before, name) or is_typed(flags, name)
    }
    training.resume(folder, model=loading.model or None, quiet=command.quiet, **options)
