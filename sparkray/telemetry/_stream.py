"""The file that samples stream into, in Arrow IPC stream format; `recover` reads it back even when it is truncated."""

import contextlib
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from sparkray.schema import FOLDER, Kind, arrow_type, declared_columns
from sparkray.telemetry import Row, Value

_BUFFER_BYTES = 65536
# Columns that no sampler fills in.
_OF_STREAM = ("sampler", "t_ns")

_FITTING: Mapping[Kind, tuple[type, ...]] = {
    "string": (str,),
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "int_list": (list,),
}


@cache
def kinds() -> Mapping[str, Kind]:
    """Type of each column of the stream: the table `samples` without run_id and attempt, which the store adds."""
    declared = declared_columns(FOLDER / "dataset" / "samples.csv")
    return {column.name: column.kind for column in declared if column.name not in ("run_id", "attempt")}


def sample_schema() -> Any:  # noqa: ANN401 - pyarrow is untyped
    """The stream's `pyarrow.Schema`."""
    return pa.schema([pa.field(name, arrow_type(kind)) for name, kind in kinds().items()])


def recover(path: Path) -> list[dict[str, Value]]:
    """Rows of all complete batches of a stream that may be truncated, in order.

    A missing file, or one without its schema, holds no rows. Every row has every column; missing is None.
    """
    rows: list[dict[str, Value]] = []
    with contextlib.suppress(pa.ArrowInvalid, OSError, StopIteration), pa.OSFile(str(path)) as source:
        reader = pa.ipc.open_stream(source)
        while True:
            batch = reader.read_next_batch()
            batch.validate(full=True)
            rows.extend(batch.to_pylist())
    return rows


def check_row(row: Row) -> None:
    """Reject a row that does not fit the stream, before it spoils a whole batch.

    Raises:
        TypeError: An unknown column, or a value of the wrong type.
    """
    known = kinds()
    for name, value in row.items():
        if (kind := known.get(name)) is None or name in _OF_STREAM:
            raise TypeError(f"unknown sample column {name!r}")
        if value is not None and type(value) not in _FITTING[kind]:
            raise TypeError(f"column {name!r} holds {kind}s, not {value!r}")


class Stream:
    """The file: add rows, and write a batch at every flush."""

    def __init__(self, path: Path) -> None:
        """Create the file.

        Raises:
            OSError: It cannot be created.
        """
        schema = sample_schema()
        self._rows: list[Row] = []
        self._type = pa.struct(list(schema))
        # The first conversion loads what pyarrow finds installed (pandas: 0.3 s of CPU). That is paid before the run.
        pa.array([{}], self._type)
        self._file = pa.OSFile(str(path), "wb")
        # Through pyarrow's own buffer: a Python file is called for every piece of every column.
        self._buffer = pa.BufferedOutputStream(self._file, _BUFFER_BYTES)
        self._writer = pa.ipc.new_stream(self._buffer, schema)

    def add(self, row: Row) -> None:
        self._rows.append(row)

    def flush(self) -> None:
        """Write the rows added since, and wait for the disk."""
        if self._rows:
            # As a struct, the rows are taken apart in C++, in half the time of RecordBatch.from_pylist.
            batch = pa.RecordBatch.from_struct_array(pa.array(self._rows, self._type))
            self._rows = []
            self._writer.write_batch(batch)
            self._buffer.flush()
            os.fdatasync(self._file.fileno())

    def close(self) -> None:
        """Flush, end the stream and close the file, also when the disk is full."""
        try:
            self.flush()
            self._writer.close()
        finally:
            # Closing tries once more to write what is buffered: on a full disk that fails as the write before did.
            try:
                self._buffer.close()
            finally:
                self._file.close()
