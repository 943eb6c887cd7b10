"""The size, width and augmentation that fit into the user's time, from measured steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch

from gankit.choosing.looking import Seen
from gankit.data.resizing import resized
from gankit.recipe import Recipe, Spec
from gankit.runs.config import Data
from gankit.text import shown
from gankit.training.pace import measure, outlined, shares_of
from gankit.training.settings import Settings, plan, with_length
from gankit.training.setup import open_for, spec_of

SIDES = {"cpu": (64, 48, 32), "gpu": (256, 128, 64)}  # that are tried, in pixels; images are not enlarged
ONE_IMAGE = (250, 192, 128, 96, 64)  # longer sides that are tried for a model of a single image
FEW = 100  # times that an image is shown, above which images are augmented: D overfits to those that it sees so often
ENOUGH = 0.5  # of a preset's images, which a size must allow
WORTH = 1.5  # times as many images, which make a smaller size or width worth it
WIDTHS = ("width", "widths", "width_g", "width_d", "channel_base", "channel_max")  # arguments that widen a network


@dataclass(frozen=True)
class Trial:
    """A size and width that were measured.

    Args:
        options: settings and arguments.
        batch: images in a step.
        images: that fit into the time.
        enough: that a size must allow.
        arguments: all of the model's arguments.
        side: of the images, in pixels.
    """

    options: dict[str, object]
    batch: int
    images: int
    enough: int
    arguments: dict[str, object]
    side: int

    @property
    def is_enough(self) -> bool:
        return self.images >= self.enough

    def better(self, smaller: Trial) -> Trial:
        """This trial, or a smaller one if that is worth it: if many more images fit."""
        return smaller if smaller.images >= WORTH * self.images else self


@dataclass(frozen=True)
class Sizing:
    """Measures a model at sizes and widths.

    Args:
        kind, preset, device: of the run.
        options: settings and arguments besides the preset's.
        seconds: the time of the run.
        again: seconds that reading the data at another size takes.
    """

    kind: type[Recipe]
    preset: str
    options: dict[str, object]
    device: torch.device
    seconds: float
    again: float

    def measured(self, more: dict[str, object], factor: float = 1.0, known: Data | None = None) -> Trial:
        """A size of `sizes_for` with widths times `factor`, measured on the data.

        Data that is `known` at another size is not read again.
        """
        settings, arguments = plan(self.kind, self.preset, self.options | more)
        if known is None:
            dataset, settings, arguments = open_for(self.kind, settings, arguments)
        else:
            dataset = resized(known, (side_of(more) or known.shape[1], side_of(more) or known.shape[2]))
        spec = spec_of(dataset)
        changed = deepened(self.kind, spec, arguments)
        if factor != 1.0:
            changed |= scaled(widths_of(arguments | changed), factor)
        arguments |= changed
        limit = min(5.0, max(0.3, 0.02 * self.seconds))
        pace = measure(
            self.kind, spec, settings, arguments, dataset, self.device, limit, is_whole=False, training_data=cropped
        )
        recipe = outlined(self.kind, spec, arguments)
        planned = with_length(settings, recipe).images
        reading = self.again if known is not None and spec.shape != known.shape else 0.0
        images = int(max(0.1 * self.seconds, self.seconds - reading) / pace.per_image(shares_of(recipe, planned)))
        typed = {"batch": settings.batch} | self.options | more | changed
        side = side_of(more) or min(spec.shape[1:])
        return Trial(typed, settings.batch, images, int(ENOUGH * planned), arguments, side)

    def widened(self, trial: Trial, more: dict[str, object], is_largest: bool, known: Data | None = None) -> Trial:
        """A trial at the size `more` with half its widths if its images are not enough, or twice if they are many."""
        if any(name in self.options for name in widths_of(trial.arguments)):
            return trial
        if not trial.is_enough:
            return trial.better(self.measured(more, 0.5, known))
        if is_largest and trial.images > 6 * trial.enough:
            wide = self.measured(more, 2.0, known)
            return wide if wide.images > 2 * wide.enough else trial
        return trial


def fitted(
    kind: type[Recipe],
    preset: str,
    options: dict[str, object],
    seen: Seen,
    machine: str,
    device: torch.device,
    seconds: float,
    again: float = 0.0,
) -> Trial:
    """The largest size at which enough images fit into the time, and a width that fits it.

    Sizes are measured from the largest to the first at which enough images fit, on the data as it is read at the
    largest; reading it at another size takes `again` seconds. A model of one image is measured at the smallest, and its
    cost at the others follows from their pixels. The length of the run is not taken from here, but measured once more.
    """
    sizing = Sizing(kind, preset, options, device, seconds, again)
    sizes = sizes_for(kind, options, seen, machine)
    if seen.what == "one":
        trial = sizing.measured(sizes[-1])
        fitting = [replace(trial, images=int(trial.images * (trial.side / side_of(m)) ** 2)) for m in sizes]
        at = next((i for i, larger in enumerate(fitting) if larger.is_enough), len(sizes) - 1)
        largest = replace(fitting[at], options=trial.options | sizes[at], side=side_of(sizes[at]))
        return sizing.widened(largest, sizes[at], at == 0)
    dataset = open_for(kind, *plan(kind, preset, options | sizes[0]))[0]
    chosen, trial = sizes[0], sizing.measured(sizes[0], known=dataset)
    for more in sizes[1:]:
        if trial.is_enough:
            break
        smaller = sizing.measured(more, known=dataset)
        if trial.better(smaller) is smaller:
            chosen, trial = more, smaller
    return sizing.widened(trial, chosen, chosen is sizes[0], dataset)


def cropped(recipe: Recipe, settings: Settings, dataset: Data) -> Data:
    """`open_training_data` for a measurement, which reads no files again at the size from which crops are cut."""
    return resized(dataset, recipe.load_size) if recipe.load_size else dataset


def side_of(more: dict[str, object]) -> int:
    """The side that options of `sizes_for` say; 0 where it is the user's."""
    return int(cast(str, more.get("resolution") or more.get("most") or 0))


def sizes_for(kind: type[Recipe], options: dict[str, object], seen: Seen, machine: str) -> list[dict[str, object]]:
    """Options for the sizes to choose from, the largest first."""
    if seen.what == "one":
        return [{"most": side} for side in ONE_IMAGE if side <= max(seen.side, ONE_IMAGE[-1])]
    if "resolution" in options:
        return [{}]
    largest = max(16, min(seen.side, SIDES[machine][0]))
    sides = [largest, *(side for side in SIDES[machine] if side < largest)]
    return [{"resolution": str(kind.nearest(side, side)[0])} for side in sides]


def deepened(kind: type[Recipe], spec: Spec, arguments: dict[str, object]) -> dict[str, object]:
    """The argument `widths` with as many more of the first width as the size of the images needs."""
    widths = arguments.get("widths")
    if not isinstance(widths, tuple) or not widths:
        return {}
    for more in range(5):
        changed: dict[str, object] = {"widths": widths[:1] * more + widths}
        try:
            outlined(kind, spec, arguments | changed)
        except ValueError:
            continue
        return changed if more else {}
    return {}


def widths_of(arguments: dict[str, object]) -> dict[str, object]:
    """The arguments that widen a network."""
    return {name: arguments[name] for name in WIDTHS if arguments.get(name)}


def scaled(widths: dict[str, object], factor: float) -> dict[str, object]:
    """Widths times a factor, in multiples of four."""

    def times(width: int) -> int:
        return max(4, round(width * factor / 4) * 4)

    return {
        name: tuple(map(times, cast(tuple[int, ...], width))) if isinstance(width, tuple) else times(cast(int, width))
        for name, width in widths.items()
    }


def augmented(kind: type[Recipe], trial: Trial, seen: Seen, machine: str) -> tuple[dict[str, object], list[str]]:
    """The options with an augmentation, if each image is shown often; and the lines on size and augmentation."""
    widths = ", ".join(f"{name} {shown(width)}" for name, width in widths_of(trial.arguments).items())
    enough = (
        "as many as the preset needs"
        if trial.images >= trial.enough
        else f"fewer than {trial.enough:,}: give it more time"
    )
    size = f"size: {trial.side} px, batch {trial.batch}, {widths or 'usual widths'}"
    lines = [f"{size}; about {trial.images:,} images fit into the time, {enough}"]
    times = trial.images / seen.count
    if seen.what not in ("images", "labels") or "augment" in trial.options:
        return trial.options, [*lines, "augmentation: as the model has it"]
    if times <= FEW:
        return trial.options, [*lines, f"augmentation: none, as each image is shown {times:.0f} times, not over {FEW}"]
    augment = "ada" if machine == "gpu" else "diffaugment"
    reason = f"each of {seen.count:,} images is shown {times:,.0f} times, over {FEW}, and D would learn them by heart"
    return trial.options | {"augment": augment}, [*lines, f"augmentation: {augment}, as {reason}"]
