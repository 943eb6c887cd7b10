"""VGG16 (Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015,
https://arxiv.org/abs/1409.1556) with the weights that PyTorch publishes, for LPIPS, precision and recall.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gankit import weights
from gankit.weights import WeightsFile, fetch, tensors

WEIGHTS = WeightsFile(
    "vgg16-397923af.pth",
    "https://download.pytorch.org/models/vgg16-397923af.pth",
    "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    553_433_881,
    "BSD-3-Clause; trained on ImageNet",
)
SIDE = 224
DIM = 4096
TAPS = {"relu1_2": 3, "relu2_2": 8, "relu3_3": 15, "relu4_3": 22, "relu5_3": 29}  # layer -> its place in `features`
WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  # 0: a max pool


class VGG16(nn.Module):
    """(N, 3, H, W) images, normalised as for ImageNet, to feature maps or, at 224 x 224, to features."""

    def __init__(self) -> None:
        super().__init__()
        layers, before = [], 3
        for width in WIDTHS:
            if width:
                layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
                before = width
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, DIM), nn.ReLU(), nn.Dropout(),
            nn.Linear(DIM, DIM), nn.ReLU(), nn.Dropout(),
            nn.Linear(DIM, 1000),
        )  # fmt: skip

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, 224, 224) to (N, 4096) features, fc2 after its ReLU, and (N, 1000) logits of ImageNet."""
        fc2 = self.classifier[:-2](self.features(x).flatten(1))
        return fc2, self.classifier[-1](fc2)


def maps(trunk: nn.Sequential, x: Tensor) -> list[Tensor]:
    """The feature maps of TAPS from `VGG16().features`; height and width halve from each to the next."""
    found = []
    for i, layer in enumerate(list(trunk)[: max(TAPS.values()) + 1]):
        x = layer(x)
        if i in TAPS.values():
            found.append(x)
    return found


def here() -> bool:
    """Whether the published weights are on this machine."""
    return weights.here(WEIGHTS)


def load() -> VGG16:
    """The network with its published weights, frozen, in eval mode.

    Raises:
        ValueError: the file on this machine is not the published one.
        OSError: it is missing and cannot be downloaded.
    """
    with torch.device("meta"):  # skip the initialization of weights that are replaced, and its random numbers
        net = VGG16()
    net.load_state_dict(tensors(fetch(WEIGHTS)), strict=True, assign=True)
    return net.requires_grad_(False).eval()
