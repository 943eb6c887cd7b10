"""Write the fidelity ledger into each model's docs page: python scripts/write_ledgers.py [MODEL ...]

The block between the two markers is replaced, or added at the end of a page that has none. A test compares it with what
`gankit show MODEL --ledger` reads off the built model.
"""

from __future__ import annotations

import sys
from pathlib import Path

from gankit import ledger, models

PAGES = Path(__file__).parents[1] / "docs" / "models"


def main(names: list[str]) -> None:
    """Write the ledgers of the named models, or of all."""
    for name in names or models.names():
        page, text = PAGES / f"{name}.md", ledger.markdown(name, ledger.rows(name))
        before, found, rest = page.read_text(encoding="utf-8").partition(ledger.BEGIN)
        after = rest.partition(ledger.END)[2] if found else "\n"
        page.write_text(before.rstrip("\n") + "\n\n" + text + after, encoding="utf-8")
        print(f"{page}: {text.count(chr(10))} lines")


if __name__ == "__main__":
    main(sys.argv[1:])
