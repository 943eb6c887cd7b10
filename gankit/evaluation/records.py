"""evaluations.jsonl: one line for each score, with everything it depends on."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import cast

from gankit.evaluation.catalogue import about_own_network, uses, uses_extractor
from gankit.evaluation.measure import Measured
from gankit.evaluation.needs import HELD_OUT, SEGMENTER
from gankit.evaluation.subject import Subject
from gankit.runs import schema
from gankit.runs.config import versions
from gankit.runs.files import write_text
from gankit.runs.folders import locate


def find_run(what: str | Path, outdir: str | Path = "runs") -> Path | None:
    """The folder of a run; None for a folder of images or a file of samples.

    Raises:
        ValueError: there is neither such a run nor such a path.
    """
    path = Path(what).expanduser()
    return locate(what, outdir) if not path.exists() or (path / "config.json").exists() else None


def records_of(what: str | Path, outdir: str | Path = "runs") -> Path:
    """The file of the records of a run, a folder of images or a file of samples: in the run's folder, or beside it.

    Raises:
        ValueError: there is neither such a run nor such a path.
    """
    if folder := find_run(what, outdir):
        return folder / "evaluations.jsonl"
    path = Path(what).expanduser()
    return path.with_name(f"{path.name}.evaluations.jsonl")


def record(measured: Measured, subject: Subject, precision: str, training: bool = False) -> dict[str, object]:
    """A score as a line of evaluations.jsonl."""
    metric, score, seconds = measured
    has_extractor = subject.extractor is not None and uses_extractor(metric)
    held_out = subject.held_out if HELD_OUT in uses(metric) else None
    return score._asdict() | {
        "metric": metric,
        "fake": subject.fake.about,
        "real": None if subject.real is None else subject.real.about,
        "held_out": None if held_out is None else held_out.about,
        "features": subject.network.about() if has_extractor else about_own_network(metric),
        "segmenter": subject.segmented_by if SEGMENTER in uses(metric) else None,
        "seed": subject.seed,
        "precision": precision,
        "training": training,
        "seconds": round(seconds, 2),
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
        "versions": versions(),
    }


def append(path: Path, lines: list[dict[str, object]]) -> None:
    """Add lines in one write; an incomplete last line, left by a kill, stays on its own line.

    Raises:
        OSError: naming the file.
    """
    try:
        with open(path, "a+b") as file:
            file.seek(max(0, file.seek(0, 2) - 1))
            start = b"" if file.read(1) in (b"", b"\n") else b"\n"
            file.write(start + "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines).encode())
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror}") from error


def read(path: Path) -> list[schema.Record]:
    """The complete lines of a file of records; none if there is no file. An incomplete last line is dropped."""
    return cast("list[schema.Record]", schema.lines(path, schema.EVALUATION))


def cut(path: Path, images: int) -> None:
    """Drop the records that training wrote after the save from which a run resumes."""
    lines = read(path)
    kept = [line for line in lines if not (line.get("training") and line["fake"]["images"] > images)]
    if kept != lines:
        write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
