"""Pairs, label maps, attributes, action units and joined sets: read from files, checked before anything trains."""

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from gankit import cli, data
from gankit.data import Dataset
from gankit.data.reading import files


def joined(stream, n):
    rows = [next(stream) for _ in range(n)]
    return {key: torch.cat([row[key] for row in rows]) for key in rows[0]}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


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


# ---- pairs from files


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path_factory.mktemp("cache")))


def picture(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)


@pytest.fixture
def two(tmp_path):
    """pics/A with 5 colour images of 16x20, pics/B with 5 grey ones of the same names in reversed order of writing."""
    for i in range(5):
        picture(tmp_path / "pics" / "A" / f"{i}.png", noise(16, 20, 3, seed=i))
        picture(tmp_path / "pics" / "B" / f"{4 - i}.bmp", noise(16, 20, seed=14 - i))
    return tmp_path / "pics"


def sides(dataset):
    numbers = np.arange(len(dataset))
    return dataset.a.read(numbers), dataset.b.read(numbers)


def test_two_folders_with_equal_names_are_pairs_when_pairs_are_wanted(two):
    assert data.open(two).kind == data.open(two, want="domains").kind == "domains"
    pairs = data.open(two, want="pairs", mirror=True)
    assert (pairs.kind, pairs.shape, pairs.other, len(pairs), pairs.name) == (
        "pairs",
        (3, 16, 20),
        (1, 16, 20),
        5,
        "pics",
    )
    a, b = sides(pairs)
    for i in range(5):
        assert np.array_equal(a[i], noise(16, 20, 3, seed=i).transpose(2, 0, 1)) and np.array_equal(
            b[i, 0], noise(16, 20, seed=10 + i)
        )
    rows = next(pairs.stream(3, 40, seed=1))
    for x, y in zip(rows["a"].numpy(), rows["b"].numpy()):
        assert any(
            np.array_equal(x, a[i][..., ::f]) and np.array_equal(y, b[i][..., ::f]) for i in range(5) for f in (1, -1)
        )
    typed = data.open(f"{two}/A,{two}/B", want="pairs")
    assert typed.name == "pics"
    picture(two.parent / "x" / "0.png", noise(8, 8)), picture(two.parent / "y" / "0.png", noise(8, 8))
    assert data.open(f"{two.parent}/x,{two.parent}/y", want="pairs").name == "x-y"
    assert typed.fingerprint + "-mirror" == pairs.fingerprint and data.open(f"{two}/B,{two}/A", want="pairs").shape == (
        1,
        16,
        20,
    )
    (two / "A").rename(two / "trainA"), (two / "B").rename(two / "trainB")
    assert np.array_equal(sides(data.open(two, want="pairs"))[0], a)


def test_an_image_of_two_halves_is_a_pair(tmp_path):
    whole = [picture(tmp_path / "facades" / "train" / f"{i}.png", noise(12, 24, 3, seed=i)) for i in range(3)]
    picture(tmp_path / "facades" / "val" / "0.png", noise(12, 24, 3, seed=7))
    pairs = data.open(tmp_path / "facades", want="pairs")
    assert (pairs.kind, pairs.shape, pairs.other, len(pairs)) == ("pairs", (3, 12, 12), (3, 12, 12), 3), (
        "train/ alone is learnt from"
    )
    a, b = sides(pairs)
    assert np.array_equal(np.concatenate([a, b], 3), np.stack(whole).transpose(0, 3, 1, 2))
    assert any("cut in the middle" in text for text in pairs.warnings)
    assert pairs.name == "facades"
    held = data.held_out_of(tmp_path / "facades")
    assert held == str(tmp_path / "facades" / "val") == data.held_out_of(tmp_path / "facades" / "train")
    assert len(data.open(held, want="pairs")) == 1 and data.held_out_of(held) is None
    assert data.open(tmp_path / "facades" / "train").shape == (3, 12, 24), "images are whole where no pairs are wanted"
    assert data.open(tmp_path / "facades", want="pairs", resolution=6).shape == (3, 6, 6)


def test_a_half_that_is_resized_knows_nothing_of_the_other(tmp_path):
    picture(
        tmp_path / "ab" / "0.png", np.concatenate([np.zeros((16, 16), np.uint8), np.full((16, 16), 255, np.uint8)], 1)
    )
    a, b = sides(data.open(tmp_path / "ab", want="pairs", resolution=8))
    assert a.max() == 0 and b.min() == 255


def test_what_is_held_out_is_found_by_its_name(two, tmp_path):
    assert (
        data.held_out_of(two) is None
        and data.held_out_of("digits") == "digits:test"
        and data.held_out_of("photo") is None
    )
    (two / "A").rename(two / "trainA"), (two / "B").rename(two / "trainB")
    for side in "AB":
        picture(two / f"test{side}" / "0.png", noise(16, 20, 3))
    held = data.held_out_of(two)
    assert held == f"{two}/testA,{two}/testB" == data.held_out_of(f"{two}/trainA,{two}/trainB")
    assert len(data.open(held, want="pairs")) == 1 and data.open(held).kind == "domains"
    for part in ("train", "test"):
        for side in "AB":
            picture(tmp_path / "split" / part / side / "0.png", noise(8, 8, 3))
    assert data.open(tmp_path / "split").kind == "domains" and data.held_out_of(tmp_path / "split") == str(
        tmp_path / "split" / "test"
    )
    assert data.held_out_of("nothing") is None


def test_all_that_is_wrong_with_pairs_is_listed_before_anything_trains(two):
    picture(two / "A" / "alone.png", noise(16, 20, 3))
    picture(two / "B" / "widow.png", noise(16, 20))
    (two / "A" / "1.png").write_bytes(b"no")
    picture(two / "B" / "2.bmp", noise(16, 16))
    picture(two / "B" / "3.png", noise(16, 20))
    damaged = (two / "A" / "4.png").read_bytes()
    (two / "A" / "4.png").write_bytes(damaged[:-80])
    with pytest.raises(data.BadFiles, match="--skip-bad") as caught:
        data.open(two, want="pairs", resolution=16)
    said = dict(caught.value.files)
    assert said["A/alone.png"] == "has no partner in B" and said["B/widow.png"] == "has no partner in A"
    assert (
        "not an image" in said["A/1.png"] and "is 16x20 (height x width) and its partner in B 16x16" in said["A/2.png"]
    )
    assert "called like it" in said["B/3.png"] and "called like it" in said["B/3.bmp"]
    assert "damaged" in said["A/4.png"] or "truncated" in said["A/4.png"]
    assert len(said) == 7 and "B/1.bmp" not in said, "a partner is not blamed"
    kept = data.open(two, want="pairs", resolution=16, skip_bad=True)
    assert len(kept) == 1 and sorted(kept.skipped) == sorted(said.items())
    with pytest.raises(data.BadFiles):
        data.open(two, want="pairs", resolution=16)


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda root: picture(root / "0.png", noise(8, 8)), r"no image is wider than high \(the first is 8x8\).*A/ and B/"),
        (lambda root: [picture(root / "0.png", noise(8, 17)), picture(root / "1.png", noise(8, 16))], "odd width"),
        (lambda root: [picture(root / "A" / "x_L.png", noise(8, 8)), picture(root / "B" / "x_R.png", noise(8, 8))], r"A/x_L.png, B/x_R.png. Rename"),
        (lambda root: [picture(root / "A" / "0.png", noise(8, 8)), picture(root / "B" / "0.png", noise(16, 16))], r"A holds images of 8x8 .* B of 16x16; .*--resolution 8"),
        (lambda root: [picture(root / "A" / "0.png", noise(8, 8)), (root / "B").mkdir()], "B: there are no images"),
    ],
)  # fmt: skip
def test_folders_that_are_no_pairs_are_refused(tmp_path, make, said):
    (tmp_path / "pics").mkdir()
    make(tmp_path / "pics")
    with pytest.raises(ValueError, match=said):
        data.open(tmp_path / "pics", want="pairs")


def test_names_that_are_no_files_have_no_pairs(two):
    with pytest.raises(ValueError, match="digits is built in, and sides are matched by the names"):
        data.open(f"{two}/A,digits", want="pairs")
    with pytest.raises(ValueError, match="--as takes"):
        data.open(two, want="twins")
    assert data.open(f"{two}/A,digits", resolution=16).kind == "domains"


# ---- label maps from files


def indexed(path, classes, colours=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(classes)
    if colours is not None:
        image.putpalette(np.asarray(colours, np.uint8).tobytes())
    image.save(path)
    return classes


def labelled(root, maps, images="images", masks="masks"):
    """A folder of images and maps; the maps are arrays, or (array, palette)."""
    for i, one in enumerate(maps):
        classes, colours = one if isinstance(one, tuple) else (one, None)
        picture(root / images / f"{i}.jpg", noise(*classes.shape[:2], 3, seed=i))
        indexed(root / masks / f"{i}.png", classes, colours)
    return root


def read_maps(dataset):
    return dataset.masks(np.arange(len(dataset)))


CLASSES = np.random.default_rng(1).integers(3, size=(8, 12)).astype(np.uint8)
VOID = np.where(np.arange(12) < 2, 255, CLASSES).astype(np.uint8)
COLOURS = [(0, 0, 0), (10, 20, 30), (200, 100, 0)]


@pytest.fixture
def opens(monkeypatch):
    """How often files are read ("read") and images are opened ("open"), by their content."""
    counts = {"read": Counter(), "open": Counter()}
    image_open, read_file = Image.open, files._read

    def open_counted(file, *more, **options):
        counts["open"][file.getvalue()] += 1
        return image_open(file, *more, **options)

    def read_counted(path):
        content = read_file(path)
        counts["read"][content] += 1
        return content

    monkeypatch.setattr(Image, "open", open_counted)
    monkeypatch.setattr(files, "_read", read_counted)
    return counts


def test_images_are_opened_once_to_look_at_them_and_once_to_decode_them(tmp_path, opens):
    rng = np.random.default_rng(5)
    for folder in ("a", "pairs/A", "pairs/B", "set/images"):
        for i in range(4):
            picture(tmp_path / folder / f"{i}.png", rng.integers(0, 256, (8, 8, 3), np.uint8))
    for i in range(4):
        indexed(tmp_path / "set/masks" / f"{i}.png", rng.integers(0, 3, (8, 8), np.uint8))

    def counted(work, *args, **options):
        for counts in opens.values():
            counts.clear()
        work(*args, **options)
        return {name: set(counts.values()) for name, counts in opens.items()}

    for name, want in (("a", ""), ("pairs", "pairs"), ("set", "")):
        path = tmp_path / name
        assert counted(data.describe, path, want=want) == {"read": {1}, "open": {1}}
        assert counted(data.open, path, want=want) == {"read": {1}, "open": {2}}
        assert counted(data.open, path, want=want) == {"read": set(), "open": set()}
    picture(tmp_path / "a/4.png", rng.integers(0, 256, (8, 8, 3), np.uint8))  # another file: all are read anew
    assert counted(data.open, tmp_path / "a") == {"read": {1}, "open": {2}}


def test_large_sets_are_read_again_to_decode_them(tmp_path, opens, monkeypatch):
    rng = np.random.default_rng(6)
    for i in range(4):
        picture(tmp_path / "a" / f"{i}.png", rng.integers(0, 256, (8, 8, 3), np.uint8))
    size = (tmp_path / "a/0.png").stat().st_size
    monkeypatch.setattr(files.kept, "__defaults__", (2 * size + 30,))
    dataset = data.open(tmp_path / "a")
    assert sorted(opens["read"].values()) == [1, 1, 2, 2]
    assert len(np.unique(dataset.read(np.arange(4)).reshape(4, -1), axis=0)) == 4


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
        match=r"train must number them as the other part does: write classes.txt beside the parts.*\n  class0 0 0 0\n  class1 10 20 30",
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
        "Of 101 classes 98 are in no label map" in text
        for text in data.open(labelled(tmp_path / "gaps", [CLASSES * 50])).warnings
    )
    for part in ("train", "val"):
        labelled(tmp_path / "nested", [CLASSES], f"images/{part}", f"masks/{part}")
    assert len(data.open(tmp_path / "nested")) == 1 and data.open(tmp_path / "nested").name == "nested"
    held = data.held_out_of(tmp_path / "nested")
    assert (
        held == f"{tmp_path}/nested/images/val,{tmp_path}/nested/masks/val"
        and data.open(held, want="masks").kind == "masks"
    )


def test_label_maps_as_pairs_are_coloured(tmp_path):
    root = labelled(tmp_path / "set", [(VOID, COLOURS + [(9, 9, 9)] * 253)])
    masks, pairs = data.open(root), data.open(root, want="pairs")
    assert pairs.kind == "pairs" and pairs.shape == pairs.other == (3, 8, 12)
    a, b = sides(pairs)
    assert np.array_equal(b, masks.read(np.arange(1)))
    expected = np.concatenate([COLOURS, [(255, 255, 255)]])[np.where(VOID == 255, 3, VOID)]
    assert np.array_equal(a[0].transpose(1, 2, 0), expected)


# ---- attributes


def faces(root, count=6, ending="png"):
    for i in range(count):
        picture(root / f"{i:06}.{ending}", noise(8, 8, 3, seed=i))
    return root


SIGNS = np.where(np.random.default_rng(3).random((9, 3)) < 0.5, 1, -1)
NAMES = ["Black_Hair", "Male", "Young"]


def celeba(path, signs=SIGNS, ending="jpg", head=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{i:06}.{ending}  " + " ".join(f"{v:2d}" for v in row) for i, row in enumerate(signs)]
    path.write_text("\n".join([head or str(len(signs)), " ".join(NAMES) + " ", *lines]) + "\n")


@pytest.mark.parametrize(
    "place, opened",
    [
        ("celeba/img_align_celeba/list_attr_celeba.txt", "celeba/img_align_celeba"),
        ("celeba/list_attr_celeba.txt", "celeba/img_align_celeba"),
        ("celeba/list_attr_celeba.txt", "celeba"),
        ("celeba/Anno/list_attr_celeba.txt", "celeba"),
        ("celeba/Anno/list_attr_celeba.txt", "celeba/img_align_celeba"),
    ],
)
def test_celebas_list_is_found_and_its_minus_ones_are_zeros(tmp_path, monkeypatch, place, opened):
    faces(tmp_path / "celeba" / "img_align_celeba")
    celeba(tmp_path / place)
    dataset = data.open(tmp_path / opened)
    assert dataset.attribute_names == NAMES and not dataset.num_classes
    assert np.array_equal(dataset.attributes, (SIGNS[:6] > 0).astype(np.float32))
    assert any("3 of its 9 rows are of images that are not here" in text for text in dataset.warnings)
    monkeypatch.chdir(tmp_path / opened)
    assert data.open(".").attribute_names == NAMES
    celeba(tmp_path / place, -SIGNS)
    assert np.array_equal(data.open(tmp_path / opened).attributes, (SIGNS[:6] < 0).astype(np.float32)), (
        "a changed list is noticed"
    )
    celeba(tmp_path / place, SIGNS[:5])
    with pytest.raises(data.BadFiles, match="000005.png: has no row in list_attr_celeba.txt"):
        data.open(tmp_path / opened)
    celeba(tmp_path / place, SIGNS * 2)
    with pytest.raises(ValueError, match="list_attr_celeba.txt: '-?2', in the line of 000000.jpg, is neither 1 nor -1"):
        data.open(tmp_path / opened)
    celeba(tmp_path / place, head="faces")
    with pytest.raises(ValueError, match="first line must be the number of images"):
        data.open(tmp_path / opened)


def test_a_list_of_other_images_is_left_alone(tmp_path):
    faces(tmp_path / "pics")
    celeba(tmp_path / "list_attr_celeba.txt", SIGNS, ending="x.jpg")
    assert not data.open(tmp_path / "pics").attribute_names


def test_any_csv_that_names_images_gives_attributes(tmp_path):
    faces(tmp_path / "pics")
    rows = "".join(f"{i:06}.png;{'1' if i % 2 else '-1'};{i / 2};x\n" for i in range(6))
    (tmp_path / "pics" / "list.csv").write_text("image_id;Male;Age;word\n" + rows)
    (tmp_path / "pics" / "a_loss.csv").write_text("epoch,loss\n" + "".join(f"{i},0.5\n" for i in range(6)))
    dataset = data.open(tmp_path / "pics")
    assert dataset.attribute_names == ["Male", "Age"]
    assert np.array_equal(dataset.attributes, [[i % 2, i / 2] for i in range(6)])
    assert any(".csv (1)" in text for text in dataset.warnings) and any("'word'" in text for text in dataset.warnings)
    (tmp_path / "pics" / "list.csv").write_text("image_id;Male\n000000.png;1\n000000.png;1\n")
    with pytest.raises(ValueError, match="list.csv: 000000.png has 2 rows"):
        data.open(tmp_path / "pics")
    (tmp_path / "pics" / "list.csv").write_text("image_id;Male\n000000.png;1;2\n")
    with pytest.raises(ValueError, match="list.csv: the row '000000.png 1 2' has 3 values, and 2 columns have names"):
        data.open(tmp_path / "pics")
    (tmp_path / "pics" / "list.csv").write_text("a,b\n000000.png,1\n")
    with pytest.raises(data.BadFiles, match="000005.png: has no row in list.csv"):
        data.open(tmp_path / "pics")


def test_names_in_a_csv_may_leave_folders_out_where_they_are_not_needed(tmp_path):
    for kind in ("cat", "dog"):
        faces(tmp_path / "pics" / "all" / kind, 2)
    (tmp_path / "pics" / "t.csv").write_text(
        "path,size\n" + "".join(f"{k}/{i:06},{i + 1}\n" for k in ("cat", "dog") for i in range(2))
    )
    dataset = data.open(tmp_path / "pics")
    assert dataset.attributes[:, 0].tolist() == [1, 2, 1, 2] and dataset.class_names == ["cat", "dog"]
    (tmp_path / "pics" / "t.csv").write_text("path,size\n000000.png,3\n")
    with pytest.raises(ValueError, match="names several images, all/cat/000000.png and all/dog/000000.png"):
        data.open(tmp_path / "pics")


def test_signs_in_metadata_become_zeros_and_ones(tmp_path):
    faces(tmp_path / "pics", 3)
    (tmp_path / "pics" / "metadata.csv").write_text(
        "file_name,smile,tilt\n000000.png,1,-1\n000001.png,-1,0\n000002.png,1,1\n"
    )
    assert data.open(tmp_path / "pics").attributes.tolist() == [[1, -1], [0, 0], [1, 1]]


# ---- action units


UNITS = np.random.default_rng(4).integers(0, 501, size=(6, 3)) / 100
FACE_TITLES = "face, confidence, gaze_0_x, AU01_r, AU12_r, AU45_r, AU01_c"


def row_of(values, first):
    return ", ".join([*first, *(f"{v:.2f}" for v in values), "1.00"])


def test_a_csv_for_each_image_gives_action_units(tmp_path):
    faces(tmp_path / "faces")
    for i in range(6):
        row = row_of(UNITS[i], ["0", "0.95", "0.1"])
        other = row_of(UNITS[i] * 0, ["1", "0.80", "0.1"])
        (tmp_path / "faces" / "processed").mkdir(exist_ok=True)
        (tmp_path / "faces" / "processed" / f"{i:06}.csv").write_text(f"{FACE_TITLES}\n{other}\n{row}\n")
    dataset = data.open(tmp_path / "faces")
    assert dataset.attribute_names == ["AU01", "AU12", "AU45"] and np.allclose(dataset.attributes, UNITS / 5, atol=1e-7)
    (tmp_path / "faces" / "processed" / "000002.csv").unlink()
    (tmp_path / "faces" / "processed" / "000003.csv").write_text(
        f"{FACE_TITLES}\n{row_of(UNITS[3], ['0', '0.2', '0'])}\n"
    )
    (tmp_path / "faces" / "processed" / "000004.csv").write_text(f"{FACE_TITLES}\n")
    with pytest.raises(data.BadFiles) as caught:
        data.open(tmp_path / "faces")
    said = dict(caught.value.files)
    assert said.keys() == {f"00000{i}.png" for i in (2, 3, 4)} and "confidence 0.2, below 0.7" in said["000003.png"]
    assert all("has no 00000" in said[f"00000{i}.png"] for i in (2, 4))
    assert np.allclose(data.open(tmp_path / "faces", skip_bad=True).attributes, UNITS[[0, 1, 5]] / 5, atol=1e-7)
    (tmp_path / "faces" / "processed" / "000005.csv").write_text(
        f"{FACE_TITLES}\n{row_of([1, 7, 0], ['0', '0.9', '0'])}\n"
    )
    with pytest.raises(
        ValueError, match="000005.csv: AU12_r of 000005.png is '7.00', and OpenFace's intensities are 0 to 5"
    ):
        data.open(tmp_path / "faces", skip_bad=True)


def test_a_csv_for_a_sequence_goes_by_frames_or_by_names(tmp_path):
    titles = "frame, face_id, timestamp, confidence, success, AU01_r, AU12_r, AU45_r, AU01_c"
    rows = [row_of(UNITS[i], [str(i + 1), "0", "0.0", "0.98", "0" if i == 3 else "1"]) for i in range(6)]
    faces(tmp_path / "one")
    (tmp_path / "one" / "out.csv").write_text("\n".join([titles, *rows]))
    with pytest.raises(data.BadFiles, match=r"000003.png: OpenFace found no face in it \(success 0\)"):
        data.open(tmp_path / "one")
    assert np.allclose(data.open(tmp_path / "one", skip_bad=True).attributes, UNITS[[0, 1, 2, 4, 5]] / 5, atol=1e-7)
    (tmp_path / "one" / "out.csv").write_text("\n".join([titles, *rows[:3]]))
    with pytest.raises(ValueError, match="out.csv: has 3 frames, and there are 6 images.*file_name"):
        data.open(tmp_path / "one")
    (tmp_path / "one" / "out.csv").write_text(
        "\n".join(["file_name, " + titles, *(f"{5 - i:06}.png, {row}" for i, row in enumerate(rows))])
    )
    assert np.allclose(data.open(tmp_path / "one", skip_bad=True).attributes, UNITS[[5, 4, 2, 1, 0]] / 5, atol=1e-7)
    for title in ("x", "y"):
        faces(tmp_path / "two" / title, 3)
        (tmp_path / "two" / f"{title}.csv").write_text("\n".join([titles, *(rows[:3] if title == "x" else rows[3:])]))
    dataset = data.open(tmp_path / "two", skip_bad=True)
    assert np.allclose(dataset.attributes, UNITS[[0, 1, 2, 4, 5]] / 5, atol=1e-7) and dataset.class_names == ["x", "y"]
    (tmp_path / "one" / "out.csv").write_text("\n".join(["AU01_r", "1.0"]))
    with pytest.raises(ValueError, match="out.csv: its rows are of no image here.*file_name.*frame"):
        data.open(tmp_path / "one")


# ---- joined sets


@pytest.fixture
def sets():
    """Seven images of two attributes and five of three classes, each pixel the number of its image, plus 100 for the second."""
    pixels = [np.arange(n, dtype=np.uint8)[:, None, None, None].repeat(4, 3) + first for n, first in ((7, 0), (5, 100))]
    pixels = [np.concatenate([one, np.zeros_like(one)], 3) for one in pixels]  # so that a mirror shows
    attributes = np.random.default_rng(5).random((7, 2)).astype(np.float32)
    a = Dataset(
        "a", "images", (1, 1, 8), 7, pixels[0].__getitem__, "a", attributes=attributes, attribute_names=["p", "q"]
    )
    b = Dataset("b", "images", (1, 1, 8), 5, pixels[1].__getitem__, "b", np.arange(5) % 3, ["x", "y", "z"])
    return a, b


def test_joined_sets_take_turns_and_know_only_their_own(sets):
    a, b = sets
    union = data.Union("both", [a, b])
    assert (union.attribute_names, union.groups, union.exclusive, len(union)) == (
        ["p", "q", "x", "y", "z"],
        [2, 3],
        [False, True],
        12,
    )
    stream = union.stream(0, 4, seed=2)
    batches = [next(stream) for _ in range(12)]
    for k, rows in enumerate(batches):
        assert (
            (rows["source"] == k % 2).all()
            and rows["source"].dtype == torch.int64
            and rows["attribute"].shape == (4, 5)
        )
        known, unknown = (rows["attribute"][:, :2], rows["attribute"][:, 2:])[:: 1 if k % 2 == 0 else -1]
        assert not unknown.any() and known.any()
        number = rows["real"][:, 0, 0, 0].long() - 100 * (k % 2)
        assert torch.equal(known, torch.from_numpy(a.attributes)[number] if k % 2 == 0 else torch.eye(3)[number % 3])
    for which, one in enumerate((a, b)):  # six batches of each are the set's own stream, none left out, none twice
        alone = torch.cat([rows["real"] for rows in batches[which::2]])
        assert torch.equal(alone, joined(one.stream(0, 4, seed=2), 6)["real"])
        assert sorted(alone[: len(one), 0, 0, 0].tolist()) == sorted(one.read(np.arange(len(one)))[:, 0, 0, 0].tolist())


def test_joined_sets_go_on_exactly_and_split_over_processes(sets):
    union = data.Union("both", list(sets), mirror=True)
    whole = [union.stream(0, 6, seed=1).at(i) for i in range(9)]
    for first in range(9):
        assert equal(next(union.stream(6 * first, 6, seed=1)), whole[first])
    for world in (2, 3, 4):
        parts = [next(union.stream(30, 6, seed=1, rank=r, world=world)) for r in range(world)]
        assert equal({key: torch.cat([part[key] for part in parts]) for key in parts[0]}, whole[5])
    plain = data.Union("both", list(sets)).stream(0, 6, seed=1)
    turned = torch.cat([(plain.at(i)["real"] != whole[i]["real"]).flatten(1).any(1) for i in range(9)])
    assert 0.2 < turned.float().mean() < 0.8
    assert all(torch.equal(plain.at(i)["attribute"], whole[i]["attribute"]) for i in range(9)), (
        "a mirror image has the same attributes"
    )
    assert equal(list(zip(range(4), data.ahead(union.stream(0, 6, seed=1), 2)))[3][1], whole[3])
    with pytest.raises(ValueError, match="7 images are not a whole number of batches of 6"):
        union.stream(7, 6)


def test_sets_are_joined_by_their_names(tmp_path):
    celeba(faces(tmp_path / "celeba") / "list_attr_celeba.txt")
    for kind in ("angry", "happy"):
        faces(tmp_path / "moods" / kind, 3)
    name = f"{tmp_path}/celeba+{tmp_path}/moods"
    union = data.open(name, mirror=True)
    assert (
        union.attribute_names == [*NAMES, "angry", "happy"]
        and union.name == "celeba-moods"
        and union.fingerprint.endswith("-mirror")
    )
    assert data.held_out_of("shapes:colours+shapes:sizes") == "shapes:colours:test+shapes:sizes:test"
    assert data.held_out_of(name) is None and data.held_out_of("digits+photo") is None
    faces(tmp_path / "bare", 2)
    for wrong, said in (
        (f"{name}+{tmp_path}/bare", "bare has neither attributes nor classes"),
        (f"{tmp_path}/celeba+", "lacks a name.*photos\\+faces"),
        (
            f"{tmp_path}/celeba+digits",
            "celeba holds images of 3x8x8 and digits of 1x16x16; give all one size by --resolution",
        ),
        ("digits+digits-negative", "digits-negative holds two domains itself. Sets of images"),
        ("digits+ring", "ring holds points"),
    ):
        with pytest.raises(ValueError, match=said):
            data.open(wrong)


# ---- what a user sees of them


def sheet_of(tmp_path, *words):
    cli.main(["data", *map(str, words), "--sheet", str(tmp_path / "sheet.png")])
    return np.asarray(Image.open(tmp_path / "sheet.png"))


def cell(sheet, row, height, width, scale, column=0):
    y, x = row * (height * scale + 2) + 1, column * (width * scale + 2) + 1
    return sheet[y : y + height * scale : scale, x : x + width * scale : scale]


def test_pairs_are_shown_a_above_b(two, tmp_path, capsys):
    (two / "A" / "alone.png").write_bytes((two / "A" / "0.png").read_bytes())
    sheet = sheet_of(tmp_path, two, "--as", "pairs", "--skip-bad")
    said = capsys.readouterr().out
    assert (
        "5 pairs of images" in said
        and "A/alone.png: has no partner in B" in said
        and "3 x 16 x 20 and 1 x 16 x 20 each" in said
    )
    rows = next(data.open(two, want="pairs", skip_bad=True).stream(0, 50))
    for row, (side, i) in enumerate([("a", 0), ("b", 0), ("a", 10), ("b", 10)]):
        expected = rows[side][i].expand(3, -1, -1).permute(1, 2, 0).numpy()
        assert np.array_equal(cell(sheet, row, 16, 20, 3), expected)
    report = data.describe(two, want="pairs")
    assert (report.count, report.kind, report.other, report.modes) == (
        5,
        "pairs",
        (1, 16, 20),
        {"RGB": 5, "L": 5},
    ) and len(report.bad) == 1
    (two / "B" / "0.bmp").write_bytes((two / "B" / "0.bmp").read_bytes()[:200])
    report = data.describe(two, want="pairs")
    assert report.count == 4 and {name for name, _ in report.bad} == {"A/alone.png", "B/0.bmp"}


def test_label_maps_are_shown_below_their_images_in_colours(tmp_path, capsys):
    root = labelled(tmp_path / "set", [(VOID, COLOURS + [(9, 9, 9)] * 253)])
    sheet = sheet_of(tmp_path, root)
    said = capsys.readouterr().out
    share = (VOID == 1).mean()
    assert (
        "1 images with label maps" in said and f"1 {share:.1%}" in said and f"void {(VOID == 255).mean():.1%}" in said
    )
    rows = next(data.open(root).stream(0, 50))
    assert np.array_equal(cell(sheet, 0, 8, 12, 5), rows["real"][0].permute(1, 2, 0).numpy())
    assert np.array_equal(
        cell(sheet, 1, 8, 12, 5), np.concatenate([COLOURS, [(255, 255, 255)]])[np.where(VOID == 255, 3, VOID)]
    )
    as_pairs = data.describe(root, want="pairs")
    assert (as_pairs.kind, as_pairs.shape, as_pairs.other) == ("pairs", (3, 8, 12), (3, 8, 12)) and as_pairs.pixels
    report = data.describe(root)
    assert report.pixels == {"0": (VOID == 0).mean(), "1": share, "2": (VOID == 2).mean(), "void": (VOID == 255).mean()}


def test_attributes_are_shown_with_their_means_and_joined_sets_in_turn(tmp_path, capsys):
    celeba(faces(tmp_path / "celeba") / "list_attr_celeba.txt")
    for kind in ("angry", "happy"):
        faces(tmp_path / "moods" / kind, 1 if kind == "angry" else 3)
    name = f"{tmp_path}/celeba+{tmp_path}/moods"
    sheet = sheet_of(tmp_path, name)
    said = capsys.readouterr().out
    mean = (SIGNS[:6, 1] > 0).mean()
    assert (
        "joined sets: celeba (6), moods (4)" in said
        and f"celeba: Male {mean:.3g}" in said
        and "moods: happy 0.75" in said
    )
    assert data.describe(tmp_path / "celeba").attributes["Male"] == mean
    batches = data.open(name).stream(0, 50)
    for row in range(4):
        expected = batches.at(row % 2)["real"][10 * (row // 2)].permute(1, 2, 0).numpy()
        assert np.array_equal(cell(sheet, row, 8, 8, 8), expected)


@pytest.mark.parametrize(
    "want, said",
    [
        ("masks", "holds images. Images with label maps are"),
        ("domains", "holds images. Two domains are"),
        ("pairs", "no pairs side by side"),
    ],
)
def test_what_cannot_be_read_as_asked_is_said(tmp_path, capsys, want, said):
    faces(tmp_path / "pics", 2)
    with pytest.raises(SystemExit):
        cli.main(["data", str(tmp_path / "pics"), "--as", want, "--sheet", ""])
    assert said in capsys.readouterr().err


def test_models_say_how_their_data_is_laid_out(tmp_path, two):
    from gankit import models
    from gankit.training import Settings
    from gankit.training.setup import check_data

    root = labelled(tmp_path / "set", [CLASSES])
    with pytest.raises(
        ValueError, match=f"dcgan learns from images.*holds masks. For its images alone type --data {root}/images"
    ):
        check_data(models.find("dcgan"), data.open(root), Settings(data=str(root)))
    with pytest.raises(
        ValueError,
        match="unet learns from masks; digits holds images. Images with label maps are a folder with images/ and masks/",
    ):
        check_data(models.find("unet"), data.open("digits"), Settings())
