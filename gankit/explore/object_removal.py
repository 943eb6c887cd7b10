"""Removing an object from samples by dropping the feature maps of G that generate it.

Radford, Metz & Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
Networks", ICLR 2016, section 6.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit import latent
from gankit.data.builtin.shapes import COLOURS
from gankit.explore.inputs import Latents, Seeds, generator_of, latents_of, read_table
from gankit.explore.result import Result, blank
from gankit.recipe import Recipe
from gankit.runs.trained import Trained


def share_left(before: Tensor, after: Tensor, colour: str) -> float:
    """Number of pixels of a colour in (N, 3, H, W) images after a change, divided by the number before it."""
    return float(mask_of_colour(after, colour).sum() / mask_of_colour(before, colour).sum().clamp(min=1))


def drop(
    trained: Trained,
    *,
    thing: str = "red",
    boxes: str = "",
    seeds: Seeds = Seeds(range(16)),
    n: int = 500,
    layer: int = -2,
    label: int | None = None,
) -> Result:
    """Remove an object by dropping feature maps (section 6.3 and fig. 6): samples before and, below them, after.

    A logistic regression predicts from the maps before one of the last convolutions, at each place, whether it is
    inside the object. All maps with a positive weight are then set to 0 everywhere, for other samples.

    Args:
        thing: what to remove, for runs on `shapes`: a colour, red, green, blue, yellow, magenta or white.
        boxes: where the object is, for other data: a .csv with lines seed,left,top,right,bottom in pixels.
        seeds: samples to show, in two rows, each without and with the change.
        n: number of samples that the regression is fitted to.
        layer: the convolution, counted from the last: -1, the paper's, drops the maps before the last one. In small
            models these are little more than colours; -2 removes whole objects.
        label: the class; default: the classes in turn, by seed.
    """
    recipe = generator_of(trained)
    name = layer_name(trained, layer)
    if boxes:
        fitted, masks, thing = read_boxes(recipe, boxes, label)
    elif thing in COLOURS and recipe.spec.channels == 3:
        fitted = latents_of(trained, range(10_000, 10_000 + n), label)
        masks = mask_of_colour(fitted.render(recipe), thing)
    else:
        raise ValueError(
            f"the position of {thing!r} is unknown: --thing takes {', '.join(COLOURS)} in colour images, "
            "other objects need --boxes FILE.csv"
        )
    dropped, accuracy = maps_of_object(layer_inputs(recipe, name, fitted), masks, thing)
    shown, fresh = latents_of(trained, seeds, label), latents_of(trained, range(50_000, 50_300), label)
    fresh_before, before = fresh.render(recipe), shown.render(recipe)
    with without_maps(recipe, name, dropped):
        fresh_after, after = fresh.render(recipe), shown.render(recipe)
    numbers: dict[str, object] = {
        "layer": name, "maps": int(len(dropped)), "dropped": int(dropped.sum()),
        "accuracy of the regression on its places": accuracy,
    }  # fmt: skip
    say = [f"{int(dropped.sum())} of {len(dropped)} maps before {name} were dropped"]
    if not boxes:
        left = {c: share_left(fresh_before, fresh_after, c) for c in COLOURS}
        numbers["pixels of each colour, after over before"] = left
        others = np.mean([value for c, value in left.items() if c != thing])
        say.append(
            f"of the pixels that were {thing} {left[thing]:.0%} are left, of the other colours {others:.0%} on average"
        )
    columns = -(-len(before) // 2)
    starts = range(0, len(before), columns)
    rows = [images[i : i + columns] for i in starts for images in (before, after)]
    cells = [cell for row in rows for cell in (row, blank(row, columns - len(row)))]
    return Result(torch.cat(cells), columns, (), ["before", "after"] * len(starts), numbers, say=say)


def maps_of_object(maps: Tensor, masks: Tensor, thing: str) -> tuple[Tensor, float]:
    """(C,) bool, the maps that predict the object, and the accuracy of the regression.

    Args:
        maps: (N, C, H, W) feature maps.
        masks: (N, H', W') bool, where the object is.
        thing: its name.

    Raises:
        ValueError: the samples show too little of it.
    """
    from sklearn.linear_model import LogisticRegression

    inside = F.adaptive_avg_pool2d(masks.float()[:, None], (maps.shape[2], maps.shape[3]))[:, 0] > 0.5
    places = maps.permute(0, 2, 3, 1)
    x, y = places[inside], places[~inside]
    if len(x) < 20:
        raise ValueError(f"of {len(maps)} samples only {len(x)} places show {thing}; give more --n, or another --thing")
    chosen = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))[: 2 * len(x)]
    rows, truth = torch.cat([x, y[chosen]]).double(), torch.cat([torch.ones(len(x)), torch.zeros(len(chosen))])
    width = rows.std(0) + 1e-12
    model = LogisticRegression(class_weight="balanced", max_iter=2000).fit((rows / width).numpy(), truth.numpy())
    accuracy = float(model.score((rows / width).numpy(), truth.numpy()))
    return torch.from_numpy(model.coef_[0] > 0), accuracy


# Where the object is -------------------------------------------------------------------------------------------------


def mask_of_colour(images: Tensor, colour: str) -> Tensor:
    """(N, 3, H, W) to (N, H, W) bool: pixels nearer to this colour than to black or another colour of `shapes`."""
    palette = torch.tensor([*COLOURS.values(), (0, 0, 0)]).float() / 127.5 - 1
    distance = (images[:, None] - palette[None, :, :, None, None]).square().sum(2)
    return distance.argmin(1) == list(COLOURS).index(colour)


def read_boxes(recipe: Recipe, file: str, label: int | None) -> tuple[Latents, Tensor, str]:
    """The latents of the seeds in a table of boxes, (N, H, W) masks of the boxes, and what they show.

    Raises:
        ValueError: the file is not a table of boxes.
    """
    boxes: dict[int, list[list[int]]] = {}
    height, width = recipe.spec.height, recipe.spec.width
    for number, row in enumerate(read_table(file, "a .csv with lines seed,left,top,right,bottom")):
        if number == 0 and not any(cell.strip().lstrip("-").isdecimal() for cell in row):
            continue  # the first line may be a header
        line = f"{file}: {','.join(row)!r}"
        try:
            seed, left, top, right, bottom = (int(cell) for cell in row)
        except ValueError:
            raise ValueError(f"{line} is not seed,left,top,right,bottom in whole pixels") from None
        if seed < 0 or not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise ValueError(f"{line} is no box in an image {width} wide and {height} high: seed,left,top,right,bottom")
        boxes.setdefault(seed, []).append([left, top, right, bottom])
    if not boxes:
        raise ValueError(f"{file} has no line seed,left,top,right,bottom")
    masks = torch.zeros(len(boxes), height, width, dtype=torch.bool)
    for mask, areas in zip(masks, boxes.values()):
        for left, top, right, bottom in areas:
            mask[top:bottom, left:right] = True
    points, labels = latent.points(recipe, list(boxes), label)
    return Latents(points, labels, [f"seed {seed}" for seed in boxes]), masks, "the object in the boxes"


# The network ---------------------------------------------------------------------------------------------------------


def layer_name(trained: Trained, layer: int) -> str:
    """The name of one of the generator's convolutions, counted from the last, -1.

    Raises:
        ValueError: there is no such convolution.
    """
    recipe = trained.recipe
    layers = {name: m for name, m in recipe.named_modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))}
    spatial = [name for name, m in layers.items() if max(m.kernel_size) > 1]  # without the 1x1 shortcuts of blocks
    order = layers_in_order(recipe, spatial or list(layers))
    if not -len(order) <= layer <= -1 or not order:
        count = len(order)
        raise ValueError(
            f"--layer is {layer}; {trained.config['model']}'s generator has {count} convolutions, so -1 to -{count}"
        )
    return order[layer]


def layers_in_order(recipe: Recipe, names: Sequence[str]) -> list[str]:
    """Those of the named layers that a forward pass calls, in the order of the calls."""
    order: list[str] = []
    handles = [
        recipe.get_submodule(name).register_forward_hook(lambda *_, name=name: order.append(name)) for name in names
    ]
    try:
        latent.render(recipe, *latent.points(recipe, [0]))
    finally:
        for handle in handles:
            handle.remove()
    return order


def layer_inputs(recipe: Recipe, name: str, latents: Latents) -> Tensor:
    """(N, C, H, W) the input of a layer when these latents are sampled."""
    inputs: list[Tensor] = []
    handle = recipe.get_submodule(name).register_forward_pre_hook(
        lambda _, arguments: inputs.append(arguments[0].float().cpu().clone())
    )
    try:
        latents.render(recipe)
    finally:
        handle.remove()
    return torch.cat(inputs)


@contextmanager
def without_maps(recipe: Recipe, name: str, dropped: Tensor) -> Iterator[None]:
    """A context in which these channels (C,) of a layer's input are 0."""

    def hook(_: nn.Module, inputs: tuple) -> tuple:
        return (inputs[0] * (~dropped).to(inputs[0])[:, None, None], *inputs[1:])

    handle = recipe.get_submodule(name).register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()
