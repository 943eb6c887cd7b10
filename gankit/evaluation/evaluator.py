"""evaluate(): from what is named to scores and their records."""

from __future__ import annotations

import difflib
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import torch

from gankit import processes
from gankit.evaluation import pictures, records, single, sources, translations
from gankit.evaluation.comparison import way
from gankit.evaluation.features import forget
from gankit.evaluation.judges import METRICS, looks, missing, network
from gankit.evaluation.subject import Lens, Score, Subject
from gankit.evaluation.translations import Trial
from gankit.metrics.extractors import NAMES, Extractor, check_name, extractor
from gankit.recipe import Recipe
from gankit.runs.config import locate, read_config
from gankit.runs.files import digest
from gankit.runs.state import LiveRun, save_weights, weights_of
from gankit.runs.trained import Trained, load
from gankit.text import bar
from gankit.weights import WeightsFile, fetch

USUAL = "fd,kd,is,precision,density"
OF_TRANSLATIONS = (
    "l1,psnr,ssim,cycle,style,label_kept,attributes,segmentation,fcn_score,fd,kd,precision,density"  # those that apply
)
OF_ONE_IMAGE = "sifid,sifid_small,patches,diversity,copies,reconstruction"
LARGEST = 10_000_000  # samples: features are held in memory


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
    segmenter: str = "",
    device: str = "auto",
    quiet: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> list[Score]:
    """Scores of a run, a folder or archive of images, or a .npz of samples; each is added to evaluations.jsonl.

    A model that translates or segments is judged on images that it did not learn from: those of `held_out`, else the part
    of its data that is held out, else its data, which every number says then. Of two domains it is judged both ways.

    A metric that cannot be taken is left out, with its reason: it does not apply, its weights cannot be had, there are too few
    samples, its value is not finite, it fails. It is an error only if none remains. A network is loaded, and if need be
    downloaded, only if one of the metrics looks through it.

    Args:
        what: a run by its folder, the unique beginning of its name, or "latest"; a folder, zip or tar; a .npz.
        against: the reals: a folder, zip, tar, .npz or built-in set; a run's own data without it.
        metrics: names with commas between, or "all"; see gankit.evaluation.METRICS. Of translations those of OF_TRANSLATIONS
            that apply without it, of models of one image those of OF_ONE_IMAGE.
        features: the feature extractor: digits, inception, inception-clean, vgg16 ...; default: digits for data of that
            name, inception for all other.
        n: samples; without it 50,000 with inception and 10,000 with others, and 50 of models of one image.
        seed: the first seed of the samples, and the seed of every choice.
        trunc: truncation of the latents.
        held_out: reals that no model was trained on, and what translators are given; digits:test for digits without it.
        resolution: of folders, as in training; the run's own without it.
        batch: samples that go through the networks at once.
        precision: fp32, or fp64 to check exactness.
        weights: the file of weights in the run folder.
        model: the file of a model that is not gankit's own; its code is executed.
        segmenter: a run of a model that segments, for fcn_score; a small one is fitted to the data without it.
        device: auto, cpu, cuda or mps.
        quiet: no progress bar.
        say: called with a line for each metric that is left out.

    Raises:
        ValueError: a name is unknown, data are missing or unlike, or none of the metrics can be taken; says why.
    """
    names = wanted(metrics)
    if n < 0 or seed < 0 or batch < 1 or precision not in ("fp32", "fp64"):
        raise ValueError(
            f"n and seed must not be below 0, batch at least 1, precision fp32 or fp64; found {n}, {seed}, {batch} and {precision}"
        )
    if n > LARGEST:
        raise ValueError(f"n is {n:,}; {LARGEST:,} samples are the most, and papers take 50,000")
    place = processes.start(device, timedelta(days=1))  # the others wait while the first process reckons
    path = Path(what).expanduser()
    settings: dict[str, object] = {}
    is_run = not path.exists() or (path / "config.json").exists()
    if is_run:
        folder = locate(what)
        config = read_config(folder)
        settings = config["settings"]
        against = against or (
            "" if "source" in config else settings["data"]
        )  # imported weights come without their data
    fp64 = precision == "fp64"
    if is_run:
        trained = load(folder, model=model or None, device=device, weights=weights)
        if fp64:
            trained.recipe.double()
        tried = of_model(trained, against, held_out, settings, resolution, seed, trunc)
    else:
        tried = [of_samples(sources.of_data(str(what), None, resolution), against, held_out, settings, resolution)]
    own = usual_of(
        tried[0]
    )  # metrics of this kind of model, which are taken where nobody names any, so far as they apply
    usual = metrics == USUAL and own != USUAL
    names = wanted(own if usual else metrics)
    out, scores = records.records_of(what), []
    reasons = Reasons(say)
    dtype, more = torch.float64 if fp64 else torch.float32, segmenting(segmenter, device)
    judged = [
        judge(
            trial,
            features,
            names,
            n,
            dtype,
            place,
            batch=batch,
            seed=seed,
            willing=metrics != "all" and not usual,
            **more,
        )
        for trial in tried
    ]
    for name, reason in left_out(judged, names).items():
        if not usual or own != OF_TRANSLATIONS or any(name in one.failed for one in judged):
            reasons.add(reason)
    if not any(one.names for one in judged):
        reasons.refuse()
    reasons.tell()
    subjects = [one.subject for one in judged]
    for subject in subjects:
        if n > subject.fake.count:
            say(f"n is {n:,}; {subject.fake.name} has {subject.fake.count:,} samples, and all of them are taken")
        if is_run:
            subject.fake = replace(subject.fake, count=min(subject.n, subject.fake.count))
    with ExitStack() as stack:
        if not quiet and processes.rank() == 0:
            tell = stack.enter_context(progress(subjects))
            for subject in subjects:
                subject.tell = tell
        for subject, chosen, *_ in judged:
            for one in take(subject, chosen, reasons.add):
                records.append(out, [records.record(*one, subject, precision)])
                scores.append(one[1])
                reasons.tell()
    if processes.rank() == 0 and not scores:
        reasons.refuse()
    reasons.tell()
    if processes.rank() == 0:
        for subject in subjects:
            if subject.extractor is not None and (
                subject.real is None or subject.fake.fingerprint != subject.real.fingerprint
            ):
                forget(subject.fake, subject.extractor, subject.n, seed)
        if is_run:
            try:
                pictures.draw(subjects, folder / "evaluation")
            except ValueError as error:  # of samples that hold NaN, say: the numbers are there
                say(f"the pictures are left out: {cause(error)}")
    processes.leave()
    return scores


class Reasons:
    """Why metrics were left out: kept until there is something to say beside them, or for the error if there is not.

    Args:
        say: called with each reason, once.
    """

    def __init__(self, say: Callable[[str], None]):
        self.say = say
        self.kept: list[str] = []
        self.told: set[str] = set()

    def add(self, reason: str) -> None:
        if reason not in self.kept:
            self.kept.append(reason)

    def tell(self) -> None:
        """Say what was kept."""
        for reason in self.kept:
            if reason not in self.told:
                self.told.add(reason)
                self.say(reason)
        self.kept = []

    def refuse(self) -> None:
        """Raises ValueError: no metric is left, and why."""
        raise ValueError(
            self.kept[0]
            if len(self.kept) == 1
            else f"none of the metrics can be taken: {'; '.join(self.kept) or 'none applies'}"
        )


def usual_of(trial: Trial) -> str:
    """The metrics that are taken when nobody names any."""
    if trial.fake.inputs is not None:
        return OF_TRANSLATIONS
    return OF_ONE_IMAGE if single.alone(trial.fake, trial.real) else USUAL


def of_samples(
    fake: sources.Source, against: str, held_out: str, settings: dict[str, object], resolution: str
) -> Trial:
    """Samples, the reals, and the unseen ones that were named or go with them."""
    real = sources.of_data(against, settings, resolution) if against else None
    unseen = sources.of_data(held_out, settings, resolution) if held_out else None
    if real is not None and not held_out:
        unseen = sources.held_out(real, settings, resolution)
    if real is not None:
        fake, unseen = sources.aligned(fake, real), unseen and sources.aligned(unseen, real)
    return Trial(fake, real, unseen)


def of_model(
    trained: Trained,
    against: str,
    held_out: str,
    settings: dict[str, object],
    resolution: str,
    seed: int,
    trunc: float,
) -> list[Trial]:
    """What there is to judge of a model: its samples, or what it makes of images, in each direction."""
    recipe, told = trained.recipe, sources.told(trained)
    name, digest = str(told["run"]), str(told["weights"])
    if not translations.translates(recipe):
        fake = sources.of_recipe(recipe, name, digest, seed, trunc, told)
        return [of_samples(fake, against, held_out, settings, resolution)]
    kind = recipe.data.split()[0]
    train = sources.opened(against, settings, resolution, kind) if against else None
    held_out = held_out or translations.of_unseen(against)
    unseen = sources.opened(held_out, settings, resolution, kind) if held_out else None
    return translations.trials(recipe, name, digest, train, unseen, seed, told, against, trained.domains)


def segmenting(run: str, device: str) -> dict[str, object]:
    """What segments photographs, and what it is called, of a run that was named; nothing of none.

    Raises:
        ValueError: there is no such run, or it does not segment.
    """
    if not run:
        return {}
    trained = load(run, device=device)
    recipe = trained.recipe
    if not hasattr(recipe, "segment"):
        raise ValueError(
            f"--segmenter {run} is a run of {type(recipe).__name__}, which does not segment; name one of unet"
        )
    like, told = next(recipe.parameters()), sources.told(trained)
    name = f"{told['run']} {str(told['weights'])[:8]}"
    return dict(segmenter=lambda images: recipe.segment(images.to(like.device, like.dtype)), segmented_by=name)


class Judged(NamedTuple):
    """What is judged, and what by.

    Args:
        subject: the samples and what they are held against.
        names: the metrics that can be taken.
        reasons: of each other one, why it does not apply.
        failed: of each that applies, and whose network cannot be had, why.
    """

    subject: Subject
    names: list[str]
    reasons: dict[str, str]
    failed: dict[str, str]


def judge(
    trial: Trial,
    features: str | Extractor,
    names: list[str],
    n: int,
    dtype: torch.dtype,
    place: torch.device,
    **more: object,
) -> Judged:
    """Which metrics can be taken of samples. A network is loaded, and if need be downloaded, only if one looks through it.

    Raises:
        ValueError: the samples and the data are unlike, or no network has such a name.
    """
    check(*trial)
    lens = lens_of(trial, features)
    subject = Subject(*trial, lens, n, **more)
    reasons = {name: reason for name in names if (reason := missing(METRICS[name], subject))}
    names = [name for name in names if name not in reasons]
    failed: dict[str, str] = {}
    subject.extractor = None
    if lens is not None and any(map(looks, names)):
        try:
            subject.extractor = (
                lens.to(place, dtype)
                if isinstance(lens, Extractor)
                else extractor(lens.name, dtype=dtype).to(place, dtype)
            )
        except (OSError, ValueError) as error:
            failed = {name: str(error) for name in names if looks(name)}
    for name in names:
        _, file = network(name)
        if isinstance(file, WeightsFile):  # before anything is measured, or trained
            try:
                fetch(file)
            except (OSError, ValueError) as error:
                failed[name] = str(error)
    failed = agreed(failed)
    if any(map(looks, failed)):
        subject.extractor = None
    subject.n = n or usual_count(subject.extractor, trial)
    return Judged(subject, [name for name in names if name not in failed], reasons, failed)


def agreed(failed: dict[str, str]) -> dict[str, str]:
    """What failed in any process: all must take the same metrics, as they look at the samples together."""
    parts = [
        processes.tell(json.dumps(failed) if rank == processes.rank() else None, rank)
        for rank in range(processes.world())
    ]
    return {name: reason for part in parts for name, reason in json.loads(part).items()}


def left_out(judged: list[Judged], names: list[str]) -> dict[str, str]:
    """The metrics that can be taken of none of the subjects, each with a sentence that says why; one for those with one reason."""
    found = {}
    for name in names:
        if any(name in one.names for one in judged):
            continue
        failed = next((one.failed for one in judged if name in one.failed), {})
        if failed:
            alike = [other for other in failed if failed[other] == failed[name]]
            found[name] = f"{', '.join(alike)} cannot be taken: {failed[name]}"
        else:
            found[name] = f"{name} does not apply: {judged[0].reasons[name]}"
    return found


def lens_of(trial: Trial, features: str | Extractor) -> Extractor | Lens | None:
    """The network that samples are looked at through: the one that is named, or the one that goes with the data. Nothing is loaded.

    Raises:
        ValueError: no network has such a name.
    """
    fake, real = trial.fake, trial.real
    if isinstance(features, str) and features:
        check_name(features)
    if fake.kind != "images" or isinstance(features, Extractor):
        return features if fake.kind == "images" else None
    data = "" if real is None else real.data.split(":")[0]
    if not features and data == "stacked-digits":  # neither network has seen such images
        return None
    name = features or ("digits" if data == "digits" or fake.view else "inception")
    return Lens(name, name in NAMES)


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


def usual_count(net: Extractor | None, trial: Trial) -> int:
    """How many samples are taken when nobody says: as papers do with Inception, fewer with what is not compared with them, or takes a model of one image."""
    if single.alone(trial.fake, trial.real):
        return single.COUNT
    return 50_000 if net is not None and net.name.startswith("inception") else 10_000


def check(fake: sources.Source, *others: sources.Source | None) -> None:
    """Refuse what cannot be held against each other."""
    for other in others:
        if other is not None and (other.kind, other.shape) != (fake.kind, fake.shape):
            alike = fake.kind == other.kind == "images" and fake.shape[0] == other.shape[0]
            hint = f": add --resolution {fake.shape[1]}x{fake.shape[2]}" if alike else ""
            raise ValueError(
                f"{fake.name} holds {fake.kind} of {'x'.join(map(str, fake.shape))}, {other.name} {other.kind} of "
                f"{'x'.join(map(str, other.shape))}; they must be alike{hint}"
            )


def take(s: Subject, names: list[str], leave_out: Callable[[str], None]) -> Iterator[tuple[str, Score, float]]:
    """Metrics, their scores, and the seconds they took, as they come; all processes look, the first one reckons.

    A metric that fails is left out with its reason, and so is a score that is not finite.
    """
    looking = [name for name in names if looks(name) and METRICS[name].needs != METRICS["ppl"].needs]
    try:
        if looking:
            _ = s.fakes
        if any("reals" in METRICS[name].needs for name in looking):
            _ = s.reals
    except Exception as error:
        if processes.world() > 1:  # the others would wait for this one
            raise
        leave_out(f"{', '.join(looking)} cannot be taken: {cause(error)}")
        names = [name for name in names if name not in looking]
    for name in names if processes.rank() == 0 else ():
        began = time.perf_counter()
        try:
            for score in METRICS[name].take(s):
                if math.isfinite(score.value):
                    yield name, marked(score, s), time.perf_counter() - began
                else:
                    leave_out(f"{score.name} cannot be taken: it is {score.value} for these {score.n_fake:,} samples")
        except Exception as error:
            leave_out(f"{name} cannot be taken: {cause(error)}")


def cause(error: Exception) -> str:
    """An exception in one line; of one that is no refusal of the data its kind, too."""
    text = " ".join(str(error).split())
    if "out of memory" in text.lower() or isinstance(error, MemoryError):
        return f"out of memory: {text} Try a smaller --batch, or a smaller --n"
    return text if isinstance(error, (ValueError, OSError)) else f"{type(error).__name__}: {text}"


def marked(score: Score, s: Subject) -> Score:
    """A score with the direction of the translations in its name, and with what must be said of them; an error that is not finite is none."""
    name = f"{score.name}_{s.fake.way}" if s.fake.way else score.name
    score = score._replace(name=name, note="; ".join(filter(None, (score.note, s.fake.note))))
    return score if math.isfinite(score.error or 0) else score._replace(error=None, error_of="")


@contextmanager
def progress(subjects: list[Subject]) -> Iterator[Callable[[int], None]]:
    """A bar on stderr over the samples that are measured; gives the function that moves it."""
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

    sets = [source for s in subjects for source in (s.fake, s.real) if source is not None]
    total = sum(min(subjects[0].n, source.count) for source in sets)
    with bar(
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} samples"),
        BarColumn(None),
        TimeRemainingColumn(),
        transient=True,
    ) as moving:
        task = moving.add_task("", total=total)
        yield lambda rows: moving.update(task, advance=rows)


# During training -----------------------------------------------------------------------------------------------------


class During:
    """Evaluation while a run trains: its numbers go to the log and evaluations.jsonl, the best weights are kept.

    Args:
        run: the run; its settings say which metrics, through which features, and of how many samples.

    Raises:
        ValueError: a metric is unknown, or none can be taken, before anything trains.
    """

    def __init__(self, run: LiveRun):
        s = run.settings
        self.names, self.config = wanted(s.evaluate), run.config["settings"]
        if translations.translates(run.recipe):
            kind, unseen = run.recipe.data.split()[0], translations.of_unseen(s.data)
            self.data = tuple(
                name and sources.opened(name, self.config, want=kind) or None for name in (s.data, unseen)
            )
        else:
            self.real = sources.of_data(s.data, self.config)
            self.held_out = sources.held_out(self.real, self.config, "")
        with_ = dict(n=s.evaluate_n, dtype=torch.float32, place=run.device)
        judged = [judge(trial, s.evaluate_features, self.names, **with_) for trial in self.tried(run, run.recipe, "")]
        self.nets, self.n = [one.subject.extractor for one in judged], judged[0].subject.n
        left, self.reasons = left_out(judged, self.names), Reasons(run.log.say)
        self.names = [name for name in self.names if name not in left]
        for reason in left.values():
            self.reasons.add(f"--evaluate {reason}")
        if not self.names:
            self.reasons.refuse()
        self.reasons.tell()

    def tried(self, run: LiveRun, recipe: Recipe, weights: str) -> list[Trial]:
        about = {"run": run.folder.name, "model": run.config["model"], "images": run.images, "weights": weights}
        name, key = run.folder.name, f"{run.config['id']}-{run.images}"
        if translations.translates(recipe):
            return translations.trials(recipe, name, key, *self.data, about=about, typed=run.settings.data)
        return [Trial(sources.of_recipe(recipe, name, key, about=about), self.real, self.held_out)]

    def subjects(self, tried: list[Trial]) -> list[Subject]:
        found = []
        for trial, net in zip(tried, self.nets):
            fake = replace(trial.fake, count=min(self.n, trial.fake.count))
            found.append(Subject(fake, trial.real, trial.held_out, net, self.n, keep=False))
        return found

    def __call__(self, run: LiveRun) -> None:
        """Take the metrics of the averaged weights. Training is not touched; why a metric cannot be taken is said once."""
        with run.averaged() as recipe:
            weights_digest = digest(weights_of(recipe))
            found = []
            for subject in self.subjects(self.tried(run, recipe, weights_digest)):
                names = [name for name in self.names if not missing(METRICS[name], subject)]
                found += [(subject, *one) for one in take(subject, names, self.reasons.add)]
        self.reasons.tell()
        if processes.rank() or not found:
            return
        path = run.folder / "evaluations.jsonl"
        before = [line for line in records.read(path) if line.get("training")]
        lines = [records.record(*one, subject, "fp32", training=True) for subject, *one in found]
        records.append(path, lines)
        run.log.add(
            {f"evaluation/{score.name}": torch.tensor(score.value, dtype=torch.float64) for _, _, score, _ in found}
        )
        first = lines[0]
        if first["metric"] != self.names[0]:
            return
        sign = -1 if first["better"] == "higher" else 1
        past = [sign * line["value"] for line in before if line["name"] == first["name"] and way(line) == way(first)]
        if not past or sign * first["value"] < min(past):
            save_weights(run, run.folder / "weights-best.safetensors")


def during(run: LiveRun) -> During | None:
    """What evaluates a run while it trains, if its settings ask for it."""
    if not run.settings.evaluate:
        return None
    if processes.rank() == 0:
        records.cut(run.folder / "evaluations.jsonl", run.images)
    with torch.random.fork_rng():  # networks to look through are built with first weights that are drawn
        return During(run)
