"""The parts of a data set: which files are learned from, which are held out, and how that was decided.

Folders decide, by names such as train2017, val or trainA; else lists of file names, such as CelebA's
list_eval_partition.txt; else a column `split` of a table. Everything that needs to know a part asks here.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from gankit.data.reading import layout, splits
from gankit.data.reading.endings import IMAGES, VOLUMES
from gankit.data.reading.files import File, FileSet, listed, open_files
from gankit.text import shown

TRAIN, ALL = "train", "all"
ORDER = ("train", "val", "test", "unlabeled", "extra")
HELD_OUT = ("test", "val")  # in the order of preference


@dataclass
class Parts:
    """The parts of a data set.

    Args:
        of: the part of each file, "" for files of all parts; files that are missing here are in no part.
        bare: the name of each file without its part, where it differs: train/cat/1.png becomes cat/1.png.
        title: how they are stored, such as "folders train and val"; empty where there are none.
        images: the names of all images.
        bad: names in lists without a file, with the reason.
        notes: what a user should know, in plain sentences.
        question: what the user must decide before anything is read; empty where nothing is.
        has_maps: whether folders called like those of label maps hold them: classes with_mask and without_mask do not.
    """

    of: dict[str, str] = field(default_factory=dict)
    bare: dict[str, str] = field(default_factory=dict)
    title: str = ""
    images: list[str] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    question: str = ""
    has_maps: bool = True

    def counts(self) -> dict[str, int]:
        """The number of images of each part."""
        found = Counter(self.of[name] for name in self.images if self.of.get(name) and not self.is_map(name))
        return {part: found[part] for part in [*ORDER, *sorted(found.keys() - {*ORDER})] if found[part]}

    def bare_name(self, name: str) -> str:
        """The name of a file without its part."""
        return self.bare.get(name, name)

    def is_map(self, name: str) -> bool:
        """Whether a file of a part is a label map by its folder, such as ground_truth/ or train_masks/."""
        folders = self.bare_name(name).split("/")[:-1]
        return bool(self.of) and self.has_maps and any(map(layout.is_map_folder, folders[:2]))

    def choose(self, typed: str) -> str:
        """The part to read: the one that the user typed, else train; "" where all is read.

        Raises:
            ValueError: there is no such part, or the user must decide between parts and classes first.
        """
        counts = self.counts()
        if typed == ALL or (not counts and not typed):
            return ""
        if not typed:
            if self.question:
                raise ValueError(self.question)
            if TRAIN not in counts:
                names = " or ".join(f"--split {name}" for name in [*counts, ALL])
                raise ValueError(f"it holds the parts {_list(counts)}, and none to learn from: add {names}")
            return TRAIN
        part = next((part for part in counts if part == (layout.part_of(typed) or typed.lower())), None)
        if part is None:
            existing = f"it has {_list(counts)}" if counts else "it has no parts"
            raise ValueError(
                f"there is no part {shown(typed)!r}: {existing}. Type --split {' or '.join([*counts, ALL])}"
            )
        return part

    def held_out(self) -> str:
        """The part that models are evaluated on; "" where there is none."""
        counts = self.counts()
        return next((part for part in HELD_OUT if TRAIN in counts and part in counts), "") if not self.question else ""

    def sides(self, part: str) -> dict[str, str]:
        """The folders of a part, by their names without the part, with the path of each: masks, train/masks.

        Folders of one name in several places are left out.
        """
        paths: dict[str, set[str]] = {}
        for name in self.images:
            side, _, rest = self.bare_name(name).partition("/")
            if rest and (not part or self.of.get(name) == part):
                paths.setdefault(side, set()).add(name.removesuffix(f"/{rest}"))
        return {side: found.pop() for side, found in paths.items() if len(found) == 1}

    def domains(self, part: str) -> tuple[str, str] | None:
        """The folders A and B of a part; None for other data, such as classes A, B and C."""
        sides = self.sides(part)
        return (sides["A"], sides["B"]) if sides.keys() == {"A", "B"} else None

    def label_maps(self, part: str) -> tuple[str, str] | None:
        """The folders of the images and of the label maps of a part, where there are no others; None for other data."""
        sides = self.sides(part)
        images, maps = ([s for s in sides if s.lower() in words] for words in (layout.IMAGES, layout.MAPS))
        return (sides[images[0]], sides[maps[0]]) if len(sides) == 2 and images and maps else None

    def names(self, part: str) -> list[str]:
        """The names of the images and label maps of a part, without the part; of all for ""."""
        return [self.bare_name(name) for name in self.images if not part or self.of.get(name) in ("", part)]

    def holds(self, folders: Iterable[str], part: str) -> bool:
        """Whether folders hold no images of other parts, as those of lists do."""
        above = tuple(f"{folder}/" for folder in folders)
        return not part or all(self.of.get(name) in ("", part) for name in self.images if name.startswith(above))

    def folder(self, part: str) -> str | None:
        """The one folder that holds exactly a part; None if there is none."""
        folders = set()
        for name in self.images:
            if self.of.get(name) == part:
                bare = self.bare_name(name)
                folders.add(name.removesuffix(f"/{bare}") if name.endswith(f"/{bare}") else "")
        return folders.pop() if len(folders) == 1 and "" not in folders else None


def is_image(name: str) -> bool:
    """Whether a file is an image, or holds images, by its name."""
    return name.lower().endswith((*IMAGES, *VOLUMES)) and not name.startswith("../")


def of_path(path: Path) -> Parts:
    """The parts of the files at a path; none for a single image. Raises ValueError, OSError: as `open_files`."""
    with open_files(path) as source:
        return find(source)


def find(source: FileSet) -> Parts:
    """The parts of these files, by their folders, by lists among them, or by a column of their rows."""
    names = [file.name for file in source.files]
    images = [name for name in names if is_image(name)]
    if len(images) < 2:
        return Parts(images=images)
    packed = source.rows is not None  # then the one folder that holds all is a part
    above = "" if packed else os.path.commonpath([os.path.dirname(name) for name in images])
    found = _by_folders(names, images, f"{above}/" if above else "")
    found = found if found.of or found.question else _by_lists(source, images)
    found.images = images
    found.has_maps = any(found.of.get(name) and not found.is_map(name) for name in images)
    found.title = source.title if found.of and source.title else found.title  # the folders are of the format's making
    return found


def restricted(source: FileSet, parts: Parts, part: str, maps: bool = False) -> FileSet:
    """The files of one part, those of the held-out parts in `unseen`, and the bare names.

    Args:
        source: the files.
        parts: their parts.
        part: to read; "" for all parts.
        maps: keep label maps, which are images beside the images.
    """
    if not parts.of or (parts.question and not part):  # all folders are classes
        return source

    def is_wanted(file: File) -> bool:
        of = parts.of.get(file.name)
        if not is_image(file.name):
            return of in ("", part) or not part or of is None
        if parts.is_map(file.name):
            return maps and (of in ("", part) or (not part and bool(of)))
        return of == part or (not part and bool(of))

    held_out = [f for f in source.files if part == TRAIN and is_image(f.name) and parts.of.get(f.name) in HELD_OUT]
    files = [file for file in source.files if is_wanted(file)]
    chosen = {file.name for file in files}
    return source._replace(
        files=files,
        notes=(*source.notes, *parts.notes),
        unseen=tuple((file, source.read) for file in held_out),
        elsewhere=tuple(name for name in parts.images if name not in chosen),
        missing=tuple(parts.bad) if part == TRAIN else (),
        bare=parts.bare_name,
    )


def of_part(source: FileSet, part: str) -> FileSet:
    """The images of a part, or of all."""
    return restricted(source, find(source), part) if part else source


# Folders -------------------------------------------------------------------------------------------------------------


def _by_folders(names: list[str], images: list[str], root: str) -> Parts:
    """Parts by the folders directly below `root`, or by those one level further down."""
    inside = [_pieces(name[len(root) :]) for name in images]
    for level in (0, 1):
        if any(len(parts) <= level + 1 for parts in inside) and level:
            break  # images lie beside the folders of this level
        groups: dict[tuple[str, ...], set[str]] = {}
        for parts in inside:
            if len(parts) > level + 1:
                groups.setdefault(parts[:level], set()).add(parts[level])
        if not groups:
            break
        meanings = {folder: layout.split_name(folder) for folders in groups.values() for folder in folders}
        if {"A", "B"} <= meanings.keys() and not any(m and m.part == TRAIN for m in meanings.values()):
            meanings |= {side: layout.Meaning(TRAIN, side) for side in "AB"}  # A and B beside testA and testB
        strong = {m.part for m in meanings.values() if m and m.part in ("train", "val", "test")}
        if {*strong} == {TRAIN} and all(folder in ("A", "B") for folder, m in meanings.items() if m):
            continue
        if not strong:
            continue
        if level and not all(any((m := meanings[f]) and m.part == TRAIN for f in group) for group in groups.values()):
            continue
        others = sorted(f for f, meaning in meanings.items() if not meaning and not layout.is_map_folder(f))
        if question := _question(sorted(f for f, m in meanings.items() if m), others, strong):
            if level:
                continue
            return Parts(*_assigned(names, root, level, meanings), question=question)
        found = Parts(*_assigned(names, root, level, meanings))
        known = sorted({folder for folder, m in meanings.items() if m}, key=lambda f: _place(meanings[f]))
        found.title = f"folders {_list(known)}" + f" in each of {len(groups)} folders" * (level > 0 and len(groups) > 1)
        if beside := [name for name in images if name not in found.of]:
            count = f"{len(beside):,} images lie" if len(beside) > 1 else "One image lies"
            found.notes.append(f"{count} beside the folders {_list(known)} and are not read: {shown(beside[0])}.")
        return found
    return Parts()


def _pieces(name: str) -> tuple[str, ...]:
    """The folders and the file in a name; pathlib's would take most of the time of opening prepared data."""
    return tuple(piece for piece in name.split("/") if piece not in ("", "."))


def _place(meaning: layout.Meaning | None) -> tuple[int, str]:
    assert meaning is not None  # only folders that stand for parts are sorted
    return ORDER.index(meaning.part), meaning.side


def _question(known: list[str], others: list[str], strong: set[str]) -> str:
    """What the user must decide: whether folders are parts or classes."""
    if not others:
        return ""
    what = f"the folder{'s' * (len(known) > 1)} {_list(known)} look{'s' * (len(known) == 1)} like parts of a set, "
    beside = f"and {_list(others)} beside {'them' if len(known) > 1 else 'it'} like classes"
    typed = " or ".join(f"--split {part}" for part in ORDER if part in strong)
    return f"{what}{beside}: add {typed} to read that part alone, or --split all to read each folder as a class"


def _assigned(
    names: list[str], root: str, level: int, meanings: dict[str, layout.Meaning | None]
) -> tuple[dict[str, str], dict[str, str]]:
    """The part and the bare name of each file, by the folder at a level below `root`."""
    of: dict[str, str] = {}
    bare: dict[str, str] = {}
    for name in names:
        parts = _pieces(name[len(root) :]) if name.startswith(root) else ()
        if len(parts) <= level + 1:
            if not is_image(name):
                of[name] = ""  # tables and lists beside the folders speak for all
            continue
        meaning = meanings.get(parts[level])
        if meaning:
            of[name] = meaning.part
            side = (meaning.side,) if meaning.side else ()
            bare[name] = "/".join((*parts[:level], *side, *parts[level + 1 :]))
        elif layout.is_map_folder(parts[level]) or not is_image(name):
            of[name], bare[name] = "", "/".join(parts)
    return of, bare


# Lists ---------------------------------------------------------------------------------------------------------------


def _by_lists(source: FileSet, images: list[str]) -> Parts:
    """Parts by lists of names among the files, or by the column `split` of rows."""
    split = splits.find(source, images)
    if split is None:
        return Parts()
    of = dict.fromkeys((file.name for file in source.files if not is_image(file.name)), "")
    found = Parts(
        title=f"the list{'s' * (len(split.files) > 1)} {_list(split.files)}", of=of | split.parts, bad=split.missing
    )
    if rest := [name for name in images if name not in split.parts and not found.is_map(name)]:
        found.notes.append(
            f"{len(rest):,} of {len(images):,} images are in none of {found.title}, and are not read: "
            f"{', '.join(listed(map(shown, rest), len(rest), 3))}."
        )
    return found


def _list(names: Iterable[str]) -> str:
    """Names for a sentence, the first few and the number of the others."""
    names = [shown(name) for name in names]
    if len(names) > 6:
        return f"{', '.join(names[:5])} and {len(names) - 5} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
