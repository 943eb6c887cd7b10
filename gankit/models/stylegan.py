"""stylegan. Tero Karras, Samuli Laine, Timo Aila, "A Style-Based Generator Architecture for Generative Adversarial
Networks", CVPR 2019. https://arxiv.org/abs/1812.04948

The latent is not the input of G. A mapping network turns z into w; after instance norm at each layer, w sets the
scale and bias of every channel (the style). The first map is a learned constant. Each layer adds its own noise, a map
of random numbers times a learned weight per channel, for stochastic detail such as hair and freckles. In training,
two latents w are used for most images, one for the layers before a random crossover and one after it (style mixing),
so that layers are decorrelated. Maps are blurred after doubling and before halving.

Everything else is PGGAN's: both networks grow from 8x8 px by blocks that are faded in, reals are faded likewise,
weights are scaled at run time, D sees the standard deviation over its batch, and Adam's moments are reset whenever a
fade begins or ends. The loss is the non-saturating one with R1 at each step, with respect to the faded real. `w_mean`
is the running mean of w, for truncation, which the paper uses only for display and in the first eight layers. With
`conditional`, a class embedding is concatenated to z before normalization, and D has an output for each class, as in
the authors' code.

`sample` uses the current level and fixed noise maps, so that a latent always gives the same image.

The file is long because the networks grow, and noise, batch, learning rate and reals change with them.

Deviations: the running mean of w is updated once per step, from latents drawn for it; in the authors' code, whenever
G is run in training. The fade advances at each step; in their code, at every fourth. In G's updates, labels of fakes
are drawn by the class frequencies of the images seen so far; in their code they are those of random images. For
CelebA-HQ the paper has WGAN-GP's loss; here all data have R1. D halves a map before bias and leaky ReLU, as in the
authors' code for both papers. Left out: the rows of table 1 with the traditional generator, with a random input
instead of the constant, and without noise.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.losses import non_saturating, scores
from gankit.nn import (
    EqualisedConv2d,
    EqualisedLinear,
    Fir,
    MinibatchStddev,
    PixelNorm,
    at_side,
    by_side,
    double,
    doubling_conv,
    faded,
    grown,
    halving_conv,
    nearest_size,
    stages,
)  # fmt: skip
from gankit.penalties import r1
from gankit.recipe import Batch, Images, Phase, Preset, Recipe, Run, Spec, adam, data_labels, see_labels, seeded


class UpConv(nn.Module):
    """Nearest-neighbour doubling, 3x3 convolution, blur."""

    def __init__(self, a: int, b: int):
        super().__init__()
        self.conv, self.blur = EqualisedConv2d(a, b, 3, bias=False), Fir((1, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, a, H, W) to (N, b, 2H, 2W)."""
        return self.blur(doubling_conv(x, *self.conv.scaled()))


class DownConv(nn.Module):
    """Blur, 3x3 convolution, mean of 2x2 pixels, bias."""

    def __init__(self, a: int, b: int):
        super().__init__()
        self.blur, self.conv = Fir((1, 2, 1)), EqualisedConv2d(a, b, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, a, H, W) to (N, b, H/2, W/2)."""
        return halving_conv(self.blur(x), *self.conv.scaled())


class Mapping(nn.Module):
    """z and a class embedding, normalized to a sphere, through layers with a hundredth of the learning rate."""

    def __init__(self, z_dim: int, w_dim: int, layers: int, classes: int):
        super().__init__()
        self.embed = nn.Embedding(classes, z_dim) if classes else None
        dims = [z_dim * (2 if classes else 1), *[w_dim] * layers]
        steps = [(EqualisedLinear(a, b, lr_mul=0.01), nn.LeakyReLU(0.2)) for a, b in zip(dims, dims[1:])]
        self.layers = nn.Sequential(PixelNorm(), *[layer for step in steps for layer in step])

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(N, z_dim), and (N,) labels if there are classes, to (N, w_dim)."""
        return self.layers(z if self.embed is None else torch.cat([z, self.embed(label)], 1))


class Style(nn.Module):
    """After each convolution of G: noise, bias, leaky ReLU, instance norm, and the scale and bias from w (AdaIN)."""

    fixed: Tensor

    def __init__(self, channels: int, w_dim: int, sides: tuple[int, int]):
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))
        self.affine = EqualisedLinear(w_dim, 2 * channels, gain=1)
        self.register_buffer("fixed", torch.randn(1, 1, *sides))  # the noise of samples

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        """(N, C, H, W), (N, w_dim) and noise (N or 1, 1, H, W), None for zeros, to (N, C, H, W)."""
        x = x + self.bias if noise is None else x + (noise * self.strength + self.bias)
        x = F.group_norm(F.leaky_relu(x, 0.2), x.shape[1], eps=1e-8)
        scale, bias = self.affine(w)[:, :, None, None].chunk(2, 1)
        return x * (scale + 1) + bias


class Synthesis(nn.Module):
    """A learned constant and a convolution, then two per level, the first one doubling; a style after each of them."""

    def __init__(self, shape: tuple[int, ...], widths: list[int], w_dim: int, h: int, w: int, tanh: bool):
        super().__init__()
        self.const = nn.Parameter(torch.ones(widths[0], h, w))
        plain = partial(EqualisedConv2d, kernel=3, bias=False)
        convs = [nn.Identity(), plain(widths[0], widths[0])]
        convs += [c for a, b in zip(widths, widths[1:]) for c in (UpConv(a, b), plain(b, b))]
        self.convs = nn.ModuleList(convs)
        self.sides = [(h << i // 2, w << i // 2) for i in range(len(convs))]
        self.styles = nn.ModuleList(Style(widths[i // 2], w_dim, side) for i, side in enumerate(self.sides))
        self.to_rgb = nn.ModuleList(EqualisedConv2d(c, shape[0], 1, gain=1) for c in widths)
        self.bound = nn.Tanh() if tanh else nn.Identity()

    def maps(self, noise: str | int) -> list[Tensor | None]:
        """Noise of each layer, the same for all images: "const" for the fixed maps, "none" for zeros, or a seed."""
        if noise == "const":
            return [style.get_buffer("fixed") for style in self.styles]
        if noise == "none":
            return [None] * len(self.styles)
        if isinstance(noise, int):
            with seeded(noise):
                return [torch.randn(fixed.shape).to(fixed) for fixed in self.maps("const")]
        raise ValueError(f'noise is {noise!r}; give "const", "none" or a whole number, the seed of new maps')

    def forward(self, ws: Tensor, noise: list[Tensor | None], level: int, alpha: float) -> Tensor:
        """(N, 2 level + 2 or more, w_dim), and noise for each, to (N, C, h 2^level, w 2^level), faded in by alpha."""
        x = previous = self.const.expand(len(ws), -1, -1, -1)
        for i in range(2 * level + 2):
            previous = x if i == 2 * level else previous
            x = self.styles[i](self.convs[i](x), ws[:, i], noise[i])
        image = self.to_rgb[level](x)
        if alpha != 1:
            image = torch.lerp(double(self.to_rgb[level - 1](previous)), image, alpha)
        return self.bound(image)


def noise_map(n: int, size: tuple[int, int]) -> Tensor:
    """(n, 1, H, W) from N(0, 1), for maps of a (height, width)."""
    return torch.randn(n, 1, *size)


class Generator(nn.Module):
    """The mapping and synthesis networks, and the running mean of w."""

    w_mean: Tensor

    def __init__(self, mapping: Mapping, synthesis: Synthesis, w_dim: int):
        super().__init__()
        self.mapping, self.synthesis = mapping, synthesis
        self.register_buffer("w_mean", torch.zeros(w_dim))

    def forward(
        self, z: Tensor, other: Tensor, cut: Tensor, noise: list[Tensor | None], level: int, alpha: float,
        label: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """(N, z_dim) latents, z before layer `cut` (N,) and `other` from it on, to images; see `Synthesis`."""
        is_before = torch.arange(2 * level + 2, device=cut.device) < cut[:, None]
        ws = torch.where(is_before[:, :, None], self.mapping(z, label)[:, None], self.mapping(other, label)[:, None])
        return self.synthesis(ws, noise, level, alpha)


class Discriminator(nn.Module):
    """PGGAN's, with a blur before each halving: two convolutions per level, then minibatch standard deviation."""

    def __init__(self, shape: tuple[int, ...], widths: list[int], h: int, w: int, group: int, classes: int):
        super().__init__()
        act = nn.LeakyReLU(0.2)
        self.from_rgb = nn.ModuleList(nn.Sequential(EqualisedConv2d(shape[0], c, 1), act) for c in widths)
        self.blocks = nn.ModuleList(
            nn.Sequential(EqualisedConv2d(b, b, 3), act, DownConv(b, a), act) for a, b in zip(widths, widths[1:])
        )
        top = widths[0]
        self.head = nn.Sequential(
            MinibatchStddev(group), EqualisedConv2d(top + 1, top, 3), act, nn.Flatten(),
            EqualisedLinear(top * h * w, top), act, EqualisedLinear(top, max(1, classes), gain=1),
        )  # fmt: skip

    def forward(self, image: Tensor, level: int, alpha: float, label: Tensor | None = None) -> Tensor:
        """(N, C, h 2^level, w 2^level), and (N,) labels if there are classes, to (N,) logits."""
        x = self.from_rgb[level](image)
        for i in reversed(range(level)):
            x = self.blocks[i](x)
            if i + 1 == level and alpha < 1:
                x = torch.lerp(self.from_rgb[i](F.avg_pool2d(image, 2)), x, alpha)
        logits = self.head(x)
        return logits.squeeze(1) if label is None else logits.gather(1, label[:, None]).squeeze(1)


class StyleGAN(Recipe):
    """Progressively grown, style-based GAN for images whose sides are 4, 5, 6 or 7 times a power of two.

    Args:
        z_dim: length of the latent z, which is normalized to a sphere.
        w_dim: length of the latent w, from which styles are computed.
        mapping_layers: layers of the mapping network.
        channel_base: a map of side s = 4, 8, 16 ... has channel_base / s channels.
        channel_max: maximum channels of a map.
        start: side of the images at which training starts.
        hold: images for which each level is trained after its fade; the last level is trained until the end.
        fade: images over which the next level is faded in.
        batches: batch size from a side upwards, as "8:256 16:128"; below the first side, the setting `batch`.
        lrs: learning rates of Adam from a side upwards, in the same format; below the first side, `lr`.
        lr: learning rate of Adam.
        mixing: share of the steps with style mixing, from 0 to 1.
        gamma: weight of R1 / 2.
        group: images over which D computes the standard deviation.
        w_beta: decay of the running mean of w per step.
        conditional: use labels if the data has them.
        tanh: end G in a tanh. The paper's G is linear, and takes long to draw a ground of pure black or white.
    """

    level: Tensor
    alpha: Tensor
    label_shares: Tensor

    labels, ema, defaults = "optional", ("g",), dict(batch=32, images=25_000_000, ema=10_000)
    nearest = staticmethod(nearest_size)
    trunc_layers = 8  # section 4.2 and the authors' code: 4x4 to 32x32
    presets = {
        "paper": Preset(
            "the paper's network and schedule for FFHQ at 1024 px",
            model=dict(batches="8:256 16:128 32:64 64:32"),
            settings=dict(resolution="1024", mirror=True),
            spec=Spec((3, 1024, 1024)),
            parameters=dict(g=26_219_627, d=23_087_249),
        ),
        "paper-256": Preset(
            "the paper's network and schedule for LSUN bedrooms and cats at 256 px",
            model=dict(batches="8:256 16:128 32:64 64:32"),
            settings=dict(resolution="256", images=70_000_000),
            spec=Spec((3, 256, 256)),
            parameters=dict(g=26_086_229, d=23_052_353),
        ),
        "paper-1gpu": Preset(
            "the authors' schedule for 1024 px on one GPU",
            model=dict(batches="8:128 32:64 64:32 128:16 256:8 512:4"),
            settings=dict(resolution="1024", mirror=True),
            spec=Spec((3, 1024, 1024)),
            parameters=dict(g=26_219_627, d=23_087_249),
        ),
        "cpu": Preset(
            "for images of 28 to 64 px on one CPU core: tanh at G's end, ten times the rate of small, weak R1, no "
            "style mixing; one check, on Fashion-MNIST at 28 px: Frechet distance 92 after 45 CPU s, 168 with small",
            model=dict(
                z_dim=32, w_dim=32, mapping_layers=4, channel_base=192, channel_max=48, tanh=True, hold=12_000,
                fade=6_000, lr=2e-2, mixing=0.0, gamma=0.3,
            ),
            settings=dict(batch=16, images=80_000, ema=5_000),
        ),
        "small": Preset(
            "digits at 16 px on two CPU cores, growing 8 -> 16",
            model=dict(
                z_dim=32, w_dim=32, mapping_layers=4, channel_base=384, channel_max=48, hold=6_000, fade=3_000,
                lr=2e-3, gamma=1.0,
            ),
            settings=dict(batch=16, images=70_000, ema=5_000),
        ),
    }  # fmt: skip

    def __init__(
        self,
        spec: Spec,
        *,
        z_dim: int = 512,
        w_dim: int = 512,
        mapping_layers: int = 8,
        channel_base: int = 16384,
        channel_max: int = 512,
        start: int = 8,
        hold: Images = Images(600_000),
        fade: Images = Images(600_000),
        batches: str = "",
        lrs: str = "128:.0015 256:.002 512:.003",
        lr: float = 1e-3,
        mixing: float = 0.9,
        gamma: float = 10.0,
        group: int = 4,
        w_beta: float = 0.995,
        conditional: bool = False,
        tanh: bool = False,
    ):
        super().__init__(spec if conditional else replace(spec, num_classes=0))
        if hold < 1 or fade < 0:
            raise ValueError(f"hold is {hold} and fade is {fade} images; hold must be at least 1 and fade at least 0")
        if not 0 <= mixing <= 1:
            raise ValueError(f"mixing is {mixing}; it is the share of steps with style mixing and must be from 0 to 1")
        self.last, self.z_dim, self.hold, self.fade = stages(spec.height, spec.width), z_dim, hold, fade
        self.h, self.w = spec.height >> self.last, spec.width >> self.last
        self.first = next((i for i in range(self.last) if min(self.h, self.w) << i >= start), self.last)
        self.batches, self.lrs, self.lr = by_side(batches), by_side(lrs), lr
        self.mixing, self.gamma, self.w_beta, self.num_ws = mixing, gamma, w_beta, 2 * self.last + 2
        widths = [max(1, min(channel_base // (4 << i), channel_max)) for i in range(self.last + 1)]
        mapping = Mapping(z_dim, w_dim, mapping_layers, self.spec.num_classes)
        self.g = Generator(mapping, Synthesis(spec.shape, widths, w_dim, self.h, self.w, tanh), w_dim)
        self.d = Discriminator(spec.shape, widths, self.h, self.w, group, self.spec.num_classes)
        self.register_buffer("level", torch.tensor(self.first))  # level of the last step, for samples
        self.register_buffer("alpha", torch.tensor(1.0))
        if self.spec.num_classes:
            self.register_buffer("label_shares", torch.zeros(self.spec.num_classes))
        self.opt = {name: adam(net.parameters(), lr, (0, 0.99)) for name, net in (("g", self.g), ("d", self.d))}

    @property
    def w_mean(self) -> Tensor:
        """(w_dim,) the running mean of w."""
        return self.g.w_mean

    def noise(self, n: int) -> Tensor:
        """(n, z_dim) latents from N(0, 1)."""
        return torch.randn(n, self.z_dim)

    def mapping(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(N, z_dim) latents, and (N,) labels if trained with labels, to (N, num_ws, w_dim), equal for all layers."""
        return self.g.mapping(z, label)[:, None].repeat(1, self.num_ws, 1)

    def synthesis(self, ws: Tensor, noise: str | int = "const") -> Tensor:
        """(N, num_ws, w_dim) to (N, C, H, W) images in [-1, 1], from the current level, enlarged to full size.

        Args:
            ws: the latent w of each layer.
            noise: "const" for the model's fixed maps, "none" for zeros, or the seed of new maps.
        """
        image = self.g.synthesis(ws, self.g.synthesis.maps(noise), int(self.level), float(self.alpha))
        return F.interpolate(image, self.spec.shape[1:], mode="nearest").clamp(-1, 1)

    def sample(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(N, z_dim) latents, and (N,) labels if trained with labels, to (N, C, H, W) images in [-1, 1]."""
        return self.synthesis(self.mapping(z, label))

    def grown(self, images: int) -> tuple[int, float]:
        """The level after this many images, and alpha, which rises from 0 to 1 as the level is faded in."""
        return grown(images, self.hold, self.fade, self.first, self.last)

    def phase(self, images: int) -> Phase:
        level, alpha = self.grown(images)
        side = min(self.h, self.w) << level
        batch = at_side(self.batches, side)
        return Phase(2 * level - (alpha < 1), side, None if batch is None else int(batch))

    def enter(self, index: int, batch: Batch) -> None:
        for opt in self.opt.values():
            opt.state.clear()

    def step(self, batch: Batch, run: Run) -> None:
        level, alpha = self.grown(run.images)
        self.level.fill_(level), self.alpha.fill_(alpha)
        if self.spec.num_classes:
            see_labels(self.label_shares, batch, run)
        for opt in self.opt.values():
            opt.param_groups[0]["lr"] = at_side(self.lrs, min(self.h, self.w) << level) or self.lr
        run.update("d", partial(self.d_loss, level=level, alpha=alpha), batch)
        run.update("g", partial(self.g_loss, level=level, alpha=alpha), batch)
        self.move_w_mean(batch)

    @torch.no_grad()
    def move_w_mean(self, batch: Batch) -> None:
        """Update the running mean of w from as many latents as the whole batch has images, the same in each process."""
        with seeded(batch.seed, batch.start, 0):
            z, uniform = self.noise(batch.size), torch.rand(batch.size)
        label = data_labels(self.label_shares, uniform) if self.spec.num_classes else None
        mean = self.g.mapping(z.to(self.w_mean), label).mean(0)
        self.w_mean.lerp_(mean, 1 - self.w_beta)

    def crossover(self, n: int, layers: int) -> Tensor:
        """The layer from which the second latent is used, the same for all (n,) images; `layers` for no mixing."""
        is_mixed, cut = torch.rand(()) < self.mixing, torch.randint(1, layers, ())
        return torch.where(is_mixed, cut, layers).expand(n)

    def fakes(self, batch: Batch, level: int, alpha: float, label: Tensor | None = None) -> Tensor:
        """One image per real of the batch, of these classes, with style mixing and new noise for each layer."""
        z, other = batch.draw(self.noise), batch.draw(self.noise)
        cut = batch.draw(partial(self.crossover, layers=2 * level + 2))
        sides = self.g.synthesis.sides[: 2 * level + 2]
        noise = [batch.draw(partial(noise_map, size=size)) for size in sides]
        return self.g(z, other, cut, noise, level, alpha, label)

    def real_label(self, batch: Batch) -> Tensor | None:
        """The batch's labels; None for a model without labels."""
        return batch.label if self.spec.num_classes else None

    def d_loss(self, batch: Batch, level: int, alpha: float) -> tuple[Tensor, dict[str, Tensor]]:
        images, logits = faded(batch.real, alpha), []

        def critic(x: Tensor) -> Tensor:  # keeps the logits, which the penalty computes anyway
            logits.append(self.d(batch.augment(x), level, alpha, self.real_label(batch)))
            return logits[-1]

        penalty = r1(critic, images)
        fake = critic(self.fakes(batch, level, alpha, self.real_label(batch)))
        progress = torch.tensor(level - 1 + alpha)  # logged: 1.25 is level 2, faded in by a quarter
        loss = non_saturating.d(logits[0], fake) + self.gamma / 2 * penalty
        return loss, {"level": progress, "penalty": penalty, **scores(logits[0], fake)}

    def g_loss(self, batch: Batch, level: int, alpha: float) -> tuple[Tensor, dict[str, Tensor]]:
        label = data_labels(self.label_shares, batch.draw(torch.rand)) if self.spec.num_classes else None
        images = batch.augment(self.fakes(batch, level, alpha, label))
        return non_saturating.g(self.d(images, level, alpha, label)), {}
