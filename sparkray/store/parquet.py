"""Parquet files of a dataset: written with the schema of their table, and checked when they are read.

A foreign, cut or bit-flipped file is refused by its name. PyArrow, which takes long to import, is imported here alone.
"""

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sparkray.errors import DatasetError
from sparkray.files import check_regular
from sparkray.records import SCHEMA_VERSION
from sparkray.schema import arrow_type
from sparkray.store.documents import NEVER_NULL, REMOVE, WORDS, odd_row
from sparkray.store.tables import TABLES
from sparkray.units import reason_of, short

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SMALL = ("runs", "checks")
"""Tables that a sweep reads whole after every block. Their files are never written in place: what was read is kept."""
_MOST_KEPT = 8192
_NAME = 80
_RACY_NS = 20_000_000  # a file as young as this may be replaced by another of the same size and time
_Rows = list[dict[str, Any]]
_Key = tuple[Path, str, tuple[str, ...] | None]
_kept: OrderedDict[_Key, tuple[tuple[int, ...], _Rows]] = OrderedDict()


def schema_of(table: str) -> Any:  # noqa: ANN401 - pyarrow is untyped
    """The Arrow schema of a table, with the schema version and each column's meaning in its metadata."""
    columns = [pa.field(c.name, arrow_type(c.kind), metadata={"what": c.meaning}) for c in TABLES[table]]
    return pa.schema(columns, metadata={"sparkray.schema": SCHEMA_VERSION, "sparkray.table": table})


def file_of(table: str, rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows of a table as a Parquet file."""
    known = {column.name for column in TABLES[table]}
    if unknown := {key for row in rows for key in row} - known:
        raise ValueError(f"{table} has no columns {sorted(unknown)}: declare them in sparkray/columns/")
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema_of(table)), sink, compression="zstd")
    return bytes(sink.getvalue())


def rows_of(path: Path, table: str, columns: list[str] | None = None) -> list[dict[str, Any]]:
    """The rows of one file; a column that an older version did not write is null.

    Args:
        path: The file. One of a small table is not read again while it stays the same.
        table: The table's name.
        columns: Those to read; None reads all that there are.

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
            _kept[key] = entry
            if len(_kept) > _MOST_KEPT:
                _kept.popitem(last=False)
    elif identity:
        _kept.move_to_end(key)
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
        there, read = _typed(pq.ParquetFile(path), table, columns)
        rows = _rows(read)
    except (OSError, pa.ArrowException, ValueError, OverflowError) as error:
        raise DatasetError(f"{path} cannot be read: {reason_of(error)}", REMOVE) from None
    if lacking := [name for name in NEVER_NULL[table] if name not in there]:
        raise DatasetError(f"{path} is not a file of the table {table}: it has no column {lacking[0]}", REMOVE)
    missing = dict.fromkeys(name for name in columns or () if name not in there)
    for row in rows:
        row.update(missing)
        if (wrong := odd_row(table, row)) is not None:
            raise DatasetError(f"{path} is not a file of the table {table}: {wrong}", REMOVE)
    return rows


def _typed(file: Any, table: str, columns: list[str] | None) -> tuple[set[str], Any]:  # noqa: ANN401 - likewise
    """The names of all columns, and those asked for in the types that the table has. Raises what PyArrow raises."""
    there = set(file.schema_arrow.names)
    wanted = [name for name in columns if name in there] if columns is not None else None
    kinds = {column.name: column.kind for column in TABLES[table]}
    read = file.read(columns=wanted, use_threads=False)
    types = {one.name: arrow_type(kinds[one.name]) if one.name in kinds else one.type for one in read.schema}
    schema = pa.schema([pa.field(name, kind) for name, kind in types.items()])
    return there, read if read.schema.equals(schema) else read.cast(schema)


def wrong_in(content: bytes, table: str, attempt: str) -> str | None:
    """What is wrong with a file that another machine sent, judged like one that is read; None where nothing is.

    Args:
        content: The file.
        table: The table's name.
        attempt: Whose rows it holds: run id, a dash, the attempt's number.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        judged = {"run_id", "attempt", *NEVER_NULL[table], *WORDS.get(table, ()), *_filled(file.metadata)}
        there, read = _typed(file, table, sorted(judged))
    except (OSError, pa.ArrowException, ValueError, OverflowError) as error:
        return f"it cannot be read: {reason_of(error)}"
    if lacking := [name for name in NEVER_NULL[table] if name not in there]:
        return f"it has no column {lacking[0]}"
    if foreign := there - {column.name for column in TABLES[table]}:
        return f"it has a column {short(min(foreign), _NAME)} that the table has not"
    run_ids, attempts = (read[name].unique().to_pylist() for name in ("run_id", "attempt"))
    is_one = len(run_ids) == len(attempts) == 1 and f"{run_ids[0]}-{attempts[0]}" == attempt
    if not is_one or (table == "runs" and len(read) != 1):
        return f"its rows are not those of {attempt}"
    rows = _rows(read) if table in _SMALL else []
    return next(filter(None, (odd_row(table, row) for row in rows)), None)


def _filled(metadata: Any) -> set[str]:  # noqa: ANN401 - likewise
    """Columns that have values: most of a wide table have none, and reading them takes most of the time."""
    parts = [
        metadata.row_group(n).column(i) for n in range(metadata.num_row_groups) for i in range(metadata.num_columns)
    ]
    return {
        one.path_in_schema.partition(".")[0]
        for one in parts
        if not (one.is_stats_set and one.statistics.has_null_count and one.statistics.null_count == one.num_values)
    }


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
