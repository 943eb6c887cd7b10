"""Directions without labels, SeFa's and GANSpace's; and sliders along any direction that was kept in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gankit import latent
from gankit.explore.result import Result
from gankit.explore.start import Seeds, Start, finite, noised, read, start
from gankit.runs.trained import Trained


def sefa(
    trained: Trained,
    *,
    seed: int = 0,
    count: int = 8,
    steps: int = 7,
    reach: float = 3.0,
    layers: str = "all",
    label: int | None = None,
    trunc: float = 1.0,
    space: str = "",
    latent_file: str = "",
) -> Result:
    """SeFa: directions in closed form, from the weights of the layers that a latent meets first.

    Shen & Zhou, "Closed-Form Factorization of Latent Semantics in GANs", CVPR 2021.

    Args:
        seed: the picture that is moved.
        count: directions: a row for each.
        steps: pictures of a row.
        reach: how far to go to either side, in standard deviations of the latents.
        layers: of styles, whose are looked at and moved: all, coarse, middle, fine, or numbers like 0-3.
        label: the class; the seed's own without it.
        trunc: truncation.
        space: z or w; w for models with styles without it.
        latent_file: a .npz of `project` in place of the seed.
    """
    if count < 1:
        raise ValueError(f"--count is {count}; it must be at least 1")
    trained, begin, which = ready(trained, (seed,), label, trunc, space, latent_file, layers)
    recipe, space = trained.recipe, begin.space
    points, given = latent.points(recipe, range(1000, 1008), label, space=space)
    found = latent.sefa(recipe, points, given, count, which)
    many = latent.points(recipe, range(1000, 3000), label, space=space)[0]
    found = found._replace(scale=spread(many, found.vectors))
    numbers = {"share of the change in the first layers": found.share.tolist()}
    return along(
        trained, begin, found, steps, reach, which, numbers, [f"{share:.0%}" for share in found.share.tolist()]
    )


def ganspace(
    trained: Trained,
    *,
    seed: int = 0,
    count: int = 8,
    steps: int = 7,
    reach: float = 3.0,
    layers: str = "all",
    n: int = 4000,
    label: int | None = None,
    trunc: float = 1.0,
    space: str = "",
    latent_file: str = "",
) -> Result:
    """GANSpace: principal components of many w, or of the first hidden maps brought back to z.

    Harkonen, Hertzmann, Lehtinen & Paris, "GANSpace: Discovering Interpretable GAN Controls", NeurIPS 2020.

    Args:
        seed: the picture that is moved.
        count: components: a row for each.
        steps: pictures of a row.
        reach: how far to go to either side, in standard deviations of the component.
        layers: of styles, whose are moved: all, coarse, middle, fine, or numbers like 0-3.
        n: latents that the components are of.
        label: the class; the seed's own without it.
        trunc: truncation.
        space: z or w; w for models with styles without it.
        latent_file: a .npz of `project` in place of the seed.
    """
    if count < 1:
        raise ValueError(f"--count is {count}; it must be at least 1")
    trained, begin, which = ready(trained, (seed,), label, trunc, space, latent_file, layers)
    recipe, space = trained.recipe, begin.space
    if n < 2:
        raise ValueError(f"--n is {n}; components are of 2 latents at least, better of thousands")
    found = latent.ganspace(recipe, *latent.points(recipe, range(1000, 1000 + n), label, space=space), count)
    numbers = {"explained variance, share": found.share.tolist(), "explained together": float(found.share.sum())}
    return along(
        trained, begin, found, steps, reach, which, numbers, [f"{share:.0%}" for share in found.share.tolist()]
    )


def sliders(
    trained: Trained,
    *,
    directions: str = "",
    index: int = 0,
    seeds: Seeds = Seeds(range(4)),
    steps: int = 9,
    reach: float = 3.0,
    layers: str = "",
    label: int | None = None,
    trunc: float = 1.0,
    latent_file: str = "",
) -> Result:
    """Sliders: seeds moved along one direction that sefa, ganspace or boundary kept, as a strip and an animation.

    Args:
        directions: the .npz with directions; without it the first one that sefa finds.
        index: which of them.
        seeds: a row for each.
        steps: pictures of a row.
        reach: how far to go to either side, in the direction's own unit.
        layers: of styles, whose are moved; those that the direction is for without it.
        label: the class; the classes in turn, by seed, without it.
        trunc: truncation.
        latent_file: a .npz of `project` in place of seeds.
    """
    finite(reach=reach)
    if steps < 1 or index < 0:
        raise ValueError(
            f"--steps is {steps} and --index {index}; a row has 1 picture at least, and directions count from 0"
        )
    trained = noised(trained, latent_file)
    if not directions:
        kept = sefa(trained, count=index + 1, label=label, steps=1, latent_file=latent_file).arrays
    else:
        kept = read(directions, "directions", "the directions that sefa, ganspace or boundary wrote")
    space, names = str(kept.get("space", "")), [str(name) for name in kept.get("names", [])]
    begin = start(trained, seeds, label, trunc, space, latent_file)
    vectors = torch.from_numpy(np.atleast_2d(kept["directions"])).to(begin.points)
    if vectors.shape[1] != begin.points.shape[-1]:
        raise ValueError(
            f"{directions} holds directions of {vectors.shape[1]} numbers; this model's latents have {begin.points.shape[-1]}"
        )
    if not 0 <= index < len(vectors):
        raise ValueError(f"--index is {index}; the file holds directions 0 to {len(vectors) - 1}")
    scale = float(np.atleast_1d(kept.get("scale", np.ones(len(vectors))))[index])
    which = (
        list(chosen_layers(begin.points, layers) or [])
        if layers
        else [int(i) for i in np.atleast_1d(kept.get("layers", []))]
    )
    if which and begin.points.ndim == 3 and not 0 <= min(which) <= max(which) < begin.points.shape[1]:
        raise ValueError(
            f"{directions} holds directions for layers {min(which)} to {max(which)}; this model has 0 to {begin.points.shape[1] - 1}: choose with --layers"
        )
    strengths = torch.linspace(-reach, reach, steps).tolist() if steps > 1 else [0.0]
    drawn = torch.stack([
        latent.render(trained.recipe, latent.move(begin.points, vectors[index], strength * scale, which or None), begin.given)
        for strength in strengths
    ], 1)  # fmt: skip
    name = names[index] if index < len(names) else f"direction {index}"
    return Result(
        drawn.flatten(0, 1), steps, captions(strengths, name), begin.names,
        {"direction": name, "file": Path(directions).name, "strengths": strengths, "unit": scale},
        back_and_forth(trained, begin, vectors[index] * scale, reach, which or None), fps=16,
    )  # fmt: skip


# What they share -----------------------------------------------------------------------------------------------------


def ready(
    trained: Trained, seeds: Sequence[int], label: int | None, trunc: float, space: str, file: str, layers: str
) -> tuple[Trained, Start, range | None]:
    """The run with the noise maps of a projected latent if there is one, the points to move, and the layers that are meant."""
    trained = noised(trained, file)
    begin = start(trained, seeds, label, trunc, space, file)
    return trained, begin, chosen_layers(begin.points, layers)


def chosen_layers(points: Tensor, layers: str) -> range | None:
    """The layers that --layers means; None for points without.

    Raises:
        ValueError: there are no such layers.
    """
    if points.ndim == 2:
        if layers not in ("all", ""):
            raise ValueError("--layers is for models with styles, in w; leave it out")
        return None
    return latent.layers_of(points.shape[1], layers or "all")


def spread(points: Tensor, vectors: Tensor) -> Tensor:
    """(K,) standard deviation of points (N, D) or (N, num_ws, D) along directions (K, D)."""
    rows = points if points.ndim == 2 else points[:, 0]
    return (rows.double() @ vectors.double().T).std(0)


def along(
    trained: Trained, begin: Start, found: latent.Directions, steps: int, reach: float, which: range | None,
    numbers: dict[str, object], notes: list[str],
) -> Result:  # fmt: skip
    """A row for each direction, a column for each strength; the directions as arrays."""
    finite(reach=reach)
    if steps < 1 or len(found.vectors) < 1:
        raise ValueError("--steps and --count must be at least 1")
    vectors, scale = found.vectors.to(begin.points), found.scale.to(begin.points)
    strengths = torch.linspace(-reach, reach, steps).tolist() if steps > 1 else [0.0]
    moved = [latent.move(begin.points, v, s * float(unit), which) for v, unit in zip(vectors, scale) for s in strengths]
    drawn = latent.render(trained.recipe, torch.cat(moved), begin.rows(len(moved)))
    names = [f"component {i}" for i in range(len(vectors))]
    return Result(
        drawn, steps, captions(strengths),
        [f"{i}: {note}" for i, note in enumerate(notes)], numbers, arrays=kept(found, names, begin.points, which),
    )  # fmt: skip


def kept(found: latent.Directions, names: list[str], like: Tensor, which: range | None) -> dict[str, np.ndarray]:
    """Directions as arrays that `sliders` reads."""
    return {
        "directions": found.vectors.double().cpu().numpy(), "scale": found.scale.double().cpu().numpy(),
        "names": np.array(names), "space": np.array("z" if like.ndim == 2 else "w"),
        "layers": np.array([] if which is None else list(which), np.int64),
    }  # fmt: skip


def back_and_forth(
    trained: Trained, begin: Start, vector: Tensor, reach: float, which: object = None, steps: int = 24
) -> list[Tensor]:
    """Frames of all points moved along a direction and back, without a jump where the animation begins again."""
    phase = torch.arange(steps) / steps * 2 * torch.pi
    return [
        latent.render(trained.recipe, latent.move(begin.points, vector, float(at), which), begin.given)
        for at in reach * phase.sin()
    ]


def captions(strengths: list[float], name: str = "") -> list[str]:
    """A caption for each strength, the first with the direction's name."""
    shown = [f"{strength:+.3g}" if abs(strength) > 1e-6 else "0" for strength in strengths]
    return [f"{name}: {shown[0]}", *shown[1:]] if name else shown
