"""What a model makes of images, as samples: translations and label maps of inputs that it did not learn from, by number.

A model of two domains, or with attributes or styles, is judged on inputs; each translation is a pure function of the
weights, the seed and the input's number, also where the model draws random numbers for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gankit import data
from gankit.data.reading import cache
from gankit.data.union import attributes_of
from gankit.evaluation.sources import DIGITS, NEGATIVE, Asked, Attributes, Rows, Source, of_dataset
from gankit.recipe import Recipe, seeded

Data = data.Dataset | data.Domains | data.Union
NO_INPUTS = "the inputs are training data, as none are held out"


class Trial(NamedTuple):
    """Samples, and what they are held against: the data they should be like, and such data that no model has seen."""

    fake: Source
    real: Source | None
    held_out: Source | None


def translates(recipe: Recipe) -> bool:
    """Whether the model is judged by what it makes of images, and not by samples from noise."""
    return (hasattr(recipe, "segment") or hasattr(recipe, "translate")) and not hasattr(recipe, "sample")


def of_unseen(name: str) -> str:
    """The name of the part of data that models do not train on; empty where there is none."""
    if not name:
        return ""
    parts = [data.held_out_of(part) for part in data.plus(name) or [name]]
    return "+".join(map(str, parts)) if all(parts) else ""


def trials(
    recipe: Recipe,
    name: str,
    fingerprint: str,
    train: Data | None,
    unseen: Data | None,
    seed: int = 0,
    about: dict[str, object] | None = None,
    typed: str = "",
    domains: str = "ab",
) -> list[Trial]:
    """What there is to judge of a translator: its translations in each direction that it knows.

    Args:
        recipe: the model, in eval mode.
        name: short, for tables.
        fingerprint: equal for equal weights.
        train: the data that it learned from.
        unseen: data of the same kind that it did not learn from.
        seed: of the choice of the inputs, and of all random numbers.
        about: what a record says of the model.
        typed: the data's name as it was typed.
        domains: those of two that the model has a generator to; with one there is no way back.

    Raises:
        ValueError: there are no data, or they are of another kind.
    """
    held = unseen if unseen is not None else train
    if held is None:
        raise ValueError(
            f"{type(recipe).__name__} is judged by what it makes of images: name some with --held-out or --against"
        )
    kinds = recipe.data.split()
    if held.kind not in kinds:
        raise ValueError(f"{type(recipe).__name__} learns from {' or '.join(kinds)}; {held.name} holds {held.kind}")
    for shape, needed in ((held.shape, recipe.spec.shape), (held.other, recipe.spec.other)):
        if len(shape) == 3 and needed and shape[0] != needed[0]:
            raise ValueError(f"{held.name} has images of {shape[0]} channels where {name} takes {needed[0]}")
    told = (about or {}) | {
        "seed": seed,
        "inputs": {"data": held.name, "fingerprint": held.fingerprint, "held_out": unseen is not None},
    }
    note = "" if unseen is not None else NO_INPUTS
    parameters = inspect.signature(recipe.translate).parameters if hasattr(recipe, "translate") else {}
    if hasattr(recipe, "segment") and held.kind == "masks":
        inputs = shuffled(of_dataset(replace(held, kind="images"), typed), seed)
        targets = shuffled(of_masks(held), seed)
        fake = made(recipe, name, fingerprint, inputs, seed, recipe.segment, "maps", targets.shape, told, note)
        return [Trial(replace(fake, targets=targets, classes=held.num_classes), None, None)]
    if isinstance(held, data.Domains):
        sides = {"a": of_side(held, "a", typed), "b": of_side(held, "b", typed)}
        learned = None if train is None else {"a": of_side(train, "a", typed), "b": of_side(train, "b", typed)}
        found = []
        both = "to" in parameters
        ways = [way for way in ("ab", "ba") if way[1] in domains] if both else [getattr(recipe, "sides", ("a", "b"))]
        for origin, to in ways:
            inputs = shuffled(sides[origin], seed)
            styles = repeated(shuffled(sides[to], seed + 1), inputs.count) if "styles" in parameters else None
            make = maker(recipe, seed, to if both else "", styles)
            way = f"{origin}{to}" if len(ways) > 1 else ""
            fake = made(recipe, name, fingerprint, inputs, seed, make, "images", sides[to].shape, told, note, way)
            fake = replace(
                fake,
                targets=shuffled(sides[to], seed) if held.kind == "pairs" else None,
                styles=styles,
                view=sides[to].view,
                colours=label_colours(held, inputs),
            )
            real = (
                None
                if learned is None
                else replace(learned[to], inputs=learned[origin] if held.kind == "pairs" else None)
            )
            found.append(Trial(fake, real, sides[to] if unseen is not None else None))
        return found
    inputs = shuffled(of_images(held, typed), seed)
    attributes = None
    if inputs.attributes is not None:
        inner = chosen(inputs.attributes, getattr(recipe, "columns", None))
        inputs = replace(inputs, attributes=inner)
        attributes = replace(inner, known=lambda numbers: ask(inner, inputs, numbers, seed))
    make = maker(recipe, seed, attributes=attributes)
    fake = made(recipe, name, fingerprint, inputs, seed, make, "images", inputs.shape, told, note)
    real = None if train is None else of_images(train, typed)
    if real is not None and real.attributes is not None:
        real = replace(real, attributes=chosen(real.attributes, getattr(recipe, "columns", None)))
    return [Trial(replace(fake, attributes=attributes), real, of_images(held, typed) if unseen is not None else None)]


def made(
    recipe: Recipe,
    name: str,
    fingerprint: str,
    inputs: Source,
    seed: int,
    make: Callable[..., Tensor],
    kind: str,
    shape: tuple[int, ...],
    about: dict[str, object],
    note: str,
    way: str = "",
) -> Source:
    """What `make` gives for each input, by the input's number."""
    takes_numbers = "numbers" in inspect.signature(make).parameters

    def read(numbers: np.ndarray) -> Rows:
        images, label = inputs.read(numbers)
        like = next(recipe.parameters())
        with torch.no_grad():
            given = images.to(like.device, like.dtype)
            made = make(given, numbers) if takes_numbers else make(given)
        return made.cpu() if kind == "maps" else made.float().cpu(), label

    key = cache.key(fingerprint, inputs.fingerprint, seed, way, next(recipe.parameters()).dtype)
    told = {"way": f"{way[0]} to {way[1]}"} if way else {}
    return Source(
        name, kind, tuple(shape), inputs.count, read, key, about=about | told, recipe=recipe, inputs=inputs, way=way, note=note
    )  # fmt: skip


def maker(
    recipe: Recipe, seed: int, to: str = "", styles: Source | None = None, attributes: Attributes | None = None
) -> Callable[[Tensor, np.ndarray], Tensor]:
    """A model's `translate` with all that it takes beside images, as a function of images and their numbers."""
    parameters = inspect.signature(recipe.translate).parameters

    def make(images: Tensor, numbers: np.ndarray) -> Tensor:
        given: dict[str, object] = {"to": to} if to else {}
        if attributes is not None and "attribute" in parameters:
            return answers(recipe, images, attributes.known(numbers), "source" in parameters)
        if styles is not None:  # each image in a style of its own
            own = styles.read(numbers)[0].to(images)
            return torch.cat([recipe.translate(image[None], styles=style[None]) for image, style in zip(images, own)])
        if "z" in parameters and hasattr(recipe, "noise"):
            given["z"] = noise(recipe, numbers, seed, images)
        return recipe.translate(images, **given)

    return make


def answers(recipe: Recipe, images: Tensor, asked: Asked, of_sets: bool) -> Tensor:
    """Translations with the attributes asked for; of joined sets for each set in turn."""
    attribute = asked.attribute.nan_to_num(0).to(images)
    if not of_sets:
        return recipe.translate(images, attribute=attribute)
    out = torch.empty_like(images)
    for source in asked.source.unique().tolist():
        rows = (asked.source == source).to(images.device)
        out[rows] = recipe.translate(images[rows], attribute=attribute[rows], source=source)
    return out


def noise(recipe: Recipe, numbers: np.ndarray, seed: int, images: Tensor) -> Tensor:
    """Random numbers for each image, drawn alone from the seed and the image's number."""
    drawn = []
    for number in numbers.tolist():
        with seeded(seed, number):
            drawn.append(recipe.noise(1, *images.shape[2:]))
    return torch.cat(drawn).to(images)


def back(source: Source, samples: Tensor, numbers: np.ndarray) -> Tensor:
    """Translations of two domains brought back to where their inputs were."""
    way = source.way
    like = next(source.recipe.parameters())
    make = maker(source.recipe, source.about["seed"], way[0])
    with torch.no_grad():
        return make(samples.to(like.device, like.dtype), numbers).float().cpu()


# Data, by the parts that they play -----------------------------------------------------------------------------------


def shuffle(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(count)


def shuffled(source: Source, seed: int) -> Source:
    """The same samples in an order of the seed: neighbours in a set may be alike, and the first ones are to stand for all."""
    order = shuffle(source.count, seed)
    attributes = source.attributes
    if attributes is not None:
        inner = attributes.known
        attributes = replace(attributes, known=lambda numbers: inner(order[numbers]))
    return replace(
        source,
        read=lambda numbers: source.read(order[numbers]),
        attributes=attributes,
        fingerprint=cache.key(source.fingerprint, seed),
    )


def repeated(source: Source, count: int) -> Source:
    """The same samples again and again, until there are `count`."""
    return replace(source, read=lambda numbers: source.read(numbers % source.count), count=count)


def of_side(domains: data.Domains, side: str, typed: str) -> Source:
    """One of two domains, or of the sides of pairs."""
    name = typed.split(":")[0]
    source = of_dataset(getattr(domains, side), f"{typed}:{side}" if typed else "")
    view = VIEWS.get(name, {}).get(side, "")
    return replace(source, name=f"{domains.name} {side}", view=view)


# How the digits' classifier is to see a domain: as it is, or its negative. It sees no other data.
VIEWS = {"digits-negative": {"a": DIGITS, "b": NEGATIVE}, "digits-edges": {"a": DIGITS}}


def of_masks(dataset: data.Dataset) -> Source:
    """A data set's label maps, (n, H, W) int64, 255 where they are void."""

    def read(numbers: np.ndarray) -> Rows:
        return dataset.rows(numbers)["mask"].long(), None

    shape = tuple(dataset.shape[1:])
    return Source(
        f"{dataset.name} label maps",
        "maps",
        shape,
        len(dataset),
        read,
        dataset.fingerprint,
        dataset.num_classes,
        tuple(dataset.class_names),
    )


def of_images(found: data.Dataset | data.Union, typed: str) -> Source:
    """A set of images, or several joined ones, with their attributes; classes alone are attributes, too."""
    sets = found.sets if isinstance(found, data.Union) else [found]
    own = [attributes_of(one) for one in sets]
    names = tuple(name for each in own for name in each[0])
    ends = np.cumsum([len(one) for one in sets])
    parts = [of_dataset(one, typed) for one in sets]

    def places(numbers: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each set, which of the numbers are its, and what they are there."""
        of = np.searchsorted(ends, numbers, side="right")
        return [(np.flatnonzero(of == i), numbers[of == i] - (ends[i] - len(one))) for i, one in enumerate(sets)]

    def read(numbers: np.ndarray) -> Rows:
        if len(sets) == 1:
            return parts[0].read(numbers)
        rows = torch.empty(len(numbers), *sets[0].shape)
        for part, (rows_of, inside) in zip(parts, places(numbers)):
            if len(inside):
                rows[torch.from_numpy(rows_of)] = part.read(inside)[0]
        return rows, None

    def attributes(numbers: np.ndarray) -> Asked:
        table = torch.full((len(numbers), len(names)), torch.nan)
        source = torch.zeros(len(numbers), dtype=torch.int64)
        first = 0
        for i, ((rows_of, inside), each) in enumerate(zip(places(numbers), own)):
            rows_of = torch.from_numpy(rows_of)
            table[rows_of, first : first + len(each[0])] = torch.from_numpy(each[1][inside]).float()
            source[rows_of] = i
            first += len(each[0])
        return Asked(table, source, torch.full_like(source, -1))

    facts = None
    if all(len(each[0]) for each in own):
        graded = any(bool(((each[1] != 0) & (each[1] != 1)).any()) for each in own)
        facts = Attributes(
            names, tuple(len(each[0]) for each in own), tuple(each[2] for each in own), attributes, graded
        )
    about = {"data": found.name, "fingerprint": found.fingerprint, "shape": list(found.shape), "count": len(found)}
    whole = replace(
        parts[0],
        name=found.name,
        count=len(found),
        read=read,
        fingerprint=found.fingerprint,
        about=about,
        attributes=facts,
    )
    return whole if len(sets) == 1 else replace(whole, classes=0, class_names=())


def chosen(attributes: Attributes, columns: list[int] | None) -> Attributes:
    """Those of the attributes that a model learned."""
    if columns is None or len(columns) == len(attributes.names):
        return attributes
    groups = tuple(sum(part.start <= i < part.stop for i in columns) for part in attributes.slices())
    exclusive = tuple(one and k == n for one, k, n in zip(attributes.exclusive, groups, attributes.groups))

    def known(numbers: np.ndarray) -> Asked:
        found = attributes.known(numbers)
        return found._replace(attribute=found.attribute[:, columns])

    return Attributes(tuple(attributes.names[i] for i in columns), groups, exclusive, known, attributes.graded)


HAIR = "_Hair"  # of CelebA's attributes that end so one at most holds


def ask(attributes: Attributes, inputs: Source, numbers: np.ndarray, seed: int) -> Asked:
    """What is asked of each input: one attribute that it does not have; of degrees, all those of another image."""
    own = inputs.attributes.known(numbers)
    target, source, which = torch.full_like(own.attribute, torch.nan), own.source.clone(), own.which.clone()
    slices = attributes.slices()
    others = [np.random.default_rng((seed, number)) for number in numbers.tolist()]
    for i, rng in enumerate(others):
        to = int(rng.integers(len(slices)))
        part, home = slices[to], int(own.source[i]) == to
        size = part.stop - part.start
        source[i] = to
        if attributes.graded or not home:  # what is not known of an image is taken from one of which it is
            mine = like_me(inputs, rng, to)
        else:
            mine = own.attribute[i, part].clone()
        if not attributes.graded:
            k = int(rng.integers(size))
            if attributes.exclusive[to]:
                if home and size > 1 and mine[k] == 1:
                    k = (k + 1 + int(rng.integers(size - 1))) % size
                mine = torch.eye(size)[k]
            else:
                hair = [j for j in range(size) if attributes.names[part.start + j].endswith(HAIR)]
                if k in hair and home and mine[k] == 1 and len(hair) > 1:  # another colour, not none
                    k = hair[(hair.index(k) + 1 + int(rng.integers(len(hair) - 1))) % len(hair)]
                mine[k] = 1 - mine[k] if home else 1.0 if k in hair else float(rng.integers(2))
                if k in hair:
                    mine[[j for j in hair if j != k]] = 0
            which[i] = part.start + k
        target[i, part] = mine
    return Asked(target, source, which)


def like_me(inputs: Source, rng: np.random.Generator, to: int) -> Tensor:
    """The attributes of a random image of joined set `to`."""
    part = inputs.attributes.slices()[to]
    while True:
        found = inputs.attributes.known(rng.integers(inputs.count, size=1))
        if int(found.source) == to:
            return found.attribute[0, part].clone()


def label_colours(domains: data.Domains, inputs: Source, most: int = 64) -> Tensor | None:
    """(K, 3) colours of label maps, in [-1, 1], where the inputs of pairs are such: images of 3 to `most` colours."""
    if domains.kind != "pairs" or inputs.shape[0] != 3:
        return None
    if getattr(domains.a, "colours", None) is not None:
        return data.normalise(torch.from_numpy(domains.a.colours))
    images = inputs.read(np.arange(min(16, inputs.count)))[0]
    found = images.permute(0, 2, 3, 1).reshape(-1, 3).unique(dim=0)
    if not 3 <= len(found) <= most:
        return None
    return inputs.read(np.arange(min(256, inputs.count)))[0].permute(0, 2, 3, 1).reshape(-1, 3).unique(dim=0)


def classes_of(images: Tensor, colours: Tensor) -> Tensor:
    """(N, 3, H, W) coloured label maps to the (N, H, W) number of the nearest colour."""
    return torch.stack([torch.cdist(image.flatten(1).T, colours).argmin(1).view(image.shape[1:]) for image in images])
