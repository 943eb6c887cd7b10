"""Before the first step: settings and arguments, processes, data that the model can learn from, and the model."""

from __future__ import annotations

import dataclasses
import random
from datetime import timedelta

import numpy as np
import torch

from gankit import build, data, models, processes
from gankit.augment import Augment
from gankit.recipe import Recipe, Spec, can
from gankit.runs.config import Data
from gankit.training.settings import Settings

TOYS = {"images": "digits", "points": "ring", "domains": "digits-negative", "pairs": "photo-edges", "masks": "scenes"}
"""Data that ships, for a first try, by the kind that a model learns from."""

PRESETS = {"cpu": ("cpu", "small"), "gpu": ("gpu", "small")}
"""Presets for a run of minutes on a CPU and on a GPU, the preferred one first."""


def small_preset(kind: type[Recipe], machine: str = "cpu") -> str:
    """The preset of a model for a run of minutes on a CPU ("cpu") or a GPU ("gpu"); "" if it has none."""
    return next((preset for preset in PRESETS[machine] if preset in kind.presets), "")


def start_processes(settings: Settings) -> torch.device:
    """Join the run's other processes, if there are any; returns the device that this one works on.

    Raises:
        ValueError: the batch does not divide by the processes, or the device is not on this machine.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    patience = timedelta(days=1) if settings.evaluate else timedelta(minutes=10)  # the first process evaluates alone
    device = processes.start(settings.device, patience)
    if settings.batch % processes.world():
        raise ValueError(f"batch {settings.batch} does not divide by the {processes.world()} processes; change --batch")
    return device


def open_data(settings: Settings, kind: type[Recipe]) -> Data:
    """The data of the settings, read as the kind that the model learns from where it can be read in several ways."""
    wanted = kind.data.split()[0]
    if not settings.data:
        name, toy = models.name_of(kind), TOYS.get(wanted, "")
        ships = f", or --data {toy} for data that ships" if toy else ""
        raise ValueError(f"{name} needs data: add --data PATH, a folder or archive of yours{ships}")
    if settings.text_encoder and wanted != "captions":
        raise ValueError(
            f"{models.name_of(kind)} learns from {kind.data} and draws from no texts: leave --text-encoder out"
        )
    return data.open_as(settings.data, data.reading_of(settings), settings.mirror, wanted, settings.text_encoder)


def open_for(
    kind: type[Recipe], settings: Settings, arguments: dict[str, object]
) -> tuple[Data, Settings, dict[str, object]]:
    """The data, with the settings and arguments that apply to it: a model of one image may reduce its size (`reduced`).

    Raises:
        ValueError: the model cannot learn from the data.
    """
    with data.allow_downloads():  # both callers have the name from the user
        dataset = open_data(settings, kind)
    check_data(kind, dataset, settings)
    if can(kind, "reduced"):
        (height, width), changed = kind.reduced(*dataset.shape[1:], arguments)
        if (height, width) != tuple(dataset.shape[1:]):
            settings, arguments = dataclasses.replace(settings, resolution=f"{height}x{width}"), arguments | changed
            dataset = open_data(settings, kind)
    if scales := data.range_text(dataset.scales):  # whatever is read for this run later is scaled as its data is
        settings = dataclasses.replace(settings, range=scales)
    return dataset, settings, arguments


def open_training_data(recipe: Recipe, settings: Settings, dataset: Data) -> Data:
    """The data for batches: the run's own, or the same at `load_size`, from which the model cuts its crops."""
    size = recipe.load_size
    if size is None or size == tuple(dataset.shape[1:]):
        return dataset
    load_size, crop_size = ("x".join(map(str, sides)) for sides in (size, dataset.shape[1:]))
    try:
        return open_data(dataclasses.replace(settings, resolution=load_size), type(recipe))
    except ValueError as error:
        error.args = (
            f"{error}. Images to train on are read at {load_size}, and crops of {crop_size} cut from them: "
            "try a lower --resolution",
        )
        raise


def spec_of(dataset: Data) -> Spec:
    """What a model must know of a data set."""
    attributes = tuple(getattr(dataset, "attribute_names", ()))
    groups, exclusive = tuple(getattr(dataset, "groups", ())), getattr(dataset, "exclusive", False)
    return Spec(
        shape=tuple(dataset.shape),
        num_classes=dataset.num_classes,
        condition_dim=dataset.condition_dim,
        other=tuple(dataset.other),
        attributes=attributes,
        groups=groups,
        exclusive=(exclusive,) * bool(attributes) if isinstance(exclusive, bool) else tuple(exclusive),
        caption=getattr(dataset, "caption", ()),
    )


def check_data(kind: type[Recipe], dataset: Data, settings: Settings) -> None:
    """Refuse data that the model cannot learn from.

    Raises:
        ValueError: with the flag or the step that would help.
    """
    name, kinds = models.name_of(kind), kind.data.split()
    if dataset.kind not in kinds:
        hint = next((f". {data.HOW[wanted]}" for wanted in kinds if wanted in data.HOW), "")
        if dataset.kind == "domains" and (parts := data.split(settings.data)):
            hint = f". For one of its domains type --data {parts[0]}"
        how = data.reading_of(settings)
        if dataset.kind == "masks" and (two_sides := data.two_sided(settings.data, "", how)):
            hint = f". For its images alone type --data {two_sides.images}"
        raise ValueError(f"{name} learns from {' or '.join(kinds)}; {settings.data} holds {dataset.kind}{hint}")
    check_augmentation(kind, dataset, settings)
    if can(kind, "reduced") and len(dataset) > 1:
        raise ValueError(
            f"{name} learns from one image, and {settings.data} holds {len(dataset):,}: name the file of one of them"
        )
    if kind.labels == "required" and not dataset.num_classes and not dataset.condition_dim:
        fault = dataset.faults.get("labels", "")
        raise ValueError(
            f"{name} needs labels and {settings.data} has none: put each class into a sub-folder of its own, or name a "
            f"table by --labels FILE:COLUMN{fault and '. '}{fault}"
        )
    fault = dataset.faults.get("attributes", "")
    if "attributes" in build.defaults(kind) and fault and not spec_of(dataset).attributes and not dataset.num_classes:
        raise ValueError(f"{name} needs attributes, and those of {settings.data} cannot be used: {fault}")
    if dataset.kind in data.KINDS:
        height, width = dataset.shape[1:]
        near = kind.nearest(height, width)
        if (height, width) != tuple(near):
            flag = f"{near[0]}" if near[0] == near[1] else f"{near[0]}x{near[1]}"
            raise ValueError(f"{name} cannot draw {height}x{width} (height x width) images. Add --resolution {flag}.")


def check_augmentation(kind: type[Recipe], dataset: Data, settings: Settings) -> None:
    """Refuse an augmentation that the data cannot have, and its options without it. Raises ValueError."""
    if settings.augment != "none":
        if dataset.kind in ("points", "vectors"):
            raise ValueError(f"there is no augmentation of {dataset.kind}; leave --augment out")
        for shape in filter(None, (dataset.shape, dataset.other)):
            build_augmentation(settings).fits(shape[0])
    elif settings.augment_policy not in ("", kind.defaults.get("augment_policy")):
        raise ValueError(
            "an augmentation policy does nothing without an augmentation: add --augment diffaugment or --augment ada"
        )
    if settings.augment != "ada" and settings.augment_p:
        raise ValueError("augment_p is how often ada changes an image: add --augment ada, or leave --augment-p out")


def build_augmentation(settings: Settings) -> Augment:
    """The augmentation of the settings. Raises ValueError: the policy or a number is invalid."""
    s = settings
    return Augment(s.augment, s.augment_policy, s.augment_p, s.augment_target, s.augment_speed)


def build_recipe(kind: type[Recipe], spec: Spec, arguments: dict[str, object], seed: int) -> Recipe:
    """The recipe with its initial weights drawn from the seed, as the random numbers of training are after it."""
    torch.manual_seed(seed)
    recipe = build.construct(kind, spec, arguments, build.TRAINED)
    process_seed = seed + 7919 * (1 + processes.rank())  # numbers drawn without batch.draw differ between processes
    torch.manual_seed(process_seed), random.seed(process_seed), np.random.seed(process_seed % 2**32)
    return recipe
