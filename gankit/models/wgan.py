"""wgan. Martin Arjovsky, Soumith Chintala, Leon Bottou, "Wasserstein Generative Adversarial Networks", ICML 2017.
https://arxiv.org/abs/1701.07875

D becomes a critic f. If f is K-Lipschitz, the gap E f(x) - E f(G(z)) estimates the Wasserstein-1 distance between
reals and fakes, up to a factor. To that end all parameters of the critic are clipped to [-c, c] after each of its
updates. The critic is updated n_critic times for each update of G, with RMSprop, which has no momentum. The gap is a
loss that decreases as samples improve; its negative is logged as d/loss.

One step takes one batch: the critic is updated on every batch, and G on every n_critic-th. The networks are those of
the authors' code: DCGAN's with 4x4 kernels and half the width. The gains of batch norm are clipped like all other
parameters.

Deviations:
- The authors' code updates the critic 100 times for each of the first 25 updates of G, and for every 500th; algorithm
  1 of the paper does not, and neither does this.
- The authors' code clips before each update of the critic; this clips after it, as in algorithm 1.
- Samples use running means and variances, so that a seed always gives the same image; the authors' code uses the
  statistics of the batch.
- Without a preset, samples come from averaged weights (`--ema 0`: the last ones); the paper has no averaging.
- Left out: the paper's ablations with a G without batch norm and with multilayer perceptrons.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gankit.losses import scores, wasserstein
from gankit.nn import DCGANDiscriminator, DCGANGenerator, init_normal, nearest_size
from gankit.penalties import clip_weights
from gankit.recipe import Batch, Preset, Recipe, Run, Spec


class WGAN(Recipe):
    """Wasserstein GAN with weight clipping, for images whose sides are 4, 5, 6 or 7 times a power of two.

    Args:
        z_dim: length of the latent z.
        width: channels of the maps next to the image; inner maps have 2, 4, 8 times as many.
        norm_d: batch norm in the critic.
        bias_d: bias in the critic's first convolution; without it, batch norm hides the contrast of an image.
        clip_value: bound on the absolute value of each parameter of the critic (c).
        n_critic: updates of the critic for each update of G.
        lr: learning rate of RMSprop, for both networks.
    """

    ema, defaults = ("g",), dict(batch=64)
    nearest = staticmethod(nearest_size)
    presets = {
        "paper": Preset(
            "the authors' network for 64 px, without averaged weights, for 25 epochs of LSUN's 3 million bedrooms",
            settings=dict(resolution="64", images=75_000_000, ema=0),
            spec=Spec((3, 64, 64)),
            parameters=dict(g=3_576_704, d=2_765_568),
        ),
        "cpu": Preset(
            "for images of 28 to 64 px on one CPU core: as small, in small batches, with fewer critic updates; "
            "one check, on Fashion-MNIST at 28 px: Frechet distance 49 after 45 CPU seconds, 76 with small",
            model=dict(z_dim=32, width=24, bias_d=True, lr=5e-4, clip_value=0.05, n_critic=2),
            settings=dict(batch=16, images=400_000, ema=20_000),
        ),
        "small": Preset(
            "digits at 16 px on two CPU cores: a higher learning rate and weaker clipping, which slows the critic",
            model=dict(z_dim=32, width=24, bias_d=True, lr=5e-4, clip_value=0.05, n_critic=3),
            settings=dict(batch=64, images=200_000, ema=20_000),
        ),
    }

    def __init__(
        self,
        spec: Spec,
        *,
        z_dim: int = 100,
        width: int = 64,
        norm_d: bool = True,
        bias_d: bool = False,
        clip_value: float = 0.01,
        n_critic: int = 5,
        lr: float = 5e-5,
    ):
        super().__init__(spec)
        self.z_dim, self.clip_value, self.n_critic = z_dim, clip_value, n_critic
        self.g = DCGANGenerator(z_dim, spec.shape, width, kernel=4, unit_norm=False)
        self.d = DCGANDiscriminator(spec.shape, width, kernel=4, norm=norm_d, bias=bias_d)
        init_normal(self)
        self.opt = {name: torch.optim.RMSprop(net.parameters(), lr) for name, net in (("g", self.g), ("d", self.d))}

    def noise(self, n: int) -> Tensor:
        """(n, z_dim) latents from N(0, 1)."""
        return torch.randn(n, self.z_dim)

    def sample(self, z: Tensor) -> Tensor:
        """(N, z_dim) latents to (N, C, H, W) images in [-1, 1]."""
        return self.g(z)

    def critic(self, images: Tensor) -> Tensor:
        """(N, C, H, W) images in [-1, 1] to (N,) outputs of the critic, for estimates of the Wasserstein distance."""
        return self.d(images)

    def step(self, batch: Batch, run: Run) -> None:
        run.update("d", self.d_loss, batch)
        clip_weights(self.d, self.clip_value)
        if (run.step + 1) % self.n_critic == 0:
            run.update("g", self.g_loss, batch)

    def d_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        real, fake = self.d(batch.augment(batch.real)), self.d(batch.augment(self.g(batch.draw(self.noise))))
        return wasserstein.d(real, fake), scores(real, fake, boundary=None)

    def g_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return wasserstein.g(self.d(batch.augment(self.g(batch.draw(self.noise))))), {}
