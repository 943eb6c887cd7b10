"""Resampling with small filters, as in StyleGAN, or together with a 3x3 convolution; mirrored coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mirrored(at: Tensor, side: int) -> Tensor:
    """Pixel coordinates of any value to [0, side - 1], for an image mirrored repeatedly at its first and last pixel."""
    return side - 1 - (side - 1 - at.remainder(max(1, 2 * side - 2))).abs()


class _FilterContext(torch.autograd.function.FunctionCtx):
    saved_tensors: tuple[Tensor, ...]
    step: int
    pad: int
    size: tuple[int, ...] | None


class _Filter(torch.autograd.Function):
    """A convolution with one fixed kernel for all channels, or its transpose: each is the derivative of the other.

    torch's second derivative would also compute the kernel's gradient, channel by channel.
    """

    @staticmethod
    def forward(
        ctx: _FilterContext,
        x: Tensor,
        kernel: Tensor,
        step: int,
        pad: int,
        size: tuple[int, int] | None,
    ) -> Tensor:
        """(N, C, H, W) to the convolution with stride `step`; with a size, the transpose, to (N, C, *size)."""
        ctx.save_for_backward(kernel)
        ctx.step, ctx.pad, ctx.size = step, pad, None if size else tuple(x.shape[2:])
        weight = kernel.to(x.dtype).expand(x.shape[1], -1, -1, -1)
        if size is None:
            return F.conv2d(x, weight, None, step, pad, groups=x.shape[1])
        rest = [a - ((b - 1) * step + kernel.shape[-1] - 2 * pad) for a, b in zip(size, x.shape[2:])]
        return F.conv_transpose2d(x, weight, None, step, pad, rest, groups=x.shape[1])

    @staticmethod
    def backward(ctx: _FilterContext, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _Filter.apply(grad, *ctx.saved_tensors, ctx.step, ctx.pad, ctx.size), None, None, None, None


class Fir(nn.Module):
    """Upsample with zeros, pad with zeros, apply a separable filter, keep every `down`-th pixel (upfirdn).

    Up by 2 with (1, 3, 3, 1) equals bilinear interpolation with zeros around the map and is computed as such; down by
    2 is one depthwise convolution. Both are exact and have derivatives of any order.

    Args:
        taps: the filter along one side; divided by its sum.
        up: upsampling factor.
        down: downsampling factor.
        pad: zeros before the first pixel and after the last; negative values crop. None: padding that keeps the map
            centred and gives (H * up / down, W * up / down).
        gain: factor on the result; None: up * up, which preserves the brightness.
    """

    kernel: Tensor

    def __init__(
        self,
        taps: Sequence[float] = (1, 3, 3, 1),
        up: int = 1,
        down: int = 1,
        pad: tuple[int, int] | None = None,
        gain: float | None = None,
    ):
        super().__init__()
        size, gain = len(taps), float(up * up if gain is None else gain)
        centred = (size + up - down) // 2, (size - up - down + 1) // 2
        self.up, self.down, self.pad, self.gain = up, down, pad or centred, gain
        triangle = list(taps) == [taps[0] * t for t in (1, 3, 3, 1)]
        self.bilinear = triangle and (up, down, self.pad) == (2, 1, (2, 1))
        row = torch.tensor([float(t) for t in taps], device="cpu")  # a real tensor, even in a model on the meta device
        row = (row if up > 1 else row.flip(0)) / row.sum()  # conv2d is a cross-correlation, its transpose is not
        self.register_buffer("kernel", gain * torch.outer(row, row)[None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, (up * H + sum(pad) - taps) // down + 1, the same of W)."""
        if self.bilinear:
            wide = F.interpolate(F.pad(x, (1, 1, 1, 1)), scale_factor=2.0, mode="bilinear")[..., 2:-2, 2:-2]
            return wide if self.gain == 4 else wide * (self.gain / 4)
        first, last = self.pad
        if self.up == 1:
            if first != last or first < 0:
                x, first = F.pad(x, (first, last, first, last)), 0
            return _Filter.apply(x, self.kernel, self.down, first, None)
        cut = self.kernel.shape[-1] - 1
        size = [(side - 1) * self.up + cut + 1 for side in x.shape[2:]]
        full, first, last = _Filter.apply(x, self.kernel, self.up, 0, size), first - cut, last - cut + self.up - 1
        return F.pad(full, (first, last, first, last))[..., :: self.down, :: self.down]


def halving_conv(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A 3x3 convolution with zero padding, then the mean of each 2x2 pixels, as one convolution of stride 2.

    It is exact, with derivatives of any order, and has 4/9 of the multiplications. (N, I, H, W) to (N, O, H/2, W/2); an
    odd last row or column of the convolution is dropped, as in `avg_pool2d`.
    """
    return F.conv2d(x, _spread(weight), bias, stride=2, padding=1)


def doubling_conv(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Nearest-neighbour doubling, then a 3x3 convolution with zero padding, as one transposed convolution of stride 2.

    As exact as `halving_conv`, of which it is the transpose. (N, I, H, W) to (N, O, 2H, 2W).
    """
    kernel = 4 * _spread(weight).flip(2, 3).transpose(0, 1)
    return F.conv_transpose2d(x, kernel, bias, stride=2, padding=1)


def _spread(weight: Tensor) -> Tensor:
    """(O, I, 3, 3) to (O, I, 4, 4): the kernels convolved with a 2x2 mean filter."""
    with torch.autocast(weight.device.type, enabled=False):
        eye = torch.eye(3, dtype=weight.dtype, device=weight.device)
        shifts = (F.pad(eye, (0, 1)) + F.pad(eye, (1, 0))) / 2  # (3, 4), of rows or of columns
        return (weight.flatten(2) @ torch.kron(shifts, shifts)).unflatten(2, (4, 4))


class HalvingConv2d(nn.Conv2d):
    """A 3x3 convolution followed by the mean of each 2x2 pixels; see `halving_conv`.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        bias: add a bias.
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True):
        super().__init__(in_channels, out_channels, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H/2, W/2)."""
        return halving_conv(x, self.weight, self.bias)


class DoublingConv2d(HalvingConv2d):
    """Nearest-neighbour doubling followed by a 3x3 convolution; see `doubling_conv`. Args: as `HalvingConv2d`."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, 2H, 2W)."""
        return doubling_conv(x, self.weight, self.bias)
