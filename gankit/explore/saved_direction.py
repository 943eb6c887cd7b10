"""Samples moved along a direction that another tool saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gankit.explore.components import sefa
from gankit.explore.inputs import Latents, Seeds, check_finite, latents_of, read_arrays, with_noise_maps
from gankit.explore.moves import Move, captions, parse_layers, strengths_of
from gankit.explore.result import Result
from gankit.runs.trained import Trained


def sliders(
    trained: Trained,
    *,
    directions: str = "",
    index: int = 0,
    seeds: Seeds = Seeds(range(4)),
    steps: int = 9,
    reach: float = 3.0,
    layers: str = "",
    label: int | None = None,
    trunc: float = 1.0,
    latent_file: str = "",
) -> Result:
    """Sliders: seeds moved along one direction of sefa, ganspace or boundary, as a strip and an animation.

    Args:
        directions: the .npz with directions; default: the directions that sefa finds.
        index: the number of the direction in the file.
        seeds: samples, a row each.
        steps: images per row.
        reach: the largest step to either side, in the direction's own unit.
        layers: the layers of the style to move; default: those that the direction was found for.
        label: the class; default: the classes in turn, by seed.
        trunc: truncation.
        latent_file: a .npz of `project` instead of seeds.
    """
    check_finite(reach=reach)
    if steps < 1 or index < 0:
        raise ValueError(
            f"--steps is {steps} and --index {index}; a row has 1 image at least, and directions count from 0"
        )
    trained = with_noise_maps(trained, latent_file)
    if not directions:
        arrays = sefa(trained, count=index + 1, label=label, steps=1, latent_file=latent_file).arrays
    else:
        arrays = read_arrays(directions, "directions", "the directions that sefa, ganspace or boundary wrote")
    names = [str(name) for name in arrays.get("names", [])]
    latents = latents_of(trained, seeds, label, trunc, str(arrays.get("space", "")), latent_file)
    move, vector, unit = direction_in(arrays, directions, index, layers, trained, latents)
    strengths = strengths_of(reach, steps)
    name = names[index] if index < len(names) else f"direction {index}"
    return Result(
        move.rows(vector, [strength * unit for strength in strengths]),
        steps,
        captions(strengths, name),
        latents.names,
        {"direction": name, "file": Path(directions).name, "strengths": strengths, "unit": unit},
        move.back_and_forth(vector * unit, reach),
        fps=16,
    )


def direction_in(
    arrays: dict[str, np.ndarray], file: str, index: int, layers: str, trained: Trained, latents: Latents
) -> tuple[Move, Tensor, float]:
    """The move of these latents along a direction in a file, the direction (D,), and its unit.

    Raises:
        ValueError: the file has no such direction, or belongs to a model with other latents or layers.
    """
    points = latents.points
    vectors = torch.from_numpy(np.atleast_2d(arrays["directions"])).to(points)
    if vectors.shape[1] != points.shape[-1]:
        raise ValueError(
            f"{file} holds directions of {vectors.shape[1]} numbers; this model's latents have {points.shape[-1]}"
        )
    if not 0 <= index < len(vectors):
        raise ValueError(f"--index is {index}; the file holds directions 0 to {len(vectors) - 1}")
    scale = float(np.atleast_1d(arrays.get("scale", np.ones(len(vectors))))[index])
    if layers:
        numbers = list(parse_layers(points, layers) or [])
    else:
        numbers = [int(i) for i in np.atleast_1d(arrays.get("layers", []))]
    if numbers and points.ndim == 3 and not 0 <= min(numbers) <= max(numbers) < points.shape[1]:
        raise ValueError(
            f"{file} holds directions for layers {min(numbers)} to {max(numbers)}; "
            f"this model has 0 to {points.shape[1] - 1}: choose with --layers"
        )
    return Move(trained, latents, numbers or None), vectors[index], scale
