"""Build the trials of a model or of samples, with the data that they are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

from gankit import data
from gankit.evaluation import sources, translations
from gankit.evaluation.sources import Samples, Trial
from gankit.evaluation.translations import Data
from gankit.recipe import Recipe


class Reference(NamedTuple):
    """The data that a model is compared with, opened once: as data sets for translators, else as Samples.

    Args:
        real: the training data, or data in its place.
        held_out: data that no model was trained on.
        name: the name of `real` as the user typed it.
    """

    real: Samples | Data | None
    held_out: Samples | Data | None
    name: str


def open_reference(
    recipe: Recipe | None, real: str, held_out: str, settings: Mapping[str, object], resolution: str = ""
) -> Reference:
    """The data of these names; default for held-out data: the held-out part of the real data.

    Args:
        recipe: the model, None for samples without one.
        real, held_out: names of data, or empty.
        settings: of the run, which say how the data are prepared.
        resolution: of folders; empty for the run's own.

    Raises:
        ValueError: there is no such data.
    """
    if real == settings.get("data"):
        held_out = held_out or str(settings.get("held_out") or "")
    own = {**settings, "split": "", "held_out": ""}  # the name of held-out data says its part
    if recipe is not None and translations.translates(recipe):
        kind, held_out = recipe.data.split()[0], held_out or translations.held_out_name(real)
        train = sources.open_dataset(real, settings, resolution, kind) if real else None
        return Reference(train, sources.open_dataset(held_out, own, resolution, kind) if held_out else None, real)
    samples = sources.of_data(real, settings, resolution) if real else None
    if samples is not None and samples.data and not held_out:
        held_out = data.held_out_of(samples.data) or ""
    return Reference(samples, sources.of_data(held_out, own, resolution) if held_out else None, real)


def trials_of_model(
    recipe: Recipe,
    reference: Reference,
    about: dict[str, object],
    fingerprint: str,
    seed: int = 0,
    trunc: float = 1.0,
    domains: str = "ab",
) -> list[Trial]:
    """The trials of a model: of its samples, or of its translations in each direction.

    Args:
        recipe: the model, in eval mode.
        reference: the data that it is compared with.
        about: the description of the model for records.
        fingerprint: equal for equal weights.
        seed: the first seed of samples, and of the choice of a translator's inputs.
        trunc: truncation of the latents.
        domains: the domains that a translator can translate to.
    """
    name = str(about["run"])
    if translations.translates(recipe):
        real, held_out = cast("Data | None", reference.real), cast("Data | None", reference.held_out)
        typed = reference.name
        return translations.translator_trials(recipe, name, fingerprint, real, held_out, seed, about, typed, domains)
    return [trial_of_samples(sources.of_recipe(recipe, name, fingerprint, seed, trunc, about), reference)]


def trial_of_samples(fake: Samples, reference: Reference) -> Trial:
    """Samples and real data, with the class numbers of the real data."""
    real, held_out = cast("Samples | None", reference.real), cast("Samples | None", reference.held_out)
    if real is not None:
        fake = sources.with_classes_of(real, fake)
        held_out = held_out and sources.with_classes_of(real, held_out)
    return Trial(fake, real, held_out)
