"""Images per second of gankit's streams beside the usual loaders, and their memory while a set grows tenfold.

    python benchmarks/data.py [--images 512] [--rounds 5] [--workers 1]
    python benchmarks/data.py --memory

The loaders, each with the same number of threads or processes that work ahead:

    prepared    gankit, images that were decoded once into the cache
    streamed    gankit, shards whose images are decoded as they are read
    Pillow      torch's DataLoader over a folder, whose images Pillow decodes
    webdataset  webdataset's own loader of the same shards (pip install webdataset)

All give float batches in [-1, 1]; that the pixels are the same is checked first. They alternate in one process, and
each round reverses their order; the numbers are medians. What a loader fetched while it waited is not counted. The cost
of opening is measured for the first time and for the second. The files are in a temporary folder.

With --memory each loader reads 640 images in a process of its own, of a set and of one ten times as large.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from gankit import data

BATCH = 64
SHARD = 64  # images
KINDS = ("prepared", "streamed", "Pillow", "webdataset")


def pixels(file: Path | io.BytesIO, side: int) -> torch.Tensor:
    """Open, decode and resize an image, as is usual."""
    with Image.open(file) as image:
        array = np.array(image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS))
    return torch.from_numpy(array).permute(2, 0, 1).float() / 127.5 - 1


class Decode(torch.utils.data.Dataset):
    """The usual data set: decodes a file each time that it is indexed."""

    def __init__(self, folder: Path, side: int):
        self.paths, self.side = sorted(folder.rglob("*.jpg")), side

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> torch.Tensor:
        return pixels(self.paths[number], self.side)


def make(folder: Path, shards: Path, count: int, side: int) -> None:
    """Write JPEGs of random squares of two photographs as files, and again as shards."""
    photos = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    random = np.random.default_rng(0)
    for folder_or_shards in (folder, shards):
        folder_or_shards.mkdir()
    for i in range(count):
        y, x = random.integers(0, 427 - side), random.integers(0, 640 - side)
        Image.fromarray(photos[i % 2][y : y + side, x : x + side]).save(folder / f"{i:06}.jpg", quality=92)
    for first in range(0, count, SHARD):
        with tarfile.open(shards / f"{first // SHARD:04}.tar", "w") as archive:
            for i in range(first, min(count, first + SHARD)):
                archive.add(folder / f"{i:06}.jpg", f"{i:06}.jpg")


def gankit_batches(path: Path, side: int, workers: int) -> Iterator[torch.Tensor]:
    for rows in data.ahead(data.open(path, resolution=side).stream(0, BATCH), workers):
        yield data.normalise(rows["real"])


def pillow_batches(path: Path, side: int, workers: int) -> Iterator[torch.Tensor]:
    loader = torch.utils.data.DataLoader(
        Decode(path, side), BATCH, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0
    )
    while True:
        yield from loader


def web_batches(path: Path, side: int, workers: int) -> Iterator[torch.Tensor]:
    import webdataset

    tars = sorted(map(str, path.glob("*.tar")))
    samples = webdataset.WebDataset(tars, resampled=True, shardshuffle=False).shuffle(1000)
    batches = samples.map(partial(_decoded, side=side)).batched(BATCH, collation_fn=torch.stack)
    yield from webdataset.WebLoader(batches, batch_size=None, num_workers=workers)


def _decoded(sample: dict[str, bytes], side: int) -> torch.Tensor:
    return pixels(io.BytesIO(sample["jpg"]), side)


def batches_of(kind: str, folder: Path, shards: Path, side: int, workers: int) -> Iterator[torch.Tensor]:
    """The endless batches of a loader."""
    if kind in ("prepared", "streamed"):
        return gankit_batches(folder if kind == "prepared" else shards, side, workers)
    return pillow_batches(folder, side, workers) if kind == "Pillow" else web_batches(shards, side, workers)


def seconds(work: Callable[[], object]) -> float:
    """The seconds that a call takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def compare(folder: Path, shards: Path, side: int, options: argparse.Namespace, kinds: list[str]) -> None:
    """Check that the pixels are the same, measure all loaders and print a line for each."""
    usual = Decode(folder, side)
    for path in (folder, shards):
        dataset = data.open(path, resolution=side)
        for number in (0, len(usual) - 1):
            assert torch.equal(data.normalise(dataset.rows(np.array([number]))["real"])[0], usual[number])
    loaders = {kind: batches_of(kind, folder, shards, side, options.workers) for kind in kinds}
    count = max(1, options.images // BATCH)

    def take(kind: str, n: int) -> None:
        for _ in range(n):
            next(loaders[kind])

    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    for i in range(options.rounds + 1):  # the first is a warm-up
        for kind in kinds[:: 1 if i % 2 else -1]:
            take(kind, 2 * options.workers + 1)  # fetched while others were measured
            taken[kind].append(seconds(partial(take, kind, count)))
    base = median(taken["Pillow"][1:])
    for kind, times in taken.items():
        rate = count * BATCH / median(times[1:])
        print(f"{side:4} px  {kind:12} {rate:10,.0f} images/s  {base / median(times[1:]):6.2f}x", flush=True)


def memory(folder: Path, shards: Path, images: int, kinds: list[str]) -> None:
    """Print the peak memory of a process that reads with each loader, for a set and for one ten times as large."""
    large = shards.with_name("large")
    large.mkdir()
    tars = sorted(shards.glob("*.tar"))
    for i in range(10 * len(tars)):  # links take no disk, and are other files to the loaders
        os.link(tars[i % len(tars)], large / f"{i:05}.tar")
    for kind in kinds[1:]:
        for size, path in ((images, shards), (10 * images, large)):
            if kind == "Pillow" and size > images:
                continue  # a folder of files, of which only the names are in memory
            command = [sys.executable, __file__, "--child", kind, str(folder), str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            print(
                f"  64 px  {kind:12} {size:7,} images  peak memory {int(done.stdout.split()[-1]) // 1024:6,} MB",
                flush=True,
            )


def child(kind: str, folder: str, shards: str) -> None:
    """Read with one loader and print the peak memory in kB."""
    batches = batches_of(kind, Path(folder), Path(shards), 64, 0)
    for _ in range(10):
        next(batches)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=512, help="images in the set and in a measurement; default: 512")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--workers", type=int, default=1, help="threads or processes that work ahead; default: 1")
    parser.add_argument("--memory", action="store_true", help="measure memory instead")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.child:
        child(*options.child)
        return
    kinds = list(KINDS)
    try:
        import webdataset  # noqa: F401
    except ImportError:
        print("webdataset is not installed, and left out")
        kinds.remove("webdataset")
    print(f"{options.images} JPEGs of 256x256, batches of {BATCH}, {options.workers} ahead, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["GANKIT_CACHE"] = f"{temporary}/cache"
        folder, shards = Path(temporary, "photos"), Path(temporary, "shards")
        make(folder, shards, options.images, 256)
        if options.memory:
            memory(folder, shards, options.images, kinds)
            return
        for side in (64, 128, 256):
            for kind, path in (("prepared", folder), ("streamed", shards)):
                first, again = (seconds(partial(data.open, path, resolution=side)) for _ in range(2))
                print(f"{side:4} px  {kind:12} first opened in {first:.2f} s, again in {again * 1e3:.1f} ms")
            compare(folder, shards, side, options, kinds)
        stream = data.open("shapes").stream(0, BATCH)
        drawn = median(seconds(lambda: next(stream)) for _ in range(20))
        print(f"  64 px  shapes, drawn on demand {BATCH / drawn:10,.0f} images/s")


if __name__ == "__main__":
    main()
