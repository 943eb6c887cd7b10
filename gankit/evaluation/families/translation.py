"""Metrics of single outputs: similarity to a target, cycle consistency, styles, and labels that translation keeps."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from gankit import data, metrics
from gankit.evaluation.needs import HELD_OUT, Metric, Need
from gankit.evaluation.sources import NEGATIVE, required
from gankit.evaluation.subject import Score, Subject, share_score
from gankit.evaluation.translations import translate_back
from gankit.recipe import can


def outputs_and_targets(s: Subject) -> tuple[Tensor, Tensor]:
    """(N, C, H, W) outputs and what they should be: targets of translations; images that a model reconstructs."""
    if s.fake.targets is not None:
        return s.pixels[0], s.targets
    images = (s.held_out_pixels if s.held_out else s.real_pixels)[0]
    recipe = required(s.fake.recipe)
    like = next(recipe.parameters())
    with torch.no_grad():
        outputs = torch.cat([recipe.reconstruct(part.to(like)).float().cpu() for part in images.split(s.batch)])
    return outputs, images


def mean_score(values: Tensor, name: str, better: str, note: str = "") -> Score:
    """The mean over images and its standard error; infinite values, of outputs without any error, are left out."""
    finite = values.double()[~values.isposinf()]
    n = len(finite)
    if not n:
        raise ValueError(f"the outputs equal their targets exactly in all of {len(values)} images")
    if n < len(values):
        note = "; ".join(filter(None, (note, f"without {len(values) - n} outputs that equal their targets exactly")))
    error, error_of = (float(finite.std()) / math.sqrt(n), "standard error") if n > 1 else (None, "")
    return Score(name, float(finite.mean()), error, error_of, better, n, n, note)


def l1_distances(a: Tensor, b: Tensor) -> Tensor:
    """(N,) mean absolute differences of images in [-1, 1], rounded to 8 bits as files are."""
    a, b = (data.normalise(data.quantise(x)) for x in (a, b))
    return (a - b).abs().mean((1, 2, 3))


def l1(s: Subject) -> Iterator[Score]:
    """Mean absolute difference between outputs and targets, images in [-1, 1]."""
    yield mean_score(l1_distances(*outputs_and_targets(s)), "l1", "lower")


def psnr(s: Subject) -> Iterator[Score]:
    """Peak signal-to-noise ratio between outputs and targets, in dB."""
    yield mean_score(metrics.psnr(*outputs_and_targets(s)), "psnr", "higher")


def ssim(s: Subject) -> Iterator[Score]:
    """Structural similarity of outputs and targets, 1 for identical images."""
    yield mean_score(metrics.ssim(*outputs_and_targets(s)), "ssim", "higher")


def lpips(s: Subject) -> Iterator[Score]:
    """LPIPS between outputs and targets, on VGG16: perceptual distance."""
    yield mean_score(metrics.lpips(*outputs_and_targets(s)), "lpips", "lower")


def cycle(s: Subject) -> Iterator[Score]:
    """Mean absolute difference between inputs and their translations translated back, images in [-1, 1]."""
    starts = range(0, len(s.numbers), s.batch)
    back = [translate_back(s.fake, s.pixels[0][i : i + s.batch], s.numbers[i : i + s.batch]) for i in starts]
    yield mean_score(l1_distances(torch.cat(back), s.inputs), "cycle", "lower", "there and back")


def style(s: Subject) -> Iterator[Score]:
    """Distance of feature statistics from those of the style image: 0 for the style itself, 1 for the content."""
    recipe, styles = required(s.fake.recipe), s.matching(required(s.fake.styles))
    like = next(recipe.parameters())
    distances: dict[str, list[Tensor]] = {"output": [], "content": []}
    for rows in torch.arange(len(styles)).split(s.batch):
        of_style = recipe.statistics(styles[rows].to(like))
        for name, images in (("output", s.pixels[0]), ("content", s.inputs)):
            of_images = recipe.statistics(images[rows].to(like))
            squares = [
                (a - b).square().flatten(1).sum(1)
                for pair in zip(of_images, of_style)  # a pair for each layer, of a mean and a deviation
                for a, b in zip(*pair)
            ]
            distances[name].append(torch.stack(squares).sum(0).double().cpu())
    output, content = (torch.cat(parts) for parts in distances.values())
    note = "squared distance of means and deviations, over the content's"
    yield Score("style", float(output.mean() / content.mean()), better="lower", n_fake=len(output), note=note)


def label_kept(s: Subject) -> Iterator[Score]:
    """Share of translations that the digits classifier assigns the same digit as their inputs."""
    before, after = (
        metrics.classify(-images if view == NEGATIVE else images)
        for images, view in ((s.inputs, required(s.fake.inputs).view), (s.pixels[0], s.fake.view))
    )
    yield share_score(before == after, "label_kept")


def has_targets(s: Subject) -> bool:
    """Whether each output has a target: the other side of a pair, or an image that the model reconstructs."""
    recipe = s.fake.recipe
    return s.fake.targets is not None or (recipe is not None and can(recipe, "reconstruct") and s.real is not None)


NEEDS = {
    "targets": Need(
        has_targets, "the outputs have no targets: it is for pairs, and for models that reconstruct", HELD_OUT
    ),
    "a way back": Need(lambda s: bool(s.fake.direction), "the model does not translate both ways"),
    "digits in and out": Need(
        lambda s: bool(s.fake.view) and bool(required(s.fake.inputs).view),
        "the digits classifier does not know these inputs and outputs",
    ),
    "styles": Need(
        lambda s: s.fake.styles is not None and can(required(s.fake.recipe), "statistics"),
        "the model does not transfer styles",
    ),
}
METRICS = {
    "l1": Metric(l1, ("images", "targets"), ("translations",)),
    "psnr": Metric(psnr, ("images", "targets"), ("translations",)),
    "ssim": Metric(ssim, ("images", "targets"), ("translations",)),
    "lpips": Metric(lpips, ("images", "targets", "VGG16"), ("translations",)),
    "cycle": Metric(cycle, ("images", "a way back"), ("translations",)),
    "style": Metric(style, ("images", "styles"), ("translations",)),
    "label_kept": Metric(label_kept, ("images", "digits in and out"), ("translations",)),
}
