"""Style as statistics of feature maps: a frozen VGG-like encoder, AdaIN, and colour matching."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit.nn.precision import widened

Layer = tuple[Tensor, Tensor]  # weight (out, in, k, k) and bias (out,) of a convolution

SMALL = Path(__file__).with_name("style_encoder.safetensors")  # made by scripts/make_style_encoder.py
EPS = 1e-5  # added to a variance before its root


class FrozenEncoder:
    """A VGG-like stack of fixed convolutions, (N, 3, H, W) images in [-1, 1] to the maps of its taps.

    3x3 convolutions with ReLU and reflection padding, and a 2x2 max pool, rounded up, before each increase in channels.
    The taps are the first ReLU of each width: relu1_1, relu2_1 and so on. The first convolution may be 1x1 without a
    ReLU; it maps colours to the range that the network was trained on. The encoder is not an nn.Module, which keeps its
    weights out of checkpoints.

    Args:
        layers: the convolutions.
        gain, shift: (3,) each; images in [-1, 1] are multiplied by gain, then shift is added.
    """

    def __init__(self, layers: list[Layer], gain: Tensor, shift: Tensor):
        self.layers, self.gain, self.shift = layers, gain.view(3, 1, 1), shift.view(3, 1, 1)
        self.placed: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(in, out) channels of each 3x3 convolution, in order."""
        return [(w.shape[1], w.shape[0]) for w, _ in self.layers if w.shape[-1] == 3]

    def numel(self) -> int:
        """The number of weights and biases."""
        return sum(w.numel() + b.numel() for w, b in self.layers)

    def __call__(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) images to the maps of each tap, at 1, 1/2, 1/4 ... of the height and width."""
        return [maps for maps, (before, width) in zip(self.each(images), self.shapes) if width > before]

    def each(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) images to the maps after each ReLU."""
        gain, shift, *flat = self._at(images)
        x, maps = images * gain + shift, list[Tensor]()
        for weight, bias in zip(flat[::2], flat[1::2]):
            if weight.shape[-1] == 1:
                x = F.conv2d(x, weight, bias)
                continue
            if maps and weight.shape[0] > weight.shape[1]:
                x = F.max_pool2d(x, 2, ceil_mode=True)
            x = F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), weight, bias).relu()
            maps.append(x)
        return maps

    def _at(self, images: Tensor) -> list[Tensor]:
        """All tensors with the device and dtype of the images, converted once."""
        key = images.device, images.dtype
        if key not in self.placed:
            tensors = [self.gain, self.shift, *(t for layer in self.layers for t in layer)]
            self.placed[key] = [t.to(*key) for t in tensors]
        return self.placed[key]


def convolutions_of(weights: dict[str, Tensor], taps: int) -> list[Layer]:
    """The convolutions of an nn.Sequential's state dict, up to the `taps`-th one that increases the channels."""
    layers: list[Layer] = []
    keys = [key for key in weights if key.endswith(".weight") and weights[key].ndim == 4]
    for key in sorted(keys, key=lambda key: int(key.split(".")[-2])):
        layers.append((weights[key].float(), weights[key.replace("weight", "bias")].float()))
        if sum(w.shape[0] > w.shape[1] for w, _ in layers) == taps:
            break
    return layers


def moments(maps: Tensor, share: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(N, C, H, W) maps to the mean and deviation of each channel of each image, (N, C, 1, 1), in float32 or wider.

    The variance is biased, over H W, plus EPS, as the paper defines it; some ports use the unbiased one.

    Args:
        maps: the maps.
        share: (N, 1, H, W) weights of the positions, 0 or more; None: equal weights.
    """
    maps = widened(maps)
    share = torch.ones_like(maps[:1, :1]) if share is None else share
    share = share / share.sum((2, 3), keepdim=True).clamp_min(EPS)
    mean = (maps * share).sum((2, 3), keepdim=True)
    return mean, (((maps - mean).square() * share).sum((2, 3), keepdim=True) + EPS).sqrt()


def adain(maps: Tensor, mean: Tensor, deviation: Tensor, share: Tensor | None = None) -> Tensor:
    """Adaptive instance normalisation: replace the mean and deviation of each channel of (N, C, H, W) maps.

    Args:
        maps: the maps.
        mean, deviation: (N or 1, C, 1, 1), as returned by `moments`.
        share: (N, 1, H, W) weights of the positions in the maps' own moments; None: equal weights.
    """
    own_mean, own_deviation = moments(maps, share)
    return (maps - own_mean) / own_deviation * deviation + mean


def match_colours(images: Tensor, target: Tensor) -> Tensor:
    """(N, C, H, W) images whose colours get the mean and covariance of `target`, (N or 1, C, h, w).

    In closed form: x -> S_t^(1/2) S_x^(-1/2) (x - m_x) + m_t, with the symmetric roots. Directions without
    variance remain without variance: a grey image stays grey. The result may leave [-1, 1].
    """
    (mean, covariance), (to_mean, to_covariance) = colour_moments(images), colour_moments(target)
    matrix = _power(to_covariance, 0.5) @ _power(covariance, -0.5)
    moved = matrix @ (images.to(matrix).flatten(2) - mean) + to_mean
    return moved.view(len(moved), *images.shape[1:]).to(images)


def colour_moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """(N, C, H, W) images to the mean (N, C, 1) and covariance (N, C, C) of their pixels, float64 on the CPU."""
    pixels = images.cpu().double().flatten(2)
    mean = pixels.mean(2, keepdim=True)
    return mean, (pixels - mean) @ (pixels - mean).mT / pixels.shape[2]


def _power(covariance: Tensor, exponent: float) -> Tensor:
    """(N, C, C) covariances to a power; eigenvalues of 0 stay 0."""
    values, vectors = torch.linalg.eigh(covariance)
    is_positive = values > 1e-7 * values.amax(-1, keepdim=True).clamp_min(1e-7)
    powers = torch.where(is_positive, values.clamp_min(1e-14) ** exponent, 0)
    return vectors @ (powers[..., None] * vectors.mT)
