"""The Frechet distance falls as samples are added, and a resize or a shift of a pixel may cost more than noise.

It fits a Gaussian to the features of each set and takes the distance of the two Gaussians, which has a closed form:

    d = |m1 - m2|² + Tr(S1 + S2 - 2 (S1 S2)^(1/2))

Means and covariances of few samples are off at random, and d is never negative, so that errors do not cancel: two sets
of N samples from one distribution are about c / N apart. A number without its N says nothing, and a set of 50 good
samples looks worse than one of 1,000 blurred ones. The features are those of a network, here of a classifier of 8x8
digits, and what changes them is not what disturbs the eye. Images of 32x32 pixels reach 8x8 by a mean over blocks, by
interpolation or by keeping one pixel of each block; the content is the same, the features are not. That is why scores
are comparable only if both sets were resized, compressed and counted alike.

Control: two halves of the real digits, which are what a perfect generator gives at that number of samples; and each
change at growing strength, with which the distance must grow.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from gankit.lab.evidence import Check, Evidence, near
from gankit.lab.material import all_digits
from gankit.lab.panels import FAKE, OTHER, REAL, THEORY, panels, picture, show_sheet
from gankit.metrics.digits_classifier import features
from gankit.metrics.frechet import frechet_distance

SOURCE = (
    "Heusel et al. 2017; Chong and Forsyth, Effectively Unbiased FID, 2020; Parmar et al., On Aliased Resizing, 2022"
)
SECONDS = 3
COUNTS = (50, 100, 200, 400, 800)
SMALL = ("shift by 1/8", "one pixel in 16", "no 8")


def experiment(*, repeats: int = 5, seed: int = 0) -> Evidence:
    """The distance for Gaussians in closed form, by the number of samples, and of digits that were changed.

    Args:
        repeats: draws of each number of samples, whose mean is taken.
        seed: of the samples and the noise.

    Raises:
        ValueError: repeats is below 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats is {repeats}; give 1 or more")
    torch.manual_seed(seed)
    shift, scale = torch.tensor([1.0, 0.0, -2.0]), torch.tensor([0.5, 1.0, 3.0])
    exact = float(shift.square().sum() + (scale - 1).square().sum())  # S1 = 1 and S2 = diag(scale²) commute
    estimate = frechet_distance(torch.randn(100_000, 3), torch.randn(100_000, 3) * scale + shift)
    pairs = [[(torch.randn(n, 16), torch.randn(n, 16)) for _ in range(repeats)] for n in COUNTS]
    by_count = [sum(frechet_distance(*pair) for pair in drawn_pairs) / repeats for drawn_pairs in pairs]
    slope = float(torch.tensor(by_count[0] / by_count[-1]).log() / torch.tensor(COUNTS[-1] / COUNTS[0]).log())
    images, label = all_digits(32)
    half = len(images) // 2
    real, other, kept = features(images[:half]), images[half:], label[half:]
    changed = {"other digits": other} | changes(other) | {"no 8": other[kept != 8]}
    distance = {name: frechet_distance(real, features(batch)) for name, batch in changed.items()}
    digits_by_count = [frechet_distance(real[:n], features(other[:n])) for n in COUNTS]
    growing = [distance["other digits"], *(v for name, v in distance.items() if name.startswith("noise"))]
    return Evidence(
        [
            near("distance of two Gaussians by 100,000 samples, divided by the closed form", estimate / exact, 1, 0.03),
            near("power of 1 / N at which the distance falls, one Gaussian in 16 dimensions", slope, 1, 0.2),
            Check("distance of two sets of 50 digits / of two of 800", digits_by_count[0] / digits_by_count[-1], 4),
            Check("smallest step of the distance as noise grows", min(b - a for a, b in zip(growing, growing[1:])), 0),
            *(Check(f"distance of digits, {name} / of other digits", distance[name] / growing[0], 2) for name in SMALL),
            Check("distance after the shift / with noise of 0.3", distance[SMALL[0]] / distance["noise 0.3"], 1),
        ],
        drawn(by_count, digits_by_count, distance, changed),
        "Left: two sets of N from one distribution, with 1/N dotted. Middle: distances of 898 digits from 899 others, "
        "changed as named. Right: these as they are, with noise of 0.3, shifted, and resized in two ways.",
        {"counts": list(COUNTS), "gaussian": by_count, "digits": digits_by_count, "changed": distance},
    )


def changes(images: Tensor) -> dict[str, Tensor]:
    """Images (N, 1, 32, 32), changed in several ways; a classifier's pixel is a block of 4x4 of them."""
    noises = {
        f"noise {s}": images + s * torch.randn(len(images), 1, 8, 8).repeat_interleave(4, 2).repeat_interleave(4, 3)
        for s in (0.1, 0.3, 0.6)
    }
    return noises | {
        "blur": F.avg_pool2d(F.pad(images, (2, 2, 2, 2), mode="replicate"), 5, 1),
        "shift by 1/8": images.roll(4, 3),
        "bicubic resize": F.interpolate(images, size=8, mode="bicubic", antialias=True),
        "one pixel in 16": images[:, :, ::4, ::4],
    }


def drawn(
    by_count: list[float], digits_by_count: list[float], distance: dict[str, float], changed: dict[str, Tensor]
) -> Image.Image:
    """The distance by the number of samples and by the change, and some of the changed digits."""
    titles = ["Two sets of N from one distribution", "899 digits, changed", "The same digits, changed"]
    figure, axes = panels(titles, width=3.6)
    axes[0].loglog(COUNTS, digits_by_count, "o-", color=REAL, label="digits")
    axes[0].loglog(COUNTS, by_count, "o-", color=OTHER, label="Gaussian in 16 dimensions")
    axes[0].loglog(COUNTS, [by_count[0] * COUNTS[0] / n for n in COUNTS], ":", color=THEORY)
    axes[0].set_xticks(COUNTS, [str(n) for n in COUNTS], minor=False)
    axes[0].minorticks_off()
    axes[0].set(xlabel="N", ylabel="Frechet distance")
    axes[0].legend()
    names = sorted(distance, key=lambda name: distance[name])
    colours = [REAL if name == "other digits" else FAKE for name in names]
    axes[1].barh(names, [distance[name] for name in names], color=colours)
    axes[1].set(xlabel="Frechet distance")
    rows = ("other digits", "noise 0.3", "shift by 1/8", "bicubic resize", "one pixel in 16")
    show_sheet(axes[2], torch.cat([F.interpolate(changed[name][:7], size=32) for name in rows]), 7)
    axes[2].set_yticks([16 + 33 * i for i in range(len(rows))], rows)
    return picture(figure)
