"""The constants of the method with their sources, from `method.csv`; a value that the code has is taken from there."""

from importlib.resources import files
from pathlib import Path

import polars as pl

from sparkray.analysis.schema import DERIVED, frame_of
from sparkray.config.model import RESERVE_GIB
from sparkray.schema import read_rows
from sparkray.stats.nested import LEAST_RESAMPLED

_OF_CODE = {"least_clusters": LEAST_RESAMPLED, "reserve_gib": RESERVE_GIB}


def method() -> pl.DataFrame:
    """One row a constant."""
    file = Path(str(files("sparkray.analysis").joinpath("method.csv")))
    rows = (row for _, row in read_rows(file, ("name", "value", "note")))
    constants = (
        {**row, "value": float(_OF_CODE.get(row["name"]) or row["value"]), "trace": f"method/{row['name']}"}
        for row in rows
    )
    return frame_of(DERIVED["method"], constants)
