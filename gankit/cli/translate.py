"""The command `gankit translate`."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Annotated

from gankit.cli.errors import fail
from gankit.cli.flags import Loading, alias, first, parse
from gankit.text import aside, put

if TYPE_CHECKING:
    from gankit.translation import Outcome


@dataclasses.dataclass
class Command:
    """How the command behaves.

    Args:
        output: a file, for one image, or a folder, in which names and subfolders are kept.
    """

    output: Annotated[str, alias("-o")] = "out"


def translate(words: list[str]) -> None:
    """Translate images: gankit translate RUN INPUT ... -o OUT [--to b | --set blond=1 | --au AU12=0.8 | --style IMG]"""
    run, words = first(words, "translate", "RUN INPUT")
    inputs = list(itertools.takewhile(lambda word: not word.startswith("-"), words))
    if run and not inputs and not {"-h", "--help"} & set(words):
        fail("translate what? gankit translate RUN INPUT ... -o OUTPUT: images, folders, patterns or videos", 2)

    from gankit import translation
    from gankit.runs.folders import locate

    flags = words[len(inputs) :]
    command, options, loading = parse(translate, "RUN INPUT", flags, Command, translation.Options, Loading)
    folder = locate(run)  # before torch is imported
    done = translation.translate(
        folder,
        inputs,
        command.output,
        model=loading.model or None,
        device=loading.device,
        weights=loading.weights,
        quiet=False,
        **dataclasses.asdict(options),
    )
    report(done, command.output)


def report(done: Outcome, output: str) -> None:
    """Print what was measured and written; leave with exit code 1 if inputs were skipped."""
    for name, text in done.measured:
        put(f"{name}: {text}")
    for note in done.notes:
        aside(f"- {note}")
    if done.written:
        put(done.written[0] if len(done.written) == 1 else f"{len(done.written)} files in {output}")
    if done.skipped:
        from gankit.data.reading.files import listed

        count = len(done.skipped)
        reasons = listed((f"{name}: {reason}" for name, reason in done.skipped), count)
        lines = "".join(f"\n  {reason}" for reason in reasons)
        fail(f"{count} of {done.inputs} inputs could not be used:{lines}", 1)
