"""What experiments on points share: small networks, and the updates of a discriminator and of a GAN.

The losses and penalties are those of training: `gankit.losses`, `gankit.penalties`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gankit import penalties
from gankit.losses import Adversarial
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
        optimizer.zero_grad()
        d_loss(d, real(batch), fake(batch), loss, penalty).backward()
        optimizer.step()
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
        penalty: added to the loss of D.
        after_d: called with D after each of its updates, such as a clipping of its weights.
        see: called with the number of updates of G so far, before the first and after each.
    """
    opt_g, opt_d = adam(g.parameters(), lr_g, betas), adam(d.parameters(), lr_d, betas)
    for step in range(steps):
        if see:
            see(step)
        for _ in range(d_steps):
            with torch.no_grad():
                fake = g(noise(batch))
            opt_d.zero_grad()
            d_loss(d, real(batch), fake, loss, penalty).backward()
            opt_d.step()
            if after_d:
                after_d(d)
        opt_g.zero_grad()
        critic = logits(d)
        loss.g(critic(g(noise(batch))), critic(real(batch)) if loss.paired else None).backward()
        opt_g.step()
    if see:
        see(steps)
