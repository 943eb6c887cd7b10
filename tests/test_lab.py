"""The lab: every experiment shows at a small size what its page says, and its files, flags and refusals work."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from gankit import cli, lab
from gankit.lab.claims import FOLDER
from gankit.lab.evidence import VERDICTS, Check, Evidence, near

NAMES = list(lab.entries())
# Parameters with which an experiment takes seconds, and the verdict that it has then; {} is its documented run.
QUICK: dict[str, tuple[dict[str, object], str]] = {
    "augmentation-leaks": ({"rates": (0.0, 1.0), "steps": 400}, "shown"),
    "averaging": ({"steps": 750}, "shown"),
    "batch-norm-coupling": ({"steps": 150}, "shown"),
    "bilinear-game": ({}, "shown"),
    "blur": ({"steps": 300}, "shown"),
    "checkerboard": ({"draws": 4}, "shown"),
    "collapsed-batch": ({}, "shown"),
    "density-ratio": ({"steps": 250}, "shown"),
    "dirac-gan": ({}, "shown"),
    "equalised-rates": ({"sizes": (8, 128, 1024, 32, 128), "steps": 30}, "shown"),
    "frechet-distance": ({}, "shown"),
    "gan-figure-1": ({"steps": 300, "frames": 4}, "shown"),
    "gaussians": ({"distances": 3}, "shown"),
    "inception-score": ({"samples": 300}, "shown"),
    "lipschitz": ({"passes": 40, "steps": 150}, "shown"),
    "loss-and-quality": ({"steps": 72, "samples": 200}, "shown"),
    "memorisation": ({"splits": 8, "samples": 400}, "shown"),
    "mode-collapse": ({"methods": ("plain", "r1"), "steps": 400}, "shown"),
    "norms": ({"side": 64}, "shown"),
    "parallel-lines": ({"thetas": (0.0, 0.5), "steps": 400}, "shown"),
    "pixel-norm": ({"steps": 50}, "shown in part"),
    "precision-recall": ({}, "shown"),
    "receptive-fields": ({"patches": (1, 16, 70), "side": 134}, "shown"),
    "slerp": ({"dims": (2, 128), "images": 1500, "pairs": 500}, "shown"),
    "texture-sticking": ({}, "shown"),
    "transport": ({}, "shown"),
    "truncation": ({}, "shown"),
    "two-time-scales": ({"steps": 200}, "shown"),
    "vae-plane": ({"betas": (0.01, 1.0, 30.0), "steps": 400}, "shown"),
    "vanishing-gradients": ({"steps": 120}, "shown"),
    "weight-clipping": ({"steps": 120}, "shown"),
    "where-attention-looks": ({}, "shown"),
}


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_shows_what_it_claims(name, tmp_path):
    parameters, verdict = QUICK[name]
    evidence = lab.run(name, **parameters)
    assert evidence.verdict == verdict, evidence.checks
    paths = evidence.write(tmp_path)
    assert {path.suffix for path in paths} >= {".png", ".json", ".html"}
    record = json.loads((tmp_path / f"{name}.json").read_text())
    assert record["verdict"] == verdict and len(record["checks"]) == len(evidence.checks)
    page = (tmp_path / f"{name}.html").read_text()
    assert not re.search(r"(src|href)=['\"]?(https?:|//)", page), "the page asks for nothing outside"
    assert lab.find(name).claim.split()[0] in page and evidence.command.replace("'", "&#x27;") in page
    picture = Image.open(tmp_path / f"{name}.png")
    assert picture.width >= 300 and len(picture.convert("L").getcolors(256) or [0] * 257) > 8, "something is drawn"
    assert bool(evidence.frames) == (tmp_path / f"{name}.webp").exists()


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_explains_itself_in_one_short_file(name):
    path = FOLDER / f"{name.replace('-', '_')}.py"
    entry = lab.find(name)
    assert len(path.read_text().splitlines()) <= 120
    assert entry.claim.endswith(".") and len(entry.claim) <= 160 and "\n\n" in entry.text
    assert "Control: " in entry.text, "say what happens when the cause is taken away"
    assert entry.source and 0 < entry.seconds <= 60
    assert {"Args:", "Raises:"} & set((entry.experiment.__doc__ or "").split()), "its parameters are described"


def test_checks_hold_inside_their_range_and_give_the_verdict():
    holds, fails = Check("a", 1.0, 0.5), near("b", 2.0, 1.0, 0.5)
    assert holds.holds and not fails.holds
    assert str(holds) == "a: 1, expected at least 0.5" and str(fails) == "b: 2, expected 1 ± 0.5"
    assert not Check("c", float("nan"), 0, 1).holds
    picture = Image.new("RGB", (8, 8))
    verdicts = [Evidence(checks, picture, "").verdict for checks in ([fails], [fails, holds], [holds])]
    assert tuple(verdicts) == VERDICTS


def test_the_list_needs_neither_torch_nor_matplotlib():
    code = (
        "import sys; from gankit.cli import main; main(['lab']);"
        "print(sorted({'torch', 'matplotlib', 'numpy'} & {*sys.modules}))"
    )
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert text.splitlines()[-1] == "[]"
    assert all(re.search(rf"^{name}  \(\d+ s\)$", text, re.M) for name in NAMES)


def test_the_command_writes_the_files_and_says_the_verdict(capsys, tmp_path):
    cli.main(["lab", "bilinear-game", "--h", "0.2", "--steps", "200", "-o", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert "verdict: shown" in lines and lines[-1] == str(tmp_path / "bilinear-game.html")
    assert json.loads((tmp_path / "bilinear-game.json").read_text())["parameters"]["h"] == 0.2
    assert "gankit lab bilinear-game --h 0.2 --steps 200" in Path(lines[-1]).read_text()


def test_all_experiments_run_with_one_word(monkeypatch, capsys, tmp_path):
    two = {name: entry for name, entry in lab.entries().items() if name in ("bilinear-game", "norms")}
    monkeypatch.setattr("gankit.lab.claims.entries", lambda: two)
    cli.main(["lab", "all", "-o", str(tmp_path)])
    assert capsys.readouterr().out.count("verdict: ") == 2
    assert {path.stem for path in tmp_path.iterdir()} == set(two)


@pytest.mark.parametrize(
    "words, said",
    [
        (["bilinear-gam"], "did you mean bilinear-game?"),
        (["bilinear-game", "--h", "2"], "theory holds for 0 < h < 1"),
        (["parallel-lines", "--thetas", "7"], "they go from -1.4 to 1.4"),
    ],
)
def test_wrong_words_are_refused_in_words(words, said, capsys, tmp_path):
    with pytest.raises(SystemExit) as left:
        cli.main(["lab", *words, "-o", str(tmp_path)])
    assert left.value.code == 2 and said in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_a_parameter_that_is_none_is_named():
    with pytest.raises(ValueError, match="did you mean steps"):
        lab.run("bilinear-game", step=3)
