"""Policies: which operations an augmentation applies, and how strongly."""

from __future__ import annotations

import math

from gankit.text import did_you_mean

DIFFAUGMENT = ("color", "translation", "cutout")
ADA = ("blit", "geometric", "color", "cutout")
KINDS = {"diffaugment": (DIFFAUGMENT, "color,translation,cutout"), "ada": (ADA, "blit,geometric,color")}
"""For each kind of augmentation: the groups of operations that a policy may name, and the paper's policy."""


def parse(policy: str, kind: str) -> dict[str, float]:
    """Groups of a policy and their strengths: "geometric:1,color:0.5" to {"geometric": 1.0, "color": 0.5}.

    Raises:
        ValueError: the policy is empty, repeats a group, names one that `kind` does not have, or has an invalid
            strength.
    """
    groups, paper_policy = KINDS[kind]
    strengths: dict[str, float] = {}
    for part in policy.replace(",", " ").split():
        name, colon, number = part.partition(":")
        if name not in groups:
            choices = f"it has {', '.join(groups)}. For the paper's add --augment-policy {paper_policy}"
            raise ValueError(f"{kind} has no augmentation {name!r}; {did_you_mean(name, groups, 1) or choices}")
        if name in strengths:
            raise ValueError(f"the augmentation policy {policy!r} names {name} twice; name it once")
        if colon and kind == "diffaugment":
            raise ValueError(f"diffaugment has no strengths: write {name} instead of {part}")
        try:
            strengths[name] = float(number) if colon else 1.0
        except ValueError:
            strengths[name] = math.nan
        if not 0 <= strengths[name] < math.inf:
            raise ValueError(f"the strength in {part!r} is not a number of 0 or more; write {name}:0.5")
    if not strengths:
        raise ValueError(f"the augmentation policy names nothing; the paper's for {kind} is {paper_policy}")
    return strengths


def check_channels(strengths: dict[str, float], channels: int) -> None:
    """Raise ValueError, with a policy to use instead, if the policy has color and the images do not."""
    if "color" in strengths and channels not in (1, 3):
        rest = ",".join(f"{name}:{p:g}" if p != 1 else name for name, p in strengths.items() if name != "color")
        raise ValueError(
            f"ada's color is for 1 or 3 channels; these images have {channels}. "
            f"Add --augment-policy {rest or 'blit,geometric'}"
        )
