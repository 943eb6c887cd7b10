"""Images per second of gankit's streams beside the usual way: decoding with Pillow in a DataLoader.

    python benchmarks/data.py [--images 512] [--rounds 9]

Both give float batches in [-1, 1] with the same pixels, which is checked first. They alternate in one process, and
each round reverses their order; the numbers are medians. The cost of opening a folder is measured for the first time
(hashed, decoded, written to the cache) and for the second. The files are in a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from gankit import data

BATCH = 64
USUAL = "Pillow in a DataLoader"


class Decode(torch.utils.data.Dataset):
    """The usual data set: opens, decodes and resizes a file each time that it is indexed."""

    def __init__(self, folder: Path, side: int):
        self.paths, self.side = sorted(folder.rglob("*.jpg")), side

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> torch.Tensor:
        with Image.open(self.paths[number]) as image:
            pixels = np.array(image.convert("RGB").resize((self.side, self.side), Image.Resampling.LANCZOS))
        return torch.from_numpy(pixels).permute(2, 0, 1).float() / 127.5 - 1


def make(folder: Path, count: int, side: int) -> None:
    """Write JPEGs of random squares of two photographs."""
    photos = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    random = np.random.default_rng(0)
    for i in range(count):
        y, x = random.integers(0, 427 - side), random.integers(0, 640 - side)
        Image.fromarray(photos[i % 2][y : y + side, x : x + side]).save(folder / f"{i:06}.jpg", quality=92)


def seconds(work: Callable[[], object]) -> float:
    """The seconds that a call takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def compare(folder: Path, side: int, images: int, rounds: int) -> None:
    """Check that both give the same pixels, measure them and print a line for each."""
    dataset, usual = data.open(folder, resolution=side), Decode(folder, side)
    for number in (0, len(usual) - 1):
        assert torch.equal(data.normalise(dataset.rows(np.array([number]))["real"])[0], usual[number])
    stream = dataset.stream(0, BATCH)
    ahead = data.ahead(dataset.stream(0, BATCH))
    loader = torch.utils.data.DataLoader(usual, BATCH, shuffle=True, drop_last=True)

    def stream_batches() -> None:
        for _ in range(images // BATCH):
            data.normalise(next(stream)["real"])

    def fetched_batches() -> None:
        for _ in range(images // BATCH):
            data.normalise(next(ahead)["real"])

    def usual_batches() -> None:
        for _, _ in zip(range(images // BATCH), loader):
            pass

    sources = {"stream": stream_batches, "stream, fetched ahead by a thread": fetched_batches, USUAL: usual_batches}
    taken: dict[str, list[float]] = {name: [] for name in sources}
    for i in range(rounds + 1):  # the first is a warm-up
        for name in list(sources)[:: 1 if i % 2 else -1]:
            taken[name].append(seconds(sources[name]))
    base = median(taken[USUAL][1:])
    for name, times in taken.items():
        print(f"{side:4} px  {name:34} {images / median(times[1:]):10,.0f} images/s  {base / median(times[1:]):6.1f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--images", type=int, default=512, help="images in the folder and in each measurement; default: 512"
    )
    parser.add_argument("--rounds", type=int, default=9, help="default: 9")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{options.images} JPEGs of 256x256, batches of {BATCH}, one thread, {os.cpu_count()} cores in preparation")
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["GANKIT_CACHE"] = f"{temporary}/cache"
        folder = Path(temporary, "photos")
        folder.mkdir()
        make(folder, options.images, 256)
        for side in (64, 128, 256):
            first, again = (seconds(partial(data.open, folder, resolution=side)) for _ in range(2))
            print(f"{side:4} px  first opened in {first:.2f} s, again in {again * 1e3:.1f} ms")
            compare(folder, side, options.images // BATCH * BATCH, options.rounds)
        dataset = data.open("shapes")
        stream = dataset.stream(0, BATCH)
        drawn = median(seconds(lambda: next(stream)) for _ in range(20))
        print(f"  64 px  shapes, drawn on demand                   {BATCH / drawn:10,.0f} images/s")


if __name__ == "__main__":
    main()
