"""Open data sets by the names and paths that users type."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from gankit.data import captions
from gankit.data.builtin import BUILTIN
from gankit.data.domains import HOW as TWO
from gankit.data.domains import Domains, join, split
from gankit.data.reading import cache, embedding, layout, partners, patterns
from gankit.data.reading.choices import Alpha, Fit, Frames, Reading
from gankit.data.reading.endings import ARCHIVES, ARRAYS, IMAGES
from gankit.data.reading.files import BadFiles, plain
from gankit.data.reading.folder import open_folder
from gankit.data.reading.patterns import TwoSided
from gankit.data.reading.vectors import open_vectors
from gankit.data.stream import Dataset
from gankit.data.union import Union
from gankit.text import did_you_mean, shown

KINDS = {  # of data with a height and a width, and their names in messages
    "images": "images",
    "domains": "images in two domains",
    "pairs": "pairs of images",
    "masks": "images with label maps",
    "captions": "images with captions",
}
HOW = {  # the layout of files of each kind
    "domains": TWO,
    "pairs": partners.HOW,
    "masks": "Images with label maps are a folder with images/ and masks/ in it, "
    "whose files have equal names but for the ending",
    "captions": captions.HOW,
}
JOIN = "Sets of images with attributes or classes are joined with a plus between: photos+faces"
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
) -> Dataset | Domains | Union:
    """Open a built-in data set by its name, files by their path, two domains, or several sets as one.

    Args:
        name: a name in `gankit.data.BUILTIN`, or the path of a folder, zip, tar, image or .npz (./digits for a folder
            with the name of a built-in set). Two domains are a folder with A/ and B/ (or trainA/ and trainB/) in it,
            or two names with a comma between. Sets with different attributes are joined with a plus between.
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
        split, held_out, pair, range, frames, void, labels, captions, no_table: as of
            `gankit.data.reading.choices.Reading`.

    Raises:
        BadFiles: a ValueError with the list of files that cannot be used.
        ValueError: there is no such data, or it cannot be used; says what to do.
        OSError: it cannot be read, or the cache cannot be written.
    """
    how = Reading(
        str(resolution or ""), cast("Fit", fit), cast("Alpha", alpha), skip_bad, split, held_out, pair, range,
        cast("Frames", frames), void, labels, captions, no_table,
    )  # fmt: skip
    return open_as(name, how, mirror, want, text_encoder)


def open_as(
    name: str | Path, how: Reading, mirror: bool = False, want: str = "", text_encoder: str = ""
) -> Dataset | Domains | Union:
    """`open` with the options of reading in one object; raises as it."""
    if want not in WANTS:
        raise ValueError(f"--as takes {', '.join(WANTS)}, not {want!r}")
    size, path = how.check().size, find(name)

    def open_part(part: str, hint: str) -> Dataset:
        return _single(open_as(part, how), part, hint)

    dataset: Dataset | Domains | Union
    if sides := two_sided(name, want, how):
        dataset = _open_two_sided(name, sides, want, how)
    elif parts := split(name):
        dataset = join(name, parts, lambda part: open_part(part, TWO))
    elif names := plus(name):
        sets = [open_part(part, JOIN) for part in names]
        dataset = Union("-".join(dataset.name for dataset in sets), sets)
    else:
        with named(name):
            dataset = _open_one_sided(str(name), path, how)
            if want == "captions" and isinstance(dataset, Dataset) and dataset.kind == "images":
                dataset = captioned(dataset, how.skip_bad, text_encoder)
        if dataset.kind not in KINDS and (mirror or size):
            raise ValueError(
                f"{name} holds {dataset.kind}, which have no resolution and no mirror image: leave those flags out"
            )
    dataset.mirror = mirror
    dataset.fingerprint += "-mirror" * mirror
    return dataset


def _open_one_sided(name: str, path: Path | None, how: Reading) -> Dataset | Domains:
    """A built-in set, or the vectors or images of a path."""
    if path is None:
        return BUILTIN[name](how.size)
    if path.suffix.lower() == ARRAYS and path.is_file():
        return open_vectors(path)
    return open_folder(path, how)


def _open_two_sided(name: str | Path, sides: TwoSided, want: str, how: Reading) -> Dataset | Domains:
    """Pairs, or images with label maps, which `want` "pairs" turns into coloured images."""
    with named(name):
        if sides.kind == "pairs":
            return partners.open_pairs(sides, how)
        dataset = partners.open_masks(sides, how)
        return partners.painted(dataset) if want == "pairs" else dataset


def _single(dataset: Dataset | Domains | Union, name: str, how: str) -> Dataset:
    """The data set, if it can be part of domains or of joined sets. Raises ValueError."""
    if isinstance(dataset, Union):
        raise ValueError(f"{shown(name)} consists of joined sets itself. {how}")
    if isinstance(dataset, Domains):
        raise ValueError(f"{shown(name)} holds two {'sides' if dataset.kind == 'pairs' else 'domains'} itself. {how}")
    return dataset


def captioned(dataset: Dataset, skip_bad: bool, text_encoder: str = "") -> Dataset:
    """Images with captions as data of kind "captions", encoded as codes of characters or by the encoder at a path.

    Raises:
        ValueError: no image has a caption, all have the same one, or some have none and `skip_bad` is not given.
    """
    encoder = embedding.open_encoder(text_encoder, captions.plain) if text_encoder else None
    texts = dataset.captions or []
    lines = {text: captions.lines(text) for text in set(texts)}
    has_caption = np.array([bool(lines[text]) for text in texts], bool)
    if not has_caption.any():
        raise ValueError(f"there are no captions. {captions.HOW}")
    names = dataset.names or [f"image {i}" for i in range(len(dataset))]
    empty = [(shown(names[i]), "has no caption") for i in np.flatnonzero(~has_caption).tolist()]
    if empty and not skip_bad:
        raise BadFiles(empty, len(dataset))
    encoded = captions.Captions([lines[text] for text in texts if lines[text]], encoder)
    if len(encoded.distinct) < 2:
        raise ValueError(
            f"all images have the caption {encoded.distinct[0]!r}: nothing tells them apart. {captions.HOW}"
        )
    notes = captions.flaws(encoded.distinct) if encoder is None else []
    content = *encoded.distinct, encoded.flat.tobytes(), encoded.ends.tobytes()
    key = cache.key("captions", dataset.fingerprint, encoder and encoder.fingerprint, *content)
    captioned = replace(dataset, kind="captions", texts=encoded, fingerprint=key, warnings=dataset.warnings + notes)
    return _subset(captioned, np.flatnonzero(has_caption), dataset.skipped + empty) if empty else captioned


def _subset(dataset: Dataset, kept: np.ndarray, skipped: list[tuple[str, str]]) -> Dataset:
    """Only the images of these numbers."""
    return replace(
        dataset,
        size=len(kept),
        read=lambda numbers: dataset.read(kept[numbers]),
        labels=None if dataset.labels is None else dataset.labels[kept],
        attributes=None if dataset.attributes is None else dataset.attributes[kept],
        captions=[dataset.captions[i] for i in kept] if dataset.captions else None,
        names=[dataset.names[i] for i in kept] if dataset.names else [],
        skipped=skipped,
    )


def two_sided(name: str | Path, want: str, how: Reading | None = None) -> TwoSided | None:
    """Where the samples of two-sided data are: pairs, or images with label maps; None for other data.

    Raises:
        ValueError: a name is missing, one of two names is not a path, or `how.pair` is no pattern or for other data.
    """
    text, path = str(name), Path(name).expanduser()
    by_name = patterns.parse(how.pair) if how and how.pair else None
    kind = want if want in ("pairs", "masks") else "pairs" if by_name else ""
    if (text in BUILTIN and isinstance(name, str)) or "\0" in text or not path.exists():
        parts = split(name) if kind and text not in BUILTIN else None
        if not parts and by_name:
            raise ValueError(
                f"--pair names the files of a folder, an archive or two with a comma; {shown(text)} is none"
            )
        if not parts:
            return None
        if missing := [part for part in parts if find(part) is None]:
            raise ValueError(
                f"{shown(missing[0])} is built in, and sides are matched by the names of their files: give two folders"
            )
        return TwoSided(kind, [Path(part).expanduser() for part in parts], by_name)
    if by_name:
        return TwoSided(kind, [path], by_name)
    if both := layout.label_maps(path):
        return TwoSided("masks", list(both))
    domains = layout.domains(path) if want == "pairs" else None
    if domains:
        return TwoSided("pairs", list(domains))
    if want in ("", "images", "masks", "pairs"):
        for part in dict.fromkeys((layout.train(path), path)):
            if known := patterns.recognised(part, want):
                return TwoSided("pairs" if known.kind == "pairs" else "masks", [part], known)
    return TwoSided("pairs", [layout.train(path)]) if want == "pairs" else None


def held_out_of(name: str | Path) -> str | None:
    """The name of the held-out part of training data, to be opened with the same `want`; None if there is none.

    That is NAME:test for a built-in set, test/ or val/ beside train/, and testA/ and testB/ beside trainA/ and trainB/;
    for joined sets, the held-out parts of all of them.
    """
    text, path = str(name), Path(name).expanduser()
    if text in BUILTIN and isinstance(name, str):
        return f"{text}:test" if f"{text}:test" in BUILTIN else None
    if others := _held_out_of_all(plus(name)):
        return "+".join(others)
    if "\0" in text or path.exists():
        return layout.held_out(path) if path.is_dir() else None
    if "," not in text or not (parts := split(name)):
        return None
    a, b = (Path(part).expanduser() for part in parts)
    if a.parent == b.parent and layout.domains(a.parent) == (a, b):
        return layout.held_out(a.parent)
    return ",".join(_held_out_of_all(parts)) or None


def _held_out_of_all(parts: Sequence[str]) -> list[str]:
    """The names of the held-out parts of all these data sets; none if one of them has none."""
    others = [other for part in parts if (other := held_out_of(part))]
    return others if len(others) == len(parts) else []


def plus(name: str | Path) -> list[str]:
    """The names of joined sets, which a plus separates; none for other data.

    Raises:
        ValueError: a name is missing.
    """
    text = str(name)
    if "+" not in text or "\0" in text or Path(text).expanduser().exists():
        return []
    parts = [part.strip() for part in text.split("+")]
    if not all(parts):
        raise ValueError(f"{shown(text)!r} lacks a name. {JOIN}")
    return parts


def find(name: str | Path) -> Path | None:
    """The path that a name refers to; None for built-in sets, and for several names with a comma or plus between.

    Raises:
        ValueError: there is no such data; the message suggests similar names.
    """
    text = str(name)
    if (parts := split(name)) and not Path(text).expanduser().is_dir():
        for part in parts:
            find(part)
        return None
    if names := plus(name):
        for part in names:
            find(part)
        return None
    if text in BUILTIN and isinstance(name, str):
        return None
    if re.match(r"\w+://", text):
        raise ValueError(f"{text} is an address, and nothing is downloaded: fetch it yourself and give the path")
    path = Path(text).expanduser()
    if text and "\0" not in text and path.is_dir():
        return path
    if text and "\0" not in text and path.exists():
        if plain(path).name.lower().endswith((ARRAYS, *ARCHIVES, *IMAGES)):
            return path
        raise ValueError(f"{shown(text)} is not a folder, zip, tar, image or .npz")
    beside = [str(path.with_name(p.name)) for p in path.parent.iterdir()] if path.name and path.parent.is_dir() else []
    hint = did_you_mean(text, [*BUILTIN, *beside]) or f"built in are {', '.join(n for n in BUILTIN if ':' not in n)}"
    raise ValueError(f"there is no data {shown(text)!r}, neither built in nor a path; {hint}")


@contextmanager
def named(name: str | Path) -> Iterator[None]:
    """Put the name of the data in front of the message of any ValueError inside."""
    try:
        yield
    except ValueError as error:
        error.args = (f"{shown(str(name))}: {error}",)
        raise
