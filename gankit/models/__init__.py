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


def paper(name: str) -> Paper:
    """The paper of a model, read from the docstring of its file without importing it."""
    source = (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    citation = CITATION.match(" ".join(docstring.split()))
    if not citation:
        raise ValueError(f'models/{name}.py must begin with """NAME. Authors, "Title", Venue Year. URL')
    return Paper(**citation.groupdict())


def find(name: str) -> type[Recipe]:
    """The Recipe of a model, by its name or by the path of a Python file, which is then executed.

    Raises:
        ValueError: the model is unknown, or the file does not define exactly one Recipe.
    """
    if name.endswith(".py"):
        path = Path(name)
        if not path.is_file():
            raise ValueError(f"there is no file {name}")
        spec = importlib.util.spec_from_file_location(f"gankit_model_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return _only_recipe(module, name)
    plain = name.lower().replace("-", "_")
    if plain not in names():
        hint = did_you_mean(plain, names(), 2) or f"there are {', '.join(names())}."
        raise ValueError(f"no model {name!r}; {hint} For a model of your own give its file: ./my_gan.py")
    return _only_recipe(importlib.import_module(f"gankit.models.{plain}"), name)


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


def own_file(kind: type[Recipe]) -> str:
    """The path of a user's own model file; empty for gankit's models."""
    return "" if kind.__module__.startswith("gankit.models.") else inspect.getsourcefile(kind) or "its file"


def name_of(kind: type[Recipe]) -> str:
    """The name of a model, which is the name of its file."""
    return kind.__module__.rsplit(".", 1)[-1].removeprefix("gankit_model_")
