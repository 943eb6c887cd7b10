"""Measures of samples, for `python benchmarks/quality.py MODEL`; its head explains the columns."""

from __future__ import annotations

import json

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from torch import Tensor

from gankit import Batch, Recipe, Run, data, latent, metrics
from gankit.data.builtin.digits import edges
from gankit.data.builtin.photos import PHOTOS, SKLEARN
from gankit.evaluation import METRICS, sources
from gankit.evaluation.catalogue import DEFAULT_OF_ONE_IMAGE, missing
from gankit.evaluation.subject import Subject
from gankit.losses import bernoulli_nll
from gankit.runs.files import digest
from gankit.runs.state import weights_of

Numbers = dict[str, float]


def samples(recipe: Recipe, n: int, trunc: float = 1.0) -> tuple[Tensor, Tensor | None]:
    """The samples of seeds 0 to n - 1, and the labels that they are conditioned on, for models that take labels."""
    return latent.sample(recipe, range(n), trunc=trunc), latent.labels(recipe, range(n))


def everything(name: str, resolution: str = "", limit: int = 10_000) -> tuple[Tensor, Tensor | None]:
    """The first rows of a data set, (N, C, H, W) in [-1, 1] or points, and their labels."""
    dataset = data.open(name, resolution or None)
    rows = dataset.rows(np.arange(min(limit, len(dataset))))
    real = rows["real"]
    return data.normalise(real) if real.dtype == torch.uint8 else real, rows.get("label")


def gaussian(real: Tensor, n: int) -> Tensor:
    """n samples of the Gaussian with the mean and covariance of (N, ...) data; images are clamped to [-1, 1]."""
    flat = real.flatten(1).double()
    centred = (flat - flat.mean(0)) / (len(flat) - 1) ** 0.5
    drawn = flat.mean(0) + torch.randn(n, len(flat), dtype=torch.float64) @ centred
    drawn = drawn.clamp(-1, 1) if real.ndim == 4 else drawn
    return drawn.float().view(n, *real.shape[1:])


def gaussian_by_class(real: Tensor, label: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """n samples of one Gaussian for each class, and their labels, the classes in turn."""
    asked = torch.arange(n) % (int(label.max()) + 1)
    drawn = torch.empty(n, *real.shape[1:])
    for k in asked.unique():
        drawn[asked == k] = gaussian(real[label == k], int((asked == k).sum()))
    return drawn, asked


def mode_numbers(coverage: metrics.Coverage) -> Numbers:
    """Mode coverage by the names of the columns."""
    numbers = {"modes": coverage.modes, "strict": coverage.strict}
    return numbers | {"hq": coverage.high_quality, "kl": coverage.reverse_kl}


class Digits:
    """Measures images against the train split of digits."""

    count = 2000

    def __init__(self, name: str, resolution: str):
        self.few = everything(name, resolution)[0] if name == "digits:few" else None
        self.real, self.label = everything("digits", resolution)
        self.held_out, self.held_out_label = everything("digits:test", resolution)
        self.features, self.std = metrics.features(self.real), metrics.pixel_std(self.real)

    def measure(self, images: Tensor, asked: Tensor | None = None) -> Numbers:
        digits, features = metrics.classify(images), metrics.features(images)
        precision, recall = metrics.precision_recall(self.features, features)
        numbers = {
            "fd_digits": metrics.frechet_distance(self.features, features),
            "precision": precision,
            "recall": recall,
            "is_digits": metrics.inception_score(metrics.probabilities(images), splits=1)[0],
            "classes": metrics.coverage(digits, 10).strict,
            "class_tv": metrics.total_variation(digits, 10, self.label),
            "spread": metrics.pixel_std(images) / self.std,
        }
        return numbers if asked is None else numbers | {"label_accuracy": metrics.accuracy(digits, asked)}

    def trivial(self, conditional: bool) -> dict[str, Numbers]:
        rows = {"pixel Gaussian": self.measure(gaussian(self.real, self.count))}
        if self.few is not None:
            rows["the few themselves (100)"] = self.measure(self.few)
        if conditional:
            rows["pixel Gaussian per class"] = self.measure(*gaussian_by_class(self.real, self.label, self.count))
        held_out = self.measure(self.held_out, self.held_out_label if conditional else None)
        return rows | {"held-out reals (397)": held_out}


class Stacked:
    """Measures images of three digits, one in each channel, against stacked digits."""

    count = 26_000

    def __init__(self, name: str, resolution: str):
        self.real, self.label = everything(name, resolution, self.count)
        self.features = metrics.features(everything("digits", resolution)[0])

    def measure(self, images: Tensor, asked: Tensor | None = None) -> Numbers:
        numbers, channels = mode_numbers(metrics.stacked_coverage(images)), images.flatten(0, 1).unsqueeze(1)[:2000]
        return numbers | {"fd_digits": metrics.frechet_distance(self.features, metrics.features(channels))}

    def trivial(self, conditional: bool) -> dict[str, Numbers]:
        drawn = gaussian(self.real[:2000], self.count)
        return {"pixel Gaussian": self.measure(drawn), "reals": self.measure(self.real)}


class Points:
    """Measures points against a mixture of Gaussians."""

    count = 2500

    def __init__(self, name: str, resolution: str):
        self.real, self.label = everything(name)
        centres, self.std = data.MODES[name]
        self.centres = torch.from_numpy(centres)

    def measure(self, points: Tensor, asked: Tensor | None = None) -> Numbers:
        numbers = mode_numbers(metrics.mixture_coverage(points, self.centres, self.std))
        mode, _ = metrics.nearest(points, self.centres, self.std)
        return numbers if asked is None else numbers | {"label_accuracy": metrics.accuracy(mode, asked)}

    def trivial(self, conditional: bool) -> dict[str, Numbers]:
        rows = {"one Gaussian": gaussian(self.real, self.count), "reals": self.real[: self.count]}
        return {name: self.measure(points) for name, points in rows.items()}


class Pairs:
    """Measures pairs of digits and their negatives or edges against the data's own transformation."""

    count = 2000

    def __init__(self, name: str, resolution: str):
        self.negative = name == "digits-negative"
        self.digits = Digits("digits", resolution)
        self.train_b = self.in_domain_b(self.digits.real)

    def in_domain_b(self, a: Tensor) -> Tensor:
        """(N, 1, H, W) images of domain a transformed to domain b."""
        if self.negative:
            return -a
        return data.normalise(torch.from_numpy(edges(data.quantise(a).numpy())))

    def label(self, b: Tensor) -> Tensor:
        """The digit in each image of domain b."""
        if self.negative:
            return metrics.classify(-b)
        return self.digits.label[torch.cdist(b.flatten(1), self.train_b.flatten(1)).argmin(1)]

    def measure(self, a: Tensor, b: Tensor) -> Numbers:
        shuffled = torch.randperm(len(a), generator=torch.Generator().manual_seed(0))
        label_a, label_b, target = metrics.classify(a), self.label(b), self.in_domain_b(a)
        middle = self.train_b.mean()
        numbers = {
            "label_agreement": metrics.accuracy(label_b, label_a),
            "shuffled": metrics.accuracy(label_b[shuffled], label_a),
            "pixel_agreement": float(((b > middle) == (target > middle)).double().mean()),
            "pair_l1": float((b - target).abs().mean() / (b[shuffled] - target).abs().mean()),
        }
        numbers_of_a = self.digits.measure(a)
        if self.negative:
            numbers["fd_digits_b"] = metrics.frechet_distance(self.digits.features, metrics.features(-b))
        return numbers | {name: numbers_of_a[name] for name in ("fd_digits", "classes", "class_tv", "spread")}

    def trivial(self, conditional: bool) -> dict[str, Numbers]:
        held_out = self.digits.held_out
        drawn = gaussian(torch.cat([self.digits.real, self.train_b], 2), self.count).chunk(2, 2)
        return {
            "pixel Gaussian of true pairs": self.measure(*drawn),
            "held-out reals (397), true pairs": self.measure(held_out, self.in_domain_b(held_out)),
        }


class OneImage:
    """Measures samples of a model of one image against that image."""

    count, tile = 50, 16

    def __init__(self, name: str, resolution: str):
        self.name = name

    def image(self, recipe: Recipe) -> sources.Samples:
        """The photograph at the size that the model trained on."""
        return sources.of_data(self.name, None, "x".join(map(str, recipe.spec.shape[1:])))

    def measure(self, recipe: Recipe) -> Numbers:
        samples = sources.of_recipe(recipe, "samples", digest(weights_of(recipe)))
        return self.numbers(samples, self.image(recipe))

    def numbers(self, fake: sources.Samples, real: sources.Samples) -> Numbers:
        subject = Subject(fake, real, None, None, self.count, may_download=False)
        names = [name for name in DEFAULT_OF_ONE_IMAGE.split(",") if not missing(METRICS[name], subject)]
        return {score.name: score.value for name in names for score in METRICS[name].compute(subject)}

    def trivial(self, recipe: Recipe) -> dict[str, Numbers]:
        """The image, cropped to whole tiles, with its pixels or tiles in random order."""
        h, w = (side - side % self.tile for side in recipe.spec.shape[1:])
        image = self.image(recipe).read(np.arange(1))[0][:, :, :h, :w]
        rows = {}
        for title, side in (("pixels shuffled", 1), (f"tiles of {self.tile} px shuffled", self.tile)):
            parts = torch.nn.functional.unfold(image, side, stride=side)
            shuffled = torch.cat([parts[:, :, torch.randperm(parts.shape[2])] for _ in range(self.count)])
            images = torch.nn.functional.fold(shuffled, (h, w), side, stride=side)
            rows[title] = self.numbers(self.source(images), self.source(image))
        return rows

    def source(self, images: Tensor) -> sources.Samples:
        """Images in memory as what metrics read from."""
        return sources.Samples(
            "images", "images", tuple(images.shape[1:]), len(images), lambda numbers: (images[numbers], None), ""
        )


def seconds_by_scale(run: Run) -> Numbers:
    """Seconds of training for each scale of a model of one image."""
    rows = [json.loads(line) for line in (run.folder / "stats.jsonl").read_text().splitlines()]
    ends = np.arange(len(run.recipe.sizes) + 1) * run.recipe.iterations
    seconds = np.interp(ends, [0, *(row["images"] for row in rows)], [0, *(row["seconds"] for row in rows)])
    return {f"s_scale_{i}": float(b - a) for i, (a, b) in enumerate(zip(seconds, seconds[1:]))}


def bound(recipe: Recipe, reference: Digits) -> Numbers:
    """A VAE's bound on held-out digits, the mean of 20 draws, and the share whose reconstruction keeps the label."""
    real = reference.held_out.to(next(recipe.parameters()).device)
    losses = [recipe.loss(Batch({"real": real}, start=i))[0].item() for i in range(20)]
    drawn = metrics.classify(recipe.reconstruct(real))
    return {"-elbo": float(np.mean(losses)), "label_kept": metrics.accuracy(drawn, reference.held_out_label)}


def bound_trivial(reference: Digits, dims: int) -> dict[str, Numbers]:
    """The bound of the mean image, the kept labels of principal components, and both for the reals themselves."""
    x = (reference.held_out + 1) / 2
    flat, mean = reference.real.flatten(1), ((reference.real.mean(0) + 1) / 2).clamp(1e-4, 1 - 1e-4)
    pca = PCA(dims).fit(flat)
    projected = pca.inverse_transform(pca.transform(reference.held_out.flatten(1)))
    digits = metrics.classify(torch.as_tensor(projected).view_as(reference.held_out))
    entropy = -(torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x)).flatten(1).sum(1).mean()
    same = metrics.accuracy(metrics.classify(reference.held_out), reference.held_out_label)
    return {
        "mean image": {"-elbo": float(bernoulli_nll(mean.logit().expand_as(x).flatten(1), x.flatten(1)))},
        f"{dims} principal components": {"label_kept": metrics.accuracy(digits, reference.held_out_label)},
        "held-out reals (397)": {"-elbo": float(entropy), "label_kept": same},
    }


def codes(recipe: Recipe, reference: Digits) -> Numbers:
    """InfoGAN's categorical code against classes: of samples the code they were drawn with, of held-out digits Q's."""
    z = latent.latents(recipe, range(reference.count))
    sampled = z[:, recipe.noise_dim :][:, : recipe.categories].argmax(1).cpu()
    encoded = recipe.encode(reference.held_out.to(z.device))[:, : recipe.categories].argmax(1).cpu()
    drawn = metrics.classify(latent.render(recipe, z))
    return clustering("code_", sampled, drawn) | clustering("held_out_", encoded, reference.held_out_label)


def kmeans(reference: Digits) -> Numbers:
    """Ten clusters of pixels on the train split, as the code of held-out digits."""
    means = KMeans(10, n_init=10, random_state=0).fit(reference.real.flatten(1).numpy())
    code = torch.as_tensor(means.predict(reference.held_out.flatten(1).numpy())).long()
    return clustering("held_out_", code, reference.held_out_label)


def clustering(prefix: str, code: Tensor, label: Tensor) -> Numbers:
    """How well a code agrees with classes."""
    purity, naming = metrics.purity(code, label), metrics.hungarian_accuracy(code, label)
    return {f"{prefix}purity": purity, f"{prefix}naming": naming}


def measure_all(recipe: Recipe, reference: Digits | Stacked | Points | Pairs | OneImage) -> Numbers:
    """All numbers of a model in eval mode, by its abilities."""
    if isinstance(reference, OneImage):
        return reference.measure(recipe)
    if isinstance(reference, Pairs):
        a, b = (latent.sample(recipe, range(reference.count), domain=domain) for domain in ("a", "b"))
        return reference.measure(a, b)
    numbers = reference.measure(*samples(recipe, reference.count))
    if isinstance(reference, Digits) and hasattr(recipe, "reconstruct"):
        numbers |= bound(recipe, reference)
    if isinstance(reference, Digits) and hasattr(recipe, "categories"):
        numbers |= codes(recipe, reference)
    return numbers


def trivial_rows(recipe: Recipe, reference: Digits | Stacked | Points | Pairs | OneImage) -> dict[str, Numbers]:
    """The numbers of trivial baselines."""
    if isinstance(reference, OneImage):
        return reference.trivial(recipe)
    rows = reference.trivial(latent.takes_label(recipe))
    if isinstance(reference, Digits) and hasattr(recipe, "reconstruct"):
        for name, numbers in bound_trivial(reference, recipe.z_dim).items():
            rows[name] = rows.get(name, {}) | numbers
    if isinstance(reference, Digits) and hasattr(recipe, "categories"):
        rows["k-means on pixels"] = kmeans(reference)
    return rows


DATA = {"digits": Digits, "stacked-digits": Stacked, "ring": Points, "grid": Points}
DATA |= {f"photo:{name}:whole": OneImage for name in (*SKLEARN, *PHOTOS)}
DATA |= {"digits:few": Digits, "digits-negative": Pairs, "digits-edges": Pairs}
