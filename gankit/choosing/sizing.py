"""The size, width and augmentation that fit into the user's time, from measured steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch

from gankit.choosing.looking import Seen
from gankit.recipe import Recipe, Spec
from gankit.text import shown
from gankit.training.pace import measure, outlined, shares_of
from gankit.training.settings import plan, with_length
from gankit.training.setup import open_for, spec_of

SIDES = {"cpu": (64, 48, 32), "gpu": (256, 128, 64)}  # that are tried, in pixels; images are not enlarged
ONE_IMAGE = (250, 192, 128, 96, 64)  # longer sides that are tried for a model of a single image
FEW = 100  # times that an image is shown, above which images are augmented: D overfits to those that it sees so often
ENOUGH = 0.5  # of a preset's images, which a size must allow
WIDTHS = ("width", "widths", "width_g", "width_d", "channel_base", "channel_max")  # arguments that widen a network


@dataclass(frozen=True)
class Trial:
    """A size that fits.

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

    One size is measured; the cost of an image at the others follows from their pixels, and that of other widths from
    the numbers in a convolution. The length of the run is not taken from here, but measured once more. Reading the data
    at another size takes `again` seconds.
    """
    sizes = sizes_for(kind, options, seen, machine)
    is_one = seen.what == "one"
    first = sizes[-1] if is_one else sizes[0]
    settings, arguments = plan(kind, preset, options | first)
    dataset, settings, arguments = open_for(kind, settings, arguments)
    spec, batch = spec_of(dataset), settings.batch
    arguments = arguments | deepened(kind, spec, arguments)
    pace = measure(kind, spec, settings, arguments, dataset, device, min(5.0, 0.04 * seconds), is_whole=False)
    recipe = outlined(kind, spec, arguments)
    planned = with_length(settings, recipe).images
    images, enough = seconds / pace.per_image(shares_of(recipe, planned)), int(ENOUGH * planned)

    measured_side = side_of(first) or min(spec.shape[1:])
    for more in sizes:
        side = side_of(more) or measured_side
        reading = 0.0 if side == measured_side else again
        fitting = images * (measured_side / side) ** 2 * max(0.1, 1 - reading / seconds)
        if fitting >= enough:
            break
    if side != measured_side and not is_one:
        other = (spec.other[0], side, side) if spec.other else ()
        spec = replace(spec, shape=(spec.channels, side, side), other=other)
    arguments = plan(kind, preset, options | more)[1]
    deeper = deepened(kind, spec, arguments)
    usual = widths_of(arguments | deeper)
    factor = 0.5 if fitting < enough else 2.0 if fitting > 6 * enough and more is sizes[0] else 1.0
    widths = scaled(usual, factor) if factor != 1 and not any(name in options for name in usual) else {}
    typed = {"batch": batch} | options | more | deeper | widths
    return Trial(typed, batch, int(fitting / factor**1.5), enough, arguments | deeper | widths, side)


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
