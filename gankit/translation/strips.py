"""Strips: the outputs of a model for one image side by side, with captions."""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from gankit import data, latent, pictures
from gankit.runs.trained import Trained
from gankit.translation.abilities import arguments_of_translate, attributes_of, domains_of
from gankit.translation.conditions import Request, unit_row
from gankit.translation.options import Options
from gankit.translation.translator import Translator

CELL = 320  # the longest side of a strip's images in pixels; larger ones are downsized
WIDE = 10  # images per row


class Strip(NamedTuple):
    """Images with captions.

    Args:
        heads: captions above the images, of all rows or of the first one for all.
        rows: (C, H, W) images of one size in [-1, 1].
        sides: captions beside the rows, or none.
        say: a message with measurements.
    """

    heads: list[str]
    rows: list[list[Tensor]]
    sides: list[str] = []
    say: str = ""

    def picture(self) -> Image.Image:
        """All rows as one image."""
        cells = as_cells([cell for row in self.rows for cell in row])
        if len(self.heads) == len(self.rows[0]):
            return pictures.sheet(cells, len(self.heads), self.heads, self.sides)
        pages = []
        for i in range(0, len(cells), WIDE):
            row = cells[i : i + WIDE]
            empty = torch.full((WIDE - len(row), *row.shape[1:]), torch.nan)
            pages.append(pictures.sheet(torch.cat([row, empty]), WIDE, self.heads[i : i + WIDE]))
        out = Image.new("RGB", (pages[0].width, sum(page.height for page in pages)), "white")
        for i, page in enumerate(pages):
            out.paste(page, (0, sum(p.height for p in pages[:i])))
        return out


def as_cells(cells: list[Tensor]) -> Tensor:
    """(C, H, W) images of one size as (N, C, H, W), downsized to a strip's cells."""
    return torch.cat(latent.alike([fit_cell(cell)[None] for cell in cells]))


def fit_cell(image: Tensor) -> Tensor:
    """(C, H, W) downsized to a strip's cell, if it is larger."""
    scale = CELL / max(image.shape[1:])
    if scale >= 1:
        return image.float()
    size = [max(1, round(side * scale)) for side in image.shape[1:]]
    return F.interpolate(image[None].float(), size, mode="bilinear", antialias=True)[0]


def colour_map(classes: Tensor, colours: np.ndarray) -> Tensor:
    """(H, W) classes to (3, H, W) in [-1, 1], in the colours (K, 3) of the classes."""
    return data.normalise(data.paint(classes[None], colours))[0]


def blend_map(image: Tensor, classes: Tensor, colours: np.ndarray) -> Tensor:
    """The mean of a (C, H, W) image and the colours of its (H, W) classes; black classes keep the image."""
    colour = colour_map(classes, colours)
    rgb = image.float().expand(3, -1, -1) if len(image) == 1 else image[:3].float()
    return torch.where(colour.amax(0) > -1, rgb.lerp(colour, 0.5), rgb)


def strip(
    trained: Trained,
    translator: Translator,
    options: Options,
    request: Request | None,
    image: Tensor,
    key: int,
    colours: np.ndarray,
) -> Strip:
    """A strip of the outputs of a model for one image.

    Args:
        trained: the model.
        translator: the model with the arguments of the request.
        options: of the user.
        request: None if only a strip is requested.
        image: (1, C, H, W) in [-1, 1].
        key: the image's number, which seeds its random numbers.
        colours: (K, 3), of label maps.
    """
    if translator.segments:
        classes = translator(image, [key])[0]
        cells = [image[0], colour_map(classes, colours), blend_map(image[0], classes, colours)]
        return Strip(["input", "map", "both"], [cells])
    names = arguments_of_translate(trained.recipe)
    if "to" in names:
        return domain_strip(trained, translator, image, key, options.round_trip)
    if "attribute" in names and attributes_of(trained).are_units:
        return intensity_strip(trained, translator, options, request, image, key)
    if "attribute" in names:
        return attribute_strip(trained, translator, request, image, key)
    if "strength" in names:
        return strength_strip(translator, options, image, key)
    return Strip(["input", "output"], [[image[0], translator(image, [key])[0]]])


def domain_strip(trained: Trained, translator: Translator, image: Tensor, key: int, back: bool) -> Strip:
    """The image in the other domain, and, with `back`, translated back to its own."""
    to = translator.request.fixed["to"]
    a, b = domains_of(trained.config)
    other = translator(image, [key])
    heads, cells = ["input", b if to == "b" else a], [image[0], other[0]]
    if not back:
        return Strip(heads, [cells])
    backwards = translator.with_arguments(to="a" if to == "b" else "b")
    returned = backwards(other.float(), [key])
    error = (returned.double() - image.double()).abs().mean().item()
    message = f"to {to} and back: L1 {error:.4f} of a range of 2"
    return Strip([*heads, f"back, L1 {error:.3f}"], [[*cells, returned[0]]], say=message)


def attribute_strip(
    trained: Trained, translator: Translator, request: Request | None, image: Tensor, key: int
) -> Strip:
    """The image with one attribute at a time; in the request's data set, the request with one attribute flipped."""
    known, heads, cells = attributes_of(trained), ["input"], [image[0]]
    requested = None if request is None else request.rows["attribute"]
    requested_source = 0 if request is None else request.fixed.get("source", 0)
    takes_source = "source" in arguments_of_translate(trained.recipe)
    for source in range(len(known.groups)):
        places, is_exclusive = known.span(source), known.exclusive[source]
        flipped = requested if source == requested_source and not is_exclusive else None
        rows = []
        if flipped is None and not is_exclusive:
            rows.append(("none" if len(places) > 1 else f"not {known.names[places[0]]}", torch.zeros(len(known.names))))
        for i in places:
            row = torch.zeros(len(known.names)) if flipped is None else flipped.clone()
            row[i] = 1 - row[i].round()
            rows.append((known.names[i] if row[i] else f"not {known.names[i]}", row))
        for head, row in rows:
            changed = translator.with_arguments(attribute=row, **({"source": source} if takes_source else {}))
            heads.append(head.replace("_", " "))
            cells.append(changed(image, [key])[0])
    return Strip(heads, [cells[i : i + WIDE] for i in range(0, len(cells), WIDE)])


def intensity_strip(
    trained: Trained, translator: Translator, options: Options, request: Request | None, image: Tensor, key: int
) -> Strip:
    """The image with increasing intensities of the requested action units; without a request, a row for each unit."""
    known = attributes_of(trained)
    start = unit_row(known, (), options.au_from)
    shares = torch.linspace(0, 1, options.steps).tolist()
    if request is None:
        ends = [start.index_fill(0, torch.tensor([i]), 1.0) for i in range(len(known.names))]
    else:
        ends = [request.rows["attribute"]]
    rows = []
    for end in ends:
        steps = [translator.with_arguments(attribute=start + share * (end - start)) for share in shares]
        rows.append([image[0], *(step(image, [key])[0] for step in steps)])
    return Strip(["input", *(f"{share:.2f}" for share in shares)], rows, list(known.names) if request is None else [])


def strength_strip(translator: Translator, options: Options, image: Tensor, key: int) -> Strip:
    """The image with increasing strength of the style, and the style images."""
    shares = torch.linspace(0, 1, options.steps).tolist()
    fixed = translator.request.fixed
    cells = [translator.with_arguments(strength=share)(image, [key])[0] for share in shares]
    styles = [covering(style, *image.shape[2:]) for style in cast("list[Tensor]", fixed["styles"])]
    heads = ["input", *(f"{share:.2f}" for share in shares), *["style"] * len(styles)]
    return Strip(heads, [[image[0], *cells, *styles]])


def covering(image: Tensor, height: int, width: int) -> Tensor:
    """The largest central crop of a (C, h, w) image with this ratio, resized to height and width."""
    scale = max(height / image.shape[1], width / image.shape[2])
    high, wide = min(image.shape[1], round(height / scale)), min(image.shape[2], round(width / scale))
    top, left = (image.shape[1] - high) // 2, (image.shape[2] - wide) // 2
    crop = image[None, :, top : top + high, left : left + wide].float()
    return F.interpolate(crop, (height, width), mode="bilinear", antialias=True)[0]
