"""gan. Ian J. Goodfellow, Jean Pouget-Abadie, Mehdi Mirza, Bing Xu, David Warde-Farley, Sherjil Ozair, Aaron Courville,
Yoshua Bengio, "Generative Adversarial Nets", NIPS 2014. https://arxiv.org/abs/1406.2661

Two networks play a game: D learns to tell real samples from those that G makes of noise, G learns to make D take them
for real. Where D is as good as it can be, G has won when its samples follow the distribution of the data. Numbers that
the text leaves out are those of the authors' code, which also moves both networks at once from the same samples.

The file is long because it holds the paper's networks and, for points, the small ones that objectives are compared
on.

Deviations:
- The generator's bias begins at the logit of the mean of the first batch, with half a white and half a black image
  added to it, not of all training images: a model sees batches alone. The halves keep pixels that are black in the
  whole batch from being black for good.
- Momentum grows with every image, not with every epoch. The authors' code never stops by itself: the paper's presets stop
  when momentum has risen, after 250 epochs of 50,000 digits or 40,000 photographs.
- CIFAR-10 goes in as it is, in [-1, 1], not contrast-normalised: that cannot be undone to look at a sample.
- Without a preset, samples come from averaged weights (`--ema 0`: the last ones); the paper has no averaging.
- Left out: several updates of D for each of G (k > 1 in algorithm 1; the paper trains with 1), the networks for TFD, and
  the convolutional one for CIFAR-10.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from gankit.losses import ADVERSARIAL, scores
from gankit.nn import Dropout, Maxout, average
from gankit.penalties import PENALTIES
from gankit.recipe import Batch, Images, Preset, Recipe, Run, Spec, adam


class Generator(nn.Module):
    """(N, z_dim) to samples: images (N, C, H, W), in [-1, 1] with a sigmoid at the end, or points (N, D)."""

    def __init__(self, shape: tuple[int, ...], z_dim: int, hidden: tuple[int, ...], sigmoid: bool):
        super().__init__()
        self.shape, self.sigmoid = shape, sigmoid
        layers = [layer for a, b in pairwise((z_dim, *hidden)) for layer in (nn.Linear(a, b), nn.ReLU())]
        if len(shape) == 3 and not sigmoid:
            layers[-1] = nn.Sigmoid()
        self.hidden, self.out = nn.Sequential(*layers), nn.Linear(hidden[-1], torch.Size(shape).numel())

    def forward(self, z: Tensor) -> Tensor:
        x = self.out(self.hidden(z)).unflatten(1, self.shape)
        return x.sigmoid() * 2 - 1 if self.sigmoid else x


class Discriminator(nn.Module):
    """Samples to (N,) logits. With `unit` it sees images in [0, 1], as the paper's do."""

    def __init__(self, size: int, hidden: tuple[int, ...], pieces: int, dropout: tuple[float, float], unit: bool):
        super().__init__()
        self.unit = unit
        layers: list[nn.Module] = [nn.Flatten(), Dropout(dropout[0])]
        for a, b in pairwise((size, *hidden)):
            layers += [Maxout(a, b, pieces)] if pieces > 1 else [nn.Linear(a, b), nn.LeakyReLU(0.2)]
            layers += [Dropout(dropout[1])]
        self.net = nn.Sequential(*layers, nn.Linear(hidden[-1], 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x + 1) / 2 if self.unit else x).squeeze(1)


# What later papers found: Adam, leaky ReLU, Huang et al.'s loss and penalty (R3GAN, 2024), a falling learning rate.
MODERN: dict[str, object] = dict(
    prior="normal", optimizer="adam", lr=1e-3, lr_decay=1.0004, maxout_pieces=1, input_dropout=0.0, dropout=0.0,
    g_init=0.1, d_init=0.1, loss="relativistic", penalty="r1_r2",
)  # fmt: skip
POINTS = MODERN | dict(z_dim=2, g_hidden=(128,) * 3, d_hidden=(128,) * 3, penalty_weight=0.05, g_init=0.0, d_init=0.0)


class GAN(Recipe):
    """The first GAN: fully connected, with maxout and dropout in the discriminator.

    Args:
        z_dim: length of the noise.
        prior: distribution of the noise: uniform on [-sqrt(3), sqrt(3)], as the authors' code has it for MNIST, or normal, as
            for CIFAR-10.
        g_hidden: ReLU units in each hidden layer of the generator.
        d_hidden: units in each hidden layer of the discriminator.
        maxout_pieces: linear pieces of each maxout unit in the discriminator; 1 makes it a leaky ReLU of slope 0.2.
        input_dropout: share of the discriminator's inputs left out.
        dropout: share of its hidden units left out.
        output: what the generator of images ends in; linear is the paper's for CIFAR-10, with a layer of sigmoids
            before. Points are always linear.
        g_init: largest first weight in the generator, whose biases are 0; or 0 for PyTorch's own weights and biases.
        d_init: largest first weight in the discriminator; 0 likewise.
        optimizer: the paper's SGD, whose momentum grows from 0.5 to 0.7, or Adam (0.5, 0.99).
        momentum_images: images over which it grows: 250 epochs.
        lr: learning rate.
        lr_decay: what the learning rate is divided by after each batch, down to 1e-6.
        loss: adversarial loss; see gankit.losses.ADVERSARIAL.
        penalty: penalty on the discriminator, or none; see gankit.penalties.PENALTIES.
        penalty_weight: what the penalty is multiplied by (for R1 it is gamma / 2).

    Raises:
        ValueError: there is no such loss, penalty or prior, or momentum_images is below 1.
    """

    data, ema, defaults = "images points", ("g",), dict(batch=100)
    presets = {
        "paper": Preset(
            "the paper's network for MNIST, without averaged weights, for 250 epochs",
            settings=dict(resolution="28", images=12_500_000, ema=0),
            spec=Spec((1, 28, 28)),
            parameters=dict(g=2_503_984, d=1_231_441),
        ),
        "paper-cifar10": Preset(
            "the paper's fully connected network for CIFAR-10, without averaged weights, for 250 epochs",
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
        "small": Preset(
            "digits at 16 px on two CPU cores: Adam, a paired loss and R1 + R2, no dropout",
            model=MODERN | dict(z_dim=16, g_hidden=(256, 256), d_hidden=(256, 256), penalty_weight=0.5),
            settings=dict(batch=50, images=300_000, ema=20_000),
        ),
        "ring": Preset(
            "points of ring: three layers of 128 units, Adam, a paired loss and R1 + R2, PyTorch's first weights",
            model=POINTS | dict(lr_decay=1.0003),
            settings=dict(batch=256, images=2_500_000, ema=20_000),
        ),
        "grid": Preset(
            "points of grid: as ring, for longer",
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
    ):
        super().__init__(spec)
        self.z_dim, self.prior, self.lr, self.lr_decay, self.penalty_weight = z_dim, prior, lr, lr_decay, penalty_weight
        choices = (
            ("loss", loss, [*ADVERSARIAL]),
            ("penalty", penalty, ["none", *PENALTIES]),
            ("prior", prior, ["uniform", "normal"]),
        )
        for kind, name, known in choices:
            if name not in known:
                raise ValueError(f"there is no {kind} {name!r}; choose from {', '.join(known)}")
        if momentum_images < 1:
            raise ValueError(f"momentum_images is {momentum_images}; it must be at least 1")
        self.momentum_images = momentum_images
        self.adversarial, self.penalty = ADVERSARIAL[loss], PENALTIES.get(penalty)
        sigmoid = output == "sigmoid" and len(spec.shape) == 3
        self.g = Generator(spec.shape, z_dim, g_hidden, sigmoid)
        self.d = Discriminator(spec.size, d_hidden, maxout_pieces, (input_dropout, dropout), sigmoid)
        uniform(self.g, g_init)
        if output == "linear" and len(spec.shape) == 3:
            uniform(self.g.out, 0.5)
        uniform(self.d, d_init)
        for name in ("g", "d"):
            parameters = getattr(self, name).parameters()
            sgd = optimizer == "sgd"
            self.opt[name] = torch.optim.SGD(parameters, lr) if sgd else adam(parameters, lr, (0.5, 0.99))

    def enter(self, index: int, batch: Batch) -> None:
        if not self.g.sigmoid:
            return
        mean = average((batch.real.flatten(1) + 1).mean(0) / 2)
        with torch.no_grad():
            self.g.out.bias.copy_(((mean * batch.size + 0.5) / (batch.size + 1)).logit())

    def step(self, batch: Batch, run: Run) -> None:
        for group in [group for opt in self.opt.values() for group in opt.param_groups]:
            group["lr"] = max(self.lr * self.lr_decay**-run.step, 1e-6)
            if "momentum" in group:
                group["momentum"] = 0.5 + 0.2 * min(run.images / self.momentum_images, 1.0)
        run.update(("d", "g"), self.losses, batch)

    def losses(self, batch: Batch) -> tuple[tuple[Tensor, Tensor], dict[str, Tensor]]:
        """Both players' losses on one set of samples, D's halved as in the authors' code."""
        fake = self.g(batch.draw(self.noise))
        real_logit, fake_logit = self.judge(batch, batch.real), self.judge(batch, fake)
        d_loss = self.adversarial.d(real_logit, fake_logit)
        if self.penalty is not None:
            d_loss = d_loss + self.penalty_weight * self.penalty(
                partial(self.judge, batch), batch.real, fake, batch.draw
            )
        g_loss = self.adversarial.g(fake_logit, real_logit if self.adversarial.paired else None)
        return (d_loss / 2, g_loss), scores(real_logit, fake_logit, self.adversarial.boundary)

    def judge(self, batch: Batch, x: Tensor) -> Tensor:
        """(N, ...) to D's (N,) logits on them, images as the run augments them."""
        return self.d(batch.augment(x))

    def noise(self, n: int) -> Tensor:
        """(n, z_dim) latents, of mean 0 and variance 1."""
        return 3**0.5 * (torch.rand(n, self.z_dim) * 2 - 1) if self.prior == "uniform" else torch.randn(n, self.z_dim)

    def sample(self, z: Tensor) -> Tensor:
        """(N, z_dim) latents to (N, C, H, W) images in [-1, 1] or (N, D) points."""
        return self.g(z)


def uniform(net: nn.Module, largest: float) -> None:
    """Weights U(-largest, largest), biases 0; with 0 all as PyTorch has made them."""
    for layer in net.modules():
        if isinstance(layer, nn.Linear) and largest:
            nn.init.uniform_(layer.weight, -largest, largest)
            nn.init.zeros_(layer.bias)
