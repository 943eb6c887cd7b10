"""Where the files of a data set are, which part of them is read, and whether they are two sides."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from gankit.data.naming import part_in
from gankit.data.reading import patterns
from gankit.data.reading.formats import parquet_images
from gankit.data.reading.parts import TRAIN, Parts, of_path
from gankit.data.reading.patterns import Layout, TwoSided
from gankit.data.stream import Division


class Located(NamedTuple):
    """The files at a path, and the part of them to read; "" for all parts."""

    path: Path
    part: str
    parts: Parts

    def division(self, held_out: str = "") -> Division | None:
        """How the data is divided into parts, with the name of the held-out data; None where there are no parts."""
        counts = self.parts.counts() if not self.parts.question else {}
        if not counts and not held_out:
            return None
        held = held_out or (self.parts.held_out() if self.part == TRAIN else "")
        return Division(self.parts.title or "no parts", self.part, counts, held)

    def domains(self) -> tuple[str, str] | None:
        """The folders of two domains, as names; None for other data."""
        if not self.path.is_dir():
            return None
        sides = self.parts.sides(self.part)
        if len(sides) == 1 and sides.keys() < {"A", "B"}:  # the other folder may hold no images
            side, folder = next(iter(sides.items()))
            sides["AB".replace(side, "")] = f"{folder.removesuffix(side)}{'AB'.replace(side, '')}"
        both = [self.path / sides[side] for side in "AB"] if sides.keys() == {"A", "B"} else []
        return (str(both[0]), str(both[1])) if both and all(folder.is_dir() for folder in both) else None

    def two_sided(self, want: str, pair: str = "") -> TwoSided | None:
        """Where two-sided samples are, by the user's patterns or by names that are known; None for other data.

        `pair` is the option of this name. Raises ValueError: it does not fit, or is needed.
        """
        if parquet_images.holds_shards(self.path):
            columns = parquet_images.sides(self.path, self.part, want, pair)
            return columns and TwoSided(*columns)
        if pair:
            return self._named(patterns.parse(pair)._replace(kind="masks" if want == "masks" else "pairs"))
        maps = self.parts.label_maps(self.part) if self.path.is_dir() else None
        if maps and self.parts.holds(maps, self.part):
            return TwoSided("masks", [self.path / side for side in maps])
        both = self.domains() if want == "pairs" else None
        if both:
            return TwoSided("pairs", list(map(Path, both)))
        if known := patterns.recognised(self.parts.names(self.part), "masks" if maps and want != "pairs" else want):
            return self._named(known)
        if want != "pairs":
            return None
        folder = self.parts.folder(self.part) if self.path.is_dir() and self.part else None
        return TwoSided("pairs", [self.path / folder if folder else self.path])

    def _named(self, layout: Layout) -> TwoSided:
        kind = "pairs" if layout.kind == "pairs" else "masks"
        return TwoSided(kind, [self.path], layout, self.parts, self.part)


def locate(name: str | Path, path: Path, split: str = "") -> Located:
    """The files at a path, and the part that its name or the option `split` says.

    Raises:
        ValueError: there is no such part, or it must be said which one is meant.
    """
    parts = of_path(path)
    return Located(path, parts.choose(part_in(name) or split), parts)
