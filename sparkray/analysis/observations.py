"""Tables on what happened inside runs: quantiles of requests, their share in a run's variance, samples over time, checks.

Requests are read cell by cell, so that memory use depends on the largest cell and not on the study; samples a few runs at a
time, of which only sums are kept.
"""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sparkray.analysis.describe import OF_REQUESTS
from sparkray.analysis.frames import Cell, Frames, reading
from sparkray.analysis.provenance_ids import provenance_id
from sparkray.analysis.schema import REQUEST_METRICS
from sparkray.stats import NotEstimable
from sparkray.stats.components import residual_share
from sparkray.stats.samples import of_ordered
from sparkray.units import NS_PER_MS

Row = dict[str, Any]
_QUANTILES = tuple(percent / 100 for percent in range(101))
_BINS = 20
# Runs whose samples are in memory together.
_AT_ONCE = 15
_MEANS = ("gpu_temp_c", "gpu_power_w", "gpu_util_pct", "gpu_sm_clock_mhz", "cpu_busy_pct")


def request_rows(frames: Frames) -> tuple[list[Row], dict[tuple[Cell, str], float]]:
    """`requests`, and by cell and metric what single requests leave in a run's mean."""
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
        "request",
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
            "trace": provenance_id("requests", *cell.columns.values(), metric, f"{q:.2f}"),
        }
        for q in _QUANTILES
    ]


def _request_shares(times: pl.DataFrame) -> dict[str, float]:
    """By metric, what single requests leave in a run's mean; without those that tell nothing."""
    shares: dict[str, float] = {}
    for name, of in OF_REQUESTS.items():
        known = times.drop_nulls((of, "request"))
        found = residual_share(known[of].to_numpy(), _runs(known["run_id"]), known["request"].to_numpy())
        if not isinstance(found, NotEstimable):
            shares[name] = found
    return shares


def _runs(run_ids: pl.Series) -> NDArray[np.int64]:
    """Which run each row is of, numbered from 0. Rows of a run lie together, as a rule, and stretches are found fastest."""
    stretches = run_ids.rle()
    apart = stretches.struct.field("value").n_unique() < len(stretches)
    numbers = run_ids.rank("dense") - 1 if apart else run_ids.rle_id()
    return numbers.cast(pl.Int64).to_numpy()


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
    trace = provenance_id("temperatures", *cell.columns.values(), f"{row['progress_pct']:.0f}")
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
    """`checks`: how often each check gave each verdict, over every attempt, with one example."""
    lazy = frames.scan("checks", frames.attempts)
    if lazy is None:
        return []
    example = pl.concat_str(pl.col("run_id"), pl.lit(": "), pl.col("evidence").fill_null("")).min()
    with reading(frames.path / "checks"):
        found = lazy.group_by("check", "verdict").agg(pl.len().cast(pl.Int64).alias("count"), example.alias("example"))
        rows = found.sort("check", "verdict").collect(engine="streaming").to_dicts()
    return [{**row, "trace": provenance_id("checks", row["check"], row["verdict"])} for row in rows]
