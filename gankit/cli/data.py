"""The command `gankit data`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from gankit.cli import flags as command_line
from gankit.cli.flags import alias, described, first, is_typed, parse
from gankit.text import about, put

if TYPE_CHECKING:
    from gankit.data import Dataset, Domains, Reading, Union


@dataclass
class Look:
    """What to look at.

    Args:
        want: read files as pairs, as two domains, as images with label maps or with captions; default: as --model does,
            if it is given.
        model: measure the memory and time of this model's training step.
        preset: sizes of that model.
        batch: images in its step.
        sheet: path of the contact sheet, a PNG.
        check: read every file again, also if nothing has changed since the last time.
    """

    want: Annotated[Literal["", "pairs", "domains", "masks", "captions"], alias(name="as")] = ""
    model: str = ""
    preset: str = ""
    batch: int = 0
    sheet: str = "out/contact-sheet.png"
    check: bool = False


@dataclass
class Get:
    """Where to download to.

    Args:
        to: the folder that the set's folder is put in; default: $GANKIT_DATA, or datasets/ in gankit's cache.
    """

    to: str = ""


def data(words: list[str]) -> None:
    """Show how data is read, before training: gankit data PATH [--resolution 64] [--as pairs] [--model dcgan]

    gankit data list shows the published sets that have a name, and gankit data get NAME downloads one. A folder with
    such a name is ./get.
    """
    path, flags = first(words, "data", "PATH")
    if path in ("get", "list"):
        (get if path == "get" else show_list)(flags)
        return

    from gankit.data.reading import answers  # without torch, as an answer that is known takes less time than that

    words = [word for word in words if word != "--check"]
    answer = None if "--check" in flags or is_typed(flags, "model") else answers.recall(words)
    if answer:
        put(
            f"{answer.text}\n(as checked on {answer.day}; no name, size or time of a file has changed since; "
            "--check reads every file again)"
        )
    if answer and answer.is_drawn:
        return

    from gankit import data as library
    from gankit import models
    from gankit.data.reading.noting import noted

    options, how = parse(data, "PATH", flags, Look, library.Reading)

    want: str = options.want
    if options.model and not want:
        want = models.find(options.model).data.split()[0]
    if answer:
        draw(library.open_as(path, how, want=want), Path(options.sheet))
        answers.remember(words, answers.redrawn(answer))
        return
    with library.allow_downloads(), noted() as listings:
        lines = ["\n".join([*library.published.origins(path), str(library.describe_as(path, how, want))])]
        put(lines[0])
        dataset = library.open_as(path, how, want=want)
    if options.want and dataset.kind != want:
        raise ValueError(f"{path} holds {dataset.kind}. {library.HOW[want]}")
    kind = library.KINDS.get(dataset.kind, dataset.kind)
    lines.append(f"\nread as: {len(dataset):,} {kind} of {'x'.join(map(str, dataset.shape))}")
    sheet = Path(options.sheet) if dataset.kind in library.KINDS and options.sheet else None
    if sheet:
        draw(dataset, sheet)
        lines.append(f"contact sheet: {sheet}")
    put("\n".join(lines[1:]))
    if not options.model and "://" not in path and not path.startswith("hf:"):  # files that this machine can check
        answers.remember(words, answers.of("\n".join(lines), listings, sheet))
    if options.model:
        put(cost(options, how, path))


def draw(dataset: Dataset | Domains | Union, sheet: Path) -> None:
    """Draw a contact sheet, in a folder that is made if needed."""
    from gankit import data as library

    sheet.parent.mkdir(parents=True, exist_ok=True)
    library.contact_sheet(dataset, sheet)


def get(words: list[str]) -> None:
    """Download a published data set, verified by its sha256, and go on where a download broke off."""
    name, flags = first(words, "data get", "NAME", "gankit data list shows the sets")
    (options,) = command_line.read({"get": described(Get)}, "gankit data get NAME", get.__doc__ or "", flags)

    from gankit.data import published

    path = published.get(name, vars(options)["to"])
    put(f"{name} is in {path}; gankit data {name} shows it")


def show_list(words: list[str]) -> None:
    """List the published data sets by name, with size and licence, and where they are on this machine."""
    command_line.read({}, "gankit data list", show_list.__doc__ or "", words)

    from gankit.data import published

    put(published.listing())


LIMIT = 6.0  # seconds of measuring, so that the estimate is there within ten


def cost(options: Look, how: Reading, path: str) -> str:
    """The time and memory of a model's training step on this machine, measured on a few steps."""
    from gankit import models
    from gankit.recipe import short
    from gankit.training.pace import measure, outlined, shares_of
    from gankit.training.settings import plan, with_length
    from gankit.training.setup import open_for, spec_of, start_processes

    kind = models.find(options.model)
    changed: dict[str, object] = {"data": path, **vars(how)} | ({"batch": options.batch} if options.batch else {})
    dataset, settings, arguments = open_for(kind, *plan(kind, options.preset, changed))
    spec, device, before = spec_of(dataset), start_processes(settings), memory()
    pace = measure(kind, spec, settings, arguments, dataset, device, LIMIT, is_whole=False)
    after, recipe = memory(), outlined(kind, spec, arguments)
    images = with_length(settings, recipe).images
    each, batch = pace.per_image(shares_of(recipe, images)), settings.batch
    parts = [f"{options.model} at batch {batch}: about {each * batch:.3g} s a step, {1 / each:.3g} images/s"]
    if before is not None and after is not None:
        parts.append(f"{after - before:.0f} MB more memory")
    if (measured := min(pace.batches.values())) < batch:
        parts.append(f"measured with batches of {measured}, as larger ones take too long to try")
    return f"{', '.join(parts)}; {short(images)} images take about {about(each * images)} here"


def memory() -> float | None:
    """The most memory that this process has had, in MB; None where the system does not say."""
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / (1024 if sys.platform == "darwin" else 1)
