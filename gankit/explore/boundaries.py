"""Directions found with labels: a plane between the latents of images with a property and those without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gankit import latent
from gankit.explore.classifiers import ImageClassifier, classifier_of, is_bright, read_labels
from gankit.explore.inputs import Seeds, check_finite
from gankit.explore.moves import Move, captions, direction_arrays, strengths_of
from gankit.explore.result import Result
from gankit.runs.trained import Trained


def boundary(
    trained: Trained,
    *,
    target: str = "",
    keep: str = "",
    labels: str = "",
    n: int = 4000,
    seeds: Seeds = Seeds(range(4)),
    steps: int = 7,
    reach: float = 3.0,
    layers: str = "all",
    label: int | None = None,
    trunc: float = 1.0,
    space: str = "",
    latent_file: str = "",
) -> Result:
    """Boundary: a plane between latents with a property and without it, and samples moved across the plane.

    A logistic regression on the latents of `n` samples, fitted to four fifths and evaluated on the rest. Shen, Gu, Tang
    & Zhou, "Interpreting the Latent Space of GANs for Semantic Face Editing", CVPR 2020, fit a linear SVM. The function
    is long because each of its many flags needs a line.

    Args:
        target: a class of the run's data, assigned by a classifier, or brightness: the brighter half. Default: the most
            common class; brightness for data without labels.
        keep: properties to leave unchanged, with commas between: the normals of their planes are projected out.
        labels: your own labels: a .csv with lines seed,label, label 0 or 1, or a .npz with `seeds` and `label`.
        n: number of labelled samples.
        seeds: samples that are moved, a row each.
        steps: images per row.
        reach: the largest step to either side, in standard deviations of the latents.
        layers: the layers of the style to move: all, coarse, middle, fine, or numbers like 0-3.
        label: the class of the samples, for models with labels; default: the classes in turn, by seed.
        trunc: truncation of the samples that are shown.
        space: z or w; default: w for models with styles.
        latent_file: a .npz of `project` instead of seeds.
    """
    check_finite(reach=reach)
    move = Move.of(trained, seeds, label, trunc, space, latent_file, layers)
    if n < 50 or steps < 2:
        raise ValueError(f"--n is {n} and --steps {steps}; a plane needs 50 samples at least, and a row 2 images")
    samples = from_file(labels, target) if labels else classified(move.trained, target, label, n)
    points, _ = latent.points(move.recipe, samples.seeds, label, space=move.space)
    rows = points if points.ndim == 2 else points[:, 0]
    plane = fit_plane(rows, samples.truth)
    message = (
        f"{samples.name}: {plane.balanced:.1%} of {plane.held_out} held-out latents are on the right side, "
        "the mean of both sides; chance is 50%"
    )
    numbers: dict[str, object] = {
        "target": samples.name, "judge": samples.about, "samples": len(samples.truth),
        "share with it": float(samples.truth.double().mean()), "accuracy on held-out latents": plane.accuracy,
        "accuracy of always the same answer": plane.chance, "balanced accuracy": plane.balanced,
    }  # fmt: skip
    normal, edits = plane.normal, {samples.name: plane.normal}
    if others := {name: other_normal(move.trained, samples, name, rows, label) for name in commas(keep)}:
        numbers |= {f"cosine with {name}": float(normal @ other) for name, other in others.items()}
        normal = latent.project_out(normal, torch.stack(list(others.values())))
        edits[f"{samples.name}, keeping {keep}"] = normal
        numbers["cosine of the way with the normal"] = float(normal @ plane.normal)
    unit = float(move.deviations(normal[None], label))
    strengths = strengths_of(reach, steps)
    vector = normal.to(move.latents.points)
    images = move.rows(vector, [strength * unit for strength in strengths])
    if not labels:
        numbers["share with it along the way"] = {
            text: [share_with(samples, move, direction, by * unit, label) for by in strengths]
            for text, direction in edits.items()
        }
    directions = latent.Directions(normal[None], torch.tensor([unit]), torch.ones(1))
    return Result(
        images, steps, captions(strengths, samples.name), move.latents.names, numbers,
        move.back_and_forth(vector * unit, reach), fps=16,
        arrays=direction_arrays(directions, [samples.name], move), say=[message],
    )  # fmt: skip


def commas(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


# Labelled samples ----------------------------------------------------------------------------------------------------


@dataclass
class LabelledSamples:
    """Samples, labelled by whether they have a property.

    Args:
        name: the property: brightness, a class, or the user's name for it.
        seeds: of the samples.
        truth: (N,) int64, 1 for samples with the property.
        about: the source of the labels.
        images: (N, C, H, W), or None before they are needed.
        classifier: assigns classes, or None.
    """

    name: str
    seeds: Sequence[int]
    truth: Tensor
    about: str
    images: Tensor | None = None
    classifier: ImageClassifier | None = None


def from_file(file: str, name: str) -> LabelledSamples:
    """Samples labelled in a file.

    Raises:
        ValueError: the file is not a table of labels, or too short.
    """
    seeds, truth = read_labels(file)
    if len(seeds) < 20:
        raise ValueError(f"{file} has {len(seeds)} labels; a plane needs 20 at least")
    return LabelledSamples(name or "labelled", seeds, truth, "labels of a file")


def classified(trained: Trained, target: str, label: int | None, n: int) -> LabelledSamples:
    """`n` samples labelled by a classifier, or by brightness.

    Raises:
        ValueError: there is no such class.
    """
    seeds, classifier = range(1000, 1000 + n), None
    has_classes = trained.config["data"].get("classes") and not latent.takes_label(trained.recipe)
    if target not in ("", "brightness") or (not target and has_classes):
        classifier = classifier_of(trained)
        classifier.number(target or "0")
    images = latent.sample(trained.recipe, seeds, label)
    name, truth = property_of(images, target, classifier)
    about = classifier.about if classifier else "the brighter half"
    return LabelledSamples(name, seeds, truth, about, images, classifier)


def property_of(images: Tensor, target: str, classifier: ImageClassifier | None) -> tuple[str, Tensor]:
    """The property's name, and (N,) 1 for images that have it."""
    if classifier is None or target == "brightness":
        return "brightness", is_bright(images)
    classes = classifier.classify(images)
    number = classifier.number(target) if target else int(classes.bincount(minlength=len(classifier.names)).argmax())
    return classifier.names[number], (classes == number).long()


def other_normal(trained: Trained, samples: LabelledSamples, name: str, rows: Tensor, label: int | None) -> Tensor:
    """(D,) the normal of the plane of another property, fitted to the same samples."""
    if samples.images is None:
        samples.images = latent.sample(trained.recipe, samples.seeds, label)
    if samples.classifier is None and name != "brightness":
        samples.classifier = classifier_of(trained)
    return fit_plane(rows, property_of(samples.images, name, samples.classifier)[1]).normal


def share_with(samples: LabelledSamples, move: Move, direction: Tensor, by: float, label: int | None) -> float:
    """Share of 200 other samples with the property after a move; bright is brighter than the median of `samples`."""
    points, labels = latent.points(move.recipe, range(500_000, 500_200), label, space=move.space)
    images = latent.render(move.recipe, move.moved(points, direction.to(points), by), labels)
    if samples.classifier is None or samples.name == "brightness":
        assert samples.images is not None  # not called for labels from a file, which come without images
        median = samples.images.flatten(1).mean(1).median()
        return (images.flatten(1).mean(1) > median).double().mean().item()
    number = samples.classifier.number(samples.name)
    return (samples.classifier.classify(images) == number).double().mean().item()


# The plane -----------------------------------------------------------------------------------------------------------


@dataclass
class Plane:
    """A logistic regression between latents: its unit normal and its accuracy.

    Args:
        normal: (D,) of length 1, towards the latents with the property.
        accuracy: share of held-out latents on the right side.
        balanced: mean of the accuracies on both sides.
        chance: accuracy of always giving the more common answer.
        held_out: number of held-out latents.
    """

    normal: Tensor
    accuracy: float
    balanced: float
    chance: float
    held_out: int


def fit_plane(rows: Tensor, truth: Tensor) -> Plane:
    """The plane between (N, D) latents with truth (N,) 1 and 0, fitted to the first four fifths.

    Raises:
        ValueError: one of the two values is missing among these.
    """
    from sklearn.linear_model import LogisticRegression

    x, y = rows.double().cpu().numpy(), truth.cpu().numpy()
    cut = len(x) * 4 // 5
    if min(np.bincount(y[:cut], minlength=2)) < 5 or len(np.unique(y[cut:])) < 2:
        raise ValueError(
            f"of {len(y)} samples {int(y.sum())} have the property; a plane needs samples with it and without it: "
            "give another --target, or more --n"
        )
    middle, width = x[:cut].mean(0), x[:cut].std(0) + 1e-12
    model = LogisticRegression(class_weight="balanced", max_iter=2000).fit((x[:cut] - middle) / width, y[:cut])
    right = model.predict((x[cut:] - middle) / width) == y[cut:]
    normal = torch.from_numpy(model.coef_[0] / width)
    balanced = float(np.mean([right[y[cut:] == side].mean() for side in (0, 1)]))
    chance = float(max(y[cut:].mean(), 1 - y[cut:].mean()))
    return Plane(normal / normal.norm(), float(right.mean()), balanced, chance, len(right))
