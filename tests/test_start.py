"""What is read from a model's source is what its class says, and commands that compute nothing do not import torch."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

from gankit import cli, explore, models, training
from gankit.cli.explore import flags_of
from gankit.declaration import Declaration
from gankit.recipe import Recipe
from gankit.training.settings import plan

# Command lines that print or refuse something, and compute nothing.
LINES = (
    *(f"{name} --help" for name in ("", *cli.COMMANDS)),
    "--version", "trian", "models", "models --json", "models --bad", "show", "show dcgan", "show dcgam",
    "show gan --bad", "show pix2pix --ledger", "show pix2pix --json", "train", "train dcgan --help",
    "train stylegan2 --preset small --help", "train dcgam", "train dcgan --preset smal", "train dcgan --widht 3",
    "train dcgan --batch many", "train dcgan --lr-g -1", "train auto --help", "train auto --preset small", "data list",
    "data get --help", "explore", "explore nothing", "explore nothing trunc", "explore nothing sefa --help",
    "explore nothing sefa --bad", "explore nothing sefa", "sample nothing --bad", "translate nothing",
    "evaluate nothing --n many",
    *(f"{name} nothing" for name in ("resume", "sample", "interpolate", "evaluate", "report", "export")),
    *(f"{name} nothing pictures" for name in ("score", "translate")),
)  # fmt: skip
LIGHT = """
import contextlib, io, json, shlex, sys
from gankit import cli

for line in json.loads(sys.argv[1]):
    text = io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        cli.main(shlex.split(line))
    if not text.getvalue() or {"torch", "numpy"} & set(sys.modules):
        sys.exit(f"gankit {line}: {text.getvalue()}")
"""
SAMPLE = """
import sys
from gankit import cli

cli.main(["sample", "latest", "--n", "4", "--output", "grid.png"])
print(*sys.modules)
"""
BUILT = """
import sys
from gankit import build, data, models
from gankit.training.settings import plan
from gankit.training.setup import spec_of

for name in models.names():
    kind = models.find(name)
    want = kind.data.split()[0]
    settings, arguments = plan(kind, "small" if "small" in kind.presets else "paper", {})
    toy = settings.data or {"points": "ring", "domains": "digits-negative"}.get(want, "digits")
    build.outline(kind, spec_of(data.open(toy, settings.resolution or None, want=want)), arguments)
    if "torch._dynamo" in sys.modules:
        sys.exit(name)
"""


def printed(code: str, folder: Path, *words: str) -> str:
    """What a program prints that is run in a folder by a new Python."""
    start = f"import sys; sys.path.insert(0, {str(Path(cli.__file__).parents[2])!r})\n"
    done = subprocess.run([sys.executable, "-c", start + code, *words], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_commands_that_compute_nothing_do_not_import_torch(tmp_path):
    printed(LIGHT, tmp_path, json.dumps(LINES))


def test_sampling_imports_nothing_large_but_torch(tmp_path):
    options = dict(data="digits", preset="small", images=16, batch=8, preview=0, quiet=True)
    training.train("dcgan", outdir=tmp_path / "runs", **options)
    modules = set(printed(SAMPLE, tmp_path).split())
    unused = {"torch._dynamo", "scipy", "sklearn", "matplotlib", "rich", "gankit.evaluation", "gankit.training"}
    assert "torch" in modules and not unused & modules


def test_a_model_without_memory_is_built_without_torch_s_compiler(tmp_path):
    printed(BUILT, tmp_path)


def test_a_tool_s_source_declares_what_its_function_has():
    for name, tool in explore.TOOLS.items():
        declared, kind = explore.declared()[name], flags_of(tool)
        assert declared.__doc__ == tool.__doc__ and inspect.signature(declared) == inspect.signature(tool)
        assert get_type_hints(flags_of(declared), include_extras=True) == get_type_hints(kind, include_extras=True)
        assert flags_of(declared)() == kind() or vars(flags_of(declared)()) == vars(kind())


@pytest.mark.parametrize("name", models.names())
def test_a_model_s_source_declares_what_its_class_has(name):
    kind, declared = models.find(name), models.declared(name)
    assert issubclass(declared, Declaration) and not issubclass(declared, Recipe)
    for stated in [*vars(Declaration), "__name__", "__doc__"]:
        if stated not in ("__dict__", "__weakref__", "abilities"):
            assert getattr(declared, stated) == getattr(kind, stated), stated
    assert declared.abilities() == kind.abilities()
    assert inspect.signature(declared.__init__) == inspect.signature(kind.__init__)
    assert get_type_hints(declared.__init__) == get_type_hints(kind.__init__)
    assert models.docstring(name) == inspect.getdoc(sys.modules[kind.__module__])
    assert models.recipe_of(declared) is models.recipe_of(kind) is kind
    for preset in ("", *kind.presets):
        assert plan(declared, preset, {}) == plan(kind, preset, {})


@pytest.mark.parametrize(
    "line", ["models", "models --json", *(line for m in models.names() for line in (f"show {m}", f"train {m} --help"))]
)
def test_the_text_from_the_source_is_the_text_from_the_class(line, monkeypatch, capsys):
    def text() -> str:
        try:
            cli.main(line.split())
        except SystemExit as done:
            assert not done.code
        return capsys.readouterr().out

    from_source = text()
    monkeypatch.setattr(models, "declared", models.find)
    assert from_source and text() == from_source
