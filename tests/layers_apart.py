"""Layers and losses that depend on the whole batch: values, first and second derivatives, in one process or several."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gankit.losses import feature_matching, relativistic_average
from gankit.nn import (
    BatchNorm1d,
    BatchNorm2d,
    ConditionalBatchNorm2d,
    Dropout,
    Dropout2d,
    MinibatchDiscrimination,
    MinibatchStddev,
    OwnBatchNorm2d,
    Pool,
    at_work,
    average,
)
from gankit.penalties import dragan
from gankit.recipe import Batch

ROWS = 12
MAPS = (3, 4, 4)


class Labelled(ConditionalBatchNorm2d):
    """Conditional batch norm with labels computed from the images."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x, (x[:, 0, 0, 0] > 0).long())


class Loss(nn.Module):
    """A loss between the two halves of each row, averaged over processes and repeated for each row."""

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor]):
        super().__init__()
        self.loss = loss

    def forward(self, x: Tensor) -> Tensor:
        return average(self.loss(*x.chunk(2, 1))).expand(len(x), 1)


class Dragan(nn.Module):
    """The DRAGAN penalty around the rows, likewise; it has no derivative by the rows, so their sum is added."""

    def __init__(self):
        super().__init__()
        self.critic = nn.Sequential(nn.Linear(6, 5), nn.Softplus(), nn.Linear(5, 1), nn.Flatten(0))

    def forward(self, x: Tensor, draw: Callable[..., Tensor]) -> Tensor:
        return average(dragan(self.critic, x, draw)) + x.sum(1, keepdim=True)


class Swapped(Pool):
    """A full pool, so that images are exchanged at random."""

    def forward(self, x: Tensor, draw: Callable[..., Tensor]) -> Tensor:
        self.images = [torch.full_like(x[0], i) for i in range(3)]
        return super().forward(x.detach(), draw) + x - x.detach()


# name: (constructor, shape of a row, number of batches concatenated in the input)
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    **{f"deviation of {k}": (partial(MinibatchStddev, k), MAPS, 1) for k in (1, 3, 4, 5, 7, 12, 16)},
    "deviation of reals, then fakes": (partial(MinibatchStddev, 4), MAPS, 2),
    "discrimination": (partial(MinibatchDiscrimination, 6, 4, 3), (6,), 1),
    "discrimination of reals, then fakes": (partial(MinibatchDiscrimination, 6, 4, 3), (6,), 2),
    "batch norm of vectors": (partial(BatchNorm1d, 6), (6,), 1),
    "batch norm of maps": (partial(BatchNorm2d, 3), MAPS, 1),
    "own batch norm": (partial(OwnBatchNorm2d, 3), MAPS, 1),
    "conditional batch norm": (partial(Labelled, 3, 2), MAPS, 1),
    "relativistic_average d": (partial(Loss, relativistic_average.d), (6,), 1),
    "relativistic_average g": (partial(Loss, relativistic_average.g), (6,), 1),
    "feature matching": (partial(Loss, feature_matching), (6,), 1),
    "dragan": (Dragan, (6,), 1),
    "dropout": (partial(Dropout, 0.4), (6,), 1),
    "dropout of reals, then fakes": (partial(Dropout, 0.4), (6,), 2),
    "dropout of maps": (partial(Dropout2d, 0.4), MAPS, 1),
    "pool": (partial(Swapped, 3), MAPS, 1),
}


def measure(case: str, rank: int, world: int) -> dict[str, Tensor]:
    """Outputs and input derivatives, (batches, rows here, ...); parameter derivatives summed over processes."""
    build, shape, k = CASES[case]
    torch.manual_seed(7)
    module = build().double()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    sizes = (k, ROWS, *shape), (k, ROWS, 1), (k, ROWS, *shape)
    inputs, weights, slopes = (torch.randn(*size).double() for size in sizes)
    n = ROWS // world
    x, weight, slope = (t[:, rank * n : rank * n + n].flatten(0, 1) for t in (inputs, weights, slopes))
    x = x.contiguous().requires_grad_()
    batch = Batch({"real": x[:n]}, start=24, size=ROWS, first=rank * n, seed=3)
    with at_work(batch.draw, n, n):
        out = module(x, batch.draw) if isinstance(module, (Pool, Dragan)) else module(x)
    parameters = list(module.parameters())
    loss = (out.flatten(1).sin() * weight).sum()
    first = torch.autograd.grad(loss, [x, *parameters], create_graph=True, allow_unused=True)
    penalty = (first[0].sin() * slope).sum()  # like a gradient penalty
    second = torch.autograd.grad(penalty, [x, *parameters], allow_unused=True)
    sums = [
        torch.zeros_like(p) if grad is None else grad.detach().clone()
        for p, grad in zip([*parameters] * 2, [*first[1:], *second[1:]])
    ]
    if world > 1:
        for tensor in sums:
            dist.all_reduce(tensor)
    rows = {"out": out, "first": first[0], "second": torch.zeros_like(x) if second[0] is None else second[0]}
    results = {name: t.detach().unflatten(0, (k, n)) for name, t in rows.items()}
    buffers = {f"buffer {name}": t for name, t in module.named_buffers()}
    return results | {f"parameter {i}": t for i, t in enumerate(sums)} | buffers
