"""Data that is there without a download: scikit-learn's digits, and photographs of scikit-learn and scikit-image."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import permutations
from types import ModuleType

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from torch.nn import functional as F

from gankit.data import cache, cells, defects, draws, faces, images, scenes, toy
from gankit.data.canny import canny
from gankit.data.domains import Domains
from gankit.data.stream import Dataset, Modes

Size = tuple[int, int] | None  # (height, width), or the data's own
PHOTOS = {"astronaut": "astronaut", "camera": "camera", "cat": "chelsea", "coffee": "coffee", "coins": "coins"}
PHOTOS |= {"hubble": "hubble_deep_field", "moon": "moon", "rocket": "rocket"}  # our names: functions of skimage.data
SKLEARN = ("china", "flower")
TEXTURES = ("brick", "grass", "gravel")
OTHERS = {"tissue": "immunohistochemistry", "retina": "retina", **{name: name for name in TEXTURES}}
REDUCED = {  # sets of several pictures, and their names in the others
    "contents": ("china", "flower", "astronaut", "camera"),
    "styles": ("coffee", "hubble", "retina", "rocket", "tissue", *TEXTURES),
}
KNOWN = ("colours", "sizes", "both")  # what is known of shapes


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
    key = cache.key("stacked-digits", shape, toy.VERSION)
    return Dataset("stacked-digits", "images", shape, len(three), read, key, modes=Modes(1000))


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


def reduced(name: str, size: Size) -> Dataset:
    """Every patch of 64x64 or another size of several pictures, labelled, in three channels.

    Each picture is cut to a square and reduced so that a patch spans two fifths of it: what a small network sees is then
    more than a blur. A style is there in six colours: with its channels in each order, or, where it is grey, tinted.

    Args:
        name: "contents", photographs of things, or "styles", pictures of strong colours or textures.
    """
    side = max(size or (64, 64)) * 5 // 2
    fitted = [images.fitted(_image(_photo(one)), side, side, "crop", "white") for one in REDUCED[name]]
    pictures = [np.asarray(picture.convert("RGB")).transpose(2, 0, 1) for picture in fitted]
    if name == "styles":
        tints = [np.array([1, 0.6, 0.25]) if picture.mode == "L" else np.ones(3) for picture in fitted]
        orders = [list(order) for order in permutations(range(3))]
        pictures = [(p[o] * t[o, None, None]).round().astype(np.uint8) for p, t in zip(pictures, tints) for o in orders]
    found = _patches(name, "six colours", pictures, size, list(REDUCED[name]))
    found.labels //= len(pictures) // len(fitted)
    return found


def digits_negative(part: str, size: Size) -> Domains:
    """Digits, and negatives of the other half of the digits, so that no digit is there in both domains.

    Of the part "test" image i of b is made of image i of a, for all 397 digits: what a translation should be is known.
    """
    return _changed("digits-negative", part, size, lambda pixels: 255 - pixels)


def digits_edges(part: str, size: Size) -> Domains:
    """As `digits_negative`, with edges: the largest of each pixel's 3x3 neighbours, less the pixel."""
    return _changed("digits-edges", part, size, edges)


def colour_depth(size: Size) -> Domains:
    """Patches of 64x64 or another size: in colour from the left half of a photograph, of its depth from the right half.

    The photograph is the left one of scikit-image's motorcycle stereo pair; near is bright, and where the
    disparity is not known it is that of the next pixel to the left that has one.
    """
    colour, disparity = _stereo()
    known = np.isfinite(disparity)
    before = np.maximum.accumulate(np.where(known, np.arange(disparity.shape[1]), -1), axis=1)  # -1: none to the left
    before = np.where(before < 0, known.argmax(1)[:, None], before)
    depth = np.take_along_axis(np.where(known, disparity, disparity[known].min()), before, axis=1)
    low, high = depth.min(), depth.max()
    grey = ((depth - low) * (255 / (high - low))).round().astype(np.uint8)
    middle = colour.shape[2] // 2
    a = _patches("colour-depth", "a", [colour[:, :, :middle]], size)
    b = _patches("colour-depth", "b", [np.repeat(grey[None, :, middle:], 3, axis=0)], size)
    return Domains("colour-depth", a, b)


def photo_pairs(name: str, part: str, size: Size) -> Domains:
    """Every patch of 64x64 or another size of one photograph (china): b in colour, a its edges or its greys, (1, H, W).

    The left 70 % are to train on, the right 30 % to test; they share no pixel, and edges are found in each alone. The
    photograph is resized so that the shorter side of a patch spans 128 of its 427 rows, whatever the resolution.

    Args:
        name: "photo-edges" or "photo-grey".
        part: "train" or "test".
        size: of a patch.
    """
    picture = _photo("china")
    border = picture.shape[2] * 7 // 10
    picture = picture[:, :, :border] if part == "train" else picture[:, :, border:]
    scale = min(size or (64, 64)) / 128
    sides = round(picture.shape[2] * scale), round(picture.shape[1] * scale)
    colour = np.asarray(_image(picture).resize(sides, Image.Resampling.LANCZOS)).transpose(2, 0, 1)
    red, green, blue = colour.astype(np.int64)
    grey = (299 * red + 587 * green + 114 * blue + 500) // 1000  # Rec. 601
    a = canny(grey) if name == "photo-edges" else grey.astype(np.uint8)
    first, second = (_patches(name, f"{part}:{side}", [plane], size) for side, plane in (("a", a[None]), ("b", colour)))
    return Domains(name, first, second, kind="pairs")


def texture(name: str, part: str, size: Size) -> Dataset:
    """Patches of one texture from the upper 60 % of its picture, from the next 20 % (test), or from the last with defects."""
    picture = _skimage(name)
    ends = [round(share * picture.shape[1]) for share in (0, 0.6, 0.8, 1)]
    which = ("train", "test", "defects").index(part)
    normal = _patches("textures", f"{name}-{part}", [picture[:, ends[which] : ends[which + 1]]], size)
    return defects.damaged(f"textures-{name}-defects", normal) if part == "defects" else normal


def lfw(part: str, size: Size) -> Dataset:
    """Of 100 faces of 25x25 the first 70, enlarged to 32x32 or another side; or the other 30, and 100 patches that are no faces."""
    grey = torch.from_numpy(_library().lfw_subset()).float()[:, None] * 255
    side = _side(size, 32, "lfw")
    pixels = (
        F.interpolate(grey, (side, side), mode="bicubic", antialias=True)
        .round_()
        .clamp_(0, 255)
        .to(torch.uint8)
        .numpy()
    )
    if part == "train":
        return _table("lfw", part, pixels[:70])
    labels = np.repeat([0, 1], [30, 100])
    return _table("lfw", part, pixels[70:], labels=labels, class_names=["normal", "no face"])


def edges(pixels: np.ndarray) -> np.ndarray:
    """(..., H, W) uint8 to the edges: a dilation by 3x3 less the image, bright on the outside of bright lines."""
    wide = np.pad(pixels, [(0, 0)] * (pixels.ndim - 2) + [(1, 1)] * 2)
    return sliding_window_view(wide, (3, 3), (-2, -1)).max((-2, -1)) - pixels


BUILTIN: dict[str, Callable[[Size], Dataset | Domains]] = {
    "digits": partial(digits, "train"),
    "digits:test": partial(digits, "test"),
    "digits:all": partial(digits, "all"),
    "digits:few": partial(digits, "few"),
    **{f"digits:without-{k}": partial(digits, f"without-{k}") for k in range(10)},
    "stacked-digits": stacked_digits,
    "photo": partial(photo, ""),
    **{f"photo:{name}": partial(photo, name) for name in (*SKLEARN, *PHOTOS)},
    **{f"photo:{name}:whole": partial(photo, name, whole=True) for name in (*SKLEARN, *PHOTOS)},
    "textures": textures,
    **{f"textures:{name}": partial(texture, name, "train") for name in TEXTURES},
    **{f"textures:{name}:test": partial(texture, name, "test") for name in TEXTURES},
    **{f"textures:{name}:defects": partial(texture, name, "defects") for name in TEXTURES},
    "lfw": partial(lfw, "train"),
    "lfw:test": partial(lfw, "test"),
    **{name: partial(reduced, name) for name in REDUCED},
    "shapes": toy.shapes,
    **{f"shapes:{known}": partial(toy.shapes_known, known, "train") for known in KNOWN},
    **{f"shapes:{known}:test": partial(toy.shapes_known, known, "test") for known in KNOWN},
    "shapes:captions": partial(toy.shapes_told, "train"),
    "shapes:captions:test": partial(toy.shapes_told, "test"),
    "ring": toy.ring,
    "grid": toy.grid,
    "swissroll": toy.swissroll,
    "digits-negative": partial(digits_negative, "train"),
    "digits-negative:test": partial(digits_negative, "test"),
    "digits-edges": partial(digits_edges, "train"),
    "digits-edges:test": partial(digits_edges, "test"),
    "colour-depth": colour_depth,
    "photo-edges": partial(photo_pairs, "photo-edges", "train"),
    "photo-edges:test": partial(photo_pairs, "photo-edges", "test"),
    "photo-grey": partial(photo_pairs, "photo-grey", "train"),
    "photo-grey:test": partial(photo_pairs, "photo-grey", "test"),
    "faces": partial(faces.faces, "train"),
    "faces:test": partial(faces.faces, "test"),
    "scenes": partial(scenes.scenes, "train"),
    "scenes:test": partial(scenes.scenes, "test"),
    "scenes-photo": partial(scenes.scenes_photo, "train"),
    "scenes-photo:test": partial(scenes.scenes_photo, "test"),
    "cells": partial(cells.cells, "train"),
    "cells:test": partial(cells.cells, "test"),
}


def _digits(part: str, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Digits (N, 1, side, side) uint8, resized by cubic splines, and labels (N,): of the train or test part, or all; ten of
    each of the train part (few); or the train part without a digit (without-3)."""
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
    few = np.zeros_like(test)
    for label in range(10):
        few[[i for i in shuffled if labels[i] == label and not test[i]][:10]] = True
    parts = {"train": ~test, "test": test, "all": test | ~test, "few": few}
    chosen = parts[part] if part in parts else ~test & (labels != int(part[-1]))
    grey = torch.from_numpy(bunch.images[chosen]).float()[:, None] * (255 / 16)
    grey = F.interpolate(grey, (side, side), mode="bicubic", antialias=True)
    return grey.round_().clamp_(0, 255).to(torch.uint8).numpy(), labels[chosen]


def _changed(name: str, part: str, size: Size, change: Callable[[np.ndarray], np.ndarray]) -> Domains:
    """Every second digit of each class as it is, and the others changed: disjoint halves with equal shares; of the test part, all."""
    pixels, labels = _digits(part, _side(size, 16, name))
    of_kind = np.zeros(len(labels), np.int64)  # each digit's place among those of its kind
    for label in range(10):
        of_kind[labels == label] = np.arange((labels == label).sum())
    names = [str(i) for i in range(10)]
    first, second = (of_kind % 2 == 0, of_kind % 2 == 1) if part == "train" else (of_kind >= 0,) * 2
    title = "half" if part == "train" else part
    a = _table("digits", title, pixels[first], labels=labels[first], class_names=names)
    b = _table(name, title, change(pixels[second]), labels=labels[second], class_names=names)
    return Domains(name, a, b)


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
        return _skimage((PHOTOS | OTHERS)[name])
    from sklearn.datasets import load_sample_image

    return load_sample_image(f"{name}.jpg").transpose(2, 0, 1)


def _skimage(name: str) -> np.ndarray:
    picture = getattr(_library(), name)()
    return picture[None] if picture.ndim == 2 else picture.transpose(2, 0, 1)


def _stereo() -> tuple[np.ndarray, np.ndarray]:
    """A photograph (3, H, W) uint8, and how far each pixel (H, W) lies apart in its stereo pair; unknown ones not finite."""
    left, _, disparity = _library().stereo_motorcycle()
    return left.transpose(2, 0, 1), disparity


def _library() -> ModuleType:
    try:
        from skimage import data
    except ImportError:
        raise ValueError(
            "this picture comes with scikit-image, which is not installed: pip install scikit-image. "
            "photo:china and photo:flower are always there"
        ) from None
    return data


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
