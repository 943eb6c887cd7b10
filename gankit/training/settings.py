"""Settings: how a run goes, whatever the model."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args, get_origin, get_type_hints

from gankit import build
from gankit.recipe import Images, Recipe
from gankit.runs.files import BadCheckpoint


@dataclass(frozen=True)
class Settings:
    """How a run goes, whatever the model.

    Args:
        data: a folder, zip or tar of images, or built-in: digits, photo, textures, ring, grid, stacked-digits, shapes.
        resolution: side of the images, 64 or 64x96 (height x width); empty for the data's own.
        fit: how images of another shape are fitted: centre crop, pad, or squash.
        mirror: flip half of the images left to right.
        alpha: what stands behind transparent pixels; keep makes it a fourth channel.
        skip_bad: leave unreadable files out, and record them, instead of stopping.
        images: how many images to train on, counting each time that one is seen; 0 for what singan's scales need.
        batch: images in a step, over all processes.
        pieces: parts that a batch is worked through in, to save memory (gradient accumulation). Batch norm and other layers
            that look across a batch see one part at a time, which changes the result; the start of a run names them.
        precision: fp32, or bf16 for faster networks with float32 weights; fp64 to check exactness.
        device: auto, cpu, cuda, cuda:1 or mps.
        threads: CPU threads; 0 leaves it to PyTorch.
        seed: the seed of everything drawn at random.
        ema: half-life of the averaged weights; 0 for no averaging.
        clip: largest norm of an optimizer's gradient; 0 for no limit.
        augment: change what D sees at random, for small data sets: diffaugment, or ada, which learns how often.
        augment_policy: which changes, like color,translation or blit,geometric:0.5; empty for the paper's.
        augment_p: with ada, how often each change is made at first, 0 to 1.
        augment_target: with ada, mean sign of D on reals at which it is held; 0 to leave augment_p as it is.
        augment_speed: with ada, images in which it can go from never to always.
        log: how often to log.
        preview: how often to draw the grid of samples; 0 for never.
        save: how often to save.
        keep: how often to keep a copy of the averaged weights for good; 0 for never.
        evaluate: metrics to take while it trains, like fd,precision; the best weights by the first of them are kept.
        evaluate_every: how often to take them.
        evaluate_n: samples for them; 0 for what `gankit evaluate` takes.
        evaluate_features: network to look through; as `gankit evaluate --features`.
        text_encoder: for models that draw from texts, what makes vectors of them: the folder of a sentence-transformers model, or
            a .npz with `text` and `vector`; empty for an encoder that is learnt from the captions.
        workers: threads that fetch batches ahead; 0 fetches each when it is needed.
        compile: compile the generators with torch.compile: slow to start, and seldom worth it on a CPU.
    """

    data: str = "digits"
    resolution: str = ""
    fit: Literal["crop", "pad", "squash"] = "crop"
    mirror: bool = False
    alpha: Literal["white", "black", "keep"] = "white"
    skip_bad: bool = False
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
    evaluate_features: str = ""
    text_encoder: str = ""
    workers: int = 1
    compile: bool = False

    # May differ on resume: they change how fast the run goes, how long it is and what is drawn, but no number in it.
    FREE: ClassVar[tuple[str, ...]] = (
        "images", "device", "threads", "log", "preview", "save", "keep", "workers", "compile",
        "evaluate", "evaluate_every", "evaluate_n", "evaluate_features",
    )  # fmt: skip

    # Where else than at any number from 0 on: the least and the most.
    LIMITS: ClassVar[dict[str, tuple[float, float]]] = {
        "batch": (1, 2**24), "pieces": (1, 2**24), "threads": (0, max(64, 4 * (os.cpu_count() or 1))), "workers": (0, 256), "seed": (0, 2**63 - 1),
        "log": (1, 2**62), "save": (1, 2**62), "evaluate_every": (1, 2**62), "augment_speed": (1, 2**62), "augment_p": (0, 1), "augment_target": (0, 1),
    }  # fmt: skip

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


MOVED = ("data", "text_encoder")  # where these are may differ on resume, what they hold may not


def with_length(settings: Settings, recipe: Recipe) -> Settings:
    """The settings with the model's own length where `images` is 0. Raises ValueError: it has none."""
    if settings.images:
        return settings
    if not hasattr(recipe, "length"):
        raise ValueError("images is 0; it must be at least 1")
    return dataclasses.replace(settings, images=recipe.length)


def settings_of(config: dict) -> Settings:
    """The settings in a run's config.

    Raises:
        BadCheckpoint: one of them is none that a run could have.
    """
    known = {f.name for f in dataclasses.fields(Settings)}
    try:
        return Settings(**{k: v for k, v in config["settings"].items() if k in known})
    except ValueError as error:
        raise BadCheckpoint(f"config.json is damaged: {error}") from error
