"""Open a set of shards: an order that reads each shard once an epoch, and images decoded as they are read."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gankit.data.reading import cache, ondemand
from gankit.data.reading.choices import Reading
from gankit.data.reading.decoding import Header
from gankit.data.reading.files import BadFiles, File
from gankit.data.reading.survey import ImageFile, Survey
from gankit.data.shards import shardset, spelling
from gankit.data.shards.indexed import Index, index_of
from gankit.data.shards.order import ShardOrder
from gankit.data.shards.shardset import ShardSet
from gankit.data.stream import Dataset
from gankit.disk import amount
from gankit.text import shown

IDLE = ("held_out", "pair", "range", "frames", "void", "labels", "captions", "no_table")
VERSION = 1  # part of fingerprints: increase it when the same shards give another stream


@dataclass
class Look:
    """What a set of shards is, from its index."""

    index: Index
    seen: Survey
    order: ShardOrder
    notes: list[str]
    source: ShardSet


def look(name: str | Path, path: Path | None, how: Reading) -> Look:
    """What the shards of a name hold, which stands for this path if for any; `how.split` names their part.

    Raises:
        ValueError: they hold no images, or the cache is too small for those that are read together.
        OSError: one cannot be read.
    """
    limit = how.cache_bytes
    if idle := [name for name, _ in how.changed(*IDLE)]:
        raise ValueError(f"--{idle[0].replace('_', '-')} says nothing about shards: leave it out. {spelling.HOW}")
    locations, note = spelling.chosen(spelling.locations(name, path), how.split)
    index = index_of(locations, limit)
    if spelling.is_address(str(name)) or any(location.is_remote for location in locations):
        shardset.write(_asked(name), b"")
    counts, shards = np.array(index.counts, np.int64), index.found
    if not counts.sum():
        reasons = "; ".join(": ".join(pair) for pair in index.bad[:3])
        raise ValueError(f"its {len(shards):,} shards hold no images ({reasons}). {spelling.HOW}")
    order = ShardOrder(counts)
    source = ShardSet(shards, limit, counts, kept=2 * order.width + 2)
    order.soon = source.soon
    cached = sorted((source.cached(i) for i in range(len(shards))), reverse=True)
    if (need := sum(cached[: order.width])) > limit:
        raise ValueError(
            f"{order.width} of its shards are mixed at a time and take up to {amount(need)} of the cache: add "
            f"--cache-limit {-(-need // 10**9)}G or more, or make smaller shards"
        )
    notes = [note] * bool(note) + index.notes
    notes.append(
        f"{len(shards):,} shards, {amount(sum(shard.size for shard in shards))}, are read as a stream; "
        f"{ondemand.advice()}."
    )
    notes.append(
        f"Each epoch takes the shards in a new order and mixes the samples of {order.width} at a time"
        f" (about {order.size * order.width // len(shards):,} images)."
    )
    if sum(cached):
        notes.append(f"The cache keeps up to {amount(limit)} of them (--cache-limit), of {amount(sum(cached))}.")
    headers = [Header(*header) for header in index.headers]  # type: ignore[arg-type]  # as they were written
    images = [ImageFile(File("", 0, ""), "", "", header) for header in headers]
    return Look(index, Survey(images=images), order, notes, source)


def refuse_unasked(name: str | Path) -> None:
    """Refuse shards on a server that a file names, such as a run's config.json, and no user of this machine has read.

    Raises:
        ValueError: with what the user types to allow it.
    """
    if not spelling.is_spelled(name) or _asked(name).exists():
        return
    if spelling.is_address(str(name)) or any(location.is_remote for location in spelling.locations(name, None)):
        raise ValueError(
            f"the run's config.json names data on a server, {shown(name)}, that was not read on this machine before. "
            f"To allow it type: gankit data {shlex.quote(shown(name))}"
        )


def _asked(name: str | Path) -> Path:
    """A file that is there once a user of this machine has named these shards."""
    return cache.location() / "indexes" / f"{cache.key('asked', name)}.asked"


def shape_of(seen: Look, how: Reading) -> tuple[int, int, int]:
    """(C, H, W) of the images: their channels, and without a resolution their size, are those of the first images."""
    if not seen.seen.images:
        raise ValueError("none of its first images can be read")
    return seen.seen.shape(how.size, how.alpha)


def open_shards(name: str | Path, path: Path | None, how: Reading, want: str = "") -> Dataset:
    """The images in the shards of a name, as a stream that needs no preparation.

    Raises:
        BadFiles: shards are damaged, and `how.skip_bad` is not given.
        ValueError, OSError: as `look`.
    """
    seen = look(name, path, how)
    index, source = seen.index, seen.source
    bad = [(shard, reason) for shard, reason in index.bad]
    if bad and not how.skip_bad:
        raise BadFiles(bad, len(index.shards))
    whole = sum(source.cached(i) for i in range(len(index.shards)))
    if want == "captions" and whole > source.limit:
        raise ValueError(
            "each caption comes with an image of the whole set that it does not describe, so that all shards must be "
            f"on this machine: download them, or add --cache-limit {-(-whole // 10**9)}G"
        )
    shape = shape_of(seen, how)
    decoder = ondemand.Decoder(shape, how, index.count, source.fetch, source.name)
    content = [(shard.file, shard.size, count) for shard, count in zip(index.found, index.counts)]
    jpeg = ("jpeg",) * (how.jpeg == "scaled" and how.size is not None)  # whether any is large is not known
    stem = re.split(r"[^\w.-]", path.resolve().name if path else Path(str(name)).name)[0].strip("-_.")
    return Dataset(
        name=stem or "shards",
        kind="images",
        shape=shape,
        size=index.count,
        read=decoder.read,
        fingerprint=cache.key(VERSION, "shards", content, index.digest, shape, how.fit, how.alpha, *jpeg),
        labels=np.array(index.labels, np.int64) if index.labels else None,
        class_names=[shown(title) for title in index.class_names],
        captions=index.captions or None,
        skipped=bad,
        warnings=seen.notes,
        order=seen.order,
        decoder=decoder,
    )
