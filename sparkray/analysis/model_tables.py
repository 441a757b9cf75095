"""The tables of an analysis that compare models and containers with each other: power, size, groups, gap."""

from sparkray.analysis.columns import (
    LEVEL,
    METRIC,
    SPREAD,
    TRACE,
    WHERE,
    WHY_NOT,
    WHY_NULL,
)
from sparkray.schema import Table, count, flag, number, text

POWER_CURVE = Table(
    "power_curve",
    "power of the equivalence test at true ratio 1, by number of pairs, for the spreads that were seen",
    (
        text("environment", "environment, against the reference", head="Env."),
        text("metric", "metric"),
        LEVEL,
        number("margin", "relative margin", format="share"),
        text("spread", "which model's spread: min, median, max"),
        number(
            "cv_pct",
            "spread of one run that the log ratios show (their sd over the root of 2), per cent",
            label="CV",
            format="per_cent",
            head=r"CV, %",
        ),
        count("n", "pairs", label="pairs", head="$n$"),
        number("power", "chance to call the arms equivalent when they are", format="share"),
        TRACE,
    ),
)
SIZE = Table(
    "size",
    "ratios by size, architecture and precision, and the slope on the logarithm of parameters; each level by itself",
    (
        text("environment", "environment, against the reference", head="Env."),
        text("metric", "metric"),
        LEVEL,
        text(
            "group_by",
            "size (one model a row), architecture, precision, all (models), slope",
            label="grouped by",
            head="By",
        ),
        text("group", "the model, architecture or precision; `all` for all models and for the slope"),
        number(
            "params_b",
            "parameters, 10^9: of the model; of a slope the middle of its models (geometric mean)",
            label="parameters",
            format="size",
            unit="10^9",
            head="$10^9$",
        ),
        count("n_models", "models that the row rests on", label="models"),
        count(
            "models_left_out", "models of the group that have no ratio", label="models without a ratio", head="Left out"
        ),
        number(
            "ratio",
            "ratio of the model; of several, random-effects mean; of a slope, the height of its line at params_b",
            format="ratio",
        ),
        number(
            "low",
            "lower end of its 95 % interval; over models (Knapp and Hartung), the model being the unit",
            format="ratio",
        ),
        number("high", "upper end of it", format="ratio"),
        number(
            "q",
            "Cochran's Q of the group's models: how far they scatter beyond their own noise",
            label="Cochran's Q",
            head="$Q$",
        ),
        number("q_p", "its p: the chance of so much scatter if all had one ratio", label="Q, p", format="p"),
        number(
            "i2_pct",
            "share of the scatter inside the groups that is not the models' own noise (I squared), per cent",
            label="I squared",
            format="per_cent",
            head=r"$I^2$, %",
        ),
        number(
            "tau",
            "sd of the true log ratios from model to model, pooled inside the groups of a row's kind",
            head=r"$\tau$",
        ),
        number("slope", "change of the log ratio when parameters grow tenfold; `slope` rows alone", format="slope"),
        number("slope_low", "lower end of its 95 % interval", format="slope"),
        number("slope_high", "upper end of it", format="slope"),
        number("p", "its two-sided p against 0", format="p"),
        WHY_NOT,
        text(
            "why_null",
            "JSON: why a group has no Q; null where it has one",
            label="reasons",
        ),
        TRACE,
    ),
)
CONTRASTS = Table(
    "contrasts",
    "two architectures or two precisions against each other, at one level of the load, models being the unit",
    (
        text("environment", "environment, against the reference", head="Env."),
        text("metric", "metric"),
        LEVEL,
        text("group_by", "architecture, precision", label="grouped by", head="By"),
        text("first", "one group", label="group", head="Over"),
        text("second", "the other", label="over group", head="Group"),
        count("n_models", "models in both", label="models"),
        number("ratio", "ratio of the second group over that of the first", format="ratio"),
        number("low", "lower end of its 95 % interval (random effects; Knapp and Hartung)", format="ratio"),
        number("high", "upper end of it", format="ratio"),
        count("df", "degrees of freedom: models of all groups less groups", head="df"),
        number(
            "tau", "sd of the true log ratios from model to model inside a group, pooled over groups", head=r"$\tau$"
        ),
        number("p", "two-sided p of no difference", format="p"),
        number(
            "p_holm", "the same by Holm over all contrasts of environment, metric and level", label="Holm", format="p"
        ),
        WHY_NOT,
        TRACE,
    ),
)
GAP = Table(
    "gap",
    "what the optimised container changes: against the baseline container, paired inside blocks, primary metrics alone",
    (
        *WHERE,
        text("against", "container_baseline", label="reference"),
        METRIC,
        count("n", "pairs", label="pairs", head="$n$"),
        number("ratio", "container_optimized over container_baseline", format="ratio"),
        number(
            "low",
            "lower end of its 95 % interval (Student's t on the log scale), of a fixed number of pairs",
            format="ratio",
        ),
        number("high", "upper end of its 95 % interval", format="ratio"),
        number(
            "p",
            "two-sided p of a ratio of 1 (paired t test on the log ratios); null with interim analyses",
            format="p",
        ),
        number("p_holm", "the same by Holm over the models and levels of the metric", label="Holm", format="p"),
        flag("helps", "whether the optimised container is shown better than the baseline, after Holm at 5 %"),
        flag("harms", "whether it is shown worse"),
        number(
            "gap_p_holm",
            "p_paired of the baseline container against the reference, by Holm over the models and levels of the metric",
            label="gap, Holm",
            format="p",
        ),
        flag(
            "gap_shown",
            "whether the baseline container is shown worse than the reference, after Holm at 5 %; with interim analyses by "
            "the interval over all of them",
        ),
        flag("closed", "whether it is, and the optimised container is equivalent to the reference", label="gap closed"),
        number(
            "closed_pct",
            "share of the baseline's log ratio to the reference that is gone, in the blocks that hold all three; null where "
            "no gap was shown",
            label="gap closed",
            format="per_cent",
            head=r"Closed, %",
        ),
        number("closed_low_pct", "lower end of its 95 % interval (Fieller)", format="per_cent"),
        number("closed_high_pct", "upper end of it", format="per_cent"),
        number(
            "sd_ratio",
            "total sd of the log values, blocks included, over the baseline's",
            label="ratio of total sd",
            head="SD ratio",
        ),
        *SPREAD,
        number(
            "sd_ratio_p_holm",
            "the same by Holm over the models and levels of the metric",
            label="ratio of sd, Holm",
            format="p",
        ),
        flag("calmer", "whether the spread is shown smaller, after Holm at 5 %", label="spread shown smaller"),
        flag("wilder", "whether it is shown larger", label="spread shown larger"),
        WHY_NOT,
        WHY_NULL,
        TRACE,
    ),
)
