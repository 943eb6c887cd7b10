"""Adam moves every weight by its rate, so layers of large fan-in change fastest; equalised rates move all layers alike.

Adam divides each gradient by a running root mean square of itself. A step is about the learning rate lr for every
weight, the first step exactly. He's initialisation gives a layer of fan-in n weights of deviation sqrt(2 / n). So in
the first step a layer changes by the share

    plain       lr / sqrt(2 / n) = lr sqrt(n / 2)      fan-ins of 4 and 4096 differ by a factor of 32
    equalised   lr                                     the same for all layers

and no rate is right for all layers at once. PGGAN stores weights of deviation 1 and multiplies by sqrt(2 / n) at each
use: the function and its initial outputs are the same, but the steps of Adam are too.

Control: the same network with plain weights. Its layers under stochastic gradient descent, whose steps are proportional
to gradients, follow no such law: the cause is Adam's division.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image
from torch import nn

from gankit import losses
from gankit.lab.evidence import Check, Evidence, near
from gankit.lab.panels import FAKE, OTHER, REAL, THEORY, panels, picture
from gankit.lab.toy import leaky
from gankit.nn import EqualisedLinear
from gankit.nn.init import init_he
from gankit.recipe import adam

SOURCE = "Karras, Aila, Laine and Lehtinen, Progressive Growing of GANs, ICLR 2018, section 4.1"
SECONDS = 5
KINDS = {"plain, Adam": FAKE, "equalised, Adam": REAL, "plain, SGD": OTHER}


def experiment(
    *, sizes: tuple[int, ...] = (8, 256, 2048, 32, 512, 128), lr: float = 1e-3, steps: int = 100, seed: int = 0
) -> Evidence:
    """How far the layers of a discriminator move in relation to their weights.

    Args:
        sizes: widths of the layers, from the input to the last hidden one.
        lr: of Adam; SGD's is 10 times as large.
        steps: updates.
        seed: of the networks and of the data.

    Raises:
        ValueError: there are fewer than three layers, or the rate is out of range.
    """
    if len(sizes) < 4 or not 0 < lr < 0.1:
        raise ValueError(f"sizes are {sizes} and lr is {lr}: give four sizes or more, and 0 < lr < 0.1")
    moved = {kind: moves(kind, sizes, lr, steps, seed) for kind in KINDS}
    slopes = {kind: float(np.polyfit(np.log(sizes[:-1]), np.log(path[:, 0]), 1)[0]) for kind, path in moved.items()}
    ranges = {kind: float(path[:, 0].max() / path[:, 0].min()) for kind, path in moved.items()}
    expected = math.sqrt(max(sizes[:-1]) / min(sizes[:-1]))
    worst = max(abs(path / (lr * math.sqrt(n / 2)) - 1) for path, n in zip(moved["plain, Adam"][:, 0], sizes))
    last = moved["plain, Adam"][:, -1]
    checks = [
        Check("plain: largest relative error of lr sqrt(n / 2) in the first step", worst, 0, 0.1),
        near("plain: fastest layer / slowest layer", ranges["plain, Adam"], expected, 0.1 * expected),
        near("plain: exponent of the fan-in", slopes["plain, Adam"], 0.5, 0.03),
        near("equalised: fastest layer / slowest layer", ranges["equalised, Adam"], 1, 0.1),
        near("equalised: exponent of the fan-in", slopes["equalised, Adam"], 0, 0.03),
        Check("plain: fastest layer / slowest layer at the end", float(last.max() / last.min()), 3),
    ]
    return Evidence(
        checks,
        drawn(sizes, lr, moved),
        "Left: the change of each layer in the first step, as a share of its weights; theory is dotted. Middle "
        "and right: the change since the start, for each fan-in. With equalised rates the layers move together.",
        {"range": ranges, "exponent": slopes},
    )


def moves(kind: str, sizes: tuple[int, ...], lr: float, steps: int, seed: int) -> np.ndarray:
    """(layers, steps) |W - W0| / |W0| of a D that learns to tell a shifted Gaussian from N(0, I)."""
    torch.manual_seed(seed)
    make = EqualisedLinear if kind.startswith("equalised") else nn.Linear
    hidden = [make(a, b) for a, b in zip(sizes, sizes[1:])]
    trunk = nn.Sequential(*(module for layer in hidden for module in (layer, leaky())))
    init_he(trunk)
    d = nn.Sequential(trunk, nn.Linear(sizes[-1], 1))
    optimizer = torch.optim.SGD(d.parameters(), 10 * lr) if kind.endswith("SGD") else adam(d.parameters(), lr)
    start, path = [layer.weight.detach().clone() for layer in hidden], []
    for _ in range(steps):
        optimizer.zero_grad()
        losses.non_saturating.d(d(torch.randn(64, sizes[0]) + 0.3), d(torch.randn(64, sizes[0]))).backward()
        optimizer.step()
        path.append([((layer.weight - w).norm() / w.norm()).item() for layer, w in zip(hidden, start)])
    return np.array(path).T


def drawn(sizes: tuple[int, ...], lr: float, moved: dict[str, np.ndarray]) -> Image.Image:
    """The first step by fan-in, and the way of each layer."""
    figure, axes = panels(["First step, relative to the weights", "Plain, Adam: |W - W₀| / |W₀|", "Equalised, Adam"])
    fine = np.geomspace(min(sizes[:-1]), max(sizes[:-1]), 50)
    axes[0].loglog(fine, lr * np.sqrt(fine / 2), ":", color=THEORY)
    axes[0].loglog(fine, lr + 0 * fine, ":", color=THEORY)
    for kind, colour in KINDS.items():
        axes[0].loglog(sizes[:-1], moved[kind][:, 0], "o", color=colour, label=kind)
    axes[0].set(xlabel="fan-in")
    axes[0].legend()
    top = 1.1 * moved["plain, Adam"].max()
    for panel, kind in zip(axes[1:], KINDS):
        for i in np.argsort(sizes[:-1]):
            panel.plot(moved[kind][i], label=f"fan-in {sizes[i]}")
        panel.set(xlabel="step", ylim=(0, top))
    axes[1].legend()
    return picture(figure)
