"""One forward pass of a network for several updates."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


def once(net: nn.Module) -> Callable[..., Tensor]:
    """A function that calls `net`, or returns its last output again where the arguments are those of the last call.

    The output has the graph of the network's parameters even if the current update has frozen them: an update of D
    stops at D's parameters, and the next one of G goes on through the graph. Make one for each step, so that no graph
    outlives it. The network's weights must not change in between, and it must draw no random numbers. A piece of a
    batch has other arguments than the piece before it, so with several pieces the network is called in each update.
    """
    last: tuple[Tensor, ...] = ()
    out: Tensor | None = None

    def call(*arguments: Tensor) -> Tensor:
        nonlocal last, out
        if out is None or not all(map(Tensor.is_set_to, arguments, last)):
            out = None  # its memory is free before the network needs it again
            frozen = [p.requires_grad_(True) for p in net.parameters() if not p.requires_grad]
            last, out = arguments, net(*arguments)
            for p in frozen:
                p.requires_grad_(False)
        return out

    return call
