"""Does stackgan draw what a text says? Trains it on drawn shapes and reads its pictures, with and without its parts.

    python benchmarks/captions.py [--seeds 3] [--images 128_000] [--set width_g=64]
    python benchmarks/captions.py --run RUN          # a run that is there already, and no training

It learns on shapes:captions. It is asked for captions of shapes:captions:test, whose pairs of a kind of shape and a colour it
has never seen together (unseen), and for ones that it has (seen). Colour, kind, size and place are read off the pixels: the
nearest colour of the palette, the centre and area of what is of it, and which of a circle and all turned triangles and
squares of that area there is nearest to it. In the table:

- colour, kind, size, place: the share of pictures that show what was said; all: that show all four; for each stage, for real
  drawings of these captions, and for captions of other pictures (shuffled).
- residue: the mean distance of the picture, as shares of its colour, from that nearest drawing, over the drawing's area.
- spread: the mean distance of 8 pictures of one caption from each other over that of real drawings of it; 0 is one picture.

Variants: as the preset is, and without conditioning augmentation. JSON lines go to --out, two pictures for each run beside it.
"""

from __future__ import annotations

import argparse
import ast
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

import gankit
from gankit import Recipe, data, latent, pictures, training
from gankit.data import captions
from gankit.data.builtin import shapes

Numbers = dict[str, float]
SAID = ("colour", "kind", "size", "place")
AREAS = (np.pi, 3 * 3**0.5 / 4, 2.0)  # of a circle, a triangle and a square whose corners are 1 from the centre
TURNS = 20  # of a triangle or square that are looked at, within one that changes nothing
ASKED, TIMES = 200, 8  # captions of each kind, and pictures of each for spread


def coverage(kind: int, r: Tensor, x: Tensor, y: Tensor, turn: float, side: int) -> Tensor:
    """(N, side, side) the share of each pixel that a shape covers, as the data draws it; r, x and y are (N,)."""
    line = (torch.arange(side) + 0.5 - side / 2) / (side / 2)
    u, v = line[None, None, :] - x[:, None, None], line[None, :, None] - y[:, None, None]
    corners = list(shapes.KINDS.values())[kind]
    if corners == 0:
        outside = torch.hypot(u, v) - r[:, None, None]
    else:
        angles = [turn + 2 * np.pi * i / corners for i in range(corners)]
        sides = torch.stack([u * np.sin(a) + v * np.cos(a) for a in angles]).amax(0)
        outside = sides - r[:, None, None] * np.cos(np.pi / corners)
    return (0.5 - outside * side / 2).clamp(0, 1)


def seen(images: Tensor) -> dict[str, Tensor]:
    """What (N, 3, H, H) images in [-1, 1] show: "colour", "kind", "size" (1 for large), "place" (row * 3 + column), "residue"."""
    rgb, side = (images.double() + 1) / 2, images.shape[-1]
    palette = torch.tensor(list(shapes.COLOURS.values())).double() / 255
    light = rgb.amax(1, keepdim=True)
    mean = (rgb * light).sum((2, 3))
    colour = (torch.nn.functional.normalize(mean) @ torch.nn.functional.normalize(palette).T).argmax(1)
    own = palette[colour]
    cover = ((rgb * own[:, :, None, None]).sum(1) / own.square().sum(1)[:, None, None]).clamp(0, 1)
    area = cover.sum((1, 2)).clamp(min=1)
    line = (torch.arange(side) + 0.5 - side / 2).double() / (side / 2)
    x, y = (cover.sum(1) * line).sum(1) / area, (cover.sum(2) * line).sum(1) / area
    best, kind, radius = torch.full_like(area, torch.inf), torch.zeros_like(colour), torch.zeros_like(area)
    for k, corners in enumerate(shapes.KINDS.values()):
        r = (area / (side / 2) ** 2 / AREAS[k]).sqrt()
        for turn in np.arange(TURNS if corners else 1) / TURNS * 2 * np.pi / max(1, corners):
            far = (coverage(k, r, x, y, float(turn), side) - cover).abs().sum((1, 2)) / area
            nearer = far < best
            best, kind, radius = (
                torch.where(nearer, far, best),
                torch.where(nearer, k, kind),
                torch.where(nearer, r, radius),
            )
    row, column = (torch.from_numpy(np.digitize(v.numpy(), shapes.EDGES)) for v in (y, x))
    return {"colour": colour, "kind": kind, "size": (radius > 0.5).long(), "place": row * 3 + column, "residue": best}


class Asked:
    """Captions of a part of the data, what they say, and real drawings of each."""

    def __init__(self, name: str, side: int):
        dataset = data.open(name, side, want="captions")
        chosen = np.random.default_rng(0).permutation(len(dataset))[:ASKED]
        rows = dataset.rows(chosen)
        known, names = rows["attribute"], dataset.attribute_names
        row, column = (np.digitize(known[:, names.index(axis)].numpy(), shapes.EDGES) for axis in "yx")
        self.said = {
            "kind": known[:, :3].argmax(1),
            "colour": known[:, 3:9].argmax(1),
            "size": (known[:, names.index("size")] > 0.5).long(),
            "place": torch.from_numpy(row * 3 + column),
        }
        self.real = data.normalise(rows["real"])
        texts = [captions.lines(dataset.captions[i]) for i in chosen]
        self.texts = [one[i % len(one)] for i, one in enumerate(texts)]
        self.codes = captions.encode(self.texts, dataset.caption[0])
        alike: dict[str, list[int]] = {}
        for i, text in enumerate(dataset.captions):
            alike.setdefault(text, []).append(i)
        groups = [alike[dataset.captions[i]] for i in chosen[:25]]
        self.distance = apart(
            [data.normalise(dataset.rows(np.array(group[:TIMES]))["real"]) for group in groups if len(group) >= TIMES]
        )

    def measure(self, images: Tensor, said: dict[str, Tensor] | None = None) -> Numbers:
        found, said = seen(images), said or self.said
        right = {name: found[name] == said[name] for name in SAID}
        numbers = {name: float(right[name].double().mean()) for name in SAID}
        return numbers | {
            "all": float(torch.stack(list(right.values())).all(0).double().mean()),
            "residue": float(found["residue"].mean()),
        }

    def drawn(self, draw: Callable[[Tensor, Tensor], Tensor], recipe: Recipe) -> Numbers:
        """The numbers of what `draw` makes of latents and captions."""
        numbers = self.measure(in_parts(draw, latent.latents(recipe, range(ASKED)), self.codes))
        z, codes = latent.latents(recipe, range(25 * TIMES)), self.codes[:25].repeat_interleave(TIMES, 0)
        return numbers | {"spread": apart(list(in_parts(draw, z, codes).split(TIMES))) / self.distance}


def in_parts(draw: Callable[[Tensor, Tensor], Tensor], z: Tensor, codes: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([draw(a, b.to(a.device)).float().cpu() for a, b in zip(z.split(50), codes.split(50))])


def apart(groups: list[Tensor]) -> float:
    """Mean distance of the images of a group from each other, over groups."""
    return float(
        np.mean(
            [(one[:, None] - one).abs().double().mean((2, 3, 4)).sum() / (len(one) * (len(one) - 1)) for one in groups]
        )
    )


def judged(recipe: Recipe, parts: dict[str, Asked]) -> dict[str, Numbers]:
    """The numbers of each stage on each part's captions."""
    rows = {}
    for part, asked in parts.items():
        for stage in range(1, int(recipe.stage) + 1):
            rows[f"stage {stage}, {part}"] = asked.drawn(
                lambda z, codes, stage=stage: recipe.draw(z, recipe.embed(codes), stage), recipe
            )
    return rows


def trivial(parts: dict[str, Asked]) -> dict[str, Numbers]:
    """The numbers of real drawings, and of real drawings beside other captions."""
    rows = {}
    for part, asked in parts.items():
        rows[f"real, {part}"] = asked.measure(asked.real) | {"spread": 1.0}
        rows[f"shuffled, {part}"] = asked.measure(asked.real, {name: said.roll(1) for name, said in asked.said.items()})
    return rows


def draw(recipe: Recipe, parts: dict[str, Asked], folder: Path, name: str) -> None:
    """A sheet for each part: captions, a real drawing of each, what Stage I and then Stage II draw, four of each."""
    z, stages = latent.latents(recipe, range(4)), range(1, int(recipe.stage) + 1)
    heads = ["real", *(f"Stage {'I' * stage}" for stage in stages for _ in range(4))]
    for part, asked in parts.items():
        rows = []
        for i in range(8):
            codes = asked.codes[i : i + 1].expand(4, -1)
            rows.append(asked.real[i : i + 1])
            rows += [in_parts(lambda a, b, s=stage: recipe.draw(a, recipe.embed(b), s), z, codes) for stage in stages]
        pictures.save(folder / f"{name}-{part}.png", torch.cat(rows), len(heads), heads, asked.texts[:8])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=0, help="the first seed: to go on where a run of this stopped")
    parser.add_argument("--seeds", type=int, default=3, help="how many from there on")
    parser.add_argument("--images", type=lambda n: int(n.replace("_", "")), help="default: the preset's")
    parser.add_argument("--run", help="a run to judge, in place of training")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings and arguments of the model"
    )
    parser.add_argument("--outdir", type=Path, default=Path("out/captions"), help="for runs and pictures")
    parser.add_argument("--out", type=Path, help="default: results.jsonl in OUTDIR; lines are added")
    args = parser.parse_args()
    args.outdir.mkdir(parents=True, exist_ok=True)
    out, rows = args.out or args.outdir / "results.jsonl", {}

    def note(variant: str, seed: int | None, found: dict[str, Numbers], seconds: float = 0.0) -> None:
        for name, numbers in found.items():
            rows.setdefault(f"{variant}{name}", []).append(numbers)
            with out.open("a") as file:
                file.write(
                    json.dumps({"variant": f"{variant}{name}", "seed": seed, "seconds": seconds, "numbers": numbers})
                    + "\n"
                )

    def parts_at(recipe: Recipe) -> dict[str, Asked]:
        return {
            "unseen": Asked("shapes:captions:test", recipe.spec.height),
            "seen": Asked("shapes:captions", recipe.spec.height),
        }

    if args.run:
        recipe = gankit.load(args.run).recipe
        parts = parts_at(recipe)
        note("", None, judged(recipe, parts))
        draw(recipe, parts, args.outdir, "stackgan")
    else:
        given = {k: value(v) for k, v in (text.split("=", 1) for text in args.set)} | (
            {"images": args.images} if args.images else {}
        )
        for seed in range(args.first, args.first + args.seeds):
            for variant, changed in {"": {}, "without augmentation: ": {"conditioning_augmentation": False}}.items():
                began = time.process_time()
                run = training.train(
                    "stackgan", preset="small", seed=seed, outdir=args.outdir / "runs", quiet=True, **(given | changed)
                )
                with run.averaged() as recipe:
                    parts = parts_at(recipe)
                    note(variant, seed, judged(recipe, parts), time.process_time() - began)
                    draw(recipe, parts, args.outdir, f"stackgan-{seed}{'-without' * bool(changed)}")
                print(
                    f"seed {seed}{', without augmentation' * bool(changed)}: {time.process_time() - began:.0f} s of the processor",
                    flush=True,
                )
    note("", None, trivial(parts))
    sheet = Table(box=box.SIMPLE, title="stackgan small on shapes:captions")
    names = [*SAID, "all", "residue", "spread"]
    for column in ("", *names):
        sheet.add_column(column, no_wrap=True)
    for variant, numbers in rows.items():
        sheet.add_row(
            variant, *(" ".join(f"{one[name]:.2f}" if name in one else "-" for one in numbers) for name in names)
        )
    Console(width=200, emoji=False).print(sheet)


def value(text: str) -> object:
    """A value as Python writes it, or the text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


if __name__ == "__main__":
    main()
