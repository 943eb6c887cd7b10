"""Forms of the JSON in a run folder. Each file is checked once, where it is read."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import NamedTuple, TypedDict

MOST_BYTES = 64 << 20  # of a file that is read whole
DEEPEST = 100  # brackets within brackets


class Whole(NamedTuple):
    """A whole number from `least` to `most`."""

    least: int = 0
    most: int = 2**62


class BadCheckpoint(ValueError):
    """A run folder, or a file in it, that gankit cannot use."""


class Wrong(ValueError):
    """JSON that does not have the expected form."""


class Shapes(TypedDict, total=False):
    """The fields of `Spec` in config.json."""

    shape: list[int]
    num_classes: int
    condition_dim: int
    other: list[int]
    attributes: list[str]
    groups: list[int]
    exclusive: list[bool]
    caption: list[int]


class SettingsOfConfig(TypedDict, total=False):
    """The settings in config.json that a reader of a run folder needs; it has the others, too."""

    data: str
    batch: int
    images: int
    precision: str
    seed: int
    fit: str
    alpha: str
    evaluate: str
    evaluate_n: int
    evaluate_features: str
    patience: int


class Facts(TypedDict, total=False):
    """The data of a run in config.json; `colours` are those of the classes of label maps."""

    name: str
    fingerprint: str
    count: int
    classes: list[str]
    colours: list[list[int]]


class Stop(TypedDict):
    """Why a run ended before its length, and after how many images, in config.json."""

    images: int
    reason: str


class Entry(TypedDict):
    """The start of a run or a resume in config.json, with (before, after) of each setting that changed."""

    images: int
    time: str
    changed: dict[str, list[object]]
    versions: dict[str, str]


class Origin(TypedDict, total=False):
    """The file that weights were imported from, in config.json."""

    file: str
    about: str
    license: str
    terms: str
    sha256: str
    beside: dict[str, str]
    notes: list[str]
    not_in_it: list[str]
    unused: list[str]


class Config(TypedDict, total=False):
    """The content of config.json, as `CONFIG` checks it."""

    format: int
    id: str
    model: str
    own: str
    preset: str
    arguments: dict[str, object]
    settings: SettingsOfConfig
    spec: Shapes
    data: Facts
    preview: str
    processes: int
    images: int
    history: list[Entry]
    stopped: Stop
    source: Origin
    tuned: dict[str, str]


Tree = None | bool | int | float | str | list["Tree"] | dict[str, "Tree"]  # JSON


class About(TypedDict, total=False):
    """The JSON in a file of tensors, as `ABOUT`, `WEIGHTS` and `STATE` check it."""

    format: int
    sha256: str
    run: str
    images: int
    model: str
    left_out: list[str]
    world: int
    state: Tree


class Fakes(TypedDict, total=False):
    """What an evaluation measured."""

    name: str
    images: int
    trunc: float
    inputs: dict[str, object] | None


class Record(TypedDict, total=False):
    """A line of evaluations.jsonl, as `EVALUATION` checks it."""

    name: str
    metric: str
    value: float
    error: float | None
    error_of: str
    better: str
    note: str
    n_fake: int | None
    n_real: int | None
    fake: Fakes
    real: dict[str, object] | None
    held_out: dict[str, object] | None
    features: dict[str, object] | None
    segmenter: str | None
    precision: str
    training: bool


PLAIN = (str, Whole(-(2**63), 2**63), float, bool, None)  # what a setting or an argument may be
ANY = object()  # whatever JSON can hold

SPEC = {
    "shape": [Whole(1, 2**20)],
    "num_classes?": Whole(0, 2**24),
    "condition_dim?": Whole(0, 2**20),
    "other?": [Whole(1, 2**20)],
    "attributes?": [str],
    "groups?": [Whole(0, 2**20)],
    "exclusive?": [bool],
    "caption?": [Whole(0, 2**20)],
}
CONFIG = {
    "format": Whole(),
    "id": str,
    "model": str,
    "own?": str,
    "preset?": str,
    "arguments": {...: (*PLAIN, [PLAIN])},
    "settings": {
        "data": str,
        "batch": Whole(1, 2**31),
        "images": Whole(0),
        "precision": str,
        "seed": Whole(0, 2**63),
        ...: PLAIN,
    },
    "spec": SPEC,
    "data": {
        "name": str,
        "fingerprint": str,
        "count": Whole(),
        "classes?": [str],
        "colours?": [[Whole(0, 255)]],
        ...: ANY,
    },
    "preview?": str,
    "processes?": Whole(1),
    "images": Whole(),
    "history": [{"images": Whole(), "time": str, "changed": {...: ANY}, "versions": {...: str}}],
    "stopped?": {"images": Whole(), "reason": str},
    "source?": {
        "file": str,
        "about": str,
        "license": str,
        "terms": str,
        "sha256": str,
        "notes": [str],
        "not_in_it": [str],
        ...: ANY,
    },
    "tuned?": {...: str},
    ...: ANY,
}
ABOUT = {"format": Whole(), "sha256": str, ...: ANY}  # of every file of tensors
WEIGHTS = {"run": str, "images": Whole(), "left_out?": [str], ...: ANY}
STATE = {"run": str, "images": Whole(), "world": Whole(1), "state": {...: ANY}, ...: ANY}
STATS = {"images": Whole(), ...: (float, None)}
EVALUATION = {
    "name": str,
    "metric": str,
    "value": float,
    "error": (float, None),
    "error_of": str,
    "better": str,
    "note": str,
    "n_fake": (Whole(), None),
    "n_real": (Whole(), None),
    "fake": {"name?": str, "images?": Whole(), "trunc?": float, "inputs?": ({...: ANY}, None), ...: ANY},
    "real?": ({"name?": str, ...: ANY}, None),
    "held_out?": ({...: ANY}, None),
    "features?": ({"name?": str, ...: ANY}, None),
    "segmenter?": (str, None),
    "precision?": str,
    "training?": bool,
    ...: ANY,
}
SPECTRUM = {...: [[float]]}  # name to points of a curve


def read(path: Path, form: object) -> object:
    """The JSON in a file, checked against a form.

    Raises:
        Wrong: it is not JSON, is nested too deeply, or does not have this form; names the file and the place.
        OSError: the file cannot be read.
    """
    try:
        return parse(text_of(path), form)
    except Wrong as error:
        raise Wrong(f"{path} is damaged, or not gankit's: {error}") from None


def text_of(path: Path, errors: str = "strict") -> str:
    """The text of a JSON file; `errors` as for `bytes.decode`.

    Raises:
        Wrong: the file is not a regular file, is too large, or is not UTF-8.
        OSError: the file cannot be read.
    """
    if path.exists() and not path.is_file():
        raise Wrong("it is no regular file")
    if (size := path.stat().st_size) > MOST_BYTES:
        raise Wrong(f"it has {size >> 20} MB; {MOST_BYTES >> 20} MB are the most that is read")
    try:
        return path.read_bytes().decode("utf-8", errors)
    except UnicodeDecodeError:
        raise Wrong("it is not UTF-8 text") from None


def parse(text: str, form: object) -> object:
    """As `read`, from a text."""
    try:
        tree = json.loads(text)
    except RecursionError:
        raise Wrong(f"its brackets are nested more than {DEEPEST} deep") from None
    except ValueError as error:
        raise Wrong(f"it is no JSON: {error}") from None
    check(tree, form)
    return tree


def lines(path: Path, form: object) -> list[object]:
    """The lines of a .jsonl file that have the form; others, such as a last line cut short by a kill, are left out.

    Raises:
        Wrong: the file is not a regular file, or too large.
    """
    if not path.exists():
        return []
    try:
        text = text_of(path, "replace")
    except Wrong as error:
        raise Wrong(f"{path}: {error}") from None
    found: list[object] = []
    for line in text.splitlines():
        try:
            found.append(parse(line, form))
        except Wrong:
            continue
    return found


def check(tree: object, form: object, where: str = "", depth: int = 0) -> None:
    """Refuse JSON that does not have the form.

    A form is a type, a `Whole`, None, a tuple of alternative forms, [form] for a list of them, or a dict of names to
    forms, where "name?" is optional and `...` stands for all other names.

    Raises:
        Wrong: it does not have the form; names the place.
    """
    here = where or "the whole"
    if depth > DEEPEST:
        raise Wrong(f"its brackets are nested more than {DEEPEST} deep")
    if isinstance(form, tuple) and not isinstance(form, Whole):
        fits = [one for one in form if _kind(one) is type(tree) or (_kind(one) is float and type(tree) is int)]
        if not fits:
            raise Wrong(f"{here} is {_called(tree)}; expected {' or '.join(map(_name, form))}")
        form = fits[0]
    if form is ANY:
        for part in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
            check(part, ANY, where, depth + 1)
    elif isinstance(form, Whole):
        if type(tree) is not int or not form.least <= tree <= form.most:
            raise Wrong(f"{here} is {_called(tree)}; expected a whole number from {form.least} to {form.most}")
    elif form is float:
        if type(tree) not in (int, float) or (type(tree) is int and abs(tree) > 2**63):
            raise Wrong(f"{here} is {_called(tree)}; expected a number")
    elif isinstance(form, dict):
        if not isinstance(tree, dict):
            raise Wrong(f"{here} is {_called(tree)}; expected an object")
        _check_object(tree, form, where, depth)
    elif isinstance(form, list):
        if not isinstance(tree, list):
            raise Wrong(f"{here} is {_called(tree)}; expected a list")
        for i, item in enumerate(tree):
            check(item, form[0], f"{where}[{i}]", depth + 1)
    elif type(tree) is not _kind(form):
        raise Wrong(f"{here} is {_called(tree)}; expected {_name(form)}")


def _check_object(tree: dict[str, object], form: dict[object, object], where: str, depth: int) -> None:
    rest = form.get(...)
    known = {name.removesuffix("?"): part for name, part in form.items() if isinstance(name, str)}
    if missing := sorted(name for name in known if name in form and name not in tree):
        raise Wrong(f"{where or 'it'} lacks {', '.join(missing)}")
    for name, part in tree.items():
        if name not in known and rest is None:
            raise Wrong(f"{where or 'it'} has {name[:40]!r}, which is none of {', '.join(known)}")
        check(part, known.get(name, rest), f"{where}.{name[:40]}".lstrip("."), depth + 1)


def _kind(form: object) -> type:
    """The type of JSON that has a form."""
    if isinstance(form, Whole):
        return int
    return form if isinstance(form, type) else type(form)


def _name(form: object) -> str:
    names = {
        str: "text",
        float: "a number",
        bool: "true or false",
        int: "a whole number",
        dict: "an object",
        list: "a list",
    }
    return names.get(_kind(form), "nothing")


def _called(tree: object) -> str:
    """A value as an error names it, in 40 letters at most."""
    if isinstance(tree, float) and not math.isfinite(tree):
        return str(tree)
    text = json.dumps(tree) if isinstance(tree, (str, bool)) or tree is None else _digits(tree)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _digits(tree: object) -> str:
    if isinstance(tree, int):
        return str(tree) if abs(tree) < 10**30 else "a number of more than 30 digits"
    return str(tree) if isinstance(tree, float) else f"a{'n object' if isinstance(tree, dict) else ' list'}"
