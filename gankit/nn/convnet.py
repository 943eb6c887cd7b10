"""DCGAN's generator and discriminator, at any size: also WGAN's, and the ground that losses are compared on."""

from __future__ import annotations

from torch import Tensor, nn

from gankit.nn.norm import BatchNorm1d, BatchNorm2d


def stages(height: int, width: int) -> int:
    """How often a side doubles from the first map, whose smaller side is 4, 5, 6 or 7, to (height, width).

    Raises:
        ValueError: (height, width) is no such map doubled.
    """
    if (height, width) != nearest_size(height, width):
        h, w = nearest_size(height, width)
        raise ValueError(
            f"this model needs sides of 8, 16, 32, 64 ... (or 5, 6, 7 times a power of two), the larger a multiple of "
            f"the power in the smaller; found {height}x{width}. Add --resolution {h if h == w else f'{h}x{w}'}."
        )
    return (min(height, width) // 4).bit_length() - 1


def nearest_size(height: int, width: int) -> tuple[int, int]:
    """The (height, width) nearest to the given one that `stages` accepts."""
    while True:
        step = 2 ** max(1, (min(height, width) // 4).bit_length() - 1)
        near = tuple(max(4, (side + step // 2) // step) * step for side in (height, width))
        if near == (height, width):
            return near
        height, width = near


def _widths(base: int, count: int) -> list[int]:
    """Channels from the finest map to the coarsest: they double from `base`, at most to eight times it, as at 64 px."""
    return [base * min(2**i, 8) for i in range(count)]


class ConvGenerator(nn.Module):
    """Dense layer to a small map, then transposed convolutions that double it; batch norm and ReLU after each, tanh last.

    Args:
        z_dim: length of the latent.
        shape: (C, H, W) of the images.
        width: channels of the last hidden map; coarser ones have 2, 4 and at most 8 times as many.
        kernel: side of the kernels, 4 or 5.
        unit_norm: batch norm of the first layer over each unit, or over each channel of its map.
        biases: biases in all layers, as in early TensorFlow code, though batch norm takes most of them out again.
        eps: what batch norm adds to variances.
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


class ConvDiscriminator(nn.Module):
    """Strided convolutions that halve the map, leaky ReLU, batch norm on all but the first; one linear output.

    Args:
        shape: (C, H, W) of the images.
        width: channels of the first map; coarser ones have 2, 4 and at most 8 times as many.
        kernel: side of the kernels, 4 or 5.
        norm: batch norm or, where a loss or a penalty needs each sample on its own, biases instead.
        pooling: mean over the last map before the linear layer, in place of a weight for each of its places.
        bias: bias in the first convolution. Without it, as in the authors' code, a batch twice as bright gives the first
            batch norm twice the numbers, which divides the 2 out: D cannot tell pale fakes from reals.
        biases, eps: as of `ConvGenerator`.
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
