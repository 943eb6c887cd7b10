"""Layers that let a discriminator see how varied its batch is, over all processes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gankit.nn.across import look, own, whole


class MinibatchStddev(nn.Module):
    """One more map, constant: the standard deviation over a group of samples (Karras et al. 2018, section 3).

    Args:
        group: samples in a group; with N rows the largest divisor of N up to it is taken. As in the authors' code
            the members of a group lie N / group rows apart.
    """

    def __init__(self, group: int = 4):
        super().__init__()
        if group < 1:
            raise ValueError(f"group is {group}; the deviation is taken over 1 image at least")
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C + 1, H, W)."""
        stddev = own(self.stddev(whole(x))) if self.training else self.stddev(x)
        return torch.cat([x, stddev[:, None, None, None].expand(-1, 1, *x.shape[2:])], 1)

    def stddev(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N,) the deviation of each sample's group, its mean over channels and places."""
        look("the minibatch deviation", self.members)
        n, group = len(x), self.members(len(x))
        wide = x if x.dtype == torch.float64 else x.float()
        variance = wide.reshape(group, n // group, *x.shape[1:]).var(0, correction=0)
        return (variance + 1e-8).sqrt().mean((1, 2, 3)).to(x.dtype).repeat(group)

    def members(self, rows: int) -> int:
        """Samples in a group of so many rows."""
        return next((k for k in range(min(self.group, rows), 0, -1) if rows % k == 0), 0)


class MinibatchDiscrimination(nn.Module):
    """Closeness of each sample to the others of its batch, in `kernels` learned senses (Salimans et al. 2016, 3.2).

    As in the authors' code: the projection has unit columns times a learned scale, and a bias that begins at -1.

    Args:
        in_features: A, features of a sample.
        kernels: B, features added.
        dims: C, dimensions in which closeness is measured.
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
