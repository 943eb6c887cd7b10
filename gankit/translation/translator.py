"""Image-to-image translation of images of any size; each output depends only on its input and the seed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit.recipe import Recipe, can, seeded
from gankit.translation import tiles
from gankit.translation.abilities import arguments_of_translate
from gankit.translation.conditions import Request


def key_of(name: str) -> int:
    """A number for an image, from its name."""
    return zlib.crc32(name.encode("utf-8", "surrogateescape"))


@dataclass(frozen=True)
class Translator:
    """A model and the arguments of its `translate`, as a function of images.

    Args:
        recipe: a model in eval mode with `translate` or `segment`.
        request: the arguments besides the images.
        seed: of random numbers.
        tile: side of the tiles; 0 for the whole image, if possible.
        say: called with messages for the user.
    """

    recipe: Recipe
    request: Request = field(default_factory=lambda: Request({}, {}))
    seed: int = 0
    tile: int = 0
    say: Callable[[str], None] = lambda text: None

    @property
    def segments(self) -> bool:
        """Whether the model makes label maps."""
        return not can(self.recipe, "translate")

    @property
    def side(self) -> str:
        """The domain of the inputs, or their side of a pair: "a" or "b"."""
        return "b" if self.request.fixed.get("to") == "a" else self.recipe.sides[0]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the inputs in training."""
        spec = self.recipe.spec
        channels, height, width = spec.other if self.side == "b" and spec.other else spec.shape
        return channels, height, width

    def with_arguments(self, **changes: object) -> Translator:
        """A copy with other arguments of `translate`: `attribute` and other rows, or fixed ones."""
        names = {*self.request.rows, "attribute"}
        rows = {name: row for name, row in changes.items() if name in names and isinstance(row, Tensor)}
        fixed = {name: value for name, value in changes.items() if name not in rows}
        return replace(
            self, request=self.request._replace(fixed=self.request.fixed | fixed, rows=self.request.rows | rows)
        )

    def __call__(self, images: Tensor, keys: Sequence[int] = ()) -> Tensor:
        """(N, C, H, W) in [-1, 1] to (N, C', H, W) in [-1, 1], or (N, H, W) int64 classes, on the CPU.

        Args:
            images: of any height and width.
            keys: a number for each image, which seeds its random numbers; default: its position.

        Raises:
            ValueError: the model takes other channels, or returns another size.
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
            for mask in self.request.regions
        ]
        # masks become channels, so that they are cut into the same tiles
        images = torch.cat([images, *(mask.expand(len(images), -1, -1, -1) for mask in masks)], 1)
        return self.run(lambda pictures, tile: self.piece(pictures, keys, tile), images)

    def attention(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) in [-1, 1] to the painted images, and (N, 1, H, W) in 0..1, where the inputs are kept."""
        like = next(self.recipe.parameters())

        def both(pictures: Tensor, tile: int) -> Tensor:
            rows = {name: row.to(pictures).expand(len(pictures), *row.shape) for name, row in self.request.rows.items()}
            return torch.cat(self.recipe.attention(pictures, **rows), 1)

        made = self.run(both, images.to(like.device, like.dtype))
        return made[:, :-1], made[:, -1:]

    def run(self, function: tiles.Network, images: Tensor) -> Tensor:
        """The output of a network for images of any size, whole or in tiles."""
        recipe = self.recipe
        least = min(tiles.LEAST, *self.shape[1:])
        with torch.no_grad():
            if self.segments and recipe.tile is not None:  # the model cuts tiles itself
                recipe.tile = self.tile or recipe.tile
                return function(images, 0).cpu()
            return tiles.through(function, images, recipe.multiple, recipe.reach, self.tile, least, self.say, recipe)

    def piece(self, pictures: Tensor, keys: Sequence[int], tile: int) -> Tensor:
        """The output for whole images, or for one tile of each."""
        arguments = dict(self.request.fixed) | {
            name: row.to(pictures).expand(len(pictures), *row.shape) for name, row in self.request.rows.items()
        }
        if self.request.regions:
            pictures, masks = pictures.split([self.shape[0], len(self.request.regions)], 1)
            arguments["masks"] = masks.clamp(0, 1)
        if "z" in arguments_of_translate(self.recipe):
            arguments["z"] = torch.cat([self.noise(key, tile, pictures) for key in keys])
        return self.recipe.translate(pictures, **arguments)

    def noise(self, key: int, tile: int, pictures: Tensor) -> Tensor:
        with seeded(self.seed, key, tile):
            return self.recipe.noise(1, *pictures.shape[2:]).to(pictures)
