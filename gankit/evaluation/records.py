"""evaluations.jsonl: one line for each value, with everything it depends on."""

from __future__ import annotations

import json
import time
from pathlib import Path

from gankit.evaluation.judges import METRICS, looks, through
from gankit.evaluation.subject import Score, Subject
from gankit.runs import schema
from gankit.runs.config import locate, versions
from gankit.runs.files import write_text

HELD_OUT = {"unseen", "targets"}  # needs of metrics that look at unseen reals


def records_of(what: str | Path, outdir: str | Path = "runs") -> Path:
    """Where the records of a run, a folder of images or a file of samples are kept: in the run's folder, or beside it.

    Raises:
        ValueError: there is neither such a run nor such a path.
    """
    path = Path(what).expanduser()
    if path.exists() and not (path / "config.json").exists():
        return path.with_name(f"{path.name}.evaluations.jsonl")
    return locate(what, outdir) / "evaluations.jsonl"


def record(
    metric: str, score: Score, seconds: float, subject: Subject, precision: str, training: bool = False
) -> dict[str, object]:
    """A score as a line of evaluations.jsonl."""
    seen = subject.extractor.about() if subject.extractor is not None and looks(metric) else through(metric)
    return score._asdict() | {
        "metric": metric,
        "fake": subject.fake.about,
        "real": None if subject.real is None else subject.real.about,
        "held_out": subject.held_out.about
        if subject.held_out is not None and HELD_OUT & set(METRICS[metric].needs)
        else None,
        "features": seen,
        "segmenter": subject.segmented_by if "labelled inputs" in METRICS[metric].needs else None,
        "seed": subject.seed,
        "precision": precision,
        "training": training,
        "seconds": round(seconds, 2),
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
        "versions": versions(),
    }


def append(path: Path, lines: list[dict[str, object]]) -> None:
    """Add lines, all in one write; a last line that a kill has cut stays by itself.

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


def read(path: Path) -> list[dict]:
    """The whole lines of a file of records; a last line cut by a kill is left out, and so is a file that is not there."""
    return schema.lines(path, schema.EVALUATION)


def cut(path: Path, images: int) -> None:
    """Drop what training wrote after the save that a run goes on from."""
    lines = read(path)
    kept = [line for line in lines if not (line.get("training") and line["fake"]["images"] > images)]
    if kept != lines:
        write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
