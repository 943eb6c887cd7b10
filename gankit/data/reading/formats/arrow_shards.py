"""Rows of Parquet and Arrow files, a few at a time: pyarrow is imported when the first one is opened."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from gankit.data.reading.files import FREE, RATIO
from gankit.disk import amount
from gankit.text import shown

if TYPE_CHECKING:
    import pyarrow
    from pyarrow import parquet

BUDGET = 2**28  # bytes of the rows that are in memory at once, whatever the size of a row group
MOST = 1024  # rows at once
LEAST_BYTES = 8  # of a row in a file: a count of rows that claims less is not allocated


class Shard(ABC):
    """The rows of a .parquet or .arrow file.

    Args:
        source: path of the file, or an open file that can seek.
        name: in messages.

    Attributes:
        schema: names and types of the columns, and metadata.
        count: number of rows.
    """

    schema: pyarrow.Schema
    count: int

    def __init__(self, source: Path | BinaryIO, name: str):
        self.name = name

    @abstractmethod
    def batches(self, columns: list[str], start: int = 0) -> Iterator[tuple[int, pyarrow.RecordBatch]]:
        """The rows from row `start` or somewhat before it, in order, as the number of the first row and some rows.

        Raises:
            ValueError: the file is damaged.
        """

    @abstractmethod
    def until(self, row: int) -> int:
        """The first row after this one that can be read although this one cannot."""

    @abstractmethod
    def bytes_of(self, column: str) -> int:
        """About the number of bytes of a column in the file."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""


@contextmanager
def open_shard(source: Path | BinaryIO, name: str) -> Iterator[Shard]:
    """A .parquet or .arrow file, by the ending of its name.

    Raises:
        ValueError: pyarrow is missing, or the file is damaged, incomplete or of another format.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ValueError(f"{shown(name)} needs pyarrow: pip install 'gankit[parquet]'") from error
    shard = ArrowShard(source, name) if name.lower().endswith(".arrow") else ParquetShard(source, name)
    try:
        if len(set(shard.schema.names)) < len(shard.schema.names):
            raise ValueError(f"{shown(name)} has two columns of one name")
        yield shard
    finally:
        shard.close()


class ParquetShard(Shard):
    """Row groups are read one after the other, and of each a few rows at a time."""

    def __init__(self, source: Path | BinaryIO, name: str):
        from pyarrow import parquet

        super().__init__(source, name)
        with readable(name):
            self.file: parquet.ParquetFile = parquet.ParquetFile(
                source, pre_buffer=False, buffer_size=2**20, page_checksum_verification=True
            )
            self.schema, meta = self.file.schema_arrow, self.file.metadata
            self.groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
        self.firsts = [0, *accumulate(group.num_rows for group in self.groups)]
        self.count = self.firsts[-1]
        packed = meta.serialized_size + sum(chunk.total_compressed_size for g in self.groups for chunk in _chunks(g))
        is_sound = self.count == meta.num_rows and all(group.num_rows >= 0 for group in self.groups)
        if not is_sound or self.count * LEAST_BYTES > max(packed, 2**13):
            raise ValueError(f"{shown(name)} is damaged: it claims {self.count:,} rows in {amount(packed)}")

    def batches(self, columns: list[str], start: int = 0) -> Iterator[tuple[int, pyarrow.RecordBatch]]:
        for i, group in enumerate(self.groups):
            if self.firsts[i + 1] <= start:
                continue
            size = max((chunk.total_uncompressed_size for chunk in self._chunks_of(group, columns)), default=0)
            first = self.firsts[i]
            # One value can be as large as its chunk, and stand in every row
            rows = min(max(BUDGET // max(size, 1), 1), MOST)
            with readable(self.name):
                for batch in self.file.iter_batches(rows, [i], columns, use_threads=False):
                    yield first, batch
                    first += batch.num_rows
            if first != self.firsts[i + 1]:
                raise ValueError(f"{shown(self.name)} is damaged: row group {i} ends at row {first:,}")

    def _chunks_of(self, group: parquet.RowGroupMetaData, columns: list[str]) -> list[parquet.ColumnChunkMetaData]:
        chunks = [c for c in _chunks(group) if any(f"{c.path_in_schema}.".startswith(f"{n}.") for n in columns)]
        for chunk in chunks:
            if (size := chunk.total_uncompressed_size) > max(FREE, RATIO * chunk.total_compressed_size):
                packed = amount(chunk.total_compressed_size)
                raise ValueError(f"{shown(self.name)}: refused, as {packed} of it unpack to {amount(size)}")
        return chunks

    def until(self, row: int) -> int:
        return next(first for first in self.firsts if first > row)

    def bytes_of(self, column: str) -> int:
        return sum(c.total_compressed_size for group in self.groups for c in self._chunks_of(group, [column]))

    def close(self) -> None:
        self.file.close()


class ArrowShard(Shard):
    """A file of Arrow's stream or file format, mapped into memory, as the package datasets writes them."""

    def __init__(self, source: Path | BinaryIO, name: str):
        import pyarrow

        super().__init__(source, name)
        with readable(name):
            self.file = pyarrow.memory_map(str(source)) if isinstance(source, Path) else pyarrow.PythonFile(source)
            self.size = self.file.size()
            self.is_stream = self.file.read(6) != b"ARROW1"
            self.schema, self.firsts = self._open().schema, [0]
            for batch in self._all(self.schema.names[:1]):
                self.firsts.append(self.firsts[-1] + batch.num_rows)
        self.count = self.firsts[-1]
        if self.count * LEAST_BYTES > max(self.size, 2**13):
            raise ValueError(f"{shown(name)} is damaged: it claims {self.count:,} rows in {amount(self.size)}")

    def _open(self, columns: list[str] | None = None) -> pyarrow.RecordBatchReader:
        from pyarrow import ipc

        fields = None if columns is None else [self.schema.get_field_index(name) for name in columns]
        options = ipc.IpcReadOptions(included_fields=fields, use_threads=False)
        self.file.seek(0)
        return (ipc.open_stream if self.is_stream else ipc.open_file)(self.file, options=options)

    def _all(self, columns: list[str] | None = None) -> Iterator[pyarrow.RecordBatch]:
        reader = self._open(columns)
        if self.is_stream:
            yield from reader
        else:
            yield from (reader.get_batch(i) for i in range(reader.num_record_batches))

    def batches(self, columns: list[str], start: int = 0) -> Iterator[tuple[int, pyarrow.RecordBatch]]:
        with readable(self.name):
            for first, batch in zip(self.firsts, self._all(columns)):
                if first + batch.num_rows > start:
                    batch.validate(full=True)  # offsets that lead out of the file would be followed
                    for skipped in range(0, batch.num_rows, MOST):
                        yield first + skipped, batch.slice(skipped, MOST)

    def until(self, row: int) -> int:
        return self.count

    def bytes_of(self, column: str) -> int:
        return self.size

    def close(self) -> None:
        self.file.close()


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turn what pyarrow raises for a damaged file into a ValueError that names the file."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, MemoryError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        reason = shown(str(error).strip().partition("\n")[0])[:200] or "not enough memory"
        raise ValueError(f"{shown(name)} is damaged or incomplete, fetch it again: {reason}") from error


def _chunks(group: parquet.RowGroupMetaData) -> list[parquet.ColumnChunkMetaData]:
    return [group.column(i) for i in range(group.num_columns)]
