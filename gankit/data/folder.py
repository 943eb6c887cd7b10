"""Any folder of images, or a zip or tar of one: surveyed, decoded once into bytes of one shape, then read at memory speed."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from errno import ENOSPC
from pathlib import Path
from statistics import median
from typing import NamedTuple, TypeVar

import numpy as np
from rich.console import Console
from rich.progress import Progress

from gankit.data import cache, files, images, metadata
from gankit.data.files import File, Source, shown
from gankit.data.images import Header
from gankit.data.stream import Dataset

VERSION = 1  # of what is prepared: another number prepares anew
SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}
R = TypeVar("R")


class BadFiles(ValueError):
    """Files that cannot be used, with the reasons: `files`."""

    def __init__(self, bad: list[tuple[str, str]], count: int):
        self.files = bad
        lines = "".join(f"\n  {name}: {reason}" for name, reason in bad)
        super().__init__(f"{len(bad)} of {count} files cannot be used; mend or remove them, or add --skip-bad:{lines}")


class Found(NamedTuple):
    """An image that is usable so far: its file, its name as labels and metadata know it, its header and hash."""

    file: File
    name: str
    header: Header
    digest: str


@dataclass
class Survey:
    """What a folder or archive holds, before anything is decoded.

    Args:
        images: usable so far, in the order of reading.
        bad: unusable files with the reason.
        rows: rows of the metadata by canonical name; None when there is none.
        table: name of the metadata's file.
        content: hash of everything that is read.
        warnings: what a user should know, in plain sentences.
    """

    images: list[Found] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)
    rows: dict[str, metadata.Row] | None = None
    table: str = ""
    content: str = ""
    warnings: list[str] = field(default_factory=list)

    def sizes(self) -> Counter[tuple[int, int]]:
        """How many images of each height and width."""
        return Counter((image.header.height, image.header.width) for image in self.images)

    def copies(self) -> list[list[str]]:
        """Names of images that are equal byte for byte."""
        names: dict[str, list[str]] = {}
        for image in self.images:
            names.setdefault(image.digest, []).append(shown(image.name))
        return [equal for equal in names.values() if len(equal) > 1]

    def shape(self, resolution: tuple[int, int] | None, alpha: str) -> tuple[int, int, int]:
        """(C, H, W) that all will have. Raises ValueError: none is usable, or sizes differ and no resolution is given."""
        sizes = self.sizes()
        if not sizes:
            raise BadFiles(self.bad, len(self.bad))
        if resolution is None and len(sizes) > 1:
            side = 2 ** int(np.log2(min(512, median(min(size) for size in sizes.elements()))))
            least, most = ("x".join(map(str, size)) for size in (min(sizes), max(sizes)))
            raise ValueError(
                f"the images have {len(sizes)} sizes (height x width), from {least} to {most}; choose one, say --resolution {side}"
            )
        grey = all(image.header.grey for image in self.images)
        kept = alpha == "keep" and any(image.header.alpha for image in self.images)
        return 4 if kept else 1 if grey else 3, *(resolution or next(iter(sizes)))


def open_folder(path: Path, resolution: tuple[int, int] | None, fit: str, alpha: str, skip_bad: bool) -> Dataset:
    """The images below a folder, or in an archive, prepared if they were not yet.

    Raises:
        BadFiles: some cannot be used, and `skip_bad` is not given.
        ValueError: there are none, their sizes differ and no resolution is given, or the metadata is wrong.
    """
    listing = cache.key(VERSION, path.resolve(), files.listing(path), resolution, fit, alpha)
    prepared = cache.recall(listing)
    if not prepared:
        with cache.locked(listing):  # another process may have been at work on it
            prepared = cache.recall(listing) or _prepare(path, resolution, fit, alpha, skip_bad)
            cache.remember(listing, prepared.name)
    info, bad = prepared.info, [tuple(pair) for pair in prepared.info["skipped"]]
    if bad and not skip_bad:
        raise BadFiles(bad, info["count"] + len(bad))
    pixels = np.memmap(prepared.pixels, np.uint8, "r", shape=(info["count"], *info["shape"]))
    return Dataset(
        name=(path.resolve().name if path.is_dir() else path.name.partition(".")[0]) or "images",
        kind="images",
        shape=tuple(info["shape"]),
        size=info["count"],
        read=pixels.__getitem__,
        fingerprint=prepared.name,
        labels=np.array(info["labels"], np.int64) if info["labels"] else None,
        class_names=info["class_names"],
        attributes=np.array(info["attributes"], np.float32) if info["attributes"] else None,
        attribute_names=info["attribute_names"],
        captions=info["captions"] or None,
        skipped=bad,
        warnings=info["warnings"],
    )


def survey(source: Source) -> Survey:
    """Read every file once, without decoding it. Raises ValueError: there are no images, or the metadata is wrong."""
    wanted = [f for f in source.files if f.name.lower().endswith(images.ENDINGS)]
    tables = [f for f in source.files if os.path.basename(f.name) in metadata.FILES]
    above = [os.path.dirname(f.name) for f in wanted + tables]
    root = os.path.commonpath(above) + "/" if above and os.path.commonpath(above) else ""
    tables = [f for f in tables if f.name[len(root) :] in metadata.FILES]
    read = {*wanted, *tables}
    others = Counter(os.path.splitext(f.name)[1].lower() or "no ending" for f in source.files if f not in read)
    other = ", ".join(f"{shown(ending)} ({n})" for ending, n in others.most_common(8))
    if not wanted:
        raise ValueError(f"there are no images (PNG, JPEG, WebP, BMP, TIFF, GIF); found: {other or 'nothing'}")

    seen = Survey()
    for file, result in each(
        source, wanted, lambda data: (images.probe(data), hashlib.sha256(data).hexdigest()), "reading"
    ):
        if isinstance(result, str):
            seen.bad.append((shown(file.name), result))
        else:
            seen.images.append(Found(file, file.name[len(root) :], *result))
    for file in sorted(tables, key=lambda f: metadata.FILES.index(f.name[len(root) :])):
        if seen.table:
            seen.warnings.append(f"{shown(file.name)} is not read, as {seen.table} is there.")
        else:
            seen.table = file.name[len(root) :]
            try:
                seen.rows = metadata.read(seen.table, source.read(file))
            except ValueError as error:
                raise ValueError(f"{seen.table} {error}") from error
    if seen.rows is not None:
        there = {metadata.canonical(file.name[len(root) :]) for file in wanted}
        seen.bad += [(shown(name), f"in {seen.table}, but not there") for name in seen.rows if name not in there]
        without = [image for image in seen.images if metadata.canonical(image.name) not in seen.rows]
        seen.bad += [(shown(image.name), f"has no row in {seen.table}") for image in without]
        seen.images = [image for image in seen.images if metadata.canonical(image.name) in seen.rows]
    if others:
        seen.warnings.append(f"Files of other kinds are not read: {other}.")
    if copies := sum(len(equal) - 1 for equal in seen.copies()):
        seen.warnings.append(f"{copies} images are exact copies of others.")
    seen.content = cache.key([(image.name, image.digest) for image in seen.images], seen.bad, seen.table, seen.rows)
    return seen


def know(seen: Survey, names: list[str]) -> metadata.Known:
    """Labels, captions and attributes of the images of these names: from the metadata; labels also from sub-folders."""
    rows = [seen.rows[metadata.canonical(name)] for name in names] if seen.rows else []
    known = metadata.known(rows, seen.table)
    if seen.table == "dataset.json" or any("label" in row for row in rows):
        return known
    folders = [name.partition("/")[0] if "/" in name else "" for name in names]
    classes = sorted(set(folders))
    if len(classes) > 1 and {name.lower() for name in classes} <= SPLITS:
        known.warnings.append(
            f"{', '.join(classes)} look like splits, not classes: all are read, without labels. Give one alone."
        )
    elif len(classes) > 1 and "" in classes:
        known.warnings.append(
            f"{folders.count('')} images lie beside the sub-folders, so these are not taken for classes."
        )
    elif len(classes) > 1:
        place = {name: i for i, name in enumerate(classes)}
        known.labels, known.class_names = [place[folder] for folder in folders], [shown(name) for name in classes]
    return known


def each(source: Source, wanted: list[File], work: Callable[[bytes], R], label: str) -> Iterator[tuple[File, R | str]]:
    """`work` on the bytes of every file, in order: its result, or the text of its ValueError.

    Threads do it, as Pillow decodes outside Python's lock; a few files at a time are in memory. A bar shows on terminals.
    """

    def attempt(file: File, data: bytes | str) -> tuple[File, R | str]:
        try:
            return file, data if isinstance(data, str) else work(data)
        except ValueError as error:
            return file, str(error)

    def contents() -> Iterator[tuple[File, bytes | str]]:
        for file in wanted:
            try:
                yield file, source.read(file)
            except ValueError as error:
                yield file, str(error)

    threads, console = os.cpu_count() or 1, Console(file=sys.stderr)
    pending: deque[Future[tuple[File, R | str]]] = deque()
    if not console.is_terminal and len(wanted) >= 1000:
        print(f"gankit: {label} {len(wanted):,} images", file=sys.stderr)
    with (
        warnings.catch_warnings(),
        Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
        ThreadPoolExecutor(threads) as pool,
    ):
        warnings.simplefilter("ignore")  # Pillow's, on odd images
        try:
            for item in progress.track(contents(), len(wanted), description=label):
                pending.append(pool.submit(attempt, *item))
                if len(pending) > 4 * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _prepare(path: Path, resolution: tuple[int, int] | None, fit: str, alpha: str, skip_bad: bool) -> cache.Prepared:
    """Decode every image into the cache, one after the other, beside what is known of them."""

    def build(file: Path) -> dict:
        need, free = len(seen.images) * int(np.prod(shape)), shutil.disk_usage(file.parent).free
        if need > free:
            raise OSError(ENOSPC, f"{need / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free")
        bad, names, wanted = list(seen.bad), [], [image.file for image in seen.images]
        rows = each(source, wanted, lambda data: images.decode(data, shape, fit, alpha), f"preparing {size}")
        with open(file, "wb") as out:
            for image, (_, row) in zip(seen.images, rows):
                if isinstance(row, str):
                    bad.append((shown(image.file.name), row))
                else:
                    out.write(row)
                    names.append(image.name)
        if bad and not (skip_bad and names):
            raise BadFiles(bad, len(seen.images) + len(seen.bad))
        known = know(seen, names)
        notes = seen.warnings + known.warnings
        if small := sum(n for (h, w), n in seen.sizes().items() if h < shape[1] or w < shape[2]):
            notes.append(f"{small} of {len(seen.images)} images are smaller than {size} and are enlarged.")
        return asdict(known) | dict(count=len(names), shape=shape, skipped=bad, warnings=notes)

    with files.opened(path) as source:
        seen = survey(source)
        shape = seen.shape(resolution, alpha)
        size = f"{shape[1]}x{shape[2]}"
        return cache.prepare(cache.key(VERSION, seen.content, shape, fit, alpha), build)
