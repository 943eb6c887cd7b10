"""Shards: an order that is a function of the position, a cache with a limit, and servers and files that fail."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_files import encoded, noise
from PIL import Image
from safetensors.torch import load_file
from shard_files import COUNTS, image, sample, serving, shards, tar

from gankit import cli, data, training
from gankit.data.reading import cache
from gankit.data.shards import remote, shelf
from gankit.data.shards.order import ShardOrder

pytestmark = pytest.mark.usefixtures("fresh_cache")
SIZE = sum(COUNTS)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(remote, "PAUSE", 0.0)


@pytest.fixture
def server(tmp_path):
    shards(tmp_path / "served")
    with serving(tmp_path / "served") as made:
        yield made


def remote_name(server) -> str:
    return f"{server.url}/{{00..03}}.tar"


def cached() -> list[Path]:
    return sorted(shelf.location().iterdir()) if shelf.location().exists() else []


def used() -> int:
    """Bytes in the cache, while a thread may rename or remove files."""
    sizes = []
    for path in cached():
        with contextlib.suppress(FileNotFoundError):
            sizes.append(path.stat().st_size)
    return sum(sizes)


def decoded(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as opened:
        return np.array(opened).transpose(2, 0, 1)


def pixels(dataset) -> torch.Tensor:
    return dataset.rows(np.arange(len(dataset)))["real"]


# The order


@pytest.mark.parametrize(
    "counts", [(1,), (3, 5), (7, 1, 2, 9, 4, 0, 6), tuple(range(1, 60)), (3000, 2999, 4001, 5, 7000)]
)
def test_an_epoch_is_a_permutation_that_stays_within_a_few_shards(counts):
    order, size = ShardOrder(np.array(counts)), sum(counts)
    numbers = order.numbers(np.arange(3 * size), 5).reshape(3, size)
    assert all((np.sort(epoch) == np.arange(size)).all() for epoch in numbers)
    assert size < 3 or (numbers[0] != numbers[1]).any()
    assert (order.numbers(np.arange(size), 6) != numbers[0]).any() or size < 3
    shard_of = np.searchsorted(np.cumsum(counts), numbers[0], "right")
    for shard in np.flatnonzero(counts):
        places = np.flatnonzero(shard_of == shard)
        assert np.ptp(places) < sum(sorted(counts)[-order.width :])
    assert np.array_equal(order.numbers(np.array([size + 1, 0, 2 * size]), 5), numbers.ravel()[[size + 1, 0, 2 * size]])


def test_many_shards_are_mixed_a_few_at_a_time():
    order = ShardOrder(np.full(1000, 10_000))
    assert order.width == 4
    first = order.numbers(np.arange(40_000), 0) // 10_000
    assert len(np.unique(first)) == 4 and len(np.unique(first[:100])) == 4
    assert ShardOrder(np.full(1000, 100)).width == 82  # small shards: 8192 samples


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_depend_on_the_position_alone(tmp_path, workers):
    dataset = data.open(shards(tmp_path / "s"), mirror=True)
    whole = list(islice(data.ahead(dataset.stream(0, 6, seed=3), workers), 9))
    for world in (2, 3):
        parts = [data.ahead(dataset.stream(0, 6, seed=3, rank=r, world=world), workers) for r in range(world)]
        for batch in whole:
            rows = [next(part) for part in parts]
            assert all(torch.equal(torch.cat([row[name] for row in rows]), batch[name]) for name in batch)
    later = data.open(f"{tmp_path}/s").stream(24, 6, seed=3)
    later.dataset.mirror = True
    assert torch.equal(next(later)["real"], whole[4]["real"])


# What is read


def test_samples_are_those_of_the_tars(tmp_path):
    dataset = data.open(shards(tmp_path / "s"))
    assert len(dataset) == SIZE and dataset.shape == (3, 8, 8)
    assert torch.equal(pixels(dataset), torch.stack([torch.from_numpy(decoded(image(i))) for i in range(SIZE)]))
    assert dataset.labels.tolist() == [i % 3 for i in range(SIZE)] and dataset.class_names == ["0", "1", "2"]
    assert dataset.captions == [f"picture {i}" for i in range(SIZE)]
    assert data.open(f"{tmp_path}/s").fingerprint == dataset.fingerprint
    captions = data.open(f"{tmp_path}/s", want="captions").stream(0, 8)
    assert next(captions)["caption"].shape[0] == 8


def test_a_list_names_shards_relative_to_itself(tmp_path):
    expected = data.open(shards(tmp_path / "s"))
    (tmp_path / "all.txt").write_text("s/{00..02}.tar\n\ns/03.tar\n")
    assert data.open(tmp_path / "all.txt").fingerprint == expected.fingerprint
    listed = [{"url": f"s/{i:02}.tar", "nsamples": n} for i, n in enumerate(COUNTS)]
    (tmp_path / "all.json").write_text(json.dumps({"shardlist": listed}))
    by_list = data.open(tmp_path / "all.json")
    assert torch.equal(pixels(by_list), pixels(expected)) and by_list.labels is None
    assert any("states the counts" in note for note in by_list.warnings)
    listed[1]["nsamples"] += 1
    (tmp_path / "all.json").write_text(json.dumps({"shardlist": listed}))
    with pytest.raises(OSError, match=r"01.tar holds 5 samples, and its list states 6"):
        pixels(data.open(tmp_path / "all.json"))


def test_json_beside_images_holds_labels_and_captions(tmp_path):
    files = {}
    for i, row in enumerate(({"label": "cat", "caption": "a"}, {"class": "dog", "text": ["b", "c"]}, {"label": "cat"})):
        files |= {f"x/{i}.jpg": image(i), f"x/{i}.seg.png": image(9), f"x/{i}.json": json.dumps(row).encode()}
    tar(tmp_path / "0.tar", {**files, "x/lonely.txt": b"no image"})
    dataset = data.open(f"{tmp_path}/{{0..0}}.tar")
    assert dataset.class_names == ["cat", "dog"] and dataset.labels.tolist() == [0, 1, 0]
    assert dataset.captions == ["a", "b\nc", ""] and any("samples without an image (1)" in n for n in dataset.warnings)
    tar(tmp_path / "1.tar", {"y.jpg": image(4)})
    dataset = data.open(f"{tmp_path}/{{0..1}}.tar")
    assert dataset.labels is None and any("1 of 4 samples have none" in note for note in dataset.warnings)
    with pytest.raises(data.BadFiles, match="image 2: has no caption"):
        data.open(f"{tmp_path}/{{0..1}}.tar", want="captions")
    some = data.open(f"{tmp_path}/{{0..1}}.tar", want="captions", skip_bad=True)
    assert len(some) == 2 and sorted(some.numbers(np.arange(2)).tolist()) == [0, 1]
    assert torch.equal(pixels(some), pixels(dataset)[:2])


def test_shards_of_held_out_parts_are_not_learned_from(tmp_path, server):
    shards(tmp_path / "s")
    for old, new in (("00", "a-train-0"), ("01", "a-train-1"), ("02", "a-val-0"), ("03", "a-test-0")):
        (tmp_path / "s" / f"{old}.tar").rename(tmp_path / "s" / f"{new}.tar")
    dataset = data.open(tmp_path / "s")
    assert len(dataset) == COUNTS[0] + COUNTS[1]
    assert any("(test 1, train 2, val 1) those of train are read" in note for note in dataset.warnings)
    assert data.held_out_of(tmp_path / "s") == f"{tmp_path}/s:test"
    assert (
        len(data.open(f"{tmp_path}/s:test")) == COUNTS[3] and len(data.open(tmp_path / "s", split="val")) == COUNTS[2]
    )
    assert len(data.open(tmp_path / "s", split="all")) == SIZE
    with pytest.raises(ValueError, match="no shard has 'dog' in its name: --split takes test, train, val, or all"):
        data.open(tmp_path / "s", split="dog")
    with pytest.raises(ValueError, match="--held-out says nothing about shards"):
        data.open(tmp_path / "s", held_out="digits")
    assert data.held_out_of(remote_name(server)) is None


def test_one_tar_of_images_is_prepared_as_before(tmp_path):
    shards(tmp_path / "s", (5,))
    dataset = data.open(tmp_path / "s" / "00.tar")
    assert dataset.order is None and dataset.decoder is None and len(dataset.names) == 5


def test_parquet_holds_images_labels_and_captions(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    about = {"info": {"features": {"label": {"names": ["zebra", "ant"], "_type": "ClassLabel"}}}}
    for shard in range(2):
        rows = range(7 * shard, 7 * shard + 7)
        columns = {
            "image": [{"bytes": image(i) if i != 3 else None, "path": f"{i}.png"} for i in rows],
            "label": [i % 2 for i in rows],
            "caption": [f"picture {i}" for i in rows],
        }
        table = arrow.table(columns).replace_schema_metadata({"huggingface": json.dumps(about)})
        parquet.write_table(table, tmp_path / f"{shard}.parquet", row_group_size=3)
    name, kept = f"{tmp_path}/{{0..1}}.parquet", [i for i in range(14) if i != 3]
    dataset = data.open(name)
    assert torch.equal(pixels(dataset), torch.stack([torch.from_numpy(decoded(image(i))) for i in kept]))
    assert [dataset.class_names[k] for k in dataset.labels] == [("zebra", "ant")[i % 2] for i in kept]
    assert dataset.captions == [f"picture {i}" for i in kept]
    with serving(tmp_path) as server:
        assert torch.equal(pixels(data.open(f"{server.url}/{{0..1}}.parquet")), pixels(dataset))
    (tmp_path / "1.parquet").write_bytes((tmp_path / "1.parquet").read_bytes()[:-20])
    with pytest.raises(data.BadFiles, match=r"1.parquet: it is damaged or no parquet file"):
        data.open(name)
    parquet.write_table(arrow.table({"x": [1]}), tmp_path / "1.parquet")
    with pytest.raises(data.BadFiles, match="no column holds the bytes of images; there are x"):
        data.open(name)


# Names that are refused


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pipe:curl https://x/a.tar", "would run a program"),
        ("http://example.invalid/{0..3}.tar", "is not https"),
        ("s3://bucket/{0..3}.tar", "no address of shards"),
        ("https://example.invalid/{0..3}.tar.gz", "unpack the compression"),
        ("https://example.invalid/data", "no address of shards"),
        ("s/{3..0}.tar", "is no range"),
        ("s/{0..999999999}.tar", "is no range"),
        ("s/{0..9999}{0..9999}.tar", "more than 100,000 shards"),
        ("s/{00..05}.tar", r"2 of 6 shards are not there:\n.*04.tar"),
        ("pipes.txt", "is not read: shards are files"),
        ("odd.json", "entry 1 of the list is no shard"),
        ("empty.json", "is no list of 1 to"),
        ("no.json", "is no list of shards"),
    ],
)
def test_names_that_are_no_shards_are_refused_in_words(tmp_path, monkeypatch, name, reason):
    monkeypatch.chdir(tmp_path)
    shards(tmp_path / "s")
    (tmp_path / "pipes.txt").write_text("pipe:cat s/00.tar")
    (tmp_path / "odd.json").write_text('[{"url": "s/00.tar", "nsamples": -1}]')
    (tmp_path / "empty.json").write_text('{"shardlist": []}')
    (tmp_path / "no.json").write_text("{")
    with pytest.raises(ValueError, match=reason):
        data.open(name)


@pytest.mark.parametrize("text", ["", "fifty", "-1G", "1e9", "5GX", "nan"])
def test_a_limit_is_a_number_of_bytes(tmp_path, text):
    with pytest.raises(ValueError, match="--cache-limit takes a number of bytes such as 50G"):
        data.open("digits", cache_limit=text)
    assert data.Reading(cache_limit="1.5g").cache_bytes == 1_500_000_000
    assert data.Reading(cache_limit="800 MB").cache_bytes == 800_000_000


# Damaged shards and images


def cut(content: bytes, where: str) -> bytes:
    """A tar that ends too early."""
    end = len(content.rstrip(b"\0"))
    return {
        "in a file": content[: end - 300],
        "in a header": content[:700],
        "after a file": content[: -(-end // 512) * 512],
    }[where]


@pytest.mark.parametrize("where", ["in a file", "in a header", "after a file"])
def test_a_shard_that_ends_early_is_listed(tmp_path, where):
    name = shards(tmp_path / "s")
    whole = pixels(data.open(name))
    path = tmp_path / "s" / "02.tar"
    path.write_bytes(cut(path.read_bytes(), where))
    with pytest.raises(
        data.BadFiles, match=r"1 of 4 files cannot be used(.|\n)*02.tar: it (is damaged or )?ends early"
    ):
        data.open(name)
    rest = data.open(name, skip_bad=True)
    assert len(rest) == SIZE - COUNTS[2] and "02.tar" in rest.skipped[0][0]
    assert torch.equal(pixels(rest)[:12], whole[:12])


def test_odd_tars_are_refused(tmp_path):
    shards(tmp_path / "s", (3, 3))
    one, two = ((tmp_path / "s" / f"0{i}.tar").read_bytes() for i in (0, 1))
    for content, reason in (
        (one + two, "a second tar begins"),
        (gzip.compress(one), "unpack it by gunzip"),
        (b"", "damaged or ends early"),
        (b"nonsense" * 200, "damaged or ends early"),
        (one[:1024] + bytes(20) + one[1044:], "it is damaged"),
    ):
        (tmp_path / "s" / "01.tar").write_bytes(content)
        with pytest.raises(data.BadFiles, match=reason):
            data.open(tmp_path / "s")
    tar(tmp_path / "s" / "01.tar", {"a.txt": b"no image"})
    (tmp_path / "s" / "00.tar").unlink()
    with pytest.raises(ValueError, match="shards hold no images"):
        data.open(tmp_path / "s")


@pytest.mark.parametrize("content", [b"", image(3)[:-40], b"no image", image(3)[:60] + bytes(20) + image(3)[80:]])
def test_a_damaged_image_stops_or_is_replaced_by_the_next(tmp_path, content, capsys):
    name = shards(tmp_path / "s")
    whole = pixels(data.open(name))
    files = {k: v for i in range(7, 12) for k, v in sample(i).items()} | {"0008.png": content, "0009.png": content}
    tar(tmp_path / "s" / "01.tar", files)
    with pytest.raises(ValueError, match=r"01.tar, 0008: .*--skip-bad"):
        pixels(data.open(name))
    dataset = data.open(name, skip_bad=True)
    rows = dataset.rows(np.array([7, 8, 9, 10, 8]))
    assert torch.equal(rows["real"], whole[[7, 10, 10, 10, 10]])
    assert rows["label"].tolist() == [7 % 3, 1, 1, 1, 1], "the label of the image that is shown"
    assert torch.equal(dataset.rows(np.array([9, 8]))["real"], whole[[10, 10]])
    del dataset
    assert "2 damaged images were replaced" in capsys.readouterr().err


def test_an_image_of_another_size_needs_a_resolution(tmp_path):
    tar(tmp_path / "0.tar", {f"{i}.png": image(i) for i in range(300)} | {"odd.png": encoded(noise(9, 8, 3))})
    dataset = data.open(f"{tmp_path}/{{0..0}}.tar")
    with pytest.raises(ValueError, match=r"odd: 9x8, and the first images are 8x8.*--resolution"):
        pixels(dataset)
    assert pixels(data.open(f"{tmp_path}/{{0..0}}.tar", resolution=8)).shape == (301, 3, 8, 8)


def test_a_shard_that_changes_while_it_is_read_is_named(tmp_path):
    name = shards(tmp_path / "s")
    dataset = data.open(name)
    os.utime(tmp_path / "s" / "01.tar", ns=(1, 1))
    with pytest.raises(OSError, match="01.tar was changed since it was indexed"):
        pixels(dataset)


def test_a_damaged_index_is_made_again(tmp_path):
    name = shards(tmp_path / "s")
    first = data.open(name)
    for path in (cache.location() / "indexes").iterdir():
        path.write_bytes(path.read_bytes()[:-5])
    again = data.open(name)
    assert again.fingerprint == first.fingerprint and torch.equal(pixels(again), pixels(first))


# Servers


def test_a_server_is_read_once_and_gives_the_same_stream(tmp_path, server):
    dataset, local = data.open(remote_name(server)), data.open(f"{tmp_path}/served")
    assert dataset.fingerprint == local.fingerprint
    assert torch.equal(next(dataset.stream(0, SIZE))["real"], next(local.stream(0, SIZE))["real"])
    assert sorted(file for method, file, _ in server.asked if method == "GET") == [
        "00.tar",
        "01.tar",
        "02.tar",
        "03.tar",
    ]
    server.asked.clear()
    assert torch.equal(pixels(data.open(remote_name(server))), pixels(local)) and not server.asked


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("etag", [True, False])
def test_a_download_goes_on_where_it_stopped(server, ranges, etag, tmp_path):
    server.ranges, server.etag, server.most = ranges, etag, [5000, 3000]
    assert torch.equal(pixels(data.open(remote_name(server))), pixels(data.open(f"{tmp_path}/served")))
    begins = [where for method, file, where in server.asked if method == "GET" and file == "00.tar"]
    assert begins == ["", "bytes=5000-", "bytes=8000-" if ranges else "bytes=3000-"]


def test_what_a_killed_process_left_is_used(server, tmp_path):
    server.always = 5000
    with pytest.raises(OSError, match=r"00.tar: the server stopped after 5,000 of"):
        server.ranges = False
        data.open(remote_name(server))
    assert [path.suffix for path in cached()] == [".part"]
    server.always, server.ranges = None, True
    server.asked.clear()
    data.open(remote_name(server))
    assert ("GET", "00.tar", "bytes=5000-") in server.asked


def test_a_server_that_fails_for_a_while_is_asked_again(server):
    server.broken = [503, 500, 429]
    assert len(data.open(remote_name(server))) == SIZE
    server.broken, asked = [503] * 1000, len(server.asked)
    with pytest.raises(OSError, match=r"00.tar\?again: HTTP Error 503"):
        data.open(f"{server.url}/{{00..02}}.tar?again")
    assert len(server.asked) - asked < 40


def test_faults_of_servers_are_named(server, tmp_path):
    name = remote_name(server)
    with pytest.raises(OSError, match=r"04.tar: HTTP Error 404"):
        data.open(f"{server.url}/{{00..04}}.tar")
    server.size = False
    with pytest.raises(OSError, match="does not state its size"):
        data.open(name)
    server.size, server.goes = True, {"/02.tar": "http://example.invalid/02.tar"}
    with pytest.raises(OSError, match="02.tar: it is redirected to http://example.invalid/02.tar, and only https"):
        data.open(name)
    server.goes, server.head = {}, False
    dataset = data.open(name)
    server.head = True
    for path in cached():
        path.unlink()
    shards(tmp_path / "served", (7, 5, 9, 20))
    with pytest.raises(OSError, match=r"03.tar: it was changed on the server: \d+ bytes now"):
        pixels(dataset)


def test_a_file_of_the_same_size_with_another_stamp_was_changed(server, tmp_path):
    dataset = data.open(remote_name(server))
    for path in cached():
        path.unlink()
    path = tmp_path / "served" / "01.tar"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(OSError, match=r"01.tar: it was changed on the server"):
        pixels(dataset)


def test_offline_nothing_is_asked(server, monkeypatch):
    dataset = data.open(remote_name(server))
    server.asked.clear()
    monkeypatch.setenv("GANKIT_OFFLINE", "1")
    assert len(pixels(data.open(remote_name(server)))) == SIZE
    for path in cached():
        path.unlink()
    with pytest.raises(OSError, match="switched off"):
        pixels(dataset)
    assert not server.asked


def test_a_list_on_a_server(server, tmp_path):
    listed = [{"url": f"{i:02}.tar", "nsamples": n} for i, n in enumerate(COUNTS)]
    (tmp_path / "served" / "all.json").write_text(json.dumps({"shardlist": listed}))
    dataset = data.open(f"{server.url}/all.json")
    assert len(dataset) == SIZE and len(cached()) == 1, "only the first is read, for the size of its images"
    assert torch.equal(pixels(dataset), pixels(data.open(f"{tmp_path}/served")))
    listed[0]["url"] = "/etc/{0..1}.tar"
    (tmp_path / "served" / "all.json").write_text(json.dumps(["file:///etc/0.tar"]))
    with pytest.raises(ValueError, match="no https address"):
        data.open(f"{server.url}/all.json")


# The cache


def test_the_cache_stays_below_its_limit(server, tmp_path):
    served = [path.stat().st_size for path in sorted((tmp_path / "served").glob("*.tar"))]
    shards(tmp_path / "served", (9,) * 12)
    size = (tmp_path / "served" / "00.tar").stat().st_size
    name = f"{server.url}/{{00..11}}.tar"
    assert served and size
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gankit.data.shards.order.MIXED", 1)
        dataset, local = data.open(name, cache_limit=f"{5 * size}"), data.open(f"{tmp_path}/served")
        rows = data.ahead(dataset.stream(0, 12), 2), data.ahead(local.stream(0, 12), 2)
        for _ in range(20):
            a, b = map(next, rows)
            assert torch.equal(a["real"], b["real"])
            assert used() <= 5 * size
        with pytest.raises(ValueError, match="4 of its shards are mixed at a time.*--cache-limit 1G"):
            data.open(name, cache_limit=f"{3 * size}")


def test_a_file_in_use_is_not_removed(tmp_path):
    def fill(out):
        out.write_bytes(bytes(100))

    refused = pytest.raises(OSError, match=r"250 bytes \(--cache-limit\), of which 200 bytes are in use")
    with shelf.opened("a", 100, 250, fill), shelf.opened("b", 100, 250, fill), refused:
        shelf.opened("c", 100, 250, fill).__enter__()
    with shelf.opened("b", 100, 250, fill), shelf.opened("c", 100, 250, fill):
        assert [path.name for path in cached() if path.stat().st_size] == ["b", "c"]


def test_threads_and_processes_fill_a_file_once(tmp_path):
    (tmp_path / "fill.py").write_text(
        "import sys, time\nfrom gankit.data.shards import shelf\n"
        "def fill(out):\n    open(sys.argv[1], 'a').write('x'); time.sleep(0.2); out.write_bytes(bytes(100))\n"
        "with shelf.opened('a', 100, 1000, fill):\n    pass\n"
    )
    command = [sys.executable, str(tmp_path / "fill.py"), str(tmp_path / "times")]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    jobs = [subprocess.Popen(command, env=environment) for _ in range(2)]
    assert [job.wait() for job in jobs] == [0, 0] and (tmp_path / "times").read_text() == "x"

    def use(i: int) -> None:
        with shelf.opened(f"f{i % 7}", 100, 300, lambda out: out.write_bytes(bytes([i % 7]) * 100)) as handle:
            assert os.pread(handle, 100, 0) == bytes([i % 7]) * 100

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(use, range(300)))
    assert used() <= 300


def test_a_full_disk_is_named(server, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(remote, "_append", full)
    with pytest.raises(OSError, match="No space left on device"):
        data.open(remote_name(server))
    monkeypatch.undo()
    monkeypatch.setattr(shelf.shutil, "disk_usage", lambda _: type("Usage", (), dict(free=100))())
    with pytest.raises(OSError, match="the disk of the cache .* is full. Give"):
        data.open(remote_name(server))


# Images that are decoded as they are read


@pytest.mark.parametrize("archive", ["", "zip", "tar"])
def test_images_that_do_not_fit_are_decoded_as_they_are_read(pictures, archive, tmp_path):
    for i in range(12):
        (pictures / "ab"[i % 2]).mkdir(exist_ok=True)
        (pictures / "ab"[i % 2] / f"{i}.png").write_bytes(image(i))
    path = shutil.make_archive(str(tmp_path / "all"), archive, pictures) if archive else pictures
    dataset = data.open(path, resolution=16, mirror=True, cache_limit="1K")
    assert dataset.decoder and any(
        "would take 9.2 kB of the cache, and --cache-limit is 1.0 kB" in w for w in dataset.warnings
    )
    prepared = data.open(path, resolution=16, mirror=True)
    assert prepared.decoder is None and prepared.fingerprint == dataset.fingerprint
    for workers in (0, 3):
        streams = [data.ahead(one.stream(5, 5, seed=2), workers) for one in (dataset, prepared)]
        for _ in range(6):
            a, b = map(next, streams)
            assert all(torch.equal(a[name], b[name]) for name in b) and a.keys() == b.keys()
    assert np.array_equal(dataset.labels, prepared.labels) and dataset.names == prepared.names
    assert data.open(path, resolution=16, mirror=True, cache_limit="1K").decoder is None, "it is prepared now"


def test_a_compressed_tar_that_does_not_fit_is_refused(tmp_path):
    tar(tmp_path / "plain.tar", {f"{i}.png": image(i) for i in range(9)})
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        for i in range(9):
            member = tarfile.TarInfo(f"{i}.png")
            member.size = len(image(i))
            archive.addfile(member, io.BytesIO(image(i)))
    with pytest.raises(ValueError, match="unpack the compression"):
        data.open(tmp_path / "a.tar.gz", cache_limit="1K")
    assert data.open(tmp_path / "plain.tar", cache_limit="1K").decoder


def test_a_full_disk_turns_preparation_into_decoding(pictures, monkeypatch):
    (pictures / "a.png").write_bytes(image(1))
    (pictures / "b.png").write_bytes(image(2)[:-40])
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: type("Usage", (), dict(free=100))())
    dataset = data.open(pictures, skip_bad=True)
    assert any("384 bytes of the cache, and 100 bytes of its disk are free" in note for note in dataset.warnings)
    assert torch.equal(pixels(dataset)[1], pixels(dataset)[0])
    with pytest.raises(ValueError, match=r"b.png: truncated. Add --skip-bad"):
        pixels(data.open(pictures))


# The commands


def run(words: str) -> None:
    cli.run(words.split())


def test_gankit_data_describes_shards(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shards(tmp_path / "s")
    run("data s/{00..03}.tar --resolution 16")
    out = capsys.readouterr().out
    assert "25 images" in out and "classes: 0 (9), 1 (8), 2 (8)" in out and "mixes the samples of 4 at a time" in out
    assert "read as: 25 images of 3x16x16" in out and Path("out/contact-sheet.png").exists()
    report = data.describe("s")
    assert report.count == 25 and report.captions == 25 and report.sizes == {"8x8": 7}


TRAIN = "train dcgan --preset small --resolution 32 --batch 8 --images 64 --save 16 --preview 0 --log 16 --threads 1"


def test_a_run_on_shards_is_killed_and_goes_on_bit_for_bit(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(f"{TRAIN} --data {remote_name(server)} --outdir whole --skip-bad")
    advance = training.Run.advance

    def advance_and_die(self, n):
        advance(self, n)
        if self.images == 40:
            raise KeyboardInterrupt  # nothing is saved

    with monkeypatch.context() as patch:
        patch.setattr(training.Run, "advance", advance_and_die)
        with pytest.raises(KeyboardInterrupt):
            run(f"{TRAIN} --data {remote_name(server)} --outdir cut")
    (cut_run,), (whole,) = (list(Path(folder).iterdir()) for folder in ("cut", "whole"))
    run(f"resume {cut_run} --skip-bad --cache-limit 2G --workers 2")
    a, b = (load_file(folder / "weights.safetensors") for folder in (cut_run, whole))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_of_others_asks_no_server(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(f"{TRAIN} --data {remote_name(server)} --outdir runs")
    (folder,) = Path("runs").iterdir()
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "other"))
    server.asked.clear()
    for words in (f"resume {folder} --images 80", f"evaluate {folder} --metrics fd"):
        with pytest.raises(ValueError, match="was not read on this machine before. To allow it type: gankit data"):
            run(words)
    assert not server.asked
    run(f"data {remote_name(server)}")
    run(f"resume {folder} --images 80")


def test_a_damaged_image_ends_a_run_that_goes_on_without_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = shards(tmp_path / "s", (50, 50, 50, 50))
    late = int(data.open(name).numbers(np.arange(200))[180])  # after a save, and not in the pictures of the beginning
    broken, first = late // 50, late // 50 * 50
    files = {k: v for i in range(first, first + 50) for k, v in sample(i).items()}
    spoilt = bytearray(files[f"{late:04}.png"])
    spoilt[-60:-20] = bytes(40)
    tar(tmp_path / "s" / f"{broken:02}.tar", files | {f"{late:04}.png": bytes(spoilt)})
    with pytest.raises(ValueError, match=rf"{broken:02}.tar, {late:04}: .*gankit resume RUN --skip-bad"):
        run(f"{TRAIN} --data {name} --outdir runs --images 192 --batch 16")
    (folder,) = Path("runs").iterdir()
    run(f"resume {folder} --skip-bad")
    assert json.loads((folder / "config.json").read_text())["images"] == 192


def test_a_signal_during_a_download_ends_the_process(tmp_path):
    """The thread that fills the cache ahead keeps no process alive."""
    code = (
        "import sys, numpy as np, os, signal\nfrom gankit import data\n"
        "d = data.open(sys.argv[1]); next(d.stream(0, 4)); os.kill(os.getpid(), signal.SIGTERM)"
    )
    shards(tmp_path / "s")
    with serving(tmp_path / "s") as made:
        command = [sys.executable, "-c", code, f"{made.url}/{{00..03}}.tar"]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGTERM
