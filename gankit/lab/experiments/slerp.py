"""A straight line between two Gaussian latents leaves the shell on which all latents lie; an arc does not.

The squared length of z ~ N(0, I) in d dimensions is a sum of d independent squares, so that

    E|z|² = d        |z| ≈ sqrt(d)        deviation of |z| ≈ 1 / sqrt(2)

The deviation does not grow with d: in 128 dimensions nearly all latents have lengths between 10 and 13, and the point
where the density is largest, z = 0, is never drawn. Two latents are nearly at a right angle. The middle of the line
between them has the length

    |(a + b) / 2| ≈ sqrt(d / 2)        which is (sqrt(2) - 1) sqrt(d) deviations too short, 4.7 for d = 128

The arc (slerp) keeps the lengths. What G, which was never trained on short latents, makes of them is measured with a
DCGAN trained on digits: the Frechet distance of what it draws at the middles of lines and arcs to its usual samples.

Control: the middles of the same lines, stretched to the shell: only the length was wrong. And in 2 dimensions there is
no shell: the middle of a line is less than one deviation from usual lengths.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from gankit.lab.evidence import Check, Evidence, near
from gankit.lab.material import trained
from gankit.lab.panels import CRITIC, FAKE, OTHER, REAL, THEORY, panels, picture, show_sheet
from gankit.latent import lerp, slerp
from gankit.metrics import features, frechet_distance

SOURCE = "White, Sampling Generative Networks, 2016, section 2"
SECONDS = 25
COLOURS = (REAL, CRITIC, FAKE, OTHER)


def experiment(
    *,
    dims: tuple[int, ...] = (2, 8, 32, 128, 512),
    z_dim: int = 128,
    images: int = 20000,
    pairs: int = 2000,
    seed: int = 0,
) -> Evidence:
    """Lengths of latents and of middles by dimension, and what a DCGAN draws at them.

    Args:
        dims: dimensions in which lengths are measured. Raises ValueError for less than 2, where there are no arcs.
        z_dim: length of the DCGAN's latent.
        images: shown to the DCGAN in training.
        pairs: of latents.
        seed: of everything.
    """
    if min(*dims, z_dim) < 2:
        raise ValueError(f"dims are {dims} and z_dim is {z_dim}: an arc needs two dimensions or more")
    torch.manual_seed(seed)
    middle, checks, short = torch.tensor([0.5]), [], []
    for d in dims:
        a, b = torch.randn(2, pairs, d)
        line, arc = lerp(a, b, middle)[0], slerp(a, b, middle)[0]
        (deviation, mean), theory = torch.std_mean(a.norm(dim=1)), (math.sqrt(2) - 1) * math.sqrt(d)
        short.append(((mean - line.norm(dim=1).mean()) / deviation).item())
        for name, at, length in (("lines", line, math.sqrt(d / 2)), ("arcs", arc, math.sqrt(d - 0.25))):
            rms = at.square().sum(1).mean().sqrt().item()
            checks.append(near(f"d = {d}: RMS length of {name}' middles, divided by theory's", rms / length, 1, 0.04))
        checks.append(near(f"d = {d}: deviations by which lines are short", short[-1], theory, 0.1 + 0.1 * theory))
    g = trained("dcgan", data="digits", preset="small", images=images, seed=seed, z_dim=z_dim)
    a, b, fresh, others = torch.randn(4, pairs, z_dim)
    line, arc = lerp(a, b, middle)[0], slerp(a, b, middle)[0]
    latents = {"new samples": fresh, "arc": arc, "line": line, "line, stretched": line * math.sqrt(2)}
    own = features(g.sample(others))
    distance = {name: frechet_distance(own, features(g.sample(z))) for name, z in latents.items()}
    checks.append(
        Check("Frechet distance at lines' middles / of new samples", distance["line"] / distance["new samples"], 3)
    )
    for name in ("arc", "line, stretched"):
        checks.append(Check(f"the same: {name}", distance[name] / distance["new samples"], 0, 2))
    t = torch.linspace(0, 1, 9)
    rows = torch.cat([g.sample(way(a[i : i + 1], b[i : i + 1], t)[:, 0]) for i in (0, 1) for way in (lerp, slerp)])
    return Evidence(
        checks,
        drawn(latents, dims, short, distance, rows),
        "Left: lengths of latents and of middles; the shell's radius is dotted. Second: how far lines leave it, theory "
        "dotted. Third: how far what G draws there is from its samples. Right: two walks, along lines and arcs.",
        {
            "frechet distance to the generator's samples": distance,
            "deviations too short": dict(zip(map(str, dims), short)),
        },
    )


def drawn(
    latents: dict[str, Tensor], dims: Sequence[int], short: list[float], distance: dict[str, float], rows: Tensor
) -> Image.Image:
    """Lengths, their deviations by dimension, distances and walks."""
    d = latents["line"].shape[1]
    titles = [f"Lengths, d = {d}", "Deviations off the shell", "Frechet distance to samples", "Line, arc; line, arc"]
    figure, axes = panels(titles, width=2.9)
    for (name, z), colour in zip(latents.items(), COLOURS):
        if name != "line, stretched":
            axes[0].hist(z.norm(dim=1).numpy(), 40, color=colour, alpha=0.6, label=name)
    axes[0].axvline(math.sqrt(d), ls=":", color=THEORY)
    axes[0].legend()
    axes[1].loglog(dims, [(math.sqrt(2) - 1) * math.sqrt(d) for d in dims], ":", color=THEORY)
    axes[1].loglog(dims, short, "o", color=FAKE)
    axes[1].set(xlabel="dimensions d")
    axes[2].barh(list(distance)[::-1], list(distance.values())[::-1], color=COLOURS[::-1])
    show_sheet(axes[3], rows, 9)
    return picture(figure)
