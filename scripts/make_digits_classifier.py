"""Make gankit/metrics/digits.safetensors: train the digits classifier, and report its accuracy on held-out digits.

    python scripts/make_digits_classifier.py [OUT]

The same version of PyTorch on the same kind of processor gives the same bits. The augmentation was chosen by five-fold
cross-validation on the train split: 99.6 % with rotation, scaling and shear, 98.3 % with only shifts by one pixel.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample

from gankit import data
from gankit.metrics.digits_classifier import WEIGHTS, network, pixels


def split(name: str, size: int) -> tuple[Tensor, Tensor]:
    """All of a data set: (N, 1, size, size) images in [-1, 1] and (N,) labels."""
    dataset = data.open(name, size)
    rows = dataset.rows(np.arange(len(dataset)))
    return data.normalise(rows["real"]), rows["label"]


def deform(images: Tensor) -> Tensor:
    """(N, 1, H, W) images rotated by up to 15 degrees, scaled and shifted by up to 15 % and sheared by up to 20 %."""
    turn, shear = ((torch.rand(len(images)) * 2 - 1) * limit for limit in (math.radians(15), 0.2))
    stretch, move = (((torch.rand(len(images), 2) * 2 - 1) * 0.15).T for _ in range(2))
    x = torch.stack([turn.cos() * stretch[0].exp(), shear - turn.sin() * stretch[1].exp(), move[0]], 1)
    y = torch.stack([turn.sin() * stretch[0].exp(), turn.cos() * stretch[1].exp(), move[1]], 1)
    grid = affine_grid(torch.stack([x, y], 1), list(images.shape), align_corners=False)
    return grid_sample(images + 1, grid, align_corners=False) - 1  # pixels from outside are -1, black


def train(images: Tensor, labels: Tensor, epochs: int = 60, batch: int = 64, lr: float = 4e-3) -> nn.Sequential:
    """Train on (N, 1, H, W) images, deformed at their size, with noise at the classifier's size."""
    torch.manual_seed(0)
    net = network()
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * (len(labels) // batch))
    for _ in range(epochs):
        for rows in torch.randperm(len(labels)).split(batch)[: len(labels) // batch]:
            x = pixels(deform(images[rows]))
            loss = cross_entropy(net(x + 0.2 * torch.randn_like(x)), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    net = train(*split("digits", 32))
    Path(sys.argv[1] if len(sys.argv) > 1 else WEIGHTS).write_bytes(save(net.state_dict()))
    for size in (8, 16, 32, 64):
        images, labels = split("digits:test", size)
        right = int((net(pixels(images)).argmax(1) == labels).sum())
        print(f"held-out digits at {size}x{size}: {right} of {len(labels)} right, {right / len(labels):.2%}")


if __name__ == "__main__":
    main()
