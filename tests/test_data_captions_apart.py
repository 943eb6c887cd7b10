"""Captions apart from their images: trees of texts, COCO's and Flickr's lists, and files that users name."""

import json
import zipfile

import numpy as np
import pytest
import scipy.io
from picture_files import noise, picture

from gankit import data
from gankit.data.captions import lines
from gankit.data.reading import rowfiles

pytestmark = pytest.mark.usefixtures("fresh_cache")

CLASSES = ("001.Black_footed_Albatross", "002.Laysan_Albatross")
BIRDS = [f"{name}/{name[4:]}_{i}" for name in CLASSES for i in range(2)]


def images(root, names):
    for i, name in enumerate(names):
        picture(root / name, noise(8, 8, 3, seed=sum(map(ord, root.name)) + i))


def write(path, text, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))


def ten(name):
    return "\n".join(f"bird {name[-1]} of {name[:3]} line {i}" for i in range(10)) + "\n"


@pytest.fixture
def cub(tmp_path):
    """CUB_200_2011 with the captions of Reed et al. beside images/."""
    root = tmp_path / "CUB_200_2011"
    images(root / "images", [f"{name}.jpg" for name in BIRDS])
    for name in BIRDS:
        write(root / "text_c10" / f"{name}.txt", ten(name))
        write(root / "text_c10" / f"{name}.h5", "not read")
    write(root / "classes.txt", "1 001.Black_footed_Albatross\n")
    write(root / "README", "birds")
    return root


def test_cubs_texts_are_matched_by_class_and_name(cub):
    dataset = data.open(cub, want="captions")
    assert dataset.names == [f"{name}.jpg" for name in BIRDS] and dataset.class_names == list(CLASSES)
    assert [lines(text) for text in dataset.captions] == [lines(ten(name)) for name in BIRDS]
    assert len(lines(dataset.captions[0])) == 10 and data.describe(cub, want="captions").captions == 4
    plain = data.open(cub)  # other models leave them alone, and say so
    assert not plain.captions and any(
        "text_c10/: captions, which are read with --as captions" in w for w in plain.warnings
    )


def test_of_two_trees_that_with_the_most_texts_is_read_and_the_other_can_be_named(cub):
    for name in BIRDS[:2]:
        write(cub / "text" / f"{name}.txt", f"short {name[-1]}")
    dataset = data.open(cub, want="captions")
    assert lines(dataset.captions[0])[0].startswith("bird 0")
    assert any("those in text_c10/; for those in text add --captions text." in text for text in dataset.warnings)
    named = data.open(cub, want="captions", captions="text", skip_bad=True)
    assert named.captions == ["short 0", "short 1"] and len(named.skipped) == 2


def test_a_tree_outside_of_the_data_is_named(cub, monkeypatch):
    with pytest.raises(ValueError, match="there are no captions.*any file or folder of texts that --captions names"):
        data.open(cub / "images", want="captions")
    assert len(data.open(cub / "images", want="captions", captions="../text_c10")) == 4
    monkeypatch.chdir(cub)
    before = data.open("images", want="captions", captions="text_c10")
    write(cub / "text_c10" / f"{BIRDS[0]}.txt", "changed")
    after = data.open("images", want="captions", captions="text_c10")
    assert after.captions[0] == "changed" and after.fingerprint != before.fingerprint, "a changed file is noticed"
    with pytest.raises(ValueError, match="there is no file 'texts', neither in the data nor in the working directory"):
        data.open("images", want="captions", captions="texts")
    (cub / "empty").mkdir()
    with pytest.raises(ValueError, match="--captions empty has no text for an image of the data"):
        data.open("images", want="captions", captions="empty")


def test_texts_in_another_encoding_are_listed_with_what_to_do(cub):
    write(cub / "text_c10" / f"{BIRDS[2]}.txt", "caf\xe9", "latin-1")
    with pytest.raises(data.BadFiles) as caught:
        data.open(cub, want="captions")
    assert caught.value.files == [(f"text_c10/{BIRDS[2]}.txt", "is no text in UTF-8 (byte 3): save it as UTF-8")]
    assert caught.value.files[0] in data.describe(cub, want="captions").bad
    assert len(data.open(cub)) == 4 and not data.describe(cub).bad
    dataset = data.open(cub, want="captions", skip_bad=True)
    assert dataset.names == [f"{name}.jpg" for i, name in enumerate(BIRDS) if i != 2]


def test_a_missing_text_and_one_of_no_image_are_said(cub):
    (cub / "text_c10" / f"{BIRDS[1]}.txt").rename(cub / "text_c10" / "002.Laysan_Albatross" / "gone.txt")
    with pytest.raises(data.BadFiles, match=r"_1.jpg: has no caption"):
        data.open(cub, want="captions")
    dataset = data.open(cub, want="captions", skip_bad=True)
    assert any("text_c10/: 1 of its 4 texts are of no image here" in text for text in dataset.warnings)


def test_a_text_of_another_class_is_not_taken(tmp_path):
    images(tmp_path / "images", ["cat/1.jpg", "cat/2.jpg", "dog/2.jpg", "dog/3.jpg"])
    for name in ("cat/1", "dog/2", "dog/1", "cat/3"):
        write(tmp_path / "text" / f"{name}.txt", f"a {name}")
    dataset = data.open(tmp_path, want="captions", skip_bad=True)
    assert dict(zip(dataset.names, dataset.captions)) == {"cat/1.jpg": "a cat/1", "dog/2.jpg": "a dog/2"}


def test_oxford_flowers_lie_flat_and_their_texts_in_classes(tmp_path):
    images(tmp_path / "jpg", [f"image_{i:05}.jpg" for i in range(1, 5)])
    for i in range(1, 5):
        write(tmp_path / "text_c10" / f"class_{i % 2 + 1:05}" / f"image_{i:05}.txt", f"flower {i}\npetals {i}")
    texts = [f"flower {i}\npetals {i}" for i in range(1, 5)]
    assert data.open(tmp_path, want="captions").captions == texts
    scipy.io.savemat(tmp_path / "imagelabels.mat", {"labels": np.array([[2, 1, 2, 1]], np.uint8)})
    dataset = data.open(tmp_path, want="captions")
    assert dataset.captions == texts and dataset.labels.tolist() == [1, 0, 1, 0]


def test_boxes_in_text_files_are_no_captions(tmp_path):
    images(tmp_path / "images", ["a.jpg", "b.jpg"])
    for name in "ab":
        write(tmp_path / "labels" / f"{name}.txt", "0 0.5 0.5 0.2 0.2\n")
    with pytest.raises(ValueError, match="there are no captions"):
        data.open(tmp_path, want="captions")


# ---- lists


def coco(count=3, **changed):
    tree = dict(
        info={},
        images=[dict(id=10 + i, file_name=f"{i:012}.jpg") for i in range(count)],
        annotations=[dict(id=j, image_id=10 + j % count, caption=f"thing {j}") for j in range(2 * count)],
    )
    return json.dumps(tree | changed)


def test_cocos_captions_are_read_and_its_objects_are_not(tmp_path):
    images(tmp_path / "val2017", [f"{i:012}.jpg" for i in range(3)])
    write(tmp_path / "annotations" / "captions_val2017.json", coco())
    write(tmp_path / "annotations" / "instances_val2017.json", "{" * 10)
    write(
        tmp_path / "annotations" / "captions_train2017.json",
        coco(images=[dict(id=10, file_name="x.jpg")], annotations=[]),
    )
    dataset = data.open(tmp_path, split="all", want="captions")
    assert [lines(text) for text in dataset.captions] == [[f"thing {i}", f"thing {i + 3}"] for i in range(3)]
    assert any("instances_val2017.json is not read, as it holds boxes" in text for text in dataset.warnings)
    file = "../annotations/captions_val2017.json"
    assert data.open(tmp_path / "val2017", want="captions", captions=file).captions == dataset.captions
    write(tmp_path / "annotations" / "instances_val2017.json", coco(annotations=[dict(image_id=10, bbox=[1, 2, 3, 4])]))
    with pytest.raises(
        ValueError, match="instances_val2017.json: it holds boxes or outlines of objects, and no captions"
    ):
        data.open(tmp_path / "val2017", want="captions", captions="../annotations/instances_val2017.json")


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "Expecting value"),
        ("[" * 100_000, "nested too deeply"),
        ('{"images": [1], "annotations": []}', "images: entry 1 is not of the form"),
        ('{"images": [{"id": [1], "file_name": "a"}], "annotations": []}', "images: entry 1 is not of the form"),
        ('{"images": [{"id": 1, "file_name": 3}], "annotations": []}', "images: entry 1 is not of the form"),
        ('{"images": [], "annotations": 7}', "annotations must be a list"),
        ('{"images": [], "annotations": [{"image_id": {}, "caption": "a"}]}', "annotations: entry 1 is not"),
        ('{"images": [], "annotations": [{"image_id": 1, "caption": ["a"]}]}', "annotations: entry 1 is not"),
        ('{"images": [{"filename": "0.jpg", "sentences": [3]}]}', "images: entry 1 is not of the form"),
        ('[{"file_name": "0.jpg", "text": "\\ud800"}]', "holds half a letter"),
        ("[1]", "its rows: entry 1 is not of the form"),
        ("7", "it is no table"),
        ('{"a": 1, "a": 2}', "'a' is there twice"),
        ("[" + "1" * 10_000 + "]", ""),
    ],
)
def test_wrong_json_is_refused_in_words(tmp_path, content, message):
    images(tmp_path, ["0.jpg", "1.jpg"])
    write(tmp_path / "captions.json", content)
    with pytest.raises(ValueError, match=f"there are no captions: captions.json is not used: .*{message}"):
        data.open(tmp_path, want="captions")
    with pytest.raises(ValueError, match=f"--captions captions.json: .*{message}"):
        data.open(tmp_path, want="captions", captions="captions.json")
    assert len(data.open(tmp_path)) == 2


def test_json_of_many_objects_is_refused_before_it_takes_memory(monkeypatch):
    monkeypatch.setattr(rowfiles, "MOST_NODES", 100)
    with pytest.raises(ValueError, match="more than 100 objects"):
        rowfiles.sheet("captions.json", b"[" + b"{}," * 200 + b"{}]")
    monkeypatch.setattr(rowfiles, "MOST_VALUES", 100)
    with pytest.raises(ValueError, match="100 values, the most"):
        rowfiles.sheet("captions.json", b"[" + b"1," * 200 + b"1]")


@pytest.mark.parametrize(
    "name, content",
    [
        ("captions.json", json.dumps([dict(image=f"{i}.jpg", caption=f"a {i}") for i in (0, 1) for _ in "ab"])),
        ("captions.json", json.dumps({f"{i}.jpg": [f"a {i}", f"a {i}"] for i in (0, 1)})),
        (
            "dataset_flickr8k.json",
            json.dumps(dict(images=[dict(filename=f"{i}.jpg", sentences=[dict(raw=f"a {i}")] * 2) for i in (0, 1)])),
        ),
        (
            "captions.jsonl",
            "".join(json.dumps(dict(image=f"{i}.jpg", text=f"a {i}")) + "\n" for i in (0, 1) for _ in "ab"),
        ),
        ("results_20130124.token", "".join(f"{i}.jpg#{j}\ta {i}\n" for i in (0, 1) for j in (0, 1))),
        ("Flickr8k.token.txt", "".join(f"{i}.jpg#{j}\ta {i}\r\n" for i in (0, 1) for j in (0, 1))),
        ("captions.txt", "image,caption\n" + "".join(f'{i}.jpg,"a {i}"\n' for i in (0, 1) for _ in "ab")),
        ("captions.tsv", "filename\tcaption\n" + "".join(f"{i}.jpg\ta {i}\n" for i in (0, 1) for _ in "ab")),
        (
            "results.csv",
            "image_name| comment_number| comment\n" + "".join(f"{i}.jpg| {j}| a {i}\n" for i in (0, 1) for j in (0, 1)),
        ),
        ("other.csv", "Image;Caption;Label\n" + "".join(f"{i}.jpg;a {i};c{i}\n" for i in (0, 1) for _ in "ab")),
    ],
)
def test_lists_of_captions_in_many_forms(tmp_path, name, content):
    images(tmp_path / "set" / "flickr_images", ["0.jpg", "1.jpg"])
    write(tmp_path / "set" / name, content)
    dataset = data.open(tmp_path / "set", want="captions")
    assert dataset.captions == ["a 0\na 0", "a 1\na 1"]
    if name == "captions.json":
        with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
            for path in (tmp_path / "set").rglob("*.*"):
                archive.write(path, f"in/{path.relative_to(tmp_path / 'set')}")
        assert (
            data.open(tmp_path / "set.zip", want="captions", captions="in/captions.json").captions == dataset.captions
        )
        assert data.open(tmp_path / "set.zip", want="captions").captions == dataset.captions


def test_lines_of_flickrs_files_that_are_no_rows_are_said(tmp_path):
    images(tmp_path, ["0.jpg", "1.jpg"])
    rows = "".join(f'{i}.jpg| {j}| " a {i}\n' for i in (0, 1) for j in (0, 1))
    write(tmp_path / "results.csv", f"image_name| comment_number| comment\n{rows}1.jpg| 4   A dog .\n")
    dataset = data.open(tmp_path, want="captions")  # quotes are part of a caption, closed or not
    assert dataset.captions == ['" a 0\n" a 0', '" a 1\n" a 1']
    assert any("1 of its rows are not read: the row '1.jpg 4   A dog .' has 2 values" in w for w in dataset.warnings)
    (tmp_path / "results.csv").unlink()
    write(tmp_path / "x.token", "0.jpg#0\ta\n1.jpg#0\tb\nbroken\n")
    assert data.open(tmp_path, want="captions").captions == ["a", "b"]
    write(tmp_path / "x.token", "0.jpg#0\tcaf\xe9\n", "latin-1")
    with pytest.raises(ValueError, match="x.token is not used: is no text in UTF-8 .byte 11.: save it as UTF-8"):
        data.open(tmp_path, want="captions")


def test_captions_of_other_parts_are_not_missed(tmp_path):
    images(tmp_path / "train", ["a/0.jpg", "a/1.jpg"])
    images(tmp_path / "test", ["a/2.jpg"])
    for i in range(3):
        write(tmp_path / "text" / "a" / f"{i}.txt", f"thing {i}")
    dataset = data.open(tmp_path, want="captions")
    assert dataset.captions == ["thing 0", "thing 1"] and not any("no image here" in text for text in dataset.warnings)
