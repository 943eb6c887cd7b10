"""What the tests of the documentation share: pages, their blocks of code, and how a block runs at a small size.

In the tutorials and in docs/adding.md every ```bash and ```python block runs, in the order of the page; ```sh blocks
are for what a test cannot do (installing, GPUs). A block with a title is a file, or with ```diff a change of one. A
comment in front of a block gives the sizes of the test, which replace the page's or are added:
`<!-- tested with: train --images 1k; evaluate --n 100 -->`, and for Python `images=1_000`.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from gankit import cli

HOUSE = Path(__file__).parents[1]
PAGES = sorted([*HOUSE.glob("*.md"), *(HOUSE / "docs").rglob("*.md"), *(HOUSE / ".github").rglob("*.md")])
BLOCK = re.compile(
    r"^(?:<!-- tested with: (?P<sizes>[^\n]*) -->\n)?"
    r"```(?P<language>bash|python|diff)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<code>.*?)^```$",
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
        if words[1:2] == [command]:
            for flag, value in zip(flags[::2], flags[1::2], strict=True):
                if flag in words:
                    words[words.index(flag) + 1] = value
                else:
                    words += [flag, value]
    return words


def write(block: Block) -> None:
    """Write a block's file, or change the one that it is a diff of: its lines without + must be there just once."""
    path = Path(block.title)
    if block.language == "python":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.code, encoding="utf-8")
        return
    lines, text = block.code.splitlines(), path.read_text(encoding="utf-8")
    before, after = ("\n".join(line[1:] for line in lines if line[:1] != sign) + "\n" for sign in "+-")
    assert text.count(before) == 1, f"{path} has changed; it does not hold once:\n{before}"
    path.write_text(text.replace(before, after), encoding="utf-8")


def run(found: list[Block], names: dict[str, object]) -> None:
    """Run blocks in the current folder, files first, each Python block with the names of those before."""
    for block in found:
        if block.title:
            write(block)
    for block in found:
        if block.title:
            continue
        if block.language == "python":
            code = block.code
            for size in block.sizes:
                name, value = size.split("=")
                code, count = re.subn(rf"\b{name}=[\d_]+", f"{name}={value}", code)
                assert count, f"line {block.line}: there is no {name}=NUMBER"
            exec(compile("\n" * (block.line - 1) + code, "<page>", "exec"), names)
            continue
        for line in block.code.replace("\\\n", " ").splitlines():
            words = [os.path.expanduser(word) for word in resized(shlex.split(line, comments=True), block.sizes)]
            if words[:1] == ["gankit"]:
                try:
                    cli.main(words[1:])
                except SystemExit as left:
                    assert not left.code, line
            elif words:
                assert words[0] == "python", f"{line}: this cannot be tested; use ```sh"
                done = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True)
                assert done.returncode == 0, f"{line}:\n{done.stdout[-3000:]}{done.stderr[-2000:]}"
