"""Images side by side, and points as dots, as one picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from gankit import data


def cells(shape: Sequence[int]) -> int:
    """The number of samples of this shape in a preview: 100 images up to 64 px, 48 up to 256, or 12; 2500 points."""
    if len(shape) == 1:
        return 2500
    return 10 * 10 if shape[1] <= 64 else (8 * 6 if shape[1] <= 256 else 4 * 3)


def grid(samples: Tensor, columns: int = 0, widths: Sequence[int] = ()) -> Image.Image:
    """One picture of images (N, C, H, W) in [-1, 1] side by side, or of points (N, 2) as dots.

    Small images are enlarged by a whole factor; four channels keep their alpha; of two or more than four, one is shown.
    Column i shows the left `widths[i]` pixels of its images; default: all of them.
    """
    if samples.ndim == 2:
        return dots(samples)
    n, channels, height, width = samples.shape
    columns = columns or min(n, 10 if height <= 64 else (8 if height <= 256 else 4))
    rows = -(-n // columns)
    factor = max(1, round(64 / max(height, width)))
    images = data.quantise(samples if channels in (1, 3, 4) else samples[:, :1])
    pixels = images.repeat_interleave(factor, 2).repeat_interleave(factor, 3).permute(0, 2, 3, 1).numpy()
    gap = max(1, factor // 2)
    high, wide = height * factor + gap, [w * factor + gap for w in widths or [width] * columns]
    sheet = np.full((rows * high + gap, sum(wide) + gap, pixels.shape[3]), 255, np.uint8)
    for i, picture in enumerate(pixels):
        y, x, w = gap + i // columns * high, gap + sum(wide[: i % columns]), wide[i % columns] - gap
        sheet[y : y + high - gap, x : x + w] = picture[:, :w]
    return Image.fromarray(sheet[:, :, 0] if sheet.shape[2] == 1 else sheet)


def white(images: Tensor) -> Tensor:
    """Replace NaN, which marks empty cells, by white."""
    return images.nan_to_num(1.0)


def dots(points: Tensor, side: int = 512) -> Image.Image:
    """Points (N, 2), or the first two coordinates of each, as dots on white; the axes reach as far as the points."""
    xy = points[:, :2].double()
    reach = max(1.0, float(xy.abs().nan_to_num(0).max()) * 1.05)
    picture = Image.new("RGB", (side, side), "white")
    pen = ImageDraw.Draw(picture)
    for x, y in ((xy / reach + 1) / 2 * (side - 1)).tolist():
        pen.ellipse((x - 1.5, side - 1 - y - 1.5, x + 1.5, side - 1 - y + 1.5), fill=(30, 90, 160))
    return picture
