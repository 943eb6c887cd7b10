"""Output shared by several commands: tables, and the limit on the number of samples."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from gankit.text import shown

if TYPE_CHECKING:
    from gankit.recipe import Recipe

COPIES = 3  # copies of the samples that a command holds at once: as drawn, concatenated, and as bytes


def width() -> int:
    """Columns that a table may use: the terminal's, or 160 where stdout is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 160


def show_table(columns: Mapping[str, Mapping[str, object]], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; nothing in a cell is markup, and no line is wider than `width`.

    Args:
        columns: heading to the options of that column: `justify`, "right" for numbers, and `no_wrap`.
        rows: cells as they are printed.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading, options in columns.items():
        justify: Literal["left", "right"] = "right" if options.get("justify") == "right" else "left"
        table.add_column(Text(shown(heading)), justify=justify, no_wrap=bool(options.get("no_wrap")))
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    Console(width=width()).print(table)


def refuse_many(recipe: Recipe, count: int, what: str, flags: str) -> None:
    """Refuse samples that would not fit into memory. Raises ValueError."""
    from gankit import build

    build.refuse_large(COPIES * count * recipe.spec.size, f"{count:,} {what}", f"Draw fewer at once: {flags}")
