"""Training: settings, setup, the run that a recipe sees, the loop, and what it logs."""

from gankit.training.loop import resume, train
from gankit.training.run import Run
from gankit.training.settings import Settings

__all__ = ["Run", "Settings", "resume", "train"]
