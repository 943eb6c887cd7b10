"""How users name shards: a folder of tars, a range in braces, addresses on a server, or a list of them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from itertools import islice, product
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from gankit.data.reading import files, layout
from gankit.data.reading.endings import IMAGES
from gankit.data.shards import remote
from gankit.text import shown

ENDINGS = (".tar", ".parquet")
LISTS = (".json", ".txt")
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
MOST = 100_000  # shards of a set
HOW = (
    "Shards are a folder of .tar files, a range such as 'train-{0000..0146}.tar' or "
    "'https://host/train-{0000..0146}.tar', or a list of them in a .json or .txt"
)


class Location(NamedTuple):
    """A shard: its absolute path or its address, and the number of its samples where a list states it."""

    place: str
    samples: int | None = None

    @property
    def is_remote(self) -> bool:
        return is_address(self.place)

    @property
    def file(self) -> str:
        """Its file name, which is the same here and on a server."""
        return os.path.basename(urlsplit(self.place).path if self.is_remote else self.place)


def is_address(name: str) -> bool:
    """Whether a name is an address on a server."""
    return bool(re.match(r"https?://", name))


def is_spelled(name: str | Path) -> bool:
    """Whether a text names shards by a range, by addresses or by a list; folders are found by `in_folder`."""
    text = str(name)
    if "\0" in text or "," in text:
        return False
    if is_address(text):
        return bool(RANGE.search(text)) or urlsplit(text).path.lower().endswith((*ENDINGS, *LISTS))
    if re.match(r"pipe:|\w+://", text):
        return text.startswith("pipe:")
    path = Path(text).expanduser()
    if path.exists():
        return path.is_file() and path.suffix.lower() in LISTS
    return bool(RANGE.search(text))


def is_sharded(name: str | Path, path: Path | None) -> bool:
    """Whether a name, which stands for this path if for any, is one of shards."""
    return is_spelled(name) if path is None else bool(in_folder(path))


def parts_of(shards: Sequence[Location]) -> dict[str, list[Location]]:
    """The shards of each part by a word in their names, as in cats-train-0000.tar; none if they are one part."""
    parts: dict[str, list[Location]] = {}
    for shard in shards:
        words = [layout.WORDS.get(word, "") for word in re.split(r"[^a-z]+", shard.file.lower())]
        parts.setdefault(next(filter(None, words), ""), []).append(shard)
    if "" in parts and "train" not in parts:
        parts["train"] = parts.pop("")
    return parts if len(parts) > 1 else {}


def chosen(shards: Sequence[Location], part: str) -> tuple[list[Location], str]:
    """The shards of a part, by default of the training part if there are others, and a note on it.

    Raises:
        ValueError: there is no such part.
    """
    parts, part = parts_of(shards), layout.part_of(part) or part
    if part == "all" or (not parts and part in ("", "train")):
        return list(shards), ""
    if (part or "train") not in parts:
        names = ", ".join(sorted(filter(None, parts))) or "none"
        raise ValueError(f"no shard has {shown(part or 'train')!r} in its name: --split takes {names}, or all")
    counts = ", ".join(f"{name or 'of no part'} {len(each):,}" for name, each in sorted(parts.items()))
    return parts[part or "train"], f"Of the shards ({counts}) those of {part or 'train'} are read (--split)."


def in_folder(path: Path) -> list[Location]:
    """The tars in a folder that holds no images but in them, and no sub-folders; else none."""
    if not path.is_dir():
        return []
    tars = []
    for entry in os.scandir(path):
        if entry.name.startswith("."):
            continue
        if entry.is_dir() or entry.name.lower().endswith(IMAGES):
            return []
        if entry.name.lower().endswith(".tar"):
            tars.append(str(path.absolute() / entry.name))
    return [Location(tar) for tar in sorted(tars)]


def locations(name: str | Path, path: Path | None) -> list[Location]:
    """The shards of a name, which stands for this path if for any, in order.

    Raises:
        ValueError: the name, or a line in a list, names no shards.
        OSError: a list cannot be read.
    """
    text = str(name)
    if text.startswith("pipe:"):
        raise ValueError(f"{shown(text)} would run a program, which gankit never does. {HOW}")
    if path is not None:
        return in_folder(path)
    ending = os.path.splitext(urlsplit(text).path if is_address(text) else text)[1].lower()
    shards = listed(text) if ending in LISTS and not RANGE.search(text) else [Location(s) for s in expanded(text)]
    return [_checked(shard) for shard in shards]


def expanded(text: str) -> list[str]:
    """A name for each number of its ranges, with leading zeros as in the first: a-{00..02}.tar.

    Raises:
        ValueError: a range ends before it begins, or there are too many numbers.
    """
    parts = RANGE.split(text)
    choices = []
    for first, last in zip(parts[1::3], parts[2::3]):
        if len(last) > 12 or int(first) > int(last) or int(last) - int(first) >= MOST:
            raise ValueError(f"{{{first}..{last}}} is no range of 1 to {MOST:,} shards. {HOW}")
        choices.append([str(n).zfill(len(first)) for n in range(int(first), int(last) + 1)])
    names = [
        "".join(a + b for a, b in zip(parts[::3], [*numbers, ""])) for numbers in islice(product(*choices), MOST + 1)
    ]
    if len(names) > MOST:
        raise ValueError(f"{shown(text)} names more than {MOST:,} shards. {HOW}")
    return names


def listed(name: str) -> list[Location]:
    """The shards in a list: lines of text, a JSON array of names, or {"shardlist": [{"url": ..., "nsamples": ...}]}.

    Names are relative to the list.
    """
    content = remote.small(name) if is_address(name) else files.read(Path(name).expanduser(), remote.SMALL)
    try:
        text = content.decode("utf-8-sig")
        entries: object = json.loads(text) if urlsplit(name).path.lower().endswith(".json") else text.splitlines()
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is no list of shards: {error}. {HOW}") from None
    if isinstance(entries, dict):
        entries = entries.get("shardlist")
    if not isinstance(entries, list) or not 0 < len(entries) <= MOST:
        raise ValueError(f'it is no list of 1 to {MOST:,} shards, or lacks "shardlist". {HOW}')
    shards = []
    for number, entry in enumerate(entries, 1):
        place, count = (entry.get("url"), entry.get("nsamples")) if isinstance(entry, dict) else (entry, None)
        is_count = count is None or (type(count) is int and 0 <= count < 2**40)
        if not isinstance(place, str) or "\0" in place or not is_count:
            raise ValueError(f"entry {number} of the list is no shard: {shown(entry)[:80]}. {HOW}")
        if place.strip():
            shards += [Location(_beside(name, part), count) for part in expanded(place.strip())]
    return shards


def _beside(name: str, place: str) -> str:
    """A place in a list, relative to the list."""
    if re.match(r"pipe:|\w+://", place):
        if is_address(name) and not is_address(place):
            raise ValueError(f"{shown(place)} in a list on a server is no https address. {HOW}")
        return place
    return urljoin(name, place) if is_address(name) else str(Path(name).expanduser().parent / place)


def _checked(shard: Location) -> Location:
    """The shard with an absolute path. Raises ValueError: it is neither tar nor parquet, or its address is not safe."""
    if re.match(r"pipe:|(?!https?:)\w+://", shard.place):
        raise ValueError(f"{shown(shard.place)} is not read: shards are files, or on a server by https. {HOW}")
    if not shard.file.lower().endswith(ENDINGS):
        packed = re.search(r"\.(tgz|tar\.\w+)$", shard.file.lower())
        advice = "unpack the compression (gunzip), as samples are read from any place in it" if packed else HOW
        raise ValueError(f"{shown(shard.file)} is neither .tar nor .parquet: {advice}")
    if shard.is_remote:
        remote.refuse_unsafe(shard.place)
        return shard
    return shard._replace(place=str(Path(shard.place).expanduser().absolute()))
