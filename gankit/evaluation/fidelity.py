"""What is asked of outputs one by one: likeness to what they should be, the way back, attributes, classes of pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from gankit import data, metrics
from gankit.evaluation.sources import NEGATIVE, Attributes, Source
from gankit.evaluation.subject import Score, Subject, share_error
from gankit.evaluation.translations import HAIR, back, classes_of

TAUGHT, SHOWN = 500, 2000  # photographs that a segmenter learns from, and images that a network for attributes does


# Pixel by pixel ------------------------------------------------------------------------------------------------------


def twins(s: Subject) -> tuple[Tensor, Tensor]:
    """Images and what the model makes in their place: targets of translations; reals, unseen ones where there are such."""
    if s.fake.targets is not None:
        return s.targets, s.pixels[0]
    images = (s.held_out_pixels if s.held_out else s.real_pixels)[0]
    like = next(s.fake.recipe.parameters())
    with torch.no_grad():
        drawn = torch.cat([s.fake.recipe.reconstruct(part.to(like)).float().cpu() for part in images.split(s.batch)])
    return images, drawn


def mean_of(values: Tensor, name: str, better: str, note: str = "") -> Score:
    """The mean over images and its standard error; infinite ones, of outputs without any error, are left out."""
    there = values.double()[~values.isposinf()]
    if not len(there):
        raise ValueError(f"the outputs are what they should be, exactly, in all of {len(values)} images")
    without = f"without {len(values) - len(there)} outputs that are exactly what they should be" * (
        len(there) < len(values)
    )
    error = float(there.std()) / math.sqrt(len(there)) if len(there) > 1 else None
    note = "; ".join(filter(None, (note, without)))
    return Score(
        name, float(there.mean()), error, "standard error" * (error is not None), better, len(there), len(there), note
    )


def levels(images: Tensor) -> Tensor:
    """Rounded to 8 bits, as files are."""
    return data.normalise(data.quantise(images))


def l1(s: Subject) -> Iterator[Score]:
    """Mean absolute difference of outputs from what they should be, of images in [-1, 1]."""
    target, drawn = twins(s)
    yield mean_of((levels(drawn) - levels(target)).abs().mean((1, 2, 3)), "l1", "lower")


def psnr(s: Subject) -> Iterator[Score]:
    """Peak signal-to-noise ratio of outputs beside what they should be, in dB."""
    target, drawn = twins(s)
    yield mean_of(metrics.psnr(drawn, target), "psnr", "higher")


def ssim(s: Subject) -> Iterator[Score]:
    """Structural similarity of outputs to what they should be, 1 for the same."""
    target, drawn = twins(s)
    yield mean_of(metrics.ssim(drawn, target), "ssim", "higher")


def lpips(s: Subject) -> Iterator[Score]:
    """LPIPS of outputs beside what they should be, on VGG16: how unlike they look."""
    target, drawn = twins(s)
    yield mean_of(metrics.lpips(drawn, target), "lpips", "lower")


def cycle(s: Subject) -> Iterator[Score]:
    """Mean absolute difference of inputs from their translations translated back, of images in [-1, 1]."""
    parts = range(0, len(s.taken), s.batch)
    found = torch.cat([back(s.fake, s.pixels[0][i : i + s.batch], s.taken[i : i + s.batch]) for i in parts])
    yield mean_of((levels(found) - levels(s.inputs)).abs().mean((1, 2, 3)), "cycle", "lower", "there and back")


def style(s: Subject) -> Iterator[Score]:
    """How far the statistics of the encoder's maps are from the style's: 0 is the style's own, 1 the content as it is."""
    recipe, like = s.fake.recipe, next(s.fake.recipe.parameters())
    styles = s.beside(s.fake.styles)
    far: list[list[Tensor]] = [[], []]
    for some in torch.arange(len(styles)).split(s.batch):
        wanted = recipe.statistics(styles[some].to(like))
        for images, found in zip((s.pixels[0], s.inputs), far):
            apart = [
                (a - b).square().flatten(1).sum(1)
                for one, two in zip(recipe.statistics(images[some].to(like)), wanted)
                for a, b in zip(one, two)
            ]
            found.append(torch.stack(apart).sum(0).double().cpu())
    drawn, before = (torch.cat(found) for found in far)
    yield Score(
        "style",
        float(drawn.mean() / before.mean()),
        better="lower",
        n_fake=len(drawn),
        note="squared distance of means and deviations, over the content's",
    )


# Classes and attributes of images ------------------------------------------------------------------------------------


def label_kept(s: Subject) -> Iterator[Score]:
    """Share of translations that the classifier of digits takes for the digit it takes their inputs for."""
    before, after = (
        metrics.classify(-images if view == NEGATIVE else images)
        for images, view in ((s.inputs, s.fake.inputs.view), (s.pixels[0], s.fake.view))
    )
    yield share((before == after).double(), "label_kept")


def share(right: Tensor, name: str, note: str = "") -> Score:
    value, n = float(right.mean()), len(right)
    return Score(name, value, share_error(value, n), "standard error", "higher", 0, n, note)


def attributes(s: Subject) -> Iterator[Score]:
    """Whether translations show the attributes asked for and keep the others, by a small network fitted to the data."""
    facts, asked = s.fake.attributes, s.fake.attributes.known(s.taken)
    numbers = s.real.numbers(min(SHOWN, s.many), s.seed)
    known = s.real.attributes.known(numbers).attribute
    span = float(torch.nan_to_num(known).abs().max())  # intensities of another scale, such as 0 to 5, become 0 to 1
    images = torch.cat([s.real.read(numbers[i : i + s.batch])[0] for i in range(0, len(numbers), s.batch)])
    found = metrics.fit_attributes(images, known / max(span, 1.0), s.seed)
    yield from (degrees if facts.graded else shown)(s, facts, asked.attribute, asked.source, asked.which, found)


def degrees(
    s: Subject, facts: Attributes, asked: Tensor, source: Tensor, which: Tensor, found: Callable[[Tensor], Tensor]
) -> Iterator[Score]:
    """Correlations of asked and found degrees."""
    drawn = found(s.pixels[0])
    known = ~asked.isnan()
    values = [
        float(metrics.correlation(asked[rows, i : i + 1], drawn[rows, i : i + 1])) for i, rows in enumerate(known.T)
    ]
    truth = s.fake.inputs.attributes.known(s.taken).attribute
    reals = metrics.correlation(truth, found(s.inputs)).nanmean()
    before = [
        float(metrics.correlation(asked[rows, i : i + 1], found(s.inputs)[rows, i : i + 1]))
        for i, rows in enumerate(known.T)
    ]
    unmoved = torch.tensor(before).nanmean()
    note = f"mean of {len(values)}; {reals:.3f} for the inputs' own, {unmoved:.3f} if inputs stay as they are"
    yield Score("asked", sum(values) / len(values), better="higher", n_fake=len(asked), note=note)
    for name, value in zip(facts.names, values):
        yield Score(
            f"asked_{name}", value, better="higher", n_fake=len(asked), note="correlation of asked and found degrees"
        )


def shown(
    s: Subject, facts: Attributes, asked: Tensor, source: Tensor, which: Tensor, found: Callable[[Tensor], Tensor]
) -> Iterator[Score]:
    """Shares of translations that show what was asked, and of attributes that stayed."""
    own = s.fake.inputs.attributes.known(s.taken)
    before, after, unasked = named(found(s.inputs), facts), named(found(s.pixels[0]), facts), ~own.attribute.isnan()
    right = after.gather(1, which[:, None])[:, 0] == asked.gather(1, which[:, None])[:, 0]
    idle = before.gather(1, which[:, None])[:, 0] == asked.gather(1, which[:, None])[:, 0]
    rows = torch.arange(len(asked))
    stays = torch.ones_like(asked, dtype=torch.bool)  # whether an attribute of a translation should be the input's
    for group, (part, exclusive) in enumerate(zip(facts.slices(), facts.exclusive)):
        stays[source == group, part] = False
        if not exclusive:  # of another set's attributes all are asked for; of its own the others stay
            stays[(source == group) & (own.source == group), part] = True
    hair = torch.tensor([name.endswith(HAIR) for name in facts.names])
    stays[hair[which][:, None] & hair] = False  # one colour in another's place
    stays[rows, which] = False
    same = before == after
    kept = (same | ~stays).all(1)[stays.any(1)]
    truth = float((before == own.attribute)[unasked].double().mean())
    note = f"{float(idle.double().mean()):.3f} if inputs stay as they are; the network is right on {truth:.3f} of what is known of the inputs"
    yield share(right.double(), "asked", note)
    if len(kept):
        yield share(kept.double(), "kept", "all that was not asked for, as the network sees it in the input")
    for i, name in enumerate(facts.names):
        if (here := which == i).any():
            yield share(right[here].double(), f"asked_{name}")
            if stays[here].any():
                yield share(
                    (same | ~stays).all(1)[here].double(), f"kept_{name}", f"all others when {name} was asked for"
                )


def named(numbers: Tensor, facts: Attributes) -> Tensor:
    """(N, A) in [0, 1] to 0 or 1: the likeliest of those of which just one holds, the likelier of yes and no of others."""
    out = torch.empty_like(numbers)
    for part, exclusive in zip(facts.slices(), facts.exclusive):
        mine = numbers[:, part]
        out[:, part] = (
            torch.nn.functional.one_hot(mine.argmax(1), mine.shape[1]).to(mine) if exclusive else (mine > 0.5).to(mine)
        )
    return out


# Classes of pixels ---------------------------------------------------------------------------------------------------


def segmentation(s: Subject) -> Iterator[Score]:
    """Pixel accuracy, class accuracy and mean intersection over union of label maps, from all counts of the whole set."""
    numbers, k = s.fake.numbers(s.n, s.seed), s.fake.classes
    matrix = torch.zeros(k, k, dtype=torch.int64)
    for i in range(0, len(numbers), s.batch):
        some = numbers[i : i + s.batch]
        matrix += metrics.confusion(s.fake.read(some)[0], s.fake.targets.read(some)[0], k)
    names = s.fake.targets.class_names or tuple(map(str, range(k)))
    each = ", ".join(f"{name} {value:.3f}" for name, value in zip(names, metrics.class_iou(matrix).tolist()))
    n = len(numbers)
    yield Score("pixel_accuracy", metrics.pixel_accuracy(matrix), better="higher", n_real=n, n_fake=n)
    yield Score("class_accuracy", metrics.class_accuracy(matrix), better="higher", n_real=n, n_fake=n)
    yield Score("mean_iou", metrics.mean_iou(matrix), better="higher", n_real=n, n_fake=n, note=each)


def fcn_score(s: Subject) -> Iterator[Score]:
    """How well a segmenter of photographs finds in the outputs the label maps that they were made from."""
    k, colours = len(s.fake.colours), s.fake.colours
    labels = classes_of(s.inputs, colours)
    net = matched(s.segmenter or taught(s.real, colours, s), s.targets, labels, k)
    score, truth = (metrics.fcn_score(images, labels, net, k) for images in (s.pixels[0], s.targets))
    for name, value, best in zip(("fcn_pixel_accuracy", "fcn_class_accuracy", "fcn_mean_iou"), score, truth):
        yield Score(
            name,
            value,
            better="higher",
            n_fake=len(labels),
            note=f"{best:.3f} for the photographs themselves; by {s.segmented_by}",
        )


def taught(real: Source | None, colours: Tensor, s: Subject) -> Callable[[Tensor], Tensor]:
    """A segmenter fitted to photographs of the training data and their label maps."""
    if real is None or real.inputs is None:
        raise ValueError(
            "there are no photographs with label maps to fit a segmenter to: add --against DATA, or --segmenter RUN"
        )
    numbers = real.numbers(min(TAUGHT, s.many), s.seed)
    photographs, maps = (
        torch.cat([x.read(numbers[i : i + 64])[0] for i in range(0, len(numbers), 64)]) for x in (real, real.inputs)
    )
    return metrics.fit_segmenter(photographs, classes_of(maps, colours), len(colours), seed=s.seed)


def matched(net: Callable[[Tensor], Tensor], photographs: Tensor, labels: Tensor, k: int) -> Callable[[Tensor], Tensor]:
    """The segmenter with its classes numbered as the label maps are, by what it finds in photographs of these maps.

    Raises:
        ValueError: it knows more classes than there are.
    """
    found = torch.cat([net(part).cpu() for part in photographs.split(16)])
    if int(found.max()) >= k:
        raise ValueError(f"the segmenter finds class {int(found.max())}; the label maps have {k} colours")
    places = metrics.naming(metrics.confusion(found, labels, k))
    return lambda images: places[net(images).cpu()]
