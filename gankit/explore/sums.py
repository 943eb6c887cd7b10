"""Vector arithmetic on latents, as DCGAN shows it: smiling woman - neutral woman + neutral man."""

from __future__ import annotations

import torch
from torch import Tensor

from gankit import latent
from gankit.explore.judge import classes_of
from gankit.explore.result import Result, blank
from gankit.explore.start import Seeds, finite, recipe_of, start
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
    """Arithmetic: mean of the first latents, less that of the second, plus that of the third, with nine results.

    Each mean is over a few latents, as one alone is not stable. The middle one of the nine results is at the sum, the
    others have noise uniform in +-jitter added, as in Radford, Metz & Chintala, ICLR 2016, fig. 7 (there 0.25).

    Args:
        plus: seeds of the first mean.
        minus: seeds of the second, which is taken away.
        plus2: seeds of the third, which is added.
        classes: three classes as 7,1,4: seeds whose pictures a classifier takes for these, in place of the three lists.
        jitter: half the width of the noise, in standard deviations of the latents.
        label: the class, for models with labels; without it each seed's own for the sources, the first one's for results.
        space: z or w; w for models with styles without it.
    """
    finite(jitter=jitter)
    recipe = recipe_of(trained)
    lists, names = [tuple(plus), tuple(minus), tuple(plus2)], ["A", "B", "C"]
    if classes:
        lists, names = chosen(trained, classes, label, max(1, len(plus)))
    elif len({len(one) for one in lists}) > 1:
        raise ValueError(
            f"--plus, --minus and --plus2 have {', '.join(str(len(one)) for one in lists)} seeds; give as many of each"
        )
    starts = [start(trained, seeds, label, 1.0, space) for seeds in lists]
    means = torch.stack([one.points.mean(0) for one in starts])
    total = means[0] - means[1] + means[2]
    spread = float(latent.points(recipe, range(1000, 1200), label, 1.0, space)[0].std(0).mean())
    with seeded(0):
        noise = torch.rand(9, *means.shape[-1:]).to(means) * 2 - 1
    noise[4] = 0
    noise = noise if means.ndim == 2 else noise[:, None]
    given = starts[0].given
    results = latent.render(recipe, total + jitter * spread * noise, None if given is None else given[:1].expand(9))
    rows, count = [], len(lists[0])
    for i, one in enumerate(starts):
        sources = latent.render(recipe, one.points, one.given)
        mean = latent.render(recipe, means[i : i + 1], None if one.given is None else one.given[:1])
        rows.append(torch.cat([sources, mean, blank(mean), results[3 * i : 3 * i + 3]]))
    length = distances(means, total)
    return Result(
        torch.cat(rows), count + 5, [*[""] * count, "mean", "", "", f"{names[0]} - {names[1]} + {names[2]}", ""],
        [f"+ {names[0]}", f"- {names[1]}", f"+ {names[2]}"],
        {"seeds": [list(one) for one in lists], "space": latent.space_of(recipe, space), **length},
    )  # fmt: skip


def chosen(trained: Trained, classes: str, label: int | None, each: int) -> tuple[list[tuple[int, ...]], list[str]]:
    """The first seeds whose pictures are of each of three classes, and the classes' names.

    Raises:
        ValueError: there are not three such classes, or too few such pictures.
    """
    judge = classes_of(trained)
    wanted = [part.strip() for part in classes.split(",")]
    if len(wanted) != 3:
        raise ValueError(f"--classes takes three, as 7,1,4: the first less the second plus the third; not {classes!r}")
    numbers = [judge.number(name) for name in wanted]
    seeds = range(1000)
    found = judge.classes(latent.sample(trained.recipe, seeds, label))
    lists = []
    for name, number in zip(wanted, numbers):
        some = [seeds[int(i)] for i in (found == number).nonzero().flatten()[:each]]
        if len(some) < each:
            raise ValueError(f"of 1,000 samples {len(some)} are taken for {name!r}, and {each} are needed")
        lists.append(tuple(some))
    return lists, wanted


def distances(means: Tensor, total: Tensor) -> dict[str, float]:
    """How long the sum is beside the means: far longer than latents are, and the picture is off the model's ground."""
    lengths = means.flatten(1).norm(dim=1)
    return {"length of the sum": float(total.norm()), "mean length of the three means": float(lengths.mean())}
