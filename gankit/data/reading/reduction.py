"""JPEG files decoded at a half, a quarter or an eighth of their size, by their blocks' low frequencies alone.

A file that is much larger than the prepared image costs most of its time in pixels that the resize averages away. So
libjpeg decodes it at the smallest size that is still at least `GAP` times the target, and the same antialiased resize
as for any other image follows. On eight photographs (scikit-image, scikit-learn) at 32 and 64 px this changes values by
0.4 to 0.5 of 255 on average, 1.2 in the worst photograph, and by 14 at most; docs/data.md has the table.
`--jpeg full` decodes every file in full, and so do runs that began before this option existed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from PIL import Image

GAP = 2  # least size of a decoded image, relative to the size that it is resized to
MOST = 8  # a block has 8x8 pixels
BLOCKS = (0xC0, 0xC1, 0xC2)  # start of a frame of blocks; lossless ones have none
FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # of these, three are tables


class Whole(NamedTuple):
    """The size of an image, upright, and by how much its decoded sides are smaller, rounded up."""

    width: int
    height: int
    divisor: int = 1


def most(image: Image.Image, data: bytes, orientation: int) -> int:
    """By how much the decoded sides of a file can be smaller: up to `MOST` for a JPEG, and 1 for any other.

    An image that is turned must divide without a remainder, which would move to its other side.
    """
    if image.format not in ("JPEG", "MPO") or len(getattr(image, "tile", ())) != 1 or not _has_blocks(data):
        return 1
    return MOST if orientation == 1 else math.gcd(MOST, image.width, image.height)


def divisor(sides: tuple[int, int], largest: int, target: tuple[int, int], fit: str) -> int:
    """By how much smaller an image (height, width) is decoded that is fitted to a target, with `most` as the limit."""
    ratios = [side / wanted for side, wanted in zip(sides, target)]
    ratio = max(ratios) if fit == "pad" else min(ratios)
    return next((n for n in (8, 4, 2) if largest % n == 0 and ratio >= GAP * n), 1)


def apply(image: Image.Image, number: int) -> None:
    """Have an open JPEG decoded at a size that is smaller by `number`."""
    if number > 1:
        image.draft(None, (image.width // number, image.height // number))


def _has_blocks(data: bytes) -> bool:
    """Whether the frame of a JPEG consists of blocks that libjpeg can scale: with others its buffers would not fit."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker in FRAMES:
            return marker in BLOCKS
        if marker == 0xFF:  # padding
            place += 1
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return False
