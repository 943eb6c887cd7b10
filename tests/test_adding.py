"""The examples in docs/adding.md work: each is applied to a copy of gankit, and its commands run there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.pages import HOUSE, Block, blocks

PAGE = HOUSE / "docs" / "adding.md"
LINES = PAGE.read_text(encoding="utf-8").splitlines()
STARTS = [number for number, line in enumerate(LINES, 1) if line.startswith("## ")]
CODE = """
import sys
from pathlib import Path
from tests import pages
first, last = map(int, sys.argv[1:])
pages.run([block for block in pages.blocks(Path("docs/adding.md")) if first < block.line < last], {})
"""


@pytest.mark.parametrize("first", STARTS, ids=lambda number: LINES[number - 1].removeprefix("## ").replace(" ", "_"))
def test_an_example_works_in_a_copy(first, tmp_path):
    last = next((start for start in STARTS if start > first), len(LINES) + 1)
    found: list[Block] = [block for block in blocks(PAGE) if first < block.line < last]
    assert any(block.title for block in found) and not all(block.title for block in found)
    assert len({b.title for b in found if b.title.startswith("gankit/")}) <= 2, "a part takes two files at most"
    for name in ("gankit", "tests", "docs"):
        shutil.copytree(HOUSE / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "images"))
    shutil.copy(HOUSE / "pyproject.toml", tmp_path)
    environment = os.environ | {
        "PYTHONPATH": str(tmp_path),
        "GANKIT_OFFLINE": "1",
        "PYTEST_ADDOPTS": "-p no:cacheprovider",
    }
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(first), str(last)],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
