"""What a generator of one image is for: samples of any size, super-resolution, pictures from daubs, edits, animation.

Shaham, Dekel & Michaeli, "SinGAN: Learning a Generative Model from a Single Natural Image", ICCV 2019, section 4.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit import data as library
from gankit.data.reading import decoding
from gankit.data.reading.files import read as content
from gankit.explore.result import Result
from gankit.explore.start import Seeds
from gankit.recipe import seeded
from gankit.runs.trained import Trained

Size = tuple[int, int]
HARMONISE, EDIT = 7, 20  # by how many pixels a mask is widened before its edge is softened: the authors' code


class Pyramid(Protocol):
    """What the tools need of a model of one image: `sizes`, `maps`, `draw`, `at`, `rebuilt`, `z_star`, `spec`."""

    sizes: list[Size]
    z_star: Tensor


def sizes(
    trained: Trained, *, seeds: Seeds = Seeds(range(3)), start: int = 0, shapes: str = "1x1,0.6x1.6,1.5x1"
) -> Result:
    """Random samples of any height and width, from any scale up: what is coarser than that stays as in the image.

    Args:
        seeds: a row for each.
        start: the first scale that draws from noise; below it the image's own reconstruction is taken.
        shapes: heights and widths in parts of the image's own, with commas between.
    """
    recipe = pyramid(trained)
    first = scale(recipe, start)
    factors = [parsed(part) for part in shapes.split(",")]
    rows = [[sample(recipe, seed, first, factor) for factor in factors] for seed in seeds]
    most = [max(x.shape[d] for row in rows for x in row) for d in (2, 3)]
    cells = torch.cat(
        [F.pad(x, (0, most[1] - x.shape[3], 0, most[0] - x.shape[2]), value=float("nan")) for row in rows for x in row]
    )
    return Result(
        cells, len(factors), [f"{h:g} x {w:g}" for h, w in factors], [f"seed {seed}" for seed in seeds],
        {"sizes": [list(x.shape[2:]) for x in rows[0]], "start": first},
        say=[f"{len(recipe.sizes)} scales, from {dims(recipe.sizes[0])} to {dims(recipe.sizes[-1])}"],
    )  # fmt: skip


def enlarge(trained: Trained, *, factor: float = 4.0, step: float = 0.5 ** (1 / 3)) -> Result:
    """Super-resolution: the last scale is applied again and again to its own picture, a little larger each time.

    The best weights for it are those of `--preset superres`. Beside it stands bicubic enlargement.

    Args:
        factor: how many times the image's height and width.
        step: about what each application divides the size by; 0.794 in the paper.
    """
    recipe = pyramid(trained)
    if not 1 < factor <= 16 or not 0 < step < 1:
        raise ValueError(f"--factor is above 1 and 16 at most, --step within 0 and 1; found {factor} and {step}")
    last, (h, w) = len(recipe.sizes) - 1, recipe.sizes[-1]
    times = max(1, round(math.log(1 / factor) / math.log(step)))
    with torch.no_grad(), seeded(0):
        image = recipe.rebuilt(last).clamp(-1, 1)
        drawn = image
        for i in range(1, times + 1):
            size = tuple(round(side * factor ** (i / times)) for side in (h, w))
            drawn = recipe.at(last, torch.randn(1, *recipe.maps(last, size)).to(image), drawn, size).clamp(-1, 1)
    plain = F.interpolate(image, drawn.shape[2:], mode="bicubic").clamp(-1, 1)
    rough = [float(x.diff(dim=3).abs().mean()) for x in (plain, drawn)]
    return Result(
        torch.cat([plain, drawn]).float().cpu(), 2, ["bicubic", "singan"], (),
        {"from": [h, w], "to": list(drawn.shape[2:]), "mean difference of neighbours": dict(zip(("bicubic", "singan"), rough))},
    )  # fmt: skip


def paint(trained: Trained, *, image: str = "", starts: str = "1,2", seed: int = 0) -> Result:
    """Paint to image: a daub of coloured areas becomes a picture with the image's textures.

    Args:
        image: the daub, a picture file; it is fitted to the image's height and width.
        starts: scales at which it goes in, a picture for each: the lower, the freer.
        seed: of the noise.
    """
    recipe = pyramid(trained)
    daub = read(image, recipe)
    drawn = [inject(recipe, daub, first, seed) for first in scales(recipe, starts)]
    return Result(
        torch.cat([daub, *drawn]).float().cpu(),
        1 + len(drawn),
        ["painted", *titles(recipe, starts)],
        (),
        {"image": image},
    )


def harmonise(trained: Trained, *, image: str = "", mask: str = "", starts: str = "2,3", seed: int = 0) -> Result:
    """Harmonisation: what was pasted into the image takes on its colours and textures; the rest stays as it is.

    Args:
        image: the image with something pasted into it, a picture file.
        mask: white where that is, a picture file of the same size.
        starts: scales at which it goes in, a picture for each.
        seed: of the noise.
    """
    return _blended(trained, image, mask, starts, seed, HARMONISE, "pasted")


def edit(trained: Trained, *, image: str = "", mask: str = "", starts: str = "2,3", seed: int = 0) -> Result:
    """Editing: parts that were copied about in the image are joined with what is around them.

    Args:
        image: the image with parts moved, a picture file.
        mask: white where they are, a picture file of the same size.
        starts: scales at which it goes in, a picture for each.
        seed: of the noise.
    """
    return _blended(trained, image, mask, starts, seed, EDIT, "edited")


def animate(
    trained: Trained,
    *,
    frames: int = 60,
    start: int = 1,
    alpha: float = 0.1,
    beta: float = 0.9,
    seed: int = 0,
    fps: int = 10,
) -> Result:
    """Animation of a still: noise wanders from z*, and back to it. Weights of `--preset animation` have no still borders.

    z(t+1) = alpha z* + (1 - alpha) (z(t) + d), d = beta (z(t) - z(t-1)) + (1 - beta) u(t), u(t) ~ N(0, 1).

    Args:
        frames: how many.
        start: the first scale whose noise wanders; the higher, the less moves.
        alpha: how near to the still it stays, 0 to 1.
        beta: how smoothly it moves, 0 to 1.
        seed: of the noise.
        fps: frames a second.
    """
    recipe = pyramid(trained)
    first = scale(recipe, start)
    if frames < 2 or fps < 1 or not 0 <= alpha <= 1 or not 0 <= beta <= 1:
        raise ValueError(
            f"--frames is 2 at least, --fps 1, --alpha and --beta within 0 and 1; found {frames}, {fps}, {alpha} and {beta}"
        )
    with torch.no_grad(), seeded(seed):
        still = [
            recipe.z_star if i == 0 else recipe.z_star.new_zeros(1, *recipe.maps(i, s))
            for i, s in enumerate(recipe.sizes)
        ]
        before = list(still)
        now = [0.95 * z + 0.05 * torch.randn(z.shape).to(z) for z in still]
        shown = []
        for _ in range(frames):
            moving = [z if i >= first else rest for i, (z, rest) in enumerate(zip(now, still))]
            shown.append(recipe.draw(moving.__getitem__, recipe.sizes).clamp(-1, 1).float().cpu())
            steps = [beta * (z - old) + (1 - beta) * torch.randn(z.shape).to(z) for z, old in zip(now, before)]
            before, now = now, [alpha * rest + (1 - alpha) * (z + d) for rest, z, d in zip(still, now, steps)]
    change = torch.stack([(b - a).abs().mean() for a, b in zip(shown, shown[1:])]).mean()
    some = shown[:: max(1, frames // 6)][:6]
    return Result(
        torch.cat(some), len(some), (), (), {"frames": frames, "start": first, "mean change from frame to frame": float(change)},
        frames=shown, frame_columns=1, fps=fps,
    )  # fmt: skip


# What they share -----------------------------------------------------------------------------------------------------


def pyramid(trained: Trained) -> Pyramid:
    """The model. Raises ValueError: it is none of one image."""
    if not hasattr(trained.recipe, "rebuilt"):
        raise ValueError(
            f"this tool is for a model of one image; {trained.config['model']} is none: gankit train singan --data photo.jpg"
        )
    return trained.recipe


def scale(recipe: Pyramid, number: int) -> int:
    if not 0 <= number < len(recipe.sizes):
        raise ValueError(
            f"there is no scale {number}; this model has scales 0, the coarsest, to {len(recipe.sizes) - 1}"
        )
    return number


def scales(recipe: Pyramid, text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or not all(0 < int(part) < len(recipe.sizes) for part in parts):
        raise ValueError(f"{text!r} are no scales; write numbers within 1-{len(recipe.sizes) - 1} with commas between")
    return [int(part) for part in parts]


def titles(recipe: Pyramid, text: str) -> list[str]:
    return [f"from scale {i}" for i in scales(recipe, text)]


def parsed(text: str) -> tuple[float, float]:
    """Parts of height and width as 1.5x1."""
    try:
        h, w = (float(part) for part in text.strip().split("x"))
    except ValueError:
        raise ValueError(f"{text!r} is no shape; write parts of the height and the width like 1x1.5") from None
    if not 0.25 <= min(h, w) <= max(h, w) <= 8:
        raise ValueError(f"{text!r} is too small or too large; parts are 0.25 to 8")
    return h, w


def dims(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def sample(recipe: Pyramid, seed: int, first: int, factor: tuple[float, float] = (1.0, 1.0)) -> Tensor:
    """(1, C, H, W) drawn from noise from scale `first` on, at parts of the image's own height and width."""
    drawn = [tuple(max(11, round(side * f)) for side, f in zip(size, factor)) for size in recipe.sizes]
    with torch.no_grad(), seeded(seed):
        below = recipe.rebuilt(first - 1) if first else None
        return (
            recipe.draw(lambda i: torch.randn(1, *recipe.maps(i, drawn[i])).to(recipe.z_star), drawn, first, below)
            .clamp(-1, 1)
            .float()
            .cpu()
        )


def inject(recipe: Pyramid, image: Tensor, first: int, seed: int) -> Tensor:
    """(1, C, H, W) made coarser, handed to scale `first`, and drawn on from there."""
    small = F.interpolate(image, recipe.sizes[first - 1], mode="bicubic", antialias=True)
    with torch.no_grad(), seeded(seed):
        return recipe.draw(
            lambda i: torch.randn(1, *recipe.maps(i, recipe.sizes[i])).to(image), recipe.sizes, first, small
        ).clamp(-1, 1)


def read(path: str, recipe: Pyramid) -> Tensor:
    """A picture file as (1, C, H, W) of the model's finest scale."""
    file = Path(path).expanduser()
    if not path or not file.exists():
        raise ValueError(
            f"there is no file {path}"
            if path
            else "this tool takes a picture, --image FILE, and harmonise and edit a --mask FILE, too"
        )
    try:
        pixels = decoding.decode(content(file), (recipe.spec.channels, *recipe.sizes[-1]), "squash", "white")
    except decoding.Unusable as error:
        raise ValueError(f"{path}: {error}") from error
    return library.normalise(torch.from_numpy(pixels[None])).to(recipe.z_star)


def _blended(trained: Trained, image: str, mask: str, starts: str, seed: int, reach: int, title: str) -> Result:
    recipe = pyramid(trained)
    given = read(image, recipe)
    if (sides := [header(path) for path in (image, mask)])[0] != sides[1]:
        raise ValueError(
            f"{image} is {dims(sides[0])} (height x width) and its mask {dims(sides[1])}; they must be of one size"
        )
    soft = softened(read(mask, recipe).mean(1, keepdim=True) > 0, reach)
    drawn = [given * (1 - soft) + inject(recipe, given, first, seed) * soft for first in scales(recipe, starts)]
    shown = (soft * 2 - 1).expand_as(given)
    cells = torch.cat([given, shown, *drawn]).float().cpu()
    return Result(
        cells,
        len(cells),
        [title, "where", *titles(recipe, starts)],
        (),
        {"image": image, "mask": mask, "share": float(soft.mean())},
    )


def header(path: str) -> Size:
    found = decoding.probe(content(Path(path).expanduser()))
    return found.height, found.width


def softened(mask: Tensor, reach: int, std: float = 5.0) -> Tensor:
    """(1, 1, H, W) bool to weights 0 to 1: widened by a disc of radius `reach`, then softened by a Gaussian."""
    span = torch.arange(-reach, reach + 1)
    disc = (span[:, None] ** 2 + span**2 <= reach**2).float()[None, None]
    wide = (F.conv2d(F.pad(mask.float(), [reach] * 4), disc) > 0.5).float()
    taps = torch.exp(-0.5 * (torch.arange(-15, 16) / std) ** 2)
    taps = taps / taps.sum()
    rows = F.conv2d(F.pad(wide, [15, 15, 0, 0], mode="replicate"), taps[None, None, None])
    return F.conv2d(F.pad(rows, [0, 0, 15, 15], mode="replicate"), taps[None, None, :, None]).clamp(0, 1)
