"""lapgan. Emily Denton, Soumith Chintala, Arthur Szlam, Rob Fergus, "Deep Generative Image Models using a Laplacian
Pyramid of Adversarial Networks", NeurIPS 2015. https://arxiv.org/abs/1506.05751

Images are generated from coarse to fine. An ordinary GAN generates the base, about 8x8 px. At each further level, the
image so far is enlarged to a blurred image l, and the level's own generator adds the missing details h, from l and a
plane of noise. D of a level sees l + h. Levels are trained independently: each learns from real images that are reduced
and enlarged again, as if the levels below were perfect. In the class-conditional form, a label becomes one more input
plane.

Levels are trained in turns, so each gets its share of any `--images`; a level that has had no turn only enlarges. A
latent is one vector, the base's z followed by the noise planes of all levels, so that every latent tool works.

The file is long because it holds three kinds of networks: for the base, for levels, and for the authors' larger levels.

Deviations:
- Images are in [-1, 1] and samples are clamped to this range; the paper's have mean 0 and deviation 1 over the data.
- The paper trains one level after the other. Levels are independent, so turns only change the order of the same
  updates.
- Images are reduced by an antialiased triangle filter and enlarged bilinearly; the authors' code calls Torch 7's
  scaling.
- Fakes for D and for G use the blurred images and labels of the batch's reals. The authors' code uses those of other
  images for each, which does not change the expectation of the losses.
- Learning rates and momentum are the paper's at all levels, and change with every image. In the authors' scripts
  momentum rises to 0.7, from 0 at the base and with labels, and the learning rate is divided by 1.000004 per epoch at
  the base and without labels. As in their code (Torch's SGD), gradients are dampened by 1 - momentum.
- The base is trained with the levels' batch, 64 reals and 64 fakes for D; in the authors' script with 50 and 50.
- "paper-32" puts the authors' level of 32 px on the paper's base. Each image gets a new random crop whenever it is
  seen; the paper takes four crops of each.
- "large" omits the batch norm at G's output, which would give all residuals deviation 1, and the authors' rule that
  updates D or G by their errors in each batch. Its base is 8 px, since its D does not fit the paper's smaller levels.
- R1 and Adam, used in the preset for digits, are not in the paper.
- Without a preset, samples come from averaged weights (`--ema 0` disables averaging); the paper has no averaging.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.losses import non_saturating, scores
from gankit.nn import BatchNorm2d, Dropout, Dropout2d, init_normal, larger_size, random_crop
from gankit.nn.dequantise import draw_times
from gankit.penalties import r1
from gankit.recipe import Batch, Images, Phase, Preset, Recipe, Run, Spec, adam


def shrink(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Reduce (N, C, H, W) images to (N, C, *size): d in the paper, for any size."""
    return F.interpolate(x, size, mode="bilinear", antialias=True)


def enlarge(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge (N, C, H, W) images to (N, C, *size): u in the paper."""
    return F.interpolate(x, size, mode="bilinear")


class Base(nn.Module):
    """G or D of the coarsest level: two hidden ReLU layers; one-hot labels are further inputs."""

    def __init__(self, inputs: int, units: int, outputs: int, classes: int, dropout: float = 0.0):
        super().__init__()
        self.classes = classes
        layers = [nn.Linear(inputs + classes, units), nn.ReLU(), Dropout(dropout)]
        layers += [nn.Linear(units, units), nn.ReLU(), Dropout(dropout)]
        self.net = nn.Sequential(*layers, nn.Linear(units, outputs))

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """(N, ...) latents or images, and (N,) labels, to (N, outputs)."""
        x = x.flatten(1)
        return self.net(torch.cat([x, F.one_hot(label, self.classes).to(x)], 1) if self.classes else x)


class LabelPlane(nn.Sequential):
    """A trained embedding of (N,) labels as (N, 1, H, W) planes."""

    def __init__(self, classes: int, size: tuple[int, int]):
        super().__init__(nn.Linear(classes, size[0] * size[1]), nn.ReLU(), nn.Unflatten(1, (1, *size)))
        self.classes = classes

    def forward(self, label: Tensor) -> Tensor:
        return super().forward(F.one_hot(label, self.classes).to(cast(Tensor, self[0].weight)))


class PoolPairs(nn.Module):
    """L2 pooling over pairs of neighbouring channels, (N, 2C, H, W) to (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return (x.unflatten(1, (-1, 2)).square().sum(2) + 1e-8).sqrt()


def plain_g(inputs: int, channels: int, width: int) -> nn.Sequential:
    """Three convolutions that keep the size, with ReLU between them and a linear output."""
    first, second = nn.Conv2d(inputs, width, 7, padding=3), nn.Conv2d(width, width, 7, padding=3)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Conv2d(width, channels, 5, padding=2))


def plain_d(inputs: int, size: tuple[int, int], width: int, dropout: float) -> nn.Sequential:
    """Two convolutions without padding, the second of stride 2, and a linear output."""
    h, w = ((side - 4 - 5) // 2 + 1 for side in size)
    first, second = nn.Conv2d(inputs, width, 5), nn.Conv2d(width, width, 5, 2)
    head = nn.Linear(width * h * w, 1)
    return nn.Sequential(first, nn.ReLU(), second, nn.Flatten(), nn.ReLU(), Dropout(dropout), head)


def large_g(inputs: int, channels: int) -> nn.Sequential:
    """The authors' generator for scenes, whose batch norm comes after ReLU and has no parameters."""

    def layer(a: int, b: int, kernel: int, groups: int, dropout: float = 0.0) -> list[nn.Module]:
        conv = nn.Conv2d(a, b, kernel, padding=kernel // 2, groups=groups)
        return [conv, nn.ReLU(), BatchNorm2d(b, affine=False), *([Dropout2d(dropout)] if dropout else [])]

    wide = [*layer(inputs, 64, 7, 1), *layer(64, 368, 7, 4, 0.5), *layer(368, 128, 7, 4), PoolPairs()]
    return nn.Sequential(*wide, *layer(64, 224, 5, 2, 0.5), nn.Conv2d(224, channels, 7, padding=3))


def large_d(inputs: int, size: tuple[int, int]) -> nn.Sequential:
    """The authors' discriminator for scenes: three convolutions without padding, and a linear output."""
    layers: list[nn.Module] = []
    for a, b, kernel, groups in (inputs, 48, 3, 1), (48, 448, 5, 4), (448, 416, 7, 16):
        layers += [nn.Conv2d(a, b, kernel, groups=groups), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(416 * (size[0] - 12) * (size[1] - 12), 1))


class Level(nn.Module):
    """G or D of a level: a convolutional network, with the label as one more input plane."""

    def __init__(self, net: nn.Sequential, size: tuple[int, int], classes: int):
        super().__init__()
        self.net, self.plane = net, LabelPlane(classes, size) if classes else None

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """(N, planes, H, W) inputs, and (N,) labels, to the network's output."""
        return self.net(x if self.plane is None else torch.cat([x, self.plane(label)], 1))


SMALL: dict[str, object] = dict(
    turn=1_000, shares=(5, 1), z_dim=16, units_g=256, units_d=256, width=16, dropout=0.0, optimizer="adam", lr=1e-3,
    g_batch=1, penalty_weight=0.25,
)  # fmt: skip


class LAPGAN(Recipe):
    """Laplacian pyramid of GANs, for images of at least 8 px.

    Args:
        sides: smaller side of each level's images, from the base to the data's size, e.g. 8 14 28. Default: the data's
            size, halved down to 8 px or more.
        turn: images in a level's turn; keep it short compared with the half-life of averages.
        shares: number of consecutive turns of each level, e.g. 2 1. Default: one each.
        form: networks of the levels above the base: plain, or the authors' large ones for scenes.
        conditional: use labels, if the data has them.
        z_dim: length of the base's latent.
        units_g: hidden units of the base's G.
        units_d: hidden units of the base's D.
        width: channels of the hidden feature maps of a plain level.
        dropout: dropout probability in D, for plain levels and the base.
        optimizer: sgd with the schedule below, or adam with betas (0, 0.99).
        lr: learning rate; with sgd, the initial one.
        lr_decay: divisor of sgd's learning rate after each epoch of a level.
        momentum: sgd's initial momentum.
        momentum_rise: increase of the momentum after each epoch of a level.
        momentum_most: largest momentum.
        epoch: images in an epoch; 45,000 for CIFAR-10 in the authors' code.
        g_batch: fakes in an update of G per image of the batch.
        load_scale: scale at which images are read, before a random crop to the model's size: 32 / 28 for the paper's
            CIFAR-10, 1.5 for the authors' scenes.
        penalty_weight: weight of an R1 penalty on reals, gamma / 2, which the paper does not have; 0 for none.
    """

    seen: Tensor

    labels, defaults = "optional", dict(batch=64)
    presets = {
        "paper": Preset(
            "the paper's networks for CIFAR-10, cropped from 32 to 28 px, without averaged weights; the length is ours",
            model=dict(sides=(8, 14, 28), load_scale=32 / 28),
            settings=dict(resolution="28", images=30_000_000, ema=0),
            spec=Spec((3, 28, 28)),
            parameters=dict(g8=1_792_992, d8=477_001, g14=218_179, d14=107_905, g28=218_179, d28=113_729),
        ),
        "paper-conditional": Preset(
            "the paper's CC-LAPGAN, the same with labels, without averaged weights; the length is ours",
            model=dict(sides=(8, 14, 28), conditional=True, load_scale=32 / 28),
            settings=dict(resolution="28", images=30_000_000, ema=0),
            spec=Spec((3, 28, 28), num_classes=10),
            parameters=dict(g8=1_804_992, d8=483_001, g14=223_471, d14=111_661, g28=229_939, d28=123_953),
        ),
        "paper-32": Preset(
            "the authors' code at 32 px, 8 -> 16 -> 32, without averaged weights; the length is ours",
            model=dict(sides=(8, 16, 32), lr_decay=1.000004, momentum_most=0.7),
            settings=dict(resolution="32", images=30_000_000, ema=0),
            spec=Spec((3, 32, 32)),
            parameters=dict(g32=218_179, d32=116_545),
        ),
        "large": Preset(
            "the authors' networks for LSUN scenes, 8 -> 16 -> 32 -> 64 px, 24 epochs each, without averaged weights",
            model=dict(
                sides=(8, 16, 32, 64), form="large", lr=0.01, lr_decay=1.000004, momentum=0.0, momentum_most=0.7,
                epoch=320_000, load_scale=1.5,
            ),
            settings=dict(resolution="64", mirror=True, images=30_720_000, ema=0),
            spec=Spec((3, 64, 64)),
            parameters=dict(g16=1_090_995, d16=714_017, g32=1_090_995, d32=873_761, g64=1_090_995, d64=1_832_225),
        ),
        "cpu": Preset(
            "for images of 28 to 32 px on one CPU core, 14 -> 28: as small, in small batches, with a fifth of R1; one "
            "check, on Fashion-MNIST at 28 px: Frechet distance 96 after 20 CPU seconds, 118 with small",
            model=SMALL | dict(penalty_weight=0.05),
            settings=dict(batch=16, images=360_000, ema=20_000),
        ),
        "small": Preset(
            "for digits at 16 px on two CPU cores, 8 -> 16: narrower, Adam and R1 instead of SGD and dropout",
            model=SMALL,
            settings=dict(batch=32, images=360_000, ema=20_000),
        ),
    }  # fmt: skip

    def __init__(
        self,
        spec: Spec,
        *,
        sides: tuple[int, ...] = (),
        turn: Images = Images(10_000),
        shares: tuple[int, ...] = (),
        form: Literal["plain", "large"] = "plain",
        conditional: bool = False,
        z_dim: int = 100,
        units_g: int = 1200,
        units_d: int = 600,
        width: int = 64,
        dropout: float = 0.5,
        optimizer: Literal["sgd", "adam"] = "sgd",
        lr: float = 0.02,
        lr_decay: float = 1.00004,
        momentum: float = 0.5,
        momentum_rise: float = 0.0008,
        momentum_most: float = 0.8,
        epoch: Images = Images(45_000),
        g_batch: int = 2,
        load_scale: float = 1.0,
        penalty_weight: float = 0.0,
    ):
        super().__init__(spec if conditional else replace(spec, num_classes=0))
        side, smallest = min(spec.shape[1:]), 13 if form == "large" else 9
        sides = sides or halved_sides(side, smallest)
        check_sides(sides, side, smallest)
        shares = shares or (1,) * len(sides)
        if len(shares) != len(sides) or min(shares) < 1 or turn < 1:
            raise ValueError(
                f"shares are {shares} and a turn is {turn} images; expected {len(sides)} shares, for {sides}, and "
                "numbers of at least 1"
            )
        counts = dict(z_dim=z_dim, units_g=units_g, units_d=units_d, width=width, epoch=epoch, g_batch=g_batch)
        for option, value in counts.items():
            if value < 1:
                raise ValueError(f"{option} is {value}; it must be at least 1")
        self.level_sides, self.turn, self.shares = sides, turn, shares
        self.sizes = [(round(spec.height * s / side), round(spec.width * s / side)) for s in sides]
        self.z_dim, self.epoch, self.g_batch, self.penalty_weight = z_dim, epoch, g_batch, penalty_weight
        self.lr, self.lr_decay = lr, lr_decay
        self.momentum, self.momentum_rise, self.momentum_most = momentum, momentum_rise, momentum_most
        self._add_networks(form, units_g, units_d, width, dropout)
        make = partial(adam, betas=(0, 0.99)) if optimizer == "adam" else partial(torch.optim.SGD, momentum=momentum)
        self.opt = {name: make(net.parameters(), lr=lr) for name, net in self.named_children()}
        self.ema, self.load_size = tuple(f"g{side}" for side in sides), larger_size(spec.shape, load_scale)
        self.register_buffer("seen", torch.zeros(len(sides), dtype=torch.int64))  # images that trained each level

    def _add_networks(self, form: str, units_g: int, units_d: int, width: int, dropout: float) -> None:
        """Register g8, d8, g16, d16 ..., named by the sides of their levels."""
        classes, c = self.spec.num_classes, self.spec.channels
        pixels = c * self.sizes[0][0] * self.sizes[0][1]
        self.add_module(f"g{self.level_sides[0]}", Base(self.z_dim, units_g, pixels, classes))
        self.add_module(f"d{self.level_sides[0]}", Base(pixels, units_d, 1, classes, dropout))
        init_normal(self.net("g", 0), 0.05)
        init_normal(self.net("d", 0), 0.005)
        for side, size in zip(self.level_sides[1:], self.sizes[1:]):
            planes = c + (classes > 0)
            g = large_g(planes + 1, c) if form == "large" else plain_g(planes + 1, c, width)
            d = large_d(planes, size) if form == "large" else plain_d(planes, size, width, dropout)
            self.add_module(f"g{side}", Level(g, size, classes))
            self.add_module(f"d{side}", Level(d, size, classes))

    def net(self, kind: str, level: int) -> nn.Module:
        """G ("g") or D ("d") of a level."""
        return getattr(self, f"{kind}{self.level_sides[level]}")

    # Sampling --------------------------------------------------------------------------------------------------------

    def noise(self, n: int) -> Tensor:
        """(n, z_dim + pixels of all levels above the base) latents, uniform on [-1, 1]."""
        return torch.cat([self.level_noise(n, level) for level in range(len(self.level_sides))], 1)

    def level_noise(self, n: int, level: int) -> Tensor:
        """Noise of one level, uniform on [-1, 1]: (n, z_dim) for the base, (n, pixels) for the others."""
        h, w = self.sizes[level]
        return torch.rand(n, h * w if level else self.z_dim) * 2 - 1

    def sample(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(N, D) latents, and (N,) labels in the conditional form, to (N, C, H, W) images in [-1, 1]."""
        parts = z.split([h * w if level else self.z_dim for level, (h, w) in enumerate(self.sizes)], 1)
        image = self.generate(0, parts[0], None, label)
        for level, size in enumerate(self.sizes[1:], 1):
            image = enlarge(image, size)
            if self.seen[level]:
                image = self.generate(level, parts[level], image, label)
        return image.clamp(-1, 1)

    def generate(self, level: int, z: Tensor, low: Tensor | None, label: Tensor | None) -> Tensor:
        """The (N, C, h, w) images of a level, from its noise and the enlarged images `low` of the level below."""
        h, w = self.sizes[level]
        g = self.net("g", level)
        if low is None:
            return g(z, label).unflatten(1, (self.spec.channels, h, w))
        return low + g(torch.cat([low, z.unflatten(1, (1, h, w))], 1), label)

    # Training --------------------------------------------------------------------------------------------------------

    def progress(self, images: int) -> tuple[int, int]:
        """The level that is trained after `images` images of the run, and how many of them have trained it."""
        rounds, position = divmod(images, self.turn * sum(self.shares))
        for level, share in enumerate(self.shares):
            if position < self.turn * share:
                return level, rounds * self.turn * share + position
            position -= self.turn * share
        raise AssertionError

    def phase(self, images: int) -> Phase:
        return Phase(self.progress(images)[0])

    def step(self, batch: Batch, run: Run) -> None:
        (batch.fields["real"],) = random_crop([batch.real], batch.draw, *self.spec.shape[1:])
        level, images = self.progress(run.images)
        d, g = (f"{kind}{self.level_sides[level]}" for kind in "dg")
        for group in (group for name in (d, g) for group in self.opt[name].param_groups):
            if "momentum" in group:
                epochs = images / self.epoch
                group["lr"] = self.lr / self.lr_decay**epochs
                momentum = min(max(self.momentum_most, self.momentum), self.momentum + self.momentum_rise * epochs)
                group["momentum"] = group["dampening"] = momentum
        run.update(d, partial(self.d_loss, level=level), batch)
        run.update(g, partial(self.g_loss, level=level), batch)
        self.seen[level] += batch.size

    def pyramid(self, images: Tensor, level: int) -> tuple[Tensor, Tensor | None]:
        """(N, C, H, W) reals at a level's size, and their blurred version from the level below; None for the base."""
        for size in reversed(self.sizes[level:-1]):
            images = shrink(images, size)
        if level == 0:
            return images, None
        return images, enlarge(shrink(images, self.sizes[level - 1]), self.sizes[level])

    def d_loss(self, batch: Batch, level: int) -> tuple[Tensor, dict[str, Tensor]]:
        label = batch.label if self.spec.num_classes else None
        real, low = self.pyramid(batch.real, level)
        fake = self.generate(level, batch.draw(partial(self.level_noise, level=level)), low, label)
        critic = partial(self.logits, batch, label=label, level=level)
        real_logits, fake_logits = critic(real), critic(fake)
        loss = non_saturating.d(real_logits, fake_logits) / 2  # a minibatch is half real and half fake
        outputs = scores(real_logits, fake_logits)
        if self.penalty_weight:
            outputs["penalty"] = r1(critic, real)
            loss = loss + self.penalty_weight * outputs["penalty"]
        return loss, outputs

    def g_loss(self, batch: Batch, level: int) -> tuple[Tensor, dict[str, Tensor]]:
        k, low = self.g_batch, self.pyramid(batch.real, level)[1]
        label = batch.label.repeat_interleave(k) if self.spec.num_classes else None
        z = draw_times(batch.draw, partial(self.level_noise, level=level), k)
        fake = self.generate(level, z, None if low is None else low.repeat_interleave(k, 0), label)
        return non_saturating.g(self.logits(batch, fake, label, level)), {}

    def logits(self, batch: Batch, images: Tensor, label: Tensor | None, level: int) -> Tensor:
        """(N, C, h, w) images l + h, augmented if the run asks for it, and (N,) labels to a level's (N,) logits."""
        return self.net("d", level)(batch.augment(images), label).squeeze(1)


def halved_sides(side: int, smallest: int) -> tuple[int, ...]:
    """Sides that double from a base of 8 px or more up to `side`; those above the base are at least `smallest`."""
    sides = [side]
    while sides[0] // 2 >= 8 and sides[0] >= smallest:
        sides.insert(0, sides[0] // 2)
    return tuple(sides)


def check_sides(sides: tuple[int, ...], side: int, smallest: int) -> None:
    """Raise ValueError unless `sides` rise to the images' `side` and are at least `smallest` above the base."""
    is_rising = all(a < b for a, b in pairwise(sides))
    if not is_rising or sides[-1] != side or sides[0] < 1 or any(s < smallest for s in sides[1:]):
        raise ValueError(
            f"sides are {' '.join(map(str, sides))}; they must rise to the images' {side}, and be {smallest} or more "
            f"above the base. Use --sides {' '.join(map(str, halved_sides(side, smallest)))}"
        )
