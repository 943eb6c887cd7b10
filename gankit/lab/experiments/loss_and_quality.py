"""The loss of a Wasserstein critic tells how far samples are from data; that of a standard discriminator stays full.

A critic's loss, with the sign turned, estimates the distance that G lowers, so that it can be read as a curve of
progress. The loss L of a standard discriminator estimates another divergence,

    W ≈ E C(x) - E C(G(z))        JS ≈ log 2 - L/2

JS is log 2 as long as D tells reals and fakes apart, however near they have come. Both GANs are trained on the ring of
eight Gaussians, and each estimate is set beside the earth mover's distance of samples, which no network learns. It is
solved by linear assignment, and is not 0 for two samples of the data: that value is dotted. Spearman's rank correlation
of estimate and distance over training is 1 if they always fall and rise together. It was 0.92 to 1.00 for the critic on
three seeds, and 0.92, 0.16 and -0.71 for the standard D. The critic must be nearly optimal at each step: with five
updates instead of ten, and three times G's rate, its correlation is lost.

Control: the standard GAN, with the same networks, rates and updates of D, but no penalty.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from PIL import Image
from scipy.stats import spearmanr
from torch import Tensor

from gankit import losses
from gankit.lab.evidence import Check, Evidence
from gankit.lab.panels import CRITIC, FAKE, REAL, THEORY, panels, picture
from gankit.lab.toy import Penalty, Sampler, leaky, logits, mixture, mlp, slope, train_d, train_gan
from gankit.metrics.divergence import critic_distance, earth_mover

SOURCE = "Arjovsky, Chintala and Bottou, Wasserstein GAN, 2017, figures 3 and 4"
SECONDS = 25
EARLY = 60  # updates of G


def js_estimate(real: Tensor, fake: Tensor) -> float:
    """The Jensen-Shannon divergence that D's logits on reals and fakes estimate, in nats."""
    return float(torch.tensor(2.0).log() - losses.non_saturating.d(real, fake) / 2)


GANS: dict[str, tuple[losses.Adversarial, Penalty | None, Callable[[Tensor, Tensor], float]]] = {
    "W": (losses.wasserstein, slope, critic_distance),
    "JS": (losses.non_saturating, None, js_estimate),
}
"""By the divergence that D's loss estimates: the losses, the penalty, and the estimate from outputs."""


def experiment(*, steps: int = 240, samples: int = 400, every: int = 6, seed: int = 0) -> Evidence:
    """What each D estimates beside the earth mover's distance, over training.

    Args:
        steps: updates of G, with ten of D for each.
        samples: points on which both are measured.
        every: updates of G between two measurements.
        seed: of networks and points.

    Raises:
        ValueError: there are fewer than ten measurements, or too few steps.
    """
    if steps < max(10 * every, EARLY):
        raise ValueError(f"steps is {steps} and every {every}: give {EARLY} steps and ten measurements at least")
    real = mixture("ring")[0]
    curves = {name: trained(name, real, steps, samples, every, seed) for name in GANS}
    rank = {name: float(spearmanr(*zip(*curve)).statistic) for name, curve in curves.items()}
    lost = {name: 1 - curve[EARLY // every][0] / curve[0][0] for name, curve in curves.items()}
    same = earth_mover(real(samples), real(samples))
    return Evidence(
        [
            Check("rank correlation of the critic's estimate with the distance", rank["W"], 0.7, 1),
            Check(f"share of the critic's estimate that is gone after {EARLY} updates", lost["W"], 0.1, 1),
            Check(f"control: the same of the standard D's, after {EARLY} updates", lost["JS"], -1, 0.06),
        ],
        drawn(curves, rank, every, same),
        "Left: what each D estimates, and the earth mover's distance of its G's samples. Right: one against the other, "
        "a point a measurement. Two samples of the data have the dotted distance.",
        {"rank_correlation": rank, "distance_of_two_samples_of_the_data": same},
    )


def trained(name: str, real: Sampler, steps: int, samples: int, every: int, seed: int) -> list[tuple[float, float]]:
    """(estimate, distance) over the training of a GAN whose D was trained alone before."""
    torch.manual_seed(seed)
    loss, penalty, estimate = GANS[name]
    g, d = mlp(2, 64, 64, 2), mlp(2, 64, 64, 1, activation=leaky)
    train_d(
        d, real, lambda n: g(torch.randn(n, 2)).detach(), loss, steps=300, lr=3e-3, betas=(0.0, 0.9), penalty=penalty
    )
    curve: list[tuple[float, float]] = []

    @torch.no_grad()
    def see(step: int) -> None:
        if step % every == 0:
            x, fake = real(samples), g(torch.randn(samples, 2))
            curve.append((estimate(logits(d)(x), logits(d)(fake)), earth_mover(x, fake)))

    train_gan(
        g, d, real, lambda n: torch.randn(n, 2), loss, steps=steps, lr_g=1e-4, lr_d=3e-3, betas=(0.0, 0.9),
        d_steps=10, penalty=penalty, see=see,
    )  # fmt: skip
    return curve


def drawn(curves: dict[str, list[tuple[float, float]]], rank: dict[str, float], every: int, same: float) -> Image.Image:
    """Each estimate and the distance over training, and one against the other."""
    titles = [title for name in curves for title in (f"{name} by D", f"rank correlation {rank[name]:.2f}")]
    figure, axes = panels(titles, 2, width=4, height=2.4)
    for row, (name, curve) in enumerate(curves.items()):
        estimates, distances = zip(*curve)
        over, against = axes[2 * row], axes[2 * row + 1]
        over.plot([every * i for i in range(len(curve))], estimates, color=CRITIC, label=f"{name} by D")
        over.plot([every * i for i in range(len(curve))], distances, color=FAKE, label="earth mover's distance")
        over.axhline(same, ls=":", color=THEORY)
        over.set(xlabel="updates of G", ylim=(0, None))
        over.legend()
        against.plot(distances, estimates, ".", color=REAL)
        against.set(xlabel="earth mover's distance", ylabel=f"{name} by D")
    return picture(figure)
