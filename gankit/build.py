"""A model from its spec and arguments: checked first, and refused if it does not fit into memory."""

from __future__ import annotations

import contextlib
import inspect
import math
import os
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Union, get_args, get_origin, get_type_hints

from gankit.declaration import Declaration, Spec
from gankit.text import shown, suggest

if TYPE_CHECKING:
    from torch import Tensor

    from gankit.recipe import Recipe

SIZES = re.compile(
    r"\w+_dim|width|width_g|channel_\w+|g_hidden|d_hidden|hidden|units_\w+|maxout_pieces|"
    r"layers|levels|mapping_layers|n_critic|n_dis|g_batch|group"
)
MOST = 2**40  # of an argument that counts something
LOOPED = re.compile(
    r"(\w+_)?(layers|levels|blocks|scales)|own_[gd]|n_critic|n_dis|g_batch|updates|restarts|chunk"
)  # each costs a layer, or a pass
TRAINED = 5  # copies of the weights that training holds: weights, gradients, two moments, averages


def defaults(kind: type[Declaration]) -> dict[str, object]:
    """The recipe's arguments and their defaults."""
    parameters = list(inspect.signature(kind.__init__).parameters.values())[2:]
    return {p.name: p.default for p in parameters}


def check(kind: type[Declaration], arguments: dict[str, object]) -> None:
    """Refuse arguments that the model does not have, or that are invalid for any model.

    Raises:
        ValueError: an unknown name, a wrong type, or a number that is not finite, too large, negative, or zero for a
            size.
    """
    known, hints = defaults(kind), get_type_hints(kind.__init__)
    for name, value in arguments.items():
        if name not in known:
            raise ValueError(f"{kind.__name__} has {suggest('argument', shown(name), known)}")
        check_value(name, value, hints.get(name, object))
        for number in value if isinstance(value, (tuple, list)) else (value,):
            if not isinstance(number, (int, float)) or isinstance(number, bool):
                continue
            least = 1 if SIZES.fullmatch(name) and isinstance(number, int) else -MOST if name in kind.signed else 0
            most = 1000 if LOOPED.fullmatch(name) else MOST
            if not least <= number <= most:
                raise ValueError(f"{name} is {number}; expected a number from {least:,} to {most:,}")


def check_value(name: str, value: object, hint: object) -> None:
    """Refuse a value that is not of its annotation's type, and numbers that are not finite. Raises ValueError."""
    if not fits(value, hint):
        choices = [str(choice) for choice in get_args(hint)] if get_origin(hint) is Literal else []
        raise ValueError(f"{name} is {shown(repr(value))[:60]}; expected {' or '.join(choices) or called(hint)}")
    for number in value if isinstance(value, (tuple, list)) else (value,):
        if isinstance(number, float) and not math.isfinite(number):
            raise ValueError(f"{name} is {number}; expected a finite number")


def fits(value: object, hint: object) -> bool:
    """Whether a value is of the type that an annotation names; of an annotation that is none of these, always."""
    hint = getattr(hint, "__supertype__", hint)  # of a NewType
    origin = get_origin(hint)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in get_args(hint))
    if origin in (Union, types.UnionType):
        return any(fits(value, part) for part in get_args(hint))
    if origin is tuple:
        return isinstance(value, (tuple, list)) and all(fits(item, get_args(hint)[0]) for item in value)
    if hint in (bool, str, type(None)):
        return isinstance(value, hint)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(hint, type) and issubclass(hint, int):
        return isinstance(value, int) and not isinstance(value, bool)
    return True


def called(hint: object) -> str:
    """A type as an error names it."""
    hint = getattr(hint, "__supertype__", hint)
    names = {bool: "true or false", str: "text", int: "a whole number", float: "a number", type(None): "nothing"}
    if get_origin(hint) is tuple:
        return f"{called(get_args(hint)[0])}, or several"
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(map(called, get_args(hint)))
    if isinstance(hint, type):
        return "a whole number" if issubclass(hint, int) and hint is not bool else names.get(hint, str(hint))
    return str(hint)


def construct(kind: type[Recipe], spec: Spec, arguments: dict[str, object], copies: int = 1) -> Recipe:
    """The recipe with its initial weights.

    Args:
        kind: the model.
        spec: what it knows of its data.
        arguments: its own arguments.
        copies: copies of its weights that will be held at once: 1 to use it, `TRAINED` to train it.

    Raises:
        ValueError: the arguments are invalid, or the model does not fit into this machine's memory.
    """
    outline(kind, spec, arguments, copies)
    return kind(spec, **arguments)


def from_tensors(
    kind: type[Recipe], spec: Spec, arguments: dict[str, object], tensors: dict[str, Tensor]
) -> tuple[Recipe, list[str], list[str]]:
    """The recipe with its weights from a file: no initial weight is drawn, and no optimizer is kept.

    Returns:
        The recipe, the names that it misses, and the names that it does not have.

    Raises:
        ValueError, RuntimeError: as `construct`, or a tensor has the wrong shape.
    """
    recipe = outline(kind, spec, arguments)
    if recipe is not None:
        loaded = recipe.load_state_dict(tensors, strict=False, assign=True)
    if recipe is None or any(t.is_meta for module in recipe.modules() for t in tensors_in(vars(module))):
        recipe = kind(spec, **arguments)
        loaded = recipe.load_state_dict(tensors, strict=False)
    recipe.opt = {}
    return recipe, loaded.missing_keys, loaded.unexpected_keys


def tensors_in(tree: object) -> Iterator[Tensor]:
    """The tensors in a dict, list or tuple, at any depth; modules are not entered."""
    from torch import Tensor

    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, (dict, list, tuple)):
        for item in tree.values() if isinstance(tree, dict) else tree:
            yield from tensors_in(item)


def outline(kind: type[Recipe], spec: Spec, arguments: dict[str, object], copies: int = 1) -> Recipe | None:
    """The recipe built without memory, or None for a user's model that cannot be built so. Arguments as `construct`.

    Raises:
        ValueError: the arguments are invalid, or the model does not fit into this machine's memory.
    """
    import torch

    from gankit.nn.init import Undrawn

    check(kind, arguments)
    changed = {name: value for name, value in arguments.items() if value != defaults(kind)[name]}
    flags = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in changed.items()) or "its defaults"
    model = f"{kind.__name__} of {'x'.join(map(str, spec.shape))}"
    # The first optimizer imports torch._dynamo, for a second, only to hide this function from torch.compile.
    hidden = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    vars(hidden).setdefault("__dynamo_disable", hidden)
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"), Undrawn():
            recipe = kind(spec, **arguments)
        sizes = [t.numel() * t.element_size() for t in recipe.state_dict().values() if isinstance(t, torch.Tensor)]
    except (RuntimeError, OverflowError, ZeroDivisionError, IndexError, MemoryError, TypeError) as error:
        if not kind.__module__.startswith("gankit.models."):
            return None
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{model} cannot be built with {flags}: {reason}") from error
    needed, available = copies * sum(sizes), memory()
    if needed > available:
        parts = "weights and their optimizers" if copies > 1 else "weights"
        raise ValueError(
            f"{model} with {flags} takes {needed / 1e9:,.0f} GB for its {parts}; this machine has "
            f"{available / 1e9:,.0f} GB. Make it smaller, or take a preset"
        )
    return recipe


def memory() -> float:
    """Bytes of memory that this process may have; infinite where that is not known."""
    found = [math.inf]
    with contextlib.suppress(ValueError, OSError, AttributeError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(ValueError, OSError):
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(found)


def refuse_large(numbers: int, what: str, hint: str) -> None:
    """Refuse what would not fit into memory before it is made.

    Args:
        numbers: float32 numbers that would be held at once.
        what: they are, for the error.
        hint: what to type instead.

    Raises:
        ValueError: they do not fit.
    """
    if 4 * numbers > memory():
        raise ValueError(
            f"{what} take {4 * numbers / 1e9:,.0f} GB of memory, and this machine has {memory() / 1e9:,.0f} GB. {hint}"
        )
