"""Samples to evaluate and data to compare them with, read by number from a model, a data set, a folder or a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from gankit import data, latent
from gankit.data import Modes
from gankit.data.naming import named
from gankit.data.reading import arrays as npz
from gankit.data.reading import cache
from gankit.data.reading.rows import Rows as PreparedRows
from gankit.data.reading.vectors import is_vectors
from gankit.disk import require_space
from gankit.recipe import Recipe
from gankit.runs.files import digest
from gankit.runs.state import weights_of
from gankit.runs.trained import Trained

T = TypeVar("T")
Rows = tuple[Tensor, Tensor | None]
UNLIMITED = 1 << 40  # count of a model's samples
DIGITS, NEGATIVE = "digits", "digits, negative"  # values of Samples.view


def required(value: T | None) -> T:
    """The value, for callers that know it is not None, for example because a metric's needs exclude that.

    Raises:
        TypeError: it is None.
    """
    if value is None:
        raise TypeError("a value that is needed here is None")
    return value


class Known(NamedTuple):
    """Attributes that images have, or that were requested of translations.

    Args:
        attribute: (n, A), NaN where an attribute is not known or was not requested.
        source: (n,) number of the joined data set that they come from; zeros where there is one set.
        which: (n,) column of the requested attribute, -1 where all were requested.
    """

    attribute: Tensor
    source: Tensor
    which: Tensor


@dataclass(frozen=True)
class SampleAttributes:
    """The attributes of a set of images, or of several joined ones.

    Args:
        names: their names.
        groups: how many of them belong to each set.
        exclusive: for each set, whether exactly one of its attributes holds.
        known: numbers (n,) to the attributes of these images.
        is_continuous: whether they are intensities, such as action units, rather than binary.
    """

    names: tuple[str, ...]
    groups: tuple[int, ...]
    exclusive: tuple[bool, ...]
    known: Callable[[np.ndarray], Known]
    is_continuous: bool

    def slices(self) -> list[slice]:
        """The columns of each set's attributes."""
        ends = np.cumsum(self.groups)
        return [slice(int(end - size), int(end)) for size, end in zip(self.groups, ends)]


@dataclass(frozen=True)
class Samples:
    """Samples 0 to count - 1, read when needed.

    Args:
        name: short, for tables.
        kind: "images", "maps" (of labels, (n, H, W) int64), "points" or "vectors".
        shape: of one sample.
        count: number of samples.
        read: numbers (n,) to samples, float32, images in [-1, 1], and their labels (n,) or None.
        fingerprint: equal for equal samples.
        classes: number of classes; 0 without labels.
        class_names: their names, where these are known.
        about: the description for records.
        recipe: the model that generates them, for metrics of the model itself.
        data: the name of the data set, if it is one.
        modes: the modes of the data set, where its distribution is known.
        inputs: for translations, the inputs: sample i is the translation of input i.
        targets: for translations, what sample i should be, where that is known.
        styles: for translations, the images whose style sample i should get.
        attributes: those of the images, or those that were requested of translations.
        colours: (K, 3), in [-1, 1], of inputs that are label maps.
        direction: for models that translate both ways, "ab" or "ba".
        view: the kind of images for the digits classifier: DIGITS, NEGATIVE, or "" for images that it does not know.
        note: a remark for every score of these samples.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    count: int
    read: Callable[[np.ndarray], Rows]
    fingerprint: str
    classes: int = 0
    class_names: tuple[str, ...] = ()
    about: dict[str, object] = field(default_factory=dict)
    recipe: Recipe | None = None
    data: str = ""
    modes: Modes | None = None
    inputs: Samples | None = None
    targets: Samples | None = None
    styles: Samples | None = None
    attributes: SampleAttributes | None = None
    colours: Tensor | None = None
    direction: str = ""
    view: str = ""
    note: str = ""

    def numbers(self, n: int, seed: int = 0) -> np.ndarray:
        """Numbers of at most `n` samples: the first ones of a model; of data a random choice by the seed, in order."""
        if self.recipe is not None or n >= self.count:
            return np.arange(min(n, self.count))
        return np.sort(np.random.default_rng(seed).permutation(self.count)[:n])

    def select(self, n: int, seed: int = 0, batch: int = 64) -> Rows:
        """The samples of `numbers`, and their labels."""
        return self.read_all(self.numbers(n, seed), batch)

    def read_all(self, numbers: np.ndarray, batch: int = 64) -> Rows:
        """The samples of these numbers, and their labels, read in batches."""
        parts = [self.read(numbers[i : i + batch]) for i in range(0, len(numbers), batch)]
        labels = [label for _, label in parts if label is not None]
        return torch.cat([values for values, _ in parts]), torch.cat(labels) if labels else None


class Trial(NamedTuple):
    """Samples to evaluate and what they are compared with: real data, and real data that no model was trained on."""

    fake: Samples
    real: Samples | None
    held_out: Samples | None


def of_dataset(dataset: data.Dataset, typed: str = "") -> Samples:
    """A data set's samples, in its own order, unmirrored; `typed` is the data set's name as the user typed it."""

    def read(numbers: np.ndarray) -> Rows:
        rows = dataset.rows(numbers)
        real = rows["real"]
        return data.normalise(real) if real.dtype == torch.uint8 else real.float(), rows.get("label")

    classes = dataset.num_classes if dataset.labels is not None else 0
    return Samples(
        dataset.name, dataset.kind, tuple(dataset.shape), len(dataset), read, dataset.fingerprint, classes,
        tuple(dataset.class_names), about_data(dataset), None, typed, dataset.modes,
    )  # fmt: skip


def about_data(dataset: data.Dataset | data.Union) -> dict[str, object]:
    """The description of a data set for records."""
    names = {"data": dataset.name, "fingerprint": dataset.fingerprint}
    return names | {"shape": list(dataset.shape), "count": len(dataset)}


def of_recipe(
    recipe: Recipe,
    name: str,
    fingerprint: str,
    seed: int = 0,
    trunc: float = 1.0,
    about: dict[str, object] | None = None,
) -> Samples:
    """A model's samples of seeds `seed`, `seed` + 1 and so on; a model with labels generates the classes in turn.

    Raises:
        ValueError: the model does not generate samples from noise only.
    """
    latent.check(recipe)

    def read(numbers: np.ndarray) -> Rows:
        seeds = [seed + int(i) for i in numbers]
        label = latent.labels(recipe, seeds) if latent.takes_label(recipe) else None
        return latent.sample(recipe, seeds, trunc=trunc, batch=len(seeds)), None if label is None else label.cpu()

    kind = "images" if len(recipe.spec.shape) == 3 else recipe.data.split()[-1]
    classes = recipe.spec.num_classes if latent.takes_label(recipe) else 0
    key = cache.key(fingerprint, seed, trunc, next(recipe.parameters()).dtype)
    about = {"seed": seed, "trunc": trunc} | (about or {})
    return Samples(name, kind, tuple(recipe.spec.shape), UNLIMITED, read, key, classes, (), about, recipe)


def about_model(trained: Trained) -> dict[str, object]:
    """The description of a trained model for records."""
    weights = digest(weights_of(trained.recipe))
    return {"run": trained.folder.name, "model": trained.config["model"], "images": trained.images, "weights": weights}


def of_npz(path: Path) -> Samples:
    """The `samples` (or `arr_0`) of a .npz, as `gankit sample -o` writes it: uint8 (N, H, W, C), or float (N, D).

    The array is unpacked to the cache and read from there, so that it need not fit into memory. Labels are `label`.

    Raises:
        ValueError: the file has another format, or unpacks to far more than its size; nothing in it is executed.
        OSError: it cannot be read, or the disk is too small.
    """
    absolute = path.absolute()
    with named(path), npz.open_npz(absolute) as file:
        key = next((name for name in ("samples", "arr_0") if name in file.arrays), None)
        if key is None:
            raise ValueError(f"it holds {file}, and no `samples`")
        array, fingerprint = file.arrays[key], file.sha256()
        is_images = len(array.shape) == 4 and array.dtype == np.uint8 and array.shape[3] in (1, 3, 4)
        is_points = len(array.shape) == 2 and array.dtype.kind == "f"
        if not (is_images or is_points) or not array.size or array.columns:
            raise ValueError(
                f"`{key}` is {array}{', column by column' * array.columns}; expected uint8 (N, H, W, C), or float "
                "(N, D), row by row"
            )
        label = file.read(("label",)).get("label")
    if label is not None and (label.shape != array.shape[:1] or label.dtype.kind not in "iu" or label.min() < 0):
        raise ValueError(
            f"{path}: label is {label.dtype}{list(label.shape)}; expected whole numbers from 0, ({array.shape[0]},)"
        )

    def build(out: Path) -> dict[str, object]:
        require_space(out.parent, array.size)
        with named(path), npz.open_npz(absolute) as file, open(out, "wb") as unpacked:
            if file.sha256() != fingerprint:
                raise ValueError("it has changed while it was read")
            unpacked.writelines(file.stream(key))
        return {"count": array.shape[0], "parts": [array.size // array.shape[0]]}

    def prepare() -> cache.Prepared:
        return cache.prepare(cache.key("samples", fingerprint, key), build)

    stored = PreparedRows(prepare(), prepare, str(path), keep=False).of(array.shape[1:], dtype=array.dtype)

    def read(numbers: np.ndarray) -> Rows:
        rows = torch.from_numpy(stored(numbers).astype(array.dtype.newbyteorder("="), copy=False))
        if is_images:
            rows = data.normalise(rows.permute(0, 3, 1, 2).contiguous())
        elif not rows.isfinite().all():
            raise ValueError(f"{path} holds numbers that are not finite")
        return rows.float(), None if label is None else torch.from_numpy(label[numbers].astype(np.int64))

    count, shape = array.shape[0], (array.shape[3], *array.shape[1:3]) if is_images else array.shape[1:]
    about = {"file": path.name, "fingerprint": fingerprint, "shape": list(shape), "count": count}
    classes = 0 if label is None else int(label.max()) + 1
    kind = "images" if is_images else "points"
    return Samples(path.stem, kind, tuple(shape), count, read, fingerprint, classes, (), about)


def of_data(name: str, settings: Mapping[str, object] | None = None, resolution: str = "") -> Samples:
    """A data set by its name or path, prepared as the run's settings specify; a .npz may hold data or samples.

    Raises:
        ValueError: there is no such data.
    """
    path = data.find(name)
    if path is not None and path.suffix.lower() == ".npz" and not path.is_dir():
        with named(path), npz.open_npz(path) as file:
            has_samples = not {"samples", "arr_0"}.isdisjoint(file.arrays)
            is_data = "real" in file.arrays or not (has_samples or is_vectors(path))
        if not is_data:
            return of_npz(path)
    dataset = open_dataset(name, settings, resolution)
    if isinstance(dataset, data.Domains):  # a model of two domains generates the first unless the other is named
        parts = data.split(name)
        return of_dataset(dataset.a, parts[0] if parts else dataset.a.name)
    if isinstance(dataset, data.Union):
        raise ValueError(f"{dataset.name} joins data sets with different attributes; name one of them")
    return of_dataset(dataset, name)


def open_dataset(
    name: str, settings: Mapping[str, object] | None = None, resolution: str = "", want: str = ""
) -> data.Dataset | data.Domains | data.Union:
    """A data set prepared as the run's settings specify, read as the kind `want`.

    Raises:
        ValueError: there is no such data.
    """
    how = data.reading_of(settings or {})
    if settings and name == settings.get("data"):
        data.refuse_unasked(name)
    return data.open_as(name, replace(how, resolution=resolution or how.resolution), want=want)


def with_classes_of(real: Samples, samples: Samples) -> Samples:
    """The samples with the class numbers of the real data, matched by name; without labels if they do not match."""
    names = samples.class_names
    if not samples.classes or names == real.class_names:
        return samples
    if (names and not set(names) <= set(real.class_names)) or (not names and samples.classes > real.classes):
        return replace(samples, read=lambda numbers: (samples.read(numbers)[0], None), classes=0, class_names=())
    new_numbers = torch.tensor([real.class_names.index(name) for name in names] if names else range(samples.classes))

    def read(numbers: np.ndarray) -> Rows:
        values, label = samples.read(numbers)
        return values, None if label is None else new_numbers[label]

    return replace(samples, read=read, classes=real.classes, class_names=real.class_names)
