"""How well do anogan and f_anogan find what does not belong? Trains both, and holds them beside three plain ways.

    python benchmarks/anomaly.py digits [--seeds 3] [--classes 0,4,8] [--models f_anogan]
    python benchmarks/anomaly.py lfw
    python benchmarks/anomaly.py textures [--textures brick]

- digits: each class in turn is the anomaly: models learn the other nine, and all 397 held-out digits are scored.
- lfw: 70 faces of 25x25 to learn from; 30 other faces and 100 patches that are none are scored.
- textures: patches of a texture to learn from; others of the same texture, half of them with a drawn defect, are scored, and
  the defects looked for: AUROC over pixels, and per-region overlap.

The plain ways see the same images as pixels: what 16 principal components leave (pca), the distance to the nearest of the
learned images (nearest), scikit-learn's isolation forest (forest). Beside stands each model before it was trained. For
every way: AUROC over images, and the processor's milliseconds for an image. JSON lines go to --out.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from torch import Tensor

import gankit
from gankit import anomaly, data, metrics
from gankit.runs.config import arguments_of, versions
from gankit.runs.trained import load
from gankit.training.setup import build_recipe

MODELS = ("anogan", "f_anogan")
SIDES = {"digits": "16", "lfw": "32", "textures": "32"}
Task = tuple[str, str, str]  # what is learned, what is scored, and its normal class or "" where masks tell


def tasks(args: argparse.Namespace) -> dict[str, Task]:
    if args.data == "digits":
        chosen = range(10) if not args.classes else [int(k) for k in args.classes.split(",")]
        return {f"digit {k}": (f"digits:without-{k}", "digits:test", str(k)) for k in chosen}
    if args.data == "lfw":
        return {"no face": ("lfw", "lfw:test", "")}
    return {t: (f"textures:{t}", f"textures:{t}:defects", "") for t in args.textures.split(",")}


def normal_of(task: Task) -> tuple[str, ...]:
    """Names of the normal classes: all but the one digit."""
    return tuple(str(k) for k in range(10) if str(k) != task[2]) if task[2] else ()


def pixels(name: str, side: str, most: int = 4000) -> Tensor:
    """(N, D) pixels of a set, of an even choice of its images where they are many."""
    dataset = data.open(name, side)
    numbers = np.unique(np.linspace(0, len(dataset) - 1, min(most, len(dataset))).astype(int))
    return data.normalise(dataset.rows(numbers)["real"]).flatten(1)


def plain(learned: Tensor, scored: Tensor, seed: int) -> dict[str, tuple[Tensor, float]]:
    """Scores of the three plain ways, and milliseconds an image."""

    def pca() -> Tensor:
        fitted = PCA(min(16, len(learned) - 1), random_state=seed).fit(learned.numpy())
        return torch.from_numpy(
            np.square(scored.numpy() - fitted.inverse_transform(fitted.transform(scored.numpy()))).sum(1)
        )

    def nearest() -> Tensor:
        return metrics.nearest_neighbours(scored, learned, k=1).distance[:, 0]

    def forest() -> Tensor:
        return torch.from_numpy(-IsolationForest(random_state=seed).fit(learned.numpy()).score_samples(scored.numpy()))

    found = {}
    for way in (pca, nearest, forest):
        began = time.process_time()
        score = way().double()
        found[way.__name__] = score, 1000 * (time.process_time() - began) / len(scored)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=list(SIDES))
    parser.add_argument("--first", type=int, default=0, help="the first seed: to go on where a run of this stopped")
    parser.add_argument("--seeds", type=int, default=3, help="how many from there on")
    parser.add_argument("--classes", default="", help="digits that are the anomaly in turn; all ten without it")
    parser.add_argument(
        "--models", default=",".join(MODELS), help="which to train, of anogan and f_anogan; the plain ways always run"
    )
    parser.add_argument("--textures", default="brick,grass,gravel")
    parser.add_argument("--images", type=int, help="default: the preset's")
    parser.add_argument("--limit", type=int, default=0, help="images to score at most")
    parser.add_argument("--outdir", type=Path, default=Path("out/anomaly"))
    args = parser.parse_args()
    chosen = args.models.split(",")
    if unknown := set(chosen) - set(MODELS):
        parser.error(f"--models has {', '.join(sorted(unknown))}; choose from {', '.join(MODELS)}")
    args.outdir.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, list[float]]] = {}

    def note(task: str, way: str, seed: int, numbers: dict[str, float]) -> None:
        for name in ("auroc", "pixel_auroc", "pro", "cpu_ms_per_image"):
            if name in numbers:
                rows.setdefault(way, {}).setdefault(name, []).append(numbers[name])
        line = {
            "data": args.data,
            "task": task,
            "way": way,
            "seed": seed,
            "numbers": numbers,
            "versions": versions(),
        }
        with (args.outdir / "results.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    side = SIDES[args.data]
    for title, task in tasks(args).items():
        learned, scored = (pixels(name, side) for name in task[:2])
        for seed in range(args.first, args.first + args.seeds):
            truth = None
            for model in chosen:
                length = {"images": args.images} if args.images else {}
                options = dict(
                    data=task[0],
                    resolution=side,
                    preset="small",
                    seed=seed,
                    preview=0,
                    outdir=args.outdir / "runs",
                    quiet=True,
                )
                run = gankit.train(model, **options, **length)
                trained = load(run.folder)
                found = anomaly.score_run(trained, task[1], normal_of(task), limit=args.limit)
                truth = found.anomalous
                note(title, model, seed, anomaly.numbers(found))
                anomaly.write(
                    found,
                    anomaly.numbers(found),
                    args.outdir / f"{model}-{title.replace(' ', '-')}-{seed}.csv",
                    f"{model}, {title}",
                )
                fresh = build_recipe(type(run.recipe), trained.recipe.spec, arguments_of(run.config), seed).eval()
                trained.recipe.load_state_dict(fresh.state_dict())
                note(
                    title,
                    f"{model}, untrained",
                    seed,
                    anomaly.numbers(anomaly.score_run(trained, task[1], normal_of(task), limit=args.limit)),
                )
            for way, (score, ms) in plain(learned, scored[: len(truth)], seed).items():
                note(title, way, seed, {"auroc": metrics.auroc(score, truth), "cpu_ms_per_image": ms})
            print(
                f"{title}, seed {seed}: " + ", ".join(f"{way} {found['auroc'][-1]:.3f}" for way, found in rows.items()),
                flush=True,
            )
    names = list(dict.fromkeys(name for found in rows.values() for name in found))
    sheet = Table(
        "",
        *(f"mean {name} (least to most)" for name in names),
        title=f"{args.data}, seeds {args.first} to {args.first + args.seeds - 1}",
        box=box.MARKDOWN,
    )
    for way, found in rows.items():
        cells = [f"{np.mean(v):.3f} ({min(v):.3f} to {max(v):.3f})" if (v := found.get(name)) else "" for name in names]
        sheet.add_row(way, *cells)
    Console(width=200, emoji=False).print(sheet)


if __name__ == "__main__":
    main()
