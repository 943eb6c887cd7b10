"""The index of a set of shards: counts, labels and captions, found once and kept in the cache."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from gankit.data.reading import cache, decoding, metadata
from gankit.data.reading.rows import filled
from gankit.data.shards import shardset
from gankit.data.shards.members import Members
from gankit.data.shards.shardset import Shard, ShardSet
from gankit.data.shards.spelling import Location
from gankit.disk import amount
from gankit.text import aside, counted, shown

VERSION = 1
PROBED = 256  # images of the first shard, whose size and channels are those of the set
MOST_CAPTIONS = 2**30  # characters of all captions, which stay in memory
MOST_CLASSES = 100_000


@dataclass
class Index:
    """What is known of a set without reading it again.

    Args:
        shards: as tuples of `Shard`.
        counts: samples of each shard.
        digest: hash of names, sizes, labels and captions of all samples; "" where a list gave the counts.
        labels: class of each sample; empty without labels.
        class_names: of the labels.
        captions: of each sample; empty without captions.
        headers: of the first images.
        bad: shards and images that cannot be used, with the reason.
        notes: for the user.
    """

    shards: list[list[object]] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    digest: str = ""
    labels: list[int] = field(default_factory=list)
    class_names: list[str] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    headers: list[list[object]] = field(default_factory=list)
    bad: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def found(self) -> list[Shard]:
        return [Shard(*shard) for shard in self.shards]  # type: ignore[arg-type]  # as written below

    @property
    def count(self) -> int:
        return sum(self.counts)


def index_of(locations: Sequence[Location], limit: int) -> Index:
    """The index of the shards at these locations, from the cache if it was made before; else each is read once.

    Servers are asked for sizes only when the index is made: each shard is compared with it when it is downloaded.

    Raises:
        ValueError: shards are missing, or hold no images.
        OSError: one cannot be read.
    """
    here = [] if any(location.is_remote for location in locations) else shardset.found(locations)
    key = cache.key(VERSION, "set", here or locations, *(location.samples for location in locations))
    path = cache.location() / "indexes" / f"{key}.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        index = Index(**json.loads(path.read_bytes()))
        if len(index.counts) == len(index.found) == len(locations):
            return index
    with cache.locked(key):
        with contextlib.suppress(OSError, ValueError, TypeError):
            return Index(**json.loads(path.read_bytes()))
        index = _made(locations, here or shardset.found(locations), limit)
        if not index.bad:  # else a shard that was repaired would stay bad
            shardset.write(path, json.dumps(asdict(index)).encode("utf-8", "replace"))
    return index


def _made(locations: Sequence[Location], shards: list[Shard], limit: int) -> Index:
    """Make the index: from the list where it states all counts, else by reading every shard."""
    source = ShardSet(shards, limit)
    index = Index([list(shard) for shard in shards])
    stated = [location.samples for location in locations]
    if all(count is not None for count in stated):
        index.counts = [count for count in stated if count is not None]
        index.notes.append(
            "Its list states the counts, so that labels and captions are not read: for these name the shards."
        )
    else:
        _read_all(source, index)
    first = next((i for i, count in enumerate(index.counts) if count), None)
    if first is None:
        index.bad = index.bad or [["all shards", "no image in them"]]
        return index
    index.headers = _headers(source, first)
    return index


def _read_all(source: ShardSet, index: Index) -> None:
    """Read what every shard holds."""
    size = sum(shard.size for shard in source.shards)
    aside(f"gankit: indexing {len(source.shards):,} shards, {amount(size)}; they are read once for it")
    digest, labels, others = hashlib.sha256(), dict[str | None, int](), Counter[str]()
    codes: list[np.ndarray] = []
    texts: list[str | None] = []
    characters = 0
    with counted(len(source.shards), "shards, indexing") as advance:
        for number, shard in enumerate(source.shards):
            try:
                members = source.members(number)
            except ValueError as error:
                index.bad.append([shown(shard.place), str(error)])
                members = Members()
            index.counts.append(len(members))
            others.update(members.others)
            columns = members.keys, members.sizes, members.labels, members.captions
            digest.update(json.dumps(columns).encode())
            codes.append(np.array([labels.setdefault(label, len(labels)) for label in members.labels], np.int64))
            characters += sum(len(text or "") for text in members.captions)
            if characters <= MOST_CAPTIONS:
                texts += members.captions
            advance(1)
    index.digest = digest.hexdigest()
    index.notes += [f"Not read: {shown(what)} ({count:,})." for what, count in others.most_common(8)]
    if characters > MOST_CAPTIONS:
        index.notes.append(f"Captions are not read, as they are more than {amount(MOST_CAPTIONS)}.")
    elif characters:
        index.captions = [text or "" for text in texts]
    _number(index, labels, np.concatenate(codes) if codes else np.zeros(0, np.int64))


def _number(index: Index, labels: dict[str | None, int], codes: np.ndarray) -> None:
    """Number the classes, in the order of numbers or of names."""
    if None in labels and len(labels) > 1:
        without = int((codes == labels[None]).sum())
        index.notes.append(f"Labels are not used, as {without:,} of {len(codes):,} samples have none.")
    elif len(labels) > MOST_CLASSES:
        index.notes.append(f"Labels are not used, as there are {len(labels):,} different ones.")
    elif len(labels) > 1:
        columns = metadata.columns([{"label": label} for label in labels], "the shards")
        index.labels, index.class_names = np.array(columns.labels)[codes].tolist(), columns.class_names


def _headers(source: ShardSet, number: int) -> list[list[object]]:
    """The headers of the first images of a shard; unreadable ones are left to the reading."""
    headers = []
    members = source.members(number)
    with source.images(number) as handle:
        for start, size in list(zip(members.starts, members.sizes))[:PROBED]:
            content = bytearray(size)
            with contextlib.suppress(ValueError):
                if filled(handle, memoryview(content), start):
                    headers.append(list(decoding.probe(bytes(content))))
    return headers
