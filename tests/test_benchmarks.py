"""Each benchmark shows its help, and the one of speed compares the same losses."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

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


@pytest.mark.parametrize("model", ["dcgan", "pggan"])
def test_the_plain_step_has_the_first_loss_of_gankit_s(model, imported):
    speed = imported("speed")
    options = argparse.Namespace(model=model, preset="small", data="digits", resolution="", batch=4, threads=1)
    losses = [speed.Bench(kind, options).first_loss() for kind in (speed.Run, speed.Plain)]
    assert losses[0] == pytest.approx(losses[1], rel=speed.TOLERANCE["fp32"])
