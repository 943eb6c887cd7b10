"""pix2pix. Phillip Isola, Jun-Yan Zhu, Tinghui Zhou, Alexei A. Efros, "Image-to-Image Translation with Conditional
Adversarial Networks", CVPR 2017. https://arxiv.org/abs/1611.07004

From pairs of images G learns to turn one side into the other. G is a U-Net; its loss is that D, which sees both sides, takes
its image for the real other side, plus lambda = 100 times the L1 distance to it, which gets the coarse things right while D
sees to the fine ones: D is a PatchGAN, which judges patches of 70x70. G's noise z is dropout, at test time too. Here its
masks are drawn by `noise` and given to G, so that a seed is one picture whatever the batch is. Norms go by the batch's own
statistics, at test time by the image's own: with a batch of one, the paper's, both are instance norm.

The innermost map, of one pixel at 256 px, has no norm, as in the authors' code: it would be zero after it (their erratum).
Smaller images have fewer levels. D learns before G, at half its loss, from the same fake. Both sides of a pair are read from
their files at 286 / 256 of the run's size, cut to it at one random place and (`--mirror`) flipped alike.

The file is long because every part that the paper takes away, to see what it is for, is an argument.

Deviations:
- Convolutions before norms have no bias. In the authors' first code they have some, which never learn.
- Learning rates do not fall, as in that code; the authors' PyTorch code lets them.
- Images are made smaller with Lanczos' filter; the authors' code interpolates bilinearly. Those that are no squares are squashed
  with the preset `paper`, as in that code, and else cut to one.
- Augmentation (`--augment`), which is not in the paper, changes both sides by the same random numbers.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from gankit.losses import ADVERSARIAL, scores
from gankit.nn import (
    OwnBatchNorm2d,
    PatchDiscriminator,
    UNet,
    init_normal,
    larger_size,
    patch_layers,
    random_crop,
    unet_levels,
    unet_size,
)
from gankit.recipe import Batch, Preset, Recipe, Run, Spec, adam


class Pix2Pix(Recipe):
    """Conditional GAN from pairs of images, whose sides are small numbers times a power of two.

    Args:
        direction: which side G is given, and which it draws.
        patch: side of the patches that D judges, in pixels.
        conditional: D sees both sides, and not G's alone.
        loss: adversarial loss.
        gan_weight: its weight in G's loss; 0 for L1 alone, without D.
        l1_weight: lambda, weight of the L1 distance to the other side; 0 for the adversarial loss alone.
        levels: how often G halves the image, at most; less often where its sides do not halve evenly.
        skips: the U-Net's skips; without, G is an encoder and a decoder.
        width: channels of G's first maps; inner ones have 2, 4 and 8 times as many.
        width_d: channels of D's first maps; 0 for G's.
        norm: statistics that norms go by in training: the batch's, or each image's own, as at test time.
        dropout: share that is dropped in G's three innermost maps.
        dropout_inner: the innermost is one of them, as in the paper; in the authors' PyTorch code it is not, and the next ones are.
        jitter: images are read at 286 / 256 of their size and cut at a random place.
        lr: Adam's learning rate for G.
        lr_d: Adam's learning rate for D.
        beta1: decay of Adam's mean of gradients.
        beta2: decay of Adam's mean of squared gradients.
    """

    data, ema, defaults = "pairs", ("g",), dict(batch=1, ema=0, data="photo-edges")
    nearest = staticmethod(unet_size)
    presets = {
        "paper": Preset(
            "the paper's for facades: 256 px, 200 epochs of 400 pairs; the authors' files, photographs at the left, want --direction BtoA",
            settings=dict(resolution="256", fit="squash", mirror=True, batch=1, images=80_000),
            spec=Spec((3, 256, 256), other=(3, 256, 256)),
            parameters=dict(g=54_413_955, d=2_768_705),
        ),
        "small": Preset(
            "pairs at 64 px on two CPU cores: narrow, larger steps, norms by the image, no jitter, averaged weights",
            model=dict(width=16, levels=5, patch=34, norm="image", jitter=False, lr=1e-3, lr_d=5e-4),
            settings=dict(batch=4, images=10_000, ema=1_000, mirror=True),
        ),
    }

    def __init__(
        self,
        spec: Spec,
        *,
        direction: Literal["AtoB", "BtoA"] = "AtoB",
        patch: Literal[1, 16, 34, 70, 142, 286] = 70,
        conditional: bool = True,
        loss: str = "non_saturating",
        gan_weight: float = 1.0,
        l1_weight: float = 100.0,
        levels: int = 8,
        skips: bool = True,
        width: int = 64,
        width_d: int = 0,
        norm: Literal["batch", "image"] = "batch",
        dropout: float = 0.5,
        dropout_inner: bool = True,
        jitter: bool = True,
        lr: float = 2e-4,
        lr_d: float = 2e-4,
        beta1: float = 0.5,
        beta2: float = 0.999,
    ):
        super().__init__(spec)
        if direction not in ("AtoB", "BtoA"):
            raise ValueError(f"direction is {direction!r}; choose from AtoB and BtoA")
        if norm not in ("batch", "image"):
            raise ValueError(f"norm is {norm!r}; choose from batch and image")
        if loss not in ADVERSARIAL:
            raise ValueError(f"loss is {loss!r}; choose from {', '.join(ADVERSARIAL)}")
        self.sides = ("a", "b") if direction == "AtoB" else ("b", "a")
        self.conditional, self.loss, self.gan_weight, self.l1_weight = (
            conditional,
            ADVERSARIAL[loss],
            gan_weight,
            l1_weight,
        )
        self.load_size = larger_size(spec.shape, 286 / 256) if jitter else None
        channels, out_channels = (dict(a=spec.shape, b=spec.other)[side][0] for side in self.sides)
        levels = unet_levels(*spec.shape[1:], levels)
        layers, normed = patch_layers(patch, *spec.shape[1:]), partial(OwnBatchNorm2d, whole=norm == "batch")
        self.g = UNet(
            channels, out_channels, levels, width, normed, dropout=dropout, skips=skips, dropout_inner=dropout_inner
        )
        self.d = PatchDiscriminator(channels * conditional + out_channels, width_d or width, layers, normed)
        init_normal(self)
        self.multiple = 2**levels
        self.opt = {
            "d": adam(self.d.parameters(), lr_d, (beta1, beta2)),
            "g": adam(self.g.parameters(), lr, (beta1, beta2)),
        }

    def noise(self, n: int, height: int, width: int) -> Tensor:
        """(n, K) zeros and ones, dropout's masks for images of a height and width."""
        return self.g.noise(n, height, width)

    def translate(self, images: Tensor, z: Tensor) -> Tensor:
        """(N, C, H, W) images of one side in [-1, 1] and (N, K) of `noise` to the other side, (N, C', H, W) in [-1, 1]."""
        return self.g(images, z)

    def strip(self, batch: Batch) -> list[Tensor]:
        """Columns of a preview: what G is given, what it draws, and the real other side."""
        x, y = (batch.fields[side] for side in self.sides)
        return [x, self.g(x, batch.draw(lambda n: self.noise(n, *x.shape[2:]))), y]

    def step(self, batch: Batch, run: Run) -> None:
        x, y = (batch.fields[side] for side in self.sides)
        x, y = random_crop((x, y), batch.draw, *self.spec.shape[1:])
        z = batch.draw(lambda n: self.noise(n, *x.shape[2:]))
        if self.gan_weight:
            run.update("d", self.d_loss, batch, x, y, z)
        run.update("g", self.g_loss, batch, x, y, z)

    def judge(self, batch: Batch, x: Tensor, y: Tensor) -> Tensor:
        """Both sides of pairs to D's (N, 1, h, w) logits."""
        return self.d(torch.cat(batch.augment_alike(x, y), 1) if self.conditional else batch.augment(y))

    def d_loss(self, batch: Batch, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        real, fake = self.judge(batch, x, y), self.judge(batch, x, self.g(x, z))
        return 0.5 * self.loss.d(real, fake), scores(real, fake, self.loss.boundary)

    def g_loss(self, batch: Batch, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        image = self.g(x, z)
        distance = (y - image).abs().mean()
        loss, outputs = self.l1_weight * distance, {"l1": distance}
        if self.gan_weight:
            fake = self.judge(batch, x, image)
            real = self.judge(batch, x, y) if self.loss.paired else None
            outputs["adversarial"] = self.loss.g(fake, real)
            loss = loss + self.gan_weight * outputs["adversarial"]
        return loss, outputs
