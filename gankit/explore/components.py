"""Directions found without labels: SeFa from the weights, GANSpace from principal components of many latents."""

from __future__ import annotations

from gankit import latent
from gankit.explore.moves import Move, rows_along
from gankit.explore.result import Result
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
    """SeFa: directions in closed form, from the weights of the layers that take the latent.

    Shen & Zhou, "Closed-Form Factorization of Latent Semantics in GANs", CVPR 2021.

    Args:
        seed: the sample that is moved.
        count: number of directions, a row each.
        steps: images per row.
        reach: the largest step to either side, in standard deviations of the latents.
        layers: the layers of the style to analyse and move: all, coarse, middle, fine, or numbers like 0-3.
        label: the class; default: the seed's own.
        trunc: truncation.
        space: z or w; default: w for models with styles.
        latent_file: a .npz of `project` instead of the seed.
    """
    check_count(count)
    move = Move.of(trained, (seed,), label, trunc, space, latent_file, layers)
    points, labels = latent.points(move.recipe, range(1000, 1008), label, space=move.space)
    directions = latent.sefa(move.recipe, points, labels, count, move.layers)
    directions = directions._replace(scale=move.deviations(directions.vectors, label))
    numbers: dict[str, object] = {"share of the change in the first layers": directions.share.tolist()}
    return rows_along(move, directions, steps, reach, numbers)


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
    """GANSpace: principal components of many w, or of the first hidden feature maps, projected back to z.

    Harkonen, Hertzmann, Lehtinen & Paris, "GANSpace: Discovering Interpretable GAN Controls", NeurIPS 2020.

    Args:
        seed: the sample that is moved.
        count: number of components, a row each.
        steps: images per row.
        reach: the largest step to either side, in standard deviations of the component.
        layers: the layers of the style to move: all, coarse, middle, fine, or numbers like 0-3.
        n: number of latents to analyse.
        label: the class; default: the seed's own.
        trunc: truncation.
        space: z or w; default: w for models with styles.
        latent_file: a .npz of `project` instead of the seed.
    """
    check_count(count)
    move = Move.of(trained, (seed,), label, trunc, space, latent_file, layers)
    if n < 2:
        raise ValueError(f"--n is {n}; principal components need 2 latents at least, and better thousands")
    points, labels = latent.points(move.recipe, range(1000, 1000 + n), label, space=move.space)
    directions = latent.ganspace(move.recipe, points, labels, count)
    share = directions.share
    numbers: dict[str, object] = {"explained variance, share": share.tolist(), "explained together": float(share.sum())}
    return rows_along(move, directions, steps, reach, numbers)


def check_count(count: int) -> None:
    if count < 1:
        raise ValueError(f"--count is {count}; it must be at least 1")
