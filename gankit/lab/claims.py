"""The experiments by name, from their files' text, so that a list of them imports none; and how one is run."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gankit.text import suggest

if TYPE_CHECKING:
    from gankit.lab.evidence import Evidence

FOLDER = Path(__file__).parent / "experiments"


class Entry(NamedTuple):
    """What an experiment's file says of it.

    Args:
        name: as the user types it.
        claim: in one sentence.
        text: the explanation: paragraphs, and formulas on indented lines.
        source: who made the claim, and where.
        seconds: that the experiment takes on one core, about.
    """

    name: str
    claim: str
    text: str
    source: str
    seconds: int

    @property
    def experiment(self) -> Callable[..., Evidence]:
        """The function, whose keyword arguments are the parameters."""
        module = importlib.import_module(f"gankit.lab.experiments.{self.name.replace('-', '_')}")
        function: Callable[..., Evidence] = module.experiment
        return function


def entries() -> dict[str, Entry]:
    """All experiments by name, in alphabetical order."""
    paths = sorted(path for path in FOLDER.glob("*.py") if path.stem != "__init__")
    return {entry.name: entry for entry in map(read, paths)}


def read(path: Path) -> Entry:
    """What an experiment's file says of it, without importing it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    claim, _, text = (ast.get_docstring(tree) or "").partition("\n\n")
    constants = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in ("SOURCE", "SECONDS")
    }
    name = path.stem.replace("_", "-")
    return Entry(name, " ".join(claim.split()), text, constants["SOURCE"], constants["SECONDS"])


def find(name: str) -> Entry:
    """An experiment. Raises ValueError if there is none of that name."""
    known = entries()
    if name not in known:
        raise ValueError(suggest("experiment", name, known))
    return known[name]


def run(name: str, **parameters: object) -> Evidence:
    """Run an experiment and return its evidence.

    Args:
        name: one of `entries()`.
        parameters: the experiment's own, by name; its defaults are those of the documented verdict.

    Raises:
        ValueError: there is no such experiment or parameter, or a value is outside the range where the theory holds.
    """
    entry = find(name)
    try:
        import matplotlib
    except ImportError as error:
        raise ValueError("the lab draws with matplotlib, which is not installed: pip install 'gankit[lab]'") from error
    import torch

    from gankit.lab.panels import STYLE

    defaults = entry.experiment.__kwdefaults__ or {}
    if unknown := sorted(set(parameters) - set(defaults)):
        raise ValueError(suggest(f"parameter of {name}", unknown[0], defaults))
    style = matplotlib.rc_context(STYLE)  # type: ignore[arg-type]  # whose keys are a type of 300 literals
    with style, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        evidence = entry.experiment(**parameters)
    evidence.entry, evidence.parameters = entry, defaults | parameters
    return evidence
