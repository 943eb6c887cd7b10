"""Folders, zips and tars of images: surveyed, decoded once into bytes of one shape, then read from the cache."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from gankit.data.reading import cache, decoding, files, forecast, ondemand, volumes
from gankit.data.reading.beside import outside
from gankit.data.reading.choices import TYPE, Reading, Scale
from gankit.data.reading.depth import Scaling, scaling
from gankit.data.reading.draft import Draft, Row
from gankit.data.reading.files import BadFiles, FileSet
from gankit.data.reading.frames import expanded
from gankit.data.reading.parts import Parts, find, of_part, restricted
from gankit.data.reading.rows import Rows
from gankit.data.reading.survey import ImageFile, Survey, metadata_of, survey
from gankit.data.reading.workers import each, kept
from gankit.data.stream import Dataset
from gankit.disk import require_space
from gankit.text import shown

VERSION_OF_PARTS = 1  # part of the keys of data with parts: increase it when files are assigned in another way
VERSION = 2  # part of the cache's keys: increase it when the same files are prepared in another way
T = TypeVar("T")


def open_folder(
    path: Path, how: Reading, parts: Parts, held_out: Sequence[tuple[Path, str]] = (), want: str = ""
) -> Dataset:
    """The images of the part `how.split` below a folder or in an archive, decoded into the cache if they are not there.

    Args:
        path: the folder or archive.
        how: the options of reading.
        parts: the parts of its files.
        held_out: folders and archives whose images are left out by their content, with the part of each, or "".
        want: "captions" also reads captions that lie apart from the images.

    Raises:
        BadFiles: some files cannot be used, and `how.skip_bad` is not given.
        ValueError: there are no images, their sizes differ and no resolution is given, or the metadata is wrong.
    """
    here, unseen = path.absolute(), [(path.absolute(), part) for path, part in held_out]
    typed = how.changed("labels", "captions", "no_table", "skip_bad")
    beside = *typed, *outside(here, how), *[want] * (want == "captions")

    def again(*also: str) -> cache.Prepared:
        key = *listing_key(how), *(("parts", VERSION_OF_PARTS, how.split) if parts.of else ())
        key += *how.changed("held_out"), *beside, *also
        paths = [here, *(path for path, _ in unseen)]
        return recalled(paths, key, lambda: _prepare(here, how, unseen, want), how.skip_bad)

    prepared = again()
    if prepared.info.get("on_demand"):
        count, shape = prepared.info["count"], tuple(prepared.info["shape"])
        is_prepared = cache.find(prepared.info["fingerprint"])
        if not is_prepared and ondemand.too_large(count, shape, how.cache_bytes):
            return _decoded(here, prepared, how)
        again = partial(again, "prepared")  # there was no space for it before
        prepared = again()
    info = prepared.info
    return _dataset(path, info, Rows(prepared, again, str(path)).of(tuple(info["shape"])), prepared.name)


def _dataset(path: Path, info: dict, read: Callable[[np.ndarray], np.ndarray], fingerprint: str) -> Dataset:
    """The images of a path with what is known of them."""
    return Dataset(
        name=(path.resolve().name if path.is_dir() else path.name.partition(".")[0]) or "images",
        kind="images",
        shape=tuple(info["shape"]),
        size=info["count"],
        read=read,
        fingerprint=fingerprint,
        labels=np.array(info["labels"], np.int64) if info["labels"] else None,
        class_names=info["class_names"],
        attributes=np.array(info["attributes"], np.float32) if info["attributes"] else None,
        attribute_names=info["attribute_names"],
        captions=info["captions"] or None,
        names=info["names"],
        scale=scale_of(info.get("scale")),
        skipped=[tuple(pair) for pair in info["skipped"]],
        warnings=info["warnings"],
        faults=info.get("faults", {}),
        bad_texts={name: (file, reason) for name, (file, reason) in info.get("bad_texts", {}).items()},
    )


def listing_key(how: Reading) -> tuple[object, ...]:
    """The options that decide what is prepared from files; those that are found from the files are not known yet."""
    scales = () if how.range == TYPE else ("scales", how.range)
    jpeg = ("jpeg",) * (how.jpeg == "scaled" and how.size is not None)
    return how.size, how.fit, how.alpha, *scales, *jpeg, *how.changed("frames"), *volumes.installed()


def reduced(seen: Survey, shape: tuple[int, int, int], how: Reading) -> tuple[str, ...]:
    """A part of the cache's key for images of which some are decoded at a smaller size; others stay as they were."""
    return ("jpeg",) if any(image.header.reduced(shape, how.fit, how.jpeg) > 1 for image in seen.images) else ()


def prepare(name: str, build: Callable[[Path], dict], fact: str) -> cache.Prepared:
    """`cache.prepare`, again where this fact is missing in the info, which an older version wrote."""
    prepared = cache.prepare(name, build)
    if fact not in prepared.info:
        cache.drop(prepared, prepared.pixels.stat().st_ino)
        prepared = cache.prepare(name, build)
    return prepared


def scale_of(values: list[float] | None) -> Scale | None:
    """A scale from the JSON of prepared data."""
    return (float(values[0]), float(values[1])) if values else None


def _decoded(path: Path, prepared: cache.Prepared, how: Reading) -> Dataset:
    """Images that are decoded as they are read; the stream is that of prepared ones, unless some are damaged."""
    info = prepared.info
    reader = ondemand.Files(path, [files.File(*file) for file in info["on_demand"]])
    shape = tuple(info["shape"])
    decoder = ondemand.Decoder(shape, how, info["count"], reader.fetch, lambda number: info["names"][number])
    note = ondemand.too_large(info["count"], shape, how.cache_bytes)
    dataset = _dataset(path, info | {"warnings": [*info["warnings"], note]}, decoder.read, info["fingerprint"])
    dataset.decoder = decoder
    return dataset


def recalled(
    paths: list[Path], how: tuple[object, ...], prepare: Callable[[], cache.Prepared], skip_bad: bool
) -> cache.Prepared:
    """The prepared data of these paths with these settings; prepared now if it is not there or the files have changed.

    Raises:
        BadFiles: some files cannot be used, and `skip_bad` is not given.
    """
    listing = cache.key(VERSION, "tables", [(path.resolve(), files.listing(path)) for path in paths], *how)
    prepared = cache.recall(listing)
    if not prepared:
        with cache.locked(listing):  # another process may have prepared it in the meantime
            prepared = cache.recall(listing) or prepare()
            cache.remember(listing, prepared.name)
    if (bad := [tuple(pair) for pair in prepared.info["skipped"]]) and not skip_bad:
        raise BadFiles(bad, prepared.info.get("files", prepared.info["count"] + len(bad)))
    return prepared


def write(
    out: Path,
    samples: Sequence[tuple[T, ...]],
    read: Callable[[T], bytes],
    work: Callable[[T, bytes], np.ndarray],
    size: str,
    row: int,
) -> tuple[list[int], list[tuple[T, str]]]:
    """Decode samples, each of one or several files, into one file with `row` bytes per sample, in order.

    Returns:
        The numbers of the samples that were written, and for the others the unusable files with the reason.

    Raises:
        OSError: the disk is too small.
    """
    require_space(out.parent, len(samples) * row)

    def checked(part: T, data: bytes) -> Row:
        pixels = work(part, data)
        return Row(pixels, zlib.crc32(pixels.data))

    parts = [part for sample in samples for part in sample]
    forecast.announce(parts, read, work, len(samples) * row)
    rows = each(read, parts, checked, f"preparing {size}", row=lambda: row)
    good, bad, checks = [], [], []
    with open(out, "wb") as file:
        for i, sample in enumerate(samples):
            decoded = [next(rows) for _ in sample]
            if flaws := [(part, reason) for part, reason in decoded if isinstance(reason, str)]:
                bad += flaws
                continue
            for _, result in decoded:
                assert not isinstance(result, str)  # there are no flaws
                file.write(result.pixels.data)
                checks.append(result.checksum)
            good.append(i)
    cache.write_checks(out, checks)
    return good, bad


def enlarged(seen: Survey, shape: tuple[int, int, int]) -> list[str]:
    """A note, if images are smaller than the prepared shape."""
    small = sum(n for (h, w), n in seen.sizes().items() if h < shape[1] or w < shape[2])
    return [f"{small} of {len(seen.images)} images are smaller than {shape[1]}x{shape[2]} and are enlarged."] * (
        small > 0
    )


def _described(
    seen: Survey, deep: Scaling, shape: tuple[int, int, int], good: list[int], bad: list[tuple[str, str]]
) -> dict:
    """What is known of the images of these numbers in a survey, for the info of prepared data."""
    names = [seen.images[i].name for i in good]
    columns = metadata_of(seen, names)
    notes = [*seen.warnings, *deep.notes, *columns.warnings, *enlarged(seen, shape)]
    return asdict(columns) | dict(
        count=len(good),
        parts=[int(np.prod(shape))],
        shape=shape,
        names=names,
        skipped=bad,
        warnings=notes,
        bad_texts=seen.bad_texts(),
        scale=deep.scale,
    )


def source_of(stack: ExitStack, path: Path, how: Reading, held_out: Sequence[tuple[Path, str]]) -> FileSet:
    """The images of a path, opened until the stack is closed, with those that are held out."""
    opened = stack.enter_context(files.open_files(path))
    source = expanded(restricted(opened, find(opened), how.split), how.frames)
    parts = [of_part(stack.enter_context(files.open_files(other)), part) for other, part in held_out]
    others = [expanded(other, how.frames) for other in parts]
    unseen = *source.unseen, *((file, other.read) for other in others for file in other.files)
    return source._replace(unseen=unseen)


def _draft(stack: ExitStack, path: Path, how: Reading, count: int) -> Draft:
    """A draft in the cache until the stack is closed."""
    folder = stack.enter_context(cache.scratch(cache.key("draft", path, how.split, *listing_key(how))))
    return Draft(stack.enter_context(open(folder / "rows", "w+b")), how, count)


def _announce(source: FileSet, how: Reading) -> None:
    """Say how long the images take that a draft decodes; their sizes are not known yet without a resolution."""
    images = [file for file in source.files if file.name in source.pages or decoding.is_image(file.name)]
    if len(images) < forecast.FEWEST:
        return
    try:
        size = how.size or decoding.probe(source.read(images[0]))[:2]
    except ValueError:  # reported when it is prepared
        return
    shape = (3, *size)
    if ondemand.too_large(len(images), shape, how.cache_bytes):
        return

    def decode(_: files.File, data: bytes) -> np.ndarray:
        return decoding.decode(data, shape, how.fit, "white", how.scale, how.jpeg)

    forecast.announce(images, source.read, decode, len(images) * int(np.prod(shape)), source.threaded)


def _prepare(path: Path, how: Reading, held_out: Sequence[tuple[Path, str]], want: str) -> cache.Prepared:
    """Decode every image into the cache, one after the other, with labels, captions and attributes in the info."""

    def listed(out: Path) -> dict:
        """The files, to be decoded when they are read; no rows."""
        out.touch()
        if seen.bad and not (how.skip_bad and seen.images):
            raise BadFiles(seen.bad, len(seen.images) + len(seen.bad))
        on_demand = [image.file for image in seen.images]
        return _described(seen, deep, shape, list(range(len(on_demand))), seen.bad) | dict(
            on_demand=on_demand, fingerprint=name, parts=[]
        )

    def read(image: ImageFile) -> bytes:
        return source.read(image.file)

    def decode(_: ImageFile, data: bytes) -> np.ndarray:
        return decoding.decode(data, shape, how.fit, how.alpha, deep.scale, how.jpeg)

    def build(out: Path) -> dict:
        if draft and is_drafted:
            flaws = [(image, image.flaw) for image in seen.images if image.flaw]
            good = [i for i, image in enumerate(seen.images) if not image.flaw]
            draft.settle(out, [seen.images[i].file for i in good], shape)
        else:
            size = f"{shape[1]}x{shape[2]}"
            good, flaws = write(out, [(image,) for image in seen.images], read, decode, size, int(np.prod(shape)))
        bad = seen.bad + [(shown(image.file.name), reason) for image, reason in flaws]
        if bad and not (how.skip_bad and good):
            raise BadFiles(bad, len(seen.images) + len(seen.bad))
        return _described(seen, deep, shape, good, bad)

    with ExitStack() as stack:
        source = source_of(stack, path, how, held_out)
        # The same names and sizes are likely the same content at another place: then there is nothing to decode.
        alike = cache.key(VERSION, "alike", [file[:2] for file in source.files], *listing_key(how))
        draft = None if cache.recall(alike) else _draft(stack, path, how, len(source.files))
        if draft:
            _announce(source, how)
        else:
            source = kept(source)
        seen = survey(source, how=how, want=want, place=path, draft=draft)
        shape, deep = seen.shape(how.size, how.alpha), scaling(seen.depths[0], how)
        name = cache.key(VERSION, seen.content, shape, how.fit, how.alpha, *deep.key, *reduced(seen, shape, how))
        is_plain = not deep.scale and not source.pages
        is_drafted = draft is not None and draft.holds([i.file for i in seen.images if not i.flaw], shape)
        if draft and not is_drafted:
            draft.discard()
        is_here = is_drafted or cache.find(name)
        if is_plain and not is_here and ondemand.too_large(len(seen.images), shape, how.cache_bytes):
            return cache.prepare(cache.key(name, "on demand"), listed)
        prepared = prepare(name, build, "scale") if deep.scale else cache.prepare(name, build)
        cache.remember(alike, prepared.name)
        return prepared
