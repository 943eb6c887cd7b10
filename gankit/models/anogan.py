"""anogan. Thomas Schlegl, Philipp Seeböck, Sebastian M. Waldstein, Ursula Schmidt-Erfurth, Georg Langs, "Unsupervised
Anomaly Detection with Generative Adversarial Networks to Guide Marker Discovery", IPMI 2017.
https://arxiv.org/abs/1703.05921

A DCGAN is trained only on normal images. To score an image, gradient descent on z, with G and D fixed, searches for the
generated image G(z) nearest to it, in pixels and in D's features. The remaining distance is the anomaly score, and the
remaining difference per pixel is the anomaly map: G cannot generate what it was not trained on.

The file is long because the search is part of the model.

L(z) = (1 - lambda) sum |x - G(z)| + lambda sum |f(x) - f(G(z))|, f being D's last feature map, lambda = 0.1, 500 steps.

Deviations:
- The networks are those of a TensorFlow DCGAN of that time (5x5 kernels, biases), with half of DCGAN's channels.
- The paper gives neither the optimizer nor the start of the search. Here Adam starts from latents of the prior that are
  the same for every image, so a score depends only on the image. `restarts` tries several starts and keeps the best;
  `search_patience` stops early.
- As in the paper, the loss sums over pixels and features, so scores are not comparable between sizes or widths.
- Without a preset, samples come from averaged weights (`--ema 0` disables averaging); the paper has no averaging.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gankit.losses import non_saturating, scores
from gankit.nn import DCGANDiscriminator, DCGANGenerator, init_normal, nearest_size
from gankit.penalties import r1
from gankit.recipe import Anomaly, Batch, Preset, Recipe, Run, Spec, adam, seeded


class AnoGAN(Recipe):
    """Anomaly detection by latent search, for images whose sides are 4, 5, 6 or 7 times a power of two.

    Args:
        z_dim: length of the latent z.
        width: channels of the feature maps next to the image; inner ones have 2, 4, 8 times as many.
        norm_d: batch norm in D.
        prior: distribution of z: uniform on [-1, 1], or normal.
        penalty_weight: weight of an R1 penalty, gamma / 2, which the paper does not have; 0 for none.
        steps: steps of the search for an image's latent, Gamma in the paper.
        feature_weight: lambda, the share of D's features in the search's loss and in the score.
        search_lr: Adam's learning rate in the search.
        restarts: number of latents from which the search starts; the best result is kept.
        search_patience: end an image's search after this many steps without a loss 0.1 % below its best; 0: never.
        lr: Adam's learning rate in training.
        beta1: Adam's decay rate of the mean of gradients.
        beta2: Adam's decay rate of the mean of squared gradients.
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
            "for digits at 16 px on two CPU cores: narrower, R1 instead of D's batch norm, two shorter searches",
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
        search_patience: int = 0,
        lr: float = 2e-4,
        beta1: float = 0.5,
        beta2: float = 0.999,
    ):
        super().__init__(spec)
        if steps < 1 or restarts < 1 or search_patience < 0 or not 0 <= feature_weight <= 1:
            raise ValueError(
                f"steps is {steps}, restarts {restarts}, search_patience {search_patience} and feature_weight "
                f"{feature_weight}; expected steps and restarts of at least 1, a search_patience of at least 0 and a "
                "feature_weight from 0 to 1"
            )
        self.z_dim, self.prior, self.penalty_weight = z_dim, prior, penalty_weight
        self.steps, self.feature_weight, self.search_lr = steps, feature_weight, search_lr
        self.restarts, self.search_patience = restarts, search_patience
        self.g = DCGANGenerator(z_dim, spec.shape, width, unit_norm=False, biases=True)
        self.d = DCGANDiscriminator(spec.shape, width, norm=norm_d, biases=True)
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
        fake = self.g(batch.draw(self.noise))
        real_logits, fake_logits = (self.d(batch.augment(x)) for x in (batch.real, fake))
        loss, outputs = non_saturating.d(real_logits, fake_logits), scores(real_logits, fake_logits)
        if self.penalty_weight:
            outputs["penalty"] = r1(lambda x: self.d(batch.augment(x)), batch.real)
            loss = loss + self.penalty_weight * outputs["penalty"]
        return loss, outputs

    def g_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return non_saturating.g(self.d(batch.augment(self.g(batch.draw(self.noise))))), {}

    def score(self, images: Tensor) -> Anomaly:
        """(N, C, H, W) images in [-1, 1] to scores, maps and reconstructions, by a search per image, in eval mode."""
        with seeded(0):
            starts = self.noise(self.restarts).to(images)
        searches = [self.search(images, start.expand(len(images), -1)) for start in starts]
        losses, latents, steps = (torch.stack(results) for results in zip(*searches))
        best, rows = losses.argmin(0), torch.arange(len(images), device=images.device)
        with torch.no_grad():
            rebuilt = self.g(latents[best, rows])
            score, difference = self.distance(images, rebuilt), (images - rebuilt).abs().mean(1)
            return Anomaly(score, difference, rebuilt, steps[best, rows])

    def search(self, images: Tensor, start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Search each image's latent from (N, z_dim) starts; gives (N,) losses, (N, z_dim) latents and (N,) steps."""
        with torch.enable_grad():
            z = torch.nn.Parameter(start.clone())
            opt = torch.optim.Adam([z], self.search_lr)
            lowest, stale = images.new_full((len(images),), torch.inf), torch.zeros(len(images), device=images.device)
            steps, active = torch.zeros_like(stale, dtype=torch.int64), torch.ones_like(stale, dtype=torch.bool)
            for _ in range(self.steps):
                loss = self.distance(images, self.g(z))
                improved = loss < lowest * 0.999
                lowest, stale = torch.where(improved & active, loss, lowest), torch.where(improved, 0, stale + 1)
                active = active & (stale < (self.search_patience or self.steps + 1))
                if not active.any():
                    break
                (z.grad,) = torch.autograd.grad(loss.sum(), z)
                before = z.data.clone()
                opt.step()
                z.data = torch.where(active[:, None], z.data, before)
                steps += active
        with torch.no_grad():
            return self.distance(images, self.g(z)), z.data, steps

    def distance(self, images: Tensor, rebuilt: Tensor) -> Tensor:
        """(N,) distances between images and their reconstructions: the loss of the search and the anomaly score."""
        residual = (images - rebuilt).abs().flatten(1).sum(1)
        feature = (self.d.features(images) - self.d.features(rebuilt)).abs().sum(1)
        return (1 - self.feature_weight) * residual + self.feature_weight * feature
