"""The command `gankit interpolate`."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from gankit.cli.flags import Loading, alias, first, numbers, only, parse
from gankit.cli.output import refuse_many
from gankit.text import put

if TYPE_CHECKING:
    from torch import Tensor

    from gankit.recipe import Recipe


@dataclass
class Walk:
    """The latents to pass through, and what to write.

    Args:
        seeds: the seeds to pass through, like 0-5.
        steps: images from one seed to the next.
        space: the latent space, z or w; default: w where the model has one.
        mode: slerp, on arcs, keeps the length that random latents have; lerp is linear; default: slerp in z, lerp in w.
        label: the class; default: that of the first seed.
        trunc: below 1, latents closer to the prior's mean.
        loop: return to the first seed.
        fps: frames per second of the animation.
        output: a strip as .png, or an animation as .webp, .gif or .mp4; default: walk.png, walk.webp and, if ffmpeg is
            installed, walk.mp4.
        outdir: folder for the files that are written without --output.
    """

    seeds: str = "0-5"
    steps: int = 10
    space: Literal["", "z", "w"] = ""
    mode: Literal["", "slerp", "lerp"] = ""
    label: Annotated[int | None, alias(name="class")] = None
    trunc: float = 1.0
    loop: bool = False
    fps: int = 12
    output: Annotated[str, alias("-o")] = ""
    outdir: str = "out"


def interpolate(words: list[str]) -> None:
    """Interpolate between latents: gankit interpolate RUN [--seeds 0-5] [-o walk.png|.webp|.gif|.mp4]"""
    run, flags = first(words, "interpolate", "RUN")
    options, loading = parse(interpolate, "RUN", flags, Walk, only(Loading, "model", "device"))
    seeds = numbers(options.seeds)
    if len(seeds) < 2 or options.steps < 1 or options.fps < 1:
        raise ValueError(
            "an interpolation needs at least two seeds, one step and one frame per second; got "
            f"--seeds {options.seeds}, --steps {options.steps} and --fps {options.fps}"
        )
    recipe = loading.load(run).recipe

    from gankit import latent

    latent.check(recipe, options.label)
    if latent.takes_caption(recipe):
        raise ValueError(
            f"{type(recipe).__name__} draws from texts: interpolate between two of them with "
            f"gankit sample {run} --text 'A' --to-text 'B' -o walk.png"
        )
    refuse_many(recipe, len(seeds) * options.steps, "pictures", "--seeds or --steps")
    write(frames_of(recipe, seeds, options), options)


def frames_of(recipe: Recipe, seeds: list[int], options: Walk) -> Tensor:
    """The samples along the path, (N, C, H, W) or (N, D), all of one class."""
    from gankit import latent

    space = latent.space_of(recipe, options.space)
    label = options.label if options.label is not None else latent.labels(recipe, seeds[:1])
    points, _ = latent.points(recipe, seeds, None if label is None else int(label), options.trunc, space)
    is_spherical = (options.mode or ("slerp" if space == "z" else "lerp")) == "slerp"
    path = latent.path(points.flatten(1), options.steps, is_spherical, options.loop).unflatten(1, points.shape[1:])
    return latent.render(recipe, path, latent.labels(recipe, seeds[:1] * len(path), options.label))


def write(frames: Tensor, options: Walk) -> None:
    """Write a strip or an animation, by the file's ending, or both, and print the paths."""
    from gankit import pictures

    if frames.ndim == 4:
        images = [pictures.grid(frame[None]) for frame in frames]
    else:
        images = [pictures.dots(frames[: i + 1]) for i in range(len(frames))]
    endings = [".png", ".webp", *[".mp4"] * bool(shutil.which("ffmpeg"))]
    default = [Path(options.outdir) / f"walk{ending}" for ending in endings]
    for output in [Path(options.output)] if options.output else default:
        output.parent.mkdir(parents=True, exist_ok=True)
        if output.suffix == ".png":
            pictures.save(output, frames, options.steps)
        else:
            pictures.animate(output, images, options.fps)
        put(output)
