"""Whether a GAN's steps converge depends on both rates: a slow G and a D that is faster, up to a limit, converge best.

In the Dirac-GAN (`gankit lab dirac-gan`) with R1 of weight γ, let G move with a rate h_G and D with h_D. A step
multiplies a small distance from the equilibrium by 1 + μ, with the eigenvalues of

    H J = ( 0           a h_G   )        μ = -γ h_D/2 ± √(γ² h_D²/4 - a² h_G h_D),    a = 1/2
          ( -a h_D     -γ h_D   )

All |1 + μ| < 1 if, and only if,

    h_G < γ/a²                      G is slow against the damping of D, however fast D is
    γ h_D < 2 + a² h_G h_D/2        D does not overshoot

A faster D then converges faster until both eigenvalues are equal, at h_D/h_G = 4a²/γ², which is above 1 for γ < 1: D
follows G without turning around it. One rate for both players is not the best.

Control: without R1 no pair of rates converges, however different they are: |1 + μ|² = 1 + a² h_G h_D.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from gankit import losses
from gankit.lab.dirac import Game, jacobian, walk
from gankit.lab.evidence import Check, Evidence, near
from gankit.lab.panels import CRITIC, FAKE, REAL, heat, panels, picture

SOURCE = "Heusel et al., GANs Trained by a Two Time-Scale Update Rule, 2017; Mescheder et al., 2018, section 4"
SECONDS = 9
A = 0.5


def experiment(*, gamma: float = 0.5, steps: int = 250) -> Evidence:
    """Where simultaneous steps converge, by eigenvalues and by taking them, beside theory.

    Args:
        gamma: weight of R1, from 0.3 to 0.9.
        steps: that are taken from each of 20 pairs of rates, 200 or more.

    Raises:
        ValueError: outside of this the plane of rates does not hold the limits, or too few steps tell.
    """
    if not 0.3 <= gamma <= 0.9 or steps < 200:
        raise ValueError(f"gamma is {gamma:g} and steps {steps}; give gamma from 0.3 to 0.9, and 200 steps or more")
    game = Game(losses.minimax, r1=gamma)
    slopes, control = jacobian(game), jacobian(Game(losses.minimax))
    g_limit, d_limit = gamma / A**2, 2 / gamma
    rates_g, rates_d = np.linspace(0.02, 1.3, 24) * g_limit, np.linspace(0.02, 1.6, 24) * d_limit
    damped, free = ([[radius(j, h_g, h_d) for h_g in rates_g] for h_d in rates_d] for j in (slopes, control))
    tried = [(x * g_limit, y * d_limit) for x in (0.1, 0.4, 0.8, 1.2) for y in (0.1, 0.3, 0.6, 0.9, 1.4)]
    arrived = [float(np.hypot(*walk(game, 1.0, steps, (-0.1, 0.1), pair)[-1])) < 0.1 for pair in tried]
    predicted = [h_g < g_limit and gamma * h_d < 2 + A**2 * h_g * h_d / 2 for h_g, h_d in tried]
    slow = 0.1 * g_limit
    ratios = np.geomspace(0.25, 4 / gamma**2 * A**2 * 4, 400)
    best = float(ratios[np.argmin([radius(slopes, slow, slow * ratio) for ratio in ratios])])
    paths = {r: walk(game, 1.0, steps, rates=(slow, r * slow)) for r in (1.0, round(4 * A**2 / gamma**2, 1))}
    one, two = (float(np.hypot(*path[-1])) for path in paths.values())
    return Evidence(
        [
            near(
                "pairs of rates of which theory and steps agree",
                sum(map(bool.__eq__, arrived, predicted)),
                len(tried),
                0,
            ),
            Check("pairs that converge, of 20", sum(arrived), 5, 15),
            near("ratio h_D/h_G that converges fastest, over theory's", best / (4 * A**2 / gamma**2), 1, 0.05),
            Check("distance at the best ratio over that at equal rates", two / one, high=0.1),
            Check("control: smallest |1 + μ| of all pairs without R1", float(np.min(free)), low=1),
        ],
        drawn(damped, free, (rates_g, rates_d), tried, arrived, gamma, paths),
        "Left and second: |1 + μ| for each pair of rates; below 1 the distance falls. White lines are the limits of "
        "theory, dots are pairs whose steps arrive, crosses pairs whose steps do not. Right: two pairs of rates.",
        {"best ratio": best, "distance at equal rates": one, "distance at the best ratio": two},
    )


def radius(slopes: np.ndarray, h_g: float, h_d: float) -> float:
    """The factor by which a step multiplies a small distance: the largest |1 + μ|."""
    return float(np.abs(1 + np.linalg.eigvals(np.diag([h_g, h_d]) @ slopes)).max())


def drawn(
    damped: list[list[float]],
    free: list[list[float]],
    rates: tuple[np.ndarray, np.ndarray],
    tried: list[tuple[float, float]],
    arrived: list[bool],
    gamma: float,
    paths: dict[float, np.ndarray],
) -> Image.Image:
    """The planes of rates, and two paths with their distances."""
    figure, axes = panels([f"R1, γ = {gamma:g}", "Control: without R1", "Paths", "Distance"])
    extent = (rates[0][0], rates[0][-1], rates[1][0], rates[1][-1])
    for panel, values in zip(axes, (damped, free)):
        heat(panel, np.array(values), extent, 0.6, 1.4)
        figure.colorbar(panel.images[0], ax=panel)
        panel.set(xlabel="rate of G, h_G", ylabel="rate of D, h_D")
    fine = rates[0][rates[0] < gamma / A**2]
    axes[0].plot(fine, 2 / (gamma - A**2 * fine / 2), ":", color="white")
    axes[0].axvline(gamma / A**2, ls=":", color="white")
    for pair, inside in zip(tried, arrived):
        axes[0].plot(*pair, "o" if inside else "x", color="white" if inside else FAKE, ms=4)
    axes[0].set(xlim=extent[:2], ylim=extent[2:])
    for (ratio, path), colour in zip(paths.items(), (FAKE, CRITIC)):
        axes[2].plot(*path.T, color=colour, label=f"h_D = {ratio:g} h_G")
        axes[3].semilogy(np.hypot(*path.T), color=colour, label=f"h_D = {ratio:g} h_G")
    axes[2].plot(0, 0, "o", color=REAL)
    axes[2].set(xlabel="θ", ylabel="ψ")
    axes[3].set(xlabel="step")
    for panel in axes[2:]:
        panel.legend()
    return picture(figure)
