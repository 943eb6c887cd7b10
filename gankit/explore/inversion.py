"""Projection of an image into the latent space, and pivotal tuning of the generator around its latent."""

from __future__ import annotations

import copy
import json
import math
import uuid
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gankit import data as library
from gankit import latent
from gankit.explore.inputs import data_of, generator_of, read_image
from gankit.explore.latent_search import Distance, Projected, Search, distance_of, replaced
from gankit.explore.result import Result, blank
from gankit.recipe import Recipe
from gankit.runs.files import write_tensors, write_text
from gankit.runs.state import weights_of
from gankit.runs.trained import Trained


def project(
    trained: Trained,
    *,
    image: str = "",
    number: int = 0,
    data: str = "",
    space: Literal["", "z", "w", "w+"] = "",
    steps: int = 400,
    restarts: int = 8,
    lr: float = 0.1,
    label: int | None = None,
    seed: int = 0,
    lpips: Literal["auto", "yes", "no"] = "auto",
    noise_maps: bool = True,
    tune: int = 0,
    tune_lr: float = 3e-4,
    tuned_outdir: str = "",
) -> Result:
    """Projection: the latent whose sample is nearest to an image, and pivotal tuning.

    Adam with the schedule of Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020,
    appendix D: the learning rate ramps up, stays and ramps down; the noise added to w fades; noise maps are optimized,
    too, and regularised to remain noise. project.npz holds the latent, which other tools take as --latent-file. The
    function is long because each of its many flags needs a line.

    Args:
        image: an image file, fitted to the model's shape like the training data; default: image `number` of `data`.
        number: the number of the image in the data.
        data: the data that `number` refers to; default: the held-out part of the run's data if there is one, else all
            of it.
        space: z, w, or w+ with a separate style for each layer; default: w+ for models with styles.
        steps: of Adam.
        restarts: number of starting points; the best result is kept.
        lr: Adam's largest learning rate.
        label: the class, for models with labels; default: the restarts try the classes in turn.
        seed: of starting points and noise.
        lpips: whether the loss includes LPIPS; auto: if VGG's weights are on this machine and sides are 32 at least.
        noise_maps: optimize the noise maps, for models with styles that have them.
        tune: steps of pivotal tuning (Roich et al., "Pivotal Tuning for Latent-based Editing of Real Images", 2021),
            which fine-tunes a copy of the generator around the latent.
        tune_lr: the learning rate of pivotal tuning.
        tuned_outdir: the new folder of the tuned run; default: tuned-RUN in the working directory.
    """
    recipe = generator_of(trained)
    latent.check(recipe, label)
    if steps < 1 or restarts < 1 or tune < 0 or not 0 < lr < math.inf:
        raise ValueError(
            f"--steps, --restarts and --lr must be above 0, --tune at least 0; found {steps}, {restarts}, {lr}, {tune}"
        )
    target, name = target_of(trained, image, number, data)
    distance = distance_of(recipe, lpips)
    folder = Path(tuned_outdir) if tuned_outdir else Path(f"tuned-{trained.folder.name}")
    if tune and folder.exists():
        raise ValueError(f"{folder} exists already; choose another with --tuned-outdir")
    space = space or ("w+" if latent.has_style(recipe) else "z")
    latent.space_of(recipe, space.removesuffix("+"))
    job = Search(recipe, target, space, distance, steps, lr, seed)
    found = job.run(restarts, label, noise_maps and space != "z")
    numbers: dict[str, object] = {
        "image": name,
        "space": space,
        "loss": found.loss,
        **errors(found.image, target),
        "losses of the restarts": found.losses,
        "seconds": round(found.seconds, 1),
        "lpips in the loss": distance.network is not None,
        "latent's length over the prior's": found.length,
    }
    goal = target.cpu().float()
    cells = [goal, *found.path[1 : -1 : max(1, len(found.path) // 5)][:4], found.image]
    heads = ["target", *[""] * (len(cells) - 2), f"in {space}"]
    say = []
    if tune:
        tuned = pivotal_tuning(recipe, found, target, tune, tune_lr, distance)
        after = latent.render(tuned, found.point, found.label)
        write_run(trained, tuned, folder)
        numbers |= {"tuned": errors(after, target) | {"steps": tune, "run": str(folder)}}
        cells.append(after)
        heads.append("tuned")
        say.append(f"the tuned model is the run {folder}; its file draws the picture: --latent-file project.npz")
    frames = [torch.cat([goal, step]) for step in found.path] + [torch.cat([goal, cells[-1]])] * 8
    cells += [blank(goal), (cells[-1] - goal).abs() - 1]
    heads += ["", "error"]
    say.insert(0, f"{name}: PSNR {numbers['psnr']:.1f} dB, root mean square error {numbers['rmse']:.3f} of 2")
    return Result(torch.cat(cells), len(cells), heads, (), numbers, frames, 2, 16, found.arrays(space), say)


def target_of(trained: Trained, image: str, number: int, data: str) -> tuple[Tensor, str]:
    """The image to project, (1, C, H, W) on the model's device, and its name.

    Raises:
        ValueError: there is no such image, or it cannot be read.
    """
    like, settings = next(trained.recipe.parameters()), trained.config["settings"]
    if image:
        missing = "give a PNG, JPEG or WebP, or --number of the data"
        how = library.reading_of(settings)
        return read_image(image, trained.recipe.spec.shape, how, missing).to(like), Path(image).name
    training_data = settings["data"]
    held_out = f"{training_data}:test"
    source = data_of(trained, data or (held_out if held_out in library.BUILTIN else training_data))
    if not 0 <= number < source.count:
        raise ValueError(f"--number is {number}; {source.name} has images 0 to {source.count - 1}")
    return source.read(np.array([number]))[0].to(like), f"{source.data or source.name} {number}"


def errors(image: Tensor, target: Tensor) -> dict[str, float]:
    """Root mean square error of images in [-1, 1], and the PSNR in dB."""
    error = float((image.clamp(-1, 1) - target.cpu().float()).square().mean())
    return {"rmse": error**0.5, "psnr": 10 * math.log10(4 / max(error, 1e-12))}


# Pivotal tuning ------------------------------------------------------------------------------------------------------


def pivotal_tuning(
    recipe: Recipe, found: Projected, target: Tensor, steps: int, lr: float, distance: Distance
) -> Recipe:
    """A copy of the model whose generator is fine-tuned to map the latent that was found to the target image."""
    with replaced(recipe, found.noise):  # the copy keeps them
        tuned = copy.deepcopy(recipe).requires_grad_(True).eval()
    with torch.enable_grad():
        image = latent.generate(tuned, found.point, found.label)
        parameters = list(tuned.parameters())
        slopes = torch.autograd.grad(image.sum(), parameters, allow_unused=True)
        adam = torch.optim.Adam([p for p, slope in zip(parameters, slopes) if slope is not None], lr)
        for _ in range(steps):
            loss = distance(latent.generate(tuned, found.point, found.label), target).sum()
            adam.zero_grad()
            loss.backward()
            adam.step()
    return tuned.requires_grad_(False)


def write_run(trained: Trained, tuned: Recipe, folder: Path) -> None:
    """Write the tuned model as a run folder, which can be sampled and explored like any other, but not resumed."""
    folder.mkdir(parents=True)
    config = trained.config | {
        "id": uuid.uuid4().hex,
        "tuned": {"from": str(trained.folder), "id": trained.config["id"]},
    }
    write_tensors(
        folder / "weights.safetensors",
        weights_of(tuned),
        {"run": config["id"], "images": trained.images, "model": config["model"]},
    )
    write_text(folder / "config.json", json.dumps(config, indent=2))
