"""The settings of a run, whatever the model."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, get_args, get_origin, get_type_hints

from gankit import build, models
from gankit.data.reading.choices import BEFORE, Reading
from gankit.declaration import Declaration, Images
from gankit.runs.schema import BadCheckpoint, Config
from gankit.text import suggest

if TYPE_CHECKING:
    from gankit.recipe import Recipe


@dataclass(frozen=True)
class Settings(Reading):
    """How a run goes, whatever the model. Lengths and intervals are counts of images shown to the model.

    Args:
        data: a folder, zip or tar of images, or a built-in set such as digits, photo, ring or shapes;
            `gankit data --help` lists them. Only models with built-in data of their own do without.
        mirror: flip half of the images left to right.
        images: training length in images shown; 0 for the length that singan's scales need.
        batch: images in a step, over all processes.
        pieces: parts into which a batch is split to save memory (gradient accumulation). Layers that look across a
            batch, such as batch norm, see one part at a time, which changes the result; the run names them.
        precision: fp32, or bf16 for faster networks with float32 weights; fp64 to check exactness.
        device: auto, cpu, cuda, cuda:1 or mps.
        threads: CPU threads; 0 leaves the choice to PyTorch.
        seed: seed of all random numbers.
        ema: half-life of the averaged weights; 0 for no averaging.
        clip: largest norm of an optimizer's gradient; 0 for no limit.
        augment: random changes of the images that D sees, for small data sets: diffaugment, or ada, which adapts
            their probability.
        augment_policy: which changes, such as color,translation or blit,geometric:0.5; default: the paper's.
        augment_p: initial probability of each change with ada, 0 to 1.
        augment_target: mean sign of D on real images that ada aims at; 0 to keep augment_p fixed.
        augment_speed: images in which ada can go from probability 0 to 1.
        log: interval between log lines.
        preview: interval between grids of samples; 0 for none.
        save: interval between saves.
        keep: interval between copies of the averaged weights that are kept; 0 for none.
        evaluate: metrics to compute during training, such as fd,precision; the best weights by the first one are kept.
        evaluate_every: interval between evaluations.
        evaluate_n: samples for each evaluation; 0 for the default of `gankit evaluate`.
        patience: evaluations without improvement of the first metric after which training stops early; 0 for never.
        evaluate_features: feature extractor, as for `gankit evaluate --features`.
        text_encoder: encoder of texts for models that draw from texts: the folder of a sentence-transformers model, or
            a .npz with `text` and `vector`; default: an encoder that is learned from the captions.
        workers: threads that fetch batches ahead; 0 fetches each batch when it is needed.
        compile: compile the generators with torch.compile: slow to start, and seldom faster on a CPU.
    """

    data: str = ""
    mirror: bool = False
    images: Images = Images(1_000_000)
    batch: int = 64
    pieces: int = 1
    precision: Literal["fp32", "bf16", "fp64"] = "fp32"
    device: str = "auto"
    threads: int = 0
    seed: int = 0
    ema: Images = Images(10_000)
    clip: float = 0.0
    augment: Literal["none", "diffaugment", "ada"] = "none"
    augment_policy: str = ""
    augment_p: float = 0.0
    augment_target: float = 0.6
    augment_speed: Images = Images(500_000)
    log: Images = Images(5_000)
    preview: Images = Images(25_000)
    save: Images = Images(50_000)
    keep: Images = Images(0)
    evaluate: str = ""
    evaluate_every: Images = Images(200_000)
    evaluate_n: Images = Images(0)
    patience: int = 0
    evaluate_features: str = ""
    text_encoder: str = ""
    workers: int = 1
    compile: bool = False

    # May differ on resume: they change speed, length and what is drawn, but no trained number.
    FREE: ClassVar[tuple[str, ...]] = (
        "images", "device", "threads", "log", "preview", "save", "keep", "workers", "compile",
        "evaluate", "evaluate_every", "evaluate_n", "patience", "evaluate_features", "cache_limit", "skip_bad",
    )  # fmt: skip

    # Least and most of each setting, where these are not 0 and 2**62.
    LIMITS: ClassVar[dict[str, tuple[float, float]]] = {
        "batch": (1, 2**24),
        "pieces": (1, 2**24),
        "threads": (0, max(64, 4 * (os.cpu_count() or 1))),
        "workers": (0, 256),
        "seed": (0, 2**63 - 1),
        "augment_p": (0, 1),
        "augment_target": (0, 1),
        **dict.fromkeys(("log", "save", "evaluate_every", "augment_speed"), (1, 2**62)),
    }

    def __post_init__(self) -> None:
        hints = get_type_hints(Settings)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if get_origin(hints[field.name]) is Literal and value not in get_args(hints[field.name]):
                raise ValueError(f"{field.name} is {value!r}; choose from {', '.join(get_args(hints[field.name]))}")
            build.check_value(field.name, value, hints[field.name])
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                least, most = self.LIMITS.get(field.name, (0, 2**62))
                if not value >= least:
                    raise ValueError(f"{field.name} is {value}; it must be at least {least}")
                if not value <= most:
                    raise ValueError(f"{field.name} is {value}; it must be at most {most}")
        if self.pieces > self.batch:
            raise ValueError(f"pieces is {self.pieces}, more than the {self.batch} images of a batch; lower --pieces")
        if self.patience and not self.evaluate:
            raise ValueError(
                f"patience is {self.patience} evaluations, and there are none: add --evaluate fd, or --patience 0"
            )


MOVED = ("data", "text_encoder")  # their paths may differ on resume, their content may not


def with_options(settings: Settings, options: Mapping[str, object]) -> Settings:
    """The settings with some of them changed, by name. Raises ValueError: a value is invalid."""
    return dataclasses.replace(settings, **options)  # type: ignore[arg-type]  # Settings checks the types


def plan(kind: type[Declaration], preset: str, options: dict[str, object]) -> tuple[Settings, dict[str, object]]:
    """Settings and model arguments: the defaults, then the model's, then the preset's, then the options.

    Raises:
        ValueError: there is no such preset or option, or a value is invalid.
    """
    if preset and preset not in kind.presets:
        raise ValueError(f"{models.name_of(kind)} has no preset {preset!r}; it has {', '.join(kind.presets) or 'none'}")
    chosen = kind.presets[preset] if preset else None
    fields = {f.name for f in dataclasses.fields(Settings)}
    settings = dict(kind.defaults) | (chosen.settings if chosen else {})
    defaults = build.defaults(kind)
    if clash := fields & set(defaults):
        raise ValueError(
            f"{models.name_of(kind)} has an argument {min(clash)!r}, which is a setting of every run: rename it"
        )
    arguments = defaults | (chosen.model if chosen else {})
    for name, value in options.items():
        if name in fields:
            settings[name] = value
        elif name in arguments:
            arguments[name] = value
        else:
            raise ValueError(suggest("option", name, [*fields, *arguments]))
    build.check(kind, arguments)
    return with_options(Settings(), settings), arguments


def with_length(settings: Settings, recipe: Recipe) -> Settings:
    """The settings with the model's own length where `images` is 0. Raises ValueError if the model has none."""
    if settings.images:
        return settings
    if not recipe.length:
        raise ValueError("images is 0; it must be at least 1")
    return dataclasses.replace(settings, images=Images(recipe.length))


def settings_of(config: Config) -> Settings:
    """The settings in a run's config.

    Raises:
        BadCheckpoint: a setting is invalid.
    """
    known = {f.name for f in dataclasses.fields(Settings)}
    try:
        return with_options(Settings(), BEFORE | {k: v for k, v in config["settings"].items() if k in known})
    except ValueError as error:
        raise BadCheckpoint(f"config.json is damaged: {error}") from error
