"""Two-sided samples from files: pairs in two folders or side by side in one image, and images with label maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from gankit.data.domains import Domains
from gankit.data.pixels import paint
from gankit.data.reading import cache, decoding, files, labelmaps, layout, patterns
from gankit.data.reading.choices import Reading
from gankit.data.reading.files import BadFiles, File, FileSet
from gankit.data.reading.folder import enlarged, recalled, write
from gankit.data.reading.parts import restricted
from gankit.data.reading.patterns import EQUAL, Half, Layout, TwoSided
from gankit.data.reading.rows import Rows
from gankit.data.reading.survey import Examine, ImageFile, Survey, examine_header, examine_pixels, survey
from gankit.data.stream import Dataset, Size
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
    """

    samples: Sequence[tuple[Part, ...]]
    sides: list[Survey]
    titles: list[str]
    bad: list[tuple[str, str]]
    count: int
    layout: Layout | None = None
    meaning: labelmaps.Meaning | None = None
    warnings: list[str] = field(default_factory=list)

    def content(self) -> str:
        """Hash of everything that is read."""
        digests = [[(part.name, part.image.digest) for part in sample] for sample in self.samples]
        return cache.key(VERSION, digests, self.bad, self.meaning)

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


def open_pairs(sides: TwoSided, how: Reading) -> Domains:
    """Pairs from files whose names fit together, or from images A|B; decoded into the cache if needed.

    Raises:
        BadFiles: some files cannot be used or have no partner, and `how.skip_bad` is not given.
        ValueError: there are no pairs, or their sizes differ and no resolution is given.
    """
    paths, key = [path.absolute() for path in sides.paths], _key("pairs", sides, how)

    def prepare() -> cache.Prepared:
        with surveyed(sides, how) as seen:
            shapes = _settled(seen, how)

            def work(part: Part, data: bytes) -> np.ndarray:
                if seen.layout is None:
                    return decoding.halves(data, shapes[0], how.fit, how.alpha)
                return decoding.decode(data, shapes[part.side], how.fit, how.alpha)

            return _prepared(seen, work, shapes, [_bytes(shape) for shape in shapes], key, how.skip_bad)

    def again() -> cache.Prepared:
        return recalled(paths, key, prepare, how.skip_bad)

    prepared, name = again(), title(paths)
    rows = Rows(prepared, again, " and ".join(map(str, paths)))
    first, second = (
        _dataset(f"{name}-{side}", rows, shape, part)
        for part, (side, shape) in enumerate(zip("ab", prepared.info["shapes"]))
    )
    first.skipped = [tuple(pair) for pair in prepared.info["skipped"]]
    return Domains(name, first, second, kind="pairs", notes=prepared.info["warnings"])


def open_masks(sides: TwoSided, how: Reading) -> Dataset:
    """Images and their label maps from files whose names fit together; decoded into the cache if needed.

    Raises:
        BadFiles: some files cannot be used or have no partner, and `how.skip_bad` is not given.
        ValueError: there are none, their sizes differ and no resolution is given, or the label maps hold no classes.
    """
    paths, key = [path.absolute() for path in sides.paths], _key("masks", sides, how)
    names = labelmaps.names_file(paths[-1])

    def prepare() -> cache.Prepared:
        with surveyed(sides, how) as seen:
            shape = _settled(seen, how)[0]

            def work(part: Part, data: bytes) -> np.ndarray:
                if part.side == 0:
                    return decoding.decode(data, shape, how.fit, how.alpha)
                assert seen.meaning is not None  # the second side holds label maps
                return labelmaps.decode(data, seen.meaning, *shape[1:], how.fit)

            return _prepared(seen, work, [shape], [_bytes(shape), shape[1] * shape[2]], key, how.skip_bad)

    def again() -> cache.Prepared:
        return recalled([*paths, *([names] if names else [])], key, prepare, how.skip_bad)

    prepared = again()
    shape, info = prepared.info["shapes"][0], prepared.info
    rows = Rows(prepared, again, " and ".join(map(str, paths)))
    dataset = _dataset(title(paths), rows, shape, 0)
    dataset.kind, dataset.masks = "masks", rows.of(tuple(shape[1:]), 1)
    dataset.class_names, dataset.colours = info["meaning"]["names"], np.array(info["meaning"]["colours"], np.uint8)
    dataset.skipped, dataset.warnings = [tuple(pair) for pair in info["skipped"]], info["warnings"]
    return dataset


def painted(dataset: Dataset) -> Domains:
    """Images and their label maps as pairs: a is the map in the colours of the classes, b the image."""
    masks, colours = dataset.masks, dataset.colours
    assert masks is not None and colours is not None  # `open_masks` sets both

    def read(numbers: np.ndarray) -> np.ndarray:
        return paint(torch.from_numpy(masks(numbers)), colours).numpy()

    a = Dataset(
        f"{dataset.name}-maps", "images", (3, *dataset.shape[1:]), len(dataset), read, f"{dataset.fingerprint}-maps"
    )
    b = replace(dataset, kind="images", masks=None, colours=None, class_names=[], warnings=[])
    return Domains(
        dataset.name,
        a,
        b,
        kind="pairs",
        notes=["A is the label map in the colours of its classes, B the image.", *dataset.warnings],
    )


@contextmanager
def surveyed(sides: TwoSided, how: Reading, decode: bool = False) -> Iterator[Partners]:
    """The samples of files whose names fit together, or of images A|B.

    Args:
        sides: where they are.
        how: of label maps, which value is void.
        decode: also decode pixels, to find images that cannot be used (`ImageFile.flaw`).

    Raises:
        ValueError: a side holds no images, no two names fit together, or the label maps hold no classes.
    """
    paths, maps = [path.absolute() for path in sides.paths], sides.kind == "masks"
    with ExitStack() as stack:
        sources = [files.kept(stack.enter_context(files.open_files(path))) for path in paths]
        if sides.parts and (sides.part or sides.parts.of):
            sources = [restricted(sources[0], sides.parts, sides.part, maps=True)]
        examine = examine_pixels if decode else examine_header
        if len(paths) == 1 and sides.layout is None:
            yield _side_by_side(sources[0], examine)
            return
        names = [path.resolve().name for path in paths]
        titles = names if len({*names}) == 2 else ["/".join(path.resolve().parts[-2:]) for path in paths]
        layout, halves, notes = patterns.halves(sources, titles, sides.kind, sides.layout)
        seen = []
        for side, half in enumerate(halves):
            look = labelmaps.examine if maps and side == 1 else examine
            with _titled(half.title):
                seen.append(survey(half.source, look, with_metadata=False))
        partners = _matched(layout, halves, seen, notes)
        partners.bad += sources[0].missing if len(paths) == 1 else ()
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


@contextmanager
def _titled(title: str) -> Iterator[None]:
    """Put the name of a side in front of the message of a ValueError inside."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{title}: {error}" if title else str(error)) from error


def title(paths: list[Path]) -> str:
    """A short name of the data: the name of the folder that holds both sides, or the names of both folders."""
    roots = []
    for root in (path.resolve() for path in paths):
        while layout.is_parted(root.name) and root != root.parent:
            root = root.parent
        roots.append(root)
    if len(paths) == 2 and roots[0] != roots[1]:
        return "-".join(root.name.partition(".")[0] for root in roots)
    return roots[0].name.partition(".")[0] or "pairs"


def _side_by_side(source: FileSet, examine: Examine) -> Partners:
    """The samples in images A|B, which are cut in the middle."""
    seen = survey(source, examine, with_metadata=False)
    bad, good = list(seen.bad), []
    for image in seen.images:
        height, width = image.header.height, image.header.width
        if width % 2:
            bad.append((shown(image.name), f"{height}x{width} (height x width): halves of an odd width are unequal"))
        else:
            good.append(image._replace(header=image.header._replace(width=width // 2)))
    if good and all(image.header.width * 2 <= image.header.height for image in good):
        size = f"{good[0].header.height}x{good[0].header.width * 2}"
        raise ValueError(
            f"no image is wider than high (the first is {size}), so these are no pairs side by side. {HOW}"
        )
    half = replace(seen, images=good)
    samples = [(Part(0, image, shown(image.name), source.read),) for image in good]
    notes = ["Each image is cut in the middle: its left half is A, its right half B.", *seen.warnings]
    return Partners(samples, [half, half], ["A", "B"], bad, len(seen.names), warnings=notes)


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


def _settled(seen: Partners, how: Reading) -> list[tuple[int, int, int]]:
    """The shapes of both sides. Bad files are reported before a missing resolution."""
    try:
        return seen.shapes(how.size, how.alpha)
    except ValueError:
        if seen.bad and not how.skip_bad:
            raise BadFiles(seen.bad, seen.count) from None
        raise


def _prepared(
    seen: Partners,
    work: Callable[[Part, bytes], np.ndarray],
    shapes: list[tuple[int, int, int]],
    parts: list[int],
    key: tuple[object, ...],
    skip_bad: bool,
) -> cache.Prepared:
    """Decode every sample into the cache, one side after the other."""

    def build(out: Path) -> dict:
        size = "x".join(map(str, shapes[0][1:]))
        good, flaws = write(out, seen.samples, lambda part: part.read(part.image.file), work, size, sum(parts))
        bad = seen.bad + [(part.name, reason) for part, reason in flaws]
        if bad and not (skip_bad and good):
            raise BadFiles(bad, seen.count)
        notes = seen.warnings + enlarged(seen.sides[0], shapes[0])
        meaning = asdict(replace(seen.meaning, table={})) if seen.meaning else None
        return dict(
            count=len(good), parts=parts, files=seen.count, shapes=shapes, skipped=bad, warnings=notes, meaning=meaning
        )

    return cache.prepare(cache.key(seen.content(), *key), build)


def _dataset(name: str, rows: Rows, shape: list[int], part: int) -> Dataset:
    """One side of prepared samples."""
    fingerprint = f"{rows.prepared.name}-{sum(rows.parts[:part])}"
    return Dataset(name, "images", tuple(shape), rows.count, rows.of(tuple(shape), part), fingerprint)


def _key(kind: str, sides: TwoSided, how: Reading) -> tuple[object, ...]:
    """The part of the cache's keys that says how files become samples."""
    names = (str(sides.layout), sides.part) if sides.layout else ()
    return (kind, how.size, how.fit, how.alpha, *how.changed("pair", "void"), *names)


def _bytes(shape: list[int] | tuple[int, ...]) -> int:
    return int(np.prod(shape))
