"""The Jensen-Shannon divergence of two parallel lines does not depend on their distance; the earth mover's does.

P0 is uniform on the segment x = 0, 0 ≤ y ≤ 1, and Pθ on x = θ. They share no point unless θ = 0, so that

    JS(P0, Pθ) = log 2 for θ ≠ 0, and 0 for θ = 0        W(P0, Pθ) = |θ|

A discriminator separates the lines perfectly at any distance. Its loss is then flat in θ: a generator that moves the
line receives no gradient. The critic of a Wasserstein GAN has a slope of 1 between the lines, which says where to go.
JS is estimated as log 2 minus half of the loss of a trained discriminator, W as the difference of a trained critic's
means (gradient penalty of weight 10), and W also by linear programming on samples.

Control: θ = 0, where the two distributions are one. JS and W must both be 0 there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from PIL import Image
from torch import nn

from gankit import losses
from gankit.lab.evidence import Evidence, near
from gankit.lab.panels import CRITIC, FAKE, REAL, THEORY, heat, panels, picture
from gankit.lab.toy import Sampler, logits, mlp, slope, train_d
from gankit.metrics.divergence import critic_distance, earth_mover

SOURCE = "Arjovsky, Chintala and Bottou, Wasserstein GAN, 2017, example 1"
SECONDS = 25
EDGES = (-1.5, 1.5, -0.25, 1.25)


def experiment(
    *, thetas: tuple[float, ...] = (-1.0, -0.5, 0.0, 0.5, 1.0), steps: int = 600, samples: int = 512, seed: int = 0
) -> Evidence:
    """JS by a discriminator and W by a critic, for lines at several distances.

    Args:
        thetas: places of the second line, from -1.4 to 1.4.
        steps: updates of each discriminator and critic.
        samples: points of each line on which they are measured.
        seed: of the networks and the points.

    Raises:
        ValueError: a place is outside the picture.
    """
    if not all(abs(theta) <= 1.4 for theta in thetas):
        raise ValueError(f"thetas are {', '.join(f'{t:g}' for t in thetas)}; they go from -1.4 to 1.4")
    torch.manual_seed(seed)
    js, w, exact, surfaces = [], [], [], []
    for theta in thetas:
        d, critic = mlp(2, 64, 64, 1), mlp(2, 64, 64, 1)
        train_d(d, line(0.0), line(theta), losses.non_saturating, steps=steps)
        train_d(critic, line(0.0), line(theta), losses.wasserstein, steps=steps, betas=(0.5, 0.9), penalty=slope)
        p, q = line(0.0)(samples), line(theta)(samples)
        with torch.no_grad():
            js.append(math.log(2) - losses.non_saturating.d(logits(d)(p), logits(d)(q)).item() / 2)
            w.append(critic_distance(logits(critic)(p), logits(critic)(q)))
        exact.append(earth_mover(p, q))
        surfaces.append((d, critic))
    return Evidence(
        [
            *(near(f"JS at θ = {t:g}", value, math.log(2) if t else 0.0, 0.01) for t, value in zip(thetas, js)),
            *(near(f"W of the critic at θ = {t:g}", v, abs(t), max(0.05, 0.12 * abs(t))) for t, v in zip(thetas, w)),
            *(near(f"W of {samples} samples at θ = {t:g}", v, abs(t), 0.05) for t, v in zip(thetas, exact)),
        ],
        drawn(thetas, js, w, exact, *surfaces[-1]),
        "Left and second: both divergences against the place of the second line, with theory dotted. Third: D(x) for "
        "the last place is a step, flat on both lines. Right: the critic falls evenly from one line to the other.",
        {"theta": list(thetas), "js": js, "w_critic": w, "w_samples": exact},
    )


def line(theta: float) -> Sampler:
    """n to (n, 2) points of the line x = theta."""
    return lambda n: torch.stack([torch.full((n,), theta), torch.rand(n)], 1)


def drawn(
    thetas: Sequence[float], js: list[float], w: list[float], exact: list[float], d: nn.Module, critic: nn.Module
) -> Image.Image:
    """The divergences against the place of the line, and the networks of the last place."""
    figure, axes = panels(["JS by a discriminator", "W by a critic", "D(x)", "The critic C(x)"])
    fine = torch.linspace(min(thetas), max(thetas), 201)
    axes[0].plot(fine, math.log(2) * (fine != 0), ":", color=THEORY)
    axes[0].plot(thetas, js, "o", color=REAL)
    axes[0].set(xlabel="θ", ylim=(-0.05, 1))
    axes[1].plot(fine, fine.abs(), ":", color=THEORY)
    axes[1].plot(thetas, w, "o", color=CRITIC, label="critic")
    axes[1].plot(thetas, exact, "x", color=FAKE, label="linear programming")
    axes[1].set(xlabel="θ")
    axes[1].legend()
    left, right, bottom, top = EDGES
    x, y = torch.meshgrid(torch.linspace(left, right, 121), torch.linspace(bottom, top, 61), indexing="xy")
    points = torch.stack([x.flatten(), y.flatten()], 1)
    with torch.no_grad():
        heat(axes[2], d(points).sigmoid().view_as(x).numpy(), EDGES, 0, 1)
        heat(axes[3], critic(points).view_as(x).numpy(), EDGES)
    for panel in axes[2:]:
        panel.plot([0, 0], [0, 1], color="white", lw=3)
        panel.plot([thetas[-1]] * 2, [0, 1], color=FAKE, lw=3)
        panel.set(xlabel="x", ylabel="y")
    return picture(figure)
