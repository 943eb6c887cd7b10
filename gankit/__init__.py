"""Every classic generative adversarial network: train, resume, sample and explore by the same few commands.

import gankit
run = gankit.train("dcgan", data="digits", preset="small", images=200_000)
run.sample(16)                                       # (16, 1, 16, 16) in [-1, 1]
model = gankit.load("runs/00000-dcgan-digits")
model.sample(n=16, seed=0)
gankit.evaluate("runs/00000-dcgan-digits", metrics="fd,precision")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gankit.delayed import delayed

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
    from gankit.declaration import Images, Preset, Spec
    from gankit.evaluation import evaluate
    from gankit.recipe import Batch, Phase, Recipe, adam
    from gankit.runs.trained import load
    from gankit.training import Run, Settings, resume
    from gankit.translation import translate

# Importing gankit does not import torch.
_HOME = {
    "gankit.choosing": "train",
    "gankit.declaration": "Images Preset Spec",
    "gankit.evaluation": "evaluate",
    "gankit.recipe": "Batch Phase Recipe adam",
    "gankit.runs.trained": "load",
    "gankit.training": "Run Settings resume",
    "gankit.translation": "translate",
}
__getattr__ = delayed(__name__, _HOME)


def __dir__() -> list[str]:
    return sorted([*globals(), *" ".join(_HOME.values()).split()])
