"""pggan. Tero Karras, Timo Aila, Samuli Laine, Jaakko Lehtinen, "Progressive Growing of GANs for Improved Quality,
Stability, and Variation", ICLR 2018. https://arxiv.org/abs/1710.10196

Both networks begin at 4x4 px. After each level is trained, a block for twice the side is added next to the image in
both networks and faded in: G's output and D's input are blended from the previous level's image, enlarged, and the
new level's, and reals are blended likewise. Weights are scaled at run time so that all layers learn at the same rate,
G normalizes its features at each pixel, D sees the standard deviation over its batch, and the loss is WGAN-GP's, with
a small penalty on the squares of D's outputs on reals.

Level and fade are functions of the images seen. Adam's moments are reset whenever a fade begins or ends, as in the
authors' code. `sample` uses the current level; its images are clamped and, before the last level, enlarged to full
size.

The file is long because the networks grow, and the batch, the learning rate and the reals change with them.

Deviations: the averaged weights have a half-life in images, equal to .999 per step at the paper's batch of 16. The
fade advances at each step; in the authors' code, at every fourth. `lsgan` is only the loss, without the paper's noise
in D. D halves a map after bias and leaky ReLU, as in the paper; the authors' TensorFlow code does it before them.
Left out: labels, which that code supports, and switches for the other rows of the paper's table 1 (pixel norm,
equalised learning rates, minibatch standard deviation).
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
    doubling_conv,
    faded,
    grown,
    nearest_size,
    stages,
)
from gankit.penalties import wgan_gp
from gankit.recipe import Batch, Images, Phase, Preset, Recipe, Run, Spec, adam


class DoublingConv(EqualisedConv2d):
    """Nearest-neighbour doubling, then the convolution."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, a, H, W) to (N, b, 2H, 2W)."""
        return doubling_conv(x, *self.scaled())


def conv(a: int, b: int, norm: bool = False, layer: type[EqualisedConv2d] = EqualisedConv2d) -> nn.Sequential:
    """3x3 convolution, leaky ReLU, and pixel norm for G."""
    return nn.Sequential(layer(a, b, 3), nn.LeakyReLU(0.2), *([PixelNorm()] if norm else []))


class Generator(nn.Module):
    """Dense layer to the first map, then a block of two convolutions for each further level; linear output."""

    def __init__(
        self, z_dim: int, shape: tuple[int, ...], widths: list[int], h: int, w: int, place_bias: bool, tanh: bool
    ):
        super().__init__()
        # gain sqrt(2) / 4 and a bias per channel, because the authors' layer is a 4x4 transposed convolution
        dense = EqualisedLinear(z_dim, widths[0] * h * w, gain=2**0.5 / 4, bias=False)
        self.first = nn.Sequential(PixelNorm(), dense, nn.Unflatten(1, (widths[0], h, w)))
        self.bias = nn.Parameter(torch.zeros(widths[0], *((h, w) if place_bias else (1, 1))))
        self.second = nn.Sequential(nn.LeakyReLU(0.2), PixelNorm(), conv(widths[0], widths[0], norm=True))
        self.blocks = nn.ModuleList(
            nn.Sequential(conv(a, b, True, DoublingConv), conv(b, b, True)) for a, b in zip(widths, widths[1:])
        )
        self.to_rgb = nn.ModuleList(EqualisedConv2d(c, shape[0], 1, gain=1) for c in widths)
        self.bound = nn.Tanh() if tanh else nn.Identity()

    def forward(self, z: Tensor, level: int, alpha: float) -> Tensor:
        """(N, z_dim) to (N, C, h 2^level, w 2^level): alpha blends the level's image with the enlarged previous."""
        x = previous = self.second(self.first(z) + self.bias)
        for block in self.blocks[:level]:
            previous, x = x, block(x)
        image = self.to_rgb[level](x)
        if alpha != 1:
            image = torch.lerp(double(self.to_rgb[level - 1](previous)), image, alpha)
        return self.bound(image)


class Discriminator(nn.Module):
    """Mirrors G: two convolutions and a halving for each level, then minibatch standard deviation, dense layers."""

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
        """(N, C, h 2^level, w 2^level) to (N,) outputs; alpha blends the level's features with the halved image's."""
        x = self.from_rgb[level](image)
        for i in reversed(range(level)):
            x = self.blocks[i](x)
            if i + 1 == level and alpha < 1:
                x = torch.lerp(self.from_rgb[i](F.avg_pool2d(image, 2)), x, alpha)
        return self.head(x).squeeze(1)


class PGGAN(Recipe):
    """Progressively grown GAN, for images whose sides are 4, 5, 6 or 7 times a power of two.

    Args:
        z_dim: length of the latent z, which G normalizes to a sphere.
        channel_base: a map of side s = 4, 8, 16 ... has channel_base / s channels.
        channel_max: maximum channels of a map.
        hold: images for which each level is trained after its fade; the last level is trained until the end.
        fade: images over which the next level is faded in.
        batches: batch size from a side upwards, as "256:14 512:6"; below the first side, the setting `batch`.
        lrs: learning rates of Adam from a side upwards, in the same format; below the first side, `lr`.
        lr: learning rate of Adam.
        group: images over which D computes the standard deviation.
        loss: wgan_gp, or lsgan for least squares.
        penalty_weight: weight of the gradient penalty (lambda).
        target: target norm of the critic's gradient, 750 for the paper's CIFAR-10; the penalty is divided by target^2.
        drift: weight of the squares of the critic's outputs on reals.
        place_bias: one bias per position of G's first map, as in weights from Facebook's pytorch_GAN_zoo.
        tanh: end G in a tanh. The paper's G is linear, and takes long to draw a ground of pure black or white.
    """

    level: Tensor
    alpha: Tensor

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
            "the authors' TensorFlow schedule for 1024 px on eight GPUs",
            model=dict(
                hold=600_000, fade=600_000, group=4, batches="4:512 8:256 16:128 32:64 64:32",
                lrs="128:.0015 256:.002 512:.003",
            ),
            settings=dict(resolution="1024", mirror=True, images=12_000_000),
            spec=Spec((3, 1024, 1024)),
            parameters=dict(g=23_079_115, d=23_087_249),
        ),
        "cpu": Preset(
            "for images of 28 to 64 px on one CPU core: tanh at G's end, three times the rate of small, narrower; one "
            "check, on Fashion-MNIST at 28 px: Frechet distance 74 after 45 CPU seconds, 202 with small",
            model=dict(
                z_dim=32, channel_base=256, channel_max=48, tanh=True, hold=12_000, fade=6_000, lr=1e-2, group=4,
            ),
            settings=dict(batch=16, images=100_000, ema=5_000),
        ),
        "small": Preset(
            "digits at 16 px on two CPU cores, growing 4 -> 8 -> 16",
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
        tanh: bool = False,
    ):
        super().__init__(spec)
        if hold < 1 or fade < 0:
            raise ValueError(f"hold is {hold} and fade is {fade} images; hold must be at least 1 and fade at least 0")
        self.last, self.z_dim, self.hold, self.fade = stages(spec.height, spec.width), z_dim, hold, fade
        self.batches, self.lrs, self.lr = by_side(batches), by_side(lrs), lr
        self.loss, self.penalty_weight, self.target, self.drift = loss, penalty_weight, target, drift
        self.h, self.w = spec.height >> self.last, spec.width >> self.last
        widths = [max(1, min(channel_base // (4 << i), channel_max)) for i in range(self.last + 1)]
        self.g = Generator(z_dim, spec.shape, widths, self.h, self.w, place_bias, tanh)
        self.d = Discriminator(spec.shape, widths, self.h, self.w, group)
        self.register_buffer("level", torch.tensor(0))  # level of the last step, for samples
        self.register_buffer("alpha", torch.tensor(1.0))
        self.opt = {name: adam(net.parameters(), lr, (0, 0.99)) for name, net in (("g", self.g), ("d", self.d))}

    def noise(self, n: int) -> Tensor:
        """(n, z_dim) latents from N(0, 1)."""
        return torch.randn(n, self.z_dim)

    def sample(self, z: Tensor) -> Tensor:
        """(N, z_dim) latents to (N, C, H, W) images in [-1, 1], from the current level, enlarged to full size."""
        image = self.g(z, int(self.level), float(self.alpha))
        return F.interpolate(image, self.spec.shape[1:], mode="nearest").clamp(-1, 1)

    def truncate(self, z: Tensor, trunc: float) -> Tensor:
        """Raise ValueError: truncation has no effect on latents that are normalized to a sphere."""
        raise ValueError(
            f"pggan normalizes every latent to lie on a sphere, so truncation by {trunc} has no effect; leave it out"
        )

    def grown(self, images: int) -> tuple[int, float]:
        """The level after this many images, and alpha, which rises from 0 to 1 as the level is faded in."""
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
        progress = torch.tensor(level - 1 + alpha)  # logged: 1.25 is level 2, faded in by a quarter
        if self.loss == "lsgan":
            return least_squares().d(real, fake), {"level": progress, **scores(real, fake, boundary=0.5)}
        penalty = wgan_gp(critic, images, fakes, batch.draw, self.target) / self.target**2
        drift = F.mse_loss(real, torch.zeros_like(real))
        loss = wasserstein.d(real, fake) + self.penalty_weight * penalty + self.drift * drift
        return loss, {"level": progress, "penalty": penalty, **scores(real, fake, boundary=None)}

    def g_loss(self, batch: Batch, level: int, alpha: float) -> tuple[Tensor, dict[str, Tensor]]:
        fake = self.d(batch.augment(self.g(batch.draw(self.noise), level, alpha)), level, alpha)
        return (wasserstein if self.loss == "wgan_gp" else least_squares()).g(fake), {}
