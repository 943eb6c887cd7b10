"""dualgan. Zili Yi, Hao Zhang, Ping Tan, Minglun Gong, "DualGAN: Unsupervised Dual Learning for Image-to-Image
Translation", ICCV 2017. https://arxiv.org/abs/1704.02510

Two generators, a to b and b to a, train on two unpaired image collections. Each is trained with a critic of its
target domain and with the L1 distance between an image and its reconstruction from the other domain. Unlike
CycleGAN's, the critics are Wasserstein critics with clipped weights and RMSprop, and G are U-Nets whose noise z is
dropout, at test time too. The critics are 70x70 PatchGANs that see one domain. Both critics are updated with every
batch; both G, in one step, with every n_critic-th.

`noise` draws the dropout masks and G takes them as z, so a seed gives the same image in any batch. One z is used
for a to b, another for b to a, as in the paper's losses. `form="code"` (preset `code`) is the authors' TensorFlow code,
a different model: a U-Net of 3x3 convolutions (5x5 next to the images) with instance norm even on the map of one pixel,
no dropout, a critic of the whole image, a gradient penalty instead of clipping, one update of each network per batch.

The file is long because it holds the networks of the paper and of the authors' code.

Deviations:
- lambda, the learning rate, RMSprop's decay and the clipping bound are those of the authors' code; n_critic = 3 is
  ours. The paper leaves them to the task.
- Convolutions before norms have no bias in the form "paper".
- RMSprop's eps of 1e-8 is added to the root; TensorFlow adds 1e-10 under it. The form "code" starts with normal weights
  without truncation. Its images are RGB; the order of the channels makes no difference.
- One step takes one image of each domain; the code's epoch ends with the smaller domain.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from gankit.losses import scores, wasserstein
from gankit.nn import (
    OwnBatchNorm2d,
    PatchDiscriminator,
    UNetGenerator,
    init_normal,
    patch_layers,
    unet_levels,
    unet_size,
)
from gankit.penalties import clip_weights, wgan_gp
from gankit.recipe import Batch, Preset, Recipe, Run, Spec


class ShiftedInstanceNorm(nn.Module):
    """Instance norm with a gain and a bias, as in the authors' code; on a map of one pixel it returns the bias."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(channels)), nn.Parameter(torch.zeros(channels))
        nn.init.normal_(self.weight, 1.0, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        return torch.group_norm(x, x.shape[1], self.weight, self.bias, 1e-6)


def down(in_channels: int, out_channels: int, bias: bool, outer: bool) -> nn.Module:
    """TensorFlow's "SAME" convolution that halves even sides; the larger half of the k - 2 padding is at the end."""
    kernel = 5 if outer else 3
    before, after = (kernel - 2) // 2, (kernel - 1) // 2
    return nn.Sequential(
        nn.ZeroPad2d((before, after, before, after)), nn.Conv2d(in_channels, out_channels, kernel, 2, bias=bias)
    )


def up(in_channels: int, out_channels: int, bias: bool, outer: bool) -> nn.Module:
    """The transpose of `down`, which doubles the sides."""
    kernel = 5 if outer else 3
    before, after = (kernel - 2) // 2, (kernel - 1) // 2
    conv = nn.ConvTranspose2d(in_channels, out_channels, kernel, 2, bias=bias)
    return nn.Sequential(conv, nn.ZeroPad2d((-before, -after, -before, -after)))


def code_critic(channels: int, height: int, width: int, base: int) -> nn.Sequential:
    """(N, channels, height, width) to (N, 1): five convolutions of stride 2 and a linear layer over the whole map."""
    layers: list[nn.Module] = [down(channels, base, True, True), nn.LeakyReLU(0.2)]
    for c, wide in ((1, 2), (2, 4), (4, 8), (8, 8)):
        layers += [down(c * base, wide * base, True, False), ShiftedInstanceNorm(wide * base), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * base * (height >> 5) * (width >> 5), 1))


class DualGAN(Recipe):
    """Dual GANs between two image domains; sides are small multiples of a power of two.

    Args:
        form: the networks of the paper or of the authors' code.
        patch: side of the patches that the critics judge, in pixels, in the form paper.
        cycle_weight_a: lambda_U, weight of the L1 distance between an image of a and its reconstruction.
        cycle_weight_b: lambda_V, the same for b.
        penalty: how the critics are kept Lipschitz: clip, or gp, WGAN-GP's gradient penalty.
        clip_value: c, bound on the absolute value of the critics' parameters.
        penalty_weight: weight of the gradient penalty.
        n_critic: updates of the critics per update of G.
        levels: most halvings of G; fewer if the sides cannot be halved evenly.
        width: channels of the first maps of G and of the critics; inner maps have 2, 4 and 8 times as many.
        dropout: dropout rate in G's three innermost maps.
        lr: RMSprop's learning rate for G and the critics.
        rms_decay: decay of RMSprop's mean of squared gradients.
    """

    data, ema = "domains", ("g_ab", "g_ba")
    domains = {"a": "g_ba", "b": "g_ab"}
    defaults = dict(batch=1, ema=0, data="digits-negative")
    nearest = staticmethod(unet_size)
    presets = {
        "paper": Preset(
            "the paper's networks for 256 px, for the authors' 50 epochs of 400 facades",
            settings=dict(resolution="256", batch=1, images=20_000),
            spec=Spec((3, 256, 256), other=(3, 256, 256)),
            parameters=dict(g_ab=54_413_955, g_ba=54_413_955, d_a=2_765_633, d_b=2_765_633),
        ),
        "code": Preset(
            "the authors' TensorFlow code for 256 px, for its 50 epochs of 400 facades",
            model=dict(form="code", penalty="gp", n_critic=1, dropout=0.0),
            settings=dict(resolution="256", batch=1, images=20_000),
            spec=Spec((3, 256, 256), other=(3, 256, 256)),
            parameters=dict(g_ab=30_627_907, g_ba=30_627_907, d_a=3_949_441, d_b=3_949_441),
        ),
        "small": Preset(
            "digits at 16 px on two CPU cores: narrow, small patches, a lower lambda, a higher learning rate",
            model=dict(
                width=16, patch=16, cycle_weight_a=10.0, cycle_weight_b=10.0, n_critic=2, lr=1e-3, clip_value=0.05
            ),
            settings=dict(batch=16, images=20_000),
        ),
    }

    def __init__(
        self,
        spec: Spec,
        *,
        form: Literal["paper", "code"] = "paper",
        patch: Literal[1, 16, 34, 70, 142, 286] = 70,
        cycle_weight_a: float = 500.0,
        cycle_weight_b: float = 500.0,
        penalty: Literal["clip", "gp"] = "clip",
        clip_value: float = 0.01,
        penalty_weight: float = 10.0,
        n_critic: int = 3,
        levels: int = 8,
        width: int = 64,
        dropout: float = 0.5,
        lr: float = 5e-5,
        rms_decay: float = 0.9,
    ):
        super().__init__(spec)
        (a, h, w), b = spec.shape, (spec.other or spec.shape)[0]
        for name, value, choices in (("form", form, ("paper", "code")), ("penalty", penalty, ("clip", "gp"))):
            if value not in choices:
                raise ValueError(f"{name} is {value!r}; choose from {' and '.join(choices)}")
        if n_critic < 1:
            raise ValueError(f"n_critic is {n_critic}; it must be at least 1")
        levels = unet_levels(h, w, levels)
        if form == "code" and min(h, w) < 32:
            raise ValueError(
                f"form code needs sides of 32 and more; found {h}x{w}. Add --resolution 32, or --form paper"
            )
        self.cycle_weight_a, self.cycle_weight_b, self.n_critic = cycle_weight_a, cycle_weight_b, n_critic
        self.penalty, self.clip_value, self.penalty_weight = penalty, clip_value, penalty_weight
        critics: list[nn.Module]
        if form == "code":
            generator = partial(UNetGenerator, norm=ShiftedInstanceNorm, bias=True, down=down, up=up, norm_inner=True)
            critics = [code_critic(c, h, w, width) for c in (a, b)]
        else:
            generator = partial(UNetGenerator, norm=OwnBatchNorm2d)
            critics = [PatchDiscriminator(c, width, patch_layers(patch, h, w)) for c in (a, b)]
        self.d_a, self.d_b = critics
        self.g_ab, self.g_ba = (generator(*ends, levels, width, dropout=dropout) for ends in ((a, b), (b, a)))
        init_normal(self)
        self.multiple = 2**levels
        pairs = (("g", self.g_ab, self.g_ba), ("d", self.d_a, self.d_b))
        self.opt = {n: torch.optim.RMSprop([*x.parameters(), *y.parameters()], lr, rms_decay) for n, x, y in pairs}

    def noise(self, n: int, height: int, width: int) -> Tensor:
        """(n, K) dropout masks of zeros and ones for images of a height and width."""
        return self.g_ab.noise(n, height, width)

    def translate(self, images: Tensor, z: Tensor, to: Literal["a", "b"] = "b") -> Tensor:
        """(N, C, H, W) images of the other domain in [-1, 1] and (N, K) masks to (N, C', H, W) of domain `to`."""
        return self.g_ab(images, z) if to == "b" else self.g_ba(images, z)

    def drawn(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Draw z for a to b and z for b to a."""
        z_ab, z_ba = (batch.draw(lambda n: self.noise(n, *batch.a.shape[2:])) for _ in range(2))
        return z_ab, z_ba

    def strip(self, batch: Batch) -> list[Tensor]:
        """Columns of a preview: an image of a, its translation to b, and back to a; the same for b."""
        z_ab, z_ba = self.drawn(batch)
        fake_b, fake_a = self.g_ab(batch.a, z_ab), self.g_ba(batch.b, z_ba)
        return [batch.a, fake_b, self.g_ba(fake_b, z_ba), batch.b, fake_a, self.g_ab(fake_a, z_ab)]

    def step(self, batch: Batch, run: Run) -> None:
        run.update("d", self.d_loss, batch)
        if self.penalty == "clip":
            clip_weights(self.d_a, self.clip_value), clip_weights(self.d_b, self.clip_value)
        if (run.step + 1) % self.n_critic == 0:
            run.update("g", self.g_loss, batch)

    def d_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        z_ab, z_ba = self.drawn(batch)
        real_a, real_b = batch.a, batch.b
        fake_a, fake_b = self.g_ba(real_b, z_ba), self.g_ab(real_a, z_ab)
        reals: list[Tensor] = []
        fakes: list[Tensor] = []
        outputs: dict[str, Tensor] = {}
        for net, real, fake in (self.d_a, real_a, fake_a), (self.d_b, real_b, fake_b):

            def critic(x: Tensor, net: nn.Module = net) -> Tensor:
                return net(batch.augment(x)).flatten(1).mean(1)

            reals.append(critic(real))
            fakes.append(critic(fake))
            if self.penalty == "gp":
                outputs["penalty"] = outputs.get("penalty", 0) + wgan_gp(critic, real, fake, batch.draw) / 2
        real, fake = torch.cat(reals), torch.cat(fakes)
        mean = wasserstein.d(real, fake) + self.penalty_weight * outputs.get("penalty", 0)  # over both critics
        return 2 * mean, outputs | scores(real, fake, boundary=None)

    def g_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        z_ab, z_ba = self.drawn(batch)
        real_a, real_b = batch.a, batch.b
        fake_b, fake_a = self.g_ab(real_a, z_ab), self.g_ba(real_b, z_ba)
        rec_a, rec_b = self.g_ba(fake_b, z_ba), self.g_ab(fake_a, z_ab)
        cycle_a, cycle_b = (rec_a - real_a).abs().mean(), (rec_b - real_b).abs().mean()
        loss = wasserstein.g(self.d_a(batch.augment(fake_a))) + wasserstein.g(self.d_b(batch.augment(fake_b)))
        loss = loss + self.cycle_weight_a * cycle_a + self.cycle_weight_b * cycle_b
        return loss, {"cycle_a": cycle_a, "cycle_b": cycle_b}
