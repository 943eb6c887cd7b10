"""Distances and similarities of sets against closed forms and independent libraries."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage, signal

from gankit.metrics import kernel, manifold, pyramid, structure


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def smooth(n: int, channels: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Images with something at every scale, on 8-bit levels and in [-1, 1]."""
    coarse = [normal(n, channels, 4 * s, 4 * s, seed=seed + s) for s in (1, 2, 4)]
    x = sum(torch.nn.functional.interpolate(c, (height, width), mode="bilinear") for c in coarse)
    return ((torch.tanh(x / 2) + 1) * 127.5).round() / 127.5 - 1


def by_loop(function, a: torch.Tensor, b: torch.Tensor) -> list[float]:
    """Pair by pair, in 8-bit levels as float64: what libraries are given."""
    x, y = ((i.double() + 1) * 127.5 for i in (a, b))
    return [float(function(i, j)) for i, j in zip(x.split(1), y.split(1))]


# Kernel distances ----------------------------------------------------------------------------------------------------


def test_kernel_distance_is_the_unbiased_sum_of_sklearns_kernel(monkeypatch):
    from sklearn.metrics.pairwise import polynomial_kernel

    x, y = normal(70, 9), 1.2 * normal(53, 9, seed=1) + 0.3

    def k(a, b):
        return polynomial_kernel(a.numpy(), b.numpy(), degree=3, gamma=1 / 9, coef0=1)

    xx, yy = k(x, x), k(y, y)
    np.fill_diagonal(xx, 0)
    np.fill_diagonal(yy, 0)
    expected = xx.sum() / (70 * 69) + yy.sum() / (53 * 52) - 2 * k(x, y).mean()
    assert kernel.kernel_distance(x, y) == pytest.approx(expected, rel=1e-12)
    monkeypatch.setattr(kernel, "BLOCK", 16)  # 70 = 4 x 16 + 6: blocks change nothing
    assert kernel.kernel_distance(x, y) == pytest.approx(expected, rel=1e-12)
    assert kernel.kernel_distance(y, x) == pytest.approx(expected, rel=1e-12)
    assert kernel.kernel_distance(x.float(), y.float()) == pytest.approx(expected, rel=1e-5)  # float64 inside


def test_kernel_distance_by_hand():
    # d = 1: k(0, 0) = k(0, 1) = 1, k(1, 1) = 8
    zero, one = torch.zeros(3, 1), torch.ones(2, 1)
    assert kernel.kernel_distance(zero, one) == 1 + 8 - 2


def test_kernel_distance_subsets_of_everything_is_torchmetrics_poly_mmd():
    from torchmetrics.image.kid import poly_mmd

    x, y = normal(60, 7), normal(60, 7, seed=1) * 1.5
    expected = float(poly_mmd(x, y, degree=3, gamma=None, coef=1.0))
    assert kernel.kernel_distance(x, y) == pytest.approx(expected, rel=1e-12)
    mean, std = kernel.kernel_distance_subsets(x, y, subsets=3, size=60)  # a subset of all is all, in another order
    assert mean == pytest.approx(expected, rel=1e-12) and math.isnan(std)


@pytest.mark.parametrize(
    ("subsets", "size", "honest"), [(50, 30, True), (2, 30, True), (50, 31, False), (50, 60, False), (1, 30, False)]
)
def test_kernel_distance_subsets_have_a_deviation_only_where_it_says_something(subsets, size, honest):
    std = kernel.kernel_distance_subsets(normal(60, 5), normal(90, 5, seed=1), subsets=subsets, size=size)[1]
    assert std > 0.01 if honest else math.isnan(std)


def test_kernel_distance_subsets_draw_as_published():
    x, y = normal(90, 5), normal(70, 5, seed=1) + 0.5
    mean, std = kernel.kernel_distance_subsets(x, y, subsets=400, size=30, seed=3)
    assert (mean, std) == kernel.kernel_distance_subsets(x, y, subsets=400, size=30, seed=3)
    assert mean != kernel.kernel_distance_subsets(x, y, subsets=400, size=30, seed=4)[0]
    assert mean == pytest.approx(kernel.kernel_distance(x, y), abs=4 * std / 20)  # all subsets have its expectation
    # without replacement: the last row is in each subset once, and twice would show by k(10, 10) = 101^3
    rows = torch.cat([torch.zeros(19, 1), torch.full((1, 1), 10.0)])
    assert kernel.kernel_distance_subsets(rows, rows, subsets=50, size=20)[0] == pytest.approx(
        kernel.kernel_distance(rows, rows), rel=1e-9
    )
    two = kernel.kernel_distance_subsets(x, y, subsets=2, size=30)
    generator = torch.Generator().manual_seed(0)
    picks = [torch.randperm(n, generator=generator)[:30] for n in (90, 70, 90, 70)]
    each = [kernel.kernel_distance(x[picks[i]], y[picks[i + 1]]) for i in (0, 2)]
    assert two == pytest.approx((np.mean(each), np.std(each)), rel=1e-12)


def test_kernel_distance_of_one_distribution_is_zero_on_average():
    draws = normal(300, 50, 4)
    values = [kernel.kernel_distance(x[:30], x[30:]) for x in draws]  # N = 30, M = 20: unbiased for both
    assert abs(np.mean(values)) < 4 * np.std(values) / math.sqrt(300)
    assert min(values) < 0 < max(values)


def test_cmmd_is_the_biased_sum_of_sklearns_kernel(monkeypatch):
    from sklearn.metrics.pairwise import rbf_kernel
    from sklearn.preprocessing import normalize

    x, y = normal(40, 12), 3 * normal(31, 12, seed=1) + 1
    a, b = normalize(x.numpy()), normalize(y.numpy())
    means = [rbf_kernel(i, j, gamma=1 / 200).mean() for i, j in ((a, a), (b, b), (a, b))]
    expected = 1000 * (means[0] + means[1] - 2 * means[2])
    assert kernel.cmmd(x, y) == pytest.approx(expected, abs=1e-11)  # of differences of numbers near 1, times 1,000
    assert expected > 1
    monkeypatch.setattr(kernel, "BLOCK", 7)
    assert kernel.cmmd(x, y) == pytest.approx(expected, abs=1e-11)
    assert kernel.cmmd(x, 7 * x) == pytest.approx(0, abs=1e-12)  # length does not matter


def test_cmmd_by_hand():
    # opposite directions: |x - y|^2 = 4 between the sets and 0 within
    x = torch.tensor([[2.0, 0.0]] * 2)
    assert kernel.cmmd(x, -x) == pytest.approx(1000 * 2 * (1 - math.exp(-4 / 200)), rel=1e-13)


BROKEN = torch.tensor([[1.0, math.nan], [0.0, 1.0], [2.0, 0.0], [1.0, 1.0], [3.0, 1.0], [0.5, 2.0]])


@pytest.mark.parametrize(
    "function",
    [kernel.kernel_distance, kernel.cmmd, manifold.precision_recall, manifold.density_coverage, manifold.realism],
)
def test_feature_distances_refuse(function):
    good = normal(6, 2)
    with pytest.raises(ValueError, match=r"give \(N, d\) and \(M, d\)"):
        function(good, normal(6, 3))
    with pytest.raises(ValueError, match="1 of 6 fake rows hold NaN"):
        function(good, BROKEN.double())
    with pytest.raises(ValueError, match="6 real and 1 fake rows; give at least"):
        function(good, good[:1])


def test_kernel_distances_refuse_what_is_theirs():
    with pytest.raises(ValueError, match="subsets of 1000 need as many rows .* have 60 and 1200"):
        kernel.kernel_distance_subsets(normal(60, 2), normal(1200, 2))
    with pytest.raises(ValueError, match="at least 1 subset of at least 2"):
        kernel.kernel_distance_subsets(normal(60, 2), normal(60, 2), size=1)
    with pytest.raises(ValueError, match="1 of the fake embeddings are all zeros"):
        kernel.cmmd(normal(3, 2), torch.tensor([[0.0, 0.0], [1.0, 0.0]]))


# Manifolds -----------------------------------------------------------------------------------------------------------


def lattice(n: int, seed: int) -> torch.Tensor:
    """(n, 3) small whole numbers: copies and ties all over, and no round-off in any library."""
    return torch.randint(0, 7, (n, 3), generator=torch.Generator().manual_seed(seed)).double()


def brute(real: torch.Tensor, fake: torch.Tensor, k: int) -> dict[str, np.ndarray]:
    """All distances at once, by scipy."""
    from scipy.spatial.distance import cdist

    rr, ff, fr = (cdist(a, b) for a, b in ((real, real), (fake, fake), (fake, real)))
    return {"fr": fr, "real": np.sort(rr, 1)[:, k], "fake": np.sort(ff, 1)[:, k]}


@pytest.mark.parametrize("k", [1, 3, 5])
def test_manifolds_of_continuous_features_are_prdcs(k, monkeypatch):
    from prdc import compute_prdc

    real, fake = normal(210, 8), 1.1 * normal(160, 8, seed=1) + 0.2
    expected = compute_prdc(real.numpy(), fake.numpy(), nearest_k=k)
    for pairs in (manifold.PAIRS, 1000):  # whole, and 4 to 6 rows at a time
        monkeypatch.setattr(manifold, "PAIRS", pairs)
        p, r = manifold.precision_recall(real, fake, k)
        d, c = manifold.density_coverage(real, fake, k)
        found = {"precision": p, "recall": r, "density": d, "coverage": c}
        assert found == pytest.approx({key: float(v) for key, v in expected.items()}, abs=1e-12)
    np.testing.assert_allclose(manifold.radii(real, k), brute(real, fake, k)["real"], rtol=1e-13)
    assert 0.05 < p < 0.95


@pytest.mark.parametrize("pairs", [2**22, 700])
def test_manifolds_count_ties_as_they_say(pairs, monkeypatch):
    from prdc import compute_prdc

    monkeypatch.setattr(manifold, "PAIRS", pairs)
    real, fake, k = lattice(120, 0), lattice(90, 1), 3
    all_at_once = brute(real, fake, k)
    near_real = all_at_once["fr"] <= all_at_once["real"]
    near_fake = all_at_once["fr"] <= all_at_once["fake"][:, None]
    assert manifold.precision_recall(real, fake, k) == (near_real.any(1).mean(), near_fake.any(0).mean())
    assert manifold.density_coverage(real, fake, k) == (near_real.sum() / (k * 90), near_real.any(0).mean())
    below = all_at_once["fr"] < all_at_once["real"]
    strict = manifold.density_coverage(real, fake, k, strict=True)
    assert strict == (below.sum() / (k * 90), below.any(0).mean())
    package = compute_prdc(real.numpy(), fake.numpy(), nearest_k=k)
    assert strict == (package["density"], package["coverage"])
    assert strict[0] < manifold.density_coverage(real, fake, k)[0]


def test_copies_of_real_samples_are_ties_to_the_bit():
    # 2,048 dimensions far from zero: the matrix product alone leaves a copy up to 1e-4 from itself
    real = 3 + normal(300, 2048).float()
    fake = real[:100]
    x = real.double()
    distance = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    radius = distance.sort(1).values[:, 5]
    assert torch.equal(manifold.radii(real, 5), radius)
    inside, below = distance[:100] <= radius, distance[:100] < radius
    assert manifold.density_coverage(real, fake, 5) == (int(inside.sum()) / 500, float(inside.any(0).double().mean()))
    strict = manifold.density_coverage(real, fake, 5, strict=True)
    assert strict == (int(below.sum()) / 500, float(below.any(0).double().mean()))
    assert int(inside.sum()) - int(below.sum()) == int((distance[:100] == radius).sum()) > 50  # each a fifth neighbour
    assert manifold.precision_recall(real, fake)[0] == 1


@pytest.mark.parametrize("spread, many", [(1.0, 0), (1e-3, 1 / 64), (1e-3, 2), (1e-6, 1 / 64)])
def test_near_ties_of_float32_are_decided_in_float64(spread, many, monkeypatch):
    """Reals in clusters much smaller than their distance from the mean, where float32 products order nothing."""
    monkeypatch.setattr(manifold, "MANY", many)
    centres = torch.cat([-torch.ones(1, 96), torch.ones(1, 96)]).double()
    real, fake = (
        (centres[:, None] + spread * normal(2, n, 96, seed=seed)).flatten(0, 1) for n, seed in ((40, 0), (30, 1))
    )
    found = brute(real, fake, 3)
    near_real, near_fake = found["fr"] <= found["real"], found["fr"] <= found["fake"][:, None]
    assert manifold.precision_recall(real, fake, 3) == (near_real.any(1).mean(), near_fake.any(0).mean())
    assert manifold.density_coverage(real, fake, 3) == (near_real.sum() / (3 * 60), near_real.any(0).mean())
    assert 0 < near_real.mean() < 1 and 0 < near_fake.any(0).mean() < 1
    np.testing.assert_allclose(manifold.radii(real, 3), found["real"], rtol=1e-12)


def test_radii_can_be_given_and_come_from_one_pass():
    real, fake = normal(60, 4), normal(50, 4, seed=1)
    distances = manifold.neighbour_distances(real, 5)
    assert torch.equal(distances, torch.stack([manifold.radii(real, k) for k in range(1, 6)], 1))
    for measure in (manifold.precision_recall, manifold.density_coverage):
        for k in (1, 3, 5):
            assert measure(real, fake, k, real_radii=distances[:, k - 1]) == measure(real, fake, k)


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_manifolds_do_not_depend_on_the_unit(scale):
    real, fake = normal(60, 4), normal(50, 4, seed=1)
    assert manifold.precision_recall(scale * real, scale * fake) == manifold.precision_recall(real, fake)


def test_manifolds_of_known_sets():
    x = normal(50, 4)
    assert manifold.precision_recall(x, x.flip(0)) == (1, 1)
    assert manifold.precision_recall(x, x + 100) == (0, 0)
    assert manifold.density_coverage(x, x + 100) == (0, 0)
    assert manifold.realism(x, x + 100).max() < 0.1
    line = torch.tensor([0.0, 1.0, 3.0, 6.0, 10.0])[:, None]
    assert manifold.radii(line, 1).tolist() == [1, 1, 2, 3, 4]
    assert manifold.radii(line, 2).tolist() == [3, 2, 3, 4, 7]
    # balls of k = 1 around 0, 1, 3, 6, 10; 8 is within those of no ... 6 +- 3 alone; -5 in none
    fake = torch.tensor([8.0, -5.0])[:, None]
    assert manifold.precision_recall(line, fake, 1) == (0.5, 1.0)  # fakes' radius 13 holds -5 .. 10
    assert manifold.density_coverage(line, fake, 1) == (2 / 2, 2 / 5)  # 8 is in the balls of 6 and of 10
    assert manifold.precision_recall(torch.zeros(9, 2), torch.zeros(7, 2)) == (1, 1)  # balls of radius 0


def test_mean_density_and_coverage_of_one_distribution():
    n, m, k, draws = 12, 7, 3, 1500
    x = normal(draws, n + m, 2)
    density, coverage = np.array([manifold.density_coverage(i[:n], i[n:], k) for i in x]).T
    expected = 1 - math.prod((n - i) / (m + n - i) for i in range(1, k + 1))
    assert density.mean() == pytest.approx(1, abs=4 * density.std() / math.sqrt(draws))
    assert coverage.mean() == pytest.approx(expected, abs=4 * coverage.std() / math.sqrt(draws))
    assert coverage.std() / math.sqrt(draws) < 0.01


def test_realism_is_the_largest_ratio(monkeypatch):
    real, fake, k = normal(81, 5), normal(40, 5, seed=1), 3
    found = brute(real, fake, k)
    kept = found["real"] <= np.median(found["real"])
    expected = (found["real"][kept] / found["fr"][:, kept]).max(1)
    np.testing.assert_allclose(manifold.realism(real, fake, k), expected, rtol=1e-12)
    monkeypatch.setattr(manifold, "PAIRS", 100)
    np.testing.assert_allclose(manifold.realism(real, fake, k), expected, rtol=1e-12)
    inside = (found["fr"] <= found["real"])[:, kept].any(1)
    assert torch.equal(manifold.realism(real, fake, k) >= 1, torch.from_numpy(inside))
    copy = real[torch.from_numpy(found["real"]).argmin()]
    assert manifold.realism(real, copy.expand(k + 1, 5), k).tolist() == [math.inf] * (k + 1)


def test_manifolds_refuse():
    with pytest.raises(ValueError, match="5 real and 9 fake rows; give at least 6"):
        manifold.density_coverage(normal(5, 2), normal(9, 2))
    with pytest.raises(ValueError, match="k = 0"):
        manifold.radii(normal(5, 2), 0)
    with pytest.raises(ValueError, match="give at least 5"):
        manifold.radii(normal(4, 2), 4)


# Pyramids ------------------------------------------------------------------------------------------------------------

BINOMIAL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256


def scipy_down(image: np.ndarray) -> np.ndarray:
    return ndimage.convolve(image, BINOMIAL, mode="mirror")[::2, ::2]


def scipy_up(image: np.ndarray) -> np.ndarray:
    spread = np.zeros((2 * image.shape[0], 2 * image.shape[1]))
    spread[::2, ::2] = image
    return ndimage.convolve(spread, 4 * BINOMIAL, mode="mirror")


def scipy_pyramid(image: np.ndarray, levels: int) -> list[np.ndarray]:
    scales = [image]
    for _ in range(levels - 1):
        scales.append(scipy_down(scales[-1]))
    return [a - scipy_up(b) for a, b in zip(scales, scales[1:])] + scales[-1:]


@pytest.mark.parametrize(("height", "width", "levels"), [(32, 32, 2), (64, 32, 4), (24, 40, 3), (16, 16, 1)])
def test_pyramid_is_scipys_and_adds_up_again(height, width, levels):
    images = normal(2, 3, height, width)
    found = pyramid.laplacian_pyramid(images, levels)
    assert [x.shape[2:] for x in found] == [(height >> i, width >> i) for i in range(levels)]
    for i in range(2):
        for c in range(3):
            for ours, theirs in zip(found, scipy_pyramid(images[i, c].numpy(), levels)):
                np.testing.assert_allclose(ours[i, c], theirs, atol=1e-14)
    whole = found[-1]
    for level in found[-2::-1]:
        whole = torch.stack([
            torch.stack([torch.from_numpy(scipy_up(plane.numpy())) for plane in image]) for image in whole
        ]) + level  # fmt: skip
    torch.testing.assert_close(whole, images, atol=1e-13, rtol=0)


def test_pyramid_of_flat_images_is_flat():
    found = pyramid.laplacian_pyramid(torch.full((1, 1, 32, 48), 7.0), 4)
    assert [float(x.abs().max()) for x in found] == [0, 0, 0, 7]


def reference_swd(
    real: torch.Tensor, fake: torch.Tensor, seed: int, patches: int, number: int
) -> dict[int | str, float]:
    """The distance by scipy's pyramids, patches cut one by one, and POT; places and directions are the only share."""
    import ot

    n, channels, height, width = real.shape
    generator, out = torch.Generator().manual_seed(seed), {}
    levels = int(math.log2(min(height, width) // 16)) + 1
    cut = [
        [[scipy_pyramid(plane, levels) for plane in image] for image in ((s.double() + 1) * 127.5).numpy()]
        for s in (real, fake)
    ]
    for k in range(levels):
        places = [pyramid.draw_places(n, patches, height >> k, width >> k, generator).numpy() for _ in cut]
        aims = pyramid.draw_directions(channels * 49, number, generator).numpy()
        sets = []
        for planes, where in zip(cut, places):
            x = np.stack([
                np.stack([planes[i][c][k][row : row + 7, column : column + 7] for c in range(channels)])
                for i in range(n) for row, column in where[i]
            ])  # fmt: skip
            x = (x - x.mean((0, 2, 3), keepdims=True)) / x.std((0, 2, 3), keepdims=True)
            sets.append(x.reshape(len(x), -1))
        out[min(height, width) >> k] = 1000 * ot.sliced_wasserstein_distance(*sets, p=1, projections=aims)
    return {**out, "average": np.mean(list(out.values()))}


@pytest.mark.parametrize("shape", [(6, 3, 32, 32), (5, 1, 64, 32), (4, 2, 48, 40), (3, 4, 16, 16)])
def test_sliced_wasserstein_is_pots_of_the_same_patches(shape, monkeypatch):
    real, fake = smooth(*shape), smooth(*shape, seed=10).roll(3, 2)
    expected = reference_swd(real, fake, seed=5, patches=9, number=2 * 11)
    usual = pyramid.NUMBERS, pyramid.PROJECTIONS, pyramid.KEPT
    for numbers, projections, kept in (usual, (shape[1] * 49 * 20, 4 * 9 * shape[0], 0)):
        monkeypatch.setattr(pyramid, "NUMBERS", numbers)  # then one or two images, and two directions, at a time
        monkeypatch.setattr(pyramid, "PROJECTIONS", projections)
        monkeypatch.setattr(pyramid, "KEPT", kept)  # then patches are extracted again
        found = pyramid.sliced_wasserstein(real, fake, seed=5, patches=9, repeats=2, directions=11)
        assert found == pytest.approx(expected, rel=2e-7)  # projections are float32
    assert found == pyramid.sliced_wasserstein(real, fake, seed=5, patches=9, repeats=2, directions=11)
    assert found != pyramid.sliced_wasserstein(real, fake, seed=6, patches=9, repeats=2, directions=11)


def test_sliced_wasserstein_of_one_distribution_falls_with_n_and_rises_with_damage():
    images = smooth(128, 3, 32, 32)
    few, many = (pyramid.sliced_wasserstein(images[:n], images[64 : 64 + n], repeats=1) for n in (8, 64))
    assert list(few) == [32, 16, "average"]
    assert few["average"] > many["average"]
    assert many["average"] == pytest.approx((many[32] + many[16]) / 2)
    noisy = (images[64:] + 0.3 * normal(64, 3, 32, 32)).clamp(-1, 1)
    damaged = pyramid.sliced_wasserstein(images[:64], noisy, repeats=1)
    assert damaged[32] > 2 * many[32]  # fine noise is seen where it is
    assert damaged[16] < 1.1 * many[16]


def test_patches_reach_every_border():
    places = pyramid.draw_places(500, 20, 16, 24, torch.Generator().manual_seed(0))
    assert [places[..., i].unique().tolist() for i in (0, 1)] == [list(range(10)), list(range(18))]
    aims = pyramid.draw_directions(147, 50, torch.Generator().manual_seed(0))
    torch.testing.assert_close(aims.square().sum(0), torch.ones(50, dtype=torch.float64), atol=1e-14, rtol=0)


def test_scales_of_sizes():
    assert [pyramid.num_levels(s, s) for s in (16, 28, 30, 32, 48, 50, 64, 100, 1024)] == [1, 1, 1, 2, 2, 2, 3, 3, 7]
    assert pyramid.num_levels(128, 32) == 2


def test_pyramids_refuse():
    images = smooth(4, 1, 32, 32)
    for height, width in ((66, 66), (33, 32), (64, 70)):
        with pytest.raises(ValueError, match="and no further"):
            pyramid.sliced_wasserstein(*[torch.rand(2, 1, height, width)] * 2)
    with pytest.raises(ValueError, match="8x16; enlarge them to sides of 16"):
        pyramid.sliced_wasserstein(*[torch.rand(2, 1, 8, 16)] * 2)
    with pytest.raises(ValueError, match="pairs need one shape"):
        pyramid.sliced_wasserstein(images, images[:3])
    with pytest.raises(ValueError, match="channel 0 of the fake images does not vary at scale 32"):
        pyramid.sliced_wasserstein(images, torch.full_like(images, 0.3))
    with pytest.raises(ValueError, match="patches, repeats, directions are 0"):
        pyramid.sliced_wasserstein(images, images, patches=0)
    for levels in (0, 4, 6):
        with pytest.raises(ValueError, match=f"{levels} levels of 20x32"):
            pyramid.laplacian_pyramid(torch.zeros(1, 1, 20, 32), levels)


# Structure -----------------------------------------------------------------------------------------------------------


def near(images: torch.Tensor, amount: float) -> torch.Tensor:
    x = images + amount * normal(*images.shape, seed=99)
    return ((x.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def test_psnr_is_skimages():
    from skimage.metrics import peak_signal_noise_ratio

    a = smooth(3, 3, 20, 13)
    b = near(a, 0.1)
    expected = by_loop(lambda x, y: peak_signal_noise_ratio(x.numpy(), y.numpy(), data_range=255), a, b)
    np.testing.assert_allclose(structure.psnr(a, b), expected, rtol=1e-13)
    zero = torch.zeros(2, 1, 4, 4) - 1
    assert structure.psnr(zero, zero + 2 / 255).tolist() == pytest.approx([20 * math.log10(255)] * 2)  # one level
    assert structure.psnr(zero, zero + 2).tolist() == [0, 0]
    assert structure.psnr(a, a).tolist() == [math.inf] * 3


def test_ssim_is_that_of_three_libraries():
    from pytorch_msssim import ssim
    from skimage.metrics import structural_similarity
    from torchmetrics.functional.image import structural_similarity_index_measure

    def by_torchmetrics(x, y):  # its mean takes in mirrored borders: leave them out of its map
        full = structural_similarity_index_measure(x, y, data_range=255.0, return_full_image=True)[1]
        return full[..., 5:-5, 5:-5].mean()

    def by_skimage(x, y):
        options = dict(channel_axis=0, gaussian_weights=True, use_sample_covariance=False, data_range=255)
        return structural_similarity(x[0].numpy(), y[0].numpy(), **options)

    a = smooth(3, 3, 40, 29)
    for b in (near(a, 0.1), near(a.flip(3), 0.3)):
        found = structure.ssim(a, b)
        np.testing.assert_allclose(found, by_loop(by_skimage, a, b), atol=1e-13, rtol=0)
        np.testing.assert_allclose(found, by_loop(by_torchmetrics, a, b), atol=1e-13, rtol=0)
        by_msssim = by_loop(lambda x, y: ssim(x, y, data_range=255), a, b)  # its window is float32
        np.testing.assert_allclose(found, by_msssim, atol=1e-6, rtol=0)
    assert structure.ssim(a, a).tolist() == pytest.approx([1] * 3, abs=1e-12)


def reference_ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Of one plane of levels: whole two-dimensional windows, and means of 2 x 2 by reshaping."""
    value = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        size = min(11, *a.shape)
        window = signal.windows.gaussian(size, 1.5 * size / 11)
        window = np.outer(window, window) / window.sum() ** 2
        ma, mb, aa, bb, ab = (signal.convolve2d(x, window, mode="valid") for x in (a, b, a * a, b * b, a * b))
        va, vb, cov = aa - ma * ma, bb - mb * mb, ab - ma * mb
        cs = (2 * cov + 58.5225) / (va + vb + 58.5225)
        similarity = cs * (2 * ma * mb + 6.5025) / (ma * ma + mb * mb + 6.5025)
        value *= max(0, (similarity if scale == 4 else cs).mean()) ** weight
        if scale < 4:
            height, width = (s // 2 for s in a.shape)
            a, b = (x[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean((1, 3)) for x in (a, b))
    return value


@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 48), (64, 64), (37, 90), (128, 128)])
def test_ms_ssim_is_the_sum_over_scales_by_scipy(height, width):
    a = smooth(2, 1, height, width)
    for b in (near(a, 0.1), near(a.flip(0), 0.2)):
        expected = by_loop(lambda x, y: reference_ms_ssim(x[0, 0].numpy(), y[0, 0].numpy()), a, b)
        np.testing.assert_allclose(structure.ms_ssim(a, b), expected, atol=1e-11)
    assert structure.ms_ssim(a, a).tolist() == pytest.approx([1, 1], abs=1e-12)


def test_ms_ssim_of_near_pairs_is_the_libraries_at_256():
    from pytorch_msssim import ms_ssim
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    a = smooth(2, 3, 256, 256)
    b = near(a, 0.03)
    found = structure.ms_ssim(a, b)
    by_torchmetrics = by_loop(lambda x, y: multiscale_structural_similarity_index_measure(x, y, data_range=255.0), a, b)
    np.testing.assert_allclose(found, by_torchmetrics, atol=1e-3)
    np.testing.assert_allclose(found, by_loop(lambda x, y: ms_ssim(x, y, data_range=255), a, b), atol=1e-3)
    assert found.max() < 0.995


def test_similarities_of_flat_images_by_hand():
    a, b = torch.full((1, 2, 32, 32), -1 + 200 / 127.5), torch.full((1, 2, 32, 32), -1 + 100 / 127.5)
    luminance = (2 * 200 * 100 + 6.5025) / (200**2 + 100**2 + 6.5025)  # no contrast: that factor is 1
    assert float(structure.ssim(a, b)) == pytest.approx(luminance, rel=1e-12)
    assert float(structure.ms_ssim(a, b)) == pytest.approx(luminance**0.1333, rel=1e-12)


def test_unlike_structure_counts_nothing_below_zero():
    board = torch.ones(1, 1, 32, 32)
    board[..., ::2, ::2] = board[..., 1::2, 1::2] = -1
    assert float(structure.ssim(board, -board)) < -0.9
    assert float(structure.ms_ssim(board, -board)) == 0


def test_similarities_come_in_parts(monkeypatch):
    a = smooth(7, 3, 32, 32)
    b = near(a, 0.1)
    functions = (structure.psnr, structure.ssim, structure.ms_ssim, lambda x, _: torch.tensor(diversity(x)))

    def diversity(x):
        return structure.ms_ssim_diversity(x, pairs=15)

    whole = [f(a, b) for f in functions]
    monkeypatch.setattr(structure, "NUMBERS", 2 * 3 * 32 * 32)  # two images at a time
    for f, expected in zip(functions, whole):
        torch.testing.assert_close(f(a, b), expected, atol=1e-13, rtol=0)


def test_diversity_is_the_mean_over_pairs():
    images = near(smooth(1, 1, 32, 32).repeat(5, 1, 1, 1), 0.3)
    images[0] = -images[0]
    table = torch.stack([structure.ms_ssim(images, x.expand_as(images)) for x in images])
    of_pairs = table[torch.triu(torch.ones(5, 5), 1) > 0]
    assert structure.ms_ssim_diversity(images) == pytest.approx(float(of_pairs.mean()), rel=1e-12)  # each of 10 once
    some = [structure.ms_ssim_diversity(images, pairs=9, seed=s) for s in range(60)]
    assert len(set(some)) > 50 and max(some) < 1 - 1e-6  # no image is paired with itself
    assert np.mean(some) == pytest.approx(float(of_pairs.mean()), abs=4 * np.std(some) / math.sqrt(60))
    assert some[3] == structure.ms_ssim_diversity(images, pairs=9, seed=3)
    assert structure.ms_ssim_diversity(images[:1].repeat(4, 1, 1, 1)) == pytest.approx(1, abs=1e-12)


def test_diversity_within_classes_weighs_classes_alike():
    images, label = smooth(7, 1, 16, 16), torch.tensor([4, 1, 4, 1, 4, 4, 1])
    means = [structure.ms_ssim_diversity(images[label == c]) for c in (1, 4)]
    assert structure.ms_ssim_diversity(images, label=label) == pytest.approx(np.mean(means), rel=1e-12)
    collapsed = images[label.argsort()][[0, 0, 0, 3, 3, 3]]  # one picture per class: 1 within, less without
    assert structure.ms_ssim_diversity(collapsed, label=torch.tensor([0] * 3 + [1] * 3)) == pytest.approx(1, abs=1e-12)
    assert structure.ms_ssim_diversity(collapsed) < 0.99


def test_levels_are_those_of_files():
    x = torch.tensor([-1.0, -3.0, 1.0, 2.0, 0.003, 2 / 255 - 1])
    assert structure.to_levels(x).tolist() == [0, 0, 255, 255, 128, 1]


def test_structure_refuses():
    a = smooth(3, 1, 16, 16)
    for function in (structure.psnr, structure.ssim, structure.ms_ssim):
        with pytest.raises(ValueError, match="pairs need one shape"):
            function(a, a[:2])
        with pytest.raises(ValueError, match=r"torch.uint8; give \(N, C, H, W\) floats"):
            function(*[torch.zeros(2, 1, 16, 16, dtype=torch.uint8)] * 2)
        with pytest.raises(ValueError, match="1 of 3 images hold NaN"):
            function(a, a.index_fill(0, torch.tensor([1]), math.nan))
    with pytest.raises(ValueError, match="10x16; enlarge them to sides of 11"):
        structure.ssim(*[a[:, :, :10]] * 2)
    with pytest.raises(ValueError, match="15x16; enlarge them to sides of 16"):
        structure.ms_ssim(*[a[:, :, :15]] * 2)
    with pytest.raises(ValueError, match="class 7 has one image"):
        structure.ms_ssim_diversity(a, label=torch.tensor([0, 0, 7]))
    with pytest.raises(ValueError, match="one image has no pair"):
        structure.ms_ssim_diversity(a[:1])
    with pytest.raises(ValueError, match="give one for each of 3 images"):
        structure.ms_ssim_diversity(a, label=torch.zeros(2, dtype=torch.long))
    with pytest.raises(ValueError, match="pairs = 0"):
        structure.ms_ssim_diversity(a, pairs=0)
