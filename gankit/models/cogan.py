"""cogan. Ming-Yu Liu, Oncel Tuzel, "Coupled Generative Adversarial Networks", NeurIPS 2016.
https://arxiv.org/abs/1606.07536

Two GANs, one per image domain, are trained together. The generators share their first layers, which determine the
high-level content, and the discriminators share their last layers. Therefore one latent gives an image in each domain
with the same content, although training uses no pairs. `--share none` removes the sharing, and with it this
correspondence. Shared layers are the same modules, so their parameters are counted and updated once. D's shared layers
process both domains in one batch.

The file is long because it holds the layers of two published pairs of networks, with a choice of which are shared.

The form "digits", for 28 px, is the authors' PyTorch release; "faces", for other sizes, their Caffe network for 128 px.

Deviations:
- As in the release, batch norm in "digits" has no gain and bias, and each PReLU has a single slope. "faces" has the
  same PReLU and an ordinary batch norm, which Caffe composes of two layers.
- The logit is the difference of D's two softmax inputs, which is equivalent to the release's cross-entropy.
- The final sigmoid of "digits" is rescaled to [-1, 1], the range of D's reals in the release.
- The Caffe file describes one domain, so the number of layers that each domain of "faces" has to itself is ours: two in
  G and two in D. Its solver alternates between the networks, so its 100,000 iterations equal 50,000 steps here, which
  update both. Its D normalises reals and fakes as one batch, and its running statistics move by 0.001 per batch, ours
  by 0.1.
- Without a preset, samples come from averaged weights (`--ema 0` disables averaging); the paper has no averaging.
- Left out: the classifier on D's features, with which the paper adapts to a domain without labels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from gankit.losses import non_saturating, scores
from gankit.nn import BatchNorm1d, BatchNorm2d, Dropout, init_normal, larger_size, nearest_size, random_crop, stages
from gankit.nn.init import init_he
from gankit.penalties import r1
from gankit.recipe import Batch, Preset, Recipe, Run, Spec

SMALL: dict[str, object] = dict(
    z_dim=32, width=64, norm_d=False, dropout=False, penalty_weight=0.5, lr=1e-3, beta1=0.0, beta2=0.99,
    weight_decay=0.0,
)  # fmt: skip
Blocks = Callable[[int], list[nn.Module]]  # the channels of an image to the layers of a network, in order


class Unit(nn.Module):
    """A sigmoid rescaled to [-1, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sigmoid() * 2 - 1


def digits_g(channels: int, z_dim: int, width: int, h: int, w: int) -> list[nn.Module]:
    """Layers of G, (N, z_dim) to (N, channels, h, w) in [-1, 1]; for 28 px the sides are 4, 7, 13, 25, 28."""
    first = nn.ConvTranspose2d(z_dim, width, ((h + 4) // 8, (w + 4) // 8))
    blocks = [nn.Sequential(nn.Unflatten(1, (z_dim, 1, 1)), first, BatchNorm2d(width, affine=False), nn.PReLU())]
    for c in (width // 2, width // 4, width // 8):
        blocks += [nn.Sequential(nn.ConvTranspose2d(2 * c, c, 3, 2, 1), BatchNorm2d(c, affine=False), nn.PReLU())]
    return [*blocks, nn.Sequential(nn.ConvTranspose2d(width // 8, channels, 6, 1, 1), Unit())]


def digits_d(channels: int, h: int, w: int, dropout: bool) -> list[nn.Module]:
    """Layers of D, (N, channels, h, w) to (N, 2) softmax inputs: LeNet, without nonlinearity after its convolutions."""
    h, w = ((side - 4) // 2 - 4 for side in (h, w))
    dense = nn.Sequential(nn.Flatten(), nn.Linear(50 * (h // 2) * (w // 2), 500), nn.PReLU(), Dropout(0.5 * dropout))
    first, second = nn.Conv2d(channels, 20, 5), nn.Conv2d(20, 50, 5)
    return [nn.Sequential(first, nn.MaxPool2d(2)), nn.Sequential(second, nn.MaxPool2d(2)), dense, nn.Linear(500, 2)]


def faces_g(channels: int, z_dim: int, width: int, h: int, w: int) -> list[nn.Module]:
    """Layers of G, (N, z_dim) to (N, channels, h, w) in [-1, 1]: a coarse map, doubled up to the image's size."""
    count = stages(h, w)
    h, w = h >> count, w >> count
    blocks = [
        nn.Sequential(nn.Linear(z_dim, width * h * w), nn.Unflatten(1, (width, h, w)), BatchNorm2d(width), nn.PReLU())
    ]
    for c in (width >> i for i in range(1, count + 1)):
        blocks += [nn.Sequential(nn.ConvTranspose2d(2 * c, c, 4, 2, 1), BatchNorm2d(c), nn.PReLU())]
    return [*blocks, nn.Sequential(nn.ConvTranspose2d(width >> count, channels, 3, 1, 1), nn.Tanh())]


def faces_d(channels: int, width: int, h: int, w: int, norm: bool, dropout: bool) -> list[nn.Module]:
    """Layers of D, (N, channels, h, w) to (N, 2) softmax inputs: convolutions of stride 2, 5x5 for sides above 16."""
    count, blocks = stages(h, w) + 1, []
    rates = [0.0] * (count - 4) + [0.1, 0.3, 0.3, 0.5][-count:]
    for c, rate in zip((width >> i for i in reversed(range(count))), rates):
        kernel = 5 if min(h, w) > 16 else 3
        conv = nn.Conv2d(channels, c, kernel, 2, kernel // 2)
        normed = [BatchNorm2d(c)] if norm else []
        blocks += [nn.Sequential(conv, *normed, nn.PReLU(), Dropout(rate * dropout))]
        channels, h, w = c, (h + 1) // 2, (w + 1) // 2
    dense, dense_norm = nn.Linear(width * h * w, 2 * width), [BatchNorm1d(2 * width)] if norm else []
    blocks += [nn.Sequential(nn.Flatten(), dense, *dense_norm, nn.PReLU(), Dropout(0.5 * dropout))]
    return [*blocks, nn.Linear(2 * width, 2)]


class Generators(nn.Module):
    """Two generators that share all but their last `num_own` layers."""

    def __init__(self, blocks: Blocks, channels: tuple[int, int], num_own: int):
        super().__init__()
        a, b = (blocks(c) for c in channels)
        cut = max(0, len(a) - num_own)
        self.shared, self.a, self.b = nn.Sequential(*a[:cut]), nn.Sequential(*a[cut:]), nn.Sequential(*b[cut:])

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(N, z_dim) latents to the (N, C, H, W) images of each domain in [-1, 1]."""
        x = self.shared(z)
        return self.a(x), self.b(x)


class Discriminators(nn.Module):
    """Two discriminators that share all but their first `num_own` layers."""

    def __init__(self, blocks: Blocks, channels: tuple[int, int], num_own: int):
        super().__init__()
        a, b = (blocks(c) for c in channels)
        self.a, self.b = nn.Sequential(*a[:num_own]), nn.Sequential(*b[:num_own])
        self.shared = nn.Sequential(*a[num_own:])

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """(N, C, H, W) images of each domain in [-1, 1] to (2N,) logits, those of domain a first."""
        return self.logits(torch.cat([self.a(a), self.b(b)]))

    def logits(self, x: Tensor) -> Tensor:
        """Features from a domain's own layers to (N,) logits: the softmax input of "real" minus that of "fake"."""
        return self.shared(x).diff(dim=1).squeeze(1)


class CoGAN(Recipe):
    """Coupled GAN on two unpaired image collections, whose sides are 4, 5, 6 or 7 times a power of two.

    Args:
        form: digits, for sides of 20, 28, 36 ...; faces; or auto, which is digits at 28 px and faces at other sizes.
        share: networks that share layers: both, g, d, or none, which trains two independent GANs.
        own_g: number of G's last layers that are not shared.
        own_d: number of D's first layers that are not shared.
        z_dim: length of the latent z.
        width: channels of G's first feature map, and of D's last one in the form faces.
        prior: distribution of z: normal, as in the release, or uniform on [-1, 1], as in Caffe.
        norm_d: batch norm in D, in the form faces.
        dropout: dropout in D.
        penalty_weight: weight of an R1 penalty on the reals of both domains, gamma / 2, which the paper does not have;
            0 for none.
        lr: Adam's learning rate.
        beta1: Adam's decay rate of the mean of gradients.
        beta2: Adam's decay rate of the mean of squared gradients.
        weight_decay: Adam's L2 penalty: on all parameters in the form digits, only on weights of linear layers and
            convolutions in the form faces.
        bias_lr: factor of the learning rate for the biases of D's two dense layers, in the form faces; 2 in the Caffe
            file.
        load_scale: scale at which images are read, before a random crop to the model's size.
    """

    data, ema, defaults = "domains", ("g",), dict(batch=64, data="digits-negative")
    nearest = staticmethod(nearest_size)
    presets = {
        "paper": Preset(
            "the authors' PyTorch release for digits at 28 px, without averaged weights",
            model=dict(dropout=False),
            settings=dict(resolution="28", batch=64, images=320_000, ema=0),
            spec=Spec((1, 28, 28), other=(1, 28, 28)),
            parameters=dict(g=7_842_694, d=427_593),
        ),
        "faces": Preset(
            "the authors' Caffe network for faces at 128 px, cropped from 132 px, without averaged weights",
            model=dict(
                form="faces", own_g=2, own_d=2, prior="uniform", weight_decay=1e-4, bias_lr=2.0, load_scale=132 / 128,
            ),
            settings=dict(resolution="128", mirror=True, batch=128, images=6_400_000, ema=0),
            spec=Spec((3, 128, 128), other=(3, 128, 128)),
            parameters=dict(g=12_868_301, d=14_910_347),
        ),
        "cpu": Preset(
            "for images of 28 to 64 px on one CPU core: small's in the form faces, with smaller batches; one check, "
            "on MNIST and edges at 28 px, one seed: Frechet distance 83 after 18 CPU s, 584 with small",
            model=SMALL | dict(form="faces"),
            settings=dict(batch=16, images=100_000, ema=2_000),
        ),
        "small": Preset(
            "for digits at 16 px on two CPU cores: narrower, R1 instead of D's batch norm, no weight decay",
            model=SMALL,
            settings=dict(batch=32, images=72_000, ema=5_000),
        ),
    }  # fmt: skip

    def __init__(
        self,
        spec: Spec,
        *,
        form: Literal["auto", "digits", "faces"] = "auto",
        share: Literal["both", "g", "d", "none"] = "both",
        own_g: int = 1,
        own_d: int = 1,
        z_dim: int = 100,
        width: int = 1024,
        prior: Literal["normal", "uniform"] = "normal",
        norm_d: bool = True,
        dropout: bool = True,
        penalty_weight: float = 0.0,
        lr: float = 2e-4,
        beta1: float = 0.5,
        beta2: float = 0.999,
        weight_decay: float = 5e-4,
        bias_lr: float = 1.0,
        load_scale: float = 1.0,
    ):
        super().__init__(spec)
        self.z_dim, self.prior, self.penalty_weight = z_dim, prior, penalty_weight
        h, w = spec.shape[1:]
        digits = form == "digits" or (form == "auto" and (h, w) == (28, 28))
        if digits and (h % 8 != 4 or w % 8 != 4 or min(h, w) < 20):
            raise ValueError(
                f"form digits needs sides of 20, 28, 36 ...; found {h}x{w}. Add --resolution 28, or --form faces"
            )
        if digits:
            blocks_g, count_g = partial(digits_g, z_dim=z_dim, width=width, h=h, w=w), 5
            blocks_d, count_d = partial(digits_d, h=h, w=w, dropout=dropout), 4
        else:
            blocks_g, count_g = partial(faces_g, z_dim=z_dim, width=width, h=h, w=w), stages(h, w) + 2
            blocks_d, count_d = partial(faces_d, width=width, h=h, w=w, norm=norm_d, dropout=dropout), stages(h, w) + 3
        for option, num_own, count in ("own_g", own_g, count_g), ("own_d", own_d, count_d):
            if not 1 <= num_own < count:
                raise ValueError(
                    f"{option} is {num_own}; with {count} layers it must be 1 to {count - 1}. To share no layer, use "
                    "--share none"
                )
        if share not in ("both", "g", "d", "none"):
            raise ValueError(f"share is {share!r}; choose from both, g, d and none")
        channels = spec.channels, (spec.other or spec.shape)[0]
        self.g = Generators(blocks_g, channels, own_g if share in ("both", "g") else count_g)
        self.d = Discriminators(blocks_d, channels, own_d if share in ("both", "d") else count_d)
        (init_release if digits else init_normal)(self)
        if not digits and not norm_d:  # without batch norm, N(0, 0.02^2) weights shrink the activations towards 0
            init_he(self.d)
        for name, net, factor in ("d", self.d, bias_lr), ("g", self.g, 1.0):
            groups = net.parameters() if digits else caffe_groups(net, lr, weight_decay, factor)
            self.opt[name] = torch.optim.Adam(groups, lr, (float(beta1), float(beta2)), weight_decay=weight_decay)
        self.load_size = larger_size(spec.shape, load_scale)

    def noise(self, n: int) -> Tensor:
        """(n, z_dim) latents."""
        return torch.rand(n, self.z_dim) * 2 - 1 if self.prior == "uniform" else torch.randn(n, self.z_dim)

    def pair(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(N, z_dim) latents to pairs of (N, C, H, W) images in [-1, 1], one per domain."""
        return self.g(z)

    def sample(self, z: Tensor, domain: Literal["a", "b"] = "a") -> Tensor:
        """(N, z_dim) latents to (N, C, H, W) images of one domain in [-1, 1]."""
        return self.pair(z)[("a", "b").index(domain)]

    def step(self, batch: Batch, run: Run) -> None:
        for domain in "ab":
            (batch.fields[domain],) = random_crop([batch.fields[domain]], batch.draw, *self.spec.shape[1:])
        run.update("d", self.d_loss, batch)
        run.update("g", self.g_loss, batch)

    def d_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        fakes = self.g(batch.draw(self.noise))
        real_logits, fake_logits = (self.d(*map(batch.augment, images)) for images in ((batch.a, batch.b), fakes))
        loss, outputs = non_saturating.d(real_logits, fake_logits), scores(real_logits, fake_logits)
        if self.penalty_weight:
            penalty_a = r1(lambda x: self.d.logits(self.d.a(batch.augment(x))), batch.a)
            penalty_b = r1(lambda x: self.d.logits(self.d.b(batch.augment(x))), batch.b)
            outputs["penalty"] = (penalty_a + penalty_b) / 2
            loss = loss + self.penalty_weight * outputs["penalty"]
        return loss, outputs

    def g_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        fakes = self.g(batch.draw(self.noise))
        return non_saturating.g(self.d(*map(batch.augment, fakes))), {}


def caffe_groups(net: nn.Module, lr: float, weight_decay: float, bias_lr: float) -> list[dict[str, object]]:
    """Parameter groups of the Caffe file: only weights decay; dense layers' biases have `bias_lr` times the rate."""
    groups: tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]] = [], [], []
    weights, dense_biases, others = groups
    for layer in net.modules():
        dense = isinstance(layer, nn.Linear)
        for name, parameter in layer.named_parameters(recurse=False):
            if name == "weight" and (dense or isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))):
                weights.append(parameter)
            else:
                (dense_biases if dense else others).append(parameter)
    return [
        dict(params=weights, weight_decay=weight_decay),
        dict(params=dense_biases, lr=lr * bias_lr, weight_decay=0.0),
        dict(params=others, weight_decay=0.0),
    ]


def init_release(module: nn.Module) -> None:
    """Initialise in place as the release does: weights Glorot-uniform times sqrt(2), biases 0.1."""
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.xavier_uniform_(layer.weight, 2**0.5)
            nn.init.constant_(layer.bias, 0.1)
