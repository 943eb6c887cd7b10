"""anogan. Thomas Schlegl, Philipp Seeböck, Sebastian M. Waldstein, Ursula Schmidt-Erfurth, Georg Langs, "Unsupervised Anomaly
Detection with Generative Adversarial Networks to Guide Marker Discovery", IPMI 2017. https://arxiv.org/abs/1703.05921

A DCGAN learns to draw normal images, and those alone. To judge an image, the latent of its nearest normal counterpart is
searched for: gradient descent on z, with G and D fixed, of what is left between the image and G(z) and between D's features of
both. What is left in the end is the score, and where it is left is the map: G cannot draw what it has never seen.

The file is long because the search is part of the model.

L(z) = (1 - lambda) sum |x - G(z)| + lambda sum |f(x) - f(G(z))|, f being D's last map, lambda = 0.1, 500 steps.

Deviations:
- The networks are the DCGAN of TensorFlow code of that time (5x5 kernels, biases), with half of DCGAN's channels.
- The paper does not say how z is stepped or where it starts: here by Adam, from latents of the prior which are the same for
  every image, so that a score hangs on the image alone. `restarts` tries several and keeps the best, `patience` stops early.
- Sums over pixels and features are as in the paper, so scores of other sizes and widths are in other units.
- Without a preset, samples come from averaged weights (`--ema 0`: the last ones); the paper has no averaging.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gankit.losses import non_saturating, scores
from gankit.nn import ConvDiscriminator, ConvGenerator, init_normal, nearest_size
from gankit.penalties import r1
from gankit.recipe import Anomaly, Batch, Preset, Recipe, Run, Spec, adam, seeded


class AnoGAN(Recipe):
    """Finds what does not belong, for images whose sides are 4, 5, 6 or 7 times a power of two; trained on normal images.

    Args:
        z_dim: length of the latent z.
        width: channels of the maps next to the image; inner ones have 2, 4, 8 times as many.
        norm_d: batch norm in D.
        prior: distribution of z: uniform on [-1, 1], or normal.
        penalty_weight: gamma / 2 of R1, which is not in the paper; 0 for none.
        steps: of the search for an image's latent, Gamma in the paper.
        feature_weight: lambda, the share of D's features in the loss and the score.
        search_lr: Adam's learning rate in the search.
        restarts: latents from which the search starts; the best counts.
        patience: an image's search ends after so many steps without a loss 0.1 % below its best; 0 takes all steps.
        lr: Adam's learning rate in training.
        beta1: decay of Adam's mean of gradients.
        beta2: decay of Adam's mean of squared gradients.
    """

    ema, defaults = ("g",), dict(batch=64)
    nearest = staticmethod(nearest_size)
    presets = {
        "paper": Preset(
            "the paper's network for grey patches of 64 px, without averaged weights",
            settings=dict(resolution="64", images=20_000_000, ema=0),
            spec=Spec((1, 64, 64)),
            parameters=dict(g=5_132_161, d=4_313_345),
        ),
        "small": Preset(
            "digits at 16 px on two CPU cores: narrower, with R1 in place of D's batch norm, fewer steps from two starts",
            model=dict(
                z_dim=16, width=24, norm_d=False, prior="normal", penalty_weight=0.5, lr=1e-3, beta1=0.0, beta2=0.99,
                steps=150, search_lr=0.05, restarts=2,
            ),
            settings=dict(batch=32, images=60_000, ema=5_000),
        ),
    }  # fmt: skip

    def __init__(
        self,
        spec: Spec,
        *,
        z_dim: int = 100,
        width: int = 64,
        norm_d: bool = True,
        prior: Literal["uniform", "normal"] = "uniform",
        penalty_weight: float = 0.0,
        steps: int = 500,
        feature_weight: float = 0.1,
        search_lr: float = 0.05,
        restarts: int = 1,
        patience: int = 0,
        lr: float = 2e-4,
        beta1: float = 0.5,
        beta2: float = 0.999,
    ):
        super().__init__(spec)
        if steps < 1 or restarts < 1 or patience < 0 or not 0 <= feature_weight <= 1:
            raise ValueError(
                f"steps and restarts are at least 1, patience at least 0 and feature_weight 0 to 1; found {steps}, {restarts}, "
                f"{patience} and {feature_weight}"
            )
        self.z_dim, self.prior, self.penalty_weight = z_dim, prior, penalty_weight
        self.steps, self.feature_weight, self.search_lr = steps, feature_weight, search_lr
        self.restarts, self.patience = restarts, patience
        self.g = ConvGenerator(z_dim, spec.shape, width, unit_norm=False, biases=True)
        self.d = ConvDiscriminator(spec.shape, width, norm=norm_d, biases=True)
        init_normal(self)
        self.opt = {name: adam(net.parameters(), lr, (beta1, beta2)) for name, net in (("d", self.d), ("g", self.g))}

    def noise(self, n: int) -> Tensor:
        """(n, z_dim) latents."""
        return torch.rand(n, self.z_dim) * 2 - 1 if self.prior == "uniform" else torch.randn(n, self.z_dim)

    def sample(self, z: Tensor) -> Tensor:
        """(N, z_dim) latents to (N, C, H, W) images in [-1, 1]."""
        return self.g(z)

    def step(self, batch: Batch, run: Run) -> None:
        run.update("d", self.d_loss, batch)
        run.update("g", self.g_loss, batch)

    def d_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        real, fake = (self.d(batch.augment(x)) for x in (batch.real, self.g(batch.draw(self.noise))))
        loss, outputs = non_saturating.d(real, fake), scores(real, fake)
        if self.penalty_weight:
            outputs["penalty"] = r1(lambda x: self.d(batch.augment(x)), batch.real)
            loss = loss + self.penalty_weight * outputs["penalty"]
        return loss, outputs

    def g_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return non_saturating.g(self.d(batch.augment(self.g(batch.draw(self.noise))))), {}

    def score(self, images: Tensor) -> Anomaly:
        """(N, C, H, W) images in [-1, 1] to their scores, maps and normal counterparts, by a search for each; in eval mode."""
        with seeded(0):
            starts = self.noise(self.restarts).to(images)
        found = [self.search(images, start.expand(len(images), -1)) for start in starts]
        best = torch.stack([loss for loss, _, _ in found]).argmin(0)
        each = torch.arange(len(images), device=images.device)
        z, steps = (torch.stack(parts)[best, each] for parts in list(zip(*found))[1:])
        with torch.no_grad():
            rebuilt = self.g(z)
            return Anomaly(self.left(images, rebuilt), (images - rebuilt).abs().mean(1), rebuilt, steps)

    def search(self, images: Tensor, start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """From (N, z_dim) latents to (N,) losses, (N, z_dim) latents of these, and (N,) steps; each image on its own."""
        with torch.enable_grad():
            z = torch.nn.Parameter(start.clone())
            opt = torch.optim.Adam([z], self.search_lr)
            low, since = images.new_full((len(images),), torch.inf), torch.zeros(len(images), device=images.device)
            taken, going = torch.zeros_like(since, dtype=torch.int64), torch.ones_like(since, dtype=torch.bool)
            for _ in range(self.steps):
                loss = self.left(images, self.g(z))
                better = loss < low * 0.999
                low, since = torch.where(better & going, loss, low), torch.where(better, 0, since + 1)
                going = going & (since < (self.patience or self.steps + 1))
                if not going.any():
                    break
                (z.grad,) = torch.autograd.grad(loss.sum(), z)
                before = z.data.clone()
                opt.step()
                z.data = torch.where(going[:, None], z.data, before)
                taken += going
        with torch.no_grad():
            return self.left(images, self.g(z)), z.data, taken

    def left(self, images: Tensor, rebuilt: Tensor) -> Tensor:
        """(N,) what is left between images and their counterparts: the paper's loss, and in the end its score."""
        residual = (images - rebuilt).abs().flatten(1).sum(1)
        feature = (self.d.features(images) - self.d.features(rebuilt)).abs().sum(1)
        return (1 - self.feature_weight) * residual + self.feature_weight * feature
