"""What the files beside images say of them: labels, attributes and captions, from tables, lists and text files."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from gankit.data.reading import captionfiles, files, metadata, rowfiles, tables
from gankit.data.reading.captionfiles import Texts
from gankit.data.reading.choices import Reading
from gankit.data.reading.endings import TEXTS
from gankit.data.reading.files import File, FileSet
from gankit.data.reading.matching import Scopes, Table
from gankit.data.reading.metadata import Row, binary, canonical
from gankit.text import shown

TYPED = re.compile(r"(.+?\.(?:csv|tsv|jsonl|json|txt|token))(?::(.+))?", re.I | re.S)  # FILE or FILE:COLUMN
FORMS = "a csv, tsv, jsonl or json file, as FILE or FILE:COLUMN"


@dataclass
class Beside:
    """What is known of images besides their pixels.

    Args:
        rows: by the canonical name of the image relative to the folder of all images; None without tables.
        table: name of the table in messages.
        class_names: of the labels, where these are numbers of classes.
        unlabelled: whether folders are no classes, as a table that is made for the images has labels, or has none.
        typed: which of "labels" and "attributes" are from a table that the user named, which must then be whole.
        required: by the canonical names of images that must have a row, the name of the table.
        missing: rows without an image, as (name, reason).
        unusable: images that a table makes unusable, as (name, reason).
        texts: by the name of the image's file, its captions, where the table has none.
        bad_texts: by the same, the file of captions that cannot be read, and the reason.
        warnings: what a user should know, in plain sentences.
        faults: why "labels", "attributes" or "captions" that files have are not used.
        origin: names of the tree or lists of captions, if these are not beside the images.
        files: that were read.
    """

    rows: dict[str, Row] | None = None
    table: str = ""
    class_names: tuple[str, ...] = ()
    unlabelled: bool = False
    typed: tuple[str, ...] = ()
    required: dict[str, str] = field(default_factory=dict)
    missing: list[tuple[str, str]] = field(default_factory=list)
    unusable: list[tuple[str, str]] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    bad_texts: dict[str, tuple[str, str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    origin: tuple[str, ...] = ()
    files: set[File] = field(default_factory=set)

    def has(self, column: str) -> bool:
        """Whether a row has a value in this column."""
        return any(row.get(column) not in (None, "") for row in (self.rows or {}).values())


def beside(source: FileSet, wanted: list[File], root: str, how: Reading, want: str, place: Path | None) -> Beside:
    """Read the tables, lists and texts beside images.

    Args:
        source: all files.
        wanted: the images.
        root: the folder of all images and tables, with a "/" at its end, or "".
        how: `labels`, `captions` and `no_table` say what to read.
        want: "captions" also reads captions that lie apart from the images.
        place: the folder or archive itself, to find files by names relative to it.

    Raises:
        ValueError: a file that the user named cannot be used.
    """
    result = Beside()
    names = [file.name for file in wanted]
    replaced = how.labels and not _parsed(how.labels, "labels")[1]
    if source.rows is not None:
        result.rows = {canonical(name[len(root) :]): source.rows[name] for name in names if name in source.rows}
        result.table, result.class_names = source.title, source.class_names
    elif not how.no_table and not replaced:
        if own := [f for f in own_tables(source, wanted) if f.name.startswith(root)]:
            _read_own(result, source, own, root, names)
        elif wanted:
            _read_found(result, source, root, names, how.skip_bad)
    search = Search(source, root, place, names)
    if how.labels:
        _take_labels(result, search, how.labels)
    if how.captions:
        _take_texts(result, search, how.captions)
    else:
        _find_texts(result, source, wanted, want)
    return result


def own_tables(source: FileSet, wanted: list[File]) -> list[File]:
    """The files metadata.csv, metadata.jsonl and dataset.json with images below their folders."""
    above = {folder for file in wanted for folder in _folders(file.name)}
    return [
        file
        for file in source.files
        if os.path.basename(file.name) in metadata.FILES and os.path.dirname(file.name) in above
    ]


def outside(place: Path, how: Reading) -> list[object]:
    """The typed files of labels and captions outside of the data, with their stamps, for keys of the cache."""
    named = [
        _parsed(text, kind)[0].replace("\0", "")
        for kind, text in (("labels", how.labels), ("captions", how.captions))
        if text
    ]
    paths = [path for name in named for path in (place / name, Path(name).expanduser()) if path.exists()]
    return [(str(path), files.listing(path)) for path in paths if path != place]


def refuse_typed(how: Reading, name: str) -> None:
    """Refuse labels and captions by file for data other than images in files. Raises ValueError."""
    for flag, text in (("labels", how.labels), ("captions", how.captions)):
        if text:
            raise ValueError(f"--{flag} names a file about images in a folder or archive, which {shown(name)} is not")


def _folders(name: str) -> list[str]:
    """All folders above a file, from "" on."""
    parts = name.split("/")[:-1]
    return ["/".join(parts[:i]) for i in range(len(parts) + 1)]


def _read_own(result: Beside, source: FileSet, own: list[File], root: str, names: list[str]) -> None:
    """Read metadata.csv and its alternatives: the first kind in each folder, for the images below that folder."""
    images = [canonical(name[len(root) :]) for name in names]
    others = {canonical(name.removeprefix(root)) for name in source.elsewhere}
    present, rows = {*images, *others}, dict[str, Row]()
    by_folder: dict[str, File] = {}
    speaking: dict[str, str] = {}  # the names of tables by their folders; "" for those without rows
    result.files |= set(own)
    for file in sorted(own, key=lambda f: metadata.FILES.index(os.path.basename(f.name))):
        first = by_folder.setdefault(os.path.dirname(file.name[len(root) :]), file)
        if first is not file:
            result.warnings.append(f"{shown(file.name)} is not read, as {shown(first.name[len(root) :])} is there.")
    for folder, file in sorted(by_folder.items(), key=lambda item: (not item[0], -item[0].count("/"), item[0])):
        name, inside = shown(file.name[len(root) :]), folder and f"{folder}/"
        speaking[folder] = ""
        try:
            entries = metadata.read(os.path.basename(file.name), source.read(file))
        except ValueError as error:
            _refuse(result, f"{name} {error}")
            continue
        result.unlabelled |= os.path.basename(file.name) == metadata.FILES[2]
        if entries is None:
            continue
        speaking[folder] = name
        groups: dict[str, list[Row]] = {}
        for entry in entries:
            target = canonical(str(entry.pop("file_name")))
            from_root = inside + target not in present and target in present
            groups.setdefault(target if from_root else inside + target, []).append(entry)
        merged, notes, faults = metadata.merged(groups, name)
        result.unlabelled |= any("label" in entry for entry in entries)
        result.missing += [(shown(image), f"in {name}, but not there") for image in merged if image not in present]
        result.warnings += notes
        result.faults |= faults
        for image, row in merged.items():
            if image not in others:
                rows.setdefault(image, row)
    for image in images:
        nearest = next(folder for folder in reversed(_folders(image)) if folder in speaking or not folder)
        if speaking.get(nearest):
            result.required[image] = speaking[nearest]
    names = sorted(filter(None, speaking.values()))
    result.table = " and ".join(names) if len(names) < 3 else f"{names[0]} and {len(names) - 1} others"
    if names:
        result.rows = rows
        binary(list(rows.values()))


def _read_found(result: Beside, source: FileSet, root: str, names: list[str], skip_bad: bool) -> None:
    """Read tables of other programs."""
    table = tables.find(source, names, skip_bad)
    if table is None:
        return
    result.warnings, result.faults, result.files = table.warnings, table.faults, set(table.files)
    if table.rows or table.bad:
        result.table, result.unusable = table.name, table.bad
        result.rows = {canonical(name[len(root) :]): row for name, row in table.rows.items()}
        result.required = dict.fromkeys((canonical(name[len(root) :]) for name in names), table.name)


def _refuse(result: Beside, reason: str) -> None:
    """Note why a table is not used."""
    result.warnings.append(f"{reason}.")
    result.faults = {kind: result.faults.get(kind, reason) for kind in ("labels", "attributes", "captions")}


def _find_texts(result: Beside, source: FileSet, wanted: list[File], want: str) -> None:
    """Read captions from the .txt beside images; and from elsewhere, if captions are wanted and there are none."""
    texts = captionfiles.beside(source, wanted)
    result.files |= set(texts.files)
    if result.has("text"):
        if texts.texts:
            note = f"The {len(texts.texts)} .txt beside images are not read, as {result.table} has texts."
            result.warnings.append(note)
        return
    if not (texts.texts or texts.bad):
        if want == "captions":
            texts = captionfiles.elsewhere(source, [file.name for file in wanted])
        elif apart := captionfiles.apart(source):
            result.warnings.append(f"{', '.join(apart)}: captions, which are read with --as captions.")
    _add_texts(result, texts)


def _add_texts(result: Beside, texts: Texts) -> None:
    result.texts, result.bad_texts, result.origin = texts.texts, texts.bad, texts.origin
    result.warnings += texts.warnings
    result.faults |= texts.faults
    result.files |= set(texts.files)


@dataclass
class Search:
    """Finds the files that a user names: in the data, relative to its folder, or to the working directory.

    Args:
        source: the files of the data.
        root: the folder of all images in it.
        place: the path of the data.
        images: names of all images.
    """

    source: FileSet
    root: str
    place: Path | None
    images: list[str]

    def inside(self, name: str) -> str:
        """The name of a file or folder of the data; "" if it is not in there."""
        name = canonical(name).rstrip("/")
        for choice in (name, self.root + name):
            if any(file.name == choice or file.name.startswith(choice + "/") for file in self.source.files):
                return choice
        return ""

    def outside(self, name: str, flag: str) -> Path:
        """The path of a file or folder. Raises ValueError if there is none."""
        paths = [self.place / name] if self.place and self.place.is_dir() else []
        path = next((path for path in (*paths, Path(name).expanduser()) if "\0" not in name and path.exists()), None)
        if path is None:
            raise ValueError(
                f"--{flag}: there is no file {shown(name)!r}, neither in the data nor in the working directory"
            )
        return path

    def sheet(self, name: str, flag: str) -> tuple[File, rowfiles.Sheet]:
        """A file of rows. Raises ValueError if it cannot be read."""
        inside = self.inside(name)
        path = None if inside else self.outside(name, flag)
        try:
            if path is None:
                file = next((f for f in self.source.files if f.name == inside), None)
                if file is None:
                    raise ValueError("it is a folder")
                data = self.source.read(file)
            else:
                file, data = File(f"../{path.name}", 0, ""), files.read(path)
            if os.path.basename(name) == files.CELEBA[0]:
                return file, rowfiles.celeba(rowfiles.decoded(data))
            return file, rowfiles.sheet(file.name, data)
        except (OSError, ValueError) as error:
            raise ValueError(f"--{flag} {shown(name)}: {error}; {FORMS} is expected") from error


def _parsed(text: str, flag: str) -> tuple[str, str]:
    """FILE:COLUMN as both; a colon after a drive letter starts no column. Raises ValueError."""
    if match := TYPED.fullmatch(text):
        return match[1], match[2] or ""
    if flag == "labels" or ":" in text[2:]:
        raise ValueError(f"--{flag} takes {FORMS}, not {shown(text)!r}")
    return text, ""


def _table(search: Search, text: str, flag: str, role: str) -> Table:
    """The table that a user named, with its chosen column as `role`.

    Raises:
        ValueError: it names no images, or has no such column; lists the columns.
    """
    name, column = _parsed(text, flag)
    file, sheet = search.sheet(name, flag)
    titles = metadata.quoted(sheet.title) or "none"
    scopes = Scopes(search.images, search.source.elsewhere)
    place = next((p for named in scopes.of(file.name) if (p := tables.naming(sheet, named)) is not None), None)
    if place is None:
        raise ValueError(
            f"--{flag} {shown(name)} names no image of the data: a column file_name with the names of images is "
            f"expected; its columns are {titles}"
        )
    chosen = next((i for i, title in enumerate(sheet.title) if column and title == column), None)
    if column and chosen is None:
        same = [i for i, title in enumerate(sheet.title) if metadata.simple(title) == metadata.simple(column)]
        chosen = same[0] if len(same) == 1 else None
    if column and (chosen is None or chosen == place):
        raise ValueError(f"--{flag} {shown(name)} has no column {shown(column)!r} of {flag}; its columns are {titles}")
    if chosen is None and len(sheet.title) == 2:
        chosen = 1 - place
    if chosen is not None:
        lines = [[line[place], line[chosen]] if len(line) == len(sheet.title) else line[:1] for line in sheet.lines]
        sheet = rowfiles.Sheet(["file_name", role], lines)
    table = tables.attach(file, sheet, scopes)
    if table is None:
        raise ValueError(f"--{flag} {shown(name)} has no row with {len(sheet.title)} values for an image of the data")
    table.name = shown(os.path.basename(name))
    if fault := table.faults.get(flag):
        raise ValueError(f"--{flag} {fault}; one label for each image is expected")
    if role not in {title for row in table.rows.values() for title in row} and not (
        flag == "labels" and (table.complete or tables.known_columns(table))
    ):
        raise ValueError(f"--{flag} {shown(name)}: type {shown(name)}:COLUMN with one of its columns {titles}")
    return table


def _take_labels(result: Beside, search: Search, text: str) -> None:
    """Take labels and attributes from the table that the user named; a chosen column adds to other tables."""
    table = _table(search, text, "labels", "label")
    root, column = search.root, _parsed(text, "labels")[1]
    rows = {canonical(name[len(root) :]): row for name, row in table.rows.items()}
    binary(list(rows.values()))
    others = (column and result.rows) or {}
    unused = {name: {k: v for k, v in row.items() if k != column} for name, row in others.items()}
    result.rows = {name: unused.get(name, {}) | row for name, row in rows.items()}
    result.typed = ("labels",) if column else ("labels", "attributes")
    result.table, result.unlabelled, result.class_names = table.name, True, ()
    result.required = dict.fromkeys((canonical(name[len(root) :]) for name in search.images), table.name)
    result.unusable += table.bad
    result.warnings += [note for note in table.warnings if note not in result.warnings]
    result.files |= {file for file in table.files if not file.name.startswith("../")}


def _take_texts(result: Beside, search: Search, text: str) -> None:
    """Take captions from the table, list or folder of texts that the user named."""
    name, _ = _parsed(text, "captions")
    inside = search.inside(name)
    members = [
        (f.name[len(inside) + 1 :], f) for f in search.source.files if inside and f.name.startswith(inside + "/")
    ]
    if members:
        texts = captionfiles.tree(search.source, {inside: _texts_of(members)}, search.images, search.source.elsewhere)
    elif not inside and (path := search.outside(name, "captions")).is_dir():
        with files.open_files(path) as source:
            members = _texts_of([(file.name, file) for file in source.files])
            texts = captionfiles.tree(source, {name: members}, search.images, search.source.elsewhere)
            texts.files = []
    else:
        texts, table = Texts(), _table(search, text, "captions", "text")
        captionfiles.add(texts, table)
        texts.files = [file for file in table.files if not file.name.startswith("../")]
    if not (texts.texts or texts.bad):
        raise ValueError(f"--captions {shown(name)} has no text for an image of the data")
    _add_texts(result, texts)


def _texts_of(members: list[tuple[str, File]]) -> list[tuple[str, File]]:
    return [(name, file) for name, file in members if name.lower().endswith(TEXTS)]
