"""Interpolation between latents."""

from __future__ import annotations

import torch
from torch import Tensor


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Linear interpolation from a to b, (N, D) each, at t (T,): (T, N, D)."""
    return a + (b - a) * t.view(-1, 1, 1)


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Spherical interpolation from a to b, (N, D) each, at t (T,): (T, N, D).

    Lengths change linearly. Parallel vectors and vectors of length 0 are interpolated linearly.

    Source: Ken Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985, eq. for slerp.
    """
    length_a, length_b = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    tiny = torch.finfo(a.dtype).tiny
    unit_a, unit_b = a / length_a.clamp(min=tiny), b / length_b.clamp(min=tiny)
    angle = (unit_a * unit_b).sum(1, keepdim=True).clamp(-1, 1).acos()
    t = t.view(-1, 1, 1)
    arc = (torch.sin((1 - t) * angle) * unit_a + torch.sin(t * angle) * unit_b) / torch.sin(angle)
    curved = (torch.sin(angle) > 1e-6) & (length_a > tiny) & (length_b > tiny)
    return torch.where(curved, arc * (length_a + (length_b - length_a) * t), lerp(a, b, t))


def path(points: Tensor, steps: int, spherical: bool = True, loop: bool = False) -> Tensor:
    """Latents on a path through points (K, D), `steps` from each to the next: (T, D).

    Args:
        points: latents to pass through.
        steps: latents from one point to the next, including the first of the two.
        spherical: interpolate on arcs, which keep the lengths of the prior's latents, instead of straight lines.
        loop: return to the first point; it is not repeated at the end.
    """
    ends = torch.cat([points, points[:1]]) if loop else points
    t = torch.arange(steps, device=points.device, dtype=points.dtype) / steps
    segments = (slerp if spherical else lerp)(ends[:-1], ends[1:], t)  # (T, K', D)
    latents = segments.transpose(0, 1).flatten(0, 1)
    return latents if loop else torch.cat([latents, points[-1:]])
