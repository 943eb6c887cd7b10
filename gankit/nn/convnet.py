"""DCGAN's generator and discriminator at any size, also used by WGAN and for the comparison of losses."""

from __future__ import annotations

from torch import Tensor, nn

from gankit.nn.norm import BatchNorm1d, BatchNorm2d


def stages(height: int, width: int) -> int:
    """The number of doublings from the first map, whose shorter side is 4, 5, 6 or 7, to (height, width).

    Raises:
        ValueError: no such map reaches (height, width) by doubling.
    """
    if (height, width) != nearest_size(height, width):
        h, w = nearest_size(height, width)
        raise ValueError(
            f"this model needs a shorter side of 8, 16, 32, 64 ... (or 5, 6, 7 times a power of two) and a longer side "
            f"that is a multiple of the same power; found {height}x{width}. "
            f"Add --resolution {h if h == w else f'{h}x{w}'}."
        )
    return (min(height, width) // 4).bit_length() - 1


def nearest_size(height: int, width: int) -> tuple[int, int]:
    """The size nearest to (height, width) that `stages` accepts."""
    while True:
        step = 2 ** max(1, (min(height, width) // 4).bit_length() - 1)
        near = tuple(max(4, (side + step // 2) // step) * step for side in (height, width))
        if near == (height, width):
            return near
        height, width = near


def _widths(base: int, count: int) -> list[int]:
    """Channels from the finest map to the coarsest: they double from `base` up to 8 * base, as at 64 px."""
    return [base * min(2**i, 8) for i in range(count)]


class DCGANGenerator(nn.Module):
    """A linear layer to a small map, then transposed convolutions that double it; batch norm and ReLU; tanh at the end.

    Args:
        z_dim: length of the latent.
        shape: (C, H, W) of the images.
        width: channels of the last hidden map; coarser maps have 2, 4 and at most 8 times as many.
        kernel: side of the kernels, 4 or 5.
        unit_norm: first batch norm over each unit of the linear layer instead of each channel of its map.
        biases: biases in all layers, as in early TensorFlow code, although batch norm cancels most of them.
        eps: added to batch norm's variances.
    """

    def __init__(
        self,
        z_dim: int,
        shape: tuple[int, ...],
        width: int = 128,
        kernel: int = 5,
        unit_norm: bool = True,
        biases: bool = False,
        eps: float = 1e-5,
    ):
        super().__init__()
        channels, count = shape[0], stages(*shape[1:])
        h, w = shape[1] >> count, shape[2] >> count
        first, *rest = reversed(_widths(width, count))
        dense, grid = nn.Linear(z_dim, first * h * w, bias=biases), nn.Unflatten(1, (first, h, w))
        layers = [dense, BatchNorm1d(first * h * w, eps), grid] if unit_norm else [dense, grid, BatchNorm2d(first, eps)]
        layers += [nn.ReLU(inplace=True)]
        for c in rest:
            layers += [_double(first, c, kernel, biases), BatchNorm2d(c, eps), nn.ReLU(inplace=True)]
            first = c
        self.net = nn.Sequential(*layers, _double(first, channels, kernel, biases), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        """(N, z_dim) to (N, C, H, W) in [-1, 1]."""
        return self.net(z)


class DCGANDiscriminator(nn.Module):
    """Strided convolutions that halve the map, leaky ReLU, batch norm on all but the first; one linear output.

    Args:
        shape: (C, H, W) of the images.
        width: channels of the first map; coarser maps have 2, 4 and at most 8 times as many.
        kernel: side of the kernels, 4 or 5.
        norm: batch norm. Without it, for losses and penalties that need independent samples, there are biases.
        pooling: average the last map before the linear layer, instead of a weight for each position.
        bias: bias in the first convolution. Without it, as in the authors' code, batch norm cancels the contrast of a
            whole batch, so D cannot tell pale fakes from reals.
        biases, eps: as in `DCGANGenerator`.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int = 128,
        kernel: int = 5,
        norm: bool = True,
        pooling: bool = False,
        bias: bool = False,
        biases: bool = False,
        eps: float = 1e-5,
    ):
        super().__init__()
        count, last = stages(*shape[1:]), shape[0]
        layers: list[nn.Module] = []
        for i, c in enumerate(_widths(width, count)):
            layers += [_halve(last, c, kernel, bias=biases or not norm or (bias and i == 0))]
            layers += [BatchNorm2d(c, eps)] if norm and i > 0 else []
            layers += [nn.LeakyReLU(0.2, inplace=True)]
            last = c
        places = 1 if pooling else (shape[1] >> count) * (shape[2] >> count)
        self.features = nn.Sequential(*layers, *([nn.AdaptiveAvgPool2d(1)] if pooling else []), nn.Flatten())
        self.head = nn.Linear(last * places, 1, bias=biases)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] to (N,) logits."""
        return self.head(self.features(x)).squeeze(1)


def _double(in_channels: int, out_channels: int, kernel: int, bias: bool) -> nn.ConvTranspose2d:
    """Transposed convolution to exactly twice the side."""
    padding = {5: (2, 1), 4: (1, 0)}[kernel]
    return nn.ConvTranspose2d(in_channels, out_channels, kernel, 2, padding[0], padding[1], bias=bias)


def _halve(in_channels: int, out_channels: int, kernel: int, bias: bool) -> nn.Conv2d:
    """Convolution to exactly half the side."""
    return nn.Conv2d(in_channels, out_channels, kernel, 2, {5: 2, 4: 1}[kernel], bias=bias)
