"""Where the defects are: the maps in folders such as MVTec AD's ground_truth/, for the images in folders of defects."""

from __future__ import annotations

from collections.abc import Callable
from os.path import commonpath, dirname
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from gankit import data
from gankit.data.reading import decoding, files, labelmaps, patterns
from gankit.text import shown

NORMAL = ("good", "normal", "ok")  # class names that folders of normal images usually have
ABOVE = 3  # folders between the images that a user names and the folder that holds the maps, at most
EXPECTED = "ground_truth/DEFECT/NAME_mask.png, beside test/DEFECT/NAME.png"


class Truth(NamedTuple):
    """Images in folders of defects, and the maps of these.

    Args:
        images: the folder of the images.
        root: the folder above images and maps.
        maps: by the name of each image relative to `images`, the names of its maps relative to `root`.
        pattern: how maps are named.
    """

    images: Path
    root: Path
    maps: dict[str, list[str]]
    pattern: str


def find(name: str) -> Truth | None:
    """The maps that belong to the images in a folder, or in the test folder in it; None if there are none.

    The folder is that of a category (bottle), its test images (bottle/test) or one kind of them (bottle/test/crack).
    """
    path = Path(name).expanduser()
    if "\0" in name or not path.is_dir():
        return None
    path = path.resolve()
    for root in (path, *path.parents[:ABOVE]):
        present = _folders(root)
        for known in patterns.KNOWN:
            pair = [present.get(folder.lower()) for folder in known.folders]
            if known.kind != "defects" or not all(pair):
                continue
            below, maps = (root / str(folder) for folder in pair)
            images = below if path == root else path
            has_normal = any(folder in NORMAL for folder in _folders(below))
            if below not in (images, *images.parents) or not (has_normal or known.folders[1] == "ground_truth"):
                continue
            if (found := _matched(images, root, maps, known)).maps:
                return found
    return None


def _folders(path: Path) -> dict[str, str]:
    """The visible sub-folders of a folder by their names in lower case."""
    return {entry.name.lower(): entry.name for entry in path.iterdir() if entry.is_dir() and entry.name[0] != "."}


def _matched(images: Path, root: Path, maps: Path, known: patterns.Layout) -> Truth:
    """The maps of the images in a folder by the names of a layout."""
    above = images.relative_to(root).as_posix()
    names = {f"{above}/{name}": name for name in patterns.images(file.name for file in files.listing(images))}
    of_maps = [f"{maps.name}/{name}" for name in patterns.images(file.name for file in files.listing(maps))]
    by_key: dict[patterns.Key, list[str]] = {}
    for name, key in patterns.match(known.b, of_maps).items():
        by_key.setdefault(key, []).append(name)
    keys = patterns.match(known.a, list(names))
    return Truth(images, root, {names[n]: by_key[key] for n, key in keys.items() if key in by_key}, known.b)


def masks(
    truth: Truth, dataset: data.Dataset, anomalous: Tensor | None, fit: str
) -> tuple[Callable[[np.ndarray], np.ndarray] | None, list[str]]:
    """The maps of the images of a data set, and messages for the user.

    Args:
        truth: the maps of its images.
        dataset: the images in `truth.images`.
        anomalous: (N,) which images hold defects, None if that is not known.
        fit: how the images were fitted.

    Returns:
        Numbers (n,) to maps (n, H, W) uint8, 1 for defects and 255 beside the image; None if maps are missing.

    Raises:
        BadFiles: maps that cannot be used.
    """
    every = patterns.images(file.name for file in files.listing(truth.images))
    above = commonpath(map(dirname, every))  # names in data sets are relative to the folder that holds all images
    names = [name if name in truth.maps or not above else f"{above}/{name}" for name in dataset.names]
    with_maps = {dirname(name) for name in truth.maps}
    missing = [
        name
        for i, name in enumerate(names)
        if name not in truth.maps and (dirname(name) in with_maps if anomalous is None else bool(anomalous[i]))
    ]
    if missing:
        lines = "".join(f"\n  {line}" for line in files.listed(map(shown, missing), len(missing)))
        return None, [
            f"{len(missing):,} images of defects have no map as {truth.pattern}, so there is no pixel_auroc and no "
            f"pro; add the maps, white or any number above 0 where the defect is:{lines}"
        ]
    height, width = dataset.shape[1:]
    result = np.zeros((len(names), height, width), np.uint8)
    bad = []
    for row, name in zip(result, names):
        for map_name in truth.maps.get(name, []):
            try:
                np.maximum(row, _defect(truth, name, map_name, height, width, fit), out=row)
            except ValueError as error:
                bad.append((shown(map_name), str(error)))
    if bad:
        raise files.BadFiles(bad, sum(map(len, truth.maps.values())))
    return result.__getitem__, []


def _defect(truth: Truth, name: str, map_name: str, height: int, width: int, fit: str) -> np.ndarray:
    """The map (H, W) uint8 of one image, fitted as the image. Raises ValueError."""
    header = decoding.probe(files.read(truth.images / name))
    raw = labelmaps.load(files.read(truth.root / map_name)).pixels
    found = ((raw if raw.ndim == 2 else raw.max(2)) > 0).astype(np.uint8)
    if header.height * found.shape[1] != header.width * found.shape[0]:
        sizes = f"{found.shape[0]}x{found.shape[1]} (height x width) and its image {header.height}x{header.width}"
        raise ValueError(f"is {sizes}")
    image = Image.fromarray(found)
    if image.size != (width, height):
        image = decoding.fitted(image, height, width, fit, labelmaps.VOID, Image.Resampling.NEAREST)
    return np.asarray(image)
