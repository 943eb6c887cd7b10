"""Command lines to dataclasses: each field is a flag, with its help from the `Args:` of the docstring."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeVar, get_args, get_origin, get_type_hints, overload

from gankit.cli.errors import fail
from gankit.declaration import Images, short

if TYPE_CHECKING:
    from gankit.runs.trained import Trained

Command = Callable[[list[str]], None]
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")

LARGEST = 10**15  # absolute value of a number on the command line
LARGEST_OF = {  # lower limits, by flag
    "n": 10**7, "steps": 10**6, "fps": 1000, "batch": 10**7, "standing": 10**6, "restarts": 10**6, "seed": 2**63 - 1,
}  # fmt: skip

# StyleGAN's names for two intervals. Torchrun takes --log and --n for its own, even behind `-m gankit`.
SECOND_NAMES = {"log": "--tick", "save": "--snap", "n": "--samples"}


@dataclasses.dataclass
class Loading:
    """The trained model.

    Args:
        weights: file of weights in the run folder.
        model: the file of a model that is not gankit's own; its code is executed.
        device: auto, cpu, cuda or mps.
    """

    weights: str = "weights.safetensors"
    model: str = ""
    device: str = "auto"

    def load(self, run: str) -> Trained:
        """The trained model of a run, as `gankit.load`."""
        import gankit
        from gankit.runs.folders import locate

        folder = locate(run)  # before torch is imported
        return gankit.load(folder, model=self.model or None, device=self.device, weights=self.weights)


class Alias(NamedTuple):
    """Other names of a flag; see `alias`."""

    short: tuple[str, ...]
    name: str | None


def alias(*short: str, name: str | None = None) -> Alias:
    """A flag's short forms, and the name that replaces the field's: `Annotated[str, alias("-o")]`."""
    return Alias(short, name)


# Words ---------------------------------------------------------------------------------------------------------------


def asks_help(words: list[str]) -> bool:
    """Whether only a command's help is asked for."""
    return words[:1] in (["-h"], ["--help"])


def first(words: list[str], command: str, what: str, hint: str = "") -> tuple[str, list[str]]:
    """The first word and the flags after it; "" and all words if only help is asked for."""
    if words and not words[0].startswith("-"):
        return words[0], words[1:]
    if asks_help(words):
        return "", words
    hint = hint or f"gankit {command.split()[0]} --help lists the flags"
    fail(f"{command} what? gankit {command} {what} [flags]; {hint}", 2)


def take(words: list[str], name: str) -> tuple[list[str], str | None]:
    """The words without a flag and its value, and that value; None where the flag is not given."""
    for i, word in enumerate(words):
        if word == name and i + 1 < len(words):
            return words[:i] + words[i + 2 :], words[i + 1]
        if word.startswith(name + "="):
            return words[:i] + words[i + 1 :], word.split("=", 1)[1]
    return words, None


def is_typed(words: list[str], name: str) -> bool:
    """Whether a flag is among the words, with - or _ in its name."""
    return any(word.partition("=")[0].replace("_", "-") == as_flag(name) for word in words)


def as_flag(name: str) -> str:
    """A field's name as a flag: --skip-bad for skip_bad."""
    return f"--{name.replace('_', '-')}"


# Dataclasses to flags ------------------------------------------------------------------------------------------------


@overload
def parse(command: Command, place: str, words: list[str]) -> tuple[()]: ...


@overload
def parse(command: Command, place: str, words: list[str], a: type[A], /) -> tuple[A]: ...


@overload
def parse(
    command: Command, place: str, words: list[str], a: type[A], b: type[B], /, *, defaults: object = None
) -> tuple[A, B]: ...


@overload
def parse(
    command: Command, place: str, words: list[str], a: type[A], b: type[B], c: type[C], /, *, defaults: object = None
) -> tuple[A, B, C]: ...


def parse(command: Command, place: str, words: list[str], *kinds: type, defaults: object = None) -> tuple[object, ...]:
    """A command's flags as instances of its dataclasses. Wrong flags end the program with a hint and exit code 2.

    Args:
        command: the command's function; its docstring heads the help.
        place: the usage line's text between the command's name and its flags, such as RUN.
        words: the flags.
        kinds: dataclasses, each a group of flags in the help.
        defaults: an instance of one of them, whose values are the defaults.
    """
    groups = {kind.__name__.lower(): described(kind, defaults) for kind in kinds}
    prog = f"gankit {command.__name__.rstrip('_')} {place}".rstrip()
    values = read(groups, prog, (command.__doc__ or "").strip(), words)
    return tuple(kind(**vars(value)) for kind, value in zip(kinds, values))


def read(groups: dict[str, type], prog: str, about: str, words: list[str]) -> list[object]:
    """Flags to an instance of each group, by tyro."""
    import tyro

    fields = [field for kind in groups.values() for field in dataclasses.fields(kind)]
    switches = {field.name for field in fields if isinstance(field.default, bool)}
    members = [(name, kind, dataclasses.field(default_factory=kind)) for name, kind in groups.items()]
    joined = dataclasses.make_dataclass("Flags", members)
    joined.__doc__ = about
    words = [modern(word, switches) for word in words]
    if any(field.name == "images" for field in fields):
        words = kimg(words)
    config = (tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes, tyro.conf.HelptextFromCommentsOff)
    parsed: object = tyro.cli(joined, prog=prog, args=words, config=config)
    values = [getattr(parsed, name) for name in groups]
    for value in values:
        for name, item in vars(value).items():
            refuse_out_of_range(name, item)
    return values


def args_of(documented: object) -> dict[str, str]:
    """The `Args:` of a docstring: name to text."""
    texts: dict[str, str] = {}
    for base in reversed(getattr(documented, "__bases__", ())):
        texts |= args_of(base) if dataclasses.is_dataclass(base) else {}
    block = re.search(r"^Args:\n((?:    .*\n?|\n)+)", inspect.cleandoc(documented.__doc__ or ""), re.M)
    name = ""
    for line in block.group(1).splitlines() if block else []:
        if match := re.match(r"    (\w+): (.*)", line):
            name = match.group(1)
            texts[name] = match.group(2)
        elif line.strip() and name:
            texts[name] += " " + line.strip()
    return texts


def only(kind: type[A], *names: str) -> type[A]:
    """The dataclass with flags for only these fields; the others keep their defaults."""
    return type(kind.__name__, (kind,), {"FLAGS": names, "__doc__": kind.__doc__})


def options_of(
    title: str, about: str, hints: dict[str, object], texts: dict[str, str], defaults: dict[str, object]
) -> type[object]:
    """A dataclass of arguments that are known only when the command runs: those of a model or a tool.

    Args:
        title: its name, which heads its flags in the help.
        about: one line on these flags.
        hints: argument to type.
        texts: argument to help.
        defaults: argument to default; these are the fields.
    """
    fields = [(name, hints.get(name, str), dataclasses.field(default=value)) for name, value in defaults.items()]
    made = dataclasses.make_dataclass(title, fields, namespace={"SECOND_NAMES": {}})
    made.__doc__ = "\n".join([about, "", "Args:", *(f"    {name}: {text}" for name, text in texts.items())])
    return made


def described(kind: type, defaults: object = None) -> type:
    """A dataclass as tyro reads it: with the help of its docstring, and the defaults of an instance of it."""
    hints, texts = get_type_hints(kind, include_extras=True), args_of(kind)
    values = {field.name: field.default for field in dataclasses.fields(kind)}
    if isinstance(defaults, kind):
        values |= vars(defaults)
    second = getattr(kind, "SECOND_NAMES", SECOND_NAMES)
    fields = [
        (name, annotated(hints[name], texts.get(name), second.get(name)), dataclasses.field(default=values[name]))
        for name in getattr(kind, "FLAGS", values)
    ]
    made = dataclasses.make_dataclass(kind.__name__, fields)
    made.__doc__ = (kind.__doc__ or "").splitlines()[0]
    return made


def annotated(hint: object, text: str | None, second: str | None) -> object:
    """A field's type with its help, its other names, and the parser of counts (200k) and seeds (0-3,7)."""
    import tyro

    new_name, aliases = None, [second] if second else []
    if get_origin(hint) is Annotated and isinstance(get_args(hint)[1], Alias):
        hint, names = get_args(hint)
        new_name, aliases = names.name, [*aliases, *names.short]
    arg = tyro.conf.arg(
        help=text or " ",
        name=new_name,
        aliases=aliases or None,
        help_behavior_hint="" if text and "default: " in text else None,
    )
    return Annotated[parser_of(hint), arg]


def parser_of(hint: object) -> object:
    """The type with tyro's constructor for images (a count) and seeds; other types are unchanged."""
    import tyro

    if getattr(hint, "__name__", "") == "Seeds":
        seeds = tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar="SEEDS",
            instance_from_str=lambda words: tuple(numbers(words[0])),
            is_instance=lambda value: isinstance(value, tuple),
            str_from_instance=lambda value: [ranges(value)],
        )
        return Annotated[tuple, seeds]
    if hint is Images:
        images = tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar="IMAGES",
            instance_from_str=lambda words: count(words[0]),
            is_instance=lambda value: isinstance(value, int),
            str_from_instance=lambda value: [short(value)],
        )
        return Annotated[int, images]
    return hint


# Values --------------------------------------------------------------------------------------------------------------


def refuse_out_of_range(name: str, value: object) -> None:
    """Refuse numbers of a flag that are not finite or too large, before anything of that size is allocated."""
    for number in value if isinstance(value, tuple) else (value,):
        if not isinstance(number, (int, float)) or isinstance(number, bool):
            continue
        if isinstance(number, float) and not math.isfinite(number):
            raise ValueError(f"{as_flag(name)} is {number}; give a finite number")
        largest = LARGEST_OF.get(name, LARGEST)
        if abs(number) > largest:
            raise ValueError(f"{as_flag(name)} is {str(number)[:40]}; the largest value is {largest:,}")


def modern(word: str, switches: set[str]) -> str:
    """`--mirror=1` and `--mirror=0` as `--mirror` and `--no-mirror`."""
    flag, _, value = word.partition("=")
    name = flag.removeprefix("--").replace("-", "_")
    if name not in switches or not value:
        return word
    negative = as_flag(f"no_{name}")
    if value.lower() in ("1", "true", "yes", "on"):
        return flag
    if value.lower() in ("0", "false", "no", "off"):
        return negative
    raise ValueError(f"{flag} is {value!r}; write {flag} or {negative}, or {flag}=1 or {flag}=0")


def kimg(words: list[str]) -> list[str]:
    """`--kimg 200` as `--images 200000`."""
    words, value = take(words, "--kimg")
    return words if value is None else [*words, "--images", f"{value}k"]


def count(text: str) -> int:
    """A whole number; k and M stand for thousands and millions."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kKmM]?)", text.replace("_", ""))
    if not match:
        raise ValueError(f"{text!r} is not a count; write 50000, 200k or 5M")
    number = float(match.group(1)) * {"": 1, "k": 1_000, "m": 1_000_000}[match.group(2).lower()]
    if number > LARGEST:
        raise ValueError(f"{text[:40]!r} is more than {LARGEST:.0e}")
    return int(match.group(1)) if match.group(1).isdigit() and not match.group(2) else round(number)


def numbers(text: str) -> list[int]:
    """Seeds as 0-3,7: [0, 1, 2, 3, 7]."""
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part)
        if not match:
            raise ValueError(f"{text!r} is not a list of seeds; write it like 0-15,42")
        low, high = int(match.group(1)), int(match.group(2) or match.group(1))
        if high < low or high - low > 1_000_000:
            raise ValueError(f"{part.strip()!r} is not a range of seeds; write the smaller first, at most a million")
        seeds += range(low, high + 1)
    return seeds


def ranges(seeds: tuple[int, ...]) -> str:
    """Seeds as `numbers` reads them: (0, 1, 2, 7) as 0-2,7."""
    parts: list[list[int]] = []
    for seed in seeds:
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)
