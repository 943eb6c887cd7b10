"""stylegan. Tero Karras, Samuli Laine, Timo Aila, "A Style-Based Generator Architecture for Generative Adversarial
Networks", CVPR 2019. https://arxiv.org/abs/1812.04948

G does not begin with the latent. A mapping network turns z into w, and w says at each layer with which deviation and mean
every channel goes on (the style), after instance norm took its own away. The first map is a learned constant. Each layer
has noise of its own added, a map of random numbers times a learned weight for each channel, which draws what is by
chance: hair, freckles. In training two w are used for one image, one for the layers before a random crossover and one
from there on (mixing), so that layers learn to be told apart. Maps are blurred after doubling and before halving.

All else is PGGAN's: both nets grow from 8x8 px by blocks that are faded in, reals are faded likewise, weights are scaled
at use, D sees how much its batch varies, and Adam forgets its moments whenever a fade begins or ends. The loss is the
non-saturating one with R1 at each step, by the faded real. `w_mean` is the running mean of w, for truncation, which the
paper does for display alone and in the first eight layers. With `conditional`, a class's vector is put beside z before
both are normalised, and D has an output for each class, as in the authors' code.

`sample` draws at the level of now with fixed maps of noise, so that a latent is one picture.

The file is long because it holds networks that grow, and what grows with them: noise, batch, learning rate and reals.

Deviations: the running mean of w moves once a step, by latents drawn for it; in the authors' code whenever G is trained
or trains D. The fade moves at each step, in their code at each fourth. In G's turn fakes' labels are drawn by the classes'
shares of the images seen so far, in their code they are those of random images. For CelebA-HQ the paper has WGAN-GP's loss;
here it is R1 for all. Bias and leaky ReLU come after halving, as in the authors' code for both papers. Left out: the rows of
table 1 with the traditional generator, a random input in place of the constant, and no noise.
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
    faded,
    grown,
    nearest_size,
    stages,
)  # fmt: skip
from gankit.penalties import r1
from gankit.recipe import Batch, Images, Phase, Preset, Recipe, Run, Spec, adam, data_labels, see_labels, seeded


def shifted(weight: Tensor) -> Tensor:
    """(..., 3, 3) to (..., 4, 4): the mean of the kernel's four shifts by 0 or 1, so it with halving, as one kernel."""
    return F.avg_pool2d(F.pad(weight, (1, 1, 1, 1)), 2, 1)


class UpConv(nn.Module):
    """Each pixel four times, 3x3 convolution, blur; the first two as one transposed convolution, exactly."""

    def __init__(self, a: int, b: int):
        super().__init__()
        self.conv, self.blur = EqualisedConv2d(a, b, 3, bias=False), Fir((1, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, a, H, W) to (N, b, 2H, 2W)."""
        kernel = 4 * shifted(self.conv.scaled()[0]).flip(2, 3).transpose(0, 1)
        return self.blur(F.conv_transpose2d(x, kernel, stride=2, padding=1))


class DownConv(nn.Module):
    """Blur, 3x3 convolution, mean of 2x2 pixels, bias; the second and third as one convolution, exactly."""

    def __init__(self, a: int, b: int):
        super().__init__()
        self.blur, self.conv = Fir((1, 2, 1)), EqualisedConv2d(a, b, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, a, H, W) to (N, b, H/2, W/2)."""
        weight, bias = self.conv.scaled()
        return F.conv2d(self.blur(x), shifted(weight), bias, stride=2, padding=1)


class Mapping(nn.Module):
    """z, beside it a class's vector, on a sphere; layers that learn at a hundredth of the rate."""

    def __init__(self, z_dim: int, w_dim: int, layers: int, classes: int):
        super().__init__()
        self.embed = nn.Embedding(classes, z_dim) if classes else None
        dims = [z_dim * (2 if classes else 1), *[w_dim] * layers]
        steps = [(EqualisedLinear(a, b, lr_mul=0.01), nn.LeakyReLU(0.2)) for a, b in zip(dims, dims[1:])]
        self.layers = nn.Sequential(PixelNorm(), *[layer for step in steps for layer in step])

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(N, z_dim), and (N,) labels where it has classes, to (N, w_dim)."""
        return self.layers(z if self.embed is None else torch.cat([z, self.embed(label)], 1))


class Style(nn.Module):
    """What follows each convolution of G: noise, bias, leaky ReLU, instance norm, and w's deviation and mean (AdaIN)."""

    def __init__(self, channels: int, w_dim: int, sides: tuple[int, int]):
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))
        self.affine = EqualisedLinear(w_dim, 2 * channels, gain=1)
        self.register_buffer("fixed", torch.randn(1, 1, *sides))  # noise for samples

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        """(N, C, H, W), (N, w_dim) and noise (N or 1, 1, H, W), or None for zeros, to (N, C, H, W)."""
        x = x + self.bias if noise is None else x + (noise * self.strength + self.bias)
        x = F.group_norm(F.leaky_relu(x, 0.2), x.shape[1], eps=1e-8)
        deviation, mean = self.affine(w)[:, :, None, None].chunk(2, 1)
        return x * (deviation + 1) + mean


class Synthesis(nn.Module):
    """The constant and a convolution, then for each level two more, the first doubling; a style after each, and at first."""

    def __init__(self, shape: tuple[int, ...], widths: list[int], w_dim: int, h: int, w: int):
        super().__init__()
        self.const = nn.Parameter(torch.ones(widths[0], h, w))
        plain = partial(EqualisedConv2d, kernel=3, bias=False)
        convs = [nn.Identity(), plain(widths[0], widths[0])]
        convs += [c for a, b in zip(widths, widths[1:]) for c in (UpConv(a, b), plain(b, b))]
        self.convs = nn.ModuleList(convs)
        self.sides = [(h << i // 2, w << i // 2) for i in range(len(convs))]
        self.styles = nn.ModuleList(Style(widths[i // 2], w_dim, side) for i, side in enumerate(self.sides))
        self.to_rgb = nn.ModuleList(EqualisedConv2d(c, shape[0], 1, gain=1) for c in widths)

    def maps(self, noise: str | int) -> list[Tensor | None]:
        """The noise of each layer for a whole batch: "const" the fixed maps, "none" zeros, a number maps of that seed."""
        if noise == "const":
            return [style.fixed for style in self.styles]
        if noise == "none":
            return [None] * len(self.styles)
        if isinstance(noise, int):
            with seeded(noise):
                return [torch.randn(style.fixed.shape).to(style.fixed) for style in self.styles]
        raise ValueError(f'noise is {noise!r}; give "const", "none" or a whole number, the seed of fresh maps')

    def forward(self, ws: Tensor, noise: list[Tensor | None], level: int, alpha: float) -> Tensor:
        """(N, 2 level + 2 or more, w_dim) and noise for these layers to (N, C, h 2^level, w 2^level), faded in by alpha."""
        x = before = self.const.expand(len(ws), -1, -1, -1)
        for i in range(2 * level + 2):
            before = x if i == 2 * level else before
            x = self.styles[i](self.convs[i](x), ws[:, i], noise[i])
        image = self.to_rgb[level](x)
        return image if alpha == 1 else torch.lerp(double(self.to_rgb[level - 1](before)), image, alpha)


class Generator(nn.Module):
    """Mapping, synthesis, and the running mean of w."""

    def __init__(self, mapping: Mapping, synthesis: Synthesis, w_dim: int):
        super().__init__()
        self.mapping, self.synthesis = mapping, synthesis
        self.register_buffer("w_mean", torch.zeros(w_dim))

    def forward(
        self, z: Tensor, other: Tensor, cut: Tensor, noise: list[Tensor | None], level: int, alpha: float,
        label: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """(N, z_dim) latents for the layers before cut (N,), others from there on, to images as of `Synthesis`."""
        first = torch.arange(2 * level + 2, device=cut.device) < cut[:, None]
        ws = torch.where(first[:, :, None], self.mapping(z, label)[:, None], self.mapping(other, label)[:, None])
        return self.synthesis(ws, noise, level, alpha)


class Discriminator(nn.Module):
    """PGGAN's, with a blur before each halving: two convolutions for each level; sees its batch's deviation at the end."""

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
        """(N, C, h 2^level, w 2^level), and (N,) labels where it has classes, to (N,) logits."""
        x = self.from_rgb[level](image)
        for i in reversed(range(level)):
            x = self.blocks[i](x)
            if i + 1 == level and alpha < 1:
                x = torch.lerp(self.from_rgb[i](F.avg_pool2d(image, 2)), x, alpha)
        logits = self.head(x)
        return logits.squeeze(1) if label is None else logits.gather(1, label[:, None]).squeeze(1)


class StyleGAN(Recipe):
    """Style-based generator that grows, for images whose sides are 4, 5, 6 or 7 times a power of two.

    Args:
        z_dim: length of the latent z, which is put on a sphere.
        w_dim: length of the latent w, from which styles are read.
        mapping_layers: layers from z to w.
        channel_base: a map of side s = 4, 8, 16 ... has channel_base / s channels.
        channel_max: channels of a map at most.
        start: side from which on it grows.
        hold: images on which each level is learnt; the last one is until the end.
        fade: images over which the next level is faded in.
        batches: images in a step from a side on, "8:256 16:128 32:64 64:32"; below the first the settings' batch.
        lrs: Adam's learning rates from a side on, likewise; below the first `lr`.
        lr: Adam's learning rate.
        mixing: share of the steps in which two latents are mixed.
        gamma: weight of R1, which is multiplied by half of it.
        group: images over which D takes the deviation.
        w_beta: what the running mean of w keeps of itself at each step.
        conditional: use labels, where the data has them.
    """

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
            "the paper's network and schedule for LSUN's bedrooms and cats at 256 px",
            model=dict(batches="8:256 16:128 32:64 64:32"),
            settings=dict(resolution="256", images=70_000_000),
            spec=Spec((3, 256, 256)),
            parameters=dict(g=26_086_229, d=23_052_353),
        ),
        "paper-1gpu": Preset(
            "the schedule of the authors' code for 1024 px on one GPU",
            model=dict(batches="8:128 32:64 64:32 128:16 256:8 512:4"),
            settings=dict(resolution="1024", mirror=True),
            spec=Spec((3, 1024, 1024)),
            parameters=dict(g=26_219_627, d=23_087_249),
        ),
        "small": Preset(
            "digits at 16 px on two CPU cores, 8 -> 16",
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
    ):
        super().__init__(spec if conditional else replace(spec, num_classes=0))
        if hold < 1 or fade < 0:
            raise ValueError(f"hold is {hold} and fade {fade} images; a level needs 1 and 0 at least")
        if not 0 <= mixing <= 1:
            raise ValueError(f"mixing is {mixing}; it is how often styles are mixed, from 0 to 1")
        self.last, self.z_dim, self.hold, self.fade = stages(spec.height, spec.width), z_dim, hold, fade
        self.h, self.w = spec.height >> self.last, spec.width >> self.last
        self.first = next((i for i in range(self.last) if min(self.h, self.w) << i >= start), self.last)
        self.batches, self.lrs, self.lr = by_side(batches), by_side(lrs), lr
        self.mixing, self.gamma, self.w_beta, self.num_ws = mixing, gamma, w_beta, 2 * self.last + 2
        widths = [max(1, min(channel_base // (4 << i), channel_max)) for i in range(self.last + 1)]
        mapping = Mapping(z_dim, w_dim, mapping_layers, self.spec.num_classes)
        self.g = Generator(mapping, Synthesis(spec.shape, widths, w_dim, self.h, self.w), w_dim)
        self.d = Discriminator(spec.shape, widths, self.h, self.w, group, self.spec.num_classes)
        self.register_buffer("level", torch.tensor(self.first))  # of the last step, for samples
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
        """(N, z_dim) latents, and (N,) labels where it learnt from some, to (N, num_ws, w_dim), alike for all layers."""
        return self.g.mapping(z, label)[:, None].repeat(1, self.num_ws, 1)

    def synthesis(self, ws: Tensor, noise: str | int = "const") -> Tensor:
        """(N, num_ws, w_dim) to (N, C, H, W) images in [-1, 1], of the level of now, enlarged to the full side.

        Args:
            ws: the latent w of each layer.
            noise: "const" for the model's own fixed maps, "none" for zeros, or the seed of fresh ones.
        """
        image = self.g.synthesis(ws, self.g.synthesis.maps(noise), int(self.level), float(self.alpha))
        return F.interpolate(image, self.spec.shape[1:], mode="nearest").clamp(-1, 1)

    def sample(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(N, z_dim) latents, and (N,) labels where it learnt from some, to (N, C, H, W) images in [-1, 1]."""
        return self.synthesis(self.mapping(z, label))

    def grown(self, images: int) -> tuple[int, float]:
        """The level, and how far it is faded in: 1 once it is. Each level but the first begins with its fade."""
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
        """As many latents as the whole batch has rows, the same in each process, move the running mean of w."""
        with seeded(batch.seed, batch.start, 0):
            z, places = self.noise(batch.size), torch.rand(batch.size)
        label = data_labels(self.label_shares, places) if self.spec.num_classes else None
        mean = self.g.mapping(z.to(self.w_mean), label).mean(0)
        self.w_mean.lerp_(mean, 1 - self.w_beta)

    def crossover(self, n: int, layers: int) -> Tensor:
        """(n,) times one number: the layer from which on the second latent is used, `layers` for none."""
        mixed, cut = torch.rand(()) < self.mixing, torch.randint(1, layers, ())
        return torch.where(mixed, cut, layers).expand(n)

    def fakes(self, batch: Batch, level: int, alpha: float, label: Tensor | None = None) -> Tensor:
        """As many images as the batch has reals, of these classes: two latents, a crossover, a map for each layer."""
        z, other = batch.draw(self.noise), batch.draw(self.noise)
        cut = batch.draw(partial(self.crossover, layers=2 * level + 2))
        sides = self.g.synthesis.sides[: 2 * level + 2]
        noise = [batch.draw(lambda n, side=side: torch.randn(n, 1, *side)) for side in sides]
        return self.g(z, other, cut, noise, level, alpha, label)

    def given(self, batch: Batch) -> Tensor | None:
        """The batch's labels, for a model that uses them."""
        return batch.label if self.spec.num_classes else None

    def d_loss(self, batch: Batch, level: int, alpha: float) -> tuple[Tensor, dict[str, Tensor]]:
        images, logits = faded(batch.real, alpha), []

        def critic(x: Tensor) -> Tensor:  # keeps what the penalty computes anyway
            logits.append(self.d(batch.augment(x), level, alpha, self.given(batch)))
            return logits[-1]

        penalty = r1(critic, images)
        fake = critic(self.fakes(batch, level, alpha, self.given(batch)))
        reached = torch.tensor(level - 1 + alpha)  # for the log: 1.25 is level 2, faded in by a quarter
        loss = non_saturating.d(logits[0], fake) + self.gamma / 2 * penalty
        return loss, {"level": reached, "penalty": penalty, **scores(logits[0], fake)}

    def g_loss(self, batch: Batch, level: int, alpha: float) -> tuple[Tensor, dict[str, Tensor]]:
        label = data_labels(self.label_shares, batch.draw(torch.rand)) if self.spec.num_classes else None
        images = batch.augment(self.fakes(batch, level, alpha, label))
        return non_saturating.g(self.d(images, level, alpha, label)), {}
