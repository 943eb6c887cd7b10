"""evaluate(): from what is named to scores and their records."""

from __future__ import annotations

import difflib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gankit import checkpoint, processes
from gankit.evaluation import pictures, records, sources
from gankit.evaluation.comparison import way
from gankit.evaluation.features import forget
from gankit.evaluation.judges import METRICS, Score, Subject, looks, missing
from gankit.metrics.extractors import Extractor, extractor
from gankit.recipe import Recipe

if TYPE_CHECKING:
    from gankit.loop import Run

USUAL = "fd,kd,is,precision,density"


def evaluate(
    what: str | Path,
    *,
    against: str = "",
    metrics: str = USUAL,
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
    device: str = "auto",
    quiet: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> list[Score]:
    """Scores of a run, a folder or archive of images, or a .npz of samples; each is added to evaluations.jsonl.

    Args:
        what: a run by its folder, the unique beginning of its name, or "latest"; a folder, zip or tar; a .npz.
        against: the reals: a folder, zip, tar, .npz or built-in set; a run's own data without it.
        metrics: names with commas between, or "all"; see gankit.evaluation.METRICS.
        features: the network to look through: digits, inception, inception-clean, vgg16 ...; digits for data of that
            name and inception for all other without it.
        n: samples; 50,000 with inception and 10,000 with others without it.
        seed: the first seed of the samples, and the seed of every choice.
        trunc: truncation of the latents.
        held_out: reals that no model was trained on; digits:test for digits without it.
        resolution: of folders, as in training; the run's own without it.
        batch: samples that go through the networks at once.
        precision: fp32, or fp64 to check exactness.
        weights: the file of weights in the run folder.
        model: the file of a model that is not gankit's own; its code is executed.
        device: auto, cpu, cuda or mps.
        quiet: no progress bar.
        say: told of metrics that do not apply, each with its reason.

    Raises:
        ValueError: a name is unknown, data are missing or unlike, or a metric that was asked for does not apply.
        OSError: a file of weights is neither here nor to be had; says which, where to, and its hash.
    """
    names = wanted(metrics)
    if n < 0 or seed < 0 or batch < 1 or precision not in ("fp32", "fp64"):
        raise ValueError(
            f"n and seed must not be below 0, batch at least 1, precision fp32 or fp64; found {n}, {seed}, {batch} and {precision}"
        )
    place = processes.start(device, timedelta(days=1))  # the others wait while the first process reckons
    path = Path(what).expanduser()
    settings: dict[str, object] = {}
    is_run = not path.exists() or (path / "config.json").exists()
    if is_run:
        folder = checkpoint.locate(what)
        config = checkpoint.read_config(folder)
        settings = config["settings"]
        against = against or ("" if "source" in config else settings["data"])  # imported weights come without their data
    real = sources.of_data(against, settings, resolution) if against else None
    unseen = sources.of_data(held_out, settings, resolution) if held_out else None
    if real is not None and not held_out:
        unseen = sources.held_out(real, settings, resolution)
    fp64 = precision == "fp64"
    fake = sources.of_run(folder, seed, trunc, weights, model or None, device, fp64) if is_run else sources.of_data(str(what), None, resolution)
    check(fake, real, unseen)
    if real is not None:
        fake, unseen = sources.aligned(fake, real), unseen and sources.aligned(unseen, real)
    net = choose(features, real, torch.float64 if fp64 else torch.float32, place) if fake.kind == "images" else None
    n = n or usual_count(net)
    fake = replace(fake, count=n) if is_run else fake
    subject = Subject(fake, real, unseen, net, n, batch, seed, willing=metrics != "all")
    chosen = applicable(subject, names, metrics == "all", say)
    out, found = records.records_of(what), []
    with ExitStack() as stack:
        if not quiet and processes.rank() == 0:
            subject.tell = stack.enter_context(progress(subject))
        for one in take(subject, chosen, metrics == "all", say):
            records.append(out, [records.record(*one, subject, precision)])
            found.append(one[1])
    if processes.rank() == 0:
        if net is not None and (real is None or fake.fingerprint != real.fingerprint):
            forget(fake, net, n, seed)
        if is_run:
            pictures.draw(subject, folder / "evaluation")
    processes.leave()
    return found


def wanted(metrics: str) -> list[str]:
    """The names in "fd,precision" or "all".

    Raises:
        ValueError: there is no such metric; says what is near.
    """
    names = list(METRICS) if metrics == "all" else [name.strip() for name in metrics.split(",") if name.strip()]
    for name in names:
        if name not in METRICS:
            near = difflib.get_close_matches(name, METRICS, 1)
            hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(METRICS)}, and all."
            raise ValueError(f"there is no metric {name!r}. {hint}")
    if not names:
        raise ValueError(f"no metric was named; there are {', '.join(METRICS)}, and all")
    return list(dict.fromkeys(names))


def choose(name: str | Extractor, real: sources.Source | None, dtype: torch.dtype, device: torch.device) -> Extractor | None:
    """The network to look through: the one that is named, or the one that goes with the data."""
    if isinstance(name, Extractor):
        return name.to(device, dtype)
    if not name:
        data = "" if real is None else real.data.split(":")[0]
        if data == "stacked-digits":  # neither network has seen such images
            return None
        name = "digits" if data == "digits" else "inception"
    return extractor(name, dtype=dtype).to(device, dtype)


def usual_count(net: Extractor | None) -> int:
    """How many samples are taken when nobody says: as papers do with Inception, fewer with what is not compared with them."""
    return 50_000 if net is not None and net.name.startswith("inception") else 10_000


def check(fake: sources.Source, *others: sources.Source | None) -> None:
    """Refuse what cannot be held against each other."""
    for other in others:
        if other is not None and (other.kind, other.shape) != (fake.kind, fake.shape):
            raise ValueError(
                f"{fake.name} holds {fake.kind} of {'x'.join(map(str, fake.shape))}, {other.name} {other.kind} of "
                f"{'x'.join(map(str, other.shape))}; they must be alike: --resolution fits folders"
            )


def applicable(s: Subject, names: list[str], everything: bool, say: Callable[[str], None]) -> list[str]:
    """The metrics that apply; of those asked for by name all must."""
    chosen = []
    for name in names:
        if reason := missing(METRICS[name], s):
            if not everything and len(names) == 1:
                raise ValueError(f"{name} does not apply: {reason}")
            say(f"{name} does not apply: {reason}")
        else:
            chosen.append(name)
    if not chosen:
        raise ValueError("none of the metrics applies")
    return chosen


def take(s: Subject, names: list[str], tolerant: bool, say: Callable[[str], None]) -> Iterator[tuple[str, Score, float]]:
    """Metrics, their scores, and the seconds they took, as they come; all processes look, the first one reckons."""
    looking = [METRICS[name].needs for name in names if looks(name) and METRICS[name].needs != METRICS["ppl"].needs]
    if looking:
        _ = s.fakes
    if any("reals" in needs for needs in looking):
        _ = s.reals
    for name in names if processes.rank() == 0 else ():
        began = time.perf_counter()
        try:
            scores = list(METRICS[name].take(s))
            for score in scores:
                if not math.isfinite(score.value) or not math.isfinite(score.error or 0):
                    raise ValueError(f"{score.name} is {score.value} +- {score.error} for these {score.n_fake} samples")
        except ValueError as error:  # too few samples, an absent class: a reason, not a number
            if not tolerant:
                raise ValueError(f"{name}: {error}") from error
            say(f"{name} cannot be taken: {error}")
            continue
        yield from ((name, score, time.perf_counter() - began) for score in scores)


def progress(s: Subject) -> object:
    """A bar on stderr over the samples that are looked at; gives the function that moves it."""
    import contextlib
    import sys

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    @contextlib.contextmanager
    def bar() -> object:
        if not sys.stderr.isatty():
            yield lambda rows: None
            return
        total = min(s.n, s.fake.count) + (0 if s.real is None else min(s.n, s.real.count))
        text = TextColumn("{task.completed:,.0f}/{task.total:,.0f} samples")
        with Progress(text, BarColumn(None), TimeRemainingColumn(), console=Console(stderr=True), transient=True) as shown:
            task = shown.add_task("", total=total)
            yield lambda rows: shown.update(task, advance=rows)

    return bar()


# During training -----------------------------------------------------------------------------------------------------


class During:
    """Evaluation while a run trains: its numbers go to the log and evaluations.jsonl, the best weights are kept.

    Args:
        run: the run; its settings say which metrics, through which features, and of how many samples.

    Raises:
        ValueError: a metric is unknown or does not apply, before anything trains.
        OSError: weights of the features are not to be had.
    """

    def __init__(self, run: Run):
        s = run.settings
        self.names = wanted(s.evaluate)
        config = run.config["settings"]
        self.real = sources.of_data(s.data, config)
        self.held_out = sources.held_out(self.real, config, "")
        self.net = choose(s.evaluate_features, self.real, torch.float32, run.device) if self.real.kind == "images" else None
        self.n = s.evaluate_n or usual_count(self.net)
        subject = self.subject(run, run.recipe, "")
        for name in self.names:
            if reason := missing(METRICS[name], subject):
                raise ValueError(f"--evaluate {name} does not apply: {reason}")

    def subject(self, run: Run, recipe: Recipe, weights: str) -> Subject:
        about = {"run": run.folder.name, "model": run.config["model"], "images": run.images, "weights": weights}
        fake = replace(sources.of_recipe(recipe, run.folder.name, f"{run.config['id']}-{run.images}", about=about), count=self.n)
        return Subject(fake, self.real, self.held_out, self.net, self.n, keep=False)

    def __call__(self, run: Run) -> None:
        """Take the metrics of the averaged weights. Training is not touched, and a metric that cannot be taken is said."""
        with run.averaged() as recipe:
            subject = self.subject(run, recipe, checkpoint.digest(checkpoint.weights_of(recipe)))
            found = list(take(subject, self.names, True, run.log.say))
        if processes.rank() or not found:
            return
        path = run.folder / "evaluations.jsonl"
        before = [line for line in records.read(path) if line.get("training")]
        lines = [records.record(*one, subject, "fp32", training=True) for one in found]
        records.append(path, lines)
        run.log.add({f"evaluation/{score.name}": torch.tensor(score.value, dtype=torch.float64) for _, score, _ in found})
        first = lines[0]
        if first["metric"] != self.names[0]:
            return
        sign = -1 if first["better"] == "higher" else 1
        past = [sign * line["value"] for line in before if line["name"] == first["name"] and way(line) == way(first)]
        if not past or sign * first["value"] < min(past):
            checkpoint.save_weights(run, run.folder / "weights-best.safetensors")


def during(run: Run) -> During | None:
    """What evaluates a run while it trains, if its settings ask for it."""
    if not run.settings.evaluate:
        return None
    if processes.rank() == 0:
        records.cut(run.folder / "evaluations.jsonl", run.images)
    return During(run)
