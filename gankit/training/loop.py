"""The only loop: `train` begins a run, `resume` goes on with one, `loop` takes the steps of both."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import torch

from gankit import data, evaluation, models, processes, weights
from gankit.augment import Augment
from gankit.nn import has_batch_norm
from gankit.recipe import Recipe
from gankit.runs import lock, schema, state
from gankit.runs.config import (
    Data,
    arguments_of,
    find_model,
    find_unfinished,
    history_entry,
    new_config,
    new_folder,
    read_config,
    read_spec,
    write_config,
)
from gankit.runs.files import sweep
from gankit.runs.folders import locate
from gankit.text import aside, shown
from gankit.training.batches import fixed_inputs, make_batch, open_stream
from gankit.training.budget import Budget, Deadline, budget_of, decided, fit
from gankit.training.log import Log
from gankit.training.pace import outlined
from gankit.training.run import Run
from gankit.training.settings import MOVED, Settings, plan, settings_of, with_length, with_options
from gankit.training.setup import (
    build_recipe,
    open_data,
    open_for,
    open_training_data,
    spec_of,
    start_processes,
)
from gankit.training.signals import Signals, exit_by


def train(
    model: str | type[Recipe],
    *,
    preset: str = "",
    outdir: str | Path = "runs",
    desc: str = "",
    quiet: bool = False,
    time: str | float = "",
    **options: object,
) -> Run:
    """`gankit.train` without "auto": the same arguments, result and errors."""
    kind = models.find(model) if isinstance(model, str) else model
    budget = budget_of(time, options) if time != "" else None
    settings, arguments = plan(kind, preset, options)
    return begin(kind, preset, settings, arguments, Path(outdir), desc, quiet, budget)


def begin(
    kind: type[Recipe],
    preset: str,
    settings: Settings,
    arguments: dict[str, object],
    outdir: Path = Path("runs"),
    desc: str = "",
    quiet: bool = False,
    budget: Budget | None = None,
) -> Run:
    """`train`, from settings and arguments as `plan` returns them."""
    device = start_processes(settings)
    dataset, settings, arguments = open_for(kind, settings, arguments)
    spec, pace, unfinished = spec_of(dataset), None, None
    if processes.restarts():
        whole = with_length(settings, outlined(kind, spec, arguments))
        config = new_config(kind, preset, arguments, dataclasses.asdict(whole), spec, dataset)
        free = decided(kind, arguments) if budget else frozenset()
        unfinished = processes.tell(find_unfinished(outdir, config, free))
    if unfinished:  # what was decided when it began stands in its config
        config = read_config(unfinished)
        settings, arguments = settings_of(config), arguments_of(config)
    elif budget:
        settings, arguments, pace, line = fit(kind, spec, settings, arguments, dataset, device, budget)
        if processes.rank() == 0 and not quiet:
            aside(line)
    recipe = build_recipe(kind, spec, arguments, settings.seed)
    settings = with_length(settings, recipe)
    name = str(unfinished or "")
    if processes.rank() == 0 and not unfinished:
        config = new_config(kind, preset, arguments, dataclasses.asdict(settings), spec, dataset)
        name = str(new_folder(outdir, kind, dataset.name, desc, config))
    folder = Path(processes.tell(name))
    with locked(folder, device):
        config = read_config(folder)
        saved = state.can_resume(folder, config)
        run = Run(recipe, settings, folder, config, device, Log(folder, settings, quiet))
        if saved:
            state.restore(run)
        deadline = None
        if budget and pace and kind.stretched(arguments, 2.0) == arguments:
            deadline = Deadline(budget, pace)
        elif pace:
            run.log.work = pace.work(recipe, settings.images)
        try:
            return loop(run, dataset, deadline)
        except ValueError as error:
            is_refusal = not isinstance(error, state.Diverged) and run.step <= Augment.EVERY
            if is_refusal and not state.has_state(folder) and processes.rank() == 0:
                shutil.rmtree(folder)  # nothing was learned, and `latest` would name it
            raise


def resume(path: str | Path, *, model: str | type[Recipe] | None = None, quiet: bool = False, **options: object) -> Run:
    """Go on with a run from its last save, as if it had never stopped, and return it finished.

    Args:
        path: the run's folder.
        model: the file or class of a model that is not gankit's own.
        quiet: print nothing.
        options: settings that may change, see Settings.FREE; `data` and `text_encoder` name the current paths of these,
            whose content must be the same.

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
            previous = config["arguments"].get(name, config["settings"].get(name))
            if value != previous:
                raise ValueError(
                    f"{name} was {previous!r} when this run began and cannot become {value!r} on resume. "
                    f"These can change: {', '.join(Settings.FREE)}. For another value start a new run."
                )
    settings = with_options(before, {k: v for k, v in options.items() if k in (*Settings.FREE, *MOVED)})
    if before.text_encoder and "text_encoder" not in options:
        encoder = shown(before.text_encoder)
        raise ValueError(
            f"this run was trained with the text encoder {encoder}, which is opened only if you name it: "
            f"add --text-encoder {encoder}"
        )
    device = start_processes(settings)
    with locked(folder, device):
        with data.allow_downloads() if "data" in options else contextlib.nullcontext():
            run, dataset = restored(folder, kind, before, settings, device, quiet)
        named = ("evaluate", "evaluate_features")
        if not settings.evaluate or all(name in options or not getattr(settings, name) for name in named):
            return loop(run, dataset)
        flags = f"--evaluate {settings.evaluate}"
        if settings.evaluate_features:
            flags += f" --evaluate-features {settings.evaluate_features}"
        hint = f"to allow it add {shown(flags)}, or --evaluate '' to go without"
        with weights.not_asked(f"this run's config.json asks for it; {hint}"):
            return loop(run, dataset)


def restored(
    folder: Path, kind: type[Recipe], before: Settings, settings: Settings, device: torch.device, quiet: bool
) -> tuple[Run, Data]:
    """A run as its last save left it, and its data; what changes on resume is recorded in its history."""
    config = read_config(folder)
    saved = state.can_resume(folder, config)
    if settings.data == before.data:
        data.refuse_unasked(settings.data)
    try:
        dataset = open_data(settings, kind)
    except (ValueError, OSError) as error:
        raise ValueError(f"{error}. If the data is elsewhere now, add --data PATH") from error
    if (dataset.fingerprint, len(dataset)) != (config["data"]["fingerprint"], config["data"]["count"]):
        raise ValueError(
            f"the data {shown(settings.data)} is not what this run was trained on (fingerprint "
            f"{dataset.fingerprint[:12]}, then {config['data']['fingerprint'][:12]}). "
            "Put the old files back, name where they are with --data, or start a new run."
        )
    recipe = build_recipe(kind, read_spec(config), arguments_of(config), settings.seed)
    settings = with_length(settings, recipe)
    pairs = {name: [getattr(before, name), getattr(settings, name)] for name in (*Settings.FREE, *MOVED)}
    changed = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    run = Run(recipe, settings, folder, config, device, Log(folder, settings, quiet))
    if saved:
        state.restore(run)
    if "images" in changed:
        run.log.say(
            f"images: {changed['images'][0]} before, {changed['images'][1]} now; schedules follow the new length"
        )
    run.config["history"].append(history_entry(run.images, changed))
    run.config["settings"] = cast(schema.SettingsOfConfig, dataclasses.asdict(settings))
    return run, dataset


@contextmanager
def locked(folder: Path, device: torch.device) -> Iterator[None]:
    """Hold the lock of the run folder; process 0 takes it, and all processes leave if another run has it.

    Raises:
        Held: another run holds it.
    """
    held, error = contextlib.ExitStack(), None
    if processes.rank() == 0:
        try:  # a process that torchrun replaces may not have ended yet
            held.enter_context(lock.holding(folder, patience=20.0 if processes.restarts() else 0.0))
        except (lock.Held, OSError) as failure:
            error = failure
    if processes.agree(int(error is not None), device):
        raise error or lock.Held(f"{folder} is being written by another process")
    with held:
        yield


def loop(run: Run, dataset: Data, deadline: Deadline | None = None) -> Run:
    """The loop. Progress is one integer, images seen. A deadline moves the end of the run."""
    recipe, settings, stream = run.recipe, run.settings, None
    if settings.compile:
        for name in recipe.ema:
            getattr(recipe, name).compile()
    is_first, evaluate = processes.rank() == 0, evaluation.during(run)
    source = open_training_data(recipe, settings, dataset)
    if not (is_over := evaluate is not None and evaluate.is_over(run)):  # before this resume
        run.config.pop("stopped", None)
    if is_first:
        start_log(run, dataset)
    with Signals(run.log.say) as signals, contextlib.closing(run.log):
        if evaluate and is_unscored(run, evaluate):
            if evaluate(run) and settings.preview:
                run.log.preview(run)
            if is_over := evaluate.is_over(run):
                write_config(run.folder, run.config)
        while run.images < run.settings.images and not is_over:
            # the next batch
            phase = recipe.phase(run.images)
            if stream is None or phase != run.phase:
                size = phase.batch or settings.batch
                stream = open_stream(run, source, phase, size)
            batch = make_batch(next(stream), run, size)
            # the paper's step
            if run.phase is None or phase.index != run.phase.index:
                recipe.enter(phase.index, batch)
            run.phase = phase
            recipe.step(batch, run)
            before = run.images
            run.advance(size)
            # what is due: scores, pictures, lines, saves
            due = Due(before, run.images, run.settings)
            stop = processes.agree(signals.asked, run.device)
            if due.log or due.save or stop:
                run.check()
            if due.evaluate and evaluate and not stop:
                due.preview |= evaluate(run) and settings.preview > 0
                is_over = evaluate.is_over(run)
                due.end(is_over)
            if due.preview and is_first:
                run.log.preview(run)
            if due.log:
                if is_first:
                    run.log.write(run)
                if deadline:
                    deadline.move_end(run)
                release_memory()
            if due.save or due.keep or stop:
                state.save(run, keep=due.keep)
            run.log.tick(run)
            if stop:
                run.log.say(f"stopped after {run.images} images and saved; go on with: gankit resume {run.folder}")
                processes.leave()
                exit_by(stop)
    if is_first:
        run.log.finish(run)
    processes.leave()
    return run


def start_log(run: Run, dataset: Data) -> None:
    """Bring the run's files to its last save, which a kill may have left behind or ahead of it, and begin the log."""
    sweep(run.folder)
    run.log.cut(run.images)
    run.config["images"] = run.images
    write_config(run.folder, run.config)
    run.log.start(run, dataset)
    run.announce({"batch norm"} if has_batch_norm(run.recipe) else set())
    run.log.fixed = fixed_inputs(run, dataset)


def release_memory() -> None:
    """Return freed memory to the system: glibc keeps it in fragments, hundreds of MB an hour for cgan."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def is_unscored(run: Run, evaluate: evaluation.During) -> bool:
    """Whether an evaluation was due at the save that the run goes on from, and a signal came before it."""
    size = (run.phase.batch if run.phase else None) or run.settings.batch
    is_due = run.images > 0 and Due(run.images - size, run.images, run.settings).evaluate
    return is_due and evaluate.is_missing(run)


class Due:
    """Which intervals end between two counts of images; all but `keep` end with the run, too."""

    def __init__(self, before: int, now: int, settings: Settings):
        def is_due(every: int, is_end: bool = now >= settings.images) -> bool:
            return bool(every) and (now // every > before // every or is_end)

        self.log, self.preview, self.save = map(is_due, (settings.log, settings.preview, settings.save))
        self.evaluate, self.keep = is_due(settings.evaluate_every), is_due(settings.keep, is_end=False)
        self.has_previews = settings.preview > 0

    def end(self, is_over: bool) -> None:
        """Let all intervals end here if the run does."""
        if is_over:
            self.log, self.preview, self.save = True, self.has_previews, True
