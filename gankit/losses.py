"""Losses as pure functions of tensors; each is a mean over the batch.

Discriminators return logits C(x), with D(x) = sigma(C(x)). `real` and `fake` are (N,) logits of real and generated
samples. `ADVERSARIAL` is the only list of adversarial losses; to add one, write its two functions, add a row there, and
add its values to tests/test_losses.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit.nn import average, look, widened

VOID = 255
"""Mask value of pixels without a label."""


class Adversarial(NamedTuple):
    """A pair of losses: `d(real, fake)` for the discriminator, `g(fake, real)` for the generator.

    Args:
        d: (N,) logits of reals and of fakes to the discriminator's loss.
        g: (N,) logits of fakes, and of reals where `paired`, to the generator's loss.
        paired: `g` needs the logits of reals, too.
        boundary: the output between real and fake; None if only differences of outputs have a meaning.
    """

    d: Callable[[Tensor, Tensor], Tensor]
    g: Callable[..., Tensor]
    paired: bool = False
    boundary: float | None = 0.0


def _wide(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The loss computed in float32 or wider: half-precision logits, as under autocast, are too coarse for a mean."""

    @wraps(loss)
    def wide_loss(*tensors: Tensor | None) -> Tensor:
        return loss(*(t if t is None else widened(t) for t in tensors))

    return wide_loss


@_wide
def _cross_entropy_d(real: Tensor, fake: Tensor) -> Tensor:
    """-E log D(x) - E log(1 - D(G(z)))."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


@_wide
def _minimax_g(fake: Tensor, real: Tensor | None = None) -> Tensor:
    """E log(1 - D(G(z)))."""
    return -F.softplus(fake).mean()


@_wide
def _non_saturating_g(fake: Tensor, real: Tensor | None = None) -> Tensor:
    """-E log D(G(z))."""
    return F.softplus(-fake).mean()


@_wide
def _maximum_likelihood_g(fake: Tensor, real: Tensor | None = None) -> Tensor:
    """-E exp(C(G(z))) = -E D/(1 - D)."""
    return -fake.exp().mean()


minimax = Adversarial(_cross_entropy_d, _minimax_g)
"""Goodfellow et al. 2014, eq. 1; like the next two, without the factor 1/2 of Goodfellow's tutorial."""

non_saturating = Adversarial(_cross_entropy_d, _non_saturating_g)
"""Goodfellow et al. 2014, section 3: G maximises log D(G(z))."""

maximum_likelihood = Adversarial(_cross_entropy_d, _maximum_likelihood_g)
"""Goodfellow 2016 (tutorial), section 3.2.4: with an optimal D, G's gradient is the maximum likelihood gradient."""


def label_smoothing(target: float = 0.9) -> Adversarial:
    """Non-saturating with one-sided label smoothing (Salimans et al. 2016): the label of reals is `target`, of fakes 0.

    d = -t E log D(x) - (1 - t) E log(1 - D(x)) - E log(1 - D(G(z))).
    """

    @_wide
    def d(real: Tensor, fake: Tensor) -> Tensor:
        return (target * F.softplus(-real) + (1 - target) * F.softplus(real)).mean() + F.softplus(fake).mean()

    return Adversarial(d, _non_saturating_g)


def least_squares(a: float = 0.0, b: float = 1.0, c: float = 1.0) -> Adversarial:
    """Mao et al. 2017, eq. 2: d = 1/2 E(C(x) - b)^2 + 1/2 E(C(G(z)) - a)^2, g = 1/2 E(C(G(z)) - c)^2."""

    @_wide
    def d(real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * (real - b).square().mean() + 0.5 * (fake - a).square().mean()

    @_wide
    def g(fake: Tensor, real: Tensor | None = None) -> Tensor:
        return 0.5 * (fake - c).square().mean()

    return Adversarial(d, g, boundary=(a + b) / 2)


@_wide
def _hinge_d(real: Tensor, fake: Tensor) -> Tensor:
    """E max(0, 1 - C(x)) + E max(0, 1 + C(G(z)))."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


@_wide
def _wasserstein_d(real: Tensor, fake: Tensor) -> Tensor:
    """E C(G(z)) - E C(x): minus the estimate of the Wasserstein distance."""
    return fake.mean() - real.mean()


@_wide
def _critic_g(fake: Tensor, real: Tensor | None = None) -> Tensor:
    """-E C(G(z))."""
    return -fake.mean()


hinge = Adversarial(_hinge_d, _critic_g)
"""Lim & Ye 2017; Miyato et al. 2018, eq. 16 and 17."""

wasserstein = Adversarial(_wasserstein_d, _critic_g, boundary=None)
"""Arjovsky et al. 2017, eq. 3; the critic must be kept Lipschitz by a penalty or by clipping."""


@_wide
def _relativistic_d(real: Tensor, fake: Tensor) -> Tensor:
    """-E log sigma(C(x) - C(G(z))), over pairs."""
    return F.softplus(fake - real).mean()


@_wide
def _relativistic_g(fake: Tensor, real: Tensor) -> Tensor:
    """-E log sigma(C(G(z)) - C(x)), over pairs."""
    return F.softplus(real - fake).mean()


@_wide
def _relativistic_average_d(real: Tensor, fake: Tensor) -> Tensor:
    """-E log sigma(C(x) - E C(G(z))) - E log(1 - sigma(C(G(z)) - E C(x)))."""
    mean_real, mean_fake = _means(real, fake)
    return F.softplus(mean_fake - real).mean() + F.softplus(fake - mean_real).mean()


@_wide
def _relativistic_average_g(fake: Tensor, real: Tensor) -> Tensor:
    """-E log sigma(C(G(z)) - E C(x)) - E log(1 - sigma(C(x) - E C(G(z))))."""
    mean_real, mean_fake = _means(real, fake)
    return F.softplus(mean_real - fake).mean() + F.softplus(real - mean_fake).mean()


def _means(*outputs: Tensor) -> Tensor:
    """The means of outputs over the rows of all processes."""
    look("relativistic_average")
    return average(torch.stack([x.mean() for x in outputs]))


relativistic = Adversarial(_relativistic_d, _relativistic_g, paired=True, boundary=None)
"""Jolicoeur-Martineau 2019 (RSGAN): each real should look more real than the fake of the same row."""

relativistic_average = Adversarial(_relativistic_average_d, _relativistic_average_g, paired=True, boundary=None)
"""Jolicoeur-Martineau 2019 (RaSGAN): each real should look more real than the average fake of all processes."""

ADVERSARIAL: dict[str, Adversarial] = {
    "minimax": minimax,
    "non_saturating": non_saturating,
    "label_smoothing": label_smoothing(),
    "maximum_likelihood": maximum_likelihood,
    "least_squares": least_squares(),
    "hinge": hinge,
    "wasserstein": wasserstein,
    "relativistic": relativistic,
    "relativistic_average": relativistic_average,
}
"""Every adversarial loss by the name that `--loss` takes."""


def scores(real: Tensor, fake: Tensor, boundary: float | None = 0.0) -> dict[str, Tensor]:
    """Values to log for (N,) outputs on reals and fakes: means, and the shares on the correct side of `boundary`.

    Only the means if `boundary` is None, for losses without one (Wasserstein).
    """
    out = {"real": real.mean(), "fake": fake.mean()}
    if boundary is not None:
        out["real_right"] = (real > boundary).float().mean()
        out["fake_right"] = (fake < boundary).float().mean()
    return out


@_wide
def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """-E log softmax(logits)_label, for (N, K) logits and (N,) labels; nats per sample."""
    return F.cross_entropy(logits, label)


@_wide
def map_cross_entropy(logits: Tensor, mask: Tensor, weight: Tensor | None = None) -> Tensor:
    """-E w log softmax(logits)_mask, for (N, K, H, W) logits and (N, H, W) masks and weights; nats per pixel.

    VOID pixels count as 0, so that the mean over a batch equals the mean over its parts.
    """
    loss = F.cross_entropy(logits, mask, reduction="none", ignore_index=VOID)
    return (loss if weight is None else loss * weight).mean()


@_wide
def bernoulli_nll(logits: Tensor, x: Tensor) -> Tensor:
    """-E sum_i [x_i log p_i + (1 - x_i) log(1 - p_i)], p = sigma(logits), x in [0, 1]; nats per sample."""
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1).mean()


@_wide
def gaussian_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, e^logvar) || N(0, 1)) = 1/2 sum_j (mu_j^2 + e^logvar_j - 1 - logvar_j); nats per sample."""
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).flatten(1).sum(1).mean()


@_wide
def feature_matching(real: Tensor, fake: Tensor) -> Tensor:
    """Salimans et al. 2016, section 3.1: |E f(x) - E f(G(z))|^2 for (N, ...) features of reals and fakes."""
    look("feature matching")
    return average(real.mean(0) - fake.mean(0)).square().sum()
