"""A model as one of its presets builds it, and what its algorithm does in a few real steps: what the readers look at."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import CodeType, FrameType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit import losses, models, penalties
from gankit.recipe import Batch, Recipe, Spec
from gankit.training import Run, Settings
from gankit.training.settings import with_length
from gankit.training.setup import build_recipe, plan

ROWS = 2  # of a batch that a small build is shown; it counts as the preset's whole batch
SIZES = frozenset(
    "z_dim w_dim width widths width_d width_g hidden g_hidden d_hidden units_g units_d channel_base channel_max layers "
    "mapping_layers blocks sides embed_dim text_width c_dim chunk patch encoder crop own_g own_d attributes most".split()
)
"""Arguments that a small build may have otherwise than the preset: sizes of networks, of which no row speaks."""


def functions_of_losses() -> dict[CodeType, str]:
    """The code of every loss and penalty that a model may add to its loss, and the function's name."""
    found: dict[CodeType, str] = {F.mse_loss.__code__: "mse_loss"}
    for module in (losses, penalties):
        for name, value in vars(module).items():
            if (
                inspect.isfunction(value)
                and value.__module__ == module.__name__
                and name not in ("scores", "path_length")
            ):
                found[inspect.unwrap(value).__code__] = name.lstrip("_")
    for key, pair in losses.ADVERSARIAL.items():
        for part in ("d", "g"):
            code = inspect.unwrap(getattr(pair, part)).__code__
            found[code] = f"{key}_{part}" if code.co_name == part else code.co_name.lstrip("_")
    return found


FUNCTIONS = functions_of_losses()


class Term(NamedTuple):
    """A summand of a loss: the function of `gankit.losses` or `gankit.penalties`, or the logged number, and its factor."""

    name: str
    weight: float


class Update(NamedTuple):
    """One call of `run.update`: which optimizers, by which function, in which batch, what the loss is made of, with what."""

    label: str
    step: int
    terms: dict[str, list[Term]]
    latents: int
    groups: dict[str, dict[str, object]]


class Call(NamedTuple):
    """One call of a module: after how many updates, with what, and what came of it."""

    updates: int
    inputs: tuple[Tensor, ...]
    output: object


class Silent:
    """A log that keeps nothing."""

    def add(self, numbers: dict[str, Tensor]) -> None:
        """Called by `Run.update`."""


class Trace(Run):
    """A run without files, whose updates are real and are written down."""

    def __init__(self, recipe: Recipe, settings: Settings, idle: bool = False):
        super().__init__(recipe, settings, Path(), {}, torch.device("cpu"), Silent())
        self.updates: list[Update] = []
        self.latents, self.idle = 0, idle

    def update(
        self, names: str | tuple[str, ...], loss_fn: Callable[..., tuple], batch: Batch, *more: Tensor
    ) -> dict[str, Tensor]:
        """As `Run.update`; what it did is appended to `updates`. An idle run only computes what the step goes on with."""
        if self.idle:
            outputs = loss_fn(batch, *more)[1]
            return {name: value.detach() if isinstance(value, Tensor) else value for name, value in outputs.items()}
        chosen = (names,) if isinstance(names, str) else tuple(names)
        terms: dict[str, list[Term]] = {}
        self.latents = 0

        def watched(piece: Batch, *tensors: Tensor) -> tuple:
            with results() as found:
                losses, outputs = loss_fn(piece, *tensors)
            for name, loss in zip(chosen, losses if isinstance(losses, tuple) else (losses,)):
                terms[name] = terms_of(loss, found, outputs)
            return losses, outputs

        outputs = super().update(names, watched, batch, *more)
        groups = {name: dict(opt.param_groups[0]) for name, opt in self.recipe.opt.items()}
        self.updates.append(Update(label(chosen, loss_fn), self.step, terms, self.latents, groups))
        return outputs


def label(names: tuple[str, ...], loss_fn: Callable) -> str:
    """An update's name: its optimizers', and the loss's where it is none of `d_loss`, `loss` ..."""
    while hasattr(loss_fn, "func"):
        loss_fn = loss_fn.func
    joined, own = " and ".join(names), getattr(loss_fn, "__name__", "")
    usual = {f"{name.rstrip('0123456789')}_loss" for name in names} | {"loss", "losses", "<lambda>"}
    return joined if own in usual else f"{joined} by {own}"


@contextmanager
def results() -> Iterator[list[tuple[str, Tensor]]]:
    """What the losses and penalties called inside the block give back, the outermost of those that call each other."""
    found: list[tuple[str, Tensor]] = []
    open_calls, before = [], sys.getprofile()

    def look(frame: FrameType, event: str, value: object) -> None:
        if event == "call" and frame.f_code in FUNCTIONS:
            open_calls.append(frame)
        elif event == "return" and open_calls and frame is open_calls[-1]:
            open_calls.pop()
            if not open_calls and isinstance(value, Tensor):
                found.append((FUNCTIONS[frame.f_code], value))

    sys.setprofile(look)
    try:
        yield found
    finally:
        sys.setprofile(before)


def terms_of(loss: Tensor, found: list[tuple[str, Tensor]], outputs: dict[str, Tensor]) -> list[Term]:
    """The summands of a loss, each with its factor, read off the graph of the computation from the loss down.

    Sums, differences and factors are taken apart until a number is reached that a function of `gankit.losses` or
    `gankit.penalties` gave back, or that is computed in any other way: that has the name under which it is logged, or those
    of the operations, such as "mean abs".
    """
    logged = {t.grad_fn: name for name, t in outputs.items() if isinstance(t, Tensor) and t.grad_fn is not None}
    called = {t.grad_fn: name for name, t in found if t.grad_fn is not None}
    terms: list[Term] = []

    def walk(node: torch.autograd.graph.Node, weight: float, over: str) -> None:
        if node in called:
            terms.append(Term(over + called[node], weight))
            return
        inputs = [(i, n) for i, (n, _) in enumerate(node.next_functions) if n is not None]
        kind = node.name().rstrip("0123456789")
        if node in logged and len(inputs) == 1 and not (inputs[0][1] in called or linear(inputs[0][1])):
            terms.append(Term(over + logged[node], weight))
            return
        if kind in ("AddBackward", "SubBackward"):
            second = node._saved_alpha * (-1 if kind == "SubBackward" else 1)
            for i, part in inputs:
                walk(part, weight * (second if i else 1), over)
        elif kind in ("NegBackward", "RsubBackward"):
            walk(inputs[0][1], -weight, over)
        elif (
            kind in ("MulBackward", "DivBackward")
            and len(inputs) == 1
            and (factor := constant(node, inputs[0][0])) is not None
        ):
            walk(inputs[0][1], weight / factor if kind == "DivBackward" else weight * factor, over)
        elif kind in ("ToCopyBackward", "ViewBackward", "UnsqueezeBackward", "SqueezeBackward"):
            walk(inputs[0][1], weight, over)
        elif kind in ("MeanBackward", "SumBackward") and node not in logged and linear(inputs[0][1]):
            walk(inputs[0][1], weight, f"{over}{kind.removesuffix('Backward').lower()} ")
        else:
            terms.append(Term(over + (logged.get(node) or operations(node)), weight))

    walk(loss.grad_fn, 1.0, "")
    return terms


def constant(node: torch.autograd.graph.Node, at: int) -> float | None:
    """The number by which a product or quotient's input `at` is multiplied or divided; None where there is no one number."""
    other = node._saved_self if at and node.name().startswith("Mul") else None if at else node._saved_other
    return other.item() if isinstance(other, Tensor) and other.numel() == 1 else None


def linear(node: torch.autograd.graph.Node) -> bool:
    """Whether a sum, a difference or a multiple, which a mean of it can be taken apart into."""
    return node.name().startswith(("Add", "Sub", "Neg", "Mul", "Div")) and "square" not in node.name().lower()


def operations(node: torch.autograd.graph.Node) -> str:
    """The operations that end in a number, the last one first, as far as they have one input: "mean abs"."""
    names: list[str] = []
    while len(names) < 3 and len(inputs := [n for n, _ in node.next_functions if n is not None]) == 1:
        names.append(node.name().rstrip("0123456789").removesuffix("Backward").lower())
        node = inputs[0]
    return " ".join(names) or node.name()


class Reading:
    """A model as a preset has it.

    Args:
        model: its name.
        preset: the preset's name.
        small: sizes of a build small enough to train here, {"shape": [C, H, W], "other": ..., and arguments}.

    Attributes:
        settings, arguments: as `gankit train MODEL --preset PRESET` has them.
        spec: the data that the preset is for.

    Raises:
        ValueError: `small` changes more than sizes.
    """

    def __init__(self, model: str, preset: str, small: dict[str, object]):
        self.kind = models.find(model)
        self.settings, self.arguments = plan(self.kind, preset, {})
        self.spec: Spec = self.kind.presets[preset].spec or self.kind.presets["paper"].spec
        shape = {key: tuple(small[key]) for key in ("shape", "other", "caption") if key in small}
        sizes = {
            k: tuple(v) if isinstance(v, list) else v
            for k, v in small.items()
            if k not in ("shape", "other", "caption")
        }
        if wrong := sorted(set(sizes) - SIZES):
            raise ValueError(
                f"the small build of {model} changes {wrong[0]!r}, which is no size; it may change {', '.join(sorted(SIZES))}"
            )
        self.small_spec, self.sizes = dataclasses.replace(self.spec, **shape), sizes

    @cached_property
    def built(self) -> Recipe:
        """The recipe at the paper's sizes, without memory for its numbers."""
        with torch.device("meta"):
            return self.kind(self.spec, **self.arguments)

    @cached_property
    def first(self) -> Recipe:
        """The recipe with its first weights, narrow and for small images."""
        return build_recipe(self.kind, self.small_spec, self.arguments | self.sizes, 0)

    @cached_property
    def small(self) -> Recipe:
        """The same, to be trained."""
        return build_recipe(self.kind, self.small_spec, self.arguments | self.sizes, 0)

    @cached_property
    def plain(self) -> Settings:
        """The settings without augmentation, whose changes would hide what a network is shown."""
        return dataclasses.replace(self.settings, images=self.length, augment="none", augment_policy="", augment_p=0.0)

    @cached_property
    def length(self) -> int:
        """Images that the preset's run takes."""
        return with_length(self.settings, self.built).images

    @cached_property
    def phases(self) -> dict[int, int]:
        """Of each phase, images seen when it is first met: of places spread over the run by the golden ratio."""
        places = sorted({0, *(int(self.length * (i * 0.6180339887498949 % 1)) for i in range(2000))})
        first: dict[int, int] = {}
        for images in places:
            first.setdefault(self.built.phase(images).index, images)
        return first

    def begin(self, index: int) -> int:
        """Images after which the phase of this number begins, for phases that come one after the other."""
        low, high = 0, self.phases[index]
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.built.phase(middle).index >= index else (middle + 1, high)
        return low

    @cached_property
    def updates(self) -> dict[int, list[Update]]:
        """The updates of some steps of each phase: as many as show the pattern, where one comes only now and then."""
        found, few = {}, len(self.phases) < 4
        for index, images in self.phases.items():
            found[index] = self.run(images, 12 if few else 1)  # models of many phases do the same in every batch of one
            if few and min(Counter(update.label for update in found[index]).values()) < 2:
                found[index] = self.run(images, 18)
        return found

    def curve(self, key: str, places: tuple[int, ...]) -> dict[str, list[float]]:
        """By optimizer, its number `key` in the steps after so many images."""
        curves: dict[str, list[float]] = {}
        for images in places:
            self.run(images, idle=True)
            for name, opt in self.small.opt.items():
                curves.setdefault(name, []).append(opt.param_groups[0][key])
        return curves

    @contextmanager
    def calls(self, *modules: torch.nn.Module) -> Iterator[list[Call]]:
        """What some modules of the small recipe are given, and give back, in the steps that are run inside the block."""
        seen: list[Call] = []

        def note(module: torch.nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
            seen.append(Call(len(self.trace.updates), inputs, output))

        hooks = [module.register_forward_hook(note) for module in modules]
        try:
            yield seen
        finally:
            for hook in hooks:
                hook.remove()

    def input_of(self, net: str) -> tuple[float, float, bool]:
        """Of the reals that a network's first layer sees: the smallest and the largest number, and whether any is no grey level."""
        leaves = [
            m
            for m in self.small.get_submodule(net).modules()
            if not [n for n, _ in m.named_children() if n != "parametrizations"]
        ]
        with self.calls(*leaves) as seen:
            self.run()
        shown = [call.inputs[0].detach().flatten(1) for call in seen if call.inputs[0].is_floating_point()]
        fields = self.batch(0, self.small.phase(0).resolution, self.settings.batch).fields
        real = fields.get("real", fields.get("a")).flatten(1)
        alike = [x for x in shown if x.shape == real.shape]
        x = (
            max(alike, key=lambda x: torch.corrcoef(torch.stack([x.flatten(), real.flatten()]))[0, 1])
            if alike
            else shown[0]
        )
        steps = (x - x.min()) / (x.max() - x.min()) * 255
        return x.min().item(), x.max().item(), bool(alike) and bool((steps - steps.round()).abs().max() > 0.01)

    def run(
        self, images: int = 0, steps: int = 1, idle: bool = False, enter: bool = True, whole: int = 0
    ) -> list[Update]:
        """The updates of some steps of the small recipe, which begin after so many images of the preset's run.

        Args:
            images: images seen before.
            steps: how many batches.
            idle: learn nothing: only move the numbers of the optimizers.
            enter: begin the phase anew; else go on in it.
            whole: images of a batch; 0 for the preset's.
        """
        recipe, whole = self.small, whole or self.settings.batch
        trace, noise = Trace(recipe, self.plain, idle), getattr(recipe, "noise", None)
        self.trace = trace
        trace.images, trace.step = images, images // whole

        def counted(n: int, *sides: int) -> Tensor:
            trace.latents += n
            return noise(n, *sides)

        if noise is not None:
            recipe.noise = counted
        try:
            for _ in range(steps):
                phase = recipe.phase(trace.images)
                batch = self.batch(trace.images, phase.resolution, phase.batch or whole)
                if enter and (trace.phase is None or trace.phase.index != phase.index):
                    recipe.enter(phase.index, batch)
                trace.phase, trace.turn = phase, 0
                recipe.step(batch, trace)
                trace.step, trace.images = trace.step + 1, trace.images + batch.size
        finally:
            recipe.__dict__.pop("noise", None)
        return trace.updates

    def batch(self, images: int, resolution: int | None, whole: int) -> Batch:
        """Random data of the kind that the model learns from: a few rows, as the first ones of the preset's batch."""
        spec, n, load = self.small_spec, min(ROWS, whole), self.small.load_size
        random = torch.Generator().manual_seed(images)

        def picture(shape: tuple[int, ...]) -> Tensor:
            if len(shape) == 3:
                sides = load or shape[1:]
                shape = (shape[0], *(side * resolution // min(sides) if resolution else side for side in sides))
            images = torch.randint(256, (n, *shape), generator=random) / 127.5 - 1
            if len(shape) == 3:  # a black and a white half, which a smaller image keeps
                images[0, :, : shape[1] // 2], images[0, :, shape[1] // 2 :] = -1, 1
            return images

        kind, fields = self.kind.data.split()[0], {}
        if kind in ("domains", "pairs"):
            fields |= dict(a=picture(spec.shape), b=picture(spec.other or spec.shape))
        else:
            fields |= dict(real=picture(spec.shape))
        if kind == "masks":
            fields["mask"] = torch.randint(spec.num_classes, (n, *spec.shape[1:]), generator=random)
        elif spec.num_classes:
            fields["label"] = torch.randint(spec.num_classes, (n,), generator=random)
        if spec.condition_dim:
            fields["condition"] = torch.randn(n, spec.condition_dim, generator=random)
        if spec.attributes:
            fields["attribute"] = torch.randint(2, (n, len(spec.attributes)), generator=random).float()
        if kind == "captions":
            codes = torch.randint(1, max(2, spec.caption[1]), (n, spec.caption[0]), generator=random)
            fields |= dict(wrong=picture(spec.shape), caption=codes if spec.caption[1] else codes.float())
        return Batch(fields, images, whole, 0, self.settings.seed)
