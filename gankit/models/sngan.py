"""sngan. Takeru Miyato, Toshiki Kataoka, Masanori Koyama, Yuichi Yoshida, "Spectral Normalization for Generative
Adversarial Networks", ICLR 2018. https://arxiv.org/abs/1802.05957

Each weight of D is divided by its largest singular value, which makes D Lipschitz; one step of power iteration at each
forward pass, from where the last one ended, keeps track of it. Hinge loss, Adam without momentum, five updates of D for
each of G. With labels this is Miyato & Koyama, "cGANs with Projection Discriminator", ICLR 2018: a class's vector times
D's features is added to D's output, and G has conditional batch norm.

Below 48 px the nets are the authors' for CIFAR-10, all blocks of one width; from there on those for STL-10 (48 px),
ImageNet (64 and 128 px) and cats and dogs (256 px), whose widths double with each halving. As in the authors' code, reals
are dequantised, learning rates fall linearly to 0, and D's power iteration moves on in G's turn too. One step takes one
batch for D; G learns before the first of each n_dis, from `g_batch` latents for each image.

The file is long because it holds two papers and the authors' two shapes of networks.

Deviations:
- Other sizes than 32, 48, 64, 128 and 256 px have more or fewer blocks.
- Without a preset, samples come from averaged weights (`--ema 0`: the last ones); the papers have no averaging.
- Left out: the papers' cross-entropy loss, D with the class beside its features, and the plain convolutional nets.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.losses import hinge, scores
from gankit.nn import (
    BatchNorm2d,
    ConditionalBatchNorm2d,
    DBlock,
    OptimizedDBlock,
    ResNetGenerator,
    init_glorot,
    nearest_size,
    spectral_norm,
    stages,
)
from gankit.recipe import Batch, Preset, Recipe, Run, Spec, adam


def pyramid_widths(width: int, halvings: int) -> list[int]:
    """Channels of the maps from the image's size on: they double up to 16 times `width`; for 256 px as the authors' do."""
    return [
        width * k for k in ((1, 2, 4, 8, 8, 16, 16) if halvings == 6 else [min(2**i, 16) for i in range(halvings + 1)])
    ]


class Discriminator(nn.Module):
    """Residual blocks, ReLU, sum over places; linear output, plus a class's vector times the features."""

    def __init__(self, shape: tuple[int, ...], width: int, num_classes: int, pyramid: bool):
        super().__init__()
        count = stages(*shape[1:])
        if pyramid:  # halvings down to 3, 4 or 5, then one block that keeps the size; at 64 px that one halves, too
            halvings = count + (min(shape[1:]) >> count >= 6)
            widths, downs = pyramid_widths(width, halvings), halvings + (halvings == 4 and count == 4)
        else:  # halvings down to 8 or so, then two blocks
            downs = max(1, count - 1)
            widths = [2 * width] * (downs + 2)
        blocks = [DBlock(a, b, down=i < downs) for i, (a, b) in enumerate(zip(widths, widths[1:]), 1)]
        self.trunk = nn.Sequential(OptimizedDBlock(shape[0], widths[0]), *blocks)
        self.head = nn.Linear(widths[-1], 1)
        self.embed = nn.Embedding(num_classes, widths[-1]) if num_classes else None

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """(N, C, H, W) in [-1, 1], and (N,) labels, to (N,) logits."""
        features = F.relu(self.trunk(x)).sum((2, 3))
        logits = self.head(features).squeeze(1)
        return logits if label is None else logits + (self.embed(label) * features).sum(1)


class SNGAN(Recipe):
    """GAN with spectral normalisation, for images whose sides are 4, 5, 6 or 7 times a power of two.

    Args:
        z_dim: length of the latent z.
        width: channels of the pyramid's blocks next to the image (the authors have 32 at 256 px); else G's blocks all have 4
            times as many, D's twice.
        pyramid: whether widths double with each halving; None: from 48 px on, as in the papers.
        conditional: use labels, where the data has them.
        n_dis: updates of D for each of G.
        g_batch: latents in an update of G for each image of the batch.
        lr: Adam's learning rate at the start.
        decay_from: share of the run after which the learning rate falls linearly to 0.
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
        classes, count, eps = self.spec.num_classes, stages(*spec.shape[1:]), 2e-5  # eps of Chainer's batch norm
        norm = partial(ConditionalBatchNorm2d, num_classes=classes) if classes else BatchNorm2d
        flat, tall = [4 * width] * (count + 1), pyramid_widths(width, count)[::-1]
        pyramid = min(spec.height, spec.width) >= 48 if pyramid is None else pyramid
        self.g = ResNetGenerator(z_dim, spec.shape, tall if pyramid else flat, partial(norm, eps=eps), eps)
        self.d = Discriminator(spec.shape, width, classes, pyramid)
        init_glorot(self)
        nn.init.xavier_uniform_(self.g.out.weight)  # no sqrt(2) here
        if classes:
            nn.init.xavier_uniform_(self.d.embed.weight)
        spectral_norm(self.d)
        self.opt = {name: adam(net.parameters(), lr, (0, 0.9)) for name, net in (("g", self.g), ("d", self.d))}

    def noise(self, n: int) -> Tensor:
        """(n, z_dim) latents from N(0, 1)."""
        return torch.randn(n, self.z_dim)

    def sample(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(N, z_dim) latents, and (N,) labels where it learnt from some, to (N, C, H, W) images in [-1, 1]."""
        return self.g(z) if label is None else self.g(z, label)

    def step(self, batch: Batch, run: Run) -> None:
        for opt in self.opt.values():
            opt.param_groups[0]["lr"] = self.lr * min(1.0, (1 - run.done) / (1 - self.decay_from))
        if run.step % self.n_dis == 0:
            run.update("g", self.g_loss, batch)
        run.update("d", self.d_loss, batch)

    def d_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        images = (127.5 * (batch.real + 1) + batch.draw(lambda n: torch.rand(n, *self.spec.shape))) / 128 - 1
        real = self.d(batch.augment(images), batch.label if self.spec.num_classes else None)
        z, label = self.draw(batch, 1)
        fake = self.d(batch.augment(self.sample(z, label)), label)
        return hinge.d(real, fake), scores(real, fake)

    def g_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        z, label = self.draw(batch, self.g_batch)
        return hinge.g(self.d(batch.augment(self.sample(z, label)), label)), {}

    def draw(self, batch: Batch, k: int) -> tuple[Tensor, Tensor | None]:
        """k latents, and k labels drawn evenly, for each row of the batch."""
        z = batch.draw(lambda n: self.noise(n * k).unflatten(0, (n, k))).flatten(0, 1)
        if not self.spec.num_classes:
            return z, None
        return z, batch.draw(lambda n: torch.randint(self.spec.num_classes, (n, k))).flatten()
