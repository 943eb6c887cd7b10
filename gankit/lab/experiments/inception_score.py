"""The inception score is full for one image a class repeated for ever, and for noise of which the classifier is sure.

A classifier gives each image x the probabilities p(y|x) of K classes. With H the entropy and p(y) the mean of p(y|x),

    IS = exp(H[p(y)] - E H[p(y|x)]) = exp(I(x; y)),    1 ≤ IS ≤ K

The second term is small where the classifier is sure of each image, which stands for quality; the first is large where
all classes are equally frequent, which stands for diversity. Averages of two digits lose by the second term, digits of
one class by the first. But nobody asks whether images of one class differ, and nobody asks what the classifier was
never shown: one digit a class, repeated, has certain and even classes, and so has noise after a few steps of gradient
ascent on the probability of a class. Both beat the real digits, some of which are hard to read.

Control: a distance to the data. The Frechet distance of both sets from the real digits is many times the distance of
one half of the real digits from the other.
"""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor, nn

from gankit import losses
from gankit.lab.evidence import Check, Evidence, near
from gankit.lab.material import all_digits
from gankit.lab.panels import FAKE, OTHER, REAL, THEORY, panels, picture, show_sheet
from gankit.metrics.classes import inception_score
from gankit.metrics.digits_classifier import NUM_CLASSES, features, probabilities, trained
from gankit.metrics.frechet import frechet_distance
from gankit.recipe import adam

SOURCE = "Salimans et al., Improved Techniques for Training GANs, 2016; Barratt and Sharma, A Note on the IS, 2018"
SECONDS = 10
FOOLS = ("one digit a class", "noise, made sure")


def experiment(*, samples: int = 500, steps: int = 200, seed: int = 0) -> Evidence:
    """The score and its two entropies on real digits, poor sets, and sets that fool it.

    Args:
        samples: images in each set, 100 to 890.
        steps: of gradient ascent on noise.
        seed: of the choice of digits, and of the noise.

    Raises:
        ValueError: there are too few digits for two sets of that size, or too few images for a Frechet distance.
    """
    if not 100 <= samples <= 890:
        raise ValueError(f"samples is {samples}; there are 1,797 digits, so give 100 to 890")
    torch.manual_seed(seed)
    images, label = all_digits()
    real, other, other_label = images[:samples], images[-samples:], label[-samples:]
    sets = {
        "real digits": real,
        "one class": real[label[:samples] == 3].repeat(NUM_CLASSES * 2, 1, 1, 1)[:samples],
        "averages of two": (real + other[torch.randperm(samples)]) / 2,
        FOOLS[0]: surest(other, other_label).repeat(samples // NUM_CLASSES, 1, 1, 1),
        FOOLS[1]: sure_noise(samples // NUM_CLASSES * NUM_CLASSES, steps),
    }
    score, inner, outer, distance = {}, {}, {}, {}
    for name, batch in sets.items():
        p = probabilities(batch)
        score[name] = inception_score(p, splits=1)[0]
        inner[name], outer[name] = (float(-torch.xlogy(q, q).sum(-1).mean()) for q in (p, p.mean(0)))
        distance[name] = frechet_distance(features(other), features(batch))
    gap = max(abs(score[name] - torch.tensor(outer[name] - inner[name]).exp().item()) for name in sets)
    above = {name: score[name] - score["real digits"] for name in sets}
    times = {name: distance[name] / distance["real digits"] for name in sets}
    return Evidence(
        [
            near("largest difference of the score from exp(H[p(y)] - E H[p(y|x)])", gap, 0, 1e-5),
            Check("score of averages of two, above that of real digits", above["averages of two"], -9, -1),
            Check("score of one class, where 1 is the least", score["one class"], 0.999, 1.5),
            *(Check(f"score of {name}, above that of real digits", above[name], 0) for name in FOOLS),
            *(Check(f"Frechet distance of {name} / of real digits", times[name], 5) for name in FOOLS),
        ],
        drawn(sets, score, inner, outer, distance),
        "Top: images of each set. Bottom: the mean p(y) of the set. Above: the score, whose largest value is 10, the "
        "Frechet distance from other real digits, and the entropies of p(y|x) and of p(y) in nats.",
        {"score": score, "entropy_of_mean": outer, "mean_entropy": inner, "frechet_distance": distance},
    )


def surest(images: Tensor, label: Tensor) -> Tensor:
    """The image of each class of which the classifier is most sure."""
    p = probabilities(images)
    return torch.stack([images[p[:, k].where(label == k, 0).argmax()] for k in range(NUM_CLASSES)])


def sure_noise(count: int, steps: int) -> Tensor:
    """Uniform noise, changed by gradient ascent until the classifier sees each class in an equal part of it."""
    noise = nn.Parameter(2 * torch.rand(count, 1, 8, 8) - 1)
    target, optimizer = torch.arange(count) % NUM_CLASSES, adam([noise], 0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        losses.cross_entropy(trained()(noise), target).backward()
        optimizer.step()
        with torch.no_grad():
            noise.clamp_(-1, 1)
    return noise.detach()


def drawn(sets: dict[str, Tensor], *values: dict[str, float]) -> Image.Image:
    """Images of each set, and its mean p(y)."""
    titles = [
        f"{name}\nIS {s:.2f}, FD {d:,.0f}\nE H[p(y|x)] {e:.2f}\nH[p(y)] {h:.2f}"
        for name, s, e, h, d in zip(sets, *(v.values() for v in values))
    ]
    figure, axes = panels([*titles, *["mean p(y)"] * len(sets)], len(sets), width=2.1, height=2.1)
    for i, (batch, colour) in enumerate(zip(sets.values(), (REAL, OTHER, OTHER, FAKE, FAKE))):
        show_sheet(axes[i], batch[:20], 5)
        bars = axes[len(sets) + i]
        bars.bar(range(NUM_CLASSES), probabilities(batch).mean(0).tolist(), color=colour)
        bars.axhline(1 / NUM_CLASSES, ls=":", color=THEORY)
        bars.set(xlabel="class y", xticks=range(0, NUM_CLASSES, 3), ylim=(0, 1))
    return picture(figure)
