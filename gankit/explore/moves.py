"""Latents moved along directions, for the tools that find or use directions: rows of images, animations, and files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gankit import latent
from gankit.explore.inputs import Latents, check_finite, latents_of, with_noise_maps
from gankit.explore.result import Result
from gankit.recipe import Recipe
from gankit.runs.trained import Trained


@dataclass
class Move:
    """Latents of a model, and the layers in which their styles move.

    Args:
        trained: the run, with the noise maps of a projected latent where it has some.
        latents: the latents to move.
        layers: the layers of the styles; None for all, and for latents z.
    """

    trained: Trained
    latents: Latents
    layers: Sequence[int] | None

    @staticmethod
    def of(
        trained: Trained, seeds: Sequence[int], label: int | None, trunc: float, space: str, file: str, layers: str
    ) -> Move:
        """The move that the flags --seeds, --class, --trunc, --space, --latent-file and --layers describe."""
        trained = with_noise_maps(trained, file)
        latents = latents_of(trained, seeds, label, trunc, space, file)
        return Move(trained, latents, parse_layers(latents.points, layers))

    @property
    def recipe(self) -> Recipe:
        return self.trained.recipe

    @property
    def space(self) -> str:
        return self.latents.space

    def deviations(self, vectors: Tensor, label: int | None) -> Tensor:
        """(K,) standard deviations of the model's latents along directions (K, D)."""
        points, _ = latent.points(self.recipe, range(1000, 3000), label, space=self.space)
        rows = points if points.ndim == 2 else points[:, 0]
        return (rows.double() @ vectors.double().T).std(0)

    def rows(self, vector: Tensor, strengths: Sequence[float]) -> Tensor:
        """(N * strengths, C, H, W): each sample moved by each strength times the vector (D,), a row per sample."""
        points, labels = self.latents.points, self.latents.labels
        columns = [latent.render(self.recipe, self.moved(points, vector, by), labels) for by in strengths]
        return torch.stack(columns, 1).flatten(0, 1)

    def moved(self, points: Tensor, vector: Tensor, by: float) -> Tensor:
        return latent.move(points, vector, by, self.layers)

    def back_and_forth(self, vector: Tensor, reach: float) -> list[Tensor]:
        """24 frames of all samples moved along a vector (D,) and back; the last frame leads to the first one."""
        phase = torch.arange(24) / 24 * 2 * torch.pi
        points, labels = self.latents.points, self.latents.labels
        strengths = (float(strength) for strength in reach * phase.sin())
        return [latent.render(self.recipe, self.moved(points, vector, by), labels) for by in strengths]


def parse_layers(points: Tensor, layers: str) -> range | None:
    """The layers that --layers names; None for latents z.

    Raises:
        ValueError: there are no such layers.
    """
    if points.ndim == 2:
        if layers not in ("all", ""):
            raise ValueError("--layers is for models with styles, in w; leave it out")
        return None
    return latent.layers_of(points.shape[1], layers or "all")


def strengths_of(reach: float, steps: int) -> list[float]:
    """`steps` strengths from -reach to reach; 0 for one step."""
    return torch.linspace(-reach, reach, steps).tolist() if steps > 1 else [0.0]


def rows_along(
    move: Move, directions: latent.Directions, steps: int, reach: float, numbers: dict[str, object]
) -> Result:
    """A row for each direction, a column for each strength; the directions as arrays."""
    check_finite(reach=reach)
    if steps < 1 or len(directions.vectors) < 1:
        raise ValueError("--steps and --count must be at least 1")
    points = move.latents.points
    vectors, scale = directions.vectors.to(points), directions.scale.to(points)
    strengths = strengths_of(reach, steps)
    moved = [move.moved(points, v, s * float(unit)) for v, unit in zip(vectors, scale) for s in strengths]
    images = latent.render(move.recipe, torch.cat(moved), move.latents.repeated_labels(len(moved)))
    names = [f"component {i}" for i in range(len(vectors))]
    sides = [f"{i}: {share:.0%}" for i, share in enumerate(directions.share.tolist())]
    arrays = direction_arrays(directions, names, move)
    return Result(images, steps, captions(strengths), sides, numbers, arrays=arrays)


def direction_arrays(directions: latent.Directions, names: list[str], move: Move) -> dict[str, np.ndarray]:
    """Directions as the arrays that the tool `sliders` reads."""
    return {
        "directions": directions.vectors.double().cpu().numpy(),
        "scale": directions.scale.double().cpu().numpy(),
        "names": np.array(names),
        "space": np.array("z" if move.latents.points.ndim == 2 else "w"),
        "layers": np.array([] if move.layers is None else list(move.layers), np.int64),
    }


def captions(strengths: Sequence[float], name: str = "") -> list[str]:
    """A caption for each strength, the first one with the direction's name."""
    texts = [f"{strength:+.3g}" if abs(strength) > 1e-6 else "0" for strength in strengths]
    return [f"{name}: {texts[0]}", *texts[1:]] if name else texts
