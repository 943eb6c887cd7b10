"""What the benchmarks that train models share: options, their parsing, and the file of results."""

from __future__ import annotations

import argparse
import ast
import json
from pathlib import Path


def add_seeds(parser: argparse.ArgumentParser, default: int | None, help: str = "default: 3") -> None:
    """Add --first and --seeds."""
    parser.add_argument("--first", type=int, default=0, help="the first seed, to continue an earlier call; default: 0")
    parser.add_argument("--seeds", type=int, default=default, help=f"number of seeds; {help}")


def add_training(parser: argparse.ArgumentParser) -> None:
    """Add --images and --set, for `training_options`."""
    parser.add_argument("--images", type=int, help="training length in images; default: the preset's")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings and arguments of the model"
    )


def training_options(options: argparse.Namespace) -> dict[str, object]:
    """The settings and arguments that --set and --images give."""
    return named_values(options.set) | ({"images": options.images} if options.images else {})


def named_values(texts: list[str]) -> dict[str, object]:
    """Words like lr=1e-3 and loss=hinge as a dict; values are Python literals, or else text."""
    values: dict[str, object] = {}
    for name, text in (pair.split("=", 1) for pair in texts):
        try:
            values[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            values[name] = text
    return values


def add_line(path: Path, record: dict[str, object]) -> None:
    """Append a record to a file of JSON lines."""
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")
