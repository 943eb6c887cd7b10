"""The command `gankit show`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_type_hints

from gankit.cli.flags import args_of, first, parse
from gankit.cli.output import show_table
from gankit.text import put

if TYPE_CHECKING:
    from gankit.declaration import Declaration, Spec


@dataclass
class Look:
    """What to show.

    Args:
        ledger: the paper's training procedure beside gankit's, quantity by quantity, with sources and reasons.
        json: print the ledger as JSON.
    """

    ledger: bool = False
    json: bool = False


def show(words: list[str]) -> None:
    """Show one model: its paper, losses, sizes and options: gankit show MODEL [--ledger]"""
    name, flags = first(words, "show", "MODEL")
    (options,) = parse(show, "MODEL", flags, Look)

    from gankit import ledger, models

    if options.json:
        put(json.dumps(ledger.records(ledger.rows(name)), indent=2))
    elif options.ledger:
        show_table(ledger.COLUMNS, map(ledger.cells, ledger.rows(name)))
    else:
        describe(name, models.declared(name))


def describe(name: str, kind: type[Declaration]) -> None:
    """Print a model's docstring, abilities, presets and options, each as flags of `gankit train`."""
    from gankit import build, models, translation
    from gankit.declaration import flags
    from gankit.training import Settings

    hints = get_type_hints(Settings) | get_type_hints(kind.__init__)
    put(models.docstring(name).strip() + "\n")
    put(f"trains on: {kind.data.replace(' ', ' or ')}; labels: {kind.labels}; can: {', '.join(kind.abilities())}")
    if {"translate", "segment"} & set(kind.abilities()):
        put(f"on your own images: {translation.example(kind)}")
    put(f"its own settings: {flags(kind.defaults, hints) or 'none'}\n")
    put("presets")
    for key, preset in kind.presets.items():
        put(f"  --preset {key}  # {preset.about}")
        if preset.spec and preset.parameters:
            put(f"      {sizes(preset.spec, preset.parameters)}")
        if preset.model or preset.settings:
            put(f"      {flags(preset.model | preset.settings, hints)}")
    put("\noptions")
    texts = args_of(kind)
    for key, default in build.defaults(kind).items():
        put(f"  {flags({key: default}, hints)}  # {texts.get(key, '')}")
    put(f"\nand those of every run: gankit train {name} --help")


def sizes(spec: Spec, parameters: dict[str, int]) -> str:
    """The parameters of a preset's networks, and the data that they were counted for."""
    classes = f", {spec.num_classes} classes" if spec.num_classes else ""
    counts = ", ".join(f"{name} {count:,}" for name, count in parameters.items())
    return f"parameters at {'x'.join(map(str, spec.shape))}{classes}: {counts}"
