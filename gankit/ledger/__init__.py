"""The fidelity ledger: each quantity of a model's training, the paper's value beside gankit's, with source and reason.

A model's ledger is data beside it, `models/NAME.json`: the paper's value, where it stands, how gankit's value is read off the
built model, and the reason where the two differ. What gankit does is never written down; readers find it.
"""

from __future__ import annotations

import dataclasses
import json
from functools import lru_cache
from pathlib import Path

from gankit import models
from gankit.ledger import readers
from gankit.ledger.reading import Reading

QUANTITIES = (
    "optimizer", "learning rates", "optimizer's constants", "batch", "update order", "losses and weights", "noise", "first weights",
    "norms", "schedules", "averaging", "data", "length", "sampling",
)  # fmt: skip
"""What every ledger speaks of, in this order; "data" is augmentation and preprocessing."""
UNKNOWN = ("not stated", "not checked")
"""What stands for the paper's value where paper and code leave it out, or where neither was read."""
KEYS = frozenset(("quantity", "of", "preset", "paper", "source", "read", "yours", "reason"))
COLUMNS: dict[str, dict[str, object]] = {name: {} for name in ("quantity", "paper", "gankit", "source", "reason")}
"""Of a table, with rich's options for each."""
BEGIN, END = "<!-- ledger: written by scripts/write_ledgers.py -->", "<!-- end of the ledger -->"


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a ledger.

    Args:
        quantity: one of QUANTITIES.
        of: which part of it; empty for all.
        preset: the preset that it holds for.
        paper: the paper's value, its authors' code's where the paper is silent, or one of UNKNOWN.
        source: where that stands: a section or equation, or the file and line of the authors' code.
        gankit: gankit's value, read off the model; or what the user gives.
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


def data(model: str) -> dict:
    """The ledger of a model as it is stored.

    Raises:
        ValueError: there is no such model.
    """
    kind = models.find(model)
    if models.own_file(kind):
        raise ValueError(
            f"{model} is a model of your own; ledgers are kept for gankit's models: {', '.join(models.names())}"
        )
    return json.loads((Path(models.__file__).parent / f"{models.name_of(kind)}.json").read_text(encoding="utf-8"))


@lru_cache(maxsize=4)
def opened(model: str, preset: str) -> Reading:
    """The built model, as the rows of a preset are read off it."""
    small = data(model)["small"]
    return Reading(model, preset, small.get(preset, small["paper"]))


def rows(model: str) -> list[Row]:
    """The ledger of a model, gankit's values read off the built model."""
    name = models.name_of(models.find(model))
    found = []
    for entry in data(model)["rows"]:
        preset = entry.get("preset", "paper")
        value = (
            f"yours to give: {entry['yours']}"
            if "yours" in entry
            else readers.read(opened(name, preset), entry["read"])
        )
        found.append(
            Row(
                entry["quantity"],
                entry.get("of", ""),
                preset,
                entry["paper"],
                entry.get("source", ""),
                value,
                entry.get("reason", ""),
            )
        )
    return found


def faults(model: str, found_rows: list[Row]) -> list[str]:
    """What is wrong with a model's ledger and its rows; nothing where it holds."""
    entries = data(model)["rows"]
    found = [
        f"no row for {quantity!r}"
        for quantity in QUANTITIES
        if quantity not in {entry["quantity"] for entry in entries}
    ]
    for entry in entries:
        if unknown := (set(entry) - KEYS) | ({entry["quantity"]} - {*QUANTITIES}):
            found.append(f"{entry['quantity']}: {', '.join(sorted(unknown))} is unknown")
        if ("read" in entry) == ("yours" in entry):
            found.append(f"{entry['quantity']}: a row has either `read` or `yours`")
    for row, entry in zip(found_rows, entries, strict=True):
        differs = "yours" not in entry and row.paper != row.gankit
        if not row.source and row.paper not in UNKNOWN:
            found.append(f"{row.name}: no source for {row.paper!r}")
        if differs and not row.reason:
            found.append(f"{row.name}: the paper has {row.paper!r}, gankit {row.gankit!r}, and there is no reason")
        if row.reason and not differs:
            found.append(f"{row.name}: a reason is given, and gankit has the paper's {row.paper!r}")
    order = [QUANTITIES.index(entry["quantity"]) for entry in entries if entry["quantity"] in QUANTITIES]
    return found + ["rows are not in the order of the quantities"] * (order != sorted(order))


def cells(row: Row) -> tuple[str, ...]:
    """A row as it is shown."""
    return row.name, row.paper, "the same" if row.paper == row.gankit else row.gankit, row.source, row.reason


def markdown(model: str, found_rows: list[Row]) -> str:
    """The ledger for the model's page, between its markers."""
    code = data(model)["code"]
    files = f" Files are those of [the authors' code]({code})." if code else ""
    lines = [
        BEGIN, "", "## Fidelity ledger", "",
        f"The paper's training procedure beside gankit's (`gankit show {model} --ledger`). gankit's values are read off the built model of "
        f"preset `paper`, or of the one named.{files}", "", f"| {' | '.join(COLUMNS)} |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for row in found_rows:
        shown = (cell.replace("|", r"\|").replace("*", r"\*").replace("<", "&lt;") for cell in cells(row))
        lines.append("| " + " | ".join(shown) + " |")
    return "\n".join([*lines, "", END])


def records(found_rows: list[Row]) -> list[dict[str, str]]:
    """The ledger as plain dicts, for JSON."""
    return [dataclasses.asdict(row) for row in found_rows]
