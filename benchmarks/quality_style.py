"""Measures of style transfer, for `python benchmarks/quality.py adain`.

64 patches of two photographs that the model did not train on as contents. Columns: style, the squared distance of the
means and deviations of the encoder's maps from the style's, over that of the unchanged content (0 is the style's, 1
is no change); style_loss and content_loss, the paper's; content, the distance of the deepest maps from the content's
over that of other contents; colour, the distance of the mean and covariance of the pixels from the style's, over that
of the unchanged content. Styles are patches of the training set and, in rows of their own, of two photographs that
were no styles.
"""

from __future__ import annotations

import numpy as np
import torch
from quality_translation import ROWS, Measures, Numbers, choice
from torch import Tensor

from gankit import Recipe, data
from gankit.nn.style import adain, colour_moments, match_colours


class Styles(Measures):
    """Measures contents in the style of other images."""

    data = "contents,styles"
    ablations = ({"style_weight": 0.0},)
    count = 64

    def __init__(self, name: str, resolution: str):
        side = data.open(name, resolution or None, want="domains").shape[1]
        self.content = patches(("photo:cat", "photo:coins"), side, self.count)
        styles = data.open(name, resolution or None, want="domains").b
        self.style = data.normalise(styles.rows(choice(len(styles), self.count))["real"]).expand(-1, 3, -1, -1)
        self.unseen = patches(("photo:flower", "photo:astronaut"), side, self.count)

    def translate(self, recipe: Recipe, style: Tensor, strength: float = 1.0) -> Tensor:
        """Each content in the style of the image beside it."""
        pairs = zip(self.content.split(1), style.split(1))
        return torch.cat([recipe.translate(*pair, strength=strength).float().cpu() for pair in pairs])

    def measure(self, recipe: Recipe) -> Numbers:
        return self.numbers(recipe, self.translate(recipe, self.style), self.style)

    def numbers(self, recipe: Recipe, drawn: Tensor, style: Tensor) -> Numbers:
        of_style, of_content, of_drawn = (recipe.statistics(x) for x in (style, self.content, drawn))
        maps, content, other = (recipe.encoder(x)[-1] for x in (drawn, self.content, self.content.roll(1, 0)))
        target = adain(content, *of_style[-1])

        def style_distance(statistics: list[tuple[Tensor, Tensor]]) -> float:
            pairs = [pair for level in zip(statistics, of_style) for pair in zip(*level)]
            return float(sum((a - b).square().sum((1, 2, 3)).mean() for a, b in pairs))

        def colour_distance(images: Tensor) -> float:
            pairs = zip(colour_moments(images), colour_moments(style))
            return sum(float((a - b).square().flatten(1).sum(1).mean()) for a, b in pairs)

        return {
            "style": style_distance(of_drawn) / style_distance(of_content),
            "style_loss": style_distance(of_drawn),
            "content_loss": float((maps - target).square().mean()),
            "content": float((maps - content).square().mean() / (other - content).square().mean()),
            "colour": colour_distance(drawn) / colour_distance(self.content),
        }

    def more(self, recipe: Recipe) -> dict[str, Numbers]:
        return {
            "styles never seen": self.numbers(recipe, self.translate(recipe, self.unseen), self.unseen),
            "strength 0.5": self.numbers(recipe, self.translate(recipe, self.style, 0.5), self.style),
            "strength 0": self.numbers(recipe, self.translate(recipe, self.style, 0.0), self.style),
        }

    def trivial(self, recipe: Recipe) -> dict[str, Numbers]:
        recoloured = match_colours(self.content, self.style).clamp(-1, 1)
        rows = {
            "content as it is": self.content,
            "colours matched alone": recoloured,
            "the style's own picture": self.style,
        }
        return {name: self.numbers(recipe, images, self.style) for name, images in rows.items()}

    def columns(self, recipe: Recipe) -> list[Tensor]:
        """Content, style and result, then a style from outside the training set and its result."""
        seen, unseen = (self.translate(recipe, style)[:ROWS] for style in (self.style, self.unseen))
        return [self.content[:ROWS], self.style[:ROWS], seen, self.unseen[:ROWS], unseen]


def patches(names: tuple[str, ...], side: int, n: int) -> Tensor:
    """(n, 3, side, side) patches, two fifths of each side of photographs that are resized as those of `contents`."""
    whole = [
        data.normalise(data.open(f"{name}:whole", side * 5 // 2).rows(np.arange(1))["real"])[0].expand(3, -1, -1)
        for name in names
    ]
    rng = np.random.default_rng(0)
    places = rng.integers(0, side * 3 // 2, (n, 2))
    return torch.stack([whole[i % len(whole)][:, y : y + side, x : x + side] for i, (y, x) in enumerate(places)])
