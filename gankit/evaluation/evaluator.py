"""evaluate(): from the name of a run, folder or file to scores and their records."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor

from gankit import processes
from gankit.evaluation import extraction, figures, records, sources
from gankit.evaluation.catalogue import DEFAULT, DEFAULT_OF_TRANSLATORS, METRICS, parse_metrics
from gankit.evaluation.measure import describe, measure, progress_bar
from gankit.evaluation.plan import Plan, PlanOptions, Reasons, default_metrics, make_plan, skipped
from gankit.evaluation.sources import Trial
from gankit.evaluation.subject import Score, Scores
from gankit.evaluation.trials import open_reference, trial_of_samples, trials_of_model
from gankit.metrics.extractors import Extractor
from gankit.recipe import can
from gankit.runs.config import read_config
from gankit.runs.trained import load

MAX_SAMPLES = 10_000_000  # features are held in memory


def evaluate(
    what: str | Path,
    *,
    against: str = "",
    metrics: str = DEFAULT,
    features: str | Extractor = "",
    n: int = 0,
    seed: int = 0,
    trunc: float = 1.0,
    held_out: str = "",
    resolution: str = "",
    batch: int = 64,
    precision: str = "fp32",
    weights: str = "weights.safetensors",
    model: str = "",
    segmenter: str = "",
    device: str = "auto",
    quiet: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> list[Score]:
    """Scores of a run, a folder or archive of images, or a .npz of samples; each is added to evaluations.jsonl.

    A model that translates or segments is evaluated on images that it was not trained on: those of `held_out`, else the
    held-out part of its data, else its training data, which every score then notes. A model of two domains is evaluated
    in both directions.

    A metric that cannot be computed is skipped with a reason: it does not apply, its weights are not available, there
    are too few samples, its value is not finite, or it fails. It is an error only if no metric is left. A network is
    loaded, and downloaded if needed, only if a metric uses it.

    The function is long because this docstring describes every option.

    Args:
        what: a run by its folder, the unique beginning of its name, or "latest"; a folder, zip or tar; a .npz.
        against: the real data: a folder, zip, tar, .npz or built-in set; default: the run's own data.
        metrics: names with commas between, or "all"; see gankit.evaluation.METRICS. Default for translators and for
            models of one image: the metrics for these that apply.
        features: the feature extractor: digits, inception, inception-clean, vgg16 ...; default: digits for data of that
            name, inception for all others.
        n: number of samples; default: 50,000 with inception and 10,000 with others, 50 for models of one image.
        seed: the first seed of the samples, and the seed of every random choice.
        trunc: truncation of the latents.
        held_out: real data that no model was trained on, and the inputs of translators; default: the held-out part of
            the data, such as digits:test.
        resolution: of folders, as in training; default: the run's own.
        batch: samples that go through the networks at once.
        precision: fp32, or fp64 to check exactness.
        weights: the file of weights in the run folder.
        model: the file of a model that is not gankit's own; its code is executed.
        segmenter: a run of a model that segments, for fcn_score; default: a small one, fitted to the data.
        device: auto, cpu, cuda or mps.
        quiet: show no progress bar.
        say: called with a message for each skipped metric.

    Raises:
        ValueError: a name is unknown, data are missing or do not match, or none of the metrics can be computed.
    """
    names = parse_metrics(metrics)
    check_numbers(n, seed, batch, precision)
    place = processes.start(device, timedelta(days=1))  # the other processes wait while the first one computes
    dtype = torch.float64 if precision == "fp64" else torch.float32
    folder = records.find_run(what)
    if folder is not None:
        trials = trials_of_run(
            folder, against, held_out, resolution, dtype, seed=seed, trunc=trunc, weights=weights, model=model,
            device=device,
        )  # fmt: skip
    else:
        samples = sources.of_data(str(what), None, resolution)
        trials = [trial_of_samples(samples, open_reference(None, against, held_out, {}, resolution))]
    own_default = default_metrics(trials[0])
    uses_own_default = metrics == DEFAULT and own_default != DEFAULT
    if uses_own_default:
        names = parse_metrics(own_default)
    may_download = metrics != "all" and not uses_own_default
    options = PlanOptions(place, features, n, batch, seed, dtype, may_download=may_download)
    if segmenter:
        function, title = open_segmenter(segmenter, device)
        options = replace(options, segmenter=function, segmented_by=title)
    plans, reasons = [make_plan(trial, names, options) for trial in trials], Reasons(say)
    for name, reason in skipped(plans, names).items():
        is_expected = uses_own_default and own_default == DEFAULT_OF_TRANSLATORS
        if not is_expected or any(name in plan.failed for plan in plans):
            reasons.add(reason)
    scores = measure_plans(plans, records.records_of(what), n, precision, quiet, reasons)
    if processes.rank() == 0:
        finish(plans, folder, seed, say)
    processes.leave()
    return scores


def check_numbers(n: int, seed: int, batch: int, precision: str) -> None:
    """Raises ValueError: an option is out of range."""
    if n < 0 or seed < 0 or batch < 1 or precision not in ("fp32", "fp64"):
        raise ValueError(
            "n and seed must not be below 0, batch at least 1, precision fp32 or fp64; "
            f"found {n}, {seed}, {batch} and {precision}"
        )
    if n > MAX_SAMPLES:
        raise ValueError(f"n is {n:,}; the most is {MAX_SAMPLES:,} samples, and papers use 50,000")


def trials_of_run(
    folder: Path,
    against: str,
    held_out: str,
    resolution: str,
    dtype: torch.dtype,
    *,
    seed: int,
    trunc: float,
    weights: str,
    model: str,
    device: str,
) -> list[Trial]:
    """The trials of a trained model, compared with its own data unless `against` names other data."""
    config = read_config(folder)
    settings = config["settings"]
    if not against and "source" not in config:  # imported weights come without their data
        against = settings["data"]
    trained = load(folder, model=model or None, device=device, weights=weights)
    if dtype == torch.float64:
        trained.recipe.double()
    about = sources.about_model(trained)
    reference = open_reference(trained.recipe, against, held_out, settings, resolution)
    return trials_of_model(
        trained.recipe, reference, about, str(about["weights"]), seed, trunc, domains=trained.domains
    )


def open_segmenter(run: str, device: str) -> tuple[Callable[[Tensor], Tensor], str]:
    """The segmenter of a run, (n, C, H, W) images to (n, H, W) classes, and its name for records.

    Raises:
        ValueError: there is no such run, or its model does not segment.
    """
    trained = load(run, device=device)
    recipe = trained.recipe
    if not can(recipe, "segment"):
        raise ValueError(
            f"--segmenter {run} is a run of {type(recipe).__name__}, which does not segment; name one of unet"
        )
    like, about = next(recipe.parameters()), sources.about_model(trained)

    def segment(images: Tensor) -> Tensor:
        return recipe.segment(images.to(like.device, like.dtype))

    return segment, f"{about['run']} {str(about['weights'])[:8]}"


def measure_plans(plans: list[Plan], path: Path, n: int, precision: str, quiet: bool, reasons: Reasons) -> list[Score]:
    """Compute the metrics of all plans and record their scores; the first process gets the scores.

    Raises:
        ValueError: no metric can be computed.
    """
    if not any(plan.names for plan in plans):
        reasons.fail()
    reasons.report()
    for plan in plans:
        fake = plan.subject.fake
        if n > fake.count:
            reasons.say(f"n is {n:,}; {fake.name} has {fake.count:,} samples, and all of them are used")
    scores = Scores()
    with nullcontext() if quiet or processes.rank() else progress_bar(plans):
        for plan in plans:
            for measured in measure(plan.subject, plan.names, reasons.add):
                records.append(path, [records.record(measured, plan.subject, precision)])
                scores.append(measured.score)
                reasons.report()
    if processes.rank() == 0 and not scores:
        reasons.fail()
    reasons.report()
    return scores


def finish(plans: list[Plan], folder: Path | None, seed: int, say: Callable[[str], None]) -> None:
    """Drop cached features that will not be used again, and render the figures of a run's metrics."""
    subjects = [plan.subject for plan in plans]
    for subject in subjects:
        is_real = subject.real is not None and subject.fake.fingerprint == subject.real.fingerprint
        if subject.extractor is not None and not is_real:
            extraction.forget(subject.fake, subject.network, subject.n, seed)
    names = [figure for plan in plans for name in plan.names for figure in METRICS[name].figures]
    if folder is not None and names:
        try:
            figures.render(subjects, names, folder / "evaluation")
        except ValueError as error:  # samples with NaN, for example: the scores are already recorded
            say(f"the figures are skipped: {describe(error)}")
