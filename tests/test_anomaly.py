"""AnoGAN, f-AnoGAN, and what is made of their scores."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

import gankit
from gankit import anomaly, cli, data, metrics, training
from gankit.models.anogan import AnoGAN
from gankit.models.f_anogan import FAnoGAN
from gankit.recipe import Batch, Spec
from gankit.runs.config import arguments_of

SPEC = Spec((1, 16, 16))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return AnoGAN(SPEC, z_dim=4, width=4, steps=12, search_lr=0.1).double().eval()


@pytest.fixture
def images():
    return torch.rand(3, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_the_distance_is_the_paper_s_sum(model, images):
    rebuilt = images.flip(0)
    with torch.no_grad():
        distance = model.distance(images, rebuilt)
        f = model.d.features[:-1]  # without the flattening
        for i in range(3):
            residual = sum(abs(float(a - b)) for a, b in zip(images[i].flatten(), rebuilt[i].flatten()))
            pairs = zip(f(images[i : i + 1]).flatten(), f(rebuilt[i : i + 1]).flatten())
            features = sum(abs(float(a - b)) for a, b in pairs)
            assert abs(float(distance[i]) - (0.9 * residual + 0.1 * features)) < 1e-9


def test_a_score_depends_only_on_its_image(model, images):
    whole = model.score(images)
    for i in range(3):
        single = model.score(images[i : i + 1])
        assert abs(single.score[0] - whole.score[i]) < 1e-10 and (single.map[0] - whole.map[i]).abs().max() < 1e-10
    assert whole.map.shape == (3, 16, 16) and whole.steps.tolist() == [12] * 3


def test_the_search_finds_a_generated_image(model):
    with torch.no_grad():
        fake = model.g(torch.tensor([[0.3, -0.2, 0.5, 0.1]], dtype=torch.float64))
    few, many = (setattr(model, "steps", n) or float(model.score(fake).score) for n in (1, 300))
    assert many < 0.2 * few


def test_restarts_keep_the_best_and_patience_ends_a_search(model, images):
    score = model.score(images).score
    model.restarts = 4
    assert (model.score(images).score <= score + 1e-9).all()
    model.steps, model.search_patience = 400, 5
    patient = model.score(images)
    assert (patient.steps < 400).all()
    model.search_patience = 0
    assert (model.score(images).score <= patient.score * 1.05).all()


def test_a_run_with_an_argument_s_former_name_loads():
    config = {"model": "anogan", "arguments": {"patience": 5, "steps": 9}}
    assert arguments_of(config) == {"search_patience": 5, "steps": 9}


def test_the_encoder_is_trained_on_fixed_networks(tmp_path):
    states = {}

    class Watched(FAnoGAN):
        def enter(self, index, batch):
            states[index] = {k: v.clone() for k, v in self.state_dict().items()}

    options = dict(data="digits", preset="small", images=64, batch=8, gan_images=32, ema=0, preview=8, quiet=True)
    after = training.train(Watched, outdir=tmp_path, **options).recipe.state_dict()
    for name, value in states[1].items():
        if name.startswith("e.") or value.ndim > 1:
            assert torch.equal(value, states[0][name]) == name.startswith("e."), name
        if not name.startswith("e.") or value.ndim > 1:
            assert torch.equal(value, after[name]) != name.startswith("e."), name


def test_the_encoder_ends_in_tanh_or_is_linear_and_norms_have_tensorflow_s_constants(images):
    models = {}
    for output in ("tanh", "linear"):
        torch.manual_seed(0)
        models[output] = FAnoGAN(SPEC, z_dim=4, width=4, encoder_output=output).double().eval()
    assert FAnoGAN(SPEC, z_dim=4, width=4).encoder_output == "tanh", "the paper's"
    with torch.no_grad():
        extreme = 30 * images
        bounded, unbounded = (model.encode(extreme) for model in models.values())
        assert torch.equal(bounded, unbounded.tanh()) and unbounded.abs().max() > 1
        model = models["tanh"]
        assert torch.equal(model.reconstruct(extreme), model.g(bounded))
        assert torch.equal(model.score(extreme).rebuilt, model.g(bounded))
    norms = [m for net in (model.g, model.e) for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 2 * 2 + 1 + 2 * 2 and {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.d.modules())
    with pytest.raises(ValueError, match="choose from tanh and linear"):
        FAnoGAN(SPEC, encoder_output="relu")


@pytest.mark.parametrize("output", ["tanh", "linear"])
@pytest.mark.parametrize("loss", ["izi", "ziz", "izi_f"])
def test_the_encoder_s_losses(loss, output, images):
    model = FAnoGAN(SPEC, z_dim=4, width=4, encoder_loss=loss, encoder_output=output).double().eval()
    encoded = (lambda x: model.e(x).tanh()) if output == "tanh" else model.e
    batch = Batch({"real": images})
    with torch.no_grad():
        value, _ = model.e_loss(batch)
        batch.draws = 0
        z = batch.draw(model.noise)
        rebuilt = model.g(encoded(images))
        izi = ((images - rebuilt) ** 2).mean()
        f = ((model.d.features(images) - model.d.features(rebuilt)) ** 2).mean()
        expected = {"izi": izi, "izi_f": izi + f, "ziz": ((z - encoded(model.g(z))) ** 2).mean()}[loss]
    assert abs(value - expected) < 1e-12


def test_region_overlap_is_its_definition():
    rng = np.random.default_rng(0)
    maps = torch.from_numpy(np.round(rng.random((3, 8, 9)), 1))  # with ties
    masks = torch.zeros(3, 8, 9, dtype=torch.bool)
    masks[0, 1:3, 1:4] = masks[0, 6, 6] = masks[1, 0, :] = True
    regions = [torch.zeros_like(masks) for _ in range(3)]
    regions[0][0, 1:3, 1:4], regions[1][0, 6, 6], regions[2][1, 0, :] = True, True, True
    points = [(0.0, 0.0)]
    for t in sorted(maps.unique().tolist(), reverse=True):
        found = maps >= t
        points.append(
            (float(found[~masks].double().mean()), float(np.mean([found[r].double().mean() for r in regions])))
        )
    grid = np.linspace(0, 0.3, 300_001)
    by_hand = np.trapezoid(np.interp(grid, *zip(*points)), grid) / 0.3
    assert abs(metrics.region_overlap(maps, masks) - by_hand) < 1e-5
    assert metrics.region_overlap(masks.double(), masks) == pytest.approx(1)
    with pytest.raises(ValueError, match="anomalous and normal pixels"):
        metrics.region_overlap(maps, torch.zeros_like(masks))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    options = dict(data="digits", preset="small", images=96, batch=16, gan_images=48, preview=0, quiet=True)
    return training.train("f_anogan", outdir=tmp_path_factory.mktemp("runs"), **options).folder


def test_the_command_writes_scores_maps_and_a_page(run, tmp_path, capsys):
    words = [
        "score",
        str(run),
        "digits:test",
        "--normal",
        "digits",
        "--normal-class",
        "0,1",
        "--n",
        "40",
        "-o",
        str(tmp_path / "s.csv"),
    ]
    cli.main([*words, "--maps", str(tmp_path / "maps")])
    rows = list(csv.DictReader((tmp_path / "s.csv").open()))
    numbers = json.loads((tmp_path / "s.json").read_text())
    assert len(rows) == 40 and {"image", "score", "steps", "anomalous", "truth"} == set(rows[0])
    truth, score = (np.array([float(row[key]) for row in rows]) for key in ("truth", "score"))
    assert abs(numbers["auroc"] - metrics.auroc(torch.from_numpy(score), torch.from_numpy(truth))) < 1e-3
    assert "svg" in (tmp_path / "s.html").read_text() and len(list((tmp_path / "maps").glob("*.png"))) == 40
    assert f"{numbers['auroc']:.4g}" in capsys.readouterr().out
    model = gankit.load(run)
    by_ones = anomaly.score_run(model, "digits:test", batch=7, limit=9)
    assert (by_ones.score - torch.from_numpy(score)[:9]).abs().max() < 1e-5


@pytest.mark.parametrize(
    "words, said",
    [
        (["photo:china"], "convert them first"),
        (["ring"], "no resolution"),
        (["digits:test", "--normal-class", "seven"], "there is no class 'seven'"),
        (["digits:test", "--normal", "digits", "--threshold", "1"], "use only one of them"),
        (["digits:test", "--fpr", "0.01"], "name them with --normal"),
        (["digits:test", "--normal", "digits", "--fpr", "2"], "rate is 2.0"),
        (["digits:test", "--threshold", "nan"], "--threshold is nan"),
        (["digits:test", "-o", "scores.txt"], "--output must end in .csv"),
    ],
)  # fmt: skip
def test_bad_input_gets_one_line(run, words, said, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["score", str(run), *words])
    assert left.value.code == 2 and said in capsys.readouterr().err


def test_a_model_that_does_not_score_says_so(tmp_path):
    other = training.train(
        "dcgan", data="digits", preset="small", images=16, batch=8, preview=0, outdir=tmp_path, quiet=True
    )
    with pytest.raises(ValueError, match="anogan and f_anogan do"):
        anomaly.score_run(gankit.load(other.folder), "digits:test")


def test_the_detector_has_scikit_learn_s_habits(tmp_path):
    from sklearn.base import clone

    rng = np.random.default_rng(0)
    images = (rng.random((60, 16, 16)) * 40).astype(np.uint8)
    detector = anomaly.Detector(
        images=256, outdir=str(tmp_path), contamination=0.1, options=dict(batch=16, gan_images=128, preview=0)
    )
    assert clone(detector).get_params()["contamination"] == 0.1
    with pytest.raises(ValueError, match="not fitted"):
        detector.predict(images)
    detector.fit(images)
    odd = np.full((5, 16, 16), 250, np.uint8)
    assert (detector.predict(odd) == -1).all()
    assert detector.score_samples(odd).max() < detector.score_samples(images).min()
    assert np.array_equal(detector.decision_function(images) < 0, detector.predict(images) == -1)
    with pytest.raises(ValueError, match="uint8 images"):
        detector.predict(images.astype(float))
    with pytest.raises(ValueError, match="cannot promise"):
        anomaly.Detector(contamination=0.01).fit(images)


def test_maps_keep_the_folders_of_their_images(run, tmp_path):
    for name in ("good/a.png", "bad/b.png"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(1).integers(0, 255, (16, 16), dtype=np.uint8)).save(path)
    cli.main(["score", str(run), str(tmp_path / "in"), "-o", str(tmp_path / "s.csv"), "--maps", str(tmp_path / "maps")])
    assert (tmp_path / "maps/good/a.png").exists() and (tmp_path / "maps/bad/b.png").exists()
    assert [row["truth"] for row in csv.DictReader((tmp_path / "s.csv").open())] == ["1", "0"]


def test_defects_are_where_their_map_says():
    dataset = data.open("textures:brick:defects", resolution=32)
    rows = dataset.rows(np.arange(40))
    plain = data.open("textures:brick:defects", resolution=32).rows(np.arange(40)[::-1].copy())
    assert torch.equal(rows["real"], plain["real"].flip(0)) and torch.equal(rows["mask"], plain["mask"].flip(0))
    share = rows["mask"].double().mean((1, 2))
    assert (share[::2] == 0).all() and (share[1::2] > 0.003).all() and (share < 0.25).all()
    assert set(rows["mask"].unique().tolist()) == {0, 1}


def test_built_in_sets_without_a_digit_and_of_faces():
    for k in (0, 7):
        labels = data.open(f"digits:without-{k}").labels
        assert set(labels.tolist()) == set(range(10)) - {k}
    few = data.open("digits:few")
    assert np.bincount(few.labels).tolist() == [10] * 10
    faces = data.open("lfw:test")
    assert np.bincount(faces.labels).tolist() == [30, 100] and faces.shape == (1, 32, 32)


def category(root, images="test/{kind}/{i:03}.png", maps="ground_truth/{kind}/{i:03}_mask.png", good="good"):
    """Two normal images and three of each of two kinds of defects: bright squares, as their maps say."""
    rng = np.random.default_rng(0)
    for kind in (good, "crack", "hole"):
        for i in range(2 if kind == good else 3):
            pixels = rng.integers(0, 60, (32, 48), dtype=np.uint8)
            mask = np.zeros((32, 48), np.uint8)
            if kind != good:
                mask[8 + i : 16 + i, 12:24] = 255
                pixels[mask > 0] = 250
            for pattern, content in ((images, pixels), (maps, mask)):
                if pattern == images or kind != good:
                    path = root / pattern.format(kind=kind, i=i)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(content).save(path)
    return root


@pytest.mark.parametrize(
    "images, maps, good",
    [
        ("test/{kind}/{i:03}.png", "ground_truth/{kind}/{i:03}_mask.png", "good"),  # MVTec AD
        ("test/{kind}/{i:04}.bmp", "ground_truth/{kind}/{i:04}.png", "ok"),  # BTAD
        ("test/{kind}/{i:03}.png", "ground_truth/{kind}/{i:03}/000.png", "good"),  # MVTec LOCO AD
        ("Data/Images/{kind}/{i:03}.JPG", "Data/Masks/{kind}/{i:03}.png", "Normal"),  # VisA
    ],
)
def test_maps_of_defects_are_found(run, tmp_path, images, maps, good, capsys):
    root = category(tmp_path / "bottle", images, maps, good)
    above = root / images.partition("/{")[0]
    for path in (above, above.parent):
        scores = anomaly.score_run(gankit.load(run), str(path))
        assert scores.anomalous.tolist() == [("crack" in n) or ("hole" in n) for n in scores.names] and not scores.notes
        assert (scores.masks.flatten(1).any(1) == scores.anomalous).all(), "good images have empty maps"
        assert scores.images[scores.masks[:, None]].double().mean() > 200, "maps are fitted as their images are"
        assert scores.images[~scores.masks[:, None]].double().mean() < 60
        assert {"auroc", "pixel_auroc", "pro"} <= anomaly.numbers(scores).keys()
    one = anomaly.score_run(gankit.load(run), str(above / "crack"))
    assert len(one) == 3 and one.masks.any() and one.anomalous.all()
    cli.main(["score", str(run), str(above), "-o", str(tmp_path / "s.csv")])
    assert "pixel_auroc" in json.loads((tmp_path / "s.json").read_text()) and "pro" in capsys.readouterr().out


def test_several_maps_of_an_image_are_one(run, tmp_path):
    root = category(tmp_path / "bottle", maps="ground_truth/{kind}/{i:03}/000.png")
    before = anomaly.score_run(gankit.load(run), str(root)).masks
    more = np.zeros((32, 48), np.uint8)
    more[-4:, 16:20] = 7
    Image.fromarray(more).save(root / "ground_truth/crack/001/001.png")
    after = anomaly.score_run(gankit.load(run), str(root)).masks
    changed = (before != after).flatten(1).any(1)
    assert changed.sum() == 1 and (after >= before).all()


def test_maps_that_are_missing_or_wrong_are_listed(run, tmp_path):
    root, model = category(tmp_path / "bottle"), gankit.load(run)
    (root / "ground_truth/crack/001_mask.png").unlink()
    scores = anomaly.score_run(model, str(root))
    assert scores.masks is None and scores.anomalous.sum() == 6 and "pixel_auroc" not in anomaly.numbers(scores)
    assert any("1 images of defects have no map" in note and "crack/001.png" in note for note in scores.notes)
    for path in (root / "ground_truth").rglob("*.png"):
        path.unlink()
    notes = anomaly.score_run(model, str(root / "test")).notes
    assert any("ground_truth/DEFECT/NAME_mask.png" in note for note in notes)
    category(root)
    (root / "ground_truth/crack/000_mask.png").write_bytes(b"no")
    Image.new("L", (48, 48)).save(root / "ground_truth/hole/000_mask.png")
    Image.new("L", (48, 32), 255).save(root / "ground_truth/hole/001_mask.jpg")
    (root / "ground_truth/hole/001_mask.png").unlink()
    with pytest.raises(data.BadFiles) as caught:
        anomaly.score_run(model, str(root))
    said = dict(caught.value.files)
    assert "not an image" in said["ground_truth/crack/000_mask.png"] and len(said) == 3
    assert "is 48x48 (height x width) and its image 32x48" in said["ground_truth/hole/000_mask.png"]
    assert "save label maps as PNG" in said["ground_truth/hole/001_mask.jpg"]
