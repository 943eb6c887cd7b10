"""Drawn faces with known expressions: action units, numbered as by Ekman and Friesen, each in 0..1.

The file is long because it is a drawing of some fifty layers, from the background to the highlights of the eyes.
Coordinates are relative to the head, with its position, tilt and scale: u to the right, v down, in half the picture's
shorter side.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import numpy as np

from gankit.data import draws
from gankit.data.builtin.drawing import axes, in_blocks
from gankit.data.reading import cache
from gankit.data.stream import Dataset, Size

VERSION = 1  # part of the fingerprint: increase it when the pictures change
SEED, SIZE, TEST = 11, 50_000, 5_000
UNITS = {
    "AU01": "inner brow raiser",
    "AU02": "outer brow raiser",
    "AU04": "brow lowerer",
    "AU12": "lip corner puller",
    "AU15": "lip corner depressor",
    "AU25": "lips part",
    "AU26": "jaw drop",
    "AU45": "eyes closing",
}
ABSENT = 0.5  # probability that a unit is 0
TRAITS = {  # of a person and a picture, each uniform in a range
    "x": (-0.06, 0.06), "y": (0.0, 0.08), "lean": (-0.09, 0.09), "scale": (0.94, 1.06), "light": (-0.22, 0.22),
    "wide": (0.52, 0.60), "long": (0.66, 0.74), "taper": (0.14, 0.28), "skin": (0, 1), "hair": (0, 1), "cut": (0, 6),
    "side": (-1, 1), "apart": (0.215, 0.25), "broad eyes": (0.125, 0.15), "tall eyes": (0.080, 0.105),
    "iris": (0, 1), "gaze": (-0.025, 0.025),
    "thick brows": (0.026, 0.046), "arched brows": (0.015, 0.05), "high brows": (0.20, 0.225), "nose": (0.8, 1.25),
    "broad mouth": (0.35, 0.39), "full lips": (0.8, 1.25), "red lips": (0.85, 1.15), "corners": (-0.03, -0.012),
    "turn": (0, 6.2832), "first": (0, 1), "second": (0, 1), "cloth": (0, 1), "curl": (0, 6.2832),
}  # fmt: skip
SKIN = ((255, 226, 204), (246, 204, 168), (229, 177, 134), (200, 140, 98), (150, 95, 64), (101, 66, 48))
HAIR = ((38, 31, 30), (72, 47, 35), (116, 76, 48), (150, 72, 40), (216, 180, 116), (176, 174, 172))
EYES = ((66, 42, 28), (104, 66, 36), (84, 130, 176), (92, 132, 84), (118, 132, 146))
SHAPE = ("start", "tilt", "parting", "sides", "wave", "waves", "thick", "curls", "cover", "drop")
CUTS = np.array(  # the hairline, the thickness of the hair, and its length behind the head
    [
        (-0.50, 0.00, 0.06, 0.38, 0.000, 0, 0.065, 0.000, 1.00, 0.35),  # short
        (-0.53, 0.11, 0.10, 0.22, 0.000, 0, 0.065, 0.000, 1.00, 0.35),  # swept aside
        (-0.68, 0.00, 0.45, 0.52, 0.000, 0, 0.065, 0.000, 1.00, 0.95),  # long, with a parting
        (-0.40, 0.00, 0.00, 0.80, 0.025, 14, 0.065, 0.000, 1.00, 0.95),  # long, with a fringe
        (-0.56, 0.00, 0.10, 0.36, 0.000, 0, 0.012, 0.000, 0.72, 0.35),  # shorn
        (-0.47, 0.00, 0.00, 0.44, 0.020, 19, 0.130, 0.022, 1.00, 0.35),  # curly
    ],
    np.float32,
)
WHITE, BLACK, TONGUE, THROAT = np.array(
    [(0.96, 0.95, 0.93), (0.05, 0.05, 0.05), (0.76, 0.35, 0.35), (0.26, 0.07, 0.08)], np.float32
)


def faces(part: str, size: Size) -> Dataset:
    """50,000 drawn faces, 64x64 or another size, and 5,000 others to test on; the attributes are their action units.

    A unit is 0 in half of the faces and uniform in 0..1 in the others. Lip corners are pulled up or down, not both, and
    a dropped jaw parts the lips. Skin, hair, eyes, brows, the shape, place, size and tilt of the head, the light and
    the background vary independently of the units.

    Args:
        part: "train" or "test".
        size: height and width.
    """
    height, width = size or (64, 64)
    numbers = np.arange(SIZE) if part == "train" else np.arange(SIZE, SIZE + TEST)
    units = action_units(numbers)

    def read(chosen: np.ndarray) -> np.ndarray:
        return draw(numbers[chosen], units[chosen], height, width)

    return Dataset(
        name="faces",
        kind="images",
        shape=(3, height, width),
        size=len(numbers),
        read=read,
        fingerprint=cache.key("faces", part, height, width, VERSION),
        attributes=units,
        attribute_names=list(UNITS),
    )


def action_units(numbers: np.ndarray) -> np.ndarray:
    """The intensities (n, 8) float32 in 0..1 of these faces' action units, in the order of `UNITS`."""
    values = draws.uniform(SEED, 0, numbers[:, None], np.arange(len(UNITS)))
    values = np.maximum(values - ABSENT, 0) / (1 - ABSENT)
    of = {name: values[:, i] for i, name in enumerate(UNITS)}  # views into `values`
    both = (of["AU12"] > 0) & (of["AU15"] > 0)
    up = draws.uniform(SEED, 1, numbers) < 0.5
    of["AU12"][both & ~up] = 0
    of["AU15"][both & up] = 0
    of["AU25"][:] = np.maximum(of["AU25"], 0.5 * of["AU26"])
    return values.astype(np.float32)


def draw(numbers: np.ndarray, units: np.ndarray, height: int, width: int) -> np.ndarray:
    """Faces (n, 3, height, width) uint8 of the persons with these numbers (n,) and action units (n, 8)."""

    def block(rows: np.ndarray) -> np.ndarray:
        face = Face(numbers[rows], units[rows], height, width)
        for layer in (_background, _behind, _head, _nose, _eyes, _brows, _mouth, _hair):
            layer(face)
        return face.canvas.clip(0, 1) * 255 + 0.5

    return in_blocks(np.arange(len(numbers)), (3, height, width), block)


def face_mask(numbers: np.ndarray, units: np.ndarray, height: int, width: int) -> np.ndarray:
    """(n, height, width) bool: the head without ears and the hair beside it; units change no pixel outside."""
    return Face(numbers, units, height, width).outline() < 0


class Face:
    """Canvases (n, 3, H, W), coordinates relative to each head, and the traits of each person.

    Args:
        numbers: (n,) of the persons.
        units: (n, 8) action units.
        height, width: of the pictures.
    """

    def __init__(self, numbers: np.ndarray, units: np.ndarray, height: int, width: int):
        self.unit = {name: units[:, i].astype(np.float32)[:, None, None] for i, name in enumerate(UNITS)}
        low, high = np.array(list(TRAITS.values())).T
        drawn = low + (high - low) * draws.uniform(SEED, 2, numbers[:, None], np.arange(len(TRAITS)))
        self.trait = dict(zip(TRAITS, drawn.astype(np.float32).T[:, :, None, None]))
        self.cut = dict(zip(SHAPE, CUTS[self.trait["cut"].astype(int)[:, 0, 0]].T[:, :, None, None]))
        self.down, self.across, half = axes(height, width)
        self.cos, self.sin = np.cos(self.trait["lean"]), np.sin(self.trait["lean"])
        u, v = ((at - self.trait[axis]) / self.trait["scale"] for at, axis in ((self.across, "x"), (self.down, "y")))
        self.u, self.v = u * self.cos + v * self.sin, v * self.cos - u * self.sin
        self.sharp = half * self.trait["scale"]  # pixels per unit of length
        self.canvas = np.empty((len(numbers), 3, height, width), np.float32)
        self.long = self.trait["long"] + 0.11 * self.unit["AU26"]  # from the line of the eyes to the chin
        self.skin, self.hair = mixed(self.trait["skin"], SKIN), mixed(self.trait["hair"], HAIR)

    def within(self, left: float, right: float, top: float, bottom: float) -> Face:
        """A view of the same faces, cropped to a box in u and v."""
        lean = TRAITS["lean"][1]  # the box fits every head, so that a face does not depend on others in the block
        x, y = lean * max(abs(top), abs(bottom)), lean * max(abs(left), abs(right))
        columns = _span(self.across[0, 0], left - x, right + x, TRAITS["x"])
        rows = _span(self.down[0, :, 0], top - y, bottom + y, TRAITS["y"])
        part = copy.copy(self)
        part.across, part.down = self.across[:, :, columns], self.down[:, rows]
        part.u, part.v = self.u[:, rows, columns], self.v[:, rows, columns]
        part.canvas = self.canvas[:, :, rows, columns]
        return part

    def over(self, distance: np.ndarray, colour: np.ndarray, opacity: np.ndarray | float = 1.0) -> None:
        """Paint where a distance (n, H, W) from an edge is negative; colours are (3,), (n, 3) or (n, 3, H, W)."""
        self.tint(self.cover(distance) * opacity, colour)

    def cover(self, distance: np.ndarray) -> np.ndarray:
        """The share of each pixel inside an edge, for smooth edges."""
        return np.clip(0.5 - distance * self.sharp, 0, 1)

    def tint(self, share: np.ndarray, colour: np.ndarray) -> None:
        """Mix in colours (3,), (n, 3) or (n, 3, H, W) by shares (n, H, W)."""
        colour = colour if colour.ndim == 4 else np.atleast_2d(colour)[:, :, None, None]
        for channel in range(3):
            plane = self.canvas[:, channel]
            plane += share * (colour[:, channel] - plane)

    def outline(self, grown: np.ndarray | float = 0.0) -> np.ndarray:
        """Distance (n, H, W) from the edge of the head, an egg with the chin at its tip, moved outwards by `grown`."""
        lower = np.clip(self.v / 0.7, 0, 1)
        u = self.u / (1 - self.trait["taper"] * lower * lower)
        down = np.where(self.v < 0, np.float32(0.80) + grown, self.long + grown)
        return oval(u, self.v, self.trait["wide"] + grown, down)

    def crease(self, away: np.ndarray, beyond: np.ndarray, depth: np.ndarray) -> None:
        """A dark line of skin where `away` is 0 and `beyond` is negative, both (n, H, W)."""
        line = np.exp(-0.5 * (away / 0.014) ** 2) * np.clip(0.5 - beyond * 25, 0, 1)
        self.tint(np.minimum(0.42 * depth, 0.75) * line, self.skin * 0.52)


def _span(places: np.ndarray, low: float, high: float, shift: tuple[float, float]) -> slice:
    """The slice of these coordinates (L,) between low and high, for heads of any size and position."""
    first = min(low * scale for scale in TRAITS["scale"]) + shift[0]
    last = max(high * scale for scale in TRAITS["scale"]) + shift[1]
    return slice(*np.searchsorted(places, (first, last)))


def mixed(place: np.ndarray, colours: tuple[tuple[int, int, int], ...]) -> np.ndarray:
    """(n, 3) colours in 0..1, interpolated in a list of colours at places (n, 1, 1) in [0, 1)."""
    place = place[:, 0] * (len(colours) - 1)
    first = place.astype(int)[:, 0]
    table = (np.array(colours) / 255).astype(np.float32)
    return table[first] + (place - first[:, None].astype(np.float32)) * (table[first + 1] - table[first])


def hue(turn: np.ndarray, grey: float, bright: float) -> np.ndarray:
    """(n, 3) colours of a hue (n, 1, 1) in turns; `grey` is the share of white in them."""
    wheel = 0.5 + 0.5 * np.cos(2 * np.pi * (turn[:, 0] + np.arange(3, dtype=np.float32) / 3))
    return (grey + (1 - grey) * wheel) * bright


def oval(u: np.ndarray, v: np.ndarray, across: np.ndarray | float, down: np.ndarray | float) -> np.ndarray:
    """Distance from an ellipse of these half axes, exact to first order at its edge; negative within."""
    u, v = u / across, v / down
    far = np.sqrt(u * u + v * v) + np.float32(1e-6)
    u, v = u / across, v / down
    return far * (far - 1) / (np.sqrt(u * u + v * v) + np.float32(1e-6))


def spot(u: np.ndarray, v: np.ndarray, across: np.ndarray | float, down: np.ndarray | float) -> np.ndarray:
    """A Gaussian spot: 1 in the centre; `across` and `down` are its standard deviations."""
    return np.exp(-0.5 * ((u / across) ** 2 + (v / down) ** 2))


def _background(face: Face) -> None:
    """A gradient of two colours in any direction."""
    turn = face.trait["turn"]
    share = np.clip(0.5 + 0.4 * (face.across * np.cos(turn) + face.down * np.sin(turn)), 0, 1)
    first, second = hue(face.trait["first"], 0.70, 0.95), hue(face.trait["second"], 0.62, 0.74)
    face.canvas[:] = first[:, :, None, None]
    face.tint(share, second)


def _behind(face: Face) -> None:
    """Hair behind the head, shoulders and neck."""
    if (long := face.cut["drop"] > 0.5).any():
        down = np.where(face.v < -0.12, np.float32(0.8), 0.95)
        face.over(oval(face.u, face.v + 0.12, face.trait["wide"] + 0.13, down), face.hair * 0.72, long)
    low = face.within(-2, 2, 0.5, 2)
    low.over(oval(low.across, low.down - 1.42, 0.98, 0.58), hue(face.trait["cloth"], 0.30, 0.74))
    sides = np.abs(low.u) - 0.24 - 0.25 * np.maximum(low.v - 0.72, 0)
    low.over(np.maximum(sides, oval(low.u, low.v - 0.7, 0.4, 0.34)), low.skin * 0.80)


def _head(face: Face) -> None:
    """Ears, the head with light from one side, blush, and wrinkles of the forehead."""
    short, light = (face.cut["drop"] < 0.5).astype(np.float32), face.trait["light"]
    for side in (-1, 1):
        ear = face.within(side * 0.58 - 0.16, side * 0.58 + 0.16, -0.1, 0.26)
        u, v = ear.u - side * face.trait["wide"], ear.v - 0.08
        ear.over(oval(u, v, 0.075, 0.13), face.skin * (0.92 + side * light[:, 0]), short)
        ear.tint(0.35 * short * spot(u - side * 0.02, v, 0.03, 0.06), face.skin * 0.6)
    head = face.within(-0.62, 0.62, -0.82, 0.88)
    x, y = head.u / face.trait["wide"], head.v / 0.8
    shade = 1.02 + light * x - 0.10 * np.minimum(x * x + y * y, 1.5) - 0.04 * y
    head.over(head.outline(), face.skin[:, :, None, None] * shade[:, None])
    blush = np.array([0.92, 0.36, 0.34], np.float32) * (0.4 + 0.6 * face.skin)
    for side in (-1, 1):
        cheek = face.within(side * 0.31 - 0.26, side * 0.31 + 0.26, 0.02, 0.46)
        at = spot(cheek.u - side * 0.31, cheek.v - 0.26 + 0.05 * face.unit["AU12"], 0.10, 0.075)
        cheek.tint((0.20 + 0.16 * face.unit["AU12"]) * at, blush)
    front = face.within(-0.2, 0.2, -0.48, -0.28)
    for level, reach in ((-0.37, 0.13), (-0.43, 0.10)):  # wrinkles of the forehead, in its middle
        front.crease(front.v - level - 0.3 * front.u * front.u, np.abs(front.u) - reach, face.unit["AU01"])
    for side in (-1, 1):  # and over the brows' outer ends
        outer = face.within(side * 0.29 - 0.12, side * 0.29 + 0.12, -0.45, -0.28)
        across = side * outer.u - 0.29
        outer.crease(outer.v + 0.355 + across * 0.25 + across * across, np.abs(across) - 0.07, face.unit["AU02"])
    frown = face.within(-0.12, 0.12, -0.3, -0.04)
    away = np.abs(np.abs(frown.u) - 0.035 - 0.1 * (frown.v + 0.17))  # between lowered brows
    frown.crease(away, np.abs(frown.v + 0.17) - 0.08, 1.5 * face.unit["AU04"])


def _nose(face: Face) -> None:
    """A ridge that is light on one side and dark on the other, a tip and two nostrils."""
    nose, big = face.within(-0.3, 0.3, -0.12, 0.34), face.trait["nose"]
    u, v = nose.u / big, nose.v
    sided = u / 0.05
    ridge = np.exp(-0.5 * sided * sided) * np.clip(4 * (v + 0.08), 0, 1) * np.clip(12 * (0.24 - v), 0, 1)
    nose.canvas *= 1 + (ridge * (0.10 + 0.5 * face.trait["light"] * sided.clip(-2, 2)))[:, None]
    nose.tint(0.50 * spot(u, v - 0.245, 0.075, 0.022), face.skin * 0.55)
    nose.tint(0.75 * spot(np.abs(u) - 0.045, v - 0.235, 0.02, 0.014), face.skin * 0.3)
    nose.tint(0.28 * spot(u, v - 0.185, 0.035, 0.03), WHITE)


def _eyes(face: Face) -> None:
    """White, iris, pupil and highlight between two lids; AU45 closes the upper lid."""
    shut, broad, tall = face.unit["AU45"], face.trait["broad eyes"], face.trait["tall eyes"]
    iris, light = mixed(face.trait["iris"], EYES), face.skin * 0.84
    for side in (-1, 1):
        eye = face.within(side * 0.23 - 0.28, side * 0.23 + 0.28, -0.24, 0.20)
        u, v = side * eye.u - face.trait["apart"], eye.v + 0.01
        x = u / broad
        arch = np.maximum(1 - x * x, -0.6)
        upper, lower = arch * (-tall + (tall + 0.032) * shut) - 0.012 * x, arch * 0.045 - 0.012 * x
        ends = np.abs(u) - broad
        opening = np.maximum(np.maximum(upper - v, v - lower), ends)
        lid = np.maximum(np.maximum(-tall * arch - v, v - np.minimum(upper, lower)), ends)
        eye.tint(0.36 * spot(u, v, broad * 0.75, 0.075), face.skin * 0.62)  # shade of the socket
        eye.over(lid, light)
        inside = eye.cover(opening)
        eye.tint(inside, WHITE)
        around = u - side * face.trait["gaze"]
        far = np.sqrt(around * around + (v + 0.012) ** 2)
        for radius, colour in ((0.078, iris * 0.75), (0.062, iris * 1.15), (0.034, BLACK)):
            eye.tint(np.minimum(eye.cover(far - radius), inside), colour)
        shine = np.sqrt((side * around + 0.028) ** 2 + (v + 0.042) ** 2)
        eye.tint(np.minimum(eye.cover(shine - 0.022), inside), WHITE)
        eye.tint(0.45 * inside * np.clip(1 - (v - upper) / 0.04, 0, 1), BLACK)  # shade of the upper lid
        eye.over(np.maximum(np.abs(v - upper) - 0.018 - 0.006 * arch, np.abs(u) - broad * 1.04), 0.2 * face.hair + 0.04)
        fold = v + tall * arch * 1.25 + 0.014 * (1 - shut) + 0.02
        eye.tint(0.35 * np.exp(-0.5 * (fold / 0.012) ** 2) * (np.abs(u) < broad * 0.9), face.skin * 0.5)


def _brows(face: Face) -> None:
    """Two brows; AU01 raises the inner ends, AU02 the outer ends, AU04 lowers both and brings them together."""
    inner, outer, low = (face.unit[name] for name in ("AU01", "AU02", "AU04"))
    start, length, thick = 0.105 - 0.045 * low, 0.285 - 0.01 * low, face.trait["thick brows"]
    for side in (-1, 1):
        brow = face.within(side * 0.23 - 0.23, side * 0.23 + 0.23, -0.43, -0.02)
        t = (side * brow.u - start) / length
        s = t.clip(0, 1)
        rest = 1 - s
        middle = 0.02 * s * s - face.trait["high brows"] - face.trait["arched brows"] * 3.2 * s * rest
        middle += 0.10 * low * (1 - 0.55 * s) - 0.125 * inner * rest * np.sqrt(rest) - 0.105 * outer * s * np.sqrt(s)
        across, up = (t - s) * length, (brow.v - middle) * 0.92
        brow.over(np.sqrt(across * across + up * up) - thick * (1 - 0.55 * s), face.hair * 0.62, 0.92)


def _mouth(face: Face) -> None:
    """Lips, teeth and tongue; AU12 raises the corners, AU15 lowers them, and the lower lip follows the jaw."""
    pull, press, part, jaw = (face.unit[name] for name in ("AU12", "AU15", "AU25", "AU26"))
    mouth = face.within(-0.42, 0.42, 0.2, 0.88)
    broad = face.trait["broad mouth"] * face.trait["wide"] * (1 + 0.30 * pull - 0.06 * press - 0.12 * jaw)
    full = face.trait["full lips"]
    x = mouth.u / broad
    bow = np.maximum(1 - x * x, 0)
    root = np.sqrt(bow)
    bend = face.trait["corners"] - 0.10 * pull + 0.105 * press  # of the corners, below the middle
    line = mouth.v - 0.445 - bend * (x * x - 0.2)  # 0 where closed lips meet
    ends = (np.abs(x) - 1) * broad
    above, below = -0.055 * part * bow, (0.050 * part + 0.190 * jaw) * bow  # inner edges of the lips
    top = above - 0.045 * full * root * (1 - 0.25 * np.exp(-39 * x * x)) * (1 - 0.25 * pull)
    bottom = below + 0.060 * full * root * (1 - 0.2 * pull)
    lips = np.array([0.80, 0.36, 0.36], np.float32) * (0.30 + 0.75 * face.skin) * face.trait["red lips"][:, 0]
    aside = np.abs(mouth.u)
    fold = np.sqrt((aside - 0.16) ** 2 + 0.64 * (mouth.v - 0.41) ** 2) - 0.17  # from nose to mouth, in a smile
    mouth.crease(fold, np.maximum(np.abs(mouth.v - 0.35) - 0.09, 0.2 - aside), 0.8 * pull)
    mouth.tint(0.55 * press * spot(aside - broad, line - 0.04, 0.025, 0.03), face.skin * 0.55)  # below drawn corners
    mouth.tint(0.30 * spot(mouth.u, line - bottom - 0.05, 0.11, 0.022), face.skin * 0.6)
    mouth.over(np.maximum(np.maximum(top - line, line - bottom), ends), lips)
    hole = np.maximum(np.maximum(above - line, line - below), ends + 0.02)
    mouth.over(hole, THROAT)
    mouth.over(np.maximum(hole + 0.012, oval(mouth.u, line - 0.26, broad * 0.7, 0.13)), TONGUE)
    mouth.over(np.maximum(np.maximum(hole, line - above - 0.062), ends + 0.04), WHITE)
    mouth.over(np.maximum(np.abs(line) - 0.009, ends), lips * 0.55, 1 - np.minimum(5 * np.maximum(part, jaw), 1))
    mouth.tint(0.35 * spot(mouth.u + 0.03, line - (below + bottom) * 0.5, 0.06, 0.012), WHITE)
    mouth.tint(0.6 * spot(aside - broad * 0.98, line, 0.016, 0.016), lips * 0.45)


def _hair(face: Face) -> None:
    """A cap around the head above a hairline, with strands and a highlight."""
    top, cut, light = face.within(-0.8, 0.8, -1.1, 0.45), face.cut, face.trait["light"]
    u = top.u / face.trait["wide"]
    u2 = np.minimum(u * u, 1.05)
    angle = np.arctan2(top.u, -top.v)
    cap = top.outline(cut["thick"]) + cut["curls"] * np.cos(17 * angle + face.trait["curl"])
    line = cut["start"] + cut["tilt"] * np.sign(face.trait["side"]) * u + cut["parting"] * np.abs(u)
    line = line + cut["sides"] * u2 * u2 * u2 + cut["wave"] * np.cos(cut["waves"] * u)
    strands = 0.92 + 0.6 * light * u + 0.10 * np.cos(26 * angle + 9 * top.v) + 0.06 * np.cos(51 * angle - 7 * top.v)
    shine = 0.30 * spot(u - 2.4 * light, top.v + 0.68, 0.5, 0.06)
    shadow = np.clip(0.5 - (top.v - line - 0.05) * 12, 0, 1) * (cap < 0) * np.float32(0.25)
    top.tint(shadow, face.skin * 0.5)
    colour = face.hair[:, :, None, None] * (strands + shine)[:, None]
    top.over(np.maximum(cap, (top.v - line) * 0.8), colour, cut["cover"])


SETS: dict[str, Callable[[Size], Dataset]] = {
    "faces": partial(faces, "train"),
    "faces:test": partial(faces, "test"),
}
