"""What the last records of a run show to be wrong, as warnings that name flags of the model."""

from __future__ import annotations

import inspect
import math

from gankit.recipe import Recipe


def diagnose(records: list[dict[str, float]], kind: type[Recipe], arguments: dict[str, object]) -> dict[str, str]:
    """What the last records say is wrong, in plain words: kind of trouble to sentence.

    Each needs several records in a row, so that one odd batch warns of nothing. A discriminator at chance is none: at the
    optimum of the game D is 1/2 everywhere, and its cross-entropy 2 ln 2 = 1.386 (Goodfellow et al. 2014, section 4.1).

    Args:
        records: the last lines of stats.jsonl.
        kind: the model; only flags that it has are proposed.
        arguments: its arguments in this run.
    """
    found = {}
    last = records[-4:]
    if len(last) < 4:
        return found
    types = {p.name: p.annotation for p in inspect.signature(kind.__init__).parameters.values()}
    free = {
        name for name, hint in types.items() if hint in (str, "str")
    }  # any loss or penalty of the library, not one of a few
    slower = next((f" (--{name.replace('_', '-')})" for name in ("lr_d", "lr") if name in types), "")
    if "penalty" in free and arguments.get("penalty") in (None, "none"):
        penalty = "--penalty r1" + " --penalty-weight 1" * (not arguments.get("penalty_weight"))
    else:
        penalty = next(
            (
                f"a larger --{name.replace('_', '-')}"
                for name in ("penalty_weight", "gamma", "r1_weight")
                if name in types
            ),
            "",
        )
    penalised = f" or a gradient penalty for it ({penalty})" * bool(penalty)
    chance = all(at_chance(r) for r in last)
    if not chance and all(r.get("d/real_right", 0) > 0.98 and r.get("d/fake_right", 0) > 0.98 for r in last):
        found["d wins"] = (
            "the discriminator tells all reals from all fakes, so the generator learns little. "
            f"Try a lower learning rate for the discriminator{slower}{penalised}."
        )
    if not chance and all("d/real_right" in r and r["d/real_right"] < 0.02 for r in last):
        found["d lost"] = (
            f"the discriminator calls every real a fake. Try another learning rate for it{slower}, or a smaller generator."
        )
    spread = [r["samples/std"] for r in records if "samples/std" in r]
    if len(spread) >= 2 and spread[-1] < 0.25 * max(spread):
        steadier = f"a gradient penalty ({penalty}), " * bool(penalty)
        found["collapse"] = (
            "the samples have become alike: the generator has collapsed to few modes. "
            f"Try {steadier}a larger batch (--batch), or an earlier save."
        )
    losses = [[v for k, v in r.items() if k.endswith("/loss")] for r in last]
    grads = [[v for k, v in r.items() if k.endswith("/grad")] for r in last]
    if grads[0] and all(max(g) < 1e-7 for g in grads):
        other = "another loss (--loss non_saturating) or seed (--seed)" if "loss" in free else "another seed (--seed)"
        found["stuck"] = f"all gradients are next to nothing, so nothing is learned. Try {other}."
    elif (
        not chance
        and losses[0]
        and len(records) >= 8
        and all(records[-8].get(k) == v for k, v in records[-1].items() if k.endswith("/loss"))
    ):
        found["stuck"] = (
            f"the losses do not move at all. Look at reals.png: is the data what you meant? Try another learning rate{slower}."
        )
    return found


def at_chance(record: dict[str, float]) -> bool:
    """Whether D cannot tell reals from fakes: its cross-entropy is near 2 ln 2, or it is right about as often as not of both."""
    if abs(record.get("d/loss", 0) - 2 * math.log(2)) < 0.1:
        return True
    return all(abs(record.get(name, 0) - 0.5) < 0.1 for name in ("d/real_right", "d/fake_right"))
