"""Quality of what a model makes: trains it once per seed and measures it beside baselines.

    python benchmarks/quality.py cgan
    python benchmarks/quality.py pix2pix
    python benchmarks/quality.py gan --data ring --seeds 5
    python benchmarks/quality.py dcgan --data digits --images 100_000 --set penalty=r1 penalty_weight=0.5

Each number is printed beside the same number of the untrained model, of an ablation where the paper makes a claim about
one, and of a trivial baseline: a Gaussian fitted to the data, one per class for conditional models. The table has one
number per seed in each cell. JSON lines go to --out, pictures of each seed's samples to --outdir.

Measured with averaged weights; for models that translate or segment see quality_translation.py:
- digits: fd_digits, the Frechet distance of 2,000 samples to the whole train split in the features of
  gankit.metrics.digits_classifier; precision and recall in these (k = 3); the inception score with that classifier;
  the number of classes that have 20 % of their expected share; the total variation of the class histogram from the
  data's; the deviation of pixels over that of the data (spread); for conditional samples the share that the
  classifier assigns to their label.
- digits:few: the same for models trained on ten images of each digit, compared with the whole train split.
- ring, grid: 2,500 points: modes, strict modes, share of high quality, KL to uniform (gankit.metrics.modes).
- digits-negative, digits-edges: 2,000 pairs from models of two domains. label_agreement is the share whose images
  show the same digit: a by the classifier; b by the classifier after inversion or, for edges, by the nearest edge map
  of the train split. pixel_agreement is the share of equal pixels in b and in the transformation of a, both binarised
  at the middle grey; pair_l1 their mean distance over that of shuffled pairs; shuffled the label agreement of
  shuffled pairs. fd_digits and classes are measured on a, fd_digits_b on inverted negatives. A generator that always
  draws one digit agrees with itself: check the classes.
- a whole photograph, for singan: 50 samples by the metrics of `gankit evaluate` for one image (sifid only where its
  weights are installed) and seconds for each scale; baselines are its pixels and its 16-pixel tiles in random order.
- stacked-digits: 26,000 images: mode coverage over its 1,000 modes; fd_digits of 2,000 channels.
- models with a code: its purity and the accuracy of its best assignment to classes, for the code that samples were
  drawn with, and for the encoded held-out digits.
- models with a bound: the negative ELBO in nats on held-out digits, and the share of them whose reconstruction keeps
  the label. The ELBO of grey values as Bernoulli probabilities is bounded by their entropy, the held-out row.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import time
from pathlib import Path

import quality_samples as on_samples
import torch
from options import add_line, add_seeds, add_training, named_values, training_options
from quality_segmentation import Maps
from quality_style import Styles
from quality_translation import DualNegatives, Faces, Measures, Negatives, Numbers, Pairs, Shapes
from rich import box
from rich.console import Console
from rich.table import Table

import gankit
from gankit import Recipe, Run, latent, models, pictures
from gankit.runs.config import arguments_of, read_spec, versions
from gankit.runs.state import Diverged
from gankit.training.settings import plan
from gankit.training.setup import build_recipe

TRANSLATIONS: dict[str, type[Measures]] = {
    "adain": Styles,
    "cyclegan": Negatives,
    "dualgan": DualNegatives,
    "ganimation": Faces,
    "pix2pix": Pairs,
    "stargan": Shapes,
    "unet": Maps,
}
"""By model; all other models are measured by their samples, `on_samples.DATA`."""
CHOICES = {"unet": ("scenes", "cells"), "pix2pix": ("photo-edges", "photo-grey")}
"""The data sets of models that are measured on several; the first is the default."""
OPTIONS = {"cells": {"border_weight": 10.0}}
"""Arguments that the paper's claim about a data set needs and the preset leaves out."""
ABLATIONS: dict[str, dict[str, object]] = {
    "cogan": {"share": "none"},
    "infogan": {"info_weight": 0.0},
    "sagan": {"attention": 0},
    "singan": {"least": 64, "iterations": 200},
    "wgan": {"clip_value": 1e9},
    "wgan_gp": {"penalty_weight": 0.0},
}
"""Arguments that switch the idea of a paper off."""
TRUNCATIONS = {"biggan": (0.3, 0.5, 0.7)}
"""Thresholds of models that truncate by resampling; each has a row."""


class Bench:
    """Trains one model's variants, measures them and collects the rows of the table.

    Args:
        args: the parsed command line.
    """

    def __init__(self, args: argparse.Namespace):
        kind = models.find(args.model)
        self.args, self.name = args, models.name_of(kind)
        self.translates = self.name in TRANSLATIONS
        if self.translates:
            measures, seeds = TRANSLATIONS[self.name], TRANSLATIONS[self.name].seeds
            choices = CHOICES.get(self.name, (measures.data,))
            usual = choices[0]
        else:
            choices, seeds = tuple(on_samples.DATA), 3
            has_scales = hasattr(kind, "reduced")
            usual = "digits-negative" if kind.data == "domains" else "photo:china:whole" if has_scales else choices[0]
        self.data = args.data or usual
        if self.data not in choices:
            raise ValueError(f"{self.name} is measured on {', '.join(choices)}, not {self.data}")
        if not self.translates:
            measures = on_samples.DATA[self.data]
        named = (self.data, "ring" if measures is on_samples.Points else "small")
        usual_preset = next((preset for preset in named if preset in kind.presets), "")
        self.preset = usual_preset if args.preset is None else args.preset
        self.options = OPTIONS.get(self.data, {}) if self.translates else {}
        self.options = self.options | training_options(args) | dict(data=self.data, preset=self.preset)
        settings, _ = plan(kind, self.preset, {k: v for k, v in self.options.items() if k != "preset"})
        self.measures = measures(self.data, settings.resolution)
        self.seeds = range(args.first, args.first + (args.seeds or seeds))
        self.rows: dict[str, list[Numbers]] = {}

    @property
    def ablations(self) -> list[dict[str, object]]:
        """The arguments of each ablation."""
        if self.translates and self.args.ablate is None:
            return list(self.measures.ablations)
        ablations = ABLATIONS.get(self.name, {}) if self.args.ablate is None else named_values(self.args.ablate)
        return [{name: value} for name, value in ablations.items()]

    def picture(self, seed: int, variant: str = "") -> Path:
        """The file of a seed's samples."""
        data = re.sub(r"\W+", "-", self.data)
        return self.args.outdir / f"{self.name}-{data}-{seed}{variant}.png"

    # rows

    def note(self, variant: str, run: Run, numbers: Numbers) -> None:
        """Add numbers to the table and to the file of results."""
        self.rows.setdefault(variant, []).append(numbers)
        about = {k: run.config[k] for k in ("model", "preset", "arguments", "settings")}
        about |= {"versions": versions(), "machine": f"{platform.machine()}, {os.cpu_count()} CPUs"}
        out = self.args.out or self.args.outdir / "results.jsonl"
        add_line(out, {"variant": variant, "numbers": numbers} | about)

    def measure(self, recipe: Recipe) -> Numbers:
        """The numbers of a model in eval mode."""
        with torch.no_grad():
            return self.measures.measure(recipe) if self.translates else on_samples.measure_all(recipe, self.measures)

    def train(self, seed: int, changed: dict[str, object]) -> tuple[Run, Numbers]:
        """A trained run, and its numbers with the seconds of training: elapsed, and of all processors."""
        began, used = time.perf_counter(), time.process_time()
        options = self.options | changed
        run = gankit.train(
            self.args.model, outdir=self.args.outdir / "runs", quiet=True, preview=0, seed=seed, **options
        )
        took = {"s": time.perf_counter() - began, "cpu_s": time.process_time() - used}
        has_scales = isinstance(self.measures, on_samples.OneImage)
        with run.averaged() as recipe:
            return run, self.measure(recipe) | took | (on_samples.seconds_by_scale(run) if has_scales else {})

    def trained(self, seed: int) -> Run:
        """Train the model, measure it and draw its samples."""
        run, numbers = self.train(seed, {})
        self.note("trained", run, numbers)
        picture = self.picture(seed)
        with run.averaged() as recipe:
            if self.translates:
                pictures.save(picture, *self.measures.sheet(recipe))
                for variant, more in self.measures.more(recipe).items():
                    self.note(variant, run, more)
            else:
                domain = "pairs" if latent.has_domains(recipe) else ""
                pictures.save(picture, latent.sample(recipe, range(pictures.cells(recipe.spec.shape)), domain=domain))
        print(f"seed {seed}: {numbers['s']:.0f} s, {picture}", flush=True)
        return run

    def untrained(self, run: Run) -> Numbers:
        """The numbers of the model before training."""
        spec, arguments = read_spec(run.config), arguments_of(run.config)
        return self.measure(build_recipe(type(run.recipe), spec, arguments, run.settings.seed).eval())

    def truncated(self, run: Run) -> None:
        """Measure truncated samples."""
        for trunc in TRUNCATIONS.get(self.name, ()):
            with run.averaged() as recipe:
                samples = on_samples.samples(recipe, self.measures.count, trunc)
                self.note(f"trunc={trunc}", run, self.measures.measure(*samples))

    def ablated(self, seed: int) -> None:
        """Train and measure the ablations."""
        for changed in self.ablations:
            variant = ", ".join(f"{argument}={value}" for argument, value in changed.items())
            try:
                run, numbers = self.train(seed, changed)
            except Diverged as error:  # a result, too
                print(f"seed {seed}, {variant}: {error}")
                continue
            self.note(variant, run, numbers)
            if self.translates:
                with run.averaged() as recipe:
                    suffix = "".join(f"-{argument}-{value}" for argument, value in changed.items())
                    pictures.save(self.picture(seed, suffix), *self.measures.sheet(recipe))

    def trivial(self, run: Run) -> None:
        """Measure trivial baselines."""
        torch.manual_seed(0)
        with torch.no_grad():
            rows = (
                self.measures.trivial(run.recipe)
                if self.translates
                else on_samples.trivial_rows(run.recipe, self.measures)
            )
        for variant, numbers in rows.items():
            self.note(variant, run, numbers)

    def run(self) -> None:
        """Train and measure everything, and print the table."""
        for seed in self.seeds:
            run = self.trained(seed)
            self.note("untrained", run, self.untrained(run))
            self.truncated(run)
            if self.args.ablate_seeds is None or seed < self.args.ablate_seeds:
                self.ablated(seed)
        self.trivial(run)
        length = f"{run.settings.images:,} images, batch {run.settings.batch}"
        seeds = f"seeds {self.seeds[0]} to {self.seeds[-1]}"
        title = f"{self.name} {self.preset} on {self.data}: {length}, {seeds}"
        Console(width=240, emoji=False).print(table(title, self.rows))
        for line in self.measures.summary(self.rows) if self.translates else ():
            print(line)


def table(title: str, rows: dict[str, list[Numbers]]) -> Table:
    """A line for each variant, a column for each number, the seeds side by side in a cell."""
    names = dict.fromkeys(name for seeds in rows.values() for numbers in seeds for name in numbers)
    sheet = Table("", *names, title=title, box=box.MARKDOWN)
    for variant, seeds in rows.items():
        sheet.add_row(variant, *(" ".join(short(numbers[n]) for numbers in seeds if n in numbers) for n in names))
    return sheet


def short(number: float) -> str:
    """A number in about three digits."""
    return f"{number:.0f}" if abs(number) >= 100 or isinstance(number, int) else f"{number:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a name from `gankit models`, or the path of a file")
    parser.add_argument(
        "--data",
        help="default: digits; digits-negative for models of two domains, photo:china:whole for singan, the data set "
        "of a translator's measures",
    )
    add_seeds(parser, None, "default: 3, and 5 for cyclegan and dualgan")
    parser.add_argument("--preset", help="default: the one named like the data, or small; ring for points")
    add_training(parser)
    parser.add_argument(
        "--ablate", nargs="*", metavar="NAME=VALUE", help="arguments to change one at a time; default: see ABLATIONS"
    )
    parser.add_argument("--ablate-seeds", type=int, help="ablate only seeds below this number; default: all seeds")
    parser.add_argument("--outdir", type=Path, default=Path("out/quality"), help="for runs and pictures")
    parser.add_argument("--out", type=Path, help="file to append JSON lines to; default: results.jsonl in OUTDIR")
    args = parser.parse_args()
    try:
        bench = Bench(args)
    except ValueError as error:
        parser.error(str(error))
    args.outdir.mkdir(parents=True, exist_ok=True)
    bench.run()


if __name__ == "__main__":
    main()
