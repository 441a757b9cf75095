"""What lies inside of runs: quantiles of requests, the variance they leave in a run's mean, the course of the samples.

Requests are gone through cell by cell, so that memory follows the largest cell and not the study; samples by Polars'
streaming engine, which keeps sums and no rows.
"""

from typing import Any

import numpy as np
import polars as pl

from sparkray.analysis.describe import OF_REQUESTS
from sparkray.analysis.frames import CELL, Cell, Frames, reading
from sparkray.analysis.keys import key
from sparkray.analysis.schema import REQUEST_METRICS
from sparkray.units import NS_PER_MS

Row = dict[str, Any]
_QUANTILES = np.arange(101) / 100
_BINS = 20
_MEANS = ("gpu_temp_c", "gpu_power_w", "gpu_util_pct", "gpu_sm_clock_mhz", "cpu_busy_pct")


def request_rows(frames: Frames) -> tuple[list[Row], dict[tuple[Cell, str], float]]:
    """`requests`, and by cell and metric the mean over runs of the variance of a run's requests over their number."""
    rows: list[Row] = []
    shares: dict[tuple[Cell, str], float] = {}
    for cell in frames.cells:
        lazy = frames.scan("requests", frames.frame_of(cell))
        if lazy is None:
            continue
        with reading(sorted((frames.path / "requests").glob("*.parquet"))):
            found = _request_times(lazy).collect()
        for metric in REQUEST_METRICS:
            rows += _quantiles(cell, metric, found[metric].drop_nulls().to_numpy())
        for name, metric in OF_REQUESTS.items():
            share = _request_share(found, metric)
            if share is not None:
                shares[cell, name] = share
    return rows, shares


def _request_times(lazy: pl.LazyFrame) -> pl.LazyFrame:
    """Times of the requests that count, ms."""
    submit = pl.col("submit_ns")
    return lazy.filter(~pl.col("warmup") & pl.col("error").is_null()).select(
        "run_id",
        ((pl.col("end_ns") - submit) / NS_PER_MS).alias("latency_ms"),
        ((pl.col("first_token_ns") - submit) / NS_PER_MS).alias("ttft_ms"),
    )


def _quantiles(cell: Cell, metric: str, values: np.ndarray) -> list[Row]:
    if not len(values):
        return []
    found = np.quantile(values, _QUANTILES)
    return [
        {
            **cell.columns,
            "metric": metric,
            "quantile": float(q),
            "value": float(value),
            "trace": key("requests", *cell.columns.values(), metric, f"{q:.2f}"),
        }
        for q, value in zip(_QUANTILES, found, strict=True)
    ]


def _request_share(times: pl.DataFrame, metric: str) -> float | None:
    """Mean over runs of s^2 / m; None when no run has two requests."""
    one = pl.col(metric)
    by_run = times.drop_nulls(metric).group_by("run_id").agg((one.var() / one.len()).alias("share")).sort("run_id")
    found = by_run["share"].drop_nulls().mean()
    return float(found) if isinstance(found, float) else None


def temperature_rows(frames: Frames) -> list[Row]:
    """`temperatures`: the samples of a run in twenty stretches of equal length, averaged over the runs of a cell."""
    lazy = frames.scan("samples", frames.ok)
    if lazy is None:
        return []
    cells = pl.DataFrame([cell.columns for cell in frames.cells]).with_row_index("cell")
    with reading(sorted((frames.path / "samples").glob("*.parquet"))):
        spans = lazy.group_by("run_id").agg(pl.col("t_ns").min().alias("first"), pl.col("t_ns").max().alias("last"))
        runs = frames.ok.lazy().join(cells.lazy(), on=CELL).select("run_id", "cell").join(spans, on="run_id")
        found = _binned(lazy, runs.collect(engine="streaming")).collect(engine="streaming")
    named = found.join(cells, on="cell").drop("cell").with_columns(pl.col("progress_pct") * (100 / _BINS))
    rows = named.sort(*CELL, "progress_pct").to_dicts()
    return [
        {**row, "trace": key("temperatures", *(row[c] for c in CELL), f"{row['progress_pct']:.0f}")} for row in rows
    ]


def _binned(lazy: pl.LazyFrame, runs: pl.DataFrame) -> pl.LazyFrame:
    """Means and the least available memory by cell and stretch; one small group each, whatever the number of samples.

    A run is found by its id alone, since but one attempt of each is scanned. The means of the parts are sums of 64-bit
    numbers, so their order may change the last digit.
    """
    stretch = (pl.col("t_ns") - pl.col("first")) * _BINS // (pl.col("last") - pl.col("first") + 1)
    return (
        lazy.select("run_id", "t_ns", *_MEANS, "mem_available_gib")
        .join(runs.lazy(), on="run_id", how="inner")
        .group_by("cell", stretch.alias("progress_pct"))
        .agg(pl.len().cast(pl.Int64).alias("n"), pl.col(_MEANS).mean(), pl.col("mem_available_gib").min())
    )


def check_rows(frames: Frames) -> list[Row]:
    """`checks`: how often each said what, over every attempt, with one example."""
    lazy = frames.scan("checks", frames.attempts)
    if lazy is None:
        return []
    example = pl.concat_str(pl.col("run_id"), pl.lit(": "), pl.col("evidence").fill_null("")).min()
    with reading(sorted((frames.path / "checks").glob("*.parquet"))):
        found = lazy.group_by("check", "verdict").agg(pl.len().cast(pl.Int64).alias("count"), example.alias("example"))
        rows = found.sort("check", "verdict").collect(engine="streaming").to_dicts()
    return [{**row, "trace": key("checks", row["check"], row["verdict"])} for row in rows]
