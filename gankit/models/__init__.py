"""One file per paper: the file's name is the model's name, and the one Recipe in it is the model."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from gankit.declaration import Declaration, Images, Preset, Spec
from gankit.syntax import execute, parsed
from gankit.text import did_you_mean

if TYPE_CHECKING:
    from gankit.recipe import Recipe

CITATION = re.compile(
    r'^(?P<name>[\w-]+)\. (?P<authors>.+?), "(?P<title>.+?)", (?P<venue>.+?) (?P<year>\d{4})\. (?P<url>https?://\S+)'
)


class Paper(NamedTuple):
    """The citation in the first lines of a model's file."""

    name: str
    authors: str
    title: str
    venue: str
    year: str
    url: str


def names() -> list[str]:
    """Names of gankit's models, sorted."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def docstring(name: str) -> str:
    """The docstring of a model's file, given as for `find`, which is not executed."""
    return ast.get_docstring(parsed(file(name))) or ""


def paper(name: str) -> Paper:
    """The paper of a model, read from the docstring of its file without importing it."""
    citation = CITATION.match(" ".join(docstring(name).split()))
    if not citation:
        raise ValueError(f'models/{name}.py must begin with """NAME. Authors, "Title", Venue Year. URL')
    return Paper(**citation.groupdict())


def find(name: str) -> type[Recipe]:
    """The Recipe of a model, by its name or by the path of a Python file, which is then executed.

    Raises:
        ValueError: the model is unknown, or the file does not define exactly one Recipe.
    """
    path = file(name)
    if not name.endswith(".py"):
        return _only_recipe(importlib.import_module(f"gankit.models.{path.stem}"), name)
    spec = importlib.util.spec_from_file_location(f"gankit_model_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return _only_recipe(module, name)


def file(name: str) -> Path:
    """The file of a model, given as for `find`. Raises ValueError: the model is unknown."""
    if name.endswith(".py"):
        if not Path(name).is_file():
            raise ValueError(f"there is no file {name}")
        return Path(name)
    plain = name.lower().replace("-", "_")
    if plain not in names():
        hint = did_you_mean(plain, names(), 2) or f"there are {', '.join(names())}."
        raise ValueError(f"no model {name!r}; {hint} For a model of your own give its file: ./my_gan.py")
    return Path(__file__).parent / f"{plain}.py"


def declared(name: str) -> type[Declaration]:
    """What a model declares, given as for `find`. gankit's models are read from their source, without torch.

    The class has the attributes, signatures and docstrings of the model's Recipe, but for class attributes that need
    another module of gankit, such as `nearest`; its methods cannot be called. A user's own file is executed.

    Raises:
        ValueError: as `find`.
    """
    if name.endswith(".py"):
        return find(name)
    path = file(name)
    module = f"gankit.models.{path.stem}"
    space: dict[str, object] = {"__name__": module, "Images": Images, "Preset": Preset, "Spec": Spec}
    for statement in parsed(path).body:
        if isinstance(statement, ast.ClassDef) and [ast.unparse(base) for base in statement.bases] == ["Recipe"]:
            inside: dict[str, object] = {"__module__": module, "__doc__": ast.get_docstring(statement, clean=False)}
            for line in statement.body:
                execute(line, space, inside)
            return type(statement.name, (Declaration,), inside)
        if not isinstance(statement, ast.ClassDef):  # networks
            execute(statement, space)
    raise ValueError(f"{path} must define one Recipe")


def _only_recipe(module: ModuleType, name: str) -> type[Recipe]:
    """The one Recipe that a module defines."""
    from gankit.recipe import Recipe

    recipes = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Recipe) and value.__module__ == module.__name__
    ]
    if len(recipes) != 1:
        raise ValueError(f"{name} must define one Recipe; it defines {len(recipes)}")
    return recipes[0]


def recipe_of(kind: type[Declaration]) -> type[Recipe]:
    """The Recipe of what `declared` returns."""
    from gankit.recipe import Recipe

    return kind if issubclass(kind, Recipe) else find(name_of(kind))


def own_file(kind: type[Declaration]) -> str:
    """The path of a user's own model file; empty for gankit's models."""
    return "" if kind.__module__.startswith("gankit.models.") else inspect.getsourcefile(kind) or "its file"


def name_of(kind: type[Declaration]) -> str:
    """The name of a model, which is the name of its file."""
    return kind.__module__.rsplit(".", 1)[-1].removeprefix("gankit_model_")
