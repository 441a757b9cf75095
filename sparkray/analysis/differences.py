"""Comparisons by difference: of a metric with a margin in its own unit, and where a zero leaves no ratio.

An experiment states such a margin in `difference_margins`; then the verdict rests on the difference, and the ratio is
reported too. Without one, and with a value that is not above 0 where it can be 0, it rests on the difference
too: its margin is then the relative one times the mean of the reference. With interim analyses only a margin that was
stated counts, since that mean is known at none of them beforehand.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sparkray.analysis.arms import Arms
from sparkray.analysis.comparison import checked_columns, numbers
from sparkray.analysis.context import Margin
from sparkray.analysis.reasons import Why, note
from sparkray.stats import NotEstimable
from sparkray.stats.assumptions import Checked, checked, checked_many
from sparkray.stats.differences import Difference, difference_of, paired_difference
from sparkray.stats.paired import Ratio, paired_ratio
from sparkray.stats.samples import Vector, from_log

if TYPE_CHECKING:
    from sparkray.stats.sequential import Interim

Row = dict[str, Any]
DIFFERENCE, RATIO = "difference", "ratio"
# Of these a 0 is no measurement: no run generates 0 tokens a second or answers in no time.
_NEVER_0 = (
    *("output_throughput_", "request_throughput_", "latency_", "ttft_", "itl_", "tpot_", "start_to_", "container_to_"),
    *("first_request_", "gpu_sm_clock_", "gpu_temp_"),
)
COLUMNS = (
    *("difference", "difference_low", "difference_high", "difference_low90", "difference_high90"),
    *("sd_difference", "difference_margin"),
)
# Columns that a comparison by difference lacks where a zero leaves no ratio.
OF_RATIO = (
    *("ratio", "low", "high", "low90", "high90", "sd_log", "minimum_detectable", "permutation_p", "outliers"),
    *("ratio_without_outliers", "low_without_outliers", "high_without_outliers", "verdict_without_outliers"),
    *("ratio_drift_pct_per_pair", "ratio_drift_p", "ratio_lag1", "ratio_effective_n"),
    *("sd_ratio", "sd_ratio_low", "sd_ratio_high", "sd_ratio_p", "cluster_low", "cluster_high", "cluster_verdict"),
    *("cluster_bootstrap_low", "cluster_bootstrap_high", "intercept_ratio", "intercept_low", "intercept_high"),
    *("power_a_priori", "pairs_a_priori", "runs_a_priori"),
)


def scale_of(arms: Arms, margin: Margin, *, interim: bool = False) -> Difference | None:
    """How a comparison is made by difference; None where it is made by ratio."""
    if margin.difference is not None:
        return difference_of(*arms.paired, margin.difference)
    a, b = arms.paired
    if interim or arms.metric.startswith(_NEVER_0) or not len(a) or (np.all(a > 0) and np.all(b > 0)):
        return None
    mean = float(np.mean(a))
    relative = margin.relative * mean if margin.relative is not None and 0 < mean < math.inf else None
    return difference_of(a, b, relative)


def as_ratios(arms: Arms, scale: Difference) -> Arms:
    """The same pairs with ratios that stand for their differences."""
    return replace(arms, paired=scale.paired(*arms.paired))


def ratio_of(interim: "Interim") -> Ratio | NotEstimable:
    """The estimate of an interim analysis; where it is of differences, the ratio that stands for them."""
    if interim.ratio is None or interim.ci95 is None or interim.ci90 is None or interim.sd_log is None:
        return NotEstimable(interim.reason)
    return Ratio(interim.n, interim.ratio, interim.ci95, interim.ci90, interim.sd_log)


def checks_of(
    every: Sequence[tuple[Arms, Margin, Difference | None]], seed: int, *, beside: bool
) -> list[Checked | None]:
    """The check of each comparison, by ratio or by difference, many at once; None where there is no verdict.

    Args:
        every: What is compared, of a fixed number of pairs, its margins, and how by difference.
        seed: Of the bootstrap.
        beside: Whether the intervals beside that of a ratio are wanted.
    """
    found: list[Checked | None] = [None] * len(every)
    for of_ratio in (True, False):
        wanted = {
            place: pairs
            for place, (arms, margin, scale) in enumerate(every)
            if (scale is None) == of_ratio and (pairs := _to_check(arms, margin, scale)) is not None
        }
        students, in_time = [one for one, _ in wanted.values()], [logs for _, logs in wanted.values()]
        made = checked_many(students, in_time, seed=seed, beside=beside and of_ratio)
        for place, one in zip(wanted, made, strict=True):
            found[place] = one
    return found


def _to_check(arms: Arms, margin: Margin, scale: Difference | None) -> tuple[Ratio, Vector] | None:
    """What is checked of a comparison: the ratio by Student's t, and its log ratios in the order of time."""
    if scale is None:
        relative, result = margin.relative, paired_ratio(*arms.paired)
    else:
        relative, result = scale.relative, paired_difference(*arms.paired, scale)
    if relative is None or isinstance(result, NotEstimable):
        return None
    return result, (arms if scale is None else as_ratios(arms, scale)).logs_in_time


def by_difference(
    arms: Arms, scale: Difference, interim: "Interim | None", seed: int, *, found: Checked | None = None
) -> tuple[Ratio | NotEstimable, Row, Checked | None]:
    """A comparison by difference, the ratio beside it: as `compare.compared`."""
    plain: Ratio | NotEstimable
    if interim is None:
        result, plain = paired_difference(*arms.paired, scale), paired_ratio(*arms.paired)
    else:
        result = ratio_of(interim)
        plain = result if isinstance(result, NotEstimable) else _ratio_at(result, arms.used(interim).paired)
    if isinstance(result, NotEstimable):
        return result, {"not_estimable": result.reason}, None
    row: Row = {} if isinstance(plain, NotEstimable) else numbers(plain)
    if interim is None and scale.relative is not None:
        if found is None:
            found = checked(result, as_ratios(arms, scale).logs_in_time, seed=seed, beside=False)
        decided = checked_columns(found, scale.relative)
        row |= {name: decided[name] for name in ("verdict", "pairs_needed", "verdict_reason", "assumptions")}
        result = found.ratio
    return plain, {**row, **difference_columns(result, scale), "p_paired": result.p}, found


def difference_columns(found: Ratio, scale: Difference) -> Row:
    """The columns of a difference."""
    ends = map(scale.back, (found.ratio, *found.ci95, *found.ci90))
    row = dict(zip(COLUMNS, (*ends, found.sd_log * scale.step, scale.margin), strict=True))
    return {**row, "excludes_one": found.excludes_one}


def _ratio_at(interim: Ratio, paired: tuple[Vector, Vector]) -> Ratio | NotEstimable:
    """The ratio of the pairs of an interim analysis of their differences, with its critical values."""
    plain = paired_ratio(*paired)
    if isinstance(plain, NotEstimable):
        return plain
    mean, middle = math.log(plain.ratio), math.log(interim.ratio)

    def moved(end: float) -> float:
        return from_log(mean + (math.log(end) - middle) / interim.sd_log * plain.sd_log)

    ci95, ci90 = ((moved(low), moved(high)) for low, high in (interim.ci95, interim.ci90))
    return replace(plain, ci95=ci95, ci90=ci90)


def differences_by_block(arms: Arms) -> dict[int, float]:
    """The differences of pairs by block."""
    a, b = arms.paired
    differences: list[float] = (b - a).tolist()
    return dict(zip(arms.blocks.tolist(), differences, strict=True))


def note_scale(row: Row, why: Why) -> None:
    """Explain the columns of the estimate that a comparison does not have."""
    if not is_estimated(row):
        return
    if row["judged_by"] == RATIO:
        note(why, COLUMNS, "not_by_difference")
        return
    note(why, [name for name in ("difference_margin", "verdict") if row.get(name) is None], "no_margin")
    note(why, ("margin",), "of_difference")
    if row.get("ratio") is None:
        note(why, OF_RATIO, "not_positive")


def is_above(row: Mapping[str, Any]) -> bool:
    """Whether a comparison that has an estimate lies above no difference."""
    if row.get("judged_by") == DIFFERENCE:
        return bool(row["difference"] > 0)
    return bool(row["ratio"] > 1)


def is_estimated(row: Mapping[str, Any]) -> bool:
    """Whether a comparison has an estimate of what its verdict rests on."""
    return row.get("difference" if row.get("judged_by") == DIFFERENCE else "ratio") is not None
