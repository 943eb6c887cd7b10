"""Run the lab's experiments as documented, and write what they showed into docs/lab.

    python scripts/lab_pages.py [NAME ...]       default: only the table, from what was run before

Writes docs/images/lab/NAME.png and docs/lab/evidence/NAME.json for each name, and the table of docs/lab/README.md from
all of these files. The chapters beside it are written by hand.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path

from gallery import small_png

from gankit import lab

DOCS = Path(__file__).parent.parent / "docs"
LARGEST = 45_000  # bytes of a picture


def show(name: str) -> None:
    """Run an experiment with its defaults and keep its picture and its record."""
    began = time.process_time()
    evidence = lab.run(name)
    print(f"{name}: {evidence.verdict}, {time.process_time() - began:.0f} s of CPU time", flush=True)
    evidence.write(DOCS / "lab" / "evidence")
    for path in (DOCS / "lab" / "evidence").glob(f"{name}.*"):
        if path.suffix != ".json":
            path.unlink()
    (DOCS / "images" / "lab").mkdir(parents=True, exist_ok=True)
    (DOCS / "images" / "lab" / f"{name}.png").write_bytes(small_png(evidence.picture, LARGEST))


def chapter_of(name: str) -> str:
    """The page of docs/lab that shows an experiment; "" if none does yet."""
    pages = sorted((DOCS / "lab").glob("*.md"))
    return next((page.name for page in pages if f"gankit lab {name}" in page.read_text() and page.stem != "README"), "")


def write_table(page: Path) -> None:
    """Replace the page's table, between its head and the next empty line."""
    rows = []
    for entry in lab.entries().values():
        record = page.parent / "evidence" / f"{entry.name}.json"
        verdict = json.loads(record.read_text())["verdict"] if record.exists() else "not run for this page yet"
        chapter = chapter_of(entry.name)
        name = f"[{entry.name}]({chapter})" if chapter else entry.name
        rows.append(f"| {entry.claim.replace('|', chr(92) + '|')} | {name} | {entry.seconds} s | {verdict} |")
    head = "| claim | `gankit lab` | CPU time | verdict |\n|---|---|---|---|\n"
    before, _, rest = page.read_text().partition(head)
    after = re.split(r"\n\n", rest, maxsplit=1)
    page.write_text(before + head + "\n".join(rows) + "\n" + ("\n" + after[1] if len(after) > 1 else ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="experiments to run; all for every one")
    names = parser.parse_args().names
    for name in list(lab.entries()) if names == ["all"] else names:
        show(name)
    write_table(DOCS / "lab" / "README.md")


if __name__ == "__main__":
    main()
