"""What experiments on images share: built-in images as tensors, and small models trained on them."""

from __future__ import annotations

import tempfile

import numpy as np
import torch
from torch import Tensor

from gankit import data, training
from gankit.data.pixels import normalise
from gankit.recipe import Recipe
from gankit.runs.trained import load


def images(name: str, resolution: int | str = "", count: int = 0) -> tuple[Tensor, Tensor]:
    """The first `count` images of a built-in set, (N, C, H, W) in [-1, 1], and their labels (N,), -1 where it has none.

    Args:
        name: of the set.
        resolution: side, or "64x96"; default: the set's own.
        count: 0 for all.
    """
    dataset = data.open(name, resolution or None)
    assert isinstance(dataset, data.Dataset)
    rows = dataset.rows(np.arange(min(count, len(dataset)) if count else len(dataset)))
    real = normalise(rows["real"])
    return real, rows.get("label", torch.full((len(real),), -1))


def all_digits(side: int = 8) -> tuple[Tensor, Tensor]:
    """All 1,797 handwritten digits, in random order: (N, 1, side, side) in [-1, 1], and their (N,) classes."""
    pixels, labels = map(torch.cat, zip(*(images(f"digits{part}", side) for part in ("", ":test"))))
    order = torch.randperm(len(pixels))
    return pixels[order], labels[order]


def trained(model: str, **options: object) -> Recipe:
    """A model in eval mode, with averaged weights, after a run of `gankit.train` with its options, which is deleted."""
    with tempfile.TemporaryDirectory() as folder:
        run = training.train(model, outdir=folder, quiet=True, device="cpu", preview=0, **options)  # type: ignore[arg-type]
        return load(run.folder, device="cpu").recipe
