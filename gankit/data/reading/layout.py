"""The layout of data by the names of folders: domains, label maps, and training and held-out parts."""

from __future__ import annotations

import os
from pathlib import Path

DOMAINS = (("A", "B"), ("trainA", "trainB"))
HELD_DOMAINS = (("testA", "testB"), ("valA", "valB"))
TRAIN, HELD_OUT = ("train", "training"), ("test", "testing", "val", "valid", "validation", "dev")
SPLITS = {*TRAIN, *HELD_OUT}
IMAGES, MAPS = ("images", "img", "imgs", "image"), ("masks", "labels", "annotations", "mask")


def parted(name: str) -> bool:
    """Whether a folder's name stands for a part of a data set (train, A, images), not for the data set."""
    return name.lower() in {*SPLITS, *IMAGES, *MAPS} or any(name in pair for pair in (*DOMAINS, *HELD_DOMAINS))


def folders(path: Path) -> dict[str, str]:
    """The visible sub-folders of a folder by their names in lower case; none if it is no folder."""
    if not path.is_dir():
        return {}
    return {e.name.lower(): e.name for e in os.scandir(path) if e.is_dir() and not e.name.startswith(".")}


def train(path: Path) -> Path:
    """The training data in a folder: its train/ if there is a test/ or val/ too, else the folder itself."""
    part = _part(path, TRAIN)
    return part if part and _part(path, HELD_OUT) else path


def domains(path: Path) -> tuple[Path, Path] | None:
    """A/ and B/, or trainA/ and trainB/, in a folder or in its train/; None for other data."""
    path = train(path)
    names = set(folders(path).values())
    for a, b in DOMAINS:  # with a third folder, such as C, they are classes; testA and testB do not count
        if {a, b} <= names <= {a, b, *sum(HELD_DOMAINS, ())}:
            return path / a, path / b
    return None


def label_maps(path: Path) -> tuple[Path, Path] | None:
    """images/ and masks/ (or similar names) in a folder or in its train/; None for other data.

    If both contain train/ beside test/ or val/, these are their train/ folders.
    """
    path = train(path)
    names = folders(path)
    images, maps = ([name for name in choices if name in names] for choices in (IMAGES, MAPS))
    if len(images) != 1 or len(maps) != 1 or len(names) != 2:
        return None
    both = path / names[images[0]], path / names[maps[0]]
    parts = train(both[0]), train(both[1])
    return parts if all(a != b for a, b in zip(parts, both)) else both


def held_out(path: Path) -> str | None:
    """The held-out data that belongs to the training data in a folder, as a name for `gankit.data.open`; or None.

    That is test/ or val/ beside the folder's train/, or beside the folder if it is called train itself; testA/ and
    testB/, or images/test and masks/test, as two names with a comma.
    """
    if train(path) != path:
        return str(_part(path, HELD_OUT))
    if (both := label_maps(path)) and both[0].name.lower() in TRAIN:
        images, maps = (_part(side.parent, HELD_OUT) for side in both)
        return f"{images},{maps}" if images and maps and images.name == maps.name else None
    names = folders(path)
    for a, b in HELD_DOMAINS:
        if (pair := domains(path)) and {a.lower(), b.lower()} <= names.keys():
            return f"{pair[0].parent / names[a.lower()]},{pair[0].parent / names[b.lower()]}"
    folder = path.resolve()
    if folder.name.lower() in TRAIN and (other := _part(folder.parent, HELD_OUT)):
        return str(other)
    return None


def _part(path: Path, names: tuple[str, ...]) -> Path | None:
    """The first sub-folder with one of these names, in any case."""
    present = folders(path)
    return next((path / present[name] for name in names if name in present), None)
