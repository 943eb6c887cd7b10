"""Vectors from a NumPy file, each with a feature vector beside it: data for the cross-modal CGAN."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gankit.data import cache
from gankit.data.stream import Dataset

MAX_BYTES = 2**33


def open_vectors(path: Path) -> Dataset:
    """A .npz with `real` (N, D), and maybe `condition` (N, C) or `label` (N,), whole numbers from 0.

    Raises:
        ValueError: the file is no such thing; nothing in it is executed.
    """
    content = path.read_bytes()
    arrays = read_arrays(content)
    found = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in arrays.items()) or "neither"
    real, condition, label = (arrays.get(name) for name in ("real", "condition", "label"))
    if real is None or any(a.ndim != 2 or a.dtype.kind not in "fiub" for a in (real, condition) if a is not None):
        raise ValueError(f"it must hold numbers `real` (N, D), and may hold `condition` (N, C); found {found}")
    if not real.size or len({len(array) for array in arrays.values()}) > 1:
        raise ValueError(f"the arrays must be as long as each other, and not empty; found {found}")
    if label is not None and (
        label.ndim != 1 or label.dtype.kind not in "iu" or label.min() < 0 or label.max() >= len(label)
    ):
        raise ValueError(f"label must be whole numbers from 0, (N,); found {found}")
    real, condition = (None if a is None else a.astype(np.float32) for a in (real, condition))
    if not all(np.isfinite(a).all() for a in (real, condition) if a is not None):
        raise ValueError("it holds numbers that are not finite")
    return Dataset(
        name=path.stem,
        kind="vectors",
        shape=real.shape[1:],
        size=len(real),
        read=real.__getitem__,
        fingerprint=cache.key(hashlib.sha256(content).hexdigest()),
        labels=None if label is None else label.astype(np.int64),
        class_names=[] if label is None else [str(i) for i in range(int(label.max()) + 1)],
        conditions=condition,
    )


def read_conditions(path: Path) -> Tensor:
    """The `condition` (N, C) of a .npz, float32.

    Raises:
        ValueError: the file is no such thing; nothing in it is executed.
    """
    found = read_arrays(path.read_bytes()).get("condition")
    if found is None or found.ndim != 2 or found.dtype.kind not in "fiub" or not np.isfinite(found).all():
        raise ValueError(f"{path} must hold finite numbers `condition` (N, C)")
    return torch.from_numpy(found.astype(np.float32))


def read_arrays(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of a .npz that mean something here."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise ValueError("not a whole .npz, which is a zip of arrays")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:  # a member never gives more bytes than it says here
        if (size := sum(member.file_size for member in archive.infolist())) > MAX_BYTES:
            raise ValueError(f"it unpacks to {size:,} bytes, and more than {MAX_BYTES:,} are refused: split it")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {name: file[name] for name in file.files if name in ("real", "condition", "label")}
    except Exception as error:  # untrusted bytes: zip, zlib and NumPy each raise what they like
        raise ValueError(f"not a whole .npz of plain arrays: {error}") from error
