"""Interpolation between texts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gankit.latent import space
from gankit.recipe import Recipe


def between(
    recipe: Recipe, seeds: Sequence[int], ends: Tensor, steps: int, trunc: float = 1.0, batch: int = 64
) -> Tensor:
    """Samples of embeddings interpolated linearly between two texts, (N * steps, C, H, W), `steps` for each seed.

    Args:
        recipe: a model with `embed(caption)` and `draw(z, text)`, in eval mode.
        seeds: one for each row of samples; all samples of a row share its latent.
        ends: (2, L) codes of the two texts, or their (2, D) embeddings.
        steps: samples from the first text to the second, including both; 2 at least.
        trunc: truncation factor of the latents.
        batch: samples per forward pass.
    """
    z = space.truncate(recipe, space.latents(recipe, seeds), trunc).repeat_interleave(steps, 0)
    samples = []
    with torch.no_grad():
        first, second = recipe.embed(ends.to(z) if ends.is_floating_point() else ends.to(z.device))
        share = torch.linspace(0, 1, steps, dtype=z.dtype, device=z.device)[:, None]
        embeddings = torch.lerp(first, second, share).repeat(len(seeds), 1)
        for part, text in zip(z.split(batch), embeddings.split(batch)):
            samples.append(recipe.draw(part, text).float().cpu())
    return torch.cat(samples)
