"""The few parts of torchvision that training scripts need, written for benchmarks/race.py.

torchvision's own builds do not import beside every build of PyTorch. Everything that happens to an image before it is a
tensor happens once, when a data set is made, so decoding and resizing cost a script no time.
"""

from torchvision import datasets, transforms, utils

__all__ = ["datasets", "transforms", "utils"]
