"""wgan_gp. Ishaan Gulrajani, Faruk Ahmed, Martin Arjovsky, Vincent Dumoulin, Aaron Courville, "Improved Training of
Wasserstein GANs", NIPS 2017. https://arxiv.org/abs/1704.00028

The critic of a Wasserstein GAN is kept Lipschitz by a gradient penalty instead of weight clipping. The gradient of an
optimal critic has norm 1 on the lines between reals and fakes. The penalty is the squared distance of that norm from
1, at a random point between each real and a fake, and its weight in the critic's loss is lambda = 10. The critic has
no batch norm, which would make its outputs depend on the other samples. Below 64 px the networks are the authors'
residual ones for CIFAR-10; from 64 px they are those for 64 px, whose critic has layer norm. With labels, G has
conditional batch norm and the critic is a classifier as well (section 5.2).

One step takes one batch: the critic is updated on every batch, and G on every n_critic-th, from `g_batch` latents for
each image. For CIFAR-10, as in the authors' code, learning rates decay linearly to 0 over the run, reals are
dequantised and the critic has no normalization; their code for 64 px does none of the three.

The file is long because it holds the authors' two network architectures, each with and without labels.

Deviations:
- Samples use running means and variances, so that a seed always gives the same image. The authors' scripts use the
  statistics of the batch, also for inception scores.
- Sizes other than 32 and 64 px have more or fewer blocks.
- Without a preset, samples come from averaged weights (`--ema 0`: the last ones); the paper has no averaging.
- Left out: the paper's other networks, such as the 101-layer one, and its language model.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from gankit.losses import cross_entropy, scores, wasserstein
from gankit.nn import (
    BatchNorm2d,
    ConditionalBatchNorm2d,
    DBlock,
    OptimizedDBlock,
    SNGANGenerator,
    init_glorot,
    nearest_size,
    residual_trunk,
    stages,
)
from gankit.nn.dequantise import dequantise, draw_times
from gankit.penalties import wgan_gp
from gankit.recipe import Batch, Preset, Recipe, Run, Spec, adam

layer_norm = partial(nn.GroupNorm, 1)  # over the channels and positions of a sample, with one gain per channel


class Critic(nn.Module):
    """Residual blocks down to 4 to 14 px; one output and, with labels, K class logits."""

    def __init__(self, shape: tuple[int, ...], width: int, num_classes: int, pyramid: bool):
        super().__init__()
        count = stages(*shape[1:])
        if not pyramid:
            downs = [DBlock(width, width) for _ in range(count - 2)]
            plain = [DBlock(width, width, down=False) for _ in range(2)]
            blocks = [OptimizedDBlock(shape[0], width), *downs, *plain, nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
            self.trunk, features = nn.Sequential(*blocks, nn.Flatten()), width
        else:
            self.trunk, features = residual_trunk(shape, width, count, layer_norm)
        self.head = nn.Linear(features, 1)
        self.classes = nn.Linear(features, num_classes) if num_classes else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] to (N,) outputs."""
        return self.head(self.trunk(x)).squeeze(1)

    def classify(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) to (N,) outputs and (N, K) class logits."""
        features = self.trunk(x)
        return self.head(features).squeeze(1), self.classes(features)


class WGANGP(Recipe):
    """Wasserstein GAN with gradient penalty, for images whose sides are 4, 5, 6 or 7 times a power of two.

    Args:
        z_dim: length of the latent z.
        width: channels of all blocks; in the pyramid, twice the channels next to the image.
        pyramid: the networks for 64 px, whose widths double with each halving. None: from 64 px.
        conditional: use labels if the data has them.
        penalty_weight: weight of the gradient penalty (lambda).
        class_weight_g: weight of the classification loss in G's loss; in the critic's it is 1.
        n_critic: updates of the critic for each update of G.
        g_batch: latents per image of the batch in an update of G.
        lr: initial learning rate of Adam.
        decay: let the learning rate decay linearly to 0 over the run.
        dequantise: add uniform noise of one grey level to reals. None: below 64 px, as in the authors' two scripts.
    """

    labels, ema, defaults = "optional", ("g",), dict(batch=64)
    nearest = staticmethod(nearest_size)
    presets = {
        "paper": Preset(
            "the authors' CIFAR-10 network without labels, without averaged weights",
            settings=dict(resolution="32", images=32_000_000, ema=0),
            model=dict(conditional=False),
            spec=Spec((3, 32, 32)),
            parameters=dict(g=1_204_483, d=1_053_825),
        ),
        "paper-labels": Preset(
            "the authors' CIFAR-10 network with labels, without averaged weights",
            settings=dict(resolution="32", images=32_000_000, ema=0),
            spec=Spec((3, 32, 32), num_classes=10),
            parameters=dict(g=1_218_307, d=1_055_115),
        ),
        "paper-64": Preset(
            "the authors' network for 64 px, without averaged weights",
            settings=dict(resolution="64", images=64_000_000, ema=0),
            model=dict(conditional=False, g_batch=1, lr=1e-4, decay=False),
            spec=Spec((3, 64, 64)),
            parameters=dict(g=8_540_483, d=7_491_841),
        ),
        "cpu": Preset(
            "for images of 28 to 64 px on one CPU core: a narrow pyramid, as many updates of G as of the critic, small "
            "batches; chosen among eight settings by Frechet distance at equal CPU time, on Fashion-MNIST at 28 px, "
            "one seed",
            model=dict(z_dim=32, width=24, pyramid=True, class_weight_g=1.0, n_critic=1, g_batch=1, lr=1e-3),
            settings=dict(batch=8, images=60_000, ema=5_000),
        ),
        "small": Preset(
            "digits at 16 px on two CPU cores: narrower, with equal weights of the class loss in both networks",
            model=dict(z_dim=32, width=32, class_weight_g=1.0, n_critic=2, g_batch=1, lr=1e-3),
            settings=dict(batch=32, images=100_000, ema=10_000),
        ),
    }

    def __init__(
        self,
        spec: Spec,
        *,
        z_dim: int = 128,
        width: int = 128,
        pyramid: bool | None = None,
        conditional: bool = True,
        penalty_weight: float = 10.0,
        class_weight_g: float = 0.1,
        n_critic: int = 5,
        g_batch: int = 2,
        lr: float = 2e-4,
        decay: bool = True,
        dequantise: bool | None = None,
    ):
        super().__init__(spec if conditional else replace(spec, num_classes=0))
        self.z_dim, self.n_critic, self.g_batch, self.lr, self.decay = z_dim, n_critic, g_batch, lr, decay
        self.penalty_weight, self.class_weight_g = penalty_weight, class_weight_g
        classes, count = self.spec.num_classes, stages(*spec.shape[1:])
        norm = partial(ConditionalBatchNorm2d, num_classes=classes) if classes else BatchNorm2d
        pyramid = count >= 4 if pyramid is None else pyramid
        self.dequantise = count < 4 if dequantise is None else dequantise
        flat, tall = [width] * (count + 1), [width // 2 * min(2**i, 8) for i in reversed(range(count + 1))]
        self.g = SNGANGenerator(z_dim, spec.shape, tall if pyramid else flat, norm, bias=not pyramid)
        self.d = Critic(spec.shape, width, classes, pyramid)
        init_glorot(self)
        first = self.d.trunk[0] if pyramid else self.g.out
        nn.init.xavier_uniform_(first.get_parameter("weight"))  # without the factor sqrt(2)
        self.opt = {name: adam(net.parameters(), lr, (0, 0.9)) for name, net in (("g", self.g), ("d", self.d))}

    def noise(self, n: int) -> Tensor:
        """(n, z_dim) latents from N(0, 1)."""
        return torch.randn(n, self.z_dim)

    def sample(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(N, z_dim) latents, and (N,) labels if trained with labels, to (N, C, H, W) images in [-1, 1]."""
        return self.g(z) if label is None else self.g(z, label)

    def critic(self, images: Tensor) -> Tensor:
        """(N, C, H, W) images in [-1, 1] to (N,) outputs of the critic, for estimates of the Wasserstein distance."""
        return self.d(images)

    def step(self, batch: Batch, run: Run) -> None:
        for opt in self.opt.values():
            opt.param_groups[0]["lr"] = self.lr * (1 - run.done if self.decay else 1)
        run.update("d", self.d_loss, batch)
        if (run.step + 1) % self.n_critic == 0:
            run.update("g", self.g_loss, batch)

    def d_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        images = dequantise(batch.real, batch.draw) if self.dequantise else batch.real
        label = batch.label if self.spec.num_classes else None
        fakes = self.sample(batch.draw(self.noise), label)
        fake = self.d(batch.augment(fakes))
        outputs: dict[str, Tensor] = {}
        if label is None:
            real = self.d(batch.augment(images))
        else:
            real, classes = self.d.classify(batch.augment(images))
            outputs = {
                "class": cross_entropy(classes, label),
                "class_right": (classes.argmax(1) == label).float().mean(),
            }
        penalty = wgan_gp(lambda x: self.d(batch.augment(x)), images, fakes, batch.draw)
        loss = wasserstein.d(real, fake) + self.penalty_weight * penalty + outputs.get("class", 0)
        return loss, {"penalty": penalty, **scores(real, fake, boundary=None), **outputs}

    def g_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        z = draw_times(batch.draw, self.noise, self.g_batch)
        if not self.spec.num_classes:
            return wasserstein.g(self.d(batch.augment(self.g(z)))), {}
        label = draw_times(batch.draw, lambda n: torch.randint(self.spec.num_classes, (n,)), self.g_batch)
        fake, classes = self.d.classify(batch.augment(self.g(z, label)))
        class_loss = cross_entropy(classes, label)
        return wasserstein.g(fake) + self.class_weight_g * class_loss, {"class": class_loss}
