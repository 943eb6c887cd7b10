"""A full disk stops the run with a message that names the file; the last save stays intact, and the run can go on."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gankit import cli, training
from gankit.runs.files import read_tensors, write_text

resource = pytest.importorskip("resource", reason="this system has no limits on file sizes")
ODD = str(Path(__file__).parent / "odd_gan.py")
OPTIONS = dict(data="digits", images=48, batch=8, log=16, preview=0, save=16, ema=20, quiet=True)
MOUNT = [
    "unshare",
    "--mount",
    *([] if hasattr(os, "geteuid") and os.geteuid() == 0 else ["--map-root-user"]),
    "sh",
    "-c",
]


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Writing beyond so many bytes fails like on a full disk (Python ignores the signal that would come instead)."""
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, kept[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)


@pytest.mark.parametrize("file", ["state.safetensors", "stats.jsonl"])
def test_a_write_that_fails_is_named_and_the_run_goes_on_once_there_is_room(file, tmp_path, interrupt, capsys):
    whole = training.train(ODD, outdir=tmp_path / "whole", **OPTIONS).folder
    broken = interrupt(16, ODD, outdir=tmp_path / "broken", **OPTIONS)
    before = {path.name: path.read_bytes() for path in broken.glob("*.safetensors")}
    limit = (broken / "state.safetensors").stat().st_size // 2
    if file == "stats.jsonl":  # all else is then smaller than it
        limit *= 4
        start, end = '{"images": 0, "note": "', '"}\n'
        (broken / file).write_text(start + "x" * (limit - len(start + end)) + end)

    with largest_file(limit), pytest.raises(SystemExit) as left:
        cli.main(["resume", str(broken), "--model", ODD])

    assert left.value.code == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith(f"gankit: cannot write {broken / file}: "), message
    assert "too large" in message and message.endswith("The last save, at 16 images, is whole."), message
    assert before["state.safetensors"] == (broken / "state.safetensors").read_bytes()
    for name in before:
        read_tensors(broken / name)
    assert not [path.name for path in broken.iterdir() if path.name.startswith(".")], "temporary files take up room"

    run = training.resume(broken, model=ODD, quiet=True)
    assert run.config["history"][-1]["images"] == 16
    one, other = (read_tensors(folder / "state.safetensors")[0] for folder in (whole, broken))
    for name in one:
        if name.startswith(("run.recipe", "run.averages", "run.optimizers")):
            assert torch.equal(one[name], other[name]), name


def test_a_file_is_on_the_disk_before_it_replaces_the_old_one(tmp_path, monkeypatch):
    order, replace = [], os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: order.append(stat.S_ISDIR(os.fstat(descriptor).st_mode)))
    monkeypatch.setattr(os, "replace", lambda *paths: order.append("renamed") or replace(*paths))
    write_text(tmp_path / "a.json", "{}")
    assert order == [False, "renamed", True], "the file, its new name, and the folder that holds the name"


def test_a_disk_that_fills_up_stops_the_run(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=500k tmpfs {disk}"
    if not shutil.which("unshare") or subprocess.run([*MOUNT, mount], capture_output=True).returncode:
        pytest.skip("no small disk can be made here")
    flags = "--data digits --images 4000 --batch 8 --save 8 --keep 8 --preview 0 --log 800 --device cpu --threads 1"
    train = f"{sys.executable} -m gankit train {ODD} {flags} --outdir {disk}"
    script = f"{mount} && {train}; code=$?; cp -r {disk} {tmp_path}/kept; exit $code"
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(ODD).parents[1])}
    done = subprocess.run([*MOUNT, script], capture_output=True, text=True, env=env)

    found = re.search(
        r"^gankit: cannot write (\S+): .*No space left.* The last save, at (\d+) images, is whole\.$", done.stderr, re.M
    )
    assert done.returncode == 2 and found, done.stderr
    assert Path(found[1]).parent.parent == disk
    folder, images = next((tmp_path / "kept").iterdir()), int(found[2])
    assert read_tensors(folder / "state.safetensors")[1]["images"] == images > 0
    read_tensors(folder / "weights.safetensors")
    run = training.resume(folder, model=ODD, quiet=True, images=images + 16)
    assert run.config["history"][-1]["images"] == images and run.images == images + 16
