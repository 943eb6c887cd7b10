"""A survey of a folder or archive of images: headers, hashes, labels, captions and everything that is wrong with it."""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple, TypeVar

import numpy as np

from gankit.data.reading import cache, decoding, files, metadata, tables
from gankit.data.reading.decoding import Header
from gankit.data.reading.draft import Draft, Row
from gankit.data.reading.endings import IMAGES
from gankit.data.reading.files import BadFiles, File, FileSet
from gankit.data.reading.labelmaps import Tally
from gankit.text import aside, counted, shown

TASK, FEW = 2**19, 32  # bytes and images that a thread takes at once, in small images
LARGEST = 2**25 - 2**16  # bytes of a block whose memory glibc may keep
R = TypeVar("R")
T = TypeVar("T")


class ImageFile(NamedTuple):
    """An image with a valid header.

    Args:
        file: the image file.
        name: in metadata, relative to the folder that holds all images.
        digest: sha256 of the file.
        header: size and mode.
        flaw: why its pixels cannot be used; "" if they can, or were not decoded.
        tally: of a label map, the count of each value.
    """

    file: File
    name: str
    digest: str
    header: Header
    flaw: str = ""
    tally: Tally | None = None


@dataclass
class Survey:
    """The content of a folder or archive, before images are decoded into the cache.

    Args:
        images: those that seem usable, in the order of reading.
        bad: unusable files with the reason.
        rows: rows of the metadata by canonical name; None without metadata.
        table: file name of the metadata.
        content: hash of everything that is read.
        names: of all image files, as in `ImageFile.name`.
        texts: content of the .txt beside images, by the image's name.
        warnings: what a user should know, in plain sentences.
        folders: the first folder of each image below the folder that holds all, without its part; "" for none.
        shared: images of the training part whose content is also in a held-out part, each with its copy there.
    """

    images: list[ImageFile] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)
    rows: dict[str, metadata.Row] | None = None
    table: str = ""
    content: str = ""
    names: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    folders: dict[str, str] = field(default_factory=dict)
    shared: list[tuple[str, str]] = field(default_factory=list)

    def sizes(self) -> Counter[tuple[int, int]]:
        """The number of images of each height and width."""
        return Counter((image.header.height, image.header.width) for image in self.images)

    def copies(self) -> list[list[str]]:
        """Groups of names of images whose files are equal."""
        names: dict[str, list[str]] = {}
        for image in self.images:
            names.setdefault(image.digest, []).append(shown(image.name))
        return [equal for equal in names.values() if len(equal) > 1]

    def shape(self, resolution: tuple[int, int] | None, alpha: str) -> tuple[int, int, int]:
        """(C, H, W) of all images once prepared.

        Raises:
            ValueError: no image is usable, or sizes differ and no resolution is given.
        """
        sizes = self.sizes()
        if not sizes:
            raise BadFiles(self.bad, len(self.bad))
        if resolution is None and len(sizes) > 1:
            side = 2 ** int(np.log2(min(512, median(min(size) for size in sizes.elements()))))
            least, most = ("x".join(map(str, size)) for size in (min(sizes), max(sizes)))
            raise ValueError(
                f"the images have {len(sizes)} sizes (height x width), from {least} to {most}; "
                f"choose one, say --resolution {side}"
            )
        grey = all(image.header.grey for image in self.images)
        kept = alpha == "keep" and any(image.header.alpha for image in self.images)
        return 4 if kept else 1 if grey else 3, *(resolution or next(iter(sizes)))


Examine = Callable[[bytes], tuple[Header, str, Tally | None]]


def examine_header(data: bytes) -> tuple[Header, str, None]:
    """Examine the header of an image only."""
    return decoding.probe(data), "", None


def examine_pixels(data: bytes) -> tuple[Header, str, None]:
    """Examine the header and the pixels of an image."""
    return *decoding.check(data), None


def survey(
    source: FileSet, examine: Examine = examine_header, with_metadata: bool = True, draft: Draft | None = None
) -> Survey:
    """Read every file once, and open every image once.

    Args:
        source: the files.
        examine: what to find out about each image: header, flaw and tally, as in `ImageFile`.
        with_metadata: also read metadata.
        draft: decodes the images as they are read, and writes them.

    Raises:
        ValueError: there are no images, or the metadata is wrong.
    """
    wanted = [f for f in source.files if f.name.lower().endswith(IMAGES)]
    beside = [f for f in source.files if with_metadata and os.path.basename(f.name) in metadata.FILES]
    root = _common(f.name for f in wanted + beside)
    beside = [f for f in beside if f.name[len(root) :] in metadata.FILES]
    table = tables.find(source, [f.name for f in wanted]) if with_metadata and wanted and not beside else None
    text_files, texts, bad_texts = metadata.captions_beside(source, wanted) if with_metadata else ({}, {}, [])
    read = {*wanted, *beside, *text_files.values(), *(table.files if table else [])}
    others = _endings(f.name for f in source.files if f not in read and not f.name.startswith("../"))
    if not wanted:
        raise ValueError(f"there are no images (PNG, JPEG, WebP, BMP, TIFF, GIF); found: {others or 'nothing'}")

    seen = Survey(
        names=[f.name[len(root) :] for f in wanted], bad=[*bad_texts, *source.missing], warnings=list(source.notes)
    )
    for file, result in _examined(source, wanted, examine, draft):
        if isinstance(result, str):
            seen.bad.append((shown(file.name), result))
        else:
            seen.images.append(ImageFile(file, file.name[len(root) :], *result))
    bare = {file.name: source.bare(file.name) for file in wanted}
    parted = any(name != other for name, other in bare.items())
    below = len(_common(bare.values()) if parted else root)
    seen.folders = {f.name[len(root) :]: bare[f.name][below:].rpartition("/")[0].partition("/")[0] for f in wanted}
    _leave_out_unseen(seen, source)
    _add_metadata(seen, source, beside, root)
    unusable = {name for name, _ in seen.bad}
    if table:
        unusable |= _add_table(seen, table, root, unusable)
    _match_rows(seen, unusable, {name.removeprefix(root) for name in source.elsewhere})
    if seen.rows and any(row.get("text") for row in seen.rows.values()) and texts:
        seen.warnings.append(f"The {len(texts)} .txt beside images are not read, as {seen.table} has texts.")
    else:
        seen.texts = {image.name: texts[image.file.name] for image in seen.images if image.file.name in texts}
    if others:
        seen.warnings.append(f"Files of other kinds are not read: {others}.")
    if copies := sum(len(equal) - 1 for equal in seen.copies()):
        seen.warnings.append(f"{copies} images are exact copies of others.")
    seen.content = cache.key(
        [(image.name, image.digest) for image in seen.images], seen.bad, seen.table, seen.rows, *seen.texts.items()
    )
    return seen


def _examined(
    source: FileSet, wanted: list[File], examine: Examine, draft: Draft | None
) -> Iterator[tuple[File, tuple[str, Header, str, Tally | None] | str]]:
    """Each image with the last fields of its `ImageFile`, or with the reason why it is unusable."""
    sizes = [file.size for file in wanted] if source.threaded else None

    def look(_: File, data: bytes) -> tuple[str, Header, str, Tally | None]:
        return hashlib.sha256(data).hexdigest(), *examine(data)

    if not draft:
        yield from each(source.read, wanted, look, "reading", sizes)
        return

    def sketch(_: File, data: bytes) -> tuple[str, Header, str, Row | None]:
        return hashlib.sha256(data).hexdigest(), *draft.examine(data)

    for file, result in each(source.read, wanted, sketch, "preparing", sizes, lambda: draft.row):
        if isinstance(result, str):
            yield file, result
        else:
            draft.add(file, result[3])
            yield file, (*result[:3], None)


def _common(names: Iterable[str]) -> str:
    """The folder that holds all these files, with a slash at its end; "" if it is the root."""
    above = [os.path.dirname(name) for name in names]
    folder = os.path.commonpath(above) if above else ""
    return f"{folder}/" if folder else ""


def _leave_out_unseen(seen: Survey, source: FileSet) -> None:
    """Leave out images whose content is also in a held-out part. Only files of equal size are compared.

    Raises:
        ValueError: no image is left.
    """
    sizes = {image.file.size for image in seen.images}
    wanted = [pair for pair in source.unseen if pair[0].size in sizes]
    held_out: dict[str, str] = {}
    for (file, _), digest in each(
        lambda pair: pair[1](pair[0]), wanted, lambda _, data: hashlib.sha256(data).hexdigest(), "comparing"
    ):
        held_out.setdefault(digest, file.name)  # a message that it cannot be read equals no digest
    seen.shared = [
        (shown(image.file.name), shown(held_out[image.digest])) for image in seen.images if image.digest in held_out
    ]
    if not seen.shared:
        return
    first = ", ".join(files.listed((f"{a} is {b}" for a, b in seen.shared), len(seen.shared), 3))
    if len(seen.shared) == len(seen.images):
        raise ValueError(
            f"every image to learn from is an exact copy of a held-out one ({first}): remove the copies, or add "
            "--split all to learn from all images"
        )
    seen.images = [image for image in seen.images if image.digest not in held_out]
    seen.warnings.append(
        f"{len(seen.shared):,} images are left out, as held-out ones are exact copies of them: {first}."
    )


def _endings(names: Iterable[str]) -> str:
    """The eight most frequent endings of these file names, with counts."""
    counts = Counter(os.path.splitext(name)[1].lower() or "no ending" for name in names)
    return ", ".join(f"{shown(ending)} ({n})" for ending, n in counts.most_common(8))


def _add_metadata(seen: Survey, source: FileSet, metadata_files: list[File], root: str) -> None:
    """Read the rows of the first kind of metadata file that is there."""
    for file in sorted(metadata_files, key=lambda f: metadata.FILES.index(f.name[len(root) :])):
        if seen.table:
            seen.warnings.append(f"{shown(file.name)} is not read, as {seen.table} is there.")
            continue
        seen.table = file.name[len(root) :]
        try:
            seen.rows = metadata.read(seen.table, source.read(file))
        except ValueError as error:
            raise ValueError(f"{seen.table} {error}") from error


def _add_table(seen: Survey, table: tables.Table, root: str, unusable: set[str]) -> set[str]:
    """Take the rows of a table. Returns the names of images that the table makes unusable."""
    seen.table, seen.warnings = table.name, [*seen.warnings, *table.warnings]
    seen.rows = {metadata.canonical(name[len(root) :]): row for name, row in table.rows.items()}
    seen.bad += [(shown(name), reason) for name, reason in table.bad if shown(name) not in unusable]
    return {shown(name) for name, _ in table.bad}


def _match_rows(seen: Survey, unusable: set[str], elsewhere: set[str]) -> None:
    """Report rows without an image here or elsewhere, and images without a row, which are left out."""
    if seen.rows is None:
        return
    names = set(map(metadata.canonical, [*seen.names, *elsewhere]))
    seen.bad += [(shown(name), f"in {seen.table}, but not there") for name in seen.rows if name not in names]
    seen.bad += [
        (shown(image.name), f"has no row in {seen.table}")
        for image in seen.images
        if metadata.canonical(image.name) not in seen.rows and shown(image.file.name) not in unusable
    ]
    seen.images = [image for image in seen.images if metadata.canonical(image.name) in seen.rows]


def metadata_of(seen: Survey, names: list[str]) -> metadata.Metadata:
    """Labels, captions and attributes of these images, from the metadata; labels also from the names of sub-folders."""
    rows = [seen.rows[metadata.canonical(name)] for name in names] if seen.rows else []
    result = metadata.columns(rows, seen.table)
    if seen.texts:
        result.captions = [seen.texts.get(name, "") for name in names]
    if seen.table == "dataset.json" or any("label" in row for row in rows):
        return result
    folders = [seen.folders[name] for name in names]
    classes = sorted(set(folders))
    if len(classes) > 1 and "" in classes:
        result.warnings.append(
            f"{folders.count('')} images lie beside the sub-folders, so these are not taken for classes."
        )
    elif len(classes) > 1:
        place = {name: i for i, name in enumerate(classes)}
        result.labels, result.class_names = [place[folder] for folder in folders], [shown(name) for name in classes]
    return result


def each(
    read: Callable[[T], bytes],
    wanted: list[T],
    work: Callable[[T, bytes], R],
    label: str,
    sizes: list[int] | None = None,
    row: Callable[[], int] = lambda: 0,
) -> Iterator[tuple[T, R | str]]:
    """Call `work` on every item and its bytes; yield the items in order, with the result or a ValueError's message.

    Threads do the work, as Pillow releases the GIL while decoding; a few files at a time are in memory.
    Terminals show a progress bar with this label.

    Args:
        read: the bytes of an item.
        sizes: of the items in bytes, if threads may call `read`; else the calling thread does.
        row: the bytes of a result, as far as they are known.
    """

    def attempt(items: list[T], contents: list[bytes | str] | None) -> list[tuple[T, R | str]]:
        results: list[tuple[T, R | str]] = []
        for i, item in enumerate(items):
            try:
                data = contents[i] if contents else read(item)
                results.append((item, data if isinstance(data, str) else work(item, data)))
            except ValueError as error:
                results.append((item, str(error)))
        return results

    def content(item: T) -> bytes | str:
        try:
            return read(item)
        except ValueError as error:
            return str(error)

    def tasks() -> Iterator[tuple[list[T], list[bytes | str] | None]]:
        """A few small files each, as a task of one takes longer to hand over than to do."""
        items: list[T] = []
        contents: list[bytes | str] = []
        weight = 0
        for i, item in enumerate(wanted):
            items.append(item)
            if sizes is None:
                contents.append(content(item))
            weight += (sizes[i] if sizes else len(contents[-1])) + row()
            if weight >= TASK or len(items) == FEW:
                yield items, contents or None
                items, contents, weight = [], [], 0
        if items:
            yield items, contents or None

    bytearray(LARGEST)  # once freed, glibc keeps the memory of images for the next ones: see mallopt(3) on thresholds
    threads = os.cpu_count() or 1
    pending: deque[Future[list[tuple[T, R | str]]]] = deque()
    if not sys.stderr.isatty() and len(wanted) >= 1000:
        aside(f"gankit: {label} {len(wanted):,} images")
    with (
        warnings.catch_warnings(),
        counted(len(wanted), f"images, {label}") as advance,
        ThreadPoolExecutor(threads) as pool,
    ):
        warnings.simplefilter("ignore")  # Pillow's, on odd images
        try:
            for task in tasks():
                advance(len(task[0]))
                pending.append(pool.submit(attempt, *task))
                if len(pending) > 3 * threads:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
