"""Images through a model's encoder and its generator."""

from __future__ import annotations

import torch

from gankit.data.lookup import held_out_of
from gankit.explore.inputs import data_of
from gankit.explore.result import Result
from gankit.recipe import can
from gankit.runs.trained import Trained


def reconstructions(trained: Trained, *, n: int = 12, rows: int = 3, data: str = "") -> Result:
    """Reconstructions: images that the model was not trained on and, below each row, what it makes of their latents.

    Args:
        n: images in a row.
        rows: rows of images.
        data: where the images are from; default: the held-out part of the run's data if there is one, else all of it.
    """
    recipe, settings = trained.recipe, trained.config["settings"]
    if not can(recipe, "reconstruct"):
        raise ValueError(f"{trained.config['model']} does not reconstruct images; vae and f_anogan do")
    if n < 1 or rows < 1:
        raise ValueError(f"--n is {n} and --rows is {rows}; both must be at least 1")
    source = data_of(trained, data or held_out_of(settings["data"]) or "")
    columns = min(n, source.count)
    images, _ = source.select(columns * min(rows, source.count // columns))
    with torch.no_grad():
        outputs = recipe.reconstruct(images.to(next(recipe.parameters()))).float().cpu()
    error = float((outputs - images).square().mean()) ** 0.5
    pairs = [part for pair in zip(images.split(columns), outputs.split(columns)) for part in pair]
    numbers: dict[str, object] = {"images": len(images), "data": source.name, "root mean square error": error}
    sides = ["images", "reconstructions"] * (len(pairs) // 2)
    return Result(torch.cat(pairs), columns, (), sides, numbers)
