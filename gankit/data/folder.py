"""Any folder of images, or a zip or tar of one: surveyed, decoded once into bytes of one shape, then read at memory speed."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from errno import ENOSPC
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gankit.data import cache, files, images, metadata
from gankit.data.files import File, Source, shown
from gankit.data.images import Header
from gankit.data.stream import Dataset

VERSION = 1  # of what is prepared: another number prepares anew
SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}
T, R = TypeVar("T"), TypeVar("R")


class BadFiles(ValueError):
    """Files that cannot be used, with the reasons: `files`."""

    def __init__(self, bad: list[tuple[str, str]], count: int):
        self.files = bad
        lines = "".join(f"\n  {name}: {reason}" for name, reason in bad)
        super().__init__(f"{len(bad)} of {count} files cannot be used; mend or remove them, or add --skip-bad:{lines}")


@dataclass
class Survey:
    """What a folder or archive holds, before anything is decoded.

    Args:
        images: usable so far, with their headers and hashes, in the order of reading.
        names: their names below the folder that holds all of them, as labels and metadata know them.
        bad: unusable files with the reason.
        ignored: how many files of each other ending.
        rows: rows of the metadata, by canonical name.
        table: name of the metadata's file.
        warnings: in plain sentences.
        content: hash of every file that is read.
    """

    images: list[tuple[File, Header, str]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    rows: dict[str, metadata.Row] | None = None
    table: str = ""
    warnings: list[str] = field(default_factory=list)
    content: str = ""

    def sizes(self) -> Counter[tuple[int, int]]:
        """How many images of each height and width."""
        return Counter((header.height, header.width) for _, header, _ in self.images)

    def duplicates(self) -> list[list[str]]:
        """Names of images that are copies of each other, byte for byte."""
        copies: dict[str, list[str]] = {}
        for file, _, digest in self.images:
            copies.setdefault(digest, []).append(shown(file.name))
        return [names for names in copies.values() if len(names) > 1]

    def shape(self, resolution: tuple[int, int] | None, alpha: str) -> tuple[int, int, int]:
        """(C, H, W) that all images will have. Raises ValueError: there is none, or their sizes differ and no resolution is given."""
        sizes = self.sizes()
        if not sizes:
            raise BadFiles(self.bad, len(self.bad))
        if resolution is None and len(sizes) > 1:
            side = 2 ** int(np.log2(min(512, median(min(size) for size in sizes.elements()))))
            least, most = min(sizes), max(sizes)
            raise ValueError(
                f"the images have {len(sizes)} sizes (height x width), from {least[0]}x{least[1]} to {most[0]}x{most[1]}; "
                f"choose one, say --resolution {side}"
            )
        headers = [header for _, header, _ in self.images]
        channels = 4 if alpha == "keep" and any(h.alpha for h in headers) else 1 if all(h.grey for h in headers) else 3
        return channels, *(resolution or next(iter(sizes)))


def open_folder(path: Path, resolution: tuple[int, int] | None, fit: str, alpha: str, skip_bad: bool) -> Dataset:
    """The images below a folder, or in an archive, prepared if they were not yet.

    Raises:
        BadFiles: some cannot be used, and `skip_bad` is not given.
        ValueError: there are none, their sizes differ and no resolution is given, or the metadata is wrong.
    """
    with files.opened(path) as source:
        listing = cache.key(VERSION, path.resolve(), source.files, resolution, fit, alpha)
        with cache.locked(listing):
            name = cache.remembered(listing)
            found = name and cache.find(name)
            if not found:
                seen = survey(source)
                shape = seen.shape(resolution, alpha)
                name = cache.key(VERSION, seen.content, shape, fit, alpha)
                found = cache.prepare(name, lambda file: _prepare(source, seen, shape, fit, alpha, skip_bad, file))
                cache.remember(listing, name)
    info, file = found
    if info["skipped"] and not skip_bad:
        raise BadFiles([tuple(pair) for pair in info["skipped"]], info["count"] + len(info["skipped"]))
    shape = tuple(info["shape"])
    pixels = np.memmap(file, np.uint8, "r", shape=(info["count"], *shape))
    return Dataset(
        name=(path.resolve().name if path.is_dir() else path.name.partition(".")[0]) or "images",
        kind="images",
        shape=shape,
        size=info["count"],
        read=pixels.__getitem__,
        fingerprint=cache.key(name, info["skipped"]),
        labels=np.array(info["labels"], np.int64) if info["labels"] else None,
        class_names=info["class_names"],
        attributes=np.array(info["attributes"], np.float32) if info["attributes"] else None,
        attribute_names=info["attribute_names"],
        captions=info["captions"] or None,
        skipped=[tuple(pair) for pair in info["skipped"]],
        warnings=info["warnings"],
    )


def survey(source: Source) -> Survey:
    """Read every file once, without decoding it: hashes, headers, metadata. Raises ValueError: no images."""
    result, digests, tables = Survey(), [], {}
    root = _common([f.name for f in source.files if f.name.lower().endswith((*images.ENDINGS, *metadata.FILES))])

    def inspect(item: tuple[File, bytes | str]) -> tuple[File, str, Header | str]:
        file, data = item
        if isinstance(data, str):
            return file, data, data
        digest = hashlib.sha256(data).hexdigest()
        if file.name[len(root) :] in metadata.FILES:
            tables[file.name[len(root) :]] = data
        try:
            return file, digest, images.probe(data) if file.name.lower().endswith(images.ENDINGS) else ""
        except ValueError as error:
            return file, digest, str(error)

    wanted = []
    for file in source.files:
        if file.name.lower().endswith(images.ENDINGS) or file.name[len(root) :] in metadata.FILES:
            wanted.append(file)
        else:
            result.ignored[os.path.splitext(file.name)[1].lower() or "no ending"] += 1
    for file, digest, header in _each(inspect, _contents(source, wanted)):
        digests += [file.name[len(root) :], digest]
        if isinstance(header, Header):
            result.images.append((file, header, digest))
            result.names.append(file.name[len(root) :])
        elif header:
            result.bad.append((shown(file.name), header))
    result.content = cache.key(*digests)
    if not result.images and not result.bad:
        others = ", ".join(f"{shown(ending)} ({n})" for ending, n in result.ignored.most_common(5)) or "nothing"
        raise ValueError(f"there are no images (PNG, JPEG, WebP, BMP, TIFF, GIF) there; found: {others}")
    _read_table(result, tables, {metadata.canonical(file.name[len(root) :]) for file in wanted})
    _warn(result)
    return result


def _read_table(result: Survey, tables: dict[str, bytes], there: set[str]) -> None:
    """Join the metadata with the images that are there: each must know the other."""
    for name in metadata.FILES:
        if name in tables and result.rows is None:
            result.rows, result.table = metadata.read(name, tables[name]), name
        elif name in tables:
            result.warnings.append(f"{name} is not read, as {result.table} is there.")
    if result.rows is None:
        return
    result.bad += [(shown(n), f"in {result.table}, but not there") for n in result.rows if n not in there]
    has_row = [metadata.canonical(name) in result.rows for name in result.names]
    result.bad += [(shown(n), f"has no row in {result.table}") for n, has in zip(result.names, has_row) if not has]
    result.images = [image for image, has in zip(result.images, has_row) if has]
    result.names = [name for name, has in zip(result.names, has_row) if has]


def _warn(result: Survey) -> None:
    if result.ignored:
        others = ", ".join(f"{shown(ending)} ({n})" for ending, n in result.ignored.most_common(8))
        result.warnings.append(f"Files of other kinds are not read: {others}.")
    if copies := sum(len(names) - 1 for names in result.duplicates()):
        result.warnings.append(f"{copies} images are exact copies of others.")


def know(seen: Survey, names: list[str]) -> metadata.Known:
    """Labels, captions and attributes of the images of these names: from the metadata, or labels from sub-folders."""
    if seen.rows is not None:
        return metadata.known([seen.rows[metadata.canonical(name)] for name in names], seen.table)
    known = metadata.Known()
    folders = [name.partition("/")[0] if "/" in name else "" for name in names]
    classes = sorted(set(folders))
    if len(classes) > 1 and set(c.lower() for c in classes) <= SPLITS:
        known.warnings.append(
            f"{', '.join(classes)} look like splits, not classes: all are read, without labels. Give one of them alone."
        )
    elif "" in classes and len(classes) > 1:
        known.warnings.append(
            f"{folders.count('')} images lie beside the sub-folders, so these are not taken for classes."
        )
    elif len(classes) > 1:
        known.labels, known.class_names = [classes.index(folder) for folder in folders], [shown(c) for c in classes]
    return known


def check(source: Source, seen: Survey, work: Callable[[bytes], R], label: str) -> Iterator[tuple[str, R | str]]:
    """`work` on the bytes of every image, on all cores with a progress bar: (name, result or what is wrong)."""

    def attempt(item: tuple[File, bytes | str]) -> R | str:
        try:
            return item[1] if isinstance(item[1], str) else work(item[1])
        except ValueError as error:
            return str(error)

    with _progress(label, len(seen.images)) as advance:
        contents = _contents(source, [file for file, _, _ in seen.images])
        for name, result in zip(seen.names, _each(attempt, contents)):
            advance()
            yield name, result


def _prepare(
    source: Source, seen: Survey, shape: tuple[int, int, int], fit: str, alpha: str, skip_bad: bool, file: Path
) -> dict:
    """Decode every image into `file`, one after the other, and return what is known of them."""
    need, free = len(seen.images) * int(np.prod(shape)), shutil.disk_usage(file.parent).free
    if need > free:
        raise OSError(ENOSPC, f"{need / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free")
    names, bad = [], list(seen.bad)
    size = f"{shape[1]}x{shape[2]}"
    with open(file, "wb") as out:
        for name, row in check(source, seen, lambda data: images.decode(data, shape, fit, alpha), f"preparing {size}"):
            if isinstance(row, str):
                bad.append((shown(name), row))
            else:
                out.write(row)
                names.append(name)
    if bad and not skip_bad:
        raise BadFiles(bad, len(seen.images) + len(seen.bad))
    if not names:
        raise ValueError(f"none of {len(bad)} images can be used; the first: {bad[0][0]}: {bad[0][1]}")
    known = know(seen, names)
    notes = seen.warnings + known.warnings
    if small := sum(n for (h, w), n in seen.sizes().items() if h < shape[1] or w < shape[2]):
        notes.append(f"{small} of {len(seen.images)} images are smaller than {size} and are enlarged.")
    return known.asdict() | dict(count=len(names), shape=shape, skipped=bad, warnings=notes)


def _common(names: list[str]) -> str:
    """The folder that holds all of these, as "pictures/" or ""."""
    common = os.path.commonpath([os.path.dirname(name) for name in names]) if names else ""
    return common and common + "/"


def _contents(source: Source, wanted: Iterable[File]) -> Iterator[tuple[File, bytes | str]]:
    """Each file with its bytes, or with what is wrong."""
    for file in wanted:
        try:
            yield file, source.read(file)
        except ValueError as error:
            yield file, str(error)


def _each(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """`work` on each item by threads (Pillow decodes outside Python's lock), in order, holding a few items at a time."""
    threads = os.cpu_count() or 1
    pending: deque = deque()
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        warnings.simplefilter("ignore")  # Pillow's, on odd images
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) > 4 * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _progress(label: str, count: int) -> Iterator[Callable[[], None]]:
    """Yields what to call after each of `count` images: a bar on a terminal, one line for many images elsewhere."""
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        if count > 1000:
            print(f"gankit: {label}, {count:,} images", file=sys.stderr)
        yield lambda: None
        return
    with Progress(
        TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True
    ) as bar:
        task = bar.add_task(label, total=count)
        yield lambda: bar.advance(task)
