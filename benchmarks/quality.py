"""How good is what a model makes? Trains it once per seed and measures it beside its companions.

    python benchmarks/quality.py cgan
    python benchmarks/quality.py pix2pix
    python benchmarks/quality.py gan --data ring --seeds 5
    python benchmarks/quality.py dcgan --data digits --images 100_000 --set penalty=r1 penalty_weight=0.5

Each number stands beside the same number for the model before training, for an ablation where the paper's claim has
one, and for something trivial: a Gaussian fitted to the data, per class where samples are asked for by class. A table
is printed, one number per seed in each cell; JSON lines go to --out, a picture of each seed's samples beside it.

What is measured of averaged weights; of models that translate or segment see quality_translation.py:
- digits: fd_digits, the Frechet distance of 2,000 samples to all of the train split in the features of
  gankit.metrics.digits; precision and recall in these (k = 3); the inception score with that classifier; classes that
  got 20 % of their fair share, total variation of the class histogram from the data's; spread of pixels over that of the data; and, of conditional
  samples, the share that the classifier takes for the class that was asked for.
- digits:few: the same, of models that learn from ten images of each digit, and are held against all.
- ring, grid: 2,500 points: modes, strict modes, share of high quality, KL to uniform (gankit.metrics.modes).
- digits-negative, digits-edges: of 2,000 pairs from models of two domains, the share in which both images show one digit
  (label_agreement): a by the classifier, b by the classifier once its grey is turned back, or, for edges, by the nearest
  of the train split's edge maps; the share of pixels that agree (pixel_agreement: of b and of a's own negative or edges,
  both cut at the middle of their greys); their mean distance over that of pairs that are shuffled (pair_l1), and the
  agreement of the shuffled; fd_digits and classes of a, and fd_digits of negatives turned back. A generator that always draws one digit agrees with itself: look at the classes.
- a photograph whole, for singan: 50 samples, by `gankit evaluate`'s metrics for one image (sifid only where its weights are), and
  seconds for each scale; beside them its pixels in random order, and its tiles of 16 pixels.
- stacked-digits: 26,000 images: the same for its 1,000 modes; fd_digits of 2,000 channels.
- models with a code: purity of it and accuracy of the best naming by classes, for the code that samples were drawn
  with, and for the code that is read off held-out digits.
- models with a bound: minus the ELBO in nats on held-out digits, and the share of them that keep their label when
  reconstructed. Greys as Bernoulli probabilities cannot cost less than their own entropy, which is the held-out row.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import platform
import re
import time
from pathlib import Path

import numpy as np
import quality_translation as translation
import torch
from rich import box
from rich.console import Console
from rich.table import Table
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from torch import Tensor

import gankit
from gankit import Batch, Recipe, Run, data, latent, metrics, models, pictures
from gankit.data.builtin.digits import edges
from gankit.data.builtin.photos import PHOTOS, SKLEARN
from gankit.evaluation import METRICS, sources
from gankit.evaluation.catalogue import DEFAULT_OF_ONE_IMAGE, missing
from gankit.evaluation.subject import Subject
from gankit.losses import bernoulli_nll
from gankit.runs.config import arguments_of, read_spec, versions
from gankit.runs.files import digest
from gankit.runs.state import Diverged, weights_of
from gankit.training.setup import build_recipe, plan

Numbers = dict[str, float]

# What to leave out of a model to see what its paper's idea is worth.
ABLATIONS: dict[str, dict[str, object]] = {
    "cogan": {"share": "none"},
    "infogan": {"info_weight": 0.0},
    "sagan": {"attention": 0},
    "singan": {"least": 64, "iterations": 200},
    "wgan": {"clip_value": 1e9},
    "wgan_gp": {"penalty_weight": 0.0},
}


# Thresholds for models that truncate by drawing again; their samples stand in rows of their own.
TRUNCATIONS = {"biggan": (0.3, 0.5, 0.7)}


def samples(recipe: Recipe, n: int, trunc: float = 1.0) -> tuple[Tensor, Tensor | None]:
    """n samples of seeds 0 to n - 1, and the labels they were asked for, where the model takes labels."""
    return latent.sample(recipe, range(n), trunc=trunc), latent.labels(recipe, range(n))


def everything(name: str, resolution: str = "", limit: int = 10_000) -> tuple[Tensor, Tensor | None]:
    """The first rows of a data set, (N, C, H, W) in [-1, 1] or points, and their labels."""
    dataset = data.open(name, resolution or None)
    rows = dataset.rows(np.arange(min(limit, len(dataset))))
    real = rows["real"]
    return data.normalise(real) if real.dtype == torch.uint8 else real, rows.get("label")


def gaussian(real: Tensor, n: int) -> Tensor:
    """n samples of the Gaussian with the mean and covariance of (N, ...) data; images are clamped to [-1, 1]."""
    flat = real.flatten(1).double()
    centred = (flat - flat.mean(0)) / (len(flat) - 1) ** 0.5
    drawn = flat.mean(0) + torch.randn(n, len(flat), dtype=torch.float64) @ centred
    drawn = drawn.clamp(-1, 1) if real.ndim == 4 else drawn
    return drawn.float().view(n, *real.shape[1:])


def gaussian_by_class(real: Tensor, label: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """As `gaussian`, one for each class, the classes in turn."""
    asked = torch.arange(n) % (int(label.max()) + 1)
    drawn = torch.empty(n, *real.shape[1:])
    for k in asked.unique():
        drawn[asked == k] = gaussian(real[label == k], int((asked == k).sum()))
    return drawn, asked


def covered(found: metrics.Coverage) -> Numbers:
    return {"modes": found.modes, "strict": found.strict, "hq": found.high_quality, "kl": found.reverse_kl}


class Digits:
    """Measures images beside the train split of digits."""

    count = 2000

    def __init__(self, name: str, resolution: str):
        self.few = everything(name, resolution)[0] if name == "digits:few" else None
        self.real, self.label = everything("digits", resolution)
        self.held_out, self.held_out_label = everything("digits:test", resolution)
        self.features, self.std = metrics.features(self.real), metrics.pixel_std(self.real)

    def measure(self, images: Tensor, asked: Tensor | None = None) -> Numbers:
        seen, features = metrics.classify(images), metrics.features(images)
        precision, recall = metrics.precision_recall(self.features, features)
        found = {
            "fd_digits": metrics.frechet_distance(self.features, features),
            "precision": precision,
            "recall": recall,
            "is_digits": metrics.inception_score(metrics.probabilities(images), splits=1)[0],
            "classes": metrics.coverage(seen, 10).strict,
            "class_tv": metrics.total_variation(seen, 10, self.label),
            "spread": metrics.pixel_std(images) / self.std,
        }
        return found if asked is None else found | {"label_accuracy": metrics.accuracy(seen, asked)}

    def trivial(self, conditional: bool) -> dict[str, Numbers]:
        rows = {"pixel Gaussian": self.measure(gaussian(self.real, self.count))}
        if self.few is not None:
            rows["the few themselves (100)"] = self.measure(self.few)
        if conditional:
            rows["pixel Gaussian per class"] = self.measure(*gaussian_by_class(self.real, self.label, self.count))
        return rows | {
            "held-out reals (397)": self.measure(self.held_out, self.held_out_label if conditional else None)
        }


class Stacked:
    """Measures images of three digits, one in each channel."""

    count = 26_000

    def __init__(self, name: str, resolution: str):
        self.real, self.label = everything(name, resolution, self.count)
        self.features = metrics.features(everything("digits", resolution)[0])

    def measure(self, images: Tensor, asked: Tensor | None = None) -> Numbers:
        numbers, channels = covered(metrics.stacked_coverage(images)), images.flatten(0, 1).unsqueeze(1)[:2000]
        return numbers | {"fd_digits": metrics.frechet_distance(self.features, metrics.features(channels))}

    def trivial(self, conditional: bool) -> dict[str, Numbers]:
        drawn = gaussian(self.real[:2000], self.count)
        return {"pixel Gaussian": self.measure(drawn), "reals": self.measure(self.real)}


class Points:
    """Measures points beside a mixture of Gaussians."""

    count = 2500

    def __init__(self, name: str, resolution: str):
        self.real, self.label = everything(name)
        centres, self.std = data.MODES[name]
        self.centres = torch.from_numpy(centres)

    def measure(self, points: Tensor, asked: Tensor | None = None) -> Numbers:
        numbers = covered(metrics.mixture_coverage(points, self.centres, self.std))
        mode, _ = metrics.nearest(points, self.centres, self.std)
        return numbers if asked is None else numbers | {"label_accuracy": metrics.accuracy(mode, asked)}

    def trivial(self, conditional: bool) -> dict[str, Numbers]:
        rows = {"one Gaussian": gaussian(self.real, self.count), "reals": self.real[: self.count]}
        return {name: self.measure(points) for name, points in rows.items()}


class Pairs:
    """Measures pairs of digits and their negatives or edges, beside what the data's own transformation makes of them."""

    count = 2000

    def __init__(self, name: str, resolution: str):
        self.negative = name == "digits-negative"
        self.digits = Digits("digits", resolution)
        self.outlines = self.turned(self.digits.real)

    def turned(self, a: Tensor) -> Tensor:
        """(N, 1, H, W) images of domain a as they are in domain b."""
        if self.negative:
            return -a
        return data.normalise(torch.from_numpy(edges(data.quantise(a).numpy())))

    def label(self, b: Tensor) -> Tensor:
        """The digit in each image of domain b."""
        if self.negative:
            return metrics.classify(-b)
        return self.digits.label[torch.cdist(b.flatten(1), self.outlines.flatten(1)).argmin(1)]

    def measure(self, a: Tensor, b: Tensor) -> Numbers:
        mixed, seen, target = (
            torch.randperm(len(a), generator=torch.Generator().manual_seed(0)),
            metrics.classify(a),
            self.turned(a),
        )
        middle = self.outlines.mean()
        drawn, found = self.label(b), self.digits.measure(a)
        numbers = {
            "label_agreement": metrics.accuracy(drawn, seen),
            "shuffled": metrics.accuracy(drawn[mixed], seen),
            "pixel_agreement": float(((b > middle) == (target > middle)).double().mean()),
            "pair_l1": float((b - target).abs().mean() / (b[mixed] - target).abs().mean()),
        }
        if self.negative:
            numbers["fd_digits_b"] = metrics.frechet_distance(self.digits.features, metrics.features(-b))
        return numbers | {k: found[k] for k in ("fd_digits", "classes", "class_tv", "spread")}

    def trivial(self, conditional: bool) -> dict[str, Numbers]:
        held_out = self.digits.held_out
        drawn = gaussian(torch.cat([self.digits.real, self.outlines], 2), self.count).chunk(2, 2)
        return {
            "pixel Gaussian of true pairs": self.measure(*drawn),
            "held-out reals (397), true pairs": self.measure(held_out, self.turned(held_out)),
        }


class OneImage:
    """Measures samples of a model of one image beside that image."""

    count, tile = 50, 16

    def __init__(self, name: str, resolution: str):
        self.name = name

    def image(self, recipe: Recipe) -> sources.Samples:
        """The photograph as the model learned it."""
        return sources.of_data(self.name, None, "x".join(map(str, recipe.spec.shape[1:])))

    def measure(self, recipe: Recipe) -> Numbers:
        samples = sources.of_recipe(recipe, "samples", digest(weights_of(recipe)))
        return self.numbers(samples, self.image(recipe))

    def numbers(self, fake: sources.Samples, real: sources.Samples) -> Numbers:
        s = Subject(fake, real, None, None, self.count, may_download=False)
        names = [name for name in DEFAULT_OF_ONE_IMAGE.split(",") if not missing(METRICS[name], s)]
        return {score.name: score.value for name in names for score in METRICS[name].compute(s)}

    def trivial(self, recipe: Recipe) -> dict[str, Numbers]:
        """The image, less a rim that fills no tile, taken apart and put together at random."""
        h, w = (side - side % self.tile for side in recipe.spec.shape[1:])
        image = self.image(recipe).read(np.arange(1))[0][:, :, :h, :w]
        found = {}
        for title, side in (("pixels shuffled", 1), (f"tiles of {self.tile} px shuffled", self.tile)):
            parts = torch.nn.functional.unfold(image, side, stride=side)
            mixed = torch.cat([parts[:, :, torch.randperm(parts.shape[2])] for _ in range(self.count)])
            images = torch.nn.functional.fold(mixed, (h, w), side, stride=side)
            found[title] = self.numbers(self.source(images), self.source(image))
        return found

    def source(self, images: Tensor) -> sources.Samples:
        return sources.Samples(
            "images", "images", tuple(images.shape[1:]), len(images), lambda numbers: (images[numbers], None), ""
        )


def by_scale(run: Run) -> Numbers:
    """Seconds that each scale of a model of one image took to learn."""
    rows = [json.loads(line) for line in (run.folder / "stats.jsonl").read_text().splitlines()]
    ends = np.arange(len(run.recipe.sizes) + 1) * run.recipe.iterations
    passed = np.interp(ends, [0, *(row["images"] for row in rows)], [0, *(row["seconds"] for row in rows)])
    return {f"s_scale_{i}": float(b - a) for i, (a, b) in enumerate(zip(passed, passed[1:]))}


Judge = Digits | Stacked | Points | Pairs | OneImage | translation.Judge
JUDGES = {"digits": Digits, "stacked-digits": Stacked, "ring": Points, "grid": Points}
JUDGES |= {f"photo:{name}:whole": OneImage for name in (*SKLEARN, *PHOTOS)}
JUDGES |= {"digits:few": Digits, "digits-negative": Pairs, "digits-edges": Pairs}


def bound(recipe: Recipe, judge: Digits) -> Numbers:
    """A VAE's bound on held-out digits, the mean of 20 draws, and the share whose label survives."""
    real = judge.held_out.to(next(recipe.parameters()).device)
    losses = [recipe.loss(Batch({"real": real}, start=i))[0].item() for i in range(20)]
    drawn = metrics.classify(recipe.reconstruct(real))
    return {"-elbo": float(np.mean(losses)), "label_kept": metrics.accuracy(drawn, judge.held_out_label)}


def bound_trivial(judge: Digits, dims: int) -> dict[str, Numbers]:
    """The mean image for all, principal components for the label, and what the reals themselves would get."""
    x = (judge.held_out + 1) / 2
    flat, mean = judge.real.flatten(1), ((judge.real.mean(0) + 1) / 2).clamp(1e-4, 1 - 1e-4)
    pca = PCA(dims).fit(flat)
    kept = pca.inverse_transform(pca.transform(judge.held_out.flatten(1)))
    seen = metrics.classify(torch.as_tensor(kept).view_as(judge.held_out))
    entropy = -(torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x)).flatten(1).sum(1).mean()
    same = metrics.accuracy(metrics.classify(judge.held_out), judge.held_out_label)
    return {
        "mean image": {"-elbo": float(bernoulli_nll(mean.logit().expand_as(x).flatten(1), x.flatten(1)))},
        f"{dims} principal components": {"label_kept": metrics.accuracy(seen, judge.held_out_label)},
        "held-out reals (397)": {"-elbo": float(entropy), "label_kept": same},
    }


def codes(recipe: Recipe, judge: Digits) -> Numbers:
    """InfoGAN's category against classes: the one that samples were drawn with, and the one read off held-out digits."""
    z = latent.latents(recipe, range(judge.count))
    given = z[:, recipe.noise_dim :][:, : recipe.categories].argmax(1).cpu()
    read = recipe.encode(judge.held_out.to(z.device))[:, : recipe.categories].argmax(1).cpu()
    drawn = metrics.classify(latent.render(recipe, z))
    return named("code_", given, drawn) | named("held_out_", read, judge.held_out_label)


def kmeans(judge: Digits) -> Numbers:
    """Ten means of pixels on the train split: what a code is worth that no network learned, on held-out digits."""
    means = KMeans(10, n_init=10, random_state=0).fit(judge.real.flatten(1).numpy())
    code = torch.as_tensor(means.predict(judge.held_out.flatten(1).numpy())).long()
    return named("held_out_", code, judge.held_out_label)


def named(prefix: str, code: Tensor, label: Tensor) -> Numbers:
    return {
        f"{prefix}purity": metrics.purity(code, label),
        f"{prefix}naming": metrics.hungarian_accuracy(code, label),
    }


def measure(recipe: Recipe, judge: Judge) -> Numbers:
    """All that can be measured of a model in eval mode, by what it can do."""
    with torch.no_grad():
        if isinstance(judge, translation.Judge | OneImage):
            return judge.measure(recipe)
        if isinstance(judge, Pairs):
            return judge.measure(*(latent.sample(recipe, range(judge.count), domain=domain) for domain in ("a", "b")))
        numbers = judge.measure(*samples(recipe, judge.count))
        if isinstance(judge, Digits) and hasattr(recipe, "reconstruct"):
            numbers |= bound(recipe, judge)
        if isinstance(judge, Digits) and hasattr(recipe, "categories"):
            numbers |= codes(recipe, judge)
    return numbers


def trivial(recipe: Recipe, judge: Judge) -> dict[str, Numbers]:
    """Companions that no training went into."""
    torch.manual_seed(0)
    if isinstance(judge, translation.Judge | OneImage):
        with torch.no_grad():
            return judge.trivial(recipe)
    rows = judge.trivial(latent.takes_label(recipe))
    if isinstance(judge, Digits) and hasattr(recipe, "reconstruct"):
        for name, numbers in bound_trivial(judge, recipe.z_dim).items():
            rows[name] = rows.get(name, {}) | numbers
    if isinstance(judge, Digits) and hasattr(recipe, "categories"):
        rows["k-means on pixels"] = kmeans(judge)
    return rows


def one_seed(model: str, seed: int, judge: Judge, outdir: Path, options: dict[str, object]) -> tuple[Run, Numbers]:
    """A trained run, and its numbers with the seconds that training took: passed, and of all processors together."""
    passed, used = time.perf_counter(), time.process_time()
    run = gankit.train(model, outdir=outdir / "runs", quiet=True, preview=0, seed=seed, **options)
    took = {"s": time.perf_counter() - passed, "cpu_s": time.process_time() - used}
    with run.averaged() as recipe:
        return run, measure(recipe, judge) | took | (by_scale(run) if isinstance(judge, OneImage) else {})


def untrained(run: Run, judge: Judge) -> Numbers:
    spec, arguments = read_spec(run.config), arguments_of(run.config)
    return measure(build_recipe(type(run.recipe), spec, arguments, run.settings.seed).eval(), judge)


def table(title: str, rows: dict[str, list[Numbers]]) -> Table:
    """A line for each variant, a column for each number, the seeds side by side in a cell."""
    names = dict.fromkeys(name for found in rows.values() for numbers in found for name in numbers)
    printed = Table("", *names, title=title, box=box.MARKDOWN)
    for variant, found in rows.items():
        printed.add_row(variant, *(" ".join(shown(f[n]) for f in found if n in f) for n in names))
    return printed


def shown(number: float) -> str:
    return f"{number:.0f}" if abs(number) >= 100 or isinstance(number, int) else f"{number:.3g}"


def pairs(texts: list[str]) -> dict[str, object]:
    """Words such as lr=1e-3 and loss=hinge as a dict."""
    found: dict[str, object] = {}
    for name, text in (pair.split("=", 1) for pair in texts):
        try:
            found[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            found[name] = text
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a name from `gankit models`, or the path of a file")
    parser.add_argument(
        "--data",
        help="default: digits, digits-negative for models of two domains, photo:china:whole for singan, what goes with a translator",
    )
    parser.add_argument("--first", type=int, default=0, help="the first seed: to go on where a run of this stopped")
    parser.add_argument("--seeds", type=int, help="how many from there on; default: 3, and 5 for cyclegan and dualgan")
    parser.add_argument("--preset", help="default: one named like the data, or small; for points ring")
    parser.add_argument("--images", type=lambda n: int(n.replace("_", "")), help="default: the preset's")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings and arguments of the model"
    )
    parser.add_argument(
        "--ablate", nargs="*", metavar="NAME=VALUE", help="arguments to try one by one; default: see ABLATIONS"
    )
    parser.add_argument("--ablate-seeds", type=int, help="for how many of the seeds; default: all")
    parser.add_argument("--outdir", type=Path, default=Path("out/quality"), help="for runs and pictures")
    parser.add_argument("--out", type=Path, help="default: results.jsonl in OUTDIR; lines are added")
    args = parser.parse_args()

    kind = models.find(args.model)
    name = models.name_of(kind)
    translator = translation.JUDGES.get(name)
    choices = translation.DATA.get(name, (translator.data,)) if translator else tuple(JUDGES)
    if not args.data:
        other = "digits-negative" if kind.data == "domains" else "photo:china:whole" if hasattr(kind, "reduced") else ""
        args.data = choices[0] if translator or not other else other
    if args.data not in choices:
        parser.error(f"{name} is measured on {', '.join(choices)}, not {args.data}")
    args.seeds = args.seeds or (translator.seeds if translator else 3)
    judged = translator or JUDGES[args.data]
    usual = next((p for p in (args.data, "ring" if judged is Points else "small") if p in kind.presets), "")
    preset = usual if args.preset is None else args.preset
    options = translation.GIVEN.get(args.data, {}) if translator else {}
    options = (
        options
        | pairs(args.set)
        | dict(data=args.data, preset=preset)
        | ({"images": args.images} if args.images else {})
    )
    settings, _ = plan(kind, preset, {k: v for k, v in options.items() if k != "preset"})
    judge = judged(args.data, settings.resolution)
    alone = ABLATIONS.get(name, {}) if args.ablate is None else pairs(args.ablate)
    ablations = judge.ablations if translator and args.ablate is None else [{k: v} for k, v in alone.items()]
    args.outdir.mkdir(parents=True, exist_ok=True)
    out = args.out or args.outdir / "results.jsonl"
    rows: dict[str, list[Numbers]] = {}
    plain = re.sub(r"\W+", "-", args.data)  # fit for the names of files

    def note(variant: str, run: Run, numbers: Numbers) -> None:
        rows.setdefault(variant, []).append(numbers)
        about = {k: run.config[k] for k in ("model", "preset", "arguments", "settings")}
        about |= {"versions": versions(), "machine": f"{platform.machine()}, {os.cpu_count()} CPUs"}
        with out.open("a") as file:
            file.write(json.dumps({"variant": variant, "numbers": numbers} | about) + "\n")

    for seed in range(args.first, args.first + args.seeds):
        run, numbers = one_seed(args.model, seed, judge, args.outdir, options)
        note("trained", run, numbers)
        picture = args.outdir / f"{name}-{plain}-{seed}.png"
        with run.averaged() as recipe:
            if translator:
                pictures.save(picture, *translation.picture(judge, recipe))
                for variant, found in judge.more(recipe).items():
                    note(variant, run, found)
            else:
                domain = "pairs" if latent.has_domains(recipe) else ""
                pictures.save(picture, latent.sample(recipe, range(pictures.cells(recipe.spec.shape)), domain=domain))
        print(f"seed {seed}: {numbers['s']:.0f} s, {picture}", flush=True)
        note("untrained", run, untrained(run, judge))
        for trunc in TRUNCATIONS.get(name, ()):
            with run.averaged() as recipe:
                note(f"trunc={trunc}", run, judge.measure(*samples(recipe, judge.count, trunc)))
        for changed in ablations if args.ablate_seeds is None or seed < args.ablate_seeds else ():
            variant = ", ".join(f"{argument}={value}" for argument, value in changed.items())
            try:
                ablated, numbers = one_seed(args.model, seed, judge, args.outdir, options | changed)
            except Diverged as error:  # which is an answer, too
                print(f"seed {seed}, {variant}: {error}")
                continue
            note(variant, ablated, numbers)
            if translator:
                with ablated.averaged() as recipe:
                    named = "-".join(f"{argument}-{value}" for argument, value in changed.items())
                    pictures.save(
                        args.outdir / f"{name}-{plain}-{seed}-{named}.png", *translation.picture(judge, recipe)
                    )
    for variant, numbers in trivial(run.recipe, judge).items():
        note(variant, run, numbers)
    length = f"{run.settings.images:,} images, batch {run.settings.batch}"
    Console(width=240, emoji=False).print(
        table(f"{name} {preset} on {args.data}: {length}, seeds {args.first} to {args.first + args.seeds - 1}", rows)
    )
    for line in judge.summary(rows) if translator else ():
        print(line)


if __name__ == "__main__":
    main()
