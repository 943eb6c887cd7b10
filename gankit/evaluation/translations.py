"""Translations and label maps that a model makes of images, as samples to evaluate.

Inputs are images that the model was not trained on, if there are any. A translation depends only on the weights, the
seed and the input's number, even if the model uses random numbers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from gankit import data
from gankit.data.reading import cache
from gankit.evaluation.requests import requested, with_columns
from gankit.evaluation.sources import Known, Rows, SampleAttributes, Samples, Trial, of_dataset, required
from gankit.evaluation.translator_data import label_colours, of_images, of_masks, of_side, repeated, shuffled
from gankit.recipe import Recipe, can, seeded
from gankit.text import shown

Data = data.Dataset | data.Domains | data.Union
NO_INPUTS = "the inputs are training data, as none are held out"


def translates(recipe: Recipe) -> bool:
    """Whether a model is evaluated by its translations or label maps rather than by samples from noise."""
    return (can(recipe, "segment") or can(recipe, "translate")) and not can(recipe, "sample")


def held_out_name(name: str) -> str:
    """The name of the held-out part of data; empty if there is none."""
    if not name:
        return ""
    parts = [data.held_out_of(part) for part in data.plus(name) or [name]]
    return "+".join(map(str, parts)) if all(parts) else ""


class EvaluatedTranslator(NamedTuple):
    """A model whose translations are evaluated, and the settings that all directions share.

    Args:
        recipe: the model, in eval mode.
        name: short, for tables.
        fingerprint: equal for equal weights.
        seed: of the choice of the inputs, and of all random numbers.
        about: the description of the translations for records.
        is_held_out: whether the model was not trained on the inputs.
        typed: the name of the data as the user typed it.
    """

    recipe: Recipe
    name: str
    fingerprint: str
    seed: int
    about: dict[str, object]
    is_held_out: bool
    typed: str

    def outputs(
        self,
        function: Callable[[Tensor, np.ndarray], Tensor],
        inputs: Samples,
        kind: str,
        shape: tuple[int, ...],
        direction: str = "",
    ) -> Samples:
        """The output of `function`, which takes images and their numbers, for each input."""
        like = next(self.recipe.parameters())

        def read(numbers: np.ndarray) -> Rows:
            images, label = inputs.read(numbers)
            with torch.no_grad():
                outputs = function(images.to(like.device, like.dtype), numbers)
            return outputs.cpu() if kind == "maps" else outputs.float().cpu(), label

        key = cache.key(self.fingerprint, inputs.fingerprint, self.seed, direction, like.dtype)
        about = self.about | ({"way": f"{direction[0]} to {direction[1]}"} if direction else {})
        return Samples(
            self.name, kind, tuple(shape), inputs.count, read, key, about=about, recipe=self.recipe, inputs=inputs,
            direction=direction, note="" if self.is_held_out else NO_INPUTS,
        )  # fmt: skip


def translator_trials(
    recipe: Recipe,
    name: str,
    fingerprint: str,
    train: Data | None,
    unseen: Data | None,
    seed: int = 0,
    about: dict[str, object] | None = None,
    typed: str = "",
    domains: str = "ab",
) -> list[Trial]:
    """The trials of a translator: its translations in each direction.

    Args:
        recipe: the model, in eval mode.
        name: short, for tables.
        fingerprint: equal for equal weights.
        train: the training data.
        unseen: data of the same kind that the model was not trained on.
        seed: of the choice of the inputs, and of all random numbers.
        about: the description of the model for records.
        typed: the name of the data as the user typed it.
        domains: the domains that the model can translate to, "ab", "a" or "b".

    Raises:
        ValueError: there is no data, or data of another kind.
    """
    dataset = unseen if unseen is not None else train
    if dataset is None:
        raise ValueError(
            f"{type(recipe).__name__} is evaluated by its translations: name images with --held-out or --against"
        )
    _check(recipe, name, dataset)
    is_held_out = unseen is not None
    inputs = {"data": dataset.name, "fingerprint": dataset.fingerprint, "held_out": is_held_out}
    about = (about or {}) | {"seed": seed, "inputs": inputs}
    translator = EvaluatedTranslator(recipe, name, fingerprint, seed, about, is_held_out, typed)
    if can(recipe, "segment") and isinstance(dataset, data.Dataset) and dataset.kind == "masks":
        _check_classes(dataset, getattr(train, "class_names", dataset.class_names))
        return [_segmentation_trial(translator, dataset)]
    if isinstance(dataset, data.Domains):
        train = cast("data.Domains | None", train)  # it is of the same kind as the unseen data
        return _domain_trials(translator, dataset, train, domains)
    train = cast("data.Dataset | data.Union | None", train)
    return [_image_trial(translator, dataset, train)]


def _check(recipe: Recipe, name: str, dataset: Data) -> None:
    """Raises ValueError: the model does not take this kind or shape of data."""
    kinds = recipe.data.split()
    if dataset.kind not in kinds:
        model = type(recipe).__name__
        raise ValueError(f"{model} trains on {' or '.join(kinds)}; {dataset.name} holds {dataset.kind}")
    for shape, expected in ((dataset.shape, recipe.spec.shape), (dataset.other, recipe.spec.other)):
        if len(shape) == 3 and expected and shape[0] != expected[0]:
            raise ValueError(f"{dataset.name} has images of {shape[0]} channels where {name} takes {expected[0]}")


def _check_classes(dataset: data.Dataset, trained: list[str]) -> None:
    """Raises ValueError: greys or colours stand for other classes than in the training data."""
    for a, b in zip(dataset.class_names, trained):
        if a != b and all(name.isdigit() or name.startswith("#") for name in (a, b)):
            raise ValueError(
                f"{dataset.name} calls a class {shown(a)!r} that is {shown(b)!r} in the training data: "
                "write classes.txt beside both, so that they number their classes alike"
            )


def _segmentation_trial(translator: EvaluatedTranslator, dataset: data.Dataset) -> Trial:
    """Label maps of images, with the true ones as targets."""
    inputs = shuffled(of_dataset(replace(dataset, kind="images"), translator.typed), translator.seed)
    targets = shuffled(of_masks(dataset), translator.seed)
    segment = translator.recipe.segment
    fake = translator.outputs(lambda images, _: segment(images), inputs, "maps", targets.shape)
    return Trial(replace(fake, targets=targets, classes=dataset.num_classes), None, None)


def _domain_trials(
    translator: EvaluatedTranslator, dataset: data.Domains, train: data.Domains | None, domains: str
) -> list[Trial]:
    """Translations from one domain, or side of pairs, to the other, in each direction of the model."""
    recipe, seed, typed = translator.recipe, translator.seed, translator.typed
    parameters = inspect.signature(recipe.translate).parameters
    sides = {side: of_side(dataset, side, typed) for side in "ab"}
    both_ways, is_pairs = "to" in parameters, dataset.kind == "pairs"
    directions = [(a, b) for a, b in ("ab", "ba") if b in domains] if both_ways else [recipe.sides]
    trials = []
    for origin, to in directions:
        inputs = shuffled(sides[origin], seed)
        styles = repeated(shuffled(sides[to], seed + 1), inputs.count) if "styles" in parameters else None
        function = translation_function(recipe, seed, to if both_ways else "", styles)
        direction = f"{origin}{to}" if len(directions) > 1 else ""
        fake = replace(
            translator.outputs(function, inputs, "images", sides[to].shape, direction),
            targets=shuffled(sides[to], seed) if is_pairs else None,
            styles=styles,
            view=sides[to].view,
            colours=label_colours(dataset, inputs),
        )
        real = None
        if train is not None:
            real = replace(of_side(train, to, typed), inputs=of_side(train, origin, typed) if is_pairs else None)
        trials.append(Trial(fake, real, sides[to] if translator.is_held_out else None))
    return trials


def _image_trial(
    translator: EvaluatedTranslator,
    dataset: data.Dataset | data.Union,
    train: data.Dataset | data.Union | None,
) -> Trial:
    """Translations within one set of images, with requested attributes if the images have attributes."""
    recipe, seed, columns = translator.recipe, translator.seed, translator.recipe.columns
    images = of_images(dataset, translator.typed)
    inputs = with_columns(shuffled(images, seed), columns)
    attributes = None if inputs.attributes is None else requested(inputs, seed)
    function = translation_function(recipe, seed, attributes=attributes)
    fake = replace(translator.outputs(function, inputs, "images", inputs.shape), attributes=attributes)
    real = None if train is None else with_columns(of_images(train, translator.typed), columns)
    return Trial(fake, real, images if translator.is_held_out else None)


def translation_function(
    recipe: Recipe, seed: int, to: str = "", styles: Samples | None = None, attributes: SampleAttributes | None = None
) -> Callable[[Tensor, np.ndarray], Tensor]:
    """A model's `translate` with its other arguments filled in: a function of images and their numbers."""
    parameters = inspect.signature(recipe.translate).parameters

    def translate(images: Tensor, numbers: np.ndarray) -> Tensor:
        if attributes is not None and "attribute" in parameters:
            return _to_attributes(recipe, images, attributes.known(numbers), "source" in parameters)
        if styles is not None:  # each image in its own style
            pairs = zip(images, styles.read(numbers)[0].to(images))
            return torch.cat([recipe.translate(image[None], styles=style[None]) for image, style in pairs])
        arguments: dict[str, object] = {"to": to} if to else {}
        if "z" in parameters and can(recipe, "noise"):
            arguments["z"] = _noise(recipe, numbers, seed, images)
        return recipe.translate(images, **arguments)

    return translate


def _to_attributes(recipe: Recipe, images: Tensor, request: Known, takes_source: bool) -> Tensor:
    """Translations with the requested attributes; for joined sets one set after the other."""
    attribute = request.attribute.nan_to_num(0).to(images)
    if not takes_source:
        return recipe.translate(images, attribute=attribute)
    out = torch.empty_like(images)
    for source in request.source.unique().tolist():
        rows = (request.source == source).to(images.device)
        out[rows] = recipe.translate(images[rows], attribute=attribute[rows], source=source)
    return out


def _noise(recipe: Recipe, numbers: np.ndarray, seed: int, images: Tensor) -> Tensor:
    """Noise for each image, which depends only on the seed and the image's number."""
    rows = []
    for number in numbers.tolist():
        with seeded(seed, number):
            rows.append(recipe.noise(1, *images.shape[2:]))
    return torch.cat(rows).to(images)


def translate_back(source: Samples, images: Tensor, numbers: np.ndarray) -> Tensor:
    """Translations of the samples of these numbers, translated back to the domain of their inputs."""
    recipe = required(source.recipe)
    like = next(recipe.parameters())
    translate = translation_function(recipe, cast(int, source.about["seed"]), source.direction[0])
    with torch.no_grad():
        return translate(images.to(like.device, like.dtype), numbers).float().cpu()
