"""Simultaneous gradient steps on the simplest game, L(a, b) = a b, move away from its solution.

Player a lowers L and player b raises it. The solution is a saddle, a = b = 0: neither player gains by leaving it alone.
The gradients are orthogonal to the way there, so that in continuous time the players circle around it for ever,

    da/dt = -b,    db/dt = a,    a² + b² is constant.

A step of length h along a tangent of a circle ends outside of it. After n steps the distance to the solution is

    simultaneous    (1 + h²)^(n/2)          both players move at once: it grows
    alternating     bounded                 b sees where a has gone: a closed orbit
    extragradient   (1 - h² + h⁴)^(n/2)     both look one step ahead, then move: it falls
    consensus       ((1 - ch)² + h²)^(n/2)  both also descend c |∇L|²/2: it falls

Control: the last two, which differ from simultaneous steps only in what the players see of each other's move. The mean
of the alternating iterates also approaches the solution, which is one reason for averaging a generator's weights.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from gankit.lab.evidence import Check, Evidence, near
from gankit.lab.panels import THEORY, panels, picture

SOURCE = "Goodfellow, NIPS 2016 tutorial, section 8.2; Korpelevich 1976; Mescheder et al., The Numerics of GANs, 2017"
SECONDS = 1
STEPS = {
    "simultaneous": lambda a, b, h, c: (a - h * b, b + h * a),
    "alternating": lambda a, b, h, c: (a - h * b, b + h * (a - h * b)),
    "extragradient": lambda a, b, h, c: (a - h * (b + h * a), b + h * (a - h * b)),
    "consensus": lambda a, b, h, c: (a - h * b - c * h * a, b + h * a - c * h * b),
}


def experiment(*, h: float = 0.1, steps: int = 1000, weight: float = 1.0) -> Evidence:
    """The distance to the solution under four kinds of steps, beside theory.

    Args:
        h: length of a step.
        steps: their number.
        weight: of the consensus penalty.

    Raises:
        ValueError: h or the weight is outside the range where the theory holds.
    """
    if not 0 < h < 1 or not 0 <= weight * h < 1:
        raise ValueError(f"h is {h} and weight {weight}: theory holds for 0 < h < 1 and weight x h below 1")
    rates = {
        "simultaneous": math.sqrt(1 + h**2),
        "extragradient": math.sqrt(1 - h**2 + h**4),
        "consensus": math.hypot(1 - weight * h, h),
    }
    paths = {name: walk(name, h, steps, weight) for name in STEPS}
    mean = np.cumsum(paths["alternating"], 0) / np.arange(1, steps + 2)[:, None]
    last = {name: float(np.hypot(*path[-1])) for name, path in paths.items()}
    orbit = np.hypot(*paths["alternating"].T)
    checks = [
        near(
            f"log of the distance after {steps} {name} steps, divided by theory's",
            math.log(last[name]) / (steps * math.log(rate)),
            expected=1,
            within=1e-6,
        )
        for name, rate in rates.items()
    ]
    checks += [
        Check("largest distance of alternating steps", float(orbit.max()), 0, 1.1 / (1 - h / 2)),
        Check("smallest distance of alternating steps", float(orbit.min()), 0.5, 1),
        Check("distance of the mean of alternating steps", float(np.hypot(*mean[-1])), 0, 5 / (h * steps)),
    ]
    return Evidence(
        checks,
        drawn(paths, mean, rates, h),
        "Left: the first 120 steps from (1, 0). Middle: the distance to the solution (0, 0), with theory dotted. "
        "Right: the mean of the iterates approaches the solution although they do not.",
        {"distance": last, "theory": {name: rate**steps for name, rate in rates.items()}},
    )


def drawn(paths: dict[str, np.ndarray], mean: np.ndarray, rates: dict[str, float], h: float) -> Image.Image:
    """The paths, their distances from the solution, and the mean of one of them."""
    figure, axes = panels([f"Paths (h = {h:g})", "Distance to the solution", "Alternating steps, and their mean"])
    for name, path in paths.items():
        axes[0].plot(*path[:120].T, label=name)
        axes[1].semilogy(np.hypot(*path.T), label=name)
        if name in rates:
            axes[1].semilogy(rates[name] ** np.arange(len(path)), ":", color=THEORY, lw=1)
    axes[0].set(xlabel="a", ylabel="b", aspect="equal", xlim=(-3, 3), ylim=(-3, 3))
    axes[1].set(xlabel="step", ylim=(1e-6, None))
    axes[2].semilogy(np.hypot(*paths["alternating"].T), label="iterate")
    axes[2].semilogy(np.hypot(*mean.T), label="mean of the iterates")
    axes[2].set(xlabel="step")
    for panel in axes[1:]:
        panel.legend()
    return picture(figure)


def walk(name: str, h: float, steps: int, weight: float) -> np.ndarray:
    """(steps + 1, 2) places of the players, from (1, 0)."""
    path = [(1.0, 0.0)]
    for _ in range(steps):
        path.append(STEPS[name](*path[-1], h, weight))
    return np.array(path)
