"""Evaluation during training: the best weights, and the end of a run that no longer improves."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
import torch

import gankit
from gankit import evaluation, training
from gankit.evaluation.measure import Measured
from gankit.evaluation.subject import Score
from gankit.runs.config import read_config
from gankit.runs.files import read_tensors
from gankit.training import Settings

during = importlib.import_module("gankit.evaluation.during")  # the package has a function of this name
TINY = dict(
    data="digits", images=160, batch=16, z_dim=4, width=4, preview=160, save=16, log=16, quiet=True,
    evaluate="fd", evaluate_every=16, evaluate_n=20,
)  # fmt: skip
VALUES = {16: 3.0, 32: 2.0, 48: 2.5, 64: 2.0, 80: 1.0, 96: 1.5, 112: 1.5}


def line(value: float, images: int, name: str = "fd_digits", **more: object) -> dict:
    found = dict(name=name, metric="fd", value=value, better="lower", n_fake=20, n_real=20, fake={"images": images})
    return found | dict(training=True) | more


@pytest.fixture
def valued(monkeypatch):
    """Evaluations whose scores are VALUES, by images seen."""

    def measure(subject, names, skip):
        yield Measured(
            "fd", Score("fd_digits", VALUES.get(subject.fake.about["images"], 9.0), 0.1, "", "lower", 20, 20), 0
        )

    monkeypatch.setattr(during, "measure", measure)


def test_the_standing_is_that_of_comparable_records_of_training():
    assert evaluation.standing_of([]) is None and evaluation.standing_of([line(1, 16, training=False)]) is None
    lines = [line(3, 16), line(1, 24, training=False), line(2, 32), line(2, 48), line(1, 48, "fd_other"), line(5, 64)]
    found = evaluation.standing_of(lines)
    assert (found.best["fake"]["images"], found.latest["value"], found.since) == (32, 5, 2)  # the first of equal ones
    assert str(found) == "fd_digits has not improved in the last 2 evaluations (best 2 at 32 images)"
    assert evaluation.standing_of([line(1, 16, n_fake=10), line(2, 32)]).since == 0  # other conditions
    higher = [line(value, i, better="higher") for i, value in enumerate((1, 3, 2))]
    assert evaluation.standing_of(higher).best["value"] == 3


def test_a_run_without_improvement_ends_early_and_says_so(valued, tmp_path, capsys):
    run = training.train("dcgan", outdir=tmp_path, patience=2, **TINY | dict(quiet=False))
    assert run.images == 64
    said = capsys.readouterr().err
    assert "stopped early after 64 images: fd_digits has not improved in the last 2 evaluations" in said
    assert "--patience 0" in said
    config = read_config(run.folder)
    assert config["stopped"]["images"] == config["images"] == 64 and "--patience 2" in config["stopped"]["reason"]
    assert gankit.load(run.folder, weights="weights-best.safetensors").images == 32
    page = (run.folder / "report.html").read_text()
    assert "Stopped early" in page and "Best and last" in page and "best: fd_digits 2 after 32 images" in page
    assert (run.folder / "fakes000000032.png").exists() and (run.folder / "fakes000000064.png").exists()
    assert training.resume(run.folder, quiet=True).images == 64
    assert read_config(run.folder)["stopped"]["images"] == 64
    more = training.resume(run.folder, quiet=True, patience=3)
    assert more.images == 128 and read_config(run.folder)["stopped"]["images"] == 128
    assert training.resume(run.folder, quiet=True, patience=0).images == 160
    assert "stopped" not in read_config(run.folder)


@pytest.mark.parametrize("after", [48, 64])
def test_an_interrupted_run_ends_early_at_the_same_place(after, valued, tmp_path, interrupt):
    whole = training.train("dcgan", outdir=tmp_path / "whole", patience=2, **TINY | dict(preview=0))
    broken = interrupt(after, "dcgan", outdir=tmp_path / "broken", patience=2, **TINY | dict(preview=0))
    resumed = training.resume(broken, quiet=True)
    assert resumed.images == whole.images == 64
    assert read_config(resumed.folder)["stopped"] == read_config(whole.folder)["stopped"]
    seen = [
        [record["fake"]["images"] for record in evaluation.read(r.folder / "evaluations.jsonl")]
        for r in (whole, resumed)
    ]
    assert seen[0] == seen[1] == [16, 32, 48, 64]  # a signal at 48 came before that evaluation
    assert not list(Path(whole.folder).glob("fakes*.png"))  # --preview 0 draws none
    for name in ("weights", "weights-best"):
        a, b = (read_tensors(r.folder / f"{name}.safetensors")[0] for r in (whole, resumed))
        assert all(torch.equal(a[key], b[key]) for key in a), name


def test_a_run_that_reaches_its_length_is_not_called_early_and_its_best_weights_have_pictures(valued, tmp_path):
    run = training.train("dcgan", outdir=tmp_path, patience=2, **TINY | dict(images=64))
    assert run.images == 64 and "stopped" not in read_config(run.folder)
    drawn = sorted(int(path.stem[5:]) for path in Path(run.folder).glob("fakes*.png"))
    assert drawn == [16, 32, 64]  # each new best, and the last


def test_all_processes_end_together(valued, tmp_path, monkeypatch):
    """A process that is not the first reads no records: it follows the number that the first one gives."""
    run = training.train("dcgan", outdir=tmp_path, **TINY | dict(images=16))
    evaluate = evaluation.during(run)
    run.config["settings"] |= {"patience": 1, "images": 160}
    (run.folder / "evaluations.jsonl").write_text("".join(json.dumps(line(i, i) | LEFT) + "\n" for i in (16, 32, 48)))
    told = []
    monkeypatch.setattr(during.processes, "agree", lambda number, device: told.append(number) or 1)
    assert evaluate.is_over(run) and told == [1]
    monkeypatch.setattr(during.processes, "rank", lambda: 1)
    monkeypatch.setattr(during.records, "read", lambda path: pytest.fail("another process reads records"))
    assert evaluate.is_over(run) and told == [1, 0]


LEFT = dict(error=None, error_of="", note="")


def test_patience_without_evaluations_is_refused():
    with pytest.raises(ValueError, match="patience is 3 evaluations, and there are none: add --evaluate fd"):
        Settings(patience=3)
