"""How fast a model trains on this machine, from a few real steps.

A measurement leaves nothing behind: its model and its folder are dropped, and the run builds its own model from its
seed, so that it is the run that `--images` with the same number gives.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gankit import build, evaluation, processes, report
from gankit.recipe import Phase, Recipe, Spec
from gankit.runs import state
from gankit.runs.config import Data, new_config
from gankit.runs.state import Diverged
from gankit.training.batches import fixed_inputs, make_batch, open_stream
from gankit.training.log import Log
from gankit.training.run import Run
from gankit.training.settings import Settings, with_length
from gankit.training.setup import build_recipe, open_training_data

POSITIONS = 1024  # at which a run is asked for its phase
GOLDEN = (5**0.5 - 1) / 2  # positions at its multiples fall evenly, whatever the length of a model's turns
EVERY = re.compile(r"n_critic|n_dis|\w+_every")  # arguments that say which steps cost more than others


@dataclass(frozen=True)
class Pace:
    """Seconds on this machine.

    Args:
        cost: of an image in training, by phase.
        build: of building the model.
        preview: of a preview.
        save: of a save.
        report: of the report.
        evaluation: of an evaluation, if the settings ask for one.
        batches: by phase, the images of the steps that were measured, which are fewer than a whole batch if that takes
            too long.
    """

    cost: dict[Phase, float]
    build: float = 0.0
    preview: float = 0.0
    save: float = 0.0
    report: float = 0.0
    evaluation: float = 0.0
    batches: dict[Phase, int] = field(default_factory=dict)

    def per_image(self, shares: Mapping[Phase, float]) -> float:
        """Seconds an image, over a run with these shares of its phases; a phase not measured costs as the others."""
        known = sum(share for phase, share in shares.items() if phase in self.cost)
        total = sum(share * self.cost[phase] for phase, share in shares.items() if phase in self.cost)
        return total / known if known else max(self.cost.values())

    def work(self, recipe: Recipe, images: int) -> Callable[[int], float]:
        """Images to the seconds until then, in a run of `images`."""
        places = np.linspace(0, images, POSITIONS + 1)
        middle = max(self.cost.values())
        costs = [self.cost.get(recipe.phase(int(place)), middle) for place in places[:-1]]
        sums = np.concatenate([[0.0], np.cumsum(np.array(costs) * np.diff(places))])
        return lambda seen: float(np.interp(seen, places, sums))


def measure(
    kind: type[Recipe],
    spec: Spec,
    settings: Settings,
    arguments: dict[str, object],
    dataset: Data,
    device: torch.device,
    limit: float,
    now: Callable[[], float] = time.perf_counter,
    is_whole: bool = True,
    training_data: Callable[[Recipe, Settings, Data], Data] = open_training_data,
) -> Pace:
    """The pace of a model with these settings, measured in about `limit` seconds; the same on all processes.

    Args:
        kind, spec, settings, arguments, dataset, device: of the run.
        limit: seconds; each phase takes one step at least.
        now: the clock.
        is_whole: measure previews, saves, the report and evaluations as well.
        training_data: what opens the data for batches.
    """
    began = now()
    recipe = build_recipe(kind, spec, arguments, settings.seed)
    settings = with_length(settings, recipe)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = new_config(kind, "", arguments, dataclasses.asdict(settings), spec, dataset)
        run = Run(recipe, settings, folder, config, device, Log(folder, settings, quiet=True))
        source, built = training_data(recipe, settings, dataset), now() - began
        steps, places = step_kinds(arguments, len(recipe.counts or [1])), phases(recipe, settings.images)
        cost, batches = {}, {}
        for i, (phase, place) in enumerate(places.items()):
            room = processes.tell(max(0.0, began + built + limit - now()) / (len(places) - i))
            cost[phase], batches[phase] = cost_of(Meter(run, source, phase, place, now), steps, room)
        others = side_costs(run, dataset, now) if is_whole else {}
    return processes.tell(Pace(cost, built, batches=batches, **others))


def phases(recipe: Recipe, images: int) -> dict[Phase, int]:
    """The phases of a run of `images`, in their order, each with the place of its first images."""
    found: dict[Phase, int] = {}
    for place in sorted(positions(images)):
        found.setdefault(recipe.phase(place), place)
    return found


def shares_of(recipe: Recipe, images: int) -> dict[Phase, float]:
    """The share of the images of a run in each of its phases."""
    return {phase: count / POSITIONS for phase, count in Counter(map(recipe.phase, positions(images))).items()}


def positions(images: int) -> list[int]:
    """Places in a run of `images`, spread evenly."""
    return [int(i * GOLDEN % 1 * images) for i in range(POSITIONS)]


def step_kinds(arguments: Mapping[str, object], sets: int = 1) -> list[tuple[int, float]]:
    """The kinds of steps of a model that updates a network, or takes a penalty, only now and then.

    Args:
        arguments: of the model; those called n_critic, n_dis and *_every say how often.
        sets: joined data sets, which take turns.

    Returns:
        A step of each kind and the share of all steps that are of its kind, the most frequent first.
    """
    every = [v for name, v in arguments.items() if EVERY.fullmatch(name) and isinstance(v, int) and v > 1]
    period = min(math.lcm(1, *every) * sets, 10_000)

    def kind_of(step: int) -> tuple[str, ...]:  # models count from 0 or from 1
        return tuple({0: "first", k - 1: "last"}.get(step // sets % k, "") for k in every)

    counts = Counter(map(kind_of, range(period)))
    first = {kind_of(step): step for step in reversed(range(period))}
    return [(first[kind], count / period) for kind, count in counts.most_common()]


def outlined(kind: type[Recipe], spec: Spec, arguments: dict[str, object]) -> Recipe:
    """The model without memory for its weights, if it can be built so."""
    return build.outline(kind, spec, arguments) or build.construct(kind, spec, arguments)


class Meter:
    """Takes single steps of a phase and times them.

    Args:
        run: whose model is trained, in vain.
        source: the data.
        phase, place: the phase, and the images before it.
        now: the clock.
    """

    def __init__(self, run: Run, source: Data, phase: Phase, place: int, now: Callable[[], float]):
        self.run, self.source, self.phase, self.place, self.now = run, source, phase, place, now
        self.full = phase.batch or run.settings.batch
        self.rows: Iterator[dict[str, Tensor]] | None = None
        self.size = 0

    def seconds(self, size: int, number: int) -> float:
        """The time of step `number` with a batch of `size`."""
        run = self.run
        run.images, run.step = self.place, number
        if self.rows is None or size != self.size:
            self.rows, self.size = open_stream(run, self.source, self.phase, size), size
        began = self.now()
        batch = make_batch(next(self.rows), run, size)
        if run.phase is None or run.phase.index != self.phase.index:
            run.recipe.enter(self.phase.index, batch)
            began = self.now()
        run.phase = self.phase
        with contextlib.suppress(Diverged):  # later phases expect a trained model
            run.recipe.step(batch, run)
        run.advance(size)
        wait_for(run.device)
        return self.now() - began


def cost_of(meter: Meter, steps: list[tuple[int, float]], room: float) -> tuple[float, int]:
    """Seconds an image in a phase, measured in `room` seconds, and the images of the steps that were measured."""
    world, end = processes.world(), meter.now() + room
    usual = steps[0][0]
    size = meter.full if meter.full <= 4 * world else 2 * world
    took = processes.tell(meter.seconds(size, usual))
    if size < meter.full:  # the first step of all prepares much, and says nothing of the next
        took = processes.tell(min(took, meter.seconds(size, usual)))
    while size < meter.full:  # a larger batch, if three steps with it fit
        room_left = processes.tell(end - meter.now())
        larger = min(meter.full, int(max(0.0, room_left) / 3 / max(took / size, 1e-9)) // world * world)
        if larger <= size:
            break
        size, took = larger, processes.tell(meter.seconds(larger, usual))
    times: dict[int, list[float]] = {}
    for number, _ in cycle(steps):
        if times and processes.tell(end - meter.now()) <= took:
            break
        times.setdefault(number, []).append(meter.seconds(size, number))
    typical = {number: statistics.median(seconds) for number, seconds in times.items()}
    known = sum(share for number, share in steps if number in typical)
    total = sum(share * typical[number] for number, share in steps if number in typical)
    return processes.tell(total / known / size), size


def side_costs(run: Run, dataset: Data, now: Callable[[], float]) -> dict[str, float]:
    """Seconds of a preview, a save, the report and an evaluation, as arguments of `Pace`."""
    costs, is_first = {}, processes.rank() == 0
    if is_first:
        run.log.start(run, dataset)  # what it imports is then there
        run.log.fixed = fixed_inputs(run, dataset)

    def timed(name: str, work: Callable[[], object], is_alone: bool = True) -> None:
        began = now()
        if is_first or not is_alone:
            with contextlib.suppress(Diverged):
                work()
        costs[name] = now() - began

    if run.settings.preview:
        timed("preview", lambda: run.log.preview(run))
    timed("save", lambda: state.save(run), is_alone=False)
    timed("report", lambda: report.write(run.folder))
    if run.settings.evaluate and (evaluate := evaluation.during(run)):
        timed("evaluation", lambda: evaluate(run), is_alone=False)
    run.log.close()
    return costs


def wait_for(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
