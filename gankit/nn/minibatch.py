"""Layers that let a discriminator see how varied its batch is."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
        n, c, h, w = x.shape
        group = next(k for k in range(min(self.group, n), 0, -1) if n % k == 0)
        variance = (x if x.dtype == torch.float64 else x.float()).reshape(group, n // group, c, h, w).var(0, correction=0)
        stddev = (variance + 1e-8).sqrt().mean((1, 2, 3)).to(x.dtype)
        return torch.cat([x, stddev.repeat(group)[:, None, None, None].expand(n, 1, h, w)], 1)


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
        distance = (m[:, None] - m[None]).abs().sum(3)
        others = 1 - torch.eye(len(x), device=x.device, dtype=distance.dtype)
        return torch.cat([x, ((-distance).exp() * others[:, :, None]).sum(1) + self.bias], 1)
