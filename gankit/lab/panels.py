"""How the lab draws: one style, panels, and figures as pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

REAL, FAKE, CRITIC, THEORY, OTHER = "#2f6fb3", "#d9822b", "#1b7f46", "#1d2127", "#8c56a5"
"""Colours: real samples and their density, generated ones, discriminators and critics, closed forms, whatever else."""
STYLE = {
    "figure.dpi": 110,
    "figure.facecolor": "white",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e7ec",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "image.cmap": "viridis",
    "axes.prop_cycle": "cycler('color', ['#2f6fb3', '#d9822b', '#1b7f46', '#8c56a5', '#b3361f', '#5c636d', '#00838f'])",
}
"""Settings of matplotlib, which hold while an experiment runs."""


def panels(
    titles: Sequence[str], columns: int = 0, width: float = 3.2, height: float = 2.7
) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each title, row by row.

    Args:
        titles: of the panels.
        columns: panels in a row; 0 for all of them.
        width, height: of a panel in inches.
    """
    columns = columns or len(titles)
    rows = -(-len(titles) // columns)
    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for axes in grid[len(titles) :]:
        axes.set_visible(False)
    for axes, title in zip(grid, titles):
        axes.set_title(title)
    return figure, grid[: len(titles)]


def picture(figure: Figure) -> Image.Image:
    """A figure as a picture."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return Image.open(file).convert("RGB")


def heat(
    axes: Axes,
    values: np.ndarray,
    extent: tuple[float, float, float, float],
    low: float | None = None,
    high: float | None = None,
) -> None:
    """Values (H, W) over a plane, row 0 at the bottom.

    Args:
        axes, values: where, and what.
        extent: (left, right, bottom, top) of the plane.
        low, high: the values of the first and the last colour; default: those of `values`.
    """
    axes.imshow(values, origin="lower", extent=extent, aspect="auto", interpolation="bilinear", vmin=low, vmax=high)
    axes.grid(False)


def show(axes: Axes, image: Tensor) -> None:
    """An image (C, H, W) in [-1, 1], of 1 or 3 channels; values outside are clamped."""
    pixels = ((image.detach().float() + 1) / 2).clamp(0, 1).permute(1, 2, 0)
    axes.imshow(pixels.expand(-1, -1, 3).numpy(), interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.grid(False)


def show_sheet(axes: Axes, images: Tensor, columns: int) -> None:
    """Images (N, C, H, W) in [-1, 1] in rows, with white lines between them."""
    padded = torch.nn.functional.pad(images, (0, 1, 0, 1), value=1.0)
    rows = [torch.cat(list(row), 2) for row in padded.split(columns) if len(row) == columns]
    show(axes, torch.cat(rows, 1))
    axes.set_frame_on(False)
