"""Several processes give what one gives, and go on after one was lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from gankit import checkpoint

HERE = Path(__file__).parent


def torchrun(tmp_path: Path, *words: str, processes: int = 2, restarts: int = 0) -> subprocess.Popen:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command += ["--max-restarts", str(restarts), "-m", "gankit", *words]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent)}
    return subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def train(*more: str) -> list[str]:
    flags = ["--images", "48", "--batch", "8", "--save", "16", "--tick", "16", "--preview", "0", "--ema", "40", "--device", "cpu"]
    return ["train", str(HERE / "sgd_gan.py"), "--data", "digits", *flags, *more]


def tensors(outdir: Path) -> dict[str, torch.Tensor]:
    return checkpoint.read_tensors(next(outdir.iterdir()) / "state.safetensors")[0]


@pytest.mark.parametrize("flags", [["--norm"], ["--no-norm"], ["--no-norm", "--augment", "ada", "--augment-p", "0.3"]])
def test_two_processes_equal_one(flags, tmp_path):
    results = []
    for processes in (1, 2):
        job = torchrun(tmp_path, *train("--precision", "fp64", *flags, "--outdir", f"{processes}"), processes=processes)
        out, _ = job.communicate(timeout=200)
        assert job.returncode == 0, out
        results.append(tensors(tmp_path / f"{processes}"))
    one, two = results
    compared = [name for name in one if name.startswith(("run.recipe", "run.averages", "run.augment", "run.log"))]
    assert len(compared) > 10
    for name in compared:
        assert (one[name] - two[name]).abs().max() < 1e-12, name


@pytest.mark.parametrize("augment", ["none", "diffaugment", "ada"])
def test_pieces_equal_the_whole_batch(augment, tmp_path):
    from gankit import loop

    states = []
    for pieces in (1, 4):
        run = loop.train(
            str(HERE / "sgd_gan.py"), data="digits", images=32, batch=8, precision="fp64", norm=False, pieces=pieces,
            augment=augment, augment_p=0.5 if augment == "ada" else 0.0, outdir=tmp_path / str(pieces), preview=0, quiet=True,
        )  # fmt: skip
        states.append(run.recipe.state_dict())
    for name, value in states[0].items():
        assert (value - states[1][name]).abs().max() < 1e-12, name


def test_a_lost_process_is_replaced_and_the_run_goes_on(tmp_path):
    whole = torchrun(tmp_path, *train("--images", "640", "--save", "80", "--precision", "fp64", "--outdir", "whole"))
    out, _ = whole.communicate(timeout=200)
    assert whole.returncode == 0, out
    job = torchrun(tmp_path, *train("--images", "640", "--save", "80", "--precision", "fp64", "--outdir", "lost"), restarts=2)
    victim = wait_for_worker(job.pid, tmp_path / "lost")
    os.kill(victim, signal.SIGKILL)
    out, _ = job.communicate(timeout=200)
    assert job.returncode == 0, out
    assert len(list((tmp_path / "lost").iterdir())) == 1, "the restart began a new run instead of going on"
    a, b = tensors(tmp_path / "whole"), tensors(tmp_path / "lost")
    for name in a:
        if name.startswith(("run.recipe", "run.averages")):
            assert torch.equal(a[name], b[name]), name


def wait_for_worker(parent: int, outdir: Path) -> int:
    """The process id of torchrun's second worker, once something was saved."""
    for _ in range(1200):
        if outdir.exists() and any((run / "state.safetensors").exists() for run in outdir.iterdir()):
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
            return int(children[-1])
        time.sleep(0.05)
    raise AssertionError("nothing was saved within a minute")
