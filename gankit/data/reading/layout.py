"""What the names of folders say: two domains, pairs, label maps, and the part that models do not train on."""

from __future__ import annotations

import os
from pathlib import Path

DOMAINS = (("A", "B"), ("trainA", "trainB"))
HELD_DOMAINS = (("testA", "testB"), ("valA", "valB"))
TRAIN, HELD_OUT = ("train", "training"), ("test", "testing", "val", "valid", "validation", "dev")
SPLITS = {*TRAIN, *HELD_OUT}
IMAGES, MAPS = ("images", "img", "imgs", "image"), ("masks", "labels", "annotations", "mask")


def parted(name: str) -> bool:
    """Whether a folder's name says which part of a set it holds, and not which set."""
    return name.lower() in {*SPLITS, *IMAGES, *MAPS} or any(name in pair for pair in (*DOMAINS, *HELD_DOMAINS))


def folders(path: Path) -> dict[str, str]:
    """The visible sub-folders of a folder by their names in small letters; none of anything else."""
    if not path.is_dir():
        return {}
    return {e.name.lower(): e.name for e in os.scandir(path) if e.is_dir() and not e.name.startswith(".")}


def train(path: Path) -> Path:
    """The folder to learn from: its train/ where test/ or val/ lies beside it, else the folder itself."""
    part = _part(path, TRAIN)
    return part if part and _part(path, HELD_OUT) else path


def domains(path: Path) -> tuple[Path, Path] | None:
    """A/ and B/, or trainA/ and trainB/, in a folder or in its train/; None where it holds other data."""
    path = train(path)
    names = set(folders(path).values())
    for a, b in DOMAINS:  # a third folder, such as C, makes them classes; testA and testB do not
        if {a, b} <= names <= {a, b, *sum(HELD_DOMAINS, ())}:
            return path / a, path / b
    return None


def label_maps(path: Path) -> tuple[Path, Path] | None:
    """images/ and masks/ (or names like these) in a folder or in its train/; None where it holds other data.

    Where both have a train/ with test/ or val/ beside it, those.
    """
    path = train(path)
    there = folders(path)
    images, maps = ([name for name in names if name in there] for names in (IMAGES, MAPS))
    if len(images) != 1 or len(maps) != 1 or len(there) != 2:
        return None
    both = path / there[images[0]], path / there[maps[0]]
    parts = tuple(map(train, both))
    return parts if all(a != b for a, b in zip(parts, both)) else both


def held_out(path: Path) -> str | None:
    """The name of what is held out beside the part of this folder that is learnt from, as `gankit.data.open` takes it.

    test/ or val/ in the folder beside its train/, or beside it where it is called train itself; testA/ and testB/ as
    two names with a comma; images/test and masks/test likewise. None where there is nothing of the kind.
    """
    if train(path) != path:
        return str(_part(path, HELD_OUT))
    if (both := label_maps(path)) and both[0].name.lower() in TRAIN:
        parts = [_part(one.parent, HELD_OUT) for one in both]
        return ",".join(map(str, parts)) if parts[0].name == parts[1].name else None
    there = folders(path)
    for a, b in HELD_DOMAINS:
        if (found := domains(path)) and {a.lower(), b.lower()} <= there.keys():
            return f"{found[0].parent / there[a.lower()]},{found[0].parent / there[b.lower()]}"
    here = path.resolve()
    if here.name.lower() in TRAIN and (other := _part(here.parent, HELD_OUT)):
        return str(other)
    return None


def _part(path: Path, names: tuple[str, ...]) -> Path | None:
    there = folders(path)
    return next((path / there[name] for name in names if name in there), None)
