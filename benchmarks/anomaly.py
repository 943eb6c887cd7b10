"""Quality of anomaly detection by anogan and f_anogan, beside three simple baselines.

    python benchmarks/anomaly.py digits [--seeds 3] [--classes 0,4,8] [--models f_anogan]
    python benchmarks/anomaly.py lfw
    python benchmarks/anomaly.py textures [--textures brick] [--preset cpu] [--time 60s]
    python benchmarks/anomaly.py trousers --sets SETS [--preset cpu] [--time 7m]

- digits: each class in turn is the anomaly: models train on the other nine, and all 397 held-out digits are scored.
- lfw: models train on 70 faces of 25x25; 30 other faces and 100 patches without a face are scored.
- textures: models train on patches of a texture; other patches of it, half of them with a drawn defect, are scored, and
  the defects are localised: AUROC over pixels, and per-region overlap.
- trousers: the same with clothes of Fashion-MNIST at 28 px, as scripts/derived_sets.py writes them.

The baselines see the same images as pixels: the residual after 16 principal components (pca), the distance to the
nearest training image (nearest), scikit-learn's isolation forest (forest). Each model is also measured before training.
For every method: AUROC over images, and milliseconds of processor time for each image; for trained models the processor
seconds of their training. JSON lines go to
OUTDIR/results.jsonl.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from options import add_line, add_seeds, named_values
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
SIDES = {"digits": "16", "lfw": "32", "textures": "32", "trousers": "28"}
COLUMNS = ("auroc", "pixel_auroc", "pro", "cpu_ms_per_image", "trained_cpu_s")
Task = tuple[str, str, str]  # training data, scored data, and the anomalous class or "" where the data has masks
Numbers = dict[str, float]


def tasks(args: argparse.Namespace) -> dict[str, Task]:
    """The tasks of a data set by their titles."""
    if args.data == "digits":
        classes = range(10) if not args.classes else [int(k) for k in args.classes.split(",")]
        return {f"digit {k}": (f"digits:without-{k}", "digits:test", str(k)) for k in classes}
    if args.data == "lfw":
        return {"no face": ("lfw", "lfw:test", "")}
    if args.data == "trousers":
        return {"trousers": (str(args.sets / "trousers/good"), str(args.sets / "trousers/damaged"), "")}
    return {t: (f"textures:{t}", f"textures:{t}:defects", "") for t in args.textures.split(",")}


def normal_classes(task: Task) -> tuple[str, ...]:
    """Names of the normal classes: all but the anomalous digit."""
    return tuple(str(k) for k in range(10) if str(k) != task[2]) if task[2] else ()


def pixels(name: str, side: str, limit: int = 4000) -> Tensor:
    """(N, D) pixels of a data set, at most `limit` images at equal intervals."""
    dataset = data.open(name, side)
    numbers = np.unique(np.linspace(0, len(dataset) - 1, min(limit, len(dataset))).astype(int))
    return data.normalise(dataset.rows(numbers)["real"]).flatten(1)


def baselines(train: Tensor, scored: Tensor, seed: int) -> dict[str, tuple[Tensor, float]]:
    """Scores of the three baselines, and milliseconds for each image."""

    def pca() -> Tensor:
        fitted = PCA(min(16, len(train) - 1), random_state=seed).fit(train.numpy())
        residual = scored.numpy() - fitted.inverse_transform(fitted.transform(scored.numpy()))
        return torch.from_numpy(np.square(residual).sum(1))

    def nearest() -> Tensor:
        return metrics.nearest_neighbours(scored, train, k=1).distance[:, 0]

    def forest() -> Tensor:
        return torch.from_numpy(-IsolationForest(random_state=seed).fit(train.numpy()).score_samples(scored.numpy()))

    results = {}
    for method in (pca, nearest, forest):
        began = time.process_time()
        scores = method().double()
        results[method.__name__] = scores, 1000 * (time.process_time() - began) / len(scored)
    return results


Note = Callable[[str, Numbers], None]


def measure_model(model: str, title: str, task: Task, seed: int, args: argparse.Namespace, note: Note) -> Tensor:
    """Train a model, score its task before and after training, and return which images are anomalous."""
    length = {"images": args.images} if args.images else {}
    where = dict(data=task[0], resolution=SIDES[args.data], outdir=args.outdir / "runs", time=args.time)
    more = length | named_values(args.set)
    began = time.process_time()
    run = gankit.train(model, preset=args.preset, seed=seed, preview=0, quiet=True, **where, **more)
    seconds = time.process_time() - began
    trained = load(run.folder)
    scores = anomaly.score_run(trained, task[1], normal_classes(task), limit=args.limit)
    numbers = anomaly.numbers(scores) | {"trained_cpu_s": seconds}
    note(model, numbers)
    file = args.outdir / f"{model}-{title.replace(' ', '-')}-{seed}.csv"
    anomaly.write(scores, numbers, file, f"{model}, {title}")
    untrained = build_recipe(type(run.recipe), trained.recipe.spec, arguments_of(run.config), seed).eval()
    trained.recipe.load_state_dict(untrained.state_dict())
    before = anomaly.score_run(trained, task[1], normal_classes(task), limit=args.limit)
    note(f"{model}, untrained", anomaly.numbers(before))
    return scores.anomalous


def table(title: str, rows: dict[str, dict[str, list[float]]]) -> Table:
    """A line for each method: mean, minimum and maximum of each number over tasks and seeds."""
    names = list(dict.fromkeys(name for numbers in rows.values() for name in numbers))
    sheet = Table("", *(f"mean {name} (least to most)" for name in names), title=title, box=box.MARKDOWN)
    for method, numbers in rows.items():
        columns = [numbers.get(name, []) for name in names]
        sheet.add_row(method, *(f"{np.mean(v):.3f} ({min(v):.3f} to {max(v):.3f})" if v else "" for v in columns))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=list(SIDES))
    add_seeds(parser, 3)
    parser.add_argument(
        "--classes", default="", help="digits that are anomalies in turn, as in 0,4,8; default: all ten"
    )
    parser.add_argument(
        "--models", default=",".join(MODELS), help="anogan, f_anogan or both; the baselines always run; default: both"
    )
    parser.add_argument("--textures", default="brick,grass,gravel", help="default: brick,grass,gravel")
    parser.add_argument("--sets", type=Path, default=Path("sets"), help="where scripts/derived_sets.py has written")
    parser.add_argument("--images", type=int, help="training length in images; default: the preset's")
    parser.add_argument("--preset", default="small", help="default: small")
    parser.add_argument(
        "--time", default="", help="for which each model trains, as in 60s; default: the preset's length"
    )
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings and arguments")
    parser.add_argument("--limit", type=int, default=0, help="maximum number of scored images; default: all")
    parser.add_argument("--outdir", type=Path, default=Path("out/anomaly"), help="for runs, scores and results")
    args = parser.parse_args()
    chosen_models = args.models.split(",")
    if unknown := set(chosen_models) - set(MODELS):
        parser.error(f"--models has {', '.join(sorted(unknown))}; choose from {', '.join(MODELS)}")
    args.outdir.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, list[float]]] = {}

    def note(title: str, seed: int, method: str, numbers: Numbers) -> None:
        for name in COLUMNS:
            if name in numbers:
                rows.setdefault(method, {}).setdefault(name, []).append(numbers[name])
        record = {"data": args.data, "task": title, "way": method, "seed": seed, "numbers": numbers}
        add_line(args.outdir / "results.jsonl", record | {"versions": versions()})

    for title, task in tasks(args).items():
        train, scored = (pixels(name, SIDES[args.data]) for name in task[:2])
        for seed in range(args.first, args.first + args.seeds):
            note_here = partial(note, title, seed)
            for model in chosen_models:
                truth = measure_model(model, title, task, seed, args, note_here)
            for method, (scores, ms) in baselines(train, scored[: len(truth)], seed).items():
                note_here(method, {"auroc": metrics.auroc(scores, truth), "cpu_ms_per_image": ms})
            latest = ", ".join(f"{method} {numbers['auroc'][-1]:.3f}" for method, numbers in rows.items())
            print(f"{title}, seed {seed}: {latest}", flush=True)
    seeds = f"seeds {args.first} to {args.first + args.seeds - 1}"
    Console(width=200, emoji=False).print(table(f"{args.data}, {seeds}", rows))


if __name__ == "__main__":
    main()
