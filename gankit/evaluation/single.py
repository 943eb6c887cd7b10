"""What is asked of a model of one image: are its samples of the image's patches, unlike each other, and no copies?"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gankit import data, metrics
from gankit.evaluation.sources import Source
from gankit.evaluation.subject import Score, Subject
from gankit.recipe import Recipe

COUNT = 50  # samples that are judged when nobody says


def alone(fake: Source, real: Source | None) -> bool:
    """Whether images are held against one image."""
    return fake.kind == "images" and real is not None and real.count == 1


def pyramid(s: Subject) -> Recipe | None:
    """The model, where it is one of one image."""
    return s.fake.recipe if hasattr(s.fake.recipe, "rebuilt") else None


def at_size(s: Subject, images: Tensor) -> Tensor:
    """Images of the size that the model draws at, and rounded to 8 bits, as files are."""
    finest = tuple(pyramid(s).sizes[-1] if pyramid(s) else s.fake.shape[1:])
    if images.shape[2:] != finest:
        images = interpolate(images, finest, mode="bicubic", antialias=True)
    return data.normalise(data.quantise(images.clamp(-1, 1)))


def both(s: Subject) -> tuple[Tensor, Tensor]:
    """The image (1, C, H, W) and samples."""
    return at_size(s, s.real_pixels[0]), at_size(s, s.pixels[0])


def coloured(x: Tensor) -> Tensor:
    return x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x[:, :3]


def sifid(s: Subject, network: str = "inception", name: str = "sifid") -> Iterator[Score]:
    """Frechet distance between the places of the image and of a sample, in Inception's early features; mean over samples (SinGAN)."""
    look = metrics.spatial_features(network, s.willing or network != "inception")
    image, samples = (coloured(x) for x in both(s))
    real = look(image)[0]
    yield over(torch.tensor([metrics.sifid(real, look(one[None])[0]) for one in samples]), name, "lower")


def sifid_small(s: Subject) -> Iterator[Score]:
    """The same in the features of gankit's own small encoder, which needs no download; compare with itself alone."""
    yield from sifid(s, "small", "sifid_small")


def patches(s: Subject) -> Iterator[Score]:
    """Sliced Wasserstein distance of all 7x7 patches of a sample from the image's, at full size, half and so on; mean over samples."""
    (real, *_), fake = both(s)
    yield over(metrics.patch_distances(real, fake, s.seed), "patch_swd", "lower")


def diversity(s: Subject) -> Iterator[Score]:
    """Deviation of each pixel over samples, over the deviation of the image's pixels (SinGAN): 0 when all samples are one picture."""
    real, fake = both(s)
    if len(fake) < 2:
        raise ValueError(f"{len(fake)} sample has no deviation; give two at least")
    yield Score(
        "diversity", metrics.pixel_std(fake) / float(real.double().std()), better="higher", n_real=1, n_fake=len(fake)
    )


def copies(s: Subject) -> Iterator[Score]:
    """Root mean square difference from the image of the sample that is nearest to it: 0 is a copy."""
    real, fake = both(s)
    apart = (fake - real).double().square().mean((1, 2, 3)).sqrt()
    yield Score(
        "nearest_rmse", float(apart.min()), better="", n_real=1, n_fake=len(fake), note="images in [-1, 1]; 0 is a copy"
    )


def reconstruction(s: Subject) -> Iterator[Score]:
    """Root mean square difference of the image from the picture that the model's fixed noise gives back, by the scales that have begun."""
    recipe = pyramid(s)
    with torch.no_grad():
        drawn = at_size(s, recipe.rebuilt(int(recipe.scale)).float().cpu())
    apart = (drawn - at_size(s, s.real_pixels[0])).double().square().mean().sqrt()
    yield Score("rec_rmse", float(apart), better="lower", n_real=1, note="images in [-1, 1]")


def over(values: Tensor, name: str, better: str) -> Score:
    """A mean over samples of distances from one image, and its standard error where there are two."""
    error = float(values.double().std()) / len(values) ** 0.5 if len(values) > 1 else None
    return Score(
        name, float(values.double().mean()), error, "standard error" * (error is not None), better, 1, len(values)
    )
