"""What the last records of a run show to be wrong, as warnings that name flags of the model."""

from __future__ import annotations

import inspect
import math
from typing import NamedTuple

from gankit.recipe import Recipe
from gankit.report.verdict import FALL

Record = dict[str, float]


class Remedies(NamedTuple):
    """Flags of a model that may help, in words; empty where it has none."""

    slower: str
    penalty: str
    has_losses: bool


def diagnose(records: list[Record], kind: type[Recipe], arguments: dict[str, object]) -> dict[str, str]:
    """Warnings by kind of trouble.

    Each needs several records in a row, so that one odd batch causes no warning. A discriminator at chance is no
    trouble: at the optimum of the game D is 1/2 everywhere, and its cross-entropy is 2 ln 2 = 1.386 (Goodfellow et al.
    2014, section 4.1).

    Args:
        records: the last lines of stats.jsonl.
        kind: the model; only flags that it has are proposed.
        arguments: its arguments in this run.
    """
    last = records[-4:]
    if len(last) < 4:
        return {}
    remedies = remedies_of(kind, arguments)
    is_at_chance = all(at_chance(record) for record in last)
    warnings = {
        "d wins": "" if is_at_chance else d_wins(last, remedies),
        "d lost": "" if is_at_chance else d_lost(last, remedies),
        "collapse": collapse(records, remedies),
        "stuck": no_gradients(last, remedies) or ("" if is_at_chance else no_change(records, remedies)),
    }
    return {trouble: text for trouble, text in warnings.items() if text}


def remedies_of(kind: type[Recipe], arguments: dict[str, object]) -> Remedies:
    """What a model's own flags can change."""
    types = {p.name: p.annotation for p in inspect.signature(kind.__init__).parameters.values()}
    free = {name for name, hint in types.items() if hint in (str, "str")}  # takes any loss or penalty of the library
    flags = {name: f"--{name.replace('_', '-')}" for name in types}
    slower = next((f" ({flags[name]})" for name in ("lr_d", "lr") if name in types), "")
    if "penalty" in free and arguments.get("penalty") in (None, "none"):
        penalty = "--penalty r1" + " --penalty-weight 1" * (not arguments.get("penalty_weight"))
    else:
        weights = [name for name in ("penalty_weight", "gamma", "r1_weight") if name in types]
        penalty = f"a larger {flags[weights[0]]}" if weights else ""
    return Remedies(slower, penalty, "loss" in free)


def at_chance(record: Record) -> bool:
    """Whether D cannot tell real from fake: cross-entropy near 2 ln 2, or right half of the time on both."""
    if abs(record.get("d/loss", 0) - 2 * math.log(2)) < 0.1:
        return True
    return all(abs(record.get(name, 0) - 0.5) < 0.1 for name in ("d/real_right", "d/fake_right"))


def d_wins(last: list[Record], remedies: Remedies) -> str:
    if not all(r.get("d/real_right", 0) > 0.98 and r.get("d/fake_right", 0) > 0.98 for r in last):
        return ""
    penalised = f" or a gradient penalty for it ({remedies.penalty})" * bool(remedies.penalty)
    return (
        "the discriminator tells all reals from all fakes, so the generator learns little. "
        f"Try a lower learning rate for the discriminator{remedies.slower}{penalised}."
    )


def d_lost(last: list[Record], remedies: Remedies) -> str:
    if not all("d/real_right" in r and r["d/real_right"] < 0.02 for r in last):
        return ""
    return (
        "the discriminator calls every real a fake. "
        f"Try another learning rate for it{remedies.slower}, or a smaller generator."
    )


def collapse(records: list[Record], remedies: Remedies) -> str:
    spread = [r["samples/std"] for r in records if "samples/std" in r]
    if len(spread) < 2 or not spread[-1] < FALL * max(spread):
        return ""
    steadier = f"a gradient penalty ({remedies.penalty}), " * bool(remedies.penalty)
    return (
        "the samples have become alike: the generator has collapsed to few modes. "
        f"Try {steadier}a larger batch (--batch), or an earlier save."
    )


def no_gradients(last: list[Record], remedies: Remedies) -> str:
    gradients = [[value for key, value in r.items() if key.endswith("/grad")] for r in last]
    if not gradients[0] or not all(max(values) < 1e-7 for values in gradients):
        return ""
    loss = "another loss (--loss non_saturating) or seed (--seed)"
    return (
        "all gradients are next to nothing, so nothing is learned. "
        f"Try {loss if remedies.has_losses else 'another seed (--seed)'}."
    )


def no_change(records: list[Record], remedies: Remedies) -> str:
    losses = {key: value for key, value in records[-1].items() if key.endswith("/loss")}
    if not losses or len(records) < 8 or any(records[-8].get(key) != value for key, value in losses.items()):
        return ""
    return (
        "the losses do not move at all. Look at reals.png: is the data what you meant? "
        f"Try another learning rate{remedies.slower}."
    )
