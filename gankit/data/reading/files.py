"""The files of a data set: below a folder, or in a zip or tar, which is read without unpacking it to disk."""

from __future__ import annotations

import os
import re
import stat
import tarfile
import zipfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple

from gankit.data.reading.endings import ARCHIVES, IMAGES, SHARDS
from gankit.data.reading.noting import note
from gankit.disk import amount
from gankit.text import shown

CELEBA = ("list_attr_celeba.txt", "list_attr_celeba.csv")  # from its authors, and from Kaggle
ABOVE = ("..", "../Anno", "../..", "../../Anno")  # where it is stored, relative to the folder of images
MAX_BYTES = 2**28  # larger files are refused unread
DEEP = 64  # nested folders; far above any data set, and below the limits of Python and file systems
RATIO, FREE = 200, 2**30  # refused: archives that unpack to RATIO times their size and to FREE bytes, or more
SYSTEMS = frozenset(("__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini"))  # files and folders that these write
SHOWN = 20  # lines of a list in a message; the others are counted
READING = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class File(NamedTuple):
    """A file: its path relative to the root, with "/", its size in bytes, and a stamp that changes when the file does.

    Keys of the cache contain its repr.
    """

    name: str
    size: int
    stamp: str


class Member(NamedTuple):
    """A file in an archive, which `open` opens for reading; `plain` means neither a link nor a device."""

    name: str
    size: int
    open: Callable[[], IO[bytes] | None]
    plain: bool


class FileSet(NamedTuple):
    """The files of a data set.

    Args:
        files: in a fixed order, which is the fastest to read them in.
        read: the bytes of a file; raises ValueError with the reason if it cannot be read.
        notes: for the user.
        rows: by file name, what is known of each image, as in a row of metadata.csv: `label`, `text` and numbers; None
            where tables among the files say it.
        class_names: names of the classes, in the order of their numbers; empty where labels are names themselves.
        title: the format, where one file holds many images, such as "MNIST's IDX files".
        threaded: whether several threads may read at once.
        pages: names of those that are a page or slice of a file, and images whatever their ending.
        unseen: held-out images, which are not among `files`, each with the function that reads it.
        elsewhere: names of the images of other parts.
        missing: images that a list names and that are not there, with the reason.
        bare: the name of a file without its part: cat/1.png for train/cat/1.png.
        path: where a file is on the disk; None for those in archives, and for parts of a file.
    """

    files: list[File]
    read: Callable[[File], bytes]
    notes: tuple[str, ...] = ()
    rows: dict[str, dict[str, object]] | None = None
    class_names: tuple[str, ...] = ()
    title: str = ""
    threaded: bool = False
    pages: frozenset[str] = frozenset()
    unseen: tuple[tuple[File, Callable[[File], bytes]], ...] = ()
    elsewhere: tuple[str, ...] = ()
    missing: tuple[tuple[str, str], ...] = ()
    bare: Callable[[str], str] = str
    path: Callable[[File], Path] | None = None


class BadFiles(ValueError):
    """Files that cannot be used, as (name, reason): `files` has all of them, the message only the first ones.

    The reasons are part of the fingerprints of data: rewording one changes the fingerprint of existing data.
    """

    def __init__(self, bad: list[tuple[str, str]], count: int):
        self.files = bad
        lines = "".join(f"\n  {line}" for line in listed((f"{name}: {reason}" for name, reason in bad), len(bad)))
        super().__init__(
            f"{len(bad):,} of {count:,} files cannot be used; fix or remove them, or add --skip-bad:{lines}"
        )


def listed(lines: Iterable[str], count: int, most: int = SHOWN) -> list[str]:
    """The first `most` of `count` lines, and a last line with the number of the others."""
    return [*islice(lines, most), *[f"and {count - most:,} more"] * (count > most)]


def plain(path: Path) -> Path:
    """The path, if it is a regular file, before something opens it by name.

    Raises:
        ValueError: it is a folder, pipe, socket or device: reading those may block forever.
        OSError: there is no such file.
    """
    kind = stat.S_IFMT(os.stat(path).st_mode)
    if kind != stat.S_IFREG:
        raise ValueError(f"{shown(str(path))} is {KINDS.get(kind, 'no regular file')}; a regular file is expected")
    return path


def open_plain(path: Path) -> BinaryIO:
    """Open a regular file to read bytes; raises as `plain`."""
    note(path, _files(str(path.parent), [path.name]))
    with ExitStack() as stack:
        more = getattr(os, "O_NONBLOCK", 0)  # in case a pipe replaces the file after the check
        file = stack.enter_context(open(plain(path), "rb", opener=lambda name, flags: os.open(name, flags | more)))
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError(f"{shown(str(plain(path)))} was replaced while it was opened")
        stack.pop_all()
        return file


def read(path: Path, most: int = MAX_BYTES) -> bytes:
    """The bytes of a regular file; raises as `plain`, and ValueError if there are more than `most`."""
    with open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise ValueError(f"{shown(str(path))} holds {amount(size)}, and {amount(most)} are the most")
        return file.read(size)


def text(path: Path, most: int = 2**24) -> str:
    """The text of a regular file; raises as `read`, and ValueError if it is not UTF-8."""
    try:
        return read(path, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{shown(str(path))} is no text in UTF-8 (byte {error.start})") from None


def state(path: Path) -> list[File]:
    """The listing of a folder, or a file alone."""
    return listing(path) if path.is_dir() else _files(str(path.parent), [path.name])


def listing(path: Path) -> list[File]:
    """The files below a folder, or the archive or image itself, with their stamps: equal for unchanged data.

    This includes CelebA's list of attributes, if there is one above the folder, and the files of labels and names that
    belong to a single file with many images.

    Raises:
        ValueError: folders are nested too deep.
        OSError: a folder cannot be read.
    """
    return note(path, _listed(path)[0])


def container(path: Path) -> tuple[Path, str]:
    """The path of a file or folder that holds parts or columns, and what is named of them, as in pets#train/image."""
    outer, mark, inner = str(path).rpartition("#")
    if not mark or os.path.lexists(path) or not os.path.exists(outer):
        return path, ""
    return Path(outer), inner


def hold_rows(listed_files: Iterable[File]) -> bool:
    """Whether there are Parquet or Arrow files among these, and no images."""
    names = [file.name.lower() for file in listed_files]
    return any(name.endswith(SHARDS) for name in names) and not any(name.endswith(IMAGES) for name in names)


@contextmanager
def open_files(path: Path) -> Iterator[FileSet]:
    """The files of a folder, zip or tar, or a single file; the images in files that hold many, as small files.

    Raises:
        ValueError: an archive or a file of images is damaged, or an archive holds links or names that lead out of it.
        OSError: it cannot be read.
    """
    from gankit.data.reading import formats  # which present files of this module
    from gankit.data.reading.formats.parquet_images import open_shards

    outer, inner = container(path)
    with _stored(path) as source:
        if inner or (source.path and hold_rows(source.files)):
            with open_shards(outer, inner, source.files) as rows:
                yield rows
        else:
            yield formats.presented(path, source)


@contextmanager
def _stored(path: Path) -> Iterator[FileSet]:
    """The files as they are stored; raises as `open_files`."""
    if path.is_dir() or not path.name.lower().endswith(ARCHIVES):
        listed_files, notes = _listed(path)
        note(path, listed_files)
        root = path if path.is_dir() else path.parent
        here, above = str(root), str(root.resolve())

        def place(file: File) -> str:
            return f"{above if file.name.startswith('../') else here}/{file.name}"

        yield FileSet(
            listed_files, lambda file: _read(place(file)), notes, path=lambda file: Path(place(file)), threaded=True
        )
        return
    with open_members(path) as members:
        by_file = {File(m.name, m.size, str(i)): m for i, m in enumerate(members) if not _hidden(m.name)}
        threaded = path.name.lower().endswith(".zip")  # a tar is read from one place at a time
        yield FileSet(list(by_file), lambda file: _extract(by_file[file]), threaded=threaded)


@contextmanager
def open_members(path: Path) -> Iterator[list[Member]]:
    """The files in a zip or tar, also hidden ones; raises as `open_files`."""
    size = os.stat(plain(path)).st_size
    with ExitStack() as stack:
        try:
            if path.name.lower().endswith(".zip"):
                members = list(_zipped(stack.enter_context(zipfile.ZipFile(path)), size))
            else:
                members = list(_tarred(stack.enter_context(tarfile.open(path)), size))
        except Bomb:
            raise
        except Exception as error:  # each compression raises its own errors
            if isinstance(error, OSError) and error.errno:
                raise
            raise ValueError(f"the archive is damaged or incomplete: {error}") from error
        bad = [m.name for m in members if not m.plain or ".." in m.name.split("/") or re.match(r"/|[A-Za-z]:", m.name)]
        if bad:
            first = ", ".join(map(shown, bad[:5]))
            raise ValueError(
                f"refused, as it holds links or names that lead out of it: {first}; pack the files themselves"
            )
        if twice := [name for name, count in Counter(m.name for m in members).items() if count > 1]:
            first = ", ".join(map(shown, twice[:5]))
            raise ValueError(f"refused, as it holds {len(twice):,} names more than once: {first}; pack the files anew")
        yield members


def _listed(path: Path) -> tuple[list[File], tuple[str, ...]]:
    """`listing`, and notes for the user."""
    path, _ = container(path)
    if not path.is_dir():
        from gankit.data.reading import formats  # which present files of this module

        return _files(str(path.parent), [path.name, *formats.beside(path)]), ()
    below, again = _walk(path)
    above = [f"{folder}/{name}" for folder in ABOVE for name in CELEBA]
    listed_files = _files(str(path), below)
    listed_files += _files(str(path.resolve()), [name for name in above if (path.resolve() / name).is_file()])
    return listed_files, (f"{again:,} links to folders that are read already are not followed.",) * (again > 0)


def _walk(root: Path) -> tuple[list[str], int]:
    """Names of the files below a folder, sorted, and the number of links to folders that were read already.

    Links to folders are followed, after everything below the folder itself. Each folder is read once, however many
    links lead to it: folders that link to each other have an unlimited number of paths.
    """
    names: list[str] = []
    seen: set[tuple[int, int]] = set()
    again = 0
    waiting, links = deque([(str(root), "")]), deque[tuple[str, str]]()
    while waiting or links:
        folder, prefix = (waiting or links).popleft()
        if prefix.count("/") > DEEP:
            raise ValueError(f"there are folders more than {DEEP} deep: {shown(prefix)[:80]}...; move the images up")
        place = os.stat(folder)
        if (place.st_dev, place.st_ino) in seen:
            again += 1
            continue
        seen.add((place.st_dev, place.st_ino))
        folders = []
        with os.scandir(folder) as items:
            for item in items:
                name = item.name
                if name[0] == "." or name in SYSTEMS:
                    continue
                try:
                    is_folder = item.is_dir()
                except OSError:  # a link to itself: reading it as a file reports it
                    is_folder = False
                if is_folder:
                    folders.append(item)
                else:
                    names.append(prefix + name)
        for item in sorted(folders, key=attrgetter("name")):
            (links if item.is_symlink() else waiting).append((item.path, f"{prefix}{item.name}/"))
    return sorted(names, key=lambda name: name.replace("/", "\0")), again  # folder by folder


def _hidden(name: str) -> bool:
    """Whether an operating system wrote the file: ._x.jpg, .DS_Store, Thumbs.db, __MACOSX/..., @eaDir/..."""
    parts = name.split("/") if "/" in name else (name,)
    return any(p[:1] == "." or p in SYSTEMS for p in parts)


def _files(root: str, names: list[str]) -> list[File]:
    """The files of these names below a folder, in a loop without further functions, as there may be a million.

    Those whose state cannot be read, such as broken links, have no size and no stamp; reading them reports it.
    """
    stat, make, found = os.stat, tuple.__new__, list[File]()
    for name in names:
        try:
            status = stat(f"{root}/{name}")
            found.append(make(File, (name, status.st_size, f"{status.st_mtime_ns} {status.st_ctime_ns}")))
        except OSError:
            found.append(File(name, 0, ""))
    return found


def _read(path: Path | str) -> bytes:
    """The bytes of one of many files, with few calls of the system."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe or device may block, or do something
            raise ValueError("not a regular file")
        handle = os.open(path, READING)
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("not a regular file")
            _limit(status.st_size)
            content = os.read(handle, status.st_size)
            while len(content) < status.st_size and (more := os.read(handle, status.st_size - len(content))):
                content += more
            return content
        finally:
            os.close(handle)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error


def _extract(member: Member) -> bytes:
    _limit(member.size)
    try:
        file = member.open()
        data = file.read(member.size) if file else b""
    except Exception as error:  # untrusted bytes: wrong checksums, passwords, errors of each compression
        raise ValueError(f"cannot be read: {error}") from error
    if len(data) < member.size:
        raise ValueError("truncated in the archive")
    return data


class Bomb(ValueError):
    """A decompression bomb: an archive that unpacks to far more than its size."""


def _limit(size: int) -> None:
    if size > MAX_BYTES:
        raise ValueError(f"oversized: {size:,} bytes, above the limit of {MAX_BYTES:,}")


def _refuse_bomb(unpacked: int, packed: int) -> None:
    if unpacked > FREE and unpacked > RATIO * packed:
        raise Bomb(
            f"refused, as {amount(packed)} of it unpack to {amount(unpacked)}, more than {RATIO} times as much: "
            "images do not; pack them anew"
        )


def _zipped(archive: zipfile.ZipFile, packed: int) -> Iterator[Member]:
    _refuse_bomb(sum(info.file_size for info in archive.infolist()), packed)
    for info in archive.infolist():
        if not info.is_dir():
            name = info.filename.replace("\\", "/")
            yield Member(name, info.file_size, partial(archive.open, info), not stat.S_ISLNK(info.external_attr >> 16))


def _tarred(archive: tarfile.TarFile, packed: int) -> Iterator[Member]:
    for info in archive:  # to reach the next member, this one is unpacked
        _refuse_bomb(info.offset_data + info.size, packed)
        if not info.isdir():
            yield Member(info.name.removeprefix("./"), info.size, partial(archive.extractfile, info), info.isfile())
