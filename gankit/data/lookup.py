"""Open data sets by the names and paths that users type."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

from gankit.data import captions, domains, published
from gankit.data.builtin import BUILTIN
from gankit.data.captioned import captioned
from gankit.data.domains import HOW as TWO
from gankit.data.domains import Domains, join
from gankit.data.locating import Located, locate
from gankit.data.naming import JOIN, find, named, part_in, plus, without_part
from gankit.data.reading import huggingface, layout, partners, patterns
from gankit.data.reading.beside import refuse_typed
from gankit.data.reading.choices import Alpha, Fit, Frames, Jpeg, Reading
from gankit.data.reading.folder import open_folder
from gankit.data.reading.parts import TRAIN, Parts, of_path
from gankit.data.reading.patterns import TwoSided
from gankit.data.reading.two_sides import HOW as PAIRED
from gankit.data.reading.vectors import is_vectors, open_vectors
from gankit.data.shards.sharded import open_shards
from gankit.data.shards.spelling import in_folder, is_sharded, parts_of
from gankit.data.stream import Dataset
from gankit.data.union import Union
from gankit.text import shown

KINDS = {  # of data with a height and a width, and their names in messages
    "images": "images",
    "domains": "images in two domains",
    "pairs": "pairs of images",
    "masks": "images with label maps",
    "captions": "images with captions",
}
HOW = {  # the layout of files of each kind
    "domains": TWO,
    "pairs": PAIRED,
    "masks": "Images with label maps are a folder with images/ and masks/ in it, "
    "whose files have equal names but for the ending",
    "captions": captions.HOW,
}
WANTS = ("", *KINDS, "points", "vectors")


def open(
    name: str | Path,
    resolution: int | str | None = None,
    fit: str = "crop",
    mirror: bool = False,
    alpha: str = "white",
    skip_bad: bool = False,
    want: str = "",
    text_encoder: str = "",
    *,
    split: str = "",
    held_out: str = "",
    pair: str = "",
    range: str = "",
    frames: str = "first",
    void: str = "",
    labels: str = "",
    captions: str = "",
    no_table: bool = False,
    jpeg: str = "scaled",
    cache_limit: str = "50G",
) -> Dataset | Domains | Union:
    """Open a built-in data set by its name, files by their path, two domains, or several sets as one.

    Args:
        name: a name in `gankit.data.BUILTIN`, that of a published set on this machine (`gankit.data.published`), or the
            path of a folder, zip, tar, image or .npz (./digits for a folder with the name of a built-in set). Two
            domains are a folder with A/ and B/ (or trainA/ and trainB/) in it, or two names with a comma between. Sets
            with different attributes are joined with a plus between.
        resolution: side, or "64x96" for height and width; default: the data's own.
        fit: how images of another shape are fitted: "crop" the centre, "pad" or "squash".
        mirror: flip images of the stream, each with probability one half.
        alpha: background of transparent pixels, "white" or "black"; "keep" makes alpha a fourth channel.
        skip_bad: leave unusable files out, recorded in `skipped`, instead of raising an error.
        want: the kind of data, where files can be read in several ways. "pairs": images A|B side by side, or two
            folders with equal file names, which are otherwise two domains. "masks": two folders with equal file names,
            the second with label maps. A folder with images/ and masks/ in it always holds label maps; "pairs" turns
            them into coloured images. "captions": images with texts, which are otherwise not used.
        text_encoder: path of an encoder of captions (`gankit.data.reading.embedding`); default: codes of characters.
        split, held_out, pair, range, frames, void, labels, captions, no_table, jpeg, cache_limit: as of
            `gankit.data.reading.choices.Reading`.

    Raises:
        BadFiles: a ValueError with the list of files that cannot be used.
        ValueError: there is no such data, or it cannot be used; says what to do.
        OSError: it cannot be read, or the cache cannot be written.
    """
    how = Reading(
        str(resolution or ""), cast("Fit", fit), cast("Alpha", alpha), skip_bad, split, held_out, pair, range,
        cast("Frames", frames), void, labels, captions, no_table, cast("Jpeg", jpeg), cache_limit,
    )  # fmt: skip
    with huggingface.allow_downloads():
        return open_as(name, how, mirror, want, text_encoder)


def open_as(
    name: str | Path, how: Reading, mirror: bool = False, want: str = "", text_encoder: str = ""
) -> Dataset | Domains | Union:
    """`open` with the options of reading in one object; raises as it."""
    if want not in WANTS:
        raise ValueError(f"--as takes {', '.join(WANTS)}, not {want!r}")
    how.check()
    typed, name = name, published.located(name)
    path = find(name)
    if how.pair and path is None:
        two_sided(name, want, how)  # says where --pair applies
    places = {part: i for i, part in enumerate(plus(name) or domains.split(name) or ())}

    def open_part(part: str, hint: str) -> Dataset:
        return _single(open_as(part, how.side(places.get(part, 0))), part, hint)

    dataset: Dataset | Domains | Union
    if path is None and (names := plus(name)):
        sets = [open_part(part, JOIN) for part in names]
        dataset = Union("-".join(dataset.name for dataset in sets), sets)
    elif path is None and (both := domains.split(name)):
        if sides := two_sided(name, want, how):
            sides = sides._replace(held_out=held_out_paths(how.held_out))
            dataset = _open_two_sided(name, sides, want, how)
        else:
            dataset = join(name, both, lambda part: open_part(part, TWO))
    elif is_sharded(name, path):
        with named(name):
            dataset = open_shards(name, path, replace(how, split=part_in(name) or how.split), want)
    elif path is None:
        with named(name):
            refuse_typed(how, str(name))
            if how.held_out:
                raise ValueError("--held-out compares the content of files; for evaluation alone give it to evaluate")
            dataset = BUILTIN[_with_split(str(name), how.split)](how.size)
    elif is_vectors(path):
        with named(name):
            refuse_typed(how, str(name))
            dataset = open_vectors(path)
    else:
        dataset = _open_files(name, path, how, want)
    if want == "captions" and isinstance(dataset, Dataset) and dataset.kind == "images":
        with named(name):
            dataset = captioned(dataset, how.skip_bad, text_encoder)
    if dataset.kind not in KINDS and (mirror or how.size):
        raise ValueError(
            f"{name} holds {dataset.kind}, which have no resolution and no mirror image: leave those flags out"
        )
    if typed != name:  # a published set, whose folder may be called anything, such as raw
        dataset.name = str(typed).replace(":", "-")
    if huggingface.is_name(name) and path is not None:
        dataset.name = huggingface.title(str(name))
    dataset.mirror = mirror
    dataset.fingerprint += "-mirror" * mirror
    return dataset


def _open_files(name: str | Path, path: Path, how: Reading, want: str) -> Dataset | Domains:
    """The part of the files at a path that the options say, as images, pairs, label maps or two domains."""
    with named(name):
        located = locate(name, path, how.split)
        how = replace(how, split=located.part)
    dataset: Dataset | Domains
    if sides := located.two_sided(want, how.pair):
        sides = sides._replace(held_out=held_out_paths(unseen_of(name, located, how)))
        dataset = _open_two_sided(name, sides, want, how)
    elif both := located.domains():
        parted = replace(how, split="", held_out=unseen_of(name, located, how))  # the part was chosen with the folders
        dataset = join(name, both, lambda part: _single(open_as(part, parted.side(both.index(part))), part, TWO))
    else:
        with named(name):
            dataset = open_folder(path, how, located.parts, held_out_paths(how.held_out), want)
    dataset.division = located.division(how.held_out)
    return dataset


def unseen_of(name: str | Path, located: Located, how: Reading) -> str:
    """The name of the data that is held out of pairs, label maps or domains: what the user named, else their own."""
    own = located.part == TRAIN and _held_out_part(name, located.path, located.parts)
    return how.held_out or own or ""


def held_out_paths(name: str) -> tuple[tuple[Path, str], ...]:
    """The folders and archives of held-out data, with the part of each. Raises ValueError: there are no such files."""
    names = [part for text in plus(name) or [name] for part in domains.split(text) or [text]] if name else []
    names = [str(published.located(part)) for part in names]
    paths = [find(part) for part in names]
    if built_in := [part for part, path in zip(names, paths) if path is None]:
        raise ValueError(f"--held-out takes files, whose content can be compared; {shown(built_in[0])} is built in")
    parts = [layout.part_of(part_in(part)) or part_in(part) for part in names]
    return tuple((path, part) for path, part in zip(paths, parts) if path is not None)


def _with_split(name: str, split: str) -> str:
    """The name of a built-in set, or of its part. Raises ValueError: it has no such part."""
    if not split or ":" in name or (split == "train" and f"{name}:{split}" not in BUILTIN):
        return name
    if f"{name}:{split}" not in BUILTIN:
        parts = [other.partition(":")[2] for other in BUILTIN if other.startswith(f"{name}:")]
        raise ValueError(f"it has no part {shown(split)!r}; it has {', '.join(parts) or 'none'}")
    return f"{name}:{split}"


def _folders(names: Sequence[str]) -> list[Path]:
    """The paths of both sides. Raises ValueError: one is built in."""
    if missing := [part for part in names if find(part) is None]:
        raise ValueError(
            f"{shown(missing[0])} is built in, and sides are matched by the names of their files: give two folders"
        )
    return [Path(published.located(part)).expanduser() for part in names]


def _open_two_sided(name: str | Path, sides: TwoSided, want: str, how: Reading) -> Dataset | Domains:
    """Pairs, or images with label maps, which `want` "pairs" turns into coloured images."""
    with named(name):
        refuse_typed(how, str(name))
        if sides.kind == "pairs":
            return partners.open_pairs(sides, how)
        dataset = partners.open_masks(sides, how.side(want == "pairs"))
        return partners.painted(dataset) if want == "pairs" else dataset


def _single(dataset: Dataset | Domains | Union, name: str, how: str) -> Dataset:
    """The data set, if it can be part of domains or of joined sets. Raises ValueError."""
    if isinstance(dataset, Union):
        raise ValueError(f"{shown(name)} consists of joined sets itself. {how}")
    if isinstance(dataset, Domains):
        raise ValueError(f"{shown(name)} holds two {'sides' if dataset.kind == 'pairs' else 'domains'} itself. {how}")
    return dataset


def two_sided(name: str | Path, want: str, how: Reading | None = None) -> TwoSided | None:
    """Where the samples of two-sided data are: pairs, or images with label maps; None for other data.

    Raises:
        ValueError: a name is missing, one of two names is not a path, or `how.pair` is no pattern or for other data.
    """
    name = published.located(name)
    path, how = find(name), how or Reading()
    if path is None:
        kind = want if want in ("pairs", "masks") else "pairs" if how.pair else ""
        both = domains.split(name) if kind and not plus(name) else None
        if how.pair and not both:
            raise ValueError(
                f"--pair names the files of a folder, an archive or two with a comma; {shown(str(name))} is none"
            )
        return TwoSided(kind, _folders(both), patterns.parse(how.pair) if how.pair else None) if both else None
    return None if is_vectors(path) else locate(name, path, how.split).two_sided(want, how.pair)


def split(name: str | Path) -> tuple[str, str] | None:
    """The names of both domains in the user's text, or of the folders A and B at its path; None for other data.

    Raises:
        ValueError: there is a comma, but not two names.
    """
    name = published.located(name)
    text = str(name)
    if both := domains.split(text):
        return both
    if "\0" in text or not (path := Path(without_part(text)).expanduser()).is_dir():
        return None
    return locate(name, path).domains()


def held_out_of(name: str | Path) -> str | None:
    """The name of the held-out part of training data, to be opened with the same `want`; None if there is none.

    That is NAME:test for a built-in set; PATH:test or PATH:val for files with parts, or the folder that holds exactly
    this part; for two names, and for joined sets, the held-out parts of all of them.
    """
    if (place := published.located(name)) != name:
        return published.original(name, held_out_of(place))
    text = str(name)
    if text in BUILTIN and isinstance(name, str):
        return f"{text}:test" if f"{text}:test" in BUILTIN else None
    if "\0" in text or part_in(name) not in ("", TRAIN):
        return None
    if others := _held_out_of_all(plus(name)):
        return "+".join(others)
    if both := domains.split(text):
        return _held_out_of_both(both)
    try:
        path = find(name)
    except ValueError:
        return None
    if path is None or is_vectors(path):
        return None
    if is_sharded(name, path):
        parts_of_shards = parts_of(in_folder(path))
        return next((f"{path}:{part}" for part in ("test", "val") if part in parts_of_shards), None)
    if held_out := _held_out_part(name, path, of_path(path)):
        return held_out
    above = path.resolve().parent
    if path.is_dir() and layout.part_of(path.resolve().name) == TRAIN:  # the user named the training part itself
        beside = of_path(above)
        if (part := beside.held_out()) and (folder := beside.folder(part)):
            return str(path.parent / folder if path.parent.resolve() == above else above / folder)
    return None


def _held_out_part(name: str | Path, path: Path, parts: Parts) -> str | None:
    """The name of the held-out part among the files at a path; None if there is none."""
    if not (part := parts.held_out()):
        return None
    folder = parts.folder(part) if path.is_dir() else None
    if folder and not (path / folder).is_dir():  # the files hold many images, and are no folders
        return f"{without_part(str(name))}:{part}"
    sides = parts.domains(part) if path.is_dir() and not folder else None
    names = [str(path / side) for side in sides or ([folder] if folder else [])]
    return ",".join(names) or f"{path}:{part}"


def _held_out_of_both(both: Sequence[str]) -> str | None:
    """The held-out part of two names: of the folder that holds both as its training part, else of each."""
    a, b = (Path(part).expanduser() for part in both)
    if a.parent == b.parent and a.is_dir() and b.is_dir():
        with suppress(ValueError):  # the folder of both may be no data set
            parts = of_path(a.parent)
            if parts.domains(TRAIN) == (a.name, b.name) and (held := parts.domains(parts.held_out())):
                return ",".join(str(a.parent / side) for side in held)
    return ",".join(_held_out_of_all(both)) or None


def _held_out_of_all(parts: Sequence[str]) -> list[str]:
    """The names of the held-out parts of all these data sets; none if one of them has none."""
    others = [other for part in parts if (other := held_out_of(part))]
    return others if len(others) == len(parts) else []
