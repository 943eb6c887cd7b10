"""Data sets of the Hugging Face hub by name: found in the cache, downloaded only if the user typed the name."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from picture_files import encoded, noise, picture, rows, sides

from gankit import cli, data, training
from gankit.data.reading import huggingface

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed (gankit[parquet])")
pytestmark = pytest.mark.usefixtures("fresh_cache", "home")
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
FEATURES = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Hugging Face's folder, empty, and no variable that points elsewhere or switches downloads off."""
    for name in ("HF_DATASETS_CACHE", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "GANKIT_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def images(n, seed=0):
    return [encoded(noise(16, 16, 3, seed=1000 * seed + i)) for i in range(n)]


BOTH = (("train", 8), ("test", 4))


def prepared(home, name="user___pets", config="default", splits=BOTH, paths=None, version="0.0.0"):
    """A data set as the package datasets prepares it: an Arrow file for each split, and dataset_info.json."""
    folder = home / "datasets" / name / config / version / "71d2b0252cfc6995"
    folder.mkdir(parents=True)
    for i, (split, count) in enumerate(splits):
        values = [{"bytes": p, "path": None} for p in images(count, i)]
        values = values if paths is None else [{"bytes": None, "path": str(path)} for path in paths]
        table = pa.table({"image": pa.array(values, IMAGE), "label": [j % 2 for j in range(len(values))]})
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": FEATURES}})})
        with pa.ipc.new_stream(str(folder / f"{name.rpartition('_')[2]}-{split}.arrow"), table.schema) as out:
            out.write_table(table)
    (folder / "dataset_info.json").write_text(json.dumps({"config_name": config, "builder_name": "parquet"}))
    return folder


def test_a_set_in_the_cache_is_read_without_a_network_and_its_splits_are_parts(home, monkeypatch):
    prepared(home)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    train, test = data.open("hf:user/pets"), data.open("hf:user/pets:test")
    assert (len(train), len(test), train.name, train.class_names) == (8, 4, "pets", ["cat", "dog"])
    assert data.open("hf:user/pets", split="test").fingerprint == test.fingerprint
    np.testing.assert_array_equal(rows(test)[0], noise(16, 16, 3, seed=1000).transpose(2, 0, 1))
    assert data.held_out_of("hf:user/pets") == "hf:user/pets:test" and data.held_out_of("hf:user/pets:test") is None
    assert len(data.open("hf:user/pets:all")) == 12
    with pytest.raises(ValueError, match="hf:user/pets:dev: there is no part 'dev': it has train and test"):
        data.open("hf:user/pets:dev")
    assert data.open("hf:user/pets,hf:user/pets:test").kind == "domains"


def test_a_set_with_one_split_has_that_part_and_one_without_train_is_asked_about(home):
    prepared(home, splits=[("train", 3)])
    prepared(home, "user___exam", splits=[("test", 3), ("validation", 2)])
    assert len(data.open("hf:user/pets")) == len(data.open("hf:user/pets:train")) == 3
    with pytest.raises(ValueError, match="none to learn from: add --split val or --split test"):
        data.open("hf:user/exam")
    assert len(data.open("hf:user/exam:validation")) == 2


def test_the_configuration_is_named_where_there_are_several(home):
    prepared(home, config="small", splits=[("train", 2)])
    prepared(home, config="large", splits=[("train", 5)])
    prepared(home, "user___one", config="only", splits=[("train", 4)])
    with pytest.raises(ValueError, match="user/pets has several configurations here, 'large', 'small': name one"):
        data.open("hf:user/pets")
    assert len(data.open("hf:user/pets/small")) == 2 and len(data.open("hf:user/pets/large:train")) == 5
    assert len(data.open("hf:user/one")) == 4
    prepared(home, config="default", splits=[("train", 3)])
    assert len(data.open("hf:user/pets")) == 3


def test_the_newest_version_in_the_cache_counts_and_unfinished_ones_do_not(home):
    old = prepared(home, splits=[("train", 2)])
    new = prepared(home, splits=[("train", 5)], version="1.0.0")
    os.utime(old, (1, 1))
    assert len(data.open("hf:user/pets")) == 5
    (new / "dataset_info.json").write_text("{ half")
    assert len(data.open("hf:user/pets")) == 2


@pytest.mark.parametrize(("typed", "folder"), [("user/MyHTMLPets2", "user___my_html_pets2"), ("CIFAR10", "cifar10")])
def test_names_are_found_as_the_package_writes_them(home, typed, folder):
    prepared(home, folder)
    assert len(data.open(f"hf:{typed}")) == 8
    naming = pytest.importorskip("datasets.naming", reason="datasets is not installed (gankit[hub])")
    owner, _, name = typed.rpartition("/")
    assert "___".join(filter(None, (owner, naming.camelcase_to_snakecase(name)))) == folder


@pytest.mark.parametrize("name", ["", "a/b/c/d", "../x/y", "a//b", "a/../b", "a b", "a/b:x/y", "é"])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(ValueError):
        data.open(f"hf:{name}")


def test_only_files_in_hugging_face_s_own_caches_are_read_by_their_paths(home, tmp_path):
    inside, outside = home / "hub" / "a.png", tmp_path / "secret.png"
    pixels = picture(inside, noise(16, 16, 3))
    picture(outside, noise(16, 16, 3, seed=1))
    sneaky = home / "hub" / ".." / ".." / "secret.png"
    prepared(home, splits=[("train", 1)], paths=[inside, outside, sneaky, home / "hub" / "gone.png"])
    with pytest.raises(data.BadFiles) as caught:
        data.open("hf:user/pets")
    reasons = [reason for _, reason in caught.value.files]
    assert ["only names" in reason for reason in reasons] == [True, True, False]
    np.testing.assert_array_equal(rows(data.open("hf:user/pets", skip_bad=True))[0], pixels.transpose(2, 0, 1))


def test_a_download_is_only_made_for_a_name_that_the_user_typed(monkeypatch):
    with pytest.raises(ValueError, match="hf:user/pets is not on this machine; to download it type: gankit data hf:"):
        data.open_as("hf:user/pets", data.Reading())
    monkeypatch.setenv("GANKIT_OFFLINE", "1")
    with pytest.raises(ValueError, match="is not in .* downloads are switched off"):
        data.open("hf:user/pets")


def test_a_run_on_it_trains_and_is_resumed_only_from_the_cache(home, tmp_path):
    folder = prepared(home)
    options = dict(images=16, batch=8, preview=0, log=8, save=8, threads=1, device="cpu", resolution="16")
    run = training.train("dcgan", data="hf:user/pets", outdir=tmp_path, quiet=True, preset="small", **options)
    assert run.folder.name.endswith("dcgan-pets")
    assert training.resume(run.folder, quiet=True, images=24).images == 24
    os.rename(folder.parent, tmp_path / "away")
    with pytest.raises(ValueError, match="to download it type: gankit data hf:user/pets"):
        training.resume(run.folder, quiet=True, images=32)


def test_gankit_data_shows_it(home, tmp_path, monkeypatch, capsys):
    prepared(home)
    monkeypatch.chdir(tmp_path)
    cli.main(["data", "hf:user/pets:test"])
    assert "hf:user/pets:test: 4 images" in capsys.readouterr().out


# With the package datasets -------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path, home, monkeypatch):
    """The package, whose names of data sets are folders below the one that this gives back."""
    package = pytest.importorskip("datasets", reason="datasets is not installed (gankit[hub])")
    build = package.load_dataset_builder

    def local(name, config=None):
        if not (tmp_path / "hub" / name).is_dir():
            raise package.exceptions.DatasetNotFoundError(f"Dataset '{name}' doesn't exist on the Hub")
        return build(str(tmp_path / "hub" / name), config, cache_dir=str(home / "datasets"))

    monkeypatch.setattr(package, "load_dataset_builder", local)
    monkeypatch.setattr(huggingface, "_size", lambda name, size: f", {size} bytes")
    return tmp_path / "hub"


def made(count=6):
    """A data set of the package's."""
    import datasets

    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=["cat", "dog"]), caption=datasets.Value("string")
    )
    values = [{"bytes": p, "path": None} for p in images(count)]
    columns = {"image": values, "label": [i % 2 for i in range(count)], "caption": [f"a {i}" for i in range(count)]}
    return datasets.Dataset.from_dict(columns, features=features)


def test_a_repository_of_parquet_files_is_prepared_by_the_package(hub, capsys):
    whole = made()
    for split, part in (("train", whole), ("test", whole.select(range(2)))):
        (hub / "user/pets/data").mkdir(parents=True, exist_ok=True)
        part.to_parquet(str(hub / f"user/pets/data/{split}-00000-of-00001.parquet"))
    capsys.readouterr()
    first = data.open("hf:user/pets:test")
    assert "gankit: downloading hf:user/pets, " in capsys.readouterr().err
    assert (len(first), first.class_names, first.captions[1]) == (2, ["cat", "dog"], "a 1")


def test_a_repository_of_image_files_is_read_by_the_paths_in_it(hub, home):
    for i in range(4):
        picture(home / "hub" / "files" / "train" / ("cat", "dog")[i % 2] / f"{i}.png", noise(16, 16, 3, seed=i))
    hub.mkdir()
    (hub / "photos").symlink_to(home / "hub" / "files")
    dataset = data.open("hf:photos")
    assert len(dataset) == 4 and dataset.class_names == ["cat", "dog"]


def test_what_cannot_be_had_or_read_is_said_in_a_sentence(hub):
    with pytest.raises(ValueError, match="hf:no/body cannot be had: Dataset 'no/body' doesn't exist on the Hub"):
        data.open("hf:no/body")
    (hub / "user/text").mkdir(parents=True)
    (hub / "user/text/train.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="hf:user/text cannot be had: it is stored as csv, and only parquet"):
        data.open("hf:user/text")
    (hub / "user/script").mkdir(parents=True)
    (hub / "user/script/script.py").write_text("raise SystemExit('executed')")
    with pytest.raises(ValueError, match="scripts are no longer supported"):
        data.open("hf:user/script")


def test_an_old_package_that_can_run_code_of_data_sets_is_refused(hub, monkeypatch):
    monkeypatch.setattr("datasets.__version__", "3.6.0")
    with pytest.raises(ValueError, match="from 4.0 on"):
        data.open("hf:user/pets")


def test_what_the_package_saved_is_a_folder_as_any_other(tmp_path):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed (gankit[hub])")
    whole = made()
    datasets.DatasetDict(train=whole, test=made(9).select(range(6, 9))).save_to_disk(str(tmp_path / "set"))
    whole.save_to_disk(str(tmp_path / "one"), num_shards=3)
    one, train = data.open(tmp_path / "one"), data.open(f"hf:{tmp_path}/set")
    np.testing.assert_array_equal(rows(one), rows(train))
    assert one.captions == train.captions == [f"a {i}" for i in range(6)]
    assert len(data.open(f"{tmp_path}/set:test")) == 3 and len(data.open(f"hf:{tmp_path}/set:test")) == 3
    column = [{"bytes": p, "path": None} for p in images(3)]
    both = datasets.Features(source=datasets.Image(), target=datasets.Image())
    pairs = datasets.Dataset.from_dict({"source": column, "target": column}, features=both)
    pairs.save_to_disk(str(tmp_path / "pairs"))
    first, second = sides(data.open(tmp_path / "pairs", want="pairs"))
    np.testing.assert_array_equal(first, second)


def test_the_package_is_only_needed_for_a_download(home, monkeypatch):
    prepared(home)
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    assert len(data.open("hf:user/pets")) == 8
    with pytest.raises(ValueError, match=r"to download it: pip install 'gankit\[hub\]'"):
        data.open("hf:user/others")
