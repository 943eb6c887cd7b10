"""Metrics of label maps, and of photographs that were generated from label maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from gankit import metrics
from gankit.evaluation.needs import SEGMENTER, Metric, Need
from gankit.evaluation.sources import Samples, required
from gankit.evaluation.subject import Score, Subject
from gankit.evaluation.translator_data import nearest_colours

FIT_PHOTOGRAPHS = 500  # photographs that a segmenter is fitted to

Segmenter = Callable[[Tensor], Tensor]


def segmentation(s: Subject) -> Iterator[Score]:
    """Pixel accuracy, class accuracy and mean intersection over union of label maps, over the whole set."""
    numbers, num_classes, targets = s.fake.numbers(s.n, s.seed), s.fake.classes, required(s.fake.targets)
    matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    for i in range(0, len(numbers), s.batch):
        rows = numbers[i : i + s.batch]
        matrix += metrics.confusion(s.fake.read(rows)[0], targets.read(rows)[0], num_classes)
    names = targets.class_names or tuple(map(str, range(num_classes)))
    note = ", ".join(f"{name} {value:.3f}" for name, value in zip(names, metrics.class_iou(matrix).tolist()))
    n = len(numbers)
    yield Score("pixel_accuracy", metrics.pixel_accuracy(matrix), better="higher", n_real=n, n_fake=n)
    yield Score("class_accuracy", metrics.class_accuracy(matrix), better="higher", n_real=n, n_fake=n)
    yield Score("mean_iou", metrics.mean_iou(matrix), better="higher", n_real=n, n_fake=n, note=note)


def fcn_score(s: Subject) -> Iterator[Score]:
    """Accuracy of a segmenter of photographs on the outputs, against the label maps that they were made from."""
    colours = required(s.fake.colours)
    num_classes = len(colours)
    labels = nearest_colours(s.inputs, colours)
    segmenter = s.segmenter or fitted_segmenter(s.real, colours, s)
    segmenter = with_matching_classes(segmenter, s.targets, labels, num_classes)
    of_outputs, of_photographs = (
        metrics.fcn_score(images, labels, segmenter, num_classes) for images in (s.pixels[0], s.targets)
    )
    names = "fcn_pixel_accuracy", "fcn_class_accuracy", "fcn_mean_iou"
    for name, value, best in zip(names, of_outputs, of_photographs):
        note = f"{best:.3f} for the photographs themselves; by {s.segmented_by}"
        yield Score(name, value, better="higher", n_fake=len(labels), note=note)


def fitted_segmenter(real: Samples | None, colours: Tensor, s: Subject) -> Segmenter:
    """A segmenter fitted to photographs of the training data and their label maps."""
    if real is None or real.inputs is None:
        raise ValueError(
            "there are no photographs with label maps to fit a segmenter to: add --against DATA, or --segmenter RUN"
        )
    numbers = real.numbers(min(FIT_PHOTOGRAPHS, s.max_count), s.seed)
    photographs, maps = (samples.read_all(numbers)[0] for samples in (real, real.inputs))
    return metrics.fit_segmenter(photographs, nearest_colours(maps, colours), len(colours), seed=s.seed)


def with_matching_classes(segmenter: Segmenter, photographs: Tensor, labels: Tensor, num_classes: int) -> Segmenter:
    """The segmenter with its classes renumbered as in the label maps, by its predictions on real photographs.

    Raises:
        ValueError: it has more classes than the label maps.
    """
    predicted = torch.cat([segmenter(part).cpu() for part in photographs.split(16)])
    if int(predicted.max()) >= num_classes:
        raise ValueError(f"the segmenter finds class {int(predicted.max())}; the label maps have {num_classes} colours")
    numbers = metrics.naming(metrics.confusion(predicted, labels, num_classes))
    return lambda images: numbers[segmenter(images).cpu()]


NEEDS = {
    "label maps": Need(lambda s: s.fake.kind == "maps", "the model does not segment"),
    "labelled inputs": Need(
        lambda s: s.fake.colours is not None,
        "the inputs are not coloured label maps paired with photographs",
        SEGMENTER,
    ),
}
METRICS = {
    "segmentation": Metric(segmentation, ("label maps",), ("translations",)),
    "fcn_score": Metric(fcn_score, ("images", "labelled inputs"), ("translations",)),
}
