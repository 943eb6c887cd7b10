"""Tensors to files: grids, sheets with captions, animations and curves. The file's ending decides the format."""

from gankit.pictures.animation import ANIMATIONS, animate
from gankit.pictures.curves import chart
from gankit.pictures.grid import cells, dots, grid, white
from gankit.pictures.sheet import sheet
from gankit.pictures.write import STILLS, save, save_arrays, save_one, save_picture

__all__ = [
    "ANIMATIONS",
    "STILLS",
    "animate",
    "cells",
    "chart",
    "dots",
    "grid",
    "save",
    "save_arrays",
    "save_one",
    "save_picture",
    "sheet",
    "white",
]
