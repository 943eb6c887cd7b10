"""Geometric operations on images: their matrices, exact moves of whole pixels, and resampling with a sym6 filter.

Matrices map a position in the result to its position in the source image. Positions are (x, y, 1), in pixels from the
centre, x to the right and y down. Products avoid @, which a GPU may round to 10 bits: that would move pixels.
"""

from __future__ import annotations

from functools import lru_cache, reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit.nn import mirrored


def pixel_axes(images: Tensor, up: int = 1, margin: int = 0) -> tuple[Tensor, Tensor]:
    """Pixel positions x (1, 1, W) and y (1, H, 1) from the centre, after upsampling by `up` and adding a margin."""
    x, y = (
        torch.arange(-margin, side * up + margin, device=images.device, dtype=images.dtype)
        for side in images.shape[:1:-1]
    )
    return (x - (images.shape[3] * up - 1) / 2)[None, None], (y - (images.shape[2] * up - 1) / 2)[None, :, None]


def transform(matrix: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Apply (N, 3, 3) matrices to positions x and y: (N, H, W) each."""
    m = matrix[:, :, :, None, None]
    return m[:, 0, 0] * x + m[:, 0, 1] * y + m[:, 0, 2], m[:, 1, 0] * x + m[:, 1, 1] * y + m[:, 1, 2]


def blit(images: Tensor, matrix: Tensor) -> Tensor:
    """Move whole pixels, exactly, by (N, 3, 3) matrices that map pixels to pixels; mirrored beyond the edges."""
    height, width = images.shape[2:]
    x, y = transform(matrix, *pixel_axes(images))
    x, y = mirrored((x + (width - 1) / 2).round(), width), mirrored((y + (height - 1) / 2).round(), height)
    index = (y.long() * width + x.long()).flatten(1)[:, None]
    return images.flatten(2).gather(2, index.expand(-1, images.shape[1], -1)).view(images.shape)


# Matrices ------------------------------------------------------------------------------------------------------------


def blit_matrix(flip: Tensor, quarter: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """(N, 3, 3) matrices of a left-right flip, then quarter turns clockwise, then a shift in pixels.

    All arguments are whole numbers, (N,); flip is 0 or 1.
    """
    cos, sin = (quarter == 0).to(flip) - (quarter == 2).to(flip), (quarter == 1).to(flip) - (quarter == 3).to(flip)
    one, zero = torch.ones_like(flip), torch.zeros_like(flip)
    shift_back = affine(one, zero, -right, zero, one, -down)
    return product(
        affine(1 - 2 * flip, zero, zero, zero, one, zero), affine(cos, sin, zero, -sin, cos, zero), shift_back
    )


def geometric_matrix(
    scale: Tensor, before: Tensor, aniso: Tensor, after: Tensor, right: Tensor, down: Tensor
) -> Tensor:
    """(N, 3, 3) matrices of the geometric operations of ADA, in the order of the arguments, which are (N,).

    The image is scaled by `scale`, rotated by `before`, scaled by `aniso` along x and its inverse along y, rotated by
    `after`, and shifted in pixels. Angles are in radians, clockwise.
    """
    one, zero = torch.ones_like(scale), torch.zeros_like(scale)

    def rotate_back(angle: Tensor) -> Tensor:
        return affine(angle.cos(), angle.sin(), zero, -angle.sin(), angle.cos(), zero)

    shrink = affine(1 / scale, zero, zero, zero, 1 / scale, zero)
    squeeze = affine(1 / aniso, zero, zero, zero, aniso, zero)
    shift_back = affine(one, zero, -right, zero, one, -down)
    return product(shrink, rotate_back(before), squeeze, rotate_back(after), shift_back)


def affine(a: Tensor, b: Tensor, x: Tensor, c: Tensor, d: Tensor, y: Tensor) -> Tensor:
    """(N, 3, 3) matrices ((a, b, x), (c, d, y), (0, 0, 1)) from (N,) entries."""
    zero, one = torch.zeros_like(a), torch.ones_like(a)
    return torch.stack([a, b, x, c, d, y, zero, zero, one], 1).view(-1, 3, 3)


def product(*matrices: Tensor) -> Tensor:
    """The product of (N, 3, 3) matrices from left to right."""
    return reduce(lambda a, b: (a[..., None] * b[:, None]).sum(2), matrices)


# Resampling ----------------------------------------------------------------------------------------------------------

SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
    0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252,
    -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
"""Daubechies' least asymmetric low-pass filter with six vanishing moments, from the documentation of PyWavelets."""


def warp(images: Tensor, matrix: Tensor) -> Tensor:
    """Resample images by (N, 3, 3) matrices: the pixel at q takes the value at matrix @ q.

    The image, mirrored repeatedly at its edges, is upsampled by 2, sampled bilinearly at twice the side, and
    downsampled by 2 with the same filter. The filter is orthonormal, so the identity returns the image unchanged.
    Pixel 2i of the upsampled image coincides with pixel i, as in the authors' code.
    """
    height, width = images.shape[2:]
    up_x, down_x = _filters(width, images.dtype, images.device)
    up_y, down_y = _filters(height, images.dtype, images.device)
    doubled = torch.cat([matrix[:, :2, :2], 2 * matrix[:, :2, 2:]], 2)
    x, y = transform(doubled, *(axis + 0.5 for axis in pixel_axes(images, 2, 5)))
    grid = []
    for position, side, up in ((x, width, up_x), (y, height, up_y)):
        periods = (position + (side - 1)) / (len(up) - 1)
        grid.append(2 * (periods - periods.floor()) - 1)
    return down_y @ _Bilinear.apply(up_y @ (images @ up_x.T), torch.stack(grid, 3), None) @ down_x.T


@lru_cache(maxsize=64)
def _filters(side: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """The filters as matrices: at 32 px, matrix products take a CPU a tenth of the time of convolutions.

    Up, (P + 1, side), maps a line to one period of the mirrored line at twice the pixels, plus its first pixel again.
    Down, (side, 2 side + 10), maps twice the pixels, with a margin of five at each end, to a line.
    """
    taps = torch.tensor(SYM6, dtype=torch.float64) / sum(SYM6)
    t, period = torch.arange(12), 2 * max(1, 2 * side - 2)
    twice = torch.arange(period + 1)[:, None] + 5 - t  # twice the index of the pixel at tap t, where it is even
    up = torch.zeros(period + 1, side, dtype=torch.float64)
    up.scatter_add_(1, mirrored(twice.div(2, rounding_mode="floor"), side), 2 * taps * (twice % 2 == 0))
    down = torch.zeros(side, 2 * side + 10, dtype=torch.float64)
    down.scatter_(1, 2 * torch.arange(side)[:, None] + t, taps.expand(side, 12))
    return up.to(dtype).to(device), down.to(dtype).to(device)


class _BilinearContext(torch.autograd.function.FunctionCtx):
    saved_tensors: tuple[Tensor, ...]
    size: torch.Size | None


class _Bilinear(torch.autograd.Function):
    """Bilinear sampling of a map, or its transpose. Each is the derivative of the other: any order, on any device."""

    @staticmethod
    def forward(ctx: _BilinearContext, x: Tensor, grid: Tensor, size: torch.Size | None) -> Tensor:
        """Sample a map (N, C, H, W) at a `F.grid_sample` grid; given a size, map the samples' gradient to the map's."""
        ctx.save_for_backward(grid)
        ctx.size = x.shape if size is None else None
        if size is None:
            return F.grid_sample(x, grid, "bilinear", "border", align_corners=True)
        like, bilinear, border = x.new_zeros(()).expand(size), 0, 1
        mask = [True, False]  # the gradient of the map, not of the grid
        return torch.ops.aten.grid_sampler_2d_backward(x, like, grid, bilinear, border, True, mask)[0]

    @staticmethod
    def backward(ctx: _BilinearContext, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _Bilinear.apply(grad, *ctx.saved_tensors, ctx.size), None, None
