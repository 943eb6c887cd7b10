"""Tools that explore what a trained generator learned: each takes a run, and returns images, numbers and animations.

model = gankit.load("latest")
result = gankit.explore.truncation(model, seeds=range(4))
result.picture().show(); result.numbers; result.write(Path("out/truncation"))

To add a tool, add a module to this folder with a function `tool(trained: Trained, *, ...) -> Result`. Its name becomes
the command, its keyword arguments the flags, and its docstring their help.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable

from gankit.explore.inputs import Seeds
from gankit.explore.result import Result


def _is_tool(function: Callable[..., object]) -> bool:
    """Whether a function takes a trained model and keyword arguments, and returns a Result."""
    parameters = list(inspect.signature(function).parameters.values())
    returned = function.__annotations__.get("return")
    has_options = bool(parameters) and all(p.kind is p.KEYWORD_ONLY for p in parameters[1:])
    return returned in (Result, "Result") and has_options


def _find_tools() -> dict[str, Callable[..., Result]]:
    """The tools that this folder's modules define, by name."""
    tools = {}
    for info in pkgutil.iter_modules(__path__, f"{__name__}."):
        for name, function in inspect.getmembers(importlib.import_module(info.name), inspect.isfunction):
            if function.__module__ == info.name and not name.startswith("_") and _is_tool(function):
                tools[name] = function
    return dict(sorted(tools.items()))


TOOLS = _find_tools()

__all__ = ["TOOLS", "Result", "Seeds", *TOOLS]


def __getattr__(name: str) -> Callable[..., Result]:
    """The tools as functions of this package."""
    if name in TOOLS:
        return TOOLS[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
