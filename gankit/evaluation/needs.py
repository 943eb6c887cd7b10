"""The type of a metric, and the conditions on a subject that metrics of several families share.

A family may define further conditions in its own `NEEDS`; `gankit.evaluation.catalogue` joins them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from gankit.evaluation.subject import Score, Subject
from gankit.metrics import vgg
from gankit.weights import WeightsFile

POINTS = ("points", "vectors")
FEATURES, EXTRACTOR, HELD_OUT, SEGMENTER = "features", "extractor", "held-out data", "segmenter"  # values of Need.uses


class Need(NamedTuple):
    """A condition that a metric has on a subject.

    Args:
        holds: whether a subject meets it.
        reason: the message for a subject that does not.
        uses: what metrics with this need depend on: FEATURES of the samples, the EXTRACTOR itself, HELD_OUT data, a
            SEGMENTER, or none of these.
        network: the title of a network other than the feature extractor, for records.
        weights: its published file, or the one in the package.
    """

    holds: Callable[[Subject], bool]
    reason: str
    uses: str = ""
    network: str = ""
    weights: WeightsFile | Path | None = None


class Metric(NamedTuple):
    """A metric that users can choose by name.

    Args:
        compute: computes its scores; the first line of its docstring describes the metric to users.
        needs: names of conditions.
        figures: names of figures that illustrate it, see `gankit.evaluation.figures.FIGURES`.
    """

    compute: Callable[[Subject], Iterator[Score]]
    needs: tuple[str, ...]
    figures: tuple[str, ...] = ()


def has_classifier(s: Subject) -> bool:
    """Whether the extractor classifies into the classes of the data: the digits classifier on digits."""
    return (
        s.extractor is not None
        and s.extractor.name == "digits"
        and s.real is not None
        and s.real.data.split(":")[0] == "digits"
    )


def is_clip(s: Subject) -> bool:
    """Whether the features are CLIP's."""
    return s.extractor is not None and "clip" in s.extractor.name.lower()


def has_labels(s: Subject) -> bool:
    """Whether both the samples and the real data have labels."""
    return s.fake.classes > 0 and s.real is not None and s.real.classes > 0


NEEDS: dict[str, Need] = {
    "images": Need(lambda s: s.fake.kind == "images", "it is for images"),
    "points": Need(lambda s: s.fake.kind in POINTS, "it is for points and vectors; for images see kd"),
    "reals": Need(lambda s: s.real is not None, "it needs real data: add --against DATA"),
    "unseen": Need(
        lambda s: s.held_out is not None, "it needs real data that were not trained on: add --held-out DATA", HELD_OUT
    ),
    "features": Need(
        lambda s: s.extractor is not None or s.fake.kind in POINTS,
        "there is no default feature extractor for this data: choose one with --features",
        FEATURES,
    ),
    "network": Need(
        lambda s: s.extractor is not None,
        "there is no default feature extractor for this data; for images choose one with --features",
        EXTRACTOR,
    ),
    "classifier": Need(
        lambda s: s.extractor is not None and s.extractor.classifies, "the features come with no classes", FEATURES
    ),
    "the data's classifier": Need(
        has_classifier, "gankit has no classifier for the classes of this data; it has one for digits", FEATURES
    ),
    "clip": Need(is_clip, "it is defined for CLIP features", FEATURES),
    "labels": Need(has_labels, "samples and real data need labels of the same classes"),
    "a generator": Need(
        lambda s: s.fake.recipe is not None and s.fake.inputs is None,
        "it needs the latents of a generator: name a run of one",
    ),
    "VGG16": Need(
        lambda s: s.may_download or vgg.here(),
        "the weights of VGG16 are not on this machine; named explicitly, the metric downloads 553 MB",
        network="lpips",
        weights=vgg.WEIGHTS,
    ),
}
