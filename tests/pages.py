"""What the tests of the documentation share: pages, their blocks of code, and how a block runs at a small size.

In the tutorials and in docs/adding.md every ```bash and ```python block runs, in the order of the page; ```sh blocks are
for what a test cannot do (installing, GPUs). A comment in front of a block gives the sizes of the test, which replace the
page's or are added: `<!-- tested with: train --images 1k; evaluate --n 100 -->`, and for Python `images=1_000`.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import NamedTuple

from gankit import cli

HOUSE = Path(__file__).parents[1]
PAGES = sorted([*HOUSE.glob("*.md"), *(HOUSE / "docs").rglob("*.md"), *(HOUSE / ".github").rglob("*.md")])
BLOCK = re.compile(
    r"^(?:<!-- tested with: (?P<sizes>[^\n]*) -->\n)?```(?P<language>bash|python)(?: title=\"(?P<title>[^\"]+)\")?\n"
    r"(?P<code>.*?)^```$",
    re.M | re.S,
)


class Block(NamedTuple):
    """A block of code: its language, the file that it is (or ""), its code, the sizes of the test, its first line."""

    language: str
    title: str
    code: str
    sizes: list[str]
    line: int


def blocks(page: Path) -> list[Block]:
    """The blocks of a page that run."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            match["language"],
            match["title"] or "",
            match["code"],
            [size.strip() for size in (match["sizes"] or "").split(";") if size],
            text[: match.start("code")].count("\n") + 1,
        )
        for match in BLOCK.finditer(text)
    ]


def resized(words: list[str], sizes: list[str]) -> list[str]:
    """A command with the flags that its sub-command has in `sizes`, replaced or added."""
    for size in sizes:
        command, *flags = shlex.split(size)
        if command == words[1]:
            for flag, value in zip(flags[::2], flags[1::2], strict=True):
                if flag in words:
                    words[words.index(flag) + 1] = value
                else:
                    words += [flag, value]
    return words


def run(page: Path, names: dict[str, object]) -> None:
    """Run a page's blocks in the current folder, each Python block with the names of those before.

    A block with a title is written to that file first.
    """
    for block in blocks(page):
        if block.title:
            Path(block.title).parent.mkdir(parents=True, exist_ok=True)
            Path(block.title).write_text(block.code, encoding="utf-8")
        elif block.language == "python":
            code = block.code
            for size in block.sizes:
                name, value = size.split("=")
                code, count = re.subn(rf"\b{name}=[\d_]+", f"{name}={value}", code)
                assert count, f"{page.name}:{block.line} has no {name}=NUMBER"
            exec(compile("\n" * (block.line - 1) + code, str(page), "exec"), names)
        else:
            for line in block.code.replace("\\\n", " ").splitlines():
                if words := shlex.split(line, comments=True):
                    assert words[0] == "gankit", f"{page.name}: {line} cannot be tested; use ```sh"
                    words = [os.path.expanduser(word) for word in resized(words, block.sizes)]
                    try:
                        cli.main(words[1:])
                    except SystemExit as left:
                        assert not left.code, f"{page.name}: {line}"
