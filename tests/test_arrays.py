"""Arrays in .npz files: read as NumPy reads them, or refused by their headers before anything is unpacked."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gankit import data
from gankit.data import captions
from gankit.data.reading import arrays, cache, embedding
from gankit.evaluation import sources
from gankit.explore import inputs


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield


def left_behind() -> int:
    """Bytes in the cache."""
    return sum(path.stat().st_size for path in cache.location().rglob("*") if path.is_file())


def header(
    descr: str = "'|u1'", shape: str = "(3,)", order: str = "False", version: int = 1, length: int | None = None
) -> bytes:
    """The beginning of a .npy, whatever it says."""
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode("latin-1")
    size = len(text) if length is None else length
    return b"\x93NUMPY" + bytes([version, 0]) + size.to_bytes(2 if version == 1 else 4, "little") + text


def packed(path: Path, method: int = zipfile.ZIP_DEFLATED, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def bomb(path: Path, name: str, shape: tuple[int, ...], descr: str = "|u1", honest: bool = True) -> Path:
    """A small .npz of zeros that unpacks to a gigabyte, or claims to."""
    start_of = io.BytesIO()
    np.lib.format.write_array_header_1_0(start_of, {"descr": descr, "fortran_order": False, "shape": shape})
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(f"{name}.npy", "w", force_zip64=True) as file,
    ):
        file.write(start_of.getvalue())
        left = int(np.prod(shape)) * np.dtype(descr).itemsize if honest else 100
        while left:
            file.write(bytes(min(left, 2**22)))
            left -= min(left, 2**22)
    return path


# ---- what is read


VALUES = [
    np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(3, dtype=">i4"),
    np.zeros((0, 5)), np.array("z"), np.array(["a", "bcd"]), np.array([True, False]),
    np.float16([1, 2]), np.uint8([[[7]]]),
]  # fmt: skip


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_arrays_are_read_as_numpy_reads_them(tmp_path, write):
    write(tmp_path / "x.npz", **{f"a{i}": value for i, value in enumerate(VALUES)})
    found = arrays.read(tmp_path / "x.npz")
    for i, value in enumerate(VALUES):
        one = found[f"a{i}"]
        assert np.array_equal(one, value) and one.shape == value.shape and one.dtype == value.dtype.newbyteorder("=")
    assert list(arrays.read(tmp_path / "x.npz", ["a1", "other"])) == ["a1"]
    with arrays.open_npz(tmp_path / "x.npz") as file:
        assert b"".join(file.stream("a0")) == VALUES[0].tobytes() and str(file).startswith(
            "a0 int64[2, 3], a1 float64[2, 3]"
        )


# ---- what is refused


REFUSED = {
    "holds objects": header("'|O'") + b"abc",
    "holds objects,": header("[('a', '|O')]") + b"abc",
    "numbers or texts are expected": header("'|V3'", "(1,)") + b"abc",
    "numbers or texts": header("'<c8'", "(1,)") + bytes(8),
    "numbers or": header("'<U0'", "(1000000000000,)"),
    "has 3 bytes of values; uint8\\[4\\] has 4": header(shape="(4,)") + b"abc",
    "has 3 bytes of values; uint8\\[2\\] has 2": header(shape="(2,)") + b"abc",
    "has 3 bytes of values; float64\\[3\\] has 24": header("'<f8'") + b"abc",
    "has the shape": header(shape="(-3,)") + b"abc",
    "the shape": header(shape="(1000000000000000000000, 0)"),
    "": header(shape="(3.0,)") + b"abc",
    " ": header(shape="3") + b"abc",
    "  ": header(order="2") + b"abc",
    "   ": header("'|z1'") + b"abc",
    "    ": header("__import__('os').abort()") + b"abc",
    "a header of 60,000 bytes": header(length=60_000),
    "a header of 4,294,967,295 bytes": header(version=2, length=2**32 - 1),
    "is no array": b"\x93NUMPY\x03\x00" + header()[8:],
    "is no": b"",
    "no array": b"MZ" * 40,
    "     ": header()[:30],
    "texts with numbers that are no characters": header("'<U1'", "(1,)") + b"\xff\xff\xff\x7f",
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_no_plain_array_is_refused(tmp_path, message):
    packed(tmp_path / "x.npz", real=REFUSED[message])
    with pytest.raises(ValueError, match=message.strip() or "real|damaged|whole") as caught:
        arrays.read(tmp_path / "x.npz")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_zips_that_are_no_npz_are_refused(tmp_path):
    whole = packed(tmp_path / "x.npz", real=header() + b"abc").read_bytes()
    for content, message in (
        (b"", "not a whole"),
        (b"text", "not a whole"),
        (whole[:-30], "not a whole"),
        (whole[:40], "not a whole"),
    ):
        (tmp_path / "y.npz").write_bytes(content)
        with pytest.raises(ValueError, match=message):
            arrays.read(tmp_path / "y.npz")
    with zipfile.ZipFile(tmp_path / "twice.npz", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        for _ in range(2):
            archive.writestr("real.npy", header() + b"abc")
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as archive:
        archive.writestr("evil.py", "print('code')")
    packed(tmp_path / "lzma.npz", zipfile.ZIP_LZMA, real=header() + b"abc")
    (tmp_path / "secret.npz").write_bytes(whole.replace(b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0"))
    (tmp_path / "crc.npz").write_bytes(whole.replace(struct.pack("<I", zipfile.crc32(header() + b"abc")), b"\0\1\2\3"))
    for name, message in (
        ("twice", "real.npy' twice"),
        ("other", "evil.py', which is no .npy"),
        ("lzma", "packed in a way"),
        ("secret", "encrypted"),
        ("crc", "CRC"),
    ):
        with pytest.raises(ValueError, match=message):
            arrays.read(tmp_path / f"{name}.npz")


def test_members_that_share_their_bytes_are_refused(tmp_path):
    """A zip whose directory names one packed member many times unpacks to any size."""
    content = packed(tmp_path / "x.npz", real=header(shape="(100000,)") + bytes(100_000)).read_bytes()
    at = content.index(b"PK\1\2")
    entry, end = content[at : content.index(b"PK\5\6")], content[content.index(b"PK\5\6") :]
    many = b"".join(entry.replace(b"real.npy", f"r{i:03}.npy".encode()) for i in range(200))
    (tmp_path / "y.npz").write_bytes(
        content[:at] + many + end[:8] + struct.pack("<HHI", 200, 200, len(many)) + end[16:]
    )
    with pytest.raises(ValueError, match="its members overlap"):
        arrays.read(tmp_path / "y.npz")


def test_less_than_is_claimed_is_refused(tmp_path):
    """A member whose directory names one byte more than there is, with the right checksum of what there is."""
    member = header(shape="(4,)") + b"abc"
    content = packed(tmp_path / "x.npz", real=member).read_bytes()
    (tmp_path / "y.npz").write_bytes(
        content.replace(struct.pack("<I", len(member)), struct.pack("<I", len(member) + 1))
    )
    with arrays.open_npz(tmp_path / "y.npz") as file:
        assert str(file) == "real uint8[4]"
        for take in (lambda: file.read(), lambda: list(file.stream("real"))):
            with pytest.raises(ValueError, match="truncated|not a whole"):
                take()


def test_more_than_the_limit_is_refused_unread(tmp_path, monkeypatch):
    np.savez(tmp_path / "x.npz", real=np.zeros((1000, 1000), np.float32))
    monkeypatch.setattr(arrays, "MOST", 10**6)
    with pytest.raises(ValueError, match="unpacks to 4.0 MB, and more than 1.0 MB are refused"):
        arrays.read(tmp_path / "x.npz")
    monkeypatch.setattr(arrays, "MEMBERS", 1)
    np.savez(tmp_path / "many.npz", a=np.zeros(2), b=np.zeros(2))
    with pytest.raises(ValueError, match="it holds 2 arrays, and 1 are the most"):
        arrays.read(tmp_path / "many.npz")


# ---- every door


DOORS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "--data": ("real", data.open),
    "--condition": ("condition", data.read_conditions),
    "--text-encoder": ("vector", lambda path: embedding.open_encoder(str(path), captions.plain)),
    "--latent-file": ("latent", lambda path: inputs.read_arrays(str(path), "latent", "a latent")),
    "evaluate": ("samples", sources.of_npz),
    "evaluate by name": ("samples", lambda path: sources.of_data(str(path))),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", ["objects", "ratio", "claim", "text", "cut"])
def test_every_door_refuses_before_it_unpacks(tmp_path, door, kind):
    name, enter = DOORS[door]
    path = tmp_path / "x.npz"
    if kind in ("ratio", "claim"):
        shape = (2**20, 1, 16, 16) if name == "samples" else (2**18, 256)
        bomb(path, name, shape, "|u1" if name == "samples" else "<f4", kind == "ratio")
        assert path.stat().st_size < 2_000_000
    elif kind == "objects":
        np.savez(path, **{name: np.array([{}], dtype=object)})
    else:
        np.savez(path, **{name: np.zeros((100, 100))})
        path.write_bytes(b"text" if kind == "text" else path.read_bytes()[:-50])
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="objects|times as much|bytes of values|whole .npz") as caught:
            enter(path)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value) and left_behind() < 100_000


def test_samples_that_do_not_fit_on_the_disk_leave_nothing(tmp_path, monkeypatch):
    np.savez(tmp_path / "x.npz", samples=np.zeros((100, 8, 8, 3), np.uint8))
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: type("Usage", (), dict(free=1000))())
    with pytest.raises(OSError, match="it takes 19.2 kB, and 1.0 kB of the disk are free"):
        sources.of_npz(tmp_path / "x.npz")
    assert left_behind() < 1000


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_samples_are_read_from_the_cache_and_made_again(tmp_path, capfd, write):
    samples = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3), np.uint8)
    write(tmp_path / "x.npz", samples=samples, label=np.arange(50) % 5)
    source = sources.of_npz(tmp_path / "x.npz")
    expected = data.normalise(torch.from_numpy(samples.transpose(0, 3, 1, 2).copy()))
    assert np.array_equal(source.read(np.array([3, 1]))[0], expected[[3, 1]]) and source.classes == 5
    os.truncate(next(cache.location().glob("*/pixels")), 100)
    images, label = source.read(np.arange(50))
    assert np.array_equal(images, expected) and label.tolist() == [i % 5 for i in range(50)]
    again = sources.of_npz(tmp_path / "x.npz")
    assert again.fingerprint == source.fingerprint and np.array_equal(again.read(np.arange(50))[0], expected)
    unread = sources.of_npz(tmp_path / "x.npz")
    (tmp_path / "x.npz").unlink()
    os.truncate(next(cache.location().glob("*/pixels")), 0)
    with pytest.raises(OSError, match="cannot be prepared again from .*x.npz"):
        unread.read(np.arange(50))


def test_points_in_any_byte_order(tmp_path):
    points = np.random.default_rng(0).normal(size=(20, 3))
    np.savez(tmp_path / "x.npz", samples=points.astype(">f8"))
    assert np.array_equal(sources.of_npz(tmp_path / "x.npz").read(np.arange(20))[0], points.astype(np.float32))


# ---- any bytes


WORDS = st.sampled_from(
    [
        "'|u1'",
        "'<f4'",
        "'|O'",
        "'<U3'",
        "'>i8'",
        "'<U999999999'",
        "[('a','<f4')]",
        "'<f4,<f4'",
        "None",
        "1",
        "'|S3'",
        "'<m8[ns]'",
        "(('<f4',(3,)))",
        "'" + "(" * 300 + "'",
    ]
)
SHAPES = st.lists(st.sampled_from([0, 1, 2, 3, -1, 2**31, 2**63, 10**30, True]) | st.integers(), max_size=4).map(
    lambda sides: str(tuple(sides))
) | st.sampled_from(
    ["()", "3", "(3", "('a',)", "(1.5,)", "[3]", "None", "(" + "-" * 300 + "1,)", "(3," * 100 + ")" * 100]
)


@settings(
    derandomize=True, max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    WORDS,
    SHAPES,
    st.sampled_from(["True", "False", "0", "None"]),
    st.sampled_from([1, 2, 3]),
    st.none() | st.integers(0, 65535),
    st.binary(max_size=40),
)
def test_any_header_is_read_or_refused(tmp_path, descr, shape, order, version, length, values):
    path = packed(tmp_path / "h.npz", real=header(descr, shape, order, version, length) + values)
    for name in ("--data", "--latent-file", "evaluate"):
        try:
            DOORS[name][1](path)
        except ValueError as error:
            assert str(error)


@settings(
    derandomize=True, max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_any_bytes_are_read_or_refused(tmp_path, given_data):
    path = tmp_path / "b.npz"
    write = given_data.draw(st.sampled_from([np.savez, np.savez_compressed]))
    write(
        path,
        real=np.arange(12.0).reshape(3, 4),
        condition=np.ones((3, 2)),
        text=np.array(["a", "b", "c"]),
        samples=np.zeros((3, 4, 4, 1), np.uint8),
    )
    content = bytearray(path.read_bytes())
    for _ in range(given_data.draw(st.integers(1, 6))):
        content[given_data.draw(st.integers(0, len(content) - 1))] = given_data.draw(st.integers(0, 255))
    path.write_bytes(content[: given_data.draw(st.integers(len(content) // 2, len(content)))])
    for name in DOORS:
        try:
            DOORS[name][1](path)
        except ValueError as error:
            assert str(error)
