"""Two-sided samples from files: pairs in two folders or side by side in one image, and images with label maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from gankit.data.domains import Domains
from gankit.data.pixels import paint
from gankit.data.reading import cache, decoding, labelmaps, layout
from gankit.data.reading.choices import Reading
from gankit.data.reading.depth import Scaling
from gankit.data.reading.files import BadFiles
from gankit.data.reading.folder import enlarged, listing_key, prepare, recalled, reduced, scale_of, write
from gankit.data.reading.patterns import TwoSided
from gankit.data.reading.rows import Rows
from gankit.data.reading.two_sides import Part, Partners, surveyed
from gankit.data.stream import Dataset


def open_pairs(sides: TwoSided, how: Reading) -> Domains:
    """Pairs from files whose names fit together, or from images A|B; decoded into the cache if needed.

    Raises:
        BadFiles: some files cannot be used or have no partner, and `how.skip_bad` is not given.
        ValueError: there are no pairs, or their sizes differ and no resolution is given.
    """
    paths, key = [path.absolute() for path in sides.paths], _key("pairs", sides, how)

    def prepare() -> cache.Prepared:
        with surveyed(sides, how) as seen:
            shapes, deep = _settled(seen, how), seen.scalings(how)

            def work(part: Part, data: bytes) -> np.ndarray:
                if seen.layout is None:
                    scales = [side.scale for side in deep]
                    return decoding.halves(data, shapes[0], how.fit, how.alpha, scales, how.jpeg)
                return decoding.decode(data, shapes[part.side], how.fit, how.alpha, deep[part.side].scale, how.jpeg)

            return _prepared(seen, work, shapes, [_bytes(shape) for shape in shapes], deep, ("pairs", how))

    def again() -> cache.Prepared:
        return recalled([*paths, *(path for path, _ in sides.held_out)], key, prepare, how.skip_bad)

    prepared, name = again(), title(paths)
    rows = Rows(prepared, again, " and ".join(map(str, paths)))
    first, second = (
        _dataset(f"{name}-{side}", rows, shape, part)
        for part, (side, shape) in enumerate(zip("ab", prepared.info["shapes"]))
    )
    first.scale, second.scale = map(scale_of, prepared.info.get("scales") or (None, None))
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
            shape, deep = _settled(seen, how)[0], seen.scalings(how)[:1]

            def work(part: Part, data: bytes) -> np.ndarray:
                if part.side == 0:
                    return decoding.decode(data, shape, how.fit, how.alpha, deep[0].scale, how.jpeg)
                assert seen.meaning is not None  # the second side holds label maps
                return labelmaps.decode(data, seen.meaning, *shape[1:], how.fit)

            return _prepared(seen, work, [shape], [_bytes(shape), shape[1] * shape[2]], deep, ("masks", how))

    def again() -> cache.Prepared:
        beside = [*([names] if names else []), *(path for path, _ in sides.held_out)]
        return recalled([*paths, *beside], key, prepare, how.skip_bad)

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

    keys: list[object] = [part for i, side in enumerate(deep) if side.key for part in (i, *side.key)]
    keys += [part for side, shape in zip(seen.sides, shapes) for part in reduced(side, shape, how)][:1]
    key = cache.key(seen.content(), name, how.size, how.fit, how.alpha, *keys)
    return prepare(key, build, "scales") if any(side.scale for side in deep) else cache.prepare(key, build)


def _dataset(name: str, rows: Rows, shape: list[int], part: int) -> Dataset:
    """One side of prepared samples."""
    fingerprint = f"{rows.prepared.name}-{sum(rows.parts[:part])}"
    return Dataset(name, "images", tuple(shape), rows.count, rows.of(tuple(shape), part), fingerprint)


def _bytes(shape: list[int] | tuple[int, ...]) -> int:
    return int(np.prod(shape))


def _key(kind: str, sides: TwoSided, how: Reading) -> tuple[object, ...]:
    """The options that decide what is prepared, as `listing_key`."""
    names = (str(sides.layout), sides.part) if sides.layout else ()
    return (kind, *listing_key(how), *how.changed("pair", "void"), *names, *map(str, sides.held_out))
