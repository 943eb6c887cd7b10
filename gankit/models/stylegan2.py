"""stylegan2. Tero Karras, Samuli Laine, Miika Aittala, Janne Hellsten, Jaakko Lehtinen, Timo Aila, "Analyzing and
Improving the Image Quality of StyleGAN", CVPR 2020. https://arxiv.org/abs/1912.04958

A mapping network turns z into a style w, and only styles determine the image: G begins with one learned map for all
images, and w scales the input channels of each convolution. StyleGAN then normalized each map, which left droplet
artifacts; here the convolution's weights are divided by their norm after scaling (demodulation), which is equivalent
in expectation. Nothing grows: G sums images from all its resolutions, and D is residual. Two penalties are lazy: they
are computed only every few batches, with a proportionally larger weight, in updates of their own: R1 on D every 16th
batch, and on G, every fourth batch, the path-length penalty, with which a step of fixed length in w changes the image
by a fixed amount. In most batches some layers get their style from another z (style mixing). Each layer adds noise for
stochastic detail such as hair.

The presets ada-*, cifar* and auto-256 are those of the same authors' code for "Training Generative Adversarial
Networks with Limited Data", NeurIPS 2020, https://arxiv.org/abs/2006.06676, which adds augmentation (`--augment ada`)
and classes.

The file is long because both networks are the paper's own, each with a mapping network, and there are ten presets.

Deviations:
- The mean style is updated with G's updates; in the authors' code every forward pass of G updates it, also in D's
  updates.
- The averaged weights' half-life is a twentieth of the images seen if that is less than `ema`.
- With `pieces`, a piece's penalty uses the mean path length over that piece, and D the standard deviation within a
  piece.
- Half precision is bfloat16, which needs no clamping; `clamp` is for weights that were trained with it.
- Labels of fakes are drawn by the class frequencies of the images seen so far; the ADA code takes those of random
  images. (The paper's own code, which has no labels in any of its configurations, would give D's fakes the labels of
  the reals.)
- `ada` differs from the authors' in four points: see gankit/augment/ada.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.losses import non_saturating, scores
from gankit.nn import (
    EqualisedLinear,
    Fir,
    MinibatchStddev,
    ModulatedConv2d,
    PixelNorm,
    average,
    look,
    nearest_size,
    stages,
)
from gankit.penalties import path_length, r1
from gankit.recipe import Batch, Preset, Recipe, Run, Spec, adam, data_labels, see_labels, seeded

GAIN = 2**0.5  # of a leaky ReLU, to preserve variance; being positive, it can be applied to the input or the output


def clamp_to(x: Tensor, limit: float) -> Tensor:
    """x clamped to +-limit; a limit of 0 means none."""
    return x.clamp(-limit, limit) if limit else x


class Mapping(nn.Module):
    """z and a class embedding, each normalized to a sphere, through layers with a hundredth of the learning rate."""

    def __init__(self, z_dim: int, classes: int, w_dim: int, layers: int):
        super().__init__()
        self.embed = EqualisedLinear(classes, w_dim, gain=1) if classes else None
        widths = [z_dim + (w_dim if classes else 0)] + [w_dim] * layers
        self.layers = nn.ModuleList(EqualisedLinear(a, b, gain=1, lr_mul=0.01) for a, b in zip(widths, widths[1:]))
        self.norm = PixelNorm()

    def forward(self, z: Tensor | None, label: Tensor | None = None) -> Tensor:
        """(N, z_dim) latents, or None for none, and (N,) labels if there are classes, to (N, w_dim)."""
        weight = cast(Tensor, self.layers[0].weight)
        with torch.autocast(weight.device.type, enabled=False):
            parts = [] if z is None else [self.norm(z.to(weight.dtype))]
            if self.embed is not None:
                parts += [self.norm(self.embed(F.one_hot(label, self.embed.weight.shape[1]).to(weight.dtype)))]
            w = torch.cat(parts, 1)
            for layer in self.layers:
                w = F.leaky_relu(layer(w), 0.2) * GAIN
            return w


class Layer(nn.Module):
    """Modulated 3x3 convolution, noise map times a learned scalar, bias, leaky ReLU."""

    noise: Tensor

    def __init__(self, a: int, b: int, w_dim: int, size: tuple[int, int], up: bool, clamp: float):
        super().__init__()
        self.conv, self.clamp = ModulatedConv2d(a, b, 3, w_dim, up), clamp
        self.strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise", torch.randn(size))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        """(N, a, ...), (N, w_dim) and noise of (N, 1, *size), or None for the fixed map, to (N, b, *size)."""
        noise = (self.noise if noise is None else noise) * self.strength
        return clamp_to(F.leaky_relu(self.conv(x, w, noise, GAIN), 0.2, inplace=True), self.clamp)


class Synthesis(nn.Module):
    """A learned map; two layers per further size, the first one doubling; the image is the sum over sizes."""

    def __init__(self, shape: tuple[int, ...], widths: list[int], w_dim: int, clamp: float, tanh: bool):
        super().__init__()
        last = len(widths) - 1
        sides = [(shape[1] >> last - i, shape[2] >> last - i) for i in range(last + 1)]
        self.const = nn.Parameter(torch.randn(widths[0], *sides[0]))
        self.layers = nn.ModuleList([Layer(widths[0], widths[0], w_dim, sides[0], False, clamp)])
        for a, b, size in zip(widths, widths[1:], sides[1:]):
            self.layers += [Layer(a, b, w_dim, size, True, clamp), Layer(b, b, w_dim, size, False, clamp)]
        self.to_rgb = nn.ModuleList(ModulatedConv2d(c, shape[0], 1, w_dim, demodulate=False) for c in widths)
        self.enlarge, self.clamp, self.tanh = Fir(up=2), clamp, tanh
        self.sizes = [sides[0], *(size for size in sides[1:] for _ in range(2))]  # of the layers

    def forward(self, ws: Tensor, noise: list[Tensor] | None = None) -> Tensor:
        """(N, num_ws, w_dim) styles, and a noise map for each layer, to (N, C, H, W), not clamped without tanh."""
        x, image = self.const.expand(len(ws), -1, -1, -1), None
        for i, layer in enumerate(self.layers):
            x = layer(x, ws[:, i], None if noise is None else noise[i])
            if i % 2 == 0:  # a size's output and the next size's first layer share a style
                rgb = clamp_to(self.to_rgb[i // 2](x, ws[:, i + 1]), self.clamp)
                rgb = rgb.float() if rgb.dtype == torch.bfloat16 else rgb
                image = rgb if image is None else self.enlarge(image) + rgb
        return image.tanh() if self.tanh else image


class Generator(nn.Module):
    """The mapping and synthesis networks, and the mean style."""

    w_mean: Tensor

    def __init__(self, mapping: Mapping, synthesis: Synthesis, w_dim: int):
        super().__init__()
        self.mapping, self.synthesis = mapping, synthesis
        self.register_buffer("w_mean", torch.zeros(w_dim))


class Conv(nn.Module):
    """Convolution with equalised learning rate, bias, leaky ReLU, gain; `down` blurs and halves the sides."""

    def __init__(self, a: int, b: int, kernel: int, down: bool = False, gain: float = GAIN, clamp: float = 0.0):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(b, a, kernel, kernel)), nn.Parameter(torch.zeros(b))
        self.scale, self.gain, self.clamp = gain / (a * kernel**2) ** 0.5, gain, clamp * gain / GAIN
        self.blur = Fir(pad=(2, 2)) if down else nn.Identity()
        self.stride, self.pad = (2, 0) if down else (1, kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, a, H, W) to (N, b, H, W), or with `down` to (N, b, H / 2, W / 2)."""
        h = F.conv2d(self.blur(x), self.weight * self.scale, self.bias * self.gain, self.stride, self.pad)
        return clamp_to(F.leaky_relu(h, 0.2, inplace=True), self.clamp)


class Block(nn.Module):
    """Two 3x3 convolutions, the second halving the sides; if residual, plus a 1x1 shortcut, divided by sqrt(2)."""

    def __init__(self, a: int, b: int, residual: bool, clamp: float):
        super().__init__()
        self.first = Conv(a, a, 3, clamp=clamp)
        self.second = Conv(a, b, 3, down=True, gain=1.0 if residual else GAIN, clamp=clamp)
        self.skip = nn.Parameter(torch.randn(b, a, 1, 1)) if residual else None
        self.shrink, self.scale = Fir(down=2), (2 * a) ** -0.5

    def forward(self, x: Tensor) -> Tensor:
        """(N, a, H, W) to (N, b, H / 2, W / 2)."""
        h = self.second(self.first(x))
        return h if self.skip is None else h + F.conv2d(self.shrink(x), self.skip * self.scale)


class Discriminator(nn.Module):
    """1x1, blocks, minibatch standard deviation, 3x3, dense, output; with classes, times the mapped class."""

    def __init__(
        self, shape: tuple[int, ...], widths: list[int], group: int, residual: bool, classes: int, clamp: float
    ):
        super().__init__()
        last, wide = len(widths) - 1, widths[0]
        self.from_rgb = Conv(shape[0], widths[-1], 1, clamp=clamp)
        pairs = zip(widths[:0:-1], widths[-2::-1])
        self.blocks = nn.Sequential(*(Block(a, b, residual, clamp) for a, b in pairs))
        self.deviation, self.conv = MinibatchStddev(group), Conv(wide + 1, wide, 3, clamp=clamp)
        self.dense = EqualisedLinear(wide * (shape[1] >> last) * (shape[2] >> last), wide, gain=1)
        self.out = EqualisedLinear(wide, wide if classes else 1, gain=1)
        self.mapping = Mapping(0, classes, wide, 8) if classes else None

    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        """(N, C, H, W) in [-1, 1], and (N,) labels if there are classes, to (N,) logits."""
        h = self.conv(self.deviation(self.blocks(self.from_rgb(image)))).flatten(1)
        h = self.out(F.leaky_relu(self.dense(h), 0.2) * GAIN)
        return h.squeeze(1) if self.mapping is None else (h * self.mapping(None, label)).sum(1) / h.shape[1] ** 0.5


class StyleGAN2(Recipe):
    """StyleGAN2 (configuration F), for images whose sides are 4, 5, 6 or 7 times a power of two.

    Args:
        z_dim: length of the latent z, which the mapping network normalizes to a sphere.
        w_dim: length of the style w.
        layers: layers of the mapping network.
        channel_base: a map of side s = 4, 8, 16 ... has channel_base / s channels; 16384 in configuration E.
        channel_max: maximum channels of a map.
        architecture: D's blocks: resnet, or orig, without skip connections.
        group: images over which D computes the standard deviation.
        conditional: use labels if the data has them.
        clamp: clamp activations to +- this, 256 in the authors' half-precision code; 0 for no clamping.
        tanh: end G in a tanh. The paper's G is linear, and takes long to draw a ground of pure black or white.
        mixing: share of the batches with style mixing, from 0 to 1.
        gamma: weight of R1 / 2; the first parameter to tune for new data.
        r1_every: interval of R1's updates, in batches; its weight is multiplied by this.
        path_weight: weight of the path-length penalty; 0 for none.
        path_every: interval of the path-length penalty's updates, in batches; its weight is multiplied by this.
        lr: learning rate of Adam, before the correction for lazy penalties.
    """

    path_mean: Tensor
    label_shares: Tensor

    labels, ema, defaults = "optional", ("g",), dict(batch=32, images=25_000_000, ema=10_000)
    nearest = staticmethod(nearest_size)
    trunc_layers = None
    presets = {
        "paper": Preset(
            "configuration F for FFHQ at 1024 px",
            settings=dict(resolution="1024", mirror=True),
            spec=Spec((3, 1024, 1024)),
            parameters=dict(g=30_370_060, d=29_012_513),
        ),
        "paper-e": Preset(
            "configuration E for FFHQ at 1024 px, with StyleGAN's channels",
            model=dict(channel_base=16384, gamma=100.0),
            settings=dict(resolution="1024", mirror=True),
            spec=Spec((3, 1024, 1024)),
            parameters=dict(g=24_900_764, d=24_038_161),
        ),
        "paper-512": Preset(
            "configuration F at 512 px",
            settings=dict(resolution="512"),
            spec=Spec((3, 512, 512)),
            parameters=dict(g=30_276_583, d=28_982_849),
        ),
        "paper-256": Preset(
            "configuration F at 256 px",
            settings=dict(resolution="256"),
            spec=Spec((3, 256, 256)),
            parameters=dict(g=30_034_338, d=28_864_129),
        ),
        "ada-1024": Preset(
            "the ADA code's configuration paper1024",
            model=dict(gamma=2.0),
            settings=dict(resolution="1024", augment="ada"),
            spec=Spec((3, 1024, 1024)),
            parameters=dict(g=30_370_060, d=29_012_513),
        ),
        "ada-512": Preset(
            "the ADA code's configuration paper512",
            model=dict(group=8, gamma=0.5, lr=2.5e-3),
            settings=dict(resolution="512", batch=64, ema=20_000, augment="ada"),
            spec=Spec((3, 512, 512)),
            parameters=dict(g=30_276_583, d=28_982_849),
        ),
        "ada-256": Preset(
            "the ADA code's configuration paper256",
            model=dict(channel_base=16384, group=8, gamma=1.0, lr=2.5e-3),
            settings=dict(resolution="256", batch=64, ema=20_000, augment="ada"),
            spec=Spec((3, 256, 256)),
            parameters=dict(g=24_767_458, d=24_001_089),
        ),
        "auto-256": Preset(
            "the ADA code's configuration auto for one GPU at 256 px",
            model=dict(layers=2, channel_base=16384, gamma=0.8192, lr=2.5e-3),
            settings=dict(resolution="256", batch=16, ema=5_000, augment="ada"),
            spec=Spec((3, 256, 256)),
            parameters=dict(g=23_191_522, d=24_001_089),
        ),
        "cifar": Preset(
            "the ADA code's network for CIFAR-10",
            model=dict(layers=2, architecture="orig", group=32, gamma=0.01, mixing=0.0, path_weight=0.0, lr=2.5e-3),
            settings=dict(resolution="32", batch=64, images=100_000_000, ema=500_000, augment="ada"),
            spec=Spec((3, 32, 32)),
            parameters=dict(g=19_947_539, d=20_720_641),
        ),
        "cifar-conditional": Preset(
            "the ADA code's network for CIFAR-10 with labels",
            model=dict(
                layers=2, architecture="orig", group=32, conditional=True, gamma=0.01, mixing=0.0, path_weight=0.0,
                lr=2.5e-3,
            ),
            settings=dict(resolution="32", batch=64, images=100_000_000, ema=500_000, augment="ada"),
            spec=Spec((3, 32, 32), num_classes=10),
            parameters=dict(g=20_215_315, d=23_089_664),
        ),
        "cpu": Preset(
            "for images of 28 to 64 px on one CPU core: narrow, tanh at G's end, ten times the paper's learning rate, "
            "weak R1, neither style mixing nor path length; chosen among twelve settings by Frechet distance at equal "
            "CPU time, on Fashion-MNIST at 28 px, one seed; the width lies between two that were tried",
            model=dict(
                z_dim=32, w_dim=32, layers=2, channel_base=192, channel_max=48, tanh=True, mixing=0.0, gamma=0.3,
                path_weight=0.0, lr=2e-2,
            ),
            settings=dict(batch=16, images=100_000, ema=5_000),
        ),
        "small": Preset(
            "digits at 16 px on one CPU core",
            model=dict(z_dim=32, w_dim=32, layers=4, channel_base=384, channel_max=48, gamma=1.0),
            settings=dict(batch=16, images=60_000, ema=5_000),
        ),
    }  # fmt: skip

    def __init__(
        self,
        spec: Spec,
        *,
        z_dim: int = 512,
        w_dim: int = 512,
        layers: int = 8,
        channel_base: int = 32768,
        channel_max: int = 512,
        architecture: Literal["resnet", "orig"] = "resnet",
        group: int = 4,
        conditional: bool = False,
        clamp: float = 0.0,
        tanh: bool = False,
        mixing: float = 0.9,
        gamma: float = 10.0,
        r1_every: int = 16,
        path_weight: float = 2.0,
        path_every: int = 4,
        lr: float = 2e-3,
    ):
        super().__init__(spec if conditional else replace(spec, num_classes=0))
        if architecture not in ("resnet", "orig"):
            raise ValueError(f"architecture is {architecture!r}; choose from resnet, orig")
        if not 0 <= mixing <= 1:
            raise ValueError(
                f"mixing is {mixing}; it is the share of batches with style mixing and must be from 0 to 1"
            )
        if layers < 1 or r1_every < 1 or path_every < 1:
            raise ValueError(
                "layers, r1_every and path_every must be at least 1; gamma 0 and path_weight 0 leave penalties out"
            )
        self.z_dim, self.mixing, self.gamma, self.path_weight = z_dim, mixing, gamma, path_weight
        self.r1_every, self.path_every = r1_every, path_every
        last, classes = stages(spec.height, spec.width), self.spec.num_classes
        widths = [max(1, min(channel_base // (4 << i), channel_max)) for i in range(last + 1)]
        self.num_ws = 2 * last + 2
        self.g = Generator(
            Mapping(z_dim, classes, w_dim, layers), Synthesis(spec.shape, widths, w_dim, clamp, tanh), w_dim
        )
        self.d = Discriminator(spec.shape, widths, group, architecture == "resnet", classes, clamp)
        self.register_buffer("path_mean", torch.zeros(()))
        if classes:
            self.register_buffer("label_shares", torch.zeros(classes))
        for name, every in (("g", path_every), ("d", r1_every)):
            share = every / (every + 1)  # Adam's parameters for `every` updates, spread over every + 1
            self.opt[name] = adam(getattr(self, name).parameters(), lr * share, (0, 0.99**share))

    def noise(self, n: int) -> Tensor:
        """(n, z_dim) latents from N(0, 1)."""
        return torch.randn(n, self.z_dim)

    def mapping(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(N, z_dim) latents, and (N,) labels if trained with labels, to (N, num_ws, w_dim), equal for all layers."""
        return self.g.mapping(z, label)[:, None].expand(-1, self.num_ws, -1)

    def synthesis(self, ws: Tensor, noise: Literal["const", "none"] | int = "const") -> Tensor:
        """(N, num_ws, w_dim) styles to (N, C, H, W) images, clamped to [-1, 1].

        Args:
            ws: a style for each layer; a size's output shares that of the next size's first layer.
            noise: "const" for the model's fixed maps, "none" for zeros, or a seed: new maps, the same for all images.
        """
        if noise not in ("const", "none") and not isinstance(noise, int):
            raise ValueError(f'noise is {noise!r}; give "const", "none" or a seed')
        if noise == "const":
            return self.g.synthesis(ws).clamp(-1, 1)
        if noise == "none":
            return self.g.synthesis(ws, [ws.new_zeros(())] * len(self.g.synthesis.sizes)).clamp(-1, 1)
        with seeded(noise):
            return self.g.synthesis(ws, self.maps(self.numbers(1).to(ws))).clamp(-1, 1)

    def sample(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(N, z_dim) latents, and (N,) labels if trained with labels, to (N, C, H, W) images, clamped to [-1, 1]."""
        return self.synthesis(self.mapping(z, label))

    @property
    def w_mean(self) -> Tensor:
        """(w_dim,) the mean style."""
        return self.g.w_mean

    def step(self, batch: Batch, run: Run) -> None:
        if self.spec.num_classes:
            see_labels(self.label_shares, batch, run)
        w = run.mean(run.update("g", self.g_loss, batch)["w"].mean(0))
        self.g.w_mean.lerp_(w.to(self.g.w_mean.dtype), 1 - 0.995)
        if self.path_weight and run.step % self.path_every == 0:
            self.path_mean.lerp_(run.update("g", self.path_loss, batch)["path"], 0.01)
        run.update("d", self.d_loss, batch)
        if self.gamma and run.step % self.r1_every == 0:
            run.update("d", self.r1_loss, batch)

    def g_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        w, ws, label = self.styles(batch)
        logits = self.d(batch.augment(self.g.synthesis(ws, self.maps(batch.draw(self.numbers)))), label)
        return non_saturating.g(logits), {"w": w}

    def path_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        # half of the batch, over all processes, is enough
        rows = slice(batch.first // batch.every % 2 if len(batch) > 1 else 0, None, 2)
        ws, maps = self.styles(batch)[1][rows], self.maps(batch.draw(self.numbers)[rows])
        lengths = path_length(lambda ws: self.g.synthesis(ws, maps), ws, lambda sampler: batch.draw(sampler)[rows])
        look("the mean path length")
        count = average(lengths.new_tensor(len(lengths)))  # processes may have different numbers of rows
        mean = average(lengths.sum()) / count
        penalty = (lengths - torch.lerp(self.path_mean, mean, 0.01)).square().sum() / count
        return self.path_every * self.path_weight * penalty, {"path": mean, "path_penalty": penalty}

    def d_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        _, ws, label = self.styles(batch)
        fake = self.d(batch.augment(self.g.synthesis(ws, self.maps(batch.draw(self.numbers)))), label)
        real = self.d(batch.augment(batch.real), self.real_label(batch))
        return non_saturating.d(real, fake), scores(real, fake)

    def r1_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        penalty = r1(lambda x: self.d(batch.augment(x), self.real_label(batch)), batch.real)
        return self.r1_every * self.gamma / 2 * penalty, {"r1": penalty}

    def styles(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        """Styles of fakes, (N, w_dim), styles per layer after mixing, (N, num_ws, w_dim), and labels or None."""
        z = batch.draw(self.noise)
        label = data_labels(self.label_shares, batch.draw(torch.rand)) if self.spec.num_classes else None
        w = self.g.mapping(z, label)
        if not self.mixing:
            return w, w[:, None].expand(-1, self.num_ws, -1), label
        other, first = self.g.mapping(batch.draw(self.noise), label), batch.draw(self.first_mixed)
        is_first = torch.arange(self.num_ws, device=w.device) < first[:, None]
        return w, torch.where(is_first[:, :, None], w[:, None], other[:, None]), label

    def first_mixed(self, n: int) -> Tensor:
        """The layer from which another latent's style is used, the same for all (n,) images; num_ws for no mixing."""
        is_mixed = torch.rand(()) < self.mixing
        return torch.where(is_mixed, torch.randint(1, self.num_ws, ()), self.num_ws).expand(n)

    def numbers(self, n: int) -> Tensor:
        """(n, P) noise from N(0, 1) for all P positions of all layers' maps."""
        return torch.randn(n, sum(h * w for h, w in self.g.synthesis.sizes))

    def maps(self, numbers: Tensor) -> list[Tensor]:
        """(N, P) noise to a map (N, 1, H, W) for each layer."""
        sizes = self.g.synthesis.sizes
        parts = numbers.split([h * w for h, w in sizes], 1)
        return [part.unflatten(1, (1, *size)) for part, size in zip(parts, sizes)]

    def real_label(self, batch: Batch) -> Tensor | None:
        """The batch's labels; None for a model without labels."""
        return batch.label if self.spec.num_classes else None
