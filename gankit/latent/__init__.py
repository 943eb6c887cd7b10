"""Latents: one for each seed, between them, nearer to the mean, mixed, and the directions in which pictures change.

Works for every recipe with `noise` and `sample`. A point is a latent z, (N, z_dim) as `noise` gives it, or, for models with
`mapping` and `synthesis` (StyleGAN and its heirs), a style for each layer, w, (N, num_ws, w_dim). `points` makes either,
`generate` and `render` draw either.
"""

from gankit.latent.directions import Directions, ganspace, hidden, met, move, pca, project_out, sefa
from gankit.latent.space import (
    above,
    alike,
    beside,
    check,
    draws_alone,
    generate,
    has_domains,
    has_style,
    labels,
    latents,
    layers_of,
    mix_styles,
    points,
    render,
    render_domain,
    sample,
    shorten,
    space_of,
    takes_caption,
    takes_label,
    to_w,
    truncate,
    truncate_w,
)  # fmt: skip
from gankit.latent.texts import between
from gankit.latent.walks import lerp, path, slerp

__all__ = [
    "Directions", "above", "alike", "beside", "between", "check", "draws_alone", "ganspace", "generate", "has_domains", "has_style", "hidden", "labels", "latents", "layers_of",
    "lerp", "met", "mix_styles", "move", "path", "pca", "points", "project_out", "render", "render_domain", "sample", "sefa", "shorten",
    "slerp", "space_of", "takes_caption", "takes_label", "to_w", "truncate", "truncate_w",
]  # fmt: skip
