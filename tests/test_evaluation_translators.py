"""Evaluation of models that translate and segment: values by another route, inputs that were held out, and reasons."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import gankit
from gankit import data, evaluation, metrics, report, training
from gankit.data.builtin import shapes
from gankit.evaluation import catalogue, translations
from gankit.evaluation.families import attributes, segmentation, translation
from gankit.evaluation.subject import Subject
from gankit.recipe import Recipe, seeded
from gankit.runs.files import read_tensors
from gankit.training.setup import spec_of


class Fixed(Recipe):
    """A recipe whose one weight teaches it nothing, in place of a trained model."""

    def __init__(self, spec):
        super().__init__(spec)
        self.weight = nn.Parameter(torch.zeros(1))
        self.opt = {"g": torch.optim.SGD([self.weight], 0.0)}

    def step(self, batch, run):
        run.update("g", lambda piece: (self.weight.square().sum(), {}), batch)


class Negative(Fixed):
    """The true translation of digits-negative, and in the other direction half of it; a random number is added."""

    data = "domains"

    def noise(self, n, height, width):
        return torch.rand(n, 1) * 0.1

    def translate(self, images, to, z):
        return -images * (0.5 if to == "a" else 0.9) + z.view(-1, 1, 1, 1)


class Grey(Fixed):
    """Gives the greys of one side for the colours of the other."""

    data = "pairs"

    def translate(self, images):
        return images.expand(-1, self.spec.other[0], -1, -1)


class Painter(Fixed):
    """Paints drawings in the colour that is asked for, and leaves them alone when a size is."""

    paints = torch.tensor(list(shapes.COLOURS.values()))

    def translate(self, images, attribute, source=0):
        if source == 1:
            return images
        paint = self.paints[attribute[:, : len(self.paints)].argmax(1)].to(images)
        return (images.amax(1, keepdim=True) + 1) / 2 * paint.view(-1, 3, 1, 1) / 127.5 - 1


class Threshold(Fixed):
    """Takes a pixel for the class that its brightness says."""

    data = "masks"

    def segment(self, images):
        return (images.mean(1) > 0).long()


def trials_of(kind, name, held="", side=None):
    """What there is to judge of a recipe of this kind, built for this data."""
    opened = [data.open(n, side, want=kind.data.split()[0]) if n else None for n in (name, held)]
    return translations.translator_trials(kind(spec_of(opened[0])).eval(), "it", "none", *opened, typed=name)


def subject(trial, n=40, **more):
    return Subject(*trial, None, n, **more)


def by_name(scores):
    return {score.name: score for score in scores}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GANKIT_OFFLINE", "1")
    return tmp_path


def train(kind, name, **more):
    return training.train(kind, **dict(data=name, images=16, batch=8, preview=0, ema=0, quiet=True) | more)


def test_both_ways_of_two_domains_are_judged_on_held_out_images(here):
    said = []
    run = train(Negative, "digits-negative")
    scores = by_name(gankit.evaluate(run.folder, model=Negative, n=100, say=said.append))
    assert {"cycle_ab", "cycle_ba", "fd_digits_ab", "fd_digits_ba", "label_kept_ab"} <= scores.keys() and not said
    held = data.open("digits-negative:test")
    count = min(100, len(held.a))
    assert scores["cycle_ab"].n_fake == count
    # The same by hand: image i of the choice, and a random number that depends only on the seed and i.
    order = np.random.default_rng(0).permutation(len(held.a))[:count]
    real = data.normalise(held.a.rows(order)["real"])
    z = []
    for i in range(count):
        with seeded(0, i):
            z.append(torch.rand(1, 1) * 0.1)
    z = torch.cat(z).view(-1, 1, 1, 1)
    fake = -real * 0.9 + z
    there, twice = (data.normalise(data.quantise(x)) for x in (fake, -fake * 0.5 + z))
    assert scores["cycle_ab"].value == pytest.approx(float((twice - real).abs().mean()), rel=1e-5)
    assert scores["label_kept_ab"].value == metrics.accuracy(metrics.classify(-fake), metrics.classify(real)) > 0.9
    # fd of b is that of what the classifier of digits knows: the negatives of the negatives.
    learned = data.open("digits-negative").b
    numbers = (
        np.arange(len(learned))
        if len(learned) <= 100
        else np.sort(np.random.default_rng(0).permutation(len(learned))[:100])
    )
    reals = -data.normalise(learned.rows(numbers)["real"])
    x, y = metrics.features(reals), metrics.features(-there)
    assert scores["fd_digits_ab"].value == pytest.approx(metrics.frechet_distance(x, y), rel=1e-4)
    lines = evaluation.read(run.folder / "evaluations.jsonl")
    assert {line["fake"]["way"] for line in lines} == {"a to b", "b to a"}
    assert all(
        line["fake"]["inputs"] == {"data": held.name, "fingerprint": held.fingerprint, "held_out": True}
        for line in lines
    )
    page = report.write(run.folder).read_text()
    assert {"translations.png", "translations-ba.png"} <= {p.name for p in (run.folder / "evaluation").iterdir()}
    assert "<b>cycle_ba</b>" in page and "the same from b to a" in page


def test_neither_batch_nor_count_changes_a_translation(here):
    fake = trials_of(Negative, "digits-negative", "digits-negative:test")[0].fake
    whole = fake.read(np.arange(40))[0]
    assert torch.equal(torch.cat([fake.read(np.arange(i, i + 8))[0] for i in range(0, 40, 8)]), whole)
    assert torch.equal(fake.read(np.array([37, 3]))[0], whole[[37, 3]])


def test_training_images_are_said_to_be_such_and_other_inputs_are_other_numbers(here):
    run = train(Negative, "digits-negative")
    for _, held in enumerate(("digits-negative", "digits-negative:test")):
        with_ = gankit.evaluate(run.folder, model=Negative, metrics="cycle", n=50, held_out=held)
        assert translations.NO_INPUTS not in with_[0].note
    assert len([line for line in evaluation.compare([str(run.folder)]) if line.name == "cycle_ab"]) == 2
    for x, sign in (("A", 1), ("B", -1)):
        (here / "two" / x).mkdir(parents=True)
        for i in range(6):
            pixels = np.random.default_rng(i).integers(0, 255, (16, 16), dtype=np.uint8)
            Image.fromarray(pixels[::sign]).save(here / "two" / x / f"{i}.png")
    run = train(Negative, str(here / "two"))
    scores = gankit.evaluate(run.folder, model=Negative, metrics="cycle")
    assert all(translations.NO_INPUTS in score.note for score in scores) and scores[0].n_fake == 6
    assert not evaluation.read(run.folder / "evaluations.jsonl")[-1]["fake"]["inputs"]["held_out"]
    said = []
    usual = by_name(
        gankit.evaluate(run.folder, model=Negative, say=said.append)
    )  # there is no Inception here, and nobody asked for it
    assert (
        {"cycle_ab", "cycle_ba"} == usual.keys()
        and len(said) == 1
        and said[0].startswith("fd, kd, precision, density cannot be computed: pt_inception")
    )
    named = by_name(gankit.evaluate(run.folder, model=Negative, metrics="fd,cycle,ms_ssim", say=said.append))
    assert {"cycle_ab", "cycle_ba", "ms_ssim_ab"} <= named.keys() and not any("fd" in name for name in named)
    assert len(said) == 2 and said[1].startswith("fd cannot be computed: pt_inception")
    with pytest.raises(ValueError, match="fd cannot be computed: pt_inception"):
        gankit.evaluate(run.folder, model=Negative, metrics="fd")
    for x in "AB":  # exact copies would not be learned from
        (here / "two" / f"test{x}").mkdir()
        for path in (here / "two" / x).iterdir():
            Image.open(path).transpose(Image.Transpose.TRANSPOSE).save(here / "two" / f"test{x}" / path.name)
    run = train(Negative, str(here / "two"))
    assert translations.NO_INPUTS not in gankit.evaluate(run.folder, model=Negative, metrics="cycle")[0].note


def test_pairs_are_held_against_their_targets(here):
    run = train(Grey, "photo-grey", resolution="32")
    scores = by_name(gankit.evaluate(run.folder, model=Grey, metrics="l1,psnr,ssim", n=30))
    assert scores.keys() == {"l1", "psnr", "ssim"}
    held = data.open("photo-grey:test", 32, want="pairs")
    order = np.random.default_rng(0).permutation(len(held))[:30]
    a, b = (data.normalise(side.rows(order)["real"]) for side in (held.a, held.b))
    a = a.expand(-1, 3, -1, -1)
    assert scores["l1"].value == pytest.approx(float((a - b).abs().mean()), rel=1e-5)
    assert scores["psnr"].value == pytest.approx(float(metrics.psnr(a, b).mean()), rel=1e-6)
    assert scores["ssim"].value == pytest.approx(float(metrics.ssim(a, b).mean()), rel=1e-6)
    error = float((a - b).abs().mean((1, 2, 3)).std()) / math.sqrt(30)
    assert scores["l1"].error == pytest.approx(error, rel=1e-5)
    with pytest.raises(ValueError, match="cycle does not apply: the model does not translate both ways"):
        gankit.evaluate(run.folder, model=Grey, metrics="cycle")
    with pytest.raises(ValueError, match="fcn_score does not apply: the inputs are not coloured label maps"):
        gankit.evaluate(run.folder, model=Grey, metrics="fcn_score")
    with pytest.raises(ValueError, match="ppl does not apply: it needs the latents of a generator"):
        gankit.evaluate(run.folder, model=Grey, metrics="ppl")
    with pytest.raises(ValueError, match="has images of 3 channels where it takes 1"):
        translations.translator_trials(
            run.recipe, "it", "none", None, data.Domains("swapped", held.b, held.a, kind="pairs")
        )


def test_attributes_asked_for_and_kept(here, monkeypatch):
    monkeypatch.setattr(attributes, "FIT_IMAGES", 600)
    names = "shapes:colours+shapes:sizes", "shapes:colours:test+shapes:sizes:test"
    trial = trials_of(Painter, *names, side=24)[0]
    numbers = np.arange(200)
    asked, own = trial.fake.attributes.known(numbers), trial.fake.inputs.attributes.known(numbers)
    colours = slice(0, len(shapes.COLOURS))
    assert (
        (own.attribute[own.source == 0][:, -1]).isnan().all()
        and (own.attribute[own.source == 1][:, colours]).isnan().all()
    )
    for source, other in ((0, slice(len(shapes.COLOURS), None)), (1, colours)):
        rows = asked.source == source
        assert 60 < int(rows.sum()) < 140 and asked.attribute[rows][:, other].isnan().all()
        assert int(((own.source == 0) & rows).sum()) > 20  # of one set the attributes of the other are asked for, too
    rows = asked.source == 0
    assert (asked.attribute[rows][:, colours].sum(1) == 1).all() and (
        asked.attribute[rows].gather(1, asked.which[rows, None]) == 1
    ).all()
    home = rows & (own.source == 0)
    assert not (asked.attribute[home][:, colours] == own.attribute[home][:, colours]).all(1).any()
    again = trial.fake.attributes.known(numbers[::-1].copy())
    assert torch.equal(again.which.flip(0), asked.which)

    found = by_name(attributes.attributes(subject(trial, 300)))
    assert all(found[f"asked_{name}"].value > 0.9 for name in shapes.COLOURS)
    assert found["kept"].value > 0.85 and found["asked_large"].value < 0.75 and found["kept_red"].value > 0.85
    assert float(found["asked"].note.split()[0]) < 0.45 < 0.6 < found["asked"].value < 0.9


def people(n=120):
    """Noise with attributes as CelebA's, of which hair has one colour at most."""
    rng = np.random.default_rng(0)
    hair = np.eye(4, dtype=np.float32)[rng.integers(0, 4, n)][:, :3]
    attributes = np.concatenate([hair, rng.integers(0, 2, (n, 2)).astype(np.float32)], 1)
    images = rng.integers(0, 255, (n, 3, 8, 8), dtype=np.uint8)
    names = ["Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young"]
    return data.Dataset(
        "people", "images", (3, 8, 8), n, lambda i: images[i], "p", attributes=attributes, attribute_names=names
    )


class Chooses(Fixed):
    """A model that learned three of the attributes, and leaves images as they are."""

    columns = [0, 1, 4]

    def translate(self, images, attribute):
        assert attribute.shape == (len(images), 3)
        return images


def test_one_colour_of_hair_is_asked_for_at_a_time(here):
    for kind, count in ((Painter, 5), (Chooses, 3)):
        known = people()
        trial = translations.translator_trials(kind(spec_of(known)).eval(), "it", "0", known, None)[0]
        numbers = np.arange(100)
        asked, own = trial.fake.attributes.known(numbers), trial.fake.inputs.attributes.known(numbers)
        hair = count - 2 if count == 5 else 2
        assert asked.attribute.shape == (100, count) and (asked.attribute[:, :hair].sum(1) <= 1).all()
        assert (asked.attribute.gather(1, asked.which[:, None]) != own.attribute.gather(1, asked.which[:, None])).all()
        changed = (asked.attribute != own.attribute).sum(1)
        assert (changed[asked.which >= hair] == 1).all() and set(asked.which.tolist()) == set(range(count))
    assert len(trial.fake.read(numbers[:5])[0]) == 5 and trial.real.attributes.names == (
        "Black_Hair",
        "Blond_Hair",
        "Young",
    )


def faces(n=300):
    """Two bars whose brightness is the intensity of an action unit each, 0 to 5 as OpenFace gives them."""
    level = torch.rand(n, 2, generator=torch.Generator().manual_seed(0))
    images = (
        (level[:, None, :, None] * 255)
        .round()
        .repeat_interleave(6, 2)
        .expand(-1, 3, -1, 12)
        .to(torch.uint8)
        .contiguous()
    )
    return dataset("faces", images, attributes=(level * 5).numpy(), attribute_names=["AU01", "AU12"])


class Moves(Fixed):
    """Gives the first action unit the intensity that is asked for, and leaves the second one as it is."""

    def translate(self, images, attribute):
        out = images.clone()
        out[:, :, :6] = (attribute[:, :1] / 5 * 2 - 1)[:, None, None]
        return out


def test_degrees_that_were_asked_for_are_found_again(here, monkeypatch):
    known = faces()
    trial = translations.translator_trials(Moves(spec_of(known)).eval(), "it", "0", known, known)[0]
    assert trial.fake.attributes.is_continuous
    found = by_name(attributes.attributes(subject(trial, 200)))
    assert found["asked_AU01"].value > 0.9 > 0.3 > abs(found["asked_AU12"].value)
    assert found["asked"].value == pytest.approx((found["asked_AU01"].value + found["asked_AU12"].value) / 2)
    assert float(found["asked"].note.split("; ")[1].split()[0]) > 0.9  # the network's view of the inputs


def test_degrees_are_correlated(here):
    asked = torch.rand(500, 3, generator=torch.Generator().manual_seed(0))
    found = torch.stack([asked[:, 0] * 0.3 + 0.2, -asked[:, 1], torch.rand(500)], 1)
    values = metrics.correlation(asked, found)
    assert values[:2].tolist() == pytest.approx([1, -1], abs=1e-6) and abs(float(values[2])) < 0.15
    assert values[2] == pytest.approx(np.corrcoef(asked[:, 2], found[:, 2])[0, 1], abs=1e-6)


def test_a_network_learns_degrees_and_what_is_not_known_teaches_nothing():
    generator = torch.Generator().manual_seed(0)
    level = torch.rand(400, 2, generator=generator)
    images = torch.randn(400, 1, 12, 12, generator=generator) * 0.2
    images[:, :, :6] += level[:, :1, None, None] * 2 - 1
    images[:, :, 6:] += level[:, 1:, None, None] * 2 - 1
    half = level.clone()
    half[::2, 0] = torch.nan
    found = metrics.fit_attributes(images[:300], half[:300], epochs=15)(images[300:])
    assert metrics.correlation(found, level[300:]).min() > 0.9
    half[::2, 0], wrong = torch.nan, half.clone()
    wrong[::2, 0] = torch.nan
    assert torch.equal(
        metrics.fit_attributes(images, wrong, epochs=1)(images[:9]),
        metrics.fit_attributes(images, half, epochs=1)(images[:9]),
    )
    with pytest.raises(ValueError, match="numbers from 0 to 1"):
        metrics.fit_attributes(images, level * 5)
    with pytest.raises(ValueError, match="nothing is known of an attribute"):
        metrics.fit_attributes(images, torch.full((400, 1), torch.nan))


class Tints(Fixed):
    """Gives an image half of the style's mean colour, which is all that its statistics know."""

    data = "domains"

    def translate(self, images, styles):
        assert len(images) == len(styles) == 1
        return images + (styles.mean((2, 3), keepdim=True) - images.mean((2, 3), keepdim=True)) / 2

    def statistics(self, images):
        return [(images.mean((2, 3), keepdim=True), images[:, :, :1, :1] * 0)]


def test_styles_are_held_against_what_they_were_to_be(here):
    trial = trials_of(Tints, "digits-negative")[0]
    assert by_name(translation.style(subject(trial, 30)))["style"].value == pytest.approx(0.25, abs=1e-4)
    styles = trial.fake.styles.read(np.arange(trial.fake.count))[0]
    assert len(styles) == trial.fake.inputs.count and not torch.equal(styles[0], styles[1])


def scenes(n, seed):
    """(N, 16, 16) classes, (N, 3, 16, 16) label maps of three colours, and photographs: the colours with noise."""
    generator = torch.Generator().manual_seed(seed)
    label = (torch.rand(n, 1, 4, 4, generator=generator) * 3).long()
    label = torch.nn.functional.interpolate(label.float(), scale_factor=4)[:, 0].long()
    paint = torch.tensor([[200, 40, 40], [40, 200, 40], [40, 40, 200]], dtype=torch.uint8)
    maps = paint[label].permute(0, 3, 1, 2).contiguous()
    photographs = (
        (maps.float() * 0.5 + torch.randn(n, 3, 16, 16, generator=generator) * 12 + 60).clamp(0, 255).to(torch.uint8)
    )
    return label, maps, photographs


def dataset(name, images, **more):
    read = images.numpy()
    return data.Dataset(
        name, more.pop("kind", "images"), tuple(images.shape[1:]), len(images), lambda i: read[i], name, **more
    )


def scene_pairs(seed, n=60):
    label, maps, photographs = scenes(n, seed)
    return data.Domains(
        f"scenes{seed}", dataset(f"maps{seed}", maps), dataset(f"photographs{seed}", photographs), kind="pairs"
    )


class Same(Fixed):
    """Photographs as the label maps are coloured, or all of one colour."""

    data = "pairs"

    def translate(self, images):
        return images * 0.5 if self.weight == 0 else torch.zeros_like(images)


def test_fcn_score_of_photographs_that_show_their_labels_and_of_others(here):
    train_, held = scene_pairs(0, 100), scene_pairs(1)
    recipe = Same(spec_of(train_)).eval()
    values = {}
    for weight in (0.0, 1.0):
        nn.init.constant_(recipe.weight, weight)
        trial = translations.translator_trials(recipe, "it", f"{weight}", train_, held)[0]
        assert trial.fake.colours.shape == (3, 3)
        values[weight] = by_name(segmentation.fcn_score(subject(trial)))["fcn_mean_iou"]
    assert float(values[0.0].note.split()[0]) > 0.8
    assert values[0.0].value > 0.7 > 0.3 > values[1.0].value
    # A segmenter that numbers its classes otherwise, as another run may, is matched on real photographs.
    order = torch.tensor([2, 0, 1])
    paint = trial.fake.colours * 0.5 - 0.15
    net = lambda images: order[torch.cdist(images.flatten(2).transpose(1, 2), paint).argmin(2).view(-1, 16, 16)]  # noqa: E731
    nn.init.zeros_(recipe.weight)
    trial = translations.translator_trials(recipe, "it", "0", train_, held)[0]
    assert by_name(segmentation.fcn_score(subject(trial, segmenter=net)))["fcn_mean_iou"].value > 0.8
    with pytest.raises(ValueError, match="no photographs with label maps"):
        list(segmentation.fcn_score(subject(trial._replace(real=None))))
    with pytest.raises(ValueError, match="finds class 7"):
        list(segmentation.fcn_score(subject(trial, segmenter=lambda images: torch.full((len(images), 16, 16), 7))))


def test_label_maps_are_judged_by_one_confusion_without_void(here):
    label, _, _ = scenes(30, 0)
    label = (label > 0).to(torch.uint8)
    images = (label * 255)[:, None].repeat(1, 3, 1, 1)
    truth = label.clone()
    truth[::3, :8] = 1 - truth[::3, :8]  # a third of the images: half of the pixels wrong
    truth[1::3, 12:] = 255
    known = data.Dataset(
        "marked",
        "masks",
        (3, 16, 16),
        30,
        lambda i: images.numpy()[i],
        "m",
        class_names=["ground", "thing"],
        masks=lambda i: truth.numpy()[i],
    )
    trial = translations.translator_trials(Threshold(spec_of(known)).eval(), "it", "0", known, None)[0]
    found = by_name(segmentation.segmentation(subject(trial, batch=7)))
    there = truth != 255
    right = (label == truth) & there
    assert found["pixel_accuracy"].value == pytest.approx(float(right.sum()) / float(there.sum()), abs=1e-12)
    ious = [float((right & (truth == k)).sum()) / float((((truth == k) | (label == k)) & there).sum()) for k in (0, 1)]
    accuracies = [float((right & (truth == k)).sum()) / float((truth == k).sum()) for k in (0, 1)]
    assert found["mean_iou"].value == pytest.approx(sum(ious) / 2, abs=1e-12)
    assert found["class_accuracy"].value == pytest.approx(sum(accuracies) / 2, abs=1e-12)
    assert f"thing {ious[1]:.3f}" in found["mean_iou"].note
    for name, metric in evaluation.METRICS.items():
        reason = catalogue.missing(metric, subject(trial))
        assert bool(reason) == (name != "segmentation"), name


def test_evaluation_while_training_touches_nothing(here):
    asked = dict(evaluate="cycle,fd", evaluate_every=8, evaluate_n=30)
    with_, without = (train(Negative, "digits-negative", **more) for more in (asked, {}))
    tensors = [read_tensors(run.folder / "state.safetensors")[0] for run in (with_, without)]
    for name, value in tensors[1].items():
        assert torch.equal(tensors[0][name], value), name
    lines = evaluation.read(with_.folder / "evaluations.jsonl")
    assert [line["fake"]["images"] for line in lines if line["name"] == "cycle_ab"] == [8, 16]
    assert {line["name"] for line in lines} == {"cycle_ab", "cycle_ba", "fd_digits_ab", "fd_digits_ba"}
    by_hand = by_name(gankit.evaluate(with_.folder, model=Negative, metrics="fd", n=30))
    assert by_hand["fd_digits_ba"].value == pytest.approx(
        next(line["value"] for line in lines if line["name"] == "fd_digits_ba"), rel=1e-6
    )
    with pytest.raises(ValueError, match="--evaluate segmentation does not apply: the model does not segment"):
        train(Negative, "digits-negative", evaluate="segmentation")
