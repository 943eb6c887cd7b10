"""Truncation for every model; mixing, single layers and noise for models with a style for each layer."""

from __future__ import annotations

import math

import torch

from gankit import latent
from gankit.explore.inputs import Seeds, generator_of, latents_of
from gankit.explore.result import Result, blank
from gankit.recipe import Recipe
from gankit.runs.trained import Trained


def truncation(
    trained: Trained,
    *,
    seeds: Seeds = Seeds(range(6)),
    psi: str = "0,0.25,0.5,0.7,0.85,1,1.2",
    label: int | None = None,
) -> Result:
    """Truncation: seeds by rows, psi by columns, from the mean to full diversity.

    In w for models with styles (Karras et al. 2019, fig. 8), in z for others.

    Args:
        seeds: samples, a row each.
        psi: truncation factors with commas between, a column each.
        label: the class; default: the classes in turn, by seed.
    """
    recipe, factors = generator_of(trained), parse_floats(psi)
    latent.check(recipe, label)
    columns = [latent.points(recipe, seeds, label, factor) for factor in factors]
    images = torch.stack([latent.render(recipe, *column) for column in columns], 1)  # (seeds, psi, C, H, W)
    distances = []
    for factor in factors:
        samples = latent.render(recipe, *latent.points(recipe, range(1000, 1200), label, factor)).flatten(1).double()
        distances.append(float(torch.cdist(samples[:100], samples[100:]).mean() / samples.shape[1] ** 0.5))
    heads, sides = [f"psi {factor:g}" for factor in factors], [f"seed {seed}" for seed in seeds]
    numbers: dict[str, object] = {
        "psi": factors,
        "space": latent.space_of(recipe),
        "mean distance of two samples, per pixel": distances,
    }
    return Result(images.flatten(0, 1), len(factors), heads, sides, numbers, list(images.unbind(1)), fps=3)


def mix(
    trained: Trained,
    *,
    rows: Seeds = Seeds(range(5)),
    columns: Seeds = Seeds(range(10, 16)),
    layers: str = "coarse",
    label: int | None = None,
    trunc: float = 1.0,
) -> Result:
    """Style mixing: the column's sample with the styles of the row's sample in some layers.

    Karras, Laine & Aila, CVPR 2019, fig. 3: coarse styles control pose and shape, fine styles the colours.

    Args:
        rows: seeds whose styles are copied.
        columns: seeds that receive them.
        layers: the layers to copy: coarse, middle, fine, or numbers like 0-3.
        label: the class; default: the classes in turn, by seed.
        trunc: truncation in w.
    """
    recipe = styled(trained, "mix")
    chosen = latent.layers_of(recipe.num_ws, layers)
    source = latents_of(trained, rows, label, trunc, "w").points
    base = latents_of(trained, columns, label, trunc, "w").points
    mixed = torch.cat([latent.mix_styles(base, style.expand(len(base), -1, -1), chosen) for style in source])
    of_source, of_base = latent.render(recipe, source), latent.render(recipe, base)
    images = latent.render(recipe, mixed).unflatten(0, (len(source), len(base)))
    body = torch.cat([of_source[:, None], images], 1).flatten(0, 1)
    change = {}
    for name in ("coarse", "middle", "fine"):
        if part := latent.layers_of(recipe.num_ws, name):
            swapped = latent.render(recipe, latent.mix_styles(base, base.roll(1, 0), part))
            change[name] = float((swapped - of_base).square().mean().sqrt())
    return Result(
        torch.cat([blank(of_base), of_base, body]), len(base) + 1,
        [f"{layers} of", *[f"seed {seed}" for seed in columns]], ["", *[f"seed {seed}" for seed in rows]],
        {"layers": list(chosen), "num_ws": recipe.num_ws, "change by another's styles, root mean square": change},
    )  # fmt: skip


def layers(
    trained: Trained, *, seed: int = 0, others: Seeds = Seeds(range(1, 5)), label: int | None = None, trunc: float = 1.0
) -> Result:
    """Layer by layer: a sample with another's style in one layer at a time, and in the last column in all.

    Args:
        seed: the sample that is changed.
        others: seeds whose styles are used, a row each.
        label: the class; default: the classes in turn, by seed.
        trunc: truncation in w.
    """
    recipe = styled(trained, "layers")
    base = latents_of(trained, (seed,), label, trunc, "w").points
    source = latents_of(trained, others, label, trunc, "w").points
    count = recipe.num_ws
    repeated = base.expand(len(source), -1, -1)
    steps = [repeated, *[latent.mix_styles(repeated, source, [i]) for i in range(count)], source]
    images = torch.stack([latent.render(recipe, step) for step in steps], 1)  # (others, num_ws + 2, C, H, W)
    change = (images[:, 1:-1] - images[:, :1]).square().mean((2, 3, 4)).sqrt().mean(0)
    return Result(
        images.flatten(0, 1), count + 2, [f"seed {seed}", *[f"layer {i}" for i in range(count)], "all"],
        [f"seed {other}" for other in others],
        {"change by each layer, root mean square": [float(value) for value in change]},
    )  # fmt: skip


def noise(
    trained: Trained, *, seeds: Seeds = Seeds(range(4)), draws: int = 50, label: int | None = None, trunc: float = 1.0
) -> Result:
    """StyleGAN's noise: samples without noise, with two draws of it, its effect on each pixel in white, and the mean.

    Karras, Laine & Aila, CVPR 2019, fig. 4 and 5.

    Args:
        seeds: samples, a row each.
        draws: draws of noise for the standard deviation of each pixel.
        label: the class; default: the classes in turn, by seed.
        trunc: truncation in w.
    """
    recipe = styled(trained, "noise")
    if draws < 2:
        raise ValueError(f"--draws is {draws}; a standard deviation needs 2 at least")
    base = latents_of(trained, seeds, label, trunc, "w").points
    samples = torch.stack([latent.render(recipe, base, noise=seed) for seed in range(draws)])  # (draws, N, C, H, W)
    deviation = samples.std(0).mean(1, keepdim=True)  # over channels
    heat = (deviation / deviation.amax().clamp(min=1e-12) * 2 - 1).expand_as(samples[0])
    without = latent.render(recipe, base, noise="none")
    cells = torch.stack([without, samples[0], samples[1], heat, samples.mean(0)], 1)
    heads, sides = ["no noise", "noise 0", "noise 1", "deviation", "mean"], [f"seed {seed}" for seed in seeds]
    numbers: dict[str, object] = {
        "deviation of a pixel over draws of noise, mean": float(deviation.mean()),
        "deviation, largest": float(deviation.max()),
        "change when noise is off, root mean square": float((without - samples.mean(0)).square().mean().sqrt()),
    }
    return Result(cells.flatten(0, 1), 5, heads, sides, numbers, list(samples[:24]), fps=8)


def styled(trained: Trained, tool: str) -> Recipe:
    """The run's model.

    Raises:
        ValueError: it has no styles.
    """
    recipe = generator_of(trained)
    if not latent.has_style(recipe):
        raise ValueError(
            f"{tool} needs a model with a style for each layer, such as stylegan2; {trained.config['model']} has none"
        )
    return recipe


def parse_floats(text: str) -> list[float]:
    """The finite numbers of --psi, with commas between.

    Raises:
        ValueError: the text is something else.
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(map(math.isfinite, numbers)):
        raise ValueError(f"--psi takes numbers with commas between, like 0,0.5,1; not {text!r}")
    return numbers
