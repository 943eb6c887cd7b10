"""Augmentations that D sees leak into what G draws if they cannot be undone on average, and only then.

If reals and fakes are both augmented by T before D, G is driven to T p_G = T p. From this p_G = p follows if T, as a
linear map of distributions, can be inverted. Take the four quarter turns of an image as states. Turning by a uniform
multiple of 90° with probability q and leaving the image as it is otherwise is the matrix

    T = (1 - q) I + q/4 · 1 1ᵀ        with eigenvalues 1 and three times 1 - q

It is singular only at q = 1: all four directions are then seen equally often whatever G draws, D has nothing to teach
about them, and G draws turned images. At q = 0.8 the upright images are still 0.4 of those that D sees, and the others
0.2 each. A flip with probability 1/2 is singular, too; turning always by 90° is not, since turning back undoes it.
G begins with images turned by 90°. It learns to draw upright ones where T is invertible, and stays as it is at q = 1.
The nearer q is to 1, the smaller is the difference that D sees, and the longer this takes.

Control: q = 0, and augmentations of which T is invertible at full strength. Data and G are points here: "upright" is a
small cloud at the right, and a quarter turn is one about the origin.
"""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor, nn

from gankit import losses
from gankit.lab.evidence import Check, Evidence, near
from gankit.lab.material import all_digits
from gankit.lab.panels import CRITIC, FAKE, REAL, THEORY, panels, picture, show_sheet
from gankit.lab.toy import Critic, leaky, mlp, train_gan
from gankit.nn.across import Draw
from gankit.penalties import r1

SOURCE = "Karras et al., Training Generative Adversarial Networks with Limited Data (ADA), 2020"
SECONDS = 30
UNIFORM, QUARTER = torch.full((4, 4), 0.25), torch.eye(4).roll(1, 0)
POLICIES = {
    "uniform turn, q = 1": UNIFORM,
    "uniform turn, q = 0.8": 0.2 * torch.eye(4) + 0.8 * UNIFORM,
    "flip or not": (torch.eye(4) + torch.eye(4).flip(0)) / 2,
    "90° or not": (torch.eye(4) + QUARTER) / 2,
    "90° always": QUARTER,
}
"""(4, 4) matrices from the share of each direction to those after augmentation; "or not" is with probability 1/2."""
SMALLEST = dict(zip(POLICIES, (0.0, 0.2, 0.0, 0.0, 1.0)))


class Turned(nn.Module):
    """Turns points about the origin by a uniform multiple of 90°, each with probability q."""

    def __init__(self, q: float):
        super().__init__()
        self.q = q

    def forward(self, x: Tensor) -> Tensor:
        quarters = torch.randint(4, (len(x), 1)) * (torch.rand(len(x), 1) < self.q)
        turned = torch.stack([x[:, 1], -x[:, 0]], 1)
        return torch.where(quarters % 2 == 0, x, turned) * torch.where(quarters < 2, 1, -1)


def experiment(*, rates: tuple[float, ...] = (0.0, 0.5, 0.8, 1.0), steps: int = 800, seed: int = 0) -> Evidence:
    """Where G's points lie after training under turns with several probabilities, and which augmentations are singular.

    Args:
        rates: probabilities q of a turn, 0 to 1; the last must be 1.
        steps: updates of G.
        seed: of networks, points and turns.

    Raises:
        ValueError: a probability is outside 0 to 1, or the last is not 1.
    """
    if not all(0 <= q <= 1 for q in rates) or rates[-1] != 1:
        raise ValueError(f"rates are {', '.join(f'{q:g}' for q in rates)}; they are probabilities, and the last is 1")
    upright, points = [], []
    for q in rates:
        torch.manual_seed(seed)
        g, d = mlp(2, 32, 32, 2), nn.Sequential(Turned(q), mlp(2, 32, 32, 1, activation=leaky))
        nn.init.constant_(g[-1].get_parameter("bias")[1:], 1.0)  # G begins with images turned by 90°
        ns = losses.non_saturating
        train_gan(g, d, cloud, lambda n: torch.randn(n, 2), ns, steps=steps, batch=64, settle=True, penalty=smooth)
        with torch.no_grad():
            points.append(g(torch.randn(1000, 2)))
        upright.append(float((points[-1][:, 0] > points[-1][:, 1].abs()).double().mean()))
    smallest = {name: float(torch.linalg.svdvals(matrix.double())[-1]) for name, matrix in POLICIES.items()}
    return Evidence(
        [
            *(near(f"smallest singular value: {n}", smallest[n], SMALLEST[n], 1e-6) for n in POLICIES),
            *(Check(f"share of upright points at q = {q:g}", s, 0.95) for q, s in zip(rates, upright) if q < 1),
            Check("share of upright points at q = 1", upright[-1], 0, 0.25),
        ],
        drawn([f"q = {q:g}: {share:.0%} upright" for q, share in zip(rates, upright)], points, smallest),
        "First: a real digit in the directions that D sees equally often at q = 1. Second: the smallest singular value "
        "of each augmentation, which leaks at 0 (or not: 1/2 each). Others: reals, and what G draws.",
        {"rates": list(rates), "upright": upright, "smallest_singular_value": smallest},
    )


def cloud(n: int) -> Tensor:
    """n to (n, 2) points around (1, 0)."""
    return torch.tensor([1.0, 0.0]) + 0.1 * torch.randn(n, 2)


def smooth(critic: Critic, real: Tensor, fake: Tensor, draw: Draw) -> Tensor:
    """R1 with its weight."""
    return 0.05 * r1(critic, real)


def drawn(titles: list[str], points: list[Tensor], values: dict[str, float]) -> Image.Image:
    """A digit in four directions, the singular values, and G's points at each probability."""
    figure, axes = panels(["A real digit, turned", "Smallest singular value of T", *titles], 3, width=3, height=2.6)
    digit = all_digits()[0][0]
    show_sheet(axes[0], torch.stack([digit.rot90(k, (1, 2)) for k in range(4)]), 2)
    axes[1].barh(list(values), list(values.values()), color=CRITIC)
    axes[1].invert_yaxis()
    axes[1].axvline(0, color=THEORY, ls=":")
    for panel, fake in zip(axes[2:], points):
        panel.plot(*cloud(200).T, ".", color=REAL, ms=4, label="real points")
        panel.plot(*fake.T, ".", color=FAKE, ms=1.5, label="G's points")
        panel.set(aspect="equal", xlim=(-1.6, 1.6), ylim=(-1.6, 1.6))
    axes[2].legend(loc="lower left")
    return picture(figure)
