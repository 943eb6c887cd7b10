"""The mean of a generator's path is nearer to the solution than the generator, if the path turns around the solution.

Steps of a game do not go straight to its equilibrium, they circle around it. In the Dirac-GAN (`gankit lab dirac-gan`)
the data is at 0, G is a point θ, and alternating steps stay on an orbit of radius r, whose mean is its centre.
Two means of the iterates are in use,

    uniform          m_n = (θ_0 + ... + θ_n) / (n + 1)         at most 2r/(n ω) from the centre
    exponential      m_n = β m_{n-1} + (1 - β) θ_n             about r (1 - β)/ω from it

where ω = a h is the angle of a step of length h. The exponential mean remembers 1/(1 - β) steps: it works if these are
more than a turn. It forgets the beginning, which stays in the uniform mean for ever. For this reason samples are drawn
from averaged weights. Simultaneous steps move outwards, but their mean is still inside.

Control: with R1 the path goes to the solution by itself. There both means are worse than the last iterate, because they
still remember the beginning.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from gankit import losses
from gankit.lab.dirac import Game, eigenvalues, walk
from gankit.lab.evidence import Check, Evidence
from gankit.lab.panels import CRITIC, FAKE, OTHER, REAL, panels, picture

SOURCE = "Yazıcı et al., The Unusual Effectiveness of Averaging in GAN Training, 2019, section 3; Karras et al., 2018"
SECONDS = 7
KINDS = {"iterate": FAKE, "uniform mean": CRITIC, "exponential mean": OTHER}


def experiment(*, h: float = 0.2, steps: int = 1000, beta: float = 0.99, gamma: float = 0.5) -> Evidence:
    """The distance of the iterates and of their means from the equilibrium, for three games.

    Args:
        h: length of a step, from 0.05 to 0.3.
        steps: their number, such that h times it is 150 or more.
        beta: of the exponential mean, above 1 - h/8 and below 1 - 4/steps.
        gamma: weight of R1 in the control, from 0.3 to 0.9.

    Raises:
        ValueError: outside of this the mean remembers less than a turn, or more than the path.
    """
    if not 0.05 <= h <= 0.3 or h * steps < 150 or not 1 - h / 8 < beta < 1 - 4 / steps or not 0.3 <= gamma <= 0.9:
        raise ValueError(
            f"h {h:g}, steps {steps}, beta {beta:g}, gamma {gamma:g}: give h 0.05 to 0.3, h x steps from 150, beta "
            f"from {1 - h / 8:.4g} to {1 - 4 / steps:.4g}, gamma 0.3 to 0.9"
        )
    games = {
        "Orbit (alternating)": walk(Game(losses.minimax), h, steps, alternating=True),
        "Control: R1, arrives": walk(Game(losses.minimax, r1=gamma), h, steps, alternating=True),
        "Simultaneous, moves outwards": walk(Game(losses.minimax), h, steps),
    }
    turn = float(abs(eigenvalues(Game(losses.minimax))[0].imag))  # angle per unit of time
    lengths = {name: {kind: np.hypot(*p.T) for kind, p in means(path, beta).items()} for name, path in games.items()}
    last = {name: {kind: float(length[-1]) for kind, length in kinds.items()} for name, kinds in lengths.items()}
    orbit, arrives, outwards = last.values()
    radius = float(lengths["Orbit (alternating)"]["iterate"].max())
    return Evidence(
        [
            Check(
                "orbit: smallest distance of an iterate", float(lengths["Orbit (alternating)"]["iterate"].min()), low=1
            ),
            Check(
                "orbit: distance of the uniform mean",
                orbit["uniform mean"],
                high=2 * radius / (turn * h * steps) + 0.02,
            ),
            Check(
                "orbit: distance of the exponential mean",
                orbit["exponential mean"],
                high=2 * radius * (1 - beta) / (turn * h),
            ),
            Check("control, R1: distance of the iterate", arrives["iterate"], high=1e-4),
            *(
                Check(f"control, R1: distance of the {kind} over the iterate's", arrives[kind] / arrives["iterate"], 10)
                for kind in list(KINDS)[1:]
            ),
            Check(
                "simultaneous: distance of the uniform mean over the iterate's",
                outwards["uniform mean"] / outwards["iterate"],
                high=0.5,
            ),
        ],
        drawn(games, lengths, beta),
        "Above: the path of (θ, ψ) from (-1, 1), its means, and the equilibrium. Below: their distances from it. On an "
        "orbit the means arrive and the iterates do not; if the path arrives by itself, the means are late.",
        {"distance": last},
    )


def means(path: np.ndarray, beta: float) -> dict[str, np.ndarray]:
    """The iterates and both of their means, (steps + 1, 2) each."""
    uniform = np.cumsum(path, 0) / np.arange(1, len(path) + 1)[:, None]
    exponential = [path[0]]
    for place in path[1:]:
        exponential.append(beta * exponential[-1] + (1 - beta) * place)
    return dict(zip(KINDS, (path, uniform, np.array(exponential))))


def drawn(games: dict[str, np.ndarray], lengths: dict[str, dict[str, np.ndarray]], beta: float) -> Image.Image:
    """Above, the paths with their means; below, the distances."""
    figure, axes = panels([*games, *[""] * 3], columns=3, height=2.5)
    for column, (name, path) in enumerate(games.items()):
        for kind, places in means(path, beta).items():
            axes[column].plot(*places.T, color=KINDS[kind], label=kind, lw=0.7 if kind == "iterate" else 1.8)
            axes[column + 3].semilogy(lengths[name][kind], color=KINDS[kind], label=kind)
        axes[column].plot(0, 0, "o", color=REAL)
        axes[column].set(xlabel="θ", ylabel="ψ", aspect="equal")
        axes[column + 3].set(xlabel="step", ylabel="distance", ylim=(1e-5, 10))
    axes[3].legend(loc="lower left")
    return picture(figure)
