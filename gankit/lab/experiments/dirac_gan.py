"""Around its equilibrium the Dirac-GAN circles under every loss; R1, instance noise and consensus steps lead inwards.

The data is one point at 0, the generator a point θ, the discriminator a line, C(x) = ψ x. At the equilibrium θ = ψ = 0
the generator is right and the discriminator has nothing left to say. Both players descend their losses,

    d(θ, ψ)/dt = v = -(∂L_G/∂θ, ∂L_D/∂ψ)

Near the equilibrium the distance goes as exp(t Re λ) for an eigenvalue λ of the Jacobian of v, and Im λ is the speed of
the turning. With the derivatives of the losses at a fake's logit of 0, a² = -L_G' L_D',

    no penalty              λ = ± i a                      a = 1/2 for cross-entropies, 1 for a critic
    R1, γ/2 |∇C|²           λ = -γ/2 ± √(γ²/4 - a²)        fastest at γ = 2a, where both are equal
    noise of deviation σ    λ = -σ²/4 ± √(σ⁴/16 - a²)      on both inputs of D, with a cross-entropy
    consensus, c |v|²/2     λ = -c a² ± i a                descended by both players

Steps of length h leave a circle outwards. Clipping only bounds ψ, and a penalty towards slope 1 pushes ψ away from 0,
where it should be: both end in limit cycles. A non-saturating G spirals inwards, but slower than any exponential.

Control: the same losses without R1, noise or consensus.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from gankit import losses
from gankit.lab.dirac import Game, eigenvalues, field, walk
from gankit.lab.evidence import Check, Evidence, near
from gankit.lab.panels import CRITIC, FAKE, REAL, THEORY, panels, picture

SOURCE = "Mescheder, Geiger and Nowozin, Which Training Methods for GANs do actually Converge?, 2018, sections 2 and 3"
SECONDS = 9
LOSSES = losses.ADVERSARIAL | {"least_squares": losses.least_squares(-1, 1, 1)}  # whose equilibrium is at 0, too
SQUARES = dict.fromkeys(LOSSES, 0.25) | {"maximum_likelihood": 0.5}  # a² of each loss
SQUARES |= dict.fromkeys(["least_squares", "hinge", "wasserstein", "relativistic_average"], 1.0)


def experiment(*, h: float = 0.2, steps: int = 500, gamma: float = 0.3) -> Evidence:
    """Eigenvalues at the equilibrium, and the distance from it after simultaneous steps from (-1, 1).

    Args:
        h: length of a step, up to 0.2.
        steps: their number, such that h times it is 100 or more.
        gamma: weight of R1, from 0.3 to 0.9.

    Raises:
        ValueError: with these nothing converges, or not yet.
    """
    if not 0 < h <= 0.2 or h * steps < 100 or not 0.3 <= gamma <= 0.9:
        raise ValueError(
            f"h {h:g}, steps {steps}, gamma {gamma:g}: give h up to 0.2, h x steps from 100, gamma 0.3-0.9"
        )
    gan, ns, critic = losses.minimax, losses.non_saturating, losses.wasserstein
    games = {"minimax": Game(gan), "critic, clipped": Game(critic, clip=1), "critic, slope 1": Game(critic, slope=0.35)}
    games |= {
        "non-saturating": Game(ns),
        "noise, σ = 0.7": Game(gan, noise=0.7),
        f"R1, γ = {gamma:g}": Game(gan, gamma),
    }
    games |= {"R1, γ = 1": Game(gan, 1), "consensus, c = 1": Game(gan, consensus=1)}
    paths = {name: walk(game, h, steps) for name, game in games.items()}
    last = {name: float(np.hypot(*path[-1])) for name, path in paths.items()}
    r1 = {weight: eigenvalues(Game(gan, weight)) for weight in (0.0, 0.3, 0.6, 1.0, 1.5, 2.0)}
    checks = [agree(f"{name} loss", eigenvalues(Game(loss)), 0, SQUARES[name]) for name, loss in LOSSES.items()]
    checks += [agree(f"R1 of weight {weight:g}", found, weight / 2, 0.25) for weight, found in r1.items()]
    checks += [agree("noise", eigenvalues(games["noise, σ = 0.7"]), 0.49 / 4, 0.25)]
    checks += [agree("consensus", eigenvalues(games["consensus, c = 1"]), 0.25, 0.25 + 0.25**2)]
    distance = f"distance after {steps} steps"
    checks += [Check(f"control: {distance}, {name}", last[name], low=0.3) for name in list(games)[:3]]
    checks += [
        Check(f"{distance}, {name}", last[name], high=1e-3 if "noise" in name else 1e-4) for name in list(games)[4:]
    ]
    return Evidence(
        checks,
        drawn(games, paths, r1),
        "Eight games: arrows show where both players move, the line is the path of steps from (-1, 1), the dot the "
        "equilibrium. Last two: the distance from it, and R1's eigenvalues on theory's curve, for γ from 0 to 2.",
        {"distance": last, "r1_eigenvalues": {str(w): [[e.real, e.imag] for e in pair] for w, pair in r1.items()}},
    )


def agree(what: str, found: np.ndarray, shift: float, square: float) -> Check:
    """Whether two eigenvalues are -shift ± √(shift² - square), by their sum and product, which have no double root."""
    error = max(abs(found.sum() + 2 * shift), abs(found.prod() - square))
    return near(f"eigenvalues with {what}, difference from theory", float(error), 0, 1e-6)


def drawn(games: dict[str, Game], paths: dict[str, np.ndarray], r1: dict[float, np.ndarray]) -> Image.Image:
    """The fields with the paths, the distances, and the eigenvalues of R1."""
    titles = [*games, "Distance from the equilibrium", "Eigenvalues of R1"]
    figure, axes = panels(titles, columns=5, width=2.1, height=2.0)
    places = np.linspace(-2, 2, 9)
    for panel, (name, game) in zip(axes, games.items()):
        arrows = np.array([[field(game, theta, psi) for theta in places] for psi in places])
        lengths = np.hypot(arrows[..., 0], arrows[..., 1]) + 1e-9
        panel.quiver(places, places, *(arrows[..., i] / lengths**0.5 for i in (0, 1)), color=CRITIC, alpha=0.6)
        panel.plot(*paths[name].T, color=FAKE, lw=1)
        panel.plot(0, 0, "o", color=REAL)
        panel.set(xlabel="θ", ylabel="ψ", xlim=(-2.2, 2.2), ylim=(-2.2, 2.2))
        axes[8].semilogy(np.hypot(*paths[name].T), label=name, lw=1.2)
    axes[8].set(xlabel="step", ylim=(1e-6, 5))
    axes[8].legend(fontsize=5, loc="lower left")
    fine = np.linspace(0, 2.1, 400)[:, None]
    curve = -fine / 2 + np.array([[1, -1]]) * np.sqrt(fine**2 / 4 - 0.25 + 0j)
    axes[9].plot(curve.real, curve.imag, ":", color=THEORY)
    for weight, pair in r1.items():
        axes[9].plot(pair.real, pair.imag, "o", label=f"γ = {weight:g}")
    axes[9].set(xlabel="Re λ", ylabel="Im λ")
    axes[9].legend(fontsize=5, loc="upper left")
    return picture(figure)
