"""The command `gankit train`."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_type_hints

from gankit.cli.flags import SECOND_NAMES, alias, args_of, asks_help, first, is_typed, only, options_of, parse, take
from gankit.text import put

if TYPE_CHECKING:
    from gankit.recipe import Recipe
    from gankit.training.settings import Settings


@dataclasses.dataclass
class Command:
    """How the command behaves.

    Args:
        preset: sizes from the model's file; the defaults below are those with this preset.
        outdir: folder in which the run's folder is created.
        desc: words to add to the run folder's name.
        time: how long the run may take, such as 90s, 30m or 2h, in place of --images: a few measured steps set the
            length, and schedules, previews and saves follow it.
        gpus: number of processes to start on this machine.
        dry_run: print what would be trained, and stop.
        quiet: print nothing.
    """

    preset: str = ""
    outdir: str = "runs"
    desc: str = ""
    time: str = ""
    gpus: int = 1
    dry_run: Annotated[bool, alias("-n")] = False
    quiet: bool = False


def train(words: list[str]) -> None:
    """Train a model: gankit train MODEL|auto|./my_gan.py --data DATA [--time 30m] [flags]

    `auto` looks at the data and at this machine, says which model, preset, size and augmentation it takes and why, and
    trains it for --time, 30 minutes if you do not say.
    """
    began = time.perf_counter()
    if asks_help(words):
        words = ["dcgan", *words]
    name, words = first(words, "train", "MODEL", "`gankit models` lists the models, and auto chooses one")
    words, gpus = take(words, "--gpus")
    if gpus and "RANK" not in os.environ:
        spawn(gpus, ["train", name, *words])
    if name == "auto":
        train_auto(words, began)
        return

    from gankit import build, models
    from gankit.training.settings import Settings, plan

    kind = models.declared(name)  # torch is imported once the flags are right
    preset = take(words, "--preset")[1] or ""
    defaults, arguments = plan(kind, preset, {})  # so that the help shows the defaults with this preset
    model_flags = options_of("Model", f"Options of {name}.", get_type_hints(kind.__init__), args_of(kind), arguments)
    command, settings, model = parse(train, name, words, Command, Settings, model_flags, defaults=defaults)
    arguments = vars(model)
    build.check(kind, arguments)

    from gankit.training.budget import budget_of
    from gankit.training.loop import begin

    recipe = models.recipe_of(kind)
    typed = typed_of([*vars(settings), *arguments], words)
    budget = budget_of(command.time, typed, began) if command.time else None
    if command.dry_run:
        dry_run(recipe, settings, arguments)
    else:
        begin(recipe, preset, settings, arguments, Path(command.outdir), command.desc, command.quiet, budget)


def train_auto(words: list[str], began: float) -> None:
    """Choose a model for the data, print the choice, and train it."""
    from gankit.training.settings import Settings

    if is_typed(words, "preset"):
        raise ValueError(
            "auto chooses the preset; to choose it yourself, name the model: gankit train dcgan --preset small"
        )
    flags = only(Command, "outdir", "desc", "time", "gpus", "dry_run", "quiet")
    command, settings = parse(train, "auto", words, flags, Settings)

    from gankit import choosing

    options = {name: getattr(settings, name) for name in typed_of(list(vars(settings)), words)}
    choice = choosing.choose(options, command.time, began, say=not command.quiet)
    if not command.dry_run:
        choosing.train_choice(choice, Path(command.outdir), command.desc, command.quiet)


def typed_of(names: list[str], words: list[str]) -> dict[str, None]:
    """Those of the names of settings and arguments whose flags are among the words."""
    no = {name for name in names if is_typed(words, f"no_{name}")}
    second = {name for name, flag in SECOND_NAMES.items() if is_typed(words, flag.removeprefix("--"))}
    kimg = {"images"} if is_typed(words, "kimg") else set()
    return {name: None for name in names if is_typed(words, name) or name in no | second | kimg}


def spawn(gpus: str, words: list[str]) -> None:
    """Become torchrun with this many processes on this machine; with 1, continue in this process."""
    if not gpus.isdigit() or int(gpus) < 1:
        raise ValueError(f"--gpus takes a whole number, not {gpus!r}")
    if int(gpus) > 1:
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", gpus, "-m", "gankit"]
        words = [re.sub(r"^--log(?=$|=)", "--tick", word) for word in words]
        os.execv(sys.executable, [sys.executable, *torchrun, *words])


def dry_run(kind: type[Recipe], settings: Settings, arguments: dict[str, object]) -> None:
    """Print the settings and arguments, the data's shape and the parameters of each network."""
    from gankit.training.setup import build_recipe, open_for, spec_of

    dataset, settings, arguments = open_for(kind, settings, arguments)
    recipe = build_recipe(kind, spec_of(dataset), arguments, settings.seed)
    plan = {
        "settings": dataclasses.asdict(settings),
        "arguments": arguments,
        "shape": dataset.shape,
        "classes": dataset.num_classes,
    }
    put(json.dumps(plan, indent=2))
    put({name: sum(p.numel() for p in net.parameters()) for name, net in recipe.named_children()})
