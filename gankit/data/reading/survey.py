"""A survey of a folder or archive of images: headers, hashes, labels, captions and everything that is wrong with it."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from gankit.data.reading import cache, classorder, decoding, files, labelmaps, metadata
from gankit.data.reading.beside import Beside, beside
from gankit.data.reading.choices import Reading
from gankit.data.reading.decoding import Header
from gankit.data.reading.depth import Depth, measure
from gankit.data.reading.draft import Draft, Row
from gankit.data.reading.files import BadFiles, File, FileSet
from gankit.data.reading.frames import whole
from gankit.data.reading.labelmaps import Tally
from gankit.data.reading.volumes import hint
from gankit.data.reading.workers import TASK, each
from gankit.text import shown


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
        depths: the values of the images deeper than 8 bits, None without such images; of images A|B, of each half.
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
    depths: tuple[Depth | None, ...] = (None,)
    warnings: list[str] = field(default_factory=list)
    bare: dict[str, str] = field(default_factory=dict)
    shared: list[tuple[str, str]] = field(default_factory=list)

    def sizes(self) -> Counter[tuple[int, int]]:
        """The number of images of each height and width."""
        return Counter((image.header.height, image.header.width) for image in self.images)

    def bad_texts(self) -> dict[str, tuple[str, str]]:
        """By the name of an image, the file of its captions that cannot be read, and the reason."""
        bad = self.beside.bad_texts
        return {image.name: bad[name] for image in self.images if (name := whole(image.file.name)) in bad}

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


class Examined(NamedTuple):
    """What is found out about an image: header, flaw and tally, as in `ImageFile`; depths, as in `Survey`."""

    header: Header
    flaw: str = ""
    tally: Tally | None = None
    depths: tuple[Depth | None, ...] = (None,)


Examine = Callable[[bytes], Examined]


def examine_header(data: bytes) -> Examined:
    """Examine the header of an image, and the values of one deeper than 8 bits."""
    header = decoding.probe(data)
    return Examined(header, depths=_depths(header, data))


def examine_pixels(data: bytes) -> Examined:
    """Examine the header and the pixels of an image."""
    header, flaw = decoding.check(data)
    return Examined(header, flaw, depths=(None,) if flaw else _depths(header, data))


def examine_halves(examine: Examine, data: bytes) -> Examined:
    """Examine an image A|B, whose halves may hold other values."""
    examined = examine(data)
    return examined._replace(depths=(None, None) if examined.flaw else _depths(examined.header, data, halves=True))


def examine_map(data: bytes) -> Examined:
    """Examine a label map."""
    return Examined(*labelmaps.examine(data))


def _depths(header: Header, data: bytes, halves: bool = False) -> tuple[Depth | None, ...]:
    """The values of an image deeper than 8 bits that can be decoded, or of each of its halves."""
    if header.mode not in (*decoding.DEEP, decoding.DEEP_RGB):
        return (None,) * (1 + halves)
    try:
        values = decoding.values(data)
    except decoding.Unusable:  # decoding it for training gives the reason
        values = None
    if values is None:
        return (None,) * (1 + halves)
    return tuple(map(measure, np.array_split(values, 2, 1) if halves else [values]))


def survey(
    source: FileSet,
    examine: Examine = examine_header,
    with_metadata: bool = True,
    how: Reading | None = None,
    want: str = "",
    place: Path | None = None,
    draft: Draft | None = None,
) -> Survey:
    """Read every file once, and open every image once.

    Args:
        source: the files.
        examine: what to find out about each image.
        with_metadata: also read tables and texts.
        how, want, place: which of them, as of `beside.beside`; default: those that are found.
        draft: takes the place of `examine`: decodes the images as they are read, and writes them.

    Raises:
        ValueError: there are no images, or a table that the user named cannot be used.
    """
    wanted = [f for f in source.files if f.name in source.pages or decoding.is_image(f.name)]
    how = how or Reading(no_table=not with_metadata)
    made = [f.name for f in source.files if not how.no_table and os.path.basename(f.name) in metadata.FILES]
    root = _common([f.name for f in wanted] + made)
    whole_files = list({whole(f.name): f._replace(name=whole(f.name)) for f in wanted}.values())
    known = beside(source, whole_files, root, how, want, place) if with_metadata else Beside()
    read = {*wanted, *known.files}
    others = _endings(f.name for f in source.files if f not in read and not f.name.startswith("../"))
    more = hint([f.name for f in source.files if f not in read])
    if not wanted:
        raise ValueError(f"there are no images ({decoding.NAMES}); found: {others or 'nothing'}{more}")

    seen = Survey(
        names=[f.name[len(root) :] for f in wanted],
        bad=list(source.missing),
        beside=known,
        warnings=list(source.notes),
    )
    _add_images(seen, source, wanted, root, examine, draft)
    seen.bare = _bare_names(source, wanted, root)
    _leave_out_unseen(seen, source)
    _match_rows(seen)
    seen.texts = {i.name: known.texts[name] for i in seen.images if (name := whole(i.file.name)) in known.texts}
    seen.warnings += known.warnings
    if others:
        seen.warnings.append(f"Files of other kinds are not read: {others}{more}.")
    if paged := sum(image.header.paged for image in seen.images):
        seen.warnings.append(
            f"{paged:,} files have several pages or frames, and the first is read: --frames all reads each as an image."
        )
    if copies := sum(len(equal) - 1 for equal in seen.copies()):
        seen.warnings.append(f"{copies} images are exact copies of others.")
    seen.content = _content(seen)
    return seen


def _content(seen: Survey) -> str:
    """The hash of everything that is read."""
    known = seen.beside
    marks = [*known.class_names, *known.typed, *known.origin]
    if not (known.unlabelled or known.has("label")):
        marks += classorder.unlike_text(seen.bare.values())
    if known.rows is None:
        marks += map(str, known.faults.items())
    bad = [*known.bad_texts.values(), *seen.bad]
    images = [(image.name, image.digest) for image in seen.images]
    return cache.key(images, bad, known.table, known.rows, *seen.texts.items(), *marks)


def _add_images(
    seen: Survey, source: FileSet, wanted: list[File], root: str, examine: Examine, draft: Draft | None
) -> None:
    """Read and examine every image; with a draft, decode and write it, too."""
    sizes = [file.size for file in wanted] if source.threaded else None

    def look(_: File, data: bytes) -> tuple[str, Examined, Row | None]:
        digest = hashlib.sha256(data).hexdigest()
        if not draft:
            return digest, examine(data), None
        header, flaw, row = draft.examine(data)
        return digest, Examined(header, flaw, depths=_depths(header, data)), row

    def weight() -> int:
        """The bytes of what is found out; the values of an image deeper than 8 bits are many."""
        return TASK if not seen.images or any(seen.depths) else draft.row if draft else 0

    for file, result in each(source.read, wanted, look, "preparing" if draft else "reading", sizes, weight):
        if isinstance(result, str):
            seen.bad.append((shown(file.name), result))
            continue
        digest, (header, flaw, tally, depths), row = result
        seen.images.append(ImageFile(file, file.name[len(root) :], digest, header, flaw, tally))
        sums = zip_longest(depths, seen.depths)
        seen.depths = tuple(depth + total if depth else total for depth, total in sums)
        if draft:
            draft.add(file, row)


def _common(names: Iterable[str]) -> str:
    """The folder that holds all these files, with a slash at its end; "" if it is the root."""
    above = [os.path.dirname(name) for name in names]
    folder = os.path.commonpath(above) if above else ""
    return f"{folder}/" if folder else ""


def _bare_names(source: FileSet, wanted: list[File], root: str) -> dict[str, str]:
    """The name of each image below `root` to its name without its part."""
    bare = {file.name: source.bare(file.name) for file in wanted}
    parted = any(name != other for name, other in bare.items())
    below = len(_common(bare.values()) if parted else root)
    return {file.name[len(root) :]: bare[file.name][below:] for file in wanted}


def _leave_out_unseen(seen: Survey, source: FileSet) -> None:
    """Leave out images whose content is also in a held-out part. Raises ValueError: no image is left."""
    held_out = copies_of(seen.images, source.unseen)
    seen.shared = shared(seen.images, held_out)
    seen.images = [image for image in seen.images if image.digest not in held_out]
    seen.warnings += left_out(seen.shared, len(seen.images))


def copies_of(images: Iterable[ImageFile], unseen: Iterable[tuple[File, Callable[[File], bytes]]]) -> dict[str, str]:
    """The digests of held-out files with their names. Only files with the size of an image are read."""
    sizes = {image.file.size for image in images}
    wanted = [pair for pair in unseen if pair[0].size in sizes]
    held_out: dict[str, str] = {}
    for (file, _), digest in each(
        lambda pair: pair[1](pair[0]), wanted, lambda _, data: hashlib.sha256(data).hexdigest(), "comparing"
    ):
        held_out.setdefault(digest, file.name)  # a message that it cannot be read equals no digest
    return held_out


def shared(images: Iterable[ImageFile], held_out: dict[str, str]) -> list[tuple[str, str]]:
    """The images whose content is held out, each with its copy."""
    return [(shown(i.file.name), shown(held_out[i.digest])) for i in images if i.digest in held_out]


def left_out(copies: list[tuple[str, str]], left: int, what: str = "images") -> list[str]:
    """A note on what is left out, as its content is held out. Raises ValueError: nothing is left."""
    if not copies:
        return []
    first = ", ".join(files.listed((f"{a} is {b}" for a, b in copies), len(copies), 3))
    if not left:
        raise ValueError(
            f"every image to learn from is an exact copy of a held-out one ({first}): remove the copies, or add "
            "--split all to learn from all images"
        )
    return [f"{len(copies):,} {what} are left out, as held-out images are exact copies of theirs: {first}."]


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
        name = metadata.canonical(whole(image.name))
        return name in known.required and name not in rows

    seen.bad += [
        (shown(image.name), f"has no row in {known.required[metadata.canonical(whole(image.name))]}")
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
    rows = [known.rows.get(metadata.canonical(whole(name)), {}) for name in names] if known.rows else []
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
