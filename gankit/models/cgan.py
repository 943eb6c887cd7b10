"""cgan. Mehdi Mirza, Simon Osindero, "Conditional Generative Adversarial Nets", arXiv 2014.
https://arxiv.org/abs/1411.1784

Both networks of a GAN get a condition: the one-hot class of a digit, or the features of a photograph for the word
vectors of its tags. The condition and the noise, or the condition and the sample, each pass through a layer of their
own before they are concatenated.

The preset "paper-tags" holds the paper's networks for tags. Its data are vectors, each with a condition.

The file is long because it holds both of the paper's forms: labels to digits, and features to word vectors.

Deviations:
- The paper does not give losses, initial weights or the order of updates. They come from the code of the GAN paper, on
  which it builds: both networks are updated at once from the same samples. Fakes get the conditions of the batch's
  reals.
- Dropout of 0.5 "on both networks" is applied to all their hidden units.
- Momentum grows with every image, not with every epoch, over the number of images in that code.
- The paper stops at the best Parzen likelihood of held-out images; here training stops after `--images`, which is ours.
- Without a preset, samples come from averaged weights (`--ema 0` disables averaging); the paper has no averaging.
- Left out: several updates of D per update of G, k > 1 in the GAN paper.
"""

from __future__ import annotations

from functools import partial
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.losses import ADVERSARIAL, scores
from gankit.nn import Dropout, Maxout
from gankit.nn.goodfellow import init_uniform, set_schedules
from gankit.penalties import PENALTIES
from gankit.recipe import Batch, Preset, Recipe, Run, Spec, adam


class Generator(nn.Module):
    """A ReLU layer each for noise and condition, a joint ReLU layer if there is a third width, and a linear output."""

    def __init__(self, shape: tuple[int, ...], z_dim: int, c_dim: int, hidden: tuple[int, ...], dropout: float):
        super().__init__()
        self.shape = shape
        z_width, c_width, *joint = hidden
        self.z = nn.Sequential(nn.Linear(z_dim, z_width), nn.ReLU())
        self.c = nn.Sequential(nn.Linear(c_dim, c_width), nn.ReLU())
        layers: list[nn.Module] = [Dropout(dropout)]
        width = z_width + c_width
        for units in joint:
            layers += [nn.Linear(width, units), nn.ReLU(), Dropout(dropout)]
            width = units
        self.joint = nn.Sequential(*layers, nn.Linear(width, torch.Size(shape).numel()))

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """(N, z_dim) latents and (N, c_dim) conditions to (N, C, H, W) images in [-1, 1] or (N, D) vectors."""
        x = self.joint(torch.cat([self.z(z), self.c(c)], 1)).unflatten(1, self.shape)
        return x.sigmoid() * 2 - 1 if len(self.shape) == 3 else x


class Discriminator(nn.Module):
    """One maxout layer each for sample and condition, then a joint one. A layer with one piece is a ReLU layer."""

    def __init__(self, size: int, c_dim: int, hidden: tuple[int, ...], pieces: tuple[int, ...], dropout: float):
        super().__init__()
        inputs = (size, c_dim, hidden[0] + hidden[1])
        layers = [
            Maxout(a, b, k) if k > 1 else nn.Sequential(nn.Linear(a, b), nn.ReLU())
            for a, b, k in zip(inputs, hidden, pieces, strict=True)
        ]
        self.x, self.c, self.joint = layers
        self.dropout, self.out = Dropout(dropout), nn.Linear(hidden[2], 1)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """(N, C, H, W) images in [-1, 1] or (N, D) vectors, and (N, c_dim) conditions, to (N,) logits."""
        x = (x.flatten(1) + 1) / 2 if x.dim() == 4 else x
        h = self.joint(self.dropout(torch.cat([self.x(x), self.c(c)], 1)))
        return self.out(self.dropout(h)).squeeze(1)


SMALL: dict[str, object] = dict(
    z_dim=16, prior="normal", g_hidden=(128, 128, 256), d_hidden=(256, 64, 256), maxout_pieces=(2, 2, 2), dropout=0.0,
    g_init=0.1, d_init=0.1, optimizer="adam", lr=1e-3, lr_decay=1.0008, loss="relativistic", penalty="r1_r2",
    penalty_weight=0.5,
)  # fmt: skip


class CGAN(Recipe):
    """Fully connected GAN conditioned on labels, or on a feature vector for each sample.

    Args:
        z_dim: length of the latent z.
        prior: distribution of z: uniform on [0, 1], or normal.
        g_hidden: ReLU units in G for the noise and for the condition, and optionally for a joint layer.
        d_hidden: units in D for the sample, for the condition and for the joint layer.
        maxout_pieces: linear pieces per maxout unit in D's three layers; 1 uses ReLUs instead.
        dropout: dropout probability of the hidden units in both networks.
        g_init: bound of G's uniform initial weights.
        d_init: bound of D's uniform initial weights.
        optimizer: the paper's SGD, whose momentum grows from 0.5 to 0.7 over 12.5 million images, or Adam with betas
            (0.5, 0.99).
        lr: initial learning rate.
        lr_decay: divisor of the learning rate after each batch, down to 1e-6.
        loss: adversarial loss; see gankit.losses.ADVERSARIAL.
        penalty: penalty on the discriminator, or none; see gankit.penalties.PENALTIES.
        penalty_weight: weight of the penalty; gamma / 2 for R1.
        n_dis: updates of D for each of G, k in the GAN paper's algorithm 1; the last of them is on G's samples.
    """

    data, labels, ema, defaults = "images vectors", "required", ("g",), dict(batch=100)
    presets = {
        "paper": Preset(
            "the paper's network for MNIST, without averaged weights; the length is ours",
            settings=dict(resolution="28", images=12_500_000, ema=0),
            spec=Spec((1, 28, 28), num_classes=10),
            parameters=dict(g=2_413_984, d=1_224_351),
        ),
        "paper-tags": Preset(
            "the paper's network for MIR-Flickr tags: 200-d word vectors from 4096-d features; the length is ours",
            model=dict(prior="normal", g_hidden=(500, 2000), d_hidden=(500, 1200, 1000), maxout_pieces=(1, 1, 3)),
            settings=dict(images=12_500_000, ema=0),
            spec=Spec((200,), condition_dim=4096),
            parameters=dict(g=8_744_700, d=10_120_901),
        ),
        "cpu": Preset(
            "for images of 28 to 64 px on one CPU core: as small, with a wider G and a rate that falls more slowly; "
            "one check, on Fashion-MNIST at 28 px: Frechet distance 62 after 20 CPU seconds, 70 with small",
            model=SMALL | dict(g_hidden=(128, 256, 512), lr_decay=1.0003),
            settings=dict(batch=50, images=300_000, ema=20_000),
        ),
        "small": Preset(
            "for digits at 16 px on two CPU cores: narrower, Adam, relativistic loss, R1 + R2 (R3GAN), no dropout",
            model=SMALL,
            settings=dict(batch=50, images=100_000, ema=20_000),
        ),
    }

    def __init__(
        self,
        spec: Spec,
        *,
        z_dim: int = 100,
        prior: Literal["uniform", "normal"] = "uniform",
        g_hidden: tuple[int, ...] = (200, 1000, 1200),
        d_hidden: tuple[int, ...] = (240, 50, 240),
        maxout_pieces: tuple[int, ...] = (5, 5, 4),
        dropout: float = 0.5,
        g_init: float = 0.05,
        d_init: float = 0.005,
        optimizer: Literal["sgd", "adam"] = "sgd",
        lr: float = 0.1,
        lr_decay: float = 1.00004,
        loss: str = "non_saturating",
        penalty: str = "none",
        penalty_weight: float = 0.0,
        n_dis: int = 1,
    ):
        super().__init__(spec)
        for option, value, options in ("loss", loss, [*ADVERSARIAL]), ("penalty", penalty, ["none", *PENALTIES]):
            if value not in options:
                raise ValueError(f"there is no {option} {value!r}; choose from {', '.join(options)}")
        self.adversarial, self.penalty, self.penalty_weight = ADVERSARIAL[loss], PENALTIES.get(penalty), penalty_weight
        self.n_dis = n_dis
        lengths = ("g_hidden", g_hidden, (2, 3)), ("d_hidden", d_hidden, (3,)), ("maxout_pieces", maxout_pieces, (3,))
        for option, numbers, allowed in lengths:
            if len(numbers) not in allowed:
                raise ValueError(f"{option} must have {' or '.join(map(str, allowed))} numbers, not {len(numbers)}")
        self.z_dim, self.prior, self.lr, self.lr_decay = z_dim, prior, lr, lr_decay
        c_dim = spec.num_classes or spec.condition_dim
        self.g = Generator(spec.shape, z_dim, c_dim, g_hidden, dropout)
        self.d = Discriminator(spec.size, c_dim, d_hidden, maxout_pieces, dropout)
        for name, net, bound in ("g", self.g, g_init), ("d", self.d, d_init):
            init_uniform(net, bound)
            sgd = optimizer == "sgd"
            self.opt[name] = torch.optim.SGD(net.parameters(), lr) if sgd else adam(net.parameters(), lr, (0.5, 0.99))

    def step(self, batch: Batch, run: Run) -> None:
        set_schedules(self.opt.values(), self.lr * self.lr_decay**-run.step, run.images / 12.5e6)
        if run.step % self.n_dis == self.n_dis - 1:
            run.update(("d", "g"), self.losses, batch)
        else:
            run.update("d", self.d_loss, batch)

    def d_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of D alone."""
        (loss, _), outputs = self.losses(batch)
        return loss, outputs

    def losses(self, batch: Batch) -> tuple[tuple[Tensor, Tensor], dict[str, Tensor]]:
        """The losses of D and G on the same samples; D's is halved as in the code of the GAN paper."""
        c = self.condition(batch.label if self.spec.num_classes else batch.condition)
        fake = self.g(batch.draw(self.noise), c)
        critic = partial(self.logits, batch, c=c)
        real_logits, fake_logits = critic(batch.real), critic(fake)
        d_loss = self.adversarial.d(real_logits, fake_logits)
        if self.penalty:
            d_loss = d_loss + self.penalty_weight * self.penalty(critic, batch.real, fake, batch.draw)
        return (d_loss / 2, self.adversarial.g(fake_logits, real_logits)), scores(real_logits, fake_logits)

    def logits(self, batch: Batch, x: Tensor, c: Tensor) -> Tensor:
        """(N, ...) samples, augmented if the run asks for it, and (N, c_dim) conditions to D's (N,) logits."""
        return self.d(batch.augment(x), c)

    def condition(self, label: Tensor) -> Tensor:
        """(N,) labels to (N, num_classes) one-hot vectors; (N, condition_dim) features are returned unchanged."""
        if label.dim() == 2:
            return label
        return F.one_hot(label, self.spec.num_classes).to(next(self.parameters()).dtype)

    @classmethod
    def stretched(cls, arguments: dict[str, object], ratio: float) -> dict[str, object]:
        """The learning rate, divided after each batch, ends where it would have ended."""
        rate = cast(float, arguments["lr_decay"])
        return super().stretched(arguments, ratio) | {"lr_decay": rate ** (1 / ratio)}

    def noise(self, n: int) -> Tensor:
        """(n, z_dim) latents."""
        return torch.rand(n, self.z_dim) if self.prior == "uniform" else torch.randn(n, self.z_dim)

    def truncate(self, z: Tensor, trunc: float) -> Tensor:
        """(N, z_dim) latents, whose distance from the prior's mean is scaled by `trunc`."""
        mean = 0.5 if self.prior == "uniform" else 0.0
        return mean + (z - mean) * trunc

    def sample(self, z: Tensor, label: Tensor) -> Tensor:
        """(N, z_dim) latents, and (N,) labels or (N, condition_dim) features, to (N, C, H, W) or (N, D) samples."""
        return self.g(z, self.condition(label))

    def words(
        self, condition: Tensor, vocabulary: Tensor, samples: int = 100, nearest: int = 20, most: int = 10
    ) -> Tensor:
        """Indices of the `most` frequent rows of a (V, D) vocabulary for one (condition_dim,) condition (section 4.2).

        The `nearest` rows, by cosine similarity, of each of `samples` generated vectors are counted.
        """
        vectors = self.sample(self.noise(samples).to(condition), condition.expand(samples, -1))
        rows = (F.normalize(vectors) @ F.normalize(vocabulary).T).topk(nearest).indices
        return rows.flatten().bincount(minlength=len(vocabulary)).topk(most).indices
