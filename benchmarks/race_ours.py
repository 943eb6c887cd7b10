"""Train a model of gankit, and keep samples of its generator at chosen CPU seconds, as race_peer.py does for others.

    python benchmarks/race_ours.py --at 30 60 120 --out FOLDER --data SET --preset cpu [--model dcgan] [--set batch=16]

The clock is the process's CPU time from the first update on; reading the data comes before it, the log belongs to it.
Samples are from the averaged weights. The training length is the preset's or the one set. The run is over at the last
chosen time; one that ends by itself before keeps its last samples in place of those that are missing.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from options import named_values
from race_clock import Clock
from torch import Tensor

import gankit
from gankit import latent
from gankit.training import Run


def watch(clock: Clock) -> None:
    """Have every run keep samples when the clock says so, and stop after the last."""
    advance, update = Run.advance, Run.update

    def first_update(run: Run, *arguments: object) -> dict[str, Tensor]:
        Run.update = update  # type: ignore[method-assign]
        clock.start()
        return update(run, *arguments)  # type: ignore[arg-type]

    def counted(run: Run, images: int) -> None:
        advance(run, images)
        if clock.is_due:
            keep(clock, run)

    Run.update = first_update  # type: ignore[method-assign, assignment]
    Run.advance = counted  # type: ignore[method-assign]


def keep(clock: Clock, run: Run) -> None:
    """Keep samples of a run's averaged weights."""
    with run.averaged() as recipe:
        clock.keep(lambda n: latent.sample(recipe, torch.randint(2**31, (n,)).tolist()), run.images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="dcgan", help="default: dcgan")
    parser.add_argument("--preset", default="cpu", help="default: cpu")
    parser.add_argument("--data", required=True, help="the set")
    parser.add_argument("--resolution", default="", help="default: the images' own")
    parser.add_argument("--at", type=float, nargs="+", required=True, help="CPU seconds at which samples are kept")
    parser.add_argument("--samples", type=int, default=5000, help="samples to keep each time; default: 5000")
    parser.add_argument("--out", type=Path, required=True, help="folder of the samples")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings and arguments")
    options = parser.parse_args()
    clock = Clock(options.at, options.samples, options.out)
    watch(clock)
    quiet = dict(preview=0, save=2**40, log=5000, threads=1, workers=0)
    with tempfile.TemporaryDirectory() as folder:
        settings = quiet | named_values(options.set) | dict(data=options.data, resolution=options.resolution)
        common = dict(preset=options.preset, outdir=folder, seed=options.seed, quiet=True)
        run = gankit.train(options.model, **common, **settings)
        while clock.at:
            keep(clock, run)


if __name__ == "__main__":
    main()
