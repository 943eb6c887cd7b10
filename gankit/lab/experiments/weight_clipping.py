"""Clipping drives a critic's weights to ±c, and its gradients vanish or explode with depth; a penalty does neither.

The critic of a WGAN must not be steeper than some constant. To that end each weight is kept in [-c, c]. The critic's
gain E_P C - E_Q C grows with its slope, so that training pushes the weights to what clipping allows: they gather at ±c,
and the critic becomes one of the few functions that such weights make. On the way back through a layer of n units a
gradient is multiplied by c √n if the signs of the weights are random, and by up to c n if they agree, and so once for
each layer. It vanishes for one c and explodes for another. The gradient penalty asks for the slope 1 itself, at points
between reals and fakes. Weights begin below 1/√n = 0.125: at c = 0.15 all that lie at an end have moved there.
As in the paper's figures only the critic trains: fakes are reals plus noise.

Control: the same critic with a gradient penalty. Few of its weights are at an end, and its gradients are alike in all
layers.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from gankit import losses, penalties
from gankit.data.builtin.points import swissroll
from gankit.lab.evidence import Check, Evidence
from gankit.lab.panels import REAL, heat, panels, picture
from gankit.lab.toy import Penalty, d_loss, logits, mlp
from gankit.recipe import adam

SOURCE = "Gulrajani et al., Improved Training of Wasserstein GANs, 2017, figures 1 and 2"
SECONDS = 12
DEPTH, WIDTH, EDGE = 6, 64, 2.2


def experiment(*, clips: tuple[float, ...] = (0.01, 0.04, 0.15), steps: int = 300, seed: int = 0) -> Evidence:
    """Weights, surfaces and gradients by layer of critics with clipped weights and of one with a gradient penalty.

    Args:
        clips: c, rising: too small, fitting and too large for the depth; the last above 0.125.
        steps: updates of each critic.
        seed: of the networks and the samples.

    Raises:
        ValueError: there are not three rising values of c, of which the last is above 0.125.
    """
    if len(clips) != 3 or not 0 < clips[0] < clips[1] < 0.125 < clips[2]:
        raise ValueError(f"clips are {', '.join(f'{c:g}' for c in clips)}; give three such as 0.01 0.04 0.15")
    points = torch.from_numpy(swissroll().read(np.arange(4096)))
    critics = {f"clipping, c = {c:g}": train(points, c, steps, seed) for c in clips}
    critics["gradient penalty"] = train(points, 0, steps, seed)
    weights = {name: torch.cat([p.detach().flatten() for p in c.parameters()]) for name, c in critics.items()}
    at_ends = {name: (w.abs() > 0.95 * w.abs().max()).float().mean().item() for name, w in weights.items()}
    gradients = {name: by_layer(critic, points, seed) for name, critic in critics.items()}
    growth = {name: norms[0] / norms[-1] for name, norms in gradients.items()}  # of the first layer over the last
    small, _, large, free = growth.values()
    return Evidence(
        [
            Check(f"share of weights within 5 % of ±c, c = {clips[2]:g}", list(at_ends.values())[2], low=0.25),
            Check("control: share of weights within 5 % of the largest", list(at_ends.values())[3], high=0.05),
            Check(f"gradient at the first layer over that at the last, c = {clips[0]:g}", small, high=0.2),
            Check(f"gradient at the first layer over that at the last, c = {clips[2]:g}", large, low=20),
            Check("control: the same with the penalty", free, 0.05, 20),
        ],
        drawn(critics, weights, gradients, points),
        "Above: the weights of each critic after training. Below: its surface over the spiral of the data. "
        "Right: the norm of the loss's gradient at the output of each layer.",
        {"share of weights at ±c": at_ends, "gradients by layer": gradients},
    )


def batch(points: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """(n, 2) reals, and as many fakes."""
    real, base = points[torch.randint(len(points), (2, n))]
    return real, base + 0.4 * torch.randn(n, 2)


def train(points: Tensor, clip: float, steps: int, seed: int) -> nn.Sequential:
    """A critic, with its weights clipped, or with a gradient penalty if `clip` is 0."""
    torch.manual_seed(seed)
    critic = mlp(2, *[WIDTH] * DEPTH, 1)
    penalty: Penalty = lambda *at: 0.1 * penalties.wgan_gp(*at)  # noqa: E731  # the authors' weight for points
    optimizer = adam(critic.parameters(), 2e-3, (0.5, 0.9))
    for _ in range(steps):
        optimizer.zero_grad()
        d_loss(critic, *batch(points, 128), losses.wasserstein, None if clip else penalty).backward()
        optimizer.step()
        if clip:
            penalties.clip_weights(critic, clip)
    return critic


def by_layer(critic: nn.Sequential, points: Tensor, seed: int) -> list[float]:
    """Norms of the gradient of the loss by the outputs of the layers, first to last."""
    torch.manual_seed(seed)
    real, fake = batch(points, 1024)
    x, outputs = torch.cat([real, fake]), []
    for part in critic:
        x = part(x)
        if isinstance(part, nn.ReLU):
            outputs.append(x)
    loss = losses.wasserstein.d(x[: len(real)].flatten(), x[len(real) :].flatten())
    return [gradient.norm().item() for gradient in torch.autograd.grad(loss, outputs)]


def drawn(
    critics: dict[str, nn.Sequential], weights: dict[str, Tensor], gradients: dict[str, list[float]], points: Tensor
) -> Image.Image:
    """Histograms, surfaces and gradients."""
    figure, axes = panels([*critics, "Gradient by layer", *[""] * 4], columns=5, width=2.0, height=1.9)
    x, y = torch.meshgrid(*[torch.linspace(-EDGE, EDGE, 61)] * 2, indexing="xy")
    for i, (name, critic) in enumerate(critics.items()):
        axes[i].hist(weights[name].numpy(), bins=40, color=REAL)
        axes[i].set(xlabel="weight", yticks=[])
        with torch.no_grad():
            surface = logits(critic)(torch.stack([x.flatten(), y.flatten()], 1)).view_as(x)
        heat(axes[5 + i], surface.numpy(), (-EDGE, EDGE, -EDGE, EDGE))
        axes[5 + i].plot(*points[:300].T, ".", color="white", ms=1.5)
        axes[4].semilogy(range(1, DEPTH + 1), gradients[name], "o-", ms=3, label=name)
    axes[4].set(xlabel="layer")
    axes[4].legend(fontsize=5, loc="upper right")
    return picture(figure)
