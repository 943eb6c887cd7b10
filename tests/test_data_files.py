"""Folders and archives of images: what is read, what is refused and why, and that the cache is whole or not there."""

import csv
import dataclasses
import io
import itertools
import json
import math
import multiprocessing
import os
import shutil
import stat
import subprocess
import tarfile
import time
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file

from gankit import data, training
from gankit.data.reading import cache, decoding, files, folder, metadata
from gankit.training import Run

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (24, 32, 3), np.uint8)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """A cache of its own for each test, and no warning from Pillow that escapes."""
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


@pytest.fixture
def pictures(tmp_path):
    """A folder to fill."""
    (tmp_path / "pictures").mkdir()
    return tmp_path / "pictures"


def encoded(array, form="PNG", **options):
    buffer = io.BytesIO()
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(buffer, form, **options)
    return buffer.getvalue()


def put(root, **contents):
    """Write files; a__b.png is a/b.png."""
    for name, content in contents.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def fill(root, n=6, size=(8, 8), folders=("cat", "dog")):
    """n random colour PNGs in each of the folders; returns their pixels in order."""
    rows = []
    for name in folders:
        for i in range(n):
            pixels = RNG.integers(0, 256, (*size, 3), np.uint8)
            path = root / name / f"{i:03}.png"
            path.parent.mkdir(exist_ok=True, parents=True)
            Image.fromarray(pixels).save(path)
            rows.append(pixels.transpose(2, 0, 1))
    return np.stack(rows)


def rows(dataset):
    return dataset.read(np.arange(len(dataset)))


# ---- what one file becomes


def bytes_of(content, shape=(3, 24, 32), fit="crop", alpha="white"):
    return decoding.decode(content, shape, fit, alpha).transpose(1, 2, 0)


@pytest.mark.parametrize("form, options", [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", dict(lossless=True))])
def test_lossless_formats_are_read_exactly(form, options):
    assert np.array_equal(bytes_of(encoded(PHOTO, form, **options)), PHOTO)


def test_lossy_and_palette_formats_are_as_pillow_reads_them():
    for content in (encoded(PHOTO, "JPEG"), encoded(PHOTO, "GIF"), encoded(Image.fromarray(PHOTO).quantize(16))):
        assert np.array_equal(bytes_of(content), np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


def test_the_first_frame_of_an_animation():
    frames = [Image.new("RGB", (32, 24), colour) for colour in ("red", "lime")]
    for form in ("GIF", "WEBP", "PNG"):
        content = encoded(frames[0], form, save_all=True, append_images=frames[1:])
        assert np.allclose(bytes_of(content)[0, 0].astype(int), (255, 0, 0), atol=8)


def test_sixteen_bits_are_scaled_not_cut():
    grey = np.linspace(0, 65535, 24 * 32).reshape(24, 32).astype(np.uint16)
    for content in (encoded(grey), encoded(grey, "TIFF"), encoded(grey.astype(np.int32), "TIFF")):
        assert decoding.probe(content).grey
        assert np.array_equal(bytes_of(content, (1, 24, 32))[:, :, 0], (grey / 257).round())
    deep = encoded(grey.astype(np.int32) * 100, "TIFF")
    with pytest.raises(ValueError, match="neither 16 bits nor floats"):
        bytes_of(deep)


def test_float_tiffs_in_either_range():
    share = np.linspace(0, 1, 24 * 32, dtype=np.float32).reshape(24, 32)
    for top in (1, 255):
        assert np.array_equal(bytes_of(encoded(share * top, "TIFF"), (1, 24, 32))[:, :, 0], (share * 255).round())
    for wrong in (share - 1, share * 1000, np.where(share > 0.5, np.nan, share)):
        with pytest.raises(ValueError, match="neither 16 bits nor floats"):
            bytes_of(encoded(wrong.astype(np.float32), "TIFF"))


def transparent():
    """RGBA with a hidden colour under transparent, half and opaque columns."""
    pixels = np.zeros((4, 6, 4), np.uint8)
    pixels[..., 0] = 200
    pixels[:, 2:4, 3], pixels[:, 4:, 3] = 128, 255
    return pixels


@pytest.mark.parametrize("alpha, expected", [("white", (255, 255, 255)), ("black", (0, 0, 0))])
def test_transparent_pixels_show_the_background(alpha, expected):
    pixels = bytes_of(encoded(transparent()), (3, 4, 6), alpha=alpha)
    assert tuple(pixels[0, 0]) == expected and tuple(pixels[0, 5]) == (200, 0, 0)
    assert abs(int(pixels[0, 3, 0]) - (200 + expected[0]) / 2) < 30
    palette = Image.fromarray(np.zeros((4, 6), np.uint8), "P")
    palette.putpalette([9, 8, 7])
    assert tuple(bytes_of(encoded(palette, transparency=0), (3, 4, 6), alpha=alpha)[0, 0]) == expected
    grey = Image.merge("LA", [Image.new("L", (6, 4), 50), Image.new("L", (6, 4), 0)])
    assert decoding.probe(encoded(grey)).grey
    assert bytes_of(encoded(grey), (1, 4, 6), alpha=alpha)[0, 0] == expected[0]


def test_alpha_can_be_kept_and_hidden_colours_do_not_bleed():
    assert np.array_equal(bytes_of(encoded(transparent()), (4, 4, 6), alpha="keep"), transparent())
    half = np.zeros((64, 64, 4), np.uint8)
    half[:, :32], half[:, 32:] = (255, 0, 0, 0), (0, 255, 0, 255)
    small = bytes_of(encoded(half), (4, 8, 8), alpha="keep")
    assert (small[small[..., 3] > 0][:, 0] < 5).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_pictures_are_turned_upright(orientation, form):
    """The picture as it is seen has a white corner at the top left."""
    seen = np.zeros((16, 32), np.uint8)
    seen[:8, :8] = 255
    undo = {1: seen, 2: seen[:, ::-1], 3: seen[::-1, ::-1], 4: seen[::-1], 5: seen.T, 6: seen.T[::-1]}
    undo |= {7: seen.T[::-1, ::-1], 8: seen.T[:, ::-1]}
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(
        np.ascontiguousarray(undo[orientation]), form, exif=exif, **dict(quality=95) if form == "JPEG" else {}
    )
    header = decoding.probe(content)
    assert (header.height, header.width) == (16, 32)
    assert np.abs(bytes_of(content, (1, 16, 32))[:, :, 0].astype(int) - seen).max() < 60


def test_cmyk_and_one_bit():
    cmyk = encoded(Image.new("CMYK", (32, 24), (0, 255, 255, 0)), "JPEG", quality=95)
    assert np.allclose(bytes_of(cmyk)[0, 0].astype(int), (255, 0, 0), atol=6)
    bits = np.eye(24, 32) > 0
    assert np.array_equal(bytes_of(encoded(bits), (1, 24, 32))[:, :, 0], bits * 255)


def test_fits_keep_what_they_say():
    image = Image.fromarray(PHOTO)
    content = encoded(PHOTO)
    lanczos = Image.Resampling.LANCZOS
    assert np.array_equal(
        bytes_of(content, (3, 12, 12)), np.asarray(image.crop((4, 0, 28, 24)).resize((12, 12), lanczos))
    )
    assert np.array_equal(bytes_of(content, (3, 12, 20), fit="squash"), np.asarray(image.resize((20, 12), lanczos)))
    padded = bytes_of(content, (3, 16, 16), fit="pad", alpha="black")
    assert np.array_equal(padded[2:14], np.asarray(image.resize((16, 12), lanczos)))
    assert not padded[:2].any() and not padded[14:].any()
    turned = bytes_of(encoded(np.ascontiguousarray(PHOTO.swapaxes(0, 1))), (3, 16, 16), fit="pad", alpha="black")
    assert turned[:, 2:14].any((0, 2)).all() and not turned[:, :2].any() and not turned[:, 14:].any()
    assert (bytes_of(content, (3, 16, 16), fit="pad")[:2] == 255).all()
    assert not bytes_of(content, (4, 16, 16), fit="pad", alpha="keep")[:2].any()


@pytest.mark.parametrize("size", [(1, 1), (2, 3000), (3000, 2), (7, 5)])
@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_odd_sizes_are_fitted(size, fit):
    assert (bytes_of(encoded(Image.new("RGB", size, "white")), (3, 16, 16), fit=fit) == 255).all()


def bomb(side):
    """A PNG of a few kilobytes that claims side x side pixels."""
    return encoded(Image.new("1", (side, side)))


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "empty file"),
        (b"hello, I am a text", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (encoded(PHOTO)[:-300], "truncated|damaged"),
        (encoded(PHOTO, "JPEG")[:-300], "truncated"),
        (encoded(PHOTO, "WEBP")[:-300], "truncated|damaged|not an image"),
        (encoded(PHOTO, "GIF")[:-300], "truncated|damaged"),
        (encoded(PHOTO, "BMP")[:-300], "truncated|damaged"),
        (encoded(PHOTO, "TIFF")[:-300], "truncated|damaged|not an image"),
        (encoded(PHOTO)[:400] + b"\0" * 90 + encoded(PHOTO)[490:], "damaged|truncated"),
        (bomb(9_000), "oversized: 9000x9000 pixels"),
        (bomb(10_000), "oversized"),
        (bomb(20_000), "oversized"),
    ],
)
def test_bad_files_have_a_reason(content, reason):
    with pytest.raises(ValueError, match=reason):
        decoding.probe(content)
        bytes_of(content)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.data())
def test_no_bytes_do_anything_but_decode_or_be_refused(given_data):
    form = given_data.draw(st.sampled_from(["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"]))
    content = bytearray(encoded(PHOTO, form))
    for _ in range(given_data.draw(st.integers(1, 6))):
        content[given_data.draw(st.integers(0, len(content) - 1))] = given_data.draw(st.integers(0, 255))
    content = bytes(content[: given_data.draw(st.integers(0, len(content)))]) + given_data.draw(st.binary(max_size=8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            decoding.probe(content)
            assert bytes_of(content, (3, 5, 7)).shape == (5, 7, 3)
        except ValueError as error:
            assert str(error)


# ---- folders and archives


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
    put(pictures, **junk, **{".git__x.png": b"junk", "@eaDir__y.png": b"junk", "notes.txt": b"text", "z.heic": b"text"})
    (pictures / "MACOS").mkdir()
    os.rename(pictures / "MACOS", pictures / "empty")
    dataset = data.open(pictures)
    assert len(dataset) == 2 and dataset.class_names == ["cat", "dog"]
    assert dataset.warnings == ["Files of other kinds are not read: .txt (1), .heic (1)."]


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
    assert dataset.num_classes == 0 and "splits" in dataset.warnings[0] and len(dataset) == 4
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


# ---- metadata


def with_table(root, rows, form="csv", n=4):
    fill(root, n, folders=("all",))
    for i in range(n):
        os.rename(root / "all" / f"{i:03}.png", root / f"{i}.png")
    (root / "all").rmdir()
    if form == "csv":
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, dict.fromkeys(key for row in rows for key in row))
        table.writeheader()
        table.writerows(rows)
        (root / "metadata.csv").write_text("\ufeff" + text.getvalue(), "utf-8")
    elif form == "jsonl":
        (root / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    else:
        (root / "dataset.json").write_text(json.dumps({"labels": [[row["file_name"], row["label"]] for row in rows]}))


ROWS = [
    dict(
        file_name=f"{i}.png",
        label=["cat", "dog"][i % 2],
        text=f"nr {i}, \u201cyes\u201d\nand so",
        age=i / 4,
        wild=i % 2,
    )
    for i in range(4)
]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_labels_captions_and_attributes_come_from_a_table(pictures, form):
    with_table(pictures, ROWS[::-1], form)
    dataset = data.open(pictures)
    assert dataset.class_names == ["cat", "dog"] and dataset.labels.tolist() == [0, 1, 0, 1]
    assert dataset.captions == [row["text"] for row in ROWS]
    assert dataset.attribute_names == ["age", "wild"]
    assert dataset.attributes.tolist() == [[0, 0], [0.25, 1], [0.5, 0], [0.75, 1]]
    batch = next(dataset.stream(0, 4))
    assert torch.equal(batch["attribute"], torch.from_numpy(dataset.attributes)[dataset.numbers(np.arange(4))])
    assert data.describe(pictures).captions == 4


def test_labels_from_dataset_json_and_whole_numbers_in_order(pictures):
    with_table(pictures, [dict(file_name=f"{i}.png", label=label) for i, label in enumerate((10, 9, 10, 2))], "json")
    dataset = data.open(pictures)
    assert dataset.class_names == ["2", "9", "10"] and dataset.labels.tolist() == [2, 1, 2, 0]
    (pictures / "dataset.json").write_text('{"labels": null}')
    assert data.open(pictures).num_classes == 0


def test_names_match_however_their_accents_are_written(pictures):
    put(pictures, **{"e\u0301.png": encoded(PHOTO), "b.png": encoded(PHOTO)})
    (pictures / "metadata.csv").write_text("file_name,label\n\u00e9.png,0\n./b.png,1\n", "utf-8")
    assert data.open(pictures).labels.tolist() == [1, 0]


def test_images_and_rows_must_know_each_other(pictures):
    with_table(pictures, [*ROWS[:2], dict(file_name="gone.png", label="cat", text="", age=1, wild=0)])
    with pytest.raises(data.BadFiles) as caught:
        data.open(pictures)
    assert dict(caught.value.files) == {
        "gone.png": "in metadata.csv, but not there",
        "2.png": "has no row in metadata.csv",
        "3.png": "has no row in metadata.csv",
    }
    assert len(data.open(pictures, skip_bad=True)) == 2


@pytest.mark.parametrize(
    "text, message",
    [
        ("file_name,label\n0.png,1\n1.png\n", "line 3: not as many values"),
        ("file_name,label\n0.png,1,7\n", "line 2: not as many values"),
        ("name,label\n0.png,1\n", "no column file_name"),
        ("", "no column file_name"),
        ("file_name,label\n,1\n", "row 1: file_name is missing"),
        ("file_name,label\n0.png,1\n./0.png,1\n", "row 2: './0.png' has a row already"),
        ("file_name,label\n0.png,1\n1.png,\n2.png,0\n3.png,0\n", "'label' is empty for 1 of 4"),
        ("file_name,age\n0.png,1\n1.png,\n2.png,0\n3.png,0\n", "'age' is empty for 1 of 4"),
        ("file_name,age\n0.png,1\n1.png,inf\n2.png,0\n3.png,0\n", "'age' holds a number that is not finite"),
        ('file_name,text\n0.png,"open\n', "unexpected end of data"),
        ("file_name,label\n\xff", "utf-8"),
    ],
)
def test_a_wrong_table_says_where(pictures, text, message):
    with_table(pictures, ROWS)
    (pictures / "metadata.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=message):
        data.open(pictures)


def test_columns_that_cannot_be_used_are_named(pictures):
    with_table(pictures, [row | dict(photographer="Ann", label="same", note="") for row in ROWS])
    dataset = data.open(pictures)
    assert dataset.num_classes == 0 and dataset.attribute_names == ["age", "wild"]
    assert "'photographer'" in dataset.warnings[0] and "'same'" in dataset.warnings[1]


VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.just(10**400)
    | st.lists(st.integers(), max_size=2)
)


@settings(derandomize=True, max_examples=80, deadline=None)
@given(
    st.sampled_from(metadata.FILES),
    st.binary(max_size=60) | st.text(max_size=60).map(lambda s: s.encode("utf-8", "replace")),
)
def test_any_bytes_as_a_table_are_read_or_refused(name, content):
    for prefix in (b"", b"file_name,label,text\na.png,", b'{"file_name": ', b'{"labels": [["a", '):
        try:
            table = metadata.read(name, prefix + content)
            assert table is None or all(isinstance(row, dict) for row in table.values())
        except ValueError as error:
            assert str(error)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["label", "text", "a", "b"]), VALUES), min_size=1, max_size=5))
def test_any_values_in_a_table_give_known_columns_or_an_error(values):
    try:
        known = metadata.columns(values, "metadata.jsonl")
    except ValueError as error:
        assert "metadata.jsonl" in str(error)
    else:
        assert len(known.labels) in (0, len(values)) and len(known.captions) in (0, len(values))
        assert all(0 <= label < len(known.class_names) for label in known.labels)
        assert all(len(row) == len(known.attribute_names) and np.isfinite(row).all() for row in known.attributes)
        json.dumps(dataclasses.asdict(known), allow_nan=False)


def test_depth_and_length_do_not_break_tables():
    for name, content in (
        ("metadata.jsonl", b"[" * 100_000),
        ("dataset.json", b'{"labels":' * 50_000),
        ("metadata.jsonl", b"1" * 10_000),
    ):
        with pytest.raises(ValueError, match="cannot be used"):
            metadata.read(name, content)
    with pytest.raises(ValueError, match="line 3: Expecting property name"):
        metadata.read("metadata.jsonl", b'{"file_name": "a.png", "text": "a"}\n\n{broken\n')


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("metadata.csv", "file_name,age,age\na.png,1,2\n", "the column 'age' is there twice"),
        ("metadata.csv", "file_name,file_name\na.png,b.png\n", "the column 'file_name' is there twice"),
        ("metadata.jsonl", '{"file_name": "a.png", "label": 1, "label": 2}', "line 1: 'label' is there twice"),
        ("dataset.json", '{"labels": [], "labels": null}', "'labels' is there twice"),
        (
            "metadata.jsonl",
            '{"file_name": "a.png", "label": "\\ud800"}',
            r"row 1: '\\ud800' holds half a letter; write the file in UTF-8",
        ),
        ("metadata.jsonl", '{"file_name": "a.png", "text": ["x", "a\\udc80b"]}', "row 1: .* holds half a letter"),
        ("metadata.jsonl", '{"file_name": "a.png", "\\udfff": 1}', "row 1: .* holds half a letter"),
        ("metadata.jsonl", '{"file_name": "\\ud800.png"}', "row 1: .* holds half a letter"),
        ("dataset.json", '{"labels": [["\\ud800.png", 1]]}', "row 1: .* holds half a letter"),
    ],
)
def test_what_is_ambiguous_or_no_text_is_refused(name, text, message):
    with pytest.raises(ValueError, match=message):
        metadata.read(name, text.encode())


@pytest.mark.parametrize(
    "form, values",
    [
        ("csv", ["nan", "NaN", "inf", "-Infinity"]),
        ("jsonl", [math.nan, math.inf, "nan", " inf "]),
        ("other", ["nan", "inf"]),
    ],
)
def test_labels_that_are_no_numbers_are_no_class(pictures, form, values):
    for value in values:
        rows = [row | dict(label=value if i == 1 else ["cat", 3.5][form == "jsonl"]) for i, row in enumerate(ROWS)]
        with_table(pictures, rows, "csv" if form == "other" else form)
        if form == "other":
            os.rename(pictures / "metadata.csv", pictures / "list.csv")
        with pytest.raises(ValueError, match="'label' is .* for 1 of 4 images; fill it in, leave it out"):
            data.open(pictures)
        shutil.rmtree(pictures)
        pictures.mkdir()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "images.csv"])
def test_too_many_columns_are_refused_at_once(pictures, name):
    put(pictures, **{"a.png": encoded(PHOTO), "b.png": encoded(PHOTO)})
    titles = ["file_name", *(f"c{i}" for i in range(10**5))]
    if name.endswith("csv"):
        (pictures / name).write_text(",".join(titles) + "\na.png" + ",1" * 10**5 + "\n" + "b.png" + ",1" * 10**5)
    else:
        (pictures / name).write_text(
            "\n".join(json.dumps({"file_name": f} | dict.fromkeys(titles[1:], 1)) for f in ("a.png", "b.png"))
        )
    with pytest.raises(ValueError, match="it has 100,001 columns, and 10,000 are the most"):
        data.open(pictures)
    (pictures / name).unlink()
    (pictures / "genes.csv").write_text(",".join(titles[1:]) + "\n" + "1," * 10**5)  # of something else
    assert len(data.open(pictures)) == 2


@pytest.mark.timeout(120)
def test_many_rows_of_nothing_are_counted(pictures):
    with_table(pictures, ROWS)
    with open(pictures / "metadata.csv", "a", newline="") as file:
        file.writelines(f"gone{i}.png,cat,x,1,0\n" for i in range(10**5))
    with pytest.raises(data.BadFiles, match="100,000 of 100,004 files cannot be used") as caught:
        data.open(pictures)
    lines = str(caught.value).splitlines()
    assert (
        len(lines) == files.SHOWN + 2
        and lines[-1] == "  and 99,980 more"
        and lines[1] == "  gone0.png: in metadata.csv, but not there"
    )
    assert len(caught.value.files) == 10**5  # in Python all of them
    text = str(data.describe(pictures)).splitlines()
    assert len(text) < 40 and "  cannot be used: and 99,980 more" in text


def test_every_list_in_a_report_ends(pictures):
    many = [f"thing{i:04}" for i in range(300)]
    report = data.Report(
        "x",
        "images",
        1,
        (3, 8, 8),
        sizes=dict.fromkeys(many, 1),
        modes=dict.fromkeys(many, 1),
        classes=dict.fromkeys(many, 1),
    )
    report.attributes, report.bad, report.copies, report.warnings = (
        dict.fromkeys(many, 0.5),
        [(name, "empty") for name in many],
        [many] * 300,
        many,
    )
    text = str(report)
    assert len(text.splitlines()) < 80 and max(map(len, text.splitlines())) < 3000
    assert text.count("and 280 more") == 23 and text.count("and 288 more") == 3 and text.count("and 200 more") == 1
    rows = [{"file_name": "a"} | dict.fromkeys(many, "word")]
    assert len(metadata.columns(rows, "metadata.csv").warnings[0]) < 500


# ---- folders and archives that are built to hang


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
    assert [files.amount(n) for n in (0, 999, 1000, 2304, 10**6, 614 * 10**6, 5 * 10**9, 2**40)] == [
        "0 bytes", "999 bytes", "1.0 kB", "2.3 kB", "1.0 MB", "614.0 MB", "5.0 GB", "1,099.5 GB",
    ]  # fmt: skip


# ---- the cache


def prepared():
    return sorted(p.name for p in cache.location().iterdir() if p.name not in ("locks", "seen"))


def test_prepared_once_and_found_again(pictures, tmp_path, monkeypatch):
    fill(pictures)
    first = data.open(pictures)
    monkeypatch.setattr(decoding, "decode", lambda *_: pytest.fail("decoded again"))
    monkeypatch.setattr(decoding, "load", lambda *_: pytest.fail("decoded again"))
    with monkeypatch.context() as patched:
        patched.setattr(folder, "survey", lambda *_: pytest.fail("read again"))
        assert np.array_equal(rows(data.open(pictures)), rows(first))
    os.rename(pictures, tmp_path / "moved")  # the same content at another place
    moved = data.open(tmp_path / "moved")
    assert moved.fingerprint == first.fingerprint and np.array_equal(rows(moved), rows(first))
    assert len(prepared()) == 1


def test_another_content_or_setting_is_prepared_anew(pictures):
    expected = fill(pictures)
    prints = [
        data.open(pictures, **options).fingerprint
        for options in ({}, dict(resolution=4), dict(resolution=4, fit="pad"))
    ]
    path = pictures / "cat" / "000.png"
    before = path.stat()
    content = encoded(255 - np.ascontiguousarray(expected[0].transpose(1, 2, 0)), compress_level=0)
    path.write_bytes(content.ljust(before.st_size, b"\0"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # even if its time is set back
    changed = data.open(pictures)
    assert np.array_equal(rows(changed)[0], 255 - expected[0])
    os.rename(pictures / "cat", pictures / "cats")  # the same bytes in the same order under other names
    renamed = data.open(pictures)
    assert renamed.class_names == ["cats", "dog"]
    prints += [changed.fingerprint, renamed.fingerprint, data.open(pictures, mirror=True).fingerprint]
    assert len(set(prints)) == 6


def flip(file, at=100):
    """Change one bit of a file, whose size and times stay as they are."""
    status, content = file.stat(), bytearray(file.read_bytes())
    content[at % len(content)] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def damage(how):
    """Change what is prepared: HOW FILE."""
    how, name = how.split()
    file = cache.location() / prepared()[0] / name
    if how == "gone":
        file.unlink()
    elif how == "flip":
        flip(file)
    else:
        os.truncate(file, {"cut": max(0, file.stat().st_size - 10), "empty": 0, "long": file.stat().st_size + 10}[how])


HOW = ("gone", "cut", "empty", "long", "flip")
DAMAGE = [f"{how} {name}" for how in HOW for name in ("pixels", "info.json", "checks")]


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_cache_is_made_anew(pictures, how):
    expected = fill(pictures)
    before = data.open(pictures)
    damage(how)
    after = data.open(pictures)
    assert np.array_equal(rows(after), expected) and after.fingerprint == before.fingerprint
    assert after.labels.tolist() == before.labels.tolist() and len(prepared()) == 1


@pytest.fixture(params=["small", "large"])
def size(request, monkeypatch):
    """Sets that stay in memory once they were read, and sets that are read from the file each time."""
    if request.param == "large":
        monkeypatch.setattr("gankit.data.reading.rows.KEPT", 0)
    return request.param


@pytest.mark.parametrize("how", [f"{how} pixels" for how in HOW])
def test_a_cache_that_is_damaged_while_it_is_open_is_made_anew(pictures, capfd, size, how):
    """Rows that were read before the damage, and rows that were not; nothing is said where nothing was noticed."""
    expected = fill(pictures)
    dataset = data.open(pictures)
    if (how, size) == ("flip pixels", "large"):
        return  # what was checked once is not checked again: the next test flips what was not
    assert np.array_equal(dataset.read(np.arange(4)), expected[:4])
    damage(how)
    for _ in range(2):
        assert np.array_equal(rows(dataset), expected)
    silent = how in (
        "gone pixels",
        "long pixels",
        "flip pixels",
    )  # the open file is whole; the flipped row was read before
    assert ("was altered" in capfd.readouterr().err) != silent
    assert silent or cache.find(prepared()[0])


def test_rows_that_were_checked_and_are_cut_off_are_made_anew(pictures, size):
    expected = fill(pictures)
    dataset = data.open(pictures)
    for how in ("cut pixels", "empty pixels"):
        assert np.array_equal(rows(dataset), expected)
        damage(how)
        assert np.array_equal(dataset.read(np.array([11, 0])), expected[[11, 0]])


def test_a_row_is_checked_when_it_is_first_read(pictures, capfd, size):
    expected = fill(pictures)
    dataset = data.open(pictures)
    file, row = cache.location() / prepared()[0] / "pixels", expected[0].nbytes
    for number in (7, 3, 11):
        flip(file, number * row + row - 1)
        assert np.array_equal(dataset.read(np.array([1, number, 0])), expected[[1, number, 0]])
        assert f"row {number} does not match its checksum" in capfd.readouterr().err


def test_many_threads_notice_damage_and_one_prepares_again(pictures, capfd, size):
    expected = fill(pictures, 50)
    dataset = data.open(pictures)
    damage("empty pixels")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: dataset.read(np.array([i, 99 - i])), range(100)))
    assert all(np.array_equal(both, expected[[i, 99 - i]]) for i, both in enumerate(found))
    assert capfd.readouterr().err.count("was altered") == 1


@pytest.mark.parametrize(
    "change, message", [("gone", "cannot be prepared again from .*pictures"), ("other", "has changed since")]
)
def test_damage_without_the_source_is_one_line(pictures, size, change, message):
    fill(pictures)
    dataset = data.open(pictures)
    damage("cut pixels")
    if change == "gone":
        shutil.rmtree(pictures)
    else:
        fill(pictures)
    with pytest.raises(OSError, match=message) as caught:
        rows(dataset)
    assert "\n" not in str(caught.value)


def test_rows_that_are_not_there_are_no_damage(pictures):
    fill(pictures)
    for number in (-1, 12):
        with pytest.raises(IndexError, match="there are 12"):
            data.open(pictures).read(np.array([0, number]))
    assert data.open(pictures).read(np.array([], np.int64)).shape == (0, 3, 8, 8)


def test_what_is_read_can_be_written_to(pictures):
    fill(pictures)
    dataset = data.open(pictures)
    next(dataset.stream(0, 4))["real"].zero_()
    assert rows(dataset).any(axis=(1, 2, 3)).all()


FORK = multiprocessing.get_context("fork")  # importing torch anew in each would take seconds


def opening(path, answers=None):
    """Another process that opens the data, and answers with the sum of its pixels."""

    def work():
        total = rows(data.open(path, resolution=32)).sum()
        if answers is not None:
            answers.put(int(total))

    process = FORK.Process(target=work)
    process.start()
    return process


def test_several_processes_at_once_prepare_one(pictures):
    fill(pictures, 60, (40, 40))
    answers = FORK.SimpleQueue()
    processes = [opening(pictures, answers) for _ in range(4)]
    sums = {answers.get() for _ in processes}
    for process in processes:
        process.join()
    assert sums == {int(rows(data.open(pictures, resolution=32)).sum())}
    assert len(prepared()) == 1


def test_a_kill_at_any_moment_leaves_nothing_half(pictures):
    """Kill the process at moments spread over its preparation: the next to come makes it whole."""
    expected, began = fill(pictures, 60, (32, 32)), time.perf_counter()
    opening(pictures).join()
    took = time.perf_counter() - began
    shutil.rmtree(cache.location()), cache.location().mkdir()
    for i in range(20):
        process = opening(pictures)
        time.sleep(took * i / 18)
        process.kill()
        process.join()
        for name in prepared():
            assert name.endswith(".tmp") or cache.find(name)
    assert np.array_equal(rows(data.open(pictures, resolution=32)), expected)
    assert len(prepared()) == 1 and cache.find(prepared()[0])


def test_a_cache_that_cannot_be_written_says_so(pictures, monkeypatch, tmp_path):
    fill(pictures)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OSError, match="cannot write to the cache .* Set GANKIT_CACHE"):
        data.open(pictures)


def test_a_full_disk_is_named_and_leaves_nothing(pictures, monkeypatch):
    fill(pictures)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: type("Usage", (), dict(free=100))())
    with pytest.raises(OSError, match="2.3 kB are needed and 100 bytes are free"):
        data.open(pictures)
    assert prepared() == []


def test_bad_files_leave_nothing_in_the_cache(pictures):
    fill(pictures)
    put(pictures, **{"cat__zz.png": encoded(PHOTO[:8, :8])[:-40]})
    with pytest.raises(data.BadFiles):
        data.open(pictures)
    assert prepared() == []


@pytest.mark.parametrize("how", ["cut pixels", "empty pixels", "gone pixels"])
def test_training_is_the_same_whatever_happens_to_the_cache(pictures, tmp_path, monkeypatch, size, how):
    """Bit for bit, also where the damage is done while it trains."""
    fill(pictures, 20, (16, 16))
    options = dict(
        data=str(pictures),
        preset="small",
        width=8,
        images=96,
        batch=16,
        log=16,
        preview=0,
        workers=0,
        threads=1,
        device="cpu",
        quiet=True,
    )
    expected = load_file(training.train("dcgan", outdir=tmp_path / "a", **options).folder / "weights.safetensors")
    flip(cache.location() / prepared()[0] / "pixels")
    advance = Run.advance

    def advance_and_damage(run, n):
        advance(run, n)
        if run.images == 32:
            damage(how)

    monkeypatch.setattr(Run, "advance", advance_and_damage)
    found = load_file(training.train("dcgan", outdir=tmp_path / "b", **options).folder / "weights.safetensors")
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


# ---- the report


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
