"""Every classic generative adversarial network: train, resume, sample and explore by the same few commands.

import gankit
run = gankit.train("dcgan", data="digits", preset="small", images=200_000)
run.sample(16)                                       # (16, 1, 16, 16) in [-1, 1]
model = gankit.load("runs/00000-dcgan-digits")
model.sample(n=16, seed=0)
gankit.evaluate("runs/00000-dcgan-digits", metrics="fd,precision")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = [
    "Batch",
    "Images",
    "Phase",
    "Preset",
    "Recipe",
    "Run",
    "Settings",
    "Spec",
    "adam",
    "evaluate",
    "load",
    "resume",
    "train",
    "translate",
]

if TYPE_CHECKING:
    from gankit.choosing import train
    from gankit.evaluation import evaluate
    from gankit.recipe import Batch, Images, Phase, Preset, Recipe, Spec, adam
    from gankit.runs.trained import load
    from gankit.training import Run, Settings, resume
    from gankit.translation import translate

# Importing gankit must not import torch: each name is fetched when it is first used.
_HOME = {
    **dict.fromkeys(("Batch", "Images", "Phase", "Preset", "Recipe", "Spec", "adam"), "gankit.recipe"),
    **dict.fromkeys(("Run", "Settings", "resume"), "gankit.training"),
    "train": "gankit.choosing",
    "load": "gankit.runs.trained",
    "evaluate": "gankit.evaluation",
    "translate": "gankit.translation",
}


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'gankit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
