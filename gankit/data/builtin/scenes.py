"""Drawn landscapes of textures with label maps: a segmentation task that colour alone does not solve."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np

from gankit.data import draws
from gankit.data.builtin.drawing import axes, cut, in_blocks, noise, traits
from gankit.data.domains import Domains
from gankit.data.reading import cache
from gankit.data.stream import Dataset, Size

VERSION = 1  # part of the fingerprint: increase it when the pictures change
SEED, SIZE, TEST = 13, 10_000, 1_000
CLASSES = ("sky", "water", "grass", "leaves", "brick", "sand", "paving")
SKY, WATER, GRASS, LEAVES, BRICK, SAND, PAVING = range(7)
GROUNDS, HILLS = np.array([GRASS, SAND, WATER, PAVING]), np.array([LEAVES, PAVING, SAND])
COLOURS = np.array(  # for pictures of label maps
    [(120, 180, 235), (40, 90, 190), (110, 200, 80), (20, 110, 50), (180, 70, 50), (230, 200, 120), (140, 140, 150)],
    np.uint8,
)
# The dark and the light colour of each texture. Pairs of textures share a hue, and the light changes all colours.
DARK = np.array(
    [(84, 138, 200), (58, 108, 168), (50, 92, 34), (38, 76, 30), (140, 84, 60), (164, 116, 78), (92, 80, 72)]
)
LIGHT = np.array(
    [
        (222, 232, 240),
        (146, 190, 222),
        (146, 178, 82),
        (136, 172, 78),
        (216, 184, 156),
        (218, 178, 132),
        (190, 174, 156),
    ]
)


def scenes(part: str, size: Size) -> Dataset:
    """10,000 landscapes, 64x64 or another size, and 1,000 others to test on, with label maps of seven textures.

    Each has a sky or a wall in the background, and some have hills, a house, a second ground and a bush. Two pixels
    between regions are void (255). Sky and water, grass and leaves, and brick and sand have similar colours.

    Args:
        part: "train" or "test".
        size: height and width.
    """
    height, width, first = *(size or (64, 64)), {"train": 0, "test": SIZE}[part]

    def read(chosen: np.ndarray) -> np.ndarray:
        return in_blocks(chosen + first, (3, height, width), lambda numbers: _picture(numbers, height, width))

    def masks(chosen: np.ndarray) -> np.ndarray:
        return in_blocks(chosen + first, (height, width), lambda numbers: _void(_labels(numbers, height, width)))

    return Dataset(
        name="scenes",
        kind="masks",
        shape=(3, height, width),
        size={"train": SIZE, "test": TEST}[part],
        read=read,
        fingerprint=cache.key("scenes", part, height, width, VERSION),
        class_names=list(CLASSES),
        masks=masks,
        colours=COLOURS,
    )


def scenes_photo(part: str, size: Size) -> Domains:
    """The landscapes of `scenes` as pairs: a is the label map in colours, without void, b the picture."""
    b = scenes(part, size)
    height, width = b.shape[1:]
    first = {"train": 0, "test": SIZE}[part]

    def read(chosen: np.ndarray) -> np.ndarray:
        painted = in_blocks(chosen + first, (height, width), lambda numbers: _labels(numbers, height, width))
        return np.ascontiguousarray(COLOURS[painted].transpose(0, 3, 1, 2))

    a = Dataset(
        "scenes-labels", "images", b.shape, len(b), read, cache.key("scenes-labels", part, height, width, VERSION)
    )
    plain = Dataset("scenes", "images", b.shape, len(b), b.read, b.fingerprint)
    return Domains("scenes-photo", a, plain, kind="pairs")


def _regions(numbers: np.ndarray, height: int, width: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Regions from back to front: class (n, 1, 1), and distance (n, H, W) from the edge, negative within.

    In pictures without a region, all distances from it are large.
    """
    y, x, _ = axes(height, width)
    r = traits(SEED, numbers, 0, 40)
    number = draws.uniform(SEED, 1, np.arange(8)[:, None], numbers)[:, :, None, None]

    def wavy(i: int, high: float) -> np.ndarray:
        """The height (n, 1, W) of a wavy line with about this amplitude."""
        near, far = (np.sin((k + 2 * r[i + j]) * x + 6.28 * r[i + j + 1]) for k, j in ((1.5, 0), (5.0, 2)))
        return high * (0.7 * near + 0.3 * far)

    def absent(i: int, share: float) -> np.ndarray:
        """An offset of a region's distances: 0 in this share of the pictures; large in the others, which lack it."""
        return 9 * (r[i] > share)

    horizon = -0.15 + 0.5 * r[1] + wavy(2, 0.05)
    back = np.where(number[0] < 0.85, SKY, np.where(number[0] < 0.93, LEAVES, BRICK))
    hills = horizon - 0.12 - 0.4 * r[7] + wavy(8, 0.18) - y
    ground = (number[2] * len(GROUNDS)).astype(int)
    other = (ground + 1 + (number[3] * (len(GROUNDS) - 1)).astype(int)) % len(GROUNDS)
    slant = (2 * r[14] - 1) * 0.5
    shore = (horizon + 0.2 + 0.45 * r[13] + slant * x + wavy(15, 0.08) - y) / np.sqrt(1 + slant * slant)
    middle, broad = 1.3 * r[20] - 0.65, 0.25 + 0.25 * r[21]
    eaves, pitch = -0.15 - 0.4 * r[22], 0.9 * r[23] * (r[24] < 0.6)
    aside = np.abs(x - middle)
    roof = (eaves - pitch * (broad - aside) - y) / np.sqrt(1 + pitch * pitch)
    house = np.maximum(np.maximum(aside - broad, roof), y - horizon - 0.12)
    bush = np.full((len(numbers), height, width), 9, np.float32)
    stands, low, big = 1.6 * r[26] - 0.8, horizon.mean(2, keepdims=True) + 0.35 * r[27], 0.24 + 0.2 * r[28]
    for i, (across, up, share) in enumerate(((-0.75, 0.0, 0.8), (0.0, 0.35, 1.0), (0.8, 0.05, 0.75))):
        radius = big * share * (0.85 + 0.3 * r[29 + i])
        u, v = x - stands - across * big, y - low + (up + 0.5) * big
        turn = np.sin(6.28 * r[32] + 13 * u + 5 * i) * np.sin(6.28 * r[33] + 13 * v)
        bush = np.minimum(bush, np.sqrt(u * u + v * v) - radius * (1 + 0.10 * turn))
    return [
        (back, np.full(bush.shape, -9, np.float32)),
        (HILLS[(number[4] * len(HILLS)).astype(int)], hills + absent(6, 0.6)),
        (np.full_like(back, BRICK), np.where(y < horizon + 0.12, house, np.float32(9)) + absent(19, 0.6)),
        (GROUNDS[ground], horizon - y),
        (GROUNDS[other], shore + absent(12, 0.7)),
        (np.full_like(back, LEAVES), bush + absent(25, 0.65)),
    ]


def _labels(numbers: np.ndarray, height: int, width: int) -> np.ndarray:
    """The class (n, H, W) uint8 of each pixel."""
    labels = np.zeros((len(numbers), height, width), np.uint8)
    for kind, distance in _regions(numbers, height, width):
        labels = np.where(distance < 0, kind, labels)
    return labels.astype(np.uint8)


def _void(labels: np.ndarray) -> np.ndarray:
    """Label maps (n, H, W), with 255 for pixels where one of the four neighbours has another class."""
    void = np.zeros(labels.shape, bool)
    for axis in (1, 2):
        differ = np.diff(labels, axis=axis) != 0
        void |= np.insert(differ, 0, False, axis) | np.insert(differ, differ.shape[axis], False, axis)
    return np.where(void, np.uint8(255), labels)


def _picture(numbers: np.ndarray, height: int, width: int) -> np.ndarray:
    """The pictures (n, 3, H, W), 0..255."""
    y, x, half = axes(height, width)
    textures = _textures(max(height, width), round(float(half)))
    canvas = np.zeros((len(numbers), 3, height, width), np.float32)
    for layer, (kind, distance) in enumerate(_regions(numbers, height, width)):
        cover = np.clip(0.5 - distance * np.float32(half), 0, 1)
        top, left, *shift = draws.uniform(SEED, 2 + layer, np.arange(8)[:, None], numbers)
        share = np.empty(cover.shape, np.float32)
        for texture in np.unique(kind):
            rows = kind[:, 0, 0] == texture
            share[rows] = cut(textures[texture], top[rows], left[rows], height, width)
        moved = 60 * (np.reshape(shift, (2, 3, -1)).swapaxes(1, 2) - 0.5)  # colours differ from picture to picture
        dark, light = (table[kind[:, 0, 0]] + change for table, change in zip((DARK, LIGHT), moved))
        for c in range(3):
            low, high = (colour[:, c].astype(np.float32)[:, None, None] for colour in (dark, light))
            plane = canvas[:, c]
            plane += cover * (low + share * (high - low) - plane)
    r = traits(SEED, numbers, 20, 8)
    cast = 1 + 0.12 * (r[:3] - 0.5)
    bright = (0.62 + 0.50 * r[3]) * (1 + 0.22 * ((2 * r[4] - 1) * x + (2 * r[5] - 1) * y))
    for c in range(3):
        canvas[:, c] *= bright * cast[c]
    return (canvas + np.float32(0.5)).clip(0, 255)


@lru_cache(maxsize=4)
def _textures(side: int, half: int) -> list[np.ndarray]:
    """A tile of each class, four times as large as a picture, in 0..1: 0 is the dark colour, 1 the light one."""
    side, unit = 4 * side, half / 32  # unit: 1 for a picture of 64x64
    y, x = np.arange(side, dtype=np.float32)[:, None] / unit, np.arange(side, dtype=np.float32) / unit

    def grain(i: int, down: float, across: float) -> np.ndarray:
        return noise(SEED + i, side, down * unit, across * unit)

    clouds = 0.6 * grain(0, 4, 8) + 0.3 * grain(1, 2, 4) + 0.15 * grain(2, 1, 2)
    ripples = 0.7 * grain(3, 0.7, 4) + 0.5 * grain(4, 0.5, 1.5)
    blades = 0.8 * grain(5, 1.6, 0.45) + 0.35 * grain(6, 4, 4)
    foliage = (
        np.maximum(grain(7, 1.3, 1.3), grain(8, 1.3, 1.3)) - 0.6 + 0.4 * grain(9, 0.4, 0.4) + 0.4 * grain(10, 5, 5)
    )
    sand = 0.45 * grain(11, 0.4, 0.4) + 0.35 * grain(12, 1.2, 5)
    return [
        np.clip(0.9 * clouds - 0.1, 0, 1),
        np.clip(0.38 + 0.24 * ripples, 0, 1),
        np.clip(0.45 + 0.24 * blades, 0, 1),
        np.clip(0.34 + 0.26 * foliage, 0, 1),
        _bricks(y, x, 5.0, 10.0, 1.0, grain(13, 0.5, 0.5)),
        np.clip(0.5 + 0.26 * sand, 0, 1),
        _stones(y, x, grain(14, 0.5, 0.5)),
    ]


def _bricks(y: np.ndarray, x: np.ndarray, tall: float, long: float, joint: float, grain: np.ndarray) -> np.ndarray:
    """A wall (H, W) of bricks with different brightness and light joints, at rows y (H, 1) and columns x (W,)."""
    course = np.floor(y / tall)
    along = x + long / 2 * (course % 2)
    brick = np.floor(along / long)
    tone = draws.uniform(SEED, 60, course.astype(np.int64), brick.astype(np.int64)).astype(np.float32)
    edge = np.minimum(np.minimum(y % tall, tall - y % tall), np.minimum(along % long, long - along % long)) - joint / 2
    face = 0.05 + 0.38 * tone + 0.06 * grain
    return np.clip(face + np.clip(0.5 - edge / 0.8, 0, 1) * (0.92 - face), 0, 1)


def _stones(y: np.ndarray, x: np.ndarray, grain: np.ndarray, step: float = 7.0) -> np.ndarray:
    """Stones of uneven shapes and different brightness, with dark joints."""
    nearest, second = (np.full((y.size, x.size), np.float32(1e9)) for _ in range(2))
    tone = nearest.copy()
    row, column = np.floor(y / step).astype(np.int64), np.floor(x / step).astype(np.int64)
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            cy, cx, shade = (draws.uniform(SEED, 61 + k, row + i, column + j).astype(np.float32) for k in range(3))
            away = np.hypot(y - (row + i + 0.15 + 0.7 * cy) * step, x - (column + j + 0.15 + 0.7 * cx) * step).astype(
                np.float32
            )
            second = np.minimum(second, np.maximum(nearest, away))
            tone = np.where(away < nearest, shade, tone)
            nearest = np.minimum(nearest, away)
    face = 0.45 + 0.5 * tone + 0.07 * grain
    return np.clip(face * np.clip((second - nearest) / 1.6 - 0.1, 0, 1), 0, 1).astype(np.float32)


SETS: dict[str, Callable[[Size], Dataset | Domains]] = {
    "scenes": partial(scenes, "train"),
    "scenes:test": partial(scenes, "test"),
    "scenes-photo": partial(scenes_photo, "train"),
    "scenes-photo:test": partial(scenes_photo, "test"),
}
