"""Curves as SVG, with ticks on both axes. An axis never makes a flat series look like a steep one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from gankit.text import escaped

COLOURS = ("#3b82c8", "#d9622b", "#2f9e58", "#9a5bd0", "#cf4343", "#1a98ad")  # readable on white and on black
FLAT = 0.2  # an axis spans at least this share of its largest number
STEEP = 30.0  # positive values whose largest is so many times the smallest get a logarithmic axis
HUGE = 1e300  # numbers beyond it are drawn there
Series = dict[str, list[tuple[float, float]]]
LEFT, RIGHT, BOTTOM, LINE = 54, 10, 36, 15  # pixels beside and below the axes, and of a line of text


class Mark(NamedTuple):
    """A dashed line at a number: across the y axis, or upright on the x axis."""

    value: float
    text: str
    is_upright: bool = False


class Axis(NamedTuple):
    """Numbers from `low` to `high` along an axis."""

    low: float
    high: float
    is_log: bool = False

    def place(self, value: float) -> float:
        """Where a number lies, 0 to 1."""
        low, high, value = (math.log10(v) if self.is_log else v for v in (self.low, self.high, value))
        return (value - low) / (high - low)

    def ticks(self, most: int = 6) -> list[float]:
        """Round numbers along the axis, at most `most` and two."""
        if not self.is_log:
            step = round_step(self.high - self.low, most)
            first = math.ceil(self.low / step - 1e-9)
            return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for factors, every in (((1, 2, 5), 1), ((1,), 1), ((1,), 2), ((1,), 5), ((1,), 100)):
            ticks = [f * 10.0**p for p in powers if p % every == 0 for f in factors]
            ticks = [tick for tick in ticks if self.low <= tick <= self.high]
            if len(ticks) <= most:
                break
        return ticks


def round_step(span: float, most: int) -> float:
    """The least of 1, 2 and 5 times a power of ten that divides a span into at most `most` parts."""
    power = 10.0 ** math.floor(math.log10(span / most))
    return next((factor * power for factor in (1, 2, 5) if factor * power * most >= span * (1 - 1e-9)), 10 * power)


def axis_of(values: Sequence[float], limits: tuple[float, float] | None = None, may_be_log: bool = False) -> Axis:
    """The axis of values: from 0 where they are far apart, wider than a flat series, logarithmic for steep ones.

    Args:
        values: at least one.
        limits: numbers that the axis reaches at least, for values with a known range.
        may_be_log: whether a logarithmic axis makes sense.
    """
    low, high = min([*values, *(limits or ())]), max([*values, *(limits or ())])
    if may_be_log and low > 0 and high / low > STEEP:
        return Axis(low / 1.15, high * 1.15, True)
    least = FLAT * max(abs(low), abs(high)) or 1.0
    if high - low < least:
        middle, is_positive = (low + high) / 2, low >= 0
        low, high = middle - least / 2, middle + least / 2
        low = max(0.0, low) if is_positive else low
    elif 0 < low < (high - low) or (limits is None and low == 0):
        low = 0.0
    step = round_step(high - low, 5)
    return Axis(math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step)


def tick_text(value: float, step: float, is_count: bool = False) -> str:
    """A number as a tick shows it: as many decimals as its step needs; counts as 20k and 5M, as flags take them."""
    if value == 0:
        return "0"
    if is_count and abs(value) >= 1000:
        for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if abs(value) >= size:
                return f"{value / size:.4g}{unit}"
    if abs(value) >= 1e6 or abs(value) < 1e-4 or step < 1e-5:
        return f"{value:.3g}"
    return f"{value:,.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


def chart(
    name: str,
    series: Series,
    width: int = 460,
    height: int = 240,
    unit: str = "images",
    unit_y: str = "",
    limits: tuple[float, float] | None = None,
    marks: Sequence[Mark] = (),
    has_last: bool = False,
    may_be_log: bool = False,
) -> str:
    """Lines over images seen, or over another unit, as SVG that fits the width of its place.

    Args:
        name: of the chart.
        series: points of each line, finite numbers.
        width, height: in pixels, at most.
        unit, unit_y: of the axes.
        limits: what the y axis reaches at least.
        marks: dashed lines.
        has_last: give the last value of each line beside its name.
        may_be_log: take a logarithmic y axis for positive values that are far apart.
    """
    series = {key: [(near(x), near(y)) for x, y in points] for key, points in series.items()}
    marks = [mark._replace(value=near(mark.value)) for mark in marks]
    xs = [x for points in series.values() for x, _ in points] + [m.value for m in marks if m.is_upright]
    ys = [y for points in series.values() for _, y in points] + [m.value for m in marks if not m.is_upright]
    is_wide = max(xs) - min(xs) > 1e-9 * max(map(abs, xs))
    x_axis = Axis(min(xs), max(xs)) if is_wide else axis_of(xs)
    y_axis = axis_of(ys, limits, may_be_log)
    keys, top = legend(series, width, has_last)
    frame = (LEFT, top + LINE + 4, width - RIGHT, height - BOTTOM)
    lines = [line(points, COLOURS[i % len(COLOURS)], x_axis, y_axis, frame) for i, points in enumerate(series.values())]
    label = escaped(f"{name}: {', '.join(series)} over {unit}")
    head = f"<svg role=img aria-label='{label}' viewBox='0 0 {width} {height}' font-family='system-ui, sans-serif' "
    unit_y += ", log scale" * y_axis.is_log if unit_y else "log scale" * y_axis.is_log
    names = f"<text x=4 y={top + 9} {SOFT}>{escaped(unit_y)}</text>"
    names += f"<text x={width - RIGHT} y={height - 4} text-anchor=end {SOFT}>{escaped(unit)}</text>"
    drawn = axes(x_axis, y_axis, frame, unit == "images") + dashed(marks, x_axis, y_axis, frame)
    return f"{head}font-size=11 fill=currentColor>{keys}{names}{drawn}{''.join(lines)}</svg>"


SOFT = "fill-opacity=.65"
Frame = tuple[int, int, int, int]  # left, top, right, bottom


def near(value: float) -> float:
    """The number, or the nearest that can be drawn."""
    return float(max(-HUGE, min(HUGE, value)))


def legend(series: Series, width: int, has_last: bool) -> tuple[str, int]:
    """The names of the lines in their colours, in rows, and the height of it."""
    x, y, texts = 4.0, 12, []
    for i, (key, points) in enumerate(series.items()):
        text = f"{key} {points[-1][1]:.3g}" if has_last else key
        wide = 6.3 * len(text) + 22
        if x > 4 and x + wide > width:
            x, y = 4.0, y + LINE
        dot = f"<circle r=4 cx={x + 4:.0f} cy={y - 4} fill='{COLOURS[i % len(COLOURS)]}' />"
        texts.append(f"{dot}<text x={x + 12:.0f} y={y}>{escaped(text)}</text>")
        x += wide
    return "".join(texts), y + 6


def axes(x_axis: Axis, y_axis: Axis, frame: Frame, is_count: bool) -> str:
    """Ticks with their numbers, and a thin line across for each of the y axis."""
    left, top, right, bottom = frame
    parts = []
    ticks = y_axis.ticks()
    step = min((b - a for a, b in zip(ticks, ticks[1:])), default=1.0)
    for tick in ticks:
        y = bottom - y_axis.place(tick) * (bottom - top)
        parts.append(f"<path d='M{left} {y:.1f}H{right}' stroke=currentColor stroke-opacity=.15 />")
        text = f"{tick:g}" if y_axis.is_log else tick_text(tick, step)
        parts.append(f"<text x={left - 6} y={y + 4:.1f} text-anchor=end {SOFT}>{text}</text>")
    ticks = x_axis.ticks(5)
    step = min((b - a for a, b in zip(ticks, ticks[1:])), default=1.0)
    for tick in ticks:
        x = left + x_axis.place(tick) * (right - left)
        parts.append(f"<path d='M{x:.1f} {bottom}v4' stroke=currentColor stroke-opacity=.5 />")
        anchor = "end" if x > right - 12 else "middle"
        parts.append(
            f"<text x={x:.1f} y={bottom + 16} text-anchor={anchor} {SOFT}>{tick_text(tick, step, is_count)}</text>"
        )
    parts.append(f"<path d='M{left} {bottom}H{right}' stroke=currentColor stroke-opacity=.5 />")
    return "".join(parts)


def dashed(marks: Sequence[Mark], x_axis: Axis, y_axis: Axis, frame: Frame) -> str:
    """Marks as dashed lines with their texts."""
    left, top, right, bottom = frame
    parts = []
    for mark in marks:
        if mark.is_upright:
            x = left + x_axis.place(mark.value) * (right - left)
            anchor, aside = ("end", -4) if x > (left + right) / 2 else ("start", 4)
            d, at = f"M{x:.1f} {bottom}V{top}", (x + aside, top + 9.0)
        else:
            y = bottom - y_axis.place(mark.value) * (bottom - top)
            d, at, anchor = f"M{left} {y:.1f}H{right}", (float(right), y - 4), "end"
        parts.append(f"<path d='{d}' stroke=currentColor stroke-opacity=.6 stroke-dasharray='4 3' />")
        parts.append(f"<text x={at[0]:.1f} y={at[1]:.1f} text-anchor={anchor}>{escaped(mark.text)}</text>")
    return "".join(parts)


def line(points: list[tuple[float, float]], colour: str, x_axis: Axis, y_axis: Axis, frame: Frame) -> str:
    """A line through points; one point alone, and each of a few, is a dot."""
    left, top, right, bottom = frame
    places = [
        f"{left + x_axis.place(x) * (right - left):.1f},{bottom - y_axis.place(y) * (bottom - top):.1f}"
        for x, y in points
    ]
    drawn = (
        f"<polyline fill=none stroke='{colour}' stroke-width=1.8 stroke-linejoin=round points='{' '.join(places)}'/>"
    )
    dots = [place.split(",") for place in places] if len(places) <= 12 else []
    return drawn + "".join(f"<circle r=2.6 fill='{colour}' cx={x} cy={y} />" for x, y in dots)
