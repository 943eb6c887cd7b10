"""Labels for generated images: from the digit classifier, a classifier trained on the run's data, or a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gankit import metrics
from gankit.data.reading.files import listed
from gankit.explore.inputs import data_of, read_arrays, read_table
from gankit.runs.trained import Trained


@dataclass(frozen=True)
class ImageClassifier:
    """A classifier of images.

    Args:
        classify: (N, C, H, W) images in [-1, 1] to (N,) int64 classes.
        names: the names of the classes.
        about: a description, for the numbers of a result.
    """

    classify: Callable[[Tensor], Tensor]
    names: tuple[str, ...]
    about: str

    def number(self, name: str) -> int:
        """The number of a class, from its name or number.

        Raises:
            ValueError: there is no such class.
        """
        if name in self.names:
            return self.names.index(name)
        if name.isdecimal() and int(name) < len(self.names):
            return int(name)
        raise ValueError(f"there is no class {name!r}; there are {', '.join(listed(self.names, len(self.names)))}")


def classifier_of(trained: Trained) -> ImageClassifier:
    """A classifier for the run's images: the shipped one for digits, else one trained here on the run's labelled data.

    Raises:
        ValueError: the run's data has no labels.
    """
    name = trained.config["settings"]["data"]
    if name.split(":")[0] == "digits":
        return ImageClassifier(metrics.classify, tuple(str(i) for i in range(10)), "gankit's classifier of digits")
    source = data_of(trained)
    if not source.classes:
        raise ValueError(
            f"the run's data {name} has no labels, so no classifier can be trained: "
            "give --labels FILE.csv, or --target brightness"
        )
    images, labels = source.select(3000)
    assert labels is not None  # it has classes
    classify = metrics.fit_convnet(images, labels, epochs=3)
    names = source.class_names or tuple(str(i) for i in range(source.classes))
    return ImageClassifier(classify, names, f"a small network fitted to {len(images)} images of {name}")


def is_bright(images: Tensor) -> Tensor:
    """(N, C, H, W) images to (N,) int64: 1 for the brighter half."""
    mean = images.flatten(1).mean(1)
    return (mean > mean.median()).long()


def read_labels(file: str) -> tuple[Sequence[int], Tensor]:
    """Seeds and binary labels of their images, from a .csv with columns seed,label or a .npz with `seeds` and `label`.

    Raises:
        ValueError: the file is something else.
    """
    if Path(file).suffix.lower() == ".npz":
        arrays = read_arrays(file, "label", "a .npz with `seeds` and `label`")
        seeds, labels = arrays.get("seeds", np.arange(arrays["label"].size)), arrays["label"]
    else:
        rows = read_table(file, "a .csv with a line seed,label for each image, label 0 or 1")
        rows = rows[1:] if rows and not rows[0][0].strip().isdecimal() else rows
        try:
            numbers = np.array([[int(cell) for cell in row[:2]] for row in rows])
            seeds, labels = numbers[:, 0], numbers[:, 1]
        except (ValueError, IndexError):
            raise ValueError(f"{file} is not a table of seed,label in whole numbers; write lines like 17,1") from None
    has_seeds = seeds.dtype.kind in "iu" and seeds.ndim == 1 and seeds.min(initial=0) >= 0
    if not has_seeds or seeds.shape != labels.shape or not set(np.unique(labels)) <= {0, 1}:
        raise ValueError(f"{file} must hold seeds, which are whole numbers, and as many labels, each 0 or 1")
    return [int(seed) for seed in seeds], torch.from_numpy(labels.astype(np.int64))
