"""scikit-learn's handwritten digits: as images, stacked in colour channels, and as the domains of a translation."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch.nn import functional as F

from gankit.data import draws
from gankit.data.builtin.memory import VERSION, in_memory, square_side
from gankit.data.domains import Domains
from gankit.data.reading import cache as pixel_cache
from gankit.data.stream import Dataset, Modes, Size


def digits(part: str, size: Size) -> Dataset:
    """1,797 handwritten digits of 43 people, 8x8 in 17 greys, resized to 16x16 or another side; 1,400 to train on."""
    pixels, labels = _digits(part, square_side(size, 16, "digits"))
    return in_memory("digits", part, pixels, labels=labels, class_names=[str(i) for i in range(10)])


def stacked_digits(size: Size) -> Dataset:
    """128,000 images of three digits, one in each colour channel: 1,000 modes, as in PacGAN; without labels."""
    grey, _ = _digits("train", square_side(size, 16, "stacked-digits"))
    three = draws.choice(len(grey), 3, np.arange(128_000)[:, None], np.arange(3))

    def read(numbers: np.ndarray) -> np.ndarray:
        return grey[three[numbers], 0]

    shape = (3, *grey.shape[2:])
    key = pixel_cache.key("stacked-digits", shape, VERSION)
    return Dataset("stacked-digits", "images", shape, len(three), read, key, modes=Modes(1000))


def digits_negative(part: str, size: Size) -> Domains:
    """Digits, and negatives of the other half of the digits, so that no digit is in both domains.

    In the part "test", image i of b is the negative of image i of a, for all 397 digits: the correct translation.
    """
    return _changed("digits-negative", part, size, lambda pixels: 255 - pixels)


def digits_edges(part: str, size: Size) -> Domains:
    """As `digits_negative`, with `edges` instead of negatives."""
    return _changed("digits-edges", part, size, edges)


def edges(pixels: np.ndarray) -> np.ndarray:
    """Edges of images (..., H, W) uint8: a 3x3 dilation minus the image, bright around bright lines."""
    wide = np.pad(pixels, [(0, 0)] * (pixels.ndim - 2) + [(1, 1)] * 2)
    return sliding_window_view(wide, (3, 3), (-2, -1)).max((-2, -1)) - pixels


def _digits(part: str, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Digits (N, 1, side, side) uint8, resized by bicubic interpolation, and labels (N,).

    Args:
        part: "train", "test", "all", "few" (ten of each digit of the train part) or "without-3" (one digit left out).
        side: height and width of the images.
    """
    table = _table()
    labels = table[:, -1].astype(np.int64)
    shuffled = np.argsort(draws.bits(0, np.arange(len(labels))), kind="stable")
    share = np.empty(len(labels))  # position of each image within its class: the first 22 % of each are the test part
    for label in range(10):
        of_class = shuffled[labels[shuffled] == label]
        share[of_class] = (np.arange(len(of_class)) + 0.5) / len(of_class)
    test = np.isin(np.arange(len(labels)), np.argsort(share, kind="stable")[:397])
    few = np.zeros_like(test)
    for label in range(10):
        few[[i for i in shuffled if labels[i] == label and not test[i]][:10]] = True
    parts = {"train": ~test, "test": test, "all": test | ~test, "few": few}
    chosen = parts[part] if part in parts else ~test & (labels != int(part[-1]))
    grey = torch.from_numpy(table[chosen, :-1]).float().reshape(-1, 1, 8, 8) * (255 / 16)
    grey = F.interpolate(grey, (side, side), mode="bicubic", antialias=True)
    return grey.round_().clamp_(0, 255).to(torch.uint8).numpy(), labels[chosen]


@cache
def _table() -> np.ndarray:
    """(1797, 65): 64 greys from 0 to 16 and the label of each digit, from scikit-learn's file."""
    package = importlib.util.find_spec("sklearn")
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz" if package and package.origin else None
    if file and file.is_file():  # without an import of scikit-learn, which takes seconds
        return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    data, target = load_digits(return_X_y=True)
    return np.column_stack([data, target])


def _changed(name: str, part: str, size: Size, change: Callable[[np.ndarray], np.ndarray]) -> Domains:
    """Domain a has every second image of each class, b the others, changed; in the test part both have all images."""
    pixels, labels = _digits(part, square_side(size, 16, name))
    place = np.zeros(len(labels), np.int64)  # number of each image within its class
    for label in range(10):
        place[labels == label] = np.arange((labels == label).sum())
    names = [str(i) for i in range(10)]
    first, second = (place % 2 == 0, place % 2 == 1) if part == "train" else (place >= 0,) * 2
    title = "half" if part == "train" else part
    a = in_memory("digits", title, pixels[first], labels=labels[first], class_names=names)
    b = in_memory(name, title, change(pixels[second]), labels=labels[second], class_names=names)
    return Domains(name, a, b)


SETS: dict[str, Callable[[Size], Dataset | Domains]] = {
    "digits": partial(digits, "train"),
    "digits:test": partial(digits, "test"),
    "digits:all": partial(digits, "all"),
    "digits:few": partial(digits, "few"),
    **{f"digits:without-{k}": partial(digits, f"without-{k}") for k in range(10)},
    "stacked-digits": stacked_digits,
    "digits-negative": partial(digits_negative, "train"),
    "digits-negative:test": partial(digits_negative, "test"),
    "digits-edges": partial(digits_edges, "train"),
    "digits-edges:test": partial(digits_edges, "test"),
}
