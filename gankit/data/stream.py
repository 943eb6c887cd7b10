"""A data set, and its stream: batches in which every row is a pure function of its position and the seed."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gankit.data import display, draws
from gankit.data.captions import Captions
from gankit.data.pixels import paint, palette
from gankit.data.shards.order import ShardOrder
from gankit.data.thumbnails import share

if TYPE_CHECKING:
    from gankit.data.reading.ondemand import Decoder

Size = tuple[int, int] | None  # (height, width); None for the data's own
ORDER, MIRROR = 1, 2  # purposes of random numbers


class Modes(NamedTuple):
    """The modes of a known distribution.

    Args:
        count: number of modes, all equally likely.
        centres: (count, D) means of Gaussians; None if the mode of an image is the digits in its channels.
        std: standard deviation of the Gaussians.
    """

    count: int  # type: ignore[assignment]  # the field hides the method `tuple.count`
    centres: np.ndarray | None = None
    std: float = 0.0


class Division(NamedTuple):
    """How a data set is divided into parts.

    Args:
        layout: what divides it, such as "folders train and val".
        part: the part that is read; "" for all.
        counts: number of images of each part.
        held_out: the name of the held-out data; "" where there is none.
    """

    layout: str
    part: str
    counts: dict[str, int]
    held_out: str

    def __str__(self) -> str:
        counts = ", ".join(f"{part} {count:,}" for part, count in self.counts.items())
        others = f"; {self.held_out} is held out" if self.held_out else ""
        return f"{self.layout} ({counts}): {self.part or 'all'} is read{others}"


@dataclass
class Dataset:
    """N samples that are read by number, with labels, attributes and captions.

    Args:
        name: short name, usable as a folder name.
        kind: "images", "masks" (images with label maps), "captions" (images with texts), "points" or "vectors".
        shape: of one sample: (C, H, W) for images, (D,) for points and vectors.
        size: N.
        read: numbers (n,) int64 to a new array (n, *shape), uint8 for images, float32 for the others.
        fingerprint: hash of content and settings; equal fingerprints give equal streams.
        labels: (N,) int64 classes.
        class_names: names of the classes of the samples, or of the pixels of label maps.
        conditions: (N, C) float32 features that models condition on.
        attributes: (N, A) float32, A numbers for each sample.
        attribute_names: the A names.
        exclusive: whether exactly one attribute holds for each sample, as with classes.
        captions: a text for each sample, one caption per line; "" for none.
        texts: the captions encoded, for kind "captions".
        names: file name of each sample relative to the data's folder; empty for built-in sets.
        masks: numbers (n,) to new label maps (n, H, W) uint8, the class of each pixel, 255 for void; for kind "masks".
        colours: (K, 3) uint8, the colours that show the classes of label maps; default: `gankit.data.palette`.
        modes: the modes of the distribution, where it is known.
        mirror: flip images of the stream, each with probability one half, by its position.
        scale: the values of images deeper than 8 bits that are black and white; None where there is no such scale.
        skipped: unusable files that were left out, with the reason.
        warnings: what a user should know about the data, in plain sentences.
        faults: why "labels", "attributes" or "captions" that files have are not used.
        bad_texts: by the name of a sample, the file of its captions that cannot be read, and the reason.
        division: how the data is divided into parts; None where it is not.
        order: of samples in shards; default: each epoch mixes all samples.
        decoder: of images that are decoded each time they are read.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    size: int
    read: Callable[[np.ndarray], np.ndarray]
    fingerprint: str
    labels: np.ndarray | None = None
    class_names: list[str] = field(default_factory=list)
    conditions: np.ndarray | None = None
    attributes: np.ndarray | None = None
    attribute_names: list[str] = field(default_factory=list)
    exclusive: bool = False
    captions: list[str] | None = None
    texts: Captions | None = None
    names: list[str] = field(default_factory=list)
    masks: Callable[[np.ndarray], np.ndarray] | None = None
    colours: np.ndarray | None = None
    modes: Modes | None = None
    mirror: bool = False
    scale: tuple[float, float] | None = None
    skipped: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    bad_texts: dict[str, tuple[str, str]] = field(default_factory=dict)
    division: Division | None = None
    order: ShardOrder | None = None
    decoder: Decoder | None = None

    def __len__(self) -> int:
        return self.size

    def __repr__(self) -> str:
        return display.one_line(self)

    def _repr_html_(self) -> str:
        return display.as_html(self)

    @property
    def scales(self) -> tuple[tuple[float, float] | None, ...]:
        """The scale of each side: of one, as there is one domain only."""
        return (self.scale,)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def other(self) -> tuple[int, ...]:
        """Shape of a sample of the second domain: (), as there is one domain only."""
        return ()

    @property
    def condition_dim(self) -> int:
        return 0 if self.conditions is None else self.conditions.shape[1]

    @property
    def caption(self) -> tuple[int, ...]:
        """For kind "captions" (characters of a caption, number of codes) or (length of its vector, 0); else ()."""
        return () if self.texts is None else self.texts.shape

    def replaced(self, numbers: np.ndarray) -> np.ndarray:
        """The samples that were read for these numbers (n,): others in place of damaged images."""
        return self.decoder.replaced(numbers) if self.decoder else numbers

    def rows(self, numbers: np.ndarray) -> dict[str, Tensor]:
        """The samples of these numbers (n,), in this order, not mirrored.

        Returns:
            "real" (n, *shape), and where the data has them "mask" (n, H, W) int64, "label", "condition", "attribute".
        """
        columns = dict(label=self.labels, condition=self.conditions, attribute=self.attributes)
        rows = {"real": torch.from_numpy(self.read(numbers))}
        if self.masks is not None:
            rows["mask"] = torch.from_numpy(self.masks(numbers)).long()
        numbers = self.replaced(numbers)
        rows |= {name: torch.from_numpy(values[numbers]) for name, values in columns.items() if values is not None}
        return rows

    def numbers(self, positions: np.ndarray, seed: int = 0) -> np.ndarray:
        """The number of the sample at each position (n,): each epoch is a new permutation."""
        if self.order:
            return self.order.numbers(positions, seed)
        epochs, places = np.divmod(positions, self.size)
        numbers = np.empty_like(places)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            numbers[here] = _order(self.size, seed, epoch)[places[here]]
        return numbers

    def first_images(self, count: int) -> tuple[list[Tensor], list[str]]:
        """About the first `count` images of the stream, and their label maps in colours or their texts, if any.

        Returns:
            Sides (n, C, H, W) uint8, and for each image its class, else its first caption; no texts where there are
            neither.
        """
        if self.masks is not None:
            rows = next(self.stream(0, share(count, 2)))
            return [rows["real"], paint(rows["mask"], palette(self.num_classes, self.colours))], []
        numbers = self.numbers(np.arange(min(count, self.size)))
        images, texts = next(self.stream(0, len(numbers)))["real"], list[str]()
        if self.labels is not None and self.class_names:
            texts = [self.class_names[label] for label in self.labels[numbers].tolist()]
        elif self.captions:
            texts = [self.captions[number].partition("\n")[0] for number in numbers.tolist()]
        return [images], texts

    def stream(
        self, start: int, batch: int, resolution: int | None = None, seed: int = 0, rank: int = 0, world: int = 1
    ) -> Stream:
        """An endless stream of batches from position `start`, with the rows of this process.

        Args:
            start: images seen before.
            batch: rows of a batch, summed over all processes.
            resolution: shorter side of the images, which must divide the data's own; default: the data's own.
            seed: of the order and the mirroring.
            rank, world: number of this process, and number of processes.

        Raises:
            ValueError: an argument is out of range, or the images cannot be reduced to that resolution.
        """
        if start < 0 or not 0 <= rank < world or batch < world:
            raise ValueError(f"no stream from {start} in batches of {batch} for process {rank} of {world}")
        factor = 1
        if resolution is not None:
            if self.kind not in ("images", "masks", "captions"):
                raise ValueError(f"{self.name} holds {self.kind}, which have no resolution")
            height, width = self.shape[1:]
            factor = max(1, min(height, width) // max(1, resolution))
            if min(height, width) != resolution * factor or height % factor or width % factor:
                raise ValueError(f"{height}x{width} images divide by no whole number to a side of {resolution}")
        return Stream(self, start, batch, factor, seed, rank, world)


class Batches(Iterator[dict[str, Tensor]]):
    """Batches one after the other; `at(i)` is the i-th, independent of earlier calls."""

    next = 0

    def __next__(self) -> dict[str, Tensor]:
        self.next += 1
        return self.at(self.next - 1)

    @abstractmethod
    def at(self, i: int) -> dict[str, Tensor]: ...


@dataclass
class Stream(Batches):
    """Batches of a `Dataset`.

    Args: as `Dataset.stream`; `factor` divides the sides of the images.
    """

    dataset: Dataset
    start: int
    batch: int
    factor: int
    seed: int
    rank: int
    world: int

    def at(self, i: int) -> dict[str, Tensor]:
        begin = self.start + i * self.batch
        first, last = (r * self.batch // self.world for r in (self.rank, self.rank + 1))
        positions = np.arange(begin + first, begin + last)
        numbers = self.dataset.numbers(positions, self.seed)
        rows = self.dataset.rows(numbers)
        if self.dataset.texts is not None:
            rows |= self.dataset.texts.rows(self.dataset.replaced(numbers), positions, self.seed, self.dataset.read)
        if self.factor > 1:  # sums of bytes are exact in float32, so the mean does not depend on the order
            for name in ("real", "wrong"):
                if name in rows:
                    rows[name] = F.avg_pool2d(rows[name].float(), self.factor).round_().to(torch.uint8)
            if "mask" in rows:  # classes have no mean: take the pixel near the middle of each block
                rows["mask"] = rows["mask"][:, self.factor // 2 :: self.factor, self.factor // 2 :: self.factor]
        if self.dataset.mirror:
            flipped = torch.from_numpy(draws.bits(self.seed, MIRROR, positions) & np.uint64(1) > 0)
            for name in ("real", "mask", "wrong"):
                if name in rows:
                    rows[name][flipped] = rows[name][flipped].flip(-1)
        return rows


def ahead(stream: Batches, threads: int = 1) -> Iterator[dict[str, Tensor]]:
    """The same batches in the same order, prefetched by threads; in pinned memory once this process uses a GPU."""

    def fetch(i: int) -> dict[str, Tensor]:
        rows = stream.at(i)
        return {k: v.pin_memory() for k, v in rows.items()} if torch.cuda.is_initialized() else rows

    if threads == 0:
        yield from map(fetch, count(stream.next))
    with ThreadPoolExecutor(threads, "gankit-data") as pool:
        pending = deque(pool.submit(fetch, stream.next + i) for i in range(2 * threads))
        for i in count(stream.next + 2 * threads):
            yield pending.popleft().result()
            pending.append(pool.submit(fetch, i))


@lru_cache(maxsize=4)
def _order(size: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of 0..size-1, the order of one epoch."""
    return np.argsort(draws.bits(seed, ORDER, epoch, np.arange(size)), kind="stable")
