"""dcgan. Alec Radford, Luke Metz, Soumith Chintala, "Unsupervised Representation Learning with Deep Convolutional
Generative Adversarial Networks", ICLR 2016. https://arxiv.org/abs/1511.06434

Architecture and settings with which convolutional GANs train stably: strided convolutions instead of pooling, batch
norm in both networks except at G's output and D's input, ReLU in G and leaky ReLU in D, no dense layers but G's first
and D's last, Adam with beta1 = 0.5, and all weights from N(0, 0.02^2). The loss can be replaced by any of gankit's
adversarial losses and combined with any of its penalties. `consistency` adds the terms of CR-GAN (Zhang et al. 2020)
and of its improved forms (Zhao et al. 2021): weights 10 on reals, 10 on fakes, and on z 20 for D and 0.5 for G.

The file is long because it is the model on which losses, penalties and consistency terms are compared.

As in the authors' code, no convolution has a bias, and the first batch norm normalises each of its 4 x 4 x 1024 units;
`unit_norm=False` normalises each channel, as in dcgan.torch.

Deviations:
- Both networks are updated with every minibatch, as in the GAN paper's algorithm; the authors' code alternates between
  one minibatch for D and one for G.
- The authors' code adds an L2 penalty of 1e-5 on faces; the paper does not, and neither does this file.
- Sampling uses running means and variances, so a seed determines its image. The authors' code, which keeps none, and
  dcgan.torch use the statistics of the batch.
- G's loss uses new outputs of D; dcgan.torch reuses its outputs from before D's update.
- Without a preset, samples come from averaged weights (`--ema 0` disables averaging); the paper has no averaging.
- Left out: several updates of D per update of G, k > 1 in the GAN paper.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from gankit.augment import CONSISTENCY, Shown, consistency_d, consistency_g
from gankit.losses import ADVERSARIAL, scores
from gankit.nn import DCGANDiscriminator, DCGANGenerator, init_normal, larger_size, nearest_size, random_crop
from gankit.penalties import PENALTIES, clip_weights, lecam, orthogonal
from gankit.recipe import Batch, Preset, Recipe, Run, Spec, adam

# A narrow network whose D has R1 in place of batch norm, for presets that train in minutes on a CPU.
SMALL: dict[str, object] = dict(
    z_dim=32, width=24, unit_norm=False, norm_d=False, bias_d=True, norm_eps=1e-5, prior="normal", penalty="r1",
    penalty_weight=0.5, lr_g=1e-3, lr_d=1e-3, beta1=0.0, beta2=0.99,
)  # fmt: skip


class DCGAN(Recipe):
    """Convolutional GAN for images whose sides are 4, 5, 6 or 7 times a power of two.

    Args:
        z_dim: length of the latent z.
        width: channels of the feature maps next to the image; inner ones have 2, 4, 8 times as many.
        kernel: side of the convolutions: 5 in the paper, 4 in dcgan.torch.
        unit_norm: G's first batch norm normalises each unit, otherwise each channel.
        norm_d: batch norm in D; turn it off for penalties on D's gradient, since it couples the samples of a batch.
        bias_d: bias in D's first convolution, without which batch norm hides an image's contrast from D.
        norm_eps: constant that batch norm adds to variances: 1e-8 in the authors' code, 1e-5 in dcgan.torch.
        pooling: global average pooling before D's output layer, which then has no weights per position.
        prior: distribution of z: uniform on [-1, 1], or normal.
        same_z: G's update uses the z of D's fakes, as in dcgan.torch; otherwise new samples of z.
        loss: non_saturating, minimax, label_smoothing, maximum_likelihood, least_squares, hinge, wasserstein,
            relativistic or relativistic_average.
        penalty: none, or one on D: wgan_gp, dragan, r1, r2, r1_r2, zero_centred, orthogonal, lecam or clip.
        penalty_weight: weight of the penalty: 10 in WGAN-GP and DRAGAN, gamma / 2 for R1 and R2; for clip the bound
            of D's weights, 0.01 in WGAN.
        penalty_every: updates of D per penalty, whose weight is then multiplied by it (lazy regularisation, Karras et
            al. 2020); 1 in the papers. It does not apply to clip.
        n_dis: updates of D for each of G, after the last of them; 1 in the paper.
        consistency: train D to give the same output for an image flipped and shifted: for reals (cr), for fakes too
            (bcr), and also for samples of slightly different z, while G learns to make these samples differ (icr).
        lr_g: G's learning rate.
        lr_d: D's learning rate.
        beta1: Adam's decay rate of the mean of gradients.
        beta2: Adam's decay rate of the mean of squared gradients.
        load_scale: scale at which images are read, before a random crop to the model's size; 1.5 in dcgan.torch.
    """

    means: Tensor

    ema, defaults = ("g",), dict(batch=128)
    nearest = staticmethod(nearest_size)
    presets = {
        "paper": Preset(
            "the paper's network for 64 px, 25 epochs of 350,000 faces, without averaged weights",
            settings=dict(resolution="64", images=8_750_000, ema=0),
            spec=Spec((3, 64, 64)),
            parameters=dict(g=18_885_760, d=17_232_768),
        ),
        "torch": Preset(
            "dcgan.torch, the common form of DCGAN: 4x4 kernels, half the width, normal z; the length is ours",
            model=dict(width=64, kernel=4, unit_norm=False, norm_eps=1e-5, prior="normal", same_z=True, load_scale=1.5),
            settings=dict(resolution="64", mirror=True, batch=64, images=8_750_000, ema=0),
            spec=Spec((3, 64, 64)),
            parameters=dict(g=3_576_704, d=2_765_568),
        ),
        "cpu": Preset(
            "for images of 28 to 64 px on one CPU core: small steps, R1 in every 8th; chosen among nine settings by "
            "Frechet distance at equal CPU time, on MNIST at 28 and 64 px, one seed",
            model=SMALL | dict(penalty_every=8),
            settings=dict(batch=16, images=200_000, ema=10_000),
        ),
        "small": Preset(
            "for digits at 16 px on two CPU cores: narrower, R1 instead of D's batch norm, which causes blots",
            model=SMALL,
            settings=dict(batch=64, images=150_000, ema=10_000),
        ),
    }

    def __init__(
        self,
        spec: Spec,
        *,
        z_dim: int = 100,
        width: int = 128,
        kernel: Literal[5, 4] = 5,
        unit_norm: bool = True,
        norm_d: bool = True,
        bias_d: bool = False,
        norm_eps: float = 1e-8,
        pooling: bool = False,
        prior: Literal["uniform", "normal"] = "uniform",
        same_z: bool = False,
        loss: str = "non_saturating",
        penalty: str = "none",
        penalty_weight: float = 10.0,
        penalty_every: int = 1,
        n_dis: int = 1,
        consistency: Literal["none", "cr", "bcr", "icr"] = "none",
        lr_g: float = 2e-4,
        lr_d: float = 2e-4,
        beta1: float = 0.5,
        beta2: float = 0.999,
        load_scale: float = 1.0,
    ):
        super().__init__(spec)
        choices = (
            ("loss", loss, [*ADVERSARIAL]),
            ("penalty", penalty, ["none", *PENALTIES, "orthogonal", "lecam", "clip"]),
            ("consistency", consistency, [*CONSISTENCY]),
        )
        for option, value, options in choices:
            if value not in options:
                raise ValueError(f"there is no {option} {value!r}; choose from {', '.join(options)}")
        self.z_dim, self.prior, self.same_z = z_dim, prior, same_z
        if penalty_every < 1:
            raise ValueError(f"penalty_every is {penalty_every}; give 1, the papers' value, or more")
        self.loss, self.penalty, self.penalty_weight = ADVERSARIAL[loss], penalty, penalty_weight
        self.penalty_every, self.n_dis = penalty_every, n_dis
        self.consistency, self.load_size = consistency, larger_size(spec.shape, load_scale)
        self.register_buffer("means", torch.zeros(2))  # running means of D's logits on reals and on fakes, for LeCam
        self.g = DCGANGenerator(z_dim, spec.shape, width, kernel, unit_norm, eps=norm_eps)
        self.d = DCGANDiscriminator(spec.shape, width, kernel, norm_d, pooling, bias_d, eps=norm_eps)
        init_normal(self)
        betas = (beta1, beta2)
        self.opt = {"g": adam(self.g.parameters(), lr_g, betas), "d": adam(self.d.parameters(), lr_d, betas)}

    def noise(self, n: int) -> Tensor:
        """(n, z_dim) latents."""
        return torch.rand(n, self.z_dim) * 2 - 1 if self.prior == "uniform" else torch.randn(n, self.z_dim)

    def sample(self, z: Tensor) -> Tensor:
        """(N, z_dim) latents to (N, C, H, W) images in [-1, 1]."""
        return self.g(z)

    def step(self, batch: Batch, run: Run) -> None:
        if self.consistency != "none" and run.augment is not None:
            raise ValueError(
                "--consistency compares two outputs of D for an image, which --augment would change: use only one"
            )
        (batch.fields["real"],) = random_crop([batch.real], batch.draw, *self.spec.shape[1:])
        shared_z = (batch.draw(self.noise),) if self.same_z else ()
        is_penalised = run.step % self.penalty_every == 0
        outputs = run.update("d", partial(self.d_loss, is_penalised=is_penalised), batch, *shared_z)
        if self.penalty == "lecam":
            self.means.lerp_(torch.stack([outputs["real"], outputs["fake"]]), 0.01)
        elif self.penalty == "clip":
            clip_weights(self.d, self.penalty_weight)
        if run.step % self.n_dis == self.n_dis - 1:
            run.update("g", self.g_loss, batch, *shared_z)

    def d_loss(
        self, batch: Batch, z: Tensor | None = None, is_penalised: bool = True
    ) -> tuple[Tensor, dict[str, Tensor]]:
        z = batch.draw(self.noise) if z is None else z
        fake = self.g(z)
        critic = partial(self.logits, batch)
        real_logits, fake_logits = critic(batch.real), critic(fake)
        loss, outputs = self.loss.d(real_logits, fake_logits), scores(real_logits, fake_logits, self.loss.boundary)
        penalty = self.penalty if is_penalised else "none"
        if penalty in PENALTIES:
            outputs["penalty"] = PENALTIES[penalty](critic, batch.real, fake, batch.draw)
        elif penalty == "orthogonal":
            outputs["penalty"] = orthogonal(self.d)
        elif penalty == "lecam":
            outputs["penalty"] = lecam(real_logits, fake_logits, *self.means)
        if "penalty" in outputs:
            loss = loss + self.penalty_weight * self.penalty_every * outputs["penalty"]
        shown = Shown(critic, batch.real, real_logits), Shown(critic, fake, fake_logits)
        consistency, terms = consistency_d(self.consistency, *shown, self.g, z, batch.draw)
        return loss + consistency, outputs | terms

    def g_loss(self, batch: Batch, z: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        z = batch.draw(self.noise) if z is None else z
        fake = self.g(z)
        fake_logits = self.logits(batch, fake)
        real_logits = self.logits(batch, batch.real) if self.loss.paired else None
        consistency, terms = consistency_g(self.consistency, fake, self.g, z, batch.draw)
        return self.loss.g(fake_logits, real_logits) + consistency, terms

    def logits(self, batch: Batch, images: Tensor) -> Tensor:
        """(N, C, H, W) images, augmented if the run asks for it, to D's (N,) logits."""
        return self.d(batch.augment(images))
