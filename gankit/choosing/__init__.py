"""`auto`: a model with its preset, size and augmentation for the user's data, machine and time, with the reasons."""

from gankit.choosing.choice import Choice, choose, train, train_choice

__all__ = ["Choice", "choose", "train", "train_choice"]
