"""Features of a source, in blocks of a thousand: each is written when it is done, so a stopped evaluation goes on."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load, load_file, save, save_file
from torch import Tensor

from gankit import processes
from gankit.data.reading import cache
from gankit.evaluation.sources import Rows, Source
from gankit.metrics.extractors import Extractor
from gankit.runs.files import replacing

BLOCK = 1000  # rows; not the batch, so that what is stored does not depend on it


class Features(NamedTuple):
    """What an extractor says of (N, ...) samples.

    Args:
        values: (N, d) features.
        probabilities: (N, K) of its classes, or None where it has none.
        label: (N,) the labels of the samples, or None.
    """

    values: Tensor
    probabilities: Tensor | None
    label: Tensor | None

    def __len__(self) -> int:
        return len(self.values)


def features(
    source: Source,
    extractor: Extractor,
    n: int,
    batch: int = 64,
    seed: int = 0,
    keep: bool = True,
    tell: Callable[[int], None] = lambda rows: None,
) -> Features:
    """Features of n samples (of all, where there are fewer), the same for any batch and any number of processes.

    Args:
        source: the samples; of a data set an even choice by `seed`.
        extractor: the network.
        n: how many.
        batch: samples that go through the networks at once.
        seed: of the choice.
        keep: write blocks to the cache, and take those that are there.
        tell: called with the rows of each batch that is done.
    """
    numbers = source.numbers(n, seed)
    n = len(numbers)
    folder = place(source, extractor, n, seed)
    starts = range(0, n, BLOCK)
    blocks: dict[int, dict[str, Tensor]] = {}
    for i, start in enumerate(starts):
        path = folder / f"{start:09d}.safetensors"
        rows = numbers[start : start + BLOCK]
        if keep and (found := whole(path, len(rows))):
            blocks[start] = found
            tell(len(rows))
        elif i % processes.world() == processes.rank():
            blocks[start] = block(source, extractor, rows, batch, tell)
            if keep:
                folder.mkdir(parents=True, exist_ok=True)
                with replacing(path) as temporary:
                    save_file(blocks[start], temporary)
    parts = [share(blocks.get(start), i % processes.world()) for i, start in enumerate(starts)]
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return Features(joined["values"], joined.get("probabilities"), joined.get("label"))


def block(
    source: Source, extractor: Extractor, numbers: np.ndarray, batch: int, tell: Callable[[int], None]
) -> dict[str, Tensor]:
    """Features of these samples, on the CPU."""
    parts: dict[str, list[Tensor]] = {}
    for images, label in ahead(source, numbers, batch):
        values, probabilities = extractor.outputs(images)
        found = {"values": values, "probabilities": probabilities, "label": label}
        for name, tensor in found.items():
            if tensor is not None:
                parts.setdefault(name, []).append(tensor.cpu())
        tell(len(images))
    return {name: torch.cat(tensors).contiguous() for name, tensors in parts.items()}


def ahead(source: Source, numbers: np.ndarray, batch: int) -> Iterator[Rows]:
    """The samples in batches; those of a set are read by threads, up to four ahead of the network that looks at them."""
    pieces = [numbers[i : i + batch] for i in range(0, len(numbers), batch)]
    if source.recipe is not None:  # drawing moves torch's default generator, which threads must not
        yield from map(source.read, pieces)
        return
    with ThreadPoolExecutor(2, "gankit-evaluation") as pool:
        waiting = deque(pool.submit(source.read, piece) for piece in pieces[:4])
        for i in range(len(pieces)):
            yield waiting.popleft().result()
            waiting.extend(pool.submit(source.read, piece) for piece in pieces[i + 4 : i + 5])


def place(source: Source, extractor: Extractor, n: int, seed: int) -> Path:
    """The cache's folder for the features of these samples."""
    return (
        cache.location() / "features" / cache.key(source.fingerprint, extractor.fingerprint, extractor.dtype, n, seed)
    )


def forget(source: Source, extractor: Extractor, n: int, seed: int = 0) -> None:
    """Drop the blocks of a source that will not be asked for again."""
    shutil.rmtree(place(source, extractor, min(n, source.count), seed), ignore_errors=True)


def whole(path: Path, rows: int) -> dict[str, Tensor] | None:
    """A block that was written before, unless it is missing or damaged."""
    try:
        found = load_file(path)
    except Exception:  # a file that anyone may have cut or changed
        return None
    return found if len(found.get("values", ())) == rows else None


def share(part: dict[str, Tensor] | None, owner: int) -> dict[str, Tensor]:
    """A block of one process, given to all."""
    if processes.world() == 1:
        return part
    return load(processes.tell(save(part) if processes.rank() == owner else None, owner))
