"""Photographs that come with scikit-learn and scikit-image: whole, as patches, as domains and as pairs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import permutations
from types import ModuleType

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from gankit.data.builtin import defects
from gankit.data.builtin.canny import canny
from gankit.data.builtin.memory import in_memory, patches, square_side
from gankit.data.domains import Domains
from gankit.data.reading import decoding
from gankit.data.stream import Dataset, Size

PHOTOS = {"astronaut": "astronaut", "camera": "camera", "cat": "chelsea", "coffee": "coffee", "coins": "coins"}
PHOTOS |= {
    "hubble": "hubble_deep_field",
    "moon": "moon",
    "rocket": "rocket",
}  # from names of sets to functions of skimage.data
SKLEARN = ("china", "flower")
TEXTURES = ("brick", "grass", "gravel")
OTHERS = {"tissue": "immunohistochemistry", "retina": "retina", **{name: name for name in TEXTURES}}
REDUCED = {  # sets of several pictures, by the names above
    "contents": ("china", "flower", "astronaut", "camera"),
    "styles": ("coffee", "hubble", "retina", "rocket", "tissue", *TEXTURES),
}


def photo(name: str, size: Size, whole: bool = False) -> Dataset:
    """All patches, 64x64 or another size, of one photograph or of china and flower; or one whole photograph."""
    pictures = [_photo(photo_name) for photo_name in ([name] if name else SKLEARN)]
    if not whole:
        return patches("photo", name, pictures, size)
    height, width = size or pictures[0].shape[1:]
    fitted = decoding.fitted(_image(pictures[0]), height, width, "crop", "white")
    return in_memory("photo", f"{name}:whole", np.asarray(fitted).reshape(height, width, -1).transpose(2, 0, 1)[None])


def textures(size: Size) -> Dataset:
    """All patches, 64x64 or another size, of photographs of brick, grass and gravel, labelled."""
    return patches("textures", "", [_skimage(name) for name in TEXTURES], size, list(TEXTURES))


def reduced(name: str, size: Size) -> Dataset:
    """All patches, 64x64 or another size, of several pictures, labelled, in three channels.

    Each picture is cropped to a square and reduced so that a patch spans two fifths of it, and small networks see more
    than a blur. Each style has six colourings: its channels in all orders, and a tint if it is grey.

    Args:
        name: "contents", photographs of objects, or "styles", pictures with strong colours or textures.
    """
    side = max(size or (64, 64)) * 5 // 2
    fitted = [decoding.fitted(_image(_photo(title)), side, side, "crop", "white") for title in REDUCED[name]]
    pictures = [np.asarray(picture.convert("RGB")).transpose(2, 0, 1) for picture in fitted]
    if name == "styles":
        tints = [np.array([1, 0.6, 0.25]) if picture.mode == "L" else np.ones(3) for picture in fitted]
        orders = [list(order) for order in permutations(range(3))]
        pictures = [(p[o] * t[o, None, None]).round().astype(np.uint8) for p, t in zip(pictures, tints) for o in orders]
    dataset = patches(name, "six colours", pictures, size, list(REDUCED[name]))
    assert dataset.labels is not None  # there are classes
    dataset.labels //= len(pictures) // len(fitted)
    return dataset


def colour_depth(size: Size) -> Domains:
    """Patches of 64x64 or another size: colours of the left half of a photograph, and depths of its right half.

    The photograph is the left one of scikit-image's motorcycle stereo pair. Near is bright; pixels of unknown disparity
    get that of the nearest pixel to the left that has one.
    """
    colour, disparity = _stereo()
    valid = np.isfinite(disparity)
    before = np.maximum.accumulate(np.where(valid, np.arange(disparity.shape[1]), -1), axis=1)  # -1: none to the left
    before = np.where(before < 0, valid.argmax(1)[:, None], before)
    depth = np.take_along_axis(np.where(valid, disparity, disparity[valid].min()), before, axis=1)
    low, high = depth.min(), depth.max()
    grey = ((depth - low) * (255 / (high - low))).round().astype(np.uint8)
    middle = colour.shape[2] // 2
    a = patches("colour-depth", "a", [colour[:, :, :middle]], size)
    b = patches("colour-depth", "b", [np.repeat(grey[None, :, middle:], 3, axis=0)], size)
    return Domains("colour-depth", a, b)


def photo_pairs(name: str, part: str, size: Size) -> Domains:
    """All patches, 64x64 or another size, of one photograph (china): b in colour, a its edges or greys, (1, H, W).

    The left 70 % are the train part, the right 30 % the test part. They share no pixel, and edges are computed for
    each part separately. At every resolution the shorter side of a patch spans 128 of the photograph's 427 rows.

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
    first, second = (patches(name, f"{part}:{side}", [plane], size) for side, plane in (("a", a[None]), ("b", colour)))
    return Domains(name, first, second, kind="pairs")


def texture(name: str, part: str, size: Size) -> Dataset:
    """Patches of one texture: of the upper 60 % of its picture (train), the next 20 % (test) or the rest (defects)."""
    picture = _skimage(name)
    ends = [round(share * picture.shape[1]) for share in (0, 0.6, 0.8, 1)]
    which = ("train", "test", "defects").index(part)
    normal = patches("textures", f"{name}-{part}", [picture[:, ends[which] : ends[which + 1]]], size)
    return defects.damaged(f"textures-{name}-defects", normal) if part == "defects" else normal


def lfw(part: str, size: Size) -> Dataset:
    """Faces of 25x25, enlarged to 32x32 or another side: 70 to train on; to test on, 30 and 100 other patches."""
    grey = torch.from_numpy(_library().lfw_subset()).float()[:, None] * 255
    side = square_side(size, 32, "lfw")
    grey = F.interpolate(grey, (side, side), mode="bicubic", antialias=True)
    pixels = grey.round_().clamp_(0, 255).to(torch.uint8).numpy()
    if part == "train":
        return in_memory("lfw", part, pixels[:70])
    labels = np.repeat([0, 1], [30, 100])
    return in_memory("lfw", part, pixels[70:], labels=labels, class_names=["normal", "no face"])


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
    """A photograph (3, H, W) uint8 and its disparity (H, W) in the stereo pair; not finite where unknown."""
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


SETS: dict[str, Callable[[Size], Dataset | Domains]] = {
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
    "colour-depth": colour_depth,
    "photo-edges": partial(photo_pairs, "photo-edges", "train"),
    "photo-edges:test": partial(photo_pairs, "photo-edges", "test"),
    "photo-grey": partial(photo_pairs, "photo-grey", "train"),
    "photo-grey:test": partial(photo_pairs, "photo-grey", "test"),
}
