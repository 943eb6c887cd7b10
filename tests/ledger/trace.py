"""Real training steps of a small recipe, recorded: the updates of a step, and the terms of each loss."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit import losses, penalties
from gankit.recipe import Batch, Recipe
from gankit.training import Run, Settings


def loss_functions() -> dict[CodeType, str]:
    """The name of every loss and penalty that a model may add to its loss, by the function's code."""
    names: dict[CodeType, str] = {F.mse_loss.__code__: "mse_loss"}
    for module in (losses, penalties):
        for name, value in vars(module).items():
            is_own = inspect.isfunction(value) and value.__module__ == module.__name__
            if is_own and name not in ("scores", "path_length"):
                names[inspect.unwrap(value).__code__] = name.lstrip("_")
    for key, pair in losses.ADVERSARIAL.items():
        for part in ("d", "g"):
            code = inspect.unwrap(getattr(pair, part)).__code__
            names[code] = f"{key}_{part}" if code.co_name == part else code.co_name.lstrip("_")
    return names


FUNCTIONS = loss_functions()


class Term(NamedTuple):
    """A term of a loss: a function of `gankit.losses` or `gankit.penalties`, or a logged number, and its factor."""

    name: str
    weight: float


class Update(NamedTuple):
    """One call of `run.update`.

    Args:
        label: the optimizers, and the loss function where its name says more.
        step: the number of the batch.
        terms: the terms of each optimizer's loss.
        latents: how many latents were drawn.
    """

    label: str
    step: int
    terms: dict[str, list[Term]]
    latents: int


class Call(NamedTuple):
    """One forward call of a module: how many updates came before it, its inputs and its output."""

    updates: int
    inputs: tuple[Tensor, ...]
    output: object


class Silent:
    """A log that keeps nothing."""

    def add(self, numbers: dict[str, Tensor]) -> None:
        """Called by `Run.update`."""


class Trace(Run):
    """A run without files that trains for real and records its updates.

    Args:
        recipe: what to train.
        settings: the run's settings.
        idle: skip the gradient steps; compute only what `Recipe.step` needs to go on.
    """

    def __init__(self, recipe: Recipe, settings: Settings, idle: bool = False):
        super().__init__(recipe, settings, Path(), {}, torch.device("cpu"), Silent())
        self.recorded: list[Update] = []
        self.latents, self.idle = 0, idle

    def update(
        self, names: str | tuple[str, ...], loss_fn: Callable[..., tuple], batch: Batch, *more: Tensor
    ) -> dict[str, Tensor]:
        """As `Run.update`; appends to `recorded`."""
        if self.idle:
            outputs = loss_fn(batch, *more)[1]
            return {name: value.detach() if isinstance(value, Tensor) else value for name, value in outputs.items()}
        optimizers = (names,) if isinstance(names, str) else tuple(names)
        terms: dict[str, list[Term]] = {}
        self.latents = 0

        def recorded(piece: Batch, *tensors: Tensor) -> tuple:
            with record_losses() as calls:
                values, outputs = loss_fn(piece, *tensors)
            for name, loss in zip(optimizers, values if isinstance(values, tuple) else (values,)):
                terms[name] = terms_of(loss, calls, outputs)
            return values, outputs

        outputs = super().update(names, recorded, batch, *more)
        self.recorded.append(Update(label(optimizers, loss_fn), self.step, terms, self.latents))
        return outputs


def label(optimizers: tuple[str, ...], loss_fn: Callable) -> str:
    """An update's name: its optimizers, and the loss function unless that is called `d_loss`, `loss` or the like."""
    while hasattr(loss_fn, "func"):
        loss_fn = loss_fn.func
    joined, function = " and ".join(optimizers), getattr(loss_fn, "__name__", "")
    usual = {f"{name.rstrip('0123456789')}_loss" for name in optimizers} | {"loss", "losses", "<lambda>"}
    return joined if function in usual else f"{joined} by {function}"


@contextmanager
def record_losses() -> Iterator[list[tuple[str, Tensor]]]:
    """Names and results of the losses and penalties called inside the block; of nested calls only the outermost."""
    results: list[tuple[str, Tensor]] = []
    open_calls, before = [], sys.getprofile()

    def profile(frame: FrameType, event: str, value: object) -> None:
        if event == "call" and frame.f_code in FUNCTIONS:
            open_calls.append(frame)
        elif event == "return" and open_calls and frame is open_calls[-1]:
            open_calls.pop()
            if not open_calls and isinstance(value, Tensor):
                results.append((FUNCTIONS[frame.f_code], value))

    sys.setprofile(profile)
    try:
        yield results
    finally:
        sys.setprofile(before)


def terms_of(loss: Tensor, calls: list[tuple[str, Tensor]], outputs: dict[str, Tensor]) -> list[Term]:
    """The terms of a loss with their factors, read off the graph of its computation.

    Sums, differences and products with constants are taken apart until the result of a function of `gankit.losses` or
    `gankit.penalties` is reached, or a number that is computed in another way. Such a number is called by its name in
    the log, or else by its last operations, for example "mean abs".
    """
    logged = {t.grad_fn: name for name, t in outputs.items() if isinstance(t, Tensor) and t.grad_fn is not None}
    called = {t.grad_fn: name for name, t in calls if t.grad_fn is not None}
    terms: list[Term] = []

    def walk(node: torch.autograd.graph.Node, weight: float, reductions: str) -> None:
        if node in called:
            terms.append(Term(reductions + called[node], weight))
            return
        inputs = [(i, n) for i, (n, _) in enumerate(node.next_functions) if n is not None]
        kind = node.name().rstrip("0123456789").removesuffix("Backward")
        if node in logged and len(inputs) == 1 and not (inputs[0][1] in called or is_linear(inputs[0][1])):
            terms.append(Term(reductions + logged[node], weight))
        elif kind in ("Add", "Sub"):
            second = node._saved_alpha * (-1 if kind == "Sub" else 1)
            for i, part in inputs:
                walk(part, weight * (second if i else 1), reductions)
        elif kind in ("Neg", "Rsub"):
            walk(inputs[0][1], -weight, reductions)
        elif kind in ("Mul", "Div") and len(inputs) == 1 and (factor := constant(node, inputs[0][0])) is not None:
            walk(inputs[0][1], weight / factor if kind == "Div" else weight * factor, reductions)
        elif kind in ("ToCopy", "View", "Unsqueeze", "Squeeze"):
            walk(inputs[0][1], weight, reductions)
        elif kind in ("Mean", "Sum") and node not in logged and is_linear(inputs[0][1]):
            walk(inputs[0][1], weight, f"{reductions}{kind.lower()} ")
        else:
            terms.append(Term(reductions + (logged.get(node) or operations(node)), weight))

    walk(loss.grad_fn, 1.0, "")
    return terms


def constant(node: torch.autograd.graph.Node, position: int) -> float | None:
    """The scalar that multiplies or divides the input at `position` of a product or quotient, or None."""
    is_product = node.name().startswith("Mul")
    other = node._saved_self if position and is_product else None if position else node._saved_other
    return other.item() if isinstance(other, Tensor) and other.numel() == 1 else None


def is_linear(node: torch.autograd.graph.Node) -> bool:
    """Whether a node is a sum, a difference or a multiple, so that its mean can be taken term by term."""
    return node.name().startswith(("Add", "Sub", "Neg", "Mul", "Div")) and "square" not in node.name().lower()


def operations(node: torch.autograd.graph.Node) -> str:
    """The last operations of one input that compute a number, the very last first: "mean abs"."""
    names: list[str] = []
    while len(names) < 3 and len(inputs := [n for n, _ in node.next_functions if n is not None]) == 1:
        names.append(node.name().rstrip("0123456789").removesuffix("Backward").lower())
        node = inputs[0]
    return " ".join(names) or node.name()
