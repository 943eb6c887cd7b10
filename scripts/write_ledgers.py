"""Write the fidelity ledgers: python scripts/write_ledgers.py [MODEL ...]

Reads gankit's values off each built model and stores them in the model's ledger, gankit/models/NAME.json, and in the
block between the two markers of its docs page; a page without markers gets the block at its end. A test compares both
with the built model.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the readers are part of the tests

from gankit import ledger, models
from tests.ledger import page, readers

PAGES = Path(__file__).parents[1] / "docs" / "models"


def main(names: list[str]) -> None:
    """Write the ledgers of the named models, by default of all."""
    for name in names or models.names():
        rows = readers.read_rows(name)
        ledger.path(name).write_text(page.stored(name, rows), encoding="utf-8")
        docs, block = PAGES / f"{name}.md", page.markdown(name, rows)
        before, marker, rest = docs.read_text(encoding="utf-8").partition(page.BEGIN)
        after = rest.partition(page.END)[2] if marker else "\n"
        docs.write_text(before.rstrip("\n") + "\n\n" + block + after, encoding="utf-8")
        print(f"{name}: {len(rows)} rows")


if __name__ == "__main__":
    main(sys.argv[1:])
