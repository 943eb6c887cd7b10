"""Spectral normalisation (Miyato et al. 2018)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gankit.nn.init import WEIGHTED


class _Spectral(nn.Module):
    """A weight divided by its largest singular value, estimated by one power iteration from the previous `u`."""

    u: Tensor

    def __init__(self, weight: Tensor, transposed: bool, eps: float):
        super().__init__()
        self.transposed, self.eps = transposed, eps
        rows = weight.shape[1] if transposed else weight.shape[0]
        self.register_buffer("u", F.normalize(torch.randn(rows, dtype=weight.dtype, device=weight.device), dim=0))

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            matrix = (weight.transpose(0, 1) if self.transposed else weight).flatten(1)
            with torch.no_grad():
                v = F.normalize(matrix.T @ self.u, dim=0, eps=self.eps)
                u = F.normalize(matrix @ v, dim=0, eps=self.eps)
                if self.training:
                    self.u.copy_(u)
            return weight / (u @ (matrix @ v)).clamp(min=self.eps)


def spectral_norm(module: nn.Module, eps: float = 1e-12) -> nn.Module:
    """Add spectral norm to every linear, convolution and embedding layer of `module`, in place; returns the module.

    A weight W (out, rest) becomes W / sigma with sigma = u^T W v; u and v are constants in the derivative. As in the
    authors' code, each forward pass in training mode runs one power iteration and stores its u, in G's updates too.
    Initialise the weights before this call: afterwards `weight` is computed and no longer a parameter.

    Args:
        module: the network or layer.
        eps: lower bound of sigma.
    """
    for layer in list(module.modules()):
        if isinstance(layer, (*WEIGHTED, nn.Embedding)):
            transposed = isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d))
            parametrize.register_parametrization(layer, "weight", _Spectral(layer.weight, transposed, eps), unsafe=True)
    return module
