"""The command `gankit sample`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from gankit.cli.flags import Loading, alias, first, numbers, parse
from gankit.cli.output import refuse_many
from gankit.text import aside, put

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from gankit.recipe import Recipe


@dataclasses.dataclass
class Sample:
    """What to draw, and where to write it.

    Args:
        n: number of samples, with seeds from 0; default: 64, or 8 of each text.
        seeds: the seeds to draw, like 0-15,42, instead of n.
        label: the class; default: the classes in turn.
        condition: a .npz with features `condition` (N, C), used in turn, for models conditioned on such features.
        text: the text to draw, for models that draw from texts: a sentence, or several, each in quotes.
        text_file: a file of texts, one per line.
        to_text: a second text: interpolate from the one of --text to this one.
        steps: images from one text to the other.
        text_encoder: the text encoder that the run was trained with, if it was trained on text vectors; it is opened
            only if named here.
        domain: for models of two domains, a, b, or pairs with a above b; default: a.
        trunc: below 1, latents closer to the prior's mean: cleaner and less diverse samples.
        standing: recompute batch norm's statistics from this many batches of 64 truncated samples; BigGAN uses 100.
        outdir: folder for one PNG per seed.
        output: one file instead: a grid as .png, .jpg or .webp, or all samples as .npz.
        columns: columns of the grid; 0 chooses them by the image size.
        batch: samples drawn at once; it does not change the images.
    """

    n: int | None = None
    seeds: str = ""
    label: Annotated[int | None, alias(name="class")] = None
    condition: str = ""
    text: tuple[str, ...] = ()
    text_file: str = ""
    to_text: str = ""
    steps: int = 8
    text_encoder: str = ""
    domain: str = ""
    trunc: float = 1.0
    standing: int = 0
    outdir: str = "out"
    output: Annotated[str, alias("-o")] = ""
    columns: int = 0
    batch: int = 64

    @property
    def has_texts(self) -> bool:
        return bool(self.text or self.text_file or self.to_text)


class Drawn(NamedTuple):
    """Samples and how to write them.

    Args:
        samples: (N, C, H, W) in [-1, 1], or (N, D).
        seeds: (N,) of each sample.
        names: (N,) file name of each sample, without its ending.
        columns: of the grid; 0 for as many as fit.
        heads: captions above the columns of the grid.
        sides: captions beside its rows.
    """

    samples: Tensor
    seeds: Sequence[int]
    names: Sequence[str]
    columns: int
    heads: Sequence[str] = ()
    sides: Sequence[str] = ()


def sample(words: list[str]) -> None:
    """Draw samples of a model: gankit sample RUN [--seeds 0-63 | --text "a red square"] [-o grid.png|samples.npz]"""
    run, flags = first(words, "sample", "RUN")
    options, loading = parse(sample, "RUN", flags, Sample, Loading)
    if (options.n is not None and options.n < 1) or options.batch < 1 or options.standing < 0:
        raise ValueError("--n and --batch must be at least 1, --standing at least 0")
    default = 8 if options.has_texts else 64
    seeds = numbers(options.seeds) if options.seeds else list(range(options.n or default))
    recipe = loading.load(run).recipe
    per_seed = max(1, len(options.text)) * (options.steps if options.to_text else 1) if options.has_texts else 1
    refuse_many(recipe, len(seeds) * per_seed, "samples", "--n, --seeds or --steps")
    draw = draw_texts if options.has_texts else draw_seeds
    write(draw(recipe, options, seeds), options)


def draw_seeds(recipe: Recipe, options: Sample, seeds: list[int]) -> Drawn:
    """One sample of each seed."""
    from gankit import data, latent
    from gankit.nn import standing

    condition = data.read_conditions(Path(options.condition)) if options.condition else None
    if options.standing:
        latent.check(recipe, options.label, condition)

        def draw(i: int) -> None:
            latent.sample(recipe, range(64 * i, 64 * i + 64), None, options.trunc, 64, condition)

        standing(recipe, draw, options.standing)
    samples = latent.sample(recipe, seeds, options.label, options.trunc, options.batch, condition, options.domain)
    return Drawn(samples, seeds, [f"seed{seed:04d}" for seed in seeds], min(options.columns, len(seeds)))


def draw_texts(recipe: Recipe, options: Sample, seeds: list[int]) -> Drawn:
    """A row of samples for each text, or for each seed from one text to another."""
    from gankit.data import captions
    from gankit.runs import texts

    sentences = [*options.text, *(texts.read(Path(options.text_file)) if options.text_file else [])]
    for name in ("label", "condition", "domain", "standing"):
        if getattr(options, name):
            raise ValueError(f"--{'class' if name == 'label' else name} does not go with texts; leave it out")
    if options.to_text and len(sentences) != 1:
        raise ValueError(
            f"--to-text needs one sentence to start from, --text 'A' --to-text 'B'; found {len(sentences)}"
        )
    drawing = options.trunc, options.batch, options.text_encoder
    if options.to_text:
        steps = range(options.steps)
        samples = texts.between(recipe, sentences[0], options.to_text, seeds, options.steps, *drawing)
        drawn = Drawn(
            samples,
            seeds=[seed for seed in seeds for _ in steps],
            names=[f"step{i:02d}-seed{seed:04d}" for seed in seeds for i in steps],
            columns=options.steps,
            heads=[sentences[0], *[""] * (options.steps - 2), options.to_text],
            sides=[f"seed {seed}" for seed in seeds],
        )
    else:
        drawn = Drawn(
            texts.draw(recipe, sentences, seeds, *drawing),
            seeds=seeds * len(sentences),
            names=[f"text{i:03d}-seed{seed:04d}" for i in range(len(sentences)) for seed in seeds],
            columns=len(seeds),
            sides=[text if len(text) <= 60 else text[:57] + "..." for text in sentences],
        )
    length, letters = recipe.spec.caption
    for flaw in captions.flaws(filter(None, [*sentences, options.to_text]), length) if letters else ():
        aside(f"- {flaw}")
    return drawn


def write(drawn: Drawn, options: Sample) -> None:
    """Write each sample as a PNG, or all to one file by its ending, and print the path.

    Raises:
        ValueError: samples cannot be written to a file of this ending.
    """
    from gankit import pictures

    path, outdir = Path(options.output), Path(options.outdir)
    if not options.output and drawn.samples.ndim == 2:
        path = outdir / "samples.npz"
    elif not options.output:
        outdir.mkdir(parents=True, exist_ok=True)
        for name, image in zip(drawn.names, drawn.samples):
            pictures.save_one(outdir / f"{name}.png", image)
        return put(f"{len(drawn.names)} pictures in {outdir}")
    path.parent.mkdir(parents=True, exist_ok=True)
    if options.to_text and path.suffix in pictures.ANIMATIONS:
        frames = drawn.samples.unflatten(0, (-1, options.steps)).transpose(0, 1)
        pictures.animate(path, [pictures.grid(frame) for frame in frames], 8)
    else:
        pictures.save(path, drawn.samples, drawn.columns, drawn.heads, drawn.sides, drawn.seeds)
    put(path)
