"""singan. Tamar Rott Shaham, Tali Dekel, Tomer Michaeli, "SinGAN: Learning a Generative Model from a Single Natural
Image", ICCV 2019. https://arxiv.org/abs/1905.01164

The data is one image. A pyramid of small GANs learns it from coarse to fine: at each scale a fully convolutional G
adds detail to the image from the scale below, enlarged, and a D of the same architecture classifies every patch of 11
pixels. Each scale gets noise, so samples contain the image's patches in new arrangements, at any size and aspect
ratio.

The file is long because the pyramid, the training of its scales and sampling from them belong together.

Phase n trains scale n for `iterations` steps. A step is three updates of D and three of G with WGAN-GP, whose penalty
is taken at each pixel, plus alpha times the squared error of the reconstruction. The reconstruction is the sample
from fixed noise z* at the coarsest scale and no noise at the others. The noise at a scale is scaled by 0.1 times the
root mean square error of the reconstruction there.

Deviations:
- Resizing is bicubic with antialiasing as in the authors' code, but without that code's rounding to 8 bits in
  between. An image larger than `most` is reduced with Lanczos' filter, like all data.
- Each update of G draws a new sample; the authors' code backpropagates three times through one graph, which current
  PyTorch refuses.
- z* is drawn once, as in the paper; the authors' code draws it in each step of the first scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.nn import BatchNorm2d, init_normal
from gankit.penalties import wgan_gp_pixels
from gankit.recipe import Batch, Phase, Preset, Recipe, Run, Spec, adam

Size = tuple[int, int]
REACH = 5  # pixels that five 3x3 convolutions without padding remove at each side


def resize(x: Tensor, size: Size) -> Tensor:
    """(N, C, H, W) images to another (height, width)."""
    return x if x.shape[2:] == size else F.interpolate(x, size, mode="bicubic", antialias=True)


def pyramid(height: int, width: int, least: int, most: int, factor: float, scales: int = 0) -> list[Size]:
    """(height, width) of each scale, coarsest first.

    The coarsest scale's shorter side is `least`, and the finest's longer side at most `most`. The number of scales
    follows from the size of the original image, before it is reduced to `most`; `scales` gives it if that is unknown.

    Raises:
        ValueError: the image is too small, or an argument is out of range.
    """
    patch = 2 * REACH + 1
    if not patch <= least <= most or not 0 < factor < 1 or scales < 0:
        raise ValueError(
            f"least is {least}, most {most}, factor {factor} and scales {scales}; least must be from {patch} to "
            "most, factor between 0 and 1, and scales at least 0"
        )
    short, long = min(height, width), max(height, width)
    shrink = min(most / long, 1)
    h, w = (math.ceil(side * shrink - 1e-9) for side in (height, width))  # 250.00000000000003 pixels are 250
    if short < patch:
        raise ValueError(
            f"the image is {height}x{width} (height x width); a patch needs {patch} pixels a side: take a larger image"
        )
    if min(h, w) < patch:
        raise ValueError(
            f"the image is {height}x{width} (height x width): with a longer side of {most}, its shorter side has "
            f"{min(h, w)} pixels, and a patch needs {patch}: crop it, or set --most {math.ceil(patch * long / short)}"
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
    """Generative model of a single image, for samples of any height and width of at least 11 pixels.

    Args:
        least: shorter side of the coarsest scale, in pixels.
        most: longer side of the finest scale, in pixels; larger images are reduced first.
        factor: approximate ratio of a scale's side to that of the next finer scale.
        scales: number of scales; 0 derives it from least, most, factor and the image's size.
        width: channels of the first four scales; they double every fourth scale, up to four times as many.
        iterations: steps per scale.
        updates: updates of D, and then of G, in each step.
        rec_weight: weight of the reconstruction (alpha); 100 for super-resolution in the paper.
        noise_weight: the noise at a scale is scaled by this times the error of the reconstruction.
        penalty_weight: weight of the gradient penalty (lambda).
        pad_noise: pad with noise instead of zeros beyond the borders, which animation needs.
        lr: learning rate of Adam; a tenth of it in the last fifth of a scale.
    """

    z_star: Tensor
    amplitudes: Tensor
    scale: Tensor

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
            "128 px in minutes on two CPU cores: a fifth of the iterations, higher learning rate and rec_weight",
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
            raise ValueError(f"iterations is {iterations} and updates is {updates}; both must be at least 1")
        self.sizes = pyramid(spec.height, spec.width, least, most, factor, scales)
        self.iterations, self.updates, self.rec_weight = iterations, updates, rec_weight
        self.length = iterations * len(self.sizes)
        self.noise_weight, self.penalty_weight, self.lr = noise_weight, penalty_weight, lr
        self.rim = REACH if pad_noise else 0
        widths = [min(width * 2 ** (i // 4), 4 * width) for i in range(len(self.sizes))]
        self.g = nn.ModuleList(Net(spec.channels, c, spec.channels) for c in widths)
        self.d = nn.ModuleList(Net(spec.channels, c, 1) for c in widths)
        init_normal(self)
        h, w = self.sizes[0]
        self.register_buffer("z_star", torch.zeros(1, 1, h + 2 * self.rim, w + 2 * self.rim))
        self.register_buffer("amplitudes", torch.zeros(len(self.sizes)))
        self.register_buffer("scale", torch.zeros((), dtype=torch.int64))  # the finest scale whose training has begun
        self.opt = {
            f"{name}{i}": adam(net.parameters(), lr, (0.5, 0.999))
            for name, networks in (("d", self.d), ("g", self.g)) for i, net in enumerate(networks)
        }  # fmt: skip

    @staticmethod
    def reduced(height: int, width: int, arguments: dict[str, object]) -> tuple[Size, dict[str, object]]:
        """The size to which an image of this height and width is reduced, and the arguments that keep its scales."""
        limits = tuple(arguments[name] for name in ("least", "most", "factor", "scales"))
        sizes = pyramid(height, width, *cast(tuple[int, int, float, int], limits))
        return sizes[-1], {"scales": len(sizes)}

    # Sampling --------------------------------------------------------------------------------------------------------

    def maps(self, i: int, size: Size) -> tuple[int, int, int]:
        """(C, H, W) of the noise at scale i for an image of this size; at the coarsest scale it has one channel."""
        return (1 if i == 0 else self.spec.channels), size[0] + 2 * self.rim, size[1] + 2 * self.rim

    def noise(self, n: int) -> Tensor:
        """(n, D) noise for all scales, flattened and concatenated."""
        return torch.randn(n, sum(math.prod(self.maps(i, size)) for i, size in enumerate(self.sizes)))

    def sample(self, z: Tensor) -> Tensor:
        """(N, D) noise to (N, C, H, W) images in [-1, 1]."""
        shapes = [self.maps(i, size) for i, size in enumerate(self.sizes)]
        parts = [part.unflatten(1, shape) for part, shape in zip(z.split([math.prod(s) for s in shapes], 1), shapes)]
        images = self.draw(parts.__getitem__, self.sizes[: int(self.scale) + 1])
        return resize(images, (self.spec.height, self.spec.width)).clamp(-1, 1)

    def draw(
        self, noise: Callable[[int], Tensor | None], sizes: Sequence[Size], start: int = 0, below: Tensor | None = None
    ) -> Tensor:
        """Generate (N, C, H, W) images by running scales `start` to the last of `sizes`.

        Args:
            noise: function from a scale to its noise, with the shape in `maps`, or to None for no noise.
            sizes: (height, width) of each scale from 0; their number decides the last scale.
            start: the first scale to run.
            below: (N, C, H, W) images of the scale below `start`; None at scale 0.
        """
        for i in range(start, len(sizes)):
            below = self.at(i, noise(i), below, sizes[i])
        return below

    def at(self, i: int, z: Tensor | None, below: Tensor | None, size: Size) -> Tensor:
        """(N, C, H, W) images of scale i from noise and from images of the scale below, which are resized."""
        n = len(z if below is None else below)
        below = self.amplitudes.new_zeros(n, self.spec.channels, *size) if below is None else resize(below, size)
        inputs = F.pad(below, [REACH] * 4)
        if z is not None:
            inputs = self.amplitudes[i] * F.pad(z, [REACH - self.rim] * 4) + inputs
        return self.g[i](inputs).tanh() + below

    def rebuilt(self, upto: int, n: int = 1) -> Tensor:
        """The reconstruction by scales 0 to `upto`, repeated to (n, C, H, W)."""
        z = self.z_star.expand(n, -1, -1, -1)
        return self.draw(lambda i: z if i == 0 else None, self.sizes[: upto + 1])

    # Training --------------------------------------------------------------------------------------------------------

    @classmethod
    def stretched(cls, arguments: dict[str, object], ratio: float) -> dict[str, object]:
        """The steps of each scale follow the length."""
        iterations = cast(int, arguments["iterations"])
        return super().stretched(arguments, ratio) | {"iterations": max(1, round(iterations * ratio))}

    def phase(self, images: int) -> Phase:
        return Phase(min(images // self.iterations, len(self.sizes) - 1))

    @torch.no_grad()
    def enter(self, index: int, batch: Batch) -> None:
        """Initialize a scale from the one below, and its noise amplitude from the error of the reconstruction."""
        self.scale.fill_(index)
        self.freeze_norms(index)
        if index == 0:
            shape = self.z_star.shape[1:]
            self.z_star.copy_(batch.draw(lambda n: torch.randn(n, *shape)[:1].expand(n, -1, -1, -1))[:1])
            self.amplitudes[0] = 1
            return
        for networks in (self.g, self.d):
            net, coarser = networks[index], networks[index - 1]
            if net.get_parameter("net.0.weight").shape == coarser.get_parameter("net.0.weight").shape:
                net.load_state_dict(coarser.state_dict())
        real, below = resize(batch.real, self.sizes[index]), resize(self.rebuilt(index - 1), self.sizes[index])
        self.amplitudes[index] = self.noise_weight * (real - below).square().mean().sqrt()

    def freeze_norms(self, index: int) -> None:
        """Let the generators below this scale use the batch norm statistics with which their training ended."""
        for net in self.g[:index]:
            net.eval()

    def step(self, batch: Batch, run: Run) -> None:
        i = run.phase.index
        self.freeze_norms(i)
        is_late = run.images % self.iterations >= 0.8 * self.iterations
        for name in (f"d{i}", f"g{i}"):
            self.opt[name].param_groups[0]["lr"] = self.lr * (0.1 if is_late else 1)
        z = self.scale_noise(batch, i)
        for _ in range(self.updates):
            run.update(f"d{i}", lambda piece, z: self.d_loss(piece, z, i), batch, z)
        for _ in range(self.updates):
            run.update(f"g{i}", lambda piece, z: self.g_loss(piece, z, i), batch, z)

    def scale_noise(self, batch: Batch, i: int) -> Tensor:
        """(N, C, H, W) noise for scale i."""
        return batch.draw(lambda n: torch.randn(n, *self.maps(i, self.sizes[i])))

    def fake(self, batch: Batch, z: Tensor, i: int) -> Tensor:
        """Samples of scale i, from `z` at that scale and new noise below."""
        below = self.draw(lambda k: self.scale_noise(batch, k), self.sizes[:i]) if i else None
        return self.at(i, z, below, self.sizes[i])

    def d_loss(self, batch: Batch, z: Tensor, i: int) -> tuple[Tensor, dict[str, Tensor]]:
        real, fake = resize(batch.real, self.sizes[i]), self.fake(batch, z, i)
        real_score, fake_score = (self.d[i](batch.augment(x)).mean() for x in (real, fake))
        penalty = wgan_gp_pixels(lambda x: self.d[i](batch.augment(x)), real, fake, batch.draw)
        loss = fake_score - real_score + self.penalty_weight * penalty
        return loss, {"real": real_score, "fake": fake_score, "penalty": penalty}

    def g_loss(self, batch: Batch, z: Tensor, i: int) -> tuple[Tensor, dict[str, Tensor]]:
        rec = (self.rebuilt(i, len(batch)) - resize(batch.real, self.sizes[i])).square().mean()
        return self.rec_weight * rec - self.d[i](batch.augment(self.fake(batch, z, i))).mean(), {"rec": rec.sqrt()}
