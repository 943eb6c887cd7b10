"""cyclegan. Jun-Yan Zhu, Taesung Park, Phillip Isola, Alexei A. Efros, "Unpaired Image-to-Image Translation using
Cycle-Consistent Adversarial Networks", ICCV 2017. https://arxiv.org/abs/1703.10593

Two generators, a to b and b to a, train on two unpaired image collections. Each domain has a discriminator. The cycle
loss, in both directions, is lambda = 10 times the L1 distance between an image and its translation to the other domain
and back. G are residual networks with reflection padding and instance norm, D are 70x70 PatchGANs, and the adversarial
loss is least squares. For paintings, an identity loss trains G to leave images of its target domain unchanged
(`identity_weight`).

Images are read from their files at 286 / 256 of the run's size and cropped to it at random positions.

Both G are updated first, in one step; then both D, on fakes from a pool of 50 past ones for each domain. The learning
rate is constant for the first half of the run and decays linearly to 0 in the second.

The file is long because it holds the paper's presets and every term of its loss as an argument.

Deviations:
- The rate decays with every batch; in the authors' code with every epoch.
- Images are downsampled with a Lanczos filter; the authors' Torch code interpolates bilinearly. The presets of the
  paper squash non-square images to squares, as in that code; other presets crop them.
- Convolutions before instance norm have biases, as in the authors' PyTorch code, although the norm cancels them.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gankit.losses import least_squares, scores
from gankit.nn import (
    PatchDiscriminator,
    Pool,
    ResidualTranslator,
    init_normal,
    instance_norm,
    larger_size,
    nearest_fours,
    patch_layers,
    random_crop,
)
from gankit.recipe import Batch, Preset, Recipe, Run, Spec, adam, decay

lsgan = least_squares()


class CycleGAN(Recipe):
    """Cycle-consistent GANs between two image domains; sides are multiples of 4.

    Args:
        cycle_weight: lambda, weight of the L1 distance between an image and its translation there and back.
        cycle: directions of the cycle loss: both, forward (a to b to a), backward, or none.
        identity_weight: weight, times lambda, of the L1 distance between an image and its translation into its own
            domain; 0.5 for paintings, otherwise 0.
        pool: number of past fakes of each domain that are stored for D.
        blocks: residual blocks of G; 0: 9 at 256 px and above, 6 below.
        patch: side of the patches that D judges, in pixels.
        width: channels of G's first map.
        width_d: channels of D's first map; 0: as many as G's.
        jitter: read images at 286 / 256 of their size and crop them at random positions.
        flat: share of the run before the learning rate starts to decay; 1 for no decay.
        lr: Adam's learning rate for G and D.
        beta1: decay of Adam's mean of gradients.
        beta2: decay of Adam's mean of squared gradients.
    """

    data, ema, multiple = "domains", ("g_ab", "g_ba"), 4
    domains = {"a": "g_ba", "b": "g_ab"}
    nearest = staticmethod(nearest_fours)
    defaults = dict(batch=1, ema=0, data="digits-negative")
    presets = {
        "paper": Preset(
            "the paper's for maps: 256 px, 200 epochs of 1,096 images",
            settings=dict(resolution="256", fit="squash", mirror=True, batch=1, images=219_200),
            spec=Spec((3, 256, 256), other=(3, 256, 256)),
            parameters=dict(g_ab=11_378_179, g_ba=11_378_179, d_a=2_764_737, d_b=2_764_737),
        ),
        "128": Preset(
            "the paper's at 128 px, with 6 residual blocks",
            settings=dict(resolution="128", fit="squash", mirror=True, batch=1, images=219_200),
            spec=Spec((3, 128, 128), other=(3, 128, 128)),
            parameters=dict(g_ab=7_837_699, g_ba=7_837_699, d_a=2_764_737, d_b=2_764_737),
        ),
        "paintings": Preset(
            "the paper's for paintings: with the identity loss, 200 epochs of the larger domain, 6,853 photographs",
            model=dict(identity_weight=0.5),
            settings=dict(resolution="256", fit="squash", mirror=True, batch=1, images=1_370_600),
        ),
        "cpu": Preset(
            "for domains of 28 to 64 px on one CPU core: steps of one image, and the identity loss, without which "
            "colours are exchanged; chosen among eight settings by L1 on held-out emoji, one seed, and compared "
            "with small on three",
            model=dict(width=16, blocks=2, patch=34, identity_weight=0.5, jitter=False, lr=5e-4),
            settings=dict(batch=1, images=4_000, ema=500),
        ),
        "small": Preset(
            "digits at 16 px on two CPU cores: narrow, small patches, a lower lambda, a higher learning rate",
            model=dict(width=16, blocks=2, patch=16, cycle_weight=2.0, jitter=False, lr=5e-4),
            settings=dict(batch=16, images=10_000),
        ),
    }

    def __init__(
        self,
        spec: Spec,
        *,
        cycle_weight: float = 10.0,
        cycle: Literal["both", "forward", "backward", "none"] = "both",
        identity_weight: float = 0.0,
        pool: int = 50,
        blocks: int = 0,
        patch: Literal[1, 16, 34, 70, 142, 286] = 70,
        width: int = 64,
        width_d: int = 0,
        jitter: bool = True,
        flat: float = 0.5,
        lr: float = 2e-4,
        beta1: float = 0.5,
        beta2: float = 0.999,
    ):
        super().__init__(spec)
        (a, h, w), b = spec.shape, (spec.other or spec.shape)[0]
        if (h, w) != self.nearest(h, w):
            near_h, near_w = self.nearest(h, w)
            raise ValueError(
                f"cyclegan needs sides that are multiples of 4, at least 8; found {h}x{w}. "
                f"Add --resolution {near_h}x{near_w}"
            )
        if cycle not in ("both", "forward", "backward", "none"):
            raise ValueError(f"cycle is {cycle!r}; choose from both, forward, backward and none")
        if identity_weight and a != b:
            raise ValueError(
                f"the identity loss needs domains with equal channels; these have {a} and {b}. Remove --identity-weight"
            )
        self.cycle_weight, self.identity_weight, self.flat, self.lr = cycle_weight, identity_weight, flat, lr
        self.load_size = larger_size(spec.shape, 286 / 256) if jitter else None
        self.forward_weight = cycle_weight * (cycle in ("both", "forward"))
        self.backward_weight = cycle_weight * (cycle in ("both", "backward"))
        blocks, layers = blocks or (9 if min(h, w) >= 256 else 6), patch_layers(patch, h, w)
        self.g_ab, self.g_ba = (ResidualTranslator(*ends, width, blocks) for ends in ((a, b), (b, a)))
        self.d_a, self.d_b = (PatchDiscriminator(c, width_d or width, layers, instance_norm, bias=True) for c in (a, b))
        self.pool_a, self.pool_b = Pool(pool), Pool(pool)
        init_normal(self)
        pairs = (("g", self.g_ab, self.g_ba), ("d", self.d_a, self.d_b))
        self.opt = {name: adam([*x.parameters(), *y.parameters()], lr, (beta1, beta2)) for name, x, y in pairs}

    def translate(self, images: Tensor, to: Literal["a", "b"] = "b") -> Tensor:
        """(N, C, H, W) images of the other domain in [-1, 1] to (N, C', H, W) images of domain `to`."""
        return self.g_ab(images) if to == "b" else self.g_ba(images)

    def strip(self, batch: Batch) -> list[Tensor]:
        """Columns of a preview: an image of a, its translation to b, and back to a; the same for b."""
        fake_b, fake_a = self.g_ab(batch.a), self.g_ba(batch.b)
        return [batch.a, fake_b, self.g_ba(fake_b), batch.b, fake_a, self.g_ab(fake_a)]

    def step(self, batch: Batch, run: Run) -> None:
        for opt in self.opt.values():
            decay(opt, self.lr, run.done, self.flat)
        size = self.spec.shape[1:]
        (real_a,), (real_b,) = (random_crop([images], batch.draw, *size) for images in (batch.a, batch.b))
        fakes = run.update("g", self.g_loss, batch, real_a, real_b)
        fake_a, fake_b = self.pool_a(fakes["fake_a"], batch.draw), self.pool_b(fakes["fake_b"], batch.draw)
        run.update("d", self.d_loss, batch, real_a, real_b, fake_a, fake_b)

    def g_loss(self, batch: Batch, real_a: Tensor, real_b: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        fake_a, fake_b = self.g_ba(real_b), self.g_ab(real_a)
        logits_a, logits_b = self.d_a(batch.augment(fake_a)), self.d_b(batch.augment(fake_b))
        loss = 2 * lsgan.g(logits_a) + 2 * lsgan.g(logits_b)  # the paper's squares have no factor of 1/2 here
        outputs = {"adversarial": loss, "fake_a": fake_a, "fake_b": fake_b}
        if self.forward_weight:
            rec_a = self.g_ba(fake_b)
            outputs["cycle_a"] = (rec_a - real_a).abs().mean()
            loss = loss + self.forward_weight * outputs["cycle_a"]
        if self.backward_weight:
            rec_b = self.g_ab(fake_a)
            outputs["cycle_b"] = (rec_b - real_b).abs().mean()
            loss = loss + self.backward_weight * outputs["cycle_b"]
        if self.identity_weight:
            idt_a, idt_b = self.g_ba(real_a), self.g_ab(real_b)
            outputs["identity"] = (idt_a - real_a).abs().mean() + (idt_b - real_b).abs().mean()
            loss = loss + self.identity_weight * self.cycle_weight * outputs["identity"]
        return loss, outputs

    def d_loss(
        self, batch: Batch, real_a: Tensor, real_b: Tensor, fake_a: Tensor, fake_b: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        logits_a = [self.d_a(batch.augment(images)) for images in (real_a, fake_a)]
        logits_b = [self.d_b(batch.augment(images)) for images in (real_b, fake_b)]
        loss = lsgan.d(*logits_a) + lsgan.d(*logits_b)
        real, fake = (torch.cat(maps) for maps in zip(logits_a, logits_b))
        return loss, scores(real, fake, lsgan.boundary)
