"""DCGAN's own examinations (Radford, Metz & Chintala, ICLR 2016): D's features for a linear classifier, what its filters
respond to, and an object removed from pictures by dropping the feature maps of G that are responsible for it.

The file is long because the three share how layers of a network are watched.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gankit import data as library
from gankit import latent
from gankit.evaluation import sources
from gankit.explore.judge import data_of
from gankit.explore.result import Result, blank
from gankit.explore.start import Seeds, Start, recipe_of, start, table
from gankit.recipe import Recipe, seeded
from gankit.runs.config import arguments_of
from gankit.runs.trained import Trained

COLOURS = {  # of the built-in data `shapes`
    "red": (230, 40, 40), "green": (40, 190, 60), "blue": (60, 90, 240), "yellow": (240, 220, 40), "magenta": (220, 60, 210),
    "white": (250, 250, 250),
}  # fmt: skip


# Features ------------------------------------------------------------------------------------------------------------


def features(trained: Trained, *, data: str = "", n: int = 5000, centres: int = 200, patch: int = 6) -> Result:
    """D's features for a linear SVM (section 5.1), beside raw pixels, k-means features and an untrained D.

    The maps of all of D's convolutions, max-pooled to 4x4, flattened and concatenated; an L2-regularised linear SVM whose
    weight of errors is chosen by three-fold cross-validation on the training part. K-means features are those of Coates, Ng
    & Lee, "An Analysis of Single-Layer Networks in Unsupervised Feature Learning", AISTATS 2011: whitened patches, the
    triangle activation, sums over quadrants.

    Args:
        data: labelled data; the run's own without it. Judged on its part :test where there is one, else on a fifth.
        n: images at most.
        centres: of k-means.
        patch: side of its patches.
    """
    name = data or trained.config["settings"]["data"]
    source = data_of(trained, data)
    if not source.classes:
        raise ValueError(f"{name} has no labels, so nothing can be told apart: name labelled data, --data digits")
    convs = convolutions(trained.recipe)
    train, label = source.some(n)
    if f"{name}:test" in library.BUILTIN:
        test, truth = sources.of_data(f"{name}:test", trained.config["settings"]).some(n)
    else:
        cut = len(train) * 4 // 5
        order = torch.from_numpy(np.random.default_rng(0).permutation(len(train)))
        train, label = train[order], label[order]
        train, test, label, truth = train[:cut], train[cut:], label[:cut], label[cut:]
    if not 2 <= patch <= min(train.shape[2:]) or centres < 1:
        raise ValueError(
            f"--patch is {patch} and --centres {centres}; patches are of 2 to {min(train.shape[2:])} pixels"
        )
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "D's features": lambda x: pooled(trained.recipe, x),
        "an untrained D's": lambda x, untrained=untrained(trained): pooled(untrained, x),
        "k-means features": k_means(train, centres, patch),
        "raw pixels": lambda x: x.flatten(1),
    }
    said, found, sizes = {}, {}, {}
    for way, look in ways.items():
        a, b = look(train), look(test)
        said[way], sizes[way] = answers(a, label, b), a.shape[1]
        found[way] = float((said[way] == truth).double().mean())
    say = [f"{way}: {value:.1%} of {len(test)} right ({sizes[way]} numbers an image)" for way, value in found.items()]
    numbers = {
        "accuracy": found,
        "numbers an image": sizes,
        "train": len(train),
        "test": len(test),
        "convolutions": len(convs),
    }
    guess = said["D's features"]
    wrong = (guess != truth).nonzero().flatten()[:20]
    shown = wrong if len(wrong) else torch.arange(10)
    called = source.class_names or [str(i) for i in range(source.classes)]
    heads = [f"{called[int(truth[i])]} as {called[int(guess[i])]}" for i in shown[:10]]
    return Result(test[shown[:10]], len(heads), heads, (), numbers, say=say)


def pooled(recipe: Recipe, images: Tensor, batch: int = 200) -> Tensor:
    """(N, F) the maps of all of D's convolutions, as the next layer sees them, max-pooled to 4x4 and concatenated."""
    rows = []
    for part in images.split(batch):
        with torch.no_grad():
            maps = maps_of_d(recipe, part)
        rows.append(torch.cat([F.adaptive_max_pool2d(one, 4).flatten(1).float().cpu() for one in maps], 1))
    return torch.cat(rows)


def answers(x: Tensor, y: Tensor, test: Tensor) -> Tensor:
    """(M,) what a linear SVM says of test rows; its weight of errors by cross-validation on the rest."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import LinearSVC

    mean, std = x.mean(0), x.std(0) + 1e-6
    scale = std * (x.shape[1] / 100) ** 0.5  # rows of about length 10, so that one grid serves all features
    search = GridSearchCV(LinearSVC(dual=True, random_state=0, tol=1e-2), {"C": [0.01, 0.1, 1, 10]}, cv=3)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # where errors weigh most it may stop early, and is then not best
        search.fit(((x - mean) / scale).numpy(), y.numpy())
    return torch.from_numpy(search.predict(((test - mean) / scale).numpy()))


def k_means(images: Tensor, centres: int, patch: int) -> Callable[[Tensor], Tensor]:
    """Single-layer k-means features of images, learnt from these: (N, C, H, W) to (N, 4 centres)."""
    from sklearn.cluster import MiniBatchKMeans

    def patches(x: Tensor) -> Tensor:  # (N, places, C patch patch), contrast normalised
        rows = F.unfold(x.float(), patch).transpose(1, 2)
        rows = rows - rows.mean(2, keepdim=True)
        return rows / (rows.var(2, keepdim=True, correction=0) + 0.01).sqrt()

    rows = patches(images[:1000]).flatten(0, 1)
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:20_000]].double()
    mean = rows.mean(0)
    values, vectors = torch.linalg.eigh((rows - mean).T @ (rows - mean) / len(rows))
    whiten = (vectors * (values + 0.1).rsqrt()) @ vectors.T  # ZCA
    fitted = MiniBatchKMeans(centres, random_state=0, n_init=1, batch_size=2048).fit(((rows - mean) @ whiten).numpy())
    middle = torch.from_numpy(fitted.cluster_centers_)
    side_y, side_x = images.shape[2] - patch + 1, images.shape[3] - patch + 1

    def look(x: Tensor) -> Tensor:
        out = []
        for part in x.split(100):
            distance = torch.cdist((patches(part).double() - mean) @ whiten, middle)
            active = (distance.mean(2, keepdim=True) - distance).clamp(min=0)  # the triangle activation
            maps = active.transpose(1, 2).unflatten(2, (side_y, side_x))
            out.append(F.adaptive_avg_pool2d(maps, 2).flatten(1).float())
        return torch.cat(out)

    return look


# Filters -------------------------------------------------------------------------------------------------------------


def filters(trained: Trained, *, data: str = "", count: int = 5, images: int = 5, n: int = 2000) -> Result:
    """What D's filters respond to, by guided backpropagation (section 6.2 and fig. 5): trained beside untrained.

    For some filters of D's last convolution the images that excite them most, each above what in its pixels does: of the
    gradient only what is positive passes each ReLU, where its input is positive too (Springenberg et al., "Striving for
    Simplicity", 2015).

    Args:
        data: images to look at; the run's own without it.
        count: filters, those whose answers vary most.
        images: images for each filter.
        n: images of the data to choose from.
    """
    pictures, _ = data_of(trained, data).some(n)
    if count < 1 or not 1 <= images <= len(pictures):
        raise ValueError(f"--count must be 1 at least and --images 1 to {len(pictures)}; found {count} and {images}")
    halves, told = [], {}
    for name, recipe in ("trained", trained.recipe), ("untrained", untrained(trained)):
        with torch.no_grad():
            last = torch.cat([maps_of_d(recipe, part)[-1].float().cpu().amax((2, 3)) for part in pictures.split(200)])
        chosen = last.std(0).topk(min(count, last.shape[1])).indices.tolist()
        best = [pictures[last[:, filter_].topk(images).indices] for filter_ in chosen]
        slopes = [guided(recipe, some, filter_) for some, filter_ in zip(best, chosen)]
        drawn = [one / one.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12) for one in slopes]
        halves.append([row for pair in zip(best, drawn) for row in pair])
        told[name] = {
            "filters": chosen,
            "share of the gradient in a tenth of the pixels": float(np.mean([concentration(one) for one in slopes])),
        }
    cells = torch.cat([part for left, right in zip(*halves) for part in (left, blank(left), right)])
    heads = ["trained", *[""] * images, "untrained", *[""] * (images - 1)]
    say = [
        f"{name}: {one['share of the gradient in a tenth of the pixels']:.0%} of the gradient lies in a tenth of the pixels"
        for name, one in told.items()
    ]
    return Result(cells, 2 * images + 1, heads, (), told, say=say)


def guided(recipe: Recipe, images: Tensor, filter_: int) -> Tensor:
    """(N, C, H, W) guided gradient of a filter's strongest answer in D's last convolution, for each image."""
    like = next(recipe.parameters())
    with torch.enable_grad(), Guided():
        x = images.to(like).requires_grad_()
        answer = maps_of_d(recipe, x)[-1][:, filter_].amax((1, 2)).sum()
        (slopes,) = torch.autograd.grad(answer, x)
    return slopes.detach().float().cpu()


def concentration(slopes: Tensor) -> float:
    """Share of the absolute gradient that lies in the tenth of the pixels with most: high where it follows a shape."""
    flat = slopes.abs().sum(1).flatten(1)
    most = flat.topk(max(1, flat.shape[1] // 10)).values.sum(1)
    return float((most / flat.sum(1).clamp(min=1e-12)).mean())


class Guided(TorchFunctionMode):
    """Inside it the gradient of each ReLU and leaky ReLU is the incoming one where that and the input are positive."""

    def __torch_function__(self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        kwargs = kwargs or {}
        if func in (F.relu, F.leaky_relu, torch.relu, Tensor.relu):
            with torch.no_grad():
                value = func(args[0].clone(), *args[1:], **kwargs)
            return _GuidedReLU.apply(args[0], value)
        return func(*args, **kwargs)


class _GuidedReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return value.clone()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, slope: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return slope.clamp(min=0) * (x > 0), None


# Removing an object --------------------------------------------------------------------------------------------------


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

    A logistic regression on the values of all maps at each place, inside the object and outside, in the maps before one of
    the last convolutions; all maps with a positive weight are then set to 0 everywhere, for samples it never saw.

    Args:
        thing: what goes, in runs on `shapes`: a colour, red, green, blue, yellow, magenta or white.
        boxes: where the object is instead, for other data: a .csv with lines seed,left,top,right,bottom in pixels.
        seeds: samples that are shown, two rows of half of them without and with the change.
        n: samples that the regression learns from.
        layer: hidden maps, counted from the image: -1, the paper's, are those before the last convolution. Those of small
            models are little more than colours there, and an object goes as a whole at -2.
        label: the class; the classes in turn, by seed, without it.
    """
    from sklearn.linear_model import LogisticRegression

    recipe = recipe_of(trained)
    convs = {name: m for name, m in recipe.named_modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))}
    names = [name for name, m in convs.items() if max(m.kernel_size) > 1] or list(
        convs
    )  # without the shortcuts of blocks
    order = called(recipe, names)
    if not -len(order) <= layer <= -1 or not order:
        raise ValueError(
            f"--layer is {layer}; {trained.config['model']}'s generator has {len(order)} convolutions, so -1 to -{len(order)}"
        )
    at = order[layer]
    if boxes:
        learned, masks, thing = boxed(recipe, boxes, label)
    elif thing in COLOURS and recipe.spec.channels == 3:
        learned = start(trained, range(10_000, 10_000 + n), label)
        masks = painted(latent.render(recipe, learned.points, learned.given), thing)
    else:
        raise ValueError(
            f"nothing says where {thing!r} is: --thing takes {', '.join(COLOURS)} in colour images, others need --boxes FILE.csv"
        )
    maps = before(recipe, at, learned)
    inside = F.adaptive_avg_pool2d(masks.float()[:, None], maps.shape[2:])[:, 0] > 0.5
    x, y = maps.permute(0, 2, 3, 1)[inside], maps.permute(0, 2, 3, 1)[~inside]
    if len(x) < 20:
        raise ValueError(f"of {len(maps)} samples only {len(x)} places show {thing}; more --n, or another --thing")
    some = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))[: 2 * len(x)]
    rows, truth = torch.cat([x, y[some]]).double(), torch.cat([torch.ones(len(x)), torch.zeros(len(some))])
    width = rows.std(0) + 1e-12
    model = LogisticRegression(class_weight="balanced", max_iter=2000).fit((rows / width).numpy(), truth.numpy())
    gone = torch.from_numpy(model.coef_[0] > 0)
    shown, fresh = start(trained, seeds, label), start(trained, range(50_000, 50_300), label)
    plain, pictures = (latent.render(recipe, one.points, one.given) for one in (fresh, shown))
    with dropped(recipe, at, gone):
        cut = latent.render(recipe, fresh.points, fresh.given)
        after = latent.render(recipe, shown.points, shown.given)
    numbers: dict[str, object] = {
        "layer": at, "maps": int(len(gone)), "dropped": int(gone.sum()),
        "accuracy of the regression on its places": float(model.score((rows / width).numpy(), truth.numpy())),
    }  # fmt: skip
    say = [f"{int(gone.sum())} of {len(gone)} maps before {at} were dropped"]
    if not boxes:
        left = {c: float(painted(cut, c).sum() / painted(plain, c).sum().clamp(min=1)) for c in COLOURS}
        numbers["pixels of each colour, after over before"] = left
        others = np.mean([value for c, value in left.items() if c != thing])
        say.append(
            f"of the pixels that were {thing} {left[thing]:.0%} are left, of the other colours {others:.0%} on average"
        )
    half = -(-len(pictures) // 2)
    cells, sides = [], []
    for i in range(0, len(pictures), half):
        missing = half - len(pictures[i : i + half])
        for name, images in ("before", pictures), ("after", after):
            part = images[i : i + half]
            cells.append(torch.cat([part, blank(part, missing)]) if missing else part)
            sides.append(name)
    return Result(torch.cat(cells), half, (), sides, numbers, say=say)


def painted(images: Tensor, colour: str) -> Tensor:
    """(N, 3, H, W) to (N, H, W): pixels nearer to this colour of `shapes` than to the others and to its black ground."""
    known = torch.tensor([*COLOURS.values(), (0, 0, 0)]).float() / 127.5 - 1
    distance = (images[:, None] - known[None, :, :, None, None]).square().sum(2)
    return distance.argmin(1) == list(COLOURS).index(colour)


def boxed(recipe: Recipe, file: str, label: int | None) -> tuple[Start, Tensor, str]:
    """The seeds of a table of boxes, as points, and (N, H, W) where the boxes are.

    Raises:
        ValueError: the file is no such table.
    """
    found: dict[int, list[list[int]]] = {}
    high, wide = recipe.spec.height, recipe.spec.width
    for number, row in enumerate(table(file, "a .csv with lines seed,left,top,right,bottom")):
        if number == 0 and not any(cell.strip().lstrip("-").isdecimal() for cell in row):
            continue  # the first line may be a header
        try:
            seed, *box = (int(cell) for cell in row)
            left, top, right, bottom = box
        except ValueError:
            raise ValueError(f"{file}: {','.join(row)!r} is no seed,left,top,right,bottom in whole pixels") from None
        if seed < 0 or not (0 <= left < right <= wide and 0 <= top < bottom <= high):
            raise ValueError(
                f"{file}: {','.join(row)!r} is no box in an image {wide} wide and {high} high: seed,left,top,right,bottom"
            )
        found.setdefault(seed, []).append([left, top, right, bottom])
    if not found:
        raise ValueError(f"{file} has no line seed,left,top,right,bottom")
    masks = torch.zeros(len(found), high, wide, dtype=torch.bool)
    for mask, areas in zip(masks, found.values()):
        for left, top, right, bottom in areas:
            mask[top:bottom, left:right] = True
    points, given = latent.points(recipe, list(found), label)
    return Start(points, given, [f"seed {seed}" for seed in found]), masks, "the object in the boxes"


# Watching networks ---------------------------------------------------------------------------------------------------


def convolutions(recipe: Recipe) -> list[nn.Module]:
    """D's convolutions.

    Raises:
        ValueError: the model has no `d`, or one without convolutions.
    """
    found = [m for m in getattr(recipe, "d", nn.Module()).modules() if isinstance(m, nn.Conv2d)]
    if not found:
        raise ValueError(f"{type(recipe).__name__} has no discriminator `d` with convolutions; dcgan has")
    return found


def maps_of_d(recipe: Recipe, images: Tensor) -> list[Tensor]:
    """The maps (N, C, H, W) behind each of D's convolutions, after what follows it up to the next one.

    Raises:
        ValueError: D needs more than images and labels.
    """
    convolutions(recipe)
    like, found, watched = next(recipe.parameters()), [], []

    def after(layer: nn.Module, inputs: tuple, output: Tensor) -> None:
        if isinstance(layer, nn.Conv2d):
            found.append(output)
        elif found and isinstance(output, Tensor) and output.shape == found[-1].shape:
            found[-1] = output

    needed = [p for p in inspect.signature(recipe.d.forward).parameters.values() if p.default is p.empty]
    given = (
        [torch.zeros(len(images), dtype=torch.int64, device=like.device)]
        if [p.name for p in needed[1:]] == ["label"]
        else []
    )
    if len(needed) != 1 + len(given):
        raise ValueError(
            f"the discriminator of {type(recipe).__name__} needs {', '.join(p.name for p in needed)}; this tool gives it images and labels"
        )
    for layer in recipe.d.modules():
        if not list(layer.children()) or isinstance(layer, nn.Conv2d):
            watched.append(layer.register_forward_hook(after))
    try:
        recipe.d(images.to(like), *given)
    finally:
        for handle in watched:
            handle.remove()
    return found


def untrained(trained: Trained) -> Recipe:
    """The same model with its first weights, in eval mode."""
    kind = type(trained.recipe)
    with seeded(0):
        recipe = kind(trained.recipe.spec, **arguments_of(trained.config))
    return recipe.to(next(trained.recipe.parameters())).requires_grad_(False).eval()


def called(recipe: Recipe, names: Sequence[str]) -> list[str]:
    """Which of these layers a sample goes through, in order."""
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


def before(recipe: Recipe, name: str, begin: Start) -> Tensor:
    """(N, C, H, W) what a layer is given when points are drawn."""
    found: list[Tensor] = []
    handle = recipe.get_submodule(name).register_forward_pre_hook(
        lambda _, inputs: found.append(inputs[0].float().cpu().clone())
    )
    try:
        latent.render(recipe, begin.points, begin.given)
    finally:
        handle.remove()
    return torch.cat(found)


@contextmanager
def dropped(recipe: Recipe, name: str, gone: Tensor) -> Iterator[None]:
    """Inside, a layer sees 0 in these channels (C,)."""

    def hook(_: nn.Module, inputs: tuple) -> tuple:
        return (inputs[0] * (~gone).to(inputs[0])[:, None, None], *inputs[1:])

    handle = recipe.get_submodule(name).register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()
