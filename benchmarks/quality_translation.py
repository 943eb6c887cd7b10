"""How good is what a model makes of images? The judges of translators and segmenters, for `python benchmarks/quality.py MODEL`.

All look at images that the model did not learn from, the same ones for every seed and variant, and draw strips of them.

- pix2pix on photo-edges, 200 patches of the photograph's other part: mean absolute difference from the true patch (l1, of
  images in [-1, 1]), and from it when each gets another patch's edges (l1_shuffled); sharpness, the mean absolute difference
  of neighbours over the true patch's, 1 for as sharp as the truth; ssim.
- cyclegan and dualgan on digits-negative, 397 held-out digits and their negatives: the share that the classifier of digits
  takes for the same digit before and after (kept), how many of the ten digits become another one by majority (swapped), the
  distance of the image that went there and back (cycle_l1) and of the translation from the true negative (true_l1), both ways.
- stargan on shapes:colours+shapes:sizes, 300 held-out drawings: each is asked for another colour, and for the other size. Colour
  and size are read off the pixels: the nearest colour of the palette, and how far the drawing reaches from its middle. The share that
  shows what was asked for (colour_asked, size_asked), and that keeps what was not (size_kept, colour_kept); the distance from
  the true drawing in the other colour (true_l1). "wrong mask" says that the attributes were those of the other set.
- ganimation on faces, 200 held-out faces, each asked for the action units of another: correlation of the asked units with those
  that a network fitted to 8,000 real faces sees in the result (units, and each by its name); distance from the true drawing
  with these units (true_l1); how much of the attention falls outside the head (outside), whose share of the pixels stands beside it.
- unet on scenes or cells, the first 200 of the test part: mean IoU and pixel accuracy of the whole set; of cells also the F1 score of
  cells found: connected parts that share more than half of their union with a true cell, each counted once.
- adain, 64 patches of two photographs that were no contents: style, the squared distance of the means and deviations of the
  encoder's maps from the style's, over that of the content as it is (0 is the style's, 1 nothing done); style_loss and
  content_loss, the paper's; content, the distance of the deepest maps from the content's over that of other contents; colour, the
  distance of the mean and covariance of the pixels from the style's over that of the content as it is. Styles are patches of the
  set that was learnt from, and, in rows of their own, of two photographs that were no styles.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

from gankit import Recipe, data, latent, metrics
from gankit.data.builtin import drawn_faces, shapes
from gankit.evaluation import translations
from gankit.nn.style import adain, colour_moments, match_colours

Numbers = dict[str, float]
Rows = dict[str, list[Numbers]]
ROWS = 6  # of a picture


def choice(count: int, n: int) -> np.ndarray:
    """n numbers below count, always the same."""
    return np.random.default_rng(0).permutation(count)[:n]


def in_parts(function: Callable[..., Tensor], *tensors: Tensor, batch: int = 50) -> Tensor:
    return torch.cat([function(*parts).float().cpu() for parts in zip(*(x.split(batch) for x in tensors))])


def translated(recipe: Recipe, images: Tensor, to: str = "") -> Tensor:
    """Translations, with random numbers of their own for each image, which are the same for all models."""
    make = translations.translation_function(recipe, 0, to)
    like = next(recipe.parameters())
    parts = np.array_split(np.arange(len(images)), -(-len(images) // 50))
    return torch.cat([make(images[part].to(like), part).float().cpu() for part in parts])


def l1(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().double().mean())


class Pairs:
    """Measures images beside the true other side."""

    data, want, seeds = "photo-edges", "pairs", 3
    ablations = ({"gan_weight": 0.0}, {"l1_weight": 0.0})

    def __init__(self, name: str, resolution: str):
        held = data.open(f"{name}:test", resolution or None, want="pairs")
        numbers = choice(len(held), 200)
        self.a, self.b = (data.normalise(side.rows(numbers)["real"]) for side in (held.a, held.b))
        self.other = np.roll(np.arange(len(numbers)), 1)
        self.mean = data.normalise(
            data.open(name, resolution or None, want="pairs").b.rows(choice(len(held), 1000))["real"]
        ).mean((0, 2, 3))

    def measure(self, recipe: Recipe) -> Numbers:
        drawn = translated(recipe, self.a)
        return self.numbers(drawn) | {"l1_shuffled": l1(translated(recipe, self.a[self.other]), self.b)}

    def numbers(self, drawn: Tensor) -> Numbers:
        return {
            "l1": l1(drawn, self.b),
            "sharpness": float(drawn.diff(dim=3).abs().mean() / self.b.diff(dim=3).abs().mean()),
            "ssim": float(metrics.ssim(drawn.clamp(-1, 1), self.b).mean()),
        }

    def more(self, recipe: Recipe) -> dict[str, Numbers]:
        return {}

    def trivial(self, recipe: Recipe) -> dict[str, Numbers]:
        flat = self.mean.view(1, -1, 1, 1).expand_as(self.b)
        return {"mean colour": self.numbers(flat), "other true patches": self.numbers(self.b[self.other])}

    def columns(self, recipe: Recipe) -> list[Tensor]:
        return [self.a[:ROWS], translated(recipe, self.a[:ROWS]), self.b[:ROWS]]

    def summary(self, rows: Rows) -> list[str]:
        if not {"trained", "gan_weight=0.0"} <= rows.keys():
            return []
        both = list(zip(rows["trained"], rows["gan_weight=0.0"]))
        sharper = [f"{a['sharpness'] / b['sharpness']:.2f}" for a, b in both]
        worse = [f"{100 * (a['l1'] / b['l1'] - 1):+.1f} %" for a, b in both]
        half = [f"{numbers['l1'] / rows['mean colour'][0]['l1']:.2f}" for numbers in rows["trained"]]
        return [
            f"sharpness over that of L1 alone: {', '.join(sharper)}; l1 beside it: {', '.join(worse)}; l1 over the mean colour's: {', '.join(half)}"
        ]


class Negatives:
    """Measures digits as negatives, and negatives as digits."""

    data, want, seeds = "digits-negative", "domains", 5
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
        before, found = metrics.classify(self.a), {}
        for way, images, sign in (("ab", there[0], -1), ("ba", there[1], 1)):
            after = metrics.classify(sign * images)
            counts = metrics.confusion(after, before, 10, None)
            found[f"kept_{way}"] = metrics.accuracy(after, before)
            found[f"swapped_{way}"] = int((counts.argmax(1) != torch.arange(10)).sum())
            found[f"true_l1_{way}"] = l1(images, sign * self.a)
        return found

    def more(self, recipe: Recipe) -> dict[str, Numbers]:
        return {}

    def trivial(self, recipe: Recipe) -> dict[str, Numbers]:
        mean = self.mean.expand_as(self.a)
        nothing = {"cycle_l1_aba": 0.0, "cycle_l1_bab": 0.0}
        return {
            "the true negative": self.numbers((-self.a, self.a)) | nothing,
            "image as it is": self.numbers((self.a, -self.a)) | nothing,
            "mean image": self.numbers((-mean, mean))
            | {"cycle_l1_aba": l1(mean, self.a), "cycle_l1_bab": l1(mean, self.a)},
        }

    def columns(self, recipe: Recipe) -> list[Tensor]:
        there = translated(recipe, self.a[:30], "b"), translated(recipe, -self.a[:30], "a")
        back = translated(recipe, there[0], "a"), translated(recipe, there[1], "b")
        return [self.a[:30], there[0], back[0], -self.a[:30], there[1], back[1]]

    def summary(self, rows: Rows) -> list[str]:
        found = []
        for variant, numbers in rows.items():
            if "kept_ab" in numbers[0] and len(numbers) > 1:
                shares = [np.median([n[f"kept_{way}"] for n in numbers]) for way in ("ab", "ba")]
                swaps = sum(n["swapped_ab"] + n["swapped_ba"] > 0 for n in numbers)
                found.append(
                    f"{variant}: median label kept {shares[0]:.3f} a to b, {shares[1]:.3f} b to a; {swaps} of {len(numbers)} seeds swap digits"
                )
        return found


class DualNegatives(Negatives):
    """As `Negatives`, for a model with a weight for each direction of the cycle."""

    ablations = ({"cycle_weight_b": 0.0}, {"cycle_weight_a": 0.0}, {"cycle_weight_a": 0.0, "cycle_weight_b": 0.0})


class Shapes:
    """Measures drawings that were asked for another colour or size."""

    data, want, seeds = "shapes:colours+shapes:sizes", "images", 3
    ablations = ({"cycle_weight": 0.0},)
    paints = torch.tensor(list(shapes.COLOURS.values())) / 127.5 - 1

    def __init__(self, name: str, resolution: str):
        held = data.open("shapes:both:test", resolution or None)
        rows = held.rows(choice(len(held), 300))
        self.real, known = data.normalise(rows["real"]), rows["attribute"]
        k = len(self.paints)
        self.colour, self.large = known[:, :k].argmax(1), known[:, k] > 0.5
        self.asked = (self.colour + 1 + torch.arange(len(known)) % (k - 1)) % k
        cover = (self.real.amax(1, keepdim=True) + 1) / (self.paints[self.colour].amax(1).view(-1, 1, 1, 1) + 1)
        self.target = cover * (self.paints[self.asked].view(-1, 3, 1, 1) + 1) - 1

    def read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The colour of each drawing, and whether it is large: by its pixels, whose ground is black."""
        light = (images + 1) / 2
        inside = light.amax(1) > 0.5 * light.amax(1).flatten(1).quantile(0.98, 1)[:, None, None].clamp(min=0.2)
        count = inside.flatten(1).sum(1).clamp(min=1)
        mean = (light * inside[:, None]).flatten(2).sum(2) / count[:, None]
        colour = torch.cdist(mean, (self.paints + 1) / 2).argmin(1)
        y, x = torch.meshgrid(*(torch.arange(side).float() for side in images.shape[2:]), indexing="ij")
        middle = [(at * inside).flatten(1).sum(1) / count for at in (y, x)]
        away = ((y - middle[0][:, None, None]).square() + (x - middle[1][:, None, None]).square()).sqrt()
        reach = torch.stack(
            [row[some].quantile(0.95) if some.any() else torch.tensor(0.0) for row, some in zip(away, inside)]
        )
        return colour, reach > 0.43 * min(images.shape[2:]) / 2

    def asked_of(self, recipe: Recipe) -> tuple[Tensor, Tensor]:
        """The conditions that ask for another colour, and for the other size, as G sees them."""
        k = len(self.paints)
        return recipe.condition(F.one_hot(self.asked, k).float(), 0), recipe.condition(
            (~self.large).float()[:, None], 1
        )

    def measure(self, recipe: Recipe) -> Numbers:
        return self.numbers(*(in_parts(recipe.g, self.real, asked) for asked in self.asked_of(recipe)))

    def numbers(self, coloured: Tensor, sized: Tensor) -> Numbers:
        colour, large = self.read(coloured)
        found = {"colour_asked": metrics.accuracy(colour, self.asked), "size_kept": metrics.accuracy(large, self.large)}
        colour, large = self.read(sized)
        found |= {
            "size_asked": metrics.accuracy(large, ~self.large),
            "colour_kept": metrics.accuracy(colour, self.colour),
        }
        return found | {"true_l1": l1(coloured, self.target)}

    def more(self, recipe: Recipe) -> dict[str, Numbers]:
        """The same attributes with the mask vector of the other set."""
        wrong = []
        for asked in self.asked_of(recipe):
            wrong.append(torch.cat([asked[:, :-2], asked[:, -2:].flip(1)], 1))
        return {"wrong mask": self.numbers(*(in_parts(recipe.g, self.real, asked) for asked in wrong))}

    def trivial(self, recipe: Recipe) -> dict[str, Numbers]:
        colour, large = self.read(self.real)
        print(
            f"colours and sizes of real drawings read rightly: {metrics.accuracy(colour, self.colour):.3f}, {metrics.accuracy(large, self.large):.3f}"
        )
        return {
            "image as it is": self.numbers(self.real, self.real),
            "true colour": self.numbers(self.target, self.real),
        }

    def columns(self, recipe: Recipe) -> list[Tensor]:
        """Drawings, all colours, the other size, and a colour and a size asked for with the wrong mask."""
        some, k = self.real[:ROWS], len(self.paints)
        columns = [some, *(recipe.translate(some, torch.eye(k)[[i] * len(some)], 0) for i in range(k))]
        columns.append(recipe.translate(some, (~self.large[:ROWS]).float()[:, None], 1))
        for asked in self.asked_of(recipe):
            columns.append(recipe.g(some, torch.cat([asked[:ROWS, :-2], asked[:ROWS, -2:].flip(1)], 1)))
        return columns

    def summary(self, rows: Rows) -> list[str]:
        return []


class Faces:
    """Measures faces that were asked for the action units of others."""

    data, want, seeds = "faces", "images", 3
    ablations = ({"cycle_weight": 0.0}, {"attention_weight": 0.0})

    def __init__(self, name: str, resolution: str):
        held = data.open(f"{name}:test", resolution or None)
        self.numbers_of = choice(len(held), 200)
        rows = held.rows(self.numbers_of)
        self.real, self.own = data.normalise(rows["real"]), rows["attribute"]
        self.asked = self.own.roll(1, 0)
        sides = held.shape[1:]
        people = self.numbers_of + drawn_faces.SIZE
        self.target = data.normalise(torch.from_numpy(drawn_faces.draw(people, self.asked.numpy(), *sides)))
        heads = [drawn_faces.face_mask(people, units.numpy(), *sides) for units in (self.own, self.asked)]
        self.outside = torch.from_numpy(~(heads[0] | heads[1]))
        self.name, self.resolution = name, resolution

    @cached_property
    def regressor(self) -> Callable[[Tensor], Tensor]:
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
        found = metrics.correlation(self.asked, self.regressor(drawn)).tolist()
        return (
            {"units": float(np.mean(found))} | {"true_l1": l1(drawn, self.target)} | dict(zip(drawn_faces.UNITS, found))
        )

    def more(self, recipe: Recipe) -> dict[str, Numbers]:
        return {}

    def trivial(self, recipe: Recipe) -> dict[str, Numbers]:
        even = {"outside": float(self.outside.double().mean())}
        return {
            "face as it is": self.numbers(self.real),
            "true drawing": self.numbers(self.target),
            "attention alike all over": even,
        }

    def columns(self, recipe: Recipe) -> list[Tensor]:
        some = self.real[:ROWS], self.asked[:ROWS]
        mask = recipe.attention(*some)[1]
        return [some[0], recipe.translate(*some), self.target[:ROWS], (2 * mask - 1).expand_as(some[0])]

    def summary(self, rows: Rows) -> list[str]:
        return []


class Maps:
    """Measures label maps."""

    data, want, seeds = "scenes", "masks", 3
    ablations = ({"elastic": 0.0},)

    def __init__(self, name: str, resolution: str):
        held, train = (data.open(part, resolution or None, want="masks") for part in (f"{name}:test", name))
        rows = held.rows(np.arange(min(200, len(held))))
        self.real, self.mask, self.k = data.normalise(rows["real"]), rows["mask"], held.num_classes
        self.colours = data.palette(self.k) if held.colours is None else held.colours
        self.cells = name == "cells"
        if self.cells:
            self.ablations = ({"border_weight": 0.0}, {"elastic": 0.0})
        self.taught = train.rows(choice(len(train), 100))

    def measure(self, recipe: Recipe) -> Numbers:
        return self.numbers(torch.cat([recipe.segment(part).cpu() for part in self.real.split(20)]))

    def numbers(self, maps: Tensor) -> Numbers:
        matrix = metrics.confusion(maps, self.mask, self.k)
        found = {"mean_iou": metrics.mean_iou(matrix), "pixel_accuracy": metrics.pixel_accuracy(matrix)}
        return found | {"cells_f1": cells_found(maps.numpy(), self.mask.numpy())} if self.cells else found

    def more(self, recipe: Recipe) -> dict[str, Numbers]:
        return {}

    def trivial(self, recipe: Recipe) -> dict[str, Numbers]:
        pixels, label = (
            data.normalise(self.taught["real"]).permute(0, 2, 3, 1).flatten(0, 2),
            self.taught["mask"].flatten(),
        )
        some = torch.from_numpy(choice(len(label), 50_000))
        some = some[label[some] != 255]
        rule = LogisticRegression(max_iter=200).fit(pixels[some].numpy(), label[some].numpy())
        found = rule.predict(self.real.permute(0, 2, 3, 1).flatten(0, 2).numpy())
        usual = int(label[label != 255].bincount().argmax())
        return {
            "each pixel by its colour": self.numbers(torch.from_numpy(found).view_as(self.mask)),
            "the commonest class": self.numbers(torch.full_like(self.mask, usual)),
        }

    def columns(self, recipe: Recipe) -> list[Tensor]:
        maps = recipe.segment(self.real[:ROWS]).cpu(), self.mask[:ROWS]
        return [self.real[:ROWS], *(data.normalise(data.paint(x, self.colours)) for x in maps)]

    def summary(self, rows: Rows) -> list[str]:
        return []


def cells_found(maps: np.ndarray, truth: np.ndarray) -> float:
    """F1 score of connected parts of (N, H, W) maps that share more than half of their union with one of the truth."""
    right = parts = 0
    for found, real in zip(maps, truth):
        (a, n), (b, m) = (ndimage.label(x == 1) for x in (found, real))
        shared = np.zeros((n + 1, m + 1))
        np.add.at(shared, (a.ravel(), b.ravel()), 1)
        union = shared.sum(1, keepdims=True) + shared.sum(0, keepdims=True) - shared
        right += int((shared / np.maximum(union, 1))[1:, 1:].__gt__(0.5).sum())  # more than half: one partner at most
        parts += n + m
    return 2 * right / max(1, parts)


class Styles:
    """Measures pictures in the style of others."""

    data, want, seeds = "contents,styles", "domains", 3
    ablations = ({"style_weight": 0.0},)
    count = 64

    def __init__(self, name: str, resolution: str):
        side = data.open(name, resolution or None, want="domains").shape[1]
        self.content = patches(("photo:cat", "photo:coins"), side, self.count)
        styles = data.open(name, resolution or None, want="domains").b
        self.style = data.normalise(styles.rows(choice(len(styles), self.count))["real"]).expand(-1, 3, -1, -1)
        self.unseen = patches(("photo:flower", "photo:astronaut"), side, self.count)

    def draw(self, recipe: Recipe, style: Tensor, **given: float) -> Tensor:
        return torch.cat(
            [recipe.translate(c[None], s[None], **given).float().cpu() for c, s in zip(self.content, style)]
        )

    def measure(self, recipe: Recipe) -> Numbers:
        return self.numbers(recipe, self.draw(recipe, self.style), self.style)

    def numbers(self, recipe: Recipe, drawn: Tensor, style: Tensor) -> Numbers:
        wanted, own, found = (recipe.statistics(x) for x in (style, self.content, drawn))
        maps, content, other = (recipe.encoder(x)[-1] for x in (drawn, self.content, self.content.roll(1, 0)))
        target = adain(content, *wanted[-1])

        def apart(these: list[tuple[Tensor, Tensor]]) -> float:
            return float(
                sum((a - b).square().sum((1, 2, 3)).mean() for one, two in zip(these, wanted) for a, b in zip(one, two))
            )

        def colours(images: Tensor) -> float:
            return sum(
                float((a - b).square().flatten(1).sum(1).mean())
                for a, b in zip(colour_moments(images), colour_moments(style))
            )

        return {
            "style": apart(found) / apart(own),
            "style_loss": apart(found),
            "content_loss": float((maps - target).square().mean()),
            "content": float((maps - content).square().mean() / (other - content).square().mean()),
            "colour": colours(drawn) / colours(self.content),
        }

    def more(self, recipe: Recipe) -> dict[str, Numbers]:
        return {
            "styles never seen": self.numbers(recipe, self.draw(recipe, self.unseen), self.unseen),
            "strength 0.5": self.numbers(recipe, self.draw(recipe, self.style, strength=0.5), self.style),
            "strength 0": self.numbers(recipe, self.draw(recipe, self.style, strength=0.0), self.style),
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
        """Content, style, result; and the same with a style that was never seen."""
        seen, unseen = (self.draw(recipe, style)[:ROWS] for style in (self.style, self.unseen))
        return [self.content[:ROWS], self.style[:ROWS], seen, self.unseen[:ROWS], unseen]

    def summary(self, rows: Rows) -> list[str]:
        return []


def patches(names: tuple[str, ...], side: int, n: int) -> Tensor:
    """(n, 3, side, side) patches of photographs that are reduced as those of `contents` are, two fifths of each side."""
    whole = [
        data.normalise(data.open(f"{name}:whole", side * 5 // 2).rows(np.arange(1))["real"])[0].expand(3, -1, -1)
        for name in names
    ]
    rng = np.random.default_rng(0)
    places = rng.integers(0, side * 3 // 2, (n, 2))
    return torch.stack([whole[i % len(whole)][:, y : y + side, x : x + side] for i, (y, x) in enumerate(places)])


Judge = Pairs | Negatives | Shapes | Faces | Maps | Styles
JUDGES: dict[str, type[Judge]] = {
    "adain": Styles,
    "cyclegan": Negatives,
    "dualgan": DualNegatives,
    "ganimation": Faces,
    "pix2pix": Pairs,
    "stargan": Shapes,
    "unet": Maps,
}
GIVEN = {
    "cells": {"border_weight": 10.0}
}  # what a paper's claim on these data hangs on, where the preset leaves it out
DATA = {
    "unet": ("scenes", "cells"),
    "pix2pix": ("photo-edges", "photo-grey"),
}  # where there is a choice, the first is usual


def picture(judge: Judge, recipe: Recipe) -> tuple[Tensor, int]:
    """A strip of images side by side, and how many columns the sheet has."""
    columns = judge.columns(recipe)
    return latent.beside(columns), len(columns) * max(1, 12 // len(columns) if len(columns[0]) > ROWS else 1)
