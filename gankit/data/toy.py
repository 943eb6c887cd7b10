"""Data whose truth is known: mixtures of Gaussians in the plane, a spiral, and drawn shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from gankit.data import cache, draws
from gankit.data.stream import Dataset, Modes

VERSION = 1  # of what is drawn: another number is other data
SIZE = 100_000  # the training set of PacGAN's protocol, and of the others here
RING, GRID, ROLL, SHAPES = range(4)  # seeds

# Centres (K, 2) and standard deviation as VEEGAN (Srivastava et al., 2017) and PacGAN (Lin et al., 2018) publish them.
_angles = 2 * np.pi * np.arange(8) / 8
MODES: dict[str, tuple[np.ndarray, float]] = {
    "ring": (np.stack([np.cos(_angles), np.sin(_angles)], 1), 0.01),
    "grid": (np.stack(np.meshgrid([-4.0, -2, 0, 2, 4], [-4.0, -2, 0, 2, 4]), -1).reshape(-1, 2), 0.05),
}
KINDS = {"circle": 0, "triangle": 3, "square": 4}  # corners
COLOURS = {
    "red": (230, 40, 40),
    "green": (40, 190, 60),
    "blue": (60, 90, 240),
    "yellow": (240, 220, 40),
    "magenta": (220, 60, 210),
    "white": (250, 250, 250),
}
EDGES = (-0.15, 0.15)  # between the places that captions name, as shares of half the shorter side
PLACES = {
    (row, column): (
        "in the centre" if row == column == 1 else f"at the {high} {side}".replace("middle ", "").replace(" centre", "")
    )
    for row, high in enumerate(("top", "middle", "bottom"))
    for column, side in enumerate(("left", "centre", "right"))
}


def ring(_: object = None) -> Dataset:
    """100,000 points of 8 Gaussians on a circle of radius 1, standard deviation 0.01, labelled."""
    return _mixture("ring", RING)


def grid(_: object = None) -> Dataset:
    """100,000 points of 25 Gaussians at {-4, -2, 0, 2, 4} squared, standard deviation 0.05, labelled."""
    return _mixture("grid", GRID)


def swissroll(_: object = None) -> Dataset:
    """100,000 points of a spiral of one and a half turns with noise of 0.25, all over 7.5, as WGAN-GP's toys."""
    numbers = np.arange(SIZE)
    turn = 1.5 * np.pi * (1 + 2 * draws.uniform(ROLL, 0, numbers))
    roll = np.stack([turn * np.cos(turn), turn * np.sin(turn)], 1)
    return _points("swissroll", (roll + 0.25 * draws.normal(ROLL, 1, numbers[:, None], np.arange(2))) / 7.5)


def shapes(size: tuple[int, int] | None) -> Dataset:
    """100,000 drawings of one shape, 64x64 or another size, labelled by shape; factors as attributes, and a caption.

    Attributes: 1 for the shape and 1 for the colour it has, 0 for the others; size, x and y as shares of half the
    shorter side, y downwards; angle in degrees, anticlockwise from standing on a side, less than
    a turn that changes nothing.
    """
    height, width = size or (64, 64)
    drawn = _draw(np.arange(SIZE), height, width, lambda share: 0.3 + 0.4 * share)
    one_hot = [np.eye(len(names), dtype=np.float32)[i] for names, i in ((KINDS, drawn.kind), (COLOURS, drawn.colour))]
    places = [("left", "centre", "right")[i] for i in np.digitize(drawn.x, (-0.2, 0.2))]
    levels = [("top", "middle", "bottom")[i] for i in np.digitize(drawn.y, (-0.2, 0.2))]
    big = np.where(drawn.radius < 0.5, "small", "large")
    return Dataset(
        name="shapes",
        kind="images",
        shape=(3, height, width),
        size=SIZE,
        read=drawn.read,
        fingerprint=cache.key("shapes", height, width, VERSION),
        labels=drawn.kind,
        class_names=list(KINDS),
        attributes=np.concatenate([*one_hot, drawn.factors[:, :3], drawn.angle[:, None].astype(np.float32)], 1),
        attribute_names=[*KINDS, *COLOURS, "size", "x", "y", "angle"],
        captions=[
            f"a {b} {list(COLOURS)[c]} {list(KINDS)[k]} at the {level} {place}, turned by {a:.0f} degrees"
            for b, c, k, level, place, a in zip(big, drawn.colour, drawn.kind, levels, places, drawn.angle)
        ],
    )


def shapes_known(known: str, part: str, size: tuple[int, int] | None) -> Dataset:
    """Drawings as `shapes`, 32x32 or another size, either small or large, of which one thing is known as attributes.

    Two such sets share no drawing, so joined as shapes:colours+shapes:sizes neither colour nor size is known of all.

    Args:
        known: "colours" (one attribute for each, of which just one holds), "sizes" (one attribute, large: a radius of
            0.62 to 0.72 of half the shorter side, where small is 0.28 to 0.38) or "both" (all of them, for every drawing).
        part: "train", the first 90 % of the drawings, or "test".
        size: height and width.
    """
    height, width = size or (32, 32)
    first, last = {"train": (0, SIZE * 9 // 10), "test": (SIZE * 9 // 10, SIZE)}[part]
    numbers = {
        "colours": np.arange(first, last, 2),
        "sizes": np.arange(first + 1, last, 2),
        "both": np.arange(first, last),
    }
    drawn = _draw(numbers[known], height, width, lambda share: 0.28 + 0.2 * share + 0.24 * (share >= 0.5))
    colours = np.eye(len(COLOURS), dtype=np.float32)[drawn.colour]
    large = (drawn.radius > 0.5).astype(np.float32)[:, None]
    held = {"colours": [colours], "sizes": [large], "both": [colours, large]}[known]
    return Dataset(
        name=f"shapes-{known}",
        kind="images",
        shape=(3, height, width),
        size=len(numbers[known]),
        read=drawn.read,
        fingerprint=cache.key("shapes", known, part, height, width, VERSION),
        labels=drawn.kind,
        class_names=list(KINDS),
        attributes=np.concatenate(held, 1),
        attribute_names=[*COLOURS] * (known != "sizes") + ["large"] * (known != "colours"),
        exclusive=known == "colours",
    )


def shapes_told(part: str, size: tuple[int, int] | None) -> Dataset:
    """Drawings as `shapes`, 64x64 or another size, small or large and apart in place, told in three captions each.

    Every colour, shape, size and place is in both parts, but no kind of shape in a colour is: of eighteen such pairs three
    are held out, a blue circle, a yellow triangle and a magenta square.

    Args:
        part: "train", or "test", the held-out pairs alone.
        size: height and width.
    """
    height, width = size or (64, 64)
    drawn = _draw(np.arange(SIZE), height, width, lambda share: 0.28 + 0.2 * share + 0.24 * (share >= 0.5))
    held = drawn.colour == drawn.kind + 2
    chosen = np.flatnonzero(held if part == "test" else ~held)
    kinds, colours = list(KINDS), list(COLOURS)
    seen = [drawn.radius > 0.5, drawn.colour, drawn.kind, np.digitize(drawn.y, EDGES), np.digitize(drawn.x, EDGES)]
    texts = []
    for large, colour, kind, row, column in np.stack(seen, 1)[chosen].tolist():
        what = f"{'large' if large else 'small'} {colours[colour]} {kinds[kind]}"
        place = PLACES[row, column]
        texts.append(f"a {what} {place}\n{place} there is a {what}\n{what}, {place}")
    one_hot = [np.eye(len(names), dtype=np.float32)[i] for names, i in ((KINDS, drawn.kind), (COLOURS, drawn.colour))]
    return Dataset(
        name="shapes-captions",
        kind="images",
        shape=(3, height, width),
        size=len(chosen),
        read=lambda numbers: drawn.read(chosen[numbers]),
        fingerprint=cache.key("shapes", "captions", part, height, width, VERSION),
        attributes=np.concatenate([*one_hot, drawn.factors[:, :3]], 1)[chosen],
        attribute_names=[*KINDS, *COLOURS, "size", "x", "y"],
        captions=texts,
    )


class _Drawn(NamedTuple):
    """Drawings: how to read them, and their factors, one row for each."""

    read: Callable[[np.ndarray], np.ndarray]
    kind: np.ndarray
    colour: np.ndarray
    radius: np.ndarray
    x: np.ndarray
    y: np.ndarray
    angle: np.ndarray
    factors: np.ndarray


def _draw(numbers: np.ndarray, height: int, width: int, sized: Callable[[np.ndarray], np.ndarray]) -> _Drawn:
    """The drawings of these numbers; `sized` makes a radius of a share in [0, 1)."""
    kind, colour = (draws.choice(k, SHAPES, i, numbers) for i, k in enumerate((len(KINDS), len(COLOURS))))
    radius, x, y, angle = (draws.uniform(SHAPES, i, numbers) for i in range(2, 6))
    half = min(height, width) / 2
    radius = sized(radius)
    x, y = (2 * x - 1) * (width / 2 / half - radius), (2 * y - 1) * (height / 2 / half - radius)
    corners = np.array(list(KINDS.values()))[kind]
    angle = np.where(corners > 0, angle * 360 / np.maximum(corners, 1), 0)
    factors = np.stack([radius, x, y, np.radians(angle)], 1).astype(np.float32)
    down, across = np.meshgrid(
        *((np.arange(s, dtype=np.float32) + 0.5 - s / 2) / half for s in (height, width)), indexing="ij"
    )
    paint = np.array(list(COLOURS.values()), np.float32)

    def read(chosen: np.ndarray) -> np.ndarray:
        r, cx, cy, turn = factors[chosen].T[:, :, None, None]
        u, v = across - cx, down - cy
        outside = np.empty(u.shape, np.float32)  # distance from the edge: along the normal of the nearest side
        for n in KINDS.values():
            rows = corners[chosen] == n
            if n == 0:
                outside[rows] = np.hypot(u[rows], v[rows]) - r[rows]
            else:
                normals = [turn[rows] + 2 * np.pi * side / n for side in range(n)]
                sides = [u[rows] * np.sin(a) + v[rows] * np.cos(a) for a in normals]
                outside[rows] = np.maximum.reduce(sides) - r[rows] * np.cos(np.pi / n)
        cover = np.clip(0.5 - outside * half, 0, 1)  # the share of the pixel within, so that edges are smooth
        return (cover[:, None] * paint[colour[chosen]][:, :, None, None]).round().astype(np.uint8)

    return _Drawn(read, kind, colour, radius, x, y, angle, factors)


def _mixture(name: str, seed: int) -> Dataset:
    centres, std = MODES[name]
    labels = draws.choice(len(centres), seed, 0, np.arange(SIZE))
    points = centres[labels] + std * draws.normal(seed, 1, np.arange(SIZE)[:, None], np.arange(2))
    dataset = _points(name, points, labels, [str(i) for i in range(len(centres))])
    return replace(dataset, modes=Modes(len(centres), centres, std))


def _points(
    name: str, points: np.ndarray, labels: np.ndarray | None = None, classes: list[str] | None = None
) -> Dataset:
    points = points.astype(np.float32)
    key = cache.key(name, VERSION)
    return Dataset(name, "points", points.shape[1:], len(points), points.__getitem__, key, labels, classes or [])
