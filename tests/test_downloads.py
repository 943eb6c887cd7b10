"""Downloads, against a server on this machine: whole, continued after a break or a kill, and never kept if wrong."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from gankit import downloads
from gankit.downloads import WebFile, download
from tests.waiting import until
from tests.web_server import Server, web

__all__ = ["web"]
BODY = np.random.default_rng(0).bytes(50_000)
BY_HAND = "Fetch it by hand"


@pytest.fixture
def file(web: Server, monkeypatch) -> WebFile:
    """A published file of 50,000 bytes, read 1,000 at a time."""
    monkeypatch.setattr(downloads, "BLOCK", 1000)
    monkeypatch.setattr(downloads, "_verified", {})
    web.files["/a.bin"] = BODY
    return WebFile("a.bin", f"{web.url}/a.bin", hashlib.sha256(BODY).hexdigest(), len(BODY))


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "sets" / "a.bin"


def part(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def shows(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_a_file_is_downloaded_once_and_nothing_else_is_left(web, file, target):
    assert download(file, target, BY_HAND) == target == download(file, target, BY_HAND)
    assert target.read_bytes() == BODY and web.asked == [("/a.bin", None)]
    assert shows(target.parent) == ["a.bin"] and not [
        p for p in target.parent.iterdir() if p.name[0] != "." and p != target
    ]


def test_a_download_that_breaks_off_goes_on_from_there(web, file, target, capsys):
    web.stop_after = 20_500
    with pytest.raises(
        OSError, match=r"broke off after 20,500 of 50,000 bytes: .*Run the same again to go on .* by hand"
    ):
        download(file, target, BY_HAND)
    assert part(target).read_bytes() == BODY[:20_500] and not target.exists()
    web.stop_after = 10_000
    with pytest.raises(OSError, match="broke off after 30,500"):
        download(file, target, BY_HAND)
    web.stop_after = None
    capsys.readouterr()
    assert download(file, target, BY_HAND).read_bytes() == BODY
    assert [asked for _, asked in web.asked] == [None, "bytes=20500-", "bytes=30500-"]
    assert "going on with a.bin" in (err := capsys.readouterr().err) and "at 61%" in err
    assert shows(target.parent) == ["a.bin"]


@pytest.mark.parametrize("ranges", ["no", "wrong"])
def test_a_server_that_cannot_go_on_sends_all_again(web, file, target, ranges):
    target.parent.mkdir()
    part(target).write_bytes(BODY[:30_000])
    web.ranges = ranges
    assert download(file, target, BY_HAND).read_bytes() == BODY
    assert [asked for _, asked in web.asked] == ["bytes=30000-", None][: 1 + (ranges == "wrong")]


def test_a_part_that_does_not_fit_is_dropped_and_all_is_sent_again(web, file, target, capsys):
    target.parent.mkdir()
    part(target).write_bytes(b"x" * 30_000)
    assert download(file, target, BY_HAND).read_bytes() == BODY
    assert "downloading it anew" in capsys.readouterr().err
    assert [asked for _, asked in web.asked] == ["bytes=30000-", None]


@pytest.mark.parametrize("size", [50_000, 50_001, 90_000])
def test_a_part_as_long_as_the_file_or_longer(web, file, target, size):
    """A kill before the last step leaves the whole file as a part, which is not sent again."""
    target.parent.mkdir()
    part(target).write_bytes((BODY * 2)[:size])
    assert download(file, target, BY_HAND).read_bytes() == BODY
    assert len(web.asked) == (size > 50_000)
    part(target).write_bytes(b"x" * 50_000)
    target.unlink()
    assert download(file, target, BY_HAND).read_bytes() == BODY


def test_another_file_at_the_url_is_sent_whole_and_refused(web, file, target):
    """It is shorter than the part: the server has no such range."""
    target.parent.mkdir()
    part(target).write_bytes(BODY[:30_000])
    web.files["/a.bin"] = BODY[:20_000]
    with pytest.raises(ValueError, match=r"sent 20000 bytes .*; expected 50000 bytes .* Nothing was kept"):
        download(file, target, BY_HAND)
    assert shows(target.parent) == []


@pytest.mark.parametrize(
    "body", [BODY[:-1], BODY[:-1] + b"x", BODY + b"x", b"", BODY * 3, b"<html>please log in</html>"]
)
def test_a_wrong_file_is_not_kept(web, file, target, body):
    web.files["/a.bin"] = body
    with pytest.raises(ValueError, match="Nothing was kept. Try again. Fetch it by hand"):
        download(file, target, BY_HAND)
    assert shows(target.parent) == []
    web.files["/a.bin"] = BODY
    assert download(file, target, BY_HAND).read_bytes() == BODY


def test_a_wrong_file_that_is_there_is_refused_and_left(web, file, target):
    target.parent.mkdir()
    target.write_bytes(BODY[:-1])
    with pytest.raises(ValueError, match="49999 bytes; .* neither used nor changed"):
        download(file, target, BY_HAND)
    assert target.read_bytes() == BODY[:-1] and not web.asked


@pytest.mark.parametrize("to", ["http://example.invalid/a.bin", "ftp://127.0.0.1/a.bin", "file:///etc/hostname"])
def test_redirects_to_anything_but_https_are_refused(web, file, target, to):
    web.redirects = {"/a.bin": to}
    with pytest.raises(OSError, match="only https is followed|is not allowed"):
        download(file, target, BY_HAND)
    assert shows(target.parent) == []


def test_a_redirect_keeps_the_range(web, file, target):
    target.parent.mkdir()
    part(target).write_bytes(BODY[:30_000])
    web.redirects, web.files["/b.bin"] = {"/a.bin": "/b.bin"}, BODY
    assert download(file, target, BY_HAND).read_bytes() == BODY
    assert web.asked[-1] == ("/b.bin", "bytes=30000-")


def test_only_the_rest_must_fit_on_the_disk(web, file, target, monkeypatch):
    target.parent.mkdir()
    part(target).write_bytes(BODY[:30_000])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=19_999))
    with pytest.raises(OSError, match="the rest has 20.0 kB, and 20.0 kB of the disk are free"):
        download(file, target, BY_HAND)
    assert not web.asked and part(target).read_bytes() == BODY[:30_000]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=20_000))
    assert download(file, target, BY_HAND).read_bytes() == BODY


def test_offline_nothing_is_asked_for(web, file, target, monkeypatch):
    monkeypatch.setenv("GANKIT_OFFLINE", "1")
    with pytest.raises(OSError, match="downloads are switched off. Fetch it by hand"):
        download(file, target, BY_HAND)
    assert not web.asked and not target.parent.exists()


def test_a_server_that_falls_silent_is_left(web, file, target, monkeypatch):
    monkeypatch.setattr(downloads, "PATIENCE", 0.2)
    web.first = 7_000
    web.go.clear()
    with pytest.raises(OSError, match=r"broke off after 7,000 of 50,000 bytes: .*timed out"):
        download(file, target, BY_HAND)
    assert part(target).read_bytes() == BODY[:7_000]
    web.go.set()
    assert download(file, target, BY_HAND).read_bytes() == BODY


def process(file: WebFile, target: Path) -> subprocess.Popen:
    code = (
        "import sys; from pathlib import Path; from gankit import downloads as d; d.BLOCK = 1000\n"
        "print('ready', flush=True); d.download(d.WebFile(*eval(sys.argv[1])), Path(sys.argv[2]), '')"
    )
    command = [sys.executable, "-c", code, repr(tuple(file)), str(target)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1])


def test_a_kill_in_the_middle_leaves_a_part_that_is_continued(web, file, target):
    web.first = 17_000
    web.go.clear()
    killed = process(file, target)
    until(lambda: part(target).exists() and part(target).stat().st_size >= 17_000, target.parent.parent, killed)
    killed.kill()
    killed.communicate()
    assert part(target).read_bytes() == BODY[:17_000] and not target.exists()
    web.go.set()
    assert download(file, target, BY_HAND).read_bytes() == BODY
    assert [asked for _, asked in web.asked] == [None, "bytes=17000-"]


def test_two_processes_make_one_download(web, file, target):
    web.first = 17_000
    web.go.clear()
    both = [process(file, target) for _ in range(2)]
    until(lambda: part(target).exists() and part(target).stat().st_size >= 17_000, target.parent.parent, *both)
    web.go.set()
    errors = [job.communicate()[1].decode() for job in both]
    assert [job.returncode for job in both] == [0, 0], errors
    assert target.read_bytes() == BODY and len(web.asked) == 1 and shows(target.parent) == ["a.bin"]


def test_where_locks_do_not_work_nothing_is_continued_and_no_part_is_left(web, file, target, monkeypatch):
    target.parent.mkdir()
    part(target).write_bytes(b"of another process")
    monkeypatch.setattr(downloads, "fcntl", None)
    web.stop_after = 100
    with pytest.raises(OSError, match="broke off"):
        download(file, target, BY_HAND)
    web.stop_after = None
    assert download(file, target, BY_HAND).read_bytes() == BODY
    assert part(target).read_bytes() == b"of another process" and shows(target.parent) == [".a.bin.part", "a.bin"]
