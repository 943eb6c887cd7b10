"""The command `gankit explore`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_type_hints

from gankit.cli.errors import fail
from gankit.cli.flags import Loading, alias, args_of, options_of, parse
from gankit.text import put, suggest

if TYPE_CHECKING:
    from gankit.explore import Result


@dataclass
class Explore:
    """How the command behaves.

    Args:
        outdir: folder for TOOL.png, TOOL.json with the numbers, and other files of the tool.
        animation: formats of the animation, if the tool makes one: webp, gif and mp4, separated by commas, or none.
    """

    outdir: str = "out"
    animation: str = "webp"


def explore(words: list[str]) -> None:
    """Examine what a model has learned: gankit explore RUN TOOL [flags]; without RUN and TOOL the list of tools"""
    from gankit.explore import declared

    names = [word for word in words[:2] if not word.startswith("-")]
    if len(names) < 2:
        return list_tools(words)
    run, name = names
    if name not in declared():
        raise ValueError(suggest("tool", name, declared()))
    kind = flags_of(declared()[name])
    tool_options, options, loading = parse(explore, f"RUN {name}", words[2:], kind, Explore, Loading)
    trained = loading.load(run)

    import torch

    from gankit.explore import TOOLS
    from gankit.pictures import ANIMATIONS

    formats = [part.strip() for part in options.animation.split(",") if part.strip() not in ("", "none")]
    if unknown := set(formats) - {ending[1:] for ending in ANIMATIONS}:
        raise ValueError(f"--animation takes webp, gif and mp4, or none; not {', '.join(sorted(unknown))}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        result = TOOLS[name](trained, **vars(tool_options))
    used = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(tool_options).items()}
    result.numbers = {
        "tool": name,
        "run": trained.folder.name,
        "model": trained.config["model"],
        "images": trained.images,
        "flags": used,
    } | result.numbers
    for line in result.say:
        put(line)
    for path in result.write(Path(options.outdir) / name, formats):
        put(path)


def list_tools(words: list[str]) -> None:
    """Print the tools; an error if a run is named and help is not asked for."""
    from gankit.explore import declared

    if words and words[-1] not in ("-h", "--help"):
        tools = ", ".join(declared())
        fail(f"explore {words[0]} with which tool? gankit explore RUN TOOL [flags]; there are {tools}", 2)
    lines = "\n".join(f"  {name:<12} {(tool.__doc__ or '').splitlines()[0]}" for name, tool in declared().items())
    put(f"{explore.__doc__}\n\n{lines}\n\ngankit explore RUN TOOL --help lists a tool's flags.")


def flags_of(tool: Callable[..., Result]) -> type[object]:
    """A tool's keyword arguments as a group of flags."""
    hints = get_type_hints(tool, include_extras=True)
    if "label" in hints:
        label = hints["label"]
        hints["label"] = Annotated[label, alias(name="class")]
    parameters = inspect.signature(tool).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    return options_of("Tool", (tool.__doc__ or "").splitlines()[0], hints, args_of(tool), defaults)
