"""Sliced Wasserstein distance between patches of two sets of images, for each scale (SWD of PGGAN).

Karras et al., "Progressive Growing of GANs for Improved Quality, Stability, and Variation", ICLR 2018, section 5,
https://arxiv.org/abs/1710.10196; the sliced distance: Rabin et al., "Wasserstein Barycenter and Its Application to
Texture Mixing", SSVM 2011, https://doi.org/10.1007/978-3-642-24785-9_37.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from gankit.metrics.structure import check_pairs, to_levels

SIDE = 7  # of a patch, in pixels
SMALLEST = 16  # minimum shorter side of the coarsest scale; the maximum is just below twice that
NUMBERS = 2**22  # values of images or patches in memory
PROJECTIONS = 2**27  # projections of both sets in memory: 512 MiB
KEPT = 2**25  # values of a set's patches that are kept and not extracted again: 128 MiB


def sliced_wasserstein(
    real: Tensor, fake: Tensor, seed: int = 0, patches: int = 128, repeats: int = 4, directions: int = 128
) -> dict[int | str, float]:
    """1,000 x sliced Wasserstein distance of two sets of (N, C, H, W) images in [-1, 1], by scale; lower is better.

    Returns {shorter side of the scale: value, ..., "average": mean over the scales}. At each scale of
    `laplacian_pyramid`, on 8-bit levels and down to a shorter side of 16 (to 31), it takes `patches` 7 x 7 patches from
    random positions of each image, normalises each channel over each set to mean 0 and std 1, projects on `repeats` x
    `directions` random unit directions, and averages |sorted real - sorted fake|. Published with 16,384 images and the
    defaults here. A set against itself is not 0, as positions differ, and values rise as N falls (to hundreds at N =
    8): compare only equal numbers.

    H and W may differ, C is arbitrary. Patches of more than `KEPT` values are extracted again for every `PROJECTIONS`
    projections, which bounds the memory to 1 GiB and the patches of a few images. Patches and their projections
    are float32, means and deviations float64: values were within a relative 5e-8 of those in float64.

    Raises:
        ValueError: the sets differ in shape; images are not (N, C, H, W) floats, or hold NaN or infinity; a side is
            below 16, or odd while the shorter is 32 or more; a channel of a set is constant at some scale (std 0).
    """
    check_pairs(real, fake, least=SMALLEST)
    if min(patches, repeats, directions) < 1:
        raise ValueError(f"patches, repeats, directions are {patches}, {repeats}, {directions}; give 1 or more of each")
    n, channels, height, width = real.shape
    generator = torch.Generator().manual_seed(seed)
    values: dict[int | str, float] = {}
    last, number = num_levels(height, width) - 1, repeats * directions
    held = torch.empty(2, min(number, max(1, PROJECTIONS // (2 * n * patches))), n * patches)
    for k in range(last + 1):
        sets: list[Callable[[], Iterable[Tensor]]] = []
        for name, images in (("real", real), ("fake", fake)):
            places = draw_places(n, patches, height >> k, width >> k, generator)
            extract: Callable[[], Iterable[Tensor]] = partial(_patches, images, k, k == last, places)
            if places[..., 0].numel() * channels * SIDE**2 <= KEPT:
                extract = partial(list, [*extract()])
            mean, std = _statistics(extract())
            if flat := (std == 0).nonzero()[:, 0].tolist():
                raise ValueError(
                    f"channel {flat[0]} of the {name} images does not vary at scale {min(height, width) >> k}, and the "
                    "distance divides by its deviation; the generator may have collapsed to flat images"
                )
            sets.append(partial(_normalised, extract, mean, std))
        aims = draw_directions(channels * SIDE**2, number, generator).to(real.device)
        values[min(height, width) >> k] = 1000 * _distance(held, sets, aims.float())
    return {**values, "average": sum(values.values()) / len(values)}


def laplacian_pyramid(images: Tensor, levels: int) -> list[Tensor]:
    """(N, C, H, W) images to `levels` scales, finest first: the difference of each from the next, and the last one.

    Down: blur by [1 4 6 4 1] / 16 on both axes, mirrored at borders, and keep every second pixel; up: insert zeros,
    blur, x 4; level k = scale k - up(scale k + 1), so images = level 0 + up(level 1 + up(level 2 + ...)). Burt &
    Adelson, "The Laplacian Pyramid as a Compact Image Code", IEEE Trans. Communications 1983,
    https://doi.org/10.1109/TCOM.1983.1095851.

    Raises:
        ValueError: images are not (N, C, H, W), or a side cannot be halved levels - 1 times to 2 or more.
    """
    if images.ndim != 4:
        raise ValueError(f"images are {tuple(images.shape)}; give (N, C, H, W)")
    step = 2 ** (levels - 1) if levels > 0 else 0
    if not step or any(side % step or side // step < 2 for side in images.shape[2:]):
        size = f"{images.shape[2]}x{images.shape[3]}"
        raise ValueError(f"{levels} levels of {size}; give 1 or more, as many as halve both sides evenly, to 2 or more")
    out = []
    for _ in range(levels - 1):
        smaller = down(images)
        out.append(images - up(smaller))
        images = smaller
    return [*out, images]


def num_levels(height: int, width: int) -> int:
    """Number of scales of `sliced_wasserstein`: halved until the shorter side is 16 to 31."""
    k = 0
    while min(height, width) >> k >= 2 * SMALLEST:
        if (height >> k) % 2 or (width >> k) % 2:
            raise ValueError(
                f"{height}x{width} halves to {height >> k}x{width >> k} and no further; sides must halve evenly until "
                f"the shorter is below {2 * SMALLEST}: crop or resize to sides like 16, 32, 64 ... or 24, 48, 96"
            )
        k += 1
    return k + 1


def down(images: Tensor) -> Tensor:
    """(N, C, H, W) to (N, C, H / 2, W / 2)."""
    return _blur(images)[:, :, ::2, ::2]


def up(images: Tensor) -> Tensor:
    """(N, C, H, W) to (N, C, 2 H, 2 W)."""
    n, c, h, w = images.shape
    spread = images.new_zeros(n, c, 2 * h, 2 * w)
    spread[:, :, ::2, ::2] = images
    return 4 * _blur(spread)


def draw_places(n: int, patches: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """(n, patches, 2) int64 row and column of the upper left pixel of each patch."""
    sides = (height, width)
    return torch.stack([torch.randint(s - SIDE + 1, (n, patches), generator=generator) for s in sides], 2)


def draw_directions(dim: int, number: int, generator: torch.Generator) -> Tensor:
    """(dim, number) float64 random unit vectors as columns."""
    aims = torch.randn(dim, number, dtype=torch.float64, generator=generator)
    return aims / torch.linalg.vector_norm(aims, dim=0)


def _blur(images: Tensor) -> Tensor:
    for axis, border in ((2, (0, 0, 2, 2)), (3, (2, 2, 0, 0))):
        x = pad(images, border, mode="reflect")
        size = images.shape[axis]
        a, b, c, d, e = (x.narrow(axis, i, size) for i in range(5))
        images = (a + e).add_(b, alpha=4).add_(d, alpha=4).add_(c, alpha=6).mul_(1 / 16)
    return images


def _patches(images: Tensor, k: int, last: bool, places: Tensor) -> Iterator[Tensor]:
    """Patches of scale k, a few images at a time: (patches, C, 49)."""
    channels = images.shape[1]
    step = max(1, NUMBERS // max(images[0].numel(), places.shape[1] * channels * SIDE**2))
    for part, where in zip(images.split(step), places.split(step)):
        scale = to_levels(part).float()  # exact, and so are the first two halvings
        for _ in range(k):
            scale = down(scale)
        if not last:
            scale = scale - up(down(scale))
        rows, columns = where.to(scale.device).unbind(2)
        windows = scale.unfold(2, SIDE, 1).unfold(3, SIDE, 1).permute(0, 2, 3, 1, 4, 5)
        image = torch.arange(len(part), device=scale.device)[:, None]
        yield windows[image, rows, columns].flatten(0, 1).flatten(2)


def _statistics(parts: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """(C,) mean and population standard deviation of all pixels of all patches, float64."""
    n, total, squares = 0, torch.zeros(()), torch.zeros(())
    for part in parts:
        n += part.shape[0] * part.shape[2]
        wide = part.double()
        total, squares = total + wide.sum((0, 2)), squares + wide.square().sum((0, 2))
    mean = total / n
    return mean, (squares / n - mean.square()).clamp(min=0).sqrt()


def _normalised(extract: Callable[[], Iterable[Tensor]], mean: Tensor, std: Tensor) -> Iterator[Tensor]:
    """Patches with the mean 0 and the deviation 1 in each channel: (patches, C * 49)."""
    return (((part - mean[:, None]) / std[:, None]).float().flatten(1) for part in extract())


def _distance(held: Tensor, sets: list[Callable[[], Iterable[Tensor]]], aims: Tensor) -> float:
    """Mean over (D, P) directions of the distance between the sorted projections of both sets' patches.

    `held`, (2, some directions, patches) on the CPU, is overwritten by the projections on so many at a time.
    """
    total = 0.0
    for some in aims.split(held.shape[1], 1):
        lines = held[:, : some.shape[1]]
        for line, parts in zip(lines, sets):
            start = 0
            for part in parts():
                place = line[:, start : start + len(part)]
                if part.is_cpu:
                    torch.mm(some.T, part.T, out=place)
                else:
                    place.copy_(some.T @ part.T)
                start += len(part)
            line.numpy().sort(axis=1)
        by_line = zip(*lines.numpy())  # no third array of that size
        total += sum(float(np.abs(a - b).mean(dtype=np.float64)) for a, b in by_line)
    return total / aims.shape[1]
