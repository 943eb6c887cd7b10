"""Who says what a picture shows: the digits' classifier, one fitted to the run's own labelled data, or a file of labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gankit import metrics
from gankit.data.reading.files import listed
from gankit.evaluation import sources
from gankit.explore.start import read, table
from gankit.runs.trained import Trained


@dataclass(frozen=True)
class Judge:
    """A classifier of pictures.

    Args:
        classes: (N, C, H, W) images in [-1, 1] to (N,) int64 classes.
        names: what the classes are called.
        about: who it is, for records.
    """

    classes: Callable[[Tensor], Tensor]
    names: tuple[str, ...]
    about: str

    def number(self, name: str) -> int:
        """A class by its name or number.

        Raises:
            ValueError: there is none.
        """
        if name in self.names:
            return self.names.index(name)
        if name.isdecimal() and int(name) < len(self.names):
            return int(name)
        raise ValueError(f"there is no class {name!r}; there are {', '.join(listed(self.names, len(self.names)))}")


def data_of(trained: Trained, name: str = "") -> sources.Source:
    """The run's own data, or others, fitted as the run's settings say.

    Raises:
        ValueError: there are no such data, or their images are of another shape.
    """
    settings = trained.config["settings"]
    found = sources.of_data(name or settings["data"], settings)
    if tuple(found.shape) != tuple(trained.recipe.spec.shape):
        raise ValueError(
            f"{found.name} holds {list(found.shape)}; the run's images are {list(trained.recipe.spec.shape)}"
        )
    return found


def classes_of(trained: Trained) -> Judge:
    """A classifier for the run's pictures: the shipped one for digits, else one that is fitted to the run's labelled data.

    Raises:
        ValueError: the run's data have no labels.
    """
    name = trained.config["settings"]["data"]
    if name.split(":")[0] == "digits":
        return Judge(metrics.classify, tuple(str(i) for i in range(10)), "gankit's classifier of digits")
    found = data_of(trained)
    if not found.classes:
        raise ValueError(
            f"the run's data {name} have no labels, so no classifier can be fitted: give --labels FILE.csv, or --target brightness"
        )
    images, label = found.some(3000)
    predict = metrics.fit_convnet(images, label, epochs=3)
    names = found.class_names or tuple(str(i) for i in range(found.classes))
    return Judge(predict, names, f"a small network fitted to {len(images)} images of {name}")


def brightness(images: Tensor) -> Tensor:
    """(N, C, H, W) to (N,) int64: 1 for the brighter half."""
    mean = images.flatten(1).mean(1)
    return (mean > mean.median()).long()


def labels_of(file: str) -> tuple[Sequence[int], Tensor]:
    """Seeds and what a person says of their pictures, 0 or 1: of a .csv with columns seed,label, or a .npz with `seeds`, `label`.

    Raises:
        ValueError: the file is no such thing.
    """
    if Path(file).suffix.lower() == ".npz":
        arrays = read(file, "label", "a .npz with `seeds` and `label`")
        seeds, label = arrays.get("seeds", np.arange(arrays["label"].size)), arrays["label"]
    else:
        rows = table(file, "a .csv with a line seed,label for each picture, label 0 or 1")
        rows = rows[1:] if rows and not rows[0][0].strip().isdecimal() else rows
        try:
            numbers = np.array([[int(cell) for cell in row[:2]] for row in rows])
            seeds, label = numbers[:, 0], numbers[:, 1]
        except (ValueError, IndexError):
            raise ValueError(f"{file} is no table of seed,label with whole numbers; write lines like 17,1") from None
    if (
        seeds.dtype.kind not in "iu"
        or seeds.ndim != 1
        or seeds.shape != label.shape
        or not set(np.unique(label)) <= {0, 1}
        or seeds.min(initial=0) < 0
    ):
        raise ValueError(f"{file} must hold as many seeds, whole numbers, as labels, and labels of 0 and 1 alone")
    return [int(seed) for seed in seeds], torch.from_numpy(label.astype(np.int64))
