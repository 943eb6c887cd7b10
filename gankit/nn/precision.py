"""Precision of sums and norms under autocast."""

from __future__ import annotations

import torch
from torch import Tensor


def widened(x: Tensor) -> Tensor:
    """The tensor in float32 if it is in half precision, otherwise unchanged."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
