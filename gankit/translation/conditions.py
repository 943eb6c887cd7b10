"""The arguments of a model's `translate` from what a user typed: domains, attributes, action units, styles, masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit import data
from gankit.data.naming import named
from gankit.data.reading.choices import Scale
from gankit.data.reading.files import open_files
from gankit.data.reading.openface import face
from gankit.runs.trained import Trained
from gankit.text import did_you_mean, shown
from gankit.translation.abilities import UNIT, Attributes, arguments_of_translate, attributes_of, domains_of, usage
from gankit.translation.conversion import as_picture
from gankit.translation.options import Options

STYLE_MOST, STYLE_LEAST = 512, 32  # sides of style images: larger ones are downsized, smaller ones enlarged


class Request(NamedTuple):
    """The arguments of `translate` besides the images.

    Args:
        fixed: arguments that are the same for all images, by name.
        rows: tensors by name; each image gets one row.
        regions: (1, 1, H, W) in 0..1 for each style, where it applies, of any size; none for everywhere.
    """

    fixed: dict[str, object]
    rows: dict[str, Tensor]
    regions: tuple[Tensor, ...] = ()


def request_of(trained: Trained, options: Options) -> Request | None:
    """What the options ask of a model; None if they only ask for a strip of all attributes.

    Raises:
        ValueError: something is missing or unknown; the message lists the choices.
    """
    names = arguments_of_translate(trained.recipe)
    fixed: dict[str, object] = {}
    rows: dict[str, Tensor] = {}
    if "to" in names:
        fixed["to"] = to = domain(trained, options.to)
        check_domains(trained, "ab" if options.round_trip else to)
    elif options.to and domain(trained, options.to) != trained.recipe.sides[1]:
        start, end = trained.recipe.sides
        raise ValueError(
            f"{trained.config['model']} translates from {start} to {end} alone, as it was trained: leave --to out"
        )
    if "attribute" in names:
        known = attributes_of(trained)
        words, others = (options.au, options.set) if known.are_units else (options.set, options.au)
        if others or (options.au_from and not known.are_units):
            raise ValueError(f"{trained.config['model']} takes {usage(trained)}")
        if not words and not options.au_from:
            if options.strip:
                return None
            raise ValueError(f"what is to change? {trained.config['model']} takes {usage(trained)}")
        if known.are_units:
            rows["attribute"], source = unit_row(known, words, options.au_from), 0
        else:
            rows["attribute"], source = attribute_row(known, words, options.source)
        if "source" in names:
            fixed["source"] = source
    if "styles" in names:
        if not options.style:
            raise ValueError("whose style? --style PICTURE ...")
        fixed |= styles(options, data.reading_of(trained.config["settings"]).side(1).scale)
    return Request(fixed, rows, tuple(regions(options)))


# Domains -------------------------------------------------------------------------------------------------------------


def check_domains(trained: Trained, to: str) -> None:
    """Refuse target domains, "a", "b" or "ab", for which an imported file had no generator.

    Raises:
        ValueError: says how to import it.
    """
    for side in to:
        if side not in trained.domains:
            raise ValueError(
                f"this model's file had no generator to {side}; import it again with --back and the file of that one"
            )


def domain(trained: Trained, typed: str) -> str:
    """ "a" or "b" from a letter or the name of a domain.

    Raises:
        ValueError: there is no such domain.
    """
    a, b = domains_of(trained.config)
    side = {"b": "b", "a": "a", b.lower(): "b", a.lower(): "a"}.get(typed.lower())
    is_ambiguous = typed.lower() not in "ab" and a.lower() == b.lower()
    if side is not None and not is_ambiguous:
        return side
    choices = f"--to a ({a}) or --to b ({b})" if (a, b) != ("a", "b") else "--to a or --to b"
    raise ValueError(f"there is no domain {shown(typed)!r}; {choices}" if typed else f"to which domain? {choices}")


# Attributes ----------------------------------------------------------------------------------------------------------


def parse_value(word: str) -> tuple[str, float]:
    """NAME=VALUE, or NAME for NAME=1.

    Raises:
        ValueError: the value is not a number.
    """
    name, _, text = word.partition("=")
    try:
        return name.strip(), float(text) if text else 1.0
    except ValueError:
        raise ValueError(
            f"{shown(word)!r}: write NAME=VALUE with a number, such as {shown(name) or 'NAME'}=1"
        ) from None


def positions(name: str, names: Sequence[str]) -> list[int]:
    """The positions of the attributes of this name; upper and lower case are only distinguished where both exist.

    Raises:
        ValueError: there is none; proposes similar names.
    """
    found = [i for i, other in enumerate(names) if other == name]
    found = found or [i for i, other in enumerate(names) if other.lower() == name.lower()]
    if not found:
        within = [other for other in names if name and name.lower() in other.lower()]
        similar = f"did you mean {' or '.join(within)}?" if within else f"there are {', '.join(names)}"
        hint = did_you_mean(name, names) or similar
        raise ValueError(f"there is no attribute {shown(name)!r}; {hint}")
    return found


def attribute_row(known: Attributes, words: Sequence[str], source: int | None = None) -> tuple[Tensor, int]:
    """(A,) attributes, 0 for those that are not named, and the number of their data set.

    Raises:
        ValueError: a name is unknown or in several data sets, or several exclusive attributes are named.
    """
    if source is not None and not 0 <= source < len(known.groups):
        count = len(known.groups)
        raise ValueError(f"--source is {source}; the model was trained on {count} data sets, numbered from 0")
    wanted = [(name, number, positions(name, known.names)) for name, number in map(parse_value, words)]
    chosen = common_source(known, wanted, source)
    row = torch.zeros(len(known.names))
    values: dict[int, float] = {}  # by the attribute's position
    for name, number, places in wanted:
        index = next(i for i in places if i in known.span(chosen))
        if not 0 <= number <= 1:
            raise ValueError(f"{name}={number:g}: attributes are from 0 to 1")
        if values.setdefault(index, number) != number:
            raise ValueError(f"{name} is given twice")
        row[index] = number
    ones = [known.names[i] for i, number in values.items() if number > 0]
    if known.exclusive[chosen] and len(ones) != 1:
        choices = ", ".join(known.names[i] for i in known.span(chosen))
        raise ValueError(f"just one of {choices} holds: ask for one of them, not {' and '.join(ones) or 'none'}")
    return row, chosen


def common_source(known: Attributes, wanted: list[tuple[str, float, list[int]]], source: int | None) -> int:
    """The number of the data set that has all the wanted attributes.

    Raises:
        ValueError: no data set has all of them, or several have.
    """
    numbers = range(len(known.groups))
    sets = [
        s
        for s in numbers
        if source in (None, s) and all(any(i in known.span(s) for i in places) for *_, places in wanted)
    ]
    if not sets:
        where = "; ".join(f"set {s}: {', '.join(known.names[i] for i in known.span(s))}" for s in numbers)
        raise ValueError(
            "these attributes belong to different data sets; the model changes those of one set at a time. " + where
        )
    if len(sets) > 1:
        choices = " or ".join(map(str, sets))
        raise ValueError(f"{wanted[0][0]} is an attribute of several data sets: say which with --source {choices}")
    return sets[0]


def unit_row(known: Attributes, words: Sequence[str], start: str = "") -> Tensor:
    """(A,) action units in 0..1; those that are not named come from `start`, "neutral" or a table of OpenFace.

    Raises:
        ValueError: a name is unknown, or the table has no such columns.
    """
    row = torch.zeros(len(known.names)) if start in ("", "neutral") else openface(start, known.names)
    for name, number in map(parse_value, words):
        match = UNIT.fullmatch(name)
        row[positions(f"AU{int(match[1]):02d}" if match else name, known.names)[0]] = min(1.0, max(0.0, number))
    return row


def openface(path: str, names: Sequence[str]) -> Tensor:
    """(A,) action units in 0..1 of the first face in a table of OpenFace.

    Raises:
        ValueError: the table cannot be read, or lacks a unit.
    """
    content = read_file(path)
    with named(path):
        try:
            values = face(content.decode("utf-8-sig"), path)
        except UnicodeDecodeError as error:
            raise ValueError(f"this is not a table: {error}") from None
        if missing := [name for name in names if name not in values]:
            raise ValueError(f"it lacks {', '.join(f'{name}_r' for name in missing)}")
        return torch.tensor([values[name] for name in names])


# Styles --------------------------------------------------------------------------------------------------------------


def read_file(path: str | Path) -> bytes:
    """The bytes of a file that a flag names.

    Raises:
        ValueError: naming the file.
    """
    path = Path(path).expanduser()
    with named(str(path)):
        if path.is_dir():
            raise ValueError("this is a folder; give a file")
        with open_files(path) as source:
            return source.read(source.files[0])


def read_picture(path: str, channels: int, scale: Scale | None = None) -> Tensor:
    """(1, C, H, W) in [-1, 1] of an image file that a flag names; `scale` as of `as_picture`.

    Raises:
        ValueError: naming the file.
    """
    content = read_file(path)
    with named(path):
        return as_picture(content, channels, scale=scale).image


def styles(options: Options, deep: Scale | None) -> dict[str, object]:
    """The arguments of `translate` for styles: (3, H, W) images, downsized if they are large, and their weights.

    Args:
        options: of the user.
        deep: `scale` as of `as_picture`.

    Raises:
        ValueError: an image cannot be used, or there is not one weight for each style.
    """
    images = []
    for path in options.style:
        image = read_picture(path, 3, deep)
        scale = min(1.0, STYLE_MOST / max(image.shape[2:]))
        size = [max(STYLE_LEAST, round(side * scale)) for side in image.shape[2:]]
        if size != list(image.shape[2:]):
            image = F.interpolate(image, size, mode="bilinear", antialias=True)
        images.append(image[0])
    fixed: dict[str, object] = {"styles": images, "strength": options.strength, "keep_colour": options.keep_colour}
    if options.mix:
        fixed["weights"] = parse_weights(options.mix, len(images))
    return fixed


def parse_weights(text: str, count: int) -> Tensor:
    """Comma-separated weights, as (count,).

    Raises:
        ValueError: the text is something else.
    """
    try:
        weights = torch.tensor([float(part) for part in text.split(",")])
    except ValueError:
        raise ValueError(f"--mix is {shown(text)!r}: write weights separated by commas, 0.7,0.3") from None
    if len(weights) != count or not weights.min() >= 0 or not 0 < weights.sum() < torch.inf:
        raise ValueError(f"--mix is {shown(text)}: {count} styles need as many weights of 0 or more, not all of them 0")
    return weights


def regions(options: Options) -> list[Tensor]:
    """(1, 1, H, W) masks in 0..1, one for each style; with one mask, the second of two styles fills the black.

    Raises:
        ValueError: a mask cannot be used, or there is not one for each style.
    """
    masks = [(read_picture(path, 1) + 1) / 2 for path in options.mask]
    if len(masks) == 1 and len(options.style) == 2:
        masks.append(1 - masks[0])
    if masks and len(masks) != len(options.style):
        raise ValueError(f"{len(options.style)} styles need as many masks (or two styles one), not {len(masks)}")
    return masks
