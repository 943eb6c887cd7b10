"""Strips: all that a model can make of one picture, beside each other, with captions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from gankit import data, latent, pictures
from gankit.runs.trained import Trained
from gankit.translation.options import Ask, Options, attributes_of, domains_of, takes, units
from gankit.translation.translator import Translator

CELL = 320  # longer sides of a strip's pictures are fitted to it
WIDE = 10  # pictures in a row


class Strip(NamedTuple):
    """Pictures with captions.

    Args:
        heads: a caption above each picture of a row; row after row of them, or one row for all.
        rows: pictures (C, H, W) of one size in [-1, 1].
        sides: a caption beside each row, or none.
        say: what was measured, for the user.
    """

    heads: list[str]
    rows: list[list[Tensor]]
    sides: list[str] = []
    say: str = ""

    def picture(self) -> Image.Image:
        """All of it as one picture."""
        if len(self.heads) == len(self.rows[0]):
            return pictures.sheet(
                together([cell for row in self.rows for cell in row]), len(self.heads), self.heads, self.sides
            )
        cells, pages = together([cell for row in self.rows for cell in row]), []
        for i in range(0, len(cells), WIDE):
            row = cells[i : i + WIDE]
            empty = torch.full((WIDE - len(row), *row.shape[1:]), torch.nan)
            pages.append(pictures.sheet(torch.cat([row, empty]), WIDE, self.heads[i : i + WIDE]))
        out = Image.new("RGB", (pages[0].width, sum(page.height for page in pages)), "white")
        for i, page in enumerate(pages):
            out.paste(page, (0, sum(p.height for p in pages[:i])))
        return out


def together(cells: list[Tensor]) -> Tensor:
    """(C, H, W) pictures of one size as (N, C, H, W), no larger than a strip's cells."""
    return torch.cat(latent.alike([small(cell)[None] for cell in cells]))


def small(image: Tensor) -> Tensor:
    """(C, H, W) fitted to a strip's cell, where it is larger."""
    scale = CELL / max(image.shape[1:])
    if scale >= 1:
        return image.float()
    size = [max(1, round(side * scale)) for side in image.shape[1:]]
    return F.interpolate(image[None].float(), size, mode="bilinear", antialias=True)[0]


def painted(classes: Tensor, colours: np.ndarray) -> Tensor:
    """(H, W) classes to (3, H, W) in [-1, 1]."""
    return data.normalise(data.paint(classes[None], colours))[0]


def overlaid(image: Tensor, classes: Tensor, colours: np.ndarray) -> Tensor:
    """(C, H, W) with the colours of its (H, W) classes laid half over it; where they are black, the picture stays."""
    colour = painted(classes, colours)
    picture = image.float().expand(3, -1, -1) if len(image) == 1 else image[:3].float()
    return torch.where(colour.amax(0) > -1, picture.lerp(colour, 0.5), picture)


def strip(
    trained: Trained,
    translator: Translator,
    options: Options,
    asked: Ask | None,
    image: Tensor,
    key: int,
    colours: np.ndarray,
) -> Strip:
    """What the model makes of a picture, in the ways that it knows.

    Args:
        trained: the model.
        translator: the same, with what is asked of it.
        options: of the user.
        asked: None where nothing was asked for but a strip.
        image: (1, C, H, W) in [-1, 1].
        key: the picture's own number.
        colours: (K, 3), of label maps.
    """
    if translator.segments:
        classes = translator(image, [key])[0]
        return Strip(
            ["input", "map", "both"], [[image[0], painted(classes, colours), overlaid(image[0], classes, colours)]]
        )
    names = takes(trained.recipe)
    if "to" in names:
        return there(trained, translator, image, key, options.round_trip)
    if "attribute" in names and attributes_of(trained).units:
        return intensities(trained, translator, options, asked, image, key)
    if "attribute" in names:
        return domains(trained, translator, asked, image, key)
    if "strength" in names:
        return strengths(translator, options, image, key)
    return Strip(["input", "output"], [[image[0], translator(image, [key])[0]]])


def there(trained: Trained, translator: Translator, image: Tensor, key: int, back: bool) -> Strip:
    """The picture in the other domain, and what comes back."""
    to = translator.ask.fixed["to"]
    a, b = domains_of(trained.config)
    other = translator(image, [key])
    heads, cells = ["input", b if to == "b" else a], [image[0], other[0]]
    if not back:
        return Strip(heads, [cells])
    home = translator.asked(to="a" if to == "b" else "b")
    returned = home(other.float(), [key])
    error = (returned.double() - image.double()).abs().mean().item()
    said = f"to {to} and back: L1 {error:.4f} of a range of 2"
    return Strip([*heads, f"back, L1 {error:.3f}"], [[*cells, returned[0]]], say=said)


def domains(trained: Trained, translator: Translator, asked: Ask | None, image: Tensor, key: int) -> Strip:
    """The picture with each attribute alone; with what is asked for, each of that set's turned over."""
    known, heads, cells = attributes_of(trained), ["input"], [image[0]]
    base = None if asked is None else asked.rows["attribute"]
    mine = 0 if asked is None else asked.fixed.get("source", 0)
    for source in range(len(known.groups)):
        own, keep = known.span(source), base is not None and source == mine and not known.exclusive[source]
        rows = [("none" if len(own) > 1 else f"not {known.names[own[0]]}", torch.zeros(len(known.names)))]
        rows = [] if keep or known.exclusive[source] else rows
        for i in own:
            row = base.clone() if keep else torch.zeros(len(known.names))
            row[i] = 1 - row[i].round()
            rows.append((known.names[i] if row[i] else f"not {known.names[i]}", row))
        for head, row in rows:
            given = translator.asked(attribute=row, **({"source": source} if "source" in takes(trained.recipe) else {}))
            heads.append(head.replace("_", " "))
            cells.append(given(image, [key])[0])
    return Strip(heads, [cells[i : i + WIDE] for i in range(0, len(cells), WIDE)])


def intensities(
    trained: Trained, translator: Translator, options: Options, asked: Ask | None, image: Tensor, key: int
) -> Strip:
    """The way from where the action units begin to what is asked for; a row for each unit where nothing is."""
    known = attributes_of(trained)
    start = units(known, (), options.au_from)[0]
    shares = torch.linspace(0, 1, options.steps).tolist()
    if asked is None:
        ends = [start.index_fill(0, torch.tensor([i]), 1.0) for i in range(len(known.names))]
    else:
        ends = [asked.rows["attribute"]]
    rows = []
    for end in ends:
        way = [translator.asked(attribute=start + share * (end - start))(image, [key])[0] for share in shares]
        rows.append([image[0], *way])
    return Strip(["input", *(f"{share:.2f}" for share in shares)], rows, list(known.names) if asked is None else [])


def strengths(translator: Translator, options: Options, image: Tensor, key: int) -> Strip:
    """The picture with more and more of the style, and the styles."""
    shares = torch.linspace(0, 1, options.steps).tolist()
    way = [translator.asked(strength=share)(image, [key])[0] for share in shares]
    styles = [covering(style, *image.shape[2:]) for style in translator.ask.fixed["styles"]]
    return Strip(
        ["input", *(f"{share:.2f}" for share in shares), *["style"] * len(styles)], [[image[0], *way, *styles]]
    )


def covering(image: Tensor, height: int, width: int) -> Tensor:
    """The middle of a (C, h, w) picture, as large as it goes, at this height and width."""
    scale = max(height / image.shape[1], width / image.shape[2])
    high, wide = min(image.shape[1], round(height / scale)), min(image.shape[2], round(width / scale))
    top, left = (image.shape[1] - high) // 2, (image.shape[2] - wide) // 2
    return F.interpolate(
        image[None, :, top : top + high, left : left + wide].float(), (height, width), mode="bilinear", antialias=True
    )[0]
