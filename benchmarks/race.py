"""Quality against CPU seconds: gankit beside published training scripts, as they are, on the same images.

    python scripts/fetch_images.py SETS mnist emoji-google
    git clone https://github.com/pytorch/examples; git clone https://github.com/eriklindernoren/PyTorch-GAN
    python benchmarks/race.py SETS --examples examples --pytorch-gan PyTorch-GAN [--races mnist-28] [--seeds 3]
    python benchmarks/race.py SETS --table                     # from the samples of earlier calls

Each contestant trains alone in a process with one thread. The clock is the CPU time of that process from its first step
on. At chosen times 5,000 samples are kept (`race_clock.py`), without counting the time that this takes; the peers' are
drawn in training mode, as their scripts draw them, gankit's from the averaged weights. Reading and resizing the images
is free for all. What was kept is not run again, so a race can be continued, and is measured afterwards by one judge
(`race_judge.py`): a classifier of MNIST, or gankit's small style encoder for pictures. Columns of the table are CPU
seconds; cells have the Frechet distance, precision and recall in brackets (k = 3, 2,000 of each), and for pictures the
sliced Wasserstein distance. Several seeds stand beside each other. Reals and samples of other sizes than the set's are
resized to it; reals take the samples' size before. `equal network` is gankit's recipe with the network of
pytorch/examples.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from options import add_line
from race_curves import draw_curves
from race_judge import Judge, Numbers
from rich import box
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
ACCURACY = {"mnist": 0.99}
"""What a judge's test accuracy must exceed, by set."""


@dataclass(frozen=True)
class Contestant:
    """One that takes part in a race.

    Args:
        name: in the table.
        words: of the command after the program and its common options; `{data}` is the set's folder.
        at: CPU seconds at which it is measured.
        source: "" for gankit, or the option that names the folder of its checkout.
        script: in that folder.
        several: whether it runs with each seed.
    """

    name: str
    words: tuple[str, ...]
    at: tuple[float, ...]
    source: str = ""
    script: str = ""
    several: bool = True


@dataclass(frozen=True)
class Race:
    """A set and who trains on it.

    Args:
        data: the set's folder, in SETS.
        contestants: by their order in the table.
    """

    data: str
    contestants: tuple[Contestant, ...]


LONG = (60.0, 120.0, 300.0, 450.0, 600.0, 750.0, 900.0)


def ours(
    name: str,
    resolution: int,
    at: tuple[float, ...],
    *values: str,
    preset: str = "cpu",
    model: str = "dcgan",
    images: int = 2_000_000,
) -> Contestant:
    """A contestant of gankit, whose training has a length of `images` but ends with the race."""
    words = ("--model", model, "--preset", preset, "--data", "{data}", "--resolution", str(resolution))
    return Contestant(name, (*words, "--set", f"images={images}", *values), at)


def presets(model: str, side: int, at: float, cpu: int, small: int) -> tuple[Contestant, Contestant]:
    """A model with its presets cpu and small, which see about so many images in this time: schedules end with them."""
    return (
        ours(f"gankit {model} cpu, {side} px", side, (at,), model=model, images=cpu),
        ours(f"gankit {model} small, {side} px", side, (at,), model=model, preset="small", images=small),
    )


def examples(at: tuple[float, ...], *words: str) -> Contestant:
    """DCGAN of pytorch/examples; 64 px is the only size of its networks."""
    every = ("--dataroot", "{data}", "--workers", "0", "--niter", "9999", "--manualSeed", "0")
    return Contestant(
        "pytorch/examples dcgan, 64 px", ("--generator", "netG", "{script}", *words, *every), at, "examples",
        "dcgan/main.py", several=False,
    )  # fmt: skip


def pytorch_gan(name: str, side: int, at: tuple[float, ...]) -> Contestant:
    """A script of PyTorch-GAN, with its own settings."""
    return Contestant(
        f"PyTorch-GAN {name}, {side} px", ("--generator", "generator", "--mnist", "{data}", "{script}"), at,
        "pytorch_gan", f"implementations/{name}/{name}.py", several=False,
    )  # fmt: skip


EQUAL = ("width=64", "z_dim=100", "kernel=4")
RACES = {
    "mnist-28": Race(
        "mnist",
        (
            ours("gankit dcgan cpu, 28 px", 28, (15, 30, 60, 120, 300)),
            ours("gankit dcgan small, 28 px", 28, (15, 30, 60, 120, 300), preset="small"),
            pytorch_gan("wgan_gp", 28, (30, *LONG)),
        ),
    ),
    "mnist-64": Race(
        "mnist",
        (
            ours("gankit dcgan cpu, 64 px", 64, (15, 30, 60, 120, 180)),
            ours("gankit dcgan cpu, 64 px, equal network", 64, (60, 120, 300), *EQUAL),
            examples(LONG, "--dataset", "mnist"),
            pytorch_gan("dcgan", 32, (30, 60, 120, 180, *LONG[2:])),
        ),
    ),
    "presets-28": Race(
        "mnist",
        (
            *presets("acgan", 28, 60, cpu=14_000, small=23_000),
            *presets("wgan_gp", 28, 60, cpu=6_000, small=7_000),
            *presets("stylegan2", 28, 60, cpu=9_500, small=5_500),
            *presets("r3gan", 28, 60, cpu=31_000, small=10_000),
        ),
    ),
    "emoji-64": Race(
        "emoji-google",
        (
            ours("gankit dcgan cpu, 64 px", 64, (15, 30, 60, 120, 180)),
            examples(LONG, "--dataset", "folder"),
        ),
    ),
}


def folder_name(name: str) -> str:
    """A name as a folder."""
    return re.sub(r"\W+", "-", name)


def run(race: str, contestant: Contestant, seed: int, options: argparse.Namespace) -> None:
    """Train one contestant with one seed, unless its samples are there or its checkout is not."""
    kept = options.out / race / folder_name(contestant.name) / str(seed)
    at = tuple(options.at or contestant.at)
    if all((kept / f"{seconds:g}.npz").is_file() for seconds in at):
        return
    program, script = "race_ours.py", ""
    if contestant.source:
        checkout = getattr(options, contestant.source)
        if checkout is None:
            return print(f"{race}: {contestant.name} is left out: name its checkout by --{flag(contestant.source)}")
        program, script = "race_peer.py", str(checkout.resolve() / contestant.script)
    data = str((options.sets / RACES[race].data).resolve())
    words = [word.format(data=data, script=script) for word in contestant.words]
    first = [*map(str, ("--at", *at, "--samples", options.samples, "--out", kept.resolve(), "--seed", seed))]
    print(f"{race}: {contestant.name}, seed {seed}, {max(at):g} CPU seconds", flush=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    kept.mkdir(parents=True, exist_ok=True)
    with (kept / "log.txt").open("w") as log:
        done = subprocess.run(
            [sys.executable, str(HERE / program), *first, *words], env=environment, stdout=log, stderr=log
        )
    if done.returncode:
        sys.exit(f"{contestant.name} failed: see {kept / 'log.txt'}")


def flag(name: str) -> str:
    """An option's name on the command line."""
    return name.replace("_", "-")


def snapshots(race: str, out: Path) -> Iterator[tuple[str, int, Path]]:
    """Contestant, seed and file of all samples that were kept in a race."""
    for contestant in RACES[race].contestants:
        for path in sorted((out / race / folder_name(contestant.name)).glob("*/*.npz")):
            yield contestant.name, int(path.parent.name), path


def judge(race: str, options: argparse.Namespace) -> None:
    """Measure the samples of a race that are not in the file of results yet, and the baselines."""
    results = options.out / "results.jsonl"
    rows = [row for row in read_results(results) if row["race"] == race]
    done = {(row["name"], row["seed"], row["due"]) for row in rows}
    measured = {int(row["name"].split()[-2]) for row in rows if not row["due"]}  # sides that have baselines
    pending = [
        (name, seed, path)
        for name, seed, path in snapshots(race, options.out)
        if (name, seed, float(path.stem)) not in done
    ]
    if not pending:
        return
    data = RACES[race].data
    weights = options.out / "judges" / f"{data}.safetensors"
    least = ACCURACY.get(data, 0.0) if options.least is None else options.least
    measuring = Judge(options.sets / data, weights, options.epochs, least)
    for name, seed, path in pending:
        with np.load(path) as file:
            images, about = torch.from_numpy(file["images"]), json.loads(str(file["about"]))
        side = images.shape[-1]
        if side not in measured:
            measured.add(side)
            for title, numbers in measuring.baselines(side, len(images)).items():
                record(results, race, f"{title}, {side} px", 0, {"due": 0.0}, numbers, measuring)
        record(results, race, name, seed, about, measuring.measure(images), measuring)


def record(
    path: Path, race: str, name: str, seed: int, about: dict[str, float], numbers: Numbers, measuring: Judge
) -> None:
    """Add a line to the file of results."""
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs"
    row = {"race": race, "name": name, "seed": seed, **about, **numbers, "judge": measuring.accuracy}
    add_line(path, row | {"torch": torch.__version__, "machine": machine})


def read_results(path: Path) -> list[dict[str, object]]:
    """The lines of the file of results; none if there is none."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def cell(rows: list[dict[str, object]]) -> str:
    """Distances of all seeds, then precision and recall as means, and the sliced Wasserstein distances."""
    if not rows:
        return ""
    rows = sorted(rows, key=lambda row: row["seed"])
    text = " ".join(f"{row['fd']:.3g}" for row in rows)
    precision, recall = (sum(row[k] for row in rows) / len(rows) for k in ("precision", "recall"))
    text += f" ({precision:.2f}, {recall:.2f})"
    if "swd" in rows[0]:
        text += " " + " ".join(f"{row['swd']:.3g}" for row in rows)
    return text


def table(race: str, rows: list[dict[str, object]]) -> Table:
    """A line for each contestant and baseline, a column for each time."""
    times = sorted({row["due"] for row in rows if row["due"]})
    names = list(dict.fromkeys(row["name"] for row in rows if row["due"])) + [
        row["name"] for row in rows if not row["due"]
    ]
    sheet = Table("", *(f"{t:g} s" for t in times), "last: images, wall s", title=race, box=box.MARKDOWN)
    for name in names:
        mine = [row for row in rows if row["name"] == name]
        cells = [cell([row for row in mine if row["due"] == t]) for t in times]
        last = max(mine, key=lambda row: row["due"])
        end = f"{last['images']:,}, {last['wall']:.0f}" if last["due"] else cell(mine)
        sheet.add_row(name, *cells, end)
    return sheet


def verdicts(rows: list[dict[str, object]]) -> list[str]:
    """For each peer: its best distance, and the first time at which all seeds of gankit's contestants are below it."""
    sentences = []
    timed = [row for row in rows if row["due"]]
    for peer in dict.fromkeys(row["name"] for row in timed if not str(row["name"]).startswith("gankit")):
        best = min((row for row in timed if row["name"] == peer), key=lambda row: row["fd"])
        end = max(row["due"] for row in timed if row["name"] == peer)
        for name in dict.fromkeys(row["name"] for row in timed if str(row["name"]).startswith("gankit")):
            mine = [row for row in timed if row["name"] == name]
            seeds = {row["seed"] for row in mine}
            reached = [
                t
                for t in sorted({row["due"] for row in mine})
                if len(at := [row for row in mine if row["due"] == t]) == len(seeds)
                and all(row["fd"] <= best["fd"] for row in at)
            ]
            when = f"at {reached[0]:g} s, {best['due'] / reached[0]:.1f} times fewer" if reached else "not reached"
            sentences.append(
                f"{peer} has {best['fd']:.3g} at {best['due']:g} s, its best in {end:g} s; {name} ({len(seeds)} "
                f"seed{'s' * (len(seeds) > 1)}) is at or below it {when}"
            )
    return sentences


def show(races: list[str], out: Path) -> None:
    """Print the tables, and draw the curves."""
    rows = read_results(out / "results.jsonl")
    console = Console(width=300, emoji=False)
    for race in races:
        mine = [row for row in rows if row["race"] == race]
        if not mine:
            print(f"{race}: no results in {out / 'results.jsonl'}")
            continue
        console.print(table(race, mine))
        for sentence in verdicts(mine):
            print(f"- {sentence}")
        print(f"judge: test accuracy {mine[0]['judge']:.4f}" if mine[0]["judge"] else "judge: small style encoder")
        draw_curves(mine, out / f"{race}.png", race)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, help="the folder that scripts/fetch_images.py wrote")
    parser.add_argument("--examples", type=Path, help="a checkout of pytorch/examples")
    parser.add_argument("--pytorch-gan", type=Path, help="a checkout of PyTorch-GAN")
    parser.add_argument("--races", nargs="*", choices=[*RACES], default=[*RACES], help="default: all")
    parser.add_argument("--only", default="", help="contestants whose name holds this; default: all")
    parser.add_argument("--first", type=int, default=0, help="the first seed; default: 0")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of gankit; a peer has one; default: 3")
    parser.add_argument("--at", type=float, nargs="*", help="CPU seconds to measure at; default: the race's")
    parser.add_argument("--samples", type=int, default=5000, help="default: 5000")
    parser.add_argument("--epochs", type=int, default=3, help="of the judge's training; default: 3")
    parser.add_argument("--least", type=float, help="test accuracy that the judge must have; default: .99 for mnist")
    parser.add_argument("--table", action="store_true", help="train nothing: measure what was kept, and print")
    parser.add_argument("--out", type=Path, default=Path("out/race"), help="for samples, judges and results.jsonl")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    for race in options.races:
        for contestant in () if options.table else RACES[race].contestants:
            seeds = range(options.first, options.first + options.seeds) if contestant.several else [0]
            for seed in seeds if options.only in contestant.name else []:
                run(race, contestant, seed, options)
        judge(race, options)
    show(options.races, options.out)


if __name__ == "__main__":
    main()
