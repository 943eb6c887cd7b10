"""Pixel norm keeps the magnitudes of G's features at 1, which otherwise grow or shrink with the gain of every layer.

A layer whose gain is a little more than 1 multiplies magnitudes by gain^L along L layers. PGGAN's authors saw them
escalate in G and D as the two compete, and divide each feature vector of G, after each layer, by its root mean square:

    b = a / sqrt(mean(a²) + ε)        mean(b²) = 1, whatever a is

Here G also races a critic without a penalty, whose reward has no bound: the worst case. In this small race G's features
do not escalate without pixel norm either, so that only the part of the chain is shown.

Control: the same chain of layers, and the same race, without pixel norm.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from gankit import losses
from gankit.lab.evidence import Check, Evidence, near
from gankit.lab.panels import FAKE, REAL, THEORY, panels, picture
from gankit.lab.toy import leaky, mlp, train_gan
from gankit.nn import EqualisedLinear, PixelNorm

SOURCE = "Karras, Aila, Laine and Lehtinen, Progressive Growing of GANs, ICLR 2018, section 4.2"
SECONDS = 10
KINDS = {"without": FAKE, "with pixel norm": REAL}


def experiment(
    *, gains: tuple[float, ...] = (0.5, 1.0, 2.0), layers: int = 10, width: int = 64, steps: int = 300, seed: int = 0
) -> Evidence:
    """Magnitudes along a chain of layers of several gains, and in G during a race against a critic without a penalty.

    Args:
        gains: of the chain's layers, relative to the one that keeps magnitudes. Raises ValueError for 0 or less.
        layers: of the chain.
        width: features of each layer.
        steps: of the race.
        seed: of the networks.
    """
    if min(gains) <= 0:
        raise ValueError(f"gains are {gains}; they are more than 0")
    torch.manual_seed(seed)
    chains = {(gain, kind): chain(gain, kind, layers, width) for gain in gains for kind in KINDS}
    checks = []
    for gain in gains:
        growth = chains[gain, "without"][-1] ** (1 / layers) / gain
        checks.append(near(f"gain {gain:g}, without: growth a layer, divided by the gain", growth, 1, 0.1))
        checks.append(
            near(f"gain {gain:g}, with: RMS after the last layer", chains[gain, "with pixel norm"][-1], 1, 1e-4)
        )
    race = {kind: play(kind, width, steps, seed) for kind in KINDS}
    free, held = race["without"], race["with pixel norm"]
    checks += [
        near("race, with: RMS of G's features at the end", held[-1, 0], 1, 1e-3),
        Check("race, without: largest RMS of G's features / first", free[:, 0].max() / free[0, 0], 1.5),
    ]
    return Evidence(
        checks,
        drawn(chains, race),
        "Left: magnitudes along a chain of layers, without (dashed) and with pixel norm (line); theory, gain^layer, is "
        "dotted. Middle and right: a race of G against a critic without a penalty.",
        {"D's outputs at the end": {kind: float(path[-1, 1]) for kind, path in race.items()}},
    )


def chain(gain: float, kind: str, layers: int, width: int) -> list[float]:
    """RMS of the features before the first and after each of the layers."""
    norm = PixelNorm() if kind == "with pixel norm" else nn.Identity()
    x, sizes = norm(torch.randn(256, width)), list[float]()
    for _ in range(layers + 1):
        sizes.append(rms(x))
        x = norm(EqualisedLinear(width, width, gain=gain)(x).detach())
    return sizes


def rms(x: Tensor) -> float:
    return x.detach().square().mean().sqrt().item()


def play(kind: str, width: int, steps: int, seed: int) -> np.ndarray:
    """(steps + 1, 2) RMS of G's last features and of D's outputs during a race for the points of a circle."""
    torch.manual_seed(seed)
    norm = PixelNorm if kind == "with pixel norm" else nn.Identity
    trunk = nn.Sequential(*(f() for _ in range(3) for f in (lambda: EqualisedLinear(width, width), leaky, norm)))
    g, d = nn.Sequential(trunk, EqualisedLinear(width, 2, gain=1)), mlp(2, width, width, 1, activation=leaky)
    z, path = torch.randn(256, width), []
    train_gan(
        g,
        d,
        lambda n: nn.functional.normalize(torch.randn(n, 2)),
        lambda n: torch.randn(n, width),
        losses.wasserstein,
        steps=steps,
        batch=64,
        lr_g=3e-3,
        lr_d=3e-3,
        see=lambda step: path.append((rms(trunk(z)), rms(d(g(z))))),
    )
    return np.array(path)


def drawn(chains: dict[tuple[float, str], list[float]], race: dict[str, np.ndarray]) -> Image.Image:
    """Magnitudes by layer, and over the race."""
    figure, axes = panels(["RMS by layer of a chain", "Race: RMS of G's features", "Race: RMS of D's outputs"])
    for (gain, kind), sizes in chains.items():
        axes[0].semilogy(sizes, "--" if kind == "without" else "-", color=KINDS[kind], lw=1.2)
        if kind == "without":
            axes[0].semilogy(gain ** np.arange(len(sizes)), ":", color=THEORY)
            axes[0].text(len(sizes) - 1, sizes[-1], f" gain {gain:g}", va="center", fontsize=8)
    axes[0].set(xlabel="layer", xlim=(0, len(sizes) + 2))
    for panel, column in zip(axes[1:], (0, 1)):
        for kind, path in race.items():
            panel.semilogy(path[:, column], color=KINDS[kind], label=kind)
        panel.set(xlabel="step")
        panel.legend()
    return picture(figure)
