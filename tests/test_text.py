"""What a file says reaches a terminal without control characters and a page without tags, whatever file it is."""

from __future__ import annotations

import ast
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gankit import cli, report, text, training
from gankit.html import SCRIPT as OURS

HOUSE = Path(cli.__file__).parents[1]
EVIL = "\x1b]0;owned\x07\x1b[31m<script>alert(1)</script>'\"><img src=x onerror=alert(1)>[red]\u202e\r"


def test_text_is_shown_without_control_characters():
    assert text.shown("a\x1b[31mb\nc\u202e\ud800") == r"a\x1b[31mb\nc\u202e\ud800"
    assert text.clean("a\tb\nc\x07") == "a\tb\nc" + r"\x07"
    assert text.shown("Grün 猫 é") == "Grün 猫 é"
    assert text.escaped("<a href='x'>\x1b") == r"&lt;a href=&#x27;x&#x27;&gt;\x1b"


def test_a_stream_whose_reader_left_does_not_stop_the_work(capsys, monkeypatch):
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("sys.stderr", Gone())
    text.aside("nobody reads this")
    monkeypatch.setattr("sys.stdout", Gone())
    with pytest.raises(BrokenPipeError):
        text.put("a result")
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr("sys.stderr", closed)
    text.aside("nobody reads this")


@pytest.mark.parametrize(
    "path", [p for p in sorted(HOUSE.rglob("*.py")) if p.name != "text.py"], ids=lambda p: str(p.relative_to(HOUSE))
)
def test_lines_go_through_one_place(path):
    """No `print`, and no console of rich's own on stderr: gankit.text cleans what is printed."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            assert not (isinstance(node.func, ast.Name) and name == "print"), f"line {node.lineno}: print"
            assert name != "Console" or path == HOUSE / "cli" / "output.py", f"line {node.lineno}: a console of its own"
        if isinstance(node, ast.Import) and any(alias.name == "html" for alias in node.names):
            raise AssertionError("html.escape leaves control characters: take gankit.text.escaped")


def poison(tree: object) -> object:
    """Every string of a tree followed by an attack."""
    if isinstance(tree, dict):
        return {key: poison(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [poison(item) for item in tree]
    return tree + EVIL if isinstance(tree, str) else tree


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = dict(
        preset="small", data="digits", width=8, images=32, batch=8, preview=16, save=16, log=8, quiet=True, device="cpu"
    )
    run = Path(training.train("dcgan", outdir=tmp_path_factory.mktemp("runs"), **options).folder)
    cli.main(["evaluate", str(run), "--metrics", "fd,swd", "--n", "64"])
    training.resume(run, images=48, quiet=True)
    return run


def lines(path: Path, change: object) -> None:
    path.write_text("".join(json.dumps(change(json.loads(line))) + "\n" for line in path.read_text().splitlines()))


def test_no_file_of_a_run_can_put_a_tag_into_its_report_or_an_escape_on_the_terminal(trained, tmp_path, capsys):
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    config = json.loads((run / "config.json").read_text())
    poisoned = poison(config) | {"id": config["id"]}
    poisoned["settings"] |= {
        name: config["settings"][name]
        for name in ("fit", "alpha", "frames", "cache_limit", "precision", "augment", "jpeg")
    }  # of a few words each
    for free in (poisoned["settings"], poisoned["arguments"], poisoned["data"], poisoned["history"][-1]["changed"]):
        free[EVIL] = EVIL
    (run / "config.json").write_text(json.dumps(poisoned))
    lines(run / "stats.jsonl", lambda line: line | {f"{EVIL}/loss": 1.0})
    lines(run / "evaluations.jsonl", poison)
    (run / "evaluation" / "spectrum.json").write_text(json.dumps({EVIL: [[0, 1], [1, 2]]}))
    for words in (
        ["report", run],
        ["compare", run, run],
        ["sample", run],
        ["resume", run],
        ["resume", run, "--help"],
        ["evaluate", run, "--metrics", "swd"],
        ["export", run],
    ):
        try:
            cli.main([str(word) for word in words])
        except SystemExit as left:
            assert left.code == (0 if "--help" in words else 2), words
        out, err = capsys.readouterr()
        assert not set("\x1b\x07\r\u202e") & set(out + err), words
    page = (run / "report.html").read_text()
    assert "owned" in page and "&lt;script&gt;" in page
    assert page.count(OURS) == 1
    page = page.replace(f"<script>{OURS}</script>", "")
    assert "<script" not in page and "<img src=x" not in page and "\x1b" not in page


def test_the_words_of_a_data_set_are_cleaned_wherever_they_are_printed(tmp_path, capsys):
    name = EVIL.replace("/", "")
    for i in range(4):
        folder = tmp_path / "data" / (f"{i % 2}" + name)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16, 3), 60 * i, np.uint8)).save(folder / f"{i}{name}.png")
    (tmp_path / "data" / ("note" + name)).write_text("no picture")
    cli.main(["data", str(tmp_path / "data"), "--sheet", str(tmp_path / "sheet.png")])
    options = dict(
        data=str(tmp_path / "data"), images=8, batch=4, preview=0, save=8, log=4, device="cpu", preset="small", width=8
    )
    run = training.train("dcgan", outdir=tmp_path / "runs", **options)
    cli.main(["report", str(run.folder)])
    with pytest.raises(SystemExit):
        cli.main(["train", "cgan" + name])
    out, err = capsys.readouterr()
    assert "owned" in out + err and not set("\x1b\x07\r\u202e") & set(out + err)
    page = report.write(run.folder).read_text()
    assert "<script" not in page and "\x1b" not in page
