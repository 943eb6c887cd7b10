"""The inputs of a translation model besides images (domains, attributes, styles), and the flags for them."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gankit import data, models
from gankit.declaration import Declaration, can
from gankit.runs.schema import Config

if TYPE_CHECKING:
    from gankit.runs.trained import Trained

UNIT = re.compile(r"AU(\d{1,2})", re.I)


class Attributes(NamedTuple):
    """The attributes that a model changes.

    Args:
        names: in the model's order.
        groups: the number of attributes of each of the joined data sets; one number for one data set.
        exclusive: for each data set, whether exactly one of its attributes is 1.
    """

    names: tuple[str, ...]
    groups: tuple[int, ...]
    exclusive: tuple[bool, ...]

    @property
    def are_units(self) -> bool:
        """Whether they are action units of faces."""
        return all(UNIT.fullmatch(name) for name in self.names)

    def span(self, source: int) -> range:
        """The positions of one data set's attributes."""
        return range(sum(self.groups[:source]), sum(self.groups[: source + 1]))


def attributes_of(trained: Trained) -> Attributes:
    """The attributes of a model, named by its arguments, its data or its classes."""
    recipe, spec = trained.recipe, trained.recipe.spec
    if spec.attributes:
        names = tuple(recipe.names or spec.attributes)
    else:
        names = tuple(trained.config["data"].get("classes") or map(str, range(spec.num_classes)))
    groups = tuple(recipe.counts or spec.groups or (len(names),))
    exclusive = tuple(recipe.exclusive or spec.exclusive or (not spec.attributes,))
    return Attributes(names, groups, exclusive)


def arguments_of_translate(kind: Declaration | type[Declaration]) -> set[str]:
    """The names of the arguments of `translate`, besides the images."""
    if not can(kind, "translate"):
        return set()
    return set(inspect.signature(kind.translate).parameters) - {"self", "images"}


def domains_of(config: Config) -> tuple[str, str]:
    """The names of a run's two domains: those of their folders, or "a" and "b"."""
    typed = str(config["settings"].get("data", ""))
    try:
        parts = data.split(typed) if typed else None
    except (ValueError, OSError):  # the data may have moved since
        parts = None
    return (Path(parts[0]).name or "a", Path(parts[1]).name or "b") if parts else ("a", "b")


def usage(trained: Trained) -> str:
    """The flags that this model needs."""
    names, flags = arguments_of_translate(trained.recipe), []
    if "to" in names:
        a, b = domains_of(trained.config)
        flags.append("--to a or --to b" + (f" ({a} or {b})" if (a, b) != ("a", "b") else ""))
    if "attribute" in names:
        attributes = attributes_of(trained)
        flags.append(f"--{'au' if attributes.are_units else 'set'} NAME=VALUE, of {', '.join(attributes.names)}")
    if "styles" in names:
        flags.append("--style PICTURE ..., with --strength")
    return "; ".join(flags) or "no flag for the kind of output"


def example(kind: type[Declaration]) -> str:
    """An example of a command for trained models of this kind."""
    names = arguments_of_translate(kind)
    flags = {
        "to": "--to b",
        "attribute": "--au NAME=0.8" if can(kind, "attention") else "--set NAME=1",
        "styles": "--style PICTURE",
    }
    return " ".join(["gankit translate RUN INPUT -o OUTPUT", *(flag for name, flag in flags.items() if name in names)])


def able() -> list[str]:
    """The names of the models that translate or segment images."""
    return [name for name in models.names() if {"translate", "segment"} & set(models.declared(name).abilities())]
