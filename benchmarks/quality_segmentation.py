"""Measures of label maps, for `python benchmarks/quality.py unet`.

The first 200 images of the test part of scenes or cells: mean IoU and pixel accuracy over all pixels; for cells also
the F1 score of cells: connected parts that share more than half of their union with a true cell, each counted once.
"""

from __future__ import annotations

import numpy as np
import torch
from quality_translation import ROWS, Measures, Numbers, choice
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from gankit import Recipe, data, metrics


class Maps(Measures):
    """Measures label maps against the true ones."""

    data = "scenes"
    ablations = ({"elastic": 0.0},)

    def __init__(self, name: str, resolution: str):
        held, train = (data.open(part, resolution or None, want="masks") for part in (f"{name}:test", name))
        rows = held.rows(np.arange(min(200, len(held))))
        self.real, self.mask, self.k = data.normalise(rows["real"]), rows["mask"], held.num_classes
        self.colours = data.palette(self.k) if held.colours is None else held.colours
        self.has_cells = name == "cells"
        if self.has_cells:
            self.ablations = ({"border_weight": 0.0}, {"elastic": 0.0})
        self.train = train.rows(choice(len(train), 100))

    def measure(self, recipe: Recipe) -> Numbers:
        return self.numbers(torch.cat([recipe.segment(part).cpu() for part in self.real.split(20)]))

    def numbers(self, maps: Tensor) -> Numbers:
        matrix = metrics.confusion(maps, self.mask, self.k)
        numbers = {"mean_iou": metrics.mean_iou(matrix), "pixel_accuracy": metrics.pixel_accuracy(matrix)}
        return numbers | {"cells_f1": f1_of_cells(maps.numpy(), self.mask.numpy())} if self.has_cells else numbers

    def trivial(self, recipe: Recipe) -> dict[str, Numbers]:
        pixels = data.normalise(self.train["real"]).permute(0, 2, 3, 1).flatten(0, 2)
        label = self.train["mask"].flatten()
        chosen = torch.from_numpy(choice(len(label), 50_000))
        chosen = chosen[label[chosen] != 255]
        classifier = LogisticRegression(max_iter=200).fit(pixels[chosen].numpy(), label[chosen].numpy())
        by_colour = classifier.predict(self.real.permute(0, 2, 3, 1).flatten(0, 2).numpy())
        commonest = int(label[label != 255].bincount().argmax())
        return {
            "each pixel by its colour": self.numbers(torch.from_numpy(by_colour).view_as(self.mask)),
            "the commonest class": self.numbers(torch.full_like(self.mask, commonest)),
        }

    def columns(self, recipe: Recipe) -> list[Tensor]:
        maps = recipe.segment(self.real[:ROWS]).cpu(), self.mask[:ROWS]
        return [self.real[:ROWS], *(data.normalise(data.paint(x, self.colours)) for x in maps)]


def f1_of_cells(maps: np.ndarray, truth: np.ndarray) -> float:
    """F1 score of connected parts of (N, H, W) maps that share more than half of their union with one of the truth."""
    right = parts = 0
    for predicted, true in zip(maps, truth):
        (a, n), (b, m) = (ndimage.label(x == 1) for x in (predicted, true))
        shared = np.zeros((n + 1, m + 1))
        np.add.at(shared, (a.ravel(), b.ravel()), 1)
        union = shared.sum(1, keepdims=True) + shared.sum(0, keepdims=True) - shared
        iou = (shared / np.maximum(union, 1))[1:, 1:]
        right += int((iou > 0.5).sum())  # above a half a part has at most one partner
        parts += n + m
    return 2 * right / max(1, parts)
