"""infogan. Xi Chen, Yan Duan, Rein Houthooft, John Schulman, Ilya Sutskever, Pieter Abbeel, "InfoGAN: Interpretable
Representation Learning by Information Maximizing Generative Adversarial Nets", NIPS 2016. https://arxiv.org/abs/1606.03657

The latent is noise and codes: a category, one-hot, and continuous ones from U(-1, 1). A third network Q, on top of D's
trunk, guesses the codes from the image; the better it can, the more G shows them. E log Q(c | G(z, c)) + H(c), a lower
bound L_I of the mutual information between codes and image, is added to both players' objectives (eq. 6, lambda = 1).
Sizes, rates and Q's place are those of the authors' code for MNIST: Q's head learns in D's optimizer alone, and its
Gaussian for a continuous code has a standard deviation of 1.

The file is long because codes of two kinds want drawing, reading and varying.

Deviations:
- The slope of the leaky ReLU is 0.01, as in the authors' code.
- A weight of MNIST's convolutions is N(0, 0.02^2), where the code cuts the tails at two deviations.
- Images of other sizes than 28 px change the first map, whose sides are a quarter of the image's.
- Without a preset, samples come from averaged weights (`--ema 0`: the last ones); the paper has no averaging.
- Left out: several categorical codes, which the paper has for SVHN, CelebA and chairs, or none, as for 3D faces.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gankit.losses import cross_entropy, non_saturating, scores
from gankit.nn import BatchNorm1d, BatchNorm2d, init_normal
from gankit.penalties import r1
from gankit.recipe import Batch, Preset, Recipe, Run, Spec, adam


class InfoGAN(Recipe):
    """GAN whose codes mean something, for images whose sides are multiples of 4.

    Args:
        noise_dim: numbers of incompressible noise in the latent.
        categories: values of the categorical code.
        continuous: how many continuous codes.
        info_weight: lambda, the weight of the information in both losses; 0 is a plain GAN.
        width: channels of the maps next to the image; the inner ones have twice as many.
        hidden: units of the dense layers; Q's has an eighth.
        norm_d: batch norm in D and Q.
        r1_weight: weight of an R1 penalty on D, gamma / 2; the paper has none.
        init_std: standard deviation of the first weights; 0 for PyTorch's own, which D without batch norm needs.
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
        "small": Preset(
            "digits at 16 px on two CPU cores: narrower, with R1 in place of D's batch norm, which let G drop digits",
            model=dict(
                noise_dim=24,
                continuous=1,
                width=24,
                hidden=192,
                norm_d=False,
                r1_weight=0.5,
                init_std=0.0,
                lr_g=1e-3,
                lr_d=1e-3,
            ),
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
                f"infogan needs two categories at least, and no counts below 0; found {categories} categories"
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
        """Latents with noise and continuous codes nearer to 0; the category stays."""
        scale = torch.full_like(z[0], trunc)
        scale[self.noise_dim : self.noise_dim + self.categories] = 1
        return z * scale

    def traverse(self, z: Tensor, code: int, steps: int = 10) -> Tensor:
        """(N, D) latents to (N, steps, D): one code varied, 0 the category, 1 and on a continuous one from -2 to 2."""
        ways = z[:, None].repeat(1, steps, 1)
        first = self.noise_dim + self.categories
        if code:
            ways[:, :, first + code - 1] = torch.linspace(-2, 2, steps).to(z)
        else:
            ways[:, :, self.noise_dim : first] = torch.eye(self.categories)[torch.arange(steps) % self.categories].to(z)
        return ways

    def sample(self, z: Tensor) -> Tensor:
        """(N, D) latents to (N, C, H, W) images in [-1, 1]."""
        return self.g(z) * 2 - 1

    def encode(self, images: Tensor) -> Tensor:
        """(N, C, H, W) images in [-1, 1] to (N, categories + continuous): probabilities of the category, code means."""
        guess = self.q(self.d[0]((images + 1) / 2))
        return torch.cat([guess[:, : self.categories].softmax(1), guess[:, self.categories :]], 1)

    def step(self, batch: Batch, run: Run) -> None:
        run.update("d", self.d_loss, batch)
        run.update("g", self.g_loss, batch)

    def d_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        x, z = (batch.real + 1) / 2, batch.draw(self.noise)
        features = self.d[0](augmented(batch, self.g(z)))
        real, fake = self.d(augmented(batch, x)).squeeze(1), self.d[1](features).squeeze(1)
        info = self.information(features, z)
        loss, outputs = non_saturating.d(real, fake) - self.info_weight * info, {"info": info, **scores(real, fake)}
        if self.r1_weight:
            outputs["penalty"] = r1(lambda x: self.d(augmented(batch, x)).squeeze(1), x)
            loss = loss + self.r1_weight * outputs["penalty"]
        return loss, outputs

    def g_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        z = batch.draw(self.noise)
        features = self.d[0](augmented(batch, self.g(z)))
        return non_saturating.g(self.d[1](features).squeeze(1)) - self.info_weight * self.information(features, z), {}

    def information(self, features: Tensor, z: Tensor) -> Tensor:
        """L_I = E log Q(c | x) + H(c) in nats (eq. 5), of (N, hidden) features of G's images and their latents."""
        guess, codes = self.q(features), z[:, self.noise_dim :]
        category = math.log(self.categories) - cross_entropy(
            guess[:, : self.categories], codes[:, : self.categories].argmax(1)
        )
        squares = (codes - guess)[:, self.categories :].float().square().sum(1).mean()
        # log N(c; mean, 1) = -(c - mean)^2 / 2 - log(2 pi) / 2, and a code from U(-1, 1) has the entropy log 2.
        return category - squares / 2 + self.continuous * (math.log(2) - math.log(2 * math.pi) / 2)


def augmented(batch: Batch, images: Tensor) -> Tensor:
    """(N, C, H, W) images in [0, 1] as the run augments them."""
    return images if batch.augmenter is None else (batch.augment(2 * images - 1) + 1) / 2
