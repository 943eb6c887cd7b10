"""What every contestant of a race is measured with: features of a judge that none of them has seen.

For sets of IDX files with labels the judge is a classifier, trained once on the set's train images at their own size;
samples of other sizes are resized to it, and so are the reals that they are compared with: first to the samples' size
(bilinear, antialiased, as the peers' scripts read them), then back. For folders of pictures the judge is gankit's small
style encoder: means and deviations of its third and fourth tap over the quarters of the picture, and beside it the
sliced Wasserstein distance of pixels.
"""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from gankit import metrics
from gankit.nn import style

Numbers = dict[str, float]
NEIGHBOURS = 2000  # samples for precision and recall
PICTURES = 2000  # for the sliced Wasserstein distance


class Set(NamedTuple):
    """Images of a set as uint8, (N, C, H, W): those to train on, and others.

    Args:
        train: all of them.
        other: of the same source and not in `train`; empty if the set has none.
        labels: of both, for a classifier; empty without.
    """

    train: Tensor
    other: Tensor
    labels: tuple[Tensor, Tensor] | None


def read_idx(path: Path) -> Tensor:
    """A file of MNIST's format as (N, 1, H, W) or (N,) uint8."""
    packed = path.read_bytes()
    rank = packed[3]
    shape = struct.unpack(f">{rank}I", packed[4 : 4 + 4 * rank])
    values = torch.from_numpy(np.frombuffer(packed, np.uint8, offset=4 + 4 * rank).copy()).view(shape)
    return values[:, None] if rank == 3 else values


@cache
def read(folder: Path) -> Set:
    """A folder of IDX files, or of PNGs of one size in class folders."""
    if (folder / "train-images-idx3-ubyte").is_file():
        images = [read_idx(folder / f"{part}-images-idx3-ubyte") for part in ("train", "t10k")]
        labels = [read_idx(folder / f"{part}-labels-idx1-ubyte").long() for part in ("train", "t10k")]
        return Set(images[0], images[1], (labels[0], labels[1]))
    files = sorted(folder.rglob("*.png"))
    if not files:
        raise ValueError(f"{folder} has neither IDX files nor PNGs: write it with scripts/fetch_images.py")
    pixels = [np.asarray(Image.open(path).convert("RGB")) for path in files]
    return Set(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous(), torch.empty(0), None)


def resized(images: Tensor, side: int) -> Tensor:
    """uint8 (N, C, H, W) to another side and 8 bits again, bilinear with antialiasing."""
    if images.shape[-1] == side:
        return images
    parts = [
        interpolate(part.float(), (side, side), mode="bilinear", antialias=True, align_corners=False)
        for part in images.split(500)
    ]
    return torch.cat([part.round().clamp(0, 255).byte() for part in parts])


def floats(images: Tensor) -> Tensor:
    """uint8 to [-1, 1]."""
    return images.float().div(127.5).sub(1)


class Judge:
    """Distances of samples from a set.

    Args:
        folder: of the set.
        weights: file of the classifier, made if it is missing.
        epochs: to train it for.
        least: test accuracy that it must have.
    """

    def __init__(self, folder: Path, weights: Path, epochs: int = 8, least: float = 0.0):
        self.set = read(folder)
        self.side = self.set.train.shape[-1]
        self.accuracy = 0.0
        if self.set.labels is not None:
            self.net = network(self.side)
            if weights.is_file():
                self.net.load_state_dict(load_file(weights))
            else:
                fit(self.net, self.set, epochs)
                weights.parent.mkdir(parents=True, exist_ok=True)
                save_file(self.net.state_dict(), weights)
            self.net.eval()
            self.accuracy = self.tested()
            if self.accuracy < least:
                raise ValueError(f"the judge has a test accuracy of {self.accuracy:.4f}; expected {least} at least")
        self.reals: dict[int, Tensor] = {}

    @torch.no_grad()
    def tested(self) -> float:
        """Accuracy of the classifier on the other images."""
        assert self.set.labels is not None
        right = [
            self.net(floats(part)).argmax(1) == label
            for part, label in zip(self.set.other.split(500), self.set.labels[1].split(500))
        ]
        return torch.cat(right).float().mean().item()

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """uint8 images of any side to features."""
        images = resized(images, self.side)
        if self.set.labels is not None:
            return torch.cat([self.net[:-1](floats(part)) for part in images.split(500)])
        return torch.cat([picture_features(floats(part)) for part in images.split(200)])

    def real_features(self, side: int) -> Tensor:
        """Features of reals that were resized to the samples' side and back: 10,000, or all of a smaller set."""
        if side not in self.reals:
            self.reals[side] = self.features(resized(self.set.train[:10_000], side))
        return self.reals[side]

    def measure(self, images: Tensor) -> Numbers:
        """Frechet distance of uint8 samples, precision and recall, and for pictures the sliced Wasserstein distance."""
        side = images.shape[-1]
        real, fake = self.real_features(side), self.features(images)
        numbers = {"fd": metrics.frechet_distance(real, fake)}
        numbers["precision"], numbers["recall"] = metrics.precision_recall(real[:NEIGHBOURS], fake[:NEIGHBOURS])
        if self.set.labels is None:
            count = min(PICTURES, len(images), len(self.set.train))
            reals = shuffled(self.set.train)[:count]
            try:
                distances = metrics.sliced_wasserstein(floats(reals), floats(resized(images, self.side)[:count]))
                numbers["swd"] = distances["average"]
            except ValueError:  # a collapsed generator draws a channel that does not vary
                numbers["swd"] = float("nan")
        return numbers

    def baselines(self, side: int, count: int) -> dict[str, Numbers]:
        """The same numbers of other reals and of a Gaussian of the pixels, at the samples' side."""
        other = self.set.other[:count] if len(self.set.other) else shuffled(self.set.train)[:count]
        return {
            "other reals" if len(self.set.other) else "the reals themselves": self.measure(resized(other, side)),
            "Gaussian of pixels": self.measure(gaussian(resized(self.set.train[:10_000], side), count)),
        }


def shuffled(images: Tensor) -> Tensor:
    """Images in an order that is always the same."""
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]


def gaussian(images: Tensor, count: int) -> Tensor:
    """Samples of a Gaussian with the mean and covariance of uint8 images, as their combinations with random weights."""
    mean = images.float().mean(0)
    centred = (images.float() - mean).flatten(1)
    weights = torch.randn(count, len(images), generator=torch.Generator().manual_seed(0))
    samples = (weights @ centred) / (len(images) - 1) ** 0.5
    return (samples.view(count, *mean.shape) + mean).round().clamp(0, 255).byte()


# the judges


def network(side: int) -> nn.Sequential:
    """A classifier of one-channel images; all but its last layer give 64 features."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(64 * (side // 4) ** 2, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def fit(net: nn.Sequential, data: Set, epochs: int, batch: int = 128) -> None:
    """Train the classifier on images shifted by up to two pixels."""
    assert data.labels is not None
    generator = torch.Generator().manual_seed(0)
    for layer in net:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(layer.bias)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=1e-2)
    steps = max(1, epochs * (len(data.train) // batch))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in range(epochs):
        order = torch.randperm(len(data.train), generator=generator)
        for rows in order.split(batch)[: len(data.train) // batch]:
            shift = torch.randint(-2, 3, (2,), generator=generator).tolist()
            images = floats(data.train[rows]).roll(shift, (2, 3))
            loss = cross_entropy(net(images), data.labels[0][rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


@cache
def encoder() -> style.FrozenEncoder:
    """gankit's small style encoder."""
    layers = style.convolutions_of(load_file(style.SMALL), 4)
    return style.FrozenEncoder(layers, torch.ones(3), torch.zeros(3))


def picture_features(images: Tensor) -> Tensor:
    """(N, 3, H, W) images in [-1, 1] to means and deviations of channels over each quarter of the picture."""
    found = []
    for maps in encoder()(images)[2:]:
        quarters = [half for rows in maps.chunk(2, 2) for half in rows.chunk(2, 3)]
        found += [torch.cat(style.moments(quarter), 1).flatten(1) for quarter in quarters]
    return torch.cat(found, 1)
