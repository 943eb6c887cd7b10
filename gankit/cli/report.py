"""The command `gankit report`."""

from __future__ import annotations

from gankit.cli.flags import first, parse
from gankit.text import put


def report(words: list[str]) -> None:
    """Write a run's report.html with samples, curves and settings: gankit report RUN"""
    run, flags = first(words, "report", "RUN")
    parse(report, "RUN", flags)

    from gankit.runs.folders import locate

    folder = locate(run)

    from gankit import report as library

    put(library.write(folder))
