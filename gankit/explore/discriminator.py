"""What a discriminator learned: its features for a linear classifier, and what its filters respond to.

Radford, Metz & Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
Networks", ICLR 2016, sections 5 and 6.2.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gankit import data as library
from gankit.evaluation import sources
from gankit.explore.inputs import data_of
from gankit.explore.result import Result, blank
from gankit.recipe import Recipe, seeded
from gankit.runs.config import arguments_of
from gankit.runs.trained import Trained

CONCENTRATION = "share of the gradient in a tenth of the pixels"


# Features ------------------------------------------------------------------------------------------------------------


def features(trained: Trained, *, data: str = "", n: int = 5000, centres: int = 200, patch: int = 6) -> Result:
    """D's features for a linear SVM (section 5.1), compared with raw pixels, k-means features and an untrained D.

    D's features are the maps of all its convolutions, max-pooled to 4x4, flattened and concatenated. The classifier is
    an L2-regularised linear SVM; three-fold cross-validation on the training part chooses C. K-means features follow
    Coates, Ng & Lee, "An Analysis of Single-Layer Networks in Unsupervised Feature Learning", AISTATS 2011: whitened
    patches, the triangle activation, sums over quadrants.

    Args:
        data: labelled data; default: the run's own. The test set is its part :test if there is one, else a fifth of it.
        n: maximum number of images.
        centres: number of k-means centres.
        patch: side of the k-means patches.
    """
    name = data or trained.config["settings"]["data"]
    source = data_of(trained, data)
    if not source.classes:
        raise ValueError(f"{name} has no labels for a classifier: name labelled data, --data digits")
    convs = convolutions(trained.recipe)
    train, label, test, truth = parts_of(source, name, trained, n)
    side = min(train.shape[2:])
    if not 2 <= patch <= side or centres < 1:
        raise ValueError(f"--patch is {patch} and --centres {centres}; patches are of 2 to {side} pixels")
    initial = untrained(trained)
    extractors: dict[str, Callable[[Tensor], Tensor]] = {
        "D's features": lambda x: pooled(trained.recipe, x),
        "an untrained D's": lambda x: pooled(initial, x),
        "k-means features": k_means(train, centres, patch),
        "raw pixels": lambda x: x.flatten(1),
    }
    predicted, accuracy, sizes = {}, {}, {}
    for kind, extract in extractors.items():
        x, x_test = extract(train), extract(test)
        predicted[kind], sizes[kind] = classify_by_svm(x, label, x_test), x.shape[1]
        accuracy[kind] = float((predicted[kind] == truth).double().mean())
    say = [
        f"{kind}: {value:.1%} of {len(test)} right ({sizes[kind]} numbers an image)" for kind, value in accuracy.items()
    ]
    numbers = {
        "accuracy": accuracy,
        "numbers an image": sizes,
        "train": len(train),
        "test": len(test),
        "convolutions": len(convs),
    }
    guess = predicted["D's features"]
    wrong = (guess != truth).nonzero().flatten()[:20]
    shown = (wrong if len(wrong) else torch.arange(10))[:10]
    class_names = source.class_names or [str(i) for i in range(source.classes)]
    heads = [f"{class_names[int(truth[i])]} as {class_names[int(guess[i])]}" for i in shown]
    return Result(test[shown], len(heads), heads, (), numbers, say=say)


def parts_of(source: sources.Samples, name: str, trained: Trained, n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images and labels for training and for testing: the data set's own part :test if it is built in, else a fifth."""
    images, labels = source.select(n)
    assert labels is not None  # it has classes
    if f"{name}:test" in library.BUILTIN:
        test, truth = sources.of_data(f"{name}:test", trained.config["settings"]).select(n)
        assert truth is not None
        return images, labels, test, truth
    cut = len(images) * 4 // 5
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(images)))
    images, labels = images[order], labels[order]
    return images[:cut], labels[:cut], images[cut:], labels[cut:]


def pooled(recipe: Recipe, images: Tensor) -> Tensor:
    """(N, F) the maps of all of D's convolutions, max-pooled to 4x4 and concatenated."""
    rows = []
    for part in images.split(200):
        with torch.no_grad():
            maps = maps_of_d(recipe, part)
        rows.append(torch.cat([F.adaptive_max_pool2d(x, 4).flatten(1).float().cpu() for x in maps], 1))
    return torch.cat(rows)


def classify_by_svm(x: Tensor, y: Tensor, test: Tensor) -> Tensor:
    """(M,) the predictions of a linear SVM on (M, F) rows; C is chosen by cross-validation on the training rows."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import LinearSVC

    mean, std = x.mean(0), x.std(0) + 1e-6
    scale = std * (x.shape[1] / 100) ** 0.5  # rows of about length 10, so that one grid serves all features
    search = GridSearchCV(LinearSVC(dual=True, random_state=0, tol=1e-2), {"C": [0.01, 0.1, 1, 10]}, cv=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # for large C it may stop early; that C is then not chosen
        search.fit(((x - mean) / scale).numpy(), y.numpy())
    return torch.from_numpy(search.predict(((test - mean) / scale).numpy()))


def k_means(images: Tensor, centres: int, patch: int) -> Callable[[Tensor], Tensor]:
    """A single-layer k-means feature extractor fitted to these images: (N, C, H, W) to (N, 4 centres)."""
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

    def extract(x: Tensor) -> Tensor:
        out = []
        for part in x.split(100):
            distance = torch.cdist((patches(part).double() - mean) @ whiten, middle)
            active = (distance.mean(2, keepdim=True) - distance).clamp(min=0)  # the triangle activation
            maps = active.transpose(1, 2).unflatten(2, (side_y, side_x))
            out.append(F.adaptive_avg_pool2d(maps, 2).flatten(1).float())
        return torch.cat(out)

    return extract


# Filters -------------------------------------------------------------------------------------------------------------


def filters(trained: Trained, *, data: str = "", count: int = 5, images: int = 5, n: int = 2000) -> Result:
    """What D's filters respond to, by guided backpropagation (section 6.2 and fig. 5), trained and untrained.

    For some filters of D's last convolution: the images that activate them most, each above its gradient. In guided
    backpropagation a ReLU passes only positive gradients, and only where its input is positive (Springenberg et al.,
    "Striving for Simplicity", 2015).

    Args:
        data: images to search; default: the run's own data.
        count: number of filters; those whose activations vary most are chosen.
        images: images per filter.
        n: maximum number of images to search.
    """
    candidates, _ = data_of(trained, data).select(n)
    if count < 1 or not 1 <= images <= len(candidates):
        raise ValueError(f"--count must be 1 at least and --images 1 to {len(candidates)}; found {count} and {images}")
    halves, numbers = [], dict[str, dict[str, object]]()
    for name, recipe in ("trained", trained.recipe), ("untrained", untrained(trained)):
        with torch.no_grad():
            parts = [maps_of_d(recipe, part)[-1].float().cpu().amax((2, 3)) for part in candidates.split(200)]
        activations = torch.cat(parts)
        chosen = activations.std(0).topk(min(count, activations.shape[1])).indices.tolist()
        best = [candidates[activations[:, number].topk(images).indices] for number in chosen]
        slopes = [guided(recipe, part, number) for part, number in zip(best, chosen)]
        scaled = [x / x.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12) for x in slopes]
        halves.append([row for pair in zip(best, scaled) for row in pair])
        numbers[name] = {"filters": chosen, CONCENTRATION: float(np.mean([concentration(x) for x in slopes]))}
    cells = torch.cat([part for left, right in zip(*halves) for part in (left, blank(left), right)])
    heads = ["trained", *[""] * images, "untrained", *[""] * (images - 1)]
    say = [
        f"{name}: {part[CONCENTRATION]:.0%} of the gradient lies in a tenth of the pixels"
        for name, part in numbers.items()
    ]
    return Result(cells, 2 * images + 1, heads, (), {**numbers}, say=say)


def guided(recipe: Recipe, images: Tensor, number: int) -> Tensor:
    """(N, C, H, W) the guided gradient of one filter's largest activation in D's last convolution, for each image."""
    like = next(recipe.parameters())
    with torch.enable_grad(), Guided():
        x = images.to(like).requires_grad_()
        activation = maps_of_d(recipe, x)[-1][:, number].amax((1, 2)).sum()
        (slopes,) = torch.autograd.grad(activation, x)
    return slopes.detach().float().cpu()


def concentration(slopes: Tensor) -> float:
    """Share of the absolute gradient in the tenth of the pixels with the most: high if it follows a shape."""
    flat = slopes.abs().sum(1).flatten(1)
    most = flat.topk(max(1, flat.shape[1] // 10)).values.sum(1)
    return float((most / flat.sum(1).clamp(min=1e-12)).mean())


class Guided(TorchFunctionMode):
    """A context in which ReLUs and leaky ReLUs pass only positive gradients, and only where the input is positive."""

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
    def backward(ctx: torch.autograd.function.BackwardCFunction, slope: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return slope.clamp(min=0) * (x > 0), None


# The network ---------------------------------------------------------------------------------------------------------


def convolutions(recipe: Recipe) -> list[nn.Conv2d]:
    """D's convolutions.

    Raises:
        ValueError: the model has no `d`, or one without convolutions.
    """
    layers = [m for m in dict(recipe.named_children()).get("d", nn.Module()).modules() if isinstance(m, nn.Conv2d)]
    if not layers:
        raise ValueError(f"{type(recipe).__name__} has no discriminator `d` with convolutions; dcgan has")
    return layers


def maps_of_d(recipe: Recipe, images: Tensor) -> list[Tensor]:
    """The feature maps (N, C, H, W) of each of D's convolutions, after the norm and nonlinearity that follow it.

    Raises:
        ValueError: D needs more than images and labels.
    """
    convolutions(recipe)
    d = recipe.get_submodule("d")
    like, maps, handles = next(recipe.parameters()), [], []

    def keep(layer: nn.Module, inputs: tuple, output: Tensor) -> None:
        if isinstance(layer, nn.Conv2d):
            maps.append(output)
        elif maps and isinstance(output, Tensor) and output.shape == maps[-1].shape:
            maps[-1] = output

    needed = [p.name for p in inspect.signature(d.forward).parameters.values() if p.default is p.empty]
    takes_label = needed[1:] == ["label"]
    labels = [torch.zeros(len(images), dtype=torch.int64, device=like.device)] if takes_label else []
    if len(needed) != 1 + len(labels):
        raise ValueError(
            f"the discriminator of {type(recipe).__name__} needs {', '.join(needed)}; "
            "this tool gives it images and labels"
        )
    for layer in d.modules():
        if not list(layer.children()) or isinstance(layer, nn.Conv2d):
            handles.append(layer.register_forward_hook(keep))
    try:
        d(images.to(like), *labels)
    finally:
        for handle in handles:
            handle.remove()
    return maps


def untrained(trained: Trained) -> Recipe:
    """The same model with its initial weights, in eval mode."""
    kind = type(trained.recipe)
    with seeded(0):
        recipe = kind(trained.recipe.spec, **arguments_of(trained.config))
    return recipe.to(next(trained.recipe.parameters())).requires_grad_(False).eval()
