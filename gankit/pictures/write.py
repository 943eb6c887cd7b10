"""One writer for every picture: the file's ending decides the format, and captions are drawn in each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from gankit import data
from gankit.data.reading.endings import OPAQUE
from gankit.pictures.grid import grid
from gankit.pictures.sheet import sheet
from gankit.runs.files import replacing

STILLS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
"""Pillow's name of the format, for each file ending."""
OPTIONS: dict[str, dict[str, object]] = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}


def save(
    path: Path,
    samples: Tensor,
    columns: int = 0,
    heads: Sequence[str] = (),
    sides: Sequence[str] = (),
    seeds: Sequence[int] = (),
) -> Path:
    """Write samples atomically to one file: a picture of all of them, or arrays as .npz. Returns the path.

    Args:
        path: the file, whose ending is one of STILLS, or .npz.
        samples: (N, C, H, W) in [-1, 1], or (N, D) points.
        columns: of the grid; 0 for as many as suit the size.
        heads: captions above the columns of a picture.
        sides: captions beside its rows.
        seeds: of the samples, stored in a .npz beside `samples` (uint8 NHWC, or float points).

    Raises:
        ValueError: the ending is none of these.
        OSError: the file cannot be written.
    """
    if path.suffix.lower() == ".npz":
        images = data.quantise(samples).permute(0, 2, 3, 1) if samples.ndim == 4 else samples
        return save_arrays(path, samples=images.numpy(), seeds=np.array(seeds))
    picture = sheet(samples, columns, heads, sides) if heads or sides else grid(samples, columns)
    return save_picture(path, picture)


def save_one(path: Path, sample: Tensor) -> Path:
    """Write one sample (C, H, W) in [-1, 1] at its own size."""
    pixels = data.quantise(sample if len(sample) in (1, 3, 4) else sample[:1]).permute(1, 2, 0).numpy()
    return save_picture(path, Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))


def save_picture(path: Path, picture: Image.Image) -> Path:
    """Write a picture in the format of the path's ending; in JPEG and BMP, transparent pixels become white.

    Raises:
        ValueError: the ending is not one of STILLS.
    """
    ending = path.suffix.lower()
    if ending not in STILLS:
        raise ValueError(f"cannot write samples as {path.name}; use {', '.join(STILLS)} for a grid or .npz for arrays")
    if ending in OPAQUE and picture.mode in ("LA", "RGBA"):
        background = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(background, picture.convert("RGBA")).convert(picture.mode[:-1])
    kind = STILLS[ending]
    with replacing(path) as temporary:
        picture.save(temporary, kind, **OPTIONS.get(kind, {}))
    return path


def save_arrays(path: Path, **arrays: np.ndarray) -> Path:
    """Write arrays as .npz."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # no array is called allow_pickle
    return path
