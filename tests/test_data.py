"""Streams are pure functions of position; the built-in sets are what they say."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from gankit import data
from gankit.data import draws
from gankit.data.builtin import digits
from gankit.recipe import mix

STREAMED = ["digits", "stacked-digits", "photo:china", "shapes", "ring"]


@pytest.fixture(scope="module")
def opened():
    """Built-in sets by name, opened once; images are mirrored."""
    cache = {}

    def get(name):
        if name not in cache:
            cache[name] = data.open(name, mirror=name not in ("ring", "grid", "swissroll"))
        return cache[name]

    return get


def joined(batches, n):
    rows = list(itertools.islice(batches, n))
    return {key: torch.cat([row[key] for row in rows]) for key in rows[0]}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("name", STREAMED)
def test_rows_depend_on_position_alone(opened, name):
    dataset = opened(name)
    start = len(dataset) - 30  # across the end of an epoch
    whole = joined(dataset.stream(start, 60, seed=5), 1)
    assert not equal(whole, joined(dataset.stream(start, 60, seed=6), 1))
    assert equal(whole, joined(dataset.stream(start, 12, seed=5), 5))
    assert equal(whole, joined(dataset.stream(start, 1, seed=5), 60))
    for world in (2, 3, 7):
        parts = [joined(dataset.stream(start, 60, seed=5, rank=r, world=world), 1) for r in range(world)]
        assert equal(whole, {key: torch.cat([part[key] for part in parts]) for key in whole})


@pytest.mark.parametrize("name", STREAMED)
def test_a_stream_begun_later_goes_on_the_same(opened, name):
    dataset = opened(name)
    stream = dataset.stream(0, 16, seed=1)
    for i in range(6):
        assert equal(next(stream), next(dataset.stream(16 * i, 16, seed=1)))
    assert equal(stream.at(2), next(dataset.stream(32, 16, seed=1)))


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_ahead_gives_the_same_batches(opened, threads):
    stream = opened("digits").stream(0, 8, seed=3)
    fetched = joined(data.ahead(opened("digits").stream(0, 8, seed=3), threads), 20)
    assert equal(fetched, joined(stream, 20))


def test_ahead_passes_errors_on(opened):
    dataset = data.open("digits")

    def broken(numbers):
        raise OSError("the disk went away")

    dataset.read = broken
    with pytest.raises(OSError, match="went away"):
        next(data.ahead(dataset.stream(0, 8), 2))


def test_an_epoch_holds_every_row_once_in_an_order_of_its_own(opened):
    dataset, n = opened("digits"), 1400
    first, second = (dataset.numbers(np.arange(n) + e * n, seed=1) for e in range(2))
    assert sorted(first) == sorted(second) == list(range(n))
    assert (first != second).mean() > 0.9
    assert (first != dataset.numbers(np.arange(n), seed=2)).mean() > 0.9
    assert (first != np.arange(n)).mean() > 0.9


def test_mirror_flips_half_the_images_by_position(opened):
    dataset, plain = opened("digits"), data.open("digits")
    flipped, straight = next(dataset.stream(0, 1400))["real"], next(plain.stream(0, 1400))["real"]
    is_flipped = (flipped == straight.flip(-1)).flatten(1).all(1)
    assert ((flipped == straight).flatten(1).all(1) | is_flipped).all()
    assert 0.45 < is_flipped.float().mean() < 0.55
    assert dataset.fingerprint != plain.fingerprint


@pytest.mark.parametrize("mirror", [False, True])
def test_smaller_resolutions_are_means_of_the_same_rows(mirror):
    dataset = data.open("photo:china", resolution="48x96", mirror=mirror)
    whole = next(dataset.stream(100, 20, seed=2))["real"]
    assert torch.equal(whole, next(dataset.stream(100, 20, resolution=48, seed=2))["real"])
    for side, factor in ((24, 2), (16, 3), (4, 12), (1, 48)):
        small = next(dataset.stream(100, 20, resolution=side, seed=2))["real"]
        blocks = whole.double().unfold(2, factor, factor).unfold(3, factor, factor)
        assert small.shape == (20, 3, side, 2 * side) and small.dtype == torch.uint8
        assert (small - blocks.mean((-1, -2))).abs().max() <= 0.5 + 1e-6


@pytest.mark.parametrize(
    "wrong",
    [
        dict(start=-1),
        dict(batch=0),
        dict(rank=1),
        dict(rank=-1),
        dict(world=0),
        dict(batch=2, world=3),
        dict(resolution=5),
    ]
    + [dict(resolution=32), dict(resolution=0), dict(resolution=-4)],
)
def test_impossible_streams_are_refused_at_once(opened, wrong):
    with pytest.raises(ValueError, match="no stream|divide"):
        opened("digits").stream(**dict(start=0, batch=4) | wrong)
    with pytest.raises(ValueError, match="no resolution"):
        opened("ring").stream(0, 4, resolution=8)


def test_pixels_survive_both_borders():
    pixels = torch.arange(256, dtype=torch.uint8)
    for dtype in (torch.float32, torch.float64):
        images = data.normalise(pixels, dtype)
        assert images.dtype == dtype and images.min() == -1 and images.max() == 1
        assert torch.equal(data.quantise(images), pixels)
    assert data.quantise(torch.tensor([-3.0, -1.0, 0.0, 1.0, 7.0])).tolist() == [0, 0, 128, 255, 255]


def test_draws_are_fixed_and_even():
    numbers = np.arange(200_000)
    assert draws.bits(7, np.arange(3)).tolist() == [draws.bits(7, i).item() for i in range(3)]
    assert draws.bits(1, 2).tolist() != draws.bits(2, 1).tolist()
    assert draws.bits(-1).tolist() == draws.bits(2**64 - 1).tolist()
    assert draws.bits(1, 2, 3).item() == 15020427595393229491  # any other number would change every run's order
    assert draws.bits(-4, 2**64, 5).item() >> 1 == mix(-4, 2**64, 5)
    uniform, normal = draws.uniform(0, numbers), draws.normal(0, numbers)
    assert abs(uniform.mean() - 0.5) < 0.003 and abs(uniform.var() - 1 / 12) < 0.001
    assert abs(normal.mean()) < 0.01 and abs(normal.std() - 1) < 0.01 and abs((normal**4).mean() - 3) < 0.1
    assert abs(np.corrcoef(uniform[:-1], uniform[1:])[0, 1]) < 0.01
    assert np.bincount(draws.choice(7, 1, numbers), minlength=7).min() > 200_000 / 7 * 0.97


def test_digits_are_split_once_and_for_all():
    train, test, both = (data.open(name) for name in ("digits", "digits:test", "digits:all"))
    assert (len(train), len(test), len(both)) == (1400, 397, 1797)
    assert np.bincount(test.labels).tolist() == [39, 40, 39, 40, 40, 40, 40, 40, 39, 40]
    rows = [
        {(label, row.tobytes()) for label, row in zip(d.labels, d.read(np.arange(len(d))))} for d in (train, test, both)
    ]
    assert not rows[0] & rows[1] and rows[0] | rows[1] == rows[2]
    assert train.fingerprint != test.fingerprint


@pytest.mark.parametrize("side", [8, 16, 32, 64])
def test_digits_are_the_ones_of_scikit_learn_at_every_side(side):
    from sklearn.datasets import load_digits

    dataset = data.open("digits:all", resolution=side)
    assert dataset.shape == (1, side, side) and dataset.num_classes == 10
    real = dataset.rows(np.arange(1797))["real"].float()[:, 0]
    eight = torch.nn.functional.avg_pool2d(real, side // 8) * 16 / 255
    error = (eight - torch.from_numpy(load_digits().images)).abs()
    assert error.mean() < (0.05 if side == 8 else 1.2)
    assert torch.equal(torch.from_numpy(load_digits().target), dataset.rows(np.arange(1797))["label"])


def test_digits_do_not_depend_on_where_scikit_learn_keeps_its_file(monkeypatch):
    from_file = digits._table.__wrapped__()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert np.array_equal(digits._table.__wrapped__(), from_file)


def test_stacked_digits_cover_a_thousand_modes():
    dataset, single = data.open("stacked-digits"), data.open("digits")
    assert dataset.shape == (3, 16, 16) and len(dataset) == 128_000 and dataset.num_classes == 0
    known = {row.tobytes(): label for row, label in zip(single.read(np.arange(1400)), single.labels)}
    images = dataset.read(np.arange(26_000))
    modes = {tuple(known[channel.tobytes()] for channel in image) for image in images}
    assert len(modes) == 1000


@pytest.mark.parametrize("name", ["ring", "grid"])
def test_mixtures_follow_the_published_protocol(name):
    dataset = data.open(name)
    count, centres, std = dataset.modes
    assert count == len(centres) and data.MODES[name] == (centres, std)
    points, labels = dataset.read(np.arange(len(dataset))), dataset.labels
    assert (len(dataset), std) == (100_000, {"ring": 0.01, "grid": 0.05}[name])
    assert len(np.unique(centres.round(6), axis=0)) == dataset.num_classes == {"ring": 8, "grid": 25}[name]
    distance = np.linalg.norm((points - centres[labels]) / std, axis=1)
    assert abs((distance < 3).mean() - (1 - np.exp(-4.5))) < 0.002  # 98.89 % of a perfect sampler's
    assert abs(distance.var() - (2 - np.pi / 2)) < 0.02
    if name == "ring":
        assert np.allclose(np.linalg.norm(centres, axis=1), 1)
    else:
        assert set(np.unique(centres)) == {-4, -2, 0, 2, 4}


def test_modes_belong_to_distributions_that_have_them():
    assert {name for name in STREAMED + ["grid", "swissroll"] if data.open(name).modes} == {
        "ring",
        "grid",
        "stacked-digits",
    }


@pytest.mark.parametrize("name", [name for name in data.BUILTIN if ":" not in name])
def test_every_built_in_set_is_in_the_docs(name):
    table = (Path(__file__).parents[1] / "docs" / "data.md").read_text().partition("\n## Your own")[0]
    assert f"`{name}`" in table


@pytest.mark.parametrize(
    "room, above", [("reading", {"builtin", "lookup", "summary"}), ("builtin", {"lookup", "summary"})]
)
def test_rooms_of_data_import_only_those_below(room, above):
    for path in (Path(data.__file__).parent / room).glob("*.py"):
        imported = set(re.findall(r"^\s*from gankit\.data(?:\.(\w+)\S*)? import (.*)$", path.read_text(), re.MULTILINE))
        names = {module or name for module, names in imported for name in re.findall(r"\w+", names)}
        assert not names & above, path.name


def test_swissroll_is_a_spiral():
    x, y = data.open("swissroll").read(np.arange(100_000)).astype(float).T * 7.5
    turn = np.hypot(x, y)
    assert abs(turn.min() - 1.5 * np.pi) < 1.5 and abs(turn.max() - 4.5 * np.pi) < 1.5
    spread = np.std(
        np.angle((x + 1j * y) * np.exp(-1j * turn))
    )  # the noise in the angle and, by the turn, in the radius
    assert abs(spread - 0.25 * np.sqrt(1 + np.mean(turn**-2))) < 0.005


def test_shapes_are_drawn_as_their_attributes_say():
    dataset = data.open("shapes", resolution="64x96")
    rows = dataset.rows(np.arange(300))
    known = dict(zip(dataset.attribute_names, rows["attribute"].T))
    light = rows["real"].float().amax(1) / rows["real"].float().amax((1, 2, 3), keepdim=True)[:, 0]
    ys, xs = torch.meshgrid((torch.arange(64) - 31.5) / 32, (torch.arange(96) - 47.5) / 32, indexing="ij")
    area = light.sum((1, 2)) / 32**2
    assert torch.allclose((light * xs).sum((1, 2)) / area / 32**2, known["x"], atol=0.02)
    assert torch.allclose((light * ys).sum((1, 2)) / area / 32**2, known["y"], atol=0.02)
    share = {"circle": np.pi, "triangle": 3 * 3**0.5 / 4, "square": 2.0}
    for i, (kind, of_square) in enumerate(share.items()):
        ours = rows["label"] == i
        assert torch.equal(known[kind] == 1, ours)
        assert torch.allclose(area[ours], of_square * known["size"][ours] ** 2, rtol=0.05)
        assert all(kind in dataset.captions[j] for j in torch.nonzero(ours).flatten())
    place = torch.complex(xs - known["x"][:, None, None], ys - known["y"][:, None, None])
    turn = torch.deg2rad(known["angle"])  # anticlockwise from standing on a side
    for kind, corners, upright in (("triangle", 3, 1j), ("square", 4, -1)):
        moment = (light * place**corners).sum((1, 2)) / upright * torch.exp(1j * corners * turn)
        assert moment[known[kind] == 1].angle().abs().max() < 0.15
    red = known["red"] == 1
    assert (rows["real"][red].amax((2, 3)) == torch.tensor([230, 40, 40])).all()
    assert all("red" in dataset.captions[j] for j in torch.nonzero(red).flatten())


def test_photographs_whole_and_in_patches():
    from sklearn.datasets import load_sample_image

    china = torch.tensor(load_sample_image("china.jpg")).permute(2, 0, 1)
    assert torch.equal(data.open("photo:china:whole").rows(np.array([0]))["real"][0], china)
    patches = data.open("photo:china", resolution="32x48")
    assert len(patches) == (427 - 31) * (640 - 47)
    number = 100 * (640 - 47) + 200
    assert torch.equal(patches.rows(np.array([number]))["real"][0], china[:, 100:132, 200:248])
    both = data.open("photo", resolution=32)
    first_flower = both.rows(np.array([(427 - 31) * (640 - 31)]))["real"][0]
    flower = torch.tensor(load_sample_image("flower.jpg")).permute(2, 0, 1)
    assert torch.equal(first_flower, flower[:, :32, :32])
    assert data.open("photo:china:whole", resolution=64).shape == (3, 64, 64)
    with pytest.raises(ValueError, match="larger than the picture, 427x640"):
        data.open("photo:china", resolution=512)


def test_pictures_of_scikit_image():
    pytest.importorskip("skimage")
    textures = data.open("textures")
    assert textures.class_names == ["brick", "grass", "gravel"] and textures.shape == (1, 64, 64)
    assert np.bincount(textures.labels).tolist() == [449 * 449] * 3
    for name in data.BUILTIN:
        assert all(len(rows) == 3 for rows in next(data.open(name).stream(0, 3)).values())


@pytest.mark.parametrize(
    "name, hint",
    [
        ("digts", "did you mean digits"),
        ("photo:astronuat", "did you mean photo:astronaut"),
        ("no-such-thing", "built in are digits, stacked-digits"),
        ("", "built in are"),
        ("a\0b", "built in are"),
        ("https://example.org/cats.zip", "nothing else is downloaded"),
        ("./digits", "neither built in nor a path"),
    ],
)
def test_unknown_names_say_what_is_near(name, hint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=hint):
        data.open(name)


def test_a_misspelt_path_suggests_its_neighbour(tmp_path):
    (tmp_path / "portraits").mkdir()
    with pytest.raises(ValueError, match="did you mean .*portraits"):
        data.open(tmp_path / "potraits")


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(fit="corp"), "crop, pad, squash"),
        (dict(alpha="red"), "white, black, keep"),
        (dict(resolution="64*64"), "no resolution"),
    ]
    + [
        (dict(resolution=r), "no resolution|square")
        for r in ("0", "-4", "x64", "64x", "1e9", 10**9, 64.5, "٣٢", "32x64", 4)
    ],
)
def test_wrong_options_say_what_to_type(options, message):
    with pytest.raises(ValueError, match=message):
        data.open("digits", **options)


def test_points_have_no_resolution_and_no_mirror_image():
    for options in (dict(resolution=32), dict(mirror=True)):
        with pytest.raises(ValueError, match="holds points"):
            data.open("ring", **options)


def test_resolutions_are_height_and_width():
    assert data.parse_resolution("64x96") == (64, 96) and data.parse_resolution(64) == data.parse_resolution("64") == (
        64,
        64,
    )
    assert data.parse_resolution("") is None and data.parse_resolution(None) is None


def test_vectors_come_with_their_conditions(tmp_path):
    real, condition = np.random.default_rng(0).normal(size=(20, 5)), np.arange(60.0).reshape(20, 3)
    np.savez(tmp_path / "tags.npz", real=real, condition=condition, label=np.arange(20) % 4)
    dataset = data.open(tmp_path / "tags.npz")
    assert (dataset.kind, dataset.shape, dataset.condition_dim, dataset.num_classes) == ("vectors", (5,), 3, 4)
    rows = next(dataset.stream(0, 20))
    order = dataset.numbers(np.arange(20))
    assert torch.equal(rows["real"], torch.from_numpy(real.astype(np.float32))[order])
    assert torch.equal(rows["condition"], torch.from_numpy(condition.astype(np.float32))[order])
    assert torch.equal(rows["label"], torch.from_numpy(order % 4))
    with pytest.raises(ValueError, match="holds vectors"):
        data.open(tmp_path / "tags.npz", resolution=8)


class Trap:
    """Executes when unpickled."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was executed",)


@pytest.mark.parametrize(
    "arrays, message",
    [
        (dict(real=np.array([Trap()], dtype=object)), "real holds objects, which are refused"),
        (dict(other=np.ones((3, 2))), r"found other float64\[3, 2\]"),
        (dict(real=np.ones(3)), "must hold numbers"),
        (dict(real=np.array([["a"]])), "must hold numbers"),
        (dict(real=np.ones((3, 2)), condition=np.ones((2, 2))), "must have one length"),
        (dict(real=np.ones((0, 2))), "not be empty"),
        (dict(real=np.full((3, 2), np.nan)), "not finite"),
        (dict(real=np.ones((3, 2)), label=np.array([0, 1, -1])), "label must be"),
        (dict(real=np.ones((3, 2)), label=np.array([0, 1, 10**9])), "label must be"),
    ],
)
def test_wrong_vectors_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        data.open(tmp_path / "x.npz")


def test_damaged_vectors_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", real=np.ones((30, 20)))
    whole = (tmp_path / "x.npz").read_bytes()
    for content in (b"", b"text", whole[:300], whole[:200] + b"\xff" * 50 + whole[250:], np.ones(3).tobytes()):
        (tmp_path / "x.npz").write_bytes(content)
        with pytest.raises(ValueError, match="not a whole .npz"):
            data.open(tmp_path / "x.npz")


def test_a_report_and_a_contact_sheet_of_every_kind(tmp_path):
    from PIL import Image

    assert "classes: 0 (139), 1 (142)" in str(data.describe("digits")) and data.describe("ring").kind == "points"
    data.contact_sheet(data.open("shapes", resolution=32), tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.mode == "RGB" and sheet.size == (10 * 66, 10 * 78), "a line with the class is below each image"
    with pytest.raises(ValueError, match="contact sheet"):
        data.contact_sheet(data.open("ring"), tmp_path / "points.png")
    assert [p.name for p in tmp_path.iterdir()] == ["sheet.png"]
