"""Vector arithmetic on latents, as in DCGAN: smiling woman - neutral woman + neutral man."""

from __future__ import annotations

import torch
from torch import Tensor

from gankit import latent
from gankit.explore.classifiers import classifier_of
from gankit.explore.inputs import Seeds, check_finite, generator_of, latents_of
from gankit.explore.result import Result, blank
from gankit.recipe import seeded
from gankit.runs.trained import Trained


def arithmetic(
    trained: Trained,
    *,
    plus: Seeds = Seeds(range(3)),
    minus: Seeds = Seeds(range(3, 6)),
    plus2: Seeds = Seeds(range(6, 9)),
    classes: str = "",
    jitter: float = 0.25,
    label: int | None = None,
    space: str = "",
) -> Result:
    """Vector arithmetic: the mean of some latents, minus a second mean, plus a third, with nine results.

    Each mean is over a few latents, because single latents are not stable. The result in the middle is the sum itself;
    the others add noise, uniform in +-jitter, as in Radford, Metz & Chintala, ICLR 2016, fig. 7 (0.25 there).

    Args:
        plus: seeds of the first mean.
        minus: seeds of the mean that is subtracted.
        plus2: seeds of the mean that is added.
        classes: three classes, like 7,1,4; a classifier then chooses the seeds of each mean.
        jitter: half the width of the noise, in standard deviations of the latents.
        label: the class, for models with labels; default: each seed's own for the sources, the first one's for the
            results.
        space: z or w; default: w for models with styles.
    """
    check_finite(jitter=jitter)
    recipe = generator_of(trained)
    seed_lists, names = [tuple(plus), tuple(minus), tuple(plus2)], ["A", "B", "C"]
    if classes:
        seed_lists, names = seeds_of_classes(trained, classes, label, max(1, len(plus)))
    elif len({len(seeds) for seeds in seed_lists}) > 1:
        counts = ", ".join(str(len(seeds)) for seeds in seed_lists)
        raise ValueError(f"--plus, --minus and --plus2 have {counts} seeds; give as many of each")
    sources = [latents_of(trained, seeds, label, 1.0, space) for seeds in seed_lists]
    means = torch.stack([source.points.mean(0) for source in sources])
    total = means[0] - means[1] + means[2]
    deviation = float(latent.points(recipe, range(1000, 1200), label, 1.0, space)[0].std(0).mean())
    with seeded(0):
        noise = torch.rand(9, *means.shape[-1:]).to(means) * 2 - 1
    noise[4] = 0
    noise = noise if means.ndim == 2 else noise[:, None]
    labels = sources[0].labels
    results = latent.render(
        recipe, total + jitter * deviation * noise, None if labels is None else labels[:1].expand(9)
    )
    rows, count = [], len(seed_lists[0])
    for i, source in enumerate(sources):
        mean = latent.render(recipe, means[i : i + 1], None if source.labels is None else source.labels[:1])
        rows.append(torch.cat([source.render(recipe), mean, blank(mean), results[3 * i : 3 * i + 3]]))
    a, b, c = names
    heads = [*[""] * count, "mean", "", "", f"{a} - {b} + {c}", ""]
    numbers: dict[str, object] = {
        "seeds": [list(seeds) for seeds in seed_lists],
        "space": latent.space_of(recipe, space),
    }
    return Result(torch.cat(rows), count + 5, heads, [f"+ {a}", f"- {b}", f"+ {c}"], numbers | lengths(means, total))


def seeds_of_classes(
    trained: Trained, classes: str, label: int | None, count: int
) -> tuple[list[tuple[int, ...]], list[str]]:
    """The first `count` seeds whose samples a classifier assigns to each of three classes, and the classes' names.

    Raises:
        ValueError: there are not three such classes, or too few such samples.
    """
    classifier = classifier_of(trained)
    names = [part.strip() for part in classes.split(",")]
    if len(names) != 3:
        raise ValueError(
            f"--classes takes three, like 7,1,4: the first minus the second plus the third; not {classes!r}"
        )
    numbers = [classifier.number(name) for name in names]
    seeds = range(1000)
    predicted = classifier.classify(latent.sample(trained.recipe, seeds, label))
    chosen = []
    for name, number in zip(names, numbers):
        matching = [seeds[int(i)] for i in (predicted == number).nonzero().flatten()[:count]]
        if len(matching) < count:
            raise ValueError(f"of 1,000 samples {len(matching)} are classified as {name!r}, and {count} are needed")
        chosen.append(tuple(matching))
    return chosen, names


def lengths(means: Tensor, total: Tensor) -> dict[str, float]:
    """Lengths of the sum and of the means: a sum that is far longer than latents is outside the prior."""
    norms = means.flatten(1).norm(dim=1)
    return {"length of the sum": float(total.norm()), "mean length of the three means": float(norms.mean())}
