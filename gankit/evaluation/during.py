"""Evaluation while a run trains."""

from __future__ import annotations

from typing import Protocol, cast

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
    """Evaluates a run while it trains: logs and records the scores, and saves the best weights.

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

    def __call__(self, run: EvaluatedRun) -> None:
        """Compute the metrics of the averaged weights. Training is not affected; each failure is reported once."""
        measured = []
        with run.averaged() as recipe:
            trials = self.trials(run, recipe, digest(weights_of(recipe)))
            for plan, trial in zip(self.plans, trials):
                subject = plan.subject_of(trial)
                measured += [(subject, result) for result in measure(subject, plan.names, self.reasons.add)]
        self.reasons.report()
        if processes.rank() or not measured:
            return
        path = run.folder / "evaluations.jsonl"
        earlier = [line for line in records.read(path) if line.get("training")]
        lines = [records.record(result, subject, "fp32", training=True) for subject, result in measured]
        records.append(path, lines)
        scores = [result.score for _, result in measured]
        run.log.add({f"evaluation/{s.name}": torch.tensor(s.value, dtype=torch.float64) for s in scores})
        best_by = cast("schema.Record", lines[0])
        if best_by["metric"] == self.names[0] and is_best(best_by, earlier):
            save_weights(run, run.folder / "weights-best.safetensors")


def is_best(line: schema.Record, earlier: list[schema.Record]) -> bool:
    """Whether a record has the best value of its score among earlier records that compare with it."""
    sign = -1 if line["better"] == "higher" else 1
    values = [
        sign * other["value"]
        for other in earlier
        if other["name"] == line["name"] and conditions(other) == conditions(line)
    ]
    return not values or sign * line["value"] < min(values)


def during(run: EvaluatedRun) -> During | None:
    """The evaluation of a run while it trains, if its settings ask for one."""
    if not run.config["settings"]["evaluate"]:
        return None
    if processes.rank() == 0:
        records.cut(run.folder / "evaluations.jsonl", run.images)
    with torch.random.fork_rng():  # building a feature extractor draws random weights before it loads its own
        return During(run)
