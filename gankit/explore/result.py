"""What a tool gives: a picture with captions, numbers, maybe an animation and arrays; and how it is written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gankit import pictures
from gankit.pictures import sheet, white
from gankit.runs.files import replacing, write_text


@dataclass
class Result:
    """What a tool found.

    Args:
        images: (N, C, H, W) in [-1, 1], the picture's cells, row by row; NaN leaves a cell white.
        columns: cells in a row.
        heads: a caption above each column, or none.
        sides: a caption beside each row, or none.
        numbers: what was measured, for TOOL.json.
        frames: an animation, or none: each frame is (M, C, H, W).
        frame_columns: cells in a row of a frame.
        fps: frames a second.
        arrays: what other tools may read, for TOOL.npz.
        say: lines for the user.
    """

    images: Tensor
    columns: int
    heads: Sequence[str] = ()
    sides: Sequence[str] = ()
    numbers: dict[str, object] = field(default_factory=dict)
    frames: Sequence[Tensor] = ()
    frame_columns: int = 0
    fps: int = 12
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    say: list[str] = field(default_factory=list)

    def picture(self) -> Image.Image:
        """The cells as one picture, with its captions."""
        return sheet(self.images, self.columns, self.heads, self.sides)

    def write(self, stem: Path, animation: Sequence[str] = ("webp",)) -> list[Path]:
        """Write STEM.png, STEM.json, and where there is such, STEM.npz and animations; returns the paths.

        Raises:
            ValueError: an animation's kind is unknown, or cannot be written here.
        """
        stem.parent.mkdir(parents=True, exist_ok=True)
        paths = [stem.with_name(stem.name + ".png")]
        with replacing(paths[0]) as temporary:
            self.picture().save(temporary, "PNG")
        if self.frames:
            drawn = [pictures.grid(white(frame), self.frame_columns or len(frame)) for frame in self.frames]
            paths += [pictures.animate(stem.with_name(f"{stem.name}.{kind}"), drawn, self.fps) for kind in animation]
        if self.arrays:
            paths.append(stem.with_name(stem.name + ".npz"))
            with replacing(paths[-1]) as temporary, open(temporary, "wb") as file:
                np.savez(file, **self.arrays)
        paths.append(stem.with_name(stem.name + ".json"))
        write_text(paths[-1], json.dumps(self.numbers, indent=2) + "\n")
        return paths


def blank(images: Tensor, n: int = 1) -> Tensor:
    """`n` cells that stay white, of the shape of these images."""
    return torch.full((n, *images.shape[1:]), float("nan"))
