"""Published checkpoints, read as data: old and new torch files, pickles with torch tensors in them, safetensors.

A pickle is a program for a small stack machine, and Python's own reader calls whatever the program names. This reader
knows the instructions and calls nothing that the file names. Names are looked up in one table (`NAMES`), whose entries
make inert records; any other name stops the reading with an error. No module is imported for a file, no class of it is
instantiated, no attribute is set. Bytes inside a pickle that are a torch file go through the same reader.

Files cannot exhaust memory or stack: a tensor is at most as large as its bytes in the file, archives must not be
compressed (torch's are not), dictionary keys are plain, copies are counted against the file's size, and nothing
recurses as deep as a file may nest.

The file is long because everything that decides what a file may do is in one place, so that it can be reviewed at once.
"""

from __future__ import annotations

import io
import math
import pickletools
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

MAGIC = 0x1950A86A20F9469CFC6C  # the first number in a torch file from before 1.6
# NumPy's types as those of struct.
SCALARS = dict(f2="e", f4="f", f8="d", i1="b", i2="h", i4="i", i8="q", u1="B", u2="H", u4="I", u8="Q", b1="?")
LAYERS = 4  # pickles inside pickles
# The largest integer key. From 2^61 - 1 on many integers share a hash, so that a dictionary would take quadratic time.
LARGEST = 2**60
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


class Refused(ValueError):
    """A file is rejected; the message says what it has besides tensors, numbers, text and plain containers."""


# Records of a file's objects -----------------------------------------------------------------------------------------


class Bag(dict):
    """A dictionary, or an object of settings that is read as one."""

    __slots__ = ()


@dataclass(slots=True, eq=False)
class Node:
    """An object that the file's own code would rebuild: only the name of its class and its state."""

    kind: str
    state: dict


@dataclass(slots=True, eq=False)
class Storage:
    """Numbers of one type, not read yet."""

    dtype: torch.dtype
    count: int
    fetch: Callable[[], bytes | memoryview]


@dataclass(slots=True, eq=False)
class Stored:
    """A tensor, not read yet: its storage, and its place in it."""

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


@dataclass(slots=True, eq=False)
class Type:
    """The type of a NumPy number, in `struct`'s letters; its state has the byte order."""

    code: str
    order: str = "<"


@dataclass(slots=True, eq=False, frozen=True)
class Name:
    """A name of the table on the reader's stack: the function that makes its record, or the type of a storage."""

    text: str
    make: Callable[..., object] | None = None
    dtype: torch.dtype | None = None


# The functions of the names ------------------------------------------------------------------------------------------


def whole(value: object) -> int:
    """A count."""
    if type(value) is not int or not 0 <= value <= 2**40:
        raise Refused(f"{show(value)} where a count was expected")
    return value


def sizes(value: object) -> tuple[int, ...]:
    """A shape or strides."""
    if not isinstance(value, (tuple, list)) or len(value) > 8:
        raise Refused(f"{show(value)} where a shape was expected")
    return tuple(whole(item) for item in value)


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


def make_bag(reader: Reader, *args: object) -> Bag:
    """An OrderedDict or similar, empty or from pairs."""
    bag = Bag()
    source = args[0] if args else []
    if not isinstance(source, (list, dict)):
        raise Refused(f"a dictionary made of {show(source)}")
    reader.spend(len(source))
    for pair in source.items() if isinstance(source, dict) else source:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise Refused(f"{show(pair)} where a pair was expected")
        put(bag, *pair)
    return bag


def make_list(reader: Reader, *args: object) -> list:
    """A set, as a list, so that nothing is hashed."""
    items = args[0] if args else []
    if not isinstance(items, (list, tuple)):
        raise Refused(f"a set made of {show(items)}")
    reader.spend(len(items))
    return list(items)


def make_bytes(reader: Reader, text: object = "", encoding: object = "latin1") -> bytes:
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise Refused(f"bytes made of {show(text)} by {show(encoding)}")
    reader.spend(len(text))
    try:
        return text.encode("latin1")
    except UnicodeEncodeError:
        raise Refused("bytes made of text that has other characters") from None


def make_node(reader: Reader, meta: object) -> Node:
    """A network that NVIDIA's code would rebuild from source code in the file, which is not used here."""
    if not isinstance(meta, dict) or type(meta.get("class_name")) is not str or not isinstance(meta.get("state"), dict):
        raise Refused(f"a network made of {show(meta)}")
    return Node(meta["class_name"], meta["state"])


def make_scalar(reader: Reader, kind: object, data: object = b"") -> float | int | bool:
    if type(kind) is not Type or type(data) is not bytes:
        raise Refused(f"a number made of {show(data)}")
    if len(data) != struct.calcsize(kind.order + kind.code):
        raise Refused(f"a number of {len(data)} bytes where {struct.calcsize(kind.order + kind.code)} were expected")
    return struct.unpack(kind.order + kind.code, data)[0]


def make_type(reader: Reader, name: object, *rest: object) -> Type:
    if type(name) is not str or name not in SCALARS:
        raise Refused(f"numpy's type {show(name)}: only plain numbers are read")
    return Type(SCALARS[name])


def make_text(reader: Reader, *args: object) -> str:
    return " ".join(show(a) for a in args[:4])


NAMES: dict[str, Callable[..., object]] = {
    "torch._utils._rebuild_tensor": make_tensor,
    "torch._utils._rebuild_tensor_v2": make_tensor,
    "torch._utils._rebuild_parameter": make_parameter,
    "torch.storage._load_from_bytes": make_storage,
    "torch.Size": make_list,
    "torch.device": make_text,
    "torch_utils.persistence._reconstruct_persistent_obj": make_node,
    "collections.OrderedDict": make_bag,
    "dnnlib.EasyDict": make_bag,
    "dnnlib.util.EasyDict": make_bag,
    "models.utils.config.BaseConfig": make_bag,
    "argparse.Namespace": make_bag,
    "builtins.set": make_list,
    "__builtin__.set": make_list,
    "_codecs.encode": make_bytes,
    "numpy.dtype": make_type,
    **{f"numpy.{core}.multiarray.scalar": make_scalar for core in ("core", "_core")},  # NVIDIA's gains, like np.sqrt(2)
}
KINDS = {f"{home}.{name}": dtype for name, dtype in DTYPES.items() for home in ("torch", "torch.cuda", "torch.storage")}
HINTS = {
    "dnnlib.tflib": "a TensorFlow network: convert it to PyTorch with legacy.py of NVIDIA's "
    "stylegan2-ada-pytorch first",
    "torch.nn.modules": "a whole network that was saved with its code: save its state_dict() instead",
    "numpy.": "a NumPy array, which is not supported: save its numbers as a torch tensor",
    "__main__": "an object of a class in a script: save only its tensors",
}


WORDS = {
    Node: "a network with its code",
    Stored: "a tensor",
    Tensor: "a tensor",
    Storage: "a tensor's numbers",
    Type: "a type of numpy's",
}


def put(target: object, key: object, value: object) -> None:
    """Set an item of a dictionary; keys of other kinds are refused before they are hashed."""
    if not isinstance(target, dict):
        raise Refused(f"an item set in {show(target)}")
    is_plain = key is None or type(key) in (str, int, float, bool, bytes)
    if not is_plain or (type(key) is int and abs(key) > LARGEST):
        raise Refused(f"{show(key)} as the key of a dictionary")
    target[key] = value


def give(reader: Reader, target: object, state: object) -> None:
    """Set the state of an object (the pickle instruction BUILD)."""
    if type(target) is Bag:
        if type(state) is tuple and len(state) == 2 and state[1] is None:
            state = state[0]
        if not isinstance(state, dict):
            raise Refused(f"the state of a dictionary is {show(state)}")
        reader.spend(len(state))
        for key, value in state.items():
            if key != "_metadata":  # the versions that torch adds to state dicts
                put(target, key, value)
    elif type(target) is Type and type(state) is tuple and len(state) >= 2 and state[1] in ("<", ">", "|", "="):
        if any(item is not None for item in state[2:5]):
            raise Refused("a record of numpy's: only plain numbers are read")
        target.order = state[1] if state[1] in ("<", ">") else "<"
    else:
        raise Refused(f"a state given to {show(target)}")


def show(value: object) -> str:
    """A short description of a value, safe to print: text as ASCII, dictionaries by some keys, others by kind."""
    if type(value) is str:
        return ascii(value[:80])
    if type(value) is int and value.bit_length() > 128:  # Python refuses to print the longest
        return "a huge number"
    if value is None or type(value) in (int, float, bool):
        return ascii(value)
    if type(value) is Name:
        return f"the name {show(value.text)}"
    if isinstance(value, dict):
        first = ", ".join(ascii(key[:30]) if type(key) is str else show(key) for key in islice(value, 4))
        return f"a dictionary of {first}{', ...' * (len(value) > 4)}" if value else "an empty dictionary"
    return WORDS.get(type(value), f"a {type(value).__name__.lower()}")


# The stack machine ---------------------------------------------------------------------------------------------------

CONSTANTS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8",
}  # fmt: skip
FIXED = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
MARK = object()


class Reader:
    """A reader of a file, or of the bytes of a file inside another one.

    Args:
        data: the whole file.
        around: the reader of the file that contains these bytes.
    """

    def __init__(self, data: bytes, around: Reader | None = None):
        self.data = data
        self.layer: int = around.layer + 1 if around else 0
        if self.layer > LAYERS:
            raise Refused(f"pickles inside of pickles, more than {LAYERS} deep")
        # bytes that may still be copied, in all layers
        self.budget: list[int] = around.budget if around else [4 * len(data) + 100_000]
        self.find: Callable[[Storage, str], None] = self.nowhere
        self.found: dict[str, Storage] = {}

    def spend(self, amount: int) -> None:
        """Count copied bytes, so that a small file cannot make large objects."""
        self.budget[0] -= amount
        if self.budget[0] < 0:
            raise Refused("a pickle that copies its own parts again and again, more than any checkpoint does")

    def nowhere(self, storage: Storage, key: str) -> None:
        """Refuse storages outside the pickle; files that have some replace this function."""
        raise Refused("a storage outside of the pickle, which has none")

    def name(self, module: object, name: object) -> Name:
        """The entry of the table for a name in the file; nothing else is done with the name.

        Raises:
            Refused: the table has no such name.
        """
        if type(module) is not str or type(name) is not str:
            raise Refused(f"{show(module)}, {show(name)} where a name was expected")
        text = f"{module}.{name}"
        if text in KINDS:
            return Name(text, dtype=KINDS[text])
        if text in NAMES:
            return Name(text, make=NAMES[text])
        if module == "torch" and name in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8"):
            return Name(text)
        hint = next((f" ({hint})" for start, hint in HINTS.items() if text.startswith(start)), "")
        raise Refused(f"the file asks for {show(text)}{hint}")

    def outside(self, key: object) -> Storage:
        """A storage outside the pickle: ("storage", its type, its key, device, count)."""
        parts = key if isinstance(key, tuple) and len(key) in (5, 6) else ("",) * 5
        if parts[0] != "storage" or type(parts[1]) is not Name or type(parts[2]) is not str:
            raise Refused(f"{show(key)} outside of the pickle where a storage was expected")
        if len(parts) == 6 and parts[5] is not None:
            raise Refused("a storage that is a part of another: save the file again with a newer torch")
        kind, name = parts[1:3]
        if kind.dtype is None:
            raise Refused(f"a storage of {show(kind)}")
        if name not in self.found:
            storage = Storage(kind.dtype, whole(parts[4]), bytes)
            self.find(storage, name)
            self.found[name] = storage
        return self.found[name]

    def run(self, stream: io.BytesIO) -> object:
        """The object of one pickle in the stream, which is then at the pickle's end.

        The function is long because it has a case for each instruction.
        """
        stack: list = []
        memo: dict[object, object] = {}

        def top() -> object:
            if not stack or stack[-1] is MARK:
                raise Refused("a pickle that takes more than it has put: the file is damaged")
            return stack[-1]

        def pop() -> object:
            top()
            return stack.pop()

        def popped() -> list:
            for i in range(len(stack) - 1, -1, -1):
                if stack[i] is MARK:
                    items = stack[i + 1 :]
                    del stack[i:]
                    return items
            raise Refused("a pickle without its mark: the file is damaged")

        for op, argument in instructions(stream):
            if op in CONSTANTS:
                stack.append(argument)
            elif isinstance(argument, bytearray):  # BYTEARRAY8
                stack.append(bytes(argument))
            elif op in FIXED:
                stack.append(FIXED[op])
            elif op in ("BINPUT", "LONG_BINPUT", "PUT"):
                memo[whole(argument) if op == "PUT" else argument] = top()
            elif op == "MEMOIZE":
                memo[len(memo)] = top()
            elif op in ("BINGET", "LONG_BINGET", "GET"):
                if argument not in memo:
                    raise Refused("a pickle that reads a memo entry it never stored: the file is damaged")
                stack.append(memo[argument])
            elif op == "MARK":
                stack.append(MARK)
            elif op in ("EMPTY_LIST", "EMPTY_SET"):
                stack.append([])
            elif op == "EMPTY_DICT":
                stack.append({})
            elif op == "EMPTY_TUPLE":
                stack.append(())
            elif op in ("TUPLE1", "TUPLE2", "TUPLE3"):
                stack.append(tuple([pop() for _ in range(int(op[-1]))][::-1]))
            elif op == "TUPLE":
                stack.append(tuple(popped()))
            elif op in ("LIST", "FROZENSET"):
                stack.append(popped())
            elif op in ("APPEND", "APPENDS", "ADDITEMS"):
                items = [pop()] if op == "APPEND" else popped()
                target = top()
                if type(target) is not list:
                    raise Refused(f"an item appended to {show(target)}")
                target.extend(items)
            elif op in ("SETITEM", "SETITEMS", "DICT"):
                items = [pop(), pop()][::-1] if op == "SETITEM" else popped()
                if op == "DICT":
                    stack.append({})
                for key, value in zip(items[::2], items[1::2]):
                    put(top(), key, value)
            elif op == "GLOBAL":
                stack.append(self.name(*str(argument).partition(" ")[::2]))
            elif op == "STACK_GLOBAL":
                name, module = pop(), pop()
                stack.append(self.name(module, name))
            elif op in ("REDUCE", "NEWOBJ"):
                arguments, maker = pop(), pop()
                if type(maker) is not Name or maker.make is None or type(arguments) is not tuple:
                    raise Refused(f"a call of {show(maker)}")
                try:
                    stack.append(maker.make(self, *arguments))
                except TypeError:  # the number of arguments, which the file decides
                    raise Refused(f"{maker.text} with {len(arguments)} arguments") from None
            elif op == "BUILD":
                state = pop()
                give(self, top(), state)
            elif op == "BINPERSID":
                stack.append(self.outside(pop()))
            elif op == "POP":
                stack.pop() if stack else pop()
            elif op == "POP_MARK":
                popped()
            elif op == "DUP":
                stack.append(top())
            elif op == "STOP":
                return pop()
            elif op not in ("PROTO", "FRAME"):
                raise Refused(f"the pickle instruction {op}, which no checkpoint needs")
        raise Refused("a pickle without an end: the file is cut short")

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


def instructions(stream: io.BytesIO) -> Iterator[tuple[str, object]]:
    """The instructions of one pickle with their arguments."""
    try:
        for op, argument, _ in pickletools.genops(stream):
            yield op.name, argument
    except (ValueError, UnicodeDecodeError, IndexError, OverflowError, MemoryError, struct.error) as error:
        if isinstance(error, Refused):
            raise
        raise Refused(f"no pickle, or a damaged one: {show(str(error))}") from None


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
