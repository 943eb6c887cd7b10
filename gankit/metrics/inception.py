"""The Inception v3 of 2015 behind FID and IS (Szegedy et al., "Rethinking the Inception Architecture for Computer
Vision", CVPR 2016, https://arxiv.org/abs/1512.00567), with the layer names of its published PyTorch port.

Differences from the ImageNet Inceptions of model zoos, each of which changes the scores: other weights; 1008 outputs;
average pools that exclude the padding; a max pool in Mixed_7c; batch norms with eps 1e-3; images of
299 x 299 by TensorFlow 1's resize, as (level - 128) / 128; logits without the bias in the Inception Score.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

from gankit.weights import WeightsFile, fetch, tensors

WEIGHTS = WeightsFile(
    "pt_inception-2015-12-05-6726825d.pth",
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    95_628_359,
    "Apache-2.0",
)
# PyTorch's Inception for ImageNet, whose first layers are the features of SIFID; its layers have the same names.
TORCHVISION = WeightsFile(
    "inception_v3_google-0cc3c7bd.pth",
    "https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth",
    "0cc3c7bd75056d25e46cba549dc184522069b81e9787eff6df84f397bd52a5ef",
    108_949_747,
    "BSD-3-Clause",
)
SIDE = 299
STEM = 19  # smallest side for the layers before the second max pool
DIMS = {"64": 64, "192": 192, "768": 768, "2048": 2048, "logits_unbiased": 1008}  # layer -> features


def tf1_bilinear(images: Tensor, side: int) -> Tensor:
    """(N, C, H, W) to (N, C, side, side) as TensorFlow 1 resizes: output pixel i is at i * in / out, no half pixels.

    There is no antialiasing when shrinking: that is part of the definition of FID.
    """
    for axis in (-1, -2):
        length = images.shape[axis]
        # positions are float32 in TensorFlow for all types of images
        position = torch.arange(side, dtype=torch.float32, device=images.device) * (length / side)
        low = position.long().clamp(max=length - 1)
        high = (low + 1).clamp(max=length - 1)
        part = (position - low).to(images.dtype)
        part = part if axis == -1 else part[:, None]
        first = images.index_select(axis, low)
        images = first + (images.index_select(axis, high) - first) * part
    return images


def bicubic(levels: Tensor, side: int) -> Tensor:
    """(N, C, H, W) levels of 0 to 255 to (N, C, side, side), antialiased and clamped, as clean-fid does with PIL.

    Parmar, Zhang & Zhu, "On Aliased Resizing and Surprising Subtleties in GAN Evaluation", CVPR 2022,
    https://arxiv.org/abs/2104.11222.
    """
    return interpolate(levels, (side, side), mode="bicubic", antialias=True).clamp(0, 255)


def unit(num_in: int, num_out: int, kernel: str, same: bool = True) -> nn.Sequential:
    """Convolution, batch norm, ReLU; "1x7" is 1 high and 7 wide, "3x3/2" halves. `same`: the padding keeps the size."""
    size, _, stride = kernel.partition("/")
    height, width = (int(k) for k in size.split("x"))
    padding = (height // 2, width // 2) if same and not stride else 0
    conv = nn.Conv2d(num_in, num_out, (height, width), int(stride or 1), padding, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(num_out, eps=1e-3), relu=nn.ReLU(inplace=True)))


POOLS = {
    "avg": lambda x: avg_pool2d(x, 3, 1, 1, count_include_pad=False),
    "max": lambda x: max_pool2d(x, 3, 1, 1),
    "half": lambda x: max_pool2d(x, 3, 2),
}
Branches = dict[str, list[tuple[int, str] | tuple[int, str, str]]]


class Mixed(nn.Module):
    """Parallel branches with concatenated outputs.

    Args:
        num_in: input channels.
        pool: the first layer of the last branch, `branch_pool`: a key of POOLS.
        branches: the steps of each, (channels, kernel), or (channels, kernel, kernel) for two parallel convolutions.
    """

    def __init__(self, num_in: int, pool: str, branches: Branches) -> None:
        super().__init__()
        self.pool, self.num_out = pool, 0
        self.branches: list[tuple[str, list[list[str]]]] = []
        for branch, steps in branches.items():
            width, names = num_in, []
            for i, (channels, *kernels) in enumerate(steps, 1):
                suffix = f"_{i}" if len(steps) > 1 else ""
                names.append([f"{branch}{suffix}{letter}" for letter in ("ab" if len(kernels) > 1 else [""])])
                for name, kernel in zip(names[-1], kernels):
                    self.add_module(name, unit(width, channels, kernel))
                width = channels * len(kernels)
            self.num_out += width
            self.branches.append((branch, names))

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for branch, steps in self.branches:
            y = POOLS[self.pool](x) if branch == "branch_pool" else x
            for names in steps:
                y = torch.cat([getattr(self, name)(y) for name in names], 1)
            outputs.append(y)
        return torch.cat(outputs, 1)


def small(pooled: int) -> Branches:
    """Mixed_5: 35 x 35."""
    return {
        "branch1x1": [(64, "1x1")],
        "branch5x5": [(48, "1x1"), (64, "5x5")],
        "branch3x3dbl": [(64, "1x1"), (96, "3x3"), (96, "3x3")],
        "branch_pool": [(pooled, "1x1")],
    }


def factored(c: int) -> Branches:
    """Mixed_6: 17 x 17."""
    return {
        "branch1x1": [(192, "1x1")],
        "branch7x7": [(c, "1x1"), (c, "1x7"), (192, "7x1")],
        "branch7x7dbl": [(c, "1x1"), (c, "7x1"), (c, "1x7"), (c, "7x1"), (192, "1x7")],
        "branch_pool": [(192, "1x1")],
    }


WIDE: Branches = {  # Mixed_7: 8 x 8
    "branch1x1": [(320, "1x1")],
    "branch3x3": [(384, "1x1"), (384, "1x3", "3x1")],
    "branch3x3dbl": [(448, "1x1"), (384, "3x3"), (384, "1x3", "3x1")],
    "branch_pool": [(192, "1x1")],
}
BLOCKS: dict[str, tuple[str, Branches]] = {
    "Mixed_5b": ("avg", small(32)),
    "Mixed_5c": ("avg", small(64)),
    "Mixed_5d": ("avg", small(64)),
    "Mixed_6a": (
        "half",
        {"branch3x3": [(384, "3x3/2")], "branch3x3dbl": [(64, "1x1"), (96, "3x3"), (96, "3x3/2")], "branch_pool": []},
    ),
    "Mixed_6b": ("avg", factored(128)),
    "Mixed_6c": ("avg", factored(160)),
    "Mixed_6d": ("avg", factored(160)),
    "Mixed_6e": ("avg", factored(192)),
    "Mixed_7a": (
        "half",
        {
            "branch3x3": [(192, "1x1"), (320, "3x3/2")],
            "branch7x7x3": [(192, "1x1"), (192, "1x7"), (192, "7x1"), (192, "3x3/2")],
            "branch_pool": [],
        },
    ),
    "Mixed_7b": ("avg", WIDE),
    "Mixed_7c": ("max", WIDE),
}


class Trunk(nn.Module):
    """The layers before the second max pool, which `Stem` and `Inception` share."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = unit(3, 32, "3x3/2")
        self.Conv2d_2a_3x3 = unit(32, 32, "3x3", same=False)
        self.Conv2d_2b_3x3 = unit(32, 64, "3x3")
        self.Conv2d_3b_1x1 = unit(64, 80, "1x1")
        self.Conv2d_4a_3x3 = unit(80, 192, "3x3", same=False)

    def early(self, x: Tensor) -> Tensor:
        """The maps (N, 64, h, w) after the first max pool."""
        return max_pool2d(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))), 3, 2)

    def late(self, x: Tensor) -> Tensor:
        """The maps (N, 192, h, w) before the second max pool, from those after the first."""
        return self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))


class Stem(Trunk):
    """(N, 3, H, W) images to the maps before the second max pool, (N, 192, h, w), where 299 pixels become 71."""

    def forward(self, x: Tensor) -> Tensor:
        return self.late(self.early(x))


class Inception(Trunk):
    """(N, 3, 299, 299) images as (level - 128) / 128 to features of the requested layers."""

    def __init__(self) -> None:
        super().__init__()
        width = 192
        for name, (pool, branches) in BLOCKS.items():
            self.add_module(name, block := Mixed(width, pool, branches))
            width = block.num_out
        self.fc = nn.Linear(2048, 1008)

    def forward(self, x: Tensor, layers: tuple[str, ...] = tuple(DIMS)) -> dict[str, Tensor]:
        """Features (N, DIMS[layer]), the means over feature maps, of these layers and those before; and the logits."""
        outputs = {}
        x = self.early(x)
        outputs["64"] = x.mean((2, 3))
        if {*layers} <= {*outputs}:
            return outputs
        x = max_pool2d(self.late(x), 3, 2)
        outputs["192"] = x.mean((2, 3))
        if {*layers} <= {*outputs}:
            return outputs
        for name in BLOCKS:
            x = getattr(self, name)(x)
            if name == "Mixed_6e":
                outputs["768"] = x.mean((2, 3))
                if {*layers} <= {*outputs}:
                    return outputs
        outputs["2048"] = x.mean((2, 3))
        outputs["logits_unbiased"] = outputs["2048"] @ self.fc.weight.T
        return outputs


def load() -> Inception:
    """The network with its published weights, frozen, in eval mode.

    Raises:
        ValueError: the file on this machine is not the published one.
        OSError: it is missing and cannot be downloaded.
    """
    with torch.device("meta"):  # skip the initialization of weights that are replaced, and its random numbers
        net = Inception()
    net.load_state_dict(tensors(fetch(WEIGHTS)), strict=True, assign=True)
    return net.requires_grad_(False).eval()


def load_stem(download: bool = True) -> Stem:
    """The first layers with PyTorch's ImageNet weights, frozen, in eval mode: for (N, 3, H, W) images in [-1, 1].

    Raises:
        ValueError: the file on this machine is not the published one.
        OSError: it is missing and cannot be downloaded.
    """
    with torch.device("meta"):
        net = Stem()
    published = tensors(fetch(TORCHVISION, download))
    counts = {name: torch.tensor(0) for name in net.state_dict() if name.endswith("num_batches_tracked")}
    state = {name: published.get(name, counts.get(name)) for name in net.state_dict()}
    net.load_state_dict(state, strict=True, assign=True)
    return net.requires_grad_(False).eval()
