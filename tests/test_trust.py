"""A stranger's run folder executes nothing; a run loses nothing: attacks on both promises."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gankit
from gankit import cli, training
from gankit.runs import lock
from gankit.runs.config import read_config
from gankit.runs.files import last_save, read_tensors, write_tensors
from gankit.runs.state import Diverged, not_finite
from gankit.training import Run, signals
from tests.waiting import fork, printed, until

TINY = dict(
    preset="small", data="digits", width=8, images=32, batch=8, preview=0, save=16, log=16, quiet=True, device="cpu"
)
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of dcgan."""
    return Path(training.train("dcgan", outdir=tmp_path_factory.mktemp("trained"), **TINY).folder)


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be damaged."""
    return Path(shutil.copytree(trained, tmp_path / "runs" / "00000-dcgan-digits"))


def edit(folder: Path, **changes: object) -> None:
    """Change config.json; None takes a key away."""
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def refused(capsys: pytest.CaptureFixture, *words: object) -> str:
    """What a command says that leaves with exit code 2."""
    with pytest.raises(SystemExit) as left:
        cli.main([str(word) for word in words])
    assert left.value.code == 2
    text = capsys.readouterr().err
    assert "Traceback" not in text and len(text.splitlines()) <= 3
    return text


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != lock.NAME}


# Nothing of a stranger's is executed ---------------------------------------------------------------------------------

LOAD = {
    "sample": ["--n", 2, "-o", "x.png"],
    "interpolate": ["-o", "x.png"],
    "evaluate": ["--metrics", "swd", "--n", 8],
    "export": ["--to", "safetensors", "-o", "exported"],
    "explore": ["truncation"],
    "score": ["digits"],
    "translate": ["in.png"],
    "resume": ["--images", 48],
}


@pytest.mark.parametrize("own", ["", None, "evil.py"])
@pytest.mark.parametrize("spelling", ["absolute", "relative", "dotted", "inside", "upper"])
def test_a_name_in_a_run_s_config_is_never_a_path(copy, capsys, monkeypatch, spelling, own):
    monkeypatch.chdir(copy.parent.parent)
    Image.new("L", (16, 16)).save("in.png")
    ran = Path("ran").absolute()
    code = f"open({str(ran)!r}, 'w')\nfrom gankit.models.dcgan import DCGAN\nclass Mine(DCGAN): pass\n"
    for file in (copy / "evil.py", Path("evil.py"), Path("dcgan.py")):
        file.write_text(code)
    names = {
        "absolute": str(copy / "evil.py"),
        "relative": os.path.relpath(copy / "evil.py"),
        "dotted": "./evil.py",
        "inside": "evil.py",
        "upper": "DCGAN.py",
    }
    edit(copy, model=names[spelling], own=own)
    for command, flags in LOAD.items():
        assert "--model" in refused(capsys, command, copy, *flags), command
        assert not ran.exists(), f"{command} executed a file that config.json names"
    with pytest.raises(ValueError, match="--model"):
        gankit.load(copy)
    assert not ran.exists()
    gankit.load(copy, model=str(copy / "evil.py"))
    assert ran.exists(), "a file that the caller names is a model of one's own"


def test_a_text_encoder_in_a_run_s_config_is_not_opened(capsys, tmp_path, monkeypatch):
    from gankit.data import captions
    from gankit.data.reading import embedding

    texts = sorted(
        {captions.plain(line) for line in "a red square\na blue circle\na green bar\na red circle".splitlines()}
    )
    np.savez(
        tmp_path / "table.npz",
        text=np.array(texts),
        vector=np.random.default_rng(0).normal(size=(len(texts), 6)).astype(np.float32),
    )
    (tmp_path / "pictures").mkdir()
    for i, line in enumerate(texts):
        Image.fromarray(np.full((16, 16, 3), 50 * i, np.uint8)).save(tmp_path / "pictures" / f"{i}.png")
        (tmp_path / "pictures" / f"{i}.txt").write_text(line)
    options = dict(
        preset="small",
        data=str(tmp_path / "pictures"),
        images=8,
        batch=4,
        preview=0,
        save=4,
        log=4,
        quiet=True,
        device="cpu",
    )
    run = training.train(
        "stackgan", text_encoder=str(tmp_path / "table.npz"), outdir=tmp_path / "runs", resolution="32", **options
    )
    opened = []
    real = embedding.open_encoder
    monkeypatch.setattr(embedding, "open_encoder", lambda name, plain: opened.append(name) or real(name, plain))
    assert "--text-encoder" in refused(capsys, "resume", run.folder, "--images", 16)
    assert "--text-encoder" in refused(
        capsys, "sample", run.folder, "--text", texts[0], "--n", 1, "-o", tmp_path / "x.png"
    )
    with pytest.raises(ValueError, match="--text-encoder"):
        gankit.load(run.folder).sample(1, text=texts[0])
    assert not [name for name in opened if name]
    moved = shutil.move(tmp_path / "table.npz", tmp_path / "moved.npz")
    gankit.load(run.folder).sample(1, text=texts[0], text_encoder=str(moved))
    assert training.resume(run.folder, images=16, text_encoder=str(moved), quiet=True).images == 16


@pytest.mark.parametrize("features", ["timm:resnet18", "dinov2:vits14", "inception", "vgg16"])
def test_what_only_a_run_s_config_asks_for_is_not_downloaded(copy, capsys, monkeypatch, features):
    from gankit import downloads

    def reached(*_: object, **__: object) -> None:
        raise AssertionError("something was fetched or imported that nobody asked for")

    monkeypatch.setattr(downloads, "_download", reached)
    monkeypatch.setattr(torch.hub, "load", reached)
    monkeypatch.setitem(sys.modules, "timm", None)
    config = json.loads((copy / "config.json").read_text())
    edit(copy, settings=config["settings"] | {"evaluate": "fd", "evaluate_features": features})
    before = bytes_of(copy)
    for typed in ([], ["--evaluate", "fd"], ["--evaluate-features", features]):
        text = refused(capsys, "resume", copy, "--images", 48, *typed)
        assert f"--evaluate fd --evaluate-features {features}" in text
    assert {name: data for name, data in bytes_of(copy).items() if name.endswith("safetensors")} == {
        name: data for name, data in before.items() if name.endswith("safetensors")
    }
    cli.main(["resume", str(copy), "--images", "48", "--evaluate", "", "--quiet"])


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "stats.jsonl",
        "evaluations.jsonl",
        "state.safetensors",
        "weights.safetensors",
        "reals.png",
        "fakes000000099.png",
        "evaluation/spectrum.json",
        "evaluation/pairs.png",
    ],
)
def test_a_pipe_in_a_run_folder_keeps_no_command_waiting(copy, capsys, name):
    def waited(*_: object) -> None:
        raise AssertionError(f"{name} is a pipe, and a command waits for it")

    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).unlink(missing_ok=True)
    os.mkfifo(copy / name)
    before = signal.signal(signal.SIGALRM, waited)
    try:
        for command in (
            ["report", copy],
            ["sample", copy, "--n", 1, "-o", copy / "x.npz"],
            ["compare", copy, copy],
            ["resume", copy, "--images", 48, "--quiet"],
        ):
            signal.alarm(600)  # never reached by a command that works, however busy the machine is
            try:
                cli.main([str(word) for word in command])
            except SystemExit as left:
                assert left.code == 2
            assert "Traceback" not in capsys.readouterr().err
        assert "Nothing was saved" in last_save(copy) or name != "state.safetensors"
    finally:
        signal.alarm(0), signal.signal(signal.SIGALRM, before)


# Nothing is lost -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["deleted", "exported", "restarted"])
def test_a_run_without_its_training_state_is_not_begun_again(copy, capsys, tmp_path, monkeypatch, how):
    if how == "exported":
        cli.main(["export", str(copy), "--to", "hub-folder", "-o", str(tmp_path / "hub")])
        capsys.readouterr()
        copy = tmp_path / "hub"
    else:
        (copy / "state.safetensors").unlink()
    before = bytes_of(copy)
    if how == "restarted":  # as torchrun does it after a process was lost
        edit(copy, settings=json.loads((copy / "config.json").read_text())["settings"] | {"images": 64})
        before = bytes_of(copy)
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
        with pytest.raises(ValueError, match="no training state"):
            training.train("dcgan", outdir=copy.parent, **TINY | {"images": 64})
    else:
        assert "no training state" in refused(capsys, "resume", copy, "--images", 48)
    assert bytes_of(copy) == before


def test_a_run_that_was_killed_before_its_first_save_begins_again(tmp_path, monkeypatch):
    monkeypatch.setattr("gankit.runs.state.save", lambda *_, **__: os_error())

    def os_error() -> None:
        raise KeyError("killed")

    with pytest.raises(KeyError):
        training.train("dcgan", outdir=tmp_path, **TINY)
    monkeypatch.undo()
    assert training.resume(next(tmp_path.iterdir()), quiet=True).images == 32


HOLD = """import sys, time; from pathlib import Path; from gankit.runs import lock
with lock.holding(Path(sys.argv[1])): print('held', flush=True); time.sleep(1000)"""


@pytest.fixture
def other(copy: Path):
    """Another process that writes the run."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(copy)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(HERE.parent)},
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_run_has_one_writer_and_a_kill_lets_go(copy, capsys, other, monkeypatch):
    before = bytes_of(copy)
    text = refused(capsys, "resume", copy, "--images", 48)
    assert f"process {other.pid}" in text and socket.gethostname() in text
    assert bytes_of(copy) == before
    assert gankit.load(copy).sample(1).shape == (1, 1, 16, 16), "reading needs no lock"
    other.kill()
    other.wait()
    assert training.resume(copy, images=48, quiet=True).images == 48
    assert not (copy / lock.NAME).exists()


@pytest.mark.parametrize("host, alive, free", [("", True, False), ("", False, True), ("elsewhere", True, False)])
def test_where_a_file_system_has_no_locks_host_and_process_are_looked_at(copy, monkeypatch, host, alive, free):
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    monkeypatch.setattr(lock.fcntl, "flock", no_locks)
    pid = os.getppid() if alive else gone.pid
    (copy / lock.NAME).write_text(json.dumps({"host": host or socket.gethostname(), "pid": pid}))
    if free:
        with lock.holding(copy):
            pass
        return
    with pytest.raises(lock.Held, match=f"process {pid} on .* delete"), lock.holding(copy):
        pass


PARTS = {
    "a weight": lambda run: next(run.recipe.g.parameters()),
    "a buffer": lambda run: next(b for b in run.recipe.buffers() if b.is_floating_point()),
    "an average": lambda run: next(run.averages["g"].parameters()),
    "a moment": lambda run: next(v for s in run.recipe.opt["g"].state.values() for v in s.values() if v.ndim),
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_save_is_never_replaced_by_numbers_that_are_not_finite(tmp_path, monkeypatch, part, number):
    advance = Run.advance

    def poisoned(self: Run, n: int) -> None:
        advance(self, n)
        if self.images == 32:
            with torch.no_grad():
                PARTS[part](self).view(-1)[0] = number

    monkeypatch.setattr(Run, "advance", poisoned)
    with pytest.raises(
        Diverged,
        match=r"1 of [\d,]+ numbers\) is not finite after 32 images. The last save, at 16 images, is whole",
    ):
        training.train("dcgan", outdir=tmp_path, **TINY | dict(images=64, log=64))
    folder = next(tmp_path.iterdir())
    for file in ("state.safetensors", "weights.safetensors"):
        tensors, about = read_tensors(folder / file)
        assert about["images"] == 16 and not not_finite(tensors)


@pytest.mark.parametrize("number", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite_draw_nothing(copy, capsys, tmp_path, number):
    tensors, about = read_tensors(copy / "weights.safetensors")
    name = next(name for name in tensors if name.startswith("g") and tensors[name].is_floating_point())
    tensors[name].view(-1)[0] = number
    write_tensors(copy / "weights.safetensors", tensors, about)
    for command, flags in LOAD.items():
        if command != "resume":
            text = refused(capsys, command, copy, *flags)
            assert f"{name} (1 of " in text and "not finite" in text, command


TRAIN = [
    "train",
    "dcgan",
    "--data",
    "digits",
    "--preset",
    "small",
    "--width",
    "8",
    "--batch",
    "32",
    "--log",
    "32",
    "--save",
    "640",
    "--preview",
    "0",
    "--device",
    "cpu",
]


@pytest.mark.parametrize("broken", ["pipe", "full"])
def test_training_goes_on_when_nobody_reads_what_it_says(tmp_path, broken):
    read, write = os.pipe()
    stderr = write if broken == "pipe" else os.open("/dev/full", os.O_WRONLY)
    os.close(read)
    command = [sys.executable, "-m", "gankit", *TRAIN, "--images", "320", "--outdir", str(tmp_path)]
    done = subprocess.run(command, stdout=stderr, stderr=stderr, env=os.environ | {"PYTHONPATH": str(HERE.parent)})
    os.close(stderr), os.close(write) if broken == "full" else None
    assert done.returncode == 0
    assert read_config(next(tmp_path.iterdir()))["images"] == 320
    assert read_tensors(next(tmp_path.iterdir()) / "state.safetensors")[1]["images"] == 320


@pytest.mark.parametrize("words", [["--help"], ["models"]])
def test_a_command_whose_result_nobody_gets_does_not_leave_with_0(words):
    command, env = [sys.executable, "-m", "gankit", *words], os.environ | {"PYTHONPATH": str(HERE.parent)}
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, env=env, text=True)
    os.close(write)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=env, text=True)
    assert done.returncode == 2 and "No space left" in done.stderr and "Traceback" not in done.stderr


def into_a_broken_output(broken: str, words: list[str]) -> None:
    """Run a command whose output goes to a pipe that nobody reads, or to a full disk."""
    read, write = os.pipe()
    os.close(read)
    os.dup2(write if broken == "pipe" else os.open("/dev/full", os.O_WRONLY), 1)
    cli.main(words)


@pytest.mark.parametrize("words", [["models", "--json"], ["show", "dcgan"]])
@pytest.mark.parametrize("broken", ["pipe", "full"])
def test_no_command_whose_result_nobody_gets_leaves_with_0(words, broken, tmp_path):
    job = fork(tmp_path, into_a_broken_output, broken, words)
    until(lambda: job.poll() is not None, tmp_path, job)
    errors = printed(job, tmp_path)
    assert job.returncode not in (None, 0) and "Traceback" not in errors
    assert broken == "pipe" or (job.returncode == 2 and "No space left" in errors)


@pytest.mark.parametrize("name", [n for n in signals.ASK if hasattr(signal, n)])
def test_a_signal_saves_and_leaves_with_its_number_and_the_run_ends_the_same(tmp_path, monkeypatch, name):
    whole = training.train("dcgan", outdir=tmp_path / "whole", **TINY)
    number, advance = getattr(signal, name), Run.advance

    def advance_and_signal(self: Run, n: int) -> None:
        advance(self, n)
        if self.images == 8:
            os.kill(os.getpid(), number)
            if name in (
                "SIGHUP",
                "SIGUSR1",
                "SIGXCPU",
            ):  # some are sent twice, and SIGTERM follows: none may cut the save short
                os.kill(os.getpid(), number)
                os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "advance", advance_and_signal)
        with pytest.raises((SystemExit, KeyboardInterrupt)) as left:
            training.train("dcgan", outdir=tmp_path / "broken", **TINY | dict(save=32))
    assert left.type is KeyboardInterrupt if name == "SIGINT" else left.value.code == 128 + number
    folder = next((tmp_path / "broken").iterdir())
    assert read_config(folder)["images"] == 8
    training.resume(folder, quiet=True)
    a, b = (read_tensors(run / "weights.safetensors")[0] for run in (whole.folder, folder))
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_hangup_that_is_ignored_stays_ignored(tmp_path, monkeypatch):
    advance = Run.advance

    def advance_and_signal(self: Run, n: int) -> None:
        advance(self, n)
        os.kill(os.getpid(), signal.SIGHUP)

    monkeypatch.setattr(Run, "advance", advance_and_signal)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        assert training.train("dcgan", outdir=tmp_path, **TINY).images == 32
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder, rng = tmp_path / "pictures", np.random.default_rng(0)
    for side in ("one", "two"):
        (folder / side).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(folder / side / f"{i}.png")
    return folder


@pytest.mark.parametrize("model, data", [("dcgan", "{}"), ("dcgan", "{}.zip"), ("cyclegan", "{0}/one,{0}/two")])
def test_data_that_moved_is_named_and_its_run_ends_the_same(pictures, tmp_path, interrupt, model, data):
    if data.endswith(".zip"):
        shutil.make_archive(str(pictures), "zip", pictures)
    options = TINY | dict(data=data.format(pictures), width=8, resolution="16")
    whole = training.train(model, outdir=tmp_path / "whole", **options)
    broken = interrupt(16, model, outdir=tmp_path / "broken", **options)
    moved = tmp_path / "elsewhere" / "data"
    moved.parent.mkdir()
    shutil.move(
        f"{pictures}.zip" if data.endswith(".zip") else pictures, f"{moved}.zip" if data.endswith(".zip") else moved
    )
    with pytest.raises(ValueError, match="--data PATH"):
        training.resume(broken, quiet=True)
    training.resume(broken, data=data.format(moved), quiet=True)
    a, b = (read_tensors(Path(run) / "state.safetensors")[0] for run in (whole.folder, broken))
    assert all(torch.equal(a[key], b[key]) for key in a)
    config = read_config(broken)
    assert config["settings"]["data"] == data.format(moved)
    assert config["history"][-1]["changed"] == {"data": [data.format(pictures), data.format(moved)]}


def test_other_data_in_its_place_is_refused(pictures, tmp_path, interrupt):
    broken = interrupt(16, "dcgan", outdir=tmp_path / "runs", **TINY | dict(data=str(pictures), resolution="16"))
    with pytest.raises(ValueError, match="not what this run was trained on"):
        training.resume(broken, data="digits", quiet=True)


def test_a_run_that_was_renamed_while_it_trains_says_where_it_is(tmp_path, monkeypatch):
    advance = Run.advance

    def advance_and_rename(self: Run, n: int) -> None:
        advance(self, n)
        if self.images == 24:
            self.folder.rename(tmp_path / "renamed")

    monkeypatch.setattr(Run, "advance", advance_and_rename)
    with pytest.raises(
        OSError, match="moved to .*renamed.* gankit resume .*renamed.* The last save, at 16 images, is whole"
    ):
        training.train("dcgan", outdir=tmp_path / "runs", **TINY)
    monkeypatch.setattr(Run, "advance", advance)
    assert training.resume(tmp_path / "renamed", quiet=True).images == 32
    assert not (tmp_path / "renamed" / lock.NAME).exists()


def test_a_config_without_what_may_be_missing_is_reported_and_drawn(copy):
    edit(copy, preset=None, own=None, preview=None, processes=None)
    cli.main(["report", str(copy)])
    cli.main(["sample", str(copy), "--n", "1", "-o", str(copy / "x.npz")])
