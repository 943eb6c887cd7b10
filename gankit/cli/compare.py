"""The command `gankit compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gankit.cli.errors import fail
from gankit.cli.flags import parse, take
from gankit.cli.output import show_table
from gankit.text import put

if TYPE_CHECKING:
    from gankit.evaluation.comparison import Line


def compare(words: list[str]) -> None:
    """Show the scores of runs, folders or files side by side: gankit compare A B ... [--metrics fd]"""
    words, metrics = take(words, "--metrics")
    words, outdir = take(words, "--outdir")
    subjects = [word for word in words if not word.startswith("-")]
    parse(compare, "A B", [word for word in words if word.startswith("-")])
    if len(subjects) < 2:
        fail(
            "compare what? gankit compare A B ... [--metrics fd,precision]: runs, folders or files that were evaluated",
            2,
        )

    from gankit import evaluation

    lines = evaluation.compare(subjects, outdir or "runs", metrics or "")
    columns = {
        "metric": {},
        **{subject: {"justify": "right"} for subject in subjects},
        "better": {},
        "taken with": {},
    }
    show_table(columns, map(cells, lines))
    if any(line.unlike for line in lines):
        put("Values in different lines of one metric were measured differently and cannot be compared.")


def cells(line: Line) -> tuple[str, ...]:
    """A metric's row in the table."""
    records = [record for record in line.values if record is not None]
    values = [
        ""
        if record is None
        else f"{record['value']:.4g}" + ("" if record["error"] is None else f" +- {record['error']:.2g}")
        for record in line.values
    ]
    return (line.name, *values, records[0]["better"], line.unlike)
