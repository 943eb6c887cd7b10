"""singan. Tamar Rott Shaham, Tali Dekel, Tomer Michaeli, "SinGAN: Learning a Generative Model from a Single Natural Image",
ICCV 2019. https://arxiv.org/abs/1905.01164

One image is all the data. A pyramid of small GANs learns it from coarse to fine: at each scale a fully convolutional G adds
what is missing to the picture from the scale below, enlarged, and a D of the same kind judges every patch of 11 pixels. Noise
goes in at each scale, so what is drawn has the image's patches in another arrangement, and any size and shape.

The file is long because the pyramid, the training of a scale and what can be drawn with all of them belong together.

Phase n trains scale n for `iterations` steps, each of which is three updates of D and three of G by WGAN-GP, whose penalty is
taken at each pixel, plus alpha times the squared error of the reconstruction: the one picture that fixed noise z* at the
coarsest scale, and none at the others, is to give back. What noise weighs at a scale is 0.1 times the reconstruction's error there.

Deviations:
- Resizing is bicubic with antialiasing as in the authors' code, which also rounds to 8 bits in between; this does not. An image
  that is larger than `most` is made smaller by Lanczos' filter, as all data are.
- Each update of G draws its picture anew: the authors' code goes three times through one graph, which PyTorch refuses now.
- z* is drawn once, as the paper has it; the authors' code draws it anew in each step of the first scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.nn import BatchNorm2d, init_normal
from gankit.penalties import wgan_gp_pixels
from gankit.recipe import Batch, Phase, Preset, Recipe, Run, Spec, adam

Size = tuple[int, int]
REACH = 5  # pixels that five 3x3 convolutions without padding take from each side


def resize(x: Tensor, size: Size) -> Tensor:
    """(N, C, H, W) in another size."""
    return x if x.shape[2:] == size else F.interpolate(x, size, mode="bicubic", antialias=True)


def pyramid(height: int, width: int, least: int, most: int, factor: float, scales: int = 0) -> list[Size]:
    """Sizes of the scales, coarsest first: its shorter side is `least`, the finest's longer side `most` at most.

    Their number follows from the image's own size, whatever it is made smaller to; `scales` says it where that is not known.

    Raises:
        ValueError: the image is too small, or an argument is out of range.
    """
    if not 2 * REACH < least <= most or not 0 < factor < 1 or scales < 0:
        raise ValueError(
            f"least is {least}, most {most}, factor {factor} and scales {scales}; least must be more than {2 * REACH} and not above most, "
            "factor within 0 and 1, and scales not below 0"
        )
    short, long = min(height, width), max(height, width)
    shrink = min(most / long, 1)
    h, w = (math.ceil(side * shrink - 1e-9) for side in (height, width))  # 250.00000000000003 pixels are 250
    if short < 2 * REACH + 1:
        raise ValueError(
            f"the image is {height}x{width} (height x width); a patch needs {2 * REACH + 1} pixels a side: take a larger one"
        )
    if min(h, w) < 2 * REACH + 1:
        raise ValueError(
            f"the image is {height}x{width} (height x width): with a longer side of {most} its shorter one has {min(h, w)} pixels, and a patch "
            f"needs {2 * REACH + 1}: crop it, or set --most {math.ceil((2 * REACH + 1) * long / short)}"
        )
    by_size = math.ceil(math.log(least / short, factor)) + 1 - math.ceil(math.log(shrink, factor))
    count = scales - 1 if scales else by_size
    if count < 1 or min(h, w) <= least:
        return [(h, w)]
    steps = [(least / min(h, w)) ** (1 - i / count) for i in range(count + 1)]
    return [(math.ceil(h * f - 1e-9), math.ceil(w * f - 1e-9)) for f in steps]


class Net(nn.Module):
    """Five 3x3 convolutions without padding: (N, C, H + 10, W + 10) to (N, outputs, H, W)."""

    def __init__(self, channels: int, width: int, outputs: int):
        super().__init__()
        layers: list[nn.Module] = []
        for c in (channels, width, width, width):
            layers += [nn.Conv2d(c, width, 3), BatchNorm2d(width), nn.LeakyReLU(0.2, inplace=True)]
        self.net = nn.Sequential(*layers, nn.Conv2d(width, outputs, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class SinGAN(Recipe):
    """A generator of one image's like, of any height and width from 11 pixels on.

    Args:
        least: shorter side of the coarsest scale.
        most: longer side of the finest scale; larger images are made smaller first.
        factor: from one scale to the next coarser one, about.
        scales: how many; 0 for as many as least, most and factor make of the image's own size.
        width: channels of the first four scales; they double every fourth, up to four times as many.
        iterations: steps for each scale.
        updates: of D, and then of G, in each step.
        rec_weight: alpha of the reconstruction; 100 for super-resolution in the paper.
        noise_weight: what the reconstruction's error is multiplied by to weigh noise.
        penalty_weight: lambda of the gradient penalty.
        pad_noise: noise beyond the borders in place of zeros, which animation needs.
        lr: Adam's learning rate; a tenth of it in the last fifth of a scale.
    """

    defaults = dict(batch=1, ema=0, data="photo:china:whole", images=0, log=100, preview=500, save=1000)
    presets = {
        "paper": Preset(
            "the paper's sizes and iterations, for an image of 250 px",
            spec=Spec((3, 250, 250)),
            parameters=dict(g=1_930_785, d=1_916_939),
        ),
        "superres": Preset("for super-resolution", model=dict(rec_weight=100.0, least=18, factor=0.5 ** (1 / 3))),
        "animation": Preset("for animation", model=dict(pad_noise=True)),
        "small": Preset(
            "128 px in minutes on two CPU cores: a fifth of the iterations at a higher learning rate, and a heavier reconstruction",
            model=dict(most=128, factor=0.7, iterations=400, rec_weight=30.0, lr=1e-3),
        ),
    }

    def __init__(
        self,
        spec: Spec,
        *,
        least: int = 25,
        most: int = 250,
        factor: float = 0.75,
        scales: int = 0,
        width: int = 32,
        iterations: int = 2000,
        updates: int = 3,
        rec_weight: float = 10.0,
        noise_weight: float = 0.1,
        penalty_weight: float = 0.1,
        pad_noise: bool = False,
        lr: float = 5e-4,
    ):
        super().__init__(spec)
        if iterations < 1 or updates < 1:
            raise ValueError(f"iterations and updates are {iterations} and {updates}; give 1 at least of each")
        self.sizes = pyramid(spec.height, spec.width, least, most, factor, scales)
        self.iterations, self.updates, self.rec_weight = iterations, updates, rec_weight
        self.noise_weight, self.penalty_weight, self.lr = noise_weight, penalty_weight, lr
        self.rim = REACH if pad_noise else 0
        widths = [min(width * 2 ** (i // 4), 4 * width) for i in range(len(self.sizes))]
        self.g = nn.ModuleList(Net(spec.channels, c, spec.channels) for c in widths)
        self.d = nn.ModuleList(Net(spec.channels, c, 1) for c in widths)
        init_normal(self)
        h, w = self.sizes[0]
        self.register_buffer("z_star", torch.zeros(1, 1, h + 2 * self.rim, w + 2 * self.rim))
        self.register_buffer("amplitudes", torch.zeros(len(self.sizes)))
        self.register_buffer("scale", torch.zeros((), dtype=torch.int64))  # the finest one that has begun to learn
        self.opt = {
            f"{name}{i}": adam(net.parameters(), lr, (0.5, 0.999))
            for name, nets in (("d", self.d), ("g", self.g)) for i, net in enumerate(nets)
        }  # fmt: skip

    @staticmethod
    def reduced(height: int, width: int, arguments: dict[str, object]) -> tuple[Size, dict[str, object]]:
        """The size that an image of this height and width is made first, and the arguments that keep its scales."""
        sizes = pyramid(height, width, *(arguments[name] for name in ("least", "most", "factor", "scales")))
        return sizes[-1], {"scales": len(sizes)}

    @property
    def length(self) -> int:
        """Images that a run takes."""
        return self.iterations * len(self.sizes)

    # Drawing ---------------------------------------------------------------------------------------------------------

    def maps(self, i: int, size: Size) -> tuple[int, int, int]:
        """(C, H, W) of the noise at scale i for a picture of this size there; one channel for all at the coarsest."""
        return (1 if i == 0 else self.spec.channels), size[0] + 2 * self.rim, size[1] + 2 * self.rim

    def noise(self, n: int) -> Tensor:
        """(n, D) noise for all scales, one after the other."""
        return torch.randn(n, sum(math.prod(self.maps(i, size)) for i, size in enumerate(self.sizes)))

    def sample(self, z: Tensor) -> Tensor:
        """(N, D) noise to (N, C, H, W) images in [-1, 1]."""
        shapes = [self.maps(i, size) for i, size in enumerate(self.sizes)]
        parts = [part.unflatten(1, shape) for part, shape in zip(z.split([math.prod(s) for s in shapes], 1), shapes)]
        return resize(self.draw(parts.__getitem__, self.sizes[: int(self.scale) + 1]), self.spec.shape[1:]).clamp(-1, 1)

    def draw(
        self, noise: Callable[[int], Tensor | None], sizes: Sequence[Size], start: int = 0, below: Tensor | None = None
    ) -> Tensor:
        """What scales `start` and up draw, (N, C, H, W), one for each size from `start` on.

        Args:
            noise: of a scale, as `maps` has its shape; None for none.
            sizes: of the scales from 0 on; all of them need not be used.
            start: the first scale that draws.
            below: the picture (N, C, H, W) that it gets from below; none at scale 0.
        """
        for i in range(start, len(sizes)):
            below = self.at(i, noise(i), below, sizes[i])
        return below

    def at(self, i: int, z: Tensor | None, below: Tensor | None, size: Size) -> Tensor:
        """What scale i draws, (N, C, H, W), from noise and from the picture of the scale below, which is resized."""
        n = len(z if below is None else below)
        below = self.amplitudes.new_zeros(n, self.spec.channels, *size) if below is None else resize(below, size)
        wide = F.pad(below, [REACH] * 4)
        if z is None:
            return self.g[i](wide).tanh() + below
        padded = F.pad(z, [REACH - self.rim] * 4)
        return self.g[i](self.amplitudes[i] * padded + wide).tanh() + below

    def rebuilt(self, upto: int, n: int = 1) -> Tensor:
        """(n, C, H, W) the reconstruction by scales 0 to `upto`, n times."""
        z = self.z_star.expand(n, -1, -1, -1)
        return self.draw(lambda i: z if i == 0 else None, self.sizes[: upto + 1])

    # Learning --------------------------------------------------------------------------------------------------------

    def phase(self, images: int) -> Phase:
        return Phase(min(images // self.iterations, len(self.sizes) - 1))

    @torch.no_grad()
    def enter(self, index: int, batch: Batch) -> None:
        """A scale begins from the one below, and noise weighs as much as that one leaves open."""
        self.scale.fill_(index)
        self.frozen(index)
        if index == 0:
            self.z_star.copy_(
                batch.draw(lambda n: torch.randn(n, *self.z_star.shape[1:])[:1].expand(n, -1, -1, -1))[:1]
            )
            self.amplitudes[0] = 1
            return
        for nets in (self.g, self.d):
            if nets[index].net[0].weight.shape == nets[index - 1].net[0].weight.shape:
                nets[index].load_state_dict(nets[index - 1].state_dict())
        real, below = resize(batch.real, self.sizes[index]), resize(self.rebuilt(index - 1), self.sizes[index])
        self.amplitudes[index] = self.noise_weight * (real - below).square().mean().sqrt()

    def frozen(self, index: int) -> None:
        """Scales below this one draw with the statistics that they ended with."""
        for net in self.g[:index]:
            net.eval()

    def step(self, batch: Batch, run: Run) -> None:
        i = run.phase.index
        self.frozen(i)
        late = run.images % self.iterations >= 0.8 * self.iterations
        for name in (f"d{i}", f"g{i}"):
            self.opt[name].param_groups[0]["lr"] = self.lr * (0.1 if late else 1)
        z = self.drawn(batch, i)
        for _ in range(self.updates):
            run.update(f"d{i}", lambda piece, z: self.d_loss(piece, z, i), batch, z)
        for _ in range(self.updates):
            run.update(f"g{i}", lambda piece, z: self.g_loss(piece, z, i), batch, z)

    def drawn(self, batch: Batch, i: int) -> Tensor:
        return batch.draw(lambda n: torch.randn(n, *self.maps(i, self.sizes[i])))

    def fake(self, batch: Batch, z: Tensor, i: int) -> Tensor:
        """Pictures of scale i: new noise below, `z` there."""
        below = self.draw(lambda k: self.drawn(batch, k), self.sizes[:i]) if i else None
        return self.at(i, z, below, self.sizes[i])

    def d_loss(self, batch: Batch, z: Tensor, i: int) -> tuple[Tensor, dict[str, Tensor]]:
        real, fake = resize(batch.real, self.sizes[i]), self.fake(batch, z, i)
        on_real, on_fake = (self.d[i](batch.augment(x)).mean() for x in (real, fake))
        penalty = wgan_gp_pixels(lambda x: self.d[i](batch.augment(x)), real, fake, batch.draw)
        loss = on_fake - on_real + self.penalty_weight * penalty
        return loss, {"real": on_real, "fake": on_fake, "penalty": penalty}

    def g_loss(self, batch: Batch, z: Tensor, i: int) -> tuple[Tensor, dict[str, Tensor]]:
        rec = (self.rebuilt(i, len(batch)) - resize(batch.real, self.sizes[i])).square().mean()
        return self.rec_weight * rec - self.d[i](batch.augment(self.fake(batch, z, i))).mean(), {"rec": rec.sqrt()}
