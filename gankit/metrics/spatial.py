"""Frechet distances over the positions of one image (SIFID), and within each class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gankit.metrics import inception
from gankit.metrics.frechet import frechet_distance
from gankit.metrics.neighbours import check_points
from gankit.nn import style
from gankit.weights import tensors

ENCODER = style.SMALL  # the file of gankit's own small encoder


class ClassDistance(NamedTuple):
    """The Frechet distance within a class, and the numbers of samples; lower is better for equal numbers."""

    distance: float
    num_real: int
    num_fake: int


class PerClass(NamedTuple):
    """The unweighted mean over classes, and the distance of each class."""

    mean: float
    classes: dict[int, ClassDistance]


def spatial_features(network: str = "inception", download: bool = True) -> Callable[[Tensor], Tensor]:
    """The feature extractor of SIFID: (N, 3, H, W) images in [-1, 1] of any size to (N, C, h, w) maps on the CPU.

    Args:
        network: "inception", PyTorch's ImageNet network up to its second max pool, C = 192, as published, 109 MB;
            "small", the third tap (relu3_1) of gankit's own small encoder, at a quarter of the size.
        download: whether weights may be downloaded.

    Raises:
        OSError: the weights are missing and cannot be downloaded.
        ValueError: from the returned extractor, for Inception and images with a side below 19 pixels.
    """
    if network != "inception":
        encoder = style.FrozenEncoder(style.convolutions_of(tensors(ENCODER), 3), torch.ones(3), torch.zeros(3))
        return lambda images: encoder(images.float().cpu())[2]
    net = inception.load_stem(download)

    def extract(images: Tensor) -> Tensor:
        if min(images.shape[2:]) < inception.STEM:
            raise ValueError(
                f"images are {images.shape[2]}x{images.shape[3]} (height x width); Inception's layers need "
                f"{inception.STEM} pixels a side"
            )
        return net(images.float().cpu())

    return extract


def sifid(real_map: Tensor, fake_map: Tensor) -> float:
    """Frechet distance over the positions of one real and one fake (C, H, W) feature map, whose H and W may differ.

    Shaham, Dekel & Michaeli, "SinGAN: Learning a Generative Model from a Single Natural Image", ICCV 2019,
    https://arxiv.org/abs/1905.01164: features of torchvision's Inception before its second max-pool, C = 192, of images
    that are not resized; report the mean over pairs of images. Lower is better, 0 for the same map. Only with those
    features is it SIFID. It is biased upwards for few positions (H W is about 1/16 of the pixels), which are not
    independent, so compare for one image size.

    Raises:
        ValueError: maps are not (C, H, W) with one C, have fewer than two positions, or hold NaN.
    """
    if real_map.ndim != 3 or fake_map.ndim != 3 or len(real_map) != len(fake_map):
        raise ValueError(f"maps are {tuple(real_map.shape)} and {tuple(fake_map.shape)}; give (C, H, W) with one C")
    return frechet_distance(*check_points(real_map=real_map.flatten(1).T, fake_map=fake_map.flatten(1).T))


def per_class_frechet(
    real: Tensor, real_label: Tensor, fake: Tensor, fake_label: Tensor, names: Sequence[str] | None = None
) -> PerClass:
    """Mean over classes of the Frechet distance between (N, d) real and (M, d) fake features of the class.

    Miyato & Koyama, "cGANs with Projection Discriminator", ICLR 2018, https://arxiv.org/abs/1802.05637 (intra FID).
    Lower is better. The bias is about (1/n + 1/m) times a constant of the features, with n and m the numbers of samples
    of the class: use equal numbers and report them.

    Args:
        real: (N, d) features.
        real_label: (N,) int64 classes.
        fake: (M, d) features.
        fake_label: (M,) int64 classes that the fakes were conditioned on.
        names: of the classes, for messages.

    Raises:
        ValueError: a class of one side has fewer than two samples on the other; shapes differ; NaN.
    """
    real, fake = check_points(real=real, fake=fake)
    for name, features, label in (("real", real, real_label), ("fake", fake, fake_label)):
        if label.shape != (len(features),) or label.is_floating_point():
            raise ValueError(
                f"{name}_label is {tuple(label.shape)} of {label.dtype}; give ({len(features)},) whole numbers"
            )
    real_label, fake_label = real_label.to(real.device), fake_label.to(real.device)
    classes = {}
    missing = []
    for label in torch.cat([real_label, fake_label]).unique().tolist():
        ours, theirs = real[real_label == label], fake[fake_label == label]
        if min(len(ours), len(theirs)) < 2:
            called = names[label] if names and 0 <= label < len(names) else label
            missing.append(f"{called} ({len(ours)} real, {len(theirs)} fake)")
        elif not missing:
            classes[label] = ClassDistance(frechet_distance(ours, theirs), len(ours), len(theirs))
    if missing:
        raise ValueError(
            f"classes with fewer than two samples on a side: {', '.join(missing)}; add some, or leave them out of both"
        )
    return PerClass(sum(c.distance for c in classes.values()) / len(classes), classes)
