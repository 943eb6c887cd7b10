"""A model that makes pictures of pictures, of any size, each in a way that hangs on nothing but itself and the seed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit.recipe import Recipe, seeded
from gankit.translation import options, tiles
from gankit.translation.options import Ask


def key_of(name: str) -> int:
    """A picture's own number, from its name."""
    return zlib.crc32(name.encode("utf-8", "surrogateescape"))


@dataclass(frozen=True)
class Translator:
    """What is asked of a model, as a function of pictures.

    Args:
        recipe: in eval mode, with `translate` or `segment`.
        ask: what it is given beside the pictures.
        seed: of its random numbers.
        tile: side of the tiles; 0 for the picture whole, as far as that goes.
        say: is told what a user should know.
    """

    recipe: Recipe
    ask: Ask = field(default_factory=lambda: Ask({}, {}))
    seed: int = 0
    tile: int = 0
    say: Callable[[str], None] = lambda text: None

    @property
    def segments(self) -> bool:
        return not hasattr(self.recipe, "translate")

    @property
    def side(self) -> str:
        """Of two domains or sides of a pair, the one that goes in: "a" or "b"."""
        return "b" if self.ask.fixed.get("to") == "a" else getattr(self.recipe, "sides", ("a", "b"))[0]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what the model learned to take."""
        return self.recipe.spec.other if self.side == "b" and self.recipe.spec.other else self.recipe.spec.shape

    def asked(self, **changes: object) -> Translator:
        """The same with other things asked for: rows by tensors, all else fixed."""
        rows = {name: value for name, value in changes.items() if name in self.ask.rows or name == "attribute"}
        fixed = {name: value for name, value in changes.items() if name not in rows}
        return replace(self, ask=self.ask._replace(fixed=self.ask.fixed | fixed, rows=self.ask.rows | rows))

    def __call__(self, images: Tensor, keys: Sequence[int] = ()) -> Tensor:
        """(N, C, H, W) in [-1, 1] to (N, C', H, W) in [-1, 1], or (N, H, W) int64 classes, on the CPU.

        Args:
            images: of any height and width.
            keys: a number for each, from which its random numbers are drawn; their places without it.

        Raises:
            ValueError: the model takes other channels, or gives back another size.
        """
        keys = keys or range(len(images))
        if images.shape[1] != self.shape[0]:
            raise ValueError(f"the model takes pictures of {self.shape[0]} channels, not {images.shape[1]}")
        like = next(self.recipe.parameters())
        images = images.to(like.device, like.dtype)
        if self.segments:
            return self.run(lambda pictures, tile: self.recipe.segment(pictures), images)
        masks = [
            F.interpolate(mask.to(images), images.shape[2:], mode="bilinear", antialias=True)
            for mask in self.ask.regions
        ]
        images = torch.cat(
            [images, *(mask.expand(len(images), -1, -1, -1) for mask in masks)], 1
        )  # they are cut like the pictures
        return self.run(lambda pictures, tile: self.piece(pictures, keys, tile), images)

    def attention(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) in [-1, 1] to what the model paints, (N, C, H, W), and where it leaves the images alone, (N, 1, H, W) in 0..1."""
        like = next(self.recipe.parameters())

        def both(pictures: Tensor, tile: int) -> Tensor:
            rows = {name: row.to(pictures).expand(len(pictures), *row.shape) for name, row in self.ask.rows.items()}
            return torch.cat(self.recipe.attention(pictures, **rows), 1)

        made = self.run(both, images.to(like.device, like.dtype))
        return made[:, :-1], made[:, -1:]

    def run(self, function: tiles.Whole, images: Tensor) -> Tensor:
        """A network's answer to pictures of any size, whole or in tiles."""
        recipe = self.recipe
        least = min(tiles.LEAST, *self.shape[1:])
        with torch.no_grad():
            if self.segments and hasattr(recipe, "tile"):  # it cuts tiles itself
                recipe.tile = self.tile or recipe.tile
                return function(images, 0).cpu()
            return tiles.through(
                function, images, recipe.multiple, getattr(recipe, "reach", None), self.tile, least, self.say, recipe
            )

    def piece(self, pictures: Tensor, keys: Sequence[int], tile: int) -> Tensor:
        """What the model makes of whole pictures, or of one tile of each."""
        names = options.takes(self.recipe)
        given = dict(self.ask.fixed) | {
            name: row.to(pictures).expand(len(pictures), *row.shape) for name, row in self.ask.rows.items()
        }
        if self.ask.regions:
            pictures, masks = pictures.split([self.shape[0], len(self.ask.regions)], 1)
            given["masks"] = masks.clamp(0, 1)
        if "z" in names:
            given["z"] = torch.cat([self.noise(key, tile, pictures) for key in keys])
        return self.recipe.translate(pictures, **given)

    def noise(self, key: int, tile: int, pictures: Tensor) -> Tensor:
        with seeded(self.seed, key, tile):
            return self.recipe.noise(1, *pictures.shape[2:]).to(pictures)
