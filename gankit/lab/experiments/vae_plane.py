"""A VAE with two latent dimensions lays digits out on a plane; the weight β of KL trades reconstruction for order.

The bound on the log-likelihood has two terms: one asks for codes that say much, the other for codes like noise.

    -log p(x) ≤ E[-log p(x|z)] + β KL(q(z|x) || N(0, I))        β = 1 in the paper

The first alone spreads codes far apart, since noise would blur the reconstruction. The second pulls them to the prior,
so that what is drawn from it decodes to something seen. With larger β fewer nats go through the code, and pictures
blur; in the end the codes say nothing (posterior collapse).

Control: β near 0, an ordinary auto-encoder. Reconstruction is best, but codes lie outside of the prior, and -ELBO, the
sum with β = 1, is worse than where it is the loss.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from gankit.lab.evidence import Check, Evidence
from gankit.lab.material import images
from gankit.lab.panels import CRITIC, FAKE, REAL, panels, picture, show_sheet
from gankit.losses import gaussian_kl
from gankit.models.vae import VAE
from gankit.recipe import Spec, adam

SOURCE = "Kingma and Welling, Auto-Encoding Variational Bayes, ICLR 2014, figure 4; Higgins et al., beta-VAE, ICLR 2017"
SECONDS = 25


def experiment(
    *, betas: tuple[float, ...] = (0.01, 0.3, 1.0, 4.0, 30.0), steps: int = 1500, hidden: int = 128, seed: int = 0
) -> Evidence:
    """Both terms of the bound against β, and the plane of the VAE with β = 1.

    Args:
        betas: weights of KL, ascending, with 1 among them. Raises ValueError otherwise.
        steps: updates of each VAE, with 64 digits.
        hidden: units of the hidden layer of each network.
        seed: of weights and batches.
    """
    if 1.0 not in betas or list(betas) != sorted(betas) or betas[0] < 0:
        raise ValueError(f"betas are {betas}: give ascending numbers of 0 or more, with 1 among them")
    digits, label = images("digits", 8)
    vaes = [learn(digits, beta, steps, hidden, seed) for beta in betas]
    nll, kl = torch.tensor([bound(vae, digits) for vae in vaes]).T
    codes = vaes[betas.index(1.0)].encode(digits)
    total = (nll + kl).tolist()
    checks = [
        Check("KL falls with β: largest increase, nats", kl.diff().max().item(), high=0.3),
        Check("reconstruction term rises with β: largest decrease, nats", -nll.diff().min().item(), high=0.3),
        Check("-ELBO with β = 1, above the best of all β, nats", total[betas.index(1.0)] - min(total), 0, 0.3),
        Check(f"KL with β = {betas[-1]:g}, nats", kl[-1].item(), 0, 0.5),
        Check(f"RMS of codes with β = {betas[0]:g}", vaes[0].encode(digits).square().mean().sqrt().item(), 1.5),
        Check("RMS of codes with β = 1", codes.square().mean().sqrt().item(), 0.6, 1.2),
        Check("share of codes whose neighbour is of their class (chance: 0.1)", agreement(codes, label), 0.35, 1),
    ]
    return Evidence(
        checks,
        drawn(vaes[betas.index(1.0)].sample(quantiles(14)), codes, label, betas, nll, kl),
        "Left: decoded latents at equal steps of the prior's probability. Middle: codes of digits in the colours of "
        "their classes; half of the prior lies within the circle. Right: both terms of the bound, and their sum.",
        {"beta": list(betas), "nll": nll.tolist(), "kl": kl.tolist()},
    )


def learn(digits: Tensor, beta: float, steps: int, hidden: int, seed: int) -> VAE:
    """A VAE with two latent dimensions, trained with a weight of KL."""
    torch.manual_seed(seed)
    vae = VAE(Spec((1, 8, 8)), z_dim=2, hidden=hidden)
    optimizer = adam(vae.parameters(), 3e-3)
    for _ in range(steps):
        nll, kl = bound(vae, digits[torch.randint(len(digits), (64,))])
        optimizer.zero_grad()
        (nll + beta * kl).backward()
        optimizer.step()
    return vae.requires_grad_(False)


def bound(vae: VAE, x: Tensor) -> tuple[Tensor, Tensor]:
    """Both terms of the bound in nats an image."""
    mu, logvar = vae.e(x)
    z = mu + (logvar / 2).exp() * torch.randn_like(mu)
    return vae.nll(vae.g(z), (x.flatten(1) + 1) / 2), gaussian_kl(mu, logvar)


def agreement(codes: Tensor, label: Tensor) -> float:
    nearest = torch.cdist(codes, codes).fill_diagonal_(torch.inf).argmin(1)
    return (label[nearest] == label).double().mean().item()


def quantiles(side: int) -> Tensor:
    """(side², 2) latents at equal steps of probability in both dimensions, from the top left."""
    at = torch.special.ndtri((torch.arange(side) + 0.5) / side)
    y, x = torch.meshgrid(at.flip(0), at, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], 1)


def drawn(plane: Tensor, codes: Tensor, label: Tensor, betas: Sequence[float], nll: Tensor, kl: Tensor) -> Image.Image:
    """The plane, the codes, and the terms of the bound."""
    figure, axes = panels(
        ["Decoded plane, β = 1", "Codes by class, β = 1", "Terms of the bound, nats"], width=3.4, height=3
    )
    show_sheet(axes[0], plane, 14)
    axes[1].scatter(codes[:, 0], codes[:, 1], c=label, cmap="tab10", s=4)
    turn = torch.linspace(0, 2 * torch.pi, 200)
    axes[1].plot(1.1774 * turn.cos(), 1.1774 * turn.sin(), ":", color="black")
    axes[1].set(xlabel="z₁", ylabel="z₂", aspect="equal")
    for values, name, colour in ((nll, "-log p(x|z)", FAKE), (kl, "KL", REAL), (nll + kl, "-ELBO", CRITIC)):
        axes[2].semilogx(betas, values, "o-", color=colour, label=name)
    axes[2].set(xlabel="β")
    axes[2].legend()
    return picture(figure)
