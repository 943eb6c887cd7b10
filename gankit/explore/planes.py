"""Directions with labels: a plane between the latents of pictures that have something and those that have not."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gankit import latent
from gankit.explore.directions import back_and_forth, captions, kept, ready, spread
from gankit.explore.judge import Judge, brightness, classes_of, labels_of
from gankit.explore.result import Result
from gankit.explore.start import Seeds, finite
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
    """Boundary: a plane between latents with a property and without, and the way across it.

    A logistic regression on the latents of `n` samples; four fifths to fit, the rest to judge. Shen, Gu, Tang & Zhou,
    "Interpreting the Latent Space of GANs for Semantic Face Editing", CVPR 2020, who fit a linear SVM.

    Args:
        target: a class of the run's data, as a classifier sees it, or brightness: the brighter half. The most common class
            without it, and brightness for data without labels.
        keep: properties that the way should leave as they are, with commas between: their normals are projected out.
        labels: what you say yourself: a .csv with lines seed,label, label 0 or 1, or a .npz with `seeds` and `label`.
        n: samples that are labelled.
        seeds: pictures that are moved: a row for each.
        steps: pictures of a row.
        reach: how far to go to either side, in standard deviations of the latents.
        layers: of styles, whose are moved: all, coarse, middle, fine, or numbers like 0-3.
        label: the class that is asked of models with labels; the classes in turn, by seed, without it.
        trunc: truncation of what is shown.
        space: z or w; w for models with styles without it.
        latent_file: a .npz of `project` in place of seeds.
    """
    finite(reach=reach)
    trained, begin, which = ready(trained, seeds, label, trunc, space, latent_file, layers)
    recipe, space = trained.recipe, begin.space
    if n < 50 or steps < 2:
        raise ValueError(f"--n is {n} and --steps {steps}; a plane needs 50 samples at least, and a way 2 pictures")
    judge: Judge | None = None
    if labels:
        numbers, truth = labels_of(labels)
        if len(numbers) < 20:
            raise ValueError(f"{labels} has {len(numbers)} labels; a plane needs 20 at least")
        name, images = target or "labelled", None
    else:
        numbers = range(1000, 1000 + n)
        labelled = trained.config["data"].get("classes") and not latent.takes_label(recipe)
        if target not in ("", "brightness") or (not target and labelled):
            judge = classes_of(trained)
            judge.number(target or "0")
        images = latent.sample(recipe, numbers, label)
        name, truth = truth_of(target, images, judge)
    points, _ = latent.points(recipe, numbers, label, space=space)
    rows = points if points.ndim == 2 else points[:, 0]
    plane = fit(rows, truth)
    said = f"{name}: {plane.balanced:.1%} of {plane.held_out} held-out latents are on the right side, the mean of both sides; chance is 50%"
    found: dict[str, object] = {
        "target": name, "judge": "labels of a file" if labels else judge.about if judge else "the brighter half",
        "samples": len(truth), "share with it": float(truth.double().mean()), "accuracy on held-out latents": plane.accuracy,
        "accuracy of always the same answer": plane.chance, "balanced accuracy": plane.balanced,
    }  # fmt: skip
    normal, others = plane.normal, []
    for other in [part.strip() for part in keep.split(",") if part.strip()]:
        if images is None:
            images = latent.sample(recipe, numbers, label)
        judge = judge or (None if other == "brightness" else classes_of(trained))
        others.append(fit(rows, truth_of(other, images, judge)[1]).normal)
        found[f"cosine with {other}"] = float(normal @ others[-1])
    edits = {name: normal}
    if others:
        normal = latent.project_out(normal, torch.stack(others))
        edits[f"{name}, keeping {keep}"] = normal
        found["cosine of the way with the normal"] = float(normal @ plane.normal)
    unit = float(spread(latent.points(recipe, range(1000, 3000), label, space=space)[0], normal[None]))
    way = torch.linspace(-reach, reach, steps).tolist()
    moved = [latent.move(begin.points, normal.to(begin.points), by * unit, which) for by in way]
    drawn = torch.stack([latent.render(recipe, one, begin.given) for one in moved], 1)
    if not labels:
        found["share with it along the way"] = {
            text: [float(share(trained, direction, by * unit, name, judge, which, label, space, images)) for by in way]
            for text, direction in edits.items()
        }
    directions = latent.Directions(normal[None], torch.tensor([unit]), torch.ones(1))
    return Result(
        drawn.flatten(0, 1), steps, captions(way, name), begin.names, found,
        back_and_forth(trained, begin, normal.to(begin.points) * unit, reach, which), fps=16,
        arrays=kept(directions, [name], begin.points, which), say=[said],
    )  # fmt: skip


class Plane:
    """A logistic regression between latents: its unit normal, and how often it is right.

    Args:
        normal: (D,) of length 1, towards those with the property.
        accuracy: share of held-out latents on the right side.
        balanced: mean of that over both sides.
        chance: accuracy of always saying the more common answer.
        held_out: held-out latents.
    """

    def __init__(self, normal: Tensor, accuracy: float, balanced: float, chance: float, held_out: int):
        self.normal, self.accuracy, self.balanced, self.chance, self.held_out = (
            normal,
            accuracy,
            balanced,
            chance,
            held_out,
        )


def fit(rows: Tensor, truth: Tensor) -> Plane:
    """The plane between (N, D) latents with truth 1 and with 0 of (N,), fitted to the first four fifths.

    Raises:
        ValueError: one of the two is missing there.
    """
    from sklearn.linear_model import LogisticRegression

    x, y = rows.double().cpu().numpy(), truth.cpu().numpy()
    cut = len(x) * 4 // 5
    if min(np.bincount(y[:cut], minlength=2)) < 5 or len(np.unique(y[cut:])) < 2:
        raise ValueError(
            f"of {len(y)} samples {int(y.sum())} have the property; a plane needs some with and some without: another --target, or more --n"
        )
    middle, width = x[:cut].mean(0), x[:cut].std(0) + 1e-12
    model = LogisticRegression(class_weight="balanced", max_iter=2000).fit((x[:cut] - middle) / width, y[:cut])
    right = model.predict((x[cut:] - middle) / width) == y[cut:]
    normal = torch.from_numpy(model.coef_[0] / width)
    balanced = float(np.mean([right[y[cut:] == side].mean() for side in (0, 1)]))
    chance = float(max(y[cut:].mean(), 1 - y[cut:].mean()))
    return Plane(normal / normal.norm(), float(right.mean()), balanced, chance, len(right))


def truth_of(target: str, images: Tensor, judge: Judge | None) -> tuple[str, Tensor]:
    """The property's name, and (N,) 1 for pictures that have it."""
    if judge is None or target == "brightness":
        return "brightness", brightness(images)
    found = judge.classes(images)
    number = judge.number(target) if target else int(found.bincount(minlength=len(judge.names)).argmax())
    return judge.names[number], (found == number).long()


def share(
    trained: Trained, direction: Tensor, by: float, name: str, judge: Judge | None, which: range | None, label: int | None,
    space: str, first: Tensor,
) -> float:  # fmt: skip
    """Share of 200 other samples that have the property once they are moved; brighter means than the first's median.

    `name` is what `truth_of` calls the property: brightness, or a class of the judge.
    """
    points, given = latent.points(trained.recipe, range(500_000, 500_200), label, space=space)
    images = latent.render(trained.recipe, latent.move(points, direction.to(points), by, which), given)
    if judge is None or name == "brightness":
        return (images.flatten(1).mean(1) > first.flatten(1).mean(1).median()).double().mean().item()
    return (judge.classes(images) == judge.number(name)).double().mean().item()
