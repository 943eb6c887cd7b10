"""Initial weights; each function changes a module in place."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)


def init_normal(module: nn.Module, std: float = 0.02) -> None:
    """DCGAN's initialisation: weights N(0, std^2), batch norm's gains N(1, std^2), all biases 0."""
    for layer in module.modules():
        if isinstance(layer, WEIGHTED):
            nn.init.normal_(layer.weight, 0.0, std)
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.affine:
            nn.init.normal_(layer.weight, 1.0, std)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def init_he(module: nn.Module, slope: float = 0.0) -> None:
    """He's initialisation, for networks without norms, of linear layers and convolutions before (leaky) ReLUs."""
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_normal_(layer.weight, slope)


def init_glorot(module: nn.Module) -> None:
    """WGAN-GP's and SNGAN's initialisation: Glorot-uniform weights, times sqrt(2) in 3x3 convolutions; biases 0."""
    for layer in module.modules():
        if isinstance(layer, WEIGHTED):
            nn.init.xavier_uniform_(layer.weight, 2**0.5 if layer.weight.shape[2:] == (3, 3) else 1.0)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class Undrawn(TorchFunctionMode):
    """Inside, no weight without memory (device meta) is drawn, since torch imports torch._dynamo for it."""

    # Their result has the shape of the first argument, if that is the only tensor.
    ALIKE = (Tensor.normal_, Tensor.uniform_, Tensor.div, nn.functional.normalize)

    def __torch_function__(
        self, func: Callable[..., object], types: object, args: tuple = (), kwargs: dict[str, object] | None = None
    ) -> object:
        kwargs = kwargs or {}
        first, *others = args or kwargs.values() or [None]
        is_alike = func in self.ALIKE or getattr(func, "__module__", "") == "torch.nn.init"
        if is_alike and isinstance(first, Tensor) and first.is_meta and not any(isinstance(a, Tensor) for a in others):
            return first
        return func(*args, **kwargs)
