"""Points of a model's latent space (from seeds, in z or in w, truncated or mixed), and their samples."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from torch import Tensor

from gankit.recipe import Recipe, can, seeded


def sample(
    recipe: Recipe,
    seeds: Sequence[int],
    label: int | None = None,
    trunc: float = 1.0,
    batch: int = 64,
    condition: Tensor | None = None,
    domain: str = "",
    caption: Tensor | None = None,
) -> Tensor:
    """Samples of the seeds, (N, C, H, W) in [-1, 1] or (N, D), on the CPU in float32.

    Args:
        recipe: a model in eval mode with `noise` and `sample`.
        seeds: one for each sample. The sample of a seed does not depend on the other seeds or on `batch`.
        label: the class, for models with labels; default: the classes in turn, by seed.
        trunc: truncation factor: below 1 latents are moved to the prior's mean, or to the mean w.
        batch: samples per forward pass.
        condition: (M, condition_dim) features, for models that are conditioned on features; used in turn, by seed.
        domain: for models of two domains, "a", "b", or "pairs" for each a above its b.
        caption: (M, L) codes of texts, for models that are conditioned on texts; used in turn, by seed. Default: the
            captions of the training data that the model keeps.

    Raises:
        ValueError: the model cannot sample, takes no labels, features or texts, or has no such class or domain.
    """
    check(recipe, label, condition, caption)
    if domain and not has_domains(recipe):
        raise ValueError(f"{type(recipe).__name__} draws in one domain; leave --domain out")
    samples = []
    for i in range(0, len(seeds), batch):
        part = seeds[i : i + batch]
        z = latents(recipe, part)
        given: Tensor | None
        if caption is not None:
            given = caption[[seed % len(caption) for seed in part]]
            given = given.to(z) if given.is_floating_point() else given.to(z.device)
        elif condition is not None:
            given = condition[[seed % len(condition) for seed in part]].to(z)
        else:
            given = labels(recipe, part, label)
        truncated = shorten(recipe, z, trunc, given)
        samples.append(render_domain(recipe, truncated, domain) if domain else render(recipe, truncated, given, batch))
    return torch.cat(samples)


def check(
    recipe: Recipe, label: int | None = None, condition: Tensor | None = None, caption: Tensor | None = None
) -> None:
    """Refuse arguments of `sample` that do not fit the model.

    Raises:
        ValueError: the message names the argument and the reason.
    """
    name, width = type(recipe).__name__, recipe.spec.condition_dim
    if not can(recipe, "sample") and (can(recipe, "translate") or can(recipe, "segment")):
        raise ValueError(
            f"{name} translates images, and does not sample from noise: gankit translate RUN INPUT -o OUTPUT"
        )
    if not can(recipe, "sample") or not can(recipe, "noise"):
        raise ValueError(f"{name} does not draw from noise; in Python, call its own methods on model.recipe")
    if width and condition is None:
        raise ValueError(f"{name} is conditioned on features: give {width} numbers a sample, --condition FILE.npz")
    if caption is not None and not takes_caption(recipe):
        raise ValueError(f"{name} was trained without captions; leave --text out")
    if condition is not None and not width:
        raise ValueError(f"{name} was trained without features; leave --condition out")
    if condition is not None and (condition.ndim != 2 or condition.shape[1] != width or not len(condition)):
        raise ValueError(f"the features are {tuple(condition.shape)}; {name} takes (N, {width})")
    classes = recipe.spec.num_classes if takes_label(recipe) else 0
    if label is not None and not classes:
        raise ValueError(f"{name} was trained without labels; leave --class out")
    if label is not None and not 0 <= label < classes:
        raise ValueError(f"there is no class {label}; this model has classes 0 to {classes - 1}")


def draws_alone(recipe: Recipe) -> bool:
    """Whether the model samples from noise, or from noise and labels, so that seeds are enough."""
    return (
        can(recipe, "sample") and can(recipe, "noise") and not recipe.spec.condition_dim and not takes_caption(recipe)
    )


def takes_label(recipe: Recipe) -> bool:
    """Whether `sample` takes labels, and the data has classes."""
    return "label" in inspect.signature(recipe.sample).parameters and recipe.spec.num_classes > 0


def takes_caption(recipe: Recipe) -> bool:
    """Whether `sample` takes captions, as codes of their letters."""
    return can(recipe, "sample") and "caption" in inspect.signature(recipe.sample).parameters


def has_domains(recipe: Recipe) -> bool:
    """Whether the model draws a pair of images, one of each of two domains, from one latent."""
    return can(recipe, "pair")


def render_domain(recipe: Recipe, z: Tensor, domain: str) -> Tensor:
    """Samples of latents in domain "a" or "b", or as "pairs", a above b; without gradients, on the CPU in float32.

    Raises:
        ValueError: there is no such domain.
    """
    if domain not in ("a", "b", "pairs"):
        raise ValueError(f"there is no domain {domain!r}; choose from a, b and pairs, which are a above b")
    with torch.no_grad():
        a, b = (images.float().cpu() for images in recipe.pair(z))
    return {"a": a, "b": b}[domain] if domain != "pairs" else above(a, b)


def above(a: Tensor, b: Tensor) -> Tensor:
    """(N, C, H, W) images of two domains to (N, C, 2H, W), each a above its b; see `alike` for their channels."""
    return torch.cat(alike([a, b]), 2)


def beside(columns: Sequence[Tensor]) -> Tensor:
    """K tensors of (N, C, H, W) images to (N K, C, H, W), row by row; see `alike` for their channels."""
    return torch.stack(alike([column.float().cpu() for column in columns]), 1).flatten(0, 1)


def alike(images: Sequence[Tensor]) -> list[Tensor]:
    """(N, C, H, W) images with equally many channels: as needed, grey becomes RGB, and RGB gets an opaque alpha."""
    channels = max(x.shape[1] for x in images)
    colour = [x.expand(-1, min(3, channels), -1, -1) if x.shape[1] == 1 else x for x in images]
    return [torch.cat([x, torch.ones_like(x[:, : channels - x.shape[1]])], 1) for x in colour]


def latents(recipe: Recipe, seeds: Sequence[int]) -> Tensor:
    """(N, z_dim) latents, each drawn with its own seed, on the device of the recipe's parameters."""
    drawn = []
    for seed in seeds:
        with seeded(seed):
            drawn.append(recipe.noise(1))
    like = next(recipe.parameters())
    return torch.cat(drawn).to(like.device, like.dtype)


def labels(recipe: Recipe, seeds: Sequence[int], label: int | None = None) -> Tensor | None:
    """(N,) classes of seeds, or None for models without labels; (N, L) captions for models that take captions."""
    if takes_caption(recipe):
        examples = recipe.get_buffer("examples")
        return examples[[seed % len(examples) for seed in seeds]]
    if not takes_label(recipe):
        return None
    chosen = [label if label is not None else seed % recipe.spec.num_classes for seed in seeds]
    return torch.tensor(chosen, device=next(recipe.parameters()).device)


def generate(recipe: Recipe, points: Tensor, given: Tensor | None = None, noise: str | int = "const") -> Tensor:
    """Samples of points, z or w, and of labels or features if the model takes them; gradients flow to the points.

    Args:
        recipe: the model.
        points: (N, z_dim) latents, or (N, num_ws, w_dim) styles.
        given: (N,) labels or (N, condition_dim) features; not used for styles, which depend on the label already.
        noise: for models that add noise to their feature maps: "const", "none", or a seed.
    """
    if has_style(recipe) and (points.ndim == 3 or noise != "const"):
        w = points if points.ndim == 3 else recipe.mapping(points, given)
        return recipe.synthesis(w, noise=noise)
    return recipe.sample(points) if given is None else recipe.sample(points, given)


def render(
    recipe: Recipe, points: Tensor, given: Tensor | None = None, batch: int = 64, noise: str | int = "const"
) -> Tensor:
    """The output of `generate`, without gradients, on the CPU in float32, computed `batch` samples at a time."""
    given_parts = [None] * len(points) if given is None else given.split(batch)
    with torch.no_grad():
        drawn = [
            generate(recipe, part, rows, noise).float().cpu() for part, rows in zip(points.split(batch), given_parts)
        ]
    return torch.cat(drawn)


def truncate(recipe: Recipe, z: Tensor, trunc: float) -> Tensor:
    """Latents truncated in z: moved to the prior's mean by the factor `trunc`, or by the recipe's `truncate(z, trunc)`.

    Raises:
        ValueError: the model is truncated in w; call `shorten`.
    """
    if trunc == 1.0:
        return z
    if has_style(recipe):
        raise ValueError(f"{type(recipe).__name__} is truncated in w, not in z: latent.shorten(recipe, z, trunc)")
    return recipe.truncate(z, trunc) if can(recipe, "truncate") else z * trunc


def shorten(recipe: Recipe, z: Tensor, trunc: float, given: Tensor | None = None) -> Tensor:
    """Latents truncated in the space in which the model is truncated: z, or w for models with styles."""
    if trunc == 1.0 or not has_style(recipe):
        return truncate(recipe, z, trunc)
    return truncate_w(recipe, to_w(recipe, z, given), trunc)


# Styles: the latents w of models with a mapping network --------------------------------------------------------------


def has_style(recipe: Recipe) -> bool:
    """Whether the model maps z to styles w, as StyleGAN does."""
    return can(recipe, "mapping") and can(recipe, "synthesis")


def to_w(recipe: Recipe, z: Tensor, label: Tensor | None = None) -> Tensor:
    """(N, num_ws, w_dim) styles of latents, without gradients."""
    with torch.no_grad():
        return recipe.mapping(z, label)


def truncate_w(recipe: Recipe, w: Tensor, trunc: float) -> Tensor:
    """(N, num_ws, w_dim) styles truncated in the first `trunc_layers` layers: mean + trunc * (w - mean).

    Source: Karras, Laine & Aila, "A Style-Based Generator Architecture for Generative Adversarial Networks", CVPR 2019,
    appendix B.
    """
    count = w.shape[1] if recipe.trunc_layers is None else recipe.trunc_layers
    return torch.cat([torch.lerp(recipe.w_mean.to(w), w[:, :count], trunc), w[:, count:]], 1)


def points(
    recipe: Recipe, seeds: Sequence[int], label: int | None = None, trunc: float = 1.0, space: str = ""
) -> tuple[Tensor, Tensor | None]:
    """Points of seeds, and their labels (N,), or None.

    Args:
        recipe: the model.
        seeds: one for each point.
        label: the class; default: the classes in turn, by seed.
        trunc: truncation factor.
        space: "z" or "w"; default: w for models with styles.

    Raises:
        ValueError: the model has no such space.
    """
    space = space_of(recipe, space)
    z, given = latents(recipe, seeds), labels(recipe, seeds, label)
    if space == "w":
        return truncate_w(recipe, to_w(recipe, z, given), trunc), given
    if trunc != 1.0 and has_style(recipe):
        raise ValueError("this model is truncated in w: leave --trunc out in z, or take --space w")
    return truncate(recipe, z, trunc), given


def space_of(recipe: Recipe, space: str = "") -> str:
    """The name of a space, "z" or "w"; default: w for models with styles.

    Raises:
        ValueError: there is no such space.
    """
    if space not in ("", "z", "w"):
        raise ValueError(f"there is no space {space!r}; choose z, or w for models with styles")
    if space == "w" and not has_style(recipe):
        raise ValueError(f"{type(recipe).__name__} has no w, which is for models with styles; leave --space out")
    return space or ("w" if has_style(recipe) else "z")


def layers_of(num_ws: int, which: str) -> range:
    """The layers of a name: "coarse", "middle", "fine", "all", or a range like "4-7", counted from 0.

    With ten layers or more, which is 64 px or more, as in StyleGAN's figure 3: maps of 4 and 8 px are coarse, those of
    16 and 32 px middle, all others fine. With fewer layers the names mean thirds.

    Raises:
        ValueError: there are no such layers.
    """
    first, second = (4, 8) if num_ws >= 10 else (-(-num_ws // 3), -(-2 * num_ws // 3))
    named = {"coarse": (0, first), "middle": (first, second), "fine": (second, num_ws), "all": (0, num_ws)}
    if which in named:
        return range(*named[which])
    ends = which.split("-")
    if len(ends) > 2 or not all(end.strip().isdecimal() for end in ends) or not int(ends[0]) <= int(ends[-1]) < num_ws:
        raise ValueError(f"{which!r} is no layer; write coarse, middle, fine, all, or numbers within 0-{num_ws - 1}")
    return range(int(ends[0]), int(ends[-1]) + 1)


def mix_styles(base: Tensor, other: Tensor, layers: Sequence[int]) -> Tensor:
    """(N, num_ws, w_dim) styles of `base`, with those of `other` in some layers."""
    mixed = base.clone()
    mixed[:, list(layers)] = other[:, list(layers)]
    return mixed
