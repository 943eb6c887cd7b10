"""A model as one of its presets builds it: what the readers look at."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import Tensor

from gankit import models
from gankit.recipe import Batch, Recipe, Spec
from gankit.training import Settings
from gankit.training.settings import plan, with_length
from gankit.training.setup import build_recipe
from tests.ledger.trace import Call, Trace, Update

ROWS = 2  # of a batch that a small build is shown; it counts as the preset's whole batch
SHAPES = ("shape", "other", "caption")
SIZES = frozenset((
    "z_dim", "w_dim", "c_dim", "embed_dim", "width", "widths", "width_d", "width_g", "text_width", "hidden", "g_hidden",
    "d_hidden", "units_g", "units_d", "own_g", "own_d", "channel_base", "channel_max", "layers", "mapping_layers",
    "blocks", "sides", "chunk", "patch", "encoder", "crop", "attributes", "most",
))  # fmt: skip
"""Arguments that a small build may change: sizes of networks, which no row of a ledger is about."""
GOLDEN_RATIO = 0.6180339887498949


class BuiltPreset:
    """A model with a preset's arguments and settings, at the paper's sizes and at sizes small enough to train here.

    Args:
        model: the model's name.
        preset: the preset's name.
        small: sizes of the small build: "shape" [C, H, W], "other", "caption", and arguments of the model in SIZES.

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
        shapes = {key: tuple(small[key]) for key in SHAPES if key in small}
        self.sizes = {
            key: tuple(value) if isinstance(value, list) else value for key, value in small.items() if key not in SHAPES
        }
        if wrong := sorted(set(self.sizes) - SIZES):
            raise ValueError(
                f"the small build of {model} changes {wrong[0]!r}, which is no size; "
                f"it may change {', '.join(sorted(SIZES))}"
            )
        self.small_spec = dataclasses.replace(self.spec, **shapes)

    # builds

    @cached_property
    def built(self) -> Recipe:
        """The recipe at the paper's sizes, on the meta device."""
        with torch.device("meta"):
            return self.kind(self.spec, **self.arguments)

    @cached_property
    def untrained(self) -> Recipe:
        """The small recipe with its initial weights."""
        return build_recipe(self.kind, self.small_spec, self.arguments | self.sizes, 0)

    @cached_property
    def small(self) -> Recipe:
        """The same, for training."""
        return build_recipe(self.kind, self.small_spec, self.arguments | self.sizes, 0)

    # the course of a run

    @cached_property
    def plain_settings(self) -> Settings:
        """The settings without augmentation, which would hide what a network is shown."""
        return dataclasses.replace(self.settings, images=self.length, augment="none", augment_policy="", augment_p=0.0)

    @cached_property
    def length(self) -> int:
        """Images that the preset's run takes."""
        return with_length(self.settings, self.built).images

    @cached_property
    def phases(self) -> dict[int, int]:
        """For each phase, the images seen when it is first met, at places spread over the run by the golden ratio."""
        places = sorted({0, *(int(self.length * (i * GOLDEN_RATIO % 1)) for i in range(2000))})
        first: dict[int, int] = {}
        for images in places:
            first.setdefault(self.built.phase(images).index, images)
        return first

    def phase_start(self, index: int) -> int:
        """The images after which a phase begins, for phases that follow one another."""
        low, high = 0, self.phases[index]
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.built.phase(middle).index >= index else (middle + 1, high)
        return low

    # real steps of the small recipe

    def run(
        self, images: int = 0, steps: int = 1, idle: bool = False, enter: bool = True, whole: int = 0
    ) -> list[Update]:
        """Train the small recipe for some steps, and return their updates.

        Args:
            images: images of the preset's run before the first step.
            steps: how many batches.
            idle: skip the gradient steps; only the optimizers' rates and momenta change.
            enter: call `Recipe.enter` where a phase begins.
            whole: images in a batch; 0 for the preset's.
        """
        recipe, whole = self.small, whole or self.settings.batch
        trace, noise = Trace(recipe, self.plain_settings, idle), getattr(recipe, "noise", None)
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
        return trace.recorded

    @cached_property
    def updates(self) -> dict[int, list[Update]]:
        """The updates of each phase, in as many steps as show the pattern where an update comes only now and then."""
        updates, has_few_phases = {}, len(self.phases) < 4
        for index, images in self.phases.items():
            updates[index] = self.run(images, 12 if has_few_phases else 1)  # with many, all steps of one are alike
            if has_few_phases and min(Counter(update.label for update in updates[index]).values()) < 2:
                updates[index] = self.run(images, 18)
        return updates

    def curve(self, key: str, places: tuple[int, ...]) -> dict[str, list[float]]:
        """For each optimizer, its value of `key` in the steps after `places` images."""
        curves: dict[str, list[float]] = {}
        for images in places:
            self.run(images, idle=True)
            for name, opt in self.small.opt.items():
                curves.setdefault(name, []).append(opt.param_groups[0][key])
        return curves

    @contextmanager
    def calls(self, *modules: torch.nn.Module) -> Iterator[list[Call]]:
        """The forward calls of modules of the small recipe in the steps that are run inside the block."""
        calls: list[Call] = []

        def record(module: torch.nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
            calls.append(Call(len(self.trace.recorded), inputs, output))

        hooks = [module.register_forward_hook(record) for module in modules]
        try:
            yield calls
        finally:
            for hook in hooks:
                hook.remove()

    def input_of(self, net: str) -> tuple[float, float, bool]:
        """Minimum and maximum of the reals that a network's first layer sees, and whether noise was added to them."""
        leaves = [
            module
            for module in self.small.get_submodule(net).modules()
            if not [name for name, _ in module.named_children() if name != "parametrizations"]
        ]
        with self.calls(*leaves) as calls:
            self.run()
        inputs = [call.inputs[0].detach().flatten(1) for call in calls if call.inputs[0].is_floating_point()]
        fields = self.batch(0, self.small.phase(0).resolution, self.settings.batch).fields
        real = fields.get("real", fields.get("a")).flatten(1)

        def correlation(x: Tensor) -> Tensor:
            return torch.corrcoef(torch.stack([x.flatten(), real.flatten()]))[0, 1]

        candidates = [x for x in inputs if x.shape == real.shape]
        x = max(candidates, key=correlation) if candidates else inputs[0]
        levels = (x - x.min()) / (x.max() - x.min()) * 255
        is_noisy = bool(candidates) and bool((levels - levels.round()).abs().max() > 0.01)
        return x.min().item(), x.max().item(), is_noisy

    # data

    def batch(self, images: int, resolution: int | None, whole: int) -> Batch:
        """Random data of the model's kind: the first ROWS rows of a batch of `whole` images."""
        spec, n, load = self.small_spec, min(ROWS, whole), self.small.load_size
        random = torch.Generator().manual_seed(images)

        def picture(shape: tuple[int, ...]) -> Tensor:
            if len(shape) == 3:
                sides = load or shape[1:]
                shape = (shape[0], *(side * resolution // min(sides) if resolution else side for side in sides))
            pixels = torch.randint(256, (n, *shape), generator=random) / 127.5 - 1
            if len(shape) == 3:  # a black and a white half, which survive resizing
                pixels[0, :, : shape[1] // 2], pixels[0, :, shape[1] // 2 :] = -1, 1
            return pixels

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
