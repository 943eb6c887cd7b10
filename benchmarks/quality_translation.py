"""Measures of image translation, for `python benchmarks/quality.py MODEL`.

All use images that the model did not train on, the same ones for every seed and variant, and draw sheets of them.
Measures of `unet` are in quality_segmentation.py, those of `adain` in quality_style.py.

- pix2pix on photo-edges, 200 patches of the photograph's held-out part: mean absolute difference from the true patch
  (l1, of images in [-1, 1]), and the same when each patch gets another patch's edges (l1_shuffled); sharpness, the
  mean absolute difference of neighbouring pixels over the true patch's, where 1 is as sharp as the truth; ssim.
- cyclegan and dualgan on digits-negative, 397 held-out digits and their negatives: the share that the digits
  classifier assigns to the same digit before and after (kept), the number of digits that become another digit by
  majority (swapped), the distance of the round trip from the image (cycle_l1) and of the translation from the true
  negative (true_l1), in both directions.
- stargan on shapes:colours+shapes:sizes, 300 held-out drawings, each translated to another colour and to the other
  size. Colour and size are measured on the pixels: the nearest colour of the palette, and the distance of the
  drawing's edge from its centre. Columns: the share that shows the target (colour_asked, size_asked), the share that
  keeps the other attribute (size_kept, colour_kept), and the distance from the true drawing in the target colour
  (true_l1). In rows called "wrong mask" the mask vector names the other set of attributes.
- ganimation on faces, 200 held-out faces, each translated to the action units of another: correlation of the target
  units with those that a network fitted to 8,000 real faces predicts for the result (units, and each by its name);
  distance from the true drawing with these units (true_l1); the mean attention (moved), and its share outside the
  head (outside).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gankit import Recipe, data, latent, metrics
from gankit.data.builtin import drawn_faces, shapes
from gankit.evaluation import translations

Numbers = dict[str, float]
Rows = dict[str, list[Numbers]]
ROWS = 6  # of a sheet


def choice(count: int, n: int) -> np.ndarray:
    """n numbers below count, the same in every call."""
    return np.random.default_rng(0).permutation(count)[:n]


def in_parts(function: Callable[..., Tensor], *tensors: Tensor, batch: int = 50) -> Tensor:
    """A function of the rows of tensors, computed in batches."""
    return torch.cat([function(*parts).float().cpu() for parts in zip(*(x.split(batch) for x in tensors))])


def translated(recipe: Recipe, images: Tensor, to: str = "") -> Tensor:
    """Translations of images; each image's random numbers depend only on its position."""
    make = translations.translation_function(recipe, 0, to)
    like = next(recipe.parameters())
    parts = np.array_split(np.arange(len(images)), -(-len(images) // 50))
    return torch.cat([make(images[part].to(like), part).float().cpu() for part in parts])


def l1(a: Tensor, b: Tensor) -> float:
    """Mean absolute difference."""
    return float((a - b).abs().double().mean())


class Measures:
    """Measures translations of the held-out images of a data set.

    Attributes:
        data: the usual data set.
        seeds: the usual number of seeds.
        ablations: arguments that switch parts of the model off.
    """

    data, seeds = "", 3
    ablations: tuple[dict[str, object], ...] = ()

    def measure(self, recipe: Recipe) -> Numbers:
        """The numbers of a model."""
        raise NotImplementedError

    def more(self, recipe: Recipe) -> dict[str, Numbers]:
        """Further rows of a trained model."""
        return {}

    def trivial(self, recipe: Recipe) -> dict[str, Numbers]:
        """The numbers of trivial answers and of the truth."""
        raise NotImplementedError

    def columns(self, recipe: Recipe) -> list[Tensor]:
        """The columns of a sheet of examples."""
        raise NotImplementedError

    def summary(self, rows: Rows) -> list[str]:
        """Lines below the table."""
        return []

    def sheet(self, recipe: Recipe) -> tuple[Tensor, int]:
        """Examples side by side, and the number of columns of the sheet."""
        columns = self.columns(recipe)
        return latent.beside(columns), len(columns) * max(1, 12 // len(columns) if len(columns[0]) > ROWS else 1)


class Pairs(Measures):
    """Measures images against the true other side."""

    data = "photo-edges"
    ablations = ({"gan_weight": 0.0}, {"l1_weight": 0.0})

    def __init__(self, name: str, resolution: str):
        held = data.open(f"{name}:test", resolution or None, want="pairs")
        numbers = choice(len(held), 200)
        self.a, self.b = (data.normalise(side.rows(numbers)["real"]) for side in (held.a, held.b))
        self.other = np.roll(np.arange(len(numbers)), 1)
        train = data.open(name, resolution or None, want="pairs").b.rows(choice(len(held), 1000))
        self.mean = data.normalise(train["real"]).mean((0, 2, 3))

    def measure(self, recipe: Recipe) -> Numbers:
        drawn = translated(recipe, self.a)
        return self.numbers(drawn) | {"l1_shuffled": l1(translated(recipe, self.a[self.other]), self.b)}

    def numbers(self, drawn: Tensor) -> Numbers:
        return {
            "l1": l1(drawn, self.b),
            "sharpness": float(drawn.diff(dim=3).abs().mean() / self.b.diff(dim=3).abs().mean()),
            "ssim": float(metrics.ssim(drawn.clamp(-1, 1), self.b).mean()),
        }

    def trivial(self, recipe: Recipe) -> dict[str, Numbers]:
        flat = self.mean.view(1, -1, 1, 1).expand_as(self.b)
        return {"mean colour": self.numbers(flat), "other true patches": self.numbers(self.b[self.other])}

    def columns(self, recipe: Recipe) -> list[Tensor]:
        return [self.a[:ROWS], translated(recipe, self.a[:ROWS]), self.b[:ROWS]]

    def summary(self, rows: Rows) -> list[str]:
        if not {"trained", "gan_weight=0.0"} <= rows.keys():
            return []
        both = list(zip(rows["trained"], rows["gan_weight=0.0"]))
        sharpness = [f"{a['sharpness'] / b['sharpness']:.2f}" for a, b in both]
        distance = [f"{100 * (a['l1'] / b['l1'] - 1):+.1f} %" for a, b in both]
        to_mean = [f"{numbers['l1'] / rows['mean colour'][0]['l1']:.2f}" for numbers in rows["trained"]]
        return [
            f"relative to L1 without a GAN loss: sharpness {', '.join(sharpness)}, l1 {', '.join(distance)}; "
            f"l1 over the mean colour's: {', '.join(to_mean)}"
        ]


class Negatives(Measures):
    """Measures translations of digits to negatives and back."""

    data, seeds = "digits-negative", 5
    ablations = ({"cycle": "forward"}, {"cycle": "backward"}, {"cycle": "none"})

    def __init__(self, name: str, resolution: str):
        held = data.open(f"{name}:test", resolution or None, want="domains")
        self.a = data.normalise(held.a.rows(np.arange(len(held.a)))["real"])
        train = data.open(name, resolution or None, want="domains").a
        self.mean = data.normalise(train.rows(np.arange(len(train)))["real"]).mean(0, keepdim=True)

    def measure(self, recipe: Recipe) -> Numbers:
        there = translated(recipe, self.a, "b"), translated(recipe, -self.a, "a")
        back = translated(recipe, there[0], "a"), translated(recipe, there[1], "b")
        return self.numbers(there) | {"cycle_l1_aba": l1(back[0], self.a), "cycle_l1_bab": l1(back[1], -self.a)}

    def numbers(self, there: tuple[Tensor, Tensor]) -> Numbers:
        before, numbers = metrics.classify(self.a), {}
        for direction, images, sign in (("ab", there[0], -1), ("ba", there[1], 1)):
            after = metrics.classify(sign * images)
            counts = metrics.confusion(after, before, 10, None)
            numbers[f"kept_{direction}"] = metrics.accuracy(after, before)
            numbers[f"swapped_{direction}"] = int((counts.argmax(1) != torch.arange(10)).sum())
            numbers[f"true_l1_{direction}"] = l1(images, sign * self.a)
        return numbers

    def trivial(self, recipe: Recipe) -> dict[str, Numbers]:
        mean = self.mean.expand_as(self.a)
        exact = {"cycle_l1_aba": 0.0, "cycle_l1_bab": 0.0}
        return {
            "the true negative": self.numbers((-self.a, self.a)) | exact,
            "image as it is": self.numbers((self.a, -self.a)) | exact,
            "mean image": self.numbers((-mean, mean)) | dict.fromkeys(exact, l1(mean, self.a)),
        }

    def columns(self, recipe: Recipe) -> list[Tensor]:
        there = translated(recipe, self.a[:30], "b"), translated(recipe, -self.a[:30], "a")
        back = translated(recipe, there[0], "a"), translated(recipe, there[1], "b")
        return [self.a[:30], there[0], back[0], -self.a[:30], there[1], back[1]]

    def summary(self, rows: Rows) -> list[str]:
        lines = []
        for variant, numbers in rows.items():
            if "kept_ab" in numbers[0] and len(numbers) > 1:
                ab, ba = (np.median([n[f"kept_{direction}"] for n in numbers]) for direction in ("ab", "ba"))
                swaps = sum(n["swapped_ab"] + n["swapped_ba"] > 0 for n in numbers)
                lines.append(
                    f"{variant}: median label kept {ab:.3f} a to b, {ba:.3f} b to a; "
                    f"{swaps} of {len(numbers)} seeds swap digits"
                )
        return lines


class DualNegatives(Negatives):
    """As `Negatives`, for a model with a cycle weight for each direction."""

    ablations = ({"cycle_weight_b": 0.0}, {"cycle_weight_a": 0.0}, {"cycle_weight_a": 0.0, "cycle_weight_b": 0.0})


class Shapes(Measures):
    """Measures drawings that are translated to another colour or size."""

    data = "shapes:colours+shapes:sizes"
    ablations = ({"cycle_weight": 0.0},)
    paints = torch.tensor(list(shapes.COLOURS.values())) / 127.5 - 1

    def __init__(self, name: str, resolution: str):
        held = data.open("shapes:both:test", resolution or None)
        rows = held.rows(choice(len(held), 300))
        self.real, attributes = data.normalise(rows["real"]), rows["attribute"]
        k = len(self.paints)
        self.colour, self.is_large = attributes[:, :k].argmax(1), attributes[:, k] > 0.5
        self.asked = (self.colour + 1 + torch.arange(len(attributes)) % (k - 1)) % k
        cover = (self.real.amax(1, keepdim=True) + 1) / (self.paints[self.colour].amax(1).view(-1, 1, 1, 1) + 1)
        self.target = cover * (self.paints[self.asked].view(-1, 3, 1, 1) + 1) - 1

    def read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The colour of each drawing on black, and whether it is large."""
        light = (images + 1) / 2
        inside = light.amax(1) > 0.5 * light.amax(1).flatten(1).quantile(0.98, 1)[:, None, None].clamp(min=0.2)
        count = inside.flatten(1).sum(1).clamp(min=1)
        mean = (light * inside[:, None]).flatten(2).sum(2) / count[:, None]
        colour = torch.cdist(mean, (self.paints + 1) / 2).argmin(1)
        y, x = torch.meshgrid(*(torch.arange(side).float() for side in images.shape[2:]), indexing="ij")
        centre_y, centre_x = (
            (axis * inside).flatten(1).sum(1)[:, None, None] / count[:, None, None] for axis in (y, x)
        )
        distance = ((y - centre_y).square() + (x - centre_x).square()).sqrt()
        radius = torch.stack(
            [row[mask].quantile(0.95) if mask.any() else torch.tensor(0.0) for row, mask in zip(distance, inside)]
        )
        return colour, radius > 0.43 * min(images.shape[2:]) / 2

    def conditions(self, recipe: Recipe) -> tuple[Tensor, Tensor]:
        """G's conditions for another colour and for the other size."""
        colour = F.one_hot(self.asked, len(self.paints)).float()
        return recipe.condition(colour, 0), recipe.condition((~self.is_large).float()[:, None], 1)

    def measure(self, recipe: Recipe) -> Numbers:
        return self.numbers(*(in_parts(recipe.g, self.real, condition) for condition in self.conditions(recipe)))

    def numbers(self, coloured: Tensor, sized: Tensor) -> Numbers:
        (colour, large), (colour_kept, size) = self.read(coloured), self.read(sized)
        return {
            "colour_asked": metrics.accuracy(colour, self.asked),
            "size_kept": metrics.accuracy(large, self.is_large),
            "size_asked": metrics.accuracy(size, ~self.is_large),
            "colour_kept": metrics.accuracy(colour_kept, self.colour),
            "true_l1": l1(coloured, self.target),
        }

    def more(self, recipe: Recipe) -> dict[str, Numbers]:
        """The same attributes with the mask vector of the other set."""
        wrong = [wrong_mask(condition) for condition in self.conditions(recipe)]
        return {"wrong mask": self.numbers(*(in_parts(recipe.g, self.real, condition) for condition in wrong))}

    def trivial(self, recipe: Recipe) -> dict[str, Numbers]:
        colour, large = self.read(self.real)
        right = metrics.accuracy(colour, self.colour), metrics.accuracy(large, self.is_large)
        print(f"colours and sizes of real drawings that are read correctly: {right[0]:.3f}, {right[1]:.3f}")
        return {
            "image as it is": self.numbers(self.real, self.real),
            "true colour": self.numbers(self.target, self.real),
        }

    def columns(self, recipe: Recipe) -> list[Tensor]:
        """Drawings, all colours, the other size, and another colour and size with the wrong mask."""
        real, k = self.real[:ROWS], len(self.paints)
        columns = [real, *(recipe.translate(real, torch.eye(k)[[i] * len(real)], 0) for i in range(k))]
        columns.append(recipe.translate(real, (~self.is_large[:ROWS]).float()[:, None], 1))
        return columns + [recipe.g(real, wrong_mask(condition[:ROWS])) for condition in self.conditions(recipe)]


def wrong_mask(condition: Tensor) -> Tensor:
    """StarGAN's condition with its mask vector, the last two numbers, reversed."""
    return torch.cat([condition[:, :-2], condition[:, -2:].flip(1)], 1)


class Faces(Measures):
    """Measures faces that are translated to the action units of others."""

    data = "faces"
    ablations = ({"cycle_weight": 0.0}, {"attention_weight": 0.0})

    def __init__(self, name: str, resolution: str):
        held = data.open(f"{name}:test", resolution or None)
        chosen = choice(len(held), 200)
        rows = held.rows(chosen)
        self.real, units = data.normalise(rows["real"]), rows["attribute"]
        self.asked = units.roll(1, 0)
        sides = held.shape[1:]
        people = chosen + drawn_faces.SIZE
        self.target = data.normalise(torch.from_numpy(drawn_faces.draw(people, self.asked.numpy(), *sides)))
        heads = [drawn_faces.face_mask(people, x.numpy(), *sides) for x in (units, self.asked)]
        self.outside = torch.from_numpy(~(heads[0] | heads[1]))
        self.name, self.resolution = name, resolution

    @cached_property
    def regressor(self) -> Callable[[Tensor], Tensor]:
        """A network fitted to the action units of real faces."""
        train = data.open(self.name, self.resolution or None)
        rows = train.rows(choice(len(train), 8000))
        return metrics.fit_attributes(data.normalise(rows["real"]), rows["attribute"], epochs=15)

    def measure(self, recipe: Recipe) -> Numbers:
        drawn = in_parts(recipe.translate, self.real, self.asked)
        moved = 1 - in_parts(lambda *x: recipe.attention(*x)[1], self.real, self.asked)[:, 0]
        return self.numbers(drawn) | {
            "moved": float(moved.mean()),
            "outside": float(moved[self.outside].sum() / moved.sum().clamp(min=1e-9)),
        }

    def numbers(self, drawn: Tensor) -> Numbers:
        correlations = metrics.correlation(self.asked, self.regressor(drawn)).tolist()
        numbers = {"units": float(np.mean(correlations)), "true_l1": l1(drawn, self.target)}
        return numbers | dict(zip(drawn_faces.UNITS, correlations))

    def trivial(self, recipe: Recipe) -> dict[str, Numbers]:
        even = {"outside": float(self.outside.double().mean())}
        return {
            "face as it is": self.numbers(self.real),
            "true drawing": self.numbers(self.target),
            "attention alike all over": even,
        }

    def columns(self, recipe: Recipe) -> list[Tensor]:
        real, asked = self.real[:ROWS], self.asked[:ROWS]
        mask = recipe.attention(real, asked)[1]
        return [real, recipe.translate(real, asked), self.target[:ROWS], (2 * mask - 1).expand_as(real)]
