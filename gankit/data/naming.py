"""The names and paths of data that users type."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gankit.data import domains
from gankit.data.builtin import BUILTIN
from gankit.data.published import SETS, located
from gankit.data.reading import formats, huggingface
from gankit.data.reading.endings import ARCHIVES, ARRAYS, IMAGES, SHARDS, VOLUMES
from gankit.data.reading.files import container, plain
from gankit.data.shards import spelling
from gankit.text import did_you_mean, shown

JOIN = "Sets of images with attributes or classes are joined with a plus between: photos+faces"


def find(name: str | Path) -> Path | None:
    """The path that a name refers to; None for built-in sets, and for several names with a comma or plus between.

    Raises:
        ValueError: there is no such data; the message suggests similar names.
    """
    name = located(name)
    text = str(name)
    if both := domains.split(text):
        for part in both:
            find(part)
        return None
    if names := plus(name):
        for part in names:
            find(part)
        return None
    if text in BUILTIN and isinstance(name, str):
        return None
    if huggingface.is_name(name):
        return huggingface.locate(text)
    if spelling.is_spelled(name):
        return None
    if re.match(r"\w+://", text):
        raise ValueError(
            f"{text} is no address of shards, and nothing else is downloaded: fetch it yourself. {spelling.HOW}"
        )
    path = Path(without_part(text)).expanduser()
    if text and "\0" not in text and path.is_dir():
        return path
    if text and "\0" not in text and path.exists():
        known = (ARRAYS, *ARCHIVES, *IMAGES, *SHARDS, *VOLUMES)
        if plain(path).name.lower().endswith(known) or formats.is_packed(path):
            return path
        raise ValueError(
            f"{shown(text)} is not a folder, zip, tar, image or .npz, "
            "nor a file of many images (.parquet, IDX, CIFAR's, STL-10's, .mat, .npy, data.mdb)"
        )
    if text and "\0" not in text and container(path)[1]:
        return path
    beside = [str(path.with_name(p.name)) for p in path.parent.iterdir()] if path.name and path.parent.is_dir() else []
    built_in = f"built in are {', '.join(n for n in BUILTIN if ':' not in n)}; gankit data list shows published sets"
    hint = did_you_mean(text, [*BUILTIN, *SETS, *beside]) or built_in
    raise ValueError(f"there is no data {shown(text)!r}, neither built in nor a path; {hint}")


def plus(name: str | Path) -> list[str]:
    """The names of joined sets, which a plus separates; none for other data.

    Raises:
        ValueError: a name is missing.
    """
    text = str(name)
    if "+" not in text or "\0" in text or Path(text).expanduser().exists():
        return []
    parts = [part.strip() for part in text.split("+")]
    if not all(parts):
        raise ValueError(f"{shown(text)!r} lacks a name. {JOIN}")
    return parts


def part_in(name: str | Path) -> str:
    """The part after the colon in the name of a path, as in birds:test; "" without one."""
    text = str(name)
    return "" if without_part(text) == text else text.rpartition(":")[2]


def without_part(text: str) -> str:
    """The path in a name such as birds:test, if it exists; else the name."""
    if huggingface.is_name(text):
        return huggingface.without_split(text)
    head, colon, _ = text.rpartition(":")
    if not colon or "\0" in text or Path(text).exists():
        return text
    path = Path(head).expanduser()
    return head if path.exists() or container(path)[1] else text


@contextmanager
def named(name: str | Path) -> Iterator[None]:
    """Put the name of the data in front of the message of any ValueError inside."""
    try:
        yield
    except ValueError as error:
        error.args = (f"{shown(str(name))}: {error}",)
        raise
