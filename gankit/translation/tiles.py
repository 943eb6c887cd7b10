"""Images of any size through a network: padded and cropped back, or cut into tiles whose overlaps are blended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.nn import OwnBatchNorm2d

PIXELS = 2**21  # the largest image that is not cut into tiles: full HD
TILE = 1024  # default side of the tiles
LEAST = 32  # smaller sides are padded to it, because networks downsample

# A network: images whose sides are multiples of its stride, and the number of the tile, to its outputs.
Network = Callable[[Tensor, int], Tensor]


class Overlap(NamedTuple):
    """How tiles overlap along a side.

    Args:
        step: distance between the starts of two tiles.
        margin: pixels at a cut edge that are discarded.
        ramp: pixels after them, over which a tile's weight rises from 0 to 1.
    """

    step: int
    margin: int
    ramp: int


def overlap_of(tile: int, multiple: int, reach: int | None) -> Overlap:
    """How tiles of this side overlap, so that no pixel depends on the cuts, if the network's reach allows it.

    Args:
        tile: side of a tile, a multiple of `multiple`.
        multiple: the network's stride. Tiles start at multiples of it.
        reach: the distance in pixels up to which an output pixel depends on input pixels; None if it is unknown or
            unlimited, as with instance norm. Then a quarter of the tile overlaps.
    """
    margin, ramp = (tile // 16, tile // 8) if reach is None else (reach, max(8, tile // 16))
    if 2 * margin + ramp > tile // 2:
        margin, ramp = tile // 8, tile // 4
    step = tile - 2 * margin - ramp
    return Overlap(step // multiple * multiple or step, margin, ramp)


def starts(length: int, tile: int, step: int) -> list[int]:
    """The starts of the tiles along a side of `length` pixels; the last tile ends at the end of the side."""
    return [*range(0, max(0, length - tile), step), max(0, length - tile)]


def weights(length: int, tile: int, start: int, overlap: Overlap) -> Tensor:
    """(tile,) weights of a tile's pixels, float64: 0 at a cut edge, 1 inside and at the edges of the image."""
    tile = min(tile, length)
    place = torch.arange(tile, dtype=torch.float64)
    rising = ((place - overlap.margin + 1) / (overlap.ramp + 1)).clamp(0, 1)
    ones = torch.ones_like(rising)
    return (rising if start > 0 else ones) * (rising.flip(0) if start + tile < length else ones)


def reflected(length: int, wanted: int) -> Tensor:
    """(wanted,) indices that continue a side of `length` pixels by reflection, repeatedly if necessary."""
    if length == 1:
        return torch.zeros(wanted, dtype=torch.long)
    place = torch.arange(wanted) % (2 * length - 2)
    return torch.minimum(place, 2 * length - 2 - place)


def padded(images: Tensor, multiple: int, least: int = 1) -> Tensor:
    """(N, C, H, W) padded below and on the right by reflection, to sides of at least `least` that are multiples."""
    height, width = (-(-max(side, least) // multiple) * multiple for side in images.shape[2:])
    if (height, width) == tuple(images.shape[2:]):
        return images
    rows, columns = (reflected(*sides).to(images.device) for sides in zip(images.shape[2:], (height, width)))
    return images[:, :, rows][:, :, :, columns]


def tiled(function: Network, images: Tensor, tile: int, multiple: int, reach: int | None) -> Tensor:
    """The output for (N, C, H, W), tile by tile, on the CPU: images are blended in the overlaps, label maps are not.

    H, W and `tile` must be multiples of `multiple`.
    """
    height, width = images.shape[2:]
    overlap = overlap_of(tile, multiple, reach)
    total = torch.zeros(height, width, dtype=torch.float64)
    for number, (y, x) in enumerate(places(height, width, tile, overlap.step)):
        output = function(images[:, :, y : y + tile, x : x + tile], number).cpu()
        weight = weights(height, tile, y, overlap)[:, None] * weights(width, tile, x, overlap)
        if number == 0:
            out = output.new_zeros(*output.shape[:-2], height, width)
        place = (..., slice(y, y + tile), slice(x, x + tile))
        if output.is_floating_point():
            out[place] += output * weight.to(output.dtype)
            total[place] += weight
        else:  # class numbers have no mean: each pixel comes from the tile in which it is farthest from a cut
            better = weight > total[place]
            out[place] = torch.where(better, output, out[place])
            total[place] = torch.maximum(total[place], weight)
    return out / total.to(out.dtype) if out.is_floating_point() else out


def places(height: int, width: int, tile: int, step: int) -> Iterator[tuple[int, int]]:
    """The top left corners of the tiles, row by row."""
    for y in starts(height, tile, step):
        for x in starts(width, tile, step):
            yield y, x


def through(
    function: Network,
    images: Tensor,
    multiple: int = 1,
    reach: int | None = None,
    tile: int = 0,
    least: int = LEAST,
    say: Callable[[str], None] = lambda text: None,
    network: nn.Module | None = None,
) -> Tensor:
    """The output for (N, C, H, W) images of any size: (N, C', H, W) images or (N, H, W) label maps, on the CPU.

    Args:
        function: takes images whose sides are multiples of `multiple`, and a tile's number, 0 without tiles.
        images: (N, C, H, W) in [-1, 1].
        multiple: see `Recipe.multiple`.
        reach: see `overlap_of`.
        tile: side of the tiles; 0 for the whole image, if it has no more than 2^21 pixels and memory is enough.
        least: smaller sides are padded to it.
        say: called with a message when tiles are used without being requested.
        network: the network of `function`; all tiles then share the statistics of its instance norms.

    Raises:
        ValueError: the output is not as large as the input.
    """
    height, width = images.shape[2:]
    whole = padded(images, multiple, least)
    chosen = -(-tile // multiple) * multiple
    if not tile and whole.shape[2] * whole.shape[3] > PIXELS:
        chosen = -(-TILE // multiple) * multiple
        say(f"pictures of more than {PIXELS:,} pixels were processed in tiles of {chosen}; --tile sets another side")
    while True:
        try:
            if chosen and max(whole.shape[2:]) > chosen:
                with shared_statistics(network, partial(function, thumbnail(images, chosen, multiple, least), 0)):
                    out = tiled(function, whole, chosen, multiple, reach)
            else:
                out = function(whole, 0).cpu()
            break
        except RuntimeError as error:
            side = chosen or max(whole.shape[2:])
            smaller = max(LEAST, side // 2) // multiple * multiple
            if "memory" not in str(error).lower() or not multiple <= smaller < side:
                raise
            chosen = smaller
        free_memory()
        say(f"memory was short, so some pictures were processed in tiles of {chosen}")
    if out.shape[-2:] != whole.shape[2:]:
        raise ValueError(
            f"the model returned {out.shape[-2]}x{out.shape[-1]} for {whole.shape[2]}x{whole.shape[3]} (height x width)"
        )
    return out[..., :height, :width]


def thumbnail(images: Tensor, tile: int, multiple: int, least: int) -> Tensor:
    """(N, C, H, W) downsized to the number of pixels of one tile, and padded."""
    scale = min(1.0, (tile**2 / (images.shape[2] * images.shape[3])) ** 0.5)
    size = [max(1, int(side * scale)) for side in images.shape[2:]]
    return padded(F.interpolate(images, size, mode="bilinear", antialias=True), multiple, least)


def free_memory() -> None:
    """Return unused memory to the device."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


# Instance norms ------------------------------------------------------------------------------------------------------

Norm = nn.GroupNorm | OwnBatchNorm2d


def instance_norms(module: nn.Module) -> list[Norm]:
    """The layers that normalise each channel of each image by its own statistics."""
    norms = (norm for norm in module.modules() if isinstance(norm, Norm))
    return [norm for norm in norms if isinstance(norm, OwnBatchNorm2d) or norm.num_groups == norm.num_channels]


@contextmanager
def shared_statistics(module: nn.Module | None, forward: Callable[[], object]) -> Iterator[None]:
    """A context in which instance norms use the statistics of `forward`, a pass of the whole image at a small size.

    With the statistics of each tile, neighbouring tiles with different content would differ visibly. The statistics of
    a small image are near those of the large one, but not equal (Chen et al. 2022, "Towards Ultra-Resolution Neural
    Style Transfer via Thumbnail Instance Normalization", https://arxiv.org/abs/2103.11784).
    """
    norms = [] if module is None else instance_norms(module)
    statistics: dict[Norm, list[tuple[Tensor, Tensor]]] = {norm: [] for norm in norms}
    calls = dict.fromkeys(norms, 0)

    def record(norm: Norm, inputs: tuple[Tensor], output: Tensor) -> None:
        variance, mean = torch.var_mean(inputs[0], (2, 3), correction=0, keepdim=True)
        statistics[norm].append((mean, (variance + norm.eps).rsqrt()))

    def apply(norm: Norm, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        recorded = statistics[norm]
        mean, scale = recorded[calls[norm] % len(recorded)]  # a norm may be called more than once per pass
        calls[norm] += 1
        out = (inputs[0] - mean) * scale
        return out if norm.weight is None else out * norm.weight[:, None, None] + norm.bias[:, None, None]

    hooks = [norm.register_forward_hook(record) for norm in norms]
    try:
        if norms:
            forward()
        for hook in hooks:
            hook.remove()
        hooks = [norm.register_forward_hook(apply) for norm in norms if statistics[norm]]
        yield
    finally:
        for hook in hooks:
            hook.remove()
