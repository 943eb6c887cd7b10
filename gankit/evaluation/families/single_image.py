"""Metrics of models of one image: do samples have the image's patches, differ from each other, and not copy it?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gankit import data, metrics
from gankit.evaluation.needs import Metric, Need
from gankit.evaluation.sources import Samples, required
from gankit.evaluation.subject import Score, Subject
from gankit.metrics import inception, spatial
from gankit.recipe import Recipe, can
from gankit.weights import here

DEFAULT_COUNT = 50  # samples


def has_one_image(fake: Samples, real: Samples | None) -> bool:
    """Whether images are compared with one image."""
    return fake.kind == "images" and real is not None and real.count == 1


def pyramid(s: Subject) -> Recipe | None:
    """The model if it was trained on one image, which it can reconstruct."""
    recipe = s.fake.recipe
    return recipe if recipe is not None and can(recipe, "rebuilt") else None


def at_model_size(s: Subject, images: Tensor) -> Tensor:
    """Images resized to the model's output size and rounded to 8 bits, as files are."""
    recipe = pyramid(s)
    finest = tuple(cast("list[tuple[int, int]]", recipe.sizes)[-1] if recipe else s.fake.shape[1:])
    if images.shape[2:] != finest:
        images = interpolate(images, finest, mode="bicubic", antialias=True)
    return data.normalise(data.quantise(images.clamp(-1, 1)))


def image_and_samples(s: Subject) -> tuple[Tensor, Tensor]:
    """The image (1, C, H, W) and samples (N, C, H, W)."""
    return at_model_size(s, s.real_pixels[0]), at_model_size(s, s.pixels[0])


def as_rgb(x: Tensor) -> Tensor:
    """(N, C, H, W) to (N, 3, H, W): grey is repeated, alpha is dropped."""
    return x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x[:, :3]


def sifid(s: Subject) -> Iterator[Score]:
    """Mean over samples of the Frechet distance to the image over positions in Inception's early features (SinGAN)."""
    yield _sifid(s, "inception", "sifid")


def sifid_small(s: Subject) -> Iterator[Score]:
    """The same in the features of gankit's own small encoder, which needs no download; compare only with itself."""
    yield _sifid(s, "small", "sifid_small")


def _sifid(s: Subject, network: str, name: str) -> Score:
    extract = metrics.spatial_features(network, s.may_download or network != "inception")
    image, samples = (as_rgb(x) for x in image_and_samples(s))
    real = extract(image)[0]
    return mean_score(torch.tensor([metrics.sifid(real, extract(sample[None])[0]) for sample in samples]), name)


def patches(s: Subject) -> Iterator[Score]:
    """Mean over samples of the sliced Wasserstein distance to the image over all 7x7 patches, at several scales."""
    (real, *_), fake = image_and_samples(s)
    yield mean_score(metrics.patch_distances(real, fake, s.seed), "patch_swd")


def diversity(s: Subject) -> Iterator[Score]:
    """Standard deviation of each pixel over samples, relative to that of the image (SinGAN): 0 if all are equal."""
    real, fake = image_and_samples(s)
    if len(fake) < 2:
        raise ValueError(f"{len(fake)} sample has no standard deviation; give at least two")
    value = metrics.pixel_std(fake) / float(real.double().std())
    yield Score("diversity", value, better="higher", n_real=1, n_fake=len(fake))


def copies(s: Subject) -> Iterator[Score]:
    """Root mean square difference between the image and the sample nearest to it: 0 is a copy."""
    real, fake = image_and_samples(s)
    distances = (fake - real).double().square().mean((1, 2, 3)).sqrt()
    note = "images in [-1, 1]; 0 is a copy"
    yield Score("nearest_rmse", float(distances.min()), n_real=1, n_fake=len(fake), note=note)


def reconstruction(s: Subject) -> Iterator[Score]:
    """Root mean square difference between the image and its reconstruction by the scales trained so far."""
    recipe = required(pyramid(s))
    with torch.no_grad():
        output = at_model_size(s, recipe.rebuilt(int(recipe.get_buffer("scale"))).float().cpu())
    distance = (output - at_model_size(s, s.real_pixels[0])).double().square().mean().sqrt()
    yield Score("rec_rmse", float(distance), better="lower", n_real=1, note="images in [-1, 1]")


def mean_score(distances: Tensor, name: str) -> Score:
    """The mean over samples of distances to the one image, and its standard error from two samples on."""
    n, mean = len(distances), float(distances.double().mean())
    error, error_of = (float(distances.double().std()) / n**0.5, "standard error") if n > 1 else (None, "")
    return Score(name, mean, error, error_of, "lower", 1, n)


NEEDS = {
    "one image": Need(
        lambda s: has_one_image(s.fake, s.real),
        "it is for samples of one image: a run of singan, or a folder of samples and --against photo.jpg",
    ),
    "a pyramid": Need(lambda s: pyramid(s) is not None, "the model does not reconstruct one training image"),
    "ImageNet's Inception": Need(
        lambda s: s.may_download or here(inception.TORCHVISION),
        "its weights are not on this machine; named explicitly, the metric downloads 109 MB",
        network="inception_v3, Conv2d_4a_3x3",
        weights=inception.TORCHVISION,
    ),
    "gankit's encoder": Need(lambda s: True, "", network="style_encoder, relu3_1", weights=spatial.ENCODER),
}
METRICS = {
    "sifid": Metric(sifid, ("one image", "ImageNet's Inception")),
    "sifid_small": Metric(sifid_small, ("one image", "gankit's encoder")),
    "patches": Metric(patches, ("one image",)),
    "diversity": Metric(diversity, ("one image",)),
    "copies": Metric(copies, ("one image",)),
    "reconstruction": Metric(reconstruction, ("one image", "a pyramid")),
}
