"""Partners by patterns of file names: the user's, and those of known data sets."""

import io
import shutil
import tarfile

import numpy as np
import pytest
from picture_files import CLASSES, VOID, encoded, noise, picture, put, read_maps, rows, sides

from gankit import cli, data
from gankit.data.reading import choices, patterns

pytestmark = pytest.mark.usefixtures("fresh_cache")


def image(i):
    return encoded(noise(8, 12, 3, seed=i))


def filled(root, a, b, names=("0", "1", "2"), maps=CLASSES):
    """An image and a map for each name, where the patterns put them."""
    for i, name in enumerate(names):
        for pattern, content in ((a, noise(8, 12, 3, seed=i)), (b, maps)):
            path = pattern.replace("{name}", name)
            ending = path.rpartition(".")[2]
            form = {"gif": "GIF", "jpg": "JPEG", "bmp": "BMP"}.get(ending, "PNG")
            put(root, **{path: encoded(content, form)})
    return root


@pytest.mark.parametrize(
    "title, a, b, folder",
    [
        ("Carvana", "train/{name}.jpg", "train_masks/{name}_mask.gif", "train"),
        ("Carvana", "imgs/{name}.jpg", "masks/{name}_mask.gif", ""),
        (
            "Cityscapes",
            "leftImg8bit/{name}_leftImg8bit.png",
            "gtFine/{name}_gtFine_labelIds.png",
            "leftImg8bit",
        ),
        ("Cityscapes", "leftImg8bit/{name}_leftImg8bit.png", "gtCoarse/{name}_gtCoarse_labelIds.png", "leftImg8bit"),
        ("Pascal VOC", "JPEGImages/{name}.jpg", "SegmentationClass/{name}.png", "JPEGImages"),
        ("Oxford-IIIT Pet", "images/{name}.jpg", "annotations/trimaps/{name}.png", ""),
        ("ADE20K", "images/ADE_train_{name}.jpg", "annotations/ADE_train_{name}.png", ""),
        ("", "img/{name}.png", "mask/{name}_seg.png", ""),
    ],
)
def test_known_layouts_need_no_flag(tmp_path, title, a, b, folder):
    root = filled(tmp_path / "set", a, b, ("ulm/0", "ulm/1", "bonn/2"))
    dataset = data.open(root)
    assert dataset.kind == data.open(root, want="masks").kind == "masks" and len(dataset) == 3
    assert np.array_equal(read_maps(dataset), [CLASSES] * 3) and data.describe(root).count == 3
    assert data.open(root, want="pairs").kind == "pairs"
    if folder:
        assert any(f"as in {title}" in text for text in dataset.warnings)
        assert data.two_sided(root, "").images == root / folder
    a_folder, b_folder = (root / pattern.partition("/")[0] for pattern in (a, b))
    typed = data.open(f"{a_folder},{b_folder}", want="masks")
    assert np.array_equal(read_maps(typed), [CLASSES] * 3) and np.array_equal(rows(typed), rows(dataset))


def test_files_beside_the_partners_of_cityscapes_are_ignored(tmp_path):
    names = ("ulm/ulm_0", "ulm/ulm_1")
    root = filled(tmp_path, "leftImg8bit/{name}_leftImg8bit.png", "gtFine/{name}_gtFine_labelIds.png", names)
    for name in names:
        for ending in ("color.png", "instanceIds.png", "polygons.json"):
            put(root, **{f"gtFine/{name}_gtFine_{ending}": encoded(noise(8, 12, 3))})
    dataset = data.open(root)
    assert len(dataset) == 2 and not dataset.skipped and any("4 other images" in text for text in dataset.warnings)
    (root / "gtFine/ulm/ulm_1_gtFine_labelIds.png").unlink()
    with pytest.raises(data.BadFiles, match="has no partner gtFine/ulm_1_gtFine_labelIds.png"):
        data.open(root)


def test_images_of_voc_without_a_map_are_counted(tmp_path):
    root = filled(tmp_path / "VOCdevkit/VOC2012", "JPEGImages/{name}.jpg", "SegmentationClass/{name}.png", maps=VOID)
    filled(tmp_path / "VOCdevkit/VOC2007", "JPEGImages/{name}.jpg", "SegmentationClass/{name}.png", ["7"], VOID)
    for i in range(5):
        picture(root / "JPEGImages" / f"alone{i}.jpg", noise(8, 12, 3))
        picture(root / "SegmentationObject" / f"{i}.png", CLASSES)
    for name in (root, f"{root}/JPEGImages,{root}/SegmentationClass"):
        dataset = data.open(name, want="masks")
        assert len(dataset) == 3 and not dataset.skipped and dataset.num_classes == 3
        assert any("5 of 8 images have no label map" in text for text in dataset.warnings)
    assert len(data.open(root.parent, want="masks")) == 4, "of both years"
    picture(root / "SegmentationClass" / "widow.png", VOID)
    with pytest.raises(data.BadFiles, match="has no partner JPEGImages/widow.jpg"):
        data.open(root)


@pytest.mark.parametrize("form", ["zip", "tar"])
def test_partners_in_an_archive(tmp_path, form):
    root = filled(tmp_path / "in", "cars/imgs/{name}.jpg", "cars/masks/{name}_mask.gif")
    (root / "cars/classes.txt").write_text("road\nsky\nsea\n")
    shutil.make_archive(str(tmp_path / "cars"), form, root)
    dataset = data.open(tmp_path / f"cars.{form}", want="masks")
    assert np.array_equal(read_maps(dataset), [CLASSES] * 3) and dataset.class_names == ["road", "sky", "sea"]
    pairs = filled(tmp_path / "ab", "A/{name}.png", "B/{name}.png")
    shutil.make_archive(str(tmp_path / "ab"), form, pairs)
    found, expected = (data.open(path, want="pairs") for path in (tmp_path / f"ab.{form}", pairs))
    contents = [sorted((a.tobytes(), b.tobytes()) for a, b in zip(*sides(pairs))) for pairs in (found, expected)]
    assert contents[0] == contents[1] and len(contents[0]) == 3


@pytest.mark.parametrize(
    "a, b",
    [("{name}_A.png", "{name}_B.png"), ("A/{name}_A.png", "B/{name}_B.png"), ("x/{name}_a.jpg", "x/{name}_b.png")],
)
def test_pairs_by_their_last_letter(tmp_path, a, b):
    root = filled(tmp_path / "set", a, b)
    pairs = data.open(root, want="pairs")
    assert pairs.kind == "pairs" and len(pairs) == 3 and np.array_equal(sides(pairs)[1][0, 0], CLASSES)
    assert data.open(root).kind in ("images", "domains"), "the model decides"


def test_the_user_names_partners(tmp_path, capsys):
    root = filled(tmp_path / "set", "photos/{name}.jpg", "deep/er/{name}_drawn.gif", ("s/0", "1"))
    pair = "photos/{name}.jpg=deep/er/{name}_drawn.gif"
    masks = data.open(root, want="masks", pair=pair)
    assert masks.kind == "masks" and np.array_equal(read_maps(masks), [CLASSES] * 2)
    pairs = data.open(root, want="pairs", pair=pair)
    assert pairs.kind == data.open(root, pair=pair).kind == "pairs" and np.array_equal(sides(pairs)[1][0, 0], CLASSES)
    typed = data.open(f"{root}/photos,{root}/deep/er", want="masks", pair="{name}.*={name}_drawn.*")
    assert np.array_equal(read_maps(typed), [CLASSES] * 2)
    cli.main(["data", str(root), "--as", "masks", "--pair", pair, "--sheet", ""])
    assert "2 images with label maps" in capsys.readouterr().out
    one = filled(tmp_path / "one", "{name}.png", "{name}_mask.png")
    mixed = data.open(one, want="masks", pair="{name}.png={name}_mask.png")
    assert len(mixed) == 3 and not mixed.skipped, "x_mask.png is no image that lacks a partner x_mask_mask.png"
    assert data.open(one, want="masks").fingerprint and len(data.open(one, want="masks")) == 3
    assert data.open(one).kind == "images", "where nobody asks for label maps, these are images"


@pytest.mark.parametrize(
    "pair, said",
    [
        ("{name}.jpg", "holds 0 of the sign ="),
        ("{name}.jpg=a={name}", "holds 2 of the sign ="),
        ("{name}.jpg=x.png", r"holds \{name\} 0 times"),
        ("{name}{name}.jpg={name}.png", r"holds \{name\} 2 times"),
        ("{id}.jpg={name}.png", r"holds \{name\} 0 times"),
        ("*{name}.jpg={name}.png", "no ending"),
        ("{name}*.jpg={name}.png", "no ending"),
        ("{name}.*.*={name}.png", "no ending"),
        ("../{name}.jpg={name}.png", "leads out"),
        ("/{name}.jpg={name}.png", "leads out"),
        ("{name}.gif={name}_mask.gif", "fits 0 images and .* 0. The first images are A/0.png"),
        ("A/{name}.png=B/x{name}.png", "fits 3 images and .* 0"),
        ("A/{name}0.png=B/{name}1.png", "fits 0 images"),
        ("A/{name}.png=B/{name}.bmp", "fits 3 images and .* 0"),
        ("{name}.png={name}.png", "its own partner"),
        ("A/{name}.png=B/1{name}.png", r"A/0.png|is not there"),
    ],
)
def test_a_pattern_that_fits_nothing_is_explained(tmp_path, pair, said):
    root = filled(tmp_path / "set", "A/{name}.png", "B/{name}.png", ("0", "1", "12"))
    with pytest.raises(ValueError, match=said) as caught:
        data.open(root, want="pairs", pair=pair)
    assert "'{name}.jpg={name}_mask.gif'" in str(caught.value)


def test_a_pattern_is_for_files(tmp_path):
    for name in ("digits", "digits,digits:test"):
        with pytest.raises(ValueError, match="--pair names the files of a folder|is built in"):
            data.open(name, pair="{name}.png={name}_b.png")
    with pytest.raises(ValueError, match="give two folders"):
        data.open(f"digits,{tmp_path}", want="pairs", pair="{name}.png={name}_b.png")


def test_names_are_matched_in_linear_time_and_literally():
    long = "a." * 30_000
    assert patterns.match("{name}.*", [f"{long}/x"]) == {}
    assert patterns.match("{name}_m.*", ["_m" * 30_000 + "/x.png"]) == {}
    assert list(patterns.match("im[g]s/{name}.jpg", ["img/x.jpg", "Im[g]s/İ x.JPG"])) == ["Im[g]s/İ x.JPG"]
    assert patterns.match("A/{name}.*", ["BA/1.png", "A/1", "A/.png"]) == {}
    key = patterns.match("a/{name}_m/*", ["z/a/y/x_m/7.png"])["z/a/y/x_m/7.png"]
    assert key == ("z/", "y/x") and patterns.expected("b/{name}.png", key) == "z/b/y/x.png"


def test_each_known_layout_is_a_pattern_that_a_user_could_type():
    for layout in patterns.KNOWN:
        patterns.parse(str(layout)) if layout.b != "ground_truth/{name}/*" else None


def test_folders_that_are_no_known_layout_stay_as_they_are(tmp_path):
    for folder in ("image", "mask", "other"):
        for i in range(3):
            picture(tmp_path / "three" / folder / f"{i}.png", noise(8, 8, 3, seed=i))
    assert data.open(tmp_path / "three").class_names == ["image", "mask", "other"]
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        info = tarfile.TarInfo("A/0.png")
        content = encoded(noise(8, 16, 3))
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    assert len(data.open(tmp_path / "x.tar", want="pairs")) == 1, "halves of one image"


def test_options_that_change_nothing_keep_the_data(tmp_path):
    root = filled(tmp_path / "set", "imgs/{name}.jpg", "masks/{name}.png", maps=VOID)
    plain = data.open(root)
    assert plain.fingerprint != data.open(root, void="0").fingerprint
    assert choices.Reading(void="none").check() and plain.fingerprint == data.open(root, want="masks").fingerprint
    for void in ("nothing", "-1", "256", "1;2", "x" * 500):
        with pytest.raises(ValueError, match="--void"):
            data.open(root, void=void)


def test_parts_by_folders_and_by_lists(tmp_path):
    city = tmp_path / "city"
    for i, part in enumerate(("train", "val")):
        a, b = (
            f"{side}/{part}/{{name}}_{side}{end}.png" for side, end in (("leftImg8bit", ""), ("gtFine", "_labelIds"))
        )
        filled(city, a, b, [f"ulm/{part}{j}" for j in range(2 + i)])
    assert len(data.open(city)) == 2 and len(data.open(data.held_out_of(city), want="masks")) == 3
    cars = filled(tmp_path / "cars", "train/{name}.jpg", "train_masks/{name}_mask.gif")
    picture(cars / "test" / "7.jpg", noise(8, 12, 3, seed=7))
    assert len(data.open(cars)) == 3 and not data.open(cars).skipped
    names = [f"2007_{i:06}" for i in range(6)]
    for objects in (False, True):
        voc = filled(tmp_path / f"voc{objects}", "JPEGImages/{name}.jpg", "SegmentationClass/{name}.png", names)
        if objects:
            filled(voc, "JPEGImages/{name}.jpg", "SegmentationObject/{name}.png", names)
        lists = {"train": names[:4], "val": names[4:], "trainval": names}
        for part, those in lists.items():
            put(voc, **{f"ImageSets/Segmentation/{part}.txt": "\n".join(those).encode()})
        counts = [len(data.open(voc, want="masks", split=part)) for part in ("", "val", "all")]
        assert counts == [4, 2, 6] and len(data.open(data.held_out_of(voc), want="masks")) == 2
        put(voc, **{"ImageSets/Segmentation/train.txt": b"\n".join(map(str.encode, [*names[:4], "2009_1"]))})
        with pytest.raises(data.BadFiles, match="2009_1: in ImageSets/Segmentation/train.txt, but not there"):
            data.open(voc)


def test_suffixes_are_known_among_many_names():
    names = [f"images/{i}.jpg" for i in range(20_000)] + [f"masks/{i}_seg.png" for i in range(20_000)]
    layout = patterns.recognised(names, "masks")
    a, b = patterns.sides(layout, names)
    assert layout.b == "masks/{name}_seg.*" and a.keys() == {*names[:20_000]} and b.keys() == {*names[20_000:]}


def test_defects_are_label_maps_for_models_that_segment(tmp_path):
    for i, kind in enumerate(("train/good", "test/good", "test/crack")):
        picture(tmp_path / "bottle" / kind / "000.png", noise(8, 8, 3, seed=i))
    picture(tmp_path / "bottle/ground_truth/crack/000_mask.png", np.eye(8, dtype=np.uint8) * 255)
    assert len(data.open(tmp_path / "bottle")) == 1, "normal images"
    masks = data.open(tmp_path / "bottle", want="masks", split="test")
    assert masks.kind == "masks" and len(masks) == 1 and read_maps(masks)[0].sum() == 8
    assert any("1 of 2 images have no label map" in text for text in masks.warnings)


def test_classes_that_are_called_like_label_maps_are_classes(tmp_path):
    for i, name in enumerate(("train/with_mask", "train/without_mask", "test/with_mask", "test/without_mask")):
        picture(tmp_path / "faces" / name / "0.png", noise(8, 8, 3, seed=i))
    dataset = data.open(tmp_path / "faces")
    assert dataset.class_names == ["with_mask", "without_mask"] and len(dataset) == 2
