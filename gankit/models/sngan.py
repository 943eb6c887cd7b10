"""sngan. Takeru Miyato, Toshiki Kataoka, Masanori Koyama, Yuichi Yoshida, "Spectral Normalization for Generative
Adversarial Networks", ICLR 2018. https://arxiv.org/abs/1802.05957

Each weight of D is divided by its largest singular value, which makes D Lipschitz. The singular value is tracked by
one step of power iteration per forward pass, which continues from the previous one. Hinge loss, Adam without
momentum, five updates of D for each of G. With labels this is Miyato & Koyama, "cGANs with Projection Discriminator",
ICLR 2018: D adds the product of a class embedding and its features to its output, and G has conditional batch norm.

Below 48 px the networks are the authors' for CIFAR-10, whose blocks all have the same width. From 48 px they are
those for STL-10 (48 px), ImageNet (64 and 128 px) and cats and dogs (256 px), whose widths double with each halving.
As in the authors' code, reals are dequantised, learning rates decay linearly to 0, and G's updates also advance D's
power iteration. One step takes one batch for D; G is updated before the first of every n_dis updates of D, from
`g_batch` latents for each image.

The file is long because it holds two papers and the authors' two network architectures.

Deviations:
- Sizes other than 32, 48, 64, 128 and 256 px have more or fewer blocks.
- Without a preset, samples come from averaged weights (`--ema 0`: the last ones); the papers have no averaging.
- Left out: the papers' cross-entropy loss, D with the class concatenated to its features, and the plain convolutional
  networks.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from gankit.losses import hinge, scores
from gankit.nn import (
    BatchNorm2d,
    ConditionalBatchNorm2d,
    DBlock,
    OptimizedDBlock,
    SNGANGenerator,
    init_glorot,
    nearest_size,
    spectral_norm,
    stages,
)
from gankit.nn.dequantise import dequantise, draw_times
from gankit.nn.projection import ProjectionDiscriminator
from gankit.recipe import Batch, Preset, Recipe, Run, Spec, adam


def pyramid_widths(width: int, halvings: int) -> list[int]:
    """Channels of the maps, from the image down: they double, up to 16 times `width`; at 256 px as the authors'."""
    factors = (1, 2, 4, 8, 8, 16, 16) if halvings == 6 else [min(2**i, 16) for i in range(halvings + 1)]
    return [width * factor for factor in factors]


def discriminator(shape: tuple[int, ...], width: int, num_classes: int, pyramid: bool) -> ProjectionDiscriminator:
    """Residual blocks for (C, H, W) images, and class projection."""
    count = stages(*shape[1:])
    if pyramid:  # halvings down to 3, 4 or 5, then a block that keeps the size; at 64 px that block halves as well
        halvings = count + (min(shape[1:]) >> count >= 6)
        widths, downs = pyramid_widths(width, halvings), halvings + (halvings == 4 and count == 4)
    else:  # halvings down to about 8, then two blocks
        downs = max(1, count - 1)
        widths = [2 * width] * (downs + 2)
    blocks = [DBlock(a, b, down=i < downs) for i, (a, b) in enumerate(zip(widths, widths[1:]), 1)]
    return ProjectionDiscriminator([OptimizedDBlock(shape[0], widths[0]), *blocks], widths[-1], num_classes)


class SNGAN(Recipe):
    """GAN with spectral normalisation, for images whose sides are 4, 5, 6 or 7 times a power of two.

    Args:
        z_dim: length of the latent z.
        width: in the pyramid, channels of the blocks next to the image (32 for the authors' 256 px); otherwise G's
            blocks have four times as many and D's twice.
        pyramid: double the widths with each halving. None: from 48 px, as in the papers.
        conditional: use labels if the data has them.
        n_dis: updates of D for each update of G.
        g_batch: latents per image of the batch in an update of G.
        lr: initial learning rate of Adam.
        decay_from: share of the run after which the learning rate decays linearly to 0.
    """

    labels, ema, defaults = "optional", ("g",), dict(batch=64)
    nearest = staticmethod(nearest_size)
    presets = {
        "paper": Preset(
            "the authors' CIFAR-10 network without labels, without averaged weights",
            settings=dict(resolution="32", images=16_000_000, ema=0),
            model=dict(conditional=False),
            spec=Spec((3, 32, 32)),
            parameters=dict(g=4_276_739, d=1_053_825),
        ),
        "paper-labels": Preset(
            "the authors' CIFAR-10 network with labels, without averaged weights",
            settings=dict(resolution="32", images=16_000_000, ema=0),
            spec=Spec((3, 32, 32), num_classes=10),
            parameters=dict(g=4_304_387, d=1_055_105),
        ),
        "paper-stl": Preset(
            "the paper's network for STL-10 at 48 px, without averaged weights",
            settings=dict(resolution="48", images=16_000_000, ema=0),
            model=dict(conditional=False),
            spec=Spec((3, 48, 48)),
            parameters=dict(g=4_878_083, d=10_141_441),
        ),
        "paper-imagenet": Preset(
            "the authors' network for ImageNet with labels at 128 px, without averaged weights",
            settings=dict(resolution="128", images=144_000_000, ema=0),
            model=dict(decay_from=400 / 450),
            spec=Spec((3, 128, 128), num_classes=1000),
            parameters=dict(g=41_996_931, d=30_041_857),
        ),
        "imagenet-64": Preset(
            "the authors' network for ImageNet with labels at 64 px, without averaged weights",
            settings=dict(resolution="64", images=80_000_000, ema=0),
            model=dict(g_batch=1, decay_from=200 / 250),
            spec=Spec((3, 64, 64), num_classes=1000),
            parameters=dict(g=17_974_915, d=11_165_441),
        ),
        "cpu": Preset(
            "for images of 28 to 64 px on one CPU core: as small, in small batches, with as many updates of G as of D; "
            "one check, on Fashion-MNIST at 28 px: Frechet distance 73 after 45 CPU seconds, 95 with small",
            model=dict(z_dim=32, width=16, pyramid=True, n_dis=1, g_batch=1, lr=1e-3),
            settings=dict(batch=16, images=100_000, ema=10_000),
        ),
        "small": Preset(
            "digits at 16 px on two CPU cores",
            model=dict(z_dim=32, width=16, pyramid=True, n_dis=2, g_batch=1, lr=1e-3),
            settings=dict(batch=32, images=100_000, ema=10_000),
        ),
    }

    def __init__(
        self,
        spec: Spec,
        *,
        z_dim: int = 128,
        width: int = 64,
        pyramid: bool | None = None,
        conditional: bool = True,
        n_dis: int = 5,
        g_batch: int = 2,
        lr: float = 2e-4,
        decay_from: float = 0.0,
    ):
        super().__init__(spec if conditional else replace(spec, num_classes=0))
        self.z_dim, self.n_dis, self.g_batch, self.lr, self.decay_from = z_dim, n_dis, g_batch, lr, decay_from
        classes, count, eps = self.spec.num_classes, stages(*spec.shape[1:]), 2e-5  # the eps of Chainer's batch norm
        norm = partial(ConditionalBatchNorm2d, num_classes=classes) if classes else BatchNorm2d
        flat, tall = [4 * width] * (count + 1), pyramid_widths(width, count)[::-1]
        pyramid = min(spec.height, spec.width) >= 48 if pyramid is None else pyramid
        self.g = SNGANGenerator(z_dim, spec.shape, tall if pyramid else flat, partial(norm, eps=eps), eps)
        self.d = discriminator(spec.shape, width, classes, pyramid)
        init_glorot(self)
        nn.init.xavier_uniform_(self.g.out.weight)  # without the factor sqrt(2)
        if classes:
            nn.init.xavier_uniform_(self.d.embed.weight)
        spectral_norm(self.d)
        self.opt = {name: adam(net.parameters(), lr, (0, 0.9)) for name, net in (("g", self.g), ("d", self.d))}

    def noise(self, n: int) -> Tensor:
        """(n, z_dim) latents from N(0, 1)."""
        return torch.randn(n, self.z_dim)

    def sample(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(N, z_dim) latents, and (N,) labels if trained with labels, to (N, C, H, W) images in [-1, 1]."""
        return self.g(z) if label is None else self.g(z, label)

    def step(self, batch: Batch, run: Run) -> None:
        for opt in self.opt.values():
            opt.param_groups[0]["lr"] = self.lr * min(1.0, (1 - run.done) / (1 - self.decay_from))
        if run.step % self.n_dis == 0:
            run.update("g", self.g_loss, batch)
        run.update("d", self.d_loss, batch)

    def d_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        images = dequantise(batch.real, batch.draw)
        real = self.d(batch.augment(images), batch.label if self.spec.num_classes else None)
        z, label = self.drawn(batch, 1)
        fake = self.d(batch.augment(self.sample(z, label)), label)
        return hinge.d(real, fake), scores(real, fake)

    def g_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        z, label = self.drawn(batch, self.g_batch)
        return hinge.g(self.d(batch.augment(self.sample(z, label)), label)), {}

    def drawn(self, batch: Batch, k: int) -> tuple[Tensor, Tensor | None]:
        """k latents, and k uniformly drawn labels, for each image of the batch."""
        z, classes = draw_times(batch.draw, self.noise, k), self.spec.num_classes
        return z, draw_times(batch.draw, lambda n: torch.randint(classes, (n,)), k) if classes else None
