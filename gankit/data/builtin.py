"""Data that is there without a download: scikit-learn's digits, and photographs of scikit-learn and scikit-image."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from torch.nn import functional as F

from gankit.data import cache, draws, images, toy
from gankit.data.stream import Dataset

Size = tuple[int, int] | None  # (height, width), or the data's own
PHOTOS = {"astronaut": "astronaut", "camera": "camera", "cat": "chelsea", "coffee": "coffee", "coins": "coins"}
PHOTOS |= {"hubble": "hubble_deep_field", "moon": "moon", "rocket": "rocket"}  # our names: functions of skimage.data
SKLEARN = ("china", "flower")
TEXTURES = ("brick", "grass", "gravel")


def digits(part: str, size: Size) -> Dataset:
    """1,797 handwritten digits of 43 people, 8x8 in 17 greys, drawn at 16x16 or another side; 1,400 to train on."""
    pixels, labels = _digits(part, _side(size, 16, "digits"))
    return _table("digits", part, pixels, labels=labels, class_names=[str(i) for i in range(10)])


def stacked_digits(size: Size) -> Dataset:
    """128,000 images of three digits, one in each colour channel: 1,000 modes, as PacGAN uses them; without labels."""
    grey, _ = _digits("train", _side(size, 16, "stacked-digits"))
    three = draws.choice(len(grey), 3, np.arange(128_000)[:, None], np.arange(3))

    def read(numbers: np.ndarray) -> np.ndarray:
        return grey[three[numbers], 0]

    shape = (3, *grey.shape[2:])
    return Dataset("stacked-digits", "images", shape, len(three), read, cache.key("stacked-digits", shape, toy.VERSION))


def photo(name: str, size: Size, whole: bool = False) -> Dataset:
    """Every patch of 64x64 or another size of one photograph, or of two (china and flower); or the photograph whole."""
    pictures = [_photo(one) for one in ([name] if name else SKLEARN)]
    if not whole:
        return _patches("photo", name, pictures, size)
    height, width = size or pictures[0].shape[1:]
    fitted = images.fitted(_image(pictures[0]), height, width, "crop", "white")
    return _table("photo", f"{name}:whole", np.asarray(fitted).reshape(height, width, -1).transpose(2, 0, 1)[None])


def textures(size: Size) -> Dataset:
    """Every patch of 64x64 or another size of photographs of brick, grass and gravel, labelled."""
    return _patches("textures", "", [_skimage(name) for name in TEXTURES], size, list(TEXTURES))


BUILTIN: dict[str, Callable[[Size], Dataset]] = {
    "digits": partial(digits, "train"),
    "digits:test": partial(digits, "test"),
    "digits:all": partial(digits, "all"),
    "stacked-digits": stacked_digits,
    "photo": partial(photo, ""),
    **{f"photo:{name}": partial(photo, name) for name in (*SKLEARN, *PHOTOS)},
    **{f"photo:{name}:whole": partial(photo, name, whole=True) for name in (*SKLEARN, *PHOTOS)},
    "textures": textures,
    "shapes": toy.shapes,
    "ring": toy.ring,
    "grid": toy.grid,
    "swissroll": toy.swissroll,
}


def _digits(part: str, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Digits (N, 1, side, side) uint8, resized by cubic splines, and labels (N,) of the train or test part, or all."""
    from sklearn.datasets import load_digits  # takes a second to import

    bunch = load_digits()
    labels = bunch.target.astype(np.int64)
    shuffled = np.argsort(draws.bits(0, np.arange(len(labels))), kind="stable")
    share = np.empty(
        len(labels)
    )  # each digit's place among those of its kind: the first 22 % of every kind are the test
    for label in range(10):
        of_kind = shuffled[labels[shuffled] == label]
        share[of_kind] = (np.arange(len(of_kind)) + 0.5) / len(of_kind)
    test = np.isin(np.arange(len(labels)), np.argsort(share, kind="stable")[:397])
    chosen = {"train": ~test, "test": test, "all": test | ~test}[part]
    grey = torch.from_numpy(bunch.images[chosen]).float()[:, None] * (255 / 16)
    grey = F.interpolate(grey, (side, side), mode="bicubic", antialias=True)
    return grey.round_().clamp_(0, 255).to(torch.uint8).numpy(), labels[chosen]


def _side(size: Size, default: int, name: str) -> int:
    height, width = size or (default, default)
    if height != width or not 8 <= height <= 256:
        raise ValueError(
            f"{name} are square, with a side of 8 to 256, not {height}x{width}: say --resolution 16, 32 or 64"
        )
    return height


def _photo(name: str) -> np.ndarray:
    """A photograph (C, H, W) uint8."""
    if name not in SKLEARN:
        return _skimage(PHOTOS[name])
    from sklearn.datasets import load_sample_image

    return load_sample_image(f"{name}.jpg").transpose(2, 0, 1)


def _skimage(name: str) -> np.ndarray:
    try:
        from skimage import data
    except ImportError:
        raise ValueError(
            "this picture comes with scikit-image, which is not installed: pip install scikit-image. "
            "photo:china and photo:flower are always there"
        ) from None
    picture = getattr(data, name)()
    return picture[None] if picture.ndim == 2 else picture.transpose(2, 0, 1)


def _image(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(picture[0] if len(picture) == 1 else np.ascontiguousarray(picture.transpose(1, 2, 0)))


def _table(name: str, part: str, pixels: np.ndarray, **known: np.ndarray | list[str]) -> Dataset:
    pixels = np.ascontiguousarray(pixels)
    key = cache.key(name, part, pixels.shape, toy.VERSION)
    return Dataset(name, "images", pixels.shape[1:], len(pixels), pixels.__getitem__, key, **known)


def _patches(name: str, part: str, pictures: list[np.ndarray], size: Size, classes: list[str] | None = None) -> Dataset:
    """Every window of the pictures (C, H, W), as a data set."""
    height, width = size or (64, 64)
    limit = min(p.shape[1] for p in pictures), min(p.shape[2] for p in pictures)
    if height > limit[0] or width > limit[1]:
        raise ValueError(f"patches of {height}x{width} are larger than the picture, {limit[0]}x{limit[1]}")
    windows = [sliding_window_view(p, (height, width), (1, 2)) for p in pictures]
    ends = np.cumsum([w.shape[1] * w.shape[2] for w in windows])

    def read(numbers: np.ndarray) -> np.ndarray:
        patches = np.empty((len(numbers), *shape), np.uint8)
        which = np.searchsorted(ends, numbers, "right")
        for i in np.unique(which):
            y, x = np.divmod(numbers[which == i] - (ends[i - 1] if i else 0), windows[i].shape[2])
            patches[which == i] = windows[i][:, y, x].swapaxes(0, 1)
        return patches

    shape = (len(pictures[0]), height, width)
    labels = np.searchsorted(ends, np.arange(ends[-1]), "right") if classes else None
    key = cache.key(name, part, shape, toy.VERSION)
    return Dataset(name, "images", shape, int(ends[-1]), read, key, labels, classes or [])
