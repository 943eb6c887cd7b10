"""Augmentation of the discriminator's inputs: DiffAugment, adaptive augmentation (ADA), consistency regularization.

DiffAugment: Zhao, Liu, Lin, Zhu and Han, "Differentiable Augmentation for Data-Efficient GAN Training", NeurIPS 2020,
https://arxiv.org/abs/2006.10738. ADA: Karras, Aittala, Hellsten, Laine, Lehtinen and Aila, "Training Generative
Adversarial Networks with Limited Data", NeurIPS 2020, https://arxiv.org/abs/2006.06676. Consistency: Zhang et al.,
"Consistency Regularization for Generative Adversarial Networks", ICLR 2020, https://arxiv.org/abs/1910.12027; Zhao et
al., "Improved Consistency Regularization for GANs", AAAI 2021, https://arxiv.org/abs/2002.04724.

All methods are pure functions of (N, C, H, W) images in [-1, 1] and of `draw`, which is `batch.draw`: it takes a
sampler and returns random numbers for the rows of the batch. Each method calls it once, for a count of numbers that
does not depend on the images, the policy or p. Each operation is drawn per image, can be differentiated twice with
respect to the images, and runs in float32 or wider on their device, without synchronizing with it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gankit.augment.ada import adaptive, color_matrix
from gankit.augment.consistency import CONSISTENCY, Shown, consistency_d, consistency_g, flip_shift
from gankit.augment.diff import diffaugment
from gankit.augment.geometry import SYM6, blit_matrix, geometric_matrix
from gankit.augment.policy import ADA, DIFFAUGMENT, KINDS, check_channels, parse
from gankit.recipe import Draw
from gankit.text import suggest

__all__ = [
    "ADA",
    "CONSISTENCY",
    "DIFFAUGMENT",
    "KINDS",
    "SYM6",
    "Augment",
    "Shown",
    "adaptive",
    "blit_matrix",
    "color_matrix",
    "consistency_d",
    "consistency_g",
    "diffaugment",
    "flip_shift",
    "geometric_matrix",
    "parse",
]


class Augment(nn.Module):
    """Augments every image that a run's discriminator sees; with ada, it also adapts the probability p.

    r = E sign D(reals) measures how much D overfits. After every four batches, p moves by their images / speed: up if r
    is above its target, down if below, within [0, 1]. All of this is in the state; nothing synchronizes with the GPU.

    Args:
        kind: diffaugment or ada.
        policy: groups of operations, like "color,cutout" or "geometric:1,color:0.5"; empty for the paper's policy.
        p: with ada, the initial probability of each operation.
        target: with ada, the target of r, 0.6 in the paper; 0 keeps p fixed.
        speed: with ada, the number of images in which p can go from 0 to 1, 500,000 in the paper.

    Raises:
        ValueError: kind or policy is unknown, or p or target is out of range.
    """

    EVERY = 4
    p: Tensor
    right: Tensor
    rows: Tensor
    images: Tensor
    batches: Tensor

    def __init__(self, kind: str, policy: str = "", p: float = 0.0, target: float = 0.6, speed: int = 500_000):
        super().__init__()
        if kind not in KINDS:
            raise ValueError(suggest("augmentation", kind, KINDS))
        for name, value, bound in (("p", p, "p <= 1"), ("target", target, "target < 1")):
            if not 0 <= value <= 1 or (name == "target" and value == 1):
                raise ValueError(f"augment_{name} is {value}; it must be 0 <= {bound}")
        self.kind, self.policy, self.target, self.speed = kind, policy or KINDS[kind][1], target, speed
        parse(self.policy, kind)
        self.used = False
        self.register_buffer("p", torch.tensor(float(p)))
        for name in ("right", "rows", "images", "batches"):  # sums since p last moved
            self.register_buffer(name, torch.tensor(0.0))

    def forward(self, images: Tensor, draw: Draw) -> Tensor:
        """(N, C, H, W) images in [-1, 1] to augmented images of the same shape."""
        self.used = True
        if self.kind == "diffaugment":
            return diffaugment(images, draw, self.policy)
        return adaptive(images, self.p, draw, self.policy)

    def fits(self, channels: int) -> None:
        """Raise ValueError if the policy does not support images with this number of channels."""
        if self.kind == "ada":
            check_channels(parse(self.policy, "ada"), channels)

    def check(self, model: str, step: int) -> None:
        """Raise ValueError if the model augments nothing in its first batch, or gives no r for ada to adapt to."""
        if step == 1 and not self.used:
            raise ValueError(f"{model} has no discriminator whose images could be augmented; leave --augment out")
        if step == self.EVERY and self.kind == "ada" and self.target and self.batches >= self.EVERY:
            raise ValueError(
                f"ada adapts to the sign of D's outputs, but the outputs of {model}'s critic have no boundary between "
                "real and fake. Add --augment-target 0 and a fixed --augment-p 0.2, or take --augment diffaugment."
            )

    @torch.no_grad()
    def see(self, right: Tensor, rows: int) -> None:
        """Record the share of reals, a scalar in [0, 1], that D classified as real among `rows` reals."""
        self.right += right * rows
        self.rows += rows

    @torch.no_grad()
    def adapt(self, images: int) -> None:
        """Count a batch of this many images, and move p after every fourth batch."""
        if self.kind != "ada" or not self.target:
            return
        self.images += images
        self.batches += 1
        due = (self.batches >= self.EVERY) & (self.rows > 0)
        r = 2 * self.right / self.rows.clamp(min=1) - 1
        moved = (self.p + (r - self.target).sign() * self.images / self.speed).clamp(0, 1)
        self.p.copy_(torch.where(due, moved, self.p))
        for count in (self.right, self.rows, self.images, self.batches):
            count.mul_(~due)
