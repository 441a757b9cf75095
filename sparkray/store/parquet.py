"""Parquet files of a dataset: written with the schema of their table, and checked when they are read.

A foreign, cut or bit-flipped file is refused by its name. PyArrow, which takes long to import, is imported here alone.
"""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Container, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.parquet.core import ParquetReader  # `ParquetFile` lists every column in Python, as long as a read of them

from sparkray.errors import DatasetError, remedy_of
from sparkray.files import check_regular
from sparkray.records import SCHEMA_VERSION
from sparkray.schema import arrow_type
from sparkray.store.documents import JSON_COLUMNS, NEVER_NULL, REMOVE, WORDS, odd_row
from sparkray.store.run_index import INDEXED
from sparkray.store.tables import TABLES
from sparkray.units import reason_of, short

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SMALL = ("runs", "checks")
"""Tables that a sweep reads whole after every block. Their files are never written in place: what was read is kept."""
_MOST_KEPT = 8192
# A table of fewer rows takes longer to compress, to encode by a dictionary and to read again than it saves.
_PLAIN_ROWS = 64
_NAME = 80
_DIGEST_BYTES = 16
_RACY_NS = 20_000_000  # a file as young as this may be replaced by another of the same size and time
# Columns that are judged row by row, or that the index of runs holds.
_JUDGED = {"run_id", "attempt", "check", "verdict", *JSON_COLUMNS, *INDEXED}
_Rows = list[dict[str, Any]]
_Key = tuple[Path, str, tuple[str, ...] | None]
_Entry = tuple[tuple[int, ...], _Rows]


class Kept:
    """What was read of files, as many as are used most; a driver reads in a thread for each machine.

    Args:
        most: How many are kept.
    """

    def __init__(self, most: int) -> None:
        self._most, self._guard = most, threading.Lock()
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()

    def get(self, key: _Key) -> _Entry | None:
        """What is kept under a key, which is the last to be dropped now."""
        with self._guard:
            if key in self._entries:
                self._entries.move_to_end(key)
            return self._entries.get(key)

    def put(self, key: _Key, entry: _Entry) -> None:
        """Keep this; what was not used for longest is dropped."""
        with self._guard:
            self._entries[key] = entry
            if len(self._entries) > self._most:
                self._entries.popitem(last=False)


_kept = Kept(_MOST_KEPT)


@cache
def schema_of(table: str) -> Any:  # noqa: ANN401 - pyarrow is untyped
    """The Arrow schema of a table, with the schema version and each column's meaning in its metadata."""
    columns = [pa.field(c.name, arrow_type(c.kind), metadata={"what": c.meaning}) for c in TABLES[table]]
    return pa.schema(columns, metadata={"sparkray.schema": SCHEMA_VERSION, "sparkray.table": table})


@cache
def _types(table: str) -> Mapping[str, Any]:
    """The Arrow type of each column of a table."""
    return {field.name: field.type for field in schema_of(table)}


def file_of(table: str, rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows of a table as a Parquet file, whose pages have checksums."""
    if unknown := {key for row in rows for key in row} - _types(table).keys():
        raise ValueError(f"{table} has no columns {sorted(unknown)}: declare them in sparkray/columns/")
    sink, is_small = pa.BufferOutputStream(), len(rows) < _PLAIN_ROWS
    pq.write_table(
        pa.Table.from_pylist(list(rows), schema=schema_of(table)),
        sink,
        compression="none" if is_small else "zstd",
        use_dictionary=not is_small,
        write_page_checksum=True,
    )
    return bytes(sink.getvalue())


def rows_of(path: Path, table: str, columns: list[str] | None = None) -> list[dict[str, Any]]:
    """The rows of one file; a column that an older version did not write is null.

    Args:
        path: The file. One of a small table is not read again while it stays the same.
        table: The table's name.
        columns: Those to read; None reads all of the table.

    Raises:
        DatasetError: It is no Parquet, has columns of other types, or values that the table cannot have.
    """
    if table not in _SMALL:
        return _read(path, table, columns)
    key = (path, table, None if columns is None else tuple(columns))
    identity = _identity(path)
    entry = _kept.get(key)
    if entry is None or entry[0] != identity:
        entry = (identity, _read(path, table, columns))
        if identity and time.time_ns() - identity[-1] > _RACY_NS:
            _kept.put(key, entry)
    return [dict(row) for row in entry[1]]


def _identity(path: Path) -> tuple[int, ...]:
    """What changes when a file is replaced, the time of its last change being the last; empty where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _read(path: Path, table: str, columns: list[str] | None) -> _Rows:
    try:
        check_regular(path)
        file = pq.ParquetFile(path, page_checksum_verification=True)
        there = set(file.schema_arrow.names)
        wanted = [name for name in columns if name in there] if columns is not None else None
        rows = _rows(_typed(file.read(columns=wanted, use_threads=False), table))
    except (OSError, pa.ArrowException, ValueError, OverflowError) as error:
        raise DatasetError(f"{path} cannot be read: {reason_of(error)}", remedy_of(error, REMOVE)) from None
    if lacking := [name for name in NEVER_NULL[table] if name not in there]:
        raise DatasetError(f"{path} is not a file of the table {table}: it has no column {lacking[0]}", REMOVE)
    missing = dict.fromkeys(name for name in columns or _types(table) if name not in there)
    for row in rows:
        row.update(missing)
        if (wrong := odd_row(table, row)) is not None:
            raise DatasetError(f"{path} is not a file of the table {table}: {wrong}", REMOVE)
    return rows


def _typed(read: Any, table: str) -> Any:  # noqa: ANN401 - likewise
    """Columns in the types that the table has. Raises what PyArrow raises."""
    types = _types(table)
    if all(one.type == types.get(one.name, one.type) for one in read.schema):
        return read
    return read.cast(pa.schema([pa.field(one.name, types.get(one.name, one.type)) for one in read.schema]))


@cache
def _fingerprint(table: str) -> bytes:
    return hashlib.blake2b(schema_of(table).serialize(), digest_size=_DIGEST_BYTES).digest()


def digest_of(content: bytes, table: str) -> bytes:
    """Of a file of a table: of other bytes it is another one, and by a sparkray whose table has other columns."""
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES, key=_fingerprint(table)).digest()


def judged(content: bytes, table: str, attempt: str) -> tuple[str | None, _Rows]:
    """A file that another machine sent, judged like one that is read: every column that has values is read.

    Args:
        content: The file.
        table: The table's name.
        attempt: Whose rows it holds: run id, a dash, the attempt's number.

    Returns:
        What is wrong with it, None where nothing is; and, of a small table, its rows: columns that are judged or indexed.
    """
    try:
        reader = ParquetReader()
        reader.open(pa.BufferReader(content), pre_buffer=False, page_checksum_verification=True)
        names, is_own = _names_of(reader, table)
        there = set(names)
        needed = {"run_id", "attempt", *NEVER_NULL[table], *WORDS.get(table, ())}
        read = reader.read_all(column_indices=_worth_reading(reader.metadata, names, needed), use_threads=False)
        read = read if is_own else _typed(read, table)
    except (OSError, pa.ArrowException, ValueError, OverflowError) as error:
        return f"it cannot be read: {reason_of(error)}", []
    if lacking := [name for name in NEVER_NULL[table] if name not in there]:
        return f"it has no column {lacking[0]}", []
    if foreign := there - _types(table).keys():
        return f"it has a column {short(min(foreign), _NAME)} that the table has not", []
    rows = _rows(read.select([name for name in read.column_names if name in _JUDGED])) if table in _SMALL else []
    whose = {(row["run_id"], row["attempt"]) for row in rows} or {
        *product(*(read[name].unique().to_pylist() for name in ("run_id", "attempt")))
    }
    if {f"{run_id}-{number}" for run_id, number in whose} != {attempt} or (table == "runs" and len(read) != 1):
        return f"its rows are not those of {attempt}", []
    return next(filter(None, (odd_row(table, row) for row in rows)), None), rows


@cache
def _own(table: str) -> tuple[Any, tuple[str, ...]]:
    """What a file of this version holds: Parquet's schema, and the table's column that each of its columns is of."""
    reader, sink = ParquetReader(), pa.BufferOutputStream()
    pq.write_table(pa.Table.from_batches([], schema_of(table)), sink)  # for a list, PyArrow would import pandas
    reader.open(pa.BufferReader(sink.getvalue()))
    return reader.metadata.schema, _tops(reader)


def _names_of(reader: Any, table: str) -> tuple[tuple[str, ...], bool]:  # noqa: ANN401 - likewise
    """The table's column that each of Parquet's is of (a list's has a longer path), and whether this version wrote it."""
    schema, names = _own(table)
    is_own = bool(reader.metadata.schema.equals(schema))
    return (names if is_own else _tops(reader)), is_own


def _tops(reader: Any) -> tuple[str, ...]:  # noqa: ANN401 - likewise
    return tuple(path[0] for path in reader.column_paths)


def _worth_reading(metadata: Any, names: Sequence[str], needed: Container[str]) -> list[int]:  # noqa: ANN401 - likewise
    """Columns that are needed, or have values: most of a wide table have none, and reading them takes most of the time."""
    worth = {i for i, name in enumerate(names) if name in needed}
    for n in range(metadata.num_row_groups):
        column = metadata.row_group(n).column
        for i in range(len(names)):
            if (known := (part := column(i)).statistics) is None or known.null_count != part.num_values:
                worth.add(i)
    return sorted(worth)


def _rows(table: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - pyarrow is untyped
    """A table as dictionaries. Of a time, PyArrow would ask pandas, which takes longer to import than a dataset to read."""
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_timestamp(column.type):
            micros = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64()).to_pylist()
            columns[name] = [None if one is None else _EPOCH + timedelta(microseconds=one) for one in micros]
        else:
            columns[name] = column.to_pylist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
