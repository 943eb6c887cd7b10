"""What a tool returns: captioned images, numbers, maybe an animation and arrays; and how it is written to files."""

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
from gankit.html import figure, table
from gankit.pictures import sheet, white
from gankit.runs.files import write_text


@dataclass
class Result:
    """The output of a tool.

    Args:
        images: (N, C, H, W) in [-1, 1], the cells of the picture, row by row; NaN leaves a cell white.
        columns: cells per row.
        heads: captions above the columns, or none.
        sides: captions beside the rows, or none.
        numbers: measurements, for TOOL.json.
        frames: an animation, or none: each frame is (M, C, H, W).
        frame_columns: cells per row of a frame; 0 for one row.
        fps: frames per second.
        arrays: input for other tools, for TOOL.npz.
        say: lines to print.
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

    def __repr__(self) -> str:
        shape, frames = "x".join(map(str, self.images.shape[1:])), f", {len(self.frames)} frames" * bool(self.frames)
        return f"<Result: {len(self.images)} images of {shape} in {self.columns} columns{frames}>"

    def _repr_html_(self) -> str:
        numbers = {name: value for name, value in self.numbers.items() if not isinstance(value, (dict, list))}
        return figure(pictures.as_png(self.picture()), " ".join(self.say)) + (table("", numbers) if numbers else "")

    def picture(self) -> Image.Image:
        """The cells as one image with captions."""
        return sheet(self.images, self.columns, self.heads, self.sides)

    def write(self, stem: Path, animation: Sequence[str] = ("webp",)) -> list[Path]:
        """Write STEM.png, STEM.json, STEM.npz if there are arrays, and the animation in each format; returns the paths.

        Raises:
            ValueError: an animation format is unknown or not available on this machine.
        """
        stem.parent.mkdir(parents=True, exist_ok=True)
        paths = [stem.with_name(stem.name + ".png")]
        pictures.save_picture(paths[0], self.picture())
        if self.frames:
            grids = [pictures.grid(white(frame), self.frame_columns or len(frame)) for frame in self.frames]
            paths += [pictures.animate(stem.with_name(f"{stem.name}.{kind}"), grids, self.fps) for kind in animation]
        if self.arrays:
            paths.append(stem.with_name(stem.name + ".npz"))
            pictures.save_arrays(paths[-1], **self.arrays)
        paths.append(stem.with_name(stem.name + ".json"))
        write_text(paths[-1], json.dumps(self.numbers, indent=2) + "\n")
        return paths


def blank(images: Tensor, n: int = 1) -> Tensor:
    """`n` white cells with the shape of these images."""
    return torch.full((n, *images.shape[1:]), float("nan"))
