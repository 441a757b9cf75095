"""Rows of `runs` that sparkray cannot have written, refused before anything is computed from them."""

from pathlib import Path

import polars as pl

from sparkray.errors import DatasetError
from sparkray.store import Dataset
from sparkray.store.documents import JSON_COLUMNS, NEVER_NULL, REMOVE, WORDS, odd_row


def must_be_sound(attempts: pl.DataFrame, folder: Path) -> None:
    """Refuse rows with a null key, an unknown status, or text that should be JSON and is not.

    Raises:
        DatasetError: With the file of the first such row.
    """
    columns = [name for name in (*NEVER_NULL["runs"], *WORDS["runs"], *JSON_COLUMNS) if name in attempts.columns]
    for row in attempts.select(list(dict.fromkeys(columns))).iter_rows(named=True):
        if (wrong := odd_row("runs", row)) is not None:
            Dataset(folder.parent).read("runs")  # names the file
            raise DatasetError(f"{folder} holds a row that does not belong to the table runs: {wrong}", REMOVE)
