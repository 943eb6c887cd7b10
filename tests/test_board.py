"""TensorBoard: what a run leaves for it."""

from __future__ import annotations

import json
import sys

import pytest
from PIL import Image

from gankit import training
from gankit.training.board import Board


def test_without_tensorboard_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    board = Board(tmp_path)
    board.scalars({"d/loss": 1.0}, 1), board.picture("pictures/reals", tmp_path / "none.png", 1), board.close()
    assert not list(tmp_path.iterdir())


def test_tensorboard_gets_scalars_the_reals_and_each_preview(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = training.train(
        "dcgan", data="digits", outdir=tmp_path, images=48, batch=16, z_dim=4, width=4, preview=16, log=16, quiet=True
    )
    events = reader.EventAccumulator(str(run.folder), size_guidance={"images": 0})
    events.Reload()
    assert [i.step for i in events.Images("pictures/previews")] == [16, 32, 48]
    (real,) = events.Images("pictures/reals")
    assert real.encoded_image_string == (run.folder / "reals.png").read_bytes()
    assert (real.width, real.height) == Image.open(run.folder / "reals.png").size
    lines = [json.loads(line) for line in (run.folder / "stats.jsonl").read_text().splitlines()]
    assert [s.value for s in events.Scalars("d/loss")] == pytest.approx([line["d/loss"] for line in lines])
