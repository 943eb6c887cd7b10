"""Time to prepare a folder of images, per file: by this version, and by another one beside it.

    python benchmarks/preparing.py [--against FOLDER] [--rounds 5] [--scale 1] [--kinds large,small,icons]

FOLDER holds another version of gankit, such as an unpacked archive of an older commit. The kinds of files are

    large   JPEGs of 4000x3000, mosaics of photographs that ship with scikit-image and scikit-learn
    small   JPEGs of 500x375, parts of the same photographs
    icons   PNGs of 64x64, parts of the same photographs

Each measurement is one process that opens the folder with an empty cache, after it has prepared three other images:
imports are not counted. The files are in memory of the system. Versions alternate, in an order that is reversed each
round; the numbers are medians of the milliseconds per file: of processor time with one worker, as other programs matter
less, and of time with the default number of workers.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

COUNTS = {"large": 16, "small": 256, "icons": 2048}
SIZES = {"large": (3000, 4000), "small": (375, 500), "icons": (64, 64)}
SIDES = (64, 128, 256)


def photographs() -> list[np.ndarray]:
    """Photographs (H, W, 3) of at least 375x500."""
    import skimage.data
    from sklearn.datasets import load_sample_image

    names = ("astronaut", "coffee", "rocket", "hubble_deep_field", "retina")
    own = [getattr(skimage.data, name)() for name in names]
    return [*own, *(load_sample_image(name) for name in ("china.jpg", "flower.jpg"))]


def part(photos: list[np.ndarray], height: int, width: int, random: np.random.Generator) -> np.ndarray:
    """A random part of a photograph, mirrored at random."""
    photo = photos[random.integers(len(photos))]
    y, x = (random.integers(0, have - want + 1) for have, want in zip(photo.shape, (height, width)))
    return photo[y : y + height, x : x + width][:, :: random.choice([-1, 1])]


def make(folder: Path, kind: str, count: int, seed: int = 0) -> None:
    """Write `count` files of a kind."""
    photos, random = photographs(), np.random.default_rng(seed)
    height, width = SIZES[kind]
    folder.mkdir()
    for i in range(count):
        if kind == "large":
            rows = [[part(photos, 375, 500, random) for _ in range(8)] for _ in range(8)]
            Image.fromarray(np.block([[[tile] for tile in row] for row in rows])).save(
                folder / f"{i:05}.jpg", quality=92
            )
        elif kind == "small":
            Image.fromarray(part(photos, height, width, random)).save(folder / f"{i:05}.jpg", quality=92)
        else:
            Image.fromarray(part(photos, height, width, random)).save(folder / f"{i:05}.png")


def child(folder: str, first: str, side: int, workers: int) -> None:
    """Prepare one folder to warm up, then another, and print the seconds."""
    if workers:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:workers])
        os.cpu_count = lambda: workers
    from gankit import data

    data.open(first, resolution=side)
    clock = time.process_time if workers else time.perf_counter
    begin = clock()
    data.open(folder, resolution=side)
    print(clock() - begin)


def seconds(version: Path, folder: Path, first: Path, side: int, workers: int) -> float:
    """The seconds that a version of gankit takes to prepare a folder, in a process of its own."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as cache:
        command = [sys.executable, __file__, "--child", str(folder), str(first), str(side), str(workers)]
        environment = os.environ | {"GANKIT_CACHE": cache, "PYTHONPATH": str(version), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", default="", help="folder that holds another version of gankit")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--scale", type=float, default=1, help="number of files, relative to 16, 256 and 2048")
    parser.add_argument("--kinds", default=",".join(COUNTS), help="default: large,small,icons")
    parser.add_argument("--sides", default=",".join(map(str, SIDES)), help="default: 64,128,256")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        folder, first, side, workers = options.child
        child(folder, first, int(side), int(workers))
        return
    versions = {"now": Path(__file__).parents[1]}
    if options.against:
        versions = {"before": Path(options.against), **versions}
    print(
        "| files | side | workers |"
        + "".join(f" {name}, ms |" for name in versions)
        + " ratio |" * bool(options.against)
    )
    print("|---|---|---|" + "---|" * (len(versions) + bool(options.against)))
    with tempfile.TemporaryDirectory() as temporary:
        for kind in options.kinds.split(","):
            count = max(3, int(COUNTS[kind] * options.scale))
            folder, first = Path(temporary, kind), Path(temporary, f"{kind}-first")
            make(folder, kind, count)
            make(first, kind, 3, seed=1)  # other images, as equal ones would be known
            for side, workers in itertools.product(map(int, options.sides.split(",")), (1, 0)):
                taken: dict[str, list[float]] = {name: [] for name in versions}
                for i in range(options.rounds):
                    for name in list(versions)[:: -1 if i % 2 else 1]:
                        taken[name].append(seconds(versions[name], folder, first, side, workers) / count * 1e3)
                medians = [median(times) for times in taken.values()]
                cells = "".join(f" {value:.2f} |" for value in medians)
                ratio = f" {medians[0] / medians[1]:.1f} |" if options.against else ""
                print(f"| {kind} | {side} | {workers or os.cpu_count()} |{cells}{ratio}", flush=True)


if __name__ == "__main__":
    main()
