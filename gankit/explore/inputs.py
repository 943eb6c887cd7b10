"""Inputs of the tools: latents of seeds or of a file, noise maps, images of a data set or of a file, and tables."""

from __future__ import annotations

import copy
import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gankit import data as library
from gankit import latent
from gankit.data.reading import arrays as npz
from gankit.data.reading import decoding, files
from gankit.evaluation import sources
from gankit.explore.seeds import Seeds as Seeds  # the tools take it from here
from gankit.recipe import Recipe
from gankit.runs.trained import Trained

LATENT_FILE = "the latent that `gankit explore RUN project` wrote"


@dataclass
class Latents:
    """The latents that a tool works on.

    Args:
        points: (N, D) z, or (N, num_ws, w_dim) w.
        labels: (N,) labels, or None.
        names: a caption for each.
        space: z or w.
    """

    points: Tensor
    labels: Tensor | None
    names: list[str]
    space: str = ""

    def repeated_labels(self, times: int) -> Tensor | None:
        """The labels, each `times` times."""
        return None if self.labels is None else self.labels.repeat_interleave(times)

    def render(self, recipe: Recipe) -> Tensor:
        """Their samples, (N, C, H, W) in [-1, 1], on the CPU."""
        return latent.render(recipe, self.points, self.labels)


def generator_of(trained: Trained) -> Recipe:
    """The run's model.

    Raises:
        ValueError: it does not generate images from noise.
    """
    recipe = trained.recipe
    name = trained.config["model"]
    if not latent.draws_alone(recipe):
        raise ValueError(
            f"{name} does not generate images from noise only, so it has no latents; choose a run of a model that does"
        )
    if len(recipe.spec.shape) != 3:
        raise ValueError(f"{name} was trained on points, and the tools need images; `gankit interpolate` draws points")
    return recipe


# Latents -------------------------------------------------------------------------------------------------------------


def latents_of(
    trained: Trained,
    seeds: Sequence[int],
    label: int | None = None,
    trunc: float = 1.0,
    space: str = "",
    file: str = "",
) -> Latents:
    """The latents of seeds, or those in a file that `project` wrote.

    Raises:
        ValueError: the model has no such space or class, or the file does not fit the model or the other arguments.
    """
    check_finite(trunc=trunc)
    recipe = generator_of(trained)
    latent.check(recipe, label)
    if file:
        if trunc != 1.0:
            raise ValueError("--trunc is for seeds; a latent of --latent-file is used unchanged: leave --trunc out")
        return read_latents(trained, file, label, space)
    if not seeds:
        raise ValueError("no seed was given; write --seeds 0-3")
    points, labels = latent.points(recipe, seeds, label, trunc, space)
    return Latents(points, labels, [f"seed {seed}" for seed in seeds], latent.space_of(recipe, space))


def check_finite(**flags: float) -> None:
    """Refuse flags that are nan or infinite."""
    for name, value in flags.items():
        if not math.isfinite(value):
            raise ValueError(f"--{name} is {value}; it must be a finite number")


def read_latents(trained: Trained, file: str, label: int | None, space: str) -> Latents:
    """The latents in a .npz that `project` wrote.

    Raises:
        ValueError: the file is something else, belongs to a model with other latents, or has another class.
    """
    recipe, arrays = trained.recipe, read_arrays(file, "latent", LATENT_FILE)
    space = latent.space_of(recipe, space or str(arrays.get("space", "")).removesuffix("+"))
    like, labels = latent.points(recipe, [0], space=space)
    points = torch.from_numpy(arrays["latent"].astype(np.float64)).to(like)
    if points.ndim != like.ndim or points.shape[1:] != like.shape[1:]:
        expected = ", ".join(map(str, like.shape[1:]))
        raise ValueError(f"{file} holds latents {tuple(points.shape)}; this model's are (N, {expected})")
    if labels is not None:
        numbers = labels_in(arrays, file, len(points), recipe.spec.num_classes, label)
        labels = torch.from_numpy(np.broadcast_to(numbers.flatten(), (len(points),)).astype(np.int64)).to(labels)
    stem = Path(file).stem
    names = [stem] if len(points) == 1 else [f"{stem} {i}" for i in range(len(points))]
    return Latents(points, labels, names, space)


def labels_in(arrays: dict[str, np.ndarray], file: str, count: int, num_classes: int, label: int | None) -> np.ndarray:
    """The labels in a file of `count` latents: one for all, or one for each.

    Raises:
        ValueError: they are not classes of the model, or differ from the requested class.
    """
    numbers = arrays.get("label", np.array(label or 0))
    is_fitting = numbers.dtype.kind in "iu" and numbers.size in (1, count)
    if not is_fitting or numbers.min() < 0 or numbers.max() >= num_classes:
        raise ValueError(
            f"{file} holds labels that are not classes of this model, 0 to {num_classes - 1}, one for each latent"
        )
    if label is not None and (numbers != label).any():
        classes = ", ".join(map(str, np.unique(numbers)))
        raise ValueError(f"--class is {label}, and the latent in {file} has class {classes}; leave --class out")
    return numbers


def with_noise_maps(trained: Trained, file: str) -> Trained:
    """A copy of the run with the noise maps in a .npz that `project` wrote; the run itself if there are none.

    Raises:
        ValueError: the file is something else, or belongs to a model with other noise maps.
    """
    if not file:
        return trained
    arrays = read_arrays(file, "latent", LATENT_FILE)
    maps = {name.removeprefix("noise."): value for name, value in arrays.items() if name.startswith("noise.")}
    if not maps:
        return trained
    changed = copy.copy(trained)
    changed.recipe = copy.deepcopy(trained.recipe)
    buffers = dict(changed.recipe.named_buffers())
    for name, value in maps.items():
        fits = name in buffers and buffers[name].shape == value.shape and value.dtype.kind == "f"
        if not fits or not np.isfinite(value).all():
            raise ValueError(f"{file} holds the noise map {name} {value.shape}, which this model does not have")
        buffers[name].copy_(torch.from_numpy(value))
    return changed


# Images --------------------------------------------------------------------------------------------------------------


def data_of(trained: Trained, name: str = "") -> sources.Samples:
    """A data set, fitted as the run's settings say; default: the run's own data.

    Raises:
        ValueError: there is no such data set, or its images have another shape than the model's.
    """
    settings = trained.config["settings"]
    source = sources.of_data(name or settings["data"], settings)
    if tuple(source.shape) != tuple(trained.recipe.spec.shape):
        raise ValueError(
            f"{source.name} holds {list(source.shape)}; the run's images are {list(trained.recipe.spec.shape)}"
        )
    return source


def read_image(file: str, shape: tuple[int, ...], how: library.Reading, missing: str) -> Tensor:
    """An image file as (1, C, H, W) in [-1, 1].

    Args:
        file: its path.
        shape: (C, H, W) to fit it to.
        how: fit, alpha, range and jpeg, as of the images that the model learned from.
        missing: what to do instead if there is no such file.

    Raises:
        ValueError: there is no such file, or it cannot be read.
    """
    path = Path(file).expanduser()
    if not file or not path.exists():
        raise ValueError(f"there is no file {file}; {missing}" if file else missing)
    channels, height, width = shape
    try:
        size = channels, height, width
        pixels = decoding.decode(files.read(path), size, how.fit, how.alpha, how.scale, how.jpeg)
    except decoding.Unusable as error:
        raise ValueError(f"{file} cannot be used: {error}") from error
    return library.normalise(torch.from_numpy(pixels[None]))


# Tables and arrays ---------------------------------------------------------------------------------------------------


def read_table(file: str, expected: str) -> list[list[str]]:
    """The rows of a .csv, without empty ones; `expected` describes the file that the tool takes, for messages.

    Raises:
        ValueError: there is no such file, or it is not a table.
    """
    path = Path(file).expanduser()
    if not path.exists():
        raise ValueError(f"there is no file {file}; give {expected}")
    try:
        return [row for row in csv.reader(files.text(path).splitlines()) if row]
    except csv.Error as error:
        raise ValueError(f"{file} is not a table: {error}; give {expected}") from error


def read_arrays(file: str, name: str, expected: str) -> dict[str, np.ndarray]:
    """The arrays of a .npz; the array `name` must be there and finite. Nothing in the file is executed.

    Raises:
        ValueError: the file is something else.
    """
    path = Path(file).expanduser()
    if not path.exists():
        raise ValueError(f"there is no file {file}; give {expected}")
    try:
        arrays = npz.read(path)
    except ValueError as error:
        raise ValueError(f"{file} cannot be used: {error}; give {expected}") from error
    array = arrays.get(name)
    if array is None or array.dtype.kind not in "fiu" or not array.size or not np.isfinite(array).all():
        names = ", ".join(sorted(arrays)) or "nothing"
        raise ValueError(f"{file} holds {names}, and no finite numbers `{name}`; give {expected}")
    return arrays
