"""What a source's file gives to a model of ours: tensors by name, each used once, and what is left over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gankit.exchange.unpickle import Refused, Stored, show
from gankit.recipe import Spec

SIDE = 8192  # of pictures, at most: no published generator comes near


@dataclass
class Found:
    """A model of ours, as a source's file describes it.

    Args:
        spec: the data that it was made for.
        arguments: those of the model that differ from its defaults.
        tensors: weights and buffers by our names.
        unused: names in the file that have no place in the model, fit for a terminal.
        fresh: beginnings of names that the file does not have; they are left as they are initialised.
        notes: what a user must know: what is not equal, what was chosen.
    """

    spec: Spec
    arguments: dict[str, object]
    tensors: dict[str, Tensor]
    unused: list[str] = field(default_factory=list)
    fresh: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


class Tensors:
    """A state dict of a file: shapes at once, tensors when they are taken.

    Args:
        items: name to tensor; other values are left out.
        where: what to call it in errors.
        size: bytes of the whole file: no more than twice as much is taken.
    """

    def __init__(self, items: Mapping[str, object], where: str, size: int):
        kept = {k: v for k, v in items.items() if type(k) is str and isinstance(v, (Stored, Tensor))}
        if kept and all(k.startswith("module.") for k in kept):  # saved from DataParallel
            kept = {k.removeprefix("module."): v for k, v in kept.items()}
        self.items, self.where, self.left, self.room = kept, where, dict.fromkeys(kept), 2 * size

    def __contains__(self, name: str) -> bool:
        return name in self.items

    def shape(self, name: str, *ranks: int) -> tuple[int, ...]:
        """The shape of a tensor.

        Args:
            name: the tensor's.
            ranks: how many sizes it may have; any number of them without.

        Raises:
            Refused: there is none of the name, it is empty, or has another number of sizes.
        """
        if name not in self.items:
            raise Refused(
                f"{self.where} has no {name}; it has {', '.join(show(k) for k in list(self.items)[:4]) or 'no tensors'} ..."
            )
        found = tuple(self.items[name].shape)
        if ranks and len(found) not in ranks:
            raise Refused(
                f"{self.where}: {name} is {found}; a shape of {' or '.join(map(str, ranks))} sizes was expected"
            )
        if 0 in found:
            raise Refused(f"{self.where}: {name} is {found}: it is empty")
        return found

    def take(self, name: str, shape: Iterable[int] | None = None) -> Tensor:
        """A tensor in float32, once.

        Raises:
            Refused: there is none of the name, or its shape is another.
            AssertionError: it was taken before: two of our weights would be one of theirs.
        """
        found = self.shape(name)
        if shape is not None and found != (expected := tuple(shape)):
            raise Refused(f"{self.where}: {name} is {found}; {expected} was expected")
        if name not in self.left:
            raise AssertionError(f"{name} was taken before")
        del self.left[name]
        self.room -= 4 * torch.Size(found).numel()
        if self.room < 0:
            raise Refused(f"{self.where} has more numbers than its file has room for")
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
        """A tensor of one number, (), whatever its shape in the file.

        Raises:
            Refused: there is none of the name, or it has more numbers.
        """
        if torch.Size(found := self.shape(name)).numel() != 1:
            raise Refused(f"{self.where}: {name} is {found}; one number was expected")
        return self.take(name).reshape(())

    def drop(self, *names: str) -> None:
        """Count names as used that need no place here."""
        for name in names:
            self.left.pop(name, None)

    def count(self, pattern: str) -> int:
        """How many of `pattern.format(0)`, `pattern.format(1)` ... there are, one after the other."""
        n = 0
        while pattern.format(n) in self.items:
            n += 1
        return n

    def unused(self, where: str = "") -> list[str]:
        """What was neither taken nor dropped, as a terminal may print it."""
        return [f"{where or self.where}.{word(name)}" for name in self.left]


def is_dict_of_tensors(tree: object) -> bool:
    """Whether it is a state dict: names to tensors, flat."""
    return isinstance(tree, dict) and bool(tree) and any(isinstance(v, (Stored, Tensor)) for v in tree.values())


def word(name: object) -> str:
    """A name of a file's, as a terminal may print it: ASCII, short, without quotes."""
    return show(name)[1:-1] if type(name) is str else show(name)


def others(tree: Mapping[object, object], *known: str) -> list[str]:
    """The keys of a file's tree, besides the known ones, that hold something, as a terminal may print them."""
    return [word(key) for key, value in tree.items() if key not in known and value is not None]


def number(value: object, name: str, least: float, most: float, whole: bool = False) -> float:
    """A number of a file's, where one is needed.

    Raises:
        Refused: it is none, or out of range.
    """
    if type(value) not in ((int,) if whole else (int, float)) or not least <= value <= most:
        raise Refused(
            f"{name} is {show(value)}; a {'whole ' if whole else ''}number from {least:g} to {most:g} was expected"
        )
    return value if whole else float(value)


def side(doublings: int) -> int:
    """The side of pictures after so many doublings of 4 px.

    Raises:
        Refused: it is too large for any picture.
    """
    if not 0 <= doublings <= (SIDE // 4).bit_length() - 1:
        raise Refused(f"layers for {doublings} doublings of 4 px; pictures of {SIDE} px at most were expected")
    return 4 << doublings
