"""A generator that copies its training images has the best distance to them; only images it never saw tell.

The Frechet distance, precision and most other scores compare samples with the training data. A generator that returns
training images is then perfect: nothing is closer to a set than the set itself. Two questions tell it from a generator
that learned the distribution p. With T the training set and O an equally large set of others, both from p, and d(x, S)
the distance of x to the nearest in S,

    P[d(x, T) < d(x, O)] = 1/2    for x from p, by symmetry        1 for copies
    FD(x, O) - FD(x, T)  = 0      for x from p, up to chance       > 0 for copies

Distances of pixels miss a copy that was shifted; distances of features find some of these. Repetition is another
matter: how many different images a generator has is told by how soon two of its samples are equal (the birthday
paradox): among s samples of n different ones a pair is likely when s is near 1.2 √n.

Control: a perfect generator, whose samples are real digits that are in neither of the two sets.
"""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from gankit.lab.evidence import Check, Evidence, near
from gankit.lab.material import all_digits
from gankit.lab.panels import FAKE, REAL, THEORY, panels, picture, show_sheet
from gankit.metrics.digits_classifier import features
from gankit.metrics.frechet import frechet_distance
from gankit.metrics.neighbours import birthday, memorisation, nearest_neighbours

SOURCE = "Meehan et al., A Non-Parametric Test to Detect Data-Copying, 2020; Arora and Zhang, 2018"
SECONDS = 8


def experiment(*, samples: int = 599, noise: float = 0.1, splits: int = 20, seed: int = 0) -> Evidence:
    """Copies of training digits, copies with noise, and new digits, by distances to training and to other digits.

    Args:
        samples: digits in each of the three sets, 200 to 599.
        noise: standard deviation of what the careless copier adds, for images from -1 to 1; at most 0.2.
        splits: random divisions of the digits into three sets, over which Frechet distances are averaged.
        seed: of the sets and the noise.

    Raises:
        ValueError: there are not so many digits, or the noise is of the size of the distances between digits.
    """
    if not 200 <= samples <= 599 or not 0 < noise <= 0.2:
        raise ValueError(f"samples is {samples} and noise {noise}; give 200 to 599, and up to 0.2")
    torch.manual_seed(seed)
    images, _ = all_digits()
    train, other, new = images.split(samples)[:3]
    copies = train[torch.randint(samples, (samples,))]
    sets = {"copies": copies, "copies with noise": copies + noise * torch.randn_like(copies), "new digits": new}
    found = {name: memorisation(x, train, other, quantile=0.01, permutations=199) for name, x in sets.items()}
    to_train, to_other = distances(images, samples, noise, splits)
    support = birthday(train[torch.randint(samples, (20 * samples,))], threshold=0.0).support
    new_train, new_other = to_train["new digits"], to_other["new digits"]
    nearer = "P[nearer to training than to other digits]"
    return Evidence(
        [
            Check("FD to the training digits, of copies / of new digits", to_train["copies"] / new_train, 0, 0.75),
            Check("FD to other digits, of copies / of new digits", to_other["copies"] / new_other, 0.9),
            near("FD of new digits, to training / to other digits", new_train / new_other, 1, 0.25),
            *(near(f"{nearer}, {n}", found[n].auroc, 1, 0.05) for n in ("copies", "copies with noise")),
            near(f"{nearer}, new digits", found["new digits"].auroc, 0.5, 0.05),
            near("share of copies within the distance of a copy", found["copies"].share, 1, 0),
            Check("the same share of new digits, where 1 % of other digits are", found["new digits"].share, 0, 0.03),
            near("different copies by the birthday paradox, divided by their true number", support / samples, 1, 0.25),
        ],
        drawn(sets, train, other, to_train, to_other),
        "Left: eight samples of each set, each beside the nearest training digit. Middle: distances of samples to the "
        "nearest training digit against those to the nearest other digit; with the diagonal dotted. Right: the Frechet "
        "distance to both sets, the mean of several divisions of the digits into sets.",
        {"fd_train": to_train, "fd_other": to_other, "verdicts": {n: m.verdict for n, m in found.items()}},
    )


def distances(images: Tensor, samples: int, noise: float, splits: int) -> tuple[dict[str, float], dict[str, float]]:
    """Mean Frechet distances to training digits, and to other digits, of the three sets."""
    clean, noisy = features(images), features(images + noise * torch.randn_like(images))
    total: tuple[dict[str, float], dict[str, float]] = {}, {}
    for _ in range(splits):
        train, other, new = torch.randperm(len(images)).split(samples)[:3]
        copied = train[torch.randint(samples, (samples,))]
        sets = {"copies": clean[copied], "copies with noise": noisy[copied], "new digits": clean[new]}
        for sums, rows in zip(total, (train, other)):
            for name, x in sets.items():
                sums[name] = sums.get(name, 0.0) + frechet_distance(clean[rows], x) / splits
    return total


def drawn(
    sets: dict[str, Tensor], train: Tensor, other: Tensor, to_train: dict[str, float], to_other: dict[str, float]
) -> Image.Image:
    """Samples with their neighbours, distances to both sets, and the Frechet distances."""
    figure, axes = panels(["Sample, nearest training digit", "Distance to the nearest", "Frechet distance"], height=3)
    rows = []
    for (name, batch), colour in zip(sets.items(), (FAKE, "#b3361f", REAL)):
        nearest = nearest_neighbours(batch, train)
        rows += [batch[:8], train[nearest.index[:8, 0]]]
        far = nearest_neighbours(batch, other).distance[:, 0]
        axes[1].plot(far, nearest.distance[:, 0], ".", ms=3, color=colour, label=name)
    show_sheet(axes[0], torch.cat(rows), 8)
    axes[0].set(ylabel="new          with noise        copies")
    axes[1].plot([0, 6], [0, 6], ":", color=THEORY)
    axes[1].set(xlabel="other digit", ylabel="training digit")
    axes[1].legend()
    place = torch.arange(len(sets))
    axes[2].bar(place - 0.2, list(to_train.values()), 0.4, color=FAKE, label="to training digits")
    axes[2].bar(place + 0.2, list(to_other.values()), 0.4, color=REAL, label="to other digits")
    axes[2].set_xticks(place.tolist(), [name.replace(" ", "\n", 1) for name in sets])
    axes[2].legend()
    return picture(figure)
