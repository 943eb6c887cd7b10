"""Where an input has two answers, squared error gives their mean, L1 the more frequent one, and a GAN one of the two.

The best prediction depends on how errors are counted. For answers y with probabilities p(y) given the input,

    squared error   minimal at the mean of y       a picture that is none of the answers: blur
    L1              minimal at the median of y     for two answers the more frequent one, always
    GAN             p(G(z)) = p(y)                 each answer in its share; D tells a blur from both

Here the answers are a bar on the left, with probability p, and one on the right. pix2pix adds an adversarial loss for
what L1 leaves out. Whether a GAN draws both is a matter of mode collapse: this small one may draw one alone.

Control: one answer only (p = 1). All three then draw it, sharply: ambiguity is the cause of blur, not squared error.
"""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor, nn

from gankit import losses, penalties
from gankit.lab.evidence import Check, Evidence
from gankit.lab.panels import panels, picture, show_sheet
from gankit.lab.toy import Sampler, leaky, mlp, train_gan
from gankit.recipe import adam

SOURCE = "Isola et al., pix2pix, CVPR 2017, section 3.1; Mathieu, Couprie and LeCun, Beyond mean square error, 2016"
SECONDS = 15
SIDE, Z = 8, 8
KINDS = ("squared error", "L1", "GAN")


def experiment(*, p: float = 0.7, steps: int = 800, seed: int = 0) -> Evidence:
    """What three losses draw for an input with two answers, and for one with a single answer.

    Args:
        p: probability of the first answer. Raises ValueError outside of 0.55 to 0.9, as the median needs a majority.
        steps: updates of each generator.
        seed: of everything.
    """
    if not 0.55 <= p <= 0.9:
        raise ValueError(f"p is {p}: give a probability from 0.55 to 0.9")
    drawn_by = {(share, kind): learn(kind, bars(share), steps, seed) for share in (p, 1.0) for kind in KINDS}
    left, right = answers()
    mean, mse, gan = p * left + (1 - p) * right, drawn_by[p, "squared error"], drawn_by[p, "GAN"]
    errors = torch.stack([rms(gan - left), rms(gan - right)])
    checks = [
        Check("squared error: RMS distance to the mean of the answers", rms(mse - mean).mean().item(), 0, 0.1),
        Check("squared error: RMS distance to an answer", rms(mse - left).mean().item(), 0.9 * rms(mean - left).item()),
        Check("L1: RMS distance to the more frequent answer", rms(drawn_by[p, "L1"] - left).mean().item(), 0, 0.1),
        Check("GAN: median RMS distance to the nearest answer", errors.amin(0).median().item(), 0, 0.2),
    ]
    for kind in KINDS:
        distance = rms(drawn_by[1.0, kind] - left).mean().item()
        checks.append(Check(f"{kind}: RMS distance to the answer if there is one", distance, 0, 0.2))
    return Evidence(
        checks,
        drawn(left, right, p, drawn_by),
        "Above: the two answers and what generators with each loss draw for five latents. Below: the same where the "
        "first answer is the only one.",
        {"share of the first answer, GAN": (errors[0] < errors[1]).double().mean().item()},
    )


def answers() -> Tensor:
    """(2, 64): images of 8x8 with a bar on the left and on the right."""
    images = torch.full((2, SIDE, SIDE), -1.0)
    images[0, 1:-1, 1:3] = images[1, 1:-1, 5:7] = 1
    return images.flatten(1)


def bars(p: float) -> Sampler:
    """n to (n, 64) images, the first answer with probability p."""
    return lambda n: answers()[(torch.rand(n) >= p).long()]


def noise(n: int) -> Tensor:
    return torch.randn(n, Z)


def rms(x: Tensor) -> Tensor:
    return x.square().mean(-1).sqrt()


def learn(kind: str, real: Sampler, steps: int, seed: int) -> Tensor:
    """(500, 64) what a generator draws after training with a loss."""
    torch.manual_seed(seed)
    g = nn.Sequential(mlp(Z, 64, 64, SIDE * SIDE, activation=leaky), nn.Tanh())
    if kind == "GAN":
        d = mlp(SIDE * SIDE, 64, 64, 1, activation=leaky)
        train_gan(
            g,
            d,
            real,
            noise,
            losses.non_saturating,
            steps=steps,
            batch=64,
            penalty=lambda c, x, y, _: penalties.r1_r2(c, x, y) / 2,
        )
    else:
        distance = nn.MSELoss() if kind == "squared error" else nn.L1Loss()
        optimizer = adam(g.parameters(), 1e-3)
        for _ in range(steps):
            optimizer.zero_grad()
            distance(g(noise(64)), real(64)).backward()
            optimizer.step()
    with torch.no_grad():
        return g(noise(500))


def drawn(left: Tensor, right: Tensor, p: float, drawn_by: dict[tuple[float, str], Tensor]) -> Image.Image:
    """The answers and what was drawn, for two answers and for one."""
    figure, axes = panels([f"Answers, {p:.0%} and {1 - p:.0%}", *KINDS, "One answer", *KINDS], 4, 2.9, 1.0)
    for row, share in enumerate((p, 1.0)):
        shown = torch.stack([left, right] if share < 1 else [left, left]).view(2, 1, SIDE, SIDE)
        show_sheet(axes[4 * row], shown, 2)
        for panel, kind in zip(axes[4 * row + 1 :], KINDS):
            show_sheet(panel, drawn_by[share, kind][:5].view(5, 1, SIDE, SIDE), 5)
    return picture(figure)
