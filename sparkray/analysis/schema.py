"""The tables of an analysis and those derived from them, as `sparkray/columns/` declares them.

Every table always exists with all of its columns, even when nothing could be estimated; what could not has the reason in
`not_estimable`, and its numbers are null. `trace` is the key of a row's evidence: `sparkray.analysis.trace` opens it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from sparkray.metrics import metric_columns
from sparkray.schema import FOLDER, Column, Kind, Table, Tables

TABLES = Tables(FOLDER / "analysis", {"<metrics>": metric_columns})
# Tables of a report that are derived from those of an analysis, of an optimisation, or of two studies.
DERIVED = Tables(FOLDER / "derived", {})
MEMORY_PARTS = (
    "host_available_drop_peak_gib",
    "host_free_drop_peak_gib",
    "gpu_process_peak_gib",
    "process_rss_peak_gib",
    "process_pss_peak_gib",
    "cgroup_anon_peak_gib",
    "cgroup_file_peak_gib",
    "engine_reported_peak_gib",
    "kv_cache_gib",
)
REQUEST_METRICS = ("latency_ms", "ttft_ms")
_TYPES: Mapping[Kind, pl.DataType] = {
    "string": pl.String(),
    "int": pl.Int64(),
    "float": pl.Float64(),
    "bool": pl.Boolean(),
    "timestamp": pl.Datetime("us", "UTC"),
    "int_list": pl.List(pl.Int64()),
    "string_list": pl.List(pl.String()),
}


def polars_types(columns: Iterable[Column]) -> dict[str, pl.DataType]:
    """Polars types by column, in order."""
    return {column.name: _TYPES[column.kind] for column in columns}


def frame_of(table: Table, rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows with the columns of a table; what a row lacks is null."""
    every, types = list(rows), polars_types(table)
    return pl.DataFrame({name: [row.get(name) for row in every] for name in types}, schema=types)
