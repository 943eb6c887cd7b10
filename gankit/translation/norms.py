"""One picture's statistics for all of its tiles, in networks whose norms go by each image's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gankit.nn import OwnBatchNorm2d

Norm = nn.GroupNorm | OwnBatchNorm2d


def norms(module: nn.Module) -> list[Norm]:
    """The norms in a network that take the statistics of each channel of each image: instance norms, by any name."""
    found = (norm for norm in module.modules() if isinstance(norm, Norm))
    return [norm for norm in found if isinstance(norm, OwnBatchNorm2d) or norm.num_groups == norm.num_channels]


@contextmanager
def shared(module: nn.Module | None, look: Callable[[], object]) -> Iterator[None]:
    """Inside, instance norms go by the statistics that they met in `look`, a pass of the whole picture made small.

    Else each tile would be normalised by its own, and a tile of sky come out unlike its neighbour with a tower in it. The
    statistics of a small picture are near those of the large one, not equal to them (Chen et al. 2022, "Towards
    Ultra-Resolution Neural Style Transfer via Thumbnail Instance Normalization", https://arxiv.org/abs/2103.11784).
    """
    met: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {norm: [] for norm in ([] if module is None else norms(module))}
    turn = dict.fromkeys(met, 0)

    def note(norm: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        variance, mean = torch.var_mean(inputs[0], (2, 3), correction=0, keepdim=True)
        met[norm].append((mean, (variance + norm.eps).rsqrt()))

    def apply(norm: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        mean, scale = met[norm][
            turn[norm] % len(met[norm])
        ]  # a norm that is met twice in a pass is met twice in the next
        turn[norm] += 1
        out = (inputs[0] - mean) * scale
        return out if norm.weight is None else out * norm.weight[:, None, None] + norm.bias[:, None, None]

    hooks = [norm.register_forward_hook(note) for norm in met]
    try:
        if met:
            look()
        for hook in hooks:
            hook.remove()
        hooks = [norm.register_forward_hook(apply) for norm in met if met[norm]]
        yield
    finally:
        for hook in hooks:
            hook.remove()
