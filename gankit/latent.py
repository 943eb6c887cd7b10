"""Latents: one for each seed, between them, and nearer to the mean. Works for every recipe with `noise` and `sample`."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from torch import Tensor

from gankit.recipe import Recipe, seeded


def sample(
    recipe: Recipe,
    seeds: Sequence[int],
    label: int | None = None,
    trunc: float = 1.0,
    batch: int = 64,
    condition: Tensor | None = None,
) -> Tensor:
    """Samples of the seeds, (N, C, H, W) in [-1, 1] or (N, D), on the CPU in float32.

    Args:
        recipe: a model in eval mode with `noise` and `sample`.
        seeds: one for each sample; a seed is the same sample whatever the others and the batch are.
        label: the class, for models with labels; None takes the classes in turn, by seed.
        trunc: factor for the latents: below 1 they lie nearer to the prior's mean.
        batch: samples drawn at once.
        condition: (M, condition_dim) features, for models that draw from such; taken in turn, by seed.

    Raises:
        ValueError: the model does not sample, needs no label or features, or has no such class.
    """
    check(recipe, label, condition)
    out = []
    for i in range(0, len(seeds), batch):
        some = seeds[i : i + batch]
        z = truncate(recipe, latents(recipe, some), trunc)
        rows = None if condition is None else condition[[seed % len(condition) for seed in some]].to(z)
        out.append(render(recipe, z, labels(recipe, some, label) if rows is None else rows))
    return torch.cat(out)


def check(recipe: Recipe, label: int | None = None, condition: Tensor | None = None) -> None:
    """Refuse what cannot be sampled, saying why."""
    name, wide = type(recipe).__name__, recipe.spec.condition_dim
    if not hasattr(recipe, "sample") or not hasattr(recipe, "noise"):
        raise ValueError(f"{name} does not draw from noise; from Python its own methods are on model.recipe")
    if wide and condition is None:
        raise ValueError(f"{name} draws from features: give it {wide} numbers a sample, --condition FILE.npz")
    if condition is not None and not wide:
        raise ValueError(f"{name} was trained without features; leave --condition out")
    if condition is not None and (condition.ndim != 2 or condition.shape[1] != wide or not len(condition)):
        raise ValueError(f"the features are {tuple(condition.shape)}; {name} takes (N, {wide})")
    classes = recipe.spec.num_classes if takes_label(recipe) else 0
    if label is not None and not classes:
        raise ValueError(f"{name} was trained without labels; leave --class out")
    if label is not None and not 0 <= label < classes:
        raise ValueError(f"there is no class {label}; this model has classes 0 to {classes - 1}")


def draws_alone(recipe: Recipe) -> bool:
    """Whether the model draws from noise, with a label at most, so that seeds are enough."""
    return hasattr(recipe, "sample") and hasattr(recipe, "noise") and not recipe.spec.condition_dim


def takes_label(recipe: Recipe) -> bool:
    """Whether `sample` takes a label, and the data has some."""
    return "label" in inspect.signature(recipe.sample).parameters and recipe.spec.num_classes > 0


def latents(recipe: Recipe, seeds: Sequence[int]) -> Tensor:
    """(N, z_dim) latents, each drawn alone from its seed, where the recipe's parameters are."""
    drawn = []
    for seed in seeds:
        with seeded(seed):
            drawn.append(recipe.noise(1))
    like = next(recipe.parameters())
    return torch.cat(drawn).to(like.device, like.dtype)


def labels(recipe: Recipe, seeds: Sequence[int], label: int | None = None) -> Tensor | None:
    """(N,) the class for each seed, or None for a model without."""
    if not takes_label(recipe):
        return None
    chosen = [label if label is not None else seed % recipe.spec.num_classes for seed in seeds]
    return torch.tensor(chosen, device=next(recipe.parameters()).device)


def render(recipe: Recipe, z: Tensor, given: Tensor | None = None) -> Tensor:
    """Samples of latents, and of labels or features where the model takes such, on the CPU in float32."""
    with torch.no_grad():
        out = recipe.sample(z) if given is None else recipe.sample(z, given)
    return out.float().cpu()


def truncate(recipe: Recipe, z: Tensor, trunc: float) -> Tensor:
    """Latents moved to the prior's mean by the factor `trunc`, or as the recipe's own `truncate(z, trunc)` says."""
    if trunc == 1.0:
        return z
    return recipe.truncate(z, trunc) if hasattr(recipe, "truncate") else z * trunc


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Straight from a to b, (N, D) each, at t (T,): (T, N, D)."""
    return a + (b - a) * t.view(-1, 1, 1)


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """On the arc from a to b, (N, D) each, at t (T,): (T, N, D). Lengths change linearly; for parallel ones as lerp.

    Source: Ken Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985, eq. for slerp.
    """
    length_a, length_b = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    unit_a, unit_b = a / length_a, b / length_b
    angle = (unit_a * unit_b).sum(1, keepdim=True).clamp(-1, 1).acos()
    t = t.view(-1, 1, 1)
    arc = (torch.sin((1 - t) * angle) * unit_a + torch.sin(t * angle) * unit_b) / torch.sin(angle)
    return torch.where(torch.sin(angle) < 1e-6, lerp(a, b, t), arc * (length_a + (length_b - length_a) * t))


def path(points: Tensor, steps: int, spherical: bool = True, loop: bool = False) -> Tensor:
    """Latents on the way through points (K, D): `steps` from each to the next, (T, D).

    Args:
        points: latents to pass through.
        steps: pictures from one point to the next, the first one counted.
        spherical: on arcs, which keeps the length that the prior's latents have, instead of straight.
        loop: go back to the first point, without drawing it again.
    """
    ends = torch.cat([points, points[:1]]) if loop else points
    t = torch.arange(steps, device=points.device, dtype=points.dtype) / steps
    between = (slerp if spherical else lerp)(ends[:-1], ends[1:], t)  # (T, K', D)
    way = between.transpose(0, 1).flatten(0, 1)
    return way if loop else torch.cat([way, points[-1:]])
