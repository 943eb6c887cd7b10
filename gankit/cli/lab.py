"""The command `gankit lab`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_type_hints

from gankit.cli.flags import alias, args_of, asks_help, first, options_of, parse
from gankit.text import about, put


@dataclass
class Lab:
    """Where the files go.

    Args:
        outdir: folder for NAME.png, NAME.json with the numbers, NAME.html and, where time matters, NAME.webp.
    """

    outdir: Annotated[str, alias("-o")] = "lab"


def lab(words: list[str]) -> None:
    """Run an experiment that shows what a paper claims: gankit lab NAME [flags]; without NAME the list; all for each"""
    if not words or asks_help(words):
        return list_experiments()
    name, rest = first(words, "lab", "NAME", "gankit lab lists them")

    from gankit.lab.claims import entries, find

    if name == "all":
        (options,) = parse(lab, name, rest, Lab)
        for entry in entries():
            put(f"{entry}:")
            show(entry, {}, Path(options.outdir))
        return

    function = find(name).experiment
    title, hints = (function.__doc__ or "").splitlines()[0], get_type_hints(function)
    kind = options_of("Experiment", title, hints, args_of(function), dict(function.__kwdefaults__ or {}))
    parameters, options = parse(lab, name, rest, kind, Lab)
    show(name, vars(parameters), Path(options.outdir))


def show(name: str, parameters: dict[str, object], folder: Path) -> None:
    """Run an experiment, print its checks and its verdict, and write its files."""
    from gankit.lab.claims import run

    evidence = run(name, **parameters)
    for check in evidence.checks:
        put(f"{'as predicted' if check.holds else 'NOT as predicted'}: {check}")
    put(f"verdict: {evidence.verdict}")
    for path in evidence.write(folder):
        put(path)


def list_experiments() -> None:
    """Print the experiments: name, seconds, claim and source."""
    from gankit.lab.claims import entries

    lines = []
    for entry in entries().values():
        lines += [f"{entry.name}  ({about(entry.seconds)})", f"    {entry.claim}", f"    {entry.source}"]
    put("\n".join([lab.__doc__ or "", "", *lines, "", "gankit lab NAME --help lists an experiment's parameters."]))
