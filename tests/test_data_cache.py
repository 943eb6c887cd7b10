"""The cache of prepared data: complete or absent, whatever damages it and whoever uses it at the same time."""

import multiprocessing
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from errno import ENOSPC

import numpy as np
import pytest
import torch
from picture_files import PHOTO, encoded, fill, prepared, put, rows
from safetensors.torch import load_file

from gankit import data, training
from gankit.data.reading import cache, decoding, draft, folder
from gankit.disk import amount
from gankit.training import Run

pytestmark = pytest.mark.usefixtures("fresh_cache")


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


def test_a_disk_that_fills_during_preparation_is_named_and_leaves_nothing(pictures, monkeypatch):
    fill(pictures)
    monkeypatch.setattr(draft, "require_space", full)
    with pytest.raises(OSError, match="cannot prepare in the cache .* it takes 2.3 kB, and 100 bytes of the disk"):
        data.open(pictures)
    assert prepared() == []


def full(folder, need):
    raise OSError(ENOSPC, f"it takes {amount(need)}, and 100 bytes of the disk are free")


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
