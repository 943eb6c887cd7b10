"""Curves of a race as a PNG: Frechet distance over CPU seconds, both logarithmic."""

from __future__ import annotations

import math
from pathlib import Path

from PIL import Image, ImageColor, ImageDraw

from gankit.pictures.curves import COLOURS

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 900, 480, 60, 40, 30


def ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between two positive numbers."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [t for p in powers for k in (1, 2, 5) if low <= (t := k * 10.0**p) <= high]


def draw_curves(rows: list[dict[str, object]], path: Path, title: str) -> None:
    """Write the curves of rows with `name`, `seed`, `due`, `cpu` and `fd`; rows at 0 s are dashed lines."""
    timed = [row for row in rows if row["due"]]
    xs, ys = [row["cpu"] for row in timed], [max(row["fd"], 1e-3) for row in rows]
    low, high = (min(xs) / 1.2, min(ys) / 1.2), (max(xs) * 1.2, max(ys) * 1.2)
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(picture)

    def place(x: float, y: float) -> tuple[float, float]:
        a, b = (math.log(v / s) / math.log(e / s) for v, s, e in zip((x, y), low, high))
        return LEFT + a * (WIDTH - LEFT - 20), HEIGHT - BOTTOM - b * (HEIGHT - BOTTOM - TOP)

    for tick in ticks(low[0], high[0]):
        x, y = place(tick, low[1])
        draw.line([(x, TOP), (x, y)], fill="#e5e5e5")
        draw.text((x, y + 4), f"{tick:g}", fill="black", anchor="ma")
    for tick in ticks(low[1], high[1]):
        x, y = place(low[0], tick)
        draw.line([(x, y), (WIDTH - 20, y)], fill="#e5e5e5")
        draw.text((x - 4, y), f"{tick:g}", fill="black", anchor="rm")
    draw.text((LEFT, 8), f"{title}: Frechet distance (lower is better) over CPU seconds", fill="black")
    for i, name in enumerate(dict.fromkeys(row["name"] for row in rows)):
        mine, colour = [row for row in rows if row["name"] == name], ImageColor.getrgb(COLOURS[i % len(COLOURS)])
        for seed in sorted({row["seed"] for row in mine}):
            points = sorted((row["cpu"], row["fd"]) for row in mine if row["due"] and row["seed"] == seed)
            places = [place(*point) for point in points]
            draw.line(places, fill=colour, width=2)
            for x, y in places:
                draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=colour)
        for row in mine:
            if not row["due"]:
                y = place(low[0], max(row["fd"], 1e-3))[1]
                for x in range(LEFT, WIDTH - 20, 12):
                    draw.line([(x, y), (x + 5, y)], fill=colour)
        draw.text((WIDTH - 30, TOP + 4 + 14 * i), str(name), fill=colour, anchor="ra")
    picture.save(path)
