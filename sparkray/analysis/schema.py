"""The tables of an analysis, as `sparkray/columns/analysis/` declares them.

Every table always exists with all of its columns, even when nothing could be estimated; what could not has the reason in
`not_estimable`, and its numbers are null. `trace` is the key of a row's evidence: `sparkray.analysis.trace` opens it.
"""

from collections.abc import Iterable, Mapping

import polars as pl

from sparkray.metrics import metric_columns
from sparkray.schema import FOLDER, Column, Kind, Tables

TABLES = Tables(FOLDER / "analysis", {"<metrics>": metric_columns})
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
