"""Perceptual path length: how smoothly images change along paths between latents."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor


def path_length(
    generate: Callable[..., Tensor],
    a: Tensor,
    b: Tensor,
    distance: Callable[[Tensor, Tensor], Tensor],
    eps: float = 1e-4,
    t: Literal["full", "end"] | Tensor = "full",
    space: Literal["z", "w"] = "z",
    generator: torch.Generator | None = None,
    trim: tuple[float, float] | None = (1, 99),
    batch: int = 50,
    norm: float | None = None,
    label: Tensor | None = None,
) -> float:
    """Perceptual path length, the trimmed mean of `path_distances`: lower is smoother, and better.

    PPL = E[ d(G(I(a, b; t)), G(I(a, b; t + eps))) / eps^2 ]. Karras, Laine & Aila, "A Style-Based Generator
    Architecture for Generative Adversarial Networks", CVPR 2019, https://arxiv.org/abs/1812.04948: eps = 1e-4, 50,000
    pairs, LPIPS on VGG16, images average-pooled to 256 pixels (do that in `distance`), without values outside the 1st
    and 99th percentile. StyleGAN2 measures in w at the ends: space="w", t="end".

    For bootstrapping keep `path_distances` and pass resampled ones to `trimmed_mean`.

    Args:
        generate: latents, and labels if there are any, to images in [-1, 1], float32 or wider. It must be
            deterministic: in eval mode, with fixed noise.
        a: (N, d) start points, drawn from the prior (or mapped to w).
        b: (N, d) end points.
        distance: two (n, C, H, W) batches of images to (n,) squared distances, such as LPIPS.
        eps: the step, as a fraction of the path.
        t: "full" for t ~ U(0, 1), "end" for t = 0, or (N,) positions.
        space: "z" for arcs (slerp), "w" for lines (lerp).
        generator: of t, on the CPU; None for one seeded with 0.
        trim: percentiles; distances outside of them are dropped; None keeps all. The lower one is rounded down to a
            distance, the upper one up, so that fewer than 100 pairs are all kept.
        batch: pairs at once.
        norm: length of the latents on an arc, such as d^(1/2) for N(0, I) and 1 for a sphere; None takes the root mean
            square of `a` and `b`. The authors' arcs have length 1, which is right only for generators that normalise z.
        label: (N,) classes, the same at both ends of a step.

    Raises:
        ValueError: see `path_distances`.
    """
    values = path_distances(generate, a, b, distance, eps, t, space, generator, batch, norm, label)
    return trimmed_mean(values, trim)


def _check_latents(a: Tensor, b: Tensor, eps: float) -> None:
    if a.ndim != 2 or a.shape != b.shape or not len(a):
        raise ValueError(f"latents are {tuple(a.shape)} and {tuple(b.shape)}; give (N, d) twice")
    if not torch.isfinite(a).all() or not torch.isfinite(b).all():
        raise ValueError("latents hold NaN or infinity; draw others")
    if {a.dtype, b.dtype} - {torch.float32, torch.float64}:
        raise ValueError(f"latents are {a.dtype}, {b.dtype}: a step of {eps} is lost in them; give float32 or float64")


def _places(t: Literal["full", "end"] | Tensor, n: int, generator: torch.Generator | None) -> Tensor:
    """(n,) float64 places between the two latents of each pair."""
    if isinstance(t, Tensor):
        place = t.double()
    elif t == "full":
        place = torch.rand(n, dtype=torch.float64, generator=generator or torch.Generator().manual_seed(0))
    elif t == "end":
        place = torch.zeros(n, dtype=torch.float64)
    else:
        raise ValueError(f't is {t!r}; give "full", "end" or a tensor of ({n},) places')
    if place.shape != (n,) or not torch.isfinite(place).all():
        raise ValueError(f"t is {tuple(place.shape)}; give {n} finite places, one a pair")
    return place


def path_distances(
    generate: Callable[..., Tensor],
    a: Tensor,
    b: Tensor,
    distance: Callable[[Tensor, Tensor], Tensor],
    eps: float = 1e-4,
    t: Literal["full", "end"] | Tensor = "full",
    space: Literal["z", "w"] = "z",
    generator: torch.Generator | None = None,
    batch: int = 50,
    norm: float | None = None,
    label: Tensor | None = None,
) -> Tensor:
    """(N,) float64 values d / eps^2 of each pair, before trimming; arguments as for `path_length`.

    Images must neither be rounded to 8 bits (which turned 9,215 into 710,625) nor be half precision.

    Raises:
        ValueError: latents of different shapes, not finite or in half precision; arcs between zero or opposite latents;
            images that are neither float32 nor float64, or differ for the same latents; distances that are not (n,) or
            not finite.
    """
    _check_latents(a, b, eps)
    if space not in ("z", "w") or not 0 < eps <= 1:
        raise ValueError(f'space is {space!r} and eps {eps}; give "z" or "w", and 0 < eps <= 1')
    if label is not None and len(label) != len(a):
        raise ValueError(f"there are {len(a)} pairs of latents and {len(label)} labels; give one label a pair")
    place = _places(t, len(a), generator).to(a.device)
    if norm is None:
        norm = math.sqrt(float((a.double().square().sum() + b.double().square().sum()) / (2 * len(a))))

    values: list[Tensor] = []
    for rows in torch.arange(len(a), device=a.device).split(batch):
        start, stop = a[rows].double(), b[rows].double()
        between = [
            (_arc(start, stop, at) * norm if space == "z" else torch.lerp(start, stop, at)).to(a.dtype)
            for at in (place[rows, None], place[rows, None] + eps)
        ]
        given = () if label is None else (label[rows.to(label.device)],)
        with torch.no_grad():
            before, after = (generate(latents, *given) for latents in between)
            if not values and not torch.allclose(before, generate(between[0], *given), rtol=1e-3, atol=1e-3):
                raise ValueError("generate(latents) gives other images each time; use eval mode and fix its noise")
            if {before.dtype, after.dtype} - {torch.float32, torch.float64}:
                raise ValueError(f"images are {before.dtype}: a step of {eps} is lost in them; give float32 in [-1, 1]")
            d = distance(before, after)
        if d.shape != (len(rows),) or not torch.isfinite(d).all():
            raise ValueError(f"distance(images, images) gave {tuple(d.shape)}; expected ({len(rows)},) finite numbers")
        values.append(d.double().cpu() / eps**2)
    return torch.cat(values)


def _arc(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """(N, d) unit vectors at t (N, 1) on the arcs between the directions of a and b."""
    if not a.norm(dim=1).all() or not b.norm(dim=1).all():
        raise ValueError("a latent is zero and has no direction; draw another, or use space='w'")
    a, b = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
    cosine = (a * b).sum(1, keepdim=True)
    across = b - cosine * a
    sine = across.norm(dim=1, keepdim=True)
    if ((sine < 1e-7) & (cosine < 0)).any():
        raise ValueError("two latents are opposite, with no shortest arc between; draw others, or use space='w'")
    angle = torch.atan2(sine, cosine)
    return a * torch.cos(t * angle) + across / sine.clamp(min=1e-300) * torch.sin(t * angle)


def trimmed_mean(values: Tensor, trim: tuple[float, float] | None = (1, 99)) -> float:
    """Mean of (N,) values between two percentiles, inclusive; the lower is rounded down to a value, the upper up.

    Raises:
        ValueError: no values, NaN, or percentiles that are not 0 <= lower < upper <= 100.
    """
    x = values.detach().double().cpu().numpy()
    if x.ndim != 1 or not len(x) or not np.isfinite(x).all():
        raise ValueError(f"values are {x.shape}; give (N,) finite numbers, at least one")
    if trim is None:
        return float(x.mean())
    if not 0 <= trim[0] < trim[1] <= 100:
        raise ValueError(f"trim is {trim}; give two percentiles such as (1, 99), or None")
    low, high = np.percentile(x, trim[0], method="lower"), np.percentile(x, trim[1], method="higher")
    return float(x[(low <= x) & (x <= high)].mean())
