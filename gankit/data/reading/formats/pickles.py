"""Pickles, read as data: nothing that a file names is imported, called or built.

A pickle is a program for a small stack machine, and Python's own reader calls whatever the program names. This machine
knows the instructions and calls nothing that the file names. Names are looked up in a table, whose entries make inert
records; any other name stops the reading with an error. No module is imported for a file, no class of it is
instantiated, no attribute is set.

Files cannot exhaust memory or stack: dictionary keys are plain, copies are counted against the file's size, an array
has exactly the bytes of its shape, and nothing recurses as deep as a file may nest.

The file is long because everything that decides what a pickle may do is in one place, so that it can be reviewed at
once.
"""

from __future__ import annotations

import io
import math
import pickletools
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

# NumPy's types as those of struct.
SCALARS = dict(f2="e", f4="f", f8="d", i1="b", i2="h", i4="i", i8="q", u1="B", u2="H", u4="I", u8="Q", b1="?")
# The largest integer key. From 2^61 - 1 on many integers share a hash, so that a dictionary would take quadratic time.
LARGEST = 2**60


class Refused(ValueError):
    """A file is rejected; the message says what it has besides numbers, text, plain containers and known records."""


# Records of a file's objects -----------------------------------------------------------------------------------------


class Record:
    """An object that is read as data; `words` describe it in messages."""

    __slots__ = ()
    words = "a record"


class Bag(dict):
    """A dictionary, or an object of settings that is read as one."""

    __slots__ = ()


@dataclass(slots=True, eq=False)
class Type(Record):
    """The type of a NumPy number, in `struct`'s letters; its state has the byte order."""

    words = "a type of numpy's"
    code: str
    order: str = "<"


@dataclass(slots=True, eq=False)
class Numbers(Record):
    """A NumPy array: its values as they are stored, row by row unless `columns`."""

    words = "an array of numpy's"
    kind: Type | None = None
    shape: tuple[int, ...] = ()
    data: bytes = b""
    columns: bool = False


@dataclass(slots=True, eq=False, frozen=True)
class Name:
    """A name of the table on the machine's stack: the function that makes its record, or what the name stands for."""

    text: str
    make: Callable[..., object] | None = None
    value: object = None


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


def make_bag(machine: Machine, *args: object) -> Bag:
    """An OrderedDict or similar, empty or from pairs."""
    bag = Bag()
    source = args[0] if args else []
    if not isinstance(source, (list, dict)):
        raise Refused(f"a dictionary made of {show(source)}")
    machine.spend(len(source))
    for pair in source.items() if isinstance(source, dict) else source:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise Refused(f"{show(pair)} where a pair was expected")
        put(bag, *pair)
    return bag


def make_list(machine: Machine, *args: object) -> list:
    """A set, as a list, so that nothing is hashed."""
    items = args[0] if args else []
    if not isinstance(items, (list, tuple)):
        raise Refused(f"a set made of {show(items)}")
    machine.spend(len(items))
    return list(items)


def make_bytes(machine: Machine, text: object = "", encoding: object = "latin1") -> bytes:
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise Refused(f"bytes made of {show(text)} by {show(encoding)}")
    machine.spend(len(text))
    try:
        return text.encode("latin1")
    except UnicodeEncodeError:
        raise Refused("bytes made of text that has other characters") from None


def make_scalar(machine: Machine, kind: object, data: object = b"") -> float | int | bool:
    if type(kind) is not Type or type(data) is not bytes:
        raise Refused(f"a number made of {show(data)}")
    if len(data) != struct.calcsize(kind.order + kind.code):
        raise Refused(f"a number of {len(data)} bytes where {struct.calcsize(kind.order + kind.code)} were expected")
    return struct.unpack(kind.order + kind.code, data)[0]


def make_type(machine: Machine, name: object, *rest: object) -> Type:
    if type(name) is not str or name not in SCALARS:
        raise Refused(f"numpy's type {show(name)}: only plain numbers are read")
    return Type(SCALARS[name])


def make_text(machine: Machine, *args: object) -> str:
    return " ".join(show(a) for a in args[:4])


def make_array(machine: Machine, *args: object) -> Numbers:
    """An array that is empty until its state is set."""
    return Numbers()


def make_filled_array(machine: Machine, data: object, kind: object, shape: object, order: object = "C") -> Numbers:
    """An array of these bytes, as pickles of protocol 5 have it."""
    if order not in ("C", "F"):
        raise Refused(f"an array in the order {show(order)}")
    return filled(machine, Numbers(), shape, kind, order == "F", data)


def filled(machine: Machine, numbers: Numbers, shape: object, kind: object, columns: object, data: object) -> Numbers:
    """The array with its values, which must be as many bytes as its shape says."""
    content = make_bytes(machine, data) if type(data) is str else data  # Python 2's strings are bytes
    if type(kind) is not Type or type(content) is not bytes:
        raise Refused(f"an array of {show(kind)} made of {show(data)}")
    machine.spend(len(content))
    sides, each = sizes(shape), struct.calcsize(kind.order + kind.code)
    if math.prod(sides) * each != len(content):
        raise Refused(
            f"an array of shape {sides} with {len(content):,} bytes, {math.prod(sides) * each:,} are expected"
        )
    numbers.kind, numbers.shape, numbers.data, numbers.columns = kind, sides, content, columns is True
    return numbers


PLAIN: dict[str, Callable[..., object]] = {
    "collections.OrderedDict": make_bag,
    "builtins.set": make_list,
    "__builtin__.set": make_list,
    "_codecs.encode": make_bytes,
    "numpy.dtype": make_type,
    **{f"numpy.{core}.multiarray.scalar": make_scalar for core in ("core", "_core")},
}
ARRAYS: dict[str, Callable[..., object]] = {
    "numpy.ndarray": make_array,
    **{f"numpy.{core}.multiarray._reconstruct": make_array for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": make_filled_array for core in ("core", "_core")},
}


def put(target: object, key: object, value: object) -> None:
    """Set an item of a dictionary; keys of other kinds are refused before they are hashed."""
    if not isinstance(target, dict):
        raise Refused(f"an item set in {show(target)}")
    is_plain = key is None or type(key) in (str, int, float, bool, bytes)
    if not is_plain or (type(key) is int and abs(key) > LARGEST):
        raise Refused(f"{show(key)} as the key of a dictionary")
    target[key] = value


def give(machine: Machine, target: object, state: object) -> None:
    """Set the state of an object (the pickle instruction BUILD)."""
    if type(target) is Bag:
        if type(state) is tuple and len(state) == 2 and state[1] is None:
            state = state[0]
        if not isinstance(state, dict):
            raise Refused(f"the state of a dictionary is {show(state)}")
        machine.spend(len(state))
        for key, value in state.items():
            if key != "_metadata":  # the versions that torch adds to state dicts
                put(target, key, value)
    elif type(target) is Type and type(state) is tuple and len(state) >= 2 and state[1] in ("<", ">", "|", "="):
        if any(item is not None for item in state[2:5]):
            raise Refused("a record of numpy's: only plain numbers are read")
        target.order = state[1] if state[1] in ("<", ">") else "<"
    elif type(target) is Numbers and type(state) is tuple and len(state) == 5:
        filled(machine, target, *state[1:])
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
    return value.words if isinstance(value, Record) else f"a {type(value).__name__.lower()}"


# The stack machine ---------------------------------------------------------------------------------------------------

CONSTANTS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8",
}  # fmt: skip
FIXED = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
MARK = object()


class Machine:
    """A reader of pickles.

    Args:
        size: bytes of the file, which bound what is copied.
        names: functions that make records, by the names in files that stand for them.
        hints: what to do about other names, by how these begin.
    """

    def __init__(self, size: int, names: Mapping[str, Callable[..., object]], hints: Mapping[str, str] | None = None):
        self.names, self.hints = names, hints or {}
        self.budget: list[int] = [4 * size + 100_000]  # bytes that may still be copied

    def spend(self, amount: int) -> None:
        """Count copied bytes, so that a small file cannot make large objects."""
        self.budget[0] -= amount
        if self.budget[0] < 0:
            raise Refused(
                "a pickle that copies its own parts again and again, more than any checkpoint or data set does"
            )

    def name(self, module: object, name: object) -> Name:
        """The entry of the table for a name in the file; nothing else is done with the name.

        Raises:
            Refused: the table has no such name.
        """
        if type(module) is not str or type(name) is not str:
            raise Refused(f"{show(module)}, {show(name)} where a name was expected")
        text = f"{module}.{name}"
        if text in self.names:
            return Name(text, make=self.names[text])
        hint = next((f" ({hint})" for start, hint in self.hints.items() if text.startswith(start)), "")
        raise Refused(f"the file asks for {show(text)}{hint}")

    def outside(self, key: object) -> object:
        """An object outside of the pickle."""
        raise Refused(f"{show(key)} outside of the pickle, which has nothing there")

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


def instructions(stream: io.BytesIO) -> Iterator[tuple[str, object]]:
    """The instructions of one pickle with their arguments."""
    try:
        for op, argument, _ in pickletools.genops(stream):
            yield op.name, argument
    except (ValueError, UnicodeDecodeError, IndexError, OverflowError, MemoryError, struct.error) as error:
        if isinstance(error, Refused):
            raise
        raise Refused(f"no pickle, or a damaged one: {show(str(error))}") from None
