"""Curves as SVG."""

from __future__ import annotations

from gankit.text import escaped

COLOURS = ("#2563a8", "#c2410c", "#15803d", "#7e22ce", "#b91c1c", "#0e7490")


def chart(
    name: str, series: dict[str, list[tuple[float, float]]], width: int = 480, height: int = 220, unit: str = "images"
) -> str:
    """Lines over images seen, or over another unit, as SVG."""
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    x0, x1, y0, y1 = min(xs), max(xs), min(ys), max(ys)
    left, right, top, bottom = 52, 8, 22, 20

    def place(x: float, y: float) -> str:
        px = left + (x - x0) / ((x1 - x0) or 1) * (width - left - right)
        py = height - bottom - (y - y0) / ((y1 - y0) or 1) * (height - top - bottom)
        return f"{px:.1f},{py:.1f}"

    lines, keys = [], []
    for i, (key, points) in enumerate(series.items()):
        colour = COLOURS[i % len(COLOURS)]
        path = " ".join(place(x, y) for x, y in points)
        lines.append(f"<polyline fill=none stroke='{colour}' stroke-width=1.4 points='{path}'/>")
        if len(points) == 1:
            x, y = path.split(",")
            lines.append(f"<circle r=2.5 fill='{colour}' cx={x} cy={y} />")
        keys.append(f"<tspan fill='{colour}'>{escaped(key)} </tspan>")
    axes = (
        f"<text x=4 y={top + 8}>{y1:.3g}</text><text x=4 y={height - bottom}>{y0:.3g}</text>"
        f"<text x={left} y={height - 5}>{x0:,.0f}</text>"
        f"<text x={width - right} y={height - 5} text-anchor=end>{x1:,.0f} {escaped(unit)}</text>"
    )
    head = f"<svg role=img aria-label='{escaped(name)}' width={width} height={height}>"
    return f"{head}<text x={left} y=13>{''.join(keys)}</text>{axes}{''.join(lines)}</svg>"
