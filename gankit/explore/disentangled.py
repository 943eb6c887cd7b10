"""Codes that a model learned to tell apart by itself: InfoGAN's traversals."""

from __future__ import annotations

import torch

from gankit import latent
from gankit.explore.inputs import Seeds, generator_of, latents_of
from gankit.explore.result import Result
from gankit.recipe import can
from gankit.runs.trained import Trained


def codes(trained: Trained, *, seeds: Seeds = Seeds(range(5)), code: int = 0, steps: int = 10) -> Result:
    """InfoGAN's codes: one code varies by columns; the noise and the other codes are those of the row's seed.

    Chen et al. 2016, fig. 2.

    Args:
        seeds: a row each.
        code: 0 for the category; 1, 2 ... for the continuous codes, from -2 to 2.
        steps: columns.
    """
    recipe = generator_of(trained)
    if not can(recipe, "traverse"):
        raise ValueError(f"{trained.config['model']} has no codes to vary; train infogan, or use sefa or ganspace")
    if steps < 1:
        raise ValueError(f"--steps is {steps}; it must be at least 1")
    latents = latents_of(trained, seeds)
    points = recipe.traverse(latents.points, code, steps)
    images = latent.render(recipe, points.flatten(0, 1)).unflatten(0, (len(seeds), steps))
    change = images.diff(dim=1).abs().mean() if steps > 1 else torch.zeros(())
    numbers: dict[str, object] = {"code": code, "mean change from column to column": float(change)}
    heads = [f"{i}" if code == 0 else f"{-2 + 4 * i / max(1, steps - 1):.2g}" for i in range(steps)]
    return Result(images.flatten(0, 1), steps, heads, latents.names, numbers, list(images.unbind(1)), fps=4)
