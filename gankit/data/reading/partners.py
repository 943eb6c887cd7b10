"""Two-sided samples from files: pairs in two folders or side by side in one image, and images with label maps."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from gankit.data.domains import Domains
from gankit.data.pixels import paint
from gankit.data.reading import cache, decoding, files, labelmaps, layout
from gankit.data.reading.choices import Reading
from gankit.data.reading.depth import Scaling, scaling
from gankit.data.reading.files import BadFiles, File, FileSet
from gankit.data.reading.folder import enlarged, listing_key, prepare, recalled, scale_of, write
from gankit.data.reading.frames import PAGE, expanded
from gankit.data.reading.metadata import canonical
from gankit.data.reading.rows import Rows
from gankit.data.reading.survey import (
    Examine,
    ImageFile,
    Survey,
    examine_halves,
    examine_header,
    examine_map,
    examine_pixels,
    survey,
)
from gankit.data.reading.workers import kept
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
        meaning: the classes of label maps; None without label maps.
        warnings: what a user should know, in plain sentences.
    """

    samples: Sequence[tuple[Part, ...]]
    sides: list[Survey]
    titles: list[str]
    bad: list[tuple[str, str]]
    count: int
    meaning: labelmaps.Meaning | None = None
    warnings: list[str] = field(default_factory=list)

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


def open_pairs(paths: list[Path], how: Reading) -> Domains:
    """Pairs from two folders or archives with equal names, or from images A|B; decoded into the cache if needed.

    Raises:
        BadFiles: some files cannot be used or have no partner, and `how.skip_bad` is not given.
        ValueError: there are no pairs, or their sizes differ and no resolution is given.
    """
    paths, key = [path.absolute() for path in paths], ("pairs", *listing_key(how))

    def prepare() -> cache.Prepared:
        with surveyed(paths, how) as seen:
            shapes, deep = _settled(seen, how), seen.scalings(how)

            def work(part: Part, data: bytes) -> np.ndarray:
                if len(paths) == 1:
                    return decoding.halves(data, shapes[0], how.fit, how.alpha, [side.scale for side in deep])
                return decoding.decode(data, shapes[part.side], how.fit, how.alpha, deep[part.side].scale)

            return _prepared(seen, work, shapes, [_bytes(shape) for shape in shapes], deep, ("pairs", how))

    def again() -> cache.Prepared:
        return recalled(paths, key, prepare, how.skip_bad)

    prepared, name = again(), title(paths)
    rows = Rows(prepared, again, " and ".join(map(str, paths)))
    first, second = (
        _dataset(f"{name}-{side}", rows, shape, part)
        for part, (side, shape) in enumerate(zip("ab", prepared.info["shapes"]))
    )
    first.scale, second.scale = map(scale_of, prepared.info.get("scales") or (None, None))
    first.skipped = [tuple(pair) for pair in prepared.info["skipped"]]
    return Domains(name, first, second, kind="pairs", notes=prepared.info["warnings"])


def open_masks(paths: list[Path], how: Reading) -> Dataset:
    """Images and their label maps from two folders with equal names; decoded into the cache if needed.

    Raises:
        BadFiles: some files cannot be used or have no partner, and `how.skip_bad` is not given.
        ValueError: there are none, their sizes differ and no resolution is given, or the label maps hold no classes.
    """
    paths, key = [path.absolute() for path in paths], ("masks", *listing_key(how))
    names = labelmaps.names_file(paths[1])

    def prepare() -> cache.Prepared:
        with surveyed(paths, how, maps=True) as seen:
            shape, deep = _settled(seen, how)[0], seen.scalings(how)[:1]

            def work(part: Part, data: bytes) -> np.ndarray:
                if part.side == 0:
                    return decoding.decode(data, shape, how.fit, how.alpha, deep[0].scale)
                assert seen.meaning is not None  # the second side holds label maps
                return labelmaps.decode(data, seen.meaning, *shape[1:], how.fit)

            return _prepared(seen, work, [shape], [_bytes(shape), shape[1] * shape[2]], deep, ("masks", how))

    def again() -> cache.Prepared:
        return recalled([*paths, *([names] if names else [])], key, prepare, how.skip_bad)

    prepared = again()
    shape, info = prepared.info["shapes"][0], prepared.info
    rows = Rows(prepared, again, " and ".join(map(str, paths)))
    dataset = _dataset(title(paths), rows, shape, 0)
    dataset.kind, dataset.masks = "masks", rows.of(tuple(shape[1:]), 1)
    dataset.class_names, dataset.colours = info["meaning"]["names"], np.array(info["meaning"]["colours"], np.uint8)
    dataset.skipped, dataset.warnings = [tuple(pair) for pair in info["skipped"]], info["warnings"]
    dataset.scale = scale_of((info.get("scales") or [None])[0])
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
def surveyed(paths: list[Path], how: Reading, maps: bool = False, decode: bool = False) -> Iterator[Partners]:
    """The samples of two folders or archives with equal names, or of one with images A|B.

    Args:
        paths: of both sides, or of the folder with images A|B.
        how: the options of reading.
        maps: whether the second side holds label maps.
        decode: also decode pixels, to find images that cannot be used (`ImageFile.flaw`).

    Raises:
        ValueError: one holds no images, no two names are equal, or the label maps hold no classes.
    """
    with ExitStack() as stack:
        opened = [stack.enter_context(files.open_files(path)) for path in paths]
        sources = [kept(expanded(source, how.frames)) for source in opened]
        examine = examine_pixels if decode else examine_header
        if len(paths) == 1:
            yield _side_by_side(sources[0], examine)
            return
        names = [path.resolve().name for path in paths]
        titles = names if names[0] != names[1] else ["/".join(path.resolve().parts[-2:]) for path in paths]
        seen = []
        for side, (name, source) in enumerate(zip(titles, sources)):
            try:
                seen.append(survey(source, examine_map if maps and side == 1 else examine, with_metadata=False))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        partners = _matched(titles, sources, seen)
        if maps:
            _find_classes(partners, paths[1])
        notes = [f"{name}: {text}" for name, side in zip(titles, seen[: 1 if maps else 2]) for text in side.warnings]
        partners.warnings = (partners.meaning.warnings if partners.meaning else []) + notes
        yield partners


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
    seen = survey(source, partial(examine_halves, examine), with_metadata=False)
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
    halves = [replace(seen, images=good, depths=(depth,)) for depth in seen.depths[:2]]
    samples = [(Part(0, image, shown(image.name), source.read),) for image in good]
    notes = ["Each image is cut in the middle: its left half is A, its right half B.", *seen.warnings]
    return Partners(samples, halves, ["A", "B"], bad, len(seen.names), warnings=notes)


def _matched(titles: list[str], sources: list[FileSet], seen: list[Survey]) -> Partners:
    """Samples of files whose names differ only in the ending; files without a partner of the same shape are bad."""
    stems = [Counter(map(_stem, side.names)) for side in seen]
    if not stems[0].keys() & stems[1].keys():
        a, b = (f"{title}/{shown(side.names[0])}" for title, side in zip(titles, seen))
        raise ValueError(
            f"no file of {titles[0]} is called like one of {titles[1]} but for the ending: {a}, {b}. "
            "Rename them so that partners have equal names"
        )
    usable = [{_stem(image.name): image for image in side.images} for side in seen]
    bad = [(f"{title}/{name}", reason) for title, side in zip(titles, seen) for name, reason in side.bad]
    samples = []
    for side, other in ((0, 1), (1, 0)):
        for image in seen[side].images:
            stem, name = _stem(image.name), f"{titles[side]}/{shown(image.name)}"
            partner = usable[other].get(stem)
            if stems[side][stem] > 1:
                bad.append((name, "another file is called like it but for the ending"))
            elif stem not in stems[other]:
                bad.append((name, f"has no partner in {titles[other]}"))
            elif partner and stems[other][stem] == 1 and side == 0:
                (h, w), (high, wide) = image.header[:2], partner.header[:2]
                if h * wide != high * w:
                    bad.append((name, f"is {h}x{w} (height x width) and its partner in {titles[other]} {high}x{wide}"))
                    continue
                first = Part(0, image, name, sources[0].read)
                second = Part(1, partner, f"{titles[1]}/{shown(partner.name)}", sources[1].read)
                samples.append((first, second))
    sides = [replace(side, images=[sample[i].image for sample in samples]) for i, side in enumerate(seen)]
    return Partners(samples, sides, titles, bad, sum(len(side.names) for side in seen))


def _find_classes(seen: Partners, folder: Path) -> None:
    """Set the classes of the label maps in a folder. Unusable maps are added to `bad`, and their samples removed.

    Raises:
        ValueError: the maps hold no classes, or colours whose classes depend on the part of the data.
    """
    path = labelmaps.names_file(folder)
    names = labelmaps.read_names(path) if path else []
    maps = [sample[1] for sample in seen.samples]
    tallies = [part.image.tally for part in maps if part.image.tally]
    if not tallies:
        raise BadFiles(seen.bad + [(part.name, part.image.flaw) for part in maps], seen.count)
    seen.meaning = labelmaps.meaning(tallies, names)
    flaws = [
        labelmaps.unnamed(part.image.tally, seen.meaning) if part.image.tally else part.image.flaw for part in maps
    ]
    seen.bad += [(part.name, flaw) for part, flaw in zip(maps, flaws) if flaw]
    seen.samples = [sample for sample, flaw in zip(seen.samples, flaws) if not flaw]
    seen.sides = [replace(s, images=[sample[i].image for sample in seen.samples]) for i, s in enumerate(seen.sides)]
    parts = {f.name for f in (folder.resolve(), folder.resolve().parent) if layout.split_name(f.name)}
    if seen.meaning.coloured and not path and parts:  # otherwise each part would number its colours differently
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
    deep: list[Scaling],
    kind: tuple[str, Reading],
) -> cache.Prepared:
    """Decode every sample into the cache, one side after the other."""
    name, how = kind

    def build(out: Path) -> dict:
        size = "x".join(map(str, shapes[0][1:]))
        good, flaws = write(out, seen.samples, lambda part: part.read(part.image.file), work, size, sum(parts))
        bad = seen.bad + [(part.name, reason) for part, reason in flaws]
        if bad and not (how.skip_bad and good):
            raise BadFiles(bad, seen.count)
        notes = seen.warnings + seen.deep_notes(deep) + enlarged(seen.sides[0], shapes[0])
        meaning = asdict(replace(seen.meaning, table={})) if seen.meaning else None
        return dict(
            count=len(good),
            parts=parts,
            files=seen.count,
            shapes=shapes,
            skipped=bad,
            warnings=notes,
            meaning=meaning,
            scales=[side.scale for side in deep],
        )

    keys = [part for i, side in enumerate(deep) if side.key for part in (i, *side.key)]
    key = cache.key(seen.content(), name, how.size, how.fit, how.alpha, *keys)
    return prepare(key, build, "scales") if any(side.scale for side in deep) else cache.prepare(key, build)


def _dataset(name: str, rows: Rows, shape: list[int], part: int) -> Dataset:
    """One side of prepared samples."""
    fingerprint = f"{rows.prepared.name}-{sum(rows.parts[:part])}"
    return Dataset(name, "images", tuple(shape), rows.count, rows.of(tuple(shape), part), fingerprint)


def _bytes(shape: list[int] | tuple[int, ...]) -> int:
    return int(np.prod(shape))


def _stem(name: str) -> str:
    """The name without its ending; pages keep their number."""
    page = PAGE.search(name)
    return canonical(os.path.splitext(name)[0]) + (page[0] if page else "")
