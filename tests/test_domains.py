"""Two domains without pairs: rows are pure functions of position, drawn apart, from halves that share nothing."""

import itertools
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from gankit import cli, data, latent
from gankit.data import domains
from gankit.data.builtin import photos
from gankit.evaluation import sources
from gankit.training import log

BUILT_IN = ["digits-negative", "digits-edges", "colour-depth"]


@pytest.fixture(scope="module")
def opened():
    kept = {name: data.open(name, mirror=True) for name in BUILT_IN}
    return kept.__getitem__


@pytest.fixture
def folders(tmp_path):
    """A root with A/ (5 colour images of 20x16) and B/ (3 grey ones)."""
    rng = np.random.default_rng(0)
    for title, count, shape in (("A", 5, (20, 16, 3)), ("B", 3, (20, 16))):
        (tmp_path / "pics" / title).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.integers(256, size=shape, dtype=np.uint8)).save(tmp_path / "pics" / title / f"{i}.png")
    return tmp_path / "pics"


def joined(stream, n):
    rows = list(itertools.islice(stream, n))
    return {key: torch.cat([row[key] for row in rows]) for key in rows[0]}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("name", BUILT_IN)
def test_rows_depend_on_position_alone(opened, name):
    dataset = opened(name)
    start = len(dataset.a) - 13  # across the end of an epoch
    whole = joined(dataset.stream(start, 24, seed=5), 1)
    assert whole.keys() == {"a", "b"} and whole["a"].dtype == whole["b"].dtype == torch.uint8
    assert not equal(whole, joined(dataset.stream(start, 24, seed=6), 1))
    assert equal(whole, joined(dataset.stream(start, 6, seed=5), 4))
    parts = [joined(dataset.stream(start, 24, seed=5, rank=r, world=3), 1) for r in range(3)]
    assert equal(whole, {key: torch.cat([part[key] for part in parts]) for key in whole})
    assert equal(joined(data.ahead(dataset.stream(0, 4, seed=1), 2), 5), joined(dataset.stream(0, 4, seed=1), 5))
    stream = dataset.stream(0, 8, seed=2)
    assert equal([next(stream) for _ in range(3)][2], next(dataset.stream(16, 8, seed=2)))
    assert equal(stream.at(1), next(dataset.stream(8, 8, seed=2)))


def test_domains_are_drawn_apart_each_in_an_order_of_its_own():
    digits = data.open("digits")
    both = data.Domains("twice", digits, digits)
    rows = joined(both.stream(0, 1400, seed=3), 1)
    assert torch.equal(rows["a"], joined(digits.stream(0, 1400, seed=3), 1)["real"]), "a is what it is alone"
    assert torch.equal(rows["a"].flatten(1).sum(1).sort().values, rows["b"].flatten(1).sum(1).sort().values)
    assert (rows["a"] == rows["b"]).flatten(1).all(1).float().mean() < 0.02
    both.mirror = True
    flipped = joined(both.stream(0, 1400, seed=3), 1)
    turned = {key: (flipped[key] != rows[key]).flatten(1).any(1) for key in rows}
    for key in rows:
        assert 0.4 < turned[key].float().mean() < 0.6
        assert torch.equal(flipped[key][turned[key]], rows[key][turned[key]].flip(-1))
    assert 0.4 < (turned["a"] == turned["b"]).float().mean() < 0.6


def test_digits_and_their_negatives_or_edges_never_hold_one_digit_twice(opened):
    everything = {row.tobytes() for row in data.open("digits").rows(np.arange(1400))["real"].numpy()}
    negative, edges = opened("digits-negative"), opened("digits-edges")
    a = {row.tobytes() for row in negative.a.rows(np.arange(len(negative.a)))["real"].numpy()}
    b = {(255 - row).tobytes() for row in negative.b.rows(np.arange(len(negative.b)))["real"].numpy()}
    assert not a & b and a | b == everything and abs(len(a) - len(b)) < 10
    assert np.abs(np.bincount(negative.a.labels) - np.bincount(negative.b.labels)).max() <= 1
    pixels = 255 - negative.b.rows(np.arange(20))["real"].numpy()
    outlines = edges.b.rows(np.arange(20))["real"].numpy()
    for image, outline in zip(pixels[:, 0].astype(int), outlines[:, 0]):
        for y, x in itertools.product(range(16), range(16)):
            around = image[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
            assert outline[y, x] == around.max() - image[y, x]
    assert np.array_equal(edges.b.labels, negative.b.labels)


def test_depth_is_whole_and_of_the_other_half_of_the_picture(opened, monkeypatch):
    dataset = data.open("colour-depth", resolution=32)
    assert dataset.shape == dataset.other == (3, 32, 32) and len(dataset.a) == (500 - 31) * (370 - 31)
    left = photos._stereo()[0][:, :, :370]
    assert np.array_equal(dataset.a.rows(np.array([0]))["real"][0].numpy(), left[:, :32, :32])
    b = dataset.b.rows(np.arange(0, len(dataset.b), 997))["real"]
    assert (b[:, :1] == b).all() and b.max() > 200 and b.min() < 60
    disparity = np.arange(12.0).reshape(2, 6) + 1
    disparity[0, 4], disparity[1, 3] = np.nan, np.inf
    monkeypatch.setattr(photos, "_stereo", lambda: (np.zeros((3, 2, 6), np.uint8), disparity))
    depth = data.open("colour-depth", resolution="2x3").b.rows(np.array([0]))["real"][0, 0]
    known = (
        np.array([[4, 4, 6], [9, 11, 12]]) - 1
    )  # of 1 to 12; each unknown one is its left neighbour, beyond the middle, too
    assert np.array_equal(depth.numpy(), np.round(known * 255 / 11).astype(np.uint8))


def test_folders_are_found_by_name(folders, tmp_path):
    dataset = data.open(folders)
    assert (dataset.kind, dataset.shape, dataset.other, dataset.name) == ("domains", (3, 20, 16), (1, 20, 16), "pics")
    assert len(dataset) == 8 and {k: v.shape[0] for k, v in next(dataset.stream(0, 6)).items()} == {"a": 6, "b": 6}
    typed = data.open(f"{folders}/A,{folders}/B")
    assert typed.fingerprint == dataset.fingerprint and typed.name == "A-B"
    assert data.open(folders, mirror=True).fingerprint != dataset.fingerprint
    shutil.copytree(folders, tmp_path / "split")
    for title in "AB":
        (tmp_path / "split" / title).rename(tmp_path / "split" / f"train{title}")
    (tmp_path / "split" / "testA").mkdir()
    assert data.open(tmp_path / "split").fingerprint == dataset.fingerprint
    assert data.open(folders, resolution="10x8", fit="squash").shape == (3, 10, 8)
    assert data.open("digits,digits:test").other == (1, 16, 16)
    (folders / "C").mkdir()
    Image.new("RGB", (16, 20)).save(folders / "C" / "0.png")
    assert data.open(folders).class_names == ["A", "B", "C"], "three folders are classes"
    assert domains.split("digits") is None and domains.split(folders) is None


def test_streams_of_folders_fit_and_shrink(folders):
    rows = next(data.open(folders, resolution=16).stream(0, 4, resolution=8))
    assert rows["a"].shape == (4, 3, 8, 8) and rows["b"].shape == (4, 1, 8, 8)


@pytest.mark.parametrize(
    "break_it, said",
    [
        (lambda root: shutil.rmtree(root / "B"), "put|classes|holds images"),
        (lambda root: [p.unlink() for p in (root / "B").iterdir()], r"B: there are no images .*found: nothing"),
        (lambda root: Image.new("L", (32, 32)).save(root / "B" / "9.png"), r"B: the images have 2 sizes.*--resolution"),
        (lambda root: (root / "A" / "0.png").write_bytes(b"no"), r"A: 1 of 5 files cannot be used"),
    ],
)
def test_what_is_wrong_with_a_domain_is_said(folders, break_it, said):
    from gankit import models
    from gankit.training import Settings
    from gankit.training.setup import check_data

    break_it(folders)
    with pytest.raises(ValueError, match=said):
        check_data(models.find("cogan"), data.open(folders), Settings(data=str(folders)))


def test_unlike_domains_are_refused_with_what_to_type(folders):
    with pytest.raises(ValueError, match=r"A's images are 16x16 .* B's 20x16; both need one size, say --resolution 16"):
        data.open(f"digits,{folders}/B")
    with pytest.raises(ValueError, match="A holds points, and domains hold images"):
        data.open("ring,grid")
    with pytest.raises(ValueError, match="holds two domains itself"):
        data.open("digits,digits-negative")
    for text in ("digits,", ",digits", "a,b,c"):
        with pytest.raises(ValueError, match="is not two names.*photos,paintings"):
            data.open(text)
    with pytest.raises(ValueError, match="there is no data 'digit'.*did you mean digits"):
        data.open("digit,digits")


def test_models_of_one_domain_and_of_two_say_what_they_learn_from(folders):
    from gankit import models
    from gankit.training import Settings
    from gankit.training.setup import check_data

    with pytest.raises(
        ValueError, match="dcgan learns from images or points|dcgan learns from images.*--data .*pics/A"
    ):
        check_data(models.find("dcgan"), data.open(folders), Settings(data=str(folders)))
    with pytest.raises(
        ValueError, match="cogan learns from domains; digits holds images. Two domains are one folder with A/"
    ):
        check_data(models.find("cogan"), data.open("digits"), Settings(data="digits"))


def test_the_command_describes_and_lays_out_both(folders, tmp_path, capsys):
    cli.main(["data", str(folders), "--sheet", str(tmp_path / "sheet.png")])
    said = capsys.readouterr().out
    assert "8 images of two domains" in said and "domains: A (5), B (3)" in said and "20x16 (8)" in said
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape[2] == 3
    rows = next(data.open(folders).stream(0, 50))
    scale = 64 // 20
    for row, (key, i) in enumerate([("a", 0), ("b", 0), ("a", 10), ("b", 10)]):
        y = row * (20 * scale + 2) + 1
        expected = rows[key][i].expand(3, -1, -1).permute(1, 2, 0).numpy().repeat(scale, 0).repeat(scale, 1)
        assert np.array_equal(sheet[y : y + 20 * scale, 1 : 1 + 16 * scale], expected)
    (folders / "B" / "bad.png").write_bytes(b"no")
    report = data.describe(str(folders))
    assert report.bad[0][0].startswith("B: ") and report.count == 8


def test_models_of_two_domains_are_held_against_the_first(folders):
    source = sources.of_data("digits-negative")
    assert (source.kind, source.count, source.data, source.classes) == ("images", 703, "digits", 10)
    assert sources.of_data(str(folders)).shape == (3, 20, 16) and sources.of_data(f"{folders}/B,{folders}/A").shape == (
        1,
        20,
        16,
    )


def test_pictures_of_two_domains_stand_one_above_the_other(folders):
    reals = log.reals(data.open(folders), 3, seed=0)
    rows = next(data.open(folders).stream(0, 3, seed=0))
    assert torch.equal(reals[:, :, :20], data.normalise(rows["a"]))
    assert torch.equal(reals[:, :, 20:], data.normalise(rows["b"]).expand(-1, 3, -1, -1))
    see_through = latent.above(torch.zeros(1, 4, 2, 2), torch.zeros(1, 1, 2, 2))
    assert see_through.shape == (1, 4, 4, 2) and (see_through[:, 3, 2:] == 1).all()
