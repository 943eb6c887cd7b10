"""Metrics of class predictions, by the feature extractor or by classifiers that are trained for the metric."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from gankit import metrics
from gankit.evaluation.needs import Metric
from gankit.evaluation.sources import required
from gankit.evaluation.subject import Score, Subject, share_error, share_score


def inception_score(s: Subject) -> Iterator[Score]:
    """Inception score, exp(mean KL(p(y|x) || p(y))): confident and varied predictions; it ignores the real data."""
    p = required(s.fakes.probabilities)
    if len(p) < 100:
        raise ValueError(f"{len(p)} samples are too few for ten splits; give 100 at least")
    order = torch.randperm(len(p), generator=torch.Generator().manual_seed(s.seed))
    mean, std = metrics.inception_score(p[order], splits=10)
    yield Score(s.score_name("is", "is"), mean, std, "std over 10 splits", "higher", 0, len(p))


def fd_per_class(s: Subject) -> Iterator[Score]:
    """Mean over classes of the Frechet distance within each."""
    real_label, label = required(s.reals.label), required(s.fakes.label)
    result = metrics.per_class_frechet(s.reals.values, real_label, s.fakes.values, label)
    fewest = min(int(count) for count in label.bincount().tolist() if count)
    note, name = f"at least {fewest} fakes a class", s.score_name("fd_per_class")
    yield Score(name, result.mean, better="lower", n_real=len(s.reals), n_fake=len(s.fakes), note=note)


def accuracy(s: Subject) -> Iterator[Score]:
    """Share of samples that the extractor classifies as the class they were conditioned on."""
    predicted, label = required(s.fakes.probabilities).argmax(1), required(s.fakes.label)
    yield share_score(predicted == label, s.score_name("accuracy"))


def cas(s: Subject) -> Iterator[Score]:
    """Accuracy on held-out real data of a classifier trained on samples (CAS), and the reverse (GAN-test)."""
    (fake, condition), (real, label), (test, test_label) = (
        (images, required(of_images)) for images, of_images in (s.pixels, s.real_pixels, s.held_out_pixels)
    )
    trained_on_reals = metrics.fit_convnet(real, label, seed=s.seed)
    value = metrics.classification_accuracy(fake, condition, test, test_label, seed=s.seed)
    note = f"trained on reals instead: {metrics.accuracy(trained_on_reals(test), test_label):.3f}"
    error_of = "standard error over the unseen reals, for this classifier"
    yield Score("cas", value, share_error(value, len(test)), error_of, "higher", len(test), len(fake), note)
    value = metrics.accuracy(trained_on_reals(fake), condition)
    yield Score("gan_test", value, share_error(value, len(fake)), "standard error", "higher", len(real), len(fake))


def classes(s: Subject) -> Iterator[Score]:
    """KL and Jensen-Shannon divergence, in nats, between the shares of predicted classes in samples and real data."""
    real, fake = (
        p.argmax(1).bincount(minlength=p.shape[1]).double() / len(p)
        for p in (required(s.reals.probabilities), required(s.fakes.probabilities))
    )
    n_real, n_fake = len(s.reals), len(s.fakes)
    is_missing = bool((fake == 0)[real > 0].any())
    note = "a class of the reals is missing in the samples" if is_missing else ""
    js = metrics.js(real, fake)
    yield Score(s.score_name("class_js"), js, better="lower", n_real=n_real, n_fake=n_fake, note=note)
    if not is_missing:
        kl = metrics.kl(real, fake)
        yield Score(s.score_name("class_kl"), kl, better="lower", n_real=n_real, n_fake=n_fake)


METRICS = {
    "is": Metric(inception_score, ("classifier",)),
    "fd_per_class": Metric(fd_per_class, ("reals", "labels", "features"), ("classes",)),
    "accuracy": Metric(accuracy, ("labels", "the data's classifier"), ("classes",)),
    "cas": Metric(cas, ("images", "labels", "unseen"), ("classes",)),
    "classes": Metric(classes, ("reals", "classifier")),
}
