"""Tensors to files: grids, sheets with captions, animations and curves. The file's ending decides the format."""

from gankit.pictures.animation import ANIMATIONS, animate
from gankit.pictures.curves import Mark, chart
from gankit.pictures.grid import cells, dots, grid, white
from gankit.pictures.inline import as_png, inline
from gankit.pictures.samples import as_samples
from gankit.pictures.sheet import sheet
from gankit.pictures.write import STILLS, save, save_arrays, save_one, save_picture

__all__ = [
    "ANIMATIONS",
    "STILLS",
    "Mark",
    "animate",
    "as_png",
    "as_samples",
    "cells",
    "chart",
    "dots",
    "grid",
    "inline",
    "save",
    "save_arrays",
    "save_one",
    "save_picture",
    "sheet",
    "white",
]
