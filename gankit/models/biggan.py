"""biggan. Andrew Brock, Jeff Donahue, Karen Simonyan, "Large Scale GAN Training for High Fidelity Natural Image
Synthesis", ICLR 2019. https://arxiv.org/abs/1809.11096

SAGAN with more channels and batches eight times as large. All of G shares one class embedding: the gains and biases of
each block's batch norm are linear in the embedding and in the block's own chunk of z, so z reaches every block. Both
networks use orthogonal initialisation and attention at 64x64, and spectral norm on all layers but G's embedding; D has
two updates per update of G. Truncation resamples the components of z beyond a threshold, which trades diversity for
fidelity. A penalty on similar filters of G (eq. 3) makes G robust to truncation.

The first layer gets only its chunk of z: the paper's table adds the embedding, but its parameter counts do not. A step
is one batch for D, and every n_dis-th step also updates G.

`consistency` adds the terms of CR-GAN (Zhang et al. 2020) and of its improved forms (Zhao et al. 2021), with their
weights for BigGAN: 10 on reals, 10 on fakes, and on z 20 for D and 0.5 for G.

`deep` selects the paper's BigGAN-deep: twice as many blocks, each a bottleneck between 1x1 convolutions, with fewer
parameters in total. Its shortcuts drop channels in G and add channels in D. z is not split: z and the embedding go to
every batch norm and to the first layer.

The file is long because it holds two forms of both networks, one in four sizes and one in three.

Deviations:
- At sampling, batch norm uses running means and variances. The paper computes them from 100 batches of truncated z, as
  `gankit sample RUN --standing 100` does.
- `truncate` computes a resampled component from the original one, by the inverse of the normal distribution function:
  its distribution is the same, and a seed still determines its sample.
- Sizes other than 128, 256 and 512 px have more or fewer blocks, with widths that continue the paper's; those at 64 px
  are from the author's PyTorch code.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.augment import CONSISTENCY, Shown, consistency_d, consistency_g
from gankit.losses import hinge, scores
from gankit.nn import (
    BatchNorm2d,
    DBlock,
    DoublingConv2d,
    GBlock,
    OptimizedDBlock,
    SelfAttention,
    nearest_size,
    spectral_norm,
    stages,
)
from gankit.nn.projection import ProjectionDiscriminator
from gankit.penalties import orthogonal
from gankit.recipe import Batch, Preset, Recipe, Run, Spec, adam

EPS = 1e-4  # of batch norm and of spectral norm, as in the authors' released models
# Channels of G's feature maps, coarsest first, by the number of doublings, as multiples of `width`. D reverses them,
# except at 64 px, where the author's code has other ones.
WIDTHS = {1: (2, 2), 2: (4, 4, 2), 3: (8, 8, 4, 2), 4: (16, 16, 8, 4, 2), 5: (16, 16, 8, 4, 2, 1)}
WIDTHS |= {6: (16, 16, 8, 8, 4, 2, 1), 7: (16, 16, 8, 8, 4, 2, 1, 1)}  # those for 5, 6 and 7 are the paper's
WIDTHS_D = {4: (1, 2, 4, 8, 16)}


class LinearBatchNorm(nn.Module):
    """Conditional batch norm whose gain, less 1, and bias are linear in a condition."""

    def __init__(self, channels: int, condition_dim: int):
        super().__init__()
        self.norm = BatchNorm2d(channels, eps=EPS, affine=False)
        self.gain = nn.Linear(condition_dim, channels, bias=False)
        self.bias = nn.Linear(condition_dim, channels, bias=False)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(N, C, H, W) maps and (N, condition_dim) conditions to (N, C, H, W)."""
        return (1 + self.gain(condition))[:, :, None, None] * self.norm(x) + self.bias(condition)[:, :, None, None]


class DeepGBlock(nn.Module):
    """Bottleneck of G, with norm and ReLU before each convolution; the shortcut keeps the first channels."""

    def __init__(self, in_channels: int, out_channels: int, norm: Callable[[int], nn.Module], up: bool):
        super().__init__()
        self.up, self.kept, hidden = up, out_channels, max(1, in_channels // 4)
        self.norms = nn.ModuleList(norm(channels) for channels in (in_channels, hidden, hidden, hidden))
        self.convs = nn.ModuleList(bottleneck(in_channels, hidden, out_channels, up))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, 2H, 2W), or (N, out_channels, H, W) where not `up`."""
        h, x = x, x[:, : self.kept]
        for norm, conv in zip(self.norms, self.convs):
            h = conv(F.relu(norm(h, condition)))
        return h + (F.interpolate(x, scale_factor=2.0) if self.up else x)


class DeepDBlock(nn.Module):
    """Bottleneck of D, with ReLU before each convolution; a 1x1 convolution adds channels to the shortcut."""

    def __init__(self, in_channels: int, out_channels: int, down: bool):
        super().__init__()
        self.down, added = down, out_channels - in_channels
        self.convs = nn.ModuleList(bottleneck(in_channels, max(1, out_channels // 4), out_channels))
        self.shortcut = nn.Conv2d(in_channels, added, 1) if added else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H/2, W/2), or (N, out_channels, H, W) where not `down`."""
        h = x
        for conv in self.convs[:3]:
            h = conv(F.relu(h))
        h = F.relu(h)
        if self.down:
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        return self.convs[3](h) + (torch.cat([x, self.shortcut(x)], 1) if self.shortcut else x)


def bottleneck(in_channels: int, hidden: int, out_channels: int, up: bool = False) -> list[nn.Conv2d]:
    """Convolutions of a bottleneck: 1x1 to the hidden channels, 3x3 (doubling if `up`), 3x3, 1x1 to the output."""
    first = DoublingConv2d(hidden, hidden) if up else nn.Conv2d(hidden, hidden, 3, padding=1)
    middle = [first, nn.Conv2d(hidden, hidden, 3, padding=1)]
    return [nn.Conv2d(in_channels, hidden, 1), *middle, nn.Conv2d(hidden, out_channels, 1)]


class Generator(nn.Module):
    """Linear layer, residual blocks with attention after `attention_at` doublings, norm, ReLU, 3x3 convolution, tanh.

    Each doubling has one block; in the deep form two, the first of which keeps the size.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        widths: list[int],
        z_dim: int,
        num_classes: int,
        embed_dim: int,
        attention_at: int,
        deep: bool,
    ):
        super().__init__()
        self.deep, self.attention_at = deep, attention_at
        self.start = (widths[0], *(side >> len(widths) - 1 for side in shape[1:]))
        self.embed = nn.Embedding(num_classes, embed_dim)
        chunk = z_dim if deep else z_dim // len(widths)
        self.dense = nn.Linear(chunk + embed_dim if deep else chunk, prod(self.start))
        norm = partial(LinearBatchNorm, condition_dim=chunk + embed_dim)
        blocks: list[nn.Module] = []
        for a, b in zip(widths, widths[1:]):
            blocks += [DeepGBlock(a, a, norm, False), DeepGBlock(a, b, norm, True)] if deep else [GBlock(a, b, norm)]
        self.blocks, self.attention = nn.ModuleList(blocks), SelfAttention(widths[attention_at])
        self.norm, self.out = BatchNorm2d(widths[-1], eps=EPS), nn.Conv2d(widths[-1], shape[0], 3, padding=1)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        """(N, z_dim) latents and (N,) labels to (N, C, H, W) images in [-1, 1]."""
        embedding = self.embed(label)
        if self.deep:
            first = torch.cat([z, embedding], 1)
            conditions = [first] * len(self.blocks)
        else:
            first, *chunks = z.chunk(len(self.blocks) + 1, 1)
            conditions = [torch.cat([embedding, chunk], 1) for chunk in chunks]
        h = self.dense(first).unflatten(1, self.start)
        for i, (block, condition) in enumerate(zip(self.blocks, conditions)):
            h = self.attention(h) if i == self.attention_at * (2 if self.deep else 1) else h
            h = block(h, condition)
        return self.out(F.relu(self.norm(h))).tanh()


def discriminator(
    shape: tuple[int, ...], widths: list[int], num_classes: int, attention_at: int, deep: bool
) -> ProjectionDiscriminator:
    """Residual blocks for (C, H, W) images, with attention after `attention_at` halvings, and class projection."""
    pairs = list(zip(widths, widths[1:]))
    blocks: list[nn.Module]
    if deep:
        blocks = [nn.Conv2d(shape[0], widths[0], 3, padding=1)]
        blocks += [block for a, b in pairs for block in (DeepDBlock(a, b, down=True), DeepDBlock(b, b, down=False))]
        blocks.insert(2 * attention_at + 1, SelfAttention(widths[attention_at]))
    else:
        blocks = [OptimizedDBlock(shape[0], widths[0])]
        blocks += [DBlock(a, b, down=i < len(pairs), hidden=b) for i, (a, b) in enumerate(pairs, 1)]
        blocks.insert(attention_at, SelfAttention(widths[attention_at - 1]))
    return ProjectionDiscriminator(blocks, widths[-1], num_classes)


class BigGAN(Recipe):
    """Large-scale class-conditional GAN for labelled images whose sides are 4, 5, 6 or 7 times a power of two.

    Args:
        deep: use the networks of BigGAN-deep; the paper's have --width 128.
        width: channels of the feature maps at full size.
        chunk: length of each block's chunk of z; only without --deep.
        z_dim: length of z; only with --deep, otherwise it follows from --chunk.
        embed_dim: length of the class embedding.
        attention: largest side of the feature map with attention in G and in D.
        orthogonal_weight: weight of the orthogonality penalty on G's filters, beta in eq. 3.
        consistency: train D to give the same output for an image flipped and shifted: for reals (cr), for fakes too
            (bcr), and also for samples of slightly different z, while G learns to make these samples differ (icr).
        n_dis: updates of D per update of G.
        lr_g: Adam's learning rate for G.
        lr_d: Adam's learning rate for D.
    """

    labels, ema, defaults = "required", ("g",), dict(batch=64)
    nearest = staticmethod(nearest_size)
    presets = {
        "paper": Preset(
            "the paper's network for ImageNet at 128 px; the length is ours",
            settings=dict(resolution="128", batch=2048, images=500_000_000, ema=28_400_000),
            spec=Spec((3, 128, 128), num_classes=1000),
            parameters=dict(g=70_433_988, d=87_982_370),
        ),
        "paper-256": Preset(
            "the paper's network for ImageNet at 256 px; the length is ours",
            settings=dict(resolution="256", batch=2048, images=500_000_000, ema=28_400_000),
            spec=Spec((3, 256, 256), num_classes=1000),
            parameters=dict(g=82_235_844, d=99_225_890),
        ),
        "paper-512": Preset(
            "the paper's network for ImageNet at 512 px; the length is ours",
            settings=dict(resolution="512", batch=2048, images=500_000_000, ema=28_400_000),
            spec=Spec((3, 512, 512), num_classes=1000),
            parameters=dict(g=82_468_068),
        ),
        "narrow": Preset(
            "the paper's network for 128 px with two thirds of the channels, a row of its table 1; the length is ours",
            model=dict(width=64),
            settings=dict(resolution="128", batch=2048, images=500_000_000, ema=28_400_000),
            spec=Spec((3, 128, 128), num_classes=1000),
            parameters=dict(g=31_978_628, d=39_448_258),
        ),
        "deep": Preset(
            "the paper's BigGAN-deep for ImageNet at 128 px; the length is ours",
            model=dict(deep=True, width=128),
            settings=dict(resolution="128", batch=2048, images=500_000_000, ema=28_400_000),
            spec=Spec((3, 128, 128), num_classes=1000),
            parameters=dict(g=50_244_484, d=34_590_210),
        ),
        "deep-256": Preset(
            "the paper's BigGAN-deep for ImageNet at 256 px; the length is ours",
            model=dict(deep=True, width=128, lr_g=2.5e-5, lr_d=2.5e-5),
            settings=dict(resolution="256", batch=2048, images=500_000_000, ema=28_400_000),
            spec=Spec((3, 256, 256), num_classes=1000),
            parameters=dict(g=55_736_708, d=38_247_426),
        ),
        "deep-512": Preset(
            "the paper's BigGAN-deep for ImageNet at 512 px; the length is ours",
            model=dict(deep=True, width=128, lr_g=2.5e-5, lr_d=2.5e-5),
            settings=dict(resolution="512", batch=2048, images=500_000_000, ema=28_400_000),
            spec=Spec((3, 512, 512), num_classes=1000),
            parameters=dict(g=56_019_780),
        ),
        "cpu": Preset(
            "for images of 28 to 64 px on one CPU core: as small, in small batches, with as many updates of G as of D; "
            "one check, on Fashion-MNIST at 28 px: Frechet distance 75 after 45 CPU seconds, 112 with small",
            model=dict(width=12, chunk=10, embed_dim=16, n_dis=1, lr_g=1e-3, lr_d=2e-3),
            settings=dict(batch=16, images=60_000, ema=5_000),
        ),
        "small": Preset(
            "for digits at 16 px on two CPU cores",
            model=dict(width=12, chunk=10, embed_dim=16, lr_g=1e-3, lr_d=2e-3),
            settings=dict(batch=32, images=100_000, ema=10_000),
        ),
        "small-deep": Preset(
            "BigGAN-deep for digits at 16 px on two CPU cores",
            model=dict(deep=True, width=24, z_dim=30, embed_dim=16, lr_g=1e-3, lr_d=2e-3),
            settings=dict(batch=32, images=80_000, ema=10_000),
        ),
    }

    def __init__(
        self,
        spec: Spec,
        *,
        deep: bool = False,
        width: int = 96,
        chunk: int = 20,
        z_dim: int = 128,
        embed_dim: int = 128,
        attention: int = 64,
        orthogonal_weight: float = 1e-4,
        consistency: Literal["none", "cr", "bcr", "icr"] = "none",
        n_dis: int = 2,
        lr_g: float = 5e-5,
        lr_d: float = 2e-4,
    ):
        super().__init__(spec)
        if consistency not in CONSISTENCY:
            raise ValueError(f"there is no consistency {consistency!r}; choose from {', '.join(CONSISTENCY)}")
        count, side = stages(spec.height, spec.width), min(spec.height, spec.width)
        multiples = WIDTHS.get(count, (16,) * (count - 7) + WIDTHS[7])
        widths = [width * k for k in multiples]
        widths_d = [width * k for k in WIDTHS_D.get(count, multiples[::-1])]
        self.z_dim = z_dim if deep else chunk * (count + 1)
        self.orthogonal_weight, self.consistency, self.n_dis = orthogonal_weight, consistency, n_dis
        halvings = next((k for k in range(1, count) if side >> k <= attention), count)
        self.g = Generator(spec.shape, widths, self.z_dim, spec.num_classes, embed_dim, count - halvings, deep)
        self.d = discriminator(spec.shape, widths_d, spec.num_classes, halvings, deep)
        for layer in list(self.modules()):
            if isinstance(layer, (nn.Linear, nn.Conv2d, nn.Embedding)):
                nn.init.orthogonal_(layer.weight)
                if (bias := getattr(layer, "bias", None)) is not None:
                    nn.init.zeros_(bias)
                if layer is not self.g.embed:
                    spectral_norm(layer, EPS)
        self.opt = {"g": adam(self.g.parameters(), lr_g, (0, 0.999)), "d": adam(self.d.parameters(), lr_d, (0, 0.999))}

    def noise(self, n: int) -> Tensor:
        """(n, z_dim) latents from N(0, 1)."""
        return torch.randn(n, self.z_dim)

    def sample(self, z: Tensor, label: Tensor) -> Tensor:
        """(N, z_dim) latents and (N,) labels to (N, C, H, W) images in [-1, 1]."""
        return self.g(z, label)

    def truncate(self, z: Tensor, trunc: float) -> Tensor:
        """(N, z_dim) latents whose components beyond +-trunc are replaced by values from N(0, 1) within +-trunc."""
        wide = z.double().cpu()
        tail = torch.special.ndtr(torch.tensor(-trunc, dtype=torch.float64))  # P(x < -trunc) for x from N(0, 1)
        quantile = torch.special.ndtr(-wide.abs()) / (2 * tail)  # P(x beyond z, on its side) given |x| > trunc
        uniform = torch.where(wide < 0, quantile, 1 - quantile)
        resampled = torch.special.ndtri(tail + uniform * (1 - 2 * tail))
        return torch.where(wide.abs() > trunc, resampled, wide).to(z)

    def step(self, batch: Batch, run: Run) -> None:
        if self.consistency != "none" and run.augment is not None:
            raise ValueError(
                "--consistency compares two outputs of D for an image, which --augment would change: use only one"
            )
        run.update("d", self.d_loss, batch)
        if run.step % self.n_dis == self.n_dis - 1:
            run.update("g", self.g_loss, batch)

    def d_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        z, label = self.latents(batch)
        generator = partial(self.g, label=label)
        fake = generator(z)
        real_critic, fake_critic = partial(self.logits, batch, batch.label), partial(self.logits, batch, label)
        real_logits, fake_logits = real_critic(batch.real), fake_critic(fake)
        loss, outputs = hinge.d(real_logits, fake_logits), scores(real_logits, fake_logits)
        shown = Shown(real_critic, batch.real, real_logits), Shown(fake_critic, fake, fake_logits)
        consistency, terms = consistency_d(self.consistency, *shown, generator, z, batch.draw)
        return loss + consistency, outputs | terms

    def g_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        z, label = self.latents(batch)
        generator = partial(self.g, label=label)
        fake = generator(z)
        adversarial = hinge.g(self.logits(batch, label, fake))
        with torch.autocast(adversarial.device.type, enabled=False):
            alike = orthogonal(self.g)
        consistency, terms = consistency_g(self.consistency, fake, generator, z, batch.draw)
        loss = adversarial + self.orthogonal_weight * alike + consistency
        return loss, dict(adversarial=adversarial, alike=alike, **terms)

    def latents(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(N, z_dim) latents and (N,) labels, which are uniform over the classes."""
        label = batch.draw(lambda n: torch.randint(self.spec.num_classes, (n,)))
        return batch.draw(self.noise), label

    def logits(self, batch: Batch, label: Tensor, images: Tensor) -> Tensor:
        """(N,) labels and (N, C, H, W) images, augmented if the run asks for it, to D's (N,) logits."""
        return self.d(batch.augment(images), label)
