"""The options of a translation, and which of them a model takes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from gankit.data.reading.choices import parse_resolution
from gankit.declaration import can
from gankit.translation.abilities import able, arguments_of_translate, usage

if TYPE_CHECKING:
    from gankit.runs.trained import Trained

# What a model must have for an option: an argument of `translate`, or a method.
NEEDS = {
    "to": "to",
    "round_trip": "to",
    "set": "attribute",
    "au": "attribute",
    "au_from": "attribute",
    "source": "source",
    "style": "styles",
    "strength": "styles",
    "mix": "styles",
    "keep_colour": "styles",
    "mask": "styles",
    "attention": "attention",
    "overlay": "segment",
    "faces": "translate",
}


@dataclass(frozen=True)
class Options:
    """How to translate.

    Args:
        to: the target domain, for models of two domains: a, b, or the name of its folder.
        set: attributes of the result, NAME=1 or NAME=0; all others are 0.
        au: action units of the resulting face, like AU12=0.8, each from 0 to 1; all others are neutral.
        au_from: the values of the other action units: neutral, or a .csv of OpenFace, whose first face is used.
        source: the number, from 0, of the joined data set whose attributes are meant, if a name is in several of them.
        style: style images.
        strength: strength of the style, from 0 for none to 1.
        mix: weights of several styles, like 0.7,0.3; default: equal weights.
        keep_colour: keep the colours of the input.
        mask: a mask for each style, white where it applies; for two styles one mask is enough, the second fills the
            black.
        faces: find faces, change only those, and blend them back in place.
        face_margin: how much of a face's surroundings is changed with it, as a share of its side.
        strip: write a strip of images beside each output: all attributes, intensities, strengths, or the other domain.
        steps: images in a strip of intensities or strengths.
        attention: write the attention mask beside each output: white where the input is kept, black where it is
            repainted.
        round_trip: translate to the other domain and back; write a strip and the reconstruction error.
        overlay: write the input with the label map laid over it, beside the label map.
        size: resize the inputs first: the shorter side, 256, or height and width, 256x384.
        tile: side of overlapping tiles; 0 for the whole image, if memory allows.
        batch: images of one size per forward pass.
        n: number of images of a built-in data set.
        seed: of random numbers; those of an image depend on this seed and on the image's name.
        format: of the outputs: png, jpg or webp; default: each input's own.
        overwrite: replace existing outputs. Inputs are never replaced.
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


def check_options(trained: Trained, options: Options) -> None:
    """Refuse options that the model does not take, and values out of range.

    Raises:
        ValueError: says what the model takes.
    """
    recipe, name = trained.recipe, trained.config["model"]
    if not can(recipe, "translate") and not can(recipe, "segment"):
        abilities = ", ".join(recipe.abilities()) or "nothing"
        raise ValueError(
            f"{name} does not translate images; models that do are {', '.join(able())}. Its abilities: {abilities}"
        )
    methods = {ability for ability in ("translate", "segment", "attention") if can(recipe, ability)}
    available = arguments_of_translate(recipe) | methods
    has_direction = can(recipe, "translate") and "pairs" in recipe.data.split()  # which `request_of` compares
    for field in fields(Options):
        is_set = getattr(options, field.name) != field.default and not (field.name == "to" and has_direction)
        if is_set and field.name in NEEDS and NEEDS[field.name] not in available:
            raise ValueError(f"{name} does not take --{field.name.replace('_', '-')}; it takes {usage(trained)}")
    parse_resolution(options.size)
    for flag, least in dict(steps=2, batch=1, n=1, tile=0, seed=0).items():
        if getattr(options, flag) < least:
            raise ValueError(f"--{flag} is {getattr(options, flag)}; it must be at least {least}")
    if not 0 <= options.strength <= 1:
        raise ValueError(f"--strength is {options.strength}; it must be from 0 (no change) to 1")
    if options.face_margin < 0 or options.face_margin > 2:
        raise ValueError(f"--face-margin is {options.face_margin}; it must be from 0 to 2, times the face's side")
    if options.format not in ("", "png", "jpg", "webp"):
        raise ValueError(f"--format takes png, jpg and webp, not {options.format!r}")
    if options.faces and (options.round_trip or options.attention or options.tile):
        raise ValueError("--faces can be combined with --strip, but not with --round-trip, --attention or --tile")
