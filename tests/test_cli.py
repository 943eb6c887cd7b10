"""The commands as a user types them, and what they say to wrong ones."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gankit
from gankit import cli, models, training
from gankit.cli import flags
from gankit.runs.files import FORMAT, read_tensors
from gankit.runs.state import Diverged
from gankit.training import loop

TINY = [
    "--data",
    "digits",
    "--preset",
    "small",
    "--images",
    "32",
    "--batch",
    "8",
    "--preview",
    "16",
    "--save",
    "16",
    "--quiet",
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two trained runs: dcgan and sngan."""
    folder = tmp_path_factory.mktemp("home")
    for model in ("dcgan", "sngan"):
        options = dict(data="digits", preset="small", images=32, batch=8, preview=16, save=16, quiet=True)
        training.train(model, outdir=folder / "runs", **options)
    return folder


@pytest.fixture
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(home)
    return home


def refused(capsys: pytest.CaptureFixture, *words: str, code: int = 2) -> str:
    """What the command says when it refuses: one message, this exit code, no traceback."""
    with pytest.raises(SystemExit) as left:
        cli.main(list(words))
    said = capsys.readouterr()
    assert left.value.code == code
    assert "Traceback" not in said.err
    return said.err + said.out


def test_a_run_from_first_to_last(here, capsys, tmp_path):
    cli.main(["train", "dcgan", *TINY, "--outdir", str(tmp_path), "--desc", "first try", "--z_dim", "8", "--mirror=1"])
    folder = next(tmp_path.iterdir())
    assert folder.name == "00000-dcgan-digits-first-try"
    config = json.loads((folder / "config.json").read_text())
    assert config["arguments"]["z_dim"] == 8 and config["settings"]["mirror"] is True and config["images"] == 32
    for name in (
        "reals.png",
        "fakes000000016.png",
        "fakes000000032.png",
        "stats.jsonl",
        "report.html",
        "weights.safetensors",
    ):
        assert (folder / name).stat().st_size > 0, name
    assert not list(folder.glob(".*")), "temporary files were left"
    page = (folder / "report.html").read_text()
    assert "data:image/png" in page and "http://" not in page and "https://" not in page
    cli.main(["resume", str(folder), "--images", "48", "--quiet"])
    config = json.loads((folder / "config.json").read_text())
    assert config["images"] == 48 and config["history"][-1]["changed"] == {"images": [32, 48]}


def test_sample_writes_pictures_grids_and_arrays(here, capsys, tmp_path):
    cli.main(["sample", "00000", "--seeds", "0-3,7", "--outdir", str(tmp_path)])
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"seed{i:04d}.png" for i in (0, 1, 2, 3, 7)]
    assert Image.open(tmp_path / "seed0007.png").size == (16, 16)
    cli.main(["sample", "latest", "--n", "5", "--class", "3", "-o", str(tmp_path / "a.npz")])
    cli.main(["sample", "latest", "--n", "5", "--class", "3", "--batch", "2", "-o", str(tmp_path / "b.npz")])
    a, b = np.load(tmp_path / "a.npz"), np.load(tmp_path / "b.npz")
    assert a["samples"].shape == (5, 16, 16, 1) and a["samples"].dtype == np.uint8
    assert np.abs(a["samples"].astype(int) - b["samples"]).max() <= 1
    cli.main(["sample", "0-dcgan", "-o", str(tmp_path / "grid.png"), "--trunc", "0.7"])
    assert Image.open(tmp_path / "grid.png").width > 100


def test_interpolate_writes_a_strip_and_an_animation(here, capsys, tmp_path):
    cli.main(["interpolate", "00000", "--seeds", "0-2", "--steps", "4", "--outdir", str(tmp_path)])
    assert 1 < Image.open(tmp_path / "walk.webp").n_frames <= 9  # equal pictures become one
    assert Image.open(tmp_path / "walk.png").width > 100
    cli.main(
        [
            "interpolate",
            "1",
            "--seeds",
            "0-1",
            "--steps",
            "3",
            "--mode",
            "lerp",
            "--loop",
            "--class",
            "2",
            "-o",
            str(tmp_path / "x.gif"),
        ]
    )
    assert Image.open(tmp_path / "x.gif").n_frames > 1


def test_models_lists_every_model(capsys):
    cli.main(["models", "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == models.names()
    dcgan = next(row for row in rows if row["name"] == "dcgan")
    assert dcgan["presets"]["paper"]["parameters"] == {"g": 18_885_760, "d": 17_232_768}
    cli.main(["models"])
    assert "2016" in capsys.readouterr().out


@pytest.mark.parametrize("model", models.names())
def test_show_and_train_help(model, capsys):
    cli.main(["show", model])
    assert "--preset paper" in capsys.readouterr().out
    with pytest.raises(SystemExit) as left:
        cli.main(["train", model, "--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert "--images" in text and "half-life" in text


def test_data_shows_what_would_be_read(here, capsys, tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "pics" / name).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(np.full((20, 30, 3), 40 * i + len(name), np.uint8)).save(
                tmp_path / "pics" / name / f"{i}.png"
            )
    cli.main(
        [
            "data",
            str(tmp_path / "pics"),
            "--resolution",
            "16",
            "--sheet",
            str(tmp_path / "sheet.png"),
            "--model",
            "dcgan",
            "--preset",
            "small",
            "--batch",
            "4",
        ]
    )
    text = capsys.readouterr().out
    assert "6 images of 3x16x16" in text and "cat" in text and "a step" in text
    assert (tmp_path / "sheet.png").exists()


def test_examples_my_gan_trains(here, tmp_path):
    path = Path(cli.__file__).parents[2] / "examples" / "my_gan.py"
    run = gankit.train(str(path), data="digits", preset="tiny", images=2_000, outdir=tmp_path, preview=0, quiet=True)
    assert run.sample(4).shape == (4, 1, 16, 16)
    assert gankit.load(run.folder, model=str(path)).sample(2).shape == (2, 1, 16, 16)
    with pytest.raises(ValueError, match="not gankit's own"):
        gankit.load(run.folder)


@pytest.mark.parametrize(
    "words, said",
    [
        (["trian"], "did you mean train?"),
        (["train"], "gankit train MODEL"),
        (["train", "dcgam"], "did you mean dcgan"),
        (["train", "./nothing.py"], "no file"),
        (["train", "dcgan", "--data", "digitz", "--quiet"], "digits"),
        (["train", "dcgan", "--data", "/no/such/folder"], "/no/such/folder"),
        (["train", "dcgan", "--resolutoin", "32"], "--resolution"),
        (["train", "dcgan", "--images", "many"], "many"),
        (["train", "dcgan", "--preset", "huge"], "small"),
        (["train", "dcgan", "--data", "digits", "--batch", "0"], "batch"),
        (["train", "dcgan", "--data", "digits", "--pieces", "99", "--batch", "8"], "--pieces"),
        (["train", "dcgan", "--data", "digits", "--device", "toaster"], "toaster"),
        (["train", "dcgan", "--data", "digits", "--device", "cuda:9"], "cuda:9"),
        (["train", "dcgan", "--data", "digits", "--outdir", "/proc/none"], "/proc/none"),
        (["train", "dcgan", "--data", "ring"], "learns from images"),
        (["train", "cgan", "--data", "photo"], "needs labels"),
        (["resume", "nothing-here"], "no run"),
        (["resume", "00"], "could be"),
        (["sample", "0-dcgan", "--class", "3"], "without labels"),
        (["sample", "latest", "--class", "10"], "classes 0 to 9"),
        (["sample", "latest", "--seeds", "5-1"], "range"),
        (["sample", "latest", "--n", "0"], "at least 1"),
        (["sample", "latest", "-o", "x.psd"], ".png"),
        (["interpolate", "latest", "--seeds", "4"], "two seeds"),
        (["show", "nothing"], "no model"),
        (["data", "/no/such/folder"], "/no/such/folder"),
        (["report", "nothing-here"], "no run"),
    ],
)
def test_wrong_words_get_one_message_and_exit_code_2(here, capsys, words, said):
    assert said in refused(capsys, *words)


def test_resume_refuses_what_would_change_numbers(here, capsys):
    assert "cannot become" in refused(capsys, "resume", "0-dcgan", "--seed", "5")


class Bomb:
    def __reduce__(self) -> tuple:
        return (open, ("executed", "w"))


def test_other_people_s_files_are_refused_and_not_executed(here, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Bomb()))
    assert "never unpickles" in refused(capsys, "sample", "evil.pkl")
    run = tmp_path / "runs" / "00000-x"
    copy_run(here / "runs" / "00000-dcgan-digits", run)
    (run / "weights.safetensors").write_bytes(pickle.dumps(Bomb()))
    assert "damaged" in refused(capsys, "sample", "00000")
    assert not (tmp_path / "executed").exists()


def copy_run(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for name in ("config.json", "state.safetensors", "weights.safetensors", "stats.jsonl"):
        (target / name).write_bytes((source / name).read_bytes())


@pytest.mark.parametrize("file", ["weights.safetensors", "state.safetensors"])
def test_damaged_and_swapped_files_are_refused(here, capsys, tmp_path, file):
    command = "sample" if file.startswith("weights") else "resume"
    more = [] if command == "sample" else ["--images", "64"]
    ours, theirs = here / "runs" / "00000-dcgan-digits", here / "runs" / "00001-sngan-digits"
    run = tmp_path / "run"
    copy_run(ours, run)
    whole = (run / file).read_bytes()
    (run / file).write_bytes(whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:])
    assert "damaged" in refused(capsys, command, str(run), *more)
    (run / file).write_bytes(whole[: len(whole) // 2])
    assert "damaged" in refused(capsys, command, str(run), *more)
    (run / file).write_bytes((theirs / file).read_bytes())
    assert "another run" in refused(capsys, command, str(run), *more)
    (run / file).unlink()
    if command == "sample":
        assert "missing" in refused(capsys, command, str(run))


def test_a_config_from_a_newer_gankit_is_refused(here, capsys, tmp_path):
    run = tmp_path / "run"
    copy_run(here / "runs" / "00000-dcgan-digits", run)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"format": FORMAT + 1}))
    assert "upgrade" in refused(capsys, "sample", str(run))
    (run / "config.json").write_text("{")
    assert "damaged" in refused(capsys, "sample", str(run))
    (run / "config.json").write_text(json.dumps({"format": 1}))
    assert "lacks" in refused(capsys, "sample", str(run))


def test_changed_data_is_refused_on_resume(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pics").mkdir()
    for i in range(4):
        Image.fromarray(np.full((16, 16, 3), 40 * i, np.uint8)).save(tmp_path / "pics" / f"{i}.png")
    cli.main(["train", "dcgan", *TINY[2:], "--data", "pics"])
    Image.fromarray(np.full((16, 16, 3), 250, np.uint8)).save(tmp_path / "pics" / "3.png")
    assert "not what this run was trained on" in refused(capsys, "resume", "latest", "--images", "64")


def test_numbers_that_are_not_finite_stop_the_run_and_leave_the_last_save(tmp_path, monkeypatch):
    make_batch = loop.make_batch

    def poisoned(fields, run, size):
        batch = make_batch(fields, run, size)
        if run.images == 32:
            batch.real[1, 0, 0, 0] = float("nan")
        return batch

    monkeypatch.setattr(loop, "make_batch", poisoned)
    with pytest.raises(Diverged, match=r"DCGAN: .*'d' after 32 images.*The last save, at 32 images, is whole"):
        training.train(
            "dcgan", data="digits", preset="small", images=64, batch=16, save=16, preview=0, outdir=tmp_path, quiet=True
        )
    state, _ = read_tensors(next(tmp_path.iterdir()) / "state.safetensors")
    assert all(tensor.isfinite().all() for tensor in state.values() if tensor.is_floating_point())


def test_counts_and_seeds():
    assert [flags.count(t) for t in ("7", "200k", "1.5M", "5_000")] == [7, 200_000, 1_500_000, 5_000]
    assert flags.numbers("0-2,7") == [0, 1, 2, 7]
    assert flags.kimg(["--kimg", "200"]) == ["--images", "200k"]
    assert flags.ranges((0, 1, 2, 7)) == "0-2,7"


def test_every_file_of_a_command_is_listed():
    files = {path.stem for path in Path(cli.__file__).parent.glob("*.py")} - {"__init__", "errors", "flags", "output"}
    assert {name.rstrip("_") for name in files} == set(cli.COMMANDS)


@pytest.mark.parametrize("columns, lines", [(80, 2), (160, 1)])
def test_models_fit_the_terminal(columns, lines, capsys, monkeypatch):
    """A narrow terminal gets two lines for each model, not a column of single words."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    cli.main(["models"])
    _, *table = capsys.readouterr().out.rstrip().splitlines()  # the headings are bold, by control characters
    assert all(len(line.rstrip()) <= columns for line in table)
    assert len(table) <= (lines + 0.8) * len(models.names())
