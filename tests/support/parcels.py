"""Stands in for parts of a machine of a cluster: an actor that answers at once, and files that were damaged on the way."""

from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq


class Called:
    """A method of an actor that answers at once."""

    def __init__(self, method: Callable[..., object]) -> None:
        self.method = method

    def options(self, name: str) -> "Called":
        return self

    def remote(self, *arguments: object) -> object:
        return self.method(*arguments)


def spoiled(name: str, content: bytes, how: str) -> bytes:
    """A file of a machine whose disk, memory or version is another."""
    if how == "cut":
        return content[:-9]
    if how == "flipped":
        return content[:60] + bytes([content[60] ^ 0xFF]) * 40 + content[100:]
    table = pq.read_table(pa.BufferReader(content))
    column = "status" if name.startswith("runs/") else "verdict" if name.startswith("checks/") else "attempt"
    changes = {
        "of another run": {"run_id": "f" * 16},
        "null": {"run_id": None},
        "another word": {column: "fine"},
        "another type": {"attempt": "one"},
        "a foreign column": {"colour": "red"},
    }[how]
    for key, value in changes.items():
        array = pa.array([value] * len(table))
        here = table.column_names.index(key) if key in table.column_names else None
        table = table.append_column(key, array) if here is None else table.set_column(here, key, array)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())
