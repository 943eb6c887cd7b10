"""Samples on the way from one text to another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gankit.latent import space
from gankit.recipe import Recipe


def between(
    recipe: Recipe, seeds: Sequence[int], ends: Tensor, steps: int, trunc: float = 1.0, batch: int = 64
) -> Tensor:
    """Samples on the straight way from one text's embedding to another's, (N * steps, C, H, W), `steps` of a seed side by side.

    Args:
        recipe: a model with `embed(caption)` and `draw(z, text)`, in eval mode.
        seeds: one for each row of pictures; its latent is the same in all of them.
        ends: (2, L) codes of the two texts, or (2, D) vectors.
        steps: pictures from the first text to the second, both counted, at least 2.
        trunc: factor for the latents.
        batch: pictures drawn at once.
    """
    z = space.truncate(recipe, space.latents(recipe, seeds), trunc).repeat_interleave(steps, 0)
    drawn = []
    with torch.no_grad():
        first, second = recipe.embed(ends.to(z) if ends.is_floating_point() else ends.to(z.device))
        share = torch.linspace(0, 1, steps, dtype=z.dtype, device=z.device)[:, None]
        way = torch.lerp(first, second, share).repeat(len(seeds), 1)
        for part, text in zip(z.split(batch), way.split(batch)):
            drawn.append(recipe.draw(part, text).float().cpu())
    return torch.cat(drawn)
