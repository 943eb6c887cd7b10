"""f_anogan. Thomas Schlegl, Philipp Seeböck, Sebastian M. Waldstein, Georg Langs, Ursula Schmidt-Erfurth, "f-AnoGAN:
Fast Unsupervised Anomaly Detection with Generative Adversarial Networks", Medical Image Analysis 2019.
https://doi.org/10.1016/j.media.2019.01.010

AnoGAN without the search. First a WGAN-GP is trained on normal images. Then both of its networks are fixed, and an
encoder E learns to map each image to a latent from which G reconstructs it. One pass scores an image by its distance
from G(E(x)), in pixels and in the critic's features f:

A(x) = |x - G(E(x))|^2 / n + kappa |f(x) - f(G(E(x)))|^2 / n_f, kappa = 1.

This is also the encoder's loss, izi_f in the paper. `--encoder-loss izi` uses only the first term, and `ziz`
reconstructs latents: z to G(z) to E(G(z)). The encoder ends in a tanh, which keeps E(x) where the prior has its mass
and G was trained; `--encoder-output linear` is the unconstrained encoder of the paper's appendix A.2.

The file is long because three networks are trained in two phases, with the losses of two papers.

Deviations:
- The paper trains each network for its own number of steps; here the first `gan_images` images of a run train the
  WGAN-GP.
- With averaged weights, the encoder is trained on G's current weights, to which the average has converged by the run's
  end.
- G's running statistics are updated in the critic's updates too; in the authors' code only in G's.
- RMSprop adds an eps of 1e-8 to the root, and its mean of squares starts at 0. TensorFlow adds 1e-10 under the root and
  starts at 1.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from gankit.losses import scores, wasserstein
from gankit.nn import BatchNorm2d, SNGANGenerator, init_glorot, nearest_size, residual_trunk, stages
from gankit.penalties import wgan_gp
from gankit.recipe import Anomaly, Batch, Images, Phase, Preset, Recipe, Run, Spec, adam

batch_norm = partial(BatchNorm2d, eps=1e-3, momentum=0.01)  # the defaults of tf.layers.batch_normalization


class Trunk(nn.Module):
    """Residual downsampling blocks and a linear layer: the critic with layer norm, the encoder with batch norm."""

    def __init__(self, shape: tuple[int, ...], width: int, outputs: int, layer_norm: bool):
        super().__init__()
        norm = partial(nn.GroupNorm, 1) if layer_norm else batch_norm  # one group is layer norm with gains per channel
        self.features, size = residual_trunk(shape, width, stages(*shape[1:]), norm)
        self.head = nn.Linear(size, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) images in [-1, 1] to (N, outputs)."""
        return self.head(self.features(x))


class FAnoGAN(Recipe):
    """Anomaly detection in one pass, for images whose sides are 4, 5, 6 or 7 times a power of two.

    Args:
        z_dim: length of the latent z.
        width: twice the channels next to the image; they double with each halving, up to eightfold.
        gan_images: images that train G and the critic; the remaining images of the run train the encoder.
        penalty_weight: lambda, the weight of the gradient penalty.
        n_critic: updates of the critic per update of G.
        encoder_loss: izi_f (pixels and features), izi (pixels) or ziz (latents).
        encoder_output: tanh, or linear (appendix A.2).
        feature_weight: kappa, the weight of the critic's features in the loss and the score.
        lr: Adam's learning rate for G and the critic.
        lr_e: RMSprop's learning rate for the encoder.
    """

    ema, defaults = ("g",), dict(batch=64)
    nearest = staticmethod(nearest_size)
    presets = {
        "paper": Preset(
            "the authors' network for grey patches of 64 px, without averaged weights",
            settings=dict(resolution="64", mirror=True, images=10_200_000, ema=0),
            spec=Spec((1, 64, 64)),
            parameters=dict(g=8_539_329, d=7_490_689, e=8_531_200),
        ),
        "cpu": Preset(
            "for images of 28 to 64 px on one CPU core: small's with smaller batches, a longer latent and one update "
            "of the critic for each of G; one check, on trousers of Fashion-MNIST with drawn defects, one seed: AUROC "
            ".740 of images and .911 of pixels after 117 CPU s, .727 and .901 with small after 115",
            model=dict(z_dim=32, width=32, gan_images=30_000, n_critic=1, lr=1e-3, lr_e=5e-4),
            settings=dict(batch=16, images=50_000, ema=2_000),
        ),
        "small": Preset(
            "for digits at 16 px on two CPU cores: narrower, with higher learning rates",
            model=dict(z_dim=16, width=32, gan_images=60_000, n_critic=2, lr=1e-3, lr_e=5e-4),
            settings=dict(batch=32, images=100_000, ema=5_000),
        ),
    }

    def __init__(
        self,
        spec: Spec,
        *,
        z_dim: int = 128,
        width: int = 128,
        gan_images: Images = Images(7_000_000),
        penalty_weight: float = 10.0,
        n_critic: int = 5,
        encoder_loss: Literal["izi_f", "izi", "ziz"] = "izi_f",
        encoder_output: Literal["tanh", "linear"] = "tanh",
        feature_weight: float = 1.0,
        lr: float = 1e-4,
        lr_e: float = 5e-5,
    ):
        super().__init__(spec)
        if encoder_loss not in ("izi_f", "izi", "ziz"):
            raise ValueError(f"encoder_loss is {encoder_loss!r}; choose from izi_f, izi and ziz")
        if encoder_output not in ("tanh", "linear"):
            raise ValueError(f"encoder_output is {encoder_output!r}; choose from tanh and linear")
        self.z_dim, self.gan_images, self.n_critic = z_dim, gan_images, n_critic
        self.penalty_weight, self.feature_weight = penalty_weight, feature_weight
        self.encoder_loss, self.encoder_output = encoder_loss, encoder_output
        widths = [width // 2 * min(2**i, 8) for i in reversed(range(stages(*spec.shape[1:]) + 1))]
        self.g = SNGANGenerator(z_dim, spec.shape, widths, batch_norm, bias=False)
        self.g.norm = batch_norm(widths[-1])
        self.d = Trunk(spec.shape, width, 1, layer_norm=True)
        self.e = Trunk(spec.shape, width, z_dim, layer_norm=False)
        init_glorot(self)
        self.opt = {name: adam(net.parameters(), lr, (0, 0.9)) for name, net in (("d", self.d), ("g", self.g))}
        self.opt["e"] = torch.optim.RMSprop(self.e.parameters(), lr_e, alpha=0.9)  # TensorFlow's decay

    def noise(self, n: int) -> Tensor:
        """(n, z_dim) latents from N(0, 1)."""
        return torch.randn(n, self.z_dim)

    def sample(self, z: Tensor) -> Tensor:
        """(N, z_dim) latents to (N, C, H, W) images in [-1, 1]."""
        return self.g(z)

    def encode(self, images: Tensor) -> Tensor:
        """(N, C, H, W) images in [-1, 1] to (N, z_dim) latents, which are in [-1, 1] if the encoder ends in tanh."""
        return self.e(images).tanh() if self.encoder_output == "tanh" else self.e(images)

    def reconstruct(self, images: Tensor) -> Tensor:
        """(N, C, H, W) images in [-1, 1] to their reconstructions G(E(x))."""
        return self.g(self.encode(images))

    def score(self, images: Tensor) -> Anomaly:
        """(N, C, H, W) images in [-1, 1] to scores, maps and reconstructions, in eval mode."""
        rebuilt = self.reconstruct(images)
        steps = torch.ones(len(images), dtype=torch.int64, device=images.device)
        return Anomaly(self.distance(images, rebuilt), (images - rebuilt).abs().mean(1), rebuilt, steps)

    def distance(self, images: Tensor, rebuilt: Tensor) -> Tensor:
        """(N,) distances A(x) between images and their reconstructions."""
        feature = (self.d.features(images) - self.d.features(rebuilt)).square().mean(1)
        return (images - rebuilt).square().flatten(1).mean(1) + self.feature_weight * feature

    def phase(self, images: int) -> Phase:
        return Phase(int(images >= self.gan_images))

    def step(self, batch: Batch, run: Run) -> None:
        if run.phase.index == 0:
            run.update("d", self.d_loss, batch)
            if (run.step + 1) % self.n_critic == 0:
                run.update("g", self.g_loss, batch)
        else:
            self.g.eval(), self.d.eval()
            run.update("e", self.e_loss, batch)

    def d_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        fake = self.g(batch.draw(self.noise))
        critic = partial(self.critic_outputs, batch)
        real_outputs, fake_outputs = critic(batch.real), critic(fake)
        penalty = wgan_gp(critic, batch.real, fake, batch.draw)
        loss = wasserstein.d(real_outputs, fake_outputs) + self.penalty_weight * penalty
        return loss, {"penalty": penalty, **scores(real_outputs, fake_outputs, boundary=None)}

    def g_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return wasserstein.g(self.critic_outputs(batch, self.g(batch.draw(self.noise)))), {}

    def critic_outputs(self, batch: Batch, images: Tensor) -> Tensor:
        """(N, C, H, W) images, augmented if the run asks for it, to the critic's (N,) outputs."""
        return self.d(batch.augment(images)).squeeze(1)

    def e_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        if self.encoder_loss == "ziz":
            z = batch.draw(self.noise)
            return (z - self.encode(self.g(z))).square().mean(), {}
        rebuilt = self.reconstruct(batch.real)
        pixels = (batch.real - rebuilt).square().mean()
        loss = pixels if self.encoder_loss == "izi" else self.distance(batch.real, rebuilt).mean()
        return loss, {"pixels": pixels}
