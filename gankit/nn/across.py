"""Operations over the whole batch: sums, means and rows of all processes, and the piece that an update works on.

All processes hold equally many rows; process r holds the r-th block of the batch. Layers and losses that combine rows
(batch statistics, deviations of groups, distances between samples) use these functions. Several processes then compute
the values, and the derivatives of any order, of one process that holds all rows.
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
    """The piece of a batch that the current update works on."""

    draw: Draw | None = None
    rows: int = 0
    of: int = 0
    looked: set[str] = set()


@contextmanager
def at_work(draw: Draw, rows: int, of: int) -> Iterator[set[str]]:
    """Context in which layers work on a piece of a batch; yields the names of operations that need more rows.

    Args:
        draw: `draw` of the piece, for layers that draw random numbers.
        rows: rows of the piece. A tensor with k times as many rows is k batches in sequence, such as reals and fakes.
        of: rows of the batch. Neither number counts the rows of other processes.
    """
    before = _Work.draw, _Work.rows, _Work.of, _Work.looked
    _Work.draw, _Work.rows, _Work.of, _Work.looked = draw, rows, of, set()
    try:
        yield _Work.looked
    finally:
        _Work.draw, _Work.rows, _Work.of, _Work.looked = before


def look(what: str, seen: Callable[[int], int] = lambda rows: rows) -> None:
    """Record that `what` combines rows, if it combines fewer of them in a piece than in the whole batch.

    Args:
        what: the operation's name.
        seen: maps the number of rows of all processes to the number that it combines.
    """
    if seen(_Work.rows * _processes()) != seen(_Work.of * _processes()):
        _Work.looked.add(what)


def drawn(rows: int, sampler: Callable[[int, int], Tensor]) -> Tensor | None:
    """Random numbers by position in the stream for the rows of a tensor; None outside an update.

    Args:
        rows: number of rows.
        sampler: maps n rows and k batches in sequence to (n, k, ...) random numbers.
    """
    if _Work.draw is None:
        return None
    k = -(-rows // _Work.rows)
    return _Work.draw(lambda n: sampler(n, k)).transpose(0, 1).flatten(0, 1)[:rows]


def several() -> bool:
    """Whether the batch is divided among several processes."""
    return _processes() > 1


def _processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class _Total(torch.autograd.Function):
    """The sum of a tensor over all processes. It is its own derivative, so derivatives of any order exist."""

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
    """The mean of a tensor over all processes; a mean over this process's rows becomes the mean over all rows."""
    return _Total.apply(x) / dist.get_world_size() if several() else x


def gathered(x: Tensor) -> Tensor:
    """(...) to (processes, ...): the tensors of all processes."""
    is_own = torch.arange(dist.get_world_size(), device=x.device) == dist.get_rank()
    return _Total.apply(torch.where(is_own.view(-1, *[1] * x.dim()), x, 0))


def whole(x: Tensor) -> Tensor:
    """(n, ...) rows of this process to the rows of all processes, in the order of a single process."""
    return gathered(x.unflatten(0, (_stacked(len(x)), -1))).transpose(0, 1).flatten(0, 2) if several() else x


def own(x: Tensor) -> Tensor:
    """This process's part of rows that are ordered as by `whole`."""
    if not several():
        return x
    world = dist.get_world_size()
    return x.unflatten(0, (_stacked(len(x) // world), world, -1))[:, dist.get_rank()].flatten(0, 1)


def _stacked(rows: int) -> int:
    """The number of batches in sequence in `rows` rows of this process."""
    return rows // _Work.rows if _Work.rows and rows % _Work.rows == 0 else 1


def has_batch_norm(module: nn.Module) -> bool:
    """Whether a module has a batch norm, gankit's or torch's, that uses the statistics of the batch in training."""
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) and getattr(m, "whole", True) for m in module.modules())
