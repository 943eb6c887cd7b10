"""The attributes that an evaluation requests of translators."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from gankit.evaluation.sources import Known, SampleAttributes, Samples, required

HAIR = "_Hair"  # CelebA's attributes that end with this exclude each other


def with_columns(samples: Samples, columns: list[int] | None) -> Samples:
    """The samples with only the attributes that a model was trained on; None for all."""
    attributes = samples.attributes
    if attributes is None or columns is None or len(columns) == len(attributes.names):
        return samples
    groups = tuple(sum(part.start <= i < part.stop for i in columns) for part in attributes.slices())
    exclusive = tuple(
        was_exclusive and kept == size
        for was_exclusive, kept, size in zip(attributes.exclusive, groups, attributes.groups)
    )

    def known(numbers: np.ndarray) -> Known:
        rows = attributes.known(numbers)
        return rows._replace(attribute=rows.attribute[:, columns])

    names = tuple(attributes.names[i] for i in columns)
    return replace(samples, attributes=SampleAttributes(names, groups, exclusive, known, attributes.is_continuous))


def requested(inputs: Samples, seed: int) -> SampleAttributes:
    """The request for each input: its attributes with one changed or, for intensities, those of another image."""
    attributes = required(inputs.attributes)
    slices = attributes.slices()

    def known(numbers: np.ndarray) -> Known:
        own = attributes.known(numbers)
        target, source, which = torch.full_like(own.attribute, torch.nan), own.source.clone(), own.which.clone()
        for i, number in enumerate(numbers.tolist()):
            rng = np.random.default_rng((seed, number))
            group = int(rng.integers(len(slices)))
            columns, is_own_set = slices[group], int(own.source[i]) == group
            source[i] = group
            if attributes.is_continuous or not is_own_set:  # unknown for this image: taken from another image
                values = _values_of_another(inputs, rng, group)
            else:
                values = own.attribute[i, columns].clone()
            if not attributes.is_continuous:
                is_exclusive, names = attributes.exclusive[group], attributes.names[columns]
                values, k = _change(values, rng, is_exclusive, is_own_set, names)
                which[i] = columns.start + k
            target[i, columns] = values
        return Known(target, source, which)

    return replace(attributes, known=known)


def _change(
    values: Tensor, rng: np.random.Generator, is_exclusive: bool, is_own_set: bool, names: tuple[str, ...]
) -> tuple[Tensor, int]:
    """Binary attributes (A,) of a set with one changed at random, and its column; hair colours replace each other."""
    size = len(names)
    k = int(rng.integers(size))
    if is_exclusive:
        if is_own_set and size > 1 and values[k] == 1:
            k = (k + 1 + int(rng.integers(size - 1))) % size
        return torch.eye(size)[k], k
    hair = [j for j in range(size) if names[j].endswith(HAIR)]
    if k in hair and is_own_set and values[k] == 1 and len(hair) > 1:  # another colour, not none
        k = hair[(hair.index(k) + 1 + int(rng.integers(len(hair) - 1))) % len(hair)]
    if is_own_set:
        values[k] = 1 - values[k]
    else:
        values[k] = 1.0 if k in hair else float(rng.integers(2))
    if k in hair:
        values[[j for j in hair if j != k]] = 0
    return values, k


def _values_of_another(inputs: Samples, rng: np.random.Generator, group: int) -> Tensor:
    """(A,) attributes of a random image of joined set `group`."""
    attributes = required(inputs.attributes)
    while True:
        rows = attributes.known(rng.integers(inputs.count, size=1))
        if int(rows.source) == group:
            return rows.attribute[0, attributes.slices()[group]].clone()
