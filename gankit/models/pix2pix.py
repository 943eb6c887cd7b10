"""pix2pix. Phillip Isola, Jun-Yan Zhu, Tinghui Zhou, Alexei A. Efros, "Image-to-Image Translation with Conditional
Adversarial Networks", CVPR 2017. https://arxiv.org/abs/1611.07004

G is trained on pairs of images to translate one side to the other. G is a U-Net; its loss is the adversarial loss
plus lambda = 100 times the L1 distance to the real other side. L1 determines the low frequencies; D, which sees both
sides, is a PatchGAN that judges patches of 70x70 and so determines the high ones. G's noise z is dropout, at test
time too: `noise` draws the masks and G takes them as z, so a seed gives the same image in any batch. Norms use
the statistics of the batch, at test time those of each image; with the paper's batch of one, both are instance norm.

The innermost map, one pixel at 256 px, has no norm, as in the authors' code: the norm would set it to zero (their
erratum). Smaller images have fewer levels. D is updated before G, with half its loss, on the same fake. Both sides of
a pair are read from their files at 286 / 256 of the run's size, cropped to it at the same random position and flipped
alike (`--mirror`).

The file is long because every part that the paper ablates is an argument.

Deviations:
- Convolutions before norms have no bias. In the authors' first code they have biases, which are never trained.
- Learning rates are constant, as in that code; in the authors' PyTorch code they decay.
- Images are downsampled with a Lanczos filter; the authors' code interpolates bilinearly. The preset `paper` squashes
  non-square images to squares, as in that code; other presets crop them.
- Augmentation (`--augment`), which is not in the paper, applies the same random numbers to both sides.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from gankit.losses import ADVERSARIAL, scores
from gankit.nn import (
    OwnBatchNorm2d,
    PatchDiscriminator,
    UNetGenerator,
    init_normal,
    larger_size,
    once,
    patch_layers,
    random_crop,
    unet_levels,
    unet_size,
)
from gankit.recipe import Batch, Preset, Recipe, Run, Spec, adam

Translate = Callable[[Tensor, Tensor], Tensor]  # as G


class Pix2Pix(Recipe):
    """Conditional GAN on pairs of images; sides are small multiples of a power of two.

    Args:
        direction: translate side a to b, or b to a.
        patch: side of the patches that D judges, in pixels.
        conditional: D sees both sides instead of only the output side.
        loss: adversarial loss, a name in gankit.losses.ADVERSARIAL.
        gan_weight: weight of the adversarial loss in G's loss; 0: only L1, without D.
        l1_weight: lambda, weight of the L1 distance to the other side; 0: only the adversarial loss.
        levels: most halvings of G; fewer if the sides cannot be halved evenly.
        skips: the U-Net's skip connections; otherwise G is a plain encoder and decoder.
        width: channels of G's first map; inner maps have 2, 4 and 8 times as many.
        width_d: channels of D's first map; 0: as many as G's.
        norm: statistics of the norms in training: the batch's, or each image's own, as at test time.
        dropout: dropout rate in G's three innermost maps.
        dropout_inner: dropout from the innermost map on, as in the paper; otherwise from the next one on, as in the
            authors' PyTorch code.
        jitter: read images at 286 / 256 of their size and crop them at random positions.
        lr: Adam's learning rate for G.
        lr_d: Adam's learning rate for D.
        beta1: decay of Adam's mean of gradients.
        beta2: decay of Adam's mean of squared gradients.
    """

    data, ema, defaults = "pairs", ("g",), dict(batch=1, ema=0, data="photo-edges")
    layout = "NCHW"  # norms of single images are slow in channels_last
    nearest = staticmethod(unet_size)
    presets = {
        "paper": Preset(
            "the paper's for facades: 256 px, 200 epochs of 400 pairs; for the authors' files add --direction BtoA",
            settings=dict(resolution="256", fit="squash", mirror=True, batch=1, images=80_000),
            spec=Spec((3, 256, 256), other=(3, 256, 256)),
            parameters=dict(g=54_413_955, d=2_768_705),
        ),
        "cpu": Preset(
            "for pairs of 28 to 64 px on one CPU core: small's without dropout; chosen among nine settings by L1 on "
            "held-out emoji at equal CPU time, one seed, and compared with small on three",
            model=dict(width=16, levels=5, patch=34, norm="image", dropout=0.0, jitter=False, lr=1e-3, lr_d=5e-4),
            settings=dict(batch=4, images=30_000, ema=2_000, mirror=True),
        ),
        "small": Preset(
            "pairs at 64 px on two CPU cores: narrow, higher learning rates, norms by image, no jitter, EMA",
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
        self.sides = ("a", "b") if direction == "AtoB" else ("b", "a")  # of the data: input, output
        self.conditional, self.loss = conditional, ADVERSARIAL[loss]
        self.gan_weight, self.l1_weight = gan_weight, l1_weight
        self.load_size = larger_size(spec.shape, 286 / 256) if jitter else None
        channels, out_channels = (dict(a=spec.shape, b=spec.other)[side][0] for side in self.sides)
        levels = unet_levels(spec.height, spec.width, levels)
        layers, make_norm = patch_layers(patch, *spec.shape[1:]), partial(OwnBatchNorm2d, whole=norm == "batch")
        self.g = UNetGenerator(
            channels, out_channels, levels, width, make_norm, dropout=dropout, skips=skips, dropout_inner=dropout_inner
        )
        self.d = PatchDiscriminator(channels * conditional + out_channels, width_d or width, layers, make_norm)
        init_normal(self)
        self.multiple = 2**levels
        self.opt = {
            "d": adam(self.d.parameters(), lr_d, (beta1, beta2)),
            "g": adam(self.g.parameters(), lr, (beta1, beta2)),
        }

    def noise(self, n: int, height: int, width: int) -> Tensor:
        """(n, K) dropout masks of zeros and ones for images of a height and width."""
        return self.g.noise(n, height, width)

    def translate(self, images: Tensor, z: Tensor) -> Tensor:
        """(N, C, H, W) images of one side in [-1, 1] and (N, K) masks to (N, C', H, W) of the other side in [-1, 1]."""
        return self.g(images, z)

    def strip(self, batch: Batch) -> list[Tensor]:
        """Columns of a preview: the input, its translation, and the real other side."""
        real_a, real_b = (batch.fields[side] for side in self.sides)
        return [real_a, self.g(real_a, batch.draw(lambda n: self.noise(n, *real_a.shape[2:]))), real_b]

    def step(self, batch: Batch, run: Run) -> None:
        sides = [batch.fields[side] for side in self.sides]
        real_a, real_b = random_crop(sides, batch.draw, *self.spec.shape[1:])
        z = batch.draw(lambda n: self.noise(n, *real_a.shape[2:]))
        translate = once(self.g)
        if self.gan_weight:
            run.update("d", partial(self.d_loss, translate=translate), batch, real_a, real_b, z)
        run.update("g", partial(self.g_loss, translate=translate), batch, real_a, real_b, z)

    def judge(self, batch: Batch, a: Tensor, b: Tensor) -> Tensor:
        """Inputs and outputs, (N, C, H, W) and (N, C', H, W), to D's (N, 1, h, w) logits."""
        return self.d(torch.cat(batch.augment_alike(a, b), 1) if self.conditional else batch.augment(b))

    def d_loss(
        self, batch: Batch, real_a: Tensor, real_b: Tensor, z: Tensor, translate: Translate | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        fake_b = (translate or self.g)(real_a, z)
        real, fake = self.judge(batch, real_a, real_b), self.judge(batch, real_a, fake_b)
        return 0.5 * self.loss.d(real, fake), scores(real, fake, self.loss.boundary)

    def g_loss(
        self, batch: Batch, real_a: Tensor, real_b: Tensor, z: Tensor, translate: Translate | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        fake_b = (translate or self.g)(real_a, z)
        distance = (real_b - fake_b).abs().mean()
        loss, outputs = self.l1_weight * distance, {"l1": distance}
        if self.gan_weight:
            fake = self.judge(batch, real_a, fake_b)
            real = self.judge(batch, real_a, real_b) if self.loss.paired else None
            outputs["adversarial"] = self.loss.g(fake, real)
            loss = loss + self.gan_weight * outputs["adversarial"]
        return loss, outputs
