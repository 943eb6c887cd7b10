"""Folders and archives of images: what is read, what is refused and why, and how a data set is described."""

import io
import itertools
import json
import os
import stat
import subprocess
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from picture_files import PHOTO, bomb, encoded, fill, prepared, put, rows
from PIL import Image

from gankit import data
from gankit.data.reading import files
from gankit.disk import amount

pytestmark = pytest.mark.usefixtures("fresh_cache")


def test_a_folder_of_classes(pictures):
    expected = fill(pictures)
    dataset = data.open(pictures)
    assert (dataset.kind, dataset.shape, dataset.name) == ("images", (3, 8, 8), "pictures")
    assert dataset.class_names == ["cat", "dog"] and dataset.labels.tolist() == [0] * 6 + [1] * 6
    assert np.array_equal(rows(dataset), expected)
    batch = next(dataset.stream(0, 12))
    assert torch.equal(batch["real"], torch.from_numpy(expected)[dataset.numbers(np.arange(12))])


def packed(root, target):
    """The folder, with its own name above everything, as an archive made in the order of names."""
    paths = sorted(p for p in root.rglob("*") if p.is_file())
    if target.suffix == ".zip":
        with zipfile.ZipFile(target, "w") as archive:
            for path in paths:
                archive.write(path, path.relative_to(root.parent))
    else:
        with tarfile.open(target, "w" if target.suffix == ".tar" else f"w:{target.suffix[1:]}") as archive:
            for path in paths:
                archive.add(path, path.relative_to(root.parent))
    return target


@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_an_archive_is_the_same_as_its_folder(pictures, tmp_path, ending):
    fill(pictures)
    of_folder, of_archive = data.open(pictures), data.open(packed(pictures, tmp_path / f"packed.{ending}"))
    assert np.array_equal(rows(of_folder), rows(of_archive))
    assert of_folder.class_names == of_archive.class_names and of_folder.fingerprint == of_archive.fingerprint


def test_one_file_is_a_data_set_of_one(pictures):
    put(pictures, **{"one.png": encoded(PHOTO)})
    dataset = data.open(pictures / "one.png")
    assert len(dataset) == 1 and np.array_equal(rows(dataset)[0].transpose(1, 2, 0), PHOTO)


def test_what_systems_leave_about_is_passed_over(pictures):
    fill(pictures, 1)
    junk = {
        "cat__._000.png": b"junk",
        "cat__.DS_Store": b"junk",
        "Thumbs.db": b"junk",
        "__MACOSX/cat/._000.png": b"junk",
    }
    put(pictures, **junk, **{".git__x.png": b"junk", "@eaDir__y.png": b"junk", "notes.txt": b"text", "z.docx": b"text"})
    (pictures / "MACOS").mkdir()
    os.rename(pictures / "MACOS", pictures / "empty")
    dataset = data.open(pictures)
    assert len(dataset) == 2 and dataset.class_names == ["cat", "dog"]
    assert dataset.warnings == ["Files of other kinds are not read: .txt (1), .docx (1)."]


def test_names_in_any_script_and_of_no_script(pictures):
    put(pictures, **{"Käse__日本 語.JPG": encoded(PHOTO, "JPEG"), "zażółć__b\n\x1b[31m.png": encoded(PHOTO)})
    (pictures / "Käse" / os.fsdecode(b"\xff\xfe.png")).write_bytes(b"")
    with pytest.raises(ValueError) as caught:
        data.open(pictures)
    assert str(caught.value).isprintable() or set(str(caught.value)) & set("\x1b\udcff") == set()
    dataset = data.open(pictures, skip_bad=True)
    assert len(dataset) == 2 and dataset.class_names == ["Käse", "zażółć"] and len(dataset.skipped) == 1
    json.dumps([dataset.skipped, dataset.warnings, str(data.describe(pictures))]).encode()


def test_links_are_followed_but_not_in_circles(pictures, tmp_path):
    fill(tmp_path / "elsewhere", 2)
    (pictures / "linked").symlink_to(tmp_path / "elsewhere" / "cat")
    (pictures / "own").mkdir()
    (pictures / "own" / "circle").symlink_to(pictures)
    put(pictures, **{"own__a.png": encoded(PHOTO[:8, :8])})
    assert len(data.open(pictures)) == 3
    (pictures / "own" / "broken.png").symlink_to(tmp_path / "nothing.png")
    os.mkfifo(pictures / "own" / "pipe.png")
    with pytest.raises(data.BadFiles) as caught:
        data.open(pictures)
    assert dict(caught.value.files) == {
        "own/broken.png": "cannot be read: No such file or directory",
        "own/pipe.png": "not a regular file",
    }


def test_channels_are_the_fewest_that_hold_all(pictures):
    put(pictures, **{"a.png": encoded(PHOTO[..., 0]), "b.png": encoded(Image.new("LA", (32, 24)))})
    assert data.open(pictures).shape == (1, 24, 32)
    assert data.open(pictures, alpha="keep").shape == (4, 24, 32)
    put(pictures, **{"c.jpg": encoded(PHOTO, "JPEG")})
    assert data.open(pictures).shape == (3, 24, 32)
    assert (rows(data.open(pictures))[1] == 255).all() and not rows(data.open(pictures, alpha="black"))[1].any()


def test_different_sizes_need_a_resolution(pictures):
    put(
        pictures,
        **{
            "a.png": encoded(PHOTO),
            "b.png": encoded(Image.new("RGB", (100, 80))),
            "c.png": encoded(Image.new("RGB", (90, 70))),
        },
    )
    with pytest.raises(
        ValueError, match=r"pictures: the images have 3 sizes .* from 24x32 to 80x100; choose one, say --resolution 64"
    ):
        data.open(pictures)
    dataset = data.open(pictures, resolution="16x32")
    assert dataset.shape == (3, 16, 32) and dataset.warnings == []
    assert data.open(pictures, 64).warnings == ["1 of 3 images are smaller than 64x64 and are enlarged."]


def test_all_bad_files_are_listed_and_can_be_left_out(pictures):
    expected = fill(pictures, 3)
    put(
        pictures,
        **{
            "cat__001a.png": b"",
            "cat__001b.png": encoded(PHOTO)[:-50],
            "dog__x.jpg": b"text",
            "dog__y.png": bomb(10_000),
        },
    )
    with pytest.raises(data.BadFiles, match="4 of 10 files cannot be used") as caught:
        data.open(pictures, resolution=8)
    reasons = dict(caught.value.files)
    assert list(reasons) == ["cat/001a.png", "dog/x.jpg", "dog/y.png", "cat/001b.png"]
    assert all(f"\n  {name}: {reason}" in str(caught.value) for name, reason in reasons.items())
    assert (
        "truncated" in reasons["cat/001b.png"]
        and "oversized" in reasons["dog/y.png"]
        and "empty" in reasons["cat/001a.png"]
    )
    dataset = data.open(pictures, resolution=8, skip_bad=True)
    assert np.array_equal(rows(dataset), expected) and dataset.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert sorted(dataset.skipped) == sorted(caught.value.files)
    with pytest.raises(data.BadFiles, match="4 of 10"):  # also from the cache
        data.open(pictures, resolution=8)
    report = data.describe(pictures, 8)
    assert (
        sorted(report.bad) == sorted(caught.value.files)
        and report.count == 6
        and report.classes == {"cat": 3, "dog": 3}
    )


def test_nothing_usable(pictures):
    with pytest.raises(ValueError, match="no images .* found: nothing"):
        data.open(pictures)
    put(pictures, **{"a.txt": b"", "b.txt": b"", "c": b""})
    with pytest.raises(ValueError, match=r"found: .txt \(2\), no ending \(1\)"):
        data.open(pictures)
    put(pictures, **{"a.png": b"", "b.png": encoded(PHOTO)[:-50]})
    for skip_bad in (False, True):
        with pytest.raises(ValueError, match="a.png: empty"):
            data.open(pictures, skip_bad=skip_bad)
    assert data.describe(pictures).count == 0


def test_sub_folders_that_are_no_classes(pictures, tmp_path):
    fill(pictures, 2, folders=("train", "test"))
    dataset = data.open(pictures)
    assert dataset.num_classes == 0 and len(dataset) == 2 and dataset.division.counts == {"train": 2, "test": 2}
    assert len(data.open(pictures, split="all")) == 4 and data.open(pictures, split="all").num_classes == 0
    fill(tmp_path / "mixed", 2)
    put(tmp_path / "mixed", **{"loose.png": encoded(PHOTO[:8, :8])})
    dataset = data.open(tmp_path / "mixed")
    assert dataset.num_classes == 0 and dataset.warnings == [
        "1 images lie beside the sub-folders, so these are not taken for classes."
    ]
    fill(tmp_path / "one" / "deep", 2, folders=("cat",))
    assert data.open(tmp_path / "one").num_classes == 0 and not data.open(tmp_path / "one").warnings
    fill(tmp_path / "two" / "deep", 2)
    assert data.open(tmp_path / "two").class_names == ["cat", "dog"]


@pytest.mark.parametrize("name", ["../evil.png", "a/../../evil.png", "/etc/evil.png", "C:\\evil.png", "..\\evil.png"])
@pytest.mark.parametrize("ending", ["zip", "tar"])
def test_names_that_lead_out_of_an_archive_are_refused(tmp_path, name, ending):
    if ending == "zip":
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            archive.writestr("a.png", encoded(PHOTO))
            archive.writestr(name, encoded(PHOTO))
    else:
        with tarfile.open(tmp_path / "x.tar", "w") as archive:
            info = tarfile.TarInfo(name.replace("\\", "/"))
            info.size = len(encoded(PHOTO))
            archive.addfile(info, io.BytesIO(encoded(PHOTO)))
    for skip_bad in (False, True):
        with pytest.raises(ValueError, match=f"x.{ending}: refused, as it holds links or names that lead out of it: "):
            data.open(tmp_path / f"x.{ending}", skip_bad=skip_bad)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_archives_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        info = tarfile.TarInfo("a.png")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        info = zipfile.ZipInfo("a.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    for name in ("x.tar", "x.zip"):
        with pytest.raises(ValueError, match="refused, as it holds links"):
            data.open(tmp_path / name)


def test_a_zip_whose_members_are_too_large_or_damaged(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_BYTES", 2**20)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", encoded(PHOTO))
        archive.writestr("bomb.png", b"\0" * (2**20 + 1))
    with pytest.raises(data.BadFiles, match="bomb.png: oversized: 1,048,577 bytes"):
        data.open(tmp_path / "x.zip")
    whole = (tmp_path / "x.zip").read_bytes()
    (tmp_path / "y.zip").write_bytes(whole[:60] + bytes(b ^ 255 for b in whole[60:80]) + whole[80:])
    with pytest.raises(data.BadFiles, match="a.png: cannot be read: "):
        data.open(tmp_path / "y.zip")


@settings(derandomize=True, max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_archives_are_read_or_refused(tmp_path, given_data):
    source = tmp_path / "source"
    if not source.exists():
        fill(source, 2)
    ending = given_data.draw(st.sampled_from(["zip", "tar", "tar.gz", "tar.xz", "tar.bz2"]))
    target = packed(source, tmp_path / f"d.{ending}")
    content = bytearray(target.read_bytes())
    for _ in range(given_data.draw(st.integers(0, 8))):
        content[given_data.draw(st.integers(0, len(content) - 1))] = given_data.draw(st.integers(0, 255))
    target.write_bytes(content[: given_data.draw(st.integers(0, len(content)))])
    try:
        assert data.open(target, resolution=8, skip_bad=True).shape == (3, 8, 8)
    except ValueError as error:
        assert str(error)


@pytest.mark.timeout(60)
def test_folders_that_are_linked_to_each_other_are_read_once(pictures):
    for i in range(14):
        put(pictures, **{f"f{i:02}__a.png": encoded(PHOTO)})
    for i, j in itertools.permutations(range(14), 2):
        (pictures / f"f{i:02}" / f"to{j:02}").symlink_to(pictures / f"f{j:02}")
    dataset = data.open(pictures)
    assert dataset.names == [f"f{i:02}/a.png" for i in range(14)]
    assert any("182 links to folders that are read already are not followed" in text for text in dataset.warnings)


def test_a_link_is_read_under_its_own_name_unless_its_folder_is_there(pictures, tmp_path):
    """Whatever stands first in the order of names."""
    fill(tmp_path / "away", 2, folders=("cat",))
    put(pictures, **{"m__a.png": encoded(PHOTO[:8, :8])})
    (pictures / "a").symlink_to(pictures / "m")
    (pictures / "b").symlink_to(tmp_path / "away" / "cat")
    (pictures / "z").symlink_to(tmp_path / "away")
    (pictures / "self").symlink_to(pictures / "self")
    assert [file.name for file in files.listing(pictures)] == ["b/000.png", "b/001.png", "m/a.png", "self"]


@pytest.mark.timeout(60)
def test_folders_too_deep_are_one_line(pictures):
    here = os.open(pictures, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    for enter in (data.open, data.describe):
        with pytest.raises(ValueError, match="there are folders more than 64 deep: d/d/d/") as caught:
            enter(pictures)
        assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)
    subprocess.run(["rm", "-rf", pictures], check=True)  # pytest's own removal would recurse


@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz"])
def test_names_that_are_there_twice_are_refused(tmp_path, ending):
    path = tmp_path / f"x.{ending}"
    if ending == "zip":
        with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
            for shade in (1, 2):
                archive.writestr("a.png", encoded(PHOTO // shade))
    else:
        with tarfile.open(path, "w:gz" if ending == "tar.gz" else "w") as archive:
            for name, shade in (("./a.png", 1), ("a.png", 2)):
                info = tarfile.TarInfo(name)
                info.size = len(encoded(PHOTO // shade))
                archive.addfile(info, io.BytesIO(encoded(PHOTO // shade)))
    with pytest.raises(ValueError, match=f"x.{ending}: refused, as it holds 1 names more than once: a.png"):
        data.open(path)


@pytest.mark.parametrize("ending", ["zip", "tar.gz", "tar.xz"])
def test_archives_that_unpack_to_far_more_are_refused(tmp_path, monkeypatch, ending):
    monkeypatch.setattr(files, "FREE", 2**22)
    path = tmp_path / f"x.{ending}"
    content = bytes(2**23)
    if ending == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.png", content)
    else:
        with tarfile.open(path, f"w:{ending[4:]}") as archive:
            info = tarfile.TarInfo("a.png")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    assert path.stat().st_size < 20_000
    with pytest.raises(ValueError, match="of it unpack to 8.4 MB, more than 200 times as much"):
        data.open(path)


def test_amounts_are_read_by_people():
    assert [amount(n) for n in (0, 999, 1000, 2304, 10**6, 614 * 10**6, 5 * 10**9, 2**40)] == [
        "0 bytes", "999 bytes", "1.0 kB", "2.3 kB", "1.0 MB", "614.0 MB", "5.0 GB", "1,099.5 GB",
    ]  # fmt: skip


def test_a_report_says_what_would_be_read(pictures):
    fill(pictures, 3)
    put(
        pictures,
        **{
            "cat__copy.png": (pictures / "cat" / "000.png").read_bytes(),
            "cat__wide.jpg": encoded(PHOTO[..., 0], "JPEG"),
        },
    )
    report = data.describe(pictures)
    assert report.count == 8 and report.sizes == {"8x8": 7, "24x32": 1} and report.modes == {"RGB": 7, "L": 1}
    assert report.copies == [["cat/000.png", "cat/copy.png"]] and report.classes == {"cat": 5, "dog": 3}
    assert report.shape is None and "--resolution 8" in str(report) and "exact copies" in str(report)
    assert data.describe(pictures, 16).shape == (3, 16, 16) and prepared() == []
    assert "read as: 3 x 16 x 16 each" in str(data.describe(pictures, "16"))


def test_an_npz_that_unpacks_to_too_much_is_refused_unread(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "bomb.npz", real=np.zeros((1000, 1000), np.float32))
    assert (tmp_path / "bomb.npz").stat().st_size < 10_000
    monkeypatch.setattr("gankit.data.reading.arrays.MOST", 10**6)
    with pytest.raises(ValueError, match="bomb.npz: it unpacks to 4.0 MB, and more than 1.0 MB are refused"):
        data.open(tmp_path / "bomb.npz")
