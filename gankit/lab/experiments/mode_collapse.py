"""A GAN with its plain loss runs from mode to mode of a ring; the same GAN with a penalty on D's gradient covers all.

G is never asked for diversity. Its loss is a mean over its own samples, lowest if all of them lie where D is highest
at the moment. The next D rejects them and drives them on, to the next mode, and so around the ring. How evenly K modes
are filled, with shares q, is the reverse divergence

    KL(q || uniform) = log K + Σ q_k log q_k        0 if even, log K if one mode has everything

Also counted: modes with a sample within 3 σ, and the share of such samples (98.9 % of the data). R1 keeps D flat where
G should come to rest. Plain training runs on by chance, here on three of four seeds; the grid takes ten times longer.

Control: the penalty, in which the first two methods differ. Other losses, and Ds that see the batch, are in METHODS.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from gankit import losses
from gankit.lab.evidence import Check, Evidence
from gankit.lab.panels import FAKE, REAL, THEORY, panels, picture
from gankit.lab.toy import Penalty, batch_critic, mixture, mlp, train_gan
from gankit.metrics.modes import Coverage, mixture_coverage
from gankit.penalties import r1, r1_r2, wgan_gp
from gankit.text import suggest

SOURCE = "Srivastava et al., VEEGAN, 2017; Lin et al., PacGAN, 2018; Mescheder et al., 2018; Huang et al., R3GAN, 2024"
SECONDS = 30


METHODS: dict[str, tuple[losses.Adversarial, Penalty | None, str]] = {  # the loss, the penalty, the kind of D
    "plain": (losses.non_saturating, None, ""),
    **{n.replace("_", "-"): (losses.ADVERSARIAL[n], None, "") for n in ("minimax", "least_squares", "relativistic")},
    "r1": (losses.non_saturating, lambda critic, real, fake, draw: 0.05 * r1(critic, real), ""),
    "relativistic-r1-r2": (losses.relativistic, lambda critic, real, fake, draw: 0.05 * r1_r2(critic, real, fake), ""),
    "wgan-gp": (losses.wasserstein, lambda *given: 0.1 * wgan_gp(*given), ""),
    "hinge-spectral": (losses.hinge, None, "spectral"),
    **{kind: (losses.non_saturating, None, kind) for kind in ("stddev", "discrimination", "packing")},
}
State = tuple[int, Tensor, Coverage]
WIDTH, FRAMES, SIZE, REACH = 64, 20, (500, 500), {8: (-1.5, 1.5), 25: (-6, 6)}


def experiment(
    *,
    methods: tuple[str, ...] = ("plain", "r1", "relativistic-r1-r2"),
    data: Literal["ring", "grid"] = "ring",
    steps: int = 1000,
    batch: int = 64,
    d_steps: int = 1,
    latent: int = 2,
    seed: int = 0,
) -> Evidence:
    """Modes, good samples and reverse divergence over training, by method.

    Args:
        methods: keys of METHODS, such as plain, minimax, wgan-gp, hinge-spectral, stddev, discrimination, packing.
        data: ring of 8 or grid of 25 Gaussians.
        steps, batch: updates of G, and points in each; a multiple of 4.
        d_steps, latent, seed: updates of D for each of G, numbers in a latent, and the seed of networks and points.

    Raises:
        ValueError: a method is not one of these or plain or r1 is missing, too few steps, a batch that packs badly.
    """
    if unknown := sorted({*methods} - {*METHODS}):
        raise ValueError(suggest("method", unknown[0], METHODS))
    if steps < FRAMES or batch % 4 or not {"plain", "r1"} <= {*methods}:
        raise ValueError(f"give {FRAMES} steps or more, a batch of a multiple of 4, and plain and r1 among the methods")
    real, centres, std = mixture(data)
    at = {round(i * steps / (FRAMES - 1)) for i in range(FRAMES)}
    seen: dict[str, list[State]] = {}
    for name in methods:
        torch.manual_seed(seed)
        loss, penalty, kind = METHODS[name]
        g, d, probe = mlp(latent, WIDTH, WIDTH, 2), batch_critic(kind, WIDTH), torch.randn(2500, latent)
        states = seen[name] = []

        def see(step: int, g: nn.Module = g, probe: Tensor = probe, states: list[State] = states) -> None:
            if step in at:
                points = g(probe).detach()
                states.append((step, points[:100], mixture_coverage(points, centres, std)))

        train = partial(train_gan, steps=steps, batch=batch, d_steps=d_steps, penalty=penalty, see=see)
        train(g, d, real, lambda n: torch.randn(n, latent), loss)
    last = {name: states[-1][2] for name, states in seen.items()}
    late = [coverage.reverse_kl for *_, coverage in seen["plain"][FRAMES // 2 :]]
    penalised = [name for name in methods if METHODS[name][1]]
    images = [drawn({n: s[: i + 1] for n, s in seen.items()}, centres, steps) for i in range(FRAMES)]
    return Evidence(
        [
            Check("mean reverse KL of plain in the second half, in nats", sum(late) / len(late), 0.3),
            *(Check(f"reverse KL of {name} at the end, in nats", last[name].reverse_kl, 0, 0.1) for name in penalised),
        ],
        drawn(seen, centres),
        "Top: the last samples (orange) and the modes (blue). Bottom: how even, how many, how good, over training.",
        {name: coverage._asdict() for name, coverage in last.items()},
        [ImageOps.contain(image, SIZE) for image in images],
    )


def drawn(seen: dict[str, list[State]], centres: Tensor, steps: int = 0) -> Image.Image:
    """The counts so far, up to `steps`, and the samples of each method."""
    counts = {"KL(q || uniform)": "reverse_kl", "Modes": "modes", "Share within 3 σ": "high_quality"}
    figure, axes = panels([*seen, *counts], max(3, len(seen)), width=1.9, height=1.7)
    for panel, (name, states) in zip(axes, seen.items()):
        panel.plot(*centres.T, "o", color=REAL, ms=6, alpha=0.5)
        panel.plot(*states[-1][1].T, ".", color=FAKE, ms=2)
        panel.set(aspect="equal", xlim=REACH[len(centres)], ylim=REACH[len(centres)])
        for curve, field in zip(axes[len(seen) :], counts.values()):
            curve.plot([step for step, *_ in states], [getattr(coverage, field) for *_, coverage in states], label=name)
    for curve in axes[len(seen) :]:
        curve.set(xlabel="step", xlim=(0, steps or None), ylim=(0, None))
    axes[len(seen) + 1].axhline(len(centres), ls=":", color=THEORY)
    axes[len(seen) + 2].legend(loc="upper left")
    return picture(figure)
