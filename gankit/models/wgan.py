"""wgan. Martin Arjovsky, Soumith Chintala, Leon Bottou, "Wasserstein Generative Adversarial Networks", ICML 2017. https://arxiv.org/abs/1701.07875

D becomes a critic f whose gap E f(x) - E f(G(z)) estimates, up to a factor, the Wasserstein-1 distance between reals and
fakes, provided f is K-Lipschitz: to that end all its parameters are clipped to [-c, c] after each of its updates. The
critic learns n_critic times for each time that G does, and there is no momentum: RMSprop. The gap is a loss that falls
as samples get better; minus it is logged as d/loss.

One step takes one batch: the critic learns from every batch, G after every n_critic-th. The networks are those of the
authors' code, DCGAN's with 4x4 kernels and half the width; batch norm's gains are clipped as everything else.

Deviations:
- The authors' code trains the critic 100 times for each of the first 25 updates of G, and at every 500th; algorithm 1
  of the paper does not and neither does this.
- The authors' code clips before each update of the critic; as in algorithm 1 it is done after.
- Samples are drawn with running means and variances, so that a seed is one picture; the authors' code draws them with the
  batch's own.
- Without a preset, samples come from averaged weights (`--ema 0`: the last ones); the paper has no averaging.
- Left out: the paper's ablations with a G without batch norm and with multilayer perceptrons.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gankit.losses import scores, wasserstein
from gankit.nn import ConvDiscriminator, ConvGenerator, init_normal, nearest_size
from gankit.penalties import clip_weights
from gankit.recipe import Batch, Preset, Recipe, Run, Spec


class WGAN(Recipe):
    """Wasserstein GAN with weight clipping, for images whose sides are 4, 5, 6 or 7 times a power of two.

    Args:
        z_dim: length of the latent z.
        width: channels of the maps next to the image; inner ones have 2, 4, 8 times as many.
        norm_d: batch norm in the critic.
        bias_d: bias in the critic's first convolution, without which batch norm hides an image's contrast from it.
        clip_value: c, the bound on each of the critic's parameters.
        n_critic: updates of the critic for each of G.
        lr: learning rate of RMSprop, for both networks.
    """

    ema, defaults = ("g",), dict(batch=64)
    nearest = staticmethod(nearest_size)
    presets = {
        "paper": Preset(
            "the network of the authors' code for 64 px, without averaged weights, for 25 epochs of LSUN's 3 million bedrooms",
            settings=dict(resolution="64", images=75_000_000, ema=0),
            spec=Spec((3, 64, 64)),
            parameters=dict(g=3_576_704, d=2_765_568),
        ),
        "small": Preset(
            "digits at 16 px on two CPU cores: clipping makes the critic slow, so it is given more rate and room",
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
        self.g = ConvGenerator(z_dim, spec.shape, width, kernel=4, unit_norm=False)
        self.d = ConvDiscriminator(spec.shape, width, kernel=4, norm=norm_d, bias=bias_d)
        init_normal(self)
        self.opt = {name: torch.optim.RMSprop(net.parameters(), lr) for name, net in (("g", self.g), ("d", self.d))}

    def noise(self, n: int) -> Tensor:
        """(n, z_dim) latents from N(0, 1)."""
        return torch.randn(n, self.z_dim)

    def sample(self, z: Tensor) -> Tensor:
        """(N, z_dim) latents to (N, C, H, W) images in [-1, 1]."""
        return self.g(z)

    def critic(self, images: Tensor) -> Tensor:
        """(N, C, H, W) images in [-1, 1] to the critic's (N,) outputs, whose means estimate the Wasserstein distance."""
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
