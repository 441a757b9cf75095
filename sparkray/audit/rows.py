"""Rows of a table by its columns: tens of thousands of mappings take longer to make than to judge."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, overload

Row = Mapping[str, Any]


class Table(Sequence[Row]):
    """Rows that are made when they are asked for; `columns` are alike in length."""

    def __init__(self, columns: Mapping[str, Sequence[Any]]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> "Table": ...
    def __getitem__(self, index: int | slice) -> "Row | Table":
        cut = {name: cells[index] for name, cells in self.columns.items()}
        return Table(cut) if isinstance(index, slice) else cut

    def __iter__(self) -> Iterator[Row]:
        return (dict(zip(self.columns, row, strict=True)) for row in zip(*self.columns.values(), strict=True))


def as_columns(rows: Sequence[Row]) -> Mapping[str, Sequence[Any]]:
    """Cells by column; None where a row lacks one."""
    if isinstance(rows, Table):
        return rows.columns
    return {name: [row.get(name) for row in rows] for name in dict.fromkeys(chain.from_iterable(rows))}
