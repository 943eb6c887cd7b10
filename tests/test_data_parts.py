"""Parts of data sets: what is learned from, what is held out, and how it is decided."""

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gankit
from gankit import cli, data

pytestmark = pytest.mark.usefixtures("fresh_cache")


def make(root: Path, *names: str, content: dict[str, str] | None = None, texts: dict[str, str] | None = None) -> Path:
    """Images of these names, each of another content but for those in `content`, which are copies; and text files."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = names.index((content or {}).get(name, name))
        Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)).save(path)
    for name, text in (texts or {}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def contents(dataset) -> set[bytes]:
    return {row.tobytes() for row in dataset.read(np.arange(len(dataset)))}


FOLDERS = {
    "AFHQ": (("train/cat/1", "train/dog/2", "val/cat/3", "val/dog/4"), {"train": 2, "val": 2}, ["cat", "dog"]),
    "COCO": (("train2017/1", "train2017/2", "val2017/3"), {"train": 2, "val": 1}, []),
    "STL": (("train/1", "test/2", "unlabeled/3"), {"train": 1, "test": 1, "unlabeled": 1}, []),
    "capitals": (("Train/1", "Val/2", "extra/3"), {"train": 1, "val": 1, "extra": 1}, []),
    "words": (("training/1", "validation/2", "testing/3"), {"train": 1, "val": 1, "test": 1}, []),
    "suffixes": (("train_images/1", "test_images/2"), {"train": 1, "test": 1}, []),
    "nnU-Net": (("imagesTr/1", "imagesTs/2"), {"train": 1, "test": 1}, []),
    "MVTec": (("train/good/1", "test/good/2", "test/hole/3", "ground_truth/hole/3_mask"), {"train": 1, "test": 2}, []),
    "all of MVTec": (
        ("a/train/good/1", "a/test/hole/2", "a/ground_truth/hole/2_mask", "b/train/good/3", "b/test/good/4"),
        {"train": 2, "test": 2},
        ["a", "b"],
    ),
    "Carvana": (("train/1", "train/2", "train_masks/1_mask", "test/3"), {"train": 2, "test": 1}, []),
    "below one": (("afhq/train/cat/1", "afhq/train/dog/2", "afhq/test/cat/3"), {"train": 2, "test": 1}, ["cat", "dog"]),
    "in classes": (("cat/train/1", "cat/test/2", "dog/train/3", "dog/test/4"), {"train": 2, "test": 2}, ["cat", "dog"]),
}  # fmt: skip


@pytest.mark.parametrize("layout", FOLDERS)
@pytest.mark.parametrize("is_archive", [False, True], ids=["folder", "zip"])
def test_folders_are_parts_and_only_train_is_learned_from(layout, is_archive, tmp_path):
    names, counts, classes = FOLDERS[layout]
    root = make(tmp_path / "set", *(f"{name}.png" for name in names), texts={"notes.txt": "about"})
    if is_archive:
        with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
            for path in sorted(root.rglob("*.*")):
                archive.write(path, path.relative_to(root))
        root = tmp_path / "set.zip"
    train = data.open(root)
    assert train.division.counts == counts and train.division.part == "train"
    assert len(train) == counts["train"] and train.class_names == classes
    assert all("train" in name or "Tr" in name or "/" not in name or classes for name in train.names)
    held = data.held_out_of(root)
    part = next((part for part in ("test", "val") if part in counts), None)
    assert (held is None) == (part is None)
    others = data.open(held)
    assert len(others) == counts[part] and not contents(train) & contents(others)
    assert len(data.open(f"{root}:{part}")) == counts[part] == len(data.open(root, split=part))
    assert len(data.open(root, split="all")) == sum(counts.values()), "masks and ground truth are no samples"
    assert "train is read" in str(data.describe(root)).replace(": train is read", " train is read")


def test_a_folder_that_is_half_parts_half_classes_is_asked_about(tmp_path, capsys):
    root = make(tmp_path / "set", "train/1.png", "cat/2.png", "dog/3.png", "dog/4.png")
    for function in (data.open, data.describe):
        with pytest.raises(ValueError, match="train looks like parts? .* cat and dog .* --split train .* --split all"):
            function(root)
    assert len(data.open(root, split="train")) == 1
    assert data.open(root, split="all").class_names == ["cat", "dog", "train"]
    assert data.held_out_of(root) is None
    with pytest.raises(SystemExit):
        cli.main(["train", "dcgan", "--preset", "small", "--data", str(root), "-n"])
    assert "--split train" in capsys.readouterr().err


def test_parts_without_one_to_learn_from_are_asked_about(tmp_path):
    root = make(tmp_path / "set", "test/1.png", "val/2.png")
    with pytest.raises(ValueError, match="val and test, and none to learn from: add --split val or --split test or"):
        data.open(root)
    assert len(data.open(root, split="val")) == 1 and len(data.open(root, split="all")) == 2
    with pytest.raises(ValueError, match="no part 'trian': it has val and test"):
        data.open(root, split="trian")
    with pytest.raises(ValueError, match="no part 'test': it has no parts"):
        data.open(make(tmp_path / "flat", "1.png", "2.png"), split="test")


def test_words_that_are_parts_only_beside_train_are_classes_alone(tmp_path):
    root = make(tmp_path / "set", "good/1.png", "extra/2.png", "bad/3.png")
    assert data.open(root).class_names == ["bad", "extra", "good"] and data.held_out_of(root) is None


def test_images_beside_the_folders_of_parts_are_not_read(tmp_path):
    root = make(tmp_path / "set", "train/1.png", "test/2.png", "preview.png")
    dataset = data.open(root)
    assert len(dataset) == 1 and any("preview.png" in note for note in dataset.warnings)


VOC = {"VOC/ImageSets/Segmentation/train.txt": "1\n", "VOC/ImageSets/Segmentation/val.txt": "2\n",
       "VOC/ImageSets/Main/train.txt": "1\n2\n", "VOC/ImageSets/Main/val.txt": "3\n"}  # fmt: skip
LISTS = {
    "CelebA": (("img/1.jpg", "img/2.jpg", "img/3.jpg"), {"list_eval_partition.txt": "1.jpg 0\n2.jpg 1\n3.jpg 2\n"}),
    "CelebA's csv": (
        ("img/1.jpg", "img/2.jpg", "img/3.jpg"),
        {"list_eval_partition.csv": "image_id,partition\r\n1.jpg,0\r\n2.jpg,1\r\n3.jpg,2\r\n"},
    ),
    "CUB": (
        ("images/1.x/a.jpg", "images/2.y/b.jpg"),
        {"images.txt": "1 1.x/a.jpg\n2 2.y/b.jpg\n", "train_test_split.txt": "1 1\n2 0\n"},
    ),
    "VOC": (("VOC/JPEGImages/1.jpg", "VOC/JPEGImages/2.jpg", "VOC/JPEGImages/3.jpg"), VOC),
    "Food-101": (
        ("images/pie/1.jpg", "images/tart/2.jpg", "images/pie/3.jpg"),
        {"meta/train.txt": "pie/1\ntart/2\n", "meta/test.txt": "pie/3\n"},
    ),
    "pets": (
        ("images/cat_1.jpg", "images/dog_1.jpg"),
        {"annotations/trainval.txt": "cat_1 1 1 1\n", "annotations/test.txt": "dog_1 2 2 1\n"},
    ),
    "a column": (("1.png", "2.png", "3.png"), {"list.csv": "file,split\n1.png,train\n2.png,train\n3.png,test\n"}),
    "a column of jsonl": (
        ("1.png", "2.png"),
        {"metadata.jsonl": '{"file_name": "1.png", "split": "train"}\n{"file_name": "2.png", "split": "validation"}\n'},
    ),
}  # fmt: skip


@pytest.mark.parametrize("layout", LISTS)
def test_lists_and_columns_divide_images(layout, tmp_path):
    names, texts = LISTS[layout]
    root = make(tmp_path / "set", *names, texts=texts)
    train = data.open(root)
    held = data.held_out_of(root)
    assert held and re.fullmatch(rf"{re.escape(str(root))}:(test|val)", held)
    assert (
        len(train) + len(data.open(held)) <= len(names)
        and len(train)
        and not contents(train) & contents(data.open(held))
    )
    assert not train.attribute_names, "the column of parts is no attribute"
    assert train.division.layout.startswith("the list") and train.division.held_out in ("test", "val")


def test_a_list_that_names_missing_files_is_reported(tmp_path):
    texts = {"meta/train.txt": "1\n2\n3\ngone\n", "meta/test.txt": "4\nalso_gone\n"}
    root = make(tmp_path / "set", *(f"images/{i}.png" for i in range(1, 6)), texts=texts)
    with pytest.raises(data.BadFiles, match="gone: in meta/train.txt, but not there"):
        data.open(root)
    dataset = data.open(root, skip_bad=True)
    assert len(dataset) == 3 and any("1 of 5 images are in none of" in note for note in dataset.warnings)


def test_exact_copies_across_parts_are_not_learned_from_and_reported(tmp_path, capsys):
    names = ["train/1.png", "train/2.png", "train/3.png", "val/a.png", "test/b.png", "test/c.png"]
    root = make(tmp_path / "set", *names, content={"test/b.png": "train/2.png", "val/a.png": "train/3.png"})
    train = data.open(root)
    assert train.names == ["1.png"] and len(data.open(f"{root}:test")) == 2
    for part in ("val", "test"):
        assert not contents(train) & contents(data.open(f"{root}:{part}"))
    assert any("2 images are left out" in note and "train/2.png is test/b.png" in note for note in train.warnings)
    assert "copies of held-out images: train/2.png is test/b.png" in str(data.describe(root))
    every = make(tmp_path / "every", "train/1.png", "train/2.png", "test/1.png", "test/2.png",
                 content={"test/1.png": "train/1.png", "test/2.png": "train/2.png"})  # fmt: skip
    with pytest.raises(ValueError, match="every image to learn from is an exact copy .* --split all"):
        data.open(every)


def test_held_out_data_is_never_learned_from_whatever_its_names(tmp_path):
    root = make(tmp_path / "set", *(f"{i}.png" for i in range(6)))
    other = tmp_path / "other"
    other.mkdir()
    (other / "x.png").write_bytes((root / "2.png").read_bytes())
    make(other, "y.png")
    dataset = data.open(root, held_out=str(other))
    assert dataset.names == ["0.png", "1.png", "3.png", "4.png", "5.png"] or len(dataset) == 4
    assert not contents(dataset) & contents(data.open(other))
    assert dataset.fingerprint != data.open(root).fingerprint
    (other / "z.png").write_bytes((root / "5.png").read_bytes())
    assert "5.png" not in data.open(root, held_out=str(other)).names, "a new held-out image counts at once"
    with pytest.raises(ValueError, match="--held-out takes files.*digits is built in"):
        data.open(root, held_out="digits")
    with pytest.raises(ValueError, match="there is no data"):
        data.open(root, held_out=str(tmp_path / "none"))


def test_a_run_evaluates_on_the_data_that_it_held_out(tmp_path):
    root = make(tmp_path / "set", *(f"{i}.png" for i in range(16)))
    other = make(tmp_path / "other", *(f"{i}.png" for i in range(20)))
    for i in range(16):
        (other / f"{i}.png").unlink()
    run = gankit.train(
        "dcgan", preset="small", data=str(root), held_out=str(other), resolution="16", images=8, batch=4, width=4,
        outdir=str(tmp_path / "runs"), quiet=True, device="cpu", threads=1, workers=0, preview=0,
    )  # fmt: skip
    from gankit.evaluation.trials import open_reference

    settings = run.config["settings"] if hasattr(run, "config") else gankit.load(run.folder).config["settings"]
    reference = open_reference(None, str(root), "", settings)
    assert reference.held_out.count == 4 and reference.real.count == 16


def test_built_in_sets_take_split(tmp_path):
    assert data.open("digits", split="test").fingerprint == data.open("digits:test").fingerprint
    assert data.open("digits", split="train").fingerprint == data.open("digits").fingerprint
    with pytest.raises(ValueError, match="no part 'val'; it has test"):
        data.open("digits", split="val")


def test_memorised_copies_of_the_training_part_are_called_copies(tmp_path):
    names = [f"{part}/{i:02}.png" for part in ("train", "val") for i in range(16)]
    root = make(tmp_path / "set", *names)
    for i in range(16):
        buffer = io.BytesIO((root / f"train/{i:02}.png").read_bytes())
        (tmp_path / "copies").mkdir(exist_ok=True)
        (tmp_path / "copies" / f"{i:02}.png").write_bytes(buffer.getvalue())
    scores = gankit.evaluate(str(tmp_path / "copies"), against=str(root), metrics="memorisation", features="digits")
    assert "no sign" not in scores[0].note


def wide(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 16, 3), np.uint8)).save(path)


def test_pairs_and_label_maps_and_domains_are_held_out_by_content_too(tmp_path):
    for part, seeds in (("train", (0, 1, 2)), ("val", (3, 1))):
        for i, seed in enumerate(seeds):
            wide(tmp_path / f"facades/{part}/{i}.png", seed)
            wide(tmp_path / f"set/{part}/images/{i}.png", seed)
            Image.fromarray(np.repeat(np.array([0, 255], np.uint8), 64).reshape(8, 16)).save(
                (tmp_path / f"set/{part}/masks").mkdir(exist_ok=True) or tmp_path / f"set/{part}/masks/{i}.png"
            )
            wide(tmp_path / f"zebras/{part.replace('val', 'test')}A/{i}.png", seed)
            wide(tmp_path / f"zebras/{part.replace('val', 'test')}B/{i}.png", seed + 10)
    note = "is held out"
    pairs = data.open(tmp_path / "facades", want="pairs")
    assert len(pairs) == 2 and any("1 samples are left out" in text for text in pairs.warnings), pairs.warnings
    assert "copies of held-out images: 1.png is val/1.png" in str(data.describe(tmp_path / "facades", want="pairs"))
    masks = data.open(tmp_path / "set")
    assert masks.kind == "masks" and len(masks) == 2 and note in str(masks.division)
    domains = data.open(tmp_path / "zebras")
    assert len(domains.a) == 2 == len(domains.b) and not contents(domains.a) & contents(
        data.open(tmp_path / "zebras/testA")
    )
    assert len(data.open(tmp_path / "zebras:test").a) == 2
    both = f"{tmp_path}/zebras/trainA,{tmp_path}/zebras/trainB"
    assert len(data.open(both, want="pairs", held_out=f"{tmp_path}/zebras/testA").a) == 2
    with pytest.raises(ValueError, match="--held-out compares the content of files"):
        data.open("digits", held_out=str(tmp_path / "set"))
