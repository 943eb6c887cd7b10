"""Precision falls with the quality of samples and recall with their diversity; one real outlier fools precision alone.

Put a ball around each real sample that reaches to its k-th nearest real neighbour; the union estimates the support of
the data, and the balls of the fakes that of the generator.

    precision = share of fakes inside some real ball         recall   = share of reals inside some fake ball
    density   = mean of (real balls around a fake) / k       coverage = share of real balls with a fake inside

A generator that draws only some of ten classes well has high precision and a recall near its share of the classes;
noise does the reverse. One number, such as the Frechet distance, mixes the two. The ball of a real outlier reaches
back to the data and takes in all between, so that one mistaken image can make any fake count as good. Density counts
balls, and one ball in k neighbours adds only 1 / k; coverage asks for each real ball, and one among N adds only 1 / N.

Control: other real digits in the place of fakes, which must score high on all four; and the fakes far from the data
without the outlier, for which all four must be 0.
"""

from __future__ import annotations

import math

import torch
from PIL import Image
from torch import Tensor

from gankit.lab.evidence import Check, Evidence, near
from gankit.lab.material import all_digits
from gankit.lab.panels import FAKE, REAL, THEORY, panels, picture
from gankit.metrics.digits_classifier import features
from gankit.metrics.manifold import density_coverage, precision_recall, radii

SOURCE = "Kynkäänniemi et al., Improved Precision and Recall Metric, 2019; Naeem et al., Reliable Fidelity, 2020"
SECONDS = 3
KINDS = ("precision", "recall", "density", "coverage")
KEPT, NOISE = (10, 8, 6, 4, 2), (0.0, 0.2, 0.4, 0.8, 1.6)
POINTS, K = 400, 5


def experiment(*, seed: int = 0) -> Evidence:
    """The four scores of digits with fewer classes and with noise, and of points far from the data beside an outlier.

    Args:
        seed: of the choice of digits, the noise and the points.
    """
    torch.manual_seed(seed)
    images, label = all_digits()
    half = len(images) // 2
    real, fake, fake_label = features(images[:half]), images[half:], label[half:]
    fewer = [scores(real, features(fake[fake_label < kept])) for kept in KEPT]
    noisy = [scores(real, features(fake + sigma * torch.randn_like(fake))) for sigma in NOISE]
    points, far = torch.randn(POINTS, 2), torch.randn(POINTS, 2) * 0.3 + torch.tensor([20.0, 0.0])
    with_outlier = torch.cat([points[1:], torch.tensor([[40.0, 0.0]])])
    without, fooled = scores(points, far), scores(with_outlier, far)
    worst = max(abs(s["recall"] - kept / 10) for s, kept in zip(fewer, KEPT))
    precise = [s["precision"] / fewer[0]["precision"] for s in (fewer[-1], noisy[3])]
    recalled = noisy[3]["recall"] / noisy[0]["recall"]
    return Evidence(
        [
            *(Check(f"{kind} of other real digits", fewer[0][kind], 0.8) for kind in KINDS),
            near("largest difference of the recall from the share of the classes that are left", worst, 0, 0.2),
            near("precision of two classes, divided by that of ten", precise[0], 1, 0.1),
            Check(f"precision with noise of {NOISE[3]}, divided by that without", precise[1], 0, 0.6),
            Check(f"recall with noise of {NOISE[3]}, divided by that without", recalled, 0.7),
            *(near(f"{kind} of points far from the data", without[kind], 0, 0) for kind in KINDS),
            near("precision of the same points beside one real outlier", fooled["precision"], 1, 0),
            near("density beside the outlier, one ball in 5 neighbours", fooled["density"], 1 / K, 1e-9),
            near(f"coverage beside the outlier, one ball of {POINTS}", fooled["coverage"], 1 / POINTS, 1e-9),
        ],
        drawn(fewer, noisy, with_outlier, far, fooled),
        "Left: digits of which only some classes are left, with the share of the classes dotted. Middle: digits with "
        "noise. Right: fakes far from the data, the ball of one real outlier around them, and the scores that follow.",
        {"fewer": fewer, "noisy": noisy, "without_outlier": without, "outlier": fooled},
    )


def scores(real: Tensor, fake: Tensor) -> dict[str, float]:
    """The four scores by name, of features or points."""
    return dict(zip(KINDS, (*precision_recall(real, fake, K), *density_coverage(real, fake, K))))


def drawn(
    fewer: list[dict[str, float]], noisy: list[dict[str, float]], points: Tensor, far: Tensor, fooled: dict[str, float]
) -> Image.Image:
    """The four scores by classes and by noise, and the ball of the outlier."""
    figure, axes = panels(["Classes left", "Noise", "One real outlier at the right"], width=3.6, height=3)
    for kind in KINDS:
        axes[0].plot(KEPT, [s[kind] for s in fewer], "o-", label=kind)
        axes[1].plot(NOISE, [s[kind] for s in noisy], "o-", label=kind)
    axes[0].plot(KEPT, [kept / 10 for kept in KEPT], ":", color=THEORY)
    axes[0].set(xlabel="classes of ten", xticks=KEPT, ylim=(0, None))
    axes[0].invert_xaxis()
    axes[0].legend()
    axes[1].set(xlabel="standard deviation of the noise, images from -1 to 1", ylim=(0, None))
    angle = torch.linspace(0, 2 * math.pi, 200)
    reach = float(radii(points, K)[-1])
    axes[2].fill(40 + reach * angle.cos(), reach * angle.sin(), color=REAL, alpha=0.15)
    axes[2].plot(*points.T, ".", color=REAL, ms=4, label="real")
    axes[2].plot(*far.T, ".", color=FAKE, ms=4, label="fake")
    axes[2].set(aspect="equal", xlim=(-5, 45), ylim=(-25, 25))
    axes[2].legend(loc="upper right")
    axes[2].text(-4, -24, "\n".join(f"{kind} {value:.3g}" for kind, value in fooled.items()))
    return picture(figure)
