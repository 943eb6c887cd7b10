"""Batches of a run: this process's rows of the stream, on its device."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from gankit import data, processes
from gankit.recipe import Batch, Phase, can
from gankit.runs.config import Data
from gankit.training.run import Run

STRIPS = 8  # rows in a preview of inputs beside outputs


def open_stream(run: Run, source: Data, phase: Phase, size: int) -> Iterator[dict[str, Tensor]]:
    """This process's rows of the batches of `size` images that follow, at the phase's resolution."""
    rank, world = processes.rank(), processes.world()
    if size % world:
        raise ValueError(f"the batch of {size} from {run.images} images on does not divide by the {world} processes")
    rows = source.stream(run.images, size, phase.resolution, run.settings.seed, rank, world)
    return data.ahead(rows, run.settings.workers)


def make_batch(fields: dict[str, Tensor], run: Run, size: int) -> Batch:
    """A batch on the device: images from uint8 to [-1, 1], floats in the run's precision."""
    placed = {}
    for name, value in fields.items():
        value = value.to(run.device, non_blocking=True)
        if value.dtype == torch.uint8:
            value = data.normalise(value, run.dtype)
        elif value.is_floating_point():
            value = value.to(run.dtype)
        if value.ndim == 4:
            value = value.contiguous(memory_format=run.recipe.memory_format(run.settings.batch))
        placed[name] = value
    first = processes.rank() * size // processes.world()
    return Batch(placed, run.images, size, first, run.settings.seed, run.augment)


def fixed_inputs(run: Run, dataset: Data) -> Batch | None:
    """The inputs of all previews of a run: the first images of the stream; None for models that draw from latents."""
    if not can(run.recipe, "strip"):
        return None
    inputs = make_batch(next(dataset.stream(0, STRIPS, seed=run.settings.seed)), run, STRIPS)
    inputs.start = 0  # so that its random numbers are always the same
    return inputs
