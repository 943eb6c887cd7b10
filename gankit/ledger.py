"""The fidelity ledger: each quantity of a model's training, the paper's value beside gankit's, with source and reason.

A model's ledger is data beside the model, `models/NAME.json`. `scripts/write_ledgers.py` reads gankit's values off the
built model and stores them there; a test compares the stored values with the model.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from gankit import models

COLUMNS: dict[str, dict[str, object]] = {name: {} for name in ("quantity", "paper", "gankit", "source", "reason")}
"""The columns of the table, with rich's options for each."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a ledger.

    Args:
        quantity: what is compared, for example "learning rates".
        of: which part of the quantity; empty for all of it.
        preset: the preset that the line is about.
        paper: the paper's value, or that of its authors' code where the paper gives none; "not stated" where both are
            silent, "not checked" where neither was read.
        source: where that value is stated: a section or equation, or file and line of the authors' code.
        gankit: gankit's value, or what the user has to give.
        reason: why the two differ; empty where they agree.
    """

    quantity: str
    of: str
    preset: str
    paper: str
    source: str
    gankit: str
    reason: str

    @property
    def name(self) -> str:
        """The quantity with its part and preset."""
        preset = "" if self.preset == "paper" else f"preset {self.preset}"
        details = ", ".join(filter(None, (self.of, preset)))
        return f"{self.quantity}: {details}" if details else self.quantity


def path(model: str) -> Path:
    """The file of a model's ledger.

    Raises:
        ValueError: gankit has no such model.
    """
    file = models.file(model)
    if file.parent != Path(models.__file__).parent:
        raise ValueError(
            f"{model} is a model of your own; ledgers are kept for gankit's models: {', '.join(models.names())}"
        )
    return file.with_suffix(".json")


def data(model: str) -> dict:
    """A model's ledger as it is stored.

    Raises:
        ValueError: gankit has no such model.
    """
    return json.loads(path(model).read_text(encoding="utf-8"))


def rows(model: str) -> list[Row]:
    """The lines of a model's ledger.

    Raises:
        ValueError: gankit has no such model.
    """
    return [
        Row(
            quantity=entry["quantity"],
            of=entry.get("of", ""),
            preset=entry.get("preset", "paper"),
            paper=entry["paper"],
            source=entry.get("source", ""),
            gankit=f"yours to give: {entry['yours']}" if "yours" in entry else entry.get("gankit", ""),
            reason=entry.get("reason", ""),
        )
        for entry in data(model)["rows"]
    ]


def cells(row: Row) -> tuple[str, ...]:
    """The cells of a line of the table."""
    return row.name, row.paper, "the same" if row.paper == row.gankit else row.gankit, row.source, row.reason


def records(lines: list[Row]) -> list[dict[str, str]]:
    """The ledger as plain dicts, for JSON."""
    return [dataclasses.asdict(row) for row in lines]
