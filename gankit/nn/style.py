"""Style as statistics of maps: a frozen encoder in VGG's manner, adaptive instance normalisation, colours matched in closed form."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

Layer = tuple[Tensor, Tensor]  # weight (out, in, k, k) and bias (out,) of a convolution

SMALL = Path(__file__).with_name("style_encoder.safetensors")  # which scripts/make_style_encoder.py made
EPS = 1e-5  # added to a variance before its root


class FrozenEncoder:
    """A fixed stack of convolutions, (N, 3, H, W) images in [-1, 1] to its taps; no nn.Module, so that no checkpoint holds it.

    In VGG's manner: 3x3 convolutions, each with a ReLU, and a 2x2 max pool, rounded up, wherever the maps grow wider. Padding
    is by reflection, as style transfer wants it. The taps are the first ReLU of each width: relu1_1, relu2_1 and so on. A 1x1
    convolution may stand first, without a ReLU: it takes colours to what the rest was trained on.

    Args:
        layers: the convolutions.
        gain, shift: (3,) each, what images in [-1, 1] are multiplied by and what is then added.
    """

    def __init__(self, layers: list[Layer], gain: Tensor, shift: Tensor):
        self.layers, self.gain, self.shift = layers, gain.view(3, 1, 1), shift.view(3, 1, 1)
        self.placed: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(in, out) channels of each 3x3 convolution, the first one first."""
        return [(w.shape[1], w.shape[0]) for w, _ in self.layers if w.shape[-1] == 3]

    def numel(self) -> int:
        """How many numbers it holds."""
        return sum(w.numel() + b.numel() for w, b in self.layers)

    def __call__(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) images to the maps of each tap, of 1, 1/2, 1/4 ... of the height and width."""
        return [maps for maps, (before, width) in zip(self.each(images), self.shapes) if width > before]

    def each(self, images: Tensor) -> list[Tensor]:
        """The maps after each ReLU."""
        gain, shift, *flat = self._at(images)
        x, found = images * gain + shift, []
        for weight, bias in zip(flat[::2], flat[1::2]):
            if weight.shape[-1] == 1:
                x = F.conv2d(x, weight, bias)
                continue
            if found and weight.shape[0] > weight.shape[1]:
                x = F.max_pool2d(x, 2, ceil_mode=True)
            x = F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), weight, bias).relu()
            found.append(x)
        return found

    def _at(self, images: Tensor) -> list[Tensor]:
        """All tensors where the images are and as they are; moved there once."""
        key = images.device, images.dtype
        if key not in self.placed:
            tensors = [self.gain, self.shift, *(t for layer in self.layers for t in layer)]
            self.placed[key] = [t.to(*key) for t in tensors]
        return self.placed[key]


def layers_of(held: dict[str, Tensor], taps: int) -> list[Layer]:
    """The convolutions of a stack's weights, named by numbers that rise, up to the one that grows wider the `taps`-th time."""
    layers: list[Layer] = []
    for key in sorted(
        (k for k in held if k.endswith(".weight") and held[k].ndim == 4), key=lambda k: int(k.split(".")[-2])
    ):
        layers.append((held[key].float(), held[key.replace("weight", "bias")].float()))
        if sum(w.shape[0] > w.shape[1] for w, _ in layers) == taps:
            break
    return layers


def moments(maps: Tensor, share: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(N, C, H, W) maps to the mean and deviation of each channel of each image, (N, C, 1, 1), in float32 at least.

    The variance is the biased one, over H W, plus EPS, as in the paper's definition; ports differ in it.

    Args:
        share: (N, 1, H, W) weights of the places, 0 or more; all alike without it.
    """
    maps = maps.float() if maps.dtype in (torch.bfloat16, torch.float16) else maps
    share = torch.ones_like(maps[:1, :1]) if share is None else share
    share = share / share.sum((2, 3), keepdim=True).clamp_min(EPS)
    mean = (maps * share).sum((2, 3), keepdim=True)
    return mean, (((maps - mean).square() * share).sum((2, 3), keepdim=True) + EPS).sqrt()


def adain(maps: Tensor, mean: Tensor, deviation: Tensor, share: Tensor | None = None) -> Tensor:
    """Adaptive instance normalisation: (N, C, H, W) maps with their own mean and deviation taken out and these put in.

    Args:
        mean, deviation: (N or 1, C, 1, 1), as `moments` gives them.
        share: (N, 1, H, W) weights of the places that the maps' own moments are taken over.
    """
    own_mean, own_deviation = moments(maps, share)
    return (maps - own_mean) / own_deviation * deviation + mean


def match_colours(images: Tensor, target: Tensor) -> Tensor:
    """(N, C, H, W) images whose colours are moved to the mean and covariance of those of `target`, one for each or one for all.

    In closed form: x -> S_t^(1/2) S_x^(-1/2) (x - m_x) + m_t, with the symmetric roots. Colours that an image does not have,
    as a grey one, are not invented. It may leave [-1, 1].
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
    """(N, C, C) covariances to a power; directions in which there is nothing stay as they are."""
    values, vectors = torch.linalg.eigh(covariance)
    there = values > 1e-7 * values.amax(-1, keepdim=True).clamp_min(1e-7)
    powers = torch.where(there, values.clamp_min(1e-14) ** exponent, 0)
    return vectors @ (powers[..., None] * vectors.mT)
