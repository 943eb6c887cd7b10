"""Tables of images: CelebA's list of attributes, any csv, and the action units of OpenFace."""

from __future__ import annotations

import os

from gankit.data.reading import openface, rowfiles
from gankit.data.reading.endings import IMAGES, TABLES
from gankit.data.reading.files import CELEBA, File, FileSet
from gankit.data.reading.matching import Named, Scopes, Table, entries, odd, variants
from gankit.data.reading.metadata import Row, binary, columns, known, merged
from gankit.data.reading.rowfiles import Sheet
from gankit.text import shown


def find(source: FileSet, images: list[str], skip_bad: bool) -> Table | None:
    """The labels, captions and attributes of these images in CelebA's list, in csvs, or in csvs of OpenFace.

    A csv speaks for the images below its own folder, or for all where it names none of those. Of tables that name all
    images, those with one row for each come first; the first is taken, with labels and captions from the first that has
    some. Tables that cannot be used give a warning. CelebA's list and OpenFace's csvs may lack images if `skip_bad` is
    given.

    Returns:
        The table; None if no table names images. It has no rows if none can be used.
    """
    lists = [file for file in source.files if os.path.basename(file.name) == CELEBA[0]]
    csvs = [file for file in source.files if file.name.lower().endswith(TABLES)]
    if not lists and not csvs:
        return None
    scopes = Scopes(images, source.elsewhere)
    csvs.sort(key=lambda file: (file.name.startswith("../"), file.name.count("/"), file.name))
    faces: list[tuple[File, Sheet]] = []
    refused = Table("", [])
    candidates: list[Table] = []
    for file in lists + csvs:
        try:
            sheet = _sheet(source, file)
            table = attach(file, sheet, scopes) if sheet.title else None
        except ValueError as error:
            refused.files.append(file)
            refused.refuse(f"{shown(file.name)} is not used: {error}")
            continue
        if table:
            candidates.append(table)
        elif openface.has_units(sheet):
            faces.append((file, sheet))
    try:
        candidates += [table for table in [openface.of_images(faces, images)] if table.files]
    except ValueError as error:
        refused.files += [file for file, _ in faces]
        refused.refuse(str(error))
    usable = [table for table in _combined(candidates) if _usable(table, images, skip_bad, refused)]
    if not usable:
        return refused if refused.warnings else None
    table = _together(sorted(usable, key=lambda table: table.several))
    table.warnings = refused.warnings + table.warnings
    table.faults = refused.faults | table.faults
    table.files += refused.files
    return table


def _usable(table: Table, images: list[str], skip_bad: bool, refused: Table) -> bool:
    """Whether a table knows something of all images; if not, `refused` gets the reason."""
    binary(list(table.rows.values()))
    empty = table.rows and not any(table.rows.values())
    if empty and not (table.complete or table.several):  # only says which part an image is in
        return False
    unusable = {name for name, _ in table.bad}
    missing = [image for image in images if image not in table.rows and image not in unusable]
    if table.complete and table.rows and (skip_bad or not (missing or table.bad)):
        return True
    if not table.bad and not missing and (table.faults or known_columns(table)):
        return True
    refused.files += table.files
    refused.warnings += table.warnings
    if not (table.bad or missing):
        refused.warnings += columns(list(table.rows.values()), table.name).warnings
    else:
        reasons = [*table.bad, *((image, f"has no row in {table.name}") for image in missing)]
        first = "; ".join(f"{shown(image)}: {reason}" for image, reason in reasons[:3])
        flags = "--skip-bad" if table.complete else f"--labels {table.name} --skip-bad"
        refused.refuse(
            f"{table.name} is not used, as it lacks {len(reasons):,} of the {len(images):,} images ({first}); "
            f"to learn from the others alone, add {flags}"
        )
    return False


def known_columns(table: Table) -> bool:
    """Whether the first row of a table has a label, a text or a number."""
    first = columns([*table.rows.values()][:1], "")
    return bool(first.labels or first.captions or first.attribute_names or first.faults)


def _combined(tables: list[Table]) -> list[Table]:
    """Tables of separate folders that have the same columns as one."""
    groups: list[list[Table]] = []
    for table in tables:
        group = next((g for g in groups if all(_apart(table, other) for other in g)), None)
        if group is None:
            groups.append([table])
        else:
            group.append(table)
    combined = []
    for group in groups:
        names = list(dict.fromkeys(table.name for table in group))
        whole = Table(names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} others", [])
        whole.title, whole.complete = group[0].title, all(table.complete for table in group)
        for table in group:
            whole.files += table.files
            whole.several |= table.several
            whole.rows |= table.rows
            whole.bad += table.bad
            whole.warnings += table.warnings
            whole.faults |= table.faults
        combined.append(whole)
    return combined


def _apart(a: Table, b: Table) -> bool:
    """Whether two tables have the same columns, are of separate folders, and name other images."""
    places = [os.path.dirname(table.files[0].name) for table in (a, b)]
    return places[0] != places[1] and a.title == b.title and not a.rows.keys() & b.rows.keys()


def _together(tables: list[Table]) -> Table:
    """The first table, with labels and captions of the first that has some."""
    first = tables[0]
    for role in ("label", "text"):
        has_role = [table for table in tables if any(row.get(role) not in (None, "") for row in table.rows.values())]
        if not has_role or has_role[0] is first:
            continue
        other = has_role[0]
        first.rows = {image: row | {role: other.rows.get(image, {}).get(role)} for image, row in first.rows.items()}
        first.name += f" and {other.name}"
        first.files += [file for file in other.files if file not in first.files]
        first.warnings += [note for note in other.warnings if note not in first.warnings]
        first.faults |= other.faults
    return first


def _sheet(source: FileSet, file: File) -> Sheet:
    """The titles and rows of a table. Raises ValueError: it is no text, or CelebA's list in another form."""
    text = rowfiles.decoded(source.read(file))
    return rowfiles.celeba(text) if os.path.basename(file.name) == CELEBA[0] else rowfiles.csv_sheet(text)


def naming(sheet: Sheet, named: Named) -> int | None:
    """The column that names images, by its title or by the endings of its values."""
    for place, name in enumerate(sheet.title):
        values = [str(row[place]) for row in sheet.lines[:100] if len(row) > place]
        if not (rowfiles.names_images(name) or any(value.lower().endswith(IMAGES) for value in values)):
            continue
        if any(len(row) > place and set(variants(str(row[place]))) & named.places.keys() for row in sheet.lines):
            return place
    return None


def attach(file: File, sheet: Sheet, scopes: Scopes) -> Table | None:
    """The rows of a table by the images that they name; None if they name none that are read.

    Raises:
        ValueError: a name stands for several images, or a column is there twice.
    """
    named, place = next(
        ((named, place) for named in scopes.of(file.name) if (place := naming(sheet, named)) is not None), (None, None)
    )
    if named is None or place is None:
        return None
    table = Table(shown(os.path.basename(file.name)), [file], title=sheet.title)
    units = openface.has_units(sheet)
    table.complete = units or os.path.basename(file.name) == CELEBA[0]
    images = [named.find(str(line[place])) if len(line) > place else None for line in sheet.lines]
    known_lines = [(image, line) for image, line in zip(images, sheet.lines) if image and image not in scopes.others]
    if not known_lines:
        return None
    if strangers := images.count(None):
        table.warnings.append(
            f"{table.name}: {strangers:,} of its {len(images):,} rows are of images that are not here."
        )
    whole = [(image, line) for image, line in known_lines if len(line) == len(sheet.title)]
    if short := len(known_lines) - len(whole):
        line = next(line for _, line in known_lines if len(line) != len(sheet.title))
        table.warnings.append(f"{table.name}: {short:,} of its rows are not read: {odd(line, sheet.title)}.")
    rows = entries(Sheet(sheet.title, [line for _, line in whole]))
    for row in rows:
        del row[sheet.title[place]]
    groups: dict[str, list[Row]] = {}
    for (image, _), row in zip(whole, known(rows)):
        groups.setdefault(image, []).append(row)
    if units:
        for image, group in groups.items():
            openface.add_face(table, image, group)
    else:
        table.rows, notes, table.faults = merged(groups, table.name)
        table.several = any(len(group) > 1 for group in groups.values())
        table.warnings += notes
    return table
