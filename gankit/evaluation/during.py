"""Evaluation while a run trains."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from gankit import processes
from gankit.evaluation import records
from gankit.evaluation.catalogue import parse_metrics
from gankit.evaluation.comparison import conditions
from gankit.evaluation.measure import measure
from gankit.evaluation.plan import PlanOptions, Reasons, make_plan, skipped
from gankit.evaluation.sources import Trial
from gankit.evaluation.trials import open_reference, trials_of_model
from gankit.recipe import Recipe
from gankit.runs import schema
from gankit.runs.files import digest
from gankit.runs.state import LiveLog, LiveRun, save_weights, weights_of


class ScoreLog(LiveLog, Protocol):
    """A log that also records values."""

    def add(self, scalars: dict[str, Tensor]) -> None: ...


class EvaluatedRun(LiveRun, Protocol):
    """A run whose log also records values."""

    @property
    def log(self) -> ScoreLog: ...


class During:
    """Evaluates a run while it trains: logs and records the scores, saves the best weights, and may end the run.

    Args:
        run: the run; its settings name the metrics, the feature extractor and the number of samples.

    Raises:
        ValueError: a metric is unknown, or none can be computed; before anything trains.
    """

    def __init__(self, run: EvaluatedRun):
        settings = run.config["settings"]
        names = parse_metrics(settings["evaluate"])
        self.reference = open_reference(run.recipe, settings["data"], "", settings)
        options = PlanOptions(run.device, settings["evaluate_features"], settings["evaluate_n"], keep=False)
        self.plans = [make_plan(trial, names, options) for trial in self.trials(run, run.recipe, "")]
        self.reasons = Reasons(run.log.say)
        without = skipped(self.plans, names)
        for reason in without.values():
            self.reasons.add(f"--evaluate {reason}")
        self.names = [name for name in names if name not in without]
        if not self.names:
            self.reasons.fail()
        self.reasons.report()

    def trials(self, run: EvaluatedRun, recipe: Recipe, weights: str) -> list[Trial]:
        """The trials of the run's model; `weights` is the digest of its weights."""
        about = {"run": run.folder.name, "model": run.config["model"], "images": run.images, "weights": weights}
        return trials_of_model(recipe, self.reference, about, f"{run.config['id']}-{run.images}")

    def __call__(self, run: EvaluatedRun) -> bool:
        """Compute the metrics of the averaged weights; returns whether they are the best so far, on the first process.

        The numbers of training are not affected. Each failure is reported once.
        """
        measured = []
        with run.averaged() as recipe:
            trials = self.trials(run, recipe, digest(weights_of(recipe)))
            for plan, trial in zip(self.plans, trials):
                subject = plan.subject_of(trial)
                measured += [(subject, result) for result in measure(subject, plan.names, self.reasons.add)]
        self.reasons.report()
        if processes.rank() or not measured:
            return False
        path = run.folder / "evaluations.jsonl"
        lines = [records.record(result, subject, "fp32", training=True) for subject, result in measured]
        records.append(path, lines)
        scores = [result.score for _, result in measured]
        run.log.add({f"evaluation/{s.name}": torch.tensor(s.value, dtype=torch.float64) for s in scores})
        standing = standing_of(records.read(path), self.names[0])
        is_best = lines[0]["metric"] == self.names[0] and standing is not None and not standing.since
        if is_best:
            save_weights(run, run.folder / "weights-best.safetensors")
        return is_best

    def is_missing(self, run: EvaluatedRun) -> bool:
        """Whether these weights have no scores yet: a signal that stops a run comes before an evaluation."""
        lines = [] if processes.rank() else records.read(run.folder / "evaluations.jsonl")
        seen = [line["fake"].get("images") for line in lines if line.get("training")]
        return bool(processes.agree(int(not processes.rank() and run.images not in seen), run.device))

    def is_over(self, run: EvaluatedRun) -> bool:
        """Whether the run's patience has ended, as all processes agree; said, and recorded in the run's config.

        The count of evaluations without improvement is read off the records, so that a resumed run has the same.
        """
        patience = run.config["settings"].get("patience", 0)
        lines = records.read(run.folder / "evaluations.jsonl") if patience and not processes.rank() else []
        standing = standing_of(lines, self.names[0])
        is_early = run.images < run.config["settings"]["images"]
        is_over = standing is not None and is_early and standing.since >= patience > 0
        if standing is not None and is_over:
            run.config["stopped"] = {"images": run.images, "reason": f"{standing}, with --patience {patience}"}
            run.log.say(
                f"stopped early after {run.images:,} images: {run.config['stopped']['reason']}; the best weights are "
                f"weights-best.safetensors. To go on: gankit resume {run.folder} --patience 0"
            )
        return bool(processes.agree(int(is_over), run.device))


class Standing(NamedTuple):
    """How far the evaluations of a training have come, by one score.

    Args:
        best: the record of the best value, the first one of equal ones.
        latest: the last record.
        since: number of evaluations after the best.
    """

    best: schema.Record
    latest: schema.Record
    since: int

    def __str__(self) -> str:
        name, best, images = self.best["name"], self.best["value"], self.best["fake"].get("images", 0)
        number = "the last evaluation" if self.since == 1 else f"the last {self.since} evaluations"
        return f"{name} has not improved in {number} (best {best:.4g} at {images:,} images)"


def standing_of(lines: list[schema.Record], metric: str = "") -> Standing | None:
    """The standing by the first score of a metric, among the records of training that compare with the latest one.

    Args:
        lines: all records of a run, in order.
        metric: its name; default: that of the first record of the last evaluation.
    """
    lines = [line for line in lines if line.get("training") and (not metric or line["metric"] == metric)]
    if not lines:
        return None
    last = [line for line in lines if line["fake"].get("images") == lines[-1]["fake"].get("images")][0]
    alike = [line for line in lines if line["name"] == last["name"] and conditions(line) == conditions(last)]
    sign = -1 if last["better"] == "higher" else 1
    values = [sign * line["value"] for line in alike]
    best = values.index(min(values))
    return Standing(alike[best], alike[-1], len(alike) - 1 - best)


def during(run: EvaluatedRun) -> During | None:
    """The evaluation of a run while it trains, if its settings ask for one."""
    if not run.config["settings"]["evaluate"]:
        return None
    if processes.rank() == 0:
        records.cut(run.folder / "evaluations.jsonl", run.images)
    with torch.random.fork_rng():  # building a feature extractor draws random weights before it loads its own
        return During(run)
