"""Tables on what happened inside runs: quantiles of requests, their share in a run's variance, samples over time, checks.

Files are read a few at a time and reduced at once: of requests to their times, of samples to sums over stretches of a run.
What is left is small, and lies in one file of the dataset's cache for the next analysis.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sparkray.analysis.cache import PACKAGE, kept
from sparkray.analysis.describe import OF_REQUESTS
from sparkray.analysis.frames import CELL, KEYS, Cell, Frames, reading, scan_files
from sparkray.analysis.provenance_ids import provenance_id
from sparkray.analysis.schema import REQUEST_METRICS
from sparkray.analysis.sound import must_be_sound
from sparkray.stats import NotEstimable
from sparkray.stats.components import residual_share
from sparkray.stats.samples import Vector, of_ordered
from sparkray.units import NS_PER_MS

Row = dict[str, Any]
_QUANTILES = tuple(percent / 100 for percent in range(101))
_BINS = 20
# Files whose rows are in memory together.
_AT_ONCE = 30
_VERDICT = ("check", "verdict", "evidence")
_MEANS = ("gpu_temp_c", "gpu_power_w", "gpu_util_pct", "gpu_sm_clock_mhz", "cpu_busy_pct")


def request_rows(frames: Frames) -> tuple[list[Row], dict[tuple[Cell, str], float]]:
    """`requests`, and by cell and metric what single requests leave in a run's mean."""
    rows: list[Row] = []
    shares: dict[tuple[Cell, str], float] = {}
    times = _with_cells(_reduced(frames, "requests", frames.ok, _request_times), frames)
    runs = (pl.col("run_id").rank("dense").over("cell") - 1).cast(pl.Int64).alias("run")
    for of_cell in times.sort("cell", maintain_order=True).with_columns(runs).partition_by("cell", maintain_order=True):
        cell = frames.cells[of_cell["cell"][0]]
        found = of_cell.select("run", "request", *REQUEST_METRICS).explode("request", *REQUEST_METRICS)
        for metric in REQUEST_METRICS:
            rows += _quantiles(cell, metric, found[metric].drop_nulls().sort(multithreaded=False).to_numpy())
        shares |= {(cell, name): share for name, share in _request_shares(found).items()}
    return rows, shares


def _reduced(
    frames: Frames, table: str, runs: pl.DataFrame, reduce: Callable[[pl.LazyFrame], pl.DataFrame]
) -> pl.DataFrame:
    """What a table's files say of some attempts and perhaps of others, reduced a few files at a time, and kept."""
    files = frames.files_of(table, runs)

    def read() -> pl.DataFrame:
        with reading(files.folder):
            starts = range(0, max(1, len(files.paths)), _AT_ONCE)
            made = pl.concat([reduce(scan_files(files.paths[start : start + _AT_ONCE], table)) for start in starts])
        must_be_sound(made, files.folder)
        return made

    return kept(files, read, code=PACKAGE)


def _with_cells(reduced: pl.DataFrame, frames: Frames) -> pl.DataFrame:
    """The rows of a reduced table that are of ok runs, in the same order, with `cell`: its place in `frames.cells`."""
    places = pl.DataFrame([cell.columns for cell in frames.cells], schema=dict.fromkeys(CELL, pl.String))
    owners = frames.ok.join(places.with_row_index("cell"), on=CELL).select(*KEYS, "cell")
    return reduced.join(owners, on=KEYS, maintain_order="left")


def _request_times(lazy: pl.LazyFrame) -> pl.DataFrame:
    """Times of the requests that count, ms: a row an attempt, with lists."""
    submit = pl.col("submit_ns")
    times = lazy.filter(~pl.col("warmup") & pl.col("error").is_null()).select(
        *KEYS,
        "request",
        ((pl.col("end_ns") - submit) / NS_PER_MS).alias("latency_ms"),
        ((pl.col("first_token_ns") - submit) / NS_PER_MS).alias("ttft_ms"),
    )
    return times.group_by(KEYS, maintain_order=True).agg(pl.all()).collect()


def _quantiles(cell: Cell, metric: str, ordered: Vector) -> list[Row]:
    if not len(ordered):
        return []
    head, trace = {**cell.columns, "metric": metric}, provenance_id("requests", *cell.columns.values(), metric)
    return [{**head, "quantile": q, "value": of_ordered(ordered, q), "trace": f"{trace}/{q:.2f}"} for q in _QUANTILES]


def _request_shares(times: pl.DataFrame) -> dict[str, float]:
    """By metric, what single requests leave in a run's mean; without those that tell nothing."""
    shares: dict[str, float] = {}
    for name, of in OF_REQUESTS.items():
        lacking = times[of].has_nulls() or times["request"].has_nulls()
        known = times.drop_nulls((of, "request")) if lacking else times
        runs = known["run"].to_numpy()
        if len(known) < len(times):  # a run may have gone
            runs = np.unique(runs, return_inverse=True)[1]
        found = residual_share(known[of].to_numpy(), runs, known["request"].to_numpy())
        if not isinstance(found, NotEstimable):
            shares[name] = found
    return shares


def temperature_rows(frames: Frames) -> list[Row]:
    """`temperatures`: the samples of a run in twenty stretches of equal length, averaged over the runs of a cell."""
    if not frames.cells:
        return []
    courses = _reduced(frames, "samples", frames.ok, _course)
    averaged = _averaged(_with_cells(courses, frames))
    return [_temperatures(frames.cells[row.pop("cell")], row) for row in averaged.iter_rows(named=True)]


def _temperatures(cell: Cell, row: Row) -> Row:
    trace = provenance_id("temperatures", *cell.columns.values(), f"{row['progress_pct']:.0f}")
    return {**cell.columns, **row, "trace": trace}


def _course(lazy: pl.LazyFrame) -> pl.DataFrame:
    """Counts, sums and the least available memory by attempt and stretch."""
    found = lazy.select(*KEYS, "t_ns", *_MEANS, "mem_available_gib").collect()
    if found["t_ns"].has_nulls():
        raise pl.exceptions.ComputeError("t_ns is null")
    found = found.with_columns(_attempt_numbers(found).alias("piece"))
    if found.select(KEYS).n_unique() < found["piece"].n_unique():  # rows of an attempt lie together, as a rule
        found = found.sort(KEYS)
        found = found.with_columns(_attempt_numbers(found).alias("piece"))
    lengths = found["piece"].rle().struct.field("len").to_numpy().astype(np.int64)
    stretch = _stretches(found["t_ns"].to_numpy(), lengths) if len(found) else np.zeros(0, dtype=np.uint8)
    means = pl.col(_MEANS)
    return (
        found.with_columns(pl.Series("stretch", stretch))
        .group_by("piece", "stretch", maintain_order=True)
        .agg(
            pl.col(KEYS).first(),
            pl.len(),
            means.sum(),
            means.count().name.suffix("_count"),
            pl.col("mem_available_gib").min(),
        )
        .drop("piece")
    )


def _attempt_numbers(rows: pl.DataFrame) -> pl.Series:
    """Numbers that rise where the attempt is another than that of the row before; places are grouped faster than names."""
    another = pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift()) for name in KEYS)
    return rows.select(another.cum_sum()).to_series()


def _stretches(t: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Which twentieth of its run each time lies in, shape of `t`; the runs follow each other, with so many rows each."""
    starts = np.cumsum(lengths) - lengths
    first, last = np.minimum.reduceat(t, starts), np.maximum.reduceat(t, starts)
    since = t - np.repeat(first, lengths)
    return np.asarray(since * _BINS // np.repeat(last - first + 1, lengths), dtype=np.uint8)


def _averaged(parts: pl.DataFrame) -> pl.DataFrame:
    """Several parts of a cell as one, a row a cell and stretch."""
    means = [(pl.col(name).sum() / pl.col(f"{name}_count").sum()).fill_nan(None) for name in _MEANS]
    return (
        parts.group_by("cell", "stretch")
        .agg(pl.col("len").sum().cast(pl.Int64).alias("n"), *means, pl.col("mem_available_gib").min())
        .sort("cell", "stretch")
        .select("cell", (pl.col("stretch") * (100 / _BINS)).alias("progress_pct"), pl.exclude("cell", "stretch"))
    )


def check_rows(frames: Frames) -> list[Row]:
    """`checks`: how often each check gave each verdict, over every attempt, with one example."""
    every = _reduced(frames, "checks", frames.attempts, lambda lazy: lazy.select(*KEYS, *_VERDICT).collect())
    example = pl.concat_str(pl.col("run_id"), pl.lit(": "), pl.col("evidence").fill_null("")).min()
    counted = pl.len().cast(pl.Int64).alias("count"), example.alias("example")
    of_attempts = every.join(frames.attempts.select(KEYS), on=KEYS, how="semi")
    rows = of_attempts.group_by("check", "verdict").agg(*counted).sort("check", "verdict").to_dicts()
    return [{**row, "trace": provenance_id("checks", row["check"], row["verdict"])} for row in rows]
