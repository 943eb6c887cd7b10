"""Published checkpoints, read as data: old and new torch files, pickles with torch tensors in them, safetensors.

Pickles go through `gankit.data.reading.formats.pickles`, which calls nothing that a file names: names are looked up in
one table (`NAMES`), whose entries make inert records. Bytes inside a pickle that are a torch file go through the same
reader.

Files cannot exhaust memory: a tensor is at most as large as its bytes in the file, and archives must not be compressed
(torch's are not).
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gankit.data.reading.formats.pickles import (
    PLAIN,
    Bag,
    Machine,
    Name,
    Record,
    Refused,
    make_bag,
    make_list,
    make_text,
    show,
    sizes,
    whole,
)  # fmt: skip

MAGIC = 0x1950A86A20F9469CFC6C  # the first number in a torch file from before 1.6
LAYERS = 4  # pickles inside pickles
MOST_BYTES = 2**34  # of a file, far above the size of any published GAN
OTHERS = {  # the first bytes of other files, and what these are
    b"\x89HDF\r\n": "an HDF5 file, as Keras writes them",
    b"\x1f\x8b": "compressed with gzip: unpack it first",
    b"\xfd7zXZ": "compressed with xz: unpack it first",
    b"7z\xbc\xaf": "a 7z archive: unpack it first",
    b"\x93NUMPY": "an array of numpy's (.npy)",
    b"\x89PNG": "a picture (PNG)",
    b"\xff\xd8\xff": "a picture (JPEG)",
}
STYLEGAN3 = (
    "a StyleGAN3 of NVIDIA's (configurations stylegan3-t and -r): its layers are others. StyleGAN2s are read: those of "
    "stylegan2-ada-pytorch, and of stylegan3 with --cfg=stylegan2"
)
DTYPES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip


# Records of a file's objects -----------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class Node(Record):
    """An object that the file's own code would rebuild: only the name of its class and its state."""

    words = "a network with its code"
    kind: str
    state: dict


@dataclass(slots=True, eq=False)
class Storage(Record):
    """Numbers of one type, not read yet."""

    words = "a tensor's numbers"
    dtype: torch.dtype
    count: int
    fetch: Callable[[], bytes | memoryview]


@dataclass(slots=True, eq=False)
class Stored(Record):
    """A tensor, not read yet: its storage, and its place in it."""

    words = "a tensor"
    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def tensor(self) -> Tensor:
        """Read the tensor, into new memory."""
        if 0 in self.shape:
            return torch.empty(self.shape, dtype=self.storage.dtype)
        need = self.storage.count * self.storage.dtype.itemsize
        data = memoryview(self.storage.fetch())[:need]
        if len(data) < need:
            raise Refused(f"a tensor of {need} bytes has {len(data)} in the file: the file is cut short")
        whole = torch.frombuffer(bytearray(data), dtype=self.storage.dtype)
        return whole.as_strided(self.shape, self.stride, self.offset).clone(memory_format=torch.contiguous_format)


# The functions of the names ------------------------------------------------------------------------------------------


def make_tensor(reader: Reader, storage: object, offset: object, size: object, stride: object, *rest: object) -> Stored:
    """A tensor in a storage.

    Raises:
        Refused: it extends beyond the storage, or is larger.
    """
    if type(storage) is not Storage or len(rest) > 3:
        raise Refused(f"a tensor made of {show(storage)}")
    offset, shape, stride = whole(offset), sizes(size), sizes(stride)
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride)) if shape and 0 not in shape else offset
    if len(shape) != len(stride) or (0 not in shape and last >= storage.count) or math.prod(shape) > storage.count:
        raise Refused(
            f"a tensor of shape {shape} in a storage of {storage.count} numbers: larger than what the file has"
        )
    return Stored(storage, offset, shape, stride)


def make_parameter(reader: Reader, data: object, *rest: object) -> Stored:
    if type(data) is not Stored:
        raise Refused(f"a parameter made of {show(data)}")
    return data


def make_storage(reader: Reader, data: object) -> Storage:
    """A storage that is in the pickle as the bytes of a torch file, which the same reader reads."""
    if type(data) is not bytes:
        raise Refused(f"a storage made of {show(data)}")
    reader.spend(len(data))
    found = Reader(data, reader).legacy()
    if type(found) is not Storage:
        raise Refused(f"{show(found)} where a storage was expected")
    return found


def make_node(reader: Reader, meta: object) -> Node:
    """A network that NVIDIA's code would rebuild from source code in the file, which is not used here."""
    if not isinstance(meta, dict) or type(meta.get("class_name")) is not str or not isinstance(meta.get("state"), dict):
        raise Refused(f"a network made of {show(meta)}")
    return Node(meta["class_name"], meta["state"])


NAMES: dict[str, Callable[..., object]] = PLAIN | {  # among them NumPy's scalars: NVIDIA's gains, like np.sqrt(2)
    "torch._utils._rebuild_tensor": make_tensor,
    "torch._utils._rebuild_tensor_v2": make_tensor,
    "torch._utils._rebuild_parameter": make_parameter,
    "torch.storage._load_from_bytes": make_storage,
    "torch.Size": make_list,
    "torch.device": make_text,
    "torch_utils.persistence._reconstruct_persistent_obj": make_node,
    "dnnlib.EasyDict": make_bag,
    "dnnlib.util.EasyDict": make_bag,
    "models.utils.config.BaseConfig": make_bag,
    "argparse.Namespace": make_bag,
}
KINDS = {f"{home}.{name}": dtype for name, dtype in DTYPES.items() for home in ("torch", "torch.cuda", "torch.storage")}
HINTS = {
    "dnnlib.tflib": "a TensorFlow network: convert it to PyTorch with legacy.py of NVIDIA's "
    "stylegan2-ada-pytorch first",
    "torch.nn.modules": "a whole network that was saved with its code: save its state_dict() instead",
    "numpy.": "a NumPy array, which is not supported: save its numbers as a torch tensor",
    "__main__": "an object of a class in a script: save only its tensors",
}


# The stack machine, with torch's objects -----------------------------------------------------------------------------


class Reader(Machine):
    """A reader of a file, or of the bytes of a file inside another one.

    Args:
        data: the whole file.
        around: the reader of the file that contains these bytes.
    """

    def __init__(self, data: bytes, around: Reader | None = None):
        super().__init__(len(data), NAMES, HINTS)
        self.data = data
        self.layer: int = around.layer + 1 if around else 0
        if self.layer > LAYERS:
            raise Refused(f"pickles inside of pickles, more than {LAYERS} deep")
        if around:
            self.budget = around.budget  # one for all layers
        self.find: Callable[[Storage, str], None] = self.nowhere
        self.found: dict[str, Storage] = {}

    def nowhere(self, storage: Storage, key: str) -> None:
        """Refuse storages outside the pickle; files that have some replace this function."""
        raise Refused("a storage outside of the pickle, which has none")

    def name(self, module: object, name: object) -> Name:
        """As of Machine, with torch's types."""
        text = f"{module}.{name}" if type(module) is str and type(name) is str else ""
        if text in KINDS:
            return Name(text, value=KINDS[text])
        if module == "torch" and name in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8"):
            return Name(text)
        return super().name(module, name)

    def outside(self, key: object) -> Storage:
        """A storage outside the pickle: ("storage", its type, its key, device, count)."""
        parts = key if isinstance(key, tuple) and len(key) in (5, 6) else ("",) * 5
        if parts[0] != "storage" or type(parts[1]) is not Name or type(parts[2]) is not str:
            raise Refused(f"{show(key)} outside of the pickle where a storage was expected")
        if len(parts) == 6 and parts[5] is not None:
            raise Refused("a storage that is a part of another: save the file again with a newer torch")
        kind, name = parts[1:3]
        if type(kind.value) is not torch.dtype:
            raise Refused(f"a storage of {show(kind)}")
        if name not in self.found:
            storage = Storage(kind.value, whole(parts[4]), bytes)
            self.find(storage, name)
            self.found[name] = storage
        return self.found[name]

    def legacy(self) -> object:
        """The object of a torch file from before 1.6: a few pickles, then the storages."""
        stream = io.BytesIO(self.data)
        if self.run(stream) != MAGIC:
            raise Refused("no torch file where one was expected")
        self.run(stream), self.run(stream)  # the protocol version, and the machine that wrote it
        waiting: list[tuple[Storage, str]] = []
        self.find = lambda storage, key: waiting.append((storage, key))
        tree = self.run(stream)
        keys = self.run(stream)
        if type(keys) is not list or len(keys) > 1_000_000:
            raise Refused(f"{show(keys)} where the list of storages was expected")
        known = {key: storage for storage, key in waiting}
        at, view = stream.tell(), memoryview(self.data)
        for key in keys:
            storage = known.pop(key, None) if type(key) is str else None
            if storage is None:
                raise Refused(f"a storage {show(key)} that no tensor names")
            count = struct.unpack_from("<q", view, at)[0] if at + 8 <= len(view) else -1
            need = count * storage.dtype.itemsize
            if count != storage.count or at + 8 + need > len(view):
                raise Refused(
                    f"a storage of {storage.count} numbers, more than the file holds: it is cut short or damaged"
                )
            storage.fetch = view[at + 8 : at + 8 + need].toreadonly
            at += 8 + need
        if known:
            raise Refused(f"{len(known)} storages are not in the file: it is cut short")
        return tree


# Files ---------------------------------------------------------------------------------------------------------------


def read(path: Path) -> object:
    """The contents of a published checkpoint as dicts, lists, numbers, text, `Stored` tensors and `Node`s.

    Args:
        path: a torch file (.pth, .pt, .bin), a pickle (.pkl), or .safetensors.

    Raises:
        Refused: names the file and what was found. Nothing in it is ever executed.
        OSError: it cannot be read.
    """
    try:
        if path.exists() and not path.is_file():  # checked before it is opened: a pipe would block, a device never ends
            raise Refused("a device, pipe or folder, not a file")
        if (size := path.stat().st_size) > MOST_BYTES:
            raise Refused(f"a file of {size:,} bytes; {MOST_BYTES:,} at most were expected")
        with open(path, "rb") as file:
            head = file.read(512)
        if head[:4] == b"PK\x03\x04":
            return read_archive(path)
        if head[257:262] == b"ustar":
            raise Refused(
                "a tar: torch's form of 2016 is not read; open it with a torch of that time and save it again"
            )
        if path.suffix == ".safetensors":
            return Bag(load_file(path))
        if not head:
            raise Refused("the file is empty")
        if other := next((what for start, what in OTHERS.items() if head.startswith(start)), ""):
            raise Refused(f"{other}. Checkpoints of PyTorch are read")
        if head.lstrip()[:1] in (b"<", b"{") or head.startswith(b"version https://git-lfs"):
            raise Refused(
                f"text, {show(head[:40].decode('latin1'))}: the download gave a page or a pointer, not the weights"
            )
        reader = Reader(path.read_bytes())
        try:
            first = reader.run(stream := io.BytesIO(reader.data))
        except Refused as error:
            if "'numpy." in str(error) and b"SynthesisInput" in reader.data:
                raise Refused(STYLEGAN3) from None
            raise
        if first == MAGIC:
            return reader.legacy()
        if stream.tell() < len(reader.data):
            raise Refused("data after the pickle's end: an unknown format")
        return first
    except SafetensorError as error:
        raise Refused(f"{path}: {error}; nothing was executed") from None
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}") from None
    except (zipfile.BadZipFile, RuntimeError, EOFError) as error:  # a RuntimeError if it is encrypted
        raise Refused(f"{path}: a zip that is damaged or locked ({show(str(error))}); nothing was executed") from None
    except Refused as error:
        raise Refused(
            f"{path}: {error}. Only tensors, numbers, text and plain containers are read; nothing was executed"
        ) from None


PROGRAMS = {
    "a TorchScript program": ("/code/", "/constants.pkl", "/bytecode.pkl"),
    "a program of torch.export": ("models/model.json", "serialized_exported_program.json"),
    "a package of torch.package": ("/.data/extern_modules",),
}


def read_archive(path: Path) -> object:
    """The object of a torch file since 1.6: a zip with `data.pkl` and a member for each storage."""
    archive = zipfile.ZipFile(path)
    members = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    for what, parts in PROGRAMS.items():
        if any(part in name for name in members for part in parts):
            raise Refused(f"{what}: save the state_dict() of its network with torch.save instead")
    if any(name.endswith(".npy") for name in members):
        raise Refused("NumPy arrays (.npz): save them as torch tensors with torch.save instead")
    if len(pickles) != 1:
        raise Refused("a zip that is no torch file: it has no data.pkl. If it holds one, unpack it first")
    root, size = pickles[0].removesuffix("data.pkl"), path.stat().st_size

    def bytes_of(name: str) -> bytes:
        info = members[name]
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.file_size > size:
            raise Refused(f"a compressed member {show(name)}, which torch never writes: it could unpack to any size")
        return archive.read(info)

    order = root + "byteorder"
    if order in members and members[order].file_size < 16 and bytes_of(order) != b"little":
        raise Refused("numbers in big-endian order")
    reader = Reader(bytes_of(pickles[0]))

    def find(storage: Storage, key: str) -> None:
        name = f"{root}data/{key}"
        if name not in members:
            raise Refused(f"a storage {show(key)} that is not in the archive")
        if members[name].file_size < storage.count * storage.dtype.itemsize:
            raise Refused(
                f"a storage of {storage.count} numbers, for which the archive has {members[name].file_size} bytes"
            )
        storage.fetch = lambda: bytes_of(name)

    reader.find = find
    stream = io.BytesIO(reader.data)
    return reader.run(stream)
