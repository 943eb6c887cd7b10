"""Images in Parquet and Arrow files, as hubs of data sets store them: one file, or a folder of shards of parts."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate, chain
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from gankit.data import captions
from gankit.data.reading import files, huggingface
from gankit.data.reading.files import MAX_BYTES, File, FileSet
from gankit.data.reading.formats import shard_names
from gankit.data.reading.formats.arrow_shards import Shard as Rows
from gankit.data.reading.formats.arrow_shards import open_shard
from gankit.data.reading.formats.columns import Columns, columns_of, pair_of
from gankit.data.reading.formats.shard_names import Shard, quoted
from gankit.disk import amount
from gankit.text import shown

if TYPE_CHECKING:
    import pyarrow

TITLE = "files of rows"  # part of fingerprints, so that they tell neither names nor shards nor formats apart
MOST_TEXT = 2**30  # bytes of captions in a set
RECENT = 2**25  # bytes of rows that stay in memory, for callers that are a little out of order
MAGIC = {b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp", b"GIF8": ".gif", b"BM": ".bmp", b"II*\0": ".tif", b"MM\0*": ".tif"}


@dataclass
class Table:
    """What shards hold beside images.

    Args:
        columns: of the first shard.
        image: the column of images.
        rows: of each shard, a row for each image: `label`, `text` and numbers.
        sizes: of each shard, about the bytes of its images.
        notes: for the user.
    """

    columns: Columns
    image: str
    rows: list[list[dict[str, object]]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@contextmanager
def open_shards(path: Path, inner: str, listing: list[File]) -> Iterator[FileSet]:
    """The images in a file or folder of shards, named PART/000000.png in the order of the rows.

    Args:
        path: of the file, or of the folder.
        inner: the column of images, or PART/COLUMN for a part of the data; default: all parts, the likeliest column.
        listing: the file, or those in the folder.

    Raises:
        ValueError: a shard is damaged, incomplete or has no images, there is no such part or column, or pyarrow is
            missing.
    """
    part, _, image = inner.rpartition("/")
    shards = shard_names.of_part(shard_names.shards_among(listing), part, path)
    root = path if path.is_dir() else path.parent
    if path.is_file():  # a user who names one file means all of it, whatever its part
        shards = [shard._replace(part="", of=0) for shard in shards]
    table = _read(root, tuple(shards), image)
    counts = [len(rows) for rows in table.rows]
    reader = Reader(root, shards, counts, table.image)
    with reader.opened:
        names = shard_names.image_names(shards, counts, reader.ending())
        rows: dict[str, dict[str, object]] = {}
        listed_files: list[File] = []
        size = sum(table.sizes) // max(sum(counts), 1)  # one for all, as files of other sizes count as different
        for shard, block, shard_rows in zip(shards, names, table.rows):
            rows |= zip(block, shard_rows)
            listed_files += [File(name, size, shard.file.stamp) for name in block]
        reader.places = {file.name: i for i, file in enumerate(listed_files)}
        notes = (*_summary(table, len(shards)), *shard_names.missing(shards), *table.notes)
        yield FileSet(listed_files, reader.read, notes, rows, table.columns.class_names, TITLE)


def sides(path: Path, part: str, want: str, pair: str = "") -> tuple[str, list[Path]] | None:
    """The kind of two-sided data in shards, "pairs" or "masks", and the path of each side; None for other data.

    Args:
        path: of a file or folder of shards.
        part: of the data, or "" for all.
        want: the kind that is asked for.
        pair: the columns of both sides with = between, as users type them; default: those with usual names.

    Raises:
        ValueError: the columns are not those of two images, or it is unclear which two are meant.
    """
    folder, column = files.container(path)
    if want not in ("pairs", "masks"):
        return None
    shard = shard_names.of_part(shard_names.shards_among(files.listing(folder)), part, folder)[0]
    with open_shard((folder if folder.is_dir() else folder.parent) / shard.file.name, shard.file.name) as rows:
        images = columns_of(rows.schema, rows.name).images
    kind, a, b = (not column and pair_of(images, want)) or ("pairs", column, "")
    if pair:
        kind, (a, _, b) = "masks" if want == "masks" else kind, pair.partition("=")
        if a not in images or b not in images or a == b:
            raise ValueError(f"--pair {shown(pair)} names no two columns of images; there are {quoted(images)}")
    elif not a and len(images) > 1:
        raise ValueError(
            f"the columns of images are {quoted(images)}: name those of both sides, "
            f"--pair '{shown(images[0])}={shown(images[1])}'"
        )
    elif not b:  # both sides are in each image
        return ("pairs", [Path(f"{folder}#{part}/{a or images[0]}")]) if want == "pairs" else None
    return kind, [Path(f"{folder}#{part}/{name}") for name in (a, b)]


def holds_shards(path: Path) -> bool:
    """Whether a path is a file of rows, or a folder with such files and no images; alone or with a column."""
    return shard_names.holds_shards(files.container(path)[0])


class Reader:
    """Reads images from shards, of which one is open at a time; fastest in the order of the rows."""

    def __init__(self, root: Path, shards: list[Shard], counts: list[int], column: str):
        self.root, self.shards, self.column = root, shards, column
        self.firsts = [0, *accumulate(counts)]
        self.places: dict[str, int] = {}
        self.opened = ExitStack()  # the shard that is open
        self.current, self.rows = -1, iter(())  # type: tuple[int, Iterator[tuple[int, pyarrow.RecordBatch]]]
        self.recent: deque[tuple[int, pyarrow.RecordBatch]] = deque()  # of the current shard, in the order of rows
        self.held = 0  # bytes in `recent`
        self.flaws: dict[int, tuple[int, int, str]] = {}  # by shard, the rows that cannot be read, and why
        self.lock = Lock()

    def read(self, file: File) -> bytes:
        """The bytes of an image. Raises ValueError if it cannot be read."""
        with self.lock:
            return self._read(self.places[file.name])

    def ending(self) -> str:
        """The ending of file names for the format of the first image."""
        try:
            data = self._read(0) if self.firsts[-1] else b""
        except ValueError:
            return ".png"
        return next((ending for magic, ending in MAGIC.items() if data.startswith(magic)), ".png")

    def _read(self, place: int) -> bytes:
        shard = bisect_right(self.firsts, place) - 1
        row = place - self.firsts[shard]
        first, end, reason = self.flaws.get(shard, (0, 0, ""))
        if first <= row < end:
            raise ValueError(reason)
        try:
            value = self._value(shard, row)
        except ValueError as error:
            if self.current == shard:
                self.flaws[shard] = row, self.until, str(error)
                self.current = -1
            raise
        return self._bytes(value)

    def _value(self, shard: int, row: int) -> object:
        """The value of a row, from those in memory or from the shard."""
        if self.current != shard or (self.recent and row < self.recent[0][0]):
            self._open(shard, row)
        while not self.recent or row >= self.recent[-1][0] + self.recent[-1][1].num_rows:
            batch = next(self.rows, None)
            if batch is None:
                raise ValueError(f"{shown(self.shards[shard].file.name)} has changed while it was read")
            self.recent.append(batch)
            self.held += batch[1].nbytes
            while len(self.recent) > 1 and self.held > RECENT:
                self.held -= self.recent.popleft()[1].nbytes
        first, rows = next(item for item in reversed(self.recent) if item[0] <= row)
        return rows.column(self.column)[row - first].as_py()

    def _open(self, shard: int, row: int) -> None:
        self.opened.close()
        self.recent.clear()
        self.held = 0
        name = self.shards[shard].file.name
        rows = self.opened.enter_context(open_shard(self.root / name, name))
        self.current, self.until, self.rows = shard, rows.until(row), rows.batches([self.column], row)

    def _bytes(self, value: object) -> bytes:
        """The bytes in a value: its own, or those of the file that it names in the Hugging Face cache."""
        path = value.get("path") if isinstance(value, dict) else None
        data = value.get("bytes") if isinstance(value, dict) else value
        if isinstance(data, bytes) and data:
            if len(data) > MAX_BYTES:
                raise ValueError(f"oversized: {len(data):,} bytes, above the limit of {MAX_BYTES:,}")
            return data
        if not isinstance(path, str) or not path:
            raise ValueError("holds no image: the row is empty")
        if not huggingface.in_cache(self.root) or not huggingface.in_cache(Path(path)):
            raise ValueError(f"is not in the data itself, which only names {shown(path)[:200]}")
        try:
            return files.read(Path(path))
        except OSError as error:
            raise ValueError(f"{shown(path)[:200]} cannot be read: {error.strerror}") from error


@lru_cache(maxsize=2)  # the key has the times of the files
def _read(root: Path, shards: tuple[Shard, ...], image: str) -> Table:
    """Read everything but the images; `image` is their column, or "" for the likeliest."""
    table: Table | None = None
    every: list[Columns] = []
    for shard in shards:
        with open_shard(root / shard.file.name, shard.file.name) as rows:
            own = columns_of(rows.schema, rows.name)
            table = table or Table(own, image or own.images[0])
            if table.image not in own.images:
                raise ValueError(
                    f"{shown(rows.name)} has no column of images {shown(table.image)!r}; it has {quoted(own.images)}"
                )
            every.append(own)
            table.sizes.append(rows.bytes_of(table.image))
            table.rows.append(_rows(rows, own))
    assert table is not None  # there is at least one shard
    if any(own.class_names != table.columns.class_names for own in every):  # the same number may be another class
        for own, block in zip(every, table.rows):
            for row in block:
                if isinstance(label := row.get("label"), int) and own.class_names:
                    row["label"] = own.class_names[label]
        table.columns = table.columns._replace(class_names=())
    _drop_incomplete(table, shards)
    return table


def _rows(rows: Rows, own: Columns) -> list[dict[str, object]]:
    """The row of each image: its `label`, or None, so that parts of the data are no classes; `text` and numbers."""
    if not own.rows:
        return [{"label": None} for _ in range(rows.count)]
    result: list[dict[str, object]] = []
    used = 0
    for first, batch in rows.batches(own.rows):
        if first != len(result):
            raise ValueError(f"{shown(rows.name)} is damaged: row {first:,} follows row {len(result) - 1:,}")
        try:
            values = {name: batch.column(name).to_pylist() for name in own.rows}
        except UnicodeDecodeError:
            raise ValueError(f"{shown(rows.name)} holds text that is not UTF-8, from row {first:,} on") from None
        for i in range(batch.num_rows):
            row: dict[str, object] = {name: values[name][i] for name in own.numbers}
            row["label"] = _label(values[own.label][i], own.class_names) if own.label else None
            if own.text:
                row["text"] = _text(values[own.text][i])
                used += sum(map(len, row["text"])) if isinstance(row["text"], list) else len(str(row["text"]))
            result.append(row)
        if used > MOST_TEXT:
            raise ValueError(
                f"{shown(rows.name)} holds more than {amount(MOST_TEXT)} of captions in the column {own.text!r}"
            )
    return result


def _label(value: object, class_names: tuple[str, ...]) -> object:
    """A label, or None: -1 stands for an unknown class where classes have names."""
    if class_names and (not isinstance(value, int) or not 0 <= value < len(class_names)):
        return None
    return int(value) if isinstance(value, bool) else None if value == "" else value


def _text(value: object) -> object:
    """A caption, or a list of them, each on one line; "" for one that is missing or far too long."""
    if isinstance(value, list):
        return [" ".join(text.split()) for text in value if isinstance(text, str) and len(text) < captions.MOST_BYTES]
    return value if isinstance(value, str) and len(value) < captions.MOST_BYTES else ""


def _drop_incomplete(table: Table, shards: tuple[Shard, ...]) -> None:
    """Take labels and numbers out of the rows of a part in which some images have none, with a note."""
    for part in dict.fromkeys(shard.part for shard in shards):
        blocks = [rows for rows, shard in zip(table.rows, shards) if shard.part == part]
        total = sum(map(len, blocks))
        for name in (*["label"] * bool(table.columns.label), *table.columns.numbers):
            absent = sum(not _is_known(row.get(name)) for block in blocks for row in block)
            if not absent:
                continue
            for row in chain(*blocks):
                row[name] = None
            if absent < total:
                column = table.columns.label if name == "label" else name
                where = f" of {shown(part)}" if part else ""
                table.notes.append(
                    f"Column {shown(column)!r} is not read, as {absent:,} of {total:,} rows{where} have no value in it."
                )


def _is_known(value: object) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def _summary(table: Table, count: int) -> Iterator[str]:
    """What was read from which column."""
    own = table.columns
    roles = [(f"images from {table.image!r}"), *[f"labels from {own.label!r}"] * bool(own.label)]
    roles += [f"captions from {own.text!r}"] * bool(own.text)
    yield f"{count:,} {'file' if count == 1 else 'files'} of rows: {', '.join(map(shown, roles))}."
    if others := [name for name in (*own.images, *own.others) if name != table.image]:
        yield f"Columns that are not read: {quoted(others)}."
