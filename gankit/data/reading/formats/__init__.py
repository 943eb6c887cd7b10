"""Formats that hold many images in one file: each presents its files as a set of small images with labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from gankit.data.reading.endings import IMAGES
from gankit.data.reading.files import File, FileSet
from gankit.data.reading.formats import cifar, idx, image_arrays, lsun, matlab, stl10
from gankit.text import shown


class Format(NamedTuple):
    """A format.

    Args:
        title: for messages.
        holds: those of the files, known by their names, that hold images.
        beside: names of the files that belong to one with images, and lie beside it.
        present: the images of these files, as a set of small files; raises ValueError if they are damaged.
        is_certain: the names alone say that the files hold images.
    """

    title: str
    holds: Callable[[list[File]], list[File]]
    beside: Callable[[str], list[str]]
    present: Callable[[Path, FileSet, list[File]], FileSet]
    is_certain: bool = True


FORMATS = (
    Format("IDX files", idx.holds, idx.beside, idx.present),
    Format("CIFAR's files", cifar.holds, cifar.beside, cifar.present),
    Format("STL-10's files", stl10.holds, stl10.beside, stl10.present),
    Format("LMDB", lsun.holds, lsun.beside, lsun.present),
    Format(".mat files", matlab.holds, matlab.beside, matlab.present, is_certain=False),
    Format("arrays", image_arrays.holds, image_arrays.beside, image_arrays.present, is_certain=False),
)


def beside(path: Path) -> list[str]:
    """The names of the files in the same folder that belong to a file with images: its labels, names of classes."""
    return [name for form in FORMATS for name in form.beside(path.name) if (path.parent / name).is_file()]


def is_packed(path: Path) -> bool:
    """Whether a file, by its name, has a format that holds many images."""
    names = [path.name, *beside(path)]
    return any(form.holds([File(name, 0, "") for name in names]) for form in FORMATS)


def presented(path: Path, source: FileSet) -> FileSet:
    """The images in a folder, archive or file: its own, or those that files in one of these formats hold.

    Raises:
        ValueError: files of several formats are there, or one is damaged.
    """
    found = [(form, wanted) for form in FORMATS if (wanted := form.holds(source.files))]
    if any(file.name.lower().endswith(IMAGES) for file in source.files):
        more = (
            f"{shown(wanted[0].name)}, one of {form.title}, is not read, as there are plain images too: "
            "give the file or its folder alone."
            for form, wanted in found
            if form.is_certain
        )
        return matlab.flowers(source._replace(notes=(*source.notes, *more)))
    if not found:
        return source
    if len(found) > 1:
        names = ", ".join(f"{form.title} ({shown(wanted[0].name)})" for form, wanted in found)
        raise ValueError(f"files of several formats hold images: {names}; give one of them")
    form, wanted = found[0]
    chosen = wanted if path.is_dir() or len(source.files) == 1 else [f for f in wanted if f.name == path.name] or wanted
    packed = form.present(path, source, chosen)
    return packed._replace(notes=(*source.notes, *packed.notes))
