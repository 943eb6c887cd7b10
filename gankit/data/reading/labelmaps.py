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
from gankit.data.reading.files import FileSet, listed, text
from gankit.text import shown

VOID = 255
MOST = 32  # colours that can be classes; a photograph has more
NAMES = "classes.txt"
MOST_BYTES = 2**20  # of classes.txt
GREY = 0x010101
LEVELS = range(3, 10)  # numbers of evenly spaced greys from 0 to 255 that are taken for classes
INSTANCES = (
    "Large numbers, far apart, are mostly those of single objects (instance ids), not of classes: give the label maps "
    "of classes instead, in Cityscapes *_labelIds.png"
)
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
        header = decoding.header(image, data)
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


def meaning(
    tallies: list[Tally], names: list[tuple[str, int | None, bool]], void: str = "", is_known: bool = False
) -> Meaning:
    """The classes of the values in all these maps.

    Without `names` from `read_names`, colours are classes in the order of their values, named #rrggbb; black and white,
    or a few evenly spaced greys from black to white, are classes in this order; other numbers are classes themselves,
    and 255 is void.

    Args:
        tallies: of all maps.
        names: of the classes.
        void: the values that are void, as `Reading.void`.
        is_known: whether the maps are those of a known data set, which number classes.

    Raises:
        ValueError: the maps hold too many colours, numbers of objects or a single class, or `void` does not fit them.
    """
    coloured = any(t.coloured for t in tallies) or any(colour for _, _, colour in names)
    counts: Counter[int] = Counter()
    for counted in tallies:
        counts.update(in_colours(counted) if coloured else counted.counts)
    voids = parse_void(void, coloured)
    if names:
        table, titles, notes = _named(names, coloured, voids)
    elif coloured:
        table, titles, notes = _of_colours(sorted(counts), voids)
    else:
        table, titles, notes = _of_numbers(sorted(counts), voids, is_known)
    if len(titles) < 2:
        raise ValueError(
            f"the label maps hold {len(titles)} class, and it takes two to learn from: "
            f"{_values(sorted(counts), coloured)}. {HELP}"
        )
    sums = [0] * (len(titles) + 1)
    for value, n in counts.items():
        if value in table:
            sums[-1 if table[value] == VOID else table[value]] += n
    return Meaning(titles, table, coloured, _colours(tallies, table, titles, coloured), sums, notes)


def parse_void(text: str, coloured: bool) -> list[int] | None:
    """The values of --void, numbers or colours 0xRRGGBB as the maps hold; [] for none, None for the default.

    Raises:
        ValueError: it has another form, or is a colour where maps hold numbers.
    """
    if text in ("", "none"):
        return [] if text else None
    values = []
    for part in map(str.strip, text.split(",")):
        if re.fullmatch("#[0-9a-fA-F]{6}", part) and coloured:
            values.append(int(part[1:], 16))
        elif re.fullmatch("[0-9]{1,3}", part) and int(part) <= VOID:
            values.append(int(part) * (GREY if coloured else 1))
        else:
            example = "255, or a colour, '#e0e0c0'" if coloured else "255, as the label maps hold numbers"
            raise ValueError(f"--void is {shown(part)!r}; it takes none, or a value from 0 to {example}")
    return values


def void_notes(found: Meaning, void: str) -> list[str]:
    """How much of the label maps is void. These notes are no part of the data's fingerprint."""
    values = sorted(value for value, i in found.table.items() if i == VOID)
    share = found.counts[-1] / max(1, sum(found.counts))
    if void and values and not share:
        return [f"--void is {void}, and no label map holds it."]
    if not share or (not void and values != [VOID]):
        return []
    hint = "" if void else " --void none makes it a class."
    which = _values(values, found.coloured)
    return [f"{which} is void: {share:.1%} of the pixels belong to no class, and are ignored.{hint}"]


Classes = tuple[dict[int, int], list[str], list[str]]  # the class of each value, names of the classes, and notes


def _named(names: list[tuple[str, int | None, bool]], coloured: bool, voids: list[int] | None) -> Classes:
    """The classes in classes.txt."""
    if coloured and not names[0][2]:
        raise ValueError(f"the label maps hold colours, and {NAMES} gives none: write lines like 'road 128 64 128'")
    numbered = [(name, i if value is None else value) for i, (name, value, _) in enumerate(names)]
    classes = [(name, value) for name, value in numbered if name.lower() != "void"]
    if twice := [name for name, value in classes if value in (voids or [])]:
        raise ValueError(f"{NAMES} names the class {twice[0]!r}, and --void makes it void: leave one of them out")
    table = {VOID: VOID} if voids is None and not coloured else dict.fromkeys(voids or [], VOID)
    table |= {value: VOID for name, value in numbered if name.lower() == "void"}
    table |= {value: i for i, (_, value) in enumerate(classes)}
    return table, [name for name, _ in classes], []


def _of_colours(values: list[int], voids: list[int] | None) -> Classes:
    """Each colour is a class."""
    if len(values) > MOST:
        raise ValueError(f"the label maps hold {len(values)} colours; at most {MOST} can be classes. {HELP}")
    values = [value for value in values if value not in (voids or [])]
    note = (
        f"Colours are taken for classes; {NAMES} beside the folders names them for good, "
        "with lines like 'road 128 64 128'."
    )
    table = {value: i for i, value in enumerate(values)} | dict.fromkeys(voids or [], VOID)
    return table, [f"#{value:06x}" for value in values], [note]


def _of_numbers(values: list[int], voids: list[int] | None, is_known: bool) -> Classes:
    """Numbers are classes, or greys that stand for classes."""
    if VOID in values and set(values) <= {0, VOID} and not voids:
        return {0: 0, VOID: 1}, ["0", "1"], ["The label maps hold 0 and 255 alone: these are classes 0 and 1."]
    void = [VOID] if voids is None else voids
    if levels := _levels(values):
        classes = sorted({level for value, level in levels.items() if value not in (voids or [])})
        table = {value: VOID if value in (voids or []) else classes.index(level) for value, level in levels.items()}
        note = f"The label maps hold evenly spaced greys, which are taken for classes: {_values(classes, False)}."
        return table, [str(level) for level in classes], [note]
    classes = [value for value in range(max({*values} - {*void, VOID}, default=0) + 1) if value not in void]
    classes += [VOID] * (VOID in values and VOID not in void)
    present = len({*values} - {*void})
    missing = len(classes) - present
    if len(classes) > MOST and 4 * present <= len(classes) and not is_known:
        named = [value for value in values if value not in void]
        lines = "".join(f"\n  {line}" for line in listed((f"class{i} {v}" for i, v in enumerate(named)), len(named)))
        raise ValueError(
            f"the label maps hold {present} values far apart, {_values(named, False)}; as numbers of classes, "
            f"{missing} of {len(classes)} are in no map. {INSTANCES}. If these values are classes, write {NAMES} "
            f"beside the folders, with a line for each:{lines}"
        )
    notes = [f"Of {len(classes)} classes {missing} are in no label map. If greys were meant, {HELP}"] * (missing > 0)
    table = {value: i for i, value in enumerate(classes)} | dict.fromkeys(void, VOID)
    return table, [str(value) for value in classes], notes


def _levels(values: list[int]) -> dict[int, int]:
    """The grey that each value stands for, if they are a few evenly spaced greys from 0 to 255; else nothing.

    Programs round differently, so that a grey between may be off by one.
    """
    for count in LEVELS:
        greys = [i * VOID // (count - 1) for i in range(count)]
        places = {value: round(value * (count - 1) / VOID) for value in values}
        even = all(abs(v * (count - 1) - i * VOID) <= (count - 1) * (v not in (0, VOID)) for v, i in places.items())
        if even and set(places.values()) == set(range(count)) and {0, VOID} <= {*values}:
            return {value: greys[i] for value, i in places.items()}
    return {}


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
    try:
        return parse_names(text(path, MOST_BYTES), str(path))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def names_in(source: FileSet) -> list[tuple[str, int | None, bool]]:
    """`read_names` of the classes.txt nearest to the root of a set of files; [] without one. Raises ValueError."""
    found = sorted((f.name.count("/"), f.name) for f in source.files if f.name.rpartition("/")[2] == NAMES)
    for file in source.files:
        if found and file.name == found[0][1] and file.size <= MOST_BYTES:
            try:
                return parse_names(source.read(file).decode("utf-8-sig"), shown(file.name))
            except UnicodeDecodeError as error:
                raise ValueError(f"{shown(file.name)} is no text in UTF-8 (byte {error.start})") from None
    return []


def parse_names(content: str, path: str) -> list[tuple[str, int | None, bool]]:
    """`read_names` of the content of a file."""
    classes = []
    for line in map(str.strip, content.splitlines()):
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
