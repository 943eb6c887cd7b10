"""The size, width and augmentation that fit into the user's time, from measured steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch

from gankit.choosing.looking import Seen
from gankit.recipe import Recipe
from gankit.text import shown
from gankit.training.pace import measure, outlined, shares_of
from gankit.training.settings import with_length
from gankit.training.setup import open_for, plan, spec_of

SIDES = {"cpu": (64, 48, 32), "gpu": (256, 128, 64)}  # that are tried, in pixels; images are not enlarged
ONE_IMAGE = (250, 192, 128, 96, 64)  # longer sides that are tried for a model of a single image
FEW = 100  # times that an image is shown, above which D gets changed images: it learns by heart what it sees so often
ENOUGH = 0.5  # of a preset's images, which a size must allow
WIDTHS = ("width", "widths", "width_g", "width_d", "channel_base", "channel_max")  # arguments that widen a network


@dataclass(frozen=True)
class Trial:
    """A size that was measured.

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
) -> Trial:
    """The largest size at which enough images fit into the time, then the width."""

    def attempt(more: dict[str, object]) -> Trial:
        return measured(kind, preset, options | more, device, seconds)

    trial = None
    for more in sizes_for(kind, options, seen, machine):
        trial = attempt(more)
        if trial.images >= trial.enough:
            break
    assert trial is not None  # there is a size at least
    usual = widths_of(trial.arguments)
    if trial.images < trial.enough and usual:
        trial = attempt(trial.options | scaled(usual, 0.5))
    elif trial.images > 6 * trial.enough and usual and trial.side >= min(SIDES[machine][0], seen.side):
        wider = attempt(trial.options | scaled(usual, 2.0))
        trial = wider if wider.images >= wider.enough else trial
    return trial


def sizes_for(kind: type[Recipe], options: dict[str, object], seen: Seen, machine: str) -> list[dict[str, object]]:
    """Options for the sizes to try, the largest first."""
    if seen.what == "one":
        return [{"most": side} for side in ONE_IMAGE if side <= max(seen.side, ONE_IMAGE[-1])]
    if "resolution" in options:
        return [{}]
    largest = max(16, min(seen.side, SIDES[machine][0]))
    sides = [largest, *(side for side in SIDES[machine] if side < largest)]
    return [{"resolution": str(kind.nearest(side, side)[0])} for side in sides]


def measured(
    kind: type[Recipe], preset: str, options: dict[str, object], device: torch.device, seconds: float
) -> Trial:
    """How many images fit into the time with these options."""
    settings, arguments = plan(kind, preset, options)
    dataset, settings, arguments = open_for(kind, settings, arguments)
    spec = spec_of(dataset)
    depth = deepened(lambda more: outlined(kind, spec, arguments | more), arguments)
    arguments, options = arguments | depth, options | depth
    pace = measure(kind, spec, settings, arguments, dataset, device, min(5.0, 0.03 * seconds), is_whole=False)
    recipe = outlined(kind, spec, arguments)
    planned = with_length(settings, recipe).images
    images = int(seconds / pace.per_image(shares_of(recipe, planned)))
    typed = {"batch": settings.batch} | options
    return Trial(typed, settings.batch, images, int(ENOUGH * planned), arguments, min(dataset.shape[1:]))


def deepened(attempt: Callable[[dict[str, object]], object], arguments: dict[str, object]) -> dict[str, object]:
    """The argument `widths` with as many more of the first width as the size of the images needs."""
    widths = arguments.get("widths")
    if not isinstance(widths, tuple) or not widths:
        return {}
    for more in range(5):
        changed: dict[str, object] = {"widths": widths[:1] * more + widths}
        try:
            attempt(changed)
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
