"""vae. Diederik P. Kingma, Max Welling, "Auto-Encoding Variational Bayes", ICLR 2014. https://arxiv.org/abs/1312.6114

An encoder maps each image to a Gaussian q(z|x) in a low-dimensional latent space, and a decoder maps latents to
images. Both are trained on one bound on the log-likelihood (eq. 10): log p(x|z) for one z drawn from q(z|x), minus
KL(q(z|x) || N(0, I)). Writing z as mu + sigma * eps lets gradients flow through the draw (reparameterization).

Deviations:
- The Bernoulli decoder takes grey values as probabilities, as in most code, so its nats are not a likelihood of grey
  images.
- The paper selects the step size from 0.01, 0.02 and 0.1; the default is the middle one. The paper's N(0, 0.01) for
  the initial weights is read as a variance, which is how it writes normal distributions elsewhere.
- The Gaussian decoder's deviation is at least 1/256 of the range; otherwise a pixel that never changes would have
  infinite likelihood. The paper's face data has no such pixel.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.losses import bernoulli_nll, gaussian_kl
from gankit.recipe import Batch, Preset, Recipe, Run, Spec

FINEST = 2 * math.log(1 / 256)  # log-variance for a deviation of one grey level


class Encoder(nn.Module):
    """(N, C, H, W) images in [-1, 1] to mean and log-variance of q(z|x), (N, z_dim) each (appendix C.2)."""

    def __init__(self, size: int, hidden: int, z_dim: int):
        super().__init__()
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(size, hidden), nn.Tanh())
        self.mu, self.logvar = nn.Linear(hidden, z_dim), nn.Linear(hidden, z_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.hidden((x + 1) / 2)
        return self.mu(h), self.logvar(h)


class Decoder(nn.Module):
    """(N, z_dim) latents to the logits of the mean and, if Gaussian, the log-variance, (N, size) each (appendix C)."""

    def __init__(self, size: int, hidden: int, z_dim: int, gaussian: bool):
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(z_dim, hidden), nn.Tanh())
        self.mean = nn.Linear(hidden, size)
        self.logvar = nn.Linear(hidden, size) if gaussian else None

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor | None]:
        h = self.hidden(z)
        return self.mean(h), None if self.logvar is None else FINEST + F.softplus(self.logvar(h) - FINEST)


class VAE(Recipe):
    """Variational auto-encoder with one hidden layer on each side.

    Args:
        z_dim: dimensions of the latent z; 3 to 200 for MNIST and 2 to 20 for faces in the paper (section 5).
        hidden: tanh units of the hidden layer of each network; 500 for MNIST, 200 for faces.
        decoder: distribution of a pixel given z: bernoulli, or gaussian with mean in (0, 1) and a learned variance.
        optimizer: adagrad, as in the paper, or adam, which Kingma published later.
        lr: learning rate of the optimizer.
        weight_decay: decay of the decoder's weights, from their prior N(0, I): one over the number of images.
    """

    data, defaults = "images", dict(batch=100)
    presets = {
        "paper": Preset(
            "the paper's network for MNIST, with 20 latent dimensions; the length is ours",
            settings=dict(resolution="28", images=10_000_000),
            spec=Spec((1, 28, 28)),
            parameters=dict(e=412_540, g=403_284),
        ),
        "paper-faces": Preset(
            "the paper's network for the 1,965 Frey faces, with 20 latent dimensions; the length is ours",
            model=dict(hidden=200, decoder="gaussian", weight_decay=1 / 1965),
            settings=dict(resolution="28x20", images=10_000_000),
            spec=Spec((1, 28, 20)),
            parameters=dict(e=120_240, g=229_320),
        ),
        "cpu": Preset(
            "for images of 28 to 64 px on one CPU core: as small, with twice the width and latents; one check, on "
            "held-out Fashion-MNIST at 28 px after 15 CPU seconds: root mean square error of reconstructions .276 of "
            "2, .287 with small, at equal bounds (257 and 256 nats)",
            model=dict(z_dim=16, hidden=200, optimizer="adam", lr=3e-3, weight_decay=0.0),
            settings=dict(batch=32, images=600_000),
        ),
        "small": Preset(
            "digits at 16 px on two CPU cores: narrower, with Adam, which needs a third of Adagrad's images",
            model=dict(z_dim=8, hidden=100, optimizer="adam", lr=3e-3, weight_decay=0.0),
            settings=dict(batch=32, images=300_000),
        ),
    }

    def __init__(
        self,
        spec: Spec,
        *,
        z_dim: int = 20,
        hidden: int = 500,
        decoder: Literal["bernoulli", "gaussian"] = "bernoulli",
        optimizer: Literal["adagrad", "adam"] = "adagrad",
        lr: float = 0.02,
        weight_decay: float = 1 / 60_000,
    ):
        super().__init__(spec)
        self.z_dim = z_dim
        self.e = Encoder(spec.size, hidden, z_dim)
        self.g = Decoder(spec.size, hidden, z_dim, decoder == "gaussian")
        for parameter in self.parameters():
            nn.init.normal_(parameter, 0.0, 0.1)
        groups = [{"params": self.e.parameters()}, {"params": self.g.parameters(), "weight_decay": weight_decay}]
        optimizer_type = {"adagrad": torch.optim.Adagrad, "adam": torch.optim.Adam}[optimizer]
        self.opt = {"vae": optimizer_type(groups, lr=lr)}

    def step(self, batch: Batch, run: Run) -> None:
        run.update("vae", self.loss, batch)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The negative of the bound, in nats per image (eq. 10, with L = 1)."""
        mu, logvar = self.e(batch.real)
        z = mu + (logvar / 2).exp() * batch.draw(self.noise)
        nll, kl = self.nll(self.g(z), (batch.real.flatten(1) + 1) / 2), gaussian_kl(mu, logvar)
        return nll + kl, {"nll": nll, "kl": kl}

    def nll(self, decoded: tuple[Tensor, Tensor | None], x: Tensor) -> Tensor:
        """-log p(x|z) of (N, size) pixels in [0, 1], in nats per image, given the decoder's outputs."""
        logits, logvar = decoded
        if logvar is None:
            return bernoulli_nll(logits, x)
        squares = (x - logits.sigmoid()).square() / logvar.exp()
        return 0.5 * (squares + logvar + math.log(2 * math.pi)).sum(1).mean()

    def noise(self, n: int) -> Tensor:
        """(n, z_dim) latents from N(0, I)."""
        return torch.randn(n, self.z_dim)

    def sample(self, z: Tensor) -> Tensor:
        """(N, z_dim) latents to (N, C, H, W) images in [-1, 1]: the means of p(x|z)."""
        return self.g(z)[0].sigmoid().unflatten(1, self.spec.shape) * 2 - 1

    def encode(self, images: Tensor) -> Tensor:
        """(N, C, H, W) images in [-1, 1] to (N, z_dim) latents: the means of q(z|x)."""
        return self.e(images)[0]

    def reconstruct(self, images: Tensor) -> Tensor:
        """(N, C, H, W) images in [-1, 1], encoded and decoded."""
        return self.sample(self.encode(images))
