"""How files become samples: the options that every command with data shares."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args, get_type_hints

Fit = Literal["crop", "pad", "squash"]
Alpha = Literal["white", "black", "keep"]
Frames = Literal["first", "all"]
Jpeg = Literal["scaled", "full"]
Scale = tuple[float, float]  # the values that become black and white
TYPE = "type"  # the range of images that are scaled by their type alone, each on its own
BEFORE = {"range": TYPE, "jpeg": "full"}  # in runs that are older than these options, whose pixels stay as they were


@dataclass(frozen=True)
class Reading:
    """How files become samples.

    Args:
        resolution: side of the images, 64 or 64x96 (height x width); default: the data's own.
        fit: how images of another shape are fitted: centre crop, pad, or squash.
        alpha: background of transparent pixels; keep makes alpha a fourth channel.
        skip_bad: leave out unreadable files and record them, instead of stopping.
        split: part of the data to read, such as train, val or test, or all; default: train, where there are parts.
        held_out: data that is never learned from: images with the same content are left out; default: the data's own
            parts that are not train.
        pair: names of partners relative to the folder, such as '{name}.jpg={name}_mask.gif'; default: equal names, or
            those of a known layout.
        range: LOW,HIGH, the values of images deeper than 8 bits that become black and white (--range=-1000,400), with a
            slash between two sides; or type, for each image's own type; default: found from all images.
        frames: of TIFFs, GIFs and WebPs with several pages or frames: read the first, or all as images.
        void: value of label maps that belongs to no class, or none; default: 255, unless it is a class.
        labels: file of labels, as FILE or FILE:COLUMN; default: a table beside the images, or the folders' names.
        captions: file of captions, as FILE or FILE:COLUMN; default: a table or the text files beside the images.
        no_table: read no table beside the images.
        jpeg: how JPEG files more than twice as large as the resolution are decoded: scaled, at a smaller size, which
            takes a fraction of the time and changes values by 0.4 of 255 on average; or full.
        cache_limit: bytes of the disk that prepared images and copies of shards may take, such as 50G or 800M; images
            that take more are decoded each time they are shown.
    """

    resolution: str = ""
    fit: Fit = "crop"
    alpha: Alpha = "white"
    skip_bad: bool = False
    split: str = ""
    held_out: str = ""
    pair: str = ""
    range: str = ""
    frames: Frames = "first"
    void: str = ""
    labels: str = ""
    captions: str = ""
    no_table: bool = False
    jpeg: Jpeg = "scaled"
    cache_limit: str = "50G"

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of the images; None for the data's own. Raises ValueError."""
        return parse_resolution(self.resolution)

    @property
    def scale(self) -> Scale | None:
        """The values that become black and white, of the first side; None where they are not set. Raises ValueError."""
        return parse_range(self.range)[0]

    def side(self, number: int) -> Reading:
        """The options for one of two sides, or one of several joined sets, each of which may have its own range."""
        ranges = self.range.split("/")
        if len(ranges) == 1:
            return self
        return replace(self, range=ranges[number].strip() if number < len(ranges) else "")

    @property
    def cache_bytes(self) -> int:
        """`cache_limit` in bytes. Raises ValueError."""
        match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?) ?([KMGT]?)B?", self.cache_limit.strip().upper(), re.ASCII)
        if not match:
            raise ValueError(f"--cache-limit takes a number of bytes such as 50G or 800M, not {self.cache_limit!r}")
        return int(float(match[1]) * 1000 ** " KMGT".index(match[2] or " "))

    def check(self) -> Reading:
        """This, if each choice is one of those that there are. Raises ValueError."""
        for name, hint in get_type_hints(Reading).items():
            if (choices := get_args(hint)) and getattr(self, name) not in choices:
                raise ValueError(f"--{name} takes {', '.join(choices)}, not {getattr(self, name)!r}")
        parse_resolution(self.resolution)
        parse_range(self.range)
        assert self.cache_bytes >= 0  # raises ValueError
        return self

    def changed(self, *names: str) -> tuple[tuple[str, object], ...]:
        """Those of the named options that differ from their defaults, with their values, for keys of the cache."""
        default = Reading()
        return tuple((n, getattr(self, n)) for n in names if getattr(self, n) != getattr(default, n))


def reading_of(settings: Reading | Mapping[str, object]) -> Reading:
    """The options of reading among a run's settings, or in its config; those that are missing have their defaults."""
    values = settings if isinstance(settings, Mapping) else vars(settings)
    before = BEFORE if "data" in values else {}
    names = [field.name for field in dataclasses.fields(Reading)]
    options = before | {name: values[name] for name in names if name in values}
    return Reading(**options).check()  # type: ignore[arg-type]


def parse_resolution(text: int | str | None) -> tuple[int, int] | None:
    """64, "64" or "64x96" to (height, width); None and "" to None. Raises ValueError for anything else."""
    if text is None or text == "":
        return None
    match = re.fullmatch(r"([1-9]\d{0,3})(?:x([1-9]\d{0,3}))?", str(text), re.ASCII)
    if not match:
        raise ValueError(f"{text!r} is no resolution: type a side, 64, or height and width, 64x96")
    return int(match[1]), int(match[2] or match[1])


def parse_range(text: str) -> list[Scale | None]:
    """LOW,HIGH of each side, with a slash between sides; None where a side has none, or `TYPE`. Raises ValueError."""
    return [None if part.strip() in ("", TYPE) else _numbers(part, text) for part in text.split("/")]


def range_text(scales: Sequence[Scale | None]) -> str:
    """The text that `parse_range` reads as these scales; "" if there are none."""
    parts = [
        ",".join(f"{v:g}" if float(f"{v:g}") == v else repr(v) for v in scale) if scale else "" for scale in scales
    ]
    return "/".join(parts) if any(parts) else ""


def _numbers(part: str, text: str) -> Scale:
    try:
        low, high = map(float, part.split(","))
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(
            f"--range takes the values that become black and white, not {text!r}: type --range 0,4095, or with a minus "
            f"--range=-1000,400; --range {TYPE} scales each image by its type alone"
        )
    return low, high
