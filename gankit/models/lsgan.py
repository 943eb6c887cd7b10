"""lsgan. Xudong Mao, Qing Li, Haoran Xie, Raymond Y.K. Lau, Zhen Wang, Stephen Paul Smolley, "Least Squares Generative
Adversarial Networks", ICCV 2017. https://arxiv.org/abs/1611.04076

The cross-entropy loss of a GAN has a vanishing gradient for fakes that D classifies as real, however far they are from
the reals. Squared distances between D's outputs and targets keep a gradient: the targets are a for fakes and b for
reals in D's loss, and c for fakes in G's loss. With b - c = 1 and b - a = 2 (a=-1, b=1, c=0) G minimises a Pearson
chi^2 divergence; the paper trains with a=0, b=c=1. Both networks use the same z in a step.

Deviations:
- The paper's networks are for 112 px: 7x7 doubled four times, with two transposed convolutions at each of the first two
  doublings. Other sizes have more or fewer of these first doublings, and as many halvings in D as doublings in G.
- The authors' code sums the losses over the batch; the paper and this file take means. Adam is nearly invariant to
  this.
- Padding is symmetric; the SAME padding of the authors' code is not.
- Without a preset, samples come from averaged weights (`--ema 0` disables averaging); the paper has no averaging.
- Left out: the paper's other model, for Chinese characters by label; see gankit's conditional GANs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gankit.losses import least_squares, scores
from gankit.nn import BatchNorm2d, nearest_size, stages
from gankit.recipe import Batch, Preset, Recipe, Run, Spec, adam


class Generator(nn.Module):
    """Linear layer, 3x3 transposed convolutions with batch norm and ReLU, two at each of the coarse sizes, and tanh."""

    def __init__(self, z_dim: int, shape: tuple[int, ...], width: int):
        super().__init__()
        count, last = stages(*shape[1:]), 4 * width
        h, w = shape[1] >> count, shape[2] >> count
        layers = [
            nn.Linear(z_dim, last * h * w),
            nn.Unflatten(1, (last, h, w)),
            BatchNorm2d(last),
            nn.ReLU(inplace=True),
        ]
        # (channels / width, stride). At 112 px the channels are 256, 256, 256, 256, 128, 64; strides 2, 1, 2, 1, 2, 2.
        for multiple, stride in [*[(4, 2), (4, 1)] * (count - 2), *[(2, 2), (1, 2)][-count:]]:
            layers += [nn.ConvTranspose2d(last, multiple * width, 3, stride, 1, stride - 1)]
            layers += [BatchNorm2d(multiple * width), nn.ReLU(inplace=True)]
            last = multiple * width
        self.net = nn.Sequential(*layers, nn.ConvTranspose2d(last, shape[0], 3, 1, 1), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        """(N, z_dim) latents to (N, C, H, W) images in [-1, 1]."""
        return self.net(z)


class Discriminator(nn.Module):
    """5x5 convolutions of stride 2 with leaky ReLU, batch norm on all but the first, and a linear output."""

    def __init__(self, shape: tuple[int, ...], width: int):
        super().__init__()
        count, last = stages(*shape[1:]), shape[0]
        layers: list[nn.Module] = []
        for i in range(count):
            c = width * min(2**i, 8)
            layers += [nn.Conv2d(last, c, 5, 2, 2), *([BatchNorm2d(c)] if i else []), nn.LeakyReLU(0.2, inplace=True)]
            last = c
        positions = (shape[1] >> count) * (shape[2] >> count)
        self.net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(last * positions, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) images in [-1, 1] to (N,) outputs."""
        return self.net(x).squeeze(1)


SMALL: dict[str, object] = dict(z_dim=32, width=24, lr=5e-4)  # for presets that train in minutes on a CPU


class LSGAN(Recipe):
    """Least squares GAN for images whose sides are 4, 5, 6 or 7 times a power of two.

    Args:
        z_dim: length of the latent z, uniform on [-1, 1].
        width: channels of the feature maps next to the image.
        a: D's target for fakes.
        b: D's target for reals.
        c: G's target for D's outputs on fakes.
        lr: Adam's learning rate: 1e-3 for the paper's scenes, 2e-4 for its characters.
    """

    ema, defaults = ("g",), dict(batch=64)
    nearest = staticmethod(nearest_size)
    signed = ("a", "b", "c")
    presets = {
        "paper": Preset(
            "the paper's network for scenes at 112 px, without averaged weights",
            settings=dict(resolution="112", images=64_000_000, ema=0),
            spec=Spec((3, 112, 112)),
            parameters=dict(g=15_591_427, d=4_333_441),
        ),
        "cpu": Preset(
            "for images of 28 to 64 px on one CPU core: as small, in small batches; "
            "one check, on Fashion-MNIST at 28 px: Frechet distance 59 after 45 CPU seconds, 120 with small",
            model=SMALL,
            settings=dict(batch=16, images=200_000, ema=10_000),
        ),
        "small": Preset(
            "for digits at 16 px on two CPU cores",
            model=SMALL,
            settings=dict(batch=64, images=200_000, ema=10_000),
        ),
    }

    def __init__(
        self,
        spec: Spec,
        *,
        z_dim: int = 1024,
        width: int = 64,
        a: float = 0.0,
        b: float = 1.0,
        c: float = 1.0,
        lr: float = 1e-3,
    ):
        super().__init__(spec)
        self.z_dim, self.loss = z_dim, least_squares(a, b, c)
        self.g = Generator(z_dim, spec.shape, width)
        self.d = Discriminator(spec.shape, width)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.trunc_normal_(layer.weight, std=0.02, a=-0.04, b=0.04)
            elif isinstance(layer, (nn.Linear, nn.ConvTranspose2d)):
                nn.init.normal_(layer.weight, std=0.02)
            else:
                continue
            nn.init.zeros_(layer.bias)
        self.opt = {name: adam(net.parameters(), lr, (0.5, 0.999)) for name, net in (("g", self.g), ("d", self.d))}

    def noise(self, n: int) -> Tensor:
        """(n, z_dim) latents from U(-1, 1)."""
        return torch.rand(n, self.z_dim) * 2 - 1

    def sample(self, z: Tensor) -> Tensor:
        """(N, z_dim) latents to (N, C, H, W) images in [-1, 1]."""
        return self.g(z)

    def step(self, batch: Batch, run: Run) -> None:
        z = batch.draw(self.noise)
        run.update("d", self.d_loss, batch, z)
        run.update("g", self.g_loss, batch, z)

    def d_loss(self, batch: Batch, z: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        real_outputs, fake_outputs = self.d(batch.augment(batch.real)), self.d(batch.augment(self.g(z)))
        return self.loss.d(real_outputs, fake_outputs), scores(real_outputs, fake_outputs, self.loss.boundary)

    def g_loss(self, batch: Batch, z: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.loss.g(self.d(batch.augment(self.g(z)))), {}
