"""Layers of progressive growing and StyleGAN: equalised learning rate and pixelwise feature normalisation."""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.nn.precision import widened


class _Equalised(nn.Module):
    """Weights drawn from N(0, 1) and multiplied at each use by He's constant, gain / sqrt(fan-in).

    Adam's steps do not depend on the scale of the weights; scaling at use gives all layers the same learning speed.
    """

    def __init__(self, shape: tuple[int, ...], gain: float, bias: bool, lr_mul: float = 1.0):
        super().__init__()
        if min(shape) < 1:
            raise ValueError(f"a layer would have weights {shape}; every size must be at least 1")
        self.weight = nn.Parameter(torch.randn(shape) / lr_mul)
        self.bias = nn.Parameter(torch.zeros(shape[0])) if bias else None
        self.scale, self.lr_mul = gain * lr_mul / prod(shape[1:]) ** 0.5, lr_mul

    def scaled(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias multiplied by their constants."""
        bias = self.bias if self.bias is None or self.lr_mul == 1 else self.bias * self.lr_mul
        return self.weight * self.scale, bias


class EqualisedLinear(_Equalised):
    """Linear layer with equalised learning rate (Karras et al. 2018, section 4.1).

    Args:
        in_features: number of inputs.
        out_features: number of outputs.
        gain: sqrt(2) before a leaky ReLU, otherwise 1.
        bias: add a bias, which starts at 0 and is scaled only by `lr_mul`.
        lr_mul: factor on the learning rate of weight and bias (Karras et al. 2019: 0.01 in the mapping network).
    """

    def __init__(
        self, in_features: int, out_features: int, gain: float = 2**0.5, bias: bool = True, lr_mul: float = 1.0
    ):
        super().__init__((out_features, in_features), gain, bias, lr_mul)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_features) to (N, out_features)."""
        return F.linear(x, *self.scaled())


class EqualisedConv2d(_Equalised):
    """Convolution with equalised learning rate and an odd kernel; it preserves the height and width.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: side of the kernel.
        gain, bias: as in `EqualisedLinear`.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, gain: float = 2**0.5, bias: bool = True):
        super().__init__((out_channels, in_channels, kernel, kernel), gain, bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H, W)."""
        return F.conv2d(x, *self.scaled(), padding=self.weight.shape[2] // 2)


class PixelNorm(nn.Module):
    """Divide each pixel's feature vector, or each latent, by its root mean square (Karras et al. 2018, section 4.2)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) to the same: x / sqrt(mean of x^2 over C + 1e-8)."""
        return x * torch.rsqrt(widened(x).square().mean(1, keepdim=True) + 1e-8).to(x.dtype)
