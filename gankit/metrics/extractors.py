"""Feature extractors: frozen networks from images to features, each identified by a fingerprint.

Scores compare only under the same extractor. So each has a fingerprint of its name, layer, preprocessing, weights and
code, and none replaces another. Only `inception`, with the published weights and TensorFlow 1's resize, gives what
papers call FID, KID and IS.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from gankit.metrics import digits_classifier, inception, vgg
from gankit.metrics.backbones import IMAGENET, Backbone, load_dinov2, load_timm
from gankit.text import did_you_mean
from gankit.weights import sha256

CODE = "1"  # increase it when this code gives other features for the same weights
RESIZES: dict[str, Callable[[Tensor, int], Tensor]] = {
    "tf1_bilinear": inception.tf1_bilinear,
    "bicubic": inception.bicubic,
    "bilinear": lambda levels, side: interpolate(levels, (side, side), mode="bilinear", antialias=True),
}
NAMES = ("digits", "inception", "inception-clean", "vgg16")
USERS = {"timm:": "timm:NAME", "dinov2:": "dinov2:NAME"}


@dataclass(frozen=True)
class Preprocess:
    """From images to the input of a network: 8-bit levels, three channels, one size, (level - mean) / std.

    Args:
        size: the side that images of any shape are resized to; None keeps their size.
        resize: a key of RESIZES.
        mean, std: of levels of 0 to 255, one for all channels or one for each.
    """

    size: int | None = None
    resize: str = "bicubic"
    mean: tuple[float, ...] = (127.5,)
    std: tuple[float, ...] = (127.5,)

    def __call__(self, images: Tensor, device: torch.device, dtype: torch.dtype, rounded: bool = True) -> Tensor:
        levels = quantise(images) if rounded else (images.to(dtype) + 1) * 127.5
        levels = levels.to(device, dtype).expand(-1, 3, -1, -1)
        if self.size and levels.shape[2:] != (self.size, self.size):
            levels = RESIZES[self.resize](levels, self.size)
        mean, std = (torch.tensor(value, dtype=dtype, device=device).view(-1, 1, 1) for value in (self.mean, self.std))
        return (levels - mean) / std


@dataclass(frozen=True)
class Extractor:
    """(N, C, H, W) images in [-1, 1], C 1 or 3, to (N, dim) features. Not an nn.Module: no checkpoint contains it.

    Images are rounded to 8 bits first, as files are. Features are returned on the CPU.

    Args:
        name: such as "inception"; scores are called `fd_NAME` unless the extractor is `official`.
        layer: the layer whose output is returned as features.
        dim: number of features.
        fingerprint: sha256 of name, layer, preprocessing, weights and code: scores compare only if it is equal.
        official: whether this is the network of FID, KID and IS in papers.
        net: the network, frozen, in eval mode.
        classifies: whether the network also gives class logits.
        prepare: (images, device, dtype, whether to round to 8 bits) to the input of the network.
        forward: (net, input) to features and logits, or None if the network does not classify.
        batch: images at a time.
    """

    name: str
    layer: str
    dim: int
    fingerprint: str
    official: bool
    classifies: bool
    net: nn.Module
    prepare: Callable[[Tensor, torch.device, torch.dtype, bool], Tensor]
    forward: Callable[[nn.Module, Tensor], tuple[Tensor, Tensor | None]]
    batch: int = 32
    device: torch.device = torch.device("cpu")
    dtype: torch.dtype = torch.float32

    def __repr__(self) -> str:
        return f"Extractor({self.name}, layer {self.layer}, {self.dim} features, {self.fingerprint[:12]})"

    def __call__(self, images: Tensor) -> Tensor:
        """(N, C, H, W) images in [-1, 1] to (N, dim) features, in `dtype`, on the CPU.

        Raises:
            ValueError: the images are not (N, C, H, W) floats in [-1, 1], or the network does not give (N, dim).
        """
        return self.outputs(images)[0]

    def classes(self, images: Tensor) -> Tensor | None:
        """(N, C, H, W) images in [-1, 1] to (N, K) float64 probabilities; None if the network does not classify."""
        return self.outputs(images)[1]

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features and classes from one pass: for FID and IS of the same samples."""
        parts = [self._forward(part, rounded=True) for part in _checked(images).split(self.batch)]
        features = torch.cat([values.cpu() for values, _ in parts])
        if not self.classifies:
            return features, None
        return features, torch.cat([y.cpu().double().softmax(1) for _, y in parts if y is not None])

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """(N,) mean squared differences, on the CPU, of the features of two sets of (N, C, H, W) images.

        It measures small steps along a path, which rounding would hide: the images are not rounded. This is not LPIPS.
        """
        if a.shape != b.shape:
            raise ValueError(f"images are {tuple(a.shape)} and {tuple(b.shape)}; give two alike")
        pairs = zip(_checked(a).split(self.batch), _checked(b).split(self.batch))
        parts = [[self._forward(part, rounded=False)[0].cpu() for part in pair] for pair in pairs]
        return torch.cat([(f - g).square().mean(1) for f, g in parts])

    def about(self) -> dict[str, str | int | bool]:
        """The description of the features for records of scores."""
        names = ("name", "layer", "dim", "official", "fingerprint")
        return {name: getattr(self, name) for name in names} | {"dtype": str(self.dtype).removeprefix("torch.")}

    @torch.no_grad()
    def _forward(self, images: Tensor, rounded: bool) -> tuple[Tensor, Tensor | None]:
        with _full_precision(self.device):
            features, logits = self.forward(self.net, self.prepare(images, self.device, self.dtype, rounded))
        if features.shape != (expected := (len(images), self.dim)):
            raise ValueError(
                f"{self.name} gave {tuple(features.shape)} features for {len(images)} images; expected {expected}"
            )
        return features, logits

    def to(self, device: str | torch.device, dtype: torch.dtype = torch.float32) -> Extractor:
        """A copy on this device, in float32 or, for checks, float64."""
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype is {dtype}; features are float32 or float64, as narrower types change the scores")
        net = copy.deepcopy(self.net).to(device, dtype)
        return replace(self, net=net, device=torch.device(device), dtype=dtype)


def quantise(images: Tensor) -> Tensor:
    """Images in [-1, 1] to levels, whole numbers from 0 to 255 in float32, as a PNG holds them."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255)


def extractor(name: str, layer: str | None = None, dtype: torch.dtype = torch.float32) -> Extractor:
    """The extractor of this name: `digits`, `inception`, `inception-clean`, `vgg16`, `timm:NAME` or `dinov2:NAME`.

    digits: 64 features and 10 classes of the classifier in this package; only for 8 x 8 digits.
    inception: the network of FID, KID and IS: 2048 features, 1008 classes; 96 MB of weights, downloaded once.
    inception-clean: the same network after an antialiased bicubic resize (clean-fid).
    vgg16: 4096 features, fc2 after its ReLU, and ImageNet's 1000 classes; whole images at 224 by antialiased bilinear
        resize; 553 MB of weights, downloaded once. PyTorch's weights, which differ from the TensorFlow ones of the
        published precision and recall.
    timm:NAME: any pooled backbone of the installed timm, with its own preprocessing, from the weights that timm has on
        this machine; nothing is downloaded.
    dinov2:NAME: vits14, vitb14, vitl14 or vitg14, from what torch.hub has on this machine; nothing is downloaded.

    Args:
        layer: of the Inceptions, `64`, `192`, `768` or `2048`; None for the last, the official one.
        dtype: of the network; float64 for checks.

    Raises:
        ValueError: an unknown name or layer, a missing package, or weights that are not the published ones.
        OSError: the weights are missing and cannot be downloaded; NotAsked for timm and dinov2 inside of
            `weights.not_asked`.
    """
    if layer is not None and (
        name not in ("inception", "inception-clean") or layer not in ("64", "192", "768", "2048")
    ):
        raise ValueError(
            f"{name} has no choice of layer {layer!r}; inception and inception-clean have 64, 192, 768, 2048"
        )
    made = _named(name, layer)
    return made if dtype == made.dtype else made.to(made.device, dtype)


def _named(name: str, layer: str | None) -> Extractor:
    if name == "digits":
        return _digits()
    if name in ("inception", "inception-clean"):
        return _inception(name, layer or "2048")
    if name == "vgg16":
        mean, std = (tuple(255 * value for value in values) for values in IMAGENET)
        prepare = Preprocess(vgg.SIDE, "bilinear", mean, std)
        return _made(name, "fc2_relu", vgg.DIM, vgg.load(), prepare, _both, vgg.WEIGHTS.sha256, True)
    check_name(name)
    return _own(name, load_timm(name) if name.startswith("timm:") else load_dinov2(name))


def check_name(name: str) -> None:
    """Check the name of an extractor without loading it.

    Raises:
        ValueError: there is no such extractor; lists all and suggests a similar name.
    """
    if name in NAMES or name.startswith(tuple(USERS)):
        return
    hint = did_you_mean(name, [*NAMES, *USERS.values()], 1)
    raise ValueError(
        f"no extractor is called {name!r}; there are {', '.join([*NAMES, *USERS.values()])}; {hint}".removesuffix("; ")
    )


def from_module(
    net: nn.Module,
    name: str,
    size: int | None = None,
    mean: float | Sequence[float] = 0.5,
    std: float | Sequence[float] = 0.5,
    resize: str = "bicubic",
    dim: int | None = None,
) -> Extractor:
    """A feature extractor from your own network, (N, 3, H, W) to (N, d), which is copied in eval mode.

    Args:
        name: scores are called `fd_NAME`. It identifies the code of `net`: the fingerprint covers the name, the modules
            and the weights, not what `forward` does with them.
        size: the side of its images; None keeps the size of the images.
        mean, std: of images in [0, 1]; 0.5 and 0.5 give [-1, 1].
        resize: "bicubic" or "bilinear", antialiased, or "tf1_bilinear".
        dim: number of features; None finds it with a black image of `size`, or 64.

    Raises:
        ValueError: an unknown resize, a taken name, or features that are not (N, d).
    """
    if resize not in RESIZES:
        raise ValueError(f"resize is {resize!r}; choose one of {', '.join(RESIZES)}")
    if name in NAMES or name.startswith(tuple(USERS)):
        raise ValueError(f"{name!r} is the name of one of gankit's extractors; call yours something else")
    return _own(name, Backbone(net, size, resize, mean, std), dim)


def _own(name: str, backbone: Backbone, dim: int | None = None) -> Extractor:
    """An extractor from a network of the user, identified by its modules and weights."""
    net = copy.deepcopy(backbone.net).float().cpu().requires_grad_(False).eval()
    prepare = Preprocess(backbone.size, backbone.resize, _levels(backbone.mean), _levels(backbone.std))
    if dim is None:
        side = prepare.size or 64
        try:
            with torch.no_grad():
                dim = net(torch.zeros(1, 3, side, side)).shape[1]
        except (RuntimeError, ValueError, IndexError, AttributeError) as error:
            raise ValueError(f"{name} does not take (1, 3, {side}, {side}): {error}. Give size=, or dim=") from error
    return _made(name, "output", dim, net, prepare, _features, _digest(net))


def _made(
    name: str,
    layer: str,
    dim: int,
    net: nn.Module,
    prepare: Preprocess,
    forward: Callable[[nn.Module, Tensor], tuple[Tensor, Tensor | None]],
    weights: str,
    classifies: bool = False,
) -> Extractor:
    official = (name, layer, weights) == ("inception", "2048", OFFICIAL)
    fingerprint = _fingerprint(name, layer, repr(prepare), weights)
    return Extractor(name, layer, dim, fingerprint, official, classifies, net, prepare, forward)


OFFICIAL = inception.WEIGHTS.sha256


def _fingerprint(name: str, layer: str, prepare: str, weights: str) -> str:
    return hashlib.sha256(json.dumps([name, layer, prepare, weights, CODE]).encode()).hexdigest()


def _digest(net: nn.Module) -> str:
    """sha256 of the structure of a module, and of the names, types, shapes and values of its weights."""
    digest = hashlib.sha256(repr(net).encode())
    for name, value in sorted(net.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _digits() -> Extractor:
    net = digits_classifier.network()
    net.load_state_dict(load_file(digits_classifier.WEIGHTS))
    fingerprint = _fingerprint("digits", "hidden", "digits.pixels", sha256(digits_classifier.WEIGHTS))
    net = net.requires_grad_(False).eval()
    return Extractor("digits", "hidden", 64, fingerprint, False, True, net, _pixels, _hidden, batch=1000)


def _pixels(images: Tensor, device: torch.device, dtype: torch.dtype, rounded: bool = True) -> Tensor:
    if rounded:
        return digits_classifier.pixels(images).to(device, dtype)
    return adaptive_avg_pool2d(images.to(device, dtype).mean(1, keepdim=True), 8)


def _hidden(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor | None]:
    layers = cast(nn.Sequential, net)
    hidden = layers[:-2](x)
    return hidden, layers[-2:](hidden)


def _inception(name: str, layer: str) -> Extractor:
    resize = "tf1_bilinear" if name == "inception" else "bicubic"
    prepare = Preprocess(inception.SIDE, resize, (128.0,), (128.0,))
    forward = partial(_tap, layer=layer)
    dim, weights = inception.DIMS[layer], inception.WEIGHTS.sha256
    return _made(name, layer, dim, inception.load(), prepare, forward, weights, layer == "2048")


def _tap(net: nn.Module, x: Tensor, layer: str) -> tuple[Tensor, Tensor | None]:
    outputs = net(x, (layer, "logits_unbiased") if layer == "2048" else (layer,))
    return outputs[layer], outputs.get("logits_unbiased")


def _both(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor | None]:
    return net(x)


def _features(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor | None]:
    return net(x), None


def _levels(values: float | Iterable[float]) -> tuple[float, ...]:
    return tuple(255.0 * float(value) for value in ([values] if isinstance(values, (int, float)) else values))


def _checked(images: Tensor) -> Tensor:
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images) or not images.is_floating_point():
        raise ValueError(
            f"images are {images.dtype} {tuple(images.shape)}; give (N, C, H, W) floats in [-1, 1], C 1 or 3"
        )
    low, high = (float(value) for value in images.detach().aminmax())
    if not -float("inf") < low <= high < float("inf"):
        raise ValueError("images hold values that are not finite; check the generator before its scores")
    if low >= 0 and high > 2:
        raise ValueError(f"images reach from {low:g} to {high:g}, like levels of 0 to 255; give images in [-1, 1]")
    return images.detach()


def _full_precision(device: torch.device) -> ExitStack:
    """No autocast and no TF32: both change the scores."""
    stack = ExitStack()
    stack.enter_context(torch.autocast(device.type, enabled=False))
    if device.type == "cuda":
        cudnn = torch.backends.cudnn
        stack.enter_context(cudnn.flags(enabled=cudnn.enabled, deterministic=True, allow_tf32=False))
    return stack
