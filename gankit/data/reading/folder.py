"""Any folder of images, or a zip or tar of one: surveyed, decoded once into bytes of one shape, then read at memory speed."""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import NamedTuple, TypeVar

import numpy as np

from gankit.data.reading import cache, decoding, files, layout, metadata, tables
from gankit.data.reading.decoding import Header
from gankit.data.reading.endings import IMAGES
from gankit.data.reading.files import BadFiles, File, FileSet
from gankit.data.reading.labelmaps import Tally
from gankit.data.reading.rows import Rows
from gankit.data.stream import Dataset
from gankit.text import aside, bar, shown

VERSION = 2  # of what is prepared: another number prepares anew
R = TypeVar("R")
T = TypeVar("T")


class Found(NamedTuple):
    """An image whose header is sound.

    Args:
        file: where it is.
        name: as labels and metadata know it.
        digest: sha256 of the file.
        header: size and mode.
        flaw: why its pixels cannot be used; "" if they can, or were not decoded.
        tally: of a label map, how often each value is in it.
    """

    file: File
    name: str
    digest: str
    header: Header
    flaw: str = ""
    tally: Tally | None = None


@dataclass
class Survey:
    """What a folder or archive holds, before anything is decoded.

    Args:
        images: usable so far, in the order of reading.
        bad: unusable files with the reason.
        rows: rows of the metadata by canonical name; None when there is none.
        table: name of the metadata's file.
        content: hash of everything that is read.
        names: of all files of images, as the images' own.
        texts: of the .txt beside images, by the image's name.
        warnings: what a user should know, in plain sentences.
    """

    images: list[Found] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)
    rows: dict[str, metadata.Row] | None = None
    table: str = ""
    content: str = ""
    names: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
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
    here = path.absolute()

    def again() -> cache.Prepared:
        return recalled(
            [here], (resolution, fit, alpha), lambda: _prepare(here, resolution, fit, alpha, skip_bad), skip_bad
        )

    prepared = again()
    info, bad = prepared.info, [tuple(pair) for pair in prepared.info["skipped"]]
    return Dataset(
        name=(path.resolve().name if path.is_dir() else path.name.partition(".")[0]) or "images",
        kind="images",
        shape=tuple(info["shape"]),
        size=info["count"],
        read=Rows(prepared, again, str(path)).of(tuple(info["shape"])),
        fingerprint=prepared.name,
        labels=np.array(info["labels"], np.int64) if info["labels"] else None,
        class_names=info["class_names"],
        attributes=np.array(info["attributes"], np.float32) if info["attributes"] else None,
        attribute_names=info["attribute_names"],
        captions=info["captions"] or None,
        names=info["names"],
        skipped=bad,
        warnings=info["warnings"],
    )


def recalled(
    paths: list[Path], how: tuple[object, ...], prepare: Callable[[], cache.Prepared], skip_bad: bool
) -> cache.Prepared:
    """What was prepared of these paths in this way; prepared now if it was not yet, or if the files have changed.

    Raises:
        BadFiles: some cannot be used, and `skip_bad` is not given.
    """
    listing = cache.key(VERSION, "texts", [(path.resolve(), files.listing(path)) for path in paths], *how)
    prepared = cache.recall(listing)
    if not prepared:
        with cache.locked(listing):  # another process may have been at work on it
            prepared = cache.recall(listing) or prepare()
            cache.remember(listing, prepared.name)
    if (bad := [tuple(pair) for pair in prepared.info["skipped"]]) and not skip_bad:
        raise BadFiles(bad, prepared.info.get("files", prepared.info["count"] + len(bad)))
    return prepared


Examine = Callable[[bytes], tuple[Header, str, Tally | None]]


def examine_header(data: bytes) -> tuple[Header, str, None]:
    """Examine the header of an image only."""
    return decoding.probe(data), "", None


def examine_pixels(data: bytes) -> tuple[Header, str, None]:
    """Examine the header and the pixels of an image."""
    return *decoding.check(data), None


def survey(source: FileSet, examine: Examine = examine_header, known: bool = True) -> Survey:
    """Read every file once, and open every image once.

    Args:
        source: the files.
        examine: what to find out of each image: header, flaw and tally, as `Found` has them.
        known: read metadata, too.

    Raises:
        ValueError: there are no images, or the metadata is wrong.
    """
    wanted = [f for f in source.files if f.name.lower().endswith(IMAGES)]
    beside = [f for f in source.files if known and os.path.basename(f.name) in metadata.FILES]
    above = [os.path.dirname(f.name) for f in wanted + beside]
    root = os.path.commonpath(above) + "/" if above and os.path.commonpath(above) else ""
    beside = [f for f in beside if f.name[len(root) :] in metadata.FILES]
    found = tables.find(source, [f.name for f in wanted]) if known and wanted and not beside else None
    told, texts, illegible = metadata.captions_beside(source, wanted) if known else ({}, {}, [])
    read = {*wanted, *beside, *told.values(), *(found.files if found else [])}
    rest = [f for f in source.files if f not in read and not f.name.startswith("../")]
    others = Counter(os.path.splitext(f.name)[1].lower() or "no ending" for f in rest)
    other = ", ".join(f"{shown(ending)} ({n})" for ending, n in others.most_common(8))
    if not wanted:
        raise ValueError(f"there are no images (PNG, JPEG, WebP, BMP, TIFF, GIF); found: {other or 'nothing'}")

    seen = Survey(names=[f.name[len(root) :] for f in wanted], bad=illegible, warnings=list(source.notes))
    for file, result in each(
        source.read, wanted, lambda _, data: (hashlib.sha256(data).hexdigest(), *examine(data)), "reading"
    ):
        if isinstance(result, str):
            seen.bad.append((shown(file.name), result))
        else:
            seen.images.append(Found(file, file.name[len(root) :], *result))
    for file in sorted(beside, key=lambda f: metadata.FILES.index(f.name[len(root) :])):
        if seen.table:
            seen.warnings.append(f"{shown(file.name)} is not read, as {seen.table} is there.")
        else:
            seen.table = file.name[len(root) :]
            try:
                seen.rows = metadata.read(seen.table, source.read(file))
            except ValueError as error:
                raise ValueError(f"{seen.table} {error}") from error
    blamed = {name for name, _ in seen.bad}
    if found:
        seen.table, seen.warnings = found.name, [*seen.warnings, *found.warnings]
        seen.rows = {metadata.canonical(name[len(root) :]): row for name, row in found.rows.items()}
        seen.bad += [(shown(name), reason) for name, reason in found.bad if shown(name) not in blamed]
        blamed |= {shown(name) for name, _ in found.bad}
    if seen.rows is not None:
        there = {metadata.canonical(file.name[len(root) :]) for file in wanted}
        seen.bad += [(shown(name), f"in {seen.table}, but not there") for name in seen.rows if name not in there]
        without = [image for image in seen.images if metadata.canonical(image.name) not in seen.rows]
        seen.bad += [
            (shown(image.name), f"has no row in {seen.table}")
            for image in without
            if shown(image.file.name) not in blamed
        ]
        seen.images = [image for image in seen.images if metadata.canonical(image.name) in seen.rows]
    if seen.rows and any(row.get("text") for row in seen.rows.values()) and texts:
        seen.warnings.append(f"The {len(texts)} .txt beside images are not read, as {seen.table} has texts.")
    else:
        seen.texts = {image.name: texts[image.file.name] for image in seen.images if image.file.name in texts}
    if others:
        seen.warnings.append(f"Files of other kinds are not read: {other}.")
    if copies := sum(len(equal) - 1 for equal in seen.copies()):
        seen.warnings.append(f"{copies} images are exact copies of others.")
    seen.content = cache.key(
        [(image.name, image.digest) for image in seen.images], seen.bad, seen.table, seen.rows, *seen.texts.items()
    )
    return seen


def know(seen: Survey, names: list[str]) -> metadata.Known:
    """Labels, captions and attributes of the images of these names: from the metadata; labels also from sub-folders."""
    rows = [seen.rows[metadata.canonical(name)] for name in names] if seen.rows else []
    known = metadata.known(rows, seen.table)
    if seen.texts:
        known.captions = [seen.texts.get(name, "") for name in names]
    if seen.table == "dataset.json" or any("label" in row for row in rows):
        return known
    folders = [name.partition("/")[0] if "/" in name else "" for name in names]
    classes = sorted(set(folders))
    if len(classes) > 1 and {name.lower() for name in classes} <= layout.SPLITS:
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


def each(
    read: Callable[[T], bytes], wanted: list[T], work: Callable[[T, bytes], R], label: str
) -> Iterator[tuple[T, R | str]]:
    """`work` on every item and the bytes that are read of it, in order: its result, or the text of its ValueError.

    Threads do it, as Pillow decodes outside Python's lock; a few files at a time are in memory. A bar shows on terminals.
    """

    def attempt(item: T, data: bytes | str) -> tuple[T, R | str]:
        try:
            return item, data if isinstance(data, str) else work(item, data)
        except ValueError as error:
            return item, str(error)

    def contents() -> Iterator[tuple[T, bytes | str]]:
        for item in wanted:
            try:
                yield item, read(item)
            except ValueError as error:
                yield item, str(error)

    threads = os.cpu_count() or 1
    pending: deque[Future[tuple[T, R | str]]] = deque()
    if not sys.stderr.isatty() and len(wanted) >= 1000:
        aside(f"gankit: {label} {len(wanted):,} images")
    with (
        warnings.catch_warnings(),
        bar(transient=True) as progress,
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


def write(
    out: Path,
    samples: list[tuple[T, ...]],
    read: Callable[[T], bytes],
    work: Callable[[T, bytes], np.ndarray],
    size: str,
    row: int,
) -> tuple[list[int], list[tuple[T, str]]]:
    """Decode samples of one or several files each into a file, one after the other, `row` bytes each.

    Returns:
        The numbers of the samples that were written, and the flawed files of the others with the reason.

    Raises:
        OSError: the disk is too small.
    """
    cache.room(out, len(samples) * row)
    rows = each(read, [part for sample in samples for part in sample], work, f"preparing {size}")
    good, bad = [], []
    with open(out, "wb") as file:
        for i, sample in enumerate(samples):
            decoded = [next(rows) for _ in sample]
            if flaws := [(part, reason) for part, reason in decoded if isinstance(reason, str)]:
                bad += flaws
                continue
            for _, pixels in decoded:
                file.write(pixels)
            good.append(i)
    return good, bad


def enlarged(seen: Survey, shape: tuple[int, int, int]) -> list[str]:
    """A note, if images are smaller than they will be."""
    small = sum(n for (h, w), n in seen.sizes().items() if h < shape[1] or w < shape[2])
    return [f"{small} of {len(seen.images)} images are smaller than {shape[1]}x{shape[2]} and are enlarged."] * (
        small > 0
    )


def _prepare(path: Path, resolution: tuple[int, int] | None, fit: str, alpha: str, skip_bad: bool) -> cache.Prepared:
    """Decode every image into the cache, one after the other, beside what is known of them."""

    def build(out: Path) -> dict:
        samples = [(image,) for image in seen.images]
        size = f"{shape[1]}x{shape[2]}"
        good, flaws = write(
            out,
            samples,
            lambda i: source.read(i.file),
            lambda _, data: decoding.decode(data, shape, fit, alpha),
            size,
            int(np.prod(shape)),
        )
        bad = seen.bad + [(shown(image.file.name), reason) for image, reason in flaws]
        if bad and not (skip_bad and good):
            raise BadFiles(bad, len(seen.images) + len(seen.bad))
        known = know(seen, [seen.images[i].name for i in good])
        notes = seen.warnings + known.warnings + enlarged(seen, shape)
        names = [seen.images[i].name for i in good]
        return asdict(known) | dict(
            count=len(good), parts=[int(np.prod(shape))], shape=shape, names=names, skipped=bad, warnings=notes
        )

    with files.open_files(path) as opened:
        source = files.kept(opened)
        seen = survey(source)
        shape = seen.shape(resolution, alpha)
        return cache.prepare(cache.key(VERSION, seen.content, shape, fit, alpha), build)
