"""The length of a run that takes a given time, with its schedules whole."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from gankit import processes
from gankit.recipe import Images, Recipe, Spec
from gankit.runs.config import Data
from gankit.text import about, shown
from gankit.training.pace import Pace, measure, outlined, shares_of
from gankit.training.run import Run
from gankit.training.settings import Settings, with_length, with_options

DECIDED = ("images", "log", "preview", "save", "evaluate_every", "ema", "augment_speed")  # settings that a time decides
SHARE = 0.03  # of the time, which previews and saves may take each
START = 0.3  # seconds between the building of a model and its first step: the picture of reals and the log
NOTABLE = 0.01  # of a run's length, by which its end is moved at least
WORDS = "write 90s, 30m, 2h or 1:30:00"


@dataclass(frozen=True)
class Budget:
    """The time that a run may take.

    Args:
        seconds: from `began` to the report.
        began: seconds on `now` when the command began.
        fixed: names of the settings and arguments that the user chose, which stay as they are.
        now: the clock.
    """

    seconds: float
    began: float
    fixed: frozenset[str] = frozenset()
    now: Callable[[], float] = time.perf_counter


def seconds_of(text: str | float) -> float:
    """Seconds of a time as users write it: 90s, 30m, 2h, 1h30m, 1:30:00, or a number of seconds from Python.

    Raises:
        ValueError: it is none, or not above 0.
    """
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        seconds = float(text)
    else:
        word = str(text).strip().lower()
        parts = re.fullmatch(
            r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", word
        )
        clock = re.fullmatch(r"(?:(\d+):(?=[0-5]?\d:))?(\d+):([0-5]\d)", word)
        if clock:
            seconds = float(int(clock[1] or 0) * 3600 + int(clock[2]) * 60 + int(clock[3]))
        elif parts and word:
            seconds = sum(float(part or 0) * unit for part, unit in zip(parts.groups(), (86400, 3600, 60, 1)))
        else:
            raise ValueError(f"--time is {shown(repr(text))}, which is no time; {WORDS}")
    if not 0 < seconds < 1e9:
        raise ValueError(
            f"--time is {shown(repr(text))}; a run takes more than no time, and less than 30 years: {WORDS}"
        )
    return seconds


def budget_of(time: str | float, options: Mapping[str, object], began: float | None = None) -> Budget:
    """The budget of a time as users write it, from now on or from `began`.

    Raises:
        ValueError: it is no time, or the options give a length as well.
    """
    seconds = seconds_of(time)
    if "images" in options:
        raise ValueError("--time sets the length of a run, and so does --images: leave one of them out")
    return Budget(seconds, Budget.now() if began is None else began, frozenset(options))


def decided(kind: type[Recipe], arguments: dict[str, object]) -> frozenset[str]:
    """Names of the settings and of a model's arguments that a time decides."""
    stretched = kind.stretched(arguments, 0.5)
    return frozenset([*DECIDED, *(name for name, value in stretched.items() if value != arguments[name])])


def fit(
    kind: type[Recipe],
    spec: Spec,
    settings: Settings,
    arguments: dict[str, object],
    dataset: Data,
    device: torch.device,
    budget: Budget,
) -> tuple[Settings, dict[str, object], Pace, str]:
    """Settings and arguments with which the run ends in time, the pace, and what was found, in a line."""
    limit = min(10.0, max(2.0, 0.06 * budget.seconds))
    pace = measure(kind, spec, settings, arguments, dataset, device, limit, budget.now)
    spent = processes.tell(budget.now() - budget.began)
    fitted, changed = length_for(kind, spec, settings, arguments, pace, budget, spent)
    images = with_length(fitted, outlined(kind, spec, changed)).images
    batch = min(settings.batch, min(pace.batches.values(), default=settings.batch))
    line = f"{images:,} images fit into {about(budget.seconds)}, of which {about(spent)} have passed"
    if images < 20 * settings.batch:
        line += (
            f"; these are {max(1, images // settings.batch)} steps, too few to learn from: give it more time, "
            "a smaller --resolution or a smaller --preset"
        )
    elif batch < settings.batch:
        line += f" (measured with batches of {batch})"
    return fitted, changed, pace, line


def length_for(
    kind: type[Recipe],
    spec: Spec,
    settings: Settings,
    arguments: dict[str, object],
    pace: Pace,
    budget: Budget,
    spent: float,
) -> tuple[Settings, dict[str, object]]:
    """Settings and arguments for a run that takes the rest of the time after `spent` seconds, its schedules whole.

    All schedules are as much shorter or longer as the run is. Intervals that the user did not set give a first preview
    early, up to a hundred lines, and saves some minutes apart.
    """
    recipe = outlined(kind, spec, arguments)
    planned: int = with_length(settings, recipe).images
    room = max(0.0, budget.seconds - spent - pace.build - START - pace.report)
    images, chosen, changed = planned, settings, arguments
    for _ in range(4):  # intervals and phases depend on the length, and the length on what they cost
        shares = shares_of(outlined(kind, spec, changed), images)
        others = min(side_costs(chosen, pace, images), 0.9 * room)
        images = max(settings.batch, nice((room - others) / pace.per_image(shares), 3))
        ratio = images / planned
        stretched = kind.stretched(arguments, ratio)
        changed = arguments | {name: value for name, value in stretched.items() if name not in budget.fixed}
        chosen = spaced(settings, images, ratio, pace, budget)
    return chosen, changed


def side_costs(settings: Settings, pace: Pace, images: int) -> float:
    """Seconds that the previews, saves and evaluations of so many images take."""
    intervals = (
        (pace.preview if settings.preview else 0.0, settings.preview or images),
        (pace.save, settings.save),
        (pace.evaluation, settings.evaluate_every),
    )
    return sum(cost * math.ceil(images / every) for cost, every in intervals)


@dataclass(frozen=True)
class Deadline:
    """Moves the end of a run, which is over in time though its steps turn out faster or slower than was measured.

    Only for models without a schedule: they learn the same whatever their length is.

    Args:
        budget: the time.
        pace: what was measured.
    """

    budget: Budget
    pace: Pace

    def move_end(self, run: Run) -> None:
        """Let a run end in time, unless a schedule depends on its end."""
        settings, rest = run.settings, run.settings.images - run.images
        if rest <= 0 or run.has_schedule:
            return
        room = self.budget.began + self.budget.seconds - self.budget.now() - self.pace.report
        room = max(0.0, room - side_costs(settings, self.pace, rest))
        images = run.images + max(1, round(rest * room / max(run.log.progress.left(), 1e-9)))
        if processes.tell(abs(images - settings.images) > NOTABLE * settings.images):
            run.end_at(processes.tell(images))


def spaced(settings: Settings, images: int, ratio: float, pace: Pace, budget: Budget) -> Settings:
    """The settings of a run of `images`, `ratio` times the planned length, with what the user did not set."""

    def every(count: float, cost: float = 0.0, share: float = SHARE) -> Images:
        if cost:
            count = min(count, share * budget.seconds / cost)
        return Images(max(settings.batch, nice(images / count, 2) if count > 1 else images))

    minutes = budget.seconds / 60
    values: dict[str, object] = {
        "images": Images(images) if settings.images else 0,  # 0: the model's own length, which follows its arguments
        "log": every(min(100, max(10, budget.seconds / 5))),
        "preview": every(min(60, max(10, minutes)), pace.preview) if settings.preview else 0,
        "save": every(max(1, minutes / 5), pace.save),
        "evaluate_every": every(5, pace.evaluation, 0.2) if settings.evaluate else settings.evaluate_every,
        "ema": max(1, nice(settings.ema * min(1.0, ratio), 2)) if settings.ema else 0,
    }
    if settings.augment == "ada":
        values["augment_speed"] = min(settings.augment_speed, max(1, images // 2))
    return with_options(settings, {name: value for name, value in values.items() if name not in budget.fixed})


def nice(count: float, digits: int) -> int:
    """A count rounded down to so many digits: 123,456 as 120,000 with two."""
    whole = int(count)
    step: int = 10 ** max(0, len(str(whole)) - digits)
    return whole // step * step
