"""Whether stackgan's images show what their captions say, with and without conditioning augmentation.

    python benchmarks/captions.py [--seeds 3] [--images 128_000] [--set width_g=64]
    python benchmarks/captions.py --run RUN          # measure an existing run, without training

The model trains on shapes:captions. It draws captions of shapes:captions:test, whose combinations of shape and colour
are not in the training set (unseen), and captions of the training set (seen). Colour, kind, size and place are
measured on the pixels: the nearest colour of the palette, the centre and area of the pixels in it, and the nearest
among a circle and all rotated triangles and squares of that area. Columns of the table:

- colour, kind, size, place: the share of images that agree with the caption; all: the share that agrees in all four.
  Rows are the stages, real drawings of these captions, and real drawings with captions of others (shuffled).
- residue: the mean distance of the image, as shares of its colour, from the nearest drawing, over the drawing's area.
- spread: the mean distance between 8 images of one caption over that between real drawings of it; 0 is a single image.

JSON lines go to --out, two pictures for each run to --outdir.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from options import add_line, add_seeds, add_training, training_options
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

import gankit
from gankit import Recipe, data, latent, pictures, training
from gankit.data import captions
from gankit.data.builtin import shapes

Numbers = dict[str, float]
ATTRIBUTES = ("colour", "kind", "size", "place")
AREAS = (np.pi, 3 * 3**0.5 / 4, 2.0)  # of a circle, a triangle and a square whose corners are 1 from the centre
TURNS = 20  # rotations of a triangle or square that are compared, within its symmetry
CAPTIONS, TIMES = 200, 8  # captions of each part, and images of each caption for spread
VARIANTS = {"": {}, "without augmentation: ": {"conditioning_augmentation": False}}


def coverage(kind: int, r: Tensor, x: Tensor, y: Tensor, turn: float, side: int) -> Tensor:
    """The share of each pixel that a shape covers, (N, side, side), as the data draws it; r, x and y are (N,)."""
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


def shown_by(images: Tensor) -> dict[str, Tensor]:
    """The attributes that (N, 3, H, H) images in [-1, 1] show; size is 1 for large, place is row * 3 + column."""
    rgb, side = (images.double() + 1) / 2, images.shape[-1]
    palette = torch.tensor(list(shapes.COLOURS.values())).double() / 255
    light = rgb.amax(1, keepdim=True)
    mean = (rgb * light).sum((2, 3))
    colour = (torch.nn.functional.normalize(mean) @ torch.nn.functional.normalize(palette).T).argmax(1)
    paint = palette[colour]
    cover = ((rgb * paint[:, :, None, None]).sum(1) / paint.square().sum(1)[:, None, None]).clamp(0, 1)
    area = cover.sum((1, 2)).clamp(min=1)
    line = (torch.arange(side) + 0.5 - side / 2).double() / (side / 2)
    x, y = (cover.sum(1) * line).sum(1) / area, (cover.sum(2) * line).sum(1) / area
    best, kind, radius = torch.full_like(area, torch.inf), torch.zeros_like(colour), torch.zeros_like(area)
    for k, corners in enumerate(shapes.KINDS.values()):
        r = (area / (side / 2) ** 2 / AREAS[k]).sqrt()
        for turn in np.arange(TURNS if corners else 1) / TURNS * 2 * np.pi / max(1, corners):
            distance = (coverage(k, r, x, y, float(turn), side) - cover).abs().sum((1, 2)) / area
            is_nearer = distance < best
            best, kind = torch.where(is_nearer, distance, best), torch.where(is_nearer, k, kind)
            radius = torch.where(is_nearer, r, radius)
    row, column = (torch.from_numpy(np.digitize(v.numpy(), shapes.EDGES)) for v in (y, x))
    return {"colour": colour, "kind": kind, "size": (radius > 0.5).long(), "place": row * 3 + column, "residue": best}


class Captions:
    """Captions of a part of the data, their attributes, and a real drawing of each.

    Args:
        name: the part.
        side: of the images.
    """

    def __init__(self, name: str, side: int):
        dataset = data.open(name, side, want="captions")
        chosen = np.random.default_rng(0).permutation(len(dataset))[:CAPTIONS]
        rows = dataset.rows(chosen)
        values, names = rows["attribute"], dataset.attribute_names
        row, column = (np.digitize(values[:, names.index(axis)].numpy(), shapes.EDGES) for axis in "yx")
        self.attributes = {
            "kind": values[:, :3].argmax(1),
            "colour": values[:, 3:9].argmax(1),
            "size": (values[:, names.index("size")] > 0.5).long(),
            "place": torch.from_numpy(row * 3 + column),
        }
        self.real = data.normalise(rows["real"])
        texts = [captions.lines(dataset.captions[i]) for i in chosen]
        self.texts = [lines[i % len(lines)] for i, lines in enumerate(texts)]
        self.codes = captions.encode(self.texts, dataset.caption[0])
        numbers_of: dict[str, list[int]] = {}
        for i, text in enumerate(dataset.captions):
            numbers_of.setdefault(text, []).append(i)
        groups = [numbers_of[dataset.captions[i]][:TIMES] for i in chosen[:25]]
        reals = [dataset.rows(np.array(group))["real"] for group in groups if len(group) == TIMES]
        self.distance = mean_distance([data.normalise(real) for real in reals])

    def measure(self, images: Tensor, attributes: dict[str, Tensor] | None = None) -> Numbers:
        """The numbers of images, one for each caption; `attributes` replace those of the captions."""
        shown, attributes = shown_by(images), attributes or self.attributes
        right = {name: shown[name] == attributes[name] for name in ATTRIBUTES}
        numbers = {name: float(right[name].double().mean()) for name in ATTRIBUTES}
        return numbers | {
            "all": float(torch.stack(list(right.values())).all(0).double().mean()),
            "residue": float(shown["residue"].mean()),
        }

    def measure_stage(self, recipe: Recipe, stage: int) -> Numbers:
        """The numbers of the images that a stage of the model draws."""
        numbers = self.measure(draw(recipe, stage, latent.latents(recipe, range(CAPTIONS)), self.codes))
        z, codes = latent.latents(recipe, range(25 * TIMES)), self.codes[:25].repeat_interleave(TIMES, 0)
        groups = list(draw(recipe, stage, z, codes).split(TIMES))
        return numbers | {"spread": mean_distance(groups) / self.distance}


@torch.no_grad()
def draw(recipe: Recipe, stage: int, z: Tensor, codes: Tensor) -> Tensor:
    """The images that a stage draws of latents and captions, on the CPU."""
    parts = zip(z.split(50), codes.split(50))
    return torch.cat([recipe.draw(a, recipe.embed(b.to(a.device)), stage).float().cpu() for a, b in parts])


def mean_distance(groups: list[Tensor]) -> float:
    """Mean distance between the images of a group, over groups."""

    def within(x: Tensor) -> Tensor:
        return (x[:, None] - x).abs().double().mean((2, 3, 4)).sum() / (len(x) * (len(x) - 1))

    return float(np.mean([within(group) for group in groups]))


def stages(recipe: Recipe) -> range:
    """The numbers of the stages that were trained."""
    return range(1, int(recipe.stage) + 1)


def measure(recipe: Recipe, parts: dict[str, Captions]) -> dict[str, Numbers]:
    """The numbers of each stage on each part's captions."""
    return {
        f"stage {stage}, {name}": part.measure_stage(recipe, stage)
        for name, part in parts.items()
        for stage in stages(recipe)
    }


def trivial(parts: dict[str, Captions]) -> dict[str, Numbers]:
    """The numbers of real drawings with their captions, and with captions of others."""
    rows = {}
    for name, part in parts.items():
        rows[f"real, {name}"] = part.measure(part.real) | {"spread": 1.0}
        shuffled = {attribute: values.roll(1) for attribute, values in part.attributes.items()}
        rows[f"shuffled, {name}"] = part.measure(part.real, shuffled)
    return rows


def save_sheets(recipe: Recipe, parts: dict[str, Captions], folder: Path, name: str) -> None:
    """A sheet for each part: captions, a real drawing of each, and four images of each stage."""
    z = latent.latents(recipe, range(4))
    heads = ["real", *(f"Stage {'I' * stage}" for stage in stages(recipe) for _ in range(4))]
    for part_name, part in parts.items():
        rows = []
        for i in range(8):
            codes = part.codes[i : i + 1].expand(4, -1)
            rows += [part.real[i : i + 1], *(draw(recipe, stage, z, codes) for stage in stages(recipe))]
        pictures.save(folder / f"{name}-{part_name}.png", torch.cat(rows), len(heads), heads, part.texts[:8])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_seeds(parser, 3)
    add_training(parser)
    parser.add_argument("--run", help="an existing run to measure; default: train")
    parser.add_argument("--outdir", type=Path, default=Path("out/captions"), help="for runs and pictures")
    parser.add_argument("--out", type=Path, help="file to append JSON lines to; default: results.jsonl in OUTDIR")
    args = parser.parse_args()
    args.outdir.mkdir(parents=True, exist_ok=True)
    out, table_rows = args.out or args.outdir / "results.jsonl", {}

    def note(variant: str, seed: int | None, rows: dict[str, Numbers], seconds: float = 0.0) -> None:
        for name, numbers in rows.items():
            table_rows.setdefault(f"{variant}{name}", []).append(numbers)
            add_line(out, {"variant": f"{variant}{name}", "seed": seed, "seconds": seconds, "numbers": numbers})

    def parts_at(side: int) -> dict[str, Captions]:
        return {"unseen": Captions("shapes:captions:test", side), "seen": Captions("shapes:captions", side)}

    if args.run:
        recipe = gankit.load(args.run).recipe
        parts = parts_at(recipe.spec.height)
        note("", None, measure(recipe, parts))
        save_sheets(recipe, parts, args.outdir, "stackgan")
    else:
        options = dict(preset="small", outdir=args.outdir / "runs", quiet=True) | training_options(args)
        for seed in range(args.first, args.first + args.seeds):
            for variant, changed in VARIANTS.items():
                began = time.process_time()
                run = training.train("stackgan", seed=seed, **(options | changed))
                with run.averaged() as recipe:
                    parts = parts_at(recipe.spec.height)
                    note(variant, seed, measure(recipe, parts), time.process_time() - began)
                    save_sheets(recipe, parts, args.outdir, f"stackgan-{seed}{'-without' * bool(changed)}")
                seconds = time.process_time() - began
                name = ", without augmentation" * bool(changed)
                print(f"seed {seed}{name}: {seconds:.0f} s of processor time", flush=True)
    note("", None, trivial(parts))
    Console(width=200, emoji=False).print(table(table_rows))


def table(rows: dict[str, list[Numbers]]) -> Table:
    """A line for each variant, a column for each number, the seeds side by side in a cell."""
    names = [*ATTRIBUTES, "all", "residue", "spread"]
    sheet = Table(box=box.SIMPLE, title="stackgan small on shapes:captions")
    for column in ("", *names):
        sheet.add_column(column, no_wrap=True)
    for variant, seeds in rows.items():
        cells = (" ".join(f"{numbers[name]:.2f}" if name in numbers else "-" for numbers in seeds) for name in names)
        sheet.add_row(variant, *cells)
    return sheet


if __name__ == "__main__":
    main()
