"""The samples of two-sided data before they are decoded: partners by their names, images A|B, and label maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from gankit.data.reading import cache, decoding, files, labelmaps, layout, patterns
from gankit.data.reading.choices import Reading
from gankit.data.reading.depth import Scaling, scaling
from gankit.data.reading.files import BadFiles, File, FileSet
from gankit.data.reading.frames import expanded
from gankit.data.reading.parts import of_part, restricted
from gankit.data.reading.patterns import EQUAL, Half, Layout, TwoSided
from gankit.data.reading.survey import (
    Examine,
    ImageFile,
    Survey,
    copies_of,
    examine_halves,
    examine_header,
    examine_map,
    examine_pixels,
    left_out,
    shared,
    survey,
)
from gankit.data.reading.workers import kept
from gankit.data.stream import Size
from gankit.text import shown

VERSION = 1  # part of the cache's keys: increase it when the same files are prepared in another way
HOW = (
    "Pairs are images A|B side by side in one folder, or two folders whose files have equal names: "
    "A/ and B/ in one, or photos,drawings"
)


class Part(NamedTuple):
    """One file of a sample: its side, 0 or 1, its survey, its name in messages, and the function that reads it."""

    side: int
    image: ImageFile
    name: str
    read: Callable[[File], bytes]


@dataclass
class Partners:
    """The two-sided samples in one or two folders, before images are decoded into the cache.

    Args:
        samples: those that seem usable, sorted by name: a file of each side, or one file A|B.
        sides: the surveys of both sides, reduced to the images of these samples; for images A|B, with half the width.
        titles: names of the sides.
        bad: unusable files with the reason.
        count: number of image files.
        layout: how partners are named; None for images A|B.
        meaning: the classes of label maps; None without label maps.
        warnings: what a user should know, in plain sentences.
        shared: images whose content is also held out, each with its copy there; their samples are left out.
    """

    samples: Sequence[tuple[Part, ...]]
    sides: list[Survey]
    titles: list[str]
    bad: list[tuple[str, str]]
    count: int
    layout: Layout | None = None
    meaning: labelmaps.Meaning | None = None
    warnings: list[str] = field(default_factory=list)
    shared: list[tuple[str, str]] = field(default_factory=list)

    def content(self) -> str:
        """Hash of everything that is read."""
        digests = [[(part.name, part.image.digest) for part in sample] for sample in self.samples]
        return cache.key(VERSION, digests, self.bad, self.meaning)

    def scalings(self, how: Reading) -> list[Scaling]:
        """How the deep images of each side become bytes; label maps hold classes, and have no scale."""
        return [scaling(side.depths[0], how.side(i)) for i, side in enumerate(self.sides)]

    def deep_notes(self, deep: list[Scaling]) -> list[str]:
        """The notes of scales, with the titles of the sides."""
        return [f"{title}: {note}" for title, side in zip(self.titles, deep) for note in side.notes]

    def shapes(self, resolution: Size, alpha: str) -> list[tuple[int, int, int]]:
        """(C, H, W) of the images of each side. Raises ValueError, BadFiles: as `Survey.shape`."""
        if not self.samples:
            raise BadFiles(self.bad, self.count)
        shapes = []
        for title, side in zip(self.titles, self.sides):
            try:
                shapes.append(side.shape(resolution, alpha))
            except ValueError as error:
                raise ValueError(f"{title}: {error}") from error
        a, b = shapes
        if a[1:] != b[1:] and not self.meaning:
            sizes = ["x".join(map(str, shape[1:])) for shape in shapes]
            raise ValueError(
                f"{self.titles[0]} holds images of {sizes[0]} (height x width) and {self.titles[1]} of {sizes[1]}; "
                f"choose one, say --resolution {min(a[1:] + b[1:])}"
            )
        return shapes


@contextmanager
def surveyed(sides: TwoSided, how: Reading, decode: bool = False) -> Iterator[Partners]:
    """The samples of files whose names fit together, or of images A|B.

    Args:
        sides: where they are.
        how: the options of reading.
        decode: also decode pixels, to find images that cannot be used (`ImageFile.flaw`).

    Raises:
        ValueError: a side holds no images, no two names fit together, or the label maps hold no classes.
    """
    paths, maps = [path.absolute() for path in sides.paths], sides.kind == "masks"
    with ExitStack() as stack:
        opened = [stack.enter_context(files.open_files(path)) for path in paths]
        if sides.parts:
            opened = [restricted(opened[0], sides.parts, sides.part, maps=True)]
        sources = [kept(expanded(source, how.frames)) for source in opened]
        examine = examine_pixels if decode else examine_header
        unseen = [pair for path, part in sides.held_out for pair in _held_out(stack, path, part)]
        if len(paths) == 1 and sides.layout is None:
            partners = _side_by_side(sources[0], examine)
            _leave_out(partners, unseen, 1)
            yield partners
            return
        names = [path.resolve().name for path in paths]
        titles = names if len({*names}) == 2 else ["/".join(path.resolve().parts[-2:]) for path in paths]
        layout, halves, notes = patterns.halves(sources, titles, sides.kind, sides.layout)
        seen = []
        for side, half in enumerate(halves):
            look = examine_map if maps and side == 1 else examine
            with _titled(half.title):
                seen.append(survey(half.source, look, with_metadata=False))
        partners = _matched(layout, halves, seen, notes)
        partners.bad += sources[0].missing if len(paths) == 1 else ()
        _leave_out(partners, unseen, 1 if maps else 2)
        notes += partners.warnings
        notes += [
            f"{half.title}: {text}" if half.title else text
            for half, side in zip(halves, seen[: 1 if maps else 2])
            for text in side.warnings
        ]
        if maps:
            _find_classes(partners, sides, sources, how)
            assert partners.meaning is not None
            notes = partners.meaning.warnings + labelmaps.void_notes(partners.meaning, how.void) + notes
        partners.warnings = notes
        yield partners


def _held_out(stack: ExitStack, path: Path, part: str) -> list[tuple[File, Callable[[File], bytes]]]:
    """The held-out files of a path, named with its folder, each with the function that reads it."""
    source = of_part(stack.enter_context(files.open_files(path)), part)
    before = len(path.name) + 1

    def read(file: File) -> bytes:
        return source.read(file._replace(name=file.name[before:]))

    return [(file._replace(name=f"{path.name}/{file.name}"), read) for file in source.files]


def _leave_out(partners: Partners, unseen: list[tuple[File, Callable[[File], bytes]]], count: int) -> None:
    """Leave out samples of which one of the first `count` files is also held out. Raises ValueError: none is left."""
    images = [part.image for sample in partners.samples for part in sample[:count]]
    held_out = copies_of(images, unseen)
    partners.shared = shared(images, held_out)
    kept = [i for i, s in enumerate(partners.samples) if not any(p.image.digest in held_out for p in s[:count])]
    partners.warnings += left_out(partners.shared, len(kept), "samples")
    if partners.shared:
        partners.samples = [partners.samples[i] for i in kept]
        partners.sides = [replace(side, images=[side.images[i] for i in kept]) for side in partners.sides]


@contextmanager
def _titled(title: str) -> Iterator[None]:
    """Put the name of a side in front of the message of a ValueError inside."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{title}: {error}" if title else str(error)) from error


def _side_by_side(source: FileSet, examine: Examine) -> Partners:
    """The samples in images A|B, which are cut in the middle."""
    seen = survey(source, partial(examine_halves, examine), with_metadata=False)
    bad, good = list(seen.bad), []
    for image in seen.images:
        height, width = image.header.height, image.header.width
        if width % 2:
            bad.append((shown(image.name), f"{height}x{width} (height x width): halves of an odd width are unequal"))
        else:
            good.append(image._replace(header=decoding.halved(image.header)))
    if good and all(image.header.width * 2 <= image.header.height for image in good):
        size = f"{good[0].header.height}x{good[0].header.width * 2}"
        raise ValueError(
            f"no image is wider than high (the first is {size}), so these are no pairs side by side. {HOW}"
        )
    halves = [replace(seen, images=good, depths=(depth,)) for depth in seen.depths[:2]]
    samples = [(Part(0, image, shown(image.name), source.read),) for image in good]
    notes = ["Each image is cut in the middle: its left half is A, its right half B.", *seen.warnings]
    return Partners(samples, halves, ["A", "B"], bad, len(seen.names), warnings=notes)


def _matched(layout: Layout, halves: list[Half], seen: list[Survey], notes: list[str]) -> Partners:
    """Samples of files whose names fit together; files without a partner of the same shape are bad.

    Where images without a partner belong to the layout, their number becomes a note.
    """
    counts = [Counter(half.keys.values()) for half in halves]
    usable = [{half.keys[image.file.name]: image for image in side.images} for half, side in zip(halves, seen)]

    def named(side: int, name: str) -> str:
        return f"{halves[side].title}/{name}" if halves[side].title else name

    bad = [(named(i, name), reason) for i, side in enumerate(seen) for name, reason in side.bad]
    samples, alone = [], 0
    for side, other, pattern in ((0, 1, layout.b), (1, 0, layout.a)):
        for image in seen[side].images:
            key, name = halves[side].keys[image.file.name], named(side, shown(image.name))
            partner = usable[other].get(key)
            if counts[side][key] > 1:
                bad.append((name, "another file is called like it but for the ending"))
            elif key not in counts[other] and side == 0 and layout.partial:
                alone += 1
            elif key not in counts[other]:
                missing, title = shown(patterns.expected(pattern, key)), halves[other].title
                if layout == EQUAL:
                    missing = f"in {title}"
                elif title and not pattern.startswith(f"{title}/"):
                    missing = f"{title}/{missing}"
                bad.append((name, f"has no partner {missing}"))
            elif partner and counts[other][key] == 1 and side == 0:
                (h, w), (high, wide) = image.header[:2], partner.header[:2]
                if h * wide != high * w:
                    where = f" in {halves[other].title}" if layout == EQUAL else ""
                    bad.append((name, f"is {h}x{w} (height x width) and its partner{where} {high}x{wide}"))
                    continue
                first = Part(0, image, name, halves[0].source.read)
                second = Part(1, partner, named(1, shown(partner.name)), halves[1].source.read)
                samples.append((first, second))
    if alone:
        notes.append(f"{alone:,} of {len(seen[0].names):,} images have no label map, and are left out.")
    sides = [replace(side, images=[sample[i].image for sample in samples]) for i, side in enumerate(seen)]
    titles = [half.title or name for half, name in zip(halves, "AB")]
    return Partners(samples, sides, titles, bad, sum(len(side.names) for side in seen), layout)


def _find_classes(seen: Partners, sides: TwoSided, sources: list[FileSet], how: Reading) -> None:
    """Set the classes of the label maps. Unusable maps are added to `bad`, and their samples removed.

    Raises:
        ValueError: the maps hold no classes, or colours whose classes depend on the part of the data.
    """
    folder = sides.paths[-1].absolute()
    path, names = labelmaps.names_file(folder), []
    if path:
        names = labelmaps.read_names(path)
    elif len(sources) == 1:
        names = labelmaps.names_in(sources[0])
    maps = [sample[1] for sample in seen.samples]
    tallies = [part.image.tally for part in maps if part.image.tally]
    if not tallies:
        error = BadFiles(seen.bad + [(part.name, part.image.flaw) for part in maps], seen.count)
        if any(part.image.flaw.startswith("holds numbers") for part in maps):
            error.args = (f"{error}\n{labelmaps.INSTANCES}",)
        raise error
    assert seen.layout is not None  # label maps are files of their own
    is_known = seen.layout.title not in ("", patterns.GENERIC)
    seen.meaning = labelmaps.meaning(tallies, names, how.void, is_known)
    flaws = [
        labelmaps.unnamed(part.image.tally, seen.meaning) if part.image.tally else part.image.flaw for part in maps
    ]
    seen.bad += [(part.name, flaw) for part, flaw in zip(maps, flaws) if flaw]
    seen.samples = [sample for sample, flaw in zip(seen.samples, flaws) if not flaw]
    seen.sides = [replace(s, images=[sample[i].image for sample in seen.samples]) for i, s in enumerate(seen.sides)]
    if len(sides.paths) == 1:
        parts = {sides.part} if sides.part else set()
    else:
        parts = {f.name for f in (folder.resolve(), folder.resolve().parent) if layout.split_name(f.name)}
    if seen.meaning.coloured and not names and parts:  # otherwise each part would number its colours differently
        lines = "".join(f"\n  class{i} {r} {g} {b}" for i, (r, g, b) in enumerate(seen.meaning.colours))
        raise ValueError(
            f"colours are classes here, and {', '.join(parts)} must number them as the other part does: "
            f"write {labelmaps.NAMES} beside the parts, with a line for each:{lines}"
        )
