"""What experiments share: small networks, the updates of a discriminator and of a GAN, and mixtures of Gaussians.

The losses and penalties are those of training: `gankit.losses`, `gankit.penalties`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from gankit import penalties
from gankit.data.builtin.points import MODES
from gankit.losses import Adversarial
from gankit.nn import MinibatchDiscrimination, MinibatchStddev, spectral_norm
from gankit.nn.across import Draw
from gankit.recipe import adam

Sampler = Callable[[int], Tensor]
Critic = Callable[[Tensor], Tensor]
Penalty = Callable[[Critic, Tensor, Tensor, Draw], Tensor]
"""(critic, reals, fakes, draw) to a penalty times its weight."""


def mlp(*sizes: int, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """A network of fully connected layers from `sizes[0]` to `sizes[-1]` numbers, with activations between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip(sizes, sizes[1:]):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])


def leaky() -> nn.Module:
    """LeakyReLU with slope 0.2, as in discriminators."""
    return nn.LeakyReLU(0.2)


def batch_critic(kind: str, width: int, depth: int = 2) -> nn.Module:
    """A discriminator of points in the plane that sees its batch.

    Args:
        kind: "stddev" for the minibatch standard deviation in groups of 4, "discrimination" for minibatch
            discrimination, "packing" for 4 points as one input, "spectral" for spectral norm, "" for none.
        width: of its hidden layers.
        depth: their number.
    """
    inputs = 8 if kind == "packing" else 2
    *trunk, last = mlp(inputs, *[width] * depth, 1, activation=leaky)
    if kind == "packing":
        trunk = [nn.Unflatten(0, (-1, 4)), nn.Flatten(), *trunk]
    elif kind == "stddev":
        trunk += [nn.Unflatten(1, (width, 1, 1)), MinibatchStddev(), nn.Flatten()]
        last = nn.Linear(width + 1, 1)
    elif kind == "discrimination":
        trunk.append(MinibatchDiscrimination(width, kernels=16))
        last = nn.Linear(width + 16, 1)
    d = nn.Sequential(*trunk, last)
    return spectral_norm(d) if kind == "spectral" else d


def logits(d: nn.Module) -> Critic:
    """D as losses and penalties take it: (N, ...) samples to (N,) logits."""
    return lambda x: d(x).flatten()


def d_loss(d: nn.Module, real: Tensor, fake: Tensor, loss: Adversarial, penalty: Penalty | None = None) -> Tensor:
    """The loss of D on (N, ...) reals and fakes, with its penalty."""
    critic = logits(d)
    total = loss.d(critic(real), critic(fake))
    if penalty:
        total = total + penalty(critic, real, fake, lambda sampler: sampler(len(real)))
    return total


def update_d(
    optimizer: torch.optim.Optimizer,
    d: nn.Module,
    real: Tensor,
    fake: Tensor,
    loss: Adversarial,
    penalty: Penalty | None,
) -> None:
    """One step of D."""
    optimizer.zero_grad()
    d_loss(d, real, fake, loss, penalty).backward()
    optimizer.step()


def slope(critic: Critic, real: Tensor, fake: Tensor, draw: Draw) -> Tensor:
    """The penalty of WGAN-GP with its weight of 10, as `penalty` of the functions here."""
    return 10 * penalties.wgan_gp(critic, real, fake, draw)


def train_d(
    d: nn.Module,
    real: Sampler,
    fake: Sampler,
    loss: Adversarial,
    *,
    steps: int,
    batch: int = 256,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    penalty: Penalty | None = None,
) -> None:
    """Train D alone to tell two fixed distributions apart, by Adam with a rate that falls to zero as a cosine."""
    optimizer = adam(d.parameters(), lr, betas)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        update_d(optimizer, d, real(batch), fake(batch), loss, penalty)
        schedule.step()


def train_gan(
    g: nn.Module,
    d: nn.Module,
    real: Sampler,
    noise: Sampler,
    loss: Adversarial,
    *,
    steps: int,
    batch: int = 128,
    lr_g: float = 1e-3,
    lr_d: float = 1e-3,
    betas: tuple[float, float] = (0.5, 0.99),
    d_steps: int = 1,
    settle: bool = False,
    penalty: Penalty | None = None,
    after_d: Callable[[nn.Module], None] | None = None,
    see: Callable[[int], None] | None = None,
) -> None:
    """Train G against D on points: in each step `d_steps` updates of D, then one of G.

    Args:
        g, d: the networks.
        real, noise: n to n samples of the data, and of the prior.
        loss: of both.
        steps, batch: updates of G, and samples in each.
        lr_g, lr_d, betas: of Adam.
        d_steps: updates of D for each of G.
        settle: let both rates fall to 2 % as a cosine, over the second half of the steps.
        penalty: added to the loss of D.
        after_d: called with D after each of its updates, such as a clipping of its weights.
        see: called with the number of updates of G so far, before the first and after each.
    """
    opt_g, opt_d = adam(g.parameters(), lr_g, betas), adam(d.parameters(), lr_d, betas)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(o, lambda step: rate(step / steps)) for o in (opt_g, opt_d) if settle
    ]
    for step in range(steps):
        if see:
            see(step)
        for _ in range(d_steps):
            with torch.no_grad():
                fake = g(noise(batch))
            update_d(opt_d, d, real(batch), fake, loss, penalty)
            if after_d:
                after_d(d)
        opt_g.zero_grad()
        critic = logits(d)
        loss.g(critic(g(noise(batch))), critic(real(batch)) if loss.paired else None).backward()
        opt_g.step()
        for schedule in schedules:
            schedule.step()
    if see:
        see(steps)


def rate(done: float) -> float:
    """The factor of a rate that is constant for half of the training and then falls to 2 % as a cosine."""
    return 0.51 + 0.49 * math.cos(2 * math.pi * max(done - 0.5, 0))


def mixture(name: str) -> tuple[Sampler, Tensor, float]:
    """The built-in mixture of Gaussians "ring" or "grid": n to (n, 2) points of it, its (K, 2) centres and its std."""
    places, std = MODES[name]
    centres = torch.tensor(places, dtype=torch.float32)
    return lambda n: centres[torch.randint(len(centres), (n,))] + std * torch.randn(n, 2), centres, std
