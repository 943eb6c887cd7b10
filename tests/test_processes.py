"""Several processes compute what one does, with every model, and go on after one is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch

from gankit import cli, models, nn, processes, training
from gankit.runs.files import read_tensors
from tests import small_runs
from tests.waiting import finished, fork, torchrun, until

HERE = Path(__file__).parent
CASES = list(small_runs.CASES)


def tensors(outdir: Path) -> dict[str, torch.Tensor]:
    return read_tensors(next(outdir.iterdir()) / "state.safetensors")[0]


def apart(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> tuple[float, str]:
    """The largest difference of two states, against a tensor's largest number where that is above 1, and where it is.

    Only the generators may differ: several processes have one each.
    """
    names = [name for name in one if not name.startswith("run.random")]
    assert names == [name for name in two if not name.startswith("run.random")] and len(names) > 8
    assert all(one[name].shape == two[name].shape for name in names)
    far = {
        name: ((one[name].double() - two[name].double()).abs().amax() / one[name].double().abs().amax().clamp(min=1))
        for name in names
        if one[name].numel()
    }
    name = max(far, key=far.get)
    return far[name].item(), name


# Every model ---------------------------------------------------------------------------------------------------------


def test_every_model_is_among_the_cases():
    assert {model for model, _ in small_runs.CASES.values()} - {small_runs.SGD} == set(models.names())


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, torch.Tensor]]:
    """The state that a case ends with in one process and one piece."""
    outdir = tmp_path_factory.mktemp("alone")

    @cache
    def state(case: str) -> dict[str, torch.Tensor]:
        small_runs.train(case, outdir)
        return tensors(outdir / case)

    return state


@pytest.fixture(scope="module")
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], dict[str, torch.Tensor]]]:
    """The final state of a case in two processes, which work through all cases in the background."""
    outdir = tmp_path_factory.mktemp("pair")
    cases = [
        item.callspec.params["case"]
        for item in request.session.items
        if item.name.startswith("test_two_processes_equal_one[")
    ]
    jobs = [fork(outdir, small_runs.main, outdir, rank, 2, cases) for rank in (0, 1)]

    def state(case: str) -> dict[str, torch.Tensor]:
        failed = outdir / f"{case}.failed"
        until(lambda: failed.exists() or (outdir / f"{case}.done").exists(), outdir, *jobs)
        assert not failed.exists(), failed.read_text()
        return tensors(outdir / case)

    yield state
    for job in jobs:
        job.kill()
        job.join()


@pytest.mark.parametrize("case", CASES)
def test_two_processes_equal_one(case, alone, pair):
    far, name = apart(alone(case), pair(case))
    assert far < 1e-12, name


@pytest.mark.parametrize("case", CASES)
def test_pieces_change_the_result_of_what_they_announce_and_of_nothing_else(case, alone, tmp_path):
    run = small_runs.train(case, tmp_path, pieces=2)
    far, name = apart(alone(case), tensors(tmp_path / case))
    assert far > 1e-7 if run.announced else far < 1e-12, (name, run.announced)


@pytest.mark.parametrize(
    "model, options, announced",
    [
        (
            "dcgan",
            dict(norm_d=True),
            "with --pieces 2 batch norm sees one piece of the batch at a time: the result is not that of --pieces 1",
        ),
        ("dcgan", dict(norm_d=True, pieces=1), None),
        ("pggan", dict(group=4), None),  # a piece has whole groups
        ("pggan", dict(group=8), "with --pieces 2 the minibatch deviation sees one piece"),
        ("gan", dict(loss="relativistic_average"), "with --pieces 2 relativistic_average sees one piece"),
        ("gan", {}, None),
    ],
)
def test_a_run_says_at_its_start_what_pieces_change(model, options, announced, tmp_path, capsys):
    options = dict(preset="small", data="digits", batch=8, images=24, preview=0, pieces=2, log=1) | options
    training.train(model, outdir=tmp_path, **options)
    said = [line for line in capsys.readouterr().err.splitlines() if "--pieces" in line]
    assert len(said) == (announced is not None)
    assert announced is None or announced in said[0]


# Pieces on processes, and torchrun -----------------------------------------------------------------------------------


def train(*more: str) -> list[str]:
    flags = [
        "--images",
        "48",
        "--batch",
        "8",
        "--save",
        "16",
        "--tick",
        "16",
        "--preview",
        "0",
        "--ema",
        "40",
        "--device",
        "cpu",
    ]
    return ["train", str(HERE / "sgd_gan.py"), "--data", "digits", *flags, *more]


FLAGS = train("--images", "640", "--save", "80", "--precision", "fp64", "--norm", "--pieces", "2", "--outdir")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The state that a run on two processes of torchrun ends with."""
    folder = tmp_path_factory.mktemp("whole")
    finished(torchrun(folder, *FLAGS, "whole"), folder)
    return tensors(folder / "whole")


def test_two_processes_of_torchrun_equal_one(whole, tmp_path, monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "TORCHELASTIC_RESTART_COUNT"):
        monkeypatch.setenv(name, "0")  # what torchrun sets for a single process
    monkeypatch.setenv("WORLD_SIZE", "1")
    cli.main([*FLAGS, str(tmp_path)])
    far, name = apart(tensors(tmp_path), whole)
    assert far < 1e-12, name


@pytest.mark.parametrize("augment", ["none", "diffaugment", "ada"])
def test_pieces_equal_the_whole_batch(augment, tmp_path):
    states = []
    for pieces in (1, 3, 4):
        training.train(
            str(HERE / "sgd_gan.py"), data="digits", images=32, batch=8, precision="fp64", norm=False, pieces=pieces,
            augment=augment, augment_p=0.5 if augment == "ada" else 0.0, outdir=tmp_path / str(pieces), preview=0,
            quiet=True,
        )  # fmt: skip
        states.append(tensors(tmp_path / str(pieces)))
    for other in states[1:]:
        far, name = apart(states[0], other)
        assert far < 1e-12, name


@pytest.mark.parametrize(
    "message",
    [
        lambda: processes.average(torch.ones(3)), lambda: processes.agree(1, torch.device("cpu")),
        lambda: processes.tell("text"),
        lambda: nn.average(torch.ones(3)), lambda: nn.whole(torch.ones(3)),
        lambda: nn.BatchNorm1d(3)(torch.randn(4, 3)),
    ],
)  # fmt: skip
def test_a_process_that_is_gone_is_named_wherever_the_others_wait_for_it(message, monkeypatch):
    def gone(*_, **__):
        raise RuntimeError("Connection reset\nby peer")

    answers = dict(
        is_initialized=lambda: True,
        get_world_size=lambda: 2,
        get_rank=lambda: 0,
        all_reduce=gone,
        broadcast_object_list=gone,
    )
    for name, answer in answers.items():
        monkeypatch.setattr(torch.distributed, name, answer)
    with pytest.raises(processes.Lost, match=r"^another process of this run is gone \(Connection reset\)$"):
        message()


def test_a_lost_process_is_replaced_and_the_run_goes_on(whole, tmp_path):
    job = torchrun(tmp_path, *FLAGS, "lost", restarts=2)
    until(lambda: [*tmp_path.glob("lost/*/state.safetensors")], tmp_path, job)
    children = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    finished(job, tmp_path)
    assert len(list((tmp_path / "lost").iterdir())) == 1, "the restart began a new run instead of going on"
    lost = tensors(tmp_path / "lost")
    for name in whole:
        if name.startswith(("run.recipe", "run.averages")):
            assert torch.equal(whole[name], lost[name]), name
