"""Features of samples, cached in blocks of a thousand, so that an interrupted evaluation continues."""

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
from gankit.evaluation.sources import Rows, Samples, required
from gankit.metrics.extractors import Extractor
from gankit.runs.files import replacing

BLOCK = 1000  # rows; separate from the batch size, so that the cache does not depend on it


class Features(NamedTuple):
    """The output of a feature extractor for (N, ...) samples.

    Args:
        values: (N, d) features.
        probabilities: (N, K) of its classes, or None if it has none.
        label: (N,) the labels of the samples, or None.
    """

    values: Tensor
    probabilities: Tensor | None
    label: Tensor | None

    def __len__(self) -> int:
        return len(self.values)


def extract(
    samples: Samples,
    extractor: Extractor,
    n: int,
    batch: int = 64,
    seed: int = 0,
    keep: bool = True,
    report_progress: Callable[[int], None] = lambda rows: None,
) -> Features:
    """Features of n samples (of all if there are fewer), the same for any batch and any number of processes.

    Args:
        samples: the samples; from a data set a random choice by `seed`.
        extractor: the feature extractor.
        n: number of samples.
        batch: samples that go through the networks at once.
        seed: of the choice.
        keep: write blocks to the cache, and read those that it has.
        report_progress: called with the number of rows of each batch.
    """
    numbers = samples.numbers(n, seed)
    n = len(numbers)
    folder = cache_folder(samples, extractor, n, seed)
    starts = range(0, n, BLOCK)
    blocks: dict[int, dict[str, Tensor]] = {}
    for i, start in enumerate(starts):
        path = folder / f"{start:09d}.safetensors"
        rows = numbers[start : start + BLOCK]
        if keep and (cached := read_block(path, len(rows))):
            blocks[start] = cached
            report_progress(len(rows))
        elif i % processes.world() == processes.rank():
            blocks[start] = block(samples, extractor, rows, batch, report_progress)
            if keep:
                folder.mkdir(parents=True, exist_ok=True)
                with replacing(path) as temporary:
                    save_file(blocks[start], temporary)
    parts = [share(blocks.get(start), i % processes.world()) for i, start in enumerate(starts)]
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return Features(joined["values"], joined.get("probabilities"), joined.get("label"))


def block(
    samples: Samples, extractor: Extractor, numbers: np.ndarray, batch: int, report_progress: Callable[[int], None]
) -> dict[str, Tensor]:
    """Features of these samples, on the CPU."""
    parts: dict[str, list[Tensor]] = {}
    for images, label in read_ahead(samples, numbers, batch):
        values, probabilities = extractor.outputs(images)
        for name, tensor in {"values": values, "probabilities": probabilities, "label": label}.items():
            if tensor is not None:
                parts.setdefault(name, []).append(tensor.cpu())
        report_progress(len(images))
    return {name: torch.cat(tensors).contiguous() for name, tensors in parts.items()}


def read_ahead(samples: Samples, numbers: np.ndarray, batch: int) -> Iterator[Rows]:
    """The samples in batches; threads read those of a data set, up to four batches ahead of the network."""
    pieces = [numbers[i : i + batch] for i in range(0, len(numbers), batch)]
    if samples.recipe is not None:  # sampling advances torch's default generator: not in threads
        yield from map(samples.read, pieces)
        return
    with ThreadPoolExecutor(2, "gankit-evaluation") as pool:
        waiting = deque(pool.submit(samples.read, piece) for piece in pieces[:4])
        for i in range(len(pieces)):
            yield waiting.popleft().result()
            waiting.extend(pool.submit(samples.read, piece) for piece in pieces[i + 4 : i + 5])


def cache_folder(samples: Samples, extractor: Extractor, n: int, seed: int) -> Path:
    """The cache's folder for the features of these samples."""
    key = cache.key(samples.fingerprint, extractor.fingerprint, extractor.dtype, n, seed)
    return cache.location() / "features" / key


def forget(samples: Samples, extractor: Extractor, n: int, seed: int = 0) -> None:
    """Drop cached features that will not be used again."""
    shutil.rmtree(cache_folder(samples, extractor, min(n, samples.count), seed), ignore_errors=True)


def read_block(path: Path, rows: int) -> dict[str, Tensor] | None:
    """A block of the cache, unless it is missing or damaged."""
    try:
        tensors = load_file(path)
    except Exception:  # the file may be incomplete or changed
        return None
    return tensors if len(tensors.get("values", ())) == rows else None


def share(part: dict[str, Tensor] | None, owner: int) -> dict[str, Tensor]:
    """A block, broadcast from the process `owner` to all."""
    if processes.world() == 1:
        return required(part)
    return load(required(processes.tell(save(required(part)) if processes.rank() == owner else None, owner)))
