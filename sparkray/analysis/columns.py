"""What the tables of an analysis are made of: columns with type and meaning, and those that several tables share."""

from collections.abc import Iterable

import polars as pl

from sparkray.schema import Column, Kind, Table, count, flag, number, text

_TYPES: dict[Kind, pl.DataType] = {
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


TRACE = text("trace", "key of the row's evidence", label="provenance id")
WHY_NOT = text("not_estimable", "why there is no number; null when there is one")
WHY_NULL = text(
    "why_null", "JSON: by column, why this row has no number there; null when it has them all", label="reasons"
)
POWER_CHECKED = text(
    "power_checked",
    "of energy and power: whether what was sampled agrees with the energy counter (`power_valid`), in how many runs; null "
    "of other metrics",
    head="Power",
)
LEVEL = text("level", "level of the load; empty where the experiment has but one", label="load", head="Level")
WHERE = (text("model", "model card's name"), LEVEL, text("environment", "environment", head="Env."))
METRIC = text("metric", "metric, by its column in `runs`")
RATIO = (
    number("ratio", "environment over reference: exponential of the mean log ratio inside blocks", format="ratio"),
    number(
        "low",
        "lower end of its 95 % interval (Student's t on the log scale; with interim analyses, one over all of them)",
        format="ratio",
    ),
    number("high", "upper end of its 95 % interval", format="ratio"),
)
SPREAD = (
    number("sd_ratio_low", "lower end of its 95 % interval (Pitman and Morgan)"),
    number("sd_ratio_high", "upper end of it"),
    number("sd_ratio_p", "two-sided p of equal spread", label="ratio of sd, p", format="p"),
)

_FIXED = "; of a fixed number of runs, also with interim analyses"
_PROTOCOL = (
    text("test", "test of the study's own protocol that was chosen: student, welch, mann_whitney, none"),
    text("rule", "why it was chosen, in a sentence", label="reason for the test", head="Rule"),
    number("statistic", "its statistic", head="Stat."),
    number(
        "p",
        "its two-sided p; it takes the arms as independent, which blocks are not; null with interim analyses",
        format="p",
    ),
    number("shapiro_p_a", "Shapiro-Wilk p of the reference arm", label="Shapiro-Wilk p, reference", format="p"),
    number("shapiro_p_b", "Shapiro-Wilk p of the environment", label="Shapiro-Wilk p, environment", format="p"),
    number("levene_p", "Levene's p for equal variances", label="Levene p", format="p"),
    number(
        "bootstrap_low",
        f"lower end of the 95 % BCa interval of the ratio of means, 10,000 resamples of either arm{_FIXED}",
        format="ratio",
    ),
    number("bootstrap_high", "upper end of it", format="ratio"),
    number(
        "permutation_p",
        "p of flipping signs inside blocks: a permutation test where lots were drawn, else one that assumes exchangeable "
        "arms; null with interim analyses",
        label="sign-flip p",
        format="p",
    ),
)
_EFFECT = (
    number("cohen_d", "Cohen's d of the two arms, pooled sd", label="Cohen's d", format="effect", head="$d$"),
    number("d_low", f"lower end of its 95 % interval (noncentral t){_FIXED}", format="effect"),
    number("d_high", "upper end of it", format="effect"),
    number(
        "hedges_g", "Hedges' g: d without its bias in small samples", label="Hedges' g", format="effect", head="$g$"
    ),
    number("g_low", f"lower end of its 95 % interval{_FIXED}", format="effect"),
    number("g_high", "upper end of it", format="effect"),
    text(
        "family",
        "family that the p-values are adjusted over: models, levels and arms of its metrics; null outside of any",
    ),
    number(
        "p_bonferroni",
        "p of the protocol's test adjusted over the family (Bonferroni); null outside of any",
        label="Bonferroni",
        format="p",
        head="Bonf.",
    ),
    number("p_holm", "the same by Holm", label="Holm", format="p"),
    number(
        "p_bh",
        "the same by Benjamini and Hochberg (false discovery rate)",
        label="Benjamini-Hochberg",
        format="p",
        head="BH",
    ),
    number(
        "p_paired",
        "two-sided p of a ratio of 1, paired t test on the log ratios; null with interim analyses",
        label="paired p",
        format="p",
    ),
    number(
        "p_paired_bonferroni",
        "p_paired adjusted over the family (Bonferroni)",
        label="paired p, Bonferroni",
        format="p",
        head="Bonf.",
    ),
    number("p_paired_holm", "the same by Holm", label="paired p, Holm", format="p", head="Holm"),
    number(
        "p_paired_bh", "the same by Benjamini and Hochberg", label="paired p, Benjamini-Hochberg", format="p", head="BH"
    ),
    flag("significant", "whether p_holm is below 0.05; null where there is none"),
    flag("significant_paired", "whether p_paired_holm is", label="significant, paired"),
)
_POWER = (
    number(
        "minimum_detectable",
        "smallest relative difference that this n and spread find with 80 % power",
        label="detectable",
        format="share",
    ),
    number(
        "power_planned",
        "power to call the arms equivalent with the planned pairs if the true ratio is 1, at the spread that was seen",
        format="share",
        head="Power",
    ),
    number(
        "planned_effect",
        "relative difference that was planned for; the margin where the experiment names none",
        format="share",
        head="Effect",
    ),
    number(
        "a_priori_cv_pct",
        "CV of one run that the next three columns assume, per cent",
        label="CV assumed",
        format="per_cent",
        head=r"CV, %",
    ),
    text(
        "a_priori_basis",
        "where it is from: calibration (known before the data), these data (not a priori)",
        label="noise from",
        head="Basis",
    ),
    number(
        "power_a_priori",
        "power of the planned pairs to tell a ratio of 1 + planned_effect from 1",
        label="power for it",
        format="share",
        head="Power",
    ),
    count("pairs_a_priori", "pairs that do so with 80 % power", label="pairs for it", head="Pairs"),
    count(
        "runs_a_priori",
        "runs an arm with which the protocol's two-sample t test does so",
        label="runs for it",
        head="Runs",
    ),
    number(
        "power_post_hoc",
        "power at the observed effect; a function of p that adds nothing to it, and null where it is",
        label="post-hoc power",
        format="share",
        head="Power",
    ),
)
_ROBUST = (
    number(
        "ratio_without_outliers",
        "the ratio without the pairs whose log ratio is an outlier",
        format="ratio",
        head="Ratio",
    ),
    number(
        "low_without_outliers",
        f"lower end of its 95 % interval{_FIXED}",
        label="without outliers, 95 % CI, low",
        format="ratio",
        head="Low",
    ),
    number(
        "high_without_outliers", "upper end of it", label="without outliers, 95 % CI, high", format="ratio", head="High"
    ),
    text(
        "verdict_without_outliers",
        "the verdict of a fixed number of pairs without them; null without a margin and with interim analyses",
        head="Verdict",
    ),
    count("outliers", "pairs whose log ratio is an outlier", head="Out."),
    number(
        "ratio_drift_pct_per_pair",
        "slope of the ratios over the order in which pairs were completed, per cent a pair",
        label="drift a pair",
        format="fine_per_cent",
        head=r"Drift, %",
    ),
    number("ratio_drift_p", "p of no trend of the ratios (Kendall)", label="drift p", format="p"),
    number(
        "ratio_lag1",
        "lag-1 autocorrelation of the log ratios in that order",
        label="lag-1 autocorrelation",
        format="effect",
        head="$r_1$",
    ),
    number(
        "ratio_effective_n",
        "independent pairs that these are worth",
        label="effective pairs",
        format="size",
        head=r"$n_\mathrm{eff}$",
    ),
    number(
        "sd_ratio",
        "total sd of the log values of the environment, blocks included, over that of the reference",
        label="ratio of total sd",
        head="SD ratio",
    ),
    *SPREAD,
    count("clusters", "machines or days that the pairs nest in", label="machines or days", head="Clusters"),
    number(
        "cluster_low",
        "lower end of the 95 % interval over clusters (t of their means), of a fixed number of pairs; null where there is "
        "but one, and outside of the primary metrics",
        format="ratio",
    ),
    number("cluster_high", "upper end of it", format="ratio"),
    text(
        "cluster_verdict",
        "the verdict by the intervals over clusters; null with interim analyses",
        label="verdict over clusters",
        head="Verdict",
    ),
    number(
        "cluster_bootstrap_low",
        "lower end of the 95 % BCa interval, whole clusters resampled; from 5 clusters on",
        format="ratio",
    ),
    number("cluster_bootstrap_high", "upper end of it", format="ratio"),
    number(
        "intercept_ratio",
        "the ratio by a model with a random intercept for each cluster; from 5 clusters on",
        label="random intercept",
        format="ratio",
        head="Ratio",
    ),
    number("intercept_low", "lower end of its 95 % interval (Hartung and Knapp)", format="ratio"),
    number("intercept_high", "upper end of it", format="ratio"),
)
COMPARISONS = Table(
    "comparisons",
    "one metric of one environment against the reference (native, else host), paired inside blocks",
    (
        *WHERE,
        text("against", "the reference environment", label="reference"),
        METRIC,
        text("better", "which direction of the metric is better: higher, lower, neither"),
        flag("primary", "whether the experiment declared it primary"),
        count(
            "n",
            "pairs; in a sequential experiment those of the last interim analysis, as in every column that is paired",
            label="pairs",
            head="$n$",
        ),
        *RATIO,
        number(
            "low90",
            "lower end of its 90 % interval, which the equivalence test reads",
            label="90 % CI, low",
            format="ratio",
            head="Low",
        ),
        number("high90", "upper end of it", label="90 % CI, high", format="ratio", head="High"),
        number("sd_log", "standard deviation of the log ratios", label="sd of log ratios", head="SD"),
        flag("excludes_one", "whether the 95 % interval excludes 1", label="excludes 1"),
        number("margin", "relative margin fixed before the data; null where none was", format="share"),
        text("verdict", "equivalent, different, undecided; null without a margin"),
        count(
            "pairs_needed",
            "pairs that would decide at 80 % power if the true ratio is 1, in a sequential experiment at most; null when "
            "decided, and beyond 100,000",
            label="pairs that decide",
            head="Pairs",
        ),
        count("pairs_planned", "pairs that the experiment planned", head="Planned"),
        *_PROTOCOL,
        *_EFFECT,
        *_POWER,
        *_ROBUST,
        POWER_CHECKED,
        text("sentence", "what it says, in a sentence", label="in words"),
        WHY_NOT,
        WHY_NULL,
        TRACE,
    ),
)
