"""pggan. Tero Karras, Timo Aila, Samuli Laine, Jaakko Lehtinen, "Progressive Growing of GANs for Improved Quality,
Stability, and Variation", ICLR 2018. https://arxiv.org/abs/1710.10196

Both networks begin at 4x4 px. When a level has been learnt, a block for twice the side is put next to the image in both
and faded in: what goes out of G and into D slides from the old level's picture, enlarged, to the new one's, and reals
slide likewise. Weights are scaled at use so that all layers learn at one speed, G's features have unit length at each
pixel, D sees how much its batch varies, and the loss is WGAN-GP's, with a small pull of D's outputs on reals to 0.

Level and fade follow from the images seen. Adam forgets its moments whenever a fade begins or ends, as in the authors'
code. `sample` draws at the level of now, clamped, and before the last level enlarged to the full side.

The file is long because it holds networks that grow, and what grows with them: batch, learning rate and reals.

Deviations: averaged weights have a half-life in images, which is .999 a step at the paper's batch of 16; the fade moves
at each step, in the authors' code at each fourth; `lsgan` is the loss alone, without the paper's noise in D. Halving is
the paper's, after bias and leaky ReLU; the authors' TensorFlow code does it before them. Left out: labels, which that code
takes, and switches for the other rows of the paper's table 1 (pixel norm, equalised rates, the batch's deviation).
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.losses import least_squares, scores, wasserstein
from gankit.nn import (
    EqualisedConv2d,
    EqualisedLinear,
    MinibatchStddev,
    PixelNorm,
    at_side,
    by_side,
    double,
    faded,
    grown,
    nearest_size,
    stages,
)
from gankit.penalties import wgan_gp
from gankit.recipe import Batch, Images, Phase, Preset, Recipe, Run, Spec, adam


def conv(a: int, b: int, norm: bool = False) -> nn.Sequential:
    """3x3 convolution, leaky ReLU, and G's pixel norm."""
    return nn.Sequential(EqualisedConv2d(a, b, 3), nn.LeakyReLU(0.2), *([PixelNorm()] if norm else []))


class Generator(nn.Module):
    """Dense layer to the first map, then a block of two convolutions for each level; linear output."""

    def __init__(self, z_dim: int, shape: tuple[int, ...], widths: list[int], h: int, w: int, place_bias: bool):
        super().__init__()
        # gain sqrt(2) / 4 and a bias for each channel: the authors' layer is a 4x4 transposed convolution
        dense = EqualisedLinear(z_dim, widths[0] * h * w, gain=2**0.5 / 4, bias=False)
        self.first = nn.Sequential(PixelNorm(), dense, nn.Unflatten(1, (widths[0], h, w)))
        self.bias = nn.Parameter(torch.zeros(widths[0], *((h, w) if place_bias else (1, 1))))
        self.second = nn.Sequential(nn.LeakyReLU(0.2), PixelNorm(), conv(widths[0], widths[0], norm=True))
        self.blocks = nn.ModuleList(
            nn.Sequential(conv(a, b, True), conv(b, b, True)) for a, b in zip(widths, widths[1:])
        )
        self.to_rgb = nn.ModuleList(EqualisedConv2d(c, shape[0], 1, gain=1) for c in widths)

    def forward(self, z: Tensor, level: int, alpha: float) -> Tensor:
        """(N, z_dim) to (N, C, h 2^level, w 2^level): the level's picture by alpha, the last one's, enlarged, by the rest."""
        x = before = self.second(self.first(z) + self.bias)
        for block in self.blocks[:level]:
            before, x = x, block(double(x))
        image = self.to_rgb[level](x)
        return image if alpha == 1 else torch.lerp(double(self.to_rgb[level - 1](before)), image, alpha)


class Discriminator(nn.Module):
    """G's mirror image: a block of two convolutions and a halving for each level; sees its batch's deviation at the end."""

    def __init__(self, shape: tuple[int, ...], widths: list[int], h: int, w: int, group: int):
        super().__init__()
        self.from_rgb = nn.ModuleList(nn.Sequential(EqualisedConv2d(shape[0], c, 1), nn.LeakyReLU(0.2)) for c in widths)
        self.blocks = nn.ModuleList(
            nn.Sequential(conv(b, b), conv(b, a), nn.AvgPool2d(2)) for a, b in zip(widths, widths[1:])
        )
        dense = EqualisedLinear(widths[0] * h * w, widths[0])
        self.head = nn.Sequential(
            MinibatchStddev(group), conv(widths[0] + 1, widths[0]), nn.Flatten(), dense, nn.LeakyReLU(0.2),
            EqualisedLinear(widths[0], 1, gain=1),
        )  # fmt: skip

    def forward(self, image: Tensor, level: int, alpha: float) -> Tensor:
        """(N, C, h 2^level, w 2^level) to (N,) outputs; the level's features by alpha, the halved image's by the rest."""
        x = self.from_rgb[level](image)
        for i in reversed(range(level)):
            x = self.blocks[i](x)
            if i + 1 == level and alpha < 1:
                x = torch.lerp(self.from_rgb[i](F.avg_pool2d(image, 2)), x, alpha)
        return self.head(x).squeeze(1)


class PGGAN(Recipe):
    """Progressively grown GAN, for images whose sides are 4, 5, 6 or 7 times a power of two.

    Args:
        z_dim: length of the latent z, which G puts on a sphere.
        channel_base: a map of side s = 4, 8, 16 ... has channel_base / s channels.
        channel_max: channels of a map at most.
        hold: images on which each level is learnt; the last one is until the end.
        fade: images over which the next level is faded in.
        batches: images in a step from a side on, "256:14 512:6"; below the first the settings' batch.
        lrs: Adam's learning rates from a side on, likewise; below the first `lr`.
        lr: Adam's learning rate.
        group: images over which D takes the deviation.
        loss: WGAN-GP's or least squares.
        penalty_weight: lambda of the gradient penalty.
        target: length that the critic's gradient is to have; 750 for the paper's CIFAR-10. The penalty is over target^2.
        drift: weight of the square of the critic's outputs on reals.
        place_bias: a bias for each place of G's first map, too, as weights from Facebook's pytorch_GAN_zoo have it.
    """

    ema, defaults = ("g",), dict(batch=16, images=19_000_000, ema=11_000)
    nearest = staticmethod(nearest_size)
    presets = {
        "paper": Preset(
            "the paper's network and schedule for CelebA-HQ at 1024 px",
            settings=dict(resolution="1024", mirror=True),
            spec=Spec((3, 1024, 1024)),
            parameters=dict(g=23_079_115, d=23_087_249),
        ),
        "paper-256": Preset(
            "the paper's network and schedule for LSUN at 256 px",
            settings=dict(resolution="256", mirror=True, images=12_000_000),
            spec=Spec((3, 256, 256)),
            parameters=dict(g=23_044_309, d=23_052_353),
        ),
        "paper-8gpu": Preset(
            "the schedule of the authors' TensorFlow code for 1024 px on eight GPUs",
            model=dict(
                hold=600_000, fade=600_000, group=4, batches="4:512 8:256 16:128 32:64 64:32",
                lrs="128:.0015 256:.002 512:.003",
            ),
            settings=dict(resolution="1024", mirror=True, images=12_000_000),
            spec=Spec((3, 1024, 1024)),
            parameters=dict(g=23_079_115, d=23_087_249),
        ),
        "small": Preset(
            "digits at 16 px on two CPU cores, 4 -> 8 -> 16",
            model=dict(z_dim=32, channel_base=384, channel_max=64, hold=6_000, fade=3_000, lr=3e-3, group=4),
            settings=dict(batch=32, images=60_000, ema=5_000),
        ),
    }  # fmt: skip

    def __init__(
        self,
        spec: Spec,
        *,
        z_dim: int = 512,
        channel_base: int = 16384,
        channel_max: int = 512,
        hold: Images = Images(800_000),
        fade: Images = Images(800_000),
        batches: str = "256:14 512:6 1024:3",
        lrs: str = "",
        lr: float = 1e-3,
        group: int = 16,
        loss: Literal["wgan_gp", "lsgan"] = "wgan_gp",
        penalty_weight: float = 10.0,
        target: float = 1.0,
        drift: float = 1e-3,
        place_bias: bool = False,
    ):
        super().__init__(spec)
        if hold < 1 or fade < 0:
            raise ValueError(f"hold is {hold} and fade {fade} images; a level needs 1 and 0 at least")
        self.last, self.z_dim, self.hold, self.fade = stages(spec.height, spec.width), z_dim, hold, fade
        self.batches, self.lrs, self.lr = by_side(batches), by_side(lrs), lr
        self.loss, self.penalty_weight, self.target, self.drift = loss, penalty_weight, target, drift
        self.h, self.w = spec.height >> self.last, spec.width >> self.last
        widths = [max(1, min(channel_base // (4 << i), channel_max)) for i in range(self.last + 1)]
        self.g = Generator(z_dim, spec.shape, widths, self.h, self.w, place_bias)
        self.d = Discriminator(spec.shape, widths, self.h, self.w, group)
        self.register_buffer("level", torch.tensor(0))  # of the last step, for samples
        self.register_buffer("alpha", torch.tensor(1.0))
        self.opt = {name: adam(net.parameters(), lr, (0, 0.99)) for name, net in (("g", self.g), ("d", self.d))}

    def noise(self, n: int) -> Tensor:
        """(n, z_dim) latents from N(0, 1)."""
        return torch.randn(n, self.z_dim)

    def sample(self, z: Tensor) -> Tensor:
        """(N, z_dim) latents to (N, C, H, W) images in [-1, 1], of the level of now, enlarged to the full side."""
        image = self.g(z, int(self.level), float(self.alpha))
        return F.interpolate(image, self.spec.shape[1:], mode="nearest").clamp(-1, 1)

    def truncate(self, z: Tensor, trunc: float) -> Tensor:
        """Refused: on a sphere there is no nearer to the mean."""
        raise ValueError(
            f"pggan puts every latent on a sphere, where truncation by {trunc} changes nothing; leave it out"
        )

    def grown(self, images: int) -> tuple[int, float]:
        """The level, and how far it is faded in: 1 once it is. Each level but the first begins with its fade."""
        return grown(images, self.hold, self.fade, 0, self.last)

    def phase(self, images: int) -> Phase:
        level, alpha = self.grown(images)
        side = min(self.h, self.w) << level
        batch = at_side(self.batches, side)
        return Phase(2 * level - (alpha < 1), side, None if batch is None else int(batch))

    def enter(self, index: int, batch: Batch) -> None:
        for opt in self.opt.values():
            opt.state.clear()

    def step(self, batch: Batch, run: Run) -> None:
        level, alpha = self.grown(run.images)
        self.level.fill_(level), self.alpha.fill_(alpha)
        for opt in self.opt.values():
            opt.param_groups[0]["lr"] = at_side(self.lrs, min(self.h, self.w) << level) or self.lr
        run.update("d", partial(self.d_loss, level=level, alpha=alpha), batch)
        run.update("g", partial(self.g_loss, level=level, alpha=alpha), batch)

    def d_loss(self, batch: Batch, level: int, alpha: float) -> tuple[Tensor, dict[str, Tensor]]:
        images = faded(batch.real, alpha)
        fakes = self.g(batch.draw(self.noise), level, alpha)

        def critic(x: Tensor) -> Tensor:
            return self.d(batch.augment(x), level=level, alpha=alpha)

        real, fake = critic(images), critic(fakes)
        reached = torch.tensor(level - 1 + alpha)  # for the log: 1.25 is level 2, faded in by a quarter
        if self.loss == "lsgan":
            return least_squares().d(real, fake), {"level": reached, **scores(real, fake, boundary=0.5)}
        penalty = wgan_gp(critic, images, fakes, batch.draw, self.target) / self.target**2
        loss = (
            wasserstein.d(real, fake)
            + self.penalty_weight * penalty
            + self.drift * F.mse_loss(real, torch.zeros_like(real))
        )
        return loss, {"level": reached, "penalty": penalty, **scores(real, fake, boundary=None)}

    def g_loss(self, batch: Batch, level: int, alpha: float) -> tuple[Tensor, dict[str, Tensor]]:
        fake = self.d(batch.augment(self.g(batch.draw(self.noise), level, alpha)), level, alpha)
        return (wasserstein if self.loss == "wgan_gp" else least_squares()).g(fake), {}
