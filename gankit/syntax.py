"""What a Python file defines, as far as that can be known without importing anything but the standard library."""

from __future__ import annotations

import ast
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

from gankit.delayed import uncollected


@cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    with uncollected():
        return ast.parse(path.read_text(encoding="utf-8"))


def execute(statement: ast.stmt, space: dict[str, object], inside: dict[str, object] | None = None) -> None:
    """Execute a statement of a file, unless it needs a name that is not there: other imports are left out.

    A function keeps its signature and docstring, and loses the rest of its body. It cannot be called.

    Args:
        statement: of a file that has `from __future__ import annotations`, as all of gankit's.
        space: names of the module: those that it has, and those that the statement defines.
        inside: those of a class, for a statement in its body.
    """
    if isinstance(statement, ast.FunctionDef):
        statement.body = statement.body[:1]  # compiling the rest takes most of the time
    modules = [getattr(statement, "module", None) or alias.name for alias in getattr(statement, "names", ())]
    if all(module.split(".")[0] in sys.stdlib_module_names for module in modules):
        with suppress(NameError):  # not of annotations: the code inherits this file's __future__ import
            exec(compile(ast.Module([statement], []), f"<{space['__name__']}>", "exec"), space, inside)
