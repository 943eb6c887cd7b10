"""cyclegan. Jun-Yan Zhu, Taesung Park, Phillip Isola, Alexei A. Efros, "Unpaired Image-to-Image Translation using
Cycle-Consistent Adversarial Networks", ICCV 2017. https://arxiv.org/abs/1703.10593

Two generators, a to b and b to a, learn from two heaps of images without pairs. A discriminator for each domain says what
looks like it, and an image that goes there and back must be itself again: lambda = 10 times the L1 distance, in both
directions. G are residual networks with reflected edges and instance norm, D 70x70 PatchGANs, the adversarial loss is least
squares. For paintings, G is also to leave images of its own target domain alone (`identity_weight`).

Images are read from their files at 286 / 256 of the run's size and cut to it at random places.

G learn first, both in one step; then D, from fakes that went through a pool of 50 past ones each. The learning rate is
constant for half the run and falls on a line to 0 in the other half.

The file is long because it holds the residual generator and a paper's four presets.

Deviations:
- The rate falls with every batch; in the authors' code with every epoch.
- Images are made smaller with Lanczos' filter; the authors' Torch code interpolates bilinearly. Those that are no squares are
  squashed with the presets of the paper, as in that code, and else cut to one.
- Biases before instance norm, which takes them out again, are there as in the authors' PyTorch code.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from gankit.losses import least_squares, scores
from gankit.nn import PatchDiscriminator, Pool, init_normal, instance_norm, larger_size, patch_layers, random_crop
from gankit.recipe import Batch, Preset, Recipe, Run, Spec, adam, decay

lsgan = least_squares()


class Residual(nn.Module):
    """x + f(x), f of two 3x3 convolutions with reflected edges; nothing after the sum."""

    def __init__(self, width: int):
        super().__init__()
        layers: list[nn.Module] = []
        for last in (False, True):
            layers += [
                nn.ReflectionPad2d(1),
                nn.Conv2d(width, width, 3),
                instance_norm(width),
                *([] if last else [nn.ReLU()]),
            ]
        self.net = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) to the same."""
        return x + self.net(x)


class Generator(nn.Module):
    """c7s1-64, d128, d256, R256 `blocks` times, u128, u64, c7s1-3 (appendix 7.2), for a width of 64 and 3 channels."""

    def __init__(self, channels: int, out_channels: int, width: int, blocks: int):
        super().__init__()
        layers = [nn.ReflectionPad2d(3), nn.Conv2d(channels, width, 7), instance_norm(width), nn.ReLU()]
        for c in (width, 2 * width):
            layers += [nn.Conv2d(c, 2 * c, 3, 2, 1), instance_norm(2 * c), nn.ReLU()]
        layers += [Residual(4 * width) for _ in range(blocks)]
        for c in (2 * width, width):
            layers += [nn.ConvTranspose2d(2 * c, c, 3, 2, 1, output_padding=1), instance_norm(c), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, out_channels, 7), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] to (N, C', H, W) in [-1, 1], for sides that are multiples of 4."""
        return self.net(x)


class CycleGAN(Recipe):
    """Cycle-consistent GANs between two domains of images, whose sides are multiples of 4.

    Args:
        cycle_weight: lambda, weight of the L1 distance between an image and itself there and back.
        cycle: which ways there and back count: both, forward (a to b to a), backward, or none.
        identity_weight: weight, times lambda, of the L1 distance between an image and what the G into its own domain makes
            of it; 0.5 for paintings, 0 for all else.
        pool: past fakes of each domain that D learns from beside the new ones.
        blocks: G's residual blocks; 0 for 9 from 256 px on, and 6 below.
        patch: side of the patches that D judges, in pixels.
        width: channels of the first maps of G.
        width_d: channels of the first maps of D; 0 for G's.
        jitter: images are read at 286 / 256 of their size and cut at a random place.
        flat: share of the run before the learning rate begins to fall; 1 for never.
        lr: Adam's learning rate for G and D.
        beta1: decay of Adam's mean of gradients.
        beta2: decay of Adam's mean of squared gradients.
    """

    data, ema, multiple = "domains", ("g_ab", "g_ba"), 4
    domains = {"a": "g_ba", "b": "g_ab"}
    defaults = dict(batch=1, ema=0, data="digits-negative")
    presets = {
        "paper": Preset(
            "the paper's for maps: 256 px, 200 epochs of 1,096 images",
            settings=dict(resolution="256", fit="squash", mirror=True, batch=1, images=219_200),
            spec=Spec((3, 256, 256), other=(3, 256, 256)),
            parameters=dict(g_ab=11_378_179, g_ba=11_378_179, d_a=2_764_737, d_b=2_764_737),
        ),
        "128": Preset(
            "the paper's at 128 px, with 6 residual blocks",
            settings=dict(resolution="128", fit="squash", mirror=True, batch=1, images=219_200),
            spec=Spec((3, 128, 128), other=(3, 128, 128)),
            parameters=dict(g_ab=7_837_699, g_ba=7_837_699, d_a=2_764_737, d_b=2_764_737),
        ),
        "paintings": Preset(
            "the paper's for paintings: with the identity loss, 200 epochs of the larger domain, 6,853 photographs",
            model=dict(identity_weight=0.5),
            settings=dict(resolution="256", fit="squash", mirror=True, batch=1, images=1_370_600),
        ),
        "small": Preset(
            "digits at 16 px on two CPU cores: narrow, small patches, a lower lambda and larger steps",
            model=dict(width=16, blocks=2, patch=16, cycle_weight=2.0, jitter=False, lr=5e-4),
            settings=dict(batch=16, images=10_000),
        ),
    }

    def __init__(
        self,
        spec: Spec,
        *,
        cycle_weight: float = 10.0,
        cycle: Literal["both", "forward", "backward", "none"] = "both",
        identity_weight: float = 0.0,
        pool: int = 50,
        blocks: int = 0,
        patch: Literal[1, 16, 34, 70, 142, 286] = 70,
        width: int = 64,
        width_d: int = 0,
        jitter: bool = True,
        flat: float = 0.5,
        lr: float = 2e-4,
        beta1: float = 0.5,
        beta2: float = 0.999,
    ):
        super().__init__(spec)
        (a, h, w), b = spec.shape, (spec.other or spec.shape)[0]
        if (h, w) != self.nearest(h, w):
            raise ValueError(f"cyclegan's sides are multiples of 4, of 8 and more; found {h}x{w}")
        if cycle not in ("both", "forward", "backward", "none"):
            raise ValueError(f"cycle is {cycle!r}; choose from both, forward, backward and none")
        if identity_weight and a != b:
            raise ValueError(
                f"the identity loss needs domains with equal channels; these have {a} and {b}: leave --identity-weight out"
            )
        self.cycle_weight, self.identity_weight, self.flat, self.lr = cycle_weight, identity_weight, flat, lr
        self.load_size = larger_size(spec.shape, 286 / 256) if jitter else None
        self.forward_weight = cycle_weight * (cycle in ("both", "forward"))
        self.backward_weight = cycle_weight * (cycle in ("both", "backward"))
        blocks, layers = blocks or (9 if min(h, w) >= 256 else 6), patch_layers(patch, h, w)
        self.g_ab, self.g_ba = Generator(a, b, width, blocks), Generator(b, a, width, blocks)
        self.d_a, self.d_b = (PatchDiscriminator(c, width_d or width, layers, instance_norm, bias=True) for c in (a, b))
        self.pool_a, self.pool_b = Pool(pool), Pool(pool)
        init_normal(self)
        both = (("g", self.g_ab, self.g_ba), ("d", self.d_a, self.d_b))
        self.opt = {name: adam([*x.parameters(), *y.parameters()], lr, (beta1, beta2)) for name, x, y in both}

    @staticmethod
    def nearest(height: int, width: int) -> tuple[int, int]:
        """The multiples of 4 nearest to a height and width, 8 at least."""
        return tuple(max(2, (side + 2) // 4) * 4 for side in (height, width))

    def translate(self, images: Tensor, to: Literal["a", "b"] = "b") -> Tensor:
        """(N, C, H, W) images of the other domain in [-1, 1] to (N, C', H, W) images of domain `to`."""
        return self.g_ab(images) if to == "b" else self.g_ba(images)

    def strip(self, batch: Batch) -> list[Tensor]:
        """Columns of a preview: an image of a, as b, back again; an image of b, as a, back again."""
        fake_b, fake_a = self.g_ab(batch.a), self.g_ba(batch.b)
        return [batch.a, fake_b, self.g_ba(fake_b), batch.b, fake_a, self.g_ab(fake_a)]

    def step(self, batch: Batch, run: Run) -> None:
        for opt in self.opt.values():
            decay(opt, self.lr, run.done, self.flat)
        (a,), (b,) = (random_crop([images], batch.draw, *self.spec.shape[1:]) for images in (batch.a, batch.b))
        fakes = run.update("g", self.g_loss, batch, a, b)
        past_a, past_b = self.pool_a(fakes["fake_a"], batch.draw), self.pool_b(fakes["fake_b"], batch.draw)
        run.update("d", self.d_loss, batch, a, b, past_a, past_b)

    def g_loss(self, batch: Batch, a: Tensor, b: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        fake_a, fake_b = self.g_ba(b), self.g_ab(a)
        judged = self.d_a(batch.augment(fake_a)), self.d_b(batch.augment(fake_b))
        loss = sum(2 * lsgan.g(fake) for fake in judged)  # the paper's squares have no factor of 1/2 here
        outputs = {"adversarial": loss, "fake_a": fake_a, "fake_b": fake_b}
        for name, weight, image, fake, back in (
            ("cycle_a", self.forward_weight, a, fake_b, self.g_ba),
            ("cycle_b", self.backward_weight, b, fake_a, self.g_ab),
        ):
            if weight:
                outputs[name] = (back(fake) - image).abs().mean()
                loss = loss + weight * outputs[name]
        if self.identity_weight:
            outputs["identity"] = (self.g_ba(a) - a).abs().mean() + (self.g_ab(b) - b).abs().mean()
            loss = loss + self.identity_weight * self.cycle_weight * outputs["identity"]
        return loss, outputs

    def d_loss(
        self, batch: Batch, a: Tensor, b: Tensor, past_a: Tensor, past_b: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        judged = [
            [net(batch.augment(images)) for images in pair]
            for net, pair in ((self.d_a, (a, past_a)), (self.d_b, (b, past_b)))
        ]
        loss = sum(lsgan.d(real, fake) for real, fake in judged)
        return loss, scores(*(torch.cat(maps) for maps in zip(*judged)), lsgan.boundary)
