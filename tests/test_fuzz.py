"""Damaged files and odd flags: every command ends with a result or one line. `benchmarks/fuzz.py` runs longer."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import fuzz

INPUTS = {
    "config": 350,
    "stats": 200,
    "evaluations": 350,
    "spectrum": 200,
    "weights": 400,
    "state": 250,
    "samples": 150,
    "vectors": 150,
}  # 2,050 in all


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fuzz.start(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("name", fuzz.DOORS)
def test_a_changed_file_ends_with_a_result_or_one_line(run, name):
    door = fuzz.DOORS[name]
    whole = (run / door.file).read_bytes()
    assert not fuzz.attempt(run, door, whole), "the file as it was written is refused"

    @settings(
        max_examples=INPUTS[name],
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**32))
    def attempt(seed: int) -> None:
        assert not (wrong := fuzz.attempt(run, door, door.mutate(random.Random(seed), whole))), wrong

    attempt()


def test_odd_words_on_the_command_line_end_with_a_result_or_one_line(run, tmp_path, monkeypatch):
    """Nothing is written to the working directory, whatever the flags name."""
    monkeypatch.chdir(tmp_path)
    flags = {name: fuzz.flags_of(words, run) for name, words in fuzz.LINES.items()}
    assert all(flags[name] for name in ("train", "sample", "evaluate", "drop"))
    for seed in range(150):
        words, wrong = fuzz.attempt_words(run, random.Random(seed), flags)
        assert not wrong, f"gankit {' '.join(words)}: {wrong}"
        assert not list(tmp_path.iterdir()), words


def test_the_mutations_reach_what_they_attack(run):
    """Most changed configs are still JSON, some are still taken: else the fuzz would stop at the first check."""
    from gankit.runs import schema
    from gankit.runs.config import read_config

    whole, taken, parsed = (run / "config.json").read_bytes(), 0, 0
    for seed in range(200):
        changed = fuzz.DOORS["config"].mutate(random.Random(seed), whole)
        try:
            tree = schema.parse(changed.decode(), schema.ANY)
            parsed += 1
            schema.check(tree, schema.CONFIG)
            taken += 1
        except ValueError:
            continue
    assert parsed > 100 and 20 < taken < 180
    assert read_config(run)


def test_a_fault_is_found(run, monkeypatch):
    """The attempt sees exceptions, control characters and foreign tags, and puts the files back."""
    from gankit import text

    door, whole = fuzz.DOORS["config"], (run / "config.json").read_bytes()
    monkeypatch.setattr("gankit.report.run_page.summary", lambda *_: {}["missing"])
    assert "KeyError" in fuzz.attempt(run, door, whole)
    monkeypatch.undo()
    named = whole.replace(b'"preset": "small"', b'"preset": "%s"' % fuzz.SCRIPT.encode())
    monkeypatch.setattr("gankit.html.escaped", str)
    assert "foreign tag" in fuzz.attempt(run, door, named)
    monkeypatch.undo()
    owned = whole.replace(b'"own": ""', b'"own": "\\u001b[31m"')
    assert owned != whole and not fuzz.attempt(run, door, owned)
    monkeypatch.setattr(text, "clean", str), monkeypatch.setattr("gankit.runs.config.shown", str)
    assert "control characters" in fuzz.attempt(run, door, owned)
    assert (run / "config.json").read_bytes() == whole
