"""A convolution whose second derivative is one call, for networks with gradient penalties."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Geometry = tuple[list[int], list[int], list[int], int]  # stride, padding, dilation, groups

_wants_weights = True


@contextmanager
def input_gradients_only() -> Iterator[None]:
    """Inside, derivatives of `PenalisedConv2d` leave out those of the weights, for `autograd.grad` w.r.t. an input."""
    global _wants_weights
    before, _wants_weights = _wants_weights, False
    try:
        yield
    finally:
        _wants_weights = before


class PenalisedConv2d(nn.Conv2d):
    """`torch.nn.Conv2d` with zero padding, equal but for rounding, for a network under a gradient penalty.

    In the second derivative PyTorch convolves with kernels as large as the map, which it transposes and copies, and
    repeats this for each group. This layer calls the ordinary derivative of the weights instead. That is faster for
    grouped and 1x1 convolutions in channels_last (1.2 times for a step of r3gan at 64 px), but not for others.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H', W')."""
        if not (torch.is_grad_enabled() and x.requires_grad) or torch.is_autocast_enabled(x.device.type):
            return super().forward(x)
        stride, padding, dilation = ([int(side) for side in two] for two in (self.stride, self.padding, self.dilation))
        out: Tensor = _Conv.apply(x, self.weight, self.bias, (stride, padding, dilation, self.groups))
        return out


class _Context(torch.autograd.function.FunctionCtx):
    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]
    geometry: Geometry


class _Conv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: _Context, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return F.conv2d(x, weight, bias, *geometry)

    @staticmethod
    def backward(ctx: _Context, grad: Tensor) -> tuple[Tensor | None, ...]:
        needed = [need and (i == 0 or _wants_weights) for i, need in enumerate(ctx.needs_input_grad[:3])]
        return *_Derivatives.apply(grad, *ctx.saved_tensors, ctx.geometry, needed), None


class _Derivatives(torch.autograd.Function):
    """Derivatives of a convolution w.r.t. input, weights and bias; they are linear in `grad`, and so is their own."""

    @staticmethod
    def forward(
        ctx: _Context, grad: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, needed: list[bool]
    ) -> tuple[Tensor | None, ...]:
        ctx.save_for_backward(grad, x, weight)
        ctx.geometry = geometry
        ctx.set_materialize_grads(False)
        stride, padding, dilation, groups = geometry
        return torch.ops.aten.convolution_backward(
            grad, x, weight, [len(weight)], stride, padding, dilation, False, [0, 0], groups, needed
        )

    @staticmethod
    def backward(
        ctx: _Context, to_x: Tensor | None, to_weight: Tensor | None, to_bias: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        grad, x, weight = ctx.saved_tensors
        for_grad, for_x, for_weight = [], None, None
        if to_x is not None:
            for_grad.append(_Conv.apply(to_x, weight, None, ctx.geometry))
            if ctx.needs_input_grad[2]:
                for_weight = _Derivatives.apply(grad, to_x, weight, ctx.geometry, [False, True, False])[1]
        if to_weight is not None:
            for_grad.append(_Conv.apply(x, to_weight, None, ctx.geometry))
            if ctx.needs_input_grad[1]:
                for_x = _Derivatives.apply(grad, x, to_weight, ctx.geometry, [True, False, False])[0]
        if to_bias is not None:
            for_grad.append(to_bias[:, None, None].expand_as(grad))
        return sum(for_grad) if for_grad else None, for_x, for_weight, None, None
