"""The Dirac-GAN: data at 0, a generator that is a point θ, and a discriminator that is a line, C(x) = ψ x.

Mescheder, Geiger and Nowozin, "Which Training Methods for GANs do actually Converge?", ICML 2018. Float64 throughout.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gankit import penalties
from gankit.losses import Adversarial

# As many points as stand for a normal distribution, with a variance of 1.
NORMAL = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(201) + 0.5) / 201).double()[:, None]
NORMAL /= NORMAL.square().mean().sqrt()


class Game(NamedTuple):
    """A loss, and the weights of what is added to it.

    Args:
        loss: of both players.
        r1: γ of the penalty γ/2 |∇C|².
        slope: weight of the penalty (|∇C| - 1)².
        noise: standard deviation of the noise on the inputs of D.
        consensus: weight of |v|²/2, which both players descend.
        clip: the largest |ψ|; 0 for no limit.
    """

    loss: Adversarial
    r1: float = 0
    slope: float = 0
    noise: float = 0
    consensus: float = 0
    clip: float = 0


def velocity(game: Game, at: Tensor) -> Tensor:
    """v = -(∂L_G/∂θ, ∂L_D/∂ψ) at (θ, ψ), which requires a gradient; differentiable."""
    theta, psi = at
    real = game.noise * NORMAL if game.noise else at.new_zeros(1, 1)
    fake = theta + real

    def critic(x: Tensor) -> Tensor:
        return (psi * x).flatten()

    d_loss, g_loss = game.loss.d(critic(real), critic(fake)), game.loss.g(critic(fake), critic(real))
    if game.r1:
        d_loss = d_loss + game.r1 / 2 * penalties.r1(critic, real)
    if game.slope:
        d_loss = d_loss + game.slope * penalties.wgan_gp(critic, real, fake, lambda sampler: sampler(len(real)))
    slopes = [torch.autograd.grad(loss, at, create_graph=True)[0][i] for i, loss in enumerate((g_loss, d_loss))]
    v = -torch.stack(slopes)
    return v - game.consensus * torch.autograd.grad(v @ v / 2, at, create_graph=True)[0] if game.consensus else v


def field(game: Game, theta: float, psi: float) -> np.ndarray:
    """v at a place, as numbers."""
    return velocity(game, torch.tensor([theta, psi], dtype=torch.float64, requires_grad=True)).detach().numpy()


def jacobian(game: Game) -> np.ndarray:
    """(2, 2) derivatives of v at the equilibrium."""
    at = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    return torch.stack([torch.autograd.grad(row, at, retain_graph=True)[0] for row in velocity(game, at)]).numpy()


def eigenvalues(game: Game) -> np.ndarray:
    """The two eigenvalues of the Jacobian."""
    return np.linalg.eigvals(jacobian(game))


def walk(
    game: Game,
    h: float,
    steps: int,
    start: tuple[float, float] = (-1.0, 1.0),
    rates: tuple[float, float] = (1.0, 1.0),
    alternating: bool = False,
) -> np.ndarray:
    """(steps + 1, 2) places (θ, ψ) from `start` on.

    Args:
        game, h, steps: what is played, the length of a step, and their number.
        start: the first place.
        rates: of G and of D, times h.
        alternating: G sees the step of D; both move at once otherwise.
    """
    at, path = np.array(start), [np.array(start)]
    for _ in range(steps):
        if alternating:
            at = at + h * rates[1] * field(game, *at) * (0, 1)
            at = at + h * rates[0] * field(game, *at) * (1, 0)
        else:
            at = at + h * np.array(rates) * field(game, *at)
        if game.clip:
            psi = nn.Parameter(torch.tensor(at[1]))
            penalties.clip_weights(nn.ParameterList([psi]), game.clip)
            at = np.array([at[0], psi.item()])
        path.append(at)
    return np.array(path)
