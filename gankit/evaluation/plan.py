"""Which metrics are computed for a trial, with which feature extractor, and why others are skipped."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from gankit import processes
from gankit.evaluation.catalogue import (
    DEFAULT,
    DEFAULT_OF_ONE_IMAGE,
    DEFAULT_OF_TRANSLATORS,
    METRICS,
    missing,
    own_network,
    uses_extractor,
)
from gankit.evaluation.families import single_image
from gankit.evaluation.sources import Samples, Trial, required
from gankit.evaluation.subject import ExtractorInfo, Subject
from gankit.metrics.extractors import NAMES, Extractor, check_name, extractor
from gankit.weights import WeightsFile, fetch


@dataclass(frozen=True)
class PlanOptions:
    """How trials are evaluated; see `gankit.evaluate` for most.

    Args:
        dtype, device: of the feature extractor.
        keep: also cache the features of the samples, so that an interrupted evaluation continues.
        may_download: whether weights may be downloaded for a metric.
        segmenter, segmented_by: for `fcn_score`, see `Subject`.
    """

    device: torch.device
    features: str | Extractor = ""
    n: int = 0
    batch: int = 64
    seed: int = 0
    dtype: torch.dtype = torch.float32
    keep: bool = True
    may_download: bool = True
    segmenter: Callable[[Tensor], Tensor] | None = None
    segmented_by: str = Subject.segmented_by


class Plan(NamedTuple):
    """The metrics of one trial.

    Args:
        subject: what they are computed on.
        names: the metrics that can be computed.
        reasons: for each other metric that does not apply, the reason.
        failed: for each metric whose network cannot be loaded, the error.
    """

    subject: Subject
    names: list[str]
    reasons: dict[str, str]
    failed: dict[str, str]

    def subject_of(self, trial: Trial) -> Subject:
        """The subject for another trial of the same model, with later weights; the networks are kept."""
        subject = replace(self.subject, fake=trial.fake, real=trial.real, held_out=trial.held_out)
        return _with_count(subject, self.subject.n)


def make_plan(trial: Trial, names: list[str], options: PlanOptions) -> Plan:
    """Plan these metrics for a trial. A network is loaded, and downloaded if needed, only if one of them uses it.

    Raises:
        ValueError: the samples and the data differ in shape, or there is no such feature extractor.
    """
    check_alike(*trial)
    info = choose_extractor(trial, options.features)
    subject = Subject(
        *trial, info, options.n, options.batch, options.seed, keep=options.keep, may_download=options.may_download,
        segmenter=options.segmenter, segmented_by=options.segmented_by,
    )  # fmt: skip
    reasons = {name: reason for name in names if (reason := missing(METRICS[name], subject))}
    names = [name for name in names if name not in reasons]
    network, failed = load_networks(info, names, options)
    failed = agreed(failed)
    if any(map(uses_extractor, failed)):
        network = None
    subject = _with_count(replace(subject, extractor=network), options.n or default_count(network, trial))
    return Plan(subject, [name for name in names if name not in failed], reasons, failed)


def _with_count(subject: Subject, n: int) -> Subject:
    """The subject with n samples; a model, which can generate any number, gets that count."""
    fake = subject.fake
    if fake.recipe is not None:
        fake = replace(fake, count=min(n, fake.count))
    return replace(subject, fake=fake, n=n)


def check_alike(fake: Samples, *others: Samples | None) -> None:
    """Raises ValueError: data differ from the samples in kind or shape."""
    for other in others:
        if other is not None and (other.kind, other.shape) != (fake.kind, fake.shape):
            can_resize = fake.kind == other.kind == "images" and fake.shape[0] == other.shape[0]
            hint = f": add --resolution {fake.shape[1]}x{fake.shape[2]}" if can_resize else ""
            raise ValueError(
                f"{fake.name} holds {fake.kind} of {'x'.join(map(str, fake.shape))}, {other.name} {other.kind} of "
                f"{'x'.join(map(str, other.shape))}; they must be alike{hint}"
            )


def choose_extractor(trial: Trial, features: str | Extractor) -> Extractor | ExtractorInfo | None:
    """The feature extractor: the one that the user names, or the default for the data. Nothing is loaded.

    Raises:
        ValueError: there is no extractor of that name.
    """
    fake, real = trial.fake, trial.real
    if isinstance(features, str) and features:
        check_name(features)
    if fake.kind != "images":
        return None
    if isinstance(features, Extractor):
        return features
    if not features and real is not None and real.modes is not None:
        return None  # no network was trained on images like those of synthetic modes
    is_digits = real is not None and real.data.split(":")[0] == "digits"
    name = features or ("digits" if is_digits or fake.view else "inception")
    return ExtractorInfo(name, name in NAMES)


def load_networks(
    info: Extractor | ExtractorInfo | None, names: list[str], options: PlanOptions
) -> tuple[Extractor | None, dict[str, str]]:
    """The feature extractor if a metric uses it, and the errors of metrics whose network cannot be loaded."""
    network, failed = None, {}
    if info is not None and any(map(uses_extractor, names)):
        try:
            loaded = info if isinstance(info, Extractor) else extractor(info.name, dtype=options.dtype)
            network = loaded.to(options.device, options.dtype)
        except (OSError, ValueError) as error:
            failed = {name: str(error) for name in names if uses_extractor(name)}
    for name in names:
        need = own_network(name)
        if need and isinstance(need.weights, WeightsFile):  # before anything is measured or trained
            try:
                fetch(need.weights)
            except (OSError, ValueError) as error:
                failed[name] = str(error)
    return network, failed


def agreed(failed: dict[str, str]) -> dict[str, str]:
    """The errors of all processes: all must skip the same metrics, as they extract features together."""
    parts = [
        processes.tell(json.dumps(failed) if rank == processes.rank() else None, rank)
        for rank in range(processes.world())
    ]
    return {name: reason for part in parts for name, reason in json.loads(required(part)).items()}


def skipped(plans: list[Plan], names: list[str]) -> dict[str, str]:
    """The metrics that no plan has, each with the reason; metrics with the same failure share one sentence."""
    sentences = {}
    for name in names:
        if any(name in plan.names for plan in plans):
            continue
        failed = next((plan.failed for plan in plans if name in plan.failed), {})
        if failed:
            together = [other for other in failed if failed[other] == failed[name]]
            sentences[name] = f"{', '.join(together)} cannot be computed: {failed[name]}"
        else:
            sentences[name] = f"{name} does not apply: {plans[0].reasons[name]}"
    return sentences


def default_metrics(trial: Trial) -> str:
    """The metrics that are computed if the user names none."""
    if trial.fake.inputs is not None:
        return DEFAULT_OF_TRANSLATORS
    return DEFAULT_OF_ONE_IMAGE if single_image.has_one_image(trial.fake, trial.real) else DEFAULT


def default_count(network: Extractor | None, trial: Trial) -> int:
    """The number of samples if the user gives none: as in papers with Inception, fewer with other extractors."""
    if single_image.has_one_image(trial.fake, trial.real):
        return single_image.DEFAULT_COUNT
    return 50_000 if network is not None and network.name.startswith("inception") else 10_000


class Reasons:
    """Why metrics were skipped: collected, then reported once each, or raised if no metric is left.

    Args:
        say: called with each reason, once.
    """

    def __init__(self, say: Callable[[str], None]):
        self.say = say
        self.pending: list[str] = []
        self.reported: set[str] = set()

    def add(self, reason: str) -> None:
        if reason not in self.pending:
            self.pending.append(reason)

    def report(self) -> None:
        """Report the pending reasons."""
        for reason in self.pending:
            if reason not in self.reported:
                self.reported.add(reason)
                self.say(reason)
        self.pending = []

    def fail(self) -> None:
        """Raises ValueError: no metric can be computed, with all pending reasons."""
        if len(self.pending) == 1:
            raise ValueError(self.pending[0])
        raise ValueError(f"none of the metrics can be computed: {'; '.join(self.pending) or 'none applies'}")
