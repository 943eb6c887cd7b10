"""Before the first step: settings and arguments, the data, whether the model can learn from it, and the model itself."""

from __future__ import annotations

import dataclasses
import random
from datetime import timedelta

import numpy as np
import torch

from gankit import build as building
from gankit import data, models, processes
from gankit.augment import Augment
from gankit.recipe import Recipe, Spec
from gankit.text import suggest
from gankit.training.settings import Settings


def plan(kind: type[Recipe], preset: str, options: dict[str, object]) -> tuple[Settings, dict[str, object]]:
    """Settings and model arguments: defaults, then the model's, then the preset's, then the options."""
    if preset and preset not in kind.presets:
        raise ValueError(f"{models.name_of(kind)} has no preset {preset!r}; it has {', '.join(kind.presets) or 'none'}")
    chosen = kind.presets[preset] if preset else None
    fields = {f.name for f in dataclasses.fields(Settings)}
    settings = dict(kind.defaults) | (chosen.settings if chosen else {})
    own = building.defaults(kind)
    if clash := fields & set(own):
        raise ValueError(
            f"{models.name_of(kind)} has an argument {min(clash)!r}, which is a setting of every run: rename it"
        )
    arguments = own | (chosen.model if chosen else {})
    for name, value in options.items():
        if name in fields:
            settings[name] = value
        elif name in arguments:
            arguments[name] = value
        else:
            raise ValueError(suggest("option", name, [*fields, *arguments]))
    building.check(kind, arguments)
    return Settings(**settings), arguments


def prepare(settings: Settings) -> torch.device:
    if settings.threads:
        torch.set_num_threads(settings.threads)
    patience = (
        timedelta(days=1) if settings.evaluate else timedelta(minutes=10)
    )  # while the first process takes metrics
    device = processes.start(settings.device, patience)
    if settings.batch % processes.world():
        raise ValueError(f"batch {settings.batch} does not divide by the {processes.world()} processes; change --batch")
    return device


def open_data(settings: Settings, kind: type[Recipe]) -> data.Dataset | data.Domains | data.Union:
    """The data of the settings, read as the kind that the model learns from where it can be read in several ways."""
    s = settings
    known = dict(resolution=s.resolution or None, fit=s.fit, mirror=s.mirror, alpha=s.alpha, skip_bad=s.skip_bad)
    want = kind.data.split()[0]
    if s.text_encoder and want != "captions":
        raise ValueError(
            f"{models.name_of(kind)} learns from {kind.data} and draws from no texts: leave --text-encoder out"
        )
    return data.open(s.data, **known, want=want, text_encoder=s.text_encoder)


def training_data(
    recipe: Recipe, settings: Settings, dataset: data.Dataset | data.Domains | data.Union
) -> data.Dataset | data.Domains | data.Union:
    """What batches are fetched from: the run's data, or the same read at the size that the model cuts its crops from (`load_size`)."""
    size = recipe.load_size
    if size is None or size == tuple(dataset.shape[1:]):
        return dataset
    large, own = ("x".join(map(str, sides)) for sides in (size, dataset.shape[1:]))
    try:
        return open_data(dataclasses.replace(settings, resolution=large), type(recipe))
    except ValueError as error:
        error.args = (
            f"{error}. Images to train on are read at {large}, and crops of {own} cut from them: try a lower --resolution",
        )
        raise


def opened(
    settings: Settings, arguments: dict[str, object], kind: type[Recipe]
) -> tuple[data.Dataset | data.Domains | data.Union, Settings, dict[str, object]]:
    """Data that the model can learn from, and the settings and arguments that hold with it: it may make images smaller (`reduced`).

    Raises:
        ValueError: the model cannot learn from the data.
    """
    dataset = open_data(settings, kind)
    fit(kind, dataset, settings)
    if hasattr(kind, "reduced"):
        (height, width), changed = kind.reduced(*dataset.shape[1:], arguments)
        if (height, width) != tuple(dataset.shape[1:]):
            settings, arguments = dataclasses.replace(settings, resolution=f"{height}x{width}"), arguments | changed
            dataset = open_data(settings, kind)
    return dataset, settings, arguments


def spec_of(dataset: data.Dataset | data.Domains | data.Union) -> Spec:
    """What a model must know of a data set."""
    attributes = tuple(getattr(dataset, "attribute_names", ()))
    groups, exclusive = tuple(getattr(dataset, "groups", ())), getattr(dataset, "exclusive", False)
    exclusive = tuple(exclusive) if groups else (exclusive,) * bool(attributes)
    shape, other = tuple(dataset.shape), tuple(dataset.other)
    caption = getattr(dataset, "caption", ())
    return Spec(shape, dataset.num_classes, dataset.condition_dim, other, attributes, groups, exclusive, caption)


def fit(kind: type[Recipe], dataset: data.Dataset, settings: Settings) -> None:
    """Refuse data that the model cannot learn from, saying what to type instead."""
    name = models.name_of(kind)
    if dataset.kind not in kind.data.split():
        hint = next((f". {data.HOW[one]}" for one in kind.data.split() if one in data.HOW), "")
        if dataset.kind == "domains" and (parts := data.split(settings.data)):
            hint = f". For one of its domains type --data {parts[0]}"
        if dataset.kind == "masks" and (found := data.two_sided(settings.data, "")):
            hint = f". For its images alone type --data {found[1][0]}"
        raise ValueError(
            f"{name} learns from {' or '.join(kind.data.split())}; {settings.data} holds {dataset.kind}{hint}"
        )
    if settings.augment != "none":
        if dataset.kind in ("points", "vectors"):
            raise ValueError(f"there is no augmentation of {dataset.kind}; leave --augment out")
        for shape in filter(None, (dataset.shape, dataset.other)):
            augmentation(settings).fits(shape[0])
    if settings.augment == "none" and settings.augment_policy not in ("", kind.defaults.get("augment_policy")):
        raise ValueError(
            "an augmentation policy does nothing without an augmentation: add --augment diffaugment or --augment ada"
        )
    if settings.augment != "ada" and settings.augment_p:
        raise ValueError("augment_p is how often ada changes an image: add --augment ada, or leave --augment-p out")
    if hasattr(kind, "reduced") and len(dataset) > 1:
        raise ValueError(
            f"{name} learns from one image, and {settings.data} holds {len(dataset):,}: name the file of one of them"
        )
    if kind.labels == "required" and not dataset.num_classes and not dataset.condition_dim:
        raise ValueError(
            f"{name} needs labels and {settings.data} has none: put each class into a sub-folder of its own"
        )
    if dataset.kind in data.KINDS:
        height, width = dataset.shape[1:]
        near = kind.nearest(height, width)
        if (height, width) != tuple(near):
            flag = f"{near[0]}" if near[0] == near[1] else f"{near[0]}x{near[1]}"
            raise ValueError(f"{name} cannot draw {height}x{width} (height x width) images. Add --resolution {flag}.")


def augmentation(settings: Settings) -> Augment:
    """What changes the images that D sees, as the settings have it.

    Raises:
        ValueError: the policy or a number is wrong.
    """
    s = settings
    return Augment(s.augment, s.augment_policy, s.augment_p, s.augment_target, s.augment_speed)


def build(kind: type[Recipe], spec: Spec, arguments: dict[str, object], seed: int) -> Recipe:
    """The recipe with its first weights drawn from the seed; training's own random numbers follow it."""
    torch.manual_seed(seed)
    recipe = building.construct(kind, spec, arguments, building.TRAINED)
    own = seed + 7919 * (1 + processes.rank())  # what is drawn without batch.draw must differ between processes
    torch.manual_seed(own), random.seed(own), np.random.seed(own % 2**32)
    return recipe
