"""The command `gankit evaluate`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import gankit
from gankit.cli.flags import Loading, first, parse
from gankit.cli.output import show_table
from gankit.text import aside, put

if TYPE_CHECKING:
    from gankit.evaluation import Score


@dataclasses.dataclass
class Evaluate:
    """What to measure, and against what.

    Args:
        against: the reals: a folder, zip, tar, .npz or built-in set; default: the run's own data.
        metrics: names separated by commas, or all; `gankit metrics` lists them. Translators take l1, psnr, ssim, cycle
            and others.
        features: the feature extractor: digits, inception, inception-clean, vgg16, timm:NAME or dinov2:NAME; default:
            digits for data of that name, inception for all other data.
        n: number of samples; 0 for 50k with inception and 10k with other features.
        seed: the first seed of the samples, and the seed of every random choice.
        trunc: below 1, latents closer to the prior's mean.
        held_out: reals that were not trained on, and the inputs of translators; default: digits:test for digits.
        resolution: side to which images of folders are resized; default: the run's own.
        batch: samples per forward pass.
        precision: fp64 to check exactness.
        segmenter: a run that segments photographs, for fcn_score; default: a small one that is trained first.
        json: print the records instead of the table.
    """

    against: str = ""
    metrics: str = "fd,kd,is,precision,density"
    features: str = ""
    n: gankit.Images = gankit.Images(0)
    seed: int = 0
    trunc: float = 1.0
    held_out: str = ""
    resolution: str = ""
    batch: int = 64
    precision: Literal["fp32", "fp64"] = "fp32"
    segmenter: str = ""
    json: bool = False


def evaluate(words: list[str]) -> None:
    """Measure a run or images: gankit evaluate RUN|FOLDER|FILE.npz [--against DATA] [--metrics fd,precision|all]"""
    subject, flags = first(words, "evaluate", "RUN|FOLDER|FILE.npz")
    options, loading = parse(evaluate, "RUN", flags, Evaluate, Loading)

    if not Path(subject).expanduser().exists():
        from gankit.runs.folders import locate

        locate(subject)  # a mistyped name is refused before torch is imported

    from gankit import evaluation, processes

    def say(message: str) -> None:
        if not processes.rank():
            aside(f"- {message}")

    arguments = dataclasses.asdict(options) | dataclasses.asdict(loading)
    del arguments["json"]
    scores = evaluation.evaluate(subject, **arguments, quiet=False, say=say)
    if not scores:  # the first process prints them
        return
    path = evaluation.records_of(subject)
    if options.json:
        return put(json.dumps(evaluation.read(path)[-len(scores) :], indent=2))
    number = {"justify": "right", "no_wrap": True}
    numbers = dict.fromkeys(("value", "+-", "samples", "reals"), number)
    columns: dict[str, dict[str, object]] = {
        "metric": {"no_wrap": True},
        **numbers,
        "better": {"no_wrap": True},
        "note": {},
    }
    show_table(columns, map(cells, scores))
    put(f"recorded in {path}")


def cells(score: Score) -> tuple[str, ...]:
    """A score's row in the table."""
    return (
        score.name,
        f"{score.value:.4g}",
        "" if score.error is None else f"{score.error:.3g}",
        f"{score.n_fake:,}" if score.n_fake else "",
        f"{score.n_real:,}" if score.n_real else "",
        score.better,
        "; ".join(filter(None, (score.error_of and f"+-: {score.error_of}", score.note))),
    )
