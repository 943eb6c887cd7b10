"""sagan. Han Zhang, Ian Goodfellow, Dimitris Metaxas, Augustus Odena, "Self-Attention Generative Adversarial
Networks", ICML 2019. https://arxiv.org/abs/1805.08318

The receptive field of a convolution is small. Here one map in the middle of G and one of D go through self-attention:
each position attends to all others, weighted by similarity, and the result is added to the map with a learned factor
that is initially 0. Both D, as in SNGAN, and G have spectral normalization. D's learning rate is four times G's,
instead of several updates of D for each of G. Hinge loss; with labels, G has conditional batch norm and D the
projection of Miyato & Koyama 2018.

The networks are those of the authors' code: SNGAN's for ImageNet at 128 px, except that the first convolution of D's
blocks has as many filters as the second. Attention is at 32x32, where the authors' code has it; the paper compares 8,
16, 32 and 64. G is updated before D. The class embedding of the projection is spectrally normalized; the tables of
conditional batch norm are not.

Deviations:
- Adam's second beta is 0.9, as in the paper; the authors' code leaves it at 0.999.
- Each forward pass advances the power iteration; in the authors' code, D's forward passes on fakes do not.
- Running means and variances, which sampling uses, have momentum .1; in the code .001, and .0001 in G's last norm.
- Sizes other than 128 px have more or fewer blocks. Where half the image's side is below 32, attention is at that
  size.
- Without a preset, samples come from averaged weights (`--ema 0`: the last ones); the paper has no averaging.
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
    SelfAttention,
    SNGANGenerator,
    nearest_size,
    spectral_norm,
    stages,
)
from gankit.nn.projection import ProjectionDiscriminator
from gankit.recipe import Batch, Preset, Recipe, Run, Spec, adam


def discriminator(shape: tuple[int, ...], width: int, num_classes: int, halvings: int) -> ProjectionDiscriminator:
    """Residual blocks for (C, H, W) images, self-attention after `halvings` of them, and class projection."""
    downs = stages(*shape[1:]) + (min(shape[1:]) >> stages(*shape[1:]) >= 6)  # down to 3, 4 or 5
    widths = [width * min(2**i, 16) for i in range(downs + 1)]
    blocks: list[nn.Module] = [
        DBlock(a, b, down=i < downs, hidden=b) for i, (a, b) in enumerate(zip(widths, widths[1:]), 1)
    ]
    if halvings:
        blocks.insert(halvings - 1, SelfAttention(widths[halvings - 1]))
    return ProjectionDiscriminator([OptimizedDBlock(shape[0], width), *blocks], widths[-1], num_classes)


class SAGAN(Recipe):
    """GAN with self-attention, for images whose sides are 4, 5, 6 or 7 times a power of two.

    Args:
        z_dim: length of the latent z.
        width: channels of the blocks next to the image; they double with each halving, up to 16 times as many.
        attention: self-attention in G and D is at the largest map whose side is at most this; 0 for none.
        conditional: use labels if the data has them.
        lr_g: learning rate of Adam for G.
        lr_d: learning rate of Adam for D.
    """

    labels, ema, defaults = "optional", ("g",), dict(batch=64)
    nearest = staticmethod(nearest_size)
    presets = {
        "paper": Preset(
            "the paper's network for ImageNet with labels at 128 px, without averaged weights",
            settings=dict(resolution="128", batch=256, images=256_000_000, ema=0),
            spec=Spec((3, 128, 128), num_classes=1000),
            parameters=dict(g=42_078_852, d=39_463_618),
        ),
        "cpu": Preset(
            "for images of 28 to 64 px on one CPU core: as small, in small batches, with a higher rate of G; "
            "one check, on Fashion-MNIST at 28 px: Frechet distance 55 after 45 CPU seconds, 104 with small",
            model=dict(z_dim=32, width=16, lr_g=1e-3, lr_d=2e-3),
            settings=dict(batch=16, images=60_000, ema=5_000),
        ),
        "small": Preset(
            "digits at 16 px on two CPU cores",
            model=dict(z_dim=32, width=16, lr_g=5e-4, lr_d=2e-3),
            settings=dict(batch=32, images=100_000, ema=10_000),
        ),
    }

    def __init__(
        self,
        spec: Spec,
        *,
        z_dim: int = 128,
        width: int = 64,
        attention: int = 32,
        conditional: bool = True,
        lr_g: float = 1e-4,
        lr_d: float = 4e-4,
    ):
        super().__init__(spec if conditional else replace(spec, num_classes=0))
        self.z_dim = z_dim
        classes, count, side = self.spec.num_classes, stages(*spec.shape[1:]), min(spec.shape[1:])
        widths = [width * min(2**i, 16) for i in reversed(range(count + 1))]
        norm = partial(ConditionalBatchNorm2d, num_classes=classes) if classes else BatchNorm2d
        self.g = SNGANGenerator(z_dim, spec.shape, widths, norm)
        halvings = next((k for k in range(1, count + 1) if side >> k <= attention), 0)
        if halvings:
            self.g.blocks.insert(count - halvings, SelfAttention(widths[count - halvings]))
        self.d = discriminator(spec.shape, width, classes, halvings)
        for layer in list(self.modules()):
            if isinstance(layer, (nn.Linear, nn.Conv2d)):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
                spectral_norm(layer)
        if classes:
            nn.init.xavier_uniform_(self.d.embed.weight)
            spectral_norm(self.d.embed)
        self.opt = {"g": adam(self.g.parameters(), lr_g, (0, 0.9)), "d": adam(self.d.parameters(), lr_d, (0, 0.9))}

    def noise(self, n: int) -> Tensor:
        """(n, z_dim) latents from N(0, 1)."""
        return torch.randn(n, self.z_dim)

    def sample(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(N, z_dim) latents, and (N,) labels if trained with labels, to (N, C, H, W) images in [-1, 1]."""
        return self.g(z) if label is None else self.g(z, label)

    def step(self, batch: Batch, run: Run) -> None:
        run.update("g", self.g_loss, batch)
        run.update("d", self.d_loss, batch)

    def d_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        real = self.d(batch.augment(batch.real), batch.label if self.spec.num_classes else None)
        fake = self.d(*self.fakes(batch))
        return hinge.d(real, fake), scores(real, fake)

    def g_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return hinge.g(self.d(*self.fakes(batch))), {}

    def fakes(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Augmented samples, as D sees them, and their labels, drawn uniformly."""
        label = batch.draw(lambda n: torch.randint(self.spec.num_classes, (n,))) if self.spec.num_classes else None
        return batch.augment(self.sample(batch.draw(self.noise), label)), label
