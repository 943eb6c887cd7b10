"""The only loop: `train` begins a run, `resume` goes on with one, `loop` takes the steps of both."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from gankit import data, evaluation, models, processes, weights
from gankit.augment import Augment
from gankit.nn import has_batch_norm
from gankit.recipe import Batch, Recipe
from gankit.runs import lock, state
from gankit.runs.config import (
    arguments_of,
    find_model,
    find_unfinished,
    history_entry,
    locate,
    new_config,
    new_folder,
    read_config,
    read_spec,
    write_config,
)
from gankit.runs.files import sweep
from gankit.text import shown
from gankit.training.log import Log
from gankit.training.run import Run
from gankit.training.settings import MOVED, Settings, settings_of, with_length
from gankit.training.setup import build, open_data, opened, plan, prepare, spec_of, training_data

STRIPS = 8  # rows in a preview of models that show inputs beside outputs


def train(
    model: str | type[Recipe],
    *,
    preset: str = "",
    outdir: str | Path = "runs",
    desc: str = "",
    quiet: bool = False,
    **options: object,
) -> Run:
    """Train a model, and give back its finished run.

    Args:
        model: a name from `gankit models`, the path of a file with a Recipe in it, or a Recipe class.
        preset: sizes from the model's file, such as "paper" or "small"; options given here win over it.
        outdir: the folder in which the run's folder is made.
        desc: words to add to the run folder's name.
        quiet: print nothing.
        options: settings (see Settings) and the model's own arguments, by name.

    Raises:
        ValueError: an option, the data or their fit with the model is wrong.
        Diverged: a loss or gradient is not finite; the last save is whole.
        KeyboardInterrupt, SystemExit: after a save, when Ctrl-C or SIGTERM asked to stop.
    """
    kind = models.find(model) if isinstance(model, str) else model
    settings, arguments = plan(kind, preset, options)
    device = prepare(settings)
    dataset, settings, arguments = opened(settings, arguments, kind)
    spec = spec_of(dataset)
    recipe = build(kind, spec, arguments, settings.seed)
    settings = with_length(settings, recipe)
    folder, text = Path(), None
    if processes.rank() == 0:
        config = new_config(kind, preset, arguments, dataclasses.asdict(settings), spec, dataset)
        found = find_unfinished(Path(outdir), config) if processes.restarts() else None
        folder = found or new_folder(Path(outdir), kind, dataset.name, desc, config)
        text = str(folder)
    folder = Path(processes.tell(text))
    with written_alone(folder, device):
        config = read_config(folder)
        whole = state.whole(folder, config)
        run = Run(recipe, settings, folder, config, device, Log(folder, settings, quiet))
        if whole:
            state.restore(run)
        try:
            return loop(run, dataset)
        except ValueError as error:
            refused = not isinstance(error, state.Diverged) and run.step <= Augment.EVERY and not state.exists(folder)
            if refused and processes.rank() == 0:
                shutil.rmtree(folder)  # nothing was learnt, and `latest` would name it
            raise


def resume(path: str | Path, *, model: str | type[Recipe] | None = None, quiet: bool = False, **options: object) -> Run:
    """Go on with a run from its last save, as if it had never stopped, and give it back finished.

    Args:
        path: the run's folder.
        model: the file or class of a model that is not gankit's own.
        quiet: print nothing.
        options: settings that may change: see Settings.FREE. `data` and `text_encoder` say where these are now; what they
            hold must be the same.

    Raises:
        ValueError: the folder holds no run or no training state, another process writes it, the data has changed, or an
            option may not change on resume.
    """
    folder = locate(path)
    config = read_config(folder)
    kind = find_model(config, model)
    before = settings_of(config)
    for name, value in options.items():
        if name not in (*Settings.FREE, *MOVED):
            was = config["arguments"].get(name, config["settings"].get(name))
            if value != was:
                raise ValueError(
                    f"{name} was {was!r} when this run began and cannot become {value!r} on resume. "
                    f"These can change: {', '.join(Settings.FREE)}. For another value start a new run."
                )
    settings = dataclasses.replace(before, **{k: v for k, v in options.items() if k in (*Settings.FREE, *MOVED)})
    if before.text_encoder and "text_encoder" not in options:
        raise ValueError(
            f"this run learnt with the text encoder {shown(before.text_encoder)}, which is opened only if you name it: "
            f"add --text-encoder {shown(before.text_encoder)}"
        )
    device = prepare(settings)
    with written_alone(folder, device):
        unasked = {
            name for name in ("evaluate", "evaluate_features") if getattr(settings, name) and name not in options
        }
        return _resumed(folder, kind, before, settings, device, quiet, unasked)


def _resumed(
    folder: Path,
    kind: type[Recipe],
    before: Settings,
    settings: Settings,
    device: torch.device,
    quiet: bool,
    unasked: set[str],
) -> Run:
    """`resume`, once the folder is held; `unasked` are settings of evaluation that config.json alone names."""
    config = read_config(folder)
    whole = state.whole(folder, config)
    try:
        dataset = open_data(settings, kind)
    except (ValueError, OSError) as error:
        raise ValueError(f"{error}. If the data is elsewhere now, add --data PATH") from error
    if dataset.fingerprint != config["data"]["fingerprint"]:
        raise ValueError(
            f"the data {shown(settings.data)} is not what this run was trained on (fingerprint {dataset.fingerprint[:12]}, "
            f"then {config['data']['fingerprint'][:12]}). Put the old files back, name where they are with --data, or start a new run."
        )
    recipe = build(kind, read_spec(config), arguments_of(config), settings.seed)
    settings = with_length(settings, recipe)
    free = (*Settings.FREE, *MOVED)
    changed = {
        k: [getattr(before, k), getattr(settings, k)] for k in free if getattr(before, k) != getattr(settings, k)
    }
    run = Run(recipe, settings, folder, config, device, Log(folder, settings, quiet))
    if whole:
        state.restore(run)
    if "images" in changed:
        run.log.say(
            f"images: {changed['images'][0]} before, {changed['images'][1]} now; schedules follow the new length"
        )
    run.config["history"].append(history_entry(run.images, changed))
    run.config["settings"] = dataclasses.asdict(settings)
    if not settings.evaluate or not unasked:
        return loop(run, dataset)
    flags = f"--evaluate {settings.evaluate}" + (
        f" --evaluate-features {settings.evaluate_features}" if settings.evaluate_features else ""
    )
    with weights.not_asked(
        f"this run's config.json asks for it; to allow it add {shown(flags)}, or --evaluate '' to go without"
    ):
        return loop(run, dataset)


@contextmanager
def written_alone(folder: Path, device: torch.device) -> Iterator[None]:
    """Hold the run folder, as the first of this run's processes; all of them leave if another run holds it.

    Raises:
        Held: it does.
    """
    held, error = contextlib.ExitStack(), None
    if processes.rank() == 0:
        try:  # a process that torchrun replaces may still be on its way out
            held.enter_context(lock.holding(folder, patience=20.0 if processes.restarts() else 0.0))
        except (lock.Held, OSError) as reason:
            error = reason
    if processes.agree(int(error is not None), device):
        raise error or lock.Held(f"{folder} is being written by another process")
    with held:
        yield


def loop(run: Run, dataset: data.Dataset) -> Run:
    """The loop. Progress is one integer, images seen."""
    recipe, settings, stream = run.recipe, run.settings, None
    if settings.compile:
        for name in recipe.ema:
            getattr(recipe, name).compile()
    first, judge, source = processes.rank() == 0, evaluation.during(run), training_data(recipe, settings, dataset)
    if first:  # a kill may have left the folder behind or ahead of the last save
        sweep(run.folder)
        run.log.cut(run.images)
        run.config["images"] = run.images
        write_config(run.folder, run.config)
        run.log.start(run, dataset)
        run.announce({"batch norm"} if has_batch_norm(recipe) else set())
        if hasattr(recipe, "strip"):
            run.log.fixed = make_batch(next(dataset.stream(0, STRIPS, seed=settings.seed)), run, STRIPS)
            run.log.fixed.start = 0  # so that its random numbers are always the same
    with Signals(run) as asked:
        while run.images < settings.images:
            phase = recipe.phase(run.images)
            if stream is None or phase != run.phase:
                size = phase.batch or settings.batch
                if size % processes.world():
                    raise ValueError(
                        f"the batch of {size} from {run.images} images on does not divide by the {processes.world()} processes"
                    )
                rows = source.stream(
                    run.images, size, phase.resolution, settings.seed, processes.rank(), processes.world()
                )
                stream = data.ahead(rows, settings.workers)
            batch = make_batch(next(stream), run, size)
            if run.phase is None or phase.index != run.phase.index:
                recipe.enter(phase.index, batch)
            run.phase = phase
            recipe.step(batch, run)
            before = run.images
            run.advance(size)
            due = Due(before, run.images, settings)
            stop = processes.agree(asked.signal, run.device)
            if due.log or due.save or stop:
                run.check()
            if due.evaluate and judge and not stop:
                judge(run)
            if first:
                if due.preview:
                    run.log.preview(run)
                if due.log:
                    run.log.write(run)
            if due.log:
                give_back_memory()
            if due.save or due.keep or stop:
                state.save(run, keep=due.keep)
            if stop:
                run.log.say(f"stopped after {run.images} images and saved; go on with: gankit resume {run.folder}")
                asked.leave(stop)
    if first:
        run.log.finish(run)
    processes.leave()
    return run


def make_batch(fields: dict[str, Tensor], run: Run, size: int) -> Batch:
    """A batch on the device: images from uint8 to [-1, 1], floats in the run's precision."""
    placed = {}
    for name, value in fields.items():
        value = value.to(run.device, non_blocking=True)
        if value.dtype == torch.uint8:
            value = data.normalise(value, run.dtype)
        elif value.is_floating_point():
            value = value.to(run.dtype)
        if value.ndim == 4 and run.settings.batch >= 4:
            value = value.contiguous(memory_format=torch.channels_last)
        placed[name] = value
    first = processes.rank() * size // processes.world()
    return Batch(placed, run.images, size, first, run.settings.seed, run.augment)


def give_back_memory() -> None:
    """Hand freed memory back to the system: glibc keeps it in pieces, hundreds of MB an hour for networks like cgan's."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").malloc_trim(0)


class Due:
    """Which intervals end between two counts of images; the run's end counts for all."""

    def __init__(self, before: int, now: int, settings: Settings):
        end = now >= settings.images
        for name in ("log", "preview", "save", "keep", "evaluate"):
            every = getattr(settings, "evaluate_every" if name == "evaluate" else name)
            setattr(self, name, bool(every) and (now // every > before // every or (end and name != "keep")))


class Signals(contextlib.AbstractContextManager):
    """Signals that ask the loop to save and leave after the step: SIGTERM, Ctrl-C, a terminal that was closed (SIGHUP),
    a time limit (SIGXCPU) and Slurm's warning before one (SIGUSR1). A second Ctrl-C or SIGTERM leaves at once."""

    ASK = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGXCPU")  # where the system has them

    def __init__(self, run: Run):
        self.run, self.signal, self.kept = run, 0, {}
        self.seen: set[int] = set()

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for name in self.ASK:
                number = getattr(signal, name, None)
                if number is None or (
                    name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN
                ):  # as under nohup
                    continue
                self.kept[number] = signal.signal(number, self.handle)
        return self

    def handle(self, number: int, frame: object) -> None:
        if number in self.seen and number in (signal.SIGINT, signal.SIGTERM):
            os._exit(128 + number)
        self.seen.add(number)
        if not self.signal:
            self.signal = number
            self.run.log.say("stopping after this step, with a save; once more to leave at once")

    def __exit__(self, *exception: object) -> None:
        for number, handler in self.kept.items():
            signal.signal(number, handler)

    def leave(self, number: int) -> None:
        self.run.log.close()
        processes.leave()
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)
