"""Rules of the house that can be tested: who imports whom, what importing costs, and that nothing is ever unpickled."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from gankit import models
from gankit.recipe import Abilities, can

HOUSE = Path(__file__).parents[1] / "gankit"
FILES = sorted(HOUSE.rglob("*.py"))
TORCH = {"torch"}
TOOLS = {"exchange", "anomaly", "translation", "explore"}  # what is done with a trained model: never each other
WRITING = {"text", "html", "disk", "runs.schema", "runs.lock", "runs.files"}  # what every room may write files with
CORE = WRITING | {
    "declaration", "delayed", "syntax", "nn", "losses", "penalties", "recipe", "augment", "weights", "build",
    "processes", "latent", "models",
}  # fmt: skip
DATA = WRITING | {"data", "pictures", "metrics"}
# Each part of the house, lowest first: the parts of gankit, all above it in this table, and the packages outside the
# standard library that it may import. Imports inside functions and for type checks count.
LAYERS: dict[str, tuple[set[str], set[str]]] = {
    "delayed": (set(), set()),
    "syntax": ({"delayed"}, set()),
    "text": (set(), {"rich", "IPython"}),
    "html": ({"text"}, set()),
    "nn": (set(), TORCH),
    "losses": ({"nn"}, TORCH),
    "penalties": ({"nn"}, TORCH),
    "declaration": (set(), TORCH),
    "recipe": ({"declaration"}, TORCH),
    "augment": ({"text", "nn", "recipe"}, TORCH),
    "disk": (set(), set()),
    "downloads": ({"text", "disk"}, set()),
    "weights": ({"text", "downloads"}, {"torch", "safetensors"}),
    "processes": ({"nn"}, TORCH),
    "build": ({"declaration", "nn", "recipe", "text"}, TORCH),
    "latent": ({"nn", "recipe"}, TORCH),
    "models": (
        {"syntax", "text", "declaration", "recipe", "nn", "losses", "penalties", "augment", "latent", "weights"},
        TORCH,
    ),
    "data": (
        {"delayed", "text", "html", "disk", "downloads"},
        {
            "torch",
            "numpy",
            "scipy",
            "PIL",
            "sklearn",
            "skimage",
            "pillow_heif",
            "pydicom",
            "nibabel",
            "pyarrow",
            "datasets",
            "huggingface_hub",
        },
    ),
    "metrics": ({"text", "nn", "weights"}, {"torch", "numpy", "scipy", "sklearn", "safetensors"}),
    "runs.schema": (set(), set()),
    "runs.lock": (set(), set()),
    "runs.files": ({"text", "runs.schema", "runs.lock"}, {"torch", "safetensors"}),
    "pictures": (WRITING | {"data"}, {"torch", "numpy", "PIL"}),
    "runs": (CORE | {"data", "pictures"}, {"torch", "numpy", "safetensors"}),
    "evaluation": (CORE | DATA | {"runs"}, {"torch", "numpy", "PIL", "safetensors"}),
    "report": (WRITING | {"runs", "evaluation", "pictures"}, set()),
    "training": (CORE | DATA | {"runs", "evaluation", "report"}, {"torch", "numpy", "tensorboard"}),
    "choosing": (CORE | DATA | {"runs", "evaluation", "report", "training"}, TORCH),
    "ledger": ({"models"}, set()),
    **{
        tool: (CORE | DATA | {"runs", "evaluation", "report", "training"}, outside)
        for tool, outside in {
            "exchange": {"torch", "numpy", "safetensors", "onnxruntime"},
            "anomaly": {"torch", "numpy", "PIL", "sklearn"},
            "translation": {"torch", "numpy", "PIL", "cv2"},
            "explore": {"torch", "numpy", "PIL", "sklearn"},
        }.items()
    },
    "lab": (
        CORE | DATA | TOOLS | {"runs", "evaluation", "report", "training", "choosing"},
        {"torch", "numpy", "PIL", "matplotlib"},
    ),
    "cli": (
        CORE | DATA | TOOLS | {"runs", "evaluation", "report", "training", "ledger", "choosing", "lab"},
        {"rich", "tyro", "numpy", "torch"},
    ),
}
# Modules that can build any object from bytes. Pickles are taken apart as data instead: pickletools only names their
# instructions, and one file alone may look at them. The reader of published checkpoints adds tensors to it.
UNPICKLERS = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "copyreg"}
MACHINE = HOUSE / "data" / "reading" / "formats" / "pickles.py"
READER = HOUSE / "exchange" / "unpickle.py"


# Layers of torch that see one process's rows, or draw without a position; gankit.nn has others under these names.
TORCH_ALONE = re.compile(
    r"\b(nn\.(BatchNorm|SyncBatchNorm|Dropout|AlphaDropout|FeatureAlphaDropout|RReLU)|F\.(dropout|batch_norm|rrelu))"
)


def imports(path: Path) -> tuple[set[str], set[str]]:
    """The modules of gankit, without `gankit.`, and the outside packages that a file imports, wherever it does."""
    inside, outside = set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: write imports in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            top, *rest = name.split(".")
            if top == "gankit":
                inside.add(".".join(rest))
            elif top not in sys.stdlib_module_names:
                outside.add(top)
    return inside - {""}, outside


def part_of(module: str) -> str:
    """The row of LAYERS for a module, the longest that fits: "runs.files" for runs.files.replacing."""
    names = module.split(".")
    return next((row for n in (2, 1) if (row := ".".join(names[:n])) in LAYERS), names[0])


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.parent.name in ("models", "nn")], ids=lambda p: str(p.relative_to(HOUSE))
)
def test_layers_that_see_one_process_alone_are_not_torch_s(path):
    named = {found[1] for found in TORCH_ALONE.finditer(path.read_text())}
    assert named == {"norm.py": {"nn.BatchNorm"}, "dropout.py": {"nn.Dropout"}}.get(path.name, set()), (
        "take gankit.nn's in place"
    )


def test_the_table_of_layers_has_a_row_for_each_part_and_no_circle():
    parts = {path.relative_to(HOUSE).parts[0].removesuffix(".py") for path in FILES} - {"__init__", "__main__"}
    assert parts == {row.split(".")[0] for row in LAYERS}
    above: set[str] = set()
    for row, (inside, _) in LAYERS.items():
        assert inside <= above, f"{row} may import {inside - above}, which stands below it in the table"
        above.add(row)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_imports_follow_the_table_of_layers(path):
    module = ".".join(path.relative_to(HOUSE).with_suffix("").parts)
    if module in ("__init__", "__main__"):  # the public names, and the command
        return
    inside, outside = imports(path)
    part = part_of(module)
    used = {part_of(name) for name in inside} - {part}
    assert used <= LAYERS[part][0], f"{path.name} imports {used - LAYERS[part][0]}"
    assert outside <= LAYERS[part][1], f"{path.name} imports {outside - LAYERS[part][1]}"
    if part == "models" and path.stem != "__init__":  # which finds models by name
        assert not any(name.startswith("models") for name in inside), "models do not import each other"


# Rooms whose files are named after something elsewhere: a command, a model, the mathematics of a metric.
MIRRORS = {"cli", "exchange", "families"}
FILES_OF_TWO = {"files"}  # the user's files, in data/reading, and those of a run folder, in runs


def test_no_two_files_have_one_name():
    stems = Counter(path.stem for path in FILES if path.parent.name not in MIRRORS and path.stem != "__init__")
    assert {stem for stem, count in stems.items() if count > 1} == FILES_OF_TWO


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_files_and_functions_stay_short_or_say_why(path):
    text = path.read_text()
    lines = text.splitlines()
    assert len(lines) <= 400 or "The file is long because" in "\n".join(lines[:40]), f"{len(lines)} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= 60:
            about = " ".join((ast.get_docstring(node) or "").split())
            assert "The function is long because" in about, f"{path.name}:{node.lineno} {node.name}"


def test_a_picture_is_written_without_a_model_and_models_are_imported_without_slow_packages():
    code = "import gankit.pictures, sys; print(*(m for m in sys.modules if m.startswith('gankit.')))\n"
    code += "import gankit.metrics; from gankit import models; [models.find(name) for name in models.names()]\n"
    code += "assert not {'torch._dynamo', 'scipy', 'sklearn', 'pandas', 'pyarrow'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=HOUSE.parent)
    assert done.returncode == 0, done.stderr
    parts = {part_of(name.removeprefix("gankit.")) for name in done.stdout.split()}
    assert parts <= {
        "data",
        "delayed",
        "downloads",
        "html",
        "pictures",
        "text",
        "runs",
        "runs.files",
        "runs.lock",
        "runs.schema",
    }, parts


@pytest.mark.parametrize("words", [["-c", "import gankit"], ["-m", "gankit", "--help"]])
def test_importing_and_help_do_not_import_torch(words):
    code = "import sys, runpy; sys.argv = ['gankit', '--help']; " if words[0] == "-m" else ""
    run = "runpy.run_module('gankit', run_name='__main__')" if words[0] == "-m" else words[1]
    done = subprocess.run(
        [sys.executable, "-c", f"{code}{run}; import sys; assert not {{'torch', 'numpy', 'tyro'}} & set(sys.modules)"],
        capture_output=True, text=True, cwd=HOUSE.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_nothing_is_ever_unpickled(path):
    text = path.read_text()
    assert not re.search(r"pickle\.load|allow_pickle\s*=\s*True|weights_only\s*=\s*False", text)
    loads = re.findall(
        r"torch\.load\(.*", text
    )  # published weights, of a known hash, by the loader that builds tensors only
    assert all("weights_only=True" in call for call in loads) and (not loads or path.name == "weights.py")
    tree = ast.parse(text)
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    assert not {name.split(".")[0] for name in imported} & UNPICKLERS
    assert "pickletools" not in imported or path == MACHINE
    named = {
        getattr(node, "attr", getattr(node, "id", ""))
        for node in ast.walk(tree)
        if isinstance(node, (ast.Attribute, ast.Name))
    }
    assert not named & {"Unpickler", "_Unpickler", "find_class", "persistent_load", "pickle_module"}


@pytest.mark.parametrize("path", [MACHINE, READER], ids=lambda p: p.name)
def test_the_readers_of_pickles_can_call_nothing_of_a_files(path):
    """They look nothing up by a file's name but in their own tables, and have no way to."""
    tree = ast.parse(path.read_text())
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not called & {
        "eval",
        "exec",
        "compile",
        "__import__",
        "getattr",
        "setattr",
        "vars",
        "globals",
        "locals",
        "delattr",
    }
    inside, outside = imports(path)
    home = "data.reading.formats.pickles"
    assert all(name.startswith(home) for name in inside) and (path == READER or not inside)
    assert outside <= ({"torch", "numpy", "safetensors"} if path == READER else set())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not names & {"importlib", "sys", "os", "subprocess", "builtins", "types"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_every_signature_has_its_types(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            named = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            bare = [a.arg for a in named if a.annotation is None and a.arg not in ("self", "cls")]
            assert not bare and (node.returns or node.name == "__init__"), (
                f"{path.name}:{node.lineno} {node.name}({bare})"
            )


# What recipes are asked for by name: each file but the models'.
ABILITIES = {name for name in vars(Abilities) if not name.startswith("_")}
ASKING = [path for path in FILES if path.relative_to(HOUSE).parts[0] not in ("models", "nn")]


def asked(path: Path) -> tuple[set[str], set[str]]:
    """The names that a file looks for on a recipe: by `can`, and by getattr or hasattr with a literal."""
    by_can, by_hand = set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or len(node.args) < 2 or not isinstance(node.args[1], ast.Constant):
            continue
        function, target, name = ast.unparse(node.func), ast.unparse(node.args[0]), node.args[1].value
        if function == "can":
            by_can.add(name)
        elif (
            function in ("hasattr", "getattr")
            and re.search(r"recipe(\(.*\))?$|^kind$", target)
            and path.parent.name != "cli"
        ):
            by_hand.add(name)
    return by_can, by_hand


@pytest.mark.parametrize("path", ASKING, ids=lambda p: str(p.relative_to(HOUSE)))
def test_what_a_part_looks_for_on_a_recipe_is_stated_in_the_protocol(path):
    by_can, by_hand = asked(path)
    assert by_can <= ABILITIES, f"{path.name} asks for {by_can - ABILITIES}; state it in gankit.recipe.Abilities"
    assert not by_hand, f"{path.name} looks for {by_hand}: ask with `can`, or give Recipe the attribute with a default"


def test_each_ability_is_looked_for_and_has_a_model():
    text = "\n".join(path.read_text() for path in ASKING)
    for ability in ABILITIES:
        assert re.search(rf'"{ability}"|\.{ability}\(', text), f"nothing asks for {ability}: delete it from Abilities"
        assert any(can(models.find(name), ability) for name in models.names()), f"no model has {ability}"


def test_an_ability_that_is_not_stated_is_an_error():
    with pytest.raises(AttributeError, match="state it in gankit.recipe.Abilities"):
        can(models.find("dcgan"), "fly")


def test_each_promise_of_the_readme_names_a_test_that_is_there():
    """All but the last, which is about the documentation, name tests by file and name."""
    text = (HOUSE.parent / "README.md").read_text()
    promises = text.split("## What you can rely on")[1].split("\n## ")[0].split("\n- **")[1:]
    assert len(promises) >= 8
    for promise in promises[:-1]:
        named = re.findall(r"`(tests/\w+\.py)::(\w+)`", promise)
        assert named, promise.splitlines()[0]
        for file, name in named:
            assert f"def {name}(" in (HOUSE.parent / file).read_text(), f"{file}::{name} is not there"
