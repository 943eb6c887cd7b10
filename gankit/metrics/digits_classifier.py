"""A small classifier of handwritten digits, for the features of fd_digits and for predicted labels.

scripts/make_digits_classifier.py trains `digits.safetensors` on the train split of `digits`. The input is 8x8 grey
pixels: larger images are average-pooled, colours are averaged to grey.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

WEIGHTS = Path(__file__).with_name("digits.safetensors")
NUM_CLASSES = 10


def network() -> nn.Sequential:
    """The classifier without weights: (N, 1, 8, 8) in [-1, 1] to (N, 10) logits; 22,954 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(128, 64), nn.ReLU(),
        nn.Linear(64, NUM_CLASSES),
    )  # fmt: skip


@cache
def trained() -> nn.Sequential:
    """The classifier, frozen; gradients reach its input."""
    net = network()
    net.load_state_dict(load_file(WEIGHTS))
    return net.requires_grad_(False).eval()


def pixels(images: Tensor) -> Tensor:
    """(N, C, H, W) images in [-1, 1] to the classifier's input (N, 1, 8, 8), rounded to 8 bits as files are."""
    levels = ((images.detach().cpu().float() + 1) * 127.5).round().clamp(0, 255)
    return adaptive_avg_pool2d((levels / 127.5 - 1).mean(1, keepdim=True), 8)


def features(images: Tensor) -> Tensor:
    """(N, C, H, W) images in [-1, 1] to (N, 64) features: the last hidden layer, before its ReLU."""
    return torch.cat([trained()[:-2](part) for part in pixels(images).split(1000)])


def probabilities(images: Tensor) -> Tensor:
    """(N, C, H, W) images in [-1, 1] to (N, 10) float64 probabilities of the digits 0 to 9."""
    return trained()[-2:](features(images)).double().softmax(1)


def classify(images: Tensor) -> Tensor:
    """(N, C, H, W) images in [-1, 1] to (N,) int64 digits."""
    return probabilities(images).argmax(1)
