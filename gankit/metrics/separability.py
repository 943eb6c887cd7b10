"""Linear separability: whether a hyperplane in latent space separates samples with an attribute from the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gankit.metrics.neighbours import check_points


class Separability(NamedTuple):
    """The result of `linear_separability`.

    Args:
        score: 2^(sum of the entropies); 1 is perfect, 2^A is chance for A balanced attributes. Lower is better.
        entropies: H(Y|X) of each attribute in bits.
    """

    score: float
    entropies: tuple[float, ...]


def linear_separability(
    latents: Tensor,
    scores: Tensor,
    threshold: float = 0.0,
    keep: float = 0.5,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> Separability:
    """2^(sum_i H(Y_i | X_i)), in bits, of the predictions X_i of a linear SVM and Y_i of a classifier for attribute i.

    Karras, Laine & Aila, "A Style-Based Generator Architecture for Generative Adversarial Networks", CVPR 2019,
    https://arxiv.org/abs/1812.04948: 200,000 samples, the most confident half kept for each of 40 attributes, a
    hyperplane fitted to the latents and tested on the same samples. So there must be many more samples than dimensions.
    The authors' code counts an attribute whose hyperplane cannot be fitted as perfect; here it is an error.

    The function is long because it checks all arguments first.

    Args:
        latents: (N, d) z, or the last w.
        scores: (N, A) logits or probabilities of a classifier for the images of the latents.
        threshold: scores above it are positive: 0 for logits, 0.5 for probabilities.
        keep: share of samples kept for each attribute, the furthest from the threshold.
        names: A names for messages.
        seed: of the solver.

    Raises:
        ValueError: numbers of rows differ, NaN; an attribute that all kept samples have or lack; at most 2 (d + 1) kept
            samples, for which a hyperplane separates random labels with probability 1/2 (Cover, 1965).
    """
    from sklearn.svm import LinearSVC

    (latents,) = check_points(latents=latents)
    if scores.ndim != 2 or len(scores) != len(latents) or not scores.shape[1]:
        raise ValueError(f"scores are {tuple(scores.shape)}; give ({len(latents)}, A), a row for each latent")
    if torch.isnan(scores).any():
        raise ValueError("scores hold NaN; leave such samples out")
    if not 0 < keep <= 1:
        raise ValueError(f"keep is {keep}; give a share such as 0.5")
    if names is not None and len(names) != scores.shape[1]:
        raise ValueError(f"there are {len(names)} names for {scores.shape[1]} attributes; give one each")
    kept = int(keep * len(latents))
    if kept <= 2 * (latents.shape[1] + 1):
        raise ValueError(
            f"{kept} samples are kept in {latents.shape[1]} dimensions; give more than "
            f"{2 * (latents.shape[1] + 1)}, better ten times as many"
        )
    x, margins = latents.double().cpu(), scores.detach().double().cpu() - threshold
    surest = margins.abs().argsort(dim=0, descending=True, stable=True)[:kept]  # (kept, A)
    answers = margins.gather(0, surest) > 0
    even = [i for i in range(answers.shape[1]) if answers[:, i].all() or not answers[:, i].any()]
    if even:
        called = ", ".join(str(names[i] if names else i) for i in even)
        raise ValueError(
            f"the {kept} surest samples all agree on attributes {called}, so no plane can be fitted: leave these "
            "columns out and say so, or check `threshold` (0 for logits, 0.5 for probabilities)"
        )
    entropies = []
    for i in range(answers.shape[1]):
        inside, y = x[surest[:, i]].numpy(), answers[:, i].numpy()
        predicted = torch.from_numpy(LinearSVC(dual="auto", random_state=seed).fit(inside, y).predict(inside))
        joint = (predicted.long() * 2 + answers[:, i]).bincount(minlength=4).view(2, 2).double() / kept
        entropies.append(float(torch.xlogy(joint.sum(1), joint.sum(1)).sum() - torch.xlogy(joint, joint).sum()))
    bits = tuple(max(nats, 0.0) / torch.tensor(2.0).double().log().item() for nats in entropies)
    return Separability(2 ** sum(bits), bits)
