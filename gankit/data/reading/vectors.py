"""Vectors from a NumPy file, with features to condition on: data for the cross-modal CGAN."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gankit.data.reading import arrays, cache
from gankit.data.reading.endings import ARRAYS
from gankit.data.stream import Dataset
from gankit.text import shown

NAMES = ("real", "condition", "label")


def is_vectors(path: Path) -> bool:
    """Whether a path is a .npz with `real`, or one without images: `open_vectors` says what is wrong with it."""
    if path.suffix.lower() != ARRAYS or not path.is_file():
        return False
    try:
        with arrays.open_npz(path) as file:
            return "real" in file.arrays or all(len(array.shape) < 3 for array in file.arrays.values())
    except ValueError:
        return True


def open_vectors(path: Path) -> Dataset:
    """A .npz with `real` (N, D), and optionally `condition` (N, C) and `label` (N,), integers from 0.

    Raises:
        ValueError: the file has other content; nothing in it is executed.
    """
    with arrays.open_npz(path) as file:
        summary, digest, contents = str(file), file.sha256(), file.read(NAMES)
    real, condition, label = map(contents.get, NAMES)
    if real is None or any(a.ndim != 2 or a.dtype.kind not in "fiub" for a in (real, condition) if a is not None):
        raise ValueError(f"it must hold numbers `real` (N, D), and may hold `condition` (N, C); found {summary}")
    if not real.size or len({len(array) if array.ndim else -1 for array in contents.values()}) > 1:
        raise ValueError(f"the arrays must have one length, and not be empty; found {summary}")
    if label is not None and (
        label.ndim != 1 or label.dtype.kind not in "iu" or label.min() < 0 or label.max() >= len(label)
    ):
        raise ValueError(f"label must be integers from 0, (N,); found {summary}")
    real, condition = real.astype(np.float32), None if condition is None else condition.astype(np.float32)
    if not all(np.isfinite(a).all() for a in (real, condition) if a is not None):
        raise ValueError("it holds numbers that are not finite")
    return Dataset(
        name=path.stem,
        kind="vectors",
        shape=real.shape[1:],
        size=len(real),
        read=real.__getitem__,
        fingerprint=cache.key(digest),
        labels=None if label is None else label.astype(np.int64),
        class_names=[] if label is None else [str(i) for i in range(int(label.max()) + 1)],
        conditions=condition,
    )


def read_conditions(path: Path) -> Tensor:
    """The `condition` (N, C) of a .npz, float32.

    Raises:
        ValueError: the file has other content; nothing in it is executed.
    """
    with arrays.open_npz(path) as file:
        summary, condition = str(file), file.read(("condition",)).get("condition")
    is_table = condition is not None and condition.ndim == 2 and condition.size and condition.dtype.kind in "fiub"
    if condition is None or not is_table or not np.isfinite(condition).all():
        raise ValueError(f"{shown(str(path))} must hold finite numbers `condition` (N, C); found {summary}")
    return torch.from_numpy(condition.astype(np.float32))
