"""Two sets of images as one data set: two domains, sampled independently, or the two sides of pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from gankit.data import display, draws
from gankit.data.reading import cache
from gankit.data.stream import Batches, Dataset, Division, Stream
from gankit.data.thumbnails import share
from gankit.text import shown

SECOND = 3  # purpose of random numbers: the seed of b's order and mirroring
HOW = (
    "Two domains are one folder with A/ and B/ (or trainA/ and trainB/) in it, "
    "or two names with a comma between: photos,paintings"
)


@dataclass
class Domains:
    """Two sets of images of one height and width, whose channels may differ, with the interface of `Dataset`.

    Args:
        name: short name, usable as a folder name.
        a, b: the domains, or the two sides of pairs.
        mirror: flip images of the stream, each with probability one half; both sides of a pair together.
        kind: "domains", with independent orders, or "pairs": image i of b belongs to image i of a.
        notes: what a user should know about both, in plain sentences.
        division: how the data is divided into parts; None where it is not.
    """

    name: str
    a: Dataset
    b: Dataset
    mirror: bool = False
    kind: str = "domains"
    num_classes: int = 0
    condition_dim: int = 0
    class_names: list[str] = field(default_factory=list)
    fingerprint: str = ""
    notes: list[str] = field(default_factory=list)
    division: Division | None = None

    def __post_init__(self) -> None:
        for title, domain in (("A", self.a), ("B", self.b)):
            if domain.kind != "images":
                raise ValueError(f"{title} holds {domain.kind}, and domains hold images")
        sizes = self.a.shape[1:], self.b.shape[1:]
        if sizes[0] != sizes[1]:
            a, b = ("x".join(map(str, size)) for size in sizes)
            raise ValueError(
                f"A's images are {a} (height x width) and B's {b}; "
                f"both need one size, say --resolution {min(map(min, sizes))}"
            )
        if self.kind == "pairs" and len(self.a) != len(self.b):
            raise ValueError(f"A holds {len(self.a)} images and B {len(self.b)}; pairs need one of each")
        self.fingerprint = self.fingerprint or cache.key(self.kind, self.a.fingerprint, self.b.fingerprint)

    def __len__(self) -> int:
        return len(self.a) if self.kind == "pairs" else len(self.a) + len(self.b)

    def __repr__(self) -> str:
        return display.one_line(self)

    def _repr_html_(self) -> str:
        return display.as_html(self)

    @property
    def scales(self) -> tuple[tuple[float, float] | None, ...]:
        return *self.a.scales, *self.b.scales

    @property
    def shape(self) -> tuple[int, ...]:
        return self.a.shape

    @property
    def other(self) -> tuple[int, ...]:
        return self.b.shape

    @property
    def skipped(self) -> list[tuple[str, str]]:
        return self.a.skipped + self.b.skipped

    @property
    def faults(self) -> dict[str, str]:
        return {}

    @property
    def warnings(self) -> list[str]:
        of_sides = [f"{title}: {text}" for title, side in (("A", self.a), ("B", self.b)) for text in side.warnings]
        return [*self.notes, *of_sides]

    def first_images(self, count: int) -> tuple[list[Tensor], list[str]]:
        """About the first `count` images of the stream: those of A (n, C, H, W) and those of B, uint8; no texts."""
        rows = next(self.stream(0, share(count, 2)))
        return [rows["a"], rows["b"]], []

    def stream(
        self, start: int, batch: int, resolution: int | None = None, seed: int = 0, rank: int = 0, world: int = 1
    ) -> DomainStream:
        """An endless stream of batches with `batch` rows from each domain; arguments as of `Dataset.stream`.

        Both sides of pairs have the same order and mirroring.

        Raises:
            ValueError: as `Dataset.stream`.
        """
        apart = int(draws.bits(seed, SECOND)[0] >> np.uint64(1))  # else sets of equal size would have one order
        seeds = seed, seed if self.kind == "pairs" else apart
        a, b = (
            replace(domain, mirror=self.mirror).stream(start, batch, resolution, domain_seed, rank, world)
            for domain, domain_seed in zip((self.a, self.b), seeds)
        )
        return DomainStream(a, b)


@dataclass
class DomainStream(Batches):
    """Batches of both domains, at the same positions of their streams."""

    a: Stream
    b: Stream

    def at(self, i: int) -> dict[str, Tensor]:
        return {"a": self.a.at(i)["real"], "b": self.b.at(i)["real"]}


def split(name: str | Path) -> tuple[str, str] | None:
    """The two names in the user's text, which a comma separates; None if it names other data.

    Raises:
        ValueError: there is a comma, but not two names.
    """
    text = str(name)
    if "\0" in text or "," not in text or Path(text).expanduser().exists():
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2 or not all(parts):
        raise ValueError(f"{shown(text)!r} is not two names. {HOW}")
    return parts[0], parts[1]


def join(name: str | Path, parts: tuple[str, str], open_part: Callable[[str], Dataset]) -> Domains:
    """Two domains as one data set, each opened by its name with `open_part`."""
    path = Path(name).expanduser()
    path = path if path.is_dir() else path.with_name(path.name.rpartition(":")[0] or path.name)
    title = path.resolve().name if path.is_dir() else "-".join(Path(part).name for part in parts)
    a, b = (open_part(part) for part in parts)
    beside = [e.name for e in path.iterdir() if e.is_file() and not e.name.startswith(".")] if path.is_dir() else []
    if beside:
        text = f"{len(beside)} files beside the folders of the domains are not used ({', '.join(sorted(beside)[:3])})"
        return Domains(title or "domains", a, b, notes=[text])
    return Domains(title or "domains", a, b)
