"""Parquet files of images: what they hold, and their images one after the other in a file that is read at any place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from gankit.data.reading.files import MAX_BYTES
from gankit.data.reading.formats.columns import is_image
from gankit.data.shards.members import LABELS, TEXTS, Members, facts_of
from gankit.disk import amount
from gankit.text import shown

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

IMAGE = ("image", "img", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes")  # usual names of the column of images
MOST = 2**32  # bytes of a column in a row group, unpacked


def of_parquet(file: BinaryIO) -> Members:
    """The samples of a parquet file; their images begin where `images` has them.

    Raises:
        ValueError: it is damaged, has no column of images, or pyarrow is not installed.
    """
    members, start, empty = Members(), 0, 0
    for number, (image, facts) in enumerate(_rows(file, with_facts=True)):
        if image is None or len(image) > MAX_BYTES:
            empty += 1
            continue
        members.add(str(number), start, len(image), facts.get("label"), facts.get("caption"))
        start += len(image)
    if empty:
        members.others["rows without an image"] = empty
    return members


def unpack(file: BinaryIO, out: BinaryIO) -> None:
    """Write the images of a parquet file one after the other; raises as `of_parquet`."""
    for image, _ in _rows(file, with_facts=False):
        if image is not None and len(image) <= MAX_BYTES:
            out.write(image)


def _rows(file: BinaryIO, with_facts: bool) -> Iterator[tuple[bytes | None, dict[str, object]]]:
    """The image of each row, as the bytes of its file, and its label and caption."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise ValueError("reading parquet needs pyarrow: pip install pyarrow") from None
    try:
        table = ParquetFile(file)
        column, others = _columns(table)
        names = _class_names(table)
        for batch in table.iter_batches(32, columns=[column, *others] if with_facts else [column]):
            rows = batch.to_pylist()
            for row in rows:
                image = row[column]
                image = image.get("bytes") if isinstance(image, dict) else image
                facts = facts_of({name: row[name] for name in others}) if with_facts else {}
                label = facts.get("label")
                if names and type(label) is int and 0 <= label < len(names):
                    facts["label"] = names[label]
                yield image, facts
    except (ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise ValueError(f"it is damaged or no parquet file: {shown(error)[:200]}") from error


def _columns(table: ParquetFile) -> tuple[str, list[str]]:
    """The name of the column of images, and of those of labels and captions. Raises ValueError."""
    fields = [field for field in table.schema_arrow if is_image(field.type)]
    if not fields:
        found = ", ".join(shown(name) for name in table.schema_arrow.names[:20])
        raise ValueError(f"no column holds the bytes of images; there are {found or 'no columns'}")
    column = min(fields, key=lambda field: IMAGE.index(field.name) if field.name in IMAGE else len(IMAGE)).name
    for group in range(table.metadata.num_row_groups):
        size = sum(
            table.metadata.row_group(group).column(i).total_uncompressed_size
            for i in range(table.metadata.num_columns)
            if table.metadata.row_group(group).column(i).path_in_schema.split(".")[0] == column
        )
        if size > MOST:
            raise ValueError(f"row group {group} unpacks to {amount(size)} of images, and {amount(MOST)} are the most")
    return column, [name for name in table.schema_arrow.names if name.lower() in (*LABELS, *TEXTS)]


def _class_names(table: ParquetFile) -> list[str]:
    """The names of the classes that Hugging Face's `datasets` writes beside the columns; none in other files."""
    try:
        features = json.loads((table.schema_arrow.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        names = next(features[name]["names"] for name in features if name.lower() in LABELS)
    except (ValueError, KeyError, TypeError, StopIteration, AttributeError, RecursionError):
        return []
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []
