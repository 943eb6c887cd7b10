"""The original files of data sets, read as they are: each format is written here as its authors write it."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
import warnings

import numpy as np
import pytest
from picture_files import encoded, rows
from PIL import Image
from scipy.io import savemat

from gankit import data
from gankit.data.reading import arrays, decoding, files
from gankit.data.reading.formats import lsun, matlab, packing, pickles

pytestmark = pytest.mark.usefixtures("fresh_cache")
RNG = np.random.default_rng(0)
GREY, COLOUR = RNG.integers(0, 256, (2, 7, 9, 8), np.uint8)[0], RNG.integers(0, 256, (6, 8, 8, 3), np.uint8)
DIGITS = np.array([3, 0, 9, 1, 1, 7, 2], np.uint8)


def idx(array):
    """An array of bytes, or of int32, as an IDX file."""
    kind = {1: 8, 4: 12}[array.dtype.itemsize]
    return (
        struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape)
        + array.astype(array.dtype.newbyteorder(">")).tobytes()
    )


def mnist(folder, images=GREY, labels=DIGITS, prefix="", test="t10k", packed=True):
    """train and test of a set as IDX files; the test images are the negatives of two."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, pixels, numbers in (("train", images, labels), (test, 255 - images[:2], labels[:2])):
        for name, array in (("images-idx3-ubyte", pixels), ("labels-idx1-ubyte", numbers)):
            content = idx(array)
            path = folder / f"{prefix}{part}-{name}{'.gz' * packed}"
            path.write_bytes(gzip.compress(content, mtime=0) if packed else content)
    return folder


def python_2(array, labels, key="labels"):
    """A batch of CIFAR as cPickle of Python 2 writes it: arrays as strings of bytes."""
    n, d = array.shape
    numbers = b"".join(b"K" + bytes([label]) for label in labels)
    return (
        b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x15training batch 1 of 5q\x03U"
        + bytes([len(key)]) + key.encode() + b"](" + numbers + b"eU\x04datacnumpy.core.multiarray\n_reconstruct\n"
        b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01" + b"J" + struct.pack("<i", n) + b"M" + struct.pack("<H", d)
        + b"\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<i", array.size) + array.tobytes() + b"tbu."
    )  # fmt: skip


BATCHES = RNG.integers(0, 256, (6, 4, 3072), np.uint8)
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def cifar10(folder, write=python_2):
    folder.mkdir(parents=True)
    for i in range(5):
        (folder / f"data_batch_{i + 1}").write_bytes(write(BATCHES[i], [i, 9, 0, 5]))
    (folder / "test_batch").write_bytes(write(BATCHES[5], [1, 2, 3, 4]))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": NAMES, "num_vis": 3072}, 2))
    (folder / "readme.html").write_text("<p>")
    return folder


def chw(batch):
    return batch.reshape(-1, 3, 32, 32)


def names(dataset):
    return [dataset.class_names[i] for i in dataset.labels]


def refused(path, match, **options):
    with pytest.raises(ValueError, match=match) as error:
        data.open(path, **options)
    assert "Traceback" not in str(error.value) and len(str(error.value)) < 1000
    return str(error.value)


# IDX -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [True, False])
def test_mnist_s_files_are_read_with_both_parts(tmp_path, packed):
    folder = mnist(tmp_path / "MNIST" / "raw", packed=packed)
    for path in (folder, tmp_path / "MNIST"):
        dataset = data.open(path)
        assert (rows(dataset)[:, 0] == GREY).all() and dataset.class_names == list("0123456789")
        assert dataset.labels.tolist() == DIGITS.tolist() and dataset.division.counts == {"train": 7, "test": 2}
    held_out = data.open(data.held_out_of(folder))
    assert (rows(held_out)[:, 0] == 255 - GREY[:2]).all() and held_out.labels.tolist() == [3, 0]
    report = data.describe(folder)
    assert report.count == 7 and report.shape == (1, 9, 8) and report.classes["1"] == 2 and not report.bad


def test_both_forms_of_a_file_are_one_and_kaggle_s_names_are_known(tmp_path):
    mnist(tmp_path / "raw"), mnist(tmp_path / "raw", packed=False)
    assert len(data.open(tmp_path / "raw")) == 7
    (tmp_path / "kaggle").mkdir()
    (tmp_path / "kaggle" / "train-images.idx3-ubyte").write_bytes(idx(GREY))
    (tmp_path / "kaggle" / "train-labels.idx1-ubyte").write_bytes(idx(DIGITS))
    assert data.open(tmp_path / "kaggle").labels.tolist() == DIGITS.tolist()


def test_an_archive_of_idx_files_is_read(tmp_path):
    mnist(tmp_path / "MNIST" / "raw")
    with tarfile.open(tmp_path / "mnist.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "MNIST", "MNIST")
    dataset = data.open(tmp_path / "mnist.tar.gz")
    assert (rows(dataset)[:, 0] == GREY).all() and dataset.division.counts == {"train": 7, "test": 2}
    assert len(data.open(f"{tmp_path / 'mnist.tar.gz'}:test")) == 2


@pytest.mark.parametrize("part, count", [("train", 7), ("t10k", 2)])
def test_one_file_is_that_part_alone_with_its_labels(tmp_path, part, count):
    folder = mnist(tmp_path / "raw")
    dataset = data.open(folder / f"{part}-images-idx3-ubyte.gz")
    assert len(dataset) == count and dataset.labels.tolist() == DIGITS[:count].tolist()
    (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(DIGITS[:count][::-1].copy())))
    again = data.open(folder / f"{part}-images-idx3-ubyte.gz")
    assert again.labels.tolist() == DIGITS[:count][::-1].tolist(), "the labels' file belongs to the data's identity"


@pytest.mark.parametrize(
    "folder, expected", [("FashionMNIST/raw", "Sandal"), ("KMNIST/raw", "ha"), ("mnist", "5"), ("fashion", "Sandal")]
)
def test_sets_like_mnist_have_their_own_names_of_classes(tmp_path, folder, expected):
    mnist(tmp_path / folder, labels=DIGITS.clip(4, 5))
    assert data.open(tmp_path / folder).class_names[5] == expected


def test_emnist_is_turned_upright_and_its_letters_count_from_one(tmp_path):
    square = RNG.integers(0, 256, (3, 8, 8), np.uint8)
    folder = mnist(
        tmp_path / "EMNIST", square.transpose(0, 2, 1), np.array([1, 26, 3], np.uint8), "emnist-letters-", "test"
    )
    dataset = data.open(folder)
    assert (rows(dataset)[:, 0] == square).all() and names(dataset) == ["A", "Z", "C"]
    mnist(tmp_path / "EMNIST", square, np.array([0, 46, 3], np.uint8), "emnist-balanced-", "test")
    refused(folder, "2 data sets as IDX files.*emnist-balanced, emnist-letters; give the folder of one, or one file")
    assert names(data.open(folder / "emnist-balanced-train-images-idx3-ubyte.gz")) == ["0", "t", "3"]
    (folder / "emnist-letters-train-labels-idx1-ubyte.gz").write_bytes(
        gzip.compress(idx(np.array([1, 27, 3], np.uint8)))
    )
    refused(folder / "emnist-letters-train-images-idx3-ubyte.gz", "the label 27, and emnist-letters has 26 classes")


def test_qmnist_s_labels_have_eight_columns(tmp_path):
    (tmp_path / "qmnist-train-images-idx3-ubyte").write_bytes(idx(GREY))
    table = np.zeros((7, 8), np.int32)
    table[:, 0] = DIGITS
    (tmp_path / "qmnist-train-labels-idx2-int").write_bytes(idx(table))
    assert data.open(tmp_path).labels.tolist() == DIGITS.tolist()


def test_images_without_labels_are_read_with_a_note(tmp_path):
    folder = mnist(tmp_path / "raw")
    for path in folder.glob("*labels*"):
        path.unlink()
    dataset = data.open(folder)
    assert dataset.labels is None and "has no labels: there is no train-labels" in " ".join(dataset.warnings)


@pytest.mark.parametrize(
    "damage, match",
    [
        (lambda content: content[:-1], "is truncated: numbers of shape"),
        (lambda content: content + b"\0", "holds more than its header says"),
        (lambda content: b"", "does not begin as an IDX file does: it is empty"),
        (lambda content: content[:7], "does not begin as an IDX"),
        (lambda content: b"<html>" + content, "does not begin as an IDX"),
        (lambda content: idx(GREY[:0]), "holds not a single image"),
        (lambda content: idx(GREY[0]), "bytes \\(N, H, W\\) are expected"),
        (lambda content: struct.pack(">HBBIII", 0, 8, 3, 2**32 - 1, 2**32 - 1, 1), "truncated|unpacks to"),
        (lambda content: struct.pack(">HBBIII", 0, 8, 3, 0, 2**32 - 1, 1), "holds not a single image"),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_damaged_idx_files_are_refused_in_words(tmp_path, damage, match, packed):
    folder = mnist(tmp_path / "raw", packed=packed)
    (folder / f"t10k-images-idx3-ubyte{'.gz' * packed}").unlink()
    path = folder / f"train-images-idx3-ubyte{'.gz' * packed}"
    content = damage(idx(GREY))
    path.write_bytes(gzip.compress(content) if packed else content)
    assert "train-images-idx3-ubyte" in refused(folder, match)


def test_images_that_are_too_large_are_refused():
    with pytest.raises(ValueError, match="images of 100,000x100,000; from 1 to 67,108,864 pixels"):
        packing.require_sides("x", 1, 100_000, 100_000)


def test_more_images_than_memory_has_names_for_are_refused(tmp_path):
    with open(tmp_path / "train-images-idx3-ubyte", "wb") as file:
        file.write(struct.pack(">HBB3I", 0, 8, 3, 2**25, 1, 1))
        file.truncate(16 + 2**25)  # takes no room
    refused(tmp_path, "33,554,432 images: 20,000,000 are the most")


def test_damaged_gzip_and_bombs_are_refused(tmp_path):
    folder = mnist(tmp_path / "raw")
    path = folder / "train-images-idx3-ubyte.gz"
    content = path.read_bytes()
    for broken in (content[:-9], content[: len(content) // 2], b"no gzip", content[:-8] + b"\0" * 8):
        path.write_bytes(broken)
        refused(folder, "train-images-idx3-ubyte.gz is damaged or truncated|does not begin")
    path.write_bytes(gzip.compress(idx(np.zeros((70_000, 32, 32), np.uint8))))  # 72 MB from 70 kB
    refused(folder, "unpacks from .* more than 100 times as much")
    path.write_bytes(gzip.compress(struct.pack(">HBBIII", 0, 8, 3, 2**31, 2**15, 2**15)))
    refused(folder, "unpacks to .* are refused")


def test_labels_of_another_count_or_kind_are_refused(tmp_path):
    folder = mnist(tmp_path / "raw")
    path = folder / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx(DIGITS[:5])))
    refused(folder, "train-labels-idx1-ubyte.gz has 5 labels for 7 images")
    path.write_bytes(gzip.compress(idx(GREY)))
    refused(folder, r"train-labels-idx1-ubyte.gz holds numbers of shape \(7, 9, 8\); labels")
    path.write_bytes(b"")
    refused(folder, "train-labels-idx1-ubyte.gz")


def test_plain_images_win_with_a_note(tmp_path):
    folder = mnist(tmp_path / "raw")
    (folder / "own.png").write_bytes(encoded(GREY[0]))
    dataset = data.open(folder)
    assert len(dataset) == 1 and "one of IDX files, is not read, as there are plain images" in " ".join(
        dataset.warnings
    )


def test_files_of_several_formats_are_asked_about(tmp_path):
    mnist(tmp_path)
    np.savez(tmp_path / "mnist.npz", x_train=GREY, y_train=DIGITS)
    refused(tmp_path, "several formats hold images: IDX files .* arrays \\(mnist.npz\\); give one of them")


def test_the_command_shows_and_trains_on_idx_files(tmp_path, capsys, monkeypatch):
    from gankit.cli import main

    mnist(tmp_path / "raw", RNG.integers(0, 256, (40, 16, 16), np.uint8), np.arange(40, dtype=np.uint8) % 10)
    monkeypatch.chdir(tmp_path)
    assert main(["data", "raw"]) in (0, None)
    assert "40 images" in capsys.readouterr().out
    assert main(["train", "cgan", "--data", "raw", "--preset", "small", "-n"]) in (0, None)
    assert "10" in capsys.readouterr().out


# CIFAR ---------------------------------------------------------------------------------------------------------------


def test_the_test_s_pickle_is_one_of_python_2():
    table = pickle.loads(python_2(BATCHES[0], [1, 2, 3, 4]), encoding="bytes")
    assert (table[b"data"] == BATCHES[0]).all() and table[b"labels"] == [1, 2, 3, 4]


@pytest.mark.parametrize("protocol", [None, 2, 3, 4, 5])
def test_cifar_10_is_read_from_its_pickles(tmp_path, protocol):
    def write(array, labels):
        if protocol is None:
            return python_2(array, labels)
        return pickle.dumps({b"data": array, b"labels": labels, b"filenames": ["a.png"] * 4}, protocol)

    folder = cifar10(tmp_path / "cifar-10-batches-py", write)
    dataset = data.open(tmp_path)
    assert (rows(dataset) == chw(BATCHES[:5].reshape(-1, 3072))).all()
    assert dataset.division.counts == {"train": 20, "test": 4} and dataset.class_names == NAMES
    assert names(dataset)[:4] == ["airplane", "truck", "airplane", "dog"]
    held_out = data.open(data.held_out_of(tmp_path))
    assert (rows(held_out) == chw(BATCHES[5])).all() and held_out.labels.tolist() == [1, 2, 3, 4]
    alone = data.open(folder / "data_batch_2")
    assert (rows(alone) == chw(BATCHES[1])).all() and alone.class_names == NAMES and not alone.warnings


def test_cifar_is_read_from_its_archive(tmp_path):
    cifar10(tmp_path / "cifar-10-batches-py")
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "cifar-10-batches-py", "cifar-10-batches-py")
    dataset = data.open(tmp_path / "cifar-10-python.tar.gz")
    assert (rows(dataset) == chw(BATCHES[:5].reshape(-1, 3072))).all() and dataset.division.counts == {
        "train": 20,
        "test": 4,
    }


def test_a_missing_batch_is_said(tmp_path):
    folder = cifar10(tmp_path / "c")
    (folder / "data_batch_3").unlink()
    assert "data_batch_3 of 5 are not here" in " ".join(data.open(folder).warnings)


def test_cifar_100_is_read_with_its_fine_labels(tmp_path):
    for name, batch in (("train", BATCHES[0]), ("test", BATCHES[1])):
        (tmp_path / name).write_bytes(python_2(batch, [99, 0, 5, 7], "fine_labels"))
    classes = [f"class {i}" for i in range(100)]
    (tmp_path / "meta").write_bytes(pickle.dumps({"fine_label_names": classes, "coarse_label_names": ["a"] * 20}, 2))
    dataset = data.open(tmp_path)
    assert names(dataset) == ["class 99", "class 0", "class 5", "class 7"] and dataset.division.counts == {
        "train": 4,
        "test": 4,
    }
    assert data.open(tmp_path / "train").class_names == classes


def test_the_binary_versions_are_read(tmp_path):
    ten, hundred = tmp_path / "ten", tmp_path / "hundred"
    ten.mkdir(), hundred.mkdir()
    labels = np.array([[3], [1], [9], [0]], np.uint8)
    for name, batch in (("data_batch_1", BATCHES[0]), ("data_batch_2", BATCHES[1]), ("test_batch", BATCHES[2])):
        (ten / f"{name}.bin").write_bytes(np.hstack([labels, batch]).tobytes())
    (ten / "batches.meta.txt").write_text("\n".join(NAMES) + "\n")
    dataset = data.open(ten)
    assert (rows(dataset) == chw(BATCHES[:2].reshape(-1, 3072))).all() and names(dataset)[:2] == ["cat", "automobile"]
    for name in ("train", "test"):
        (hundred / f"{name}.bin").write_bytes(np.hstack([labels, labels + 90, BATCHES[3]]).tobytes())
    (hundred / "fine_label_names.txt").write_text("\n".join(f"c{i}" for i in range(100)))
    assert names(data.open(hundred, split="test")) == ["c93", "c91", "c99", "c90"]
    (ten / "data_batch_1.bin").write_bytes(b"x" * 3000)
    refused(ten, "data_batch_1.bin: it has 3,000 bytes, and records of 3,073 are expected")


class Hostile:
    def __reduce__(self):
        return exec, ("import pathlib; pathlib.Path('hacked').touch()",)


@pytest.mark.parametrize(
    "content, match",
    [
        (pickle.dumps(Hostile()), "the file asks for 'builtins.exec'"),
        (pickle.dumps({"data": Hostile(), "labels": [1]}, 2), "exec'"),
        (b"", "no pickle"),
        (b"<html>not found</html>", "no pickle, or a damaged one|takes more than it has put|the pickle instruction"),
        (python_2(BATCHES[0], [1, 2, 3, 4])[:-2000], "no pickle, or a damaged one|cut short"),
        (python_2(BATCHES[0], [1, 2, 3]), "has 3 labels for 4 images"),
        (python_2(BATCHES[0], [1, 2, 3, 10]), "whole numbers from 0 to 9: 1 to 10"),
        (python_2(BATCHES[0][:, :300], [1, 2, 3, 4]), r"shape \(4, 300\); \(N, 3072\)"),
        (python_2(BATCHES[0], [1, 2, 3, 4], "marks"), "`labels`, whole numbers, are expected"),
        (pickle.dumps([1, 2], 2), "a dictionary is expected"),
        (pickle.dumps({"data": BATCHES[0].astype(np.float64), "labels": [1] * 4}, 2), "an array of bytes"),
        (pickle.dumps({"data": np.array([{}, {}]), "labels": [1] * 4}, 2), "only plain numbers are read"),
        (pickle.dumps({"data": np.asfortranarray(BATCHES[0]), "labels": [1] * 4}, 2), "an array of bytes"),
    ],
)
def test_hostile_and_damaged_pickles_are_refused_and_nothing_runs(tmp_path, monkeypatch, content, match):
    monkeypatch.chdir(tmp_path)
    folder = cifar10(tmp_path / "c")
    (folder / "data_batch_1").write_bytes(content)
    assert "data_batch_1" in refused(folder, match)
    assert not (tmp_path / "hacked").exists()


def test_an_array_has_the_bytes_of_its_shape():
    content = python_2(BATCHES[0], [1, 2, 3, 4]).replace(b"J" + struct.pack("<i", 4) + b"M", b"J\xff\xff\xff\x7fM")
    with pytest.raises(pickles.Refused, match="with 12,288 bytes"):
        pickles.Machine(len(content), pickles.PLAIN | pickles.ARRAYS).run(io.BytesIO(content))


def test_damaged_names_of_classes_are_refused(tmp_path):
    folder = cifar10(tmp_path / "c")
    for content in (
        pickle.dumps({"label_names": ["a"] * 10}),
        pickle.dumps({"names": 1}),
        pickle.dumps(Hostile()),
        b"",
    ):
        (folder / "batches.meta").write_bytes(content)
        assert "batches.meta" in refused(folder, "names of classes|asks for|no pickle")
    (folder / "batches.meta").unlink()
    assert data.open(folder).class_names == NAMES


# .mat ----------------------------------------------------------------------------------------------------------------


def svhn(path, images=COLOUR, labels=(10, 1, 9, 2, 10, 3)):
    savemat(path, {"X": images.transpose(1, 2, 3, 0), "y": np.array(labels, np.uint8)[:, None]}, do_compression=True)


def test_svhn_is_read_and_its_ten_is_a_zero(tmp_path):
    (
        svhn(tmp_path / "train_32x32.mat"),
        svhn(tmp_path / "test_32x32.mat", 255 - COLOUR),
        svhn(tmp_path / "extra_32x32.mat", COLOUR[::-1]),
    )
    dataset = data.open(tmp_path)
    assert dataset.division.counts == {"train": 6, "test": 6, "extra": 6}
    assert (rows(dataset) == COLOUR.transpose(0, 3, 1, 2)).all() and names(dataset) == list("019203")
    assert (rows(data.open(tmp_path, split="extra")) == COLOUR[::-1].transpose(0, 3, 1, 2)).all()
    assert len(data.open(tmp_path / "test_32x32.mat")) == 6


@pytest.mark.parametrize(
    "content, match",
    [
        ({"a": np.zeros(3)}, r"has no variable X; it holds a double\[1, 3\]"),
        ({"X": np.array([{}], object)}, "X is cell|X is struct"),
        ({"X": np.zeros((4, 4, 3, 2))}, "X is double; uint8 is expected"),
        ({"X": np.zeros((4, 4, 2, 2), np.uint8)}, r"shape \(4, 4, 2, 2\); \(H, W, 3, N\)"),
        ({"X": np.zeros((4, 4, 3, 2), np.uint8), "y": np.array([1, 2, 3])}, "3 labels for 2 images"),
        ({"X": np.zeros((4, 4, 3, 2), np.uint8), "y": np.array([1, 2.5])}, "labels that are not whole numbers"),
        ({"X": np.zeros((4, 4, 3, 2), np.uint8), "y": "ab"}, "y is char"),
        ({"X": np.zeros((1600, 1600, 3, 9), np.uint8)}, "more than 100 times as much"),
    ],
)
def test_other_mats_are_refused_in_words(tmp_path, content, match):
    savemat(tmp_path / "train_32x32.mat", content, do_compression=True)
    refused(tmp_path, match)


def test_damaged_mats_and_version_7_3_are_refused(tmp_path):
    svhn(tmp_path / "train_32x32.mat")
    content = (tmp_path / "train_32x32.mat").read_bytes()
    for broken in (content[:-40], content[:200], content[:100], b"", b"<html>" * 100):
        (tmp_path / "train_32x32.mat").write_bytes(broken)
        refused(tmp_path, "train_32x32.mat")
    head = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    (tmp_path / "train_32x32.mat").write_bytes(head.ljust(512, b"\0") + b"\x89HDF\r\n\x1a\n")
    refused(tmp_path, "version 7.3, which is not read: save it in MATLAB with '-v7'")


def flowers(folder, labels=(77, 1, 102, 77)):
    (folder / "jpg").mkdir(parents=True)
    for i, image in enumerate(COLOUR[:4]):
        (folder / "jpg" / f"image_{i + 1:05}.jpg").write_bytes(encoded(image, "JPEG"))
    savemat(folder / "imagelabels.mat", {"labels": np.array([labels], np.uint8)})
    parts = {"trnid": [[1, 4]], "valid": [[2]], "tstid": [[3]]}
    savemat(folder / "setid.mat", {name: np.array(ids, np.uint16) for name, ids in parts.items()})


def test_oxford_flowers_has_the_labels_and_parts_of_its_mats(tmp_path):
    flowers(tmp_path)
    with files.open_files(tmp_path) as source:
        parts = matlab.setid(source)
        assert source.rows is not None and source.rows["jpg/image_00003.jpg"] == {"label": 101}
    assert parts == {
        "train": ["jpg/image_00001.jpg", "jpg/image_00004.jpg"],
        "val": ["jpg/image_00002.jpg"],
        "test": ["jpg/image_00003.jpg"],
    }
    dataset = data.open(tmp_path, split="all")
    assert names(dataset) == ["77", "1", "102", "77"] and dataset.num_classes == 102
    assert data.open(tmp_path).division.counts == {"train": 2, "val": 1, "test": 1} and len(data.open(tmp_path)) == 2
    with files.open_files(tmp_path / "jpg") as source:
        assert source.rows is None and matlab.setid(source) == {}
    (tmp_path / "jpg" / "image_00002.jpg").unlink()
    with files.open_files(tmp_path) as source, pytest.raises(ValueError, match="setid.mat names .*: image_00002"):
        matlab.setid(source)


def test_flowers_with_too_few_labels_are_refused(tmp_path):
    flowers(tmp_path, (1, 2, 3))
    refused(tmp_path, "imagelabels.mat has 3 labels, and there is an image 4")
    (tmp_path / "imagelabels.mat").write_bytes(b"damaged")
    refused(tmp_path, "imagelabels.mat is no .mat, or a damaged one")


# STL-10 --------------------------------------------------------------------------------------------------------------

STL = RNG.integers(0, 256, (3, 96, 96, 3), np.uint8)


def stl10(folder):
    folder.mkdir()
    for part, images in (("train", STL), ("test", STL[:2] // 2), ("unlabeled", STL[::-1])):
        (folder / f"{part}_X.bin").write_bytes(images.transpose(0, 3, 2, 1).tobytes())
    (folder / "train_y.bin").write_bytes(bytes([1, 10, 2])), (folder / "test_y.bin").write_bytes(bytes([3, 4]))
    (folder / "class_names.txt").write_text("airplane\nbird\ncar\ncat\ndeer\ndog\nhorse\nmonkey\nship\ntruck\n")
    (folder / "fold_indices.txt").write_text("0 1\n")
    return folder


def test_stl_10_is_read_upright_with_its_parts(tmp_path):
    folder = stl10(tmp_path / "stl10_binary")
    dataset = data.open(tmp_path)
    assert (rows(dataset) == STL.transpose(0, 3, 1, 2)).all() and names(dataset) == ["airplane", "truck", "bird"]
    assert dataset.division.counts == {"train": 3, "test": 2, "unlabeled": 3}
    unlabeled = data.open(folder, split="unlabeled")
    assert unlabeled.labels is None and (rows(unlabeled) == STL[::-1].transpose(0, 3, 1, 2)).all()
    assert names(data.open(folder / "test_X.bin")) == ["car", "cat"]


def test_damaged_stl_10_is_refused(tmp_path):
    folder = stl10(tmp_path / "s")
    (folder / "train_y.bin").write_bytes(bytes([1, 0, 2]))
    refused(folder, "train_y.bin has labels that are not whole numbers from 0 to 9: -1 to 1")
    (folder / "train_y.bin").write_bytes(bytes([1, 2]))
    refused(folder, "train_y.bin has 2 labels for 3 images")
    (folder / "train_y.bin").unlink()
    assert data.open(folder).labels is None
    (folder / "train_X.bin").write_bytes(b"x" * 30_000)
    refused(folder, "train_X.bin has 30,000 bytes, and images of 27,648 are expected")
    (folder / "class_names.txt").write_text("a b")
    refused(folder, "class_names.txt has 2 names of classes")
    for path in folder.glob("*_X.bin"):
        path.write_bytes(b"")
    (folder / "class_names.txt").unlink()
    for path in folder.glob("*_y.bin"):
        path.unlink()
    refused(folder, "without a single image")


# LMDB ----------------------------------------------------------------------------------------------------------------


def lsun_like(folder, count=40, side=40, key="{:05}", form="WEBP", more=()):
    """An LMDB with images, by the package itself: long values, which have pages of their own, and short ones."""
    lmdb = pytest.importorskip("lmdb")
    images = {}
    with lmdb.open(str(folder), map_size=2**24) as env, env.begin(write=True) as writing:
        for i in range(count):
            pixels = np.random.default_rng(i).integers(0, 256, (side, side, 3), np.uint8)
            images[key.format(i)] = encoded(pixels, form, **({"lossless": True} if form == "WEBP" else {}))
            writing.put(key.format(i).encode(), images[key.format(i)])
        for name, value in more:
            writing.put(name, value)
    return images


@pytest.mark.parametrize("count, side, form", [(40, 40, "WEBP"), (700, 2, "PNG"), (3, 90, "JPEG")])
def test_lsun_s_lmdb_is_read(tmp_path, count, side, form):
    folder = tmp_path / "church_outdoor_train_lmdb"
    images = lsun_like(folder, count, side, form=form)
    with files.open_files(folder) as source:
        assert {file.name.partition(".")[0]: source.read(file) for file in source.files} == images
    for path in (folder, folder / "data.mdb"):
        dataset = data.open(path)
        assert len(dataset) == count and dataset.names[0].startswith("00000.")
        assert (rows(dataset)[1] == decoding.decode(images["00001"], (3, side, side), "crop", "white")).all()


def test_lsun_s_parts_and_other_sets_beside_each_other(tmp_path):
    lsun_like(tmp_path / "church_outdoor_train_lmdb", 4), lsun_like(tmp_path / "church_outdoor_val_lmdb", 2, key="v{}")
    dataset = data.open(tmp_path)
    assert dataset.division.counts == {"train": 4, "val": 2} and len(data.open(f"{tmp_path}:val")) == 2
    lsun_like(tmp_path / "bedroom_train_lmdb", 2)
    refused(tmp_path, "3 LMDBs are here that are no parts of one set: .*bedroom_train_lmdb")


def test_the_largest_of_several_resolutions_is_read_and_odd_keys_have_names(tmp_path):
    images = lsun_like(tmp_path / "ffhq", 3, 16, "16-{:05}", more=[(b"length", b"3"), (b"8-00000", encoded(GREY[0]))])
    dataset = data.open(tmp_path / "ffhq")
    assert len(dataset) == len(images) and "16 px are read, 8 px are not" in " ".join(dataset.warnings)
    lsun_like(tmp_path / "odd", 1, more=[(b"../x\0", encoded(COLOUR[0].repeat(5, 0).repeat(5, 1), "PNG"))])
    with files.open_files(tmp_path / "odd") as source:
        assert [file.name for file in source.files] == ["~2e2e2f7800.png", "00000.png"]


def test_lmdbs_without_images_are_refused(tmp_path):
    lsun_like(tmp_path / "pickled", 0, more=[(b"a", pickle.dumps([1]))])
    refused(tmp_path / "pickled", "no encoded images .the first begins with 80 04")
    lsun_like(tmp_path / "nothing", 0)
    refused(tmp_path / "nothing", "holds nothing")
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(tmp_path / "tables"), map_size=2**20, max_dbs=2) as env:
        table = env.open_db(b"images")
        with env.begin(write=True) as writing:
            writing.put(b"a", b"b", db=table)
    refused(tmp_path / "tables", "several tables")


def test_damaged_lmdbs_end_in_words(tmp_path):
    lsun_like(tmp_path / "lmdb", 60, 12)
    path = tmp_path / "lmdb" / "data.mdb"
    content = path.read_bytes()
    for broken, match in (
        (content[:-4096], "is truncated"), (content[:100], "no LMDB"), (b"", "no LMDB"), (b"x" * 9999, "no LMDB"),
    ):  # fmt: skip
        path.write_bytes(broken)
        refused(tmp_path / "lmdb", match)
    random = np.random.default_rng(0)
    refusals = 0
    for _ in range(150):
        damaged = np.frombuffer(content, np.uint8).copy()
        place = random.integers(0, len(damaged), 40)
        place = np.where(random.random(40) < 0.5, place % 300 + 4096 * random.integers(0, len(damaged) // 4096), place)
        damaged[place] = random.integers(0, 256, 40)
        path.write_bytes(damaged.tobytes())
        try:
            with files.open_files(tmp_path / "lmdb") as source:
                assert all(len(source.read(file)) == file.size for file in source.files)
        except ValueError as error:
            refusals += 1
            assert "data.mdb" in str(error)
    assert refusals > 20


def test_a_tree_of_pages_that_leads_in_circles_is_refused(tmp_path):
    lsun_like(tmp_path / "lmdb", 700, 2, form="PNG")
    path = tmp_path / "lmdb" / "data.mdb"
    content = bytearray(path.read_bytes())
    metas = [struct.unpack_from("<Q", content, 4096 * i + 16 + 24 + 96 + 8)[0] for i in (0, 1)]
    root = struct.unpack_from("<Q", content, 4096 * metas.index(max(metas)) + 16 + 24 + 48 + 40)[0]
    assert struct.unpack_from("<H", content, 4096 * root + 10)[0] & lsun.BRANCH
    first, second = struct.unpack_from("<HH", content, 4096 * root + 16)
    page = struct.unpack_from("<H", content, 4096 * root + first)[0]
    for node, to in ((first, root), (second, page)):  # up again, and twice to one page
        damaged = bytearray(content)
        struct.pack_into("<HHH", damaged, 4096 * root + node, to, 0, 0)
        path.write_bytes(damaged)
        refused(tmp_path / "lmdb", f"its tree leads to page {to}")


# Arrays --------------------------------------------------------------------------------------------------------------


def test_keras_mnist_and_medmnist_are_read(tmp_path):
    np.savez(tmp_path / "mnist.npz", x_train=GREY, y_train=DIGITS, x_test=255 - GREY[:2], y_test=DIGITS[:2])
    dataset = data.open(tmp_path / "mnist.npz")
    assert (rows(dataset)[:, 0] == GREY).all() and names(dataset) == [str(i) for i in DIGITS]
    assert (
        dataset.division.counts == {"train": 7, "test": 2}
        and len(data.open(data.held_out_of(tmp_path / "mnist.npz"))) == 2
    )
    report = data.describe(tmp_path / "mnist.npz")
    assert report.kind == "images" and report.count == 7 and report.classes["1"] == 2
    parts = {"train": COLOUR, "val": 255 - COLOUR[:3], "test": COLOUR[:2] // 2}
    med = {f"{part}_images": images for part, images in parts.items()}
    med |= {f"{part}_labels": np.arange(len(images))[:, None] % 2 for part, images in parts.items()}
    np.savez_compressed(tmp_path / "pathmnist.npz", **med)
    dataset = data.open(tmp_path / "pathmnist.npz")
    assert dataset.division.counts == {"train": 6, "val": 3, "test": 2} and dataset.labels.tolist() == [0, 1] * 3


@pytest.mark.parametrize("key", ["images", "x", "X", "data", "arr_0", "samples", "imgs"])
def test_names_of_arrays_in_an_npz(tmp_path, key):
    np.savez(tmp_path / "some.npz", **{key: COLOUR}, label=np.arange(6) // 2, seeds=np.arange(6))
    dataset = data.open(tmp_path / "some.npz")
    assert (rows(dataset) == COLOUR.transpose(0, 3, 1, 2)).all() and dataset.labels.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    "array, shape",
    [
        (GREY, (1, 9, 8)), (GREY[..., None], (1, 9, 8)), (GREY[:, None], (1, 9, 8)), (COLOUR, (3, 8, 8)),
        (np.ascontiguousarray(COLOUR.transpose(0, 3, 1, 2)), (3, 8, 8)), (COLOUR[:, :, :3].copy(), (3, 8, 3)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("ending", [".npz", ".npy"])
def test_shapes_of_arrays(tmp_path, array, shape, ending):
    path = tmp_path / f"images{ending}"
    np.savez(path, array) if ending == ".npz" else np.save(path, array)
    dataset = data.open(path)
    assert dataset.shape == shape and len(dataset) == len(array)
    flat = array.reshape(len(array), -1)
    assert (np.sort(rows(dataset).reshape(len(array), -1)) == np.sort(flat)).all()


@pytest.mark.parametrize("low, high, dtype", [(0, 1, "f4"), (-1, 1, "f8"), (0, 255, "f4"), (0, 1, ">f4"), (0, 1, "f2")])
@pytest.mark.parametrize("ending", [".npz", ".npy"])
def test_floats_of_known_ranges_are_read_and_said(tmp_path, low, high, dtype, ending):
    array = (GREY / 255 * (high - low) + low).astype(dtype)
    array[0, 0, :2] = low, high
    path = tmp_path / f"x{ending}"
    np.savez(path, x=array) if ending == ".npz" else np.save(path, array)
    dataset = data.open(path)
    assert abs(rows(dataset)[1:, 0].astype(int) - GREY[1:]).max() <= (1 if dtype == "f2" else 0)
    assert f"floats from {low} to {high}: {low} is black, {high} is white" in " ".join(dataset.warnings)


@pytest.mark.parametrize(
    "images, labels", [("X_train", "y_train"), ("train_images", "train_labels"), ("k49-train-imgs", "k49-train-labels")]
)
@pytest.mark.parametrize("ending", [".npz", ".npy"])
def test_labels_in_a_file_of_their_own(tmp_path, images, labels, ending):
    save = np.savez if ending == ".npz" else np.save
    save(tmp_path / f"{images}{ending}", COLOUR), save(tmp_path / f"{labels}{ending}", np.arange(6) % 3)
    test = {"images": images.replace("train", "test"), "labels": labels.replace("train", "test")}
    save(tmp_path / f"{test['images']}{ending}", 255 - COLOUR[:2]), save(tmp_path / f"{test['labels']}{ending}", [0, 1])
    dataset = data.open(tmp_path)
    assert dataset.labels.tolist() == [0, 1, 2] * 2 and dataset.division.counts == {"train": 6, "test": 2}
    assert data.open(tmp_path / f"{images}{ending}").labels.tolist() == [0, 1, 2] * 2


def test_labels_as_names_and_one_hot_rows(tmp_path):
    np.savez(tmp_path / "a.npz", images=COLOUR, labels=np.array(["dog", "cat"] * 3))
    assert names(data.open(tmp_path / "a.npz")) == ["dog", "cat"] * 3
    np.savez(tmp_path / "b.npz", images=COLOUR, y=np.eye(3)[[0, 2, 1] * 2])
    assert data.open(tmp_path / "b.npz").labels.tolist() == [0, 2, 1] * 2


def test_vectors_stay_vectors(tmp_path):
    np.savez(tmp_path / "v.npz", real=np.zeros((5, 3)), label=np.arange(5) % 2)
    assert data.open(tmp_path / "v.npz").kind == "vectors" and data.describe(tmp_path / "v.npz").kind == "vectors"
    np.savez(tmp_path / "w.npz", condition=np.zeros((5, 3)))
    refused(tmp_path / "w.npz", "it must hold numbers `real`")


@pytest.mark.parametrize(
    "content, match",
    [
        (dict(x=np.zeros((4, 8, 8), np.uint16)), "holds uint16: bytes .uint8. or floats are expected"),
        (dict(x=np.zeros((4, 8, 8)) + 300), "floats from 300 to 300: 0 to 1"),
        (dict(x=np.full((4, 8, 8), np.nan)), "not finite"),
        (dict(x=np.zeros((4, 8, 8, 2), np.uint8)), "holds no images"),
        (dict(x=np.zeros((40, 40, 3), np.uint8)), "holds no images"),
        (dict(x=GREY, y=DIGITS[:3]), "has not one label for each of 7 images"),
        (dict(x=GREY, y=np.ones((7, 3))), "neither one label an image nor one-hot rows"),
        (dict(x=GREY, y=np.arange(7) + 0.5), "holds no labels"),
        (dict(x=GREY[:0], y=DIGITS[:0]), "holds not a single image"),
        (dict(x=GREY, images=GREY), "several arrays hold images of one part"),
        (dict(x=np.array([{}], object)), "it must hold numbers `real`|holds objects"),
    ],
)
def test_other_arrays_are_refused_in_words(tmp_path, content, match):
    np.savez(tmp_path / "x.npz", **content)
    refused(tmp_path / "x.npz", match)
    (tmp_path / "in").mkdir()
    (tmp_path / "x.npz").rename(tmp_path / "in" / "x.npz")
    refused(tmp_path / "in", match.split("|")[-1])


@pytest.mark.parametrize(
    "damage, match",
    [
        (lambda content: content[:-1], "bytes of values"),
        (lambda content: content[:50], "x.npy"),
        (lambda content: b"", "is no array"),
        (lambda content: b"PK" + content, "is no array"),
        (lambda content: content.replace(b"(7, 9, 8)", b"(9**9**9)"), "x.npy"),
        (lambda content: content.replace(b"|u1", b"|O8").replace(b"|u1", b"|O"), "x.npy"),
    ],
)
def test_damaged_npys_are_refused(tmp_path, damage, match):
    np.save(tmp_path / "x.npy", GREY)
    (tmp_path / "x.npy").write_bytes(damage((tmp_path / "x.npy").read_bytes()))
    refused(tmp_path / "x.npy", match)
    refused(tmp_path, match)


def test_objects_in_npy_are_refused_and_columns_too(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.save(tmp_path / "x.npy", np.array([Hostile()], object), allow_pickle=True)
    refused(tmp_path / "x.npy", "holds objects, which are refused")
    np.save(tmp_path / "x.npy", np.asfortranarray(GREY))
    refused(tmp_path / "x.npy", "stored column by column: save np.ascontiguousarray")


def test_the_header_of_an_npy_is_checked(tmp_path):
    np.save(tmp_path / "x.npy", GREY)
    content = (tmp_path / "x.npy").read_bytes()
    array = arrays.npy_header(io.BytesIO(content), len(content))
    assert array.shape == GREY.shape and array.size == GREY.size and array.start == len(content) - GREY.size
    with pytest.raises(ValueError, match="bytes of values"):
        arrays.npy_header(io.BytesIO(content), len(content) + 1)


# Plain pixels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("image", [GREY[0], COLOUR[0]])
def test_plain_pixels_are_what_pillow_reads(image):
    content = encoded(image, "PPM")
    head = b"P%d %d %d 255\n" % (5 if image.ndim == 2 else 6, image.shape[1], image.shape[0])
    plain = head + image.tobytes()
    assert (decoding.plain_pixels(plain) == image).all() and decoding.probe(plain) == decoding.probe(content)
    shape = (1 if image.ndim == 2 else 3, *image.shape[:2])
    for size in (shape, (shape[0], 5, 5), (4 - shape[0], *shape[1:])):
        assert (decoding.decode(plain, size, "crop", "white") == decoding.decode(content, size, "crop", "white")).all()
    assert decoding.check(plain) == decoding.check(content)
    assert decoding.plain_pixels(plain[:-1]) is None and decoding.plain_pixels(plain + b"\0") is None
    with pytest.raises(decoding.Unusable):
        decoding.load(plain[:-5])


def test_folders_of_pgm_and_ppm_are_images(tmp_path):
    for i in range(3):
        Image.fromarray(COLOUR[i]).save(tmp_path / f"{i}.ppm")
    assert (rows(data.open(tmp_path)) == COLOUR[:3].transpose(0, 3, 1, 2)).all()
