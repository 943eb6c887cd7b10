"""Classes: their order, which is one for folders and tables, and those that the names of folders give."""

from __future__ import annotations

import re
from collections.abc import Iterable

WHOLE = re.compile(r"-?\d+", re.ASCII)
SHARD = 1000  # images of a folder of FFHQ, and of archives by StyleGAN's dataset_tool


def ordered(names: Iterable[str]) -> list[str]:
    """Distinct names of classes in the order of their numbers: as numbers if all are whole, else as text."""
    distinct = set(names)
    if all(map(WHOLE.fullmatch, distinct)):
        return sorted(distinct, key=lambda name: (float(name), len(name), name))
    return sorted(distinct)


def folders(names: Iterable[str]) -> list[str]:
    """The first folder in the name of each image; "" where there is none."""
    return [name.partition("/")[0] if "/" in name else "" for name in names]


def sharded(names: Iterable[str]) -> bool:
    """Whether the folders are parts of one numbered sequence of images, 1,000 in each, and no classes.

    These are 00000/00000.png to 01000/01999.png, as FFHQ has them, and 00001/img00001000.png.
    """
    return all(map(_in_shard, names))


def unlike_text(names: Iterable[str]) -> tuple[str, ...]:
    """A mark for the fingerprint, where the classes of these images are not simply the sorted names of folders."""
    names = list(names)
    present = set(folders(names))
    if len(present) < 2 or "" in present:
        return ()
    if sharded(names):
        return ("shards",)
    return ("classes as numbers",) if ordered(present) != sorted(present) else ()


def _in_shard(name: str) -> bool:
    folder, _, rest = name.partition("/")
    number = re.search(r"(\d+)\.\w+$", rest, re.ASCII)
    if not number or not re.fullmatch(r"\d{5,12}", folder, re.ASCII) or len(number[1]) > 15:
        return False
    first, place = int(folder), int(number[1])
    return place // SHARD == first or (first % SHARD == 0 and first <= place < first + SHARD)
