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
from pathlib import Path
from statistics import median
from typing import NamedTuple, TypeVar

import numpy as np

from gankit.data.reading import cache, classorder, decoding, files, metadata
from gankit.data.reading.beside import Beside, beside
from gankit.data.reading.choices import Reading
from gankit.data.reading.decoding import Header
from gankit.data.reading.endings import IMAGES
from gankit.data.reading.files import BadFiles, File, FileSet
from gankit.data.reading.labelmaps import Tally
from gankit.text import aside, counted, shown

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
        beside: what tables and texts beside the images say of them.
        content: hash of everything that is read.
        names: of all image files, as in `ImageFile.name`.
        texts: content of the .txt beside images, by the image's name.
        warnings: what a user should know, in plain sentences.
        bare: the name of each image without its part, below the folder that holds all; its first folder is its class.
        shared: images of the training part whose content is also in a held-out part, each with its copy there.
    """

    images: list[ImageFile] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)
    beside: Beside = field(default_factory=Beside)
    content: str = ""
    names: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    bare: dict[str, str] = field(default_factory=dict)
    shared: list[tuple[str, str]] = field(default_factory=list)

    def sizes(self) -> Counter[tuple[int, int]]:
        """The number of images of each height and width."""
        return Counter((image.header.height, image.header.width) for image in self.images)

    def bad_texts(self) -> dict[str, tuple[str, str]]:
        """By the name of an image, the file of its captions that cannot be read, and the reason."""
        bad = self.beside.bad_texts
        return {image.name: bad[image.file.name] for image in self.images if image.file.name in bad}

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
    source: FileSet,
    examine: Examine = examine_header,
    with_metadata: bool = True,
    how: Reading | None = None,
    want: str = "",
    place: Path | None = None,
) -> Survey:
    """Read every file once, and open every image once.

    Args:
        source: the files.
        examine: what to find out about each image: header, flaw and tally, as in `ImageFile`.
        with_metadata: also read tables and texts.
        how, want, place: which of them, as of `beside.beside`; default: those that are found.

    Raises:
        ValueError: there are no images, or a table that the user named cannot be used.
    """
    wanted = [f for f in source.files if f.name.lower().endswith(IMAGES)]
    how = how or Reading(no_table=not with_metadata)
    made = [f.name for f in source.files if not how.no_table and os.path.basename(f.name) in metadata.FILES]
    root = _common([f.name for f in wanted] + made)
    known = beside(source, wanted, root, how, want, place) if with_metadata else Beside()
    read = {*wanted, *known.files}
    others = _endings(f.name for f in source.files if f not in read and not f.name.startswith("../"))
    if not wanted:
        raise ValueError(f"there are no images (PNG, JPEG, WebP, BMP, TIFF, GIF); found: {others or 'nothing'}")

    seen = Survey(
        names=[f.name[len(root) :] for f in wanted],
        bad=list(source.missing),
        beside=known,
        warnings=list(source.notes),
    )
    for file, result in each(
        source.read, wanted, lambda _, data: (hashlib.sha256(data).hexdigest(), *examine(data)), "reading"
    ):
        if isinstance(result, str):
            seen.bad.append((shown(file.name), result))
        else:
            seen.images.append(ImageFile(file, file.name[len(root) :], *result))
    bare = {file.name: source.bare(file.name) for file in wanted}
    parted = any(name != other for name, other in bare.items())
    below = len(_common(bare.values()) if parted else root)
    seen.bare = {f.name[len(root) :]: bare[f.name][below:] for f in wanted}
    _leave_out_unseen(seen, source)
    _match_rows(seen)
    seen.texts = {image.name: known.texts[image.file.name] for image in seen.images if image.file.name in known.texts}
    seen.warnings += known.warnings
    if others:
        seen.warnings.append(f"Files of other kinds are not read: {others}.")
    if copies := sum(len(equal) - 1 for equal in seen.copies()):
        seen.warnings.append(f"{copies} images are exact copies of others.")
    more = [*known.class_names, *known.typed, *known.origin]
    if not (known.unlabelled or known.has("label")):
        more += classorder.unlike_text(seen.bare.values())
    if known.rows is None:
        more += map(str, known.faults.items())
    bad = [*known.bad_texts.values(), *seen.bad]
    images = [(image.name, image.digest) for image in seen.images]
    seen.content = cache.key(images, bad, known.table, known.rows, *seen.texts.items(), *more)
    return seen


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


def _match_rows(seen: Survey) -> None:
    """Report rows without an image, and images without a row, which are left out."""
    known = seen.beside
    told = {name for name, _ in seen.bad}
    seen.bad += [(shown(name), reason) for name, reason in known.unusable if shown(name) not in told]
    seen.bad += known.missing
    rows, unusable = known.rows or {}, told | {shown(name) for name, _ in known.unusable}

    def lacks_row(image: ImageFile) -> bool:
        name = metadata.canonical(image.name)
        return name in known.required and name not in rows

    seen.bad += [
        (shown(image.name), f"has no row in {known.required[metadata.canonical(image.name)]}")
        for image in seen.images
        if lacks_row(image) and shown(image.file.name) not in unusable
    ]
    seen.images = [image for image in seen.images if not lacks_row(image)]


def metadata_of(seen: Survey, names: list[str]) -> metadata.Metadata:
    """Labels, captions and attributes of these images, from the metadata; labels also from the names of sub-folders.

    Raises:
        ValueError: a table that the user named has labels for some images only, or values that are not finite.
    """
    known = seen.beside
    rows = [known.rows.get(metadata.canonical(name), {}) for name in names] if known.rows else []
    result = metadata.columns(rows, known.table, known.class_names)
    if fault := next((result.faults[kind] for kind in known.typed if kind in result.faults), ""):
        raise ValueError(f"--labels {fault}")
    result.faults = known.faults | result.faults
    if seen.texts:
        result.captions = [seen.texts.get(name, "") for name in names]
    if known.unlabelled or result.labels:
        return result
    folders = classorder.folders(seen.bare[name] for name in names)
    present = classorder.ordered(folders)
    if len(present) > 1 and "" in present:
        result.warnings.append(
            f"{folders.count('')} images lie beside the sub-folders, so these are not taken for classes."
        )
    elif len(present) > 1 and classorder.sharded(seen.bare[name] for name in names):
        result.warnings.append(
            f"The {len(present):,} sub-folders are parts of one numbered sequence of images, so these are not taken "
            "for classes."
        )
    elif len(present) > 1:
        place = {name: i for i, name in enumerate(present)}
        result.labels, result.class_names = [place[folder] for folder in folders], [shown(name) for name in present]
    return result


def each(
    read: Callable[[T], bytes], wanted: list[T], work: Callable[[T, bytes], R], label: str
) -> Iterator[tuple[T, R | str]]:
    """Call `work` on every item and its bytes; yield the items in order, with the result or a ValueError's message.

    Threads do the work, as Pillow releases the GIL while decoding; a few files at a time are in memory.
    Terminals show a progress bar with this label.
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
        counted(len(wanted), f"images, {label}") as advance,
        ThreadPoolExecutor(threads) as pool,
    ):
        warnings.simplefilter("ignore")  # Pillow's, on odd images
        try:
            for item in contents():
                advance(1)
                pending.append(pool.submit(attempt, *item))
                if len(pending) > 4 * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
