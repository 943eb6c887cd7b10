"""The command `gankit score`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from gankit.cli.flags import Loading, alias, first, parse
from gankit.text import aside, put


@dataclass
class Score:
    """What to score, and where to write it. A larger score is more anomalous.

    Args:
        output: table with a line for each image; the numbers (.json), a figure (.png) and a page (.html) are written
            beside it.
        maps: folder for a heat map of each image.
        normal: further normal images, which the model was not trained on: they set the threshold.
        fpr: false positive rate that the threshold of --normal is to have on new normal images; default: 0.05.
        threshold: the threshold itself, instead of --normal.
        normal_class: classes of the normal images, separated by commas; default: good, normal and ok.
        n: number of images at most; 0 for all.
        batch: images scored at once; it does not change the scores.
    """

    output: Annotated[str, alias("-o")] = "out/scores.csv"
    maps: str = ""
    normal: str = ""
    fpr: float | None = None
    threshold: float | None = None
    normal_class: str = ""
    n: int = 0
    batch: int = 64


def score(words: list[str]) -> None:
    """Find anomalies: gankit score RUN IMAGES [-o scores.csv] [--maps maps/] [--normal MORE --fpr 0.05]"""
    run, flags = first(words, "score", "RUN IMAGES")
    images, flags = first(flags, "score RUN", "IMAGES")
    options, loading = parse(score, "RUN IMAGES", flags, Score, Loading)

    check(options)
    trained = loading.load(run)

    from gankit import anomaly

    threshold = options.threshold
    if options.normal:
        normal = anomaly.score_run(trained, options.normal, batch=options.batch)
        threshold = anomaly.threshold(normal.score, 0.05 if options.fpr is None else options.fpr)
    classes = tuple(part.strip() for part in options.normal_class.split(",") if part.strip())
    scores = anomaly.score_run(trained, images, classes, options.batch, options.n)
    numbers = anomaly.numbers(scores, threshold)
    path = Path(options.output)
    path.parent.mkdir(parents=True, exist_ok=True)
    written = anomaly.write(scores, numbers, path, f"{trained.folder.name} on {images}")
    if options.maps:
        written.append(anomaly.save_maps(scores, Path(options.maps)))
    for note in scores.notes:
        aside(f"- {note}")
    for name, value in numbers.items():
        put(f"{name:<18} {value:<10.4g} {anomaly.ABOUT[name]}")
    put("\n".join(map(str, written)))


def check(options: Score) -> None:
    """Refuse options that contradict each other. Raises ValueError."""
    if Path(options.output).suffix != ".csv" or options.batch < 1 or options.n < 0:
        raise ValueError(
            "--output must end in .csv, --batch be at least 1 and --n at least 0; "
            f"found {options.output}, {options.batch} and {options.n}"
        )
    if options.normal and options.threshold is not None:
        raise ValueError("--normal sets the threshold and --threshold gives it: use only one of them")
    if options.fpr is not None and not options.normal:
        raise ValueError("--fpr applies to the threshold that further normal images set: name them with --normal")
    if options.threshold is not None and not math.isfinite(options.threshold):
        raise ValueError(f"--threshold is {options.threshold}; give a finite number")
