"""Drawings of a single coloured shape with known factors: kind, colour, size, place and angle."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from gankit.data import draws
from gankit.data.reading import cache
from gankit.data.stream import Dataset, Size

VERSION = 1  # part of the fingerprint: increase it when the content changes
SIZE = 100_000
SEED = 3
KINDS = {"circle": 0, "triangle": 3, "square": 4}  # number of corners
COLOURS = {
    "red": (230, 40, 40),
    "green": (40, 190, 60),
    "blue": (60, 90, 240),
    "yellow": (240, 220, 40),
    "magenta": (220, 60, 210),
    "white": (250, 250, 250),
}
EDGES = (-0.15, 0.15)  # borders between the places that captions name, as shares of half the shorter side
KNOWN = ("colours", "sizes", "both")  # attributes of shapes
PLACES = {
    (row, column): (
        "in the centre" if row == column == 1 else f"at the {high} {side}".replace("middle ", "").replace(" centre", "")
    )
    for row, high in enumerate(("top", "middle", "bottom"))
    for column, side in enumerate(("left", "centre", "right"))
}


def shapes(size: Size) -> Dataset:
    """100,000 drawings of one shape, 64x64 or another size, labelled by kind; with attributes and a caption.

    Attributes: one-hot kind and colour; size, x and y as shares of half the shorter side, with y downwards; and the
    angle in degrees, anticlockwise from resting on a side, below the period of the shape's rotational symmetry.
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


def attributed_shapes(names: str, part: str, size: Size) -> Dataset:
    """Drawings as `shapes`, 32x32 or another size, either small or large, with colours or sizes as attributes.

    The sets share no drawing: in shapes:colours+shapes:sizes, each drawing has attributes of only one of the two sets.

    Args:
        names: "colours" (one attribute for each colour, exactly one is 1), "sizes" (one attribute, large: the
            radius is 0.62 to 0.72 of half the shorter side, not 0.28 to 0.38) or "both" (all, for every drawing).
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
    drawn = _draw(numbers[names], height, width, lambda share: 0.28 + 0.2 * share + 0.24 * (share >= 0.5))
    colours = np.eye(len(COLOURS), dtype=np.float32)[drawn.colour]
    large = (drawn.radius > 0.5).astype(np.float32)[:, None]
    held = {"colours": [colours], "sizes": [large], "both": [colours, large]}[names]
    return Dataset(
        name=f"shapes-{names}",
        kind="images",
        shape=(3, height, width),
        size=len(numbers[names]),
        read=drawn.read,
        fingerprint=cache.key("shapes", names, part, height, width, VERSION),
        labels=drawn.kind,
        class_names=list(KINDS),
        attributes=np.concatenate(held, 1),
        attribute_names=[*COLOURS] * (names != "sizes") + ["large"] * (names != "colours"),
        exclusive=names == "colours",
    )


def captioned_shapes(part: str, size: Size) -> Dataset:
    """Drawings as `shapes`, 64x64 or another size, small or large and in nine places, with three captions each.

    Both parts have all colours, kinds, sizes and places, but no combination of colour and kind is in both: three of
    eighteen are held out, the blue circle, the yellow triangle and the magenta square.

    Args:
        part: "train", or "test" for the held-out combinations.
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
    """Drawings: the function that reads them, and their factors, one row for each."""

    read: Callable[[np.ndarray], np.ndarray]
    kind: np.ndarray
    colour: np.ndarray
    radius: np.ndarray
    x: np.ndarray
    y: np.ndarray
    angle: np.ndarray
    factors: np.ndarray


def _draw(numbers: np.ndarray, height: int, width: int, sized: Callable[[np.ndarray], np.ndarray]) -> _Drawn:
    """The drawings of these numbers; `sized` turns a uniform value in [0, 1) into a radius."""
    kind, colour = (draws.choice(k, SEED, i, numbers) for i, k in enumerate((len(KINDS), len(COLOURS))))
    radius, x, y, angle = (draws.uniform(SEED, i, numbers) for i in range(2, 6))
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
        outside = np.empty(u.shape, np.float32)  # distance from the edge, along the normal of the nearest side
        for n in KINDS.values():
            rows = corners[chosen] == n
            if n == 0:
                outside[rows] = np.hypot(u[rows], v[rows]) - r[rows]
            else:
                normals = [turn[rows] + 2 * np.pi * side / n for side in range(n)]
                sides = [u[rows] * np.sin(a) + v[rows] * np.cos(a) for a in normals]
                outside[rows] = np.maximum.reduce(sides) - r[rows] * np.cos(np.pi / n)
        cover = np.clip(0.5 - outside * half, 0, 1)  # the share of the pixel inside, for smooth edges
        return (cover[:, None] * paint[colour[chosen]][:, :, None, None]).round().astype(np.uint8)

    return _Drawn(read, kind, colour, radius, x, y, angle, factors)


SETS: dict[str, Callable[[Size], Dataset]] = {
    "shapes": shapes,
    **{f"shapes:{names}": partial(attributed_shapes, names, "train") for names in KNOWN},
    **{f"shapes:{names}:test": partial(attributed_shapes, names, "test") for names in KNOWN},
    "shapes:captions": partial(captioned_shapes, "train"),
    "shapes:captions:test": partial(captioned_shapes, "test"),
}
