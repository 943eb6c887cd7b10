"""Seconds of gankit's metrics beside the usual way, in one process with one thread; medians of rounds in turn.

    python benchmarks/metrics.py
    python benchmarks/metrics.py --dims 512 --rounds 5

- Frechet distance of 6,000 samples in 2,048 dimensions from covariances: eigenvalues in float64 (gankit), beside
  `scipy.linalg.sqrtm` of the product, as most libraries do it. Values are printed: they must agree.
- The same with fewer samples (1,000) than dimensions, where covariances are singular: gankit's Gram route, beside the
  route by covariances and beside sqrtm; the right value is the Gram route's, which has nothing to invert.
- Features while files are read: seconds with the reading thread beside the seconds of extraction alone and of reading
  alone, on a made-up set whose reads take about as long as the network.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import scipy.linalg
import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from gankit import metrics
from gankit.evaluation import extraction
from gankit.evaluation.sources import Samples
from gankit.metrics import frechet

torch.set_num_threads(1)


def spread(n: int, dims: int, seed: int) -> Tensor:
    """(n, dims) features whose variances fall off as those of real networks do."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.logspace(0, -2.5, dims, dtype=torch.float64)
    mix = torch.linalg.qr(torch.randn(dims, dims, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).Q
    return torch.randn(n, dims, dtype=torch.float64, generator=generator) * scale @ mix + 0.05 * seed


def usual(real: frechet.Moments, fake: frechet.Moments) -> float:
    """By scipy's square root of the product of the covariances."""
    root = scipy.linalg.sqrtm((real.cov @ fake.cov).numpy())
    cross = float(np.trace(root.real))
    return float((real.mean - fake.mean).square().sum() + real.cov.trace() + fake.cov.trace()) - 2 * cross


def timed(ways: dict[str, Callable[[], float]], rounds: int) -> dict[str, tuple[float, float]]:
    """Value and median CPU seconds of each way, the ways taking turns."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    values = {}
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.process_time()
            values[name] = way()
            took[name].append(time.process_time() - began)
    return {name: (values[name], statistics.median(took[name])) for name in ways}


def table(title: str, rows: dict[str, tuple[float, float]], first: str) -> None:
    sheet = Table("", "value", "CPU s", f"times {first}", title=title, box=box.MARKDOWN)
    for name, (value, seconds) in rows.items():
        sheet.add_row(name, f"{value:.10g}", f"{seconds:.3g}", f"{seconds / rows[first][1]:.3g}")
    Console(width=120).print(sheet)


def frechet_full(dims: int, rounds: int) -> None:
    real, fake = (metrics.Moments().add(spread(3 * dims, dims, seed)) for seed in (1, 2))
    ways = {"gankit": lambda: frechet.by_moments(real, fake), "sqrtm": lambda: usual(real, fake)}
    table(
        f"Frechet distance, {3 * dims:,} samples, {dims:,} dimensions, from covariances", timed(ways, rounds), "gankit"
    )


def frechet_few(dims: int, rounds: int) -> None:
    n = dims // 2
    real, fake = spread(n, dims, 1), spread(n, dims, 2)
    ways = {
        "gankit (Gram)": lambda: metrics.frechet_distance(real, fake),
        "by covariances": lambda: frechet.by_moments(metrics.Moments().add(real), metrics.Moments().add(fake)),
        "sqrtm": lambda: usual(metrics.Moments().add(real), metrics.Moments().add(fake)),
    }
    table(
        f"Frechet distance, {n:,} samples, {dims:,} dimensions: singular covariances",
        timed(ways, rounds),
        "gankit (Gram)",
    )


def reading(rounds: int) -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, 2, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    look = metrics.from_module(net, "small")
    images = torch.rand(1000, 3, 64, 64) * 2 - 1

    def extract() -> float:
        return float(sum(look(part).sum() for part in images.split(50)))

    began = time.perf_counter()
    extract()
    pause = (time.perf_counter() - began) / 20

    def read(numbers: np.ndarray) -> tuple[Tensor, None]:
        time.sleep(0.8 * pause)  # a disk, a decoder in another process
        return images[numbers], None

    source = Samples("made up", "images", (3, 64, 64), len(images), read, "benchmark")

    def both() -> float:
        return float(extraction.extract(source, look, len(images), 50, keep=False).values.sum())

    def reads() -> float:
        return float(sum(len(read(np.arange(i, i + 50))[0]) for i in range(0, 1000, 50)))

    took: dict[str, list[float]] = {"extraction alone": [], "reading alone": [], "features of a source": []}
    for _ in range(rounds):
        for name, way in zip(took, (extract, reads, both)):
            began = time.perf_counter()
            way()
            took[name].append(time.perf_counter() - began)
    sheet = Table("", "seconds", title="1,000 images that are read while a network looks", box=box.MARKDOWN)
    for name, seconds in took.items():
        sheet.add_row(name, f"{statistics.median(seconds):.3g}")
    Console(width=120).print(sheet)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    frechet_full(options.dims, options.rounds)
    frechet_few(options.dims, options.rounds)
    reading(options.rounds)


if __name__ == "__main__":
    main()
