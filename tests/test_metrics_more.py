"""Metrics on latents, classes, segmentation, densities, bins and neighbours: closed forms and others' code."""

import math

import numpy as np
import pytest
import torch

from gankit import data, metrics
from gankit.metrics import anomaly, bins, divergence, inception, neighbours, path, segmentation, separability, spatial
from gankit.metrics import classifier_scores as classifiers
from gankit.metrics.frechet import by_gram, frechet_distance
from gankit.metrics.pyramid import draw_directions
from gankit.weights import sha256


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# Path length ----------------------------------------------------------------------------------------------------------


def squared(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (x - y).flatten(1).square().sum(1)


def linear(a: torch.Tensor):
    return lambda z: (z @ a.T).view(len(z), 1, 1, -1)


@pytest.mark.parametrize("t", ["full", "end", torch.linspace(-1, 2, 300)], ids=["full", "end", "given"])
def test_path_length_of_a_rotation_is_known_for_each_pair(t):
    a, b = normal(300, 8), normal(300, 8, seed=1)
    turn = torch.linalg.qr(normal(8, 8, seed=2))[0]
    angle = torch.nn.functional.cosine_similarity(a, b).acos()
    for norm in (1.0, 3.0):  # the chord of a step of eps on a circle
        values = path.path_distances(linear(turn), a, b, squared, t=t, norm=norm)
        chord = norm * 2 * torch.sin(1e-4 * angle / 2) / 1e-4
        torch.testing.assert_close(values, chord**2, rtol=1e-9, atol=0)
    straight = path.path_distances(linear(turn), a, b, squared, t=t, space="w")
    torch.testing.assert_close(straight, squared(a, b), rtol=1e-9, atol=0)


def test_path_length_of_a_linear_generator():
    a, b, matrix = normal(20_000, 16), normal(20_000, 16, seed=1), normal(24, 16, seed=2)
    size, angle = float(matrix.square().sum()), torch.nn.functional.cosine_similarity(a, b).acos()
    options = dict(trim=None, batch=5000)
    assert path.path_length(linear(matrix), a, b, squared, space="w", **options) == pytest.approx(2 * size, rel=0.01)
    expected = size * float(angle.square().mean())  # latents of length d^(1/2)
    assert path.path_length(linear(matrix), a, b, squared, norm=4.0, **options) == pytest.approx(expected, rel=0.01)
    own = path.path_length(linear(matrix), a, b, squared, **options)  # the length of N(0, I), from the latents
    assert own == pytest.approx(expected, rel=0.015)
    # float32, as networks are, costs little
    low = path.path_length(linear(matrix.float()), a.float(), b.float(), squared, **options)
    assert low == pytest.approx(own, rel=1e-4)
    values = path.path_distances(linear(matrix), a, b, squared, batch=5000)
    assert path.path_length(linear(matrix), a, b, squared, batch=900) == pytest.approx(path.trimmed_mean(values))
    assert 0.95 * own < path.trimmed_mean(values) < own
    # t = 1/2 as given is t = 0 from there: places count, and the end is another place than the middle
    bend = lambda z: z.sin().view(len(z), 1, 1, -1)  # noqa: E731
    ends, middles = (path.path_length(bend, a, b, squared, t=t, space="w") for t in ("end", torch.full((20_000,), 0.5)))
    assert ends < 0.9 * middles
    places = torch.rand(20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    options = dict(space="w", batch=5000)
    drawn = path.path_distances(bend, a, b, squared, generator=torch.Generator().manual_seed(7), **options)
    assert torch.equal(drawn, path.path_distances(bend, a, b, squared, t=places, **options))


def test_trimming_rounds_outwards():
    x = torch.arange(1000.0)[torch.randperm(1000, generator=torch.Generator().manual_seed(0))]
    kept = np.arange(9, 991)  # percentiles at 9.99 and 989.01
    assert path.trimmed_mean(x) == kept.mean()
    x[x == 999] = 1e9
    assert path.trimmed_mean(x) == kept.mean()
    assert path.trimmed_mean(x[:50]) == float(x[:50].double().mean())  # too few to trim
    skewed = torch.tensor([0.0] * 198 + [100.0, 1e6, 1e6])
    assert path.trimmed_mean(skewed) == 100 / 199  # rank 198 of 0 to 200 is the 100, which stays; zeros are all equal
    assert path.trimmed_mean(skewed, None) == pytest.approx(2_000_100 / 201)


def test_path_length_refuses():
    a, b = normal(4, 3), normal(4, 3, seed=1)
    same = linear(torch.eye(3).double())
    generator = torch.Generator().manual_seed(0)
    noisy = lambda z: same(z) + torch.rand(len(z), 1, 1, 3, generator=generator)  # noqa: E731
    for match, generate, x, y, options in [
        ("gives other images", noisy, a, b, {}),
        ("lost in them", lambda z: same(z).half(), a, b, {}),
        ("lost in them", lambda z: same(z).mul(127).to(torch.uint8), a, b, {}),
        ("lost in them", same, a.half(), b.half(), {}),
        ("opposite", same, a, -a, {}),
        ("no direction", same, a, 0 * b, {}),
        ("NaN", same, a / 0, b, {}),
        (r"give \(N, d\)", same, a, b[:3], {}),
        ("one a pair", same, a, b, {"t": torch.zeros(3)}),
        ("t is 'middle'", same, a, b, {"t": "middle"}),
        ("space is", same, a, b, {"space": "x"}),
        ("one label", same, a, b, {"label": torch.zeros(3)}),
    ]:
        with pytest.raises(ValueError, match=match):
            path.path_length(generate, x, y, squared, **options)
    with pytest.raises(ValueError, match=r"expected \(4,\)"):
        path.path_length(same, a, b, lambda x, y: squared(x, y).mean())
    labels = torch.arange(4)
    labelled = lambda z, label: same(z) * label.view(-1, 1, 1, 1)  # noqa: E731
    values = path.path_distances(labelled, a, b, squared, label=labels, batch=3)
    torch.testing.assert_close(values, path.path_distances(same, a, b, squared) * labels**2, rtol=1e-9, atol=1e-9)


# Separability ---------------------------------------------------------------------------------------------------------


def test_separability_of_planes_and_of_chance():
    z = normal(4000, 6)
    planes = torch.stack([z[:, 0], z @ normal(6, seed=1)], 1)
    found = separability.linear_separability(z, planes)
    assert found.score == pytest.approx(1, abs=0.02) and len(found.entropies) == 2
    xor = torch.stack([z[:, 0] * z[:, 1], z[:, 2] * z[:, 3]], 1)
    assert separability.linear_separability(z, xor).score == pytest.approx(4, rel=0.02)
    mixed = separability.linear_separability(z, torch.stack([planes[:, 0], xor[:, 0]], 1))
    assert mixed.score == pytest.approx(2, rel=0.03)
    as_probabilities = separability.linear_separability(z, xor.sigmoid(), threshold=0.5)
    assert as_probabilities == separability.linear_separability(z, xor)
    # sure on one side of a wall, unsure and wrong near it: the surer half is perfect, all of them are not
    wrong = torch.where(z[:, :1].abs() < 0.4, -z[:, :1], z[:, :1])
    assert separability.linear_separability(z, wrong).score < 1.01
    assert separability.linear_separability(z, wrong, keep=1).score > 1.5


def test_separability_is_the_conditional_entropy_by_hand():
    # two points in latent space: the plane parts them, and the answers there are mixed 3:1 and 1:3
    x = torch.tensor([[-1.0]] * 40 + [[1.0]] * 40)
    y = torch.tensor([-1.0] * 30 + [1.0] * 10 + [1.0] * 30 + [-1.0] * 10)[:, None]
    entropy = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))
    found = separability.linear_separability(x, y, keep=1.0)
    assert found.entropies[0] == pytest.approx(entropy, abs=1e-12)
    assert found.score == pytest.approx(2**entropy, abs=1e-12)


def test_separability_refuses():
    z, scores = normal(100, 3), normal(100, 2, seed=1)
    one_class = torch.stack([scores[:, 0], scores[:, 1].abs() + 1], 1)
    with pytest.raises(ValueError, match="agree on attributes hat"):
        separability.linear_separability(z, one_class, names=["smile", "hat"])
    with pytest.raises(ValueError, match="agree on attributes 0, 1"):  # probabilities, taken for logits
        separability.linear_separability(z, scores.sigmoid())
    with pytest.raises(ValueError, match="in 3 dimensions"):
        separability.linear_separability(z[:16], scores[:16])
    with pytest.raises(ValueError, match="a row for each"):
        separability.linear_separability(z, scores[:50])
    with pytest.raises(ValueError, match="NaN"):
        separability.linear_separability(z, scores * math.nan)


# Classifiers ----------------------------------------------------------------------------------------------------------


def digits(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    dataset = data.open(name, resolution=16)
    rows = dataset.rows(np.arange(len(dataset)))
    return data.normalise(rows["real"]), rows["label"]


def test_classification_accuracy_of_reals_resampled_and_of_shuffled_labels():
    (images, label), (test_images, test_label) = digits("digits"), digits("digits:test")
    generator = torch.Generator().manual_seed(0)
    again = torch.randint(len(label), (500,), generator=generator)
    score = classifiers.classification_accuracy(images[again], label[again], test_images, test_label, epochs=5)
    assert score > 0.93
    shuffled = label[torch.randperm(len(label), generator=generator)]
    score = classifiers.classification_accuracy(images[:300], shuffled[:300], test_images, test_label, epochs=2)
    assert score == pytest.approx(0.1, abs=0.08)  # chance


def test_classification_accuracy_repeats_and_takes_any_shape_and_any_classifier():
    images, label = torch.rand(40, 3, 5, 9, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 4
    state = torch.get_rng_state()
    same = [classifiers.fit_convnet(images, label, seed, epochs=1)(images) for seed in (0, 1)]
    assert torch.equal(state, torch.get_rng_state())  # nothing is drawn that others would have
    torch.rand(9)
    assert torch.equal(same[0], classifiers.fit_convnet(images, label, 0, epochs=1)(images))
    assert not torch.equal(*same)
    large = torch.rand(4, 1, 70, 40)
    assert classifiers.fit_convnet(large, torch.arange(4), epochs=1)(large).shape == (4,)
    fit = lambda x, y: lambda z: torch.full((len(z),), int(y.mode().values))  # noqa: E731
    assert classifiers.classification_accuracy(images, label * 0 + 2, images, label, fit=fit) == 0.25
    for match, args in [
        ("one shape", (images, label, images[:, :1], label)),
        ("NaN", (images * math.nan, label, images, label)),
        (r"and \(N,\)", (images, label[:3], images, label)),
        ("whole numbers", (images, label - 1, images, label)),
    ]:
        with pytest.raises(ValueError, match=match):
            classifiers.classification_accuracy(*args, fit=fit)
    with pytest.raises(ValueError, match="the classifier gave"):
        classifiers.classification_accuracy(images, label, images, label, fit=lambda x, y: lambda z: z)


# Frechet distances of places and of classes ---------------------------------------------------------------------------


def test_patches_are_compared_wherever_they_are():
    torch.manual_seed(0)
    image = torch.rand(3, 24, 30) * 2 - 1
    assert metrics.patch_distance(image, image) == 0
    aims = draw_directions(147, 128, torch.Generator().manual_seed(0)).float()
    other = torch.rand(3, 20, 30) * 2 - 1
    slow = []
    for (
        aim
    ) in aims.T:  # the definition: one scale, as a half has fewer than 16 pixels; the larger set is thinned out evenly
        lines = [
            sorted(
                float((x[:, i : i + 7, j : j + 7].flatten() * aim).sum()) for i in range(h - 6) for j in range(w - 6)
            )
            for x, h, w in ((image, 24, 30), (other, 20, 30))
        ]
        n = len(lines[1])
        slow.append(sum(abs(lines[0][int((k + 0.5) / n * len(lines[0]))] - lines[1][k]) for k in range(n)) / n)
    assert metrics.patch_distance(image, other) == pytest.approx(sum(slow) / 128, rel=1e-4)
    half = torch.cat([image[:, :, 15:], image[:, :, :15]], 2)  # the same but for the patches on the seam
    assert metrics.patch_distance(image, half) < 0.5 * metrics.patch_distance(image, other)
    for wrong, said in ((image[:2], "with one C"), (image[:, :6], "7 at least"), (image / 0, "not finite")):
        with pytest.raises(ValueError, match=said):
            metrics.patch_distance(image, wrong)


def test_sifid_looks_through_torch_s_inception(tmp_path, monkeypatch):
    torch.manual_seed(0)
    net = inception.Stem().eval()
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(layer.running_mean, std=0.1)
    held = {name: value for name, value in net.state_dict().items() if "num_batches" not in name}
    torch.save(held | {"fc.weight": torch.zeros(1000, 2048)}, tmp_path / "inception_v3_google-0cc3c7bd.pth")
    monkeypatch.setenv("GANKIT_WEIGHTS", str(tmp_path))
    with pytest.raises(ValueError, match="0cc3c7bd75056d25e46cba549dc184522069b81e9787eff6df84f397bd52a5ef|108949747"):
        metrics.spatial_features()
    path = tmp_path / "inception_v3_google-0cc3c7bd.pth"
    monkeypatch.setattr(
        inception, "TORCHVISION", inception.TORCHVISION._replace(sha256=sha256(path), size=path.stat().st_size)
    )
    look, image = metrics.spatial_features(), torch.rand(2, 3, 250, 64) * 2 - 1
    with pytest.raises(ValueError, match="18x40 .*need 19 pixels"):
        look(image[:, :, :18, :40])
    assert look(image[:, :, :19, :19]).shape == (2, 192, 1, 1)
    assert look(image).shape == (2, 192, 58, 12)  # 250 pixels become 58
    torch.testing.assert_close(look(image), net(image))
    for name in ("GANKIT_WEIGHTS", "GANKIT_CACHE", "TORCH_HOME"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        monkeypatch.setenv(name, str(tmp_path / "empty"))
    with pytest.raises(OSError, match="switched off"):
        metrics.spatial_features(download=False)
    assert metrics.spatial_features("small")(image).shape[2:] == (63, 16)


def test_sifid_is_the_frechet_distance_of_places():
    import ot

    real, fake = normal(6, 9, 11), 2 * normal(6, 8, 10, seed=1) + 1
    flat = [x.flatten(1).T for x in (real, fake)]
    assert spatial.sifid(real, real) == pytest.approx(0, abs=1e-9)
    assert spatial.sifid(real, fake) == pytest.approx(frechet_distance(*flat), abs=1e-12)
    mean, cov = ([f(x.numpy()) for x in flat] for f in (lambda x: x.mean(0), lambda x: np.cov(x, rowvar=False)))
    bures = float(ot.gaussian.bures_wasserstein_distance(*mean, *cov)) ** 2
    assert spatial.sifid(real, fake) == pytest.approx(bures, rel=1e-9)
    assert spatial.sifid(real, real.flip(2)) == pytest.approx(0, abs=1e-9)  # where a place is does not matter
    with pytest.raises(ValueError, match="one C"):
        spatial.sifid(real, fake[:3])
    with pytest.raises(ValueError, match="NaN"):
        spatial.sifid(real, fake / 0)


def test_per_class_frechet_is_a_loop():
    real, fake = normal(150, 20), normal(120, 20, seed=1) + 0.5
    real_label, fake_label = torch.arange(150) % 3, torch.arange(120) % 3
    fake_label[:30] = 1  # unlike numbers
    found = spatial.per_class_frechet(real, real_label, fake, fake_label)
    loop = {c: frechet_distance(real[real_label == c], fake[fake_label == c]) for c in range(3)}
    assert {c: v.distance for c, v in found.classes.items()} == loop
    assert found.mean == pytest.approx(np.mean(list(loop.values())), abs=1e-12)
    assert found.classes[1][1:] == (50, int((fake_label == 1).sum()))
    order = torch.randperm(150, generator=torch.Generator().manual_seed(0))
    renamed = spatial.per_class_frechet(real[order], real_label[order] + 7, fake, fake_label + 7)
    assert renamed.mean == pytest.approx(found.mean, rel=1e-9)
    alone = spatial.per_class_frechet(real, 0 * real_label, fake, 0 * fake_label)
    assert alone.mean == frechet_distance(real, fake)
    few = spatial.per_class_frechet(real[:10], 0 * real_label[:10], fake, 0 * fake_label)
    assert few.mean == by_gram(real[:10], fake)
    names = ["cat", "dog", "eel", "fox"]
    with pytest.raises(ValueError, match=r"cat \(50 real, 0 fake\), fox \(0 real, "):
        spatial.per_class_frechet(real, real_label, fake, torch.where(fake_label == 0, 3, fake_label), names)
    with pytest.raises(ValueError, match="whole numbers"):
        spatial.per_class_frechet(real, real_label[:3], fake, fake_label)


# Segmentation ---------------------------------------------------------------------------------------------------------


def maps(num_classes: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(num_classes, (4, 13, 17), generator=generator)
    predicted = torch.where(torch.rand(label.shape, generator=generator) < 0.7, label, (label * 3 + 1) % num_classes)
    label[torch.rand(label.shape, generator=generator) < 0.1] = 255
    return predicted, label


def test_segmentation_equals_torchmetrics_and_scikit_learn():
    from sklearn.metrics import balanced_accuracy_score, confusion_matrix, jaccard_score
    from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassJaccardIndex

    predicted, label = maps()
    matrix = segmentation.confusion(predicted, label, 5)
    assert torch.equal(matrix, MulticlassConfusionMatrix(5, ignore_index=255)(predicted, label))
    jaccard = MulticlassJaccardIndex(5, average="macro", ignore_index=255)(predicted, label)
    assert segmentation.mean_iou(matrix) == pytest.approx(float(jaccard), abs=1e-6)  # float32
    counted = label != 255
    y, x = label[counted].numpy(), predicted[counted].numpy()
    np.testing.assert_array_equal(matrix, confusion_matrix(y, x))
    assert segmentation.mean_iou(matrix) == pytest.approx(jaccard_score(y, x, average="macro"), abs=1e-12)
    np.testing.assert_allclose(segmentation.class_iou(matrix), jaccard_score(y, x, average=None), rtol=1e-12)
    assert segmentation.class_accuracy(matrix) == pytest.approx(balanced_accuracy_score(y, x), abs=1e-12)
    assert segmentation.pixel_accuracy(matrix) == pytest.approx((x == y).mean(), abs=1e-12)
    parts = [segmentation.confusion(p, t, 5) for p, t in zip(predicted, label)]
    assert torch.equal(matrix, sum(parts))
    perfect = segmentation.confusion(predicted, predicted.to(torch.uint8), 5, ignore=None)
    assert torch.equal(perfect, predicted.flatten().bincount().diag())


def test_absent_classes_are_left_out_or_count_zero():
    matrix = torch.tensor([[3, 1, 0, 0], [0, 4, 0, 2], [0, 0, 0, 0], [0, 0, 0, 0]])  # 2 nowhere, 3 predicted only
    assert segmentation.class_accuracy(matrix) == pytest.approx((3 / 4 + 4 / 6) / 2)
    assert segmentation.class_accuracy(matrix, "zero") == pytest.approx((3 / 4 + 4 / 6) / 4)
    assert segmentation.mean_iou(matrix) == pytest.approx((3 / 4 + 4 / 7 + 0) / 3)
    # the published lines: sums and 1e-12 below, mean over all
    diagonal, rows, columns = (x.double() for x in (matrix.diagonal(), matrix.sum(1), matrix.sum(0)))
    published = float((diagonal / (rows + columns - diagonal + 1e-12)).mean())
    assert segmentation.mean_iou(matrix, "zero") == pytest.approx(published, abs=1e-11)
    assert segmentation.class_iou(matrix)[2].isnan()


def test_segmentation_refuses():
    predicted, label = maps()
    wrong = predicted.clone()
    wrong[label == 255] = 99
    assert torch.equal(segmentation.confusion(wrong, label, 5), segmentation.confusion(predicted, label, 5))
    wrong[label == 2] = 7
    for match, args in [
        (r"predicted holds classes \[7\]", (wrong, label, 5)),
        (r"label holds classes \[255\]", (predicted, label, 5, None)),
        ("one shape", (predicted[:1], label, 5)),
        ("whole numbers", (predicted.float(), label, 5)),
    ]:
        with pytest.raises(ValueError, match=match):
            segmentation.confusion(*args)
    nothing = segmentation.confusion(predicted, torch.full_like(label, 255), 5)
    with pytest.raises(ValueError, match="counts no pixels"):
        segmentation.mean_iou(nothing)


def test_fcn_score_of_images_that_show_their_labels():
    _, label = maps()
    centres = torch.linspace(-1, 1, 5)
    images = torch.where(label == 255, torch.zeros(()), centres[label.clamp(max=4)])[:, None]
    scores = lambda x: -(x - centres.view(1, 5, 1, 1)).abs()  # noqa: E731
    assert segmentation.fcn_score(images, label, scores, 5, batch=3) == (1, 1, 1)
    classes = lambda x: scores(x).argmax(1)  # noqa: E731
    half = segmentation.fcn_score(torch.cat([images[:2], -images[2:]]), label, classes, 5, batch=3)
    matrix = segmentation.confusion(torch.cat([classes(images[:2]), classes(-images[2:])]), label, 5)
    parts = (segmentation.pixel_accuracy, segmentation.class_accuracy, segmentation.mean_iou)
    assert half == tuple(part(matrix) for part in parts)
    smooth = torch.linspace(-1, 1, 32).expand(2, 1, 16, 32)  # images of another size are resized to the labels
    truth = torch.bucketize(torch.linspace(-1 + 1 / 64, 1 - 1 / 64, 64), torch.tensor([0.0])).expand(2, 32, 64)
    assert segmentation.fcn_score(smooth, truth, lambda x: (x[:, 0] > 0).long(), 2).pixel_accuracy == 1
    with pytest.raises(ValueError, match="the segmenter gave"):
        segmentation.fcn_score(images, label, lambda x: x, 5)
    with pytest.raises(ValueError, match="NaN"):
        segmentation.fcn_score(images / 0, label, scores, 5)


# Anomalies ------------------------------------------------------------------------------------------------------------


def test_auroc_is_mann_whitney_whatever_the_scale():
    from scipy.stats import mannwhitneyu

    y = torch.arange(200) % 4 == 0
    x = ((normal(200) + y) * 3).round()  # with ties
    u = mannwhitneyu(x[y], x[~y]).statistic / (50 * 150)
    assert anomaly.auroc(x, y) == pytest.approx(u, abs=1e-12)
    assert anomaly.auroc(x + 1e6, y.long()) == anomaly.auroc(x, y)  # a sigmoid would give 1/2
    assert anomaly.auroc(-x, y) == pytest.approx(1 - u, abs=1e-12)
    assert anomaly.auroc(y.double(), y) == anomaly.auprc(y.double(), y) == 1
    assert anomaly.auprc(0 * x, y) == 0.25  # chance is the share
    # anomalies at ranks 1 and 3 of 4: precision 1 and 2/3, half of the recall each
    assert anomaly.auprc(torch.tensor([4.0, 3, 2, 1]), torch.tensor([1, 0, 1, 0])) == pytest.approx((1 + 2 / 3) / 2)
    close = 1 + torch.arange(4, dtype=torch.float64) * 1e-12  # float32 would tie these
    assert anomaly.auroc(close, torch.tensor([0, 0, 1, 1])) == 1


@pytest.mark.parametrize("metric", [anomaly.auroc, anomaly.auprc])
def test_anomaly_scores_refuse(metric):
    for match, x, y in [
        ("holds \\[0\\]", [1.0, 2.0], [0, 0]),
        ("holds \\[0, 2\\]", [1.0, 2.0], [0, 2]),
        ("NaN", [math.nan, 2.0], [0, 1]),
        ("twice", [1.0, 2.0], [0, 1, 1]),
    ]:
        with pytest.raises(ValueError, match=match):
            metric(torch.tensor(x), torch.tensor(y))


def test_threshold_keeps_its_promise():
    rate = 0.1
    scores = torch.rand(200_000, 25, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    thresholds = [anomaly.threshold_at(row, rate) for row in scores[:4000, :24]]
    # the 23rd of 24 uniform numbers: a new one exceeds it with chance 2/25 <= 0.1 on average
    assert np.mean([1 - t for t in thresholds]) == pytest.approx(2 / 25, abs=0.004)
    assert thresholds[0] == float(scores[0, :24].sort().values[22])
    for n in range(9, 400):
        for rate in (0.1, 0.29, 0.07, 1 / 3, 0.7):
            if rate * (n + 1) < 1:
                continue
            x = torch.arange(n, dtype=torch.float64)
            t = anomaly.threshold_at(x, rate)
            above = int((x > t).sum())
            assert above / n <= rate and (above + 1) / (n + 1) <= rate < (above + 2) / (n + 1)
    assert int((torch.ones(50) > anomaly.threshold_at(torch.ones(50), 0.1)).sum()) == 0  # ties
    with pytest.raises(ValueError, match="give at least 99,"):
        anomaly.threshold_at(torch.arange(98.0), 0.01)
    assert anomaly.threshold_at(torch.arange(99.0), 0.01) == 98
    for bad in (torch.tensor([]), torch.tensor([1.0, math.nan])):
        with pytest.raises(ValueError, match="without NaN"):
            anomaly.threshold_at(bad, 0.5)


# Divergences ----------------------------------------------------------------------------------------------------------


def test_kl_and_js_equal_scipy():
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import entropy

    p, q = normal(12).softmax(0), (3 * normal(12, seed=1)).softmax(0)
    p[3] = 0
    p = p / p.sum()
    assert divergence.kl(p, q) == pytest.approx(entropy(p, q), abs=1e-14)
    assert divergence.js(p, q) == pytest.approx(jensenshannon(p, q) ** 2, abs=1e-14)
    assert divergence.kl(q, p) == math.inf == entropy(q, p)
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert divergence.js(one, other) == pytest.approx(math.log(2), abs=1e-15)
    assert divergence.kl(p, p) == divergence.js(q.float(), q.float()) == 0
    # a Gaussian shifted by m, on a fine grid: m^2 / 2
    x = torch.linspace(-12, 12, 20_001, dtype=torch.float64)
    shares = [(-((x - m) ** 2) / 2).softmax(0) for m in (0.0, 1.5)]
    assert divergence.kl(*shares) == pytest.approx(1.125, abs=1e-9)
    for bad in ([0.5, 0.6], [1.5, -0.5], [math.nan, 1.0], [3.0, 5.0]):
        with pytest.raises(ValueError, match="sum to 1"):
            divergence.kl(one, torch.tensor(bad))
    with pytest.raises(ValueError, match=r"\(K,\) twice"):
        divergence.js(one, p)


def test_earth_mover_equals_pot_and_scipy():
    import ot
    from scipy.stats import wasserstein_distance

    x, y = normal(120, 3), normal(120, 3, seed=1) * 1.5 + 0.3
    weights = np.full(120, 1 / 120)
    cost = ot.dist(x.numpy(), y.numpy(), metric="euclidean")
    assert divergence.earth_mover(x, y) == pytest.approx(ot.emd2(weights, weights, cost), abs=1e-12)
    assert divergence.earth_mover(x[:, 0], y[:, 0]) == pytest.approx(wasserstein_distance(x[:, 0], y[:, 0]), abs=1e-12)
    line = lambda z: torch.stack([z, 0 * z], 1)  # noqa: E731  the two routes agree
    assert divergence.earth_mover(line(x[:, 0]), line(y[:, 0])) == pytest.approx(
        divergence.earth_mover(x[:, 0], y[:, 0]), abs=1e-12
    )
    moved = (x + torch.tensor([1.0, 2.0, 2.0]))[torch.randperm(120, generator=torch.Generator().manual_seed(0))]
    assert divergence.earth_mover(x, moved) == pytest.approx(3, abs=1e-12)
    assert divergence.earth_mover(normal(9000), normal(9000) + 1) == pytest.approx(1, abs=1e-12)  # numbers: no limit
    with pytest.raises(ValueError, match="equally many"):
        divergence.earth_mover(x, y[:100])
    with pytest.raises(ValueError, match="give 5000"):
        divergence.earth_mover(torch.zeros(5001, 2), torch.zeros(5001, 2))


def test_critic_distance_is_below_the_earth_movers_and_meets_it():
    x = normal(100, 2)
    gap = torch.tensor([3.0, 4.0]).double()
    exact = divergence.earth_mover(x + gap, x)
    best = lambda z: z @ gap / 5  # noqa: E731  1-Lipschitz
    assert divergence.critic_distance(best(x + gap), best(x)) == pytest.approx(exact, abs=1e-12) == pytest.approx(5)
    assert divergence.critic_distance(7 * best(x + gap)[:, None], 7 * best(x), 7) == pytest.approx(5)
    assert divergence.critic_distance((x + gap)[:, 0], x[:, 0]) == pytest.approx(3)
    with pytest.raises(ValueError, match="one finite number"):
        divergence.critic_distance(x, x)
    with pytest.raises(ValueError, match="above 0"):
        divergence.critic_distance(x[:, 0], x[:, 0], 0)


def test_parzen_window_equals_scikit_learn_and_the_gaussian():
    from sklearn.neighbors import KernelDensity

    samples, test = normal(300, 4) + 50, normal(40, 4, seed=1) + 50
    expected = KernelDensity(bandwidth=0.7).fit(samples.numpy()).score_samples(test.numpy())
    found = divergence.parzen_log_likelihood(samples, test, sigma=0.7)
    assert found.mean == pytest.approx(expected.mean(), abs=1e-10)
    assert found.standard_error == pytest.approx(expected.std(ddof=1) / 40**0.5, abs=1e-10)
    # many samples of N(0, 1): the window widens it to N(0, 1 + sigma^2)
    one, rows = normal(30_000, 1), normal(500, 1, seed=2)
    wide = torch.distributions.Normal(0.0, math.sqrt(1.25)).log_prob(rows).mean()
    assert divergence.parzen_log_likelihood(one, rows, sigma=0.5).mean == pytest.approx(float(wide), abs=0.01)
    # chosen on validation rows: the best of the grid there
    held = normal(200, 4, seed=3) + 50
    grid = [0.2, 0.4, 0.6, 0.9, 1.5]
    best = max(grid, key=lambda s: divergence.parzen_log_likelihood(samples, held, sigma=s).mean)
    chosen = divergence.parzen_log_likelihood(samples, test, validation=held, sigmas=grid)
    assert chosen.sigma == best and chosen == divergence.parzen_log_likelihood(samples, test, sigma=best)
    default = divergence.parzen_log_likelihood(samples, test, validation=held)
    assert 0.3 < default.sigma < 1
    # images are measured in [0, 1]: half the length, d log 2 more
    images = torch.rand(60, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    as_images = divergence.parzen_log_likelihood(images[:50], images[50:], sigma=0.2)
    as_rows = divergence.parzen_log_likelihood(images[:50].flatten(1), images[50:].flatten(1), sigma=0.4)
    assert as_images.mean == pytest.approx(as_rows.mean + 16 * math.log(2), abs=1e-9)


def test_parzen_window_refuses():
    x, test = normal(50, 3), normal(50, 3, seed=1)
    for match, options in [
        ("give either", {}),
        ("give either", {"sigma": 1.0, "validation": test}),
        ("at the end", {"validation": x}),  # validation rows among the samples
        ("at the end", {"validation": test, "sigmas": [5.0, 6.0, 7.0]}),
        ("above 0", {"sigma": 0.0}),
        ("NaN", {"validation": test / 0}),
    ]:
        with pytest.raises(ValueError, match=match):
            divergence.parzen_log_likelihood(x, test, **options)
    with pytest.raises(ValueError, match="samples that differ"):
        divergence.parzen_log_likelihood(torch.ones(9, 3), test, validation=test)


# Bins -----------------------------------------------------------------------------------------------------------------


def test_bins_are_compared_by_the_two_proportion_test():
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import chi2_contingency

    generator = torch.Generator().manual_seed(0)
    train, fake = (torch.randint(5, 60, (40,), generator=generator) for _ in range(2))
    n, m = int(train.sum()), int(fake.sum())
    tables = [[[a, n - a], [b, m - b]] for a, b in zip(train.tolist(), fake.tolist())]
    p_values = [chi2_contingency(table, correction=False).pvalue for table in tables]
    for alpha in (0.3, 0.05, 0.001):
        found = bins.compare_bins(train, fake, alpha)
        assert found.share == np.mean(np.array(p_values) < alpha)
    assert 0 < bins.compare_bins(train, fake).share < 1
    assert found.js == pytest.approx(jensenshannon(train / n, fake / m) ** 2, abs=1e-7)
    assert bins.compare_bins(torch.tensor([10, 0]), torch.tensor([10, 0])) == (0, 0)  # no spread: not different
    with pytest.raises(ValueError, match="alpha"):
        bins.compare_bins(train, fake, 5)
    with pytest.raises(ValueError, match="not all"):
        bins.compare_bins(train, 0 * fake)


def test_ndb_of_fresh_samples_is_about_alpha_and_lost_clusters_are_found():
    shares = []
    for seed in range(8):
        train, fresh = normal(2000, 5, seed=seed), normal(2000, 5, seed=100 + seed)
        shares.append(bins.ndb(train, fresh, k=25, seed=seed).share)
    assert np.mean(shares) == pytest.approx(0.05, abs=0.035)  # 200 tests: the standard error is 0.015
    centres = torch.eye(10).double() * 20
    mode = torch.arange(2000) % 10
    train, fresh = centres[mode] + normal(2000, 10), centres[mode] + normal(2000, 10, seed=1)
    assert bins.ndb(train, train, k=10) == (0, 0)
    assert bins.ndb(train, fresh, k=10) == (0, 0)
    lost = bins.ndb(train, fresh[mode < 8], k=10)
    # each of 8 modes has 1/8, not 1/10, of 1600: z = 2.4; two have none
    p, q = torch.full((10,), 0.1).double(), torch.tensor([1 / 8] * 8 + [0, 0]).double()
    assert lost.share == 1 and lost.js == pytest.approx(divergence.js(p, q), abs=1e-12)
    counts = bins.bin_counts(train, fresh, k=10)
    assert [sorted(c.tolist()) for c in counts] == [[200] * 10] * 2


def test_ndb_takes_a_sixth_of_many_dimensions(monkeypatch):
    from sklearn.cluster import KMeans

    widths, fit = [], KMeans.fit
    monkeypatch.setattr(KMeans, "fit", lambda self, x: widths.append(x.shape[1]) or fit(self, x))
    images = torch.rand(100, 1, 40, 30, generator=torch.Generator().manual_seed(0))
    assert bins.ndb(images, images, k=4) == bins.ndb(images[:, :, :25], images[:, :, :25], k=4) == (0, 0)
    assert widths == [200, 750]


def test_ndb_refuses():
    x = normal(100, 2)
    with pytest.raises(ValueError, match="k=10"):
        bins.ndb(x, x)
    with pytest.raises(ValueError, match="only 2 of 5 bins"):
        bins.ndb((x > 0).double()[:, :1], x[:, :1], k=5)
    with pytest.raises(ValueError, match="one shape"):
        bins.ndb(x, x[:, :1], k=5)


# Neighbours -----------------------------------------------------------------------------------------------------------


def test_nearest_neighbours_equal_scikit_learn_and_copies_are_at_zero(monkeypatch):
    from sklearn.neighbors import NearestNeighbors

    monkeypatch.setattr(neighbours, "ROWS", 64)  # many blocks
    x, y = normal(200, 7) + 1000, normal(333, 7, seed=1) + 1000
    distance, index = NearestNeighbors(n_neighbors=5, algorithm="kd_tree").fit(y.numpy()).kneighbors(x.numpy())
    found = neighbours.nearest_neighbours(x, y, 5)
    np.testing.assert_array_equal(found.index, index)
    np.testing.assert_allclose(found.distance, distance, rtol=1e-14)
    copied = neighbours.nearest_neighbours(y[[3, 300]].float(), y.float())
    assert copied.index.flatten().tolist() == [3, 300] and not copied.distance.any()  # exactly, far from zero
    images = torch.zeros(4, 1, 2, 2)
    assert neighbours.nearest_neighbours(images, images + 1).index.tolist() == [[0]] * 4  # ties: the lower row
    assert neighbours.nearest_neighbours(images, images + 1).distance.tolist() == [[2.0]] * 4
    for match, args in [
        ("k is 5", (images, images, 5)),
        ("one shape", (x, images)),
        ("NaN", (x / 0, y)),
        ("at least one", (x[:0], y)),
    ]:
        with pytest.raises(ValueError, match=match):
            neighbours.nearest_neighbours(*args)


def test_closest_pairs_are_those_of_all_distances(monkeypatch):
    from scipy.spatial.distance import pdist

    monkeypatch.setattr(neighbours, "ROWS", 32)
    x = normal(100, 3)
    x[77] = x[5]
    all_pairs = pdist(x.numpy())
    order = np.argsort(all_pairs)[:15]
    first, second = np.triu_indices(100, 1)
    found = neighbours.closest_pairs(x, 15)
    np.testing.assert_allclose(found.distance, all_pairs[order], rtol=1e-12)
    np.testing.assert_array_equal(found.index, np.stack([first[order], second[order]], 1))
    assert found.index[0].tolist() == [5, 77] and found.distance[0] == 0
    assert len(neighbours.closest_pairs(x[:3], 20).distance) == 3
    assert neighbours.closest_pairs(torch.zeros(70, 2), 3).distance.tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="at least 2"):
        neighbours.closest_pairs(x[:1])


def test_memorisation_finds_training_rows_and_lets_new_ones_pass():
    train, held_out, fresh = (normal(1000, 6, seed=s) for s in range(3))
    copies = neighbours.memorisation(train[:300], train, held_out)  # all options as they come
    assert (copies.share, copies.ratio, copies.auroc) == (1, 0, 1)
    assert copies.p_auroc == 1 / 1000 and copies.verdict.startswith("copies: 100.00%")
    new = neighbours.memorisation(fresh, train, held_out, quantile=0.05, permutations=199)
    assert new.expected == 0.05 and new.share == pytest.approx(0.05, abs=0.03)
    assert new.ratio == pytest.approx(1, abs=0.05) and new.auroc == pytest.approx(0.5, abs=0.03)
    assert min(new.p_share, new.p_auroc) > 0.01 and new.verdict.startswith("no sign")
    noise = 0.5 * normal(1000, 6, seed=3)
    blurred = neighbours.memorisation(train[:300] + noise[:300], train, held_out, permutations=199)  # no copies
    assert blurred.auroc > 0.55 and blurred.verdict.startswith("memorises in part")
    mixed = torch.cat([fresh[:290], train[:10]])  # 10 copies of 300
    few = neighbours.memorisation(mixed, train, held_out, permutations=9)
    assert few.share == pytest.approx(1 / 30, abs=0.011) and few.verdict.startswith("copies")
    thinned = neighbours.memorisation(fresh, train, held_out[:400], permutations=9, seed=1)
    assert thinned.auroc == pytest.approx(0.5, abs=0.04)
    other = neighbours.memorisation(fresh, train[:400], held_out, permutations=9)
    assert other.auroc == pytest.approx(0.5, abs=0.04) and other.ratio == pytest.approx(1, abs=0.1)
    same = neighbours.memorisation(train[:300], train, train, permutations=9)  # all ties
    assert (same.ratio, same.auroc) == (1, 0.5)
    fresh[:50], held_out[:50] = train[:50], train[50:100]  # data that repeats itself: that is no copying
    twins = neighbours.memorisation(fresh, train, held_out, permutations=199)
    assert twins.tau == 0 and twins.share == twins.expected == 0.05 and twins.verdict.startswith("no sign")
    with pytest.raises(ValueError, match="10 of each"):
        neighbours.memorisation(fresh[:3], train, held_out)


def test_memorisation_numbers_by_hand():
    from scipy.stats import fisher_exact, mannwhitneyu

    fake, train, held_out = normal(40, 2), normal(60, 2, seed=1), normal(60, 2, seed=2)
    fake[:3] = train[:3] + 1e-6
    found = neighbours.memorisation(fake, train, held_out, quantile=0.05)
    to_train, to_held = (torch.cdist(fake, x).min(1).values for x in (train, held_out))
    usual = torch.cdist(held_out, train).min(1).values.sort().values
    assert found.tau == pytest.approx(float(usual[2]), abs=1e-9)  # the third of 60
    copied = int((to_train <= found.tau).sum())
    assert found.share == copied / 40 and found.expected == 3 / 60
    assert found.ratio == pytest.approx(float((to_train / to_held).median()), rel=1e-6)
    assert found.auroc == pytest.approx(mannwhitneyu(to_held, to_train).statistic / 40**2, abs=1e-12)
    table = [[copied, 40 - copied], [3, 57]]
    assert found.p_share == pytest.approx(fisher_exact(table, alternative="greater").pvalue, rel=1e-9)


def test_memorisation_seldom_accuses_the_innocent():
    values = []
    for seed in range(20):
        fresh, train, held_out = (normal(100, 4, seed=3 * seed + s) for s in range(3))
        found = neighbours.memorisation(fresh, train, held_out, quantile=0.05, permutations=99)
        values.append((found.p_share, found.p_auroc))
    for p in np.array(values).T:  # p values are uniform, or larger
        assert 0.3 < p.mean() < 0.75 and (p < 0.05).mean() <= 0.15


@pytest.mark.parametrize("support", [300, 2000])
def test_birthday_finds_the_support_of_a_discrete_generator(support):
    pictures = normal(support, 3, 2, 2)
    drawn = torch.randint(support, (4000,), generator=torch.Generator().manual_seed(0))
    found = neighbours.birthday(pictures[drawn], threshold=0)
    assert found.support == pytest.approx(support, rel=0.3)
    assert found.low < support < found.high
    assert found.probability == pytest.approx(0.5, abs=0.1)
    assert len(found.pairs) == 20 and not found.distance.any()
    assert torch.equal(drawn[found.pairs[:, 0]], drawn[found.pairs[:, 1]])
    expected = found.size * (found.size - 1) / (2 * math.log(1 / (1 - found.probability)))
    assert found.support == pytest.approx(expected, rel=1e-12)
    # nearly equal pictures count as one from the threshold on
    jittered = pictures[drawn] + 1e-4 * normal(4000, 3, 2, 2, seed=1)
    assert neighbours.birthday(jittered, threshold=0.02, size=found.size).support == pytest.approx(found.support)


def test_birthday_of_a_continuous_generator_and_of_a_collapsed_one():
    found = neighbours.birthday(normal(400, 3), threshold=0)
    assert found.probability == 0 and found.support == math.inf == found.high
    assert found.size == 20 and found.low == pytest.approx(20 * 19 / 2 / -math.log(0.025 ** (1 / 20)))  # 20 batches
    with pytest.raises(ValueError, match="all 200 batches of 2 hold a duplicate, so the support is below"):
        neighbours.birthday(torch.ones(400, 3), threshold=0)
    with pytest.raises(ValueError, match="a smaller size"):
        neighbours.birthday(normal(400, 3), threshold=0, size=50)
    with pytest.raises(ValueError, match="give a distance"):
        neighbours.birthday(normal(400, 3), threshold=-1)
