"""Several sets of images with different attributes as one: batches come from each set in turn."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from gankit.data import display
from gankit.data.reading import cache
from gankit.data.stream import Batches, Dataset, Stream
from gankit.data.thumbnails import share


@dataclass
class Union:
    """Sets of images of one shape, each with its own attributes, with the interface of `Dataset`.

    Batch k comes from set k modulo the number of sets, and continues where that set's last batch ended: the joint
    training of StarGAN (Choi et al. 2018, section 3.2). Its rows have the attributes of all sets side by side, zeros
    for those of other sets, and `source`, the number of the set. Classes count as attributes where a set has no others.

    Args:
        name: short name, usable as a folder name.
        sets: the data sets.
        mirror: flip images of the stream, each with probability one half.
        attribute_names: of all sets, one after the other.
        groups: how many of them belong to each set.
        exclusive: for each set, whether exactly one of its attributes holds.
    """

    name: str
    sets: list[Dataset]
    mirror: bool = False
    kind: str = "images"
    num_classes: int = 0
    condition_dim: int = 0
    class_names: list[str] = field(default_factory=list)
    captions: None = None
    fingerprint: str = ""
    attribute_names: list[str] = field(init=False)
    groups: list[int] = field(init=False)
    exclusive: list[bool] = field(init=False)

    def __post_init__(self) -> None:
        for dataset in self.sets:
            if dataset.kind != "images":
                raise ValueError(f"{dataset.name} holds {dataset.kind}; data sets of images are joined")
            if dataset.shape != self.sets[0].shape:
                a, b = ("x".join(map(str, s.shape)) for s in (self.sets[0], dataset))
                raise ValueError(
                    f"{self.sets[0].name} holds images of {a} and {dataset.name} of {b}; "
                    "give all one size by --resolution"
                )
            if not attributes_of(dataset)[0]:
                fault = "".join(f". {text}" for text in dict.fromkeys(dataset.faults.values()))
                raise ValueError(
                    f"{dataset.name} has neither attributes nor classes: there is nothing to join it by{fault}"
                )
        names, _, self.exclusive = map(list, zip(*map(attributes_of, self.sets)))
        self.attribute_names, self.groups = sum(names, []), [len(group) for group in names]
        self.fingerprint = self.fingerprint or cache.key("union", *(dataset.fingerprint for dataset in self.sets))

    def __len__(self) -> int:
        return sum(map(len, self.sets))

    def __repr__(self) -> str:
        return display.one_line(self)

    def _repr_html_(self) -> str:
        return display.as_html(self)

    @property
    def scales(self) -> tuple[tuple[float, float] | None, ...]:
        return tuple(dataset.scale for dataset in self.sets)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.sets[0].shape

    @property
    def other(self) -> tuple[int, ...]:
        return ()

    @property
    def skipped(self) -> list[tuple[str, str]]:
        return [pair for dataset in self.sets for pair in dataset.skipped]

    @property
    def faults(self) -> dict[str, str]:
        return {}

    @property
    def warnings(self) -> list[str]:
        return [f"{dataset.name}: {text}" for dataset in self.sets for text in dataset.warnings]

    def first_images(self, count: int) -> tuple[list[Tensor], list[str]]:
        """About the first `count` images of the stream: those of each set, (n, C, H, W) uint8; no texts."""
        stream = self.stream(0, share(count, len(self.sets)))
        return [stream.at(i)["real"] for i in range(len(self.sets))], []

    def stream(
        self, start: int, batch: int, resolution: int | None = None, seed: int = 0, rank: int = 0, world: int = 1
    ) -> UnionStream:
        """An endless stream of batches from position `start`; arguments as of `Dataset.stream`.

        Raises:
            ValueError: as `Dataset.stream`; or `start` is not a multiple of `batch`.
        """
        if start % batch:
            raise ValueError(
                f"{start} images are not a whole number of batches of {batch}: joined sets take turns batch by batch"
            )
        streams = [
            replace(dataset, mirror=self.mirror).stream(0, batch, resolution, seed, rank, world)
            for dataset in self.sets
        ]
        return UnionStream(self, streams, start // batch)


@dataclass
class UnionStream(Batches):
    """Batches of the joined sets in turn."""

    union: Union
    streams: list[Stream]
    first: int

    def at(self, i: int) -> dict[str, Tensor]:
        turn, which = divmod(self.first + i, len(self.streams))
        rows = self.streams[which].at(turn)
        held = rows["attribute"] if "attribute" in rows else torch.eye(self.union.groups[which])[rows["label"]]
        before = sum(self.union.groups[:which])
        attribute = torch.zeros(len(held), sum(self.union.groups))
        attribute[:, before : before + held.shape[1]] = held
        return {"real": rows["real"], "attribute": attribute, "source": torch.full((len(held),), which)}


def attributes_of(dataset: Dataset) -> tuple[list[str], np.ndarray | None, bool]:
    """Names of a set's attributes, their values (N, A), and whether exactly one holds; its classes if it has none."""
    if dataset.attribute_names:
        return dataset.attribute_names, dataset.attributes, dataset.exclusive
    if dataset.num_classes:
        return dataset.class_names, np.eye(dataset.num_classes, dtype=np.float32)[dataset.labels], True
    return [], None, False
