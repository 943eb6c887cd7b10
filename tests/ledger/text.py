"""How the ledger writes numbers, lists, losses and curves."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from tests.ledger.trace import Term

TERMS = {
    "cross_entropy_d": "-log D(x) - log(1 - D(G(z)))",
    "non_saturating_g": "-log D(G(z))",
    "minimax_g": "log(1 - D(G(z)))",
    "least_squares_d": "[(D(x) - b)^2 + (D(G(z)) - a)^2] / 2",
    "least_squares_g": "(D(G(z)) - c)^2 / 2",
    "hinge_d": "max(0, 1 - D(x)) + max(0, 1 + D(G(z)))",
    "critic_g": "-D(G(z))",
    "wasserstein_d": "D(G(z)) - D(x)",
    "relativistic_d": "-log sigma(D(x) - D(G(z)))",
    "relativistic_g": "-log sigma(D(G(z)) - D(x))",
    "wgan_gp": "(|grad D| - 1)^2",
    "wgan_gp_pixels": "(|grad D| - 1)^2 of each pixel",
    "r1": "|grad D(x)|^2",
    "orthogonal": "|W W^T off its diagonal|^2",
    "cross_entropy": "cross-entropy of the class",
    "bernoulli_nll": "binary cross-entropy, summed",
    "gaussian_kl": "KL",
    "kl": "KL",
    "map_cross_entropy": "cross-entropy of the pixels",
    "mse_loss": "mean square",
    "units": "mean square of the units",
}
"""The formula of each function of `gankit.losses` and `gankit.penalties`, and of each logged number, in a loss."""
OPERATIONS = {
    "mean softplus neg": "-log D",
    "mean softplus view": "-log(1 - D)",
    "mean softplus": "-log(1 - D)",
    "mean abs sub": "L1",
    "mean pow sub": "mean square",
    "mean mean pow sub": "mean square",
    "mean mean view pow": "mean square",
    "mean sum pow": "square, summed",
    "mean convolution leakyrelu": "D(G(z))",
    "mean sum view pow": "squares of differences, summed",
    "mean sigmoid": "mean of the mask",
}
"""The formula of each term that a loss function computes itself, by the term's last operations."""


def number(value: object) -> str:
    """A number as the ledger writes it: four digits, integers with commas between thousands; text is unchanged."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if float(value).is_integer() and abs(value) >= 1000:
        return f"{int(value):,}"
    short = f"{value:.4g}"
    return short if float(short) == value or len(repr(value)) > 9 else repr(value)


def rounded(value: float, digits: int) -> str:
    """A number rounded to significant digits, as the ledger writes it."""
    return number(float(f"{value:.{digits}g}"))


def listed(value: object) -> str:
    """The value of an argument or a setting."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(number, value)) if isinstance(value, (tuple, list)) else number(value)


def named(values: dict[str, object]) -> str:
    """Arguments or settings by name; a single one without its name."""
    return ", ".join(listed(v) if len(values) == 1 else f"{name} {listed(v)}" for name, v in values.items())


def grouped(texts: dict[str, str]) -> str:
    """Texts of several optimizers: one where all agree, else each with its name, without level numbers if possible."""
    by_name = {re.sub(r"\d+$", "", name): text for name, text in texts.items()}
    by_name = by_name if len({*texts.values()}) == len({*by_name.values()}) else texts
    if len({*by_name.values()}) == 1:
        return next(iter(by_name.values()))
    return ", ".join(f"{name} {text}" for name, text in by_name.items())


def split_at_of(words: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words before "of", and those after it."""
    position = words.index("of") if "of" in words else len(words)
    return words[:position], words[position + 1 :]


def formula(terms: list[Term]) -> str:
    """A loss as a sum of terms with their factors."""
    text = ""
    for (name, weight), count in Counter((spelled(t.name), float(f"{t.weight:.4g}")) for t in terms).items():
        sign = "-" if weight < 0 else "+"
        factor = "" if abs(weight) == 1 else f"{number(abs(weight))} "
        needs_no_brackets = re.fullmatch(r"[\w.]+( [\w.]+)*|.*\)\^2|\|.*\|\^2|\[.*\]|\(.*\)", name)
        name = name if factor == "" or needs_no_brackets else f"({name})"
        text += f" {sign} {factor}{name}" + (f" ({count} times)" if count > 1 else "")
    return text.removeprefix(" + ").strip()


def spelled(name: str) -> str:
    """A term's formula, or its name in words where it has none."""
    return TERMS.get(name) or OPERATIONS.get(name) or name.replace("_", " ")


def curve_shape(shares: list[float], curve: list[float], early: list[float]) -> str:
    """A schedule in words.

    Args:
        shares: places in the run, from 0 to 1.
        curve: the value at these places, relative to its first.
        early: the same after 0, 1,000 and 10,000 batches.
    """

    def matches(values: list[float]) -> bool:
        return all(math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-3) for a, b in zip(curve, values))

    if matches([1.0] * len(curve)) and early[-1] == early[0]:
        return "constant"
    end = curve[-1]
    if matches([end + (1 - end) * 0.5 * (1 + math.cos(math.pi * s)) for s in shares]):
        return f"half a cosine to {number(end)} of it at the end"
    if end < 1e-6 and curve[-2] > 0:
        flat = 1 - 1 / 8 / curve[-2]
        if matches([min(1.0, (1 - s) / (1 - flat)) for s in shares]):
            if abs(flat) < 1e-3:
                return "on a line to 0 at the end"
            return f"constant, after {number(round(flat, 3))} of the run on a line to 0"
    if 0 < early[1] < 1:
        by_batch = early[1] ** (-1 / 1000)
        if math.isclose(early[2], by_batch**-10_000, rel_tol=1e-3):
            return f"divided by {by_batch:.7g} after each batch"
        share = (1 / early[1] - 1) / 1000
        if math.isclose(1 / early[2] - 1, 10_000 * share, rel_tol=1e-3):
            return f"divided by 1 + {number(share)} n after n batches"
    return "at 0, 1/4, 1/2, 3/4 and all of the run " + ", ".join(number(curve[i]) for i in (0, 2, 4, 6, 8)) + " of it"


def in_epochs(images: int, epoch: str) -> str:
    """A number of images in epochs of `epoch` images."""
    size = int(epoch.replace("_", ""))
    return f"{number(round(images / size, 3))} epochs of {number(size)}"


def side_of(size: Sequence[int]) -> str:
    """A height and a width, as one number where they agree."""
    return "x".join(map(str, dict.fromkeys(size)))
