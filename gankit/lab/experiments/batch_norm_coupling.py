"""Through batch norm each output of a network depends on the whole batch; through instance and layer norm it does not.

Batch norm subtracts the batch's mean and divides by its deviation, so that the output for one sample has a derivative
with respect to every other:

    ∂yᵢ / ∂xⱼ = (1[i = j] - 1/N - yᵢ yⱼ / N) / σ        for one channel, N values of mean μ and deviation σ

D is no longer a function of one image, so that WGAN-GP, which penalises the gradient at each image, takes layer norm.
It also matters which samples share a batch. With reals and fakes in two batches, each is set to mean 0 and variance 1,
and D cannot see where a distribution lies or how wide it is: two Gaussians are the same to it. In one batch it can.
For this reason DCGAN has no batch norm in D's input layer.

Control: the same D with layer norm, on the same two batches.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from gankit import losses
from gankit.lab.evidence import Check, Evidence, near
from gankit.lab.panels import CRITIC, FAKE, OTHER, THEORY, panels, picture
from gankit.lab.toy import leaky
from gankit.nn import BatchNorm1d, instance_norm
from gankit.recipe import adam

SOURCE = "Ioffe and Szegedy, Batch Normalization, 2015; Gulrajani et al., WGAN-GP, 2017, section 4; Radford et al. 2016"
SECONDS = 6
RUNS = {"batch norm, two batches": FAKE, "batch norm, one batch": CRITIC, "layer norm, two batches": OTHER}


def experiment(*, samples: int = 8, steps: int = 400, batch: int = 256, seed: int = 0) -> Evidence:
    """Derivatives between samples through three norms, and D on two Gaussians with reals and fakes together or apart.

    Args:
        samples: of the batch in which derivatives are taken. Raises ValueError for less than 3.
        steps: updates of D.
        batch: reals, and fakes, in each.
        seed: of the samples and of D.
    """
    if samples < 3:
        raise ValueError(f"samples is {samples}: batch norm of 1 or 2 values has no derivative, so take 3 or more")
    torch.manual_seed(seed)
    x = torch.randn(samples, 4, 6, dtype=torch.float64)
    batch_norm = BatchNorm1d(4, eps=1e-12, affine=False).double()
    norms = {
        "batch norm": batch_norm,
        "instance norm": instance_norm(4),
        "layer norm": nn.GroupNorm(1, 4, affine=False),
    }
    coupling = {name: derivatives(norm, x) for name, norm in norms.items()}
    off = ~torch.eye(samples, dtype=torch.bool)
    checks = [
        Check("batch norm: least derivative between two samples", coupling["batch norm"][off].min().item(), 1e-6),
        *(near(f"{name}: largest", coupling[name][off].max().item(), 0, 0) for name in ("instance norm", "layer norm")),
    ]
    one = torch.randn(samples, 1, dtype=torch.float64)
    norm = BatchNorm1d(1, eps=1e-12, affine=False).double()
    y, measured = norm(one)[:, 0], torch.autograd.functional.jacobian(norm, one)[:, 0, :, 0]
    theory = (torch.eye(samples) - 1 / samples - torch.outer(y, y) / samples) / one.std(correction=0)
    checks.append(Check("batch norm: error of the formula", (measured - theory).abs().max().item(), 0, 1e-9))
    curves, accuracy = {}, {}
    for name in RUNS:
        curves[name], accuracy[name] = fit(name, steps, batch)
        is_blind = name == "batch norm, two batches"
        checks.append(Check(f"{name}: accuracy of D", accuracy[name], *((0.4, 0.6) if is_blind else (0.85, 1))))
    last = float(np.mean(curves["batch norm, two batches"][-50:]))
    checks.append(near("batch norm, two batches: loss of D", last, 2 * math.log(2), 0.1))
    return Evidence(
        checks,
        drawn(coupling, curves),
        "Left three: the size of the derivative of one sample's output by another sample; white is exactly 0. "
        "Right: D's loss on two Gaussians that differ in mean and width; 2 log 2 (dotted) is chance.",
        {"accuracy": accuracy},
    )


def derivatives(norm: nn.Module, x: Tensor) -> Tensor:
    """(N, N) norms of the derivatives of each sample's output with respect to each sample."""
    whole = torch.autograd.functional.jacobian(norm, x)  # (N, 4, 6, N, 4, 6)
    return whole.square().sum((1, 2, 4, 5)).sqrt()


def fit(name: str, steps: int, batch: int) -> tuple[list[float], float]:
    """D's loss on N((2, 0), I) against N(0, I/4), and its accuracy at the end, each in its kind of batches."""
    norm = nn.LayerNorm if name.startswith("layer") else BatchNorm1d
    d = nn.Sequential(nn.Linear(2, 64), norm(64), leaky(), nn.Linear(64, 64), norm(64), leaky(), nn.Linear(64, 1))
    optimizer, curve = adam(d.parameters(), 1e-3), []
    for _ in range(steps):
        real, fake = torch.randn(batch, 2) + torch.tensor([2.0, 0.0]), torch.randn(batch, 2) / 2
        answers = d(torch.cat([real, fake])).chunk(2) if name.endswith("one batch") else (d(real), d(fake))
        loss = losses.non_saturating.d(*answers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(loss.item())
    return curve, ((answers[0] > 0).double().mean() + (answers[1] < 0).double().mean()).item() / 2


def drawn(coupling: dict[str, Tensor], curves: dict[str, list[float]]) -> Image.Image:
    """The derivatives, and the losses."""
    figure, axes = panels([*coupling, "Loss of D"], width=2.6, height=2.5)
    for panel, matrix in zip(axes, coupling.values()):
        panel.imshow(np.ma.masked_equal(matrix.numpy(), 0), norm="log", vmin=0.1, vmax=10)
        panel.set(xlabel="input of sample", ylabel="output of sample")
        panel.grid(False)
    for name, curve in curves.items():
        axes[3].plot(curve, color=RUNS[name], label=name, lw=1.2)
    axes[3].axhline(2 * math.log(2), ls=":", color=THEORY)
    axes[3].set(xlabel="step", ylim=(0, 1.8))
    axes[3].legend(fontsize=7)
    return picture(figure)
