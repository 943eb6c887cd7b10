"""Metrics of predicted classes: inception score, class shares, accuracy, and agreement of codes with labels."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def inception_score(probabilities: Tensor, splits: int = 10) -> tuple[float, float]:
    """exp(E_x KL(p(y|x) || p(y))): mean and population standard deviation of `splits` parts of (N, K) probabilities.

    1 if all predictions are equal, K if they are certain and spread evenly over the classes. Salimans et al., "Improved
    Techniques for Training GANs", NeurIPS 2016, https://arxiv.org/abs/1606.03498. Shuffle rows that are sorted by
    class. The deviation of one part is NaN.

    Raises:
        ValueError: there are fewer rows than parts, or no part.
    """
    n, scores = len(probabilities), []
    if not 1 <= splits <= n:
        raise ValueError(f"there are {n} rows for {splits} parts; give 1 part at least, and a row or more for each")
    for i in range(splits):
        p = probabilities[i * n // splits : (i + 1) * n // splits].double()
        marginal = p.mean(0)
        scores.append((torch.xlogy(p, p).sum(1).mean() - torch.xlogy(marginal, marginal).sum()).exp())
    values = torch.stack(scores)
    return float(values.mean()), float(values.std(correction=0)) if splits > 1 else math.nan


def total_variation(label: Tensor, num_classes: int, reference: Tensor | None = None) -> float:
    """Half of sum |p - q| between the class shares of (N,) labels and of `reference`, or equal shares: 0 to 1."""
    p = label.bincount(minlength=num_classes) / len(label)
    q = 1 / num_classes if reference is None else reference.bincount(minlength=num_classes) / len(reference)
    return float((p.double() - q).abs().sum() / 2)


def accuracy(predicted: Tensor, label: Tensor) -> float:
    """Share of (N,) predicted classes that equal the (N,) labels, such as the conditions of samples."""
    return float((predicted == label).double().mean())


def purity(code: Tensor, label: Tensor) -> float:
    """Share of samples whose label is the most frequent one among samples with the same code, both (N,) int64.

    Manning, Raghavan & Schuetze, "Introduction to Information Retrieval", 2008, section 16.3. Never below the share of
    the most frequent label: 1 if all samples have one label, or each sample its own code. So compare for equal numbers
    of codes, together with the class histogram or `hungarian_accuracy`.
    """
    return float(_counts(code, label).max(1).values.sum() / len(code))


def hungarian_accuracy(code: Tensor, label: Tensor) -> float:
    """Accuracy of the best one-to-one assignment of codes to labels, both (N,) int64 (Kuhn, 1955)."""
    from scipy.optimize import linear_sum_assignment  # slow to import

    counts = _counts(code, label)
    rows, columns = linear_sum_assignment(counts.numpy(), maximize=True)
    return float(counts[rows, columns].sum() / len(code))


def naming(counts: Tensor) -> Tensor:
    """(K,) label of each code in the best one-to-one assignment, from (K, K) counts of labels (rows) and codes."""
    from scipy.optimize import linear_sum_assignment  # slow to import

    labels, codes = linear_sum_assignment(counts.numpy(), maximize=True)
    named = torch.empty(len(counts), dtype=torch.int64)
    named[torch.from_numpy(codes)] = torch.from_numpy(labels)
    return named


def _counts(code: Tensor, label: Tensor) -> Tensor:
    """How often each (code, label) occurs."""
    width = int(label.max()) + 1
    return (code * width + label).bincount(minlength=(int(code.max()) + 1) * width).view(-1, width)
