"""Images of any size through a network: padded and cropped back, or cut into tiles whose overlaps are blended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit.translation.norms import shared

PIXELS = 2**21  # of an image that goes through a network whole: full HD; above it, tiles
TILE = 1024  # side of the tiles when nothing is said
LEAST = 32  # sides below it are padded to it, for networks that have no place for less

Whole = Callable[
    [Tensor, int], Tensor
]  # images of sides that are multiples, and the tile's number, to what is made of them


class Cut(NamedTuple):
    """How tiles overlap along a side.

    Args:
        step: from the beginning of one tile to that of the next.
        margin: pixels at a cut edge that are not used.
        ramp: pixels after them, over which a tile's weight rises from 0 to 1.
    """

    step: int
    margin: int
    ramp: int


def cut(tile: int, multiple: int, reach: int | None) -> Cut:
    """How tiles of this side overlap: so that no pixel hangs on where they are cut, if the network's reach allows it.

    Args:
        tile: side of a tile, a multiple of `multiple`.
        multiple: of the sides that the network takes. Tiles begin at multiples of it, so that strides fall alike.
        reach: pixels from which an output pixel still hangs on the input, along a side; None where it is not known or has no
            end, as with instance norm. A quarter of the tile overlaps then.
    """
    margin, ramp = (tile // 16, tile // 8) if reach is None else (reach, max(8, tile // 16))
    if 2 * margin + ramp > tile // 2:
        margin, ramp = tile // 8, tile // 4
    step = tile - 2 * margin - ramp
    return Cut(step // multiple * multiple or step, margin, ramp)


def starts(length: int, tile: int, step: int) -> list[int]:
    """Where tiles begin along a side of `length` pixels; the last one ends where the side does."""
    return [*range(0, max(0, length - tile), step), max(0, length - tile)]


def weights(length: int, tile: int, start: int, shape: Cut) -> Tensor:
    """(tile,) how much each pixel of a tile counts, float64: 0 at a cut edge, 1 inside and at the image's own edges."""
    tile = min(tile, length)
    place = torch.arange(tile, dtype=torch.float64)
    rising = ((place - shape.margin + 1) / (shape.ramp + 1)).clamp(0, 1)
    ones = torch.ones_like(rising)
    return (rising if start > 0 else ones) * (rising.flip(0) if start + tile < length else ones)


def reflected(length: int, wanted: int) -> Tensor:
    """(wanted,) which pixel of a side stands at each place when it is continued by its mirror image, for as long as need be."""
    if length == 1:
        return torch.zeros(wanted, dtype=torch.long)
    place = torch.arange(wanted) % (2 * length - 2)
    return torch.minimum(place, 2 * length - 2 - place)


def padded(images: Tensor, multiple: int, least: int = 1) -> Tensor:
    """(N, C, H, W) continued below and to the right by reflection, to sides of at least `least` that are multiples."""
    height, width = (-(-max(side, least) // multiple) * multiple for side in images.shape[2:])
    if (height, width) == tuple(images.shape[2:]):
        return images
    rows, columns = (reflected(*sides).to(images.device) for sides in zip(images.shape[2:], (height, width)))
    return images[:, :, rows][:, :, :, columns]


def tiled(function: Whole, images: Tensor, tile: int, multiple: int, reach: int | None) -> Tensor:
    """What `function` makes of (N, C, H, W), tile by tile: images blended over the overlaps, label maps (N, H, W) cut.

    H and W are multiples of `multiple`, and so is `tile`. The result is on the CPU.
    """
    height, width = images.shape[2:]
    shape = cut(tile, multiple, reach)
    out = total = None
    for number, (y, x) in enumerate(places(height, width, tile, shape.step)):
        done = function(images[:, :, y : y + tile, x : x + tile], number).cpu()
        weight = weights(height, tile, y, shape)[:, None] * weights(width, tile, x, shape)
        if out is None:
            out = done.new_zeros(*done.shape[:-2], height, width)
            total = torch.zeros(height, width, dtype=torch.float64)
        there = (..., slice(y, y + tile), slice(x, x + tile))
        if done.is_floating_point():
            out[there] += done * weight.to(done.dtype)
            total[there] += weight
        else:  # numbers of classes have no mean: each pixel is the tile's in which it lies farthest from a cut
            better = weight > total[there]
            out[there] = torch.where(better, done, out[there])
            total[there] = torch.maximum(total[there], weight)
    return out / total.to(out.dtype) if out.is_floating_point() else out


def places(height: int, width: int, tile: int, step: int) -> Iterator[tuple[int, int]]:
    """The upper left corners of the tiles, row by row."""
    for y in starts(height, tile, step):
        for x in starts(width, tile, step):
            yield y, x


def through(
    function: Whole,
    images: Tensor,
    multiple: int = 1,
    reach: int | None = None,
    tile: int = 0,
    least: int = LEAST,
    say: Callable[[str], None] = lambda text: None,
    network: nn.Module | None = None,
) -> Tensor:
    """What `function` makes of (N, C, H, W) of any size: (N, C', H, W) images or (N, H, W) label maps, on the CPU.

    Args:
        function: takes images whose sides are multiples of `multiple`, and a tile's number, 0 without tiles.
        images: (N, C, H, W) in [-1, 1].
        multiple: see `Recipe.multiple`.
        reach: see `cut`.
        tile: side of the tiles; 0 for the image whole while it has no more than 2^21 pixels and memory is enough.
        least: sides below it are padded to it.
        say: is told, once for each reason, when tiles were taken though none were asked for.
        network: what `function` runs; its instance norms then go by one picture for all tiles, see `norms.shared`.

    Raises:
        ValueError: what comes out is not as large as what went in.
    """
    height, width = images.shape[2:]
    whole = padded(images, multiple, least)
    chosen = -(-tile // multiple) * multiple
    if not tile and whole.shape[2] * whole.shape[3] > PIXELS:
        chosen = -(-TILE // multiple) * multiple
        say(f"pictures of more than {PIXELS:,} pixels went through in tiles of {chosen}; --tile chooses another side")
    while True:
        try:
            if chosen and max(whole.shape[2:]) > chosen:
                with shared(network, partial(function, thumbnail(images, chosen, multiple, least), 0)):
                    out = tiled(function, whole, chosen, multiple, reach)
            else:
                out = function(whole, 0).cpu()
            break
        except RuntimeError as error:
            smaller = max(LEAST, (chosen or max(whole.shape[2:])) // 2) // multiple * multiple
            if "memory" not in str(error).lower() or smaller < multiple or smaller >= (chosen or max(whole.shape[2:])):
                raise
            chosen = smaller
        give_back()
        say(f"memory was short, so some pictures went through in tiles of {chosen}")
    if out.shape[-2:] != whole.shape[2:]:
        raise ValueError(
            f"the model made {out.shape[-2]}x{out.shape[-1]} of {whole.shape[2]}x{whole.shape[3]} (height x width)"
        )
    return out[..., :height, :width]


def thumbnail(images: Tensor, tile: int, multiple: int, least: int) -> Tensor:
    """(N, C, H, W) made so small that it has the pixels of one tile, and padded."""
    scale = min(1.0, (tile**2 / (images.shape[2] * images.shape[3])) ** 0.5)
    size = [max(1, int(side * scale)) for side in images.shape[2:]]
    return padded(F.interpolate(images, size, mode="bilinear", antialias=True), multiple, least)


def give_back() -> None:
    """Hand unused memory back to the device."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
