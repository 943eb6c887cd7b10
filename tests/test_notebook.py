"""What a notebook shows in place of an address in memory: pictures and tables, and a bar that moves."""

from __future__ import annotations

import base64
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gankit import anomaly, data, evaluation, text
from gankit.anomaly.scoring import Scores
from gankit.evaluation.subject import Score
from gankit.evaluation.subject import Scores as EvaluationScores
from gankit.explore import Result
from gankit.pictures import as_samples
from gankit.runs.trained import Trained
from gankit.training import Run
from gankit.translation import Outcome
from tests.odd_translator import OddTranslator


def test_samples_are_a_picture_and_what_is_computed_from_them_is_a_plain_tensor():
    samples = as_samples(torch.zeros(4, 1, 8, 8))
    assert samples._repr_png_()[:4] == b"\x89PNG" and as_samples(torch.zeros(5, 2))._repr_png_()[:4] == b"\x89PNG"
    assert as_samples(torch.zeros(3))._repr_png_() is None
    assert (
        type(samples + 1) is torch.Tensor
        and type(samples[0]) is torch.Tensor
        and type(samples.double()) is torch.Tensor
    )
    assert torch.equal(samples, torch.zeros(4, 1, 8, 8)) and samples.numpy().shape == (4, 1, 8, 8)


@pytest.mark.parametrize("name", ["digits", "digits-negative", "shapes", "ring", "cells"])
def test_a_data_set_shows_its_first_images(name):
    dataset = data.open(name)
    html = dataset._repr_html_()
    assert ("<img " in html) == (name != "ring") and f"{len(dataset):,}" in html
    assert (
        repr(dataset).startswith(f"<{type(dataset).__name__} ")
        and "\n" not in repr(dataset)
        and len(repr(dataset)) < 99
    )


def test_joined_sets_show_images_of_each_as_on_the_contact_sheet(tmp_path):
    sets = [data.open("digits"), data.open("digits:test")]
    joined = data.Union("joined", sets)
    data.contact_sheet(joined, tmp_path / "sheet.png", 40)
    assert base64.b64encode((tmp_path / "sheet.png").read_bytes()).decode() in joined._repr_html_()
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    for row, images in enumerate([next(each.stream(0, 20))["real"] for each in sets]):
        expected = images[0, 0].numpy().repeat(4, 0).repeat(4, 1)
        assert np.array_equal(sheet[row * 66 + 1 : row * 66 + 65, 1:65], expected)


def test_results_show_pictures_and_tables(tmp_path):
    result = Result(torch.zeros(4, 1, 8, 8), 2, numbers={"psi <b>": 0.5})
    assert "<img " in result._repr_html_() and "psi &lt;b&gt;" in result._repr_html_()
    assert repr(result) == "<Result: 4 images of 1x8x8 in 2 columns>"
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    outcome = Outcome([tmp_path / "a.png", tmp_path / "b.mp4"], 3, [("c.txt", "no <image>")])
    assert outcome._repr_html_().count("<img ") == 1 and "no &lt;image&gt;" in outcome._repr_html_()
    assert repr(outcome) == "<Outcome: 2 files of 3 inputs, 1 skipped>"
    scores = EvaluationScores([Score("fd_digits", 15.84, 1.42, "bootstrap", "lower", 90, 80)])
    assert (
        repr(scores) == "<Scores: fd_digits 15.84>" and "1.42" in scores._repr_html_() and list(scores) == [scores[0]]
    )
    assert evaluation.Score is Score


def test_anomaly_scores_show_the_extremes_and_explain_their_numbers():
    image, heat = torch.zeros(1, 8, 8), torch.zeros(8, 8)
    found = Scores(
        ["a", "b"], torch.tensor([0.1, 0.4]).double(), torch.ones(2), torch.zeros(0, 1, 8, 8), torch.zeros(2, 8, 8),
        torch.tensor([False, True]), torch.eye(8).bool().repeat(2, 1, 1), [(image, image, heat)] * 2, 0.1, [],
    )  # fmt: skip
    assert repr(found) == "<Scores of 2 images, 0.1 to 0.4>"
    html = found._repr_html_()
    assert "<img " in html and anomaly.ABOUT["cpu_ms_per_image"] in html
    assert set(anomaly.numbers(found, 0.2)) == set(anomaly.ABOUT)  # each number is explained
    guide = (Path(__file__).parents[1] / "docs" / "anomalies.md").read_text()
    assert all(f"`{name}`" in guide for name in anomaly.ABOUT)


def test_a_model_and_a_run_have_one_line(tmp_path):
    config = {"model": "dcgan", "data": {"name": "digits"}, "spec": {}}
    trained = Trained(OddTranslator.__new__(OddTranslator), config, tmp_path / "00000-x", 5000)
    assert repr(trained) == "<Trained 00000-x: dcgan on digits, 5,000 images>"
    run = Run.__new__(Run)
    run.folder, run.config, run.images = Path("00000-x"), config, 64
    run.settings = types.SimpleNamespace(images=1000)
    assert repr(run) == "<Run 00000-x: dcgan on digits, 64 of 1,000 images>"


def test_a_notebook_gets_a_bar_of_its_own(monkeypatch, capsys):
    shown = []
    handle = types.SimpleNamespace(update=shown.append)
    ipython, pages = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    pages.HTML, pages.display = str, lambda html, display_id: shown.append(html) or handle
    assert not text.in_notebook() or "IPython" in sys.modules
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", pages)
    assert text.in_notebook() and text.is_live()
    with text.bar("images") as bar:
        task = bar.add_task("", total=100, text="")
        bar.update(task, completed=40, text="d/loss <1>")
        bar.console.print("a line")
    assert (
        "<progress max=100 value=40" in shown[-1] and "d/loss &lt;1&gt;" in shown[-1] and "40/100 images" in shown[-1]
    )
    assert "a line" in capsys.readouterr().err
    with text.counted(10, "samples") as advance:
        advance(3)
    assert shown[-1] == ""  # it goes when the count is done
