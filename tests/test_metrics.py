"""Metrics against closed forms, hand counts and other routes to the same number."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from gankit import data, metrics
from gankit.metrics import digits_classifier, frechet


def exactly(mean: torch.Tensor, cov: torch.Tensor, n: int, seed: int = 0) -> torch.Tensor:
    """(n, d) features whose sample mean and covariance are just these."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, len(mean), dtype=torch.float64, generator=generator)
    x = x - x.mean(0)
    return x @ torch.linalg.cholesky(x.T.cov()).inverse().T @ torch.linalg.cholesky(cov).T + mean


def random_cov(d: int, seed: int) -> torch.Tensor:
    a = torch.randn(d, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return a @ a.T / d + 0.1 * torch.eye(d, dtype=torch.float64)


ROUTES = {
    "moments": lambda x, y: frechet.by_moments(metrics.Moments().add(x), metrics.Moments().add(y)),
    "gram": frechet.by_gram,
}


@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
def test_frechet_of_known_gaussians(route):
    zero, gap = torch.zeros(3, dtype=torch.float64), torch.tensor([1.0, -2.0, 2.0], dtype=torch.float64)
    a, b = torch.tensor([4.0, 1.0, 9.0]).double(), torch.tensor([1.0, 1.0, 16.0]).double()
    # |gap|^2 = 9 and the squared differences of the standard deviations: 1, 0, 1
    assert route(exactly(zero, a.diag(), 50), exactly(gap, b.diag(), 40, 1)) == pytest.approx(11, abs=1e-9)
    one, two = random_cov(6, 0), random_cov(6, 1)  # these do not commute
    zero = torch.zeros(6, dtype=torch.float64)
    cross = np.trace(scipy.linalg.sqrtm((one @ two).numpy())).real
    expected = float(one.trace() + two.trace()) - 2 * cross
    assert route(exactly(zero, one, 50), exactly(zero, two, 40, 1)) == pytest.approx(expected, abs=1e-9)
    assert route(exactly(zero, one, 50), exactly(zero, one, 40, 1)) == pytest.approx(0, abs=1e-9)


def test_frechet_routes_agree_and_the_gram_route_is_taken_for_few_samples():
    x = torch.randn(300, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = (x.roll(1, 0) * torch.linspace(0.5, 2, 24) + 3)[:250]
    assert ROUTES["gram"](x, y) == pytest.approx(ROUTES["moments"](x, y), abs=1e-9)
    assert metrics.frechet_distance(x, y) == ROUTES["moments"](x, y)
    assert metrics.frechet_distance(x[:20], y) == ROUTES["gram"](x[:20], y)
    assert ROUTES["gram"](x[:20], y) == pytest.approx(ROUTES["moments"](x[:20], y), abs=1e-5)  # roots of rounded zeros
    assert metrics.frechet_distance(x, y) == pytest.approx(metrics.frechet_distance(y, x), abs=1e-9)


@pytest.mark.parametrize("rank", [24, 20])
def test_frechet_by_a_triangular_root_is_that_by_eigenvectors(rank, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(300, rank, dtype=torch.float64, generator=generator) for _ in range(2))
    mix = torch.randn(rank, 24, dtype=torch.float64, generator=generator) * torch.logspace(0, -2, 24).double()
    calls, eigh = [], torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda matrix: (calls.append(1), eigh(matrix))[1])
    found = ROUTES["moments"](x @ mix, 1.3 * y @ mix + 0.1)
    assert len(calls) == (rank < 24), "eigenvectors only for singular covariances"
    monkeypatch.setattr(torch.linalg, "cholesky_ex", lambda matrix: (matrix, torch.tensor(1)))
    assert found == pytest.approx(ROUTES["moments"](x @ mix, 1.3 * y @ mix + 0.1), rel=1e-9)


def test_frechet_of_one_distribution_is_its_bias():
    n, m, l = 400, 250, torch.tensor([3.0, 1.0, 0.5, 0.2], dtype=torch.float64)  # noqa: E741
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(200, n + m, 4, dtype=torch.float64, generator=generator) * l.sqrt()
    measured = np.mean([metrics.frechet_distance(x[:n], x[n:]) for x in draws])
    pairs = l.outer(l) * (1 + torch.eye(4)) / (2 * (l[:, None] + l))
    assert measured == pytest.approx(float((1 / n + 1 / m) * (l.sum() + pairs.sum())), rel=0.1)


def test_moments_arrive_in_parts_far_from_zero():
    x = 1e4 + torch.randn(1003, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    moments = metrics.Moments()
    for part in x.split(100):
        moments.add(part)
    assert moments.n == 1003
    np.testing.assert_allclose(moments.mean, x.numpy().mean(0), rtol=1e-14)
    np.testing.assert_allclose(moments.cov, np.cov((x - 1e4).numpy(), rowvar=False), rtol=1e-11, atol=1e-12)
    assert metrics.Moments().add(x.float()).cov.dtype == torch.float64


@pytest.mark.parametrize("shapes", [((5, 3), (5, 4)), ((1, 3), (5, 3)), ((5,), (5,))])
def test_frechet_refuses(shapes):
    with pytest.raises(ValueError, match=r"give \(N, d\) and \(M, d\)"):
        metrics.frechet_distance(*map(torch.zeros, shapes))


def test_inception_score_of_known_predictions():
    one_hot = torch.eye(10).repeat(100, 1)
    assert metrics.inception_score(torch.full((1000, 10), 0.1)) == pytest.approx((1, 0))
    assert metrics.inception_score(one_hot) == pytest.approx((10, 0))
    half = torch.eye(10)[:5].repeat(200, 1)  # absent classes are no NaN
    assert metrics.inception_score(half) == pytest.approx((5, 0))
    # halves of 2 and of 5 classes: the mean of 2 and 5, and the deviation over N
    halves = torch.cat([torch.eye(10)[:2].repeat(50, 1), torch.eye(10)[:5].repeat(20, 1)])
    assert metrics.inception_score(halves, splits=2) == pytest.approx((3.5, 1.5))
    assert np.isnan(metrics.inception_score(halves, splits=1)[1])  # one value has no deviation
    with pytest.raises(ValueError, match="3 rows for 4 parts"):
        metrics.inception_score(halves[:3], splits=4)


def test_total_variation_and_accuracy_by_hand():
    label = torch.tensor([0, 0, 0, 1])
    assert metrics.total_variation(label, 2) == pytest.approx(0.25)
    assert metrics.total_variation(label, 4) == pytest.approx(0.5)
    assert metrics.total_variation(label, 2, label.repeat(3)) == 0
    assert metrics.total_variation(label, 3, torch.tensor([2])) == pytest.approx(1)
    assert metrics.accuracy(label, torch.tensor([0, 0, 1, 1])) == 0.75


def test_purity_by_hand():
    # the three clusters of Manning et al., figure 16.4: 5 x, 1 o; 1 x, 4 o, 1 diamond; 2 x, 3 diamonds
    code = torch.tensor([0] * 6 + [1] * 6 + [2] * 5)
    label = torch.tensor([0] * 5 + [1] + [0] + [1] * 4 + [2] + [0] * 2 + [2] * 3)
    assert metrics.purity(code, label) == pytest.approx(12 / 17)
    assert metrics.hungarian_accuracy(code, label) == pytest.approx(12 / 17)
    assert metrics.hungarian_accuracy((code + 1) % 3, label) == pytest.approx(12 / 17)  # names do not matter
    assert metrics.purity(torch.tensor([0, 1]), torch.tensor([0, 0])) == 1  # two codes may share a label ...
    assert metrics.hungarian_accuracy(torch.tensor([0, 1]), torch.tensor([0, 0])) == 0.5  # ... but not its name


def test_diversity_by_hand():
    assert metrics.pixel_std(torch.ones(5, 1, 4, 4)) == metrics.pairwise_distance(torch.ones(5, 1, 4, 4)) == 0
    images = torch.stack([torch.zeros(3, 4, 4), torch.zeros(3, 4, 4), torch.ones(3, 4, 4)])
    assert metrics.pixel_std(images) == pytest.approx(1 / math.sqrt(3))  # 0, 0, 1: variance (1/9 + 1/9 + 4/9) / 2
    assert metrics.pairwise_distance(images) == pytest.approx(2 / 3)  # of three pairs two are 1 apart


def test_coverage_by_hand():
    mode = torch.tensor([0] * 90 + [1] * 9 + [2])
    found = metrics.coverage(mode, 4)  # fair share 25, a fifth of it 5
    assert found[:3] == (3, 2, 1.0)
    assert found.reverse_kl == pytest.approx(0.9 * math.log(3.6) + 0.09 * math.log(0.36) + 0.01 * math.log(0.04))
    found = metrics.coverage(mode, 4, good=mode != 1)  # all samples count for the divergence, good ones for the modes
    assert found[:2] == (2, 1)
    assert found.high_quality == pytest.approx(0.91)
    assert metrics.reverse_kl(torch.arange(25).repeat(4), 25) == pytest.approx(0, abs=1e-12)
    assert metrics.reverse_kl(torch.zeros(9, dtype=torch.long), 25) == pytest.approx(math.log(25))


def test_coverage_of_the_true_mixture():
    generator = torch.Generator().manual_seed(0)
    angle = torch.arange(8) * 2 * math.pi / 8
    centres = torch.stack([angle.cos(), angle.sin()], 1)
    mode = torch.randint(8, (100_000,), generator=generator)
    points = centres[mode] + 0.01 * torch.randn(100_000, 2, generator=generator)
    found = metrics.mixture_coverage(points, centres, 0.01)
    assert found[:2] == (8, 8)
    assert found.high_quality == pytest.approx(1 - math.exp(-4.5), abs=0.0015)  # four standard errors
    assert found.reverse_kl == pytest.approx(7 / 200_000, abs=1e-4)
    assert torch.equal(metrics.nearest(points, centres, 0.01)[0], mode)
    single = metrics.mixture_coverage(points[mode == 3], centres, 0.01)
    assert single[:2] == (1, 1)
    assert single.reverse_kl == pytest.approx(math.log(8))


# The digits classifier -----------------------------------------------------------------------------------------------


def everything(name: str, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    dataset = data.open(name, resolution=size)
    rows = dataset.rows(np.arange(len(dataset)))
    return data.normalise(rows["real"]), rows["label"]


@pytest.mark.parametrize("size", [16, 32, 64])
def test_digits_classifier_knows_held_out_digits(size):
    images, label = everything("digits:test", size)
    assert metrics.accuracy(metrics.classify(images), label) >= 0.99


def test_digits_classifier_is_small_and_its_input_is_8x8():
    assert sum(p.numel() for p in digits_classifier.network().parameters()) == 22_954
    assert digits_classifier.WEIGHTS.stat().st_size < 200_000
    images = everything("digits:test", 16)[0][:60]
    assert digits_classifier.pixels(images).shape == (60, 1, 8, 8)
    assert metrics.features(images).shape == (60, 64)
    assert metrics.features(images).min() < 0  # from before the ReLU
    torch.testing.assert_close(metrics.probabilities(images).sum(1), torch.ones(60, dtype=torch.float64))
    larger = images[:50].repeat_interleave(3, 2).repeat_interleave(3, 3).repeat(1, 3, 1, 1)  # enlarged, in colour
    torch.testing.assert_close(metrics.features(larger), metrics.features(images[:50]), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(metrics.features(images * 5), metrics.features((images * 5).clamp(-1, 1)))


def test_fd_digits_grows_with_damage():
    images, label = everything("digits", 16)
    real = metrics.features(images)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    damaged = [images, images + 0.4 * noise, images + 0.8 * noise, images.roll(4, 3), images[label == 1], -images]
    distances = [metrics.frechet_distance(real, metrics.features(x)) for x in damaged]
    assert distances[0] == pytest.approx(0, abs=1e-6)
    held_out = metrics.frechet_distance(real, metrics.features(everything("digits:test", 16)[0]))
    assert held_out == pytest.approx(4.196, rel=1e-3)  # other weights measure in other units: change no number silently
    assert distances[1] < distances[2] and min(distances[3:]) > 40


def test_stacked_digits_are_read_channel_by_channel():
    images, label = everything("digits", 16)
    sure = metrics.probabilities(images)[torch.arange(len(label)), label]
    clear = {d: images[(label == d) & (sure > 0.99)][0] for d in range(10)}
    stacked = torch.stack([torch.cat([clear[a], clear[b], clear[c]]) for a, b, c in [(3, 1, 4), (3, 1, 4), (1, 4, 3)]])
    found = metrics.stacked_coverage(stacked)
    assert found[:3] == (2, 2, 1.0)
    assert metrics.stacked_coverage(stacked, sure=1.1)[:3] == (2, 0, 0.0)
    share = torch.tensor([2 / 3, 1 / 3], dtype=torch.float64)
    assert found.reverse_kl == pytest.approx(math.log(1000) + float((share * share.log()).sum()))
