"""Pixel and class accuracy and mean IoU of label maps, all from one confusion matrix of the whole data set.

Long, Shelhamer & Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015,
https://arxiv.org/abs/1411.4038, section 5: with n_ij the pixels of class i predicted as j, t_i = sum_j n_ij,
pixel accuracy = sum_i n_ii / sum_i t_i, class accuracy = mean_i n_ii / t_i,
mean IoU = mean_i n_ii / (t_i + sum_j n_ji - n_ii).
The mean of per-image values differs (in one example 0.725 instead of 0.883). Higher is better for all three.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from gankit.metrics.classifier_scores import train


class SegmentationScore(NamedTuple):
    """The three values of pix2pix's table, 0 to 1, higher is better."""

    pixel_accuracy: float
    class_accuracy: float
    mean_iou: float


def confusion(predicted: Tensor, label: Tensor, num_classes: int, ignore: int | None = 255) -> Tensor:
    """(K, K) int64 counts of pixels by label (row) and predicted class (column). Batches can be summed.

    Args:
        predicted: whole numbers from 0 to K - 1, of any shape.
        label: the same, or `ignore`, of the same shape.
        num_classes: K.
        ignore: label of pixels that are not counted; None counts all.

    Raises:
        ValueError: shapes differ, classes are not integers, or a counted pixel has a class outside 0 to K - 1.
    """
    if predicted.shape != label.shape:
        raise ValueError(f"predicted is {tuple(predicted.shape)}, label {tuple(label.shape)}; give maps of one shape")
    if predicted.is_floating_point() or label.is_floating_point():
        raise ValueError(f"predicted is {predicted.dtype}, label {label.dtype}; give whole numbers: argmax of scores")
    predicted, label = predicted.to(label.device).long().flatten(), label.long().flatten()
    if ignore is not None:
        predicted, label = predicted[label != ignore], label[label != ignore]
    for name, x in (("predicted", predicted), ("label", label)):
        if len(x) and not 0 <= int(x.min()) <= int(x.max()) < num_classes:
            outside = x[(x < 0) | (x >= num_classes)].unique().tolist()
            raise ValueError(
                f"{name} holds classes {outside[:9]}; there are 0 to {num_classes - 1}, and {ignore=} is for label only"
            )
    return (label * num_classes + predicted).bincount(minlength=num_classes**2).view(num_classes, num_classes)


def pixel_accuracy(matrix: Tensor) -> float:
    """Share of correct pixels, from a (K, K) `confusion`."""
    matrix = _checked(matrix)
    return float(matrix.trace() / matrix.sum())


def class_accuracy(matrix: Tensor, absent: Literal["skip", "zero"] = "skip") -> float:
    """Mean over classes of the share of correct pixels, from a (K, K) `confusion`.

    Classes without labelled pixels are left out of the mean (`absent` is "skip") or count as 0 ("zero"), as with the
    1e-12 that pix2pix's script adds to the denominator; both are equal if every class occurs.
    """
    matrix = _checked(matrix)
    return _mean(matrix.diagonal() / matrix.sum(1), absent)


def class_iou(matrix: Tensor) -> Tensor:
    """(K,) float64 intersection over union of each class; NaN for one neither labelled nor predicted anywhere."""
    matrix = _checked(matrix)
    return matrix.diagonal() / (matrix.sum(1) + matrix.sum(0) - matrix.diagonal())


def mean_iou(matrix: Tensor, absent: Literal["skip", "zero"] = "skip") -> float:
    """Mean over classes of intersection over union, from a (K, K) `confusion`; `absent` as for `class_accuracy`.

    A class is absent when it is neither labelled nor predicted anywhere; one that is only predicted has IoU 0.
    """
    return _mean(class_iou(matrix), absent)


def fcn_score(
    images: Tensor,
    label: Tensor,
    segmenter: Callable[[Tensor], Tensor],
    num_classes: int,
    ignore: int | None = 255,
    absent: Literal["skip", "zero"] = "skip",
    batch: int = 8,
) -> SegmentationScore:
    """Accuracy of a segmenter of real photographs on generated ones, against the labels they were generated from.

    Isola, Zhu, Zhou & Efros, "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017,
    https://arxiv.org/abs/1611.07004, section 4.1: FCN-8s trained on Cityscapes, 19 classes, 255 ignored, photographs
    resized to the labels. The value depends on the segmenter as much as on the generator: compare with real photographs
    under the same segmenter, and with published values only under theirs (with absent="zero").

    Args:
        images: (N, C, h, w) generated, in [-1, 1]; resized bilinearly if label maps have another size.
        label: (N, H, W) classes that the images were generated from.
        segmenter: (n, C, H, W) images to (n, H, W) classes, or to (n, K, H, W) scores.
        num_classes: K.
        ignore: label of pixels that are not counted.
        absent: see `class_accuracy`.
        batch: images at once.

    Raises:
        ValueError: numbers of images and maps differ, NaN, or the segmenter's maps have other sizes than the labels.
    """
    if images.ndim != 4 or label.ndim != 3 or len(images) != len(label) or not len(images):
        raise ValueError(
            f"images are {tuple(images.shape)} and label {tuple(label.shape)}; give (N, C, h, w) and (N, H, W)"
        )
    if not torch.isfinite(images).all():
        raise ValueError("images hold NaN or infinity; leave them out and say so")
    matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=label.device)
    for some, truth in zip(images.split(batch), label.split(batch)):
        if some.shape[2:] != truth.shape[1:]:
            some = interpolate(some, truth.shape[1:], mode="bilinear", antialias=True)  # as Pillow in pix2pix's script
        with torch.no_grad():
            out = segmenter(some)
        if out.ndim == 4 and out.shape[1] == num_classes:
            out = out.argmax(1)
        if out.shape != truth.shape:
            raise ValueError(
                f"the segmenter gave {tuple(out.shape)}; expected {tuple(truth.shape)} classes, "
                f"or scores of {num_classes} classes in dimension 1"
            )
        matrix += confusion(out, truth, num_classes, ignore)
    return SegmentationScore(pixel_accuracy(matrix), class_accuracy(matrix, absent), mean_iou(matrix, absent))


def fit_segmenter(
    images: Tensor, label: Tensor, num_classes: int, ignore: int | None = 255, seed: int = 0, epochs: int = 10
) -> Callable[[Tensor], Tensor]:
    """A small segmenter trained on (N, C, H, W) images in [-1, 1] and (N, H, W) classes: images to (n, H, W) classes.

    Convolutions at half resolution with a receptive field of 61x61 pixels, trained as in `fit_convnet`. It replaces
    FCN-8s in `fcn_score` if there is none for the data: compare its values only with each other. The same seed gives
    the same network, on one machine.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        widths, steps = (images.shape[1], 32, 32, 32, 32), (1, 2, 4, 8)
        layers: list[nn.Module] = []
        for i, step in enumerate(steps):
            kernel, stride, padding = (3, 1, step) if i else (5, 2, 2)
            conv = nn.Conv2d(widths[i], widths[i + 1], kernel, stride, padding, step)
            layers += [conv, nn.GroupNorm(8, 32), nn.ReLU()]
        net = nn.Sequential(*layers, nn.Conv2d(32, num_classes, 1)).to(images.device)

    def scores(images: Tensor) -> Tensor:
        return interpolate(net(images.float()), images.shape[2:], mode="bilinear")

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        whole = interpolate(logits, target.shape[1:], mode="bilinear")
        return cross_entropy(whole, target, ignore_index=-100 if ignore is None else ignore)

    train(net, images.detach().float(), label, loss, seed, epochs, batch=16)

    def segment(images: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([scores(part).argmax(1) for part in images.split(16)])

    return segment


def _checked(matrix: Tensor) -> Tensor:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"the confusion matrix is {tuple(matrix.shape)}; give (K, K) from confusion()")
    if not matrix.sum() > 0:
        raise ValueError("the confusion matrix counts no pixels: every label is ignored")
    return matrix.cpu().double()


def _mean(values: Tensor, absent: str) -> float:
    if absent not in ("skip", "zero"):
        raise ValueError(f'absent is {absent!r}; give "skip" or "zero"')
    return float(values.nanmean() if absent == "skip" else values.nan_to_num(nan=0.0).mean())
