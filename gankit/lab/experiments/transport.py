"""The earth mover's distance is the cost of the best transport plan, and also the gain of the best critic with slope 1.

A plan γ(x, y) says how much mass moves from x to y: its rows sum to p, its columns to q. W is the least cost,

    W(P, Q) = min over γ of Σ γ(x, y) |x - y|                             the primal, a linear program
            = max over |C(x) - C(y)| ≤ |x - y| of E_P C - E_Q C           the dual, the critic of a WGAN
            = ∫ |F⁻¹(u) - G⁻¹(u)| du                                      on a line: the difference of quantiles

All are one number. A unit of mass that moves from x to y costs |x - y|, and no critic may fall further than that from
x to y: where the best plan moves mass, the best critic falls with slope 1. So a GAN can train a critic, here a network
with the gradient penalty of WGAN-GP, instead of searching for a plan. Its first 40 updates have no penalty: that is the
same for C and -C, and holds a network that begins with the wrong sign on a line at the slope of 1.

Control: a critic without the penalty. 10 C gains ten times as much as C: its gain grows as long as it trains.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from scipy.optimize import linprog
from torch import nn

from gankit import losses
from gankit.lab.evidence import Check, Evidence, near
from gankit.lab.panels import CRITIC, FAKE, OTHER, REAL, heat, panels, picture
from gankit.lab.toy import Sampler, logits, mlp, slope, train_d
from gankit.metrics.divergence import earth_mover

SOURCE = "Kantorovich and Rubinstein, 1958; Arjovsky, Chintala and Bottou, Wasserstein GAN, 2017, eq. 1 and 2"
SECONDS = 8
PLACES = np.linspace(-3, 3, 25)  # of the histograms


def experiment(*, steps: int = 250, seed: int = 0) -> Evidence:
    """W by linear programming, by quantiles and by a critic, with the plan and the critic.

    Args:
        steps: updates of each critic; it needs about 200.
        seed: of the networks and the samples.
    """
    torch.manual_seed(seed)
    p, q = histogram((-0.6, 0.4), (0.7, 0.3)), histogram((-2.0, 0.3), (1.9, 0.4))
    cost = np.abs(PLACES[:, None] - PLACES[None])
    plan = best_plan(p, q, cost)
    primal, any_plan = float((plan * cost).sum()), float((np.outer(p, q) * cost).sum())
    quantiles = float(np.abs(np.cumsum(p - q))[:-1] @ np.diff(PLACES))  # the area between F and G, or F⁻¹ and G⁻¹
    samples = earth_mover(sampler(p)(5000), sampler(q)(5000))
    critic, unbounded = mlp(1, 64, 64, 1), mlp(1, 64, 64, 1)
    train_d(critic, sampler(p), sampler(q), losses.wasserstein, steps=40, lr=5e-3)
    train_d(critic, sampler(p), sampler(q), losses.wasserstein, steps=steps, lr=5e-3, betas=(0.5, 0.9), penalty=slope)
    values = [gain(critic, p, q)]
    for _ in range(2):  # twice as long
        train_d(unbounded, sampler(p), sampler(q), losses.wasserstein, steps=100, lr=5e-3)
        values.append(gain(unbounded, p, q))
    rows = max(np.abs(plan.sum(1) - p).max(), np.abs(plan.sum(0) - q).max())
    return Evidence(
        [
            near("largest error of the plan's rows and columns", float(rows), 0, 1e-8),
            near("cost of the best plan beside the area between the quantiles", primal, quantiles, 1e-6),
            near("W of 5,000 samples beside it", samples, primal, 0.1),
            near("gain of the critic beside it", values[0], primal, 0.12 * primal),
            Check("cost of the plan that moves mass anywhere over the best plan's", any_plan / primal, low=1.1),
            Check("control: gain without the penalty over W", values[1] / primal, low=3),
            Check("control: gain after twice as many updates over that", values[2] / values[1], low=1.5),
        ],
        drawn(p, q, plan, critic, primal),
        "Left: the best plan, a row for each x and a column for each y. Middle: the same as arrows from p down to q. "
        "Right: the critic, which falls with a slope of about 1 in the direction in which mass moves.",
        {"best plan": primal, "quantiles": quantiles, "samples": samples, "critic": values[0], "unbounded": values[1:]},
    )


def histogram(*bumps: tuple[float, float]) -> np.ndarray:
    """Probabilities of PLACES: bumps of equal weight, given by their means and deviations."""
    mass = sum(np.exp(-(((PLACES - mean) / width) ** 2) / 2) / width for mean, width in bumps)
    return np.asarray(mass / np.sum(mass))


def sampler(mass: np.ndarray) -> Sampler:
    """n to (n, 1) of PLACES."""
    places, weights = torch.tensor(PLACES, dtype=torch.float32)[:, None], torch.tensor(mass)
    return lambda n: places[torch.multinomial(weights, n, replacement=True)]


def best_plan(p: np.ndarray, q: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """The plan of least cost, by linear programming: its rows sum to p, its columns to q."""
    n = len(p)
    sums = np.concatenate([np.kron(np.eye(n), np.ones(n)), np.kron(np.ones(n), np.eye(n))])
    return np.asarray(linprog(cost.flatten(), A_eq=sums, b_eq=np.concatenate([p, q])).x.reshape(n, n))


def gain(critic: nn.Module, p: np.ndarray, q: np.ndarray) -> float:
    """E_P C - E_Q C, exactly."""
    with torch.no_grad():
        return float(logits(critic)(torch.tensor(PLACES, dtype=torch.float32)[:, None]).double() @ torch.tensor(p - q))


def drawn(p: np.ndarray, q: np.ndarray, plan: np.ndarray, critic: nn.Module, w: float) -> Image.Image:
    """The plan as a matrix and as arrows, and the critic."""
    figure, axes = panels(["The best plan γ(x, y)", f"The same as arrows, W = {w:.3f}", "The critic C(x)"])
    heat(axes[0], plan, (PLACES[0], PLACES[-1], PLACES[0], PLACES[-1]))
    axes[0].plot(PLACES, PLACES, ":", color="white", lw=0.8)
    axes[0].set(xlabel="y, where it goes", ylabel="x, where mass is")
    for panel, low, height in ((axes[1], 0.6, 1), (axes[2], 0.0, 4)):
        panel.bar(PLACES, height * p, 0.2, low, color=REAL, alpha=0.7, label="p")
        panel.bar(PLACES, -height * q, 0.2, -low, color=FAKE, alpha=0.7, label="q")
    for i, j in zip(*np.nonzero(plan > 1e-3)):
        arrow = {"arrowstyle": "->", "color": OTHER, "lw": 20 * plan[i, j]}
        axes[1].annotate("", (PLACES[j], -0.55), (PLACES[i], 0.55), arrowprops=arrow)
    x = torch.linspace(-3, 3, 121)[:, None]
    with torch.no_grad():
        axes[2].plot(x, logits(critic)(x) - logits(critic)(x).mean(), color=CRITIC, label="C, up to a constant")
    for panel in axes[1:]:
        panel.set(xlabel="x")
        panel.legend(loc="lower center", fontsize=7)
    axes[1].set_yticks([])
    return picture(figure)
