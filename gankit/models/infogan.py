"""infogan. Xi Chen, Yan Duan, Rein Houthooft, John Schulman, Ilya Sutskever, Pieter Abbeel, "InfoGAN: Interpretable
Representation Learning by Information Maximizing Generative Adversarial Nets", NIPS 2016.
https://arxiv.org/abs/1606.03657

The latent consists of noise, a one-hot categorical code and continuous codes from U(-1, 1). A third network Q, which
shares D's trunk, predicts the codes from the image. Both objectives are extended by L_I = E log Q(c | G(z, c)) + H(c),
a lower bound of the mutual information between codes and image (eq. 6, lambda = 1). Sizes, learning rates and Q's
optimizer are those of the authors' code for MNIST: only D's optimizer trains Q's head, and Q's Gaussian for a
continuous code has a standard deviation of 1.

The file is long because it samples, predicts and traverses codes of two kinds.

Deviations:
- The slope of the leaky ReLU is 0.01, as in the authors' code.
- Weights of convolutions are from N(0, 0.02^2), which the authors' code truncates at two standard deviations.
- For sizes other than 28 px, the sides of the first feature map remain a quarter of the image's.
- Without a preset, samples come from averaged weights (`--ema 0` disables averaging); the paper has no averaging.
- Left out: several categorical codes, as in the paper for SVHN, CelebA and chairs, and none, as for 3D faces.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gankit.losses import cross_entropy, non_saturating, scores
from gankit.nn import BatchNorm1d, BatchNorm2d, init_normal
from gankit.penalties import r1
from gankit.recipe import Batch, Preset, Recipe, Run, Spec, adam

SMALL: dict[str, object] = dict(
    noise_dim=24, continuous=1, width=24, hidden=192, norm_d=False, r1_weight=0.5, init_std=0.0, lr_g=1e-3, lr_d=1e-3
)


class InfoGAN(Recipe):
    """GAN with interpretable latent codes, for images whose sides are multiples of 4.

    Args:
        noise_dim: length of the incompressible noise in the latent.
        categories: number of values of the categorical code.
        continuous: number of continuous codes.
        info_weight: lambda, the weight of the mutual information in both losses; 0 gives a plain GAN.
        width: channels of the feature maps next to the image; the inner ones have twice as many.
        hidden: units of the dense layers; Q's has an eighth of them.
        norm_d: batch norm in D and Q.
        r1_weight: weight of an R1 penalty on D, gamma / 2, which the paper does not have; 0 for none.
        init_std: standard deviation of the initial weights. 0 keeps PyTorch's initialisation, which D needs without
            batch norm.
        lr_g: G's learning rate.
        lr_d: D's and Q's learning rate.
    """

    ema, defaults = ("g",), dict(batch=128, images=640_000)
    presets = {
        "paper": Preset(
            "the authors' network for MNIST, without averaged weights",
            settings=dict(ema=0),
            spec=Spec((1, 28, 28)),
            parameters=dict(g=6_652_481, d=6_559_169, q=133_004),
        ),
        "cpu": Preset(
            "for images of 28 to 64 px on one CPU core: as small, with a tenth of R1 and twice the rates; one check, "
            "on Fashion-MNIST at 28 px: Frechet distance 43 after 20 CPU seconds, 81 with small",
            model=SMALL | dict(r1_weight=0.05, lr_g=2e-3, lr_d=2e-3),
            settings=dict(batch=32, images=100_000, ema=10_000),
        ),
        "small": Preset(
            "for digits at 16 px on two CPU cores: narrower, R1 instead of D's batch norm, with which G drops digits",
            model=SMALL,
            settings=dict(batch=32, images=100_000, ema=10_000),
        ),
    }

    def __init__(
        self,
        spec: Spec,
        *,
        noise_dim: int = 62,
        categories: int = 10,
        continuous: int = 2,
        info_weight: float = 1.0,
        width: int = 64,
        hidden: int = 1024,
        norm_d: bool = True,
        r1_weight: float = 0.0,
        init_std: float = 0.02,
        lr_g: float = 1e-3,
        lr_d: float = 2e-4,
    ):
        super().__init__(spec)
        if categories < 2 or continuous < 0 or noise_dim < 0:
            raise ValueError(
                f"categories is {categories}, continuous {continuous} and noise_dim {noise_dim}; expected at least 2 "
                "categories and no negative number"
            )
        self.noise_dim, self.categories, self.continuous = noise_dim, categories, continuous
        self.info_weight, self.r1_weight = info_weight, r1_weight
        h, w, inner = spec.height // 4, spec.width // 4, 2 * width
        self.g = nn.Sequential(
            nn.Linear(noise_dim + categories + continuous, hidden), BatchNorm1d(hidden), nn.ReLU(),
            nn.Linear(hidden, h * w * inner), BatchNorm1d(h * w * inner), nn.ReLU(), nn.Unflatten(1, (inner, h, w)),
            nn.ConvTranspose2d(inner, width, 4, 2, 1), BatchNorm2d(width), nn.ReLU(),
            nn.ConvTranspose2d(width, spec.channels, 4, 2, 1), nn.Sigmoid(),
        )  # fmt: skip
        bn1, bn2 = (BatchNorm1d, BatchNorm2d) if norm_d else (nn.Identity, nn.Identity)
        trunk = nn.Sequential(
            nn.Conv2d(spec.channels, width, 4, 2, 1), nn.LeakyReLU(0.01),
            nn.Conv2d(width, inner, 4, 2, 1), bn2(inner), nn.LeakyReLU(0.01),
            nn.Flatten(), nn.Linear(h * w * inner, hidden), bn1(hidden), nn.LeakyReLU(0.01),
        )  # fmt: skip
        self.d = nn.Sequential(trunk, nn.Linear(hidden, 1))
        self.q = nn.Sequential(
            nn.Linear(hidden, hidden // 8),
            bn1(hidden // 8),
            nn.LeakyReLU(0.01),
            nn.Linear(hidden // 8, categories + continuous),
        )
        if init_std:
            init_normal(self, init_std)
        self.opt = {
            "d": adam([*self.d.parameters(), *self.q.parameters()], lr_d, (0.5, 0.999)),
            "g": adam(self.g.parameters(), lr_g, (0.5, 0.999)),
        }

    @staticmethod
    def nearest(height: int, width: int) -> tuple[int, int]:
        return max(8, round(height / 4) * 4), max(8, round(width / 4) * 4)

    def noise(self, n: int) -> Tensor:
        """(n, noise_dim + categories + continuous) latents: noise, a one-hot category, continuous codes."""
        category = torch.eye(self.categories)[torch.randint(self.categories, (n,))]
        return torch.cat([torch.rand(n, self.noise_dim) * 2 - 1, category, torch.rand(n, self.continuous) * 2 - 1], 1)

    def truncate(self, z: Tensor, trunc: float) -> Tensor:
        """(N, D) latents whose noise and continuous codes are scaled by `trunc`; the category is unchanged."""
        scale = torch.full_like(z[0], trunc)
        scale[self.noise_dim : self.noise_dim + self.categories] = 1
        return z * scale

    def traverse(self, z: Tensor, code: int, steps: int = 10) -> Tensor:
        """(N, D) latents to (N, steps, D) with one code varied: 0 is the category; 1, 2 ... are continuous, -2 to 2.

        Raises ValueError: there is no such code.
        """
        if not 0 <= code <= self.continuous:
            raise ValueError(f"code is {code}; there are 0, the category, to {self.continuous}")
        latents = z[:, None].repeat(1, steps, 1)
        first = self.noise_dim + self.categories
        if code:
            latents[:, :, first + code - 1] = torch.linspace(-2, 2, steps).to(z)
        else:
            categories = torch.eye(self.categories)[torch.arange(steps) % self.categories]
            latents[:, :, self.noise_dim : first] = categories.to(z)
        return latents

    def sample(self, z: Tensor) -> Tensor:
        """(N, D) latents to (N, C, H, W) images in [-1, 1]."""
        return self.g(z) * 2 - 1

    def encode(self, images: Tensor) -> Tensor:
        """(N, C, H, W) images in [-1, 1] to (N, categories + continuous) category probabilities and code means."""
        predicted = self.q(self.d[0]((images + 1) / 2))
        return torch.cat([predicted[:, : self.categories].softmax(1), predicted[:, self.categories :]], 1)

    def step(self, batch: Batch, run: Run) -> None:
        run.update("d", self.d_loss, batch)
        run.update("g", self.g_loss, batch)

    def d_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        real, z = (batch.real + 1) / 2, batch.draw(self.noise)
        fake_features = self.d[0](augmented(batch, self.g(z)))
        real_logits = self.d(augmented(batch, real)).squeeze(1)
        fake_logits = self.d[1](fake_features).squeeze(1)
        info = self.information(fake_features, z)
        loss = non_saturating.d(real_logits, fake_logits) - self.info_weight * info
        outputs = {"info": info, **scores(real_logits, fake_logits)}
        if self.r1_weight:
            outputs["penalty"] = r1(lambda x: self.d(augmented(batch, x)).squeeze(1), real)
            loss = loss + self.r1_weight * outputs["penalty"]
        return loss, outputs

    def g_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        z = batch.draw(self.noise)
        features = self.d[0](augmented(batch, self.g(z)))
        return non_saturating.g(self.d[1](features).squeeze(1)) - self.info_weight * self.information(features, z), {}

    def information(self, features: Tensor, z: Tensor) -> Tensor:
        """L_I = E log Q(c | x) + H(c) in nats (eq. 5), from (N, hidden) features of fakes and their (N, D) latents."""
        predicted, codes, k = self.q(features), z[:, self.noise_dim :], self.categories
        category = math.log(k) - cross_entropy(predicted[:, :k], codes[:, :k].argmax(1))
        squares = (codes - predicted)[:, k:].float().square().sum(1).mean()
        # log N(c; mean, 1) = -(c - mean)^2 / 2 - log(2 pi) / 2, and U(-1, 1) has entropy log 2.
        return category - squares / 2 + self.continuous * (math.log(2) - math.log(2 * math.pi) / 2)


def augmented(batch: Batch, images: Tensor) -> Tensor:
    """(N, C, H, W) images in [0, 1], augmented if the run asks for it."""
    return images if batch.augmenter is None else (batch.augment(2 * images - 1) + 1) / 2
