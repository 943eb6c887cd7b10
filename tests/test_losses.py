"""Losses against hand-worked numbers and slow literal definitions.

A new adversarial loss needs a row in `literal` and one in `AT_ZERO`; every other test takes it from `ADVERSARIAL`.
"""

from __future__ import annotations

from math import exp, log

import pytest
import torch

from gankit import losses
from gankit.losses import ADVERSARIAL

REAL, FAKE = [0.5, -1.5, 2.0], [-0.25, 1.0, -3.0]


def sigma(x: float) -> float:
    return 1 / (1 + exp(-x))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def literal(name: str, real: list[float], fake: list[float]) -> tuple[float, float]:
    """(d, g) of an adversarial loss as its paper defines it, one sample at a time."""
    cross_entropy = -mean([log(sigma(r)) for r in real]) - mean([log(1 - sigma(f)) for f in fake])
    smooth = -mean([0.9 * log(sigma(r)) + 0.1 * log(1 - sigma(r)) for r in real]) - mean(
        [log(1 - sigma(f)) for f in fake]
    )
    fool = -mean([log(sigma(f)) for f in fake])
    pairs = list(zip(real, fake, strict=True))
    mr, mf = mean(real), mean(fake)
    values = {
        "minimax": (cross_entropy, mean([log(1 - sigma(f)) for f in fake])),
        "non_saturating": (cross_entropy, fool),
        "label_smoothing": (smooth, fool),
        "maximum_likelihood": (cross_entropy, -mean([sigma(f) / (1 - sigma(f)) for f in fake])),
        "least_squares": (
            mean([(r - 1) ** 2 for r in real]) / 2 + mean([f**2 for f in fake]) / 2,
            mean([(f - 1) ** 2 for f in fake]) / 2,
        ),
        "hinge": (mean([max(0, 1 - r) for r in real]) + mean([max(0, 1 + f) for f in fake]), -mf),
        "wasserstein": (mf - mr, -mf),
        "relativistic": (-mean([log(sigma(r - f)) for r, f in pairs]), -mean([log(sigma(f - r)) for r, f in pairs])),
        "relativistic_average": (
            -mean([log(sigma(r - mf)) for r in real]) - mean([log(1 - sigma(f - mr)) for f in fake]),
            -mean([log(sigma(f - mr)) for f in fake]) - mean([log(1 - sigma(r - mf)) for r in real]),
        ),
    }
    assert name in values, f"add the definition of {name!r}, (d, g), to `literal` in tests/test_losses.py"
    return values[name]


AT_ZERO = {
    "minimax": (2 * log(2), -log(2)),
    "non_saturating": (2 * log(2), log(2)),
    "label_smoothing": (2 * log(2), log(2)),
    "maximum_likelihood": (2 * log(2), -1.0),
    "least_squares": (0.5, 0.5),
    "hinge": (2.0, 0.0),
    "wasserstein": (0.0, 0.0),
    "relativistic": (log(2), log(2)),
    "relativistic_average": (2 * log(2), 2 * log(2)),
}
"""(d, g) where all logits are 0."""
UNBOUNDED = {"maximum_likelihood", "least_squares"}  # grow faster than their logits


def doubles(*values: list[float]) -> list[torch.Tensor]:
    return [torch.tensor(v, dtype=torch.float64) for v in values]


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_a_loss_is_what_its_paper_says(name):
    real, fake = doubles(REAL, FAKE)
    loss = ADVERSARIAL[name]
    d, g = literal(name, REAL, FAKE)
    assert loss.d(real, fake).item() == pytest.approx(d, abs=1e-14)
    assert loss.g(fake, real if loss.paired else None).item() == pytest.approx(g, abs=1e-14)
    if not loss.paired:
        assert torch.equal(loss.g(fake), loss.g(fake, real))


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_losses_at_zero_logits(name):
    assert name in AT_ZERO, f"add {name!r} with its (d, g) at zero logits to AT_ZERO in tests/test_losses.py"
    zero = torch.zeros(4, dtype=torch.float64)
    d, g = AT_ZERO[name]
    assert ADVERSARIAL[name].d(zero, zero).item() == pytest.approx(d, abs=1e-15)
    assert ADVERSARIAL[name].g(zero, zero).item() == pytest.approx(g, abs=1e-15)


def test_every_adversarial_loss_has_a_row_in_the_table():
    pairs = {name: value for name, value in vars(losses).items() if isinstance(value, losses.Adversarial)}
    missing = [name for name, pair in pairs.items() if ADVERSARIAL.get(name) is not pair]
    assert not missing, f"add {', '.join(missing)} to ADVERSARIAL in gankit/losses.py, under the same name"


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_gradients_by_finite_differences(name):
    loss = ADVERSARIAL[name]
    real, fake = (x.requires_grad_() for x in doubles(REAL, FAKE))
    assert torch.autograd.gradcheck(loss.d, (real, fake))
    assert torch.autograd.gradgradcheck(loss.d, (real, fake))
    assert torch.autograd.gradcheck(lambda f: loss.g(f, real), fake)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_d_wants_reals_up_and_fakes_down_and_g_fakes_up(name):
    real, fake = (x.requires_grad_() for x in doubles([0.1, -0.2], [0.3, 0.4]))
    loss = ADVERSARIAL[name]
    up, down = torch.autograd.grad(loss.d(real, fake), (real, fake))
    (lift,) = torch.autograd.grad(loss.g(fake, real), fake)
    assert (up < 0).all() and (down > 0).all() and (lift < 0).all()


@pytest.mark.parametrize("name", sorted(set(ADVERSARIAL) - UNBOUNDED))
def test_huge_logits_stay_finite(name):
    real, fake = torch.tensor([-1e4, 1e4]), torch.tensor([1e4, -1e4])
    is_finite = torch.isfinite(ADVERSARIAL[name].d(real, fake)) and torch.isfinite(ADVERSARIAL[name].g(fake, real))
    assert is_finite, f"use a form of {name!r} that does not overflow; if it grows that fast, add it to UNBOUNDED"


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_half_precision_logits_are_summed_in_float32(name):
    real = torch.randn(999, generator=torch.Generator().manual_seed(0)).bfloat16()
    fake = torch.full((999,), 0.1).bfloat16()
    loss = ADVERSARIAL[name]
    assert loss.d(real, fake).dtype == torch.float32
    assert torch.equal(loss.d(real, fake), loss.d(real.float(), fake.float()))
    assert torch.equal(loss.g(fake, real), loss.g(fake.float(), real.float()))


def test_least_squares_targets():
    real, fake = doubles([2.0], [3.0])
    chi = losses.least_squares(a=-1, b=1, c=0)
    assert chi.d(real, fake) == 0.5 * 1 + 0.5 * 16
    assert chi.g(fake) == 0.5 * 9
    assert chi.boundary == 0 and losses.least_squares().boundary == 0.5


def test_non_saturating_has_slope_where_minimax_has_none():
    fake = torch.tensor([-20.0], dtype=torch.float64, requires_grad=True)
    (flat,) = torch.autograd.grad(losses.minimax.g(fake), fake)
    (steep,) = torch.autograd.grad(losses.non_saturating.g(fake), fake)
    assert flat.item() == pytest.approx(-sigma(-20), rel=1e-9) and steep.item() == pytest.approx(-1, abs=1e-8)


def test_scores():
    real, fake = torch.tensor([1.0, -1.0, 2.0, 3.0]), torch.tensor([-1.0, 0.25, 0.25, 0.5])
    out = losses.scores(real, fake)
    assert {k: v.item() for k, v in out.items()} == dict(real=1.25, fake=0.0, real_right=0.75, fake_right=0.25)
    assert losses.scores(real, fake, boundary=0.5)["fake_right"] == 0.75
    assert set(losses.scores(real, fake, None)) == {"real", "fake"}


def test_bernoulli_nll():
    logits, x = doubles([[0.3, -2.0], [1.5, 0.0]], [[1.0, 0.25], [0.0, 0.5]])
    expected = mean(
        [
            -sum(t * log(sigma(v)) + (1 - t) * log(1 - sigma(v)) for v, t in zip(row, target))
            for row, target in zip(logits.tolist(), x.tolist())
        ]
    )
    assert losses.bernoulli_nll(logits, x).item() == pytest.approx(expected, abs=1e-14)


def test_gaussian_kl_against_torch_and_by_hand():
    mu, logvar = doubles([[0.5, -1.0, 0.0], [0.0, 2.0, 0.1]], [[0.0, 0.7, -1.0], [-0.2, 0.0, 1.0]])
    q, p = torch.distributions.Normal(mu, (logvar / 2).exp()), torch.distributions.Normal(0, 1)
    expected = torch.distributions.kl_divergence(q, p).sum(1).mean()
    assert losses.gaussian_kl(mu, logvar).item() == pytest.approx(expected.item(), abs=1e-14)
    assert losses.gaussian_kl(*doubles([[0.0, 0.0]], [[0.0, 0.0]])) == 0
    assert losses.gaussian_kl(*doubles([[3.0]], [[0.0]])) == 4.5


def test_cross_entropy_is_log_of_classes_when_all_are_alike():
    logits, label = torch.zeros(3, 10, dtype=torch.float64), torch.tensor([0, 4, 9])
    assert losses.cross_entropy(logits, label).item() == pytest.approx(log(10))
    logits[1, 4] = log(9)
    assert losses.cross_entropy(logits, label).item() == pytest.approx((log(10) * 2 + log(2)) / 3)


def test_feature_matching():
    real, fake = doubles([[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0]])
    assert losses.feature_matching(real, fake) == 2**2 + 3**2
