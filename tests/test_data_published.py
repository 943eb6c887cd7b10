"""Published data sets by name: found where they lie, downloaded by `gankit data get` alone, never by themselves."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest
from picture_files import noise, picture

from gankit import cli, data, downloads, training
from gankit.data import published
from gankit.data.published import finding, getting, sets
from gankit.data.published.checksums import FILES
from gankit.data.published.sets import Layout, Published
from gankit.downloads import WebFile
from tests.web_server import Server, web

__all__ = ["web"]
DOCS = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Path:
    """A machine with no data: the folder that the user is in."""
    for name, folder in (("HOME", "home"), ("GANKIT_CACHE", "cache"), ("HF_HOME", "hf")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    for name in ("GANKIT_DATA", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, to in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, to
            archive.addfile(info)
    return out.getvalue()


def png(tmp_path: Path, seed: int) -> bytes:
    picture(tmp_path / "one.png", noise(16, 16, 3, seed=seed))
    return (tmp_path / "one.png").read_bytes()


@pytest.fixture
def pairs(machine, web, monkeypatch) -> Published:
    """A set `tiny` in two domains, in a zip on the server, as CycleGAN's."""
    names = [f"tiny/{part}{side}/{i}.png" for part in ("train", "test") for side in "AB" for i in range(3)]
    body = zipped({name: png(machine, i) for i, name in enumerate(names)})
    layouts = Layout("tiny/tiny", ("trainA", "trainB")), Layout("tiny", ("trainA", "trainB"))
    return publish(
        monkeypatch, web, Published("tiny", "small", "CC0", "http://tiny", layouts, True), {"tiny.zip": body}
    )


def publish(monkeypatch, web: Server, entry: Published, files: dict[str, bytes]) -> Published:
    """A published set with these files on the server."""
    web.files |= {f"/{name}": body for name, body in files.items()}
    known = (WebFile(n, f"{web.url}/{n}", hashlib.sha256(body).hexdigest(), len(body)) for n, body in files.items())
    monkeypatch.setitem(FILES, entry.name, tuple(known))
    monkeypatch.setitem(sets.SETS, entry.name, entry)
    monkeypatch.setattr(downloads, "_verified", {})
    return entry


def lay(root: Path, layout: Layout, part: str = "train") -> Path:
    """Empty files as a layout needs them."""
    path = root / layout.path.format(part=part)
    if not layout.needs and "." in path.name:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    else:
        path.mkdir(parents=True, exist_ok=True)
    for need in layout.needs:
        (path / need.split("|")[-1]).parent.mkdir(parents=True, exist_ok=True)
        (path / need.split("|")[-1]).touch()
    return path


# the table


def test_every_name_is_plain_and_no_other_data_s():
    for name, entry in sets.SETS.items():
        assert (
            re.fullmatch(r"[a-z0-9_-]+(:[a-z0-9_]+)?", name)
            and name not in data.BUILTIN
            and name not in ("get", "list")
        )
        assert entry.family not in data.BUILTIN and entry.title and entry.licence and entry.page.startswith("http")
        assert entry.layouts and bool(entry.by_hand) != any(file.url for file in entry.files)
        downloaded_to = [layout for layout in entry.layouts if layout.path == entry.family]
        assert all(layout.needs for layout in downloaded_to), "its folder would be found before the files are in it"


def test_every_file_has_a_size_a_sha256_and_a_secure_url_or_none():
    for files in FILES.values():
        assert files
        for file in files:
            assert file.size > 0 and re.fullmatch("[0-9a-f]{64}", file.sha256)
            assert not file.url or file.url.startswith("https://")
    owners = {entry.name for entry in sets.ALL} | {entry.family for entry in sets.ALL}
    assert FILES.keys() <= owners
    digests = [file.sha256 for files in FILES.values() for file in files]
    assert len(set(digests)) == len(digests)


def test_the_page_on_data_has_a_row_for_each_family_with_size_and_licence():
    rows = [row.strip("| ").split(" | ") for row in DOCS.splitlines() if row.startswith("| `")]
    told = {cells[0]: cells[2:] for cells in rows if len(cells) == 4}
    for family in dict.fromkeys(entry.family for entry in sets.ALL):
        members = [entry for entry in sets.ALL if entry.family == family]
        name = f"`{members[0].name}`" + (f" (or {len(members) - 1} others)" if len(members) > 1 else "")
        size = finding.sizes(members[0])
        assert told.get(name) == [f"{size}, by hand" if members[0].by_hand else size, members[0].licence], name


def test_the_list_shows_all_and_where_they_are(machine, capsys):
    lay(machine / "home" / "data", sets.SETS["mvtec:bottle"].layouts[0])
    cli.main(["data", "list"])
    shown = capsys.readouterr().out
    assert "mvtec:bottle|cable|" in shown and f"mvtec:bottle is {machine}/home/data/mvtec/bottle" in shown
    assert (
        "cifar10\n    60,000 photographs" in shown and "gankit data get cifar10; 170 MB; licence: not stated" in shown
    )


# where sets are found


@pytest.mark.parametrize("entry", sets.ALL, ids=lambda entry: entry.name)
def test_each_layout_is_found(machine, entry):
    for i, layout in enumerate(entry.layouts):
        path = lay(machine / f"root{i}", layout)
        place = finding.find(entry, folders=iter([machine / f"root{i}"]))
        assert place and place.path == path and place.entry == entry


def test_folders_are_looked_at_in_order(machine, monkeypatch):
    layout = sets.SETS["cifar10"].layouts[0]
    folders = [
        machine / "own", machine / "cache" / "datasets", Path(), Path("data"), Path("datasets"),
        machine / "home" / "data", machine / "home" / "datasets", machine / "home" / ".keras" / "datasets",
        machine / "hf" / "hub" / "datasets--a--b" / "snapshots" / "1",
    ]  # fmt: skip
    (machine / "own").mkdir()
    monkeypatch.setenv("GANKIT_DATA", str(machine / "own"))
    for folder in folders[::-1]:
        path = lay(folder, layout)
        assert finding.locate("cifar10").path == path
    monkeypatch.setenv("GANKIT_DATA", str(machine / "nowhere"))
    with pytest.raises(ValueError, match="GANKIT_DATA is .*nowhere, which is not a folder"):
        finding.locate("cifar10")


def test_a_path_that_exists_wins(machine):
    picture(Path("mnist/0.png"), noise(16, 16, seed=0))
    lay(machine / "home" / "data", sets.SETS["mnist"].layouts[0])
    assert data.find("mnist") == Path("mnist") and len(data.open("mnist")) == 1 and published.origins("mnist") == []
    assert data.find("./mnist") == Path("mnist")
    with pytest.raises(ValueError, match="cifar10 is not on this machine"):
        data.find("cifar10")


def test_parts_are_kept_for_those_who_read_them(machine):
    path = lay(machine / "home" / "data", sets.SETS["mnist"].layouts[0])
    assert published.located("mnist:test") == f"{path}:test" and published.located("mnist") == str(path)
    lay(Path(), Layout("church_outdoor_{part}_lmdb", ("data.mdb",)))
    lay(Path(), Layout("church_outdoor_{part}_lmdb", ("data.mdb",)), "val")
    assert published.located("lsun:church") == "church_outdoor_train_lmdb"
    assert published.located("lsun:church:val") == "church_outdoor_val_lmdb"
    assert published.original("lsun:church", None) == "lsun:church:val"
    assert published.original("mnist", f"{path}:test") == "mnist:test"
    assert published.original("mnist", None) is None
    for other in ("digits", "digits:test", "photos/x", "", "a\0b", "mnist.zip", "hf:mnist", "mnistx"):
        assert published.located(other) == other


def test_a_set_that_is_not_whole_is_not_found_and_says_what_it_lacks(machine):
    path = lay(Path("data"), sets.SETS["mnist"].layouts[0])
    (path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(ValueError, match="data/MNIST/raw is not whole: it lacks t10k-labels-idx1-ubyte or .*get mnist"):
        data.open("mnist")


# what is said of sets that are not there


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnist", "mnist is not on this machine. Type gankit data get mnist to download it .12 MB; licence: CC BY-SA"),
        ("mnist:test", "mnist:test is not on this machine. Type gankit data get mnist"),
        ("celeba", "agreement. Fetch img_align_celeba.zip .1.4 GB., list_attr_celeba.txt .* gankit data get celeba"),
        ("ffhq", "a script of their own. Fetch it from https://github.com/NVlabs/ffhq-dataset .* in .*datasets/ffhq"),
        ("mvtec:bottle", "Fetch mvtec_anomaly_detection.tar.xz .* in .*datasets/mvtec, and type gankit data get mvtec"),
        ("emnist", "emnist is a family of data sets: name one of them, emnist:balanced, "),
        ("cifar-10", "did you mean cifar10"),
        ("MNIST", "did you mean mnist"),
        ("horse2zebr", "did you mean horse2zebra?"),
        ("lsun:church_outdoor", "did you mean lsun:church"),
        ("mnist,kmnist", "mnist is not on this machine"),
        ("mnist+kmnist", "mnist is not on this machine"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said_and_nothing_is_downloaded(machine, monkeypatch, capsys, name, message):
    def reached(*_: object) -> None:
        raise AssertionError("a name started a download")

    monkeypatch.setattr(downloads, "_download", reached)
    for call in (lambda: data.open(name), lambda: data.describe(name), lambda: data.find(name)):
        with pytest.raises(ValueError, match=message):
            call()
    for words in (["data", name], ["train", "dcgan", "--data", name, "-n"]):
        with pytest.raises(SystemExit) as left:
            cli.main(words)
        assert left.value.code == 2 and re.search(message, capsys.readouterr().err)
    assert not (machine / "cache" / "datasets").exists()


# downloads


def test_get_says_what_comes_and_the_name_opens_it(machine, pairs, web, capsys):
    file = pairs.files[0]
    cli.main(["data", "get", "tiny"])
    told = capsys.readouterr()
    assert f"tiny: small; licence: CC0; http://tiny\ngankit: tiny.zip: 1 MB, sha256 {file.sha256}" in told.err
    folder = machine / "cache" / "datasets" / "tiny"
    assert told.out == f"tiny is in {folder}/tiny; gankit data tiny shows it\n"
    assert [path.name for path in folder.iterdir() if path.name[0] != "."] == ["tiny"]
    dataset = data.open("tiny")
    assert (dataset.kind, len(dataset), dataset.name) == ("domains", 6, "tiny")
    assert data.split("tiny") == (f"{folder}/tiny/trainA", f"{folder}/tiny/trainB")
    assert data.held_out_of("tiny") == f"{folder}/tiny/testA,{folder}/tiny/testB"
    cli.main(["data", "tiny", "--sheet", ""])
    assert capsys.readouterr().out.startswith(f"tiny is {folder}/tiny: small\n")
    cli.main(["data", "get", "tiny"])
    assert len(web.asked) == 1


def test_a_run_keeps_the_name_and_finds_the_set_elsewhere(machine, monkeypatch, web):
    body = zipped({f"tiny/cat{i % 2}/{i}.png": png(machine, i) for i in range(8)})
    entry = Published("tiny", "small", "CC0", "http://tiny", (Layout("tiny/tiny", ("cat0",)),), True)
    publish(monkeypatch, web, entry, {"tiny.zip": body})
    published.get("tiny")
    options = dict(preset="small", batch=4, save=8, log=8, preview=0, quiet=True)
    run = training.train("gan", data="tiny", resolution="16", images=8, outdir=machine / "runs", **options)
    config = json.loads((run.folder / "config.json").read_text())
    assert config["settings"]["data"] == "tiny" and "tiny" in run.folder.name
    (machine / "elsewhere").mkdir()
    (machine / "cache" / "datasets" / "tiny").rename(machine / "elsewhere" / "tiny")
    monkeypatch.setenv("GANKIT_DATA", str(machine / "elsewhere"))
    assert training.resume(run.folder, images=16, quiet=True).images == 16


def test_get_puts_the_set_where_it_is_told_to(machine, pairs, capsys):
    assert published.get("tiny", "data") == Path("data/tiny/tiny")
    assert data.find("tiny") == Path("data/tiny/tiny")
    cli.main(["data", "get", "tiny", "--to", str(machine / "disk")])
    assert (machine / "disk" / "tiny" / "tiny" / "trainA" / "0.png").is_file()


def test_a_download_that_broke_off_is_continued_by_the_same_command(machine, pairs, web, capsys):
    whole = len(web.files["/tiny.zip"])
    web.stop_after = whole // 2
    with pytest.raises(SystemExit):
        cli.main(["data", "get", "tiny"])
    assert "broke off" in capsys.readouterr().err
    with pytest.raises(ValueError, match="tiny is not on this machine"):
        data.open("tiny")
    web.stop_after = None
    published.get("tiny")
    assert web.asked == [("/tiny.zip", None), ("/tiny.zip", f"bytes={whole // 2}-")] and len(data.open("tiny")) == 6


def test_two_at_once_make_one_download(machine, pairs, web):
    web.first = 100
    web.go.clear()
    paths: list[Path] = []
    both = [threading.Thread(target=lambda: paths.append(published.get("tiny"))) for _ in range(2)]
    for thread in both:
        thread.start()
    web.go.set()
    for thread in both:
        thread.join()
    assert len(paths) == 2 and len(set(paths)) == 1 and len(web.asked) == 1


def test_files_fetched_by_hand_are_checked_and_unpacked(machine, pairs, web, monkeypatch):
    folder = machine / "cache" / "datasets" / "tiny"
    by_hand = pairs._replace(by_hand="its publishers ask for a form")
    monkeypatch.setitem(sets.SETS, "tiny", by_hand)
    monkeypatch.setitem(FILES, "tiny", tuple(file._replace(url="") for file in FILES["tiny"]))
    with pytest.raises(ValueError, match=f"form. Fetch tiny.zip .* from http://tiny .* put it in {folder}, and type"):
        published.get("tiny")
    folder.mkdir(parents=True)
    (folder / "tiny.zip").write_bytes(web.files["/tiny.zip"][:-1])
    with pytest.raises(ValueError, match=r"neither used nor changed. Move it away and run again$"):
        published.get("tiny")
    (folder / "tiny.zip").write_bytes(web.files["/tiny.zip"])
    assert published.get("tiny") == folder / "tiny" and (folder / "tiny.zip").is_file() and not web.asked


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (zipped({"../out.png": b"x", "tiny/trainA/0.png": b"x"}), "names that lead out of it"),
        (zipped({"/etc/out.png": b"x"}), "names that lead out of it"),
        (tarred({"tiny/trainA/0.png": b"x"}, {"tiny/trainB": "/etc"}), "holds links"),
        (b"no archive at all", "the archive is damaged"),
        (tarred({"tiny/trainA/0.png": b"x" * 9999})[:-20], "damaged"),
        (zipped({"other/0.png": b"x"}), "but not trainA, trainB"),
    ],
)
def test_a_bad_archive_leaves_nothing_unpacked(machine, web, monkeypatch, body, message):
    """Even one that has the published sha256."""
    name = "tiny.zip" if body[:2] == b"PK" else "tiny.tar.gz"
    layouts = (Layout("tiny/tiny", ("trainA", "trainB")),)
    publish(monkeypatch, web, Published("tiny", "small", "CC0", "http://tiny", layouts, True), {name: body})
    with pytest.raises(ValueError, match=message):
        published.get("tiny")
    folder = machine / "cache" / "datasets" / "tiny"
    assert not [path for path in folder.rglob("*") if path.name == "0.png" and path.parent.name != "other"]
    assert not (machine / "out.png").exists() and not list(machine.rglob("*.unpacked"))


def test_what_a_kill_left_while_unpacking_is_no_obstacle(machine, pairs):
    folder = machine / "cache" / "datasets" / "tiny"
    (folder / ".tiny.zip.unpacked" / "tiny" / "trainA").mkdir(parents=True)
    published.get("tiny")
    assert len(data.open("tiny")) == 6 and not list(folder.glob(".*unpacked"))


def test_room_for_the_archive_and_its_files_is_asked_for_first(machine, pairs, web, monkeypatch):
    seen = []

    def refuse(folder: Path, need: int, what: str) -> None:
        seen.append(need)
        raise OSError("no room")

    monkeypatch.setattr(getting, "require_space", refuse)
    with pytest.raises(OSError, match="no room"):
        published.get("tiny")
    assert seen == [2 * pairs.size] and not web.asked


def test_offline_get_downloads_nothing(machine, pairs, web, monkeypatch):
    monkeypatch.setenv("GANKIT_OFFLINE", "1")
    with pytest.raises(OSError, match="downloads are switched off. Or fetch http.*tiny.zip by hand, and put it in"):
        published.get("tiny")
    assert not web.asked


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnits", "no published data set 'mnits'; did you mean mnist"),
        ("xyz", "gankit data list shows all"),
        ("lsun", "name one of lsun:bedroom, "),
        ("digits", "gankit data list shows all|did you mean"),
        ("../x", "no published data set"),
        ("a\x1b[2Jb", r"no published data set 'a\\\\x1b"),
    ],
)
def test_get_knows_only_published_names(machine, name, message):
    with pytest.raises(ValueError, match=message):
        published.get(name)
