"""Where the bytes of a data set come from: the files below a folder, or in a zip or tar of one; nothing is unpacked."""

from __future__ import annotations

import os
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from gankit.text import shown

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
CELEBA = ("list_attr_celeba.txt", "list_attr_celeba.csv")  # as its authors give it, and as Kaggle does
ABOVE = ("..", "../Anno", "../../Anno")  # where it lies, from the folder of its images
MAX_BYTES = 2**28  # a file of an image above this is refused unread


class File(NamedTuple):
    """A file by its name below the root, with "/", its size in bytes, and a stamp that changes when it does."""

    name: str
    size: int
    stamp: str


class Member(NamedTuple):
    """A file in an archive; `plain` unless it is a link or a device."""

    name: str
    size: int
    info: zipfile.ZipInfo | tarfile.TarInfo
    plain: bool


class Source(NamedTuple):
    """Files in a fixed order, best read in that order, and `read`, which raises ValueError saying what is wrong."""

    files: list[File]
    read: Callable[[File], bytes]


def listing(path: Path) -> list[File]:
    """What changes when the data does: the files below a folder with their stamps, or an archive or image itself.

    CelebA's list of attributes is there, too, where it lies above the folder.
    """
    if not path.is_dir():
        return [_file(path, path.name)]
    above = [f"{folder}/{name}" for folder in ABOVE for name in CELEBA]
    names = [*_walk(path, "", ()), *(name for name in above if (path.resolve() / name).is_file())]
    return [_file(path.resolve() / name if name.startswith("../") else f"{path}/{name}", name) for name in names]


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """The files of a folder, a zip, a tar, or one file alone.

    Raises:
        ValueError: an archive is damaged, or holds links or names that lead out of it.
        OSError: it cannot be read.
    """
    if path.is_dir():
        yield Source(listing(path), lambda file: _read((path.resolve() if file.name.startswith("../") else path) / file.name))
        return
    if not path.name.lower().endswith(ARCHIVES):
        yield Source(listing(path), lambda file: _read(path))
        return
    with ExitStack() as stack:
        try:
            archive = zipfile.ZipFile(path) if path.name.lower().endswith(".zip") else tarfile.open(path, "r:*")
            stack.enter_context(archive)
            members = list(_zipped(archive) if isinstance(archive, zipfile.ZipFile) else _tarred(archive))
        except Exception as error:  # each compression has errors of its own
            if isinstance(error, OSError) and error.errno:
                raise
            raise ValueError(f"the archive is damaged, or not a whole one: {error}") from error
        bad = [m.name for m in members if not m.plain or ".." in m.name.split("/") or re.match(r"/|[A-Za-z]:", m.name)]
        if bad:
            some = ", ".join(map(shown, bad[:5]))
            raise ValueError(
                f"refused, as it holds links or names that lead out of it: {some}; pack the files themselves"
            )
        found = {File(m.name, m.size, str(i)): m for i, m in enumerate(members) if not _hidden(m.name)}
        yield Source(list(found), lambda file: _extract(archive, found[file]))


def _walk(folder: Path, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """Names of the files below a folder in the order of their names, following links but not in circles."""
    place = folder.stat()
    if (place.st_dev, place.st_ino) in above:
        return
    for item in sorted(os.scandir(folder), key=lambda item: item.name):
        if item.is_dir() and not _hidden(item.name):
            yield from _walk(Path(item.path), f"{prefix}{item.name}/", (*above, (place.st_dev, place.st_ino)))
        elif not _hidden(item.name) and not item.is_dir():
            yield prefix + item.name


def _hidden(name: str) -> bool:
    """Whether a file is one that systems leave about: ._x.jpg, .DS_Store, Thumbs.db, __MACOSX/..., @eaDir/..."""
    parts = name.split("/")
    return any(p.startswith(".") or p in ("__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini") for p in parts)


def _file(path: Path | str, name: str) -> File:
    try:
        status = os.stat(path)
    except OSError:  # a broken link: reading it says so
        return File(name, 0, "")
    return File(name, status.st_size, f"{status.st_mtime_ns} {status.st_ctime_ns}")


def _read(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
            raise ValueError("not a regular file")
        _limit(status.st_size)
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error


def _extract(archive: zipfile.ZipFile | tarfile.TarFile, member: Member) -> bytes:
    _limit(member.size)
    try:
        file = archive.open(member.info) if isinstance(archive, zipfile.ZipFile) else archive.extractfile(member.info)
        data = file.read(member.size)
    except Exception as error:  # untrusted bytes: wrong checksums, passwords, and what each compression raises
        raise ValueError(f"cannot be read: {error}") from error
    if len(data) < member.size:
        raise ValueError("truncated in the archive")
    return data


def _limit(size: int) -> None:
    if size > MAX_BYTES:
        raise ValueError(f"oversized: {size:,} bytes, above the limit of {MAX_BYTES:,}")


def _zipped(archive: zipfile.ZipFile) -> Iterator[Member]:
    for info in archive.infolist():
        if not info.is_dir():
            name = info.filename.replace("\\", "/")
            yield Member(name, info.file_size, info, not stat.S_ISLNK(info.external_attr >> 16))


def _tarred(archive: tarfile.TarFile) -> Iterator[Member]:
    for info in archive:
        if not info.isdir():
            yield Member(info.name.removeprefix("./"), info.size, info, info.isfile())
