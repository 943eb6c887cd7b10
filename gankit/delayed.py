"""Names of a package that are imported when they are first used, so that importing it does not import torch."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType


def delayed(package: str, home: Mapping[str, str]) -> Callable[[str], object]:
    """The `__getattr__` of a package (PEP 562).

    Args:
        package: its name.
        home: module to the names that it defines, separated by spaces; a module without names is itself the name.
    """
    modules = {name: module for module, names in home.items() for name in names.split()}
    whole = {module.rpartition(".")[2]: module for module, names in home.items() if not names}

    def get(name: str) -> object:
        if name in whole:
            return import_module(whole[name])
        if name in modules:
            return getattr(import_module(modules[name]), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get


def import_module(name: str) -> ModuleType:
    """The module of a name, imported `uncollected`, as torch is imported in a tenth less time."""
    with uncollected():
        return importlib.import_module(name)


@contextmanager
def uncollected() -> Iterator[None]:
    """Inside, Python collects no garbage: it would look again and again through the many objects that are made."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
