"""On the way from point to point."""

from __future__ import annotations

import torch
from torch import Tensor


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Straight from a to b, (N, D) each, at t (T,): (T, N, D)."""
    return a + (b - a) * t.view(-1, 1, 1)


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """On the arc from a to b, (N, D) each, at t (T,): (T, N, D). Lengths change linearly; for parallel ones and ends of length 0 as lerp.

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
