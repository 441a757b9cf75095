"""The tables of an analysis as data: every column with its type and meaning. Docs and tests come from here.

Every table always exists with all of its columns, even when nothing could be estimated; what could not says so in
`not_estimable`, and its numbers are null. `trace` is the key of a row's evidence: `sparkray.analysis.trace` opens it.
"""

from collections.abc import Mapping

from sparkray.analysis.columns import (
    COMPARISONS,
    METRIC,
    POWER_CHECKED,
    RATIO,
    TRACE,
    WHERE,
    WHY_NOT,
    WHY_NULL,
)
from sparkray.analysis.model_tables import CONTRASTS, GAP, POWER_CURVE, SIZE
from sparkray.metrics import METRICS
from sparkray.schema import OF_METRIC, Column, Table, count, flag, number, text

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
        count("n", "runs with a value", label="runs", head="$n$"),
        number("mean", f"arithmetic mean, {_UNIT}", unit=OF_METRIC),
        number("mean_low", "lower end of its 95 % interval (Student's t)", unit=OF_METRIC),
        number("mean_high", "upper end of its 95 % interval", unit=OF_METRIC),
        number("median", f"median, {_UNIT}", unit=OF_METRIC),
        number("median_low", "lower end of its 95 % interval (order statistics)", unit=OF_METRIC),
        number("median_high", "upper end of its 95 % interval", unit=OF_METRIC),
        number("sd", "standard deviation, n - 1 in its denominator", unit=OF_METRIC, head="SD"),
        number("min", "smallest", label="minimum", unit=OF_METRIC, head="Min."),
        number("max", "largest", label="maximum", unit=OF_METRIC, head="Max."),
        number("q1", "first quartile (type 7)", label="first quartile", unit=OF_METRIC, head="Q1"),
        number("q3", "third quartile", label="third quartile", unit=OF_METRIC, head="Q3"),
        number("cv_pct", "sd over mean, per cent", label="CV", format="per_cent", head=r"CV, %"),
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
        number(
            "geometric_mean",
            "exponential of the mean logarithm; null unless every value is above 0",
            unit=OF_METRIC,
            head="Geom. mean",
        ),
        number("geometric_low", "lower end of its 95 % interval", unit=OF_METRIC),
        number("geometric_high", "upper end of its 95 % interval", unit=OF_METRIC),
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
        count("n", "runs with a value", label="runs", head="$n$"),
        number(
            "drift_pct_per_run",
            "slope over the order of all runs (Theil and Sen), per cent of the median a run",
            label="drift a run",
            format="fine_per_cent",
            head=r"Drift, %",
        ),
        number("drift_p", "p of no trend (Kendall)", format="p"),
        number(
            "lag1", "lag-1 autocorrelation in run order", label="lag-1 autocorrelation", format="effect", head="$r_1$"
        ),
        number(
            "effective_n",
            "independent runs that these are worth",
            label="effective runs",
            format="size",
            head=r"$n_\mathrm{eff}$",
        ),
        number(
            "share_between_blocks_pct",
            "share of variance between blocks, over all environments of the model",
            label="variance between blocks",
            format="per_cent",
            head=r"Blocks, %",
        ),
        number(
            "share_within_pct",
            "share of variance from run to run within blocks, beyond what single requests leave",
            label="variance within blocks",
            format="per_cent",
            head=r"Within, %",
        ),
        number(
            "share_run_request_pct",
            "share of variance that single requests leave in a run's mean: the residual of run x request, what a request "
            "takes beyond its own mean and its run's; of metrics over requests alone",
            label="variance of requests",
            format="per_cent",
            head=r"Requests, %",
        ),
        flag("first_run_slow", "whether the cell's first run is an outlier on the bad side"),
        count("outliers", "runs that are outliers in their cell", head="Out."),
        WHY_NOT,
        WHY_NULL,
        TRACE,
    ),
)
_VERDICT_BY_N = Table(
    "verdict_by_n",
    "the verdict as it would have stood after the first n blocks, or as it stood at each interim analysis",
    (
        *_CELL,
        count(
            "n",
            "pairs, the first ones in order of block; of an interim analysis, in the order in which they were completed",
            label="pairs",
            head="$n$",
        ),
        *RATIO,
        text("verdict", "equivalent, different, undecided"),
        flag("decided", "whether that is a decision"),
        WHY_NOT,
        TRACE,
    ),
)
_MEMORY = Table(
    "memory",
    "mean of each kind of memory in each environment",
    (
        *WHERE,
        text("part", "which memory, by its column in `runs`", label="memory", head="Part"),
        number("mean", "mean over ok runs, GiB", unit="GiB"),
        number("low", "lower end of its 95 % interval", unit="GiB"),
        number("high", "upper end of it", unit="GiB"),
        count("n", "runs with a value", label="runs", head="$n$"),
        TRACE,
    ),
)
_ORDER = Table(
    "order",
    "every run that ended, of whatever status, in the order of their start",
    (
        text("run_id", "the run", label="run"),
        count("attempt", "the try at it", format="plain"),
        *WHERE,
        count("block", "block", format="plain"),
        count("position", "place in the plan", label="place in the plan", format="plain"),
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
        number("quantile", "0 to 1, in hundredths", format="share"),
        number("value", "quantile (type 7), ms", unit="ms"),
        TRACE,
    ),
)
_TEMPERATURES = Table(
    "temperatures",
    "what the samplers saw, by how far the run had gone, averaged over the ok runs of a cell",
    (
        *WHERE,
        number(
            "progress_pct",
            "start of the twentieth of the run that is meant, 0 to 95",
            format="per_cent",
            head=r"Progress, %",
        ),
        count("n", "samples", label="samples", head="$n$"),
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
        count("question", "1 to 5", format="plain"),
        text("environment", "environment that the answer is of", head="Env."),
        text("metric", "metric that the answer is of; empty where it is of all"),
        text(
            "level",
            "level of the load that the answer is of; empty where the experiment has but one, and where it is of all",
            label="load",
            head="Level",
        ),
        text("aspect", "mean, variance; empty where the question has but one"),
        text("reason", "code of the rule's branch, or why nothing can be estimated"),
        text("numbers", "JSON: the numbers behind it by name"),
        text("supports", "JSON list of the traces that it stands on"),
        text(
            "verdict",
            "yes, no, partly, undecided, unanswered; of question 2 also: no difference shown, cannot be told; of question 3 "
            "also: no gap shown, no difference shown",
        ),
        TRACE,
    ),
)
_OUTCOME = "use, use_if_memory, memory_open, open"
_DECISIONS = Table(
    "decisions",
    "which of an environment and its reference to use, by a rule on the primary verdicts",
    (
        *WHERE,
        text("against", "the reference environment"),
        text("outcome", f"{_OUTCOME}, avoid"),
        text("reason", "branch of the rule (docs of analysis.decisions)"),
        text("metrics", "JSON list of the metrics that the reason is about"),
        number("extra_gib", "mean memory beyond the reference's, GiB"),
        count("pairs_needed", "pairs that would decide what is undecided"),
        text("supports", "JSON list of the traces that it stands on"),
        TRACE,
    ),
)
_RECOMMENDATIONS = Table(
    "recommendations",
    "one recommendation for each model",
    (
        text("model", "model card's name"),
        text("environment", "environment to use; null where these data cannot tell"),
        text("outcome", f"{_OUTCOME}, reference"),
        text("judged", "environment that the outcome is about"),
        text("level", "level of the load that decided; empty where the experiment has but one"),
        count("levels", "levels of the load that were compared"),
        text("against", "the reference environment"),
        text("reason", "branch of the rule, as in `decisions`"),
        text("metrics", "JSON list of the metrics that the reason is about"),
        number("extra_gib", "mean memory beyond the reference's, GiB"),
        count("pairs_needed", "pairs that would decide what is undecided"),
        text("other", "the next environment that was judged; null where there is none"),
        text("other_reason", "its branch of the rule"),
        text("supports", "JSON list of the traces that it stands on"),
        TRACE,
    ),
)
_STUDY = Table(
    "study",
    "the decision over all models, one row",
    (
        text("outcome", "all (one environment for every model), most (for some), open, reference"),
        text("environment", "environment that it is about"),
        text("against", "the reference environment"),
        count("models", "models that were compared"),
        count("recommended", "models that the environment is recommended for"),
        count("open", "models without a recommendation"),
        count("reference", "models for which the reference is recommended"),
        number("extra_low_gib", "least memory beyond the reference's, GiB"),
        number("extra_high_gib", "most memory beyond the reference's, GiB"),
        count("pairs_needed", "pairs that would decide what is undecided; null where none or no number would"),
        text("metric", "first primary metric of speed, which the next columns are of"),
        number("margin", "its relative margin"),
        count("comparisons", "comparisons of the environment by that metric"),
        count("equivalent", "how many are equivalent"),
        count("different", "how many are different"),
        number("ratio_low", "least ratio"),
        number("ratio_high", "greatest ratio"),
        number("low", "least lower end of a 95 % interval"),
        number("high", "greatest upper end"),
        count("pairs", "fewest pairs of a comparison"),
        text("supports", "JSON list of the traces that it stands on"),
        TRACE,
    ),
)
_THREATS = Table(
    "threats",
    "the clearest sign of each threat to validity",
    (
        text("threat", "outliers, drift, ratio_drift, ratio_dependence, first_runs, dependence, clusters"),
        *_CELL,
        text("reason", "branch of the rule (analysis.threats); empty where there is but one"),
        text("numbers", "JSON: the numbers behind it by name"),
        text("supports", "JSON list of the traces that it stands on"),
        TRACE,
    ),
)
_CHECKS = Table(
    "checks",
    "how often each validity check said what",
    (
        text("check", "name of the check"),
        text("verdict", "pass, warn, invalid"),
        count("count", "attempts", label="attempts", head="Runs"),
        text("example", "one of them: run and what was seen"),
        TRACE,
    ),
)
_RUNS = Table(
    "runs",
    "the ok runs that everything here was computed from",
    (
        text("run_id", "the run", label="run"),
        count("attempt", "the try that stands for it", format="plain"),
        *WHERE,
        count("block", "block", format="plain"),
        count("position", "place in the plan", label="place in the plan", format="plain"),
        *(metric.column for metric in METRICS),
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
        POWER_CURVE,
        SIZE,
        CONTRASTS,
        GAP,
        _MEMORY,
        _ORDER,
        _REQUESTS,
        _TEMPERATURES,
        _QUESTIONS,
        _DECISIONS,
        _RECOMMENDATIONS,
        _STUDY,
        _THREATS,
        _CHECKS,
        _RUNS,
    )
}
