"""Partners by the names of their files: patterns such as '{name}.jpg={name}_mask.gif', and those of known data sets."""

from __future__ import annotations

import string
from collections.abc import Iterable, Sequence
from itertools import product
from os.path import commonpath, dirname
from pathlib import Path
from typing import NamedTuple

from gankit.data.reading.endings import IMAGES, VOLUMES
from gankit.data.reading.files import FileSet
from gankit.data.reading.frames import PAGE, whole
from gankit.data.reading.layout import IMAGES as IMAGE_FOLDERS
from gankit.data.reading.layout import MAPS
from gankit.data.reading.metadata import canonical
from gankit.data.reading.parts import Parts
from gankit.text import shown

NAME = "{name}"
EXAMPLE = "'{name}.jpg={name}_mask.gif'"
SMALL = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)  # which keeps the lengths of texts
SUFFIXES = ("_mask", "_seg", "_segmentation", "_label", "_gt")  # of the names of label maps


class Key(NamedTuple):
    """What partners have in common: the folders above the pattern, and the text that {name} stands for."""

    above: str
    name: str


class Layout(NamedTuple):
    """How partners are named. Each pattern holds {name} once, and after it at most one * for the rest of the file name.

    Args:
        title: of the data set that names its files so; "" for a pattern of the user's.
        kind: "pairs", "masks", or "defects": images in folders of defects, where normal images have no map.
        a, b: the patterns of both sides, relative to any folder.
        partial: whether images without a partner belong to the data set, and are not an error.
    """

    title: str
    kind: str
    a: str
    b: str
    partial: bool = False

    @property
    def folders(self) -> tuple[str, str]:
        """The first folder of each pattern, "" for none."""
        a, b = (pattern.partition(NAME)[0].partition("/") for pattern in (self.a, self.b))
        return a[0] if a[1] else "", b[0] if b[1] else ""

    def within(self, kind: str) -> Layout:
        """The same names relative to the innermost folder before {name}, for two folders that the user names."""
        a, b = (pattern.partition(NAME) for pattern in (self.a, self.b))
        title = self.title if self.kind == "masks" else ""
        return Layout(title, kind, a[0].rpartition("/")[2] + NAME + a[2], b[0].rpartition("/")[2] + NAME + b[2])

    def __str__(self) -> str:
        return f"{self.a}={self.b}"


class TwoSided(NamedTuple):
    """Where two-sided samples are.

    Args:
        kind: "pairs" or "masks".
        paths: of both sides, or of the one folder or archive that holds both.
        layout: how partners are named; None for images A|B in one path, and for two paths whose names decide it.
        parts, part: of one path with a layout: the parts of its files, and the one to read; "" for all.
    """

    kind: str
    paths: list[Path]
    layout: Layout | None = None
    parts: Parts | None = None
    part: str = ""

    @property
    def images(self) -> Path:
        """The folder of the images alone."""
        if self.layout is None or len(self.paths) == 2:
            return self.paths[0]
        bare = {self.parts.bare_name(name): name for name in self.parts.images} if self.parts else {}
        first = next(iter(match(self.layout.a, list(bare))), "")
        above = bare[first].removesuffix(f"/{first}") if first and bare[first].endswith(f"/{first}") else ""
        return self.paths[0] / above / self.layout.folders[0]


class Half(NamedTuple):
    """One side of two-sided samples: its name in messages, its files, and the key of each image by its file's name."""

    title: str
    source: FileSet
    keys: dict[str, Key]


EQUAL = Layout("", "", "{name}.*", "{name}.*")  # names that differ only in the ending, in two folders
GENERIC = "images and label maps"
GENERIC = "images and label maps"
CITYSCAPES = "leftImg8bit/{name}_leftImg8bit.png"
KNOWN = (
    *(
        Layout("Cityscapes", "masks", CITYSCAPES, f"{fine}/{{name}}_{fine}_{ids}.png")
        for fine, ids in product(("gtFine", "gtCoarse"), ("labelIds", "labelTrainIds"))
    ),
    *(
        Layout("Pascal VOC", "masks", "JPEGImages/{name}.jpg", f"{maps}/{{name}}.png", partial=True)
        for maps in ("SegmentationClass", "SegmentationClassAug")
    ),
    *(
        Layout("Carvana", "masks", images + "{name}.jpg", f"{masks}/{{name}}_mask.gif")
        for images, masks in (("train/", "train_masks"), ("imgs/", "masks"), ("", "masks"))
    ),
    Layout("Oxford-IIIT Pet", "masks", "images/{name}.jpg", "annotations/trimaps/{name}.png"),
    Layout("ADE20K", "masks", "images/ADE_{name}.jpg", "annotations/ADE_{name}.png"),
    *(
        Layout("MVTec AD", "defects", f"{images}{{name}}.*", f"ground_truth/{{name}}{ending}", partial=True)
        for images, ending in product(("test/", ""), ("_mask.*", ".*", "/*"))  # as in BTAD and MVTec LOCO AD, too
    ),
    Layout("VisA", "defects", "Images/{name}.*", "Masks/{name}.*", partial=True),
    *(
        Layout(GENERIC, "masks", f"{images}/{{name}}.*", f"{maps}/{{name}}{suffix}.*")
        for suffix, images, maps in product(("", *SUFFIXES), IMAGE_FOLDERS, MAPS)
    ),
    *(Layout(GENERIC, "masks", "{name}.*", f"{{name}}{suffix}.*") for suffix in SUFFIXES),
    Layout("pairs", "pairs", "A/{name}_A.*", "B/{name}_B.*"),
    Layout("pairs", "pairs", "A/{name}.*", "B/{name}.*"),
    Layout("pairs", "pairs", "{name}_A.*", "{name}_B.*"),
)


def parse(text: str) -> Layout:
    """The layout of the user's two patterns, as '{name}.jpg={name}_mask.gif'. Raises ValueError."""
    sides = [side.strip().replace("\\", "/").removeprefix("./") for side in text.split("=")]
    what = f"--pair takes two patterns with one = between them, such as {EXAMPLE}"
    if len(sides) != 2:
        raise ValueError(f"{shown(text)!r} holds {len(sides) - 1} of the sign =. {what}")
    for side in sides:
        before, _, after = side.partition(NAME)
        if side.count(NAME) != 1:
            raise ValueError(
                f"{shown(side)!r} holds {{name}} {side.count(NAME)} times; it stands once in each pattern, "
                f"for what the names of partners have in common. {what}"
            )
        if "*" in before or after.count("*") > 1 or after.startswith("*"):
            raise ValueError(
                f"{shown(side)!r} holds a * that is no ending: it may stand once, after {{name}} and a fixed text, "
                f"as in '{{name}}_mask.*'. {what}"
            )
        if side.startswith("/") or ".." in side.split("/"):
            raise ValueError(f"{shown(side)!r} leads out of the data: patterns are relative to its folder. {what}")
    return Layout("", "pairs", sides[0], sides[1])


def match(pattern: str, names: Sequence[str]) -> dict[str, Key]:
    """What {name} stands for in each of the file names that fit the pattern. ASCII capitals make no difference there.

    The time is proportional to the length of the names, whatever they are.
    """
    before, _, after = pattern.translate(SMALL).partition(NAME)
    fixed, star, last = after.partition("*")
    if not star:
        fixed, last = "", after
    keys = {}
    for name in names:
        page = PAGE.search(name) if "#" in name else None  # pages keep their number
        small = whole(name) if page else name
        end = len(small)
        small = small.lower() if small.isascii() else small.translate(SMALL)
        if not small.endswith(last) or (fixed and fixed not in small):
            continue
        start = 0 if small.startswith(before) else f"/{small}".find(f"/{before}")
        begin, end = start + len(before), end - len(last)
        if star:
            place = small.rfind(fixed, begin, end)
            end = place if "/" not in small[place + len(fixed) : end] else -1
        if start >= 0 and begin < end:
            keys[name] = Key(canonical(name[:start]), canonical(name[begin:end]) + (page[0] if page else ""))
    return keys


def expected(pattern: str, key: Key) -> str:
    """The name that a pattern gives a file with this key."""
    return key.above + pattern.replace(NAME, key.name)


def sides(layout: Layout, names: Sequence[str]) -> tuple[dict[str, Key], dict[str, Key]]:
    """The keys of the files of each side, by their names. A file that fits both patterns has the side that says more.

    Where x.png and x_mask.png lie in one folder, x_mask.png fits {name}.png, too.
    """
    first, second = match(layout.a, names), match(layout.b, names)
    for name in first.keys() & second.keys():
        a, b = first[name], second[name]
        if (len(a.above), -len(layout.a)) < (len(b.above), -len(layout.b)):
            del second[name]
        else:
            del first[name]
    return first, second


def images(names: Iterable[str]) -> list[str]:
    """The names of image files, and of pages."""
    return [
        name
        for name in names
        if name.lower().endswith((*IMAGES, *VOLUMES)) or ("#" in name and PAGE.search(name) is not None)
    ]


def recognised(names: Iterable[str], want: str) -> Layout | None:
    """The first known layout by which two of these images are partners; None for other data.

    Args:
        names: of files, relative to the data's folder.
        want: the kind of data that is wanted. Where it is neither "pairs" nor "masks", only names that belong to a
            known data set count.
    """
    kinds = {"pairs": ("masks", "pairs"), "masks": ("masks", "defects"), "": ("masks",), "images": ("masks",)}
    wanted = images(names)
    text = "\n".join(wanted).translate(SMALL)
    for layout in KNOWN:
        pieces = f"{layout.a}*{layout.b}".translate(SMALL).replace(NAME, "*").split("*")
        if layout.kind not in kinds.get(want, ()) or (layout.title == GENERIC and want in ("", "images")):
            continue
        if all(piece in text for piece in pieces):
            a, b = sides(layout, wanted)
            if not set(a.values()).isdisjoint(b.values()):
                return layout
    return None


def between(first: Sequence[str], second: Sequence[str], kind: str, folders: tuple[str, str]) -> Layout | None:
    """How the names of images in two folders fit together: but for the ending, or as in a known layout; else None.

    Args:
        first, second: names relative to each folder.
        kind: "pairs" or "masks".
        folders: names of both folders, which may be those of a known layout.
    """
    named = tuple(folder.lower() for folder in folders)
    partial = [
        layout.within(kind)._replace(partial=True)
        for layout in KNOWN
        if layout.partial and layout.kind == kind and tuple(map(str.lower, layout.folders)) == named
    ]
    others = [layout.within(kind) for layout in KNOWN if kind == "pairs" or layout.kind != "pairs"]
    for layout in dict.fromkeys([*partial, EQUAL, *others]):
        b = match(layout.b, second)
        if b and not set(match(layout.a, first).values()).isdisjoint(b.values()):
            return layout
    return None


def halves(
    sources: Sequence[FileSet], titles: Sequence[str], kind: str, layout: Layout | None
) -> tuple[Layout, list[Half], list[str]]:
    """The files of both sides, in one set of files or in one each.

    Args:
        sources: the set that holds both sides, or the sets of both.
        titles: names of the sides in messages, for two sets.
        kind: "pairs" or "masks".
        layout: how partners are named; None: as the names of two sets say.

    Returns:
        How partners are named, both sides, and notes for the user.

    Raises:
        ValueError: no two files are partners.
    """
    names = [images(file.name for file in source.files) for source in sources]
    if len(sources) == 2 and not all(names):  # the survey of the empty side says what it holds instead
        return EQUAL, [Half(title, source, {}) for title, source in zip(titles, sources)], []
    if len(sources) == 1:
        assert layout is not None  # images A|B have no partners
        bared = list(map(sources[0].bare, names[0]))
        parts = [
            Half(title, sources[0], {name: side[short] for name, short in zip(names[0], bared) if short in side})
            for title, side in zip(layout.folders, sides(layout, bared))
        ]
    else:
        layout, parts = _between(sources, titles, names, kind, layout)
    first, second = parts
    if set(first.keys.values()).isdisjoint(second.keys.values()):
        raise ValueError(_nothing(layout, parts, [name for side in names for name in side]))
    if layout == EQUAL:
        return layout, parts, []
    others = sum(map(len, names)) - len(first.keys) - len(second.keys)
    note = f"Partners are {layout}" + f", as in {layout.title}" * (layout.title not in ("", GENERIC))
    note += f"; {others:,} other images are not read." if others else "."
    notes = [note, *(sources[0].notes if len(sources) == 1 else ())]
    return layout, [half._replace(source=_only(half, len(sources) == 2)) for half in parts], notes


def _between(
    sources: Sequence[FileSet], titles: Sequence[str], names: list[list[str]], kind: str, layout: Layout | None
) -> tuple[Layout, list[Half]]:
    """Both sides in two sets of files. Names are relative to the folder that holds all images of a set."""
    starts = [len(f"{root}/") if (root := commonpath(map(dirname, side))) else 0 for side in names]
    inner = [[name[start:] for name in side] for side, start in zip(names, starts)]
    if layout is None:
        tails = titles[0].rpartition("/")[2], titles[1].rpartition("/")[2]
        layout = between(inner[0], inner[1], kind, tails)
        if layout is None:
            a, b = (f"{title}/{shown(side[0])}" for title, side in zip(titles, inner))
            raise ValueError(
                f"no file of {titles[0]} is called like one of {titles[1]} but for the ending: {a}, {b}. "
                f"Rename them so that partners have equal names, or say how names differ, as in --pair {EXAMPLE}"
            )
    elif not match(layout.a, inner[0]):
        layout = layout.within(kind)
    parts = []
    for source, title, pattern, side, start in zip(sources, titles, (layout.a, layout.b), names, starts):
        keys = match(pattern, [name[start:] for name in side])
        parts.append(Half(title, source, {name: keys[name[start:]] for name in side if name[start:] in keys}))
    return layout, parts


def _only(half: Half, is_alone: bool) -> FileSet:
    """The set of files with the images of one side; where the side has a set of its own, with the files beside them."""
    source = half.source
    if is_alone:
        return source._replace(files=[f for f in source.files if f.name in half.keys or not images([f.name])])
    files = [f for f in source.files if f.name in half.keys]
    return source._replace(files=files, notes=(), unseen=(), missing=())


def _nothing(layout: Layout, parts: Sequence[Half], names: Sequence[str]) -> str:
    """Why no two files are partners."""
    first, second = parts
    counts = f"{layout.a} fits {len(first.keys):,} images and {layout.b} {len(second.keys):,}"
    if layout.a == layout.b:
        counts = "both patterns are equal, so each image would be its own partner"
    elif first.keys and second.keys:
        key, other = next(iter(first.keys.values())), next(iter(second.keys))
        missing = shown(expected(layout.b, key))
        counts += f", but no {{name}} is that of another: {missing} is not there, and {shown(other)} is"
    files = ", ".join(shown(name) for name in names[:4]) or "none"
    return (
        f"no two files are partners by {shown(str(layout))}: {counts}. The first images are {files}. "
        f"--pair takes patterns that fit them, such as {EXAMPLE}"
    )
