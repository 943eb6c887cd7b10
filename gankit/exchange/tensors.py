"""The tensors of a published file: each is used once, and the unused ones are reported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeGuard

import torch
from torch import Tensor

from gankit.exchange.unpickle import Refused, Stored, show
from gankit.recipe import Spec

SIDE = 8192  # the largest side of images: far above that of any published generator


@dataclass
class Conversion:
    """Our model with the weights of a published file.

    Args:
        spec: of the training data.
        arguments: of our model, where they differ from its defaults.
        tensors: weights and buffers by our names.
        unused: names in the file that our model does not have, safe to print.
        fresh: prefixes of our names that the file does not have; these keep their initial values.
        notes: messages for the user: differences, and choices that were made.
    """

    spec: Spec
    arguments: dict[str, object]
    tensors: dict[str, Tensor]
    unused: list[str] = field(default_factory=list)
    fresh: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


class Tensors:
    """A state dict of a file; its tensors are only read when they are taken.

    Args:
        items: tensors by name; other values are ignored.
        where: its name in error messages.
        size: of the whole file in bytes; at most twice as much is read.
    """

    def __init__(self, items: Mapping[str, object] | Mapping[object, object], where: str, size: int):
        kept = {k: v for k, v in items.items() if type(k) is str and isinstance(v, (Stored, Tensor))}
        if kept and all(k.startswith("module.") for k in kept):  # saved from DataParallel
            kept = {k.removeprefix("module."): v for k, v in kept.items()}
        self.items, self.where, self.left, self.room = kept, where, dict.fromkeys(kept), 2 * size

    def __contains__(self, name: str) -> bool:
        return name in self.items

    def shape(self, name: str, *ranks: int) -> tuple[int, ...]:
        """The shape of a tensor.

        Args:
            name: of the tensor.
            ranks: allowed numbers of dimensions; default: any.

        Raises:
            Refused: there is no such tensor, it is empty, or has another number of dimensions.
        """
        if name not in self.items:
            first = ", ".join(show(key) for key in list(self.items)[:4]) or "no tensors"
            raise Refused(f"{self.where} has no {name}; it has {first} ...")
        found = tuple(self.items[name].shape)
        if ranks and len(found) not in ranks:
            raise Refused(
                f"{self.where}: {name} is {found}; a shape of {' or '.join(map(str, ranks))} sizes was expected"
            )
        if 0 in found:
            raise Refused(f"{self.where}: {name} is {found}: it is empty")
        return found

    def take(self, name: str, shape: Iterable[int] | None = None) -> Tensor:
        """A tensor in float32; each can be taken once.

        Raises:
            Refused: there is no such tensor, or it has another shape.
            AssertionError: it was taken before, for another of our weights.
        """
        found = self.shape(name)
        if shape is not None and found != (expected := tuple(shape)):
            raise Refused(f"{self.where}: {name} is {found}; {expected} was expected")
        if name not in self.left:
            raise AssertionError(f"{name} was taken before")
        del self.left[name]
        self.room -= 4 * torch.Size(found).numel()
        if self.room < 0:
            raise Refused(f"{self.where} claims more numbers than its file can hold")
        value = self.items[name]
        tensor = value if isinstance(value, Tensor) else value.tensor()
        if not tensor.is_floating_point():
            raise Refused(
                f"{self.where}: {name} holds {str(tensor.dtype).removeprefix('torch.')}; weights were expected"
            )
        if not torch.isfinite(tensor).all():
            raise Refused(f"{self.where}: {name} holds numbers that are not finite")
        return tensor.float()

    def scalar(self, name: str) -> Tensor:
        """A tensor of one number as a scalar, ().

        Raises:
            Refused: there is no such tensor, or it has more numbers.
        """
        if torch.Size(found := self.shape(name)).numel() != 1:
            raise Refused(f"{self.where}: {name} is {found}; one number was expected")
        return self.take(name).reshape(())

    def drop(self, *names: str) -> None:
        """Mark names as used that our model does not need."""
        for name in names:
            self.left.pop(name, None)

    def count(self, pattern: str) -> int:
        """The number of consecutive names `pattern.format(0)`, `pattern.format(1)` ..."""
        n = 0
        while pattern.format(n) in self.items:
            n += 1
        return n

    def unused(self, where: str = "") -> list[str]:
        """The names that were neither taken nor dropped, safe to print."""
        return [f"{where or self.where}.{word(name)}" for name in self.left]


class Layers:
    """Copies layers, from a file's names to ours, into the tensors of a model.

    Args:
        source: the tensors of the file.
        into: the tensors of our model, by name.
    """

    def __init__(self, source: Tensors, into: dict[str, Tensor]):
        self.source, self.into = source, into


def is_dict_of_tensors(tree: object) -> TypeGuard[dict[object, object]]:
    """Whether it is a flat state dict, with tensors by name."""
    return isinstance(tree, dict) and any(isinstance(v, (Stored, Tensor)) for v in tree.values())


def word(name: object) -> str:
    """A name in a file, safe to print: short ASCII without quotes."""
    return show(name)[1:-1] if type(name) is str else show(name)


def others(tree: Mapping[object, object], *known: str) -> list[str]:
    """The keys of a file besides the known ones, safe to print."""
    return [word(key) for key, value in tree.items() if key not in known and value is not None]


def number(value: object, name: str, least: float, most: float, whole: bool = False) -> float:
    """A number in a file.

    Raises:
        Refused: it is something else, or out of range.
    """
    kinds = (int,) if whole else (int, float)
    if not isinstance(value, kinds) or isinstance(value, bool) or not least <= value <= most:
        raise Refused(
            f"{name} is {show(value)}; a {'whole ' if whole else ''}number from {least:g} to {most:g} was expected"
        )
    return value if whole else float(value)


def channel_base(widths: list[int], model: str) -> int:
    """The argument `channel_base` of pggan or stylegan2, from the channels of the feature maps from 4 px up.

    Raises:
        Refused: the widths are not those of the model.
    """
    most = max(widths)
    base = next((width * (4 << i) for i, width in enumerate(widths) if width < most), most * side(len(widths) - 1))
    if [max(1, min(base // (4 << i), most)) for i in range(len(widths))] != widths:
        raise Refused(f"maps of {widths} channels; {model} has channel_base / side of them, up to channel_max")
    return base


def side(doublings: int) -> int:
    """The side of images after this many doublings of 4 px.

    Raises:
        Refused: it is larger than SIDE.
    """
    if not 0 <= doublings <= (SIDE // 4).bit_length() - 1:
        raise Refused(f"layers for {doublings} doublings of 4 px; pictures of {SIDE} px at most were expected")
    return 4 << doublings
