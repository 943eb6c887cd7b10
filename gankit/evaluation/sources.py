"""What is judged and what it is judged against: samples that are read by number, from a model, a folder or a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gankit import data, latent
from gankit.data.lookup import named
from gankit.data.reading import arrays as npz
from gankit.data.reading import cache
from gankit.data.reading.rows import Rows as PreparedRows
from gankit.recipe import Recipe
from gankit.runs.files import digest
from gankit.runs.state import weights_of
from gankit.runs.trained import Trained

Rows = tuple[Tensor, Tensor | None]
DIGITS, NEGATIVE = "digits", "digits, negative"  # views: how the classifier of digits is to see images


class Asked(NamedTuple):
    """What is asked of translations, or known of images.

    Args:
        attribute: (n, A), NaN where an attribute is not known.
        source: (n,) number of the joined set that they are of; zeros where there is one set.
        which: (n,) the attribute that was asked for, -1 where all of them were.
    """

    attribute: Tensor
    source: Tensor
    which: Tensor


@dataclass(frozen=True)
class Attributes:
    """The attributes of a set of images, or of several joined ones.

    Args:
        names: what they are.
        groups: how many of them each set knows.
        exclusive: for each set, whether just one of its attributes holds.
        known: numbers (n,) to what is known of these images.
        graded: whether they are of degree, such as action units, and not yes or no.
    """

    names: tuple[str, ...]
    groups: tuple[int, ...]
    exclusive: tuple[bool, ...]
    known: Callable[[np.ndarray], Asked]
    graded: bool

    def slices(self) -> list[slice]:
        """Where in the row of attributes each set's own are."""
        ends = np.cumsum(self.groups)
        return [slice(int(end - size), int(end)) for size, end in zip(self.groups, ends)]


@dataclass(frozen=True)
class Source:
    """Samples 0 to count - 1.

    Args:
        name: short, for tables.
        kind: "images", "maps" (of labels, (n, H, W) int64), "points" or "vectors".
        shape: of one sample.
        count: how many there are.
        read: numbers (n,) to samples, float32, images in [-1, 1], and their labels (n,) or None.
        fingerprint: equal for equal samples.
        classes: how many classes the labels have; 0 without labels.
        class_names: what they are called, where that is known.
        about: what a record says of the samples.
        recipe: the model that draws them, for metrics that look at the model itself.
        data: the data set's name, where it is one.
        inputs: of translations, what they were made of: sample i of input i.
        targets: of translations, what sample i should be, where that is known.
        styles: of translations, the pictures whose style sample i was to get.
        attributes: what is known of the images, or was asked of translations.
        colours: (K, 3), in [-1, 1], of inputs that are label maps.
        way: of models that translate both ways, "ab" or "ba".
        view: how the classifier of digits is to see images of a domain: DIGITS, NEGATIVE, or "" for not at all.
        note: a sentence that every number of these samples needs beside it.
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
    inputs: Source | None = None
    targets: Source | None = None
    styles: Source | None = None
    attributes: Attributes | None = None
    colours: Tensor | None = None
    way: str = ""
    view: str = ""
    note: str = ""

    def numbers(self, n: int, seed: int = 0) -> np.ndarray:
        """Which samples `n` of them are: the first of a model; of a set an even choice by the seed, in order."""
        if self.recipe is not None or n >= self.count:
            return np.arange(min(n, self.count))
        return np.sort(np.random.default_rng(seed).permutation(self.count)[:n])

    def some(self, n: int, seed: int = 0, batch: int = 64) -> Rows:
        """The samples of `numbers`, and their labels."""
        numbers = self.numbers(n, seed)
        parts = [self.read(numbers[i : i + batch]) for i in range(0, len(numbers), batch)]
        label = None if parts[0][1] is None else torch.cat([part[1] for part in parts])
        return torch.cat([part[0] for part in parts]), label


def of_dataset(dataset: data.Dataset, typed: str = "") -> Source:
    """A data set's samples, in its own order, unmirrored."""

    def read(numbers: np.ndarray) -> Rows:
        rows = dataset.rows(numbers)
        real = rows["real"]
        return data.normalise(real) if real.dtype == torch.uint8 else real.float(), rows.get("label")

    about = {
        "data": dataset.name,
        "fingerprint": dataset.fingerprint,
        "shape": list(dataset.shape),
        "count": len(dataset),
    }
    classes = dataset.num_classes if dataset.labels is not None else 0
    return Source(
        dataset.name, dataset.kind, tuple(dataset.shape), len(dataset), read, dataset.fingerprint, classes,
        tuple(dataset.class_names), about, None, typed,
    )  # fmt: skip


def of_recipe(
    recipe: Recipe,
    name: str,
    fingerprint: str,
    seed: int = 0,
    trunc: float = 1.0,
    about: dict[str, object] | None = None,
) -> Source:
    """Samples of the seeds from `seed` on, as many as are asked for; a model with labels draws the classes in turn.

    Raises:
        ValueError: the model does not draw from noise alone.
    """
    latent.check(recipe)

    def read(numbers: np.ndarray) -> Rows:
        seeds = [seed + int(i) for i in numbers]
        label = latent.labels(recipe, seeds) if latent.takes_label(recipe) else None
        return latent.sample(recipe, seeds, trunc=trunc, batch=len(seeds)), None if label is None else label.cpu()

    kind = "images" if len(recipe.spec.shape) == 3 else recipe.data.split()[-1]
    classes = recipe.spec.num_classes if latent.takes_label(recipe) else 0
    key = cache.key(fingerprint, seed, trunc, next(recipe.parameters()).dtype)
    told = {"seed": seed, "trunc": trunc} | (about or {})
    return Source(name, kind, tuple(recipe.spec.shape), 1 << 40, read, key, classes, (), told, recipe)


def told(trained: Trained) -> dict[str, object]:
    """What a record says of a trained model."""
    weights = digest(weights_of(trained.recipe))
    return {"run": trained.folder.name, "model": trained.config["model"], "images": trained.images, "weights": weights}


def of_npz(path: Path) -> Source:
    """The `samples` (or `arr_0`) of a .npz, as `gankit sample -o` writes it: uint8 (N, H, W, C), or float (N, D).

    The array is unpacked to the cache and read from there, so that it need not fit into memory; labels are `label`.

    Raises:
        ValueError: the file is no such thing, or unpacks to far more than it is; nothing in it is executed.
        OSError: it cannot be read, or the disk is too small.
    """
    here = path.absolute()
    with named(path), npz.open_npz(here) as file:
        samples = next((name for name in ("samples", "arr_0") if name in file.arrays), None)
        if samples is None:
            raise ValueError(f"it holds {file}, and no `samples`")
        array, digest = file.arrays[samples], file.sha256()
        images = len(array.shape) == 4 and array.dtype == np.uint8 and array.shape[3] in (1, 3, 4)
        if not (images or len(array.shape) == 2 and array.dtype.kind == "f") or not array.size or array.columns:
            raise ValueError(
                f"`{samples}` is {array}{', column by column' * array.columns}; expected uint8 (N, H, W, C), or float (N, D), row by row"
            )
        label = file.read(("label",)).get("label")
    if label is not None and (label.shape != array.shape[:1] or label.dtype.kind not in "iu" or label.min() < 0):
        raise ValueError(
            f"{path}: label is {label.dtype}{list(label.shape)}; expected whole numbers from 0, ({array.shape[0]},)"
        )

    def build(out: Path) -> dict:
        cache.require_space(out, array.size)
        with named(path), npz.open_npz(here) as file, open(out, "wb") as unpacked:
            if file.sha256() != digest:
                raise ValueError("it has changed while it was read")
            unpacked.writelines(file.stream(samples))
        return {"count": array.shape[0], "parts": [array.size // array.shape[0]]}

    def again() -> cache.Prepared:
        return cache.prepare(cache.key("samples", digest, samples), build)

    stored = PreparedRows(again(), again, str(path), keep=False).of(array.shape[1:], dtype=array.dtype)

    def read(numbers: np.ndarray) -> Rows:
        rows = torch.from_numpy(stored(numbers).astype(array.dtype.newbyteorder("="), copy=False))
        if images:
            rows = data.normalise(rows.permute(0, 3, 1, 2).contiguous())
        elif not rows.isfinite().all():
            raise ValueError(f"{path} holds numbers that are not finite")
        return rows.float(), None if label is None else torch.from_numpy(label[numbers].astype(np.int64))

    count, shape = array.shape[0], (array.shape[3], *array.shape[1:3]) if images else array.shape[1:]
    about = {"file": path.name, "fingerprint": digest, "shape": list(shape), "count": count}
    classes = 0 if label is None else int(label.max()) + 1
    return Source(path.stem, "images" if images else "points", tuple(shape), count, read, digest, classes, (), about)


def of_data(name: str, settings: dict[str, object] | None = None, resolution: str = "") -> Source:
    """A data set by its name or path, fitted as the run's settings say; a .npz may hold data or samples.

    Raises:
        ValueError: there is no such data.
    """
    path = data.find(name)
    if path is not None and path.suffix.lower() == ".npz" and not path.is_dir():
        with named(path), npz.open_npz(path) as file:
            vectors = "real" in file.arrays
        if not vectors:
            return of_npz(path)
    dataset = opened(name, settings, resolution)
    if isinstance(dataset, data.Domains):  # a model of two draws the first unless it is asked for the other
        parts = data.split(name)
        return of_dataset(dataset.a, parts[0] if parts else dataset.a.name)
    return of_dataset(dataset, name)


def opened(
    name: str, settings: dict[str, object] | None = None, resolution: str = "", want: str = ""
) -> data.Dataset | data.Domains | data.Union:
    """A data set fitted as the run's settings say, read as the kind that is wanted.

    Raises:
        ValueError: there is no such data.
    """
    s = settings or {}
    known = {k: s[k] for k in ("fit", "alpha", "skip_bad") if k in s}
    return data.open(name, (resolution or s.get("resolution") or None), **known, want=want)


def aligned(source: Source, real: Source) -> Source:
    """The same with the reals' numbers for its classes, by name where names are known; without labels if they do not fit."""
    if not source.classes or source.class_names == real.class_names:
        return source
    names = source.class_names
    if (names and not set(names) <= set(real.class_names)) or (not names and source.classes > real.classes):
        return replace(source, read=lambda numbers: (source.read(numbers)[0], None), classes=0, class_names=())
    places = torch.tensor([real.class_names.index(name) for name in names] if names else range(source.classes))

    def read(numbers: np.ndarray) -> Rows:
        samples, label = source.read(numbers)
        return samples, None if label is None else places[label]

    return replace(source, read=read, classes=real.classes, class_names=real.class_names)


def held_out(real: Source, settings: dict[str, object] | None, resolution: str) -> Source | None:
    """The part of a set that models do not train on, where it has one."""
    name = data.held_out_of(real.data) if real.data else None
    return of_data(name, settings, resolution) if name else None
