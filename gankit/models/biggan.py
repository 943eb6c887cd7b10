"""biggan. Andrew Brock, Jeff Donahue, Karen Simonyan, "Large Scale GAN Training for High Fidelity Natural Image
Synthesis", ICLR 2019. https://arxiv.org/abs/1809.11096

SAGAN, wider and with batches eight times as large. One embedding of the class serves all of G: each block's batch norm
has gains and biases that are linear in that embedding and in a part of z of its own, so z reaches every block. Orthogonal
initialisation, a penalty that keeps G's filters from being alike (eq. 3), two updates of D for each of G, spectral norm
in both nets but not on G's embedding, attention at 64x64. Samples may be truncated: components of z beyond a threshold
are drawn again, which trades diversity for fidelity; the penalty is there to make G bear that.

The first layer takes its part of z alone: the paper's table adds the embedding, its parameter counts do not. One step is
one batch for D; G learns after each n_dis of them.

The file is long because G hands parts of z to its blocks and the paper has four sizes.

Deviations:
- Batch norm at sampling uses running means and variances; the paper takes them anew from 100 batches of truncated z.
- `truncate` finds what is drawn again from the component itself, by the normal distribution's inverse: as random, and a
  seed stays one sample.
- Other sizes than 128, 256 and 512 px have more or fewer blocks, with widths after theirs.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.losses import hinge, scores
from gankit.nn import BatchNorm2d, DBlock, GBlock, OptimizedDBlock, SelfAttention, nearest_size, spectral_norm, stages
from gankit.penalties import orthogonal
from gankit.recipe import Batch, Preset, Recipe, Spec, adam

if TYPE_CHECKING:
    from gankit.loop import Run

EPS = 1e-4  # of batch norm and of spectral norm, as in the authors' released models
# Channels of G's maps from the first on, by the number of doublings, as multiples of `width`; D's are the same reversed.
WIDTHS = {1: (2, 2), 2: (4, 4, 2), 3: (8, 8, 4, 2), 4: (16, 16, 8, 4, 2), 5: (16, 16, 8, 4, 2, 1)}
WIDTHS |= {6: (16, 16, 8, 8, 4, 2, 1), 7: (16, 16, 8, 8, 4, 2, 1, 1)}  # those of 5, 6 and 7 are the paper's


class LinearBatchNorm(nn.Module):
    """Batch norm whose gain less 1, and whose bias, are linear in a condition."""

    def __init__(self, channels: int, condition_dim: int):
        super().__init__()
        self.norm = BatchNorm2d(channels, eps=EPS, affine=False)
        self.gain = nn.Linear(condition_dim, channels, bias=False)
        self.bias = nn.Linear(condition_dim, channels, bias=False)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(N, C, H, W) and (N, condition_dim) to (N, C, H, W)."""
        return (1 + self.gain(condition))[:, :, None, None] * self.norm(x) + self.bias(condition)[:, :, None, None]


class Generator(nn.Module):
    """A part of z to a small map; up-blocks, each with its part of z and the class's embedding; norm, ReLU, 3x3, tanh."""

    def __init__(
        self, shape: tuple[int, ...], widths: list[int], chunk: int, num_classes: int, embed_dim: int, at: int
    ):
        super().__init__()
        self.start = (widths[0], *(side >> len(widths) - 1 for side in shape[1:]))
        self.embed = nn.Embedding(num_classes, embed_dim)
        self.dense = nn.Linear(chunk, prod(self.start))
        norm = partial(LinearBatchNorm, condition_dim=chunk + embed_dim)
        self.blocks = nn.ModuleList(GBlock(a, b, norm) for a, b in zip(widths, widths[1:]))
        self.at, self.attention = at, SelfAttention(widths[at])
        self.norm, self.out = BatchNorm2d(widths[-1], eps=EPS), nn.Conv2d(widths[-1], shape[0], 3, padding=1)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        """(N, chunk * (blocks + 1)) latents and (N,) labels to (N, C, H, W) in [-1, 1]."""
        first, *parts = z.chunk(len(self.blocks) + 1, 1)
        embedded, h = self.embed(label), self.dense(first).unflatten(1, self.start)
        for i, (block, part) in enumerate(zip(self.blocks, parts)):
            h = block(self.attention(h) if i == self.at else h, torch.cat([embedded, part], 1))
        return self.out(F.relu(self.norm(h))).tanh()


class Discriminator(nn.Module):
    """Residual blocks, attention after `at` of them, ReLU, sum over places; linear, plus a class's vector times the features."""

    def __init__(self, shape: tuple[int, ...], widths: list[int], num_classes: int, at: int):
        super().__init__()
        last = len(widths) - 1
        blocks = [DBlock(a, b, down=i < last, hidden=b) for i, (a, b) in enumerate(zip(widths, widths[1:]), 1)]
        blocks.insert(at - 1, SelfAttention(widths[at - 1]))
        self.trunk = nn.Sequential(OptimizedDBlock(shape[0], widths[0]), *blocks)
        self.head, self.embed = nn.Linear(widths[-1], 1), nn.Embedding(num_classes, widths[-1])

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] and (N,) labels to (N,) logits."""
        features = F.relu(self.trunk(x)).sum((2, 3))
        return self.head(features).squeeze(1) + (self.embed(label) * features).sum(1)


class BigGAN(Recipe):
    """Large GAN for labelled images whose sides are 4, 5, 6 or 7 times a power of two.

    Args:
        width: channels of the maps at full size.
        chunk: length of each block's part of z.
        embed_dim: length of the class's embedding.
        attention: side of the map with attention, in G and in D, or the most it may be.
        orthogonal_weight: weight of the penalty on G's filters, beta in eq. 3.
        n_dis: updates of D for each of G.
        lr_g: Adam's learning rate for G.
        lr_d: Adam's learning rate for D.
    """

    labels, ema, defaults = "required", ("g",), dict(batch=64)
    nearest = staticmethod(nearest_size)
    presets = {
        "paper": Preset(
            "the paper's network for ImageNet at 128 px",
            settings=dict(resolution="128", batch=2048, images=500_000_000, ema=28_400_000),
            spec=Spec((3, 128, 128), num_classes=1000),
            parameters=dict(g=70_433_988, d=87_982_370),
        ),
        "paper-256": Preset(
            "the paper's network for ImageNet at 256 px",
            settings=dict(resolution="256", batch=2048, images=500_000_000, ema=28_400_000),
            spec=Spec((3, 256, 256), num_classes=1000),
            parameters=dict(g=82_235_844, d=99_225_890),
        ),
        "paper-512": Preset(
            "the paper's network for ImageNet at 512 px",
            settings=dict(resolution="512", batch=2048, images=500_000_000, ema=28_400_000),
            spec=Spec((3, 512, 512), num_classes=1000),
            parameters=dict(g=82_468_068),
        ),
        "narrow": Preset(
            "128 px with two thirds of the channels, a row of the paper's table 1",
            model=dict(width=64),
            settings=dict(resolution="128", batch=2048, images=500_000_000, ema=28_400_000),
            spec=Spec((3, 128, 128), num_classes=1000),
            parameters=dict(g=31_978_628, d=39_448_258),
        ),
        "small": Preset(
            "digits at 16 px on two CPU cores",
            model=dict(width=12, chunk=10, embed_dim=16, lr_g=1e-3, lr_d=2e-3),
            settings=dict(batch=32, images=100_000, ema=10_000),
        ),
    }

    def __init__(
        self,
        spec: Spec,
        *,
        width: int = 96,
        chunk: int = 20,
        embed_dim: int = 128,
        attention: int = 64,
        orthogonal_weight: float = 1e-4,
        n_dis: int = 2,
        lr_g: float = 5e-5,
        lr_d: float = 2e-4,
    ):
        super().__init__(spec)
        count, side = stages(spec.height, spec.width), min(spec.height, spec.width)
        widths = [width * times for times in WIDTHS.get(count, (16,) * (count - 7) + WIDTHS[7])]
        self.z_dim, self.orthogonal_weight, self.n_dis = chunk * (count + 1), orthogonal_weight, n_dis
        halvings = next((k for k in range(1, count) if side >> k <= attention), count)
        self.g = Generator(spec.shape, widths, chunk, spec.num_classes, embed_dim, count - halvings)
        self.d = Discriminator(spec.shape, widths[::-1], spec.num_classes, halvings)
        for layer in list(self.modules()):
            if isinstance(layer, (nn.Linear, nn.Conv2d, nn.Embedding)):
                nn.init.orthogonal_(layer.weight)
                if getattr(layer, "bias", None) is not None:
                    nn.init.zeros_(layer.bias)
                if layer is not self.g.embed:
                    spectral_norm(layer, EPS)
        self.opt = {
            name: adam(getattr(self, name).parameters(), lr, (0, 0.999)) for name, lr in (("g", lr_g), ("d", lr_d))
        }

    def noise(self, n: int) -> Tensor:
        """(n, z_dim) latents from N(0, 1)."""
        return torch.randn(n, self.z_dim)

    def sample(self, z: Tensor, label: Tensor) -> Tensor:
        """(N, z_dim) latents and (N,) labels to (N, C, H, W) images in [-1, 1]."""
        return self.g(z, label)

    def truncate(self, z: Tensor, trunc: float) -> Tensor:
        """(N, z_dim) latents, components beyond +-trunc in place of which there are others from N(0, 1) within it."""
        wide = z.double().cpu()
        tail = torch.special.ndtr(torch.tensor(-trunc, dtype=torch.float64))  # the share of N(0, 1) below -trunc
        below = torch.special.ndtr(-wide.abs()) / (2 * tail)  # of what is beyond, the share further out on this side
        uniform = torch.where(wide < 0, below, 1 - below)
        drawn = torch.special.ndtri(tail + uniform * (1 - 2 * tail))
        return torch.where(wide.abs() > trunc, drawn, wide).to(z)

    def step(self, batch: Batch, run: Run) -> None:
        run.update("d", self.d_loss, batch)
        if run.step % self.n_dis == self.n_dis - 1:
            run.update("g", self.g_loss, batch)

    def d_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        real, fake = self.d(batch.real, batch.label), self.d(*self.fakes(batch))
        return hinge.d(real, fake), scores(real, fake)

    def g_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        adversarial = hinge.g(self.d(*self.fakes(batch)))
        with torch.autocast(adversarial.device.type, enabled=False):
            alike = orthogonal(self.g)
        return adversarial + self.orthogonal_weight * alike, dict(adversarial=adversarial, alike=alike)

    def fakes(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Samples, and their labels, drawn evenly."""
        label = batch.draw(lambda n: torch.randint(self.spec.num_classes, (n,)))
        return self.sample(batch.draw(self.noise), label), label
