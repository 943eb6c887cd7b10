"""biggan. Andrew Brock, Jeff Donahue, Karen Simonyan, "Large Scale GAN Training for High Fidelity Natural Image
Synthesis", ICLR 2019. https://arxiv.org/abs/1809.11096

SAGAN, wider and with batches eight times as large. One embedding of the class serves all of G: each block's batch norm
has gains and biases that are linear in that embedding and in a part of z of its own, so z reaches every block. Orthogonal
initialisation, a penalty that keeps G's filters from being alike (eq. 3), two updates of D for each of G, spectral norm
in both nets but not on G's embedding, attention at 64x64. Samples may be truncated: components of z beyond a threshold
are drawn again, which trades diversity for fidelity; the penalty is there to make G bear that.

The first layer takes its part of z alone: the paper's table adds the embedding, its parameter counts do not. One step is
one batch for D; G learns after each n_dis of them.

With `consistency` there are the terms of CR-GAN (Zhang et al. 2020) and of its improved forms (Zhao et al. 2021) with the
weights that these have for BigGAN: 10 on reals, 10 on fakes, 20 for D and .5 for G on z.

`deep` is the paper's BigGAN-deep: twice as many blocks, each with a narrow middle between 1x1 convolutions, so with fewer
parameters in all; shortcuts without weights, which drop channels in G and add some in D; z is not split but goes, beside
the embedding, to every batch norm and to the first layer.

The file is long because it holds two forms of both networks, in four sizes and three.

Deviations:
- Batch norm at sampling uses running means and variances; the paper takes them anew from 100 batches of truncated z, as
  `gankit sample RUN --standing 100` does.
- `truncate` finds what is drawn again from the component itself, by the normal distribution's inverse: as random, and a
  seed stays one sample.
- Other sizes than 128, 256 and 512 px have more or fewer blocks, with widths after theirs; at 64 px those of the author's
  PyTorch code.
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
from gankit.nn import BatchNorm2d, DBlock, GBlock, OptimizedDBlock, SelfAttention, nearest_size, spectral_norm, stages
from gankit.penalties import orthogonal
from gankit.recipe import Batch, Preset, Recipe, Run, Spec, adam

EPS = 1e-4  # of batch norm and of spectral norm, as in the authors' released models
# Channels of G's maps from the first on, by the number of doublings, as multiples of `width`; D's are the same reversed but
# for 64 px, whose sizes are the author's.
WIDTHS = {1: (2, 2), 2: (4, 4, 2), 3: (8, 8, 4, 2), 4: (16, 16, 8, 4, 2), 5: (16, 16, 8, 4, 2, 1)}
WIDTHS |= {6: (16, 16, 8, 8, 4, 2, 1), 7: (16, 16, 8, 8, 4, 2, 1, 1)}  # those of 5, 6 and 7 are the paper's
WIDTHS_D = {4: (1, 2, 4, 8, 16)}


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


class DeepGBlock(nn.Module):
    """Norm and ReLU before each of 1x1, 3x3, 3x3, 1x1, the middle narrow and doubled in size; shortcut: the first channels."""

    def __init__(self, in_channels: int, out_channels: int, norm: Callable[[int], nn.Module], up: bool):
        super().__init__()
        self.up, self.kept, hidden = up, out_channels, max(1, in_channels // 4)
        self.norms = nn.ModuleList(norm(channels) for channels in (in_channels, hidden, hidden, hidden))
        self.convs = nn.ModuleList(bottleneck(in_channels, hidden, out_channels))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, 2H, 2W), or (N, out_channels, H, W) where not `up`."""
        h, x = x, x[:, : self.kept]
        for i, (norm, conv) in enumerate(zip(self.norms, self.convs)):
            h = F.relu(norm(h, condition))
            h = conv(F.interpolate(h, scale_factor=2.0) if self.up and i == 1 else h)
        return h + (F.interpolate(x, scale_factor=2.0) if self.up else x)


class DeepDBlock(nn.Module):
    """ReLU before each of 1x1, 3x3, 3x3, 1x1, halved in size before the last; shortcut: down, and a 1x1 for added channels."""

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


def bottleneck(in_channels: int, hidden: int, out_channels: int) -> list[nn.Conv2d]:
    """1x1 to the hidden channels, 3x3, 3x3, 1x1 to those out."""
    middle = [nn.Conv2d(hidden, hidden, 3, padding=1) for _ in range(2)]
    return [nn.Conv2d(in_channels, hidden, 1), *middle, nn.Conv2d(hidden, out_channels, 1)]


class Generator(nn.Module):
    """Linear layer to a small map; up-blocks, or pairs of a block that keeps and one that doubles; norm, ReLU, 3x3, tanh."""

    def __init__(
        self,
        shape: tuple[int, ...],
        widths: list[int],
        z_dim: int,
        num_classes: int,
        embed_dim: int,
        at: int,
        deep: bool,
    ):
        super().__init__()
        self.deep, self.at, self.start = deep, at, (widths[0], *(side >> len(widths) - 1 for side in shape[1:]))
        self.embed = nn.Embedding(num_classes, embed_dim)
        part = z_dim if deep else z_dim // len(widths)
        self.dense = nn.Linear(part + embed_dim if deep else part, prod(self.start))
        norm, blocks = partial(LinearBatchNorm, condition_dim=part + embed_dim), []
        for a, b in zip(widths, widths[1:]):
            blocks += [DeepGBlock(a, a, norm, False), DeepGBlock(a, b, norm, True)] if deep else [GBlock(a, b, norm)]
        self.blocks, self.attention = nn.ModuleList(blocks), SelfAttention(widths[at])  # which follows `at` doublings
        self.norm, self.out = BatchNorm2d(widths[-1], eps=EPS), nn.Conv2d(widths[-1], shape[0], 3, padding=1)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        """(N, z_dim) latents and (N,) labels to (N, C, H, W) in [-1, 1]."""
        embedded = self.embed(label)
        if self.deep:
            first = torch.cat([z, embedded], 1)
            conditions = [first] * len(self.blocks)
        else:
            first, *parts = z.chunk(len(self.blocks) + 1, 1)
            conditions = [torch.cat([embedded, part], 1) for part in parts]
        h = self.dense(first).unflatten(1, self.start)
        for i, (block, condition) in enumerate(zip(self.blocks, conditions)):
            h = block(self.attention(h) if i == (2 * self.at if self.deep else self.at) else h, condition)
        return self.out(F.relu(self.norm(h))).tanh()


class Discriminator(nn.Module):
    """Blocks, with attention after `at` halvings; ReLU, sum over places; linear, plus a class's vector times the features."""

    def __init__(self, shape: tuple[int, ...], widths: list[int], num_classes: int, at: int, deep: bool):
        super().__init__()
        pairs = list(zip(widths, widths[1:]))
        if deep:
            trunk = [nn.Conv2d(shape[0], widths[0], 3, padding=1)]
            trunk += [block for a, b in pairs for block in (DeepDBlock(a, b, down=True), DeepDBlock(b, b, down=False))]
            trunk.insert(2 * at + 1, SelfAttention(widths[at]))
        else:
            trunk = [OptimizedDBlock(shape[0], widths[0])]
            trunk += [DBlock(a, b, down=i < len(pairs), hidden=b) for i, (a, b) in enumerate(pairs, 1)]
            trunk.insert(at, SelfAttention(widths[at - 1]))
        self.trunk = nn.Sequential(*trunk)
        self.head, self.embed = nn.Linear(widths[-1], 1), nn.Embedding(num_classes, widths[-1])

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] and (N,) labels to (N,) logits."""
        features = F.relu(self.trunk(x)).sum((2, 3))
        return self.head(features).squeeze(1) + (self.embed(label) * features).sum(1)


class BigGAN(Recipe):
    """Large GAN for labelled images whose sides are 4, 5, 6 or 7 times a power of two.

    Args:
        deep: the networks of BigGAN-deep; the paper's have --width 128.
        width: channels of the maps at full size.
        chunk: length of each block's part of z; not for deep.
        z_dim: length of z where it is not split, that is for deep alone.
        embed_dim: length of the class's embedding.
        attention: side of the map with attention, in G and in D, or the most it may be.
        orthogonal_weight: weight of the penalty on G's filters, beta in eq. 3.
        consistency: D is to say the same of an image flipped and shifted: of reals (cr), of fakes too (bcr), and of a
            sample whose z is a little different, which G in turn is to draw differently (icr).
        n_dis: updates of D for each of G.
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
            "128 px with two thirds of the channels, a row of the paper's table 1; the length is ours",
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
        "small": Preset(
            "digits at 16 px on two CPU cores",
            model=dict(width=12, chunk=10, embed_dim=16, lr_g=1e-3, lr_d=2e-3),
            settings=dict(batch=32, images=100_000, ema=10_000),
        ),
        "small-deep": Preset(
            "digits at 16 px on two CPU cores, BigGAN-deep",
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
        times = WIDTHS.get(count, (16,) * (count - 7) + WIDTHS[7])
        widths, widths_d = ([width * k for k in channels] for channels in (times, WIDTHS_D.get(count, times[::-1])))
        self.z_dim = z_dim if deep else chunk * (count + 1)
        self.orthogonal_weight, self.consistency, self.n_dis = orthogonal_weight, consistency, n_dis
        halvings = next((k for k in range(1, count) if side >> k <= attention), count)
        self.g = Generator(spec.shape, widths, self.z_dim, spec.num_classes, embed_dim, count - halvings, deep)
        self.d = Discriminator(spec.shape, widths_d, spec.num_classes, halvings, deep)
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
        if self.consistency != "none" and run.augment is not None:
            raise ValueError(
                "--consistency compares what D says of an image twice, and --augment would change it in between: take one"
            )
        run.update("d", self.d_loss, batch)
        if run.step % self.n_dis == self.n_dis - 1:
            run.update("g", self.g_loss, batch)

    def d_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        z, label = self.draw(batch)
        g, fakes = partial(self.g, label=label), self.g(z, label)
        on_real, on_fake = partial(self.judge, batch, batch.label), partial(self.judge, batch, label)
        real, fake = on_real(batch.real), on_fake(fakes)
        loss, outputs = hinge.d(real, fake), scores(real, fake)
        shown = Shown(on_real, batch.real, real), Shown(on_fake, fakes, fake)
        added, terms = consistency_d(self.consistency, *shown, g, z, batch.draw)
        return loss + added, outputs | terms

    def g_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        z, label = self.draw(batch)
        images = self.g(z, label)
        adversarial = hinge.g(self.judge(batch, label, images))
        with torch.autocast(adversarial.device.type, enabled=False):
            alike = orthogonal(self.g)
        added, terms = consistency_g(self.consistency, images, partial(self.g, label=label), z, batch.draw)
        loss = adversarial + self.orthogonal_weight * alike + added
        return loss, dict(adversarial=adversarial, alike=alike, **terms)

    def draw(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Latents, and labels drawn evenly."""
        label = batch.draw(lambda n: torch.randint(self.spec.num_classes, (n,)))
        return batch.draw(self.noise), label

    def judge(self, batch: Batch, label: Tensor, images: Tensor) -> Tensor:
        """(N,) labels and (N, C, H, W) images to D's (N,) logits on these as the run augments them."""
        return self.d(batch.augment(images), label)
