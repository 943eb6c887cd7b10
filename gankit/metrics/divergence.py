"""Distances between distributions: of probability vectors, of point sets, by a critic, and by a Parzen window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gankit.metrics.neighbours import check_points, squared_distances

LARGEST = 5000  # points of each set in `earth_mover`: the matrix takes 200 MB, and the time grows with the cube


class Parzen(NamedTuple):
    """The result of `parzen_log_likelihood`.

    Args:
        mean: mean log-likelihood of a test row, in nats; higher is better, but unreliable.
        standard_error: of the mean over the test rows, for these samples.
        sigma: the window's standard deviation.
    """

    mean: float
    standard_error: float
    sigma: float


def kl(p: Tensor, q: Tensor) -> float:
    """KL(p || q) = sum p log(p / q) in nats, of (K,) probabilities; 0 log 0 = 0; infinite where q is 0 and p is not.

    Kullback & Leibler, "On Information and Sufficiency", 1951. p = real gives the forward divergence, p = fake the
    reverse one, which stays finite for missing modes. Lower is better. Sums within 1e-4 of 1 are normalised.

    Raises:
        ValueError: not (K,) twice, negative or NaN, or a sum that is not 1.
    """
    p, q = _probabilities(p, q)
    return max(float((torch.xlogy(p, p) - torch.xlogy(p, q)).sum()), 0.0)


def js(p: Tensor, q: Tensor) -> float:
    """(KL(p || m) + KL(q || m)) / 2 with m = (p + q) / 2, in nats, of (K,) probabilities: 0 to log 2; lower is better.

    Lin, "Divergence Measures Based on the Shannon Entropy", 1991; `scipy.spatial.distance.jensenshannon` is its root.

    Raises:
        ValueError: as `kl`.
    """
    p, q = _probabilities(p, q)
    middle = (p + q) / 2
    return (kl(p, middle) + kl(q, middle)) / 2


def _probabilities(p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    if p.ndim != 1 or p.shape != q.shape or not len(p):
        raise ValueError(f"probabilities are {tuple(p.shape)} and {tuple(q.shape)}; give (K,) twice")
    p, q = p.detach().cpu().double(), q.detach().cpu().double()
    for x in (p, q):
        if not (x >= 0).all() or not abs(float(x.sum()) - 1) <= 1e-4:
            raise ValueError(
                f"probabilities run from {float(x.min()):.4g} to {float(x.max()):.4g} and sum to {float(x.sum()):.6g}; "
                "give numbers from 0 that sum to 1 (counts / counts.sum())"
            )
    return p / p.sum(), q / q.sum()


def earth_mover(x: Tensor, y: Tensor) -> float:
    """Exact Wasserstein-1 distance of two sets of N points: the smallest mean distance of a one-to-one assignment.

    W = min over permutations s of mean_i |x_i - y_s(i)|; for (N,) or (N, 1) numbers by sorting, for (N, d) by
    `scipy.optimize.linear_sum_assignment` (Crouse, "On implementing 2D rectangular assignment algorithms", 2016), about
    a second for 1,000 points and cubic in their number, so at most 5,000. Lower is better. Two sets from one
    distribution are about N^(-1/d) apart: compare for equal N, and with reals against reals.

    Raises:
        ValueError: sets of different sizes or shapes, NaN, or too many points.
    """
    x, y = (z.double().cpu() for z in check_points(x=x, y=y))
    if len(x) != len(y):
        raise ValueError(f"the sets have {len(x)} and {len(y)} points; give equally many")
    if x.shape[1] == 1:
        return float((x.flatten().sort().values - y.flatten().sort().values).abs().mean())
    if len(x) > LARGEST:
        raise ValueError(f"there are {len(x)} points of {x.shape[1]} dimensions; give {LARGEST} at most, or numbers")
    from scipy.optimize import linear_sum_assignment

    cost = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").numpy()
    return float(cost[linear_sum_assignment(cost)].mean())


def critic_distance(real_outputs: Tensor, fake_outputs: Tensor, lipschitz: float = 1.0) -> float:
    """(mean critic(real) - mean critic(fake)) / K: a Wasserstein critic's estimate of W(real, fake); lower is better.

    Arjovsky, Chintala & Bottou, "Wasserstein GAN", ICML 2017, https://arxiv.org/abs/1701.07875, eq. 3. For a critic
    with Lipschitz constant K it is at most W of these samples, and W for the best critic. With clipped weights K is
    unknown, so the units differ between networks; with a gradient penalty K is about 1. A constant critic gives 0.

    Args:
        real_outputs: (N,) or (N, 1) outputs for reals.
        fake_outputs: (M,) or (M, 1) outputs for fakes.
        lipschitz: K.

    Raises:
        ValueError: more than one output a sample, none, NaN, or K not above 0.
    """
    for name, x in (("real_outputs", real_outputs), ("fake_outputs", fake_outputs)):
        if not x.numel() or x.numel() != len(x) or not torch.isfinite(x).all():
            raise ValueError(f"{name} is {tuple(x.shape)}; give one finite number a sample")
    if not lipschitz > 0:
        raise ValueError(f"lipschitz is {lipschitz}; give a number above 0")
    return float(real_outputs.double().mean().cpu() - fake_outputs.double().mean().cpu()) / lipschitz


def parzen_log_likelihood(
    samples: Tensor,
    test: Tensor,
    sigma: float | None = None,
    validation: Tensor | None = None,
    sigmas: Sequence[float] | None = None,
) -> Parzen:
    """Mean log-likelihood of test rows under a Gaussian window of width sigma on each generated sample, in nats.

    log p(x) = log sum_i exp(-|x - s_i|^2 / (2 sigma^2)) - log N - d/2 log(2 pi sigma^2). Goodfellow et al., "Generative
    Adversarial Nets", NeurIPS 2014, https://arxiv.org/abs/1406.2661, section 5 (sigma by validation), after
    Breuleux, Bengio & Vincent, 2011. Higher is better, but Theis, van den Oord & Bethge, "A Note on the Evaluation
    of Generative Models", ICLR 2016, https://arxiv.org/abs/1511.01844, show that it does not estimate the likelihood
    in high dimensions and can rank models above the data itself. Report it only to compare with the first papers, and
    do not select models by it.

    (N, C, H, W) images in [-1, 1] are scaled to [0, 1] first, as in those papers, and sigma refers to that range: the
    unit of length changes the value by d log 2. Other rows are not scaled.

    Args:
        samples: (N, ...) generated rows.
        test: (M, ...) real rows, M >= 2.
        sigma: the width; None chooses it.
        validation: (V, ...) real rows, neither test nor training rows, to choose sigma.
        sigmas: widths to choose from; None takes 26, from 1/100 to 3 root mean square deviations of the samples.

    Raises:
        ValueError: neither sigma nor validation, or both; the best width is the first or last; rows of other shapes;
            NaN.
    """
    sets = {"samples": samples, "test": test} | ({} if validation is None else {"validation": validation})
    checked = check_points(**sets)
    if (sigma is None) == (validation is None):
        raise ValueError("give either sigma or validation rows to choose it on (held out, and no test rows)")
    if len(test) < 2:
        raise ValueError(f"there are {len(test)} test rows; give 2 at least, for a standard error")
    if samples.ndim == 4:
        checked = [(x.double() + 1) / 2 for x in checked]
    if sigma is None:
        if sigmas is None:
            spread = float(checked[0].double().var(0, correction=0).mean().sqrt())
            sigmas = (spread * torch.logspace(-2, math.log10(3), 26, dtype=torch.float64)).tolist()
        if len(sigmas) < 3 or not all(s > 0 for s in sigmas):
            raise ValueError(
                f"sigmas are {list(sigmas)[:5]}; give three or more above 0 (samples that differ, for the default)"
            )
        sigmas = sorted(sigmas)
        means = _windows(checked[0], checked[2], sigmas).mean(1)
        best = int(means.argmax())
        if best in (0, len(sigmas) - 1):
            raise ValueError(
                f"the best of {len(sigmas)} widths is at the end, {sigmas[best]:.4g}: give sigmas beyond it, "
                "or check whether the samples contain validation rows"
            )
        sigma = sigmas[best]
    elif not sigma > 0:
        raise ValueError(f"sigma is {sigma}; give a width above 0")
    values = _windows(checked[0], checked[1], [sigma])[0]
    return Parzen(float(values.mean()), float(values.std() / len(values) ** 0.5), sigma)


def _windows(samples: Tensor, rows: Tensor, sigmas: Sequence[float]) -> Tensor:
    """(S, M) log-likelihoods of (M, d) rows for each width, some rows at a time."""
    width = torch.tensor(sigmas, dtype=torch.float64, device=rows.device).view(-1, 1, 1)
    shift, parts = samples.double().mean(0), []
    for part in rows.split(max(1, 2**22 // len(samples))):
        squared = squared_distances(part, samples, shift)
        parts.append(torch.cat([(-squared / (2 * w**2)).logsumexp(1) for w in width], 0).view(len(sigmas), -1))
    constant = math.log(len(samples)) + rows.shape[1] / 2 * (2 * math.pi * width[:, :, 0] ** 2).log()
    return torch.cat(parts, 1) - constant
