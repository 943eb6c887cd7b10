"""Layers that show a discriminator the variation of its batch, over all processes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gankit.nn.across import look, own, whole
from gankit.nn.precision import widened


class MinibatchStddev(nn.Module):
    """Appends a constant map, the standard deviation over a group of samples (Karras et al. 2018, section 3).

    Args:
        group: samples in a group; N rows use the largest divisor of N up to this number. As in the authors' code, the
            members of a group are N / group rows apart.
    """

    def __init__(self, group: int = 4):
        super().__init__()
        if group < 1:
            raise ValueError(f"group is {group}; it must be at least 1")
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C + 1, H, W)."""
        stddev = own(self.stddev(whole(x))) if self.training else self.stddev(x)
        return torch.cat([x, stddev[:, None, None, None].expand(-1, 1, *x.shape[2:])], 1)

    def stddev(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N,) deviations of each sample's group, averaged over channels and positions."""
        look("the minibatch deviation", self.members)
        n, group = len(x), self.members(len(x))
        variance = widened(x).reshape(group, n // group, *x.shape[1:]).var(0, correction=0)
        return (variance + 1e-8).sqrt().mean((1, 2, 3)).to(x.dtype).repeat(group)

    def members(self, rows: int) -> int:
        """The number of samples in a group, for a batch of `rows` rows."""
        return next((k for k in range(min(self.group, rows), 0, -1) if rows % k == 0), 0)


class MinibatchDiscrimination(nn.Module):
    """Appends the closeness of each sample to the others of its batch in `kernels` learned projections.

    Salimans et al. 2016, section 3.2. As in the authors' code, the projections have columns of unit length times a
    learned scale, and a bias that starts at -1.

    Args:
        in_features: A, features of a sample.
        kernels: B, number of features appended.
        dims: C, dimensions of each projection.
    """

    def __init__(self, in_features: int, kernels: int = 100, dims: int = 5):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(in_features, kernels, dims) * 0.05)
        self.log_scale = nn.Parameter(torch.zeros(kernels, dims))
        self.bias = nn.Parameter(torch.full((kernels,), -1.0))

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_features) to (N, in_features + kernels): x, and sum over j != i of exp(-|M_i - M_j|_1)."""
        columns = self.weight * (self.log_scale.exp() / self.weight.norm(dim=0))
        m = torch.einsum("na,abc->nbc", x, columns)
        look("minibatch discrimination")
        others = whole(m) if self.training else m
        closeness = (-(m[:, None] - others[None]).abs().sum(3)).exp()
        itself = torch.eye(len(others), device=x.device, dtype=closeness.dtype)
        itself = own(itself) if self.training else itself
        return torch.cat([x, (closeness * (1 - itself)[:, :, None]).sum(1) + self.bias], 1)
