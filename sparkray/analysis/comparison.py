"""The columns of a paired comparison, computed once for tables, terminal, interim analyses and `optimize`. Pure."""

from typing import Any

from sparkray.analysis.reasons import Why, filled, note
from sparkray.stats import NotEstimable
from sparkray.stats.assumptions import Checked, decide_checked
from sparkray.stats.paired import Ratio, decide
from sparkray.stats.samples import Estimate

Row = dict[str, Any]
# Columns of the check of a fixed number of pairs.
BESIDE = (
    *("ratio_shapiro_p", "ratio_lag1_p", "t_low", "t_high", "skewness_low", "skewness_high"),
    *("paired_bca_low", "paired_bca_high", "hl_ratio", "hl_low", "hl_high"),
)


def judged(result: Ratio | NotEstimable, margin: float | None) -> Row:
    """A paired ratio as columns, with the verdict of Student's t for a fixed number of pairs where there is a margin."""
    if isinstance(result, NotEstimable):
        return {"not_estimable": result.reason}
    row = numbers(result)
    if margin is None:
        return row
    decision = decide(result, margin)
    return {**row, "verdict": decision.verdict, "pairs_needed": decision.pairs_needed}


def checked_columns(found: Checked, margin: float) -> Row:
    """A paired ratio as columns, with the verdict against a relative margin above 0 that its assumptions allow."""
    decision, reason = decide_checked(found, margin)
    row = {**numbers(found.ratio), "verdict": decision.verdict, "pairs_needed": decision.pairs_needed}
    return {**row, "verdict_reason": reason, "assumptions": found.assumptions.code}


def assumption_columns(found: Checked, why: Why) -> Row:
    """What was checked of the log ratios, and the intervals beside the one that the verdict rests on."""

    def three(one: Estimate) -> tuple[float | None, ...]:
        return one.value, one.low, one.high

    row: Row = {
        "ratio_shapiro_p": found.assumptions.shapiro_p,
        "ratio_lag1_p": found.assumptions.lag1_p,
        "t_low": found.student.ci95[0],
        "t_high": found.student.ci95[1],
    }
    if found.beside is None:
        return row
    row |= dict(zip(("skewness_low", "skewness_high"), found.beside.skewness, strict=True))
    note(why, [column for column in ("ratio_shapiro_p", "ratio_lag1_p") if row[column] is None], "few_for_check")
    row |= filled(("paired_bca_low", "paired_bca_high"), found.beside.bca, lambda one: three(one)[1:], why)
    return row | filled(("hl_ratio", "hl_low", "hl_high"), found.beside.hodges_lehmann, three, why)


def numbers(result: Ratio) -> Row:
    """A paired ratio as columns, without a verdict."""
    return {
        "ratio": result.ratio,
        "low": result.ci95[0],
        "high": result.ci95[1],
        "low90": result.ci90[0],
        "high90": result.ci90[1],
        "sd_log": result.sd_log,
        "excludes_one": result.excludes_one,
        "p_paired": result.p,
    }
