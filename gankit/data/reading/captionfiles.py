"""Captions from text files beside images or in a tree of their own, and from COCO's and Flickr's lists."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from gankit.data import captions
from gankit.data.reading import rowfiles, tables
from gankit.data.reading.endings import TEXTS
from gankit.data.reading.files import File, FileSet
from gankit.data.reading.matching import Named, Scopes, Table
from gankit.data.reading.metadata import lines
from gankit.text import shown

TREE = re.compile(r"(text|txt|caption|sentence|description|prompt)s?(_.*|\d*)|.*_(text|caption|description)s?", re.I)
LIST = re.compile(r".*(caption|token|sentence).*|dataset_(coco|flickr).*|results_\d+.*", re.I)
LISTS = (".json", ".jsonl", ".txt", ".token")
OBJECTS = re.compile(r"(instances|person_keypoints|panoptic|stuff)_.*\.json|.*_annotations\.coco\.json", re.I)


@dataclass
class Texts:
    """Captions of images.

    Args:
        texts: by the image's name, its captions, one per line.
        bad: by the image's name, a file of captions that cannot be read and the reason.
        files: that were read.
        warnings: what a user should know, in plain sentences.
        faults: by "captions", why files of captions are not used.
        origin: names of the tree or lists, if the texts are not beside the images.
    """

    texts: dict[str, str] = field(default_factory=dict)
    bad: dict[str, tuple[str, str]] = field(default_factory=dict)
    files: list[File] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    origin: tuple[str, ...] = ()


def beside(source: FileSet, wanted: list[File]) -> Texts:
    """The .txt files beside images, which have the names of the images."""
    text_files = {file.name: file for file in source.files if file.name.lower().endswith(TEXTS)}
    result = Texts()
    for image in wanted:
        stem = os.path.splitext(image.name)[0]
        names = f"{stem}.txt", f"{stem}.TXT", f"{image.name}.txt"
        file = next((text_files[name] for name in names if name in text_files), None)
        if file is not None:
            _read(source, image.name, file, result)
    return result


def elsewhere(source: FileSet, images: list[str]) -> Texts:
    """Captions in a tree of text files, such as text/CLASS/x.txt for images/CLASS/x.jpg, or else in lists."""
    result = tree(source, _trees(source), images, source.elsewhere)
    return result if result.texts or result.bad else lists(source, images)


def apart(source: FileSet) -> list[str]:
    """The names of trees and lists of captions, by their names; the first five."""
    listed = [f.name for f in source.files if f.name.lower().endswith(LISTS) and _is_list(os.path.basename(f.name))]
    return [shown(name) for name in [*(f"{root}/" for root in _trees(source)), *listed]][:5]


def _is_list(name: str) -> bool:
    return bool(LIST.fullmatch(name)) and not OBJECTS.fullmatch(name)


def _trees(source: FileSet) -> dict[str, list[tuple[str, File]]]:
    """The folders of text files by their names; of each file also its name in there."""
    trees: dict[str, list[tuple[str, File]]] = {}
    for file in source.files:
        folders = file.name.split("/")[:-1]
        place = next((i for i, folder in enumerate(folders, 1) if TREE.fullmatch(folder)), 0)
        if place and file.name.lower().endswith(TEXTS):
            root = "/".join(folders[:place])
            trees.setdefault(root, []).append((file.name[len(root) + 1 :], file))
    return trees


def tree(
    source: FileSet, trees: dict[str, list[tuple[str, File]]], images: list[str], others: Sequence[str] = ()
) -> Texts:
    """The captions of the tree that has files for the most images.

    Args:
        source: reads the files.
        trees: by the name of the tree, its files, with their names in it.
        images: names of all images.
        others: names of images of other parts, whose texts may be there, too.
    """
    named, wanted = Named([*images, *others]), set(images)
    folders = {os.path.basename(os.path.dirname(image)) for image in (*images, *others)}
    by_tree = {
        root: {image: file for name, file in members if (image := _image(named, name, folders))}
        for root, members in trees.items()
    }
    result = Texts()
    best = max(sorted(by_tree), key=lambda root: len(by_tree[root].keys() & wanted), default="")
    if not by_tree.get(best, {}).keys() & wanted:
        return result
    result.origin = (best,)
    for image in images:
        if image in by_tree[best]:
            _read(source, image, by_tree[best][image], result)
    if strangers := len(trees[best]) - len(by_tree[best]):
        result.warnings.append(f"{shown(best)}/: {strangers:,} of its {len(trees[best]):,} texts are of no image here.")
    if more := [shown(root) for root in sorted(by_tree) if by_tree[root] and root != best]:
        result.warnings.append(
            f"The captions are those in {shown(best)}/; for those in {' or '.join(more[:5])} add --captions {more[0]}."
        )
    return result


def lists(source: FileSet, images: list[str]) -> Texts:
    """The captions in COCO's json, Flickr's token file and others: of each image those of the first list."""
    result, scopes = Texts(), Scopes(images, source.elsewhere)
    files = [file for file in source.files if file.name.lower().endswith(LISTS)]
    for file in sorted(files, key=lambda file: (len(file.name), file.name)):
        name = os.path.basename(file.name)
        if OBJECTS.fullmatch(name):
            result.files.append(file)
            result.warnings.append(f"{shown(file.name)} is not read, as it holds boxes or outlines, and no captions.")
        elif LIST.fullmatch(name):
            result.files.append(file)
            try:
                table = tables.attach(file, _with_text(rowfiles.sheet(file.name, source.read(file))), scopes)
            except ValueError as error:
                result.faults.setdefault("captions", f"{shown(file.name)} is not used: {error}")
                result.warnings.append(f"{shown(file.name)} is not used: {error}.")
                continue
            add(result, table)
    return result


def _with_text(sheet: rowfiles.Sheet) -> rowfiles.Sheet:
    """The rows of a list of captions, where values by file names are texts."""
    return sheet._replace(title=["text" if title == "value" else title for title in sheet.title])


def add(result: Texts, table: Table | None) -> None:
    """Take the captions of a table for images that have none yet."""
    if table is None:
        return
    texts = {image: lines(row["text"]) for image, row in table.rows.items() if row.get("text")}
    if new := {image: text for image, text in texts.items() if image not in result.texts}:
        result.texts |= new
        result.origin += (table.name,)
        result.warnings += table.warnings


def _image(named: Named, name: str, folders: set[str]) -> str | None:
    """The image for a text of this name in its tree: the folders agree, or those of texts are not those of images."""
    stem = os.path.splitext(name)[0]
    folder, base = os.path.basename(os.path.dirname(stem)), os.path.basename(stem)
    images = named.places.get(stem) or (named.places.get(base) if folder not in folders else None) or []
    return images[0] if len(images) == 1 else None


def _read(source: FileSet, image: str, file: File, result: Texts) -> None:
    """Read the captions of one image."""
    result.files.append(file)
    try:
        content = source.read(file) if file.size <= captions.MOST_BYTES else None
        result.texts[image] = captions.text_of(content)
    except ValueError as error:
        result.bad[image] = shown(file.name), str(error)
