"""What can be asked of a model that translates, and how what a user typed becomes what the model is given."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit import models
from gankit.data import split
from gankit.data.lookup import named, parse_resolution
from gankit.data.reading import layout, tables
from gankit.data.reading.files import open_files
from gankit.recipe import Recipe
from gankit.runs.trained import Trained
from gankit.text import shown
from gankit.translation import files

UNIT = re.compile(r"AU(\d{1,2})", re.I)
STYLE_SIDE, STYLE_LEAST = (
    512,
    32,
)  # sides that style pictures are fitted to: statistics need no more, and have none of less


@dataclass(frozen=True)
class Options:
    """What to make of the pictures, and how.

    Args:
        to: of models of two domains, the one to go to: a, b, or the name of its folder.
        set: attributes that the result is to have, NAME=1 or NAME=0; all others are 0.
        au: action units of the face that results, AU12=0.8 and so on, each from 0 to 1; all others are neutral.
        au_from: where the other action units come from: neutral, or a .csv of OpenFace, of which the first face is taken.
        source: of joined data sets with attributes of one name, the number of that which is meant, from 0.
        style: pictures whose style is taken.
        strength: how much of the style, from 0 for none to 1.
        mix: weights of several styles, like 0.7,0.3; equal ones without it.
        keep_colour: keep the picture's own colours.
        mask: pictures that are white where each style goes; of two styles one is enough, the second goes to the black.
        faces: find faces, change those alone, and blend them back in place.
        face_margin: how much of a face's surroundings is changed with it, as a share of its side.
        strip: write a strip of pictures beside each output: all attributes, intensities, strengths, or the way there.
        steps: pictures in a strip of intensities or strengths.
        attention: write beside each output where the model leaves the picture alone, in white, and where it paints, in black.
        round_trip: go to the other domain and back; write a strip and say how far what comes back is off.
        overlay: of label maps, write the picture with the map laid over it, beside the map.
        size: fit the pictures first: the shorter side, 256, or height and width, 256x384.
        tile: side of overlapping tiles; 0 for the whole picture, as far as memory allows.
        batch: pictures of one size that go through the network at once.
        n: how many pictures of a built-in data set.
        seed: of the random numbers of models that draw some. A picture's own hang on it and on the picture's name.
        format: of the pictures written: png, jpg or webp; each picture's own without it.
        overwrite: replace outputs that are there already. Inputs are never replaced.
    """

    to: str = ""
    set: tuple[str, ...] = ()
    au: tuple[str, ...] = ()
    au_from: str = ""
    source: int | None = None
    style: tuple[str, ...] = ()
    strength: float = 1.0
    mix: str = ""
    keep_colour: bool = False
    mask: tuple[str, ...] = ()
    faces: bool = False
    face_margin: float = 0.5
    strip: bool = False
    steps: int = 7
    attention: bool = False
    round_trip: bool = False
    overlay: bool = False
    size: str = ""
    tile: int = 0
    batch: int = 4
    n: int = 16
    seed: int = 0
    format: str = ""
    overwrite: bool = False


class Ask(NamedTuple):
    """What a model is given beside the pictures.

    Args:
        fixed: by the names of `translate`'s arguments, alike for all pictures.
        rows: likewise, tensors of which each picture is given one row.
        regions: (1, 1, H, W) in 0..1 for each style, where it goes, of any size; none for everywhere.
    """

    fixed: dict[str, object]
    rows: dict[str, Tensor]
    regions: tuple[Tensor, ...] = ()


class Attributes(NamedTuple):
    """The attributes that a model changes.

    Args:
        names: in the model's order.
        groups: how many of them each of the joined data sets has; one number for one set.
        exclusive: for each set, whether just one of its attributes holds.
    """

    names: tuple[str, ...]
    groups: tuple[int, ...]
    exclusive: tuple[bool, ...]

    @property
    def units(self) -> bool:
        """Whether they are action units of faces."""
        return all(UNIT.fullmatch(name) for name in self.names)

    def span(self, source: int) -> range:
        """The places of a set's own attributes."""
        return range(sum(self.groups[:source]), sum(self.groups[: source + 1]))


def attributes_of(trained: Trained) -> Attributes:
    """The attributes of a model, those that it was told to learn, by the names of the data or of its classes."""
    recipe, spec = trained.recipe, trained.recipe.spec
    if spec.attributes:
        names = tuple(getattr(recipe, "names", spec.attributes))
    else:
        names = tuple(trained.config["data"].get("classes") or map(str, range(spec.num_classes)))
    groups = tuple(getattr(recipe, "counts", None) or spec.groups or (len(names),))
    exclusive = tuple(getattr(recipe, "exclusive", None) or spec.exclusive or (not spec.attributes,))
    return Attributes(names, groups, exclusive)


def takes(recipe: Recipe) -> set[str]:
    """The names of the arguments of `translate` beside the images."""
    return set(inspect.signature(recipe.translate).parameters) - {"images"} if hasattr(recipe, "translate") else set()


def domains_of(config: dict) -> tuple[str, str]:
    """The names of the two domains of a run: their folders', where those say something, else "a" and "b"."""
    typed = str(config["settings"].get("data", ""))
    found = layout.domains(Path(typed).expanduser()) if typed and "\0" not in typed else None
    parts = tuple(map(str, found)) if found else (split(typed) if "," in typed else None)
    return tuple(Path(part).name or default for part, default in zip(parts, "ab")) if parts else ("a", "b")


def usage(trained: Trained) -> str:
    """Which flags say what this model is to do."""
    names, said = takes(trained.recipe), []
    if "to" in names:
        a, b = domains_of(trained.config)
        said.append("--to a or --to b" + (f" ({a} or {b})" if (a, b) != ("a", "b") else ""))
    if "attribute" in names:
        known = attributes_of(trained)
        said.append(f"--{'au' if known.units else 'set'} NAME=VALUE, of {', '.join(known.names)}")
    if "styles" in names:
        said.append("--style PICTURE ..., with --strength")
    return "; ".join(said) or "no flag for what to make"


def example(kind: type[Recipe]) -> str:
    """How a trained model of this kind is used, as one would type it."""
    names = set(inspect.signature(kind.translate).parameters) if hasattr(kind, "translate") else set()
    flags = {
        "to": "--to b",
        "attribute": "--au NAME=0.8" if hasattr(kind, "attention") else "--set NAME=1",
        "styles": "--style PICTURE",
    }
    return " ".join(["gankit translate RUN INPUT -o OUTPUT", *(flag for name, flag in flags.items() if name in names)])


def able() -> list[str]:
    """The models that translate or segment."""
    return [name for name in models.names() if {"translate", "segment"} & set(models.find(name).abilities())]


OF = {  # flags, and what a model must have for them: an argument of `translate`, or a method
    "to": "to", "round_trip": "to", "set": "attribute", "au": "attribute", "au_from": "attribute", "source": "source", "style": "styles",
    "strength": "styles", "mix": "styles", "keep_colour": "styles", "mask": "styles", "attention": "attention", "overlay": "segment",
    "faces": "translate",
}  # fmt: skip


def check(trained: Trained, options: Options) -> None:
    """Refuse what this model cannot do, saying what it takes, and numbers that make no sense.

    Raises:
        ValueError: one line.
    """
    recipe, name = trained.recipe, trained.config["model"]
    if not hasattr(recipe, "translate") and not hasattr(recipe, "segment"):
        can = ", ".join(recipe.abilities()) or "nothing"
        raise ValueError(
            f"{name} makes nothing of pictures; models that do are {', '.join(able())}. What it can: {can}"
        )
    has = takes(recipe) | {ability for ability in ("translate", "segment", "attention") if hasattr(recipe, ability)}
    for field in fields(Options):
        if field.name in OF and OF[field.name] not in has and getattr(options, field.name) != field.default:
            flag = "--" + field.name.replace("_", "-")
            raise ValueError(f"{name} does not take {flag}; it takes {usage(trained)}")
    parse_resolution(options.size)
    for flag, least in dict(steps=2, batch=1, n=1, tile=0, seed=0).items():
        if getattr(options, flag) < least:
            raise ValueError(f"--{flag} is {getattr(options, flag)}; it is {least} or more")
    if not 0 <= options.strength <= 1:
        raise ValueError(f"--strength is {options.strength}; it is from 0, the picture as it is, to 1")
    if options.face_margin < 0 or options.face_margin > 2:
        raise ValueError(f"--face-margin is {options.face_margin}; it is from 0 to 2, a share of the face's side")
    if options.format not in ("", "png", "jpg", "webp"):
        raise ValueError(f"--format takes png, jpg and webp, not {options.format!r}")
    if options.faces and (options.round_trip or options.attention or options.tile):
        raise ValueError("--faces goes with --strip, and not with --round-trip, --attention and --tile")


def ask(trained: Trained, options: Options) -> Ask | None:
    """What the model is given beside the pictures; None where a strip is asked for and nothing that it is to lead to.

    Raises:
        ValueError: something is missing or unknown; says what there is.
    """
    names, fixed, rows = takes(trained.recipe), {}, {}
    if "to" in names:
        fixed["to"] = domain(trained, options.to)
        refuse_absent(trained, "ab" if options.round_trip else fixed["to"])
    if "attribute" in names:
        known = attributes_of(trained)
        words = options.au if known.units else options.set
        wrong = options.set if known.units else options.au
        if wrong or (options.au_from and not known.units):
            raise ValueError(f"{trained.config['model']} takes {usage(trained)}")
        if not words and not options.au_from:
            if options.strip:
                return None
            raise ValueError(f"what is to change? {trained.config['model']} takes {usage(trained)}")
        rows["attribute"], source = (
            units(known, words, options.au_from) if known.units else attributes(known, words, options.source)
        )
        if "source" in names:
            fixed["source"] = source
    if "styles" in names:
        if not options.style:
            raise ValueError("whose style? --style PICTURE ...")
        fixed |= styles(options)
    return Ask(fixed, rows, tuple(regions(options)))


def refuse_absent(trained: Trained, to: str) -> None:
    """Refuse the ways to domains, "a", "b" or "ab", for which an imported file had no generator: it would draw noise.

    Raises:
        ValueError: says how to import it.
    """
    for side in to:
        if side not in trained.domains:
            raise ValueError(
                f"this model's file had no generator to {side}; import it again with --back and the file of that one"
            )


def domain(trained: Trained, typed: str) -> str:
    """ "a" or "b" from what a user typed."""
    a, b = domains_of(trained.config)
    found = {"b": "b", "a": "a", b.lower(): "b", a.lower(): "a"}.get(typed.lower())
    if found is None or (typed.lower() not in "ab" and a.lower() == b.lower()):
        said = f"--to a ({a}) or --to b ({b})" if (a, b) != ("a", "b") else "--to a or --to b"
        raise ValueError(
            f"{f'there is no domain {shown(typed)!r}' if typed else 'to which domain?'} {said}".replace("' -", "'; -")
        )
    return found


def value(word: str) -> tuple[str, float]:
    """NAME=VALUE, or NAME for 1.

    Raises:
        ValueError: the value is no number.
    """
    name, _, text = word.partition("=")
    try:
        return name.strip(), float(text) if text else 1.0
    except ValueError:
        raise ValueError(
            f"{shown(word)!r}: write NAME=VALUE with a number, such as {shown(name) or 'NAME'}=1"
        ) from None


def place(name: str, known: Sequence[str]) -> list[int]:
    """Where attributes of this name are, whatever the case of its letters.

    Raises:
        ValueError: nowhere; says what is near.
    """
    found = [i for i, one in enumerate(known) if one == name] or [
        i for i, one in enumerate(known) if one.lower() == name.lower()
    ]
    if not found:
        low = {one.lower(): one for one in known}
        near = [low[key] for key in difflib.get_close_matches(name.lower(), low, 3, 0.5)]
        near = near or [one for one in known if name and name.lower() in one.lower()]
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
        raise ValueError(f"there is no attribute {shown(name)!r}; {hint}")
    return found


def attributes(known: Attributes, words: Sequence[str], source: int | None = None) -> tuple[Tensor, int]:
    """(A,) the attributes asked for, 0 for all others, and the number of the data set that they are of.

    Raises:
        ValueError: a name is unknown, or of several sets, or two are asked for of which just one holds.
    """
    if source is not None and not 0 <= source < len(known.groups):
        raise ValueError(f"--source is {source}; the model learnt from {len(known.groups)} data sets, numbered from 0")
    of = [next(s for s in range(len(known.groups)) if i in known.span(s)) for i in range(len(known.names))]
    wanted = [(name, number, place(name, known.names)) for name, number in map(value, words)]
    sets = [
        s
        for s in range(len(known.groups))
        if source in (None, s) and all(any(of[i] == s for i in at) for *_, at in wanted)
    ]
    if not sets:
        where = "; ".join(
            f"set {s}: {', '.join(known.names[i] for i in known.span(s))}" for s in range(len(known.groups))
        )
        raise ValueError(
            f"these attributes are of different data sets, and the model changes those of one at a time. {where}"
        )
    if len(sets) > 1:
        raise ValueError(
            f"{wanted[0][0]} is an attribute of several data sets: say which with --source {' or '.join(map(str, sets))}"
        )
    chosen, row, given = sets[0], torch.zeros(len(known.names)), {}
    for name, number, at in wanted:
        index = next(i for i in at if of[i] == chosen)
        if not 0 <= number <= 1:
            raise ValueError(f"{name}={number:g}: attributes are 0 or 1, or between")
        if given.setdefault(index, number) != number:
            raise ValueError(f"{name} is given twice")
        row[index] = number
    ones = [known.names[i] for i, number in given.items() if number > 0]
    if known.exclusive[chosen] and len(ones) != 1:
        own = ", ".join(known.names[i] for i in known.span(chosen))
        raise ValueError(f"just one of {own} holds: ask for one of them, not {' and '.join(ones) or 'none'}")
    return row, chosen


def units(known: Attributes, words: Sequence[str], start: str = "") -> tuple[Tensor, int]:
    """(A,) action units in 0..1: those asked for, the others from `start`, "neutral" or a table of OpenFace.

    Raises:
        ValueError: a name is unknown, or the table has no such columns.
    """
    row = torch.zeros(len(known.names)) if start in ("", "neutral") else openface(start, known.names)
    for name, number in map(value, words):
        match = UNIT.fullmatch(name)
        row[place(f"AU{int(match[1]):02d}" if match else name, known.names)[0]] = min(1.0, max(0.0, number))
    return row, 0


def openface(path: str, names: Sequence[str]) -> Tensor:
    """(A,) action units in 0..1 of the face in a table of OpenFace.

    Raises:
        ValueError: it cannot be read, or lacks a unit.
    """
    content = read(path)
    with named(path):
        try:
            found = tables.face(content.decode("utf-8-sig"), path)
        except UnicodeDecodeError as error:
            raise ValueError(f"this is no table: {error}") from None
        if missing := [name for name in names if name not in found]:
            raise ValueError(f"it lacks {', '.join(f'{name}_r' for name in missing)}")
        return torch.tensor([found[name] for name in names])


def read(path: str | Path) -> bytes:
    """The bytes of a file that a flag names.

    Raises:
        ValueError: naming it.
    """
    path = Path(path).expanduser()
    with named(str(path)):
        if path.is_dir():
            raise ValueError("this is a folder, and a file is asked for")
        with open_files(path) as source:
            return source.read(source.files[0])


def picture(path: str, channels: int) -> Tensor:
    """(1, C, H, W) in [-1, 1] of a picture that a flag names.

    Raises:
        ValueError: naming it.
    """
    content = read(path)
    with named(path):
        return files.as_picture(content, channels).image


def styles(options: Options) -> dict[str, object]:
    """What a model of styles is given of them: pictures (3, H, W) that are no larger than need be, and their weights.

    Raises:
        ValueError: a picture cannot be used, or there are not as many weights.
    """
    found = []
    for path in options.style:
        image = picture(path, 3)
        scale = min(1.0, STYLE_SIDE / max(image.shape[2:]))
        size = [max(STYLE_LEAST, round(side * scale)) for side in image.shape[2:]]
        found.append(
            F.interpolate(image, size, mode="bilinear", antialias=True)[0]
            if size != list(image.shape[2:])
            else image[0]
        )
    fixed: dict[str, object] = {"styles": found, "strength": options.strength, "keep_colour": options.keep_colour}
    if options.mix:
        try:
            fixed["weights"] = torch.tensor([float(part) for part in options.mix.split(",")])
        except ValueError:
            raise ValueError(f"--mix is {shown(options.mix)!r}: write weights with commas between, 0.7,0.3") from None
        weights = fixed["weights"]
        if len(weights) != len(found) or not weights.min() >= 0 or not 0 < weights.sum() < torch.inf:
            raise ValueError(
                f"--mix is {shown(options.mix)}: {len(found)} styles need as many weights of 0 or more, not all of them 0"
            )
    return fixed


def regions(options: Options) -> list[Tensor]:
    """(1, 1, H, W) in 0..1 for each style, where it goes: of one mask and two styles the second goes to the black.

    Raises:
        ValueError: a mask cannot be used, or there are not as many.
    """
    masks = [(picture(path, 1) + 1) / 2 for path in options.mask]
    if len(masks) == 1 and len(options.style) == 2:
        masks.append(1 - masks[0])
    if masks and len(masks) != len(options.style):
        raise ValueError(f"{len(options.style)} styles need as many masks (or two styles one), not {len(masks)}")
    return masks
