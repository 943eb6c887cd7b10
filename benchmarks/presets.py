"""Presets of models that translate images, compared at equal CPU time on real pictures.

    python scripts/fetch_images.py SETS emoji-google emoji-twitter && python scripts/emoji_sets.py SETS
    python benchmarks/presets.py pix2pix --data SETS/emoji-pairs [--presets small cpu] [--seconds 120] [--seeds 3]
    python benchmarks/presets.py cyclegan --data SETS/emoji-domains --truth SETS/emoji-pairs
    python benchmarks/presets.py pix2pix --data SETS/emoji-pairs --table      # from the results of earlier calls
    python benchmarks/presets.py stargan --data SETS/emoji-people --metrics attributes,fd

Each preset trains in one thread for the same CPU seconds of this process, from the first update on; reading the data
comes before. Schedules follow this clock. Then held-out pictures are translated, by the averaged weights if the preset
has them: the mean absolute difference to the true other picture (l1, of images in [-1, 1]); the Frechet distance to the
true ones (fd), in the features of gankit's small style encoder as in race_judge.py; and sharpness, the mean difference
of a pixel and its right neighbour over that of the true ones. Beside them: the input as it is, the untrained model, and
other pictures of the target. Models that translate both ways have a row for each. A strip of input, output and truth is
saved for each run.

With --metrics the run is saved and evaluated as `gankit evaluate` does it, fd in the features named above: for models
that do not translate one side of pairs into the other. The strip is then the preview of training.
"""

from __future__ import annotations

import argparse
import inspect
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from options import add_line, add_seeds, named_values
from quality import short
from quality_translation import l1, translated
from race_judge import picture_features
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import gankit
from gankit import data, latent, metrics, models, pictures
from gankit.metrics.extractors import Extractor, Preprocess
from gankit.recipe import Recipe
from gankit.runs import state
from gankit.runs.config import arguments_of, read_spec
from gankit.training import Run
from gankit.training.setup import build_recipe

Numbers = dict[str, float]
SHOWN = 16  # rows of a strip


class Over(Exception):
    """The time is over."""


@contextmanager
def limited(seconds: float) -> Iterator[dict[str, float]]:
    """Let a run take CPU seconds from its first update on, and its schedules follow them; raises Over at the end."""
    advance, update, done = Run.advance, Run.update, Run.done
    began: dict[str, float] = {}

    def first_update(run: Run, *arguments: object) -> dict[str, Tensor]:
        Run.update = update  # type: ignore[method-assign]
        began.update(cpu=time.process_time(), wall=time.time())
        return update(run, *arguments)  # type: ignore[arg-type]

    def counted(run: Run, images: int) -> None:
        advance(run, images)
        if time.process_time() - began["cpu"] >= seconds:
            raise Over(run)

    def share(run: Run) -> float:
        return min(1.0, (time.process_time() - began.get("cpu", time.process_time())) / seconds)

    Run.advance, Run.update, Run.done = counted, first_update, property(share)  # type: ignore
    try:
        yield began
    finally:
        Run.advance, Run.update, Run.done = advance, update, done  # type: ignore


class Held:
    """Held-out pairs, and the numbers of their translations.

    Args:
        name: of the data with pairs, whose part `test` is taken.
        resolution: of the run.
        most: pairs to take.
    """

    def __init__(self, name: str, resolution: str, most: int):
        held, train = (data.open(name + part, resolution or None, want="pairs") for part in (":test", ""))

        def sides(dataset: data.Domains) -> dict[str, Tensor]:
            chosen = np.random.default_rng(0).permutation(len(dataset.a))[: min(most, len(held.a))]
            return {to: data.normalise(side.rows(chosen)["real"]) for to, side in zip("ab", (dataset.a, dataset.b))}

        self.true, self.others = sides(held), sides(train)
        self.features = {s: picture_features(images) for s, images in self.true.items()}

    def rows(self, recipe: Recipe) -> Iterator[tuple[str, Tensor, Numbers]]:
        """The direction, the translations and their numbers, for each direction of a model."""
        is_both = "to" in inspect.signature(recipe.translate).parameters
        for origin, to in [("a", "b"), ("b", "a")] if is_both else [recipe.sides]:
            drawn = translated(recipe, self.true[origin], to if is_both else "")
            yield origin + to, drawn, self.numbers(drawn, to)

    def numbers(self, drawn: Tensor, to: str) -> Numbers:
        """The numbers of images in place of the true ones of a side."""
        true = self.true[to]
        return {
            "l1": l1(drawn, true),
            "fd": metrics.frechet_distance(self.features[to], picture_features(drawn.clamp(-1, 1))),
            "sharpness": float(drawn.diff(dim=3).abs().mean() / true.diff(dim=3).abs().mean()),
        }


def evaluated(run: Run, options: argparse.Namespace) -> Numbers:
    """The metrics of a run, from its averaged weights; a metric of features has its plain name."""
    count = picture_features(torch.zeros(1, 3, 32, 32)).shape[1]
    judge = Extractor(
        "style", "quarters", count, "picture_features", False, False, nn.Identity(), Preprocess(),
        lambda _, images: (picture_features(images), None),
    )  # fmt: skip
    state.save(run)
    scores = gankit.evaluate(run.folder, metrics=options.metrics, features=judge, n=options.held, device="cpu")
    return {score.name.removesuffix("_style"): score.value for score in scores}


def compare(preset: str, seed: int, held: Held | None, options: argparse.Namespace) -> None:
    """Train a preset, measure it, and add the numbers to the file of results."""
    values = dict(preview=0, save=2**40, log=2**40, threads=1, workers=0, images=2**40) | named_values(options.set)
    values |= dict(data=options.data, resolution=options.resolution, seed=seed, quiet=True)
    name = " ".join([preset, *options.set])
    fixed = dict(model=options.model, data=Path(options.data).name, seconds=options.seconds, seed=seed)

    def note(name: str, direction: str, numbers: Numbers, **more: float) -> None:
        add_line(options.out / "results.jsonl", fixed | dict(name=name, direction=direction) | more | numbers)
        print(f"{name}, seed {seed}, {direction or 'run'}: " + ", ".join(f"{k} {short(v)}" for k, v in numbers.items()))

    def strip(direction: str) -> Path:
        return options.out / f"{options.model}-{name}-{seed}-{direction}.png".replace(" ", "-").replace("-.", ".")

    with tempfile.TemporaryDirectory() as folder:
        with limited(options.seconds) as began:
            try:
                gankit.train(options.model, preset=preset, outdir=folder, **values)
            except Over as over:
                run = over.args[0]
        about = dict(cpu=time.process_time() - began["cpu"], wall=time.time() - began["wall"], images=run.images)
        if held is None:
            run.log.preview(run)
            shutil.copy(max(run.folder.glob("fakes*.png")), strip(""))
            note(name, "", evaluated(run, options), **about)
            return
    with run.averaged() as recipe:
        for direction, drawn, numbers in held.rows(recipe):
            note(name, direction, numbers, **about)
            origin, to = direction
            columns = [images[:SHOWN] for images in (held.true[origin], drawn, held.true[to])]
            pictures.save(strip(direction), latent.beside(columns), 4 * len(columns))
    raw = build_recipe(type(run.recipe), read_spec(run.config), arguments_of(run.config), seed).eval()
    with torch.no_grad():
        for (origin, to), _, numbers in held.rows(raw):
            note(f"{preset}, untrained", origin + to, numbers)
            note("the input as it is", origin + to, held.numbers(held.true[origin], to))
            note("other pictures of the target", origin + to, held.numbers(held.others[to], to))


def table(rows: list[dict]) -> Table:
    """A line for each preset and direction, the seeds side by side; a column for each number but its parts (swd_16)."""
    about = ("model", "data", "seconds", "seed", "name", "direction", "cpu", "wall")
    names = dict.fromkeys(name for row in rows for name in row if name not in about)
    whole = [name for name in names if not any(name.startswith(f"{other}_") for other in names)]
    columns = sorted(whole, key="images".__eq__)
    sheet = Table("", *columns, title=f"{rows[0]['model']} on {rows[0]['data']}", box=box.MARKDOWN)
    for key in sorted(dict.fromkeys((row["direction"], row["name"], row["seconds"]) for row in rows), key=str):
        mine = {r["seed"]: r for r in rows if (r["direction"], r["name"], r["seconds"]) == key}
        cells = [" ".join(short(mine[s][c]) for s in sorted(mine) if c in mine[s]) for c in columns]
        sheet.add_row(", ".join(filter(None, (key[1], key[0], f"{key[2]:g} s"))), *cells)
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=models.names())
    parser.add_argument("--data", required=True, help="what the model trains on")
    parser.add_argument("--truth", help="pairs whose part `test` is translated; default: the data")
    parser.add_argument("--resolution", default="", help="default: the images' own")
    parser.add_argument("--presets", nargs="+", default=["small", "cpu"], help="default: small cpu")
    parser.add_argument("--seconds", type=float, default=120, help="CPU seconds of each run; default: 120")
    parser.add_argument("--held", type=int, default=250, help="pairs to translate, or samples; default: 250")
    parser.add_argument("--metrics", default="", help="of gankit evaluate, in place of those of pairs, such as fd,swd")
    add_seeds(parser, 3)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings and arguments")
    parser.add_argument("--table", action="store_true", help="train nothing")
    parser.add_argument("--out", type=Path, default=Path("out/presets"), help="for results.jsonl and strips")
    options = parser.parse_args()
    if not (options.metrics or options.table) and not hasattr(models.find(options.model), "translate"):
        parser.error(f"{options.model} does not translate images: give --metrics, such as fd,swd")
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.table:
        truth = options.truth or options.data
        held = None if options.metrics else Held(truth, options.resolution, options.held)
        for seed in range(options.first, options.first + options.seeds):
            for preset in options.presets:
                compare(preset, seed, held, options)
    lines = [json.loads(line) for line in (options.out / "results.jsonl").read_text().splitlines()]
    Console(width=200, emoji=False).print(table([r for r in lines if r["model"] == options.model]))


if __name__ == "__main__":
    main()
