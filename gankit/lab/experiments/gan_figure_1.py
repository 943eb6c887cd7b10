"""A GAN in one dimension: D rises where reals outnumber fakes, and its slope moves the fakes until D is 1/2 everywhere.

G maps z, uniform from -1 to 1, to x. Where G is flat many z land on one x, so that the density of fakes is

    p_g(x) = Σ over z with G(z) = x of p_z(z) / |G'(z)|

D learns p/(p + p_g), which rises towards places with more reals than fakes. The gradient that reaches G(z) is the slope
of D there: each fake moves uphill. At the end p_g = p, D(x) = 1/2 where there are samples, its loss is 2 log 2, and no
slope is left. The best map is then known: with the distribution function F of the reals, G(z) = F⁻¹((1 + z)/2), or the
same in falling order. It is flat where reals are frequent and steep where they are rare.

Control: the same D with a G that does not learn. D then separates reals from fakes, and the fakes stay where they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.distributions import Normal

from gankit import losses, penalties
from gankit.lab.evidence import Check, Evidence, near
from gankit.lab.panels import CRITIC, FAKE, OTHER, REAL, THEORY, panels, picture
from gankit.lab.toy import logits, mlp, train_gan
from gankit.metrics.divergence import earth_mover

SOURCE = "Goodfellow et al., Generative Adversarial Nets, 2014, figure 1"
SECONDS = 20
DATA, WIDTH = Normal(1.0, 0.5), 0.06  # of the reals; and of the kernel that draws the density of fakes
X = torch.linspace(-2.5, 3, 221)
Z = torch.linspace(-1, 1, 1001)[:, None]


class Moment(NamedTuple):
    """What is seen after `step` updates."""

    step: int
    fake: Tensor  # G(z) at Z
    answer: Tensor  # D(x) at X
    loss: float  # of D
    w: float  # of reals and fakes


def experiment(*, steps: int = 400, frames: int = 20, seed: int = 0) -> Evidence:
    """Densities, D and the map from z to x while a GAN trains on a Gaussian.

    Args:
        steps: updates of G, 300 or more.
        frames: of the animation, 4 or more; closer together at the beginning.
        seed: of the networks and the samples.

    Raises:
        ValueError: too few steps for G to arrive, or too few frames.
    """
    if steps < 300 or frames < 4:
        raise ValueError(f"steps is {steps} and frames {frames}; give 300 or more, and 4 or more")
    moments = train(steps, 2e-3, [round(steps * (i / (frames - 1)) ** 2) for i in range(frames)], seed)
    first, last, control = moments[0], moments[-1], train(200, 0.0, [200], seed)[-1]
    off = ((last.answer - 0.5).abs() * DATA.log_prob(X).softmax(0)).sum().item()
    chosen = [moments[round(i * (len(moments) - 1) / 3)] for i in range(4)]
    return Evidence(
        [
            Check("W of reals and fakes at the end over that at the start", last.w / first.w, high=0.2),
            near("mean |D(x) - 1/2| over the reals at the end", off, 0, 0.06),
            near("loss of D at the end beside 2 log 2", last.loss, 2 * math.log(2), 0.03),
            Check("control: loss of D against a fixed G", control.loss, high=0.7),
            near("control: W over that at the start", control.w / first.w, 1, 1e-6),
        ],
        drawn(chosen),
        "The densities of reals, p, and of fakes, p_g, and D(x) after some updates; dotted, D = 1/2. Arrows: the map "
        "from z, evenly spaced, to x = G(z).",
        {"step": [m.step for m in moments], "loss": [m.loss for m in moments], "w": [m.w for m in moments]},
        [drawn([moment]) for moment in moments],
        fps=6,
    )


def train(steps: int, lr_g: float, when: Sequence[int], seed: int) -> list[Moment]:
    """Train the GAN and return what is seen at some steps."""
    torch.manual_seed(seed)
    g, d = mlp(1, 32, 32, 1), mlp(1, 32, 32, 1)
    quantiles, moments = DATA.icdf((Z + 1.001) / 2.002), []

    def see(step: int) -> None:
        if step in when:
            with torch.no_grad():
                fake, critic = g(Z), logits(d)
                loss = losses.non_saturating.d(critic(quantiles), critic(fake)).item()
                answer = critic(X[:, None]).sigmoid()
            moments.append(Moment(step, fake.flatten(), answer, loss, earth_mover(fake, quantiles)))

    train_gan(
        g, d, lambda n: DATA.sample((n, 1)), lambda n: 2 * torch.rand(n, 1) - 1, losses.non_saturating,
        steps=steps, batch=256, lr_g=lr_g, lr_d=5e-3, d_steps=2, see=see,
        penalty=lambda critic, real, fake, draw: 0.002 * penalties.r1(critic, real),
    )  # fmt: skip
    return moments


def drawn(moments: Sequence[Moment]) -> Image.Image:
    """Densities, D and the map, a panel for each moment."""
    figure, axes = panels([f"after {m.step} updates, W = {m.w:.2f}" for m in moments], height=3.2)
    for panel, moment in zip(axes, moments):
        panel.plot(X, DATA.log_prob(X).exp(), color=REAL, label="p")
        panel.plot(X, Normal(moment.fake[:, None], WIDTH).log_prob(X).exp().mean(0), color=FAKE, label="p_g")
        panel.plot(X, moment.answer, color=CRITIC, label="D(x)")
        panel.axhline(0.5, color=THEORY, ls=":", lw=0.8)
        z, x = 2.5 * Z[::50].flatten(), moment.fake[::50]
        panel.quiver(
            z, 0 * z - 0.8, x - z, 0 * z + 0.7, color=OTHER, width=4e-3, scale=1, angles="xy", scale_units="xy"
        )
        panel.set(xlim=(-2.6, 3), ylim=(-0.9, 1.7), yticks=[0, 0.5, 1, 1.5])
        panel.text(-2.5, -0.35, "x = G(z)\n\nz")
        panel.legend(loc="upper left")
    return picture(figure)
