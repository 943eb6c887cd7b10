"""What looks at images for the metrics of features: frozen functions that know what they are, by a fingerprint.

Numbers of one extractor can be compared; numbers of two cannot, however alike they are called. So each extractor carries
a fingerprint of its name, layer, preprocessing, weights and code, and none ever stands in for another. Only `inception`,
with the published weights and TensorFlow 1's resize, gives what papers call FID, KID and IS.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import importlib
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from gankit.metrics import digits, inception, vgg
from gankit.weights import refuse_not_asked, sha256, tensors

CODE = "1"  # raise when this code begins to give other features for the same weights
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
RESIZES: dict[str, Callable[[Tensor, int], Tensor]] = {
    "tf1_bilinear": inception.tf1_bilinear,
    "bicubic": inception.bicubic,
    "bilinear": lambda levels, side: interpolate(levels, (side, side), mode="bilinear", antialias=True),
}
NAMES = ("digits", "inception", "inception-clean", "vgg16")
USERS = {"timm:": "timm:NAME", "dinov2:": "dinov2:NAME"}
DINOV2 = ("vits14", "vitb14", "vitl14", "vitg14")


@dataclass(frozen=True)
class Preprocess:
    """From images to what a network sees: 8-bit levels, three channels, one size, (level - mean) / std.

    Args:
        size: the side that images are resized to, whatever their shape; None leaves them.
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
    """(N, C, H, W) images in [-1, 1], C 1 or 3, to (N, dim) features. No nn.Module, so that it enters no checkpoint.

    Images are rounded to 8 bits first, as files are. Features come back on the CPU, whatever the device.

    Args:
        name: such as "inception"; scores are called after it, `fd_NAME`, unless it is `official`.
        layer: where in the network the features are.
        dim: how many features.
        fingerprint: sha256 of name, layer, preprocessing, weights and code: equal exactly when scores can be compared.
        official: whether this is what papers mean by FID, KID and IS.
        net: the network, frozen, in eval mode.
        classifies: whether `classes` are there: logits of a classifier that the features lead to.
        prepare: (images, device, dtype, whether to round to 8 bits) to what the network sees.
        see: (net, what it sees) to features and to logits, or None where the network names no classes.
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
    see: Callable[[nn.Module, Tensor], tuple[Tensor, Tensor | None]]
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
        """(N, C, H, W) images in [-1, 1] to (N, K) float64 probabilities; None if the network names no classes."""
        return self.outputs(images)[1]

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features and classes from one pass: for FID and IS of the same samples."""
        parts = [self._see(part, rounded=True) for part in _checked(images).split(self.batch)]
        features = torch.cat([seen.cpu() for seen, _ in parts])
        return features, torch.cat([y.cpu().double().softmax(1) for _, y in parts]) if self.classifies else None

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Mean squared difference of the features of (N, C, H, W) images and others, (N,) on the CPU; 0 is the same.

        For steps along a path, which rounding to 8 bits would drown: these images are not rounded. Never LPIPS.
        """
        if a.shape != b.shape:
            raise ValueError(f"images are {tuple(a.shape)} and {tuple(b.shape)}; give two alike")
        pairs = zip(_checked(a).split(self.batch), _checked(b).split(self.batch))
        parts = [[self._see(part, rounded=False)[0].cpu() for part in pair] for pair in pairs]
        return torch.cat([(f - g).square().mean(1) for f, g in parts])

    def about(self) -> dict[str, str | int | bool]:
        """What a record of scores says of the features."""
        names = ("name", "layer", "dim", "official", "fingerprint")
        return {name: getattr(self, name) for name in names} | {"dtype": str(self.dtype).removeprefix("torch.")}

    @torch.no_grad()
    def _see(self, images: Tensor, rounded: bool) -> tuple[Tensor, Tensor | None]:
        with _plain(self.device):
            seen, logits = self.see(self.net, self.prepare(images, self.device, self.dtype, rounded))
        if seen.shape != (expected := (len(images), self.dim)):
            raise ValueError(
                f"{self.name} gave {tuple(seen.shape)} features for {len(images)} images; expected {expected}"
            )
        return seen, logits

    def to(self, device: str | torch.device, dtype: torch.dtype = torch.float32) -> Extractor:
        """A copy that computes on this device; float64 for checks, and nothing narrower than float32."""
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype is {dtype}; features are float32 or float64, for narrower ones move the scores")
        net = copy.deepcopy(self.net).to(device, dtype)
        return replace(self, net=net, device=torch.device(device), dtype=dtype)


def quantise(images: Tensor) -> Tensor:
    """Images in [-1, 1] to levels, whole numbers of 0 to 255 in float32: what a PNG of them would hold."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255)


def extractor(name: str, layer: str | None = None, dtype: torch.dtype = torch.float32) -> Extractor:
    """The extractor of this name: `digits`, `inception`, `inception-clean`, `vgg16`, `timm:NAME` or `dinov2:NAME`.

    digits: 64 features and 10 classes of the classifier in this package; for 8 x 8 digits and nothing else.
    inception: what papers call FID, KID and IS: 2048 features, 1008 classes; 96 MB of weights, once.
    inception-clean: the same network after an antialiased bicubic resize (clean-fid).
    vgg16: 4096 features, fc2 after its ReLU, and ImageNet's 1000 classes; whole images at 224 by antialiased bilinear
        resize; 553 MB of weights, once. PyTorch's weights: near the TensorFlow ones of the published precision and
        recall, and not them.
    timm:NAME: any backbone of the timm that is installed, pooled, with its own mean, deviation, size and filter, from the weights
        that timm has on this machine; nothing is downloaded.
    dinov2:NAME: vits14, vitb14, vitl14 or vitg14, from what torch.hub has on this machine; nothing is downloaded.

    Args:
        layer: of the Inceptions, `64`, `192`, `768` or `2048`; None for the last, which alone is official.
        dtype: that the network computes in; float64 for checks.

    Raises:
        ValueError: an unknown name or layer, a missing package, or weights that are not the published ones.
        OSError: weights that are nowhere and cannot be downloaded; inside of `weights.not_asked`, a timm or dinov2 (NotAsked).
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
    return _timm(name) if name.startswith("timm:") else _dinov2(name)


def check_name(name: str) -> None:
    """Refuse a name that no extractor has; nothing is loaded.

    Raises:
        ValueError: says which there are, and what is near.
    """
    if name in NAMES or name.startswith(tuple(USERS)):
        return
    close = difflib.get_close_matches(name, [*NAMES, *USERS], 1)
    hint = f" Did you mean {USERS.get(close[0], close[0])}?" if close else ""
    raise ValueError(f"no extractor is called {name!r}; there are {', '.join([*NAMES, *USERS.values()])}.{hint}")


def from_module(
    net: nn.Module,
    name: str,
    size: int | None = None,
    mean: float | Sequence[float] = 0.5,
    std: float | Sequence[float] = 0.5,
    resize: str = "bicubic",
    dim: int | None = None,
) -> Extractor:
    """An extractor of your own network, (N, 3, H, W) to (N, d). It is copied, in eval mode: training it on changes nothing.

    Args:
        name: scores are called `fd_NAME`. It stands for the code of `net`: the fingerprint holds the name, the modules
            and the weights, not what `forward` does with them.
        size: the side it wants; None for the side that images have.
        mean, std: taken out of images in [0, 1]; 0.5 and 0.5 give [-1, 1].
        resize: "bicubic" or "bilinear", antialiased, or "tf1_bilinear".
        dim: how many features; None tries it on a black image of `size`, or 64.

    Raises:
        ValueError: an unknown resize, a taken name, or features that are not (N, d).
    """
    if resize not in RESIZES:
        raise ValueError(f"resize is {resize!r}; choose one of {', '.join(RESIZES)}")
    if name in NAMES or name.startswith(tuple(USERS)):
        raise ValueError(f"{name!r} is the name of one of gankit's extractors; call yours something else")
    return _own(net, name, Preprocess(size, resize, _levels(mean), _levels(std)), dim)


def _own(net: nn.Module, name: str, prepare: Preprocess, dim: int | None = None) -> Extractor:
    """Of a network whose weights gankit does not publish: it is what its modules and its weights are."""
    net = copy.deepcopy(net).float().cpu().requires_grad_(False).eval()
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
    see: Callable[[nn.Module, Tensor], tuple[Tensor, Tensor | None]],
    weights: str,
    classifies: bool = False,
) -> Extractor:
    official = (name, layer, weights) == ("inception", "2048", OFFICIAL)
    fingerprint = _fingerprint(name, layer, repr(prepare), weights)
    return Extractor(name, layer, dim, fingerprint, official, classifies, net, prepare, see)


OFFICIAL = inception.WEIGHTS.sha256


def _fingerprint(name: str, layer: str, prepare: str, weights: str) -> str:
    return hashlib.sha256(json.dumps([name, layer, prepare, weights, CODE]).encode()).hexdigest()


def _digest(net: nn.Module) -> str:
    """sha256 of what a module is made of, and of the names, types, shapes and values of its weights."""
    digest = hashlib.sha256(repr(net).encode())
    for name, value in sorted(net.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _digits() -> Extractor:
    net = digits.network()
    net.load_state_dict(load_file(digits.WEIGHTS))
    fingerprint = _fingerprint("digits", "hidden", "digits.pixels", sha256(digits.WEIGHTS))
    net = net.requires_grad_(False).eval()
    return Extractor("digits", "hidden", 64, fingerprint, False, True, net, _pixels, _hidden, batch=1000)


def _pixels(images: Tensor, device: torch.device, dtype: torch.dtype, rounded: bool = True) -> Tensor:
    if rounded:
        return digits.pixels(images).to(device, dtype)
    return adaptive_avg_pool2d(images.to(device, dtype).mean(1, keepdim=True), 8)


def _hidden(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor | None]:
    hidden = net[:-2](x)
    return hidden, net[-2:](hidden)


def _inception(name: str, layer: str) -> Extractor:
    resize = "tf1_bilinear" if name == "inception" else "bicubic"
    prepare = Preprocess(inception.SIDE, resize, (128.0,), (128.0,))
    see = partial(_tap, layer=layer)
    dim, weights = inception.DIMS[layer], inception.WEIGHTS.sha256
    return _made(name, layer, dim, inception.load(), prepare, see, weights, layer == "2048")


def _tap(net: nn.Module, x: Tensor, layer: str) -> tuple[Tensor, Tensor | None]:
    found = net(x, (layer, "logits_unbiased") if layer == "2048" else (layer,))
    return found[layer], found.get("logits_unbiased")


def _both(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor | None]:
    return net(x)


def _features(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor | None]:
    return net(x), None


def _timm(name: str) -> Extractor:
    refuse_not_asked(f"{name} runs the code of the timm that is installed")
    model = name.removeprefix("timm:")
    try:
        timm = importlib.import_module("timm")
    except ImportError as error:
        raise ValueError(f"{name} needs timm, which cannot be imported: {error}. pip install timm") from error
    if not timm.is_model(model):
        close = difflib.get_close_matches(model, timm.list_models(), 1)
        hint = f" Did you mean timm:{close[0]}?" if close else ""
        raise ValueError(f"the timm that is installed has no model {model!r}.{hint}")
    own = {"file": str(_timm_weights(timm, model)), "custom_load": False}
    net = timm.create_model(model, pretrained=True, pretrained_cfg_overlay=own, num_classes=0)
    told = timm.data.resolve_model_data_config(net)
    resize = "bilinear" if told["interpolation"] == "bilinear" else "bicubic"
    prepare = Preprocess(told["input_size"][-1], resize, _levels(told["mean"]), _levels(told["std"]))
    return _own(net, name, prepare)


def _timm_weights(timm: ModuleType, model: str) -> Path:
    """The weights of a model of timm that are on this machine, in safetensors."""
    known = timm.get_pretrained_cfg(model)
    if known is not None and known.hf_hub_id:
        hub = importlib.import_module("huggingface_hub")  # timm comes with it
        repository, _, revision = known.hf_hub_id.partition("@")
        own = Path(known.hf_hub_filename or "model.safetensors").with_suffix(".safetensors").name
        for file in dict.fromkeys((own, "model.safetensors", "open_clip_model.safetensors")):
            path = hub.try_to_load_from_cache(repository, file, revision=revision or None)
            if isinstance(path, str):
                return Path(path)
    raise ValueError(
        f"timm:{model} needs its weights in safetensors on this machine, and gankit downloads none for it. Run once: "
        f"python -c \"import timm; timm.create_model('{model}', pretrained=True)\""
    )


def _dinov2(name: str) -> Extractor:
    refuse_not_asked(f"{name} runs the code in torch.hub's folder")
    model = name.removeprefix("dinov2:")
    if model not in DINOV2:
        raise ValueError(f"there is no dinov2 {model!r}; there are {', '.join(DINOV2)}")
    code = Path(torch.hub.get_dir()) / "facebookresearch_dinov2_main"
    file = Path(torch.hub.get_dir()) / "checkpoints" / f"dinov2_{model}_pretrain.pth"
    for path in (code, file):
        if not path.exists():
            raise ValueError(
                f"{name} needs {path}, which is not there; gankit downloads no code. Run once: "
                f"python -c \"import torch; torch.hub.load('facebookresearch/dinov2', 'dinov2_{model}')\""
            )
    net = torch.hub.load(str(code), f"dinov2_{model}", source="local", pretrained=False)
    net.load_state_dict(tensors(file), strict=True)
    return _own(net, name, Preprocess(vgg.SIDE, "bicubic", *(_levels(values) for values in IMAGENET)))


def _levels(values: float | Iterable[float]) -> tuple[float, ...]:
    return tuple(255.0 * float(value) for value in ([values] if isinstance(values, (int, float)) else values))


def _checked(images: Tensor) -> Tensor:
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images) or not images.is_floating_point():
        raise ValueError(
            f"images are {images.dtype} {tuple(images.shape)}; give (N, C, H, W) floats in [-1, 1], C 1 or 3"
        )
    low, high = (float(value) for value in images.detach().aminmax())
    if not -float("inf") < low <= high < float("inf"):
        raise ValueError("images hold values that are not finite; look at the generator before its scores")
    if low >= 0 and high > 2:
        raise ValueError(f"images reach from {low:g} to {high:g}, like levels of 0 to 255; give images in [-1, 1]")
    return images.detach()


def _plain(device: torch.device) -> ExitStack:
    """No autocast and no TF32: both move the scores."""
    stack = ExitStack()
    stack.enter_context(torch.autocast(device.type, enabled=False))
    if device.type == "cuda":
        cudnn = torch.backends.cudnn
        stack.enter_context(cudnn.flags(enabled=cudnn.enabled, deterministic=True, allow_tf32=False))
    return stack
