"""What styles do: truncation for every model; mixing, single layers and noise for models with a style for each layer."""

from __future__ import annotations

import math

import torch

from gankit import latent
from gankit.explore.result import Result, blank
from gankit.explore.start import Seeds, recipe_of, start
from gankit.recipe import Recipe
from gankit.runs.trained import Trained


def truncation(
    trained: Trained,
    *,
    seeds: Seeds = Seeds(range(6)),
    psi: str = "0,0.25,0.5,0.7,0.85,1,1.2",
    label: int | None = None,
) -> Result:
    """Truncation: seeds by rows, from the mean's picture on towards diversity by columns.

    In w for models with styles (Karras et al. 2019, fig. 8), in z for others.

    Args:
        seeds: a row for each.
        psi: the factors, with commas between: a column for each.
        label: the class; the classes in turn, by seed, without it.
    """
    recipe, factors = recipe_of(trained), floats(psi, "--psi")
    latent.check(recipe, label)
    columns = [latent.points(recipe, seeds, label, factor) for factor in factors]
    pictures = torch.stack([latent.render(recipe, *one) for one in columns], 1)  # (seeds, psi, C, H, W)
    many = range(1000, 1200)
    spread = []
    for factor in factors:
        drawn = latent.render(recipe, *latent.points(recipe, many, label, factor)).flatten(1).double()
        spread.append(float(torch.cdist(drawn[:100], drawn[100:]).mean() / drawn.shape[1] ** 0.5))
    return Result(
        pictures.flatten(0, 1), len(factors), [f"psi {factor:g}" for factor in factors], [f"seed {seed}" for seed in seeds],
        {"psi": factors, "space": latent.space_of(recipe), "mean distance of two samples, per pixel": spread},
        list(pictures.unbind(1)), fps=3,
    )  # fmt: skip


def mix(
    trained: Trained,
    *,
    rows: Seeds = Seeds(range(5)),
    columns: Seeds = Seeds(range(10, 16)),
    layers: str = "coarse",
    label: int | None = None,
    trunc: float = 1.0,
) -> Result:
    """Style mixing: each column's picture with the styles of the row's source in some layers.

    Karras, Laine & Aila, CVPR 2019, fig. 3: there one source gives coarse (pose, shape), middle or fine (colour) styles.

    Args:
        rows: seeds of the sources whose styles are copied.
        columns: seeds of the sources that are copied into.
        layers: whose styles are copied: coarse, middle, fine, or numbers like 0-3.
        label: the class; the classes in turn, by seed, without it.
        trunc: truncation in w.
    """
    recipe = styled(trained, "mix")
    which = latent.layers_of(recipe.num_ws, layers)
    source = start(trained, rows, label, trunc, "w").points
    base = start(trained, columns, label, trunc, "w").points
    mixed = torch.cat([latent.mix_styles(base, one.expand(len(base), -1, -1), which) for one in source])
    of_source, of_base = latent.render(recipe, source), latent.render(recipe, base)
    pictures = latent.render(recipe, mixed).unflatten(0, (len(source), len(base)))
    body = torch.cat([of_source[:, None], pictures], 1).flatten(0, 1)
    change = {
        name: float(
            (latent.render(recipe, latent.mix_styles(base, base.roll(1, 0), part)) - of_base).square().mean().sqrt()
        )
        for name in ("coarse", "middle", "fine")
        if len(part := latent.layers_of(recipe.num_ws, name))
    }
    return Result(
        torch.cat([blank(of_base), of_base, body]), len(base) + 1,
        [f"{layers} of", *[f"seed {seed}" for seed in columns]], ["", *[f"seed {seed}" for seed in rows]],
        {"layers": list(which), "num_ws": recipe.num_ws, "change by another's styles, root mean square": change},
    )  # fmt: skip


def layers(
    trained: Trained, *, seed: int = 0, others: Seeds = Seeds(range(1, 5)), label: int | None = None, trunc: float = 1.0
) -> Result:
    """Layer by layer: one layer's style from another picture, and in a last column all of them.

    Args:
        seed: the picture that is changed.
        others: seeds of the pictures whose styles are taken: a row for each.
        label: the class; the classes in turn, by seed, without it.
        trunc: truncation in w.
    """
    recipe = styled(trained, "layers")
    base = start(trained, (seed,), label, trunc, "w").points
    source = start(trained, others, label, trunc, "w").points
    count = recipe.num_ws
    whole = base.expand(len(source), -1, -1)
    steps = [whole, *[latent.mix_styles(whole, source, [i]) for i in range(count)], source]
    pictures = torch.stack([latent.render(recipe, one) for one in steps], 1)  # (others, num_ws + 2, C, H, W)
    change = (pictures[:, 1:-1] - pictures[:, :1]).square().mean((2, 3, 4)).sqrt().mean(0)
    return Result(
        pictures.flatten(0, 1), count + 2, [f"seed {seed}", *[f"layer {i}" for i in range(count)], "all"],
        [f"seed {other}" for other in others],
        {"change by each layer, root mean square": [float(value) for value in change]},
    )  # fmt: skip


def noise(
    trained: Trained, *, seeds: Seeds = Seeds(range(4)), draws: int = 50, label: int | None = None, trunc: float = 1.0
) -> Result:
    """StyleGAN's noise: no noise, two draws of it, where a pixel depends on it (white: most), and their mean.

    Karras, Laine & Aila, CVPR 2019, fig. 4 and 5.

    Args:
        seeds: a row for each.
        draws: draws of noise for the deviation of each pixel.
        label: the class; the classes in turn, by seed, without it.
        trunc: truncation in w.
    """
    recipe = styled(trained, "noise")
    if draws < 2:
        raise ValueError(f"--draws is {draws}; a deviation needs 2 at least")
    base = start(trained, seeds, label, trunc, "w").points
    drawn = torch.stack([latent.render(recipe, base, noise=seed) for seed in range(draws)])  # (draws, N, C, H, W)
    deviation = drawn.std(0).mean(1, keepdim=True)  # over channels
    heat = (deviation / deviation.amax().clamp(min=1e-12) * 2 - 1).expand_as(drawn[0])
    off = latent.render(recipe, base, noise="none")
    cells = torch.stack([off, drawn[0], drawn[1], heat, drawn.mean(0)], 1)
    return Result(
        cells.flatten(0, 1), 5, ["no noise", "noise 0", "noise 1", "deviation", "mean"], [f"seed {seed}" for seed in seeds],
        {
            "deviation of a pixel over draws of noise, mean": float(deviation.mean()),
            "deviation, largest": float(deviation.max()),
            "change when noise is off, root mean square": float((off - drawn.mean(0)).square().mean().sqrt()),
        },
        [one for one in drawn[:24]], fps=8,
    )  # fmt: skip


def styled(trained: Trained, tool: str) -> Recipe:
    """The run's model, if it has styles.

    Raises:
        ValueError: it has none.
    """
    recipe = recipe_of(trained)
    if not latent.has_style(recipe):
        raise ValueError(
            f"{tool} needs a model with a style for each layer, such as stylegan2; {trained.config['model']} has none"
        )
    return recipe


def floats(text: str, flag: str) -> list[float]:
    """Numbers with commas between.

    Raises:
        ValueError: they are none.
    """
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(map(math.isfinite, found)):
        raise ValueError(f"{flag} takes numbers with commas between, like 0,0.5,1; not {text!r}")
    return found
