"""Truncation trades diversity for quality if the mean lies inside the data; the mean of ten classes costs both.

Samples from the edge of the prior are rare and often poor. Truncation moves latents towards a mean, w' = m + ψ (w - m),
so that all samples come from where the density is high:

    standard deviation of samples    ψ times that without truncation
    log density under the model      rises by (1 - ψ²) k / 2 on average, for k latent numbers

The first is diversity, and it always falls. The second is quality as far as the model's density tells of it. For data
of several classes the mean of all latents is a mixture of classes, which is no image at all: towards it samples lose
their class before they gain anything. The model here is known in full: a Gaussian of 16 components fitted to the digits
of each class, w = the digit. Towards the mean of its class each digit becomes a clean one; towards the mean of all it
becomes a blur. A small StyleGAN trained on these digits behaves like the second (diversity fell, quality did not rise).

Control: the mean, of the class or of all digits. Samples, ψ and model are the same.
"""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from gankit.lab.evidence import Check, Evidence, near
from gankit.lab.material import all_digits
from gankit.lab.panels import CRITIC, FAKE, REAL, panels, picture, show_sheet
from gankit.metrics.digits_classifier import NUM_CLASSES, features, probabilities
from gankit.metrics.diversity import pixel_std
from gankit.metrics.manifold import precision_recall

SOURCE = "Brock et al., BigGAN, 2019, section 3.1; Karras et al., StyleGAN, 2019, appendix B"
SECONDS = 3
PSIS = (1.0, 0.8, 0.6, 0.4, 0.2)


def experiment(*, samples: int = 800, components: int = 16, seed: int = 0) -> Evidence:
    """Diversity and quality of a known model's digits, moved towards the mean of their class and of all.

    Args:
        samples: digits drawn, 200 to 1,797; as many real ones are compared with.
        components: latent numbers of each class, 1 to 64.
        seed: of the digits.

    Raises:
        ValueError: there are not so many digits or pixels.
    """
    if not 200 <= samples <= 1797 or not 1 <= components <= 64:
        raise ValueError(f"samples is {samples} and components {components}; give 200 to 1797, and 1 to 64")
    torch.manual_seed(seed)
    images, label = all_digits()
    chosen = torch.arange(samples) % NUM_CLASSES
    z = torch.randn(samples, components)
    means = torch.stack([images[label == k].mean(0) for k in range(NUM_CLASSES)])
    drawn_digits = means[chosen].clone()
    for k in range(NUM_CLASSES):
        rows = (images[label == k] - means[k]).flatten(1)
        _, scale, axes = torch.linalg.svd(rows, full_matrices=False)
        basis = scale[:components, None] / (len(rows) - 1) ** 0.5 * axes[:components]
        drawn_digits[chosen == k] += (z[chosen == k] @ basis).view(-1, 1, 8, 8)
    real = features(images[:samples])
    centres = {"mean of the class": means[chosen], "mean of all": means.mean(0).expand_as(drawn_digits)}
    moved = {name: [m + psi * (drawn_digits - m) for psi in PSIS] for name, m in centres.items()}
    scores = {name: [score(x, chosen, real) for x in batches] for name, batches in moved.items()}
    own, every = scores.values()
    rise = float((z.square().sum(1) * (1 - PSIS[-1] ** 2) / 2).mean())
    within = [within_class(x, chosen) / within_class(drawn_digits, chosen) for x in moved["mean of the class"]]
    return Evidence(
        [
            near("deviation within a class at ψ = 0.4, divided by that at 1", within[3], 0.4, 0.001),
            near("rise of the log density at ψ = 0.2, / (1 - ψ²) k / 2", rise / ((1 - 0.04) * components / 2), 1, 0.1),
            Check(
                "rise of precision towards the mean of the class, ψ = 0.4",
                own[3]["precision"] - own[0]["precision"],
                0.01,
            ),
            Check(
                "rise of the share in the right class, the same", own[3]["right class"] - own[0]["right class"], 0.01
            ),
            Check("fall of recall, the same", own[0]["recall"] - own[3]["recall"], 0.2),
            Check(
                "fall of the share in the right class, mean of all, ψ = 0.4",
                own[0]["right class"] - every[3]["right class"],
                0.02,
            ),
            Check(
                "fall of precision towards the mean of all, ψ = 0.4", own[0]["precision"] - every[3]["precision"], 0.02
            ),
        ],
        drawn(moved, scores),
        "Left: eight samples at ψ from 1 (top) to 0.2, towards the mean of their class, and towards the mean of all. "
        "Right: the scores against ψ. Diversity falls in both, quality rises only in the first.",
        {"psi": list(PSIS), **scores},
    )


def within_class(images: Tensor, label: Tensor) -> float:
    """The mean over classes of the standard deviation of pixels."""
    return sum(pixel_std(images[label == k]) for k in range(NUM_CLASSES)) / NUM_CLASSES


def score(images: Tensor, label: Tensor, real: Tensor) -> dict[str, float]:
    """Quality and diversity of digits of known classes."""
    precision, recall = precision_recall(real, features(images))
    right = float((probabilities(images).argmax(1) == label).double().mean())
    return {"precision": precision, "right class": right, "recall": recall}


def drawn(moved: dict[str, list[Tensor]], scores: dict[str, list[dict[str, float]]]) -> Image.Image:
    """Samples of each truncation, and the scores."""
    figure, axes = panels([*(f"Towards the {name}" for name in moved), *(f"The {name}" for name in scores)], width=2.8)
    for panel, batches in zip(axes, moved.values()):
        show_sheet(panel, torch.cat([batch[:8] for batch in batches]), 8)
        panel.set_yticks([4 + 9 * i for i in range(len(PSIS))], [f"ψ = {psi:g}" for psi in PSIS])
    for panel, rows in zip(axes[2:], scores.values()):
        for kind, colour in zip(rows[0], (REAL, CRITIC, FAKE)):
            panel.plot(PSIS, [row[kind] for row in rows], "o-", color=colour, label=kind)
        panel.set(xlabel="ψ", ylim=(0, 1.05))
        panel.invert_xaxis()
    axes[2].legend(loc="lower left")
    return picture(figure)
