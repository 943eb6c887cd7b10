"""The whole batch: sums, means and rows over all processes, and which piece of the batch is at work.

Each process holds as many rows as any other, process r those that come r-th in the batch. Whatever looks across a batch
(batch statistics, deviations of groups, distances between samples) does so through here; then several processes have the
values and the derivatives, of any order, that one process with all rows has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

Draw = Callable[[Callable[[int], Tensor]], Tensor]


class Lost(RuntimeError):
    """Another process of this run is gone."""

    def __init__(self, error: RuntimeError):
        super().__init__(f"another process of this run is gone ({str(error).splitlines()[0]})")


class _Work:
    """What an update works on."""

    draw: Draw | None = None
    rows: int = 0
    of: int = 0
    looked: set[str] = set()


@contextmanager
def at_work(draw: Draw, rows: int, of: int) -> Iterator[set[str]]:
    """Inside, layers work on a piece of a batch; gives a set of names of what sees less than all of the batch there.

    Args:
        draw: `draw` of the piece, for layers that draw random numbers.
        rows: of the piece. A tensor with k times as many holds k batches, one after the other, such as reals and fakes.
        of: rows of the batch, both without those of other processes.
    """
    before = _Work.draw, _Work.rows, _Work.of, _Work.looked
    _Work.draw, _Work.rows, _Work.of, _Work.looked = draw, rows, of, set()
    try:
        yield _Work.looked
    finally:
        _Work.draw, _Work.rows, _Work.of, _Work.looked = before


def look(what: str, seen: Callable[[int], int] = lambda rows: rows) -> None:
    """Say that `what` looks across the batch.

    Args:
        what: its name.
        seen: of so many rows over all processes, how many it looks at together; that may be as many for a piece.
    """
    if seen(_Work.rows * _processes()) != seen(_Work.of * _processes()):
        _Work.looked.add(what)


def drawn(rows: int, sampler: Callable[[int, int], Tensor]) -> Tensor | None:
    """Random numbers by position for the rows of a tensor; None where no piece is at work.

    Args:
        rows: of the tensor.
        sampler: takes a number n of rows and how many batches k they are part of to (n, k, ...) numbers.
    """
    if _Work.draw is None:
        return None
    k = -(-rows // _Work.rows)
    return _Work.draw(lambda n: sampler(n, k)).transpose(0, 1).flatten(0, 1)[:rows]


def several() -> bool:
    """Whether the batch lies on several processes."""
    return _processes() > 1


def _processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class _Total(torch.autograd.Function):
    """The sum of a tensor over all processes; its own derivative, so any order of derivative exists."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        x = x.clone(memory_format=torch.contiguous_format)
        try:
            dist.all_reduce(x)
        except RuntimeError as error:
            raise Lost(error) from error
        return x

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> Tensor:
        return _Total.apply(grad)


def average(x: Tensor) -> Tensor:
    """The mean of a tensor over all processes: of means over rows, that over the rows of all."""
    return _Total.apply(x) / dist.get_world_size() if several() else x


def gathered(x: Tensor) -> Tensor:
    """(...) to (processes, ...): a tensor of each process."""
    own = torch.arange(dist.get_world_size(), device=x.device) == dist.get_rank()
    return _Total.apply(torch.where(own.view(-1, *[1] * x.dim()), x, 0))


def whole(x: Tensor) -> Tensor:
    """(n, ...) rows of this process to those of all, in the order that one process has them in."""
    return gathered(x.unflatten(0, (_stacked(len(x)), -1))).transpose(0, 1).flatten(0, 2) if several() else x


def own(x: Tensor) -> Tensor:
    """This process's part of rows that stand as those of `whole`."""
    if not several():
        return x
    world = dist.get_world_size()
    return x.unflatten(0, (_stacked(len(x) // world), world, -1))[:, dist.get_rank()].flatten(0, 1)


def _stacked(rows: int) -> int:
    """How many batches stand one after the other in so many rows of this process."""
    return rows // _Work.rows if _Work.rows and rows % _Work.rows == 0 else 1


def has_batch_norm(module: nn.Module) -> bool:
    """Whether a layer of a module takes the statistics of its batch in training: gankit's batch norms and torch's own."""
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) and getattr(m, "whole", True) for m in module.modules())
