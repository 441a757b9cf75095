"""Rows that sparkray cannot have written, refused before anything is computed from them."""

from pathlib import Path

import polars as pl
import polars.selectors as cs

from sparkray.errors import DatasetError
from sparkray.store import Dataset
from sparkray.store.documents import JSON_COLUMNS, LARGEST, NAMES, NEVER_NULL, ONE_ROW, REMOVE, WORDS, odd_row


def must_be_sound(rows: pl.DataFrame, folder: Path) -> None:
    """Refuse rows with a null key, an unknown status, a number that cannot be measured, or text that is not JSON.

    Args:
        rows: Of a table, or what was made of them: sums of numbers that cannot be measured are none either.
        folder: The table's.

    Raises:
        DatasetError: With the file of the first such row.
    """
    table = folder.name
    judged = dict.fromkeys(
        (*NEVER_NULL[table], *WORDS.get(table, ()), *NAMES, *(JSON_COLUMNS if table == "runs" else ()))
    )
    parts = rows.select(name for name in judged if name in rows.columns).unique()
    wrong = next(filter(None, (odd_row(table, row) for row in parts.iter_rows(named=True))), None)
    within = rows.select(((cs.float().abs() <= LARGEST) | cs.float().is_null()).all())
    odd = [name for name in within.columns if not within[name].all()]
    if wrong is None and odd:
        wrong = f"{odd[0]} has a value that cannot be measured"
    if wrong is None and table == "runs" and (twice := rows.filter(rows.select(*ONE_ROW).is_duplicated())).height:
        wrong = f"run {twice['run_id'][0]} has an attempt twice"
    if wrong is not None:
        Dataset(folder.parent).read(table)  # names the file
        raise DatasetError(f"{folder} holds a row that does not belong to the table {table}: {wrong}", REMOVE)
