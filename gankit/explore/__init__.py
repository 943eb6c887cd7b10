"""Tools that explore what a trained generator learned: each takes a run, and returns images, numbers and animations.

model = gankit.load("latest")
result = gankit.explore.truncation(model, seeds=range(4))
result.picture().show(); result.numbers; result.write(Path("out/truncation"))

To add a tool, add a module to this folder with a function `tool(trained: Trained, *, ...) -> Result`. Its name becomes
the command, its keyword arguments the flags, and its docstring their help.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from gankit.delayed import delayed, import_module
from gankit.explore.seeds import Seeds
from gankit.syntax import execute, parsed

if TYPE_CHECKING:
    from gankit.explore.result import Result

    TOOLS: dict[str, Callable[..., Result]]

__all__ = ["TOOLS", "Result", "Seeds"]

_result = delayed(__name__, {"gankit.explore.result": "Result"})


def _is_tool(function: Callable[..., object]) -> bool:
    """Whether a function takes a trained model and keyword arguments, and returns a Result."""
    parameters = list(inspect.signature(function).parameters.values())
    has_options = bool(parameters) and all(p.kind is p.KEYWORD_ONLY for p in parameters[1:])
    return function.__annotations__.get("return") == "Result" and has_options


@cache
def declared() -> dict[str, Callable[..., Result]]:
    """The tools by name, read from this folder's files without torch: signatures and docstrings, to be shown only."""
    tools = {}
    for path in Path(__file__).parent.glob("*.py"):
        space: dict[str, object] = {"__name__": f"{__name__}.{path.stem}", "Seeds": Seeds}
        space |= {"Trained": object, "Result": object}  # which annotations name
        for statement in parsed(path).body:
            if not isinstance(statement, ast.ClassDef):
                execute(statement, space)
        for name, function in space.items():
            if inspect.isfunction(function) and not name.startswith("_") and _is_tool(function):
                tools[name] = function
    return dict(sorted(tools.items()))


def __getattr__(name: str) -> object:
    """The tools as functions of this package, imported when they are first used; TOOLS is all of them by name."""
    if name == "TOOLS":
        return {tool: __getattr__(tool) for tool in declared()}
    if name in declared():
        return getattr(import_module(declared()[name].__module__), name)
    return _result(name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, *declared()])
