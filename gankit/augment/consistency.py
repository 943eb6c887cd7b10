"""Consistency regularization: D and G change little when an image is augmented or a latent is perturbed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gankit.augment.geometry import blit, blit_matrix
from gankit.augment.numbers import draw_rows, widen
from gankit.recipe import Draw

CONSISTENCY = ("none", "cr", "bcr", "icr")


def flip_shift(images: Tensor, draw: Draw, pixels: int = 4) -> Tensor:
    """T of Zhang et al. 2020: flip half of the images left to right, shift each by up to `pixels`, mirror the edges."""
    x = widen(images)
    flip, right, down = draw_rows(x, draw, lambda n: torch.rand(n, 3)).unbind(1)
    right, down = (((2 * pixels + 1) * u).floor() - pixels for u in (right, down))
    return blit(x, blit_matrix((2 * flip).floor(), torch.zeros_like(flip), right, down)).to(images.dtype)


class Shown(NamedTuple):
    """Images, the function from images of this kind to D's (N,) logits, and the logits of these images."""

    critic: Callable[[Tensor], Tensor]
    images: Tensor
    logits: Tensor


def consistency_d(
    kind: str,
    real: Shown,
    fake: Shown,
    generator: Callable[[Tensor], Tensor],
    z: Tensor,
    draw: Draw,
    sigma: float = 0.05,
) -> tuple[Tensor | float, dict[str, Tensor]]:
    """The term to add to D's loss, with the papers' weights, and its unweighted parts; `fake` holds generator(z).

    cr: 10 E |D(x) - D(T(x))|^2 on reals (Zhang et al. 2020, eq. 3). bcr: cr, and the same on fakes. icr: bcr, and
    20 E |D(G(z)) - D(G(z + dz))|^2 with dz ~ N(0, sigma^2), called zCR (bcr and icr: Zhao et al. 2021).
    """
    terms, weights = {}, {"cr": 10.0, "bcr": 10.0, "zcr": 20.0}
    if kind != "none":
        terms["cr"] = _mean_square(real.logits, real.critic(flip_shift(real.images, draw)))
    if kind in ("bcr", "icr"):
        terms["bcr"] = _mean_square(fake.logits, fake.critic(flip_shift(fake.images, draw)))
    if kind == "icr":
        terms["zcr"] = _mean_square(fake.logits, fake.critic(generator(_perturb(z, draw, sigma))))
    return sum(weights[name] * term for name, term in terms.items()), terms


def consistency_g(
    kind: str, images: Tensor, generator: Callable[[Tensor], Tensor], z: Tensor, draw: Draw, sigma: float = 0.05
) -> tuple[Tensor | float, dict[str, Tensor]]:
    """The term that icr adds to G's loss: -0.5 E |G(z) - G(z + dz)|^2, averaged over pixels. `images` are G(z)."""
    if kind != "icr":
        return 0.0, {}
    zcr = -_mean_square(images, generator(_perturb(z, draw, sigma)))
    return 0.5 * zcr, {"zcr": zcr}


def _mean_square(a: Tensor, b: Tensor) -> Tensor:
    return (widen(a) - widen(b)).square().mean()


def _perturb(z: Tensor, draw: Draw, sigma: float) -> Tensor:
    return z + sigma * draw_rows(z, draw, lambda n: torch.randn(n, *z.shape[1:]))
