"""From a picture to the latent that draws it most nearly; and pivotal tuning, which moves the generator the rest of the way.

The file is long because a projection needs a start, a schedule, a loss and a regulariser, and says where each is from.
"""

from __future__ import annotations

import copy
import json
import math
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit import data as library
from gankit import latent
from gankit.data.reading import decoding
from gankit.data.reading.files import read
from gankit.explore.judge import data_of
from gankit.explore.result import Result, blank
from gankit.explore.start import recipe_of
from gankit.metrics import vgg
from gankit.metrics.lpips import load as load_lpips
from gankit.recipe import Recipe, seeded
from gankit.runs.files import write_tensors, write_text
from gankit.runs.state import weights_of
from gankit.runs.trained import Trained

RAMP_UP, RAMP_DOWN, NOISE_END, NOISE = 0.05, 0.25, 0.75, 0.05  # StyleGAN2, appendix D: shares of the steps; first noise
NOISE_WEIGHT = 1e5  # alpha there, of the noise maps' regulariser


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
    """Projection: the latent whose picture is nearest to yours, the way there, and pivotal tuning.

    Adam with the schedule of Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020, appendix D:
    the step grows, stays and falls; noise added to w fades; noise maps learn too and are kept noise. The picture at the
    end, its distances, and in project.npz the latent, which other tools take as --latent-file.

    Args:
        image: a picture's file, fitted to the model's shape as the run's data were; without it `number` of `data`.
        number: which image of the data.
        data: the data that `number` is of; a part that was held out where there is one, else the run's own.
        space: z, w, or w+ with a style of its own for each layer; w+ for models with styles without it.
        steps: of Adam.
        restarts: starts that are tried side by side; the best is kept.
        lr: Adam's largest learning rate.
        label: the class, for models with labels; without it the starts try the classes in turn.
        seed: of starts and noise.
        lpips: whether LPIPS joins the pixels in the loss; auto where VGG's weights are and sides are 32 at least.
        noise_maps: let noise maps learn, for models with styles that have such.
        tune: steps of pivotal tuning (Roich et al., "Pivotal Tuning for Latent-based Editing of Real Images", 2021): the
            generator is fine-tuned around the latent; the run's own files stay as they are.
        tune_lr: its learning rate.
        tuned_outdir: folder for the tuned run, a new one; tuned-RUN beside where you are without it.
    """
    recipe = recipe_of(trained)
    latent.check(recipe, label)
    if steps < 1 or restarts < 1 or tune < 0 or not 0 < lr < math.inf:
        raise ValueError(
            f"--steps, --restarts and --lr must be above 0, --tune at least 0; found {steps}, {restarts}, {lr}, {tune}"
        )
    target, name = target_of(trained, image, number, data)
    distance = distance_of(recipe, lpips)
    folder = Path(tuned_outdir) if tuned_outdir else Path(f"tuned-{trained.folder.name}")
    if tune and folder.exists():
        raise ValueError(f"{folder} is there already; choose another with --tuned-outdir")
    space = space or ("w+" if latent.has_style(recipe) else "z")
    latent.space_of(recipe, space.removesuffix("+"))
    found = search(recipe, target, space, steps, restarts, lr, label, seed, distance, noise_maps and space != "z")
    numbers: dict[str, object] = {
        "image": name, "space": space, "loss": found.loss, **measured(found.picture, target),
        "losses of the restarts": found.losses, "seconds": round(found.seconds, 1), "lpips in the loss": distance.perceptual,
        "latent's length over the prior's": found.length,
    }  # fmt: skip
    arrays = {"latent": found.point.double().cpu().numpy(), "space": np.array(space)}
    arrays |= {} if found.label is None else {"label": found.label.cpu().numpy()}
    arrays |= {f"noise.{key}": value.cpu().numpy() for key, value in found.noise.items()}
    goal = target.cpu().float()
    cells, heads, say = [goal, *found.path[1 : -1 : max(1, len(found.path) // 5)][:4], found.picture], [], []
    heads = ["target", *[""] * (len(cells) - 2), f"in {space}"]
    if tune:
        tuned = pivot(recipe, found, target, tune, tune_lr, distance)
        after = latent.render(tuned, found.point, found.label)
        write_run(trained, tuned, folder)
        numbers |= {"tuned": measured(after, target) | {"steps": tune, "run": str(folder)}}
        cells.append(after)
        heads.append("tuned")
        say.append(f"the tuned model is the run {folder}; its file draws the picture: --latent-file project.npz")
    cells += [blank(goal), (cells[-1] - goal).abs() - 1]
    heads += ["", "error"]
    frames = [torch.cat([goal, one]) for one in found.path] + [torch.cat([goal, cells[-3]])] * 8
    said = f"{name}: PSNR {numbers['psnr']:.1f} dB, root mean square error {numbers['rmse']:.3f} of 2"
    return Result(torch.cat(cells), len(cells), heads, (), numbers, frames, 2, 16, arrays, [said, *say])


# The search ----------------------------------------------------------------------------------------------------------


@dataclass
class Found:
    """Where a search ended.

    Args:
        point: (1, ...) z or w.
        label: (1,) or None.
        picture: (1, C, H, W).
        loss, losses: of the best, and of all restarts.
        path: pictures on the way, (1, C, H, W) each.
        noise: the noise maps that were learnt, by the names of their buffers.
        length: root mean square of the latent over that of the prior's.
        seconds: that it took.
    """

    point: Tensor
    label: Tensor | None
    picture: Tensor
    loss: float
    losses: list[float]
    path: list[Tensor]
    noise: dict[str, Tensor]
    length: float
    seconds: float


class Distance:
    """How far pictures are from a target: means over pixels at all sizes down to 4, plus LPIPS where there is one."""

    def __init__(self, perceptual: Callable[[Tensor, Tensor], Tensor] | None):
        self.net, self.perceptual = perceptual, perceptual is not None

    def __call__(self, pictures: Tensor, target: Tensor) -> Tensor:
        """(N, C, H, W) and (1, C, H, W) to (N,)."""
        total, a, b = pictures.new_zeros(len(pictures)), pictures, target.expand_as(pictures)
        if self.net is not None:
            total = total + self.net(a.clamp(-1, 1), b)
        for level in range(16):
            total = total + (a - b).square().mean((1, 2, 3)) * 0.5**level
            if min(a.shape[2:]) < 8:
                break
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        return total


def distance_of(recipe: Recipe, lpips: str) -> Distance:
    """The loss, with LPIPS if it is wanted and can be had.

    Raises:
        ValueError: it is asked for and the model's images are too small or have other than 1 or 3 channels.
    """
    channels, *sides = recipe.spec.shape
    fits = min(sides) >= 32 and channels in (1, 3)
    if lpips == "yes" and (min(sides) < 16 or channels not in (1, 3)):
        raise ValueError(
            f"LPIPS takes sides of 16 and 1 or 3 channels; these images are {list(recipe.spec.shape)}: --lpips no"
        )
    if lpips == "no" or (lpips == "auto" and not (fits and vgg.here())):
        return Distance(None)
    try:
        net = load_lpips()
    except (OSError, ValueError):
        if lpips == "yes":
            raise
        return Distance(None)
    like = next(recipe.parameters())
    net = net.to(like.device, like.dtype)
    return Distance(lambda a, b: net(*(x.expand(-1, 3, -1, -1) for x in (a, b))))


def search(
    recipe: Recipe, target: Tensor, space: str, steps: int, restarts: int, lr: float, label: int | None, seed: int,
    distance: Distance, noise_maps: bool,
) -> Found:  # fmt: skip
    """The point nearest to a target (1, C, H, W): all restarts side by side; noise maps learn after that, for the best."""
    began = time.perf_counter()
    given = starts_of(recipe, restarts, label)
    seeds = range(seed * 100_000, seed * 100_000 + (restarts if given is None else len(given)))
    with torch.no_grad():
        z = latent.latents(recipe, seeds)
        many = latent.latents(recipe, range(10**6, 10**6 + 1000))
        if space == "z":
            first, width = z, float((many - many.mean(0)).square().mean().sqrt())
            least, most = many.amin(0), many.amax(0)
        else:
            rows = None if given is None else given[torch.arange(len(many), device=given.device) % len(given)]
            w = latent.to_w(recipe, many, rows)[:, 0]
            middle = w.mean(0) if given is None else torch.stack([w[rows == one].mean(0) for one in given])
            width = float((w - w.mean(0)).square().sum(1).mean().sqrt())
            first = torch.lerp(middle.expand(len(z), -1), latent.to_w(recipe, z, given)[:, 0], 0.5)
            first[0] = middle if given is None else middle[0]
            first = first[:, None] if space == "w" else first[:, None].repeat(1, recipe.num_ws, 1)

    def points(free: Tensor) -> Tensor:
        return free if space == "z" else free.expand(-1, recipe.num_ws, -1)

    def keep(free: Tensor) -> None:  # within what the prior reaches
        if space == "z":
            free.copy_(free.clamp(least, most))

    free, pictures, losses = descend(
        recipe, first, points, given, target, distance, steps, lr, NOISE * width, seed, {}, keep
    )
    best = int(losses.argmin())
    path, one = [step[best : best + 1] for step in pictures], None if given is None else given[best : best + 1]
    free, value, noise = free[best : best + 1], float(losses[best]), {}
    if noise_maps and (maps := maps_of(recipe)):
        learnt = {name: one.clone() for name, one in maps.items()}
        free, more, last = descend(recipe, free, points, one, target, distance, steps, lr / 2, 0.0, seed, learnt, keep)
        path, value, noise = path + more, float(last[0]), learnt
    point = points(free).contiguous()
    reached = float(point.square().mean().sqrt() / (many if space == "z" else w).square().mean().sqrt())
    with _lent(recipe, noise):
        picture = latent.render(recipe, point, one)
    return Found(
        point, one, picture, value, losses.tolist(), [*path, picture], noise, reached, time.perf_counter() - began
    )


def descend(
    recipe: Recipe, first: Tensor, points: Callable[[Tensor], Tensor], given: Tensor | None, target: Tensor,
    distance: Distance, steps: int, lr: float, noise: float, seed: int, maps: dict[str, Tensor], keep: Callable[[Tensor], None],
) -> tuple[Tensor, list[Tensor], Tensor]:  # fmt: skip
    """Adam from the first points: the points, pictures on the way, and the losses (N,) at the end."""
    free = first.clone().requires_grad_()
    learning = [free, *(one.requires_grad_() for one in maps.values())]
    adam = torch.optim.Adam(learning, lr, betas=(0.9, 0.999))
    shown: list[Tensor] = []
    with torch.enable_grad(), _lent(recipe, maps):
        for step in range(steps):
            done = step / steps
            adam.param_groups[0]["lr"] = (
                lr * smooth(min(1.0, (1 - done) / RAMP_DOWN)) * min(1.0, (step + 1) / steps / RAMP_UP)
            )
            with seeded(seed, step):
                shake = torch.randn(first.shape).to(first) * noise * max(0.0, 1 - done / NOISE_END) ** 2
            pictures = latent.generate(recipe, points(free + shake), given)
            loss = distance(pictures, target).sum() + NOISE_WEIGHT * sum(
                (correlation(one) for one in maps.values()), free.new_zeros(())
            )
            adam.zero_grad()
            loss.backward()
            adam.step()
            with torch.no_grad():
                keep(free)
                for one in maps.values():
                    one.sub_(one.mean()).div_(one.square().mean().sqrt())
            if step % max(1, steps // 40) == 0:
                shown.append(pictures.detach().float().cpu())
        with torch.no_grad():
            losses = distance(latent.generate(recipe, points(free), given), target)
    for one in maps.values():
        one.requires_grad_(False)
    return free.detach(), shown, losses


def smooth(share: float) -> float:
    """Half a cosine from 0 to 1."""
    return 0.5 - 0.5 * math.cos(share * math.pi)


def correlation(noise: Tensor) -> Tensor:
    """How much neighbours in a noise map agree, at all sizes down to 8: squared means of products with shifted selves."""
    total, x = noise.new_zeros(()), noise.reshape(1, 1, *noise.shape[-2:])
    while True:
        total = total + (x * x.roll(1, 2)).mean().square() + (x * x.roll(1, 3)).mean().square()
        if min(x.shape[2:]) <= 8:
            return total
        x = F.avg_pool2d(x, 2) * 2  # twice the mean of four keeps the variance


def maps_of(recipe: Recipe) -> dict[str, Tensor]:
    """The noise maps that samples are drawn with: buffers called `noise` or `fixed`, by their names."""
    return {name: b for name, b in recipe.named_buffers() if name.rsplit(".")[-1] in ("noise", "fixed") and b.ndim >= 2}


@contextmanager
def _lent(recipe: Recipe, maps: dict[str, Tensor]) -> Iterator[None]:
    """Put other tensors in the place of buffers inside the block."""
    own = {}
    for name, tensor in maps.items():
        owner, _, leaf = name.rpartition(".")
        module: nn.Module = recipe.get_submodule(owner)
        own[name] = (module, leaf, module._buffers[leaf])
        module._buffers[leaf] = tensor
    try:
        yield
    finally:
        for module, leaf, tensor in own.values():
            module._buffers[leaf] = tensor


def starts_of(recipe: Recipe, restarts: int, label: int | None) -> Tensor | None:
    """(N,) labels of the starts: the one that is asked for, or classes in turn, each once at least; None without labels."""
    if not latent.takes_label(recipe):
        return None
    count = restarts if label is not None else max(restarts, min(recipe.spec.num_classes, 32))
    return latent.labels(recipe, range(count), label)


def measured(picture: Tensor, target: Tensor) -> dict[str, float]:
    """Root mean square error of pictures in [-1, 1], and the PSNR in dB."""
    error = float((picture.clamp(-1, 1) - target.cpu().float()).square().mean())
    return {"rmse": error**0.5, "psnr": 10 * math.log10(4 / max(error, 1e-12))}


def target_of(trained: Trained, image: str, number: int, data: str) -> tuple[Tensor, str]:
    """The picture (1, C, H, W) to look for, where the model is, and its name.

    Raises:
        ValueError: there is no such picture, or it cannot be read.
    """
    like, settings = next(trained.recipe.parameters()), trained.config["settings"]
    if image:
        path = Path(image).expanduser()
        if not path.exists():
            raise ValueError(f"there is no picture {image}; give a PNG, JPEG or WebP, or --number of the data")
        try:
            alpha = settings.get("alpha", "white")
            pixels = decoding.decode(read(path), trained.recipe.spec.shape, settings.get("fit", "crop"), alpha)
        except decoding.Unusable as error:
            raise ValueError(f"{image} cannot be used: {error}") from None
        return library.normalise(torch.from_numpy(pixels)[None]).to(like), path.name
    own = settings["data"]
    unseen = f"{own}:test"
    source = data_of(trained, data or (unseen if unseen in library.BUILTIN else own))
    if not 0 <= number < source.count:
        raise ValueError(f"--number is {number}; {source.name} has images 0 to {source.count - 1}")
    return source.read(np.array([number]))[0].to(like), f"{source.data or source.name} {number}"


# Pivotal tuning ------------------------------------------------------------------------------------------------------


def pivot(recipe: Recipe, found: Found, target: Tensor, steps: int, lr: float, distance: Distance) -> Recipe:
    """A copy of the model whose generator was fine-tuned so that the point found draws the target."""
    with _lent(recipe, found.noise):  # the copy keeps them
        tuned = copy.deepcopy(recipe).requires_grad_(True).eval()
    with torch.enable_grad():
        drawn = latent.generate(tuned, found.point, found.label)
        named = list(tuned.parameters())
        slopes = torch.autograd.grad(drawn.sum(), named, allow_unused=True)
        adam = torch.optim.Adam([p for p, slope in zip(named, slopes) if slope is not None], lr)
        for _ in range(steps):
            loss = distance(latent.generate(tuned, found.point, found.label), target).sum()
            adam.zero_grad()
            loss.backward()
            adam.step()
    return tuned.requires_grad_(False)


def write_run(trained: Trained, tuned: Recipe, folder: Path) -> None:
    """A run folder that holds the tuned model: it samples and is explored as any other, and cannot be resumed."""
    folder.mkdir(parents=True)
    config = trained.config | {
        "id": uuid.uuid4().hex,
        "tuned": {"from": str(trained.folder), "id": trained.config["id"]},
    }
    about = {"run": config["id"], "images": trained.images, "model": config["model"]}
    write_tensors(folder / "weights.safetensors", weights_of(tuned), about)
    write_text(folder / "config.json", json.dumps(config, indent=2))
