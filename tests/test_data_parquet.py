"""Images in Parquet and Arrow files: parts, columns, labels, captions, pairs, and files that are damaged or hostile."""

from __future__ import annotations

import json

import numpy as np
import pytest
from picture_files import encoded, indexed, noise, picture, rows, sides
from PIL import Image

from gankit import cli, data
from gankit.data.reading import files
from gankit.data.reading.formats import arrow_shards, parquet_images
from gankit.data.reading.formats.shard_names import shards_among

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed (gankit[parquet])")
import pyarrow.parquet as pq  # noqa: E402

pytestmark = pytest.mark.usefixtures("fresh_cache")
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
CLASSES = {"label": {"names": ["cat", "dog", "owl"], "_type": "ClassLabel"}, "image": {"_type": "Image"}}


def images(n, seed=0, size=(8, 8), form="PNG"):
    return [encoded(noise(*size, 3, seed=1000 * seed + i), form) for i in range(n)]


def table(pictures, features=None, **columns):
    """A table with the column image, as the package datasets writes it."""
    values = [{"bytes": p, "path": None} if isinstance(p, bytes) else p for p in pictures]
    result = pa.table({"image": pa.array(values, IMAGE), **columns})
    if features:
        result = result.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    return result


def write(path, rows, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, path, **options)
    return path


def stream(path, rows, new=None, batch=3):
    path.parent.mkdir(parents=True, exist_ok=True)
    with (new or pa.ipc.new_stream)(str(path), rows.schema) as out:
        for part in rows.to_batches(batch):
            out.write_batch(part)
    return path


def split(root, n=7, held=3):
    """A data set as on the hub: two shards of train with labels and captions, one of test."""
    labels, texts = [i % 3 for i in range(n)], [[f"a {i}", f"the\n{i}"] for i in range(n)]
    whole = table(images(n), CLASSES, label=labels, text=texts, age=[i / 2 for i in range(n)], id=list(range(n)))
    write(root / "data" / "train-00000-of-00002.parquet", whole.slice(0, 4), row_group_size=2)
    write(root / "data" / "train-00001-of-00002.parquet", whole.slice(4), row_group_size=1)
    write(root / "data" / "test-00000-of-00001.parquet", table(images(held, 9), CLASSES, label=[-1] * held))
    return root


def test_a_folder_of_shards_has_parts_labels_of_their_names_captions_and_numbers(tmp_path):
    with files.open_files(split(tmp_path / "pets")) as source:
        names = [file.name for file in source.files]
        assert names == [*(f"train/{i:06}.png" for i in range(7)), *(f"test/{i:06}.png" for i in range(3))]
        assert [source.read(file) for file in source.files] == images(7) + images(3, 9)
        assert source.class_names == ("cat", "dog", "owl")
        assert source.rows["train/000004.png"] == {"label": 1, "text": ["a 4", "the 4"], "age": 2.0}
        assert source.rows["test/000001.png"]["label"] is None
        assert any("'id'" in note for note in source.notes)
    train = data.open(f"{tmp_path}/pets")
    assert (train.labels.tolist(), train.class_names) == ([0, 1, 2, 0, 1, 2, 0], ["cat", "dog", "owl"])
    assert train.captions[1] == "a 1\nthe 1"
    assert (train.attribute_names, train.attributes[3].tolist()) == (["age"], [1.5])
    np.testing.assert_array_equal(rows(train)[2], noise(8, 8, 3, seed=2).transpose(2, 0, 1))
    for name in (f"{tmp_path}/pets:test", f"{tmp_path}/pets/data/test-00000-of-00001.parquet"):
        np.testing.assert_array_equal(rows(data.open(name))[0], noise(8, 8, 3, seed=9000).transpose(2, 0, 1))
    assert data.held_out_of(f"{tmp_path}/pets") == f"{tmp_path}/pets:test"
    held = data.open(f"{tmp_path}/pets:test")
    assert len(held) == 3 and held.labels is None and not held.class_names


def test_the_same_images_have_one_fingerprint_however_they_are_cut_into_shards(tmp_path):
    whole = table(images(6), CLASSES, label=[0, 1, 2, 0, 1, 2])
    write(tmp_path / "a" / "train-00000-of-00001.parquet", whole)
    for i in range(3):
        write(tmp_path / "b" / f"train-0000{i}-of-00003.parquet", whole.slice(2 * i, 2), compression="zstd")
    stream(tmp_path / "c" / "c-train.arrow", whole)
    one, two, three = (data.open(f"{tmp_path}/{name}") for name in "abc")
    np.testing.assert_array_equal(rows(one), rows(two))
    np.testing.assert_array_equal(rows(one), rows(three))
    assert one.labels.tolist() == two.labels.tolist() == three.labels.tolist()


@pytest.mark.parametrize("new", ["new_stream", "new_file"])
def test_arrow_files_are_read_as_the_package_datasets_saves_them(tmp_path, new):
    stream(tmp_path / "set" / "train" / "data-00000-of-00001.arrow", table(images(8)), getattr(pa.ipc, new))
    stream(tmp_path / "set" / "test" / "data-00000-of-00001.arrow", table(images(2, 5)), getattr(pa.ipc, new))
    with files.open_files(tmp_path / "set") as source:
        assert [file.name for file in source.files][7:9] == ["train/000007.png", "test/000000.png"]
        for i in (7, 0, 8, 3, 4, 9, 1):  # in any order
            assert source.read(source.files[i]) == (images(8) + images(2, 5))[i]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("train-00000-of-00002.parquet", "train"),
        ("data/train-00001-of-00002-b42a775f407cee45.parquet", "train"),
        ("default/partial-train/0000.parquet", "train"),
        ("plain_text/test/0000.parquet", "test"),
        ("train.parquet", "train"),
        ("cifar_test_3.parquet", "test"),
        ("unsupervised-00000-of-00001.parquet", "unsupervised"),
        ("cifar10-train-00000-of-00005.arrow", "train"),
        ("my-pets-validation.arrow", "validation"),
        ("train/data-00000-of-00001.arrow", "train"),
        ("data-00000-of-00002.arrow", ""),
        ("pictures.parquet", ""),
        ("constrained.parquet", ""),
    ],
)
def test_the_name_of_a_shard_says_its_part(name, part):
    assert [shard.part for shard in shards_among([files.File(name, 0, "")])] == [part]


def test_one_file_is_a_data_set_and_needs_no_names_that_datasets_gives(tmp_path):
    path = write(tmp_path / "a.parquet", pa.table({"jpg": images(4, form="JPEG"), "cls": ["x", "y", "x", "y"]}))
    dataset = data.open(path)
    assert dataset.class_names == ["x", "y"] and dataset.labels.tolist() == [0, 1, 0, 1]
    assert dataset.names == [f"{i:06}.jpg" for i in range(4)]
    categories = pa.array(["b", "a", "b", "a"]).dictionary_encode()
    path = write(tmp_path / "b.parquet", pa.table({"content": images(4), "category": categories}))
    assert data.open(path).class_names == ["a", "b"]


def test_whole_numbers_without_names_are_classes_in_their_order(tmp_path):
    path = write(tmp_path / "a.parquet", table(images(4), label=[10, 9, 2, 10]))
    assert data.open(path).class_names == ["2", "9", "10"]


def test_the_column_of_images_can_be_named_and_others_are_listed(tmp_path):
    other = pa.array([{"bytes": p, "path": None} for p in images(3, 4)], IMAGE)
    write(tmp_path / "set" / "train.parquet", table(images(3), depth=other))
    np.testing.assert_array_equal(
        rows(data.open(f"{tmp_path}/set#depth:train"))[0], noise(8, 8, 3, seed=4000).transpose(2, 0, 1)
    )
    assert "'depth'" in " ".join(data.describe(tmp_path / "set").warnings)
    with pytest.raises(ValueError, match="no column of images 'nope'; it has 'image', 'depth'"):
        data.open(f"{tmp_path}/set#nope")
    with pytest.raises(ValueError, match="there is no part 'val': it has train"):
        data.open(f"{tmp_path}/set:val")


def test_labels_that_only_one_row_lacks_are_left_out_with_a_note(tmp_path):
    path = write(tmp_path / "a.parquet", table(images(4), CLASSES, label=[0, 1, 7, 2], age=[1.0, None, 2.0, 3.0]))
    dataset = data.open(path)
    assert dataset.labels is None and not dataset.attribute_names
    assert sum("1 of 4 rows have no value in it" in note for note in dataset.warnings) == 2


def test_rows_without_an_image_are_listed_and_no_path_is_followed(tmp_path):
    secret = tmp_path / "secret.png"
    picture(secret, noise(8, 8, 3))
    rows_ = [*images(2), None, {"bytes": None, "path": str(secret)}, {"bytes": b"", "path": ""}, b"no image"]
    path = write(tmp_path / "a.parquet", table(rows_))
    with pytest.raises(data.BadFiles) as caught:
        data.open(path)
    reasons = dict(caught.value.files)
    assert "row is empty" in reasons["000002.png"] and "row is empty" in reasons["000004.png"]
    assert "only names" in reasons["000003.png"] and "000005.png" in reasons
    assert len(data.open(path, skip_bad=True)) == 2


def test_a_missing_shard_is_said(tmp_path):
    write(tmp_path / "a" / "train-00000-of-00003.parquet", table(images(2)))
    assert any("Only 1 of 3 shards of train" in note for note in data.open(tmp_path / "a").warnings)


def test_configurations_of_one_set_are_told_apart(tmp_path):
    for name in ("small", "large"):
        write(tmp_path / "set" / name / "train-00000-of-00001.parquet", table(images(2)))
    with pytest.raises(ValueError, match="2 configurations of a data set, 'large', 'small': name the folder of one"):
        data.open(tmp_path / "set")
    assert len(data.open(tmp_path / "set" / "small")) == 2


def test_shards_that_number_their_classes_differently_have_classes_by_name(tmp_path):
    other = {"label": {"names": ["owl", "cat"], "_type": "ClassLabel"}}
    write(tmp_path / "a" / "train-00000-of-00002.parquet", table(images(3), CLASSES, label=[0, 1, 2]))
    write(tmp_path / "a" / "train-00001-of-00002.parquet", table(images(2, 1), other, label=[0, 1]))
    dataset = data.open(tmp_path / "a")
    assert [dataset.class_names[i] for i in dataset.labels] == ["cat", "dog", "owl", "owl", "cat"]


def test_pairs_and_label_maps_are_two_columns(tmp_path):
    a, b = images(4), images(4, 3)
    both = {name: pa.array([{"bytes": p, "path": None} for p in side], IMAGE) for name, side in (("B", b), ("A", a))}
    write(tmp_path / "pairs" / "train-00000-of-00001.parquet", pa.table(both))
    pairs = data.open(tmp_path / "pairs", want="pairs")
    first, second = sides(pairs)
    np.testing.assert_array_equal(first[1], noise(8, 8, 3, seed=1).transpose(2, 0, 1))
    np.testing.assert_array_equal(second[1], noise(8, 8, 3, seed=3001).transpose(2, 0, 1))
    turned = data.open(tmp_path / "pairs", want="pairs", pair="B=A")
    np.testing.assert_array_equal(sides(turned)[0], second)
    assert data.open(f"{tmp_path}/pairs#B,{tmp_path}/pairs#A").kind == "domains"
    maps = []
    for i in range(4):
        indexed(tmp_path / "map.png", np.full((8, 8), i % 2, np.uint8) + np.eye(8, dtype=np.uint8))
        maps.append({"bytes": (tmp_path / "map.png").read_bytes(), "path": None})
    write(tmp_path / "maps" / "train.parquet", table(a, annotation=pa.array(maps, IMAGE)))
    masks = data.open(tmp_path / "maps", want="masks")
    assert masks.kind == "masks" and masks.masks(np.arange(4))[1].tolist() == (np.eye(8) + 1).tolist()
    assert data.open(tmp_path / "maps", want="pairs").kind == "pairs"
    assert data.open(tmp_path / "maps").kind == "images"
    assert data.describe(tmp_path / "maps", want="masks").count == 4


def test_which_two_of_several_columns_are_a_pair_is_asked(tmp_path):
    others = {name: pa.array([{"bytes": p, "path": None} for p in images(2)], IMAGE) for name in ("x1", "x2")}
    write(tmp_path / "a.parquet", table(images(2), **others))
    with pytest.raises(ValueError, match="name those of both sides, --pair 'image=x1'"):
        data.open(tmp_path / "a.parquet", want="pairs")
    assert data.open(tmp_path / "a.parquet", want="pairs", pair="x1=x2").kind == "pairs"
    with pytest.raises(ValueError, match="names no two columns of images; there are 'image', 'x1', 'x2'"):
        data.open(tmp_path / "a.parquet", want="pairs", pair="x1=label")


def test_one_column_of_images_side_by_side_is_cut(tmp_path):
    path = write(tmp_path / "a.parquet", table(images(3, size=(8, 16))))
    assert data.open(path, want="pairs").shape == (3, 8, 8)


def test_files_of_another_kind_are_refused_in_a_sentence(tmp_path):
    good = write(tmp_path / "good.parquet", table(images(20))).read_bytes()
    whole = stream(tmp_path / "good.arrow", table(images(20))).read_bytes()
    cases = {
        "empty.parquet": b"", "text.parquet": b"no parquet at all, but text " * 9, "cut.parquet": good[:-40],
        "short.parquet": good[:200], "html.arrow": b"<html>" * 50, "empty.arrow": b"", "cut.arrow": whole[:3000],
    }  # fmt: skip
    for name, content in cases.items():
        (tmp_path / "bad" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "bad" / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} is damaged|there are no images"):
            data.open(tmp_path / "bad" / name)
    path = write(tmp_path / "plain.parquet", pa.table({"name": ["a"], "n": [1]}))
    with pytest.raises(ValueError, match=r"no column of images.*name \(string\), n \(int64\)"):
        data.open(path)
    path = write(tmp_path / "none.parquet", table([]))
    with pytest.raises(ValueError, match="there are no images"):
        data.open(path)


def test_a_damaged_row_group_costs_its_own_rows(tmp_path):
    path = write(tmp_path / "a.parquet", table(images(30)), row_group_size=10, compression="none")
    content = bytearray(path.read_bytes())
    chunk = pq.read_metadata(path).row_group(1).column(0)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content[start : start + 12] = bytes(12)  # the header of its first page
    path.write_bytes(bytes(content))
    with pytest.raises(data.BadFiles) as caught:
        data.open(path)
    assert {name for name, _ in caught.value.files} <= {f"{i:06}.png" for i in range(10, 20)}
    assert len(data.open(path, skip_bad=True)) >= 20


@pytest.mark.parametrize("seed", range(60))
def test_random_damage_never_ends_in_a_traceback(tmp_path, seed):
    rng = np.random.default_rng(seed)
    whole = table(images(12), CLASSES, label=[0, 1, 2] * 4, text=["a"] * 12)
    path = tmp_path / f"a.{['parquet', 'arrow'][seed % 2]}"
    write(path, whole, row_group_size=5) if seed % 2 == 0 else stream(path, whole)
    content = bytearray(path.read_bytes())
    for place in rng.integers(len(content), size=rng.integers(1, 30)):
        content[place] = rng.integers(256)
    path.write_bytes(bytes(content[: rng.integers(len(content))] if seed % 5 == 0 else content))
    try:
        assert 0 < len(data.open(path, skip_bad=True)) <= 12
    except ValueError as error:
        assert str(error) and len(str(error)) < 4000


def test_a_count_of_rows_or_a_size_that_a_file_only_claims_takes_no_memory(tmp_path, monkeypatch):
    many = pa.table({"image": pa.nulls(3_000_000, IMAGE)})
    path = write(tmp_path / "nulls.parquet", many)
    assert path.stat().st_size < 100_000
    with pytest.raises(ValueError, match="claims 3,000,000 rows in"):
        data.open(path)
    blank = encoded(Image.new("L", (4, 4))) + bytes(2**22)
    path = write(tmp_path / "bomb.parquet", table([blank] * 200), compression="zstd", dictionary_pagesize_limit=2**30)
    monkeypatch.setattr(arrow_shards, "BUDGET", 2**22)
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    with files.open_files(path) as source:
        for file in source.files[:30]:
            assert len(source.read(file)) == len(blank)
            assert pool.bytes_allocated() - before < 20 * 2**22
    monkeypatch.setattr(arrow_shards, "FREE", 2**20)
    with pytest.raises(ValueError, match="refused, as .* unpack to"):
        data.open(path)


def test_rows_of_one_shard_can_be_read_from_any_row_and_an_open_file(tmp_path):
    path = write(tmp_path / "a.parquet", table(images(9), label=list(range(9))), row_group_size=4)
    with open(path, "rb") as file, arrow_shards.open_shard(file, path.name) as shard:
        assert (shard.count, shard.schema.names) == (9, ["image", "label"])
        seen = [first + i for first, batch in shard.batches(["label"], 6) for i in range(batch.num_rows)]
        assert seen[-3:] == [6, 7, 8] and seen[0] == 4


def test_without_pyarrow_the_command_to_type_is_said(tmp_path, monkeypatch):
    path = write(tmp_path / "a.parquet", table(images(2)))
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"needs pyarrow: pip install 'gankit\[parquet\]'"):
        data.open(path)


def test_the_commands_take_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    split(tmp_path / "pets")
    cli.main(["data", "pets:train", "--sheet", "sheet.png"])
    assert "classes: cat (3), dog (2), owl (2)" in capsys.readouterr().out
    cli.main(["train", "acgan", "--data", "pets:train", "--resolution", "32", "-n"])
    assert "pets:train" in capsys.readouterr().out


def test_images_beside_shards_are_read_instead_of_them(tmp_path):
    write(tmp_path / "a" / "index.parquet", pa.table({"name": ["x"]}))
    picture(tmp_path / "a" / "x.png", noise(8, 8, 3))
    assert len(data.open(tmp_path / "a")) == 1
    assert not parquet_images.holds_shards(tmp_path / "a")
