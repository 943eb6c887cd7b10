"""The command `gankit models`."""

from __future__ import annotations

import json
from dataclasses import dataclass

from gankit.cli.flags import parse
from gankit.cli.output import show_table, width
from gankit.text import put


@dataclass
class Table:
    """How to list them.

    Args:
        json: print JSON, with presets and parameter counts.
    """

    json: bool = False


def models(words: list[str]) -> None:
    """List the models: paper, year, data, abilities: gankit models [--json]"""
    (options,) = parse(models, "", words, Table)

    from gankit import models as library

    if options.json:
        return put(json.dumps([about(name) for name in library.names()], indent=2))
    columns: tuple[str, ...] = ("model", "year", "paper", "data", "labels", "can")
    rows: list[tuple[str, ...]] = []
    for name in library.names():
        kind, paper = library.declared(name), library.paper(name)
        rows.append((name, str(paper.year), paper.title, kind.data, kind.labels, " ".join(kind.abilities())))
    rows.sort(key=lambda row: int(row[1]))
    if width() < 120:  # a title in a column of its own would have a word or two per line
        columns = ("model", "year", "paper / data; labels; abilities")
        rows = [line for name, year, title, *rest in rows for line in ((name, year, title), ("", "", "; ".join(rest)))]
    show_table({name: {"no_wrap": name in ("model", "year")} for name in columns}, rows)


def about(name: str) -> dict[str, object]:
    """What `--json` prints of a model."""
    from gankit import models as library

    kind, paper = library.declared(name), library.paper(name)
    presets: dict[str, dict[str, object]] = {}
    for key, preset in kind.presets.items():
        presets[key] = {
            "about": preset.about,
            "model": preset.model,
            "settings": preset.settings,
            "parameters": preset.parameters,
        }
        if preset.spec:
            presets[key] |= {"shape": preset.spec.shape, "classes": preset.spec.num_classes}
    return paper._asdict() | {
        "name": name,
        "data": kind.data.split(),
        "labels": kind.labels,
        "abilities": kind.abilities(),
        "presets": presets,
    }
