"""sagan. Han Zhang, Ian Goodfellow, Dimitris Metaxas, Augustus Odena, "Self-Attention Generative Adversarial Networks",
ICML 2019. https://arxiv.org/abs/1805.08318

A convolution sees a few pixels at a time. Here one map in the middle of G and one of D go through self-attention, in
which every place looks at all others, weighted by how alike they are; what it finds is added with a factor that begins
at 0. Spectral norm in D, as in SNGAN, and in G too; D learns four times as fast as G, in place of several updates of D
for one of G. Hinge loss; with labels, G has conditional batch norm and D the projection of Miyato & Koyama 2018.

Nets are those of the authors' code: SNGAN's for ImageNet at 128 px, but in D's blocks the first convolution has as many
filters as the second. Attention is at 32x32, where the authors' code has it; the paper tried 8, 16, 32 and 64. G learns
before D. The projection's vectors are spectrally normalised, conditional batch norm's tables are not.

The file is long because G and D place attention each in nets that grow with the image.

Deviations:
- Adam's second beta is 0.9, as the paper says; the authors' code leaves it at 0.999.
- Each forward pass moves the power iteration on; in the authors' code those of D on fakes do not.
- Running means and variances, with which samples are drawn, move by .1 a batch; in the code by .001, and by .0001 in G's last
  norm.
- Other sizes than 128 px have more or fewer blocks, and attention at half the image's side where that is below 32.
- Without a preset, samples come from averaged weights (`--ema 0`: the last ones); the paper has no averaging.
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
    SelfAttention,
    nearest_size,
    spectral_norm,
    stages,
)
from gankit.recipe import Batch, Preset, Recipe, Run, Spec, adam


class Discriminator(nn.Module):
    """Residual blocks, attention after so many `halvings` of the image, ReLU, sum over places; linear, and projection."""

    def __init__(self, shape: tuple[int, ...], width: int, num_classes: int, halvings: int):
        super().__init__()
        downs = stages(*shape[1:]) + (min(shape[1:]) >> stages(*shape[1:]) >= 6)  # down to 3, 4 or 5
        widths = [width * min(2**i, 16) for i in range(downs + 1)]
        blocks = [DBlock(a, b, down=i < downs, hidden=b) for i, (a, b) in enumerate(zip(widths, widths[1:]), 1)]
        if halvings:
            blocks.insert(halvings - 1, SelfAttention(widths[halvings - 1]))
        self.trunk = nn.Sequential(OptimizedDBlock(shape[0], width), *blocks)
        self.head = nn.Linear(widths[-1], 1)
        self.embed = nn.Embedding(num_classes, widths[-1]) if num_classes else None

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """(N, C, H, W) in [-1, 1], and (N,) labels, to (N,) logits."""
        features = F.relu(self.trunk(x)).sum((2, 3))
        logits = self.head(features).squeeze(1)
        return logits if label is None else logits + (self.embed(label) * features).sum(1)


class SAGAN(Recipe):
    """GAN with self-attention, for images whose sides are 4, 5, 6 or 7 times a power of two.

    Args:
        z_dim: length of the latent z.
        width: channels of the blocks next to the image; they double with each halving, up to 16 times as many.
        attention: side of the map with attention, in G and in D, or the most it may be; 0 for no attention.
        conditional: use labels, where the data has them.
        lr_g: Adam's learning rate for G.
        lr_d: Adam's learning rate for D.
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
        self.g = ResNetGenerator(z_dim, spec.shape, widths, norm)
        halvings = next((k for k in range(1, count + 1) if side >> k <= attention), 0)
        if halvings:
            self.g.blocks.insert(count - halvings, SelfAttention(widths[count - halvings]))
        self.d = Discriminator(spec.shape, width, classes, halvings)
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
        """(N, z_dim) latents, and (N,) labels where it learnt from some, to (N, C, H, W) images in [-1, 1]."""
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
        """Samples as D sees them, and their labels, drawn evenly."""
        label = batch.draw(lambda n: torch.randint(self.spec.num_classes, (n,))) if self.spec.num_classes else None
        return batch.augment(self.sample(batch.draw(self.noise), label)), label
