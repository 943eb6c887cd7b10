"""Images deeper than 8 bits: which values a set holds, and the one scale that turns them into black and white."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gankit.data.reading.choices import TYPE, Reading, Scale

BITS = (8, 10, 12, 14, 16)  # that cameras and scanners use
TAIL = 0.001  # share of the values below black, and above white, where percentiles make the scale
KEPT_BITS = 18  # of a float32 in the histogram: its sign, its exponent and 9 bits, so bins are 0.2% wide
SIGN = np.uint32(1 << 31)


class Depth(NamedTuple):
    """The values of images deeper than 8 bits.

    Args:
        whole: number of images of whole numbers.
        floats: number of images of floats.
        low, high: the least and the largest value.
        tops: for each image, the white of its type alone: 65535, 255 or 1; 0 where the type has none.
        histogram: (2 ** KEPT_BITS,) number of values in bins of rising value.
    """

    whole: int
    floats: int
    low: float
    high: float
    tops: frozenset[int]
    histogram: np.ndarray

    def __add__(self, other: Depth | None) -> Depth:  # type: ignore[override]  # no concatenation of tuples
        """The values of both."""
        if other is None:
            return self
        return Depth(
            self.whole + other.whole,
            self.floats + other.floats,
            min(self.low, other.low),
            max(self.high, other.high),
            self.tops | other.tops,
            self.histogram + other.histogram,
        )

    def percentile(self, share: float) -> float:
        """The value below which this share of all values lies, to a bin of the histogram."""
        counts = np.cumsum(self.histogram)
        place = share * float(counts[-1])
        bin_number = int(np.searchsorted(counts, place))
        left, right = _edges(np.array([bin_number, bin_number + 1])).tolist()
        left, right = max(self.low, left), min(self.high, right)  # beyond the largest float the edge is no number
        part = (place - float(counts[bin_number] - self.histogram[bin_number])) / float(self.histogram[bin_number])
        return min(max(left + (right - left) * part, self.low), self.high)


class Scaling(NamedTuple):
    """How images deeper than 8 bits become bytes.

    Args:
        scale: the values that become black and white; None where each image is scaled by its type alone.
        notes: for the user.
        key: for the cache; empty where the result is that of the images' types.
    """

    scale: Scale | None = None
    notes: tuple[str, ...] = ()
    key: tuple[object, ...] = ()


def measure(values: np.ndarray) -> Depth | None:
    """The values of one image; None if they are not finite, so that the image cannot be used."""
    if not values.size or not np.isfinite(low := values.min()) or not np.isfinite(high := values.max()):
        return None
    is_float = values.dtype.kind == "f"
    top = (255 if high > 1 else 1) if is_float else 65535
    counts = np.bincount(_bins(values).ravel(), minlength=1 << KEPT_BITS)
    tops = frozenset({top if low >= 0 and high <= max(top, 1) else 0})
    return Depth(int(not is_float), int(is_float), float(low), float(high), tops, counts)


def scaling(depth: Depth | None, how: Reading) -> Scaling:
    """The scale of a set whose deeper images hold these values; None for a set without such images."""
    if depth is None:
        return Scaling()
    count = depth.whole + depth.floats
    head = f"{count:,} images are deeper than 8 bits, with values from {depth.low:g} to {depth.high:g}"
    scale, reason = (how.scale, "--range says") if how.scale else _found(depth)
    is_as_typed = depth.tops == {scale[1]} and scale[0] == 0  # what the type of each image says, too
    if how.range == TYPE or (depth.whole and depth.floats and not how.scale):
        why = f"as --range {TYPE} says" if how.range == TYPE else "as some hold whole numbers and some floats"
        notes = (f"{head}: each is scaled by its type alone, {why}. --range LOW,HIGH sets one scale for all.",)
        return Scaling(scale if is_as_typed else None, notes)
    clipped = _clipped(depth, scale)
    more = f" {clipped:.1%} of the values lie outside." if clipped >= 0.005 else ""
    hint = "" if how.scale else " --range LOW,HIGH sets others."
    notes = (f"{head}: {scale[0]:g} becomes black and {scale[1]:g} white, as {reason}.{more}{hint}",)
    return Scaling(scale, notes, () if is_as_typed else ("scale", *scale))


def _found(depth: Depth) -> tuple[Scale, str]:
    """The scale of values, and the reason for it."""
    if depth.low >= 0 and depth.whole and depth.high <= 65535:
        bits = next(bits for bits in BITS if depth.high < 1 << bits)
        return (0.0, float((1 << bits) - 1)), f"{bits} bits are used"
    if depth.low >= 0 and depth.floats and depth.high <= 255:
        top = 255 if depth.high > 1 else 1
        return (0.0, float(top)), f"these are floats in 0..{top}"
    low, high = depth.percentile(TAIL), depth.percentile(1 - TAIL)
    if depth.whole:
        low, high = float(round(low)), float(round(high))
    low, high = (float(f"{value:.6g}") for value in (low, high))
    if not low < high:
        low, high = depth.low, depth.high if depth.low < depth.high else depth.low + 1
    return (low, high), f"{TAIL:.1%} of the values lie below and above"


def _clipped(depth: Depth, scale: Scale) -> float:
    """The share of the values outside of a scale, to the bins of the histogram."""
    first, last = _bins(np.array(scale, np.float32)).tolist()
    return 1 - float(depth.histogram[first : last + 1].sum()) / float(depth.histogram.sum())


def _bins(values: np.ndarray) -> np.ndarray:
    """The bin of each value: the leading bits of the float32, in an order in which they rise with the value."""
    bits = (values.astype(np.float32) + np.float32(0)).view(np.uint32)  # adding 0 makes -0 a 0
    return (np.where(bits & SIGN, ~bits, bits | SIGN) >> np.uint32(32 - KEPT_BITS)).astype(np.int64)


def _edges(bins: np.ndarray) -> np.ndarray:
    """The least value of each bin, from `_bins`."""
    ordered = np.minimum(bins, (1 << KEPT_BITS) - 1).astype(np.uint32) << np.uint32(32 - KEPT_BITS)
    return np.where(ordered & SIGN, ordered ^ SIGN, ~ordered).view(np.float32).astype(np.float64)
