"""Published weights are read as data and never executed; imported and exported models draw the same samples.

The references here are written out from the sources' published forms, in float64, and share no code with gankit.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import pickle
import re
import resource
import struct
import subprocess
import sys
import time
import types
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import gankit
from gankit import cli, pictures
from gankit.exchange import export, imports, stylegan2, unpickle
from gankit.exchange.unpickle import Refused

# Reading -------------------------------------------------------------------------------------------------------------

CANARY = "touched"


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def raw(*parts: bytes | str) -> bytes:
    return b"".join(p.encode() if isinstance(p, str) else p for p in parts)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def in_torch_zip(payload: bytes) -> bytes:
    """A torch file whose data.pkl is the payload."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("model/data.pkl", payload)
        archive.writestr("model/version", b"3\n")
    return out.getvalue()


def in_legacy(payload: bytes) -> bytes:
    return b"".join(pickle.dumps(v, 2) for v in (unpickle.MAGIC, 1001, {})) + payload + pickle.dumps([], 2)


def payloads(mark: Path) -> dict[str, bytes]:
    """Pickles that do something when Python's own reader loads them, most of them to the file `mark`."""
    touch = f"open({str(mark)!r}, 'w').close()"
    system = raw("cposix\nsystem\n", "(", text(f"touch {mark}"), "tR.")
    names = {
        "os.system": pickle.dumps(Calls(os.system, f"touch {mark}")),
        "os.system, protocol 0": pickle.dumps(Calls(os.system, f"touch {mark}"), 0),
        "eval": pickle.dumps(Calls(eval, touch)),
        "exec": pickle.dumps({"G_ema": Calls(exec, touch)}),
        "getattr": pickle.dumps(Calls(getattr, "", "format")),
        "open": pickle.dumps(Calls(open, str(mark), "w")),
        "__import__": pickle.dumps(Calls(__import__, "antigravity")),
        "torch.load": raw("ctorch\nload\n", text(str(mark)), b"\x85R."),
        "a name with dots": raw(text("collections"), text("OrderedDict.fromkeys"), b"\x93", "."),
        "inst": raw("(", text(f"touch {mark}"), "iposix\nsystem\n."),
        "obj": raw("(cposix\nsystem\n", text(f"touch {mark}"), "o."),
        "extension registry": b"\x82\x01.",
        "newobj of a class": raw("csubprocess\nPopen\n", "(](", text("touch"), text(str(mark)), "etR."),
        "system after a good part": raw(
            pickle.dumps({"netG": {}}, 2)[:-1], "0cposix\nsystem\n(", text(f"touch {mark}"), "tR."
        ),
        "nested": pickle.dumps(Calls(torch.storage._load_from_bytes, in_legacy(system))),
        "nested twice": pickle.dumps(
            Calls(
                torch.storage._load_from_bytes,
                in_legacy(pickle.dumps(Calls(torch.storage._load_from_bytes, in_legacy(system)))),
            )
        ),
        "state of a table name": raw("ccollections\nOrderedDict\n}", text("__init__"), "Nsb."),
        "call of a dictionary": b"}(tR.",
        "persistent id": raw("cposix\nsystem\n", "Q."),
        "persistent id of protocol 0": raw("Pposix system\n."),
        "key that is a list of tuples": b"}" + b")" + b"\x85" * 30_000 + b"Ns.",
        "bytes of another encoding": raw("c_codecs\nencode\n", text("x"), text("zip"), b"\x86R."),
        "out of band": b"\x80\x05\x97.",
        "bytearray of 2^60 bytes": b"\x80\x05\x96" + struct.pack("<Q", 1 << 60) + b".",
        "text of 2^60 bytes": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b".",
        "unknown object of numpy": raw(
            "cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n(I0\ntcnumpy\ndtype\n", text("O8"), b"\x85Rt\x81."
        ),
        "a dictionary again and again": bombs(),
        "not a pickle": b"\x00\x01hello",
        "a pickle without an end": pickle.dumps({"a": 1})[:-3],
        "takes from nothing": b"\x80\x02R.",
        "no mark": b"\x80\x02t.",
        "memo that is not there": b"\x80\x02j\xfe\xff\xff\xff.",
    }  # fmt: skip
    return names


def bombs() -> bytes:
    """A few kilobytes whose dictionaries would hold twenty million entries."""
    big = (
        b"}("
        + b"".join(
            b"K" + bytes([i % 256]) + b"N" if i < 256 else b"M" + struct.pack("<H", i) + b"N" for i in range(4_000)
        )
        + b"u"
    )
    return b"\x80\x02]q\x00" + big + b"q\x010ccollections\nOrderedDict\nq\x020(" + b"h\x02h\x01\x85R" * 5_000 + b"e."


@pytest.mark.parametrize("form", ["pkl", "zip", "legacy", "memo"])
def test_what_a_file_would_execute_is_refused_and_leaves_no_trace(form, tmp_path):
    mark = tmp_path / CANARY
    modules, before = set(sys.modules), sorted(os.listdir(tmp_path))
    assert before == []
    for name, payload in payloads(mark).items():
        data = {
            "pkl": payload,
            "zip": in_torch_zip(payload),
            "legacy": in_legacy(payload),
            "memo": b"\x80\x02Nr\xff\xff\xff\xff0" + payload,
        }[form]
        file = tmp_path / "model.pkl"
        file.write_bytes(data)
        with pytest.raises(Refused) as error:
            unpickle.read(file)
        assert "nothing was executed" in str(error.value) and len(str(error.value)) < 500, name
        file.unlink()
        assert sorted(os.listdir(tmp_path)) == before, name
    assert "antigravity" not in sys.modules and not {
        m for m in set(sys.modules) - modules if m.split(".")[0] in ("subprocess", "antigravity")
    }


def test_the_payloads_do_act_on_pythons_own_reader(tmp_path):
    """Else the test above would show nothing."""
    mark = tmp_path / CANARY
    for name in ("os.system", "eval", "exec", "open", "inst", "obj", "nested twice", "system after a good part"):
        with open(os.devnull, "w"):
            try:
                found = pickle.loads(payloads(mark)[name])
                del found
            except Exception:  # torch may object to what comes out, after it was run
                pass
        assert mark.exists(), name
        mark.unlink()


def test_names_are_shown_without_what_a_terminal_would_obey(tmp_path):
    (tmp_path / "x.pth").write_bytes(raw(text("evil\x1b[2J\n"), text("z" * 10_000), b"\x93."))
    with pytest.raises(Refused) as error:
        unpickle.read(tmp_path / "x.pth")
    assert "\x1b" not in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 400
    assert len(unpickle.show(10**6000)) < 40 and unpickle.show(-(2**64)) == str(-(2**64))


def test_tensors_larger_than_their_file_are_refused(tmp_path):
    file = tmp_path / "x.pth"

    def one(size, stride, offset=0, count=4):
        storage = (
            b"("
            + text("storage")
            + b"ctorch\nFloatStorage\n"
            + text("0")
            + text("cpu")
            + b"\x8a\x08"
            + struct.pack("<q", count)
            + b"tQ"
        )
        numbers = lambda values: b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", v) for v in values) + b"t"  # noqa: E731
        return (
            b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n("
            + storage
            + b"\x8a\x08"
            + struct.pack("<q", offset)
            + numbers(size)
            + numbers(stride)
            + b"\x89Nt"
            + b"R."
        )

    def write(payload, compress=zipfile.ZIP_STORED, data=b"\0" * 16):
        with zipfile.ZipFile(file, "w", compress) as archive:
            archive.writestr("m/data.pkl", payload)
            archive.writestr("m/data/0", data)

    write(one([2, 2], [2, 1]))
    assert torch.equal(unpickle.read(file).tensor(), torch.zeros(2, 2))
    for bad in (
        one([2**30, 2**30], [0, 0]),
        one([2, 3], [3, 1]),
        one([2, 2], [2, 1], 1),
        one([2], [-1]),
        one([4], [1], count=2**40),
        one([2] * 20, [0] * 20),
    ):
        write(bad)
        with pytest.raises(Refused):
            unpickle.read(file)
    write(one([2, 2], [2, 1]), zipfile.ZIP_DEFLATED, b"\0" * 10_000_000)  # 10 kB that unfold
    with pytest.raises(Refused, match="compressed"):
        unpickle.read(file)
    old = io.BytesIO()
    torch.save({"a": torch.zeros(100)}, old, _use_new_zipfile_serialization=False)
    for cut in (40, 300, len(old.getvalue()) - 1):
        file.write_bytes(old.getvalue()[:cut])
        with pytest.raises(Refused):
            unpickle.read(file)


def test_deep_nesting_does_not_end_the_process(tmp_path):
    """Many lists, tuples and dictionaries in each other, read and thrown away."""
    deep = {
        list: b"]" * 30_000 + b"a" * 29_999 + b".",
        tuple: b")" + b"\x85" * 30_000 + b".",
        dict: b"}K\x01" * 30_000 + b"N" + b"s" * 30_000 + b".",
    }
    for kind, payload in deep.items():
        (tmp_path / "x.pth").write_bytes(b"\x80\x02" + payload)
        assert type(unpickle.read(tmp_path / "x.pth")) is kind


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_are_read_as_torch_reads_them(zipped, tmp_path):
    base = torch.randn(4, 6)
    state = OrderedDict(
        a=base, view=base[1:3, ::2], t=base.t(), half=base.half(), b16=base.bfloat16(), n=torch.arange(5),
        scalar=torch.tensor(3.5), none=torch.zeros(0, 3),
        flag=torch.tensor([True, False]), p=torch.nn.Parameter(torch.randn(3, dtype=torch.float64)),
    )  # fmt: skip
    state._metadata = OrderedDict({"": {"version": 1}})
    tree = {
        "netG": state,
        "list": [1, 2.5, None, True, "x"],
        "tuple": (1, (2,)),
        "big": 10**30,
        "bytes": b"\x00\xff",
        "set": {1},
        "size": torch.Size([2]),
        "dtype": torch.float32,
    }
    torch.save(tree, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    found = unpickle.read(tmp_path / "x.pth")
    for name, value in state.items():
        got = found["netG"][name].tensor()
        assert got.dtype == value.dtype and torch.equal(got, value.detach()), name
    assert list(found["netG"]) == list(state)
    assert (
        found["list"] == tree["list"]
        and found["tuple"] == tree["tuple"]
        and found["big"] == 10**30
        and found["bytes"] == b"\x00\xff"
    )
    assert found["set"] == [1]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_pickles_and_numbers_of_numpy_are_read_as_python_reads_them(protocol, tmp_path):
    scalars = [np.float64(2.5), np.float32(-0.1), np.float16(0.3), np.int64(-(2**60)), np.uint8(200), np.bool_(True)]
    tensor = torch.randn(2, 3)
    (tmp_path / "x.pkl").write_bytes(
        pickle.dumps({"scalars": scalars, "t": tensor, "p": torch.nn.Parameter(tensor)}, protocol)
    )
    found = unpickle.read(tmp_path / "x.pkl")
    assert found["scalars"] == [s.item() for s in scalars] and [type(s) for s in found["scalars"]] == [
        type(s.item()) for s in scalars
    ]
    assert torch.equal(found["t"].tensor(), tensor) and torch.equal(found["p"].tensor(), tensor)
    for other in (np.arange(3.0), np.array([object()]), np.longdouble(1), np.complex64(1), np.datetime64("2020-01-01")):
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(other, protocol))
        with pytest.raises(Refused, match="numpy"):
            unpickle.read(tmp_path / "x.pkl")


@pytest.mark.parametrize(
    "data, says",
    [(b"", "empty"), (b"<!DOCTYPE html>", "page"), (b"version https://git-lfs.github.com/spec/v1\n", "pointer")],
)
def test_what_is_no_checkpoint_is_named(data, says, tmp_path):
    (tmp_path / "x.pth").write_bytes(data)
    with pytest.raises(Refused, match=says):
        unpickle.read(tmp_path / "x.pth")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_what_holds_no_checkpoint_is_said_in_plain_words(tmp_path):
    net = torch.nn.Linear(2, 2)
    torch.jit.save(torch.jit.script(net), tmp_path / "script.pt")
    torch.export.save(torch.export.export(net, (torch.zeros(1, 2),)), tmp_path / "program.pt2")
    np.savez(tmp_path / "arrays.npz", a=np.zeros(2))
    np.save(tmp_path / "array.npy", np.zeros(2))
    (tmp_path / "keras.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    (tmp_path / "packed.pth.gz").write_bytes(gzip.compress(pickle.dumps(1)))
    torch.save(net, tmp_path / "whole.pt")
    expected = {
        "script.pt": "a TorchScript program", "program.pt2": "a program of torch.export", "arrays.npz": "npz",
        "array.npy": r"\(.npy\)",
        "keras.h5": "HDF5", "packed.pth.gz": "unpack it first", "whole.pt": r"whole network .* save its state_dict\(\)",
    }  # fmt: skip
    for name, says in expected.items():
        with pytest.raises(Refused, match=says) as error:
            unpickle.read(tmp_path / name)
        assert "nothing was executed" in str(error.value) and len(str(error.value)) < 400, name


def test_a_stylegan3_is_called_one(tmp_path, theirs):
    """Its pickles have arrays of numpy's, which end the reading before its layers are seen."""
    network = nvidia(
        theirs,
        {"": {}, "synthesis": {}, "synthesis.SynthesisInput": {"weight": rand(2)}},
        {"synthesis": dict(up_filter=np.zeros(3))},
    )
    (tmp_path / "net.pkl").write_bytes(pickle.dumps({"G_ema": network}))
    with pytest.raises(Refused, match="a StyleGAN3 of NVIDIA's .* --cfg=stylegan2"):
        unpickle.read(tmp_path / "net.pkl")


def test_devices_and_pipes_are_refused_before_they_are_read(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "G.pth").write_bytes(pickle.dumps(1))
    for path in (Path("/dev/zero"), tmp_path / "pipe.pth"):
        with pytest.raises(Refused, match="a device, pipe or folder"):
            unpickle.read(path)
        for words in (
            [str(path), "--as", "stylegan2"],
            [str(tmp_path / "G.pth"), "--as", "cyclegan", "--back", str(path)],
        ):
            with pytest.raises(SystemExit) as left:
                cli.main(["import", *words])
            assert left.value.code == 2 and "a device, pipe or folder" in capsys.readouterr().err
    with open(tmp_path / "large.pth", "wb") as file:
        file.truncate(unpickle.MOST_BYTES + 1)  # takes no room
    with pytest.raises(Refused, match="at most were expected"):
        unpickle.read(tmp_path / "large.pth")


@pytest.mark.parametrize("where", ["keys", "memo"])
def test_numbers_of_one_hash_take_no_square_of_their_number(where, tmp_path):
    """Integers that differ by multiples of 2^61 - 1 have one hash: a dictionary of 100,000 would take ten minutes."""
    numbers = [i * (2**61 - 1) for i in range(1, 100_000)]
    if where == "keys":
        payload = b"\x80\x02}(" + b"".join(b"\x8a\x0a" + n.to_bytes(10, "little") + b"N" for n in numbers) + b"u."
    else:
        payload = b"N" + b"".join(f"p{n}\n".encode() for n in numbers) + b"."
    (tmp_path / "x.pkl").write_bytes(payload)
    began = time.process_time()
    with pytest.raises(Refused, match="key of a dictionary|count was expected"):
        unpickle.read(tmp_path / "x.pkl")
    assert time.process_time() - began < 5
    (tmp_path / "x.pkl").write_bytes(
        pickle.dumps({2**47 + i: i for i in range(1000)})
    )  # addresses, as old optimizers have
    assert len(unpickle.read(tmp_path / "x.pkl")) == 1000


# Importing -----------------------------------------------------------------------------------------------------------

generator = torch.Generator().manual_seed(0)


def rand(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=generator)


def close(ours: torch.Tensor, theirs: torch.Tensor, within: float = 1e-6) -> None:
    """Equal but for the digits that weights in float32 lose."""
    assert ours.shape == theirs.shape
    assert (ours.double() - theirs).abs().max() <= within * theirs.abs().max(), (
        ours.double() - theirs
    ).abs().max() / theirs.abs().max()


@pytest.fixture
def theirs(monkeypatch):
    """Stand-ins for the modules that published files name, to write these files. Reading needs none of them."""
    names = (
        "models",
        "models.utils",
        "models.utils.config",
        "torch_utils",
        "torch_utils.persistence",
        "dnnlib",
        "dnnlib.util",
    )
    made = {name: types.ModuleType(name) for name in names}
    for name, module in made.items():
        monkeypatch.setitem(sys.modules, name, module)

    class BaseConfig:
        __module__ = "models.utils.config"

    class EasyDict(dict):
        __module__ = "dnnlib.util"

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("a file's object was rebuilt")

    BaseConfig.__qualname__, EasyDict.__qualname__ = "BaseConfig", "EasyDict"
    _reconstruct_persistent_obj.__module__, _reconstruct_persistent_obj.__qualname__ = (
        "torch_utils.persistence",
        "_reconstruct_persistent_obj",
    )
    made["models.utils.config"].BaseConfig, made["dnnlib.util"].EasyDict = BaseConfig, EasyDict
    made["torch_utils.persistence"]._reconstruct_persistent_obj = _reconstruct_persistent_obj
    yield types.SimpleNamespace(BaseConfig=BaseConfig, EasyDict=EasyDict, rebuild=_reconstruct_persistent_obj)


def zoo_nets(widths: list[int], z: int, deviation: bool = True) -> tuple[dict, dict]:
    g, d, c = {}, {}, widths[0]

    def put(net, name, *shape):
        net[f"{name}.weight"], net[f"{name}.bias"] = rand(*shape), rand(shape[0])

    put(g, "formatLayer", 16 * c, z)
    put(g, "groupScale0.0", c, c, 3, 3)
    put(d, "decisionLayer", 1, c)
    put(d, "groupScaleZero.0", c, c + deviation, 3, 3)
    put(d, "groupScaleZero.1", c, 16 * c)
    for i, w in enumerate(widths):
        put(g, f"toRGBLayers.{i}", 3, w, 1, 1)
        put(d, f"fromRGBLayers.{i}", w, 3, 1, 1)
        if i:
            put(g, f"scaleLayers.{i - 1}.0", w, widths[i - 1], 3, 3)
            put(g, f"scaleLayers.{i - 1}.1", w, w, 3, 3)
            put(d, f"scaleLayers.{i - 1}.0", w, w, 3, 3)
            put(d, f"scaleLayers.{i - 1}.1", widths[i - 1], w, 3, 3)
    return g, d


def zoo_layer(net: dict, name: str, x: torch.Tensor) -> torch.Tensor:
    """The zoo's: (W x + b) times He's constant, bias and all."""
    w, b = net[f"{name}.weight"].double(), net[f"{name}.bias"].double()
    c = (2 / w[0].numel()) ** 0.5
    return (F.linear(x, w, b) if w.ndim == 2 else F.conv2d(x, w, b, padding=w.shape[2] // 2)) * c


def zoo_g(g: dict, z: torch.Tensor, alpha: float) -> torch.Tensor:
    norm = lambda x: x * ((x**2).mean(1, keepdim=True) + 1e-8).rsqrt()  # noqa: E731
    act = lambda x: norm(F.leaky_relu(x, 0.2))  # noqa: E731
    up = lambda x: x.repeat_interleave(2, 2).repeat_interleave(2, 3)  # noqa: E731
    x = norm(F.leaky_relu(zoo_layer(g, "formatLayer", norm(z)), 0.2).view(len(z), -1, 4, 4))
    x = act(zoo_layer(g, "groupScale0.0", x))
    last = sum(k.startswith("toRGB") for k in g) // 2 - 1
    for i in range(last):
        before = x
        x = act(zoo_layer(g, f"scaleLayers.{i}.0", up(x)))
        x = act(zoo_layer(g, f"scaleLayers.{i}.1", x))
    image = zoo_layer(g, f"toRGBLayers.{last}", x)
    return (1 - alpha) * image + alpha * up(zoo_layer(g, f"toRGBLayers.{last - 1}", before))


def zoo_d(d: dict, x: torch.Tensor, deviation: bool) -> torch.Tensor:
    """For a batch of four, one group; not faded."""
    last = sum(k.startswith("fromRGB") for k in d) // 2 - 1
    x = F.leaky_relu(zoo_layer(d, f"fromRGBLayers.{last}", x), 0.2)
    for i in reversed(range(last)):
        x = F.leaky_relu(zoo_layer(d, f"scaleLayers.{i}.0", x), 0.2)
        x = F.avg_pool2d(F.leaky_relu(zoo_layer(d, f"scaleLayers.{i}.1", x), 0.2), 2)
    if deviation:
        std = (x.var(0, correction=1) + 1e-8).sqrt().mean()
        x = torch.cat([x, std.expand(len(x), 1, 4, 4)], 1)
    x = F.leaky_relu(zoo_layer(d, "groupScaleZero.0", x), 0.2).flatten(1)
    return zoo_layer(d, "decisionLayer", F.leaky_relu(zoo_layer(d, "groupScaleZero.1", x), 0.2)).squeeze(1)


@pytest.mark.parametrize("late_names", [False, True])
@pytest.mark.parametrize("zipped, alpha, deviation", [(True, 0.0, True), (False, 0.3, False)])
def test_pggan_of_the_zoo_draws_what_it_drew(zipped, alpha, deviation, late_names, tmp_path, theirs):
    """Its older files have toRGBLayers.0.weight, what its later code saves toRGBLayers.0.module.weight."""
    config = theirs.BaseConfig()
    config.alpha, config.depthOtherScales, config.attribKeysOrder = alpha, [8, 4], None
    (g, d), (late, _) = zoo_nets([8, 8, 4], 6, deviation), zoo_nets([8, 8, 4], 6)
    nets = {"netG": late, "netD": d, "avgG": g}
    if late_names:
        nets = {
            name: {re.sub(r"(weight|bias)$", r"module.\1", key): value for key, value in net.items()}
            for name, net in nets.items()
        }
        assert "toRGBLayers.0.module.weight" in nets["avgG"]
    torch.save({"config": config} | nets, tmp_path / "celeba.pth", _use_new_zipfile_serialization=zipped)
    done = imports.import_weights(tmp_path / "celeba.pth", "pggan", tmp_path / "run")
    model = gankit.load(done.folder)
    assert model.recipe.spec.shape == (3, 16, 16) and model.recipe.z_dim == 6
    model.recipe.double()
    z = rand(4, 6).double()
    image = zoo_g(g, z, alpha)
    close(model.recipe.g(z, 2, 1 - alpha), image)
    assert torch.allclose(model.recipe.sample(z), image.clamp(-1, 1), atol=1e-6)
    real = rand(4, 3, 16, 16).double()
    close(model.recipe.d(real, 2, 1.0), zoo_d(d, real, deviation))
    assert "BSD" in model.config["source"]["terms"] and model.config["source"]["file"] == "celeba.pth"
    assert any("netG" in name for name in done.found.unused)
    assert done.parameters == {
        name: sum(p.numel() for p in getattr(model.recipe, name).parameters()) for name in ("g", "d")
    }


def test_pggan_without_discriminator_and_what_does_not_fit(tmp_path):
    g, d = zoo_nets([8, 4], 6)
    path = tmp_path / "x.pth"
    torch.save({"netG": {f"module.{k}": v for k, v in g.items()}}, path)
    done = imports.import_weights(path, "pggan", tmp_path / "run")
    assert done.found.fresh == ("d.",) and json.loads((done.folder / "config.json").read_text())["source"][
        "not_in_it"
    ] == ["d"]
    bad = {
        "no avgG": {"model": g},
        "toRGBLayers": {"netG": {k: v for k, v in g.items() if "scaleLayers.0.0.weight" not in k}},
        r"\(8, 3, 3, 3\)|expected": {"netG": g | {"groupScale0.0.weight": rand(8, 3, 3, 3)}},
        "not finite": {"netG": g | {"groupScale0.0.weight": torch.full((8, 8, 3, 3), torch.nan)}},
        "channels": {"netG": zoo_nets([8, 4, 8], 6)[0]},
        "trained with classes": {
            "netG": g,
            "netD": d | {"decisionLayer.weight": rand(11, 8), "decisionLayer.bias": rand(11)},
        },
        "no toRGB|0 toRGB": {"netG": {"a": rand(2)}},
    }
    for says, tree in bad.items():
        torch.save(tree, path)
        with pytest.raises(Refused, match=says.replace("no avgG", "without avgG")):
            imports.import_weights(path, "pggan", tmp_path / "bad")
        assert not (tmp_path / "bad").exists()
    torch.save({"netG": g}, path)
    with pytest.raises(ValueError, match="there already"):
        imports.import_weights(path, "pggan", tmp_path / "run")
    with pytest.raises(ValueError, match="pggan"):
        imports.import_weights(path, "pgan", tmp_path / "other")


def spectral(net: dict, name: str, weight: torch.Tensor, bias: bool = True) -> None:
    """A layer as BigGAN-PyTorch saves it under spectral norm."""
    net[f"{name}.weight"] = weight
    net[f"{name}.u0"], net[f"{name}.sv0"] = rand(1, len(weight)), torch.ones(1)
    if bias:
        net[f"{name}.bias"] = rand(len(weight))


# Channels of the author's G from the first map on, and of his D from the image on; for 16 px, which he has not, ours.
BROCK = {
    16: ((4, 4, 2), (2, 4, 4)),
    64: ((16, 16, 8, 4, 2), (1, 2, 4, 8, 16)),
    128: ((16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16)),
    256: ((16, 16, 8, 8, 4, 2, 1), (1, 2, 4, 8, 8, 16, 16)),
}


def brock_nets(
    ch: int, chunk: int, embed: int, classes: int, side: int = 16, attention_at: int = 8
) -> tuple[dict, dict]:
    """A G and a D with the names of BigGAN-PyTorch."""
    (widths, widths_d), g, d = ([ch * k for k in of] for of in BROCK[side]), {"shared.weight": rand(classes, embed)}, {}
    spectral(g, "linear", rand(16 * widths[0], chunk))

    def attention(net, name, c):
        net[f"{name}.gamma"] = torch.tensor(0.7)
        for part, shape in (("theta", (c // 8, c)), ("phi", (c // 8, c)), ("g", (c // 2, c)), ("o", (c, c // 2))):
            spectral(net, f"{name}.{part}", rand(*shape, 1, 1), bias=False)

    for i, (a, b) in enumerate(zip(widths, widths[1:])):
        for name, shape in (("conv1", (b, a, 3, 3)), ("conv2", (b, b, 3, 3)), ("conv_sc", (b, a, 1, 1))):
            spectral(g, f"blocks.{i}.0.{name}", rand(*shape))
        for k, c in ((1, a), (2, b)):
            for part in ("gain", "bias"):
                spectral(g, f"blocks.{i}.0.bn{k}.{part}", rand(c, embed + chunk), bias=False)
            g[f"blocks.{i}.0.bn{k}.stored_mean"], g[f"blocks.{i}.0.bn{k}.stored_var"] = rand(c), rand(c).abs() * 1e-3
    place = [4 << i + 1 for i in range(len(widths) - 1)].index(attention_at)
    attention(g, f"blocks.{place}.1", widths[place + 1])
    g |= {f"output_layer.0.{part}": rand(widths[-1]) for part in ("gain", "bias", "stored_mean")} | {
        "output_layer.0.stored_var": rand(widths[-1]).abs()
    }
    spectral(g, "output_layer.2", rand(3, widths[-1], 3, 3))
    for i, (a, b) in enumerate(zip([3, *widths_d], widths_d)):
        shortcut = 3 if i < len(widths) - 1 or a != b else 2
        for name, shape in (("conv1", (b, a, 3, 3)), ("conv2", (b, b, 3, 3)), ("conv_sc", (b, a, 1, 1)))[:shortcut]:
            spectral(d, f"blocks.{i}.0.{name}", rand(*shape))
    if attention_at < side:
        place = [side >> i + 1 for i in range(len(widths) - 1)].index(attention_at)
        attention(d, f"blocks.{place}.1", widths_d[place])
    spectral(d, "linear", rand(1, widths_d[-1]))
    spectral(d, "embed", rand(classes, widths_d[-1]), bias=False)
    return g, d


def normed(net: dict, name: str) -> torch.Tensor:
    """W / sigma after one power iteration from u0."""
    w, u = net[f"{name}.weight"].double(), net[f"{name}.u0"].double()
    matrix = w.flatten(1)
    v = u @ matrix / (u @ matrix).norm()
    u = v @ matrix.T / (v @ matrix.T).norm()
    return w / (v @ matrix.T @ u.T)


def brock_conv(net: dict, name: str, x: torch.Tensor) -> torch.Tensor:
    w, b = normed(net, name), net.get(f"{name}.bias")
    return F.conv2d(x, w, None if b is None else b.double(), padding=w.shape[2] // 2)


def brock_attention(net: dict, name: str, x: torch.Tensor) -> torch.Tensor:
    n, c, h, w = x.shape
    theta, phi, value = (brock_conv(net, f"{name}.{k}", x) for k in ("theta", "phi", "g"))
    phi, value = F.max_pool2d(phi, 2).flatten(2), F.max_pool2d(value, 2).flatten(2)
    out = torch.empty(n, c // 2, h * w, dtype=torch.float64)
    for k in range(n):
        for place in range(h * w):
            out[k, :, place] = value[k] @ torch.softmax(phi[k].T @ theta[k].flatten(1)[:, place], 0)
    return x + net[f"{name}.gamma"].double() * brock_conv(net, f"{name}.o", out.view(n, c // 2, h, w))


def brock_bn(net: dict, name: str, x: torch.Tensor, y: torch.Tensor, eps: float) -> torch.Tensor:
    mean, var = (net[f"{name}.stored_{k}"].double()[:, None, None] for k in ("mean", "var"))
    gain, bias = (
        (1 + y @ normed(net, f"{name}.gain").T)[:, :, None, None],
        (y @ normed(net, f"{name}.bias").T)[:, :, None, None],
    )
    return (x - mean) / (var + eps).sqrt() * gain + bias


def brock_g(g: dict, z: torch.Tensor, label: torch.Tensor, chunk: int, eps: float = 1e-5) -> torch.Tensor:
    up = lambda x: x.repeat_interleave(2, 2).repeat_interleave(2, 3)  # noqa: E731
    y, parts = g["shared.weight"].double()[label], z.split(chunk, 1)
    h = F.linear(parts[0], normed(g, "linear"), g["linear.bias"].double()).view(len(z), -1, 4, 4)
    for i in range(len(parts) - 1):
        name, yi = f"blocks.{i}.0", torch.cat([y, parts[i + 1]], 1)
        x = brock_conv(g, f"{name}.conv1", up(brock_bn(g, f"{name}.bn1", h, yi, eps).relu()))
        x = brock_conv(g, f"{name}.conv2", brock_bn(g, f"{name}.bn2", x, yi, eps).relu())
        h = x + brock_conv(g, f"{name}.conv_sc", up(h))
        if f"blocks.{i}.1.gamma" in g:
            h = brock_attention(g, f"blocks.{i}.1", h)
    gain, bias, mean, var = (
        g[f"output_layer.0.{k}"].double()[:, None, None] for k in ("gain", "bias", "stored_mean", "stored_var")
    )
    return brock_conv(g, "output_layer.2", ((h - mean) / (var + 1e-5).sqrt() * gain + bias).relu()).tanh()


def brock_d(d: dict, x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    for i in range(count := sum(name.endswith("0.conv1.weight") for name in d)):
        name, down, learned = f"blocks.{i}.0", i < count - 1, f"blocks.{i}.0.conv_sc.weight" in d
        h = brock_conv(d, f"{name}.conv2", brock_conv(d, f"{name}.conv1", x.relu() if i else x).relu())
        if down:
            x = brock_conv(d, f"{name}.conv_sc", x) if i else brock_conv(d, f"{name}.conv_sc", F.avg_pool2d(x, 2))
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2) if i else x
        elif learned:
            x = brock_conv(d, f"{name}.conv_sc", x)
        x = h + x
        if f"blocks.{i}.1.gamma" in d:
            x = brock_attention(d, f"blocks.{i}.1", x)
    h = x.relu().sum((2, 3))
    return F.linear(h, normed(d, "linear"), d["linear.bias"].double()).squeeze(1) + (normed(d, "embed")[label] * h).sum(
        1
    )


def test_biggan_of_the_author_draws_and_judges_what_it_did(tmp_path):
    g, d = brock_nets(4, 5, 6, 3)
    torch.save(g, tmp_path / "G_ema.pth", _use_new_zipfile_serialization=False)
    torch.save(d, tmp_path / "D.pth", _use_new_zipfile_serialization=False)
    done = imports.import_weights(tmp_path / "G_ema.pth", "biggan", tmp_path / "run", discriminator=tmp_path / "D.pth")
    recipe = gankit.load(done.folder).recipe.double()
    assert (
        recipe.spec.shape == (3, 16, 16)
        and recipe.spec.num_classes == 3
        and recipe.z_dim == 15
        and not done.found.unused
        and not done.found.fresh
    )
    z, label = rand(3, 15).double(), torch.tensor([0, 2, 1])
    close(recipe.sample(z, label), brock_g(g, z, label, 5))
    assert (recipe.sample(z, label) - brock_g(g, z, label, 5, eps=1e-4)).abs().max() > 1e-3  # the 1e-5 does matter here
    image = rand(3, 3, 16, 16).double()
    close(recipe.d(image, label), brock_d(d, image, label))
    alone = imports.import_weights(tmp_path / "G_ema.pth", "biggan", tmp_path / "alone")
    assert alone.found.fresh == ("d.",) and torch.equal(
        gankit.load(alone.folder).sample(2), gankit.load(done.folder).sample(2)
    )


@pytest.mark.parametrize("ch, side, attention_at", [(8, 64, 32), (8, 128, 64), (4, 256, 64)])
def test_biggan_of_the_author_at_his_own_sizes(ch, side, attention_at, tmp_path):
    g, d = brock_nets(ch, 2, 3, 3, side, attention_at)
    torch.save(g, tmp_path / "G_ema.pth")
    torch.save(d, tmp_path / "D.pth")
    done = imports.import_weights(tmp_path / "G_ema.pth", "biggan", tmp_path / "run", discriminator=tmp_path / "D.pth")
    recipe = gankit.load(done.folder).recipe.double()
    assert recipe.spec.shape == (3, side, side) and not done.found.unused and not done.found.fresh
    z, label, image = rand(1, recipe.z_dim).double(), torch.tensor([2]), rand(1, 3, side, side).double()
    close(recipe.sample(z, label), brock_g(g, z, label, 2))
    close(recipe.d(image, label), brock_d(d, image, label))


def test_a_biggan_whose_nets_have_two_widths_is_refused(tmp_path):
    g, d = brock_nets(4, 2, 3, 3, 64, 16)[0], brock_nets(8, 2, 3, 3, 64, 16)[1]
    torch.save(g, tmp_path / "G.pth")
    torch.save(d, tmp_path / "D.pth")
    with pytest.raises(
        Refused, match="D's first block has 8 channels where a G with 8 at its end has a D with 4: biggan has one width"
    ):
        imports.import_weights(tmp_path / "G.pth", "biggan", tmp_path / "bad", discriminator=tmp_path / "D.pth")
    torch.save(brock_nets(4, 2, 3, 3, 64, 64)[0], tmp_path / "G.pth")
    with pytest.raises(Refused, match="attention in G at its full side of 64 px"):
        imports.import_weights(tmp_path / "G.pth", "biggan", tmp_path / "bad")


def test_biggans_that_ours_is_not_are_refused(tmp_path):
    g, d = brock_nets(4, 5, 6, 3)
    path = tmp_path / "G.pth"
    for says, tree in {
        "shared": {k: v for k, v in g.items() if k != "shared.weight"},
        "hier": {k: (v[:, :6] if ".bn1.gain.weight" in k else v) for k, v in g.items()},
        "u0": {k: v for k, v in g.items() if k != "blocks.1.0.conv2.u0"},
        "expected": g
        | {
            "blocks.1.0.conv2.weight": rand(9, 8, 3, 3),
            "blocks.1.0.conv2.u0": rand(1, 9),
            "blocks.1.0.conv2.bias": rand(9),
        },
        "state dict": {"G": [1]},
    }.items():
        torch.save(tree, path)
        with pytest.raises(Refused, match=says):
            imports.import_weights(path, "biggan", tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


def test_biggan_without_attention_has_it_times_zero(tmp_path):
    g = {k: v for k, v in brock_nets(4, 5, 6, 3)[0].items() if not k.startswith("blocks.0.1.")}
    torch.save(g, tmp_path / "G.pth")
    done = imports.import_weights(tmp_path / "G.pth", "biggan", tmp_path / "run")
    z, label = rand(2, 15).double(), torch.tensor([0, 2])
    close(gankit.load(done.folder).recipe.double().sample(z, label), brock_g(g, z, label, 5))


def deep_net(ch: int, z: int, classes: int) -> dict:
    """Hugging Face's names, for 16 px: pairs of blocks, attention behind the first pair, 51 sets of statistics."""
    net = {"embeddings.weight": rand(z, classes)}

    def put(name, *shape, bias=True):
        weight = rand(*shape)
        u = F.normalize(rand(shape[0]), dim=0)
        v = F.normalize(weight.flatten(1).T @ u, dim=0)
        net[f"{name}.weight_orig"], net[f"{name}.weight_v"] = weight, v
        net[f"{name}.weight_u"] = F.normalize(weight.flatten(1) @ v, dim=0)  # as their converter leaves them: v, then u
        if bias:
            net[f"{name}.bias"] = rand(shape[0])

    def statistics(name, c):
        net[f"{name}.running_means"], net[f"{name}.running_vars"] = rand(51, c), rand(51, c).abs() + 0.1

    put("generator.gen_z", 16 * 4 * ch, 2 * z)
    sizes = [(4, 4), (4, 4), None, (4, 4), (4, 2)]
    for k, pair in enumerate(sizes):
        if pair is None:
            c = 4 * ch
            for part, shape in (
                ("theta", (c // 8, c)),
                ("phi", (c // 8, c)),
                ("g", (c // 2, c)),
                ("o_conv", (c, c // 2)),
            ):
                put(f"generator.layers.{k}.snconv1x1_{part}", *shape, 1, 1, bias=False)
            net[f"generator.layers.{k}.gamma"] = torch.tensor([0.7])
            continue
        a, b = (ch * times for times in pair)
        for j, (cin, cout, kernel) in enumerate(
            ((a, a // 4, 1), (a // 4, a // 4, 3), (a // 4, a // 4, 3), (a // 4, b, 1))
        ):
            put(f"generator.layers.{k}.conv_{j}", cout, cin, kernel, kernel)
            for part in ("scale", "offset"):
                put(f"generator.layers.{k}.bn_{j}.{part}", cin, 2 * z, bias=False)
            statistics(f"generator.layers.{k}.bn_{j}", cin)
    net["generator.bn.weight"], net["generator.bn.bias"] = rand(2 * ch) / 9, rand(2 * ch) / 9
    statistics("generator.bn", 2 * ch)
    put("generator.conv_to_rgb", 2 * ch, 2 * ch, 3, 3)
    return net


def deep_g(net: dict, z: torch.Tensor, label: torch.Tensor, step: int) -> torch.Tensor:
    up = lambda x: x.repeat_interleave(2, 2).repeat_interleave(2, 3)  # noqa: E731
    cond = torch.cat([z, net["embeddings.weight"].double().T[label]], 1)

    def weight(name):
        w, u, v = (net[f"{name}.weight_{k}"].double() for k in ("orig", "u", "v"))
        return w / (u @ w.flatten(1) @ v)

    def conv(name, x):
        w, b = weight(name), net.get(f"{name}.bias")
        return F.conv2d(x, w, None if b is None else b.double(), padding=w.shape[2] // 2)

    def norm(name, x):
        mean, var = (net[f"{name}.running_{k}"].double()[step][:, None, None] for k in ("means", "vars"))
        if f"{name}.weight" in net:
            gain, bias = (net[f"{name}.{k}"].double()[:, None, None] for k in ("weight", "bias"))
        else:
            gain, bias = (
                1 + (cond @ weight(f"{name}.scale").T)[:, :, None, None],
                (cond @ weight(f"{name}.offset").T)[:, :, None, None],
            )
        return (x - mean) / (var + 1e-4).sqrt() * gain + bias

    h = (
        (cond @ weight("generator.gen_z").T + net["generator.gen_z.bias"].double())
        .view(len(z), 4, 4, -1)
        .permute(0, 3, 1, 2)
    )
    for k in range(5):
        name = f"generator.layers.{k}"
        if k == 2:
            renamed = {
                f"x.{part}.weight": weight(f"{name}.snconv1x1_{their}")
                for part, their in (("theta", "theta"), ("phi", "phi"), ("g", "g"), ("o", "o_conv"))
            }
            n, c, rows, columns = h.shape
            theta, phi, value = (F.conv2d(h, renamed[f"x.{part}.weight"]) for part in ("theta", "phi", "g"))
            phi, value = F.max_pool2d(phi, 2).flatten(2), F.max_pool2d(value, 2).flatten(2)
            mixed = torch.stack([value[i] @ torch.softmax(theta[i].flatten(1).T @ phi[i], 1).T for i in range(n)]).view(
                n, -1, rows, columns
            )
            h = h + net[f"{name}.gamma"].double() * F.conv2d(mixed, renamed["x.o.weight"])
            continue
        grow = k in (1, 4)
        x = conv(f"{name}.conv_0", norm(f"{name}.bn_0", h).relu())
        x = norm(f"{name}.bn_1", x).relu()
        x = conv(f"{name}.conv_1", up(x) if grow else x)
        x = conv(f"{name}.conv_2", norm(f"{name}.bn_2", x).relu())
        x = conv(f"{name}.conv_3", norm(f"{name}.bn_3", x).relu())
        h = h[:, : x.shape[1]]
        h = x + (up(h) if grow else h)
    return conv("generator.conv_to_rgb", norm("generator.bn", h).relu())[:, :3].tanh()


@pytest.mark.parametrize("trunc, step", [(1.0, 50), (0.4, 20)])
def test_biggan_deep_of_hugging_face_draws_what_it_drew(trunc, step, tmp_path):
    net = deep_net(4, 6, 3)
    torch.save(net, tmp_path / "pytorch_model.bin")
    done = imports.import_weights(tmp_path / "pytorch_model.bin", "biggan", tmp_path / "run", trunc=trunc)
    recipe = gankit.load(done.folder).recipe.double()
    assert (
        recipe.spec.shape == (3, 16, 16)
        and recipe.z_dim == 6
        and done.found.arguments["deep"]
        and not done.found.unused
    )
    z, label = rand(3, 6).double(), torch.tensor([0, 2, 1])
    close(recipe.sample(z, label), deep_g(net, z, label, step), 1e-5)
    assert any(f"{trunc:.3g}" in note and "--standing 100" in note for note in done.found.notes)
    source = gankit.load(done.folder).config["source"]
    assert (
        source["license"] == "other"
        and "DeepMind" in source["terms"]
        and "Hugging Face" in source["about"]
        and "Brock" not in source["about"]
    )


SOURCE = "open('touched', 'w').close(); raise SystemExit('source text of a file was executed')"


def nvidia(theirs, modules: dict[str, dict], attributes: dict[str, dict] | None = None) -> object:
    """A network as in NVIDIA's pickles: objects by the paths of `modules`, each a dict of tensors."""

    class Persistent:
        def __init__(self, kind, state):
            self.kind, self.state = kind, state

        def __reduce__(self):
            meta = dict(type="class", version=6, module_src=SOURCE, class_name=self.kind, state=self.state)
            return theirs.rebuild, (meta,), None

    def make(path):
        tensors = modules.get(path, {})
        children = sorted(
            {
                p.removeprefix(path).lstrip(".").split(".")[0]
                for p in modules
                if p.startswith(path) and p != path and (not path or p[len(path)] == ".")
            }
        )
        buffers = {k: v for k, v in tensors.items() if k in ("resample_filter", "noise_const", "w_avg")}
        parameters = OrderedDict(
            (k, torch.nn.Parameter(v, requires_grad=False)) for k, v in tensors.items() if k not in buffers
        )
        state = dict(
            training=False, _parameters=parameters, _buffers=OrderedDict(buffers), _non_persistent_buffers_set=set(),
            _backward_hooks=OrderedDict(),
            _modules=OrderedDict((c, make(f"{path}.{c}".lstrip("."))) for c in children), act_gain=np.sqrt(2),
            block_resolutions=[4, 8], _init_args=(),
            _init_kwargs=theirs.EasyDict(mapping_kwargs=theirs.EasyDict(num_layers=2)),
            **(attributes or {}).get(path, {}),
        )  # fmt: skip
        return Persistent((path.split(".")[-1] or "Generator").title(), state)

    return make("")


FILTER = torch.outer(*[torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8] * 2)


def nvidia_g(widths: list[int], z: int, w: int, classes: int, clamp: float | None) -> tuple[dict, dict]:
    net, values = {"": {}, "synthesis": {}, "mapping": {"w_avg": rand(w)}}, {}
    if classes:
        net["mapping.embed"] = {"weight": rand(w, classes), "bias": rand(w)}
    for i, a in enumerate((z + (w if classes else 0), w)):
        net[f"mapping.fc{i}"], values[f"mapping.fc{i}"] = (
            {"weight": rand(w, a) * 100, "bias": rand(w) * 100},
            dict(activation="lrelu", bias_gain=0.01),
        )
    for i, c in enumerate(widths):
        side, block = 4 << i, f"synthesis.b{4 << i}"
        net[block] = {"resample_filter": FILTER} | ({"const": rand(c, 4, 4)} if not i else {})
        for conv, a in (("conv0", widths[i - 1]), ("conv1", c))[0 if i else 1 :]:
            net[f"{block}.{conv}"] = {
                "weight": rand(c, a, 3, 3),
                "bias": rand(c),
                "noise_strength": rand(1)[0],
                "noise_const": rand(side, side),
                "resample_filter": FILTER,
            }
            net[f"{block}.{conv}.affine"] = {"weight": rand(a, w), "bias": rand(a) + 1}
            values[f"{block}.{conv}"] = dict(activation="lrelu", conv_clamp=clamp)
        net[f"{block}.torgb"], net[f"{block}.torgb.affine"] = (
            {"weight": rand(3, c, 1, 1), "bias": rand(3)},
            {"weight": rand(c, w), "bias": rand(c) + 1},
        )
        values[f"{block}.torgb"] = dict(conv_clamp=clamp)
    return net, values


def nvidia_d(widths: list[int], classes: int, clamp: float | None, residual: bool = True) -> tuple[dict, dict]:
    net, values, c = {"": {}, "b4": {}, "b4.mbstd": {}}, {"b4.mbstd": dict(group_size=2, num_channels=1)}, widths[0]
    for i in range(len(widths) - 1, 0, -1):
        a, b, block = widths[i], widths[i - 1], f"b{4 << i}"
        net[block] = {"resample_filter": FILTER}
        if i == len(widths) - 1:
            net[f"{block}.fromrgb"] = {"weight": rand(a, 3, 1, 1), "bias": rand(a), "resample_filter": FILTER}
        net[f"{block}.conv0"] = {"weight": rand(a, a, 3, 3), "bias": rand(a), "resample_filter": FILTER}
        net[f"{block}.conv1"] = {"weight": rand(b, a, 3, 3), "bias": rand(b), "resample_filter": FILTER}
        values |= {f"{block}.{k}": dict(conv_clamp=clamp) for k in ("conv0", "conv1")}
        if residual:
            net[f"{block}.skip"] = {"weight": rand(b, a, 1, 1), "resample_filter": FILTER}
    net["b4.conv"], net["b4.fc"] = (
        {"weight": rand(c, c + 1, 3, 3), "bias": rand(c), "resample_filter": FILTER},
        {"weight": rand(c, 16 * c), "bias": rand(c)},
    )
    net["b4.out"] = {"weight": rand(c if classes else 1, c), "bias": rand(c if classes else 1)}
    if classes:
        net |= {"mapping": {}, "mapping.embed": {"weight": rand(c, classes), "bias": rand(c)}}
        net |= {f"mapping.fc{i}": {"weight": rand(c, c) * 100, "bias": rand(c) * 100} for i in range(8)}
    return net, values


def lrelu(x: torch.Tensor, gain: float = 2**0.5, clamp: float | None = None) -> torch.Tensor:
    x = torch.where(x < 0, 0.2 * x, x) * gain
    return x if clamp is None else x.clamp(-clamp * gain / 2**0.5, clamp * gain / 2**0.5)


def fir(x: torch.Tensor, pad: tuple[int, int], gain: float = 1.0) -> torch.Tensor:
    """Zeros around the map, then each place's 4x4 neighbourhood times the filter."""
    x = F.pad(x, (*pad, *pad))
    size = [s - 3 for s in x.shape[2:]]
    return gain * sum(
        FILTER.double()[i, j] * x[..., i : i + size[0], j : j + size[1]] for i in range(4) for j in range(4)
    )


def dense(net: dict, name: str, x: torch.Tensor, mul: float = 1.0) -> torch.Tensor:
    w, b = (net[name][k].double() for k in ("weight", "bias"))
    return x @ (w * mul / w.shape[1] ** 0.5).T + b * mul


def unit(x: torch.Tensor) -> torch.Tensor:
    return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()


def mapping(net: dict, x: torch.Tensor | None, label: torch.Tensor | None, layers: int) -> torch.Tensor:
    parts = [] if x is None else [unit(x)]
    if "mapping.embed" in net:
        parts.append(
            unit(dense(net, "mapping.embed", F.one_hot(label, net["mapping.embed"]["weight"].shape[1]).double()))
        )
    x = torch.cat(parts, 1)
    for i in range(layers):
        x = lrelu(dense(net, f"mapping.fc{i}", x, 0.01))
    return x


def modulated(
    net: dict, name: str, x: torch.Tensor, w: torch.Tensor, up: bool, demodulate: bool = True
) -> torch.Tensor:
    """Sample by sample, with each sample's own weights."""
    weight, out = net[name]["weight"].double(), []
    style = dense(net, f"{name}.affine", w) * (1 if demodulate else weight[0].numel() ** -0.5)
    for image, s in zip(x, style):
        own = weight * s[None, :, None, None]
        if demodulate:
            own = own / (own.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if not up:
            out.append(F.conv2d(image[None], own, padding=weight.shape[2] // 2)[0])
            continue
        side = image.shape[1]
        wide = torch.zeros(len(own), 2 * side + 1, 2 * side + 1, dtype=torch.float64)
        for i in range(3):
            for j in range(3):
                wide[:, i : i + 2 * side : 2, j : j + 2 * side : 2] += torch.einsum(
                    "oc,chw->ohw", own[:, :, i, j], image
                )
        out.append(fir(wide[None], (1, 1), 4)[0])
    return torch.stack(out)


def synthesis(net: dict, w: torch.Tensor, clamp: float | None) -> torch.Tensor:
    x, image, side = net["synthesis.b4"]["const"].double().expand(len(w), -1, -1, -1), None, 4
    cut = lambda x: x if clamp is None else x.clamp(-clamp, clamp)  # noqa: E731
    while f"synthesis.b{side}" in net:
        block = f"synthesis.b{side}"
        for conv in ("conv0", "conv1"):
            if f"{block}.{conv}" in net:
                layer = net[f"{block}.{conv}"]
                x = (
                    modulated(net, f"{block}.{conv}", x, w, conv == "conv0")
                    + layer["noise_const"].double() * layer["noise_strength"].double()
                )
                x = lrelu(x + layer["bias"].double()[:, None, None], clamp=clamp)
        new = cut(
            modulated(net, f"{block}.torgb", x, w, False, False) + net[f"{block}.torgb"]["bias"].double()[:, None, None]
        )
        if image is not None:
            zeros = torch.zeros(*image.shape[:2], side, side, dtype=torch.float64)
            zeros[..., ::2, ::2] = image
            new = new + fir(zeros, (2, 1), 4)
        image, side = new, side * 2
    return image


def judge(net: dict, x: torch.Tensor, label: torch.Tensor | None, clamp: float | None, group: int) -> torch.Tensor:
    def conv(name, x, down=False, gain=2**0.5, act=True):
        w = net[name]["weight"].double()
        x = fir(x, (2, 2) if w.shape[2] == 3 else (1, 1)) if down else x
        x = F.conv2d(x, w / w[0].numel() ** 0.5, padding=0 if down else w.shape[2] // 2)
        x = x[..., ::2, ::2] if down else x
        if not act:
            return x * gain
        return lrelu(x + net[name]["bias"].double()[:, None, None], gain, clamp)

    side = x.shape[2]
    x = conv(f"b{side}.fromrgb", x)
    while side > 4:
        skip = f"b{side}.skip" in net
        h = conv(f"b{side}.conv1", conv(f"b{side}.conv0", x), True, 1.0 if skip else 2**0.5)
        x, side = h + conv(f"b{side}.skip", x, True, 0.5**0.5, False) if skip else h, side // 2
    n, c = x.shape[:2]
    std = (x.view(group, n // group, c, 4, 4).var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3))
    x = torch.cat([x, std.repeat(group)[:, None, None, None].expand(n, 1, 4, 4)], 1)
    x = dense(net, "b4.out", lrelu(dense(net, "b4.fc", conv("b4.conv", x).flatten(1))))
    return x.squeeze(1) if label is None else (x * mapping(net, None, label, 8)).sum(1) / x.shape[1] ** 0.5


@pytest.mark.parametrize("classes, clamp, residual, protocol", [(0, None, True, 4), (3, 2.0, False, 2)])
def test_stylegan2_of_nvidia_draws_and_judges_what_it_did(
    classes, clamp, residual, protocol, tmp_path, theirs, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (g, values), (late, _), (d, judged) = (
        nvidia_g([8, 8, 4], 5, 6, classes, clamp),
        nvidia_g([8, 8, 4], 5, 6, classes, clamp),
        nvidia_d([8, 8, 4], classes, clamp, residual),
    )
    tree = dict(
        G=nvidia(theirs, late),
        D=nvidia(theirs, d, judged),
        G_ema=nvidia(theirs, g, values),
        training_set_kwargs=theirs.EasyDict(path="x"),
        augment_pipe=None,
    )
    (tmp_path / "net.pkl").write_bytes(pickle.dumps(tree, protocol))
    with pytest.raises(AssertionError):  # this is a file that would run code, had it the chance
        pickle.loads((tmp_path / "net.pkl").read_bytes())
    done = imports.import_weights("net.pkl", "stylegan2", "run")
    assert not (tmp_path / "touched").exists()
    recipe = gankit.load(done.folder).recipe.double()
    assert (
        recipe.spec.shape == (3, 16, 16)
        and recipe.spec.num_classes == classes
        and "training_set_kwargs" in done.found.unused
    )
    z, label = rand(4, 5).double(), torch.tensor([0, 2, 1, 1]) if classes else None
    w = mapping(g, z, label, 2)
    close(recipe.g.mapping(z, label), w)
    image = synthesis(g, w, clamp)
    close(recipe.g.synthesis(w[:, None].expand(-1, recipe.num_ws, -1)), image)
    assert torch.allclose(recipe.sample(z, label) if classes else recipe.sample(z), image.clamp(-1, 1), atol=1e-5)
    assert torch.equal(recipe.w_mean.float(), g["mapping"]["w_avg"])
    real = rand(4, 3, 16, 16).double()
    close(recipe.d(real, label), judge(d, real, label, clamp, 2))


def test_a_discriminator_of_another_architecture_is_left_out_and_a_generator_refused(tmp_path, theirs):
    (g, values), (d, judged), path = (
        nvidia_g([8, 8, 4], 5, 6, 0, None),
        nvidia_d([8, 8, 4], 0, None, residual=False),
        tmp_path / "net.pkl",
    )
    for side, width in ((8, 8), (4, 8)):  # it looks at the picture at each side
        d[f"b{side}.fromrgb"] = {"weight": rand(width, 3, 1, 1), "bias": rand(width), "resample_filter": FILTER}
    path.write_bytes(pickle.dumps({"G_ema": nvidia(theirs, g, values), "D": nvidia(theirs, d, judged)}))
    done = imports.import_weights(path, "stylegan2", tmp_path / "run")
    assert (
        done.found.fresh == ("d.",)
        and "D" in done.found.unused
        and any("architecture skip" in note for note in done.found.notes)
    )
    recipe, z = gankit.load(done.folder).recipe.double(), rand(2, 5).double()
    close(recipe.sample(z), synthesis(g, mapping(g, z, None, 2), None).clamp(-1, 1), 1e-5)
    resnet = {k: v for k, v in g.items() if not re.fullmatch(r"synthesis\.b(4|8)\.torgb.*", k)} | {
        f"synthesis.b{s}.skip": {"weight": rand(c, 8, 1, 1)} for s, c in ((8, 8), (16, 4))
    }
    orig = {k: v for k, v in resnet.items() if not k.endswith(".skip")}
    for network in (resnet, orig, g | {"synthesis.b8.skip": {"weight": rand(8, 8, 1, 1)}}):
        path.write_bytes(pickle.dumps({"G_ema": nvidia(theirs, network, values)}))
        with pytest.raises(Refused, match="a G of the architecture orig or resnet"):
            imports.import_weights(path, "stylegan2", tmp_path / "bad")


def test_a_file_of_another_kind_is_named_with_what_reads_it(tmp_path, theirs):
    rosinality = {
        "style.1.weight": rand(2, 2),
        "convs.0.conv.weight": rand(1, 2, 2, 3, 3),
        "to_rgb1.bias": rand(1, 3, 1, 1),
        "input.input": rand(1, 2, 4, 4),
    }
    (zoo, _), (brock, critic), (g, values) = (
        zoo_nets([8, 4], 6),
        brock_nets(4, 5, 6, 3),
        nvidia_g([8, 4], 5, 6, 0, None),
    )
    unet = {"model.model.0.weight": rand(2, 3, 4, 4), "model.model.1.model.1.weight": rand(4, 2, 4, 4)}
    files = [
        (
            "stylegan2",
            {"g": rosinality, "d": {}, "g_ema": rosinality, "args": argparse.Namespace(lr=0.002, path="x")},
            "without G_ema.*rosinality's stylegan2-pytorch.*--as stylegan2 reads NVIDIA",
        ),
        ("stylegan2", OrderedDict(rosinality), "a dictionary of 'style.1.weight', .*rosinality"),
        ("stylegan2", {"state_dict": OrderedDict(zoo)}, "Try --as pggan"),
        ("stylegan2", {"a": rand(2)}, "a dictionary of 'a' without G_ema"),
        ("stylegan2", [1], "a list without G_ema.*--as stylegan2 reads NVIDIA"),
        ("stylegan2", brock, "Try --as biggan"),
        ("pggan", brock, "Try --as biggan"),
        ("pggan", {"avgG": None}, "a dictionary of 'avgG' without avgG.*--as pggan reads Facebook's pytorch_GAN_zoo"),
        ("biggan", unet, "Try --as pix2pix"),
        ("biggan", critic, "It is the discriminator of a BigGAN.*--discriminator"),
        ("biggan", {"G": [1]}, "a dictionary of 'G' where the state dict"),
        ("pix2pix", {"netG": zoo}, "a network's state dict.*Try --as pggan"),
        ("cyclegan", {"main.0.weight": rand(2, 8, 7, 7), "main.9.main.0.weight": rand(8, 8, 3, 3)}, "Try --as stargan"),
    ]  # fmt: skip
    for kind, tree, says in files:
        torch.save(tree, tmp_path / "x.pt")
        with pytest.raises(Refused, match=says) as error:
            imports.import_weights(tmp_path / "x.pt", kind, tmp_path / "bad")
        assert not re.search(r"\bbag\b|\bnode\b|\bstored\b", str(error.value).lower()) and len(str(error.value)) < 700
    save_file({"a": rand(2)}, tmp_path / "x.safetensors")
    with pytest.raises(Refused, match="a dictionary of 'a' without G_ema"):
        imports.import_weights(tmp_path / "x.safetensors", "stylegan2", tmp_path / "bad")
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"G_ema": nvidia(theirs, g, values)}))
    with pytest.raises(Refused, match="Try --as stylegan2"):
        imports.import_weights(tmp_path / "x.pkl", "pggan", tmp_path / "bad")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.json").write_text("{}")
    with pytest.raises(ValueError, match="needs no import"):
        imports.import_weights(tmp_path / "run/weights.safetensors", "stylegan2", tmp_path / "bad")


def test_a_biggan_s_discriminator_for_32_px_is_refused_in_words(tmp_path):
    g, d = brock_nets(4, 5, 6, 3)
    torch.save(g, tmp_path / "G.pth")
    torch.save(
        {k: v for k, v in d.items() if not k.startswith("blocks.1.0.conv_sc")}, tmp_path / "D.pth"
    )  # its second half keeps its side
    with pytest.raises(Refused, match="BigGAN-PyTorch's of 32 px.*Leave --discriminator out"):
        imports.import_weights(tmp_path / "G.pth", "biggan", tmp_path / "bad", discriminator=tmp_path / "D.pth")


def test_networks_of_nvidia_that_ours_is_not_are_refused(tmp_path, theirs):
    (g, values), path = nvidia_g([8, 4], 5, 6, 0, None), tmp_path / "net.pkl"
    for says, network in {
        "StyleGAN3": nvidia(theirs, {"": {}, "synthesis": {}, "synthesis.L0_36_512": {"weight": rand(2)}}),
        "architecture": nvidia(theirs, {k: v for k, v in g.items() if "b4.torgb" not in k}),
        "filter": nvidia(theirs, g | {"synthesis.b8": {"resample_filter": torch.ones(4, 4) / 16}}),
        "activation": nvidia(theirs, g, values | {"mapping.fc0": dict(activation="relu")}),
        "without G_ema": 1,
    }.items():
        path.write_bytes(pickle.dumps({"G_ema": network}))
        with pytest.raises(Refused, match=says):
            imports.import_weights(path, "stylegan2", tmp_path / "bad")
    path.write_bytes(raw("cdnnlib.tflib.network\nNetwork\n)\x81."))
    with pytest.raises(Refused, match="legacy.py"):
        imports.import_weights(path, "stylegan2", tmp_path / "bad")
    assert not (tmp_path / "bad").exists()
    cycle = unpickle.Node("G", {"_modules": {}})
    cycle.state["_modules"] |= {"a": cycle, "b": cycle}
    with pytest.raises(Refused, match="part"):
        stylegan2.flatten(cycle)


def test_a_network_that_names_its_parts_again_and_again_is_refused():
    """A megabyte that would unroll to gigabytes: one dict of buffers under many modules, or names of any length."""
    tensor = unpickle.Stored(unpickle.Storage(torch.float32, 1, lambda: bytes(4)), 0, (1,), (1,))
    shared = unpickle.Node("M", {"_buffers": {f"b{i}": tensor for i in range(5_000)}})
    with pytest.raises(Refused, match="again and again"):
        stylegan2.flatten(unpickle.Node("G", {"_modules": {f"m{i}": shared for i in range(5_000)}}))
    for key in ("n" * 1_000, 7, b"n", 10**6000):
        with pytest.raises(Refused, match="name of a network's part"):
            stylegan2.flatten(unpickle.Node("G", {"_buffers": {key: tensor}}))
    assert len(stylegan2.flatten(shared)[0]) == 5_000


@pytest.mark.parametrize(
    "name, value",
    [
        *(("conv_clamp", v) for v in (10**400, float("nan"), "abc", -1, True)),
        *(("bias_gain", v) for v in (None, "x", 10**400)),
        *(("group_size", v) for v in (None, 0, 2.5)),
    ],
)
def test_numbers_of_nvidia_that_are_none_are_refused(name, value, tmp_path, theirs):
    (g, values), (d, judged) = nvidia_g([8, 4], 5, 6, 0, 2.0), nvidia_d([8, 4], 0, 2.0)
    for part in (*values.values(), *judged.values()):
        part.update({name: value} if name in part else {})
    (tmp_path / "net.pkl").write_bytes(
        pickle.dumps({"G_ema": nvidia(theirs, g, values), "D": nvidia(theirs, d, judged)})
    )
    with pytest.raises(Refused, match=f"net.pkl as stylegan2: .*{name} is .* was expected"):
        imports.import_weights(tmp_path / "net.pkl", "stylegan2", tmp_path / "bad")


@pytest.fixture
def frugal():
    """Ends a test that takes more than a gigabyte for itself."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + (1 << 30), limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


def one_block(first: int, last: int, classes: int, claimed: bool) -> dict:
    """A generator for 8 px in the form of BigGAN-PyTorch; if claimed, its first convolution has no numbers."""
    net = {"shared.weight": torch.zeros(classes, 1)}
    spectral(net, "linear", torch.zeros(16 * first, 1))
    for name, shape in (
        ("conv1", (last, first, 1 if claimed else 3)),
        ("conv2", (last, last, 3)),
        ("conv_sc", (last, 1 if claimed else first, 1)),
    ):
        spectral(net, f"blocks.0.0.{name}", torch.zeros(*shape, shape[2]))
    for k, c in ((1, first), (2, last)):
        for part in ("gain", "bias"):
            spectral(net, f"blocks.0.0.bn{k}.{part}", torch.zeros(c, 2), bias=False)
        net[f"blocks.0.0.bn{k}.stored_mean"], net[f"blocks.0.0.bn{k}.stored_var"] = torch.zeros(c), torch.zeros(c)
    spectral(net, "output_layer.2", torch.zeros(3, last, 3, 3))
    return net | {f"output_layer.0.{part}": torch.zeros(last) for part in ("gain", "bias", "stored_mean", "stored_var")}


def test_a_size_that_one_tensor_claims_takes_no_memory(tmp_path, theirs, frugal):
    """A few megabytes that ask for a model of many gigabytes, or for a large discriminator that they do not have."""
    torch.save(one_block(20_000, 1, 2, True), tmp_path / "G.pth")
    with pytest.raises(Refused, match=r"G.pth as biggan: the weight for .* was expected"):
        imports.import_weights(tmp_path / "G.pth", "biggan", tmp_path / "bad")
    torch.save(one_block(100, 100, 300_000, False), tmp_path / "G.pth")
    with pytest.raises(Refused, match=r"G.pth as biggan: .* as first initialised"):
        imports.import_weights(tmp_path / "G.pth", "biggan", tmp_path / "bad")

    (net, values), wide = nvidia_g([8, 8], 5, 6, 0, None), 50_000
    net["synthesis.b4"]["const"] = torch.zeros(wide, 4, 4)
    for side in (4, 8):
        net[f"synthesis.b{side}.conv1"]["weight"] = torch.zeros(wide, 1, 1, 1)
    (tmp_path / "net.pkl").write_bytes(pickle.dumps({"G_ema": nvidia(theirs, net, values)}))
    assert (tmp_path / "net.pkl").stat().st_size < 5 << 20
    with pytest.raises(Refused, match=r"net.pkl as stylegan2: the weight for .* was expected"):
        imports.import_weights(tmp_path / "net.pkl", "stylegan2", tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


def test_files_that_do_not_fit_are_refused_by_name(tmp_path):
    """Never a bare IndexError or TypeError: the file, the tensor and its shape."""
    (zoo, _), brock, deep = zoo_nets([8, 4], 6), brock_nets(4, 5, 6, 3)[0], deep_net(4, 6, 3)
    bad = [("pggan", {"avgG": {"toRGBLayers.0.weight": rand(3)}})]
    bad += [("pggan", {"netG": zoo | {name: rand(7)}}) for name in zoo]
    odd, names = (
        (rand(7), torch.tensor(1.0), rand(0, 3)),
        [name for name in brock if not name.endswith(("sv0", "gamma"))],
    )
    bad += [("biggan", brock | {name: odd[i % 3]}) for i, name in enumerate(names[::5])]  # some: each takes its time
    bad += [("biggan", deep | {name: rand(3, 3, 3)}) for name in list(deep)[::13]]
    bad += [("biggan", {"shared.weight": rand(3, 4)}), ("biggan", {"generator.gen_z.weight_orig": rand(3, 4)})]
    bad += [
        (
            "pggan",
            {
                "netG": {f"toRGBLayers.{i}.weight": rand(1, 1, 1, 1) for i in range(30)}
                | {f"scaleLayers.{i}.0.weight": rand(1) for i in range(29)}
            },
        )
    ]
    for i, (kind, tree) in enumerate(bad):
        path = tmp_path / f"{i}.pth"
        torch.save(tree, path)
        with pytest.raises(Refused, match=f"{i}.pth as {kind}: ") as error:
            imports.import_weights(path, kind, tmp_path / "bad")
        assert "Error" not in str(error.value)
        path.unlink()
    torch.save({"shared.weight": rand(3, 4)}, path)
    with pytest.raises(Refused, match=r"has no blocks\.0\.0\.conv1\.weight"):
        imports.import_weights(path, "biggan", tmp_path / "bad")
    torch.save({"netG": zoo}, path)
    with pytest.raises(Refused, match="--trunc"):
        imports.import_weights(path, "pggan", tmp_path / "bad", trunc=0.5)
    assert not (tmp_path / "bad").exists()


def test_keys_of_a_file_are_shown_without_what_a_terminal_would_obey(tmp_path, capsys):
    g, d = zoo_nets([8, 4], 6)
    torch.save(
        {"avgG": g | {"a\x1b[31mred\x07": rand(1)}, "netD": d, "\x1b]0;title\x07": 1, b"x": 2, 3: 4, "unset": None},
        tmp_path / "x.pth",
    )
    cli.main(["import", str(tmp_path / "x.pth"), "--as", "pggan", "-o", str(tmp_path / "run")])
    said = capsys.readouterr().out
    assert (
        "\x1b" not in said
        and "\x07" not in said
        and "avgG.a\\x1b[31mred" in said
        and ", 3" in said
        and "unset" not in said
    )
    assert "\\u001b" not in (tmp_path / "run" / "config.json").read_text()
    assert "--place-bias" in said and "True" not in said


def test_the_import_command_and_what_an_imported_model_can_do(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    g, d = zoo_nets([8, 4], 6)
    torch.save({"netG": g, "netD": d, "extra": 1}, "net.pth")
    cli.main(["import", "net.pth", "--as", "pggan", "-o", "mine", "--license", "my own"])
    said = capsys.readouterr().out
    assert (
        "3x8x8" in said and "extra" in said and "licence of the source: my own" in said and "gankit sample mine" in said
    )
    cli.main(["sample", "mine", "--n", "4", "-o", "grid.png"])
    assert Path("grid.png").exists()
    for words, says in (
        (["resume", "mine"], "no training state"),
        (["import", "net.pth"], "--as stylegan2"),
        (["import", "net.pth", "--as", "stylegan2"], "G_ema"),
        (["import", "none.pth", "--as", "pggan"], "there is no file none.pth"),
        (["import", "net.pth", "--as"], "--as stylegan2"),
        (["import", "net.pth", "--as", "-o", "x"], "Hugging Face"),
        (["import", "net.pth", "--as", "pggan", "--trunc", ".5"], "--trunc"),
        (["import", "net.pth", "--as", "pggan", "-o", "mine"], "there already"),
        (["import", ".", "--as", "pggan"], "folder"),
        (["import", "net.pth", "--as", "pggan", "--discriminator", "x"], "--discriminator"),
    ):
        with pytest.raises(SystemExit) as stop:
            cli.main(words)
        assert stop.value.code == 2 and says in capsys.readouterr().err, words
    with pytest.raises(ValueError, match="no training state"):
        gankit.resume("mine")


# Exporting -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Models after a few steps: only latents, labels with spectral norm, one that can do more than sample, points."""
    out = tmp_path_factory.mktemp("runs")
    options = dict(images=16, batch=8, quiet=True, preview=0, outdir=out)
    made = {
        name: gankit.train(name, preset="small", data="digits", **options).folder
        for name in ("dcgan", "sngan", "vae", "pggan")
    }
    return made | {"gan": gankit.train("gan", preset="small", data="ring", **options).folder}


def test_an_export_to_safetensors_draws_the_same_and_is_smaller(runs, tmp_path):
    for name in ("dcgan", "sngan", "vae", "gan"):
        model = gankit.load(runs[name])
        done = export.export(model, "safetensors", tmp_path / name, count=7)
        assert done.latents == 7 and done.difference < 1e-5
        again = gankit.load(done.path)
        assert torch.equal(again.sample(4), model.sample(4))
        before, after = (
            sum(f.stat().st_size for f in folder.glob("weights.safetensors")) for folder in (runs[name], done.path)
        )
        assert after < before if name != "vae" else after >= 0.9 * before  # a VAE needs its encoder to encode


@pytest.mark.parametrize("name", ["sngan", "pggan"])
def test_an_exported_program_draws_the_same_for_any_number_of_rows(name, runs, tmp_path):
    model = gankit.load(runs[name])
    before = model.sample(3)
    done = export.export(model, "torch.export", tmp_path / "x.pt2", count=7)
    assert done.difference < 1e-5
    program = torch.export.load(tmp_path / "x.pt2").module()
    for rows in (1, 2, 9):
        arguments = export.examples(model.recipe, rows)
        found, expected = program(*arguments), model.recipe.sample(*arguments)
        assert (found - expected).abs().max() < 1e-5 and found.shape == (rows, 1, 16, 16)
    assert torch.equal(model.sample(3), before)  # exporting changed nothing in the model


@pytest.mark.parametrize("name", ["sngan"])
def test_onnx_draws_the_same_for_any_number_of_rows(name, runs, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    import onnxruntime

    model = gankit.load(runs[name])
    done = export.export(model, "onnx", tmp_path / "x.onnx", count=7)
    assert done.difference < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    arguments = export.examples(model.recipe, 3)
    inputs = [item.name for item in session.get_inputs()]
    assert inputs == ["z", "label"][: len(arguments)]
    (found,) = session.run(None, {name: rows.numpy() for name, rows in zip(inputs, arguments)})
    expected = model.recipe.sample(*arguments)
    assert np.abs(found - expected.numpy()).max() < 1e-5


def test_an_export_that_draws_something_else_is_deleted(runs, tmp_path, monkeypatch):
    model = gankit.load(runs["dcgan"])
    monkeypatch.setitem(
        export.WRITERS,
        "torch.export",
        lambda trained, path, *rest: (path.write_text("x"), lambda z: torch.zeros(len(z), 1, 16, 16))[1],
    )
    with pytest.raises(ValueError, match="differ"):
        export.export(model, "torch.export", tmp_path / "x.pt2")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", export.FORMS)
def test_an_export_writes_over_nothing(form, runs, tmp_path):
    model = gankit.load(runs["dcgan"])
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("file", "empty", "link"):
        with pytest.raises(ValueError, match=f"{name} is there already.* -o"):
            export.export(model, form, tmp_path / name)
    assert (
        (tmp_path / "file").read_text() == "mine"
        and not list((tmp_path / "empty").iterdir())
        and (tmp_path / "link").is_symlink()
    )


def test_an_export_says_nothing_of_torchs(runs, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export.export(gankit.load(runs["dcgan"]), "torch.export", tmp_path / "x.pt2", count=2)


def test_an_export_keeps_the_paths_of_this_machine_to_itself(runs, tmp_path):
    model = gankit.load(runs["dcgan"])
    model.config["settings"]["data"] = "/home/me/secret/faces.zip"
    model.config["data"]["name"] = "faces"
    export.export(model, "hub-folder", tmp_path / "hub", count=2)
    files = [tmp_path / "hub" / name for name in ("config.json", "README.md")]
    assert not any("secret" in file.read_text() for file in files) and "--data faces" in files[1].read_text()
    assert model.config["settings"]["data"] == "/home/me/secret/faces.zip"
    own = export.card.published(model.config | {"own": "/home/me/secret/my_gan.py"})
    assert own["own"] == "my_gan.py" and own["settings"]["data"] == "faces"


def test_a_hub_folder_has_a_card_and_draws_its_samples(runs, tmp_path):
    model = gankit.load(runs["dcgan"])
    (runs["dcgan"] / "evaluations.jsonl").write_text(
        json.dumps(
            {
                "name": "fd",
                "metric": "fd",
                "value": 12.25,
                "error": 0.5,
                "error_of": "",
                "better": "lower",
                "note": "",
                "n_fake": 1000,
                "n_real": 1000,
                "fake": {},
                "real": {"name": "digits"},
                "features": {"name": "digits"},
            }
        )
        + "\n"
    )
    done = export.export(model, "hub-folder", tmp_path / "hub", license='Mine: "v1"\nmit')
    assert {p.name for p in done.path.iterdir()} == {
        "config.json",
        "model.safetensors",
        "README.md",
        "samples.png",
        "inference.py",
    }
    card = (done.path / "README.md").read_text()
    assert card.startswith(
        "---\nlibrary_name: gankit\nlicense: other\nlicense_name: \"Mine: 'v1' mit\"\n"
        "pipeline_tag: unconditional-image-generation\n"
    )
    assert (
        "| fd | 12.25 | 0.5 | 1000 | digits | digits |" in card
        and "gankit train dcgan --data digits --preset small" in card
        and "1,400 samples" in card
    )
    assert torch.equal(gankit.load(done.path).sample(4), model.sample(4))
    ran = subprocess.run(
        [sys.executable, done.path / "inference.py", "3"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(gankit.__file__).parents[1])},
    )
    assert ran.returncode == 0, ran.stderr
    pictures.save(tmp_path / "own.png", model.sample(1, seed=3))
    assert (tmp_path / "seed0003.png").read_bytes() == (tmp_path / "own.png").read_bytes()
    assert "not stated" not in card.lower() and "license" not in export.card.readme(model, [0]).split("---")[1]


def test_an_imported_models_card_names_its_source_and_licence(tmp_path):
    torch.save({"netG": zoo_nets([8, 4], 6)[0]}, tmp_path / "net.pth")
    done = imports.import_weights(tmp_path / "net.pth", "pggan", tmp_path / "run")
    export.export(gankit.load(done.folder), "hub-folder", tmp_path / "hub", count=2)
    card = (tmp_path / "hub" / "README.md").read_text()
    assert (
        "license: bsd-3-clause" in card and "net.pth" in card and "Facebook" in card and "first initialised: d" in card
    )


def test_exports_that_cannot_be_say_why(runs, tmp_path, capsys, monkeypatch):
    model = gankit.load(runs["dcgan"])
    with pytest.raises(ValueError, match="there already"):
        export.export(model, "safetensors", runs["dcgan"])
    with pytest.raises(ValueError, match="onnx"):
        export.export(model, "onx", tmp_path / "x")
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'gankit\[onnx\]'"):
        export.export(model, "onnx", tmp_path / "x.onnx")
    monkeypatch.setattr(type(model.recipe), "noise", property(lambda self: (_ for _ in ()).throw(AttributeError())))
    with pytest.raises(ValueError, match="does not draw from noise"):
        export.export(model, "safetensors", tmp_path / "x")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    cli.main(["export", str(runs["dcgan"]), "--to", "safetensors", "--n", "3"])
    said = capsys.readouterr().out
    assert (
        "z (N, 32)" in said
        and "on 3 random latents" in said
        and (tmp_path / "out" / runs["dcgan"].name / "config.json").exists()
    )
