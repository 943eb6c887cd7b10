"""Applications of a generator of one image: samples of any size, super-resolution, painting, editing, animation.

Shaham, Dekel & Michaeli, "SinGAN: Learning a Generative Model from a Single Natural Image", ICCV 2019, section 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit import data as library
from gankit.data.reading import decoding, files
from gankit.explore.inputs import Seeds, data_of, read_image
from gankit.explore.result import Result, blank
from gankit.recipe import Spec, can, seeded
from gankit.runs.trained import Trained

Size = tuple[int, int]
HARMONISE, EDIT = 7, 20  # pixels by which a mask is dilated before its edge is blurred, as in the authors' code


class Pyramid(Protocol):
    """What the tools need of a model of one image."""

    sizes: list[Size]
    z_star: Tensor
    spec: Spec

    def maps(self, scale: int, size: Size) -> tuple[int, ...]: ...
    def rebuilt(self, scale: int) -> Tensor: ...
    def at(self, scale: int, noise: Tensor, below: Tensor, size: Size) -> Tensor: ...
    def draw(
        self, noise: Callable[[int], Tensor], sizes: Sequence[Size], start: int = 0, below: Tensor | None = None
    ) -> Tensor: ...


def sizes(
    trained: Trained, *, seeds: Seeds = Seeds(range(3)), start: int = 0, shapes: str = "1x1,0.6x1.6,1.5x1"
) -> Result:
    """Random samples of any height and width beside the training image; scales below `start` are the training image's.

    Args:
        seeds: a row each.
        start: the first scale with random noise; the scales below it reconstruct the training image.
        shapes: heights and widths relative to the training image, with commas between.
    """
    recipe = pyramid_of(trained)
    first = check_scale(recipe, start)
    factors = [parse_shape(part) for part in shapes.split(",")]
    rows = [[sample_at(recipe, seed, first, factor) for factor in factors] for seed in seeds]
    numbers = {"sizes": [list(x.shape[2:]) for x in rows[0]], "start": first}
    heads = [f"{h:g} x {w:g}" for h, w in factors]
    say = [f"{len(recipe.sizes)} scales, from {dims(recipe.sizes[0])} to {dims(recipe.sizes[-1])}"]
    try:
        photo = data_of(trained).select(1)[0]
        rows = [[photo if i == 0 else blank(photo), *row] for i, row in enumerate(rows)]
        heads = ["trained on", *heads]
    except (OSError, ValueError) as error:
        say.append(f"without the training image: {error}")
    height, width = (max(x.shape[d] for row in rows for x in row) for d in (2, 3))
    cells = [F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2]), value=math.nan) for row in rows for x in row]
    return Result(torch.cat(cells), len(heads), heads, [f"seed {seed}" for seed in seeds], numbers, say=say)


def enlarge(trained: Trained, *, factor: float = 4.0, step: float = 0.5 ** (1 / 3)) -> Result:
    """Super-resolution: the last scale is applied repeatedly to its enlarged output; compared with bicubic.

    It works best with weights trained with `--preset superres`.

    Args:
        factor: enlargement of height and width.
        step: approximate size ratio between two applications; 0.794 in the paper.
    """
    recipe = pyramid_of(trained)
    if not 1 < factor <= 16 or not 0 < step < 1:
        raise ValueError(f"--factor is above 1 and 16 at most, --step within 0 and 1; found {factor} and {step}")
    last, (h, w) = len(recipe.sizes) - 1, recipe.sizes[-1]
    times = max(1, round(math.log(1 / factor) / math.log(step)))
    with torch.no_grad(), seeded(0):
        image = recipe.rebuilt(last).clamp(-1, 1)
        enlarged = image
        for i in range(1, times + 1):
            scale = factor ** (i / times)
            size = round(h * scale), round(w * scale)
            enlarged = recipe.at(last, torch.randn(1, *recipe.maps(last, size)).to(image), enlarged, size).clamp(-1, 1)
    bicubic = F.interpolate(image, enlarged.shape[2:], mode="bicubic").clamp(-1, 1)
    roughness = {name: float(x.diff(dim=3).abs().mean()) for name, x in (("bicubic", bicubic), ("singan", enlarged))}
    numbers: dict[str, object] = {
        "from": [h, w],
        "to": list(enlarged.shape[2:]),
        "mean difference of neighbours": roughness,
    }
    return Result(torch.cat([bicubic, enlarged]).float().cpu(), 2, ["bicubic", "singan"], (), numbers)


def paint(trained: Trained, *, image: str = "", starts: str = "1,2", seed: int = 0) -> Result:
    """Paint to image: a rough painting gets the textures of the training image.

    Args:
        image: the painting, an image file; it is resized to the training image's height and width.
        starts: scales to inject it at, one result for each; a low scale changes it more.
        seed: of the noise.
    """
    recipe = pyramid_of(trained)
    painting = read_for(recipe, image, reading_of(trained))
    scales = parse_scales(recipe, starts)
    painted = [inject(recipe, painting, first, seed) for first in scales]
    cells = torch.cat([painting, *painted]).float().cpu()
    return Result(cells, 1 + len(painted), ["painted", *[f"from scale {i}" for i in scales]], (), {"image": image})


def harmonise(trained: Trained, *, image: str = "", mask: str = "", starts: str = "2,3", seed: int = 0) -> Result:
    """Harmonisation: a pasted object takes on the colours and textures of the image; the rest stays unchanged.

    Args:
        image: the image with a pasted object, an image file.
        mask: white where the object is, an image file of the same size.
        starts: scales to inject it at, an image each.
        seed: of the noise.
    """
    return _blended(trained, image, mask, starts, seed, HARMONISE, "pasted")


def edit(trained: Trained, *, image: str = "", mask: str = "", starts: str = "2,3", seed: int = 0) -> Result:
    """Editing: image regions that were moved or copied are blended with their surroundings.

    Args:
        image: the edited image, an image file.
        mask: white where it was edited, an image file of the same size.
        starts: scales to inject it at, an image each.
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
    """Animation from a single image: a random walk of the noise around z*.

    Weights trained with `--preset animation` let the borders move, too.

    z(t+1) = alpha z* + (1 - alpha) (z(t) + d), d = beta (z(t) - z(t-1)) + (1 - beta) u(t), u(t) ~ N(0, 1).

    Args:
        frames: number of frames.
        start: the first scale whose noise changes; a higher one moves less.
        alpha: how strongly frames are pulled to the training image, 0 to 1.
        beta: smoothness of the motion, 0 to 1.
        seed: of the noise.
        fps: frames per second.
    """
    recipe = pyramid_of(trained)
    first = check_scale(recipe, start)
    if frames < 2 or fps < 1 or not 0 <= alpha <= 1 or not 0 <= beta <= 1:
        raise ValueError(
            "--frames is 2 at least, --fps 1, --alpha and --beta within 0 and 1; "
            f"found {frames}, {fps}, {alpha} and {beta}"
        )
    with torch.no_grad(), seeded(seed):
        still = [recipe.z_star] + [
            recipe.z_star.new_zeros(1, *recipe.maps(i, s)) for i, s in enumerate(recipe.sizes) if i
        ]
        before = list(still)
        now = [0.95 * z + 0.05 * torch.randn(z.shape).to(z) for z in still]
        images = []
        for _ in range(frames):
            moving = [z if i >= first else rest for i, (z, rest) in enumerate(zip(now, still))]
            images.append(recipe.draw(moving.__getitem__, recipe.sizes).clamp(-1, 1).float().cpu())
            steps = [beta * (z - old) + (1 - beta) * torch.randn(z.shape).to(z) for z, old in zip(now, before)]
            before, now = now, [alpha * rest + (1 - alpha) * (z + d) for rest, z, d in zip(still, now, steps)]
    change = torch.stack([(b - a).abs().mean() for a, b in zip(images, images[1:])]).mean()
    cells = images[:: max(1, frames // 6)][:6]
    numbers: dict[str, object] = {"frames": frames, "start": first, "mean change from frame to frame": float(change)}
    return Result(torch.cat(cells), len(cells), (), (), numbers, frames=images, frame_columns=1, fps=fps)


# Shared by the tools -------------------------------------------------------------------------------------------------


def pyramid_of(trained: Trained) -> Pyramid:
    """The run's model.

    Raises:
        ValueError: it is not a model of one image.
    """
    if not can(trained.recipe, "rebuilt"):
        raise ValueError(
            f"this tool is for a model of one image, and {trained.config['model']} is not: "
            "gankit train singan --data photo.jpg"
        )
    return cast(Pyramid, trained.recipe)


def check_scale(recipe: Pyramid, number: int) -> int:
    """The number of a scale. Raises ValueError: there is no such scale."""
    if not 0 <= number < len(recipe.sizes):
        raise ValueError(
            f"there is no scale {number}; this model has scales 0, the coarsest, to {len(recipe.sizes) - 1}"
        )
    return number


def parse_scales(recipe: Pyramid, text: str) -> list[int]:
    """Scales above 0, with commas between. Raises ValueError: there are no such scales."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or not all(0 < int(part) < len(recipe.sizes) for part in parts):
        raise ValueError(f"{text!r} are no scales; write numbers within 1-{len(recipe.sizes) - 1} with commas between")
    return [int(part) for part in parts]


def parse_shape(text: str) -> tuple[float, float]:
    """Factors of height and width, like 1.5x1. Raises ValueError: the text is something else, or out of range."""
    try:
        h, w = (float(part) for part in text.strip().split("x"))
    except ValueError:
        raise ValueError(f"{text!r} is no shape; write factors of the height and the width like 1x1.5") from None
    if not 0.25 <= min(h, w) <= max(h, w) <= 8:
        raise ValueError(f"{text!r} is too small or too large; factors are 0.25 to 8")
    return h, w


def dims(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def sample_at(recipe: Pyramid, seed: int, first: int, factor: tuple[float, float]) -> Tensor:
    """(1, C, H, W) with random noise from scale `first` on, at factors of the training image's height and width."""
    scaled = [(max(11, round(h * factor[0])), max(11, round(w * factor[1]))) for h, w in recipe.sizes]
    with torch.no_grad(), seeded(seed):
        below = recipe.rebuilt(first - 1) if first else None
        return draw_from(recipe, first, below, scaled).float().cpu()


def draw_from(recipe: Pyramid, first: int, below: Tensor | None, sizes: Sequence[Size]) -> Tensor:
    """(1, C, H, W) with random noise from scale `first` on, at these sizes of the scales."""
    image = recipe.draw(lambda i: torch.randn(1, *recipe.maps(i, sizes[i])).to(recipe.z_star), sizes, first, below)
    return image.clamp(-1, 1)


def inject(recipe: Pyramid, image: Tensor, first: int, seed: int) -> Tensor:
    """(1, C, H, W) downsampled, injected at scale `first`, and generated upwards from there."""
    small = F.interpolate(image, recipe.sizes[first - 1], mode="bicubic", antialias=True)
    with torch.no_grad(), seeded(seed):
        return draw_from(recipe, first, small, recipe.sizes)


def reading_of(trained: Trained) -> library.Reading:
    """How an image is read, as the one that the model learned from."""
    return library.reading_of(trained.config["settings"])


def read_for(recipe: Pyramid, file: str, how: library.Reading | None = None) -> Tensor:
    """An image file as (1, C, H, W) of the model's finest scale."""
    missing = "this tool takes an image, --image FILE; harmonise and edit take a --mask FILE, too"
    shape = (recipe.spec.channels, *recipe.sizes[-1])
    how = replace(how or library.Reading(), fit="squash", alpha="white")
    return read_image(file, shape, how, missing).to(recipe.z_star)


def size_of(file: str) -> Size:
    """Height and width of an image file."""
    header = decoding.probe(files.read(Path(file).expanduser()))
    return header.height, header.width


def _blended(trained: Trained, image: str, mask: str, starts: str, seed: int, reach: int, title: str) -> Result:
    recipe = pyramid_of(trained)
    edited, mask_image = read_for(recipe, image, reading_of(trained)), read_for(recipe, mask)
    size, mask_size = size_of(image), size_of(mask)
    if size != mask_size:
        raise ValueError(
            f"{image} is {dims(size)} (height x width) and its mask {dims(mask_size)}; they must be of one size"
        )
    soft = softened(mask_image.mean(1, keepdim=True) > 0, reach)
    scales = parse_scales(recipe, starts)
    blended = [edited * (1 - soft) + inject(recipe, edited, first, seed) * soft for first in scales]
    shown_mask = (soft * 2 - 1).expand_as(edited)
    cells = torch.cat([edited, shown_mask, *blended]).float().cpu()
    heads = [title, "where", *[f"from scale {i}" for i in scales]]
    return Result(cells, len(cells), heads, (), {"image": image, "mask": mask, "share": float(soft.mean())})


def softened(mask: Tensor, reach: int) -> Tensor:
    """(1, 1, H, W) bool to weights 0 to 1: dilated by a disc of radius `reach`, then blurred by a Gaussian of 5 px."""
    span = torch.arange(-reach, reach + 1)
    disc = (span[:, None] ** 2 + span**2 <= reach**2).float()[None, None]
    wide = (F.conv2d(F.pad(mask.float(), [reach] * 4), disc) > 0.5).float()
    taps = torch.exp(-0.5 * (torch.arange(-15, 16) / 5) ** 2)
    taps = taps / taps.sum()
    rows = F.conv2d(F.pad(wide, [15, 15, 0, 0], mode="replicate"), taps[None, None, None])
    return F.conv2d(F.pad(rows, [0, 0, 15, 15], mode="replicate"), taps[None, None, :, None]).clamp(0, 1)
