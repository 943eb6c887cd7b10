"""Every metric by its name: what it needs, and how it is taken from a subject. The mathematics is in gankit.metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gankit import data, latent, metrics
from gankit.evaluation import fidelity, single
from gankit.evaluation.subject import Score, Subject, share_error
from gankit.metrics import inception, spatial, vgg
from gankit.weights import WeightsFile, here, sha256

# Metrics -------------------------------------------------------------------------------------------------------------


def fd(s: Subject) -> Iterator[Score]:
    """Frechet distance between Gaussians fitted to the features: how far the samples are from the reals, as sets."""
    real, fake = s.reals.values, s.fakes.values
    if len(fake) < 2 or len(real) < 2:
        raise ValueError(f"a covariance needs two samples at least; there are {len(real)} reals and {len(fake)} fakes")
    generator = torch.Generator().manual_seed(s.seed)
    times = 20 if real.shape[1] <= 256 else 3
    drawn = [
        metrics.frechet_distance(*(x[torch.randint(len(x), (len(x),), generator=generator)] for x in (real, fake)))
        for _ in range(times)
    ]
    note = "grows as samples get fewer: compare equal counts"
    if len(fake) < real.shape[1]:
        note = f"fewer samples than the {real.shape[1]} features: strongly biased; {note}"
    value = metrics.frechet_distance(real, fake)
    yield Score(
        s.name("fd", "fid"),
        value,
        float(np.std(drawn, ddof=1)),
        f"bootstrap, {times} draws",
        "lower",
        len(real),
        len(fake),
        note,
    )


def kd(s: Subject) -> Iterator[Score]:
    """Kernel distance: squared MMD with a cubic kernel, unbiased, over all pairs."""
    real, fake = s.reals.values, s.fakes.values
    size, error, kind = (
        min(1000, len(real) // 2, len(fake) // 2),
        None,
        "",
    )  # larger subsets share rows, and are too alike
    if size > 1:
        _, error = metrics.kernel_distance_subsets(real, fake, subsets=50, size=size, seed=s.seed)
        kind = f"std over 50 subsets of {size}"
    yield Score(s.name("kd", "kid"), metrics.kernel_distance(real, fake), error, kind, "lower", len(real), len(fake))


def inception_score(s: Subject) -> Iterator[Score]:
    """exp(mean KL(p(y|x) || p(y))): sure and varied predictions; it never looks at the reals."""
    p = s.fakes.probabilities
    if len(p) < 100:
        raise ValueError(f"{len(p)} samples make no ten splits; give 100 at least")
    order = torch.randperm(len(p), generator=torch.Generator().manual_seed(s.seed))
    mean, std = metrics.inception_score(p[order], splits=10)
    yield Score(s.name("is", "is"), mean, std, "std over 10 splits", "higher", 0, len(p))


def cmmd(s: Subject) -> Iterator[Score]:
    """1000 times the squared MMD with a Gaussian kernel on CLIP's features."""
    real, fake, n = s.even(s.reals.values, s.fakes.values)
    yield Score("cmmd", metrics.cmmd(real, fake), better="lower", n_real=n, n_fake=n)


def precision(s: Subject) -> Iterator[Score]:
    """Share of fakes within the reals' manifold, and of reals within the fakes' (k = 3)."""
    real, fake, n = s.even(s.reals.values, s.fakes.values)
    found, by = metrics.precision_recall(real, fake), over_subsets(metrics.precision_recall, real, fake, 3, s.seed)
    for i, name in enumerate(("precision", "recall")):
        yield with_error(Score(s.name(name), found[i], better="higher", n_real=n, n_fake=n), by, i)


def density(s: Subject) -> Iterator[Score]:
    """How densely fakes lie among reals, and the share of reals with a fake near (k = 5)."""
    real, fake, n = s.even(s.reals.values, s.fakes.values)
    found, by = metrics.density_coverage(real, fake), over_subsets(metrics.density_coverage, real, fake, 5, s.seed)
    yield Score(
        s.name("density"), found[0], better="higher", n_real=n, n_fake=n, note="1 for the data itself; may exceed 1"
    )
    yield with_error(Score(s.name("coverage"), found[1], better="higher", n_real=n, n_fake=n), by, 1)


SUBSETS, MOST = 10, 1000  # subsets for an error, and rows in each at most


def over_subsets(
    measure: Callable[[Tensor, Tensor], tuple[float, ...]], real: Tensor, fake: Tensor, k: int, seed: int
) -> Tensor | None:
    """(SUBSETS, values) of a measure with k neighbours, of equally many rows of both sets: half of them, or MOST; None of too few."""
    n = len(real)
    size, generator = min(MOST, n // 2), torch.Generator().manual_seed(seed)
    if size <= k:
        return None
    draws = [[x[torch.randperm(n, generator=generator)[:size]] for x in (real, fake)] for _ in range(SUBSETS)]
    return torch.tensor([measure(*draw) for draw in draws], dtype=torch.float64)


def with_error(score: Score, by: Tensor | None, i: int) -> Score:
    """A share with its standard error: the deviation over subsets of m of n rows, times sqrt(m / (n - m)), by which it shrinks
    to all of them (Politis & Romano, 1994); and not less than that of a share. A manifold moves with the rows it is made of: the
    share of samples within it may be 0 of some reals and 1 of others, and a share's own error knows nothing of that."""
    if by is None:
        return score
    n, size = score.n_fake, min(MOST, score.n_fake // 2)
    error = max(float(by[:, i].std()) * math.sqrt(size / (n - size)), share_error(score.value, n))
    return score._replace(error=error, error_of=f"standard error, by {SUBSETS} subsets of {size}")


def swd(s: Subject) -> Iterator[Score]:
    """Sliced Wasserstein distance of 7x7 patches, for each level of a Laplacian pyramid, times 1,000."""
    real, fake, n = s.even(s.real_pixels[0], s.pixels[0])
    found = metrics.sliced_wasserstein(real, fake, seed=s.seed)
    for level in ("average", *(level for level in found if level != "average")):
        name = "swd" if level == "average" else f"swd_{level}"
        yield Score(name, found[level], better="lower", n_real=n, n_fake=n, note="published with 16,384 images")


def ms_ssim(s: Subject) -> Iterator[Score]:
    """Mean structural similarity of pairs of samples: lower is more varied; the reals' own stands beside it."""
    within = s.pixels[1] is not None and s.real_pixels[1] is not None
    note = "within classes" if within else ""
    for who, (images, label) in {"ms_ssim": s.pixels, "ms_ssim_reals": s.real_pixels}.items():
        pairs = 100 if within else min(1000, len(images) // 2)
        value = metrics.ms_ssim_diversity(images, pairs=pairs, seed=s.seed, label=label if within else None)
        fakes = who == "ms_ssim"
        yield Score(
            who, value, better="lower" * fakes, n_fake=len(images) * fakes, n_real=len(images) * (not fakes), note=note
        )


def ppl(s: Subject, distance: Callable[[Tensor, Tensor], Tensor] | None = None, name: str = "") -> Iterator[Score]:
    """Perceptual path length by the features: how fast they change along arcs in z, and straight in w where there is one."""
    recipe, count, trunc = s.fake.recipe, min(1000, s.n), s.fake.about["trunc"]
    if count < 2:
        raise ValueError("one pair has no standard error; give two samples at least")
    seeds = list(range(s.seed, s.seed + 2 * count))
    z, label = latent.latents(recipe, seeds), latent.labels(recipe, seeds[:count])
    both = None if label is None else label.repeat(2)

    def of_z(part: Tensor, *given: Tensor) -> Tensor:
        part = part.to(z)
        return latent.render(recipe, latent.shorten(recipe, part, trunc, *given), *given)

    def of_w(part: Tensor, *given: Tensor) -> Tensor:
        layers = part.to(z)[:, None].expand(-1, recipe.num_ws, -1)
        return latent.render(recipe, latent.truncate_w(recipe, layers, trunc))

    spaces = {"z": (z, of_z)}
    if latent.has_style(recipe):
        spaces["w"] = latent.to_w(recipe, z, both)[:, 0], of_w
    for space, (ends, generate) in spaces.items():
        ends = ends.float().cpu()
        for where in ("full", "end"):
            values = metrics.path_distances(
                generate, ends[:count], ends[count:], distance or s.extractor.distance, t=where, space=space,
                generator=torch.Generator().manual_seed(s.seed), batch=s.batch, label=label,
            )  # fmt: skip
            error = float(values.std()) / math.sqrt(count)
            called = f"ppl_{space}_{where}{name or '_' + s.extractor.name}"
            note = "the middle 98 %" + ("" if name else "; features in place of LPIPS")
            yield Score(
                called, metrics.trimmed_mean(values), error, "standard error, untrimmed", "lower", 0, count, note
            )


def ppl_lpips(s: Subject) -> Iterator[Score]:
    """Perceptual path length in z as published, by LPIPS on VGG16, images averaged down to 256 pixels."""

    def distance(a: Tensor, b: Tensor) -> Tensor:
        factor = max(1, min(a.shape[2:]) // 256)
        return metrics.lpips(*(F.avg_pool2d(x, factor) for x in (a, b)))

    yield from ppl(s, distance, "_lpips")


def separability(s: Subject) -> Iterator[Score]:
    """2 to the entropy of the extractor's classes given linear rules on z, and on w where there is one: 1 is best."""
    n, recipe, trunc = len(s.fakes), s.fake.recipe, s.fake.about["trunc"]
    seeds = range(s.seed, s.seed + n)
    for space in ("z", "w") if latent.has_style(recipe) else ("z",):
        if space == "w":
            found, _ = latent.points(recipe, seeds, None, trunc, "w")
            found = found[:, 0]
        else:
            found = latent.latents(recipe, seeds)
            found = found if latent.has_style(recipe) else latent.truncate(recipe, found, trunc)
        rules = metrics.linear_separability(
            found.float().cpu(), s.fakes.probabilities, threshold=0.5, keep=1.0, seed=s.seed
        )
        note = f"{len(rules.entropies)} classes as attributes, all samples kept; published with 40 attributes of faces"
        yield Score(s.name(f"separability_{space}"), rules.score, better="lower", n_fake=n, note=note)


def fd_per_class(s: Subject) -> Iterator[Score]:
    """Mean over classes of the Frechet distance within each."""
    found = metrics.per_class_frechet(s.reals.values, s.reals.label, s.fakes.values, s.fakes.label)
    fewest = min(int(count) for count in s.fakes.label.bincount().tolist() if count)
    note = f"at least {fewest} fakes a class"
    yield Score(s.name("fd_per_class"), found.mean, better="lower", n_real=len(s.reals), n_fake=len(s.fakes), note=note)


def accuracy(s: Subject) -> Iterator[Score]:
    """Share of samples that the extractor takes for the class that was asked for."""
    seen, label = s.fakes.probabilities.argmax(1), s.fakes.label
    value = metrics.accuracy(seen, label)
    yield Score(s.name("accuracy"), value, share_error(value, len(seen)), "standard error", "higher", 0, len(seen))


def cas(s: Subject) -> Iterator[Score]:
    """Accuracy on held-out reals of a classifier trained on fakes (CAS), and on fakes of one trained on reals."""
    (fake, asked), (real, label), (test, test_label) = s.pixels, s.real_pixels, s.held_out_pixels
    by_reals = metrics.fit_convnet(real, label, seed=s.seed)
    value = metrics.classification_accuracy(fake, asked, test, test_label, seed=s.seed)
    note = f"trained on reals instead: {metrics.accuracy(by_reals(test), test_label):.3f}"
    error_of = "standard error over the unseen reals, for this classifier"
    yield Score("cas", value, share_error(value, len(test)), error_of, "higher", len(test), len(fake), note)
    value = metrics.accuracy(by_reals(fake), asked)
    yield Score("gan_test", value, share_error(value, len(fake)), "standard error", "higher", len(real), len(fake))


def classes(s: Subject) -> Iterator[Score]:
    """KL and Jensen-Shannon divergence, in nats, between the shares of the extractor's classes in fakes and reals."""
    shares = [
        f.probabilities.argmax(1).bincount(minlength=f.probabilities.shape[1]).double() / len(f)
        for f in (s.reals, s.fakes)
    ]
    counts = dict(better="lower", n_real=len(s.reals), n_fake=len(s.fakes))
    missing = bool((shares[1] == 0)[shares[0] > 0].any())
    yield Score(
        s.name("class_js"),
        metrics.js(*shares),
        **counts,
        note="a class of the reals is missing in the samples" * missing,
    )
    if not missing:
        yield Score(s.name("class_kl"), metrics.kl(*shares), **counts)


def modes(s: Subject) -> Iterator[Score]:
    """Modes that were found, the share of samples of high quality, and KL(q || uniform) of the modes, in nats."""
    if s.real.data == "stacked-digits":
        images = s.fake.some(min(s.n, 26_000), s.seed, s.batch)[0]
        found, of, n = metrics.stacked_coverage(images), 1000, len(images)
    else:
        centres, std = data.MODES[s.real.data]
        points = s.fake.some(min(s.n, 2500), s.seed)[0]
        found, of, n = metrics.mixture_coverage(points, torch.from_numpy(centres), std), len(centres), len(points)
    yield Score("modes", found.modes, better="higher", n_fake=n, note=f"of {of}; one sample of high quality is enough")
    yield Score("modes_strict", found.strict, better="higher", n_fake=n, note=f"of {of}; a fifth of the fair share")
    q = found.high_quality
    yield Score("high_quality", q, share_error(q, n), "standard error", "higher", 0, n)
    yield Score(
        "reverse_kl",
        found.reverse_kl,
        better="lower",
        n_fake=n,
        note=f"the data itself has about {(of - 1) / 2 / n:.3g}",
    )


def emd(s: Subject) -> Iterator[Score]:
    """Exact earth mover's distance between equally many samples and reals, in the units of the data."""
    n = min(1000, s.n, s.real.count // 2)
    if n < 2:
        raise ValueError("there must be four reals at least")
    real = s.real.some(2 * n, s.seed)[0].flatten(1)
    fake = s.fake.some(n, s.seed)[0].flatten(1)
    floor = metrics.earth_mover(real[::2][:n], real[1::2][:n])
    note = f"between two halves of the reals: {floor:.4g}"
    yield Score("emd", metrics.earth_mover(real[::2][:n], fake[:n]), better="lower", n_real=n, n_fake=n, note=note)


def critic(s: Subject) -> Iterator[Score]:
    """The critic's own estimate of the Wasserstein distance, in its own units: mean output on reals less that on fakes."""
    like = next(s.fake.recipe.parameters())
    with torch.no_grad():
        real, fake = (
            torch.cat([s.fake.recipe.critic(part.to(like)) for part in images.split(s.batch)])
            for images in (s.real_pixels[0], s.pixels[0])
        )
    error = float((real.var() / len(real) + fake.var() / len(fake)).sqrt()) if min(len(real), len(fake)) > 1 else None
    note = "only for one critic with itself: units differ"
    yield Score(
        "critic",
        metrics.critic_distance(real, fake),
        error,
        "standard error" * (error is not None),
        "lower",
        len(real),
        len(fake),
        note,
    )


def parzen(s: Subject) -> Iterator[Score]:
    """Log-likelihood of held-out reals under Gaussian windows on the samples, in nats, pixels in [0, 1]."""
    fake, test = s.pixels[0], s.held_out_pixels[0]
    found = metrics.parzen_log_likelihood(fake, test[1::2], validation=test[::2])
    note = f"sigma {found.sigma:.3g}; unreliable (Theis et al., 2016), for comparison with the first papers"
    error_of = "standard error over the unseen reals, for these samples"
    yield Score("parzen", found.mean, found.standard_error, error_of, "higher", len(test[1::2]), len(fake), note)


def ndb(s: Subject) -> Iterator[Score]:
    """Share of k-means bins of the reals whose share of fakes differs significantly, and JS of the bins' shares."""
    real, fake = s.real_pixels[0].flatten(1), s.pixels[0].flatten(1)
    k = min(100, len(real) // 20, len(fake) // 10)
    if k < 2:
        raise ValueError(f"{len(real)} reals and {len(fake)} samples make no two bins; give 40 and 20 at least")
    share, js = metrics.ndb(real, fake, k=k, seed=s.seed)
    yield Score(
        "ndb", share, better="lower", n_real=len(real), n_fake=len(fake), note=f"{k} bins; 0.05 for the data itself"
    )
    yield Score("ndb_js", js, better="lower", n_real=len(real), n_fake=len(fake))


def memorisation(s: Subject) -> Iterator[Score]:
    """Whether samples lie nearer to the training data than unseen reals do, by pixels."""
    fake, real, unseen = s.pixels[0], s.training_pixels, s.held_out_pixels[0]
    found = metrics.memorisation(fake, real, unseen, seed=s.seed)
    only = f"; only {len(real):,} of {s.real.count:,} training images were looked at" * (len(real) < s.real.count)
    yield Score("memorised", found.share, better="lower", n_real=len(real), n_fake=len(fake), note=found.verdict + only)
    note = "0.5: as near to training data as to unseen data"
    yield Score("memorisation_auroc", found.auroc, better="lower", n_real=len(real), n_fake=len(fake), note=note)


def birthday(s: Subject) -> Iterator[Score]:
    """How many different samples there are, from how soon two alike are drawn: an estimate from below."""
    fake, real = s.pixels[0].flatten(1), s.real_pixels[0].flatten(1)
    near = metrics.nearest_neighbours(real, real, k=2).distance[:, 1]
    threshold = float(near.quantile(0.05))
    found, own = (metrics.birthday(x, threshold, seed=s.seed) for x in (fake, real))
    many = "" if math.isfinite(found.support) else "at least, as none were alike; "
    note = f"{many}alike is nearer than 95 % of reals are to their nearest; the reals have {own.support:,.0f} by the same rule"
    value = found.support if math.isfinite(found.support) else found.low
    yield Score("support", value, better="higher", n_real=len(real), n_fake=len(fake), note=note)


# What each needs -----------------------------------------------------------------------------------------------------


POINTS = ("points", "vectors")


def shares_classes(s: Subject) -> bool:
    """Whether the extractor's classes are those of the data: the digits classifier on digits."""
    return (
        s.extractor is not None
        and s.extractor.name == "digits"
        and s.real is not None
        and s.real.data.split(":")[0] == "digits"
    )


NEEDS: dict[str, tuple[Callable[[Subject], bool], str]] = {
    "images": (lambda s: s.fake.kind == "images", "it is for images"),
    "points": (lambda s: s.fake.kind in POINTS, "it is for points and vectors; for images see kd"),
    "reals": (lambda s: s.real is not None, "it needs reals: add --against DATA"),
    "unseen": (lambda s: s.held_out is not None, "it needs reals that were not trained on: add --held-out DATA"),
    "features": (
        lambda s: s.extractor is not None or s.fake.kind in POINTS,
        "no network goes with this data: name one with --features",
    ),
    "network": (
        lambda s: s.extractor is not None,
        "no network looks at this data; for images name one with --features",
    ),
    "classifier": (lambda s: s.extractor is not None and s.extractor.classifies, "the features come with no classes"),
    "the data's classifier": (shares_classes, "no classifier of this data's classes is at hand; digits has one"),
    "clip": (
        lambda s: s.extractor is not None and "clip" in s.extractor.name.lower(),
        "it is defined on CLIP's features",
    ),
    "labels": (
        lambda s: s.fake.classes > 0 and s.real is not None and s.real.classes > 0,
        "samples and reals need labels of the same classes",
    ),
    "a generator": (
        lambda s: s.fake.recipe is not None and s.fake.inputs is None,
        "it looks at the latents of a generator: name a run of one",
    ),
    "a critic": (lambda s: hasattr(s.fake.recipe, "critic"), "the model has no Wasserstein critic"),
    "one image": (
        lambda s: single.alone(s.fake, s.real),
        "it is for samples of one image: a run of singan, or a folder of samples and --against photo.jpg",
    ),
    "a pyramid": (
        lambda s: single.pyramid(s) is not None,
        "the model is none of one image, which gives that image back",
    ),
    "ImageNet's Inception": (
        lambda s: s.willing or here(inception.TORCHVISION),
        "its weights are not here; asked for by name it downloads 109 MB",
    ),
    "gankit's encoder": (lambda s: True, ""),
    "VGG16": (lambda s: s.willing or vgg.here(), "VGG16's weights are not here; asked for by name it downloads 553 MB"),
    "targets": (
        lambda s: s.fake.targets is not None or (hasattr(s.fake.recipe, "reconstruct") and s.real is not None),
        "nothing says what each output should be: it is for pairs, and for models that reconstruct",
    ),
    "a way back": (lambda s: bool(s.fake.way), "the model does not translate both ways"),
    "digits in and out": (
        lambda s: bool(s.fake.view) and bool(s.fake.inputs.view),
        "the classifier of digits does not know these inputs and outputs",
    ),
    "styles": (
        lambda s: s.fake.styles is not None and hasattr(s.fake.recipe, "statistics"),
        "the model does not transfer styles",
    ),
    "asked attributes": (
        lambda s: s.fake.attributes is not None and s.real is not None,
        "no attributes are asked of the model",
    ),
    "label maps": (lambda s: s.fake.kind == "maps", "the model does not segment"),
    "labelled inputs": (
        lambda s: s.fake.colours is not None,
        "the inputs are not coloured label maps that go with photographs",
    ),
    "modes": (
        lambda s: s.real is not None and s.real.data in (*data.MODES, "stacked-digits"),
        "mode counts are known only for ring, grid and stacked-digits",
    ),
}


class Metric(NamedTuple):
    """A metric that can be asked for.

    Args:
        take: gives its scores.
        needs: keys of NEEDS.
    """

    take: Callable[[Subject], Iterator[Score]]
    needs: tuple[str, ...]


METRICS: dict[str, Metric] = {
    "fd": Metric(fd, ("reals", "features")),
    "kd": Metric(kd, ("reals", "features")),
    "is": Metric(inception_score, ("classifier",)),
    "cmmd": Metric(cmmd, ("reals", "clip")),
    "precision": Metric(precision, ("reals", "features")),
    "density": Metric(density, ("reals", "features")),
    "swd": Metric(swd, ("images", "reals")),
    "ms_ssim": Metric(ms_ssim, ("images", "reals")),
    "ppl": Metric(ppl, ("a generator", "images", "network")),
    "ppl_lpips": Metric(ppl_lpips, ("a generator", "images", "VGG16")),
    "separability": Metric(separability, ("a generator", "classifier")),
    "fd_per_class": Metric(fd_per_class, ("reals", "labels", "features")),
    "accuracy": Metric(accuracy, ("labels", "the data's classifier")),
    "cas": Metric(cas, ("images", "labels", "unseen")),
    "l1": Metric(fidelity.l1, ("images", "targets")),
    "psnr": Metric(fidelity.psnr, ("images", "targets")),
    "ssim": Metric(fidelity.ssim, ("images", "targets")),
    "lpips": Metric(fidelity.lpips, ("images", "targets", "VGG16")),
    "cycle": Metric(fidelity.cycle, ("images", "a way back")),
    "style": Metric(fidelity.style, ("images", "styles")),
    "label_kept": Metric(fidelity.label_kept, ("images", "digits in and out")),
    "attributes": Metric(fidelity.attributes, ("images", "asked attributes")),
    "segmentation": Metric(fidelity.segmentation, ("label maps",)),
    "fcn_score": Metric(fidelity.fcn_score, ("images", "labelled inputs")),
    "sifid": Metric(single.sifid, ("one image", "ImageNet's Inception")),
    "sifid_small": Metric(single.sifid_small, ("one image", "gankit's encoder")),
    "patches": Metric(single.patches, ("one image",)),
    "diversity": Metric(single.diversity, ("one image",)),
    "copies": Metric(single.copies, ("one image",)),
    "reconstruction": Metric(single.reconstruction, ("one image", "a pyramid")),
    "classes": Metric(classes, ("reals", "classifier")),
    "modes": Metric(modes, ("modes",)),
    "emd": Metric(emd, ("points", "reals")),
    "critic": Metric(critic, ("images", "reals", "a critic")),
    "parzen": Metric(parzen, ("images", "unseen")),
    "ndb": Metric(ndb, ("reals",)),
    "memorisation": Metric(memorisation, ("images", "reals", "unseen")),
    "birthday": Metric(birthday, ("images", "reals")),
}


# What these are met by in place of the extractor: a network's name, and its published file or the one in the package.
NETWORKS = {
    "VGG16": ("lpips", vgg.WEIGHTS),
    "ImageNet's Inception": ("inception_v3, Conv2d_4a_3x3", inception.TORCHVISION),
    "gankit's encoder": ("style_encoder, relu3_1", spatial.ENCODER),
}
LOOKS = {"features", "network", "classifier", "clip", "the data's classifier"}  # needs that are met by the extractor


def network(name: str) -> tuple[str, WeightsFile | Path | None]:
    """What a metric looks through that is not the extractor: its name and its file; "" and None of most."""
    return next((NETWORKS[need] for need in METRICS[name].needs if need in NETWORKS), ("", None))


def through(name: str) -> dict[str, str] | None:
    """The same for its record."""
    title, file = network(name)
    return (
        None
        if file is None
        else {"name": title, "fingerprint": sha256(file) if isinstance(file, Path) else file.sha256}
    )


def looks(name: str) -> bool:
    """Whether a metric's number hangs on the extractor."""
    return bool(LOOKS & set(METRICS[name].needs))


def missing(metric: Metric, subject: Subject) -> str:
    """Why a metric does not apply; empty when it does."""
    if subject.fake.kind == "maps" and "label maps" not in metric.needs:
        return "it does not look at label maps"
    return next((reason for holds, reason in map(NEEDS.get, metric.needs) if not holds(subject)), "")


def about(name: str) -> str:
    """A metric's first sentence; nothing of one that a former version took."""
    return (METRICS[name].take.__doc__ or "").splitlines()[0] if name in METRICS else ""
