"""Download published data sets, verified by sha256, and unpack what their readers need unpacked."""

from __future__ import annotations

import lzma
import os
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path

from gankit.data.published.finding import amount, find, home, suggestion, what_to_fetch
from gankit.data.published.sets import ARCHIVES, SETS, Published
from gankit.data.reading.files import open_members
from gankit.disk import require_space
from gankit.downloads import WebFile, download, locked, verified
from gankit.text import aside, counted, shown


def get(name: str, to: str | Path = "") -> Path:
    """Download a published set, unless it is on this machine, and return its path.

    Files that are there already are verified and kept, also those that were fetched by hand.

    Args:
        name: of the set.
        to: the folder to put its folder in; default: $GANKIT_DATA, or datasets/ in gankit's cache.

    Raises:
        ValueError: there is no such set, it must be fetched by hand, or a file differs from the published one.
        OSError: it cannot be downloaded or written.
    """
    if name not in SETS:
        family = [other for other in SETS if other.startswith(f"{name}:")]
        known = f"name one of {', '.join(family)}" if family else suggestion(name)
        raise ValueError(f"no published data set {shown(name)!r}; {known or 'gankit data list shows all'}")
    entry, root = SETS[name], Path(to).expanduser() if to else home()
    if place := find(entry, folders=iter([root])) if to else find(entry):
        return place.path
    folder = root / entry.family
    aside(f"gankit: {entry.name}: {entry.title}; licence: {entry.licence}; {entry.page}")
    missing = [file for file in entry.files if not (folder / file.name).is_file()]
    if not entry.files or any(not file.url for file in missing):
        raise ValueError(f"{entry.name}: {what_to_fetch(entry, root, missing)}")
    with locked(folder / entry.family):
        if not (place := find(entry, folders=iter([root]))):  # else another process was first
            _fetch(entry, folder)
            place = find(entry, folders=iter([root]))
    if not place:
        needs = ", ".join(entry.layouts[0].needs) or entry.layouts[0].path.format(part="train")
        raise ValueError(f"{folder} holds the files of {entry.name}, but not {needs}: look what is in it")
    return place.path


def _fetch(entry: Published, folder: Path) -> None:
    """Download what is missing, verify the rest, and unpack."""
    missing = [file for file in entry.files if not (folder / file.name).is_file()]
    _require_room(entry, folder, missing)
    for file in entry.files:
        aside(f"gankit: {file.name}: {amount(file.size)}, sha256 {file.sha256}")
        if file in missing:
            by_hand = f"Or fetch {file.url} by hand, and put it in {folder}"
            download(file, folder / file.name, by_hand)
        else:
            verified(folder / file.name, file)
    if entry.unpack:
        _unpack_all(entry, folder, missing)


def _require_room(entry: Published, folder: Path, missing: list[WebFile]) -> None:
    """Raises OSError if the downloads, and what archives unpack to, do not fit; archives of images hardly shrink."""
    packed = [file.size for file in entry.files if entry.unpack and file.name.endswith(ARCHIVES)]
    started = sum(part.stat().st_size for part in folder.glob(".*.part"))
    require_space(folder, max(0, sum(file.size for file in missing) - started + sum(packed)), f"{entry.name} takes")


def _unpack_all(entry: Published, folder: Path, downloaded: list[WebFile]) -> None:
    """Unpack the archives of a set, whole or not at all, and remove those that were downloaded just now."""
    for file in entry.files:
        if not file.name.endswith(ARCHIVES):
            continue
        aside(f"gankit: unpacking {file.name}")
        work = folder / f".{file.name}.unpacked"
        shutil.rmtree(work, ignore_errors=True)  # of a killed process
        try:
            _unpack(folder / file.name, work)
            for item in sorted(work.iterdir()):
                if not (folder / item.name).exists():
                    os.rename(item, folder / item.name)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        if file in downloaded:
            (folder / file.name).unlink()


def _unpack(path: Path, folder: Path) -> None:
    """Write the files of a zip or tar below a new folder.

    Raises:
        ValueError: the archive is damaged, or holds links or names that lead out of it.
    """
    folder.mkdir()
    with open_members(path) as members, counted(len(members), "files") as advance:
        for member in members:
            target = folder / member.name
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "xb") as out:
                try:
                    if source := member.open():
                        shutil.copyfileobj(source, out, 2**20)
                except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError) as error:
                    raise ValueError(f"{path} is damaged at {shown(member.name)}: {error}") from error
                if out.tell() != member.size:
                    raise ValueError(f"{path} is truncated at {shown(member.name)}")
            advance(1)
