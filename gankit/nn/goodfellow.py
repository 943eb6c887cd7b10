"""Initialisation and schedules of the code of the GAN paper (Goodfellow et al. 2014), on which CGAN builds."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


def init_uniform(module: nn.Module, bound: float) -> None:
    """Initialise linear layers in place: weights from U(-bound, bound), biases 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.zeros_(layer.bias)


def set_schedules(optimizers: Iterable[torch.optim.Optimizer], lr: float, growth: float) -> None:
    """Set the learning rate, at least 1e-6, and SGD's momentum, which rises from 0.5 to 0.7 as `growth` reaches 1."""
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["lr"] = max(lr, 1e-6)
        if "momentum" in group:
            group["momentum"] = 0.5 + 0.2 * min(growth, 1.0)
