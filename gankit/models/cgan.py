"""cgan. Mehdi Mirza, Simon Osindero, "Conditional Generative Adversarial Nets", arXiv 2014.
https://arxiv.org/abs/1411.1784

Both networks of a GAN are told what to draw: a class, one-hot, for digits; the features of a photograph, for the word
vectors of its tags. Condition and noise, or condition and sample, go through a layer each before they meet.

The paper's networks for tags are the preset "paper-tags": data of vectors with a condition beside each.

The file is long because it holds both of the paper's forms: labels to digits, and features to word vectors.

Deviations:
- Losses, first weights and the order of updates, which the paper leaves out, are those of the code of the paper of GANs
  that it builds on: both networks at once, from the same samples. Fakes have the conditions of the reals beside them.
- Dropout of 0.5 "on both networks" is taken to be on all their hidden units.
- Momentum grows with every image, over as many as that code has, not with every epoch.
- The paper stops at the best Parzen likelihood of held-out images; this stops after `--images`, whose values are ours.
- Without a preset, samples come from averaged weights (`--ema 0`: the last ones); the paper has no averaging.
- Left out: several updates of D for each of G, k > 1 in the paper of GANs.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.losses import ADVERSARIAL, scores
from gankit.nn import Dropout, Maxout
from gankit.penalties import PENALTIES
from gankit.recipe import Batch, Preset, Recipe, Run, Spec, adam


class Generator(nn.Module):
    """Noise and condition through a ReLU layer each, then a joint one if there is a third width, then the sample."""

    def __init__(self, shape: tuple[int, ...], z_dim: int, c_dim: int, hidden: tuple[int, ...], dropout: float):
        super().__init__()
        self.shape = shape
        z_width, c_width, *joint = hidden
        self.z = nn.Sequential(nn.Linear(z_dim, z_width), nn.ReLU())
        self.c = nn.Sequential(nn.Linear(c_dim, c_width), nn.ReLU())
        layers, width = [Dropout(dropout)], z_width + c_width
        for units in joint:
            layers += [nn.Linear(width, units), nn.ReLU(), Dropout(dropout)]
            width = units
        self.joint = nn.Sequential(*layers, nn.Linear(width, torch.Size(shape).numel()))

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """(N, z_dim) and (N, c_dim) to (N, C, H, W) images in [-1, 1], by a sigmoid, or (N, D) vectors."""
        x = self.joint(torch.cat([self.z(z), self.c(c)], 1)).unflatten(1, self.shape)
        return x.sigmoid() * 2 - 1 if len(self.shape) == 3 else x


class Discriminator(nn.Module):
    """Sample and condition through a maxout layer each, then a joint one. One piece is a ReLU layer."""

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
        """(N, C, H, W) images in [-1, 1], seen in [0, 1], or (N, D) vectors, with (N, c_dim) to (N,) logits."""
        x = (x.flatten(1) + 1) / 2 if x.dim() == 4 else x
        h = self.joint(self.dropout(torch.cat([self.x(x), self.c(c)], 1)))
        return self.out(self.dropout(h)).squeeze(1)


class CGAN(Recipe):
    """Fully connected GAN conditioned on labels, or on a feature vector beside each sample.

    Args:
        z_dim: length of the noise.
        prior: distribution of the noise: uniform on [0, 1], or normal.
        g_hidden: ReLU units in G for the noise, for the condition and, if there is a third number, for both together.
        d_hidden: units in D for the sample, for the condition and for both together.
        maxout_pieces: linear pieces of each maxout unit in these three; 1 makes it a ReLU.
        dropout: share of the hidden units left out, in both networks.
        g_init: largest of G's first weights.
        d_init: largest of D's first weights.
        optimizer: sgd, as in the paper, with a momentum from 0.5 to 0.7 over 12.5 million images, or Adam (0.5, 0.99).
        lr: learning rate.
        lr_decay: what the learning rate is divided by after each batch, down to 1e-6.
        loss: adversarial loss; see gankit.losses.ADVERSARIAL.
        penalty: penalty on the discriminator, or none; see gankit.penalties.PENALTIES.
        penalty_weight: what the penalty is multiplied by (for R1 it is gamma / 2).
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
            "the paper's for tags of MIR-Flickr: 200-d word vectors given 4096-d features of photographs; the length is ours",
            model=dict(prior="normal", g_hidden=(500, 2000), d_hidden=(500, 1200, 1000), maxout_pieces=(1, 1, 3)),
            settings=dict(images=12_500_000, ema=0),
            spec=Spec((200,), condition_dim=4096),
            parameters=dict(g=8_744_700, d=10_120_901),
        ),
        "small": Preset(
            "digits at 16 px on two CPU cores: narrower, Adam, a paired loss and R1 + R2 (R3GAN, 2024), no dropout",
            model=dict(
                z_dim=16,
                prior="normal",
                g_hidden=(128, 128, 256),
                d_hidden=(256, 64, 256),
                maxout_pieces=(2, 2, 2),
                dropout=0.0,
                g_init=0.1,
                d_init=0.1,
                optimizer="adam",
                lr=1e-3,
                lr_decay=1.0008,
                loss="relativistic",
                penalty="r1_r2",
                penalty_weight=0.5,
            ),
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
    ):
        super().__init__(spec)
        for what, name, known in ("loss", loss, [*ADVERSARIAL]), ("penalty", penalty, ["none", *PENALTIES]):
            if name not in known:
                raise ValueError(f"{what} is {name!r}; choose from {', '.join(known)}")
        self.adversarial, self.penalty, self.penalty_weight = ADVERSARIAL[loss], PENALTIES.get(penalty), penalty_weight
        for name, numbers, counts in (
            ("g_hidden", g_hidden, (2, 3)),
            ("d_hidden", d_hidden, (3,)),
            ("maxout_pieces", maxout_pieces, (3,)),
        ):
            if len(numbers) not in counts:
                raise ValueError(f"{name} must have {' or '.join(map(str, counts))} numbers, not {len(numbers)}")
        self.z_dim, self.prior, self.lr, self.lr_decay = z_dim, prior, lr, lr_decay
        c_dim = spec.num_classes or spec.condition_dim
        self.g = Generator(spec.shape, z_dim, c_dim, g_hidden, dropout)
        self.d = Discriminator(spec.size, c_dim, d_hidden, maxout_pieces, dropout)
        for name, net, largest in ("g", self.g, g_init), ("d", self.d, d_init):
            for layer in net.modules():
                if isinstance(layer, nn.Linear):
                    nn.init.uniform_(layer.weight, -largest, largest)
                    nn.init.zeros_(layer.bias)
            sgd = optimizer == "sgd"
            self.opt[name] = torch.optim.SGD(net.parameters(), lr) if sgd else adam(net.parameters(), lr, (0.5, 0.99))

    def step(self, batch: Batch, run: Run) -> None:
        for group in [group for opt in self.opt.values() for group in opt.param_groups]:
            group["lr"] = max(self.lr * self.lr_decay**-run.step, 1e-6)
            if "momentum" in group:
                group["momentum"] = 0.5 + 0.2 * min(run.images / 12.5e6, 1.0)
        run.update(("d", "g"), self.losses, batch)

    def losses(self, batch: Batch) -> tuple[tuple[Tensor, Tensor], dict[str, Tensor]]:
        """Both players' losses on one set of samples, D's halved as in that code."""
        c = self.condition(batch.label if self.spec.num_classes else batch.condition)
        images = self.g(batch.draw(self.noise), c)
        critic = partial(self.judge, batch, c=c)
        real, fake = critic(batch.real), critic(images)
        d_loss = self.adversarial.d(real, fake)
        if self.penalty:
            d_loss = d_loss + self.penalty_weight * self.penalty(critic, batch.real, images, batch.draw)
        return (d_loss / 2, self.adversarial.g(fake, real)), scores(real, fake)

    def judge(self, batch: Batch, x: Tensor, c: Tensor) -> Tensor:
        """(N, ...) with their conditions to D's (N,) logits on them, images as the run augments them."""
        return self.d(batch.augment(x), c)

    def condition(self, given: Tensor) -> Tensor:
        """(N,) labels to (N, num_classes) one-hot; (N, condition_dim) features as they are."""
        if given.dim() == 2:
            return given
        return F.one_hot(given, self.spec.num_classes).to(next(self.parameters()).dtype)

    def noise(self, n: int) -> Tensor:
        """(n, z_dim) latents."""
        return torch.rand(n, self.z_dim) if self.prior == "uniform" else torch.randn(n, self.z_dim)

    def truncate(self, z: Tensor, trunc: float) -> Tensor:
        """(N, z_dim) latents moved to the prior's mean by the factor `trunc`."""
        mean = 0.5 if self.prior == "uniform" else 0.0
        return mean + (z - mean) * trunc

    def sample(self, z: Tensor, label: Tensor) -> Tensor:
        """(N, z_dim) latents with (N,) labels or (N, condition_dim) features to (N, C, H, W) in [-1, 1] or (N, D)."""
        return self.g(z, self.condition(label))

    def words(
        self, condition: Tensor, vocabulary: Tensor, samples: int = 100, nearest: int = 20, most: int = 10
    ) -> Tensor:
        """The `most` rows of a vocabulary (V, D) that come up most for one (condition_dim,) condition (section 4.2).

        Of each of `samples` generated vectors the `nearest` rows by cosine are counted.
        """
        drawn = self.sample(self.noise(samples).to(condition), condition.expand(samples, -1))
        rows = (F.normalize(drawn) @ F.normalize(vocabulary).T).topk(nearest).indices
        return rows.flatten().bincount(minlength=len(vocabulary)).topk(most).indices
