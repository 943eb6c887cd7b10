"""How the lab draws: one style, panels, and figures as pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

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
