"""Images with label maps: which classes their pixels are, how they are fitted, and how often files are opened."""

import numpy as np
import pytest
import torch
from picture_files import CLASSES, COLOURS, VOID, equal, indexed, joined, labelled, noise, picture, read_maps, sides
from PIL import Image

from gankit import data
from gankit.data import Dataset

pytestmark = pytest.mark.usefixtures("fresh_cache")


@pytest.fixture
def maps():
    """Nine images of 8x12 with label maps of 3 classes and void; pixel and class are functions of each other."""
    classes = np.random.default_rng(0).integers(4, size=(9, 8, 12)).astype(np.uint8)
    classes[classes == 3] = 255
    pixels = classes[:, None].repeat(3, 1)
    return Dataset(
        "maps", "masks", (3, 8, 12), 9, pixels.__getitem__, "f", class_names=["a", "b", "c"], masks=classes.__getitem__
    )


def test_label_maps_go_with_their_images(maps):
    for mirror in (False, True):
        maps.mirror = mirror
        rows = joined(maps.stream(0, 9, seed=3), 2)
        assert (
            rows["real"].dtype == torch.uint8
            and rows["mask"].dtype == torch.int64
            and rows["mask"].shape == (18, 8, 12)
        )
        assert torch.equal(rows["real"][:, 0].long(), rows["mask"]), "an image and its label map are flipped together"
    whole = next(maps.stream(9, 9, seed=3))
    parts = [next(maps.stream(9, 9, seed=3, rank=r, world=2)) for r in range(2)]
    assert equal(whole, {key: torch.cat([part[key] for part in parts]) for key in whole})
    small = next(maps.stream(9, 9, resolution=4, seed=3))
    maps.mirror = False
    plain = next(maps.stream(9, 9, resolution=4, seed=3))
    assert small["mask"].shape == (9, 4, 6) and small["real"].shape == (9, 3, 4, 6)
    assert set(small["mask"].unique().tolist()) <= {0, 1, 2, 255}, "classes are never averaged"
    flipped = (small["mask"] != plain["mask"]).flatten(1).any(1)
    assert flipped.any() and torch.equal(small["mask"][flipped], plain["mask"][flipped].flip(-1))


def test_classes_have_colours_of_their_own():
    colours = data.palette(21)
    assert colours.shape == (21, 3) and len(np.unique(colours, axis=0)) == 21 and not (colours == 255).all(1).any()
    assert data.palette(0).shape == (0, 3)
    painted = data.paint(torch.tensor([[[0, 2, 255]]]), colours)
    assert painted.shape == (1, 3, 1, 3) and painted[0, :, 0, 2].tolist() == [255] * 3
    assert np.array_equal(painted[0, :, 0, 1].numpy(), colours[2])


def test_indices_palettes_and_greys_are_classes(tmp_path):
    for name, maps in (
        ("grey", [CLASSES, VOID]),
        ("palette", [(CLASSES, COLOURS), (VOID, COLOURS + [(9, 9, 9)] * 253)]),
    ):
        dataset = data.open(labelled(tmp_path / name, maps))
        assert (dataset.kind, dataset.shape, dataset.num_classes, dataset.class_names) == (
            "masks",
            (3, 8, 12),
            3,
            ["0", "1", "2"],
        )
        assert np.array_equal(read_maps(dataset), np.stack([CLASSES, VOID])) and dataset.name == name
        assert dataset.colours.tolist() == (data.palette(3).tolist() if name == "grey" else [list(c) for c in COLOURS])
        rows = next(dataset.stream(0, 2))
        assert rows["mask"].dtype == torch.int64 and rows["real"].shape == (2, 3, 8, 12)
    assert data.open(labelled(tmp_path / "other", [CLASSES], "img", "annotations")).kind == "masks"
    three = CLASSES[..., None].repeat(3, 2)
    assert np.array_equal(read_maps(data.open(labelled(tmp_path / "rgb", [three])))[0], CLASSES), (
        "greys in three channels are greys"
    )


def test_black_and_white_are_two_classes_and_that_is_said(tmp_path):
    binary = ((CLASSES > 1) * 255).astype(np.uint8)
    dataset = data.open(labelled(tmp_path / "set", [binary, binary * 0]))
    assert dataset.num_classes == 2 and np.array_equal(read_maps(dataset)[0], CLASSES > 1)
    assert any("0 and 255 alone" in text for text in dataset.warnings)
    (tmp_path / "bits" / "masks").mkdir(parents=True)
    picture(tmp_path / "bits" / "images" / "0.png", noise(8, 12))
    Image.fromarray(binary).convert("1").save(tmp_path / "bits" / "masks" / "0.png")
    assert np.array_equal(read_maps(data.open(tmp_path / "bits"))[0], CLASSES > 1)


def test_few_colours_are_classes_and_many_are_refused(tmp_path):
    painted = np.array(COLOURS, np.uint8)[CLASSES]
    dataset = data.open(labelled(tmp_path / "few", [painted, (CLASSES, COLOURS)]))
    assert dataset.class_names == ["#000000", "#0a141e", "#c86400"] and dataset.colours.tolist() == [
        list(c) for c in COLOURS
    ]
    assert np.array_equal(read_maps(dataset), np.stack([CLASSES] * 2)), (
        "palettes among colours are read by their colours"
    )
    with pytest.raises(data.BadFiles, match=r"masks/0.png: holds \d+ colours, and a label map has 32 at most"):
        data.open(labelled(tmp_path / "many", [noise(8, 12, 3)]))
    with pytest.raises(ValueError, match="hold 40 colours; at most 32.*classes.txt"):
        data.open(
            labelled(
                tmp_path / "all",
                [np.array([[(i, 0, 0)] * 4 for i in range(20 * n, 20 * n + 20)], np.uint8) for n in range(2)],
            )
        )
    with pytest.raises(data.BadFiles, match="greys, and a label map has 64 at most"):
        data.open(labelled(tmp_path / "soft", [np.arange(96, dtype=np.uint8).reshape(8, 12)]))


def test_a_file_names_the_classes(tmp_path):
    root = labelled(tmp_path / "set" / "train", [np.array(COLOURS, np.uint8)[CLASSES]])
    with pytest.raises(
        ValueError,
        match=r"train must number them as the other part does: write classes.txt beside the parts"
        r".*\n  class0 0 0 0\n  class1 10 20 30",
    ):
        data.open(root)
    (tmp_path / "set" / "classes.txt").write_text(
        "# name r g b\nsky 200 100 0\nvoid 10,20,30\nroad, 0 0 0\nsea 1 2 3\n"
    )
    dataset = data.open(root)
    assert dataset.class_names == ["sky", "road", "sea"] and dataset.colours.tolist() == [
        [200, 100, 0],
        [0, 0, 0],
        [1, 2, 3],
    ]
    assert np.array_equal(read_maps(dataset)[0], np.array([1, 255, 0])[CLASSES])
    labelled(tmp_path / "set" / "test", [np.array(COLOURS, np.uint8)[CLASSES]])
    assert data.open(tmp_path / "set").fingerprint == dataset.fingerprint and data.held_out_of(root) == str(
        tmp_path / "set" / "test"
    )
    assert data.open(data.held_out_of(root)).class_names == dataset.class_names
    (tmp_path / "set" / "classes.txt").write_text("sky 200 100 0\nroad 0 0 0\n")
    with pytest.raises(data.BadFiles, match="masks/0.png: holds #0a141e, which classes.txt does not name"):
        data.open(root)
    for text, said in (
        ("sky 1\nroad\n", "some classes have a number"),
        ("a 1\nb 1\n", "the value 1 is there twice"),
        ("a 999\nb 2", "is no class"),
        ("a\nb\nc", "gives none"),
    ):
        (tmp_path / "set" / "classes.txt").write_text(text)
        with pytest.raises(ValueError, match=said):
            data.open(root)
    by_colour = labelled(tmp_path / "palette", [(CLASSES, COLOURS)])
    (by_colour / "classes.txt").write_text("sky 200 100 0\nroad 0 0 0\nsea 10 20 30\n")
    assert np.array_equal(read_maps(data.open(by_colour))[0], np.array([1, 2, 0])[CLASSES]), (
        "colours of a palette are colours"
    )
    numbered = labelled(tmp_path / "numbered", [CLASSES * 100])
    (numbered / "classes.txt").write_text("ground 0\nroad 100\ngrass 200\nnothing else 7\n")
    assert np.array_equal(read_maps(data.open(numbered))[0], CLASSES) and data.open(numbered).num_classes == 4


def test_label_maps_are_fitted_as_their_images_by_the_nearest(tmp_path):
    """An image that shows its classes as greys, far apart, agrees with its map wherever no two classes meet."""
    rng = np.random.default_rng(2)
    classes = 9 * rng.integers(3, size=(5, 7)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    for fit in ("crop", "pad", "squash"):
        root = tmp_path / fit
        picture(root / "images" / "0.png", classes * 11)
        indexed(root / "masks" / "0.png", classes)
        dataset = data.open(root, resolution="20x20", fit=fit)
        shown, classed = dataset.read(np.arange(1))[0, 0].astype(int), read_maps(dataset)[0].astype(int)
        inside = classed != 255
        assert inside.all() == (fit != "pad") and set(np.unique(classed)) <= {0, 9, 18, 255}, (
            "no class is between others"
        )
        assert (np.abs(shown - 11 * classed)[inside] < 20).mean() > 0.6, fit
        if fit == "pad":
            assert (shown[~inside] == 255).all() and 0.2 < (~inside).mean() < 0.4


def test_all_that_is_wrong_with_label_maps_is_listed(tmp_path):
    root = labelled(tmp_path / "set", [CLASSES] * 6)
    (root / "masks" / "0.png").unlink()
    Image.fromarray(CLASSES).save(root / "masks" / "1.jpg")
    (root / "masks" / "1.png").unlink()
    indexed(root / "masks" / "2.png", CLASSES[:, :6])
    Image.fromarray(CLASSES.astype(np.uint16) * 500).save(root / "masks" / "3.png")
    (root / "images" / "4.jpg").write_bytes(b"")
    with pytest.raises(data.BadFiles) as caught:
        data.open(root)
    said = dict(caught.value.files)
    assert said["images/0.jpg"] == "has no partner in masks" and "save label maps as PNG" in said["masks/1.jpg"]
    assert "its partner in masks 8x6" in said["images/2.jpg"] and "numbers from 0 to 1000" in said["masks/3.png"]
    assert said["images/4.jpg"] == "empty file" and len(said) == 5
    kept = data.open(root, skip_bad=True)
    assert len(kept) == 1 and len(kept.skipped) == 5 and np.array_equal(read_maps(kept)[0], CLASSES)
    with pytest.raises(ValueError, match="hold 1 class, and it takes two"):
        data.open(labelled(tmp_path / "one", [CLASSES * 0]))


def test_gaps_between_classes_are_noted_and_parts_are_found(tmp_path):
    assert any(
        "Of 21 classes 18 are in no label map" in text
        for text in data.open(labelled(tmp_path / "gaps", [CLASSES * 10])).warnings
    )
    for part in ("train", "val"):
        labelled(tmp_path / "nested", [CLASSES], f"images/{part}", f"masks/{part}")
    assert len(data.open(tmp_path / "nested")) == 1 and data.open(tmp_path / "nested").name == "nested"
    held = data.held_out_of(tmp_path / "nested")
    assert held == f"{tmp_path}/nested:val" and data.open(held, want="masks").kind == "masks"


def test_label_maps_as_pairs_are_coloured(tmp_path):
    root = labelled(tmp_path / "set", [(VOID, COLOURS + [(9, 9, 9)] * 253)])
    masks, pairs = data.open(root), data.open(root, want="pairs")
    assert pairs.kind == "pairs" and pairs.shape == pairs.other == (3, 8, 12)
    a, b = sides(pairs)
    assert np.array_equal(b, masks.read(np.arange(1)))
    expected = np.concatenate([COLOURS, [(255, 255, 255)]])[np.where(VOID == 255, 3, VOID)]
    assert np.array_equal(a[0].transpose(1, 2, 0), expected)


@pytest.mark.parametrize(
    "greys, classes",
    [
        ((0, 127, 255), ["0", "127", "255"]),
        ((0, 128, 255), ["0", "127", "255"]),
        ((0, 127, 255, 128), ["0", "127", "255"]),
        ((0, 85, 170, 255), ["0", "85", "170", "255"]),
        ((0, 84, 171, 255), ["0", "85", "170", "255"]),
        ((0, 63, 127, 191, 255), ["0", "63", "127", "191", "255"]),
        ((0, 64, 128, 192, 255), ["0", "63", "127", "191", "255"]),
    ],
)
def test_evenly_spaced_greys_are_classes(tmp_path, greys, classes):
    values = np.array(greys, np.uint8)[np.arange(96).reshape(8, 12) % len(greys)]
    for i, maps in enumerate(([values], [values, values * 0], [(values, [(g, g, g) for g in range(256)])])):
        dataset = data.open(labelled(tmp_path / f"{i}", maps))
        assert dataset.class_names == classes and any("evenly spaced greys" in text for text in dataset.warnings)
        expected = np.round(values / 255 * (len(classes) - 1)).astype(np.uint8)
        assert np.array_equal(read_maps(dataset)[0], expected) and not any("void" in text for text in dataset.warnings)
        assert sum(data.describe(tmp_path / f"{i}").pixels.values()) == pytest.approx(1)


def test_void_is_said_and_chosen(tmp_path):
    root = labelled(tmp_path / "set", [VOID])
    numbers = VOID == 255
    plain = data.open(root)
    share = f"{numbers.mean():.1%}"
    assert any(f"255 is void: {share}" in text and "--void none" in text for text in plain.warnings)
    assert any(f"255 is void: {share}" in text for text in data.describe(root).warnings)
    assert np.array_equal(read_maps(data.open(root, void="255")), read_maps(plain))
    none = data.open(root, void="none")
    assert none.class_names == ["0", "1", "2", "255"] and np.array_equal(read_maps(none)[0], np.where(numbers, 3, VOID))
    assert not any("void" in text for text in none.warnings)
    zero = data.open(root, void="0")
    assert zero.class_names == ["1", "2", "255"]
    assert np.array_equal(read_maps(zero)[0], np.select([numbers, VOID == 0], [2, 255], VOID.astype(int) - 1))
    both = data.open(root, void="0, 255")
    assert both.class_names == ["1", "2"] and any("0, 255 is void" in text for text in both.warnings)
    assert any("no label map holds it" in text for text in data.open(root, void="77").warnings)
    with pytest.raises(ValueError, match="--void is '#ffffff'; it takes none, or a value from 0 to 255"):
        data.open(root, void="#ffffff")
    greys = labelled(tmp_path / "greys", [CLASSES * 127 + CLASSES // 2])
    assert data.open(greys, void="255").class_names == ["0", "127"]
    assert data.open(greys, void="none").class_names == ["0", "127", "255"]
    colours = labelled(tmp_path / "colours", [np.array(COLOURS, np.uint8)[CLASSES]])
    assert data.open(colours, void="#0a141e").class_names == ["#000000", "#c86400"]
    assert read_maps(data.open(colours, void="0"))[0][CLASSES == 0].tolist() == [255] * int((CLASSES == 0).sum())
    (root / "classes.txt").write_text("sky\nroad\nsea\n")
    assert any("255 is void" in text for text in data.open(root).warnings)
    with pytest.raises(ValueError, match="names the class 'sky', and --void"):
        data.open(root, void="0")
    with pytest.raises(data.BadFiles, match="holds 255, which classes.txt does not name"):
        data.open(root, void="none")


@pytest.mark.parametrize(
    "values", [(0, 50, 100), (1, 41, 81, 121, 161, 201), (0, 3, 77, 130, 254), (0, 128), (0, 128, 255), (9, 99, 199)]
)
def test_numbers_of_objects_are_refused(tmp_path, values):
    maps = np.array(values, np.uint8)[np.arange(96).reshape(8, 12) % len(values)]
    root = labelled(tmp_path / "set", [maps])
    if values == (0, 128, 255):
        assert data.open(root).num_classes == 3
        return
    with pytest.raises(ValueError, match="values far apart.*instance ids.*classes.txt") as caught:
        data.open(root)
    (root / "classes.txt").write_text(str(caught.value).partition("for each:\n")[2])
    assert np.array_equal(read_maps(data.open(root))[0], np.arange(96).reshape(8, 12) % len(values)), "as it says"


def test_numbers_above_255_name_the_maps_to_give(tmp_path):
    for i in range(2):
        picture(tmp_path / "images" / f"{i}.png", noise(8, 12, 3))
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(CLASSES.astype(np.uint16) + 26000).save(tmp_path / "masks" / f"{i}.png")
    with pytest.raises(data.BadFiles, match="numbers from 26000 to 26002(.|\n)*instance ids.*labelIds.png"):
        data.open(tmp_path)


def test_few_of_many_classes_stay_classes(tmp_path):
    """A part of a set with many classes, numbered densely, is no map of objects."""
    many = np.arange(96, dtype=np.uint8).reshape(8, 12)
    assert data.open(labelled(tmp_path / "many", [many // 2, many // 3])).num_classes == 48
    sparse = np.where(many % 3, 20, np.where(many % 2, 7, 26)).astype(np.uint8)
    assert data.open(labelled(tmp_path / "few", [sparse])).num_classes == 27


def test_greys_that_stand_for_other_classes_are_not_evaluated(tmp_path):
    from gankit.evaluation.translations import _check_classes

    few = np.array([0, 127, 255], np.uint8)[CLASSES]
    many = np.array([0, 63, 127, 191, 255], np.uint8)[np.arange(96).reshape(8, 12) % 5]
    train, test = (data.open(labelled(tmp_path / name, [maps])) for name, maps in (("train", many), ("test", few)))
    _check_classes(test, test.class_names)
    with pytest.raises(ValueError, match="calls a class '127' that is '63' in the training data: write classes.txt"):
        _check_classes(test, train.class_names)
    _check_classes(test, ["sky", "road"])
