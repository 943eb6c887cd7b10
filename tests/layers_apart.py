"""What looks across a batch, by itself: values, first and second derivatives, of one process or of one of several."""

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
    """Conditional batch norm of labels that follow from the images."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x, (x[:, 0, 0, 0] > 0).long())


class Loss(nn.Module):
    """A loss of the two halves of each row, its mean over processes, once for each row."""

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor]):
        super().__init__()
        self.loss = loss

    def forward(self, x: Tensor) -> Tensor:
        return average(self.loss(*x.chunk(2, 1))).expand(len(x), 1)


class Dragan(nn.Module):
    """The penalty around rows, likewise; it has no derivative by them, so their sum is added."""

    def __init__(self):
        super().__init__()
        self.critic = nn.Sequential(nn.Linear(6, 5), nn.Softplus(), nn.Linear(5, 1), nn.Flatten(0))

    def forward(self, x: Tensor, draw: Callable[..., Tensor]) -> Tensor:
        return average(dragan(self.critic, x, draw)) + x.sum(1, keepdim=True)


class Swapped(Pool):
    """A pool that is full, so that coins are tossed."""

    def forward(self, x: Tensor, draw: Callable[..., Tensor]) -> Tensor:
        self.images = [torch.full_like(x[0], i) for i in range(3)]
        return super().forward(x.detach(), draw) + x - x.detach()


# name: what to build, a row's shape, how many batches stand one after the other in the input
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
    """Outputs and derivatives by the input, (batches, rows of this process, ...), and by parameters, summed over processes."""
    build, shape, k = CASES[case]
    torch.manual_seed(7)
    module = build().double()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    inputs, weights, slopes = (
        torch.randn(k, ROWS, *shape).double(),
        torch.randn(k, ROWS, 1).double(),
        torch.randn(k, ROWS, *shape).double(),
    )
    n = ROWS // world
    x, weight, slope = (t[:, rank * n : rank * n + n].flatten(0, 1) for t in (inputs, weights, slopes))
    x = x.contiguous().requires_grad_()
    batch = Batch({"real": x[:n]}, start=24, size=ROWS, first=rank * n, seed=3)
    with at_work(batch.draw, n, n):
        out = module(x, batch.draw) if isinstance(module, (Pool, Dragan)) else module(x)
    parameters = list(module.parameters())
    loss = (out.flatten(1).sin() * weight).sum()
    first = torch.autograd.grad(loss, [x, *parameters], create_graph=True, allow_unused=True)
    again = (first[0].sin() * slope).sum()  # what a gradient penalty does
    second = torch.autograd.grad(again, [x, *parameters], allow_unused=True)
    sums = [
        torch.zeros_like(p) if grad is None else grad.detach().clone()
        for p, grad in zip([*parameters] * 2, [*first[1:], *second[1:]])
    ]
    if world > 1:
        for tensor in sums:
            dist.all_reduce(tensor)
    rows = {"out": out, "first": first[0], "second": torch.zeros_like(x) if second[0] is None else second[0]}
    found = {name: t.detach().unflatten(0, (k, n)) for name, t in rows.items()}
    buffers = {f"buffer {name}": t for name, t in module.named_buffers()}
    return found | {f"parameter {i}": t for i, t in enumerate(sums)} | buffers
