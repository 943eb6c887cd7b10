"""Where a tool starts: what a run draws from its seeds, or from a latent that `project` has found."""

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

from gankit import latent
from gankit.data.reading import arrays as npz
from gankit.data.reading.files import text
from gankit.recipe import Recipe
from gankit.runs.trained import Trained


class Seeds(tuple):
    """Seeds as a flag takes them: 0-3,7."""


@dataclass
class Start:
    """Points to work on.

    Args:
        points: (N, D) z, or (N, num_ws, w_dim) w.
        given: (N,) labels, or None.
        names: what each is called, for captions.
        space: z or w, which the points are of.
    """

    points: Tensor
    given: Tensor | None
    names: list[str]
    space: str = ""

    def __len__(self) -> int:
        return len(self.points)

    def rows(self, times: int) -> Tensor | None:
        """The labels, each `times` times."""
        return None if self.given is None else self.given.repeat_interleave(times)


def recipe_of(trained: Trained) -> Recipe:
    """The run's model, if it draws images of latents.

    Raises:
        ValueError: it does not; says what it does.
    """
    recipe = trained.recipe
    name = trained.config["model"]
    if not latent.draws_alone(recipe):
        raise ValueError(
            f"{name} does not draw from noise alone, so it has no latents to explore; this needs a run that does"
        )
    if len(recipe.spec.shape) != 3:
        raise ValueError(f"{name} was trained on points, and exploring draws images; `gankit interpolate` draws points")
    return recipe


def start(
    trained: Trained,
    seeds: Sequence[int],
    label: int | None = None,
    trunc: float = 1.0,
    space: str = "",
    file: str = "",
) -> Start:
    """Points of seeds, or the points in a file that `project` wrote.

    Raises:
        ValueError: the run has no such space or class, or the file does not fit it or what else is asked.
    """
    finite(trunc=trunc)
    recipe = recipe_of(trained)
    latent.check(recipe, label)
    if file:
        if trunc != 1.0:
            raise ValueError("--trunc is for seeds; a latent of --latent-file is drawn as it is: leave --trunc out")
        return of_file(trained, file, label, space)
    if not seeds:
        raise ValueError("no seed was given; write --seeds 0-3")
    points, given = latent.points(recipe, seeds, label, trunc, space)
    return Start(points, given, [f"seed {seed}" for seed in seeds], latent.space_of(recipe, space))


def finite(**flags: float) -> None:
    """Refuse flags that are nan or infinite."""
    for name, value in flags.items():
        if not math.isfinite(value):
            raise ValueError(f"--{name} is {value}; it must be a finite number")


def noised(trained: Trained, file: str) -> Trained:
    """The run with the noise maps in a .npz that `project` wrote, as a copy: the run given keeps its own.

    Raises:
        ValueError: it is no such file, or of a model with other noise maps.
    """
    if not file:
        return trained
    arrays = read(file, "latent", "the latent that `gankit explore RUN project` wrote")
    learnt = {name.removeprefix("noise."): value for name, value in arrays.items() if name.startswith("noise.")}
    if not learnt:
        return trained
    lent = copy.copy(trained)
    lent.recipe = copy.deepcopy(trained.recipe)
    own = dict(lent.recipe.named_buffers())
    for name, value in learnt.items():
        if name not in own or own[name].shape != value.shape or value.dtype.kind != "f" or not np.isfinite(value).all():
            raise ValueError(f"{file} holds the noise map {name} {value.shape}, which this model has not")
        own[name].copy_(torch.from_numpy(value))
    return lent


def of_file(trained: Trained, file: str, label: int | None = None, space: str = "") -> Start:
    """The points in a .npz that `project` wrote.

    Raises:
        ValueError: it is no such file, of a model with other latents, or of another class.
    """
    recipe, arrays = trained.recipe, read(file, "latent", "the latent that `gankit explore RUN project` wrote")
    space = latent.space_of(recipe, space or str(arrays.get("space", "")).removesuffix("+"))
    like, given = latent.points(recipe, [0], space=space)
    found = torch.from_numpy(arrays["latent"].astype(np.float64)).to(like)
    if found.ndim != like.ndim or found.shape[1:] != like.shape[1:]:
        raise ValueError(
            f"{file} holds latents {tuple(found.shape)}; this model's are (N, {', '.join(map(str, like.shape[1:]))})"
        )
    if given is not None:
        own = arrays.get("label", np.array(label or 0))
        if (
            own.dtype.kind not in "iu"
            or own.size not in (1, len(found))
            or own.min() < 0
            or own.max() >= recipe.spec.num_classes
        ):
            raise ValueError(
                f"{file} holds labels that are no classes of this model, 0 to {recipe.spec.num_classes - 1}, one for each latent"
            )
        if label is not None and (own != label).any():
            raise ValueError(
                f"--class is {label}, and the latent in {file} is of class {', '.join(map(str, np.unique(own)))}; leave --class out"
            )
        given = torch.from_numpy(np.broadcast_to(own.flatten(), (len(found),)).astype(np.int64)).to(given)
    return Start(
        found,
        given,
        [Path(file).stem if len(found) == 1 else f"{Path(file).stem} {i}" for i in range(len(found))],
        space,
    )


def table(file: str, what: str) -> list[list[str]]:
    """The lines of a .csv that are not empty.

    Raises:
        ValueError: there is no such file, or it is no table.
    """
    path = Path(file).expanduser()
    if not path.exists():
        raise ValueError(f"there is no file {file}; give {what}")
    try:
        return [row for row in csv.reader(text(path).splitlines()) if row]
    except csv.Error as error:
        raise ValueError(f"{file} is no table: {error}; give {what}") from error


def read(file: str, name: str, what: str) -> dict[str, np.ndarray]:
    """The arrays of a .npz, of which `name` must be one and hold finite numbers; nothing in it is executed.

    Raises:
        ValueError: it is no such file.
    """
    path = Path(file).expanduser()
    if not path.exists():
        raise ValueError(f"there is no file {file}; give {what}")
    try:
        arrays = npz.read(path)
    except ValueError as error:
        raise ValueError(f"{file} cannot be used: {error}; give {what}") from error
    found = arrays.get(name)
    if found is None or found.dtype.kind not in "fiu" or not found.size or not np.isfinite(found).all():
        raise ValueError(
            f"{file} holds {', '.join(sorted(arrays)) or 'nothing'}, and no finite numbers `{name}`; give {what}"
        )
    return arrays
