"""The tables of an analysis as data: every column with its type and meaning. Docs and tests come from here.

Every table always exists with all of its columns, even when nothing could be estimated; what could not says so in
`not_estimable`, and its numbers are null. `trace` is the key of a row's evidence: `sparkray.analysis.trace` opens it.
"""

from collections.abc import Mapping

from sparkray.analysis.columns import (
    COMPARISONS,
    LEVEL,
    METRIC,
    POWER_CHECKED,
    RATIO,
    SPREAD,
    TRACE,
    WHERE,
    WHY_NOT,
    WHY_NULL,
    Column,
    Table,
    count,
    flag,
    number,
    text,
)
from sparkray.metrics import METRICS

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
_UNIT = "in the metric's own unit"
_CELL = (*WHERE, METRIC)
_DESCRIPTIVE = Table(
    "descriptive",
    "one metric of one model, level and environment over its ok runs",
    (
        *_CELL,
        count("n", "runs with a value"),
        number("mean", f"arithmetic mean, {_UNIT}"),
        number("mean_low", "lower end of its 95 % interval (Student's t)"),
        number("mean_high", "upper end of its 95 % interval"),
        number("median", f"median, {_UNIT}"),
        number("median_low", "lower end of its 95 % interval (order statistics)"),
        number("median_high", "upper end of its 95 % interval"),
        number("sd", "standard deviation, n - 1 in its denominator"),
        number("min", "smallest"),
        number("max", "largest"),
        number("q1", "first quartile (type 7)"),
        number("q3", "third quartile"),
        number("cv_pct", "sd over mean, per cent"),
        *(
            column
            for q in (5, 95, 99)
            for column in (
                number(f"p{q}", f"{q}th percentile"),
                number(
                    f"p{q}_low", "lower end of its 95 % interval (order statistics); null where n is too small for it"
                ),
                number(f"p{q}_high", "upper end of it"),
            )
        ),
        number("geometric_mean", "exponential of the mean logarithm; null unless every value is above 0"),
        number("geometric_low", "lower end of its 95 % interval"),
        number("geometric_high", "upper end of its 95 % interval"),
        POWER_CHECKED,
        WHY_NOT,
        WHY_NULL,
        TRACE,
    ),
)
_DIAGNOSTICS = Table(
    "diagnostics",
    "how one metric of one cell behaved over the runs",
    (
        *_CELL,
        count("n", "runs with a value"),
        number("drift_pct_per_run", "slope over the order of all runs (Theil and Sen), per cent of the median a run"),
        number("drift_p", "p of no trend (Kendall)"),
        number("lag1", "lag-1 autocorrelation in run order"),
        number("effective_n", "independent runs that these are worth"),
        number("share_between_blocks_pct", "share of variance between blocks, over all environments of the model"),
        number(
            "share_within_pct", "share of variance from run to run within blocks, beyond what single requests leave"
        ),
        number(
            "share_run_request_pct",
            "share of variance that single requests leave in a run's mean: the residual of run x request, what a request "
            "takes beyond its own mean and its run's; of metrics over requests alone",
        ),
        flag("first_run_slow", "whether the cell's first run is an outlier on the bad side"),
        count("outliers", "runs that are outliers in their cell"),
        WHY_NOT,
        WHY_NULL,
        TRACE,
    ),
)
_VERDICT_BY_N = Table(
    "verdict_by_n",
    "the verdict as it would have stood after the first n blocks; in a sequential experiment, as it stood at each look",
    (
        *_CELL,
        count("n", "pairs, the first ones in order of block; of a look, in the order in which they were completed"),
        *RATIO,
        text("verdict", "equivalent, different, undecided"),
        flag("decided", "whether that is a decision"),
        WHY_NOT,
        TRACE,
    ),
)
_POWER_CURVE = Table(
    "power_curve",
    "power of the equivalence test at true ratio 1, by number of pairs, for the spreads that were seen",
    (
        text("environment", "environment, against the reference"),
        text("metric", "metric"),
        LEVEL,
        number("margin", "relative margin"),
        text("spread", "which model's spread: min, median, max"),
        number("cv_pct", "spread of one run that the log ratios show (their sd over the root of 2), per cent"),
        count("n", "pairs"),
        number("power", "chance to call the arms equivalent when they are"),
        TRACE,
    ),
)
_SIZE = Table(
    "size",
    "ratios by size, architecture and precision, and the slope on the logarithm of parameters; each level by itself",
    (
        text("environment", "environment, against the reference"),
        text("metric", "metric"),
        LEVEL,
        text("group_by", "size (one model a row), architecture, precision, all (models), slope"),
        text("group", "the model, architecture or precision; `all` for all models and for the slope"),
        number("params_b", "parameters, 10^9: of the model; of a slope the middle of its models (geometric mean)"),
        count("n_models", "models that the row rests on"),
        count("models_left_out", "models of the group that have no ratio"),
        number(
            "ratio",
            "ratio of the model; of several, random-effects mean; of a slope, the height of its line at params_b",
        ),
        number("low", "lower end of its 95 % interval; over models (Knapp and Hartung), the model being the unit"),
        number("high", "upper end of it"),
        number("q", "Cochran's Q of the group's models: how far they scatter beyond their own noise"),
        number("q_p", "its p: the chance of so much scatter if all had one ratio"),
        number(
            "i2_pct", "share of the scatter inside the groups that is not the models' own noise (I squared), per cent"
        ),
        number("tau", "sd of the true log ratios from model to model, pooled inside the groups of a row's kind"),
        number("slope", "change of the log ratio when parameters grow tenfold; `slope` rows alone"),
        number("slope_low", "lower end of its 95 % interval"),
        number("slope_high", "upper end of it"),
        number("p", "its two-sided p against 0"),
        WHY_NOT,
        text(
            "why_null",
            "JSON: why a group has no Q; null where it has one",
        ),
        TRACE,
    ),
)
_CONTRASTS = Table(
    "contrasts",
    "two architectures or two precisions against each other, at one level of the load, models being the unit",
    (
        text("environment", "environment, against the reference"),
        text("metric", "metric"),
        LEVEL,
        text("group_by", "architecture, precision"),
        text("first", "one group"),
        text("second", "the other"),
        count("n_models", "models in both"),
        number("ratio", "ratio of the second group over that of the first"),
        number("low", "lower end of its 95 % interval (random effects; Knapp and Hartung)"),
        number("high", "upper end of it"),
        count("df", "degrees of freedom: models of all groups less groups"),
        number("tau", "sd of the true log ratios from model to model inside a group, pooled over groups"),
        number("p", "two-sided p of no difference"),
        number("p_holm", "the same by Holm over all contrasts of environment, metric and level"),
        WHY_NOT,
        TRACE,
    ),
)
_GAP = Table(
    "gap",
    "what the optimised container changes: against the baseline container, paired inside blocks, primary metrics alone",
    (
        *WHERE,
        text("against", "container_baseline"),
        METRIC,
        count("n", "pairs"),
        number("ratio", "container_optimized over container_baseline"),
        number("low", "lower end of its 95 % interval (Student's t on the log scale), of a fixed number of pairs"),
        number("high", "upper end of its 95 % interval"),
        number("p", "two-sided p of a ratio of 1 (paired t test on the log ratios); null where looks were taken"),
        number("p_holm", "the same by Holm over the models and levels of the metric"),
        flag("helps", "whether the optimised container is shown better than the baseline, after Holm at 5 %"),
        flag("harms", "whether it is shown worse"),
        number(
            "gap_p_holm",
            "p_paired of the baseline container against the reference, by Holm over the models and levels of the metric",
        ),
        flag(
            "gap_shown",
            "whether the baseline container is shown worse than the reference, after Holm at 5 %; where looks were taken by "
            "the interval over all of them",
        ),
        flag("closed", "whether it is, and the optimised container is equivalent to the reference"),
        number(
            "closed_pct",
            "share of the baseline's log ratio to the reference that is gone, in the blocks that hold all three; null where "
            "no gap was shown",
        ),
        number("closed_low_pct", "lower end of its 95 % interval (Fieller)"),
        number("closed_high_pct", "upper end of it"),
        number("sd_ratio", "total sd of the log values, blocks included, over the baseline's"),
        *SPREAD,
        number("sd_ratio_p_holm", "the same by Holm over the models and levels of the metric"),
        flag("calmer", "whether the spread is shown smaller, after Holm at 5 %"),
        flag("wilder", "whether it is shown larger"),
        WHY_NOT,
        WHY_NULL,
        TRACE,
    ),
)
_MEMORY = Table(
    "memory",
    "mean of each kind of memory in each environment",
    (
        *WHERE,
        text("part", "which memory, by its column in `runs`"),
        number("mean", "mean over ok runs, GiB"),
        number("low", "lower end of its 95 % interval"),
        number("high", "upper end of it"),
        count("n", "runs with a value"),
        TRACE,
    ),
)
_ORDER = Table(
    "order",
    "every run that ended, of whatever status, in the order of their start",
    (
        text("run_id", "the run"),
        count("attempt", "the try at it"),
        *WHERE,
        count("block", "block"),
        count("position", "place in the plan"),
        Column("started_at", "timestamp", "when the engine was started, UTC"),
        number("output_throughput_tok_s", "throughput"),
        number("gpu_temp_start_c", "GPU temperature at the first sample"),
        number("gpu_temp_max_c", "highest GPU temperature"),
        text("status", "status"),
        TRACE,
    ),
)
_REQUESTS = Table(
    "requests",
    "quantiles of the requests of a cell, its ok runs pooled; requests are no replicates, this is for drawing",
    (
        *WHERE,
        text("metric", "latency_ms or ttft_ms"),
        number("quantile", "0 to 1, in hundredths"),
        number("value", "quantile (type 7), ms"),
        TRACE,
    ),
)
_TEMPERATURES = Table(
    "temperatures",
    "what the samplers saw, by how far the run had gone, averaged over the ok runs of a cell",
    (
        *WHERE,
        number("progress_pct", "start of the twentieth of the run that is meant, 0 to 95"),
        count("n", "samples"),
        number("gpu_temp_c", "mean GPU temperature"),
        number("gpu_power_w", "mean GPU power"),
        number("gpu_util_pct", "mean GPU utilisation"),
        number("gpu_sm_clock_mhz", "mean SM clock"),
        number("cpu_busy_pct", "mean busy time over all CPUs"),
        number("mem_available_gib", "least MemAvailable"),
        TRACE,
    ),
)
_QUESTIONS = Table(
    "questions",
    "the five research questions, answered from these data",
    (
        count("question", "1 to 5"),
        text("environment", "environment that the answer is of"),
        text("metric", "metric that the answer is of; empty where it is of all"),
        text(
            "level",
            "level of the load that the answer is of; empty where the experiment has but one, and where it is of all",
        ),
        text("aspect", "mean, variance; empty where the question has but one"),
        text("answer", "one paragraph"),
        text("parts", "the same as JSON: words, and each number with its trace, column and form"),
        text("supports", "JSON list of the traces that it stands on"),
        text(
            "verdict",
            "yes, no, partly, undecided, unanswered; of question 2 also: no difference shown, cannot be told; of question 3 "
            "also: no gap shown, no difference shown",
        ),
        TRACE,
    ),
)
_CHECKS = Table(
    "checks",
    "how often each validity check said what",
    (
        text("check", "name of the check"),
        text("verdict", "pass, warn, invalid"),
        count("count", "attempts"),
        text("example", "one of them: run and what was seen"),
        TRACE,
    ),
)
_RUNS = Table(
    "runs",
    "the ok runs that everything here was computed from",
    (
        text("run_id", "the run"),
        count("attempt", "the try that stands for it"),
        *WHERE,
        count("block", "block"),
        count("position", "place in the plan"),
        *(number(metric.name, metric.what) for metric in METRICS),
        TRACE,
    ),
)

TABLES: Mapping[str, Table] = {
    table.name: table
    for table in (
        _DESCRIPTIVE,
        COMPARISONS,
        _DIAGNOSTICS,
        _VERDICT_BY_N,
        _POWER_CURVE,
        _SIZE,
        _CONTRASTS,
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
