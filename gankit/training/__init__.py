"""Training: settings, setup, the run that a recipe sees, the loop, and what it logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gankit.delayed import delayed

__all__ = ["Run", "Settings", "resume", "train"]

if TYPE_CHECKING:
    from gankit.training.loop import resume, train
    from gankit.training.run import Run
    from gankit.training.settings import Settings

# `gankit train --help` needs the settings, and no torch.
__getattr__ = delayed(
    __name__,
    {
        "gankit.training.loop": "resume train",
        "gankit.training.run": "Run",
        "gankit.training.settings": "Settings",
    },
)
