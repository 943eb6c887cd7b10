"""Latents of seeds, their samples, interpolation, truncation, style mixing, and directions in latent space.

For every recipe with `noise` and `sample`. A point is a latent z, (N, z_dim), as `noise` returns it; for models with
`mapping` and `synthesis` (StyleGAN and its successors) it may also be w, (N, num_ws, w_dim), a style for each layer.
`points` makes points of either kind; `generate` and `render` turn them into samples.
"""

from gankit.latent.directions import Directions, first_layers, ganspace, hidden_maps, move, pca, project_out, sefa
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
from gankit.latent.text_interpolation import between
from gankit.latent.walks import lerp, path, slerp

__all__ = [
    "Directions", "above", "alike", "beside", "between", "check", "draws_alone", "first_layers", "ganspace", "generate",
    "has_domains", "has_style", "hidden_maps", "labels", "latents", "layers_of", "lerp", "mix_styles", "move", "path",
    "pca", "points", "project_out", "render", "render_domain", "sample", "sefa", "shorten",
    "slerp", "space_of", "takes_caption", "takes_label", "to_w", "truncate", "truncate_w",
]  # fmt: skip
