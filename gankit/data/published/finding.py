"""Find published data sets on this machine, where torchvision, their archives or `gankit data get` put them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from gankit.data.published.sets import SETS, Layout, Published
from gankit.downloads import WebFile
from gankit.text import did_you_mean, shown

BESIDE = (".", "data", "datasets", "~/data", "~/datasets", "~/.keras/datasets")  # where people keep data
TRAIN, HELD_OUT = "train", ("test", "val")  # a layout with a place for the part has one file or folder for each


class Place(NamedTuple):
    """Where a set lies.

    Args:
        entry: the set.
        path: its folder or file.
        part: what the user typed behind its name and `path` is not yet, such as "test"; or empty.
    """

    entry: Published
    path: Path
    part: str


def home() -> Path:
    """The folder that `gankit data get` downloads to: $GANKIT_DATA, or datasets/ in gankit's cache.

    Raises:
        ValueError: GANKIT_DATA is not a folder.
    """
    if own := os.environ.get("GANKIT_DATA"):
        if not os.path.isdir(os.path.expanduser(own)):
            raise ValueError(f"GANKIT_DATA is {own}, which is not a folder. Set it to the folder of your data sets")
        return Path(own).expanduser()
    return _cached()


def _cached() -> Path:
    return Path(os.environ.get("GANKIT_CACHE") or "~/.cache/gankit").expanduser() / "datasets"


def roots() -> Iterator[Path]:
    """The folders in which sets are looked for, in this order; raises as `home`."""
    yield home()
    if os.environ.get("GANKIT_DATA"):
        yield _cached()
    for folder in BESIDE:
        yield Path(folder).expanduser()
    cache = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    hub = Path(os.environ.get("HF_HUB_CACHE") or cache / "hub").expanduser()
    yield from sorted(hub.glob("datasets--*/snapshots/*"))


def named(text: str) -> tuple[Published, str] | None:
    """The set that a text names, and the part behind its name; None for other names, and for paths."""
    for name in sorted(SETS, key=len, reverse=True):
        if (text == name or text.startswith(f"{name}:")) and not os.path.exists(name):
            return SETS[name], text[len(name) + 1 :]
    return None


def find(entry: Published, part: str = "", folders: Iterator[Path] | None = None) -> Place | None:
    """Where a set lies on this machine, whole; None if it is nowhere."""
    for root in folders or roots():
        for layout in entry.layouts:
            has_parts = "{part}" in layout.path
            if not (path := _path(root, layout, part)).exists() or _lacks(path, layout):
                continue
            return Place(entry, path, "" if has_parts else part)
    return None


def locate(name: str) -> Place | None:
    """Where the set lies that a name means; None for names of other data, and for paths.

    Raises:
        ValueError: it is not on this machine; says what to type or to fetch. Nothing is downloaded.
    """
    if (wanted := named(name)) is None:
        family = [other for other in SETS if other.startswith(f"{name}:")]
        if family and not os.path.exists(name):
            raise ValueError(f"{name} is a family of data sets: name one of them, {', '.join(family)}")
        return None
    if place := find(*wanted):
        return place
    raise ValueError(_missing(*wanted))


def located(name: str | Path) -> str | Path:
    """A name as the other functions of the data room take it: that of a published set as its path, PATH or PATH:PART.

    Raises:
        ValueError: as `locate`.
    """
    place = locate(name) if isinstance(name, str) else None
    return name if place is None else f"{place.path}:{place.part}".removesuffix(":")


def original(name: str | Path, other: str | None) -> str | None:
    """The held-out data of a set as users type it: NAME:PART for a PATH:PART that `located` made.

    Args:
        name: of the set, as typed.
        other: the name of its held-out data, found by its path; or None.
    """
    if not isinstance(name, str) or (place := locate(name)) is None:
        return other
    path = str(place.path)
    if other and other.startswith(f"{path}:"):
        return place.entry.name + other[len(path) :]
    if other is None and name == place.entry.name:
        for part in HELD_OUT:  # where each part has its own file or folder
            held_out = find(place.entry, part)
            if held_out and not held_out.part and held_out.path != place.path:
                return f"{name}:{part}"
    return other


def origins(name: str) -> list[str]:
    """A line for each published set in a name, also of joined ones, with its path; raises as `locate`."""
    parts = [name] if os.path.exists(name) else name.replace("+", ",").split(",")
    places = [(part.strip(), locate(part.strip())) for part in parts]
    return [f"{part} is {place.path}: {place.entry.title}" for part, place in places if place]


def listing() -> str:
    """A table of all published sets: what they hold, their size and licence, and where they lie on this machine."""
    lines = []
    for family in dict.fromkeys(entry.family for entry in SETS.values()):
        members = [entry for entry in SETS.values() if entry.family == family]
        kinds = [entry.name.partition(":")[2] for entry in members]
        name = family if kinds == [""] else f"{family}:{'|'.join(kinds)}"
        lines.append(f"{name}\n    {members[0].title}; {terms(members[0])}")
        places = [(entry.name, find(entry)) for entry in members]
        lines += [f"    {title} is {shown(place.path)}" for title, place in places if place]
    return "\n".join(lines)


def terms(entry: Published) -> str:
    """How to get a set, its size and its licence, in a few words."""
    how = f"by hand from {entry.page}" if entry.by_hand else f"gankit data get {entry.name}"
    return f"{how}; {sizes(entry)}; licence: {entry.licence}"


def sizes(entry: Published) -> str:
    """The size of the sets of a family, from the smallest to the largest."""
    all_sizes = [other.size for other in SETS.values() if other.family == entry.family]
    least, most = min(all_sizes), max(all_sizes)
    return f"{amount(least)} to {amount(most)}" if least < most else amount(most)


def amount(size: int) -> str:
    """A download's size for people."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6)):,} MB" if size else "size not known"


def what_to_fetch(entry: Published, folder: Path, missing: Sequence[WebFile]) -> str:
    """A sentence on a set that is fetched by hand: which files, from which page, and where to put them."""
    files = ", ".join(f"{file.name} ({amount(file.size)})" for file in missing)
    target = folder / entry.layouts[0].path if not entry.files else folder / entry.family
    them = "them" if len(missing) > 1 else "it"
    after = f", and type gankit data get {entry.name}, which checks and unpacks {them}" if entry.files else ""
    return (
        f"It is not downloaded, as {entry.by_hand}. Fetch {files or 'it'} from {entry.page} (licence: {entry.licence}) "
        f"and put {them} in {target}{after}"
    )


def _path(root: Path, layout: Layout, part: str) -> Path:
    return root / layout.path.format(part=part or TRAIN)


def _lacks(path: Path, layout: Layout) -> list[str]:
    """What a layout needs and is not in the folder at a path."""
    return [need for need in layout.needs if not any(os.path.exists(path / name) for name in need.split("|"))]


def _missing(entry: Published, part: str) -> str:
    """A message for a set that is not on this machine, with folders that hold only a part of it."""
    half = ""
    for root in roots():
        for layout in entry.layouts:
            path = _path(root, layout, part)
            lacking = _lacks(path, layout) if path.is_dir() else []
            if lacking and len(lacking) < len(layout.needs):
                half = half or f" {shown(path)} is not whole: it lacks {lacking[0].replace('|', ' or ')}."
    get = f"Type gankit data get {entry.name} to download it ({amount(entry.size)}; licence: {entry.licence})"
    how = what_to_fetch(entry, home(), entry.files) if entry.by_hand else get
    name = f"{entry.name}:{part}".removesuffix(":")
    known = entry.layouts[0].path.format(part=part or TRAIN)
    elsewhere = f"If you have it elsewhere, give its path, or set GANKIT_DATA to the folder that {known} is in"
    return f"{shown(name)} is not on this machine.{half} {how}. {elsewhere}"


def suggestion(name: str) -> str:
    """A question with the names of published sets that are similar; empty if none is."""
    return did_you_mean(name, SETS)
