"""The choice of a model for the user's data, and its training."""

from __future__ import annotations

import shlex
import time as clock
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import get_type_hints

import torch

from gankit import data, models, processes, training
from gankit.choosing.looking import look
from gankit.choosing.sizing import SIDES, augmented, fitted
from gankit.recipe import Recipe, flags
from gankit.text import aside
from gankit.training import Run, Settings
from gankit.training.budget import Budget, seconds_of
from gankit.training.loop import begin
from gankit.training.settings import plan
from gankit.training.setup import small_preset, start_processes

TIME = "30m"  # of a run whose user does not say
CHOICES = {  # by what the data is: the model on a CPU and on a GPU, and the reason
    "one": ("singan", "singan", "one image: its parts are learned at several scales, and new pictures drawn of them"),
    "pairs": ("pix2pix", "pix2pix", "pairs of images: from one side to the other"),
    "domains": ("cyclegan", "cyclegan", "two sets of images without pairs: from each set to the other"),
    "masks": ("unet", "unet", "images with label maps: a class for each pixel"),
    "captions": ("stackgan", "stackgan", "images with captions: images from texts"),
    "labels": ("acgan", "stylegan2", "labelled images: images of a class that you name"),
    "images": ("dcgan", "stylegan2", "images of one kind: new ones like them"),
}


@dataclass(frozen=True)
class Choice:
    """What `auto` takes.

    Args:
        model, preset: their names.
        options: settings and arguments besides the preset's.
        time: of the run, as typed.
        began: when the command began, in seconds of `Budget.now`.
        lines: the choice with its reasons, and the command.
    """

    model: str
    preset: str
    options: dict[str, object]
    time: str
    began: float
    lines: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The same choice as an ordinary command."""
        kind = models.find(self.model)
        hints = get_type_hints(Settings) | get_type_hints(kind.__init__)
        words = ["gankit", "train", self.model, "--data", str(self.options["data"])]
        words += ["--preset", self.preset] if self.preset else []
        rest = {name: value for name, value in self.options.items() if name != "data"}
        return f"{shlex.join(words)} {flags(rest, hints)} --time {self.time}"


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
    """Train a model and return its finished run.

    Args:
        model: a name from `gankit models`, "auto" to choose one by the data, the path of a file with a Recipe in it, or
            a Recipe class.
        preset: sizes from the model's file, such as "paper" or "small"; options override it.
        outdir: the folder in which the run's folder is made.
        desc: words to add to the run folder's name.
        quiet: print nothing.
        time: how long the run may take, such as "30m", in place of `images`; a few measured steps set the length, and
            schedules and intervals follow it.
        options: settings (see Settings) and the model's own arguments, by name.

    Raises:
        ValueError: an option is invalid, or the model cannot learn from the data.
        Diverged: a loss or gradient is not finite; the last save is intact.
        KeyboardInterrupt, SystemExit: after a save, when Ctrl-C or SIGTERM asked to stop.
    """
    if model != "auto":
        return training.train(model, preset=preset, outdir=outdir, desc=desc, quiet=quiet, time=time, **options)
    if preset:
        raise ValueError("auto chooses the preset; to choose it yourself, name the model")
    typed = f"{time:g}s" if isinstance(time, (int, float)) else time
    return train_choice(choose(options, typed, clock.perf_counter(), not quiet), Path(outdir), desc, quiet)


def train_choice(choice: Choice, outdir: Path, desc: str, quiet: bool) -> Run:
    """Train what was chosen."""
    kind = models.find(choice.model)
    settings, arguments = plan(kind, choice.preset, choice.options)
    budget = Budget(seconds_of(choice.time), choice.began, frozenset(choice.options))
    return begin(kind, choice.preset, settings, arguments, outdir, desc, quiet, budget)


def choose(options: dict[str, object], time: str, began: float, say: bool = True) -> Choice:
    """The model and its options for the data in `options`, whose other settings stay as they are.

    Raises:
        ValueError: there is no data, or none that a model can be chosen for.
    """
    seconds = seconds_of(time or TIME)
    known = {field.name for field in fields(Settings)}
    if unknown := sorted(set(options) - known):
        raise ValueError(f"auto takes the settings of every run, and {unknown[0]} is none: name the model to set it")
    if "images" in options:
        raise ValueError("auto takes --time, which sets the length of the run: leave --images out")
    if not options.get("data"):
        raise ValueError("auto needs data: add --data PATH, a folder or archive of yours, or --data digits to try it")
    device = start_processes(replace(Settings(), device=str(options.get("device", "auto"))))
    machine = "gpu" if device.type != "cpu" else "cpu"
    with data.allow_downloads():
        how = data.reading_of(replace(Settings(), **options))  # type: ignore[arg-type]
        looked = clock.perf_counter()
        seen = look(str(options["data"]), how, SIDES[machine][0])
    again = processes.tell(clock.perf_counter() - looked)
    on_cpu, on_gpu, reason = CHOICES[seen.what]
    name = on_gpu if machine == "gpu" else on_cpu
    kind = models.find(name)
    preset = small_preset(kind, machine)
    fixed = options | ({"conditional": True} if seen.what == "labels" and name == "stylegan2" else {})
    if name == "cyclegan" and len(set(seen.channels)) > 1:
        fixed |= {"identity_weight": 0.0}  # which compares images of both domains
    spent = processes.tell(clock.perf_counter() - began)
    left = max(0.1 * seconds, 0.9 * seconds - spent)  # a tenth for previews, saves and the report
    trial = fitted(kind, preset, fixed, seen, machine, device, left, again)
    chosen, lines = augmented(kind, trial, seen, machine)
    choice = Choice(name, preset, chosen, time or TIME, began)
    where = f"{torch.get_num_threads()} CPU threads" if machine == "cpu" else str(device)
    lines = [
        f"data: {seen.text}",
        f"model: {name}, preset {preset or 'of the paper'}, for {reason} ({where})",
        *lines,
        f"command: {choice.command}",
        *seen.notes,
    ]
    if say and processes.rank() == 0:
        for line in lines:
            aside(line)
    return replace(choice, lines=tuple(lines))
