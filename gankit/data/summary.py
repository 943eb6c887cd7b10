"""A description of a data set, to read before training: counts, sizes, classes, problems; and a contact sheet."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np

from gankit.data import captions, published
from gankit.data.domains import Domains
from gankit.data.locating import Located, locate
from gankit.data.lookup import KINDS, held_out_paths, open_as, split, two_sided, unseen_of
from gankit.data.naming import find, named, part_in, plus
from gankit.data.reading import decoding, files, forecast
from gankit.data.reading.choices import Alpha, Reading
from gankit.data.reading.depth import scaling
from gankit.data.reading.folder import source_of
from gankit.data.reading.huggingface import allow_downloads
from gankit.data.reading.patterns import TwoSided
from gankit.data.reading.survey import examine_pixels, metadata_of, survey
from gankit.data.reading.two_sides import surveyed
from gankit.data.reading.vectors import is_vectors
from gankit.data.shards import sharded
from gankit.data.shards.spelling import is_sharded
from gankit.data.stream import Dataset, Division
from gankit.data.union import Union
from gankit.disk import amount
from gankit.text import shown

ATTRIBUTES = 100  # attributes that are listed; the others are only counted
MAPS = 1000  # label maps of a built-in set whose pixels are counted


@dataclass
class Report:
    """What would be read from a data set; `print` it, or use its fields.

    Args:
        name: as typed.
        kind: "images", "points", "vectors", "domains", "pairs" or "masks".
        count: usable samples.
        shape: of each sample as it would be read; None if a resolution must be chosen.
        other: shape of the other side of each pair.
        bytes: size of the files.
        sizes: number of images of each height x width.
        modes: number of images of each of Pillow's modes.
        classes: number of samples of each class.
        captions: number of texts.
        attributes: mean of each attribute.
        pixels: of label maps, the share of each class, and of void.
        bad: unusable files with the reason.
        copies: groups of files with equal content.
        warnings: in plain sentences.
        title: heading of the list of classes.
        division: how the data is divided into parts; None where it is not.
        shared: images that are left out, as held-out ones are exact copies of them, each with its copy.
    """

    name: str
    kind: str
    count: int
    shape: tuple[int, ...] | None
    other: tuple[int, ...] = ()
    bytes: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    classes: dict[str, int] = field(default_factory=dict)
    captions: int = 0
    attributes: dict[str, float] = field(default_factory=dict)
    pixels: dict[str, float] = field(default_factory=dict)
    bad: list[tuple[str, str]] = field(default_factory=list)
    copies: list[list[str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    title: str = "classes"
    division: Division | None = None
    shared: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        kind = "images of two domains" if self.kind == "domains" else KINDS.get(self.kind, self.kind)
        lines = [f"{shown(self.name)}: {self.count:,} {kind}" + f", {amount(self.bytes)} of files" * (self.bytes > 0)]
        if self.division:
            lines.append(f"  parts: {self.division}")
        for title, counts in (("height x width", self.sizes), ("modes", self.modes), (self.title, self.classes)):
            if counts:
                first = ", ".join(f"{shown(name)} ({n:,})" for name, n in islice(counts.items(), 12))
                lines.append(f"  {title}: {first}" + f" and {len(counts) - 12} more" * (len(counts) > 12))
        if self.captions:
            lines.append(f"  captions: {self.captions:,}")
        if self.attributes:
            means = files.listed(
                (f"{shown(name)} {mean:.3g}" for name, mean in self.attributes.items()),
                len(self.attributes),
                ATTRIBUTES,
            )
            lines.append(f"  attributes, each with its mean: {', '.join(means)}")
        if self.pixels:
            shares = [f"{shown(name)} {share:.1%}" for name, share in self.pixels.items()]
            lines.append(f"  classes, each with its share of the pixels: {', '.join(shares)}")
        if self.shape:
            mask = int(np.prod(self.shape[1:])) if self.kind == "masks" else 0
            values = int(np.prod(self.shape)) + int(np.prod(self.other or 0)) + mask
            size = self.count * values * (1 if self.kind in KINDS else 4)
            shapes = [" x ".join(map(str, shape)) for shape in (self.shape, self.other) if shape]
            lines.append(f"  read as: {' and '.join(shapes)} each, {amount(size)} in all")
        bad = files.listed((f"{name}: {reason}" for name, reason in self.bad), len(self.bad))
        copies = files.listed((", ".join(files.listed(names, len(names))) for names in self.copies), len(self.copies))
        shared = files.listed((f"{name} is {copy}" for name, copy in self.shared), len(self.shared))
        notes = files.listed(self.warnings, len(self.warnings))
        for title, entries in (
            ("cannot be used", bad),
            ("copies", copies),
            ("copies of held-out images", shared),
            ("note", notes),
        ):
            lines += [f"  {title}: {entry}" for entry in entries]
        return "\n".join(lines)


def describe(name: str | Path, resolution: int | str | None = None, alpha: str = "white", want: str = "") -> Report:
    """Describe a data set. Every image is decoded; unusable files are listed and raise no error.

    Raises:
        ValueError: there is no such data, or nothing in it can be read.
        OSError: it cannot be read.
    """
    with allow_downloads():
        return describe_as(name, Reading(str(resolution or ""), alpha=cast("Alpha", alpha)), want)


def describe_as(name: str | Path, how: Reading, want: str = "") -> Report:
    """`describe` with the options of reading in one object; raises as it."""
    name = published.located(name)
    path = find(name)
    with named(name):
        if is_sharded(name, path):
            return _sharded(str(name), path, replace(how, split=part_in(name) or how.split))
        located = None if path is None or is_vectors(path) else locate(name, path, how.split)
    report = _described(name, path, located, how, want)
    report.division = located and located.division(how.held_out)
    return report


def _described(name: str | Path, path: Path | None, located: Located | None, how: Reading, want: str) -> Report:
    """Describe a data set whose files are located, if it has any."""
    sides = located.two_sided(want, how.pair) if located else two_sided(name, want, how)
    if sides:
        held_out = unseen_of(name, located, how) if located else how.held_out
        report = _two_sided(str(name), sides._replace(held_out=held_out_paths(held_out)), how, want)
        if want == "pairs" and report.shape and report.kind == "masks":  # read as the coloured map, and the image
            report.kind, report.shape, report.other = "pairs", (3, *report.shape[1:]), report.shape
        return report
    if parts := located.domains() if located else split(name):
        how = replace(how, split="", held_out=unseen_of(name, located, how)) if located else how
        sets = [describe_as(part, how.side(i)) for i, part in enumerate(parts)]
        return _together(str(name), "domains", list("AB"), sets)
    if names := plus(name):
        reports = [describe_as(part, how.side(i)) for i, part in enumerate(names)]
        joined = open_as(name, replace(how, skip_bad=True))
        assert isinstance(joined, Union)  # the name has a plus
        return _together(str(name), "images", [dataset.name for dataset in joined.sets], reports)
    if path is None or located is None:
        dataset = open_as(name, how, want=want)
        assert not isinstance(dataset, Union)  # the name has no plus
        return _opened(dataset, str(name), os.path.getsize(path) if path else 0)
    return _images(str(name), located, how, want)


def _sharded(name: str, path: Path | None, how: Reading) -> Report:
    """Describe images in shards from their index, without reading them again."""
    seen = sharded.look(name, path, how)
    notes, shape = list(seen.notes), None
    try:
        shape = sharded.shape_of(seen, how)
    except ValueError as error:
        notes.append(str(error))
    index, counts = seen.index, Counter(seen.index.labels)
    return Report(
        name=name,
        kind="images",
        count=index.count,
        shape=shape,
        bytes=sum(shard.size for shard in index.found),
        sizes={f"{h}x{w}": n for (h, w), n in seen.seen.sizes().most_common()},
        modes=dict(Counter(image.header.mode for image in seen.seen.images).most_common()),
        classes={title: counts[i] for i, title in enumerate(index.class_names)},
        captions=sum(bool(text) for text in index.captions),
        bad=[(shard, reason) for shard, reason in index.bad],
        warnings=notes,
    )


def _opened(dataset: Dataset | Domains, name: str, size: int) -> Report:
    """Describe a built-in data set, or vectors from a file of this size in bytes."""
    if isinstance(dataset, Domains):
        counts = {"A": len(dataset.a), "B": len(dataset.b)} if dataset.kind == "domains" else {}
        shapes = dataset.shape, dataset.other
        return Report(name, dataset.kind, len(dataset), *shapes, classes=counts, title="domains")
    labels = Counter[int](() if dataset.labels is None else dataset.labels.tolist())
    return Report(
        name=name,
        kind=dataset.kind,
        count=len(dataset),
        shape=dataset.shape,
        bytes=size,
        classes={} if dataset.masks else {title: labels[i] for i, title in enumerate(dataset.class_names)},
        captions=len(dataset.captions or []),
        attributes=_means(dataset.attribute_names, dataset.attributes),
        pixels=_shares(dataset.class_names, _counted(dataset)),
    )


def _images(name: str, located: Located, how: Reading, want: str) -> Report:
    """Describe the images in a folder or archive."""
    how = replace(how, split=located.part)
    with named(name), ExitStack() as stack:
        source = source_of(stack, located.path, how, held_out_paths(how.held_out))
        images = [file for file in source.files if file.name in source.pages or decoding.is_image(file.name)]
        forecast.announce(
            images, source.read, lambda _, data: decoding.check(data), anywhere=source.threaded, what="checking"
        )
        seen = survey(source, examine_pixels, how=how, want=want, place=located.path)
    notes = [*seen.warnings, *scaling(seen.depths[0], how).notes]
    try:
        shape = seen.shape(how.size, how.alpha)
    except ValueError as error:
        shape = None
        notes.append(str(error))
    usable = [image.name for image in seen.images if not image.flaw]
    with named(name):
        metadata = metadata_of(seen, usable)
    bad_texts = seen.bad_texts() if want == "captions" else {}
    texts = [captions.missing(text_name, bad_texts) for text_name in bad_texts]
    counts = Counter(metadata.labels)
    return Report(
        name=name,
        kind="images",
        count=len(usable),
        shape=shape,
        bytes=sum(image.file.size for image in seen.images),
        sizes={f"{h}x{w}": n for (h, w), n in seen.sizes().most_common()},
        modes=dict(Counter(image.header.mode for image in seen.images).most_common()),
        classes={title: counts[i] for i, title in enumerate(metadata.class_names)},
        captions=len(metadata.captions),
        attributes=_means(metadata.attribute_names, metadata.attributes),
        bad=seen.bad + [(shown(image.file.name), image.flaw) for image in seen.images if image.flaw] + texts,
        copies=seen.copies(),
        warnings=notes + metadata.warnings,
        shared=seen.shared,
    )


def facts(dataset: Dataset | Domains | Union) -> list[str]:
    """What a user should know of a data set before training, in plain sentences: parts, classes and notes."""
    lines = []
    if not isinstance(dataset, Union) and dataset.division:
        lines.append(f"{dataset.name}: {dataset.division}.")
    if isinstance(dataset, Dataset) and dataset.labels is not None and dataset.class_names:
        counts = np.bincount(dataset.labels, minlength=dataset.num_classes).tolist()
        names = (f"{shown(name)} {count:,}" for name, count in zip(dataset.class_names, counts))
        lines.append(f"{dataset.num_classes} classes: {', '.join(files.listed(names, dataset.num_classes, 10))}.")
    return [*lines, *dataset.warnings]


def _two_sided(name: str, sides: TwoSided, how: Reading, want: str) -> Report:
    """Describe pairs, or images with label maps."""
    with named(name), surveyed(sides, how, decode=True) as seen:
        parts = [part for sample in seen.samples for part in sample]
    flaws = {part.name: part.image.flaw for part in parts if part.image.flaw}
    notes = seen.warnings + seen.deep_notes(seen.scalings(how.side(want == "pairs") if seen.meaning else how))
    other: tuple[int, ...] = ()
    try:
        shape, other = seen.shapes(how.size, how.alpha)
    except ValueError as error:
        shape = None
        notes.append(str(error))
    return Report(
        name=name,
        kind=sides.kind,
        count=sum(not any(part.name in flaws for part in sample) for sample in seen.samples),
        shape=shape,
        other=other if sides.kind == "pairs" else (),
        bytes=sum(part.image.file.size for part in parts),
        sizes={f"{h}x{w}": n for (h, w), n in seen.sides[0].sizes().most_common()},
        modes=dict(Counter(part.image.header.mode for part in parts).most_common()),
        pixels=_shares(seen.meaning.names, seen.meaning.counts) if seen.meaning else {},
        bad=seen.bad + list(flaws.items()),
        warnings=notes,
        shared=seen.shared,
    )


def _together(name: str, kind: str, titles: list[str], parts: list[Report]) -> Report:
    """Describe two domains, or joined sets, as one data set."""
    sizes, modes, bad, copies, notes = Counter[str](), Counter[str](), [], [], []
    attributes: dict[str, float] = {}
    for title, part in zip(titles, parts):
        sizes.update(part.sizes)
        modes.update(part.modes)
        bad += [(f"{title}: {file}", reason) for file, reason in part.bad]
        copies += part.copies
        notes += [f"{title}: {warning}" for warning in part.warnings]
        classes = {key: n / max(1, part.count) for key, n in part.classes.items()}
        attributes |= {f"{title}: {key}": mean for key, mean in (part.attributes or classes).items()}
    return Report(
        name=name,
        kind=kind,
        count=sum(part.count for part in parts),
        shape=parts[0].shape,
        bytes=sum(part.bytes for part in parts),
        sizes=dict(sizes.most_common()),
        modes=dict(modes.most_common()),
        classes={title: part.count for title, part in zip(titles, parts)},
        attributes={} if kind == "domains" else attributes,
        bad=bad,
        copies=copies,
        warnings=notes,
        title=kind if kind == "domains" else "joined sets",
    )


def _means(names: list[str], values: np.ndarray | list[list[float]] | None) -> dict[str, float]:
    """The mean of each attribute, by its name."""
    if not names or values is None or not len(values):
        return {}
    return dict(zip(names, np.asarray(values, np.float64).mean(0).tolist()))


def _counted(dataset: Dataset) -> list[int]:
    """Pixels of each class in the first label maps, and then of void; none without label maps."""
    if dataset.masks is None:
        return []
    maps = dataset.masks(np.arange(min(MAPS, len(dataset))))
    counts = np.bincount(maps.ravel(), minlength=256)
    return [*counts[: dataset.num_classes].tolist(), int(counts[255])]


def _shares(names: list[str], counts: list[int]) -> dict[str, float]:
    """The share of each class in all pixels, and of void, counted last, if there is any."""
    whole = max(1, sum(counts))
    return {name: n / whole for name, n in zip([*names, "void"], counts) if n or name != "void"}
