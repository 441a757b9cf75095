"""What the tables of an analysis are made of: columns with type and meaning, and those that several tables share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

Kind = Literal["string", "int", "float", "bool", "timestamp"]
_TYPES: Mapping[Kind, pl.DataType] = {
    "string": pl.String(),
    "int": pl.Int64(),
    "float": pl.Float64(),
    "bool": pl.Boolean(),
    "timestamp": pl.Datetime("us", "UTC"),
}


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


def text(name: str, what: str) -> Column:
    """A column of words."""
    return Column(name, "string", what)


def number(name: str, what: str) -> Column:
    """A column of measures or estimates."""
    return Column(name, "float", what)


def count(name: str, what: str) -> Column:
    """A column of whole numbers."""
    return Column(name, "int", what)


def flag(name: str, what: str) -> Column:
    """A column of yes and no."""
    return Column(name, "bool", what)


TRACE = text("trace", "key of the row's evidence")
WHY_NOT = text("not_estimable", "why there is no number; null when there is one")
WHY_NULL = text("why_null", "JSON: by column, why this row has no number there; null when it has them all")
POWER_CHECKED = text(
    "power_checked",
    "of energy and power: whether what was sampled agrees with the energy counter (`power_valid`), in how many runs; null "
    "of other metrics",
)
LEVEL = text("level", "level of the load; empty where the experiment has but one")
WHERE = (text("model", "model card's name"), LEVEL, text("environment", "environment"))
METRIC = text("metric", "metric, by its column in `runs`")
RATIO = (
    number("ratio", "environment over reference: exponential of the mean log ratio inside blocks"),
    number(
        "low",
        "lower end of its 95 % interval (Student's t on the log scale; where looks were taken, one over all of them)",
    ),
    number("high", "upper end of its 95 % interval"),
)
SPREAD = (
    number("sd_ratio_low", "lower end of its 95 % interval (Pitman and Morgan)"),
    number("sd_ratio_high", "upper end of it"),
    number("sd_ratio_p", "two-sided p of equal spread"),
)

_FIXED = "; of a fixed number of runs, also where looks were taken"
_PROTOCOL = (
    text("test", "test of the study's own protocol that was chosen: student, welch, mann_whitney, none"),
    text("rule", "why it was chosen, in a sentence"),
    number("statistic", "its statistic"),
    number("p", "its two-sided p; it takes the arms as independent, which blocks are not; null where looks were taken"),
    number("shapiro_p_a", "Shapiro-Wilk p of the reference arm"),
    number("shapiro_p_b", "Shapiro-Wilk p of the environment"),
    number("levene_p", "Levene's p for equal variances"),
    number(
        "bootstrap_low",
        f"lower end of the 95 % BCa interval of the ratio of means, 10,000 resamples of either arm{_FIXED}",
    ),
    number("bootstrap_high", "upper end of it"),
    number(
        "permutation_p",
        "p of flipping signs inside blocks: a permutation test where lots were drawn, else one that assumes exchangeable "
        "arms; null where looks were taken",
    ),
)
_EFFECT = (
    number("cohen_d", "Cohen's d of the two arms, pooled sd"),
    number("d_low", f"lower end of its 95 % interval (noncentral t){_FIXED}"),
    number("d_high", "upper end of it"),
    number("hedges_g", "Hedges' g: d without its bias in small samples"),
    number("g_low", f"lower end of its 95 % interval{_FIXED}"),
    number("g_high", "upper end of it"),
    text(
        "family",
        "family that the p-values are adjusted over: models, levels and arms of its metrics; null outside of any",
    ),
    number("p_bonferroni", "p of the protocol's test adjusted over the family (Bonferroni); null outside of any"),
    number("p_holm", "the same by Holm"),
    number("p_bh", "the same by Benjamini and Hochberg (false discovery rate)"),
    number("p_paired", "two-sided p of a ratio of 1, paired t test on the log ratios; null where looks were taken"),
    number("p_paired_bonferroni", "p_paired adjusted over the family (Bonferroni)"),
    number("p_paired_holm", "the same by Holm"),
    number("p_paired_bh", "the same by Benjamini and Hochberg"),
    flag("significant", "whether p_holm is below 0.05; null where there is none"),
    flag("significant_paired", "whether p_paired_holm is"),
)
_POWER = (
    number("minimum_detectable", "smallest relative difference that this n and spread find with 80 % power"),
    number(
        "power_planned",
        "power to call the arms equivalent with the planned pairs if the true ratio is 1, at the spread that was seen",
    ),
    number("planned_effect", "relative difference that was planned for; the margin where the experiment names none"),
    number("a_priori_cv_pct", "CV of one run that the next three columns assume, per cent"),
    text("a_priori_basis", "where it is from: calibration (known before the data), these data (not a priori)"),
    number("power_a_priori", "power of the planned pairs to tell a ratio of 1 + planned_effect from 1"),
    count("pairs_a_priori", "pairs that do so with 80 % power"),
    count("runs_a_priori", "runs an arm with which the protocol's two-sample t test does so"),
    number(
        "power_post_hoc", "power at the observed effect; a function of p that adds nothing to it, and null where it is"
    ),
)
_ROBUST = (
    number("ratio_without_outliers", "the ratio without the pairs whose log ratio is an outlier"),
    number("low_without_outliers", f"lower end of its 95 % interval{_FIXED}"),
    number("high_without_outliers", "upper end of it"),
    text(
        "verdict_without_outliers",
        "the verdict of a fixed number of pairs without them; null without a margin and under looks",
    ),
    count("outliers", "pairs whose log ratio is an outlier"),
    number(
        "ratio_drift_pct_per_pair", "slope of the ratios over the order in which pairs were completed, per cent a pair"
    ),
    number("ratio_drift_p", "p of no trend of the ratios (Kendall)"),
    number("ratio_lag1", "lag-1 autocorrelation of the log ratios in that order"),
    number("ratio_effective_n", "independent pairs that these are worth"),
    number("sd_ratio", "total sd of the log values of the environment, blocks included, over that of the reference"),
    *SPREAD,
    count("clusters", "machines or days that the pairs nest in"),
    number(
        "cluster_low",
        "lower end of the 95 % interval over clusters (t of their means), of a fixed number of pairs; null where there is "
        "but one, and outside of the primary metrics",
    ),
    number("cluster_high", "upper end of it"),
    text("cluster_verdict", "the verdict by the intervals over clusters; null where looks were taken"),
    number("cluster_bootstrap_low", "lower end of the 95 % BCa interval, whole clusters resampled; from 5 clusters on"),
    number("cluster_bootstrap_high", "upper end of it"),
    number("intercept_ratio", "the ratio by a model with a random intercept for each cluster; from 5 clusters on"),
    number("intercept_low", "lower end of its 95 % interval (Hartung and Knapp)"),
    number("intercept_high", "upper end of it"),
)
COMPARISONS = Table(
    "comparisons",
    "one metric of one environment against the reference (native, else host), paired inside blocks",
    (
        *WHERE,
        text("against", "the reference environment"),
        METRIC,
        text("better", "which direction of the metric is better: higher, lower, neither"),
        flag("primary", "whether the experiment declared it primary"),
        count("n", "pairs; in a sequential experiment those of the last look, as in every column that is paired"),
        *RATIO,
        number("low90", "lower end of its 90 % interval, which the equivalence test reads"),
        number("high90", "upper end of it"),
        number("sd_log", "standard deviation of the log ratios"),
        flag("excludes_one", "whether the 95 % interval excludes 1"),
        number("margin", "relative margin fixed before the data; null where none was"),
        text("verdict", "equivalent, different, undecided; null without a margin"),
        count(
            "pairs_needed",
            "pairs that would decide at 80 % power if the true ratio is 1, in a sequential experiment at most; null when "
            "decided, and beyond 100,000",
        ),
        count("pairs_planned", "pairs that the experiment planned"),
        *_PROTOCOL,
        *_EFFECT,
        *_POWER,
        *_ROBUST,
        POWER_CHECKED,
        text("sentence", "what it says, in a sentence"),
        WHY_NOT,
        WHY_NULL,
        TRACE,
    ),
)
