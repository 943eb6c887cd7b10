"""While D learns to reject a fixed G, the gradient of G vanishes under the minimax loss; those of other losses stay.

G descends a function g of the logits C of its fakes, through the same slopes of C. By the chain rule its gradient is

    ∇L_G = E g'(C(G(z))) ∇C(G(z))

    minimax           g = log(1 - D)     |g'| = D        vanishes where D rejects the fakes, D(G(z)) → 0
    non-saturating    g = -log D         |g'| = 1 - D    is largest there
    critic            g = -C             |g'| = 1        and the penalty keeps |∇C| at 1

At D = 1/2 the first two are equal. Later their ratio is (1 - D)/D, large when G is bad and D is sure: how training
begins. Under minimax a well trained D stops G; under a non-saturating loss G's gradient grows with D; a critic can be
trained until it is optimal.

Control: step 0, before D has learned anything. There the ratio must be 1, up to how far D is from 1/2.
"""

from __future__ import annotations

import math

import torch
from PIL import Image
from torch import Tensor, nn

from gankit import losses
from gankit.lab.evidence import Check, Evidence, near
from gankit.lab.panels import CRITIC, FAKE, OTHER, REAL, THEORY, panels, picture
from gankit.lab.toy import d_loss, leaky, logits, mlp, slope
from gankit.losses import Adversarial
from gankit.recipe import adam

SOURCE = "Goodfellow et al., 2014, section 3; Arjovsky and Bottou, Towards Principled Methods for Training GANs, 2017"
SECONDS = 8
COLOURS = {"minimax": FAKE, "non-saturating": REAL, "critic": CRITIC}


def experiment(*, steps: int = 200, batch: int = 256, seed: int = 0) -> Evidence:
    """The norm of G's gradient under three losses, against the updates of D on a fixed G.

    Args:
        steps: updates of D, 100 or more.
        batch: samples in each.
        seed: of the networks and the samples.

    Raises:
        ValueError: so few steps that D does not yet reject the fakes.
    """
    if steps < 100:
        raise ValueError(f"steps is {steps}; D needs 100 or more to reject the fakes")
    torch.manual_seed(seed)
    g = mlp(2, 64, 64, 2)
    z, g_losses = torch.randn(1024, 2), {"minimax": losses.minimax, "non-saturating": losses.non_saturating}
    d, critic = mlp(2, 64, 64, 1, activation=leaky), mlp(2, 64, 64, 1, activation=leaky)
    norms: dict[str, list[float]] = {name: [] for name in COLOURS}
    seen = []  # mean D(G(z))
    opt_d, opt_c = adam(d.parameters(), 2e-3), adam(critic.parameters(), 2e-3, (0.5, 0.9))
    for _ in range(steps + 1):
        with torch.no_grad():
            fake = g(torch.randn(batch, 2))
            seen.append(logits(d)(g(z)).double().sigmoid().mean().item())
        for name, loss in g_losses.items():
            norms[name].append(gradient(g, d, loss, z))
        norms["critic"].append(gradient(g, critic, losses.wasserstein, z))
        opt_d.zero_grad()
        d_loss(d, reals(batch), fake, losses.minimax).backward()
        opt_d.step()
        opt_c.zero_grad()
        d_loss(critic, reals(batch), fake, losses.wasserstein, slope).backward()
        opt_c.step()
    ratio = [b / a for a, b in zip(norms["minimax"], norms["non-saturating"])]
    beside = [r * d / (1 - d) for r, d in zip(ratio, seen)]
    grown = {name: norm[-1] / norm[0] for name, norm in norms.items()}
    return Evidence(
        [
            near("control: ratio of the gradients at step 0 over (1 - D)/D", beside[0], 1, 0.05),
            Check("mean D(G(z)) at the end", seen[-1], high=0.01),
            Check("ratio of the gradients at the end, non-saturating to minimax", ratio[-1], low=50),
            near("the same over (1 - D)/D, as log10", math.log10(beside[-1]), 0, 0.5),
            Check("gradient at the end over that at step 0, minimax", grown["minimax"], high=0.5),
            Check("gradient at the end over that at step 0, non-saturating", grown["non-saturating"], low=2),
            Check("gradient at the end over that at step 0, critic", grown["critic"], low=1),
        ],
        drawn(seen, norms, ratio),
        "Left: D learns to reject the fakes of a G that does not change. Middle: the gradient that G would receive at "
        "this moment. Right: the ratio of the first two; dotted, theory's (1 - D)/D for the mean D(G(z)).",
        {"D(G(z))": seen, "gradients": norms},
    )


def reals(n: int) -> Tensor:
    """(n, 2) points around (3, 3), where G puts nothing."""
    return 3 + 0.5 * torch.randn(n, 2)


def gradient(g: nn.Module, d: nn.Module, loss: Adversarial, z: Tensor) -> float:
    """The norm of the gradient of G's loss over all of its weights."""
    found = torch.autograd.grad(loss.g(logits(d)(g(z))), list(g.parameters()))
    return torch.cat([x.flatten() for x in found]).norm().item()


def drawn(seen: list[float], norms: dict[str, list[float]], ratio: list[float]) -> Image.Image:
    """D's answer, the gradients, and their ratio, over the updates of D."""
    figure, axes = panels(["D(G(z)), mean over z", "|∇L_G| of each loss", "Non-saturating over minimax"])
    axes[0].semilogy(seen, color=OTHER)
    for name, norm in norms.items():
        axes[1].semilogy(norm, color=COLOURS[name], label=name)
    axes[1].legend()
    axes[2].semilogy(ratio, color=REAL, label="measured")
    axes[2].semilogy([(1 - s) / s for s in seen], ":", color=THEORY, label="(1 - D)/D")
    axes[2].legend()
    for panel in axes:
        panel.set(xlabel="updates of D")
    return picture(figure)
