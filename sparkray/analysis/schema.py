"""The tables of an analysis as data: every column with its type and meaning. Docs and tests come from here.

Every table always exists with all of its columns, even when nothing could be estimated; what could not says so in
`not_estimable`, and its numbers are null. `trace` is the key of a row's evidence: `sparkray.analysis.trace` opens it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

from sparkray.metrics import METRICS

Kind = Literal["string", "int", "float", "bool", "timestamp"]
_TYPES: Mapping[Kind, pl.DataType] = {
    "string": pl.String(),
    "int": pl.Int64(),
    "float": pl.Float64(),
    "bool": pl.Boolean(),
    "timestamp": pl.Datetime("us", "UTC"),
}
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


@dataclass(frozen=True)
class Column:
    """One column of a table: name (its unit at the end, where it has one), type, meaning."""

    name: str
    kind: Kind
    what: str


@dataclass(frozen=True)
class Table:
    """One table: what a row is, and its columns in order."""

    name: str
    what: str
    columns: tuple[Column, ...]

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """Polars types by column, in order."""
        return {column.name: _TYPES[column.kind] for column in self.columns}


def _text(name: str, what: str) -> Column:
    return Column(name, "string", what)


def _number(name: str, what: str) -> Column:
    return Column(name, "float", what)


def _count(name: str, what: str) -> Column:
    return Column(name, "int", what)


def _flag(name: str, what: str) -> Column:
    return Column(name, "bool", what)


_UNIT = "in the metric's own unit"
TRACE = _text("trace", "key of the row's evidence")
WHY_NOT = _text("not_estimable", "why there is no number; null when there is one")
_WHERE = (
    _text("model", "model card's name"),
    _text("level", "level of the load; empty where the experiment has but one"),
    _text("environment", "environment"),
)
_CELL = (*_WHERE, _text("metric", "metric, by its column in `runs`"))
_RATIO = (
    _number("ratio", "environment over reference: exponential of the mean log ratio inside blocks"),
    _number("low", "lower end of its 95 % interval (Student's t on the log scale)"),
    _number("high", "upper end of its 95 % interval"),
)

_DESCRIPTIVE = Table(
    "descriptive",
    "one metric of one model, level and environment over its ok runs",
    (
        *_CELL,
        _count("n", "runs with a value"),
        _number("mean", f"arithmetic mean, {_UNIT}"),
        _number("mean_low", "lower end of its 95 % interval (Student's t)"),
        _number("mean_high", "upper end of its 95 % interval"),
        _number("median", f"median, {_UNIT}"),
        _number("median_low", "lower end of its 95 % interval (order statistics)"),
        _number("median_high", "upper end of its 95 % interval"),
        _number("sd", "standard deviation, n - 1 in its denominator"),
        _number("min", "smallest"),
        _number("max", "largest"),
        _number("q1", "first quartile (type 7)"),
        _number("q3", "third quartile"),
        _number("cv_pct", "sd over mean, per cent"),
        _number("p5", "5th percentile"),
        _number("p95", "95th percentile"),
        _number("p99", "99th percentile"),
        _number("geometric_mean", "exponential of the mean logarithm; null unless every value is above 0"),
        _number("geometric_low", "lower end of its 95 % interval"),
        _number("geometric_high", "upper end of its 95 % interval"),
        WHY_NOT,
        TRACE,
    ),
)
_PROTOCOL = (
    _text("test", "test of the study's own protocol that was chosen: student, welch, mann_whitney, none"),
    _text("rule", "why it was chosen, in a sentence"),
    _number("statistic", "its statistic"),
    _number("p", "its two-sided p; it takes the arms as independent, which blocks are not"),
    _number("shapiro_p_a", "Shapiro-Wilk p of the reference arm"),
    _number("shapiro_p_b", "Shapiro-Wilk p of the environment"),
    _number("levene_p", "Levene's p for equal variances"),
    _number(
        "bootstrap_low", "lower end of the 95 % BCa interval of the ratio of means, 10,000 resamples of either arm"
    ),
    _number("bootstrap_high", "upper end of it"),
    _number("permutation_p", "p of the permutation test inside blocks"),
)
_EFFECT = (
    _number("cohen_d", "Cohen's d of the two arms, pooled sd"),
    _number("d_low", "lower end of its 95 % interval (noncentral t)"),
    _number("d_high", "upper end of it"),
    _number("hedges_g", "Hedges' g: d without its bias in small samples"),
    _number("g_low", "lower end of its 95 % interval"),
    _number("g_high", "upper end of it"),
    _number("p_bonferroni", "p adjusted over the family of primary comparisons (Bonferroni); null outside of it"),
    _number("p_holm", "the same by Holm"),
    _number("p_bh", "the same by Benjamini and Hochberg (false discovery rate)"),
    _number("minimum_detectable", "smallest relative difference that this n and spread find with 80 % power"),
    _number("power_planned", "power to call the arms equivalent with the planned pairs if the true ratio is 1"),
    _number("power_post_hoc", "power at the observed effect; a function of p that adds nothing to it"),
)
_ROBUST = (
    _number("ratio_without_outliers", "the ratio without the pairs whose log ratio is an outlier"),
    _number("low_without_outliers", "lower end of its 95 % interval"),
    _number("high_without_outliers", "upper end of it"),
    _count("outliers", "pairs whose log ratio is an outlier"),
    _number("sd_ratio", "sd of the log values of the environment over those of the reference, paired by block"),
    _number("sd_ratio_low", "lower end of its 95 % interval (Pitman and Morgan)"),
    _number("sd_ratio_high", "upper end of it"),
    _count("clusters", "machines and days that the pairs nest in"),
    _number(
        "cluster_low",
        "lower end of the 95 % interval over clusters; null where there is but one, and outside of the primary metrics",
    ),
    _number("cluster_high", "upper end of it"),
)
_COMPARISONS = Table(
    "comparisons",
    "one metric of one environment against the reference (native, else host), paired inside blocks",
    (
        *_WHERE,
        _text("against", "the reference environment"),
        _text("metric", "metric, by its column in `runs`"),
        _text("better", "which direction of the metric is better: higher, lower, neither"),
        _flag("primary", "whether the experiment declared it primary"),
        _count("n", "pairs"),
        *_RATIO,
        _number("low90", "lower end of its 90 % interval, which the equivalence test reads"),
        _number("high90", "upper end of it"),
        _number("sd_log", "standard deviation of the log ratios"),
        _flag("excludes_one", "whether the 95 % interval excludes 1"),
        _number("margin", "relative margin fixed before the data; null where none was"),
        _text("verdict", "equivalent, different, undecided; null without a margin"),
        _count("pairs_needed", "pairs that would decide at 80 % power if the true ratio is 1; null when decided"),
        _count("pairs_planned", "pairs that the experiment planned"),
        *_PROTOCOL,
        *_EFFECT,
        *_ROBUST,
        _text("sentence", "what it says, in a sentence"),
        WHY_NOT,
        TRACE,
    ),
)
_DIAGNOSTICS = Table(
    "diagnostics",
    "how one metric of one cell behaved over the runs",
    (
        *_CELL,
        _count("n", "runs with a value"),
        _number("drift_pct_per_run", "slope over the order of all runs (Theil and Sen), per cent of the median a run"),
        _number("drift_p", "p of no trend (Kendall)"),
        _number("lag1", "lag-1 autocorrelation in run order"),
        _number("effective_n", "independent runs that these are worth"),
        _number("share_between_blocks_pct", "share of variance between blocks, over all environments of the model"),
        _number("share_within_pct", "share of variance between runs within blocks"),
        _number("share_requests_pct", "share of variance from requests within runs; null where requests tell nothing"),
        _flag("first_run_slow", "whether the cell's first run is an outlier on the bad side"),
        _count("outliers", "runs that are outliers in their cell"),
        WHY_NOT,
        TRACE,
    ),
)
_VERDICT_BY_N = Table(
    "verdict_by_n",
    "the verdict as it would have stood after the first n blocks",
    (
        *_CELL,
        _count("n", "pairs, the first ones in order of block"),
        *_RATIO,
        _text("verdict", "equivalent, different, undecided"),
        WHY_NOT,
        TRACE,
    ),
)
_POWER_CURVE = Table(
    "power_curve",
    "power of the equivalence test at true ratio 1, by number of pairs, for the spreads that were seen",
    (
        _text("environment", "environment, against the reference"),
        _text("metric", "metric"),
        _number("margin", "relative margin"),
        _text("spread", "which model's spread: min, median, max"),
        _number("cv_pct", "spread of one run that the log ratios show (their sd over the root of 2), per cent"),
        _count("n", "pairs"),
        _number("power", "chance to call the arms equivalent when they are"),
        TRACE,
    ),
)
_SIZE = Table(
    "size",
    "the ratio by model size, architecture and precision, and its slope on the logarithm of parameters",
    (
        _text("environment", "environment, against the reference"),
        _text("metric", "metric"),
        _text("group_by", "size (one model a row), architecture, precision, slope"),
        _text("group", "the model, architecture or precision; `all` for the slope"),
        _text("level", "level of the load"),
        _number("params_b", "parameters, 10^9; null unless a row is one model"),
        _count("n_models", "models in the group"),
        _number("ratio", "ratio of the model, or geometric mean of the models' ratios"),
        _number("low", "lower end of its 95 % interval; over models, the model being the unit"),
        _number("high", "upper end of it"),
        _number("slope", "change of the log ratio when parameters grow tenfold; `slope` rows alone"),
        _number("slope_low", "lower end of its 95 % interval"),
        _number("slope_high", "upper end of it"),
        _number("p", "its two-sided p against 0"),
        WHY_NOT,
        TRACE,
    ),
)
_GAP = Table(
    "gap",
    "what the optimised container changes: against the baseline container, paired inside blocks, primary metrics alone",
    (
        *_WHERE,
        _text("against", "container_baseline"),
        _text("metric", "metric, by its column in `runs`"),
        _count("n", "pairs"),
        _number("ratio", "container_optimized over container_baseline"),
        _number("low", "lower end of its 95 % interval (Student's t on the log scale)"),
        _number("high", "upper end of its 95 % interval"),
        _flag("helps", "whether the interval lies wholly on the better side of 1"),
        _flag("harms", "whether it lies wholly on the worse side"),
        _number(
            "closed_pct", "share of the baseline's log ratio to the reference that is gone; null where it had no gap"
        ),
        _number("sd_ratio", "sd of the log values over the baseline's, paired by block"),
        _number("sd_ratio_low", "lower end of its 95 % interval (Pitman and Morgan)"),
        _number("sd_ratio_high", "upper end of it"),
        WHY_NOT,
        TRACE,
    ),
)
_MEMORY = Table(
    "memory",
    "mean of each kind of memory in each environment",
    (
        *_WHERE,
        _text("part", "which memory, by its column in `runs`"),
        _number("mean", "mean over ok runs, GiB"),
        _number("low", "lower end of its 95 % interval"),
        _number("high", "upper end of it"),
        _count("n", "runs with a value"),
        TRACE,
    ),
)
_ORDER = Table(
    "order",
    "every run that ended, of whatever status, in the order of their start",
    (
        _text("run_id", "the run"),
        _count("attempt", "the try at it"),
        *_WHERE,
        _count("block", "block"),
        _count("position", "place in the plan"),
        Column("started_at", "timestamp", "when the engine was started, UTC"),
        _number("output_throughput_tok_s", "throughput"),
        _number("gpu_temp_start_c", "GPU temperature at the first sample"),
        _number("gpu_temp_max_c", "highest GPU temperature"),
        _text("status", "status"),
        TRACE,
    ),
)
_REQUESTS = Table(
    "requests",
    "quantiles of the requests of a cell, its ok runs pooled; requests are no replicates, this is for drawing",
    (
        *_WHERE,
        _text("metric", "latency_ms or ttft_ms"),
        _number("quantile", "0 to 1, in hundredths"),
        _number("value", "quantile (type 7), ms"),
        TRACE,
    ),
)
_TEMPERATURES = Table(
    "temperatures",
    "what the samplers saw, by how far the run had gone, averaged over the ok runs of a cell",
    (
        *_WHERE,
        _number("progress_pct", "start of the twentieth of the run that is meant, 0 to 95"),
        _count("n", "samples"),
        _number("gpu_temp_c", "mean GPU temperature"),
        _number("gpu_power_w", "mean GPU power"),
        _number("gpu_util_pct", "mean GPU utilisation"),
        _number("gpu_sm_clock_mhz", "mean SM clock"),
        _number("cpu_busy_pct", "mean busy time over all CPUs"),
        _number("mem_available_gib", "least MemAvailable"),
        TRACE,
    ),
)
_QUESTIONS = Table(
    "questions",
    "the five research questions, answered from these data",
    (
        _count("question", "1 to 5"),
        _text("environment", "environment that the answer is of"),
        _text("metric", "metric that the answer is of; empty where it is of all"),
        _text("answer", "one paragraph"),
        _text("supports", "JSON list of the traces that it stands on"),
        _text("verdict", "yes, no, partly, undecided, unanswered"),
        TRACE,
    ),
)
_CHECKS = Table(
    "checks",
    "how often each validity check said what",
    (
        _text("check", "name of the check"),
        _text("verdict", "pass, warn, invalid"),
        _count("count", "attempts"),
        _text("example", "one of them: run and what was seen"),
        TRACE,
    ),
)
_RUNS = Table(
    "runs",
    "the ok runs that everything here was computed from",
    (
        _text("run_id", "the run"),
        _count("attempt", "the try that stands for it"),
        *_WHERE,
        _count("block", "block"),
        _count("position", "place in the plan"),
        *(_number(metric.name, metric.what) for metric in METRICS),
        TRACE,
    ),
)

TABLES: Mapping[str, Table] = {
    table.name: table
    for table in (
        _DESCRIPTIVE,
        _COMPARISONS,
        _DIAGNOSTICS,
        _VERDICT_BY_N,
        _POWER_CURVE,
        _SIZE,
        _GAP,
        _MEMORY,
        _ORDER,
        _REQUESTS,
        _TEMPERATURES,
        _QUESTIONS,
        _CHECKS,
        _RUNS,
    )
}
