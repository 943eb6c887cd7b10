"""Built-in data sets, which need no download: each module lists its own by name in `SETS`."""

from __future__ import annotations

from collections.abc import Callable

from gankit.data.builtin import cells, digits, drawn_faces, photos, points, scenes, shapes
from gankit.data.domains import Domains
from gankit.data.stream import Dataset, Size

BUILTIN: dict[str, Callable[[Size], Dataset | Domains]] = {
    name: make
    for module in (digits, photos, shapes, points, drawn_faces, scenes, cells)
    for name, make in module.SETS.items()
}
