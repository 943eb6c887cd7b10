"""Rules of the house that can be tested: who imports whom, what importing costs, and that nothing is ever unpickled."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1] / "gankit"
FILES = sorted(HOUSE.rglob("*.py"))
LIBRARY = {"torch", "numpy", "PIL", "scipy", "sklearn", "safetensors", "rich", "tyro", "skimage"}
TORCH = {"torch"}
# Part of the house: which parts of gankit, and which packages outside the standard library, it may import.
ANYWHERE = {"text"}  # the lowest room: text for terminals and pages
MAY = {
    "text": (set(), {"rich"}),
    "schema": (set(), set()),
    "writer": (set(), set()),
    "build": ({"recipe"}, TORCH),
    "recipe": (set(), TORCH),
    "losses": ({"nn"}, TORCH),
    "penalties": ({"nn"}, TORCH),
    "nn": ({"nn"}, TORCH),
    "latent": ({"latent", "nn", "recipe"}, TORCH),
    "augment": ({"nn", "recipe"}, TORCH),
    "weights": (set(), {"torch", "safetensors"}),
    "models": ({"recipe", "nn", "losses", "penalties", "augment", "latent", "weights"}, TORCH),
    "data": ({"data"}, {"torch", "numpy", "PIL", "sklearn", "skimage", "rich"}),
    "metrics": ({"metrics", "nn", "weights"}, {"torch", "numpy", "scipy", "sklearn", "safetensors"}),
    "evaluation": (
        {
            "evaluation",
            "metrics",
            "weights",
            "data",
            "recipe",
            "latent",
            "checkpoint",
            "pictures",
            "processes",
            "report",
            "schema",
        },
        {"torch", "numpy", "PIL", "safetensors", "rich"},
    ),
    "explore": (
        {"explore", "latent", "pictures", "data", "metrics", "evaluation", "checkpoint", "recipe"},
        {"torch", "numpy", "PIL", "sklearn"},
    ),
    "exchange": (
        {
            "exchange",
            "evaluation",
            "metrics",
            "weights",
            "latent",
            "loop",
            "models",
            "pictures",
            "checkpoint",
            "recipe",
        },
        {"torch", "numpy", "safetensors", "onnxruntime"},
    ),
    "anomaly": (
        {"anomaly", "data", "metrics", "recipe", "loop", "checkpoint", "latent", "pictures", "report"},
        {"torch", "numpy", "PIL", "sklearn"},
    ),
    "translation": (
        {"translation", "models", "nn", "data", "latent", "checkpoint", "pictures", "recipe"},
        {"torch", "numpy", "PIL", "rich", "cv2"},
    ),
    "processes": ({"nn"}, TORCH),
}
# Modules that can build any object from bytes. The reader of published checkpoints takes pickles apart as data instead:
# pickletools only names a pickle's instructions, and one file alone may look at them.
UNPICKLERS = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "copyreg"}
READER = HOUSE / "exchange" / "unpickle.py"


# Layers of torch that see one process's rows, or draw without a position; gankit.nn has others under these names.
TORCH_ALONE = re.compile(
    r"\b(nn\.(BatchNorm|SyncBatchNorm|Dropout|AlphaDropout|FeatureAlphaDropout|RReLU)|F\.(dropout|batch_norm|rrelu))"
)


def imports(path: Path) -> tuple[set[str], set[str]]:
    """The parts of gankit and the outside packages that a file imports when it runs (not for type checks)."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    inside, outside = set(), set()
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: write imports in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            top, *rest = name.split(".")
            if top == "gankit":
                inside.add(rest[0] if rest else "")
            elif top not in sys.stdlib_module_names:
                outside.add(top)
    return inside, outside


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.parent.name in ("models", "nn")], ids=lambda p: str(p.relative_to(HOUSE))
)
def test_layers_that_see_one_process_alone_are_not_torch_s(path):
    named = {found[1] for found in TORCH_ALONE.finditer(path.read_text())}
    assert named == {"norm.py": {"nn.BatchNorm"}, "dropout.py": {"nn.Dropout"}}.get(path.name, set()), (
        "take gankit.nn's in place"
    )


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_imports_follow_the_house(path):
    part = path.relative_to(HOUSE).parts[0].removesuffix(".py")
    inside, outside = imports(path)
    if part == "models" and path.stem == "__init__":
        return  # it finds models by name, and is none
    if part in MAY:
        allowed_inside, allowed_outside = MAY[part]
        inside -= ANYWHERE
        assert inside <= allowed_inside, f"{path.name} imports gankit.{inside - allowed_inside}"
        assert outside <= allowed_outside, f"{path.name} imports {outside - allowed_outside}"
    assert outside <= LIBRARY | {"tensorboard", "onnxruntime", "cv2"}
    if part not in ("cli", "web", "lab", "__main__"):
        assert not inside & {"cli", "web", "lab"}, "nothing imports the commands"
        assert part == "explore" or "explore" not in inside, "only the commands import the tools"


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
    assert "pickletools" not in imported or path == READER
    named = {
        getattr(node, "attr", getattr(node, "id", ""))
        for node in ast.walk(tree)
        if isinstance(node, (ast.Attribute, ast.Name))
    }
    assert not named & {"Unpickler", "_Unpickler", "find_class", "persistent_load", "pickle_module"}


def test_the_reader_of_checkpoints_can_call_nothing_of_a_files():
    """It looks nothing up by a file's name but in its own table, and has no way to."""
    tree = ast.parse(READER.read_text())
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
    inside, outside = imports(READER)
    assert not inside and outside <= {"torch", "numpy", "safetensors"}
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
