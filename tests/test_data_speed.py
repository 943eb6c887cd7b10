"""What makes large sets fast: files are read and decoded once, and what is known is not looked for again."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from picture_files import PHOTO, encoded, fill, indexed, noise, picture, prepared, put, rows, sides
from PIL import Image

from gankit import cli, data
from gankit.data.reading import cache, decoding, draft, files, workers
from gankit.recipe import Recipe, Spec
from gankit.training import loop

pytestmark = pytest.mark.usefixtures("fresh_cache")
GREY, ALPHA = PHOTO[:, :, 0], np.concatenate([PHOTO, 255 - PHOTO[:, :, :1]], 2)
EXIF = Image.Exif()
EXIF[0x0112] = 6  # turned
KINDS = dict(
    grey=encoded(GREY),
    colour=encoded(PHOTO),
    jpeg=encoded(PHOTO.transpose(1, 0, 2), "JPEG", exif=EXIF),
    turned=encoded(PHOTO.transpose(1, 0, 2), exif=EXIF),
    palette=encoded(Image.fromarray(PHOTO).quantize(16)),
    holes=encoded(Image.fromarray(GREY), transparency=int(GREY[0, 0])),
    sheer=encoded(Image.fromarray(ALPHA).convert("LA")),
    alpha=encoded(ALPHA),
    bits=encoded(Image.fromarray(GREY > 99)),
    deep=encoded(noise(24, 32).astype(np.uint16) * 257),
    cut=encoded(PHOTO)[:-900],
    text=b"no image",
)
OPTIONS = [
    dict(),
    dict(resolution=8),
    dict(resolution=(16, 8), fit="pad"),
    dict(resolution=40, fit="squash", alpha="black"),
    dict(resolution=8, fit="pad", alpha="keep"),
    dict(alpha="keep"),
]
SETS = [
    "grey",
    "grey grey bits holes",
    "colour jpeg palette turned",
    "grey colour holes sheer",
    "sheer grey",
    "alpha colour grey",
    "grey alpha",
    "grey cut colour text",
    "cut grey",
    "deep grey",
    "colour deep",
]


def everything(path, **options):
    """All that is known of the data at a path, and whether it was decoded in one pass."""
    if isinstance(side := options.get("resolution"), tuple):
        options["resolution"] = "x".join(map(str, side))
    dataset = data.open(path, skip_bad=True, **options)
    kept = cache.find(dataset.fingerprint)
    return dataset.fingerprint, rows(dataset).tobytes(), kept.info, kept.checks.tolist()


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


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("names", SETS)
def test_one_pass_gives_what_two_give(tmp_path, monkeypatch, names, options):
    for i, name in enumerate(names.split()):
        put(tmp_path / "set", **{f"{i}-{name}": KINDS[name]})
        os.rename(tmp_path / "set" / f"{i}-{name}", tmp_path / "set" / f"{i}-{name}.png")
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "one"))
    settled = []
    settle = draft.Draft.settle
    monkeypatch.setattr(draft.Draft, "settle", lambda *args: settled.append(1) or settle(*args))
    one = everything(tmp_path / "set", **options)
    mixed = {"alpha", "holes", "sheer"} & {*names.split()} and options.get("alpha") == "keep"
    assert mixed or len(settled) == ("deep" not in names)
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "two"))
    monkeypatch.setattr(draft.Draft, "holds", lambda *_: False)
    assert everything(tmp_path / "set", **options) == one


@pytest.mark.parametrize("space, passes", [(2, 1), (1, 2)])
def test_a_disk_with_space_for_one_copy_is_enough(tmp_path, monkeypatch, opens, space, passes):
    """Two copies may be needed in one pass, where the channels differ."""
    expected = fill(tmp_path / "set")
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: SimpleNamespace(free=space * expected.nbytes))
    assert np.array_equal(rows(data.open(tmp_path / "set")), expected) and prepared()
    assert set(opens["open"].values()) == {passes}


def test_a_large_file_in_each_task_and_many_small_ones_in_one(monkeypatch):
    """In order, whatever the sizes, and with as few files in memory as fit."""
    held, most = set(), 0

    def read(i):
        nonlocal most
        held.add(i)
        most = max(most, len(held))
        return bytes(sizes[i])

    sizes = [10] * 100 + [workers.TASK] * 100 + [10] * 5
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    for threaded in (sizes, None):
        held.clear()
        seen = workers.each(read, list(range(205)), lambda i, data: (i, len(data)), "testing", threaded)
        for item, result in seen:
            assert result == (item, sizes[item])
            held.discard(item)
    assert most <= 8 * workers.FEW


def test_a_moved_set_is_hashed_and_not_decoded(tmp_path, monkeypatch):
    expected = fill(tmp_path / "set")
    first = data.open(tmp_path / "set")
    os.rename(tmp_path / "set", tmp_path / "moved")
    with monkeypatch.context() as patched:
        patched.setattr(decoding, "pixels", lambda *_: pytest.fail("decoded again"))
        assert data.open(tmp_path / "moved").fingerprint == first.fingerprint
    path = tmp_path / "moved/cat/000.png"  # the same size, and another image
    content = encoded(255 - expected[0].transpose(1, 2, 0), compress_level=0)
    path.write_bytes(content[: path.stat().st_size].ljust(path.stat().st_size, b"\0"))
    before = path.stat().st_size
    assert np.array_equal(rows(data.open(tmp_path / "moved"))[0], 255 - expected[0]) and path.stat().st_size == before


def test_files_are_read_once_and_opened_once_or_where_all_must_be_known_first_twice(tmp_path, opens):
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

    for name, want, times in (("a", "", 1), ("pairs", "pairs", 2), ("set", "", 2)):
        path = tmp_path / name
        assert counted(data.describe, path, want=want) == {"read": {1}, "open": {1}}
        assert counted(data.open, path, want=want) == {"read": {1}, "open": {times}}
        assert counted(data.open, path, want=want) == {"read": set(), "open": set()}
    picture(tmp_path / "a/4.png", rng.integers(0, 256, (8, 8, 3), np.uint8))  # another file: all are read anew
    assert counted(data.open, tmp_path / "a") == {"read": {1}, "open": {1}}


def test_large_pairs_are_read_again_to_decode_them(tmp_path, opens, monkeypatch):
    rng = np.random.default_rng(6)
    for side in "AB":
        for i in range(4):
            picture(tmp_path / side / f"{i}.png", rng.integers(0, 256, (8, 8, 3), np.uint8))
    size = (tmp_path / "A/0.png").stat().st_size
    monkeypatch.setattr(workers, "KEPT", 2 * size + 30)
    dataset = data.open(tmp_path, want="pairs")
    assert sorted(opens["read"].values()) == [1, 1, 1, 1, 2, 2, 2, 2]
    assert len(np.unique(sides(dataset)[0].reshape(4, -1), axis=0)) == 4


@pytest.mark.parametrize("ending", ["zip", "tar"])
def test_archives_are_read_once(tmp_path, opens, ending):
    fill(tmp_path / "set")
    shutil.make_archive(str(tmp_path / "set"), ending, tmp_path / "set")
    before = rows(data.open(tmp_path / "set"))
    shutil.rmtree(cache.location())
    opens["open"].clear()
    packed = rows(data.open(tmp_path / f"set.{ending}"))  # in the order of the archive
    assert {row.tobytes() for row in packed} == {row.tobytes() for row in before} and len(packed) == 12
    assert set(opens["open"].values()) == {1} and len(opens["open"]) == 12


# What is known -------------------------------------------------------------------------------------------------------


def answered(capsys, *words):
    cli.main(["data", *map(str, words)])
    return capsys.readouterr().out


def test_an_answer_that_is_known_reads_no_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "set")
    first = answered(capsys, "set", "--resolution", 4)
    assert "12 images" in first and "as checked on" not in first
    drawn = (tmp_path / "out/contact-sheet.png").stat()
    with monkeypatch.context() as patched:
        patched.setattr(files, "_read", lambda _: pytest.fail("a file is read"))
        patched.setattr("gankit.data.thumbnails.contact_sheet", lambda *_: pytest.fail("drawn again"))
        again = answered(capsys, "set", "--resolution", 4)
    assert again.startswith(first) and "--check reads every file again" in again
    assert (tmp_path / "out/contact-sheet.png").stat().st_mtime_ns == drawn.st_mtime_ns
    assert "as checked on" not in answered(capsys, "set", "--resolution", 4, "--check")
    assert "as checked on" in answered(capsys, "set", "--resolution", 4)
    assert "as checked on" not in answered(capsys, "set", "--resolution", 2)  # other words


@pytest.mark.parametrize("change", ["content", "new", "gone", "renamed", "table"])
def test_a_change_is_looked_at(tmp_path, monkeypatch, capsys, change):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "set")
    answered(capsys, "set")
    path = tmp_path / "set/cat/000.png"
    if change == "content":
        path.write_bytes(encoded(noise(8, 8, 3)))
    elif change == "new":
        (path.parent / "new.png").write_bytes(encoded(noise(8, 8, 3)))
    elif change == "gone":
        path.unlink()
    elif change == "renamed":
        path.rename(path.with_name("first.png"))
    else:
        (tmp_path / "set/notes.md").write_text("cats and dogs")
    assert "as checked on" not in answered(capsys, "set")


def test_a_sheet_that_is_gone_or_shows_another_set_is_drawn_anew(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "one")
    fill(tmp_path / "two", 3)
    sheet = tmp_path / "out/contact-sheet.png"
    answered(capsys, "one")
    expected = sheet.read_bytes()
    answered(capsys, "two")
    assert sheet.read_bytes() != expected
    assert "as checked on" in answered(capsys, "one") and sheet.read_bytes() == expected
    sheet.unlink()
    assert "as checked on" in answered(capsys, "one") and sheet.read_bytes() == expected


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"text": 1}', b'{"answer": {}}', b"\xff"])
def test_damaged_answers_are_looked_for_again(tmp_path, monkeypatch, capsys, content):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "set", 1)
    first = answered(capsys, "set")
    for path in (cache.location() / "seen").glob("*.json"):
        path.write_bytes(content)
    assert answered(capsys, "set") == first


def test_an_answer_that_is_known_imports_neither_torch_nor_numpy(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "set", 1)
    answered(capsys, "set")
    modules = "{'torch', 'numpy', 'PIL', 'tyro'} & {*sys.modules}"
    code = f"import sys; from gankit import cli; cli.main(['data', 'set']); print({modules})"
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "as checked on" in text and text.endswith("set()\n")


# Bytes until the device ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [64, 256])
def test_images_are_bytes_until_they_are_on_the_device(tmp_path, monkeypatch, side):
    put(tmp_path / "set", **{f"{i}.png": encoded(noise(256, 256, 3, seed=i)) for i in range(4)})
    fields = next(data.ahead(data.open(tmp_path / "set").stream(0, 4, side)))
    assert fields["real"].dtype == torch.uint8 and fields["real"].shape == (4, 3, side, side)
    converted = []
    normalise = data.normalise
    monkeypatch.setattr(
        "gankit.training.loop.data.normalise",
        lambda x, dtype: converted.append((x.device.type, x.dtype)) or normalise(x, dtype),
    )
    run = SimpleNamespace(
        recipe=Recipe(Spec((3, 8, 8))),
        device=torch.device("meta"),
        dtype=torch.float32,
        images=0,
        augment=None,
        settings=SimpleNamespace(batch=4, seed=0),
    )
    batch = loop.make_batch(fields, run, 4)
    assert converted == [("meta", torch.uint8)] and batch.real.dtype == torch.float32
