"""Seconds of gankit's metrics beside the usual way, alternating in one process with one thread; medians over rounds.

    python benchmarks/metrics.py
    python benchmarks/metrics.py --dims 512 --rounds 5

- Frechet distance of 6,144 samples in 2,048 dimensions from covariances: eigenvalues in float64 (gankit), and
  `scipy.linalg.sqrtm` of the product, as in most libraries. The printed values must agree.
- The same with fewer samples (1,024) than dimensions, where covariances are singular: from Gram matrices (gankit), from
  covariances, and by sqrtm. The correct value is the one from Gram matrices, which needs no inverse.
- Features of files: seconds with the reading thread, of extraction without reading, and of reading without extraction,
  on an artificial data set that takes about as long to read as the network to compute.
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


def artificial_features(n: int, dims: int, seed: int) -> Tensor:
    """(n, dims) features whose variances decay like those of real networks."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.logspace(0, -2.5, dims, dtype=torch.float64)
    mix = torch.linalg.qr(torch.randn(dims, dims, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).Q
    return torch.randn(n, dims, dtype=torch.float64, generator=generator) * scale @ mix + 0.05 * seed


def by_sqrtm(real: frechet.Moments, fake: frechet.Moments) -> float:
    """The Frechet distance by scipy's square root of the product of the covariances."""
    root = scipy.linalg.sqrtm((real.cov @ fake.cov).numpy())
    cross = float(np.trace(root.real))
    return float((real.mean - fake.mean).square().sum() + real.cov.trace() + fake.cov.trace()) - 2 * cross


def timed(
    methods: dict[str, Callable[[], float]], rounds: int, clock: Callable[[], float] = time.process_time
) -> dict[str, tuple[float, float]]:
    """Value and median seconds of each method; the methods alternate."""
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    values = {}
    for _ in range(rounds):
        for name, method in methods.items():
            began = clock()
            values[name] = method()
            seconds[name].append(clock() - began)
    return {name: (values[name], statistics.median(seconds[name])) for name in methods}


def print_table(title: str, rows: dict[str, tuple[float, float]]) -> None:
    """Print each method's value and seconds, absolute and relative to the first method's."""
    first = next(iter(rows))
    sheet = Table("", "value", "CPU s", f"times {first}", title=title, box=box.MARKDOWN)
    for name, (value, seconds) in rows.items():
        sheet.add_row(name, f"{value:.10g}", f"{seconds:.3g}", f"{seconds / rows[first][1]:.3g}")
    Console(width=120).print(sheet)


def frechet_full(dims: int, rounds: int) -> None:
    """More samples than dimensions."""
    real, fake = (metrics.Moments().add(artificial_features(3 * dims, dims, seed)) for seed in (1, 2))
    methods = {"gankit": lambda: frechet.by_moments(real, fake), "sqrtm": lambda: by_sqrtm(real, fake)}
    title = f"Frechet distance, {3 * dims:,} samples, {dims:,} dimensions, from covariances"
    print_table(title, timed(methods, rounds))


def frechet_few(dims: int, rounds: int) -> None:
    """Fewer samples than dimensions."""
    n = dims // 2
    real, fake = (artificial_features(n, dims, seed) for seed in (1, 2))
    methods = {
        "gankit (Gram)": lambda: metrics.frechet_distance(real, fake),
        "by covariances": lambda: frechet.by_moments(metrics.Moments().add(real), metrics.Moments().add(fake)),
        "sqrtm": lambda: by_sqrtm(metrics.Moments().add(real), metrics.Moments().add(fake)),
    }
    title = f"Frechet distance, {n:,} samples, {dims:,} dimensions: singular covariances"
    print_table(title, timed(methods, rounds))


def reading(rounds: int) -> None:
    """Features of images that are read while a network computes."""
    layers = [nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, 2, 1), nn.ReLU()]
    extractor = metrics.from_module(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), "small")
    images = torch.rand(1000, 3, 64, 64) * 2 - 1

    def extract() -> float:
        return float(sum(extractor(part).sum() for part in images.split(50)))

    began = time.perf_counter()
    extract()
    pause = (time.perf_counter() - began) / 20

    def read(numbers: np.ndarray) -> tuple[Tensor, None]:
        time.sleep(0.8 * pause)  # as for a disk, or a decoder in another process
        return images[numbers], None

    source = Samples("artificial", "images", (3, 64, 64), len(images), read, "benchmark")

    def extract_and_read() -> float:
        return float(extraction.extract(source, extractor, len(images), 50, keep=False).values.sum())

    def read_all() -> float:
        return float(sum(len(read(np.arange(i, i + 50))[0]) for i in range(0, 1000, 50)))

    methods = {"extraction": extract, "reading": read_all, "features of a source": extract_and_read}
    sheet = Table("", "seconds", title="features of 1,000 images that are read meanwhile", box=box.MARKDOWN)
    for name, (_, seconds) in timed(methods, rounds, time.perf_counter).items():
        sheet.add_row(name, f"{seconds:.3g}")
    Console(width=120).print(sheet)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", type=int, default=2048, help="dimensions of the features; default: 2048")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    options = parser.parse_args()
    torch.set_num_threads(1)
    frechet_full(options.dims, options.rounds)
    frechet_few(options.dims, options.rounds)
    reading(options.rounds)


if __name__ == "__main__":
    main()
