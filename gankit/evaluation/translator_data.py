"""Data sets as the inputs, targets, styles and real images of a translator's evaluation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from gankit import data
from gankit.data.reading import cache
from gankit.data.union import attributes_of
from gankit.evaluation.sources import (
    DIGITS,
    NEGATIVE,
    Known,
    Rows,
    SampleAttributes,
    Samples,
    about_data,
    of_dataset,
    required,
)

# The domains whose images the digits classifier knows: digits, or negatives of digits.
VIEWS = {"digits-negative": {"a": DIGITS, "b": NEGATIVE}, "digits-edges": {"a": DIGITS}}


def shuffled(samples: Samples, seed: int) -> Samples:
    """The samples shuffled by the seed, so that the first ones represent all: neighbours may be similar."""
    order = np.random.default_rng(seed).permutation(samples.count)
    attributes = samples.attributes
    if attributes is not None:
        known = attributes.known
        attributes = replace(attributes, known=lambda numbers: known(order[numbers]))
    return replace(
        samples,
        read=lambda numbers: samples.read(order[numbers]),
        attributes=attributes,
        fingerprint=cache.key(samples.fingerprint, seed),
    )


def repeated(samples: Samples, count: int) -> Samples:
    """The same samples, repeated until there are `count`."""
    return replace(samples, read=lambda numbers: samples.read(numbers % samples.count), count=count)


def of_side(domains: data.Domains, side: str, typed: str) -> Samples:
    """One of two domains, or one side of pairs."""
    samples = of_dataset(getattr(domains, side), f"{typed}:{side}" if typed else "")
    view = VIEWS.get(typed.split(":")[0], {}).get(side, "")
    return replace(samples, name=f"{domains.name} {side}", view=view)


def of_masks(dataset: data.Dataset) -> Samples:
    """A data set's label maps, (n, H, W) int64, 255 for void pixels."""

    def read(numbers: np.ndarray) -> Rows:
        return dataset.rows(numbers)["mask"].long(), None

    name, names = f"{dataset.name} label maps", tuple(dataset.class_names)
    shape, count = tuple(dataset.shape[1:]), len(dataset)
    return Samples(name, "maps", shape, count, read, dataset.fingerprint, dataset.num_classes, names)


def of_images(dataset: data.Dataset | data.Union, typed: str) -> Samples:
    """A set of images, or several joined ones, with their attributes; classes count as attributes."""
    sets = dataset.sets if isinstance(dataset, data.Union) else [dataset]
    tables = [attributes_of(part) for part in sets]  # of each set: names, values, whether exactly one holds
    ends = np.cumsum([len(part) for part in sets])
    samples = [of_dataset(part, typed) for part in sets]

    def split(numbers: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each set, which of the numbers belong to it, and their numbers within it."""
        of = np.searchsorted(ends, numbers, side="right")
        return [(np.flatnonzero(of == i), numbers[of == i] - (ends[i] - len(part))) for i, part in enumerate(sets)]

    def read(numbers: np.ndarray) -> Rows:
        images = torch.empty(len(numbers), *sets[0].shape)
        for part, (rows, inside) in zip(samples, split(numbers)):
            if len(inside):
                images[torch.from_numpy(rows)] = part.read(inside)[0]
        return images, None

    def known_attributes(numbers: np.ndarray) -> Known:
        attribute = torch.full((len(numbers), sum(len(names) for names, *_ in tables)), torch.nan)
        source = torch.zeros(len(numbers), dtype=torch.int64)
        first = 0
        for i, ((of_set, inside), (names, values, _)) in enumerate(zip(split(numbers), tables)):
            rows = torch.from_numpy(of_set)
            attribute[rows, first : first + len(names)] = torch.from_numpy(required(values)[inside]).float()
            source[rows] = i
            first += len(names)
        return Known(attribute, source, torch.full_like(source, -1))

    attributes = None
    if all(len(names) for names, *_ in tables):
        is_continuous = any(((x != 0) & (x != 1)).any() for x in (required(values) for _, values, _ in tables))
        names, groups = tuple(name for names, *_ in tables for name in names), tuple(len(names) for names, *_ in tables)
        exclusive = tuple(is_exclusive for *_, is_exclusive in tables)
        attributes = SampleAttributes(names, groups, exclusive, known_attributes, is_continuous)
    if len(sets) == 1:
        return replace(samples[0], attributes=attributes)
    return replace(
        samples[0], name=dataset.name, count=len(dataset), read=read, fingerprint=dataset.fingerprint, classes=0,
        class_names=(), about=about_data(dataset), attributes=attributes,
    )  # fmt: skip


def label_colours(domains: data.Domains, inputs: Samples, max_colours: int = 64) -> Tensor | None:
    """(K, 3) colours in [-1, 1] if the inputs of pairs are label maps: images of 3 to `max_colours` colours."""
    if domains.kind != "pairs" or inputs.shape[0] != 3:
        return None
    if getattr(domains.a, "colours", None) is not None:
        return data.normalise(torch.from_numpy(domains.a.colours))

    def colours(n: int) -> Tensor:
        images = inputs.read(np.arange(min(n, inputs.count)))[0]
        return images.permute(0, 2, 3, 1).reshape(-1, 3).unique(dim=0)

    return colours(256) if 3 <= len(colours(16)) <= max_colours else None


def nearest_colours(images: Tensor, colours: Tensor) -> Tensor:
    """(N, 3, H, W) coloured label maps to (N, H, W) numbers of the nearest colours."""
    return torch.stack([torch.cdist(image.flatten(1).T, colours).argmin(1).view(image.shape[1:]) for image in images])
