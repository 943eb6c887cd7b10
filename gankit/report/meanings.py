"""What each logged value means, in a sentence, with its unit, its range and the values that have a meaning."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from gankit import evaluation
from gankit.pictures.curves import Mark

SHARE = (0.0, 1.0)
HALVED = ("gan", "cgan", "pix2pix", "lapgan")  # models whose loss of D is the mean over reals and fakes, not the sum
SUMMED = ("dcgan", "anogan", "cogan", "stylegan")


class Meaning(NamedTuple):
    """What a chart shows.

    Args:
        text: one or two plain sentences.
        unit: of the values.
        limits: of their range, if it is known.
    """

    text: str
    unit: str = ""
    limits: tuple[float, float] | None = None


LOSS = (
    "What each network minimises. Adversarial losses tell how evenly matched D and G are, not how good samples are: a "
    "D that cannot tell reals from fakes has 2 ln 2 = 1.386 (G: ln 2 = 0.693) with cross-entropy, 2 with hinge, 0.5 "
    "with least squares, plus the penalty. G's loss often rises while samples get better."
)
MEANINGS: dict[str, Meaning] = {
    # of discriminators
    "real_right": Meaning(
        "Share of reals that D calls real, and of fakes that it calls fake. 0.5 for both is chance; both near 1 means "
        "that D wins and G learns little.",
        "share",
        SHARE,
    ),
    "real": Meaning(
        "Mean output of D on reals and on fakes. A distance that stays about the same is a balance; one that keeps "
        "growing means that D pulls ahead.",
        "output of D",
    ),
    "right": Meaning(
        "Share of correct answers: of D on pairs of a real and a fake, or of pixels' classes.", "share", SHARE
    ),
    "class_right": Meaning("Share of real images whose class the classifier in D names.", "share", SHARE),
    "wrong_right": Meaning("Share of real images with a wrong caption that D refuses; 0.5 is chance.", "share", SHARE),
    "class": Meaning(
        "Cross-entropy of the classes that D predicts: 0 is certain and right, ln K is a guess among K.", "nats"
    ),
    "penalty": Meaning("The gradient penalty of D, before its weight: how steep D is. It should stay bounded."),
    "r1": Meaning("Squared gradient of D on reals, before its weight: how steep D is around the data."),
    "units": Meaning("Squared error of the attributes or action units that D reads off images."),
    "info": Meaning("Lower bound of the information that samples hold about the codes. It should rise.", "nats"),
    "alike": Meaning(
        "How far the filters of G are from orthogonal to each other: the term that its regularisation lowers."
    ),
    "cr": Meaning("Consistency: squared difference of D's outputs on reals and on changed copies of them."),
    "bcr": Meaning("Consistency: squared difference of D's outputs on samples and on changed copies of them."),
    "zcr": Meaning("Consistency: squared change of outputs when latents change a little."),
    # of generators and translators
    "adversarial": Meaning("The adversarial part of the loss of G."),
    "cycle": Meaning("Mean difference of images and their translations there and back; it should fall.", "difference"),
    "cycle_a": Meaning(
        "Mean difference of images and their translations there and back; it should fall.", "difference"
    ),
    "identity": Meaning("Change of images that need none; it should fall.", "difference"),
    "l1": Meaning("Mean difference of outputs and targets, pixels in [-1, 1]; it should fall.", "difference"),
    "content": Meaning("Distance of the features of outputs from those of the contents; it should fall."),
    "style": Meaning("Distance of the statistics of features from those of the styles; it should fall."),
    "mask": Meaning(
        "Mean attention mask: 0 keeps the input, 1 replaces it; near either end it has saturated.", "share", SHARE
    ),
    "rec": Meaning("Squared error of the reconstruction of the training image at this scale; it should fall."),
    "pixels": Meaning("Squared error of reconstructed images, pixels in [-1, 1]; it should fall."),
    "nll": Meaning("Negative log-likelihood of images given their codes; it should fall.", "nats"),
    "kl": Meaning("Divergence of the codes from the prior. Near 0 the codes say nothing of the images.", "nats"),
    "own_best": Meaning("Share of images whose own caption fits best within a batch; it should rise.", "share", SHARE),
    "path": Meaning("Mean length of the gradient of images by styles, to which path-length regularisation pulls."),
    "path_penalty": Meaning("Squared deviation of these lengths from their mean; it should fall."),
    # schedules
    "level": Meaning("Resolution level: 0 is the smallest, fractions fade a new level in.", "level"),
    "gamma": Meaning("Weight of the gradient penalty, by its schedule."),
    "p": Meaning(
        "Probability of each augmentation. With ada it rises while D overfits the reals.", "probability", SHARE
    ),
    # of every run
    "loss": Meaning(LOSS),
    "grad": Meaning(
        "Norm of the gradient of each optimizer. Near 0 nothing is learned; jumps by powers of ten announce that a run "
        "becomes unstable."
    ),
    "std": Meaning(
        "How much the samples of the preview differ from each other: the deviation of each pixel, pixels in [-1, 1]. A "
        "fall to a quarter of its highest value means collapse: samples have become alike.",
        "deviation",
    ),
    "images_per_s": Meaning("Images a second, evaluations and pictures included; dips are other work on the machine."),
}
SAME = {"fake": "real", "fake_right": "real_right", "cycle_b": "cycle_a"}  # drawn in the chart of another value


def chart_of(key: str) -> str:
    """The chart of a logged value: evaluations have their own, others one for each last word, such as loss."""
    if key.startswith("evaluation/"):
        return key
    last = key.rpartition("/")[2]
    last = SAME.get(last, last)
    return "grad" if last.endswith("_grad") else "loss" if last.endswith("_loss") else last


def meaning_of(key: str, metric: str = "") -> Meaning | None:
    """The meaning of a logged value; None for one that gankit does not know, of a model of the user's own.

    Args:
        key: its name.
        metric: of an evaluation.
    """
    if not key.startswith("evaluation/"):
        return MEANINGS.get(chart_of(key))
    name = key.removeprefix("evaluation/")
    share = SHARE if name.startswith(("precision", "recall", "coverage", "accuracy", "high_quality")) else None
    return Meaning(f"{evaluation.about(metric)} By --evaluate, of the averaged weights.".strip(), "", share)


def chance(model: str, arguments: Mapping[str, object], key: str) -> list[Mark]:
    """The loss of a D at chance as a mark, for models whose D has a plain cross-entropy."""
    if key != "loss" or arguments.get("loss", "non_saturating") not in ("non_saturating", "minimax"):
        return []
    if model in SUMMED:
        return [Mark(2 * math.log(2), "D at chance: 2 ln 2")]
    return [Mark(math.log(2), "D at chance: ln 2")] if model in HALVED else []
