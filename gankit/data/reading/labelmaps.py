"""Label maps: images whose pixels are classes, given as indices of a palette, greys or exact colours."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from gankit.data.pixels import palette
from gankit.data.reading import decoding, layout
from gankit.data.reading.decoding import Header, Unusable
from gankit.data.reading.files import text

VOID = 255
MOST = 32  # colours that can be classes; a photograph has more
NAMES = "classes.txt"
MOST_BYTES = 2**20  # of classes.txt
GREY = 0x010101
HELP = f"{NAMES} beside the folders says which values are classes, with lines like 'road 128' or 'road 128 64 128'."


class Raw(NamedTuple):
    """Pixels uint8, (H, W) numbers or (H, W, 3) colours; and for numbers the colours (n, 3) of a palette, if any."""

    pixels: np.ndarray
    palette: np.ndarray | None


class Tally(NamedTuple):
    """The count of each value in a map, numbers or colours 0xRRGGBB; and the colours 0xRRGGBB of its palette."""

    coloured: bool
    counts: dict[int, int]
    palette: tuple[int, ...] | None


@dataclass
class Meaning:
    """The classes of the values in the label maps of a data set. Its repr is part of the data's fingerprint.

    Args:
        names: of the K classes.
        table: from a value to its class, or to 255 for void.
        coloured: whether the values are colours 0xRRGGBB.
        colours: K colours (R, G, B) that show the classes.
        counts: pixels of each class, and then of void.
        warnings: what a user should know, in plain sentences.
    """

    names: list[str]
    table: dict[int, int]
    coloured: bool
    colours: list[list[int]]
    counts: list[int] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def load(data: bytes) -> Raw:
    """The pixels of a label map as they are stored. Raises Unusable."""
    with decoding.open_image(data) as image:
        return raw_of(image)


def raw_of(image: Image.Image) -> Raw:
    """`load` of an open image."""
    if image.format == "JPEG":
        raise Unusable("a JPEG, which changes the classes at their borders; save label maps as PNG")
    image = decoding.upright(image)
    if image.mode == "P":
        return Raw(np.asarray(image), np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3))
    if image.mode in ("1", "L", "LA"):
        return Raw(np.asarray(image.convert("L") if image.mode == "LA" else image).astype(np.uint8), None)
    if image.mode in decoding.DEEP:
        numbers = np.asarray(image)
        if not (numbers.min() >= 0 and numbers.max() <= VOID and (numbers == numbers.round()).all()):
            raise Unusable(
                f"holds numbers from {numbers.min():g} to {numbers.max():g}; classes are 0 to 254, and 255 is void"
            )
        return Raw(numbers.astype(np.uint8), None)
    pixels = np.asarray(image.convert("RGB"))
    return Raw(pixels[:, :, 0] if (pixels == pixels[:, :, :1]).all() else pixels, None)


def examine(data: bytes) -> tuple[Header, str, Tally | None]:
    """The header of a label map, and why its pixels are unusable, or their tally. Raises Unusable without a header."""
    with decoding.open_image(data) as image:
        header = decoding.header(image)
        try:
            with decoding.unusable():
                return header, "", tally(raw_of(image))
        except Unusable as error:
            return header, str(error), None


def tally(raw: Raw) -> Tally:
    """Count the values in a label map. Raises Unusable if there are too many for a label map."""
    coloured = raw.pixels.ndim == 3
    values, counts = np.unique(_packed(raw) if coloured else raw.pixels, return_counts=True)
    if len(values) > (MOST if coloured else 2 * MOST) and raw.palette is None:
        what = f"colours, and a label map has {MOST}" if coloured else f"greys, and a label map has {2 * MOST}"
        raise Unusable(f"holds {len(values):,} {what} at most: is it a picture, or was it resized or compressed?")
    colours = None if raw.palette is None else tuple(_pack(raw.palette).tolist())
    return Tally(coloured, dict(zip(values.tolist(), counts.tolist())), colours)


def meaning(tallies: list[Tally], names: list[tuple[str, int | None, bool]]) -> Meaning:
    """The classes of the values in all these maps.

    Without `names` from `read_names`, colours are classes in the order of their values, named #rrggbb; black and white
    are classes 0 and 1; other numbers are classes themselves, and 255 is void.

    Raises:
        ValueError: the maps hold too many colours, or a single class.
    """
    coloured = any(t.coloured for t in tallies) or any(colour for _, _, colour in names)
    counts: Counter[int] = Counter()
    for counted in tallies:
        counts.update(in_colours(counted) if coloured else counted.counts)
    values, notes = sorted(counts), []
    if names:
        if coloured and not names[0][2]:
            raise ValueError(f"the label maps hold colours, and {NAMES} gives none: write lines like 'road 128 64 128'")
        numbered = [(name, i if value is None else value) for i, (name, value, _) in enumerate(names)]
        classes = [(name, value) for name, value in numbered if name.lower() != "void"]
        table = {} if coloured else {VOID: VOID}
        table |= {value: VOID for name, value in numbered if name.lower() == "void"}
        table |= {value: i for i, (_, value) in enumerate(classes)}
        titles = [name for name, _ in classes]
    elif coloured:
        if len(values) > MOST:
            raise ValueError(f"the label maps hold {len(values)} colours; at most {MOST} can be classes. {HELP}")
        table, titles = {value: i for i, value in enumerate(values)}, [f"#{value:06x}" for value in values]
        notes.append(
            f"Colours are taken for classes; {NAMES} beside the folders names them for good, "
            "with lines like 'road 128 64 128'."
        )
    elif VOID in values and set(values) <= {0, VOID}:
        table, titles = {0: 0, VOID: 1}, ["0", "1"]
        notes.append("The label maps hold 0 and 255 alone: these are classes 0 and 1.")
    else:
        count = max([v for v in values if v != VOID], default=0) + 1
        table, titles = {i: i for i in range(count)} | {VOID: VOID}, [str(i) for i in range(count)]
        if missing := count - len(set(values) - {VOID}):
            notes.append(f"Of {count} classes {missing} are in no label map. If greys were meant, {HELP}")
    if len(titles) < 2:
        raise ValueError(
            f"the label maps hold {len(titles)} class, and it takes two to learn from: "
            f"{_values(values, coloured)}. {HELP}"
        )
    sums = [0] * (len(titles) + 1)
    for value, n in counts.items():
        if value in table:
            sums[-1 if table[value] == VOID else table[value]] += n
    return Meaning(titles, table, coloured, _colours(tallies, table, titles, coloured), sums, notes)


def unnamed(tally: Tally, meaning: Meaning) -> str:
    """Why a map does not fit the names in classes.txt; "" if it does."""
    counts = in_colours(tally) if meaning.coloured else tally.counts
    values = [value for value in counts if value not in meaning.table]
    return f"holds {_values(values, meaning.coloured)}, which {NAMES} does not name" if values else ""


def decode(data: bytes, meaning: Meaning, height: int, width: int, fit: str) -> np.ndarray:
    """A label map as uint8 (H, W) classes, 255 for void, fitted as its image and padded with void. Raises Unusable."""
    raw = load(data)
    if meaning.coloured:
        values, places = np.unique(_packed(raw), return_inverse=True)
        classes = np.array([meaning.table[value] for value in values.tolist()], np.uint8)
        pixels = classes[places.reshape(raw.pixels.shape[:2])]
    else:
        table = np.array([meaning.table.get(value, VOID) for value in range(256)], np.uint8)
        pixels = table[raw.pixels]
    image = Image.fromarray(pixels)
    if image.size != (width, height):
        image = decoding.fitted(image, height, width, fit, VOID, Image.Resampling.NEAREST)
    return np.ascontiguousarray(image)


def read_names(path: Path) -> list[tuple[str, int | None, bool]]:
    """Lines of classes.txt as (name, value, is_colour): `name`, `name number` or `name r g b`, a colour 0xRRGGBB.

    Raises:
        ValueError: a line has another form, the lines differ in form, or a name or value occurs twice.
    """
    classes = []
    try:
        lines = text(path, MOST_BYTES).splitlines()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    for line in map(str.strip, lines):
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(r"(.*?)(?:[\s,:;]+(\d+)(?:[\s,;]+(\d+)[\s,;]+(\d+))?)?", line)
        assert match is not None  # any line matches
        name, *numbers = match.groups()
        values = [int(number) for number in numbers if number is not None]
        if not name or any(value > 255 for value in values):
            raise ValueError(f"{path}: {line!r} is no class: write 'road', 'road 7' or 'road 128 64 128'")
        value = None if not values else values[0] if len(values) == 1 else values[0] << 16 | values[1] << 8 | values[2]
        classes.append((name, value, len(values) == 3))
    if len({(value is None, colour) for _, value, colour in classes}) > 1:
        raise ValueError(
            f"{path}: some classes have a number or a colour and others do not; give one to all classes, or to none"
        )
    for what, entries in (
        ("name", [name for name, _, _ in classes]),
        ("value", [value for _, value, _ in classes if value is not None]),
    ):
        twice = [entry for entry, n in Counter(entries).items() if n > 1 and str(entry).lower() != "void"]
        if twice:
            raise ValueError(f"{path}: the {what} {twice[0]!r} is there twice")
    return classes


def names_file(maps: Path) -> Path | None:
    """classes.txt in the folder of the label maps, or in a parent of folders with names like masks or train."""
    folder = maps.resolve()
    while True:
        if (folder / NAMES).is_file():
            return folder / NAMES
        if not layout.is_parted(folder.name) or folder == folder.parent:
            return None
        folder = folder.parent


def in_colours(tally: Tally) -> dict[int, int]:
    """The counts of a map by colour; numbers become colours of the palette, or greys."""
    if tally.coloured:
        return tally.counts
    counts: Counter[int] = Counter()
    for value, n in tally.counts.items():
        counts[value * GREY if tally.palette is None else tally.palette[value]] += n
    return counts


def _colours(tallies: list[Tally], table: dict[int, int], titles: list[str], coloured: bool) -> list[list[int]]:
    """Colours that show the classes: their own, those of the first palette if all differ, or gankit's."""
    count = len(titles)
    colours = {i: value for value, i in table.items() if i != VOID} if coloured else {}
    if not colours and (first := next((t.palette for t in tallies if t.palette), None)):
        colours = {i: first[value] for value, i in table.items() if i != VOID and value < len(first)}
    if len(colours) == count and len(set(colours.values())) == count:
        return [[colours[i] >> 16, colours[i] >> 8 & 255, colours[i] & 255] for i in range(count)]
    return palette(count).tolist()


def _packed(raw: Raw) -> np.ndarray:
    """The pixels as (H, W) colours 0xRRGGBB."""
    if raw.pixels.ndim == 3:
        return _pack(raw.pixels)
    return raw.pixels.astype(np.int64) * GREY if raw.palette is None else _pack(raw.palette)[raw.pixels]


def _pack(colours: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(colours.astype(np.int64), -1, 0)
    return red << 16 | green << 8 | blue


def _values(values: list[int], coloured: bool) -> str:
    texts = [f"#{value:06x}" if coloured else str(value) for value in values]
    return ", ".join(texts[:8]) + f" and {len(texts) - 8} more" * (len(texts) > 8)
