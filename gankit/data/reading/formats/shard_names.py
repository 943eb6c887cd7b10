"""The names of shards, as hubs of data sets write them: which part of the data a file of rows belongs to."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gankit.data.reading import layout
from gankit.data.reading.endings import IMAGES, SHARDS
from gankit.data.reading.files import File, hold_rows, listed
from gankit.text import shown

NUMBERED = re.compile(r"(?P<stem>.*?)-?(?P<number>\d{1,6})-of-(?P<count>\d{1,6})(-[0-9a-f]{6,40})?")


class Shard(NamedTuple):
    """A file of rows.

    Args:
        file: with its name relative to the folder.
        part: of the data, such as train or validation; "" if the name says none.
        number, of: its number among the shards of its part and their count; 0 and 0 if the name says none.
    """

    file: File
    part: str
    number: int
    of: int


def shards_among(files: Sequence[File]) -> list[Shard]:
    """The shards of images among the files of a folder; none if there are images as well."""
    return [_shard(file) for file in files if file.name.lower().endswith(SHARDS)] if hold_rows(files) else []


def holds_shards(path: Path) -> bool:
    """Whether a path is a file of rows, or a folder with such files and no images."""
    if path.is_file():
        return path.name.lower().endswith(SHARDS)
    has_shards = False
    for _, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        lower = [name.lower() for name in names if not name.startswith(".")]
        if any(name.endswith(IMAGES) for name in lower):
            return False
        has_shards = has_shards or any(name.endswith(SHARDS) for name in lower)
    return has_shards


def of_part(shards: list[Shard], part: str, path: Path) -> list[Shard]:
    """The shards of a part, or of all parts if none is named, train first.

    Raises:
        ValueError: there is no such part, or the folder holds several configurations of a data set.
    """
    chosen = [shard for shard in shards if part in ("", shard.part, layout.part_of(shard.part))]
    if not chosen:
        parts = sorted({shard.part for shard in shards} - {""})
        raise ValueError(f"{shown(path)} has no part {shown(part)!r}; it has {quoted(parts) if parts else 'no parts'}")
    shards = chosen
    if len(tops := sorted({_configuration(shard) for shard in shards})) > 1:
        raise ValueError(
            f"{shown(path)} holds {len(tops)} configurations of a data set, {quoted(tops)}: name the folder of one, "
            f"{shown(path / tops[-1])}"
        )
    return sorted(shards, key=lambda shard: (shard.part != "train", shard.part, shard.number, shard.file.name))


def missing(shards: list[Shard]) -> list[str]:
    """A note for each part of which some shards are not there, though the names of the others count them."""
    counts = Counter((shard.part, shard.of) for shard in shards if shard.of)
    return [
        f"Only {count:,} of {of:,} shards{f' of {shown(part)}' if part else ''} are there."
        for (part, of), count in counts.items()
        if count < of
    ]


def image_names(shards: list[Shard], counts: list[int], ending: str) -> list[list[str]]:
    """The names of the images in each shard, PART/000000.png, counted through each part."""
    totals, firsts, names = Counter[str](), Counter[str](), []
    for shard, count in zip(shards, counts):
        totals[shard.part] += count
    for shard, count in zip(shards, counts):
        width, prefix = max(6, len(str(totals[shard.part]))), f"{shard.part}/" if shard.part else ""
        names.append([f"{prefix}{firsts[shard.part] + i:0{width}}{ending}" for i in range(count)])
        firsts[shard.part] += count
    return names


def quoted(names: Sequence[str]) -> str:
    """Names from a file, with commas between."""
    return ", ".join(listed((repr(shown(name)) for name in names), len(names)))


def _shard(file: File) -> Shard:
    """A shard by its name: train-00000-of-00002.parquet, data/test-..., pets-train.arrow, train/0000.parquet."""
    *folders, name = file.name.split("/")
    stem = name.rpartition(".")[0]
    match = NUMBERED.fullmatch(stem)
    number, of = (int(match["number"]), int(match["count"])) if match else (0, 0)
    if match or name.lower().endswith(".arrow"):
        part = (match["stem"] if match else stem).rpartition("-")[2]
        if part in ("", "data"):  # the package datasets saves each part in a folder with its name
            part = folders[-1] if folders and folders[-1] != "data" else ""
        return Shard(file, part, number, of)
    words = re.split(r"[-_. ]", stem.lower())
    above = [folder.removeprefix("partial-") for folder in reversed(folders)]
    return Shard(file, next((word for word in [*words, *above] if layout.part_of(word)), ""), number, of)


def _configuration(shard: Shard) -> str:
    """The folders of a shard without the part's own and `data`."""
    others = {shard.part, f"partial-{shard.part}", "data"}
    return "/".join(folder for folder in shard.file.name.split("/")[:-1] if folder not in others)
