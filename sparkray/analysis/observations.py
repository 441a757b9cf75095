"""What lies inside of runs: quantiles of requests, the variance they leave in a run's mean, the course of the samples.

Requests are gone through cell by cell, so that memory follows the largest cell and not the study; samples a few runs at a
time, of which sums are kept and no rows.
"""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sparkray.analysis.describe import OF_REQUESTS
from sparkray.analysis.frames import Cell, Frames, reading
from sparkray.analysis.keys import key
from sparkray.analysis.schema import REQUEST_METRICS
from sparkray.stats.samples import of_ordered
from sparkray.units import NS_PER_MS

Row = dict[str, Any]
_QUANTILES = tuple(percent / 100 for percent in range(101))
_BINS = 20
_AT_ONCE = 15
"""Runs whose samples are in memory together."""
_MEANS = ("gpu_temp_c", "gpu_power_w", "gpu_util_pct", "gpu_sm_clock_mhz", "cpu_busy_pct")


def request_rows(frames: Frames) -> tuple[list[Row], dict[tuple[Cell, str], float]]:
    """`requests`, and by cell and metric the mean over runs of the variance of a run's requests over their number."""
    rows: list[Row] = []
    shares: dict[tuple[Cell, str], float] = {}
    for cell in frames.cells:
        lazy = frames.scan("requests", frames.frame_of(cell))
        if lazy is None:
            continue
        with reading(frames.path / "requests"):
            found = _request_times(lazy).collect()
        for metric in REQUEST_METRICS:
            rows += _quantiles(cell, metric, found[metric].drop_nulls().to_numpy())
        shares |= {(cell, name): share for name, share in _request_shares(found).items()}
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
    ordered = np.sort(values)
    return [
        {
            **cell.columns,
            "metric": metric,
            "quantile": q,
            "value": of_ordered(ordered, q),
            "trace": key("requests", *cell.columns.values(), metric, f"{q:.2f}"),
        }
        for q in _QUANTILES
    ]


def _request_shares(times: pl.DataFrame) -> dict[str, float]:
    """By metric, the mean over runs of s^2 / m; without those of which no run has two requests."""
    variances = [(pl.col(of).var() / pl.col(of).count()).alias(name) for name, of in OF_REQUESTS.items()]
    by_run = times.group_by("run_id").agg(variances).sort("run_id")
    means = by_run.select(pl.col(list(OF_REQUESTS)).drop_nulls().mean()).row(0, named=True)
    return {name: mean for name, mean in means.items() if mean is not None}


def temperature_rows(frames: Frames) -> list[Row]:
    """`temperatures`: the samples of a run in twenty stretches of equal length, averaged over the runs of a cell."""
    rows: list[Row] = []
    for cell in frames.cells:
        parts = [
            part for runs in frames.frame_of(cell).iter_slices(_AT_ONCE) if (part := _course(frames, runs)) is not None
        ]
        if parts:
            rows += [_temperatures(cell, row) for row in _averaged(pl.concat(parts)).iter_rows(named=True)]
    return rows


def _temperatures(cell: Cell, row: Row) -> Row:
    trace = key("temperatures", *cell.columns.values(), f"{row['progress_pct']:.0f}")
    return {**cell.columns, **row, "trace": trace}


def _course(frames: Frames, runs: pl.DataFrame) -> pl.DataFrame | None:
    """Counts, sums and the least available memory by stretch, of some attempts; None when none of them has samples."""
    lazy = frames.scan("samples", runs)
    if lazy is None:
        return None
    with reading(frames.path / "samples"):
        found = lazy.select("run_id", "t_ns", *_MEANS, "mem_available_gib").collect()
    pieces = found["run_id"].rle()  # rows of a run lie together, and places are grouped faster than names
    if pieces.struct.field("value").n_unique() < len(pieces):
        found = found.sort("run_id")
        pieces = found["run_id"].rle()
    stretch = _stretches(found["t_ns"].to_numpy(), pieces.struct.field("len").to_numpy().astype(np.int64))
    means = pl.col(_MEANS)
    return (
        found.drop("run_id", "t_ns")
        .with_columns(pl.Series("stretch", stretch))
        .group_by("stretch")
        .agg(pl.len(), means.sum(), means.count().name.suffix("_count"), pl.col("mem_available_gib").min())
    )


def _stretches(t: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Which twentieth of its run each time lies in, shape of `t`; the runs follow each other, with so many rows each."""
    starts = np.cumsum(lengths) - lengths
    first, last = np.minimum.reduceat(t, starts), np.maximum.reduceat(t, starts)
    since = t - np.repeat(first, lengths)
    return np.asarray(since * _BINS // np.repeat(last - first + 1, lengths), dtype=np.uint8)


def _averaged(parts: pl.DataFrame) -> pl.DataFrame:
    """Several parts of a cell as one, a row a stretch."""
    means = [(pl.col(name).sum() / pl.col(f"{name}_count").sum()).fill_nan(None) for name in _MEANS]
    return (
        parts.group_by("stretch")
        .agg(pl.col("len").sum().cast(pl.Int64).alias("n"), *means, pl.col("mem_available_gib").min())
        .sort("stretch")
        .select((pl.col("stretch") * (100 / _BINS)).alias("progress_pct"), pl.exclude("stretch"))
    )


def check_rows(frames: Frames) -> list[Row]:
    """`checks`: how often each said what, over every attempt, with one example."""
    lazy = frames.scan("checks", frames.attempts)
    if lazy is None:
        return []
    example = pl.concat_str(pl.col("run_id"), pl.lit(": "), pl.col("evidence").fill_null("")).min()
    with reading(frames.path / "checks"):
        found = lazy.group_by("check", "verdict").agg(pl.len().cast(pl.Int64).alias("count"), example.alias("example"))
        rows = found.sort("check", "verdict").collect(engine="streaming").to_dicts()
    return [{**row, "trace": key("checks", row["check"], row["verdict"])} for row in rows]
