"""The catalogue of metrics: every metric by its name, what it needs and what it depends on.

Metrics are defined in `gankit.evaluation.families`, their mathematics in `gankit.metrics`. To add one, write the
function in a family's file and name it in that file's `METRICS`.
"""

from __future__ import annotations

from pathlib import Path

from gankit.evaluation import needs
from gankit.evaluation.families import (
    attributes,
    classifier,
    distribution,
    latents,
    pixels,
    points,
    segmentation,
    single_image,
    translation,
)
from gankit.evaluation.needs import EXTRACTOR, FEATURES, Metric, Need
from gankit.evaluation.sources import required
from gankit.evaluation.subject import Subject
from gankit.text import did_you_mean
from gankit.weights import sha256

FAMILIES = (
    distribution, classifier, pixels, latents, points, translation, attributes, segmentation, single_image,
)  # fmt: skip
METRICS: dict[str, Metric] = {name: metric for family in FAMILIES for name, metric in family.METRICS.items()}
NEEDS: dict[str, Need] = needs.NEEDS | {
    name: need for family in FAMILIES for name, need in getattr(family, "NEEDS", {}).items()
}

# The metrics if the user names none. For translators and models of one image: those of the list that apply.
DEFAULT = "fd,kd,is,precision,density"
DEFAULT_OF_TRANSLATORS = "l1,psnr,ssim,cycle,style,label_kept,attributes,segmentation,fcn_score,fd,kd,precision,density"
DEFAULT_OF_ONE_IMAGE = ",".join(single_image.METRICS)


def parse_metrics(names: str) -> list[str]:
    """The metrics in "fd,precision" or "all".

    Raises:
        ValueError: there is no such metric; suggests a similar name.
    """
    chosen = list(METRICS) if names == "all" else [name.strip() for name in names.split(",") if name.strip()]
    for name in chosen:
        if name not in METRICS:
            hint = did_you_mean(name, METRICS, 1) or f"there are {', '.join(METRICS)}, and all"
            raise ValueError(f"there is no metric {name!r}; {hint}")
    if not chosen:
        raise ValueError(f"no metric was named; there are {', '.join(METRICS)}, and all")
    return list(dict.fromkeys(chosen))


def about(name: str) -> str:
    """The description of a metric, one line; empty for a metric that only a former version had."""
    return (METRICS[name].compute.__doc__ or "").splitlines()[0] if name in METRICS else ""


def missing(metric: Metric, subject: Subject) -> str:
    """Why a metric does not apply to a subject; empty if it does."""
    if subject.fake.kind == "maps" and "label maps" not in metric.needs:
        return "it is not defined for label maps"
    return next((NEEDS[name].reason for name in metric.needs if not NEEDS[name].holds(subject)), "")


def uses(name: str) -> set[str]:
    """What a metric depends on besides the samples: values of `Need.uses`."""
    return {NEEDS[need].uses for need in METRICS[name].needs} - {""}


def uses_extractor(name: str) -> bool:
    """Whether a metric depends on the feature extractor."""
    return bool(uses(name) & {FEATURES, EXTRACTOR})


def own_network(name: str) -> Need | None:
    """The need that states which network a metric uses in place of the feature extractor, if any."""
    return next((NEEDS[need] for need in METRICS[name].needs if NEEDS[need].network), None)


def about_own_network(name: str) -> dict[str, str] | None:
    """The description of that network for records."""
    need = own_network(name)
    if need is None:
        return None
    fingerprint = sha256(need.weights) if isinstance(need.weights, Path) else required(need.weights).sha256
    return {"name": need.network, "fingerprint": fingerprint}
