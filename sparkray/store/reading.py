"""Parquet files of a dataset, checked when they are read: a foreign, cut or bit-flipped one is refused by its name."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sparkray.errors import DatasetError
from sparkray.files import check_regular
from sparkray.schema import Table, arrow_type
from sparkray.store.documents import NEVER_NULL, REMOVE, odd_row
from sparkray.units import reason_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rows_of(path: Path, table: str, known: Table, columns: list[str] | None = None) -> list[dict[str, Any]]:
    """The rows of one file; a column that an older version did not write is null.

    Args:
        path: The file.
        table: The table's name.
        known: Its columns.
        columns: Those to read; None reads all that there are.

    Raises:
        DatasetError: It is no Parquet, has columns of other types, or values that the table cannot have.
    """
    try:
        check_regular(path)
        file = pq.ParquetFile(path)
        there = set(file.schema_arrow.names)
        wanted = [name for name in columns if name in there] if columns is not None else None
        types = {column.name: arrow_type(column.kind) for column in known}
        read = file.read(columns=wanted, use_threads=False)
        fields = [pa.field(one.name, types.get(one.name, one.type)) for one in read.schema]
        rows = _rows(read.cast(pa.schema(fields)))
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
