"""LPIPS: perceptual distance between images (Zhang et al., "The Unreasonable Effectiveness of Deep Features as a
Perceptual Metric", CVPR 2018, https://arxiv.org/abs/1801.03924), version 0.1 with VGG16, as in StyleGAN's path length.

    d(a, b) = sum over 5 layers of the mean over positions of  w . (f(a) / |f(a)| - f(b) / |f(b)|)^2

f is a VGG16 feature map, |.| its norm over channels, w >= 0 the published linear head of the layer (BSD-2-Clause).
gankit ships no heads: they are read from the installed torchmetrics or lpips package, without importing it. The variant
with AlexNet, which gives other values, is not implemented.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from gankit.metrics import vgg
from gankit.weights import sha256, tensors

HEADS = {"torchmetrics": "functional/image/lpips_models/vgg.pth", "lpips": "weights/v0.1/vgg.pth"}  # package -> file
HEADS_SHA256 = "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of images in [-1, 1]: ImageNet's, as published
EPS = 1e-10  # added to the norms, as published


@dataclass(frozen=True)
class Lpips:
    """The networks of `lpips`. Not an nn.Module, so that no checkpoint contains it.

    Args:
        trunk: the convolutions of VGG16, frozen.
        heads: five (C,) weights of the channels of its feature maps.
    """

    trunk: nn.Sequential
    heads: tuple[Tensor, ...]

    def to(self, device: str | torch.device, dtype: torch.dtype = torch.float32) -> Lpips:
        """A copy for images on this device; float64 for checks."""
        with torch.device("meta"):
            trunk = vgg.VGG16().features
        state = {name: value.to(device, dtype) for name, value in self.trunk.state_dict().items()}
        trunk.load_state_dict(state, assign=True)
        heads = tuple(head.to(device, dtype) for head in self.heads)
        return replace(self, trunk=trunk.requires_grad_(False).eval(), heads=heads)

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """(N, 3, H, W) and (N, 3, H, W) in [-1, 1] to (N,)."""
        shift, scale = (a.new_tensor(value).to(self.heads[0]).view(3, 1, 1) for value in (SHIFT, SCALE))
        total = torch.zeros(len(a)).to(self.heads[0])
        pairs = zip(*(vgg.maps(self.trunk, (x.to(shift) - shift) / scale) for x in (a, b)))
        for head, (f, g) in zip(self.heads, pairs, strict=True):
            f, g = (x / (x.norm(dim=1, keepdim=True) + EPS) for x in (f, g))
            total = total + torch.einsum("nchw,c->nhw", (f - g).square(), head).mean((1, 2))
        return total


def lpips(a: Tensor, b: Tensor, net: Lpips | None = None, batch: int = 16) -> Tensor:
    """(N,) LPIPS between two sets of (N, C, H, W) images in [-1, 1]: 0 for identical images.

    Images are neither resized nor rounded to 8 bits, which would hide the small steps of the path length. Grey images
    are repeated to three channels. Gradients flow to both. It runs on the device of `net`, by default the CPU.

    Args:
        net: the networks, such as `load().to("cuda")`; None for the published ones, loaded once.
        batch: images at once; with gradients all stay in memory.

    Raises:
        ValueError: shapes differ, a side is below 16, images are not finite or far outside [-1, 1]; or the weights are
            not the published ones, or no package has the heads.
        OSError: the weights of VGG16 are missing and cannot be downloaded.
    """
    if a.shape != b.shape or a.ndim != 4 or a.shape[1] not in (1, 3) or min(a.shape[2:]) < 16 or not len(a):
        raise ValueError(
            f"images are {tuple(a.shape)} and {tuple(b.shape)}; give two (N, C, H, W) alike, C 1 or 3, H and W >= 16"
        )
    for x in (a, b):
        if not x.is_floating_point() or not x.isfinite().all() or x.abs().max() > 10:
            raise ValueError(
                "images are not finite floats about [-1, 1]; give floats in [-1, 1], not levels of 0 to 255"
            )
    net = net or _published()
    a, b = (x.expand(-1, 3, -1, -1) for x in (a, b))
    return torch.cat([net(x, y) for x, y in zip(a.split(batch), b.split(batch))])


def load() -> Lpips:
    """The published networks: VGG16 by `weights.fetch`, the heads from an installed package.

    Raises:
        ValueError: a file is not the published one, or no package has the heads.
        OSError: the weights of VGG16 are missing and cannot be downloaded.
    """
    heads = tensors(heads_file())
    return Lpips(vgg.load().features, tuple(heads[f"lin{i}.model.1.weight"].flatten() for i in range(len(vgg.TAPS))))


@cache
def _published() -> Lpips:
    return load()


def heads_file() -> Path:
    """The file of the published heads in an installed package, checked by its sha256.

    Raises:
        ValueError: no package has them.
    """
    found = []
    for package, inside in HEADS.items():
        spec = find_spec(package)  # finds a top-level package without running its code
        for folder in (spec and spec.submodule_search_locations) or ():
            path = Path(folder) / inside
            if path.is_file() and sha256(path) == HEADS_SHA256:
                return path
            found.append(str(path))
    looked = "; not the published ones: " + ", ".join(found) if found else ""
    raise ValueError(
        f"LPIPS needs its linear heads, sha256 {HEADS_SHA256}, from an installed package{looked}. "
        "pip install torchmetrics, or pip install --no-deps lpips"
    )
