"""Which images a table speaks for, what it may stop, the names of its columns, and the order of classes."""

import json

import pytest
from picture_files import noise, picture

from gankit import data, models
from gankit.data.reading import classorder, metadata
from gankit.training.settings import plan
from gankit.training.setup import open_for

pytestmark = pytest.mark.usefixtures("fresh_cache")


def images(root, names, start=0):
    for i, name in enumerate(names):
        picture(root / name, noise(8, 8, 3, seed=start + i))


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", "utf-8")


def train(model, root, **more):
    """What `gankit train -n` opens, or raises."""
    kind = models.find(model)
    changed = dict(data=str(root), resolution="32") | more
    return open_for(kind, *plan(kind, "", changed))[0]


# ---- folders


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "labels.csv"])
@pytest.mark.parametrize("folders", [("train", "test"), ("one", "two")])
def test_a_table_speaks_for_its_own_folder(tmp_path, name, folders):
    for place, folder in enumerate(folders):
        images(tmp_path / folder, [f"{i:04}.png" for i in range(3 - place)], 9 * place)
        rows = [dict(file_name=f"{i:04}.png", text=f"{folder} {i}", size=place) for i in range(3 - place)]
        if name.endswith("csv"):
            write(tmp_path / folder / name, ",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows))
        else:
            write(tmp_path / folder / name, *map(json.dumps, rows))
    dataset = data.open(tmp_path, want="captions", split="all" if folders[0] == "train" else "")
    assert len(dataset) == 5 and not dataset.skipped
    assert {path: text for path, text in zip(dataset.names, dataset.captions)} == {
        f"{folder}/{i:04}.png": f"{folder} {i}" for place, folder in enumerate(folders) for i in range(3 - place)
    }
    assert dataset.attribute_names == ["size"]
    part = data.open(tmp_path / folders[1], want="captions")
    assert part.captions == [f"{folders[1]} 0", f"{folders[1]} 1"]


def test_train_is_read_where_tables_of_train_and_test_have_equal_names(tmp_path):
    for place, folder in enumerate(("train", "test")):
        images(tmp_path / folder, ["0.png", "1.png"], 9 * place)
        write(tmp_path / folder / "metadata.csv", "file_name,text", f"0.png,{folder} a", f"1.png,{folder} b")
    assert data.open(tmp_path, want="captions").captions == ["train a", "train b"]
    write(tmp_path / "all.csv", "path,age", "train/0.png,1", "train/1.png,2", "test/0.png,3")
    for folder in ("train", "test"):
        (tmp_path / folder / "metadata.csv").unlink()
    dataset = data.open(tmp_path)  # a row of a held-out image is not one too many
    assert dataset.attributes.ravel().tolist() == [1, 2] and not any("not here" in text for text in dataset.warnings)
    write(tmp_path / "all.csv", "path,age", "0.png,1", "1.png,2")
    assert "'0.png' names several images" in data.open(tmp_path).faults["attributes"]


def test_the_nearest_table_counts_and_names_may_begin_at_the_root(tmp_path):
    images(tmp_path, ["a/0.png", "a/1.png", "b/0.png"])
    write(tmp_path / "metadata.csv", "file_name,text", "a/0.png,far", "b/0.png,b")
    write(tmp_path / "a" / "metadata.csv", "file_name,text", "0.png,near", "a/1.png,from the root")
    assert data.open(tmp_path).captions == ["near", "from the root", "b"]
    write(tmp_path / "a" / "metadata.csv", "file_name,text", "0.png,near", "gone.png,x")
    with pytest.raises(data.BadFiles) as caught:
        data.open(tmp_path)
    assert dict(caught.value.files) == {
        "a/gone.png": "in a/metadata.csv, but not there",
        "a/1.png": "has no row in a/metadata.csv",
    }


def test_images_of_a_folder_without_a_table_are_not_lost(tmp_path):
    images(tmp_path, ["a/0.png", "a/1.png", "b/0.png"])
    write(tmp_path / "a" / "metadata.csv", "file_name,age", "0.png,1", "1.png,2")
    dataset = data.open(tmp_path)
    assert len(dataset) == 3 and "'age' is empty for 1 of 3 images" in dataset.faults["attributes"]


def test_a_table_in_a_folder_of_its_own_speaks_for_all(tmp_path):
    images(tmp_path / "images", ["0.png", "1.png"])
    write(tmp_path / "annotations" / "list.csv", "id,age", "0,1", "1,2")
    assert data.open(tmp_path).attributes.ravel().tolist() == [1, 2]


# ---- what a table may stop


@pytest.mark.parametrize(
    "lines",
    [
        ["image_id,width,height,bbox", *(f'{i},32,32,"[1, 2, {j}, 4]"' for i in range(4) for j in range(3))],
        ["filename,class,xmin,ymin", *(f"{i}.png,{'ab'[j]},{j},2" for i in range(4) for j in range(2))],
        ["id,label", "0,a", "1,b"],
        ["file,label", "0.png,a", "1.png,b", "2.png,", "3.png,"],
        ["file,label", "0.png,a,1", "1.png", "2.png,a", "3.png,b"],
        ["file,label,label", *(f"{i}.png,1,2" for i in range(4))],
        ["file,age", *(f"{i}.png,{'inf' if i else 1}" for i in range(4))],
        ["file,name of it", *(f"{i}.png,word" for i in range(4))],
    ],
)
def test_a_table_that_a_model_does_not_need_is_a_note(tmp_path, lines):
    images(tmp_path, [f"{i}.png" for i in range(4)])
    write(tmp_path / "boxes.csv", *lines)
    dataset = train("dcgan", tmp_path)
    assert len(dataset) == 4 and not dataset.num_classes and not dataset.skipped
    assert any("boxes.csv" in text for text in dataset.warnings)
    with pytest.raises(ValueError, match="cgan needs labels and .* --labels FILE:COLUMN"):
        train("cgan", tmp_path)
    assert not any("boxes" in text for text in data.open(tmp_path, no_table=True).warnings)


def test_models_that_need_what_a_table_has_say_what_is_wrong_with_it(tmp_path):
    images(tmp_path, [f"{i}.png" for i in range(4)])
    write(tmp_path / "metadata.csv", "file_name,label", "0.png,a", "1.png,b", "2.png,", "3.png,a")
    assert len(train("dcgan", tmp_path)) == 4
    with pytest.raises(ValueError, match="cgan needs labels.*metadata.csv: 'label' is empty for 1 of 4 images"):
        train("cgan", tmp_path)
    write(tmp_path / "metadata.csv", "file_name,smile", "0.png,1", "1.png,", "2.png,0", "3.png,0")
    with pytest.raises(ValueError, match="stargan needs attributes.*'smile' is empty for 1 of 4 images"):
        train("stargan", tmp_path)
    with pytest.raises(ValueError, match="neither attributes nor classes.*'smile' is empty"):
        data.open(f"{tmp_path}+{tmp_path}")


def test_classes_of_folders_stay_where_a_foreign_table_has_none(tmp_path):
    images(tmp_path, ["cat/0.png", "cat/1.png", "dog/2.png"])
    write(tmp_path / "boxes.csv", "filename,class", *(f"{i}.png,{c}" for i in range(3) for c in "ab"))
    dataset = train("cgan", tmp_path)
    assert dataset.class_names == ["cat", "dog"] and "'a' and 'b'" in dataset.faults["labels"]


def test_several_rows_are_captions_and_agree_on_other_columns(tmp_path):
    images(tmp_path, ["0.png", "1.png"])
    write(
        tmp_path / "metadata.csv", "file_name,caption,label,age,number,xmin",
        *(f"{i}.png,text {i} {j},c{i},{i},{j},{i}" for i in range(2) for j in range(2)),
    )  # fmt: skip
    dataset = data.open(tmp_path)
    assert dataset.captions == ["text 0 0\ntext 0 1", "text 1 0\ntext 1 1"] and dataset.class_names == ["c0", "c1"]
    assert dataset.attribute_names == ["age"]
    assert any("boxes are not read: 'xmin'" in text and "'number'" in text for text in dataset.warnings)
    write(tmp_path / "metadata.csv", "file_name,label", "0.png,a", "0.png,b", "1.png,a")
    assert "0.png has rows with the labels 'a' and 'b'" in data.open(tmp_path).faults["labels"]


# ---- columns


@pytest.mark.parametrize("title", ["Label", "class", "Category", "TARGET", "class_name", "Class Name", "y"])
def test_labels_are_known_by_the_names_that_people_use(tmp_path, title):
    images(tmp_path, ["0.png", "1.png"])
    for values, names in ((("cat", "dog"), ["cat", "dog"]), (("10", "9"), ["9", "10"])):
        write(tmp_path / "t.csv", f"image,{title},split", f"0.png,{values[0]},train", f"1.png,{values[1]},train")
        dataset = data.open(tmp_path, split="all")
        assert dataset.class_names == names and not dataset.attribute_names and not dataset.warnings


@pytest.mark.parametrize("title", ["Caption", "sentence", "PROMPT", "description", "comment", "text"])
def test_texts_are_known_by_the_names_that_people_use(tmp_path, title):
    images(tmp_path, ["0.png", "1.png"])
    write(tmp_path / "metadata.csv", f"file_name,{title}", "0.png,one", "1.png,two")
    assert data.open(tmp_path).captions == ["one", "two"]


def test_names_that_people_use_for_other_things_stay_attributes():
    rows = [{"target": "0.5", "x": "1", "y": "2", "fold": "3"}, {"target": "1.5", "x": "3", "y": "4", "fold": "1"}]
    known = metadata.columns(metadata.known(rows), "t")
    assert known.attribute_names == ["target", "x", "y"] and not known.labels
    both = metadata.known([{"class": "a", "label": "b", "caption": "c", "text": "d"}])
    assert both == [{"class": "a", "label": "b", "caption": "c", "text": "d"}]


def test_labels_and_captions_come_from_tables_of_their_own(tmp_path):
    images(tmp_path, ["0.png", "1.png"])
    write(tmp_path / "a.csv", "id,age", "0,1", "1,2")
    write(tmp_path / "b.csv", "id,class", "0,cat", "1,dog")
    write(tmp_path / "c.csv", "id,caption", "0,one", "1,two", "1,three")
    dataset = data.open(tmp_path)
    assert dataset.attribute_names == ["age"] and dataset.class_names == ["cat", "dog"]
    assert dataset.captions == ["one", "two\nthree"]


# ---- named by the user


def test_a_named_column_is_the_label(tmp_path, monkeypatch):
    images(tmp_path / "set", ["0.png", "1.png", "2.png"])
    write(tmp_path / "set" / "list.csv", "id,breed,age,seen", "0,b,1,x", "1,a,2,y", "2,b,3,z")
    assert any(
        "'breed', 'seen'. Take one by --labels list.csv:COLUMN" in w for w in data.open(tmp_path / "set").warnings
    )
    dataset = data.open(tmp_path / "set", labels="list.csv:breed", captions="list.csv:Seen")
    assert dataset.labels.tolist() == [1, 0, 1] and dataset.captions == ["x", "y", "z"]
    assert dataset.attribute_names == ["age"]
    assert train("cgan", tmp_path / "set", labels="list.csv:breed").class_names == ["a", "b"]
    (tmp_path / "set" / "list.csv").rename(tmp_path / "other.csv")
    monkeypatch.chdir(tmp_path)
    assert data.open("set", labels="other.csv:breed").class_names == ["a", "b"]
    assert data.open("set", labels=f"{tmp_path}/other.csv:age").class_names == ["1", "2", "3"]
    write(tmp_path / "other.csv", "id,breed", "0,b", "1,c", "2,b")
    assert data.open("set", labels="other.csv").class_names == ["b", "c"], "a changed file is noticed"
    for text in (
        '{"0.png": "b", "1.png": "c", "2.png": "b"}',
        '{"labels": [["0.png", 1], ["1.png", 0], ["2.png", 1]]}',
    ):
        write(tmp_path / "other.json", text)
        assert data.open("set", labels="other.json").labels.tolist() in ([0, 1, 0], [1, 0, 1])


@pytest.mark.parametrize(
    "typed, message",
    [
        ("list.csv:colour", "has no column 'colour' of labels; its columns are 'age', 'breed', 'id'"),
        ("list.csv:id", "has no column 'id' of labels"),
        ("none.csv", "there is no file 'none.csv', neither in the data nor in the working directory"),
        ("C:\\none.csv:age", r"there is no file 'C:\\\\none.csv'"),
        ("list.xlsx", "--labels takes a csv, tsv, jsonl or json file, as FILE or FILE:COLUMN, not 'list.xlsx'"),
        ("other.csv", "other.csv names no image of the data: a column file_name .* its columns are 'a', 'b'"),
        ("words.csv", "type words.csv:COLUMN with one of its columns 'breed', 'id', 'seen'"),
        ("list.csv:age", "'age' is empty for|'label' is empty for 1 of 2 images"),
        ("binary.csv", "is no text in UTF-8 .byte 0.: save it as UTF-8"),
        ("same.csv", "every label is 'a', so there are no classes"),
        ("two.csv", "two.csv: 0.png has rows with the labels 'a' and 'b'; one label for each image"),
    ],
)
def test_what_cannot_be_a_label_is_refused_in_words(tmp_path, typed, message):
    images(tmp_path, ["0.png", "1.png"])
    write(tmp_path / "list.csv", "id,breed,age", "0,b,1", "1,a,")
    write(tmp_path / "other.csv", "a,b", "1,2")
    write(tmp_path / "words.csv", "id,breed,seen", "0,b,x", "1,a,y")
    write(tmp_path / "same.csv", "id,breed", "0,a", "1,a")
    write(tmp_path / "two.csv", "id,breed", "0,a", "0,b", "1,a")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=message):
        data.open(tmp_path, labels=typed)
    assert len(data.open(tmp_path)) == 2


def test_a_named_table_may_lack_images_that_are_left_out(tmp_path):
    images(tmp_path, ["0.png", "1.png", "2.png"])
    write(tmp_path / "train.csv", "id,breed", "0,a", "1,b")
    assert "to learn from the others alone, add --labels train.csv --skip-bad" in data.open(tmp_path).faults["labels"]
    with pytest.raises(data.BadFiles, match="2.png: has no row in train.csv"):
        data.open(tmp_path, labels="train.csv")
    assert data.open(tmp_path, labels="train.csv", skip_bad=True).class_names == ["a", "b"]
    assert len(data.open(tmp_path, skip_bad=True)) == 3, "a table that nobody named leaves nothing out"


def test_other_kinds_of_data_have_no_files_of_labels(two):
    for name, more in (("digits", {}), (two, dict(want="pairs"))):
        with pytest.raises(ValueError, match="--labels names a file about images in a folder or archive"):
            data.open(name, labels="list.csv", **more)
    with pytest.raises(ValueError, match="--captions names a file"):
        data.open("digits", captions="list.csv")


# ---- classes


@pytest.mark.parametrize(
    "names, expected",
    [
        ([str(i) for i in range(12, 0, -1)], [str(i) for i in range(1, 13)]),
        (["010", "002", "100"], ["002", "010", "100"]),
        (["10", "9", "x"], ["10", "9", "x"]),
        (["10.b", "2.a"], ["10.b", "2.a"]),
        (["-1", "1", "0"], ["-1", "0", "1"]),
        (["9" * 20, "1" + "0" * 20], ["9" * 20, "1" + "0" * 20]),
    ],
)
def test_classes_have_one_order_in_folders_and_tables(tmp_path, names, expected):
    images(tmp_path / "folders", [f"{name}/0.png" for name in names])
    images(tmp_path / "table", [f"p{i}.png" for i in range(len(names))])
    write(tmp_path / "table" / "metadata.csv", "file_name,label", *(f"p{i}.png,{n}" for i, n in enumerate(names)))
    assert classorder.ordered(names) == expected
    assert data.open(tmp_path / "folders").class_names == data.open(tmp_path / "table").class_names == expected
    assert list(data.describe(tmp_path / "folders").classes) == expected


@pytest.mark.parametrize(
    "names",
    [
        ["00000/00000.png", "00000/00999.png", "01000/01000.png"],
        ["00000/img00000000.png", "00001/img00001000.png"],
        ["69000/69001.png", "70000/70000.png"],
    ],
)
def test_shards_of_a_numbered_sequence_are_no_classes(tmp_path, names):
    images(tmp_path, names)
    dataset = data.open(tmp_path)
    assert not dataset.num_classes and any("parts of one numbered sequence" in text for text in dataset.warnings)
    images(tmp_path, [f"{names[0].partition('/')[0]}/{names[-1].partition('/')[2]}"], 50)
    assert data.open(tmp_path).num_classes == 2  # a number of another folder: classes after all


def test_kaggles_doubled_folder_of_celeba_finds_its_list(tmp_path):
    inner = tmp_path / "celeba" / "img_align_celeba" / "img_align_celeba"
    images(inner, [f"{i:06}.jpg" for i in range(1, 4)])
    write(
        tmp_path / "celeba" / "list_attr_celeba.csv", "image_id,Male", *(f"{i:06}.jpg,{(-1) ** i}" for i in range(1, 9))
    )
    for path in (inner, inner.parent, inner.parent.parent):
        assert data.open(path).attributes.ravel().tolist() == [0, 1, 0]
