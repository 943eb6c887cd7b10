"""gan. Ian J. Goodfellow, Jean Pouget-Abadie, Mehdi Mirza, Bing Xu, David Warde-Farley, Sherjil Ozair, Aaron Courville,
Yoshua Bengio, "Generative Adversarial Nets", NIPS 2014. https://arxiv.org/abs/1406.2661

The generator G maps noise to samples. The discriminator D learns to classify samples as real or fake, while G learns to
make D classify its fakes as real. For an optimal D, G's loss is minimal when its samples follow the data distribution.
Values that the paper leaves out come from the authors' code, which updates both networks at once from the same samples.

The file is long because it holds the paper's networks and the small networks for comparing losses on 2-d points.

Deviations:
- The biases of G's output start at the logit of the mean of the first batch, to which half a white and half a black
  image are added. The authors use the mean of all training images, but a model sees one batch at a time. The added
  halves keep pixels that are black in the whole batch from staying black.
- Momentum grows with every image, not with every epoch. The authors' code sets no end of training; the paper's presets
  stop when the momentum has reached its final value, after 250 epochs of 50,000 digits or 40,000 photographs.
- CIFAR-10 images stay in [-1, 1] without contrast normalisation, which could not be inverted to show a sample.
- Without a preset, samples come from averaged weights (`--ema 0` disables averaging); the paper has no averaging.
- Left out: several updates of D per update of G (k > 1 in algorithm 1; the paper trains with 1), the networks for TFD,
  and the convolutional network for CIFAR-10.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Literal, cast

import torch
from torch import Tensor, nn

from gankit.losses import ADVERSARIAL, scores
from gankit.nn import Dropout, Maxout, average
from gankit.nn.goodfellow import init_uniform, set_schedules
from gankit.penalties import PENALTIES
from gankit.recipe import Batch, Images, Preset, Recipe, Run, Spec, adam


class Generator(nn.Module):
    """MLP from (N, z_dim) latents to (N, C, H, W) images, in [-1, 1] where it ends in a sigmoid, or (N, D) points."""

    def __init__(self, shape: tuple[int, ...], z_dim: int, hidden: tuple[int, ...], sigmoid: bool):
        super().__init__()
        self.shape, self.sigmoid = shape, sigmoid
        layers: list[nn.Module] = [
            layer for a, b in pairwise((z_dim, *hidden)) for layer in (nn.Linear(a, b), nn.ReLU())
        ]
        if len(shape) == 3 and not sigmoid:
            layers[-1] = nn.Sigmoid()
        self.hidden, self.out = nn.Sequential(*layers), nn.Linear(hidden[-1], torch.Size(shape).numel())

    def forward(self, z: Tensor) -> Tensor:
        x = self.out(self.hidden(z)).unflatten(1, self.shape)
        return x.sigmoid() * 2 - 1 if self.sigmoid else x


class Discriminator(nn.Module):
    """MLP from samples to (N,) logits. With `unit_range`, images are mapped to [0, 1] first, as in the paper."""

    def __init__(self, size: int, hidden: tuple[int, ...], pieces: int, dropout: tuple[float, float], unit_range: bool):
        super().__init__()
        self.unit_range = unit_range
        layers: list[nn.Module] = [nn.Flatten(), Dropout(dropout[0])]
        for a, b in pairwise((size, *hidden)):
            layers += [Maxout(a, b, pieces)] if pieces > 1 else [nn.Linear(a, b), nn.LeakyReLU(0.2)]
            layers += [Dropout(dropout[1])]
        self.net = nn.Sequential(*layers, nn.Linear(hidden[-1], 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x + 1) / 2 if self.unit_range else x).squeeze(1)


# From later papers: Adam, leaky ReLU, a decaying learning rate, and the loss and penalty of R3GAN (Huang et al. 2024).
MODERN: dict[str, object] = dict(
    prior="normal", optimizer="adam", lr=1e-3, lr_decay=1.0004, maxout_pieces=1, input_dropout=0.0, dropout=0.0,
    g_init=0.1, d_init=0.1, loss="relativistic", penalty="r1_r2",
)  # fmt: skip
POINTS = MODERN | dict(z_dim=2, g_hidden=(128,) * 3, d_hidden=(128,) * 3, penalty_weight=0.05, g_init=0.0, d_init=0.0)


class GAN(Recipe):
    """The original GAN: fully connected, with maxout and dropout in the discriminator.

    Args:
        z_dim: length of the latent z.
        prior: distribution of z: uniform on [-sqrt(3), sqrt(3)], as in the authors' code for MNIST, or normal, as for
            CIFAR-10.
        g_hidden: ReLU units in each hidden layer of the generator.
        d_hidden: units in each hidden layer of the discriminator.
        maxout_pieces: linear pieces per maxout unit in the discriminator; 1 uses leaky ReLUs of slope 0.2 instead.
        input_dropout: dropout probability of the discriminator's inputs.
        dropout: dropout probability of the discriminator's hidden units.
        output: output layer of an image generator. The paper's network for CIFAR-10 is linear, after a layer of
            sigmoids. Outputs for points are always linear.
        g_init: bound of the uniform initial weights of the generator, whose biases start at 0. 0 keeps PyTorch's
            defaults.
        d_init: bound of the uniform initial weights of the discriminator. 0 keeps PyTorch's defaults.
        optimizer: the paper's SGD, whose momentum grows from 0.5 to 0.7, or Adam with betas (0.5, 0.99).
        momentum_images: images over which the momentum grows; 250 epochs in the authors' code.
        lr: initial learning rate.
        lr_decay: divisor of the learning rate after each batch, down to 1e-6.
        loss: adversarial loss; see gankit.losses.ADVERSARIAL.
        penalty: penalty on the discriminator, or none; see gankit.penalties.PENALTIES.
        penalty_weight: weight of the penalty; gamma / 2 for R1.
        n_dis: updates of D for each of G, k in the GAN paper's algorithm 1; the last of them is on G's samples.

    Raises:
        ValueError: the loss, penalty or prior is unknown, or momentum_images is below 1.
    """

    data, ema, defaults = "images points", ("g",), dict(batch=100)
    presets = {
        "paper": Preset(
            "the paper's network for MNIST, 250 epochs, without averaged weights",
            settings=dict(resolution="28", images=12_500_000, ema=0),
            spec=Spec((1, 28, 28)),
            parameters=dict(g=2_503_984, d=1_231_441),
        ),
        "paper-cifar10": Preset(
            "the paper's fully connected network for CIFAR-10, 250 epochs, without averaged weights",
            model=dict(
                prior="normal",
                g_hidden=(8000, 8000),
                d_hidden=(1600, 1600),
                output="linear",
                lr=0.025,
                momentum_images=10_000_000,
            ),
            settings=dict(resolution="32", images=10_000_000, ema=0),
            spec=Spec((3, 32, 32)),
            parameters=dict(g=89_395_072, d=37_393_601),
        ),
        "cpu": Preset(
            "for images of 28 to 64 px on one CPU core: as small, twice as wide; one check, on Fashion-MNIST at 28 px: "
            "Frechet distance 52 and recall .08 after 45 CPU seconds, 55 and .03 with small",
            model=MODERN | dict(z_dim=32, g_hidden=(512, 512), d_hidden=(512, 512), penalty_weight=0.5),
            settings=dict(batch=50, images=300_000, ema=20_000),
        ),
        "small": Preset(
            "for digits at 16 px on two CPU cores: Adam, relativistic loss, R1 + R2, no dropout",
            model=MODERN | dict(z_dim=16, g_hidden=(256, 256), d_hidden=(256, 256), penalty_weight=0.5),
            settings=dict(batch=50, images=300_000, ema=20_000),
        ),
        "ring": Preset(
            "for the points of ring: three layers of 128 units, Adam, relativistic loss, R1 + R2, PyTorch's init",
            model=POINTS | dict(lr_decay=1.0003),
            settings=dict(batch=256, images=2_500_000, ema=20_000),
        ),
        "grid": Preset(
            "for the points of grid: as ring, with longer training",
            model=POINTS | dict(lr_decay=1.0002),
            settings=dict(batch=256, images=4_000_000, ema=20_000),
        ),
    }

    def __init__(
        self,
        spec: Spec,
        *,
        z_dim: int = 100,
        prior: Literal["uniform", "normal"] = "uniform",
        g_hidden: tuple[int, ...] = (1200, 1200),
        d_hidden: tuple[int, ...] = (240, 240),
        maxout_pieces: int = 5,
        input_dropout: float = 0.2,
        dropout: float = 0.5,
        output: Literal["sigmoid", "linear"] = "sigmoid",
        g_init: float = 0.05,
        d_init: float = 0.005,
        optimizer: Literal["sgd", "adam"] = "sgd",
        momentum_images: Images = Images(12_500_000),
        lr: float = 0.1,
        lr_decay: float = 1.000004,
        loss: str = "non_saturating",
        penalty: str = "none",
        penalty_weight: float = 0.0,
        n_dis: int = 1,
    ):
        super().__init__(spec)
        self.z_dim, self.prior, self.lr, self.lr_decay, self.penalty_weight = z_dim, prior, lr, lr_decay, penalty_weight
        choices = (
            ("loss", loss, [*ADVERSARIAL]),
            ("penalty", penalty, ["none", *PENALTIES]),
            ("prior", prior, ["uniform", "normal"]),
        )
        for option, value, options in choices:
            if value not in options:
                raise ValueError(f"there is no {option} {value!r}; choose from {', '.join(options)}")
        if momentum_images < 1:
            raise ValueError(f"momentum_images is {momentum_images}; it must be at least 1")
        self.momentum_images, self.n_dis = momentum_images, n_dis
        self.adversarial, self.penalty = ADVERSARIAL[loss], PENALTIES.get(penalty)
        sigmoid = output == "sigmoid" and len(spec.shape) == 3
        self.g = Generator(spec.shape, z_dim, g_hidden, sigmoid)
        self.d = Discriminator(spec.size, d_hidden, maxout_pieces, (input_dropout, dropout), sigmoid)
        if g_init:
            init_uniform(self.g, g_init)
        if output == "linear" and len(spec.shape) == 3:
            init_uniform(self.g.out, 0.5)
        if d_init:
            init_uniform(self.d, d_init)
        for name, net in ("g", self.g), ("d", self.d):
            sgd = optimizer == "sgd"
            self.opt[name] = torch.optim.SGD(net.parameters(), lr) if sgd else adam(net.parameters(), lr, (0.5, 0.99))

    def enter(self, index: int, batch: Batch) -> None:
        if not self.g.sigmoid:
            return
        mean = average((batch.real.flatten(1) + 1).mean(0) / 2)
        with torch.no_grad():
            self.g.out.bias.copy_(((mean * batch.size + 0.5) / (batch.size + 1)).logit())

    def step(self, batch: Batch, run: Run) -> None:
        set_schedules(self.opt.values(), self.lr * self.lr_decay**-run.step, run.images / self.momentum_images)
        if run.step % self.n_dis == self.n_dis - 1:
            run.update(("d", "g"), self.losses, batch)
        else:
            run.update("d", self.d_loss, batch)

    def d_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of D alone."""
        (loss, _), outputs = self.losses(batch)
        return loss, outputs

    def losses(self, batch: Batch) -> tuple[tuple[Tensor, Tensor], dict[str, Tensor]]:
        """The losses of D and G on the same samples; D's is halved as in the authors' code."""
        fake = self.g(batch.draw(self.noise))
        critic = partial(self.logits, batch)
        real_logits, fake_logits = critic(batch.real), critic(fake)
        d_loss = self.adversarial.d(real_logits, fake_logits)
        if self.penalty is not None:
            d_loss = d_loss + self.penalty_weight * self.penalty(critic, batch.real, fake, batch.draw)
        g_loss = self.adversarial.g(fake_logits, real_logits if self.adversarial.paired else None)
        return (d_loss / 2, g_loss), scores(real_logits, fake_logits, self.adversarial.boundary)

    def logits(self, batch: Batch, x: Tensor) -> Tensor:
        """(N, ...) samples, augmented if the run asks for it, to D's (N,) logits."""
        return self.d(batch.augment(x))

    @classmethod
    def stretched(cls, arguments: dict[str, object], ratio: float) -> dict[str, object]:
        """The learning rate, divided after each batch, ends where it would have ended."""
        rate = cast(float, arguments["lr_decay"])
        return super().stretched(arguments, ratio) | {"lr_decay": rate ** (1 / ratio)}

    def noise(self, n: int) -> Tensor:
        """(n, z_dim) latents with mean 0 and variance 1."""
        return 3**0.5 * (torch.rand(n, self.z_dim) * 2 - 1) if self.prior == "uniform" else torch.randn(n, self.z_dim)

    def sample(self, z: Tensor) -> Tensor:
        """(N, z_dim) latents to (N, C, H, W) images in [-1, 1] or (N, D) points."""
        return self.g(z)
